// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sees every MMIO access that KVM emulates, before KVM looks for who takes it, and
 * puts the stores that KVM will take in the kernel (an ioeventfd, a coalesced zone)
 * into the vCPU's lane with their data.  Everything else it leaves to the exit.
 *
 * It cannot make KVM refuse a store.  So a ring must never be full when a store
 * comes: the store that leaves less than the reserve free signals the vCPU, which
 * leaves KVM_RUN before its next instruction, and the library waits for room.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "mmio_filter/state.h"
#include "mmio_filter/stores.h"
#include "mmio_filter/strays.h"
#include "mmio_filter/loads.h"
#include "mmio_filter/vcpu.h"

char LICENSE[] SEC("license") = "GPL";

/* include/trace/events/kvm.h */
#define MMIO_READ_UNSATISFIED	0
#define MMIO_READ		1
#define MMIO_WRITE		2

/* Run once, by the process that loads: it may not know its own number. */
SEC("raw_tp")
int rmio_whoami(void *ctx)
{
	vmm_tgid = bpf_get_current_pid_tgid() >> 32;
	vmm_started = bpf_get_current_task_btf()->group_leader->start_boottime;
	return 0;
}

/*
 * Run by a thread that looks for its notes or has been made known: its number, as the
 * program sees it.  Of a type that can be attached nowhere: the broker hands it to VMMs
 * without privileges, and the kernel asks for none to attach a tracepoint's.
 */
SEC("syscall")
int rmio_thread(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct rmio_bpf_stray_key key = { .tid = bpf_get_current_pid_tgid() };
	struct rmio_bpf_stray *note = bpf_map_lookup_elem(&strays, &key);
	struct rmio_bpf_thread *known = bpf_map_lookup_elem(&thread_ids, &key.tid);

	if (known && !known->started)
		known->started = task->start_boottime;
	/* Those of a thread that had the number before it. */
	if (note && note->started != task->start_boottime)
		bpf_map_delete_elem(&strays, &key);
	return key.tid;
}

SEC("tp_btf/kvm_mmio")
int BPF_PROG(rmio_mmio, int type, int len, __u64 gpa, void *val)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct rmio_bpf_vcpu *v;
	__u32 vcpu, generation;

	/* Other VMs' vCPUs; nor may a VMM register what is not its own. */
	if (!is_vmm(task))
		return 0;
	vcpu = hint[(__u32)task->pid & (HINTS - 1)];
	v = bpf_map_lookup_elem(&vcpus, &vcpu);
	if (!v)
		return 0;
	generation = *(volatile __u32 *)&v->generation;
	/*
	 * Is it still this thread's?  No two with the same last digits of their number are
	 * started in one nanosecond.
	 */
	if (v->bound != generation || v->started != task->start_boottime) {
		v = ask(task, &vcpu);
		if (!v) {
			if (type == MMIO_WRITE)
				on_stray(task, gpa, len, val);
			return 0;
		}
		generation = *(volatile __u32 *)&v->generation;
	}
	if (type == MMIO_WRITE)
		on_store(v, vcpu, generation, gpa, len, val);
	else if (type == MMIO_READ_UNSATISFIED)
		load_left(v, gpa);
	else
		load_answered(v, vcpu);
	return 0;
}
