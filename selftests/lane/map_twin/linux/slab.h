/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* Memory, and errors in the place of pointers. */
#include <stdlib.h>

#define GFP_KERNEL_ACCOUNT	0

static inline void *kzalloc(size_t size, int flags)
{
	(void)flags;
	return calloc(1, size);
}

#define kvzalloc	kzalloc
#define kfree		free
#define kvfree		free

#define ERR_PTR(err)	((void *)(intptr_t)(err))
#define PTR_ERR(p)	((int)(intptr_t)(p))
#define IS_ERR(p)	((uintptr_t)(p) >= (uintptr_t)-4095)
