// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * When a device's ranges, map, image or state change, or its guest's habits: makes the
 * new plan (plan/) and puts the difference into force (install.c).  Beside the data path,
 * while the guest runs: an access that nothing takes just then exits.
 */
#include "bpf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define TIMED_PAGES	64u	/* of a range, whose loads are timed */
#define HEAT_MAX	2048u	/* registers, those in force included */
#define NOT_YET		(-2)	/* slots[]: not in force */

struct rmio_kvm_plan *rmio_kvm_plan_new(void)
{
	struct rmio_kvm_plan *p = calloc(1, sizeof(*p));
	uint64_t key;

	if (!p)
		return NULL;
	if (getrandom(&key, sizeof(key), GRND_NONBLOCK) != sizeof(key))
		key = (uintptr_t)p ^ rmio_now_ns();
	rmio_heat_init(&p->heat, RMIO_HEAT_HOT, key);
	pthread_mutex_init(&p->heating, NULL);
	return p;
}

void rmio_kvm_plan_free(struct rmio_kvm_plan *p)
{
	rmio_plan_free(p->plan);
	free(p->slots);
	free(p->taken);
	free(p->areas);
	pthread_mutex_destroy(&p->heating);
	free(p);
}

void rmio_kvm_areas(struct rmio_master *m, const struct rmio_area *areas, size_t n)
{
	struct rmio_kvm_plan *p = rmio_bpf_of(m)->plan;
	struct rmio_area *copy = NULL;

	if (n) {
		copy = malloc(n * sizeof(*copy));
		if (copy)
			memcpy(copy, areas, n * sizeof(*copy));
	}
	free(p->areas);
	p->areas = copy;
	p->nr_areas = copy ? n : 0;
	p->lost = n && !copy;
}

/* -- asking ---------------------------------------------------------------------- */

void rmio_kvm_ask(struct rmio_master *m)
{
	uint64_t one = 1;
	int saved = errno;

	rmio_word_write(&rmio_bpf_of(m)->plan->asked, 1);
	/* Fails only when it would wrap: then it is readable. */
	if (write(rmio_kvm_of(m->vm)->changed, &one, sizeof(one)) < 0)
		errno = saved;
}

void rmio_kvm_heat(struct rmio_master *m, uint32_t range_id, uint64_t offset, uint32_t len)
{
	struct rmio_kvm_plan *p = rmio_bpf_of(m)->plan;
	bool hot;

	/* Another vCPU counts just now: this store is not missed. */
	if (pthread_mutex_trylock(&p->heating))
		return;
	hot = rmio_heat_add(&p->heat, range_id, offset, len);
	pthread_mutex_unlock(&p->heating);
	if (hot)
		rmio_kvm_ask(m);
}

void rmio_kvm_replan(struct rmio_vm *vm)
{
	struct rmio_master *m;
	uint64_t n;

	if (read(rmio_kvm_of(vm)->changed, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
	for (m = vm->masters; m; m = m->next) {
		if (m->ops->id != RMIO_BACKEND_BPF || !rmio_word_read(&rmio_bpf_of(m)->plan->asked))
			continue;
		rmio_kvm_begin(m, RMIO_CHANGE_NONE);
		rmio_word_write(&rmio_bpf_of(m)->plan->asked, 0);
		rmio_kvm_end(m);
	}
}

/* -- the difference ----------------------------------------------------------------- */

static void take_back(struct rmio_master *m, uint32_t id)
{
	struct rmio_kvm_plan *p = rmio_bpf_of(m)->plan;
	size_t i;

	for (i = 0; p->plan && i < p->plan->nr; i++)
		if (id == RMIO_CHANGE_ALL || p->plan->items[i].range_id == id)
			rmio_kvm_uninstall(m, &p->plan->items[i], p->slots[i]);
}

/* The pages whose loads the program times: the first of each range. */
static void time_loads(struct rmio_master *m, uint32_t id, bool on)
{
	const struct range_table *t = &m->vm->tables[RMIO_BUS_MEM];
	struct rmio_bpf *bpf = rmio_kvm_of(m->vm)->bpf;
	size_t i;

	pthread_mutex_lock(&m->vm->lock);
	for (i = 0; i < t->nr; i++) {
		const struct range *r = &t->ranges[i];
		uint64_t page = r->addr / RMIO_PAGE, last = r->last / RMIO_PAGE;

		if (r->master != m || (id != RMIO_CHANGE_ALL && r->id != id))
			continue;
		if (last - page >= TIMED_PAGES)
			last = page + TIMED_PAGES - 1;
		for (; page <= last; page++)
			if (on)
				rmio_bpf_page_set(bpf, page, rmio_bpf_of(m)->dev.slot);
			else
				rmio_bpf_page_clear(bpf, page);
	}
	pthread_mutex_unlock(&m->vm->lock);
}

void rmio_kvm_begin(struct rmio_master *m, uint32_t id)
{
	pthread_mutex_lock(&rmio_kvm_of(m->vm)->lock);
	if (id == RMIO_CHANGE_NONE)
		return;
	take_back(m, id);
	time_loads(m, id, false);
}

static size_t ranges_of(const struct rmio_master *m, struct rmio_pa_range *out)
{
	struct rmio_vm *vm = m->vm;
	size_t i, n = 0;
	uint32_t bus;

	pthread_mutex_lock(&vm->lock);
	for (bus = 0; bus < RMIO_BUSES; bus++)
		for (i = 0; i < vm->tables[bus].nr && n < RMIO_RANGES_MAX; i++) {
			const struct range *r = &vm->tables[bus].ranges[i];

			if (r->master == m)
				out[n++] = (struct rmio_pa_range){
					.id = r->id,
					.bus = bus,
					.addr = r->addr,
					.len = r->last - r->addr + 1,
				};
		}
	pthread_mutex_unlock(&vm->lock);
	return n;
}

/* What exits, and what the plan in force takes, so that it is not given up for nothing. */
static size_t heat_of(struct rmio_master *m, struct rmio_heat_reg *out, size_t room)
{
	struct rmio_kvm_plan *p = rmio_bpf_of(m)->plan;
	size_t n, i;

	pthread_mutex_lock(&p->heating);
	n = rmio_heat_list(&p->heat, out, room);
	pthread_mutex_unlock(&p->heating);
	for (i = 0; p->plan && i < p->plan->nr && n < room; i++) {
		const struct rmio_plan_item *it = &p->plan->items[i];
		uint64_t hits;

		if (it->mech != RMIO_MECH_EVENTFD && it->mech != RMIO_MECH_ZONE)
			continue;
		hits = rmio_kvm_hits(m, it, true);
		p->taken[i] += hits;
		out[n++] = (struct rmio_heat_reg){
			.offset = it->offset,
			/* What was known then counts for half of what has come since. */
			.count = it->count / 2 + hits,
			.range_id = it->range_id,
			.len = it->len,
			.planned = true,
		};
	}
	return n;
}

static struct rmio_plan *make(struct rmio_master *m)
{
	struct rmio_pa_range ranges[RMIO_RANGES_MAX];
	struct rmio_kvm_plan *p = rmio_bpf_of(m)->plan;
	struct rmio_kvm *k = rmio_kvm_of(m->vm);
	struct rmio_plan_in in = {
		.areas = p->areas,
		.nr_areas = p->nr_areas,
		.ranges = ranges,
		.image_size = m->image_size,
		.image_writable_by_bpf = rmio_bpf_of(m)->array,
		.hot = RMIO_HEAT_HOT,
		/* What this device has already is its own to spend again. */
		.max_slots = k->nr_slots - k->slots_used,
		.max_bus_devs = m->reserve ? k->bus_devs - k->bus_devs_used : 0,
		.max_zone_pages = k->ring_page ? RMIO_BPF_ZONE_PAGES - k->zone_pages_used : 0,
	};
	struct rmio_heat_reg *heat;
	struct rmio_plan *plan;
	size_t i;
	int err;

	if (p->lost || rmio_state_dead(rmio_word_read(&m->state)))
		return NULL;
	for (i = 0; p->plan && i < p->plan->nr; i++) {
		uint32_t mech = p->plan->items[i].mech;

		in.max_slots += mech == RMIO_MECH_SLOT;
		in.max_bus_devs += mech == RMIO_MECH_EVENTFD || mech == RMIO_MECH_ZONE;
		in.max_zone_pages += mech == RMIO_MECH_ZONE;
	}
	heat = calloc(HEAT_MAX, sizeof(*heat));
	if (!heat)
		return NULL;
	in.heat = heat;
	in.nr_heat = heat_of(m, heat, HEAT_MAX);
	in.nr_ranges = ranges_of(m, ranges);
	err = rmio_plan_make(&in, &plan);
	free(heat);
	return err ? NULL : plan;
}

/* What is in both goes on, in its memory slot. */
static void put_in_force(struct rmio_master *m, struct rmio_plan *next, int *slots, uint64_t *taken)
{
	struct rmio_kvm_plan *p = rmio_bpf_of(m)->plan;
	size_t i;

	for (i = 0; i < next->nr; i++)
		slots[i] = NOT_YET;
	/* First what goes: neither limits nor addresses are to be used twice. */
	for (i = 0; p->plan && i < p->plan->nr; i++) {
		struct rmio_plan_item *old = &p->plan->items[i];
		const struct rmio_plan_item *kept = rmio_plan_find(next, old);

		if (kept) {
			slots[kept - next->items] = p->slots[i];
			taken[kept - next->items] = p->taken[i];
		} else {
			rmio_kvm_uninstall(m, old, p->slots[i]);
		}
	}
	for (i = 0; i < next->nr; i++)
		if (slots[i] == NOT_YET)
			rmio_kvm_install(m, &next->items[i], &slots[i]);
}

void rmio_kvm_end(struct rmio_master *m)
{
	struct rmio_kvm_plan *p = rmio_bpf_of(m)->plan;
	struct rmio_plan *next;
	uint64_t *taken = NULL;
	int *slots = NULL;

	time_loads(m, RMIO_CHANGE_ALL, true);
	next = make(m);
	if (next) {
		slots = calloc(next->nr + 1, sizeof(*slots));
		taken = calloc(next->nr + 1, sizeof(*taken));
	}
	if (slots && taken) {
		put_in_force(m, next, slots, taken);
		rmio_plan_free(p->plan);
		free(p->slots);
		free(p->taken);
		p->plan = next;
		p->slots = slots;
		p->taken = taken;
	} else {
		/* Dead, or no memory: then everything exits. */
		take_back(m, RMIO_CHANGE_ALL);
		rmio_plan_free(next);
		free(slots);
		free(taken);
	}
	pthread_mutex_unlock(&rmio_kvm_of(m->vm)->lock);
}
