// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The educational device as a guest would drive it, by rings and by the socket:
 * each register of QEMU's specification, interrupts of both kinds, DMA both ways.
 */
#include "client_rig.h"
#include "edu.h"

#include <fcntl.h>

#define ONES32	0xffffffffu

static bool edu(struct rig *r, const char *spec, bool rings)
{
	return rig_new(r, spec, EDU_BAR_SIZE, rings);
}

/* Wait until the bit of a register is clear, as a guest does. */
static void wait_clear(struct rig *r, uint64_t reg, uint32_t bit)
{
	long long end = ktap_now_ms() + 20000;

	while (rig_load(r, reg, 4) & bit)
		if (ktap_now_ms() > end) {
			T_FAIL("register 0x%llx: bit 0x%x stays set", (unsigned long long)reg, bit);
			return;
		}
}

/* -- registers ------------------------------------------------------------------------ */

static void identity(struct rig *r)
{
	T_EQ(rig_config(r, PCI_VENDOR_ID, 4), 0x11e81234);
	T_EQ(rig_load(r, EDU_ID, 4), 0x010000ed);
	rig_store(r, EDU_ID, 4, 1);
	T_EQ(rig_load(r, EDU_ID, 4), 0x010000ed);
}

static void liveness(struct rig *r)
{
	static const uint32_t v[] = { 0, 1, 0x12345678, 0xffffffff, 0x80000000 };
	size_t i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		rig_store(r, EDU_LIVE, 4, v[i]);
		T_EQ(rig_load(r, EDU_LIVE, 4), (uint32_t)~v[i]);
	}
}

static void sizes(struct rig *r)
{
	static const uint32_t wrong[] = { 1, 2, 8 };
	static const uint64_t write_only[] = { EDU_IRQ_RAISE, EDU_IRQ_ACK, 0x28, 0xa0, 0x40000 };
	size_t i;

	rig_store(r, EDU_LIVE, 4, 0x01020304);
	for (i = 0; i < 3; i++) {
		uint32_t len = wrong[i];
		uint64_t ones = len == 8 ? UINT64_MAX : (1ull << 8 * len) - 1;

		T_EQ(rig_load(r, EDU_ID, len), ones);
		rig_store(r, EDU_LIVE, len, 0);
		T_EQ(rig_load(r, EDU_LIVE, 4), (uint32_t)~0x01020304u);
		if (len < 4)
			T_EQ(rig_load(r, EDU_DMA_SRC, len), ones);
	}
	for (i = 0; i < sizeof(write_only) / sizeof(write_only[0]); i++)
		T_EQ(rig_load(r, write_only[i], 4), ONES32);
	T_EQ(rig_load(r, EDU_BAR_SIZE - 4, 4), ONES32);
	rig_store(r, EDU_BAR_SIZE - 4, 4, 1);
	T_EQ(rig_load(r, EDU_ID + 2, 4), ONES32);

	rig_store(r, EDU_DMA_SRC, 8, 0x1122334455667788);
	T_EQ(rig_load(r, EDU_DMA_SRC, 8), 0x1122334455667788);
	T_EQ(rig_load(r, EDU_DMA_SRC, 4), 0x55667788);
	T_EQ(rig_load(r, EDU_DMA_SRC + 4, 4), ONES32);
	rig_store(r, EDU_DMA_SRC, 4, 0x99);
	T_EQ(rig_load(r, EDU_DMA_SRC, 8), 0x99);
	rig_store(r, EDU_DMA_DST, 8, 5);
	rig_store(r, EDU_DMA_COUNT, 8, 6);
	T_EQ(rig_load(r, EDU_DMA_DST, 8), 5);
	T_EQ(rig_load(r, EDU_DMA_COUNT, 4), 6);
}

static uint32_t factorial_of(uint32_t n)
{
	uint32_t f = 1, i;

	for (i = 2; i <= n && i < 1000; i++)
		f *= i;
	return f;
}

static void factorial(struct rig *r)
{
	static const uint32_t n[] = { 0, 1, 2, 5, 12, 13, 20, 33, 34, 35, 1000000, 0xffffffff };
	size_t i;

	for (i = 0; i < sizeof(n) / sizeof(n[0]); i++) {
		rig_store(r, EDU_FACTORIAL, 4, n[i]);
		wait_clear(r, EDU_STATUS, EDU_STATUS_COMPUTING);
		T_EQ(rig_load(r, EDU_FACTORIAL, 4), factorial_of(n[i]));
	}
	T_EQ(rig_load(r, EDU_IRQ_STATUS, 4), 0);
	/* bit 0 cannot be written, bit 7 can */
	rig_store(r, EDU_STATUS, 4, 0xffffffff);
	T_EQ(rig_load(r, EDU_STATUS, 4), EDU_STATUS_IRQ);
	rig_store(r, EDU_FACTORIAL, 4, 5);
	wait_clear(r, EDU_STATUS, EDU_STATUS_COMPUTING);
	T_EQ(rig_load(r, EDU_FACTORIAL, 4), 120);
	T_EQ(rig_load(r, EDU_IRQ_STATUS, 4), EDU_IRQ_FACTORIAL);
	rig_store(r, EDU_STATUS, 4, 0);
	T_EQ(rig_load(r, EDU_STATUS, 4), 0);
}

static void all_registers(bool rings)
{
	struct rig r;

	T_REQUIRE(edu(&r, "edu", rings));
	identity(&r);
	liveness(&r);
	sizes(&r);
	factorial(&r);
	rig_free(&r);
}

static void registers_rings(void)
{
	all_registers(true);
}

static void registers_socket(void)
{
	all_registers(false);
}

/* While it computes it says so, and takes no other number. */
static void computing(void)
{
	struct rig r;

	T_REQUIRE(edu(&r, "edu,delay_us=100000", true));
	rig_store(&r, EDU_FACTORIAL, 4, 6);
	T_EQ(rig_load(&r, EDU_STATUS, 4), EDU_STATUS_COMPUTING);
	T_EQ(rig_load(&r, EDU_FACTORIAL, 4), 6);
	rig_store(&r, EDU_FACTORIAL, 4, 3);
	wait_clear(&r, EDU_STATUS, EDU_STATUS_COMPUTING);
	T_EQ(rig_load(&r, EDU_FACTORIAL, 4), 720);

	/* reset while it computes: nothing comes of it */
	rig_store(&r, EDU_STATUS, 4, EDU_STATUS_IRQ);
	rig_store(&r, EDU_FACTORIAL, 4, 7);
	T_EQ(rmio_client_reset(r.client), 0);
	T_EQ(rig_load(&r, EDU_FACTORIAL, 4), 0);
	T_EQ(rig_load(&r, EDU_STATUS, 4), 0);
	usleep(150000);
	T_EQ(rig_load(&r, EDU_FACTORIAL, 4), 0);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 0);
	rig_free(&r);
}

/* Loads of registers do not come to the device once the map is there. */
static void from_shadow(void)
{
	long long end = ktap_now_ms() + 20000;
	struct rmio_counters before, after;
	struct rmio_master *m;
	struct rig r;
	int i;

	T_REQUIRE(edu(&r, "edu", true));
	m = rmio_client_master(r.client);
	do {
		rig_load(&r, EDU_ID, 4);
		T_EQ(rmio_master_counters(m, -1, &before), 0);
	} while (!before.shadow && ktap_now_ms() < end);
	for (i = 0; i < 100; i++) {
		rig_store(&r, EDU_LIVE, 4, i);
		T_EQ(rig_load(&r, EDU_LIVE, 4), ~(uint32_t)i);
	}
	T_EQ(rmio_master_counters(m, -1, &after), 0);
	T_EQ(after.shadow - before.shadow, 100);
	T_EQ(after.loads - before.loads, 0);
	rig_free(&r);
}

/* -- interrupts -------------------------------------------------------------------------- */

static void msi(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct rig r;

	T_REQUIRE(edu(&r, "edu", true));
	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	T_EQ(rmio_client_set_irqs(r.client, VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
				  0, 1, &fd), 0);
	rig_store(&r, EDU_IRQ_RAISE, 4, 0x10);
	T_EQ(rig_signals(fd, 5000), 1);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 0x10);
	rig_store(&r, EDU_IRQ_RAISE, 4, 0x02);
	T_EQ(rig_signals(fd, 5000), 1);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 0x12);
	rig_store(&r, EDU_IRQ_ACK, 4, 0x10);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 0x02);
	rig_store(&r, EDU_IRQ_ACK, 4, 0xff);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 0);
	T_EQ(rig_signals(fd, 0), 0);

	rig_store(&r, EDU_STATUS, 4, EDU_STATUS_IRQ);
	rig_store(&r, EDU_FACTORIAL, 4, 4);
	T_EQ(rig_signals(fd, 5000), 1);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), EDU_IRQ_FACTORIAL);
	T_EQ(rig_load(&r, EDU_FACTORIAL, 4), 24);

	/* an interrupt is there before the answer to a later load */
	rig_store(&r, EDU_IRQ_RAISE, 4, 1);
	rig_load(&r, EDU_IRQ_RAISE, 4);
	T_EQ(rig_signals(fd, 0), 1);
	rig_free(&r);
	close(fd);
}

static int set_pin(struct rig *r, uint32_t action, const int *fd)
{
	return rmio_client_set_irqs(r->client, VFIO_PCI_INTX_IRQ_INDEX, action, 0, 1, fd);
}

/* Signalled once, again after each unmask while raised, not after the acknowledgement. */
static void pin(void)
{
	int fd = eventfd(0, EFD_CLOEXEC), resample = eventfd(0, EFD_CLOEXEC);
	uint64_t one = 1;
	struct rig r;

	T_REQUIRE(edu(&r, "edu", true));
	T_EQ(set_pin(&r, VFIO_IRQ_SET_ACTION_TRIGGER, &fd), 0);
	T_EQ(set_pin(&r, VFIO_IRQ_SET_ACTION_UNMASK, &resample), 0);
	rig_store(&r, EDU_IRQ_RAISE, 4, 1);
	T_EQ(rig_signals(fd, 5000), 1);
	rig_store(&r, EDU_IRQ_RAISE, 4, 2);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 3);
	T_EQ(rig_signals(fd, 50), 0);
	T_EQ(rig_config(&r, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);

	/* end of interrupt with the level still raised */
	T_EQ(write(resample, &one, sizeof(one)), sizeof(one));
	T_EQ(rig_signals(fd, 5000), 1);
	rig_store(&r, EDU_IRQ_ACK, 4, 3);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 0);
	T_EQ(write(resample, &one, sizeof(one)), sizeof(one));
	T_EQ(rig_signals(fd, 50), 0);
	T_EQ(rig_config(&r, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);

	/* INTx disabled by the command register: held back, not lost */
	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	rig_store(&r, EDU_IRQ_RAISE, 4, 1);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 1);
	T_EQ(rig_signals(fd, 50), 0);
	rig_config_set(&r, PCI_COMMAND, 2, 0);
	T_EQ(rig_signals(fd, 5000), 1);
	rig_free(&r);
	close(fd);
	close(resample);
}

/* -- DMA ------------------------------------------------------------------------------------- */

static int memory(size_t size, bool sealed)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	T_EQ(ftruncate(fd, (off_t)size), 0);
	if (sealed)
		T_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	return fd;
}

static void transfer(struct rig *r, uint64_t src, uint64_t dst, uint64_t count, uint32_t cmd)
{
	rig_store(r, EDU_DMA_SRC, 8, src);
	rig_store(r, EDU_DMA_DST, 8, dst);
	rig_store(r, EDU_DMA_COUNT, 8, count);
	rig_store(r, EDU_DMA_CMD, 4, cmd | EDU_DMA_RUN);
	wait_clear(r, EDU_DMA_CMD, EDU_DMA_RUN);
}

static void dma(bool sealed, bool rings)
{
	int fd = memory(0x4000, sealed);
	char *mem = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	static char zero[EDU_BUF_SIZE];
	struct rig r;
	int i;

	T_REQUIRE(T_OK(mem != MAP_FAILED));
	T_REQUIRE(edu(&r, "edu", rings));
	T_EQ(rmio_client_dma_map(r.client, 0x100000, 0x4000, fd, 0, PROT_READ | PROT_WRITE), 0);
	for (i = 0; i < 0x4000; i++)
		mem[i] = (char)(i * 7 + i / 256);

	/* bus mastering is off: nothing moves, but it ends */
	transfer(&r, EDU_BUF, 0x103000, EDU_BUF_SIZE, EDU_DMA_TO_RAM);
	T_OK(mem[0x3001] == (char)(0x3001 * 7 + 0x30));

	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	transfer(&r, 0x100000, EDU_BUF, EDU_BUF_SIZE, 0);
	transfer(&r, EDU_BUF, 0x102000, EDU_BUF_SIZE, EDU_DMA_TO_RAM);
	T_MEMEQ(mem + 0x2000, mem, EDU_BUF_SIZE);
	/* a part of the buffer, addresses above the mask cut */
	transfer(&r, EDU_BUF + 100, 0x1230103005ull, 10, EDU_DMA_TO_RAM);
	T_MEMEQ(mem + 0x3005, mem + 100, 10);
	T_OK(mem[0x3005 + 10] == (char)((0x3005 + 10) * 7 + 0x30));

	/* beyond the buffer, beyond the memory, wrapping: nothing moves, all end */
	memset(mem, 0, 0x4000);
	transfer(&r, EDU_BUF + 1, 0x100000, EDU_BUF_SIZE, EDU_DMA_TO_RAM);
	transfer(&r, EDU_BUF - 1, 0x100000, 16, EDU_DMA_TO_RAM);
	transfer(&r, UINT64_MAX - 3, 0x100000, 16, EDU_DMA_TO_RAM);
	transfer(&r, EDU_BUF, 0x103ff8, 16, EDU_DMA_TO_RAM);
	transfer(&r, EDU_BUF, 0x0, 16, EDU_DMA_TO_RAM);
	T_MEMEQ(mem, zero, EDU_BUF_SIZE);
	T_MEMEQ(mem + 0x3000, zero, EDU_BUF_SIZE);
	transfer(&r, EDU_BUF, 0x100000, UINT64_MAX, EDU_DMA_TO_RAM);
	transfer(&r, EDU_BUF, 0x100000, 0, EDU_DMA_TO_RAM);

	/* with the interrupt bit */
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 0);
	transfer(&r, EDU_BUF, 0x100000, 4, EDU_DMA_TO_RAM | EDU_DMA_IRQ);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), EDU_IRQ_DMA);

	/* memory that is gone */
	T_EQ(rmio_client_dma_unmap(r.client, 0x100000, 0x4000), 0);
	memset(mem, 0x55, 0x4000);
	transfer(&r, EDU_BUF, 0x100000, 16, EDU_DMA_TO_RAM);
	T_OK(mem[0] == 0x55);
	rig_free(&r);
	munmap(mem, 0x4000);
	close(fd);
}

static void dma_sealed(void)
{
	dma(true, true);
}

static void dma_unsealed(void)
{
	dma(false, true);
}

static void dma_socket(void)
{
	dma(true, false);
}

/* The VMM truncates its memory under the device. */
static void dma_truncated(void)
{
	int fd = memory(0x4000, false), bad;
	struct rig r;

	T_REQUIRE(edu(&r, "edu", true));
	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	T_EQ(rmio_client_dma_map(r.client, 0, 0x4000, fd, 0, PROT_READ | PROT_WRITE), 0);
	T_EQ(ftruncate(fd, 0x1000), 0);
	transfer(&r, 0x2000, EDU_BUF, 64, 0);
	T_EQ(ftruncate(fd, 0), 0);
	transfer(&r, 0, EDU_BUF, 64, 0);
	T_EQ(rig_load(&r, EDU_ID, 4), 0x010000ed);
	/* too short from the beginning */
	T_EQ(rmio_client_dma_map(r.client, 0x10000, 0x4000, fd, 0, PROT_READ), -EINVAL);
	bad = eventfd(0, 0);
	T_EQ(rmio_client_dma_map(r.client, 0x10000, 0x1000, bad, 0, PROT_READ), -EINVAL);
	close(bad);
	rig_free(&r);
	close(fd);
}

static const struct ktap_test tests[] = {
	{ "registers by rings", registers_rings },
	{ "registers by the socket", registers_socket },
	{ "computing", computing },
	{ "loads from the shadow", from_shadow },
	{ "MSI", msi },
	{ "pin", pin },
	{ "DMA, sealed memory", dma_sealed },
	{ "DMA, unsealed memory", dma_unsealed },
	{ "DMA, device driven by the socket", dma_socket },
	{ "DMA, memory truncated", dma_truncated },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
