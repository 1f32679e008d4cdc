/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stores of a thread of the VMM that is no vCPU as far as the program knows: noted for the
 * library, which posts them when the thread has left KVM_RUN.
 */
#ifndef RMIO_BPF_STRAYS_H
#define RMIO_BPF_STRAYS_H

#include "lookup.h"

/* What the thread has noted since the library took it; made if there is nothing and @make. */
static __always_inline struct rmio_bpf_stray *note_of(struct task_struct *task, __u32 tid,
						       bool make)
{
	struct rmio_bpf_stray_key key = { .tid = tid };
	struct rmio_bpf_stray *note = bpf_map_lookup_elem(&strays, &key);
	__u64 started = task->start_boottime;

	if (note && note->started == started)
		return note;
	if (!make || bpf_map_update_elem(&strays, &key, (const void *)&blank_stray, BPF_ANY))
		return NULL;
	note = bpf_map_lookup_elem(&strays, &key);
	if (note)
		note->started = started;
	return note;
}

/* The piece that has room for one entry. */
static __always_inline struct rmio_bpf_stray *piece_of(struct rmio_bpf_stray *note, __u32 tid)
{
	struct rmio_bpf_stray_key key = { .tid = tid, .piece = note->last };
	struct rmio_bpf_stray *p = note;

	if (key.piece)
		p = bpf_map_lookup_elem(&strays, &key);
	if (p && p->nr < RMIO_BPF_STRAYS)
		return p;
	if (++key.piece >= RMIO_BPF_STRAY_PIECES ||
	    bpf_map_update_elem(&strays, &key, (const void *)&blank_stray, BPF_ANY))
		return NULL;
	note->last = key.piece;
	return bpf_map_lookup_elem(&strays, &key);
}

/* One more store that KVM takes.  Global for the verifier, as post(). */
__noinline int note_store(struct rmio_bpf_stray *note, const struct store *s, __u64 val)
{
	__u32 tid = bpf_get_current_pid_tgid(), i;
	struct rmio_bpf_stray *p;

	if (!note || !s)
		return 0;
	p = piece_of(note, tid);
	if (!p) {
		__sync_fetch_and_add(&strays_lost, 1);
		return 0;
	}
	i = p->nr & (RMIO_BPF_STRAYS - 1);
	p->store[i].gpa = s->gpa;
	p->store[i].data = 0;
	/* A mask is what every verifier understands; so many bytes would fit too. */
	bpf_probe_read_kernel(&p->store[i].data, s->len & 15, (const void *)val);
	p->store[i].len = s->len;
	p->nr = i + 1;
	return 0;
}

static __noinline void on_stray(struct task_struct *task, __u64 gpa, __u32 len, const void *val)
{
	__u32 i, n, taken = 0, tid = bpf_get_current_pid_tgid();
	struct rmio_bpf_stray *note = note_of(task, tid, false);
	struct store s = { .gpa = gpa };
	struct rmio_bpf_reg to;
	bool zone;

	for (i = 0; i < RMIO_BPF_CHUNKS && i * 8 < len; i++) {
		n = len - i * 8;
		s.gpa = gpa + i * 8;
		s.len = n < 8 ? n : 8;
		if (!look_up(s.gpa, s.len, &to, &zone))
			break;
		if (!note)
			note = note_of(task, tid, true);
		if (!note) {
			__sync_fetch_and_add(&strays_lost, 1);
			break;
		}
		note_store(note, &s, (__u64)val + i * 8);
		taken += s.len;
	}
	if (note) {
		note->prev_gpa = note->last_gpa;
		note->prev_taken = note->last_taken;
		note->last_gpa = gpa;
		note->last_len = len;
		note->last_taken = taken;
	}
	if (taken)
		bpf_send_signal_thread(kick_signal);
}

#endif
