/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What a run's figures are beside another's.
 */
#ifndef RMIO_BENCH_COMPARE_H
#define RMIO_BENCH_COMPARE_H

#include "bench.h"

bool compare_measured(const struct bench_run *r);

/* The median of all its samples, ns. */
double compare_p50(const struct bench_run *r);
/* The least and the largest median of its rounds, ps; how many there are. */
unsigned int compare_spread(const struct bench_run *r, uint64_t *least, uint64_t *most);

/* The run called @name that compares best with @run: as placed, and as waiting; NULL: none. */
const struct bench_run *compare_rival(const struct bench_run *run, const char *name,
				      const struct bench_run *runs, size_t n);

/*
 * The median over the rounds of (a - base) / (b - base), all p50; no @base: of a / b.
 * A machine with a fast and a slow time of day shifts the p50 of a whole run to
 * either, for each case at its own moment; within a round it is the same for all.
 * 0: nothing to compare.
 */
double compare_ratio(const struct bench_run *a, const struct bench_run *b,
		     const struct bench_run *base);

/*
 * Whether the machine was too busy for that ratio of @a to @b: it is less than two thirds or more
 * than one and a half of the quotient of their medians, beside which it is printed.
 */
bool compare_unsure(const struct bench_run *a, const struct bench_run *b);
#define BENCH_UNSURE \
	"?: the median of the rounds' ratios, and far from the ratio of the medians: the machine was\n" \
	"too busy to tell.\n"

/* What the other process adds to an exit, and what a rival does: (a - base), (b - base). */
struct compare_added {
	const struct bench_run *a, *b, *base;
};

/* The next one that was measured, from *at = 0 on.  False: there are no more. */
bool compare_added(size_t *at, const struct bench_run *runs, size_t n, struct compare_added *out);

/*
 * An order of the runs for a picture, for free(3): each that can be drawn beside its rivals.
 * group[i]: a number for each of them, the same for those that belong together.
 */
size_t *compare_groups(const struct bench_run *runs, size_t n, size_t *nr, size_t **group);

#endif
