// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The slave end of a device: takes requests from the lanes, keeps the sent
 * queue, completes them in order.  Between the rings (ring.c) and whatever
 * emulates the device.
 */
#include "kslave.h"
#include "slave_priv.h"
#include "wire/limits.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

static uint32_t lanes_used(const struct rmio_slave *s)
{
	uint32_t n = rmio_word_read(&s->down->lanes_used);

	return n < s->nr_lanes ? n : s->nr_lanes;
}

/* -- requests and replies ------------------------------------------------------ */

/* A slot, already copied.  What it asks for is the device's business; its form is ours. */
static bool well_formed(const struct rmio_request *r, uint32_t lane, uint64_t redeliver)
{
	/* In a slot all flags are 0; this one is set only on what a predecessor had begun. */
	uint8_t mine = (int64_t)(redeliver - r->seq) >= 0 ? RMIO_REQ_REDELIVERED : 0;

	return r->op >= RMIO_OP_LOAD && r->op <= RMIO_OP_STORE_SYNC && r->vcpu == lane &&
	       r->len && r->len <= 8 && !(r->len & (r->len - 1)) && !r->reserved &&
	       r->flags == mine;
}

static uint32_t read_lane(struct rmio_slave *s, uint32_t index, struct rmio_request *reqs,
			  uint32_t n)
{
	struct lane *lane = &s->lanes[index];
	uint32_t mask = s->ring_slots - 1, got, i;

	if (lane->broken)
		return 0;
	if (!lane->sent) {
		lane->sent = calloc(s->ring_slots, sizeof(*lane->sent));
		if (!lane->sent)
			return 0;
	}
	got = rmio_cons_pop(&lane->cons, reqs, n);
	for (i = 0; i < got; i++) {
		struct sent *sent = &lane->sent[(reqs[i].seq - 1) & mask];

		if (!well_formed(&reqs[i], index, lane->cons.redeliver)) {
			/* What follows in this lane cannot be trusted to be in order. */
			lane->broken = true;
			break;
		}
		sent->waited_for = reqs[i].op != RMIO_OP_STORE;
		sent->answered = false;
	}
	return i;
}

ssize_t rmio_slave_read(struct rmio_slave *s, struct rmio_request *reqs, size_t n)
{
	uint32_t used = lanes_used(s), i, index;
	bool broken = false;
	size_t got = 0;

	index = s->turn < used ? s->turn : 0;
	for (i = 0; i < used && got < n; i++) {
		const struct lane *lane = &s->lanes[index];

		if (rmio_cons_pending(&lane->cons)) {
			uint32_t k = read_lane(s, index, reqs + got,
					       n - got > s->ring_slots ? s->ring_slots :
					       (uint32_t)(n - got));

			if (k)
				s->last = index;
			got += k;
		}
		broken |= lane->broken;
		if (++index == used)
			index = 0;
	}
	/* Whoever was cut short by @n goes first the next time. */
	s->turn = index;
	if (got)
		return (ssize_t)got;
	if (broken)
		return -EPROTO;
	return s->gone ? -ECONNRESET : -EAGAIN;
}

/* Let the lane go on as far as its oldest requests are answered. */
static void advance(struct lane *lane, uint32_t mask)
{
	struct rmio_cons *c = &lane->cons;
	uint32_t stores = 0;

	while (c->done + stores != c->taken) {
		struct sent *sent = &lane->sent[(c->done + stores) & mask];

		if (!sent->answered)
			break;
		if (!sent->waited_for) {
			stores++;
			continue;
		}
		if (stores)
			rmio_cons_complete(c, stores);
		stores = 0;
		rmio_cons_reply(c, sent->data);
	}
	if (stores)
		rmio_cons_complete(c, stores);
}

/* *touched: the lanes that got replies so far. */
static int write_one(struct rmio_slave *s, const struct rmio_reply *reply, struct lane **touched)
{
	uint32_t mask = s->ring_slots - 1;
	struct lane *lane;
	struct sent *sent;

	if (reply->vcpu >= s->nr_lanes || reply->reserved)
		return -EINVAL;
	lane = &s->lanes[reply->vcpu];
	if (reply->seq - 1 - lane->cons.done >= lane->cons.taken - lane->cons.done)
		return -ENOENT;
	sent = &lane->sent[(reply->seq - 1) & mask];
	if (sent->answered)
		return -ENOENT;
	sent->answered = true;
	sent->data = reply->data;
	if (!lane->touched) {
		lane->touched = true;
		lane->next = *touched;
		*touched = lane;
	}
	/* A vCPU that spins need not wait for the rest of the batch. */
	if (sent->waited_for)
		advance(lane, mask);
	return 0;
}

ssize_t rmio_slave_write(struct rmio_slave *s, const struct rmio_reply *replies, size_t n)
{
	struct lane *touched = NULL, *lane;
	size_t done;
	int err = 0;

	for (done = 0; done < n; done++) {
		err = write_one(s, &replies[done], &touched);
		if (err)
			break;
	}
	for (lane = touched; lane; lane = lane->next) {
		advance(lane, s->ring_slots - 1);
		lane->touched = false;
		rmio_lane_wake(&lane->cons, &lane->answer);
	}
	return done || !n ? (ssize_t)done : err;
}

/* -- waiting -------------------------------------------------------------------- */

bool rmio_slave_pending(const struct rmio_slave *s)
{
	uint32_t used = lanes_used(s), i;

	for (i = 0; i < used; i++)
		if (rmio_cons_pending(&s->lanes[i].cons) && !s->lanes[i].broken)
			return true;
	return false;
}

void rmio_slave_bell(struct rmio_slave *s, uint32_t kind)
{
	if (!s->kernel)
		rmio_bell_kind(&s->bell, kind);
}

void rmio_slave_bell_arm(struct rmio_slave *s, const uint32_t **word, uint32_t *value)
{
	*word = s->kernel ? NULL : rmio_bell_word(&s->bell);
	*value = rmio_bell_arm(&s->bell);
}

void rmio_slave_bell_disarm(struct rmio_slave *s)
{
	rmio_bell_disarm(&s->bell);
}

int rmio_slave_posted_fd(struct rmio_slave *s)
{
	int fd = s->posted;

	s->posted = -1;
	return fd;
}

int rmio_slave_cpu(const struct rmio_slave *s)
{
	uint32_t cpu = rmio_word_read(&s->lanes[s->last].cons.down->cpu);

	return cpu < 65536 ? (int)cpu : -1;
}

int rmio_slave_fd(const struct rmio_slave *s)
{
	return s->chan;
}

/* The kernel device tells nobody anything but that there is something, or that it is over. */
static int arm_kernel(struct rmio_slave *s)
{
	rmio_bell_arm(&s->bell);
	if (!rmio_slave_pending(s)) {
		s->gone |= rmio_kslave_look(s->chan) == -ECONNRESET;
		if (!s->gone)
			return 0;
	}
	rmio_bell_disarm(&s->bell);
	return 1;
}

int rmio_slave_arm(struct rmio_slave *s)
{
	enum rmio_slave_event event;
	int result, err, i;

	if (s->kernel)
		return arm_kernel(s);

	/* More than an honest master sends: look at the lanes before going on with it. */
	for (i = 0, err = 0; !err; i++) {
		if (i == RMIO_CHAN_OF_MASTER)
			return 1;
		err = rmio_slave_work(s, &event, &result);
	}
	if (err != -EAGAIN)
		s->gone = true;
	rmio_bell_arm(&s->bell);
	if (!rmio_slave_pending(s) && !s->gone)
		return 0;
	rmio_bell_disarm(&s->bell);
	return 1;
}

/* Spin as the policy says; true when a request came. */
static bool spin(struct rmio_slave *s, uint64_t start, uint64_t deadline)
{
	uint64_t limit = rmio_spin_limit(&s->spin, start), now = start;
	uint32_t i;

	while (now - start < limit && now < deadline) {
		for (i = 0; i < 64; i++) {
			if (rmio_slave_pending(s))
				return true;
			rmio_spin_relax(&s->spin);
		}
		now = rmio_now_ns();
		/* The master's end is looked at rarely: it costs a system call. */
		if (limit == UINT64_MAX && now - start > 10000000)
			return false;
	}
	return false;
}

int rmio_slave_poll(struct rmio_slave *s, int timeout_ms)
{
	uint64_t start = rmio_now_ns(), now = start, spun;
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : start + (uint64_t)timeout_ms * 1000000;
	struct pollfd p = { .fd = s->chan, .events = POLLIN };
	int n, left;

	for (;;) {
		if (spin(s, now, deadline))
			break;
		spun = rmio_now_ns() - now;
		if (rmio_slave_arm(s)) {
			if (rmio_slave_pending(s) || s->gone)
				break;
			/* Not armed, so not to be slept on: the master sends and sends. */
			now = rmio_now_ns();
			if (now >= deadline)
				return 0;
			continue;
		}
		now = rmio_now_ns();
		if (now >= deadline) {
			rmio_bell_disarm(&s->bell);
			return 0;
		}
		left = timeout_ms < 0 ? -1 : (int)((deadline - now + 999999) / 1000000);
		if (s->spin.opts.policy == RMIO_WAIT_POLL)
			left = 0;
		n = poll(&p, 1, left);
		rmio_bell_disarm(&s->bell);
		if (n < 0)
			return -errno;
		now = rmio_now_ns();
		rmio_spin_result(&s->spin, spun, now - start);
	}
	if (rmio_slave_pending(s))
		return 1;
	return s->gone ? -ECONNRESET : 0;
}
