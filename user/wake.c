// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Sleeping and waking across a lane, by futex, or by a message or an ioctl on the slave
 * descriptor.  The protocol, with the names of its steps, is in wake.h.
 */
#include "wake.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define load_relaxed(p)		__atomic_load_n((p), __ATOMIC_RELAXED)
#define store_relaxed(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELAXED)

/*
 * Orders a store before a later load, which no acquire or release does.  TSan
 * does not model it; selftests/model does.
 */
static void full_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static long futex(const uint32_t *word, int op, uint32_t val, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, val, timeout, NULL, 0);
}

/*
 * Numbers are compared with the last one that the peer acted on, which outlives
 * a device process and a vCPU.  Beginning at 1 each time, a successor would come
 * to that number and not be woken; so each begins somewhere else.
 */
static uint32_t fresh_number(uint32_t last)
{
	if (!last)
		last = (uint32_t)rmio_now_ns();
	return last == UINT32_MAX ? 1 : last + 1;
}

/*
 * How many waiters one side wakes.  One is the peer; a dead predecessor whose
 * io_uring is being torn down may still be queued before it.  No bound would let
 * a peer arm 100,000 waits and have a vCPU, or the loop of devices that serve
 * other VMs too, work through them.
 */
#define RING_WAKES	16

/* -- VMM to device --------------------------------------------------------- */

static void ring(struct rmio_bell_out *b, int wakes)
{
	uint32_t *word;

	if (load_relaxed(&b->up->bell_kind) == RMIO_BELL_FUTEX) {
		word = b->word ? b->word : &b->down->bell;
		__atomic_fetch_add(word, 1, __ATOMIC_RELAXED);
		futex(word, FUTEX_WAKE, (uint32_t)wakes, NULL);
	} else if (b->chan >= 0) {
		b->knock(b->chan);
	}
}

void rmio_bell_force(struct rmio_bell_out *b)
{
	ring(b, INT_MAX);
}

bool rmio_bell_ring(struct rmio_bell_out *b)
{
	uint32_t g;

	full_fence();					/* P2, partner: rmio_bell_arm */
	g = load_relaxed(&b->up->need_wake);		/* P3 */
	if (__builtin_expect(!g, 1))
		return false;
	/*
	 * Whoever rang for this number has woken the device, which looks at every
	 * lane before it sleeps under the next number.
	 */
	if (load_relaxed(&b->rung) == g || __atomic_exchange_n(&b->rung, g, __ATOMIC_RELAXED) == g)
		return false;
	ring(b, RING_WAKES);				/* P4 */
	return true;
}

void rmio_bell_kind(struct rmio_bell_in *b, uint32_t kind)
{
	store_relaxed(&b->up->bell_kind, kind);
}

uint32_t rmio_bell_arm(struct rmio_bell_in *b)
{
	uint32_t bell = load_relaxed(rmio_bell_word(b));	/* C1 */

	b->number = fresh_number(b->number);
	store_relaxed(&b->up->need_wake, b->number);	/* C2 */
	full_fence();					/* C3, partner: rmio_bell_ring */
	return bell;
}

void rmio_bell_disarm(struct rmio_bell_in *b)
{
	store_relaxed(&b->up->need_wake, 0);
}

/* -- device to VMM ---------------------------------------------------------- */

bool rmio_lane_wake(struct rmio_cons *c, struct rmio_answer *a)
{
	uint32_t number;
	uint64_t at;

	full_fence();					/* R2, partner: rmio_sleeper_arm */
	number = __atomic_load_n(&c->down->need_wake, __ATOMIC_ACQUIRE);	/* R3 */
	if (__builtin_expect(!number || number == a->woken, 1))
		return false;
	at = load_relaxed(&c->down->wake_at);
	if ((int64_t)(c->done - at) < 0)
		return false;
	a->woken = number;				/* R4 */
	if (c->wake) {
		c->wake(c->kernel, c->lane);
		return true;
	}
	__atomic_fetch_add(c->wake_seq, 1, __ATOMIC_RELEASE);
	futex(c->wake_seq, FUTEX_WAKE, RING_WAKES, NULL);
	return true;
}

void rmio_sleeper_arm(struct rmio_sleeper *s, struct rmio_prod *p, uint64_t wake_at)
{
	struct rmio_down_lane *down = p->down;
	uint32_t cpu = (uint32_t)sched_getcpu();

	if (load_relaxed(&down->cpu) != cpu)
		store_relaxed(&down->cpu, cpu);
	s->seen = __atomic_load_n(p->wake_seq, __ATOMIC_ACQUIRE);	/* V1 */
	s->number = fresh_number(s->number);
	store_relaxed(&down->wake_at, wake_at);		/* V2 */
	__atomic_store_n(&down->need_wake, s->number, __ATOMIC_RELEASE);
	full_fence();					/* V3, partner: rmio_lane_wake */
}

void rmio_sleeper_disarm(struct rmio_sleeper *s, struct rmio_prod *p)
{
	store_relaxed(&p->down->need_wake, 0);
}

/* For kernels before 5.16: one word, in slices short enough to notice the other. */
static int sleep_sliced(struct rmio_sleeper *s, struct rmio_prod *p, uint64_t until_ns)
{
	uint64_t slice = 10000000, now = rmio_now_ns();
	uint64_t left = until_ns > now ? until_ns - now : 0;
	struct timespec t;

	if (slice > left)
		slice = left;
	t.tv_sec = 0;
	t.tv_nsec = (long)slice;
	if (!futex(p->wake_seq, FUTEX_WAIT, s->seen, &t) || errno == EAGAIN)
		return 0;
	if (errno == EINTR)
		return -EINTR;
	return slice == left ? -ETIMEDOUT : 0;
}

int rmio_sleeper_sleep(struct rmio_sleeper *s, struct rmio_prod *p, uint32_t *event,
		       uint32_t seen_event, uint64_t until_ns)
{
	struct futex_waitv wait[2] = {
		{ .val = s->seen, .uaddr = (uintptr_t)p->wake_seq, .flags = FUTEX_32 },
		{ .val = seen_event, .uaddr = (uintptr_t)event,
		  .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG },
	};
	struct timespec until, *timeout = NULL;

	if (until_ns != UINT64_MAX) {
		until.tv_sec = (time_t)(until_ns / 1000000000u);
		until.tv_nsec = (long)(until_ns % 1000000000u);
		timeout = &until;
	}
	if (syscall(SYS_futex_waitv, wait, 2, 0, timeout, CLOCK_MONOTONIC) >= 0)
		return 0;
	switch (errno) {
	case EAGAIN:
		return 0;
	case EINTR:
	case ETIMEDOUT:
		return -errno;
	default:
		return sleep_sliced(s, p, until_ns);
	}
}

int rmio_event_sleep(const uint32_t *event, uint32_t seen)
{
	if (futex(event, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, seen, NULL) && errno == EINTR)
		return -EINTR;
	return 0;
}

void rmio_event_raise(uint32_t *event)
{
	int saved = errno;

	__atomic_fetch_add(event, 1, __ATOMIC_RELEASE);
	futex(event, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL);
	errno = saved;
}

void rmio_kick_at(int *at, int fd)
{
	store_relaxed(at, fd);
	full_fence();					/* partner: rmio_kick_to */
}

int rmio_kick_to(const int *at)
{
	full_fence();					/* partner: rmio_kick_at */
	return load_relaxed(at);
}

void rmio_kicking(uint32_t *n, int by)
{
	/* The last one's ioctl comes before it is counted out, and the descriptor closed. */
	__atomic_fetch_add(n, (uint32_t)by, __ATOMIC_SEQ_CST);
}

uint32_t rmio_word_read(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

void rmio_word_write(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}
