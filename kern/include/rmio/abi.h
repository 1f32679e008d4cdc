/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR LGPL-2.1+ OR BSD-2-Clause */
/*
 * The rmio ABI: everything that two sides of the system share, in one place.
 * Compiled by the library, by BPF programs, by the kernel device and by VMM
 * patches.  Fixed-width fields, native byte order, no pointers, no bit fields,
 * no implicit padding.
 *
 * Three sides appear below:
 *   VMM     writes "down", maps "up" read-only
 *   device  writes "up" and the shadow image, maps "down" read-only
 *   both    are hostile to each other: a reader loads a shared value once,
 *           bounds it, and believes nothing else about it
 *
 * "Reserved" fields are zero.  Those of messages, requests, replies and of the
 * header of "down" are checked by the reader, which refuses anything else; those
 * that fill up the other pages are not read.
 */
#ifndef RMIO_ABI_H
#define RMIO_ABI_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define RMIO_ABI_MAGIC		0x4f494d52u	/* "RMIO" */
#define RMIO_ABI_VERSION	1u

/* Feature bits of rmio_down_hdr.features; a device refuses bits it does not know. */
#define RMIO_FEATURES		0ull

#define RMIO_PAGE		4096u
#define RMIO_LINE		64u
#define RMIO_RING_MIN		2u		/* slots in a ring */
#define RMIO_RING_MAX		65536u
#define RMIO_LANES_MAX		1024u		/* lanes (vCPUs) of a device */
#define RMIO_RANGES_MAX		64u		/* ranges of a device */
#define RMIO_AREAS_MAX		4096u		/* areas of an access map */
#define RMIO_SHADOW_MAX		0x40000000ull	/* bytes of a shadow image */

/* -- ranges (KVM_DEV_USER_PA_RANGE) -------------------------------------- */

enum rmio_bus {
	RMIO_BUS_MEM	= 0,
	RMIO_BUS_IO	= 1,
};

/* Written by the VMM; len 0 removes the range of that id. */
struct rmio_pa_range {
	__u64 addr;		/* guest-physical address or port */
	__u64 len;		/* bytes; addr + len must not wrap */
	__u32 bus;		/* enum rmio_bus */
	__u32 id;		/* chosen by the VMM, such as a BAR number; below 65536 */
};

/* -- requests and replies ------------------------------------------------ */

enum rmio_op {
	RMIO_OP_LOAD	= 1,	/* the vCPU waits for a reply with data */
	RMIO_OP_STORE	= 2,	/* posted: the vCPU has gone on */
	RMIO_OP_STORE_SYNC = 3,	/* the vCPU waits for a reply, data ignored */
};

/* rmio_request.flags */
#define RMIO_REQ_REDELIVERED	0x01u	/* set by the slave's library on its copy only: */
					/* the handler of a dead predecessor had begun it */

/*
 * One request: a slot of a lane's ring, and what a slave reads.  Written by
 * the VMM (library, BPF or kernel), read by the device.  A slot is published
 * when seq equals its lane index plus one; seq is stored last, with release.
 * The reader copies the slot before it checks it.
 */
struct rmio_request {
	__u64 seq;		/* free-running, per lane, first is 1 */
	__u64 offset;		/* from the start of the range */
	__u64 data;		/* stores: value, zero-extended; loads: 0 */
	__u16 range_id;
	__u16 vcpu;		/* lane number */
	__u8  op;		/* enum rmio_op */
	__u8  len;		/* 1, 2, 4 or 8 */
	__u8  flags;		/* RMIO_REQ_*; 0 in a slot */
	__u8  reserved;
};

/* What a slave writes: completes one request of its sent queue. */
struct rmio_reply {
	__u64 seq;		/* of the request */
	__u64 data;		/* loads: value; stores: ignored */
	__u32 vcpu;		/* of the request */
	__u32 reserved;
};

/* -- access map ---------------------------------------------------------- */

#define RMIO_SIZE_1		0x1u
#define RMIO_SIZE_2		0x2u
#define RMIO_SIZE_4		0x4u
#define RMIO_SIZE_8		0x8u
#define RMIO_SIZE_ALL		0xfu

enum rmio_area_load {
	RMIO_LOAD_DEVICE	= 0,	/* the device answers */
	RMIO_LOAD_SHADOW	= 1,	/* the shadow image answers */
};

enum rmio_area_store {
	RMIO_STORE_POSTED	= 0,
	RMIO_STORE_THROUGH	= 1,	/* posted, and written to the shadow at once */
	RMIO_STORE_SYNC		= 2,	/* the vCPU waits for the device */
};

#define RMIO_AREA_RELAXED	0x1u	/* loads need not wait for posted stores */

/* Written by the device, copied and checked by the VMM. */
struct rmio_area {
	__u64 offset;		/* in the range */
	__u64 length;		/* bytes, not 0 */
	__u64 shadow_offset;	/* where the area's bytes lie in the shadow image */
	__u32 range_id;
	__u8  sizes;		/* RMIO_SIZE_* the shadow may serve; 0 only without shadow */
	__u8  load;		/* enum rmio_area_load */
	__u8  store;		/* enum rmio_area_store */
	__u8  flags;		/* RMIO_AREA_* */
};

/* -- counters ------------------------------------------------------------ */

/*
 * Per lane, written by the VMM alone, each by one thread at a time; read by
 * anybody for display.  Nothing else may be concluded from them.
 */
struct rmio_counters {
	__u64 posted;		/* stores put into the ring */
	__u64 sync;		/* synchronous stores put into the ring */
	__u64 loads;		/* loads put into the ring */
	__u64 shadow;		/* loads answered from the shadow */
	__u64 refused_size;	/* shadow loads that went to the device for their size */
	__u64 full;		/* times the ring was full and the vCPU waited */
	__u64 ordered;		/* times a shadow load waited for posted stores */
	__u64 slept;		/* times the vCPU slept */
	__u64 interrupted;	/* waits ended by a signal or kick */
	__u64 timeouts;		/* waits that ran out */
	__u64 ones;		/* loads answered all ones for want of a device */
	__u64 discarded;	/* stores discarded for want of a device */
};

/* -- lane layout --------------------------------------------------------- */

/*
 * "down": one header page, then per lane a producer page and the slots.
 * "up":   one header page, then per lane a consumer page.
 * Both are memfds made and owned by the VMM, sealed against shrinking,
 * growing and further seals, "down" against future writes as well.
 */
struct rmio_down_hdr {
	/* Written once, before the device sees it; copied and checked by it. */
	__u32 magic;
	__u32 version;
	__u64 features;
	__u32 nr_lanes;		/* 1 .. RMIO_LANES_MAX */
	__u32 ring_slots;	/* power of two, RMIO_RING_MIN .. RMIO_RING_MAX */
	__u64 lane_stride;	/* bytes between lanes in "down" */
	__u64 size;		/* bytes of "down" */
	__u8  reserved[24];
	/*
	 * Written by any vCPU thread (atomic add), futex word of the sleeping
	 * device.  A changed value means "look again" and nothing else.
	 */
	__u32 bell;
	__u8  reserved1[RMIO_LINE - 4];
	/*
	 * Written by the VMM: lanes from here on have no vCPU yet.  Grows only.  The
	 * device looks at no more than nr_lanes.
	 */
	__u32 lanes_used;
	__u8  reserved2[RMIO_PAGE - 2 * RMIO_LINE - 4];
};

struct rmio_down_lane {
	/*
	 * Written by the producer after the slots; a copy of its private
	 * index for display and for a successor.  Slots say for themselves
	 * whether they are published.
	 */
	__u64 tail;
	__u8  reserved0[RMIO_LINE - 8];
	/*
	 * Written by the vCPU about to sleep: wake me when "done" has reached
	 * wake_at.  need_wake is 0, or a number fresh for each sleep.  A wrong
	 * value costs the vCPU its own wake-up and nobody else anything.
	 */
	__u64 wake_at;
	__u32 need_wake;
	__u32 cpu;		/* where the vCPU last waited; a hint for placement */
	__u8  reserved1[RMIO_LINE - 16];
	struct rmio_counters counters;
	__u8  reserved2[RMIO_PAGE - 2 * RMIO_LINE - sizeof(struct rmio_counters)];
};

#define RMIO_BELL_FUTEX	0u	/* on rmio_down_hdr.bell */
#define RMIO_BELL_SOCK	1u	/* for a message on the slave descriptor */
#define RMIO_BELL_SOCK_POSTED 2u /* the same, and for the eventfd of posted stores */

struct rmio_up_hdr {
	/*
	 * Written by the device about to sleep: 0, or a number fresh for each
	 * sleep.  A producer that sees a number it has not rung for rings.  A
	 * wrong value costs one system call or the device's own wake-up.
	 */
	__u32 need_wake;
	/*
	 * Written by the device before its first sleep: how it sleeps, RMIO_BELL_*.
	 * Anything but _FUTEX waits for messages.  With _FUTEX, too, the eventfd
	 * of posted stores wakes it.
	 */
	__u32 bell_kind;
	__u32 reserved0[14];
	__u8  reserved1[RMIO_PAGE - RMIO_LINE];
};

struct rmio_up_lane {
	/*
	 * Written by the device.  done: requests completed, in order; the VMM
	 * takes it only when it lies between the last one it took and its own
	 * tail.  The reply slot holds the answer to the one request that a
	 * vCPU can wait for: data first, then reply_seq, then done, so that a
	 * device that dies in between leaves the request to its successor.
	 */
	__u64 done;
	__u64 reply_seq;
	__u64 reply_data;
	__u32 wake_seq;		/* futex word of the sleeping vCPU, bumped at each wake */
	__u32 reserved0;
	__u8  reserved1[RMIO_LINE - 32];
	/*
	 * Requests handed to a handler.  Read by a successor only, which takes
	 * it when it lies in done .. tail: what lies between done and taken is
	 * delivered again and marked.  On a line of its own, so that taking a
	 * request does not disturb a vCPU that polls for its reply.
	 */
	__u64 taken;
	__u8  reserved2[RMIO_PAGE - RMIO_LINE - 8];
};

/*
 * Memory that a BPF program writes too cannot hold a futex: its pages belong to no file.
 * Where "down" and "up" are such memory, two more memfds, sealed like them, hold the
 * words that somebody sleeps on, and those in "down" and "up" are not used.
 */
struct rmio_down_words {
	__u32 bell;		/* as rmio_down_hdr.bell */
	__u8  reserved[RMIO_PAGE - 4];
};

/* One a lane. */
struct rmio_up_words {
	__u32 wake_seq;		/* as rmio_up_lane.wake_seq */
	__u8  reserved[RMIO_LINE - 4];
};

/* -- the kernel device (KVM_DEV_TYPE_USER) ------------------------------------ */

/*
 * What a BPF program that is attached to a device answers for each access.  It can only take
 * away: what the access map does not let the shadow answer goes to the device all the same.
 * Anything else counts as TO_DEVICE.
 */
enum rmio_kvm_answer {
	RMIO_KVM_AS_MAPPED	= 0,	/* what the access map says */
	RMIO_KVM_TO_DEVICE	= 1,	/* a load not from the shadow, a store not into it */
	RMIO_KVM_REFUSE		= 2,	/* a load is all ones, a store discarded; both counted */
};

#ifndef __VMLINUX_H__

/*
 * In kvm_run.flags when KVM_RUN has failed with EINTR: an access to such a device is under
 * way.  Registers are neither those before it nor those after it: they are not to be read, saved
 * or set before a KVM_RUN has returned without it.  It ends with the answer, or the timeout.
 */
#define RMIO_KVM_RUN_PENDING	0x8000

/*
 * KVM_CREATE_DEVICE with this type makes a device; its descriptor is the master.  A kernel
 * without it answers ENODEV.
 */
#include <linux/kvm.h>
#ifndef KVM_DEV_TYPE_USER
#define KVM_DEV_TYPE_USER	0x52
#endif

/*
 * Where "down", "up" and the shadow image lie in the slave descriptor, for mmap: all of each
 * from its start.  "down" cannot be mapped for writing.  The master has "down" and "up", for
 * reading, once KVM_DEV_USER_RINGS or anything that needs lanes has been called.
 */
#define RMIO_KVM_MAP_DOWN	0ull
#define RMIO_KVM_MAP_UP		0x10000000000ull
#define RMIO_KVM_MAP_SHADOW	0x20000000000ull

#define RMIO_KVM_SLOTS		256u		/* of a ring, unless told */
#define RMIO_KVM_LANES		64u		/* of a device, unless told */
#define RMIO_KVM_LANE_BYTES	0x4000000ull	/* of all rings of a device together */
#define RMIO_KVM_SHADOW_MAX	0x4000000ull	/* bytes of a shadow image in the kernel */

/* Master, before the slave is made.  A vCPU has the lane of its KVM_CREATE_VCPU id. */
struct rmio_kvm_rings {
	__u32 lanes;		/* 1 .. RMIO_LANES_MAX */
	__u32 slots;		/* as ring_slots above */
};

enum rmio_kvm_state {
	RMIO_KVM_NEW		= 0,	/* no slave has been read or mapped yet */
	RMIO_KVM_LIVE		= 1,
	RMIO_KVM_CLOSED		= 2,	/* the last slave descriptor and mapping are gone; _CLOSE */
	RMIO_KVM_TIMEOUT	= 3,	/* a vCPU waited longer than the timeout */
	RMIO_KVM_PROTOCOL	= 4,	/* impossible values in a lane */
};

/* Slave: the access map, replacing the one before it. */
struct rmio_kvm_map {
	__u64 areas;		/* address of struct rmio_area[nr] */
	__u32 nr;		/* 0 .. RMIO_AREAS_MAX */
	__u32 reserved;		/* 0 */
};

/*
 * Master: an access that the VMM makes for a vCPU, between two KVM_RUN: one that came out
 * all the same, or one that it emulates itself.
 */
struct rmio_kvm_access {
	__u64 addr;		/* guest-physical address or port */
	__u64 data;		/* of a store; a load's answer */
	__u32 vcpu;		/* KVM_CREATE_VCPU id */
	__u8  bus;		/* enum rmio_bus */
	__u8  len;		/* 1 .. 8 */
	__u8  store;		/* 0 or 1 */
	__u8  reserved;		/* 0 */
};

#define RMIO_KVM_IO	0xae	/* KVMIO */

/* Master.  SLAVE_FD returns the slave descriptor; a second one is refused with EBUSY. */
#define KVM_DEV_USER_SLAVE_FD	_IO(RMIO_KVM_IO, 0xf0)
#define KVM_DEV_USER_PA_RANGE	_IOW(RMIO_KVM_IO, 0xf1, struct rmio_pa_range)
/* ns; 0: five seconds; all ones: for ever. */
#define KVM_DEV_USER_TIMEOUT	_IOW(RMIO_KVM_IO, 0xf2, __u64)
#define KVM_DEV_USER_RINGS	_IOW(RMIO_KVM_IO, 0xf3, struct rmio_kvm_rings)
/* An eventfd that is signalled when the slave is first used and when the device dies; -1: none. */
#define KVM_DEV_USER_EVENTFD	_IOW(RMIO_KVM_IO, 0xf4, __s32)
/* Master and slave: enum rmio_kvm_state. */
#define KVM_DEV_USER_STATE	_IOR(RMIO_KVM_IO, 0xf5, __u32)
/*
 * Master.  EOPNOTSUPP: no range of this device is there, or it reaches over its end; ENXIO: the
 * vCPU has no lane, KVM_DEV_USER_RINGS said too few; EINTR: still under way, call again with the
 * same, or with another to give it up.
 */
#define KVM_DEV_USER_ACCESS	_IOWR(RMIO_KVM_IO, 0xf6, struct rmio_kvm_access)
/* Master: the wait of that vCPU for this device, or its next one, ends with EINTR. */
#define KVM_DEV_USER_KICK	_IOW(RMIO_KVM_IO, 0xf7, __u32)
/*
 * Master and slave: the end of the device, whoever else has the descriptor or a mapping; the
 * master's takes the ranges away too.
 */
#define KVM_DEV_USER_CLOSE	_IO(RMIO_KVM_IO, 0xfb)

/* Slave. */
#define KVM_DEV_USER_SHADOW_SIZE _IOW(RMIO_KVM_IO, 0xf8, __u64)
#define KVM_DEV_USER_SHADOW_CTRL _IOW(RMIO_KVM_IO, 0xf9, struct rmio_kvm_map)
/* With mapped lanes, instead of a futex: wake the vCPU of that lane if it sleeps. */
#define KVM_DEV_USER_WAKE	_IOW(RMIO_KVM_IO, 0xfa, __u32)

#endif

/* -- sizes and offsets ---------------------------------------------------- */

#ifndef __VMLINUX_H__

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#else
#include <assert.h>
#include <stddef.h>
#if !defined(__cplusplus) && !defined(static_assert)	/* C before C11 */
#define static_assert(assertion, text) \
	extern char rmio_asserted[(assertion) && sizeof(text) ? 1 : -1]
#endif
#endif

#define RMIO_ASSERT_SIZE(t, n) static_assert(sizeof(struct t) == (n), #t " size")
#define RMIO_ASSERT_AT(t, f, n) \
	static_assert(offsetof(struct t, f) == (n), #t "." #f " offset")

RMIO_ASSERT_SIZE(rmio_pa_range, 24);
RMIO_ASSERT_AT(rmio_pa_range, addr, 0);
RMIO_ASSERT_AT(rmio_pa_range, len, 8);
RMIO_ASSERT_AT(rmio_pa_range, bus, 16);
RMIO_ASSERT_AT(rmio_pa_range, id, 20);

RMIO_ASSERT_SIZE(rmio_request, 32);
RMIO_ASSERT_AT(rmio_request, seq, 0);
RMIO_ASSERT_AT(rmio_request, offset, 8);
RMIO_ASSERT_AT(rmio_request, data, 16);
RMIO_ASSERT_AT(rmio_request, range_id, 24);
RMIO_ASSERT_AT(rmio_request, vcpu, 26);
RMIO_ASSERT_AT(rmio_request, op, 28);
RMIO_ASSERT_AT(rmio_request, len, 29);
RMIO_ASSERT_AT(rmio_request, flags, 30);
RMIO_ASSERT_AT(rmio_request, reserved, 31);

RMIO_ASSERT_SIZE(rmio_reply, 24);
RMIO_ASSERT_AT(rmio_reply, seq, 0);
RMIO_ASSERT_AT(rmio_reply, data, 8);
RMIO_ASSERT_AT(rmio_reply, vcpu, 16);
RMIO_ASSERT_AT(rmio_reply, reserved, 20);

RMIO_ASSERT_SIZE(rmio_area, 32);
RMIO_ASSERT_AT(rmio_area, offset, 0);
RMIO_ASSERT_AT(rmio_area, length, 8);
RMIO_ASSERT_AT(rmio_area, shadow_offset, 16);
RMIO_ASSERT_AT(rmio_area, range_id, 24);
RMIO_ASSERT_AT(rmio_area, sizes, 28);
RMIO_ASSERT_AT(rmio_area, load, 29);
RMIO_ASSERT_AT(rmio_area, store, 30);
RMIO_ASSERT_AT(rmio_area, flags, 31);

RMIO_ASSERT_SIZE(rmio_counters, 96);
RMIO_ASSERT_AT(rmio_counters, posted, 0);
RMIO_ASSERT_AT(rmio_counters, sync, 8);
RMIO_ASSERT_AT(rmio_counters, loads, 16);
RMIO_ASSERT_AT(rmio_counters, shadow, 24);
RMIO_ASSERT_AT(rmio_counters, refused_size, 32);
RMIO_ASSERT_AT(rmio_counters, full, 40);
RMIO_ASSERT_AT(rmio_counters, ordered, 48);
RMIO_ASSERT_AT(rmio_counters, slept, 56);
RMIO_ASSERT_AT(rmio_counters, interrupted, 64);
RMIO_ASSERT_AT(rmio_counters, timeouts, 72);
RMIO_ASSERT_AT(rmio_counters, ones, 80);
RMIO_ASSERT_AT(rmio_counters, discarded, 88);

RMIO_ASSERT_SIZE(rmio_down_hdr, RMIO_PAGE);
RMIO_ASSERT_AT(rmio_down_hdr, magic, 0);
RMIO_ASSERT_AT(rmio_down_hdr, version, 4);
RMIO_ASSERT_AT(rmio_down_hdr, features, 8);
RMIO_ASSERT_AT(rmio_down_hdr, nr_lanes, 16);
RMIO_ASSERT_AT(rmio_down_hdr, ring_slots, 20);
RMIO_ASSERT_AT(rmio_down_hdr, lane_stride, 24);
RMIO_ASSERT_AT(rmio_down_hdr, size, 32);
RMIO_ASSERT_AT(rmio_down_hdr, reserved, 40);
RMIO_ASSERT_AT(rmio_down_hdr, bell, 64);
RMIO_ASSERT_AT(rmio_down_hdr, lanes_used, 128);

RMIO_ASSERT_SIZE(rmio_down_lane, RMIO_PAGE);
RMIO_ASSERT_AT(rmio_down_lane, tail, 0);
RMIO_ASSERT_AT(rmio_down_lane, wake_at, 64);
RMIO_ASSERT_AT(rmio_down_lane, need_wake, 72);
RMIO_ASSERT_AT(rmio_down_lane, cpu, 76);
RMIO_ASSERT_AT(rmio_down_lane, counters, 128);

RMIO_ASSERT_SIZE(rmio_up_hdr, RMIO_PAGE);
RMIO_ASSERT_AT(rmio_up_hdr, need_wake, 0);
RMIO_ASSERT_AT(rmio_up_hdr, bell_kind, 4);

RMIO_ASSERT_SIZE(rmio_up_lane, RMIO_PAGE);
RMIO_ASSERT_AT(rmio_up_lane, done, 0);
RMIO_ASSERT_AT(rmio_up_lane, reply_seq, 8);
RMIO_ASSERT_AT(rmio_up_lane, reply_data, 16);
RMIO_ASSERT_AT(rmio_up_lane, wake_seq, 24);
RMIO_ASSERT_AT(rmio_up_lane, taken, 64);

RMIO_ASSERT_SIZE(rmio_down_words, RMIO_PAGE);
RMIO_ASSERT_AT(rmio_down_words, bell, 0);

RMIO_ASSERT_SIZE(rmio_up_words, RMIO_LINE);
RMIO_ASSERT_AT(rmio_up_words, wake_seq, 0);

#endif /* __VMLINUX_H__ */

#endif
