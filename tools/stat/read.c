// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio stat`: what a VM says, taken out of its JSON.  Nothing in it is trusted.
 */
#include "read.h"

#include <inttypes.h>
#include <stdio.h>

struct json_object *stat_member(struct json_object *o, const char *name)
{
	struct json_object *v = NULL;

	if (json_object_is_type(o, json_type_object))
		json_object_object_get_ex(o, name, &v);
	return v;
}

struct json_object *stat_at(struct json_object *a, size_t i)
{
	return json_object_is_type(a, json_type_array) && i < json_object_array_length(a) ?
	       json_object_array_get_idx(a, i) : NULL;
}

size_t stat_count(struct json_object *a)
{
	return json_object_is_type(a, json_type_array) ? json_object_array_length(a) : 0;
}

uint64_t stat_number(struct json_object *o, const char *name)
{
	int64_t v = json_object_get_int64(stat_member(o, name));

	return v > 0 ? (uint64_t)v : 0;
}

struct stat_pair stat_in(const struct stat_pair *p, const char *name)
{
	return (struct stat_pair){
		stat_member(p->now, name), stat_member(p->before, name), p->seconds
	};
}

struct stat_pair stat_nth(const struct stat_pair *p, size_t i)
{
	return (struct stat_pair){ stat_at(p->now, i), stat_at(p->before, i), p->seconds };
}

uint64_t stat_figure(const struct stat_pair *p, const char *name)
{
	uint64_t now = stat_number(p->now, name), before;

	if (p->seconds <= 0)
		return now;
	before = stat_number(p->before, name);
	return now > before ? (uint64_t)((double)(now - before) / p->seconds + 0.5) : 0;
}

const char *stat_plain(const char *s, size_t width)
{
	static char buf[4][512];
	static unsigned int turn;
	char *b = buf[turn++ % 4];
	size_t i;

	if (width >= sizeof(buf[0]))
		width = sizeof(buf[0]) - 1;
	for (i = 0; s && s[i] && i < width; i++)
		b[i] = s[i] >= ' ' && s[i] <= '~' ? s[i] : '?';
	b[i] = 0;
	return b;
}

const char *stat_text(struct json_object *o, const char *name, size_t width)
{
	return stat_plain(json_object_get_string(stat_member(o, name)), width);
}

const char *stat_ns(uint64_t ns)
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

uint64_t stat_histogram(const struct stat_pair *lane, uint64_t n[STAT_BUCKETS])
{
	struct json_object *now = stat_member(lane->now, "load_ns");
	struct json_object *before = stat_member(lane->before, "load_ns");
	uint64_t sum = 0;

	for (size_t i = 0; i < STAT_BUCKETS; i++) {
		int64_t a = json_object_get_int64(stat_at(now, i));
		int64_t b = lane->seconds > 0 ? json_object_get_int64(stat_at(before, i)) : 0;

		n[i] = a > 0 && b >= 0 && a > b ? (uint64_t)(a - b) : 0;
		/* More cannot have happened, and sums stay sums. */
		if (n[i] > 1ull << 56)
			n[i] = 1ull << 56;
		sum += n[i];
	}
	return sum;
}

uint64_t stat_percentile_ns(const uint64_t n[STAT_BUCKETS], uint64_t sum, unsigned int permille)
{
	uint64_t want = sum / 1000 * permille + sum % 1000 * permille / 1000, seen = 0;
	size_t i;

	if (!sum)
		return 0;
	for (i = 0; i < STAT_BUCKETS - 1; i++) {
		seen += n[i];
		if (seen && seen >= want)
			break;
	}
	return 2ull << i;
}

const char *stat_percentile(const uint64_t n[STAT_BUCKETS], uint64_t sum, unsigned int permille)
{
	return sum ? stat_ns(stat_percentile_ns(n, sum, permille)) : "-";
}

void stat_stores(const struct stat_pair *c, const struct stat_pair *lane, bool kvm,
		 uint64_t *kernel, uint64_t *exit)
{
	uint64_t posted = stat_figure(c, "posted");

	*kernel = kvm ? posted : stat_figure(lane, "posted");
	*exit = posted > *kernel ? posted - *kernel : 0;
}
