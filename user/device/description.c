// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What the author says of a device, checked and compiled: ranges, shadow image, access map; the
 * device made of it, and its end.  Beside the data path.
 */
#include "device.h"
#include "memfd.h"
#include "opts.h"
#include "sizes.h"
#include "wire/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NR_BARS		6u
#define IO_BAR_MAX	256u	/* PCI Local Bus 3.0, 6.2.5.1 */
#define BAR_FLAGS	(RMIO_DEV_RANGE_64BIT | RMIO_DEV_RANGE_PREFETCH)
#define ACCESS_FLAGS	(RMIO_DEV_RANGE_ALIGNED | RMIO_DEV_RANGE_NATURAL)
#define PCI_ONLY(id)	((id) >= NR_BARS && (id) < 9)	/* ROM, configuration, VGA */

/* -- the description ---------------------------------------------------------------------- */

static bool power_of_two(uint64_t v)
{
	return v && !(v & (v - 1));
}

static const char *bad_range(const struct rmio_dev_desc *d, uint32_t i)
{
	const struct rmio_dev_range *r = &d->ranges[i];
	uint32_t ids = r->flags & RMIO_DEV_RANGE_64BIT ? 2 : 1, k;
	bool pci = !(d->flags & RMIO_DEV_PLATFORM);

	if (r->bus > RMIO_BUS_IO)
		return "unknown bus";
	if (r->flags & ~(BAR_FLAGS | ACCESS_FLAGS) || r->reserved)
		return "unknown flag";
	if (rmio_sizes_bad(r))
		return rmio_sizes_bad(r);
	if (r->flags & BAR_FLAGS && (!pci || r->bus == RMIO_BUS_IO || r->id >= NR_BARS))
		return "64BIT and PREFETCH are for memory BARs";
	if (!r->len || r->id >= VU_REGIONS_MAX || (pci && PCI_ONLY(r->id)))
		return "no length, or not an id for a range";
	if (pci && r->id < NR_BARS) {
		if (!power_of_two(r->len) || r->len < (r->bus == RMIO_BUS_IO ? 4 : 16))
			return "a BAR's length is a power of two, 16 or more, I/O 4 or more";
		if (r->bus == RMIO_BUS_IO && r->len > IO_BAR_MAX)
			return "an I/O BAR has 256 bytes at most";
		if (r->len > 1ull << 31 && ids == 1)
			return "a BAR of more than 2 GiB is RMIO_DEV_RANGE_64BIT";
		if (r->id + ids > NR_BARS)
			return "a 64-bit BAR takes two ids";
	}
	for (k = 0; k < d->nr_ranges; k++)
		if (k != i && d->ranges[k].id >= r->id && d->ranges[k].id < r->id + ids)
			return "id used twice";
	return NULL;
}

static int check_desc(struct rmio_loop *loop, const struct rmio_dev_desc *d)
{
	const char *why = NULL;
	char where[24] = "";
	uint32_t i;

	if (!d->ops)
		why = "ops is NULL";
	else if (d->nr_ranges > RMIO_RANGES_MAX || (d->nr_ranges && !d->ranges))
		why = "more than RMIO_RANGES_MAX ranges, or ranges is NULL";
	else if (d->nr_areas && !d->areas)
		why = "areas is NULL";
	else if (d->class_code >> 24)
		why = "the class has 24 bits";
	else if (d->msi && (!power_of_two(d->msi) || d->msi > RMIO_MSI_MAX))
		why = "MSI vectors are a power of two, 32 at most";
	else if (d->intx > 4)
		why = "the pin is 0 to 4";
	else if (d->flags & ~RMIO_DEV_PLATFORM)
		why = "unknown flag";
	else if (!(d->flags & RMIO_DEV_PLATFORM) && (!d->vendor || d->vendor == 0xffff))
		why = "the vendor is 0 or 0xffff, which say that no device is there";
	else if (d->flags & RMIO_DEV_PLATFORM && (d->msi || d->intx > 1))
		why = "what is not PCI has no messages, and one line at most";
	else if (d->shadow_size > RMIO_SHADOW_MAX)
		why = "the shadow image is larger than RMIO_SHADOW_MAX";
	for (i = 0; !why && i < d->nr_ranges; i++) {
		why = bad_range(d, i);
		if (why)
			snprintf(where, sizeof(where), "range %u: ", d->ranges[i].id);
	}
	if (!why)
		return 0;
	rmio_loop_log(loop, "%s: %s%s", d->name, where, why);
	return rmio_refuse(-EINVAL, "%s: %s%s", d->name, where, why);
}

/* -- the access map ------------------------------------------------------------------------- */

/* What rmio_map_new and make_map find wrong with an area. */
static const char *bad_area(int err)
{
	switch (err) {
	case -EINVAL:
		return "empty, unknown bits, or shadow without sizes";
	case -EEXIST:
		return "overlaps another one";
	case -EOVERFLOW:
		return "offset and length wrap";
	case -ERANGE:
		return "leaves its range or the shadow image";
	default:
		return strerror(-err);
	}
}

/* A compiled map of areas that all lie in ranges of the device. */
static int make_map(struct rmio_dev *dev, const struct rmio_area *areas, uint32_t n,
		    struct rmio_map **map)
{
	const struct rmio_dev_range *r;
	size_t bad = 0;
	uint32_t i;
	int err;

	err = rmio_map_new(areas, n, dev->shadow_size, map, &bad);
	for (i = 0; !err && i < n; i++) {
		r = rmio_dev_range(dev, areas[i].range_id);
		if (r && areas[i].offset + areas[i].length <= r->len)
			continue;
		rmio_map_free(*map);
		bad = i;
		err = -ERANGE;
	}
	if (!err)
		return 0;
	rmio_dev_log(dev, "area %zu of the access map: %s", bad, bad_area(err));
	return rmio_refuse(err, "%s: area %zu of the access map: %s", dev->name, bad, bad_area(err));
}

static int set_areas(struct rmio_dev *dev, const struct rmio_area *areas, uint32_t n)
{
	struct rmio_area *copy = NULL;
	struct rmio_map *map;
	int err;

	if (n > RMIO_AREAS_MAX)
		return rmio_refuse(-E2BIG, "%s: an access map has %u areas at most, not %u", dev->name,
				   RMIO_AREAS_MAX, n);
	if (n) {
		copy = malloc(n * sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		memcpy(copy, areas, n * sizeof(*copy));
	}
	err = make_map(dev, copy, n, &map);
	if (err) {
		free(copy);
		return err;
	}
	/* With two replaced before the master has answered nobody knows which it uses. */
	rmio_map_free(dev->map_was);
	dev->map_was = NULL;
	if (dev->src.slave && dev->map_live)
		dev->map_was = dev->map;
	else
		rmio_map_free(dev->map);
	free(dev->areas);
	dev->map = map;
	dev->areas = copy;
	dev->nr_areas = n;
	return 0;
}

int rmio_dev_areas(struct rmio_dev *dev, const struct rmio_area *areas, uint32_t n)
{
	int err;

	rmio_refuse_none();
	err = set_areas(dev, areas, n);
	if (!err)
		rmio_dev_push_map(dev);
	return err;
}

/* -- making and unmaking --------------------------------------------------------------------- */

static int make_shadow(struct rmio_dev *dev, uint64_t size)
{
	void *p;

	if (!size)
		return 0;
	p = mmap(NULL, rmio_pages(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	dev->shadow = p;
	dev->shadow_size = size;
	return 0;
}

int rmio_dev_new(struct rmio_loop *loop, const struct rmio_dev_desc *desc, void *priv,
		 struct rmio_dev **out)
{
	struct rmio_dev_desc d;
	struct rmio_dev *dev;
	int err;

	err = rmio_opts_copy(&d, sizeof(d), desc, "rmio_dev_desc");
	if (err)
		return err;
	if (!d.name)
		d.name = "device";
	err = check_desc(loop, &d);
	if (err)
		return err;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	dev->loop = loop;
	dev->ops = d.ops;
	dev->priv = priv;
	dev->dma_mask = d.dma_mask ? d.dma_mask : UINT64_MAX;
	dev->listen_fd = -1;
	dev->vu_stuck_ns = VU_STUCK_NS;
	err = -ENOMEM;
	dev->name = strdup(d.name);
	dev->ranges = calloc(d.nr_ranges + 1, sizeof(*dev->ranges));
	if (!dev->name || !dev->ranges)
		goto free_dev;
	if (d.nr_ranges)
		memcpy(dev->ranges, d.ranges, d.nr_ranges * sizeof(*dev->ranges));
	dev->nr_ranges = d.nr_ranges;
	err = make_shadow(dev, d.shadow_size);
	if (err)
		goto free_dev;
	err = set_areas(dev, d.areas, d.nr_areas);
	if (err)
		goto unmap_shadow;
	dev->platform = d.flags & RMIO_DEV_PLATFORM;
	rmio_pci_config_init(&dev->config, &d);
	rmio_irqs_init(&dev->irqs, loop, &dev->config, d.msi, d.intx);
	rmio_dma_init(&dev->dma);
	*out = dev;
	return 0;

unmap_shadow:
	if (dev->shadow)
		munmap(dev->shadow, rmio_pages(dev->shadow_size));
free_dev:
	free(dev->ranges);
	free(dev->name);
	free(dev);
	return err == -E2BIG || err == -ENOMEM ? err : rmio_refuse_as(-EINVAL);
}

void rmio_dev_free(struct rmio_dev *dev)
{
	if (!dev)
		return;
	rmio_dev_peer_free(dev);
	if (dev->shadow)
		munmap(dev->shadow, rmio_pages(dev->shadow_size));
	rmio_map_free(dev->map);
	rmio_map_free(dev->map_was);
	free(dev->areas);
	free(dev->ranges);
	free(dev->name);
	free(dev);
}
