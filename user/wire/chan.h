/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The slave descriptor of the exit back end: a SOCK_SEQPACKET pair between the
 * library in the VMM and the library in the device process.  One message, one
 * packet.  It stands for the calls that the kernel device has as ioctls; no
 * request or reply passes here.
 *
 *   HELLO        master to slave, queued when the slave descriptor is made;
 *                descriptors: down, up; on the bpf back end also the words
 *                to sleep on, of both, and the eventfd that KVM signals for stores
 *                it has taken
 *   SHADOW_SIZE  slave to master {size}; answer: error, descriptor: image
 *   SHADOW_CTRL  slave to master {areas}; answer: error
 *   BELL         master to slave, no payload: look at the rings
 */
#ifndef RMIO_WIRE_CHAN_H
#define RMIO_WIRE_CHAN_H

#include "limits.h"

#include <rmio/abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum rmio_chan_type {
	RMIO_CHAN_HELLO		= 1,
	RMIO_CHAN_SHADOW_SIZE	= 2,
	RMIO_CHAN_SHADOW_CTRL	= 3,
	RMIO_CHAN_BELL		= 4,
};

struct rmio_chan_hdr {
	uint32_t magic;		/* RMIO_ABI_MAGIC */
	uint16_t version;	/* RMIO_ABI_VERSION */
	uint16_t type;		/* enum rmio_chan_type */
	int32_t error;		/* answers: 0 or -errno */
	uint32_t answer;	/* 0 request, 1 answer */
	uint64_t value;		/* SHADOW_SIZE: bytes; SHADOW_CTRL: number of areas */
};
_Static_assert(sizeof(struct rmio_chan_hdr) == 24, "rmio_chan_hdr size");

/* BELL: look at the rings. */
void rmio_chan_knock(int fd);

/* True when the other end of @fd, which may be -1, is closed. */
bool rmio_chan_hung_up(int fd);

/* Two connected ends, close-on-exec, non-blocking.  0 or -errno. */
int rmio_chan_pair(int fds[2]);

/* Send one message without blocking.  0, -EAGAIN, -EPIPE, -errno. */
int rmio_chan_send(int fd, const struct rmio_chan_hdr *h, const void *payload, size_t len,
		   const int *fds, size_t nfds);

/*
 * Receive one message without blocking into @payload of @room bytes.  All
 * descriptors that come along are in fds[0..*nfds), the rest of the array is
 * -1; too many are closed and refused.  Returns the payload's length, -EAGAIN,
 * -ECONNRESET (end of file), -EPROTO (truncated, wrong magic or version), -EMFILE (no
 * room for its descriptors; then the header is valid).
 */
ssize_t rmio_chan_recv(int fd, struct rmio_chan_hdr *h, void *payload, size_t room,
		       int fds[RMIO_CHAN_FDS], size_t *nfds);

#endif
