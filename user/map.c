// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * map.c - the access map: checked and compiled once, looked up at each guest access.
 * On the data path: decides who answers a load and how a store goes to the device.
 *
 * kern/virt/kvm/user_map.c holds the same rules for the kernel device: change both.
 */
#include "map_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An access of n bytes is allowed by bit n of an area's sizes. */
_Static_assert(RMIO_SIZE_1 == 1 && RMIO_SIZE_2 == 2 && RMIO_SIZE_4 == 4 && RMIO_SIZE_8 == 8,
	       "sizes are their own bits");
_Static_assert(RMIO_AREAS_MAX <= UINT16_MAX, "an area's index fits");
_Static_assert(RMIO_AREAS_MAX <= 1u << (RMIO_MAP_STEPS_MAX - 1), "halvings");

#define RANGE_IDS	65536u

/* Room for the largest map; memory that is not touched costs nothing. */
struct work {
	struct rmio_area in[RMIO_AREAS_MAX];
	uint16_t order[RMIO_AREAS_MAX];		/* indices into in[], by range and offset */
	uint16_t spare[RMIO_AREAS_MAX];
	uint64_t seen[RANGE_IDS / 64];		/* range ids */
	uint32_t nr_seen;
	uint32_t nr_areas;
	uint32_t nr_ranges;
	struct rmio_map_area areas[RMIO_AREAS_MAX];
	struct rmio_map_range ranges[RMIO_RANGES_MAX];
};

static bool uses_shadow(const struct rmio_area *a)
{
	return a->load == RMIO_LOAD_SHADOW || a->store == RMIO_STORE_THROUGH;
}

/* What can be said of an area without the others, but for the number of range ids. */
static int check_area(const struct rmio_area *a, uint64_t shadow_size, struct work *w)
{
	uint64_t end;

	if (!a->length || a->load > RMIO_LOAD_SHADOW || a->store > RMIO_STORE_SYNC ||
	    a->flags & ~RMIO_AREA_RELAXED || a->sizes & ~RMIO_SIZE_ALL ||
	    a->range_id >= RANGE_IDS || (uses_shadow(a) && !a->sizes))
		return -EINVAL;
	if (__builtin_add_overflow(a->offset, a->length, &end) ||
	    __builtin_add_overflow(a->shadow_offset, a->length, &end))
		return -EOVERFLOW;
	if (uses_shadow(a) && end > shadow_size)
		return -ERANGE;
	if (!(w->seen[a->range_id / 64] & 1ull << a->range_id % 64)) {
		if (w->nr_seen == RMIO_RANGES_MAX)
			return -E2BIG;
		w->nr_seen++;
		w->seen[a->range_id / 64] |= 1ull << a->range_id % 64;
	}
	return 0;
}

static bool before(const struct rmio_area *a, const struct rmio_area *b)
{
	return a->range_id != b->range_id ? a->range_id < b->range_id : a->offset < b->offset;
}

static void merge_runs(const struct rmio_area *in, const uint16_t *from, uint16_t *to,
		       size_t left, size_t right, size_t end)
{
	size_t mid = right;

	for (size_t i = left; i < end; i++) {
		bool take_right = right < end &&
			(left == mid || before(&in[from[right]], &in[from[left]]));

		to[i] = take_right ? from[right++] : from[left++];
	}
}

/* A merge sort of its own: qsort(3) promises neither n log n steps nor to allocate nothing. */
static void sort(struct work *w, size_t n)
{
	uint16_t *from = w->order, *to = w->spare;

	for (size_t i = 0; i < n; i++)
		from[i] = i;
	for (size_t run = 1; run < n; run *= 2) {
		uint16_t *t = from;

		for (size_t left = 0; left < n; left += 2 * run) {
			size_t mid = left + run < n ? left + run : n;
			size_t end = mid + run < n ? mid + run : n;

			merge_runs(w->in, from, to, left, mid, end);
		}
		from = to;
		to = t;
	}
	if (from != w->order)
		memcpy(w->order, from, n * sizeof(*from));
}

/* Sorted, any overlap shows between two neighbours.  The culprit is the later of the caller's. */
static int check_overlap(const struct work *w, size_t n, size_t *bad)
{
	for (size_t i = 1; i < n; i++) {
		uint16_t p = w->order[i - 1], q = w->order[i];
		const struct rmio_area *a = &w->in[p], *b = &w->in[q];

		if (a->range_id == b->range_id && b->offset - a->offset < a->length) {
			*bad = p > q ? p : q;
			return -EEXIST;
		}
	}
	return 0;
}

static int check(struct work *w, size_t n, uint64_t shadow_size, size_t *bad)
{
	for (size_t i = 0; i < n; i++) {
		int rc = check_area(&w->in[i], shadow_size, w);

		if (rc) {
			*bad = i;
			return rc;
		}
	}
	sort(w, n);
	return check_overlap(w, n, bad);
}

/* Fields that make no difference are 0, so that they do not keep neighbours apart. */
static struct rmio_map_area compiled(const struct rmio_area *a)
{
	struct rmio_map_area c = {
		.start = a->offset,
		.end = a->offset + a->length,
		.load = a->load,
		.store = a->store,
	};

	if (uses_shadow(a)) {
		c.delta = a->shadow_offset - a->offset;
		c.sizes = a->sizes;
	}
	if (a->load == RMIO_LOAD_SHADOW)
		c.relaxed = !!(a->flags & RMIO_AREA_RELAXED);
	return c;
}

static bool continues(const struct rmio_map_area *a, const struct rmio_map_area *b)
{
	return a->end == b->start && a->delta == b->delta && a->sizes == b->sizes &&
	       a->load == b->load && a->store == b->store && a->relaxed == b->relaxed;
}

/*
 * How an author cut his areas must not show, least of all to an access across a cut that
 * changes nothing: merge such neighbours.
 */
static void compile_areas(struct work *w, size_t n)
{
	struct rmio_map_range *r = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct rmio_area *in = &w->in[w->order[i]];
		struct rmio_map_area c = compiled(in);

		if (!r || r->id != in->range_id) {
			r = &w->ranges[w->nr_ranges++];
			*r = (struct rmio_map_range) {
				.start = c.start,
				.id = in->range_id,
				.first_area = w->nr_areas,
			};
		} else if (continues(&w->areas[r->last_area], &c)) {
			w->areas[r->last_area].end = r->end = c.end;
			continue;
		}
		r->last_area = w->nr_areas++;
		r->end = c.end;
		w->areas[r->last_area] = c;
	}
}

/* Some eight buckets an area, at most RMIO_MAP_BUCKETS; one will do for a single area. */
static void size_buckets(struct rmio_map_range *r)
{
	uint32_t nr = r->last_area - r->first_area + 1u;
	uint64_t limit = nr == 1 ? 1 : nr * 8ull;
	uint64_t last = r->end - r->start - 1;

	if (limit > RMIO_MAP_BUCKETS)
		limit = RMIO_MAP_BUCKETS;
	while (r->shift < 63 && last >> r->shift >= limit)
		r->shift++;
	/* an extent of 2^63 and more may leave 2 where 1 was wanted */
	r->nr_buckets = (last >> r->shift) + 1;
}

static void fill_buckets(struct rmio_map *map, const struct rmio_map_range *r)
{
	uint16_t *first = map->first + r->table;
	uint16_t a = r->first_area;

	for (uint32_t b = 0; b < r->nr_buckets; b++) {
		uint64_t begin = r->start + ((uint64_t)b << r->shift);

		while (a < r->last_area && map->areas[a + 1].start <= begin)
			a++;
		first[b] = a;
	}
	first[r->nr_buckets] = r->last_area;
}

static int build(struct work *w, struct rmio_map **out)
{
	size_t areas_at, ranges_at, first_at, nr_first = 0;
	struct rmio_map *map;

	for (uint32_t i = 0; i < w->nr_ranges; i++) {
		size_buckets(&w->ranges[i]);
		w->ranges[i].table = nr_first;
		nr_first += w->ranges[i].nr_buckets + 1;
	}

	/* one piece of memory, areas on lines of their own */
	areas_at = RMIO_LINE;
	_Static_assert(sizeof(*map) <= RMIO_LINE, "the head fits before the areas");
	ranges_at = areas_at + w->nr_areas * sizeof(*map->areas);
	first_at = ranges_at + w->nr_ranges * sizeof(*map->ranges);
	if (posix_memalign((void **)&map, RMIO_LINE, first_at + nr_first * sizeof(*map->first)))
		return -ENOMEM;
	*map = (struct rmio_map) {
		.nr_ranges = w->nr_ranges,
		.nr_areas = w->nr_areas,
		.areas = (void *)((char *)map + areas_at),
		.ranges = (void *)((char *)map + ranges_at),
		.first = (void *)((char *)map + first_at),
	};
	memcpy(map->areas, w->areas, w->nr_areas * sizeof(*map->areas));
	memcpy(map->ranges, w->ranges, w->nr_ranges * sizeof(*map->ranges));
	for (uint32_t i = 0; i < map->nr_ranges; i++)
		fill_buckets(map, &map->ranges[i]);
	*out = map;
	return 0;
}

int rmio_map_new(const struct rmio_area *areas, size_t n, uint64_t shadow_size,
		 struct rmio_map **map, size_t *bad)
{
	struct work *w;
	size_t culprit;
	int rc;

	if (n > RMIO_AREAS_MAX) {
		if (bad)
			*bad = RMIO_AREAS_MAX;
		return -E2BIG;
	}
	w = malloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	if (n)
		memcpy(w->in, areas, n * sizeof(*areas));
	memset(w->seen, 0, sizeof(w->seen));
	w->nr_seen = 0;
	w->nr_areas = 0;
	w->nr_ranges = 0;

	rc = check(w, n, shadow_size, &culprit);
	if (rc) {
		if (bad)
			*bad = culprit;
		goto free_work;
	}
	compile_areas(w, n);
	rc = build(w, map);
free_work:
	free(w);
	return rc;
}

void rmio_map_free(struct rmio_map *map)
{
	free(map);
}

/* -- look-up --------------------------------------------------------------- */

static const struct rmio_map_range *find_range(const struct rmio_map *map, uint32_t id)
{
	const struct rmio_map_range *r;
	uint32_t n;

	if (!map || !map->nr_ranges)
		return NULL;
	r = map->ranges;
	n = map->nr_ranges;
	while (n > 1) {
		uint32_t half = n / 2;

		r += r[half].id <= id ? half : 0;
		n -= half;
	}
	return r->id == id ? r : NULL;
}

/* The last area that begins at @offset or before; @offset lies in r->start .. r->end - 1. */
static const struct rmio_map_area *find_area(const struct rmio_map *map,
					     const struct rmio_map_range *r, uint64_t offset)
{
	const uint16_t *first = map->first + r->table + ((offset - r->start) >> r->shift);
	const struct rmio_map_area *a = map->areas + first[0];
	uint32_t n = first[1] - first[0] + 1u;

	/* no branch depends on the offset: which area it is cannot be predicted */
	while (n > 1) {
		uint32_t half = n / 2;

		a += a[half].start <= offset ? half : 0;
		n -= half;
	}
	return a;
}

static bool in_extent(const struct rmio_map_range *r, uint64_t offset)
{
	return offset >= r->start && offset < r->end;
}

/* Is the whole access inside the area, which begins at @offset or before? */
static bool inside(const struct rmio_map_area *a, uint64_t offset, uint32_t len)
{
	return offset < a->end && len <= a->end - offset;
}

uint64_t rmio_map_end(const struct rmio_map *map, uint32_t range_id)
{
	const struct rmio_map_range *r = find_range(map, range_id);

	return r ? r->end : 0;
}

void rmio_map_load(const struct rmio_map *map, uint32_t range_id, uint64_t offset, uint32_t len,
		   struct rmio_decision *d)
{
	const struct rmio_map_range *r = find_range(map, range_id);
	const struct rmio_map_area *a;

	*d = (struct rmio_decision) { .verdict = RMIO_TO_DEVICE };
	if (!r || !in_extent(r, offset))
		return;
	a = find_area(map, r, offset);
	if (!inside(a, offset, len) || a->load != RMIO_LOAD_SHADOW)
		return;
	if (!(a->sizes & len)) {
		d->verdict = RMIO_TO_DEVICE_SIZE;
		return;
	}
	d->verdict = RMIO_FROM_SHADOW;
	d->relaxed = a->relaxed;
	d->shadow_offset = offset + a->delta;
}

/*
 * The store touches more than one area, or an area and a hole: is any part of it
 * synchronous?  At most one area for each of its bytes is looked at, and the one before.
 */
static bool any_sync(const struct rmio_map *map, const struct rmio_map_range *r,
		     const struct rmio_map_area *a, uint64_t offset, uint32_t len)
{
	const struct rmio_map_area *last = map->areas + r->last_area;

	for (; a <= last; a++) {
		if (a->start > offset && a->start - offset >= len)
			break;
		if (a->end > offset && a->store == RMIO_STORE_SYNC)
			return true;
	}
	return false;
}

void rmio_map_store(const struct rmio_map *map, uint32_t range_id, uint64_t offset, uint32_t len,
		    struct rmio_decision *d)
{
	const struct rmio_map_range *r = find_range(map, range_id);
	const struct rmio_map_area *a;

	*d = (struct rmio_decision) { .verdict = RMIO_TO_DEVICE };
	if (!r || offset >= r->end)
		return;
	/* what begins before the first area may still reach into it */
	a = offset < r->start ? map->areas + r->first_area : find_area(map, r, offset);
	if (offset < r->start || !inside(a, offset, len)) {
		if (any_sync(map, r, a, offset, len))
			d->verdict = RMIO_WAIT_STORE;
		return;
	}
	if (a->store == RMIO_STORE_SYNC) {
		d->verdict = RMIO_WAIT_STORE;
	} else if (a->store == RMIO_STORE_THROUGH && a->sizes & len) {
		d->verdict = RMIO_POST_THROUGH;
		d->shadow_offset = offset + a->delta;
	}
}
