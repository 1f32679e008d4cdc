// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Interrupts for the flat guests: an IDT shared by all vCPUs, the local APIC
 * of each, the I/O APIC for pins.  An exception prints itself and ends the VM.
 */
#include "guest.h"

#define APIC		0xfee00000ull
#define APIC_ID		(APIC + 0x020)
#define APIC_TPR	(APIC + 0x080)
#define APIC_EOI	(APIC + 0x0b0)
#define APIC_SPURIOUS	(APIC + 0x0f0)
#define APIC_LVT0	(APIC + 0x350)
#define APIC_LVT1	(APIC + 0x360)
#define IOAPIC		0xfec00000ull
#define SPURIOUS	0xff

struct gate {
	uint16_t low;
	uint16_t selector;
	uint16_t flags;
	uint16_t mid;
	uint32_t high;
	uint32_t reserved;
};

struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

volatile uint64_t irq_seen[IRQ_VECTORS];
void (*volatile irq_handler[IRQ_VECTORS])(void);

static struct gate idt[256];
static struct spinlock ioapic_lock;

_Noreturn static void exception(unsigned int vector, uint64_t code, const struct frame *f)
{
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	print("FAIL exception %u code 0x%lx rip 0x%lx cr2 0x%lx\n", vector, code, f->rip, cr2);
	guest_exit(127);
}

#define EXC(n) __attribute__((interrupt)) static void exc_##n(struct frame *f) \
	{ exception(n, 0, f); }
#define EXC_CODE(n) __attribute__((interrupt)) static void exc_##n(struct frame *f, uint64_t code) \
	{ exception(n, code, f); }

EXC(0) EXC(1) EXC(2) EXC(3) EXC(4) EXC(5) EXC(6) EXC(7) EXC_CODE(8) EXC_CODE(10) EXC_CODE(11)
EXC_CODE(12) EXC_CODE(13) EXC_CODE(14) EXC(16) EXC_CODE(17) EXC(18) EXC(19)

static void arrived(unsigned int i)
{
	void (*handler)(void);

	__atomic_add_fetch(&irq_seen[i], 1, __ATOMIC_RELEASE);
	handler = irq_handler[i];
	if (handler)
		handler();
	store32(APIC_EOI, 0);
}

#define IRQ(n) __attribute__((interrupt)) static void irq_##n(struct frame *f) \
	{ (void)f; arrived(n); }
IRQ(0) IRQ(1) IRQ(2) IRQ(3)

__attribute__((interrupt)) static void irq_spurious(struct frame *f)
{
	(void)f;
}

static void set_gate(unsigned int vector, uintptr_t handler)
{
	idt[vector] = (struct gate){
		.low = (uint16_t)handler,
		.selector = 0x08,
		.flags = 0x8e00,
		.mid = (uint16_t)(handler >> 16),
		.high = (uint32_t)(handler >> 32),
	};
}

#define GATE(n) set_gate(n, (uintptr_t)exc_##n)

void irq_init(void)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} idtr = { sizeof(idt) - 1, (uintptr_t)idt };

	/* Every vCPU writes the same values. */
	GATE(0); GATE(1); GATE(2); GATE(3); GATE(4); GATE(5); GATE(6); GATE(7); GATE(8);
	GATE(10); GATE(11); GATE(12); GATE(13); GATE(14); GATE(16); GATE(17); GATE(18); GATE(19);
	set_gate(IRQ_VECTOR + 0, (uintptr_t)irq_0);
	set_gate(IRQ_VECTOR + 1, (uintptr_t)irq_1);
	set_gate(IRQ_VECTOR + 2, (uintptr_t)irq_2);
	set_gate(IRQ_VECTOR + 3, (uintptr_t)irq_3);
	set_gate(SPURIOUS, (uintptr_t)irq_spurious);
	__asm__ volatile("lidt %0" :: "m"(idtr));

	/* The PICs are not used: all their inputs masked. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	store32(APIC_LVT0, 0x10000);
	store32(APIC_LVT1, 0x10000);
	store32(APIC_TPR, 0);
	store32(APIC_SPURIOUS, 0x100 | SPURIOUS);
}

void irq_enable(void)
{
	__asm__ volatile("sti" ::: "memory");
}

void irq_disable(void)
{
	__asm__ volatile("cli" ::: "memory");
}

uint8_t irq_apic_id(void)
{
	return (uint8_t)(load32(APIC_ID) >> 24);
}

static void ioapic_write(unsigned int reg, uint32_t v)
{
	store32(IOAPIC, reg);
	store32(IOAPIC + 0x10, v);
}

void irq_pin_enable(unsigned int gsi, uint8_t apic, uint8_t vector)
{
	spin_lock(&ioapic_lock);
	ioapic_write(0x10 + 2 * gsi + 1, (uint32_t)apic << 24);
	ioapic_write(0x10 + 2 * gsi, 0x8000u | vector);
	spin_unlock(&ioapic_lock);
}

void irq_pin_disable(unsigned int gsi)
{
	spin_lock(&ioapic_lock);
	ioapic_write(0x10 + 2 * gsi, 0x10000);
	spin_unlock(&ioapic_lock);
}
