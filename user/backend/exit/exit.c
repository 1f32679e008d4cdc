// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The back end `exit`: every access comes out to the VMM, whose vCPU thread asks the access map and
 * fills the lanes, which are sealed memfds.  Needs nothing, and is what every other back end falls
 * back to.  Beside the data path: once a device.
 */
#include "backend/backend.h"
#include "backend/lanes.h"

#include <sys/mman.h>
#include <unistd.h>

#define RING_SLOTS	256u

static int dev_new(struct rmio_master *m, uint32_t slots)
{
	size_t stride = rmio_lane_stride(slots);
	uint32_t n = m->vm->max_vcpus;
	void *mem;
	int err;

	m->down_size = RMIO_PAGE + n * stride;
	err = rmio_region_new("rmio-down", m->down_size, true, true, &m->give[0], &mem);
	if (err)
		return err;
	m->down = mem;
	m->up_size = (uint64_t)RMIO_PAGE * (1 + n);
	err = rmio_region_new("rmio-up", m->up_size, false, false, &m->give[1], &mem);
	if (err)
		goto free_down;
	m->up = mem;
	m->nr_give = 2;
	rmio_lanes_init(m, slots);
	return 0;

free_down:
	munmap(m->down, m->down_size);
	close(m->give[0]);
	return err;
}

static void dev_free(struct rmio_master *m)
{
	munmap((void *)m->up, m->up_size);
	munmap(m->down, m->down_size);
	close(m->give[1]);
	close(m->give[0]);
}

const struct rmio_backend_ops rmio_backend_exit = {
	.id = RMIO_BACKEND_EXIT,
	.ring_slots = RING_SLOTS,
	.dev_new = dev_new,
	.dev_free = dev_free,
};
