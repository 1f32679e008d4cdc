/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The memory that two sides share (lanes, shadow image): sealed memfds.
 * Beside the data path: made, sent, checked and mapped once per device.
 *
 * Who may call what: anything from any thread; nothing here keeps state.
 */
#ifndef RMIO_USER_MEMFD_H
#define RMIO_USER_MEMFD_H

#include <rmio/abi.h>
#include <stdbool.h>
#include <stdint.h>

/* @size rounded up to whole pages; at most 2^64 - RMIO_PAGE. */
static inline uint64_t rmio_pages(uint64_t size)
{
	return (size + RMIO_PAGE - 1) & ~(uint64_t)(RMIO_PAGE - 1);
}

/*
 * Make one of @size bytes (a multiple of RMIO_PAGE, not 0), zeroed, sealed against
 * shrinking and growing, not yet against further seals.  The descriptor, close-on-exec;
 * -EINVAL size or name, -EFBIG (beyond RLIMIT_FSIZE too), -EMFILE, -ENFILE, -ENOMEM.
 */
int rmio_memfd_new(const char *name, uint64_t size);

/*
 * Seal it against further seals; with @future_write first against writes and writable
 * mappings from then on, so that whoever gets the descriptor can only read.  Mappings
 * made before stay writable.  0 or -EPERM (sealed already).
 */
int rmio_memfd_seal(int fd, bool future_write);

/*
 * Map all of it, shared; @at NULL: anywhere, else exactly there, replacing what is
 * there.  NULL with errno set.  Undone by munmap(2).
 */
void *rmio_memfd_map(int fd, uint64_t size, bool write, void *at);

#endif
