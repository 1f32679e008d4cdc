// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/* Devices in other processes: connected to or started, and brought to their end. */
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
}
