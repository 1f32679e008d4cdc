// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The table of all cases, for people.
 *
 * Outside the data path, after the run.
 */
#include <stdlib.h>
#include <string.h>

#include "compare.h"

static void print_ns(double ns)
{
	if (ns < 1000)
		printf(" %9.1f", ns);
	else
		printf(" %9.0f", ns);
}

/* Nothing, where the samples would not carry it. */
static void print_percentile(const struct hist *h, double percent)
{
	if (hist_carries(h, percent))
		print_ns(hist_percentile(h, percent) / 1000.0);
	else
		printf(" %9s", "-");
}

static void print_rate(double rate)
{
	if (rate >= 1e6)
		printf(" %8.2fM", rate / 1e6);
	else if (rate >= 1e3)
		printf(" %8.1fk", rate / 1e3);
	else
		printf(" %9.1f", rate);
}

static void print_spread(const struct bench_run *r)
{
	uint64_t least, most;
	char text[48];

	if (compare_spread(r, &least, &most) < 2)
		snprintf(text, sizeof(text), "-");
	else
		snprintf(text, sizeof(text), most < 1000000 ? "%.1f..%.1f" : "%.0f..%.0f",
			 least / 1000.0, most / 1000.0);
	printf(" %17s", text);
}

static void print_row(const struct bench_run *r, const struct bench_run *runs, size_t n)
{
	const char *place = bench_placement_name(r->placement);
	const char *wait = bench_wait_name(r->wait), *sep = "  ";
	double x;
	int i;

	printf("%-24s %-9s %-8s", r->name, place ? place : "-", wait ? wait : "-");
	if (!compare_measured(r)) {
		printf(" %s: %s\n", r->status < 0 ? "failed" : "not run",
		       r->why[0] ? r->why : strerror(-r->status));
		return;
	}
	if (r->def->flags & BENCH_IDLE) {
		printf(" %.3f %% of a CPU, idle for %.1f s\n",
		       r->cpu_ns * 100.0 / r->elapsed_ns, r->elapsed_ns / 1e9);
		return;
	}
	printf(" %9llu %5u", (unsigned long long)r->hist.count, r->per_sample ? r->per_sample : 1);
	print_ns(compare_p50(r));
	print_spread(r);
	print_percentile(&r->hist, 90);
	print_percentile(&r->hist, 99);
	print_percentile(&r->hist, 99.9);
	print_ns(r->hist.max / 1000.0);
	print_rate(r->ops * 1e9 / r->elapsed_ns);
	print_ns((double)r->cpu_ns / r->ops);
	if (r->def->flags & BENCH_KVM)
		printf(" %6.3f", (double)r->user_exits / r->ops);
	else
		printf(" %6s", "-");

	for (i = 0; i < BENCH_MAX_RIVALS && r->def->rivals[i]; i++) {
		const struct bench_run *rival = compare_rival(r, r->def->rivals[i], runs, n);

		if (!rival)
			continue;
		x = compare_ratio(r, rival, NULL);
		printf("%s%.*fx%s %s", sep, x < 0.1 ? 3 : 2, x, compare_unsure(r, rival) ? "?" : "",
		       rival->name);
		sep = ", ";
	}
	printf("\n");
}

static void print_added(const struct bench_run *runs, size_t n)
{
	struct compare_added d;
	bool heading = false;
	size_t at = 0;

	while (compare_added(&at, runs, n, &d)) {
		double base = compare_p50(d.base);

		if (!heading)
			printf("\nWhat the other process adds to an exit, p50; the ratio round by "
			       "round, median:\n");
		heading = true;
		printf("  %s, %s, %s: %.0f ns; %s: %.0f ns; ratio %.3f\n", d.a->name,
		       bench_placement_name(d.a->placement), bench_wait_name(d.a->wait),
		       compare_p50(d.a) - base, d.b->name, compare_p50(d.b) - base,
		       compare_ratio(d.a, d.b, d.base));
	}
}

void report_head(const struct bench_machine *m)
{
	printf("%s, %s, %d CPUs%s\n", m->kernel, m->cpu[0] ? m->cpu : "unknown CPU", m->cpus,
	       m->hypervisor ? ", itself a virtual machine" : "");
	printf("measured on CPU %d", m->cpu_a);
	if (m->cpu_b >= 0)
		printf(" and %d", m->cpu_b);
	printf(", %g s a case in %u rounds, clock %s (its reading, %.1f ns, is subtracted)\n",
	       m->seconds, m->asked_rounds, bench_clock.source,
	       bench_clock.overhead * bench_clock.ps_per_tick / 1000.0);
	if (m->load_before >= 0)
		printf("load %.2f before, %.2f after (this run is one or two of it)", m->load_before,
		       m->load_after);
	if (m->stolen >= 0)
		printf("%s%.1f %% of these CPUs' time stolen by the host",
		       m->load_before >= 0 ? ", " : "", m->stolen);
	if (m->load_before >= 0 || m->stolen >= 0)
		printf("\n");
	printf("\n");
	if (m->rounds < m->asked_rounds)
		printf("the machine is busy: only %u of %u rounds were made\n\n", m->rounds,
		       m->asked_rounds);
}

static void print_legend(const struct bench_run *runs, size_t n)
{
	bool means = false, short_of = false, unsure = false;
	const struct bench_run *rival;
	size_t i, j;

	for (i = 0; i < n; i++) {
		means |= compare_measured(&runs[i]) && runs[i].per_sample > 1;
		short_of |= compare_measured(&runs[i]) && runs[i].hist.count &&
			    !hist_carries(&runs[i].hist, 99.9);
		if (!compare_measured(&runs[i]))
			continue;
		for (j = 0; j < BENCH_MAX_RIVALS && runs[i].def->rivals[j]; j++) {
			rival = compare_rival(&runs[i], runs[i].def->rivals[j], runs, n);
			unsure |= rival && compare_unsure(&runs[i], rival);
		}
	}
	if (means)
		printf("\nEach sample is the mean of as many operations as \"mean of\" says, so its "
		       "percentiles are of means:\na single slow access is flattened.\n");
	if (short_of)
		printf("%s-: fewer than ten samples lie beyond that percentile.\n", means ? "" : "\n");
	if (unsure)
		printf("%s" BENCH_UNSURE, means || short_of ? "" : "\n");
}

void report_table(const struct bench_machine *m, const struct bench_run *runs, size_t n)
{
	size_t i;

	report_head(m);
	printf("%-24s %-9s %-8s %9s %5s %9s %17s %9s %9s %9s %9s %9s %9s %6s  %s\n", "case",
	       "placement", "wait", "samples", "mean", "p50 ns", "p50 of rounds", "p90 ns", "p99 ns",
	       "p99.9 ns", "max ns", "ops/s", "CPU ns/op", "exits", "p50 against");
	printf("%-24s %-9s %-8s %9s %5s %9s %17s\n", "", "", "", "", "of", "", "least..most");
	for (i = 0; i < n; i++)
		print_row(&runs[i], runs, n);
	print_legend(runs, n);
	for (i = 0; i < n && runs[i].status <= 0; i++)
		;
	if (i < n)
		printf("\nSome were not run: `rmio doctor` says what this machine lacks and what to do.\n");
	print_added(runs, n);
	fflush(stdout);
}
