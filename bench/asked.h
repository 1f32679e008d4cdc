/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A BPF program that a kernel device asks about each access (bpf/user_access.bpf.c).
 * On the data path of the cases that have it.
 */
#ifndef RMIO_BENCH_ASKED_H
#define RMIO_BENCH_ASKED_H

#include "bench.h"

struct asked;

/*
 * Attaches it to that device.  With @rule it has one for loads at that offset of range 0, which
 * says as much as none.  0, 1 or -errno and bench_why().
 */
int asked_new(struct bench_run *run, int master, const uint64_t *rule, struct asked **out);
void asked_free(struct asked *a);
/* How many loads of 4 bytes the device's first vCPU has asked it. */
uint64_t asked_loads(const struct asked *a);

#endif /* RMIO_BENCH_ASKED_H */
