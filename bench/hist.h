/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* A log-linear histogram of times: bounded size, bounded relative error. */
#ifndef RMIO_BENCH_HIST_H
#define RMIO_BENCH_HIST_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Every power of two is cut into 512 buckets of equal width, so a bucket is at
 * most 1/512 as wide as its values are large and its middle is off by less than
 * 0.1 %. Below 1024 a bucket holds one value. With picoseconds the top is reached
 * after 18 minutes; larger values count as the largest.
 */
#define HIST_SUB_BITS 9
#define HIST_TOP_BITS 50
#define HIST_BUCKETS ((HIST_TOP_BITS - HIST_SUB_BITS + 1) << HIST_SUB_BITS)

struct hist {
	uint64_t count;
	uint64_t max;
	double sum;
	uint64_t *bucket;
};

int hist_init(struct hist *h);	/* -ENOMEM */
void hist_exit(struct hist *h);

void hist_clear(struct hist *h);
void hist_merge(struct hist *into, const struct hist *h);

uint64_t hist_percentile(const struct hist *h, double percent);
/*
 * Do the samples carry that percentile: are there ten beyond it?  With fewer a single one moves it
 * far, and of 19 samples p99.9 is but the largest.
 */
bool hist_carries(const struct hist *h, double percent);
double hist_mean(const struct hist *h);
uint64_t hist_bucket_value(unsigned int index);	/* the middle of a bucket */

static inline unsigned int hist_index(uint64_t value)
{
	unsigned int shift;

	if (value >> HIST_TOP_BITS)
		return HIST_BUCKETS - 1;
	if (value < (1u << HIST_SUB_BITS))
		return value;
	shift = 63 - __builtin_clzll(value) - HIST_SUB_BITS;
	return (shift << HIST_SUB_BITS) + (value >> shift);
}

static inline void hist_record(struct hist *h, uint64_t value)
{
	h->bucket[hist_index(value)]++;
	h->count++;
	h->sum += value;
	if (value > h->max)
		h->max = value;
}

#endif /* RMIO_BENCH_HIST_H */
