/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A dead master lives again.  Beside the data path.
 */
#ifndef RMIO_VMM_RENEW_H
#define RMIO_VMM_RENEW_H

#include "vm.h"

/*
 * As new, RMIO_STATE_NEW with a slave descriptor to be had, but for its ranges, its timeout and its
 * counters.  Nothing if it is not dead.  0, or -errno: it is dead still.  No lock held, and not in
 * a vCPU's access.
 */
int rmio_master_renew(struct rmio_master *m);

#endif
