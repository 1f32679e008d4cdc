/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Lanes that the library itself fills and reads, in memory that a back end has made.  Beside the
 * data path: once a device.
 */
#ifndef RMIO_BACKEND_LANES_H
#define RMIO_BACKEND_LANES_H

#include "remote.h"

/*
 * A sealed memfd of @size bytes and its mapping, to be written or only read here; @future_write:
 * by nobody else.  0 or -errno.
 */
int rmio_region_new(const char *name, uint64_t size, bool write, bool future_write, int *fd,
		    void **mem);

/* m->down, m->up and their sizes are set: write the header, begin each lane. */
void rmio_lanes_init(struct rmio_master *m, uint32_t slots);

#endif
