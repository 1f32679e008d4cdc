/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Options structs that begin with sz: copied to the size that this library
 * knows, the rest zero; what it does not know must be zero.
 */
#ifndef RMIO_USER_OPTS_H
#define RMIO_USER_OPTS_H

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* opts NULL, or opts->sz 0 where a struct is embedded: defaults.  0, -EINVAL, -E2BIG. */
static inline int rmio_opts_copy(void *to, size_t size, const void *opts)
{
	size_t sz, i;

	memset(to, 0, size);
	if (!opts)
		return 0;
	memcpy(&sz, opts, sizeof(sz));
	if (!sz)
		return 0;
	if (sz < sizeof(sz))
		return -EINVAL;
	for (i = size; i < sz; i++)
		if (((const unsigned char *)opts)[i])
			return -E2BIG;
	memcpy(to, opts, sz < size ? sz : size);
	memcpy(to, &size, sizeof(size));
	return 0;
}

#endif
