/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Whether a VM of this process can have the bpf back end: tried, not guessed.
 */
#ifndef RMIO_NEED_BPF_H
#define RMIO_NEED_BPF_H

#include "ktap.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <rmio/vmm.h>
#include <signal.h>
#include <sys/ioctl.h>

/* NULL: it can; else what is missing. */
__attribute__((unused))
static const char *bpf_lacks(void)
{
	struct rmio_kvm_opts o = {
		.sz = sizeof(o), .kick_signal = SIGRTMIN, .flags = RMIO_KVM_BPF,
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int fd = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	static char text[256];
	struct rmio_vm *vm;
	const char *why = "no VM of KVM";

	text[0] = 0;
	if (fd >= 0 && !rmio_vm_new(NULL, &vm)) {
		o.vm_fd = fd;
		if (rmio_vm_kvm(vm, &o)) {
			rmio_vm_backend(vm, &why);
			snprintf(text, sizeof(text), "%s", why);
		}
		rmio_vm_free(vm);
	} else {
		snprintf(text, sizeof(text), "%s", why);
	}
	if (fd >= 0)
		close(fd);
	if (kvm >= 0)
		close(kvm);
	return text[0] ? text : NULL;
}

#define NEED_BPF() do {								\
	const char *lacks_ = bpf_lacks();					\
	static char reason_[300];						\
										\
	if (lacks_) {								\
		snprintf(reason_, sizeof(reason_), "no back end bpf: %s", lacks_);	\
		T_SKIP(reason_, "run as root on a kernel with BTF, see `rmio doctor`");	\
	}									\
} while (0)

#endif
