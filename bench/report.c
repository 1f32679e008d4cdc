// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Shows what a run has measured: a table with ratios for people, JSON for programs.
 *
 * Outside the data path, after the run.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "text.h"

static bool measured(const struct bench_run *r)
{
	return !r->status && r->elapsed_ns;
}

/* The rival's run that compares best with @run: as placed, and as waiting, if there is one. */
static const struct bench_run *find_rival(const struct bench_run *run, const char *name,
					  const struct bench_run *runs, size_t n)
{
	const struct bench_run *best = NULL;
	int score, best_score = -1;
	size_t i;

	for (i = 0; i < n; i++) {
		const struct bench_run *r = &runs[i];

		if (strcmp(r->name, name) || !measured(r))
			continue;
		if (r->placement != BENCH_NOWHERE && run->placement != BENCH_NOWHERE &&
		    r->placement != run->placement)
			continue;
		/* How a sleeper compares with a spinning pair says nothing about either. */
		if (r->wait == BENCH_POLL && run->wait == BENCH_SLEEP)
			continue;
		score = 2 * (r->placement == run->placement) + (r->wait == run->wait);
		if (score > best_score) {
			best = r;
			best_score = score;
		}
	}
	return best;
}

static double figure(const struct bench_run *r)
{
	return hist_percentile(&r->hist, 50) / 1000.0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/*
 * The median over the rounds of (a - base) / (b - base), all p50; no @base: of a / b.
 * A machine with a fast and a slow time of day shifts the p50 of a whole run to
 * either, for each case at its own moment; within a round it is the same for all.
 * 0: nothing to compare.
 */
static double ratio(const struct bench_run *a, const struct bench_run *b,
		    const struct bench_run *base)
{
	double of[BENCH_MAX_ROUNDS], less;
	unsigned int i, n = 0;

	for (i = 0; i < BENCH_MAX_ROUNDS; i++) {
		less = base ? base->p50[i] : 0;
		if (a->p50[i] && b->p50[i] > less && (!base || less))
			of[n++] = ((double)a->p50[i] - less) / ((double)b->p50[i] - less);
	}
	if (!n)
		return 0;
	qsort(of, n, sizeof(of[0]), by_value);
	return (of[n / 2] + of[(n - 1) / 2]) / 2;
}

static void print_ns(double ns)
{
	if (ns < 1000)
		printf(" %9.1f", ns);
	else
		printf(" %9.0f", ns);
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

static void print_row(const struct bench_run *r, const struct bench_run *runs, size_t n)
{
	const char *place = bench_placement_name(r->placement);
	const char *wait = bench_wait_name(r->wait), *sep = "  ";
	int i;

	printf("%-24s %-9s %-8s", r->name, place ? place : "-", wait ? wait : "-");
	if (!measured(r)) {
		printf(" %s: %s\n", r->status < 0 ? "failed" : "not run",
		       r->why[0] ? r->why : strerror(-r->status));
		return;
	}
	if (r->def->flags & BENCH_IDLE) {
		printf(" %.3f %% of a CPU, idle for %.1f s\n",
		       r->cpu_ns * 100.0 / r->elapsed_ns, r->elapsed_ns / 1e9);
		return;
	}
	print_ns(figure(r));
	print_ns(hist_percentile(&r->hist, 90) / 1000.0);
	print_ns(hist_percentile(&r->hist, 99) / 1000.0);
	print_ns(hist_percentile(&r->hist, 99.9) / 1000.0);
	print_ns(r->hist.max / 1000.0);
	print_rate(r->ops * 1e9 / r->elapsed_ns);
	print_ns((double)r->cpu_ns / r->ops);
	if (r->def->flags & BENCH_KVM)
		printf(" %6.3f", (double)r->user_exits / r->ops);
	else
		printf(" %6s", "-");

	for (i = 0; i < BENCH_MAX_RIVALS && r->def->rivals[i]; i++) {
		const struct bench_run *rival = find_rival(r, r->def->rivals[i], runs, n);

		if (!rival)
			continue;
		printf("%s%.2fx %s", sep, ratio(r, rival, NULL), rival->name);
		sep = ", ";
	}
	printf("\n");
}

/* A ratio that more than two runs go into: (a - base) / (b - base). */
struct added {
	const char *a, *b, *base;
	enum bench_placement placement;
	enum bench_wait wait;
};

static const struct added added[] = {
	{ "rmio.exit.load.device", "socket.load", "kvm.exit.load", BENCH_CROSS_CPU, BENCH_POLL },
	{ "rmio.exit.load.device", "socket.load.poll", "kvm.exit.load", BENCH_CROSS_CPU,
	  BENCH_POLL },
	{ "rmio.exit.load.device", "socket.load", "kvm.exit.load", BENCH_CROSS_CPU,
	  BENCH_ADAPTIVE },
	{ "rmio.exit.load.device", "socket.load", "kvm.exit.load", BENCH_CROSS_CPU, BENCH_SLEEP },
	{ "rmio.exit.load.device", "socket.load", "kvm.exit.load", BENCH_SAME_CPU, BENCH_SLEEP },
};

static const struct bench_run *find_run(const char *name, enum bench_placement placement,
					enum bench_wait wait, const struct bench_run *runs,
					size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!strcmp(runs[i].name, name) && runs[i].placement == placement &&
		    runs[i].wait == wait && measured(&runs[i]))
			return &runs[i];
	return NULL;
}

static void print_added(const struct bench_run *runs, size_t n)
{
	bool heading = false;
	size_t i;

	for (i = 0; i < sizeof(added) / sizeof(added[0]); i++) {
		const struct added *d = &added[i];
		const struct bench_run *a = find_run(d->a, d->placement, d->wait, runs, n);
		const struct bench_run *b, *base;

		if (!a)
			continue;
		b = find_rival(a, d->b, runs, n);
		base = find_rival(a, d->base, runs, n);
		if (!b || !base || !ratio(a, b, base))
			continue;
		if (!heading)
			printf("\nWhat the other process adds to an exit, p50; the ratio round by "
			       "round, median:\n");
		heading = true;
		printf("  %s, %s, %s: %.0f ns; %s: %.0f ns; ratio %.3f\n", a->name,
		       bench_placement_name(d->placement), bench_wait_name(d->wait),
		       figure(a) - figure(base), b->name, figure(b) - figure(base),
		       ratio(a, b, base));
	}
}

void report_table(const struct bench_machine *m, const struct bench_run *runs, size_t n)
{
	size_t i;

	printf("%s, %s, %d CPUs%s\n", m->kernel, m->cpu[0] ? m->cpu : "unknown CPU", m->cpus,
	       m->hypervisor ? ", itself a virtual machine" : "");
	printf("measured on CPU %d", m->cpu_a);
	if (m->cpu_b >= 0)
		printf(" and %d", m->cpu_b);
	printf(", %g s a case in %u rounds, clock %s (its reading, %.1f ns, is subtracted)\n\n",
	       m->seconds, m->asked_rounds, bench_clock.source,
	       bench_clock.overhead * bench_clock.ps_per_tick / 1000.0);
	if (m->rounds < m->asked_rounds)
		printf("the machine is busy: only %u of %u rounds were made\n\n", m->rounds,
		       m->asked_rounds);
	printf("%-24s %-9s %-8s %9s %9s %9s %9s %9s %9s %9s %6s  %s\n", "case", "placement", "wait",
	       "p50 ns", "p90 ns", "p99 ns", "p99.9 ns", "max ns", "ops/s", "CPU ns/op", "exits",
	       "p50 against");
	for (i = 0; i < n; i++)
		print_row(&runs[i], runs, n);
	for (i = 0; i < n && runs[i].status <= 0; i++)
		;
	if (i < n)
		printf("\nSome were not run: `rmio doctor` says what this machine lacks and what to do.\n");
	print_added(runs, n);
	fflush(stdout);
}

static struct json_object *number(double v)
{
	char text[48];

	snprintf(text, sizeof(text), "%.3f", v);
	return json_object_new_double_s(v, text);
}

static struct json_object *machine_json(const struct bench_machine *m)
{
	struct json_object *o = json_object_new_object();
	struct json_object *pair = json_object_new_array();

	json_object_object_add(o, "kernel", text_json(m->kernel));
	json_object_object_add(o, "cpu", text_json(m->cpu));
	json_object_object_add(o, "cpus", json_object_new_int(m->cpus));
	json_object_array_add(pair, json_object_new_int(m->cpu_a));
	json_object_array_add(pair, m->cpu_b >= 0 ? json_object_new_int(m->cpu_b) : NULL);
	json_object_object_add(o, "cpu_pair", pair);
	json_object_object_add(o, "hypervisor", json_object_new_boolean(m->hypervisor));
	json_object_object_add(o, "kvm", json_object_new_boolean(!m->kvm[0]));
	json_object_object_add(o, "kvm_reason", text_json(m->kvm[0] ? m->kvm : NULL));
	json_object_object_add(o, "clock", text_json(bench_clock.source));
	json_object_object_add(o, "clock_overhead_ns",
			       number(bench_clock.overhead * bench_clock.ps_per_tick / 1000.0));
	json_object_object_add(o, "seconds_per_case", number(m->seconds));
	json_object_object_add(o, "rounds", json_object_new_int(m->rounds));
	return o;
}

static struct json_object *rounds_json(const struct bench_run *r, unsigned int rounds)
{
	struct json_object *array = json_object_new_array();
	unsigned int i;

	for (i = 0; i < rounds; i++)
		json_object_array_add(array, r->p50[i] ? number(r->p50[i] / 1000.0) : NULL);
	return array;
}

static struct json_object *histogram_json(const struct hist *h)
{
	struct json_object *array = json_object_new_array();
	unsigned int i;

	for (i = 0; i < HIST_BUCKETS; i++) {
		struct json_object *pair;

		if (!h->bucket[i])
			continue;
		pair = json_object_new_array();
		json_object_array_add(pair, number(hist_bucket_value(i) / 1000.0));
		json_object_array_add(pair, json_object_new_int64(h->bucket[i]));
		json_object_array_add(array, pair);
	}
	return array;
}

static struct json_object *run_json(const struct bench_run *r, unsigned int rounds)
{
	struct json_object *o = json_object_new_object();
	const struct hist *h = &r->hist;
	bool latency = h->count > 0;
	/* One operation of an idle process is a second of having nothing to do. */
	double ops = latency ? r->ops : r->elapsed_ns / 1e9;

	json_object_object_add(o, "case", text_json(r->name));
	json_object_object_add(o, "placement", text_json(bench_placement_name(r->placement)));
	json_object_object_add(o, "wait", text_json(bench_wait_name(r->wait)));
	json_object_object_add(o, "samples", latency ? json_object_new_int64(h->count) : NULL);
	json_object_object_add(o, "mean_ns", latency ? number(hist_mean(h) / 1000.0) : NULL);
	json_object_object_add(o, "p50_ns",
			       latency ? number(hist_percentile(h, 50) / 1000.0) : NULL);
	json_object_object_add(o, "p90_ns",
			       latency ? number(hist_percentile(h, 90) / 1000.0) : NULL);
	json_object_object_add(o, "p99_ns",
			       latency ? number(hist_percentile(h, 99) / 1000.0) : NULL);
	json_object_object_add(o, "p999_ns",
			       latency ? number(hist_percentile(h, 99.9) / 1000.0) : NULL);
	json_object_object_add(o, "max_ns", latency ? number(h->max / 1000.0) : NULL);
	json_object_object_add(o, "ops_per_s",
			       latency ? number(ops * 1e9 / r->elapsed_ns) : NULL);
	json_object_object_add(o, "user_exits", r->def->flags & BENCH_KVM ?
			       number(r->user_exits / ops) : NULL);
	json_object_object_add(o, "cpu_ns_per_op", number(r->cpu_ns / ops));
	json_object_object_add(o, "p50_rounds_ns", latency ? rounds_json(r, rounds) : NULL);
	json_object_object_add(o, "histogram", histogram_json(h));
	return o;
}

int report_json(const char *file, const struct bench_machine *m,
		const struct bench_run *runs, size_t n)
{
	struct json_object *root = json_object_new_object();
	struct json_object *results = json_object_new_array();
	size_t i;
	int err = 0;

	json_object_object_add(root, "schema", json_object_new_int(1));
	json_object_object_add(root, "machine", machine_json(m));
	for (i = 0; i < n; i++)
		if (measured(&runs[i]))
			json_object_array_add(results, run_json(&runs[i], m->rounds));
	json_object_object_add(root, "results", results);

	errno = 0;
	if (json_object_to_file_ext(file, root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_SPACED))
		err = errno ? -errno : -EIO;
	json_object_put(root);
	return err;
}
