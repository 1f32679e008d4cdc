/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * BPF beside the data path: programs of the bench's own on kvm_mmio, and the kernel's
 * account of what a program costs.
 */
#ifndef RMIO_BENCH_BESIDE_H
#define RMIO_BENCH_BESIDE_H

#include "../bpf/bench.h"
#include "bench.h"

enum beside_what {
	BESIDE_NONE,		/* a program that does nothing */
	BESIDE_STAMP,		/* notes when each store to a register of this process came */
	BESIDE_ARRAY,		/* hands them on by an array that is mapped, to nobody */
	BESIDE_RING,		/* hands them on by a BPF ring buffer, to nobody */
};

struct beside;

/* 0, 1 or -errno and bench_why(). */
int beside_new(struct bench_run *run, enum beside_what what, uint64_t reg, struct beside **out);
void beside_free(struct beside *b);
uint32_t beside_program(const struct beside *b);		/* its id */
/* Those handed on are taken.  0, -EIO: some were lost. */
int beside_take(struct beside *b);
const volatile struct bench_stamps *beside_stamps(const struct beside *b);

/*
 * A slice of @op whose samples are not its time but the time of program @id a run, the
 * mean over a few calls, as the kernel has it: its reading of the clock included.
 */
int beside_slice(struct bench_run *run, uint64_t ns, uint32_t id,
		 int (*op)(struct bench_run *run));

#endif /* RMIO_BENCH_BESIDE_H */
