// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Stops all vCPUs of a VM for a change of what they look at.  Beside the data path.
 */
#include "remote.h"

/* Where the link to @h is, or (NULL) to none. */
static const void **link_to(struct rmio_vcpu *v, const struct rmio_hooks *h)
{
	const struct rmio_hooks **at = &v->hooks;

	while (*at && *at != h)
		at = &((struct rmio_hooks *)*at)->next;
	return (const void **)at;
}

void rmio_hooks_append(struct rmio_vcpu *v, struct rmio_hooks *h)
{
	rmio_link_write(link_to(v, NULL), h);
}

void rmio_hooks_remove(struct rmio_vcpu *v, const struct rmio_hooks *h)
{
	const void **at = link_to(v, h);

	if (*at)
		rmio_link_write(at, rmio_hooks_next(h));
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
