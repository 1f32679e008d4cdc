/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Which device answers an address.  First step of each access.
 */
#ifndef RMIO_VMM_RANGE_H
#define RMIO_VMM_RANGE_H

#include "vm.h"

enum range_match { RANGE_NONE, RANGE_HIT, RANGE_STRADDLE };
/* Under the vCPU's lock.  *hit: the index to try first, updated. */
enum range_match rmio_range_find(const struct range_table *t, uint64_t addr, uint32_t len,
				 size_t *hit, const struct range **range);
/* All ranges of @m go away; with the VM frozen. */
void rmio_range_drop(struct rmio_vm *vm, const struct rmio_master *m);
/* Does @map fit the ranges that @m has?  With vm->lock held. */
int rmio_range_check_map(const struct rmio_vm *vm, const struct rmio_master *m,
			 const struct rmio_map *map);

#endif
