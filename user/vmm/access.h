/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * One access of a vCPU.  Under what cuts exits into accesses (vcpu.c).
 */
#ifndef RMIO_VMM_ACCESS_H
#define RMIO_VMM_ACCESS_H

#include "vm.h"

/* As rmio_vmm_ops.access and .room. */
int rmio_access_piece(struct rmio_vcpu *v, struct access *a);
int rmio_access_room(struct rmio_vcpu *v, struct rmio_master *m);

#endif
