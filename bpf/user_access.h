/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-or-later OR BSD-2-Clause */
/* What bpf/user_access.bpf.c and who loads it share. */
#ifndef RMIO_BPF_USER_ACCESS_H
#define RMIO_BPF_USER_ACCESS_H

#include <rmio/abi.h>

#define USER_ACCESS_RULES	1024u
#define USER_ACCESS_FILTER	4096u

/* Variable "counts", by vCPU: accesses by size, 1, 2, 4 and 8 bytes, and what was answered. */
struct user_access_counts {
	__u64 loads[4];
	__u64 stores[4];
	__u64 to_device;
	__u64 refused;
};

/* Key of the map "rules"; its value is an enum rmio_kvm_answer. */
struct user_access_rule {
	__u64 offset;		/* of the access, exactly */
	__u32 range_id;
	__u32 store;		/* 0: of loads, 1: of stores */
};

/* Where in the variable "filter" a rule is noted, by who adds it: rules are looked up there only. */
static inline __u32 user_access_filter(__u32 range_id, __u64 offset)
{
	return ((__u32)offset ^ range_id << 6) % USER_ACCESS_FILTER;
}

#endif
