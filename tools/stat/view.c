// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio stat`: a VM's statistics as tables for people.
 */
#include "read.h"
#include "stat.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define STAT_PLAN_LOOK	256	/* entries of a plan that others are compared with */

/* -- tables ---------------------------------------------------------------------- */

static void exits(FILE *f, const struct stat_pair *vm)
{
	static const char *const names[] = { "load", "store", "in", "out", "interrupted", "other" };
	struct stat_pair list = stat_in(vm, "exits");

	fprintf(f, "  exits to user space%s\n  %-6s", vm->seconds > 0 ? ", a second" : "", "vCPU");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fprintf(f, " %12s", names[i]);
	fputc('\n', f);
	for (size_t v = 0; v < stat_count(list.now); v++) {
		struct stat_pair e = stat_nth(&list, v);

		fprintf(f, "  %-6zu", v);
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			fprintf(f, " %12" PRIu64, stat_figure(&e, names[i]));
		fputc('\n', f);
	}
}

static void vcpu_line(FILE *f, const char *name, const struct stat_pair *c,
		      const struct stat_pair *lane, bool kvm)
{
	uint64_t n[STAT_BUCKETS], sum = stat_histogram(lane, n), kernel, exit;
	char depth[48];

	stat_stores(c, lane, kvm, &kernel, &exit);
	snprintf(depth, sizeof(depth), "%" PRIu64 "/%" PRIu64, stat_number(lane->now, "depth"),
		 stat_number(lane->now, "slots"));
	fprintf(f, "  %-6s %9" PRIu64 " %9" PRIu64 " %7" PRIu64 " %9" PRIu64 " %9" PRIu64
		" %7" PRIu64 " %7" PRIu64 " %9s", name, stat_figure(c, "shadow"),
		stat_figure(c, "loads"), stat_figure(c, "refused_size"), kernel, exit,
		stat_figure(c, "sync"), stat_figure(c, "full"), depth);
	fprintf(f, " %7s %7s %7s\n", stat_percentile(n, sum, 500), stat_percentile(n, sum, 990),
		stat_percentile(n, sum, 999));
}

static void accesses(FILE *f, const struct stat_pair *d)
{
	struct stat_pair list = stat_in(d, "vcpus"), c = stat_in(d, "counters");
	struct stat_pair lane = stat_in(d, "lane");
	bool kvm = !strcmp(stat_text(d->now, "backend", 10), "kvm");
	char name[24];

	fprintf(f, "  %-6s %9s %9s %7s %9s %9s %7s %7s %9s %7s %7s %7s\n", "vCPU", "shadow", "device",
		"refused", "kernel", "exit", "sync", "full", "lane", "p50", "p99", "p99.9");
	for (size_t v = 0; v < stat_count(list.now); v++) {
		struct stat_pair e = stat_nth(&list, v), l = stat_in(&e, "lane");

		snprintf(name, sizeof(name), "%zu", v);
		vcpu_line(f, name, &e, &l, kvm);
	}
	if (stat_count(list.now) > 1)
		vcpu_line(f, "all", &c, &lane, kvm);
}

/* They differ in no more than where they are. */
static bool alike(struct json_object *a, struct json_object *b)
{
	static const char *const same[] = { "range", "length", "access", "mechanism", "count",
					    "through", "why" };

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		if (!json_object_equal(stat_member(a, same[i]), stat_member(b, same[i])))
			return false;
	}
	return true;
}

static bool shown_before(struct json_object *list, size_t i)
{
	for (size_t k = 0; k < i && k < STAT_PLAN_LOOK; k++) {
		if (alike(stat_at(list, k), stat_at(list, i)))
			return true;
	}
	return false;
}

/* How many like it, and the last of them. */
static size_t how_many(struct json_object *list, size_t i, struct json_object **last)
{
	size_t n = 1;

	*last = stat_at(list, i);
	for (size_t k = i + 1; i < STAT_PLAN_LOOK && k < stat_count(list); k++) {
		if (alike(stat_at(list, i), stat_at(list, k))) {
			*last = stat_at(list, k);
			n++;
		}
	}
	return n;
}

void stat_view_plan(FILE *f, struct json_object *d)
{
	struct json_object *list = stat_member(d, "plan"), *last;
	char stores[24];
	size_t n;

	if (!stat_count(list)) {
		if (*stat_text(d, "plan_why", 1))
			fprintf(f, "  no plan: %s\n", stat_text(d, "plan_why", 200));
		return;
	}
	fprintf(f, "  %-5s %8s %8s %3s  %-5s %-9s %9s  %s\n", "range", "offset", "length", "n",
		"what", "by", "stores", "why");
	for (size_t i = 0; i < stat_count(list); i++) {
		struct json_object *e = stat_at(list, i);
		bool store = !strcmp(stat_text(e, "access", 6), "store");

		if (shown_before(list, i))
			continue;
		n = how_many(list, i, &last);
		snprintf(stores, sizeof(stores), store ? "%" PRIu64 : "-", stat_number(e, "count"));
		fprintf(f, "  %-5" PRIu64 " %#8" PRIx64 " %#8" PRIx64 " %3zu  %-5s %-9s %9s  %s%s",
			stat_number(e, "range"), stat_number(e, "offset"), stat_number(e, "length"),
			n, stat_text(e, "access", 5), stat_text(e, "mechanism", 9), stores,
			stat_text(e, "why", 200),
			json_object_get_boolean(stat_member(e, "through")) ? "; shadow written" :
			"");
		if (n > 1)
			fprintf(f, "; the last at %#" PRIx64, stat_number(last, "offset"));
		fputc('\n', f);
	}
}

static bool any_slot(struct json_object *list)
{
	for (size_t i = 0; i < stat_count(list); i++) {
		if (!strcmp(stat_text(stat_at(list, i), "mechanism", 10), "memslot"))
			return true;
	}
	return false;
}

/* False: it has no more than that. */
static bool headline(FILE *f, struct json_object *d, const char *more)
{
	fprintf(f, "\nslot %" PRIu64 " %s", stat_number(d, "slot"), stat_text(d, "name", 63));
	if (*stat_text(d, "socket", 1))
		fprintf(f, " at %s", stat_text(d, "socket", 200));
	fputs(": ", f);
	if (!json_object_get_boolean(stat_member(d, "rmio"))) {
		fprintf(f, "no rings, every access is a message\n");
		return false;
	}
	fprintf(f, "%s, back end %s%s\n", stat_text(d, "state", 20), stat_text(d, "backend", 20), more);
	return true;
}

static void device(FILE *f, const struct stat_pair *d)
{
	struct json_object *p = stat_member(d->now, "plan");

	if (!headline(f, d->now, d->seconds > 0 ? ", a second" : ""))
		return;
	fprintf(f, "  %-6s %-27s %-35s %9s %s\n", "", "loads: answered by", "stores: posted by", "",
		"loads that left KVM");
	accesses(f, d);
	if (any_slot(p))
		fprintf(f, "  loads that a memory slot answers are seen by nobody and counted nowhere\n");
	stat_view_plan(f, d->now);
}

static void program(FILE *f, const struct stat_pair *vm)
{
	struct stat_pair p = stat_in(vm, "program");
	uint64_t runs = stat_number(p.now, "runs"), ns = stat_number(p.now, "run_ns");

	if (!p.now)
		return;
	if (vm->seconds > 0 && p.before && stat_number(p.before, "runs") <= runs) {
		runs -= stat_number(p.before, "runs");
		ns -= stat_number(p.before, "run_ns") < ns ? stat_number(p.before, "run_ns") : ns;
	}
	fprintf(f, "BPF program %" PRIu64 ": ", stat_number(p.now, "id"));
	if (!json_object_get_boolean(stat_member(p.now, "timed")))
		fprintf(f, "not timed, see sysctl kernel.bpf_stats_enabled\n");
	else if (!runs)
		fprintf(f, "has not run\n");
	else
		fprintf(f, "%" PRIu64 " runs, %" PRIu64 " ns each\n", runs, ns / runs);
}

static void machine(FILE *f, struct json_object *vm)
{
	fprintf(f, "VM %" PRIu64 ": %" PRIu64 " vCPU%s, %" PRIu64 " MiB, back end %s",
		stat_number(vm, "pid"), stat_number(vm, "vcpus"), stat_number(vm, "vcpus") == 1 ? "" : "s",
		stat_number(vm, "memory") >> 20, stat_text(vm, "backend", 20));
	/* On any other there is nothing to mend. */
	if (!strcmp(stat_text(vm, "backend", 20), "exit") && *stat_text(vm, "why", 1))
		fprintf(f, " (%s)", stat_text(vm, "why", 300));
	fputc('\n', f);
}

void stat_view_plans(FILE *f, struct json_object *vm)
{
	struct json_object *list = stat_member(vm, "devices");

	machine(f, vm);
	for (size_t i = 0; i < stat_count(list); i++) {
		if (headline(f, stat_at(list, i), ""))
			stat_view_plan(f, stat_at(list, i));
	}
}

void stat_view(FILE *f, struct json_object *now, struct json_object *before)
{
	struct stat_pair vm = { now, before, 0 }, list;

	if (before)
		vm.seconds = (double)(json_object_get_int64(stat_member(now, "time_ns")) -
				      json_object_get_int64(stat_member(before, "time_ns"))) / 1e9;
	machine(f, now);
	program(f, &vm);
	exits(f, &vm);
	if (stat_number(now, "straddled"))
		fprintf(f, "  %" PRIu64 " accesses partly inside and partly outside of a range\n",
			stat_number(now, "straddled"));
	list = stat_in(&vm, "devices");
	for (size_t i = 0; i < stat_count(list.now); i++) {
		struct stat_pair d = stat_nth(&list, i);

		device(f, &d);
	}
}

static void map_commands(FILE *f, struct json_object *maps, const char *of)
{
	struct json_object_iterator i, end;

	if (!json_object_is_type(maps, json_type_object))
		return;
	end = json_object_iter_end(maps);
	for (i = json_object_iter_begin(maps); !json_object_iter_equal(&i, &end);
	     json_object_iter_next(&i)) {
		const char *name = json_object_iter_peek_name(&i);

		fprintf(f, "bpftool map dump id %-8" PRIu64 " # %s%s\n", stat_number(maps, name),
			stat_plain(name, 40), of);
	}
}

void stat_view_maps(FILE *f, struct json_object *vm)
{
	struct json_object *p = stat_member(vm, "program"), *list = stat_member(vm, "devices");
	char of[120];

	machine(f, vm);
	if (!p) {
		fprintf(f, "no BPF program, no maps\n");
		return;
	}
	fprintf(f, "bpftool prog show id %-7" PRIu64 " # rmio_mmio\n", stat_number(p, "id"));
	map_commands(f, stat_member(p, "maps"), "");
	for (size_t i = 0; i < stat_count(list); i++) {
		struct json_object *d = stat_at(list, i);

		snprintf(of, sizeof(of), " of slot %" PRIu64 " %s", stat_number(d, "slot"),
			 stat_text(d, "name", 63));
		map_commands(f, stat_member(d, "maps"), of);
	}
}
