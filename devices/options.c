// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The options of an example device, "key=number" each.  Beside the data path.
 */
#include "devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
