/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* What a VM did with its devices, as JSON. */
#ifndef VMM_STATS_H
#define VMM_STATS_H

#include "device.h"
#include "machine.h"

const char *vmm_state_name(enum rmio_state state);
const char *vmm_backend_name(enum rmio_backend backend);

/* The same of a VM that runs, in one line; to be freed with free(3).  NULL: no memory. */
char *vmm_stats_line(const struct vmm_vm *vm, struct rmio_vm *rmio, struct vmm_device *devices,
		     unsigned int n);

/* After all vCPUs have ended, before devices are freed.  path "-": stdout. */
int vmm_stats_write(const char *path, const struct vmm_machine *m, struct rmio_vm *vm,
		    struct vmm_device *devices, unsigned int n, int status);

#endif
