// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Configuration mechanism #1 and configuration space: which bits are answered
 * here, which by the device, and what follows from a write.
 */
#include "pci_priv.h"
#include "text.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- host bridge ---------------------------------------------------------- */

static int bridge_read(void *be, unsigned int reg, void *buf, unsigned int len)
{
	static const uint8_t header[64] = {
		[PCI_VENDOR_ID] = 0x36, 0x1b, 0x08, 0x00,	/* 1b36:0008 */
		[PCI_CLASS_DEVICE] = 0x00, 0x06,		/* host bridge */
	};

	(void)be;
	for (unsigned int i = 0; i < len; i++)
		((uint8_t *)buf)[i] = reg + i < sizeof(header) ? header[reg + i] : 0;
	return 0;
}

static int bridge_write(void *be, unsigned int reg, const void *buf, unsigned int len)
{
	(void)be;
	(void)reg;
	(void)buf;
	(void)len;
	return 0;
}

static const struct vmm_pci_backend_ops bridge_ops = {
	.config_read = bridge_read,
	.config_write = bridge_write,
};

/* -- configuration space -------------------------------------------------- */

static void config_read(struct vmm_pci_dev *d, unsigned int reg, uint8_t *buf, unsigned int len)
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

static void config_write(struct vmm_pci_dev *d, unsigned int reg, const uint8_t *buf,
			 unsigned int len)
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

bool vmm_pci_port(struct vmm_pci *pci, uint16_t port, bool out, void *data, unsigned int size)
{
	unsigned int reg, at = port - VMM_PCI_DATA;
	struct vmm_pci_dev *d;
	uint32_t v;

	/* The address register is one of 32 bits; narrower accesses pass it by. */
	if (port == VMM_PCI_ADDRESS && size == 4) {
		pthread_mutex_lock(&pci->lock);
		if (out) {
			memcpy(&v, data, 4);
			pci->address = v & 0x80fffffc;
		} else {
			memcpy(data, &pci->address, 4);
		}
		pthread_mutex_unlock(&pci->lock);
		return true;
	}
	if (port < VMM_PCI_DATA || at > 3 || size > 4 - at)
		return false;

	pthread_mutex_lock(&pci->lock);
	reg = (pci->address & 0xfc) + at;
	d = NULL;
	if (pci->address & 0x80000000 && !(pci->address & 0x00ff0700))
		d = pci->slots[pci->address >> 11 & 31];
	if (!d) {
		if (!out)
			memset(data, 0xff, size);
	} else if (out) {
		config_write(d, reg, data, size);
	} else {
		config_read(d, reg, data, size);
	}
	pthread_mutex_unlock(&pci->lock);
	return true;
}

/* -- the bus -------------------------------------------------------------- */

static void keep(struct vmm_pci_dev *d, unsigned int reg, unsigned int len, uint32_t value,
		 uint32_t writable)
{
	pci_put(d->cfg + reg, len, value);
	pci_put(d->writable + reg, len, writable);
	memset(d->mine + reg, 0xff, len);
}

static struct vmm_pci_dev *dev_new(struct vmm_pci *pci, const struct vmm_pci_backend_ops *ops,
				   void *be, const char *name)
{
	struct vmm_pci_dev *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->pci = pci;
	d->ops = ops;
	d->be = be;
	text_copy(d->name, sizeof(d->name), name);
	d->pin_fd = d->pin_unmask = -1;
	for (unsigned int i = 0; i < VMM_PCI_MSI_MAX; i++)
		d->vectors[i].fd = d->vectors[i].gsi = -1;
	return d;
}

int vmm_pci_new(const struct vmm_pci_irq_ops *irqs, void *arg, const struct vmm_ram *ram,
		unsigned int nr_ram, int memfd, struct vmm_pci **out)
{
	struct vmm_pci *pci = calloc(1, sizeof(*pci));

	if (!pci)
		return -ENOMEM;
	pci->irqs = irqs;
	pci->irq_arg = arg;
	pci->memfd = memfd;
	pci->nr_ram = nr_ram < 2 ? nr_ram : 2;
	for (unsigned int i = 0; i < pci->nr_ram; i++)
		pci->ram[i] = ram[i];
	pci->slots[0] = dev_new(pci, &bridge_ops, NULL, "host bridge");
	if (!pci->slots[0]) {
		free(pci);
		return -ENOMEM;
	}
	pthread_mutex_init(&pci->lock, NULL);
	*out = pci;
	return 0;
}

void vmm_pci_free(struct vmm_pci *pci)
{
	if (!pci)
		return;
	for (unsigned int i = 1; i < VMM_PCI_SLOTS; i++)
		vmm_pci_remove(pci, i);
	free(pci->slots[0]);
	pthread_mutex_destroy(&pci->lock);
	free(pci);
}

static int init_header(struct vmm_pci_dev *d, const uint8_t *c, struct vmm_err *err)
{
	uint16_t command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
			   PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE;

	if (pci_get(c + PCI_VENDOR_ID, 2) == 0xffff)
		return vmm_fail(err, -ENODEV, "%s: no PCI device in its configuration space",
				d->name);
	if ((c[PCI_HEADER_TYPE] & 0x7f) != PCI_HEADER_TYPE_NORMAL)
		return vmm_fail(err, -ENOTSUP, "%s: PCI header type %u, only 0 is supported",
				d->name, c[PCI_HEADER_TYPE] & 0x7f);
	keep(d, PCI_COMMAND, 2, 0, command);
	d->pass[PCI_COMMAND] = d->pass[PCI_COMMAND + 1] = 1;
	keep(d, PCI_HEADER_TYPE, 1, PCI_HEADER_TYPE_NORMAL, 0);
	keep(d, PCI_ROM_ADDRESS, 4, 0, 0);
	return 0;
}

int vmm_pci_add(struct vmm_pci *pci, const struct vmm_pci_backend_ops *ops, void *be,
		const char *name, unsigned int *slot, struct vmm_err *err)
{
	struct vmm_pci_dev *d;
	uint8_t cfg[256];
	unsigned int s;
	int rc;

	pthread_mutex_lock(&pci->lock);
	for (s = 1; s < VMM_PCI_SLOTS && pci->slots[s]; s++)
		;
	if (s == VMM_PCI_SLOTS) {
		rc = vmm_fail(err, -ENOSPC, "%s: no slot left, at most %u devices", name,
			      VMM_PCI_SLOTS - 1);
		goto unlock;
	}
	d = dev_new(pci, ops, be, name);
	if (!d) {
		rc = vmm_fail(err, -ENOMEM, "out of memory");
		goto unlock;
	}
	d->slot = s;
	rc = ops->reset(be);
	if (rc) {
		vmm_fail(err, rc, "%s: reset: %s", name, strerror(-rc));
		goto free_dev;
	}
	rc = ops->config_read(be, 0, cfg, sizeof(cfg));
	if (rc) {
		vmm_fail(err, rc, "%s: reading configuration space: %s", name, strerror(-rc));
		goto free_dev;
	}
	rc = init_header(d, cfg, err);
	if (!rc)
		rc = pci_bars_init(d, cfg, err);
	if (!rc)
		rc = pci_irqs_init(d, cfg, err);
	for (unsigned int i = 0; !rc && i < pci->nr_ram; i++) {
		struct vmm_ram *r = &pci->ram[i];

		rc = ops->dma_map(be, r->gpa, r->len, pci->memfd, r->offset);
		if (rc)
			vmm_fail(err, rc, "%s: mapping guest memory: %s", name, strerror(-rc));
	}
	if (rc)
		goto irqs_exit;
	pci->slots[s] = d;
	pci_irqs_update(d);
	if (slot)
		*slot = s;
	pthread_mutex_unlock(&pci->lock);
	return 0;

irqs_exit:
	pci_irqs_exit(d);
free_dev:
	free(d);
unlock:
	pthread_mutex_unlock(&pci->lock);
	return rc;
}

void vmm_pci_remove(struct vmm_pci *pci, unsigned int slot)
{
	struct vmm_pci_dev *d;

	if (!slot || slot >= VMM_PCI_SLOTS)
		return;
	pthread_mutex_lock(&pci->lock);
	d = pci->slots[slot];
	if (d) {
		pci_bars_remove(d);
		pci_irqs_exit(d);
		pci->slots[slot] = NULL;
		free(d);
		/* A BAR that lay under one of these can come up. */
		pci_bars_update(pci);
	}
	pthread_mutex_unlock(&pci->lock);
}
