/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The end of a device, whoever notices it.
 */
#ifndef RMIO_VMM_DEATH_H
#define RMIO_VMM_DEATH_H

#include "vm.h"

/* As rmio_vmm_ops.kill; without a reason nobody is told. */
void rmio_master_kill(struct rmio_master *m, enum rmio_state why, const char *reason);

#endif
