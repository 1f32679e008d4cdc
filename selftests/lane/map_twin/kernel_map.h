/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * kernel_map.h - the kernel device's access map (kern/virt/kvm/user_map.c), in this process and
 * with the library's types, so that a test can ask both.
 */
#ifndef RMIO_KERNEL_MAP_H
#define RMIO_KERNEL_MAP_H

#include "map.h"
#include "shadow.h"

struct kernel_map {
	struct kvm_user_map *map;	/* NULL: the default */
	uint32_t hit;			/* as a vCPU's lane keeps it */
};

/* @shadow_size: of whole pages, 0 for no image.  0 or the kernel's -errno. */
int kernel_map_new(const struct rmio_area *areas, uint32_t n, uint64_t shadow_size,
		   struct kernel_map *out);
void kernel_map_free(struct kernel_map *m);
uint32_t kernel_map_areas(const struct kernel_map *m);
bool kernel_map_exceeds(const struct kernel_map *m, uint32_t range_id, uint64_t len);
void kernel_map_load(struct kernel_map *m, uint32_t range_id, uint64_t offset, uint32_t len,
		     struct rmio_decision *d);
void kernel_map_store(const struct kernel_map *m, uint32_t range_id, uint64_t offset,
		      uint32_t len, struct rmio_decision *d);

struct kernel_image;

struct kernel_image *kernel_image_new(uint64_t size);
void kernel_image_free(struct kernel_image *image);
void *kernel_image_bytes(struct kernel_image *image);
uint64_t kernel_image_get(struct kernel_image *image, uint64_t offset, uint32_t len);
void kernel_image_put(struct kernel_image *image, uint64_t offset, uint64_t value, uint32_t len);

#endif
