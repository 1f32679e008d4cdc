// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The device's own I/O: disk and network of the author's, on the io_uring that the loop waits
 * with.  Beside the data path, under the loop's operations (watch.c).
 *
 * The author prepares an entry outside of the ring and the loop copies it, so that its user data
 * is the loop's, by which completions are told apart.
 */
#include "own_io.h"
#include "refuse.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { IDLE, WAITING, UNDER_WAY };

/* The loop's part of a struct rmio_loop_io; zeroed by the author it is idle. */
struct rmio_own_io {
	struct rmio_io io;		/* what the user data points to */
	struct rmio_loop *loop;
	struct rmio_own_io *prev, *next;
	uint32_t state;
	bool cancel;			/* a cancellation is to be queued */
	bool cancelled;			/* asked for once */
	struct io_uring_sqe sqe;
};

_Static_assert(sizeof(struct rmio_own_io) <= sizeof(((struct rmio_loop_io *)NULL)->loops),
	       "it fits");

static struct rmio_own_io *own_of(struct rmio_loop_io *io)
{
	return (struct rmio_own_io *)io->loops;
}

static struct rmio_loop_io *authors(struct rmio_own_io *o)
{
	return (struct rmio_loop_io *)((char *)o - offsetof(struct rmio_loop_io, loops));
}

/* -- submission ------------------------------------------------------------------------- */

/* What would take the loop itself down, or its bookkeeping. */
static const char *bad_entry(const struct io_uring_sqe *sqe)
{
	if (sqe->flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK))
		return "entries of the loop's may come between two that are linked: submit the "
		       "second one in done() of the first";
	if (sqe->flags & IOSQE_IO_DRAIN)
		return "IOSQE_IO_DRAIN waits for the loop's own operations, which never end";
	if (sqe->flags & IOSQE_CQE_SKIP_SUCCESS)
		return "without a completion nobody knows when the operation is over";
	switch (sqe->opcode) {
	case IORING_OP_ASYNC_CANCEL:
	case IORING_OP_POLL_REMOVE:
	case IORING_OP_TIMEOUT_REMOVE:
		return "operations are cancelled by rmio_loop_cancel";
	case IORING_OP_LINK_TIMEOUT:
		return "a linked timeout needs a link: use a timer and rmio_loop_cancel";
	default:
		return NULL;
	}
}

/* Hand it, or its cancellation, to the submission queue, if there is an entry. */
static void queue(struct rmio_loop *l, struct rmio_own_io *o)
{
	struct io_uring_sqe *sqe = rmio_loop_get_sqe(l);

	if (!sqe)
		return;
	if (o->state == WAITING) {
		*sqe = o->sqe;
		o->state = UNDER_WAY;
	} else {
		io_uring_prep_cancel(sqe, &o->io, 0);
		io_uring_sqe_set_data(sqe, NULL);
		o->cancel = false;
	}
	l->unqueued--;
}

void rmio_own_io_queue(struct rmio_loop *l)
{
	struct rmio_own_io *o;

	if (!l->running)
		return;
	for (o = l->own; o && l->unqueued; o = o->next)
		if (o->state == WAITING || o->cancel)
			queue(l, o);
}

static void over(struct rmio_own_io *o, int res, uint32_t flags)
{
	struct rmio_loop_io *io = authors(o);
	struct rmio_loop *l = o->loop;

	if (o->prev)
		o->prev->next = o->next;
	else
		l->own = o->next;
	if (o->next)
		o->next->prev = o->prev;
	if (o->state == WAITING || o->cancel)
		l->unqueued--;
	o->state = IDLE;
	o->cancel = false;
	io->done(io, res, flags);	/* may submit it again, or free it */
}

static void completed(struct rmio_io *io, int res, uint32_t flags)
{
	struct rmio_own_io *o = (struct rmio_own_io *)io;

	if (flags & IORING_CQE_F_MORE)
		authors(o)->done(authors(o), res, flags);
	else
		over(o, o->cancelled && o->sqe.opcode == IORING_OP_NOP ? -ECANCELED : res, flags);
}

int rmio_loop_submit(struct rmio_loop *l, struct rmio_loop_io *io, const struct io_uring_sqe *sqe)
{
	const char *bad = bad_entry(sqe);
	struct rmio_own_io *o = own_of(io);

	if (bad)
		return rmio_refuse(-EINVAL, "rmio_loop_submit: %s", bad);
	if (!io->done)
		return rmio_refuse(-EINVAL, "rmio_loop_submit: done is NULL");
	if (o->state)
		return rmio_refuse(-EBUSY, "rmio_loop_submit: this struct rmio_loop_io has an "
				   "operation pending, or was not zeroed");
	if (l->ending)
		return rmio_refuse(-ECANCELED, "rmio_loop_submit: the loop is ending");
	*o = (struct rmio_own_io){
		.io.done = completed, .loop = l, .state = WAITING, .sqe = *sqe, .next = l->own,
	};
	io_uring_sqe_set_data(&o->sqe, &o->io);
	if (l->own)
		l->own->prev = o;
	l->own = o;
	l->unqueued++;
	if (l->running)
		queue(l, o);
	return 0;
}

void rmio_loop_cancel(struct rmio_loop *l, struct rmio_loop_io *io)
{
	struct rmio_own_io *o = own_of(io);

	if (!o->state || o->cancelled)
		return;
	o->cancelled = true;
	if (o->state == WAITING) {
		/* done() comes from the loop, never from within this call. */
		io_uring_prep_nop(&o->sqe);
		io_uring_sqe_set_data(&o->sqe, &o->io);
		return;
	}
	o->cancel = true;
	l->unqueued++;
	if (l->running)
		queue(l, o);
}

/* -- the end ---------------------------------------------------------------------------- */

void rmio_own_io_end(struct rmio_loop *l)
{
	struct rmio_own_io *o;

	l->ending = true;
	for (o = l->own; o; )
		if (o->state == WAITING) {
			over(o, -ECANCELED, 0);
			o = l->own;
		} else {
			o = o->next;
		}
	for (o = l->own; o; o = o->next)
		rmio_loop_cancel(l, authors(o));
}

void rmio_own_io_again(struct rmio_loop *l)
{
	l->ending = false;
}

void rmio_own_io_abandon(struct rmio_loop *l)
{
	l->ending = true;
	while (l->own)
		over(l->own, -ECANCELED, 0);
}

/* -- resources that operations name by number ------------------------------------------- */

int rmio_loop_register(struct rmio_loop *l, unsigned int opcode, const void *arg, unsigned int nr)
{
	switch (opcode) {
	case IORING_REGISTER_BUFFERS:
	case IORING_UNREGISTER_BUFFERS:
	case IORING_REGISTER_FILES:
	case IORING_UNREGISTER_FILES:
	case IORING_REGISTER_FILES_UPDATE:
	case IORING_REGISTER_PERSONALITY:
	case IORING_UNREGISTER_PERSONALITY:
	case IORING_REGISTER_FILES2:
	case IORING_REGISTER_FILES_UPDATE2:
	case IORING_REGISTER_BUFFERS2:
	case IORING_REGISTER_BUFFERS_UPDATE:
	case IORING_REGISTER_IOWQ_AFF:
	case IORING_UNREGISTER_IOWQ_AFF:
	case IORING_REGISTER_IOWQ_MAX_WORKERS:
	case IORING_REGISTER_PBUF_RING:
	case IORING_UNREGISTER_PBUF_RING:
	case IORING_REGISTER_FILE_ALLOC_RANGE:
		break;
	default:
		return rmio_refuse(-EINVAL, "rmio_loop_register: operation %u is not one of buffers, "
				   "files, credentials or workers", opcode);
	}
	nr = (unsigned int)syscall(SYS_io_uring_register, l->ring.ring_fd, opcode, arg, nr);
	return (int)nr < 0 ? -errno : (int)nr;
}
