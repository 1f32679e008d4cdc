// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/* Which back end `rmio vmm` gets of those it may have, and what it says when one cannot be had. */
#include "backend.h"
#include "log.h"
#include "sockets.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEVICE_SLOTS	512u	/* memory slots of KVM for what devices show */

/* What to do about the back end bpf that cannot be had; empty where nothing helps. */
static const char *remedy(const char *broker, int rc)
{
	if (!broker)
		return rc == -EPERM ? "; run as root, or with these capabilities, or give the "
				      "--broker of an `rmio bpfd` that has them" : "";
	if (socket_remark(broker, rc))
		return socket_remark(broker, rc);
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		return "; start it as root: rmio bpfd --socket PATH --group NAME";
	if (rc == -ECONNRESET || (rc == -EACCES && access(broker, W_OK)))
		return "; it serves root, its own user and the group that its --group names";
	return "";
}

int vmm_backend_pick(const struct vmm_options *opts, struct vmm_vm *vm, struct rmio_vm *rmio,
		     struct vmm_err *err)
{
	int slots = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
	struct rmio_kvm_opts o = {
		.sz = sizeof(o),
		.vm_fd = vm->fd,
		.kick_signal = vmm_kick_signal(),
		.first_slot = VMM_RAM_SLOTS,
		.flags = RMIO_KVM_ZONES,
		.broker = opts->broker,
	};
	const char *why;
	int rc;

	if (opts->backend == RMIO_BACKEND_EXIT || !opts->nr_devices)
		return 0;
	if (slots > (int)VMM_RAM_SLOTS)
		o.nr_slots = (uint32_t)slots - VMM_RAM_SLOTS;
	if (o.nr_slots > DEVICE_SLOTS)
		o.nr_slots = DEVICE_SLOTS;
	if (opts->backend == RMIO_BACKEND_BPF)
		o.flags |= RMIO_KVM_BPF;
	rc = rmio_vm_kvm(rmio, &o);
	if (opts->backend == RMIO_BACKEND_KVM && rmio_vm_backend(rmio, NULL) != RMIO_BACKEND_KVM)
		return vmm_fail(err, rc ? rc : -ENOTSUP, "--backend kvm: this kernel's KVM has no "
				"device KVM_DEV_TYPE_USER; kern/README.md says how to get one");
	if (!rc)
		return 0;
	rmio_vm_backend(rmio, &why);
	if (opts->backend == RMIO_BACKEND_BPF)
		return vmm_fail(err, rc, "--backend bpf: %s%s", why, remedy(opts->broker, rc));
	log_line("rmio vmm", "", "back end exit, since there is no bpf: %s%s", why,
		 remedy(opts->broker, rc));
	return 0;
}
