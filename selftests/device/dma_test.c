// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Mapped guest memory: what is refused, what is looked up, and copies that
 * survive whatever the VMM does to its files.
 */
#include "device/dma.h"
#include "ktap.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define RW	(PROT_READ | PROT_WRITE)
#define PAGE	4096

enum kind { SEALED, UNSEALED, HUGE };

static int memory(enum kind kind, size_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING |
			      (kind == HUGE ? MFD_HUGETLB : 0));

	if (fd < 0 || ftruncate(fd, (off_t)size))
		return -1;
	if (kind == SEALED && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		return -1;
	return fd;
}

/* A map of its own descriptor; the caller's stays open. */
static int map(struct rmio_dma *d, uint64_t iova, uint64_t size, uint64_t offset, int prot, int fd)
{
	int copy = fd < 0 ? -1 : dup(fd), err;

	err = rmio_dma_map(d, iova, size, offset, prot, &copy);
	if (copy >= 0)
		close(copy);
	return err;
}

/* -- the table ------------------------------------------------------------------------------ */

static void refused(void)
{
	int fd = memory(SEALED, 4 * PAGE), ro, wo, p[2], ev = eventfd(0, 0);
	int dir = open("/", O_RDONLY | O_DIRECTORY), sock = socket(AF_UNIX, SOCK_STREAM, 0);
	int zero = open("/dev/zero", O_RDWR), proc = open("/proc/self/mem", O_RDWR);
	char path[64];
	struct rmio_dma d;

	rmio_dma_init(&d);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	wo = open(path, O_WRONLY);
	T_EQ(pipe(p), 0);
	T_EQ(map(&d, 0, 0, 0, RW, fd), -EINVAL);
	T_EQ(map(&d, 0, PAGE, 0, 0, fd), -EINVAL);
	T_EQ(map(&d, 0, PAGE, 0, PROT_EXEC | PROT_READ, fd), -EINVAL);
	T_EQ(map(&d, 0, PAGE, 100, RW, fd), -EINVAL);
	T_EQ(map(&d, UINT64_MAX - PAGE + 2, PAGE, 0, RW, fd), -EOVERFLOW);
	T_EQ(map(&d, 0, PAGE, UINT64_MAX - PAGE + 1, RW, fd), -EOVERFLOW);
	T_EQ(map(&d, 0, PAGE, 1ull << 63, RW, fd), -EOVERFLOW);
	T_EQ(map(&d, 0, 5 * PAGE, 0, RW, fd), -EINVAL);
	T_EQ(map(&d, 0, PAGE, 4 * PAGE, RW, fd), -EINVAL);
	T_EQ(map(&d, 0, PAGE, 0, RW, ro), -EACCES);
	T_EQ(map(&d, 0, PAGE, 0, PROT_WRITE, ro), -EACCES);
	T_EQ(map(&d, 0, PAGE, 0, PROT_READ, wo), -EACCES);
	T_EQ(map(&d, 0, PAGE, 0, RW, ev), -EINVAL);
	T_EQ(map(&d, 0, PAGE, 0, RW, p[0]), -EINVAL);
	T_EQ(map(&d, 0, PAGE, 0, RW, sock), -EINVAL);
	T_EQ(map(&d, 0, PAGE, 0, PROT_READ, dir), -EINVAL);
	T_EQ(map(&d, 0, PAGE, 0, RW, zero), -EINVAL);
	T_EQ(map(&d, 0, PAGE, 0, RW, proc), -EINVAL);
	T_EQ(d.n, 0);
	T_EQ(map(&d, 0, PAGE, 0, PROT_READ, ro), 0);
	T_EQ(map(&d, UINT64_MAX - PAGE + 1, PAGE, 0, RW, fd), 0);
	T_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	T_EQ(map(&d, PAGE, PAGE, 0, RW, fd), -EACCES);
	T_EQ(map(&d, PAGE, PAGE, 0, PROT_READ, fd), 0);
	T_EQ(d.n, 3);
	rmio_dma_drop(&d);
	T_EQ(d.n, 0);
}

static void overlap(void)
{
	static const struct {
		uint64_t iova, size;
		int err;
	} tries[] = {
		{ 0x3000, 0x1000, -EEXIST }, { 0x4000, 0x1000, -EEXIST },
		{ 0x2000, 0x2000, -EEXIST }, { 0x4000, 0x9000, -EEXIST },
		{ 0x1000, 0x9000, -EEXIST }, { 0, UINT64_MAX, -EEXIST },
		{ 0x2000, 0x1000, 0 }, { 0x5000, 0x1000, 0 }, { 0x8000, 0x1000, 0 },
		{ 0x7000, 0x1000, 0 }, { 0x0, 0x2000, 0 },
	};
	struct rmio_dma d;
	uint64_t iova, size, last = 0;
	uint32_t i;

	rmio_dma_init(&d);
	T_EQ(map(&d, 0x3000, 0x2000, 0, RW, -1), 0);
	for (i = 0; i < sizeof(tries) / sizeof(tries[0]); i++)
		if (!T_EQ(map(&d, tries[i].iova, tries[i].size, 0, RW, -1), tries[i].err))
			ktap_diag("try %u", i);
	for (i = 0; rmio_dma_from(&d, last, &iova, &size); i++) {
		T_GE(iova, last);
		last = iova + size;
	}
	T_EQ(i, 6);
	T_EQ(d.n, 6);
	/* no map is cut in two; what there is not may go */
	T_EQ(rmio_dma_unmap(&d, 0x3000, 0x1000), -EINVAL);
	T_EQ(rmio_dma_unmap(&d, 0x4000, 0x1000), -EINVAL);
	T_EQ(rmio_dma_unmap(&d, 0x3fff, 1), -EINVAL);
	T_EQ(rmio_dma_unmap(&d, 0x9000, 0x1000), 0);
	T_EQ(rmio_dma_unmap(&d, 0x3000, 0x2000), 0);
	T_EQ(rmio_dma_unmap(&d, 0x3000, 0x2000), 0);
	T_EQ(map(&d, 0x4000, 0x1000, 0, RW, -1), 0);
	rmio_dma_drop(&d);
}

/* As a VMM's IOMMU code does: whole ranges, pieces that match no map, up to the very end. */
static void unmap_ranges(void)
{
	struct rmio_dma d;
	uint64_t iova, size;
	uint32_t i;

	rmio_dma_init(&d);
	T_EQ(rmio_dma_unmap(&d, 0, UINT64_MAX), 0);
	for (i = 0; i < 64; i++)
		T_EQ(map(&d, 0x10000 + i * 0x2000, 0x1000, 0, RW, -1), 0);
	T_EQ(map(&d, -0x1000ull, 0x1000, 0, RW, -1), 0);
	T_EQ(rmio_dma_unmap(&d, 0x10000, 0x8000), 0);
	T_EQ(d.n, 61);
	T_OK(rmio_dma_from(&d, 0, &iova, &size) && iova == 0x18000 && size == 0x1000);
	/* between two maps, over one and half of the next, over half of one and the next */
	T_EQ(rmio_dma_unmap(&d, 0x19000, 0x1000), 0);
	T_EQ(rmio_dma_unmap(&d, 0x18000, 0x2800), -EINVAL);
	T_STREQ(d.why, "would cut what is mapped from 0x1a000 to 0x1afff");
	T_EQ(rmio_dma_unmap(&d, 0x18800, 0x2800), -EINVAL);
	T_STREQ(d.why, "would cut what is mapped from 0x18000 to 0x18fff");
	T_EQ(d.n, 61);
	/* all that there is from here on, which is to the end of the address space */
	T_EQ(rmio_dma_unmap(&d, 0x20000, -0x20000ull), 0);
	T_EQ(d.n, 4);
	T_EQ(rmio_dma_unmap(&d, 0, UINT64_MAX), 0);
	T_OK(!rmio_dma_from(&d, 0, &iova, &size));
	rmio_dma_drop(&d);
}

/* -- many of them ---------------------------------------------------------------------------- */

static uint32_t depth(const struct rmio_dma_map *m)
{
	uint32_t less = m ? depth(m->less) : 0, more = m ? depth(m->more) : 0;

	return m ? 1 + (less > more ? less : more) : 0;
}

/* The tree against a row of booleans, in an order that nothing follows. */
static void any_order(void)
{
	enum { N = 512 };
	uint32_t step, i, k, n = 0, rounds = ktap_pick(20000, 200000, 2000000);
	static bool there[N + 1];
	uint64_t iova, size, x = 1;
	struct rmio_dma d;
	int want;

	rmio_dma_init(&d);
	for (step = 0; step < rounds; step++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		i = (uint32_t)(x >> 33) % N;
		k = (uint32_t)(x >> 50) % 16 ? 1 : (uint32_t)(x >> 42) % 200 + 1;
		if (i + k > N)
			k = N - i;
		if (k == 1 && !there[i] && (x >> 62)) {
			T_EQ(map(&d, i * 0x1000ull, 0x1000, 0, RW, -1), 0);
			there[i] = true;
			n++;
		} else if (k == 1 && (x >> 62) == 2) {
			want = there[i] ? -EEXIST : 0;
			T_EQ(map(&d, i * 0x1000ull + 0x800, 0x100, 0, RW, -1), want);
			T_EQ(rmio_dma_unmap(&d, i * 0x1000ull + 0x800, 0x100), want ? -EINVAL : 0);
		} else {
			T_EQ(rmio_dma_unmap(&d, i * 0x1000ull, k * 0x1000ull), 0);
			for (; k; k--, i++) {
				n -= there[i];
				there[i] = false;
			}
		}
		for (i = (uint32_t)(x >> 20) % N; i < N && !there[i]; i++)
			;
		if (!T_EQ(rmio_dma_from(&d, ((x >> 20) % N) * 0x1000, &iova, &size), i < N) ||
		    (i < N && !T_EQ(iova, i * 0x1000ull)) || !T_EQ(d.n, n))
			break;
	}
	T_LE(depth(d.tree.root), 64);
	rmio_dma_drop(&d);
}

/* As many as is announced, in the order in which a list would be longest, of one file. */
static void many(enum kind kind)
{
	uint32_t n = ktap_pick(VU_DMA_MAPS_DEFAULT, VU_DMA_MAPS_DEFAULT, RMIO_DMA_MAPS), i;
	size_t pages = 1024, page = kind == HUGE ? 2 << 20 : PAGE;
	int fd = memory(kind, kind == HUGE ? 4 * page : pages * PAGE);
	struct rmio_dma d;
	uint64_t iova;
	char *mem, c;

	mem = fd < 0 ? MAP_FAILED : mmap(NULL, 4 * page, RW, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		T_SKIP("no huge pages", "echo 16 > /proc/sys/vm/nr_hugepages");
	for (i = 0; i < 4; i++)
		mem[i * (size_t)PAGE] = (char)('a' + i);
	rmio_dma_init(&d);
	for (i = 0; i < n; i++) {
		/* every second page, the upper ones first */
		iova = (uint64_t)(n - i) * 2 * PAGE;
		if (!T_EQ(map(&d, iova, PAGE, i % pages * PAGE, RW, fd), 0)) {
			ktap_diag("%u: %s", i, d.why);
			break;
		}
	}
	T_EQ(d.n, n);
	T_LE(depth(d.tree.root), 80);
	T_LE(d.files.mapped + d.files.open, RMIO_DMA_PIECES + 1);
	for (i = 0; i < n; i += 4093) {
		T_EQ(rmio_dma_copy(&d, (uint64_t)(n - i) * 2 * PAGE, &c, 1, false), 0);
		T_EQ(c, i % pages < 4 ? 'a' + (int)(i % pages) : 0);
		T_EQ(rmio_dma_copy(&d, (uint64_t)(n - i) * 2 * PAGE + PAGE, &c, 1, false), -EFAULT);
	}
	if (n == RMIO_DMA_MAPS) {
		T_EQ(map(&d, 0, PAGE, 0, RW, fd), -ENOSPC);
		T_STREQ(d.why, "there are 1048576 maps already");
	}
	/* half of them at once, one by one, and what is left */
	T_EQ(rmio_dma_unmap(&d, 0, (uint64_t)n * PAGE), 0);
	T_LE(d.n, n / 2 + 1);
	for (i = 0; i < 1000; i++)
		T_EQ(rmio_dma_unmap(&d, (uint64_t)(n - i) * 2 * PAGE, PAGE), 0);
	T_LE(d.n, n / 2 - 999);
	rmio_dma_drop(&d);
	T_EQ(d.files.mapped, 0);
	T_EQ(d.files.open, 0);
	T_EQ(d.files.bytes, 0);
	T_OK(!d.files.first);
	munmap(mem, 4 * page);
	close(fd);
}

static void many_sealed(void)
{
	many(SEALED);
}

static void many_unsealed(void)
{
	many(UNSEALED);
}

static void many_huge(void)
{
	many(HUGE);
}

/* A map that only reads never lends another's right to write, nor the other way round. */
static void windows_keep_rights(void)
{
	int fd = memory(SEALED, 256 * PAGE);
	struct rmio_dma d;
	uint32_t i;
	char *p;

	rmio_dma_init(&d);
	for (i = 0; i < 256; i++)
		T_EQ(map(&d, i * (uint64_t)PAGE, PAGE, i * (uint64_t)PAGE,
			 i % 2 ? RW : PROT_READ, fd), 0);
	T_LE(d.files.mapped, RMIO_DMA_PIECES + 2);
	for (i = 0; i < 256; i++) {
		T_EQ(!rmio_dma_direct(&d, i * (uint64_t)PAGE, 1, true), !(i % 2));
		T_OK(rmio_dma_direct(&d, i * (uint64_t)PAGE, 1, false));
	}
	p = rmio_dma_direct(&d, 0, 1, false);
	T_EQ(mprotect(p, PAGE, PROT_READ), 0);
	/* what another still uses stays */
	T_EQ(rmio_dma_unmap(&d, 0, 255 * PAGE), 0);
	p = rmio_dma_direct(&d, 255 * PAGE, 8, true);
	T_REQUIRE(T_OK(p));
	memcpy(p, "1234567", 8);
	T_EQ(d.files.mapped, 1);
	rmio_dma_drop(&d);
}

static void limits(void)
{
	struct rmio_dma d;
	uint32_t i;
	int fd;

	rmio_dma_init(&d);
	for (i = 0; i < RMIO_DMA_OPEN; i++) {
		fd = memory(UNSEALED, PAGE);
		if (!T_EQ(map(&d, (uint64_t)i * PAGE, PAGE, 0, RW, fd), 0))
			break;
		close(fd);
	}
	fd = memory(UNSEALED, PAGE);
	T_EQ(map(&d, 1ull << 40, PAGE, 0, RW, fd), -ENOSPC);
	T_STREQ(d.why, "more than 512 files that can be truncated");
	T_EQ(rmio_dma_unmap(&d, 0, PAGE), 0);
	T_EQ(map(&d, 1ull << 40, PAGE, 0, RW, fd), 0);
	rmio_dma_drop(&d);
	close(fd);
	for (i = 0; i < RMIO_DMA_MAPPED; i++) {
		fd = memory(SEALED, PAGE);
		if (!T_EQ(map(&d, (uint64_t)i * PAGE, PAGE, 0, RW, fd), 0))
			break;
		close(fd);
	}
	fd = memory(SEALED, PAGE);
	T_EQ(map(&d, 1ull << 40, PAGE, 0, RW, fd), -ENOSPC);
	T_STREQ(d.why, "more than 4096 files, or pieces of them");
	T_EQ(rmio_dma_unmap(&d, 0, 8 * PAGE), 0);
	T_EQ(map(&d, 1ull << 40, PAGE, 0, RW, fd), 0);
	T_EQ(rmio_dma_copy(&d, 0, (char[1]){ 0 }, 1, false), -EFAULT);
	T_EQ(rmio_dma_copy(&d, 8 * PAGE, (char[1]){ 0 }, 1, false), 0);
	rmio_dma_drop(&d);
}

/* Sparse files cost nothing but addresses, which all devices of a process share. */
static void address_space(void)
{
#ifdef __SANITIZE_THREAD__
	T_SKIP("ThreadSanitizer leaves too little address space", "a build without it");
#else
	const uint64_t half = RMIO_DMA_BYTES / 2;
	int fd = memory(SEALED, half), other = memory(SEALED, half), page = memory(SEALED, PAGE);
	struct rmio_dma d;

	T_REQUIRE(T_OK(fd >= 0));
	rmio_dma_init(&d);
	T_EQ(map(&d, 0, half, 0, RW, fd), 0);
	T_EQ(map(&d, half, half, 0, RW, other), 0);
	T_EQ(map(&d, 2 * half, PAGE, 0, RW, page), -ENOSPC);
	T_EQ(rmio_dma_unmap(&d, half, half), 0);
	T_EQ(map(&d, 2 * half, PAGE, 0, RW, page), 0);
	rmio_dma_drop(&d);
	T_EQ(d.files.bytes, 0);
#endif
}

/* -- copies ------------------------------------------------------------------------------------ */

static void copies(enum kind kind, size_t page)
{
	size_t size = 4 * page, i;
	int fd = memory(kind, size);
	char *mem, *buf, *was;
	struct rmio_dma d;

	if (fd < 0)
		T_SKIP("no memory of huge pages", "echo 16 > /proc/sys/vm/nr_hugepages");
	mem = mmap(NULL, size, RW, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		T_SKIP("no huge pages", "echo 16 > /proc/sys/vm/nr_hugepages");
	buf = malloc(size + 1);
	was = malloc(size);
	for (i = 0; i < size; i++)
		mem[i] = (char)(i * 31 + i / 100);
	memcpy(was, mem, size);
	rmio_dma_init(&d);
	/* the file's second half first, then its first half behind it, then a gap */
	T_EQ(map(&d, 0x10000000, 2 * page, 2 * page, RW, fd), 0);
	T_EQ(map(&d, 0x10000000 + 2 * page, 2 * page, 0, RW, fd), 0);
	T_EQ(map(&d, 0x20000000, page, 0, PROT_READ, fd), 0);
	T_EQ(map(&d, 0x20000000 + page, page, page, PROT_WRITE, fd), 0);
	T_EQ(map(&d, 0x20000000 + 2 * page, page, 0, RW, -1), 0);

	T_EQ(rmio_dma_copy(&d, 0x10000000, buf, size, false), 0);
	T_MEMEQ(buf, mem + 2 * page, 2 * page);
	T_MEMEQ(buf + 2 * page, mem, 2 * page);
	T_EQ(rmio_dma_copy(&d, 0x10000000 + 2 * page - 3, buf, 7, false), 0);
	T_MEMEQ(buf, mem + size - 3, 3);
	T_MEMEQ(buf + 3, mem, 4);
	T_EQ(rmio_dma_copy(&d, 0x10000000 + 2 * page - 5, "0123456789", 10, true), 0);
	T_MEMEQ(mem + size - 5, "01234", 5);
	T_MEMEQ(mem, "56789", 5);
	memcpy(mem, was, size);
	T_EQ(rmio_dma_copy(&d, 0x10000000, buf, 0, true), 0);

	/* all or nothing */
	memset(buf, 0x77, size);
	T_EQ(rmio_dma_copy(&d, 0x10000000, buf, size + 1, true), -EFAULT);
	T_EQ(rmio_dma_copy(&d, 0x10000000 - 1, buf, 2, true), -EFAULT);
	T_EQ(rmio_dma_copy(&d, UINT64_MAX, buf, 2, true), -EFAULT);
	T_EQ(rmio_dma_copy(&d, 0x20000000, buf, 1, true), -EFAULT);
	T_EQ(rmio_dma_copy(&d, 0x20000000 + page, buf, 1, false), -EFAULT);
	T_EQ(rmio_dma_copy(&d, 0x20000000 + page - 1, buf, 2, false), -EFAULT);
	T_EQ(rmio_dma_copy(&d, 0x20000000 + 2 * page - 1, buf, 2, true), -EFAULT);
	T_MEMEQ(mem, was, size);
	T_EQ(rmio_dma_copy(&d, 0x20000000 + page, buf, 1, true), 0);
	T_EQ(mem[page], 0x77);

	/* pointers: only what cannot fault */
	T_OK(!rmio_dma_direct(&d, 0x10000000, size, false));
	T_OK(!rmio_dma_direct(&d, 0x10000000, 0, false));
	T_OK(!rmio_dma_direct(&d, 0x20000000, 1, true));
	T_OK(!rmio_dma_direct(&d, 0x20000000 + 2 * page, 1, false));
	if (kind == SEALED) {
		char *p = rmio_dma_direct(&d, 0x10000000 + 5, 2 * page - 5, true);

		T_REQUIRE(T_OK(p));
		*p = 0x11;
		T_EQ(mem[2 * page + 5], 0x11);
	} else {
		T_OK(!rmio_dma_direct(&d, 0x10000000, 1, false));
	}
	rmio_dma_drop(&d);
	munmap(mem, size);
	close(fd);
	free(buf);
	free(was);
}

static void copies_sealed(void)
{
	copies(SEALED, PAGE);
}

static void copies_unsealed(void)
{
	copies(UNSEALED, PAGE);
}

static void copies_huge(void)
{
	copies(HUGE, 2 << 20);
}

/* -- files that change ------------------------------------------------------------------------- */

static void truncated(enum kind kind, size_t page)
{
	int fd = memory(kind, 4 * page);
	static char buf[3 * PAGE];
	struct rmio_dma d;

	rmio_dma_init(&d);
	if (fd < 0 || map(&d, 0, 4 * page, 0, RW, fd) ||
	    rmio_dma_copy(&d, page, buf, 1, true)) {
		rmio_dma_drop(&d);
		T_SKIP("no huge pages", "echo 16 > /proc/sys/vm/nr_hugepages");
	}
	T_EQ(ftruncate(fd, (off_t)page), 0);
	T_EQ(rmio_dma_copy(&d, 2 * page, buf, sizeof(buf), false), -EFAULT);
	T_EQ(rmio_dma_copy(&d, page - 1, buf, 2, false), -EFAULT);
	/* a write may grow a file again, but does not fault */
	rmio_dma_copy(&d, page - 1, buf, 2, true);
	T_EQ(ftruncate(fd, 0), 0);
	T_EQ(rmio_dma_copy(&d, 0, buf, sizeof(buf), false), -EFAULT);
	/* and what was left in a pipe does not get into the next copy */
	T_EQ(ftruncate(fd, (off_t)(4 * page)), 0);
	memset(buf, 0x5a, sizeof(buf));
	T_EQ(rmio_dma_copy(&d, 0, buf, sizeof(buf), true), 0);
	memset(buf, 0, sizeof(buf));
	T_EQ(rmio_dma_copy(&d, 0, buf, sizeof(buf), false), 0);
	T_EQ(buf[0], 0x5a);
	T_EQ(buf[sizeof(buf) - 1], 0x5a);
	rmio_dma_drop(&d);
	close(fd);
}

static void truncated_unsealed(void)
{
	truncated(UNSEALED, PAGE);
}

static void truncated_huge(void)
{
	truncated(HUGE, 2 << 20);
}

/* Truncated and grown by another process while it is copied. */
static void truncated_meanwhile(void)
{
	long long end = ktap_now_ms() + ktap_pick(500, 2000, 10000);
	int fd = memory(UNSEALED, 16 * PAGE);
	static char buf[16 * PAGE];
	struct rmio_dma d;
	long rounds = 0;
	pid_t pid;

	rmio_dma_init(&d);
	T_REQUIRE(T_EQ(map(&d, 0, sizeof(buf), 0, RW, fd), 0));
	pid = fork();
	if (!pid)
		for (;;)
			if (ftruncate(fd, 0) || ftruncate(fd, sizeof(buf)))
				_exit(1);
	while (ktap_now_ms() < end) {
		rmio_dma_copy(&d, 0, buf, sizeof(buf), rounds % 2);
		rounds++;
	}
	kill(pid, SIGKILL);
	T_EQ(waitpid(pid, NULL, 0), pid);
	T_GT(rounds, 1);
	rmio_dma_drop(&d);
}

/* A process that may write no large files writes to guest memory all the same. */
static void file_limit(void)
{
	int fd = memory(UNSEALED, 4 * PAGE);
	struct rlimit r = { PAGE, PAGE };
	char buf[16] = "0123456789abcde", back[16] = "";
	struct rmio_dma d;

	rmio_dma_init(&d);
	T_EQ(setrlimit(RLIMIT_FSIZE, &r), 0);
	T_REQUIRE(T_EQ(map(&d, 0, 4 * PAGE, 0, RW, fd), 0));
	T_EQ(rmio_dma_copy(&d, 2 * PAGE, buf, sizeof(buf), true), 0);
	T_EQ(rmio_dma_copy(&d, 2 * PAGE, back, sizeof(back), false), 0);
	T_MEMEQ(back, buf, sizeof(buf));
	T_EQ(ftruncate(fd, 0), 0);
	T_EQ(rmio_dma_copy(&d, 2 * PAGE, buf, sizeof(buf), true), -EFAULT);
	rmio_dma_drop(&d);
}

/* No descriptor and no mapping is left behind. */
static int open_files(void)
{
	int n = 0, i;

	for (i = 0; i < 1024; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

static void leaks(void)
{
	int fd[2] = { memory(SEALED, PAGE), memory(UNSEALED, PAGE) }, before = open_files(), i, k;
	struct rmio_dma d;

	rmio_dma_init(&d);
	for (i = 0; i < 200; i++) {
		for (k = 0; k < 20; k++)
			T_EQ(map(&d, (uint64_t)k * PAGE, PAGE, 0, RW, fd[k % 2]), 0);
		T_EQ(map(&d, 0, PAGE, 0, RW, fd[1]), -EEXIST);
		for (k = 0; k < 10; k++)
			T_EQ(rmio_dma_unmap(&d, (uint64_t)k * PAGE, PAGE), 0);
		rmio_dma_drop(&d);
	}
	T_EQ(open_files(), before);
}

static const struct ktap_test tests[] = {
	{ "unmap of ranges", unmap_ranges },
	{ "refused", refused },
	{ "overlap", overlap },
	{ "any order", any_order },
	{ "many, sealed", many_sealed },
	{ "many, unsealed", many_unsealed },
	{ "many, huge pages", many_huge },
	{ "windows keep rights", windows_keep_rights },
	{ "limits", limits },
	{ "address space", address_space },
	{ "copies, sealed", copies_sealed },
	{ "copies, unsealed", copies_unsealed },
	{ "copies, huge pages", copies_huge },
	{ "truncated, unsealed", truncated_unsealed },
	{ "truncated, huge pages", truncated_huge },
	{ "truncated meanwhile", truncated_meanwhile },
	{ "file size limit", file_limit },
	{ "nothing left behind", leaks },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
