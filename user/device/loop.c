// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The device loop: one io_uring that waits for lanes, sockets, timers and the
 * device's own I/O together.  Every request of a device passes here.
 *
 * A round serves a bounded batch of each device in use, and while there is
 * traffic every BUSY_ROUNDS-th round also looks at completions and timers, so
 * that no device, lane or socket can starve another.  When nothing is left to
 * do, the loop spins as its policy says, then arms the bells (C1 to C3 of
 * wake.h), looks at the lanes again (C4), and sleeps in io_uring_enter.
 */
#include "loop.h"
#include "loop_ring.h"
#include "opts.h"
#include "own_io.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES		256u
#define ENTRIES_MAX	32768u
#define BUSY_ROUNDS	16u
#define SPIN_ROUNDS	32u	/* rounds between two looks at clock and completions */
#define REAP_MAX	64u	/* completions a round */
#define TIMERS_MAX	64u	/* timers a round */
/*
 * A device is put to sleep alone, while the loop spins for others, when this
 * many rounds brought nothing and more than KEEP_HOT devices are looked at.
 */
#define IDLE_ROUNDS	1024u
#define KEEP_HOT	4u

void rmio_loop_log(struct rmio_loop *l, const char *fmt, ...)
{
	char line[600];
	va_list ap;

	if (!l->opts.log)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	l->opts.log(l->opts.arg, line);
}

/* -- making and unmaking --------------------------------------------------------- */

static void stopped(void *arg, uint32_t events)
{
	struct rmio_loop *l = arg;

	l->stop = true;
}

int rmio_loop_new(const struct rmio_loop_opts *opts, struct rmio_loop **out)
{
	struct rmio_loop *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->cpu = -1;
	err = rmio_opts_copy(&l->opts, sizeof(l->opts), opts, "rmio_loop_opts");
	if (err)
		goto free_loop;
	if (l->opts.reserved) {
		err = rmio_refuse(-EINVAL, "rmio_loop_opts: reserved is not 0");
		goto free_loop;
	}
	if (l->opts.entries > ENTRIES_MAX) {
		err = rmio_refuse(-EINVAL, "rmio_loop_opts: entries is %u: at most %u",
				  l->opts.entries, ENTRIES_MAX);
		goto free_loop;
	}
	err = rmio_spin_init(&l->spin, &l->opts.wait);
	if (err)
		goto free_loop;
	l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->stop_fd < 0) {
		err = -errno;
		goto free_loop;
	}
	err = rmio_loop_ring_init(&l->ring, l->opts.entries ? l->opts.entries : ENTRIES);
	if (err)
		goto close_stop;
	l->futex = rmio_loop_ring_has_futex(&l->ring);
	l->due_end = &l->due;
	rmio_eventfds_init(&l->eventfds);
	l->stop_watch = rmio_watch_eventfd(l, l->stop_fd, stopped, l);
	if (!l->stop_watch) {
		err = -ENOMEM;
		goto exit_ring;
	}
	*out = l;
	return 0;

exit_ring:
	rmio_eventfds_exit(&l->eventfds);
	io_uring_queue_exit(&l->ring);
close_stop:
	close(l->stop_fd);
free_loop:
	free(l);
	return err;
}

void rmio_loop_free(struct rmio_loop *l)
{
	if (!l)
		return;
	rmio_eventfds_exit(&l->eventfds);
	io_uring_queue_exit(&l->ring);
	rmio_own_io_abandon(l);
	rmio_task_free_all(l);		/* the stop descriptor too */
	free(l);
}

void rmio_loop_stop(struct rmio_loop *l)
{
	uint64_t one = 1;
	int saved = errno;

	/* Fails only when it would wrap: then a stop is pending already. */
	if (write(l->stop_fd, &one, sizeof(one)) < 0)
		errno = saved;
}

void rmio_loop_use(struct rmio_loop *l)
{
	l->users++;
	l->deserted = false;
}

void rmio_loop_unuse(struct rmio_loop *l)
{
	l->deserted = !--l->users;
}

/* -- completions --------------------------------------------------------------------------- */

/* Completions, at most REAP_MAX, each handled after it was taken off the ring. */
static uint32_t reap(struct rmio_loop *l)
{
	struct io_uring_cqe *cqe;
	struct rmio_io *io;
	uint32_t n, flags;
	int res;

	for (n = 0; n < REAP_MAX && !io_uring_peek_cqe(&l->ring, &cqe); n++) {
		io = io_uring_cqe_get_data(cqe);
		res = cqe->res;
		flags = cqe->flags;
		io_uring_cqe_seen(&l->ring, cqe);
		if (io)
			io->done(io, res, flags);
	}
	return n;
}

/* -- timers --------------------------------------------------------------------------- */

void rmio_timer_cancel(struct rmio_loop *l, struct rmio_timer *t)
{
	struct rmio_timer **p;

	if (!t->armed)
		return;
	for (p = &l->timers; *p; p = &(*p)->next)
		if (*p == t) {
			*p = t->next;
			break;
		}
	t->armed = false;
	t->next = NULL;
}

void rmio_timer_arm(struct rmio_loop *l, struct rmio_timer *t, uint64_t after_ns)
{
	struct rmio_timer **p;
	uint64_t now = rmio_now_ns();

	rmio_timer_cancel(l, t);
	t->at_ns = after_ns > UINT64_MAX - now ? UINT64_MAX : now + after_ns;
	for (p = &l->timers; *p && (*p)->at_ns <= t->at_ns; p = &(*p)->next)
		;
	t->next = *p;
	*p = t;
	t->armed = true;
}

static uint32_t fire(struct rmio_loop *l, uint64_t now)
{
	uint32_t n;

	for (n = 0; n < TIMERS_MAX && l->timers && l->timers->at_ns <= now; n++) {
		struct rmio_timer *t = l->timers;

		l->timers = t->next;
		t->armed = false;
		t->next = NULL;
		t->fire(t);
	}
	return n;
}

/* -- sources ----------------------------------------------------------------------------- */

int rmio_loop_src_add(struct rmio_loop *l, struct rmio_src *src)
{
	int err = rmio_task_posted_new(l, src, rmio_slave_posted_fd(src->slave));

	if (err)
		return err;
	rmio_slave_bell(src->slave, l->futex ? RMIO_BELL_FUTEX : RMIO_BELL_SOCK_POSTED);
	src->hot = false;
	src->bell = NULL;
	rmio_src_heat(l, src);
	return 0;
}

void rmio_loop_src_del(struct rmio_loop *l, struct rmio_src *src)
{
	rmio_src_cool(l, src);
	rmio_task_bell_drop(src);
}

/* C1 to C4 for one device.  False: it has requests, and stays hot. */
static bool put_to_sleep(struct rmio_loop *l, struct rmio_src *src)
{
	const uint32_t *word;
	uint32_t value;

	rmio_slave_bell_arm(src->slave, &word, &value);
	if (rmio_slave_pending(src->slave))
		goto disarm;
	if ((l->futex && word && rmio_task_bell(l, src, word, value)) || rmio_task_posted(l, src))
		goto disarm;
	rmio_src_cool(l, src);
	return true;

disarm:
	rmio_slave_bell_disarm(src->slave);
	src->idle = 0;
	return false;
}

/* One look at every device in use, one batch for each that has requests. */
static uint32_t serve(struct rmio_loop *l)
{
	struct rmio_src *src;
	uint32_t total = 0;

	for (l->cursor = l->hot; (src = l->cursor) != NULL; ) {
		l->cursor = src->next;
		if (++src->idle > IDLE_ROUNDS && l->nr_hot > KEEP_HOT && put_to_sleep(l, src))
			continue;
		total += src->serve(src);
	}
	return total;
}

/* -- rounds -------------------------------------------------------------------------------- */

static int wait_for_completion(struct rmio_loop *l)
{
	struct io_uring_cqe *cqe;
	struct __kernel_timespec ts;
	uint64_t now, left;

	rmio_signal_flush(l);
	if (l->unqueued)
		rmio_task_queue_all(l);
	if (!l->timers)
		return rmio_submitted(io_uring_submit_and_wait(&l->ring, 1));
	now = rmio_now_ns();
	left = l->timers->at_ns > now ? l->timers->at_ns - now : 0;
	if (!left)
		return rmio_loop_flush(l);
	ts.tv_sec = (long long)(left / 1000000000u);
	ts.tv_nsec = (long long)(left % 1000000000u);
	return rmio_submitted(io_uring_submit_and_wait_timeout(&l->ring, &cqe, 1, &ts, NULL));
}

static bool spins(const struct rmio_loop *l)
{
	return l->spin.opts.policy != RMIO_WAIT_SLEEP;
}

/* Nothing to do at @start: spin as the policy says.  True when there is something again. */
static bool spin(struct rmio_loop *l, uint64_t start)
{
	uint64_t limit = rmio_spin_limit(&l->spin, start), now = start;
	struct io_uring_cqe *cqe;
	uint32_t i;

	while (now - start < limit) {
		for (i = 0; i < SPIN_ROUNDS; i++) {
			if (serve(l))
				goto found;
			rmio_spin_relax(&l->spin);
		}
		now = rmio_now_ns();
		if (!io_uring_peek_cqe(&l->ring, &cqe) || (l->timers && l->timers->at_ns <= now))
			goto found;
		/* Somebody was put to sleep, or gone: let the kernel know, and look again. */
		if (l->unqueued || rmio_loop_queued(l) || !l->hot)
			return true;
	}
	return false;

found:
	now = rmio_now_ns();
	rmio_spin_result(&l->spin, now - start, now - start);
	return true;
}

static int idle(struct rmio_loop *l, uint64_t start)
{
	struct rmio_src *src;
	bool had_lanes = l->hot;
	uint64_t spun = 0;
	int err;

	if (had_lanes && spins(l)) {
		if (spin(l, start))
			return rmio_loop_flush(l);
		spun = rmio_now_ns() - start;
	}
	for (l->cursor = l->hot; (src = l->cursor) != NULL; ) {
		l->cursor = src->next;
		if (!put_to_sleep(l, src))
			return rmio_loop_flush(l);
	}
	err = wait_for_completion(l);
	reap(l);
	if (had_lanes && spins(l))
		rmio_spin_result(&l->spin, spun, rmio_now_ns() - start);
	return err;
}

static int one_round(struct rmio_loop *l)
{
	uint32_t n = serve(l);
	uint64_t now = 0;

	if (n && ++l->busy % BUSY_ROUNDS)
		return rmio_loop_flush(l);
	/* One that always sleeps, and has no timer, does not need the time. */
	if (l->timers || spins(l))
		now = rmio_now_ns();
	n += fire(l, now);
	n += reap(l);
	if (n || l->stop || l->deserted)
		return rmio_loop_flush(l);
	return idle(l, now);
}

/* The thread that does this is the only one that may submit.  liburing 2.3 does not export it. */
static int enable(struct rmio_loop *l)
{
	if (l->enabled)
		return 0;
	if (syscall(SYS_io_uring_register, l->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0))
		return -errno;
	l->ring.flags &= ~IORING_SETUP_R_DISABLED;
	l->enabled = true;
	return 0;
}

/* Nothing that the device submitted outlives the run: its memory may go then. */
static int end_own_io(struct rmio_loop *l)
{
	int err = 0;

	rmio_own_io_end(l);
	while (l->own && !err) {
		if (l->unqueued)
			rmio_task_queue_all(l);
		err = rmio_submitted(io_uring_submit_and_wait(&l->ring, 1));
		reap(l);
	}
	rmio_own_io_again(l);
	return err;
}

int rmio_loop_run(struct rmio_loop *l)
{
	int err = enable(l);

	if (err)
		return err;
	if (sched_getaffinity(0, sizeof(l->allowed), &l->allowed))
		CPU_ZERO(&l->allowed);
	/* Spares a look-up of the descriptor in each system call; it works without. */
	io_uring_register_ring_fd(&l->ring);
	l->running = true;
	/* What was asked for before the ring took submissions: it may spin for long now. */
	err = rmio_loop_flush(l);
	while (!err && !l->stop && !l->deserted)
		err = one_round(l);
	if (l->own && !err)
		err = end_own_io(l);
	l->running = false;
	l->stop = false;
	io_uring_unregister_ring_fd(&l->ring);
	if (l->cpu >= 0) {
		sched_setaffinity(0, sizeof(l->allowed), &l->allowed);
		l->cpu = -1;
	}
	return err;
}
