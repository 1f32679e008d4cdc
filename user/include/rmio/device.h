/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * rmio for authors of devices: a device is a struct of callbacks, its ranges,
 * its access map and its interrupts; the loop, the rings and the vfio-user
 * socket are the library's.
 *
 * Thread rules.  A loop runs in one thread, which calls all callbacks of its
 * devices; every call below is made from that thread (or before rmio_loop_run),
 * except rmio_loop_stop.  Any number of loops and threads.
 */
#ifndef RMIO_DEVICE_H
#define RMIO_DEVICE_H

#include <rmio/abi.h>
#include <rmio/err.h>
#include <rmio/wait.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct rmio_loop;
struct rmio_dev;

/* -- the loop: one io_uring ---------------------------------------------- */

struct rmio_loop_opts {
	size_t sz;			/* sizeof(struct rmio_loop_opts) */
	struct rmio_wait_opts wait;	/* all zero: defaults */
	uint32_t entries;		/* of the io_uring's submission queue; 0: 256 */
	uint32_t reserved;		/* 0 */
	/* A line for the log, such as why a connection was closed.  May be NULL. */
	void (*log)(void *arg, const char *line);
	void *arg;			/* of log() */
};

/**
 * rmio_loop_new - make a loop
 *
 * The ring is enabled by rmio_loop_run, in the thread that calls it.  Returns 0,
 * -EINVAL, -E2BIG, -ENOMEM, -ENOSYS or -EPERM (no io_uring), -EMFILE.
 */
int rmio_loop_new(const struct rmio_loop_opts *opts, struct rmio_loop **loop);

/**
 * rmio_loop_run - serve until rmio_loop_stop, or until the last device that
 * was given a descriptor instead of a path has lost its peer
 *
 * It may be called again.  Returns 0, or what io_uring_enter(2) failed with.
 */
int rmio_loop_run(struct rmio_loop *loop);

/* Make rmio_loop_run return, or the next one at once.  Any thread, also a signal handler. */
void rmio_loop_stop(struct rmio_loop *loop);

/*
 * After its devices are freed.  Of the device's own I/O what was never handed to the kernel is
 * over: done() is called with -ECANCELED.
 */
void rmio_loop_free(struct rmio_loop *loop);

/* -- the device's own I/O ------------------------------------------------- */

struct io_uring_sqe;

/* One operation at a time; embed it in your own struct, zeroed but for done. */
struct rmio_loop_io {
	/*
	 * The operation is over, or gave one of several results (IORING_CQE_F_MORE in
	 * @cqe_flags).  @res: 0, a count, or a negative errno.  After the last one @io may be
	 * submitted again or freed.
	 */
	void (*done)(struct rmio_loop_io *io, int res, uint32_t cqe_flags);
	uint64_t loops[16];		/* the loop's */
};

/**
 * rmio_loop_submit - have the kernel do something, and done() called from the loop
 * @io: until done() neither freed nor moved, as what @sqe points to
 * @sqe: prepared by io_uring_prep_*(3) anywhere, zeroed before; it is copied, and its user data is
 *       the loop's
 *
 * It is handed to the kernel before the loop sleeps, of a loop that does not run when it does; a
 * full queue refuses nothing.  What is pending when rmio_loop_run ends is cancelled: rmio_loop_run
 * returns after its done(), with -ECANCELED or what it had come to.  Returns 0; -EINVAL (no
 * done(); a link, IOSQE_IO_DRAIN, IOSQE_CQE_SKIP_SUCCESS, or an operation that removes others),
 * -EBUSY (@io is pending), -ECANCELED (the loop is ending).
 */
int rmio_loop_submit(struct rmio_loop *loop, struct rmio_loop_io *io,
		     const struct io_uring_sqe *sqe);

/* Ask for the end of @io; done() follows from the loop, if it is pending. */
void rmio_loop_cancel(struct rmio_loop *loop, struct rmio_loop_io *io);

/**
 * rmio_loop_register - io_uring_register(2) for buffers, files, credentials or workers
 *
 * Returns what it returns, 0 or more; -EINVAL also for operations that are the loop's own.
 */
int rmio_loop_register(struct rmio_loop *loop, unsigned int opcode, const void *arg,
		       unsigned int nr);

/* -- timers ---------------------------------------------------------------- */

/* One-shot timers, CLOCK_MONOTONIC; embed in your own struct, zeroed. */
struct rmio_timer {
	void (*fire)(struct rmio_timer *t);	/* the time has come; may arm it again */
	uint64_t at_ns;			/* the loop's */
	struct rmio_timer *next;	/* the loop's */
	bool armed;			/* the loop's */
};
/* fire() is called from the loop @after_ns nanoseconds from now; replaces an earlier time. */
void rmio_timer_arm(struct rmio_loop *loop, struct rmio_timer *t, uint64_t after_ns);
/* Not fired after this; does nothing when it is not armed. */
void rmio_timer_cancel(struct rmio_loop *loop, struct rmio_timer *t);

/* -- devices -------------------------------------------------------------- */

struct rmio_dev_range {
	uint32_t id;		/* vfio-user region index, to 255; PCI: 0..5 BARs, 6..8 not */
	uint32_t bus;		/* enum rmio_bus */
	uint64_t len;		/* bytes; BARs: a power of two, memory from 16, I/O 4 to 256 */
	uint32_t flags;		/* RMIO_DEV_RANGE_* */
	uint8_t sizes;		/* RMIO_SIZE_* that load() and store() implement; 0: all */
	uint8_t valid;		/* RMIO_SIZE_* that the guest may use; 0: all */
	uint16_t reserved;	/* 0 */
};
#define RMIO_DEV_RANGE_64BIT	0x1u	/* 64-bit BAR, takes id + 1 too */
#define RMIO_DEV_RANGE_PREFETCH	0x2u	/* memory BAR: loads have no side effects */
#define RMIO_DEV_RANGE_ALIGNED	0x4u	/* what is not aligned to its size is not valid */
#define RMIO_DEV_RANGE_NATURAL	0x8u	/* load() and store() implement aligned accesses only */

/*
 * What comes to load() and store() of an access that is valid and not implemented as it is:
 * several, at ascending offsets, each the largest implemented size that fits; of a load that is
 * narrower than all, the aligned unit around it, whose other bytes are dropped.  Refused are
 * what is not valid and a store that is narrower than all (the other bytes would have to be made
 * up): no callback is called, a load reads all ones, the first of a peer is logged and each
 * counted (rmio_dev_refused).  What the access map has the shadow answer does not come here.
 */

struct rmio_dev_ops {
	/*
	 * A load of @len bytes, 1, 2, 4 or 8, at @offset in the range of that id, which the
	 * shadow did not answer.  The vCPU waits for it: the value returned, whose lowest
	 * @len bytes the guest gets in little-endian order; those above are dropped.  NULL:
	 * the shadow where there is an area, else all ones.
	 */
	uint64_t (*load)(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len);
	/*
	 * A store of @len bytes, 1, 2, 4 or 8; the bytes of @value above are 0.  The vCPU has
	 * gone on, unless an area says RMIO_STORE_SYNC.  NULL: ignored.
	 */
	void (*store)(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		      uint32_t len);
	/*
	 * Bus or function reset, and when a peer has gone.  Not before the first one: the
	 * device, its shadow too, is set up by who makes it.  Configuration space and
	 * interrupts are reset already.  May be NULL.
	 */
	void (*reset)(struct rmio_dev *dev);
	/* The peer has attached (true) or gone (false).  May be NULL. */
	void (*attach)(struct rmio_dev *dev, bool attached);
	/* Guest memory came or went: [iova, iova + size).  May be NULL. */
	void (*dma)(struct rmio_dev *dev, uint64_t iova, uint64_t size, bool mapped);
};

struct rmio_dev_desc {
	size_t sz;			/* sizeof(struct rmio_dev_desc) */
	const char *name;		/* for log lines; NULL: "device" */
	const struct rmio_dev_ops *ops;	/* stays the caller's, as long as the device */
	const struct rmio_dev_range *ranges;	/* NULL without */
	uint32_t nr_ranges;		/* to RMIO_RANGES_MAX */
	uint32_t nr_areas;		/* to RMIO_AREAS_MAX */
	const struct rmio_area *areas;	/* access map; shadow offsets into one image */
	uint64_t shadow_size;		/* bytes, to RMIO_SHADOW_MAX; 0: no image */
	uint16_t vendor, device;	/* PCI identification; vendor neither 0 nor 0xffff */
	uint16_t subvendor, subdevice;	/* the same of the board; 0: none */
	uint32_t class_code;		/* 24 bits: class, subclass, interface */
	uint8_t revision;		/* of the device, any */
	uint8_t msi;			/* MSI vectors, 0 or a power of two up to 32 */
	uint8_t intx;			/* 0 none, 1..4 INTA..INTD; platform: lines, 0 or 1 */
	uint8_t flags;			/* RMIO_DEV_* */
	uint64_t dma_mask;		/* addresses the device can drive; 0: all 64 bits */
};

/*
 * Not a PCI function: ports and addresses that the VMM knows and places, such as a UART at port
 * 0x3f8 with interrupt line 4.  No configuration space, no messages; rmio_dev_pin is the line, and
 * DMA needs no leave.  Ranges have any length from 1; ids count from 0, as VFIO's platform devices
 * have it (VFIO_DEVICE_FLAGS_PLATFORM).  Identification and class are not used.
 */
#define RMIO_DEV_PLATFORM	0x1u

/**
 * rmio_dev_new - make a device on a loop
 * @desc: what it is
 * @priv: what rmio_dev_priv returns
 *
 * The descriptor and what it points to are copied, except @ops.  Nobody sees the device
 * before rmio_dev_listen, _serve or _slave.  Returns 0, -EINVAL (a range or area that does not
 * fit, with a log line; rmio_errstr has it too), -E2BIG, -ENOMEM.
 */
int rmio_dev_new(struct rmio_loop *loop, const struct rmio_dev_desc *desc, void *priv,
		 struct rmio_dev **dev);

/*
 * Its socket is removed, its peer sees the connection closed; attach() and dma() are called for
 * what goes.  Not from one of its own callbacks.  NULL: nothing.
 */
void rmio_dev_free(struct rmio_dev *dev);

/* What rmio_dev_new was given. */
void *rmio_dev_priv(const struct rmio_dev *dev);

/* The loop that it is on. */
struct rmio_loop *rmio_dev_loop(const struct rmio_dev *dev);

/**
 * rmio_dev_redelivered - in load() and store(): a predecessor had begun this request
 *
 * It was handed to the device process that served these rings before, which died
 * before it completed it; what the handler did until then has happened.
 */
bool rmio_dev_redelivered(const struct rmio_dev *dev);

/* Accesses refused since the device was made: outside of its ranges, or of sizes not valid. */
uint64_t rmio_dev_refused(const struct rmio_dev *dev);

/**
 * rmio_dev_listen - serve vfio-user clients on a socket path, one at a time
 *
 * A client that comes while another is served waits.  A stale socket file is
 * replaced, anything else at the path is -EADDRINUSE; before that is said, half a
 * second may pass, since a process that was killed is not gone at once.  Of several
 * that listen at one path at once one does.  PATH.lock and PATH~ exist meanwhile.
 * Returns 0 or -errno of open(2), socket(2), bind(2), listen(2); -ENAMETOOLONG, -ENOMEM,
 * -EBUSY (it listens or has a peer already).
 */
int rmio_dev_listen(struct rmio_dev *dev, const char *path);

struct rmio_listen_opts {
	size_t sz;		/* sizeof(struct rmio_listen_opts) */
	uint32_t flags;		/* RMIO_LISTEN_*: which of the following are said */
	uint32_t mode;		/* of the socket file, as of chmod(2): 0 .. 0777 */
	uint32_t group;		/* of the socket file, as of chown(2) */
	int32_t fd;		/* a stream socket that listens already, such as of LISTEN_FDS */
};
#define RMIO_LISTEN_MODE	0x1u
#define RMIO_LISTEN_GROUP	0x2u
#define RMIO_LISTEN_FD		0x4u

/**
 * rmio_dev_listen_opts - the same, with owner and mode of the socket, or on one that listens
 * @path: for an @fd, what log lines call it; nothing is made or removed there
 *
 * A path that begins with @ is an abstract name, here and in every call that takes the path of a
 * socket.  Who may connect to it mode and group say as they do for a file, by the peer's
 * credentials; root and the own user unless they are given.
 * The descriptor is taken over, also on failure, and made non-blocking.  What rmio_dev_listen
 * returns; -EINVAL (flags, mode, or a socket that does not listen), -E2BIG, -ENOTSOCK, -EPROTOTYPE,
 * -EPERM (a group that the process is not in).
 */
int rmio_dev_listen_opts(struct rmio_dev *dev, const char *path,
			 const struct rmio_listen_opts *opts);

/**
 * rmio_dev_serve - serve one vfio-user client on a connected socket, taking it over
 *
 * On failure the descriptor is closed.  Returns 0, -EBUSY (it listens or has a
 * peer already), -ENOTSOCK, -EPROTOTYPE (not a UNIX stream socket), -EBADF,
 * -ENOMEM.
 */
int rmio_dev_serve(struct rmio_dev *dev, int fd);

/**
 * rmio_dev_slave - serve a bare slave descriptor (no vfio-user), taking it over
 *
 * For a VMM that uses masters without sockets.  On failure the descriptor is
 * closed.  Returns what rmio_slave_open returns, and -EBUSY (it listens or has a
 * peer already).
 */
int rmio_dev_slave(struct rmio_dev *dev, int fd);

/**
 * rmio_dev_shadow - the shadow image, for aligned stores of each value's size
 *
 * The same memory for the device's whole life, whoever is attached.
 */
void *rmio_dev_shadow(struct rmio_dev *dev);

/**
 * rmio_dev_shadow_put - store one value into the shadow, never torn
 * @offset: a multiple of @len, inside the image
 * @len: 1, 2, 4 or 8
 *
 * Returns 0 or -EINVAL, and stores nothing then.
 */
int rmio_dev_shadow_put(struct rmio_dev *dev, uint64_t offset, uint64_t value, uint32_t len);

/**
 * rmio_dev_areas - replace the access map while running
 *
 * The VMM goes over to it when it has answered, a moment later; the same holds
 * for the first map and a new peer.  Until then it posts stores to areas that ask
 * for synchronous ones, and the library answers from the shadow the loads that
 * come to the device.  A store that both maps write through to the same place is in the
 * image before the vCPU goes on, as ever.  One that only the new map writes through, or
 * any after a map that was replaced before the VMM had answered, the library writes when
 * it comes to the device: until it has handled what the vCPU stored before, the image may
 * show an older value of that vCPU's, to relaxed loads alone.  Returns 0, or what makes
 * the map wrong as for
 * rmio_slave_shadow_ctrl: -E2BIG, -EINVAL, -EEXIST, -EOVERFLOW, -ERANGE, -ENOMEM;
 * the previous map stays then.
 */
int rmio_dev_areas(struct rmio_dev *dev, const struct rmio_area *areas, uint32_t n);

/* -- interrupts ----------------------------------------------------------- */

/*
 * Send MSI vector @v.  Returns 0; -ENOTCONN when the client has not set it up; -EPERM while bus
 * mastering is off (PCI Local Bus 3.0, 6.2.2): the message is lost, as on a bus.  A client that has
 * no messages (QEMU's multi-process protocol) sees the pin of a device that has one; a device with
 * messages only gets a pin towards such a client, which signals each of its messages.
 */
int rmio_dev_msi(struct rmio_dev *dev, uint32_t v);
/* True when the client has set up MSI, or such a pin; else the device uses its pin. */
bool rmio_dev_msi_enabled(const struct rmio_dev *dev);
/* Level of the pin: signalled on the rising edge, and again after each unmask
 * while it stays raised. */
void rmio_dev_pin(struct rmio_dev *dev, bool raised);

/* -- DMA ------------------------------------------------------------------ */

/**
 * rmio_dev_dma_read - copy guest memory; crossing mappings is fine
 *
 * Returns 0, -EFAULT (part of it is not mapped or not readable: nothing is
 * copied), -ERANGE (beyond dma_mask), -EPERM (bus mastering is off).
 */
int rmio_dev_dma_read(struct rmio_dev *dev, uint64_t iova, void *buf, uint64_t len);

/* The same the other way round; -EFAULT also for what is not writable. */
int rmio_dev_dma_write(struct rmio_dev *dev, uint64_t iova, const void *buf, uint64_t len);

/**
 * rmio_dev_dma_ptr - guest memory itself, within one mapping; NULL if not there
 *
 * Valid until dma() reports it gone.  The guest writes to it at any time.
 */
void *rmio_dev_dma_ptr(struct rmio_dev *dev, uint64_t iova, uint64_t len, bool write);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
