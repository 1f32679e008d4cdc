// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * shadow.c - one value out of or into the shadow image, while the device does the same.
 * On the data path: loads that the image answers, stores that are written through.
 *
 * kern/virt/kvm/user_map.c (kvm_user_image_read, _write) holds the rule for accesses of an aligned
 * size: change both.
 *
 * Nobody holds a lock here: the device stores aligned values of any size, vCPUs load them
 * and write through.  A value that is aligned takes one access of its size.  Any other is
 * handled by aligned quadwords, of which it touches one or two: the image begins on a page
 * and is whole pages, so the quadword around a byte of it belongs to it.
 *
 * Loads acquire and stores release.  A guest that reads two registers in order, or one and
 * then memory that the device filled, must find what the device stored in order: partner of
 * either is the other one, or the device's own ordered stores.  Relaxed, the compiler or a
 * weakly ordered machine might take the second value first.
 */
#include "shadow.h"

#include <stdbool.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "byte n of a value is bits 8n and up");

#define QUAD		8u

/*
 * How often a quadword is tried to be replaced as a whole.  It fails only when another store
 * to those 8 bytes came in between, and a device that does nothing else must not hold up a
 * vCPU for ever.
 */
#define REPLACE_TRIES	1000

/* @len bytes at @at .. @at + len - 1 of the aligned quadword @q. */
static uint64_t get_part(const uint64_t *q, uint32_t at, uint32_t len)
{
	return (__atomic_load_n(q, __ATOMIC_ACQUIRE) >> (8 * at)) & rmio_ones(len);
}

/*
 * The other bytes of the quadword may be stored to at any moment: replacing them with what
 * they were a moment ago would undo that, so replace only if nothing has changed.
 */
static void put_part(uint64_t *q, uint32_t at, uint64_t value, uint32_t len)
{
	uint64_t keep = ~(rmio_ones(len) << (8 * at)), bits = (value & rmio_ones(len)) << (8 * at);
	uint64_t old = __atomic_load_n(q, __ATOMIC_RELAXED);	/* the exchange checks it */

	for (int i = 0; i < REPLACE_TRIES; i++)
		if (__atomic_compare_exchange_n(q, &old, (old & keep) | bits, false,
						__ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return;
	/* byte by byte: still nothing of a neighbour's is lost, but the value may be seen torn */
	for (uint32_t i = 0; i < len; i++)
		__atomic_store_n((uint8_t *)q + at + i, (uint8_t)(value >> (8 * i)),
				 __ATOMIC_RELEASE);
}

uint64_t rmio_shadow_get(const void *image, uint64_t offset, uint32_t len)
{
	const void *p = (const char *)image + offset;
	uint32_t at = offset % QUAD, low = QUAD - at;
	const uint64_t *q;

	if (!(offset & (len - 1))) {
		switch (len) {
		case 1:
			return __atomic_load_n((const uint8_t *)p, __ATOMIC_ACQUIRE);
		case 2:
			return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
		case 4:
			return __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
		default:
			return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
		}
	}
	q = (const uint64_t *)((const char *)p - at);
	if (len <= low)
		return get_part(q, at, len);
	return get_part(q, at, low) | (get_part(q + 1, 0, len - low) << (8 * low));
}

void rmio_shadow_put(void *image, uint64_t offset, uint64_t value, uint32_t len)
{
	void *p = (char *)image + offset;
	uint32_t at = offset % QUAD, low = QUAD - at;
	uint64_t *q;

	if (!(offset & (len - 1))) {
		switch (len) {
		case 1:
			__atomic_store_n((uint8_t *)p, value, __ATOMIC_RELEASE);
			return;
		case 2:
			__atomic_store_n((uint16_t *)p, value, __ATOMIC_RELEASE);
			return;
		case 4:
			__atomic_store_n((uint32_t *)p, value, __ATOMIC_RELEASE);
			return;
		default:
			__atomic_store_n((uint64_t *)p, value, __ATOMIC_RELEASE);
			return;
		}
	}
	q = (uint64_t *)((char *)p - at);
	if (len <= low) {
		put_part(q, at, value, len);
		return;
	}
	put_part(q, at, value, low);
	put_part(q + 1, 0, value >> (8 * low), len - low);
}
