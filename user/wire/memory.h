/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Memory that a peer has sent, before it is mapped.  Beside the data path: once per device.
 *
 * Who may call what: anything from any thread; nothing here keeps state.
 */
#ifndef RMIO_WIRE_MEMORY_H
#define RMIO_WIRE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Check a descriptor that came from a peer, before it is mapped: after a 0 here, no
 * access to a mapping of @size bytes raises SIGBUS, whatever the peer does with the
 * file (the machine may still run out of memory).
 * @must_be_future_write: to be mapped for reading; it must carry that seal.  Otherwise
 * it must be fit to be mapped for writing.
 *   -EINVAL size 0 or not a multiple of RMIO_PAGE; -EBADF no memfd of ordinary pages
 *   (nor an open descriptor); -EPERM seals missing, or sealed against the writes
 *   wanted; -EMSGSIZE any other size; -EACCES not open for what is wanted.
 */
int rmio_memfd_check(int fd, uint64_t size, bool must_be_future_write);

/*
 * A descriptor that came from a peer: an array whose mapping has exactly @size bytes,
 * all of which exist.  0; -EBADF no such map; -EMSGSIZE another size.
 */
int rmio_bpf_array_check(int fd, uint64_t size);

/*
 * Either of them: sealed against shrinking, or an array, which cannot shrink.  0, or
 * rmio_bpf_array_check's error.
 */
int rmio_memory_check(int fd, uint64_t size, bool to_read);

#endif
