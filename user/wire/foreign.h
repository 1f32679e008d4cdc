/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Descriptors that a peer has sent, of any kind it likes.  Beside the data path.
 *
 * close(2) waits where the file wants it to: a TCP socket with SO_LINGER for its
 * own peer, a file of a user-space file system for its server.  So does whatever
 * drops the last reference of one: a receive without room for descriptors, and
 * the close of a UNIX socket with such descriptors unread.  Neither a device
 * loop that serves others nor a vCPU may be held up like that.  The same goes
 * for fstat(2) and fstatfs(2).
 */
#ifndef RMIO_WIRE_FOREIGN_H
#define RMIO_WIRE_FOREIGN_H

#include <stdbool.h>

/*
 * Close without waiting.  What could make us wait is closed by a thread of its
 * own, which lasts as long as the peer makes it; if there cannot be one, it
 * stays open.  errno is kept.
 */
void rmio_foreign_close(int fd);

/* Of the file system of memfds, or of huge pages: nothing asked of it waits. */
bool rmio_foreign_is_memory(int fd);

/*
 * An eventfd.  Where /proc is not mounted, anything without a file type is taken
 * for one, which keeps out pipes and sockets.
 */
bool rmio_foreign_is_eventfd(int fd);

/* The slave descriptor of a kernel device; without /proc as above, to be asked by ioctl. */
bool rmio_foreign_is_kvm_slave(int fd);

#endif
