// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What every step of the planner uses: sorting, ranges by their id, items put into the plan.
 * Beside the data path.
 */
#include "work.h"

#include <string.h>

void rmio_plan_sort(void *base, void *spare, size_t n, size_t size,
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

const struct place *rmio_plan_place(const struct work *w, uint32_t id)
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

int rmio_plan_order(const void *a, const void *b)
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

void rmio_plan_put(struct work *w, const struct place *p, struct rmio_plan_item item)
{
	if (p) {
		item.range_id = p->r.id;
		item.gpa = p->r.addr + item.offset;
	}
	w->plan->items[w->plan->nr++] = item;
}
