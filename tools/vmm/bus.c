// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/* The PCI bus of `rmio vmm`: its windows, guest memory for DMA, irqfds and routes of KVM. */
#include "bus.h"
#include "log.h"

static int route_new(void *arg)
{
	return vmm_msi_route_new(arg);
}

static int route_set(void *arg, unsigned int gsi, uint64_t addr, uint32_t data)
{
	return vmm_msi_route_set(arg, gsi, addr, data);
}

static void route_free(void *arg, unsigned int gsi)
{
	vmm_msi_route_free(arg, gsi);
}

static int assign(void *arg, int eventfd, int resample, unsigned int gsi)
{
	return vmm_irqfd_assign(arg, eventfd, resample, gsi);
}

static int deassign(void *arg, int eventfd, unsigned int gsi)
{
	return vmm_irqfd_deassign(arg, eventfd, gsi);
}

static const struct rmio_pci_irq_ops irq_ops = {
	.route_new = route_new,
	.route_set = route_set,
	.route_free = route_free,
	.assign = assign,
	.deassign = deassign,
};

static void say(void *arg, const char *who, const char *line)
{
	(void)arg;
	log_line("rmio vmm", who, "%s: %s", who, line);
}

int vmm_bus_new(struct vmm_vm *vm, struct rmio_pci **pci)
{
	struct rmio_pci_memory memory[VMM_RAM_SLOTS] = { 0 };
	struct rmio_pci_opts o = {
		.sz = sizeof(o),
		.irqs = &irq_ops,
		.irq_arg = vm,
		.memory = memory,
		.nr_memory = vm->nr_ram,
		.mem = { VMM_PCI_MEM_FIRST, VMM_PCI_MEM_LAST },
		.high = { VMM_HIGH_ADDR, VMM_PCI_HIGH_LAST },
		.io = { VMM_PCI_IO_FIRST, VMM_PCI_IO_LAST },
		.first_gsi = VMM_PCI_PIN_GSI,
		.nr_gsis = 8,
		.log = say,
	};

	for (unsigned int i = 0; i < vm->nr_ram; i++) {
		memory[i].gpa = vm->ram[i].gpa;
		memory[i].len = vm->ram[i].len;
		memory[i].offset = vm->ram[i].offset;
		memory[i].fd = vm->memfd;
		if (memory[i].gpa >= VMM_HIGH_ADDR)
			o.high.first = memory[i].gpa + memory[i].len;
	}
	return rmio_pci_new(&o, pci);
}
