/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A store, and where it goes if KVM takes it: from the library's tables, or from what this vCPU has
 * looked up before.
 */
#ifndef RMIO_BPF_LOOKUP_H
#define RMIO_BPF_LOOKUP_H

#include "state.h"

struct store {
	__u64 gpa;
	__u64 data;
	__u32 len;
	__u32 vcpu;
	__u32 generation;	/* of the vCPU's tables when the store was seen */
	__u32 reserved;
};

/* Where this store goes, if KVM takes it.  False: it exits. */
static __always_inline bool look_up(__u64 gpa, __u32 len, struct rmio_bpf_reg *to, bool *zone)
{
	struct rmio_bpf_reg_key key = { .gpa = gpa, .len = len };
	__u32 in = gpa & (RMIO_PAGE - 1);
	__u64 page = gpa / RMIO_PAGE;
	struct rmio_bpf_zone *z;
	struct rmio_bpf_reg *r;

	r = bpf_map_lookup_elem(&regs, &key);
	if (r) {
		r->hits++;
		*to = *r;
		*zone = false;
		return true;
	}
	z = bpf_map_lookup_elem(&zones, &page);
	if (!z || in < z->from || in + len > z->end)
		return false;
	z->to.hits++;
	*to = z->to;
	to->offset += in;
	to->shadow += in;
	*zone = true;
	return true;
}

/* Its place is wanted by another: what it has counted goes to where it came from. */
static __always_inline void evict(struct rmio_bpf_hit *h)
{
	struct rmio_bpf_reg_key key = { .gpa = h->gpa, .len = h->len };
	__u64 page = h->gpa / RMIO_PAGE;
	struct rmio_bpf_zone *z;
	struct rmio_bpf_reg *r;

	if (!h->to.hits)
		return;
	if (h->zone) {
		z = bpf_map_lookup_elem(&zones, &page);
		if (z)
			z->to.hits += h->to.hits;
	} else {
		r = bpf_map_lookup_elem(&regs, &key);
		if (r)
			r->hits += h->to.hits;
	}
	h->to.hits = 0;
}

/* Look it up, and have it take the place of what was there. */
static __noinline bool remember(struct rmio_bpf_hit *h, __u64 gpa, __u32 len, __u32 generation)
{
	bool zone;

	evict(h);
	h->generation = 0;
	if (!look_up(gpa, len, &h->to, &zone))
		return false;
	h->to.hits = 0;
	h->zone = zone;
	h->gpa = gpa;
	h->len = len;
	/* Elsewhere the tables may have been read before the number. */
	if (STORES_IN_ORDER)
		h->generation = generation;
	return true;
}

/*
 * The same from what this vCPU has looked up before.  @generation was read before the
 * tables are: a change in between leaves the result void.
 */
static __always_inline struct rmio_bpf_hit *find(struct rmio_bpf_vcpu *v, __u64 gpa, __u32 len,
						 __u32 generation)
{
	struct rmio_bpf_hit *h;

	h = &v->hit[(gpa / 4 ^ gpa / 64 ^ gpa / RMIO_PAGE) & (RMIO_BPF_HITS - 1)];
	/* One computation of the address, not one for each use. */
	barrier_var(h);
	if (h->gpa == gpa && h->len == len && h->generation == generation)
		h->to.hits++;
	else if (!remember(h, gpa, len, generation))
		return NULL;
	return h;
}

#endif
