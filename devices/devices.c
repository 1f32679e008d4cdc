// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The example devices by name.  Beside the data path.
 */
#include "devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct device_type *const device_types[] = { &edu_device, &null_device, NULL };

int device_make(struct rmio_loop *loop, const char *spec, struct rmio_dev **dev, char *why,
		size_t len)
{
	size_t n = strcspn(spec, ",");
	const struct device_type *const *t;
	int err;

	for (t = device_types; *t; t++)
		if (strlen((*t)->name) == n && !strncmp((*t)->name, spec, n))
			break;
	if (!*t) {
		snprintf(why, len, "no device called \"%.*s\"; see rmio dev list", (int)n, spec);
		return -ENOENT;
	}
	why[0] = 0;
	err = (*t)->make(loop, spec[n] ? spec + n + 1 : NULL, dev, why, len);
	if (err && !why[0])
		snprintf(why, len, "%s", strerror(-err));
	return err;
}

void device_free(struct rmio_dev *dev)
{
	void *priv;

	if (!dev)
		return;
	priv = rmio_dev_priv(dev);
	rmio_dev_free(dev);
	free(priv);
}
