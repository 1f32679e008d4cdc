// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * stores.c - which registers there are, how stores to them behave, and which of them an
 * ioeventfd could take.  Beside the data path: the first half of the rules for stores; bus.c
 * spends what there is of bus devices on them.
 */
#include "work.h"

#include <errno.h>

/* -- runs: where stores behave the same ------------------------------------------------ */

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

/* -- registers ------------------------------------------------------------------------ */

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
		const struct place *p = rmio_plan_place(w, a->range_id);

		if (p && is_access(a->length) && a->store != RMIO_STORE_SYNC &&
		    aligned(p, a->offset, a->length))
			w->regs[n++] = (struct reg) {
				.offset = a->offset, .p = p, .len = (uint8_t)a->length, .own = true,
			};
	}
	for (size_t i = 0; i < in->nr_heat; i++) {
		struct rmio_heat_reg h = in->heat[i];
		const struct place *p = rmio_plan_place(w, h.range_id);

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


const char *rmio_plan_no_through(const struct work *w, uint64_t delta)
{
	if (!w->in->image_writable_by_bpf)
		return "written through, and BPF cannot write this shadow";
	if (delta & PAGE_MASK)
		return "written through, and its offset in the shadow is not whole pages away";
	return NULL;
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
	why = rmio_plan_no_through(w, run->delta);
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

int rmio_plan_find_regs(struct work *w)
{
	int err;

	make_runs(w);
	err = gather_regs(w);
	if (!err)
		judge_regs(w);
	return err;
}
