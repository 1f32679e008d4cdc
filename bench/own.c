// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Which device of the user's own is measured, and how: what --device says.
 *
 * Outside the data path, before the run.
 */
#include "own.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

struct bench_own bench_own;

static int number(const char *s, uint64_t max, uint64_t *v)
{
	char *end;

	if (!s || *s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	*v = strtoull(s, &end, 0);
	return errno || *end || *v > max ? -EINVAL : 0;
}

int bench_own_parse(struct bench_own *o, char *spec, const char **what)
{
	enum { SOCKET, RANGE, OFFSET, LEN, STORE };
	char *const keys[] = {
		[SOCKET] = "socket", [RANGE] = "range", [OFFSET] = "offset", [LEN] = "len",
		[STORE] = "store", NULL,
	};
	uint64_t v = 0;
	char *value;
	int err = 0;

	*o = (struct bench_own){ .len = 4 };
	*what = "socket=PATH[,range=N][,offset=N][,len=1|2|4|8][,store=VALUE]";
	while (!err && *spec) {
		switch (getsubopt(&spec, keys, &value)) {
		case SOCKET:
			o->socket = value;
			err = value && *value ? 0 : -EINVAL;
			break;
		case RANGE:
			err = number(value, 5, &v);
			o->range = (uint32_t)v;
			break;
		case OFFSET:
			err = number(value, UINT32_MAX, &o->offset);
			break;
		case LEN:
			err = number(value, 8, &v);
			o->len = (uint32_t)v;
			if (!v || v & (v - 1))
				err = -EINVAL;
			break;
		case STORE:
			o->store = true;
			err = number(value, UINT64_MAX, &o->value);
			break;
		default:
			err = -EINVAL;
		}
	}
	return err || !o->socket ? -EINVAL : 0;
}
