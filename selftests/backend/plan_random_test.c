// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * plan_random_test.c - the planner of the `bpf` back end: random maps of which each byte and size
 * is compared with what the exit path would do.
 */
#include "map_model.h"
#include "plan_rig.h"

#define SPAN	(3 * PAGE)

/* Mostly where things meet: the ends of pages and of areas. */
static void random_rig(struct rig *r)
{
	uint32_t nr_ranges = 1 + (uint32_t)model_below(3);
	uint64_t addr = BASE;

	rig_init(r);
	r->in.nr_ranges = nr_ranges;
	for (uint32_t i = 0; i < nr_ranges; i++) {
		static const uint64_t skew[] = { 0, 0, 0, 0, 2, 8, 0x100, 0x7f8 };

		addr += skew[model_below(KTAP_COUNT(skew))];
		r->ranges[i] = (struct rmio_pa_range) {
			.addr = addr, .id = 2 * i + 1, .len = model_below(4) ? SPAN : 0x200,
			.bus = model_below(8) ? RMIO_BUS_MEM : RMIO_BUS_IO,
		};
		addr += r->ranges[i].len + model_below(2) * 0x100;
		if (model_below(2))
			addr = (addr + PAGE - 1) & -PAGE;
	}
	for (uint32_t i = 0; i < nr_ranges; i++) {
		uint64_t at = 0, delta = model_below(20) * PAGE;

		while (at < r->ranges[i].len && r->in.nr_areas < 20) {
			static const uint64_t lens[] = { 1, 2, 4, 4, 8, 8, 12, 0x30, 0x100, 0x7f8,
							 0x800, PAGE, PAGE + 8, 2 * PAGE };
			uint64_t len = lens[model_below(KTAP_COUNT(lens))];
			uint64_t room = r->ranges[i].len - at;
			struct rmio_area *a;

			/* to the end of a page of the guest */
			if (!model_below(4))
				len = PAGE - ((r->ranges[i].addr + at) & (PAGE - 1));
			len = len < room ? len : room;
			if (!model_below(4)) {
				at += model_below(2) ? len : 4;
				continue;
			}
			a = area(r, at, len, (uint8_t)model_below(3));
			a->range_id = r->ranges[i].id;
			a->load = model_below(4) ? RMIO_LOAD_SHADOW : RMIO_LOAD_DEVICE;
			a->flags = model_below(5) ? RMIO_AREA_RELAXED : 0;
			a->sizes = model_below(5) ? RMIO_SIZE_ALL : (uint8_t)(1 + model_below(15));
			if (!model_below(6))
				delta = model_below(20) * PAGE;
			a->shadow_offset = at + delta;
			if (!model_below(6))
				a->shadow_offset += 8;
			/* where guest and image line up though range and guest do not */
			if (!model_below(3))
				a->shadow_offset += r->ranges[i].addr & (PAGE - 1);
			at += len;
		}
	}
	r->in.nr_heat = model_below(60);
	for (size_t i = 0; i < r->in.nr_heat; i++) {
		struct rmio_pa_range *range = &r->ranges[model_below(nr_ranges)];
		uint64_t near = r->in.nr_areas && model_below(2) ?
			r->areas[model_below(r->in.nr_areas)].offset : model_below(4) * PAGE;

		r->heat[i] = (struct rmio_heat_reg) {
			.range_id = range->id, .len = (uint8_t)(1 << model_below(4)),
			.count = model_below(3) ? HOT + model_below(20) : model_below(HOT),
			.offset = near + model_below(48) - 12, .planned = !model_below(4),
		};
		if (model_below(8))
			r->heat[i].offset &= -(uint64_t)r->heat[i].len;
		if (!model_below(30))
			r->heat[i].len = 0;
	}
	r->in.image_writable_by_bpf = model_below(5);
	if (!model_below(3)) {
		r->in.max_slots = (uint32_t)model_below(4);
		r->in.max_bus_devs = (uint32_t)model_below(12);
		r->in.max_zone_pages = (uint32_t)model_below(3);
	}
}

static const struct rmio_pa_range *range_of(const struct rig *r, uint32_t id)
{
	for (size_t i = 0; i < r->in.nr_ranges; i++)
		if (r->ranges[i].id == id)
			return &r->ranges[i];
	return NULL;
}

/* Every load of every size in the item: what the exit path would answer, from that place. */
static bool loads_right(const struct rig *r, const struct rmio_plan_item *it)
{
	for (uint64_t o = 0; o < it->length; o++) {
		for (uint32_t len = 1; len <= 8; len *= 2) {
			struct rmio_decision d;

			/* the ends of pages, and a little of the rest: it is slow */
			if ((o & (PAGE - 1)) + len > PAGE ||
			    ((o & (PAGE - 1)) > 16 && (o & (PAGE - 1)) < PAGE - 16 && o % 61))
				continue;
			d = model_decide(r->areas, r->in.nr_areas, it->range_id, it->offset + o,
					 len, false);
			if (!T_EQ(d.verdict, RMIO_FROM_SHADOW) || !T_OK(d.relaxed) ||
			    !T_EQ(d.shadow_offset, it->shadow_offset + o))
				return false;
		}
	}
	return true;
}

static bool bytes_alike(const struct rig *r, const struct rmio_plan_item *it)
{
	struct model_byte b = model_at(r->areas, r->in.nr_areas, it->range_id, it->offset);

	for (uint64_t o = 0; o < it->length; o++) {
		struct model_byte c = model_at(r->areas, r->in.nr_areas, it->range_id,
					       it->offset + o);

		if (!T_NE(c.store, RMIO_STORE_SYNC) || !T_EQ(c.store, b.store) ||
		    (it->through && !T_EQ(c.place, it->shadow_offset + o)))
			return false;
	}
	return true;
}

/* Every store that the item takes: what the exit path would do with it. */
static bool stores_right(const struct rig *r, const struct rmio_plan_item *it)
{
	bool eventfd = it->mech == RMIO_MECH_EVENTFD;

	for (uint64_t o = 0; o < (eventfd ? 1 : it->length); o++) {
		for (uint32_t len = 1; len <= 8; len *= 2) {
			struct rmio_decision d;

			if (eventfd ? len != it->len : o + len > it->length)
				continue;
			d = model_decide(r->areas, r->in.nr_areas, it->range_id, it->offset + o,
					 len, true);
			if (!T_EQ(d.verdict, it->through ? RMIO_POST_THROUGH : RMIO_TO_DEVICE))
				return false;
			if (!it->through)
				continue;
			if (!T_OK(r->in.image_writable_by_bpf) ||
			    !T_EQ(d.shadow_offset, it->shadow_offset + o) ||
			    !T_EQ((it->shadow_offset - it->offset) % PAGE, 0) ||
			    !T_LE(d.shadow_offset % PAGE + len, PAGE))
				return false;
		}
	}
	return true;
}

static bool item_right(const struct rig *r, const struct rmio_plan_item *it)
{
	const struct rmio_pa_range *range = range_of(r, it->range_id);

	if (!T_OK(range && it->why && it->why[0] && it->length && it->offset < range->len &&
		  it->length <= range->len - it->offset && it->gpa == range->addr + it->offset))
		return false;
	if (it->mech == RMIO_MECH_EXIT)
		return T_EQ(it->len, 0) && T_OK(!it->through) && T_EQ(it->shadow_offset, 0);
	if (!T_EQ(range->bus, RMIO_BUS_MEM))
		return false;
	switch (it->mech) {
	case RMIO_MECH_SLOT:
		return T_OK(!it->store && !it->through && !it->len) &&
		       T_EQ((it->gpa | it->length | it->shadow_offset) % PAGE, 0) &&
		       loads_right(r, it);
	case RMIO_MECH_EVENTFD:
		return T_OK(it->store && it->len == it->length) &&
		       T_OK(it->len == 1 || it->len == 2 || it->len == 4 || it->len == 8) &&
		       T_EQ(it->gpa % it->len, 0) && bytes_alike(r, it) && stores_right(r, it);
	case RMIO_MECH_ZONE:
		return T_OK(it->store && !it->len) &&
		       T_EQ(it->gpa / PAGE, (it->gpa + it->length - 1) / PAGE) &&
		       bytes_alike(r, it) && stores_right(r, it);
	default:
		return T_OK(false);
	}
}

static bool meet(const struct rmio_plan_item *a, const struct rmio_plan_item *b)
{
	return a->gpa < b->gpa + b->length && b->gpa < a->gpa + a->length;
}

/* Order, overlaps, limits. */
static bool plan_sound(const struct rig *r, const struct rmio_plan *p)
{
	uint32_t used[4] = { 0 };
	bool ok = true;

	for (size_t i = 0; ok && i < p->nr; i++) {
		const struct rmio_plan_item *a = &p->items[i];

		ok = item_right(r, a);
		used[a->mech & 3]++;
		if (ok && i)
			ok = T_OK(a[-1].range_id < a->range_id ||
				  (a[-1].range_id == a->range_id && a[-1].offset <= a->offset));
		for (size_t j = 0; ok && a->mech != RMIO_MECH_EXIT && j < i; j++) {
			const struct rmio_plan_item *b = &p->items[j];

			if (b->mech == RMIO_MECH_EXIT || b->store != a->store)
				continue;
			ok = T_OK(!meet(a, b));
			if (a->mech == RMIO_MECH_ZONE && b->mech == RMIO_MECH_ZONE)
				ok = ok && T_NE(a->gpa / PAGE, b->gpa / PAGE);
		}
	}
	return ok && T_EQ(p->slots, used[RMIO_MECH_SLOT]) &&
	       T_EQ(p->zone_pages, used[RMIO_MECH_ZONE]) &&
	       T_EQ(p->bus_devs, used[RMIO_MECH_EVENTFD] + used[RMIO_MECH_ZONE]) &&
	       T_LE(p->slots, r->in.max_slots) && T_LE(p->bus_devs, r->in.max_bus_devs) &&
	       T_LE(p->zone_pages, r->in.max_zone_pages);
}

/* The first item of that kind and mechanism (or of any but EXIT) that has all those bytes. */
static const struct rmio_plan_item *taken_by(const struct rmio_plan *p, uint32_t range_id,
					     uint64_t offset, uint64_t len, bool store)
{
	for (size_t i = 0; i < p->nr; i++) {
		const struct rmio_plan_item *it = &p->items[i];

		if (it->mech == RMIO_MECH_EXIT || it->store != store || it->range_id != range_id ||
		    offset < it->offset || offset - it->offset >= it->length ||
		    len > it->length - (offset - it->offset))
			continue;
		if (it->mech != RMIO_MECH_EVENTFD || (it->offset == offset && it->len == len))
			return it;
	}
	return NULL;
}

static const struct rmio_plan_item *exit_of(const struct rmio_plan *p, uint32_t range_id,
					    uint64_t offset, uint64_t len)
{
	for (size_t i = 0; i < p->nr; i++)
		if (p->items[i].mech == RMIO_MECH_EXIT && p->items[i].store &&
		    p->items[i].range_id == range_id && p->items[i].offset == offset &&
		    p->items[i].length == len)
			return &p->items[i];
	return NULL;
}

/* A page of which every load could be answered from one place. */
static bool page_fits(const struct rig *r, const struct rmio_pa_range *range, uint64_t offset)
{
	struct model_byte first = model_at(r->areas, r->in.nr_areas, range->id, offset);

	if (!first.covered || first.load != RMIO_LOAD_SHADOW || !first.relaxed ||
	    first.sizes != RMIO_SIZE_ALL || first.place % PAGE)
		return false;
	for (uint64_t o = 1; o < PAGE; o++) {
		struct model_byte b = model_at(r->areas, r->in.nr_areas, range->id, offset + o);

		if (!b.covered || b.load != first.load || b.store != first.store || !b.relaxed ||
		    b.sizes != first.sizes || b.place != first.place + o)
			return false;
	}
	return true;
}

/* Nothing that could be taken is left out but for a limit. */
static bool slots_complete(const struct rig *r, const struct rmio_plan *p)
{
	bool ok = true;

	for (size_t i = 0; ok && i < r->in.nr_ranges; i++) {
		const struct rmio_pa_range *range = &r->ranges[i];
		uint64_t o = -range->addr & (PAGE - 1);

		for (; ok && range->bus == RMIO_BUS_MEM && o + PAGE <= range->len; o += PAGE) {
			const struct rmio_plan_item *it = taken_by(p, range->id, o, PAGE, false);

			if (page_fits(r, range, o))
				ok = T_OK(it || p->slots == r->in.max_slots);
			else
				ok = T_OK(!it);
		}
	}
	/* each byte of an area with loads from the shadow is in one load item */
	for (size_t i = 0; ok && i < r->in.nr_areas; i++) {
		const struct rmio_area *a = &r->areas[i];
		uint64_t listed = 0;

		for (size_t j = 0; j < p->nr; j++) {
			const struct rmio_plan_item *it = &p->items[j];
			uint64_t end = it->offset + it->length;

			if (it->store || it->range_id != a->range_id)
				continue;
			end = end < a->offset + a->length ? end : a->offset + a->length;
			if (end > a->offset && it->offset < end)
				listed += end - (it->offset > a->offset ? it->offset : a->offset);
		}
		ok = T_EQ(listed, a->load == RMIO_LOAD_SHADOW ? a->length : 0);
	}
	return ok;
}

static bool wants(const struct rig *r, uint32_t id, uint64_t offset, uint64_t len,
		  uint64_t *count)
{
	bool planned = false;

	*count = 0;
	for (size_t i = 0; i < r->in.nr_heat; i++) {
		const struct rmio_heat_reg *h = &r->heat[i];

		if (h->range_id != id || h->offset != offset || h->len != len)
			continue;
		*count += h->count;
		planned |= h->planned;
	}
	return *count >= (planned ? HOT / RMIO_PLAN_KEEP : HOT);
}

/* Could a single EVENTFD take it? */
static bool eventfd_fits(const struct rig *r, const struct rmio_pa_range *range, uint64_t offset,
			 uint64_t len)
{
	struct model_byte b[8];
	struct rmio_decision d;

	if (range->bus != RMIO_BUS_MEM || (range->addr + offset) % len)
		return false;
	for (uint64_t o = 0; o < len; o++) {
		b[o] = model_at(r->areas, r->in.nr_areas, range->id, offset + o);
		if (b[o].store != b[0].store)
			return false;
	}
	if (b[0].store == RMIO_STORE_THROUGH && !model_uniform(b, (uint32_t)len))
		return false;
	d = model_decide(r->areas, r->in.nr_areas, range->id, offset, (uint32_t)len, true);
	if (d.verdict == RMIO_WAIT_STORE)
		return false;
	if (d.verdict == RMIO_TO_DEVICE)
		return true;
	return r->in.image_writable_by_bpf && (d.shadow_offset - offset) % PAGE == 0 &&
	       d.shadow_offset % PAGE + len <= PAGE;
}

static bool overlaps_hotter(const struct rmio_plan *p, const struct rmio_pa_range *range,
			    uint64_t offset, uint64_t len, uint64_t count)
{
	struct rmio_plan_item me = { .gpa = range->addr + offset, .length = len };

	for (size_t i = 0; i < p->nr; i++)
		if (p->items[i].mech >= RMIO_MECH_EVENTFD && meet(&p->items[i], &me) &&
		    p->items[i].count >= count)
			return true;
	return false;
}

/* Is it an area of one register? */
static bool is_own(const struct rig *r, uint32_t id, uint64_t offset, uint64_t len)
{
	for (size_t i = 0; i < r->in.nr_areas; i++) {
		const struct rmio_area *a = &r->areas[i];

		if (a->range_id == id && a->offset == offset && a->length == len)
			return (len == 1 || len == 2 || len == 4 || len == 8) &&
			       a->store != RMIO_STORE_SYNC &&
			       (range_of(r, id)->addr + offset) % len == 0;
	}
	return false;
}

static bool register_right(const struct rig *r, const struct rmio_plan *p, uint32_t id,
			   uint64_t offset, uint64_t len)
{
	const struct rmio_pa_range *range = range_of(r, id);
	const struct rmio_plan_item *it = taken_by(p, id, offset, len, true);
	uint64_t count, least = UINT64_MAX;
	bool hot = wants(r, id, offset, len, &count), own = is_own(r, id, offset, len);

	if (it)
		return T_OK(hot || own || it->mech == RMIO_MECH_ZONE) && T_GE(it->count, count);
	if (offset >= range->len || len > range->len - offset)
		return true;
	if (!hot && !own)
		return true;
	/* refused: it must be listed with its reason, an area that others share in excepted */
	it = exit_of(p, id, offset, len);
	if (hot && !T_OK(it))
		return false;
	if (!eventfd_fits(r, range, offset, len) || overlaps_hotter(p, range, offset, len, count))
		return true;
	for (size_t i = 0; i < p->nr; i++)
		if (p->items[i].mech >= RMIO_MECH_EVENTFD && p->items[i].count < least)
			least = p->items[i].count;
	if (T_EQ(p->bus_devs, r->in.max_bus_devs) && T_OK(!p->bus_devs || count <= least) &&
	    (!it || T_STREQ(it->why, "no bus device is left")))
		return true;
	ktap_diag("register 0x%llx+%llu of range %u", (unsigned long long)offset,
		  (unsigned long long)len, id);
	return false;
}

static bool stores_complete(const struct rig *r, const struct rmio_plan *p)
{
	bool ok = true;

	for (size_t i = 0; ok && i < r->in.nr_heat; i++)
		if (r->heat[i].len)
			ok = register_right(r, p, r->heat[i].range_id, r->heat[i].offset,
					    r->heat[i].len);
	for (size_t i = 0; ok && i < r->in.nr_areas; i++) {
		const struct rmio_area *a = &r->areas[i];
		bool any = false;

		if (is_own(r, a->range_id, a->offset, a->length))
			ok = register_right(r, p, a->range_id, a->offset, a->length);
		/* something takes stores to it, or there is a reason why not: one of the two */
		for (size_t j = 0; j < p->nr; j++)
			any |= p->items[j].mech >= RMIO_MECH_EVENTFD &&
			       p->items[j].range_id == a->range_id &&
			       p->items[j].offset < a->offset + a->length &&
			       a->offset < p->items[j].offset + p->items[j].length;
		if (!any)
			ok = ok && T_OK(exit_of(p, a->range_id, a->offset, a->length));
	}
	return ok;
}

/* Enough hot registers of one run in a page, and neither a zone nor a limit nor a zone beside. */
static bool zones_complete(const struct rig *r, const struct rmio_plan *p)
{
	for (size_t i = 0; i < p->nr; i++) {
		const struct rmio_plan_item *a = &p->items[i];
		bool zone_in_page = false;
		uint32_t n = 0;

		if (a->mech != RMIO_MECH_EVENTFD || a->through)
			continue;
		for (size_t j = 0; j < p->nr; j++) {
			const struct rmio_plan_item *b = &p->items[j];
			struct rmio_plan_item all = *a;
			uint64_t count;

			if (b->mech == RMIO_MECH_ZONE)
				zone_in_page |= b->gpa / PAGE == a->gpa / PAGE;
			if (b->mech != RMIO_MECH_EVENTFD || b->range_id != a->range_id ||
			    b->gpa / PAGE != a->gpa / PAGE || b->offset < a->offset || b->through ||
			    !wants(r, b->range_id, b->offset, b->len, &count))
				continue;
			all.length = b->offset + b->length - a->offset;
			for (uint64_t o = 0; o < all.length; o++)
				if (model_at(r->areas, r->in.nr_areas, a->range_id,
					     a->offset + o).store != RMIO_STORE_POSTED)
					all.length = 0;
			n += all.length > 0;
		}
		if (n >= RMIO_PLAN_ZONE_MIN && !zone_in_page &&
		    !T_EQ(p->zone_pages, r->in.max_zone_pages))
			return false;
	}
	return true;
}

static void shuffle_heat(struct rig *r)
{
	for (size_t i = r->in.nr_heat; i > 1; i--) {
		size_t j = model_below(i);
		struct rmio_heat_reg t = r->heat[i - 1];

		r->heat[i - 1] = r->heat[j];
		r->heat[j] = t;
	}
}

static bool plans_same(const struct rmio_plan *a, const struct rmio_plan *b)
{
	if (!T_EQ(a->nr, b->nr))
		return false;
	for (size_t i = 0; i < a->nr; i++)
		if (!T_OK(item_eq(&a->items[i], &b->items[i])) ||
		    !T_EQ(a->items[i].count, b->items[i].count) ||
		    !T_STREQ(a->items[i].why, b->items[i].why))
			return false;
	return true;
}

static void random_maps(void)
{
	long rounds = ktap_pick(1500, 6000, 100000) / KTAP_SLOWDOWN;
	struct rmio_plan *shuffled = NULL, *less = NULL;
	long seen[4] = { 0 }, seen_through[4] = { 0 }, starved = 0, kept = 0;
	size_t both = 0;
	bool ok = true;
	struct rig r;

	model_seed = 0x706c616e;
	for (long round = 0; ok && round < rounds; round++) {
		struct rmio_plan *p;
		size_t areas;

		random_rig(&r);
		p = take(&r);
		if (!p)
			break;
		ok = plan_sound(&r, p) && slots_complete(&r, p) && stores_complete(&r, p) &&
		     zones_complete(&r, p);
		for (size_t i = 0; i < p->nr; i++) {
			seen[p->items[i].mech]++;
			seen_through[p->items[i].mech] += p->items[i].through;
			starved += !strcmp(p->items[i].why, "no bus device is left");
		}
		/* the order of what comes in does not matter */
		model_shuffle(r.areas, r.in.nr_areas);
		shuffle_heat(&r);
		shuffled = take(&r);
		ok = ok && shuffled && plans_same(p, shuffled);
		rmio_plan_free(shuffled);
		/* without one of its areas, much of it goes on */
		areas = r.in.nr_areas;
		r.in.nr_areas -= areas > 0;
		less = take(&r);
		ok = ok && less && found_right(p, less, &both) && found_right(less, p, &both);
		kept += (long)both;
		r.in.nr_areas = areas;
		rmio_plan_free(less);
		if (ok) {
			rmio_plan_free(p);
			continue;
		}
		ktap_diag("round %ld: slots %u devices %u pages %u writable %d", round,
			  r.in.max_slots, r.in.max_bus_devs, r.in.max_zone_pages,
			  r.in.image_writable_by_bpf);
		for (size_t i = 0; i < r.in.nr_ranges; i++)
			ktap_diag("range %u at 0x%llx+0x%llx bus %u", r.ranges[i].id,
				  (unsigned long long)r.ranges[i].addr,
				  (unsigned long long)r.ranges[i].len, r.ranges[i].bus);
		for (size_t i = 0; i < r.in.nr_areas; i++)
			ktap_diag("area %u 0x%llx+0x%llx shadow 0x%llx sizes %x load %u store %u flags %x",
				  r.areas[i].range_id, (unsigned long long)r.areas[i].offset,
				  (unsigned long long)r.areas[i].length,
				  (unsigned long long)r.areas[i].shadow_offset, r.areas[i].sizes,
				  r.areas[i].load, r.areas[i].store, r.areas[i].flags);
		for (size_t i = 0; i < r.in.nr_heat; i++)
			ktap_diag("heat %u 0x%llx+%u count %llu planned %d", r.heat[i].range_id,
				  (unsigned long long)r.heat[i].offset, r.heat[i].len,
				  (unsigned long long)r.heat[i].count, r.heat[i].planned);
		show(p);
		rmio_plan_free(p);
	}
	ktap_diag("exit %ld slot %ld eventfd %ld (through %ld) zone %ld (through %ld), starved %ld, kept %ld",
		  seen[0], seen[1], seen[2], seen_through[2], seen[3], seen_through[3], starved,
		  kept);
	/* a generator that makes none tries nothing */
	for (int i = 0; i < 4; i++)
		T_GE(seen[i], rounds / 10);
	T_GE(seen_through[RMIO_MECH_EVENTFD], rounds / 10);
	T_GE(seen_through[RMIO_MECH_ZONE], rounds / 300);
	T_GE(starved, rounds / 10);
	T_GE(kept, rounds);
}
static const struct ktap_test tests[] = {
	{ "random maps", random_maps },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
