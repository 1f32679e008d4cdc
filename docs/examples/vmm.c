// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A complete VMM for one real-mode guest, which stores twice to the device of counter.c and
 * reads its counter; on the back end bpf if this process may, or if BROKER is the socket of
 * an `rmio bpfd`, else on exit.  The near end of the data path.
 * cc vmm.c $(pkg-config --cflags --libs rmio) && ./a.out /tmp/counter.sock [BROKER]
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <rmio/rmio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define BASE	0xd0000u	/* of the device, above the guest's memory */

static const uint8_t guest[] = {
	0xb8, 0x00, 0xd0,				/* mov $0xd000, %ax */
	0x8e, 0xd8,					/* mov %ax, %ds */
	0x66, 0xa3, 4, 0,				/* mov %eax, 4 */
	0x66, 0xa3, 4, 0,				/* mov %eax, 4 */
	0x66, 0xa1, 0, 0,				/* mov 0, %eax */
	0x66, 0xe7, 0x10,				/* out %eax, $0x10 */
	0xf4,						/* hlt */
};

static struct rmio_vcpu *vcpu;

/* A signal ends KVM_RUN; and a wait for the device, should it come there. */
static void on_kick(int sig)
{
	(void)sig;
	rmio_vcpu_kick(vcpu);
}

static int check(const char *what, int err)
{
	if (err >= 0)
		return err;
	fprintf(stderr, "vmm: %s: %s\n", what, rmio_errstr(err));
	exit(1);
}

/* The call returned err, with errno set when it is below 0. */
static int sys(const char *what, int err)
{
	return check(what, err < 0 ? -errno : err);
}

static void *map(const char *what, size_t len, int fd)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

	sys(what, p == MAP_FAILED ? -1 : 0);
	return p;
}

int main(int argc, char **argv)
{
	struct rmio_pa_range bar0 = { .addr = BASE, .len = 16, .bus = RMIO_BUS_MEM, .id = 0 };
	struct kvm_userspace_memory_region ram = { .memory_size = 0x10000 };
	struct rmio_client_opts opts = { .sz = sizeof(opts) };
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
	struct rmio_kvm_opts bpf = { .sz = sizeof(bpf), .kick_signal = SIGUSR1 };
	struct sigaction kick = { .sa_handler = on_kick };
	struct rmio_client *client;
	struct kvm_sregs sregs;
	const char *why;
	struct kvm_run *run;
	int kvm, vm, cpu, rc;

	if (argc != 2 && argc != 3)
		check("usage: vmm SOCKET [BROKER]", -EINVAL);

	/* A VM with 64 KiB of memory and one vCPU: nothing here is about rmio. */
	kvm = sys("/dev/kvm", open("/dev/kvm", O_RDWR | O_CLOEXEC));
	vm = sys("KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, 0));
	ram.userspace_addr = (uintptr_t)map("memory", ram.memory_size, -1);
	memcpy((void *)(uintptr_t)(ram.userspace_addr + regs.rip), guest, sizeof(guest));
	sys("memory", ioctl(vm, KVM_SET_USER_MEMORY_REGION, &ram));
	cpu = sys("KVM_CREATE_VCPU", ioctl(vm, KVM_CREATE_VCPU, 0));
	run = map("kvm_run", (size_t)sys("kvm_run", ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0)), cpu);
	sys("KVM_GET_SREGS", ioctl(cpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = sregs.cs.selector = 0;
	sys("KVM_SET_SREGS", ioctl(cpu, KVM_SET_SREGS, &sregs));
	sys("KVM_SET_REGS", ioctl(cpu, KVM_SET_REGS, &regs));

	/* The back end: memory slots from 1 on are the library's, and so are coalesced zones. */
	check("rmio_vm_new", rmio_vm_new(NULL, &opts.vm));
	bpf.vm_fd = vm;
	bpf.first_slot = 1;
	bpf.nr_slots = 8;
	bpf.flags = RMIO_KVM_ZONES;
	bpf.broker = argv[2];
	rmio_vm_kvm(opts.vm, &bpf);
	switch (rmio_vm_backend(opts.vm, &why)) {
	case RMIO_BACKEND_KVM:
		printf("back end kvm\n");
		break;
	case RMIO_BACKEND_BPF:
		printf("back end bpf\n");
		break;
	default:
		printf("back end exit: %s\n", why);
	}

	/* The device: connect, and say where its BAR 0 is. */
	check("rmio_vcpu_new", rmio_vcpu_new(opts.vm, 0, NULL, &vcpu));
	sys("sigaction", sigaction(SIGUSR1, &kick, NULL));
	check("connect", rmio_client_connect(argv[1], &opts, &client));
	if (!rmio_client_master(client))
		check("no rings", -EOPNOTSUPP);
	check("place", rmio_master_pa_range(rmio_client_master(client), &bar0));

	check("rmio_vcpu_enter", rmio_vcpu_enter(vcpu, run));
	for (;;) {
		bool intr = ioctl(cpu, KVM_RUN, 0) < 0;

		if (intr && errno != EINTR && errno != EAGAIN)
			sys("KVM_RUN", -1);
		while ((rc = intr ? rmio_vcpu_intr(vcpu, run) :
				    rmio_vcpu_exit(vcpu, run)) == -EINTR)
			;
		if (rc != -EOPNOTSUPP)
			continue;
		if (run->exit_reason == KVM_EXIT_IO)
			printf("the guest reads %u\n",
			       *(uint32_t *)((char *)run + run->io.data_offset));
		else if (run->exit_reason == KVM_EXIT_MMIO)
			/* Nobody's, such as a range that was just moved: as on a bus. */
			memset(run->mmio.data, 0xff, run->mmio.is_write ? 0 : 8);
		else
			break;
	}
	rmio_client_free(client);
	rmio_vcpu_free(vcpu);
	rmio_vm_free(opts.vm);
	return run->exit_reason != KVM_EXIT_HLT;
}
