// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The null device: every kind of access at its bare price.  An end of the data
 * path; its registers are in null.h.
 */
#include "devices.h"
#include "null.h"

#include <errno.h>
#include <stdlib.h>

struct null {
	uint64_t scratch, stores, loads;
};

static uint64_t load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	struct null *n = rmio_dev_priv(dev);

	n->loads++;
	switch (offset) {
	case NULL_MAGIC:
		return NULL_MAGIC_VALUE;
	case NULL_SCRATCH:
		return n->scratch;
	case NULL_STORES:
		return n->stores;
	case NULL_LOADS:
		return n->loads;
	}
	return offset;
}

static void store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		  uint32_t len)
{
	struct null *n = rmio_dev_priv(dev);

	n->stores++;
	if (offset == NULL_SCRATCH) {
		n->scratch = value;
	} else if (offset == NULL_IRQ) {
		if (!value)
			rmio_dev_pin(dev, false);
		else if (rmio_dev_msi(dev, 0) == -ENOTCONN)
			rmio_dev_pin(dev, true);
	} else if (offset >= NULL_SHADOW && offset < NULL_RELAXED + 0x1000 &&
		   (offset < NULL_THROUGH || offset >= NULL_RELAXED)) {
		rmio_dev_shadow_put(dev, offset - NULL_SHADOW, value, len);
	}
}

static void reset(struct rmio_dev *dev)
{
	*(struct null *)rmio_dev_priv(dev) = (struct null){ 0 };
}

static const struct rmio_dev_ops ops = { .load = load, .store = store, .reset = reset };

static const struct rmio_dev_range bar0 = { .id = 0, .bus = RMIO_BUS_MEM, .len = NULL_BAR_SIZE };

static const struct rmio_area areas[] = {
	{ .offset = NULL_SYNC, .length = 0x100, .store = RMIO_STORE_SYNC },
	{ .offset = NULL_SHADOW, .length = 0x1000, .shadow_offset = 0, .sizes = RMIO_SIZE_ALL,
	  .load = RMIO_LOAD_SHADOW },
	{ .offset = NULL_THROUGH, .length = 0x1000, .shadow_offset = 0x1000,
	  .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW, .store = RMIO_STORE_THROUGH },
	{ .offset = NULL_RELAXED, .length = 0x1000, .shadow_offset = 0x2000,
	  .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW, .flags = RMIO_AREA_RELAXED },
};

static int make(struct rmio_loop *loop, const char *opts, struct rmio_dev **dev, char *why,
		size_t len)
{
	static const char *const none[] = { NULL };
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc),
		.name = "null",
		.ops = &ops,
		.ranges = &bar0,
		.nr_ranges = 1,
		.areas = areas,
		.nr_areas = sizeof(areas) / sizeof(areas[0]),
		.shadow_size = 0x3000,
		.vendor = NULL_VENDOR,
		.device = NULL_DEVICE,
		.class_code = 0xff0000,
		.msi = 1,
		.intx = 1,
	};
	struct null *n;
	int err;

	err = device_options(opts, none, NULL, why, len);
	if (err)
		return err;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	err = rmio_dev_new(loop, &desc, n, dev);
	if (err)
		free(n);
	return err;
}

const struct device_type null_device = {
	.name = "null",
	.summary = "does nothing, for measuring",
	.options = "",
	.make = make,
};
