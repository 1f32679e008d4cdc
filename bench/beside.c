// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The bench's own BPF programs, and run times by the kernel's count. Outside the data
 * path, but for what an attached program costs.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "beside.h"
#include "bpf/bench.skel.h"

#define CALLS	8	/* between two looks at the kernel's count */

struct beside {
	struct bench *skel;
	struct bpf_link *link;
	uint32_t id;
	struct bench_stamps *stamps;
	uint64_t *consumer;		/* of the ring buffer: how far it is read */
	const uint64_t *producer;
};

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

static int cannot(struct bench_run *run, int err, const char *what)
{
	return bench_why(run, err == -EPERM ? 1 : err, "%s: %s%s", what, strerror(-err),
			 err == -EPERM ? "; run it as root" : "");
}

/* The ring buffer's two indices have a page each, its own way to be mapped (bpf(2)). */
static int map_all(struct beside *b)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int ring = bpf_map__fd(b->skel->maps.ring);

	b->stamps = mmap(NULL, sizeof(*b->stamps), PROT_READ, MAP_SHARED,
			 bpf_map__fd(b->skel->maps.stamps), 0);
	b->consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
	b->producer = mmap(NULL, page, PROT_READ, MAP_SHARED, ring, (off_t)page);
	return b->stamps == MAP_FAILED || b->consumer == MAP_FAILED || b->producer == MAP_FAILED ?
	       -ENOMEM : 0;
}

static void unmap(const void *p, size_t len)
{
	if (p && p != MAP_FAILED)
		munmap((void *)p, len);
}

static int attach(struct beside *b, enum beside_what what)
{
	struct bpf_program *p = what == BESIDE_NONE  ? b->skel->progs.rmio_bench_none :
				what == BESIDE_STAMP ? b->skel->progs.rmio_bench_stamp :
				what == BESIDE_ARRAY ? b->skel->progs.rmio_bench_array :
						       b->skel->progs.rmio_bench_ring;
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	int err;

	b->link = bpf_program__attach(p);
	if (!b->link)
		return -errno;
	err = bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &len);
	b->id = info.id;
	return err;
}

int beside_new(struct bench_run *run, enum beside_what what, uint64_t reg, struct beside **out)
{
	libbpf_print_fn_t print = libbpf_set_print(quiet);
	struct beside *b = calloc(1, sizeof(*b));
	int err = -ENOMEM;

	if (!b)
		goto out;
	b->skel = bench__open();
	if (!b->skel)
		goto out;
	b->skel->rodata->tgid = getpid();
	b->skel->rodata->reg = reg;
	err = bench__load(b->skel);
	if (err)
		goto out;
	err = map_all(b);
	if (!err)
		err = attach(b, what);
out:
	libbpf_set_print(print);
	if (err) {
		beside_free(b);
		return cannot(run, err, "a BPF program beside");
	}
	*out = b;
	return 0;
}

void beside_free(struct beside *b)
{
	if (!b)
		return;
	bpf_link__destroy(b->link);
	unmap(b->stamps, sizeof(*b->stamps));
	unmap(b->consumer, (size_t)sysconf(_SC_PAGESIZE));
	unmap(b->producer, (size_t)sysconf(_SC_PAGESIZE));
	bench__destroy(b->skel);
	free(b);
}

uint32_t beside_program(const struct beside *b)
{
	return b->id;
}

int beside_take(struct beside *b)
{
	__atomic_store_n(b->consumer, __atomic_load_n(b->producer, __ATOMIC_ACQUIRE),
			 __ATOMIC_RELEASE);
	return b->skel->bss->lost || !b->skel->bss->sent ? -EIO : 0;
}

const volatile struct bench_stamps *beside_stamps(const struct beside *b)
{
	return b->stamps;
}

static int sample(struct bench_run *run, int fd, struct bpf_prog_info *before,
		  int (*op)(struct bench_run *run))
{
	struct bpf_prog_info now = { 0 };
	uint32_t len = sizeof(now);
	uint64_t runs, ns;
	int i, err = 0;

	for (i = 0; i < CALLS && !err; i++)
		err = op(run);
	if (!err)
		err = bpf_obj_get_info_by_fd(fd, &now, &len);
	if (err)
		return err;
	runs = now.run_cnt - before->run_cnt;
	ns = now.run_time_ns - before->run_time_ns;
	/* What the kernel has counted before is not of these calls. */
	if (runs && before->run_cnt) {
		hist_record(&run->slice, ns * 1000 / runs);
		run->ops += runs;
	}
	*before = now;
	return 0;
}

int beside_slice(struct bench_run *run, uint64_t ns, uint32_t id, int (*op)(struct bench_run *run))
{
	struct bpf_prog_info before = { 0 };
	int stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	uint64_t start, end, cpu, exits;
	int fd, err = 0;

	if (stats < 0)
		return cannot(run, -errno, "counting the run time of BPF programs");
	fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0) {
		err = cannot(run, -errno, "the BPF program's account");
		close(stats);
		return err;
	}
	run->per_sample = CALLS;
	cpu = bench_cpu_ns(run);
	exits = run->exits;
	start = bench_ticks();
	end = start + bench_ns_to_ticks(ns);
	while (!err && bench_ticks() < end)
		err = sample(run, fd, &before, op);
	run->elapsed_ns += bench_ticks_to_ps(bench_ticks() - start) / 1000;
	run->cpu_ns += bench_cpu_ns(run) - cpu;
	run->user_exits += run->exits - exits;
	close(fd);
	close(stats);
	return err;
}
