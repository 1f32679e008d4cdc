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

/* Has KVM the device of kern/? */
__attribute__((unused))
static bool kdev_there(void)
{
	struct rmio_kvm_opts o = { .sz = sizeof(o), .kick_signal = SIGRTMIN };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct rmio_vm *vm;
	bool has = false;

	o.vm_fd = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	if (!rmio_vm_new(NULL, &vm)) {
		rmio_vm_kvm(vm, &o);
		has = rmio_vm_backend(vm, NULL) == RMIO_BACKEND_KVM;
		rmio_vm_free(vm);
	}
	if (o.vm_fd >= 0)
		close(o.vm_fd);
	if (kvm >= 0)
		close(kvm);
	return has;
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

#define NEED_KDEV() do {							\
	if (!kdev_there())							\
		T_SKIP("this kernel has no KVM_DEV_TYPE_USER",			\
		       "run it on a kernel with kern/'s patches: ./dev vm --kernel patched"); \
} while (0)

#endif
