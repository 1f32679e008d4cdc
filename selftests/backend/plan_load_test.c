// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/* plan_load_test.c - the planner of the `bpf` back end: each rule and limit of memory slots. */
#include "plan_rig.h"

static void slots(void)
{
	struct rmio_area *a;
	struct rig r;

	rig_init(&r);
	relaxed(&r, 2 * PAGE, 3 * PAGE)->shadow_offset = 7 * PAGE;
	PLAN(&r, "load slot 0 2000+3000 7000",
	     "store exit 0 2000+3000: none of its registers is hot");
	T_EQ(r.plan->items[0].gpa, BASE + 2 * PAGE);
	T_EQ(r.plan->slots, 1);
	T_EQ(r.plan->bus_devs, 0);

	/* the inner part of a larger one, and the smallest that has one */
	rig_again(&r);
	relaxed(&r, 0x2008, 2 * PAGE);
	relaxed(&r, 0x6ff8, PAGE + 16)->shadow_offset = 0x16ff8;
	relaxed(&r, 0x9001, 2 * PAGE - 2);
	PLAN(&r, "load exit 0 2008+ff8: shares its page with something else",
	     "store exit 0 2008+2000: none of its registers is hot",
	     "load slot 0 3000+1000 3000",
	     "load exit 0 4000+8: shares its page with something else",
	     "load exit 0 6ff8+8: shares its page with something else",
	     "store exit 0 6ff8+1010: none of its registers is hot",
	     "load slot 0 7000+1000 17000",
	     "load exit 0 8000+8: shares its page with something else",
	     "load exit 0 9001+1ffe: shares its page with something else",
	     "store exit 0 9001+1ffe: none of its registers is hot");

	/* a page in two areas that differ in nothing, and in one that does */
	rig_again(&r);
	relaxed(&r, 0, 0x800);
	relaxed(&r, 0x800, 0x1000);
	relaxed(&r, 0x1800, 0x800)->store = RMIO_STORE_SYNC;
	PLAN(&r, "load slot 0 0+1000 0",
	     "store exit 0 0+800: none of its registers is hot",
	     "store exit 0 800+1000: none of its registers is hot",
	     "load exit 0 1000+800: shares its page with something else",
	     "load exit 0 1800+800: shares its page with something else",
	     "store exit 0 1800+800: its stores wait for the device");

	/* neighbours that go on in the image are one slot, whatever their stores do */
	rig_again(&r);
	relaxed(&r, 0, PAGE);
	relaxed(&r, PAGE, PAGE)->store = RMIO_STORE_SYNC;
	relaxed(&r, 2 * PAGE, PAGE)->shadow_offset = 3 * PAGE;
	PLAN(&r, "load slot 0 0+2000 0",
	     "store exit 0 0+1000: none of its registers is hot",
	     "store exit 0 1000+1000: its stores wait for the device",
	     "load slot 0 2000+1000 3000",
	     "store exit 0 2000+1000: none of its registers is hot");

	/* why not */
	rig_again(&r);
	relaxed(&r, 0, PAGE)->flags = 0;
	relaxed(&r, PAGE, PAGE)->sizes = RMIO_SIZE_ALL & ~RMIO_SIZE_2;
	relaxed(&r, 2 * PAGE, PAGE)->shadow_offset = 2 * PAGE + 8;
	area(&r, 3 * PAGE, PAGE, RMIO_STORE_POSTED)->flags = RMIO_AREA_RELAXED;
	relaxed(&r, 0, PAGE)->range_id = 1;
	relaxed(&r, 0, PAGE)->range_id = 9;
	r.ranges[r.in.nr_ranges++] = (struct rmio_pa_range) {
		.addr = 0, .len = PAGE, .bus = RMIO_BUS_IO, .id = 1,
	};
	PLAN(&r, "load exit 0 0+1000: not relaxed: its loads wait for posted stores",
	     "store exit 0 0+1000: none of its registers is hot",
	     "load exit 0 1000+1000: a memory slot would answer every size",
	     "store exit 0 1000+1000: none of its registers is hot",
	     "load exit 0 2000+1000: pages of guest and shadow do not line up",
	     "store exit 0 2000+1000: none of its registers is hot",
	     "store exit 0 3000+1000: none of its registers is hot",
	     "load exit 1 0+1000: a memory slot cannot answer on the I/O bus",
	     "store exit 1 0+1000: on the I/O bus",
	     "load exit 9 0+1000: its range is nowhere",
	     "store exit 9 0+1000: its range is nowhere");

	/* the guest's pages count, not those of the range */
	rig_again(&r);
	r.ranges[0].addr = BASE + 0x800;
	relaxed(&r, 0, 2 * PAGE);
	a = relaxed(&r, 4 * PAGE, 2 * PAGE);
	a->shadow_offset = 8 * PAGE + 0x800;
	PLAN(&r, "load exit 0 0+2000: pages of guest and shadow do not line up",
	     "store exit 0 0+2000: none of its registers is hot",
	     "load exit 0 4000+800: shares its page with something else",
	     "store exit 0 4000+2000: none of its registers is hot",
	     "load slot 0 4800+1000 9000",
	     "load exit 0 5800+800: shares its page with something else");
	T_EQ(r.plan->items[4].gpa, BASE + 5 * PAGE);
	rmio_plan_free(r.plan);
}

/* At the end of the address space. */
static void last_page(void)
{
	struct rig r;

	rig_init(&r);
	r.ranges[0] = (struct rmio_pa_range) { .addr = -2 * PAGE, .len = 2 * PAGE };
	relaxed(&r, 0x10, 2 * PAGE - 0x10);
	area(&r, 0, 8, RMIO_STORE_POSTED);
	for (int i = 0; i < 9; i++)
		heat(&r, 2 * PAGE - 8 * (i + 1), 8, HOT);
	PLAN(&r, "store eventfd 0 0+8", "load exit 0 10+ff0: shares its page with something else",
	     "load slot 0 1000+1000 1000", "store zone 0 1000+1000");

	/* a range of nearly everything */
	rig_again(&r);
	r.ranges[0] = (struct rmio_pa_range) { .addr = 1, .len = UINT64_MAX };
	for (int i = 0; i < 9; i++)
		heat(&r, UINT64_MAX - 8 * (i + 1), 8, HOT);
	heat(&r, UINT64_MAX - 4, 8, HOT);
	PLAN(&r, "store zone 0 ffffffffffffefff+1000");
	rmio_plan_free(r.plan);
}

static void slot_limit(void)
{
	struct rig r;

	rig_init(&r);
	relaxed(&r, 0, PAGE);
	relaxed(&r, 2 * PAGE, 2 * PAGE);
	relaxed(&r, 5 * PAGE + 8, 2 * PAGE);
	relaxed(&r, 9 * PAGE, 3 * PAGE);
	for (size_t i = 0; i < r.in.nr_areas; i++)
		r.areas[i].store = RMIO_STORE_SYNC;
	/* the longest; of equals the first */
	r.in.max_slots = 3;
	PLAN(&r, "load slot 0 0+1000 0", "store exit 0 0+1000: its stores wait for the device",
	     "load slot 0 2000+2000 2000",
	     "store exit 0 2000+2000: its stores wait for the device",
	     "load exit 0 5008+ff8: shares its page with something else",
	     "store exit 0 5008+2000: its stores wait for the device",
	     "load exit 0 6000+1000: no memory slot is left",
	     "load exit 0 7000+8: shares its page with something else",
	     "load slot 0 9000+3000 9000",
	     "store exit 0 9000+3000: its stores wait for the device");
	T_EQ(r.plan->slots, 3);
	r.in.max_slots = 1;
	make(&r);
	T_EQ(r.plan->slots, 1);
	r.in.max_slots = 0;
	make(&r);
	T_EQ(r.plan->slots, 0);
	for (size_t i = 0; i < r.plan->nr; i++)
		T_EQ(r.plan->items[i].mech, RMIO_MECH_EXIT);
	rmio_plan_free(r.plan);
}
static const struct ktap_test tests[] = {
	{ "slots", slots },
	{ "the last page", last_page },
	{ "slots run out", slot_limit },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
