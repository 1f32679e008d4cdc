// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The vCPU's side of the BPF program (bpf/mmio_filter.bpf.c), after each KVM_RUN:
 * which thread is the vCPU, whether an exit's store has been delivered already, and
 * what the program could not do itself.  First step of each exit on the bpf back end.
 */
#include "kvm.h"
#include "vm.h"

#include <errno.h>
#include <string.h>

/*
 * The vCPU that the calling thread is bound to.  A new thread begins with NULL, even
 * where its number, stack and handle are those of a thread that ended.
 */
static __thread const struct rmio_vcpu *bound;

static void unbind(struct rmio_vcpu *v)
{
	rmio_bpf_thread_unbind(v->vm->bpf, v->tid, v->pidfd);
	v->bound_at = NULL;
	v->pidfd = -1;
}

void rmio_capture_unbind(struct rmio_vcpu *v)
{
	if (v->capture && v->bound_at)
		unbind(v);
}

/*
 * Another thread than before runs this vCPU.  What it has stored in the meantime was
 * captured by nobody: one store at most, since the program has signalled the thread.
 */
static void bind(struct rmio_vcpu *v)
{
	if (v->bound_at)
		unbind(v);
	/* Whatever is noted there, another thread stored it. */
	v->capture->last_len = 0;
	v->capture->last_taken = 0;
	v->capture->prev_taken = 0;
	v->capture->load_at = 0;
	/*
	 * Without it the thread's stores go on as strays, each with a signal: slow, and
	 * taken up once it can be bound.
	 */
	if (rmio_bpf_thread_bind(v->vm->bpf, v->index, &v->tid, &v->pidfd))
		return;
	v->bound_at = &bound;
	bound = v;
	v->stray_done = 0;
	if (!rmio_bpf_stray(v->vm->bpf, v->tid, v->pidfd, &v->stray) ||
	    v->stray.len > sizeof(v->stray.data)) {
		v->stray.len = 0;
		return;
	}
	/* From here on it is ours to deliver, also if it should exit. */
	v->capture->last_gpa = v->stray.gpa;
	v->capture->last_len = v->stray.len;
	v->capture->last_taken = v->stray.len;
}

/* In natural pieces. */
static int post_stray(struct rmio_vcpu *v)
{
	struct rmio_bpf_stray *s = &v->stray;
	int err;

	while (v->stray_done < s->len) {
		struct access a = {
			.store = true,
			.bus = RMIO_BUS_MEM,
			.addr = s->gpa + v->stray_done,
			.len = 8,
		};

		while (a.len > s->len - v->stray_done || a.addr & (a.len - 1))
			a.len /= 2;
		memcpy(&a.data, s->data + v->stray_done, a.len);
		err = rmio_access_piece(v, &a);
		if (err == -EINTR)
			return err;
		v->stray_done += a.len;
	}
	s->len = 0;
	return 0;
}

/* Device slot @dev asked for us: its lane is full, or it sleeps. */
static int attend(struct rmio_vcpu *v, uint32_t dev)
{
	struct rmio_master *m;
	int err = 0;

	pthread_mutex_lock(&v->lock);
	m = v->vm->captured[dev];
	if (m)
		err = rmio_access_room(v, m);
	pthread_mutex_unlock(&v->lock);
	return err == -EINTR ? err : 0;
}

static int attend_all(struct rmio_vcpu *v)
{
	volatile uint64_t *attention = (volatile uint64_t *)v->capture->attention;
	uint32_t w, bit;
	int err;

	for (w = 0; w < RMIO_BPF_DEVS / 64; w++)
		while (attention[w]) {
			bit = (uint32_t)__builtin_ctzll(attention[w]);
			err = attend(v, w * 64 + bit);
			if (err)
				return err;
			attention[w] &= ~(1ull << bit);
		}
	return 0;
}

int rmio_capture_settle(struct rmio_vcpu *v, struct kvm_run *run)
{
	int err;

	if (bound != v || v->bound_at != &bound)
		bind(v);
	rmio_kvm_drain(v->vm, run);
	err = attend_all(v);
	return err ? err : post_stray(v);
}

/*
 * The plan has changed between program and KVM: KVM has woken nobody.  Which device it
 * was is not noted, so all are looked at.
 */
static void ring_all(struct rmio_vcpu *v)
{
	uint32_t i;

	pthread_mutex_lock(&v->lock);
	for (i = 0; i < RMIO_BPF_DEVS; i++)
		if (v->vm->captured[i])
			rmio_bell_ring(&v->vm->captured[i]->bell);
	pthread_mutex_unlock(&v->lock);
}

bool rmio_capture_took(struct rmio_vcpu *v, uint64_t addr, uint32_t len)
{
	const volatile struct rmio_bpf_vcpu *c = v->capture;
	uint64_t in = addr - c->last_gpa, taken = c->last_taken;

	/* KVM shows both parts of a store that crosses a page before the first one exits. */
	if (in >= c->last_len) {
		in = addr - c->prev_gpa;
		taken = c->prev_taken;
	}
	/* KVM cuts a wide store into pieces: those that the program took come first. */
	if (in >= taken || len > taken - in)
		return false;
	ring_all(v);
	return true;
}
