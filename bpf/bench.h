/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-or-later OR BSD-2-Clause */
/* What bpf/bench.bpf.c and rmio-bench share. */
#ifndef RMIO_BPF_BENCH_H
#define RMIO_BPF_BENCH_H

#include <rmio/abi.h>

#define BENCH_STAMPS	4096u
#define BENCH_RING	65536u	/* bytes of requests */

struct bench_stamps {
	unsigned long long nr;			/* stores seen; the program writes it */
	unsigned long long ns[BENCH_STAMPS];	/* CLOCK_MONOTONIC, of each, by number */
};

#endif
