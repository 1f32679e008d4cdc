// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The PCI bus, driven through its ports with a device of this file
 * behind it: mechanism #1, sizing and placing of BARs, pin and messages.
 * Needs no KVM.
 */
#include "ktap.h"

#include "pci/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <sys/eventfd.h>

#define MEMORY	(64ull << 20)

/* -- a device ------------------------------------------------------------- */

struct fake {
	uint8_t cfg[256];
	uint64_t region[6];
	struct {
		uint64_t addr, len;
		bool io;
	} at[6];
	int place_rc;
	int read_rc;
	unsigned int places, removes, writes, last_reg, last_len;
	unsigned int msi_count;
	unsigned int msi_on;
	int msi_fds[32];
	int intx, unmask;
	unsigned int unmasks;
	unsigned int maps, unmaps;
	unsigned int maps_max;		/* 0: any */
	unsigned int resets;
	unsigned int gone;
};

static int f_read(void *be, unsigned int reg, void *buf, unsigned int len)
{
	struct fake *f = be;

	if (f->read_rc)
		return f->read_rc;
	memcpy(buf, f->cfg + reg, len);
	return 0;
}

static int f_write(void *be, unsigned int reg, const void *buf, unsigned int len)
{
	struct fake *f = be;

	f->writes++;
	f->last_reg = reg;
	f->last_len = len;
	memcpy(f->cfg + reg, buf, len);
	return 0;
}

static int f_region(void *be, unsigned int bar, uint64_t *size)
{
	*size = ((struct fake *)be)->region[bar];
	return 0;
}

static int f_place(void *be, unsigned int bar, bool io, uint64_t addr, uint64_t len)
{
	struct fake *f = be;

	if (len && f->place_rc)
		return f->place_rc;
	f->at[bar].addr = addr;
	f->at[bar].len = len;
	f->at[bar].io = io;
	if (len)
		f->places++;
	else
		f->removes++;
	return 0;
}

static int f_msi_count(void *be, unsigned int *count)
{
	*count = ((struct fake *)be)->msi_count;
	return 0;
}

static int f_intx(void *be, int trigger, int unmask)
{
	struct fake *f = be;

	f->intx = trigger;
	f->unmask = unmask;
	return 0;
}

static int f_unmask(void *be)
{
	((struct fake *)be)->unmasks++;
	return 0;
}

static int f_msi(void *be, unsigned int count, const int *fds)
{
	struct fake *f = be;

	f->msi_on = count;
	for (unsigned int i = 0; i < count; i++)
		f->msi_fds[i] = fds[i];
	return 0;
}

static int f_dma(void *be, uint64_t gpa, uint64_t len, int fd, uint64_t offset)
{
	struct fake *f = be;

	(void)gpa;
	(void)len;
	(void)fd;
	(void)offset;
	if (f->maps_max && f->maps == f->maps_max)
		return -ENOSPC;
	f->maps++;
	return 0;
}

static void f_dma_unmap(void *be, uint64_t gpa, uint64_t len)
{
	struct fake *f = be;

	(void)len;
	/* the last one first */
	T_EQ(gpa, (f->maps - ++f->unmaps) * MEMORY);
}

static int f_reset(void *be)
{
	((struct fake *)be)->resets++;
	return 0;
}

static void f_gone(void *be)
{
	((struct fake *)be)->gone++;
}

static const struct pci_backend_ops ops = {
	.config_read = f_read,
	.config_write = f_write,
	.region_size = f_region,
	.place = f_place,
	.msi_count = f_msi_count,
	.set_intx = f_intx,
	.unmask_intx = f_unmask,
	.set_msi = f_msi,
	.dma_map = f_dma,
	.dma_unmap = f_dma_unmap,
	.reset = f_reset,
	.gone = f_gone,
};

/* -- interrupt controllers ------------------------------------------------ */

struct irqs {
	unsigned int routes;
	uint64_t addr[64];
	uint32_t data[64];
	int fd[64];		/* assigned to a GSI, -1: none */
	int resample[64];
};

static int i_new(void *arg)
{
	return 24 + (int)((struct irqs *)arg)->routes++;
}

static int i_set(void *arg, unsigned int gsi, uint64_t addr, uint32_t data)
{
	struct irqs *q = arg;

	if (addr >> 32)
		return -EINVAL;
	q->addr[gsi] = addr;
	q->data[gsi] = data;
	return 0;
}

static void i_free(void *arg, unsigned int gsi)
{
	(void)gsi;
	((struct irqs *)arg)->routes--;
}

static int i_assign(void *arg, int fd, int resample, unsigned int gsi)
{
	struct irqs *q = arg;

	if (q->fd[gsi] >= 0)
		return -EBUSY;
	q->fd[gsi] = fd;
	q->resample[gsi] = resample;
	return 0;
}

static int i_deassign(void *arg, int fd, unsigned int gsi)
{
	struct irqs *q = arg;

	if (q->fd[gsi] != fd)
		return -ENOENT;
	q->fd[gsi] = -1;
	return 0;
}

static const struct rmio_pci_irq_ops irq_ops = {
	.route_new = i_new,
	.route_set = i_set,
	.route_free = i_free,
	.assign = i_assign,
	.deassign = i_deassign,
};

/* -- the bus -------------------------------------------------------------- */

static struct rmio_pci *pci;
static struct irqs irqs;

static void select_reg(unsigned int slot, unsigned int reg)
{
	uint32_t a = 0x80000000u | slot << 11 | (reg & 0xfc);

	T_OK(rmio_pci_port(pci, 0xcf8, true, &a, 4));
}

static uint32_t rd(unsigned int slot, unsigned int reg, unsigned int size)
{
	uint32_t v = 0;

	select_reg(slot, reg);
	T_OK(rmio_pci_port(pci, (uint16_t)(0xcfc + (reg & 3)), false, &v, size));
	return v;
}

static void wr(unsigned int slot, unsigned int reg, unsigned int size, uint32_t v)
{
	select_reg(slot, reg);
	T_OK(rmio_pci_port(pci, (uint16_t)(0xcfc + (reg & 3)), true, &v, size));
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

/* BAR 0: 1 MiB of memory; BAR 2 and 3: 64 KiB with 64 bits; BAR 4: 32 ports. */
static void fake_init(struct fake *f)
{
	memset(f, 0, sizeof(*f));
	put16(f->cfg + PCI_VENDOR_ID, 0x1234);
	put16(f->cfg + PCI_DEVICE_ID, 0x11e8);
	put16(f->cfg + PCI_STATUS, PCI_STATUS_CAP_LIST);
	f->cfg[PCI_CAPABILITY_LIST] = 0x40;
	f->cfg[0x40] = PCI_CAP_ID_PM;
	f->cfg[0x41] = 0x50;
	f->cfg[0x50] = PCI_CAP_ID_MSIX;
	f->cfg[0x51] = 0x60;
	f->cfg[0x60] = PCI_CAP_ID_MSI;
	put16(f->cfg + 0x62, PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | 2 << 1);
	f->cfg[PCI_INTERRUPT_PIN] = 1;
	f->cfg[PCI_BASE_ADDRESS_2] = PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH;
	f->cfg[PCI_BASE_ADDRESS_4] = PCI_BASE_ADDRESS_SPACE_IO;
	f->region[0] = 1 << 20;
	f->region[2] = 64 << 10;
	f->region[4] = 32;
	f->msi_count = 4;
	f->intx = f->unmask = -1;
}

static bool bus_new(void)
{
	static const struct rmio_pci_memory memory = { .len = MEMORY, .fd = -1 };
	struct rmio_pci_opts o = {
		.sz = sizeof(o), .irqs = &irq_ops, .irq_arg = &irqs,
		.memory = &memory, .nr_memory = 1,
		.mem = { 0xe0000000, 0xfebfffff }, .high = { 1ull << 32, (1ull << 46) - 1 },
		.io = { 0x1000, 0xffff }, .first_gsi = 16, .nr_gsis = 8,
	};

	memset(&irqs, 0, sizeof(irqs));
	memset(irqs.fd, 0xff, sizeof(irqs.fd));
	return T_EQ(rmio_pci_new(&o, &pci), 0);
}

static bool add(struct fake *f)
{
	uint32_t slot = 0;
	int rc = rmio_pci_add_backend(pci, &ops, f, "fake", &slot);

	if (T_EQ(rc, 0))
		return true;
	ktap_diag("%s", rmio_errstr(rc));
	return false;
}

/* -- tests ---------------------------------------------------------------- */

static void mechanism(void)
{
	struct fake f;
	uint32_t v;

	T_REQUIRE(bus_new());
	fake_init(&f);
	T_REQUIRE(add(&f));
	T_EQ(f.resets, 1);
	T_EQ(f.maps, 1);
	T_EQ(rd(0, 0, 4), 0x00081b36);
	T_EQ(rd(0, 8, 4) >> 16, 0x0600);
	T_EQ(rd(1, 0, 4), 0x11e81234);
	T_EQ(rd(1, 0, 2), 0x1234);
	T_EQ(rd(1, 2, 2), 0x11e8);
	T_EQ(rd(1, 3, 1), 0x11);
	T_EQ(rd(1, 1, 2), 0xe812);
	T_EQ(rd(2, 0, 4), 0xffffffff);
	T_EQ(rd(31, 0, 2), 0xffff);

	/* Other functions, other buses, and the enable bit. */
	v = 0x80000000u | 1 << 11 | 1 << 8;
	rmio_pci_port(pci, 0xcf8, true, &v, 4);
	rmio_pci_port(pci, 0xcfc, false, &v, 4);
	T_EQ(v, 0xffffffff);
	v = 0x80000000u | 1 << 11 | 1 << 16;
	rmio_pci_port(pci, 0xcf8, true, &v, 4);
	rmio_pci_port(pci, 0xcfc, false, &v, 4);
	T_EQ(v, 0xffffffff);
	v = 1 << 11;
	rmio_pci_port(pci, 0xcf8, true, &v, 4);
	rmio_pci_port(pci, 0xcfc, false, &v, 4);
	T_EQ(v, 0xffffffff);

	/* Reads back; narrow writes pass it by; reserved bits are zero. */
	v = 0xffffffff;
	rmio_pci_port(pci, 0xcf8, true, &v, 4);
	v = 0;
	rmio_pci_port(pci, 0xcf8, false, &v, 4);
	T_EQ(v, 0x80fffffc);
	T_EQ(rmio_pci_port(pci, 0xcf8, true, &v, 1), false);
	T_EQ(rmio_pci_port(pci, 0xcf9, true, &v, 1), false);
	T_EQ(rmio_pci_port(pci, 0xcf8, true, &v, 2), false);
	T_EQ(rmio_pci_port(pci, 0xcfe, true, &v, 4), false);
	T_EQ(rmio_pci_port(pci, 0xcff, false, &v, 2), false);
	T_EQ(rmio_pci_port(pci, 0xd00, false, &v, 1), false);
	T_EQ(rmio_pci_port(pci, 0xcf7, false, &v, 4), false);
	rmio_pci_free(pci);
}

static void pass_through(void)
{
	struct fake f;

	T_REQUIRE(bus_new());
	fake_init(&f);
	T_REQUIRE(add(&f));
	f.cfg[0x80] = 0x5a;
	T_EQ(rd(1, 0x80, 1), 0x5a);
	wr(1, 0x80, 4, 0x11223344);
	T_EQ(f.last_reg, 0x80);
	T_EQ(f.last_len, 4);
	T_EQ(rd(1, 0x82, 2), 0x1122);

	/* The command register is kept and passed on; the status is the device's. */
	wr(1, PCI_COMMAND, 2, PCI_COMMAND_MASTER | 0x8000);
	T_EQ(f.cfg[PCI_COMMAND], PCI_COMMAND_MASTER);
	T_EQ(rd(1, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	T_EQ(rd(1, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);

	/* BARs never reach the device. */
	f.writes = 0;
	wr(1, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	wr(1, PCI_INTERRUPT_LINE, 1, 9);
	T_EQ(f.writes, 0);
	T_EQ(rd(1, PCI_INTERRUPT_LINE, 1), 9);

	/* A device that is gone reads as all ones, but for what is kept here. */
	f.read_rc = -ECONNRESET;
	T_EQ(rd(1, 0, 4), 0xffffffff);
	T_EQ(rd(1, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	rmio_pci_free(pci);
}

static void bar_sizes(void)
{
	struct fake f;

	T_REQUIRE(bus_new());
	fake_init(&f);
	f.region[5] = 3000;		/* not a power of two: rounded up */
	T_REQUIRE(add(&f));
	for (unsigned int i = 0; i < 6; i++)
		wr(1, PCI_BASE_ADDRESS_0 + 4 * i, 4, 0xffffffff);
	T_EQ(rd(1, PCI_BASE_ADDRESS_0, 4), 0xfff00000);
	T_EQ(rd(1, PCI_BASE_ADDRESS_1, 4), 0);
	T_EQ(rd(1, PCI_BASE_ADDRESS_2, 4), 0xffff000c);
	T_EQ(rd(1, PCI_BASE_ADDRESS_3, 4), 0xffffffff);
	T_EQ(rd(1, PCI_BASE_ADDRESS_4, 4), 0xffffffe1);
	T_EQ(rd(1, PCI_BASE_ADDRESS_5, 4), 0xfffff000);
	wr(1, PCI_ROM_ADDRESS, 4, 0xffffffff);
	T_EQ(rd(1, PCI_ROM_ADDRESS, 4), 0);
	/* By bytes and words too. */
	wr(1, PCI_BASE_ADDRESS_0, 4, 0);
	wr(1, PCI_BASE_ADDRESS_0 + 3, 1, 0xe1);
	T_EQ(rd(1, PCI_BASE_ADDRESS_0, 4), 0xe1000000);
	wr(1, PCI_BASE_ADDRESS_0 + 2, 2, 0xe23f);
	T_EQ(rd(1, PCI_BASE_ADDRESS_0, 4), 0xe2300000);
	T_EQ(f.places, 0);
	rmio_pci_free(pci);
}

static void bar_places(void)
{
	struct fake f;

	T_REQUIRE(bus_new());
	fake_init(&f);
	T_REQUIRE(add(&f));
	wr(1, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	wr(1, PCI_BASE_ADDRESS_4, 4, 0x1000);
	T_EQ(f.places, 0);
	wr(1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	T_EQ(f.places, 1);
	T_EQ(f.at[0].addr, 0xe0000000);
	T_EQ(f.at[0].len, 1 << 20);
	T_EQ(f.at[0].io, false);
	wr(1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	T_EQ(f.places, 2);
	T_EQ(f.at[4].addr, 0x1000);
	T_EQ(f.at[4].len, 32);
	T_EQ(f.at[4].io, true);

	/* A move is one step, without taking it away. */
	wr(1, PCI_BASE_ADDRESS_0, 4, 0xe5500000);
	T_EQ(f.places, 3);
	T_EQ(f.removes, 0);
	T_EQ(f.at[0].addr, 0xe5500000);

	/* Edges of the window. */
	wr(1, PCI_BASE_ADDRESS_0, 4, 0xfeb00000);
	T_EQ(f.at[0].addr, 0xfeb00000);
	wr(1, PCI_BASE_ADDRESS_0, 4, 0xfec00000);
	T_EQ(f.at[0].len, 0);
	wr(1, PCI_BASE_ADDRESS_0, 4, 0xdff00000);
	T_EQ(f.at[0].len, 0);
	wr(1, PCI_BASE_ADDRESS_0, 4, 0);
	T_EQ(f.at[0].len, 0);
	wr(1, PCI_BASE_ADDRESS_0, 4, 0xffffffff);
	T_EQ(f.at[0].len, 0);
	wr(1, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	T_EQ(f.at[0].len, 1 << 20);
	wr(1, PCI_BASE_ADDRESS_4, 4, 0xfe0);
	T_EQ(f.at[4].len, 0);
	wr(1, PCI_BASE_ADDRESS_4, 4, 0xffe0);
	T_EQ(f.at[4].addr, 0xffe0);
	wr(1, PCI_BASE_ADDRESS_4, 4, 0x10000);
	T_EQ(f.at[4].len, 0);

	/* 64 bits: below 4 GiB, then above. */
	wr(1, PCI_BASE_ADDRESS_2, 4, 0xe8000000);
	T_EQ(f.at[2].addr, 0xe8000000);
	wr(1, PCI_BASE_ADDRESS_3, 4, 2);
	T_EQ(f.at[2].addr, 0x2e8000000);
	wr(1, PCI_BASE_ADDRESS_3, 4, 0xffffffff);
	T_EQ(f.at[2].len, 0);
	wr(1, PCI_BASE_ADDRESS_3, 4, 0);
	T_EQ(f.at[2].addr, 0xe8000000);

	/* Decoding off takes all away. */
	wr(1, PCI_COMMAND, 2, 0);
	T_EQ(f.at[0].len, 0);
	T_EQ(f.at[2].len, 0);
	rmio_pci_free(pci);
}

static void bar_overlaps(void)
{
	struct fake a, b;

	T_REQUIRE(bus_new());
	fake_init(&a);
	fake_init(&b);
	T_REQUIRE(add(&a));
	T_REQUIRE(add(&b));
	wr(1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	wr(2, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	wr(1, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	wr(2, PCI_BASE_ADDRESS_0, 4, 0xe1000000);
	T_EQ(b.at[0].addr, 0xe1000000);
	/* The one that was there stays; the newcomer waits until it has gone. */
	wr(1, PCI_BASE_ADDRESS_0, 4, 0xe1000000);
	T_EQ(a.at[0].len, 0);
	T_EQ(b.at[0].addr, 0xe1000000);
	wr(2, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	T_EQ(b.at[0].addr, 0xe0000000);
	T_EQ(a.at[0].addr, 0xe1000000);
	T_EQ(a.at[0].len, 1 << 20);
	/* A small one inside a large one. */
	wr(2, PCI_BASE_ADDRESS_2, 4, 0xe1080000);
	T_EQ(b.at[2].len, 0);
	/* The device's refusal leaves it out as well. */
	b.place_rc = -EEXIST;
	wr(2, PCI_BASE_ADDRESS_2, 4, 0xe9000000);
	T_EQ(b.at[2].len, 0);
	b.place_rc = 0;
	wr(2, PCI_BASE_ADDRESS_2, 4, 0xea000000);
	T_EQ(b.at[2].addr, 0xea000000);
	/* What lay below a device comes up when the device goes. */
	wr(2, PCI_BASE_ADDRESS_0, 4, 0xe1000000);
	T_EQ(b.at[0].len, 0);
	rmio_pci_remove(pci, 1);
	T_EQ(b.at[0].addr, 0xe1000000);
	T_EQ(rd(1, 0, 4), 0xffffffff);
	rmio_pci_free(pci);
}

static void capabilities(void)
{
	struct fake f;

	T_REQUIRE(bus_new());
	fake_init(&f);
	T_REQUIRE(add(&f));
	T_EQ(rd(1, PCI_CAPABILITY_LIST, 1), 0x40);
	T_EQ(rd(1, 0x41, 1), 0x60);		/* past MSI-X */
	T_EQ(rd(1, 0x60, 1), PCI_CAP_ID_MSI);
	T_EQ(rd(1, 0x61, 1), 0);
	T_EQ(rd(1, 0x62, 2), PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | 2 << 1);
	rmio_pci_free(pci);

	/* A list in a circle ends for the guest too. */
	T_REQUIRE(bus_new());
	fake_init(&f);
	f.cfg[0x61] = 0x40;
	T_REQUIRE(add(&f));
	{
		unsigned int at = rd(1, PCI_CAPABILITY_LIST, 1), n = 0;

		while (at && n++ < 100)
			at = rd(1, at + 1, 1);
		T_LT(n, 100);
	}
	rmio_pci_free(pci);

	/* Fewer vectors than the capability says. */
	T_REQUIRE(bus_new());
	fake_init(&f);
	f.msi_count = 3;
	T_REQUIRE(add(&f));
	T_EQ(rd(1, 0x62, 2) >> 1 & 7, 1);
	rmio_pci_free(pci);
}

static int try(struct fake *f, const char *name)
{
	uint32_t slot = 0;

	return rmio_pci_add_backend(pci, &ops, f, name, &slot);
}

static void refused(void)
{
	struct fake f;

	T_REQUIRE(bus_new());
	fake_init(&f);
	f.cfg[PCI_HEADER_TYPE] = 1;
	T_EQ(try(&f, "bridge"), -ENOTSUP);
	T_OK(strstr(rmio_errstr(-ENOTSUP), "header type 1"));
	fake_init(&f);
	f.cfg[PCI_INTERRUPT_PIN] = 5;
	T_EQ(try(&f, "pin"), -EINVAL);
	fake_init(&f);
	f.cfg[0x61] = 0xfc;
	f.cfg[0x60] = PCI_CAP_ID_PM;
	f.cfg[0xfc] = PCI_CAP_ID_MSI;
	T_EQ(try(&f, "msi"), -EINVAL);
	T_OK(strstr(rmio_errstr(-EINVAL), "malformed"));
	fake_init(&f);
	f.region[0] = 1ull << 33;
	T_EQ(try(&f, "bar"), -E2BIG);
	fake_init(&f);
	f.region[5] = 16;
	f.cfg[PCI_BASE_ADDRESS_5] = PCI_BASE_ADDRESS_MEM_TYPE_64;
	T_EQ(try(&f, "wide"), -EINVAL);
	fake_init(&f);
	f.read_rc = -ETIMEDOUT;
	T_EQ(try(&f, "dead"), -ETIMEDOUT);
	fake_init(&f);
	memset(f.cfg, 0xff, 2);
	T_EQ(try(&f, "none"), -ENODEV);
	T_EQ(irqs.routes, 0);

	fake_init(&f);
	f.cfg[PCI_INTERRUPT_PIN] = 0;
	for (unsigned int i = 1; i < RMIO_PCI_SLOTS; i++)
		T_EQ(try(&f, "one"), 0);
	T_EQ(try(&f, "more"), -ENOSPC);
	rmio_pci_free(pci);
}

/* Slots that the VMM chooses, configuration space by slot, and a device that leaves. */
static void slots(void)
{
	struct fake f, g;
	uint32_t slot = 5, v = 0;

	T_REQUIRE(bus_new());
	fake_init(&f);
	fake_init(&g);
	T_EQ(rmio_pci_add_backend(pci, &ops, &f, "five", &slot), 0);
	T_EQ(slot, 5);
	T_EQ(rmio_pci_add_backend(pci, &ops, &g, "too", &slot), -EBUSY);
	T_OK(strstr(rmio_errstr(-EBUSY), "slot 5 is taken by five"));
	slot = RMIO_PCI_SLOTS;
	T_EQ(rmio_pci_add_backend(pci, &ops, &g, "far", &slot), -EINVAL);
	T_REQUIRE(add(&g));
	T_EQ(rd(1, 0, 4), 0x11e81234);
	rmio_pci_config(pci, 5, 0, false, &v, 4);
	T_EQ(v, 0x11e81234);
	v = 0xe0000000;
	rmio_pci_config(pci, 5, PCI_BASE_ADDRESS_0, true, &v, 4);
	v = PCI_COMMAND_MEMORY;
	rmio_pci_config(pci, 5, PCI_COMMAND, true, &v, 2);
	T_EQ(f.at[0].addr, 0xe0000000);
	T_EQ(f.at[0].len, 1 << 20);
	v = 0;
	rmio_pci_config(pci, 6, 0, false, &v, 4);
	T_EQ(v, 0xffffffff);
	v = 0;
	rmio_pci_config(pci, 5, 254, false, &v, 4);
	T_EQ(v, 0xffffffff);
	rmio_pci_config(pci, 99, 0, false, &v, 4);
	/* Gone: no range, no interrupt, no slot; and it can come back. */
	T_GE(f.intx, 0);
	rmio_pci_remove(pci, 5);
	T_EQ(f.at[0].len, 0);
	T_EQ(f.intx, -1);
	T_EQ(f.gone, 1);
	T_EQ(rd(5, 0, 4), 0xffffffff);
	rmio_pci_remove(pci, 5);
	rmio_pci_remove(pci, 0);
	rmio_pci_remove(pci, 99);
	slot = 5;
	T_EQ(rmio_pci_add_backend(pci, &ops, &f, "five", &slot), 0);
	rmio_pci_free(pci);
	T_EQ(f.gone, 2);
	T_EQ(g.gone, 1);
}

/* A device that cannot have all of guest memory keeps none of it: it may be tried again. */
static void some_memory(void)
{
	static const struct rmio_pci_memory memory[] = {
		{ .len = MEMORY, .fd = -1 }, { .gpa = MEMORY, .len = MEMORY, .fd = -1 },
		{ .gpa = 2 * MEMORY, .len = MEMORY, .fd = -1 },
	};
	struct rmio_pci_opts o = {
		.sz = sizeof(o), .irqs = &irq_ops, .memory = memory, .nr_memory = 3,
		.irq_arg = &irqs,
	};
	uint32_t slot = 0;
	struct fake f;

	T_REQUIRE(T_EQ(rmio_pci_new(&o, &pci), 0));
	fake_init(&f);
	f.maps_max = 2;
	T_EQ(rmio_pci_add_backend(pci, &ops, &f, "fake", &slot), -ENOSPC);
	T_OK(strstr(rmio_errstr(-ENOSPC), "mapping guest memory"));
	T_EQ(f.maps, 2);
	T_EQ(f.unmaps, 2);
	rmio_pci_free(pci);
}

static void options(void)
{
	struct rmio_pci_opts o = { .sz = sizeof(o) };

	T_EQ(rmio_pci_new(&o, &pci), -EINVAL);
	o.irqs = &irq_ops;
	o.nr_memory = 1;
	T_EQ(rmio_pci_new(&o, &pci), -EINVAL);
	o.nr_memory = 0;
	o.io = (struct rmio_pci_window){ 0x1000, 0x10000 };
	T_EQ(rmio_pci_new(&o, &pci), -EINVAL);
	o.io = (struct rmio_pci_window){ 0x1000, 0xfff };
	T_EQ(rmio_pci_new(&o, &pci), -EINVAL);
	o.io = (struct rmio_pci_window){ 0, 0 };
	T_EQ(rmio_pci_new(&o, &pci), 0);
	rmio_pci_free(pci);
	rmio_pci_free(NULL);
}

static void pin(void)
{
	struct fake f;

	T_REQUIRE(bus_new());
	fake_init(&f);
	f.cfg[PCI_INTERRUPT_PIN] = 2;
	T_REQUIRE(add(&f));
	T_EQ(rd(1, PCI_INTERRUPT_PIN, 1), 2);
	T_EQ(rd(1, PCI_INTERRUPT_LINE, 1), 16 + 2);
	T_GE(f.intx, 0);
	T_EQ(irqs.fd[18], f.intx);
	T_EQ(irqs.resample[18], f.unmask);
	/* Nothing was masked: an unmask would make the device signal twice. */
	T_EQ(f.unmasks, 0);

	/* Turned off, it is gone from KVM but not from the device. */
	wr(1, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	T_EQ(irqs.fd[18], -1);
	T_GE(f.intx, 0);
	T_EQ(f.unmasks, 0);
	/* On again: the device is asked to say again whether it is raised. */
	wr(1, PCI_COMMAND, 2, 0);
	T_EQ(irqs.fd[18], f.intx);
	T_EQ(f.unmasks, 1);
	rmio_pci_free(pci);
	T_EQ(irqs.fd[18], -1);
	T_EQ(f.intx, -1);
}

/* The device has the same eventfds, flags and all: a write to them may never return. */
static void full_eventfds(void)
{
	const uint64_t most = UINT64_MAX - 1;
	struct fake f;

	T_REQUIRE(bus_new());
	fake_init(&f);
	f.cfg[PCI_INTERRUPT_PIN] = 1;
	T_REQUIRE(add(&f));
	for (int i = 0; i < 2; i++) {
		int fd = i ? f.unmask : f.intx;

		T_EQ(fcntl(fd, F_SETFL, 0), 0);
		T_EQ(write(fd, &most, sizeof(most)), 8);
	}
	wr(1, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	wr(1, PCI_COMMAND, 2, 0);
	T_EQ(f.unmasks, 1);
	T_EQ(irqs.fd[17], f.intx);
	rmio_pci_free(pci);
}

static void messages(void)
{
	uint64_t one = 1;
	struct fake f;

	T_REQUIRE(bus_new());
	fake_init(&f);
	T_REQUIRE(add(&f));
	wr(1, 0x64, 4, 0xfee01003);
	wr(1, 0x68, 4, 0);
	wr(1, 0x6c, 2, 0x4043);
	T_EQ(f.msi_on, 0);
	T_EQ(irqs.routes, 0);
	wr(1, 0x62, 2, PCI_MSI_FLAGS_ENABLE | 2 << 4);
	T_EQ(f.msi_on, 4);
	T_EQ(f.intx, -1);
	T_EQ(irqs.fd[17], -1);
	for (unsigned int i = 0; i < 4; i++) {
		T_EQ(irqs.fd[24 + i], f.msi_fds[i]);
		T_EQ(irqs.addr[24 + i], 0xfee01000);
		T_EQ(irqs.data[24 + i], 0x4040 + i);
	}

	/* Another target while it is on. */
	wr(1, 0x64, 4, 0xfee02000);
	T_EQ(irqs.addr[25], 0xfee02000);
	wr(1, 0x6c, 2, 0x50);
	T_EQ(irqs.data[27], 0x53);

	/* Masked: pending until unmasked. */
	wr(1, 0x70, 4, 0xf2);
	T_EQ(rd(1, 0x70, 4), 0x2);
	T_EQ(irqs.fd[25], -1);
	T_EQ(rd(1, 0x74, 4), 0);
	T_EQ(write(f.msi_fds[1], &one, 8), 8);
	T_EQ(rd(1, 0x74, 4), 2);
	wr(1, 0x70, 4, 0);
	T_EQ(irqs.fd[25], f.msi_fds[1]);

	/* An address that KVM refuses: that vector goes nowhere, and comes back. */
	wr(1, 0x68, 4, 5);
	T_EQ(irqs.fd[24], -1);
	wr(1, 0x68, 4, 0);
	T_EQ(irqs.fd[24], f.msi_fds[0]);

	/* More than it has: as many as it has. */
	wr(1, 0x62, 2, PCI_MSI_FLAGS_ENABLE | 7 << 4);
	T_EQ(f.msi_on, 4);
	wr(1, 0x62, 2, PCI_MSI_FLAGS_ENABLE);
	T_EQ(f.msi_on, 1);
	T_EQ(irqs.routes, 1);
	wr(1, 0x62, 2, 0);
	T_EQ(f.msi_on, 0);
	T_EQ(irqs.routes, 0);
	T_GE(f.intx, 0);
	T_EQ(irqs.fd[17], f.intx);
	rmio_pci_free(pci);
}

/* Random writes to all of configuration space: no crash, nothing left over. */
static void scribble(void)
{
	uint32_t seed = 12345;
	struct fake f;

	T_REQUIRE(bus_new());
	fake_init(&f);
	T_REQUIRE(add(&f));
	for (int i = 0; i < 200000; i++) {
		static const unsigned int sizes[] = { 1, 2, 4, 4 };
		unsigned int size, reg;

		seed = seed * 1664525 + 1013904223;
		size = sizes[seed >> 30];
		reg = seed >> 16 & 0xff & ~(size - 1);
		wr(1, reg, size, seed * 2654435761u);
		T_REQUIRE(T_LE(irqs.routes, 4));
		T_REQUIRE(T_LE(f.msi_on, 4));
	}
	T_EQ(rd(1, PCI_HEADER_TYPE, 1), 0);
	rmio_pci_free(pci);
	T_EQ(irqs.routes, 0);
	for (int i = 0; i < 64; i++)
		T_EQ(irqs.fd[i], -1);
}

static const struct ktap_test tests[] = {
	{ "slots", slots },
	{ "options", options },
	{ "memory that is refused in part", some_memory },
	{ "mechanism #1", mechanism },
	{ "pass-through and what is kept", pass_through },
	{ "BAR sizes", bar_sizes },
	{ "BAR places", bar_places },
	{ "BAR overlaps", bar_overlaps },
	{ "capabilities", capabilities },
	{ "refused devices", refused },
	{ "pin", pin },
	{ "eventfds that a device has filled", full_eventfds, 20 },
	{ "messages", messages },
	{ "scribbling over configuration space", scribble },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
