/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Sleeping and waking, on both sides of a lane.  The protocol, once:
 *
 *   VMM to device (one bell per device, any number of vCPUs)
 *     vCPU                                    device
 *     P1 publish slot (ring.c)                C1 b = down.bell
 *     P2 full fence                           C2 up.need_wake = fresh number
 *     P3 g = up.need_wake                     C3 full fence
 *     P4 if g and nobody rang for g:          C4 look at every lane again
 *        bell += 1, wake                      C5 sleep while down.bell == b
 *
 *   device to VMM (per lane)
 *     device                                  vCPU
 *     R1 publish reply, done (ring.c)         V1 s = up.wake_seq
 *     R2 full fence                           V2 down.wake_at, need_wake = fresh number
 *     R3 w = down.need_wake, wake_at          V3 full fence
 *     R4 if w is new and done reached it:     V4 look at the reply, done again
 *        wake_seq += 1, wake                  V5 sleep while up.wake_seq == s
 *
 * Without P2 the store of P1 can still sit in the store buffer while P3 reads
 * the old 0, and without C3 the same happens to C2 and C4: both sides see the
 * past, and the device sleeps with a request in its ring.  R2 and V3 likewise.
 * selftests/model has the proof, and finds the bug when either fence is gone.
 *
 * For vCPUs in the kernel device kern/virt/kvm/user_lane.c has P1 to P4, and user_exit.c V1 to V5:
 * change both.
 */
#ifndef RMIO_USER_WAKE_H
#define RMIO_USER_WAKE_H

#include "ring.h"
#include <rmio/wait.h>

/* PRODUCER and CONSUMER as in ring.h. */

/* -- time and spinning ----------------------------------------------------- */

uint64_t rmio_now_ns(void);	/* CLOCK_MONOTONIC */

/*
 * Adaptive spinning.  Learns how long answers take; spins twice that long where
 * that is within spin_max_ns, else not at all; and only while the time spent
 * spinning stays within cpu_share of the time that passes.
 */
struct rmio_spin {
	struct rmio_wait_opts opts;
	uint64_t typical_ns;	/* moving average of how long answers take */
	uint64_t budget_ns;	/* spinning that may still be spent */
	uint64_t earned_at;	/* when the budget was last topped up */
};

/* The CPU's hint for a spinning thread; with the peer on this CPU, give it up. */
void rmio_spin_relax(const struct rmio_spin *s);

/* -EINVAL: unknown policy, placement, share. */
int rmio_spin_init(struct rmio_spin *s, const struct rmio_wait_opts *opts);

/* How long may be spun from now on: 0 sleep at once, UINT64_MAX for ever. */
uint64_t rmio_spin_limit(struct rmio_spin *s, uint64_t now);

/* What became of it: @spun_ns of @waited_ns were spent spinning, up to the answer. */
void rmio_spin_result(struct rmio_spin *s, uint64_t spun_ns, uint64_t waited_ns);

/* -- device: the bell ------------------------------------------------------ */

/* VMM side, shared by the vCPU threads: C11 atomics inside. */
struct rmio_bell_out {
	struct rmio_down_hdr *down;
	const struct rmio_up_hdr *up;
	uint32_t *word;		/* the bell, where "down" cannot hold a futex; or NULL */
	/* For RMIO_BELL_SOCK: a message to @chan, should there be one; in wire/chan.h. */
	void (*knock)(int chan);
	int chan;		/* -1: none */
	uint32_t rung;		/* the need_wake number last rung for */
};

/*
 * PRODUCER, of any vCPU: P2 to P4, after each publication.  True if it had to ring.  P2 pairs with
 * C3 in rmio_bell_arm.
 */
bool rmio_bell_ring(struct rmio_bell_out *b);

/* Any thread of the VMM.  Wake the device unconditionally (destroy). */
void rmio_bell_force(struct rmio_bell_out *b);

/* Device side. */
struct rmio_bell_in {
	const struct rmio_down_hdr *down;
	struct rmio_up_hdr *up;
	const uint32_t *word;	/* as in rmio_bell_out */
	uint32_t number;	/* last need_wake number used */
};

static inline const uint32_t *rmio_bell_word(const struct rmio_bell_in *b)
{
	return b->word ? b->word : &b->down->bell;
}

/* CONSUMER.  How the device sleeps, RMIO_BELL_*; before the first sleep. */
void rmio_bell_kind(struct rmio_bell_in *b, uint32_t kind);

/*
 * CONSUMER.  C1 to C3; returns the bell value to sleep on.  The caller does C4 and C5.  C3 pairs
 * with P2 in rmio_bell_ring.
 */
uint32_t rmio_bell_arm(struct rmio_bell_in *b);
void rmio_bell_disarm(struct rmio_bell_in *b);

/* -- vCPU: its lane ---------------------------------------------------------- */

/*
 * CONSUMER.  R2 to R4: after each reply or completion, or batch of them.  R2 pairs with V3 in
 * rmio_sleeper_arm, the acquire of need_wake in R3 with its release in V2, and the release of
 * wake_seq in R4 with its acquire in V1.  A vCPU that waits inside of KVM
 * sleeps in the kernel device (kern/virt/kvm/user_exit.c), which has V1 to V5 without wake_seq.
 */
struct rmio_answer {
	uint32_t woken;		/* the need_wake number last woken for */
};
bool rmio_lane_wake(struct rmio_cons *c, struct rmio_answer *a);

/*
 * PRODUCER.  V1 to V5; V3 pairs with R2 in rmio_lane_wake.  Between _arm and _sleep the caller
 * looks again (V4); if it finds what it waits for it calls _disarm instead of _sleep.
 */
struct rmio_sleeper {
	uint32_t number;
	uint32_t seen;		/* wake_seq at V1 */
};
void rmio_sleeper_arm(struct rmio_sleeper *s, struct rmio_prod *p, uint64_t wake_at);
void rmio_sleeper_disarm(struct rmio_sleeper *s, struct rmio_prod *p);

/*
 * Sleep until woken, *event differs from @seen_event, the clock (rmio_now_ns) shows
 * @until_ns (UINT64_MAX: for ever), or a signal arrives.  0 (look again), -ETIMEDOUT, -EINTR.
 */
int rmio_sleeper_sleep(struct rmio_sleeper *s, struct rmio_prod *p, uint32_t *event,
		       uint32_t seen_event, uint64_t until_ns);

/*
 * Any thread, and a signal handler.  Change *event, by a release, and wake the vCPU that sleeps on
 * it (rmio_sleeper_sleep); who looks at it first does so by rmio_word_read, an acquire.
 */
void rmio_event_raise(uint32_t *event);

/* Sleep while *event is @seen.  0 (look again), -EINTR. */
int rmio_event_sleep(const uint32_t *event, uint32_t seen);

/*
 * The descriptor by which a vCPU that is in the kernel device is kicked, -1: it is not there.
 * The vCPU stores it and looks at its kicks afterwards; who kicks counts the kick and looks at
 * this afterwards: one of them sees the other.
 */
void rmio_kick_at(int *at, int fd);
int rmio_kick_to(const int *at);
/* How many use what they have found there. */
void rmio_kicking(uint32_t *n, int by);

/*
 * A word that one thread at a time writes, by a release, and others look at, by an acquire: who
 * sees the word sees what was written before it.
 */
/* A link of a list, as such a word. */
static inline const void *rmio_link_read(const void *const *link)
{
	return __atomic_load_n(link, __ATOMIC_ACQUIRE);
}

/*
 * Does it lead anywhere?  On the data path, where this is one compare with memory, which compilers
 * make of no atomic load; who then follows the link reads it by the above.
 */
static inline bool rmio_link_set(const void *const *link)
{
#ifdef __SANITIZE_THREAD__
	return __atomic_load_n(link, __ATOMIC_RELAXED);
#else
	return *(const void *const volatile *)link;
#endif
}

static inline void rmio_link_write(const void **link, const void *to)
{
	__atomic_store_n(link, to, __ATOMIC_RELEASE);
}

uint32_t rmio_word_read(const uint32_t *word);
void rmio_word_write(uint32_t *word, uint32_t value);

#endif
