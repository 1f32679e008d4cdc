// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The lane's data path: requests down, completions and one reply up.  Stands
 * between the vCPU (vmm/access.c) and the slave (device/slave.c).
 */
#include "memfd.h"
#include "ring.h"

#include <errno.h>

#define load_relaxed(p)		__atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_relaxed(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)

static bool slots_ok(uint32_t slots)
{
	return slots >= RMIO_RING_MIN && slots <= RMIO_RING_MAX && !(slots & (slots - 1));
}

size_t rmio_lane_stride(uint32_t slots)
{
	size_t ring;

	if (!slots_ok(slots))
		return 0;
	ring = slots * sizeof(struct rmio_request);
	return RMIO_PAGE + rmio_pages(ring);
}

int rmio_prod_init(struct rmio_prod *p, void *lane_down, const void *lane_up, uint32_t slots,
		   uint64_t at)
{
	if (!slots_ok(slots))
		return -EINVAL;
	p->down = lane_down;
	p->slots = (struct rmio_request *)((char *)lane_down + RMIO_PAGE);
	p->up = lane_up;
	p->wake_seq = &p->up->wake_seq;
	p->tail_at = NULL;
	p->tail = at;
	p->done = at;
	p->slots_nr = slots;
	return 0;
}

int rmio_cons_init(struct rmio_cons *c, const void *lane_down, void *lane_up, uint32_t slots)
{
	uint64_t done, taken, tail;

	if (!slots_ok(slots))
		return -EINVAL;
	c->up = lane_up;
	c->wake_seq = &c->up->wake_seq;
	c->down = lane_down;
	c->slots = (const struct rmio_request *)((const char *)lane_down + RMIO_PAGE);
	c->slots_nr = slots;
	done = load_relaxed(&c->up->done);
	taken = load_relaxed(&c->up->taken);
	tail = load_acquire(&c->down->tail);
	/*
	 * "taken" may run ahead of "tail": the slots say what is published, and
	 * the producer writes its tail after them.
	 */
	if (tail - done > slots && done - tail > slots)
		return -EPROTO;
	if (taken - done > slots)
		return -EPROTO;
	c->done = done;
	c->taken = done;
	c->redeliver = taken;
	c->wake = NULL;
	c->kernel = -1;
	c->lane = 0;
	return 0;
}

int rmio_prod_peek(const struct rmio_prod *p, uint64_t *done)
{
	/* Pairs with rmio_cons_complete: slots below done have been read. */
	uint64_t d = load_acquire(&p->up->done);

	if (d - p->done > p->tail - p->done)
		return -EPROTO;
	*done = d;
	return 0;
}

int rmio_prod_update(struct rmio_prod *p)
{
	return rmio_prod_peek(p, &p->done);
}

static void slot_fill(struct rmio_request *slot, const struct rmio_request *r)
{
	/* The copy is whole words; the seq of the old round stays until it is replaced. */
	slot->offset = r->offset;
	slot->data = r->data;
	slot->range_id = r->range_id;
	slot->vcpu = r->vcpu;
	slot->op = r->op;
	slot->len = r->len;
	slot->flags = 0;
	slot->reserved = 0;
}

int rmio_prod_push_n(struct rmio_prod *p, const struct rmio_request *r, uint32_t n)
{
	uint32_t mask = p->slots_nr - 1;
	uint64_t tail = p->tail;
	uint32_t i;
	int err;

	if (n > p->slots_nr)
		return -EMSGSIZE;
	if (p->slots_nr - (tail - p->done) < n) {
		err = rmio_prod_update(p);
		if (err)
			return err;
		if (p->slots_nr - (tail - p->done) < n)
			return -EAGAIN;
	}
	if (!n)
		return 0;
	/*
	 * The first slot is published last: the consumer polls it, and leaves the
	 * lines of the others alone until they are all written.
	 */
	for (i = 1; i < n; i++) {
		struct rmio_request *slot = &p->slots[(tail + i) & mask];

		slot_fill(slot, &r[i]);
		store_release(&slot->seq, tail + i + 1);
	}
	slot_fill(&p->slots[tail & mask], &r[0]);
	store_release(&p->slots[tail & mask].seq, tail + 1);
	p->tail = tail + n;
	store_release(&p->down->tail, p->tail);
	if (p->tail_at)
		store_relaxed(p->tail_at, p->tail);
	return 0;
}

void rmio_prod_sync(struct rmio_prod *p)
{
	if (p->tail_at)
		p->tail = load_relaxed(p->tail_at);
}

uint32_t rmio_prod_depth(const struct rmio_prod *p)
{
	/* The device's first: what comes in between makes the lane look deeper, not negative. */
	uint64_t done = load_acquire(&p->up->done);
	uint64_t tail = p->tail_at ? load_relaxed(p->tail_at) : load_relaxed(&p->down->tail);
	uint64_t depth = tail - done;

	return depth < p->slots_nr ? (uint32_t)depth : p->slots_nr;
}

int rmio_prod_push(struct rmio_prod *p, const struct rmio_request *r)
{
	return rmio_prod_push_n(p, r, 1);
}

uint64_t rmio_prod_stores(const struct rmio_prod *p)
{
	uint64_t i, n = 0;

	/* The device cannot write to the slots: they are still what was pushed. */
	for (i = p->done; i != p->tail; i++)
		n += p->slots[i & (p->slots_nr - 1)].op == RMIO_OP_STORE;
	return n;
}

bool rmio_prod_reply(const struct rmio_prod *p, uint64_t seq, uint64_t *data)
{
	if (load_acquire(&p->up->reply_seq) != seq)
		return false;
	*data = load_relaxed(&p->up->reply_data);
	return true;
}

uint32_t rmio_cons_pop(struct rmio_cons *c, struct rmio_request *r, uint32_t n)
{
	uint32_t mask = c->slots_nr - 1;
	uint64_t taken = c->taken;
	uint32_t room = c->slots_nr - (uint32_t)(taken - c->done);
	uint32_t i;

	/* A producer that overruns the ring would overwrite what is in flight. */
	if (n > room)
		n = room;
	for (i = 0; i < n; i++) {
		const struct rmio_request *slot = &c->slots[taken & mask];

		if (load_acquire(&slot->seq) != taken + 1)
			break;
		r[i] = *(const volatile struct rmio_request *)slot;
		r[i].seq = taken + 1;
		/* The peer's flags are checked by the caller; ours is added here. */
		if ((int64_t)(c->redeliver - taken) > 0)
			r[i].flags |= RMIO_REQ_REDELIVERED;
		taken++;
	}
	if (i) {
		c->taken = taken;
		store_relaxed(&c->up->taken, taken);
	}
	return i;
}

void rmio_cons_complete(struct rmio_cons *c, uint32_t n)
{
	c->done += n;
	/* Pairs with rmio_prod_peek: our reads of the slots come before their reuse. */
	store_release(&c->up->done, c->done);
}

void rmio_cons_reply(struct rmio_cons *c, uint64_t data)
{
	store_relaxed(&c->up->reply_data, data);
	c->done++;
	/* Pairs with rmio_prod_reply: whoever sees the number sees the data. */
	store_release(&c->up->reply_seq, c->done);
	store_release(&c->up->done, c->done);
}

void rmio_counters_add(struct rmio_counters *sum, const struct rmio_counters *c)
{
	const __u64 *from = (const __u64 *)c;
	__u64 *to = (__u64 *)sum;
	size_t i;

	for (i = 0; i < sizeof(*c) / sizeof(*from); i++)
		to[i] += load_relaxed(&from[i]);
}
