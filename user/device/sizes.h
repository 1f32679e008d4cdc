/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Access sizes: what the guest uses made into what the device's callbacks implement, as the
 * range declares it.  Between the accesses of device.c and the callbacks.
 */
#ifndef RMIO_DEVICE_SIZES_H
#define RMIO_DEVICE_SIZES_H

#include "device.h"

/* What is wrong with what a range declares; NULL: nothing. */
const char *rmio_sizes_bad(const struct rmio_dev_range *r);

/*
 * The access is inside the range and len is 1, 2, 4 or 8.  False: the range refuses it, no
 * callback has been called, and a load reads all ones.
 */
bool rmio_sizes_load(struct rmio_dev *dev, const struct rmio_dev_range *r, uint64_t offset,
		     uint32_t len, uint64_t *value);
bool rmio_sizes_store(struct rmio_dev *dev, const struct rmio_dev_range *r, uint64_t offset,
		      uint64_t value, uint32_t len);

#endif
