// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Interrupts of a device, with the meaning that VFIO gives to SET_IRQS: the pin
 * is a level that masks itself when it is signalled and is signalled again
 * after each unmask while it stays raised; MSI is one signal a message.
 */
#include "wire/foreign.h"
#include "irq.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void rmio_irqs_init(struct rmio_irqs *q, struct rmio_loop *loop, struct rmio_pci_config *config,
		    uint32_t msi, bool pin)
{
	memset(q, 0, sizeof(*q));
	q->loop = loop;
	q->config = config;
	q->msi = msi;
	q->pin = pin;
}

/* -- the pin ---------------------------------------------------------------------- */

void rmio_irqs_update(struct rmio_irqs *q)
{
	if (!q->trigger || !(q->raised || q->pulse) || q->masked ||
	    rmio_pci_config_intx_off(q->config))
		return;
	q->masked = true;
	q->pulse = false;
	rmio_signal_raise(q->trigger);
}

void rmio_irqs_pin(struct rmio_irqs *q, bool raised)
{
	if (!q->pin)
		return;
	if (raised && !q->raised && q->rises)
		q->masked = false;
	q->raised = raised;
	rmio_pci_config_intx(q->config, raised);
	rmio_irqs_update(q);
}

static void unmask_pin(struct rmio_irqs *q)
{
	q->masked = false;
	rmio_irqs_update(q);
}

static void unmasked(void *arg, uint32_t events)
{
	unmask_pin(arg);
}

static void drop_pin(struct rmio_irqs *q)
{
	rmio_watch_free(q->unmask);
	rmio_signal_free(q->trigger);
	q->unmask = NULL;
	q->trigger = NULL;
	q->masked = false;
	q->pulse = false;
}

static int set_pin_trigger(struct rmio_irqs *q, int *fd)
{
	struct rmio_signal *trigger = NULL;

	if (fd && *fd >= 0) {
		if (!rmio_foreign_is_eventfd(*fd))
			return -EINVAL;
		trigger = rmio_signal_new(q->loop, *fd);
		if (!trigger)
			return -ENOMEM;
		*fd = -1;
	}
	if (!trigger) {
		drop_pin(q);
		return 0;
	}
	rmio_signal_free(q->trigger);
	q->trigger = trigger;
	unmask_pin(q);
	return 0;
}

static int set_pin_unmask(struct rmio_irqs *q, int *fd)
{
	struct rmio_watch *unmask = NULL;

	if (fd && *fd >= 0) {
		if (!rmio_foreign_is_eventfd(*fd))
			return -EINVAL;
		unmask = rmio_watch_eventfd(q->loop, *fd, unmasked, q);
		if (!unmask)
			return -ENOMEM;
		*fd = -1;
	}
	rmio_watch_free(q->unmask);
	q->unmask = unmask;
	return 0;
}

static int set_pin(struct rmio_irqs *q, uint32_t action, uint32_t data, uint32_t count, int *fds,
		   const uint8_t *bools)
{
	bool doit = data == VFIO_IRQ_SET_DATA_NONE || (bools && bools[0]);

	if ((!q->pin && !q->msi) || count > 1)
		return -EINVAL;
	if (!count) {
		if (action != VFIO_IRQ_SET_ACTION_TRIGGER || data != VFIO_IRQ_SET_DATA_NONE)
			return -EINVAL;
		drop_pin(q);
		return 0;
	}
	if (action == VFIO_IRQ_SET_ACTION_TRIGGER && data == VFIO_IRQ_SET_DATA_EVENTFD)
		return set_pin_trigger(q, fds);
	if (!q->trigger)
		return -EINVAL;
	switch (action) {
	case VFIO_IRQ_SET_ACTION_TRIGGER:
		if (doit)
			rmio_signal_raise(q->trigger);
		return 0;
	case VFIO_IRQ_SET_ACTION_MASK:
		if (data == VFIO_IRQ_SET_DATA_EVENTFD)
			return -EOPNOTSUPP;
		if (doit)
			q->masked = true;
		return 0;
	case VFIO_IRQ_SET_ACTION_UNMASK:
		if (data == VFIO_IRQ_SET_DATA_EVENTFD)
			return set_pin_unmask(q, fds);
		if (doit)
			unmask_pin(q);
		return 0;
	}
	return -EINVAL;
}

/* -- MSI ------------------------------------------------------------------------------ */

static void set_vector(struct rmio_irqs *q, uint32_t v, struct rmio_signal *s)
{
	if (q->vectors[v]) {
		rmio_signal_free(q->vectors[v]);
		q->enabled--;
	}
	q->vectors[v] = s;
	if (s)
		q->enabled++;
}

static void drop_msi(struct rmio_irqs *q)
{
	uint32_t i;

	for (i = 0; i < q->msi; i++)
		set_vector(q, i, NULL);
}

static int set_msi_eventfds(struct rmio_irqs *q, uint32_t start, uint32_t count, int *fds)
{
	struct rmio_signal *made[RMIO_MSI_MAX] = { NULL };
	uint32_t i;

	/* All or nothing. */
	for (i = 0; fds && i < count; i++)
		if (fds[i] >= 0 && !rmio_foreign_is_eventfd(fds[i]))
			return -EINVAL;
	for (i = 0; fds && i < count; i++) {
		if (fds[i] < 0)
			continue;
		made[i] = rmio_signal_new(q->loop, fds[i]);
		if (!made[i])
			goto free_made;
		fds[i] = -1;
	}
	for (i = 0; i < count; i++)
		set_vector(q, start + i, made[i]);
	return 0;

free_made:
	while (i--)
		rmio_signal_free(made[i]);
	return -ENOMEM;
}

static int set_msi(struct rmio_irqs *q, uint32_t action, uint32_t data, uint32_t start,
		   uint32_t count, int *fds, const uint8_t *bools)
{
	uint32_t i;

	if (action != VFIO_IRQ_SET_ACTION_TRIGGER || start > q->msi || count > q->msi - start)
		return -EINVAL;
	if (!count) {
		if (data != VFIO_IRQ_SET_DATA_NONE || start)
			return -EINVAL;
		drop_msi(q);
		return 0;
	}
	if (data == VFIO_IRQ_SET_DATA_EVENTFD)
		return set_msi_eventfds(q, start, count, fds);
	for (i = 0; i < count; i++)
		if (q->vectors[start + i] && (!bools || bools[i]))
			rmio_signal_raise(q->vectors[start + i]);
	return 0;
}

int rmio_irqs_msi(struct rmio_irqs *q, uint32_t v)
{
	if (v >= q->msi)
		return -ENOTCONN;
	if (q->vectors[v]) {
		/* A message is a write to memory, which the function may not make by itself yet. */
		if (!rmio_pci_config_master(q->config))
			return -EPERM;
		rmio_signal_raise(q->vectors[v]);
		return 0;
	}
	if (q->pin || !q->trigger)
		return -ENOTCONN;
	q->pulse = true;
	/* At once, and again after the end of the one before, whose handler may have missed it. */
	if (q->rises && q->masked && !rmio_pci_config_intx_off(q->config))
		rmio_signal_raise(q->trigger);
	rmio_irqs_update(q);
	return 0;
}

bool rmio_irqs_messages(const struct rmio_irqs *q)
{
	return q->enabled || (q->msi && !q->pin && q->trigger);
}

/* -- error and request ----------------------------------------------------------------- */

static int set_special(struct rmio_irqs *q, uint32_t which, uint32_t action, uint32_t data,
		       uint32_t start, uint32_t count, int *fds, const uint8_t *bools)
{
	struct rmio_signal *s = NULL;

	if (action != VFIO_IRQ_SET_ACTION_TRIGGER || start || count > 1)
		return -EINVAL;
	if (count && data != VFIO_IRQ_SET_DATA_EVENTFD) {
		if (q->special[which] && (!bools || bools[0]))
			rmio_signal_raise(q->special[which]);
		return 0;
	}
	if (count && fds && fds[0] >= 0) {
		if (!rmio_foreign_is_eventfd(fds[0]))
			return -EINVAL;
		s = rmio_signal_new(q->loop, fds[0]);
		if (!s)
			return -ENOMEM;
		fds[0] = -1;
	}
	if (q->special[which])
		rmio_signal_free(q->special[which]);
	q->special[which] = s;
	return 0;
}

static void drop_special(struct rmio_irqs *q)
{
	uint32_t i;

	for (i = 0; i < 2; i++) {
		if (q->special[i])
			rmio_signal_free(q->special[i]);
		q->special[i] = NULL;
	}
}

/* -- all ------------------------------------------------------------------------------- */

int rmio_irqs_info(const struct rmio_irqs *q, uint32_t index, uint32_t *flags, uint32_t *count)
{
	*flags = 0;
	*count = 0;
	switch (index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
		if (!q->pin)
			return 0;
		*flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
		*count = 1;
		return 0;
	case VFIO_PCI_MSI_IRQ_INDEX:
		if (!q->msi)
			return 0;
		*flags = VFIO_IRQ_INFO_EVENTFD;
		*count = q->msi;
		return 0;
	case VFIO_PCI_ERR_IRQ_INDEX:
	case VFIO_PCI_REQ_IRQ_INDEX:
		*flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
		*count = 1;
		return 0;
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return 0;
	}
	return -EINVAL;
}

int rmio_irqs_set(struct rmio_irqs *q, uint32_t index, uint32_t action, uint32_t data,
		  uint32_t start, uint32_t count, int *fds, const uint8_t *bools)
{
	if (data != VFIO_IRQ_SET_DATA_NONE && data != VFIO_IRQ_SET_DATA_BOOL &&
	    data != VFIO_IRQ_SET_DATA_EVENTFD)
		return -EINVAL;
	if (data == VFIO_IRQ_SET_DATA_BOOL && !bools)
		return -EINVAL;
	switch (index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
		return start ? -EINVAL : set_pin(q, action, data, count, fds, bools);
	case VFIO_PCI_MSI_IRQ_INDEX:
		return set_msi(q, action, data, start, count, fds, bools);
	case VFIO_PCI_ERR_IRQ_INDEX:
	case VFIO_PCI_REQ_IRQ_INDEX:
		return set_special(q, index - VFIO_PCI_ERR_IRQ_INDEX, action, data, start, count,
				   fds, bools);
	}
	return -EINVAL;
}

void rmio_irqs_drop(struct rmio_irqs *q)
{
	q->rises = false;
	drop_pin(q);
	drop_msi(q);
	drop_special(q);
}

void rmio_irqs_reset(struct rmio_irqs *q)
{
	q->pulse = false;
	rmio_irqs_pin(q, false);
}
