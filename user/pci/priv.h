/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What bus.c (devices), config.c (configuration space), bar.c (placing) and irq.c (interrupts)
 * share.  All of it is used with the bus's lock held.
 */
#ifndef RMIO_PCI_PRIV_H
#define RMIO_PCI_PRIV_H

#include "backend.h"
#include "refuse.h"

#include <pthread.h>

#define PCI_ADDRESS_PORT	0xcf8
#define PCI_DATA_PORT		0xcfc

struct pci_bar {
	uint64_t region;	/* bytes of the device's region, 0: no BAR */
	uint64_t size;		/* the same rounded up to a power of two */
	bool io;
	bool wide;		/* 64 bits, in two registers */
	bool placed;
	uint64_t addr;		/* while placed */
	bool complained;	/* about a place that cannot be */
};

struct pci_vector {
	int fd;			/* eventfd, -1: none yet */
	int gsi;		/* -1: none yet */
	bool assigned;
	uint64_t addr;
	uint32_t data;
	bool routed;
};

struct pci_dev {
	struct rmio_pci *pci;
	unsigned int slot;
	const struct pci_backend_ops *ops;
	void *be;
	char name[64];
	unsigned int complaints;
	uint8_t cfg[256];	/* the bits that are kept here */
	uint8_t mine[256];	/* which ones these are */
	uint8_t writable[256];	/* which of them a guest can change */
	uint8_t pass[256];	/* not 0: a write goes to the device as well */
	struct pci_bar bars[PCI_BARS];

	unsigned int pin;	/* 0: none */
	unsigned int pin_gsi;
	int pin_fd, pin_unmask;
	bool pin_set;		/* the device has the eventfds */
	bool pin_assigned;	/* KVM has them */

	unsigned int msi;	/* offset of the capability, 0: none */
	unsigned int msi_max;	/* vectors, a power of two */
	unsigned int msi_on;	/* vectors in use, 0: off */
	struct pci_vector vectors[PCI_MSI_MAX];
};

struct rmio_pci {
	pthread_mutex_t lock;
	uint32_t address;	/* of 0xcf8 */
	const struct rmio_pci_irq_ops *irqs;
	void *irq_arg;
	struct rmio_pci_memory *memory;
	unsigned int nr_memory;
	struct rmio_pci_window mem, high, io;
	uint32_t first_gsi, nr_gsis;
	void (*log)(void *arg, const char *who, const char *line);
	void *log_arg;
	struct pci_dev *slots[RMIO_PCI_SLOTS];
	bool quiet;		/* no more messages to any device */
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

/* complain.c.  A guest can cause these lines: of one device there are few. */
__attribute__((format(printf, 2, 3)))
void pci_complain(struct pci_dev *d, const char *fmt, ...);

/* config.c: one access, of 1 to 4 bytes, within the 256. */
void pci_config_read(struct pci_dev *d, unsigned int reg, uint8_t *buf, unsigned int len);
void pci_config_write(struct pci_dev *d, unsigned int reg, const uint8_t *buf, unsigned int len);
int pci_header_init(struct pci_dev *d, const uint8_t *device_cfg);

/* bar.c */
int pci_bars_init(struct pci_dev *d, const uint8_t *device_cfg);
/* Puts every BAR of the bus where its registers say. */
void pci_bars_update(struct rmio_pci *pci);
void pci_bars_remove(struct pci_dev *d);

/* irq.c */
int pci_irqs_init(struct pci_dev *d, const uint8_t *device_cfg);
/* Follows the command register and the MSI capability. */
void pci_irqs_update(struct pci_dev *d);
uint32_t pci_msi_pending(const struct pci_dev *d);
/* Offset of the pending bits in configuration space, 0: none. */
unsigned int pci_msi_pending_reg(const struct pci_dev *d);
void pci_irqs_exit(struct pci_dev *d);

#endif
