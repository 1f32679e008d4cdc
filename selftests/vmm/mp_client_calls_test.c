// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * mp_client_calls_test.c - the VMM's end of QEMU's multi-process protocol, and what a remote that
 * behaves sees of each call.  Beside the data path.
 */
#include "mp_remote.h"

#include <linux/pci_regs.h>

#define CONFIG	VFIO_PCI_CONFIG_REGION_INDEX
#define MEM0	0xfe000000u	/* where BAR 0 is put, */
#define IO1	0xc000u		/* BAR 1 */
#define MEM2	0x7f00000000ull	/* and BAR 2 */
#define PAGE	4096u

static struct remote remote;
static struct rmio_client *client;

static int config_set(uint32_t reg, uint32_t len, uint32_t value)
{
	return rmio_client_region_write(client, CONFIG, reg, &value, len);
}

static uint32_t config(uint32_t reg, uint32_t len)
{
	uint32_t v = 0;

	T_EQ(rmio_client_region_read(client, CONFIG, reg, &v, len), 0);
	return v;
}

static int load(uint32_t bar)
{
	uint32_t v;

	return rmio_client_region_read(client, bar, 0, &v, sizeof(v));
}

static void place(void)
{
	remote_put(&remote, 0x10, 4, MEM0);
	remote_put(&remote, 0x14, 4, IO1 | 1);
	remote_put(&remote, 0x18, 4, (uint32_t)MEM2 | 0xc);
	remote_put(&remote, 0x1c, 4, MEM2 >> 32);
	remote_put(&remote, 0x04, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
}

static bool begin(void)
{
	return T_EQ(remote_connect(&remote, REMOTE_PATIENT, &client), 0);
}

static bool begin_placed(void)
{
	remote_init(&remote);
	place();
	return begin();
}

static void end(void)
{
	rmio_client_free(client);
	remote_join(&remote);
}

/* (rig_count_fds waits for threads to end, and the remote's does not) */
static int count_fds(void)
{
	return rig_count("/proc/self/fd");
}

/* -- the device ---------------------------------------------------------------- */

static void found(void)
{
	static const uint64_t sizes[] = { 4096, 256, 65536, 0, 0, 0, 0, 256, 0 };
	int before = count_fds();
	uint32_t flags, regions, irqs;
	struct rmio_region_info info;
	uint8_t cfg[256];

	remote_init(&remote);
	place();
	memcpy(cfg, remote.cfg, sizeof(cfg));
	T_REQUIRE(begin());
	/* what was tried was put back */
	T_MEMEQ(remote.cfg, cfg, sizeof(cfg));
	T_EQ(rmio_client_master(client), NULL);
	T_EQ(rmio_client_device_info(client, &flags, &regions, &irqs), 0);
	T_EQ(flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
	T_EQ(regions, VFIO_PCI_NUM_REGIONS);
	T_EQ(irqs, VFIO_PCI_NUM_IRQS);
	for (uint32_t i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		T_EQ(rmio_client_region_info(client, i, &info), 0);
		T_EQ(info.size, sizes[i]);
		T_EQ(info.flags, sizes[i] ? VFIO_REGION_INFO_FLAG_READ |
		     VFIO_REGION_INFO_FLAG_WRITE : 0);
		T_EQ(info.reserved, 0);
	}
	T_EQ(rmio_client_region_info(client, VFIO_PCI_NUM_REGIONS, &info), -EINVAL);
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		T_EQ(rmio_client_irq_info(client, i, &flags, &irqs), 0);
		T_EQ(irqs, i == VFIO_PCI_INTX_IRQ_INDEX);
		T_EQ(flags, i ? 0 : VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_AUTOMASKED);
	}
	T_EQ(rmio_client_irq_info(client, VFIO_PCI_NUM_IRQS, &flags, &irqs), -EINVAL);
	end();
	T_EQ(count_fds(), before);
}

/* What has other registers where a device has BARs: none of them is tried. */
static void bridge(void)
{
	struct rmio_region_info info;
	uint8_t before[24];

	remote_init(&remote);
	place();
	remote_put(&remote, PCI_HEADER_TYPE, 1, 0x80 | PCI_HEADER_TYPE_BRIDGE);
	memset(remote.mask, 0xff, sizeof(remote.mask));
	memcpy(before, remote.cfg + 0x10, sizeof(before));
	T_REQUIRE(begin());
	T_MEMEQ(remote.cfg + 0x10, before, sizeof(before));
	for (uint32_t i = 0; i < 6; i++) {
		T_EQ(rmio_client_region_info(client, i, &info), 0);
		T_EQ(info.size, 0);
		T_EQ(load(i), -EINVAL);
	}
	T_EQ(config(PCI_HEADER_TYPE, 1), 0x81);
	end();
}

/* Nothing decodes while the BARs are tried: all ones may be where something else is. */
static void found_quietly(void)
{
	static const struct mp_hdr any;
	_Alignas(8) uint8_t payload[256];
	struct mp_config c;
	struct mp_hdr h = any;
	uint64_t answer;
	uint32_t nfds, tried = 0;
	int s[2], fds[16];
	struct rmio_client_opts o = {
		.sz = sizeof(o), .reply_timeout_ms = REMOTE_PATIENT,
		.protocol = RMIO_PROTOCOL_MULTI_PROCESS,
	};
	pid_t pid;
	int status;

	remote_init(&remote);
	place();
	T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	pid = fork();
	if (!pid) {
		close(s[0]);
		_exit(rmio_client_new(s[1], &o, &client) ? 1 : 0);
	}
	close(s[1]);
	remote.fd = s[0];
	while (remote_take(&remote, &h, payload, fds, &nfds)) {
		memcpy(&c, payload, sizeof(c));
		if (h.cmd == MP_CONFIG_WRITE && c.addr >= 0x10 && c.addr < 0x28) {
			tried += c.value == UINT32_MAX;
			T_EQ(remote_get(&remote, 4, 2) & 3, 0);
		}
		T_EQ(remote_do(&remote, &h, payload, fds, nfds, &answer), 1);
		T_OK(remote_answer(&remote, h.cmd, answer));
	}
	T_EQ(tried, 6);
	T_EQ(remote_get(&remote, 4, 2), 3);
	close(s[0]);
	T_EQ(waitpid(pid, &status, 0), pid);
	T_EQ(status, 0);
}

/* The register after the last BAR is none, though what it says would do for its upper half. */
static void wide_and_last(void)
{
	remote_init(&remote);
	remote.mask[5] = 0xfffff000;
	remote.bar_type[5] = 4;
	remote_put(&remote, 0x24, 4, 4);
	remote_put(&remote, 0x28, 4, UINT32_MAX);
	T_EQ(remote_connect(&remote, REMOTE_PATIENT, &client), -EPROTO);
	remote_join(&remote);
}

static void config_space(void)
{
	uint8_t want[256], got[256];
	uint32_t at, len;

	T_REQUIRE(begin_placed());
	memcpy(want, remote.cfg, sizeof(want));
	want[6] &= (uint8_t)~PCI_STATUS_CAP_LIST;
	want[PCI_CAPABILITY_LIST] = 0;
	T_NE(remote.cfg[6], want[6]);
	T_EQ(rmio_client_region_read(client, CONFIG, 0, got, 256), 0);
	T_MEMEQ(got, want, 256);
	for (len = 1; len <= 16; len++) {
		for (at = 0; at + len <= 256; at++) {
			memset(got, 0xa5, sizeof(got));
			T_EQ(rmio_client_region_read(client, CONFIG, at, got, len), 0);
			T_MEMEQ(got, want + at, len);
			T_EQ(got[len], 0xa5);
		}
	}
	T_EQ(rmio_client_region_read(client, CONFIG, 256, got, 1), -EINVAL);
	T_EQ(rmio_client_region_read(client, CONFIG, 250, got, 7), -EINVAL);
	T_EQ(rmio_client_region_read(client, CONFIG, UINT64_MAX, got, 2), -EINVAL);
	T_EQ(rmio_client_region_read(client, CONFIG, 1ull << 32, got, 1), -EINVAL);
	T_EQ(rmio_client_region_read(client, CONFIG, 0, NULL, 0), 0);

	/* from 0x50 on it can be written */
	for (len = 1; len <= 16; len++) {
		for (at = 0x50; at < 0x70; at++) {
			for (uint32_t i = 0; i < len; i++)
				want[at + i] = got[i] = (uint8_t)(at * 16 + i + len);
			T_EQ(rmio_client_region_write(client, CONFIG, at, got, len), 0);
			T_MEMEQ(remote.cfg + 0x50, want + 0x50, 0x50);
		}
	}
	/* the remote wants four bytes from wherever it is */
	T_EQ(rmio_client_region_write(client, CONFIG, 252, "wxyz", 4), 0);
	T_MEMEQ(remote.cfg + 252, "wxyz", 4);
	T_EQ(rmio_client_region_write(client, CONFIG, 252, "A", 1), 0);
	T_MEMEQ(remote.cfg + 252, "Axyz", 4);
	for (at = 253; at < 256; at++)
		T_EQ(rmio_client_region_write(client, CONFIG, at, "?", 1), -EINVAL);
	T_EQ(rmio_client_region_write(client, CONFIG, 254, "??", 2), -EINVAL);
	T_MEMEQ(remote.cfg + 252, "Axyz", 4);
	T_EQ(rmio_client_region_write(client, CONFIG, 253, "????", 4), -EINVAL);
	end();
}

/* -- BARs ---------------------------------------------------------------------- */

static void lengths(void)
{
	static const uint32_t sizes[] = { 4096, 256, 65536 };
	uint8_t buf[32], want[64];

	T_REQUIRE(begin_placed());
	for (uint32_t bar = 0; bar < 3; bar++) {
		for (uint32_t len = 1; len <= 16; len++) {
			for (uint32_t at = 0; at < 24; at++) {
				memcpy(want, remote.ram, sizeof(want));
				memset(buf, 0xa5, sizeof(buf));
				T_EQ(rmio_client_region_read(client, bar, at, buf, len), 0);
				T_MEMEQ(buf, want + at, len);
				T_EQ(buf[len], 0xa5);
				for (uint32_t i = 0; i < len; i++)
					want[at + i] = buf[i] = (uint8_t)(at + i * 5 + len + bar);
				T_EQ(rmio_client_region_write(client, bar, at, buf, len), 0);
				T_MEMEQ(remote.ram, want, sizeof(want));
			}
			T_EQ(rmio_client_region_read(client, bar, sizes[bar] - len, buf, len), 0);
			T_EQ(rmio_client_region_read(client, bar, sizes[bar] - len + 1, buf, len),
			     -EINVAL);
			T_EQ(rmio_client_region_write(client, bar, sizes[bar] - len + 1, buf, len),
			     -EINVAL);
		}
		T_EQ(rmio_client_region_read(client, bar, UINT64_MAX, buf, 2), -EINVAL);
	}
	T_EQ(rmio_client_region_read(client, 3, 0, buf, 1), -EINVAL);
	T_EQ(rmio_client_region_read(client, 9, 0, buf, 1), -EINVAL);
	T_EQ(rmio_client_region_read(client, UINT32_MAX, 0, buf, 1), -EINVAL);
	end();
}

/* What is one access to the guest is one to the device; others are as few as can be. */
static void messages(void)
{
	static const struct {
		uint32_t at, len, messages;
	} t[] = {
		{ 0, 1, 1 }, { 1, 2, 1 }, { 3, 4, 1 }, { 5, 8, 1 }, { 0, 3, 2 }, { 1, 3, 2 },
		{ 0, 6, 2 }, { 1, 7, 3 }, { 0, 16, 2 }, { 4, 16, 3 }, { 1, 16, 5 },
	};
	uint8_t buf[16] = { 0 };
	uint32_t n;

	T_REQUIRE(begin_placed());
	for (int i = 0; i < KTAP_COUNT(t); i++) {
		n = remote.commands;
		T_EQ(rmio_client_region_read(client, 0, t[i].at, buf, t[i].len), 0);
		T_EQ(remote.commands - n, t[i].messages);
		n = remote.commands;
		T_EQ(rmio_client_region_write(client, 0, t[i].at, buf, t[i].len), 0);
		T_EQ(remote.commands - n, t[i].messages);
	}
	/* all ones of eight bytes are data, of fewer they are not in 64 bits */
	memset(remote.ram, 0xff, 16);
	T_EQ(rmio_client_region_read(client, 0, 0, buf, 8), 0);
	T_MEMEQ(buf, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	T_EQ(rmio_client_region_read(client, 0, 0, buf, 4), 0);
	T_EQ(rmio_client_region_write(client, 0, 0, buf, 8), 0);
	end();
}

/* The remote ends at what hits nothing: end() sees that it did not. */
static void decoding(void)
{
	remote_init(&remote);
	T_REQUIRE(begin());
	for (uint32_t i = 0; i < 3; i++)
		T_EQ(load(i), -ENXIO);
	T_EQ(config_set(4, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY), 0);
	for (uint32_t i = 0; i < 3; i++)
		T_EQ(load(i), -ENXIO);	/* 0 is no place */
	T_EQ(config_set(0x10, 4, MEM0 | 0xfff), 0);
	T_EQ(config(0x10, 4), MEM0);
	T_EQ(load(0), 0);
	T_EQ(load(1), -ENXIO);
	/* moved, a byte at a time */
	T_EQ(config_set(0x13, 1, 0x80), 0);
	T_EQ(load(0), 0);
	T_EQ(config_set(0x12, 2, 0x1234), 0);
	T_EQ(load(0), 0);
	T_EQ(config_set(0x14, 4, IO1), 0);
	T_EQ(load(1), 0);
	T_EQ(config_set(0x18, 4, (uint32_t)MEM2), 0);
	T_EQ(load(2), -ENXIO);
	T_EQ(config_set(0x1c, 4, MEM2 >> 32), 0);
	T_EQ(load(2), 0);
	/* the one or the other */
	T_EQ(config_set(4, 1, PCI_COMMAND_IO), 0);
	T_EQ(load(0), -ENXIO);
	T_EQ(load(1), 0);
	T_EQ(load(2), -ENXIO);
	T_EQ(config_set(4, 2, PCI_COMMAND_MEMORY), 0);
	T_EQ(load(0), 0);
	T_EQ(load(1), -ENXIO);
	T_EQ(load(2), 0);
	/* the other byte of the command, and what is before the BARs: nothing changes */
	T_EQ(config_set(5, 1, 4), 0);
	T_EQ(load(0), 0);
	T_EQ(config_set(0xc, 4, 0), 0);
	T_EQ(load(0), 0);
	/* all of it in one write */
	T_EQ(rmio_client_region_write(client, CONFIG, 4, "\3\0\0\0\0\0\0\0\0\0\0\0"
				      "\0\0\0\x40\0\xd0\0\0\0\0\0\0\1\0\0", 28), 0);
	T_EQ(load(0), 0);
	T_EQ(load(1), 0);
	T_EQ(load(2), 0);	/* at 4 GiB */
	end();
}

/* What ends where all addresses end, or wraps, is not decoded; I/O may end there. */
static void ends(void)
{
	T_REQUIRE(begin_placed());
	T_EQ(config_set(0x10, 4, 0xfffff000), 0);
	T_EQ(load(0), -ENXIO);
	T_EQ(config_set(0x10, 4, 0xffffe000), 0);
	T_EQ(load(0), 0);
	T_EQ(config_set(0x10, 4, 0), 0);
	T_EQ(load(0), -ENXIO);
	T_EQ(config_set(0x14, 4, 0xff00), 0);
	T_EQ(load(1), 0);
	T_EQ(config_set(0x14, 4, 0), 0);
	T_EQ(load(1), -ENXIO);
	T_EQ(config_set(0x18, 4, 0xffff0000), 0);
	T_EQ(load(2), 0);
	T_EQ(config_set(0x1c, 4, 0xffffffff), 0);
	T_EQ(load(2), -ENXIO);
	T_EQ(config_set(0x1c, 4, 0), 0);
	T_EQ(load(2), 0);
	end();
}

/* -- memory -------------------------------------------------------------------- */

static int memory(uint64_t size)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);

	T_EQ(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static int map(uint64_t gpa, uint64_t size, int fd, uint64_t offset)
{
	return rmio_client_dma_map(client, gpa, size, fd, offset, PROT_READ | PROT_WRITE);
}

static uint64_t inode(int fd)
{
	struct stat st;

	T_EQ(fstat(fd, &st), 0);
	return st.st_ino;
}

static void has_entry(uint32_t i, uint64_t gpa, uint64_t size, uint64_t offset, uint64_t ino)
{
	T_EQ(remote.mem.gpa[i], gpa);
	T_EQ(remote.mem.size[i], size);
	T_EQ(remote.mem.offset[i], offset);
	T_EQ(remote.mem_ino[i], ino);
}

/* The table cannot be empty: a page of nobody's. */
static void has_none(int fd)
{
	T_EQ(remote.n_mem, 1);
	T_EQ(remote.mem.gpa[0], UINT64_MAX - 4095);
	T_EQ(remote.mem.size[0], 4096);
	T_NE(remote.mem_ino[0], inode(fd));
}

static void tables(void)
{
	int start = count_fds(), fd = memory(64 * PAGE), before, copy;
	uint64_t ino = inode(fd);
	unsigned int syncs;
	uint32_t i;

	T_REQUIRE(begin_placed());
	before = count_fds();
	for (i = 0; i < 7; i++) {
		copy = dup(fd);
		T_EQ(map(i * 16 * PAGE, (i + 1) * PAGE, copy, i * PAGE), 0);
		close(copy);
		T_EQ(remote.n_mem, i + 1);
		for (uint32_t k = 0; k <= i; k++)
			has_entry(k, k * 16 * PAGE, (k + 1) * PAGE, k * PAGE, ino);
		T_EQ(remote.mem.size[i + 1], 0);
	}
	T_EQ(count_fds(), before + 7);
	syncs = remote.syncs;
	T_EQ(map(0x10000000, PAGE, fd, 0), -ENOSPC);
	T_EQ(rmio_client_dma_unmap(client, 3 * 16 * PAGE, 5 * PAGE), -ENOENT);
	T_EQ(rmio_client_dma_unmap(client, 3 * 16 * PAGE + PAGE, 4 * PAGE), -ENOENT);
	T_EQ(remote.syncs, syncs);
	T_EQ(rmio_client_dma_unmap(client, 3 * 16 * PAGE, 4 * PAGE), 0);
	T_EQ(remote.n_mem, 6);
	has_entry(3, 6 * 16 * PAGE, 7 * PAGE, 6 * PAGE, ino);
	T_EQ(count_fds(), before + 6);
	T_EQ(map(0x10000000, PAGE, fd, 0), 0);
	T_EQ(rmio_client_dma_unmap(client, 0x10000000, PAGE), 0);
	for (i = 0; i < 7; i++)
		T_EQ(rmio_client_dma_unmap(client, i * 16 * PAGE, (i + 1) * PAGE),
		     i == 3 ? -ENOENT : 0);
	has_none(fd);
	T_EQ(count_fds(), before);
	T_EQ(rmio_client_dma_unmap(client, UINT64_MAX - 4095, 4096), -ENOENT);
	/* what is left of them goes with the client */
	T_EQ(map(0, PAGE, fd, 0), 0);
	T_EQ(map(PAGE, PAGE, fd, 0), 0);
	end();
	close(fd);
	T_EQ(count_fds(), start);
}

static void refused_memory(void)
{
	int fd = memory(64 * PAGE), before;

	T_REQUIRE(begin_placed());
	T_EQ(map(4 * PAGE, 4 * PAGE, fd, 0), 0);
	before = count_fds();
	T_EQ(map(4 * PAGE, 4 * PAGE, fd, 0), -EEXIST);
	T_EQ(map(3 * PAGE, 2 * PAGE, fd, 0), -EEXIST);
	T_EQ(map(7 * PAGE, 2 * PAGE, fd, 0), -EEXIST);
	T_EQ(map(5 * PAGE, PAGE, fd, 0), -EEXIST);
	T_EQ(map(0, 64 * PAGE, fd, 0), -EEXIST);
	T_EQ(map(0x100000, 0, fd, 0), -EINVAL);
	T_EQ(map(0x100001, PAGE, fd, 0), -EINVAL);
	T_EQ(map(0x100000, PAGE + 1, fd, 0), -EINVAL);
	T_EQ(map(0x100000, PAGE, fd, 1), -EINVAL);
	T_EQ(map(-(uint64_t)PAGE, 2 * PAGE, fd, 0), -EINVAL);
	T_EQ(map(0x100000, PAGE, fd, 1ull << 63), -EINVAL);
	T_EQ(map(0x100000, 2 * PAGE, fd, (1ull << 63) - PAGE), -EINVAL);
	T_EQ(map(0x100000, PAGE, -1, 0), -EBADF);
	T_EQ(rmio_client_dma_map(client, 0x100000, PAGE, fd, 0, PROT_READ), -ENOTSUP);
	T_EQ(rmio_client_dma_map(client, 0x100000, PAGE, fd, 0, PROT_WRITE), -ENOTSUP);
	T_EQ(rmio_client_dma_map(client, 0x100000, PAGE, fd, 0, 0), -ENOTSUP);
	T_EQ(remote.syncs, 1);
	T_EQ(count_fds(), before);
	/* beside it, on both sides */
	T_EQ(map(3 * PAGE, PAGE, fd, 0), 0);
	T_EQ(map(8 * PAGE, PAGE, fd, 0), 0);
	T_EQ(remote.n_mem, 3);
	end();
	close(fd);
}

/* What was not heard of in time is not there, and can be mapped anew. */
static void unheard_memory(void)
{
	int start = count_fds(), fd = memory(4 * PAGE);

	remote_init(&remote);
	T_REQUIRE(T_EQ(remote_connect(&remote, 500, &client), 0));
	T_EQ(map(0, PAGE, fd, 0), 0);
	remote.harm = HARM_LATE;
	remote.at = remote.commands + 1;
	T_EQ(map(PAGE, PAGE, fd, 0), -ETIMEDOUT);
	T_EQ(rmio_client_dma_unmap(client, PAGE, PAGE), -ENOENT);
	T_EQ(map(PAGE, 2 * PAGE, fd, PAGE), 0);
	T_EQ(remote.n_mem, 2);
	has_entry(1, PAGE, 2 * PAGE, PAGE, inode(fd));
	/* nor is what was to go gone, until it can be told so */
	remote.at = remote.commands + 1;
	T_EQ(rmio_client_dma_unmap(client, 0, PAGE), -ETIMEDOUT);
	T_EQ(map(0, PAGE, fd, 0), -EEXIST);
	T_EQ(rmio_client_dma_unmap(client, 0, PAGE), 0);
	T_EQ(remote.n_mem, 1);
	has_entry(0, PAGE, 2 * PAGE, PAGE, inode(fd));
	end();
	close(fd);
	T_EQ(count_fds(), start);
}

/* Memory lies above a BAR there. */
static void memory_above(void)
{
	int fd = memory(PAGE);

	T_REQUIRE(begin_placed());
	T_EQ(map(MEM0 + PAGE, PAGE, fd, 0), 0);
	T_EQ(map(MEM0 - PAGE, PAGE, fd, 0), 0);
	T_EQ(load(0), 0);
	T_EQ(map(MEM0, PAGE, fd, 0), 0);
	T_EQ(load(0), -ENXIO);
	T_EQ(rmio_client_dma_unmap(client, MEM0, PAGE), 0);
	T_EQ(load(0), 0);
	T_EQ(map(MEM2 + 0xf000, PAGE, fd, 0), 0);
	T_EQ(load(2), -ENXIO);
	T_EQ(rmio_client_dma_unmap(client, MEM2 + 0xf000, PAGE), 0);
	T_EQ(load(2), 0);
	/* I/O has addresses of its own */
	T_EQ(map(IO1 & ~4095u, PAGE, fd, 0), 0);
	T_EQ(load(1), 0);
	/* moved under it */
	T_EQ(config_set(0x10, 4, MEM0 + PAGE), 0);
	T_EQ(load(0), -ENXIO);
	end();
	close(fd);
}

/* -- interrupts and reset --------------------------------------------------------- */

static int set(uint32_t action, uint32_t count, const int *fds)
{
	return rmio_client_set_irqs(client, VFIO_PCI_INTX_IRQ_INDEX, action, 0, count, fds);
}

static uint64_t signals(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n = 0;

	if (poll(&p, 1, 0) == 1)
		T_EQ(read(fd, &n, sizeof(n)), (ssize_t)sizeof(n));
	return n;
}

/* Is what the remote has the eventfd @fd? */
static bool same(int theirs, int fd)
{
	uint64_t one = 1;
	bool is;

	signals(fd);
	T_EQ(write(theirs, &one, sizeof(one)), (ssize_t)sizeof(one));
	is = signals(fd) == 1;
	signals(theirs);
	return is;
}

static void interrupts(void)
{
	int start = count_fds(), before, other, unmask;
	int trigger = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	unmask = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	T_REQUIRE(begin_placed());
	/* (what it takes to signal is there from the first time on) */
	T_EQ(set(VFIO_IRQ_SET_ACTION_UNMASK, 1, NULL), 0);
	before = count_fds();
	T_EQ(set(VFIO_IRQ_SET_ACTION_TRIGGER, 1, &trigger), 0);
	T_EQ(remote.pairs, 1);
	/* what it raised before it had the pair, it is to look at again */
	T_EQ(signals(remote.pair[1]), 2);
	T_OK(same(remote.pair[0], trigger));
	T_EQ(count_fds(), before + 1 + 2);
	T_EQ(set(VFIO_IRQ_SET_ACTION_UNMASK, 1, NULL), 0);
	T_EQ(signals(remote.pair[1]), 1);
	T_EQ(remote.pairs, 1);

	T_EQ(set(VFIO_IRQ_SET_ACTION_UNMASK, 1, &unmask), 0);
	T_EQ(remote.pairs, 2);
	T_EQ(signals(unmask), 1);
	T_OK(same(remote.pair[0], trigger));
	T_OK(same(remote.pair[1], unmask));
	T_EQ(set(VFIO_IRQ_SET_ACTION_UNMASK, 1, NULL), 0);
	T_EQ(signals(unmask), 1);

	T_EQ(set(VFIO_IRQ_SET_ACTION_TRIGGER, 1, &other), 0);
	T_EQ(remote.pairs, 3);
	T_EQ(signals(unmask), 1);
	T_OK(same(remote.pair[0], other));
	T_OK(!same(remote.pair[0], trigger));
	T_OK(same(remote.pair[1], unmask));
	T_EQ(count_fds(), before + 2 + 2);

	/* disabled: nobody's eventfd, and nothing to be looked at */
	T_EQ(set(VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL), 0);
	T_EQ(remote.pairs, 4);
	T_EQ(signals(unmask), 0);
	T_OK(!same(remote.pair[0], other));
	T_OK(!same(remote.pair[0], trigger));
	T_OK(same(remote.pair[1], unmask));
	T_EQ(count_fds(), before + 1 + 2);
	T_EQ(set(VFIO_IRQ_SET_ACTION_TRIGGER, 1, &(int){ -1 }), 0);
	T_EQ(remote.pairs, 5);
	T_EQ(set(VFIO_IRQ_SET_ACTION_UNMASK, 1, &(int){ -1 }), 0);
	T_EQ(remote.pairs, 6);
	T_OK(!same(remote.pair[1], unmask));
	T_EQ(count_fds(), before + 2);

	/* a bad descriptor leaves what there was */
	T_EQ(set(VFIO_IRQ_SET_ACTION_TRIGGER, 1, &trigger), 0);
	T_EQ(set(VFIO_IRQ_SET_ACTION_TRIGGER, 1, &(int){ 12345 }), -EBADF);
	T_OK(same(remote.pair[0], trigger));
	config(0, 4);	/* after which the remote may close them */
	end();
	close(trigger);
	close(other);
	close(unmask);
	T_EQ(count_fds(), start);
}

static void refused_interrupts(void)
{
	int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), fds[2] = { efd, efd };
	uint32_t flags, count;

	T_REQUIRE(begin_placed());
	for (uint32_t i = 1; i <= VFIO_PCI_NUM_IRQS; i++) {
		T_EQ(rmio_client_set_irqs(client, i, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &efd),
		     -EINVAL);
		T_EQ(rmio_client_set_irqs(client, i, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL),
		     -EINVAL);
	}
	T_EQ(set(VFIO_IRQ_SET_ACTION_TRIGGER, 2, fds), -EINVAL);
	T_EQ(rmio_client_set_irqs(client, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 1, 1, &efd), -EINVAL);
	T_EQ(set(VFIO_IRQ_SET_ACTION_MASK, 1, NULL), -ENOTSUP);
	T_EQ(set(VFIO_IRQ_SET_ACTION_MASK, 1, &efd), -ENOTSUP);
	T_EQ(set(VFIO_IRQ_SET_ACTION_TRIGGER, 1, NULL), -ENOTSUP);
	T_EQ(set(VFIO_IRQ_SET_ACTION_UNMASK, 0, NULL), -ENOTSUP);
	T_EQ(remote.pairs, 0);
	end();

	/* without a pin */
	remote_init(&remote);
	remote_put(&remote, PCI_INTERRUPT_PIN, 1, 0);
	T_REQUIRE(begin());
	T_EQ(rmio_client_irq_info(client, 0, &flags, &count), 0);
	T_EQ(flags, 0);
	T_EQ(count, 0);
	T_EQ(set(VFIO_IRQ_SET_ACTION_TRIGGER, 1, &efd), -EINVAL);
	T_EQ(remote.pairs, 0);
	end();
	close(efd);
}

static void reset(void)
{
	int fd = memory(PAGE);

	T_REQUIRE(begin_placed());
	T_EQ(map(0, PAGE, fd, 0), 0);
	T_EQ(load(0), 0);
	T_EQ(rmio_client_reset(client), 0);
	T_EQ(remote.resets, 1);
	/* it resets the device only, the rest is for the client to do */
	T_EQ(remote_get(&remote, 4, 2), 0);
	T_EQ(remote_get(&remote, 0x10, 4), 0);
	T_EQ(remote_get(&remote, 0x14, 4), 1);
	T_EQ(remote_get(&remote, 0x18, 4), 0xc);
	T_EQ(remote_get(&remote, 0x1c, 4), 0);
	for (uint32_t i = 0; i < 3; i++)
		T_EQ(load(i), -ENXIO);
	T_EQ(config_set(0x10, 4, MEM0), 0);
	T_EQ(load(0), -ENXIO);
	T_EQ(config_set(4, 2, PCI_COMMAND_MEMORY), 0);
	T_EQ(load(0), 0);
	T_EQ(remote.n_mem, 1);
	end();
	close(fd);
}

/* -- answers --------------------------------------------------------------------------- */

static int call_nr(int nr)
{
	uint32_t v = 0;

	switch (nr) {
	case 0: return rmio_client_region_read(client, CONFIG, 0, &v, 4);
	case 1: return rmio_client_region_write(client, CONFIG, 0x50, &v, 4);
	case 2: return rmio_client_region_read(client, 0, 0, &v, 4);
	case 3: return rmio_client_region_write(client, 0, 0, &v, 4);
	default: return rmio_client_reset(client);
	}
}

/* Of a reset alone it may be empty. */
static void sizes(void)
{
	static const uint64_t large[] = { 24, 191, 192, 193, 1u << 20, INT64_MAX, UINT64_MAX };
	int before = count_fds();

	for (int nr = 0; nr < 5; nr++) {
		for (uint64_t n = 0; n < 17 + KTAP_COUNT(large); n++) {
			uint64_t size = n < 17 ? n : large[n - 17];
			bool right = size == 8 || (nr == 4 && !size);

			T_REQUIRE(begin_placed());
			remote.harm = HARM_SIZE;
			remote.n = size;
			remote.at = remote.commands + 1;
			T_EQ(call_nr(nr), right ? 0 : -EPROTO);
			T_EQ(call_nr(0), right ? 0 : -ECONNRESET);
			end();
			if (ktap_failed()) {
				ktap_diag("call %d, size %llu", nr, (unsigned long long)size);
				return;
			}
		}
	}
	T_EQ(count_fds(), before);
}

/* The second one is there when the next call looks for it. */
static void answered_twice(void)
{
	for (int nr = 0; nr < 5; nr++) {
		T_REQUIRE(begin_placed());
		remote.harm = HARM_TWICE;
		/* a reset is several commands, and the second answer is to the last of them */
		remote.at = remote.commands + 1 + (nr == 4 ? 14 : 0);
		T_EQ(call_nr(nr), 0);
		T_EQ(remote.commands, remote.at);
		T_EQ(call_nr(0), -EPROTO);
		T_EQ(call_nr(nr), -ECONNRESET);
		end();
	}
}

/* -- threads ------------------------------------------------------------------------ */

struct caller {
	pthread_t thread;
	uint32_t nr;
};

static void *call_often(void *arg)
{
	struct caller *t = arg;
	uint8_t buf[16], got[16];

	for (uint32_t i = 0; i < 300; i++) {
		memset(buf, (int)(t->nr * 16 + i), sizeof(buf));
		if (!T_EQ(rmio_client_region_write(client, t->nr, t->nr * 64, buf, 16), 0) ||
		    !T_EQ(rmio_client_region_read(client, t->nr, t->nr * 64, got, 16), 0) ||
		    !T_MEMEQ(got, buf, 16))
			break;
	}
	return NULL;
}

static void threads(void)
{
	int fd = memory(PAGE), efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct caller t[3];
	uint32_t i;

	T_REQUIRE(begin_placed());
	for (i = 0; i < 3; i++) {
		t[i].nr = i;
		T_EQ(pthread_create(&t[i].thread, NULL, call_often, &t[i]), 0);
	}
	/* tables and pairs come and go meanwhile */
	for (i = 0; i < 100; i++) {
		T_EQ(map(i * PAGE, PAGE, fd, 0), 0);
		T_EQ(set(VFIO_IRQ_SET_ACTION_TRIGGER, 1, &efd), 0);
		T_EQ(config(0, 4), 0x56781234);
		T_EQ(rmio_client_dma_unmap(client, i * PAGE, PAGE), 0);
		T_EQ(set(VFIO_IRQ_SET_ACTION_UNMASK, 1, NULL), 0);
	}
	for (i = 0; i < 3; i++)
		pthread_join(t[i].thread, NULL);
	T_EQ(remote.syncs, 200);
	end();
	close(fd);
	close(efd);
}

static const struct ktap_test tests[] = {
	{ "found", found },
	{ "a bridge", bridge },
	{ "found without decoding", found_quietly },
	{ "64 bits in the last BAR", wide_and_last },
	{ "configuration space", config_space },
	{ "lengths", lengths },
	{ "messages", messages },
	{ "decoding", decoding },
	{ "ends of the address space", ends },
	{ "tables of memory", tables },
	{ "memory that is refused", refused_memory },
	{ "memory that was not heard of", unheard_memory },
	{ "memory above a BAR", memory_above },
	{ "interrupts", interrupts },
	{ "interrupts that are refused", refused_interrupts },
	{ "reset", reset },
	{ "sizes of answers", sizes },
	{ "two answers", answered_twice },
	{ "threads", threads },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
