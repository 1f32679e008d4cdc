/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What a back end is: the table of operations that the VMM's end asks, for whichever back end a
 * device has.  A new one is a folder with such a table, and a line in backend.c.
 *
 * An operation that a back end has nothing to do for is NULL, but for dev_new and dev_free.
 */
#ifndef RMIO_BACKEND_BACKEND_H
#define RMIO_BACKEND_BACKEND_H

#include "remote.h"

#define RMIO_CHANGE_ALL		UINT32_MAX	/* ranges */
#define RMIO_CHANGE_NONE	(UINT32_MAX - 1)

struct rmio_backend_ops {
	enum rmio_backend id;
	uint32_t ring_slots;		/* of a lane, where the VMM does not say */
	uint32_t demand;		/* RMIO_KVM_*: the VMM does not want to go on without it */

	/* -- a VM, in rmio_vm_kvm; not of the exit back end ------------------------------- */

	/*
	 * Is it here?  @spare: there is a better one, so what is costly may wait for
	 * vm_load.  vm->fd is KVM's.  0 vm->part is there; 1 not here, and vm->why says why;
	 * -errno the VMM is to know, as above.
	 */
	int (*vm_new)(struct rmio_vm *vm, const struct rmio_kvm_opts *o, bool spare);
	void (*vm_free)(struct rmio_vm *vm);
	/* A device asks for this one by name.  vm->control held.  0 or -errno. */
	int (*vm_load)(struct rmio_vm *vm);
	/* Of devices that ask for the best: may they have it? */
	bool (*vm_ready)(const struct rmio_vm *vm);
	int (*program)(const struct rmio_vm *vm, struct rmio_program_stats *s);
	/* As rmio_vm_maps. */
	int (*maps)(const struct rmio_vm *vm, const struct rmio_master *m,
		    int (*map)(void *arg, const char *name, uint32_t id), void *arg);

	/* -- a vCPU ------------------------------------------------------------------------ */

	/* vm->lock held; of VMs that have this back end.  0 or -ENOMEM. */
	int (*vcpu_new)(struct rmio_vcpu *v);
	void (*vcpu_free)(struct rmio_vcpu *v);
	/* Any thread, also a signal handler, after v->kicks has changed. */
	void (*kick)(struct rmio_vcpu *v);

	/* -- a device ---------------------------------------------------------------------- */

	/* Its memory, lanes and part.  vm->control held.  0 or -errno. */
	int (*dev_new)(struct rmio_master *m, uint32_t slots);
	/* With the VM frozen: it is among the masters; and it is about to go. */
	void (*dev_added)(struct rmio_master *m);
	void (*dev_removed)(struct rmio_master *m);
	/* Whoever waits for it wakes; nobody may be in access afterwards. */
	void (*dev_end)(struct rmio_master *m);
	void (*dev_free)(struct rmio_master *m);
	/* With the VM frozen: it has died; and afterwards, with nothing held. */
	void (*dead)(struct rmio_master *m);
	void (*died)(struct rmio_master *m);

	/* Instead of a socket with m->give: its slave descriptor, or -errno. */
	int (*slave_fd)(struct rmio_master *m);
	/* To be polled instead of that socket; and when it was readable, true: there is news. */
	int (*event_fd)(const struct rmio_master *m);
	bool (*event)(struct rmio_master *m);

	/* With the VM frozen.  0 or -errno, then nothing has changed. */
	int (*range)(struct rmio_master *m, const struct rmio_pa_range *at);
	void (*timeout)(struct rmio_master *m);
	/*
	 * A change of ranges, map, image or state lies between _begin, after which nothing
	 * is answered by the old rules of range @id (or of all), and _end.
	 */
	void (*change_begin)(struct rmio_master *m, uint32_t id);
	void (*change_end)(struct rmio_master *m);
	/*
	 * An image of @size bytes, mapped: its descriptor, or -errno for a memfd.  Between
	 * the two above _set: it is in force, -1: another one or none; _drop: the device has
	 * not got it after all.
	 */
	int (*image_new)(struct rmio_master *m, uint64_t size, void **image);
	void (*image_set)(struct rmio_master *m, int fd);
	void (*image_drop)(struct rmio_master *m, uint64_t size);
	/* The areas of the map that is in force; copied.  Between the two. */
	void (*areas)(struct rmio_master *m, const struct rmio_area *areas, size_t n);

	/*
	 * One access, as rmio_vmm_ops.access; no locks held, the VMM's end keeps the master
	 * alive.  0; -EINTR; -EOPNOTSUPP no range of its there (any more).
	 */
	int (*access)(struct rmio_vcpu *v, struct rmio_master *m, struct access *a);
	/* The interrupted one is not taken up again. */
	void (*cancel)(struct rmio_vcpu *v, struct rmio_master *m);
	/* A posted store of it to memory exited.  The vCPU's lock held. */
	void (*exited)(struct rmio_master *m, uint32_t range_id, uint64_t offset, uint32_t len);

	/* -- for display ------------------------------------------------------------------- */

	/* Add what it has counted of a lane itself. */
	void (*counters)(const struct rmio_master *m, uint32_t vcpu, struct rmio_counters *c);
	void (*lane_stats)(const struct rmio_master *m, uint32_t vcpu, struct rmio_lane_stats *s);
	/* A copy of the plan in force: 0, *e and *n, to be freed; -ENOMEM. */
	int (*plan)(struct rmio_master *m, struct rmio_plan_entry **e, size_t *n);
};

/*
 * Memory, lanes and back end for a new device: @want, or the best there is that can.
 * vm->control held.  0 or -errno.
 */
int rmio_backend_dev_new(struct rmio_master *m, uint32_t want, uint32_t slots);

/* Let every back end of the VM have its part of @v.  vm->lock held.  0 or -ENOMEM, then none. */
int rmio_backend_vcpu_new(struct rmio_vcpu *v);
void rmio_backend_vcpu_free(struct rmio_vcpu *v);
/* Any thread, also a signal handler. */
void rmio_backend_kick(struct rmio_vcpu *v);
void rmio_backend_vm_free(struct rmio_vm *vm);
/* Of the back end that has one.  0, -ENOTSUP, -errno. */
int rmio_backend_program(const struct rmio_vm *vm, struct rmio_program_stats *s);
int rmio_backend_maps(const struct rmio_vm *vm,
		      int (*map)(void *arg, const char *name, uint32_t id), void *arg);

/* In front of those that the vCPU has.  vm->lock held. */
static inline void rmio_vcpu_hook(struct rmio_vcpu *v, struct rmio_hooks *h)
{
	h->next = rmio_hooks_first(v);
	rmio_link_write((const void **)&v->hooks, h);
}

#endif
