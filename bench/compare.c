// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Ratios of runs, what a run adds to another, and which belong together.
 *
 * Outside the data path, after the run.
 */
#include "compare.h"

#include <stdlib.h>
#include <string.h>

bool compare_measured(const struct bench_run *r)
{
	return !r->status && r->elapsed_ns && (r->hist.count || r->def->flags & BENCH_IDLE);
}

double compare_p50(const struct bench_run *r)
{
	return hist_percentile(&r->hist, 50) / 1000.0;
}

unsigned int compare_spread(const struct bench_run *r, uint64_t *least, uint64_t *most)
{
	unsigned int i, n = 0;

	*least = *most = 0;
	for (i = 0; i < BENCH_MAX_ROUNDS; i++) {
		if (!r->p50[i])
			continue;
		if (!n || r->p50[i] < *least)
			*least = r->p50[i];
		if (r->p50[i] > *most)
			*most = r->p50[i];
		n++;
	}
	return n;
}

const struct bench_run *compare_rival(const struct bench_run *run, const char *name,
				      const struct bench_run *runs, size_t n)
{
	const struct bench_run *best = NULL;
	int score, best_score = -1;
	size_t i;

	for (i = 0; i < n; i++) {
		const struct bench_run *r = &runs[i];

		if (strcmp(r->name, name) || !compare_measured(r))
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

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double compare_ratio(const struct bench_run *a, const struct bench_run *b,
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

bool compare_unsure(const struct bench_run *a, const struct bench_run *b)
{
	double whole = compare_p50(b) ? compare_p50(a) / compare_p50(b) : 0;
	double x = compare_ratio(a, b, NULL);

	return x && whole && (x > 1.5 * whole || 1.5 * x < whole);
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
		    runs[i].wait == wait && compare_measured(&runs[i]))
			return &runs[i];
	return NULL;
}

bool compare_added(size_t *at, const struct bench_run *runs, size_t n, struct compare_added *out)
{
	while (*at < sizeof(added) / sizeof(added[0])) {
		const struct added *d = &added[(*at)++];

		out->a = find_run(d->a, d->placement, d->wait, runs, n);
		if (!out->a)
			continue;
		out->b = compare_rival(out->a, d->b, runs, n);
		out->base = compare_rival(out->a, d->base, runs, n);
		if (out->b && out->base && compare_ratio(out->a, out->b, out->base))
			return true;
	}
	return false;
}

/* -- who belongs together ------------------------------------------------------------- */

static bool drawn(const struct bench_run *r)
{
	return !r->status && r->hist.count;
}

/* The run that a run is compared with first, and that one, until there is no more. */
static size_t root(size_t i, const struct bench_run *runs, size_t n)
{
	size_t steps;

	for (steps = 0; steps < n; steps++) {
		const struct bench_run *rival = NULL;
		int k;

		for (k = 0; k < BENCH_MAX_RIVALS && runs[i].def->rivals[k] && !rival; k++) {
			rival = compare_rival(&runs[i], runs[i].def->rivals[k], runs, n);
			if (rival && !drawn(rival))
				rival = NULL;
		}
		if (!rival || rival == &runs[i])
			break;
		i = (size_t)(rival - runs);
	}
	/* Of one case however placed and waiting the first stands for all. */
	for (steps = 0; steps < i; steps++)
		if (drawn(&runs[steps]) && !strcmp(runs[steps].name, runs[i].name))
			return steps;
	return i;
}

size_t *compare_groups(const struct bench_run *runs, size_t n, size_t *nr, size_t **group)
{
	size_t *order = calloc(n + 1, sizeof(*order)), *of = calloc(n + 1, sizeof(*of));
	size_t *roots = calloc(n + 1, sizeof(*roots)), i, k;

	*nr = 0;
	*group = of;
	if (!order || !of || !roots) {
		free(order);
		free(of);
		free(roots);
		return NULL;
	}
	for (i = 0; i < n; i++)
		roots[i] = drawn(&runs[i]) ? root(i, runs, n) : n;
	for (i = 0; i < n; i++) {
		size_t g = roots[i];

		for (k = i; g != n && k < n; k++) {
			if (roots[k] != g)
				continue;
			roots[k] = n;
			of[*nr] = g;
			order[(*nr)++] = k;
		}
	}
	free(roots);
	return order;
}
