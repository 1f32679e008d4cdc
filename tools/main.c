// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio`: finds the command that was asked for and runs it.
 */
#include "cmd.h"
#include "start.h"

#include <stdio.h>
#include <string.h>

struct command {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *summary;
};

static const struct command commands[] = {
	{ "demo", cmd_demo, "show a guest with a device in another process, and what that costs" },
	{ "dev", cmd_dev, "run devices in this process" },
	{ "vmm", cmd_vmm, "run a flat 64-bit guest with devices in other processes" },
	{ "connect", cmd_connect, "give a program a connected socket as a descriptor" },
	{ "bpfd", cmd_bpfd, "load BPF programs for VMMs that may not" },
	{ "stat", cmd_stat, "show what running VMs do with their devices" },
	{ "doctor", cmd_doctor, "say what this machine offers, what not, and why" },
};

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	}
	return NULL;
}

static void help(FILE *f)
{
	fprintf(f,
		"usage: rmio COMMAND [ARGUMENT...]\n"
		"\n"
		"Device emulation in processes of its own.\n"
		"\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fprintf(f,
		"\n"
		"rmio COMMAND --help tells more.  rmio --version prints the version.\n");
}

int main(int argc, char **argv)
{
	const struct command *c;
	char *help_argv[] = { NULL, "--help", NULL };
	static char name[32];	/* as getopt's messages have it */

	cmd_start();
	if (argc < 2) {
		help(stderr);
		return 2;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("rmio " RMIO_VERSION);
		return 0;
	}
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		if (argc < 3) {
			help(stdout);
			return 0;
		}
		c = find(argv[2]);
		if (c) {
			help_argv[0] = argv[2];
			return c->fn(2, help_argv);
		}
		argv[1] = argv[2];
	}
	c = find(argv[1]);
	if (!c) {
		fprintf(stderr, "rmio: there is no command '%s'\n\n", argv[1]);
		help(stderr);
		return 2;
	}
	snprintf(name, sizeof(name), "rmio %s", c->name);
	argv[1] = name;
	return c->fn(argc - 1, argv + 1);
}
