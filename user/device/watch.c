// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Operations of the device loop: polls, eventfds read and signalled, futex
 * waits on bells; what is queued, handed to the kernel.  Between the loop (loop.c) and the
 * kernel's io_uring.
 */
#include "loop.h"
#include "own_io.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define FUTEX2_32BIT		2	/* FUTEX2_SIZE_U32, shared between processes */
#define FUTEX_ANY		0xffffffffu

enum kind { KIND_POLL, KIND_READ, KIND_WRITE, KIND_BELL, KIND_POSTED };

struct rmio_task {
	struct rmio_io io;
	struct rmio_loop *loop;
	struct rmio_task *prev, *next;
	enum kind kind;
	bool wanted;		/* to be queued (again) */
	bool queued;		/* a completion is due */
	bool calling;		/* its handler runs */
	bool orphan;
	uint64_t again;		/* KIND_WRITE: raised since the last was queued */
	int fd;
	uint32_t events;
	uint64_t counter;	/* KIND_READ, KIND_WRITE: the buffer */
	const uint32_t *word;
	uint32_t value;
	struct rmio_src *src;
	void (*ready)(void *arg, uint32_t events);
	void *arg;
};

struct rmio_watch {
	struct rmio_task op;
};

struct rmio_signal {
	struct rmio_task op;		/* the write through the ring, where it has to be one */
	struct rmio_signal *next;	/* due after it */
	uint32_t due;			/* so often */
};

/* -- operations ---------------------------------------------------------------------------- */

static void task_free(struct rmio_task *op)
{
	struct rmio_loop *l = op->loop;

	if (op->prev)
		op->prev->next = op->next;
	else
		l->ops = op->next;
	if (op->next)
		op->next->prev = op->prev;
	if (op->wanted)
		l->unqueued--;
	if (op->fd >= 0 && op->kind != KIND_POLL)
		close(op->fd);
	free(op);
}

/* Hand it to the submission queue, or leave it for rmio_task_queue_all. */
static void task_queue(struct rmio_task *op)
{
	struct rmio_loop *l = op->loop;
	struct io_uring_sqe *sqe = l->enabled ? rmio_loop_get_sqe(l) : NULL;

	if (!sqe) {
		if (!op->wanted)
			l->unqueued++;
		op->wanted = true;
		return;
	}
	if (op->wanted)
		l->unqueued--;
	op->wanted = false;
	switch (op->kind) {
	case KIND_POLL:
		io_uring_prep_poll_add(sqe, op->fd, op->events);
		break;
	case KIND_READ:
	case KIND_POSTED:
		io_uring_prep_read(sqe, op->fd, &op->counter, sizeof(op->counter), 0);
		break;
	case KIND_WRITE:
		op->counter = op->again;
		op->again = 0;
		io_uring_prep_write(sqe, op->fd, &op->counter, sizeof(op->counter), 0);
		break;
	case KIND_BELL:
		io_uring_prep_rw(RMIO_URING_FUTEX_WAIT, sqe, FUTEX2_32BIT, op->word, 0, op->value);
		sqe->addr3 = FUTEX_ANY;
		break;
	}
	io_uring_sqe_set_data(sqe, &op->io);
	op->queued = true;
}

void rmio_task_queue_all(struct rmio_loop *l)
{
	struct rmio_task *op;

	for (op = l->ops; op && l->unqueued; op = op->next)
		if (op->wanted && !op->queued)
			task_queue(op);
	if (l->unqueued)
		rmio_own_io_queue(l);
}

static void task_done(struct rmio_io *io, int res, uint32_t flags)
{
	struct rmio_task *op = (struct rmio_task *)io;
	struct rmio_src *src = op->src;
	struct rmio_loop *l = op->loop;

	op->queued = false;
	if (op->orphan) {
		task_free(op);
		return;
	}
	switch (op->kind) {
	case KIND_POSTED:
		/* Cannot be read any more: nor armed again. */
		if (res < 0 && res != -EINTR && res != -EAGAIN) {
			src->posted = NULL;
			task_free(op);
		}
		/* fallthrough */
	case KIND_BELL:
		/* Woken, or it had changed already: either way, look. */
		rmio_loop_src_hot(l, src);
		return;
	case KIND_WRITE:
		if (op->again)
			task_queue(op);
		return;
	case KIND_READ:
		/* An eventfd that cannot be read any more signals nothing any more. */
		if (res < 0 && res != -EINTR && res != -EAGAIN)
			return;
		if (res < 0)
			break;
		/* fallthrough */
	case KIND_POLL:
		op->calling = true;
		op->ready(op->arg, res < 0 ? POLLERR : (uint32_t)res);
		op->calling = false;
		break;
	}
	if (op->orphan)
		task_free(op);
	else
		task_queue(op);
}

static struct rmio_task *task_new(struct rmio_loop *l, enum kind kind, int fd)
{
	struct rmio_task *op = calloc(1, kind == KIND_WRITE ? sizeof(struct rmio_signal) :
							      sizeof(*op));

	if (!op)
		return NULL;
	op->io.done = task_done;
	op->loop = l;
	op->kind = kind;
	op->fd = fd;
	op->next = l->ops;
	if (l->ops)
		l->ops->prev = op;
	l->ops = op;
	return op;
}

/* The owner goes. */
static void task_drop(struct rmio_task *op)
{
	struct rmio_loop *l = op->loop;
	struct io_uring_sqe *sqe;

	op->orphan = true;
	if (op->calling)
		return;
	if (!op->queued) {
		task_free(op);
		return;
	}
	/*
	 * Without an entry for the cancellation it stays until it completes by
	 * itself or the loop ends: memory, but nothing that is used again.
	 */
	sqe = rmio_loop_get_sqe(l);
	if (!sqe)
		return;
	io_uring_prep_cancel(sqe, &op->io, 0);
	io_uring_sqe_set_data(sqe, NULL);
	/* A poll holds the file open; the peer should see it closed without delay. */
	if (!l->running)
		rmio_loop_flush(l);
}

struct rmio_watch *rmio_watch_poll(struct rmio_loop *l, int fd, uint32_t events,
				   void (*ready)(void *arg, uint32_t events), void *arg)
{
	struct rmio_task *op = task_new(l, KIND_POLL, fd);

	if (!op)
		return NULL;
	op->events = events;
	op->ready = ready;
	op->arg = arg;
	task_queue(op);
	return (struct rmio_watch *)op;
}

struct rmio_watch *rmio_watch_eventfd(struct rmio_loop *l, int fd,
				      void (*ready)(void *arg, uint32_t events), void *arg)
{
	struct rmio_task *op = task_new(l, KIND_READ, fd);

	if (!op)
		return NULL;
	op->ready = ready;
	op->arg = arg;
	task_queue(op);
	return (struct rmio_watch *)op;
}

void rmio_watch_free(struct rmio_watch *w)
{
	if (w)
		task_drop(&w->op);
}

struct rmio_signal *rmio_signal_new(struct rmio_loop *l, int fd)
{
	return (struct rmio_signal *)task_new(l, KIND_WRITE, fd);
}

static void raise_through_ring(struct rmio_signal *s, uint32_t times)
{
	s->op.again += times;
	if (!s->op.queued && !s->op.wanted)
		task_queue(&s->op);
}

void rmio_signal_raise(struct rmio_signal *s)
{
	struct rmio_loop *l = s->op.loop;

	if (!rmio_eventfds_there(&l->eventfds)) {
		raise_through_ring(s, 1);
	} else if (!s->due++) {
		s->next = NULL;
		*l->due_end = s;
		l->due_end = &s->next;
	}
}

/* The first that is due has been raised so often. */
static void take_due(struct rmio_loop *l, uint32_t times)
{
	l->due->due -= times;
	if (l->due->due)
		return;
	l->due = l->due->next;
	if (!l->due)
		l->due_end = &l->due;
}

void rmio_signal_flush(struct rmio_loop *l)
{
	int fds[RMIO_EVENTFDS_MAX];
	struct rmio_signal *s;
	uint32_t n, k, done;

	while (l->due) {
		for (n = 0, s = l->due; s && n < RMIO_EVENTFDS_MAX; s = s->next)
			for (k = 0; k < s->due && n < RMIO_EVENTFDS_MAX; k++)
				fds[n++] = s->op.fd;
		done = rmio_eventfds_signal(&l->eventfds, fds, n);
		if (!done) {
			raise_through_ring(l->due, l->due->due);
			take_due(l, l->due->due);
		}
		for (; done; done--)
			take_due(l, 1);
	}
}

int rmio_loop_flush(struct rmio_loop *l)
{
	rmio_signal_flush(l);
	if (l->unqueued)
		rmio_task_queue_all(l);
	return io_uring_sq_ready(&l->ring) ? rmio_submitted(io_uring_submit(&l->ring)) : 0;
}

void rmio_signal_free(struct rmio_signal *s)
{
	if (!s)
		return;
	if (s->due)
		rmio_signal_flush(s->op.loop);
	task_drop(&s->op);
}

static int queue_once(struct rmio_loop *l, struct rmio_task *op)
{
	if (op->queued)
		return 0;
	task_queue(op);
	if (op->queued)
		return 0;
	/* Nobody sleeps without it, so it is not to be queued later either. */
	op->wanted = false;
	l->unqueued--;
	return -EAGAIN;
}

int rmio_task_bell(struct rmio_loop *l, struct rmio_src *src, const uint32_t *word, uint32_t value)
{
	struct rmio_task *op = src->bell;

	if (!op)
		op = src->bell = task_new(l, KIND_BELL, -1);
	if (!op)
		return -ENOMEM;
	if (op->queued)
		return 0;
	op->src = src;
	op->word = word;
	op->value = value;
	return queue_once(l, op);
}

int rmio_task_posted_new(struct rmio_loop *l, struct rmio_src *src, int fd)
{
	struct rmio_task *op = NULL;

	if (fd >= 0) {
		op = task_new(l, KIND_POSTED, fd);
		if (!op) {
			close(fd);
			return -ENOMEM;
		}
		op->src = src;
	}
	src->posted = op;
	return 0;
}

int rmio_task_posted(struct rmio_loop *l, struct rmio_src *src)
{
	return src->posted ? queue_once(l, src->posted) : 0;
}

void rmio_task_bell_drop(struct rmio_src *src)
{
	if (src->bell)
		task_drop(src->bell);
	src->bell = NULL;
	if (src->posted)
		task_drop(src->posted);
	src->posted = NULL;
}

void rmio_task_free_all(struct rmio_loop *l)
{
	while (l->ops)
		task_free(l->ops);
}
