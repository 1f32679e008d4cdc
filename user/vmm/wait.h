/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A vCPU waits for its device.  Between the lane and the access.
 */
#ifndef RMIO_VMM_WAIT_H
#define RMIO_VMM_WAIT_H

#include "vm.h"

struct until {
	struct rmio_prod *lane;
	uint64_t seq;		/* the reply to this request, or 0: */
	uint64_t done;		/* requests complete up to here; also when to be woken */
	uint64_t least;		/* without seq: when the time is up, this will do */
	uint64_t data;		/* of the reply */
	uint64_t seen;		/* without seq: how far they are complete, checked */
};
/*
 * No locks held; v->inside keeps the master alive.  0; -EINTR; -ENODEV: the
 * device is dead, or this wait has just declared it so.
 */
int rmio_vcpu_wait(struct rmio_vcpu *v, struct rmio_master *m, struct until *u, uint64_t timeout);

#endif
