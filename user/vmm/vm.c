// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The VM object: holds the vCPUs and masters of one VM together, and stops
 * them all for a change.  Beside the data path.
 */
#include "backend/kvm/kdev.h"
#include "backend/bpf/install.h"
#include "opts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VCPUS	16u

void *rmio_vm_alloc(size_t size)
{
	void *p = aligned_alloc(RMIO_LINE, size);

	return p ? memset(p, 0, size) : NULL;
}

void rmio_vm_freeze(struct rmio_vm *vm)
{
	uint32_t i;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->lanes_used; i++)
		if (vm->vcpus[i])
			pthread_mutex_lock(&vm->vcpus[i]->lock);
}

void rmio_vm_thaw(struct rmio_vm *vm)
{
	uint32_t i;

	for (i = vm->lanes_used; i-- > 0;)
		if (vm->vcpus[i])
			pthread_mutex_unlock(&vm->vcpus[i]->lock);
	pthread_mutex_unlock(&vm->lock);
}

int rmio_vm_new(const struct rmio_vm_opts *opts, struct rmio_vm **out)
{
	struct rmio_vm_opts o;
	struct rmio_vm *vm;
	int err = rmio_opts_copy(&o, sizeof(o), opts);

	if (err)
		return err;
	if (o.max_vcpus > RMIO_LANES_MAX || (o.flags & ~RMIO_VM_MANUAL))
		return -EINVAL;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->max_vcpus = o.max_vcpus ? o.max_vcpus : MAX_VCPUS;
	vm->flags = o.flags;
	vm->dead = o.dead;
	vm->arg = o.arg;
	err = -ENOMEM;
	vm->vcpus = calloc(vm->max_vcpus, sizeof(struct rmio_vcpu *));
	if (!vm->vcpus)
		goto free_vm;
	pthread_mutex_init(&vm->control, NULL);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->left, NULL);
	err = rmio_control_start(vm);
	if (err)
		goto free_vcpus;
	*out = vm;
	return 0;

free_vcpus:
	free(vm->vcpus);
free_vm:
	free(vm);
	return err;
}

void rmio_vm_free(struct rmio_vm *vm)
{
	int i;

	if (!vm)
		return;
	rmio_control_stop(vm);
	rmio_kvm_free(vm);
	for (i = 0; i < RMIO_BUSES; i++)
		free(vm->tables[i].ranges);
	pthread_cond_destroy(&vm->left);
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->control);
	free(vm->vcpus);
	free(vm);
}

uint64_t rmio_vm_straddled(const struct rmio_vm *cvm)
{
	struct rmio_vm *vm = (struct rmio_vm *)cvm;
	uint64_t sum = 0;
	uint32_t i;

	rmio_vm_freeze(vm);
	for (i = 0; i < vm->lanes_used; i++)
		if (vm->vcpus[i])
			sum += vm->vcpus[i]->straddled;
	rmio_vm_thaw(vm);
	return sum;
}
