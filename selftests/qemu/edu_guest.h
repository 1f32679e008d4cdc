/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What the steps of edu_guest share: the function, its registers, what is expected.  Beside the
 * data path; for edu_guest alone.
 */
#ifndef RMIO_SELFTESTS_EDU_GUEST_H
#define RMIO_SELFTESTS_EDU_GUEST_H

#include "edu.h"
#include "guest_pci.h"

#define ONES UINT32_MAX

extern struct guest_pci pci;
extern bool failed;

__attribute__((format(printf, 1, 2))) void say(const char *fmt, ...);
bool expect(const char *what, uint64_t actual, uint64_t expected);

static inline uint32_t load(uint32_t reg)
{
	return *(volatile uint32_t *)(pci.bar + reg);
}

static inline void store(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(pci.bar + reg) = value;
}

/* It is there and does what it should, wherever its BAR is. */
static inline void alive(uint32_t pattern)
{
	expect("identification", load(EDU_ID), EDU_ID_VALUE);
	store(EDU_LIVE, pattern);
	expect("complement", load(EDU_LIVE), ~pattern);
}

/* Until these bits are 0. */
void wait_clear(uint32_t reg, uint32_t bits);

/* Two pages that stay where they are, for DMA; and the device's memory, filled and looked at. */
extern uint8_t *from, *to;
bool begin_dma(void);
void end_dma(void);
void fill(uint8_t *page, uint32_t seed);
void to_device(uint64_t addr, uint32_t offset, uint32_t count);
void to_memory(uint32_t offset, uint64_t addr, uint32_t count);
void holds(const char *what, const uint8_t *page);

/* Steps of edu_dma.c */
void dma(void);
void dma_refused(void);
void stale_code(void);
void dma_nodes(void);

/* Steps of edu_irq.c */
void no_interrupt(void);
void interrupts(void);
void msi(void);

/* Steps of edu_cpus.c */
void two_cpus(void);
void two_cpus_locked(void);
void two_cpus_unlocked(void);
void timing(void);
void while_stopped(void);
void until_gone(void);

#endif
