// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Configuration space of a device on the bus: which bits are answered here, which by the device,
 * and what follows from a write.  Beside the data path.
 */
#include "priv.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

void pci_config_read(struct pci_dev *d, unsigned int reg, uint8_t *buf, unsigned int len)
{
	unsigned int pending = pci_msi_pending_reg(d);
	bool ask = false;

	for (unsigned int i = 0; i < len; i++)
		ask |= d->mine[reg + i] != 0xff;
	if (!ask || d->ops->config_read(d->be, reg, buf, len))
		memset(buf, 0xff, len);
	if (pending && reg + len > pending && reg < pending + 4)
		pci_put(d->cfg + pending, 4, pci_msi_pending(d));
	for (unsigned int i = 0; i < len; i++) {
		uint8_t mine = d->mine[reg + i];

		buf[i] = (uint8_t)((buf[i] & ~mine) | (d->cfg[reg + i] & mine));
	}
}

void pci_config_write(struct pci_dev *d, unsigned int reg, const uint8_t *buf, unsigned int len)
{
	bool changed = false;
	unsigned int i, n;

	for (i = 0; i < len; i++) {
		uint8_t w = d->writable[reg + i];
		uint8_t v = (uint8_t)((d->cfg[reg + i] & ~w) | (buf[i] & w));

		changed |= v != d->cfg[reg + i];
		d->cfg[reg + i] = v;
	}
	/*
	 * The device hears of bytes that are its own in part or of which it has
	 * to know, each run of them in one message.  A failure is an absent
	 * device, which ignores writes.
	 */
	for (i = 0; i < len; i += n ? n : 1) {
		for (n = 0; i + n < len &&
		     (d->mine[reg + i + n] != 0xff || d->pass[reg + i + n]); n++)
			;
		if (n)
			d->ops->config_write(d->be, reg + i, buf + i, n);
	}
	if (changed && d->slot) {
		pci_irqs_update(d);
		pci_bars_update(d->pci);
	}
}

static void keep(struct pci_dev *d, unsigned int reg, unsigned int len, uint32_t value,
		 uint32_t writable)
{
	pci_put(d->cfg + reg, len, value);
	pci_put(d->writable + reg, len, writable);
	memset(d->mine + reg, 0xff, len);
}

int pci_header_init(struct pci_dev *d, const uint8_t *c)
{
	uint16_t command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
			   PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE;

	if (pci_get(c + PCI_VENDOR_ID, 2) == 0xffff)
		return rmio_refuse(-ENODEV, "%s: no PCI device in its configuration space",
				d->name);
	if ((c[PCI_HEADER_TYPE] & 0x7f) != PCI_HEADER_TYPE_NORMAL)
		return rmio_refuse(-ENOTSUP, "%s: PCI header type %u, only 0 is supported",
				d->name, c[PCI_HEADER_TYPE] & 0x7f);
	keep(d, PCI_COMMAND, 2, 0, command);
	d->pass[PCI_COMMAND] = d->pass[PCI_COMMAND + 1] = 1;
	keep(d, PCI_HEADER_TYPE, 1, PCI_HEADER_TYPE_NORMAL, 0);
	keep(d, PCI_ROM_ADDRESS, 4, 0, 0);
	return 0;
}
