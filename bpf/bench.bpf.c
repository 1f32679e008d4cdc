// SPDX-License-Identifier: GPL-2.0-only
/*
 * What rmio-bench attaches beside the program it measures or instead of it: nothing at
 * all, to see what nothing costs; a clock, which says when a store came to kvm_mmio; the
 * two ways in which a request could get to a device process, and no more than that.
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

struct slots {
	struct rmio_request slot[RMIO_PAGE / sizeof(struct rmio_request)];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, BENCH_RING / RMIO_PAGE);
	__type(key, __u32);
	__type(value, struct slots);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, BENCH_RING);
} ring SEC(".maps");

__u64 sent;
__u64 lost;

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

static __always_inline bool is_ours(int type, __u64 gpa)
{
	return bpf_get_current_task_btf()->tgid == tgid && type == MMIO_WRITE && gpa == reg;
}

static __always_inline void fill(struct rmio_request *r, int len, const void *val)
{
	r->offset = 0;
	r->data = 0;
	bpf_probe_read_kernel(&r->data, 4, val);
	r->range_id = 0;
	r->vcpu = 0;
	r->op = RMIO_OP_STORE;
	r->len = len;
	r->flags = 0;
	r->reserved = 0;
}

/* A slot of an array that both ends have mapped, its number last. */
SEC("tp_btf/kvm_mmio")
int BPF_PROG(rmio_bench_array, int type, int len, __u64 gpa, void *val)
{
	struct rmio_request *r;
	struct slots *p;
	__u32 index;

	if (!is_ours(type, gpa))
		return 0;
	index = sent * sizeof(*r) % BENCH_RING / RMIO_PAGE;
	p = bpf_map_lookup_elem(&array, &index);
	if (!p)
		return 0;
	r = &p->slot[sent % (RMIO_PAGE / sizeof(*r))];
	fill(r, len, val);
	*(volatile __u64 *)&r->seq = ++sent;
	return 0;
}

/* A record of the kernel's ring buffer. */
SEC("tp_btf/kvm_mmio")
int BPF_PROG(rmio_bench_ring, int type, int len, __u64 gpa, void *val)
{
	struct rmio_request *r;

	if (!is_ours(type, gpa))
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		lost++;
		return 0;
	}
	fill(r, len, val);
	r->seq = ++sent;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return 0;
}
