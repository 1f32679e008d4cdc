// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * kernel_map.c - compiles kern/virt/kvm/user_map.c as it stands, with what it needs of Linux in
 * linux/.  What it says of an access is put into the library's words.
 */
#pragma GCC diagnostic push
/* Linux is built without. */
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "../../../kern/virt/kvm/user_map.c"
#pragma GCC diagnostic pop

#include "kernel_map.h"

/* In the place of user_mem.c: to the byte, so that a sanitizer sees what lies beyond. */
int kvm_user_mem_init(struct kvm_user_mem *m, u64 size)
{
	m->addr = aligned_alloc(RMIO_PAGE, size);
	if (!m->addr)
		return -ENOMEM;
	memset(m->addr, 0, size);
	return 0;
}

void kvm_user_mem_free(struct kvm_user_mem *m)
{
	free(m->addr);
	m->addr = NULL;
}

int kernel_map_new(const struct rmio_area *areas, uint32_t n, uint64_t shadow_size,
		   struct kernel_map *out)
{
	struct kvm_user_image *image = NULL;
	struct kvm_user_map *map;
	int err;

	*out = (struct kernel_map){ 0 };
	map = kvm_user_map_copy(areas, n);
	if (IS_ERR(map))
		return PTR_ERR(map);
	if (shadow_size) {
		image = kvm_user_image_new(shadow_size);
		if (IS_ERR(image)) {
			kvm_user_map_free(map);
			return PTR_ERR(image);
		}
	}
	err = kvm_user_map_compile(map, image);
	kvm_user_image_put(image);
	if (err)
		kvm_user_map_free(map);
	else
		out->map = map;
	return err;
}

void kernel_map_free(struct kernel_map *m)
{
	kvm_user_map_free(m->map);
	*m = (struct kernel_map){ 0 };
}

uint32_t kernel_map_areas(const struct kernel_map *m)
{
	return m->map ? m->map->nr : 0;
}

bool kernel_map_exceeds(const struct kernel_map *m, uint32_t range_id, uint64_t len)
{
	return kvm_user_map_exceeds(m->map, range_id, len);
}

void kernel_map_load(struct kernel_map *m, uint32_t range_id, uint64_t offset, uint32_t len,
		     struct rmio_decision *d)
{
	/* What does not belong to a verdict is not written: nonsense must not get through. */
	struct kvm_user_decision k = { .verdict = KVM_USER_SYNC, .relaxed = true, .shadow = 0xbad };

	kvm_user_map_load(m->map, &m->hit, range_id, offset, len, &k);
	*d = (struct rmio_decision){ .verdict = RMIO_TO_DEVICE };
	if (k.verdict == KVM_USER_SHADOW) {
		d->verdict = RMIO_FROM_SHADOW;
		d->relaxed = k.relaxed;
		d->shadow_offset = k.shadow;
	} else if (k.verdict != KVM_USER_DEVICE) {
		d->verdict = -1;
	} else if (k.refused_size) {
		d->verdict = RMIO_TO_DEVICE_SIZE;
	}
}

void kernel_map_store(const struct kernel_map *m, uint32_t range_id, uint64_t offset,
		      uint32_t len, struct rmio_decision *d)
{
	struct kvm_user_decision k = { .verdict = KVM_USER_DEVICE, .shadow = 0xbad };

	kvm_user_map_store(m->map, range_id, offset, len, &k);
	*d = (struct rmio_decision){ .verdict = RMIO_TO_DEVICE };
	if (k.verdict == KVM_USER_THROUGH) {
		d->verdict = RMIO_POST_THROUGH;
		d->shadow_offset = k.shadow;
	} else if (k.verdict == KVM_USER_SYNC) {
		d->verdict = RMIO_WAIT_STORE;
	} else if (k.verdict != KVM_USER_POST || k.refused_size) {
		d->verdict = -1;
	}
}

struct kernel_image *kernel_image_new(uint64_t size)
{
	struct kvm_user_image *image = kvm_user_image_new(size);

	return IS_ERR(image) ? NULL : (struct kernel_image *)image;
}

void kernel_image_free(struct kernel_image *image)
{
	kvm_user_image_put((struct kvm_user_image *)image);
}

void *kernel_image_bytes(struct kernel_image *image)
{
	return ((struct kvm_user_image *)image)->mem.addr;
}

uint64_t kernel_image_get(struct kernel_image *image, uint64_t offset, uint32_t len)
{
	return kvm_user_image_read((struct kvm_user_image *)image, offset, len);
}

void kernel_image_put(struct kernel_image *image, uint64_t offset, uint64_t value, uint32_t len)
{
	kvm_user_image_write((struct kvm_user_image *)image, offset, value, len);
}
