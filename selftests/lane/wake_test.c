// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The steps of user/wake.h one at a time: who is rung for, who is woken, and what ends a sleep.
 * On the data path: both sides in one process, so that each interleaving can be written down.
 */
#include "ktap.h"

#include <liburing.h>
#include <linux/futex.h>
#include <pthread.h>

#include "wire/chan.h"
#include "ring.h"
#include "wake.h"

#define OP_FUTEX_WAIT	51	/* Linux 6.7, liburing 2.5 */
#define WORD_U32	2	/* FUTEX2_SIZE_U32, shared */

#define SLOTS		4
#define RING_WAKES	16	/* user/wake.c */

struct pair {
	struct rmio_down_hdr *down;
	struct rmio_up_hdr *up;
	struct rmio_bell_out out;
	struct rmio_bell_in in;
	struct rmio_prod prod;
	struct rmio_cons cons;
	int chan[2];
};

static void *pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool pair_init(struct pair *p, uint64_t at)
{
	char *down = pages(RMIO_PAGE + rmio_lane_stride(SLOTS)), *up = pages(2 * RMIO_PAGE);

	if (!T_OK(down && up) || !T_EQ(rmio_chan_pair(p->chan), 0))
		return false;
	p->down = (void *)down;
	p->up = (void *)up;
	((struct rmio_up_lane *)(up + RMIO_PAGE))->done = at;
	((struct rmio_up_lane *)(up + RMIO_PAGE))->taken = at;
	((struct rmio_down_lane *)(down + RMIO_PAGE))->tail = at;
	p->out = (struct rmio_bell_out){ .down = p->down, .up = p->up, .chan = p->chan[0],
		.knock = rmio_chan_knock };
	p->in = (struct rmio_bell_in){ .down = p->down, .up = p->up };
	return T_EQ(rmio_prod_init(&p->prod, down + RMIO_PAGE, up + RMIO_PAGE, SLOTS, at), 0) &&
	       T_EQ(rmio_cons_init(&p->cons, down + RMIO_PAGE, up + RMIO_PAGE, SLOTS), 0);
}

static void serve(struct pair *p, uint32_t n)
{
	struct rmio_request r = { .op = RMIO_OP_STORE, .len = 4 };

	for (uint32_t i = 0; i < n; i++) {
		T_EQ(rmio_prod_push(&p->prod, &r), 0);
		T_EQ(rmio_cons_pop(&p->cons, &r, 1), 1);
		rmio_cons_complete(&p->cons, 1);
		T_EQ(rmio_prod_update(&p->prod), 0);
	}
}

/* ---- VMM to device ---- */

static void rung_once_a_sleep(void)
{
	struct pair p;

	T_REQUIRE(pair_init(&p, 0));
	T_OK(!rmio_bell_ring(&p.out));
	T_EQ(p.down->bell, 0);
	for (uint32_t i = 0; i < 3; i++) {
		T_EQ(rmio_bell_arm(&p.in), i);
		T_NE(p.up->need_wake, 0);
		T_OK(rmio_bell_ring(&p.out));
		T_EQ(p.down->bell, i + 1);
		T_OK(!rmio_bell_ring(&p.out));
		rmio_bell_disarm(&p.in);
		T_OK(!rmio_bell_ring(&p.out));
		T_EQ(p.down->bell, i + 1);
	}
	p.in.number = UINT32_MAX;
	rmio_bell_arm(&p.in);
	T_NE(p.up->need_wake, 0);
	T_OK(rmio_bell_ring(&p.out));
}

/* The VMM remembers the last number it rang for; a new device process does not know it. */
static void successor_is_rung_for(void)
{
	struct pair p;

	T_REQUIRE(pair_init(&p, 0));
	rmio_bell_arm(&p.in);
	T_OK(rmio_bell_ring(&p.out));
	for (int sleeps = 1; sleeps < 4; sleeps++) {
		struct rmio_bell_in successor = { .down = p.down, .up = p.up };

		/* something else ends all its sleeps but the last */
		for (int i = 0; i < sleeps; i++)
			rmio_bell_arm(&successor);
		T_OK(rmio_bell_ring(&p.out));
	}
}

static uint32_t bells(struct pair *p)
{
	int fds[RMIO_CHAN_FDS];
	struct rmio_chan_hdr h;
	uint32_t n = 0;
	size_t nfds;

	while (rmio_chan_recv(p->chan[1], &h, NULL, 0, fds, &nfds) == 0)
		n += h.type == RMIO_CHAN_BELL && !h.answer;
	return n;
}

static void socket_bell(void)
{
	static const uint32_t kinds[] = { RMIO_BELL_SOCK, RMIO_BELL_SOCK_POSTED, 3, UINT32_MAX };
	struct pair p;
	uint32_t n;

	T_REQUIRE(pair_init(&p, 0));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		rmio_bell_kind(&p.in, kinds[i]);
		rmio_bell_arm(&p.in);
		T_OK(rmio_bell_ring(&p.out));
		T_EQ(bells(&p), 1);
		T_EQ(p.down->bell, 0);
	}
	/* a device that never looks fills its socket and stops nobody */
	for (n = 0; n < 100000; n++) {
		rmio_bell_arm(&p.in);
		rmio_bell_ring(&p.out);
	}
	n = bells(&p);
	T_GT(n, 0);
	T_LT(n, 100000);
	/* and is rung for again when it does */
	rmio_bell_arm(&p.in);
	T_OK(rmio_bell_ring(&p.out));
	T_EQ(bells(&p), 1);

	close(p.chan[1]);
	rmio_bell_arm(&p.in);
	rmio_bell_ring(&p.out);
	p.out.chan = -1;
	rmio_bell_arm(&p.in);
	rmio_bell_ring(&p.out);
}

/* Arms @n waits on a word. False: skipped or failed. */
static bool arm_waits(const uint32_t *word, struct io_uring *ring, unsigned int n)
{
	struct io_uring_probe *probe = io_uring_get_probe();
	bool there = probe && io_uring_opcode_supported(probe, OP_FUTEX_WAIT);
	uint64_t mask = FUTEX_BITSET_MATCH_ANY;

	io_uring_free_probe(probe);
	if (!there)
		ktap_mark_skipped("no futex waits in io_uring", "Linux 6.7");
	if (!there || !T_EQ(io_uring_queue_init(256, ring, 0), 0))
		return false;
	for (unsigned int i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

		if (!T_OK(sqe))
			return false;
		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = OP_FUTEX_WAIT;
		sqe->fd = WORD_U32;
		sqe->addr = (uintptr_t)word;
		sqe->off = *word;
		memcpy((char *)sqe + 48, &mask, sizeof(mask));
		sqe->user_data = i;
	}
	return T_EQ(io_uring_submit(ring), n);
}

/* Completions so far. A wake posts them before it returns, as task work of this thread. */
static unsigned int reap(struct io_uring *ring, unsigned int *last)
{
	struct io_uring_cqe *cqe;
	unsigned int n = 0;

	for (; !io_uring_peek_cqe(ring, &cqe); n++) {
		T_EQ(cqe->res, 0);
		*last = cqe->user_data;
		io_uring_cqe_seen(ring, cqe);
	}
	return n;
}

static void ring_wakes_a_bounded_number(void)
{
	struct io_uring ring;
	unsigned int last = 0;
	struct pair p;

	T_REQUIRE(pair_init(&p, 0));
	if (!arm_waits(&p.down->bell, &ring, 200))
		return;
	rmio_bell_arm(&p.in);
	T_OK(rmio_bell_ring(&p.out));
	T_EQ(reap(&ring, &last), RING_WAKES);
	rmio_bell_force(&p.out);
	T_EQ(reap(&ring, &last), 200 - RING_WAKES);
}

/* Waits of a dead predecessor are queued first; the ring must reach the device behind them. */
static void ring_reaches_past_a_predecessor(void)
{
	struct io_uring ring;
	unsigned int last = 0;
	struct pair p;

	T_REQUIRE(pair_init(&p, 0));
	if (!arm_waits(&p.down->bell, &ring, RING_WAKES))
		return;
	rmio_bell_arm(&p.in);
	T_OK(rmio_bell_ring(&p.out));
	T_EQ(reap(&ring, &last), RING_WAKES);
	T_EQ(last, RING_WAKES - 1);
}

/* ---- device to VMM ---- */

static void woken_when_done_reaches(void)
{
	/* free-running indices wrap: before, across and after the end */
	static const uint64_t starts[] = { 0, 1000, INT64_MAX - 1, UINT64_MAX - 1, UINT64_MAX };

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		struct rmio_answer answer = { 0 };
		struct rmio_sleeper sleeper = { 0 };
		struct pair p;

		T_REQUIRE(pair_init(&p, starts[i]));
		serve(&p, 1);
		T_OK(!rmio_lane_wake(&p.cons, &answer));
		rmio_sleeper_arm(&sleeper, &p.prod, starts[i] + 3);
		T_OK(!rmio_lane_wake(&p.cons, &answer));
		serve(&p, 1);
		T_OK(!rmio_lane_wake(&p.cons, &answer));
		serve(&p, 1);
		T_OK(rmio_lane_wake(&p.cons, &answer));
		T_EQ(p.prod.up->wake_seq, 1);
		/* once a sleep */
		serve(&p, 1);
		T_OK(!rmio_lane_wake(&p.cons, &answer));
		rmio_sleeper_disarm(&sleeper, &p.prod);
		rmio_sleeper_arm(&sleeper, &p.prod, starts[i] + 2);
		T_OK(rmio_lane_wake(&p.cons, &answer));
		T_EQ(p.prod.up->wake_seq, 2);
		rmio_sleeper_disarm(&sleeper, &p.prod);
		T_OK(!rmio_lane_wake(&p.cons, &answer));
	}
}

/* The device remembers the last number it woke for; a vCPU added later does not know it. */
/* The VMM's word, in memory that it has made: it may have armed any number of waits there. */
static void answer_wakes_a_bounded_number(void)
{
	struct rmio_answer answer = { 0 };
	struct rmio_sleeper sleeper = { 0 };
	struct io_uring ring;
	unsigned int last = 0;
	struct pair p;

	T_REQUIRE(pair_init(&p, 0));
	if (!arm_waits(&p.prod.up->wake_seq, &ring, 200))
		return;
	rmio_sleeper_arm(&sleeper, &p.prod, 1);
	serve(&p, 1);
	T_OK(rmio_lane_wake(&p.cons, &answer));
	T_EQ(reap(&ring, &last), RING_WAKES);
}

static void new_vcpu_is_woken(void)
{
	struct rmio_answer answer = { 0 };
	struct rmio_sleeper first = { 0 };
	struct pair p;

	T_REQUIRE(pair_init(&p, 0));
	rmio_sleeper_arm(&first, &p.prod, 0);
	T_OK(rmio_lane_wake(&p.cons, &answer));
	for (int sleeps = 1; sleeps < 4; sleeps++) {
		struct rmio_sleeper next = { 0 };

		for (int i = 0; i < sleeps; i++)
			rmio_sleeper_arm(&next, &p.prod, 0);
		T_OK(rmio_lane_wake(&p.cons, &answer));
	}
}

static void on_signal(int sig)
{
}

static void *send_signals(void *arg)
{
	pthread_t to = *(pthread_t *)arg;

	/* until cancelled, in usleep() */
	for (;;) {
		usleep(1000);
		pthread_kill(to, SIGUSR1);
	}
	return NULL;
}

static void what_ends_a_sleep(void)
{
	struct rmio_answer answer = { 0 };
	struct rmio_sleeper s = { 0 };
	struct sigaction sa = { .sa_handler = on_signal };
	uint32_t event = 5;
	pthread_t self = pthread_self(), thread;
	struct pair p;

	T_REQUIRE(pair_init(&p, 0));
	rmio_sleeper_arm(&s, &p.prod, 1);
	T_EQ(rmio_sleeper_sleep(&s, &p.prod, &event, 5, 0), -ETIMEDOUT);
	T_EQ(rmio_sleeper_sleep(&s, &p.prod, &event, 5, rmio_now_ns() + 1000000), -ETIMEDOUT);

	/* raised between looking and sleeping */
	rmio_event_raise(&event);
	T_EQ(event, 6);
	T_EQ(rmio_sleeper_sleep(&s, &p.prod, &event, 5, UINT64_MAX), 0);

	/* answered between arming and sleeping */
	serve(&p, 1);
	T_OK(rmio_lane_wake(&p.cons, &answer));
	T_EQ(rmio_sleeper_sleep(&s, &p.prod, &event, 6, UINT64_MAX), 0);
	rmio_sleeper_disarm(&s, &p.prod);

	sigaction(SIGUSR1, &sa, NULL);
	rmio_sleeper_arm(&s, &p.prod, 9);
	T_REQUIRE(T_EQ(pthread_create(&thread, NULL, send_signals, &self), 0));
	T_EQ(rmio_sleeper_sleep(&s, &p.prod, &event, 6, UINT64_MAX), -EINTR);
	pthread_cancel(thread);
	T_EQ(pthread_join(thread, NULL), 0);
}

static const struct ktap_test tests[] = {
	{ "the device is rung for once a sleep", rung_once_a_sleep },
	{ "a successor is rung for", successor_is_rung_for },
	{ "socket bell, and garbage for its kind", socket_bell },
	{ "a ring wakes a bounded number", ring_wakes_a_bounded_number },
	{ "a ring reaches past a predecessor's waits", ring_reaches_past_a_predecessor },
	{ "a vCPU is woken when done reaches what it waits for", woken_when_done_reaches },
	{ "an answer wakes a bounded number", answer_wakes_a_bounded_number },
	{ "a new vCPU is woken", new_vcpu_is_woken },
	{ "what ends a sleep", what_ends_a_sleep },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
