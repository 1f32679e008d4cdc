/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The access map, compiled for look-up: who answers a load, and how a store goes to the device.
 * On the data path: one look-up for each guest access.
 *
 * Who may call what: a compiled map is immutable; any number of threads look
 * things up in it.
 */
#ifndef RMIO_USER_MAP_H
#define RMIO_USER_MAP_H

#include <rmio/abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rmio_map;

/*
 * Check and compile.  The areas are copied before they are checked, may come in
 * any order, and may be all of one range or of many.  n 0 makes the default map.
 *   -E2BIG more than RMIO_AREAS_MAX, or of more than RMIO_RANGES_MAX ranges;
 *   -EINVAL empty area, unknown load, store, flags, size bits, range id above
 *   65535, no sizes where the shadow is used; -EOVERFLOW offset + length or
 *   shadow_offset + length wraps; -ERANGE uses the shadow and lies beyond the
 *   image; -EEXIST overlap within a range; -ENOMEM.
 * On error *bad (may be NULL) is the index in @areas of the culprit: the first,
 * or of two that overlap the second; untouched with -ENOMEM.
 */
int rmio_map_new(const struct rmio_area *areas, size_t n, uint64_t shadow_size,
		 struct rmio_map **map, size_t *bad);
void rmio_map_free(struct rmio_map *map);

/* First byte past the last area of that range id; 0 if none. */
uint64_t rmio_map_end(const struct rmio_map *map, uint32_t range_id);

/* What to do with an access.  map may be NULL: the default. */
enum rmio_verdict {
	RMIO_TO_DEVICE,		/* load: ask; store: post */
	RMIO_FROM_SHADOW,	/* load: shadow_offset, may need ordering (relaxed false) */
	RMIO_TO_DEVICE_SIZE,	/* load: in a shadow area, but not of an allowed size */
	RMIO_POST_THROUGH,	/* store: post, and write shadow_offset */
	RMIO_WAIT_STORE,	/* store: synchronous */
};

struct rmio_decision {
	enum rmio_verdict verdict;
	bool relaxed;
	uint64_t shadow_offset;
};

/*
 * len 1, 2, 4 or 8.  An access that straddles areas: a load goes to the device;
 * a store is synchronous if any part of it would be, else posted only.
 */
void rmio_map_load(const struct rmio_map *map, uint32_t range_id, uint64_t offset, uint32_t len,
		   struct rmio_decision *d);
void rmio_map_store(const struct rmio_map *map, uint32_t range_id, uint64_t offset, uint32_t len,
		    struct rmio_decision *d);

#endif
