// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * map_fuzz_test.c - hostile bytes for areas: accepted and refused, with code and culprit, as a slow
 * validator says, and what is accepted decides as the model does. Seeds are fixed.
 */
#include <pthread.h>

#include "ktap.h"
#include "map_layout.h"
#include "map_model.h"

#define IMAGE	(4ull * RMIO_PAGE)
#define ROOM	96

/* -- the slow validator ----------------------------------------------------------- */

typedef unsigned __int128 u128;

static int slow_area(const struct rmio_area *areas, size_t i, uint64_t shadow_size)
{
	const struct rmio_area *a = &areas[i];
	bool from = a->load == RMIO_LOAD_SHADOW, through = a->store == RMIO_STORE_THROUGH;
	const u128 limit = (u128)1 << 64;
	size_t ids = 0;

	if (a->length == 0 || a->range_id > 65535)
		return -EINVAL;
	if (a->load != RMIO_LOAD_DEVICE && !from)
		return -EINVAL;
	if (a->store != RMIO_STORE_POSTED && !through && a->store != RMIO_STORE_SYNC)
		return -EINVAL;
	if (a->flags != 0 && a->flags != RMIO_AREA_RELAXED)
		return -EINVAL;
	if (a->sizes > 15 || ((from || through) && a->sizes == 0))
		return -EINVAL;
	if ((u128)a->offset + a->length >= limit || (u128)a->shadow_offset + a->length >= limit)
		return -EOVERFLOW;
	if ((from || through) && (u128)a->shadow_offset + a->length > shadow_size)
		return -ERANGE;
	for (size_t j = 0; j <= i; j++) {
		size_t k = 0;

		while (k < j && areas[k].range_id != areas[j].range_id)
			k++;
		ids += k == j;
	}
	return ids > RMIO_RANGES_MAX ? -E2BIG : 0;
}

static bool slow_overlap(const struct rmio_area *a, const struct rmio_area *b)
{
	u128 a_end = (u128)a->offset + a->length, b_end = (u128)b->offset + b->length;

	return a->range_id == b->range_id && a->offset < b_end && b->offset < a_end;
}

/* Does area @i overlap an earlier one? */
static bool slow_overlaps_earlier(const struct rmio_area *areas, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (slow_overlap(&areas[j], &areas[i]))
			return true;
	return false;
}

static int slow_check(const struct rmio_area *areas, size_t n, uint64_t shadow_size, size_t *bad)
{
	for (size_t i = 0; i < n; i++) {
		int rc = slow_area(areas, i, shadow_size);

		*bad = i;
		if (rc)
			return rc;
	}
	for (size_t i = 0; i < n; i++)
		if (slow_overlaps_earlier(areas, i))
			return -EEXIST;
	return 0;
}

/* -- comparing --------------------------------------------------------------------- */

/* At the edge of a page that may only be read, with nothing mapped after it. */
static struct rmio_area *edge;

static void edge_init(void)
{
	size_t len = (ROOM * sizeof(*edge) + RMIO_PAGE - 1) / RMIO_PAGE * RMIO_PAGE;
	char *p = mmap(NULL, len + RMIO_PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + len, RMIO_PAGE, PROT_NONE)) {
		T_FAIL("mmap: %s", strerror(errno));
		exit(1);
	}
	edge = (struct rmio_area *)(p + len);
}

/* What must hold of any compiled map. */
static bool sound(const struct rmio_map *map, uint64_t shadow_size)
{
	uint32_t next_area = 0, next_table = 0;
	bool ok = T_LE(map->nr_ranges, RMIO_RANGES_MAX) && T_LE(map->nr_areas, RMIO_AREAS_MAX);

	for (uint32_t i = 0; ok && i < map->nr_ranges; i++) {
		const struct rmio_map_range *r = &map->ranges[i];
		uint32_t steps = 1;

		ok = T_OK(!i || map->ranges[i - 1].id < r->id) && T_LT(r->id, 65536) &&
		     T_EQ(r->first_area, next_area) && T_GE(r->last_area, r->first_area) &&
		     T_LT(r->last_area, map->nr_areas) && T_EQ(r->table, next_table) &&
		     T_GE(r->nr_buckets, 1) && T_LE(r->nr_buckets, RMIO_MAP_BUCKETS) &&
		     T_EQ(r->start, map->areas[r->first_area].start) &&
		     T_EQ(r->end, map->areas[r->last_area].end) &&
		     T_LT((r->end - 1 - r->start) >> r->shift, r->nr_buckets);
		if (!ok)
			break;
		for (uint32_t n = rmio_map_fullest(map, r); n > 1; n -= n / 2)
			steps++;
		ok = T_LE(steps, RMIO_MAP_STEPS_MAX);
		for (uint32_t k = r->first_area; ok && k <= r->last_area; k++) {
			const struct rmio_map_area *a = &map->areas[k];

			ok = T_OK(a->start < a->end) &&
			     T_OK(k == r->first_area || a[-1].end <= a->start);
			if (ok && a->sizes)
				ok = T_OK(a->start + a->delta < shadow_size &&
					  a->end - a->start <= shadow_size - (a->start + a->delta));
		}
		next_area = r->last_area + 1;
		next_table += r->nr_buckets + 1;
	}
	return ok && T_EQ(next_area, map->nr_areas);
}

static bool decides(const struct rmio_map *map, const struct rmio_area *areas, size_t n)
{
	bool ok = true;

	for (size_t i = 0; ok && i < n; i++) {
		const struct rmio_area *a = &areas[i];

		for (int d = -8; ok && d <= 1; d++)
			ok = model_compare(map, areas, n, a->range_id, a->offset + d) &&
			     model_compare(map, areas, n, a->range_id, a->offset + a->length + d);
		ok = ok && model_compare(map, areas, n, a->range_id, model_rand()) &&
		     model_compare(map, areas, n, a->range_id + 1, a->offset) &&
		     model_compare(map, areas, n, a->range_id,
				   a->offset + model_below(a->length));
	}
	return ok;
}

static long accepted, refused;

static bool one(const struct rmio_area *areas, size_t n)
{
	struct rmio_area *at = edge - n;
	struct rmio_map *map = NULL;
	size_t want_bad = 0, bad = SIZE_MAX;
	int want, rc;
	bool ok;

	memcpy(at, areas, n * sizeof(*areas));
	want = slow_check(areas, n, IMAGE, &want_bad);
	rc = rmio_map_new(at, n, IMAGE, &map, &bad);
	ok = T_EQ(rc, want) && T_MEMEQ(at, areas, n * sizeof(*areas));
	if (rc == -EEXIST && want == rc)
		ok = ok && T_LT(bad, n) && T_OK(slow_overlaps_earlier(areas, bad));
	else if (rc)
		ok = ok && T_EQ(bad, want_bad);
	else
		ok = ok && T_EQ(bad, SIZE_MAX) && sound(map, IMAGE) && decides(map, areas, n);
	if (!rc)
		rmio_map_free(map);
	accepted += !rc;
	refused += !!rc;
	return ok;
}

/* -- hostile areas ------------------------------------------------------------------- */

static uint64_t odd_number(void)
{
	static const uint64_t odd[] = { 0, RMIO_PAGE, IMAGE, 1ull << 32, 1ull << 60, 1ull << 62,
					1ull << 63, UINT64_MAX };
	uint64_t v = odd[model_below(KTAP_COUNT(odd))];

	return v + model_below(17) - 8;
}

static uint64_t any_number(void)
{
	switch (model_below(4)) {
	case 0:
		return odd_number();
	case 1:
		return model_rand() >> model_below(64);
	default:
		return model_below(64);
	}
}

/* Fields that are mostly in order, so that the last checks are reached too. */
static struct rmio_area likely(uint32_t ids)
{
	struct rmio_area a = {
		.offset = any_number(),
		.length = model_below(8) ? 1 + model_below(6) : any_number(),
		.shadow_offset = model_below(16) ? model_below(IMAGE - 8) : any_number(),
		.range_id = model_below(64) ? model_below(ids) : 65530 + model_below(8),
		.sizes = 1 + model_below(15),
		.load = model_below(2),
		.store = model_below(3),
		.flags = model_below(2),
	};

	return a;
}

static void flip(struct rmio_area *areas, size_t n)
{
	unsigned char *bytes = (unsigned char *)areas;
	size_t at = model_below(n * sizeof(*areas));

	if (model_below(2))
		bytes[at] = model_rand();
	else
		bytes[at] ^= 1 << model_below(8);
}

static void random_bytes(void)
{
	long rounds = ktap_pick(10000, 30000, 500000) / KTAP_SLOWDOWN;
	struct rmio_area a[8];

	edge_init();
	model_seed = 0x6d6170;
	for (long round = 0; round < rounds; round++) {
		size_t n = 1 + model_below(8);

		for (size_t i = 0; i < n * sizeof(a[0]); i++)
			((unsigned char *)a)[i] = model_rand();
		if (!one(a, n)) {
			ktap_diag("round %ld", round);
			return;
		}
	}
	T_EQ(accepted + refused, rounds);
}

static void likely_areas(void)
{
	long rounds = ktap_pick(10000, 30000, 500000) / KTAP_SLOWDOWN;
	struct rmio_area a[8];

	edge_init();
	model_seed = 0x61726561;
	for (long round = 0; round < rounds; round++) {
		size_t n = model_below(9);
		uint32_t ids = 1 + model_below(4);

		for (size_t i = 0; i < n; i++)
			a[i] = likely(ids);
		if (!one(a, n)) {
			ktap_diag("round %ld", round);
			return;
		}
	}
	/* a generator that only makes one of the two tries nothing */
	T_GT(accepted, rounds / 10);
	T_GT(refused, rounds / 10);
}

/* A good map of many areas, then a few bytes of it changed. */
static void broken_maps(void)
{
	long rounds = ktap_pick(400, 1500, 30000) / KTAP_SLOWDOWN;
	struct rmio_area a[ROOM];

	edge_init();
	model_seed = 0x62726f6b;
	for (long round = 0; round < rounds; round++) {
		size_t n = 1 + model_below(ROOM), flips = model_below(4);
		uint32_t ids = model_below(2) ? 1 + model_below(4) : 60 + model_below(400);
		uint64_t at = model_below(2) ? 0 : odd_number() & ~(1ull << 63);

		for (size_t i = 0; i < n; i++) {
			a[i] = likely(ids);
			a[i].offset = at;
			a[i].length = 1 + model_below(12);
			a[i].shadow_offset = model_below(IMAGE - 12);
			at += a[i].length + (model_below(3) ? 0 : model_below(100));
		}
		model_shuffle(a, n);
		while (flips--)
			flip(a, n);
		if (!one(a, n)) {
			ktap_diag("round %ld", round);
			return;
		}
	}
	T_GT(accepted, rounds / 10);
	T_GT(refused, rounds / 10);
}

/* -- areas that change while they are read ---------------------------------------------- */

struct changer {
	struct rmio_area *areas;
	size_t n;
	bool stop;
};

static void *change(void *arg)
{
	struct changer *c = arg;
	uint64_t good = 0;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		volatile struct rmio_area *a = &c->areas[good % c->n];

		a->range_id = 60000;
		a->length = UINT64_MAX;
		a->shadow_offset = IMAGE;
		a->offset = 1ull << 63;
		a->offset = good % c->n * 16;
		a->shadow_offset = 0;
		a->length = 8;
		a->range_id = good % 3;
		good++;
	}
	return NULL;
}

static void changing_areas(void)
{
#ifdef __SANITIZE_THREAD__
	T_SKIP("the race is the test", "a build without ThreadSanitizer");
#endif
	long rounds = ktap_pick(5000, 20000, 300000) / KTAP_SLOWDOWN;
	struct changer c = { .n = 64 };
	struct rmio_area a[64];
	long good = 0;
	pthread_t t;

	for (size_t i = 0; i < c.n; i++)
		a[i] = (struct rmio_area) {
			.offset = i * 16, .length = 8, .range_id = i % 3, .sizes = 15,
			.load = RMIO_LOAD_SHADOW, .store = i & 1 ? RMIO_STORE_SYNC : 0,
		};
	c.areas = a;
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, change, &c), 0));
	for (long i = 0; i < rounds && !ktap_failed(); i++) {
		struct rmio_map *map;

		if (rmio_map_new(a, c.n, IMAGE, &map, NULL))
			continue;
		good++;
		sound(map, IMAGE);
		rmio_map_free(map);
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	T_GT(good, 0);
}

static const struct ktap_test tests[] = {
	{ "random bytes", random_bytes },
	{ "likely areas", likely_areas },
	{ "broken maps", broken_maps },
	{ "areas that change while they are read", changing_areas },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
