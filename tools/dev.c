// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio dev`: devices in this process, each on a vfio-user socket or an
 * inherited descriptor.  Beside the data path: sets it up and waits.
 */
#include "cmd.h"
#include "devices.h"
#include "log.h"
#include "sockets.h"
#include "start.h"
#include "surroundings.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <rmio/device.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define USAGE_ERROR	2

/* One --socket or --fd group. */
struct group {
	const char *path;	/* or NULL */
	int fd;
	const char *spec;
	struct rmio_dev *dev;
};

struct dev_cmd {
	struct rmio_loop_opts opts;
	struct group *groups;
	int nr;
	bool quiet;
	struct socket_access access;
};

static struct rmio_loop *running;

static void on_signal(int sig)
{
	rmio_loop_stop(running);
}

static void say(void *arg, const char *line)
{
	char who[200];
	const char *end = strstr(line, ": ");

	/* The library begins with the device. */
	snprintf(who, sizeof(who), "%.*s", end ? (int)(end - line) : 0, line);
	log_line("rmio dev", who, "%s", line);
}

static void print_types(FILE *f)
{
	const struct device_type *const *t;
	const char *line;
	size_t n;

	for (t = device_types; *t; t++) {
		fprintf(f, "  %-8s %s\n", (*t)->name, (*t)->summary);
		for (line = (*t)->options; (n = strcspn(line, "\n")) != 0; line += n + 1) {
			fputs("             ", f);
			fwrite(line, 1, n, f);
			fputc('\n', f);
		}
	}
}

static void print_help(FILE *f)
{
	fprintf(f,
		"usage: rmio dev [OPTION...] {--socket PATH | --fd N} DEVICE[,OPT=VAL...] ...\n"
		"       rmio dev list\n"
		"\n"
		"Runs one or more devices in this process until it is interrupted, or until the\n"
		"peers of all that were given a descriptor have gone.\n"
		"\n"
		"  --socket PATH, --socket-path PATH\n"
		"                  serve the next DEVICE to clients that connect to PATH: vfio-user,\n"
		"                  or QEMU's multi-process protocol (x-pci-proxy-dev); a socket that\n"
		"                  a service manager listens on there is taken (LISTEN_FDS)\n"
		"  --fd N          serve the next DEVICE on the inherited descriptor N, a UNIX socket:\n"
		"                  one connected to such a client (stream) or to a master (its slave\n"
		"                  descriptor, seqpacket), or one that listens (stream)\n"
		"  --socket-mode MODE, --socket-group GROUP\n"
		"                  of the sockets' files; of an abstract name (@NAME), who may connect\n"
		"  --wait HOW      adaptive (default), poll or sleep: how to wait for requests\n"
		"  --placement P   any (default), or same-cpu: follow the vCPU to its CPU\n"
		"  --cpu-share N   percent of a CPU that adaptive waiting may spend spinning\n"
		"  --quiet         no line when ready, no log\n"
		"  --print-capabilities\n"
		"                  as JSON: the type of program, and the devices that it has\n"
		"\n"
		"devices:\n");
	print_types(f);
}

/* As programs behind vhost-user and vfio-user say it. */
static void print_capabilities(FILE *f)
{
	const struct device_type *const *t;

	fputs("{\n  \"type\": \"pci\",\n  \"features\": [],\n  \"devices\": [", f);
	for (t = device_types; *t; t++)
		fprintf(f, "%s\"%s\"", t == device_types ? "" : ", ", (*t)->name);
	fputs("]\n}\n", f);
}

/* -- the command line --------------------------------------------------------------- */

static int usage(const char *what, const char *arg)
{
	fprintf(stderr, "rmio dev: %s%s%s\nrmio dev --help tells more.\n", what, arg ? " " : "",
		arg ? arg : "");
	return USAGE_ERROR;
}

static int number(const char *text, unsigned long max, unsigned long *n)
{
	char *end;

	errno = 0;
	*n = strtoul(text, &end, 10);
	return errno || *end || end == text || text[0] == '-' || *n > max ? -1 : 0;
}

static int set_wait(struct rmio_wait_opts *w, const char *how)
{
	if (!strcmp(how, "adaptive"))
		w->policy = RMIO_WAIT_ADAPTIVE;
	else if (!strcmp(how, "poll"))
		w->policy = RMIO_WAIT_POLL;
	else if (!strcmp(how, "sleep"))
		w->policy = RMIO_WAIT_SLEEP;
	else
		return -1;
	return 0;
}

static int set_placement(struct rmio_wait_opts *w, const char *where)
{
	if (!strcmp(where, "any"))
		w->placement = RMIO_PLACE_ANY;
	else if (!strcmp(where, "same-cpu"))
		w->placement = RMIO_PLACE_SAME_CPU;
	else
		return -1;
	return 0;
}

enum {
	OPT_SOCKET = 256, OPT_FD, OPT_MODE, OPT_GROUP, OPT_WAIT, OPT_PLACEMENT, OPT_SHARE,
	OPT_QUIET, OPT_CAPABILITIES, OPT_HELP,
};

static const struct option options[] = {
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "socket-path", required_argument, NULL, OPT_SOCKET },
	{ "fd", required_argument, NULL, OPT_FD },
	{ "socket-mode", required_argument, NULL, OPT_MODE },
	{ "socket-group", required_argument, NULL, OPT_GROUP },
	{ "wait", required_argument, NULL, OPT_WAIT },
	{ "placement", required_argument, NULL, OPT_PLACEMENT },
	{ "cpu-share", required_argument, NULL, OPT_SHARE },
	{ "quiet", no_argument, NULL, OPT_QUIET },
	{ "print-capabilities", no_argument, NULL, OPT_CAPABILITIES },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

/* A device's place, whose device must follow. */
static int place(struct dev_cmd *c, const char *path, int fd)
{
	if (c->nr && !c->groups[c->nr - 1].spec)
		return usage("a device must follow",
			     c->groups[c->nr - 1].path ? "--socket" : "--fd");
	c->groups[c->nr++] = (struct group){ .path = path, .fd = fd };
	return 0;
}

static int wrong_access(const char *option, const char *wrong)
{
	char what[80];

	snprintf(what, sizeof(what), "%s: %s", option, wrong);
	return usage(what, optarg);
}

static int parse_one(struct dev_cmd *c, int opt)
{
	struct rmio_wait_opts *w = &c->opts.wait;
	const char *wrong;
	unsigned long n;
	int i;

	switch (opt) {
	case 1:		/* not an option: the device of the last place */
		if (!c->nr || c->groups[c->nr - 1].spec)
			return usage("a device without --socket or --fd before it:", optarg);
		c->groups[c->nr - 1].spec = optarg;
		return 0;
	case OPT_SOCKET:
		return place(c, optarg, -1);
	case OPT_FD:
		if (number(optarg, 1 << 20, &n) || fcntl((int)n, F_GETFD) < 0)
			return usage("--fd: not an open descriptor:", optarg);
		for (i = 0; i < c->nr; i++)
			if (!c->groups[i].path && c->groups[i].fd == (int)n)
				return usage("--fd: given twice:", optarg);
		return place(c, NULL, (int)n);
	case OPT_MODE:
		wrong = socket_access_mode(&c->access, optarg);
		return wrong ? wrong_access("--socket-mode", wrong) : 0;
	case OPT_GROUP:
		wrong = socket_access_group(&c->access, optarg);
		return wrong ? wrong_access("--socket-group", wrong) : 0;
	case OPT_WAIT:
		return set_wait(w, optarg) ? usage("--wait: adaptive, poll or sleep, not", optarg)
					   : 0;
	case OPT_PLACEMENT:
		return set_placement(w, optarg) ? usage("--placement: any or same-cpu, not", optarg)
						: 0;
	case OPT_SHARE:
		if (number(optarg, 100, &n) || !n)
			return usage("--cpu-share: 1 to 100, not", optarg);
		w->cpu_share = (uint32_t)n;
		return 0;
	case OPT_QUIET:
		c->quiet = true;
		return 0;
	}
	return usage("bad option", NULL);
}

/* 0, or an exit status plus one. */
static int parse(struct dev_cmd *c, int argc, char **argv)
{
	int opt, err;

	optind = 0;
	opterr = 1;
	argv[0] = "rmio dev";	/* for getopt's own messages */
	while ((opt = getopt_long(argc, argv, "-", options, NULL)) != -1) {
		if (opt == OPT_HELP) {
			print_help(stdout);
			return 1;
		}
		if (opt == OPT_CAPABILITIES) {
			print_capabilities(stdout);
			return 1;
		}
		if (opt == '?') {
			fprintf(stderr, "rmio dev --help tells more.\n");
			return USAGE_ERROR + 1;
		}
		err = parse_one(c, opt);
		if (err)
			return err + 1;
	}
	if (!c->nr || optind < argc)
		return usage("no device; give --socket PATH DEVICE", NULL) + 1;
	if (!c->groups[c->nr - 1].spec)
		return usage("no device after", c->groups[c->nr - 1].path ? "--socket" : "--fd") +
		       1;
	return 0;
}

/* -- running ------------------------------------------------------------------------------ */

static bool listens(int fd)
{
	socklen_t len = sizeof(int);
	int yes = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) && yes;
}

static int listen_on(const struct dev_cmd *c, struct group *g, const char *path, int fd)
{
	struct rmio_listen_opts o = {
		.sz = sizeof(o),
		.flags = (c->access.has_mode ? RMIO_LISTEN_MODE : 0) |
			 (c->access.has_group ? RMIO_LISTEN_GROUP : 0) |
			 (fd >= 0 ? RMIO_LISTEN_FD : 0),
		.mode = c->access.mode, .group = c->access.group, .fd = fd,
	};

	return rmio_dev_listen_opts(g->dev, path, &o);
}

static int serve_fd(const struct dev_cmd *c, struct group *g, const char *where)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(int), room = sizeof(peer);
	int type = 0;

	socket_given(g->fd);
	if (listens(g->fd))
		return listen_on(c, g, where, g->fd);
	/* One without a peer would be waited at for ever. */
	if (getsockopt(g->fd, SOL_SOCKET, SO_TYPE, &type, &len) ||
	    getpeername(g->fd, (struct sockaddr *)&peer, &room))
		return -errno;
	return type == SOCK_SEQPACKET ? rmio_dev_slave(g->dev, g->fd)
				      : rmio_dev_serve(g->dev, g->fd);
}

/* What to do about a path or a descriptor that cannot be served. */
static const char *remedy(const char *path, int err)
{
	const char *remark = path ? socket_remark(path, err) : NULL;

	if (remark)
		return remark;
	switch (err) {
	case -EADDRINUSE:
		return "; another process serves it";
	case -EMFILE:
		return "; see ulimit -Hn";
	case -ENOENT:
		return "; its directory has to be there";
	case -ENOTCONN:
	case -ENOTSOCK:
	case -EPROTOTYPE:
		return "; it has to be a UNIX socket that is connected, or a stream socket that listens";
	case -EPERM:
		return "; only root, or a member of the group, may give it to --socket-group";
	default:
		return "";
	}
}

static int start_group(const struct dev_cmd *c, struct rmio_loop *loop, struct group *g)
{
	char why[200], where[32];
	int err;

	err = device_make(loop, g->spec, &g->dev, why, sizeof(why));
	if (err) {
		fprintf(stderr, "rmio dev: %s: %s\n", g->spec, why);
		return err;
	}
	snprintf(where, sizeof(where), "descriptor %d", g->fd);
	err = g->path ? listen_on(c, g, g->path, socket_inherited(g->path)) : serve_fd(c, g, where);
	if (err) {
		fprintf(stderr, "rmio dev: %s: %s%s\n", g->path ? g->path : where, strerror(-err),
			remedy(g->path, err));
	}
	return err;
}

static void say_ready(const struct dev_cmd *c)
{
	int i;

	printf("rmio dev: ready:");
	for (i = 0; i < c->nr; i++) {
		const struct group *g = &c->groups[i];

		printf("%s %.*s on ", i ? "," : "", (int)strcspn(g->spec, ","), g->spec);
		if (g->path)
			printf("%s", g->path);
		else
			printf("descriptor %d", g->fd);
	}
	printf("\n");
	fflush(stdout);
}

/* The connections are still to come: better no device now than one that cannot have its own. */
static int room_for_peers(const struct dev_cmd *c)
{
	unsigned long may = cmd_descriptors();
	int *fds = calloc((size_t)c->nr, sizeof(*fds)), i, n = 0, need = 0;

	if (!fds)
		return -ENOMEM;
	for (i = 0; i < c->nr; i++)
		need += c->groups[i].path || listens(c->groups[i].fd);
	while (n < need && (fds[n] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0)
		n++;
	for (i = 0; i < n; i++)
		close(fds[i]);
	free(fds);
	if (n == need)
		return 0;
	fprintf(stderr, "rmio dev: %d devices with their connections do not fit into %lu "
		"descriptors; see ulimit -Hn\n", c->nr, may);
	return -EMFILE;
}

static int run(struct dev_cmd *c)
{
	struct sigaction sa = { .sa_handler = on_signal };
	int i, err;

	err = rmio_loop_new(&c->opts, &running);
	if (err) {
		fprintf(stderr, "rmio dev: io_uring: %s\n", rmio_errstr(err));
		return 1;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	for (i = 0; i < c->nr && !err; i++)
		err = start_group(c, running, &c->groups[i]);
	if (!err)
		err = room_for_peers(c);
	if (!err) {
		if (socket_left())
			fprintf(stderr, "rmio dev: LISTEN_FDS: there is no --socket %s\n",
				socket_left());
		if (!c->quiet)
			say_ready(c);
		err = rmio_loop_run(running);
		if (err)
			fprintf(stderr, "rmio dev: io_uring: %s\n", strerror(-err));
	}
	for (i = 0; i < c->nr; i++)
		device_free(c->groups[i].dev);
	rmio_loop_free(running);
	log_end();
	return err ? 1 : 0;
}

int cmd_dev(int argc, char **argv)
{
	struct dev_cmd c = {
		.opts = { .sz = sizeof(c.opts), .log = say },
	};
	int err;

	if (argc == 2 && !strcmp(argv[1], "list")) {
		print_types(stdout);
		return 0;
	}
	c.opts.wait.sz = sizeof(c.opts.wait);
	c.groups = calloc((size_t)argc, sizeof(*c.groups));
	if (!c.groups)
		return 1;
	err = parse(&c, argc, argv);
	if (!err) {
		cmd_more_descriptors();
		if (!c.quiet)
			surroundings_say("rmio dev");
		if (c.quiet)
			c.opts.log = NULL;
		err = run(&c);
	} else {
		err--;
	}
	free(c.groups);
	return err;
}
