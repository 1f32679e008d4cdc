// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio bpfd`: loads the BPF program for VMMs that may not.  Beside the data path: what
 * it has handed over works without it.
 *
 * A connection is a VMM.  Who it is the kernel says (SO_PEERCRED, SO_PEERGROUPS); the
 * program loaded for it looks at the threads of that process only, and the maps are its
 * own.  When it disconnects, the broker lets go of all of it; what the VMM has copies of
 * goes with the VMM, since nothing is pinned.
 */
#include "../cmd.h"
#include "bpfd.h"
#include "log.h"
#include "sockets.h"
#include "start.h"
#include "surroundings.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define USAGE_ERROR	2
#define BACKLOG		64

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	stopped = 1;
}

static void usage(FILE *f)
{
	fprintf(f,
		"usage: rmio bpfd --socket PATH [OPTION...]\n"
		"\n"
		"Loads rmio's BPF program for VMMs without privileges: `rmio vmm --broker PATH`, or\n"
		"rmio_kvm_opts.broker.  Needs CAP_BPF and CAP_PERFMON.  Runs until it is interrupted.\n"
		"\n"
		"  --socket PATH    where VMMs connect; removed at the end\n"
		"  --group NAME     whose members may connect; without: root and the own user\n"
		"  --socket-mode MODE, --socket-group GROUP\n"
		"                   of the socket's file, if other than --group says: who it is for\n"
		"                   the credentials decide all the same\n"
		"  --max-mib N      memory for the lanes and images of one VMM (default 256)\n"
		"  --quiet          say nothing about who comes and goes\n"
		"\n"
		"Exit status: 0 when interrupted, 1 if it cannot load the program or serve the\n"
		"socket, 2 for a wrong option.\n");
}

/* -- who it is -------------------------------------------------------------------- */

/* Each user has a log of its own, so that nobody fills another's. */
__attribute__((format(printf, 3, 4)))
static void say(const struct bpfd *b, uid_t user, const char *fmt, ...)
{
	char line[400], who[32];
	va_list ap;

	if (b->quiet)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	snprintf(who, sizeof(who), "%u", user);
	log_line("rmio bpfd", who, "%s", line);
}

/* The number may be another's by now: but not one whose stores are none of this user's. */
static const char *not_there(const struct ucred *who, struct rmio_process *p)
{
	if (who->pid <= 0)
		return "is in a PID namespace that is not below this one";
	if (rmio_process_get(who->pid, p))
		return "cannot be found in /proc";
	if (who->uid && p->uid != who->uid)
		return "is another user's than the one that connected";
	return NULL;
}

static const char *not_welcome(const struct bpfd *b, int fd, const struct ucred *who,
			       struct rmio_process *p)
{
	const char *why;
	int i, n = 0, all = 0;

	if (who->uid && who->uid != geteuid() &&
	    !(b->has_group && rmio_name_in_group(fd, who, b->group)))
		return b->has_group ? "is not in the group" :
		       "is neither root nor my own, and there is no --group";
	why = not_there(who, p);
	if (why)
		return why;
	for (i = 0; i < CLIENTS; i++) {
		all += b->clients[i].fd >= 0;
		n += b->clients[i].fd >= 0 && b->clients[i].who.uid == who->uid;
	}
	if (n >= CLIENTS_OF_UID)
		return "has too many connections";
	/* Who has subordinate numbers can be many users. */
	if (who->uid && all >= CLIENTS - CLIENTS_OF_UID)
		return "is one too many, the rest is for root";
	return NULL;
}

/* A connection.  None to be had for want of a descriptor: it ends, instead of waiting for one. */
static int accept_client(struct bpfd *b)
{
	int fd = accept4(b->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 || (errno != EMFILE && errno != ENFILE))
		return fd;
	if (b->spare >= 0)
		close(b->spare);
	fd = accept4(b->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		close(fd);
		say(b, (uid_t)-1, "refused: a connection, since all of the %lu descriptors are "
		    "in use; see ulimit -Hn", cmd_descriptors());
	}
	b->spare = fcntl(b->listen, F_DUPFD_CLOEXEC, 0);
	return -1;
}

/* False: nobody waits, or nobody can be let in. */
static bool take_client(struct bpfd *b)
{
	struct rmio_process process;
	struct ucred who = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(who);
	const char *why;
	int fd, i;

	fd = accept_client(b);
	if (fd < 0)
		return false;
	for (i = 0; i < CLIENTS && b->clients[i].fd >= 0; i++)
		;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len))
		why = "cannot be told";
	else
		why = not_welcome(b, fd, &who, &process);
	if (!why && i == CLIENTS)
		why = "is one too many";
	if (why) {
		say(b, who.uid, "refused: process %d of user %u %s", (int)who.pid, who.uid, why);
		close(fd);
		return true;
	}
	if (!++b->connections)
		b->connections = 1;
	b->clients[i] = (struct client){
		.fd = fd, .who = who, .process = process, .number = b->connections,
	};
	say(b, who.uid, "process %d of user %u", (int)who.pid, who.uid);
	return true;
}

static void drop_client(struct bpfd *b, struct client *c)
{
	say(b, c->who.uid, "process %d has gone, %u devices", (int)c->who.pid, c->devices);
	rmio_bpf_object_free(c->object);
	account_end(&b->account, c->number);
	close(c->fd);
	c->fd = -1;
	c->object = NULL;
}

/* -- the loop --------------------------------------------------------------------------- */

static int start(struct bpfd *b)
{
	struct rmio_name_opts opts = {
		.type = SOCK_SEQPACKET,
		.backlog = BACKLOG,
		.mode = b->access.has_mode ? b->access.mode : b->has_group ? 0660 : 0600,
		.group = b->access.has_group ? b->access.group :
			 b->has_group ? b->group : (gid_t)-1,
		.fd = socket_inherited(b->path),
	};

	b->listen = rmio_name_claim(b->path, &opts, &b->own_name);
	return b->listen < 0 ? b->listen : 0;
}

static void run(struct bpfd *b)
{
	struct pollfd p[CLIENTS + 1];
	struct client *who[CLIENTS];
	int i, n;

	while (!stopped) {
		/* No entries for nobody: there may be no more than this process may have files. */
		for (n = 0, i = 0; i < CLIENTS; i++) {
			if (b->clients[i].fd < 0)
				continue;
			who[n] = &b->clients[i];
			p[n++] = (struct pollfd){ .fd = b->clients[i].fd, .events = POLLIN };
		}
		p[n] = (struct pollfd){ .fd = b->listen, .events = POLLIN };
		if (poll(p, (nfds_t)n + 1, -1) < 0)
			continue;
		for (i = 0; i < n; i++)
			if (p[i].revents && !bpfd_serve(b, who[i]))
				drop_client(b, who[i]);
		/* All who wait: one a round would wait for as many requests of the others. */
		for (i = 0; p[n].revents && i < BACKLOG && take_client(b); i++)
			;
	}
}

static int parse(int argc, char **argv, struct bpfd *b)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "group", required_argument, NULL, 'g' },
		{ "socket-mode", required_argument, NULL, 'M' },
		{ "socket-group", required_argument, NULL, 'G' },
		{ "max-mib", required_argument, NULL, 'm' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *wrong;
	struct group *g;
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 's':
			b->path = optarg;
			break;
		case 'g':
			g = getgrnam(optarg);
			if (!g) {
				fprintf(stderr, "rmio bpfd: there is no group '%s'\n", optarg);
				return -1;
			}
			b->group = g->gr_gid;
			b->has_group = true;
			break;
		case 'M':
			wrong = socket_access_mode(&b->access, optarg);
			if (wrong) {
				fprintf(stderr, "rmio bpfd: --socket-mode: %s '%s'\n", wrong, optarg);
				return -1;
			}
			break;
		case 'G':
			wrong = socket_access_group(&b->access, optarg);
			if (wrong) {
				fprintf(stderr, "rmio bpfd: --socket-group: %s '%s'\n", wrong, optarg);
				return -1;
			}
			break;
		case 'm':
			b->max_bytes = strtoull(optarg, &end, 10) << 20;
			if (end == optarg || *end || !b->max_bytes || b->max_bytes >> 50) {
				fprintf(stderr, "rmio bpfd: --max-mib: a number of MiB, not '%s'\n",
					optarg);
				return -1;
			}
			break;
		case 'q':
			b->quiet = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			return -1;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "rmio bpfd: what is '%s'?\n", argv[optind]);
		return -1;
	}
	if (!b->path) {
		fprintf(stderr, "rmio bpfd: --socket PATH is missing\n");
		return -1;
	}
	return 0;
}

/* Better now than in the log of each VMM that comes: this process can load the program. */
static int try_load(void)
{
	struct rmio_process own;
	struct rmio_bpf_load l = { .vcpus = 1, .kick_signal = SIGUSR1, .vmm = &own };
	struct rmio_bpf_object *o = NULL;
	char why[400] = "";
	int err = rmio_process_get(getpid(), &own);

	if (err)
		snprintf(why, sizeof(why), "it cannot find itself in /proc: %s", strerror(-err));
	else
		err = rmio_bpf_object_new(&l, &o, why, sizeof(why));
	if (!err)
		rmio_bpf_object_free(o);
	else
		fprintf(stderr, "rmio bpfd: %s%s\n", why[0] ? why : strerror(-err),
			err == -EPERM ? ": start it as root, or with these capabilities" :
			"; see rmio doctor");
	return err;
}

static const char *remedy(const char *path, int err)
{
	const char *remark = socket_remark(path, err);

	if (remark)
		return remark;
	switch (err) {
	case -EADDRINUSE:
		return "; another broker serves it";
	case -ENOENT:
		return "; its directory has to be there";
	default:
		return "";
	}
}

int cmd_bpfd(int argc, char **argv)
{
	static struct bpfd b = { .max_bytes = 256ull << 20 };
	struct sigaction sa = { .sa_handler = on_signal };
	int i, err;

	if (parse(argc, argv, &b)) {
		fprintf(stderr, "rmio bpfd --help tells more.\n");
		return USAGE_ERROR;
	}
	cmd_more_descriptors();
	if (!b.quiet)
		surroundings_say("rmio bpfd");
	if (try_load())
		return 1;
	account_init(&b.account);
	for (i = 0; i < CLIENTS; i++)
		b.clients[i].fd = -1;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	err = start(&b);
	if (err) {
		fprintf(stderr, "rmio bpfd: %s: %s%s\n", b.path, strerror(-err), remedy(b.path, err));
		return 1;
	}
	b.spare = fcntl(b.listen, F_DUPFD_CLOEXEC, 0);
	if (socket_left())
		fprintf(stderr, "rmio bpfd: LISTEN_FDS: there is no --socket %s\n", socket_left());
	say(&b, geteuid(), "VMMs connect at %s%s", b.path, b.account.blind ?
	    "; without CAP_SYS_ADMIN it cannot see what they keep afterwards" : "");
	run(&b);
	rmio_name_release(b.path, &b.own_name);
	for (i = 0; i < CLIENTS; i++)
		if (b.clients[i].fd >= 0)
			drop_client(&b, &b.clients[i]);
	account_exit(&b.account);
	log_end();
	return 0;
}
