// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Interrupt routes and irqfds: how a device process's eventfd becomes a
 * message or a pin of the in-kernel I/O APIC without passing through the VMM.
 *
 * GSI 0 to 23 are the I/O APIC's inputs (0 to 15 also the two PICs', as on a
 * PC); messages get GSIs from 24 on.  KVM takes the whole table at each
 * change, so the VMM keeps it.
 */
#include "kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static void add_pin(struct kvm_irq_routing *t, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	struct kvm_irq_routing_entry *e = &t->entries[t->nr++];

	e->gsi = gsi;
	e->type = KVM_IRQ_ROUTING_IRQCHIP;
	e->u.irqchip.irqchip = chip;
	e->u.irqchip.pin = pin;
}

/* Called with route_lock held. */
static int write_routes(struct vmm_vm *vm)
{
	struct kvm_irq_routing *t;
	int rc = 0;

	t = calloc(1, sizeof(*t) + (2 * VMM_GSI_PINS + VMM_MSI_MAX) * sizeof(t->entries[0]));
	if (!t)
		return -ENOMEM;
	for (uint32_t i = 0; i < VMM_GSI_PINS; i++) {
		/* Input 2 of the first PIC is the second PIC. */
		if (i < 16 && i != 2)
			add_pin(t, i, i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				i & 7);
		/* The timer, GSI 0, arrives at input 2 of the I/O APIC. */
		if (i == 0)
			add_pin(t, i, KVM_IRQCHIP_IOAPIC, 2);
		else if (i != 2)
			add_pin(t, i, KVM_IRQCHIP_IOAPIC, i);
	}
	for (uint32_t i = 0; i < VMM_MSI_MAX; i++) {
		struct vmm_route *r = &vm->routes[i];
		struct kvm_irq_routing_entry *e;

		if (!r->set)
			continue;
		e = &t->entries[t->nr++];
		e->gsi = VMM_GSI_MSI + i;
		e->type = KVM_IRQ_ROUTING_MSI;
		e->u.msi.address_lo = (uint32_t)r->addr;
		e->u.msi.address_hi = (uint32_t)(r->addr >> 32);
		e->u.msi.data = r->data;
	}
	if (ioctl(vm->fd, KVM_SET_GSI_ROUTING, t) < 0)
		rc = -errno;
	free(t);
	return rc;
}

int vmm_irq_init(struct vmm_vm *vm, struct vmm_err *err)
{
	int rc;

	pthread_mutex_lock(&vm->route_lock);
	rc = write_routes(vm);
	pthread_mutex_unlock(&vm->route_lock);
	if (rc)
		vmm_fail(err, rc, "KVM_SET_GSI_ROUTING: %s", strerror(-rc));
	return rc;
}

int vmm_msi_route_new(struct vmm_vm *vm)
{
	int gsi = -ENOSPC;

	pthread_mutex_lock(&vm->route_lock);
	for (unsigned int i = 0; i < VMM_MSI_MAX; i++) {
		if (!vm->routes[i].used) {
			vm->routes[i] = (struct vmm_route){ .used = true };
			gsi = (int)(VMM_GSI_MSI + i);
			break;
		}
	}
	pthread_mutex_unlock(&vm->route_lock);
	return gsi;
}

int vmm_msi_route_set(struct vmm_vm *vm, unsigned int gsi, uint64_t addr, uint32_t data)
{
	struct vmm_route *r, old;
	int rc;

	if (gsi < VMM_GSI_MSI || gsi - VMM_GSI_MSI >= VMM_MSI_MAX)
		return -EINVAL;
	pthread_mutex_lock(&vm->route_lock);
	r = &vm->routes[gsi - VMM_GSI_MSI];
	if (!r->used) {
		rc = -ENOENT;
	} else {
		old = *r;
		r->set = true;
		r->addr = addr;
		r->data = data;
		rc = write_routes(vm);
		/* What KVM refuses must not spoil the table for the others. */
		if (rc)
			*r = old;
	}
	pthread_mutex_unlock(&vm->route_lock);
	return rc;
}

void vmm_msi_route_free(struct vmm_vm *vm, unsigned int gsi)
{
	if (gsi < VMM_GSI_MSI || gsi - VMM_GSI_MSI >= VMM_MSI_MAX)
		return;
	pthread_mutex_lock(&vm->route_lock);
	vm->routes[gsi - VMM_GSI_MSI] = (struct vmm_route){ .used = false };
	write_routes(vm);
	pthread_mutex_unlock(&vm->route_lock);
}

int vmm_irqfd_assign(struct vmm_vm *vm, int eventfd, int resample, unsigned int gsi)
{
	struct kvm_irqfd f = { .fd = (uint32_t)eventfd, .gsi = gsi };

	if (resample >= 0) {
		f.flags = KVM_IRQFD_FLAG_RESAMPLE;
		f.resamplefd = (uint32_t)resample;
	}
	return ioctl(vm->fd, KVM_IRQFD, &f) < 0 ? -errno : 0;
}

int vmm_irqfd_deassign(struct vmm_vm *vm, int eventfd, unsigned int gsi)
{
	struct kvm_irqfd f = {
		.fd = (uint32_t)eventfd,
		.gsi = gsi,
		.flags = KVM_IRQFD_FLAG_DEASSIGN,
	};

	return ioctl(vm->fd, KVM_IRQFD, &f) < 0 ? -errno : 0;
}
