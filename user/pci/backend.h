/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What the bus asks of a device: of a client (client.c), or of a test's own.  Beside the data path.
 */
#ifndef RMIO_PCI_BACKEND_H
#define RMIO_PCI_BACKEND_H

#include <rmio/pci.h>

#define PCI_BARS	6u
#define PCI_MSI_MAX	32u

/*
 * A device.  All calls come with the bus's lock held and return 0 or -errno.
 * What fails is answered as an absent device would answer it.
 */
struct pci_backend_ops {
	int (*config_read)(void *be, unsigned int reg, void *buf, unsigned int len);
	int (*config_write)(void *be, unsigned int reg, const void *buf, unsigned int len);
	/* Bytes of a BAR's region, 0 if there is none. */
	int (*region_size)(void *be, unsigned int bar, uint64_t *size);
	/* Places or moves a BAR's region, or with len 0 takes it away. */
	int (*place)(void *be, unsigned int bar, bool io, uint64_t addr, uint64_t len);
	/* How many vectors of MSI the device has. */
	int (*msi_count)(void *be, unsigned int *count);
	/* The pin: an eventfd to raise it, one that unmasks it; -1, -1: off. */
	int (*set_intx)(void *be, int trigger, int unmask);
	/* The pin again, without the eventfd: if it is raised, the device says so anew. */
	int (*unmask_intx)(void *be);
	/* Message vectors: count eventfds; 0: off. */
	int (*set_msi)(void *be, unsigned int count, const int *fds);
	int (*dma_map)(void *be, uint64_t gpa, uint64_t len, int fd, uint64_t offset);
	/* Undoes it, for a device that does not come onto the bus after all.  May be NULL. */
	void (*dma_unmap)(void *be, uint64_t gpa, uint64_t len);
	int (*reset)(void *be);
	/* It has left the bus, and will not be called again.  May be NULL. */
	void (*gone)(void *be);
};

/* As rmio_pci_add, for a device of these calls.  @slot: 0, or which; becomes what it has. */
int rmio_pci_add_backend(struct rmio_pci *pci, const struct pci_backend_ops *ops, void *be,
			 const char *name, uint32_t *slot);

#endif
