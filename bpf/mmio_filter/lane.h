/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One store into the vCPU's lane: the image first, then the slot, then whoever has to be woken.
 * The order of these is the contract of user/ring.c, user/shadow.c and user/wake.h; change both.
 */
#ifndef RMIO_BPF_LANE_H
#define RMIO_BPF_LANE_H

#include "lookup.h"

#define SLOTS_A_PAGE	(RMIO_PAGE / sizeof(struct rmio_request))

static __always_inline void kick(struct rmio_bpf_vcpu *v, __u32 dev)
{
	v->attention[(dev / 64) & (RMIO_BPF_DEVS / 64 - 1)] |= 1ull << (dev & 63);
	v->kicks++;
	bpf_send_signal_thread(kick_signal);
}

/*
 * One store of an aligned size is one store to the image, so that a reader sees all
 * or nothing of it.  The library plans no area whose image lies otherwise in its page.
 */
static __always_inline void write_shadow(const struct rmio_bpf_reg *to, __u64 at, __u32 len,
					 __u64 data)
{
	__u32 in = at & (RMIO_PAGE - 1), i;
	struct page *p = page_of(&shadows, to->dev, at / RMIO_PAGE);
	__u8 *b;

	if (!p)
		return;
	b = p->bytes;
	if (in & (len - 1)) {
		for (i = 0; i < 8; i++)
			if (i < len)
				b[(in + i) & (RMIO_PAGE - 1)] = data >> (8 * i);
		return;
	}
	switch (len) {
	case 1:
		*(volatile __u8 *)(b + (in & (RMIO_PAGE - 1))) = data;
		break;
	case 2:
		*(volatile __u16 *)(b + (in & (RMIO_PAGE - 2))) = data;
		break;
	case 4:
		*(volatile __u32 *)(b + (in & (RMIO_PAGE - 4))) = data;
		break;
	case 8:
		*(volatile __u64 *)(b + (in & (RMIO_PAGE - 8))) = data;
		break;
	}
}

/* Slots in use, with a look at how far the device has got: the line is the device's. */
static __always_inline __u64 in_use(const struct rmio_bpf_reg *to, struct rmio_bpf_lane *lane,
				    __u32 vcpu, __u64 tail)
{
	struct rmio_up_lane *ul;
	__u32 index = 1 + vcpu;
	__u64 done;

	ul = (struct rmio_up_lane *)page_of(&ups, to->dev, index);
	if (ul) {
		/* The slots below done have been read: a control dependency orders our writes. */
		done = *(volatile __u64 *)&ul->done;
		if (done - lane->done > tail - lane->done)
			lane->bad++;
		else
			lane->done = done;
	}
	return tail - lane->done;
}

/*
 * A zone wakes nobody: then the library rings.  It has a thread for that, unless the VMM
 * has taken its place or it is behind with its work; then the vCPU must come out.
 */
static __always_inline void wake(struct rmio_bpf_vcpu *v, const struct rmio_bpf_reg *to,
				 struct rmio_bpf_lane *lane)
{
	struct rmio_up_hdr *uh = (struct rmio_up_hdr *)page_of(&ups, to->dev, 0);
	__u32 g, dev;

	if (!uh)
		return;
	g = *(volatile __u32 *)&uh->need_wake;
	if (g && g != lane->rung) {
		lane->rung = g;
		dev = to->dev;
		if (to->flags & RMIO_BPF_TELL &&
		    !bpf_ringbuf_output(&sleepers, &dev, sizeof(dev), BPF_RB_FORCE_WAKEUP)) {
			lane->told++;
			return;
		}
		kick(v, dev);
	}
}

/* The number is what the device looks for; the fields come before it (user/ring.c). */
static __always_inline void publish(struct rmio_request *slot, __u64 seq, bool fence)
{
	/*
	 * The full barrier orders the number before need_wake is read (P2 of user/wake.h).
	 * Where KVM wakes by itself a release would do, which only total store order has
	 * for nothing here.
	 */
	if (fence || !STORES_IN_ORDER)
		__sync_lock_test_and_set(&slot->seq, seq);
	else
		*(volatile __u64 *)&slot->seq = seq;
}

/* Put it into the lane.  True: delivered, or nobody wants it any more. */
static __always_inline bool deliver(struct rmio_bpf_vcpu *v, __u32 vcpu, __u32 generation,
				    __u64 gpa, __u32 len, __u64 data)
{
	const struct rmio_bpf_reg *to;
	struct rmio_bpf_lane *lane;
	struct rmio_request *slot;
	struct rmio_down_lane *dl;
	struct rmio_bpf_hit *h;
	void *down, *inner;
	struct page *p;
	__u32 index, dev, first;
	bool full = false;
	__u64 tail;

	h = find(v, gpa, len, generation);
	if (!h)
		return false;
	to = &h->to;
	dev = to->dev;
	inner = bpf_map_lookup_elem(&lanes, &dev);
	down = bpf_map_lookup_elem(&downs, &dev);
	if (!inner || !down)
		return false;
	lane = bpf_map_lookup_elem(inner, &vcpu);
	if (!lane)
		return false;
	tail = lane->tail;
	first = 1 + vcpu * to->lane_pages;
	index = first + 1 + ((__u32)tail & to->slot_mask) / SLOTS_A_PAGE;
	p = bpf_map_lookup_elem(down, &index);
	if (!p)
		return false;
	if (lane->dead) {
		lane->discarded++;
		return true;
	}
	/* Is the reserve free after this one? */
	if (tail - lane->done > (__u64)to->slot_mask - RMIO_BPF_RESERVE) {
		__u64 used = in_use(to, lane, vcpu, tail);

		if (used > to->slot_mask) {
			lane->lost++;
			kick(v, dev);
			return true;
		}
		full = used > (__u64)to->slot_mask - RMIO_BPF_RESERVE;
	}

	/* Before the slot: what the device makes of the register must not be overwritten. */
	if (to->flags & RMIO_BPF_THROUGH) {
		write_shadow(to, to->shadow, len, data);
		lane->through++;
	}
	slot = (void *)(p->bytes + ((__u32)tail & (SLOTS_A_PAGE - 1)) * sizeof(*slot));
	slot->offset = to->offset;
	slot->data = data;
	slot->range_id = to->range_id;
	slot->vcpu = vcpu;
	slot->op = RMIO_OP_STORE;
	slot->len = len;
	slot->flags = 0;
	slot->reserved = 0;
	tail++;
	publish(slot, tail, to->flags & RMIO_BPF_WAKE);
	lane->tail = tail;
	lane->posted++;
	lane->zone += h->zone;
	if (full) {
		lane->full++;
		kick(v, dev);
	}
	/* For a successor, which takes any value that is not a ring away. */
	if (!((__u32)tail & (to->slot_mask >> 1))) {
		dl = bpf_map_lookup_elem(down, &first);
		if (dl)
			dl->tail = tail;
	}
	if (to->flags & RMIO_BPF_WAKE)
		wake(v, to, lane);
	return true;
}

#endif
