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
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RMIO_LANES_MAX);
	__type(key, __u32);
	__type(value, struct user_access_counts);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, USER_ACCESS_RULES);
	__type(key, struct user_access_rule);
	__type(value, __u32);
} rules SEC(".maps");

/* How many there are: with none nothing is looked up. */
__u32 nr_rules;

static __always_inline int answer(__u32 range_id, __u64 offset, __u32 len, __u32 vcpu, bool store)
{
	struct user_access_rule key = { .offset = offset, .range_id = range_id, .store = store };
	struct user_access_counts *n = bpf_map_lookup_elem(&counts, &vcpu);
	/* 1, 2, 4, 8 */
	__u32 size = (len >> 1) - (len >> 3);
	__u32 *said;

	if (!n)
		return RMIO_KVM_AS_MAPPED;
	if (store)
		n->stores[size & 3]++;
	else
		n->loads[size & 3]++;
	if (!nr_rules)
		return RMIO_KVM_AS_MAPPED;
	said = bpf_map_lookup_elem(&rules, &key);
	if (!said)
		return RMIO_KVM_AS_MAPPED;
	if (*said == RMIO_KVM_TO_DEVICE)
		n->to_device++;
	else if (*said == RMIO_KVM_REFUSE)
		n->refused++;
	return (int)*said;
}

SEC("struct_ops/load")
int BPF_PROG(user_access_load, __u32 range_id, __u64 offset, __u32 len, __u32 vcpu)
{
	return answer(range_id, offset, len, vcpu, false);
}

SEC("struct_ops/store")
int BPF_PROG(user_access_store, __u32 range_id, __u64 offset, __u32 len, __u32 vcpu, __u64 data)
{
	return answer(range_id, offset, len, vcpu, true);
}

SEC(".struct_ops.link")
struct kvm_user_ops user_access = {
	.load = (void *)user_access_load,
	.store = (void *)user_access_store,
};
