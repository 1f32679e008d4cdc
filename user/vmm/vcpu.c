// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a VMM calls for each exit: cuts it into accesses of natural size, and
 * takes an interrupted one up again.  The top of the vCPU's data path.
 */
#include "access.h"
#include "control.h"
#include "park.h"
#include "range.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

/* A power of two is one access; what KVM cut at a page is cut to natural sizes. */
static uint32_t next_piece(uint64_t addr, uint32_t left, uint32_t whole)
{
	uint32_t n = 8;

	if (left == whole && !(whole & (whole - 1)))
		return whole;
	while (n > left || (addr & (n - 1)))
		n /= 2;
	return n;
}

static bool same(const struct pending *p, const struct access *a)
{
	return p->active && p->store == a->store && p->bus == a->bus && p->addr == a->addr &&
	       p->len == a->len;
}

/* Is all of an access that is cut into pieces in one range?  As rmio_access_piece. */
static int check_whole(struct rmio_vcpu *v, const struct access *a)
{
	const struct range *r;
	enum range_match match;

	pthread_mutex_lock(&v->lock);
	match = rmio_range_find(&v->vm->tables[a->bus], a->addr, a->len,
				&own_vcpu(v)->hit[a->bus], &r);
	pthread_mutex_unlock(&v->lock);
	return match == RANGE_HIT ? 0 : match == RANGE_NONE ? -EOPNOTSUPP : -EXDEV;
}

static int access_pieces(struct rmio_vcpu *v, struct access *a)
{
	struct pending *p = &own_vcpu(v)->pending;
	int err = 0;

	if ((a->len & (a->len - 1)) && !p->done && !p->active)
		err = check_whole(v, a);
	while (!err && p->done < a->len) {
		struct access part = {
			.store = a->store,
			.bus = a->bus,
			.addr = a->addr + p->done,
			.len = next_piece(a->addr + p->done, a->len - p->done, a->len),
			.data = a->data >> (8 * p->done),
		};

		err = rmio_access_piece(v, &part);
		if (err && err != -EINTR && p->done) {
			/* The range went away between two pieces. */
			part.data = rmio_ones(part.len);
			err = 0;
		}
		if (err)
			break;
		if (!a->store)
			p->data |= part.data << (8 * p->done);
		p->done += part.len;
		p->waited = 0;
	}
	return err;
}

/* How much of @len bytes at @addr is in one range, or in none, in whole: *in. */
static uint32_t whole_piece(struct rmio_vcpu *v, uint32_t bus, uint64_t addr, uint32_t len,
			    bool *in)
{
	enum range_match match;
	const struct range *r;

	pthread_mutex_lock(&v->lock);
	while ((match = rmio_range_find(&v->vm->tables[bus], addr, len, &own_vcpu(v)->hit[bus],
					&r)) == RANGE_STRADDLE)
		len /= 2;
	pthread_mutex_unlock(&v->lock);
	*in = match == RANGE_HIT;
	return len;
}

/*
 * Partly inside of a range.  As on a bus: what is inside is answered by its device, of what is
 * outside a load reads ones, and a store is lost.
 */
static int access_split(struct rmio_vcpu *v, struct access *a)
{
	struct pending *p = &own_vcpu(v)->pending;

	for (; p->done < a->len; p->done += p->piece, p->piece = 0, p->waited = 0) {
		struct access part = {
			.store = a->store,
			.bus = a->bus,
			.addr = a->addr + p->done,
			.data = a->data >> (8 * p->done),
		};
		bool in = true;
		int err = -EOPNOTSUPP;

		if (!p->piece)
			p->piece = whole_piece(v, a->bus, part.addr,
					       next_piece(part.addr, a->len - p->done, 0), &in);
		part.len = p->piece;
		/* Where addresses end none follow: the first ones are somebody else's. */
		if (in && part.addr >= a->addr)
			err = rmio_access_piece(v, &part);
		if (err == -EINTR)
			return err;
		if (!a->store)
			p->data |= (err ? rmio_ones(part.len) : part.data) << (8 * p->done);
	}
	return 0;
}

/* To be taken up again by the same call. */
static int interrupted(struct pending *p, const struct access *a)
{
	p->active = true;
	p->store = a->store;
	p->bus = a->bus;
	p->addr = a->addr;
	p->len = a->len;
	return -EINTR;
}

/* Out of the way of all other accesses. */
__attribute__((noinline))
static int straddling(struct rmio_vcpu *v, struct access *a)
{
	struct pending *p = &own_vcpu(v)->pending;

	if (!p->split) {
		pthread_mutex_lock(&v->lock);
		own_vcpu(v)->straddled++;
		pthread_mutex_unlock(&v->lock);
	}
	p->split = true;
	if (access_split(v, a))
		return interrupted(p, a);
	if (!a->store)
		a->data = p->data;
	p->active = false;
	p->split = false;
	p->done = 0;
	p->data = 0;
	return 0;
}

static int access_all(struct rmio_vcpu *v, struct access *a)
{
	struct pending *p = &own_vcpu(v)->pending;
	int err;

	if (!a->len || a->len > 8 || a->bus >= RMIO_BUSES)
		return -EINVAL;
	if (__builtin_expect(p->active, 0)) {
		if (!same(p, a))
			rmio_vcpu_cancel(v);
		else if (p->split)
			return straddling(v, a);
	}
	err = access_pieces(v, a);
	if (err == -EINTR)
		return interrupted(p, a);
	if (__builtin_expect(err == -EXDEV, 0))
		return straddling(v, a);
	a->data = p->data;	/* of a store nobody looks at it */
	p->active = false;
	p->done = 0;
	p->data = 0;
	p->waited = 0;
	return err;
}

int rmio_vcpu_load(struct rmio_vcpu *vcpu, enum rmio_bus bus, uint64_t addr, uint32_t len,
		   uint64_t *data)
{
	struct access a = { .bus = bus, .addr = addr, .len = len };
	int err = access_all(vcpu, &a);

	if (!err)
		*data = a.data;
	return err;
}

int rmio_vcpu_store(struct rmio_vcpu *vcpu, enum rmio_bus bus, uint64_t addr, uint32_t len,
		    uint64_t data)
{
	struct access a = { .store = true, .bus = bus, .addr = addr, .len = len, .data = data };

	return access_all(vcpu, &a);
}

/* -- back ends' steps, out of the way of a vCPU that has none -------------------------- */

__attribute__((noinline))
static int after_run(const struct rmio_vcpu *v, struct kvm_run *run)
{
	const struct rmio_hooks *h;
	int err = 0;

	for (h = rmio_hooks_first(v); h && !err; h = rmio_hooks_next(h))
		err = h->after_run(h->arg, run);
	return err;
}

__attribute__((noinline))
static bool took(const struct rmio_vcpu *v, uint64_t addr, uint32_t len)
{
	const struct rmio_hooks *h;

	for (h = rmio_hooks_first(v); h; h = rmio_hooks_next(h))
		if (h->took(h->arg, addr, len))
			return true;
	return false;
}

/* -- exits -------------------------------------------------------------------------------- */

static int exit_mmio(struct rmio_vcpu *v, struct kvm_run *run)
{
	struct access a = {
		.store = run->mmio.is_write,
		.bus = RMIO_BUS_MEM,
		.addr = run->mmio.phys_addr,
		.len = run->mmio.len,
	};
	int err;

	if (a.len > sizeof(run->mmio.data))
		return -EOPNOTSUPP;
	/* All 8 bytes, whatever the length: those beyond it are nobody's. */
	if (a.store) {
		if (rmio_hooked(v) && took(v, a.addr, a.len))
			return 0;
		memcpy(&a.data, run->mmio.data, sizeof(a.data));
	}
	err = access_all(v, &a);
	if (!err && !a.store)
		memcpy(run->mmio.data, &a.data, sizeof(a.data));
	return err;
}

static int exit_io(struct rmio_vcpu *v, struct kvm_run *run)
{
	struct access a = {
		.store = run->io.direction == KVM_EXIT_IO_OUT,
		.bus = RMIO_BUS_IO,
		.addr = run->io.port,
		.len = run->io.size,
	};
	char *items = (char *)run + run->io.data_offset;
	struct vcpu *own = own_vcpu(v);
	int err = 0;

	if (!own->pending.active)
		own->io_done = 0;
	while (own->io_done < run->io.count) {
		char *item = items + own->io_done * a.len;

		a.data = 0;
		if (a.store)
			memcpy(&a.data, item, a.len);
		err = access_all(v, &a);
		if (err == -EINTR || (err && !own->io_done))
			return err;
		if (err)
			/* The range went away between two items. */
			a.data = rmio_ones(a.len);
		if (!a.store)
			memcpy(item, &a.data, a.len);
		own->io_done++;
	}
	own->io_done = 0;
	return 0;
}

int rmio_vcpu_exit(struct rmio_vcpu *vcpu, struct kvm_run *run)
{
	int err = rmio_hooked(vcpu) ? after_run(vcpu, run) : 0;

	if (err)
		return err;
	vcpu->immediate_exit = &run->immediate_exit;
	if (run->exit_reason == KVM_EXIT_MMIO)
		err = exit_mmio(vcpu, run);
	else if (run->exit_reason == KVM_EXIT_IO)
		err = exit_io(vcpu, run);
	else
		err = -EOPNOTSUPP;
	vcpu->immediate_exit = NULL;
	return err == -EINVAL ? -EOPNOTSUPP : err;
}

/*
 * Not ended by immediate_exit: it may be the trace of the program's own signal, and
 * KVM_RUN heeds it next anyway.
 */
int rmio_vcpu_intr(struct rmio_vcpu *vcpu, struct kvm_run *run)
{
	return rmio_hooked(vcpu) ? after_run(vcpu, run) : 0;
}

int rmio_vcpu_enter(struct rmio_vcpu *vcpu, struct kvm_run *run)
{
	const struct rmio_hooks *h;
	int err = 0;

	for (h = rmio_hooks_first(vcpu); h && !err; h = rmio_hooks_next(h))
		err = h->before_run(h->arg, run);
	return err;
}

/* -- making and interrupting ------------------------------------------------------- */

int rmio_vcpu_new(struct rmio_vm *vm, uint32_t index, const struct rmio_wait_opts *wait,
		  struct rmio_vcpu **out)
{
	struct rmio_master *m;
	struct rmio_vcpu *v;
	struct vcpu *own;
	int err;

	if (index >= vm->max_vcpus)
		return -ERANGE;
	own = aligned_alloc(RMIO_LINE, sizeof(*own));
	if (!own)
		return -ENOMEM;
	memset(own, 0, sizeof(*own));
	v = &own->shared;
	v->vm = vm;
	v->index = index;
	err = rmio_spin_init(&own->spin, wait);
	if (err)
		goto free_vcpu;
	pthread_mutex_init(&v->lock, NULL);

	pthread_mutex_lock(&vm->control);
	pthread_mutex_lock(&vm->lock);
	err = vm->vcpus[index] ? -EBUSY : rmio_backend_vcpu_new(v);
	if (!err) {
		vm->vcpus[index] = v;
		rmio_park_new(v);
		if (vm->lanes_used <= index)
			vm->lanes_used = index + 1;
		for (m = vm->masters; m; m = m->next)
			if (!rmio_master_elsewhere(m))
				rmio_word_write(&m->down->lanes_used, vm->lanes_used);
	}
	pthread_mutex_unlock(&vm->lock);
	pthread_mutex_unlock(&vm->control);
	if (err)
		goto destroy_lock;
	*out = v;
	return 0;

destroy_lock:
	pthread_mutex_destroy(&v->lock);
free_vcpu:
	free(own);
	return err;
}

void rmio_vcpu_free(struct rmio_vcpu *vcpu)
{
	struct rmio_vm *vm;

	if (!vcpu)
		return;
	vm = vcpu->vm;
	rmio_vcpu_cancel(vcpu);
	rmio_control_news(vm);
	pthread_mutex_lock(&vm->lock);
	rmio_backend_vcpu_free(vcpu);
	vm->vcpus[vcpu->index] = NULL;
	pthread_mutex_unlock(&vm->lock);
	pthread_mutex_destroy(&vcpu->lock);
	free(own_vcpu(vcpu));
}

void rmio_vcpu_cancel(struct rmio_vcpu *vcpu)
{
	struct pending *p = &own_vcpu(vcpu)->pending;

	pthread_mutex_lock(&vcpu->lock);
	if (p->waiting && p->waiting->ops->cancel)
		p->waiting->ops->cancel(vcpu, p->waiting);
	memset(p, 0, sizeof(*p));
	if (own_vm(vcpu->vm)->parked)
		rmio_park_mark(vcpu);
	pthread_mutex_unlock(&vcpu->lock);
	own_vcpu(vcpu)->io_done = 0;
}

void rmio_vcpu_kick(struct rmio_vcpu *vcpu)
{
	rmio_event_raise(&vcpu->kicks);
	rmio_event_raise(&own_vcpu(vcpu)->event);
	rmio_backend_kick(vcpu);
}
