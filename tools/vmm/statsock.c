// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Serves the statistics of a VM on a UNIX socket.  Beside the data path.
 *
 * A client costs at most one line of memory: nothing more is read from it before it
 * has taken what it asked for.  One that does not read is dropped after a while, one
 * that sends something else at once.
 */
#include "statsock.h"
#include "sockets.h"
#include "wire/name.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN		(VMM_STATSOCK_CLIENTS)		/* epoll's data */
#define CLOCK		(VMM_STATSOCK_CLIENTS + 1)

struct client {
	int fd;			/* -1: free */
	unsigned int owed;	/* lines it has asked for */
	unsigned int stalled;	/* seconds without having read anything */
	char *out;		/* the line that it is being sent, or NULL */
	size_t at, len;
};

struct vmm_statsock {
	int epoll, listen, clock;
	bool ticking;
	char *(*line)(void *arg);
	void *arg;
	struct rmio_name own_name;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct client clients[VMM_STATSOCK_CLIENTS];
};

static int watch_fd(struct vmm_statsock *s, int op, int fd, uint32_t events, uint32_t what)
{
	struct epoll_event e = { .events = events, .data.u32 = what };

	return epoll_ctl(s->epoll, op, fd, &e) ? -errno : 0;
}

static int start(struct vmm_statsock *s, const char *path, const struct socket_access *a)
{
	struct rmio_name_opts opts = {
		.type = SOCK_STREAM,
		.backlog = VMM_STATSOCK_CLIENTS,
		.mode = a->has_mode ? a->mode : a->has_group ? 0660 : 0600,
		.group = a->has_group ? a->group : (gid_t)-1,
		.fd = socket_inherited(path),
	};
	int err;

	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->epoll < 0 || s->clock < 0)
		return -errno;
	s->listen = rmio_name_claim(path, &opts, &s->own_name);
	if (s->listen < 0)
		return s->listen;
	snprintf(s->path, sizeof(s->path), "%s", path);
	err = watch_fd(s, EPOLL_CTL_ADD, s->listen, EPOLLIN, LISTEN);
	return err ? err : watch_fd(s, EPOLL_CTL_ADD, s->clock, EPOLLIN, CLOCK);
}

int vmm_statsock_new(const char *path, const struct socket_access *a, char *(*line)(void *arg),
		     void *arg, struct vmm_statsock **out)
{
	struct vmm_statsock *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->epoll = s->listen = s->clock = -1;
	s->line = line;
	s->arg = arg;
	for (unsigned int i = 0; i < VMM_STATSOCK_CLIENTS; i++)
		s->clients[i].fd = -1;
	err = start(s, path, a);
	if (err) {
		vmm_statsock_free(s);
		return err;
	}
	*out = s;
	return 0;
}

static void drop(struct client *c)
{
	free(c->out);
	close(c->fd);
	*c = (struct client){ .fd = -1 };
}

void vmm_statsock_free(struct vmm_statsock *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; i < VMM_STATSOCK_CLIENTS; i++) {
		if (s->clients[i].fd >= 0)
			drop(&s->clients[i]);
	}
	if (s->path[0])
		rmio_name_release(s->path, &s->own_name);
	if (s->listen >= 0)
		close(s->listen);
	if (s->clock >= 0)
		close(s->clock);
	if (s->epoll >= 0)
		close(s->epoll);
	free(s);
}

int vmm_statsock_fd(const struct vmm_statsock *s)
{
	return s->epoll;
}

/* One more than there is room for is turned away. */
static void take_client(struct vmm_statsock *s)
{
	int fd = accept4(s->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	unsigned int i;

	if (fd < 0)
		return;
	for (i = 0; i < VMM_STATSOCK_CLIENTS && s->clients[i].fd >= 0; i++)
		;
	if (!rmio_name_admits(&s->own_name, fd) || i == VMM_STATSOCK_CLIENTS ||
	    watch_fd(s, EPOLL_CTL_ADD, fd, EPOLLIN, i)) {
		close(fd);
		return;
	}
	s->clients[i] = (struct client){ .fd = fd };
}

/* False: it is to be dropped. */
static bool hear(struct client *c)
{
	char buf[64];
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] != '\n')
			return false;
	}
	c->owed += (unsigned int)n;
	return n > 0;
}

static bool tell(struct vmm_statsock *s, struct client *c)
{
	ssize_t n;

	if (!c->out) {
		c->out = s->line(s->arg);
		if (!c->out)
			return false;
		c->len = strlen(c->out);
		c->at = 0;
	}
	n = send(c->fd, c->out + c->at, c->len - c->at, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->at += (size_t)n;
	c->stalled = 0;
	if (c->at == c->len) {
		free(c->out);
		c->out = NULL;
		c->owed--;
	}
	return true;
}

static void serve_client(struct vmm_statsock *s, unsigned int i)
{
	struct client *c = &s->clients[i];
	bool good = c->fd >= 0;

	if (!good)
		return;
	if (!c->owed)
		good = hear(c);
	/* One line a turn: the others have theirs. */
	if (good && c->owed)
		good = tell(s, c);
	if (good)
		good = !watch_fd(s, EPOLL_CTL_MOD, c->fd, c->owed ? EPOLLOUT : EPOLLIN, i);
	if (!good)
		drop(c);
}

/* The clock runs while somebody is owed something. */
static void set_clock(struct vmm_statsock *s)
{
	struct itimerspec t = { .it_value.tv_sec = 1, .it_interval.tv_sec = 1 };
	bool owed = false;

	for (unsigned int i = 0; i < VMM_STATSOCK_CLIENTS; i++)
		owed |= s->clients[i].fd >= 0 && s->clients[i].owed;
	if (owed == s->ticking)
		return;
	if (!owed)
		memset(&t, 0, sizeof(t));
	timerfd_settime(s->clock, 0, &t, NULL);
	s->ticking = owed;
}

static void tick(struct vmm_statsock *s)
{
	uint64_t n;

	if (read(s->clock, &n, sizeof(n)) != sizeof(n))
		return;
	for (unsigned int i = 0; i < VMM_STATSOCK_CLIENTS; i++) {
		struct client *c = &s->clients[i];

		if (c->fd >= 0 && c->owed && ++c->stalled > VMM_STATSOCK_PATIENCE)
			drop(c);
	}
}

void vmm_statsock_serve(struct vmm_statsock *s)
{
	struct epoll_event e[VMM_STATSOCK_CLIENTS + 2];
	int n = epoll_wait(s->epoll, e, VMM_STATSOCK_CLIENTS + 2, 0);

	for (int i = 0; i < n; i++) {
		if (e[i].data.u32 == LISTEN)
			take_client(s);
		else if (e[i].data.u32 == CLOCK)
			tick(s);
		else
			serve_client(s, e[i].data.u32);
	}
	set_clock(s);
}
