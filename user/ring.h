/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A lane: the request ring and the reply slot of one vCPU and one device.
 *
 * Who may call what: a struct rmio_prod belongs to the vCPU's thread, a struct
 * rmio_cons to the device's thread.  The two run at the same time; nothing else
 * does, but for a BPF program that pushes in the vCPU's thread while that is in the
 * kernel.  Ordering contract, all of it:
 *
 *   producer: slot fields, then seq (release)   pairs with consumer: seq (acquire), then fields
 *   consumer: reads slots, then done (release)  pairs with producer: done (acquire), then reuse
 *   consumer: reply_data, then reply_seq (rel.) pairs with producer: reply_seq (acquire), then data
 *   consumer: reply_seq before done, so that a request is answered before it counts as complete
 *
 * Sleeping and waking is in wake.h.
 */
#ifndef RMIO_USER_RING_H
#define RMIO_USER_RING_H

#include <rmio/abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes between lanes in "down"; 0 if slots is no power of two in range. */
size_t rmio_lane_stride(uint32_t slots);

struct rmio_prod {
	struct rmio_down_lane *down;	/* ours, read-write */
	struct rmio_request *slots;	/* ours, read-write */
	const struct rmio_up_lane *up;	/* the device's, read-only */
	const uint32_t *wake_seq;	/* in "up", or in a page that can hold a futex */
	uint64_t tail;			/* private; the shared one is a copy for the peer */
	uint64_t done;			/* last checked value of up->done */
	uint64_t *tail_at;		/* where a BPF program has the tail too, or NULL */
	uint32_t slots_nr;
	uint32_t pad;			/* to a line: neighbours in an array have other writers */
};
_Static_assert(sizeof(struct rmio_prod) == RMIO_LINE, "rmio_prod size");

struct rmio_cons {
	struct rmio_up_lane *up;		/* ours, read-write */
	uint32_t *wake_seq;			/* in "up", or in a page that can hold a futex */
	const struct rmio_down_lane *down;	/* the VMM's, read-only */
	const struct rmio_request *slots;	/* the VMM's, read-only */
	uint64_t taken;				/* private: requests popped */
	uint64_t done;				/* private: requests completed */
	uint64_t redeliver;			/* below: handed to a predecessor */
	uint32_t slots_nr;
	/* Of the kernel device, where vCPUs sleep in the kernel; NULL: on wake_seq. */
	void (*wake)(int kernel, uint32_t lane);
	int kernel;				/* with that: its slave descriptor */
	uint32_t lane;				/* and which lane this is */
};

/*
 * PRODUCER: the vCPU's thread.  CONSUMER: the device's thread, one at a time.  ANYBODY: any thread,
 * for display.  Each names the release or acquire that it is, and its partner.
 */

/* PRODUCER, before it is one.  @at: index of the next request; 0 but for tests of the wrap. */
int rmio_prod_init(struct rmio_prod *p, void *lane_down, const void *lane_up, uint32_t slots,
		   uint64_t at);

/*
 * CONSUMER, before it is one.  Continues where "up" says its predecessor stopped: acquires "tail",
 * which rmio_prod_push_n releases.  -EINVAL slots, -EPROTO indices.
 */
int rmio_cons_init(struct rmio_cons *c, const void *lane_down, void *lane_up, uint32_t slots);

/*
 * PRODUCER.  Put @n requests into the ring, all or none, seq filled in.  The consumer sees
 * all of them at once: releases each seq, the first one's last, which rmio_cons_pending and _pop
 * acquire.  0; -EAGAIN no room (-EMSGSIZE more than the ring holds); -EPROTO the peer's index is
 * out of bounds.
 */
int rmio_prod_push_n(struct rmio_prod *p, const struct rmio_request *r, uint32_t n);
int rmio_prod_push(struct rmio_prod *p, const struct rmio_request *r);

/*
 * PRODUCER.  What a BPF program has pushed since: at the beginning of each access.  Orders nothing:
 * the program ran in this thread.
 */
void rmio_prod_sync(struct rmio_prod *p);

/*
 * PRODUCER.  The peer's done index, checked; and the same, taken over.  Acquires "done", which
 * rmio_cons_complete and _reply release: slots below it may be filled again.  0 or -EPROTO.
 */
int rmio_prod_peek(const struct rmio_prod *p, uint64_t *done);
int rmio_prod_update(struct rmio_prod *p);

/* PRODUCER.  Requests in the ring and not complete, by the last update; looks at nothing shared. */
static inline uint64_t rmio_prod_outstanding(const struct rmio_prod *p)
{
	return p->tail - p->done;
}

/*
 * PRODUCER.  How many posted stores are in the ring and not complete, by the last update; looks at
 * its own slots only.
 */
uint64_t rmio_prod_stores(const struct rmio_prod *p);

/* ANYBODY.  The same of all requests, 0 .. slots_nr; acquires "done" before it looks at "tail". */
uint32_t rmio_prod_depth(const struct rmio_prod *p);

/*
 * PRODUCER.  The answer to request @seq: true and *data when it has arrived.  Acquires "reply_seq",
 * which rmio_cons_reply releases after the data.
 */
bool rmio_prod_reply(const struct rmio_prod *p, uint64_t seq, uint64_t *data);

/*
 * The one writer of a counter; and ANYBODY.  They are only displayed, so nothing is ordered: never
 * torn, each by itself.
 */
static inline void rmio_count(__u64 *counter, uint64_t n)
{
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n,
			 __ATOMIC_RELAXED);
}
void rmio_counters_add(struct rmio_counters *sum, const struct rmio_counters *c);

/*
 * CONSUMER.  Copy up to @n published requests, unchecked but for seq, which it acquires from
 * rmio_prod_push_n before the other fields.  Returns how many.
 */
uint32_t rmio_cons_pop(struct rmio_cons *c, struct rmio_request *r, uint32_t n);

/* CONSUMER.  Anything to pop?  Acquires seq from rmio_prod_push_n: a published slot is complete. */
static inline bool rmio_cons_pending(const struct rmio_cons *c)
{
	const struct rmio_request *slot = &c->slots[c->taken & (c->slots_nr - 1)];

	return __atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE) == c->taken + 1;
}

/*
 * CONSUMER.  The @n oldest popped requests are complete (posted stores).  Releases "done", which
 * rmio_prod_peek acquires: their slots have been read, their effects are there.
 */
void rmio_cons_complete(struct rmio_cons *c, uint32_t n);

/*
 * CONSUMER.  The oldest popped request, a load or synchronous store, is answered.  Releases
 * "reply_seq" after the data, for rmio_prod_reply, and then "done", for rmio_prod_peek.
 */
void rmio_cons_reply(struct rmio_cons *c, uint64_t data);

#endif
