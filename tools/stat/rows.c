// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio stat --watch` on a terminal: a line for each device.
 */
#include "rows.h"
#include "read.h"
#include "stat.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[STAT_KEYS] = {
	[STAT_BY_SLOT] = "slot",     [STAT_BY_DEVICE] = "device", [STAT_BY_SHADOW] = "shadow",
	[STAT_BY_KERNEL] = "kernel", [STAT_BY_EXIT] = "exit",	  [STAT_BY_P99] = "p99",
};

const char *stat_key_name(enum stat_key key)
{
	return names[key];
}

static struct stat_pair whole(const struct stat_vm *vm)
{
	struct stat_pair p = { vm->now, vm->before, 0 };

	if (vm->before)
		p.seconds = (double)(json_object_get_int64(stat_member(vm->now, "time_ns")) -
				     json_object_get_int64(stat_member(vm->before, "time_ns"))) /
			    1e9;
	return p;
}

/* The figures of a device or of one of its vCPUs: counters and lane. */
static void figures(uint64_t by[STAT_KEYS], const struct stat_pair *c,
		    const struct stat_pair *lane, bool kvm)
{
	uint64_t n[STAT_BUCKETS], sum = stat_histogram(lane, n);

	by[STAT_BY_DEVICE] = stat_figure(c, "loads");
	by[STAT_BY_SHADOW] = stat_figure(c, "shadow");
	stat_stores(c, lane, kvm, &by[STAT_BY_KERNEL], &by[STAT_BY_EXIT]);
	by[STAT_BY_P99] = sum ? stat_percentile_ns(n, sum, 990) : 0;
}

static bool is_kvm(const struct stat_pair *d)
{
	return !strcmp(stat_text(d->now, "backend", 10), "kvm");
}

static struct stat_pair device_of(const struct stat_row *row)
{
	struct stat_pair vm = whole(row->vm), list = stat_in(&vm, "devices");

	return stat_nth(&list, row->device);
}

size_t stat_rows(const struct stat_vm *vms, size_t n, struct stat_row **rows)
{
	size_t nr = 0;

	*rows = NULL;
	for (size_t i = 0; i < n; i++)
		nr += stat_count(stat_member(vms[i].now, "devices"));
	*rows = calloc(nr + 1, sizeof(**rows));
	if (!*rows)
		return 0;
	nr = 0;
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < stat_count(stat_member(vms[i].now, "devices")); k++) {
			struct stat_row *r = &(*rows)[nr++];
			struct stat_pair d, c, lane;

			r->vm = &vms[i];
			r->device = k;
			d = device_of(r);
			c = stat_in(&d, "counters");
			lane = stat_in(&d, "lane");
			r->rings = json_object_get_boolean(stat_member(d.now, "rmio"));
			figures(r->by, &c, &lane, is_kvm(&d));
			r->by[STAT_BY_SLOT] = stat_number(d.now, "slot");
		}
	}
	return nr;
}

static enum stat_key sorting;
static bool upwards;

static int by_place(const struct stat_row *a, const struct stat_row *b)
{
	if (a->vm != b->vm)
		return a->vm < b->vm ? -1 : 1;
	return a->device < b->device ? -1 : a->device > b->device;
}

static int compare(const void *x, const void *y)
{
	const struct stat_row *a = x, *b = y;
	uint64_t u = a->by[sorting], v = b->by[sorting];
	int way = upwards ? -1 : 1;

	if (sorting == STAT_BY_SLOT)
		return way * by_place(a, b);
	return u == v ? by_place(a, b) : u > v ? -way : way;
}

void stat_rows_sort(struct stat_row *rows, size_t n, enum stat_key key, bool up)
{
	sorting = key;
	upwards = up;
	qsort(rows, n, sizeof(*rows), compare);
}

/* At most eight characters. */
static const char *short_number(char buf[24], uint64_t v)
{
	if (v < 100000000)
		snprintf(buf, 24, "%" PRIu64, v);
	else if (v < 100000000000)
		snprintf(buf, 24, "%" PRIu64 "k", v / 1000);
	else
		snprintf(buf, 24, "%" PRIu64 "M", v / 1000000 < 9999999 ? v / 1000000 : 9999999);
	return buf;
}

void stat_rows_head(char line[STAT_COLUMNS], enum stat_key key, bool up)
{
	char title[STAT_KEYS][8];

	/* The one that is sorted by is marked. */
	for (int k = 0; k < STAT_KEYS; k++)
		snprintf(title[k], sizeof(title[k]), "%s%s", k == (int)key ? (up ? "^" : "v") : "",
			 names[k]);
	snprintf(line, STAT_COLUMNS, "%7s %5s %-17s %8s %8s %8s %8s %8s", "VM",
		 title[STAT_BY_SLOT], "name", title[STAT_BY_DEVICE], title[STAT_BY_SHADOW],
		 title[STAT_BY_KERNEL], title[STAT_BY_EXIT], title[STAT_BY_P99]);
}

static void values(char *line, size_t size, const uint64_t by[STAT_KEYS])
{
	char n[4][24];

	snprintf(line, size, " %8s %8s %8s %8s %8s", short_number(n[0], by[STAT_BY_DEVICE]),
		 short_number(n[1], by[STAT_BY_SHADOW]), short_number(n[2], by[STAT_BY_KERNEL]),
		 short_number(n[3], by[STAT_BY_EXIT]),
		 by[STAT_BY_P99] ? stat_ns(by[STAT_BY_P99]) : "-");
}

void stat_rows_line(char line[STAT_COLUMNS], const struct stat_row *row)
{
	struct stat_pair d = device_of(row);
	const char *state = stat_text(d.now, "state", 8);
	char name[40], tail[120] = "  no rings, every access is a message";

	if (row->rings && strcmp(state, "live"))
		snprintf(name, sizeof(name), "%s (%s)", stat_text(d.now, "name", 6), state);
	else
		snprintf(name, sizeof(name), "%s", stat_text(d.now, "name", 17));
	if (row->rings)
		values(tail, sizeof(tail), row->by);
	snprintf(line, STAT_COLUMNS, "%7" PRIu64 " %5" PRIu64 " %-17s%s",
		 stat_number(row->vm->now, "pid"), row->by[STAT_BY_SLOT], name, tail);
}

void stat_rows_more(FILE *f, const struct stat_row *row)
{
	struct stat_pair d = device_of(row), list = stat_in(&d, "vcpus");
	uint64_t by[STAT_KEYS];
	char line[120];

	for (size_t v = 0; v < stat_count(list.now); v++) {
		struct stat_pair c = stat_nth(&list, v), lane = stat_in(&c, "lane");

		figures(by, &c, &lane, is_kvm(&d));
		values(line, sizeof(line), by);
		fprintf(f, "%13s vCPU %-12zu%s\n", "", v, line);
	}
	fprintf(f, "\n%s back end %s%s%s\n", stat_text(d.now, "name", 40),
		stat_text(d.now, "backend", 10), *stat_text(d.now, "socket", 1) ? ", at " : "",
		stat_text(d.now, "socket", 120));
	stat_view_plan(f, d.now);
}
