/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What the VMM's end and the back ends both know: a VM, its vCPUs, its remote devices.  On the
 * data path.  Each side keeps what is its own elsewhere: the VMM's end in vmm/vm.h, a back end in
 * the parts that hang here by the number of the back end.
 *
 * Locks, in the order in which they are taken:
 *   vm->control  serving slaves, the list of masters
 *   a back end's own
 *   vm->lock     whoever changes what vCPUs look at
 *   vcpu->lock   one for each vCPU: what it looks at during an access
 *
 * A vCPU takes its own lock alone, uncontended but for changes; whoever changes ranges, maps,
 * images or states holds vm->lock and the locks of all vCPUs (rmio_vm_freeze).  No vCPU holds its
 * lock while it waits for a device.
 */
#ifndef RMIO_BACKEND_REMOTE_H
#define RMIO_BACKEND_REMOTE_H

#include "map.h"
#include "ring.h"
#include "shadow.h"
#include "wake.h"

#include <pthread.h>
#include <rmio/vmm.h>
#include <stdbool.h>

struct rmio_backend_ops;
struct rmio_own;

#define RMIO_BACKENDS	(RMIO_BACKEND_KVM + 1)	/* the last of enum rmio_backend, and one */
#define RMIO_BUSES	2
#define RMIO_SOURCES	4u		/* descriptors that back ends have watched, of a VM */
#define RMIO_GIVE	5u		/* descriptors that a device gets when it opens its slave */

/* A placed range, in the table of its bus, sorted by address. */
struct range {
	uint64_t addr;
	uint64_t last;		/* address of the last byte: the end may be 2^64 */
	uint32_t id;
	struct rmio_master *master;
};

struct range_table {
	struct range *ranges;
	size_t nr;
};

struct access {
	bool store;
	uint32_t bus;
	uint64_t addr;
	uint32_t len;		/* 1, 2, 4 or 8 */
	uint64_t data;
};

/* What back ends ask of the VMM's end. */
struct rmio_vmm_ops {
	/* No locks held but vm->control at most.  Only the first call does something. */
	void (*kill)(struct rmio_master *m, enum rmio_state why, const char *reason);
	/* One access.  0; -EINTR; -EOPNOTSUPP in no range; -EXDEV partly in one. */
	int (*access)(struct rmio_vcpu *v, struct access *a);
	/*
	 * Wait until the vCPU's lane of @m has room, and see that the device knows what is in
	 * it.  With v->lock held, and let go of while waiting.  0, -EINTR, -ENODEV.
	 */
	int (*room)(struct rmio_vcpu *v, struct rmio_master *m);
	/*
	 * Call @ready, with vm->control held, whenever @fd is readable.  The next @fd of the same
	 * @ready, after this one was closed, takes its place.  0 or -errno.
	 */
	int (*watch)(struct rmio_vm *vm, int fd, void (*ready)(struct rmio_vm *vm));
};

/* The steps that a back end takes around KVM_RUN; the vCPU's thread alone. */
struct rmio_hooks {
	const struct rmio_hooks *next;	/* another's; as rmio_vcpu.hooks */
	void *arg;
	/* After each KVM_RUN: what the back end has still to do.  0 or -EINTR (again, later). */
	int (*after_run)(void *arg, struct kvm_run *run);
	/* Before KVM_RUN: the calling thread is about to run this vCPU.  As above. */
	int (*before_run)(void *arg, struct kvm_run *run);
	/* Was the store of this exit delivered already?  Then its device is awake. */
	bool (*took)(void *arg, uint64_t addr, uint32_t len);
};

/* Begins on a line of its own: its thread writes to it at each access. */
struct rmio_vcpu {
	_Alignas(RMIO_LINE) struct rmio_vm *vm;
	uint32_t index;
	uint32_t kicks;			/* changes when it was kicked */
	uint32_t kicks_seen;
	volatile uint8_t *immediate_exit;	/* kvm_run's, during rmio_vcpu_exit */
	/*
	 * NULL: none.  They come when a back end is loaded, which may be late, and when the VM
	 * is quiesced, and go when it is resumed; changed with vm->lock held, by rmio_hooks_*.
	 */
	const struct rmio_hooks *hooks;
	pthread_mutex_t lock;
	void *part[RMIO_BACKENDS];
};

struct rmio_vm {
	const struct rmio_vmm_ops *up;
	uint32_t max_vcpus;
	bool threaded;			/* a thread of the library serves the slaves */
	int fd;				/* KVM's, a duplicate; -1 before rmio_vm_kvm */

	pthread_mutex_t control;
	struct rmio_master *masters;

	pthread_mutex_t lock;
	pthread_cond_t left;		/* a vCPU has left a dead master */
	struct range_table tables[RMIO_BUSES];
	uint64_t moves;			/* changes of the tables so far */
	uint32_t lanes_used;
	struct rmio_vcpu **vcpus;	/* max_vcpus of them */

	void *part[RMIO_BACKENDS];	/* set before the first master; NULL: not there */
	char why[RMIO_BACKENDS][512];	/* why there is no such back end */
};

struct rmio_master {
	struct rmio_vm *vm;
	struct rmio_master *next;
	struct rmio_own *own;		/* the VMM's end's */
	const struct rmio_backend_ops *ops;
	void *part;			/* of that back end */
	/* Of its ops, what each access looks at: NULL or false, they have no such operation. */
	int (*access)(struct rmio_vcpu *v, struct rmio_master *m, struct access *a);
	bool exited;
	int give[RMIO_GIVE];		/* what its slave gets */
	uint32_t nr_give;

	/* Changed with the VM frozen, read under any vCPU's lock. */
	uint32_t reserve;		/* slots of a lane that stay free for the back end */
	uint32_t state;			/* enum rmio_state */
	uint32_t told;			/* it is dead, and dead() has returned */
	uint64_t timeout_ns;
	struct rmio_map *map;
	void *image;
	uint64_t image_size;

	struct rmio_down_hdr *down;
	const struct rmio_up_hdr *up;
	uint64_t down_size, up_size;
	struct rmio_bell_out bell;
	/* Each touched by its vCPU, under its lock; on lines that no other vCPU reads. */
	_Alignas(RMIO_LINE) struct rmio_prod lanes[];
};

static inline bool rmio_state_dead(uint32_t s)
{
	return s >= RMIO_STATE_CLOSED;
}

/* The back end takes whole accesses: the lanes of such a device are to be looked at only. */
static inline bool rmio_master_elsewhere(const struct rmio_master *m)
{
	return m->access;
}

/* With the lock of @v held, or in its thread. */
static inline bool rmio_vcpu_kicked(const struct rmio_vcpu *v)
{
	return (v->immediate_exit && *v->immediate_exit) ||
	       rmio_word_read(&v->kicks) != v->kicks_seen;
}

static inline const struct rmio_hooks *rmio_hooks_first(const struct rmio_vcpu *v)
{
	return rmio_link_read((const void *const *)&v->hooks);
}

static inline bool rmio_hooked(const struct rmio_vcpu *v)
{
	return rmio_link_set((const void *const *)&v->hooks);
}

/* Of one that has been removed, too: a vCPU may be there. */
static inline const struct rmio_hooks *rmio_hooks_next(const struct rmio_hooks *h)
{
	return rmio_link_read((const void *const *)&h->next);
}

/* With vm->lock held: at the end of those that the vCPU has, and out of them. */
void rmio_hooks_append(struct rmio_vcpu *v, struct rmio_hooks *h);
void rmio_hooks_remove(struct rmio_vcpu *v, const struct rmio_hooks *h);

void rmio_vm_freeze(struct rmio_vm *vm);
void rmio_vm_thaw(struct rmio_vm *vm);

#endif
