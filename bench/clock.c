// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Calibrates the sample clock and measures what a reading of it costs.
 *
 * Outside the data path, once at the start of a run.
 */
#include <stdlib.h>

#include "clock.h"

struct bench_clock bench_clock = { .ps_per_tick = 1000.0, .source = "clock_monotonic" };

#define CALIBRATE_NS 50000000ull
#define READINGS 1001

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

#if defined(__x86_64__)
static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* A pair of readings as close together as can be had: the narrowest of several tries. */
static void pair(uint64_t *ticks, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;
	int i;

	for (i = 0; i < 50; i++) {
		uint64_t t0 = bench_ticks();
		uint64_t now = monotonic_ns();
		uint64_t t1 = bench_ticks();

		if (t1 - t0 < best) {
			best = t1 - t0;
			*ticks = t0 + (t1 - t0) / 2;
			*ns = now;
		}
	}
}
#endif

void bench_clock_init(void)
{
	uint64_t gaps[READINGS];
	int i;

#if defined(__x86_64__)
	uint64_t t0 = 0, t1 = 0, n0 = 0, n1 = 0;

	pair(&t0, &n0);
	while (monotonic_ns() - n0 < CALIBRATE_NS)
		bench_pause();
	pair(&t1, &n1);
	bench_clock.ps_per_tick = (n1 - n0) * 1000.0 / (t1 - t0);
	bench_clock.source = "tsc";
#endif

	for (i = 0; i < READINGS; i++) {
		uint64_t a = bench_ticks();

		gaps[i] = bench_ticks() - a;
	}
	qsort(gaps, READINGS, sizeof(gaps[0]), compare);
	bench_clock.overhead = gaps[READINGS / 2];
}
