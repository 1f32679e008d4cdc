// SPDX-License-Identifier: GPL-2.0-only
/*
 * The shadow image and the access map: what may be answered without the device, at
 * which sizes, and how stores behave.  A map is compiled once and then only read.
 */
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/overflow.h>
#include <linux/sort.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "user_map.h"

struct kvm_user_image *kvm_user_image_new(u64 size)
{
	struct kvm_user_image *image;

	if (size > RMIO_KVM_SHADOW_MAX)
		return ERR_PTR(-EFBIG);
	image = kzalloc(sizeof(*image), GFP_KERNEL_ACCOUNT);
	if (!image)
		return ERR_PTR(-ENOMEM);
	kref_init(&image->ref);
	image->size = PAGE_ALIGN(size);
	if (kvm_user_mem_init(&image->mem, image->size)) {
		kfree(image);
		return ERR_PTR(-ENOMEM);
	}
	return image;
}

static void image_free(struct kref *ref)
{
	struct kvm_user_image *image = container_of(ref, struct kvm_user_image, ref);

	kvm_user_mem_free(&image->mem);
	kfree(image);
}

void kvm_user_image_put(struct kvm_user_image *image)
{
	if (image)
		kref_put(&image->ref, image_free);
}

/* One load of an aligned size is one load of the image: all or nothing of a store. */
u64 kvm_user_image_read(const struct kvm_user_image *image, u64 at, int len)
{
	const u8 *p = image->mem.addr + array_index_nospec(at, image->size);
	u64 data = 0;
	int i;

	if (!IS_ALIGNED(at, len)) {
		for (i = 0; i < len; i++)
			data |= (u64)READ_ONCE(p[i]) << (8 * i);
		return data;
	}
	switch (len) {
	case 1:
		return READ_ONCE(*p);
	case 2:
		return READ_ONCE(*(const u16 *)p);
	case 4:
		return READ_ONCE(*(const u32 *)p);
	default:
		return READ_ONCE(*(const u64 *)p);
	}
}

void kvm_user_image_write(struct kvm_user_image *image, u64 at, u64 data, int len)
{
	u8 *p = image->mem.addr + array_index_nospec(at, image->size);
	int i;

	if (!IS_ALIGNED(at, len)) {
		for (i = 0; i < len; i++)
			WRITE_ONCE(p[i], data >> (8 * i));
		return;
	}
	switch (len) {
	case 1:
		WRITE_ONCE(*p, data);
		break;
	case 2:
		WRITE_ONCE(*(u16 *)p, data);
		break;
	case 4:
		WRITE_ONCE(*(u32 *)p, data);
		break;
	default:
		WRITE_ONCE(*(u64 *)p, data);
		break;
	}
}

static bool uses_shadow(const struct rmio_area *a)
{
	return a->load == RMIO_LOAD_SHADOW || a->store == RMIO_STORE_THROUGH;
}

static int area_cmp(const void *x, const void *y)
{
	const struct rmio_area *a = x, *b = y;

	if (a->range_id != b->range_id)
		return a->range_id < b->range_id ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return 0;
}

static int area_check(const struct rmio_area *a, u64 size)
{
	u64 end;

	if (!a->length || a->load > RMIO_LOAD_SHADOW || a->store > RMIO_STORE_SYNC ||
	    a->flags & ~RMIO_AREA_RELAXED || a->sizes & ~RMIO_SIZE_ALL ||
	    a->range_id > U16_MAX || (uses_shadow(a) && !a->sizes))
		return -EINVAL;
	if (check_add_overflow(a->offset, a->length, &end) ||
	    check_add_overflow(a->shadow_offset, a->length, &end))
		return -EOVERFLOW;
	return uses_shadow(a) && end > size ? -ERANGE : 0;
}

/* What makes no difference must not keep neighbours apart. */
static void area_normalize(struct rmio_area *a)
{
	if (!uses_shadow(a)) {
		a->shadow_offset = a->offset;
		a->sizes = 0;
	}
	if (a->load != RMIO_LOAD_SHADOW)
		a->flags = 0;
}

static bool area_continues(const struct rmio_area *a, const struct rmio_area *b)
{
	return a->range_id == b->range_id && a->offset + a->length == b->offset &&
	       a->shadow_offset + a->length == b->shadow_offset && a->sizes == b->sizes &&
	       a->load == b->load && a->store == b->store && a->flags == b->flags;
}

/* With an image, takes a reference of it. */
int kvm_user_map_compile(struct kvm_user_map *map, struct kvm_user_image *image)
{
	u64 size = image ? image->size : 0;
	struct rmio_area *a = map->areas;
	u32 i, n = 0;
	int err;

	sort(a, map->nr, sizeof(*a), area_cmp, NULL);
	for (i = 0; i < map->nr; i++) {
		err = area_check(&a[i], size);
		if (err)
			return err;
	}
	for (i = 1; i < map->nr; i++)
		if (a[i - 1].range_id == a[i].range_id &&
		    a[i].offset - a[i - 1].offset < a[i - 1].length)
			return -EEXIST;
	/* How the areas were cut must not show to an access across a cut. */
	for (i = 0; i < map->nr; i++) {
		area_normalize(&a[i]);
		if (n && area_continues(&a[n - 1], &a[i]))
			a[n - 1].length += a[i].length;
		else
			a[n++] = a[i];
	}
	map->nr = n;
	if (image)
		kref_get(&image->ref);
	map->image = image;
	return 0;
}

struct kvm_user_map *kvm_user_map_copy(const struct rmio_area __user *areas, u32 nr)
{
	struct kvm_user_map *map;

	if (nr > RMIO_AREAS_MAX)
		return ERR_PTR(-E2BIG);
	map = kvzalloc(struct_size(map, areas, nr), GFP_KERNEL_ACCOUNT);
	if (!map)
		return ERR_PTR(-ENOMEM);
	map->nr = nr;
	if (copy_from_user(map->areas, areas, array_size(nr, sizeof(*areas)))) {
		kvfree(map);
		return ERR_PTR(-EFAULT);
	}
	return map;
}

void kvm_user_map_free(struct kvm_user_map *map)
{
	if (!map)
		return;
	kvm_user_image_put(map->image);
	kvfree(map);
}

bool kvm_user_map_exceeds(const struct kvm_user_map *map, u32 id, u64 len)
{
	u32 i;

	for (i = 0; map && i < map->nr; i++) {
		const struct rmio_area *a = &map->areas[i];

		if (a->range_id == id && a->offset + a->length > len)
			return true;
	}
	return false;
}

/* How many areas begin at or before the offset, or in a range before this one. */
static u32 map_rank(const struct kvm_user_map *map, u32 id, u64 offset)
{
	u32 lo = 0, hi = map ? map->nr : 0;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;
		const struct rmio_area *a = &map->areas[mid];

		if (a->range_id < id || (a->range_id == id && a->offset <= offset))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool inside(const struct rmio_area *a, u64 offset, int len)
{
	return offset - a->offset < a->length && len <= a->length - (offset - a->offset);
}

void kvm_user_map_load(const struct kvm_user_map *map, u32 *hit, u32 id, u64 offset, int len,
		       struct kvm_user_decision *d)
{
	const struct rmio_area *a;
	u32 n = *hit;

	d->verdict = KVM_USER_DEVICE;
	d->refused_size = false;
	if (!map || !map->nr)
		return;
	/* Mostly in the same area as the last one. */
	a = &map->areas[n < map->nr ? n : 0];
	if (a->range_id != id || offset - a->offset >= a->length) {
		n = map_rank(map, id, offset);
		if (!n)
			return;
		*hit = n - 1;
		a = &map->areas[n - 1];
	}
	if (a->range_id != id || a->load != RMIO_LOAD_SHADOW || !inside(a, offset, len))
		return;
	/* A size is the bit of its own number. */
	if (!(a->sizes & len)) {
		d->refused_size = true;
		return;
	}
	d->verdict = KVM_USER_SHADOW;
	d->relaxed = a->flags & RMIO_AREA_RELAXED;
	d->shadow = a->shadow_offset + (offset - a->offset);
}

/*
 * The store touches more than one area, or an area and a hole: the one before, which is
 * the nth, and those that begin in it.
 */
static bool any_sync(const struct kvm_user_map *map, u32 n, u32 id, u64 offset, int len)
{
	const struct rmio_area *a = n ? &map->areas[n - 1] : NULL;

	if (a && a->range_id == id && offset - a->offset < a->length &&
	    a->store == RMIO_STORE_SYNC)
		return true;
	for (; n < map->nr; n++) {
		a = &map->areas[n];
		if (a->range_id != id || a->offset - offset >= len)
			break;
		if (a->store == RMIO_STORE_SYNC)
			return true;
	}
	return false;
}

void kvm_user_map_store(const struct kvm_user_map *map, u32 id, u64 offset, int len,
			struct kvm_user_decision *d)
{
	const struct rmio_area *a;
	u32 n;

	d->verdict = KVM_USER_POST;
	d->refused_size = false;
	if (!map)
		return;
	n = map_rank(map, id, offset);
	a = n ? &map->areas[n - 1] : NULL;
	if (!a || a->range_id != id || !inside(a, offset, len)) {
		if (any_sync(map, n, id, offset, len))
			d->verdict = KVM_USER_SYNC;
	} else if (a->store == RMIO_STORE_SYNC) {
		d->verdict = KVM_USER_SYNC;
	} else if (a->store == RMIO_STORE_THROUGH && a->sizes & len) {
		d->verdict = KVM_USER_THROUGH;
		d->shadow = a->shadow_offset + (offset - a->offset);
	}
}
