// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * map_test.c - the access map: every error with its culprit, and every decision against a model
 * that looks at each byte.
 */
#include "ktap.h"
#include "map_layout.h"
#include "map_model.h"

#define IMAGE	(64ull * RMIO_PAGE)

static const struct rmio_area plain = {
	.offset = 0x100, .length = 0x10, .shadow_offset = 0x100, .range_id = 2,
	.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
};

/* The same area among good ones, at each place: the error must name it. */
static void refuses(const char *what, struct rmio_area culprit, int error)
{
	struct rmio_area a[5];
	struct rmio_map *map = (void *)1;
	size_t bad;

	for (size_t at = 0; at < 5; at++) {
		for (size_t i = 0; i < 5; i++) {
			a[i] = plain;
			a[i].range_id = 3 + i;
		}
		a[at] = culprit;
		bad = 99;
		if (!T_EQ(rmio_map_new(a, 5, IMAGE, &map, &bad), error) || !T_EQ(bad, at))
			ktap_diag("%s, as number %zu", what, at);
		T_EQ(rmio_map_new(a, 5, IMAGE, &map, NULL), error);
	}
	T_EQ(map, (void *)1);
}

#define WITH(field, value) \
	({ struct rmio_area a_ = plain; a_.field = (value); a_; })

static void accepts(const char *what, struct rmio_area a)
{
	struct rmio_map *map = NULL;
	size_t bad = 99;

	if (!T_EQ(rmio_map_new(&a, 1, IMAGE, &map, &bad), 0))
		ktap_diag("%s", what);
	T_EQ(bad, 99);
	rmio_map_free(map);
}

static void single_areas(void)
{
	struct rmio_area a;

	accepts("a plain area", plain);
	refuses("empty", WITH(length, 0), -EINVAL);
	refuses("load 2", WITH(load, 2), -EINVAL);
	refuses("load 255", WITH(load, 255), -EINVAL);
	refuses("store 3", WITH(store, 3), -EINVAL);
	refuses("store 255", WITH(store, 255), -EINVAL);
	for (int bit = 1; bit < 8; bit++)
		refuses("unknown flag", WITH(flags, 1 << bit), -EINVAL);
	for (int bit = 4; bit < 8; bit++)
		refuses("unknown size", WITH(sizes, RMIO_SIZE_4 | 1 << bit), -EINVAL);
	refuses("range id 65536", WITH(range_id, 65536), -EINVAL);
	refuses("range id 2^32-1", WITH(range_id, UINT32_MAX), -EINVAL);
	accepts("range id 65535", WITH(range_id, 65535));
	accepts("range id 0", WITH(range_id, 0));

	/* sizes: 0 only where there is no shadow */
	refuses("load from shadow at no size", WITH(sizes, 0), -EINVAL);
	a = WITH(load, RMIO_LOAD_DEVICE);
	a.sizes = 0;
	accepts("no shadow, no sizes", a);
	a.store = RMIO_STORE_SYNC;
	accepts("no shadow, no sizes, synchronous", a);
	a.store = RMIO_STORE_THROUGH;
	refuses("through at no size", a, -EINVAL);
	for (unsigned int sizes = 1; sizes <= RMIO_SIZE_ALL; sizes++)
		accepts("any set of sizes", WITH(sizes, sizes));
	accepts("relaxed", WITH(flags, RMIO_AREA_RELAXED));
}

static void wraps_and_bounds(void)
{
	struct rmio_area a;

	refuses("offset wraps", WITH(offset, UINT64_MAX), -EOVERFLOW);
	refuses("offset wraps by one", WITH(offset, UINT64_MAX - 0xf), -EOVERFLOW);
	accepts("offset up to the last byte but one", WITH(offset, UINT64_MAX - 0x10));
	refuses("length wraps", WITH(length, UINT64_MAX - 0xff), -EOVERFLOW);
	refuses("place wraps", WITH(shadow_offset, UINT64_MAX - 7), -EOVERFLOW);
	refuses("place wraps to 0", WITH(shadow_offset, UINT64_MAX - 0xf), -EOVERFLOW);

	refuses("past the image", WITH(shadow_offset, IMAGE), -ERANGE);
	refuses("past the image by one", WITH(shadow_offset, IMAGE - 0xf), -ERANGE);
	accepts("up to the end of the image", WITH(shadow_offset, IMAGE - 0x10));
	accepts("as long as the image", ({
		a = WITH(length, IMAGE); a.shadow_offset = 0; a; }));
	refuses("longer than the image", ({
		a = WITH(length, IMAGE + 1); a.shadow_offset = 0; a; }), -ERANGE);
	a = WITH(load, RMIO_LOAD_DEVICE);
	a.store = RMIO_STORE_THROUGH;
	a.shadow_offset = IMAGE - 1;
	refuses("written through past the image", a, -ERANGE);
	/* who does not use the image need not fit into it */
	a.store = RMIO_STORE_SYNC;
	a.length = 1ull << 60;
	a.offset = 1ull << 62;
	accepts("2^60 bytes at 2^62", a);
}

static void no_image(void)
{
	struct rmio_area a = plain;
	struct rmio_map *map;
	size_t bad = 99;

	a.shadow_offset = 0;
	T_EQ(rmio_map_new(&a, 1, 0, &map, &bad), -ERANGE);
	T_EQ(bad, 0);
	a.load = RMIO_LOAD_DEVICE;
	T_EQ(rmio_map_new(&a, 1, 0, &map, &bad), 0);
	rmio_map_free(map);
}

static void first_culprit(void)
{
	struct rmio_area a[3] = { plain, plain, plain };
	struct rmio_map *map;
	size_t bad = 99;

	/* the first bad area is named, not the worst; and before any overlap */
	a[1].shadow_offset = IMAGE;
	a[2].length = 0;
	T_EQ(rmio_map_new(a, 3, IMAGE, &map, &bad), -ERANGE);
	T_EQ(bad, 1);
}

static void overlaps(void)
{
	/* where the second begins, against the first: 0x100 .. 0x10f */
	static const struct { uint64_t offset, length; bool refused; } second[] = {
		{ 0x100, 0x10, true }, { 0x10f, 1, true }, { 0x10f, 0x100, true },
		{ 0xf1, 0x10, true }, { 0xff, 2, true }, { 0x104, 1, true }, { 0, 0x200, true },
		{ 0, UINT64_MAX, true }, { 0x110, 1, false }, { 0xf0, 0x10, false },
		{ 0x110, UINT64_MAX - 0x110, false }, { 0, 0x100, false },
	};
	struct rmio_area a[4];
	struct rmio_map *map;

	for (int i = 0; i < KTAP_COUNT(second); i++) {
		/* the pair in either order, with strangers in between; the later one is named */
		for (int order = 0; order < 2; order++) {
			struct rmio_area first = plain, other = plain;
			size_t bad = 99;

			first.load = other.load = RMIO_LOAD_DEVICE;
			first.shadow_offset = other.shadow_offset = 0;
			other.offset = second[i].offset;
			other.length = second[i].length;
			a[0] = order ? first : other;
			a[1] = a[3] = plain;
			a[1].range_id = 1;
			a[3].range_id = 3;
			a[2] = order ? other : first;
			T_EQ(rmio_map_new(a, 4, IMAGE, &map, &bad),
			     second[i].refused ? -EEXIST : 0);
			T_EQ(bad, second[i].refused ? 2 : 99);
			if (!second[i].refused)
				rmio_map_free(map);
			/* another range: no overlap */
			a[2].range_id = 4;
			T_EQ(rmio_map_new(a, 4, IMAGE, &map, &bad), 0);
			rmio_map_free(map);
		}
	}
}

static void empty_map(void)
{
	struct rmio_map *map = NULL;
	size_t bad = 99;

	T_REQUIRE(T_EQ(rmio_map_new(NULL, 0, IMAGE, &map, &bad), 0));
	T_NE(map, NULL);
	T_EQ(bad, 99);
	for (uint64_t offset = 0; offset < 32; offset++) {
		model_compare(map, NULL, 0, 0, offset);
		model_compare(NULL, NULL, 0, 0, offset);
		model_compare(map, NULL, 0, 65535, UINT64_MAX - offset);
		model_compare(NULL, NULL, 0, 0, UINT64_MAX - offset);
	}
	T_EQ(rmio_map_end(map, 0), 0);
	T_EQ(rmio_map_end(NULL, 0), 0);
	rmio_map_free(map);
	rmio_map_free(NULL);
}

static void ends(void)
{
	struct rmio_area a[3] = { plain, plain, plain };
	struct rmio_map *map;

	a[0].offset = 0x400;
	a[2].range_id = 7;
	a[2].load = RMIO_LOAD_DEVICE;
	a[2].offset = 1;
	a[2].length = UINT64_MAX - 1;
	a[2].shadow_offset = 0;
	T_REQUIRE(T_EQ(rmio_map_new(a, 3, IMAGE, &map, NULL), 0));
	T_EQ(rmio_map_end(map, 2), 0x410);
	T_EQ(rmio_map_end(map, 7), UINT64_MAX);
	T_EQ(rmio_map_end(map, 0), 0);
	T_EQ(rmio_map_end(map, 3), 0);
	T_EQ(rmio_map_end(map, UINT32_MAX), 0);
	rmio_map_free(map);
}

/* -- decisions ------------------------------------------------------------------ */

/* Every pair of rules side by side, the cut at every place of a quadword. */
static void rule_pairs(void)
{
	struct rmio_area rules[2 * 3 * 2 * 2], a[2];
	struct rmio_map *map;
	int n = 0;

	for (int load = 0; load < 2; load++)
		for (int store = 0; store < 3; store++)
			for (int relaxed = 0; relaxed < 2; relaxed++)
				for (int all = 0; all < 2; all++)
					rules[n++] = (struct rmio_area) {
						.load = load, .store = store, .flags = relaxed,
						.sizes = all ? RMIO_SIZE_ALL : RMIO_SIZE_4,
						.range_id = 5,
					};
	for (int i = 0; i < n; i++) {
		for (int j = 0; j < n; j++) {
			for (uint64_t cut = 24; cut < 32; cut++) {
				bool ok = true;

				a[0] = rules[i];
				a[0].offset = 16;
				a[0].length = cut - 16;
				a[1] = rules[j];
				a[1].offset = cut;
				a[1].length = 40 - cut;
				/* side by side in the image, or not */
				a[0].shadow_offset = 64 + 16;
				a[1].shadow_offset = cut & 1 ? 64 + cut : 256;
				T_REQUIRE(T_EQ(rmio_map_new(a, 2, IMAGE, &map, NULL), 0));
				for (uint64_t offset = 0; ok && offset < 56; offset++)
					ok = model_compare(map, a, 2, 5, offset);
				rmio_map_free(map);
				T_REQUIRE(ok);
			}
		}
	}
}

static struct rmio_area random_rule(void)
{
	struct rmio_area a = {
		.load = model_below(2),
		.store = model_below(3),
		.flags = model_below(2),
		.sizes = model_below(4) ? RMIO_SIZE_ALL : 1 + model_below(RMIO_SIZE_ALL),
	};

	if (a.load == RMIO_LOAD_DEVICE && a.store != RMIO_STORE_THROUGH && model_below(2))
		a.sizes = 0;
	return a;
}

/* Cut base .. base + len into areas and holes, some of them continuing their predecessor. */
static size_t random_areas(struct rmio_area *areas, size_t room, uint32_t range_id, uint64_t base,
			   uint64_t len, uint64_t longest)
{
	struct rmio_area a = random_rule();
	uint64_t at = 0;
	size_t n = 0;

	a.range_id = range_id;
	while (at < len && n < room) {
		uint64_t piece = 1 + model_below(longest);

		if (piece > len - at)
			piece = len - at;
		switch (model_below(5)) {
		case 0:
			break;
		case 1:
		case 2:
			a.offset = base + at;
			a.length = piece;
			if (n) {
				a.shadow_offset = areas[n - 1].shadow_offset +
						  (a.offset - areas[n - 1].offset);
				if (a.shadow_offset + piece > IMAGE)
					a.shadow_offset = 0;
			}
			areas[n++] = a;
			break;
		default:
			a = random_rule();
			a.range_id = range_id;
			a.offset = base + at;
			a.length = piece;
			a.shadow_offset = model_below(IMAGE - longest);
			areas[n++] = a;
			break;
		}
		at += piece;
	}
	return n;
}

static void random_maps(void)
{
	static const uint64_t bases[] = { 0, 3, 4096, 1ull << 32, (1ull << 63) - 20,
					  UINT64_MAX - 48 };
	static const uint32_t ids[] = { 0, 1, 6, 65535 };
	struct rmio_area a[4 * 48];
	struct rmio_map *map;
	long rounds = ktap_pick(300, 1500, 20000);

	for (long round = 0; round < rounds; round++) {
		uint64_t base = bases[round % KTAP_COUNT(bases)];
		size_t n = 0, ranges = 1 + model_below(4);
		bool ok = true;

		for (size_t r = 0; r < ranges; r++)
			n += random_areas(a + n, 48, ids[r], base, 48, 1 + model_below(12));
		model_shuffle(a, n);
		T_REQUIRE(T_EQ(rmio_map_new(a, n, IMAGE, &map, NULL), 0));
		for (uint32_t r = 0; ok && r <= ranges; r++) {
			uint32_t id = r < ranges ? ids[r] : 2;

			for (uint64_t i = 0; ok && i < 48 + 24; i++)
				ok = model_compare(map, a, n, id, base - 12 + i);
			ok = ok && model_compare(map, a, n, id, 0) &&
			     model_compare(map, a, n, id, UINT64_MAX);
		}
		rmio_map_free(map);
		if (!T_OK(ok)) {
			ktap_diag("round %ld", round);
			return;
		}
	}
}

/* A map cut into single bytes decides as the same map in one piece. */
static void cuts_do_not_show(void)
{
	struct rmio_area whole = plain, cut[16];
	struct rmio_map *map;

	for (int i = 0; i < 16; i++) {
		cut[i] = whole;
		cut[i].offset += i;
		cut[i].shadow_offset += i;
		cut[i].length = 1;
	}
	model_shuffle(cut, 16);
	T_REQUIRE(T_EQ(rmio_map_new(cut, 16, IMAGE, &map, NULL), 0));
	T_EQ(map->nr_areas, 1);
	for (uint64_t offset = 0xf0; offset < 0x120; offset++)
		model_compare(map, &whole, 1, 2, offset);
	rmio_map_free(map);
}

/* The caller's array is not used once the map is made. */
static void areas_are_copied(void)
{
	struct rmio_area a[2] = { plain, plain }, before[2];
	struct rmio_map *map;

	a[1].offset = 0;
	memcpy(before, a, sizeof(a));
	T_REQUIRE(T_EQ(rmio_map_new(a, 2, IMAGE, &map, NULL), 0));
	T_MEMEQ(a, before, sizeof(a));
	memset(a, 0xff, sizeof(a));
	for (uint64_t offset = 0; offset < 0x120; offset++)
		T_REQUIRE(model_compare(map, before, 2, 2, offset));
	rmio_map_free(map);
}

/* -- large maps ------------------------------------------------------------------ */

static struct rmio_area big[RMIO_AREAS_MAX + 1];

/* Areas of two alternating rules, so that none can be merged. */
static void alternating(size_t n, uint64_t length, uint64_t stride)
{
	for (size_t i = 0; i < n; i++)
		big[i] = (struct rmio_area) {
			.offset = i * stride, .length = length, .shadow_offset = i * 8 % IMAGE,
			.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
			.store = i & 1 ? RMIO_STORE_THROUGH : RMIO_STORE_SYNC,
		};
}

static void as_many_as_allowed(void)
{
	struct rmio_map *map;
	size_t bad = 99;
	bool ok = true;

	alternating(RMIO_AREAS_MAX + 1, 4, 4);
	T_EQ(rmio_map_new(big, RMIO_AREAS_MAX + 1, IMAGE, &map, &bad), -E2BIG);
	T_EQ(bad, RMIO_AREAS_MAX);
	T_EQ(rmio_map_new(big, SIZE_MAX, IMAGE, &map, NULL), -E2BIG);

	for (int order = 0; order < 3; order++) {
		alternating(RMIO_AREAS_MAX, 4, 4);
		if (order == 1)
			for (size_t i = 0; i < RMIO_AREAS_MAX / 2; i++) {
				struct rmio_area t = big[i];

				big[i] = big[RMIO_AREAS_MAX - 1 - i];
				big[RMIO_AREAS_MAX - 1 - i] = t;
			}
		else if (order == 2)
			model_shuffle(big, RMIO_AREAS_MAX);
		T_REQUIRE(T_EQ(rmio_map_new(big, RMIO_AREAS_MAX, IMAGE, &map, NULL), 0));
		T_EQ(map->nr_areas, RMIO_AREAS_MAX);
		T_EQ(rmio_map_end(map, 0), 4 * RMIO_AREAS_MAX);
		for (int i = 0; ok && i < 300; i++)
			ok = model_compare(map, big, RMIO_AREAS_MAX, 0,
					   model_below(4 * RMIO_AREAS_MAX + 8));
		rmio_map_free(map);
	}

	/* a single overlap, by one byte, found among so many */
	big[17] = big[4000];
	big[17].offset += 3;
	big[17].length = 1;
	T_EQ(rmio_map_new(big, RMIO_AREAS_MAX, IMAGE, &map, &bad), -EEXIST);
	T_EQ(bad, 4000);
}

static void as_many_ranges_as_allowed(void)
{
	struct rmio_area a[RMIO_RANGES_MAX + 1];
	struct rmio_map *map;
	size_t bad = 99;

	for (uint32_t i = 0; i <= RMIO_RANGES_MAX; i++) {
		a[i] = plain;
		a[i].range_id = 65535 - 1021 * i;
		a[i].shadow_offset = 8 * i;
	}
	T_REQUIRE(T_EQ(rmio_map_new(a, RMIO_RANGES_MAX, IMAGE, &map, NULL), 0));
	for (uint32_t i = 0; i <= RMIO_RANGES_MAX; i++)
		for (int d = -1; d <= 1; d++)
			T_REQUIRE(model_compare(map, a, RMIO_RANGES_MAX, a[i].range_id + d, 0x104));
	rmio_map_free(map);
	T_EQ(rmio_map_new(a, RMIO_RANGES_MAX + 1, IMAGE, &map, &bad), -E2BIG);
	T_EQ(bad, RMIO_RANGES_MAX);
}

/* How long a look-up can take does not follow the number of areas: the buckets see to that. */
static void buckets(void)
{
	static const uint64_t strides[] = { 4, 5, 8, 64, 100, 4096, 1 << 20, 1ull << 52 };
	struct rmio_map *map;

	for (size_t n = 1; n <= RMIO_AREAS_MAX; n *= 2) {
		for (int s = 0; s < KTAP_COUNT(strides); s++) {
			const struct rmio_map_range *r;

			alternating(n, 4, strides[s]);
			T_REQUIRE(T_EQ(rmio_map_new(big, n, IMAGE, &map, NULL), 0));
			r = &map->ranges[0];
			T_LE(r->nr_buckets, RMIO_MAP_BUCKETS);
			/* evenly spread: two areas' worth of bucket at most, and the one before */
			if (!T_LE(rmio_map_fullest(map, r), 3))
				ktap_diag("%zu areas every %llu bytes", n,
					  (unsigned long long)strides[s]);
			rmio_map_free(map);
		}
	}
}

/* The worst for any table: all areas but one in a corner of a huge extent. */
static void crowded_corner(void)
{
	const struct rmio_map_range *r;
	struct rmio_map *map;
	uint32_t steps = 1;

	alternating(RMIO_AREAS_MAX, 1, 1);
	big[RMIO_AREAS_MAX - 1].offset = 1ull << 62;
	big[RMIO_AREAS_MAX - 1].length = 1ull << 60;
	big[RMIO_AREAS_MAX - 1].load = RMIO_LOAD_DEVICE;
	big[RMIO_AREAS_MAX - 1].store = RMIO_STORE_SYNC;
	model_shuffle(big, RMIO_AREAS_MAX);
	T_REQUIRE(T_EQ(rmio_map_new(big, RMIO_AREAS_MAX, IMAGE, &map, NULL), 0));
	r = &map->ranges[0];
	T_EQ(map->nr_areas, RMIO_AREAS_MAX);
	T_LE(r->nr_buckets, RMIO_MAP_BUCKETS);
	T_EQ(rmio_map_end(map, 0), (1ull << 62) + (1ull << 60));
	for (uint32_t n = rmio_map_fullest(map, r); n > 1; n -= n / 2)
		steps++;
	T_LE(steps, RMIO_MAP_STEPS_MAX);
	for (int i = 0; i < 200; i++) {
		T_REQUIRE(model_compare(map, big, RMIO_AREAS_MAX, 0, model_below(4200)));
		T_REQUIRE(model_compare(map, big, RMIO_AREAS_MAX, 0,
					(1ull << 62) - 10 + model_below(20)));
		T_REQUIRE(model_compare(map, big, RMIO_AREAS_MAX, 0,
					(1ull << 62) + (1ull << 60) - 10 + model_below(20)));
		T_REQUIRE(model_compare(map, big, RMIO_AREAS_MAX, 0, model_rand()));
	}
	rmio_map_free(map);
}

/* As long as 64 bits allow. */
static void whole_address_space(void)
{
	struct rmio_area a[2] = {
		{ .length = UINT64_MAX, .store = RMIO_STORE_SYNC, .range_id = 1 },
	};
	struct rmio_map *map;

	T_REQUIRE(T_EQ(rmio_map_new(a, 1, 0, &map, NULL), 0));
	for (uint64_t i = 0; i < 20; i++) {
		T_REQUIRE(model_compare(map, a, 1, 1, i));
		T_REQUIRE(model_compare(map, a, 1, 1, (1ull << 63) - 10 + i));
		T_REQUIRE(model_compare(map, a, 1, 1, UINT64_MAX - i));
	}
	rmio_map_free(map);
	/* the last byte of all cannot be in an area: offset + length would be 2^64 */
	a[0].offset = 1;
	T_EQ(rmio_map_new(a, 1, 0, &map, NULL), -EOVERFLOW);
	a[0].offset = 0;
	a[0].length = 1;
	a[1] = a[0];
	a[1].offset = UINT64_MAX - 1;
	T_REQUIRE(T_EQ(rmio_map_new(a, 2, 0, &map, NULL), 0));
	for (uint64_t i = 0; i < 20; i++) {
		T_REQUIRE(model_compare(map, a, 2, 1, i));
		T_REQUIRE(model_compare(map, a, 2, 1, UINT64_MAX - i));
	}
	rmio_map_free(map);
}

static const struct ktap_test tests[] = {
	{ "single areas", single_areas },
	{ "wraps and bounds", wraps_and_bounds },
	{ "no image", no_image },
	{ "first culprit", first_culprit },
	{ "overlaps", overlaps },
	{ "empty map", empty_map },
	{ "ends", ends },
	{ "rule pairs", rule_pairs },
	{ "random maps", random_maps },
	{ "cuts do not show", cuts_do_not_show },
	{ "areas are copied", areas_are_copied },
	{ "4096 and 4097 areas", as_many_as_allowed },
	{ "64 and 65 ranges", as_many_ranges_as_allowed },
	{ "buckets", buckets },
	{ "crowded corner", crowded_corner },
	{ "whole address space", whole_address_space },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
