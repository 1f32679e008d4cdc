// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Lanes that the library itself fills and reads, in memory that a back end has made.  Beside the
 * data path: once a device.
 */
#include "lanes.h"
#include "memfd.h"
#include "wire/chan.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int rmio_region_new(const char *name, uint64_t size, bool write, bool future_write, int *fd,
		    void **mem)
{
	int err;

	*fd = rmio_memfd_new(name, size);
	if (*fd < 0)
		return *fd;
	*mem = rmio_memfd_map(*fd, size, write, NULL);
	if (!*mem) {
		err = -errno;
		goto close_fd;
	}
	/* From here on nobody else can map it for writing. */
	err = rmio_memfd_seal(*fd, future_write);
	if (!err)
		return 0;
	munmap(*mem, size);
close_fd:
	close(*fd);
	return err;
}

void rmio_lanes_init(struct rmio_master *m, uint32_t slots)
{
	size_t stride = rmio_lane_stride(slots);
	uint32_t n = m->vm->max_vcpus, i;

	m->down->magic = RMIO_ABI_MAGIC;
	m->down->version = RMIO_ABI_VERSION;
	m->down->features = RMIO_FEATURES;
	m->down->nr_lanes = n;
	m->down->ring_slots = slots;
	m->down->lane_stride = stride;
	m->down->size = m->down_size;
	for (i = 0; i < n; i++)
		rmio_prod_init(&m->lanes[i], (char *)m->down + RMIO_PAGE + i * stride,
			       (const char *)m->up + RMIO_PAGE * (1 + i), slots, 0);
	m->bell.down = m->down;
	m->bell.up = m->up;
	m->bell.knock = rmio_chan_knock;
	m->bell.chan = -1;
}
