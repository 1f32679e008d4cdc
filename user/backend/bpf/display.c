// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What the back end `bpf` does, for display: the plan in force, and what the program has counted.
 * Beside the data path, which it neither stops nor slows but for the time of copying a plan;
 * numbers that belong together may be of different moments.
 */
#include "bpf.h"

#include <errno.h>
#include <stdlib.h>

_Static_assert(RMIO_LATENCY_BUCKETS == RMIO_BPF_HIST, "buckets of the histogram");

static const char *const mechanisms[] = {
	[RMIO_MECH_EXIT] = "exit",
	[RMIO_MECH_SLOT] = "memslot",
	[RMIO_MECH_EVENTFD] = "ioeventfd",
	[RMIO_MECH_ZONE] = "zone",
};

/*
 * What is taken is counted since it is in force; what exits was when the plan was made, and is no
 * more than an estimate (plan/heat.c).
 */
static uint64_t seen(struct rmio_master *m, size_t i)
{
	const struct rmio_kvm_plan *p = rmio_bpf_of(m)->plan;
	const struct rmio_plan_item *it = &p->plan->items[i];

	if (it->mech == RMIO_MECH_EVENTFD || it->mech == RMIO_MECH_ZONE)
		return p->taken[i] + rmio_kvm_hits(m, it, false);
	return it->count;
}

static void describe(struct rmio_master *m, size_t i, struct rmio_plan_entry *e)
{
	const struct rmio_plan_item *it = &rmio_bpf_of(m)->plan->plan->items[i];

	*e = (struct rmio_plan_entry){
		.sz = sizeof(*e),
		.offset = it->offset,
		.length = it->length,
		.addr = it->gpa,
		.count = seen(m, i),
		.mechanism = mechanisms[it->mech],
		.why = it->why ? it->why : "",
		.range_id = it->range_id,
		.len = it->len,
		.store = it->store,
		.through = it->through,
	};
}

/* Why the planner has nothing to say of a device's loads, and of stores that are not hot. */
static const char *no_areas(const struct rmio_master *m, bool store)
{
	const struct rmio_kvm_plan *p = rmio_bpf_of(m)->plan;
	enum rmio_state state = rmio_word_read(&m->state);

	if (rmio_state_dead(state))
		return "the device is dead";
	if (p->lost)
		return "no memory for the access map";
	if (state == RMIO_STATE_NEW)
		return "no device has attached yet";
	return store ? "no access map: what is stored to most is taken, the rest exits" :
		       "no access map: the device may want to see each load";
}

/* An entry each for the loads and stores of each range of a device without areas. */
static size_t whole_ranges(const struct rmio_master *m, struct rmio_plan_entry *out)
{
	struct rmio_vm *vm = m->vm;
	size_t i, n = 0;
	int bus, store;

	pthread_mutex_lock(&vm->lock);
	for (bus = 0; bus < RMIO_BUSES; bus++)
		for (i = 0; i < vm->tables[bus].nr && n + 2 <= 2 * RMIO_RANGES_MAX; i++) {
			const struct range *r = &vm->tables[bus].ranges[i];

			for (store = 0; r->master == m && store < 2; store++)
				out[n++] = (struct rmio_plan_entry){
					.sz = sizeof(*out),
					.length = r->last - r->addr + 1,
					.addr = r->addr,
					.mechanism = mechanisms[RMIO_MECH_EXIT],
					.why = no_areas(m, store),
					.range_id = r->id,
					.store = store,
				};
		}
	pthread_mutex_unlock(&vm->lock);
	return n;
}

/* A copy, so that whoever asks may take its time. */
int rmio_bpf_display_plan(struct rmio_master *m, struct rmio_plan_entry **out, size_t *n)
{
	const struct rmio_kvm_plan *mine = rmio_bpf_of(m)->plan;
	const struct rmio_plan *p;
	size_t i, nr;

	*out = NULL;
	*n = 0;
	pthread_mutex_lock(&rmio_kvm_of(m->vm)->lock);
	p = mine->plan;
	nr = p ? p->nr : 0;
	*out = malloc((nr + 2 * RMIO_RANGES_MAX) * sizeof(**out));
	if (*out) {
		if (!mine->nr_areas)
			*n = whole_ranges(m, *out);
		for (i = 0; i < nr; i++)
			describe(m, i, &(*out)[(*n)++]);
	}
	pthread_mutex_unlock(&rmio_kvm_of(m->vm)->lock);
	return *out ? 0 : -ENOMEM;
}

void rmio_bpf_display_lane(const struct rmio_master *m, uint32_t vcpu, struct rmio_lane_stats *s)
{
	const volatile struct rmio_bpf_vcpu *v = rmio_bpf_vcpu(rmio_kvm_of(m->vm)->bpf, vcpu);
	const volatile struct rmio_bpf_lane *l = &rmio_bpf_of(m)->dev.lanes[vcpu];
	uint32_t i;

	s->posted += l->posted;
	s->zone += l->zone;
	s->through += l->through;
	s->full += l->full;
	s->bad += l->bad;
	s->discarded += l->discarded;
	s->lost += l->lost;
	for (i = 0; i < RMIO_LATENCY_BUCKETS; i++)
		s->load_ns[i] += l->load_ns[i];
	s->vcpu_stores += v->seen;
	s->vcpu_kicks += v->kicks;
}

void rmio_bpf_display_counters(const struct rmio_master *m, uint32_t vcpu,
			       struct rmio_counters *c)
{
	const volatile struct rmio_bpf_lane *l = &rmio_bpf_of(m)->dev.lanes[vcpu];

	c->posted += l->posted;
	c->full += l->full;
	c->discarded += l->discarded + l->lost;
}

int rmio_bpf_display_program(const struct rmio_vm *vm, struct rmio_program_stats *s)
{
	const struct rmio_kvm *k = rmio_kvm_of(vm);

	return k->bpf ? rmio_bpf_program(k->bpf, &s->id, &s->runs, &s->run_ns) : -ENOTSUP;
}

int rmio_bpf_display_maps(const struct rmio_vm *vm, const struct rmio_master *m,
			  int (*map)(void *arg, const char *name, uint32_t id), void *arg)
{
	const struct rmio_kvm *k = rmio_kvm_of(vm);

	return k->bpf ? rmio_bpf_maps(k->bpf, m ? &rmio_bpf_of(m)->dev : NULL, map, arg) : -ENOTSUP;
}
