/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What the device loop needs of a slave beyond the public calls: nothing here
 * blocks.
 */
#ifndef RMIO_DEVICE_SLAVE_H
#define RMIO_DEVICE_SLAVE_H

#include <rmio/slave.h>
#include <stdbool.h>

/*
 * How the device sleeps: RMIO_BELL_*.  With _FUTEX, arm, look again with
 * rmio_slave_pending, then wait on *word while it is *value.  *word NULL: the kernel device,
 * which wakes whoever polls rmio_slave_fd.
 */
void rmio_slave_bell(struct rmio_slave *s, uint32_t kind);
void rmio_slave_bell_arm(struct rmio_slave *s, const uint32_t **word, uint32_t *value);
void rmio_slave_bell_disarm(struct rmio_slave *s);
bool rmio_slave_pending(const struct rmio_slave *s);

/*
 * The eventfd that KVM signals for stores it has taken, -1: none.  The caller's from
 * now on.  With _FUTEX and _SOCK_POSTED a sleeping device is to be woken by it too.
 */
int rmio_slave_posted_fd(struct rmio_slave *s);

/* Has the master ended?  Asks the descriptor, and takes nothing from it. */
bool rmio_slave_gone(const struct rmio_slave *s);

/* Where the vCPU of the last request runs; -1 unknown. */
int rmio_slave_cpu(const struct rmio_slave *s);

/* Begin rmio_slave_shadow_size, _ctrl; the outcome comes from rmio_slave_work. */
int rmio_slave_shadow_size_begin(struct rmio_slave *s, uint64_t size);
int rmio_slave_shadow_ctrl_begin(struct rmio_slave *s, const struct rmio_area *areas, size_t n);

enum rmio_slave_event {
	RMIO_SLAVE_BELL,	/* look at the rings */
	RMIO_SLAVE_SHADOW_SIZE,	/* *result: 0 (rmio_slave_mmap has the new image) or -errno */
	RMIO_SLAVE_SHADOW_CTRL,	/* *result */
};

/* Is the outcome there already?  Then rmio_slave_fd will not say so. */
bool rmio_slave_answered(const struct rmio_slave *s);

/*
 * Take one message from rmio_slave_fd.  0 and *event; -EAGAIN none; -ECONNRESET
 * end of file; -EPROTO nonsense.
 */
int rmio_slave_work(struct rmio_slave *s, enum rmio_slave_event *event, int *result);

/*
 * Map the image at @addr (page-aligned, at least as long, MAP_FIXED) instead of
 * anywhere; before shadow_size.
 */
void rmio_slave_shadow_at(struct rmio_slave *s, void *addr);

#endif
