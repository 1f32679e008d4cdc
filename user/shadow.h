/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Reads and writes of the shadow image.  On the data path: loads that it answers, stores that are
 * written through.
 *
 * Who may call what: anybody; they run at the same time as the device's own.
 */
#ifndef RMIO_USER_SHADOW_H
#define RMIO_USER_SHADOW_H

#include <stdint.h>

/* All ones in @len bytes, 1 to 8. */
static inline uint64_t rmio_ones(uint32_t len)
{
	return UINT64_MAX >> (64 - 8 * len);
}

/*
 * One value of the image; the caller has checked offset + len against its size.
 * Never torn within an aligned quadword; an access that crosses one is done in
 * two parts, as a bus would split it.
 */
uint64_t rmio_shadow_get(const void *image, uint64_t offset, uint32_t len);
void rmio_shadow_put(void *image, uint64_t offset, uint64_t value, uint32_t len);

#endif
