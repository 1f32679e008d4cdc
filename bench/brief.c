// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The table for who sees rmio for the first time: ten rows in 80 columns, what an access costs
 * inside the VMM, by what rmio replaces, and here.
 *
 * Outside the data path, after the run.
 */
#include <string.h>

#include "compare.h"

#define ROWS 10

/* In this order; what could not be measured makes room for what comes later. */
static const struct row {
	const char *name;
	enum bench_placement placement;
	enum bench_wait wait;
	const char *what;
	bool spare;		/* only where there is room */
} rows[] = {
	{ "kvm.exit.load", BENCH_NOWHERE, BENCH_NOWAIT, "load, device in the VMM" },
	{ "kvm.exit.store", BENCH_NOWHERE, BENCH_NOWAIT, "store, device in the VMM" },
	{ "socket.load", BENCH_CROSS_CPU, BENCH_SLEEP, "load, by a socket to a process" },
	{ "socket.store", BENCH_CROSS_CPU, BENCH_SLEEP, "store, by a socket to a process" },
	{ "qemu.remote.load", BENCH_CROSS_CPU, BENCH_SLEEP, "load, by QEMU's x-remote" },
	{ "rmio.exit.load.shadow", BENCH_CROSS_CPU, BENCH_SLEEP, "rmio: load, from the shadow" },
	{ "rmio.exit.load.device", BENCH_CROSS_CPU, BENCH_POLL, "rmio: load, device polls" },
	{ "rmio.exit.load.device", BENCH_CROSS_CPU, BENCH_SLEEP, "rmio: load, device sleeps" },
	{ "rmio.exit.store.posted", BENCH_CROSS_CPU, BENCH_POLL, "rmio: store, posted" },
	{ "rmio.bpf.store.posted", BENCH_CROSS_CPU, BENCH_POLL, "rmio: store, no exit (bpf)" },
	{ "rmio.bpf.load.shadow", BENCH_CROSS_CPU, BENCH_SLEEP, "rmio: load, no exit (bpf)", true },
	{ "limit.cacheline", BENCH_CROSS_CPU, BENCH_POLL, "a cache line there and back", true },
	{ "futex.rtt", BENCH_CROSS_CPU, BENCH_SLEEP, "futex, there and back", true },
	{ "socket.rtt.poll", BENCH_CROSS_CPU, BENCH_POLL, "socket, polled", true },
	{ "socket.rtt", BENCH_CROSS_CPU, BENCH_SLEEP, "socket, asleep", true },
	{ "socket.rtt", BENCH_SAME_CPU, BENCH_SLEEP, "socket, asleep on one CPU", true },
	{ "ring.rtt", BENCH_CROSS_CPU, BENCH_POLL, "rmio: lane, polled", true },
	{ "ring.rtt", BENCH_CROSS_CPU, BENCH_SLEEP, "rmio: lane, asleep", true },
	{ "ring.rtt", BENCH_SAME_CPU, BENCH_SLEEP, "rmio: lane, asleep on one CPU", true },
	{ "ring.throughput", BENCH_CROSS_CPU, BENCH_POLL, "rmio: stores in a row, each", true },
};

#define NR (sizeof(rows) / sizeof(rows[0]))

bool brief_wants(const char *name, enum bench_placement placement, enum bench_wait wait)
{
	size_t i;

	for (i = 0; i < NR; i++)
		if (!strcmp(rows[i].name, name) && rows[i].placement == placement &&
		    rows[i].wait == wait)
			return true;
	return false;
}

static const struct bench_run *find(const struct row *row, const struct bench_run *runs, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!strcmp(runs[i].name, row->name) && runs[i].placement == row->placement &&
		    runs[i].wait == row->wait && compare_measured(&runs[i]))
			return &runs[i];
	return NULL;
}

static void duration(char text[16], double ns)
{
	if (ns < 100)
		snprintf(text, 16, "%.1f ns", ns);
	else if (ns < 10000)
		snprintf(text, 16, "%.0f ns", ns);
	else if (ns < 1e6)
		snprintf(text, 16, "%.1f us", ns / 1e3);
	else
		snprintf(text, 16, "%.1f ms", ns / 1e6);
}

/* Against the same access inside the VMM, if that was measured, or else against the socket. */
static const struct bench_run *against(const struct bench_run *r, const struct bench_run *runs,
				       size_t n, const char **name)
{
	bool store = strstr(r->name, "store");
	const char *const to[] = { store ? "kvm.exit.store" : "kvm.exit.load", "socket.rtt" };
	const struct bench_run *base;
	int guest = r->def->flags & BENCH_KVM ? 0 : 1;

	*name = to[guest];
	base = !strcmp(r->name, "ring.throughput") ? NULL : compare_rival(r, to[guest], runs, n);
	return base && base != r && compare_ratio(r, base, NULL) ? base : NULL;
}

/* Whether its ratio is one that the machine was too busy for. */
static bool print_row(const struct row *row, const struct bench_run *r,
		      const struct bench_run *runs, size_t n)
{
	char p50[16], least[16], most[16], spread[40] = "-", ratio[40] = "";
	const char *name;
	uint64_t a, b;
	const struct bench_run *base = against(r, runs, n, &name);
	double x = base ? compare_ratio(r, base, NULL) : 0;

	duration(p50, compare_p50(r));
	if (compare_spread(r, &a, &b) > 1) {
		duration(least, a / 1000.0);
		duration(most, b / 1000.0);
		snprintf(spread, sizeof(spread), "%s..%s", least, most);
	}
	if (x)
		snprintf(ratio, sizeof(ratio), "%.*fx%s %s", x < 0.1 ? 3 : 2, x,
			 compare_unsure(r, base) ? "?" : "", strstr(name, "kvm") ? "in the VMM" : "socket");
	printf("%-31s %9s %21s  %s\n", row->what, p50, spread, ratio);
	return x && compare_unsure(r, base);
}

void report_brief(const struct bench_machine *m, const struct bench_run *runs, size_t n)
{
	const struct bench_run *r;
	size_t i, first = 0, shown = 0;
	bool unsure = false;

	for (i = 0; i < NR; i++)
		first += !rows[i].spare && find(&rows[i], runs, n);
	report_head(m);
	printf("%-31s %9s %21s  %s\n", "median of", "", "medians of the rounds", "against");
	for (i = 0; i < NR && shown < ROWS; i++) {
		r = find(&rows[i], runs, n);
		if (!r)
			continue;
		shown++;
		unsure |= print_row(&rows[i], r, runs, n);
	}
	if (unsure)
		printf("\n" BENCH_UNSURE);
	if (!first && m->kvm[0])
		printf("\nWithout a guest, for want of KVM (%s):\nwhat a lane costs, beside what it "
		       "stands on.\n", m->kvm);
	else if (first)
		printf("\nOf a guest's accesses each sample is the mean of 32.\n");
	for (i = 0; i < n; i++)
		if (runs[i].status < 0)
			printf("failed: %s: %s\n", runs[i].name, runs[i].why);
	fflush(stdout);
}
