/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Inside the device loop: what loop.c, watch.c, sources.c and the device share.  Each calls
 * those after it, none of them a device but by its functions.  All of it belongs to the loop's
 * thread.
 */
#ifndef RMIO_DEVICE_LOOP_H
#define RMIO_DEVICE_LOOP_H

#include "wire/eventfds.h"
#include "slave.h"
#include "wake.h"

#include <errno.h>
#include <liburing.h>
#include <rmio/device.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/* IORING_OP_FUTEX_WAIT, Linux 6.7: liburing 2.3 and older headers do not know it. */
#define RMIO_URING_FUTEX_WAIT	51

struct rmio_task;
struct rmio_own_io;

/* What the user data of the loop's own operations points to, at their start. */
struct rmio_io {
	void (*done)(struct rmio_io *io, int res, uint32_t cqe_flags);
};

/*
 * The lanes of one attached device.  "Hot": its bell is disarmed and the loop
 * looks at its lanes every round.  Not hot: its bell is armed, and a completion
 * or a message makes it hot.  So a round costs as many looks as there are
 * devices in use, however many there are.
 */
struct rmio_src {
	struct rmio_slave *slave;
	/* Serve a bounded batch; returns how many requests.  May remove the source. */
	uint32_t (*serve)(struct rmio_src *src);
	/* The loop's: */
	struct rmio_src *prev, *next;
	struct rmio_task *bell;		/* its futex wait, once there was one */
	struct rmio_task *posted;	/* its read of the eventfd of posted stores, or NULL */
	uint32_t idle;			/* rounds without a request */
	bool hot;
};

struct rmio_loop {
	struct io_uring ring;
	struct rmio_loop_opts opts;
	struct rmio_spin spin;
	bool futex;			/* the kernel's io_uring has futex waits */
	bool enabled;			/* the ring takes submissions */
	bool running;
	bool stop;
	bool deserted;			/* users has fallen to 0 */
	int stop_fd;
	struct rmio_watch *stop_watch;
	struct rmio_timer *timers;	/* sorted by at_ns */
	struct rmio_src *hot;		/* list */
	struct rmio_src *cursor;	/* next of the hot list in a round under way */
	uint32_t nr_hot;
	uint32_t busy;			/* rounds that found requests */
	struct rmio_own_io *own;	/* the device's own operations that are pending */
	bool ending;			/* takes no more of them */
	struct rmio_task *ops;		/* all there are */
	uint32_t unqueued;		/* of both, wait for a submission entry */
	struct rmio_eventfds eventfds;
	struct rmio_signal *due, **due_end;	/* raised since the last flush */
	uint32_t users;			/* devices that listen or have a peer */
	int cpu;			/* where the loop has moved to, -1 */
	cpu_set_t allowed;		/* where its thread might run at the start */
	uint64_t moved_at;
};

/* -- loop.c ------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3)))
void rmio_loop_log(struct rmio_loop *l, const char *fmt, ...);

/* 0 or -ENOMEM. */
int rmio_loop_src_add(struct rmio_loop *l, struct rmio_src *src);
void rmio_loop_src_del(struct rmio_loop *l, struct rmio_src *src);

/*
 * A device began or ended to keep the loop running: when the last has ended,
 * rmio_loop_run returns.
 */
void rmio_loop_use(struct rmio_loop *l);
void rmio_loop_unuse(struct rmio_loop *l);

/* -- sources.c: what each round looks at ----------------------------------------- */

/* Onto the hot list and off it. */
void rmio_src_heat(struct rmio_loop *l, struct rmio_src *src);
void rmio_src_cool(struct rmio_loop *l, struct rmio_src *src);
/* To be called by serve() when it has taken requests, before it handles them. */
void rmio_loop_src_served(struct rmio_loop *l, struct rmio_src *src);
/* A bell came by message. */
void rmio_loop_src_hot(struct rmio_loop *l, struct rmio_src *src);

/* -- watch.c: submission --------------------------------------------------------- */

/* Hand what is queued to the kernel; 0 or what io_uring_enter failed with. */
int rmio_loop_flush(struct rmio_loop *l);

/* What was raised: done before this returns, but for what goes through the ring. */
void rmio_signal_flush(struct rmio_loop *l);

static inline bool rmio_loop_queued(const struct rmio_loop *l)
{
	return l->due || io_uring_sq_ready(&l->ring);
}

/* What has been signalled is in its eventfds when this returns, as far as that does not wait. */
static inline void rmio_loop_signal(struct rmio_loop *l)
{
	if (l->due)
		rmio_signal_flush(l);
	else if (!rmio_eventfds_there(&l->eventfds) && io_uring_sq_ready(&l->ring))
		rmio_loop_flush(l);
}

/* What io_uring_enter returned: 0 or a failure for good. */
static inline int rmio_submitted(int n)
{
	return n >= 0 || n == -EINTR || n == -EAGAIN || n == -EBUSY || n == -ETIME ? 0 : n;
}

/* A submission entry, after making room if there is none; before the first run NULL then. */
static inline struct io_uring_sqe *rmio_loop_get_sqe(struct rmio_loop *l)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

	if (sqe || !l->enabled || io_uring_submit(&l->ring) < 0)
		return sqe;
	return io_uring_get_sqe(&l->ring);
}

/* -- watch.c: operations that outlive their owners ------------------------------ */

/*
 * Each operation is memory of its own, freed when its last completion has come,
 * so that a device or connection may go at any time: the owner's _free makes it
 * an orphan and asks the kernel to cancel it.
 */
struct rmio_watch;
struct rmio_signal;

/*
 * Call @ready while @fd has one of @events (level-triggered: one-shot polls,
 * each armed after the handler returned, so a handler may leave data for the
 * next round).  The descriptor stays the caller's.  NULL: no memory.
 */
struct rmio_watch *rmio_watch_poll(struct rmio_loop *l, int fd, uint32_t events,
				   void (*ready)(void *arg, uint32_t events), void *arg);
/*
 * Call @ready each time the eventfd @fd was signalled, and reset it.  Takes the
 * descriptor over unless it returns NULL.  Reads through the ring: a peer that
 * shares the description can make no read block the loop.
 */
struct rmio_watch *rmio_watch_eventfd(struct rmio_loop *l, int fd,
				      void (*ready)(void *arg, uint32_t events), void *arg);
void rmio_watch_free(struct rmio_watch *w);

/*
 * Signal an eventfd of a peer at the next flush, each raise one more in its counter.
 * Not by write(2), which could block: see wire/eventfds.h.  Where there is no aio, and for
 * what it does not take, by a write through the ring: at most one is under way, and the next
 * adds what was raised in the meantime.  Takes the descriptor over unless it returns NULL; its
 * flags are the peer's too, and stay as they are.
 */
struct rmio_signal *rmio_signal_new(struct rmio_loop *l, int fd);
void rmio_signal_raise(struct rmio_signal *s);
void rmio_signal_free(struct rmio_signal *s);

/*
 * Wait for *word to change from @value; the completion makes @src hot.  A wait that is
 * still under way from an earlier time serves as well: the wake-up that belongs to the
 * number just published finds it.  0, -ENOMEM, -EAGAIN: no submission entry.
 */
int rmio_task_bell(struct rmio_loop *l, struct rmio_src *src, const uint32_t *word, uint32_t value);
/* The same for the next signal of the eventfd that src->posted reads. */
int rmio_task_posted(struct rmio_loop *l, struct rmio_src *src);
/* @fd: taken over; -1: there is none.  0, -ENOMEM. */
int rmio_task_posted_new(struct rmio_loop *l, struct rmio_src *src, int fd);
void rmio_task_bell_drop(struct rmio_src *src);

/* Queue what had to wait for a submission entry. */
void rmio_task_queue_all(struct rmio_loop *l);
/* The ring is gone. */
void rmio_task_free_all(struct rmio_loop *l);

#endif
