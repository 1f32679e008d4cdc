// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The back end `bpf` of a VM: its limits, its program once there is one, and the table of its
 * operations.  Beside the data path: once a VM.
 */
#include "bpf.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BUS_DEVS	512u	/* of KVM's 1000, which the VMM's own devices share */

static int new_part(struct rmio_vm *vm, const struct rmio_kvm_opts *o, struct rmio_kvm **out)
{
	struct rmio_kvm *k = calloc(1, sizeof(*k));
	int err = -ENOMEM;

	if (!k)
		return err;
	k->slots = calloc(o->nr_slots + 1, 1);
	if (!k->slots)
		goto free_kvm;
	k->kick_signal = (uint32_t)o->kick_signal;
	if (o->broker) {
		k->broker = strdup(o->broker);
		if (!k->broker)
			goto free_slots;
	}
	k->first_slot = o->first_slot;
	k->nr_slots = o->nr_slots;
	k->bus_devs = o->bus_devs ? o->bus_devs : BUS_DEVS;
	k->fd = vm->fd;
	if (o->flags & RMIO_KVM_ZONES)
		k->ring_page = (uint32_t)ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
	k->changed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = k->changed < 0 ? -errno : vm->up->watch(vm, k->changed, rmio_kvm_replan);
	if (err)
		goto close_changed;
	pthread_mutex_init(&k->lock, NULL);
	pthread_mutex_init(&k->drain, NULL);
	*out = k;
	return 0;

close_changed:
	if (k->changed >= 0)
		close(k->changed);
	free(k->broker);
free_slots:
	free(k->slots);
free_kvm:
	free(k);
	return err;
}

static void vm_free(struct rmio_vm *vm)
{
	struct rmio_kvm *k = rmio_kvm_of(vm);

	rmio_bpf_free(k->bpf);
	pthread_mutex_destroy(&k->drain);
	pthread_mutex_destroy(&k->lock);
	close(k->changed);
	free(k->broker);
	free(k->slots);
	free(k);
}

/* vm->control held: who is in the list stays. */
static void wake(void *arg, uint32_t slot)
{
	const struct rmio_vm *vm = arg;
	struct rmio_master *m;

	for (m = vm->masters; m; m = m->next)
		if (m->ops->id == RMIO_BACKEND_BPF && rmio_bpf_of(m)->dev.slot == slot)
			rmio_bell_ring(&m->bell);
}

static void sleepers(struct rmio_vm *vm)
{
	rmio_bpf_sleepers(rmio_kvm_of(vm)->bpf, wake, vm);
}

static int load(struct rmio_vm *vm)
{
	char *why = vm->why[RMIO_BACKEND_BPF];
	struct rmio_kvm *k = rmio_kvm_of(vm);
	struct rmio_bpf_opts b = {
		.vcpus = vm->max_vcpus,
		.kick_signal = k->kick_signal,
		.broker = k->broker,
	};
	struct rmio_bpf *bpf;
	uint32_t i;
	int err = rmio_bpf_new(&b, &bpf, why, sizeof(vm->why[0]));

	if (err)
		return err;
	err = vm->up->watch(vm, rmio_bpf_sleepers_fd(bpf), sleepers);
	if (err) {
		snprintf(why, sizeof(vm->why[0]), "rmio_vm_kvm: %s", strerror(-err));
		rmio_bpf_free(bpf);
		return err;
	}
	rmio_vm_freeze(vm);
	k->bpf = bpf;
	for (i = 0; i < vm->lanes_used; i++)
		if (vm->vcpus[i])
			rmio_capture_start(vm->vcpus[i]);
	rmio_vm_thaw(vm);
	why[0] = 0;
	return 0;
}

static int vm_load(struct rmio_vm *vm)
{
	return rmio_kvm_of(vm)->bpf ? 0 : load(vm);
}

static int vm_new(struct rmio_vm *vm, const struct rmio_kvm_opts *o, bool spare)
{
	struct rmio_kvm *k;
	int err = new_part(vm, o, &k);

	if (err)
		return err;
	vm->part[RMIO_BACKEND_BPF] = k;
	return spare ? 0 : load(vm);
}

static bool vm_ready(const struct rmio_vm *vm)
{
	return rmio_kvm_of(vm)->bpf;
}

const struct rmio_backend_ops rmio_backend_bpf = {
	.id = RMIO_BACKEND_BPF,
	.ring_slots = RMIO_BPF_RING_MIN,
	.demand = RMIO_KVM_BPF,
	.vm_new = vm_new,
	.vm_free = vm_free,
	.vm_load = vm_load,
	.vm_ready = vm_ready,
	.program = rmio_bpf_display_program,
	.maps = rmio_bpf_display_maps,
	.vcpu_new = rmio_capture_new,
	.vcpu_free = rmio_capture_free,
	.dev_new = rmio_bpf_master_new,
	.dev_added = rmio_bpf_master_added,
	.dev_removed = rmio_bpf_master_removed,
	.dev_free = rmio_bpf_master_free,
	.dead = rmio_bpf_master_dead,
	.died = rmio_kvm_ask,
	.change_begin = rmio_kvm_begin,
	.change_end = rmio_kvm_end,
	.image_new = rmio_bpf_image_new,
	.image_set = rmio_bpf_image_set,
	.image_drop = rmio_bpf_image_drop,
	.areas = rmio_kvm_areas,
	.exited = rmio_kvm_heat,
	.counters = rmio_bpf_display_counters,
	.lane_stats = rmio_bpf_display_lane,
	.plan = rmio_bpf_display_plan,
};
