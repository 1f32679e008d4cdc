// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The PCI bus: its slots, and the two ways to their configuration space.  Beside the data path.
 */
#include "priv.h"
#include "opts.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static const struct pci_backend_ops bridge_ops = {
	.config_read = bridge_read,
	.config_write = bridge_write,
};

/* -- configuration space -------------------------------------------------- */

bool rmio_pci_port(struct rmio_pci *pci, uint16_t port, bool out, void *data, uint32_t size)
{
	unsigned int reg, at = port - PCI_DATA_PORT;
	struct pci_dev *d;
	uint32_t v;

	/* The address register is one of 32 bits; narrower accesses pass it by. */
	if (port == PCI_ADDRESS_PORT && size == 4) {
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
	if (port < PCI_DATA_PORT || at > 3 || size > 4 - at)
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
		pci_config_write(d, reg, data, size);
	} else {
		pci_config_read(d, reg, data, size);
	}
	pthread_mutex_unlock(&pci->lock);
	return true;
}

void rmio_pci_config(struct rmio_pci *pci, uint32_t slot, uint32_t reg, bool store, void *data,
		     uint32_t len)
{
	struct pci_dev *d;

	if (!len || len > 4 || reg > 256 - len) {
		if (!store)
			memset(data, 0xff, len);
		return;
	}
	pthread_mutex_lock(&pci->lock);
	d = slot < RMIO_PCI_SLOTS ? pci->slots[slot] : NULL;
	if (!d && !store)
		memset(data, 0xff, len);
	else if (d && store)
		pci_config_write(d, reg, data, len);
	else if (d)
		pci_config_read(d, reg, data, len);
	pthread_mutex_unlock(&pci->lock);
}

/* -- the bus -------------------------------------------------------------- */

static struct pci_dev *dev_new(struct rmio_pci *pci, const struct pci_backend_ops *ops, void *be,
			       const char *name)
{
	struct pci_dev *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->pci = pci;
	d->ops = ops;
	d->be = be;
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->pin_fd = d->pin_unmask = -1;
	for (unsigned int i = 0; i < PCI_MSI_MAX; i++)
		d->vectors[i].fd = d->vectors[i].gsi = -1;
	return d;
}

static bool backwards(const struct rmio_pci_window *w)
{
	return w->last < w->first;
}

int rmio_pci_new(const struct rmio_pci_opts *opts, struct rmio_pci **out)
{
	struct rmio_pci_opts o;
	struct rmio_pci *pci;
	int rc = rmio_opts_copy(&o, sizeof(o), opts, "rmio_pci_opts");

	if (rc)
		return rc;
	if (!o.irqs || (o.nr_memory && !o.memory))
		return rmio_refuse(-EINVAL, "rmio_pci_opts: no irqs, or no memory of nr_memory");
	if (backwards(&o.mem) || backwards(&o.high) || backwards(&o.io) || o.io.last > 0xffff)
		return rmio_refuse(-EINVAL, "rmio_pci_opts: a window ends before it begins, or "
				   "ports end at 0xffff");
	pci = calloc(1, sizeof(*pci));
	if (!pci)
		return -ENOMEM;
	pci->memory = calloc(o.nr_memory + 1, sizeof(*pci->memory));
	pci->slots[0] = dev_new(pci, &bridge_ops, NULL, "host bridge");
	if (!pci->memory || !pci->slots[0]) {
		free(pci->memory);
		free(pci->slots[0]);
		free(pci);
		return -ENOMEM;
	}
	pci->irqs = o.irqs;
	pci->irq_arg = o.irq_arg;
	pci->nr_memory = o.nr_memory;
	if (o.nr_memory)
		memcpy(pci->memory, o.memory, o.nr_memory * sizeof(*pci->memory));
	pci->mem = o.mem;
	pci->high = o.high;
	pci->io = o.io;
	pci->first_gsi = o.first_gsi;
	pci->nr_gsis = o.nr_gsis;
	pci->log = o.log;
	pci->log_arg = o.arg;
	pthread_mutex_init(&pci->lock, NULL);
	*out = pci;
	return 0;
}

void rmio_pci_free(struct rmio_pci *pci)
{
	if (!pci)
		return;
	pci->quiet = true;
	for (uint32_t i = 1; i < RMIO_PCI_SLOTS; i++)
		rmio_pci_remove(pci, i);
	free(pci->slots[0]);
	free(pci->memory);
	pthread_mutex_destroy(&pci->lock);
	free(pci);
}

/* 0, or the slot cannot be had. */
static int find_slot(struct rmio_pci *pci, const char *name, uint32_t *slot)
{
	uint32_t s = *slot;

	if (s >= RMIO_PCI_SLOTS)
		return rmio_refuse(-EINVAL, "%s: slot %u, of %u", name, s, RMIO_PCI_SLOTS);
	if (s && pci->slots[s])
		return rmio_refuse(-EBUSY, "%s: slot %u is taken by %s", name, s,
				   pci->slots[s]->name);
	for (s = s ? s : 1; s < RMIO_PCI_SLOTS && pci->slots[s]; s++)
		;
	if (s == RMIO_PCI_SLOTS)
		return rmio_refuse(-ENOSPC, "%s: no slot left, at most %u devices", name,
				   RMIO_PCI_SLOTS - 1);
	*slot = s;
	return 0;
}

/* All of guest memory, or none. */
static int map_memory(struct pci_dev *d)
{
	const struct rmio_pci_memory *m = d->pci->memory;
	unsigned int i;
	int rc = 0;

	for (i = 0; !rc && i < d->pci->nr_memory; i++)
		rc = d->ops->dma_map(d->be, m[i].gpa, m[i].len, m[i].fd, m[i].offset);
	if (!rc)
		return 0;
	/* The last one was refused. */
	for (i--; i && d->ops->dma_unmap; i--)
		d->ops->dma_unmap(d->be, m[i - 1].gpa, m[i - 1].len);
	return rmio_refuse(rc, "%s: mapping guest memory: %s", d->name, strerror(-rc));
}

/* What the device says of itself, taken over. */
static int init_dev(struct pci_dev *d)
{
	uint8_t cfg[256];
	int rc = d->ops->reset(d->be);

	if (rc)
		return rmio_refuse(rc, "%s: reset: %s", d->name, strerror(-rc));
	rc = d->ops->config_read(d->be, 0, cfg, sizeof(cfg));
	if (rc)
		return rmio_refuse(rc, "%s: reading configuration space: %s", d->name,
				   strerror(-rc));
	rc = pci_header_init(d, cfg);
	if (!rc)
		rc = pci_bars_init(d, cfg);
	if (!rc)
		rc = pci_irqs_init(d, cfg);
	return rc ? rc : map_memory(d);
}

int rmio_pci_add_backend(struct rmio_pci *pci, const struct pci_backend_ops *ops, void *be,
			 const char *name, uint32_t *slot)
{
	struct pci_dev *d;
	int rc;

	pthread_mutex_lock(&pci->lock);
	rc = find_slot(pci, name, slot);
	d = rc ? NULL : dev_new(pci, ops, be, name);
	if (!d) {
		rc = rc ? rc : -ENOMEM;
		goto unlock;
	}
	d->slot = *slot;
	rc = init_dev(d);
	if (rc) {
		pci_irqs_exit(d);
		free(d);
		goto unlock;
	}
	pci->slots[*slot] = d;
	pci_irqs_update(d);
unlock:
	pthread_mutex_unlock(&pci->lock);
	return rc;
}

void rmio_pci_remove(struct rmio_pci *pci, uint32_t slot)
{
	struct pci_dev *d;

	if (!slot || slot >= RMIO_PCI_SLOTS)
		return;
	pthread_mutex_lock(&pci->lock);
	d = pci->slots[slot];
	if (d) {
		pci_bars_remove(d);
		pci_irqs_exit(d);
		if (d->ops->gone)
			d->ops->gone(d->be);
		pci->slots[slot] = NULL;
		free(d);
		/* A BAR that lay under one of these can come up. */
		pci_bars_update(pci);
	}
	pthread_mutex_unlock(&pci->lock);
}
