/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What the files of the planner share: what a plan is made of while it is made.  Beside the
 * data path.  All that one plan takes, step after step: plan.c; loads: loads.c; which stores
 * could be taken: stores.c; which are, within the limits: bus.c; the stores that nothing takes,
 * for display: exits.c; what these share: work.c.
 */
#ifndef RMIO_BACKEND_PLAN_WORK_H
#define RMIO_BACKEND_PLAN_WORK_H

#include "map_layout.h"
#include "plan.h"

#define PAGE_MASK	((uint64_t)RMIO_PAGE - 1)
#define NONE		UINT32_MAX

/* A run of bytes over which stores behave the same. */
struct run {
	uint64_t start;
	uint64_t end;
	uint64_t delta;			/* THROUGH: from offset to image */
	uint8_t store;
	uint8_t sizes;			/* THROUGH: of which accesses are written through */
};

struct place {
	struct rmio_pa_range r;
	uint32_t run;			/* its runs: run .. run + nr_runs - 1 */
	uint32_t nr_runs;
};

struct slot {
	uint64_t offset;
	uint64_t end;
	uint64_t delta;			/* from offset to image */
	const struct place *p;
	bool taken;
};

struct reg {
	uint64_t offset;
	uint64_t count;
	const struct place *p;
	const char *why;		/* no EVENTFD */
	uint32_t run;			/* NONE: in more than one */
	uint32_t zone;			/* that would cover it, or NONE */
	uint8_t len;			/* 0: a planned zone */
	bool own;			/* an area of its own */
	bool planned;
	bool hot;
	bool through;
	bool taken;
	bool listed;
};

struct zone {
	uint64_t start;
	uint64_t end;
	uint64_t count;
	const struct place *p;
	uint32_t run;
	uint32_t first;			/* of zones in its page, by address: has page_taken */
	uint32_t nr_hot;
	bool keep;
	bool page_taken;
	bool taken;
};

/* Zones and registers that want a bus device, to be sorted by count. */
struct wish {
	uint64_t count;
	uint32_t zone;			/* or NONE */
	uint32_t reg;
};

struct work {
	const struct rmio_plan_in *in;
	struct rmio_map *map;
	void *spare;			/* for sorting: room for any array below */
	struct rmio_area *areas;
	struct place *places;		/* by range id */
	struct run *runs;
	struct slot *slots;
	struct slot **by_length;
	struct reg *regs;
	struct zone *zones;
	struct zone **by_page;
	struct wish *wishes;
	struct rmio_plan_item *bus;	/* what is taken of stores */
	size_t nr_places, nr_slots, nr_regs, nr_zones, nr_bus;
	struct rmio_plan *plan;
};

/* work.c */

/* Merge sort, stable: qsort(3) promises neither that nor n log n steps. */
void rmio_plan_sort(void *base, void *spare, size_t n, size_t size,
		    int (*cmp)(const void *, const void *));
#define SORT(w, base, n, cmp) rmio_plan_sort(base, (w)->spare, n, sizeof(*(base)), cmp)

static inline int order(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static inline uint64_t add_sat(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* Do pages of the guest and of the image begin together? */
static inline bool lined_up(const struct place *p, uint64_t delta)
{
	return !((delta - p->r.addr) & PAGE_MASK);
}

/* The range of that id, NULL when it is nowhere. */
const struct place *rmio_plan_place(const struct work *w, uint32_t id);
/* The order of items in a plan. */
int rmio_plan_order(const void *a, const void *b);
/* One more item, with its range and address when @p is not NULL. */
void rmio_plan_put(struct work *w, const struct place *p, struct rmio_plan_item item);

/* loads.c, after the ranges. */
void rmio_plan_take_slots(struct work *w);
void rmio_plan_put_loads(struct work *w);

/* stores.c, after the ranges.  -EINVAL a length that is no access's. */
int rmio_plan_find_regs(struct work *w);
/* Why nothing written through with that distance to the image can be taken; NULL if it can. */
const char *rmio_plan_no_through(const struct work *w, uint64_t delta);

/* bus.c, after the registers. */
void rmio_plan_take_stores(struct work *w);
void rmio_plan_put_stores(struct work *w);
bool rmio_plan_in_zone(const struct work *w, const struct reg *r);

/* exits.c, after what is taken of stores has been put. */
void rmio_plan_put_exits(struct work *w);

#endif
