// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Access sizes: what the guest uses made into what the device's callbacks implement.  Between the
 * accesses of device.c and the callbacks.
 *
 * RMIO_SIZE_* of a size is the size itself as a bit, so masks and sizes meet in one AND.
 */
#include "sizes.h"

_Static_assert(RMIO_SIZE_1 == 1 && RMIO_SIZE_8 == 8, "a size is its own bit");

static uint32_t sizes_of(const struct rmio_dev_range *r)
{
	return r->sizes ? r->sizes : RMIO_SIZE_ALL;
}

const char *rmio_sizes_bad(const struct rmio_dev_range *r)
{
	if ((r->sizes | r->valid) & ~RMIO_SIZE_ALL)
		return "sizes are RMIO_SIZE_*";
	return NULL;
}

static bool valid(const struct rmio_dev_range *r, uint64_t offset, uint32_t len)
{
	if (r->valid && !(r->valid & len))
		return false;
	return !(r->flags & RMIO_DEV_RANGE_ALIGNED) || !(offset % len);
}

/* The largest size that the callbacks take at @offset of @left bytes; 0: none. */
static uint32_t largest(const struct rmio_dev_range *r, uint64_t offset, uint32_t left)
{
	uint32_t n;

	for (n = 8; n; n /= 2)
		if (n <= left && sizes_of(r) & n &&
		    !(r->flags & RMIO_DEV_RANGE_NATURAL && offset % n))
			return n;
	return 0;
}

/* The smallest size whose aligned unit at @offset lies in the range; 0: none. */
static uint32_t unit(const struct rmio_dev_range *r, uint64_t offset)
{
	uint32_t n;

	for (n = 1; n <= 8; n *= 2)
		if (sizes_of(r) & n && n <= r->len && (offset & ~(uint64_t)(n - 1)) <= r->len - n)
			return n;
	return 0;
}

/* How much of @left bytes a load of @n answers, from byte @skip of it on; 0: there is none. */
static uint32_t part(const struct rmio_dev_range *r, uint64_t offset, uint32_t left, uint32_t *n,
		     uint32_t *skip)
{
	*skip = 0;
	*n = largest(r, offset, left);
	if (*n)
		return *n;
	/* Narrower than any: part of an aligned unit. */
	*n = unit(r, offset);
	if (!*n)
		return 0;
	*skip = (uint32_t)(offset % *n);
	return *n - *skip < left ? *n - *skip : left;
}

bool rmio_sizes_load(struct rmio_dev *dev, const struct rmio_dev_range *r, uint64_t offset,
		     uint32_t len, uint64_t *value)
{
	uint32_t done, n, take, skip;
	uint64_t v;

	*value = UINT64_MAX;
	if (!valid(r, offset, len))
		return false;
	for (done = 0; done < len; done += take) {
		take = part(r, offset + done, len - done, &n, &skip);
		if (!take)
			return false;
	}
	*value = 0;
	for (done = 0; done < len; done += take) {
		take = part(r, offset + done, len - done, &n, &skip);
		v = dev->ops->load(dev, r->id, offset + done - skip, n) & rmio_ones(n);
		*value |= (v >> 8 * skip & rmio_ones(take)) << 8 * done;
	}
	return true;
}

bool rmio_sizes_store(struct rmio_dev *dev, const struct rmio_dev_range *r, uint64_t offset,
		      uint64_t value, uint32_t len)
{
	uint32_t done, n;

	if (!valid(r, offset, len))
		return false;
	/* Whole or not at all: the other bytes of a unit would have to be made up. */
	for (done = 0; done < len; done += n) {
		n = largest(r, offset + done, len - done);
		if (!n)
			return false;
	}
	for (done = 0; done < len; done += n) {
		n = largest(r, offset + done, len - done);
		dev->ops->store(dev, r->id, offset + done, value >> 8 * done & rmio_ones(n), n);
	}
	return true;
}
