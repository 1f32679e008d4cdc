/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * How a thread waits for its peer: one set of policies for the vCPU that waits
 * for an answer and for the device that waits for requests.
 */
#ifndef RMIO_WAIT_H
#define RMIO_WAIT_H

#include <stddef.h>
#include <stdint.h>

enum rmio_wait_policy {
	/* Spin for a time learned from past answers, within a CPU share, then sleep. */
	RMIO_WAIT_ADAPTIVE	= 0,
	/* Spin for ever, with the CPU's pause hint.  Lowest latency, one CPU gone. */
	RMIO_WAIT_POLL		= 1,
	/* Sleep at once. */
	RMIO_WAIT_SLEEP		= 2,
};

enum rmio_placement {
	/* The peer is elsewhere, or it is not known where. */
	RMIO_PLACE_ANY		= 0,
	/*
	 * The peer shares this thread's CPU: never spin against it, give the CPU
	 * up instead.  A device loop with this placement moves to the CPU of the
	 * vCPU that last waited for it.
	 */
	RMIO_PLACE_SAME_CPU	= 1,
};

struct rmio_wait_opts {
	size_t sz;		/* sizeof(struct rmio_wait_opts) */
	uint32_t policy;	/* enum rmio_wait_policy */
	uint32_t placement;	/* enum rmio_placement */
	uint32_t cpu_share;	/* percent of a CPU that "adaptive" may spend spinning,
				 * 1..100; 0: 50 */
	uint32_t spin_max_ns;	/* longest single spin of "adaptive"; 0: 100000 */
};

#endif
