/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * rmio for authors of VMMs that have no PCI bus of their own: one bus of clients (rmio_client),
 * configuration space as the guest sees it, BARs sized and placed, the pin and the messages
 * connected to the VMM's interrupt controllers.  It stands beside the data path: it decides where
 * ranges are and where interrupts go; accesses to the ranges go to rmio_vcpu_exit, or those of
 * devices that offer no rings to rmio_client_exit.
 *
 * Configuration space is the device's, but for what VFIO virtualises as well:
 *   BARs          sized and placed here; unassigned (0) at first; only while the command
 *                 register's decoding bit is set.  One that is put outside of the windows, or
 *                 onto another BAR, is not there.
 *   command       kept here and passed on, bus master enable included
 *   interrupt pin and line  the line register holds the GSI of the pin at reset
 *   MSI           routes of the VMM; masked vectors stay pending
 *   MSI-X         hidden
 *   expansion ROM none
 *
 * Thread rules: all calls from any thread, at any time, but rmio_pci_free, which is the last.
 */
#ifndef RMIO_PCI_H
#define RMIO_PCI_H

#include <rmio/vmm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A bus. */
struct rmio_pci;

#define RMIO_PCI_SLOTS		32u	/* of the bus; 0 is a host bridge */

/*
 * Where interrupts go: the VMM's GSIs and irqfds.  All come with the bus's lock held and return 0
 * or -errno; none may call the bus.
 */
struct rmio_pci_irq_ops {
	/* A GSI for a message, not in use yet; or -ENOSPC. */
	int (*route_new)(void *arg);
	/* Where its message goes from here on: KVM_IRQ_ROUTING_MSI. */
	int (*route_set)(void *arg, unsigned int gsi, uint64_t addr, uint32_t data);
	/* The GSI is not in use any more. */
	void (*route_free)(void *arg, unsigned int gsi);
	/* KVM_IRQFD; @resample -1: none, else as KVM_IRQFD_FLAG_RESAMPLE. */
	int (*assign)(void *arg, int eventfd, int resample, unsigned int gsi);
	/* KVM_IRQFD_FLAG_DEASSIGN. */
	int (*deassign)(void *arg, int eventfd, unsigned int gsi);
};

/* Guest memory that devices may reach by DMA, as rmio_client_dma_map wants it. */
struct rmio_pci_memory {
	uint64_t gpa;		/* guest-physical address */
	uint64_t len;		/* bytes */
	uint64_t offset;	/* in fd */
	int fd;			/* the VMM's; for as long as the bus lives */
	uint32_t reserved;	/* 0 */
};

/* [first, last], where BARs may be put; both 0: nowhere. */
struct rmio_pci_window {
	uint64_t first;		/* its lowest address or port */
	uint64_t last;		/* its highest */
};

struct rmio_pci_opts {
	size_t sz;		/* sizeof(struct rmio_pci_opts) */
	const struct rmio_pci_irq_ops *irqs;	/* for as long as the bus lives */
	void *irq_arg;		/* the first argument of its calls */
	const struct rmio_pci_memory *memory;	/* of the guest; copied */
	uint32_t nr_memory;	/* of memory */
	uint32_t reserved;	/* 0 */
	struct rmio_pci_window mem;	/* memory BARs, below 4 GiB */
	struct rmio_pci_window high;	/* memory BARs of 64 bits too */
	struct rmio_pci_window io;	/* I/O BARs */
	/* Pin P (1..4) of slot S is GSI first_gsi + (S + P - 1) % nr_gsis; 0: no pins. */
	uint32_t first_gsi;
	uint32_t nr_gsis;	/* from first_gsi on */
	/* A line about a device, such as a BAR that cannot be where the guest wants it.  A guest
	 * causes these: of one device 32 come, with the bus's lock held, so call no rmio_pci_*
	 * from it.  @who: the device.  May be NULL. */
	void (*log)(void *arg, const char *who, const char *line);
	void *arg;		/* the first argument of log() */
};

/**
 * rmio_pci_new - make a bus
 *
 * What the options point to is copied, except @irqs.  Returns 0, -EINVAL (no irqs, or a window
 * that ends before it begins), -E2BIG, -ENOMEM; rmio_errstr says more.
 */
int rmio_pci_new(const struct rmio_pci_opts *opts, struct rmio_pci **pci);

/* Takes all devices away, without a message to any: one that hangs would make us wait. */
void rmio_pci_free(struct rmio_pci *pci);

struct rmio_pci_dev_opts {
	size_t sz;		/* sizeof(struct rmio_pci_dev_opts) */
	const char *name;	/* for log lines */
	uint32_t slot;		/* 1..31; 0: the next that is free */
	uint32_t flags;		/* RMIO_PCI_* */
};
/* It decodes addresses itself (QEMU's multi-process protocol): told where its BARs are. */
#define RMIO_PCI_DECODES	0x1u

/**
 * rmio_pci_add - put a client's device into a slot
 * @slot: which it is; may be NULL
 *
 * Resets the device, reads its configuration space, maps guest memory for its DMA.  The client
 * stays the VMM's, and outlives its slot.  Returns 0, -ENODEV (not a PCI device), -ENOSPC (no
 * slot), -EBUSY (the slot is taken), -EINVAL, -ENOTSUP, -E2BIG (what it says of itself), -ENOMEM,
 * -EMFILE, or what the client's calls return; rmio_errstr says more.
 */
int rmio_pci_add(struct rmio_pci *pci, struct rmio_client *client,
		 const struct rmio_pci_dev_opts *opts, uint32_t *slot);

/**
 * rmio_pci_remove - take a device out of its slot, with its ranges, interrupts and DMA
 *
 * The slot reads as empty.  Does nothing when there is none.
 */
void rmio_pci_remove(struct rmio_pci *pci, uint32_t slot);

/**
 * rmio_pci_port - configuration mechanism #1, ports 0xcf8 to 0xcff
 * @data: @size bytes, 1, 2 or 4
 *
 * False: not one of the bus's ports, or a size that it does not have there.
 */
bool rmio_pci_port(struct rmio_pci *pci, uint16_t port, bool out, void *data, uint32_t size);

/**
 * rmio_pci_config - one access to configuration space by slot, such as for ECAM
 * @reg: 0..255, @len: within the space
 *
 * What is not there reads as all ones, and ignores stores.
 */
void rmio_pci_config(struct rmio_pci *pci, uint32_t slot, uint32_t reg, bool store, void *data,
		     uint32_t len);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
