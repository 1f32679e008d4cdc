/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * PCI configuration space of a device: 256 bytes and which of their bits the
 * guest may write.  Beside the data path: vfio-user region 7.
 */
#ifndef RMIO_DEVICE_PCI_CONFIG_H
#define RMIO_DEVICE_PCI_CONFIG_H

#include <rmio/device.h>
#include <stdbool.h>
#include <stdint.h>

#define RMIO_PCI_CONFIG_SIZE	256u

struct rmio_pci_config {
	uint8_t val[RMIO_PCI_CONFIG_SIZE];
	uint8_t init[RMIO_PCI_CONFIG_SIZE];
	uint8_t wmask[RMIO_PCI_CONFIG_SIZE];
};

/* From a descriptor that has been checked. */
void rmio_pci_config_init(struct rmio_pci_config *c, const struct rmio_dev_desc *desc);
void rmio_pci_config_reset(struct rmio_pci_config *c);

/* off + count within the 256 bytes; any alignment. */
void rmio_pci_config_read(const struct rmio_pci_config *c, uint32_t off, void *buf, uint32_t count);
void rmio_pci_config_write(struct rmio_pci_config *c, uint32_t off, const void *buf,
			   uint32_t count);

bool rmio_pci_config_master(const struct rmio_pci_config *c);
bool rmio_pci_config_intx_off(const struct rmio_pci_config *c);
/* The status register's interrupt bit. */
void rmio_pci_config_intx(struct rmio_pci_config *c, bool raised);

#endif
