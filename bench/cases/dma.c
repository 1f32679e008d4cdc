// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a device pays to find guest memory: the look-up of an address among few and many maps of
 * 4 KiB, as a guest behind an IOMMU makes them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../bench.h"
#include "device/dma.h"

#define PAGE	4096u
#define LOOKUPS	64u	/* an operation */
#define ORDER	65536u	/* addresses, in an order that no cache follows */

struct dma_bench {
	struct rmio_dma dma;
	uint64_t *order;
	uint32_t at;
};

static void dma_free(struct bench_run *run)
{
	struct dma_bench *b = run->priv;

	rmio_dma_drop(&b->dma);
	free(b->order);
	free(b);
	run->priv = NULL;
}

/* Every second page of the guest, the pages of the file in another order. */
static int map_all(struct bench_run *run, struct dma_bench *b, uint32_t n)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING), own, err = 0;
	uint32_t i;

	if (fd < 0 || ftruncate(fd, (off_t)n * PAGE) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
		err = bench_why(run, -errno, "memfd: %s", strerror(errno));
	for (i = 0; i < n && !err; i++) {
		own = dup(fd);
		err = rmio_dma_map(&b->dma, i * 2ull * PAGE, PAGE, (n - 1 - i) * (uint64_t)PAGE,
				   PROT_READ | PROT_WRITE, &own);
		if (err)
			bench_why(run, err, "map %u: %s", i, b->dma.why);
		if (own >= 0)
			close(own);
	}
	if (fd >= 0)
		close(fd);
	return err;
}

static int setup(struct bench_run *run, uint32_t n)
{
	struct dma_bench *b = calloc(1, sizeof(*b));
	uint64_t x = 1;
	uint32_t i;
	int err;

	if (!b)
		return -ENOMEM;
	rmio_dma_init(&b->dma);
	run->priv = b;
	b->order = malloc(ORDER * sizeof(*b->order));
	err = b->order ? map_all(run, b, n) : -ENOMEM;
	if (err) {
		dma_free(run);
		return err;
	}
	for (i = 0; i < ORDER; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		b->order[i] = (x >> 33) % n * 2 * PAGE;
	}
	return 0;
}

static int setup_1(struct bench_run *run)
{
	return setup(run, 1);
}

static int setup_64(struct bench_run *run)
{
	return setup(run, 64);
}

static int setup_100000(struct bench_run *run)
{
	return setup(run, 100000);
}

static int lookups(struct bench_run *run)
{
	struct dma_bench *b = run->priv;
	uint32_t i;

	for (i = 0; i < LOOKUPS; i++) {
		b->at = (b->at + 1) % ORDER;
		if (!rmio_dma_direct(&b->dma, b->order[b->at], 4, false))
			return -EFAULT;
	}
	return 0;
}

static int slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, LOOKUPS, lookups);
}

#define CASE(n, more)								\
	{									\
		.name = "dma.lookup." #n, .flags = BENCH_ONCE,			\
		.what = "address of guest memory looked up among " #n " map" more,	\
		.setup = setup_##n, .slice = slice, .teardown = dma_free,	\
	}

const struct bench_case bench_dma_cases[] = {
	CASE(1, ""),
	CASE(64, "s"),
	CASE(100000, "s"),
	{ 0 },
};
