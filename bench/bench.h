/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The latency harness: what a case is, what a run of it has measured.
 *
 * Outside the data path. A case sets up its peers, is run for one slice of
 * time after another, and is torn down; run.c interleaves the slices of all
 * cases, so that a machine whose speed drifts does so for every case alike.
 */
#ifndef RMIO_BENCH_H
#define RMIO_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#include "clock.h"
#include "hist.h"

#define BENCH_MAX_RIVALS 3
#define BENCH_MAX_ROUNDS 20

enum bench_placement {
	BENCH_NOWHERE,		/* the case has one party only */
	BENCH_SAME_CPU,
	BENCH_CROSS_CPU,
};

#define BENCH_PLACE(p) (1u << (p))
#define BENCH_EVERYWHERE (BENCH_PLACE(BENCH_SAME_CPU) | BENCH_PLACE(BENCH_CROSS_CPU))

enum bench_wait {
	BENCH_NOWAIT,		/* nobody waits for anybody */
	BENCH_POLL,
	BENCH_ADAPTIVE,
	BENCH_SLEEP,
};

#define BENCH_WAIT(w) (1u << (w))
#define BENCH_ANYHOW (BENCH_WAIT(BENCH_POLL) | BENCH_WAIT(BENCH_ADAPTIVE) | BENCH_WAIT(BENCH_SLEEP))

/* Flags of a case. */
#define BENCH_KVM	0x1	/* has a vCPU */
#define BENCH_FIXED	0x2	/* waits one way only, whatever --wait selects */
#define BENCH_ONCE	0x4	/* measured in one piece, in the first round */
#define BENCH_MANY	0x8	/* has --devices devices; their number ends the name */
#define BENCH_IDLE	0x10	/* measures CPU time, not latency */
#define BENCH_OWN	0x20	/* of the device that --device names */

struct bench_run;

struct bench_case {
	const char *name;
	const char *what;				/* for --list */
	const char *rivals[BENCH_MAX_RIVALS];		/* ratios are printed to these */
	unsigned int placements;			/* BENCH_PLACE() of each; 0: none applies */
	unsigned int waits;				/* BENCH_WAIT() of each; 0: none applies */
	unsigned int flags;

	/* 0, 1 when it cannot run here and bench_why() said so, or -errno. */
	int (*setup)(struct bench_run *run);
	int (*slice)(struct bench_run *run, uint64_t ns);
	void (*teardown)(struct bench_run *run);	/* only after setup returned 0 */
};

/* One case at one placement with one policy, and what it measured so far. */
struct bench_run {
	const struct bench_case *def;
	char name[64];
	enum bench_placement placement;
	enum bench_wait wait;
	unsigned int devices;		/* in the device process */
	int cpu;			/* of the measuring thread */
	int peer_cpu;
	void *priv;			/* the case's own, from setup to teardown */
	pid_t peer;			/* its CPU time is counted too; 0: no peer */

	unsigned int per_sample;	/* operations whose mean a sample is */
	struct hist hist;		/* picoseconds an operation */
	struct hist slice;		/* of them, those of the slice under way */
	uint64_t p50[BENCH_MAX_ROUNDS];	/* of each round, 0: not measured in it */
	uint64_t ops;
	uint64_t elapsed_ns;
	uint64_t cpu_ns;
	uint64_t extra; /* ticks to subtract from a sample, beside the clock's own */
	uint64_t exits;			/* the case counts here, warm-up included */
	uint64_t user_exits;		/* the same without warm-up */
	int status;			/* 0, 1 not possible here, -errno failed */
	char why[160];
};

/* The process that answers. It is killed at the end of every slice. */
int bench_peer_start(struct bench_run *run, int (*fn)(void *arg), void *arg);
void bench_peer_stop(struct bench_run *run);
int bench_pin(int cpu);
void *bench_shared(size_t len);	/* zeroed pages that a fork shares, NULL: no memory */
void bench_unshare(void *p, size_t len);

/* Notes why a case cannot run or failed; returns @status for the caller to return. */
int bench_why(struct bench_run *run, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* names.c */
const char *bench_placement_name(enum bench_placement placement);	/* NULL: none */
const char *bench_wait_name(enum bench_wait wait);			/* NULL: none */

/* One CPU-time interval over the measuring thread and its peer. */
uint64_t bench_cpu_ns(const struct bench_run *run);
uint64_t bench_peer_cpu_ns(const struct bench_run *run);

/*
 * Calls @op for @ns nanoseconds after a warm-up of an eighth of that. Each call
 * performs @ops operations and makes one sample, its time divided by @ops. The
 * sample is recorded between two calls, outside what is timed.
 */
static inline __attribute__((always_inline)) int
bench_loop(struct bench_run *run, uint64_t ns, unsigned int ops,
	   int (*op)(struct bench_run *run))
{
	uint64_t end, t0, t1, exits, cpu, start;
	uint64_t calls = 0, ticks;
	int err;

	end = bench_ticks() + bench_ns_to_ticks(ns / 8);
	do {
		err = op(run);
		if (err)
			return err;
	} while (bench_ticks() < end);

	run->per_sample = ops;
	exits = run->exits;
	cpu = bench_cpu_ns(run);
	start = bench_ticks();
	end = start + bench_ns_to_ticks(ns);
	do {
		t0 = bench_ticks();
		err = op(run);
		t1 = bench_ticks();
		if (err)
			return err;
		ticks = t1 - t0;
		ticks -= run->extra < ticks ? run->extra : ticks;
		hist_record(&run->slice, bench_ticks_to_ps(ticks) / ops);
		calls++;
	} while (t1 < end);

	run->elapsed_ns += bench_ticks_to_ps(t1 - start) / 1000;
	run->cpu_ns += bench_cpu_ns(run) - cpu;
	run->user_exits += run->exits - exits;
	run->ops += calls * ops;
	return 0;
}

/* The families; each array ends with an empty name. */
extern const struct bench_case bench_limits_cases[];
extern const struct bench_case bench_ring_cases[];
extern const struct bench_case bench_dma_cases[];
extern const struct bench_case bench_kvm_cases[];
extern const struct bench_case bench_rmio_cases[];
extern const struct bench_case bench_bpf_cases[];
extern const struct bench_case bench_user_cases[];
extern const struct bench_case bench_qemu_cases[];
extern const struct bench_case bench_own_cases[];

/* What the run took place on. */
struct bench_machine {
	char kernel[200];
	char cpu[128];
	int cpus;
	int cpu_a, cpu_b; /* the pair that is measured on; cpu_b -1: there is one CPU */
	bool hypervisor;
	char kvm[160];			/* empty: usable, else why not */
	double seconds;			/* asked for per case */
	unsigned int asked_rounds;
	unsigned int rounds;		/* made: fewer on a machine that is too busy */
	/* Others on it (noise.c); < 0: not known. */
	double load_before, load_after;	/* processes that want to run, a mean over a minute */
	double stolen;			/* percent of the time of the two CPUs */
	uint64_t steal_at, total_at;	/* what the kernel had counted at the beginning */
};

/* Keeps m->cpu_a unless it is negative.  -EINVAL: no such CPU, or this process may not use it. */
int bench_machine_read(struct bench_machine *m);

/* noise.c: around the run. */
void noise_begin(struct bench_machine *m);
void noise_end(struct bench_machine *m);
/* Of /proc/stat: adds the time that was stolen from a CPU, and all its time.  False: not there. */
bool noise_of_cpu(const char *stat, int cpu, uint64_t *steal, uint64_t *total);

/* What is shown, all of them after the run: table.c, brief.c, json.c, csv.c, plot.c. */
void report_head(const struct bench_machine *m);
void report_table(const struct bench_machine *m, const struct bench_run *runs, size_t n);
void report_brief(const struct bench_machine *m, const struct bench_run *runs, size_t n);
/* Has the brief table room for it? */
bool brief_wants(const char *name, enum bench_placement placement, enum bench_wait wait);
int report_json(const char *file, const struct bench_machine *m,
		const struct bench_run *runs, size_t n);
int report_csv(const char *file, const struct bench_run *runs, size_t n);
/* gnuplot's script for that file. */
void plot_script(FILE *out, const char *file, const struct bench_machine *m,
		 const struct bench_run *runs, size_t n);
int plot_png(const char *file, const struct bench_machine *m,
	     const struct bench_run *runs, size_t n);

#endif /* RMIO_BENCH_H */
