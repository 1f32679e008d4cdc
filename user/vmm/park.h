/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * vCPUs that are parked while the VM is quiesced.  Where an access looks for one that was
 * interrupted, and where it looks whether a device died under it: nowhere else.
 */
#ifndef RMIO_VMM_PARK_H
#define RMIO_VMM_PARK_H

#include "vm.h"

/* pending.seq of a vCPU that has nothing under way, and may begin nothing. */
#define RMIO_SEQ_PARKED	UINT64_MAX

/*
 * The vCPU has come to an access and is to be parked.  Called and returns with v->lock held, which
 * is let go of.  1: look again; -EINTR; -EDEADLK: this thread has quiesced the VM.
 */
int rmio_park_access(struct rmio_vcpu *v);

/* With the VM frozen, or v->lock held and nothing under way. */
void rmio_park_mark(struct rmio_vcpu *v);

/* A new vCPU.  With vm->lock held. */
void rmio_park_new(struct rmio_vcpu *v);

#endif
