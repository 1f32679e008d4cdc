// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The vCPU's side of the BPF program (bpf/mmio_filter.bpf.c), after each KVM_RUN:
 * which thread is the vCPU, whether an exit's store has been delivered already, and
 * what the program could not do itself.  First step of each exit on the bpf back end.
 */
#include "install.h"
#include "vmm/vm.h"

#include <errno.h>
#include <unistd.h>

/*
 * The vCPU that the calling thread is bound to.  A new thread begins with NULL, even
 * where its number, stack and handle are those of a thread that ended.
 */
static __thread const struct rmio_vcpu *bound;

/* With vm->lock held, as all that changes who is bound where. */
static void unbind(struct rmio_vcpu *v)
{
	rmio_bpf_thread_unbind(v->vm->bpf, v->tid, v->pidfd);
	v->bound_at = NULL;
	v->pidfd = -1;
}

void rmio_capture_unbind(struct rmio_vcpu *v)
{
	if (!v->capture)
		return;
	pthread_mutex_lock(&v->vm->lock);
	if (v->bound_at)
		unbind(v);
	pthread_mutex_unlock(&v->vm->lock);
}

/*
 * The calling thread, or one that had its number and has ended, was another vCPU: that one
 * must not end our binding when it is bound elsewhere or freed.
 */
static void take_over(struct rmio_vcpu *v, pid_t tid)
{
	struct rmio_vm *vm = v->vm;
	struct rmio_vcpu *u;
	uint32_t i;

	for (i = 0; i < vm->lanes_used; i++) {
		u = vm->vcpus[i];
		if (!u || u == v || !u->bound_at || u->tid != tid)
			continue;
		if (u == bound && u->bound_at == &bound)
			v->pidfd = u->pidfd;
		else if (u->pidfd >= 0)
			close(u->pidfd);
		u->pidfd = -1;
		u->bound_at = NULL;
	}
}

/*
 * The calling thread is this vCPU.  Should that fail, for want of memory or of a
 * descriptor, its stores go on as strays, each with a signal, and it is tried again after
 * each: slow, but nothing else.
 */
static void bind(struct rmio_vcpu *v)
{
	pthread_mutex_lock(&v->vm->lock);
	if (v->bound_at)
		unbind(v);
	take_over(v, gettid());
	if (!rmio_bpf_thread_bind(v->vm->bpf, v->index, &v->tid, &v->pidfd)) {
		v->bound_at = &bound;
		bound = v;
	}
	pthread_mutex_unlock(&v->vm->lock);
}

/*
 * What the calling thread has stored, in the last KVM_RUN, while it was not bound.  Its
 * first piece is taken at once: from here on it is this vCPU's to deliver, whichever
 * thread goes on with it.
 */
static void find_strays(struct rmio_vcpu *v, bool ran)
{
	struct rmio_bpf_stray *note = &v->stray.note;
	struct rmio_bpf_vcpu *c = v->capture;
	struct rmio_bpf *bpf = v->vm->bpf;
	uint32_t i;

	/* Whatever is noted there, another thread stored it. */
	c->last_len = 0;
	c->last_taken = 0;
	c->prev_taken = 0;
	c->load_at = 0;
	v->stray.pieces = 0;
	v->stray.thread = rmio_bpf_thread_number(bpf);
	if (!rmio_bpf_stray(bpf, v->stray.thread, 0, note))
		return;
	rmio_bpf_stray_done(bpf, v->stray.thread, 0);
	if (!ran) {
		for (i = 1; i <= note->last && i < RMIO_BPF_STRAY_PIECES; i++)
			rmio_bpf_stray_done(bpf, v->stray.thread, i);
		return;
	}
	c->last_gpa = note->last_gpa;
	c->last_len = note->last_len;
	c->last_taken = note->last_taken;
	c->prev_gpa = note->prev_gpa;
	c->prev_taken = note->prev_taken;
	v->stray.pieces = note->last + 1;
	v->stray.piece = 0;
	v->stray.entry = 0;
	v->stray.done = 0;
	v->stray.here = true;
}

/* As after an exit: what is no power of two in natural pieces. */
static int post_stray(struct rmio_vcpu *v, uint64_t gpa, uint64_t data, uint32_t len)
{
	int err;

	while (v->stray.done < len) {
		struct access a = {
			.store = true,
			.bus = RMIO_BUS_MEM,
			.addr = gpa + v->stray.done,
			.len = len & (len - 1) ? 8 : len,
			.data = data >> (8 * v->stray.done),
		};

		while (a.len > len - v->stray.done || (len & (len - 1) && a.addr & (a.len - 1)))
			a.len /= 2;
		err = rmio_access_piece(v, &a);
		if (err == -EINTR)
			return err;
		v->stray.done += a.len;
	}
	return 0;
}

static int post_strays(struct rmio_vcpu *v)
{
	struct rmio_bpf_stray *note = &v->stray.note;
	struct rmio_bpf *bpf = v->vm->bpf;
	int err;

	for (; v->stray.piece < v->stray.pieces; v->stray.piece++) {
		if (!v->stray.here && !rmio_bpf_stray(bpf, v->stray.thread, v->stray.piece, note))
			note->nr = 0;
		v->stray.here = true;
		for (; v->stray.entry < note->nr && v->stray.entry < RMIO_BPF_STRAYS;
		     v->stray.entry++) {
			err = post_stray(v, note->store[v->stray.entry].gpa,
					 note->store[v->stray.entry].data,
					 note->store[v->stray.entry].len & 15);
			if (err)
				return err;
			v->stray.done = 0;
		}
		if (v->stray.piece)
			rmio_bpf_stray_done(bpf, v->stray.thread, v->stray.piece);
		v->stray.here = false;
		v->stray.entry = 0;
	}
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

static int settle(struct rmio_vcpu *v, struct kvm_run *run, bool ran)
{
	bool mine = bound == v && v->bound_at == &bound;
	int err;

	if (!mine)
		bind(v);
	/* After an interruption everything is known already, also to another thread. */
	if (!mine && !v->settling)
		find_strays(v, ran);
	v->settling = true;
	rmio_kvm_drain(v->vm, run);
	err = attend_all(v);
	if (!err)
		err = post_strays(v);
	if (!err)
		v->settling = false;
	return err;
}

int rmio_capture_settle(struct rmio_vcpu *v, struct kvm_run *run)
{
	return settle(v, run, true);
}

int rmio_capture_enter(struct rmio_vcpu *v, struct kvm_run *run)
{
	return settle(v, run, false);
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
