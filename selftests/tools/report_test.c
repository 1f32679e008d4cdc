// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What rmio-bench says of its samples: which percentiles they carry, how far the rounds lie apart,
 * ratios, who is drawn beside whom and how high, and the machine's stolen time.  The runs are made
 * up.
 */
#include "compare.h"
#include "ktap.h"
#include "own.h"

struct bench_clock bench_clock = { .ps_per_tick = 1000, .source = "none" };

static const struct bench_case base = { .name = "base" };
static const struct bench_case slow = { .name = "slow", .rivals = { "base" } };
static const struct bench_case slower = { .name = "slower", .rivals = { "slow", "base" } };
static const struct bench_case alone = { .name = "alone" };

/* Samples of @ns and as many of twice that in @n rounds, the second of which was half as fast. */
static void make(struct bench_run *r, const struct bench_case *c, uint64_t ns, unsigned int n,
		 uint64_t samples)
{
	*r = (struct bench_run){ .def = c, .elapsed_ns = 1000000, .ops = samples, .per_sample = 1 };
	snprintf(r->name, sizeof(r->name), "%s", c->name);
	T_EQ(hist_init(&r->hist), 0);
	for (unsigned int i = 0; i < n; i++)
		r->p50[i] = ns * 1000 * (i == 1 ? 2 : 1);
	for (uint64_t i = 0; i < samples; i++)
		hist_record(&r->hist, ns * 1000);
}

static void carried(void)
{
	static const struct {
		uint64_t samples;
		bool p90, p99, p999;
	} list[] = {
		{ 0, false, false, false },	  { 19, false, false, false },
		{ 99, false, false, false },	  { 100, true, false, false },
		{ 999, true, false, false },	  { 1000, true, true, false },
		{ 9999, true, true, false },	  { 10000, true, true, true },
		{ 1ull << 40, true, true, true },
	};
	struct hist h;

	T_EQ(hist_init(&h), 0);
	for (size_t i = 0; i < KTAP_COUNT(list); i++) {
		h.count = list[i].samples;
		ktap_diag("%llu samples", (unsigned long long)h.count);
		T_EQ(hist_carries(&h, 90), list[i].p90);
		T_EQ(hist_carries(&h, 99), list[i].p99);
		T_EQ(hist_carries(&h, 99.9), list[i].p999);
	}
	hist_exit(&h);
}

static void spread(void)
{
	struct bench_run r, b;
	uint64_t least, most;

	make(&r, &slow, 30, 5, 10);
	make(&b, &base, 10, 5, 10);
	T_EQ(compare_spread(&r, &least, &most), 5);
	T_EQ(least, 30000);
	T_EQ(most, 60000);
	/* Both were slow in that round. */
	T_EQ((int)(compare_ratio(&r, &b, NULL) * 1000), 3000);
	T_OK(compare_measured(&r));
	T_OK(!compare_unsure(&r, &b));
	/* Another program came between in most rounds of the one, and in none of the other. */
	r.p50[0] = r.p50[2] = r.p50[3] = 900000;
	T_EQ((int)compare_ratio(&r, &b, NULL), 90);
	T_OK(compare_unsure(&r, &b));
	r.p50[0] = r.p50[2] = r.p50[3] = 30000;
	hist_clear(&b.hist);		/* not one sample: nothing to compare with */
	T_OK(!compare_measured(&b));
	T_OK(!compare_rival(&r, "base", &b, 1));
	r.p50[4] = 0;			/* not measured in that one */
	T_EQ(compare_spread(&r, &least, &most), 4);
	hist_exit(&r.hist);
	hist_exit(&b.hist);
}

static void groups(void)
{
	struct bench_run runs[5];
	size_t *order, *group, nr;

	/* In the order of a list, not of what belongs together; one was not measured. */
	make(&runs[0], &slow, 30, 3, 10);
	make(&runs[1], &alone, 5, 3, 10);
	make(&runs[2], &base, 10, 3, 10);
	make(&runs[3], &slower, 90, 3, 10);
	make(&runs[4], &slow, 1, 3, 10);
	runs[4].status = 1;
	order = compare_groups(runs, 5, &nr, &group);
	T_REQUIRE(T_OK(order));
	T_REQUIRE(T_EQ(nr, 4));
	T_EQ(order[0], 0);
	T_EQ(order[1], 2);
	T_EQ(order[2], 3);
	T_EQ(order[3], 1);
	T_EQ(group[0], group[1]);
	T_EQ(group[1], group[2]);
	T_OK(group[2] != group[3]);
	free(order);
	free(group);
	for (int i = 0; i < 5; i++)
		hist_exit(&runs[i].hist);
}

static char *script(const struct bench_run *runs, size_t n, const struct bench_machine *m)
{
	static char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	plot_script(f, "x.png", m, runs, n);
	fclose(f);
	return text;
}

/* However many there are, it is one page; what the samples do not carry is not drawn. */
static void page(void)
{
	struct bench_machine m = { .cpu = "a CPU", .rounds = 2, .asked_rounds = 20 };
	static struct bench_run runs[200];
	unsigned int height = 0;
	char *plot;

	for (int i = 0; i < 200; i++)
		make(&runs[i], i & 1 ? &alone : &base, 10 + i, 3, 19);
	runs[0].per_sample = 32;
	plot = script(runs, 2, &m);
	T_REQUIRE(T_EQ(sscanf(strstr(plot, "size 1200,"), "size 1200,%u", &height), 1));
	T_LT(height, 400);
	T_OK(strstr(plot, "cut short: 2 of 20 rounds") != NULL);
	T_OK(strstr(plot, "\"base*\"") != NULL);
	T_OK(strstr(plot, "\"alone\"") != NULL);
	T_OK(strstr(plot, "$m3 << EOD\nNaN 0\nNaN 2\nEOD") != NULL);
	free(plot);
	plot = script(runs, 200, &m);
	T_REQUIRE(T_EQ(sscanf(strstr(plot, "size 1200,"), "size 1200,%u", &height), 1));
	T_LE(height, 1697);
	free(plot);
	for (int i = 0; i < 200; i++)
		hist_exit(&runs[i].hist);
}

static void stolen(void)
{
	static const char stat[] =
		"cpu  1 2 3 4 5 6 7 8 9 10\n"
		"cpu0 100 0 50 1000 0 0 0 7 20 0\n"
		"cpu1 200 0 50 1000 0 0 0 9 20 0\n"
		"cpu10 1 1 1 1 1 1 1 1000 0 0\n"
		"cpu11 1 1 1\n"
		"intr 5\n";
	uint64_t steal = 0, total = 0;

	T_OK(noise_of_cpu(stat, 0, &steal, &total));
	T_EQ(steal, 7);
	/* A guest's time is the user's already. */
	T_EQ(total, 1157);
	T_OK(noise_of_cpu(stat, 1, &steal, &total));
	T_EQ(steal, 16);
	T_EQ(total, 1157 + 1259);
	T_OK(!noise_of_cpu(stat, 2, &steal, &total));
	T_OK(!noise_of_cpu(stat, 11, &steal, &total));
	T_OK(!noise_of_cpu("", 0, &steal, &total));
	T_EQ(steal, 16);
}

static void own(void)
{
	char good[] = "socket=/a/b,range=2,offset=0x10,len=8,store=0xffffffffffffffff";
	struct bench_own o;
	const char *what;

	T_EQ(bench_own_parse(&o, good, &what), 0);
	T_STREQ(o.socket, "/a/b");
	T_EQ(o.range, 2);
	T_EQ(o.offset, 0x10);
	T_EQ(o.len, 8);
	T_OK(o.store);
	T_EQ(o.value, UINT64_MAX);
	{
		char plain[] = "socket=x";

		T_EQ(bench_own_parse(&o, plain, &what), 0);
		T_EQ(o.len, 4);
		T_OK(!o.store);
	}
}

static const struct ktap_test tests[] = {
	{ "percentiles that the samples carry", carried },
	{ "the rounds' medians", spread },
	{ "who is drawn beside whom", groups },
	{ "one page", page },
	{ "stolen time", stolen },
	{ "a device of one's own", own },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
