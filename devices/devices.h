/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The example devices by name, for `rmio dev`, tests and the bench.
 * Beside the data path.
 */
#ifndef RMIO_DEVICES_H
#define RMIO_DEVICES_H

#include <rmio/device.h>
#include <stddef.h>

struct device_type {
	const char *name;
	const char *summary;	/* one line */
	const char *options;	/* "opt=VAL: meaning" lines, or "" */
	/*
	 * @opts: "a=1,b=2" or NULL.  0, or -errno with a sentence in @why.
	 * The device is freed by device_free.
	 */
	int (*make)(struct rmio_loop *loop, const char *opts, struct rmio_dev **dev, char *why,
		    size_t len);
};

extern const struct device_type null_device, edu_device;

/* All, ends with NULL. */
extern const struct device_type *const device_types[];

/* @spec: NAME[,opt=val...].  0, -ENOENT no such device, -EINVAL options, what make returned. */
int device_make(struct rmio_loop *loop, const char *spec, struct rmio_dev **dev, char *why,
		size_t len);
void device_free(struct rmio_dev *dev);

/*
 * options.c.  For make(): takes "key=number" options.  Each option must be one of @keys (ends
 * with NULL), whose value goes into the same place of @vals; others stay.
 */
int device_options(const char *opts, const char *const *keys, uint64_t *vals, char *why,
		   size_t len);

#endif
