// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accesses that a vCPU has to wait for.  They leave the guest like any that nobody takes,
 * but KVM_RUN does not return: the vCPU's thread waits here, with no lock but the
 * vCPU's own, and goes on with the answer.  A signal ends KVM_RUN; the next one takes
 * the wait up again.
 */
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>

#include "user_dev.h"

/* How long a vCPU looks for an answer before it sleeps; learned per lane up to this. */
static unsigned int user_poll_ns = 50000;
module_param(user_poll_ns, uint, 0644);

#define POLL_FIRST	2000u

/* What is waited for: 1 there, 0 not yet, -errno. */
struct condition {
	int (*met)(struct kvm_user_dev *ud, struct kvm_user_lane *lane, struct condition *c);
	u64 seq;		/* of the reply */
	u64 data;
	int room;
};

static int reply_there(struct kvm_user_dev *ud, struct kvm_user_lane *lane, struct condition *c)
{
	return kvm_user_lane_reply(lane, c->seq, &c->data);
}

static int lane_idle(struct kvm_user_dev *ud, struct kvm_user_lane *lane, struct condition *c)
{
	return kvm_user_lane_idle(lane);
}

static int room_there(struct kvm_user_dev *ud, struct kvm_user_lane *lane, struct condition *c)
{
	int room = kvm_user_lane_refresh(ud, lane);

	return room < 0 ? room : room >= c->room;
}

static int poll_for(struct kvm_user_dev *ud, struct kvm_user_lane *lane, struct condition *c,
		    ktime_t start)
{
	u64 limit = min(lane->poll_ns, READ_ONCE(user_poll_ns));
	ktime_t now, stop;
	int met = c->met(ud, lane, c);

	if (met || !limit)
		return met;
	stop = ktime_add_ns(start, limit);
	do {
		cpu_relax();
		met = c->met(ud, lane, c);
		now = ktime_get();
	} while (!met && kvm_vcpu_can_poll(now, stop) && !signal_pending(current) &&
		 !kvm_user_dev_dead(ud));
	return met;
}

/* As for halt polling: longer when it would have been worth it, else not at all. */
static void learn(struct kvm_user_lane *lane, u64 waited)
{
	u32 most = READ_ONCE(user_poll_ns);

	if (waited <= lane->poll_ns)
		return;
	if (waited <= most)
		lane->poll_ns = min(most, max(POLL_FIRST, 2 * lane->poll_ns));
	else
		lane->poll_ns = 0;
}

/*
 * 0, -EINTR, -ETIMEDOUT, -EPROTO, -ENODEV (dead).  The deadline is in jiffies, to the
 * next tick: it is there for devices that are broken, and a tick's timer costs least.
 */
static int wait_for(struct kvm_user_dev *ud, struct kvm_user_lane *lane,
		    struct kvm_user_wait *w, struct condition *c)
{
	u64 timeout = READ_ONCE(ud->timeout);
	ktime_t start = ktime_get();
	long left = MAX_SCHEDULE_TIMEOUT;
	int met, err = 0;

	if (!w->timed && timeout < KTIME_MAX) {
		w->timed = true;
		timeout = min_t(u64, nsecs_to_jiffies64(timeout), MAX_JIFFY_OFFSET);
		w->deadline = jiffies + timeout + 1;
	}
	met = poll_for(ud, lane, c, start);
	if (met)
		return min(met, 0);

	if (w->timed)
		left = max_t(long, 1, w->deadline - jiffies);
	kvm_user_count(&lane->down->counters.slept);
	prepare_to_rcuwait(&lane->wait);
	/* A number of its own for each sleep; the device wakes once for each. */
	if (!++lane->sleeps)
		lane->sleeps = 1;
	WRITE_ONCE(lane->down->wake_at, c->seq ?: lane->done + 1);
	WRITE_ONCE(lane->down->need_wake, lane->sleeps);
	for (;;) {
		/* Orders need_wake before the look, as set_current_state() has it. */
		set_current_state(TASK_INTERRUPTIBLE);
		met = c->met(ud, lane, c);
		if (met)
			err = min(met, 0);
		else if (kvm_user_dev_dead(ud))
			err = -ENODEV;
		else if (signal_pending(current))
			err = -EINTR;
		else if (!left)
			err = -ETIMEDOUT;
		if (met || err)
			break;
		left = schedule_timeout(left);
	}
	finish_rcuwait(&lane->wait);
	WRITE_ONCE(lane->down->need_wake, 0);
	if (!err)
		learn(lane, ktime_to_ns(ktime_sub(ktime_get(), start)));
	return err;
}

/* -- one access ------------------------------------------------------------------- */

/*
 * What a page boundary has left of an access, 3, 5, 6 or 7 bytes, goes to the device in
 * natural pieces.
 */
static int piece_len(const struct kvm_user_wait *w)
{
	int left = w->len - w->at, n = 8;

	if (is_power_of_2(w->len))
		return w->len;
	while (n > left || !IS_ALIGNED(w->addr + w->at, n))
		n /= 2;
	return n;
}

/* The piece of a load. */
static void answer(struct kvm_user_wait *w, u64 data)
{
	w->data |= (data & kvm_user_ones(piece_len(w))) << (8 * w->at);
}

static void no_device(struct kvm_user_lane *lane, struct kvm_user_wait *w)
{
	if (w->store) {
		if (lane)
			kvm_user_count(&lane->down->counters.discarded);
		return;
	}
	answer(w, ~0ull);
	if (lane)
		kvm_user_count(&lane->down->counters.ones);
}

enum step { STEP_DONE, STEP_REPLY, STEP_IDLE, STEP_ROOM };

/*
 * What can be done now, with kvm->srcu: answer from the shadow, push; else what has to
 * be waited for.
 */
static enum step try_access(struct kvm_vcpu *vcpu, struct kvm_user_wait *w,
			    struct kvm_user_lane *lane)
{
	struct rmio_counters *n = &lane->down->counters;
	const struct kvm_user_map *map;
	struct kvm_user_decision d;
	u64 offset = w->offset + w->at;
	int len = piece_len(w);
	struct rmio_request req = {
		.offset = offset,
		.range_id = w->range_id,
		.vcpu = vcpu->vcpu_id,
		.len = len,
	};

	map = srcu_dereference(w->ud->map, &vcpu->kvm->srcu);
	if (w->store)
		kvm_user_map_store(map, w->range_id, offset, len, &d);
	else
		kvm_user_map_load(map, w->range_id, offset, len, &d);
	if (d.verdict == KVM_USER_SHADOW) {
		if (!d.relaxed && kvm_user_lane_idle(lane) != 1)
			return STEP_IDLE;
		answer(w, kvm_user_image_read(map->image, d.shadow, len));
		kvm_user_count(&n->shadow);
		return STEP_DONE;
	}
	if (kvm_user_lane_room(w->ud, lane) <= 0)
		return STEP_ROOM;
	if (w->store)
		req.data = (w->data >> (8 * w->at)) & kvm_user_ones(len);
	req.op = !w->store ? RMIO_OP_LOAD :
		 d.verdict == KVM_USER_SYNC ? RMIO_OP_STORE_SYNC : RMIO_OP_STORE;
	if (d.verdict == KVM_USER_THROUGH)
		kvm_user_image_write(map->image, d.shadow, req.data, len);
	w->seq = kvm_user_lane_push(w->ud, lane, &req);
	if (d.refused_size)
		kvm_user_count(&n->refused_size);
	if (req.op == RMIO_OP_LOAD)
		kvm_user_count(&n->loads);
	else if (req.op == RMIO_OP_STORE_SYNC)
		kvm_user_count(&n->sync);
	else
		kvm_user_count(&n->posted);
	return req.op == RMIO_OP_STORE ? STEP_DONE : STEP_REPLY;
}

/* One piece: 0 or -EINTR. */
static int do_access(struct kvm_vcpu *vcpu, struct kvm_user_wait *w)
{
	struct kvm_user_lane *lane = kvm_user_lane_of(w->ud, vcpu);
	struct condition c = {};
	enum step step = STEP_REPLY;
	int err, idx;

	if (!lane) {
		no_device(NULL, w);
		return 0;
	}
	for (;;) {
		if (kvm_user_dev_dead(w->ud)) {
			no_device(lane, w);
			return 0;
		}
		if (!w->seq) {
			idx = srcu_read_lock(&vcpu->kvm->srcu);
			step = try_access(vcpu, w, lane);
			srcu_read_unlock(&vcpu->kvm->srcu, idx);
		}
		if (step == STEP_DONE)
			return 0;
		c.seq = w->seq;
		c.met = step == STEP_REPLY ? reply_there :
			step == STEP_IDLE ? lane_idle : room_there;
		/* Half of it: woken for each slot, the vCPU would sleep for each store. */
		c.room = max(1u, w->ud->slots / 2);
		if (step == STEP_ROOM)
			kvm_user_count(&lane->down->counters.full);
		err = wait_for(w->ud, lane, w, &c);
		if (err == -EINTR) {
			kvm_user_count(&lane->down->counters.interrupted);
			return err;
		}
		w->timed = false;
		if (err == -ETIMEDOUT) {
			/* Any room in time is slow, not dead. */
			if (step == STEP_ROOM && kvm_user_lane_room(w->ud, lane) > 0)
				continue;
			kvm_user_count(&lane->down->counters.timeouts);
			kvm_user_dev_kill(w->ud, RMIO_KVM_TIMEOUT);
		} else if (err == -EPROTO) {
			kvm_user_dev_kill(w->ud, RMIO_KVM_PROTOCOL);
		} else if (!err && step == STEP_REPLY) {
			answer(w, c.data);
			return 0;
		}
	}
}

/* -- KVM_RUN ---------------------------------------------------------------------- */

static void forget(struct kvm_user_wait *w)
{
	struct kvm_user_dev *ud = w->ud;

	*w = (struct kvm_user_wait){};
	if (ud)
		kvm_user_dev_put(ud);
}

/*
 * KVM_RUN is about to return to user space: is it for one of our ranges?  Then it is to
 * call kvm_user_resume() and run on.
 */
bool __kvm_user_exit(struct kvm_vcpu *vcpu)
{
	struct kvm_user_wait *w = &vcpu->user_wait;
	struct kvm_user_range *r;
	int idx;

	if (!READ_ONCE(vcpu->kvm->user_devs) || !kvm_arch_user_access(vcpu, w))
		return false;
	idx = srcu_read_lock(&vcpu->kvm->srcu);
	r = kvm_user_range_find(vcpu->kvm, w->io, w->addr);
	if (r) {
		kref_get(&r->ud->ref);
		w->ud = r->ud;
		w->range_id = r->at.id;
		w->offset = w->addr - r->at.addr;
		/* What reaches over its end is nobody's. */
		w->inside = w->len <= r->at.len - w->offset;
		w->data = 0;
		w->at = 0;
	}
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	return r;
}

/* Before KVM_RUN runs: 0, or -EINTR and the access is still under way. */
int __kvm_user_resume(struct kvm_vcpu *vcpu)
{
	struct kvm_user_wait *w = &vcpu->user_wait;
	int err = 0;

	if (likely(!w->ud))
		return 0;
	kvm_sigset_activate(vcpu);
	if (READ_ONCE(vcpu->run->immediate_exit__unsafe))
		err = -EINTR;
	/* A string of port accesses is several. */
	while (!err && w->index < w->count) {
		if (w->store)
			w->data = kvm_arch_user_data(vcpu, w);
		if (w->inside)
			err = do_access(vcpu, w);
		else
			no_device(kvm_user_lane_of(w->ud, vcpu), w);
		if (err)
			break;
		w->at += piece_len(w);
		w->seq = 0;
		w->timed = false;
		if (w->at < w->len)
			continue;
		if (!w->store)
			kvm_arch_user_answer(vcpu, w);
		w->index++;
		w->at = 0;
		w->data = 0;
	}
	kvm_sigset_deactivate(vcpu);
	if (!err) {
		forget(w);
		return 0;
	}
	vcpu->run->exit_reason = KVM_EXIT_INTR;
	++vcpu->stat.signal_exits;
	return err;
}

void kvm_user_vcpu_destroy(struct kvm_vcpu *vcpu)
{
	forget(&vcpu->user_wait);
}
