// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The VM object: holds the vCPUs and masters of one VM together, and stops
 * them all for a change.  Beside the data path.
 */
#include "access.h"
#include "control.h"
#include "death.h"
#include "opts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VCPUS	16u

static const struct rmio_vmm_ops up = {
	.kill = rmio_master_kill,
	.access = rmio_access_piece,
	.room = rmio_access_room,
	.watch = rmio_control_watch,
};

int rmio_vm_new(const struct rmio_vm_opts *opts, struct rmio_vm **out)
{
	struct rmio_vm_opts o;
	struct rmio_vm *vm;
	struct vm *own;
	int err = rmio_opts_copy(&o, sizeof(o), opts, "rmio_vm_opts");

	if (err)
		return err;
	if (o.max_vcpus > RMIO_LANES_MAX || (o.flags & ~RMIO_VM_MANUAL))
		return -EINVAL;
	own = calloc(1, sizeof(*own));
	if (!own)
		return -ENOMEM;
	own->flags = o.flags;
	own->dead = o.dead;
	own->arg = o.arg;
	vm = &own->shared;
	vm->up = &up;
	vm->fd = -1;
	vm->max_vcpus = o.max_vcpus ? o.max_vcpus : MAX_VCPUS;
	err = -ENOMEM;
	vm->vcpus = calloc(vm->max_vcpus, sizeof(struct rmio_vcpu *));
	if (!vm->vcpus)
		goto free_vm;
	pthread_mutex_init(&vm->control, NULL);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->left, NULL);
	err = rmio_control_start(own);
	if (err)
		goto free_vcpus;
	*out = vm;
	return 0;

free_vcpus:
	free(vm->vcpus);
free_vm:
	free(own);
	return err;
}

void rmio_vm_free(struct rmio_vm *vm)
{
	int i;

	if (!vm)
		return;
	rmio_control_stop(own_vm(vm));
	rmio_backend_vm_free(vm);
	for (i = 0; i < RMIO_BUSES; i++)
		free(vm->tables[i].ranges);
	pthread_cond_destroy(&vm->left);
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->control);
	free(vm->vcpus);
	free(own_vm(vm));
}

uint64_t rmio_vm_straddled(const struct rmio_vm *cvm)
{
	struct rmio_vm *vm = (struct rmio_vm *)cvm;
	uint64_t sum = 0;
	uint32_t i;

	rmio_vm_freeze(vm);
	for (i = 0; i < vm->lanes_used; i++)
		if (vm->vcpus[i])
			sum += own_vcpu(vm->vcpus[i])->straddled;
	rmio_vm_thaw(vm);
	return sum;
}
