// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: how its process is woken.  By a poll or a multishot poll through io_uring,
 * for each request, with read() and with mapped lanes; at the end of the device.
 */
#include "kvm_user_lanes.h"

#include <liburing.h>

static struct io_uring ring;

#define POLL_TAG 1
#define STOP_TAG 2

static void arm(unsigned int events, bool multishot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (multishot)
		io_uring_prep_poll_multishot(sqe, w.slave, events);
	else
		io_uring_prep_poll_add(sqe, w.slave, events);
	io_uring_sqe_set_data64(sqe, POLL_TAG);
	T_EQ(io_uring_submit(&ring), 1);
}

static const char *start(struct rig_opts o)
{
	const char *why = rig_start(o);

	if (why)
		return why;
	return io_uring_queue_init(16, &ring, 0) ? "no io_uring" : NULL;
}

#define START(...) RIG_HAVE(start((struct rig_opts){ __VA_ARGS__ }))

static void stop(void)
{
	io_uring_queue_exit(&ring);
	rig_stop();
}

/* What the poll has to say by now: events, -errno, or 0 for nothing. */
static int said(bool *more)
{
	struct io_uring_cqe *cqe;
	int res;

	io_uring_get_events(&ring);
	if (io_uring_peek_cqe(&ring, &cqe))
		return 0;
	T_EQ(io_uring_cqe_get_data64(cqe), POLL_TAG);
	res = cqe->res;
	*more = cqe->flags & IORING_CQE_F_MORE;
	io_uring_cqe_seen(&ring, cqe);
	return res;
}

/* Exactly once, and it goes on. */
static bool woken(int events)
{
	bool more = false, ok;

	ok = T_EQ(said(&more), events) && T_OK(more) && T_EQ(said(&more), 0);
	return ok;
}

static bool quiet(void)
{
	bool more;

	return T_EQ(said(&more), 0);
}

static void store(uint32_t value)
{
	g_begin(0);
	g_store(0, DEVICE + 0x10, 4, value);
	g_end(0);
	T_OK(rig_run(0));
}

/* -- read() ----------------------------------------------------------------------- */

/* For each that comes, whether what came before has been read or not. */
static void each_request(void)
{
	uint32_t i;

	START();
	arm(POLLIN, true);
	T_OK(quiet());
	for (i = 0; i < 20 && !ktap_failed(); i++) {
		store(i);
		T_OK(woken(POLLIN));
		if (i & 1) {
			T_EQ(rig_take().data, i - 1);
			T_EQ(rig_take().data, i);
			/* Neither reading nor replying wakes it. */
			T_EQ(rig_reply(0, i, 0), 0);
			T_EQ(rig_reply(0, i + 1, 0), 0);
			T_OK(quiet());
		}
	}
	stop();
}

/* A load, a synchronous store and an access of the VMM wake it as well. */
static void each_kind(void)
{
	enum rig_wait kind;
	uint64_t data = 0;
	int err;

	for (kind = 0; kind < WAITS && !ktap_failed(); kind++) {
		RIG_HAVE(rig_start_waits(1));
		T_EQ(io_uring_queue_init(16, &ring, 0), 0);
		arm(POLLIN, true);
		g_begin(0);
		g_wait(0, kind);
		g_end(0);
		T_OK(quiet());
		T_REQUIRE(rig_go(0));
		UNTIL(SLEEPS(0));
		T_EQ(said(&(bool){ false }), POLLIN);
		rig_serve();
		rig_join(0);
		while (said(&(bool){ false }))
			;
		/* Its own wait is interrupted by what the poll has to say. */
		do
			err = rig_access(0, DEVICE + 0x40, RMIO_BUS_MEM, 4, false, &data);
		while (err == -EINTR);
		T_EQ(err, 0);
		T_EQ(data, RIG_FILL);
		io_uring_queue_exit(&ring);
		rig_stop();
	}
}

/* Whoever waits for one of the bits alone is woken for it. */
static void each_bit(void)
{
	static const short bits[] = { POLLIN, POLLRDNORM, POLLIN | POLLRDNORM };
	int i;

	for (i = 0; i < KTAP_COUNT(bits) && !ktap_failed(); i++) {
		START();
		arm((unsigned int)bits[i], true);
		T_OK(quiet());
		store(1);
		T_OK(woken(bits[i]));
		T_EQ(rig_take().data, 1);
		store(2);
		T_OK(woken(bits[i]));
		stop();
	}
}

/* One that is there already, and one shot. */
static void one_shot(void)
{
	bool more = true;

	START();
	store(1);
	arm(POLLIN, false);
	T_EQ(said(&more), POLLIN);
	T_OK(!more);
	T_EQ(rig_take().data, 1);
	arm(POLLIN, false);
	T_OK(quiet());
	store(2);
	more = true;
	T_EQ(said(&more), POLLIN);
	T_OK(!more);
	store(3);
	T_OK(quiet());
	stop();
}

/* -- mapped lanes ----------------------------------------------------------------- */

/* Who says that it will sleep is woken once under that number; who does not, never. */
static void each_number(void)
{
	struct lanes l;
	uint32_t i, k;

	START();
	T_REQUIRE(map_lanes(&l));
	arm(POLLIN, true);
	for (i = 1; i < 20 && !ktap_failed(); i++) {
		for (k = 0; k < 3; k++)
			store(i);
		T_OK(quiet());
		while (there(&l))
			complete(&l);
		__atomic_store_n(&l.up->need_wake, i, __ATOMIC_SEQ_CST);
		T_OK(!there(&l));
		store(i);
		T_OK(woken(POLLIN));
		store(i);
		T_OK(quiet());
		while (there(&l))
			complete(&l);
		__atomic_store_n(&l.up->need_wake, 0, __ATOMIC_SEQ_CST);
	}
	unmap_lanes(&l);
	stop();
}

/* -- devices that live by it ------------------------------------------------------- */

/* False: the device has ended.  A full queue ends a multishot, which is then armed again. */
static bool wait_woken(void)
{
	struct io_uring_cqe *cqe;
	bool alive = T_EQ(io_uring_wait_cqe(&ring, &cqe), 0), more = true;

	while (alive && !io_uring_peek_cqe(&ring, &cqe)) {
		alive = T_GT(cqe->res, 0) && !(cqe->res & POLLHUP);
		more = cqe->flags & IORING_CQE_F_MORE;
		io_uring_cqe_seen(&ring, cqe);
	}
	if (!alive)
		ioctl(w.slave, KVM_DEV_USER_CLOSE, 0);
	else if (!more)
		arm(POLLIN, true);
	return alive;
}

static void *reading_loop(void *arg)
{
	struct rmio_request r;
	struct rmio_reply a;

	(void)arg;
	T_EQ(io_uring_queue_init(16, &ring, 0), 0);
	T_EQ(fcntl(w.slave, F_SETFL, O_NONBLOCK), 0);
	arm(POLLIN, true);
	do {
		while (read(w.slave, &r, sizeof(r)) == sizeof(r)) {
			atomic_fetch_add(&w.n, 1);
			a = rig_answer(&r);
			T_EQ(write(w.slave, &a, sizeof(a)), sizeof(a));
		}
	} while (wait_woken());
	return NULL;
}

static void *lane_loop(void *arg)
{
	struct lanes *l = arg;

	T_EQ(io_uring_queue_init(16, &ring, 0), 0);
	arm(POLLIN, true);
	for (;;) {
		while (there(l)) {
			complete(l);
			tell(l);
		}
		__atomic_store_n(&l->up->need_wake, ++l->number, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!there(l) && !wait_woken())
			return NULL;
		__atomic_store_n(&l->up->need_wake, 0, __ATOMIC_RELAXED);
	}
}

/* Store, load it, and again: a wake-up that is lost is a guest that hangs. */
static void loop_code(unsigned int i, uint64_t rounds)
{
	size_t top;

	g_begin(i);
	G(i, 0x31, 0xf6);			/* xor %esi,%esi */
	g_rbx(i, DEVICE + 0x100 + 8 * i);
	top = g_loop(i, rounds);
	G(i, 0xff, 0xc6, 0x89, 0x33, 0x8b, 0x03);	/* inc %esi; mov %esi,(%rbx); load it */
	g_again(i, top);
	g_result(i);
	g_end(i);
}

static void reading_device(void)
{
	uint64_t rounds = (uint64_t)ktap_pick(300, 1000, 20000);
	unsigned int i;

	RIG_START(.vcpus = 4, .rings = { .slots = 2 });
	T_EQ(rig_timeout(~0ull), 0);
	T_EQ(pthread_create(&w.device, NULL, reading_loop, NULL), 0);
	w.has_device = true;
	for (i = 0; i < 4; i++) {
		loop_code(i, rounds);
		T_REQUIRE(rig_go(i));
	}
	for (i = 0; i < 4; i++) {
		rig_join(i);
		T_EQ(w.vcpu[i].result[0], rounds);
		T_EQ(w.vcpu[i].exits, 0);
	}
	T_EQ(atomic_load(&w.n), 4 * 2 * rounds);
	/* It ends when the master is closed. */
	rig_close_master();
	pthread_join(w.device, NULL);
	w.has_device = false;
	stop();
}

static void lane_device(void)
{
	uint64_t rounds = (uint64_t)ktap_pick(500, 2000, 40000);
	struct lanes l;

	RIG_START(.rings = { .slots = 2 });
	T_EQ(rig_timeout(~0ull), 0);
	T_REQUIRE(map_lanes(&l));
	T_EQ(pthread_create(&l.thread, NULL, lane_loop, &l), 0);
	loop_code(0, rounds);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], rounds);
	T_EQ(w.vcpu[0].exits, 0);
	T_EQ(l.done, 2 * rounds);
	stop_device(&l);
	unmap_lanes(&l);
	stop();
}

/* -- its end ---------------------------------------------------------------------- */

enum end { MASTER_CLOSED, MASTER_CALLS, SLAVE_CALLS, TIMED_OUT, ENDS };

static void end_by(enum end how)
{
	switch (how) {
	case MASTER_CLOSED:
		rig_close_master();
		break;
	case MASTER_CALLS:
		T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 0), 0);
		break;
	case SLAVE_CALLS:
		T_EQ(CALL(w.slave, KVM_DEV_USER_CLOSE, 0), 0);
		break;
	default:
		T_EQ(rig_timeout(10000000), 0);
		g_begin(0);
		g_load(0, DEVICE, 4);
		g_end(0);
		T_OK(rig_run(0));
		break;
	}
}

/* Told once, whatever it waited for; the poll stays until it is taken back. */
static void ended(void)
{
	static const short bits[] = { POLLIN, POLLRDNORM, POLLRDHUP, 0 };
	enum end how;
	int i;

	for (how = 0; how < ENDS && !ktap_failed(); how++) {
		for (i = 0; i < KTAP_COUNT(bits) && !ktap_failed(); i++) {
			struct io_uring_sqe *sqe;
			struct io_uring_cqe *cqe;
			bool more = false;
			int events;

			START();
			arm((unsigned int)bits[i], true);
			T_OK(quiet());
			end_by(how);
			/* Of the load that ran out of time it has said so before. */
			do
				events = said(&more);
			while (events && !(events & POLLHUP));
			T_EQ(events & (POLLHUP | POLLRDHUP), POLLHUP | POLLRDHUP);
			T_OK(more);
			T_OK(quiet());
			sqe = io_uring_get_sqe(&ring);
			io_uring_prep_poll_remove(sqe, POLL_TAG);
			io_uring_sqe_set_data64(sqe, STOP_TAG);
			T_EQ(io_uring_submit_and_wait(&ring, 2), 1);
			for (events = 0; events < 2; events++) {
				T_REQUIRE(T_EQ(io_uring_wait_cqe(&ring, &cqe), 0));
				if (io_uring_cqe_get_data64(cqe) == POLL_TAG) {
					T_EQ(cqe->res, -ECANCELED);
					T_OK(!(cqe->flags & IORING_CQE_F_MORE));
				} else {
					T_EQ(cqe->res, 0);
				}
				io_uring_cqe_seen(&ring, cqe);
			}
			if (ktap_failed())
				ktap_diag("end %d, events %x", how, bits[i]);
			stop();
		}
	}
}

/* A poll keeps the descriptor: the device lives until the ring has gone, too. */
static void poll_outlives(void)
{
	START();
	arm(POLLIN, true);
	T_OK(quiet());
	rig_close_slave();
	T_EQ(rig_state(), RMIO_KVM_NEW);
	store(1);
	T_OK(woken(POLLIN));
	io_uring_queue_exit(&ring);
	UNTIL(rig_state() == RMIO_KVM_CLOSED);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "woken for each request", each_request },
	{ "woken for each kind of request", each_kind },
	{ "woken for each bit", each_bit },
	{ "one shot", one_shot },
	{ "woken under each number, lanes mapped", each_number },
	{ "a device that reads", reading_device, 300 },
	{ "a device that maps its lanes", lane_device, 300 },
	{ "the end of the device", ended },
	{ "a poll outlives the descriptor", poll_outlives },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
