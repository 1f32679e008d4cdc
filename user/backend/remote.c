// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Stops all vCPUs of a VM for a change of what they look at.  Beside the data path.
 */
#include "remote.h"

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
