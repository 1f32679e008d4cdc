// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * plan.c - from access map, ranges and heat to mechanisms.
 * Beside the data path: decides which accesses KVM takes in the kernel (`bpf` back end).
 */
#include "plan.h"
#include "map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* Merge sort, stable: qsort(3) promises neither that nor n log n steps. */
static void sort(void *base, void *spare, size_t n, size_t size,
		 int (*cmp)(const void *, const void *))
{
	char *from = base, *to = spare;

	for (size_t width = 1; width < n; width *= 2) {
		char *t = from;

		for (size_t left = 0; left < n; left += 2 * width) {
			size_t mid = left + width < n ? left + width : n;
			size_t end = mid + width < n ? mid + width : n;
			size_t l = left, r = mid;

			for (size_t i = left; i < end; i++) {
				bool right = r < end && (l == mid || cmp(from + r * size,
									 from + l * size) < 0);

				memcpy(to + i * size, from + (right ? r++ : l++) * size, size);
			}
		}
		from = to;
		to = t;
	}
	if (from != base && n)
		memcpy(base, from, n * size);
}

#define SORT(w, base, n, cmp) sort(base, (w)->spare, n, sizeof(*(base)), cmp)

static int order(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static uint64_t add_sat(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* -- input ------------------------------------------------------------------------ */

static int cmp_place_id(const void *a, const void *b)
{
	return order(((const struct place *)a)->r.id, ((const struct place *)b)->r.id);
}

static int cmp_place_addr(const void *a, const void *b)
{
	const struct place *p = a, *q = b;

	return p->r.bus != q->r.bus ? order(p->r.bus, q->r.bus) : order(p->r.addr, q->r.addr);
}

static int cmp_area(const void *a, const void *b)
{
	const struct rmio_area *x = a, *y = b;

	return x->range_id != y->range_id ? order(x->range_id, y->range_id) :
					    order(x->offset, y->offset);
}

static const struct place *find_place(const struct work *w, uint32_t id)
{
	size_t lo = 0, hi = w->nr_places;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (w->places[mid].r.id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < w->nr_places && w->places[lo].r.id == id ? &w->places[lo] : NULL;
}

static int take_places(struct work *w)
{
	struct place *p = w->places;

	w->nr_places = w->in->nr_ranges;
	for (size_t i = 0; i < w->nr_places; i++) {
		p[i] = (struct place) { .r = w->in->ranges[i] };
		if (!p[i].r.len || p[i].r.addr + p[i].r.len - 1 < p[i].r.addr ||
		    p[i].r.bus > RMIO_BUS_IO || rmio_map_end(w->map, p[i].r.id) > p[i].r.len)
			return -EINVAL;
	}
	SORT(w, p, w->nr_places, cmp_place_addr);
	for (size_t i = 1; i < w->nr_places; i++)
		if (p[i].r.bus == p[i - 1].r.bus &&
		    p[i].r.addr - p[i - 1].r.addr < p[i - 1].r.len)
			return -EINVAL;
	SORT(w, p, w->nr_places, cmp_place_id);
	for (size_t i = 1; i < w->nr_places; i++)
		if (p[i].r.id == p[i - 1].r.id)
			return -EINVAL;
	return 0;
}

static uint32_t add_run(struct run *runs, uint32_t nr, uint32_t first, struct run run)
{
	if (run.start == run.end)
		return nr;
	if (nr > first && run.store == RMIO_STORE_POSTED &&
	    runs[nr - 1].store == RMIO_STORE_POSTED) {
		runs[nr - 1].end = run.end;
		return nr;
	}
	runs[nr] = run;
	return nr + 1;
}

/* Of the compiled map, so that how an author cut his areas does not show. */
static void make_runs(struct work *w)
{
	const struct rmio_map *map = w->map;
	uint32_t m = 0, nr = 0;

	for (size_t i = 0; i < w->nr_places; i++) {
		struct place *p = &w->places[i];
		uint64_t at = 0;

		p->run = nr;
		while (m < map->nr_ranges && map->ranges[m].id < p->r.id)
			m++;
		if (m < map->nr_ranges && map->ranges[m].id == p->r.id) {
			uint32_t last = map->ranges[m].last_area;

			for (uint32_t k = map->ranges[m].first_area; k <= last; k++) {
				const struct rmio_map_area *a = &map->areas[k];

				nr = add_run(w->runs, nr, p->run, (struct run) {
					.start = at, .end = a->start,
				});
				nr = add_run(w->runs, nr, p->run, (struct run) {
					.start = a->start, .end = a->end, .delta = a->delta,
					.store = a->store, .sizes = a->sizes,
				});
				at = a->end;
			}
		}
		nr = add_run(w->runs, nr, p->run, (struct run) { .start = at, .end = p->r.len });
		p->nr_runs = nr - p->run;
	}
}

/* The run that holds @offset, which is inside the range. */
static uint32_t find_run(const struct work *w, const struct place *p, uint64_t offset)
{
	uint32_t lo = p->run, hi = p->run + p->nr_runs - 1;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (w->runs[mid].end <= offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* -- loads: memory slots ----------------------------------------------------------- */

/* Do pages of the guest and of the image begin together? */
static bool lined_up(const struct place *p, uint64_t delta)
{
	return !((delta - p->r.addr) & PAGE_MASK);
}

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
		const struct place *p = find_place(w, map->ranges[i].id);
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

static void take_slots(struct work *w)
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

/* -- stores: registers --------------------------------------------------------------- */

static bool is_access(uint64_t len)
{
	return len == 1 || len == 2 || len == 4 || len == 8;
}

static int cmp_reg(const void *a, const void *b)
{
	const struct reg *x = a, *y = b;

	if (x->p != y->p)
		return order(x->p->r.id, y->p->r.id);
	return x->offset != y->offset ? order(x->offset, y->offset) : order(x->len, y->len);
}

static bool aligned(const struct place *p, uint64_t offset, uint64_t len)
{
	return !((p->r.addr + offset) & (len - 1));
}

static int gather_regs(struct work *w)
{
	const struct rmio_plan_in *in = w->in;
	size_t n = 0;

	for (size_t i = 0; i < in->nr_areas; i++) {
		const struct rmio_area *a = &w->areas[i];
		const struct place *p = find_place(w, a->range_id);

		if (p && is_access(a->length) && a->store != RMIO_STORE_SYNC &&
		    aligned(p, a->offset, a->length))
			w->regs[n++] = (struct reg) {
				.offset = a->offset, .p = p, .len = (uint8_t)a->length, .own = true,
			};
	}
	for (size_t i = 0; i < in->nr_heat; i++) {
		struct rmio_heat_reg h = in->heat[i];
		const struct place *p = find_place(w, h.range_id);

		if (h.len && !is_access(h.len))
			return -EINVAL;
		if (p && h.offset < p->r.len && h.len <= p->r.len - h.offset)
			w->regs[n++] = (struct reg) {
				.offset = h.offset, .count = h.count, .p = p, .len = h.len,
				.planned = h.planned || !h.len,
			};
	}
	SORT(w, w->regs, n, cmp_reg);
	for (size_t i = 0; i < n; i++) {
		struct reg *r = &w->regs[w->nr_regs];

		if (w->nr_regs && !cmp_reg(r - 1, &w->regs[i])) {
			r[-1].count = add_sat(r[-1].count, w->regs[i].count);
			r[-1].own |= w->regs[i].own;
			r[-1].planned |= w->regs[i].planned;
			continue;
		}
		*r = w->regs[i];
		w->nr_regs++;
	}
	return 0;
}

/* Why nothing written through with that distance to the image can be taken; NULL if it can. */
static const char *no_through(const struct work *w, uint64_t delta)
{
	if (!w->in->image_writable_by_bpf)
		return "written through, and BPF cannot write this shadow";
	if (delta & PAGE_MASK)
		return "written through, and its offset in the shadow is not whole pages away";
	return NULL;
}

/* May a zone be in this run?  It would take every size, anywhere in its page. */
static bool zone_run(const struct work *w, const struct place *p, const struct run *run)
{
	if (run->store == RMIO_STORE_THROUGH)
		return run->sizes == RMIO_SIZE_ALL && !no_through(w, run->delta) &&
		       lined_up(p, run->delta);
	return run->store == RMIO_STORE_POSTED;
}

static const char *no_eventfd(const struct work *w, struct reg *r)
{
	const struct run *run;
	const char *why;

	if (r->p->r.bus != RMIO_BUS_MEM)
		return "on the I/O bus";
	if (r->run == NONE)
		return "straddles areas whose stores differ";
	run = &w->runs[r->run];
	if (run->store == RMIO_STORE_SYNC)
		return "its stores wait for the device";
	if (!aligned(r->p, r->offset, r->len))
		return "not aligned";
	if (run->store != RMIO_STORE_THROUGH || !(run->sizes & r->len))
		return NULL;
	r->through = true;
	why = no_through(w, run->delta);
	if (!why && ((r->offset + run->delta) & PAGE_MASK) + r->len > RMIO_PAGE)
		why = "crosses a page of the shadow";
	return why;
}

static void judge_regs(struct work *w)
{
	uint64_t keep = w->in->hot / RMIO_PLAN_KEEP;

	for (size_t i = 0; i < w->nr_regs; i++) {
		struct reg *r = &w->regs[i];

		r->hot = r->count >= (r->planned ? keep : w->in->hot);
		r->zone = NONE;
		r->run = find_run(w, r->p, r->offset);
		if (w->runs[r->run].end - r->offset < r->len)
			r->run = NONE;
		if (r->len)
			r->why = no_eventfd(w, r);
	}
}

/* -- stores: zones -------------------------------------------------------------------- */

static uint64_t page_of(const struct place *p, uint64_t offset)
{
	return (p->r.addr + offset) / RMIO_PAGE;
}

static int cmp_page(const void *a, const void *b)
{
	const struct zone *x = *(struct zone *const *)a, *y = *(struct zone *const *)b;

	return order(page_of(x->p, x->start), page_of(y->p, y->start));
}

/* What the run has of the page of @offset. */
static struct zone zone_at(const struct work *w, const struct place *p, uint32_t at,
			   uint64_t offset)
{
	const struct run *run = &w->runs[at];
	uint64_t before = (p->r.addr + offset) & PAGE_MASK;
	uint64_t after = PAGE_MASK - before;	/* bytes of the page past that of offset */

	return (struct zone) {
		.start = offset - run->start < before ? run->start : offset - before,
		.end = run->end - 1 - offset < after ? run->end : offset + after + 1,
		.p = p,
		.run = at,
	};
}

/*
 * Runs and pages follow each other as registers do, but for those that straddle, so that
 * the registers of one zone are found in a row.
 */
static void find_zones(struct work *w)
{
	for (size_t i = 0; i < w->nr_regs; i++) {
		struct zone *z = w->nr_zones ? &w->zones[w->nr_zones - 1] : NULL;
		struct reg *r = &w->regs[i];

		if (r->p->r.bus != RMIO_BUS_MEM || r->run == NONE ||
		    !zone_run(w, r->p, &w->runs[r->run]))
			continue;
		if (!z || z->p != r->p || r->offset >= z->end) {
			z = &w->zones[w->nr_zones++];
			*z = zone_at(w, r->p, r->run, r->offset);
		}
		if (r->len > z->end - r->offset)
			continue;
		r->zone = w->nr_zones - 1;
		z->count = add_sat(z->count, r->count);
		z->nr_hot += r->hot && r->len;
		z->keep |= r->hot && !r->len;
	}
	for (size_t i = 0; i < w->nr_zones; i++)
		w->by_page[i] = &w->zones[i];
	SORT(w, w->by_page, w->nr_zones, cmp_page);
	for (size_t i = 0; i < w->nr_zones; i++) {
		bool same = i && !cmp_page(&w->by_page[i - 1], &w->by_page[i]);

		w->by_page[i]->first = same ? w->by_page[i - 1]->first :
					      (uint32_t)(w->by_page[i] - w->zones);
	}
}

/* -- stores: who gets a bus device ----------------------------------------------------- */

static int cmp_wish(const void *a, const void *b)
{
	return order(((const struct wish *)b)->count, ((const struct wish *)a)->count);
}

static bool near(const struct reg *a, const struct reg *b)
{
	return a->p == b->p && b->offset - a->offset < 8;
}

/* Has a register been taken that overlaps?  Looks at no more than five lengths at 15 offsets. */
static bool overlapped(const struct work *w, size_t at)
{
	const struct reg *r = &w->regs[at];

	for (size_t i = at; i-- > 0 && near(&w->regs[i], r);)
		if (w->regs[i].taken && r->offset - w->regs[i].offset < w->regs[i].len)
			return true;
	for (size_t i = at + 1; i < w->nr_regs && near(r, &w->regs[i]); i++)
		if (w->regs[i].taken && w->regs[i].offset - r->offset < r->len)
			return true;
	return false;
}

static void take_zone(struct work *w, struct zone *z)
{
	bool *page_taken = &w->zones[z->first].page_taken;

	if (*page_taken || w->plan->bus_devs == w->in->max_bus_devs ||
	    w->plan->zone_pages == w->in->max_zone_pages)
		return;
	*page_taken = true;
	z->taken = true;
	w->plan->bus_devs++;
	w->plan->zone_pages++;
}

static bool in_taken_zone(const struct work *w, const struct reg *r)
{
	return r->zone != NONE && w->zones[r->zone].taken;
}

static void take_reg(struct work *w, size_t at)
{
	struct reg *r = &w->regs[at];

	if (in_taken_zone(w, r))
		return;
	if (overlapped(w, at)) {
		r->why = "overlaps a register with more stores";
	} else if (w->plan->bus_devs == w->in->max_bus_devs) {
		r->why = "no bus device is left";
	} else {
		r->taken = true;
		w->plan->bus_devs++;
	}
}

/* A zone comes before all its registers: its count is their sum, and it was first in line. */
static void take_stores(struct work *w)
{
	size_t n = 0;

	find_zones(w);
	for (size_t i = 0; i < w->nr_zones; i++)
		if (w->zones[i].nr_hot >= RMIO_PLAN_ZONE_MIN || w->zones[i].keep)
			w->wishes[n++] = (struct wish) { w->zones[i].count, (uint32_t)i, NONE };
	for (size_t i = 0; i < w->nr_regs; i++) {
		const struct reg *r = &w->regs[i];

		if (r->len && !r->why && (r->hot || r->own))
			w->wishes[n++] = (struct wish) { r->count, NONE, (uint32_t)i };
	}
	SORT(w, w->wishes, n, cmp_wish);
	for (size_t i = 0; i < n; i++) {
		if (w->wishes[i].zone != NONE)
			take_zone(w, &w->zones[w->wishes[i].zone]);
		else
			take_reg(w, w->wishes[i].reg);
	}
}

/* -- output ----------------------------------------------------------------------------- */

static int cmp_item(const void *a, const void *b)
{
	const struct rmio_plan_item *x = a, *y = b;

	if (x->range_id != y->range_id)
		return order(x->range_id, y->range_id);
	if (x->offset != y->offset)
		return order(x->offset, y->offset);
	if (x->store != y->store)
		return x->store ? 1 : -1;
	if (x->mech != y->mech)
		return order(x->mech, y->mech);
	return order(x->length, y->length);
}

static void put(struct work *w, const struct place *p, struct rmio_plan_item item)
{
	if (p) {
		item.range_id = p->r.id;
		item.gpa = p->r.addr + item.offset;
	}
	w->plan->items[w->plan->nr++] = item;
}

static void put_slots(struct work *w)
{
	for (size_t i = 0; i < w->nr_slots; i++) {
		const struct slot *s = &w->slots[i];

		if (s->taken)
			put(w, s->p, (struct rmio_plan_item) {
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
			put(w, p, item);
	}
	if (why) {
		item.offset = a->offset;
		item.length = a->length;
		item.why = why;
		put(w, p, item);
	}
}

static void put_bus(struct work *w)
{
	size_t first = w->plan->nr;

	for (size_t i = 0; i < w->nr_zones; i++) {
		const struct zone *z = &w->zones[i];
		const struct run *run = &w->runs[z->run];
		bool through = run->store == RMIO_STORE_THROUGH;

		if (z->taken)
			put(w, z->p, (struct rmio_plan_item) {
				.offset = z->start, .length = z->end - z->start,
				.shadow_offset = through ? z->start + run->delta : 0,
				.count = z->count, .mech = RMIO_MECH_ZONE, .store = true,
				.through = through, .why = "many hot registers in a page",
			});
	}
	for (size_t i = 0; i < w->nr_regs; i++) {
		const struct reg *r = &w->regs[i];

		if (r->taken)
			put(w, r->p, (struct rmio_plan_item) {
				.offset = r->offset, .length = r->len, .len = r->len,
				.shadow_offset = r->through ?
					r->offset + w->runs[r->run].delta : 0,
				.count = r->count, .mech = RMIO_MECH_EVENTFD, .store = true,
				.through = r->through,
				.why = r->own ? "an area of one register" : "a hot register",
			});
	}
	w->nr_bus = w->plan->nr - first;
	memcpy(w->bus, w->plan->items + first, w->nr_bus * sizeof(*w->bus));
	SORT(w, w->bus, w->nr_bus, cmp_item);
}

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
		return no_through(w, a->shadow_offset - a->offset);
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
	put(w, p, item);
}

static void put_areas(struct work *w)
{
	size_t slot = 0, bus = 0, reg = 0;

	for (size_t i = 0; i < w->in->nr_areas; i++) {
		const struct rmio_area *a = &w->areas[i];
		const struct place *p = find_place(w, a->range_id);

		if (a->load == RMIO_LOAD_SHADOW)
			put_slot_gaps(w, p, a, &slot);
		put_area_stores(w, p, a, &bus, &reg);
	}
	for (size_t i = 0; i < w->nr_regs; i++) {
		const struct reg *r = &w->regs[i];

		if (r->len && r->hot && r->why && !r->taken && !r->listed && !in_taken_zone(w, r))
			put(w, r->p, (struct rmio_plan_item) {
				.offset = r->offset, .length = r->len, .count = r->count,
				.store = true, .why = r->why,
			});
	}
}

/* -- all of it ---------------------------------------------------------------------------- */

static void free_work(struct work *w)
{
	rmio_map_free(w->map);
	free(w->spare);
	free(w->areas);
	free(w->places);
	free(w->runs);
	free(w->slots);
	free(w->by_length);
	free(w->regs);
	free(w->zones);
	free(w->by_page);
	free(w->wishes);
	free(w->bus);
	free(w->plan);
}

/* One more than asked for: none is of size 0. */
#define ALLOC(ptr, n) ((ptr) = calloc((n) + 1, sizeof(*(ptr))))

static int alloc_work(struct work *w)
{
	size_t areas = w->in->nr_areas, ranges = w->in->nr_ranges;
	size_t regs = areas + w->in->nr_heat, runs = 2 * areas + ranges;
	/*
	 * Slots; gaps of the areas, cut by slots; EVENTFDs and ZONEs; stores of the areas;
	 * registers that got nothing.
	 */
	size_t items = areas + (3 * areas + 2 * areas) + regs + areas + regs;

	w->plan = calloc(1, sizeof(*w->plan) + items * sizeof(w->plan->items[0]));
	/* no element is larger than an item, no array longer than all items */
	w->spare = malloc((items + ranges + 1) * sizeof(w->plan->items[0]));
	if (!w->plan || !w->spare || !ALLOC(w->areas, areas) || !ALLOC(w->places, ranges) ||
	    !ALLOC(w->runs, runs) || !ALLOC(w->slots, areas) || !ALLOC(w->by_length, areas) ||
	    !ALLOC(w->regs, regs) || !ALLOC(w->zones, regs) || !ALLOC(w->by_page, regs) ||
	    !ALLOC(w->wishes, 2 * regs) || !ALLOC(w->bus, regs))
		return -ENOMEM;
	return 0;
}

_Static_assert(sizeof(struct reg) <= sizeof(struct rmio_plan_item), "spare");
_Static_assert(sizeof(struct place) <= sizeof(struct rmio_plan_item), "spare");

static int compute(struct work *w)
{
	const struct rmio_plan_in *in = w->in;
	int err;

	if (in->nr_areas)
		memcpy(w->areas, in->areas, in->nr_areas * sizeof(*in->areas));
	err = rmio_map_new(w->areas, in->nr_areas, in->image_size, &w->map, NULL);
	if (err)
		return err == -ENOMEM || err == -E2BIG ? err : -EINVAL;
	SORT(w, w->areas, in->nr_areas, cmp_area);
	err = take_places(w);
	if (err)
		return err;
	make_runs(w);
	take_slots(w);
	err = gather_regs(w);
	if (err)
		return err;
	judge_regs(w);
	take_stores(w);
	put_slots(w);
	put_bus(w);
	put_areas(w);
	SORT(w, w->plan->items, w->plan->nr, cmp_item);
	return 0;
}

int rmio_plan_make(const struct rmio_plan_in *in, struct rmio_plan **out)
{
	struct work w = { .in = in };
	struct rmio_plan *less;
	int err;

	if (in->nr_areas > RMIO_AREAS_MAX || in->nr_ranges > RMIO_RANGES_MAX ||
	    in->nr_heat > RMIO_PLAN_HEAT_MAX)
		return -E2BIG;
	err = alloc_work(&w);
	if (!err)
		err = compute(&w);
	if (!err) {
		less = realloc(w.plan, sizeof(*w.plan) + w.plan->nr * sizeof(w.plan->items[0]));
		*out = less ? less : w.plan;
		w.plan = NULL;
	}
	free_work(&w);
	return err;
}

void rmio_plan_free(struct rmio_plan *plan)
{
	free(plan);
}

/* -- what changes ------------------------------------------------------------------------- */

static bool same(const struct rmio_plan_item *a, const struct rmio_plan_item *b)
{
	return a->gpa == b->gpa && a->shadow_offset == b->shadow_offset && a->len == b->len &&
	       a->through == b->through;
}

/* Calls @change for what is in @a and not in @b. */
static int without(const struct rmio_plan *a, const struct rmio_plan *b, bool add,
		   int (*change)(void *arg, const struct rmio_plan_item *item, bool add),
		   void *arg)
{
	size_t nr = a ? a->nr : 0, nr_b = b ? b->nr : 0, k = 0;

	for (size_t i = 0; i < nr; i++) {
		const struct rmio_plan_item *item = &a->items[i];
		int rc;

		if (item->mech == RMIO_MECH_EXIT)
			continue;
		/* of one key there is only one, but for EXIT */
		while (k < nr_b && cmp_item(&b->items[k], item) < 0)
			k++;
		if (k < nr_b && !cmp_item(&b->items[k], item) && same(&b->items[k], item))
			continue;
		rc = change(arg, item, add);
		if (rc)
			return rc;
	}
	return 0;
}

int rmio_plan_diff(const struct rmio_plan *old_plan, const struct rmio_plan *new_plan,
		   int (*change)(void *arg, const struct rmio_plan_item *item, bool add),
		   void *arg)
{
	int rc = without(old_plan, new_plan, false, change, arg);

	return rc ? rc : without(new_plan, old_plan, true, change, arg);
}
