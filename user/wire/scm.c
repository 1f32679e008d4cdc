// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Descriptors in messages: for the slave descriptor (chan.c) and the vfio-user
 * socket (vu_msg.c), and those that nobody has read when a socket is closed.
 * Beside the data path.
 */
#include "foreign.h"
#include "scm.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void rmio_scm_put(struct msghdr *m, void *room, const int *fds, uint32_t nfds)
{
	struct cmsghdr *c = room;

	memset(room, 0, CMSG_SPACE(nfds * sizeof(int)));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
	memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	m->msg_control = room;
	m->msg_controllen = CMSG_SPACE(nfds * sizeof(int));
}

void rmio_scm_close(int *fds, uint32_t *nfds)
{
	uint32_t i;

	for (i = 0; i < *nfds; i++)
		if (fds[i] >= 0)
			rmio_foreign_close(fds[i]);
	*nfds = 0;
}

int rmio_scm_take(struct msghdr *m, int *fds, uint32_t *nfds, uint32_t max)
{
	int err = m->msg_flags & MSG_CTRUNC ? -EMFILE : 0;
	struct cmsghdr *c;
	int fd;

	for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t i, n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (!err && *nfds == max)
				err = -E2BIG;
			if (err)
				rmio_foreign_close(fd);
			else
				fds[(*nfds)++] = fd;
		}
	}
	if (err)
		rmio_scm_close(fds, nfds);
	return err;
}

/* Take out what is unread; nothing is added after the shutdown. */
static void drain(int fd)
{
	union {
		RMIO_SCM_ROOM(RMIO_SCM_MAX) scm;
		char bytes[CMSG_SPACE(RMIO_SCM_MAX * sizeof(int)) +
			   CMSG_SPACE(sizeof(struct ucred))];
	} control;
	int fds[RMIO_SCM_MAX];
	uint32_t nfds = 0;
	int one = 1, type = 0;
	socklen_t len = sizeof(type);
	char sink[4096];
	ssize_t n;

	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	/* So that an empty packet differs from the end: it comes with credentials. */
	if (type != SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one));
	for (;;) {
		struct iovec iov = { .iov_base = sink, .iov_len = sizeof(sink) };
		struct msghdr m = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = control.bytes, .msg_controllen = sizeof(control.bytes),
		};

		n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || (!n && !m.msg_controllen))
			return;
		rmio_scm_take(&m, fds, &nfds, RMIO_SCM_MAX);
		rmio_scm_close(fds, &nfds);
	}
}

void rmio_scm_hang_up(int fd)
{
	int saved = errno;

	shutdown(fd, SHUT_RDWR);
	drain(fd);
	close(fd);
	errno = saved;
}
