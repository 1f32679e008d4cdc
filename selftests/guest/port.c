// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Drives the device of docs/examples/doorbell.c at port 0x3f8 with line 4: bytes and words, the
 * ports beside it, which are nobody's, and its line, raised and answered.
 */
#include "guest.h"

#define BELL	0x3f8
#define LINE	4
#define VECTOR	0
#define RINGS	100

static void check(const char *what, uint32_t got, uint32_t want)
{
	if (got == want)
		return;
	print("FAIL %s: 0x%x, not 0x%x\n", what, got, want);
	guest_exit(1);
}

static void answer(void)
{
	outb(BELL + 1, 1);
}

int guest_main(const struct guest *g)
{
	uint64_t spins;

	if (g->vcpu)
		return 0;
	irq_init();
	outb(BELL + 2, 0x5a);
	outb(BELL + 3, 0xa5);
	check("byte", inb(BELL + 2), 0x5a);
	check("word", inw(BELL + 2), 0xa55a);
	outw(BELL + 2, 0x1234);
	check("low byte", inb(BELL + 2), 0x34);
	check("high byte", inb(BELL + 3), 0x12);
	check("below", inb(BELL - 1), 0xff);
	check("above", inb(BELL + 4), 0xff);
	check("over the edge", inw(BELL + 3), 0xff12);
	check("not rung", inb(BELL), 0);

	irq_handler[VECTOR] = answer;
	irq_pin_enable(LINE, irq_apic_id(), IRQ_VECTOR + VECTOR);
	irq_enable();
	for (unsigned int i = 1; i <= RINGS; i++) {
		outb(BELL, 1);
		for (spins = 0; irq_seen[VECTOR] < i && spins < 1000000000; spins++)
			inb(BELL + 1);
		check("interrupts", (uint32_t)(irq_seen[VECTOR] < i), 0);
	}
	irq_disable();
	irq_pin_disable(LINE);
	check("rung", inb(BELL), RINGS);
	print("port: done, %u interrupts for %u rings\n", (unsigned int)irq_seen[VECTOR], RINGS);
	return 0;
}
