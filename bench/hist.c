// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Percentiles and mean of a log-linear histogram.
 *
 * Outside the data path; recording is inline in hist.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hist.h"

int hist_init(struct hist *h)
{
	*h = (struct hist){ .bucket = calloc(HIST_BUCKETS, sizeof(*h->bucket)) };
	return h->bucket ? 0 : -ENOMEM;
}

void hist_exit(struct hist *h)
{
	free(h->bucket);
	h->bucket = NULL;
}

void hist_clear(struct hist *h)
{
	memset(h->bucket, 0, HIST_BUCKETS * sizeof(*h->bucket));
	*h = (struct hist){ .bucket = h->bucket };
}

void hist_merge(struct hist *into, const struct hist *h)
{
	unsigned int i;

	for (i = 0; i < HIST_BUCKETS; i++)
		into->bucket[i] += h->bucket[i];
	into->count += h->count;
	into->sum += h->sum;
	if (h->max > into->max)
		into->max = h->max;
}

uint64_t hist_bucket_value(unsigned int index)
{
	unsigned int shift = index >> HIST_SUB_BITS;
	uint64_t low;

	/* The first two rows are both one wide: row 0 starts at 0, row 1 at 512. */
	if (shift <= 1)
		return index;
	shift--;
	low = (uint64_t)(index - (shift << HIST_SUB_BITS)) << shift;
	return low + (1ull << shift) / 2;
}

/* The smallest recorded value that @percent of all samples do not exceed. */
uint64_t hist_percentile(const struct hist *h, double percent)
{
	uint64_t rank, seen = 0;
	unsigned int i;

	if (!h->count)
		return 0;
	rank = h->count * (percent / 100.0);
	if (rank < 1 || rank < h->count * (percent / 100.0))
		rank++;
	for (i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank) {
			uint64_t v = hist_bucket_value(i);

			/* The middle of the last bucket may lie above all that is in it. */
			return v < h->max ? v : h->max;
		}
	}
	return h->max;
}

bool hist_carries(const struct hist *h, double percent)
{
	/* Of whole numbers: 10 of 10000 are beyond 99.9 percent. */
	return h->count * (uint64_t)(1000.5 - 10 * percent) >= 10 * 1000;
}

double hist_mean(const struct hist *h)
{
	return h->count ? h->sum / h->count : 0.0;
}
