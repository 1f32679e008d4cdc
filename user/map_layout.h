/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The layout of a compiled access map, for map.c, its tests and the planner of back ends;
 * everybody else uses map.h.  On the data path: one look-up for each guest access.
 *
 * Areas are sorted by range id and offset, and neighbours that differ in nothing
 * are one.  Each range id has a table that cuts the extent of its areas into
 * buckets of a power of two bytes; an offset gives its bucket by a shift, the
 * bucket a short run of areas, and a binary search the one area that can hold it.
 */
#ifndef RMIO_USER_MAP_LAYOUT_H
#define RMIO_USER_MAP_LAYOUT_H

#include "map.h"

#define RMIO_MAP_BUCKETS	4096u		/* at most, of one range id */

/* A look-up compares at most this many areas with the offset, whatever the map: 13 halvings. */
#define RMIO_MAP_STEPS_MAX	13u

struct rmio_map_area {
	uint64_t start;
	uint64_t end;		/* first byte past it */
	uint64_t delta;		/* to add to an offset for its place in the image, modulo 2^64 */
	uint8_t sizes;		/* what follows is 0 where it makes no difference */
	uint8_t load;
	uint8_t store;
	uint8_t relaxed;
	uint32_t reserved;
};
_Static_assert(sizeof(struct rmio_map_area) == 32, "rmio_map_area size");

struct rmio_map_range {
	uint64_t start;		/* of its first area */
	uint64_t end;		/* of its last area */
	uint32_t id;
	uint32_t table;		/* its buckets: first[table] and on */
	uint32_t nr_buckets;
	uint16_t first_area;
	uint16_t last_area;
	uint8_t shift;		/* a bucket is 1 << shift bytes */
};

struct rmio_map {
	uint32_t nr_ranges;
	uint32_t nr_areas;
	struct rmio_map_area *areas;
	struct rmio_map_range *ranges;	/* by id */
	/*
	 * Per bucket the area that holds the bucket's first byte or, that byte being in a
	 * hole, the last one before it; per range one more at the end.  An offset can lie
	 * in areas first[bucket] to first[bucket + 1], both included, and in no other.
	 */
	uint16_t *first;
};

/* How many areas a look-up of that range chooses from, in its fullest bucket. */
static inline uint32_t rmio_map_fullest(const struct rmio_map *map,
					const struct rmio_map_range *r)
{
	const uint16_t *first = map->first + r->table;
	uint32_t most = 0;

	for (uint32_t b = 0; b < r->nr_buckets; b++) {
		uint32_t n = first[b + 1] - first[b] + 1u;

		most = n > most ? n : most;
	}
	return most;
}

#endif
