/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * map_model.h - the access map by its definition, byte by byte and slowly, to compare the compiled
 * one with; and random areas from a fixed seed.
 */
#ifndef RMIO_MAP_MODEL_H
#define RMIO_MAP_MODEL_H

#include "ktap.h"
#include "map.h"

static uint64_t model_seed = 1;

/* splitmix64 */
static inline uint64_t model_rand(void)
{
	uint64_t z = model_seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline uint64_t model_below(uint64_t n)
{
	return model_rand() % n;
}

static inline void model_shuffle(struct rmio_area *a, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = model_below(i);
		struct rmio_area t = a[i - 1];

		a[i - 1] = a[j];
		a[j] = t;
	}
}

/* -- what holds for one byte -------------------------------------------------- */

struct model_byte {
	bool covered;
	uint8_t load, store;
	bool shadow;		/* the next three mean something */
	bool relaxed;
	uint8_t sizes;
	uint64_t place;		/* in the image */
};

static inline struct model_byte model_at(const struct rmio_area *areas, size_t n, uint32_t range_id,
					 uint64_t offset)
{
	struct model_byte b = { .load = RMIO_LOAD_DEVICE, .store = RMIO_STORE_POSTED };

	for (size_t i = 0; i < n; i++) {
		const struct rmio_area *a = &areas[i];

		if (a->range_id != range_id || offset < a->offset ||
		    offset - a->offset >= a->length)
			continue;
		b.covered = true;
		b.load = a->load;
		b.store = a->store;
		b.shadow = a->load == RMIO_LOAD_SHADOW || a->store == RMIO_STORE_THROUGH;
		if (b.shadow) {
			b.sizes = a->sizes;
			b.place = a->shadow_offset + (offset - a->offset);
			b.relaxed = a->load == RMIO_LOAD_SHADOW && a->flags & RMIO_AREA_RELAXED;
		}
		break;
	}
	return b;
}

/* All bytes alike and, if in the image, side by side there? */
static inline bool model_uniform(const struct model_byte *b, uint32_t len)
{
	for (uint32_t i = 1; i < len; i++)
		if (b[i].covered != b[0].covered || b[i].load != b[0].load ||
		    b[i].store != b[0].store || b[i].shadow != b[0].shadow ||
		    b[i].relaxed != b[0].relaxed || b[i].sizes != b[0].sizes ||
		    (b[0].shadow && b[i].place != b[0].place + i))
			return false;
	return true;
}

static inline bool model_size_ok(uint8_t sizes, uint32_t len)
{
	return (len == 1 && sizes & RMIO_SIZE_1) || (len == 2 && sizes & RMIO_SIZE_2) ||
	       (len == 4 && sizes & RMIO_SIZE_4) || (len == 8 && sizes & RMIO_SIZE_8);
}

static inline struct rmio_decision model_decide(const struct rmio_area *areas, size_t n,
						uint32_t range_id, uint64_t offset, uint32_t len,
						bool store)
{
	struct rmio_decision d = { .verdict = RMIO_TO_DEVICE };
	struct model_byte b[8] = { 0 };
	bool uniform, sync = false;

	/* past the end of the address space there is nothing */
	for (uint32_t i = 0; i < len && offset + i >= offset; i++) {
		b[i] = model_at(areas, n, range_id, offset + i);
		sync |= b[i].store == RMIO_STORE_SYNC;
	}
	uniform = model_uniform(b, len);
	if (store) {
		if (sync) {
			d.verdict = RMIO_WAIT_STORE;
		} else if (uniform && b[0].store == RMIO_STORE_THROUGH &&
			   model_size_ok(b[0].sizes, len)) {
			d.verdict = RMIO_POST_THROUGH;
			d.shadow_offset = b[0].place;
		}
		return d;
	}
	if (!uniform || b[0].load != RMIO_LOAD_SHADOW)
		return d;
	if (!model_size_ok(b[0].sizes, len)) {
		d.verdict = RMIO_TO_DEVICE_SIZE;
		return d;
	}
	d.verdict = RMIO_FROM_SHADOW;
	d.relaxed = b[0].relaxed;
	d.shadow_offset = b[0].place;
	return d;
}

/* One offset, all sizes, load and store.  False when map and model differ. */
static inline bool model_compare(const struct rmio_map *map, const struct rmio_area *areas,
				 size_t n, uint32_t range_id, uint64_t offset)
{
	for (uint32_t len = 1; len <= 8; len *= 2) {
		for (int store = 0; store < 2; store++) {
			struct rmio_decision want = model_decide(areas, n, range_id, offset, len,
								 store);
			struct rmio_decision got = { .verdict = -1, .relaxed = true,
						     .shadow_offset = 0xbad };

			if (store)
				rmio_map_store(map, range_id, offset, len, &got);
			else
				rmio_map_load(map, range_id, offset, len, &got);
			if (got.verdict == want.verdict && got.relaxed == want.relaxed &&
			    got.shadow_offset == want.shadow_offset)
				continue;
			T_FAIL("%s of %u at range %u offset 0x%llx: actual verdict %d relaxed %d place 0x%llx, expected %d %d 0x%llx",
			       store ? "store" : "load", len, range_id, (unsigned long long)offset,
			       got.verdict, got.relaxed, (unsigned long long)got.shadow_offset,
			       want.verdict, want.relaxed, (unsigned long long)want.shadow_offset);
			for (size_t i = 0; i < n && n <= 64; i++)
				ktap_diag(
					"  area %zu: range %u 0x%llx+0x%llx shadow 0x%llx sizes %x load %u store %u flags %x",
					i, areas[i].range_id, (unsigned long long)areas[i].offset,
					(unsigned long long)areas[i].length,
					(unsigned long long)areas[i].shadow_offset, areas[i].sizes,
					areas[i].load, areas[i].store, areas[i].flags);
			return false;
		}
	}
	return true;
}

#endif
