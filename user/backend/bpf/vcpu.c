// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The vCPU's side of the BPF program (bpf/mmio_filter.bpf.c), after each KVM_RUN:
 * which thread is the vCPU, whether an exit's store has been delivered already, and
 * what the program could not do itself.  First step of each exit on the bpf back end.
 */
#include "bpf.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Of a vCPU; its thread alone, but for what says otherwise. */
struct capture {
	struct rmio_hooks hooks;
	struct rmio_vcpu *v;
	struct rmio_vm *vm;
	struct rmio_kvm *kvm;
	struct rmio_bpf_vcpu *notes;	/* what the program notes for this vCPU */
	const void *volatile bound_at;	/* by the thread whose mark is there; vm->lock */
	pid_t tid;			/* of that thread, as is: */
	int pidfd;
	bool settling;			/* the last call was interrupted: no KVM_RUN since */
	struct {			/* stored by a thread that was not bound, to be posted */
		uint32_t thread;	/* its number, for the program */
		uint32_t piece, pieces;	/* under way, and how many there are */
		uint32_t entry, done;	/* in the piece; bytes of the entry */
		bool here;		/* the piece is: */
		struct rmio_bpf_stray note;
	} stray;
};

/*
 * The vCPU that the calling thread is bound to.  A new thread begins with NULL, even
 * where its number, stack and handle are those of a thread that ended.
 */
static __thread const struct capture *bound;

/* With vm->lock held, as all that changes who is bound where. */
static void unbind(struct capture *c)
{
	rmio_bpf_thread_unbind(c->kvm->bpf, c->tid, c->pidfd);
	c->bound_at = NULL;
	c->pidfd = -1;
}

static struct capture *capture_of(const struct rmio_vcpu *v)
{
	return v->part[RMIO_BACKEND_BPF];
}

struct rmio_bpf_vcpu *rmio_capture_notes(const struct rmio_vcpu *v)
{
	return capture_of(v)->notes;
}

bool rmio_capture_bound(const struct rmio_vcpu *v)
{
	return capture_of(v)->bound_at;
}

/*
 * The calling thread, or one that had its number and has ended, was another vCPU: that one
 * must not end our binding when it is bound elsewhere or freed.
 */
static void take_over(struct capture *c, pid_t tid)
{
	struct rmio_vm *vm = c->vm;
	struct capture *u;
	uint32_t i;

	for (i = 0; i < vm->lanes_used; i++) {
		u = vm->vcpus[i] ? capture_of(vm->vcpus[i]) : NULL;
		if (!u || u == c || !u->bound_at || u->tid != tid)
			continue;
		if (u == bound && u->bound_at == &bound)
			c->pidfd = u->pidfd;
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
static void bind(struct capture *c)
{
	pthread_mutex_lock(&c->vm->lock);
	if (c->bound_at)
		unbind(c);
	take_over(c, gettid());
	if (!rmio_bpf_thread_bind(c->kvm->bpf, c->v->index, &c->tid, &c->pidfd)) {
		c->bound_at = &bound;
		bound = c;
	}
	pthread_mutex_unlock(&c->vm->lock);
}

/*
 * What the calling thread has stored, in the last KVM_RUN, while it was not bound.  Its
 * first piece is taken at once: from here on it is this vCPU's to deliver, whichever
 * thread goes on with it.
 */
static void find_strays(struct capture *c, bool ran)
{
	struct rmio_bpf_stray *note = &c->stray.note;
	struct rmio_bpf_vcpu *n = c->notes;
	struct rmio_bpf *bpf = c->kvm->bpf;
	uint32_t i;

	/* Whatever is noted there, another thread stored it. */
	n->last_len = 0;
	n->last_taken = 0;
	n->prev_taken = 0;
	n->load_at = 0;
	c->stray.pieces = 0;
	c->stray.thread = rmio_bpf_thread_number(bpf);
	if (!rmio_bpf_stray(bpf, c->stray.thread, 0, note))
		return;
	rmio_bpf_stray_done(bpf, c->stray.thread, 0);
	if (!ran) {
		for (i = 1; i <= note->last && i < RMIO_BPF_STRAY_PIECES; i++)
			rmio_bpf_stray_done(bpf, c->stray.thread, i);
		return;
	}
	n->last_gpa = note->last_gpa;
	n->last_len = note->last_len;
	n->last_taken = note->last_taken;
	n->prev_gpa = note->prev_gpa;
	n->prev_taken = note->prev_taken;
	c->stray.pieces = note->last + 1;
	c->stray.piece = 0;
	c->stray.entry = 0;
	c->stray.done = 0;
	c->stray.here = true;
}

/* As after an exit: what is no power of two in natural pieces. */
static int post_stray(struct capture *c, uint64_t gpa, uint64_t data, uint32_t len)
{
	int err;

	while (c->stray.done < len) {
		struct access a = {
			.store = true,
			.bus = RMIO_BUS_MEM,
			.addr = gpa + c->stray.done,
			.len = len & (len - 1) ? 8 : len,
			.data = data >> (8 * c->stray.done),
		};

		while (a.len > len - c->stray.done || (len & (len - 1) && a.addr & (a.len - 1)))
			a.len /= 2;
		err = c->vm->up->access(c->v, &a);
		if (err == -EINTR)
			return err;
		c->stray.done += a.len;
	}
	return 0;
}

static int post_strays(struct capture *c)
{
	struct rmio_bpf_stray *note = &c->stray.note;
	struct rmio_bpf *bpf = c->kvm->bpf;
	int err;

	for (; c->stray.piece < c->stray.pieces; c->stray.piece++) {
		if (!c->stray.here && !rmio_bpf_stray(bpf, c->stray.thread, c->stray.piece, note))
			note->nr = 0;
		c->stray.here = true;
		for (; c->stray.entry < note->nr && c->stray.entry < RMIO_BPF_STRAYS;
		     c->stray.entry++) {
			err = post_stray(c, note->store[c->stray.entry].gpa,
					 note->store[c->stray.entry].data,
					 note->store[c->stray.entry].len & 15);
			if (err)
				return err;
			c->stray.done = 0;
		}
		if (c->stray.piece)
			rmio_bpf_stray_done(bpf, c->stray.thread, c->stray.piece);
		c->stray.here = false;
		c->stray.entry = 0;
	}
	return 0;
}

/* Device slot @dev asked for us: its lane is full, or it sleeps. */
static int attend(struct capture *c, uint32_t dev)
{
	struct rmio_master *m;
	int err = 0;

	pthread_mutex_lock(&c->v->lock);
	m = c->kvm->captured[dev];
	if (m)
		err = c->vm->up->room(c->v, m);
	pthread_mutex_unlock(&c->v->lock);
	return err == -EINTR ? err : 0;
}

static int attend_all(struct capture *c)
{
	volatile uint64_t *attention = (volatile uint64_t *)c->notes->attention;
	uint32_t w, bit;
	int err;

	for (w = 0; w < RMIO_BPF_DEVS / 64; w++)
		while (attention[w]) {
			bit = (uint32_t)__builtin_ctzll(attention[w]);
			err = attend(c, w * 64 + bit);
			if (err)
				return err;
			attention[w] &= ~(1ull << bit);
		}
	return 0;
}

static int settle(struct capture *c, struct kvm_run *run, bool ran)
{
	bool mine = bound == c && c->bound_at == &bound;
	int err;

	if (!mine)
		bind(c);
	/* After an interruption everything is known already, also to another thread. */
	if (!mine && !c->settling)
		find_strays(c, ran);
	c->settling = true;
	rmio_kvm_drain(c->kvm, run);
	err = attend_all(c);
	if (!err)
		err = post_strays(c);
	if (!err)
		c->settling = false;
	return err;
}

static int after_run(void *arg, struct kvm_run *run)
{
	return settle(arg, run, true);
}

static int before_run(void *arg, struct kvm_run *run)
{
	return settle(arg, run, false);
}

/*
 * The plan has changed between program and KVM: KVM has woken nobody.  Which device it
 * was is not noted, so all are looked at.
 */
static void ring_all(struct capture *c)
{
	uint32_t i;

	pthread_mutex_lock(&c->v->lock);
	for (i = 0; i < RMIO_BPF_DEVS; i++)
		if (c->kvm->captured[i])
			rmio_bell_ring(&c->kvm->captured[i]->bell);
	pthread_mutex_unlock(&c->v->lock);
}

static bool took(void *arg, uint64_t addr, uint32_t len)
{
	struct capture *c = arg;
	const volatile struct rmio_bpf_vcpu *n = c->notes;
	uint64_t in = addr - n->last_gpa, taken = n->last_taken;

	/* KVM shows both parts of a store that crosses a page before the first one exits. */
	if (in >= n->last_len) {
		in = addr - n->prev_gpa;
		taken = n->prev_taken;
	}
	/* KVM cuts a wide store into pieces: those that the program took come first. */
	if (in >= taken || len > taken - in)
		return false;
	ring_all(c);
	return true;
}

/* -- making and unmaking --------------------------------------------------------------- */

void rmio_capture_start(struct rmio_vcpu *v)
{
	struct capture *c = capture_of(v);

	c->notes = rmio_bpf_vcpu(c->kvm->bpf, v->index);
	rmio_vcpu_hook(v, &c->hooks);
}

int rmio_capture_new(struct rmio_vcpu *v)
{
	struct capture *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->hooks.arg = c;
	c->hooks.after_run = after_run;
	c->hooks.before_run = before_run;
	c->hooks.took = took;
	c->v = v;
	c->vm = v->vm;
	c->kvm = rmio_kvm_of(v->vm);
	c->pidfd = -1;
	v->part[RMIO_BACKEND_BPF] = c;
	if (c->kvm->bpf)
		rmio_capture_start(v);
	return 0;
}

void rmio_capture_free(struct rmio_vcpu *v)
{
	struct capture *c = capture_of(v);

	if (c->bound_at)
		unbind(c);
	free(c);
}
