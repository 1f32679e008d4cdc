// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What goes on, for display: the plan in force, lanes and what the BPF program has
 * counted.  Beside the data path, which it neither stops nor slows but for the time of
 * copying a plan; numbers that belong together may be of different moments.
 */
#include "backend/bpf/install.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* A copy, so that the callback may take its time and call what it likes. */
static int copy_plan(struct rmio_master *m, struct rmio_plan_entry **out, size_t *n)
{
	const struct rmio_plan *p;
	size_t i;

	*out = NULL;
	*n = 0;
	if (!m->bpf)
		return -ENOTSUP;
	pthread_mutex_lock(&m->vm->kvm->lock);
	p = m->plan->plan;
	if (p && p->nr) {
		*out = malloc(p->nr * sizeof(**out));
		for (i = 0; *out && i < p->nr; i++)
			describe(&p->items[i], &(*out)[i]);
		*n = p->nr;
	}
	pthread_mutex_unlock(&m->vm->kvm->lock);
	return *n && !*out ? -ENOMEM : 0;
}

int rmio_master_plan(struct rmio_master *m,
		     int (*entry)(void *arg, const struct rmio_plan_entry *e), void *arg)
{
	struct rmio_plan_entry *e;
	size_t i, n;
	int err = copy_plan(m, &e, &n);

	for (i = 0; !err && i < n; i++)
		err = entry(arg, &e[i]);
	free(e);
	return err;
}

static void add_lane(struct rmio_lane_stats *s, const struct rmio_bpf_lane *lane)
{
	const volatile struct rmio_bpf_lane *l = lane;
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
}

static void add_vcpu(struct rmio_lane_stats *s, const struct rmio_bpf_vcpu *vcpu)
{
	const volatile struct rmio_bpf_vcpu *v = vcpu;

	s->vcpu_stores += v->seen;
	s->vcpu_kicks += v->kicks;
}

int rmio_master_lane_stats(const struct rmio_master *m, int vcpu, struct rmio_lane_stats *out)
{
	struct rmio_lane_stats s = { .sz = sizeof(s) };
	size_t sz = out->sz;
	uint32_t i;

	if (sz < sizeof(sz))
		return -EINVAL;
	if (vcpu >= 0 && (uint32_t)vcpu >= m->vm->max_vcpus)
		return -ERANGE;
	for (i = 0; i < m->vm->max_vcpus; i++) {
		if (vcpu >= 0 && (uint32_t)vcpu != i)
			continue;
		s.slots += m->lanes[i].slots_nr;
		s.depth += rmio_prod_depth(&m->lanes[i]);
		if (m->bpf) {
			add_lane(&s, &m->bpf->lanes[i]);
			add_vcpu(&s, rmio_bpf_vcpu(m->vm->bpf, i));
		}
	}
	memset(out, 0, sz);
	memcpy(out, &s, sz < sizeof(s) ? sz : sizeof(s));
	out->sz = sz;
	return 0;
}

int rmio_vm_program(const struct rmio_vm *vm, struct rmio_program_stats *out)
{
	struct rmio_program_stats s = { .sz = sizeof(s) };
	size_t sz = out->sz;
	int err;

	if (sz < sizeof(sz))
		return -EINVAL;
	err = vm->bpf ? rmio_bpf_program(vm->bpf, &s.id, &s.runs, &s.run_ns) : -ENOTSUP;
	if (err)
		return err;
	memset(out, 0, sz);
	memcpy(out, &s, sz < sizeof(s) ? sz : sizeof(s));
	out->sz = sz;
	return 0;
}
