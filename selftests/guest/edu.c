// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Drives the edu device as a driver would: finds it on the bus, sizes and
 * places its BAR, computes factorials, takes MSI and pin interrupts, copies
 * memory by DMA both ways, moves the BAR while other vCPUs use it.
 *
 * --guest-arg, bits:
 *   1  afterwards ask the VMM to kill the device (port 0xf5) and read the
 *      identification register until it reads all ones
 *   2  the same, but the device is killed from outside
 *   4  without interrupts (for a device that has none connected)
 */
#include "guest.h"

#define ARG_KILL	1
#define ARG_WAIT	2
#define ARG_NO_IRQ	4
#define PORT_KILL	0xf5

#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8
#define EDU_ID		0x00
#define EDU_LIVE	0x04
#define EDU_FACT	0x08
#define EDU_STATUS	0x20
#define EDU_COMPUTING		0x01
#define EDU_IRQ_WHEN_DONE	0x80
#define EDU_IRQ_STATUS	0x24
#define EDU_IRQ_RAISE	0x60
#define EDU_IRQ_ACK	0x64
#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98
#define EDU_DMA_START		0x01
#define EDU_DMA_FROM_DEVICE	0x02
#define EDU_DMA_IRQ		0x04
#define EDU_BUF		0x40000
#define EDU_BUF_SIZE	4096
#define EDU_IRQ_FACT	0x001
#define EDU_IRQ_DMA	0x100

#define VECTOR_MSI	0
#define VECTOR_PIN	1
#define FIRST_PLACE	0xe0000000ull
#define LAST_PLACE	0xfeb00000ull

static unsigned int slot;
static uint64_t bar_len;
static uint32_t identity;

/* Written by vCPU 0 alone: odd while the BAR is on its way. */
static volatile uint32_t place_turn;
static volatile uint64_t base;
static volatile int moving_done;
static volatile uint64_t checked_while_moving, outlived;
/* The APIC and vCPU that interrupts go to. */
static volatile uint8_t irq_apic;
static volatile uint64_t irq_status, irq_acked_one_by_one;
/* Interrupts that found something to do, and those that did not. */
static volatile uint64_t irq_served, irq_idle;
static volatile int irq_deaf;
static struct spinlock device_lock;

static uint8_t out_buf[EDU_BUF_SIZE] __attribute__((aligned(4096)));
static uint8_t in_buf[EDU_BUF_SIZE] __attribute__((aligned(4096)));

static uint32_t rd(unsigned int reg)
{
	return load32(base + reg);
}

static void wr(unsigned int reg, uint32_t v)
{
	store32(base + reg, v);
}

/* -- discovery ------------------------------------------------------------ */

static void discover(void)
{
	struct bar b;

	expect("host bridge in slot 0", pci_read16(0, PCI_VENDOR) != 0xffff, 1);
	slot = pci_find(EDU_VENDOR, EDU_DEVICE, 1);
	if (!slot)
		fail("no edu device on bus 0");
	pci_bar_size(slot, 0, &b);
	expect("BAR 0 is memory", b.io, 0);
	expect("BAR 0 size", b.size, 1 << 20);
	bar_len = b.size;
	expect("unassigned BAR", pci_read32(slot, PCI_BAR0) & ~15u, 0);
	pci_bar_place(slot, 0, FIRST_PLACE);
	expect("not decoded yet", load32(FIRST_PLACE), 0xffffffff);
	pci_write16(slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	base = FIRST_PLACE;
	identity = rd(EDU_ID);
	expect("identification", identity & 0xffff, 0x00ed);
	print("edu: slot %u, BAR 0 of %lu KiB at 0x%lx, identification 0x%08x\n", slot,
	      bar_len >> 10, base, identity);
}

static void liveness(const struct guest *g)
{
	for (uint32_t i = 0; i < 16; i++) {
		uint32_t v = i * 0x01010101u ^ (uint32_t)g->vcpu << 28;

		spin_lock(&device_lock);
		wr(EDU_LIVE, v);
		expect("liveness", rd(EDU_LIVE), (uint32_t)~v);
		spin_unlock(&device_lock);
	}
}

/* -- factorials ----------------------------------------------------------- */

static uint32_t factorial(uint32_t n)
{
	uint32_t v = 1;

	while (n > 1)
		v *= n--;
	return v;
}

static void factorial_polled(const struct guest *g)
{
	for (uint32_t n = (uint32_t)g->vcpu; n <= 12; n += (uint32_t)g->count) {
		uint32_t v;

		spin_lock(&device_lock);
		wr(EDU_FACT, n);
		while (rd(EDU_STATUS) & EDU_COMPUTING)
			cpu_relax();
		v = rd(EDU_FACT);
		spin_unlock(&device_lock);
		expect("factorial", v, factorial(n));
		print("edu: vCPU %lu: %u! = %u\n", g->vcpu, n, v);
	}
}

/* -- interrupts ----------------------------------------------------------- */

/*
 * The read after the acknowledgement comes back only when the store has been
 * done: without it the pin could still be up when the APIC is told.  A pin
 * may interrupt once more all the same and find nothing: there are hypervisors
 * that take delivery for the end of the interrupt.  A message may not.
 */
static void on_irq(void)
{
	uint32_t s = irq_deaf ? 0 : rd(EDU_IRQ_STATUS);

	if (!s) {
		irq_idle++;
		return;
	}
	irq_served++;
	if (irq_acked_one_by_one)
		s &= -s;
	wr(EDU_IRQ_ACK, s);
	rd(EDU_IRQ_STATUS);
	__atomic_or_fetch(&irq_status, s, __ATOMIC_RELEASE);
}

/* The vCPU that takes interrupts sleeps until vCPU 0 says stop. */
static volatile int irq_stop;

static void irq_server(const struct guest *g)
{
	(void)g;
	irq_init();
	irq_apic = irq_apic_id();
}

static void irq_loop(void)
{
	while (!__atomic_load_n(&irq_stop, __ATOMIC_ACQUIRE)) {
		irq_enable();
		cpu_relax();
		irq_disable();
	}
}

/* sti; hlt is one step for interrupts: none can come between and be slept over. */
static void wait_status(uint64_t want, bool asleep)
{
	while (__atomic_load_n(&irq_status, __ATOMIC_ACQUIRE) != want) {
		if (asleep)
			__asm__ volatile("sti; hlt; cli" ::: "memory");
		else
			cpu_relax();
	}
	irq_status = 0;
}

static void check_interrupts(unsigned int vector, bool asleep, const char *how)
{
	uint64_t before = irq_served, idle = irq_idle, seen = irq_seen[vector];

	wr(EDU_IRQ_RAISE, 0x2);
	wait_status(0x2, asleep);
	expect("interrupts", irq_served, before + 1);
	expect("interrupt status after the acknowledgement", rd(EDU_IRQ_STATUS), 0);

	wr(EDU_STATUS, EDU_IRQ_WHEN_DONE);
	wr(EDU_FACT, 10);
	wait_status(EDU_IRQ_FACT, asleep);
	expect("factorial by interrupt", rd(EDU_FACT), factorial(10));
	wr(EDU_STATUS, 0);
	expect("interrupts", irq_served, before + 2);
	expect("came by that vector", irq_seen[vector] - seen >= 2, 1);
	if (vector == VECTOR_MSI)
		expect("messages without reason", irq_idle, idle);
	print("edu: %s: raised, acknowledged, factorial done (2 interrupts)\n", how);
}

/* A pin that stays up after the end of the interrupt interrupts again. */
static void check_reassertion(void)
{
	uint64_t before = irq_served;

	irq_acked_one_by_one = 1;
	wr(EDU_IRQ_RAISE, 0x70);
	wait_status(0x70, false);
	irq_acked_one_by_one = 0;
	expect("interrupts of a pin held up", irq_served, before + 3);
	print("edu: pin held up: interrupted again after each acknowledgement (3 interrupts)\n");
}

/* A pin that is turned off while it is up, before anybody has taken it, comes up again after. */
static void check_turned_off(unsigned int gsi)
{
	uint16_t command = pci_read16(slot, PCI_COMMAND);
	uint64_t before = irq_served;

	/* One that was on its way may still come; it hardly ever takes this one. */
	irq_deaf = 1;
	irq_pin_disable(gsi);
	wr(EDU_IRQ_RAISE, 0x8);
	rd(EDU_IRQ_STATUS);
	pci_write16(slot, PCI_COMMAND, command | PCI_COMMAND_NO_INTX);
	irq_deaf = 0;
	irq_pin_enable(gsi, irq_apic, IRQ_VECTOR + VECTOR_PIN);
	pci_write16(slot, PCI_COMMAND, command);
	wait_status(0x8, false);
	expect("interrupts of a pin turned on again", irq_served, before + 1);
	print("edu: pin turned off while up: interrupted when it was on again\n");
}

static void interrupts(const struct guest *g, bool asleep)
{
	unsigned int gsi = pci_read8(slot, PCI_INTR_LINE);

	(void)g;
	irq_handler[VECTOR_MSI] = on_irq;
	irq_handler[VECTOR_PIN] = on_irq;
	if (!pci_msi_enable(slot, irq_apic, IRQ_VECTOR + VECTOR_MSI))
		fail("no MSI capability");
	check_interrupts(VECTOR_MSI, asleep, "MSI");
	pci_msi_disable(slot);

	expect("interrupt pin", pci_read8(slot, PCI_INTR_PIN), 1);
	irq_pin_enable(gsi, irq_apic, IRQ_VECTOR + VECTOR_PIN);
	check_interrupts(VECTOR_PIN, asleep, "pin");
	if (!asleep) {
		check_reassertion();
		check_turned_off(gsi);
	}
	irq_pin_disable(gsi);
}

/* -- DMA ------------------------------------------------------------------ */

static void dma(uint64_t src, uint64_t dst, uint64_t count, uint32_t cmd)
{
	store64(base + EDU_DMA_SRC, src);
	store64(base + EDU_DMA_DST, dst);
	store64(base + EDU_DMA_COUNT, count);
	store32(base + EDU_DMA_CMD, cmd | EDU_DMA_START);
	while (rd(EDU_DMA_CMD) & EDU_DMA_START)
		cpu_relax();
}

static void dma_both_ways(void)
{
	static const struct {
		unsigned int from, to, len;
	} cases[] = { { 0, 0, EDU_BUF_SIZE }, { 1, 3, 100 }, { 4095, 0, 1 }, { 8, 2048, 2048 } };

	for (unsigned int c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		unsigned int from = cases[c].from, to = cases[c].to, len = cases[c].len;
		uint64_t sum_out = 0, sum_in = 0;

		for (unsigned int i = 0; i < EDU_BUF_SIZE; i++) {
			out_buf[i] = (uint8_t)(i * 7 + c);
			in_buf[i] = 0;
		}
		dma((uintptr_t)out_buf + from, EDU_BUF, len, 0);
		dma(EDU_BUF, (uintptr_t)in_buf + to, len, EDU_DMA_FROM_DEVICE);
		for (unsigned int i = 0; i < len; i++) {
			sum_out += out_buf[from + i];
			sum_in += in_buf[to + i];
			expect("byte copied by DMA", in_buf[to + i], out_buf[from + i]);
		}
		if (to)
			expect("byte before the copy", in_buf[to - 1], 0);
		if (to + len < EDU_BUF_SIZE)
			expect("byte after the copy", in_buf[to + len], 0);
		expect("sum", sum_in, sum_out);
	}
	print("edu: DMA: 4096 bytes and odd pieces of them, to the device and back\n");
}

static void dma_interrupt(void)
{
	uint64_t before = irq_served;

	if (!pci_msi_enable(slot, irq_apic, IRQ_VECTOR + VECTOR_MSI))
		fail("no MSI capability");
	dma((uintptr_t)out_buf, EDU_BUF, 64, EDU_DMA_IRQ);
	wait_status(EDU_IRQ_DMA, false);
	expect("interrupts", irq_served, before + 1);
	pci_msi_disable(slot);
	print("edu: DMA: interrupt when done\n");
}

/* -- moving the BAR ------------------------------------------------------- */

static void move_to(uint64_t addr)
{
	uint64_t old = base;

	__atomic_store_n(&place_turn, place_turn + 1, __ATOMIC_SEQ_CST);
	pci_bar_place(slot, 0, addr);
	base = addr;
	__atomic_store_n(&place_turn, place_turn + 1, __ATOMIC_SEQ_CST);
	expect("identification at the new place", rd(EDU_ID), identity);
	if (old != addr)
		expect("nothing at the old place", load32(old + EDU_ID), 0xffffffff);
}

/* What was read between two looks at an even turn was read at a place that held. */
static void read_while_moving(void)
{
	uint64_t n = 0;

	while (!__atomic_load_n(&moving_done, __ATOMIC_ACQUIRE)) {
		uint32_t turn = __atomic_load_n(&place_turn, __ATOMIC_SEQ_CST);
		uint32_t v = load32(base + EDU_ID);

		if (v != identity && v != 0xffffffff)
			expect("identification while the BAR moves", v, identity);
		if (!(turn & 1) && turn == __atomic_load_n(&place_turn, __ATOMIC_SEQ_CST)) {
			expect("identification between moves", v, identity);
			n++;
		}
	}
	__atomic_add_fetch(&checked_while_moving, n, __ATOMIC_RELAXED);
}

static void move(void)
{
	for (unsigned int i = 1; i <= 16; i++) {
		move_to(FIRST_PLACE + i * 0x300000ull);
		for (unsigned int k = 0; k < 20; k++)
			expect("identification", rd(EDU_ID), identity);
	}
	move_to(LAST_PLACE);
	wr(EDU_LIVE, 0x12345678);
	expect("liveness at the last place", rd(EDU_LIVE), (uint32_t)~0x12345678);
}

/* -- the end of the device ------------------------------------------------- */

static void outlive(const struct guest *g)
{
	uint64_t n = 0;

	barrier(g);
	if (!g->vcpu && g->arg & ARG_KILL)
		outl(PORT_KILL, slot);
	/* The load waits for the store, so that a device that only hangs is noticed too. */
	do {
		wr(EDU_LIVE, (uint32_t)n++);
	} while (rd(EDU_ID) == identity);
	expect("identification of a dead device", rd(EDU_ID), 0xffffffff);
	wr(EDU_LIVE, 1);
	expect("liveness of a dead device", rd(EDU_LIVE), 0xffffffff);
	__atomic_add_fetch(&outlived, n, __ATOMIC_RELAXED);
	barrier(g);
	if (!g->vcpu)
		print("edu: the device is gone: all ones on %lu vCPUs after %lu more accesses, "
		      "and the guest goes on\n", g->count, outlived);
}

int guest_main(const struct guest *g)
{
	bool irqs = !(g->arg & ARG_NO_IRQ);
	uint64_t server = g->count > 1 ? 1 : 0;

	if (!g->vcpu)
		discover();
	barrier(g);
	expect("identification on every vCPU", rd(EDU_ID), identity);
	liveness(g);
	barrier(g);
	factorial_polled(g);
	barrier(g);

	if (irqs) {
		if (g->vcpu == server)
			irq_server(g);
		barrier(g);
		if (!g->vcpu) {
			/* Alone, it sleeps until the interrupt; else vCPU 1 takes it. */
			interrupts(g, !server);
			if (server)
				dma_interrupt();
			__atomic_store_n(&irq_stop, 1, __ATOMIC_RELEASE);
		} else if (g->vcpu == server) {
			irq_loop();
		}
		barrier(g);
	}
	if (!g->vcpu)
		dma_both_ways();
	barrier(g);

	if (!g->vcpu) {
		move();
		__atomic_store_n(&moving_done, 1, __ATOMIC_RELEASE);
	} else {
		read_while_moving();
	}
	barrier(g);
	if (!g->vcpu)
		print("edu: BAR 0 moved 17 times, now at 0x%lx "
		      "(%lu reads by other vCPUs meanwhile)\n", base, checked_while_moving);
	if (g->arg & (ARG_KILL | ARG_WAIT))
		outlive(g);
	if (!g->vcpu)
		print("edu: done on %lu vCPUs\n", g->count);
	return 0;
}
