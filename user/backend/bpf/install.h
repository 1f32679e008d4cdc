/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What KVM takes in the kernel: read-only memory slots, ioeventfds, coalesced zones.
 * Beside the data path, but for the draining of zones.
 *
 * Locks: kvm->lock comes after vm->control and before vm->lock.  A vCPU's thread may
 * call all of this outside of KVM_RUN.
 */
#ifndef RMIO_USER_KVM_H
#define RMIO_USER_KVM_H

#include "backend/plan/plan.h"
#include "vmm/vm.h"

struct rmio_kvm {
	uint32_t kick_signal;
	char *broker;			/* as in rmio_kvm_opts */
	pthread_mutex_t lock;		/* whoever changes what is installed */
	int fd;				/* the VM's, a duplicate */
	uint32_t first_slot, nr_slots;	/* memory slots that we may use */
	uint8_t *slots;			/* in use */
	uint32_t slots_used;
	uint32_t bus_devs;		/* ioeventfds and zones that we may use */
	uint32_t bus_devs_used;
	uint32_t zone_pages_used;
	uint32_t ring_page;		/* of kvm_run: the coalesced ring; 0: no zones */
	uint32_t zones;			/* installed; atomic word */
	pthread_mutex_t drain;
	int changed;			/* eventfd: a device wants a new plan */
};

/* What is in force for a master; under kvm->lock. */
struct rmio_kvm_plan {
	struct rmio_plan *plan;		/* NULL: nothing */
	int *slots;			/* by item: memory slot, -1 none */
	struct rmio_area *areas;	/* of the map in force */
	size_t nr_areas;
	bool lost;			/* no memory for the areas: nothing may be planned */
	uint32_t asked;			/* atomic word: a new plan is due */
	pthread_mutex_t heating;	/* the last lock of all */
	struct rmio_heat heat;
};

void rmio_kvm_free(struct rmio_vm *vm);
/* The BPF program, where it was left because there is something better.  vm->control held. */
int rmio_kvm_load(struct rmio_vm *vm);

/*
 * replan.c.  A change of ranges, map, image or state lies between _begin, which removes
 * all that is installed for range @id (or for all), and _end, which installs what is
 * called for afterwards; kvm->lock is held in between.  No-ops on the exit back end.
 */
#define RMIO_KVM_ALL	UINT32_MAX	/* ranges */
#define RMIO_KVM_NONE	(UINT32_MAX - 1)
void rmio_kvm_begin(struct rmio_master *m, uint32_t id);
void rmio_kvm_end(struct rmio_master *m);
struct rmio_kvm_plan *rmio_kvm_plan_new(void);
void rmio_kvm_plan_free(struct rmio_kvm_plan *p);
/* The areas of the map that is in force; copied.  Between the two. */
void rmio_kvm_areas(struct rmio_master *m, const struct rmio_area *areas, size_t n);

/* Any vCPU: @m wants a new plan.  Made by the control thread: rmio_kvm_replan. */
void rmio_kvm_ask(struct rmio_master *m);
/* A posted store of @m exited. */
void rmio_kvm_heat(struct rmio_master *m, uint32_t range_id, uint64_t offset, uint32_t len);
/* With vm->control held. */
void rmio_kvm_replan(struct rmio_vm *vm);

/* kvm.c: one item in force, or back.  With kvm->lock held. */
void rmio_kvm_install(struct rmio_master *m, struct rmio_plan_item *it, int *slot);
void rmio_kvm_uninstall(struct rmio_master *m, struct rmio_plan_item *it, int slot);
/* Stores captured since this was asked last. */
uint64_t rmio_kvm_hits(struct rmio_master *m, const struct rmio_plan_item *it);

/* Throw away what KVM noted for its zones: the program has delivered it. */
void rmio_kvm_drain(struct rmio_vm *vm, struct kvm_run *run);

#endif
