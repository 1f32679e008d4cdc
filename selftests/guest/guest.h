/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The library of the flat guests: console, exit, ports, MMIO, vCPU barrier
 * (guest.c), PCI (pci.c) and interrupts (irq.c).  Freestanding; runs on every
 * vCPU at once with interrupts off until irq_enable().
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the VMM passed at entry. */
struct guest {
	uint64_t vcpu;
	uint64_t count;
	uint64_t arg;
	uint64_t rsp;
	uint64_t rflags;
};

/* The guest itself.  What vCPU 0 returns is the exit status; others halt. */
int guest_main(const struct guest *g);
void guest_entry(uint64_t vcpu, uint64_t count, uint64_t arg, uint64_t rsp, uint64_t rflags);

/* -- guest.c -------------------------------------------------------------- */

/* Formats: %d %u %x (32 bit), %lu %lx (64 bit), %s %c %%; a width with 0. */
__attribute__((format(printf, 1, 2)))
void print(const char *fmt, ...);

_Noreturn void guest_exit(uint32_t status);
_Noreturn void guest_halt(void);

/* Prints expected and actual and ends the VM with status 1 unless equal. */
void expect_at(const char *what, uint64_t actual, uint64_t expected, const char *file, int line);
#define expect(what, actual, expected) \
	expect_at(what, (uint64_t)(actual), (uint64_t)(expected), __FILE__, __LINE__)
_Noreturn void fail(const char *what);

struct spinlock {
	volatile int held;
};

void spin_lock(struct spinlock *l);
void spin_unlock(struct spinlock *l);

/* All vCPUs wait here for each other; any number of times. */
void barrier(const struct guest *g);

static inline void cpu_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" :: "a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" :: "a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" :: "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

/* One instruction each, of exactly that size. */
static inline uint8_t load8(uint64_t a)
{
	uint8_t v;

	__asm__ volatile("movb %1, %0" : "=q"(v) : "m"(*(volatile uint8_t *)a) : "memory");
	return v;
}

static inline uint16_t load16(uint64_t a)
{
	uint16_t v;

	__asm__ volatile("movw %1, %0" : "=r"(v) : "m"(*(volatile uint16_t *)a) : "memory");
	return v;
}

static inline uint32_t load32(uint64_t a)
{
	uint32_t v;

	__asm__ volatile("movl %1, %0" : "=r"(v) : "m"(*(volatile uint32_t *)a) : "memory");
	return v;
}

static inline uint64_t load64(uint64_t a)
{
	uint64_t v;

	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*(volatile uint64_t *)a) : "memory");
	return v;
}

static inline void store8(uint64_t a, uint8_t v)
{
	__asm__ volatile("movb %1, %0" : "=m"(*(volatile uint8_t *)a) : "q"(v) : "memory");
}

static inline void store16(uint64_t a, uint16_t v)
{
	__asm__ volatile("movw %1, %0" : "=m"(*(volatile uint16_t *)a) : "r"(v) : "memory");
}

static inline void store32(uint64_t a, uint32_t v)
{
	__asm__ volatile("movl %1, %0" : "=m"(*(volatile uint32_t *)a) : "r"(v) : "memory");
}

static inline void store64(uint64_t a, uint64_t v)
{
	__asm__ volatile("movq %1, %0" : "=m"(*(volatile uint64_t *)a) : "r"(v) : "memory");
}

/* size is 1, 2, 4 or 8 */
uint64_t mmio_load(uint64_t a, unsigned int size);
void mmio_store(uint64_t a, unsigned int size, uint64_t v);
uint64_t size_mask(unsigned int size);

/* The compiler calls these on its own too. */
void *memcpy(void *restrict d, const void *restrict s, size_t n);
void *memset(void *d, int c, size_t n);

/* -- pci.c ---------------------------------------------------------------- */

#define PCI_VENDOR	0x00
#define PCI_COMMAND	0x04
#define PCI_COMMAND_IO		0x001
#define PCI_COMMAND_MEMORY	0x002
#define PCI_COMMAND_MASTER	0x004
#define PCI_COMMAND_NO_INTX	0x400
#define PCI_STATUS	0x06
#define PCI_BAR0	0x10
#define PCI_CAPS	0x34
#define PCI_INTR_LINE	0x3c
#define PCI_INTR_PIN	0x3d
#define PCI_CAP_MSI	0x05

struct bar {
	uint64_t size;		/* 0: not implemented */
	bool io;
	bool wide;		/* takes the next register too */
};

uint8_t pci_read8(unsigned int slot, unsigned int reg);
uint16_t pci_read16(unsigned int slot, unsigned int reg);
uint32_t pci_read32(unsigned int slot, unsigned int reg);
void pci_write8(unsigned int slot, unsigned int reg, uint8_t v);
void pci_write16(unsigned int slot, unsigned int reg, uint16_t v);
void pci_write32(unsigned int slot, unsigned int reg, uint32_t v);

/* First slot from 1 on that holds vendor:device, or 0. */
unsigned int pci_find(uint16_t vendor, uint16_t device, unsigned int from);
void pci_bar_size(unsigned int slot, unsigned int bar, struct bar *out);
void pci_bar_place(unsigned int slot, unsigned int bar, uint64_t addr);
unsigned int pci_cap(unsigned int slot, uint8_t id);
/* Offset of the MSI capability, 0 if there is none. */
unsigned int pci_msi_enable(unsigned int slot, uint8_t apic, uint8_t vector);
void pci_msi_disable(unsigned int slot);

/* -- irq.c ---------------------------------------------------------------- */

/* Vectors for devices: IRQ_VECTOR .. IRQ_VECTOR + IRQ_VECTORS - 1. */
#define IRQ_VECTOR	0x40
#define IRQ_VECTORS	4

/* Counts of arrivals, and what to call on one; before the APIC is told. */
extern volatile uint64_t irq_seen[IRQ_VECTORS];
extern void (*volatile irq_handler[IRQ_VECTORS])(void);

/* Exceptions print and end the VM.  Each vCPU calls these for itself. */
void irq_init(void);
void irq_enable(void);
void irq_disable(void);
uint8_t irq_apic_id(void);
/* Routes an input of the I/O APIC, level-triggered, active high. */
void irq_pin_enable(unsigned int gsi, uint8_t apic, uint8_t vector);
void irq_pin_disable(unsigned int gsi);

#endif
