/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A master's memory and who is in it, for those who give it a new one (renew.c).
 */
#ifndef RMIO_VMM_MASTER_H
#define RMIO_VMM_MASTER_H

#include "vm.h"

/* The object without a back end, zeroed, on lines of its own; NULL: no memory.  And back. */
struct rmio_master *rmio_master_blank(uint32_t lanes);
void rmio_master_scrap(struct rmio_master *m);

/* With vm->lock held: does any vCPU still wait for @m? */
bool rmio_master_occupied(const struct rmio_master *m);

/* With the VM frozen: what vCPUs have under way for @m will not be answered by it. */
void rmio_master_forget(const struct rmio_master *m);

/* Add what is counted in the lane of @vcpu.  With vm->lock held. */
void rmio_master_lane_counters(const struct rmio_master *m, uint32_t vcpu, struct rmio_counters *c);

#endif
