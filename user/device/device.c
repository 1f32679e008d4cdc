// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device as a struct of callbacks: accesses handed to load and store or answered
 * from the shadow, and what the author's code may call.  The end of the data path, under the
 * rings (ringed.c) and the socket (peer.c).
 */
#include "device.h"
#include "refuse.h"
#include "sizes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void rmio_dev_log(struct rmio_dev *dev, const char *fmt, ...)
{
	char line[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	/* There may be several of that name. */
	rmio_loop_log(dev->loop, "%s%s%s: %s", dev->name, dev->path ? " on " : "",
		      dev->path ? dev->path : "", line);
}

/* -- accesses ------------------------------------------------------------------------ */

const struct rmio_dev_range *rmio_dev_range(const struct rmio_dev *dev, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < dev->nr_ranges; i++)
		if (dev->ranges[i].id == id)
			return &dev->ranges[i];
	return NULL;
}

static void refused(struct rmio_dev *dev, uint32_t id, uint64_t offset, uint32_t len,
		    const char *why)
{
	dev->refused++;
	if (!dev->bad_logged)
		rmio_dev_log(dev, "access to range %u, offset 0x%llx, %u bytes: %s", id,
			     (unsigned long long)offset, len, why);
	dev->bad_logged = true;
}

/* The range that holds all of it, or NULL, which is logged. */
static const struct rmio_dev_range *inside(struct rmio_dev *dev, uint32_t id, uint64_t offset,
					   uint32_t len)
{
	const struct rmio_dev_range *r = rmio_dev_range(dev, id);

	if (r && offset < r->len && len <= r->len - offset)
		return r;
	refused(dev, id, offset, len, "not in any range");
	return NULL;
}

/* A device without load(): the shadow answers sizes too that its area does not list. */
static uint64_t load_any_size(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	const struct rmio_area *a;

	for (a = dev->areas; a < dev->areas + dev->nr_areas; a++)
		if (a->range_id == range && a->load == RMIO_LOAD_SHADOW && offset >= a->offset &&
		    offset - a->offset <= a->length - 1 && len <= a->length - (offset - a->offset))
			return rmio_shadow_get(dev->shadow, a->shadow_offset + (offset - a->offset),
					       len);
	return rmio_ones(len);
}

/*
 * @ask_map: nobody has asked the access map for this access yet (it came over the
 * socket, or before the master had the map), so that is done here.
 */
uint64_t rmio_dev_do_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len,
			  bool ask_map)
{
	const struct rmio_dev_range *r = inside(dev, range, offset, len);
	struct rmio_decision d;
	uint64_t v;

	if (!r)
		return rmio_ones(len);
	if (ask_map) {
		rmio_map_load(dev->map, range, offset, len, &d);
		if (d.verdict == RMIO_FROM_SHADOW)
			return rmio_shadow_get(dev->shadow, d.shadow_offset, len);
	}
	if (!dev->ops->load)
		return load_any_size(dev, range, offset, len);
	if (!rmio_sizes_load(dev, r, offset, len, &v))
		refused(dev, range, offset, len, "not a size and alignment of it");
	return v & rmio_ones(len);
}

void rmio_dev_do_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		       uint32_t len, bool ask_map)
{
	const struct rmio_dev_range *r = inside(dev, range, offset, len);
	struct rmio_decision d;

	if (!r)
		return;
	value &= rmio_ones(len);
	if (ask_map) {
		rmio_map_store(dev->map, range, offset, len, &d);
		if (d.verdict == RMIO_POST_THROUGH)
			rmio_shadow_put(dev->shadow, d.shadow_offset, value, len);
	}
	if (dev->ops->store && !rmio_sizes_store(dev, r, offset, value, len))
		refused(dev, range, offset, len, "a store not of a size and alignment of it");
}

void rmio_dev_do_reset(struct rmio_dev *dev)
{
	rmio_pci_config_reset(&dev->config);
	rmio_irqs_reset(&dev->irqs);
	if (dev->ops->reset)
		dev->ops->reset(dev);
}

/* -- calls of the author -------------------------------------------------------------------- */

void *rmio_dev_priv(const struct rmio_dev *dev)
{
	return dev->priv;
}

struct rmio_loop *rmio_dev_loop(const struct rmio_dev *dev)
{
	return dev->loop;
}

uint64_t rmio_dev_refused(const struct rmio_dev *dev)
{
	return dev->refused;
}

bool rmio_dev_redelivered(const struct rmio_dev *dev)
{
	return dev->redelivered;
}

void *rmio_dev_shadow(struct rmio_dev *dev)
{
	return dev->shadow;
}

int rmio_dev_shadow_put(struct rmio_dev *dev, uint64_t offset, uint64_t value, uint32_t len)
{
	if (len != 1 && len != 2 && len != 4 && len != 8)
		return rmio_refuse(-EINVAL, "rmio_dev_shadow_put: len is %u, not 1, 2, 4 or 8", len);
	if (offset % len || offset >= dev->shadow_size || len > dev->shadow_size - offset)
		return rmio_refuse(-EINVAL, "rmio_dev_shadow_put: offset 0x%llx, %u bytes: not aligned, "
				   "or beyond the image of 0x%zx bytes", (unsigned long long)offset,
				   len, dev->shadow_size);
	rmio_shadow_put(dev->shadow, offset, value, len);
	return 0;
}

int rmio_dev_msi(struct rmio_dev *dev, uint32_t v)
{
	return rmio_irqs_msi(&dev->irqs, v);
}

bool rmio_dev_msi_enabled(const struct rmio_dev *dev)
{
	return rmio_irqs_messages(&dev->irqs);
}

void rmio_dev_pin(struct rmio_dev *dev, bool raised)
{
	rmio_irqs_pin(&dev->irqs, raised);
}

static int dma_check(const struct rmio_dev *dev, uint64_t iova, uint64_t len)
{
	if (!rmio_pci_config_master(&dev->config))
		return rmio_refuse(-EPERM, "bus mastering is off: the guest has not set bit 2 of the "
				   "command register");
	if (len && (iova > dev->dma_mask || len - 1 > dev->dma_mask - iova))
		return rmio_refuse(-ERANGE, "DMA at 0x%llx, %llu bytes: dma_mask is 0x%llx",
				   (unsigned long long)iova, (unsigned long long)len,
				   (unsigned long long)dev->dma_mask);
	return 0;
}

static int dma_copy(struct rmio_dev *dev, uint64_t iova, void *buf, uint64_t len, bool write)
{
	int err = dma_check(dev, iova, len);

	if (!err)
		err = rmio_dma_copy(&dev->dma, iova, buf, len, write);
	if (err == -EFAULT)
		rmio_refuse(err, "DMA at 0x%llx, %llu bytes: part of it the VMM has not mapped, or not "
			    "for %s", (unsigned long long)iova, (unsigned long long)len,
			    write ? "writing" : "reading");
	return err;
}

int rmio_dev_dma_read(struct rmio_dev *dev, uint64_t iova, void *buf, uint64_t len)
{
	return dma_copy(dev, iova, buf, len, false);
}

int rmio_dev_dma_write(struct rmio_dev *dev, uint64_t iova, const void *buf, uint64_t len)
{
	return dma_copy(dev, iova, (void *)buf, len, true);
}

void *rmio_dev_dma_ptr(struct rmio_dev *dev, uint64_t iova, uint64_t len, bool write)
{
	return dma_check(dev, iova, len) ? NULL : rmio_dma_direct(&dev->dma, iova, len, write);
}
