/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* The kernel's types and single accesses, as far as user_map.c has them. */
#ifndef MAP_TWIN_TYPES_H
#define MAP_TWIN_TYPES_H

#include_next <linux/types.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
/* As in the kernel: it is no long. */
typedef unsigned long long u64;

#define U16_MAX			UINT16_MAX
#define __user
#ifndef __counted_by
#define __counted_by(member)
#endif
#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value)	(*(volatile __typeof__(x) *)&(x) = (value))
#define IS_ALIGNED(x, a)	(!((x) & ((__typeof__(x))(a) - 1)))
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

#endif
