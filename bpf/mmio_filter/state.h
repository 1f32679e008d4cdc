/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the program and the library share by name: settings, and the maps.  Who writes which of
 * them, and when, is said beside their types in mmio_filter.h.
 */
#ifndef RMIO_BPF_STATE_H
#define RMIO_BPF_STATE_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "../mmio_filter.h"

/* Loads and stores by one CPU are seen in order, each kind for itself. */
#if defined(__TARGET_ARCH_x86)
#define STORES_IN_ORDER	true
#else
#define STORES_IN_ORDER	false
#endif

/*
 * Whose threads may be vCPUs: its number in the initial PID namespace, and when it was
 * started, since the number may be another's after it.  Not the VMM's to write.
 */
int vmm_tgid;
__u64 vmm_started;	/* ns since boot; 0: */
__u64 vmm_started_from;	/* so much, or up to vmm_precision later */
__u64 vmm_precision;
const volatile _Bool for_others;	/* the VMM did not load it, and may end before it does */
const volatile __u32 kick_signal;
const volatile _Bool threads_by_id;	/* no task storage for a thread: before Linux 6.9 */

struct page {
	__u8 bytes[RMIO_PAGE];
};

/* The vCPU number of a thread; nobody else's thread is in here. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RMIO_BPF_THREADS);
	__type(key, __u32);
	__type(value, struct rmio_bpf_thread);
} thread_ids SEC(".maps");

/*
 * By number on every kernel: what is in a thread's storage could be reached from user
 * space through a descriptor alone, and there may be none to be had.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RMIO_BPF_STRAY_NOTES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct rmio_bpf_stray_key);
	__type(value, struct rmio_bpf_stray);
} strays SEC(".maps");

/*
 * Which vCPU a thread may be, by the end of its number.  Where to look for what is
 * remembered, and no more than that: see vcpu_of().
 */
#define HINTS	1024u
__u16 hint[HINTS];

const volatile struct rmio_bpf_stray blank_stray;
__u64 strays_lost;	/* for want of memory, or of a library that takes them */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);			/* set by the library: vCPUs */
	__type(key, __u32);
	__type(value, struct rmio_bpf_vcpu);
} vcpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RMIO_BPF_REGS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct rmio_bpf_reg_key);
	__type(value, struct rmio_bpf_reg);
} regs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RMIO_BPF_ZONE_PAGES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct rmio_bpf_zone);
} zones SEC(".maps");

/* Devices that the library is to wake, by slot: the VMM's one thread reads them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RMIO_BPF_SLEEPERS);
} sleepers SEC(".maps");

/* Ranges' pages to devices, for the latency of loads. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RMIO_BPF_ZONE_PAGES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} pages SEC(".maps");

struct pages_of_device {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct page));
};

struct lanes_of_device {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rmio_bpf_lane);
};

/* For the BTF alone: the library makes these maps, and bpftool is to name their fields. */
const volatile struct rmio_bpf_lane lane_fields;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, RMIO_BPF_DEVS);
	__type(key, __u32);
	__array(values, struct pages_of_device);
} downs SEC(".maps"), ups SEC(".maps"), shadows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, RMIO_BPF_DEVS);
	__type(key, __u32);
	__array(values, struct lanes_of_device);
} lanes SEC(".maps");

static __always_inline struct page *page_of(void *outer, __u32 dev, __u32 index)
{
	void *inner = bpf_map_lookup_elem(outer, &dev);

	return inner ? bpf_map_lookup_elem(inner, &index) : NULL;
}

#endif
