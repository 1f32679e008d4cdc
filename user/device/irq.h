/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Interrupts of a device: what SET_IRQS of VFIO sets up, and the signals that go
 * to the VMM's eventfds.  After the data path: device to guest.  The loop's
 * thread only.
 */
#ifndef RMIO_DEVICE_IRQ_H
#define RMIO_DEVICE_IRQ_H

#include "loop.h"
#include "pci_config.h"

#define RMIO_MSI_MAX	32u

struct rmio_irqs {
	struct rmio_loop *loop;
	struct rmio_pci_config *config;
	uint32_t msi;				/* vectors */
	bool pin;				/* there is one */
	/* The pin: */
	bool raised;
	bool masked;				/* by message, or since it was signalled */
	bool pulse;				/* it stands in for a message */
	bool rises;				/* each of its rises is signalled, masked or not */
	struct rmio_signal *trigger;
	struct rmio_watch *unmask;
	/* MSI: */
	struct rmio_signal *vectors[RMIO_MSI_MAX];
	uint32_t enabled;			/* of them, set up */
	/* An error of the device, and the request to give it back; the client raises them. */
	struct rmio_signal *special[2];
};

void rmio_irqs_init(struct rmio_irqs *q, struct rmio_loop *loop, struct rmio_pci_config *config,
		    uint32_t msi, bool pin);
/* The peer has gone: forget its descriptors. */
void rmio_irqs_drop(struct rmio_irqs *q);
/* Function reset: the pin falls, descriptors and masks stay as VFIO leaves them. */
void rmio_irqs_reset(struct rmio_irqs *q);

/*
 * The pin of a device that has messages only can be set up all the same, though _info does not
 * offer it: each message is signalled by it then, unless one before it has yet to be unmasked.
 *
 * As vu_server_ops; -EINVAL what VFIO refuses, -ENOMEM, -EOPNOTSUPP mask by eventfd. */
int rmio_irqs_info(const struct rmio_irqs *q, uint32_t index, uint32_t *flags, uint32_t *count);
int rmio_irqs_set(struct rmio_irqs *q, uint32_t index, uint32_t action, uint32_t data,
		  uint32_t start, uint32_t count, int *fds, const uint8_t *bools);

int rmio_irqs_msi(struct rmio_irqs *q, uint32_t v);
/* Somebody hears them: the client has set them up, or the pin of a device without one. */
bool rmio_irqs_messages(const struct rmio_irqs *q);
void rmio_irqs_pin(struct rmio_irqs *q, bool raised);
/* The guest wrote the command register: INTx may have been enabled. */
void rmio_irqs_update(struct rmio_irqs *q);

#endif
