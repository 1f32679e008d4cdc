// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is asked about each access to one kernel device (KVM_DEV_TYPE_USER, kern/virt/kvm/user_bpf.c):
 * counts them, and answers by the rules that somebody has put into its map.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "user_access.h"

char LICENSE[] SEC("license") = "GPL";

/* As the kernel's, of which it is found by name. */
struct kvm_user_ops {
	int (*load)(__u32 range_id, __u64 offset, __u32 len, __u32 vcpu);
	int (*store)(__u32 range_id, __u64 offset, __u32 len, __u32 vcpu, __u64 data);
	__s32 master;
};

/* An entry is written by its vCPU's thread alone. */
struct user_access_counts counts[RMIO_LANES_MAX] SEC(".bss.counts");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, USER_ACCESS_RULES);
	__type(key, struct user_access_rule);
	__type(value, __u32);
} rules SEC(".maps");

/* Not 0: there may be a rule, which is then looked up; see user_access_filter(). */
__u8 filter[USER_ACCESS_FILTER];

/* A function of its own: an access without a rule has fewer registers to save. */
static __noinline int by_rule(__u32 range_id, __u64 offset, __u32 vcpu, __u32 store)
{
	struct user_access_rule key = { .offset = offset, .range_id = range_id, .store = store };
	struct user_access_counts *n = &counts[vcpu % RMIO_LANES_MAX];
	__u32 *said = bpf_map_lookup_elem(&rules, &key);

	if (!said)
		return RMIO_KVM_AS_MAPPED;
	if (*said == RMIO_KVM_TO_DEVICE)
		n->to_device++;
	else if (*said == RMIO_KVM_REFUSE)
		n->refused++;
	return (int)*said;
}

static __always_inline int answer(__u32 range_id, __u64 offset, __u32 len, __u32 vcpu, __u32 store)
{
	struct user_access_counts *n = &counts[vcpu % RMIO_LANES_MAX];
	/* 1, 2, 4, 8 */
	__u32 size = ((len >> 1) - (len >> 3)) & 3;

	if (store)
		n->stores[size]++;
	else
		n->loads[size]++;
	if (!filter[user_access_filter(range_id, offset)])
		return RMIO_KVM_AS_MAPPED;
	return by_rule(range_id, offset, vcpu, store);
}

SEC("struct_ops/load")
int BPF_PROG(user_access_load, __u32 range_id, __u64 offset, __u32 len, __u32 vcpu)
{
	return answer(range_id, offset, len, vcpu, 0);
}

SEC("struct_ops/store")
int BPF_PROG(user_access_store, __u32 range_id, __u64 offset, __u32 len, __u32 vcpu, __u64 data)
{
	return answer(range_id, offset, len, vcpu, 1);
}

SEC(".struct_ops.link")
struct kvm_user_ops user_access = {
	.load = (void *)user_access_load,
	.store = (void *)user_access_store,
};
