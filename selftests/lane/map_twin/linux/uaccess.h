/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* Another's memory is ours. */
#include <string.h>

static inline unsigned long copy_from_user(void *to, const void *from, size_t n)
{
	if (n)
		memcpy(to, from, n);
	return 0;
}
