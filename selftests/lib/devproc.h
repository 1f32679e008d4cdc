/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A device process for tests: forked while the test has one thread only, given
 * slave descriptors later, as many as it takes.  And a slave that checks nothing
 * and does each step by hand, for what the library's would not do.
 */
#ifndef RMIO_SELFTESTS_DEVPROC_H
#define RMIO_SELFTESTS_DEVPROC_H

#include "wire/chan.h"
#include "device/kslave.h"
#include "ktap.h"
#include "ring.h"
#include <sched.h>
#include <sys/socket.h>

struct devproc {
	pid_t pid;
	int sock;
};

/* In the device process: the next slave descriptor, -1 when there are no more. */
static inline int devproc_take(int sock)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(sizeof(int))];
	} c;
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = c.buf, .msg_controllen = sizeof(c.buf),
	};
	int fd;

	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&m))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

/*
 * The same.  Ends the process if nothing comes: whoever started it has skipped or failed, and
 * says so itself.
 */
static inline int devproc_need(int sock)
{
	int fd = devproc_take(sock);

	if (fd < 0)
		_exit(0);
	return fd;
}

/* Hand over @fd, which is closed here. */
static inline bool devproc_give(struct devproc *d, int fd)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(sizeof(int))];
	} c = { .h = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		       .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = c.buf, .msg_controllen = sizeof(c.buf),
	};
	ssize_t n;

	if (!T_OK(fd >= 0))
		return false;
	memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	n = sendmsg(d->sock, &m, MSG_NOSIGNAL);
	close(fd);
	return T_EQ(n, 1);
}

/* Fork it; @body gets the socket for devproc_take. */
static inline bool devproc_start(struct devproc *d, void (*body)(int sock, void *arg), void *arg)
{
	pid_t parent = getpid();
	int sv[2];

	if (!T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0))
		return false;
	fflush(stdout);
	d->pid = fork();
	if (d->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(sv[0]);
		body(sv[1], arg);
		_exit(0);
	}
	close(sv[1]);
	d->sock = sv[0];
	return T_OK(d->pid > 0);
}

static inline void devproc_kill(struct devproc *d)
{
	T_EQ(kill(d->pid, SIGKILL), 0);
}

/* Reap it: its wait status. */
static inline int devproc_wait(struct devproc *d)
{
	int status = -1;

	close(d->sock);
	T_EQ(waitpid(d->pid, &status, 0), d->pid);
	return status;
}

/* -- a slave without checks ------------------------------------------------------------- */

struct raw {
	int chan;
	bool kernel;		/* the kernel device's */
	uint32_t lanes, slots;
	const char *down;
	char *up;
	uint64_t down_size, up_size, stride;
	int down_fd, up_fd;
};

static inline bool raw_open_kernel(struct raw *r, int chan)
{
	struct rmio_down_hdr h;
	const void *down;
	void *up;

	if (rmio_kslave_map(chan, &h, &down, &up))
		return false;
	*r = (struct raw){
		.chan = chan,
		.kernel = true,
		.lanes = h.nr_lanes,
		.slots = h.ring_slots,
		.down = down,
		.up = up,
		.down_size = h.size,
		.up_size = (uint64_t)RMIO_PAGE * (1 + h.nr_lanes),
		.stride = h.lane_stride,
		.down_fd = dup(chan),
		.up_fd = dup(chan),
	};
	return true;
}

static inline bool raw_open(struct raw *r, int chan)
{
	const struct rmio_down_hdr *h;
	int fds[RMIO_CHAN_FDS];
	struct rmio_chan_hdr hello;
	size_t nfds;

	if (rmio_kslave_is(chan))
		return raw_open_kernel(r, chan);
	r->kernel = false;
	if (rmio_chan_recv(chan, &hello, NULL, 0, fds, &nfds) < 0 || nfds != 2)
		return false;
	hello.answer = 1;
	rmio_chan_send(chan, &hello, NULL, 0, NULL, 0);
	r->chan = chan;
	r->down_fd = fds[0];
	r->up_fd = fds[1];
	r->down_size = hello.value;
	r->down = mmap(NULL, r->down_size, PROT_READ, MAP_SHARED, fds[0], 0);
	if (r->down == MAP_FAILED)
		return false;
	h = (const void *)r->down;
	r->lanes = h->nr_lanes;
	r->slots = h->ring_slots;
	r->stride = h->lane_stride;
	r->up_size = (uint64_t)RMIO_PAGE * (1 + r->lanes);
	r->up = mmap(NULL, r->up_size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	return r->up != MAP_FAILED;
}

static inline void raw_close(struct raw *r)
{
	munmap((void *)r->down, r->down_size);
	munmap(r->up, r->up_size);
	close(r->down_fd);
	close(r->up_fd);
	close(r->chan);
}

static inline struct rmio_up_lane *raw_lane(const struct raw *r, uint32_t i)
{
	return (void *)(r->up + (uint64_t)RMIO_PAGE * (1 + i));
}

static inline bool raw_cons(const struct raw *r, uint32_t i, struct rmio_cons *c)
{
	if (rmio_cons_init(c, r->down + RMIO_PAGE + i * r->stride, raw_lane(r, i), r->slots))
		return false;
	c->wake = r->kernel ? rmio_kslave_wake : NULL;
	c->kernel = r->kernel ? r->chan : -1;
	c->lane = i;
	return true;
}

#endif
