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

#include "user_bpf.h"
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
	u64 done;		/* else: requests complete up to here; both: when to be woken */
	bool look;		/* once: nobody is to wait */
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
	int room = kvm_user_lane_refresh(&ud->lanes, lane);

	return room < 0 ? room : (s64)(lane->done - c->done) >= 0;
}

static int poll_for(struct kvm_user_dev *ud, struct kvm_user_lane *lane, struct condition *c,
		    ktime_t start)
{
	u64 limit = min(lane->poll_ns, READ_ONCE(user_poll_ns));
	ktime_t now, stop;
	int met = c->met(ud, lane, c);

	if (met || !limit || c->look)
		return met;
	stop = ktime_add_ns(start, limit);
	do {
		cpu_relax();
		met = c->met(ud, lane, c);
		now = ktime_get();
	} while (!met && kvm_vcpu_can_poll(now, stop) && !signal_pending(current) &&
		 !kvm_user_dev_dead(ud) && !READ_ONCE(lane->kicked));
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

static bool kicked(struct kvm_user_lane *lane)
{
	return READ_ONCE(lane->kicked) && xchg(&lane->kicked, 0);
}

/*
 * 0, -EINTR, -ETIMEDOUT, -EPROTO, -ENODEV (dead).  The limit is in jiffies, and
 * kept to an eighth: it is there for devices that are broken.  What the VMM does between two
 * calls does not count.
 */
static int wait_for(struct kvm_user_dev *ud, struct kvm_user_lane *lane,
		    struct kvm_user_wait *w, struct condition *c)
{
	u64 timeout = READ_ONCE(ud->timeout);
	ktime_t start = ktime_get();
	unsigned long until = 0;
	int met, err = 0;

	if (!w->timed && timeout < KTIME_MAX) {
		w->timed = true;
		w->left = min_t(u64, nsecs_to_jiffies64(timeout), MAX_JIFFY_OFFSET) + 1;
	}
	met = poll_for(ud, lane, c, start);
	if (met)
		return min(met, 0);
	if (c->look)
		return -EINTR;

	if (w->timed) {
		until = jiffies + w->left;
		kvm_user_lane_until(&ud->lanes, lane, until ?: 1);
	}
	kvm_user_count(&lane->down->counters.slept);
	prepare_to_rcuwait(&lane->wait);
	/* A number of its own for each sleep; the device wakes once for each. */
	if (!++lane->sleeps)
		lane->sleeps = 1;
	/* For a device that wants to be where its vCPU is. */
	WRITE_ONCE(lane->down->cpu, raw_smp_processor_id());
	WRITE_ONCE(lane->down->wake_at, c->done);
	WRITE_ONCE(lane->down->need_wake, lane->sleeps);
	for (;;) {
		/* Orders need_wake before the look, as set_current_state() has it. */
		set_current_state(TASK_INTERRUPTIBLE);
		met = c->met(ud, lane, c);
		if (met)
			err = min(met, 0);
		else if (kvm_user_dev_dead(ud))
			err = -ENODEV;
		else if (signal_pending(current) || kicked(lane))
			err = -EINTR;
		else if (w->timed && time_after_eq(jiffies, until))
			err = -ETIMEDOUT;
		if (met || err)
			break;
		schedule();
	}
	finish_rcuwait(&lane->wait);
	WRITE_ONCE(lane->down->need_wake, 0);
	if (w->timed) {
		WRITE_ONCE(lane->until, 0);
		w->left = max(1l, (long)(until - jiffies));
	}
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

static u64 ones(int len)
{
	return len == 8 ? ~0ull : (1ull << (8 * len)) - 1;
}

/* The piece of a load. */
static void answer(struct kvm_user_wait *w, u64 data)
{
	w->data |= (data & ones(piece_len(w))) << (8 * w->at);
}

static void no_device(struct kvm_user_lane *lane, struct kvm_user_wait *w)
{
	if (w->store) {
		kvm_user_lane_discarded(lane, 1);
		return;
	}
	answer(w, ~0ull);
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

	if (w->store)
		req.data = (w->data >> (8 * w->at)) & ones(len);
	if (!w->asked) {
		w->said = !w->store ? kvm_user_ask_load(w->ud, vcpu, w->range_id, offset, len) :
			  kvm_user_ask_store(w->ud, vcpu, w->range_id, offset, len, req.data);
		w->asked = true;
	}
	if (w->said == RMIO_KVM_REFUSE) {
		no_device(lane, w);
		return STEP_DONE;
	}
	map = srcu_dereference(w->ud->map, &vcpu->kvm->srcu);
	if (w->store)
		kvm_user_map_store(map, w->range_id, offset, len, &d);
	else
		kvm_user_map_load(map, &lane->hit, w->range_id, offset, len, &d);
	if (w->said != RMIO_KVM_AS_MAPPED && d.verdict == KVM_USER_SHADOW)
		d.verdict = KVM_USER_DEVICE;
	if (w->said != RMIO_KVM_AS_MAPPED && d.verdict == KVM_USER_THROUGH)
		d.verdict = KVM_USER_POST;
	if (d.verdict == KVM_USER_SHADOW) {
		if (!d.relaxed && kvm_user_lane_idle(lane) != 1)
			return STEP_IDLE;
		answer(w, kvm_user_image_read(map->image, d.shadow, len));
		kvm_user_count(&n->shadow);
		return STEP_DONE;
	}
	if (kvm_user_lane_room(&w->ud->lanes, lane) <= 0)
		return STEP_ROOM;
	req.op = !w->store ? RMIO_OP_LOAD :
		 d.verdict == KVM_USER_SYNC ? RMIO_OP_STORE_SYNC : RMIO_OP_STORE;
	if (d.verdict == KVM_USER_THROUGH)
		kvm_user_image_write(map->image, d.shadow, req.data, len);
	w->seq = kvm_user_lane_push(&w->ud->lanes, lane, &req);
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
static int do_piece(struct kvm_vcpu *vcpu, struct kvm_user_wait *w, bool look)
{
	struct kvm_user_lane *lane = kvm_user_lane_of(&w->ud->lanes, vcpu);
	struct condition c = { .look = look };
	enum step step = STEP_REPLY;
	int err, idx;

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
		if (step == STEP_REPLY) {
			c.met = reply_there;
			c.done = w->seq;
		} else if (step == STEP_IDLE) {
			c.met = lane_idle;
			c.done = lane->tail;
			/* Of the guest's own load the bus has seen it. */
			if (w->vmm)
				kvm_user_count(&lane->down->counters.ordered);
		} else {
			c.met = room_there;
			/* Half of it: woken for each slot, it would sleep for each store. */
			c.done = lane->tail - w->ud->lanes.slots / 2;
			kvm_user_count(&lane->down->counters.full);
		}
		err = wait_for(w->ud, lane, w, &c);
		if (err == -EINTR) {
			kvm_user_count(&lane->down->counters.interrupted);
			return err;
		}
		w->timed = false;
		if (err == -ETIMEDOUT) {
			/* Any room in time is slow, not dead. */
			if (step == STEP_ROOM && kvm_user_lane_room(&w->ud->lanes, lane) > 0)
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

/* The rest of one access: 0 or -EINTR. */
static int do_access(struct kvm_vcpu *vcpu, struct kvm_user_wait *w, bool look)
{
	int err;

	while (w->at < w->len) {
		err = do_piece(vcpu, w, look);
		if (err)
			return err;
		w->at += piece_len(w);
		w->seq = 0;
		w->timed = false;
		w->asked = false;
	}
	return 0;
}

/*
 * Whose is the access of which addr, len, io and store are set?  False: no such device's, or
 * it has no lane for this vCPU.  Else a reference is held.
 */
static bool find_device(struct kvm_vcpu *vcpu, struct kvm_user_wait *w)
{
	struct kvm_user_range *r;
	int idx = srcu_read_lock(&vcpu->kvm->srcu);

	r = kvm_user_range_find(vcpu->kvm, w->io, w->addr);
	/* What reaches over its end is for user space to split. */
	if (r && w->len <= r->at.len - (w->addr - r->at.addr) &&
	    kvm_user_lane_of(&r->ud->lanes, vcpu)) {
		kref_get(&r->ud->ref);
		w->ud = r->ud;
		w->range_id = r->at.id;
		w->offset = w->addr - r->at.addr;
		w->data = 0;
		w->at = 0;
		w->seq = 0;
		w->timed = false;
		w->asked = w->asked && !w->store && w->asked_at == w->addr &&
			   w->asked_io == w->io;
	}
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	return w->ud;
}

static void forget(struct kvm_user_wait *w)
{
	struct kvm_user_dev *ud = w->ud;

	*w = (struct kvm_user_wait){};
	if (ud)
		kvm_user_dev_put(ud);
}

/* -- KVM_RUN ---------------------------------------------------------------------- */

/* With kvm->srcu, which the bus was looked at with. */
bool __kvm_user_port(struct kvm_vcpu *vcpu, u16 port)
{
	return kvm_user_range_find(vcpu->kvm, true, port);
}

/* Nobody is left for the rest of a string: as any bus has it. */
static void end_string(struct kvm_vcpu *vcpu, struct kvm_user_wait *w)
{
	w->data = ~0ull;
	for (; w->index < w->count && !w->store; w->index++)
		kvm_arch_user_answer(vcpu, w);
}

/*
 * KVM_RUN is about to return to user space: is it for one of our ranges?  Then it is to
 * call kvm_user_resume() and run on.
 */
bool __kvm_user_exit(struct kvm_vcpu *vcpu)
{
	struct kvm_user_wait *w = &vcpu->user_wait;
	u32 done = w->ports_done;
	bool is_access;

	is_access = (done || READ_ONCE(vcpu->kvm->user_devs)) && kvm_arch_user_access(vcpu, w);
	w->ports_done = 0;
	w->ports = 0;
	if (!is_access)
		return false;
	w->index = done;
	if (find_device(vcpu, w))
		return true;
	if (!done)
		return false;
	/* The range went just now; user space must not see the part that is done. */
	end_string(vcpu, w);
	return true;
}

/* Before KVM_RUN runs: 0, or -EINTR and the access is still under way. */
int __kvm_user_resume(struct kvm_vcpu *vcpu)
{
	struct kvm_user_wait *w = &vcpu->user_wait;
	bool look = READ_ONCE(vcpu->run->immediate_exit__unsafe);
	int err = 0;

	if (likely(!w->ud))
		return 0;
	if (w->vmm) {
		/* The VMM has given it up. */
		forget(w);
		return 0;
	}
	vcpu->run->flags &= ~RMIO_KVM_RUN_PENDING;
	kvm_sigset_activate(vcpu);
	/* A string of port accesses is several. */
	while (w->index < w->count) {
		if (w->store)
			w->data = kvm_arch_user_data(vcpu, w);
		err = do_access(vcpu, w, look);
		if (err)
			break;
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
	/* Registers are neither before nor after the instruction. */
	vcpu->run->flags |= RMIO_KVM_RUN_PENDING;
	++vcpu->stat.signal_exits;
	return err;
}

void kvm_user_vcpu_destroy(struct kvm_vcpu *vcpu)
{
	forget(&vcpu->user_wait);
}

/* -- KVM_DEV_USER_ACCESS ------------------------------------------------------------ */

static bool same_access(const struct kvm_user_wait *w, const struct rmio_kvm_access *a)
{
	return w->addr == a->addr && w->len == a->len && w->io == (a->bus == RMIO_BUS_IO) &&
	       w->store == a->store && (!a->store || w->data == a->data);
}

/* With vcpu->mutex. */
static int vmm_access(struct kvm_user_dev *ud, struct kvm_vcpu *vcpu, struct rmio_kvm_access *a)
{
	struct kvm_user_wait *w = &vcpu->user_wait;
	int err;

	/* One of KVM_RUN is under way, and only that goes on with it. */
	if (w->ud && !w->vmm)
		return -EBUSY;
	if (w->ud && (w->ud != ud || !same_access(w, a)))
		forget(w);
	if (!w->ud) {
		w->addr = a->addr;
		w->len = a->len;
		w->io = a->bus == RMIO_BUS_IO;
		w->store = a->store;
		w->vmm = true;
		/* Another's, whose range came here just now, could not be kicked. */
		if (!find_device(vcpu, w) || w->ud != ud) {
			forget(w);
			return -EOPNOTSUPP;
		}
		if (a->store)
			w->data = a->data;
	}
	err = do_access(vcpu, w, false);
	if (err)
		return err;
	a->data = w->data;
	forget(w);
	return 0;
}

int kvm_user_access(struct kvm_user_dev *ud, struct rmio_kvm_access *a)
{
	struct kvm_vcpu *vcpu;
	int err;

	if (!a->len || a->len > 8 || a->store > 1 || a->bus > RMIO_BUS_IO || a->reserved)
		return -EINVAL;
	vcpu = kvm_get_vcpu_by_id(ud->kvm, a->vcpu);
	if (!vcpu)
		return -ENOENT;
	if (!kvm_user_lane_of(&ud->lanes, vcpu))
		return -ENXIO;
	if (mutex_lock_interruptible(&vcpu->mutex))
		return -EINTR;
	err = vmm_access(ud, vcpu, a);
	mutex_unlock(&vcpu->mutex);
	return err;
}
