// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * bus.c - which stores get a bus device of KVM: zones where many registers are hot, an
 * ioeventfd for the others, most stores first, as long as there are any.  Beside the data path:
 * the second half of the rules for stores, after stores.c.
 */
#include "work.h"

#include <string.h>

/* -- zones ---------------------------------------------------------------------------- */

/* May a zone be in this run?  It would take every size, anywhere in its page. */
static bool zone_run(const struct work *w, const struct place *p, const struct run *run)
{
	if (run->store == RMIO_STORE_THROUGH)
		return run->sizes == RMIO_SIZE_ALL && !rmio_plan_no_through(w, run->delta) &&
		       lined_up(p, run->delta);
	return run->store == RMIO_STORE_POSTED;
}

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

/* -- who gets a bus device ------------------------------------------------------------ */

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

bool rmio_plan_in_zone(const struct work *w, const struct reg *r)
{
	return r->zone != NONE && w->zones[r->zone].taken;
}

static void take_reg(struct work *w, size_t at)
{
	struct reg *r = &w->regs[at];

	if (rmio_plan_in_zone(w, r))
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
void rmio_plan_take_stores(struct work *w)
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

void rmio_plan_put_stores(struct work *w)
{
	size_t first = w->plan->nr;

	for (size_t i = 0; i < w->nr_zones; i++) {
		const struct zone *z = &w->zones[i];
		const struct run *run = &w->runs[z->run];
		bool through = run->store == RMIO_STORE_THROUGH;

		if (z->taken)
			rmio_plan_put(w, z->p, (struct rmio_plan_item) {
				.offset = z->start, .length = z->end - z->start,
				.shadow_offset = through ? z->start + run->delta : 0,
				.count = z->count, .mech = RMIO_MECH_ZONE, .store = true,
				.through = through, .why = "many hot registers in a page",
			});
	}
	for (size_t i = 0; i < w->nr_regs; i++) {
		const struct reg *r = &w->regs[i];

		if (r->taken)
			rmio_plan_put(w, r->p, (struct rmio_plan_item) {
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
	SORT(w, w->bus, w->nr_bus, rmio_plan_order);
}
