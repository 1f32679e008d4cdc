// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lanes: the rings that carry requests to the device process, the reply slot, and the
 * scoreboard, which is what was pushed less what is done.
 *
 * Whatever is in "up" was written by the device process: each value is read once and
 * bounded, and nothing else is believed of it.
 */
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "user_lane.h"

static u64 ring_bytes(u32 slots)
{
	return PAGE_ALIGN((u64)slots * sizeof(struct rmio_request));
}

/*
 * One timer for all lanes, which nobody stops when a wait ends well: it runs once a time
 * limit, and a wait pays for a look at it.
 */
static void watchdog(struct timer_list *timer)
{
	struct kvm_user_lanes *l = from_timer(l, timer, watchdog);
	unsigned long until, next = 0;
	u32 i;

	/* Pairs with that of kvm_user_lane_until(): the timer is seen not to be set any more. */
	smp_mb();
	for (i = 0; i < l->nr; i++) {
		until = READ_ONCE(l->lane[i].until);
		if (!until)
			continue;
		if (time_after_eq(jiffies, until))
			rcuwait_wake_up(&l->lane[i].wait);
		else if (!next || time_before(until, next))
			next = until;
	}
	if (next)
		timer_reduce(timer, next);
}

void kvm_user_lane_until(struct kvm_user_lanes *l, struct kvm_user_lane *lane,
			 unsigned long until)
{
	WRITE_ONCE(lane->until, until);
	/* Either the timer sees it, or this sees that the timer has run. */
	smp_mb();
	/* Does nothing when it runs before that anyway. */
	timer_reduce(&l->watchdog, until);
}

void kvm_user_lanes_init(struct kvm_user_lanes *l)
{
	l->nr = RMIO_KVM_LANES;
	l->slots = RMIO_KVM_SLOTS;
	init_waitqueue_head(&l->poll);
}

static int lanes_make(struct kvm_user_lanes *l)
{
	struct kvm_user_lane *lanes;
	u32 i;
	int err;

	BUILD_BUG_ON(PAGE_SIZE != RMIO_PAGE);
	l->stride = PAGE_SIZE + ring_bytes(l->slots);
	lanes = kvcalloc(l->nr, sizeof(*lanes), GFP_KERNEL_ACCOUNT);
	if (!lanes)
		return -ENOMEM;
	err = kvm_user_mem_init(&l->down, PAGE_SIZE + l->nr * l->stride);
	if (err)
		goto free_lanes;
	err = kvm_user_mem_init(&l->up, PAGE_SIZE * (1ull + l->nr));
	if (err)
		goto free_down;
	l->down_hdr = l->down.addr;
	l->up_hdr = l->up.addr;
	*l->down_hdr = (struct rmio_down_hdr){
		.magic = RMIO_ABI_MAGIC,
		.version = RMIO_ABI_VERSION,
		.features = RMIO_FEATURES,
		.nr_lanes = l->nr,
		.ring_slots = l->slots,
		.lane_stride = l->stride,
		.size = PAGE_SIZE + l->nr * l->stride,
		.lanes_used = l->nr,
	};
	for (i = 0; i < l->nr; i++) {
		struct kvm_user_lane *lane = &lanes[i];

		lane->down = l->down.addr + PAGE_SIZE + i * l->stride;
		lane->slots = (void *)lane->down + PAGE_SIZE;
		lane->up = l->up.addr + PAGE_SIZE * (1 + i);
		rcuwait_init(&lane->wait);
	}
	timer_setup(&l->watchdog, watchdog, 0);
	/* The master's mmap() looks without a lock. */
	smp_store_release(&l->lane, lanes);
	return 0;

free_down:
	kvm_user_mem_free(&l->down);
free_lanes:
	kvfree(lanes);
	return err;
}

int kvm_user_lanes_need(struct kvm_user_lanes *l)
{
	return l->lane ? 0 : lanes_make(l);
}

void kvm_user_lanes_free(struct kvm_user_lanes *l)
{
	u32 i;

	if (!l->lane)
		return;
	timer_shutdown_sync(&l->watchdog);
	for (i = 0; i < l->nr; i++)
		kvfree(l->lane[i].sent);
	kvfree(l->lane);
	l->lane = NULL;
	kvm_user_mem_free(&l->down);
	kvm_user_mem_free(&l->up);
}

struct kvm_user_lane *kvm_user_lane_of(struct kvm_user_lanes *l, const struct kvm_vcpu *vcpu)
{
	if (!l->lane || vcpu->vcpu_id >= l->nr)
		return NULL;
	return &l->lane[array_index_nospec(vcpu->vcpu_id, l->nr)];
}

/* How far the device has got. */
static int lane_update(struct kvm_user_lane *lane)
{
	/* Pairs with its release: slots below have been read. */
	u64 done = smp_load_acquire(&lane->up->done);

	if (done - lane->done > lane->tail - lane->done)
		return -EPROTO;
	lane->done = done;
	return 0;
}

int kvm_user_lane_refresh(struct kvm_user_lanes *l, struct kvm_user_lane *lane)
{
	int err = lane_update(lane);

	return err ?: l->slots - (lane->tail - lane->done);
}

int kvm_user_lane_room(struct kvm_user_lanes *l, struct kvm_user_lane *lane)
{
	/* The line is the device's: it is looked at only when it may matter. */
	if (lane->tail - lane->done < l->slots)
		return l->slots - (lane->tail - lane->done);
	return kvm_user_lane_refresh(l, lane);
}

int kvm_user_lane_look(struct kvm_user_lane *lane)
{
	int err = lane_update(lane);

	return err ?: lane->tail == lane->done;
}

/*
 * There is room.  Returns the request's number.  Called by the vCPU's thread, with or
 * without kvm->srcu.
 */
u64 kvm_user_lane_push(struct kvm_user_lanes *l, struct kvm_user_lane *lane,
		       const struct rmio_request *req)
{
	struct rmio_request *slot = &lane->slots[lane->tail & (l->slots - 1)];
	u64 seq = lane->tail + 1;
	u32 wanted;

	slot->offset = req->offset;
	slot->data = req->data;
	slot->range_id = req->range_id;
	slot->vcpu = req->vcpu;
	slot->op = req->op;
	slot->len = req->len;
	slot->flags = 0;
	slot->reserved = 0;
	/* Pairs with the acquire of whoever takes it: the slot is complete. */
	smp_store_release(&slot->seq, seq);
	lane->tail = seq;
	WRITE_ONCE(lane->down->tail, seq);

	/*
	 * Either the device, which says that it will sleep before it looks once more,
	 * sees the slot, or this sees what it says; the same with the wait queue of a
	 * slave that uses read().  Each sleep has a number of its own: whom somebody
	 * else has rung for looks again before it sleeps under the next one.
	 */
	smp_mb();
	if (unlikely(kvm_user_lanes_dead(l)))
		kvm_user_lane_bury(l, lane);
	if (kvm_user_lanes_mapped(l)) {
		wanted = READ_ONCE(l->up_hdr->need_wake);
		if (!wanted || wanted == READ_ONCE(l->rung))
			return seq;
		WRITE_ONCE(l->rung, wanted);
	}
	/* After the barrier above. */
	if (waitqueue_active(&l->poll))
		wake_up_interruptible_poll(&l->poll, EPOLLIN | EPOLLRDNORM);
	return seq;
}

bool kvm_user_lane_reply(const struct kvm_user_lane *lane, u64 seq, u64 *data)
{
	/* Pairs with the device's release: the data is older. */
	if (smp_load_acquire(&lane->up->reply_seq) != seq)
		return false;
	*data = READ_ONCE(lane->up->reply_data);
	return true;
}

/* Is there a request that the device has not completed?  For poll(). */
bool kvm_user_lanes_pending(const struct kvm_user_lanes *l)
{
	u32 i;

	for (i = 0; i < l->nr; i++) {
		const struct kvm_user_lane *lane = &l->lane[i];
		u64 taken = kvm_user_lanes_mapped(l) ? READ_ONCE(lane->up->taken) :
						      READ_ONCE(lane->taken);

		if (READ_ONCE(lane->slots[taken & (l->slots - 1)].seq) == taken + 1)
			return true;
	}
	return false;
}

/* Not by the vCPU alone: whoever declares the device dead counts too. */
void kvm_user_lane_discarded(struct kvm_user_lane *lane, u64 stores)
{
	u64 *n = &lane->down->counters.discarded;
	u64 old = READ_ONCE(*n);

	while (!try_cmpxchg(n, &old, old + stores))
		;
}

/*
 * By the vCPU that has pushed to it as it died, and by who has declared it dead: whoever moves
 * the mark counts what lies between.
 */
void kvm_user_lane_bury(struct kvm_user_lanes *l, struct kvm_user_lane *lane)
{
	u64 tail, from, at, stores = 0;

	/* Pairs with that of kvm_user_lane_push(). */
	smp_mb();
	tail = READ_ONCE(lane->tail);
	from = READ_ONCE(lane->buried);
	do {
		if (from >= tail)
			return;
	} while (!try_cmpxchg(&lane->buried, &from, tail));
	/* As in lane_update(). */
	at = smp_load_acquire(&lane->up->done);
	/* Whatever the device says, what is no more in the ring has been done. */
	if (tail - at > l->slots)
		at = tail - min_t(u64, tail, l->slots);
	for (at = max(at, from); at != tail; at++)
		stores += lane->slots[at & (l->slots - 1)].op == RMIO_OP_STORE;
	if (stores)
		kvm_user_lane_discarded(lane, stores);
}
