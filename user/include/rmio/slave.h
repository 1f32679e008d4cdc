/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * rmio for device processes, the plain calls: the slave descriptor.
 * rmio/device.h builds a framework of callbacks on them.
 *
 * Thread rules.  A slave belongs to one thread at a time; several slaves may be
 * used by several threads.
 */
#ifndef RMIO_SLAVE_H
#define RMIO_SLAVE_H

#include <rmio/abi.h>
#include <rmio/err.h>
#include <rmio/wait.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct rmio_slave;

struct rmio_slave_opts {
	size_t sz;			/* sizeof(struct rmio_slave_opts) */
	struct rmio_wait_opts wait;	/* for rmio_slave_poll; all zero: defaults */
};

/**
 * rmio_slave_open - open the slave end, taking the descriptor over
 * @fd: from rmio_master_slave_fd
 *
 * Never blocks: what the master hands over is in the socket already.  Checks
 * all of it: magic, version, sizes, kinds of descriptor, seals.  On failure the
 * descriptor is closed.  Returns 0, -EINVAL (options), -E2BIG, -EPROTO (not a
 * master, wrong version, unsealed or truncated memory, or this process has no
 * descriptors left to receive it), -ENOMEM, -ECONNRESET.
 */
int rmio_slave_open(int fd, const struct rmio_slave_opts *opts, struct rmio_slave **s);

/**
 * rmio_slave_free - close; the master sees the device as closed
 */
void rmio_slave_free(struct rmio_slave *s);

/**
 * rmio_slave_read - take pending requests, moving them to the sent queue
 * @n: room in @reqs
 *
 * In order per vCPU; every vCPU gets its turn.  Never blocks.  Returns the
 * number taken, -EAGAIN (none pending), -EPROTO (a request that no VMM would
 * write: the lane is closed), -ECONNRESET (the master is gone and nothing is pending).
 */
ssize_t rmio_slave_read(struct rmio_slave *s, struct rmio_request *reqs, size_t n);

/**
 * rmio_slave_write - complete requests of the sent queue, in any order
 *
 * Loads and synchronous stores let their vCPU go on as soon as that vCPU's
 * earlier requests are complete as well.  Every store must be completed too.
 * Returns @n, or the number of replies taken before a bad one; if the first is
 * bad: -ENOENT (never asked for, or answered before), -EINVAL (vcpu, reserved).
 */
ssize_t rmio_slave_write(struct rmio_slave *s, const struct rmio_reply *replies, size_t n);

/**
 * rmio_slave_poll - wait until a request is pending
 * @timeout_ms: as for poll(2)
 *
 * Waits as opts.wait says.  Returns 1 pending, 0 timeout, -EINTR, -ECONNRESET
 * (the master is gone).
 */
int rmio_slave_poll(struct rmio_slave *s, int timeout_ms);

/**
 * rmio_slave_fd - a descriptor for poll(2), epoll or io_uring
 *
 * Becomes readable when a request arrives after rmio_slave_arm, and at end of
 * file.  Owned by the slave.
 */
int rmio_slave_fd(const struct rmio_slave *s);

/**
 * rmio_slave_arm - ask for a wake-up, before sleeping on rmio_slave_fd
 *
 * Returns 1 when requests are pending already (do not sleep), else 0.
 */
int rmio_slave_arm(struct rmio_slave *s);

/**
 * rmio_slave_shadow_size - ask for a shadow image of that many bytes
 *
 * Rounded up to pages.  Replaces an earlier image and its access map; the old
 * mapping goes away.  0 removes it.  Blocks for the master's answer.  Returns 0,
 * -EFBIG (above RMIO_SHADOW_MAX, or the VMM's RLIMIT_FSIZE), -ENOMEM, -EMFILE or
 * -ENFILE (in the VMM, or here: then ask again), -ECONNRESET, -ETIMEDOUT (no answer
 * within five seconds), -EAGAIN (the socket is full), -EBUSY (an earlier call's answer
 * is still due), -EPROTO (the master wrote nonsense).
 */
int rmio_slave_shadow_size(struct rmio_slave *s, uint64_t size);

/**
 * rmio_slave_shadow_ctrl - set the access map, replacing the previous one
 * @areas: in any order
 *
 * When it returns, no vCPU uses the previous map.  On error the previous map
 * stays.  Returns 0, -E2BIG (more than RMIO_AREAS_MAX), -EINVAL (an empty
 * area, unknown load, store, flag or size bits, no size where the shadow is
 * used), -EEXIST (areas overlap), -EOVERFLOW (offset + length wraps), -ERANGE
 * (outside of its range or of the shadow image), -ENOMEM, -ECONNRESET,
 * -ETIMEDOUT, -EAGAIN, -EBUSY, -EPROTO: as rmio_slave_shadow_size.
 */
int rmio_slave_shadow_ctrl(struct rmio_slave *s, const struct rmio_area *areas, size_t n);

/**
 * rmio_slave_mmap - the shadow image, mapped for reading and writing
 *
 * Owned by the slave; valid until rmio_slave_shadow_size or _free.  NULL
 * without one.  Write values with aligned stores of their own size: the vCPUs
 * read while you write.
 */
void *rmio_slave_mmap(const struct rmio_slave *s, size_t *size);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
