// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * loads.c - which loads a read-only memory slot over the shadow answers, and why the others
 * exit.  Beside the data path: the rules for loads.
 */
#include "work.h"

/* Why an area with loads from the shadow can be in no slot; NULL if it can. */
static const char *no_slot(const struct place *p, const struct rmio_area *a)
{
	if (!p)
		return "its range is nowhere";
	if (p->r.bus != RMIO_BUS_MEM)
		return "a memory slot cannot answer on the I/O bus";
	if (!(a->flags & RMIO_AREA_RELAXED))
		return "not relaxed: its loads wait for posted stores";
	if (a->sizes != RMIO_SIZE_ALL)
		return "a memory slot would answer every size";
	if (!lined_up(p, a->shadow_offset - a->offset))
		return "pages of guest and shadow do not line up";
	return NULL;
}

static int cmp_longer(const void *a, const void *b)
{
	const struct slot *x = *(struct slot *const *)a, *y = *(struct slot *const *)b;

	return order(y->end - y->offset, x->end - x->offset);
}

/* The whole pages of each compiled area. */
static void find_slots(struct work *w)
{
	const struct rmio_map *map = w->map;

	for (uint32_t i = 0; i < map->nr_ranges; i++) {
		const struct place *p = rmio_plan_place(w, map->ranges[i].id);
		uint32_t last = map->ranges[i].last_area;

		if (!p || p->r.bus != RMIO_BUS_MEM)
			continue;
		for (uint32_t k = map->ranges[i].first_area; k <= last; k++) {
			const struct rmio_map_area *a = &map->areas[k];
			struct slot *s = &w->slots[w->nr_slots];
			uint64_t head = -(p->r.addr + a->start) & PAGE_MASK;
			uint64_t tail = (p->r.addr + a->end) & PAGE_MASK;

			if (a->load != RMIO_LOAD_SHADOW || !a->relaxed ||
			    a->sizes != RMIO_SIZE_ALL || !lined_up(p, a->delta) ||
			    a->end - a->start <= head + tail)
				continue;
			*s = (struct slot) { a->start + head, a->end - tail, a->delta, p, false };
			if (w->nr_slots && s[-1].p == p && s[-1].end == s->offset &&
			    s[-1].delta == s->delta)
				s[-1].end = s->end;
			else
				w->nr_slots++;
		}
	}
}

void rmio_plan_take_slots(struct work *w)
{
	find_slots(w);
	for (size_t i = 0; i < w->nr_slots; i++)
		w->by_length[i] = &w->slots[i];
	SORT(w, w->by_length, w->nr_slots, cmp_longer);
	for (size_t i = 0; i < w->nr_slots && i < w->in->max_slots; i++) {
		w->by_length[i]->taken = true;
		w->plan->slots++;
	}
}

static void put_slots(struct work *w)
{
	for (size_t i = 0; i < w->nr_slots; i++) {
		const struct slot *s = &w->slots[i];

		if (s->taken)
			rmio_plan_put(w, s->p, (struct rmio_plan_item) {
				.offset = s->offset, .length = s->end - s->offset,
				.shadow_offset = s->offset + s->delta, .mech = RMIO_MECH_SLOT,
				.why = "relaxed, every size, whole pages",
			});
	}
}

/* What no slot takes of the loads of an area; *at is the first slot that may reach into it. */
static void put_slot_gaps(struct work *w, const struct place *p, const struct rmio_area *a,
			  size_t *at)
{
	const char *why = no_slot(p, a);
	uint64_t from = a->offset, end = a->offset + a->length;
	struct rmio_plan_item item = { .range_id = a->range_id };

	while (!why && from < end) {
		const struct slot *s = NULL;
		bool inside;

		for (; *at < w->nr_slots; ++*at) {
			s = &w->slots[*at];
			if (s->p->r.id > a->range_id || (s->p == p && s->end > from))
				break;
			s = NULL;
		}
		if (s && (s->p != p || s->offset >= end))
			s = NULL;
		inside = s && s->offset <= from;
		item.offset = from;
		from = !s ? end : !inside ? s->offset : s->end < end ? s->end : end;
		item.length = from - item.offset;
		item.why = inside ? "no memory slot is left" : "shares its page with something else";
		if (!inside || !s->taken)
			rmio_plan_put(w, p, item);
	}
	if (why) {
		item.offset = a->offset;
		item.length = a->length;
		item.why = why;
		rmio_plan_put(w, p, item);
	}
}

void rmio_plan_put_loads(struct work *w)
{
	size_t at = 0;

	put_slots(w);
	for (size_t i = 0; i < w->in->nr_areas; i++) {
		const struct rmio_area *a = &w->areas[i];

		if (a->load == RMIO_LOAD_SHADOW)
			put_slot_gaps(w, rmio_plan_place(w, a->range_id), a, &at);
	}
}
