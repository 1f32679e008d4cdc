// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Which device answers an address: the PA ranges of all masters of a VM
 * (KVM_DEV_USER_PA_RANGE).  First step of each access.
 */
#include "range.h"
#include "refuse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IO_LAST 0xffffull

/* Index of the first range that ends at or after @addr. */
static size_t lower_bound(const struct range_table *t, uint64_t addr)
{
	size_t lo = 0, hi = t->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->ranges[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

enum range_match rmio_range_find(const struct range_table *t, uint64_t addr, uint32_t len,
				 size_t *hit, const struct range **range)
{
	/* A guest's access may wrap at the end of the address space; no range does. */
	uint64_t last = addr + len - 1 < addr ? UINT64_MAX : addr + len - 1;
	const struct range *r;
	size_t i = *hit;

	if (i >= t->nr || addr < t->ranges[i].addr || addr > t->ranges[i].last) {
		i = lower_bound(t, addr);
		if (i == t->nr || t->ranges[i].addr > last)
			return RANGE_NONE;
		*hit = i;
	}
	r = &t->ranges[i];
	if (addr < r->addr || last > r->last || addr + len - 1 < addr)
		return RANGE_STRADDLE;
	*range = r;
	return RANGE_HIT;
}

static struct range *find_id(const struct range_table *t, const struct rmio_master *m, uint32_t id)
{
	size_t i;

	for (i = 0; i < t->nr; i++)
		if (t->ranges[i].master == m && t->ranges[i].id == id)
			return &t->ranges[i];
	return NULL;
}

static size_t count(const struct rmio_vm *vm, const struct rmio_master *m)
{
	size_t i, n = 0;
	int bus;

	for (bus = 0; bus < RMIO_BUSES; bus++)
		for (i = 0; i < vm->tables[bus].nr; i++)
			n += vm->tables[bus].ranges[i].master == m;
	return n;
}

/*
 * A copy of @t without @gone and with @add (either may be NULL), still sorted.
 * -EEXIST when @add overlaps.
 */
static int rebuild(const struct range_table *t, const struct range *gone, const struct range *add,
		   struct range_table *out)
{
	size_t i, n = 0;

	out->ranges = calloc(t->nr + 1, sizeof(*out->ranges));
	if (!out->ranges)
		return -ENOMEM;
	for (i = 0; i < t->nr; i++) {
		const struct range *r = &t->ranges[i];

		if (r == gone)
			continue;
		if (add && r->addr <= add->last && add->addr <= r->last) {
			free(out->ranges);
			return -EEXIST;
		}
		if (add && add->addr < r->addr) {
			out->ranges[n++] = *add;
			add = NULL;
		}
		out->ranges[n++] = *r;
	}
	if (add)
		out->ranges[n++] = *add;
	out->nr = n;
	return 0;
}

/* What the device has, as far as it is known: it may have to be asked, so no lock is held. */
static int check_limit(const struct rmio_master *m, const struct rmio_pa_range *r)
{
	uint64_t most = UINT64_MAX;
	int err = m->own->limit ? m->own->limit(m->own->limit_arg, r->id, &most) : 0;

	if (err)
		return rmio_refuse(err, "%s has no region %u", m->own->name, r->id);
	if (r->len > most)
		return rmio_refuse(-EFBIG, "region %u of %s has 0x%llx bytes, not 0x%llx", r->id,
				   m->own->name, (unsigned long long)most,
				   (unsigned long long)r->len);
	return 0;
}

static int check(const struct rmio_master *m, const struct rmio_pa_range *r)
{
	uint64_t last = r->addr + r->len - 1;

	if (r->bus >= RMIO_BUSES || r->id > 0xffff)
		return -EINVAL;
	if (!r->len)
		return 0;
	if (last < r->addr || (r->bus == RMIO_BUS_IO && last > IO_LAST))
		return -EOVERFLOW;
	return check_limit(m, r);
}

int rmio_master_pa_range(struct rmio_master *m, const struct rmio_pa_range *range)
{
	struct rmio_pa_range want = *range;
	struct rmio_vm *vm = m->vm;
	struct range add = {
		.addr = want.addr,
		.last = want.addr + want.len - 1,
		.id = want.id,
		.master = m,
	};
	struct range_table fresh[RMIO_BUSES] = { { NULL, 0 }, { NULL, 0 } };
	bool changed[RMIO_BUSES] = { false, false };
	struct range *old[RMIO_BUSES];
	bool there = false;
	int err, bus;

	err = check(m, &want);
	if (err)
		return err;
	if (m->ops->change_begin)
		m->ops->change_begin(m, want.id);
	rmio_vm_freeze(vm);
	for (bus = 0; bus < RMIO_BUSES; bus++) {
		old[bus] = find_id(&vm->tables[bus], m, want.id);
		there |= !!old[bus];
	}
	err = -ENOENT;
	if (!want.len && !there)
		goto out;
	err = -ENOSPC;
	if (!there && count(vm, m) >= RMIO_RANGES_MAX)
		goto out;
	err = -ERANGE;
	if (want.len && rmio_map_end(m->map, want.id) > want.len)
		goto out;
	for (bus = 0; bus < RMIO_BUSES; bus++) {
		const struct range *a = want.len && want.bus == (uint32_t)bus ? &add : NULL;

		if (!old[bus] && !a)
			continue;
		err = rebuild(&vm->tables[bus], old[bus], a, &fresh[bus]);
		if (err)
			goto free_fresh;
		changed[bus] = true;
	}
	err = m->ops->range ? m->ops->range(m, &want) : 0;
	if (err)
		goto free_fresh;
	vm->moves++;
	for (bus = 0; bus < RMIO_BUSES; bus++) {
		struct range_table t = vm->tables[bus];

		if (!changed[bus])
			continue;
		vm->tables[bus] = fresh[bus];
		fresh[bus] = t;
	}
free_fresh:
	for (bus = 0; bus < RMIO_BUSES; bus++)
		if (changed[bus])
			free(fresh[bus].ranges);
out:
	rmio_vm_thaw(vm);
	if (m->ops->change_end)
		m->ops->change_end(m);
	return err;
}

void rmio_range_drop(struct rmio_vm *vm, const struct rmio_master *m)
{
	int bus;

	vm->moves++;
	for (bus = 0; bus < RMIO_BUSES; bus++) {
		struct range_table *t = &vm->tables[bus];
		size_t i, n = 0;

		for (i = 0; i < t->nr; i++)
			if (t->ranges[i].master != m)
				t->ranges[n++] = t->ranges[i];
		t->nr = n;
	}
}

int rmio_range_check_map(const struct rmio_vm *vm, const struct rmio_master *m,
			 const struct rmio_map *map)
{
	int bus;
	size_t i;

	for (bus = 0; bus < RMIO_BUSES; bus++) {
		const struct range_table *t = &vm->tables[bus];

		for (i = 0; i < t->nr; i++) {
			const struct range *r = &t->ranges[i];
			uint64_t end = rmio_map_end(map, r->id);

			if (r->master == m && end && end - 1 > r->last - r->addr)
				return -ERANGE;
		}
	}
	return 0;
}
