/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Runs the command `rmio` for a test and keeps what it printed.
 */
#ifndef RMIO_RUN_RMIO_H
#define RMIO_RUN_RMIO_H

#include "ktap.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

struct rmio_run {
	pid_t pid;
	int out_fd, err_fd;
	int status;		/* exit status, or 1000 plus the signal's number */
	size_t out_len, err_len;
	char out[65536];
	char err[16384];
};

/* Starts rmio with these arguments, the last one NULL. */
__attribute__((unused))
static bool rmio_start(struct rmio_run *r, const char *const *args)
{
	const char *rmio = getenv("RMIO") ? getenv("RMIO") : "./rmio";
	const char *argv[40] = { "rmio" };
	int out[2], err[2], n = 1;

	while (*args && n < 39)
		argv[n++] = *args++;
	r->out_len = r->err_len = 0;
	r->out[0] = r->err[0] = 0;
	r->status = -1;
	if (!T_EQ(pipe2(out, O_CLOEXEC), 0) || !T_EQ(pipe2(err, O_CLOEXEC), 0))
		return false;
	r->pid = fork();
	if (!T_GE(r->pid, 0))
		return false;
	if (!r->pid) {
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		execv(rmio, (char *const *)argv);
		_exit(127);
	}
	close(out[1]);
	close(err[1]);
	r->out_fd = out[0];
	r->err_fd = err[0];
	return true;
}

/* Reads until both outputs have ended, or until stdout holds a word. */
__attribute__((unused))
static bool rmio_read(struct rmio_run *r, const char *until)
{
	struct pollfd p[2] = {
		{ .fd = r->out_fd, .events = POLLIN },
		{ .fd = r->err_fd, .events = POLLIN },
	};

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (until && strstr(r->out, until))
			return true;
		if (poll(p, 2, -1) < 0)
			return false;
		for (int i = 0; i < 2; i++) {
			char *buf = i ? r->err : r->out;
			size_t *len = i ? &r->err_len : &r->out_len;
			size_t room = (i ? sizeof(r->err) : sizeof(r->out)) - 1 - *len;
			char rest[4096];
			ssize_t n;

			if (!p[i].revents)
				continue;
			n = room ? read(p[i].fd, buf + *len, room)
				 : read(p[i].fd, rest, sizeof(rest));
			if (n <= 0) {
				p[i].fd = -1;
				continue;
			}
			if (room) {
				*len += (size_t)n;
				buf[*len] = 0;
			}
		}
	}
	return !until;
}

__attribute__((unused))
static int rmio_finish(struct rmio_run *r)
{
	int status;

	rmio_read(r, NULL);
	close(r->out_fd);
	close(r->err_fd);
	if (waitpid(r->pid, &status, 0) != r->pid)
		return r->status = -1;
	return r->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

__attribute__((unused))
static int rmio_run(struct rmio_run *r, const char *const *args)
{
	if (!rmio_start(r, args))
		return -1;
	return rmio_finish(r);
}

/* Expects words in an output; prints all of it otherwise. */
#define T_SAYS(text, words) do {						\
	if (!T_OK(strstr((text), (words)) != NULL))				\
		ktap_diag("expected \"%s\" in \"%.1500s\"", (words), (text));	\
} while (0)

__attribute__((unused))
static const char *guest_file(const char *name)
{
	static char path[4][512];
	static unsigned int turn;
	const char *dir = getenv("RMIO_GUESTS");
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s.bin", dir ? dir : "selftests/guest", name);
	return p;
}

#define NEED_KVM() do {								\
	if (access("/dev/kvm", R_OK | W_OK))					\
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");	\
} while (0)

#endif
