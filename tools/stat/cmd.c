// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio stat`: asks running VMs (`rmio vmm --stats-socket`) what they do with their
 * devices, once or every second.  Beside the data path.
 */
#include "screen.h"
#include "stat.h"
#include "../cmd.h"
#include "sockets.h"
#include "wire/name.h"
#include "text.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SOURCES		32u
#define REPLY_MAX	(16u << 20)
#define PATIENCE_MS	5000
#define LEAST_MS	500	/* for a reply, when the patience with others is over */

struct source {
	char path[PATH_MAX];
	int fd;			/* -1: gone */
	char *line;		/* the last reply */
	struct json_object *now, *before;
	bool missed;		/* was not there when it was first asked */
};

struct view {
	struct source *sources[SOURCES];
	unsigned int n;
	bool watch, json, maps;
	bool screen;		/* --watch on a terminal */
	int keys;		/* -1, or readable when there are */
	int signals;		/* -1, or readable when it is to end */
};

static void help(FILE *f)
{
	fputs("usage: rmio stat [--watch] [--json] [--maps] [SOCKET|PID...]\n"
	      "\n"
	      "Shows what running VMs do with their devices: loads, stores, exits, lanes,\n"
	      "latencies, and the plan: which accesses KVM takes, by what, and why.\n"
	      "A VM is a socket, as given to `rmio vmm --stats-socket`, or the number of such a\n"
	      "process; without any, all that can be found.\n"
	      "\n"
	      "  --watch    every second, with rates, until interrupted or the VMs have ended; on a\n"
	      "             terminal a line for each device, and keys: q ends it, up and down choose\n"
	      "             a device, Enter shows its vCPUs and plan, s, left and right choose what\n"
	      "             to sort by, r turns the order round\n"
	      "  --json     pass on what the VMs say, one object a line\n"
	      "  --maps     commands for bpftool: the BPF program, its maps, those of each device\n"
	      "\n"
	      "Loads answered by a memory slot do not leave the guest, so nothing counts them.\n"
	      "The BPF program's time is kept while sysctl kernel.bpf_stats_enabled is 1.\n"
	      "\n"
	      "Exit status: 0, 1 if a VM is not there or does not answer, 2 for a wrong option.\n",
	      f);
	if (!stat_screen_keys)
		fputs("This one was built without ncurses: --watch has no keys.\n", f);
}

static FILE *said;	/* where complaints go; NULL: standard error */

static int complain(const char *path, const char *what)
{
	fprintf(said ? said : stderr, "rmio stat: %s: %s\n", path, what);
	return -1;
}

/* -- finding ---------------------------------------------------------------------- */

/* The socket in a command line of `rmio vmm`, which may be relative to its directory. */
static bool socket_of(long pid, char *path)
{
	static const char option[] = "--stats-socket";
	char name[64], cwd[PATH_MAX], args[65536];
	const char *value = NULL;
	ssize_t n, len;
	bool vmm = false;
	int fd;

	snprintf(name, sizeof(name), "/proc/%ld/cmdline", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, args, sizeof(args) - 1);
	close(fd);
	if (n <= 0)
		return false;
	args[n] = 0;
	for (char *a = args; a < args + n; a += strlen(a) + 1) {
		char *next = a + strlen(a) + 1;

		vmm |= !strcmp(a, "vmm");
		if (!strcmp(a, option) && next < args + n)
			value = next;
		else if (!strncmp(a, option, strlen(option)) && a[strlen(option)] == '=')
			value = a + strlen(option) + 1;
	}
	if (!vmm || !value)
		return false;
	if (*value == '/' || *value == '@')
		return snprintf(path, PATH_MAX, "%s", value) < PATH_MAX;
	snprintf(name, sizeof(name), "/proc/%ld/cwd", pid);
	len = readlink(name, cwd, sizeof(cwd) - 1);
	if (len < 0)
		return false;
	cwd[len] = 0;
	return snprintf(path, PATH_MAX, "%s/%s", cwd, value) < PATH_MAX;
}

static struct source *add(struct view *v)
{
	struct source *s = v->n < SOURCES ? calloc(1, sizeof(*s)) : NULL;

	if (!s) {
		complain("too many VMs", "32 at most");
		return NULL;
	}
	s->fd = -1;
	v->sources[v->n++] = s;
	return s;
}

static bool is_pid(const char *s)
{
	const char *c = s;

	while (isdigit((unsigned char)*c))
		c++;
	return *s && !*c && c - s < 10;
}

static int add_arg(struct view *v, const char *arg)
{
	struct source *s = add(v);

	if (!s)
		return -1;
	if (!is_pid(arg)) {
		snprintf(s->path, sizeof(s->path), "%s", arg);
	} else if (!socket_of(atol(arg), s->path)) {
		s->missed = true;
		return complain(arg, "no such `rmio vmm`, or one without --stats-socket");
	}
	return 0;
}

/* How many there are. */
static unsigned int add_all(struct view *v)
{
	DIR *proc = opendir("/proc");
	char path[PATH_MAX];
	struct dirent *e;

	while (proc && (e = readdir(proc))) {
		struct source *s;

		if (!is_pid(e->d_name) || !socket_of(atol(e->d_name), path) || access(path, W_OK))
			continue;
		s = add(v);
		if (!s)
			break;
		snprintf(s->path, PATH_MAX, "%s", path);
	}
	if (proc)
		closedir(proc);
	return v->n;
}

/* -- asking -------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until fd can be read, or the time has come.  1, 0, or -EINTR: it is to end. */
static int wait_for(const struct view *v, int fd, int64_t until)
{
	struct pollfd p[2] = {
		{ .fd = v->signals, .events = POLLIN },
		{ .fd = fd, .events = POLLIN },
	};
	int64_t left = until - now_ms();
	int n;

	do {
		n = poll(p, 2, left > 0 ? (int)left : 0);
	} while (n < 0 && errno == EINTR);
	return p[0].revents ? -EINTR : n > 0;
}

/* A path may be longer than an address: of a VM that was given it from its own directory. */
static int address(const char *path, struct sockaddr_un *at, socklen_t *len)
{
	const char *name = strrchr(path, '/');
	char dir[PATH_MAX];
	int fd, n;

	if (!rmio_name_address(path, at, len))
		return -1;
	*len = sizeof(*at);
	snprintf(dir, sizeof(dir), "%.*s", name ? (int)(name - path) + 1 : 1, name ? path : ".");
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	n = snprintf(at->sun_path, sizeof(at->sun_path), "/proc/self/fd/%d/%s", fd,
		     name ? name + 1 : path);
	if (n >= (int)sizeof(at->sun_path))
		at->sun_path[0] = 0;
	return fd;
}

static int connect_to(struct source *s)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	socklen_t len;
	int dir = address(s->path, &at, &len), rc;

	if (!at.sun_path[0] && s->path[0] != '@') {
		if (dir >= 0)
			close(dir);
		return complain(s->path, "the name is too long for a socket");
	}
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = s->fd < 0 ? -1 : connect(s->fd, (struct sockaddr *)&at, len);
	if (dir >= 0) {
		int err = errno;

		close(dir);
		errno = err;
	}
	if (!rc)
		return 0;
	if (errno == EAGAIN)
		return complain(s->path, "does not answer");
	if (errno == ENOENT)
		return complain(s->path, "No such file; `rmio vmm --stats-socket` makes it");
	if (errno == ECONNREFUSED)
		return complain(s->path, socket_remark(s->path, -ECONNREFUSED) ?
				"it is not a socket" : "the VM has ended");
	if (errno == EACCES)
		return complain(s->path, "only root and the user who runs the VM may look, unless --socket-mode says otherwise");
	return complain(s->path, strerror(errno));
}

static void gone(struct source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* One line in s->line.  0, -EINTR, or a complaint. */
static int receive(const struct view *v, struct source *s, int64_t until)
{
	size_t len = 0, room = 0;
	int rc;

	if (until < now_ms() + LEAST_MS)
		until = now_ms() + LEAST_MS;

	free(s->line);
	s->line = NULL;
	for (;;) {
		ssize_t n;

		if (len + 1 >= room) {
			char *more = room < REPLY_MAX ? realloc(s->line, room ? room *= 2 :
								(room = 65536)) : NULL;

			if (!more)
				return complain(s->path, "the reply is too long");
			s->line = more;
		}
		rc = wait_for(v, s->fd, until);
		if (rc == -EINTR)
			return rc;
		if (!rc)
			return complain(s->path, "does not answer");
		n = recv(s->fd, s->line + len, room - len - 1, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return complain(s->path, "the VM has ended");
		len += (size_t)n;
		s->line[len] = 0;
		if (memchr(s->line + len - n, '\n', (size_t)n))
			return 0;
	}
}

static int understand(struct source *s)
{
	struct json_object *schema, *o;
	char *clean;

	/* What is passed on is to be JSON. */
	s->line[strcspn(s->line, "\n")] = 0;
	clean = text_clean(s->line);
	if (!clean)
		return complain(s->path, "the reply is too long");
	free(s->line);
	s->line = clean;
	o = json_tokener_parse(s->line);
	if (!json_object_is_type(o, json_type_object) ||
	    !json_object_object_get_ex(o, "schema", &schema) || json_object_get_int(schema) != 1) {
		json_object_put(o);
		return complain(s->path, "does not speak as `rmio vmm` does");
	}
	json_object_put(s->before);
	s->before = s->now;
	s->now = o;
	return 0;
}

/* 0, or it is gone and has been complained about; so is what cannot be asked. */
static void ask(struct source *s)
{
	int rc = s->fd < 0 ? connect_to(s) : 0;

	if (!rc && send(s->fd, "\n", 1, MSG_NOSIGNAL) != 1)
		rc = complain(s->path, "the VM has ended");
	if (rc)
		gone(s);
}

/* 0, -EINTR, or it is gone and has been complained about. */
static int hear(const struct view *v, struct source *s, int64_t until)
{
	int rc = receive(v, s, until);

	if (!rc)
		rc = understand(s);
	if (rc && rc != -EINTR)
		gone(s);
	return rc;
}

/* -- showing ---------------------------------------------------------------------------- */

static size_t living(const struct view *v, struct stat_vm vms[SOURCES])
{
	size_t n = 0;

	for (unsigned int i = 0; i < v->n; i++) {
		if (v->sources[i]->fd >= 0)
			vms[n++] = (struct stat_vm){ v->sources[i]->now, v->sources[i]->before };
	}
	return n;
}

static void show(const struct view *v)
{
	char *page = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&page, &len);

	struct stat_vm vms[SOURCES];

	if (!f)
		return;
	for (unsigned int i = 0; !v->screen && i < v->n; i++) {
		struct source *s = v->sources[i];

		if (s->fd < 0)
			continue;
		if (v->json)
			fprintf(f, "%s\n", s->line);
		else if (v->maps)
			stat_view_maps(f, s->now);
		else
			stat_view(f, s->now, s->before);
		if (!v->json && (i + 1 < v->n || v->watch))
			fputc('\n', f);
	}
	fclose(f);
	if (v->screen)
		stat_screen_show(vms, living(v, vms));
	else
		fputs(page, stdout);
	fflush(stdout);
	free(page);
}

/*
 * All that are there, at once: one that does not answer costs the others nothing.  How many;
 * -EINTR.
 */
static int ask_all(const struct view *v)
{
	int64_t until = now_ms() + PATIENCE_MS;
	int there = 0;

	for (unsigned int i = 0; i < v->n; i++) {
		struct source *s = v->sources[i];

		if (s->fd >= 0 || (!s->now && !s->missed))
			ask(s);
	}
	for (unsigned int i = 0; i < v->n; i++) {
		struct source *s = v->sources[i];
		int rc = s->fd < 0 ? -1 : hear(v, s, until);

		if (rc == -EINTR)
			return rc;
		s->missed |= rc && !s->now;
		there += !rc;
	}
	return there;
}

static bool any_missed(const struct view *v)
{
	for (unsigned int i = 0; i < v->n; i++) {
		if (v->sources[i]->missed)
			return true;
	}
	return false;
}

/* Until then, with an eye on keys.  True: it is to end. */
static bool pass_time(const struct view *v, int64_t until)
{
	struct stat_vm vms[SOURCES];
	size_t n = living(v, vms);
	int rc;

	do {
		rc = wait_for(v, v->keys, until);
		if (rc == -EINTR || (rc == 1 && stat_screen_key(vms, n)))
			return true;
	} while (rc == 1 && now_ms() < until);
	return false;
}

static int run(struct view *v)
{
	int there = ask_all(v);
	int64_t next = now_ms();
	char *later = NULL;
	size_t len = 0;

	if (there <= 0)
		return there == -EINTR ? 0 : 1;
	if (v->screen) {
		v->keys = stat_screen_begin();
		v->screen = v->keys != -ENOTTY;
	}
	/* What is said on standard error would be in the picture. */
	if (v->screen)
		said = open_memstream(&later, &len);
	for (;;) {
		show(v);
		if (!v->watch || ferror(stdout))
			break;
		next += 1000;
		if (pass_time(v, next))
			break;
		there = ask_all(v);
		if (there <= 0)
			break;
	}
	if (v->screen)
		stat_screen_end();
	if (said) {
		fclose(said);
		said = NULL;
		fputs(later, stderr);
		free(later);
	}
	return fflush(stdout) || ferror(stdout) || any_missed(v);
}

static int catch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void drop_all(struct view *v)
{
	for (unsigned int i = 0; i < v->n; i++) {
		gone(v->sources[i]);
		json_object_put(v->sources[i]->now);
		json_object_put(v->sources[i]->before);
		free(v->sources[i]->line);
		free(v->sources[i]);
	}
}

struct json_object *stat_running(void)
{
	struct json_object *vms = json_object_new_array();
	struct view v = { .signals = -1, .keys = -1 };

	add_all(&v);
	ask_all(&v);
	for (unsigned int i = 0; i < v.n; i++) {
		if (v.sources[i]->now)
			json_object_array_add(vms, json_object_get(v.sources[i]->now));
	}
	drop_all(&v);
	return vms;
}

int cmd_stat(int argc, char **argv)
{
	static const struct option options[] = {
		{ "watch", no_argument, NULL, 'w' },
		{ "json", no_argument, NULL, 'j' },
		{ "maps", no_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct view v = { .signals = -1, .keys = -1 };
	int c, rc = 0;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'w':
			v.watch = true;
			break;
		case 'j':
			v.json = true;
			break;
		case 'm':
			v.maps = true;
			break;
		case 'h':
			help(stdout);
			return 0;
		default:
			help(stderr);
			return 2;
		}
	}
	if (v.maps && (v.json || v.watch)) {
		fputs("rmio stat: --maps goes with neither --json nor --watch\n", stderr);
		return 2;
	}
	v.screen = v.watch && !v.json && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
	/* One that is not there is named, and the others are shown. */
	if (optind == argc && !add_all(&v))
		rc = complain("no VM found", "give --stats-socket to `rmio vmm`");
	for (; optind < argc; optind++)
		rc |= add_arg(&v, argv[optind]);
	v.signals = catch_signals();
	if (v.n && run(&v))
		rc = 1;
	rc = rc ? 1 : 0;
	drop_all(&v);
	if (v.signals >= 0)
		close(v.signals);
	return rc;
}
