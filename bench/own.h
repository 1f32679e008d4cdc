/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A device of the user's own, on a socket, as the one that is measured.
 */
#ifndef RMIO_BENCH_OWN_H
#define RMIO_BENCH_OWN_H

#include <stdbool.h>
#include <stdint.h>

struct bench_own {
	const char *socket;	/* NULL: none */
	uint32_t range;		/* region index of its BAR */
	uint64_t offset;
	uint32_t len;		/* of an access: 1, 2, 4, 8 */
	bool store;		/* it may be stored to */
	uint64_t value;		/* and what */
};

/* What --device says; in own.c.  0, or -EINVAL with *what that is wrong. */
int bench_own_parse(struct bench_own *o, char *spec, const char **what);

extern struct bench_own bench_own;

#endif /* RMIO_BENCH_OWN_H */
