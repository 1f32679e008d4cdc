// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * From access map, ranges and heat to mechanisms.
 * Beside the data path: decides which accesses KVM takes in the kernel (`bpf` back end).
 */
#include "work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- ranges ----------------------------------------------------------------------- */

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

/* -- all of it -------------------------------------------------------------------- */

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
	rmio_plan_take_slots(w);
	err = rmio_plan_find_regs(w);
	if (err)
		return err;
	rmio_plan_take_stores(w);
	rmio_plan_put_loads(w);
	rmio_plan_put_stores(w);
	rmio_plan_put_exits(w);
	SORT(w, w->plan->items, w->plan->nr, rmio_plan_order);
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

static bool same(const struct rmio_plan_item *a, const struct rmio_plan_item *b)
{
	return a->gpa == b->gpa && a->shadow_offset == b->shadow_offset && a->len == b->len &&
	       a->through == b->through;
}

const struct rmio_plan_item *rmio_plan_find(const struct rmio_plan *plan,
					    const struct rmio_plan_item *item)
{
	size_t lo = 0, hi = plan->nr;

	if (item->mech == RMIO_MECH_EXIT)
		return NULL;
	/* of one key there is only one, but for EXIT */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (rmio_plan_order(&plan->items[mid], item) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == plan->nr || rmio_plan_order(&plan->items[lo], item) ||
	    !same(&plan->items[lo], item))
		return NULL;
	return &plan->items[lo];
}
