/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The PCI bus that a flat guest sees: bus 0 through configuration mechanism #1
 * (ports 0xcf8 and 0xcfc), a host bridge in slot 0, devices from slot 1 in the
 * order in which they are added.  Stands beside the data path: it decides
 * where a device's ranges are and where its interrupts go; accesses to the
 * ranges do not come here.
 *
 * Configuration space is the device's, read and written through its back end,
 * but for what VFIO virtualises as well:
 *   BARs          sized and placed here; unassigned (0) at first.  A memory BAR
 *                 answers in 0xe0000000..0xfebfffff (a 64-bit one also from the
 *                 end of memory above 4 GiB on), an I/O BAR in 0x1000..0xffff,
 *                 and only while the command register's decoding bit is set.
 *                 One that is put elsewhere, or onto another BAR, is not there.
 *   command       kept here and passed on, bus master enable included
 *   interrupt pin and line  the line register holds the GSI of the pin at
 *                 reset: 16 + (slot + pin - 1) % 8, an input of the I/O APIC,
 *                 level-triggered and active high
 *   MSI           message routes of KVM; masked vectors stay pending
 *   MSI-X         hidden: the table would have to be trapped
 *   expansion ROM none
 */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include "kvm.h"

#define VMM_PCI_SLOTS		32u
#define VMM_PCI_BARS		6u
#define VMM_PCI_MSI_MAX		32u
#define VMM_PCI_MEM_FIRST	0xe0000000ull
#define VMM_PCI_MEM_LAST	0xfebfffffull
#define VMM_PCI_IO_FIRST	0x1000ull
#define VMM_PCI_IO_LAST		0xffffull
#define VMM_PCI_ADDRESS		0xcf8
#define VMM_PCI_DATA		0xcfc

/*
 * A device.  All calls come with the bus's lock held and return 0 or -errno.
 * What fails is answered as an absent device would answer it.
 */
struct vmm_pci_backend_ops {
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
	int (*reset)(void *be);
};

/* Where interrupts go; vmm_pci_kvm_irqs binds it to a struct vmm_vm. */
struct vmm_pci_irq_ops {
	int (*route_new)(void *arg);
	int (*route_set)(void *arg, unsigned int gsi, uint64_t addr, uint32_t data);
	void (*route_free)(void *arg, unsigned int gsi);
	int (*assign)(void *arg, int eventfd, int resample, unsigned int gsi);
	int (*deassign)(void *arg, int eventfd, unsigned int gsi);
};

extern const struct vmm_pci_irq_ops vmm_pci_kvm_irqs;

struct vmm_pci;

/* memory: bytes of guest memory, for 64-bit BARs and the DMA maps in ram. */
int vmm_pci_new(const struct vmm_pci_irq_ops *irqs, void *arg, const struct vmm_ram *ram,
		unsigned int nr_ram, int memfd, struct vmm_pci **out);
void vmm_pci_free(struct vmm_pci *pci);

/*
 * Adds a device in the next slot, resets it, maps guest memory for its DMA.
 * Before the guest runs.  name: for messages, copied.
 */
int vmm_pci_add(struct vmm_pci *pci, const struct vmm_pci_backend_ops *ops, void *be,
		const char *name, unsigned int *slot, struct vmm_err *err);

/*
 * Takes a device's interrupts and ranges away, such as before its back end
 * goes; the slot then reads as empty.
 */
void vmm_pci_remove(struct vmm_pci *pci, unsigned int slot);

/* An access to a port; false: not one of the bus's.  Any thread. */
bool vmm_pci_port(struct vmm_pci *pci, uint16_t port, bool out, void *data, unsigned int size);

#endif
