// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Binds the PCI bus to the library's client: configuration space, ranges,
 * interrupts and DMA of a device go through its socket; its BARs' accesses
 * through the master, or for a device without rmio over the socket.
 */
#include "device.h"
#include "log.h"
#include "sockets.h"
#include "text.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* -- back end of the PCI bus ----------------------------------------------- */

static int config_read(void *be, unsigned int reg, void *buf, unsigned int len)
{
	struct vmm_device *dev = be;

	return rmio_client_region_read(dev->client, VFIO_PCI_CONFIG_REGION_INDEX, reg, buf, len);
}

static int config_write(void *be, unsigned int reg, const void *buf, unsigned int len)
{
	struct vmm_device *dev = be;

	return rmio_client_region_write(dev->client, VFIO_PCI_CONFIG_REGION_INDEX, reg, buf, len);
}

static int region_size(void *be, unsigned int bar, uint64_t *size)
{
	struct vmm_device *dev = be;
	struct rmio_region_info info = { 0 };
	int rc = rmio_client_region_info(dev->client, VFIO_PCI_BAR0_REGION_INDEX + bar, &info);

	*size = rc ? 0 : info.size;
	return rc;
}

/* For a device that decodes addresses itself: write to the BAR's registers, as the guest did. */
static int tell_place(struct vmm_device *dev, unsigned int bar, uint64_t addr)
{
	unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * bar;
	uint32_t type, half = (uint32_t)addr;
	int rc = config_read(dev, reg, &type, sizeof(type));

	if (!rc)
		rc = config_write(dev, reg, &half, sizeof(half));
	if (!rc && (type & (PCI_BASE_ADDRESS_SPACE | PCI_BASE_ADDRESS_MEM_TYPE_MASK)) ==
		   PCI_BASE_ADDRESS_MEM_TYPE_64) {
		half = (uint32_t)(addr >> 32);
		rc = config_write(dev, reg + 4, &half, sizeof(half));
	}
	return rc;
}

static int place(void *be, unsigned int bar, bool io, uint64_t addr, uint64_t len)
{
	struct vmm_device *dev = be;
	struct rmio_pa_range r = {
		.addr = addr,
		.len = len,
		.bus = io ? RMIO_BUS_IO : RMIO_BUS_MEM,
		.id = bar,
	};

	if (dev->master)
		return rmio_master_pa_range(dev->master, &r);
	if (dev->decodes && len) {
		int rc = tell_place(dev, bar, addr);

		if (rc)
			return rc;
	}
	pthread_rwlock_wrlock(&dev->lock);
	dev->places[bar] = (struct vmm_place){ io, addr, len };
	pthread_rwlock_unlock(&dev->lock);
	return 0;
}

static int msi_count(void *be, unsigned int *count)
{
	struct vmm_device *dev = be;
	uint32_t flags, n;
	int rc = rmio_client_irq_info(dev->client, VFIO_PCI_MSI_IRQ_INDEX, &flags, &n);

	*count = !rc && flags & VFIO_IRQ_INFO_EVENTFD ? n : 0;
	return rc;
}

static int set_intx(void *be, int trigger, int unmask)
{
	struct vmm_device *dev = be;
	int rc;

	if (dev->closing)
		return 0;
	if (trigger < 0)
		return rmio_client_set_irqs(dev->client, VFIO_PCI_INTX_IRQ_INDEX,
					    VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);
	rc = rmio_client_set_irqs(dev->client, VFIO_PCI_INTX_IRQ_INDEX,
				  VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &trigger);
	if (rc)
		return rc;
	return rmio_client_set_irqs(dev->client, VFIO_PCI_INTX_IRQ_INDEX,
				    VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &unmask);
}

static int unmask_intx(void *be)
{
	struct vmm_device *dev = be;

	return rmio_client_set_irqs(dev->client, VFIO_PCI_INTX_IRQ_INDEX,
				    VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL);
}

static int set_msi(void *be, unsigned int count, const int *fds)
{
	struct vmm_device *dev = be;

	if (dev->closing)
		return 0;
	return rmio_client_set_irqs(dev->client, VFIO_PCI_MSI_IRQ_INDEX,
				    VFIO_IRQ_SET_ACTION_TRIGGER, 0, count, count ? fds : NULL);
}

static int dma_map(void *be, uint64_t gpa, uint64_t len, int fd, uint64_t offset)
{
	struct vmm_device *dev = be;

	return rmio_client_dma_map(dev->client, gpa, len, fd, offset, PROT_READ | PROT_WRITE);
}

static int reset(void *be)
{
	struct vmm_device *dev = be;

	return dev->can_reset ? rmio_client_reset(dev->client) : 0;
}

const struct vmm_pci_backend_ops vmm_device_ops = {
	.config_read = config_read,
	.config_write = config_write,
	.region_size = region_size,
	.place = place,
	.msi_count = msi_count,
	.set_intx = set_intx,
	.unmask_intx = unmask_intx,
	.set_msi = set_msi,
	.dma_map = dma_map,
	.reset = reset,
};

/* -- accesses over the socket ---------------------------------------------- */

static void complain(struct vmm_device *dev, int rc)
{
	bool first;

	pthread_rwlock_wrlock(&dev->lock);
	first = !dev->complained;
	dev->complained = true;
	pthread_rwlock_unlock(&dev->lock);
	if (first)
		log_line("rmio vmm", "", "%s: the device does not answer: %s", dev->title,
			 strerror(-rc));
}

struct access {
	bool io, store;
	uint64_t addr;
	uint8_t *data;
	unsigned int len;
};

/* The part of it that lies in range @id, as a bus would cut it.  False: none. */
static bool part(struct vmm_device *dev, unsigned int id, const struct access *a)
{
	uint64_t first, last, start, end = a->addr + (a->len - 1);
	struct vmm_place p;
	uint8_t *data;
	uint32_t len;
	int rc;

	pthread_rwlock_rdlock(&dev->lock);
	p = dev->places[id];
	pthread_rwlock_unlock(&dev->lock);
	if (!p.len || p.io != a->io || end < a->addr || p.addr > end ||
	    a->addr > p.addr + (p.len - 1))
		return false;
	first = a->addr > p.addr ? a->addr : p.addr;
	last = end < p.addr + (p.len - 1) ? end : p.addr + (p.len - 1);
	start = first - p.addr;
	len = (uint32_t)(last - first + 1);
	data = a->data + (first - a->addr);
	if (a->store) {
		rc = rmio_client_region_write(dev->client, id, start, data, len);
	} else {
		rc = rmio_client_region_read(dev->client, id, start, data, len);
		if (rc)
			memset(data, 0xff, len);
	}
	if (rc == -ECONNRESET || rc == -ETIMEDOUT || rc == -EPROTO)
		complain(dev, rc);
	return true;
}

static bool answer_one(struct vmm_device *devs, unsigned int n, const struct access *a)
{
	bool any = false;

	if (!a->store)
		memset(a->data, 0xff, a->len);
	for (unsigned int i = 0; i < n; i++) {
		for (unsigned int id = 0; !devs[i].master && id < VMM_PCI_BARS; id++)
			any |= part(&devs[i], id, a);
	}
	return any;
}

int vmm_device_answer(struct vmm_device *devs, unsigned int n, struct kvm_run *run)
{
	bool io = run->exit_reason == KVM_EXIT_IO;
	unsigned int count = io ? run->io.count : 1;
	struct access a = {
		.io = io,
		.store = io ? run->io.direction == KVM_EXIT_IO_OUT : run->mmio.is_write,
		.addr = io ? run->io.port : run->mmio.phys_addr,
		.data = io ? (uint8_t *)run + run->io.data_offset : run->mmio.data,
		.len = io ? run->io.size : run->mmio.len,
	};

	while (count-- && answer_one(devs, n, &a)) {
		a.data += a.len;
		if (!count)
			return 0;
	}
	return -EOPNOTSUPP;
}

/* -- connecting ------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* One of the signals that end the VM waits to be taken. */
static bool interrupted(void)
{
	sigset_t set;

	return !sigpending(&set) &&
	       (sigismember(&set, SIGINT) == 1 || sigismember(&set, SIGTERM) == 1);
}

static int connect_socket(const struct vmm_device_opts *opts, const struct rmio_client_opts *co,
			  struct rmio_client **c)
{
	uint64_t end = now_ms() + opts->retry_ms;
	int rc;

	for (;;) {
		rc = rmio_client_connect(opts->socket, co, c);
		if ((rc != -ENOENT && rc != -ECONNREFUSED) || now_ms() >= end)
			return rc;
		if (interrupted())
			return -EINTR;
		poll(NULL, 0, 10);
	}
}

/* What to do about a socket that could not be connected to. */
static const char *remedy(const char *path, int rc)
{
	const char *remark = socket_remark(path, rc);

	if (remark)
		return remark;
	switch (rc) {
	case -ENOENT:
		return "; start `rmio dev --socket` there first, or give it time with retry=MS";
	case -ECONNREFUSED:
		return "; nobody listens there: start the device process again";
	case -EACCES:
		return "; this user may not write to the socket";
	case -ETIMEDOUT:
		return "; it hangs, or serves another VMM, which has to end first (how long to wait for "
		       "that: --reply-timeout)";
	case -EPROTO:
	case -EPROTOTYPE:
	case -ECONNRESET:
		return "; what listens there is not a vfio-user device";
	default:
		return "";
	}
}

int vmm_device_init(struct vmm_device *dev, const struct vmm_device_opts *opts,
		    const struct vmm_options *all, struct rmio_vm *vm,
		    struct vmm_err *err)
{
	struct rmio_client_opts co = {
		.sz = sizeof(co),
		.vm = opts->no_rings ? NULL : vm,
		.master = {
			.sz = sizeof(co.master),
			/* What is left out here is the best, which may be a better one. */
			.backend = all->backend == RMIO_BACKEND_BPF &&
				   rmio_vm_backend(vm, NULL) == RMIO_BACKEND_KVM ?
				   RMIO_BACKEND_BPF : RMIO_BACKEND_AUTO,
			.timeout_ns = all->timeout_ns,
			.arg = dev,
		},
		.protocol = opts->qemu ? RMIO_PROTOCOL_MULTI_PROCESS : RMIO_PROTOCOL_VFIO_USER,
		.reply_timeout_ms = all->reply_timeout_ms,
	};
	uint32_t flags, regions, irqs;
	const char *base, *spec = opts->qemu ? opts->qemu : opts->spawn ? opts->spawn : opts->exec;
	int fd, rc;

	memset(dev, 0, sizeof(*dev));
	dev->pidfd = -1;
	dev->line_fd = -1;
	dev->unmask_fd = -1;
	dev->decodes = opts->qemu;
	pthread_rwlock_init(&dev->lock, NULL);
	if (spec) {
		base = opts->exec ? strrchr(spec, '/') + 1 : spec;
		snprintf(dev->name, sizeof(dev->name), "%.*s", (int)strcspn(base, ","), base);
		fd = vmm_spawn(dev, opts, all, err);
		if (fd < 0)
			return fd;
		rc = rmio_client_new(fd, &co, &dev->client);
		if (rc) {
			dev->client = NULL;
			vmm_fail(err, rc, "%s%s: %s", opts->qemu ? "--device qemu=" : "--spawn ",
				 spec, rc == -ECONNRESET ? "the device process ended at once" :
				 strerror(-rc));
		}
	} else {
		dev->socket = opts->socket;
		base = strrchr(opts->socket, '/');
		text_copy(dev->name, sizeof(dev->name), base ? base + 1 : opts->socket);
		rc = connect_socket(opts, &co, &dev->client);
		if (rc) {
			dev->client = NULL;
			vmm_fail(err, rc, "--device socket=%s: %s%s", opts->socket, strerror(-rc),
				 remedy(opts->socket, rc));
		}
	}
	if (!rc) {
		/* What it is, if it says so; where it is served says less. */
		if (*rmio_client_name(dev->client))
			text_copy(dev->name, sizeof(dev->name), rmio_client_name(dev->client));
		dev->master = rmio_client_master(dev->client);
		rc = rmio_client_device_info(dev->client, &flags, &regions, &irqs);
		if (rc)
			vmm_fail(err, rc, "%s: %s", dev->name, strerror(-rc));
	}
	dev->platform = !rc && !(flags & VFIO_DEVICE_FLAGS_PCI);
	if (dev->platform && !(flags & VFIO_DEVICE_FLAGS_PLATFORM))
		rc = vmm_fail(err, -ENODEV, "%s: neither a PCI device nor one of the platform",
			      dev->name);
	else if (!rc && !dev->platform && regions <= VFIO_PCI_CONFIG_REGION_INDEX)
		rc = vmm_fail(err, -ENODEV, "%s: a PCI device without configuration space",
			      dev->name);
	else if (!rc && !dev->platform && opts->nr_places)
		rc = vmm_fail(err, -EINVAL, "%s: port=, mmio= and irq= are not for a PCI device, "
			      "which the guest places", dev->name);
	if (rc) {
		vmm_device_exit(dev);
		return rc;
	}
	text_copy(dev->title, sizeof(dev->title), dev->name);
	dev->regions = regions;
	dev->irqs = irqs;
	dev->can_reset = flags & VFIO_DEVICE_FLAGS_RESET;
	return 0;
}

void vmm_device_exit(struct vmm_device *dev)
{
	struct pollfd p = { .fd = dev->pidfd, .events = POLLIN };
	char how[128];

	if (dev->client)
		rmio_client_free(dev->client);
	dev->client = NULL;
	dev->master = NULL;
	if (dev->pidfd >= 0) {
		/* Without its peer it ends by itself, unless it is stuck. */
		if (dev->pid && poll(&p, 1, 2000) != 1)
			vmm_spawn_kill(dev);
		if (dev->pid)
			vmm_spawn_reap(dev, how, sizeof(how));
		close(dev->pidfd);
		dev->pidfd = -1;
	}
	pthread_rwlock_destroy(&dev->lock);
}
