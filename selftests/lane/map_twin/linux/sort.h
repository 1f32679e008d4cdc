/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Insertion, which keeps what is equal in its order, so that a map has one first fault.  The
 * kernel's does not promise that.
 */
#include <stdlib.h>
#include <string.h>

static inline void sort(void *base, size_t n, size_t size, int (*cmp)(const void *, const void *),
			void *swap)
{
	char *spare = malloc(size);

	(void)swap;
	if (!spare)
		abort();
	for (size_t i = 1; i < n; i++) {
		char *from = (char *)base + i * size;
		size_t at = i;

		while (at && cmp((char *)base + (at - 1) * size, from) > 0)
			at--;
		memcpy(spare, from, size);
		memmove((char *)base + (at + 1) * size, (char *)base + at * size,
			(i - at) * size);
		memcpy((char *)base + at * size, spare, size);
	}
	free(spare);
}
