/* SPDX-License-Identifier: GPL-2.0-only */
/* The shadow image, and the access map that says what it may answer. */
#ifndef __KVM_USER_MAP_H
#define __KVM_USER_MAP_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/rcupdate.h>
#include <rmio/abi.h>

#include "user_mem.h"

/* The map in force and each mapping hold a reference. */
struct kvm_user_image {
	struct kref ref;
	u64 size;
	struct kvm_user_mem mem;
};

struct kvm_user_image *kvm_user_image_new(u64 size);
void kvm_user_image_put(struct kvm_user_image *image);
u64 kvm_user_image_read(const struct kvm_user_image *image, u64 at, int len);
void kvm_user_image_write(struct kvm_user_image *image, u64 at, u64 data, int len);

/* Compiled: immutable, replaced as a whole under kvm->srcu. */
struct kvm_user_map {
	struct kvm_user_image *image;	/* NULL: no shadow */
	struct rcu_head unused;		/* once it is replaced, */
	struct completion gone;		/* until no vCPU uses it */
	struct kvm_user_map *next;	/* in ud->stale */
	u32 nr;
	struct rmio_area areas[] __counted_by(nr);
};

enum kvm_user_verdict {
	KVM_USER_DEVICE,	/* the device answers or takes it */
	KVM_USER_SHADOW,	/* load: the shadow answers */
	KVM_USER_POST,		/* store: posted */
	KVM_USER_THROUGH,	/* store: posted, and written to the shadow */
	KVM_USER_SYNC,		/* store: the vCPU waits */
};

struct kvm_user_decision {
	enum kvm_user_verdict verdict;
	bool relaxed;
	bool refused_size;
	u64 shadow;		/* where in the image */
};

/* Copied from the device process, for kvm_user_map_compile() to check. */
struct kvm_user_map *kvm_user_map_copy(const struct rmio_area __user *areas, u32 nr);
int kvm_user_map_compile(struct kvm_user_map *map, struct kvm_user_image *image);
void kvm_user_map_free(struct kvm_user_map *map);
/* Does an area of this range id lie beyond len?  For a range that shrinks. */
bool kvm_user_map_exceeds(const struct kvm_user_map *map, u32 id, u64 len);
/* @hit: the area of this vCPU's last load, where the next one is looked for first. */
void kvm_user_map_load(const struct kvm_user_map *map, u32 *hit, u32 id, u64 offset, int len,
		       struct kvm_user_decision *d);
void kvm_user_map_store(const struct kvm_user_map *map, u32 id, u64 offset, int len,
			struct kvm_user_decision *d);

#endif
