/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The io_uring of a loop: made as this kernel has it, or why there is none.  Under the loop
 * (loop.c), once for each.
 */
#ifndef RMIO_DEVICE_LOOP_RING_H
#define RMIO_DEVICE_LOOP_RING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

/* 0, or -errno with the reason (rmio_errstr). */
int rmio_loop_ring_init(struct io_uring *ring, uint32_t entries);

/* Does it wait for a futex? */
bool rmio_loop_ring_has_futex(struct io_uring *ring);

#endif
