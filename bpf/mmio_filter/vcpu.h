/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose thread it is: the VMM's or another's, and of which vCPU.
 */
#ifndef RMIO_BPF_VCPU_H
#define RMIO_BPF_VCPU_H

#include "state.h"

static __always_inline bool is_vmm(struct task_struct *task)
{
	__u64 started;

	if (task->tgid != vmm_tgid)
		return false;
	if (!for_others)
		return true;
	started = task->group_leader->start_boottime;
	if (started == vmm_started)
		return true;
	if (vmm_started || started - vmm_started_from >= vmm_precision)
		return false;
	vmm_started = started;
	return true;
}

static __always_inline __u32 *number_of(struct task_struct *task)
{
	struct rmio_bpf_thread *t;
	__u32 tid;

	if (!threads_by_id)
		return bpf_task_storage_get(&threads, task, NULL, 0);
	tid = bpf_get_current_pid_tgid();
	t = bpf_map_lookup_elem(&thread_ids, &tid);
	return t && (!t->started || t->started == task->start_boottime) ? &t->vcpu : NULL;
}

/* From the library's maps, once more after every change to them. */
static __noinline struct rmio_bpf_vcpu *ask(struct task_struct *task, __u32 *vcpu)
{
	struct rmio_bpf_vcpu *v;
	__u32 *number = number_of(task), generation;

	if (!number)
		return NULL;
	*vcpu = *number;
	v = bpf_map_lookup_elem(&vcpus, vcpu);
	if (!v || !STORES_IN_ORDER)
		return v;
	/* What is remembered must be the answer of after this: who changes it counts up then. */
	generation = *(volatile __u32 *)&v->generation;
	number = number_of(task);
	if (!number || *number != *vcpu)
		return v;
	v->started = task->start_boottime;
	v->bound = generation;
	hint[(__u32)task->pid & (HINTS - 1)] = *vcpu;
	return v;
}

#endif
