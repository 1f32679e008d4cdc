// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Quiesce and resume: what vCPUs have stored is done, and nothing more comes.  Beside the data
 * path, whose ordinary steps know nothing of it: a vCPU is stopped by what it looks at anyway, the
 * hooks around KVM_RUN, and in an access the number of the request that was interrupted.
 */
#include "park.h"
#include "refuse.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_NS	5000000000ull
#define LOOK_MIN_NS	20000u
#define LOOK_MAX_NS	1000000u

/* -- a vCPU --------------------------------------------------------------------------- */

/* Until the VM is resumed.  No lock held.  0, -EINTR, -EDEADLK. */
static int wait_open(struct rmio_vcpu *v, const volatile uint8_t *immediate_exit)
{
	struct vcpu *own = own_vcpu(v);
	struct vm *vm = own_vm(v->vm);
	uint32_t seen;
	int err = 0;

	while (!err) {
		seen = rmio_word_read(&own->event);
		if (!rmio_word_read(&vm->parked))
			return 0;
		if (rmio_word_read(&vm->quiescer) == (uint32_t)gettid())
			return rmio_refuse(-EDEADLK, "this thread has quiesced the VM: it has to "
					   "resume it before an access of a vCPU");
		if (rmio_vcpu_kicked(v) || (immediate_exit && *immediate_exit)) {
			v->kicks_seen = rmio_word_read(&v->kicks);
			return -EINTR;
		}
		err = rmio_event_sleep(&own->event, seen);
	}
	return err;
}

int rmio_park_access(struct rmio_vcpu *v)
{
	int err;

	pthread_mutex_unlock(&v->lock);
	err = wait_open(v, NULL);
	pthread_mutex_lock(&v->lock);
	return err ? err : 1;
}

/* Around KVM_RUN; the access of an exit, if any, has not begun. */
static int gate(void *arg, struct kvm_run *run)
{
	struct rmio_vcpu *v = arg;
	struct pending *p = &own_vcpu(v)->pending;
	bool under_way;

	/* Interrupted, and answered in the meantime: the vCPU gets its answer, and parks later. */
	pthread_mutex_lock(&v->lock);
	under_way = p->seq && p->seq != RMIO_SEQ_PARKED;
	pthread_mutex_unlock(&v->lock);
	return under_way ? 0 : wait_open(v, &run->immediate_exit);
}

static bool took_nothing(void *arg, uint64_t addr, uint32_t len)
{
	return false;
}

void rmio_park_mark(struct rmio_vcpu *v)
{
	struct pending *p = &own_vcpu(v)->pending;

	if (!p->seq)
		p->seq = RMIO_SEQ_PARKED;
	else if (p->seq != RMIO_SEQ_PARKED)
		own_vcpu(v)->look = true;	/* at its end, then */
}

/* The last of its hooks: what a back end has still to do comes first. */
static void hook(struct rmio_vcpu *v)
{
	struct rmio_hooks *h = &own_vcpu(v)->gate;

	*h = (struct rmio_hooks){
		.arg = v, .after_run = gate, .before_run = gate, .took = took_nothing,
	};
	rmio_hooks_append(v, h);
}

void rmio_park_new(struct rmio_vcpu *v)
{
	if (!own_vm(v->vm)->parked)
		return;
	rmio_park_mark(v);
	hook(v);
}

/* -- the VM ---------------------------------------------------------------------------- */

/* With the VM frozen. */
static void shut(struct vm *vm)
{
	uint32_t i;

	rmio_word_write(&vm->parked, 1);
	rmio_word_write(&vm->quiescer, (uint32_t)gettid());
	for (i = 0; i < vm->shared.lanes_used; i++)
		if (vm->shared.vcpus[i]) {
			rmio_park_mark(vm->shared.vcpus[i]);
			hook(vm->shared.vcpus[i]);
		}
}

static void open_again(struct vm *vm)
{
	uint32_t i;

	rmio_vm_freeze(&vm->shared);
	rmio_word_write(&vm->parked, 0);
	rmio_word_write(&vm->quiescer, 0);
	for (i = 0; i < vm->shared.lanes_used; i++) {
		struct rmio_vcpu *v = vm->shared.vcpus[i];

		if (!v)
			continue;
		if (own_vcpu(v)->pending.seq == RMIO_SEQ_PARKED)
			own_vcpu(v)->pending.seq = 0;
		rmio_hooks_remove(v, &own_vcpu(v)->gate);
		rmio_event_raise(&own_vcpu(v)->event);
	}
	rmio_vm_thaw(&vm->shared);
}

/* A device that has not done all yet.  With vm->control held and the VM frozen. */
static struct rmio_master *behind(const struct rmio_vm *vm, uint32_t *vcpu)
{
	struct rmio_master *m;
	uint32_t i;

	for (i = 0; i < vm->lanes_used; i++)
		if (vm->vcpus[i] && own_vcpu(vm->vcpus[i])->inside) {
			*vcpu = i;
			return own_vcpu(vm->vcpus[i])->inside;
		}
	for (m = vm->masters; m; m = m->next)
		for (i = 0; i < vm->max_vcpus && !rmio_state_dead(m->state); i++)
			if (rmio_prod_depth(&m->lanes[i])) {
				/* Taken in the kernel: nobody may have woken it yet. */
				if (!rmio_master_elsewhere(m))
					rmio_bell_ring(&m->bell);
				*vcpu = i;
				return m;
			}
	return NULL;
}

int rmio_vm_quiesce(struct rmio_vm *vm, uint64_t timeout_ns, struct rmio_master **late)
{
	uint64_t start = rmio_now_ns(), pause = LOOK_MIN_NS;
	struct vm *own = own_vm(vm);
	struct rmio_master *m;
	bool first = true;
	uint32_t vcpu = 0;

	if (late)
		*late = NULL;
	timeout_ns = timeout_ns ? timeout_ns : TIMEOUT_NS;
	for (;;) {
		struct timespec t = { .tv_nsec = (long)pause };

		pthread_mutex_lock(&vm->control);
		rmio_vm_freeze(vm);
		if (first && own->parked) {
			rmio_vm_thaw(vm);
			pthread_mutex_unlock(&vm->control);
			return rmio_refuse(-EBUSY, "the VM is quiesced already");
		}
		if (first)
			shut(own);
		first = false;
		m = behind(vm, &vcpu);
		rmio_vm_thaw(vm);
		if (m && rmio_now_ns() - start >= timeout_ns)
			break;
		pthread_mutex_unlock(&vm->control);
		if (!m)
			return 0;
		nanosleep(&t, NULL);
		pause = pause < LOOK_MAX_NS ? 2 * pause : pause;
	}
	if (late)
		*late = m;
	rmio_refuse(-ETIMEDOUT, "%s has not done what vCPU %u has asked of it", m->own->name, vcpu);
	pthread_mutex_unlock(&vm->control);
	open_again(own);
	return -ETIMEDOUT;
}

int rmio_vm_resume(struct rmio_vm *vm)
{
	if (!rmio_word_read(&own_vm(vm)->parked))
		return rmio_refuse(-EINVAL, "the VM is not quiesced");
	open_again(own_vm(vm));
	return 0;
}
