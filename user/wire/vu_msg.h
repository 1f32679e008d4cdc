/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Framing of messages on a stream socket, both ends: a receiver that takes a
 * message in whatever pieces it comes, and a sender that queues what the socket
 * does not take.  Nothing blocks, nothing is believed.  Of vfio-user, and of
 * QEMU's multi-process protocol, whose header is as long (mp_wire.h).
 *
 * One thread at a time.
 */
#ifndef RMIO_WIRE_VU_MSG_H
#define RMIO_WIRE_VU_MSG_H

#include "mp_wire.h"
#include "vu_wire.h"

#include <stdbool.h>

enum vu_protocol {
	VU_VFIO_USER,		/* struct vu_hdr */
	VU_MULTI_PROCESS,	/* struct mp_hdr */
	VU_EITHER,		/* whichever of them the first message is of */
};

/* The message that was received. */
struct vu_msg {
	union {
		struct vu_hdr hdr;
		struct mp_hdr mp;
	};
	uint8_t *data;		/* payload; aligned for any type */
	uint32_t len;
	/*
	 * -EMFILE: descriptors came that could not be received; -E2BIG: more than
	 * VU_MAX_FDS.  All of them are closed then and nfds is 0.
	 */
	int fds_error;
	uint32_t nfds;
	int fds[VU_MAX_FDS];	/* closed by vu_conn_done, but for those that are -1 */
};

struct vu_pending;

struct vu_conn {
	int fd;
	enum vu_protocol protocol;
	struct vu_msg msg;
	uint32_t got;			/* bytes of the message received */
	uint8_t *big;			/* payload when it is larger than small */
	_Alignas(16) uint8_t small[VU_SMALL];
	struct vu_pending *head, **tail;
	size_t queued;
	uint64_t taken;			/* bytes that were queued and have gone */
};

/*
 * Take over @fd, for vfio-user; c->protocol may be changed before the first
 * message.  0, -ENOTSOCK, -EPROTOTYPE (not a UNIX stream socket), -EBADF;
 * @fd is closed on failure.
 */
int vu_conn_init(struct vu_conn *c, int fd);
void vu_conn_exit(struct vu_conn *c);

/*
 * Receive.  0: c->msg is complete, and vu_conn_done must follow.  -EAGAIN;
 * -ECONNRESET the peer has gone; -ENODATA it has gone in mid-message; -EMSGSIZE
 * the size in the header is below a header's or above VU_MSG_MAX; -EBADMSG
 * descriptors came in the middle of a payload; -ENOMEM.  After any but -EAGAIN
 * the stream is lost.
 */
int vu_conn_recv(struct vu_conn *c);
void vu_conn_done(struct vu_conn *c);

/*
 * Send hdr (its size is filled in), a and b; what the socket does not take is
 * copied and queued, descriptors duplicated.  0, -ENOBUFS (queue full: nothing
 * of this message was sent or the stream is lost), -ECONNRESET, -ENOMEM, -EMFILE.
 */
int vu_conn_send(struct vu_conn *c, struct vu_hdr hdr, const void *a, size_t a_len, const void *b,
		 size_t b_len, const int *fds, uint32_t nfds);

/* The same, of the multi-process protocol. */
int vu_conn_send_mp(struct vu_conn *c, struct mp_hdr hdr, const void *payload, size_t len,
		    const int *fds, uint32_t nfds);

static inline bool vu_conn_wants_write(const struct vu_conn *c)
{
	return c->head;
}

/* Is there room to queue one more message, whatever its size? */
bool vu_conn_room(const struct vu_conn *c);

/* Send what is queued and the socket takes.  0, -ECONNRESET. */
int vu_conn_flush(struct vu_conn *c);

#endif
