/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* Which back end `rmio vmm` gets.  Beside the data path. */
#ifndef VMM_BACKEND_H
#define VMM_BACKEND_H

#include "options.h"

/* Before the first vCPU and device.  0, or err says why what was asked for cannot be had. */
int vmm_backend_pick(const struct vmm_options *opts, struct vmm_vm *vm, struct rmio_vm *rmio,
		     struct vmm_err *err);

#endif
