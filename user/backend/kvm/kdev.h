/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A master that is a kernel device (KVM_DEV_TYPE_USER): lanes, access map and waits are in the
 * kernel, which serves KVM_RUN without coming out.  What the VMM does itself, creating, placing,
 * noticing the end, and accesses that come out all the same, are ioctls.  Beside the data path.
 */
#ifndef RMIO_USER_KDEV_H
#define RMIO_USER_KDEV_H

#include "vmm/vm.h"

struct rmio_kdev {
	int fd;			/* the master descriptor */
	int event;		/* eventfd: the state has changed */
};

/* Does this VM have them?  0 or -errno. */
int rmio_kdev_probe(int vm_fd);

/*
 * Make one and map its lanes, to be looked at, into @m.  0, -EFBIG (lanes and slots need more
 * than the kernel gives), -ENOMEM, -EMFILE, -ENFILE, -ENODEV.
 */
int rmio_kdev_new(struct rmio_master *m, uint32_t slots);
/* Its ranges go, whoever waits for it wakes; nobody may be in rmio_kdev_access afterwards. */
void rmio_kdev_end(struct rmio_master *m);
void rmio_kdev_free(struct rmio_master *m);

int rmio_kdev_slave_fd(const struct rmio_master *m);
int rmio_kdev_range(const struct rmio_master *m, const struct rmio_pa_range *at);
void rmio_kdev_timeout(const struct rmio_master *m, uint64_t ns);

/* The event has come: take notice of its state.  True if something was new.  vm->control held. */
bool rmio_kdev_event(struct rmio_master *m);

/*
 * One access, as rmio_access_piece(); no locks held, v->inside keeps the master alive.
 * 0; -EINTR; -EOPNOTSUPP no range of its there (any more); -ENOENT KVM has no such vCPU; -EBUSY
 * KVM_RUN has one under way.
 */
int rmio_kdev_access(struct rmio_vcpu *v, struct rmio_master *m, struct access *a);
/* The interrupted one is not taken up again. */
void rmio_kdev_cancel(struct rmio_vcpu *v, struct rmio_master *m);
/* Any thread, also a signal handler, after v->kicks has changed. */
void rmio_kdev_kick(struct rmio_vcpu *v);

#endif
