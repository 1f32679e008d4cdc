/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long loads take that leave KVM.
 */
#ifndef RMIO_BPF_LOADS_H
#define RMIO_BPF_LOADS_H

#include "state.h"

static __always_inline void load_left(struct rmio_bpf_vcpu *v, __u64 gpa)
{
	__u64 page = gpa / RMIO_PAGE;
	__u32 *dev = bpf_map_lookup_elem(&pages, &page);

	v->load_at = 0;
	if (!dev)
		return;
	v->load_dev = *dev;
	v->load_at = bpf_ktime_get_ns();
}

static __always_inline void load_answered(struct rmio_bpf_vcpu *v, __u32 vcpu)
{
	struct rmio_bpf_lane *lane;
	__u32 dev = v->load_dev, bucket = 0;
	void *inner;
	__u64 ns;

	if (!v->load_at)
		return;
	ns = bpf_ktime_get_ns() - v->load_at;
	v->load_at = 0;
	inner = bpf_map_lookup_elem(&lanes, &dev);
	lane = inner ? bpf_map_lookup_elem(inner, &vcpu) : NULL;
	if (!lane)
		return;
	if (ns >> 32) {
		bucket = RMIO_BPF_HIST - 1;
	} else {
		if (ns >> 16) {
			bucket += 16;
			ns >>= 16;
		}
		if (ns >> 8) {
			bucket += 8;
			ns >>= 8;
		}
		if (ns >> 4) {
			bucket += 4;
			ns >>= 4;
		}
		if (ns >> 2) {
			bucket += 2;
			ns >>= 2;
		}
		bucket += ns >> 1;
	}
	lane->load_ns[bucket & (RMIO_BPF_HIST - 1)]++;
}

#endif
