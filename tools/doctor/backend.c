// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio doctor`: the back ends, each tried as a VMM would, and judged by the mechanisms
 * that it needs.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <rmio/vmm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The first of a list of mechanisms that is missing, or NULL. */
static const char *missing(const struct doctor *d, const char *const (*needs)[2])
{
	for (; (*needs)[0]; needs++) {
		if (!doctor_has(d, (*needs)[0], (*needs)[1]))
			return (*needs)[1];
	}
	return NULL;
}

#define EXIT_INSTEAD	"nothing: the exit back end is used instead"
#define SEE_IT		"see there; until then the exit back end is used"
#define BUILD_AGAIN	"install them and build again; until then the exit back end is used"

/* Loads the program and attaches it to KVM's tracepoint, as a VMM would. */
static void try_bpf(const struct doctor *d, struct finding *f)
{
	static const char *const needs[][2] = {
		{ "kvm", "/dev/kvm" },
		{ "bpf", "privilege" },
		{ "bpf", "mmapable array" },
		{ "bpf", "kernel BTF" },
		{ "bpf", "tracepoint kvm_mmio" },
		{ NULL, NULL },
	};
	struct rmio_kvm_opts o = {
		.sz = sizeof(o), .kick_signal = SIGRTMIN, .flags = RMIO_KVM_BPF,
	};
	struct rmio_program_stats p = { .sz = sizeof(p) };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	const char *lacks = missing(d, needs), *why = "";
	struct rmio_vm *vm = NULL;
	int rc;

	o.vm_fd = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	rc = o.vm_fd < 0 ? -ENODEV : rmio_vm_new(NULL, &vm);
	if (!rc)
		rc = rmio_vm_kvm(vm, &o);
	if (vm && rc)
		rmio_vm_backend(vm, &why);
	if (!rc && !rmio_vm_program(vm, &p))
		doctor_note(f, "loaded and attached as program %u; threads by %s", p.id,
			    doctor_has(d, "bpf", "task storage") ? "task storage" :
			    "a hash of their numbers");
	else if (rc == -EPERM)
		doctor_not(f, "run as root, or with CAP_BPF and CAP_PERFMON, or start `rmio bpfd` "
			   "as root and give --broker; until then the exit back end is used",
			   "%s", why);
	else if (rc == -ENOTSUP && strstr(why, "built without"))
		doctor_not(f, BUILD_AGAIN, "%s", why);
	else if (lacks)
		doctor_not(f, SEE_IT, "%s%smissing: %s", why, *why ? "; " : "", lacks);
	else if (rc)
		doctor_not(f, EXIT_INSTEAD, "%s", *why ? why : strerror(-rc));
	if (vm)
		rmio_vm_free(vm);
	if (o.vm_fd >= 0)
		close(o.vm_fd);
	if (kvm >= 0)
		close(kvm);
}

/* Makes the device, as a VMM would: of the kernel's word that it has it, nothing is lost. */
static void try_kvm(struct finding *f)
{
	struct kvm_create_device cd = { .type = KVM_DEV_TYPE_USER };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0)
		doctor_not(f, "see /dev/kvm", "no KVM to ask");
	else if (!ioctl(vm, KVM_CREATE_DEVICE, &cd))
		close((int)cd.fd);
	else if (errno == ENODEV)
		doctor_not(f, "build and install the modules as kern/README.md says; until then bpf or "
			   "exit is used", "this kernel's KVM has no device KVM_DEV_TYPE_USER");
	else
		doctor_not(f, "nothing: bpf or exit is used instead", "KVM_CREATE_DEVICE: %s",
			   strerror(errno));
	if (vm >= 0)
		close(vm);
	if (kvm >= 0)
		close(kvm);
}

void doctor_backends(struct doctor *d)
{
	struct finding *f;

	f = doctor_add(d, "backend", "kvm", "loads and stores answered in the kernel");
	try_kvm(f);
	f = doctor_add(d, "backend", "bpf", "loads without an exit, stores taken in the kernel");
	try_bpf(d, f);
	f = doctor_add(d, "backend", "exit",
		       "every access exits to the VMM, then goes through the ring");
	if (!doctor_has(d, "memory", "memfd seals"))
		doctor_not(f, "use Linux 5.1 or later", "memfd seals are missing");
	else if (!doctor_has(d, "io_uring", "io_uring"))
		doctor_not(f, "see io_uring", "device processes need io_uring");
	else if (!doctor_has(d, "kvm", "/dev/kvm"))
		doctor_note(f, "without KVM: for VMMs that emulate their guest");
}
