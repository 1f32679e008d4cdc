// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Messages on the slave descriptor of the exit back end.  Not on the data
 * path: opening, shadow size and control, and the bell of devices that sleep
 * in poll.
 */
#include "chan.h"
#include "scm.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

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
	RMIO_SCM_ROOM(RMIO_CHAN_FDS) control;
	struct iovec iov[2] = {
		{ .iov_base = (void *)h, .iov_len = sizeof(*h) },
		{ .iov_base = (void *)payload, .iov_len = len },
	};
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = len ? 2 : 1 };

	if (nfds > RMIO_CHAN_FDS)
		return -EINVAL;
	if (nfds)
		rmio_scm_put(&m, &control, fds, (uint32_t)nfds);
	if (sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

ssize_t rmio_chan_recv(int fd, struct rmio_chan_hdr *h, void *payload, size_t room,
		       int fds[RMIO_CHAN_FDS], size_t *nfds)
{
	RMIO_SCM_ROOM(RMIO_SCM_MAX) control;
	struct iovec iov[2] = {
		{ .iov_base = h, .iov_len = sizeof(*h) },
		{ .iov_base = payload, .iov_len = room },
	};
	struct msghdr m = {
		.msg_iov = iov,
		.msg_iovlen = room ? 2 : 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	uint32_t got = 0, i;
	ssize_t n;
	int err;

	*nfds = 0;
	for (i = 0; i < RMIO_CHAN_FDS; i++)
		fds[i] = -1;
	do
		n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -EAGAIN : -ECONNRESET;
	err = rmio_scm_take(&m, fds, &got, RMIO_CHAN_FDS);
	if (!err && !n && !got)
		return -ECONNRESET;
	if ((!err || err == -EMFILE) && !(m.msg_flags & MSG_TRUNC) && n >= (ssize_t)sizeof(*h) &&
	    h->magic == RMIO_ABI_MAGIC && h->version == RMIO_ABI_VERSION) {
		*nfds = got;
		return err ? err : n - (ssize_t)sizeof(*h);
	}
	rmio_scm_close(fds, &got);
	for (i = 0; i < RMIO_CHAN_FDS; i++)
		fds[i] = -1;
	return -EPROTO;
}

bool rmio_chan_hung_up(int fd)
{
	struct pollfd p = { .fd = fd };

	return fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

void rmio_chan_knock(int fd)
{
	struct rmio_chan_hdr h = {
		.magic = RMIO_ABI_MAGIC,
		.version = RMIO_ABI_VERSION,
		.type = RMIO_CHAN_BELL,
	};

	/* A full socket holds messages that wake the device just as well. */
	rmio_chan_send(fd, &h, NULL, 0, NULL, 0);
}
