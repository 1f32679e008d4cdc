/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The clock that samples are timed with: the time stamp counter, calibrated
 * against CLOCK_MONOTONIC, or that clock itself where there is no such counter.
 */
#ifndef RMIO_BENCH_CLOCK_H
#define RMIO_BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

struct bench_clock {
	double ps_per_tick;
	uint64_t overhead;		/* ticks between two readings with nothing in between */
	const char *source;
};

extern struct bench_clock bench_clock;

void bench_clock_init(void);

/*
 * A reading is taken after everything before it has executed and before anything
 * after it has begun.
 */
static inline uint64_t bench_ticks(void)
{
#if defined(__x86_64__)
	unsigned int aux;
	uint64_t t = __rdtscp(&aux);

	_mm_lfence();
	return t;
#else
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
#endif
}

static inline uint64_t bench_ns_to_ticks(uint64_t ns)
{
	return ns * 1000.0 / bench_clock.ps_per_tick;
}

/* Of an interval between two readings, without what the reading itself takes. */
static inline uint64_t bench_ticks_to_ps(uint64_t ticks)
{
	if (ticks <= bench_clock.overhead)
		return 0;
	return (ticks - bench_clock.overhead) * bench_clock.ps_per_tick;
}

static inline void bench_pause(void)
{
#if defined(__x86_64__)
	_mm_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

#endif /* RMIO_BENCH_CLOCK_H */
