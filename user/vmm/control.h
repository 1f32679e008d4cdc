/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The VMM's end of the slave descriptors.  Beside the data path.
 */
#ifndef RMIO_VMM_CONTROL_H
#define RMIO_VMM_CONTROL_H

#include "vm.h"

int rmio_control_start(struct vm *vm);
void rmio_control_stop(struct vm *vm);
/* As rmio_vmm_ops.watch. */
int rmio_control_watch(struct rmio_vm *vm, int fd, void (*ready)(struct rmio_vm *vm));
/* What the kernel says of devices and nobody has been told; vm->control not held. */
void rmio_control_news(struct rmio_vm *vm);

#endif
