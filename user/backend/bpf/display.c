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

static void describe(const struct rmio_plan_item *it, struct rmio_plan_entry *e)
{
	*e = (struct rmio_plan_entry){
		.sz = sizeof(*e),
		.offset = it->offset,
		.length = it->length,
		.addr = it->gpa,
		.count = it->count,
		.mechanism = mechanisms[it->mech],
		.why = it->why ? it->why : "",
		.range_id = it->range_id,
		.len = it->len,
		.store = it->store,
		.through = it->through,
	};
}

/* A copy, so that whoever asks may take its time. */
int rmio_bpf_display_plan(struct rmio_master *m, struct rmio_plan_entry **out, size_t *n)
{
	const struct rmio_plan *p;
	size_t i;

	*out = NULL;
	*n = 0;
	pthread_mutex_lock(&rmio_kvm_of(m->vm)->lock);
	p = rmio_bpf_of(m)->plan->plan;
	if (p && p->nr) {
		*out = malloc(p->nr * sizeof(**out));
		for (i = 0; *out && i < p->nr; i++)
			describe(&p->items[i], &(*out)[i]);
		*n = p->nr;
	}
	pthread_mutex_unlock(&rmio_kvm_of(m->vm)->lock);
	return *n && !*out ? -ENOMEM : 0;
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
