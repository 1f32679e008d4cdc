// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a run has measured, for programs: all figures, ratios, raw histograms, and what was not run
 * and why.
 *
 * Outside the data path, after the run.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "compare.h"
#include "text.h"

static struct json_object *number(double v)
{
	char text[48];

	snprintf(text, sizeof(text), "%.3f", v);
	return json_object_new_double_s(v, text);
}

static struct json_object *known(double v)
{
	return v < 0 ? NULL : number(v);
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
	json_object_object_add(o, "asked_rounds", json_object_new_int(m->asked_rounds));
	json_object_object_add(o, "cut_short",
			       json_object_new_boolean(m->rounds < m->asked_rounds));
	json_object_object_add(o, "load_before", known(m->load_before));
	json_object_object_add(o, "load_after", known(m->load_after));
	json_object_object_add(o, "stolen_percent", known(m->stolen));
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

static void name_run(struct json_object *o, const struct bench_run *r)
{
	json_object_object_add(o, "case", text_json(r->name));
	json_object_object_add(o, "placement", text_json(bench_placement_name(r->placement)));
	json_object_object_add(o, "wait", text_json(bench_wait_name(r->wait)));
}

static struct json_object *ratios_json(const struct bench_run *r, const struct bench_run *runs,
				       size_t n)
{
	struct json_object *array = json_object_new_array(), *o;
	int i;

	for (i = 0; i < BENCH_MAX_RIVALS && r->def->rivals[i]; i++) {
		const struct bench_run *rival = compare_rival(r, r->def->rivals[i], runs, n);

		if (!rival)
			continue;
		o = json_object_new_object();
		name_run(o, rival);
		json_object_object_add(o, "p50_ratio", number(compare_ratio(r, rival, NULL)));
		json_object_array_add(array, o);
	}
	return array;
}

/* Null, where the samples do not carry it. */
static struct json_object *percentile(const struct hist *h, double percent)
{
	return hist_carries(h, percent) ? number(hist_percentile(h, percent) / 1000.0) : NULL;
}

static struct json_object *run_json(const struct bench_run *r, const struct bench_machine *m,
				    const struct bench_run *runs, size_t n)
{
	struct json_object *o = json_object_new_object();
	const struct hist *h = &r->hist;
	bool latency = h->count > 0;
	/* One operation of an idle process is a second of having nothing to do. */
	double ops = latency ? r->ops : r->elapsed_ns / 1e9;
	uint64_t least, most;
	bool spread = latency && compare_spread(r, &least, &most) > 1;

	name_run(o, r);
	json_object_object_add(o, "samples", latency ? json_object_new_int64(h->count) : NULL);
	json_object_object_add(o, "operations_per_sample",
			       latency ? json_object_new_int(r->per_sample ? r->per_sample : 1) :
			       NULL);
	json_object_object_add(o, "mean_ns", latency ? number(hist_mean(h) / 1000.0) : NULL);
	json_object_object_add(o, "p50_ns", latency ? number(compare_p50(r)) : NULL);
	json_object_object_add(o, "p50_least_ns", spread ? number(least / 1000.0) : NULL);
	json_object_object_add(o, "p50_most_ns", spread ? number(most / 1000.0) : NULL);
	json_object_object_add(o, "p90_ns", percentile(h, 90));
	json_object_object_add(o, "p99_ns", percentile(h, 99));
	json_object_object_add(o, "p999_ns", percentile(h, 99.9));
	json_object_object_add(o, "max_ns", latency ? number(h->max / 1000.0) : NULL);
	json_object_object_add(o, "ops_per_s",
			       latency ? number(ops * 1e9 / r->elapsed_ns) : NULL);
	json_object_object_add(o, "user_exits", r->def->flags & BENCH_KVM ?
			       number(r->user_exits / ops) : NULL);
	json_object_object_add(o, "cpu_ns_per_op", number(r->cpu_ns / ops));
	json_object_object_add(o, "ratios", ratios_json(r, runs, n));
	json_object_object_add(o, "p50_rounds_ns", latency ? rounds_json(r, m->rounds) : NULL);
	json_object_object_add(o, "histogram", histogram_json(h));
	return o;
}

static struct json_object *added_json(const struct bench_run *runs, size_t n)
{
	struct json_object *array = json_object_new_array(), *o, *to;
	struct compare_added d;
	size_t at = 0;

	while (compare_added(&at, runs, n, &d)) {
		o = json_object_new_object();
		to = json_object_new_object();
		name_run(o, d.a);
		json_object_object_add(o, "base", text_json(d.base->name));
		json_object_object_add(o, "adds_ns", number(compare_p50(d.a) - compare_p50(d.base)));
		name_run(to, d.b);
		json_object_object_add(to, "adds_ns", number(compare_p50(d.b) - compare_p50(d.base)));
		json_object_object_add(o, "rival", to);
		json_object_object_add(o, "ratio", number(compare_ratio(d.a, d.b, d.base)));
		json_object_array_add(array, o);
	}
	return array;
}

static struct json_object *not_run_json(const struct bench_run *r)
{
	struct json_object *o = json_object_new_object();

	name_run(o, r);
	json_object_object_add(o, "failed", json_object_new_boolean(r->status < 0));
	json_object_object_add(o, "reason", text_json(r->why[0] ? r->why : strerror(-r->status)));
	return o;
}

int report_json(const char *file, const struct bench_machine *m,
		const struct bench_run *runs, size_t n)
{
	struct json_object *root = json_object_new_object();
	struct json_object *results = json_object_new_array();
	struct json_object *not_run = json_object_new_array();
	size_t i;
	int err = 0;

	json_object_object_add(root, "schema", json_object_new_int(2));
	json_object_object_add(root, "machine", machine_json(m));
	for (i = 0; i < n; i++) {
		if (compare_measured(&runs[i]))
			json_object_array_add(results, run_json(&runs[i], m, runs, n));
		else
			json_object_array_add(not_run, not_run_json(&runs[i]));
	}
	json_object_object_add(root, "results", results);
	json_object_object_add(root, "added", added_json(runs, n));
	json_object_object_add(root, "not_run", not_run);

	errno = 0;
	if (json_object_to_file_ext(file, root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_SPACED))
		err = errno ? -errno : -EIO;
	json_object_put(root);
	return err;
}
