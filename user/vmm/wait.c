// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A vCPU waits for its device: spins, sleeps, and notices signals, kicks, the
 * timeout and the device's death.  Between the lane and the access (access.c).
 */
#include "death.h"
#include "patience.h"
#include "wait.h"
#include "wire/chan.h"

#include <errno.h>

/* Wake-ups without progress in one wait that a device may cause. */
#define SPURIOUS_MAX	1000u

/* One wait. */
struct watch {
	struct vcpu *v;
	struct rmio_master *m;
	struct until *u;
	uint32_t event;		/* v->event when last looked up */
	uint32_t spurious;
	uint64_t start;
	uint64_t now;		/* as of the last look at the clock */
	uint64_t until;		/* when the last sleep was to end */
	struct rmio_patience patience;
	uint64_t checked;	/* when the device process was last looked for */
};

/* 0 go on waiting, 1 there, -EPROTO. */
static int look(struct until *u)
{
	int err;

	if (u->seq)
		return rmio_prod_reply(u->lane, u->seq, &u->data);
	err = rmio_prod_peek(u->lane, &u->seen);
	return err ? err : (int64_t)(u->seen - u->done) >= 0;
}

/* Has the world changed?  0 no, -EINTR kicked, -ENODEV the device is dead. */
static int look_up(struct watch *w)
{
	struct rmio_vcpu *v = &w->v->shared;
	bool dead;

	if (rmio_vcpu_kicked(v)) {
		v->kicks_seen = rmio_word_read(&v->kicks);
		return -EINTR;
	}
	pthread_mutex_lock(&v->lock);
	dead = rmio_state_dead(w->m->state);
	pthread_mutex_unlock(&v->lock);
	return dead ? -ENODEV : 0;
}

/* Nobody may be serving the slave descriptor.  0, -ENODEV. */
static int check_process(struct watch *w, uint64_t now)
{
	int chan;

	if (now - w->checked < RMIO_PATIENCE_SLICE_NS)
		return 0;
	w->checked = now;
	pthread_mutex_lock(&w->v->shared.lock);
	chan = w->m->own->chan;
	pthread_mutex_unlock(&w->v->shared.lock);
	if (!rmio_chan_hung_up(chan))
		return 0;
	rmio_master_kill(w->m, RMIO_STATE_CLOSED, "the device process closed its end");
	return -ENODEV;
}

/*
 * Spin as long as the policy allows.  1 there, 0 sleep now, -EPROTO, -EINTR,
 * -ENODEV, -ETIMEDOUT.
 */
static int spin(struct watch *w)
{
	struct vcpu *v = w->v;
	uint64_t limit = rmio_spin_limit(&v->spin, w->now), now;
	int got, i;

	while (limit) {
		for (i = 0; i < 64; i++) {
			got = look(w->u);
			if (got)
				return got;
			rmio_spin_relax(&v->spin);
		}
		if (rmio_word_read(&v->event) != w->event ||
		    (v->shared.immediate_exit && *v->shared.immediate_exit)) {
			w->event = rmio_word_read(&v->event);
			got = look_up(w);
			if (got)
				return got;
		}
		now = rmio_now_ns();
		rmio_patience_look(&w->patience, now, w->now);
		w->now = now;
		if (now >= w->patience.deadline)
			return -ETIMEDOUT;
		if (now - w->start >= limit)
			return 0;
		got = check_process(w, now);
		if (got)
			return got;
	}
	return 0;
}

/* Woken, and not by an event: the device says that there is something. */
static int look_woken(struct watch *w)
{
	int got = look(w->u);

	if (!got && ++w->spurious > SPURIOUS_MAX &&
	    w->spurious > (rmio_now_ns() - w->start) / 1000000)
		return -EPROTO;
	return got;
}

/* Sleep until there is something to see.  As spin. */
static int sleep_once(struct watch *w)
{
	struct vcpu *v = w->v;
	struct until *u = w->u;
	uint64_t now = w->now, until = rmio_patience_slice(&w->patience, now);
	int got;

	w->until = until;
	if (now >= w->patience.deadline)
		return -ETIMEDOUT;
	got = check_process(w, now);
	if (got)
		return got;
	rmio_sleeper_arm(&v->sleeper, u->lane, u->done);
	got = look(u);
	if (got || rmio_vcpu_kicked(&v->shared)) {
		rmio_sleeper_disarm(&v->sleeper, u->lane);
		return got ? got : look_up(w);
	}
	rmio_count(&u->lane->down->counters.slept, 1);
	got = rmio_sleeper_sleep(&v->sleeper, u->lane, &v->event, w->event, until);
	rmio_sleeper_disarm(&v->sleeper, u->lane);
	if (got == -EINTR)
		return look(u) == 1 ? 1 : -EINTR;
	if (rmio_word_read(&v->event) != w->event) {
		w->event = rmio_word_read(&v->event);
		got = look_up(w);
		return got ? got : look(u);
	}
	return got ? look(u) : look_woken(w);
}

/* Does what is there by the end, of the device or of the time, suffice after all? */
static bool suffices(struct until *u, int why)
{
	int got = look(u);

	if (got == 1)
		return true;
	return !got && !u->seq && why == -ETIMEDOUT && (int64_t)(u->seen - u->least) >= 0;
}

static int wait_for(struct watch *w)
{
	struct rmio_spin *s = &w->v->spin;
	uint64_t spun;
	int got;

	got = look(w->u);
	if (!got)
		got = look_up(w);
	if (!got)
		got = spin(w);
	spun = s->opts.policy == RMIO_WAIT_ADAPTIVE ? rmio_now_ns() - w->start : 0;
	while (!got) {
		got = sleep_once(w);
		if (got && got != -EINTR)
			break;
		w->now = rmio_now_ns();
		rmio_patience_look(&w->patience, w->now, w->until);
	}
	if (s->opts.policy == RMIO_WAIT_ADAPTIVE)
		rmio_spin_result(s, spun, rmio_now_ns() - w->start);
	/* It may have answered with its last breath. */
	if ((got == -ENODEV || got == -ETIMEDOUT) && suffices(w->u, got))
		return 1;
	return got;
}

int rmio_vcpu_wait(struct rmio_vcpu *v, struct rmio_master *m, struct until *u, uint64_t timeout)
{
	struct vcpu *own = own_vcpu(v);
	struct watch w = {
		.v = own,
		.m = m,
		.u = u,
		.event = rmio_word_read(&own->event),
		.start = rmio_now_ns(),
	};
	int got;

	w.checked = w.now = w.until = w.start;
	/* Only waiting counts: what the VMM does between interruption and call is its time. */
	timeout = timeout == RMIO_TIMEOUT_NONE ? timeout :
		  timeout > own->pending.waited ? timeout - own->pending.waited : 0;
	rmio_patience_begin(&w.patience, w.start, timeout);
	got = wait_for(&w);
	own->pending.waited = got == -EINTR ? own->pending.waited + rmio_now_ns() - w.start -
					       w.patience.stopped : 0;
	switch (got) {
	case 1:
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
	return -ENODEV;
}
