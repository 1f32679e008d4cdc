// SPDX-License-Identifier: GPL-2.0-only
/*
 * What rmio-bench attaches beside the program it measures: nothing at all, to see what
 * nothing costs, and a clock, which says when a store came to kvm_mmio.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bench.h"

char LICENSE[] SEC("license") = "GPL";

#define MMIO_WRITE	2	/* include/trace/events/kvm.h */

const volatile int tgid;	/* of the VMM, as the initial PID namespace has it */
const volatile __u64 reg;	/* guest address */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench_stamps);
} stamps SEC(".maps");

SEC("tp_btf/kvm_mmio")
int rmio_bench_none(void *ctx)
{
	return 0;
}

SEC("tp_btf/kvm_mmio")
int BPF_PROG(rmio_bench_stamp, int type, int len, __u64 gpa, void *val)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct bench_stamps *s;
	__u32 zero = 0;

	if (task->tgid != tgid || type != MMIO_WRITE || gpa != reg)
		return 0;
	s = bpf_map_lookup_elem(&stamps, &zero);
	if (!s)
		return 0;
	s->ns[s->nr & (BENCH_STAMPS - 1)] = bpf_ktime_get_ns();
	s->nr++;
	return 0;
}
