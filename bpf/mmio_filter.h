/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What the BPF program on kvm_mmio and the library share beside the ABI: the
 * tables that say which stores KVM takes without an exit, and the private state of
 * vCPUs and lanes.  Of all this a device process gets "down" (which its library
 * maps read-only), "up" and the shadow image, as in every back end; it never sees
 * the maps that this header describes.
 *
 * One writer each, unless said otherwise: the program writes in the vCPU's thread
 * while that is inside KVM_RUN, the library in the same thread while it is outside.
 */
#ifndef RMIO_BPF_MMIO_FILTER_H
#define RMIO_BPF_MMIO_FILTER_H

#include <rmio/abi.h>

#define RMIO_BPF_DEVS		256u	/* devices of a VM on this back end */
#define RMIO_BPF_REGS		4096u	/* registers with an ioeventfd, of a VM */
#define RMIO_BPF_ZONE_PAGES	4096u	/* pages in coalesced zones, of a VM */
#define RMIO_BPF_THREADS	2048u	/* threads that can be known at a time */
#define RMIO_BPF_HIST		32u	/* powers of two of nanoseconds */
#define RMIO_BPF_HITS		8u	/* places that a vCPU stored to last */
#define RMIO_BPF_CHUNKS		8u	/* of 8 bytes: KVM takes a wider store in such pieces */
/*
 * Slots that are free whenever the guest runs.  A signal is noticed between two
 * instructions at the earliest, and KVM emulates up to 1024 rounds of one with a REP
 * prefix before it looks; the last one may be a wide store, in pieces.
 */
#define RMIO_BPF_RESERVE	1056u
#define RMIO_BPF_SLEEPERS	4096u	/* bytes of "sleepers", of 16 a device */
#define RMIO_BPF_RING_MIN	2048u	/* smaller rings capture nothing */

/* -- which thread: map "thread_ids", where there is no storage for threads ---- */

/* Key: its number in the initial PID namespace.  The library writes it, in that thread. */
struct rmio_bpf_thread {
	__u32 vcpu;
	__u32 reserved;
	__u64 started;		/* 0: the program fills it in; no other thread is it then */
};

/* -- which stores: maps "regs" and "zones", written by the library ---------- */

/* A register whose stores of this length KVM takes: an ioeventfd. */
struct rmio_bpf_reg_key {
	__u64 gpa;
	__u32 len;
	__u32 reserved;
};

#define RMIO_BPF_THROUGH	0x1u	/* write the shadow image too */
#define RMIO_BPF_WAKE		0x2u	/* KVM does not wake the device: look whether it sleeps */
#define RMIO_BPF_TELL		0x4u	/* the library's thread wakes it, not the vCPU */

/* Where a store goes. */
struct rmio_bpf_reg {
	__u64 offset;		/* in the range; zones: of the page's first byte */
	__u64 shadow;		/* THROUGH: where its byte (zones: the page's) is in the image */
	__u32 dev;		/* slot in the tables of maps, below RMIO_BPF_DEVS */
	__u32 slot_mask;	/* slots of a lane, less one */
	__u32 lane_pages;	/* pages of a lane in "down" */
	__u16 range_id;
	__u16 flags;
	__u64 hits;		/* stores captured; roughly, with several vCPUs */
};

/* A page in a coalesced zone; key: guest page number. */
struct rmio_bpf_zone {
	struct rmio_bpf_reg to;
	__u32 from, end;	/* the bytes of the page that are in the zone */
};

/* -- private state, mapped by the library ------------------------------------ */

/* What the tables said of a store, so that the next one like it need not ask them. */
struct rmio_bpf_hit {
	__u64 gpa;
	__u32 len;
	__u32 generation;	/* of the tables; another one than now: void */
	struct rmio_bpf_reg to;	/* with the offset of just this store; its hits so far */
	__u32 zone;
	__u32 reserved;
};

/* Map "vcpus", by vCPU. */
struct rmio_bpf_vcpu {
	/*
	 * The last store seen: an exit belongs to it, and if it lies in the first
	 * last_taken bytes, it has been delivered already.
	 */
	__u64 last_gpa;
	__u32 last_len;
	__u32 last_taken;
	__u64 seen;			/* stores */
	__u64 kicks;			/* signals sent */
	/* Load under way: left KVM at that time, 0 none; for which device slot. */
	__u64 load_at;
	__u32 load_dev;
	__u32 reserved;
	/* Devices whose lane needs the library: full, nonsense, or asleep.  One bit each. */
	__u64 attention[RMIO_BPF_DEVS / 64];
	/* The store seen before that: the first part of one that crosses a page. */
	__u64 prev_gpa;
	__u32 prev_taken;
	/*
	 * Counts the changes of "regs", "zones" and "threads", from 1.  The library writes it,
	 * any thread.
	 */
	__u32 generation;
	/* When the thread was started that was found to be this vCPU at the count "bound". */
	__u64 started;
	__u32 bound;
	__u32 reserved2;
	__u64 pad[2];
	struct rmio_bpf_hit hit[RMIO_BPF_HITS];
};

/* Maps in "lanes", one a device, by vCPU. */
struct rmio_bpf_lane {
	__u64 tail;		/* of the ring: requests pushed, by either side */
	__u64 done;		/* the device's, last valid value that was looked at */
	__u32 dead;		/* set by the library: count stores as discarded */
	__u32 rung;		/* the device's need_wake number last signalled for */
	/* counters, for people */
	__u64 posted;		/* stores put into the ring in the kernel */
	__u64 zone;		/* of them, taken by a coalesced zone */
	__u64 through;		/* of them, written to the shadow image */
	__u64 full;		/* stores after which the reserve was not free */
	__u64 told;		/* times the library's thread was told to wake the device */
	__u64 bad;		/* times that the device's index was impossible */
	__u64 discarded;	/* for want of a device */
	__u64 lost;		/* came although the ring was full: the VMM ran on */
	__u64 load_ns[RMIO_BPF_HIST];	/* loads that left KVM, until answered */
	__u64 pad[16 - 11];
};

/*
 * Stores by a thread of the VMM that is no vCPU as far as the program knows, on their
 * way to where only vCPUs' stores are captured.  The thread has been signalled; its
 * library posts them.  The signal is noticed between two instructions, so it is one
 * store in up to two parts, but for a REP prefix: hence several entries, in pieces of
 * which each is made when the one before it is full.  Map "strays", by thread and piece;
 * the program writes while the thread is inside KVM_RUN, the library takes it while the
 * same thread is outside.
 */
#define RMIO_BPF_STRAYS		32u	/* entries of a piece; power of two */
#define RMIO_BPF_STRAY_PIECES	34u	/* of a thread: the 1024 rounds of REP, and more */
#define RMIO_BPF_STRAY_NOTES	8192u	/* pieces of all threads */

struct rmio_bpf_stray_key {
	__u32 tid;		/* in the initial PID namespace */
	__u32 piece;
};

struct rmio_bpf_stray {
	__u32 nr;		/* entries in use */
	__u32 last;		/* from here on in piece 0 alone: the last piece */
	__u64 started;		/* when the thread was: its number may have been another's */
	/* As in struct rmio_bpf_vcpu, of all stores since the first entry. */
	__u64 last_gpa;
	__u32 last_len;
	__u32 last_taken;
	__u64 prev_gpa;
	__u32 prev_taken;
	__u32 reserved;
	struct {
		__u64 gpa;
		__u64 data;
		__u32 len;	/* 1 to 8 */
		__u32 reserved;
	} store[RMIO_BPF_STRAYS];
};

#ifndef __VMLINUX_H__
RMIO_ASSERT_SIZE(rmio_bpf_thread, 16);
RMIO_ASSERT_SIZE(rmio_bpf_reg_key, 16);
RMIO_ASSERT_SIZE(rmio_bpf_reg, 40);
RMIO_ASSERT_SIZE(rmio_bpf_zone, 48);
RMIO_ASSERT_SIZE(rmio_bpf_hit, 64);
RMIO_ASSERT_SIZE(rmio_bpf_vcpu, 640);
RMIO_ASSERT_SIZE(rmio_bpf_lane, 384);
RMIO_ASSERT_SIZE(rmio_bpf_stray_key, 8);
RMIO_ASSERT_SIZE(rmio_bpf_stray, 816);
#endif

#endif
