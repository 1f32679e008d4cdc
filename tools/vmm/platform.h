/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Devices that are not PCI: their ranges lie at ports and addresses that the command line names,
 * their line is an input of the I/O APIC.  Beside the data path, as the PCI bus is.
 */
#ifndef VMM_PLATFORM_H
#define VMM_PLATFORM_H

#include "device.h"

/*
 * Put a device where its options say: ranges, line, guest memory for its DMA.  @others: those
 * before it, for what they take.  -EINVAL, -EADDRINUSE: err says what is wrong.
 */
int vmm_platform_add(struct vmm_device *dev, const struct vmm_device_opts *opts,
		     const struct vmm_device *others, unsigned int nr_others, struct vmm_vm *vm,
		     struct vmm_err *err);
/* Its line is nobody's from here on; the ranges go with the client. */
void vmm_platform_remove(struct vmm_device *dev, struct vmm_vm *vm);

/* Whether a port below VMM_PORT_DEVICES belongs to one of the devices. */
bool vmm_platform_port(const struct vmm_device *devs, unsigned int n, uint16_t port);

#endif
