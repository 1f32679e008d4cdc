/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The capabilities in a VERSION message: JSON of a peer, and ours.
 */
#ifndef RMIO_WIRE_VU_CAPS_H
#define RMIO_WIRE_VU_CAPS_H

#include "vu_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VU_RMIO_VERSION	1u
#define VU_NAME_MAX	64u	/* with its NUL; more of it is cut off */

struct vu_caps {
	uint32_t max_fds;	/* descriptors that the sender takes in a message */
	uint32_t max_xfer;	/* bytes of data that it takes in a message */
	uint32_t max_maps;	/* of guest memory, that it takes; 0 in ours: the default, unsaid */
	uint32_t rmio;		/* version of the capability "rmio"; 0: not offered */
	bool ours;		/* it is there, if with version 0: the sender is of rmio */
	char name[VU_NAME_MAX];	/* of the device, in "rmio", for people; "": not said */
};

/*
 * Parse @len bytes of JSON with its NUL; @len 0: none, the defaults.  What is
 * not known is ignored.  0, -EINVAL with *why set (not JSON, not UTF-8, nested
 * too deep, too long, no NUL, values of the wrong type or range), -ENOMEM.
 */
int vu_caps_parse(const void *json, size_t len, struct vu_caps *caps, const char **why);

/*
 * Write ours, with "rmio" if it is @ours or has a version; the length with the NUL.  Of the name
 * what is not printable ASCII is left out.
 */
size_t vu_caps_format(char buf[VU_JSON_OURS], const struct vu_caps *caps);

#endif
