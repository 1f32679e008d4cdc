// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lanes: the rings that carry requests to the device process, the reply slot, and the
 * scoreboard, which is what was pushed less what is done.
 *
 * Whatever is in "up" was written by the device process: each value is read once and
 * bounded, and nothing else is believed of it.
 */
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "user_dev.h"

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
	struct kvm_user_dev *ud = from_timer(ud, timer, watchdog);
	unsigned long until, next = 0;
	u32 i;

	/* Pairs with that of kvm_user_lane_until(): the timer is seen not to be set any more. */
	smp_mb();
	for (i = 0; i < ud->nr_lanes; i++) {
		until = READ_ONCE(ud->lanes[i].until);
		if (!until)
			continue;
		if (time_after_eq(jiffies, until))
			rcuwait_wake_up(&ud->lanes[i].wait);
		else if (!next || time_before(until, next))
			next = until;
	}
	if (next)
		timer_reduce(timer, next);
}

void kvm_user_lane_until(struct kvm_user_dev *ud, struct kvm_user_lane *lane,
			 unsigned long until)
{
	WRITE_ONCE(lane->until, until);
	/* Either the timer sees it, or this sees that the timer has run. */
	smp_mb();
	/* Does nothing when it runs before that anyway. */
	timer_reduce(&ud->watchdog, until);
}

int kvm_user_lanes_init(struct kvm_user_dev *ud)
{
	struct kvm_user_lane *lanes;
	u32 i;
	int err;

	BUILD_BUG_ON(PAGE_SIZE != RMIO_PAGE);
	ud->stride = PAGE_SIZE + ring_bytes(ud->slots);
	lanes = kvcalloc(ud->nr_lanes, sizeof(*lanes), GFP_KERNEL_ACCOUNT);
	if (!lanes)
		return -ENOMEM;
	err = kvm_user_mem_init(&ud->down, PAGE_SIZE + ud->nr_lanes * ud->stride);
	if (err)
		goto free_lanes;
	err = kvm_user_mem_init(&ud->up, PAGE_SIZE * (1ull + ud->nr_lanes));
	if (err)
		goto free_down;
	ud->down_hdr = ud->down.addr;
	ud->up_hdr = ud->up.addr;
	*ud->down_hdr = (struct rmio_down_hdr){
		.magic = RMIO_ABI_MAGIC,
		.version = RMIO_ABI_VERSION,
		.features = RMIO_FEATURES,
		.nr_lanes = ud->nr_lanes,
		.ring_slots = ud->slots,
		.lane_stride = ud->stride,
		.size = PAGE_SIZE + ud->nr_lanes * ud->stride,
		.lanes_used = ud->nr_lanes,
	};
	for (i = 0; i < ud->nr_lanes; i++) {
		struct kvm_user_lane *lane = &lanes[i];

		lane->down = ud->down.addr + PAGE_SIZE + i * ud->stride;
		lane->slots = (void *)lane->down + PAGE_SIZE;
		lane->up = ud->up.addr + PAGE_SIZE * (1 + i);
		rcuwait_init(&lane->wait);
	}
	timer_setup(&ud->watchdog, watchdog, 0);
	/* The master's mmap() looks without a lock. */
	smp_store_release(&ud->lanes, lanes);
	return 0;

free_down:
	kvm_user_mem_free(&ud->down);
free_lanes:
	kvfree(lanes);
	return err;
}

void kvm_user_lanes_free(struct kvm_user_dev *ud)
{
	u32 i;

	if (!ud->lanes)
		return;
	timer_shutdown_sync(&ud->watchdog);
	for (i = 0; i < ud->nr_lanes; i++)
		kvfree(ud->lanes[i].sent);
	kvfree(ud->lanes);
	ud->lanes = NULL;
	kvm_user_mem_free(&ud->down);
	kvm_user_mem_free(&ud->up);
}

struct kvm_user_lane *kvm_user_lane_of(struct kvm_user_dev *ud, const struct kvm_vcpu *vcpu)
{
	if (!ud->lanes || vcpu->vcpu_id >= ud->nr_lanes)
		return NULL;
	return &ud->lanes[array_index_nospec(vcpu->vcpu_id, ud->nr_lanes)];
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

int kvm_user_lane_refresh(struct kvm_user_dev *ud, struct kvm_user_lane *lane)
{
	int err = lane_update(lane);

	return err ?: ud->slots - (lane->tail - lane->done);
}

int kvm_user_lane_room(struct kvm_user_dev *ud, struct kvm_user_lane *lane)
{
	/* The line is the device's: it is looked at only when it may matter. */
	if (lane->tail - lane->done < ud->slots)
		return ud->slots - (lane->tail - lane->done);
	return kvm_user_lane_refresh(ud, lane);
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
u64 kvm_user_lane_push(struct kvm_user_dev *ud, struct kvm_user_lane *lane,
		       const struct rmio_request *req)
{
	struct rmio_request *slot = &lane->slots[lane->tail & (ud->slots - 1)];
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
	if (unlikely(kvm_user_dev_dead(ud)))
		kvm_user_lane_bury(ud, lane);
	if (kvm_user_dev_mapped(ud)) {
		wanted = READ_ONCE(ud->up_hdr->need_wake);
		if (!wanted || wanted == READ_ONCE(ud->rung))
			return seq;
		WRITE_ONCE(ud->rung, wanted);
	}
	/* After the barrier above. */
	if (waitqueue_active(&ud->poll))
		wake_up_interruptible_poll(&ud->poll, EPOLLIN | EPOLLRDNORM);
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
bool kvm_user_lane_pending(const struct kvm_user_dev *ud)
{
	u32 i;

	for (i = 0; i < ud->nr_lanes; i++) {
		const struct kvm_user_lane *lane = &ud->lanes[i];
		u64 taken = kvm_user_dev_mapped(ud) ? READ_ONCE(lane->up->taken) :
						      READ_ONCE(lane->taken);

		if (READ_ONCE(lane->slots[taken & (ud->slots - 1)].seq) == taken + 1)
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
void kvm_user_lane_bury(struct kvm_user_dev *ud, struct kvm_user_lane *lane)
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
	if (tail - at > ud->slots)
		at = tail - min_t(u64, tail, ud->slots);
	for (at = max(at, from); at != tail; at++)
		stores += lane->slots[at & (ud->slots - 1)].op == RMIO_OP_STORE;
	if (stores)
		kvm_user_lane_discarded(lane, stores);
}
