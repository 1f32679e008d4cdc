/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What the user of rmio-bench asked for.
 */
#ifndef RMIO_BENCH_OPTIONS_H
#define RMIO_BENCH_OPTIONS_H

#include "own.h"

#include <stdbool.h>

struct bench_options {
	const char *json;
	const char *csv;
	const char *plot;
	const char *cases;
	int cpu_a, cpu_b;	/* -1: not given */
	bool brief;
	unsigned int placements;
	bool placements_given;
	unsigned int waits;
	bool waits_given;
	double seconds;
	unsigned int devices;
	bool list;
	struct bench_own own;	/* of --device */
};

/* Takes the defaults and the command line; --help ends the process.  -EINVAL: it is said why. */
int bench_options_parse(struct bench_options *o, int argc, char **argv);

#endif
