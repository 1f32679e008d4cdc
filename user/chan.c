// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Messages on the slave descriptor of the exit back end.  Not on the data
 * path: opening, shadow size and control, and the bell of devices that sleep
 * in poll.
 */
#include "chan.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int rmio_chan_pair(int fds[2])
{
	int size = 2 * (int)RMIO_CHAN_MAX;
	int i;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds))
		return -errno;
	/* An access map of the largest size is one packet. */
	for (i = 0; i < 2; i++)
		if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
			setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return 0;
}

int rmio_chan_send(int fd, const struct rmio_chan_hdr *h, const void *payload, size_t len,
		   const int *fds, size_t nfds)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(RMIO_CHAN_FDS * sizeof(int))];
	} c;
	struct iovec iov[2] = {
		{ .iov_base = (void *)h, .iov_len = sizeof(*h) },
		{ .iov_base = (void *)payload, .iov_len = len },
	};
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = len ? 2 : 1 };

	if (nfds > RMIO_CHAN_FDS)
		return -EINVAL;
	if (nfds) {
		memset(&c, 0, sizeof(c));
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(&c.h), fds, nfds * sizeof(int));
	}
	if (sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

/* Take what fits into fds, close the rest.  False if there was a rest. */
static bool take_fds(struct msghdr *m, int *fds, size_t *nfds)
{
	struct cmsghdr *c;
	bool all = !(m->msg_flags & MSG_CTRUNC);

	for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t i, n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (*nfds < RMIO_CHAN_FDS) {
				fds[(*nfds)++] = fd;
			} else {
				close(fd);
				all = false;
			}
		}
	}
	return all;
}

ssize_t rmio_chan_recv(int fd, struct rmio_chan_hdr *h, void *payload, size_t room,
		       int fds[RMIO_CHAN_FDS], size_t *nfds)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE((RMIO_CHAN_FDS + 2) * sizeof(int))];
	} c;
	struct iovec iov[2] = {
		{ .iov_base = h, .iov_len = sizeof(*h) },
		{ .iov_base = payload, .iov_len = room },
	};
	struct msghdr m = {
		.msg_iov = iov,
		.msg_iovlen = room ? 2 : 1,
		.msg_control = c.buf,
		.msg_controllen = sizeof(c.buf),
	};
	size_t i;
	ssize_t n;
	bool good;

	*nfds = 0;
	for (i = 0; i < RMIO_CHAN_FDS; i++)
		fds[i] = -1;
	do
		n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -EAGAIN : -ECONNRESET;
	good = take_fds(&m, fds, nfds);
	if (!n && !*nfds)
		return -ECONNRESET;
	if (good && !(m.msg_flags & MSG_TRUNC) && n >= (ssize_t)sizeof(*h) &&
	    h->magic == RMIO_ABI_MAGIC && h->version == RMIO_ABI_VERSION)
		return n - (ssize_t)sizeof(*h);
	for (i = 0; i < *nfds; i++) {
		close(fds[i]);
		fds[i] = -1;
	}
	*nfds = 0;
	return -EPROTO;
}
