// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio doctor`: what KVM offers here, asked of KVM and of a VM of its own.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const struct {
	int cap;
	const char *name;
	const char *use;
	const char *todo;
} caps[] = {
	{ KVM_CAP_IRQCHIP, "in-kernel irqchip", "interrupt controllers of `rmio vmm`",
	  "use an x86 host with a kernel that has them" },
	{ KVM_CAP_IRQFD, "irqfd", "a device interrupts the guest without the VMM", "" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routing", "MSI", "" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit", "kicking a vCPU without a race",
	  "use Linux 4.11 or later" },
	{ KVM_CAP_IOEVENTFD, "ioeventfd", "posted stores without an exit (back end bpf)", "" },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, "ioeventfd any length", "doorbells of every size", "" },
	{ KVM_CAP_READONLY_MEM, "read-only memslot", "loads without an exit (back end bpf)", "" },
	{ KVM_CAP_COALESCED_MMIO, "coalesced MMIO", "posted stores kept by KVM (back end bpf)",
	  "" },
	{ KVM_CAP_COALESCED_PIO, "coalesced PIO", "the same for ports", "" },
};

/*
 * An irqfd with resampling, on a VM whose interrupt controllers are all in the kernel and, @split,
 * on one that has but the local ones there: the capability is 1 for both.  0 or -errno.
 */
static int try_resample(int kvm, bool split)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	struct kvm_irqfd irqfd = { .flags = KVM_IRQFD_FLAG_RESAMPLE, .gsi = 5 };
	int vm = ioctl(kvm, KVM_CREATE_VM, 0), fd = eventfd(0, EFD_CLOEXEC);
	int ends = eventfd(0, EFD_CLOEXEC), err = -EMFILE;

	if (vm >= 0 && fd >= 0 && ends >= 0) {
		irqfd.fd = (unsigned int)fd;
		irqfd.resamplefd = (unsigned int)ends;
		err = ioctl(vm, split ? KVM_ENABLE_CAP : KVM_CREATE_IRQCHIP, split ? &cap : NULL) ||
		      ioctl(vm, KVM_IRQFD, &irqfd) ? -errno : 0;
	}
	if (vm >= 0)
		close(vm);
	if (fd >= 0)
		close(fd);
	if (ends >= 0)
		close(ends);
	return err;
}

static void doctor_resample(struct doctor *d, int kvm)
{
	struct finding *f = doctor_add(d, "kvm", "irqfd resample", "level-triggered pins");
	int full, split;

	if (kvm < 0) {
		doctor_not(f, "", "no KVM to ask");
		return;
	}
	full = try_resample(kvm, false);
	split = try_resample(kvm, true);
	if (full)
		doctor_not(f, "", "tried with interrupt controllers in the kernel: %s", strerror(-full));
	else if (split)
		doctor_note(f, "tried: with interrupt controllers in the kernel, as `rmio vmm` has them; not "
			    "with a split irqchip (%s), where the VMM has to see the end of an interrupt",
			    strerror(-split));
	else
		doctor_note(f, "tried: with interrupt controllers in the kernel and with a split irqchip");
}

void doctor_kvm(struct doctor *d)
{
	struct finding *f = doctor_add(d, "kvm", "/dev/kvm", "a VM with hardware's help");
	int kvm, vm = -1, n;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0 && errno == ENOENT)
		doctor_not(f, "load kvm_intel or kvm_amd, or turn on (nested) virtualisation",
			   "it does not exist");
	else if (kvm < 0 && (errno == EACCES || errno == EPERM))
		doctor_not(f, "add this user to the group that owns /dev/kvm (often kvm)",
			   "this user may not open it");
	else if (kvm < 0)
		doctor_not(f, "", "open: %s", strerror(errno));
	else if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		doctor_not(f, "", "its API is not version %d", KVM_API_VERSION);
	else
		vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (f->there && vm < 0)
		doctor_not(f, "", "KVM_CREATE_VM: %s", strerror(errno));
	if (f->there)
		doctor_note(f, "up to %d vCPUs, %d memory slots",
			    ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS),
			    ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS));
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		f = doctor_add(d, "kvm", caps[i].name, caps[i].use);
		n = vm < 0 ? -1 : ioctl(vm, KVM_CHECK_EXTENSION, caps[i].cap);
		if (vm < 0)
			doctor_not(f, "", "no KVM to ask");
		else if (n <= 0)
			doctor_not(f, caps[i].todo, "this kernel's KVM does not offer it");
		if (caps[i].cap == KVM_CAP_IRQFD)
			doctor_resample(d, vm < 0 ? -1 : kvm);
	}
	if (vm >= 0)
		close(vm);
	if (kvm >= 0)
		close(kvm);
}
