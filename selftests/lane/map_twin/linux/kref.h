/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* References of one thread. */
struct kref {
	int n;
};

static inline void kref_init(struct kref *ref)
{
	ref->n = 1;
}

static inline void kref_get(struct kref *ref)
{
	ref->n++;
}

static inline void kref_put(struct kref *ref, void (*release)(struct kref *))
{
	if (!--ref->n)
		release(ref);
}
