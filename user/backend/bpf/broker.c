// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The VMM's end of its broker.  Beside the data path: once a VM, a device and an image.
 */
#include "broker.h"
#include "wire/name.h"
#include "wire/scm.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* Loading takes some tens of milliseconds, with several brokers on a busy machine seconds. */
#define ANSWER_MS	60000

int rmio_broker_connect(const char *path)
{
	const struct timeval most = { .tv_sec = ANSWER_MS / 1000 };
	struct sockaddr_un to;
	socklen_t len;
	int fd, err;

	err = rmio_name_address(path, &to, &len);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* So many may wait to be let in, the next waits for that. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
	if (!connect(fd, (struct sockaddr *)&to, len))
		return fd;
	err = errno == EAGAIN ? -ETIMEDOUT : -errno;
	close(fd);
	return err;
}

static int take(int fd, struct rmio_broker_answer *a, int *fds, uint32_t *nfds)
{
	RMIO_SCM_ROOM(RMIO_SCM_MAX) control;
	struct iovec iov = { .iov_base = a, .iov_len = sizeof(*a) };
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n;
	int err;

	n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -ECONNRESET;
	err = rmio_scm_take(&m, fds, nfds, RMIO_BPF_FDS);
	if (err)
		return err;
	if (n != sizeof(*a) || m.msg_flags & MSG_TRUNC || a->magic != RMIO_ABI_MAGIC ||
	    a->version != RMIO_ABI_VERSION || a->error > 0) {
		rmio_scm_close(fds, nfds);
		return n ? -EPROTO : -ECONNRESET;
	}
	a->why[sizeof(a->why) - 1] = 0;
	return a->error;
}

int rmio_broker_ask(int fd, const struct rmio_broker_request *r, struct rmio_broker_answer *answer,
		    int *fds, uint32_t nfds)
{
	struct rmio_broker_request request = *r;
	struct rmio_broker_answer own, *a = answer ? answer : &own;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int got[RMIO_BPF_FDS];
	uint32_t n = 0;
	int err;

	memset(a, 0, sizeof(*a));
	request.magic = RMIO_ABI_MAGIC;
	request.version = RMIO_ABI_VERSION;
	if (send(fd, &request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return errno == EPIPE ? -ECONNRESET : -errno;
	while ((err = poll(&p, 1, ANSWER_MS)) < 0 && errno == EINTR)
		;
	err = take(fd, a, got, &n);
	if (!err && n != nfds)
		err = -EPROTO;
	if (err) {
		rmio_scm_close(got, &n);
		/* What comes later would be taken for the answer to something else. */
		if (err == -ETIMEDOUT || err == -EPROTO)
			shutdown(fd, SHUT_RDWR);
		return err;
	}
	memcpy(fds, got, n * sizeof(*fds));
	return 0;
}
