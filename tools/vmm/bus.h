/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The library's PCI bus as `rmio vmm` has it: where BARs may be, and KVM's interrupt routes.
 * Beside the data path.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include "kvm.h"

#include <rmio/pci.h>

#define VMM_PCI_MEM_FIRST	0xe0000000ull
#define VMM_PCI_MEM_LAST	0xfebfffffull
#define VMM_PCI_HIGH_LAST	((1ull << 46) - 1)
#define VMM_PCI_IO_FIRST	0x1000ull
#define VMM_PCI_IO_LAST		0xffffull
#define VMM_PCI_PIN_GSI		16u	/* pins: this one and the 7 after it */

/* 0 or -errno of rmio_pci_new. */
int vmm_bus_new(struct vmm_vm *vm, struct rmio_pci **pci);

#endif
