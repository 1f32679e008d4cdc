// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio connect`: hands a program that takes no path, such as QEMU, a connected socket as an
 * inherited descriptor.  Beside the data path: it becomes that program.
 */
#include "cmd.h"
#include "sockets.h"
#include "wire/name.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define USAGE_ERROR	2
#define FAILED		125	/* so that it is not taken for the program's own */

struct connect_cmd {
	const char *path;
	int as;
	unsigned long retry_ms;
};

static void help(void)
{
	printf("usage: rmio connect [OPTION...] PATH -- COMMAND [ARGUMENT...]\n"
	       "\n"
	       "Connects to the UNIX stream socket PATH, and becomes COMMAND, which inherits the\n"
	       "connection as descriptor 3.  For programs that take a connected descriptor where\n"
	       "others take a path:\n"
	       "\n"
	       "  rmio connect /tmp/edu -- qemu-system-x86_64 ... -device x-pci-proxy-dev,id=edu,fd=3\n"
	       "\n"
	       "  --as FD              another descriptor, from 3 on\n"
	       "  --retry MS           how long the socket may take to appear; default 0\n"
	       "\n"
	       "The exit status is the command's; 125 if there was no connection, 126 if the\n"
	       "command could not be run, 127 if there is none of that name.\n");
}

static int usage(const char *what, const char *arg)
{
	fprintf(stderr, "rmio connect: %s%s%s\nrmio connect --help tells more.\n", what,
		arg ? " " : "", arg ? arg : "");
	return USAGE_ERROR;
}

static bool number(const char *text, unsigned long min, unsigned long max, unsigned long *n)
{
	char *end;

	errno = 0;
	*n = strtoul(text, &end, 10);
	return *text >= '0' && *text <= '9' && !errno && !*end && *n >= min && *n <= max;
}

/* 0, or an exit status plus one. */
static int parse(struct connect_cmd *c, int argc, char **argv)
{
	static const struct option options[] = {
		{ "as", required_argument, NULL, 'a' },
		{ "retry", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	unsigned long n;
	int opt;

	optind = 0;
	while ((opt = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		switch (opt) {
		case 'h':
			help();
			return 1;
		case 'a':
			if (!number(optarg, 3, 1 << 16, &n))
				return usage("--as: a descriptor from 3 on, not", optarg) + 1;
			c->as = (int)n;
			break;
		case 'r':
			if (!number(optarg, 0, 86400000, &c->retry_ms))
				return usage("--retry: milliseconds up to a day's, not",
					     optarg) + 1;
			break;
		default:
			return usage("bad option", NULL) + 1;
		}
	}
	if (optind == argc)
		return usage("no PATH", NULL) + 1;
	c->path = argv[optind++];
	if (optind < argc && !strcmp(argv[optind], "--"))
		optind++;
	if (optind == argc)
		return usage("no command after PATH --", NULL) + 1;
	return 0;
}

static unsigned long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (unsigned long long)t.tv_sec * 1000 + (unsigned long long)t.tv_nsec / 1000000;
}

static int connect_to(const struct connect_cmd *c)
{
	unsigned long long end = now_ms() + c->retry_ms;
	struct sockaddr_un addr;
	socklen_t len;
	int fd, err;

	err = rmio_name_address(c->path, &addr, &len);
	if (err)
		return err;
	for (;;) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
		if (!connect(fd, (struct sockaddr *)&addr, len))
			return fd;
		err = -errno;
		close(fd);
		if ((err != -ENOENT && err != -ECONNREFUSED && err != -EINTR) || now_ms() >= end)
			return err;
		poll(NULL, 0, 10);
	}
}

static const char *remedy(const char *path, int err)
{
	const char *remark = socket_remark(path, err);

	if (remark)
		return remark;
	switch (err) {
	case -ENOENT:
		return "; start `rmio dev --socket` there first, or give it time with --retry MS";
	case -ECONNREFUSED:
		return "; nobody listens there: start the device process again";
	case -EACCES:
		return "; this user may not write to the socket";
	case -EPROTOTYPE:
		return "; it is not a stream socket";
	default:
		return "";
	}
}

int cmd_connect(int argc, char **argv)
{
	struct connect_cmd c = { .as = 3 };
	int fd, err = parse(&c, argc, argv);

	if (err)
		return err - 1;
	fd = connect_to(&c);
	if (fd < 0) {
		fprintf(stderr, "rmio connect: %s: %s%s\n", c.path, strerror(-fd), remedy(c.path, fd));
		return FAILED;
	}
	/* dup2() onto itself would leave close-on-exec set. */
	if (fd == c.as ? fcntl(fd, F_SETFD, 0) : dup2(fd, c.as) < 0) {
		fprintf(stderr, "rmio connect: descriptor %d: %s\n", c.as, strerror(errno));
		return FAILED;
	}
	execvp(argv[optind], argv + optind);
	err = errno;
	fprintf(stderr, "rmio connect: %s: %s\n", argv[optind], strerror(err));
	return err == ENOENT ? 127 : 126;
}
