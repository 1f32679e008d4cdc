// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Devices that are not PCI, placed by the command line.
 *
 * Where they may lie is what the PCI bus, whose BARs the guest moves at any time, leaves: ports
 * below 0x1000, addresses below its hole or between the hole and the I/O APIC's end, none of them
 * memory.
 */
#include "bus.h"
#include "platform.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

struct taken {
	uint64_t first, last;
	const char *by;
};

/* KVM's own, and the VMM's. */
static const struct taken ports[] = {
	{ 0x20, 0x21, "the interrupt controller" },
	{ 0x40, 0x43, "the timer" },
	{ 0x61, 0x61, "the timer" },
	{ 0xa0, 0xa1, "the interrupt controller" },
	{ 0xe9, 0xe9, "the console" },
	{ 0xf4, 0xf5, "the VMM" },
	{ 0x4d0, 0x4d1, "the interrupt controller" },
	{ 0xcf8, 0xcff, "the PCI bus" },
	{ VMM_PCI_IO_FIRST, UINT64_MAX, "the PCI bus" },
};

static const struct taken addresses[] = {
	{ VMM_PCI_MEM_FIRST, VMM_PCI_MEM_LAST, "the PCI bus" },
	{ 0xfec00000, 0xfec00fff, "the I/O APIC" },
	{ 0xfee00000, 0xfeefffff, "the local APIC" },
	{ 0xfffbc000, 0xfffbffff, "KVM" },
	{ VMM_HIGH_ADDR, UINT64_MAX, "the PCI bus" },
};

static const char *find(const struct taken *t, size_t n, uint64_t first, uint64_t last)
{
	for (size_t i = 0; i < n; i++) {
		if (first <= t[i].last && last >= t[i].first)
			return t[i].by;
	}
	return NULL;
}

/* Who has some of it already; NULL: nobody. */
static const char *taken_by(const struct vmm_place *p, const struct vmm_device *devs,
			    unsigned int n, const struct vmm_vm *vm)
{
	uint64_t last = p->addr + (p->len - 1);
	const char *by = p->io ? find(ports, sizeof(ports) / sizeof(ports[0]), p->addr, last)
			       : find(addresses, sizeof(addresses) / sizeof(addresses[0]),
				      p->addr, last);

	if (by)
		return by;
	for (unsigned int i = 0; !p->io && i < vm->nr_ram; i++) {
		if (p->addr < vm->ram[i].gpa + vm->ram[i].len && last >= vm->ram[i].gpa)
			return "memory";
	}
	for (unsigned int i = 0; i < n; i++) {
		for (unsigned int k = 0; devs[i].platform && k < VMM_PLACES_MAX; k++) {
			const struct vmm_place *q = &devs[i].places[k];

			if (q->len && q->io == p->io && p->addr <= q->addr + (q->len - 1) &&
			    last >= q->addr)
				return devs[i].name;
		}
	}
	return NULL;
}

static int place_range(struct vmm_device *dev, unsigned int id, const struct vmm_place *p,
		       struct vmm_err *err)
{
	struct rmio_pa_range r = {
		.addr = p->addr,
		.len = p->len,
		.bus = p->io ? RMIO_BUS_IO : RMIO_BUS_MEM,
		.id = id,
	};
	int rc = rmio_client_pa_range(dev->client, &r);

	if (rc)
		return vmm_fail(err, rc, "%s: range %u at 0x%llx: %s", dev->name, id,
				(unsigned long long)p->addr, rmio_errstr(rc));
	dev->places[id] = *p;
	return 0;
}

static int place_all(struct vmm_device *dev, const struct vmm_device_opts *opts,
		     const struct vmm_device *others, unsigned int nr_others,
		     const struct vmm_vm *vm, struct vmm_err *err)
{
	unsigned int n = 0;

	for (unsigned int id = 0; id < dev->regions; id++) {
		struct rmio_region_info info = { 0 };
		struct vmm_place p;
		const char *by;
		int rc = rmio_client_region_info(dev->client, id, &info);

		if (rc)
			return vmm_fail(err, rc, "%s: region %u: %s", dev->name, id,
					strerror(-rc));
		if (!info.size)
			continue;
		if (n == opts->nr_places)
			return vmm_fail(err, -EINVAL, "%s is not PCI: say where its range %u, of "
					"%llu bytes, lies, by port=ADDRESS or mmio=ADDRESS",
					dev->name, id, (unsigned long long)info.size);
		if (id >= VMM_PLACES_MAX)
			return vmm_fail(err, -ENOTSUP, "%s: a range of id %u, above %u", dev->name,
					id, VMM_PLACES_MAX - 1);
		p = (struct vmm_place){ opts->places[n].io, opts->places[n].addr, info.size };
		if (p.len - 1 > UINT64_MAX - p.addr)
			return vmm_fail(err, -EINVAL, "%s: range %u wraps", dev->name, id);
		by = taken_by(&p, others, nr_others, vm);
		if (!by)
			by = taken_by(&p, dev, 1, vm);
		if (by)
			return vmm_fail(err, -EADDRINUSE, "%s: range %u at %s 0x%llx, %llu bytes: "
					"taken by %s", dev->name, id, p.io ? "port" : "address",
					(unsigned long long)p.addr, (unsigned long long)p.len, by);
		rc = place_range(dev, id, &p, err);
		if (rc)
			return rc;
		n++;
	}
	if (n < opts->nr_places)
		return vmm_fail(err, -EINVAL, "%s: %u places for %u ranges", dev->name,
				opts->nr_places, n);
	return 0;
}

static int connect_line(struct vmm_device *dev, const struct vmm_device_opts *opts,
			const struct vmm_device *others, unsigned int nr_others,
			struct vmm_vm *vm, struct vmm_err *err)
{
	uint32_t flags, count = 0;
	int rc = 0;

	if (dev->irqs)
		rc = rmio_client_irq_info(dev->client, 0, &flags, &count);
	if (rc || (!count && !opts->irq))
		return rc ? vmm_fail(err, rc, "%s: its line: %s", dev->name, strerror(-rc)) : 0;
	if (!count)
		return vmm_fail(err, -EINVAL, "%s: irq=%u, and it has no interrupt", dev->name,
				opts->irq);
	/* Without a line it can be polled, as many a UART is. */
	if (!opts->irq)
		return 0;
	for (unsigned int i = 0; i < nr_others; i++) {
		if (others[i].line == opts->irq)
			return vmm_fail(err, -EADDRINUSE, "%s: irq=%u: taken by %s", dev->name,
					opts->irq, others[i].name);
	}
	dev->line_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	dev->unmask_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dev->line_fd < 0 || dev->unmask_fd < 0)
		return vmm_fail(err, -errno, "eventfd: %s", strerror(errno));
	rc = vmm_irqfd_assign(vm, dev->line_fd, dev->unmask_fd, opts->irq);
	if (rc)
		return vmm_fail(err, rc, "%s: irq=%u: %s", dev->name, opts->irq, strerror(-rc));
	dev->line = opts->irq;
	rc = rmio_client_set_irqs(dev->client, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &dev->line_fd);
	if (!rc)
		rc = rmio_client_set_irqs(dev->client, 0, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1,
					  &dev->unmask_fd);
	return rc ? vmm_fail(err, rc, "%s: its line: %s", dev->name, strerror(-rc)) : 0;
}

int vmm_platform_add(struct vmm_device *dev, const struct vmm_device_opts *opts,
		     const struct vmm_device *others, unsigned int nr_others, struct vmm_vm *vm,
		     struct vmm_err *err)
{
	int rc = dev->can_reset ? rmio_client_reset(dev->client) : 0;

	if (rc)
		return vmm_fail(err, rc, "%s: reset: %s", dev->name, strerror(-rc));
	rc = place_all(dev, opts, others, nr_others, vm, err);
	if (!rc)
		rc = connect_line(dev, opts, others, nr_others, vm, err);
	for (unsigned int i = 0; !rc && i < vm->nr_ram; i++) {
		struct vmm_ram *r = &vm->ram[i];

		rc = rmio_client_dma_map(dev->client, r->gpa, r->len, vm->memfd, r->offset,
					 PROT_READ | PROT_WRITE);
		if (rc)
			vmm_fail(err, rc, "%s: mapping guest memory: %s", dev->name, strerror(-rc));
	}
	return rc;
}

void vmm_platform_remove(struct vmm_device *dev, struct vmm_vm *vm)
{
	if (dev->line)
		vmm_irqfd_deassign(vm, dev->line_fd, dev->line);
	dev->line = 0;
	if (dev->line_fd >= 0)
		close(dev->line_fd);
	if (dev->unmask_fd >= 0)
		close(dev->unmask_fd);
	dev->line_fd = -1;
	dev->unmask_fd = -1;
}

bool vmm_platform_port(const struct vmm_device *devs, unsigned int n, uint16_t port)
{
	for (unsigned int i = 0; i < n; i++) {
		for (unsigned int k = 0; devs[i].platform && k < VMM_PLACES_MAX; k++) {
			const struct vmm_place *p = &devs[i].places[k];

			if (p->len && p->io && port >= p->addr && port - p->addr < p->len)
				return true;
		}
	}
	return false;
}
