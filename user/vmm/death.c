// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The end of a device, whoever notices it: nothing is answered by it any more, whoever waits for
 * it wakes, and the VMM is told.  Beside the data path.
 */
#include "death.h"

#include <sys/socket.h>

/* With the VM frozen.  What is still in the rings will not be delivered. */
static void discard(struct rmio_master *m)
{
	uint32_t i;

	for (i = 0; i < m->vm->lanes_used; i++) {
		/* A copy: the vCPU may be waiting, and looks at its own without a lock. */
		struct rmio_prod p = m->lanes[i];

		rmio_prod_sync(&p);
		rmio_prod_update(&p);
		rmio_count(&p.down->counters.discarded, rmio_prod_stores(&p));
	}
}

void rmio_master_kill(struct rmio_master *m, enum rmio_state why, const char *reason)
{
	bool elsewhere = rmio_master_elsewhere(m);
	struct rmio_vm *vm = m->vm;
	struct rmio_bell_out bell;
	uint32_t i;

	rmio_vm_freeze(vm);
	if (rmio_state_dead(m->state)) {
		rmio_vm_thaw(vm);
		return;
	}
	rmio_word_write(&m->state, why);
	if (m->ops->dead)
		m->ops->dead(m);
	/* Who takes accesses elsewhere has discarded what was under way there. */
	if (!elsewhere)
		discard(m);
	/* The device sees end of file, whatever it is doing. */
	if (m->own->chan >= 0)
		shutdown(m->own->chan, SHUT_RDWR);
	for (i = 0; i < vm->lanes_used; i++)
		if (vm->vcpus[i])
			rmio_event_raise(&own_vcpu(vm->vcpus[i])->event);
	bell = m->bell;
	rmio_vm_thaw(vm);
	/* Wakes all that the device has made wait, however many: not with the VM frozen. */
	if (!elsewhere)
		rmio_bell_force(&bell);
	if (m->ops->died)
		m->ops->died(m);
	if (own_vm(vm)->dead && reason)
		own_vm(vm)->dead(own_vm(vm)->arg, m, why, reason);
	pthread_mutex_lock(&vm->lock);
	rmio_word_write(&m->told, 1);
	pthread_cond_broadcast(&vm->left);
	pthread_mutex_unlock(&vm->lock);
}
