// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A client's device on the bus: configuration space, ranges, interrupts and DMA go through its
 * socket, its BARs' accesses through its rings or rmio_client_exit.
 */
#include "priv.h"
#include "opts.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct pci_client {
	struct rmio_pci *pci;
	struct rmio_client *client;
	bool can_reset, decodes;
};

/* -- back end of the bus ----------------------------------------------------- */

static int config_read(void *be, unsigned int reg, void *buf, unsigned int len)
{
	struct pci_client *c = be;

	return rmio_client_region_read(c->client, VFIO_PCI_CONFIG_REGION_INDEX, reg, buf, len);
}

static int config_write(void *be, unsigned int reg, const void *buf, unsigned int len)
{
	struct pci_client *c = be;

	return rmio_client_region_write(c->client, VFIO_PCI_CONFIG_REGION_INDEX, reg, buf, len);
}

static int region_size(void *be, unsigned int bar, uint64_t *size)
{
	struct pci_client *c = be;
	struct rmio_region_info info = { 0 };
	int rc = rmio_client_region_info(c->client, VFIO_PCI_BAR0_REGION_INDEX + bar, &info);

	*size = rc ? 0 : info.size;
	return rc;
}

/* For a device that decodes addresses itself: write to the BAR's registers, as the guest did. */
static int tell_place(struct pci_client *c, unsigned int bar, uint64_t addr)
{
	unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * bar;
	uint32_t type, half = (uint32_t)addr;
	int rc = config_read(c, reg, &type, sizeof(type));

	if (!rc)
		rc = config_write(c, reg, &half, sizeof(half));
	if (!rc && (type & (PCI_BASE_ADDRESS_SPACE | PCI_BASE_ADDRESS_MEM_TYPE_MASK)) ==
		   PCI_BASE_ADDRESS_MEM_TYPE_64) {
		half = (uint32_t)(addr >> 32);
		rc = config_write(c, reg + 4, &half, sizeof(half));
	}
	return rc;
}

static int place(void *be, unsigned int bar, bool io, uint64_t addr, uint64_t len)
{
	struct pci_client *c = be;
	struct rmio_pa_range r = {
		.addr = addr,
		.len = len,
		.bus = io ? RMIO_BUS_IO : RMIO_BUS_MEM,
		.id = bar,
	};

	if (c->decodes && len) {
		int rc = tell_place(c, bar, addr);

		if (rc)
			return rc;
	}
	return rmio_client_pa_range(c->client, &r);
}

static int msi_count(void *be, unsigned int *count)
{
	struct pci_client *c = be;
	uint32_t flags, n;
	int rc = rmio_client_irq_info(c->client, VFIO_PCI_MSI_IRQ_INDEX, &flags, &n);

	*count = !rc && flags & VFIO_IRQ_INFO_EVENTFD ? n : 0;
	return rc;
}

static int set_intx(void *be, int trigger, int unmask)
{
	struct pci_client *c = be;
	int rc;

	if (c->pci->quiet)
		return 0;
	if (trigger < 0)
		return rmio_client_set_irqs(c->client, VFIO_PCI_INTX_IRQ_INDEX,
					    VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);
	rc = rmio_client_set_irqs(c->client, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
				  0, 1, &trigger);
	if (rc)
		return rc;
	return rmio_client_set_irqs(c->client, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK,
				    0, 1, &unmask);
}

static int unmask_intx(void *be)
{
	struct pci_client *c = be;

	return rmio_client_set_irqs(c->client, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK,
				    0, 1, NULL);
}

static int set_msi(void *be, unsigned int count, const int *fds)
{
	struct pci_client *c = be;

	if (c->pci->quiet)
		return 0;
	return rmio_client_set_irqs(c->client, VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
				    0, count, count ? fds : NULL);
}

static int dma_map(void *be, uint64_t gpa, uint64_t len, int fd, uint64_t offset)
{
	struct pci_client *c = be;

	return rmio_client_dma_map(c->client, gpa, len, fd, offset, PROT_READ | PROT_WRITE);
}

static void dma_unmap(void *be, uint64_t gpa, uint64_t len)
{
	struct pci_client *c = be;

	rmio_client_dma_unmap(c->client, gpa, len);
}

static int reset(void *be)
{
	struct pci_client *c = be;

	return c->can_reset ? rmio_client_reset(c->client) : 0;
}

static void gone(void *be)
{
	struct pci_client *c = be;
	struct rmio_pci *pci = c->pci;

	for (unsigned int i = 0; !pci->quiet && i < pci->nr_memory; i++)
		rmio_client_dma_unmap(c->client, pci->memory[i].gpa, pci->memory[i].len);
	free(c);
}

static const struct pci_backend_ops client_ops = {
	.config_read = config_read,
	.config_write = config_write,
	.region_size = region_size,
	.place = place,
	.msi_count = msi_count,
	.set_intx = set_intx,
	.unmask_intx = unmask_intx,
	.set_msi = set_msi,
	.dma_map = dma_map,
	.dma_unmap = dma_unmap,
	.reset = reset,
	.gone = gone,
};

int rmio_pci_add(struct rmio_pci *pci, struct rmio_client *client,
		 const struct rmio_pci_dev_opts *opts, uint32_t *slot)
{
	uint32_t flags, regions, irqs, s;
	struct rmio_pci_dev_opts o;
	struct pci_client *c;
	int rc = rmio_opts_copy(&o, sizeof(o), opts, "rmio_pci_dev_opts");

	if (rc)
		return rc;
	if (o.flags & ~RMIO_PCI_DECODES)
		return rmio_refuse(-EINVAL, "rmio_pci_dev_opts: flags 0x%x", o.flags);
	if (!o.name)
		o.name = "device";
	rc = rmio_client_device_info(client, &flags, &regions, &irqs);
	if (rc)
		return rmio_refuse(rc, "%s: %s", o.name, strerror(-rc));
	if (!(flags & VFIO_DEVICE_FLAGS_PCI) || regions <= VFIO_PCI_CONFIG_REGION_INDEX)
		return rmio_refuse(-ENODEV, "%s: not a PCI device", o.name);
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->pci = pci;
	c->client = client;
	c->can_reset = flags & VFIO_DEVICE_FLAGS_RESET;
	c->decodes = o.flags & RMIO_PCI_DECODES;
	s = o.slot;
	rc = rmio_pci_add_backend(pci, &client_ops, c, o.name, &s);
	if (rc) {
		free(c);
		return rc;
	}
	if (slot)
		*slot = s;
	return 0;
}
