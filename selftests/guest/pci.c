// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * PCI for the flat guests: configuration mechanism #1 on bus 0, sizing and
 * placing of BARs, and the MSI capability.
 */
#include "guest.h"

#define PORT_ADDRESS	0xcf8
#define PORT_DATA	0xcfc

/* The address port is one for all vCPUs. */
static struct spinlock config_lock;

static void select(unsigned int slot, unsigned int reg)
{
	spin_lock(&config_lock);
	outl(PORT_ADDRESS, 0x80000000u | slot << 11 | (reg & 0xfc));
}

uint8_t pci_read8(unsigned int slot, unsigned int reg)
{
	uint8_t v;

	select(slot, reg);
	v = inb((uint16_t)(PORT_DATA + (reg & 3)));
	spin_unlock(&config_lock);
	return v;
}

uint16_t pci_read16(unsigned int slot, unsigned int reg)
{
	uint16_t v;

	select(slot, reg);
	v = inw((uint16_t)(PORT_DATA + (reg & 2)));
	spin_unlock(&config_lock);
	return v;
}

uint32_t pci_read32(unsigned int slot, unsigned int reg)
{
	uint32_t v;

	select(slot, reg);
	v = inl(PORT_DATA);
	spin_unlock(&config_lock);
	return v;
}

void pci_write8(unsigned int slot, unsigned int reg, uint8_t v)
{
	select(slot, reg);
	outb((uint16_t)(PORT_DATA + (reg & 3)), v);
	spin_unlock(&config_lock);
}

void pci_write16(unsigned int slot, unsigned int reg, uint16_t v)
{
	select(slot, reg);
	outw((uint16_t)(PORT_DATA + (reg & 2)), v);
	spin_unlock(&config_lock);
}

void pci_write32(unsigned int slot, unsigned int reg, uint32_t v)
{
	select(slot, reg);
	outl(PORT_DATA, v);
	spin_unlock(&config_lock);
}

unsigned int pci_find(uint16_t vendor, uint16_t device, unsigned int from)
{
	for (unsigned int slot = from ? from : 1; slot < 32; slot++) {
		if (pci_read32(slot, PCI_VENDOR) == ((uint32_t)device << 16 | vendor))
			return slot;
	}
	return 0;
}

/* With decoding off, so that all ones are never answered at an address. */
void pci_bar_size(unsigned int slot, unsigned int bar, struct bar *out)
{
	unsigned int reg = PCI_BAR0 + bar * 4;
	uint16_t command = pci_read16(slot, PCI_COMMAND);
	uint32_t old = pci_read32(slot, reg);
	uint64_t mask;

	pci_write16(slot, PCI_COMMAND, command & (uint16_t)~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
	pci_write32(slot, reg, ~0u);
	mask = pci_read32(slot, reg);
	pci_write32(slot, reg, old);
	out->io = mask & 1;
	out->wide = !out->io && (mask & 6) == 4;
	if (!mask) {
		out->size = 0;
	} else if (out->io) {
		out->size = ~((mask & ~3ull) | ~0xffffull) + 1;
	} else {
		uint64_t high = 0xffffffff;

		if (out->wide) {
			uint32_t old_high = pci_read32(slot, reg + 4);

			pci_write32(slot, reg + 4, ~0u);
			high = pci_read32(slot, reg + 4);
			pci_write32(slot, reg + 4, old_high);
		}
		out->size = ~((mask & ~15ull) | high << 32) + 1;
	}
	pci_write16(slot, PCI_COMMAND, command);
}

void pci_bar_place(unsigned int slot, unsigned int bar, uint64_t addr)
{
	unsigned int reg = PCI_BAR0 + bar * 4;
	uint32_t low = pci_read32(slot, reg);

	if (!(low & 1) && (low & 6) == 4)
		pci_write32(slot, reg + 4, (uint32_t)(addr >> 32));
	pci_write32(slot, reg, (uint32_t)addr);
}

unsigned int pci_cap(unsigned int slot, uint8_t id)
{
	unsigned int at;

	if (!(pci_read16(slot, PCI_STATUS) & 0x10))
		return 0;
	at = pci_read8(slot, PCI_CAPS) & 0xfcu;
	for (unsigned int n = 0; at && n < 48; n++) {
		if (pci_read8(slot, at) == id)
			return at;
		at = pci_read8(slot, at + 1) & 0xfcu;
	}
	return 0;
}

unsigned int pci_msi_enable(unsigned int slot, uint8_t apic, uint8_t vector)
{
	unsigned int at = pci_cap(slot, PCI_CAP_MSI);
	uint16_t control;

	if (!at)
		return 0;
	control = pci_read16(slot, at + 2);
	pci_write32(slot, at + 4, 0xfee00000u | (uint32_t)apic << 12);
	if (control & 0x80) {
		pci_write32(slot, at + 8, 0);
		pci_write16(slot, at + 12, vector);
	} else {
		pci_write16(slot, at + 8, vector);
	}
	pci_write16(slot, at + 2, (uint16_t)((control & ~0x70) | 1));
	return at;
}

void pci_msi_disable(unsigned int slot)
{
	unsigned int at = pci_cap(slot, PCI_CAP_MSI);

	if (at)
		pci_write16(slot, at + 2, pci_read16(slot, at + 2) & (uint16_t)~1);
}
