// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Interrupts of a PCI device: its pin through an irqfd with resampling, its
 * messages through routes and irqfds.  An interrupt goes from the device
 * process to KVM; this file only connects the two.
 */
#include "priv.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* -- pin ------------------------------------------------------------------ */

static int init_pin(struct pci_dev *d, unsigned int pin)
{
	unsigned int line = 0;

	if (pin > 4)
		return rmio_refuse(-EINVAL, "%s: interrupt pin %u", d->name, pin);
	if (pin && d->pci->nr_gsis) {
		d->pin = pin;
		d->pin_gsi = d->pci->first_gsi + (d->slot + pin - 1) % d->pci->nr_gsis;
		line = d->pin_gsi;
		d->pin_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		d->pin_unmask = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (d->pin_fd < 0 || d->pin_unmask < 0)
			return rmio_refuse(-errno, "eventfd: %s", strerror(errno));
	}
	d->cfg[PCI_INTERRUPT_LINE] = (uint8_t)line;
	d->writable[PCI_INTERRUPT_LINE] = 0xff;
	d->mine[PCI_INTERRUPT_LINE] = 0xff;
	d->cfg[PCI_INTERRUPT_PIN] = (uint8_t)d->pin;
	d->mine[PCI_INTERRUPT_PIN] = 0xff;
	return 0;
}

static void pin_off(struct pci_dev *d, bool device_too)
{
	if (d->pin_assigned)
		d->pci->irqs->deassign(d->pci->irq_arg, d->pin_fd, d->pin_gsi);
	d->pin_assigned = false;
	if (device_too && d->pin_set) {
		d->ops->set_intx(d->be, -1, -1);
		d->pin_set = false;
	}
}

static void pin_on(struct pci_dev *d)
{
	bool had = d->pin_set;
	int rc = 0;

	if (!had)
		rc = d->ops->set_intx(d->be, d->pin_fd, d->pin_unmask);
	if (!rc) {
		d->pin_set = true;
		if (d->pin_assigned)
			return;
		rc = d->pci->irqs->assign(d->pci->irq_arg, d->pin_fd, d->pin_unmask, d->pin_gsi);
	}
	if (rc) {
		pci_complain(d, "interrupt pin: %s", strerror(-rc));
		return;
	}
	d->pin_assigned = true;
	/*
	 * While it was off, KVM let the line fall.  A device that still raises
	 * it waits for this before it says so again.  One that has just been
	 * given the eventfds must not get it: it would say so twice.
	 *
	 * A message, since a write to the eventfd could wait for ever: the
	 * device shares its flags and its counter, and can make it full and
	 * blocking.
	 */
	rc = had ? d->ops->unmask_intx(d->be) : 0;
	if (rc)
		pci_complain(d, "interrupt pin: %s", strerror(-rc));
}

/* -- messages ------------------------------------------------------------- */

static unsigned int msi_data_reg(const struct pci_dev *d)
{
	bool wide = d->cfg[d->msi + PCI_MSI_FLAGS] & PCI_MSI_FLAGS_64BIT;

	return d->msi + (wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32);
}

static unsigned int msi_mask_reg(const struct pci_dev *d)
{
	uint16_t flags = (uint16_t)pci_get(d->cfg + d->msi + PCI_MSI_FLAGS, 2);

	if (!(flags & PCI_MSI_FLAGS_MASKBIT))
		return 0;
	return d->msi + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32);
}

unsigned int pci_msi_pending_reg(const struct pci_dev *d)
{
	unsigned int mask = d->msi ? msi_mask_reg(d) : 0;

	return mask ? mask + 4 : 0;
}

/* A masked vector's message stays in its eventfd until KVM gets it back. */
uint32_t pci_msi_pending(const struct pci_dev *d)
{
	uint32_t pending = 0;

	for (unsigned int i = 0; i < d->msi_on; i++) {
		struct pollfd p = { .fd = d->vectors[i].fd, .events = POLLIN };

		if (!d->vectors[i].assigned && poll(&p, 1, 0) == 1 && p.revents & POLLIN)
			pending |= 1u << i;
	}
	return pending;
}

static int init_msi(struct pci_dev *d, unsigned int at, const uint8_t *c)
{
	uint16_t flags = (uint16_t)pci_get(c + at + PCI_MSI_FLAGS, 2);
	unsigned int log2 = (flags & PCI_MSI_FLAGS_QMASK) >> 1;
	bool wide = flags & PCI_MSI_FLAGS_64BIT;
	unsigned int len = wide ? 14 : 10, count = 0;
	int rc;

	if (flags & PCI_MSI_FLAGS_MASKBIT)
		len = wide ? 24 : 20;
	if (at + len > 256 || log2 > 5)
		return rmio_refuse(-EINVAL, "%s: MSI capability at 0x%x is malformed", d->name,
				at);
	rc = d->ops->msi_count(d->be, &count);
	if (rc)
		return rmio_refuse(rc, "%s: number of messages: %s", d->name, strerror(-rc));
	while (log2 && 1u << log2 > count)
		log2--;
	if (!count)
		return 0;
	d->msi = at;
	d->msi_max = 1u << log2;
	flags &= PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT;
	memset(d->mine + at + 2, 0xff, len - 2);
	pci_put(d->cfg + at + PCI_MSI_FLAGS, 2, flags | log2 << 1);
	pci_put(d->writable + at + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
	pci_put(d->writable + at + PCI_MSI_ADDRESS_LO, 4, ~3u);
	if (wide)
		pci_put(d->writable + at + PCI_MSI_ADDRESS_HI, 4, ~0u);
	pci_put(d->writable + msi_data_reg(d), 2, 0xffff);
	if (msi_mask_reg(d))
		pci_put(d->writable + msi_mask_reg(d), 4,
			d->msi_max == 32 ? ~0u : (1u << d->msi_max) - 1);
	return 0;
}

static void vector_off(struct pci_dev *d, unsigned int i)
{
	struct pci_vector *v = &d->vectors[i];

	if (v->assigned)
		d->pci->irqs->deassign(d->pci->irq_arg, v->fd, (unsigned int)v->gsi);
	v->assigned = false;
}

static void vector_free(struct pci_dev *d, unsigned int i)
{
	struct pci_vector *v = &d->vectors[i];

	vector_off(d, i);
	if (v->gsi >= 0)
		d->pci->irqs->route_free(d->pci->irq_arg, (unsigned int)v->gsi);
	if (v->fd >= 0)
		close(v->fd);
	v->fd = v->gsi = -1;
	v->routed = false;
}

static void msi_off(struct pci_dev *d)
{
	if (!d->msi_on)
		return;
	d->ops->set_msi(d->be, 0, NULL);
	for (unsigned int i = 0; i < d->msi_on; i++)
		vector_free(d, i);
	d->msi_on = 0;
}

static int msi_start(struct pci_dev *d, unsigned int count)
{
	int fds[PCI_MSI_MAX];
	unsigned int i;
	int rc;

	for (i = 0; i < count; i++) {
		struct pci_vector *v = &d->vectors[i];

		v->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		v->gsi = d->pci->irqs->route_new(d->pci->irq_arg);
		if (v->fd < 0 || v->gsi < 0) {
			rc = v->fd < 0 ? -EMFILE : v->gsi;
			i++;
			goto free_vectors;
		}
		fds[i] = v->fd;
	}
	rc = d->ops->set_msi(d->be, count, fds);
	if (rc)
		goto free_vectors;
	d->msi_on = count;
	return 0;

free_vectors:
	while (i--)
		vector_free(d, i);
	return rc;
}

/* Route first, then the irqfd: what waits in the eventfd goes the new way. */
static void vector_update(struct pci_dev *d, unsigned int i, uint64_t addr, uint32_t data,
			  bool masked)
{
	struct pci_vector *v = &d->vectors[i];
	int rc;

	if (masked) {
		vector_off(d, i);
		return;
	}
	if (!v->routed || v->addr != addr || v->data != data) {
		rc = d->pci->irqs->route_set(d->pci->irq_arg, (unsigned int)v->gsi, addr, data);
		if (rc) {
			/* An address that no APIC has: the message goes nowhere. */
			vector_off(d, i);
			v->routed = false;
			return;
		}
		v->routed = true;
		v->addr = addr;
		v->data = data;
	}
	if (!v->assigned)
		v->assigned = !d->pci->irqs->assign(d->pci->irq_arg, v->fd, -1,
						    (unsigned int)v->gsi);
}

static void msi_update(struct pci_dev *d, unsigned int count)
{
	unsigned int mask_reg = msi_mask_reg(d), at = d->msi;
	uint32_t mask = mask_reg ? pci_get(d->cfg + mask_reg, 4) : 0;
	uint64_t addr = pci_get(d->cfg + at + PCI_MSI_ADDRESS_LO, 4);
	uint32_t data = pci_get(d->cfg + msi_data_reg(d), 2);
	int rc;

	if (d->cfg[at + PCI_MSI_FLAGS] & PCI_MSI_FLAGS_64BIT)
		addr |= (uint64_t)pci_get(d->cfg + at + PCI_MSI_ADDRESS_HI, 4) << 32;
	if (d->msi_on != count) {
		msi_off(d);
		rc = msi_start(d, count);
		if (rc) {
			pci_complain(d, "MSI: %s", strerror(-rc));
			return;
		}
	}
	for (unsigned int i = 0; i < count; i++)
		vector_update(d, i, addr, (data & ~(count - 1)) | i, mask >> i & 1);
}

/* -- both ----------------------------------------------------------------- */

/*
 * Follows the list of capabilities, takes MSI over and unlinks MSI-X.  The
 * list is the device's: it may point anywhere and in circles.
 */
int pci_irqs_init(struct pci_dev *d, const uint8_t *c)
{
	unsigned int link = PCI_CAPABILITY_LIST, at, n = 0;
	int rc = init_pin(d, c[PCI_INTERRUPT_PIN]);

	if (rc || !(pci_get(c + PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
		return rc;
	for (at = c[PCI_CAPABILITY_LIST] & 0xfc; at >= 0x40 && n < 48; at = c[at + 1] & 0xfc, n++) {
		if (c[at] == PCI_CAP_ID_MSIX)
			continue;
		if (c[at] == PCI_CAP_ID_MSI && !d->msi) {
			rc = init_msi(d, at, c);
			if (rc)
				return rc;
		}
		d->cfg[link] = (uint8_t)at;
		d->mine[link] = 0xff;
		link = at + 1;
	}
	d->cfg[link] = 0;
	d->mine[link] = 0xff;
	return 0;
}

void pci_irqs_update(struct pci_dev *d)
{
	uint16_t command = (uint16_t)pci_get(d->cfg + PCI_COMMAND, 2);
	unsigned int count = 0;

	if (d->msi) {
		uint16_t flags = (uint16_t)pci_get(d->cfg + d->msi + PCI_MSI_FLAGS, 2);

		if (flags & PCI_MSI_FLAGS_ENABLE) {
			count = 1u << ((flags & PCI_MSI_FLAGS_QSIZE) >> 4 & 7);
			count = count > d->msi_max ? d->msi_max : count;
		}
	}
	/* A device has one or the other, never both. */
	if (count) {
		pin_off(d, true);
		msi_update(d, count);
		return;
	}
	msi_off(d);
	if (!d->pin)
		return;
	if (command & PCI_COMMAND_INTX_DISABLE)
		pin_off(d, false);
	else
		pin_on(d);
}

void pci_irqs_exit(struct pci_dev *d)
{
	msi_off(d);
	pin_off(d, true);
	if (d->pin_fd >= 0)
		close(d->pin_fd);
	if (d->pin_unmask >= 0)
		close(d->pin_unmask);
}
