// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A vCPU waits for its device: spins, sleeps, and notices signals, kicks, the
 * timeout and the device's death.  Between the lane and the access (access.c).
 */
#include "vm.h"

#include <errno.h>

/* The longest a vCPU sleeps before it looks whether the device still lives. */
#define SLICE_NS	100000000ull
/* Wake-ups without progress in one wait that a device may cause. */
#define SPURIOUS_MAX	1000u

/* 0 go on waiting, 1 there, -EPROTO. */
static int look(struct until *u)
{
	uint64_t done;
	int err;

	if (u->seq)
		return rmio_prod_reply(u->lane, u->seq, &u->data);
	err = rmio_prod_peek(u->lane, &done);
	return err ? err : (int64_t)(done - u->done) >= 0;
}

static bool kicked(struct rmio_vcpu *v)
{
	if (v->immediate_exit && *v->immediate_exit)
		return true;
	return rmio_word_read(&v->kicks) != v->kicks_seen;
}

/* Has the world changed?  0 no, -EINTR kicked, -ENODEV the device is dead. */
static int look_up(struct rmio_vcpu *v, struct rmio_master *m)
{
	bool dead;

	if (kicked(v)) {
		v->kicks_seen = rmio_word_read(&v->kicks);
		return -EINTR;
	}
	pthread_mutex_lock(&v->lock);
	dead = rmio_state_dead(m->state);
	pthread_mutex_unlock(&v->lock);
	return dead ? -ENODEV : 0;
}

/*
 * Spin as long as the policy allows.  1 there, 0 sleep now, -EPROTO, -EINTR,
 * -ENODEV, -ETIMEDOUT.
 */
static int spin(struct rmio_vcpu *v, struct rmio_master *m, struct until *u, uint32_t *event,
		uint64_t start, uint64_t deadline)
{
	uint64_t limit = rmio_spin_limit(&v->spin, start), now;
	int got, i;

	if (!limit)
		return look(u);
	for (;;) {
		for (i = 0; i < 64; i++) {
			got = look(u);
			if (got)
				return got;
			rmio_spin_relax(&v->spin);
		}
		if (rmio_word_read(&v->event) != *event || (v->immediate_exit && *v->immediate_exit)) {
			*event = rmio_word_read(&v->event);
			got = look_up(v, m);
			if (got)
				return got;
		}
		now = rmio_now_ns();
		if (now >= deadline)
			return -ETIMEDOUT;
		if (now - start >= limit)
			return 0;
	}
}

/* Sleep until there is something to see.  As spin. */
static int sleep_once(struct rmio_vcpu *v, struct rmio_master *m, struct until *u, uint32_t *event,
		      uint64_t deadline)
{
	uint64_t now = rmio_now_ns(), left;
	int got;

	if (now >= deadline)
		return -ETIMEDOUT;
	left = deadline - now < SLICE_NS ? deadline - now : SLICE_NS;
	rmio_sleeper_arm(&v->sleeper, u->lane, u->done);
	got = look(u);
	if (got || kicked(v)) {
		rmio_sleeper_disarm(&v->sleeper, u->lane);
		return got ? got : look_up(v, m);
	}
	rmio_count(&u->lane->down->counters.slept, 1);
	got = rmio_sleeper_sleep(&v->sleeper, u->lane, &v->event, *event, left);
	rmio_sleeper_disarm(&v->sleeper, u->lane);
	if (got == -EINTR)
		return look(u) == 1 ? 1 : -EINTR;
	if (got == -ETIMEDOUT) {
		if (rmio_control_hung_up(m)) {
			rmio_master_kill(m, RMIO_STATE_CLOSED, "the device process closed its end");
			return -ENODEV;
		}
		return look(u);
	}
	if (rmio_word_read(&v->event) != *event) {
		*event = rmio_word_read(&v->event);
		got = look_up(v, m);
		if (got)
			return got;
	}
	return look(u);
}

int rmio_vcpu_wait(struct rmio_vcpu *v, struct rmio_master *m, struct until *u, uint64_t timeout)
{
	uint64_t start = rmio_now_ns(), deadline, spun;
	uint32_t event = rmio_word_read(&v->event), spurious = 0;
	int got;

	if (!v->pending.since)
		v->pending.since = start;
	deadline = timeout == RMIO_TIMEOUT_NONE || v->pending.since + timeout < timeout ?
		   UINT64_MAX : v->pending.since + timeout;
	got = look(u);
	if (!got)
		got = look_up(v, m);
	if (!got)
		got = spin(v, m, u, &event, start, deadline);
	spun = v->spin.opts.policy == RMIO_WAIT_ADAPTIVE ? rmio_now_ns() - start : 0;
	while (!got) {
		got = sleep_once(v, m, u, &event, deadline);
		if (!got && ++spurious > SPURIOUS_MAX && spurious > (rmio_now_ns() - start) / 1000000)
			got = -EPROTO;
	}
	if (v->spin.opts.policy == RMIO_WAIT_ADAPTIVE)
		rmio_spin_result(&v->spin, spun, rmio_now_ns() - start);
	switch (got) {
	case 1:
		v->pending.since = 0;
		return 0;
	case -EINTR:
		rmio_count(&u->lane->down->counters.interrupted, 1);
		return -EINTR;
	case -ETIMEDOUT:
		rmio_count(&u->lane->down->counters.timeouts, 1);
		rmio_master_kill(m, RMIO_STATE_TIMEOUT, "no answer within the timeout");
		break;
	case -EPROTO:
		rmio_master_kill(m, RMIO_STATE_PROTOCOL, "impossible values in the lane");
		break;
	default:
		break;
	}
	v->pending.since = 0;
	return -ENODEV;
}
