// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The benchmark's histogram: values come back within 0.1 %, percentiles are
 * those of the sorted samples, nothing is lost at either end.
 */
#include <inttypes.h>

#include "hist.h"
#include "ktap.h"

/* Repeatable, and of all magnitudes: a few bits of a 64-bit mix, shifted by some of them. */
static uint64_t next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	return (x >> 14) >> (x & 31);
}

static void bucket_holds_its_value(void)
{
	unsigned int index, last = 0;
	uint64_t v, middle;
	int bad = 0;

	for (v = 0; v < 1ull << HIST_TOP_BITS; v += 1 + v / 1000) {
		index = hist_index(v);
		middle = hist_bucket_value(index);
		if (index < last || index >= HIST_BUCKETS || hist_index(middle) != index ||
		    (v < 1024 && middle != v) ||
		    (v > middle ? v - middle : middle - v) * 1000 > v) {
			ktap_diag("value %" PRIu64 ": bucket %u after %u, middle %" PRIu64,
				  v, index, last, middle);
			bad++;
		}
		last = index;
	}
	T_EQ(bad, 0);
}

static void largest_values(void)
{
	struct hist h;

	T_EQ(hist_index(UINT64_MAX), HIST_BUCKETS - 1);
	T_EQ(hist_index((1ull << HIST_TOP_BITS) - 1), HIST_BUCKETS - 1);
	T_REQUIRE(T_EQ(hist_init(&h), 0));
	hist_record(&h, UINT64_MAX);
	T_EQ(h.bucket[HIST_BUCKETS - 1], 1);
	T_EQ(h.max, UINT64_MAX);
	hist_exit(&h);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void percentiles_of_sorted_samples(void)
{
	enum { N = 100003 };
	static const double percents[] = { 0, 1, 50, 90, 99, 99.9, 99.999, 100 };
	uint64_t state = 1, *v = malloc(N * sizeof(*v)), exact, got, count = 0;
	struct hist h;
	double sum = 0;
	int i;

	T_REQUIRE(T_OK(v));
	T_REQUIRE(T_EQ(hist_init(&h), 0));
	for (i = 0; i < N; i++) {
		v[i] = next(&state);
		sum += v[i];
		hist_record(&h, v[i]);
	}
	qsort(v, N, sizeof(*v), compare);
	for (i = 0; i < KTAP_COUNT(percents); i++) {
		/* how many samples are not above it, at least */
		uint64_t rank = N * percents[i] / 100;

		if (rank < N * percents[i] / 100 || !rank)
			rank++;
		exact = v[rank - 1];
		got = hist_percentile(&h, percents[i]);
		if ((exact > got ? exact - got : got - exact) * 100 > exact)
			T_EQ(got, exact);
	}
	T_EQ(h.max, v[N - 1]);
	T_OK(hist_mean(&h) > 0.9999 * sum / N && hist_mean(&h) < 1.0001 * sum / N);
	for (i = 0; i < HIST_BUCKETS; i++)
		count += h.bucket[i];
	T_EQ(count, N);
	T_EQ(h.count, N);
	hist_exit(&h);
	free(v);
}

static void one_sample(void)
{
	struct hist h;

	T_REQUIRE(T_EQ(hist_init(&h), 0));
	T_EQ(hist_percentile(&h, 50), 0);
	hist_record(&h, 1000001);
	/* never above what was recorded, however wide the bucket */
	T_OK(hist_percentile(&h, 50) <= 1000001);
	T_OK(hist_percentile(&h, 99.9) >= 990000);
	hist_exit(&h);
}

static const struct ktap_test tests[] = {
	{ "bucket holds its value", bucket_holds_its_value },
	{ "largest values", largest_values },
	{ "percentiles of sorted samples", percentiles_of_sorted_samples },
	{ "one sample", one_sample },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
