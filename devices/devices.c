// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The example devices by name, and their options.  Beside the data path.
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

static int one_option(const char *opt, size_t n, const char *const *keys, uint64_t *vals)
{
	size_t k = strcspn(opt, "="), i;
	char text[32], *end;

	if (k + 1 >= n || n - k - 1 >= sizeof(text))
		return -EINVAL;
	memcpy(text, opt + k + 1, n - k - 1);
	text[n - k - 1] = 0;
	for (i = 0; keys[i]; i++) {
		if (strlen(keys[i]) != k || strncmp(keys[i], opt, k))
			continue;
		errno = 0;
		vals[i] = strtoull(text, &end, 0);
		return errno || *end || text[0] < '0' || text[0] > '9' ? -EINVAL : 0;
	}
	return -EINVAL;
}

int device_options(const char *opts, const char *const *keys, uint64_t *vals, char *why, size_t len)
{
	size_t n;

	while (opts && *opts) {
		n = strcspn(opts, ",");
		if (one_option(opts, n, keys, vals)) {
			snprintf(why, len, "bad option \"%.*s\"; see rmio dev list", (int)n, opts);
			return -EINVAL;
		}
		opts += n;
		if (*opts)
			opts++;
	}
	return 0;
}
