// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The lane by itself: a request and its answer, and a stream of posted stores.
 *
 * The data path without a vCPU, an access map or a control channel: the library's
 * ring and its waits, each operation with the fences that the sleep protocol
 * asks for, whether anybody sleeps or not.
 */
#include <errno.h>
#include <linux/futex.h>
#include <rmio/abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../bench.h"
#include "ring.h"
#include "wake.h"

#define RTT_SLOTS	256
#define STREAM_SLOTS	4096
#define STREAM_BATCH	64	/* stores that are published together */
#define STREAM_CALLS	32	/* batches to a sample */

/* One device with one vCPU: both headers, and both ends of the lane. */
struct device {
	struct rmio_down_hdr *down;
	struct rmio_up_hdr *up;
	struct rmio_prod prod;
	struct rmio_cons cons;
	struct rmio_bell_out bell_out;
	struct rmio_bell_in bell_in;
	struct rmio_answer answer;
	struct rmio_sleeper sleeper;
};

struct ring_case {
	struct bench_run *run;
	void *mem;
	size_t size;
	uint32_t slots;
	struct rmio_spin spin;		/* of the measuring side */
	struct rmio_spin peer_spin;
	uint32_t event;			/* kicks for the measuring side; there are none */
	unsigned int turn;		/* device to ask next */
	uint64_t value;
	struct rmio_request batch[STREAM_BATCH];
	unsigned int devices;
	struct device dev[];
};

static void ring_teardown(struct bench_run *run)
{
	struct ring_case *r = run->priv;

	bench_peer_stop(run);
	if (r->mem)
		munmap(r->mem, r->size);
	free(r);
	run->priv = NULL;
}

static int device_init(struct ring_case *r, struct device *d, char *mem)
{
	char *down = mem, *up = mem + RMIO_PAGE + rmio_lane_stride(r->slots);
	int err;

	d->down = (void *)down;
	d->up = (void *)up;
	err = rmio_prod_init(&d->prod, down + RMIO_PAGE, up + RMIO_PAGE, r->slots, 0);
	if (!err)
		err = rmio_cons_init(&d->cons, down + RMIO_PAGE, up + RMIO_PAGE, r->slots);
	if (err)
		return err;
	d->bell_out.down = d->down;
	d->bell_out.up = d->up;
	d->bell_in.down = d->down;
	d->bell_in.up = d->up;
	d->bell_out.chan = -1;
	rmio_bell_kind(&d->bell_in, RMIO_BELL_FUTEX);
	return 0;
}

static int ring_setup(struct bench_run *run, uint32_t slots, int (*peer)(void *arg))
{
	struct rmio_wait_opts wait = { .sz = sizeof(wait) };
	size_t each = 3 * RMIO_PAGE + rmio_lane_stride(slots);
	struct ring_case *r;
	unsigned int i;
	int err;

	wait.policy = run->wait == BENCH_POLL ? RMIO_WAIT_POLL :
		      run->wait == BENCH_ADAPTIVE ? RMIO_WAIT_ADAPTIVE : RMIO_WAIT_SLEEP;
	wait.placement = run->placement == BENCH_SAME_CPU ? RMIO_PLACE_SAME_CPU : RMIO_PLACE_ANY;
	r = calloc(1, sizeof(*r) + run->devices * sizeof(r->dev[0]));
	if (!r)
		return -ENOMEM;
	r->run = run;
	r->slots = slots;
	r->devices = run->devices;
	r->size = each * run->devices;
	r->mem = bench_shared(r->size);
	run->priv = r;
	err = r->mem ? 0 : -ENOMEM;
	for (i = 0; !err && i < r->devices; i++)
		err = device_init(r, &r->dev[i], (char *)r->mem + i * each);
	if (!err)
		err = rmio_spin_init(&r->spin, &wait);
	if (!err)
		err = rmio_spin_init(&r->peer_spin, &wait);
	if (!err)
		err = bench_peer_start(run, peer, r);
	if (err)
		ring_teardown(run);
	return err;
}

/* -- there and back -------------------------------------------------------- */

static bool any_pending(const struct ring_case *r)
{
	unsigned int i;

	for (i = 0; i < r->devices; i++)
		if (rmio_cons_pending(&r->dev[i].cons))
			return true;
	return false;
}

static void answer_all(struct ring_case *r)
{
	struct rmio_request q;
	unsigned int i;

	for (i = 0; i < r->devices; i++) {
		struct device *d = &r->dev[i];

		if (!rmio_cons_pop(&d->cons, &q, 1))
			continue;
		rmio_cons_reply(&d->cons, q.offset);
		rmio_lane_wake(&d->cons, &d->answer);
	}
}

/* One bell for each device: who wants to sleep on one bell has one device. */
static void peer_sleep(struct device *d)
{
	uint32_t bell = rmio_bell_arm(&d->bell_in);

	if (!rmio_cons_pending(&d->cons))
		syscall(SYS_futex, &d->down->bell, FUTEX_WAIT, bell, NULL, NULL, 0);
	rmio_bell_disarm(&d->bell_in);
}

static int rtt_peer(void *arg)
{
	struct ring_case *r = arg;

	for (;;) {
		uint64_t start = 0, spun = 0, limit = UINT64_MAX;

		if (r->peer_spin.opts.policy != RMIO_WAIT_POLL) {
			start = rmio_now_ns();
			limit = rmio_spin_limit(&r->peer_spin, start);
		}
		while (!any_pending(r)) {
			if (spun >= limit) {
				peer_sleep(&r->dev[0]);
				continue;
			}
			rmio_spin_relax(&r->peer_spin);
			if (limit != UINT64_MAX)
				spun = rmio_now_ns() - start;
		}
		if (start)
			rmio_spin_result(&r->peer_spin, spun, rmio_now_ns() - start);
		answer_all(r);
	}
	return 0;
}

/* As the peer waits for requests, so this side waits for the reply. */
static int wait_reply(struct ring_case *r, struct device *d, uint64_t seq)
{
	uint64_t start = 0, spun = 0, limit = UINT64_MAX, data;
	int err;

	if (r->spin.opts.policy != RMIO_WAIT_POLL) {
		start = rmio_now_ns();
		limit = rmio_spin_limit(&r->spin, start);
	}
	while (!rmio_prod_reply(&d->prod, seq, &data)) {
		if (spun < limit) {
			rmio_spin_relax(&r->spin);
			if (limit != UINT64_MAX)
				spun = rmio_now_ns() - start;
			continue;
		}
		err = 0;
		rmio_sleeper_arm(&d->sleeper, &d->prod, seq);
		if (!rmio_prod_reply(&d->prod, seq, &data))
			err = rmio_sleeper_sleep(&d->sleeper, &d->prod, &r->event, r->event,
						 UINT64_MAX);
		rmio_sleeper_disarm(&d->sleeper, &d->prod);
		if (err && err != -EINTR)
			return err;
	}
	if (start)
		rmio_spin_result(&r->spin, spun, rmio_now_ns() - start);
	return data == r->value ? 0 : bench_why(r->run, -EPROTO, "wrong answer");
}

static inline int rtt_op(struct bench_run *run)
{
	struct ring_case *r = run->priv;
	struct device *d = &r->dev[r->turn];
	struct rmio_request q = { .op = RMIO_OP_LOAD, .len = 4, .offset = ++r->value };
	int err;

	if (++r->turn == r->devices)
		r->turn = 0;
	err = rmio_prod_push(&d->prod, &q);
	if (err)
		return err;
	rmio_bell_ring(&d->bell_out);
	return wait_reply(r, d, d->prod.tail);
}

static int rtt_setup(struct bench_run *run)
{
	return ring_setup(run, RTT_SLOTS, rtt_peer);
}

static int rtt_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, 1, rtt_op);
}

/* -- one way --------------------------------------------------------------- */

static int stream_peer(void *arg)
{
	struct ring_case *r = arg;
	struct device *d = &r->dev[0];
	struct rmio_request q[STREAM_BATCH];
	uint64_t expected = 0;
	uint32_t n, i;

	for (;;) {
		n = rmio_cons_pop(&d->cons, q, STREAM_BATCH);
		if (!n) {
			rmio_spin_relax(&r->peer_spin);
			continue;
		}
		for (i = 0; i < n; i++)
			if (q[i].data != expected++)
				return -EPROTO;
		rmio_cons_complete(&d->cons, n);
		rmio_lane_wake(&d->cons, &d->answer);
	}
	return 0;
}

static inline int stream_op(struct bench_run *run)
{
	struct ring_case *r = run->priv;
	struct device *d = &r->dev[0];
	unsigned int i, k;
	int err;

	for (k = 0; k < STREAM_CALLS; k++) {
		for (i = 0; i < STREAM_BATCH; i++) {
			r->batch[i].offset = i * 4;
			r->batch[i].data = r->value++;
		}
		while ((err = rmio_prod_push_n(&d->prod, r->batch, STREAM_BATCH)) == -EAGAIN)
			rmio_spin_relax(&r->spin);
		if (err)
			return err;
		rmio_bell_ring(&d->bell_out);
	}
	return 0;
}

static int stream_setup(struct bench_run *run)
{
	struct ring_case *r;
	unsigned int i;
	int err = ring_setup(run, STREAM_SLOTS, stream_peer);

	if (err)
		return err;
	r = run->priv;
	for (i = 0; i < STREAM_BATCH; i++)
		r->batch[i] = (struct rmio_request){ .op = RMIO_OP_STORE, .len = 4 };
	return 0;
}

static int stream_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, STREAM_BATCH * STREAM_CALLS, stream_op);
}

const struct bench_case bench_ring_cases[] = {
	{
		.name = "ring.rtt",
		.what = "a request through a lane and its reply",
		.rivals = { "limit.cacheline", "socket.rtt", "socket.rtt.poll" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_ANYHOW,
		.setup = rtt_setup,
		.slice = rtt_slice,
		.teardown = ring_teardown,
	}, {
		.name = "ring.rtt",
		.what = "the same, to each of many devices in turn",
		.rivals = { "ring.rtt" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_POLL),
		.flags = BENCH_FIXED | BENCH_MANY,
		.setup = rtt_setup,
		.slice = rtt_slice,
		.teardown = ring_teardown,
	}, {
		.name = "ring.throughput",
		.what = "posted stores through one lane, 64 published together",
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_POLL),
		.flags = BENCH_FIXED,
		.setup = stream_setup,
		.slice = stream_slice,
		.teardown = ring_teardown,
	},
	{ 0 },
};
