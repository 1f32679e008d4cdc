/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What a VM says, taken out of its JSON.  What is missing or of another type reads as 0 or "".
 */
#ifndef RMIO_TOOLS_STAT_READ_H
#define RMIO_TOOLS_STAT_READ_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAT_BUCKETS	32

/* The same part of what was said now and before. */
struct stat_pair {
	struct json_object *now, *before;
	double seconds;		/* between them; 0: totals */
};

struct json_object *stat_member(struct json_object *o, const char *name);
struct json_object *stat_at(struct json_object *a, size_t i);
size_t stat_count(struct json_object *a);
uint64_t stat_number(struct json_object *o, const char *name);

struct stat_pair stat_in(const struct stat_pair *p, const char *name);
struct stat_pair stat_nth(const struct stat_pair *p, size_t i);
/* A total, or how much more a second. */
uint64_t stat_figure(const struct stat_pair *p, const char *name);

/*
 * Text of somebody else, for a terminal: printable ASCII in at most @width columns.  Like
 * stat_ns in one of four places in turn.
 */
const char *stat_plain(const char *s, size_t width);
const char *stat_text(struct json_object *o, const char *name, size_t width);
const char *stat_ns(uint64_t ns);

/* The latencies of a lane, or of what came to it since; their sum. */
uint64_t stat_histogram(const struct stat_pair *lane, uint64_t n[STAT_BUCKETS]);
/* The upper end of the bucket in which that share of loads is complete. */
const char *stat_percentile(const uint64_t n[STAT_BUCKETS], uint64_t sum, unsigned int permille);
/* The same in ns; 0: there are none. */
uint64_t stat_percentile_ns(const uint64_t n[STAT_BUCKETS], uint64_t sum, unsigned int permille);

/*
 * Of the posted stores of a vCPU or device, those that KVM put into the lane and those that exited
 * first; the kernel device (@kvm) takes all of them.
 */
void stat_stores(const struct stat_pair *c, const struct stat_pair *lane, bool kvm,
		 uint64_t *kernel, uint64_t *exit);

#endif
