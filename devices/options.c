// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The options of an example device, "key=number" each.  Beside the data path.
 */
#include "devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* @n bytes at @opt.  Zero, or what is wrong in @why. */
static int one_option(const char *opt, size_t n, const char *const *keys, uint64_t *vals, char *why,
		      size_t len)
{
	const char *eq = memchr(opt, '=', n);
	size_t k = eq ? (size_t)(eq - opt) : n, i;
	char text[32], *end = text;

	for (i = 0; keys[i] && (strlen(keys[i]) != k || strncmp(keys[i], opt, k)); i++)
		;
	if (!keys[i]) {
		snprintf(why, len, "no option called \"%.*s\"; see rmio dev list", (int)k, opt);
		return -EINVAL;
	}
	if (!eq) {
		snprintf(why, len, "%s without a value; %s=NUMBER", keys[i], keys[i]);
		return -EINVAL;
	}
	errno = ERANGE;
	if (n - k - 1 < sizeof(text)) {
		memcpy(text, eq + 1, n - k - 1);
		text[n - k - 1] = 0;
		errno = 0;
		vals[i] = strtoull(text, &end, 0);
	}
	if (!errno && !*end && text[0] >= '0' && text[0] <= '9')
		return 0;
	snprintf(why, len, "%s is a number of 64 bits, not \"%.*s\"", keys[i], (int)(n - k - 1),
		 eq + 1);
	return -EINVAL;
}

int device_options(const char *opts, const char *const *keys, uint64_t *vals, char *why, size_t len)
{
	size_t n;

	while (opts && *opts) {
		n = strcspn(opts, ",");
		if (one_option(opts, n, keys, vals, why, len))
			return -EINVAL;
		opts += n;
		if (*opts)
			opts++;
	}
	return 0;
}
