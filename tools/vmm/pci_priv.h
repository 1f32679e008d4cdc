/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What pci.c (configuration space), pci_bar.c (placing), pci_irq.c (interrupts)
 * and pci_complain.c (messages) share.  All of it is used with the bus's lock held.
 */
#ifndef VMM_PCI_PRIV_H
#define VMM_PCI_PRIV_H

#include "pci.h"

struct vmm_pci_bar {
	uint64_t region;	/* bytes of the device's region, 0: no BAR */
	uint64_t size;		/* the same rounded up to a power of two */
	bool io;
	bool wide;		/* 64 bits, in two registers */
	bool placed;
	uint64_t addr;		/* while placed */
	bool complained;	/* about a place that cannot be */
};

struct vmm_pci_vector {
	int fd;			/* eventfd, -1: none yet */
	int gsi;		/* -1: none yet */
	bool assigned;
	uint64_t addr;
	uint32_t data;
	bool routed;
};

struct vmm_pci_dev {
	struct vmm_pci *pci;
	unsigned int slot;
	const struct vmm_pci_backend_ops *ops;
	void *be;
	char name[64];
	unsigned int complaints;
	uint8_t cfg[256];	/* the bits that are kept here */
	uint8_t mine[256];	/* which ones these are */
	uint8_t writable[256];	/* which of them a guest can change */
	uint8_t pass[256];	/* not 0: a write goes to the device as well */
	struct vmm_pci_bar bars[VMM_PCI_BARS];

	unsigned int pin;	/* 0: none */
	unsigned int pin_gsi;
	int pin_fd, pin_unmask;
	bool pin_set;		/* the device has the eventfds */
	bool pin_assigned;	/* KVM has them */

	unsigned int msi;	/* offset of the capability, 0: none */
	unsigned int msi_max;	/* vectors, a power of two */
	unsigned int msi_on;	/* vectors in use, 0: off */
	struct vmm_pci_vector vectors[VMM_PCI_MSI_MAX];
};

struct vmm_pci {
	pthread_mutex_t lock;
	uint32_t address;	/* of 0xcf8 */
	const struct vmm_pci_irq_ops *irqs;
	void *irq_arg;
	struct vmm_ram ram[2];
	unsigned int nr_ram;
	int memfd;
	struct vmm_pci_dev *slots[VMM_PCI_SLOTS];
};

static inline uint32_t pci_get(const uint8_t *p, unsigned int bytes)
{
	uint32_t v = 0;

	for (unsigned int i = 0; i < bytes; i++)
		v |= (uint32_t)p[i] << 8 * i;
	return v;
}

static inline void pci_put(uint8_t *p, unsigned int bytes, uint32_t v)
{
	for (unsigned int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* pci_complain.c.  A guest can cause these lines: callers see to it that there are few. */
__attribute__((format(printf, 2, 3)))
void pci_complain(struct vmm_pci_dev *d, const char *fmt, ...);

/* pci_bar.c */
int pci_bars_init(struct vmm_pci_dev *d, const uint8_t *device_cfg, struct vmm_err *err);
/* Puts every BAR of the bus where its registers say. */
void pci_bars_update(struct vmm_pci *pci);
void pci_bars_remove(struct vmm_pci_dev *d);

/* pci_irq.c */
int pci_irqs_init(struct vmm_pci_dev *d, const uint8_t *device_cfg, struct vmm_err *err);
/* Follows the command register and the MSI capability. */
void pci_irqs_update(struct vmm_pci_dev *d);
uint32_t pci_msi_pending(const struct vmm_pci_dev *d);
/* Offset of the pending bits in configuration space, 0: none. */
unsigned int pci_msi_pending_reg(const struct vmm_pci_dev *d);
void pci_irqs_exit(struct vmm_pci_dev *d);

#endif
