// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Drives devices of QEMU's: pci-testdev, which counts stores, in memory and in I/O
 * space; lsi53c895a, a SCSI controller that runs programs of its own from guest
 * memory, which copies memory by DMA and raises its pin; nvme.  BARs are moved and
 * turned off while the device is used.
 *
 * --guest-arg, bits:
 *   1  there is a pci-testdev
 *   2  there is an lsi53c895a
 *   4  in the end ask the VMM to kill each device (port 0xf5): its registers read
 *      all ones then
 *   8  there is an nvme, whose BAR has 64 bits
 */
#include "guest.h"

#define ARG_TESTDEV	1
#define ARG_LSI		2
#define ARG_KILL	4
#define ARG_NVME	8
#define PORT_KILL	0xf5

#define MEM_PLACE	0xe0000000ull
#define MEM_PLACE_2	0xe8000000ull
#define HIGH_PLACE	0x2000000000ull
#define IO_PLACE	0xc000u
#define IO_PLACE_2	0xd000u
#define VECTOR_PIN	1

/* -- pci-testdev: a header per test, whose store at its offset is counted ---------- */

#define TESTDEV_TEST	0
#define TESTDEV_OFFSET	4
#define TESTDEV_DATA	8
#define TESTDEV_COUNT	12
#define TESTDEV_NAME	16
#define TESTDEV_PLAIN	0	/* the first test, of the kind of BAR that it is chosen by */

/* An access by either kind of BAR. */
struct window {
	bool io;
	uint64_t base;
};

static uint8_t rd8(const struct window *w, unsigned int reg)
{
	return w->io ? inb((uint16_t)(w->base + reg)) : load8(w->base + reg);
}

static void wr8(const struct window *w, unsigned int reg, uint8_t v)
{
	if (w->io)
		outb((uint16_t)(w->base + reg), v);
	else
		store8(w->base + reg, v);
}

static uint32_t rd32(const struct window *w, unsigned int reg)
{
	return w->io ? inl((uint16_t)(w->base + reg)) : load32(w->base + reg);
}

static void check_name(const struct window *w, const char *name)
{
	for (unsigned int i = 0; name[i]; i++)
		expect("character of the test's name", rd8(w, TESTDEV_NAME + i), name[i]);
}

static void count_stores(const struct window *w, const char *name)
{
	uint32_t offset;
	uint8_t data;

	wr8(w, TESTDEV_TEST, TESTDEV_PLAIN);
	check_name(w, name);
	offset = rd8(w, TESTDEV_OFFSET) | (uint32_t)rd8(w, TESTDEV_OFFSET + 1) << 8;
	data = rd8(w, TESTDEV_DATA);
	expect("stores counted before", rd8(w, TESTDEV_COUNT), 0);
	for (unsigned int i = 1; i <= 10; i++) {
		wr8(w, offset, data);
		expect("stores counted", rd8(w, TESTDEV_COUNT), i);
	}
	print("pci-testdev: %s: 10 stores counted, one by one\n", name);
}

static void testdev(unsigned int slot)
{
	struct window mem = { false, MEM_PLACE }, io = { true, IO_PLACE };
	struct bar b;

	pci_bar_size(slot, 0, &b);
	expect("BAR 0 is memory", b.io, 0);
	expect("BAR 0 size", b.size, 4096);
	pci_bar_size(slot, 1, &b);
	expect("BAR 1 is I/O", b.io, 1);
	expect("BAR 1 size", b.size, 256);
	pci_bar_place(slot, 0, MEM_PLACE);
	pci_bar_place(slot, 1, IO_PLACE);
	expect("memory not decoded yet", load32(MEM_PLACE), 0xffffffff);
	expect("I/O not decoded yet", inl(IO_PLACE), 0xffffffff);
	pci_write16(slot, PCI_COMMAND, PCI_COMMAND_MEMORY);
	expect("I/O not decoded with memory", inl(IO_PLACE), 0xffffffff);
	count_stores(&mem, "mmio-no-eventfd");
	pci_write16(slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	count_stores(&io, "portio-no-eventfd");

	/* Both move while they are decoded, and what was chosen goes on. */
	pci_bar_place(slot, 0, MEM_PLACE_2);
	pci_bar_place(slot, 1, IO_PLACE_2);
	expect("memory left its place", load32(MEM_PLACE), 0xffffffff);
	expect("I/O left its place", inl(IO_PLACE), 0xffffffff);
	mem.base = MEM_PLACE_2;
	io.base = IO_PLACE_2;
	check_name(&io, "portio-no-eventfd");
	expect("stores counted so far", rd8(&io, TESTDEV_COUNT), 10);
	count_stores(&mem, "mmio-no-eventfd");
	print("pci-testdev: BARs moved\n");

	pci_write16(slot, PCI_COMMAND, 0);
	expect("memory turned off", load32(MEM_PLACE_2), 0xffffffff);
	expect("I/O turned off", inl(IO_PLACE_2), 0xffffffff);
	pci_write16(slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	expect("stores counted before it was off", rd8(&mem, TESTDEV_COUNT), 10);
	print("pci-testdev: turned off and on\n");
}

/* -- nvme ------------------------------------------------------------------------------ */

#define NVME_VS		0x08
#define NVME_AQA	0x24
#define NVME_ASQ	0x28

/* Two MiB above what the VMM has mapped, at their own address. */
static void map_high(void)
{
	static uint64_t pd[512] __attribute__((aligned(4096)));
	uint64_t cr3, *pdpt;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	pdpt = (uint64_t *)(*(uint64_t *)(cr3 & ~0xfffull) & ~0xfffull);
	pd[HIGH_PLACE >> 21 & 511] = HIGH_PLACE | 0x83;
	pdpt[HIGH_PLACE >> 30 & 511] = (uintptr_t)pd | 3;
	__asm__ volatile("mov %0, %%cr3" :: "r"(cr3) : "memory");
}

static void nvme(unsigned int slot)
{
	uint64_t cap;
	struct bar b;

	pci_bar_size(slot, 0, &b);
	expect("BAR 0 has 64 bits", b.wide, 1);
	expect("BAR 0 size", b.size, 16384);
	pci_bar_place(slot, 0, MEM_PLACE);
	pci_write16(slot, PCI_COMMAND, PCI_COMMAND_MEMORY);
	cap = load64(MEM_PLACE);
	expect("lower half of the capabilities", load32(MEM_PLACE), cap & 0xffffffff);
	expect("upper half of the capabilities", load32(MEM_PLACE + 4), cap >> 32);
	expect("major version", load32(MEM_PLACE + NVME_VS) >> 16, 1);
	store32(MEM_PLACE + NVME_AQA, 0x001f001f);
	store64(MEM_PLACE + NVME_ASQ, 0x12345678000);
	/* Both halves of the register change. */
	pci_bar_place(slot, 0, HIGH_PLACE);
	expect("BAR left its place", load64(MEM_PLACE), UINT64_MAX);
	map_high();
	expect("capabilities, above 4 GiB", load64(HIGH_PLACE), cap);
	expect("AQA, above 4 GiB", load32(HIGH_PLACE + NVME_AQA), 0x001f001f);
	pci_bar_place(slot, 0, MEM_PLACE_2);
	expect("AQA", load32(MEM_PLACE_2 + NVME_AQA), 0x001f001f);
	expect("ASQ", load64(MEM_PLACE_2 + NVME_ASQ), 0x12345678000);
	expect("upper half of ASQ", load32(MEM_PLACE_2 + NVME_ASQ + 4), 0x123);
	pci_write16(slot, PCI_COMMAND, 0);
	print("nvme: BAR of 64 bits, registers of 32 and 64\n");
}

/* -- lsi53c895a --------------------------------------------------------------------- */

#define LSI_DSTAT	0x0c	/* reading clears it, and with it the pin */
#define LSI_DSTAT_SIR	0x04	/* its program asked for an interrupt */
#define LSI_DSA		0x10
#define LSI_ISTAT0	0x14
#define LSI_ISTAT0_DIP	0x01
#define LSI_DSP		0x2c	/* the program; the store of its last byte runs it */
#define LSI_DSPS	0x30
#define LSI_SCRATCHA	0x34
#define LSI_DIEN	0x39

#define OP_MOVE		0xc0000000u	/* | bytes; from; to */
#define OP_INT		0x98080000u	/* its operand goes to DSPS */

static struct window lsi;
static uint32_t program[8] __attribute__((aligned(64)));
static uint8_t from[8192] __attribute__((aligned(4096)));
static uint8_t to[8192] __attribute__((aligned(4096)));
static volatile unsigned int ignore;
static volatile uint32_t served;

/* Ignored, the pin stays up, and interrupts again. */
static void on_pin(void)
{
	uint8_t dstat;

	if (ignore) {
		ignore--;
		return;
	}
	dstat = rd8(&lsi, LSI_DSTAT);
	if (dstat & LSI_DSTAT_SIR)
		__atomic_add_fetch(&served, 1, __ATOMIC_RELEASE);
}

static void run_program(void)
{
	uint32_t at = (uint32_t)(uintptr_t)program;

	if (lsi.io)
		outl((uint16_t)(lsi.base + LSI_DSP), at);
	else
		store32(lsi.base + LSI_DSP, at);
}

/* Copy by the device's DMA, and have it tell us by its pin. */
static void move(uint32_t len, uint32_t ticket)
{
	uint32_t before = served;

	for (unsigned int i = 0; i < sizeof(from); i++) {
		from[i] = (uint8_t)(i * 13 + ticket);
		to[i] = 0;
	}
	program[0] = OP_MOVE | len;
	program[1] = (uint32_t)(uintptr_t)from + 1;
	program[2] = (uint32_t)(uintptr_t)to + 2;
	program[3] = OP_INT;
	program[4] = ticket;
	run_program();
	while (__atomic_load_n(&served, __ATOMIC_ACQUIRE) == before) {
		irq_enable();
		cpu_relax();
		irq_disable();
	}
	expect("interrupts", served, before + 1);
	expect("what the program said", rd32(&lsi, LSI_DSPS), ticket);
	expect("pin's reason, once read", rd8(&lsi, LSI_ISTAT0) & LSI_ISTAT0_DIP, 0);
	for (unsigned int i = 0; i < len; i++)
		expect("byte copied by DMA", to[2 + i], from[1 + i]);
	expect("byte before the copy", to[1], 0);
	expect("byte after the copy", to[2 + len], 0);
}

static void registers(void)
{
	static const uint32_t values[] = { 0, 0xffffffff, 0x12345678, 0x80000001 };

	for (unsigned int i = 0; i < 4; i++) {
		store32(lsi.base + LSI_DSA, values[i]);
		store32(lsi.base + LSI_SCRATCHA, ~values[i]);
		expect("DSA", load32(lsi.base + LSI_DSA), values[i]);
		expect("SCRATCHA", load32(lsi.base + LSI_SCRATCHA), (uint32_t)~values[i]);
		for (unsigned int k = 0; k < 4; k++)
			expect("byte of DSA", load8(lsi.base + LSI_DSA + k),
			       values[i] >> 8 * k & 0xff);
		expect("word of DSA", load16(lsi.base + LSI_DSA + 2), values[i] >> 16);
		expect("DSA by I/O", inl(IO_PLACE + LSI_DSA), values[i]);
	}
	outl(IO_PLACE + LSI_DSA, 0xcafe1234);
	expect("DSA written by I/O", load32(lsi.base + LSI_DSA), 0xcafe1234);
	print("lsi53c895a: registers by memory and I/O, 8, 16 and 32 bits\n");
}

static void ram(uint64_t at)
{
	for (unsigned int i = 0; i < 8192; i += 1020)
		store32(at + i, i * 0x01000193u);
	for (unsigned int i = 0; i < 8192; i += 1020)
		expect("RAM of the device", load32(at + i), i * 0x01000193u);
	print("lsi53c895a: 8 KiB of RAM in BAR 2\n");
}

static void scsi(unsigned int slot)
{
	unsigned int gsi = pci_read8(slot, PCI_INTR_LINE);
	struct bar b;

	for (unsigned int i = 0; i < 3; i++) {
		static const uint64_t sizes[] = { 256, 1024, 8192 };

		pci_bar_size(slot, i, &b);
		expect("BAR size", b.size, sizes[i]);
		expect("kind of BAR", b.io, i == 0);
	}
	pci_bar_place(slot, 0, IO_PLACE);
	pci_bar_place(slot, 1, MEM_PLACE);
	pci_bar_place(slot, 2, MEM_PLACE + 0x100000);
	pci_write16(slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	lsi = (struct window){ false, MEM_PLACE };
	expect("capabilities", pci_cap(slot, PCI_CAP_MSI), 0);
	registers();
	ram(MEM_PLACE + 0x100000);

	irq_init();
	irq_handler[VECTOR_PIN] = on_pin;
	expect("interrupt pin", pci_read8(slot, PCI_INTR_PIN), 1);
	irq_pin_enable(gsi, irq_apic_id(), IRQ_VECTOR + VECTOR_PIN);
	store8(lsi.base + LSI_DIEN, LSI_DSTAT_SIR);
	for (uint32_t i = 1; i <= 8; i++)
		move(1u << i | 1, i * 0x1001);
	print("lsi53c895a: memory copied by DMA, 8 times; the pin said when\n");

	/* The end of the interrupt reaches the device, which says again that the pin is up. */
	for (unsigned int i = 1; i <= 3; i++) {
		uint64_t seen = irq_seen[VECTOR_PIN];

		ignore = i;
		move(100, 0xabc0 + i);
		expect("interrupts of a pin held up", irq_seen[VECTOR_PIN] - seen >= i + 1, 1);
	}
	print("lsi53c895a: pin held up: interrupted again\n");

	pci_bar_place(slot, 1, MEM_PLACE_2);
	expect("memory left its place", load32(MEM_PLACE), 0xffffffff);
	lsi.base = MEM_PLACE_2;
	move(5000, 0x5000);
	pci_write16(slot, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	expect("memory turned off", load32(MEM_PLACE_2), 0xffffffff);
	lsi = (struct window){ true, IO_PLACE };
	move(6000, 0x6000);
	pci_write16(slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	lsi = (struct window){ false, MEM_PLACE_2 };
	move(7000, 0x7000);
	print("lsi53c895a: moved, turned off, by I/O alone, and on again\n");
	irq_pin_disable(gsi);
}

static void killed(unsigned int slot, uint64_t at)
{
	uint32_t v = pci_read32(slot, PCI_VENDOR);

	outb(PORT_KILL, (uint8_t)slot);
	while (load32(at) != 0xffffffff)
		cpu_relax();
	store32(at, 0);
	expect("identity, which the VMM keeps or not", v == 0xffffffff, 0);
	expect("a dead device", load32(at), 0xffffffff);
	print("slot %u: killed; reads all ones\n", slot);
}

int guest_main(const struct guest *g)
{
	unsigned int test_slot = 0, lsi_slot = 0;

	if (g->vcpu)
		guest_halt();
	if (g->arg & ARG_TESTDEV) {
		test_slot = pci_find(0x1b36, 0x0005, 1);
		if (!test_slot)
			fail("no pci-testdev on bus 0");
		testdev(test_slot);
	}
	if (g->arg & ARG_NVME) {
		if (test_slot)
			pci_write16(test_slot, PCI_COMMAND, 0);
		if (!pci_find(0x1b36, 0x0010, 1))
			fail("no nvme on bus 0");
		nvme(pci_find(0x1b36, 0x0010, 1));
	}
	if (g->arg & ARG_LSI) {
		lsi_slot = pci_find(0x1000, 0x0012, 1);
		if (!lsi_slot)
			fail("no lsi53c895a on bus 0");
		if (test_slot)
			pci_write16(test_slot, PCI_COMMAND, 0);
		scsi(lsi_slot);
	}
	if (g->arg & ARG_KILL) {
		if (lsi_slot)
			killed(lsi_slot, MEM_PLACE_2);
		if (test_slot) {
			pci_bar_place(test_slot, 0, MEM_PLACE);
			pci_write16(test_slot, PCI_COMMAND, PCI_COMMAND_MEMORY);
			killed(test_slot, MEM_PLACE);
		}
	}
	print("qemu: passed\n");
	return 0;
}
