// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * plan_test.c - the planner of the `bpf` back end as a whole: what it refuses, the most it can be
 * asked, and what goes on from plan to plan.
 */
#include "plan_rig.h"

static void refused(void)
{
	static struct rmio_area areas[RMIO_AREAS_MAX + 1];
	struct rmio_plan *plan = (void *)1;
	struct rmio_pa_range ranges[RMIO_RANGES_MAX + 1];
	struct rig r;

#define REFUSED(error) do { \
		if (!T_EQ(rmio_plan_make(&r.in, &plan), error)) \
			ktap_diag("in line %d", __LINE__); \
		T_EQ(plan, (void *)1); \
	} while (0)
	rig_init(&r);
	relaxed(&r, 0, PAGE)->length = 0;
	REFUSED(-EINVAL);
	r.areas[0].length = IMAGE + 1;
	REFUSED(-EINVAL);
	r.areas[0].offset = UINT64_MAX;
	REFUSED(-EINVAL);
	r.areas[0] = (struct rmio_area) { .offset = 15 * PAGE + 1, .length = PAGE };
	REFUSED(-EINVAL);
	r.areas[0].offset = PAGE;
	area(&r, PAGE * 2 - 1, 2, 0);
	REFUSED(-EINVAL);
	r.in.nr_areas = 0;

	r.ranges[0].len = 0;
	REFUSED(-EINVAL);
	r.ranges[0].len = 2;
	r.ranges[0].addr = UINT64_MAX;
	REFUSED(-EINVAL);
	r.ranges[0].addr = 0;
	r.ranges[0].bus = 2;
	REFUSED(-EINVAL);
	r.ranges[0].bus = 0;
	r.in.nr_ranges = 3;
	r.ranges[1] = (struct rmio_pa_range) { .addr = 0x100, .len = 2, .id = 1 };
	r.ranges[2] = (struct rmio_pa_range) { .addr = 1, .len = 2, .id = 2 };
	REFUSED(-EINVAL);
	r.ranges[2].addr = 2;
	r.ranges[2].id = 0;
	REFUSED(-EINVAL);
	r.in.nr_ranges = 1;

	heat(&r, 0, 3, 1);
	REFUSED(-EINVAL);
	r.heat[0].len = 16;
	REFUSED(-EINVAL);
	r.in.nr_heat = RMIO_PLAN_HEAT_MAX + 1;
	REFUSED(-E2BIG);
	r.in.nr_heat = 0;

	r.in.areas = areas;
	r.in.nr_areas = RMIO_AREAS_MAX + 1;
	REFUSED(-E2BIG);
	for (uint32_t i = 0; i <= RMIO_RANGES_MAX; i++) {
		areas[i] = (struct rmio_area) { .length = 1, .range_id = i };
		ranges[i] = (struct rmio_pa_range) { .addr = PAGE * i, .len = 1, .id = i };
	}
	r.in.nr_areas = RMIO_RANGES_MAX + 1;
	REFUSED(-E2BIG);
	r.in.nr_areas = 0;
	r.in.ranges = ranges;
	r.in.nr_ranges = RMIO_RANGES_MAX + 1;
	REFUSED(-E2BIG);

	/* the buses have addresses of their own */
	r.in.ranges = r.ranges;
	r.in.nr_ranges = 2;
	r.ranges[1] = (struct rmio_pa_range) { .addr = 1, .len = 2, .bus = RMIO_BUS_IO, .id = 1 };
	T_REQUIRE(T_EQ(rmio_plan_make(&r.in, &plan), 0));
	rmio_plan_free(plan);

	/* nothing at all is a plan too */
	r.in = (struct rmio_plan_in) { 0 };
	T_REQUIRE(T_EQ(rmio_plan_make(&r.in, &plan), 0));
	T_EQ(plan->nr, 0);
	rmio_plan_free(plan);
	rmio_plan_free(NULL);
}

/* As much as there can be of everything, within memory set aside. */
static void largest(void)
{
	static struct rmio_area areas[RMIO_AREAS_MAX];
	static struct rmio_heat_reg regs[RMIO_PLAN_HEAT_MAX];
	struct rmio_pa_range range = { .addr = 1ull << 40, .len = 1ull << 30 };
	struct rmio_plan_in in = {
		.areas = areas, .ranges = &range, .nr_ranges = 1, .heat = regs,
		.nr_areas = RMIO_AREAS_MAX, .nr_heat = RMIO_PLAN_HEAT_MAX, .hot = 1,
		.image_size = 1ull << 30, .max_slots = 2048,
	};
	struct rmio_plan *plan;

	for (uint32_t i = 0; i < RMIO_AREAS_MAX; i++)
		areas[i] = (struct rmio_area) {
			.offset = i * 4 * PAGE + 8, .length = 2 * PAGE + 8, .sizes = RMIO_SIZE_ALL,
			.shadow_offset = i * 4 * PAGE + 8, .load = RMIO_LOAD_SHADOW,
			.flags = RMIO_AREA_RELAXED,
		};
	for (uint32_t i = 0; i < RMIO_PLAN_HEAT_MAX; i++)
		regs[i] = (struct rmio_heat_reg) { .offset = i * 4 * PAGE % (1u << 30) + i % 7 * 8,
						   .len = 4, .count = i };
	for (int pass = 0; pass < 3; pass++) {
		T_REQUIRE(T_EQ(rmio_plan_make(&in, &plan), 0));
		T_EQ(plan->slots, 2048);
		T_EQ(plan->bus_devs, in.max_bus_devs);
		/* two ends and a middle in each, without the slots, and slots and stores */
		T_GE(plan->nr, 4 * RMIO_AREAS_MAX);
		rmio_plan_free(plan);
		in.max_bus_devs = pass ? 1 : 1000;
	}
}
/* -- what goes on from plan to plan ------------------------------------------------------------ */

static size_t kept(const struct rmio_plan *old, const struct rmio_plan *new)
{
	size_t n;

	found_right(old, new, &n);
	return n;
}

static void found(void)
{
	struct rmio_plan *a, *b;
	struct rig r;

	rig_init(&r);
	relaxed(&r, PAGE, PAGE);
	area(&r, 0x10, 4, RMIO_STORE_THROUGH);
	area(&r, 0x20, 4, RMIO_STORE_POSTED);
	heat(&r, 0x30, 4, HOT);
	a = take(&r);
	T_EQ(kept(a, a), 4);

	/* counts alone change nothing */
	heat(&r, 0x20, 4, 5 * HOT);
	r.heat[0].count *= 2;
	b = take(&r);
	T_EQ(kept(a, b), 4);
	rmio_plan_free(b);

	/* each thing that does */
	r.ranges[0].addr += PAGE;
	b = take(&r);
	T_EQ(kept(a, b), 0);
	rmio_plan_free(b);

	r.ranges[0].addr -= PAGE;
	r.areas[0].shadow_offset += PAGE;
	r.areas[1].sizes = RMIO_SIZE_1;		/* no longer written through */
	r.in.nr_heat = 0;
	b = take(&r);
	T_EQ(kept(a, b), 1);
	T_EQ(kept(b, a), 1);
	rmio_plan_free(b);

	/* a plan of nothing */
	r.in.nr_areas = 0;
	b = take(&r);
	T_EQ(b->nr, 0);
	T_EQ(kept(a, b), 0);
	rmio_plan_free(b);
	rmio_plan_free(a);

	/* written through to the first byte of the image, or not: nothing else tells them apart */
	rig_again(&r);
	area(&r, 0, 4, RMIO_STORE_THROUGH);
	a = take(&r);
	r.areas[0].sizes = RMIO_SIZE_1;
	b = take(&r);
	T_EQ(kept(a, b), 0);
	rmio_plan_free(b);

	/* of another length, at one place */
	r.areas[0].length = 8;
	b = take(&r);
	T_EQ(kept(a, b), 0);
	rmio_plan_free(b);
	rmio_plan_free(a);
}

static const struct ktap_test tests[] = {
	{ "refused", refused },
	{ "the largest plan", largest },
	{ "found again", found },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
