// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What goes on, for display: lanes, and what the back end says of its plan and program.  Beside
 * the data path, which it neither stops nor slows; numbers that belong together may be of
 * different moments.
 */
#include "vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int rmio_master_plan(struct rmio_master *m,
		     int (*entry)(void *arg, const struct rmio_plan_entry *e), void *arg)
{
	struct rmio_plan_entry *e = NULL;
	size_t i, n = 0;
	int err;

	/* So that it keeps its part of the back end meanwhile (renew.c). */
	pthread_mutex_lock(&m->vm->control);
	err = m->ops->plan ? m->ops->plan(m, &e, &n) : -ENOTSUP;
	pthread_mutex_unlock(&m->vm->control);
	for (i = 0; !err && i < n; i++)
		err = entry(arg, &e[i]);
	free(e);
	return err;
}

static void add_past(struct rmio_lane_stats *s, const struct rmio_lane_stats *past)
{
	uint32_t i;

	s->posted += past->posted;
	s->zone += past->zone;
	s->through += past->through;
	s->full += past->full;
	s->bad += past->bad;
	s->discarded += past->discarded;
	s->lost += past->lost;
	for (i = 0; i < RMIO_LATENCY_BUCKETS; i++)
		s->load_ns[i] += past->load_ns[i];
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
	pthread_mutex_lock(&m->vm->lock);
	for (i = 0; i < m->vm->max_vcpus; i++) {
		if (vcpu >= 0 && (uint32_t)vcpu != i)
			continue;
		s.slots += m->lanes[i].slots_nr;
		s.depth += rmio_prod_depth(&m->lanes[i]);
		if (m->own->past)
			add_past(&s, &m->own->past[i].stats);
		if (m->ops->lane_stats)
			m->ops->lane_stats(m, i, &s);
	}
	pthread_mutex_unlock(&m->vm->lock);
	memset(out, 0, sz);
	memcpy(out, &s, sz < sizeof(s) ? sz : sizeof(s));
	out->sz = sz;
	return 0;
}

int rmio_vm_maps(const struct rmio_vm *vm, const struct rmio_master *m,
		 int (*map)(void *arg, const char *name, uint32_t id), void *arg)
{
	int err;

	if (!m)
		return rmio_backend_maps(vm, map, arg);
	pthread_mutex_lock(&m->vm->control);
	err = m->ops->maps ? m->ops->maps(vm, m, map, arg) : -ENOTSUP;
	pthread_mutex_unlock(&m->vm->control);
	return err;
}

int rmio_vm_program(const struct rmio_vm *vm, struct rmio_program_stats *out)
{
	struct rmio_program_stats s = { .sz = sizeof(s) };
	size_t sz = out->sz;
	int err;

	if (sz < sizeof(sz))
		return -EINVAL;
	err = rmio_backend_program(vm, &s);
	if (err)
		return err;
	memset(out, 0, sz);
	memcpy(out, &s, sz < sizeof(s) ? sz : sizeof(s));
	out->sz = sz;
	return 0;
}
