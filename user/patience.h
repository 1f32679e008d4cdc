/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * How long somebody waits, in time that he was running himself.  Beside the data path: at each
 * look at the clock of a wait that has become long.
 *
 * A debugger, the freezer of a cgroup, a suspended machine or SIGSTOP stops both ends of a device;
 * afterwards the clock has gone on, and the other end has had no chance to answer.  So whoever
 * waits sleeps for a short time only, and looks how late he wakes: what he was late does not count.
 * The other end may be let go a little later than he was, and gets a grace.  On a machine that is
 * too busy to wake anybody in time this is done a number of times only: the wait ends all the same.
 */
#ifndef RMIO_PATIENCE_H
#define RMIO_PATIENCE_H

#include <stdint.h>

#define RMIO_PATIENCE_SLICE_NS	100000000ull	/* sleep no longer without a look */
#define RMIO_PATIENCE_LATE_NS	100000000ull	/* a waiter that is later was stopped */
#define RMIO_PATIENCE_GRACE_NS	1000000000ull	/* at most; never more than the whole time */
#define RMIO_PATIENCE_STOPS	50u		/* in one wait */

struct rmio_patience {
	uint64_t deadline;	/* rmio_now_ns(), UINT64_MAX: none */
	uint64_t grace;
	uint64_t stopped;	/* ns that did not count */
	uint32_t stops;
};

/* @timeout: ns, UINT64_MAX for ever. */
static inline void rmio_patience_begin(struct rmio_patience *p, uint64_t now, uint64_t timeout)
{
	p->deadline = timeout < UINT64_MAX - now ? now + timeout : UINT64_MAX;
	p->grace = timeout < RMIO_PATIENCE_GRACE_NS ? timeout : RMIO_PATIENCE_GRACE_NS;
	p->stopped = 0;
	p->stops = 0;
}

/* When to wake for a look, should nothing else wake us. */
static inline uint64_t rmio_patience_slice(const struct rmio_patience *p, uint64_t now)
{
	return p->deadline - now > RMIO_PATIENCE_SLICE_NS ? now + RMIO_PATIENCE_SLICE_NS :
							    p->deadline;
}

/* It is @now, and was to be @expected at most. */
static inline void rmio_patience_look(struct rmio_patience *p, uint64_t now, uint64_t expected)
{
	uint64_t late = now - expected;

	if (now <= expected || late < RMIO_PATIENCE_LATE_NS || p->stops == RMIO_PATIENCE_STOPS)
		return;
	p->stops++;
	p->stopped += late;
	if (p->deadline >= UINT64_MAX - late)
		return;
	p->deadline += late;
	if (p->deadline < now + p->grace)
		p->deadline = now + p->grace;
}

#endif
