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
	int err = m->ops->plan ? m->ops->plan(m, &e, &n) : -ENOTSUP;

	for (i = 0; !err && i < n; i++)
		err = entry(arg, &e[i]);
	free(e);
	return err;
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
		if (m->ops->lane_stats)
			m->ops->lane_stats(m, i, &s);
	}
	memset(out, 0, sz);
	memcpy(out, &s, sz < sizeof(s) ? sz : sizeof(s));
	out->sz = sz;
	return 0;
}

int rmio_vm_maps(const struct rmio_vm *vm, const struct rmio_master *m,
		 int (*map)(void *arg, const char *name, uint32_t id), void *arg)
{
	if (!m)
		return rmio_backend_maps(vm, map, arg);
	return m->ops->maps ? m->ops->maps(vm, m, map, arg) : -ENOTSUP;
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
