/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device's lanes: one vCPU's pair of ring and reply slot each.  Of the device they know whether
 * it is dead, and no more.
 */
#ifndef __KVM_USER_LANE_H
#define __KVM_USER_LANE_H

#include <linux/kvm_host.h>
#include <linux/rcuwait.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include <rmio/abi.h>

#include "user_mem.h"

struct kvm_user_lane {
	/* Producer: the vCPU's thread alone.  What a look-up gets a pointer to is first. */
	u32 hit;		/* the area of the last load */
	u32 kicked;		/* its wait, or the next one, is to end */
	u64 tail;
	u64 done;		/* the last valid value of up->done */
	struct rmio_down_lane *down;
	struct rmio_request *slots;
	struct rmio_up_lane *up;
	struct rcuwait wait;	/* the vCPU, in user_exit.c */
	u64 buried;		/* up to here it is counted what a dead device left */
	unsigned long until;	/* when it has slept too long, in jiffies; 0: it does not */
	u32 sleeps;		/* of the vCPU: need_wake's last number */
	u32 poll_ns;		/* how long it looks before it sleeps */

	/* Consumer for read() and write() of the slave: under io_lock. */
	u64 taken;
	u64 answer;		/* to the load or synchronous store with this number: */
	u64 answered;		/* an older one has been given up */
	u8 *sent;		/* by slot: what has been read and not completed */
};

enum kvm_user_io { KVM_USER_IO_NONE, KVM_USER_IO_READS, KVM_USER_IO_MAPPED };

struct kvm_user_lanes {
	u32 state;		/* enum rmio_kvm_state: user_dev.c writes it */
	u32 nr, slots;
	u64 stride;
	struct kvm_user_mem down, up;
	struct rmio_down_hdr *down_hdr;
	struct rmio_up_hdr *up_hdr;
	struct kvm_user_lane *lane;	/* NULL: not made yet */

	struct timer_list watchdog;	/* at the first lane's time, or before */
	wait_queue_head_t poll;		/* the device process */
	u32 rung;			/* its need_wake last rung for */
	int io;				/* enum kvm_user_io: the first use decides */
};

void kvm_user_lanes_init(struct kvm_user_lanes *l);
/* Before the first range or slave. */
int kvm_user_lanes_need(struct kvm_user_lanes *l);
void kvm_user_lanes_free(struct kvm_user_lanes *l);
struct kvm_user_lane *kvm_user_lane_of(struct kvm_user_lanes *l, const struct kvm_vcpu *vcpu);
/* Slots free: 0 none, -EPROTO: the device wrote nonsense. */
int kvm_user_lane_room(struct kvm_user_lanes *l, struct kvm_user_lane *lane);
/* The same with a look at how far the device has got. */
int kvm_user_lane_refresh(struct kvm_user_lanes *l, struct kvm_user_lane *lane);
/* All of the lane's requests complete?  Else as above. */
int kvm_user_lane_look(struct kvm_user_lane *lane);

static inline int kvm_user_lane_idle(struct kvm_user_lane *lane)
{
	/* The line is the device's: it is looked at only when it may matter. */
	return likely(lane->tail == lane->done) ? 1 : kvm_user_lane_look(lane);
}

u64 kvm_user_lane_push(struct kvm_user_lanes *l, struct kvm_user_lane *lane,
		       const struct rmio_request *req);
/* The vCPU is going to sleep: wake it when this time has come. */
void kvm_user_lane_until(struct kvm_user_lanes *l, struct kvm_user_lane *lane,
			 unsigned long until);
bool kvm_user_lane_reply(const struct kvm_user_lane *lane, u64 seq, u64 *data);
bool kvm_user_lanes_pending(const struct kvm_user_lanes *l);
/* The device is dead: count the stores that it has left, each once. */
void kvm_user_lane_bury(struct kvm_user_lanes *l, struct kvm_user_lane *lane);
void kvm_user_lane_discarded(struct kvm_user_lane *lane, u64 stores);

static inline bool kvm_user_lanes_dead(const struct kvm_user_lanes *l)
{
	return READ_ONCE(l->state) > RMIO_KVM_LIVE;
}

static inline bool kvm_user_lanes_mapped(const struct kvm_user_lanes *l)
{
	return READ_ONCE(l->io) == KVM_USER_IO_MAPPED;
}

/* One thread writes it: the vCPU's. */
static inline void kvm_user_count(u64 *counter)
{
	WRITE_ONCE(*counter, *counter + 1);
}

#endif
