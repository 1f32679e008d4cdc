/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Options structs that begin with sz: copied to the size that this library
 * knows, the rest zero; what it does not know must be zero.
 */
#ifndef RMIO_USER_OPTS_H
#define RMIO_USER_OPTS_H

#include "refuse.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* No struct of options is that large: an sz that is was never set. */
#define RMIO_OPTS_SIZE_MAX	4096u

/*
 * Of a struct that was given with sz: 0, or -EINVAL, -E2BIG with the reason (rmio_errstr).
 * @name: of the struct, without "struct".
 */
static inline int rmio_opts_take(void *to, size_t size, const void *opts, const char *name)
{
	size_t sz, i;

	memcpy(&sz, opts, sizeof(sz));
	if (sz < sizeof(sz))
		return rmio_refuse(-EINVAL, "%s: sz is %zu: it has to be sizeof(struct %s)", name, sz,
				   name);
	if (sz > RMIO_OPTS_SIZE_MAX)
		return rmio_refuse(-E2BIG, "%s: sz is %zu: it has to be sizeof(struct %s)", name, sz,
				   name);
	for (i = size; i < sz; i++)
		if (((const unsigned char *)opts)[i])
			return rmio_refuse(-E2BIG, "%s: byte %zu is set, which this library, that "
					   "knows %zu bytes, does not know", name, i, size);
	memcpy(to, opts, sz < size ? sz : size);
	memcpy(to, &size, sizeof(size));
	return 0;
}

/* @opts NULL: defaults, all zero. */
static inline int rmio_opts_copy(void *to, size_t size, const void *opts, const char *name)
{
	rmio_refuse_none();
	memset(to, 0, size);
	return opts ? rmio_opts_take(to, size, opts, name) : 0;
}

/* Of a struct within another one: NULL, or with nothing set, sz neither, they are the defaults. */
static inline int rmio_opts_copy_inner(void *to, size_t size, const void *opts, const char *name)
{
	size_t i;

	memset(to, 0, size);
	for (i = 0; opts && i < size && !((const unsigned char *)opts)[i]; i++)
		;
	return opts && i < size ? rmio_opts_take(to, size, opts, name) : 0;
}

#endif
