/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Signals eventfds that a peer shares, without ever waiting for it.  The end of an
 * interrupt's way out of the device process, and how a VMM has a multi-process remote look at
 * its pin again.
 *
 * A write waits while the counter is at its limit and O_NONBLOCK is not set, and the peer
 * has a hand in both.  Nor does it help to write through io_uring: the kernel looks at the
 * flag twice, and a peer that changes it in between has the loop wait in io_uring_enter.
 * What the kernel signals itself, at the end of an asynchronous request of aio(7), never
 * waits: the request here is a read of nothing.
 */
#ifndef RMIO_WIRE_EVENTFDS_H
#define RMIO_WIRE_EVENTFDS_H

#include "limits.h"

#include <stdbool.h>
#include <stdint.h>

struct rmio_eventfds {
	unsigned long ctx;		/* aio_context_t */
	int none;			/* what is read from; -1: not to be had here */
	uint32_t events;		/* of requests that have ended, not taken yet */
};

/* May fail, for want of aio or of descriptors: then _signal does nothing. */
void rmio_eventfds_init(struct rmio_eventfds *e);
void rmio_eventfds_exit(struct rmio_eventfds *e);

static inline bool rmio_eventfds_there(const struct rmio_eventfds *e)
{
	return e->none >= 0;
}

/* Signal the first of @fds, @n at most; how many.  The next one cannot be. */
uint32_t rmio_eventfds_signal(struct rmio_eventfds *e, const int *fds, uint32_t n);

#endif
