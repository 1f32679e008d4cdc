// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio stat`: a VM's statistics as tables for people.
 */
#include "stat.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define BUCKETS		32

struct pair {
	struct json_object *now, *before;
	double seconds;		/* between them; 0: totals */
};

static struct json_object *member(struct json_object *o, const char *name)
{
	struct json_object *v = NULL;

	if (json_object_is_type(o, json_type_object))
		json_object_object_get_ex(o, name, &v);
	return v;
}

static struct json_object *at(struct json_object *a, size_t i)
{
	return json_object_is_type(a, json_type_array) && i < json_object_array_length(a) ?
	       json_object_array_get_idx(a, i) : NULL;
}

static size_t count(struct json_object *a)
{
	return json_object_is_type(a, json_type_array) ? json_object_array_length(a) : 0;
}

static uint64_t number(struct json_object *o, const char *name)
{
	int64_t v = json_object_get_int64(member(o, name));

	return v > 0 ? (uint64_t)v : 0;
}

static struct pair in(const struct pair *p, const char *name)
{
	return (struct pair){ member(p->now, name), member(p->before, name), p->seconds };
}

static struct pair nth(const struct pair *p, size_t i)
{
	return (struct pair){ at(p->now, i), at(p->before, i), p->seconds };
}

/* A total, or how much more a second. */
static uint64_t figure(const struct pair *p, const char *name)
{
	uint64_t now = number(p->now, name), before;

	if (p->seconds <= 0)
		return now;
	before = number(p->before, name);
	return now > before ? (uint64_t)((double)(now - before) / p->seconds + 0.5) : 0;
}

/* Text of somebody else, for a terminal: printable ASCII in at most @width columns. */
static const char *text(struct json_object *o, const char *name, size_t width)
{
	static char buf[4][512];
	static unsigned int turn;
	const char *s = json_object_get_string(member(o, name));
	char *b = buf[turn++ % 4];
	size_t i;

	if (width >= sizeof(buf[0]))
		width = sizeof(buf[0]) - 1;
	for (i = 0; s && s[i] && i < width; i++)
		b[i] = s[i] >= ' ' && s[i] <= '~' ? s[i] : '?';
	b[i] = 0;
	return b;
}

static const char *nanoseconds(uint64_t ns)
{
	static char buf[4][24];
	static unsigned int turn;
	char *b = buf[turn++ % 4];

	if (ns < 10000)
		snprintf(b, sizeof(buf[0]), "%" PRIu64 "ns", ns);
	else if (ns < 10000000)
		snprintf(b, sizeof(buf[0]), "%" PRIu64 "us", ns / 1000);
	else
		snprintf(b, sizeof(buf[0]), "%" PRIu64 "ms", ns / 1000000);
	return b;
}

/* Of the histogram, or of what came to it since. */
static uint64_t histogram(const struct pair *lane, uint64_t n[BUCKETS])
{
	struct json_object *now = member(lane->now, "load_ns");
	struct json_object *before = member(lane->before, "load_ns");
	uint64_t sum = 0;

	for (size_t i = 0; i < BUCKETS; i++) {
		int64_t a = json_object_get_int64(at(now, i));
		int64_t b = lane->seconds > 0 ? json_object_get_int64(at(before, i)) : 0;

		n[i] = a > 0 && b >= 0 && a > b ? (uint64_t)(a - b) : 0;
		/* More cannot have happened, and sums stay sums. */
		if (n[i] > 1ull << 56)
			n[i] = 1ull << 56;
		sum += n[i];
	}
	return sum;
}

/* The upper end of the bucket in which that share of loads is complete. */
static const char *percentile(const uint64_t n[BUCKETS], uint64_t sum, unsigned int permille)
{
	uint64_t want = sum / 1000 * permille + sum % 1000 * permille / 1000, seen = 0;
	size_t i;

	if (!sum)
		return "-";
	for (i = 0; i < BUCKETS - 1; i++) {
		seen += n[i];
		if (seen && seen >= want)
			break;
	}
	return nanoseconds(2ull << i);
}

/* -- tables ---------------------------------------------------------------------- */

static void exits(FILE *f, const struct pair *vm)
{
	static const char *const names[] = { "load", "store", "in", "out", "interrupted", "other" };
	struct pair list = in(vm, "exits");

	fprintf(f, "  exits to user space%s\n  %-6s", vm->seconds > 0 ? ", a second" : "", "vCPU");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fprintf(f, " %12s", names[i]);
	fputc('\n', f);
	for (size_t v = 0; v < count(list.now); v++) {
		struct pair e = nth(&list, v);

		fprintf(f, "  %-6zu", v);
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			fprintf(f, " %12" PRIu64, figure(&e, names[i]));
		fputc('\n', f);
	}
}

static void vcpu_line(FILE *f, const char *name, const struct pair *c, const struct pair *lane)
{
	uint64_t posted = figure(c, "posted"), kernel = figure(lane, "posted");
	uint64_t n[BUCKETS], sum = histogram(lane, n);
	char depth[48];

	snprintf(depth, sizeof(depth), "%" PRIu64 "/%" PRIu64, number(lane->now, "depth"),
		 number(lane->now, "slots"));
	fprintf(f, "  %-6s %9" PRIu64 " %9" PRIu64 " %7" PRIu64 " %9" PRIu64 " %9" PRIu64
		" %7" PRIu64 " %7" PRIu64 " %9s", name, figure(c, "shadow"), figure(c, "loads"),
		figure(c, "refused_size"), kernel, posted > kernel ? posted - kernel : 0,
		figure(c, "sync"), figure(c, "full"), depth);
	fprintf(f, " %7s %7s %7s\n", percentile(n, sum, 500), percentile(n, sum, 990),
		percentile(n, sum, 999));
}

static void accesses(FILE *f, const struct pair *d)
{
	struct pair list = in(d, "vcpus"), c = in(d, "counters"), lane = in(d, "lane");
	char name[24];

	fprintf(f, "  %-6s %9s %9s %7s %9s %9s %7s %7s %9s %7s %7s %7s\n", "vCPU", "shadow", "device",
		"refused", "kernel", "exit", "sync", "full", "lane", "p50", "p99", "p99.9");
	for (size_t v = 0; v < count(list.now); v++) {
		struct pair e = nth(&list, v), l = in(&e, "lane");

		snprintf(name, sizeof(name), "%zu", v);
		vcpu_line(f, name, &e, &l);
	}
	if (count(list.now) > 1)
		vcpu_line(f, "all", &c, &lane);
}

static void plan(FILE *f, struct json_object *d)
{
	struct json_object *list = member(d, "plan");

	if (!count(list)) {
		if (*text(d, "plan_why", 1))
			fprintf(f, "  no plan: %s\n", text(d, "plan_why", 200));
		return;
	}
	fprintf(f, "  %-5s %10s %10s  %-5s %-10s %10s  %s\n", "range", "offset", "length", "what",
		"by", "count", "why");
	for (size_t i = 0; i < count(list); i++) {
		struct json_object *e = at(list, i);

		fprintf(f, "  %-5" PRIu64 " %#10" PRIx64 " %#10" PRIx64 "  %-5s %-10s %10" PRIu64
			"  %s%s\n", number(e, "range"), number(e, "offset"), number(e, "length"),
			text(e, "access", 5), text(e, "mechanism", 10), number(e, "count"),
			text(e, "why", 200),
			json_object_get_boolean(member(e, "through")) ? "; shadow written" : "");
	}
}

static bool any_slot(struct json_object *list)
{
	for (size_t i = 0; i < count(list); i++) {
		if (!strcmp(text(at(list, i), "mechanism", 10), "memslot"))
			return true;
	}
	return false;
}

/* False: it has no more than that. */
static bool headline(FILE *f, struct json_object *d, const char *more)
{
	fprintf(f, "\nslot %" PRIu64 " %s", number(d, "slot"), text(d, "name", 63));
	if (*text(d, "socket", 1))
		fprintf(f, " at %s", text(d, "socket", 200));
	fputs(": ", f);
	if (!json_object_get_boolean(member(d, "rmio"))) {
		fprintf(f, "no rings, every access is a message\n");
		return false;
	}
	fprintf(f, "%s, back end %s%s\n", text(d, "state", 20), text(d, "backend", 20), more);
	return true;
}

static void device(FILE *f, const struct pair *d)
{
	struct json_object *p = member(d->now, "plan");

	if (!headline(f, d->now, d->seconds > 0 ? ", a second" : ""))
		return;
	fprintf(f, "  %-6s %-27s %-35s %9s %s\n", "", "loads: answered by", "stores: posted by", "",
		"loads that left KVM");
	accesses(f, d);
	if (any_slot(p))
		fprintf(f, "  loads that a memory slot answers are seen by nobody and counted nowhere\n");
	plan(f, d->now);
}

static void program(FILE *f, const struct pair *vm)
{
	struct pair p = in(vm, "program");
	uint64_t runs = number(p.now, "runs"), ns = number(p.now, "run_ns");

	if (!p.now)
		return;
	if (vm->seconds > 0 && p.before && number(p.before, "runs") <= runs) {
		runs -= number(p.before, "runs");
		ns -= number(p.before, "run_ns") < ns ? number(p.before, "run_ns") : ns;
	}
	fprintf(f, "BPF program %" PRIu64 ": ", number(p.now, "id"));
	if (!json_object_get_boolean(member(p.now, "timed")))
		fprintf(f, "not timed, see sysctl kernel.bpf_stats_enabled\n");
	else if (!runs)
		fprintf(f, "has not run\n");
	else
		fprintf(f, "%" PRIu64 " runs, %" PRIu64 " ns each\n", runs, ns / runs);
}

static void machine(FILE *f, struct json_object *vm)
{
	fprintf(f, "VM %" PRIu64 ": %" PRIu64 " vCPU%s, %" PRIu64 " MiB, back end %s",
		number(vm, "pid"), number(vm, "vcpus"), number(vm, "vcpus") == 1 ? "" : "s",
		number(vm, "memory") >> 20, text(vm, "backend", 20));
	/* On any other there is nothing to mend. */
	if (!strcmp(text(vm, "backend", 20), "exit") && *text(vm, "why", 1))
		fprintf(f, " (%s)", text(vm, "why", 300));
	fputc('\n', f);
}

void stat_view_plans(FILE *f, struct json_object *vm)
{
	struct json_object *list = member(vm, "devices");

	machine(f, vm);
	for (size_t i = 0; i < count(list); i++) {
		if (headline(f, at(list, i), ""))
			plan(f, at(list, i));
	}
}

void stat_view(FILE *f, struct json_object *now, struct json_object *before)
{
	struct pair vm = { now, before, 0 }, list;

	if (before)
		vm.seconds = (double)(json_object_get_int64(member(now, "time_ns")) -
				      json_object_get_int64(member(before, "time_ns"))) / 1e9;
	machine(f, now);
	program(f, &vm);
	exits(f, &vm);
	if (number(now, "straddled"))
		fprintf(f, "  %" PRIu64 " accesses partly inside and partly outside of a range\n",
			number(now, "straddled"));
	list = in(&vm, "devices");
	for (size_t i = 0; i < count(list.now); i++) {
		struct pair d = nth(&list, i);

		device(f, &d);
	}
}
