// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * plan_store_test.c - the planner of the `bpf` back end: each rule of ioeventfds and coalesced
 * zones, and what becomes of registers when limits are reached.
 */
#include "plan_rig.h"

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
static const struct ktap_test tests[] = {
	{ "areas of one register", own_registers },
	{ "written through", through },
	{ "hot registers", hot_registers },
	{ "registers that overlap", overlapping_registers },
	{ "bus devices run out", device_limit },
	{ "zones", zones },
	{ "zones written through", zones_through },
	{ "zone pages run out", zone_limits },
	{ "a zone is kept", zone_kept },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
