// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Framing of messages on a stream socket.  Beside the data path of rmio; part of
 * it for clients that access regions by message.
 *
 * A header is read by itself, with the descriptors that came with it; the
 * payload may not come with any.  So the descriptors of a message cannot be
 * taken for its neighbour's: the kernel glues bytes of one message to the next,
 * but never reads on after descriptors.
 */
#include "scm.h"
#include "vu_msg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A message or its rest, waiting for the socket to take it. */
struct vu_pending {
	struct vu_pending *next;
	size_t len, sent;
	uint32_t nfds;			/* go out with the first byte */
	int fds[VU_MAX_FDS];
	uint8_t bytes[];
};

int vu_conn_init(struct vu_conn *c, int fd)
{
	int domain = 0, type = 0, err;
	socklen_t len = sizeof(int);

	memset(c, 0, sizeof(*c));
	c->fd = -1;
	c->tail = &c->head;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len)) {
		err = -errno;
		goto close_fd;
	}
	err = -EPROTOTYPE;
	if (domain != AF_UNIX || type != SOCK_STREAM)
		goto close_fd;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC)) {
		err = -errno;
		goto close_fd;
	}
	c->fd = fd;
	return 0;

close_fd:
	if (err != -EBADF)
		close(fd);
	return err;
}

void vu_conn_exit(struct vu_conn *c)
{
	struct vu_pending *p;

	vu_conn_done(c);
	while ((p = c->head)) {
		c->head = p->next;
		rmio_scm_close(p->fds, &p->nfds);
		free(p);
	}
	c->tail = &c->head;
	c->queued = 0;
	if (c->fd >= 0)
		rmio_scm_hang_up(c->fd);
	c->fd = -1;
}

void vu_conn_done(struct vu_conn *c)
{
	rmio_scm_close(c->msg.fds, &c->msg.nfds);
	free(c->big);
	c->big = NULL;
	c->got = 0;
	c->msg.data = NULL;
	c->msg.len = 0;
	c->msg.fds_error = 0;
}

/* -- receiving ------------------------------------------------------------ */

static void take_fds(struct vu_msg *m, struct msghdr *h)
{
	int err = rmio_scm_take(h, m->fds, &m->nfds, m->fds_error ? 0 : VU_MAX_FDS);

	if (!m->fds_error)
		m->fds_error = err;
}

/* Receive up to @len bytes.  Their number, 0 at the end of the stream, -errno. */
static ssize_t receive(struct vu_conn *c, void *buf, size_t len, bool fds)
{
	RMIO_SCM_ROOM(RMIO_SCM_MAX) control;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof(control.bytes),
	};
	bool came;
	ssize_t n;

	do
		n = recvmsg(c->fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == ENOMEM ? -errno : -ECONNRESET;
	came = h.msg_controllen || (h.msg_flags & MSG_CTRUNC);
	if (came)
		take_fds(&c->msg, &h);
	return came && !fds ? -EBADMSG : n;
}

/* In vfio-user the padding of the other's header is the size of the message, header and all. */
static bool is_mp(const struct mp_hdr *h)
{
	return h->cmd >= 0 && h->cmd <= UINT16_MAX && h->padding < sizeof(struct vu_hdr);
}

static int header_done(struct vu_conn *c)
{
	uint32_t size = c->msg.hdr.size;

	if (c->protocol == VU_EITHER)
		c->protocol = is_mp(&c->msg.mp) ? VU_MULTI_PROCESS : VU_VFIO_USER;
	if (c->protocol == VU_MULTI_PROCESS) {
		if (c->msg.mp.size > MP_PAYLOAD_MAX)
			return -EMSGSIZE;
		c->msg.len = (uint32_t)c->msg.mp.size;
	} else {
		if (size < sizeof(struct vu_hdr) || size > VU_MSG_MAX)
			return -EMSGSIZE;
		c->msg.len = size - sizeof(struct vu_hdr);
	}
	c->msg.data = c->small;
	if (c->msg.len > VU_SMALL) {
		c->big = malloc(c->msg.len);
		if (!c->big)
			return -ENOMEM;
		c->msg.data = c->big;
	}
	return 0;
}

int vu_conn_recv(struct vu_conn *c)
{
	const uint32_t header = sizeof(struct vu_hdr);
	ssize_t n;
	int err;

	for (;;) {
		if (c->got < header)
			n = receive(c, (uint8_t *)&c->msg.hdr + c->got, header - c->got, true);
		else if (c->got < header + c->msg.len)
			n = receive(c, c->msg.data + (c->got - header),
				    header + c->msg.len - c->got, false);
		else
			return 0;
		if (!n)
			return c->got ? -ENODATA : -ECONNRESET;
		if (n < 0)
			return n;
		c->got += n;
		if (c->got == header) {
			err = header_done(c);
			if (err)
				return err;
		}
	}
}

/* -- sending -------------------------------------------------------------- */

static ssize_t transmit(struct vu_conn *c, struct iovec *iov, int n_iov, const int *fds,
			uint32_t nfds)
{
	RMIO_SCM_ROOM(VU_MAX_FDS) control;
	struct msghdr h = { .msg_iov = iov, .msg_iovlen = n_iov };
	ssize_t n;

	if (nfds)
		rmio_scm_put(&h, &control, fds, nfds);
	do
		n = sendmsg(c->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	switch (errno) {
	case EAGAIN:
	case ENOBUFS:
		return -EAGAIN;
	case EBADF:		/* one of the descriptors */
	case ETOOMANYREFS:	/* too many in flight */
		return nfds ? -errno : -ECONNRESET;
	case ENOMEM:
		return -ENOMEM;
	default:
		return -ECONNRESET;
	}
}

static int dup_fds(struct vu_pending *p, const int *fds, uint32_t n)
{
	int err;

	while (p->nfds < n) {
		p->fds[p->nfds] = fcntl(fds[p->nfds], F_DUPFD_CLOEXEC, 0);
		if (p->fds[p->nfds] < 0) {
			err = -errno;
			rmio_scm_close(p->fds, &p->nfds);
			return err;
		}
		p->nfds++;
	}
	return 0;
}

/* Queue what follows the first @sent bytes. */
static int enqueue(struct vu_conn *c, const struct iovec *iov, int n_iov, size_t sent,
		   const int *fds, uint32_t nfds)
{
	struct vu_pending *p;
	size_t len = 0;
	int i, err;

	for (i = 0; i < n_iov; i++)
		len += iov[i].iov_len;
	len -= sent;
	if (c->queued + sizeof(*p) + len > VU_QUEUE_MAX)
		return -ENOBUFS;
	p = malloc(sizeof(*p) + len);
	if (!p)
		return -ENOMEM;
	memset(p, 0, sizeof(*p));
	err = sent ? 0 : dup_fds(p, fds, nfds);
	if (err) {
		free(p);
		return err;
	}
	for (i = 0; i < n_iov; i++) {
		size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;

		sent -= skip;
		if (iov[i].iov_len > skip)
			memcpy(p->bytes + p->len, (const uint8_t *)iov[i].iov_base + skip,
			       iov[i].iov_len - skip);
		p->len += iov[i].iov_len - skip;
	}
	*c->tail = p;
	c->tail = &p->next;
	c->queued += sizeof(*p) + p->len;
	return 0;
}

bool vu_conn_room(const struct vu_conn *c)
{
	return c->queued + sizeof(struct vu_pending) + VU_MSG_MAX <= VU_QUEUE_MAX;
}

static int send_all(struct vu_conn *c, struct iovec *iov, int n_iov, const int *fds,
		    uint32_t nfds)
{
	size_t sent = 0, len = 0;
	ssize_t n;

	for (int i = 0; i < n_iov; i++)
		len += iov[i].iov_len;
	if (nfds > VU_MAX_FDS || len > VU_MSG_MAX)
		return -EINVAL;
	if (!c->head) {
		n = transmit(c, iov, n_iov, fds, nfds);
		if (n < 0 && n != -EAGAIN)
			return n;
		if (n > 0)
			sent = n;
	}
	return sent == len ? 0 : enqueue(c, iov, n_iov, sent, fds, nfds);
}

int vu_conn_send(struct vu_conn *c, struct vu_hdr hdr, const void *a, size_t a_len, const void *b,
		 size_t b_len, const int *fds, uint32_t nfds)
{
	struct iovec iov[3] = {
		{ .iov_base = &hdr, .iov_len = sizeof(hdr) },
		{ .iov_base = (void *)a, .iov_len = a_len },
		{ .iov_base = (void *)b, .iov_len = b_len },
	};

	hdr.size = (uint32_t)(sizeof(hdr) + a_len + b_len);
	return send_all(c, iov, 3, fds, nfds);
}

int vu_conn_send_mp(struct vu_conn *c, struct mp_hdr hdr, const void *payload, size_t len,
		    const int *fds, uint32_t nfds)
{
	struct iovec iov[2] = {
		{ .iov_base = &hdr, .iov_len = sizeof(hdr) },
		{ .iov_base = (void *)payload, .iov_len = len },
	};

	hdr.size = len;
	return send_all(c, iov, 2, fds, nfds);
}

int vu_conn_flush(struct vu_conn *c)
{
	struct vu_pending *p;
	ssize_t n;

	while ((p = c->head)) {
		struct iovec iov = { .iov_base = p->bytes + p->sent, .iov_len = p->len - p->sent };

		n = transmit(c, &iov, 1, p->fds, p->nfds);
		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return -ECONNRESET;
		rmio_scm_close(p->fds, &p->nfds);
		p->sent += n;
		c->taken += (uint64_t)n;
		if (p->sent < p->len)
			continue;
		c->head = p->next;
		if (!c->head)
			c->tail = &c->head;
		c->queued -= sizeof(*p) + p->len;
		free(p);
	}
	return 0;
}
