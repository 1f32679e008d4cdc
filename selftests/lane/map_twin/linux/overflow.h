/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* Sums and sizes. */
#define check_add_overflow(a, b, sum)	__builtin_add_overflow(a, b, sum)
#define struct_size(p, member, n)	(sizeof(*(p)) + (n) * sizeof((p)->member[0]))
#define array_size(n, size)		((n) * (size))
