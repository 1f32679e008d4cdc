// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * BARs: sized by their writable bits, placed where guest and decoding bits
 * say.  A change of place is the only thing on this side of the data path.
 */
#include "priv.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

static uint64_t round_up_pow2(uint64_t v)
{
	uint64_t p = 1;

	while (p < v)
		p <<= 1;
	return p;
}

static int init_bar(struct pci_dev *d, unsigned int i, uint32_t low)
{
	struct pci_bar *b = &d->bars[i];
	unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * i;
	uint64_t most, mask;
	uint32_t type;
	int rc;

	memset(d->mine + reg, 0xff, 4);
	rc = d->ops->region_size(d->be, i, &b->region);
	if (rc)
		return rmio_refuse(rc, "%s: region %u: %s", d->name, i, strerror(-rc));
	if (!b->region)
		return 0;
	b->io = low & PCI_BASE_ADDRESS_SPACE_IO;
	b->wide = !b->io && (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
	if (b->wide && i == PCI_BARS - 1)
		return rmio_refuse(-EINVAL, "%s: BAR %u cannot have 64 bits", d->name, i);
	most = b->io ? 0x8000 : b->wide ? 1ull << 40 : 1ull << 31;
	if (b->region > most)
		return rmio_refuse(-E2BIG, "%s: BAR %u of 0x%llx bytes is too large", d->name, i,
				(unsigned long long)b->region);
	b->size = round_up_pow2(b->region);
	if (b->io) {
		b->size = b->size < 4 ? 4 : b->size;
		type = PCI_BASE_ADDRESS_SPACE_IO;
	} else {
		b->size = b->size < 16 ? 16 : b->size;
		type = low & (PCI_BASE_ADDRESS_MEM_PREFETCH | PCI_BASE_ADDRESS_MEM_TYPE_64);
	}
	mask = ~(b->size - 1);
	pci_put(d->cfg + reg, 4, type);
	pci_put(d->writable + reg, 4, (uint32_t)mask);
	if (b->wide) {
		memset(d->mine + reg + 4, 0xff, 4);
		pci_put(d->writable + reg + 4, 4, (uint32_t)(mask >> 32));
	}
	return 0;
}

int pci_bars_init(struct pci_dev *d, const uint8_t *device_cfg)
{
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		int rc = init_bar(d, i, pci_get(device_cfg + PCI_BASE_ADDRESS_0 + 4 * i, 4));

		if (rc)
			return rc;
		if (d->bars[i].wide)
			i++;
	}
	return 0;
}

static bool within(const struct rmio_pci_window *w, uint64_t first, uint64_t last)
{
	return w->last && last >= first && first >= w->first && last <= w->last;
}

/* Where the guest wants a BAR; false: nowhere, or where it cannot be. */
static bool wanted(struct pci_dev *d, unsigned int i, uint64_t *addr)
{
	struct pci_bar *b = &d->bars[i];
	unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * i;
	uint64_t a, last;
	uint16_t command = (uint16_t)pci_get(d->cfg + PCI_COMMAND, 2);

	if (!b->region || !(command & (b->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
		return false;
	a = pci_get(d->cfg + reg, 4) & ~(b->io ? 3ull : 15ull);
	if (b->wide)
		a |= (uint64_t)pci_get(d->cfg + reg + 4, 4) << 32;
	last = a + (b->size - 1);
	*addr = a;
	if (b->io)
		return within(&d->pci->io, a, last);
	return within(&d->pci->mem, a, last) || (b->wide && within(&d->pci->high, a, last));
}

static void take_away(struct pci_dev *d, unsigned int i)
{
	struct pci_bar *b = &d->bars[i];

	if (b->placed)
		d->ops->place(d->be, i, b->io, 0, 0);
	b->placed = false;
}

static struct pci_dev *overlapped(struct rmio_pci *pci, const struct pci_bar *self,
				      uint64_t addr)
{
	for (unsigned int s = 1; s < RMIO_PCI_SLOTS; s++) {
		struct pci_dev *d = pci->slots[s];

		for (unsigned int i = 0; d && i < PCI_BARS; i++) {
			struct pci_bar *b = &d->bars[i];

			if (b != self && b->placed && b->io == self->io &&
			    addr <= b->addr + (b->size - 1) && b->addr <= addr + (self->size - 1))
				return d;
		}
	}
	return NULL;
}

static void put(struct pci_dev *d, unsigned int i, uint64_t addr, bool complain)
{
	struct pci_bar *b = &d->bars[i];
	struct pci_dev *other = overlapped(d->pci, b, addr);
	int rc;

	if (other) {
		if (complain && !b->complained) {
			pci_complain(d, "BAR %u at 0x%llx would overlap one of slot %u: left out",
				     i, (unsigned long long)addr, other->slot);
			b->complained = true;
		}
		take_away(d, i);
		return;
	}
	/* A BAR that is there already moves in one step: no access falls between. */
	rc = d->ops->place(d->be, i, b->io, addr, b->region);
	if (rc) {
		if (complain && !b->complained) {
			pci_complain(d, "BAR %u at 0x%llx: %s", i, (unsigned long long)addr,
				     strerror(-rc));
			b->complained = true;
		}
		take_away(d, i);
		return;
	}
	b->placed = true;
	b->addr = addr;
}

static void put_all(struct rmio_pci *pci, bool complain)
{
	uint64_t addr;

	for (unsigned int s = 1; s < RMIO_PCI_SLOTS; s++) {
		struct pci_dev *d = pci->slots[s];

		for (unsigned int i = 0; d && i < PCI_BARS; i++) {
			struct pci_bar *b = &d->bars[i];

			if (wanted(d, i, &addr) && !(b->placed && b->addr == addr))
				put(d, i, addr, complain);
		}
	}
}

void pci_bars_update(struct rmio_pci *pci)
{
	uint64_t addr;

	/* First what goes, so that another can come to its place. */
	for (unsigned int s = 1; s < RMIO_PCI_SLOTS; s++) {
		struct pci_dev *d = pci->slots[s];

		for (unsigned int i = 0; d && i < PCI_BARS; i++) {
			if (d->bars[i].placed && !wanted(d, i, &addr))
				take_away(d, i);
		}
	}
	/* Twice: the BAR that moves in the first round may make room for another. */
	put_all(pci, false);
	put_all(pci, true);
}

void pci_bars_remove(struct pci_dev *d)
{
	for (unsigned int i = 0; i < PCI_BARS; i++)
		take_away(d, i);
}
