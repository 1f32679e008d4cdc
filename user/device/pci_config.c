// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * PCI configuration space of a device: identification, BARs that a guest can
 * size and place, one MSI capability.  Beside the data path.
 */
#include "pci_config.h"

#include <linux/pci_regs.h>
#include <string.h>

#define MSI_CAP		0x40u

static void put(uint8_t *p, uint32_t off, uint32_t bytes, uint64_t v)
{
	uint32_t i;

	for (i = 0; i < bytes; i++)
		p[off + i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get16(const uint8_t *p, uint32_t off)
{
	return p[off] | (uint32_t)p[off + 1] << 8;
}

static void add_bar(struct rmio_pci_config *c, const struct rmio_dev_range *r)
{
	uint32_t off = PCI_BASE_ADDRESS_0 + 4 * r->id, bytes = 4, flags, command;

	if (r->bus == RMIO_BUS_IO) {
		flags = PCI_BASE_ADDRESS_SPACE_IO;
		command = PCI_COMMAND_IO;
	} else {
		flags = PCI_BASE_ADDRESS_SPACE_MEMORY;
		if (r->flags & RMIO_DEV_RANGE_64BIT) {
			flags |= PCI_BASE_ADDRESS_MEM_TYPE_64;
			bytes = 8;
		}
		if (r->flags & RMIO_DEV_RANGE_PREFETCH)
			flags |= PCI_BASE_ADDRESS_MEM_PREFETCH;
		command = PCI_COMMAND_MEMORY;
	}
	put(c->val, off, 4, flags);
	/* What cannot be written reads as zero: that is how a guest finds the size. */
	put(c->wmask, off, bytes, ~(r->len - 1));
	c->wmask[PCI_COMMAND] |= (uint8_t)command;
}

static void add_msi(struct rmio_pci_config *c, uint32_t vectors)
{
	uint32_t log2 = (uint32_t)__builtin_ctz(vectors);

	put(c->val, PCI_STATUS, 2, PCI_STATUS_CAP_LIST);
	c->val[PCI_CAPABILITY_LIST] = MSI_CAP;
	c->val[MSI_CAP] = PCI_CAP_ID_MSI;
	put(c->val, MSI_CAP + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_64BIT | log2 << 1);
	put(c->wmask, MSI_CAP + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
	put(c->wmask, MSI_CAP + PCI_MSI_ADDRESS_LO, 4, ~3u);
	put(c->wmask, MSI_CAP + PCI_MSI_ADDRESS_HI, 4, ~0u);
	put(c->wmask, MSI_CAP + PCI_MSI_DATA_64, 2, 0xffff);
}

void rmio_pci_config_init(struct rmio_pci_config *c, const struct rmio_dev_desc *desc)
{
	uint32_t i;

	memset(c, 0, sizeof(*c));
	if (desc->flags & RMIO_DEV_PLATFORM) {
		/* None that anybody sees: what its bits would allow is allowed. */
		put(c->init, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
		rmio_pci_config_reset(c);
		return;
	}
	put(c->val, PCI_VENDOR_ID, 2, desc->vendor);
	put(c->val, PCI_DEVICE_ID, 2, desc->device);
	put(c->val, PCI_CLASS_REVISION, 4, desc->class_code << 8 | desc->revision);
	put(c->val, PCI_SUBSYSTEM_VENDOR_ID, 2, desc->subvendor);
	put(c->val, PCI_SUBSYSTEM_ID, 2, desc->subdevice);
	put(c->wmask, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR);
	c->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	c->wmask[PCI_LATENCY_TIMER] = 0xff;
	for (i = 0; i < desc->nr_ranges; i++)
		if (desc->ranges[i].id < 6)
			add_bar(c, &desc->ranges[i]);
	if (desc->msi)
		add_msi(c, desc->msi);
	c->val[PCI_INTERRUPT_PIN] = desc->intx;
	/* A pin may have to stand in for messages. */
	if (desc->intx || desc->msi) {
		c->wmask[PCI_INTERRUPT_LINE] = 0xff;
		c->wmask[PCI_COMMAND + 1] |= PCI_COMMAND_INTX_DISABLE >> 8;
	}
	memcpy(c->init, c->val, sizeof(c->init));
}

void rmio_pci_config_reset(struct rmio_pci_config *c)
{
	memcpy(c->val, c->init, sizeof(c->val));
}

void rmio_pci_config_read(const struct rmio_pci_config *c, uint32_t off, void *buf, uint32_t count)
{
	memcpy(buf, c->val + off, count);
}

void rmio_pci_config_write(struct rmio_pci_config *c, uint32_t off, const void *buf, uint32_t count)
{
	const uint8_t *from = buf;
	uint32_t i;

	for (i = 0; i < count; i++) {
		uint8_t m = c->wmask[off + i];

		c->val[off + i] = (uint8_t)((c->val[off + i] & ~m) | (from[i] & m));
	}
}

bool rmio_pci_config_master(const struct rmio_pci_config *c)
{
	return get16(c->val, PCI_COMMAND) & PCI_COMMAND_MASTER;
}

bool rmio_pci_config_intx_off(const struct rmio_pci_config *c)
{
	return get16(c->val, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
}

void rmio_pci_config_intx(struct rmio_pci_config *c, bool raised)
{
	if (raised)
		c->val[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		c->val[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
}
