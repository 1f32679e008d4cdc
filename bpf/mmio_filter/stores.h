/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The stores of a vCPU as KVM offers them: of any length, and at any address.
 */
#ifndef RMIO_BPF_STORES_H
#define RMIO_BPF_STORES_H

#include <bpf/bpf_core_read.h>

#include "lane.h"

/* Linux 6.2 */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

static __always_inline __u64 read_value(const void *val, __u32 len)
{
	__u64 data = 0;
	const void *p;

	/* Plain loads instead of a call.  Any type with 8 bytes of number in front will do. */
	if (!threads_by_id) {
		p = bpf_rdonly_cast(val, bpf_core_type_id_kernel(struct timespec64));
		switch (len) {
		case 1:
			return *(volatile const __u8 *)p;
		case 2:
			return *(volatile const __u16 *)p;
		case 4:
			return *(volatile const __u32 *)p;
		case 8:
			return *(volatile const __u64 *)p;
		}
		return 0;
	}

	switch (len) {
	case 1:
		bpf_probe_read_kernel(&data, 1, val);
		break;
	case 2:
		bpf_probe_read_kernel(&data, 2, val);
		break;
	case 4:
		bpf_probe_read_kernel(&data, 4, val);
		break;
	case 8:
		bpf_probe_read_kernel(&data, 8, val);
		break;
	}
	return data;
}

/*
 * Not static, like the other two below: the verifier looks at each once, instead of at
 * each way through all of them, which took it a second.
 */
__noinline int post(struct rmio_bpf_vcpu *v, const struct store *s)
{
	return v && s && deliver(v, s->vcpu, s->generation, s->gpa, s->len, s->data);
}

/*
 * What a page boundary has left of a store, 3, 5, 6 or 7 bytes: a zone takes it as one,
 * the device gets it in natural pieces, as after an exit.
 */
__noinline int odd_store(struct rmio_bpf_vcpu *v, struct store *s, __u32 len, __u64 val)
{
	__u64 gpa;
	__u32 i, n, at = 0;

	if (!v || !s)
		return false;
	gpa = s->gpa;
	if (!find(v, gpa, len, s->generation))
		return false;
	for (i = 0; i < 4 && at < len; i++) {
		n = 4;
		if (n > len - at || (gpa + at) & 3)
			n = 2;
		if (n > len - at || (gpa + at) & 1)
			n = 1;
		s->gpa = gpa + at;
		s->len = n;
		s->data = read_value((const void *)(val + at), n);
		post(v, s);
		at += n;
	}
	return true;
}

static __always_inline bool any_store(struct rmio_bpf_vcpu *v, struct store *s, __u32 len,
				      __u64 val)
{
	if (len & (len - 1))
		return odd_store(v, s, len, val);
	s->len = len;
	s->data = read_value((const void *)val, len);
	return post(v, s);
}

/* KVM offers a store of more than 8 bytes in pieces, up to the first that nobody takes. */
__noinline int wide_store(struct rmio_bpf_vcpu *v, struct store *s, __u32 len, __u64 val)
{
	__u32 i, n, taken = 0;
	__u64 gpa;

	if (!v || !s)
		return 0;
	gpa = s->gpa;
	for (i = 0; i < RMIO_BPF_CHUNKS && i * 8 < len; i++) {
		n = len - i * 8;
		if (n > 8)
			n = 8;
		s->gpa = gpa + i * 8;
		if (!any_store(v, s, n, val + i * 8))
			break;
		taken += n;
	}
	return taken;
}

static __always_inline void on_store(struct rmio_bpf_vcpu *v, __u32 vcpu, __u32 generation,
				     __u64 gpa, __u32 len, const void *val)
{
	__u32 taken = 0;

	v->seen++;
	v->prev_gpa = v->last_gpa;
	v->prev_taken = v->last_taken;
	v->last_gpa = gpa;
	v->last_len = len;
	/* 1, 2, 4 or 8, as most are: here without a call. */
	if (len <= 8 && 0x116 >> len & 1) {
		if (deliver(v, vcpu, generation, gpa, len, read_value(val, len)))
			taken = len;
	} else if (len) {
		struct store s = { .gpa = gpa, .vcpu = vcpu, .generation = generation };

		if (len > 8)
			taken = wide_store(v, &s, len, (__u64)val);
		else if (odd_store(v, &s, len, (__u64)val))
			taken = len;
	}
	v->last_taken = taken;
}

#endif
