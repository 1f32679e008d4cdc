// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/* Built without BPF: nobody is asked. Outside the data path. */
#include "asked.h"

int asked_new(struct bench_run *run, int master, const uint64_t *rule, struct asked **out)
{
	return bench_why(run, 1, "built without BPF");
}

void asked_free(struct asked *a)
{
}

uint64_t asked_loads(const struct asked *a)
{
	return 0;
}
