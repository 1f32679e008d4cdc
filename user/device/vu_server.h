/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The device end of a vfio-user connection: takes messages off the socket,
 * checks them, calls the device, sends the replies.  Beside the data path once
 * rings are attached; the data path for clients that know nothing of rmio.
 *
 * Nothing here blocks.  One thread at a time, the loop's.
 */
#ifndef RMIO_DEVICE_VU_SERVER_H
#define RMIO_DEVICE_VU_SERVER_H

#include "wire/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vu_server;

/*
 * What the connection asks of the device.  Arguments have been checked against
 * the protocol, and accesses against the size that region_info gives; nothing
 * else is checked.  Each returns 0 or -errno, which becomes the error reply.
 *
 * Descriptors are the server's: an op takes one by writing -1 over it, the rest
 * is closed after the call, whatever it returned.
 *
 * An op may not free the server, nor call its _readable or _writable.
 * Unless it says "may be NULL", an op must be there.
 */
struct vu_server_ops {
	/* VFIO_DEVICE_FLAGS_*, number of region and of irq indices, always the same. */
	void (*device_info)(void *arg, uint32_t *flags, uint32_t *regions, uint32_t *irqs);
	/* For index < regions.  Size 0: no such region.  VFIO_REGION_INFO_FLAG_READ, _WRITE. */
	int (*region_info)(void *arg, uint32_t index, uint64_t *size, uint32_t *flags);
	/* For index < irqs.  VFIO_IRQ_INFO_*; count 0: none. */
	int (*irq_info)(void *arg, uint32_t index, uint32_t *flags, uint32_t *count);
	/* [off, off + count) lies in the region, count is 1 .. VU_MAX_XFER; any alignment. */
	int (*region_read)(void *arg, uint32_t index, uint64_t off, void *buf, uint32_t count);
	int (*region_write)(void *arg, uint32_t index, uint64_t off, const void *buf,
			    uint32_t count);
	/*
	 * All multiples of 4096, size not 0, neither sum wraps; prot: PROT_READ and
	 * PROT_WRITE as the device may access it, not 0.  *fd: a regular file (memfd)
	 * that is at this moment long enough, or -1: memory that the client would
	 * serve by messages, which the device cannot reach (QEMU maps its ROMs so); an
	 * op that takes such a range lets accesses to it fail.  -EEXIST: overlaps a
	 * mapping.
	 */
	int (*dma_map)(void *arg, uint64_t iova, uint64_t size, uint64_t offset, int prot, int *fd);
	/* What lies within, which may be nothing, or (all) everything.  -EINVAL: would cut one. */
	int (*dma_unmap)(void *arg, uint64_t iova, uint64_t size, bool all);
	/* Why the last of either was refused, in words that follow an address.  May be NULL. */
	const char *(*dma_why)(void *arg);
	/*
	 * [start, start + count) lies in the index.
	 * action: VFIO_IRQ_SET_ACTION_MASK, _UNMASK or _TRIGGER; data, one of
	 *   _DATA_NONE     do it; with _TRIGGER, start 0 and count 0: disable the index
	 *   _DATA_BOOL     bools[i] is 0 or 1: do it or not
	 *   _DATA_EVENTFD  fds[i]: the descriptor of start + i; fds NULL: have none
	 * A descriptor is an eventfd, but may be a blocking one whose counter the
	 * client has filled up: write(2) to it may block.
	 */
	int (*set_irqs)(void *arg, uint32_t index, uint32_t action, uint32_t data, uint32_t start,
			uint32_t count, int *fds, const uint8_t *bools);
	/*
	 * From now on each rise of the pin is to be signalled, whether the one before has been
	 * unmasked or not: a client of QEMU's multi-process protocol.  May be NULL.
	 */
	void (*pin_rises)(void *arg);
	int (*reset)(void *arg);
	/*
	 * A reply goes out after this: as on a bus, where a completion passes no message, what
	 * the handlers signalled has to be older.  May be NULL.
	 */
	void (*replying)(void *arg);
	/* What the device is called, for people.  May be NULL. */
	const char *(*name)(void *arg);
	/*
	 * The slave descriptor, for rmio_slave_open; not checked, once a connection
	 * unless it fails.  May be NULL: the capability "rmio" is not offered.
	 */
	int (*attach)(void *arg, int *fd);
	/*
	 * Is what was attached still there?  Its master may have ended, for one that comes on the
	 * same connection.  May be NULL: there is one attach a connection.
	 */
	bool (*attached)(void *arg);
	/*
	 * A line for the log: a message was refused and why.  A peer gets VU_LOG_MAX
	 * of them, then one a second.  May be NULL.
	 */
	void (*log)(void *arg, const char *line);
};

/*
 * Serve @fd, a connected SOCK_STREAM UNIX socket, taking it over (also on
 * failure) and making it close-on-exec.  @ops is kept, not copied.  0, -EBADF,
 * -ENOTSOCK or -EPROTOTYPE (another kind of descriptor), -ENOMEM.
 */
int vu_server_new(int fd, const struct vu_server_ops *ops, void *arg, struct vu_server **srv);

/* To poll for POLLIN, and for POLLOUT while vu_server_wants_write. */
int vu_server_fd(const struct vu_server *srv);

/*
 * Serve what is there, up to VU_TURN messages or one of the largest.
 *   0        nothing more there
 *   1        there may be more: call again, after others have had their turn
 *   -errno   free it: -ECONNRESET the peer has gone, -EPROTO it spoke nonsense,
 *            -ENOMEM
 */
int vu_server_readable(struct vu_server *srv);

bool vu_server_wants_write(const struct vu_server *srv);

/*
 * False while the replies that the peer has not read leave no room for one more: _readable takes
 * nothing.  @taken: bytes that the peer has taken so far, to see whether it reads.
 */
bool vu_server_wants_read(const struct vu_server *srv, uint64_t *taken);

/* It does not read: sets the reason, returns -ENOBUFS. */
int vu_server_stuck(struct vu_server *srv);

/* Send what is queued.  0, or -errno: free it, as above. */
int vu_server_writable(struct vu_server *srv);

/* Why it has to be freed, for a log line; "" while it serves. */
const char *vu_server_reason(const struct vu_server *srv);

/* Has the client asked for rings (a successful attach)? */
bool vu_server_attached(const struct vu_server *srv);

void vu_server_free(struct vu_server *srv);

#endif
