// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio demo`: a guest finds, drives and outlives a device in another process, then what an access
 * costs.  Beside the data path: it runs `rmio vmm` and `rmio-bench` with what a newcomer would
 * have to find out.
 */
#include "cmd.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define USAGE_ERROR	2
#define GUEST		"guest/edu.bin"

struct demo {
	char here[4096];	/* the folder of this program */
	char guest[4200];
	bool guest_only;
	const char *json;
};

static void help(void)
{
	printf("usage: rmio demo [OPTION...]\n"
	       "\n"
	       "A guest with two vCPUs finds a device that lives in another process, drives it, and goes\n"
	       "on when that process is killed; then a table of what an access costs on this machine,\n"
	       "beside the other ways to do it.  Takes half a minute.\n"
	       "\n"
	       "  --guest-only         without the table\n"
	       "  --json FILE          what `rmio vmm` reports of the guest's run\n");
}

/* 0, or an exit status plus one. */
static int parse(struct demo *d, int argc, char **argv)
{
	static const struct option options[] = {
		{ "guest-only", no_argument, NULL, 'g' },
		{ "json", required_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt;

	optind = 0;
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'h':
			help();
			return 1;
		case 'g':
			d->guest_only = true;
			break;
		case 'j':
			d->json = optarg;
			break;
		default:
			fprintf(stderr, "rmio demo --help tells more.\n");
			return USAGE_ERROR + 1;
		}
	}
	if (optind == argc)
		return 0;
	fprintf(stderr, "rmio demo: '%s' is not an option\nrmio demo --help tells more.\n", argv[optind]);
	return USAGE_ERROR + 1;
}

/* Beside this program in a build directory, or installed: moved together they are found too. */
static bool find_guest(struct demo *d)
{
	static const char *const places[] = { "selftests/" GUEST, "../share/rmio/" GUEST };
	ssize_t n = readlink("/proc/self/exe", d->here, sizeof(d->here) - 1);
	char *slash;

	d->here[n > 0 ? n : 0] = 0;
	slash = strrchr(d->here, '/');
	if (slash)
		*slash = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(d->guest, sizeof(d->guest), "%s/%s", d->here, places[i]);
		if (!access(d->guest, R_OK))
			return true;
	}
	snprintf(d->guest, sizeof(d->guest), "%s", RMIO_DATADIR "/" GUEST);
	return !access(d->guest, R_OK);
}

/* An exit status, as a shell has it; -1: there is no such program. */
static int run(const struct demo *d, const char *name, char **argv)
{
	char path[4200];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/%s", d->here, name);
	if (access(path, X_OK))
		return -1;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		fprintf(stderr, "rmio demo: fork: %s\n", strerror(errno));
		return 1;
	}
	if (!pid) {
		execv(path, argv);
		fprintf(stderr, "rmio demo: %s: %s\n", path, strerror(errno));
		_exit(126);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_guest(struct demo *d)
{
	char *argv[] = {
		"rmio", "vmm", "--vcpus", "2", "--spawn", "edu", "--allow-kill", "--guest", d->guest,
		"--guest-arg", "1", "--deadline", "60000", d->json ? "--json" : NULL, (char *)d->json, NULL,
	};
	int status;

	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("No access to /dev/kvm: the guest's part of the demo is left out.\n"
		       "To see it, run this on a machine with KVM, as root or as a member of group kvm.\n");
		return 0;
	}
	printf("\nA guest with two vCPUs drives an edu device that lives in another process.  Each line\n"
	       "that begins with \"edu:\" comes from the guest's own console.  At the end the device\n"
	       "process is killed by SIGKILL.\n\n");
	status = run(d, "rmio", argv);
	if (status) {
		fprintf(stderr, "The guest ended with status %d: the demo has failed.\n", status);
		return 1;
	}
	printf("\nThe guest went on without its device and ended by itself.\n");
	if (d->json)
		printf("What passed through the lanes is in %s.\n", d->json);
	return 0;
}

int cmd_demo(int argc, char **argv)
{
	char *bench[] = { "rmio-bench", "--brief", "--duration", "0.2", NULL };
	struct demo d = { 0 };
	int status = parse(&d, argc, argv);

	if (status)
		return status - 1;
	if (!find_guest(&d)) {
		fprintf(stderr, "rmio demo: no guest: neither %s nor one beside this program is there; it "
			"takes x86-64 and objcopy to build it\n", d.guest);
		return 1;
	}
	status = run_guest(&d);
	if (status || d.guest_only)
		return status;
	printf("\nWhat an access costs on this machine, beside the other ways to do it:\n\n");
	status = run(&d, "rmio-bench", bench);
	if (status < 0) {
		printf("There is no rmio-bench here: built without it, or not installed.\n");
		status = 0;
	}
	printf("\nNext: rmio doctor (what this machine has), man rmio, man 7 rmio.\n");
	return status;
}
