// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * plan_test.c - the planner of the `bpf` back end: each rule and each limit, and random maps of
 * which each byte and size is compared with what the exit path would do.
 */
#include "ktap.h"
#include "map_model.h"
#include "plan.h"

#define PAGE	((uint64_t)RMIO_PAGE)
#define IMAGE	(64 * PAGE)
#define BASE	0x10000000ull
#define HOT	100

/* -- a plan to ask for: one range, 16 pages, unless the test says more ---------------- */

struct rig {
	struct rmio_plan_in in;
	struct rmio_area areas[64];
	struct rmio_pa_range ranges[8];
	struct rmio_heat_reg heat[512];
	struct rmio_plan *plan;
};

static void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	r->in = (struct rmio_plan_in) {
		.areas = r->areas, .ranges = r->ranges, .nr_ranges = 1, .heat = r->heat,
		.image_size = IMAGE, .image_writable_by_bpf = true, .hot = HOT,
		.max_slots = 8, .max_bus_devs = 64, .max_zone_pages = 4,
	};
	r->ranges[0] = (struct rmio_pa_range) { .addr = BASE, .len = 16 * PAGE };
}

static void rig_again(struct rig *r)
{
	rmio_plan_free(r->plan);
	rig_init(r);
}

static struct rmio_area *area(struct rig *r, uint64_t offset, uint64_t length, uint8_t store)
{
	struct rmio_area *a = &r->areas[r->in.nr_areas++];

	*a = (struct rmio_area) { .offset = offset, .length = length, .store = store,
				  .shadow_offset = offset, .sizes = RMIO_SIZE_ALL };
	return a;
}

static struct rmio_area *relaxed(struct rig *r, uint64_t offset, uint64_t length)
{
	struct rmio_area *a = area(r, offset, length, RMIO_STORE_POSTED);

	a->load = RMIO_LOAD_SHADOW;
	a->flags = RMIO_AREA_RELAXED;
	return a;
}

static struct rmio_heat_reg *heat(struct rig *r, uint64_t offset, uint8_t len, uint64_t count)
{
	struct rmio_heat_reg *h = &r->heat[r->in.nr_heat++];

	*h = (struct rmio_heat_reg) { .offset = offset, .len = len, .count = count };
	return h;
}

static void show(const struct rmio_plan *plan)
{
	static const char *const mech[] = { "EXIT", "SLOT", "EVENTFD", "ZONE" };

	for (size_t i = 0; i < plan->nr && i < 100; i++) {
		const struct rmio_plan_item *it = &plan->items[i];

		ktap_diag("  %s %s range %u 0x%llx+0x%llx gpa 0x%llx shadow 0x%llx count %llu%s: %s",
			  mech[it->mech & 3], it->store ? "store" : "load", it->range_id,
			  (unsigned long long)it->offset, (unsigned long long)it->length,
			  (unsigned long long)it->gpa, (unsigned long long)it->shadow_offset,
			  (unsigned long long)it->count, it->through ? " through" : "", it->why);
	}
}

static bool make(struct rig *r)
{
	rmio_plan_free(r->plan);
	r->plan = NULL;
	return T_EQ(rmio_plan_make(&r->in, &r->plan), 0);
}

/* Makes the plan and compares it with the text: an item a line, `mech range offset length`... */
#define PLAN(r, ...) plan_is(__LINE__, r, (const char *const[]) { __VA_ARGS__, NULL })

static void item_text(const struct rmio_plan_item *it, char *text, size_t room)
{
	static const char *const mech[] = { "exit", "slot", "eventfd", "zone" };
	char tail[80] = "";

	if (it->mech == RMIO_MECH_EXIT)
		snprintf(tail, sizeof(tail), ": %s", it->why);
	else if (it->mech == RMIO_MECH_SLOT || it->through)
		snprintf(tail, sizeof(tail), " %s%llx", it->through ? "through " : "",
			 (unsigned long long)it->shadow_offset);
	snprintf(text, room, "%s %s %u %llx+%llx%s", it->store ? "store" : "load",
		 mech[it->mech & 3], it->range_id, (unsigned long long)it->offset,
		 (unsigned long long)it->length, tail);
}

static void plan_is(int line, struct rig *r, const char *const *want)
{
	char text[200];
	size_t i;

	if (!make(r))
		return;
	for (i = 0; want[i] && i < r->plan->nr; i++) {
		item_text(&r->plan->items[i], text, sizeof(text));
		if (strcmp(text, want[i]))
			break;
	}
	if (i == r->plan->nr && !want[i])
		return;
	T_FAIL("the plan of line %d differs at item %zu, expected \"%s\"", line, i,
	       want[i] ? want[i] : "(no more)");
	show(r->plan);
}

/* -- loads ----------------------------------------------------------------------------- */

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

/* -- stores: registers ------------------------------------------------------------------ */

static void own_registers(void)
{
	struct rig r;

	/* unasked, of each length; how they are cut is what the author says */
	rig_init(&r);
	area(&r, 0, 1, RMIO_STORE_POSTED);
	area(&r, 2, 2, RMIO_STORE_POSTED);
	area(&r, 4, 4, RMIO_STORE_THROUGH);
	area(&r, 8, 8, RMIO_STORE_POSTED);
	area(&r, 16, 4, RMIO_STORE_POSTED);
	area(&r, 20, 4, RMIO_STORE_POSTED);
	area(&r, 24, 16, RMIO_STORE_POSTED);
	area(&r, 41, 2, RMIO_STORE_POSTED);
	area(&r, 44, 8, RMIO_STORE_POSTED);
	area(&r, 56, 3, RMIO_STORE_POSTED);
	area(&r, 64, 4, RMIO_STORE_SYNC);
	PLAN(&r, "store eventfd 0 0+1", "store eventfd 0 2+2",
	     "store eventfd 0 4+4 through 4", "store eventfd 0 8+8",
	     "store eventfd 0 10+4", "store eventfd 0 14+4",
	     "store exit 0 18+10: none of its registers is hot",
	     "store exit 0 29+2: none of its registers is hot",
	     "store exit 0 2c+8: none of its registers is hot",
	     "store exit 0 38+3: none of its registers is hot",
	     "store exit 0 40+4: its stores wait for the device");
	T_EQ(r.plan->bus_devs, 6);
	T_EQ(r.plan->items[3].gpa, BASE + 8);
	T_EQ(r.plan->items[3].len, 8);

	/* aligned where the guest sees it */
	rig_again(&r);
	r.ranges[0].addr = BASE + 2;
	area(&r, 0, 4, RMIO_STORE_POSTED);
	area(&r, 6, 4, RMIO_STORE_POSTED);
	PLAN(&r, "store exit 0 0+4: none of its registers is hot", "store eventfd 0 6+4");
	rmio_plan_free(r.plan);
}

static void through(void)
{
	struct rig r;

	/* the distance to the image is whole pages, and the image one that BPF can write */
	rig_init(&r);
	area(&r, 0x10, 4, RMIO_STORE_THROUGH)->shadow_offset = 5 * PAGE + 0x10;
	area(&r, 0x20, 4, RMIO_STORE_THROUGH)->shadow_offset = 5 * PAGE + 0x24;
	area(&r, 0x30, 4, RMIO_STORE_THROUGH)->sizes = RMIO_SIZE_4;
	area(&r, 0x40, 4, RMIO_STORE_THROUGH)->sizes = RMIO_SIZE_1;
	PLAN(&r, "store eventfd 0 10+4 through 5010",
	     "store exit 0 20+4: written through, and its offset in the shadow is not whole pages away",
	     "store eventfd 0 30+4 through 30",
	     /* of that size it is not written through: posted */
	     "store eventfd 0 40+4");
	r.in.image_writable_by_bpf = false;
	PLAN(&r, "store exit 0 10+4: written through, and BPF cannot write this shadow",
	     "store exit 0 20+4: written through, and BPF cannot write this shadow",
	     "store exit 0 30+4: written through, and BPF cannot write this shadow",
	     "store eventfd 0 40+4");

	/* hot ones inside a larger area, at sizes that are written through and others */
	rig_again(&r);
	area(&r, 0, 0x100, RMIO_STORE_THROUGH)->sizes = RMIO_SIZE_4 | RMIO_SIZE_8;
	heat(&r, 0x10, 4, HOT);
	heat(&r, 0x20, 2, HOT);
	PLAN(&r, "store eventfd 0 10+4 through 10", "store eventfd 0 20+2");
	r.in.image_writable_by_bpf = false;
	PLAN(&r, "store exit 0 10+4: written through, and BPF cannot write this shadow",
	     "store eventfd 0 20+2");

	/* a range that begins within a page of the guest: what does not cross one of the image */
	rig_again(&r);
	r.ranges[0].addr = BASE + 2;
	area(&r, 0xff6, 0x20, RMIO_STORE_THROUGH);
	heat(&r, 0xffe, 4, HOT);
	heat(&r, 0xffa, 4, HOT);
	PLAN(&r, "store eventfd 0 ffa+4 through ffa",
	     "store exit 0 ffe+4: crosses a page of the shadow");
	rmio_plan_free(r.plan);
}

static void hot_registers(void)
{
	struct rmio_heat_reg *h;
	struct rig r;

	rig_init(&r);
	heat(&r, 0x10, 4, HOT);
	heat(&r, 0x20, 4, HOT - 1);
	/* exits and what a plan took add up */
	heat(&r, 0x30, 4, HOT / 2);
	heat(&r, 0x30, 4, HOT / 2);
	/* the others differ in length or alignment */
	heat(&r, 0x40, 2, HOT / 2);
	heat(&r, 0x40, 4, HOT / 2);
	heat(&r, 0x52, 4, HOT);
	/* what is planned is kept for longer */
	h = heat(&r, 0x60, 4, HOT / RMIO_PLAN_KEEP);
	h->planned = true;
	heat(&r, 0x70, 4, HOT / RMIO_PLAN_KEEP - 1)->planned = true;
	/* outside, partly outside, nowhere */
	heat(&r, 16 * PAGE, 4, HOT);
	heat(&r, 16 * PAGE - 2, 4, HOT);
	heat(&r, UINT64_MAX - 1, 4, HOT);
	heat(&r, 0x80, 4, HOT)->range_id = 5;
	PLAN(&r, "store eventfd 0 10+4", "store eventfd 0 30+4",
	     "store exit 0 52+4: not aligned", "store eventfd 0 60+4");
	T_EQ(r.plan->items[0].count, HOT);
	T_EQ(r.plan->items[1].count, HOT / 2 * 2);

	/* counts that add up to more than there is */
	rig_again(&r);
	heat(&r, 0x10, 4, UINT64_MAX);
	heat(&r, 0x10, 4, 2);
	heat(&r, 0x20, 4, UINT64_MAX - 1);
	r.in.max_bus_devs = 1;
	PLAN(&r, "store eventfd 0 10+4", "store exit 0 20+4: no bus device is left");

	/* across areas whose stores differ, and whose loads do */
	rig_again(&r);
	relaxed(&r, 0x100, 0x100);
	area(&r, 0x204, 0x100, RMIO_STORE_THROUGH);
	area(&r, 0x304, 0x100, RMIO_STORE_SYNC);
	heat(&r, 0xfc, 8, HOT)->offset = 0xf8;
	r.ranges[0].addr -= 4;			/* aligned are 4, 12, ... */
	heat(&r, 0xfc, 8, HOT);			/* hole and posted: alike */
	heat(&r, 0x1fc, 8, HOT);		/* posted and hole */
	heat(&r, 0x204, 8, HOT);
	heat(&r, 0x2fc, 8, HOT);
	heat(&r, 0x2fe, 8, HOT);
	heat(&r, 0x304, 8, HOT);
	heat(&r, 0x402, 2, HOT);
	heat(&r, 0x402, 4, HOT);
	PLAN(&r, "store exit 0 f8+8: not aligned", "store eventfd 0 fc+8",
	     "load exit 0 100+100: pages of guest and shadow do not line up",
	     "store eventfd 0 1fc+8", "store eventfd 0 204+8 through 204",
	     "store eventfd 0 2fc+8 through 2fc",
	     "store exit 0 2fe+8: straddles areas whose stores differ",
	     "store exit 0 304+8: its stores wait for the device",
	     "store exit 0 304+100: its stores wait for the device",
	     "store exit 0 402+2: its stores wait for the device",
	     "store exit 0 402+4: straddles areas whose stores differ");

	/* the I/O bus */
	rig_again(&r);
	r.ranges[0] = (struct rmio_pa_range) { .addr = 0x100, .len = 0x100, .bus = RMIO_BUS_IO };
	area(&r, 0, 4, RMIO_STORE_POSTED);
	for (int i = 0; i < 20; i++)
		heat(&r, 8 + 4 * i, 4, i == 0 ? HOT : HOT - 1);
	PLAN(&r, "store exit 0 0+4: on the I/O bus", "store exit 0 8+4: on the I/O bus");
	T_EQ(r.plan->bus_devs, 0);
	rmio_plan_free(r.plan);
}

static void overlapping_registers(void)
{
	struct rig r;

	/* the one with more stores; an area of its own is no better; of equals the first */
	rig_init(&r);
	area(&r, 0x10, 8, RMIO_STORE_POSTED);
	heat(&r, 0x14, 4, HOT);
	heat(&r, 0x20, 8, HOT + 1);
	heat(&r, 0x26, 1, HOT);
	heat(&r, 0x30, 4, HOT);
	heat(&r, 0x30, 8, HOT);
	PLAN(&r, "store eventfd 0 14+4", "store eventfd 0 20+8",
	     "store exit 0 26+1: overlaps a register with more stores",
	     "store exit 0 30+8: overlaps a register with more stores", "store eventfd 0 30+4");
	T_EQ(r.plan->bus_devs, 3);
	r.in.nr_heat = 0;
	heat(&r, 0x14, 4, HOT);
	heat(&r, 0x10, 8, HOT + 1);
	heat(&r, 0x40, 8, HOT);
	heat(&r, 0x47, 1, HOT + 1);
	PLAN(&r, "store eventfd 0 10+8", "store exit 0 14+4: overlaps a register with more stores",
	     "store exit 0 40+8: overlaps a register with more stores", "store eventfd 0 47+1");
	T_EQ(r.plan->items[0].count, HOT + 1);
	rmio_plan_free(r.plan);
}

static void device_limit(void)
{
	struct rig r;

	rig_init(&r);
	area(&r, 0x10, 4, RMIO_STORE_POSTED);
	area(&r, 0x100, 4, RMIO_STORE_POSTED);
	heat(&r, 0x20, 4, HOT + 5);
	heat(&r, 0x30, 4, HOT);
	heat(&r, 0x40, 4, HOT + 5);
	heat(&r, 0x100, 4, HOT + 1);
	r.in.max_bus_devs = 0;
	PLAN(&r, "store exit 0 10+4: no bus device is left", "store exit 0 20+4: no bus device is left",
	     "store exit 0 30+4: no bus device is left", "store exit 0 40+4: no bus device is left",
	     "store exit 0 100+4: no bus device is left");
	T_EQ(r.plan->items[1].count, HOT + 5);
	T_EQ(r.plan->items[4].count, HOT + 1);
	r.in.max_bus_devs = 1;
	PLAN(&r, "store exit 0 10+4: no bus device is left", "store eventfd 0 20+4",
	     "store exit 0 30+4: no bus device is left", "store exit 0 40+4: no bus device is left",
	     "store exit 0 100+4: no bus device is left");
	r.in.max_bus_devs = 3;
	PLAN(&r, "store exit 0 10+4: no bus device is left", "store eventfd 0 20+4",
	     "store exit 0 30+4: no bus device is left", "store eventfd 0 40+4",
	     "store eventfd 0 100+4");
	r.in.max_bus_devs = 5;
	make(&r);
	T_EQ(r.plan->bus_devs, 5);
	rmio_plan_free(r.plan);
}

/* -- stores: zones ------------------------------------------------------------------------ */

static void heat_row(struct rig *r, uint64_t offset, int nr)
{
	for (int i = 0; i < nr; i++)
		heat(r, offset + 4 * i, 4, HOT);
}

static void zones(void)
{
	const int min = RMIO_PLAN_ZONE_MIN;
	struct rig r;

	/* one short of enough; enough; those that are not hot do not count */
	rig_init(&r);
	heat_row(&r, 0x10, min - 1);
	heat(&r, 0x80, 4, HOT - 1);
	make(&r);
	T_EQ(r.plan->bus_devs, min - 1);
	T_EQ(r.plan->zone_pages, 0);
	heat(&r, 0x90, 4, HOT);
	PLAN(&r, "store zone 0 0+1000");
	T_EQ(r.plan->items[0].count, min * HOT + HOT - 1);
	T_EQ(r.plan->bus_devs, 1);
	T_EQ(r.plan->zone_pages, 1);

	/* in two pages: not enough in either */
	rig_again(&r);
	heat_row(&r, PAGE - 4 * (min - 1), 2 * min - 2);
	make(&r);
	T_EQ(r.plan->zone_pages, 0);
	T_EQ(r.plan->bus_devs, 2 * min - 2);
	/* in two pages of the guest, one of the range */
	r.ranges[0].addr = BASE + 0x20;
	r.in.nr_heat = 0;
	heat_row(&r, PAGE - 0x20, min);
	heat_row(&r, PAGE - 0x20 - 8, 2);
	PLAN(&r, "store eventfd 0 fd8+4", "store eventfd 0 fdc+4", "store zone 0 fe0+1000");

	/* a zone ends where stores differ, and has the registers of areas and odd ones inside */
	rig_again(&r);
	area(&r, 0, 0x100, RMIO_STORE_SYNC);
	area(&r, 0x200, 4, RMIO_STORE_POSTED);
	area(&r, 0x300, 0x100, RMIO_STORE_THROUGH);
	area(&r, 0x400, 4, RMIO_STORE_POSTED);
	heat_row(&r, 0x210, min);
	heat(&r, 0x281, 4, HOT);
	heat(&r, 0x310, 4, HOT);
	heat(&r, 0x500, 4, HOT);
	PLAN(&r, "store exit 0 0+100: its stores wait for the device", "store zone 0 100+200",
	     "store eventfd 0 310+4 through 310", "store eventfd 0 400+4", "store eventfd 0 500+4");
	/* not enough on either side of what differs */
	r.in.nr_heat = 0;
	heat_row(&r, 0x210, min - 1);
	heat_row(&r, 0x410, min - 1);
	make(&r);
	T_EQ(r.plan->zone_pages, 0);
	/* enough on both: one zone in a page, the one with more stores */
	heat(&r, 0x280, 4, HOT);
	heat(&r, 0x480, 4, HOT + 1);
	make(&r);
	T_EQ(r.plan->zone_pages, 1);
	T_EQ(r.plan->items[r.plan->nr - 1].mech, RMIO_MECH_ZONE);
	T_EQ(r.plan->items[r.plan->nr - 1].offset, 0x400);
	T_EQ(r.plan->items[r.plan->nr - 1].length, 0xc00);
	T_EQ(r.plan->bus_devs, 1 + 1 + min);

	/* two ranges in a page of the guest: one zone too */
	rig_again(&r);
	r.ranges[0] = (struct rmio_pa_range) { .addr = BASE + 0x800, .len = 0x100, .id = 0 };
	r.ranges[1] = (struct rmio_pa_range) { .addr = BASE, .len = 0x100, .id = 1 };
	r.in.nr_ranges = 2;
	heat_row(&r, 0, min);
	heat_row(&r, 0, min);
	for (int i = 0; i < min; i++)
		r.heat[i].range_id = 1;
	heat(&r, 0, 4, 1)->range_id = 1;
	make(&r);
	T_EQ(r.plan->zone_pages, 1);
	T_EQ(r.plan->items[r.plan->nr - 1].mech, RMIO_MECH_ZONE);
	T_EQ(r.plan->items[r.plan->nr - 1].range_id, 1);
	T_EQ(r.plan->items[r.plan->nr - 1].length, 0x100);
	T_EQ(r.plan->bus_devs, 1 + min);
	/* and with another range in between, by id */
	r.ranges[2] = (struct rmio_pa_range) { .addr = BASE + PAGE, .len = PAGE, .id = 1 };
	r.ranges[1].id = 2;
	r.in.nr_ranges = 3;
	for (int i = 0; i < min; i++)
		r.heat[i].range_id = 2;
	heat_row(&r, 0, min);
	for (int i = 1; i <= min; i++)
		r.heat[r.in.nr_heat - i].range_id = 1;
	make(&r);
	T_EQ(r.plan->zone_pages, 2);
	T_EQ(r.plan->bus_devs, 2 + min);
	rmio_plan_free(r.plan);
}

static void zones_through(void)
{
	const int min = RMIO_PLAN_ZONE_MIN;
	struct rig r;

	rig_init(&r);
	area(&r, 0x100, PAGE, RMIO_STORE_THROUGH)->shadow_offset = 3 * PAGE + 0x100;
	heat_row(&r, 0x200, min);
	PLAN(&r, "store zone 0 100+f00 through 3100");
	/* it would take sizes that are not written through */
	r.areas[0].sizes = RMIO_SIZE_4;
	make(&r);
	T_EQ(r.plan->zone_pages, 0);
	T_EQ(r.plan->bus_devs, min);
	r.areas[0].sizes = RMIO_SIZE_ALL;
	r.in.image_writable_by_bpf = false;
	make(&r);
	T_EQ(r.plan->bus_devs, 0);
	r.in.image_writable_by_bpf = true;
	/* what is in one page of the guest would cross a page of the image */
	r.ranges[0].addr = BASE + 0x100;
	make(&r);
	T_EQ(r.plan->zone_pages, 0);
	T_EQ(r.plan->bus_devs, min);
	/* lines up, but not by offset: neither */
	r.areas[0].shadow_offset = 3 * PAGE + 0x200;
	make(&r);
	T_EQ(r.plan->bus_devs, 0);
	rmio_plan_free(r.plan);
}

static void zone_limits(void)
{
	const int min = RMIO_PLAN_ZONE_MIN;
	struct rig r;

	/* where most stores are; elsewhere registers, as long as there are devices */
	rig_init(&r);
	heat_row(&r, 0, min);
	heat_row(&r, PAGE, min + 1);
	heat_row(&r, 2 * PAGE, min);
	r.in.max_zone_pages = 2;
	make(&r);
	T_EQ(r.plan->zone_pages, 2);
	T_EQ(r.plan->bus_devs, 2 + min);
	T_EQ(r.plan->items[0].mech, RMIO_MECH_ZONE);
	T_EQ(r.plan->items[1].mech, RMIO_MECH_ZONE);
	T_EQ(r.plan->items[2].mech, RMIO_MECH_EVENTFD);
	r.in.max_zone_pages = 0;
	make(&r);
	T_EQ(r.plan->zone_pages, 0);
	T_EQ(r.plan->bus_devs, 3 * min + 1);
	r.in.max_zone_pages = 4;
	r.in.max_bus_devs = 1;
	make(&r);
	T_EQ(r.plan->bus_devs, 1);
	T_EQ(r.plan->zone_pages, 1);
	T_EQ(r.plan->items[min].mech, RMIO_MECH_ZONE);
	T_EQ(r.plan->items[min].offset, PAGE);
	T_STREQ(r.plan->items[0].why, "no bus device is left");
	rmio_plan_free(r.plan);
}

/* A zone hides its registers from those who count exits: it says itself how hot it is. */
static void zone_kept(void)
{
	struct rig r;

	rig_init(&r);
	area(&r, 0x800, 0x100, RMIO_STORE_SYNC);
	heat(&r, 0x100, 0, HOT / RMIO_PLAN_KEEP);
	PLAN(&r, "store zone 0 0+800", "store exit 0 800+100: its stores wait for the device");
	heat(&r, 0x104, 4, 2 * HOT);
	PLAN(&r, "store zone 0 0+800", "store exit 0 800+100: its stores wait for the device");
	T_EQ(r.plan->items[0].count, HOT / RMIO_PLAN_KEEP + 2 * HOT);
	r.heat[0].count--;
	PLAN(&r, "store eventfd 0 104+4", "store exit 0 800+100: its stores wait for the device");
	/* the map has changed under it */
	r.in.nr_heat = 0;
	heat(&r, 0x810, 0, HOT);
	heat(&r, 0x810, 0, HOT)->range_id = 7;
	PLAN(&r, "store exit 0 800+100: its stores wait for the device");
	rmio_plan_free(r.plan);
}

/* -- bad input ------------------------------------------------------------------------------ */

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

/* -- what changes ----------------------------------------------------------------------------- */

struct changes {
	struct rmio_plan_item items[4096];	/* the old plan's, changed as told */
	size_t nr;
	size_t removed, added;
	int fail_at;
};

static bool item_eq(const struct rmio_plan_item *a, const struct rmio_plan_item *b)
{
	return a->range_id == b->range_id && a->offset == b->offset && a->length == b->length &&
	       a->gpa == b->gpa && a->shadow_offset == b->shadow_offset && a->mech == b->mech &&
	       a->len == b->len && a->store == b->store && a->through == b->through;
}

static size_t find_item(const struct changes *c, const struct rmio_plan_item *item)
{
	size_t i = 0;

	while (i < c->nr && !item_eq(&c->items[i], item))
		i++;
	return i;
}

static int change(void *arg, const struct rmio_plan_item *item, bool add)
{
	struct changes *c = arg;
	size_t at = find_item(c, item);

	if (c->fail_at && c->removed + c->added + 1 == (size_t)c->fail_at) {
		c->fail_at = 0;
		return -ENOSPC;
	}
	T_NE(item->mech, RMIO_MECH_EXIT);
	if (add) {
		T_EQ(at, c->nr);
		c->items[c->nr++] = *item;
		c->added++;
	} else {
		T_OK(at < c->nr);
		T_EQ(c->added, 0);
		c->items[at] = c->items[--c->nr];
		c->removed++;
	}
	return 0;
}

static void load_changes(struct changes *c, const struct rmio_plan *plan)
{
	c->nr = c->removed = c->added = 0;
	c->fail_at = 0;
	for (size_t i = 0; plan && i < plan->nr; i++)
		if (plan->items[i].mech != RMIO_MECH_EXIT)
			c->items[c->nr++] = plan->items[i];
}

/* The old plan, with what diff says, is the new one; and diff says nothing of what is in both. */
static bool diff_is_right(const struct rmio_plan *old, const struct rmio_plan *new)
{
	static struct changes c, want;
	size_t both = 0, before;
	bool ok;

	load_changes(&want, new);
	load_changes(&c, old);
	before = c.nr;
	for (size_t i = 0; i < want.nr; i++)
		both += find_item(&c, &want.items[i]) < c.nr;
	ok = T_EQ(rmio_plan_diff(old, new, change, &c), 0) && T_EQ(c.nr, want.nr) &&
	     T_EQ(c.removed, before - both) && T_EQ(c.added, want.nr - both);
	for (size_t i = 0; ok && i < want.nr; i++)
		ok = T_OK(find_item(&c, &want.items[i]) < c.nr);
	return ok;
}

static struct rmio_plan *take(struct rig *r)
{
	struct rmio_plan *plan;

	make(r);
	plan = r->plan;
	r->plan = NULL;
	return plan;
}

static void diff(void)
{
	static struct changes c;
	struct rmio_plan *a, *b;
	struct rig r;

	rig_init(&r);
	relaxed(&r, PAGE, PAGE);
	area(&r, 0x10, 4, RMIO_STORE_THROUGH);
	area(&r, 0x20, 4, RMIO_STORE_POSTED);
	heat(&r, 0x30, 4, HOT);
	a = take(&r);
	T_OK(diff_is_right(NULL, a));
	T_OK(diff_is_right(a, NULL));
	T_OK(diff_is_right(NULL, NULL));

	/* counts alone change nothing */
	heat(&r, 0x20, 4, 5 * HOT);
	r.heat[0].count *= 2;
	b = take(&r);
	load_changes(&c, a);
	T_EQ(rmio_plan_diff(a, b, change, &c), 0);
	T_EQ(c.removed + c.added, 0);
	rmio_plan_free(b);

	/* each thing that does */
	r.ranges[0].addr += PAGE;
	b = take(&r);
	load_changes(&c, a);
	T_OK(diff_is_right(a, b));
	T_EQ(rmio_plan_diff(a, b, change, &c), 0);
	T_EQ(c.removed, 4);
	T_EQ(c.added, 4);
	/* the first refusal ends it */
	load_changes(&c, a);
	c.fail_at = 2;
	T_EQ(rmio_plan_diff(a, b, change, &c), -ENOSPC);
	T_EQ(c.removed, 1);
	T_EQ(c.added, 0);
	load_changes(&c, a);
	c.fail_at = 6;
	T_EQ(rmio_plan_diff(a, b, change, &c), -ENOSPC);
	T_EQ(c.removed, 4);
	T_EQ(c.added, 1);
	rmio_plan_free(b);

	r.ranges[0].addr -= PAGE;
	r.areas[0].shadow_offset += PAGE;
	r.areas[1].sizes = RMIO_SIZE_1;		/* no longer written through */
	r.in.nr_heat = 0;
	b = take(&r);
	load_changes(&c, a);
	T_OK(diff_is_right(a, b));
	T_EQ(rmio_plan_diff(a, b, change, &c), 0);
	T_EQ(c.removed, 3);
	T_EQ(c.added, 2);
	rmio_plan_free(b);
	rmio_plan_free(a);

	/* written through to the first byte of the image, or not: nothing else tells them apart */
	rig_init(&r);
	area(&r, 0, 4, RMIO_STORE_THROUGH);
	a = take(&r);
	r.areas[0].sizes = RMIO_SIZE_1;
	b = take(&r);
	load_changes(&c, a);
	T_EQ(rmio_plan_diff(a, b, change, &c), 0);
	T_EQ(c.removed, 1);
	T_EQ(c.added, 1);
	rmio_plan_free(b);
	rmio_plan_free(a);
}

/* -- random maps, byte by byte ---------------------------------------------------------- */

#define SPAN	(3 * PAGE)

/* Mostly where things meet: the ends of pages and of areas. */
static void random_rig(struct rig *r)
{
	uint32_t nr_ranges = 1 + (uint32_t)model_below(3);
	uint64_t addr = BASE;

	rig_init(r);
	r->in.nr_ranges = nr_ranges;
	for (uint32_t i = 0; i < nr_ranges; i++) {
		static const uint64_t skew[] = { 0, 0, 0, 0, 2, 8, 0x100, 0x7f8 };

		addr += skew[model_below(KTAP_COUNT(skew))];
		r->ranges[i] = (struct rmio_pa_range) {
			.addr = addr, .id = 2 * i + 1, .len = model_below(4) ? SPAN : 0x200,
			.bus = model_below(8) ? RMIO_BUS_MEM : RMIO_BUS_IO,
		};
		addr += r->ranges[i].len + model_below(2) * 0x100;
		if (model_below(2))
			addr = (addr + PAGE - 1) & -PAGE;
	}
	for (uint32_t i = 0; i < nr_ranges; i++) {
		uint64_t at = 0, delta = model_below(20) * PAGE;

		while (at < r->ranges[i].len && r->in.nr_areas < 20) {
			static const uint64_t lens[] = { 1, 2, 4, 4, 8, 8, 12, 0x30, 0x100, 0x7f8,
							 0x800, PAGE, PAGE + 8, 2 * PAGE };
			uint64_t len = lens[model_below(KTAP_COUNT(lens))];
			uint64_t room = r->ranges[i].len - at;
			struct rmio_area *a;

			/* to the end of a page of the guest */
			if (!model_below(4))
				len = PAGE - ((r->ranges[i].addr + at) & (PAGE - 1));
			len = len < room ? len : room;
			if (!model_below(4)) {
				at += model_below(2) ? len : 4;
				continue;
			}
			a = area(r, at, len, (uint8_t)model_below(3));
			a->range_id = r->ranges[i].id;
			a->load = model_below(4) ? RMIO_LOAD_SHADOW : RMIO_LOAD_DEVICE;
			a->flags = model_below(5) ? RMIO_AREA_RELAXED : 0;
			a->sizes = model_below(5) ? RMIO_SIZE_ALL : (uint8_t)(1 + model_below(15));
			if (!model_below(6))
				delta = model_below(20) * PAGE;
			a->shadow_offset = at + delta;
			if (!model_below(6))
				a->shadow_offset += 8;
			/* where guest and image line up though range and guest do not */
			if (!model_below(3))
				a->shadow_offset += r->ranges[i].addr & (PAGE - 1);
			at += len;
		}
	}
	r->in.nr_heat = model_below(60);
	for (size_t i = 0; i < r->in.nr_heat; i++) {
		struct rmio_pa_range *range = &r->ranges[model_below(nr_ranges)];
		uint64_t near = r->in.nr_areas && model_below(2) ?
			r->areas[model_below(r->in.nr_areas)].offset : model_below(4) * PAGE;

		r->heat[i] = (struct rmio_heat_reg) {
			.range_id = range->id, .len = (uint8_t)(1 << model_below(4)),
			.count = model_below(3) ? HOT + model_below(20) : model_below(HOT),
			.offset = near + model_below(48) - 12, .planned = !model_below(4),
		};
		if (model_below(8))
			r->heat[i].offset &= -(uint64_t)r->heat[i].len;
		if (!model_below(30))
			r->heat[i].len = 0;
	}
	r->in.image_writable_by_bpf = model_below(5);
	if (!model_below(3)) {
		r->in.max_slots = (uint32_t)model_below(4);
		r->in.max_bus_devs = (uint32_t)model_below(12);
		r->in.max_zone_pages = (uint32_t)model_below(3);
	}
}

static const struct rmio_pa_range *range_of(const struct rig *r, uint32_t id)
{
	for (size_t i = 0; i < r->in.nr_ranges; i++)
		if (r->ranges[i].id == id)
			return &r->ranges[i];
	return NULL;
}

/* Every load of every size in the item: what the exit path would answer, from that place. */
static bool loads_right(const struct rig *r, const struct rmio_plan_item *it)
{
	for (uint64_t o = 0; o < it->length; o++) {
		for (uint32_t len = 1; len <= 8; len *= 2) {
			struct rmio_decision d;

			/* the ends of pages, and a little of the rest: it is slow */
			if ((o & (PAGE - 1)) + len > PAGE ||
			    ((o & (PAGE - 1)) > 16 && (o & (PAGE - 1)) < PAGE - 16 && o % 61))
				continue;
			d = model_decide(r->areas, r->in.nr_areas, it->range_id, it->offset + o,
					 len, false);
			if (!T_EQ(d.verdict, RMIO_FROM_SHADOW) || !T_OK(d.relaxed) ||
			    !T_EQ(d.shadow_offset, it->shadow_offset + o))
				return false;
		}
	}
	return true;
}

static bool bytes_alike(const struct rig *r, const struct rmio_plan_item *it)
{
	struct model_byte b = model_at(r->areas, r->in.nr_areas, it->range_id, it->offset);

	for (uint64_t o = 0; o < it->length; o++) {
		struct model_byte c = model_at(r->areas, r->in.nr_areas, it->range_id,
					       it->offset + o);

		if (!T_NE(c.store, RMIO_STORE_SYNC) || !T_EQ(c.store, b.store) ||
		    (it->through && !T_EQ(c.place, it->shadow_offset + o)))
			return false;
	}
	return true;
}

/* Every store that the item takes: what the exit path would do with it. */
static bool stores_right(const struct rig *r, const struct rmio_plan_item *it)
{
	bool eventfd = it->mech == RMIO_MECH_EVENTFD;

	for (uint64_t o = 0; o < (eventfd ? 1 : it->length); o++) {
		for (uint32_t len = 1; len <= 8; len *= 2) {
			struct rmio_decision d;

			if (eventfd ? len != it->len : o + len > it->length)
				continue;
			d = model_decide(r->areas, r->in.nr_areas, it->range_id, it->offset + o,
					 len, true);
			if (!T_EQ(d.verdict, it->through ? RMIO_POST_THROUGH : RMIO_TO_DEVICE))
				return false;
			if (!it->through)
				continue;
			if (!T_OK(r->in.image_writable_by_bpf) ||
			    !T_EQ(d.shadow_offset, it->shadow_offset + o) ||
			    !T_EQ((it->shadow_offset - it->offset) % PAGE, 0) ||
			    !T_LE(d.shadow_offset % PAGE + len, PAGE))
				return false;
		}
	}
	return true;
}

static bool item_right(const struct rig *r, const struct rmio_plan_item *it)
{
	const struct rmio_pa_range *range = range_of(r, it->range_id);

	if (!T_OK(range && it->why && it->why[0] && it->length && it->offset < range->len &&
		  it->length <= range->len - it->offset && it->gpa == range->addr + it->offset))
		return false;
	if (it->mech == RMIO_MECH_EXIT)
		return T_EQ(it->len, 0) && T_OK(!it->through) && T_EQ(it->shadow_offset, 0);
	if (!T_EQ(range->bus, RMIO_BUS_MEM))
		return false;
	switch (it->mech) {
	case RMIO_MECH_SLOT:
		return T_OK(!it->store && !it->through && !it->len) &&
		       T_EQ((it->gpa | it->length | it->shadow_offset) % PAGE, 0) &&
		       loads_right(r, it);
	case RMIO_MECH_EVENTFD:
		return T_OK(it->store && it->len == it->length) &&
		       T_OK(it->len == 1 || it->len == 2 || it->len == 4 || it->len == 8) &&
		       T_EQ(it->gpa % it->len, 0) && bytes_alike(r, it) && stores_right(r, it);
	case RMIO_MECH_ZONE:
		return T_OK(it->store && !it->len) &&
		       T_EQ(it->gpa / PAGE, (it->gpa + it->length - 1) / PAGE) &&
		       bytes_alike(r, it) && stores_right(r, it);
	default:
		return T_OK(false);
	}
}

static bool meet(const struct rmio_plan_item *a, const struct rmio_plan_item *b)
{
	return a->gpa < b->gpa + b->length && b->gpa < a->gpa + a->length;
}

/* Order, overlaps, limits. */
static bool plan_sound(const struct rig *r, const struct rmio_plan *p)
{
	uint32_t used[4] = { 0 };
	bool ok = true;

	for (size_t i = 0; ok && i < p->nr; i++) {
		const struct rmio_plan_item *a = &p->items[i];

		ok = item_right(r, a);
		used[a->mech & 3]++;
		if (ok && i)
			ok = T_OK(a[-1].range_id < a->range_id ||
				  (a[-1].range_id == a->range_id && a[-1].offset <= a->offset));
		for (size_t j = 0; ok && a->mech != RMIO_MECH_EXIT && j < i; j++) {
			const struct rmio_plan_item *b = &p->items[j];

			if (b->mech == RMIO_MECH_EXIT || b->store != a->store)
				continue;
			ok = T_OK(!meet(a, b));
			if (a->mech == RMIO_MECH_ZONE && b->mech == RMIO_MECH_ZONE)
				ok = ok && T_NE(a->gpa / PAGE, b->gpa / PAGE);
		}
	}
	return ok && T_EQ(p->slots, used[RMIO_MECH_SLOT]) &&
	       T_EQ(p->zone_pages, used[RMIO_MECH_ZONE]) &&
	       T_EQ(p->bus_devs, used[RMIO_MECH_EVENTFD] + used[RMIO_MECH_ZONE]) &&
	       T_LE(p->slots, r->in.max_slots) && T_LE(p->bus_devs, r->in.max_bus_devs) &&
	       T_LE(p->zone_pages, r->in.max_zone_pages);
}

/* The first item of that kind and mechanism (or of any but EXIT) that has all those bytes. */
static const struct rmio_plan_item *taken_by(const struct rmio_plan *p, uint32_t range_id,
					     uint64_t offset, uint64_t len, bool store)
{
	for (size_t i = 0; i < p->nr; i++) {
		const struct rmio_plan_item *it = &p->items[i];

		if (it->mech == RMIO_MECH_EXIT || it->store != store || it->range_id != range_id ||
		    offset < it->offset || offset - it->offset >= it->length ||
		    len > it->length - (offset - it->offset))
			continue;
		if (it->mech != RMIO_MECH_EVENTFD || (it->offset == offset && it->len == len))
			return it;
	}
	return NULL;
}

static const struct rmio_plan_item *exit_of(const struct rmio_plan *p, uint32_t range_id,
					    uint64_t offset, uint64_t len)
{
	for (size_t i = 0; i < p->nr; i++)
		if (p->items[i].mech == RMIO_MECH_EXIT && p->items[i].store &&
		    p->items[i].range_id == range_id && p->items[i].offset == offset &&
		    p->items[i].length == len)
			return &p->items[i];
	return NULL;
}

/* A page of which every load could be answered from one place. */
static bool page_fits(const struct rig *r, const struct rmio_pa_range *range, uint64_t offset)
{
	struct model_byte first = model_at(r->areas, r->in.nr_areas, range->id, offset);

	if (!first.covered || first.load != RMIO_LOAD_SHADOW || !first.relaxed ||
	    first.sizes != RMIO_SIZE_ALL || first.place % PAGE)
		return false;
	for (uint64_t o = 1; o < PAGE; o++) {
		struct model_byte b = model_at(r->areas, r->in.nr_areas, range->id, offset + o);

		if (!b.covered || b.load != first.load || b.store != first.store || !b.relaxed ||
		    b.sizes != first.sizes || b.place != first.place + o)
			return false;
	}
	return true;
}

/* Nothing that could be taken is left out but for a limit. */
static bool slots_complete(const struct rig *r, const struct rmio_plan *p)
{
	bool ok = true;

	for (size_t i = 0; ok && i < r->in.nr_ranges; i++) {
		const struct rmio_pa_range *range = &r->ranges[i];
		uint64_t o = -range->addr & (PAGE - 1);

		for (; ok && range->bus == RMIO_BUS_MEM && o + PAGE <= range->len; o += PAGE) {
			const struct rmio_plan_item *it = taken_by(p, range->id, o, PAGE, false);

			if (page_fits(r, range, o))
				ok = T_OK(it || p->slots == r->in.max_slots);
			else
				ok = T_OK(!it);
		}
	}
	/* each byte of an area with loads from the shadow is in one load item */
	for (size_t i = 0; ok && i < r->in.nr_areas; i++) {
		const struct rmio_area *a = &r->areas[i];
		uint64_t listed = 0;

		for (size_t j = 0; j < p->nr; j++) {
			const struct rmio_plan_item *it = &p->items[j];
			uint64_t end = it->offset + it->length;

			if (it->store || it->range_id != a->range_id)
				continue;
			end = end < a->offset + a->length ? end : a->offset + a->length;
			if (end > a->offset && it->offset < end)
				listed += end - (it->offset > a->offset ? it->offset : a->offset);
		}
		ok = T_EQ(listed, a->load == RMIO_LOAD_SHADOW ? a->length : 0);
	}
	return ok;
}

static bool wants(const struct rig *r, uint32_t id, uint64_t offset, uint64_t len,
		  uint64_t *count)
{
	bool planned = false;

	*count = 0;
	for (size_t i = 0; i < r->in.nr_heat; i++) {
		const struct rmio_heat_reg *h = &r->heat[i];

		if (h->range_id != id || h->offset != offset || h->len != len)
			continue;
		*count += h->count;
		planned |= h->planned;
	}
	return *count >= (planned ? HOT / RMIO_PLAN_KEEP : HOT);
}

/* Could a single EVENTFD take it? */
static bool eventfd_fits(const struct rig *r, const struct rmio_pa_range *range, uint64_t offset,
			 uint64_t len)
{
	struct model_byte b[8];
	struct rmio_decision d;

	if (range->bus != RMIO_BUS_MEM || (range->addr + offset) % len)
		return false;
	for (uint64_t o = 0; o < len; o++) {
		b[o] = model_at(r->areas, r->in.nr_areas, range->id, offset + o);
		if (b[o].store != b[0].store)
			return false;
	}
	if (b[0].store == RMIO_STORE_THROUGH && !model_uniform(b, (uint32_t)len))
		return false;
	d = model_decide(r->areas, r->in.nr_areas, range->id, offset, (uint32_t)len, true);
	if (d.verdict == RMIO_WAIT_STORE)
		return false;
	if (d.verdict == RMIO_TO_DEVICE)
		return true;
	return r->in.image_writable_by_bpf && (d.shadow_offset - offset) % PAGE == 0 &&
	       d.shadow_offset % PAGE + len <= PAGE;
}

static bool overlaps_hotter(const struct rmio_plan *p, const struct rmio_pa_range *range,
			    uint64_t offset, uint64_t len, uint64_t count)
{
	struct rmio_plan_item me = { .gpa = range->addr + offset, .length = len };

	for (size_t i = 0; i < p->nr; i++)
		if (p->items[i].mech >= RMIO_MECH_EVENTFD && meet(&p->items[i], &me) &&
		    p->items[i].count >= count)
			return true;
	return false;
}

/* Is it an area of one register? */
static bool is_own(const struct rig *r, uint32_t id, uint64_t offset, uint64_t len)
{
	for (size_t i = 0; i < r->in.nr_areas; i++) {
		const struct rmio_area *a = &r->areas[i];

		if (a->range_id == id && a->offset == offset && a->length == len)
			return (len == 1 || len == 2 || len == 4 || len == 8) &&
			       a->store != RMIO_STORE_SYNC &&
			       (range_of(r, id)->addr + offset) % len == 0;
	}
	return false;
}

static bool register_right(const struct rig *r, const struct rmio_plan *p, uint32_t id,
			   uint64_t offset, uint64_t len)
{
	const struct rmio_pa_range *range = range_of(r, id);
	const struct rmio_plan_item *it = taken_by(p, id, offset, len, true);
	uint64_t count, least = UINT64_MAX;
	bool hot = wants(r, id, offset, len, &count), own = is_own(r, id, offset, len);

	if (it)
		return T_OK(hot || own || it->mech == RMIO_MECH_ZONE) && T_GE(it->count, count);
	if (offset >= range->len || len > range->len - offset)
		return true;
	if (!hot && !own)
		return true;
	/* refused: it must be listed with its reason, an area that others share in excepted */
	it = exit_of(p, id, offset, len);
	if (hot && !T_OK(it))
		return false;
	if (!eventfd_fits(r, range, offset, len) || overlaps_hotter(p, range, offset, len, count))
		return true;
	for (size_t i = 0; i < p->nr; i++)
		if (p->items[i].mech >= RMIO_MECH_EVENTFD && p->items[i].count < least)
			least = p->items[i].count;
	if (T_EQ(p->bus_devs, r->in.max_bus_devs) && T_OK(!p->bus_devs || count <= least) &&
	    (!it || T_STREQ(it->why, "no bus device is left")))
		return true;
	ktap_diag("register 0x%llx+%llu of range %u", (unsigned long long)offset,
		  (unsigned long long)len, id);
	return false;
}

static bool stores_complete(const struct rig *r, const struct rmio_plan *p)
{
	bool ok = true;

	for (size_t i = 0; ok && i < r->in.nr_heat; i++)
		if (r->heat[i].len)
			ok = register_right(r, p, r->heat[i].range_id, r->heat[i].offset,
					    r->heat[i].len);
	for (size_t i = 0; ok && i < r->in.nr_areas; i++) {
		const struct rmio_area *a = &r->areas[i];
		bool any = false;

		if (is_own(r, a->range_id, a->offset, a->length))
			ok = register_right(r, p, a->range_id, a->offset, a->length);
		/* something takes stores to it, or there is a reason why not: one of the two */
		for (size_t j = 0; j < p->nr; j++)
			any |= p->items[j].mech >= RMIO_MECH_EVENTFD &&
			       p->items[j].range_id == a->range_id &&
			       p->items[j].offset < a->offset + a->length &&
			       a->offset < p->items[j].offset + p->items[j].length;
		if (!any)
			ok = ok && T_OK(exit_of(p, a->range_id, a->offset, a->length));
	}
	return ok;
}

/* Enough hot registers of one run in a page, and neither a zone nor a limit nor a zone beside. */
static bool zones_complete(const struct rig *r, const struct rmio_plan *p)
{
	for (size_t i = 0; i < p->nr; i++) {
		const struct rmio_plan_item *a = &p->items[i];
		bool zone_in_page = false;
		uint32_t n = 0;

		if (a->mech != RMIO_MECH_EVENTFD || a->through)
			continue;
		for (size_t j = 0; j < p->nr; j++) {
			const struct rmio_plan_item *b = &p->items[j];
			struct rmio_plan_item all = *a;
			uint64_t count;

			if (b->mech == RMIO_MECH_ZONE)
				zone_in_page |= b->gpa / PAGE == a->gpa / PAGE;
			if (b->mech != RMIO_MECH_EVENTFD || b->range_id != a->range_id ||
			    b->gpa / PAGE != a->gpa / PAGE || b->offset < a->offset || b->through ||
			    !wants(r, b->range_id, b->offset, b->len, &count))
				continue;
			all.length = b->offset + b->length - a->offset;
			for (uint64_t o = 0; o < all.length; o++)
				if (model_at(r->areas, r->in.nr_areas, a->range_id,
					     a->offset + o).store != RMIO_STORE_POSTED)
					all.length = 0;
			n += all.length > 0;
		}
		if (n >= RMIO_PLAN_ZONE_MIN && !zone_in_page &&
		    !T_EQ(p->zone_pages, r->in.max_zone_pages))
			return false;
	}
	return true;
}

static void shuffle_heat(struct rig *r)
{
	for (size_t i = r->in.nr_heat; i > 1; i--) {
		size_t j = model_below(i);
		struct rmio_heat_reg t = r->heat[i - 1];

		r->heat[i - 1] = r->heat[j];
		r->heat[j] = t;
	}
}

static bool plans_same(const struct rmio_plan *a, const struct rmio_plan *b)
{
	if (!T_EQ(a->nr, b->nr))
		return false;
	for (size_t i = 0; i < a->nr; i++)
		if (!T_OK(item_eq(&a->items[i], &b->items[i])) ||
		    !T_EQ(a->items[i].count, b->items[i].count) ||
		    !T_STREQ(a->items[i].why, b->items[i].why))
			return false;
	return true;
}

static void random_maps(void)
{
	long rounds = ktap_pick(1500, 6000, 100000) / KTAP_SLOWDOWN;
	struct rmio_plan *before = NULL, *shuffled = NULL;
	long seen[4] = { 0 }, seen_through[4] = { 0 }, starved = 0;
	bool ok = true;
	struct rig r;

	model_seed = 0x706c616e;
	for (long round = 0; ok && round < rounds; round++) {
		struct rmio_plan *p;

		random_rig(&r);
		p = take(&r);
		if (!p)
			break;
		ok = plan_sound(&r, p) && slots_complete(&r, p) && stores_complete(&r, p) &&
		     zones_complete(&r, p) && diff_is_right(before, p);
		for (size_t i = 0; i < p->nr; i++) {
			seen[p->items[i].mech]++;
			seen_through[p->items[i].mech] += p->items[i].through;
			starved += !strcmp(p->items[i].why, "no bus device is left");
		}
		/* the order of what comes in does not matter */
		model_shuffle(r.areas, r.in.nr_areas);
		shuffle_heat(&r);
		shuffled = take(&r);
		ok = ok && shuffled && plans_same(p, shuffled);
		rmio_plan_free(shuffled);
		rmio_plan_free(before);
		before = p;
		if (ok)
			continue;
		ktap_diag("round %ld: slots %u devices %u pages %u writable %d", round,
			  r.in.max_slots, r.in.max_bus_devs, r.in.max_zone_pages,
			  r.in.image_writable_by_bpf);
		for (size_t i = 0; i < r.in.nr_ranges; i++)
			ktap_diag("range %u at 0x%llx+0x%llx bus %u", r.ranges[i].id,
				  (unsigned long long)r.ranges[i].addr,
				  (unsigned long long)r.ranges[i].len, r.ranges[i].bus);
		for (size_t i = 0; i < r.in.nr_areas; i++)
			ktap_diag("area %u 0x%llx+0x%llx shadow 0x%llx sizes %x load %u store %u flags %x",
				  r.areas[i].range_id, (unsigned long long)r.areas[i].offset,
				  (unsigned long long)r.areas[i].length,
				  (unsigned long long)r.areas[i].shadow_offset, r.areas[i].sizes,
				  r.areas[i].load, r.areas[i].store, r.areas[i].flags);
		for (size_t i = 0; i < r.in.nr_heat; i++)
			ktap_diag("heat %u 0x%llx+%u count %llu planned %d", r.heat[i].range_id,
				  (unsigned long long)r.heat[i].offset, r.heat[i].len,
				  (unsigned long long)r.heat[i].count, r.heat[i].planned);
		show(p);
	}
	rmio_plan_free(before);
	ktap_diag("exit %ld slot %ld eventfd %ld (through %ld) zone %ld (through %ld), starved %ld",
		  seen[0], seen[1], seen[2], seen_through[2], seen[3], seen_through[3], starved);
	/* a generator that makes none tries nothing */
	for (int i = 0; i < 4; i++)
		T_GE(seen[i], rounds / 10);
	T_GE(seen_through[RMIO_MECH_EVENTFD], rounds / 10);
	T_GE(seen_through[RMIO_MECH_ZONE], rounds / 300);
	T_GE(starved, rounds / 10);
}

static const struct ktap_test tests[] = {
	{ "slots", slots },
	{ "the last page", last_page },
	{ "slots run out", slot_limit },
	{ "areas of one register", own_registers },
	{ "written through", through },
	{ "hot registers", hot_registers },
	{ "registers that overlap", overlapping_registers },
	{ "bus devices run out", device_limit },
	{ "zones", zones },
	{ "zones written through", zones_through },
	{ "zone pages run out", zone_limits },
	{ "a zone is kept", zone_kept },
	{ "refused", refused },
	{ "the largest plan", largest },
	{ "diff", diff },
	{ "random maps", random_maps },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
