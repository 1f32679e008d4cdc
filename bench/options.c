// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * rmio-bench: its command line.
 *
 * Outside the data path, before the run.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "options.h"

#define DEFAULT_SECONDS 2.0
#define DEFAULT_DEVICES 64

static void usage(FILE *out)
{
	fprintf(out,
		"usage: rmio-bench [options]\n"
		"Measures rmio and what it replaces on this machine.\n\n"
		"  --json FILE        write results and raw histograms\n"
		"  --csv FILE         write results, a line for each case\n"
		"  --plot FILE.png    draw the percentiles (needs gnuplot)\n"
		"  --cases GLOB,...   only these cases, see --list\n"
		"  --placement WHICH  same-cpu, cross-cpu or both (default)\n"
		"  --wait LIST        of poll, adaptive, sleep; for the cases that have a choice.\n"
		"                     Named together with --placement, spinning on one CPU is\n"
		"                     measured too\n"
		"  --duration SECONDS measuring time of a case (default %g)\n"
		"  --devices N        in the process of the cases with many devices (default %d)\n"
		"  --cpus A,B         measure on A, with the other side on A or B\n"
		"  --device socket=PATH[,range=N][,offset=N][,len=N][,store=VALUE]\n"
		"                     measure a device of your own that listens there, beside what it is\n"
		"                     compared with: loads of len bytes (4) at offset (0) of BAR range\n"
		"                     (0), and stores if there is a value for them\n"
		"  --brief            ten rows in 80 columns: an access in the VMM, by what rmio replaces,\n"
		"                     by rmio\n"
		"  --list             list the cases and exit\n"
		"  --help             this text\n",
		DEFAULT_SECONDS, DEFAULT_DEVICES);
}

/* The names come from outside: each element of a comma-separated list must be known. */
static int parse_waits(const char *list, unsigned int *waits)
{
	char *copy = strdup(list), *save = NULL, *word;
	int w, err = 0;

	if (!copy)
		return -ENOMEM;
	*waits = 0;
	for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		for (w = BENCH_POLL; w <= BENCH_SLEEP; w++)
			if (!strcmp(word, bench_wait_name(w)))
				break;
		if (w > BENCH_SLEEP) {
			err = -EINVAL;
			break;
		}
		*waits |= BENCH_WAIT(w);
	}
	free(copy);
	return err ? err : *waits ? 0 : -EINVAL;
}

static int parse_placements(const char *word, unsigned int *placements)
{
	if (!strcmp(word, "same-cpu"))
		*placements = BENCH_PLACE(BENCH_SAME_CPU);
	else if (!strcmp(word, "cross-cpu"))
		*placements = BENCH_PLACE(BENCH_CROSS_CPU);
	else if (!strcmp(word, "both"))
		*placements = BENCH_EVERYWHERE;
	else
		return -EINVAL;
	return 0;
}

static int parse_cpus(const char *s, struct bench_options *o)
{
	char *end;
	unsigned long a, b;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	a = strtoul(s, &end, 10);
	if (*end != ',' || end[1] < '0' || end[1] > '9')
		return -EINVAL;
	b = strtoul(end + 1, &end, 10);
	if (*end || a > 65535 || b > 65535)
		return -EINVAL;
	o->cpu_a = (int)a;
	o->cpu_b = (int)b;
	return 0;
}

int bench_options_parse(struct bench_options *o, int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "json", required_argument, NULL, 'j' },
		{ "csv", required_argument, NULL, 'C' },
		{ "plot", required_argument, NULL, 'p' },
		{ "cases", required_argument, NULL, 'c' },
		{ "placement", required_argument, NULL, 'P' },
		{ "wait", required_argument, NULL, 'w' },
		{ "duration", required_argument, NULL, 'd' },
		{ "devices", required_argument, NULL, 'n' },
		{ "cpus", required_argument, NULL, 'u' },
		{ "device", required_argument, NULL, 'D' },
		{ "brief", no_argument, NULL, 'b' },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *wanted;
	char *end;
	int c, which = 0;

	*o = (struct bench_options){
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_ANYHOW,
		.seconds = DEFAULT_SECONDS,
		.devices = DEFAULT_DEVICES,
		.cpu_a = -1,
		.cpu_b = -1,
	};
	while ((c = getopt_long(argc, argv, "h", longopts, &which)) != -1) {
		switch (c) {
		case 'j':
			o->json = optarg;
			break;
		case 'p':
			o->plot = optarg;
			break;
		case 'c':
			o->cases = optarg;
			break;
		case 'P':
			o->placements_given = true;
			wanted = "same-cpu, cross-cpu or both";
			if (parse_placements(optarg, &o->placements))
				goto bad;
			break;
		case 'w':
			o->waits_given = true;
			wanted = "a list of poll, adaptive and sleep";
			if (parse_waits(optarg, &o->waits))
				goto bad;
			break;
		case 'd':
			o->seconds = strtod(optarg, &end);
			wanted = "seconds, 0.01 to 3600";
			if (end == optarg || *end || !(o->seconds >= 0.01) || o->seconds > 3600)
				goto bad;
			break;
		case 'n': {
			unsigned long v = strtoul(optarg, &end, 10);

			wanted = "1 to 1024";
			if (end == optarg || *end || v < 1 || v > 1024)
				goto bad;
			o->devices = v;
			break;
		}
		case 'C':
			o->csv = optarg;
			break;
		case 'u':
			wanted = "two numbers of CPUs, as 2,3";
			if (parse_cpus(optarg, o))
				goto bad;
			break;
		case 'D':
			if (bench_own_parse(&o->own, optarg, &wanted))
				goto bad;
			break;
		case 'b':
			o->brief = true;
			break;
		case 'l':
			o->list = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			return -EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "rmio-bench: unexpected argument '%s'\n", argv[optind]);
		return -EINVAL;
	}
	if (o->brief && o->cases) {
		fprintf(stderr, "rmio-bench: --brief has its own cases: without --cases\n");
		return -EINVAL;
	}
	return 0;
bad:
	fprintf(stderr, "rmio-bench: --%s: %s, not '%s'\n", longopts[which].name, wanted, optarg);
	return -EINVAL;
}
