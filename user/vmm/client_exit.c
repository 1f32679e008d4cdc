// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Devices without rings: where their ranges are, and their accesses, each a message.  The data path
 * of those alone; with rings the master has the ranges, and nothing comes here.
 */
#include "client_priv.h"
#include "refuse.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

int rmio_client_pa_range(struct rmio_client *c, const struct rmio_pa_range *r)
{
	struct rmio_region_info info = { 0 };
	uint32_t i;
	int rc;

	if (c->master)
		return rmio_master_pa_range(c->master, r);
	if (r->bus > RMIO_BUS_IO || r->id > 0xffff)
		return rmio_refuse(-EINVAL, "rmio_pa_range: an unknown bus, or an id above 65535");
	if (r->len) {
		if (r->addr + (r->len - 1) < r->addr ||
		    (r->bus == RMIO_BUS_IO && r->addr + (r->len - 1) > 0xffff))
			return rmio_refuse(-EOVERFLOW, "range %u: it ends beyond its bus", r->id);
		rc = rmio_client_region_info(c, r->id, &info);
		if (rc == -EINVAL || (!rc && !info.size))
			return rmio_refuse(-ENXIO, "range %u: the device has no such region", r->id);
		if (rc)
			return rc;
		if (r->len > info.size)
			return rmio_refuse(-EFBIG, "range %u: 0x%llx bytes, of a region of 0x%llx",
					   r->id, (unsigned long long)r->len,
					   (unsigned long long)info.size);
	}
	pthread_rwlock_wrlock(&c->places_lock);
	for (i = 0; i < c->nr_places && c->places[i].id != r->id; i++)
		;
	rc = 0;
	if (i < c->nr_places) {
		c->places[i] = r->len ? *r : c->places[--c->nr_places];
	} else if (r->len) {
		if (i < CLIENT_PLACES_MAX)
			c->places[c->nr_places++] = *r;
		else
			rc = rmio_refuse(-ENOSPC, "more than %u ranges", CLIENT_PLACES_MAX);
	}
	pthread_rwlock_unlock(&c->places_lock);
	return rc;
}

struct access {
	bool io, store;
	uint64_t addr;
	uint8_t *data;
	uint32_t len;
};

/* The first range from @from on that holds some of it. */
static bool find(struct rmio_client *c, const struct access *a, uint32_t *from,
		 struct rmio_pa_range *r)
{
	uint64_t end = a->addr + (a->len - 1);
	bool found = false;

	pthread_rwlock_rdlock(&c->places_lock);
	for (; !found && *from < c->nr_places; ++*from) {
		*r = c->places[*from];
		found = (r->bus == RMIO_BUS_IO) == a->io && end >= a->addr && r->addr <= end &&
			a->addr <= r->addr + (r->len - 1);
	}
	pthread_rwlock_unlock(&c->places_lock);
	return found;
}

/* The part of it that lies in the range, as a bus would cut it. */
static int part(struct rmio_client *c, const struct access *a, const struct rmio_pa_range *r)
{
	uint64_t first = a->addr > r->addr ? a->addr : r->addr;
	uint64_t end = a->addr + (a->len - 1), last = r->addr + (r->len - 1);
	uint8_t *data = a->data + (first - a->addr);
	uint32_t len = (uint32_t)((end < last ? end : last) - first + 1);
	int rc;

	if (a->store)
		return rmio_client_region_write(c, r->id, first - r->addr, data, len);
	rc = rmio_client_region_read(c, r->id, first - r->addr, data, len);
	if (rc)
		memset(data, 0xff, len);
	return rc;
}

int rmio_client_exit(struct rmio_client *c, struct kvm_run *run)
{
	bool io = run->exit_reason == KVM_EXIT_IO, any = false;
	uint32_t count = io ? run->io.count : 1, from;
	struct access a = {
		.io = io,
		.store = io ? run->io.direction == KVM_EXIT_IO_OUT : run->mmio.is_write,
		.addr = io ? run->io.port : run->mmio.phys_addr,
		.data = io ? (uint8_t *)run + run->io.data_offset : run->mmio.data,
		.len = io ? run->io.size : run->mmio.len,
	};
	struct rmio_pa_range r;
	int rc = 0, err;

	if (c->master || (!io && run->exit_reason != KVM_EXIT_MMIO))
		return -EOPNOTSUPP;
	for (; count; count--, a.data += a.len) {
		for (from = 0; find(c, &a, &from, &r); any = true) {
			/* The other bytes are nobody's, or another's that is asked after us. */
			if (!any && !a.store)
				memset(a.data, 0xff, (size_t)a.len * count);
			err = part(c, &a, &r);
			rc = err ? err : rc;
		}
	}
	return any ? rc : -EOPNOTSUPP;
}
