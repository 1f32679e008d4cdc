// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a client asks of a device by message: regions, memory, interrupts, reset, rings.  Under the
 * connection (peer.c).  Region access by message passes here.
 */
#include "device.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/mman.h>

/* The device stops using it before it goes. */
static void dma_gone_within(struct rmio_dev *dev, uint64_t iova, uint64_t last)
{
	uint64_t at, size;

	if (!dev->ops->dma)
		return;
	while (rmio_dma_from(&dev->dma, iova, &at, &size) && at <= last) {
		dev->ops->dma(dev, at, size, false);
		iova = at + size;
		if (!iova)
			break;
	}
}

void rmio_dev_dma_gone(struct rmio_dev *dev)
{
	dma_gone_within(dev, 0, UINT64_MAX);
	rmio_dma_drop(&dev->dma);
}

static void op_device_info(void *arg, uint32_t *flags, uint32_t *regions, uint32_t *irqs)
{
	const struct rmio_dev *dev = arg;
	uint32_t i;

	*flags = (dev->platform ? VFIO_DEVICE_FLAGS_PLATFORM : VFIO_DEVICE_FLAGS_PCI) |
		 VFIO_DEVICE_FLAGS_RESET;
	*regions = dev->platform ? 0 : VFIO_PCI_NUM_REGIONS;
	for (i = 0; i < dev->nr_ranges; i++)
		if (dev->ranges[i].id >= *regions)
			*regions = dev->ranges[i].id + 1;
	*irqs = dev->platform ? dev->irqs.pin : VFIO_PCI_NUM_IRQS;
}

static bool is_config(const struct rmio_dev *dev, uint32_t index)
{
	return !dev->platform && index == VFIO_PCI_CONFIG_REGION_INDEX;
}

static int op_region_info(void *arg, uint32_t index, uint64_t *size, uint32_t *flags)
{
	struct rmio_dev *dev = arg;
	const struct rmio_dev_range *r = rmio_dev_range(dev, index);

	*size = is_config(dev, index) ? RMIO_PCI_CONFIG_SIZE : r ? r->len : 0;
	*flags = *size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;
	return 0;
}

static int op_irq_info(void *arg, uint32_t index, uint32_t *flags, uint32_t *count)
{
	struct rmio_dev *dev = arg;

	return rmio_irqs_info(&dev->irqs, index, flags, count);
}

/* How much of @left at @off is one access: 1, 2, 4, 8 bytes as they are, else as a bus cuts it. */
static uint32_t piece(uint64_t off, uint32_t left, uint32_t count)
{
	uint32_t n = 8;

	if (count <= 8 && !(count & (count - 1)))
		return count;
	while (n > left || off % n)
		n /= 2;
	return n;
}

static int op_region_read(void *arg, uint32_t index, uint64_t off, void *buf, uint32_t count)
{
	struct rmio_dev *dev = arg;
	uint32_t done, n;
	uint64_t v;

	/* What vCPUs stored before this message is older. */
	rmio_dev_drain(dev);
	if (is_config(dev, index)) {
		rmio_pci_config_read(&dev->config, (uint32_t)off, buf, count);
		return 0;
	}
	for (done = 0; done < count; done += n) {
		n = piece(off + done, count - done, count);
		v = rmio_dev_do_load(dev, index, off + done, n, true);
		memcpy((char *)buf + done, &v, n);
	}
	return 0;
}

static int op_region_write(void *arg, uint32_t index, uint64_t off, const void *buf,
			   uint32_t count)
{
	struct rmio_dev *dev = arg;
	uint32_t done, n;
	uint64_t v;

	rmio_dev_drain(dev);
	if (is_config(dev, index)) {
		rmio_pci_config_write(&dev->config, (uint32_t)off, buf, count);
		rmio_irqs_update(&dev->irqs);
		return 0;
	}
	for (done = 0; done < count; done += n) {
		n = piece(off + done, count - done, count);
		v = 0;
		memcpy(&v, (const char *)buf + done, n);
		rmio_dev_do_store(dev, index, off + done, v, n, true);
	}
	return 0;
}

static void op_replying(void *arg)
{
	struct rmio_dev *dev = arg;

	rmio_loop_signal(dev->loop);
}

static int op_dma_map(void *arg, uint64_t iova, uint64_t size, uint64_t offset, int prot, int *fd)
{
	struct rmio_dev *dev = arg;
	/* A VM's ROMs have none, and nobody does DMA to them. */
	bool none = *fd < 0 && (prot & PROT_WRITE);
	int err = rmio_dma_map(&dev->dma, iova, size, offset, prot, fd);

	if (!err && none && !dev->no_fd_logged) {
		dev->no_fd_logged = true;
		rmio_dev_log(dev, "memory at 0x%" PRIx64 " came without a descriptor, so that no DMA reaches "
			     "it: the VMM has to share its memory (QEMU: -object memory-backend-memfd,"
			     "share=on, and the machine's memory-backend)", iova);
	}
	if (!err && dev->ops->dma)
		dev->ops->dma(dev, iova, size, true);
	return err;
}

static int op_dma_unmap(void *arg, uint64_t iova, uint64_t size, bool all)
{
	struct rmio_dev *dev = arg;
	int err;

	rmio_dev_drain(dev);
	if (all) {
		rmio_dev_dma_gone(dev);
		return 0;
	}
	err = rmio_dma_within(&dev->dma, iova, size);
	if (err)
		return err;
	dma_gone_within(dev, iova, iova + (size - 1));
	return rmio_dma_unmap(&dev->dma, iova, size);
}

static const char *op_dma_why(void *arg)
{
	struct rmio_dev *dev = arg;

	return dev->dma.why;
}

static int op_set_irqs(void *arg, uint32_t index, uint32_t action, uint32_t data, uint32_t start,
		       uint32_t count, int *fds, const uint8_t *bools)
{
	struct rmio_dev *dev = arg;

	return rmio_irqs_set(&dev->irqs, index, action, data, start, count, fds, bools);
}

static void op_pin_rises(void *arg)
{
	struct rmio_dev *dev = arg;

	dev->irqs.rises = true;
}

static int op_reset(void *arg)
{
	rmio_dev_drain(arg);
	rmio_dev_do_reset(arg);
	return 0;
}

static const char *op_name(void *arg)
{
	struct rmio_dev *dev = arg;

	return dev->name;
}

static int op_attach(void *arg, int *fd)
{
	struct rmio_dev *dev = arg;
	int slave = *fd;

	if (dev->src.slave)
		return -EBUSY;
	*fd = -1;
	return rmio_dev_attach(dev, slave, dev->slave_gone);
}

/* The end of its master may not have been noticed yet: what came before it is handled first. */
static bool op_attached(void *arg)
{
	struct rmio_dev *dev = arg;

	if (dev->src.slave && rmio_slave_gone(dev->src.slave)) {
		rmio_dev_drain(dev);
		rmio_dev_detach(dev);
	}
	return dev->src.slave;
}

static void op_log(void *arg, const char *line)
{
	rmio_dev_log(arg, "%s", line);
}

const struct vu_server_ops rmio_dev_vu_ops = {
	.replying = op_replying,
	.device_info = op_device_info,
	.region_info = op_region_info,
	.irq_info = op_irq_info,
	.region_read = op_region_read,
	.region_write = op_region_write,
	.dma_map = op_dma_map,
	.dma_unmap = op_dma_unmap,
	.dma_why = op_dma_why,
	.set_irqs = op_set_irqs,
	.pin_rises = op_pin_rises,
	.reset = op_reset,
	.name = op_name,
	.attach = op_attach,
	.attached = op_attached,
	.log = op_log,
};
