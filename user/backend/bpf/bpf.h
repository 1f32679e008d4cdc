/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The back end `bpf`: what its files share.  KVM takes loads by read-only memory slots over the
 * shadow image, and stores by ioeventfds and coalesced zones, once the BPF program has put them
 * into the lane.  Beside the data path, but for the draining of zones.
 *
 * Locks: rmio_kvm.lock comes after vm->control and before vm->lock.  A vCPU's thread may
 * call all of this outside of KVM_RUN.
 */
#ifndef RMIO_BACKEND_BPF_BPF_H
#define RMIO_BACKEND_BPF_BPF_H

#include "backend/backend.h"
#include "backend/plan/plan.h"
#include "program.h"

/* Of a VM. */
struct rmio_kvm {
	struct rmio_bpf *bpf;		/* NULL: not loaded */
	struct rmio_master *captured[RMIO_BPF_DEVS];	/* by slot; changed with the VM frozen */
	uint32_t kick_signal;
	char *broker;			/* as in rmio_kvm_opts */
	pthread_mutex_t lock;		/* whoever changes what is installed */
	int fd;				/* the VM's */
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

/* What is in force for a master; under rmio_kvm.lock. */
struct rmio_kvm_plan {
	struct rmio_plan *plan;		/* NULL: nothing */
	int *slots;			/* by item: memory slot, -1 none */
	uint64_t *taken;		/* by item: stores, up to when its hits were taken last */
	struct rmio_area *areas;	/* of the map in force */
	size_t nr_areas;
	bool lost;			/* no memory for the areas: nothing may be planned */
	uint32_t asked;			/* atomic word: a new plan is due */
	pthread_mutex_t heating;	/* the last lock of all */
	struct rmio_heat heat;
};

/* Of a device. */
struct rmio_bpf_master {
	struct rmio_bpf_dev dev;	/* its lanes, which are arrays */
	int posted;			/* eventfd that KVM signals */
	struct rmio_down_words *down_words;	/* to sleep on, which no array can hold */
	const struct rmio_up_words *up_words;
	int down_words_fd, up_words_fd;
	bool array;			/* the image is one that the program can write */
	uint64_t array_bytes;		/* of all images that were arrays; vm->control */
	struct rmio_kvm_plan *plan;
};

static inline struct rmio_kvm *rmio_kvm_of(const struct rmio_vm *vm)
{
	return vm->part[RMIO_BACKEND_BPF];
}

static inline struct rmio_bpf_master *rmio_bpf_of(const struct rmio_master *m)
{
	return m->part;
}

/* device.c: the operations of that name. */
int rmio_bpf_master_new(struct rmio_master *m, uint32_t slots);
void rmio_bpf_master_free(struct rmio_master *m);
void rmio_bpf_master_added(struct rmio_master *m);
void rmio_bpf_master_removed(struct rmio_master *m);
void rmio_bpf_master_dead(struct rmio_master *m);
int rmio_bpf_image_new(struct rmio_master *m, uint64_t size, void **image);
void rmio_bpf_image_set(struct rmio_master *m, int fd);
void rmio_bpf_image_drop(struct rmio_master *m, uint64_t size);

/* vcpu.c: vcpu_new and vcpu_free; _start once the program is loaded.  vm->lock held. */
int rmio_capture_new(struct rmio_vcpu *v);
void rmio_capture_start(struct rmio_vcpu *v);
void rmio_capture_free(struct rmio_vcpu *v);
/* What the program notes for this vCPU, and whether a thread is bound to it; for tests. */
struct rmio_bpf_vcpu *rmio_capture_notes(const struct rmio_vcpu *v);
bool rmio_capture_bound(const struct rmio_vcpu *v);

/* display.c */
int rmio_bpf_display_program(const struct rmio_vm *vm, struct rmio_program_stats *s);
void rmio_bpf_display_counters(const struct rmio_master *m, uint32_t vcpu,
			       struct rmio_counters *c);
void rmio_bpf_display_lane(const struct rmio_master *m, uint32_t vcpu, struct rmio_lane_stats *s);
int rmio_bpf_display_maps(const struct rmio_vm *vm, const struct rmio_master *m,
			  int (*map)(void *arg, const char *name, uint32_t id), void *arg);
int rmio_bpf_display_plan(struct rmio_master *m, struct rmio_plan_entry **e, size_t *n);

/* replan.c: change_begin, change_end and areas. */
void rmio_kvm_begin(struct rmio_master *m, uint32_t id);
void rmio_kvm_end(struct rmio_master *m);
struct rmio_kvm_plan *rmio_kvm_plan_new(void);
void rmio_kvm_plan_free(struct rmio_kvm_plan *p);
/* The areas of the map that is in force; copied.  Between the two. */
void rmio_kvm_areas(struct rmio_master *m, const struct rmio_area *areas, size_t n);

/* Any thread: @m wants a new plan.  Made by the control thread: rmio_kvm_replan. */
void rmio_kvm_ask(struct rmio_master *m);
/* A posted store of @m exited. */
void rmio_kvm_heat(struct rmio_master *m, uint32_t range_id, uint64_t offset, uint32_t len);
/* With vm->control held. */
void rmio_kvm_replan(struct rmio_vm *vm);

/* install.c: one item in force, or back.  With rmio_kvm.lock held. */
void rmio_kvm_install(struct rmio_master *m, struct rmio_plan_item *it, int *slot);
void rmio_kvm_uninstall(struct rmio_master *m, struct rmio_plan_item *it, int slot);
/* Stores captured since these were taken last. */
uint64_t rmio_kvm_hits(struct rmio_master *m, const struct rmio_plan_item *it, bool take);

/* Throw away what KVM noted for its zones: the program has delivered it. */
void rmio_kvm_drain(struct rmio_kvm *k, struct kvm_run *run);

#endif
