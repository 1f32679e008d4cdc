/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The device's own I/O on the loop's io_uring: what the loop does with the operations that
 * rmio_loop_submit took.  Under watch.c, in the loop's thread.
 */
#ifndef RMIO_DEVICE_OWN_IO_H
#define RMIO_DEVICE_OWN_IO_H

#include "loop.h"

/* Queue what had to wait for an entry, while the loop runs. */
void rmio_own_io_queue(struct rmio_loop *l);

/*
 * The loop ends: what the kernel does not have yet is over, the rest is asked back; none is taken
 * until rmio_own_io_again.  Then wait until l->own is NULL.
 */
void rmio_own_io_end(struct rmio_loop *l);
void rmio_own_io_again(struct rmio_loop *l);

/* The ring is gone: all of it is over. */
void rmio_own_io_abandon(struct rmio_loop *l);

#endif
