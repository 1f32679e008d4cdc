// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/* Built without BPF: nothing runs beside. Outside the data path. */
#include <errno.h>

#include "beside.h"

int beside_new(struct bench_run *run, enum beside_what what, uint64_t reg, struct beside **out)
{
	return bench_why(run, 1, "built without BPF");
}

void beside_free(struct beside *b)
{
}

uint32_t beside_program(const struct beside *b)
{
	return 0;
}

int beside_take(struct beside *b)
{
	return -EIO;
}

const volatile struct bench_stamps *beside_stamps(const struct beside *b)
{
	return NULL;
}

int beside_slice(struct bench_run *run, uint64_t ns, uint32_t id, int (*op)(struct bench_run *run))
{
	return bench_why(run, 1, "built without BPF");
}
