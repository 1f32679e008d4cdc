// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * map_twin_test.c - the access map is written twice, for the library (user/map.c) and for the
 * kernel device (kern/virt/kvm/user_map.c): the same maps are refused with the same error, and
 * what is accepted decides alike.  Random from fixed seeds.
 *
 * On purpose they differ in this, and nothing else:
 * - Of several faults in areas the library reports the first as the caller has them, and which it
 *   is; the kernel, which sorts in place before it looks, the first by range id and offset.  So
 *   one order is compared by error, any other by whether there is one.
 * - The library refuses areas of more than RMIO_RANGES_MAX range ids, of which its tables have a
 *   place each.  The kernel looks areas up without ranges, and limits these where they are set.
 * - The kernel's images are whole pages.
 */
#include "ktap.h"
#include "map_layout.h"
#include "map_model.h"
#include "map_twin/kernel_map.h"

#define ROOM	48

/* -- one map, both ways ----------------------------------------------------------- */

struct twins {
	const struct rmio_area *areas;
	size_t n;
	uint64_t shadow_size;
	struct rmio_map *ours;
	struct kernel_map theirs;
};

static void show(const struct twins *t)
{
	ktap_diag("image of 0x%llx", (unsigned long long)t->shadow_size);
	for (size_t i = 0; i < t->n && i < 64; i++) {
		const struct rmio_area *a = &t->areas[i];

		ktap_diag("  area %zu: range %u 0x%llx+0x%llx shadow 0x%llx sizes %x load %u store %u flags %x",
			  i, a->range_id, (unsigned long long)a->offset,
			  (unsigned long long)a->length, (unsigned long long)a->shadow_offset,
			  a->sizes, a->load, a->store, a->flags);
	}
}

/* What both say: 0, -errno, or 1 if they differ and the test has failed. */
static int twins_new(struct twins *t, bool same_error)
{
	int ours, theirs;

	t->ours = NULL;
	ours = rmio_map_new(t->areas, t->n, t->shadow_size, &t->ours, NULL);
	theirs = kernel_map_new(t->areas, t->n, t->shadow_size, &t->theirs);
	if (same_error ? T_EQ(theirs, ours) : T_EQ(!theirs, !ours))
		return ours;
	show(t);
	return 1;
}

static void twins_free(struct twins *t)
{
	rmio_map_free(t->ours);
	kernel_map_free(&t->theirs);
}

static bool same_access(struct twins *t, bool store, uint32_t id, uint64_t offset, uint32_t len)
{
	struct rmio_decision ours = { .verdict = -2 }, theirs = { .verdict = -3 };

	if (store) {
		rmio_map_store(t->ours, id, offset, len, &ours);
		kernel_map_store(&t->theirs, id, offset, len, &theirs);
	} else {
		rmio_map_load(t->ours, id, offset, len, &ours);
		kernel_map_load(&t->theirs, id, offset, len, &theirs);
	}
	if (ours.verdict == theirs.verdict && ours.relaxed == theirs.relaxed &&
	    ours.shadow_offset == theirs.shadow_offset)
		return true;
	T_FAIL("%s of %u at range %u offset 0x%llx: kernel's verdict %d relaxed %d place 0x%llx, library's %d %d 0x%llx",
	       store ? "store" : "load", len, id, (unsigned long long)offset, theirs.verdict,
	       theirs.relaxed, (unsigned long long)theirs.shadow_offset, ours.verdict, ours.relaxed,
	       (unsigned long long)ours.shadow_offset);
	show(t);
	return false;
}

static bool same_end(struct twins *t, uint32_t id, uint64_t len)
{
	if (T_EQ(kernel_map_exceeds(&t->theirs, id, len), rmio_map_end(t->ours, id) > len))
		return true;
	ktap_diag("range %u of 0x%llx bytes", id, (unsigned long long)len);
	show(t);
	return false;
}

/* Every size, load and store. */
static bool same_at(struct twins *t, uint32_t id, uint64_t offset)
{
	for (uint32_t len = 1; len <= 8; len *= 2)
		if (!same_access(t, false, id, offset, len) ||
		    !same_access(t, true, id, offset, len))
			return false;
	return same_end(t, id, offset);
}

/* Around both ends of every area, in it, and anywhere; with what the last load has left. */
static bool same(struct twins *t)
{
	bool ok = T_EQ(kernel_map_areas(&t->theirs), t->ours ? t->ours->nr_areas : 0);

	for (size_t i = 0; ok && i < t->n; i++) {
		const struct rmio_area *a = &t->areas[model_below(2) ? i : model_below(t->n)];

		for (int d = -8; ok && d <= 1; d++)
			ok = same_at(t, a->range_id, a->offset + d) &&
			     same_at(t, a->range_id, a->offset + a->length + d);
		ok = ok && same_at(t, a->range_id, a->offset + model_below(a->length)) &&
		     same_at(t, a->range_id + 1, a->offset) &&
		     same_at(t, a->range_id, model_rand()) &&
		     same_at(t, model_below(4), model_below(512));
		/* A lane keeps it when the map is replaced by another. */
		if (!model_below(4))
			t->theirs.hit = model_below(8) ? model_below(t->n + 4) : UINT32_MAX;
	}
	return ok && same_at(t, 0, 0) && same_at(t, 65535, UINT64_MAX) && same_at(t, 65536, 8);
}

/* -- maps ---------------------------------------------------------------------------- */

/* Disjoint, often neighbours, often such that they can be merged; small, so that much straddles. */
static size_t random_areas(struct rmio_area *a, uint64_t shadow_size)
{
	uint64_t at = model_below(4) ? model_below(32) : UINT64_MAX - 1 - model_below(600);
	uint32_t id = model_below(3);
	size_t n = 0, most = model_below(ROOM + 1);

	while (n < most) {
		struct rmio_area *b = &a[n], *last = n ? b - 1 : NULL;

		if (last && !model_below(12)) {
			id += 1 + model_below(2);
			at = model_below(32);
			last = NULL;
		}
		if (!model_below(4))
			at += 1 + model_below(12);
		*b = (struct rmio_area){
			.offset = at,
			.length = 1 + model_below(model_below(8) ? 12 : 200),
			.range_id = id,
			.sizes = 1 + model_below(15),
			.load = model_below(2),
			.store = model_below(3),
			.flags = model_below(2) * RMIO_AREA_RELAXED,
		};
		if (last && model_below(2)) {
			b->sizes = last->sizes;
			b->load = last->load;
			b->store = last->store;
			b->flags = last->flags;
		}
		if (at + b->length < at)
			break;
		if (last && model_below(4))
			b->shadow_offset = last->shadow_offset + (b->offset - last->offset);
		else if (shadow_size > 256)
			b->shadow_offset = model_below(shadow_size - 256);
		if (b->shadow_offset + b->length > shadow_size) {
			b->load = RMIO_LOAD_DEVICE;
			if (b->store == RMIO_STORE_THROUGH)
				b->store = RMIO_STORE_POSTED;
			b->sizes = model_below(16);
		}
		at += b->length;
		n++;
	}
	return n;
}

static uint64_t random_size(void)
{
	return model_below(4) * RMIO_PAGE;
}

static void random_maps(void)
{
	long rounds = ktap_pick(3000, 20000, 200000) / KTAP_SLOWDOWN;
	struct rmio_area areas[ROOM];

	model_seed = 11;
	for (long i = 0; i < rounds && !ktap_failed(); i++) {
		struct twins t = { .areas = areas, .shadow_size = random_size() };

		t.n = random_areas(areas, t.shadow_size);
		model_shuffle(areas, t.n);
		if (T_EQ(twins_new(&t, true), 0))
			same(&t);
		twins_free(&t);
	}
}

/* Values at which rules begin and end. */
static uint64_t nasty(uint64_t shadow_size)
{
	const uint64_t values[] = {
		0, 1, 2, 3, 8, 15, 16, 65535, 65536, shadow_size - 1, shadow_size,
		shadow_size + 1, INT64_MAX, UINT64_MAX - 1, UINT64_MAX, model_rand(),
	};

	return values[model_below(KTAP_COUNT(values))];
}

static void spoil(struct rmio_area *a, uint64_t shadow_size)
{
	uint64_t v = nasty(shadow_size);

	switch (model_below(8)) {
	case 0:
		a->offset = v;
		break;
	case 1:
		a->length = v;
		break;
	case 2:
		a->shadow_offset = v;
		break;
	case 3:
		a->range_id = v;
		break;
	case 4:
		a->sizes = v;
		break;
	case 5:
		a->load = v;
		break;
	case 6:
		a->store = v;
		break;
	case 7:
		a->flags = v;
		break;
	}
}

static int by_place(const void *x, const void *y)
{
	const struct rmio_area *a = x, *b = y;

	if (a->range_id != b->range_id)
		return a->range_id < b->range_id ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* By range id and offset, what is equal in its order: the kernel's first is the library's. */
static void order(struct rmio_area *a, size_t n)
{
	for (size_t i = 1; i < n; i++)
		for (size_t j = i; j && by_place(&a[j - 1], &a[j]) > 0; j--) {
			struct rmio_area t = a[j];

			a[j] = a[j - 1];
			a[j - 1] = t;
		}
}

static const int errors[] = { 0, -EINVAL, -EOVERFLOW, -ERANGE, -EEXIST };

static void spoilt_maps(void)
{
	long rounds = ktap_pick(6000, 40000, 400000) / KTAP_SLOWDOWN;
	unsigned int seen[KTAP_COUNT(errors)] = { 0 };
	struct rmio_area areas[ROOM];

	model_seed = 12;
	for (long i = 0; i < rounds && !ktap_failed(); i++) {
		struct twins t = { .areas = areas, .shadow_size = random_size() };
		int rc;

		t.n = random_areas(areas, t.shadow_size);
		for (uint64_t k = t.n ? 1 + model_below(3) : 0; k; k--)
			spoil(&areas[model_below(t.n)], t.shadow_size);
		order(areas, t.n);
		rc = twins_new(&t, true);
		for (int e = 0; e < KTAP_COUNT(errors); e++)
			seen[e] += rc == errors[e];
		if (!rc)
			same(&t);
		twins_free(&t);

		model_shuffle(areas, t.n);
		if (!twins_new(&t, false))
			same(&t);
		twins_free(&t);
	}
	/* Else this has compared less than it says. */
	for (int e = 0; e < KTAP_COUNT(errors); e++)
		T_GT(seen[e], 0);
}

/* One area and one field at a time, so that each rule is met alone: the error is the same. */
static void each_field(void)
{
	const struct rmio_area good = {
		.offset = 16, .length = 16, .shadow_offset = 16, .range_id = 3,
		.sizes = RMIO_SIZE_4, .load = RMIO_LOAD_SHADOW, .store = RMIO_STORE_THROUGH,
	};
	long rounds = ktap_pick(20000, 50000, 500000) / KTAP_SLOWDOWN;
	struct rmio_area area;

	model_seed = 13;
	for (long i = 0; i < rounds && !ktap_failed(); i++) {
		struct twins t = { .areas = &area, .n = 1, .shadow_size = random_size() };

		area = good;
		area.load = model_below(2);
		area.store = model_below(3);
		spoil(&area, t.shadow_size);
		if (!twins_new(&t, true))
			same(&t);
		twins_free(&t);
	}
}

static void no_map(void)
{
	struct twins t = { .areas = NULL };

	model_seed = 14;
	T_OK(same(&t));
	T_REQUIRE(T_EQ(twins_new(&t, true), 0));
	T_OK(same(&t));
	twins_free(&t);
}

/* As many as there may be, and one more. */
static void largest(void)
{
	struct rmio_area *areas = calloc(RMIO_AREAS_MAX + 1, sizeof(*areas));
	struct twins t = { .areas = areas, .n = RMIO_AREAS_MAX + 1, .shadow_size = RMIO_PAGE };

	T_REQUIRE(T_OK(areas));
	for (uint32_t i = 0; i <= RMIO_AREAS_MAX; i++)
		areas[i] = (struct rmio_area){
			.offset = i * 4ull, .length = 3 + i % 2, .shadow_offset = i % 1000,
			.sizes = 1 + i % 15, .load = i % 2, .store = i % 3,
		};
	T_EQ(twins_new(&t, true), -E2BIG);
	t.n--;
	model_seed = 15;
	model_shuffle(areas, t.n);
	if (T_EQ(twins_new(&t, true), 0))
		for (int i = 0; i < 2000 && same_at(&t, 0, model_below(RMIO_AREAS_MAX * 4)); i++)
			;
	twins_free(&t);
	free(areas);
}

/* The one error that the kernel does not have. */
static void range_ids(void)
{
	struct rmio_area areas[RMIO_RANGES_MAX + 1] = { 0 };
	struct twins t = { .areas = areas, .n = RMIO_RANGES_MAX };

	for (uint32_t i = 0; i <= RMIO_RANGES_MAX; i++)
		areas[i] = (struct rmio_area){
			.offset = i, .length = 8, .range_id = i * 1000, .store = i % 2 * 2,
		};
	model_seed = 16;
	if (T_EQ(twins_new(&t, true), 0))
		same(&t);
	twins_free(&t);
	T_EQ(rmio_map_new(areas, RMIO_RANGES_MAX + 1, 0, &t.ours, NULL), -E2BIG);
	T_EQ(kernel_map_new(areas, RMIO_RANGES_MAX + 1, 0, &t.theirs), 0);
	kernel_map_free(&t.theirs);
}

/* -- the image ------------------------------------------------------------------------- */

/* What one thread sees; who may see a part of a store, shadow_test and the rules of each say. */
static void image_values(void)
{
	struct kernel_image *image = kernel_image_new(2 * RMIO_PAGE);
	_Alignas(RMIO_PAGE) static uint8_t bytes[2 * RMIO_PAGE];

	T_REQUIRE(T_OK(image));
	model_seed = 17;
	for (long i = 0; i < 200000 / KTAP_SLOWDOWN && !ktap_failed(); i++) {
		uint32_t len = 1u << model_below(4);
		uint64_t at = model_below(sizeof(bytes) - len + 1), value = model_rand();

		if (!model_below(4))
			at = RMIO_PAGE - model_below(len + 1);
		rmio_shadow_put(bytes, at, value, len);
		kernel_image_put(image, at, value, len);
		T_EQ(kernel_image_get(image, at, len), rmio_shadow_get(bytes, at, len));
		at = model_below(sizeof(bytes) - len + 1);
		T_EQ(kernel_image_get(image, at, len), rmio_shadow_get(bytes, at, len));
	}
	T_MEMEQ(kernel_image_bytes(image), bytes, sizeof(bytes));
	kernel_image_free(image);
}

static const struct ktap_test tests[] = {
	{ "random_maps", random_maps, 300 },
	{ "spoilt_maps", spoilt_maps, 300 },
	{ "each_field", each_field, 120 },
	{ "no_map", no_map },
	{ "largest", largest },
	{ "range_ids", range_ids },
	{ "image_values", image_values },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
