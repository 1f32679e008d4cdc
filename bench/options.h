/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What the user of rmio-bench asked for.
 */
#ifndef RMIO_BENCH_OPTIONS_H
#define RMIO_BENCH_OPTIONS_H

#include <stdbool.h>

struct bench_options {
	const char *json;
	const char *plot;
	const char *cases;
	unsigned int placements;
	bool placements_given;
	unsigned int waits;
	bool waits_given;
	double seconds;
	unsigned int devices;
	bool list;
};

/* Takes the defaults and the command line; --help ends the process.  -EINVAL: it is said why. */
int bench_options_parse(struct bench_options *o, int argc, char **argv);

#endif
