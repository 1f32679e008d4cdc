// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * mp_client_test.c - the VMM's end of QEMU's multi-process protocol: against a remote that does
 * what QEMU does and ends where QEMU ends, against a device of rmio's, and against remotes that lie,
 * stall and die.  Beside the data path.
 */
#include "dev_thread.h"
#include "edu.h"
#include "mp_remote.h"

#include <linux/pci_regs.h>

#define CFG	VFIO_PCI_CONFIG_REGION_INDEX
#define INTX	VFIO_PCI_INTX_IRQ_INDEX
#define TRIGGER	VFIO_IRQ_SET_ACTION_TRIGGER
#define UNMASK	VFIO_IRQ_SET_ACTION_UNMASK
#define RW	(PROT_READ | PROT_WRITE)

static struct remote remote;

static int config_write(struct rmio_client *c, uint32_t reg, uint32_t len, uint32_t v)
{
	return rmio_client_region_write(c, CFG, reg, &v, len);
}

static uint32_t config_read(struct rmio_client *c, uint32_t reg, uint32_t len)
{
	uint32_t v = 0;

	T_EQ(rmio_client_region_read(c, CFG, reg, &v, len), 0);
	return v;
}

/* All three BARs where they do not collide. */
static void place(struct rmio_client *c)
{
	T_EQ(config_write(c, PCI_BASE_ADDRESS_0, 4, 0xe0000000), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_1, 4, 0xc000), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_2, 4, 0xe1000000), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_3, 4, 0x20), 0);
	T_EQ(config_write(c, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY), 0);
}

static bool good(struct rmio_client **c)
{
	remote_init(&remote);
	if (!T_EQ(remote_connect(&remote, REMOTE_PATIENT, c), 0))
		return false;
	place(*c);
	return true;
}

static void done(struct rmio_client *c)
{
	rmio_client_free(c);
	remote_join(&remote);
}

static int read_bar(struct rmio_client *c, uint32_t bar, uint64_t off, void *buf, uint32_t n)
{
	return rmio_client_region_read(c, bar, off, buf, n);
}

static int memory(size_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	T_EQ(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static uint64_t signals(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n = 0;

	if (poll(&p, 1, ms) == 1 && read(fd, &n, sizeof(n)) != sizeof(n))
		return 0;
	return n;
}

/* -- what is there ---------------------------------------------------------------- */

static void information(void)
{
	static const uint64_t sizes[] = { 4096, 256, 65536, 0, 0, 0, 0, 256, 0 };
	uint32_t flags, regions, irqs, count;
	struct rmio_region_info info;
	struct rmio_client *c;

	T_REQUIRE(good(&c));
	T_EQ(rmio_client_master(c), NULL);
	T_EQ(rmio_client_device_info(c, &flags, &regions, &irqs), 0);
	T_EQ(flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
	T_EQ(regions, 9);
	T_EQ(irqs, 5);
	for (uint32_t i = 0; i < 9; i++) {
		T_EQ(rmio_client_region_info(c, i, &info), 0);
		T_EQ(info.size, sizes[i]);
		T_EQ(info.flags, sizes[i] ? 3 : 0);
	}
	T_EQ(rmio_client_region_info(c, 9, &info), -EINVAL);
	for (uint32_t i = 0; i < 5; i++) {
		T_EQ(rmio_client_irq_info(c, i, &flags, &count), 0);
		T_EQ(count, i == INTX);
	}
	T_EQ(rmio_client_irq_info(c, 5, &flags, &count), -EINVAL);
	T_EQ(rmio_client_irq_info(c, INTX, &flags, &count), 0);
	T_EQ(flags, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_AUTOMASKED);
	done(c);

	/* The device's own command register survives the probing; no pin. */
	remote_init(&remote);
	remote_put(&remote, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	remote_put(&remote, PCI_BASE_ADDRESS_0, 4, 0xd0000000);
	remote_put(&remote, PCI_INTERRUPT_PIN, 1, 0);
	T_REQUIRE(T_EQ(remote_connect(&remote, REMOTE_PATIENT, &c), 0));
	T_EQ(config_read(c, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	T_EQ(config_read(c, PCI_BASE_ADDRESS_0, 4), 0xd0000000);
	T_EQ(read_bar(c, 0, 0, &flags, 4), 0);
	T_EQ(rmio_client_irq_info(c, INTX, &flags, &count), 0);
	T_EQ(count, 0);
	T_EQ(rmio_client_set_irqs(c, INTX, TRIGGER, 0, 0, NULL), -EINVAL);
	done(c);
}

static void config(void)
{
	uint8_t all[256], part[8];
	struct rmio_client *c;

	T_REQUIRE(good(&c));
	T_EQ(rmio_client_region_read(c, CFG, 0, all, 256), 0);
	T_EQ(all[0], 0x34);
	T_EQ(all[PCI_STATUS] & PCI_STATUS_CAP_LIST, 0);
	T_EQ(all[PCI_CAPABILITY_LIST], 0);
	for (uint32_t at = 0; at < 256; at++) {
		for (uint32_t n = 1; n <= 8 && at + n <= 256; n++) {
			T_EQ(rmio_client_region_read(c, CFG, at, part, n), 0);
			T_MEMEQ(part, all + at, n);
		}
	}
	T_EQ(rmio_client_region_read(c, CFG, 253, part, 4), -EINVAL);
	T_EQ(rmio_client_region_read(c, CFG, 256, part, 1), -EINVAL);
	T_EQ(rmio_client_region_read(c, CFG, UINT64_MAX, part, 2), -EINVAL);
	T_EQ(rmio_client_region_read(c, CFG, 0, part, 0), 0);
	/* writes of all alignments, each byte where it belongs */
	for (uint32_t n = 1; n <= 8; n++) {
		memcpy(part, "abcdefgh", 8);
		T_EQ(rmio_client_region_write(c, CFG, 0x51, part, n), 0);
		T_EQ(rmio_client_region_read(c, CFG, 0x50, all, 16), 0);
		T_MEMEQ(all + 1, part, n);
		T_EQ(config_write(c, 0x50, 4, 0), 0);
		T_EQ(config_write(c, 0x54, 4, 0), 0);
		T_EQ(config_write(c, 0x58, 1, 0), 0);
	}
	/* the last bytes cannot be written by themselves: QEMU would end */
	T_EQ(config_write(c, 252, 4, 0x12345678), 0);
	T_EQ(config_write(c, 253, 1, 0), -EINVAL);
	T_EQ(config_write(c, 254, 2, 0), -EINVAL);
	T_EQ(config_read(c, 253, 1), 0x56);
	T_EQ(config_read(c, 254, 2), 0x1234);
	done(c);
}

/* -- BARs ---------------------------------------------------------------------------- */

static void bars(void)
{
	uint8_t buf[16], store[16];
	struct rmio_client *c;

	T_REQUIRE(good(&c));
	for (uint32_t bar = 0; bar < 3; bar++) {
		for (uint32_t off = 0; off < 8; off++) {
			for (uint32_t n = 1; n <= 16; n++) {
				T_EQ(read_bar(c, bar, 16 + off, buf, n), 0);
				T_MEMEQ(buf, remote.ram + 16 + off, n);
			}
		}
		for (uint32_t n = 1; n <= 16; n++) {
			for (uint32_t i = 0; i < n; i++)
				store[i] = (uint8_t)(bar * 64 + n + i);
			T_EQ(rmio_client_region_write(c, bar, 0x23, store, n), 0);
			T_EQ(read_bar(c, bar, 0x22, buf, 16), 0);
			T_MEMEQ(buf + 1, store, n < 16 ? n : 15);
		}
	}
	T_EQ(read_bar(c, 0, 4096 - 8, buf, 8), 0);
	T_EQ(read_bar(c, 0, 4096 - 7, buf, 8), -EINVAL);
	T_EQ(read_bar(c, 0, 4096, buf, 1), -EINVAL);
	T_EQ(read_bar(c, 1, 256, buf, 1), -EINVAL);
	T_EQ(read_bar(c, 3, 0, buf, 1), -EINVAL);
	T_EQ(read_bar(c, 6, 0, buf, 1), -EINVAL);
	T_EQ(read_bar(c, 9, 0, buf, 1), -EINVAL);
	T_EQ(rmio_client_region_write(c, 0, UINT64_MAX, buf, 2), -EINVAL);
	done(c);
}

/* Nothing is asked of the remote that it does not decode; what is asked is where it is by then. */
static void decoding(void)
{
	struct rmio_client *c;
	uint32_t v;
	int fd = memory(0x2000000);

	T_REQUIRE(good(&c));
	T_EQ(config_write(c, PCI_COMMAND, 2, PCI_COMMAND_IO), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), -ENXIO);
	T_EQ(read_bar(c, 2, 0, &v, 4), -ENXIO);
	T_EQ(rmio_client_region_write(c, 0, 0, &v, 4), -ENXIO);
	T_EQ(read_bar(c, 1, 0, &v, 4), 0);
	T_EQ(config_write(c, PCI_COMMAND, 1, PCI_COMMAND_MEMORY), 0);
	T_EQ(read_bar(c, 1, 0, &v, 4), -ENXIO);
	T_EQ(read_bar(c, 0, 0, &v, 4), 0);
	/* by a write of four bytes that only begins before it */
	T_EQ(rmio_client_region_write(c, CFG, 3, "\x56\x03", 2), 0);
	T_EQ(read_bar(c, 1, 0, &v, 4), 0);
	/* moved, byte by byte */
	T_EQ(config_write(c, PCI_BASE_ADDRESS_0 + 3, 1, 0xd0), 0);
	T_EQ(read_bar(c, 0, 8, &v, 4), 0);
	T_EQ(config_read(c, PCI_BASE_ADDRESS_0, 4), 0xd0000000);
	/* at 0, and where no BAR can be */
	T_EQ(config_write(c, PCI_BASE_ADDRESS_0, 4, 0), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), -ENXIO);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_0, 4, 0xfffff000), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), -ENXIO);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_1, 4, 0), 0);
	T_EQ(read_bar(c, 1, 0, &v, 4), -ENXIO);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_1, 4, 0xff00), 0);
	T_EQ(read_bar(c, 1, 0, &v, 4), 0);
	/* 64 bits, each half */
	T_EQ(config_write(c, PCI_BASE_ADDRESS_3, 4, 0), 0);
	T_EQ(read_bar(c, 2, 0xfff8, &v, 4), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_3, 4, 0x7fffffff), 0);
	T_EQ(read_bar(c, 2, 0xfff8, &v, 4), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_2, 4, 0), 0);
	T_EQ(read_bar(c, 2, 0, &v, 4), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_3, 4, 0xffffffff), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_2, 4, 0xffff0000), 0);
	T_EQ(read_bar(c, 2, 0, &v, 4), -ENXIO);
	/* under memory, which lies above it there: at its first byte and at its last */
	T_EQ(config_write(c, PCI_BASE_ADDRESS_0, 4, 0x1fff000), 0);
	T_EQ(rmio_client_dma_map(c, 0, 0x2000000, fd, 0, RW), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), -ENXIO);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_0, 4, 0x2000000), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_0, 4, 0x1000000), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), -ENXIO);
	T_EQ(rmio_client_dma_unmap(c, 0, 0x2000000), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), 0);
	/* a reset: the remote's is of the device, ours of what is PCI's too */
	T_EQ(rmio_client_reset(c), 0);
	T_EQ(remote.resets, 1);
	T_EQ(config_read(c, PCI_COMMAND, 2), 0);
	T_EQ(config_read(c, PCI_BASE_ADDRESS_0, 4), 0);
	T_EQ(config_read(c, PCI_BASE_ADDRESS_2, 4), 0xc);
	T_EQ(config_read(c, PCI_BASE_ADDRESS_3, 4), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), -ENXIO);
	place(c);
	T_EQ(read_bar(c, 0, 0, &v, 4), 0);
	done(c);
	close(fd);
}

/* Registers that are no BARs. */
static void bad_bars(void)
{
	static const struct {
		uint32_t bar, mask;
		uint8_t type;
		int err;
	} cases[] = {
		{ 0, 0xfffff800 & ~0x10000u, 0, -EPROTO },	/* no power of two */
		{ 0, 0x0000fff0, 0, -EPROTO },			/* zeros above */
		{ 5, 0xfffff000, 4, -EPROTO },			/* of 64 bits, and the last */
		{ 4, 0xfffff000, 4, -EPROTO },			/* its upper half: zeros */
		{ 4, 0x00000700, 1, -EPROTO },			/* I/O with holes */
		{ 4, 0xfffff000, 2, 0 },			/* below 1 MiB: as any */
		{ 4, 0xfffffff0, 0, 0 },			/* the smallest */
		{ 4, 0x80000000, 0, 0 },			/* the largest */
	};
	int before = rig_count_fds();
	struct rmio_client *c;

	for (int i = 0; i < KTAP_COUNT(cases); i++) {
		remote_init(&remote);
		remote.mask[cases[i].bar] = cases[i].mask;
		remote.bar_type[cases[i].bar] = cases[i].type;
		remote_put(&remote, PCI_BASE_ADDRESS_0 + 4 * cases[i].bar, 4, cases[i].type);
		if (!T_EQ(remote_connect(&remote, REMOTE_PATIENT, &c), cases[i].err))
			ktap_diag("case %d", i);
		if (!cases[i].err)
			rmio_client_free(c);
		remote_join(&remote);
	}
	T_EQ(rig_count_fds(), before);
}

/* -- memory ----------------------------------------------------------------------------- */

static uint64_t inode(int fd)
{
	struct stat st;

	T_EQ(fstat(fd, &st), 0);
	return st.st_ino;
}

static void tables(void)
{
	int a = memory(0x20000), b = memory(0x1000), before;
	struct rmio_client *c;
	uint32_t i;

	T_REQUIRE(good(&c));
	before = rig_count_fds();
	T_EQ(rmio_client_dma_map(c, 0, 0x10000, a, 0x10000, RW), 0);
	/* It has been taken when the call returns. */
	T_EQ(__atomic_load_n(&remote.syncs, __ATOMIC_ACQUIRE), 1);
	T_EQ(remote.n_mem, 1);
	T_EQ(remote.mem.size[0], 0x10000);
	T_EQ(remote.mem.offset[0], 0x10000);
	T_EQ(remote.mem_ino[0], inode(a));
	/* what cannot be */
	T_EQ(rmio_client_dma_map(c, 0xf000, 0x1000, b, 0, RW), -EEXIST);
	T_EQ(rmio_client_dma_map(c, 0, 0x20000, b, 0, RW), -EEXIST);
	T_EQ(rmio_client_dma_map(c, 0x100000, 0, b, 0, RW), -EINVAL);
	T_EQ(rmio_client_dma_map(c, 0x100000, 0x800, b, 0, RW), -EINVAL);
	T_EQ(rmio_client_dma_map(c, 0x100800, 0x1000, b, 0, RW), -EINVAL);
	T_EQ(rmio_client_dma_map(c, 0x100000, 0x1000, b, 8, RW), -EINVAL);
	T_EQ(rmio_client_dma_map(c, UINT64_MAX - 0xfff, 0x2000, b, 0, RW), -EINVAL);
	T_EQ(rmio_client_dma_map(c, 0x100000, 0x1000, b, 1ull << 63, RW), -EINVAL);
	T_EQ(rmio_client_dma_map(c, 0x100000, 0x1000, b, INT64_MAX & ~0xfffull, RW), -EINVAL);
	T_EQ(rmio_client_dma_map(c, 0x100000, 0x1000, b, 0, PROT_READ), -ENOTSUP);
	T_EQ(rmio_client_dma_map(c, 0x100000, 0x1000, -1, 0, RW), -EBADF);
	T_EQ(rmio_client_dma_unmap(c, 0, 0x1000), -ENOENT);
	T_EQ(rmio_client_dma_unmap(c, 0x1000, 0x10000), -ENOENT);
	T_EQ(remote.syncs, 1);
	/* seven, and no eighth */
	for (i = 1; i < 7; i++)
		T_EQ(rmio_client_dma_map(c, i * 0x100000, 0x1000, b, 0, RW), 0);
	T_EQ(rmio_client_dma_map(c, 0x800000, 0x1000, b, 0, RW), -ENOSPC);
	T_EQ(remote.n_mem, 7);
	T_EQ(rmio_client_dma_unmap(c, 0x300000, 0x1000), 0);
	T_EQ(remote.n_mem, 6);
	for (i = 0; i < 6; i++)
		T_OK(remote.mem.gpa[i] != 0x300000);
	for (i = 1; i < 7; i++)
		if (i != 3)
			T_EQ(rmio_client_dma_unmap(c, i * 0x100000, 0x1000), 0);
	T_EQ(remote.n_mem, 1);
	T_EQ(remote.mem_ino[0], inode(a));
	/* a table cannot be empty: the last one out leaves nobody's page */
	T_EQ(rmio_client_dma_unmap(c, 0, 0x10000), 0);
	T_EQ(remote.n_mem, 1);
	T_EQ(remote.mem.size[0], 0x1000);
	T_EQ(remote.mem.gpa[0], UINT64_MAX - 0xfff);
	T_OK(remote.mem_ino[0] != inode(a) && remote.mem_ino[0] != inode(b));
	T_EQ(rig_count_fds(), before);
	/* ours is a copy of the descriptor */
	T_EQ(rmio_client_dma_map(c, 0, 0x1000, b, 0, RW), 0);
	close(b);
	T_EQ(rmio_client_dma_map(c, 0x1000, 0x1000, a, 0, RW), 0);
	T_EQ(remote.n_mem, 2);
	done(c);
	close(a);
}

/* -- a device of rmio's ------------------------------------------------------------------ */

struct edu {
	struct dev_thread d;
	struct rmio_dev *dev;
	struct rmio_client *c;
};

static bool edu_new(struct edu *e, const char *spec)
{
	struct rmio_client_opts o = {
		.sz = sizeof(o), .protocol = RMIO_PROTOCOL_MULTI_PROCESS,
	};
	int s[2];

	memset(e, 0, sizeof(*e));
	if (!dev_thread_new(&e->d, RMIO_WAIT_SLEEP))
		return false;
	e->dev = dev_thread_add(&e->d, spec);
	if (!e->dev || !T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0) ||
	    !T_EQ(rmio_dev_serve(e->dev, s[1]), 0) || !dev_thread_start(&e->d) ||
	    !T_EQ(rmio_client_new(s[0], &o, &e->c), 0))
		return false;
	T_EQ(config_write(e->c, PCI_BASE_ADDRESS_0, 4, 0xe0000000), 0);
	T_EQ(config_write(e->c, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER), 0);
	return true;
}

static void edu_free(struct edu *e)
{
	rmio_client_free(e->c);
	dev_thread_join(&e->d);
	device_free(e->dev);
	rmio_loop_free(e->d.loop);
}

static uint32_t load(struct edu *e, uint64_t off)
{
	uint32_t v = 0;

	T_EQ(rmio_client_region_read(e->c, 0, off, &v, 4), 0);
	return v;
}

static void store(struct edu *e, uint64_t off, uint64_t v, uint32_t len)
{
	T_EQ(rmio_client_region_write(e->c, 0, off, &v, len), 0);
}

static void transfer(struct edu *e, uint64_t src, uint64_t dst, uint64_t count, uint32_t cmd)
{
	store(e, EDU_DMA_SRC, src, 8);
	store(e, EDU_DMA_DST, dst, 8);
	store(e, EDU_DMA_COUNT, count, 8);
	store(e, EDU_DMA_CMD, cmd | EDU_DMA_RUN, 4);
	while (load(e, EDU_DMA_CMD) & EDU_DMA_RUN)
		sched_yield();
}

static void device(void)
{
	int fd = memory(0x4000);
	char *mem = mmap(NULL, 0x4000, RW, MAP_SHARED, fd, 0);
	struct edu e;

	T_REQUIRE(edu_new(&e, "edu"));
	T_EQ(load(&e, EDU_ID), 0x010000ed);
	store(&e, EDU_LIVE, 0x12345678, 4);
	T_EQ(load(&e, EDU_LIVE), ~0x12345678u);
	store(&e, EDU_FACTORIAL, 10, 4);
	while (load(&e, EDU_STATUS) & 1)
		sched_yield();
	T_EQ(load(&e, EDU_FACTORIAL), 3628800);
	/* DMA both ways, and after memory has gone */
	T_EQ(rmio_client_dma_map(e.c, 0x100000, 0x4000, fd, 0, RW), 0);
	for (int i = 0; i < 0x4000; i++)
		mem[i] = (char)(i * 7 + i / 256);
	transfer(&e, 0x100000, EDU_BUF, EDU_BUF_SIZE, 0);
	transfer(&e, EDU_BUF, 0x102000, EDU_BUF_SIZE, EDU_DMA_TO_RAM);
	T_MEMEQ(mem + 0x2000, mem, EDU_BUF_SIZE);
	T_EQ(rmio_client_dma_unmap(e.c, 0x100000, 0x4000), 0);
	memset(mem, 0x55, 0x4000);
	transfer(&e, EDU_BUF, 0x100000, 16, EDU_DMA_TO_RAM);
	T_EQ(mem[0], 0x55);
	/* reset: registers and decoding */
	store(&e, EDU_LIVE, 1, 4);
	T_EQ(rmio_client_reset(e.c), 0);
	T_EQ(config_read(e.c, PCI_COMMAND, 2), 0);
	T_EQ(config_write(e.c, PCI_BASE_ADDRESS_0, 4, 0xe0000000), 0);
	T_EQ(config_write(e.c, PCI_COMMAND, 2, PCI_COMMAND_MEMORY), 0);
	T_EQ(load(&e, EDU_FACTORIAL), 0);
	T_EQ(e.d.lines, 0);
	edu_free(&e);
	munmap(mem, 0x4000);
	close(fd);
}

static void pin(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), up = eventfd(0, EFD_CLOEXEC);
	int other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), none = -1, before;
	uint64_t one = 1;
	struct edu e;

	before = rig_count_fds();
	T_REQUIRE(edu_new(&e, "edu"));
	T_EQ(rmio_client_set_irqs(e.c, INTX, TRIGGER, 0, 1, &fd), 0);
	T_EQ(rmio_client_set_irqs(e.c, INTX, UNMASK, 0, 1, &up), 0);
	store(&e, EDU_IRQ_RAISE, 1, 4);
	T_GE(signals(fd, 20000), 1);
	/* held up: again after the end of the interrupt, by eventfd and by message */
	T_EQ(load(&e, EDU_IRQ_STATUS), 1);
	signals(fd, 0);
	T_EQ(write(up, &one, sizeof(one)), (ssize_t)sizeof(one));
	T_GE(signals(fd, 20000), 1);
	T_EQ(rmio_client_set_irqs(e.c, INTX, UNMASK, 0, 1, NULL), 0);
	T_GE(signals(fd, 20000), 1);
	/* another eventfd while it is up: told at once */
	T_EQ(rmio_client_set_irqs(e.c, INTX, TRIGGER, 0, 1, &other), 0);
	T_GE(signals(other, 20000), 1);
	signals(fd, 0);
	/* none: nobody is told */
	T_EQ(rmio_client_set_irqs(e.c, INTX, TRIGGER, 0, 0, NULL), 0);
	signals(other, 0);
	T_EQ(rmio_client_set_irqs(e.c, INTX, UNMASK, 0, 1, NULL), 0);
	T_EQ(load(&e, EDU_IRQ_STATUS), 1);
	T_EQ(signals(other, 50), 0);
	T_EQ(signals(fd, 0), 0);
	T_EQ(rmio_client_set_irqs(e.c, INTX, TRIGGER, 0, 1, &fd), 0);
	T_GE(signals(fd, 20000), 1);
	T_EQ(rmio_client_set_irqs(e.c, INTX, TRIGGER, 0, 1, &none), 0);
	T_EQ(rmio_client_set_irqs(e.c, INTX, UNMASK, 0, 1, &none), 0);
	/* what the protocol has no words for */
	T_EQ(rmio_client_set_irqs(e.c, INTX, TRIGGER, 0, 1, NULL), -ENOTSUP);
	T_EQ(rmio_client_set_irqs(e.c, INTX, VFIO_IRQ_SET_ACTION_MASK, 0, 1, NULL), -ENOTSUP);
	T_EQ(rmio_client_set_irqs(e.c, INTX, UNMASK, 0, 0, NULL), -ENOTSUP);
	T_EQ(rmio_client_set_irqs(e.c, INTX, TRIGGER, 1, 1, &fd), -EINVAL);
	T_EQ(rmio_client_set_irqs(e.c, INTX, TRIGGER, 0, 2, (int[]){ fd, fd }), -EINVAL);
	T_EQ(rmio_client_set_irqs(e.c, INTX, 0, 0, 1, &fd), -EINVAL);
	T_EQ(rmio_client_set_irqs(e.c, VFIO_PCI_MSI_IRQ_INDEX, TRIGGER, 0, 1, &fd), -EINVAL);
	edu_free(&e);
	T_EQ(rig_count_fds(), before);
	close(fd);
	close(up);
	close(other);
}

/* The remote makes each eventfd that it was given one that a write would wait at. */
static void stuck_eventfds(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int up = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t full = UINT64_MAX - 1;
	struct rmio_client *c;

	T_REQUIRE(good(&c));
	T_EQ(rmio_client_set_irqs(c, INTX, TRIGGER, 0, 1, &fd), 0);
	T_EQ(rmio_client_set_irqs(c, INTX, UNMASK, 0, 1, &up), 0);
	/* the remote's descriptors are the same files */
	for (int i = 0; i < 2; i++) {
		signals(remote.pair[i], 0);
		T_EQ(write(remote.pair[i], &full, sizeof(full)), (ssize_t)sizeof(full));
		T_EQ(fcntl(remote.pair[i], F_SETFL, 0), 0);
	}
	T_EQ(rmio_client_set_irqs(c, INTX, UNMASK, 0, 1, NULL), 0);
	T_EQ(rmio_client_set_irqs(c, INTX, TRIGGER, 0, 1, &fd), 0);
	T_EQ(rmio_client_set_irqs(c, INTX, TRIGGER, 0, 0, NULL), 0);
	done(c);
	close(fd);
	close(up);
}

/* -- several at once --------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	struct edu *e;
	uint32_t n;
	bool *stop;
	unsigned long rounds;
};

/* One has a register in the BAR, the other one in configuration space. */
static void *access_all_the_time(void *arg)
{
	struct worker *w = arg;
	uint32_t region = w->n ? CFG : 0, reg = w->n ? PCI_INTERRUPT_LINE : EDU_LIVE;

	while (!__atomic_load_n(w->stop, __ATOMIC_ACQUIRE)) {
		uint32_t mine = (uint32_t)w->rounds++ & 0xff, v = 0, len = w->n ? 1 : 4;

		if (!T_EQ(rmio_client_region_write(w->e->c, region, reg, &mine, len), 0) ||
		    !T_EQ(rmio_client_region_read(w->e->c, region, reg, &v, len), 0) ||
		    !T_EQ(w->n ? v : ~v, mine))
			break;
		/* Who comes first has the connection: leave it to others as well. */
		usleep(100);
	}
	return NULL;
}

/* Memory comes and goes while accesses and DMA are under way. */
static void at_once(void)
{
	long i, rounds = ktap_pick(100, 500, 20000);
	struct worker w[2] = { 0 };
	int fd = memory(0x8000);
	bool stop = false;
	struct edu e;

	T_REQUIRE(edu_new(&e, "edu"));
	for (uint32_t k = 0; k < 2; k++) {
		w[k] = (struct worker){ .e = &e, .n = k, .stop = &stop };
		T_EQ(pthread_create(&w[k].thread, NULL, access_all_the_time, &w[k]), 0);
	}
	for (i = 0; i < rounds && !ktap_failed(); i++) {
		uint64_t at = (uint64_t)(i % 5) * 0x1000;

		T_EQ(rmio_client_dma_map(e.c, at, 0x1000, fd, 0, RW), 0);
		store(&e, i & 1 ? EDU_DMA_SRC : EDU_DMA_DST, EDU_BUF, 8);
		store(&e, i & 1 ? EDU_DMA_DST : EDU_DMA_SRC, at, 8);
		store(&e, EDU_DMA_COUNT, 64, 8);
		store(&e, EDU_DMA_CMD, (i & 1 ? EDU_DMA_TO_RAM : 0) | EDU_DMA_RUN, 4);
		if (i % 3 == 2)
			T_EQ(rmio_client_dma_map(e.c, 0x10000, 0x8000, fd, 0, RW), 0);
		if (i % 3 == 2)
			T_EQ(rmio_client_dma_unmap(e.c, 0x10000, 0x8000), 0);
		T_EQ(rmio_client_dma_unmap(e.c, at, 0x1000), 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (uint32_t k = 0; k < 2; k++) {
		pthread_join(w[k].thread, NULL);
		T_GT(w[k].rounds, 0);
	}
	T_EQ(e.d.lines, 0);
	edu_free(&e);
	close(fd);
}

/* -- remotes that mean harm ------------------------------------------------------------------ */

/*
 * Every kind of command, in the same order each time.  The first error; what comes after it must be
 * an error, or what the device has.
 */
static int session(struct rmio_client *c, int mem, int fd)
{
	uint32_t v = 0x11223344;
	uint8_t buf[8];
	int rc[10], first = 0;

	rc[0] = config_write(c, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	rc[1] = config_write(c, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	rc[2] = rmio_client_region_write(c, 0, 0x20, &v, 4);
	rc[3] = rmio_client_region_read(c, 0, 0x100, buf, 8);
	if (!rc[3])
		T_MEMEQ(buf, remote.ram + 0x100, 8);
	rc[4] = rmio_client_region_read(c, 0, 0x207, buf, 2);
	if (!rc[4])
		T_MEMEQ(buf, remote.ram + 0x207, 2);
	rc[5] = rmio_client_dma_map(c, 0, 0x1000, mem, 0, RW);
	rc[6] = rmio_client_set_irqs(c, INTX, TRIGGER, 0, 1, &fd);
	rc[7] = rmio_client_dma_unmap(c, 0, 0x1000);
	rc[8] = rmio_client_reset(c);
	rc[9] = rmio_client_region_read(c, CFG, 0, buf, 4);
	if (!rc[9])
		T_MEMEQ(buf, "\x34\x12\x78\x56", 4);
	for (int i = 0; i < KTAP_COUNT(rc); i++) {
		T_OK(rc[i] <= 0 && rc[i] > -4096);
		first = first ? first : rc[i];
	}
	return first;
}

/* Harm at each command in turn, in the negotiation as well. */
static void each_command(enum remote_harm harm, uint64_t n, uint32_t ms, int one, int other)
{
	/* One that is waited for in vain takes its time. */
	uint32_t step = ms == REMOTE_QUICK ? 10 : (uint32_t)ktap_pick(7, 3, 1);
	int mem = memory(0x1000), fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), err;
	struct rmio_client *c;

	for (uint32_t at = 1; !ktap_failed(); at += step) {
		bool reached;

		remote_init(&remote);
		remote.harm = harm;
		remote.n = n;
		remote.at = at;
		err = remote_connect(&remote, ms, &c);
		if (!err) {
			err = session(c, mem, fd);
			rmio_client_free(c);
		}
		remote_join(&remote);
		reached = remote.commands >= at;
		if (reached)
			T_OK(err == one || err == other);
		else
			T_EQ(err, 0);
		if (ktap_failed())
			ktap_diag("harm %d of %llu at command %u: %d", harm, (unsigned long long)n,
				  at, err);
		if (!reached)
			break;
	}
	close(mem);
	close(fd);
}

static void closes(void)
{
	int before = rig_count_fds();

	each_command(HARM_CLOSE, 0, REMOTE_PATIENT, -ECONNRESET, -ECONNRESET);
	for (uint64_t n = 1; n < 24; n += (uint64_t)ktap_pick(7, 7, 1))
		each_command(HARM_CUT, n, REMOTE_PATIENT, -ECONNRESET, -ECONNRESET);
	T_EQ(rig_count_fds(), before);
}

static void stalls(void)
{
	int before = rig_count_fds();

	each_command(HARM_SILENT, 0, REMOTE_QUICK, -ETIMEDOUT, -ETIMEDOUT);
	each_command(HARM_CUT_SILENT, 7, REMOTE_QUICK, -ETIMEDOUT, -ETIMEDOUT);
	each_command(HARM_CUT_SILENT, 20, REMOTE_QUICK, -ETIMEDOUT, -ETIMEDOUT);
	T_EQ(rig_count_fds(), before);
}

static void wrong_answers(void)
{
	static const int32_t cmds[] = {
		MP_SYNC_SYSMEM, MP_CONFIG_READ, MP_RESET, 8, -1, INT32_MIN,
	};
	static const uint64_t sizes[] = { 1, 7, 9, 16, 24, 192, 193, 1ull << 32, UINT64_MAX };
	int before = rig_count_fds();

	for (int i = 0; i < KTAP_COUNT(cmds); i++)
		each_command(HARM_CMD, (uint64_t)(int64_t)cmds[i], REMOTE_PATIENT, -EPROTO,
			     -EPROTO);
	for (int i = 0; i < KTAP_COUNT(sizes); i++)
		each_command(HARM_SIZE, sizes[i], REMOTE_PATIENT, -EPROTO, -EPROTO);
	/* nothing in it is right for a reset only */
	each_command(HARM_SIZE, 0, REMOTE_PATIENT, -EPROTO, 0);
	for (uint64_t n = 1; n <= 4; n++)
		each_command(HARM_FDS, n, REMOTE_PATIENT, -EPROTO, -EPROTO);
	/* noticed at the next command, if there is one */
	each_command(HARM_TWICE, 0, REMOTE_PATIENT, -EPROTO, 0);
	T_EQ(rig_count_fds(), before);
}

/* A refusal is an error, but where 64 bits are asked for: there it may be the value. */
static void refusals(void)
{
	uint64_t v = 0;
	struct rmio_client *c;

	for (uint32_t at = 1; at < 60 && !ktap_failed(); at++) {
		remote_init(&remote);
		remote.harm = HARM_ONES;
		remote.at = at;
		if (remote_connect(&remote, REMOTE_PATIENT, &c)) {
			remote_join(&remote);
			continue;
		}
		T_EQ(rmio_client_region_read(c, CFG, 0x10, &v, 4),
		     remote.commands == at ? -EIO : 0);
		rmio_client_free(c);
		remote_join(&remote);
	}
	T_REQUIRE(good(&c));
	remote.harm = HARM_ONES;
	remote.at = remote.commands + 1;
	T_EQ(read_bar(c, 0, 0, &v, 8), 0);
	T_EQ(v, UINT64_MAX);
	remote.at = remote.commands + 1;
	T_EQ(read_bar(c, 0, 0, &v, 4), -EIO);
	remote.at = remote.commands + 1;
	T_EQ(rmio_client_region_write(c, 0, 0, &v, 8), -EIO);
	remote.at = remote.commands + 1;
	T_EQ(config_write(c, PCI_COMMAND, 2, 0), -EIO);
	remote.at = remote.commands + 1;
	T_EQ(rmio_client_reset(c), -EIO);
	/* and goes on */
	place(c);
	T_EQ(read_bar(c, 0, 0, &v, 4), 0);
	done(c);
}

/* The answer to a command that was given up is not taken for the next one's. */
static void late(void)
{
	struct rmio_client *c;
	uint32_t v;

	remote_init(&remote);
	T_REQUIRE(T_EQ(remote_connect(&remote, REMOTE_QUICK, &c), 0));
	place(c);
	for (int i = 0; i < 5; i++) {
		remote.harm = HARM_LATE;
		remote.at = remote.commands + 1;
		T_EQ(read_bar(c, 0, 0, &v, 4), -ETIMEDOUT);
		T_EQ(read_bar(c, 0, 0x44, &v, 4), 0);
		T_MEMEQ(&v, remote.ram + 0x44, 4);
		T_EQ(read_bar(c, 0, 0x88, &v, 4), 0);
		T_MEMEQ(&v, remote.ram + 0x88, 4);
	}
	/* a late answer to what decides about decoding: off until it is known again */
	remote.at = remote.commands + 2;
	T_EQ(config_write(c, PCI_COMMAND, 2, 3), -ETIMEDOUT);
	T_EQ(read_bar(c, 0, 0, &v, 4), -ENXIO);
	T_EQ(config_write(c, PCI_COMMAND, 2, 3), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), 0);
	done(c);
}

/* A silent one is given up for good after a while, one that does not read as well. */
static void given_up(void)
{
	static const enum remote_harm harms[] = { HARM_SILENT, HARM_DEAF };
	struct rmio_client *c;
	uint32_t v;
	int i, rc;

	for (int k = 0; k < 2; k++) {
		remote_init(&remote);
		T_REQUIRE(T_EQ(remote_connect(&remote, 30, &c), 0));
		place(c);
		remote.harm = harms[k];
		remote.at = remote.commands + 1;
		for (i = 0; i < 100; i++) {
			rc = read_bar(c, 0, 0, &v, 4);
			if (rc != -ETIMEDOUT)
				break;
		}
		T_EQ(rc, -ECONNRESET);
		T_EQ(i, 17);
		T_EQ(rmio_client_reset(c), -ECONNRESET);
		T_EQ(rmio_client_set_irqs(c, INTX, UNMASK, 0, 1, NULL), -ECONNRESET);
		done(c);
	}
}

/* -- a remote that is no remote ------------------------------------------------------------- */

static void strangers(void)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .protocol = 2 };
	struct rmio_client *c;
	int s[2], file = memory(4096);

	T_EQ(rmio_client_new(file, &o, &c), -EINVAL);
	T_EQ(fcntl(file, F_GETFD), -1);
	o.protocol = RMIO_PROTOCOL_MULTI_PROCESS;
	file = memory(4096);
	T_EQ(rmio_client_new(file, &o, &c), -EINVAL);
	T_EQ(fcntl(file, F_GETFD), -1);
	T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	T_EQ(rmio_client_new(s[0], &o, &c), -EINVAL);
	close(s[1]);
}

static const struct ktap_test tests[] = {
	{ "information", information },
	{ "configuration space", config },
	{ "BARs", bars },
	{ "decoding", decoding },
	{ "registers that are no BARs", bad_bars },
	{ "memory", tables },
	{ "a device of rmio's", device },
	{ "its pin", pin },
	{ "stuck eventfds", stuck_eventfds },
	{ "several at once", at_once, 120 },
	{ "a remote that closes, in each place", closes, 60 },
	{ "a remote that stalls", stalls, 60 },
	{ "wrong answers", wrong_answers, 60 },
	{ "refusals", refusals },
	{ "late answers", late, 60 },
	{ "a remote that is given up", given_up, 60 },
	{ "strangers", strangers },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
