/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The planner of the `bpf` back end: which accesses of a device KVM is to take without
 * leaving the kernel, and by what.  Beside the data path: run when the access map, a
 * range or what is hot has changed.  It only calculates: no KVM, no lock, no state.
 *
 *   SLOT     loads: a read-only memory slot over the shadow image, whole pages of guest
 *            and image.  Relaxed areas that allow all sizes.  Pages that go on in the
 *            image are one slot, over areas that differ in how stores behave too.
 *   EVENTFD  stores of one length to one address.
 *   ZONE     stores of every length within one page, where many registers are hot.
 *   EXIT     the rest; listed with the reason, for display.
 *
 * Stores behave the same over a run of bytes: where they are posted (in areas and where
 * no area is, whatever loads do there), or in one area that is written through.  A
 * mechanism lies within one run, so that none straddles what differs.  EVENTFDs and
 * ZONEs never overlap each other: KVM's look-up finds only some of overlapping devices,
 * depending on the order in which they came.
 *
 * What gets a mechanism: an area of exactly 1, 2, 4 or 8 bytes, naturally aligned, is a
 * register and gets an EVENTFD unasked; any other register when its count reaches hot.
 * RMIO_PLAN_ZONE_MIN hot registers of one run in one page get a ZONE instead, which
 * covers what the run has of the page; of several runs in a page only one does.  Limits
 * are spent in the order of counts, memory slots from the longest on.
 */
#ifndef RMIO_BACKEND_PLAN_PLAN_H
#define RMIO_BACKEND_PLAN_PLAN_H

#include "heat.h"

#include <rmio/abi.h>

#define RMIO_PLAN_ZONE_MIN	8u
#define RMIO_PLAN_HEAT_MAX	16384u		/* entries of heat */

/* What a plan takes is kept until it is a quarter as hot as what it takes up. */
#define RMIO_PLAN_KEEP		4u

enum rmio_mech {
	RMIO_MECH_EXIT,
	RMIO_MECH_SLOT,
	RMIO_MECH_EVENTFD,
	RMIO_MECH_ZONE,
};

struct rmio_plan_item {
	uint64_t offset;		/* in the range */
	uint64_t length;
	uint64_t gpa;			/* 0 when the range is nowhere */
	uint64_t shadow_offset;		/* SLOT, and what is written through; else 0 */
	uint64_t count;			/* stores; not counted for SLOT and loads that exit */
	const char *why;		/* a constant */
	uint32_t range_id;
	uint8_t mech;			/* enum rmio_mech */
	uint8_t len;			/* EVENTFD: access length; else 0 */
	bool store;			/* about stores, or about loads */
	bool through;			/* to be written to the shadow */
};

/*
 * Sorted by range id and offset, loads first.  Listed as EXIT: of areas with loads from
 * the shadow what no slot takes; areas of which no mechanism takes any store; hot
 * registers that got nothing.
 */
struct rmio_plan {
	size_t nr;
	uint32_t slots;			/* what it uses */
	uint32_t bus_devs;
	uint32_t zone_pages;
	struct rmio_plan_item items[];
};

/*
 * Areas as rmio_map_new() takes them, copied; ranges as they are now, those removed left
 * out.  Heat: registers seen to exit and those the old plan takes, in any order; of one
 * register the counts add up.  An entry with len 0 stands for a ZONE of the old plan, at
 * its offset.  Entries outside the ranges mean nothing.
 */
struct rmio_plan_in {
	const struct rmio_area *areas;
	size_t nr_areas;
	const struct rmio_pa_range *ranges;
	size_t nr_ranges;
	const struct rmio_heat_reg *heat;
	size_t nr_heat;
	uint64_t image_size;
	bool image_writable_by_bpf;
	uint64_t hot;
	uint32_t max_slots;		/* left for this device */
	uint32_t max_bus_devs;		/* EVENTFDs and ZONEs */
	uint32_t max_zone_pages;
};

/*
 * Takes n log n steps.  -EINVAL a bad area or range, overlapping areas or ranges, two
 * ranges of an id, an area beyond its range, a length of heat that is no access's;
 * -E2BIG too many areas, ranges or heat; -ENOMEM.
 */
int rmio_plan_make(const struct rmio_plan_in *in, struct rmio_plan **out);
void rmio_plan_free(struct rmio_plan *plan);

/*
 * The item of the plan that differs from @item, of another plan, in no more than count and why:
 * what takes it may go on.  NULL when there is none, and always for EXIT.
 */
const struct rmio_plan_item *rmio_plan_find(const struct rmio_plan *plan,
					    const struct rmio_plan_item *item);

#endif
