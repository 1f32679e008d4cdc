// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a run has measured, as CSV (RFC 4180): a line for each case, also for those not run.
 *
 * Outside the data path, after the run.
 */
#include <errno.h>
#include <string.h>

#include "compare.h"

static void text(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"')
			fputc('"', f);
		fputc(*s, f);
	}
	fputc('"', f);
}

static void value(FILE *f, bool there, double v)
{
	fputc(',', f);
	if (there)
		fprintf(f, "%.3f", v);
}

static void percentile(FILE *f, const struct bench_run *r, double percent)
{
	value(f, compare_measured(r) && hist_carries(&r->hist, percent),
	      hist_percentile(&r->hist, percent) / 1000.0);
}

static void line(FILE *f, const struct bench_run *r, const struct bench_run *runs, size_t n)
{
	const char *place = bench_placement_name(r->placement), *wait = bench_wait_name(r->wait);
	const struct bench_run *rival = NULL;
	bool measured = compare_measured(r), latency = measured && r->hist.count, spread;
	double ops = latency ? r->ops : r->elapsed_ns / 1e9;
	uint64_t least, most;
	int i;

	spread = latency && compare_spread(r, &least, &most) > 1;
	for (i = 0; latency && !rival && i < BENCH_MAX_RIVALS && r->def->rivals[i]; i++)
		rival = compare_rival(r, r->def->rivals[i], runs, n);
	fprintf(f, "%s,%s,%s,", r->name, place ? place : "", wait ? wait : "");
	if (latency)
		fprintf(f, "%llu,%u", (unsigned long long)r->hist.count,
			r->per_sample ? r->per_sample : 1);
	else
		fputc(',', f);
	value(f, latency, hist_mean(&r->hist) / 1000.0);
	value(f, latency, latency ? compare_p50(r) : 0);
	value(f, spread, spread ? least / 1000.0 : 0);
	value(f, spread, spread ? most / 1000.0 : 0);
	percentile(f, r, 90);
	percentile(f, r, 99);
	percentile(f, r, 99.9);
	value(f, latency, r->hist.max / 1000.0);
	value(f, latency, latency ? ops * 1e9 / r->elapsed_ns : 0);
	value(f, measured, measured ? r->cpu_ns / ops : 0);
	value(f, latency && r->def->flags & BENCH_KVM, latency ? r->user_exits / ops : 0);
	fprintf(f, ",%s", rival ? rival->name : "");
	value(f, rival, rival ? compare_ratio(r, rival, NULL) : 0);
	fprintf(f, ",%s,", measured ? "measured" : r->status < 0 ? "failed" : "not run");
	if (!measured)
		text(f, r->why[0] ? r->why : strerror(-r->status));
	fputs("\r\n", f);
}

int report_csv(const char *file, const struct bench_run *runs, size_t n)
{
	FILE *f = fopen(file, "we");
	size_t i;

	if (!f)
		return -errno;
	fputs("case,placement,wait,samples,operations_per_sample,mean_ns,p50_ns,p50_least_ns,"
	      "p50_most_ns,p90_ns,p99_ns,p999_ns,max_ns,ops_per_s,cpu_ns_per_op,user_exits,"
	      "rival,p50_ratio,status,reason\r\n", f);
	for (i = 0; i < n; i++)
		line(f, &runs[i], runs, n);
	if (ferror(f)) {
		fclose(f);
		return -EIO;
	}
	return fclose(f) ? -errno : 0;
}
