// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * exits.c - the stores that no mechanism takes, each with its reason, for display.  Beside
 * the data path: listed once bus.c has said what is taken.
 */
#include "work.h"

/* Is a store to any part of the area taken?  *at goes on from area to area. */
static bool any_taken(const struct work *w, const struct rmio_area *a, size_t *at)
{
	const struct rmio_plan_item *b;

	for (; *at < w->nr_bus; ++*at) {
		b = &w->bus[*at];
		if (b->range_id > a->range_id ||
		    (b->range_id == a->range_id && b->offset + b->length > a->offset))
			break;
	}
	b = &w->bus[*at];
	return *at < w->nr_bus && b->range_id == a->range_id && b->offset < a->offset + a->length;
}

/* Why nothing takes a store to the area, so far as the area alone tells; else NULL. */
static const char *no_store(const struct work *w, const struct place *p, const struct rmio_area *a)
{
	if (!p)
		return "its range is nowhere";
	if (p->r.bus != RMIO_BUS_MEM)
		return "on the I/O bus";
	if (a->store == RMIO_STORE_SYNC)
		return "its stores wait for the device";
	if (a->store == RMIO_STORE_THROUGH)
		return rmio_plan_no_through(w, a->shadow_offset - a->offset);
	return NULL;
}

static void put_area_stores(struct work *w, const struct place *p, const struct rmio_area *a,
			    size_t *bus, size_t *reg)
{
	bool taken = any_taken(w, a, bus);
	struct rmio_plan_item item = {
		.offset = a->offset, .length = a->length, .range_id = a->range_id, .store = true,
	};
	const struct reg *refused = NULL;	/* the area itself, else the one with most stores */

	for (; *reg < w->nr_regs; ++*reg) {
		struct reg *r = &w->regs[*reg];

		if (r->p->r.id > a->range_id ||
		    (r->p->r.id == a->range_id && r->offset >= a->offset + a->length))
			break;
		if (taken || r->p->r.id < a->range_id || r->offset < a->offset)
			continue;
		item.count = add_sat(item.count, r->count);
		r->listed = r->offset == a->offset && r->len == a->length;
		if (r->len && r->why && (r->hot || r->own) &&
		    (!refused || r->listed || (!refused->listed && r->count > refused->count)))
			refused = r;
	}
	if (taken)
		return;
	item.why = refused && refused->listed ? refused->why : no_store(w, p, a);
	if (!item.why)
		item.why = refused ? refused->why : "none of its registers is hot";
	rmio_plan_put(w, p, item);
}

void rmio_plan_put_exits(struct work *w)
{
	size_t bus = 0, reg = 0;

	for (size_t i = 0; i < w->in->nr_areas; i++) {
		const struct rmio_area *a = &w->areas[i];

		put_area_stores(w, rmio_plan_place(w, a->range_id), a, &bus, &reg);
	}
	for (size_t i = 0; i < w->nr_regs; i++) {
		const struct reg *r = &w->regs[i];

		if (r->len && r->hot && r->why && !r->taken && !r->listed &&
		    !rmio_plan_in_zone(w, r))
			rmio_plan_put(w, r->p, (struct rmio_plan_item) {
				.offset = r->offset, .length = r->len, .count = r->count,
				.store = true, .why = r->why,
			});
	}
}
