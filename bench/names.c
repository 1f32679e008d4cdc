// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What placements and policies are called, on the command line and in reports.
 */
#include "bench.h"

const char *bench_placement_name(enum bench_placement placement)
{
	static const char *const names[] = { NULL, "same-cpu", "cross-cpu" };

	return names[placement];
}

const char *bench_wait_name(enum bench_wait wait)
{
	static const char *const names[] = { NULL, "poll", "adaptive", "sleep" };

	return names[wait];
}
