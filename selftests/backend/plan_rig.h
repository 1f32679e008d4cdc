/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* A plan to ask for: one range, 16 pages, unless the test says more; what came of it, as text. */
#ifndef RMIO_SELFTESTS_PLAN_RIG_H
#define RMIO_SELFTESTS_PLAN_RIG_H

#include "ktap.h"
#include "backend/plan/plan.h"

#define PAGE	((uint64_t)RMIO_PAGE)
#define IMAGE	(64 * PAGE)
#define BASE	0x10000000ull
#define HOT	100

struct rig {
	struct rmio_plan_in in;
	struct rmio_area areas[64];
	struct rmio_pa_range ranges[8];
	struct rmio_heat_reg heat[512];
	struct rmio_plan *plan;
};

static inline void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	r->in = (struct rmio_plan_in) {
		.areas = r->areas, .ranges = r->ranges, .nr_ranges = 1, .heat = r->heat,
		.image_size = IMAGE, .image_writable_by_bpf = true, .hot = HOT,
		.max_slots = 8, .max_bus_devs = 64, .max_zone_pages = 4,
	};
	r->ranges[0] = (struct rmio_pa_range) { .addr = BASE, .len = 16 * PAGE };
}

static inline void rig_again(struct rig *r)
{
	rmio_plan_free(r->plan);
	rig_init(r);
}

static inline struct rmio_area *area(struct rig *r, uint64_t offset, uint64_t length, uint8_t store)
{
	struct rmio_area *a = &r->areas[r->in.nr_areas++];

	*a = (struct rmio_area) { .offset = offset, .length = length, .store = store,
				  .shadow_offset = offset, .sizes = RMIO_SIZE_ALL };
	return a;
}

static inline struct rmio_area *relaxed(struct rig *r, uint64_t offset, uint64_t length)
{
	struct rmio_area *a = area(r, offset, length, RMIO_STORE_POSTED);

	a->load = RMIO_LOAD_SHADOW;
	a->flags = RMIO_AREA_RELAXED;
	return a;
}

static inline struct rmio_heat_reg *heat(struct rig *r, uint64_t offset, uint8_t len,
					 uint64_t count)
{
	struct rmio_heat_reg *h = &r->heat[r->in.nr_heat++];

	*h = (struct rmio_heat_reg) { .offset = offset, .len = len, .count = count };
	return h;
}

static inline void heat_row(struct rig *r, uint64_t offset, int nr)
{
	for (int i = 0; i < nr; i++)
		heat(r, offset + 4 * i, 4, HOT);
}

static inline void show(const struct rmio_plan *plan)
{
	static const char *const mech[] = { "EXIT", "SLOT", "EVENTFD", "ZONE" };

	for (size_t i = 0; i < plan->nr && i < 100; i++) {
		const struct rmio_plan_item *it = &plan->items[i];

		ktap_diag("  %s %s range %u 0x%llx+0x%llx gpa 0x%llx shadow 0x%llx count %llu%s: %s",
			  mech[it->mech & 3], it->store ? "store" : "load", it->range_id,
			  (unsigned long long)it->offset, (unsigned long long)it->length,
			  (unsigned long long)it->gpa, (unsigned long long)it->shadow_offset,
			  (unsigned long long)it->count, it->through ? " through" : "", it->why);
	}
}

static inline bool make(struct rig *r)
{
	rmio_plan_free(r->plan);
	r->plan = NULL;
	return T_EQ(rmio_plan_make(&r->in, &r->plan), 0);
}

/* Makes the plan and compares it with the text: an item a line, `mech range offset length`... */
#define PLAN(r, ...) plan_is(__LINE__, r, (const char *const[]) { __VA_ARGS__, NULL })

static inline void item_text(const struct rmio_plan_item *it, char *text, size_t room)
{
	static const char *const mech[] = { "exit", "slot", "eventfd", "zone" };
	char tail[80] = "";

	if (it->mech == RMIO_MECH_EXIT)
		snprintf(tail, sizeof(tail), ": %s", it->why);
	else if (it->mech == RMIO_MECH_SLOT || it->through)
		snprintf(tail, sizeof(tail), " %s%llx", it->through ? "through " : "",
			 (unsigned long long)it->shadow_offset);
	snprintf(text, room, "%s %s %u %llx+%llx%s", it->store ? "store" : "load",
		 mech[it->mech & 3], it->range_id, (unsigned long long)it->offset,
		 (unsigned long long)it->length, tail);
}

static inline void plan_is(int line, struct rig *r, const char *const *want)
{
	char text[200];
	size_t i;

	if (!make(r))
		return;
	for (i = 0; want[i] && i < r->plan->nr; i++) {
		item_text(&r->plan->items[i], text, sizeof(text));
		if (strcmp(text, want[i]))
			break;
	}
	if (i == r->plan->nr && !want[i])
		return;
	T_FAIL("the plan of line %d differs at item %zu, expected \"%s\"", line, i,
	       want[i] ? want[i] : "(no more)");
	show(r->plan);
}

/* Alike in all that KVM is told. */
static inline bool item_eq(const struct rmio_plan_item *a, const struct rmio_plan_item *b)
{
	return a->range_id == b->range_id && a->offset == b->offset && a->length == b->length &&
	       a->gpa == b->gpa && a->shadow_offset == b->shadow_offset && a->mech == b->mech &&
	       a->len == b->len && a->store == b->store && a->through == b->through;
}

/* What both plans have is found in the new one, and nothing else; how many items those are. */
static inline bool found_right(const struct rmio_plan *old, const struct rmio_plan *new, size_t *n)
{
	bool ok = true;

	*n = 0;
	for (size_t i = 0; ok && i < old->nr; i++) {
		const struct rmio_plan_item *want = NULL;

		for (size_t j = 0; j < new->nr && old->items[i].mech != RMIO_MECH_EXIT; j++)
			if (item_eq(&old->items[i], &new->items[j]))
				want = &new->items[j];
		ok = T_EQ(rmio_plan_find(new, &old->items[i]), want);
		*n += want != NULL;
	}
	return ok;
}

/* Makes the plan; the caller frees it. */
static inline struct rmio_plan *take(struct rig *r)
{
	struct rmio_plan *plan;

	make(r);
	plan = r->plan;
	r->plan = NULL;
	return plan;
}

#endif
