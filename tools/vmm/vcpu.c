// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A vCPU: its registers at entry, KVM_RUN, and the kick that gets it out.
 * The innermost loop of every exit path passes through vmm_vcpu_run().
 */
#include "kvm.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define CR0_PE		(1ull << 0)
#define CR0_MP		(1ull << 1)
#define CR0_ET		(1ull << 4)
#define CR0_NE		(1ull << 5)
#define CR0_WP		(1ull << 16)
#define CR0_PG		(1ull << 31)
#define CR4_PAE		(1ull << 5)
#define CR4_OSFXSR	(1ull << 9)
#define CR4_OSXMMEXCPT	(1ull << 10)
#define EFER_LME	(1ull << 8)
#define EFER_LMA	(1ull << 10)
#define RESET_RIP	0xfff0ull

/* The vCPU of this thread, for the handler of the kick. */
static __thread struct kvm_run *volatile this_run;

int vmm_kick_signal(void)
{
	return SIGRTMIN;
}

/*
 * A kick that arrives between the last look at the stop flag and KVM_RUN
 * would be lost, were it not for immediate_exit.  The handler runs in the
 * thread that owns the run page, so nobody else ever writes that byte.
 */
static void on_kick(int sig)
{
	struct kvm_run *run = this_run;

	(void)sig;
	if (run)
		*(volatile uint8_t *)&run->immediate_exit = 1;
}

int vmm_kick_setup(void)
{
	struct sigaction sa = { .sa_handler = on_kick };

	sigemptyset(&sa.sa_mask);
	return sigaction(vmm_kick_signal(), &sa, NULL) < 0 ? -errno : 0;
}

static struct kvm_segment flat_segment(unsigned int selector, unsigned int type, bool code)
{
	struct kvm_segment s = {
		.limit = 0xffffffff,
		.selector = (uint16_t)selector,
		.type = (uint8_t)type,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = !code,
		.l = code,
	};

	return s;
}

int vmm_vcpu_reset(struct vmm_vcpu *vcpu, uint64_t guest_arg, struct vmm_err *err)
{
	struct kvm_segment code = flat_segment(0x08, 11, true);
	struct kvm_segment data = flat_segment(0x10, 3, false);
	struct kvm_mp_state mp = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_regs regs = {
		.rip = VMM_IMAGE_ADDR,
		.rsp = VMM_STACKS_ADDR + (vcpu->index + 1) * VMM_STACK_SIZE,
		.rdi = vcpu->index,
		.rsi = vcpu->vm->nr_vcpus,
		.rdx = guest_arg,
		.rflags = 2,
	};
	struct kvm_sregs s;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return vmm_fail(err, -errno, "KVM_GET_SREGS: %s", strerror(errno));
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	memset(&s.tr, 0, sizeof(s.tr));
	s.tr.base = VMM_TSS_ADDR;
	s.tr.limit = 0x67;
	s.tr.selector = 0x18;
	s.tr.type = 11;
	s.tr.present = 1;
	memset(&s.ldt, 0, sizeof(s.ldt));
	s.ldt.type = 2;
	s.ldt.unusable = 1;
	s.gdt.base = VMM_GDT_ADDR;
	s.gdt.limit = 5 * 8 - 1;
	s.idt.base = 0;
	s.idt.limit = 0;
	s.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	s.cr3 = VMM_TABLES_ADDR;
	s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	s.efer = EFER_LME | EFER_LMA;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &s) < 0)
		return vmm_fail(err, -errno, "KVM_SET_SREGS: %s", strerror(errno));
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		return vmm_fail(err, -errno, "KVM_SET_REGS: %s", strerror(errno));
	/* All but the first would wait for a start-up message of the guest. */
	if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp) < 0)
		return vmm_fail(err, -errno, "KVM_SET_MP_STATE: %s", strerror(errno));
	return 0;
}

void vmm_vcpu_enter(struct vmm_vcpu *vcpu)
{
	this_run = vcpu->run;
	pthread_mutex_lock(&vcpu->vm->lock);
	vcpu->thread = pthread_self();
	vcpu->entered = true;
	pthread_mutex_unlock(&vcpu->vm->lock);
}

void vmm_vcpu_leave(struct vmm_vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->vm->lock);
	vcpu->entered = false;
	pthread_mutex_unlock(&vcpu->vm->lock);
	this_run = NULL;
}

static enum vmm_exit reason(const struct kvm_run *run)
{
	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		return run->mmio.is_write ? VMM_EXIT_STORE : VMM_EXIT_LOAD;
	case KVM_EXIT_IO:
		return run->io.direction == KVM_EXIT_IO_OUT ? VMM_EXIT_OUT : VMM_EXIT_IN;
	default:
		return VMM_EXIT_OTHER;
	}
}

int vmm_vcpu_run(struct vmm_vcpu *vcpu)
{
	if (!ioctl(vcpu->fd, KVM_RUN, 0)) {
		vcpu->exits[reason(vcpu->run)]++;
		return 0;
	}
	vcpu->exits[VMM_EXIT_INTR]++;
	if (errno != EINTR && errno != EAGAIN)
		return -errno;
	vmm_vcpu_clear_kick(vcpu);
	return -EINTR;
}

/*
 * To be called before the caller looks at the stop flag: a kick that comes
 * after it sets the byte again and the next KVM_RUN returns at once.
 */
void vmm_vcpu_clear_kick(struct vmm_vcpu *vcpu)
{
	*(volatile uint8_t *)&vcpu->run->immediate_exit = 0;
}

void vmm_vcpu_describe_exit(struct vmm_vcpu *vcpu, char *buf, size_t len)
{
	struct kvm_run *run = vcpu->run;
	struct kvm_regs regs = { 0 };
	const char *what;
	char other[80];

	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		what = "triple fault";
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		snprintf(other, sizeof(other), "KVM cannot go on (internal error %u)",
			 run->internal.suberror);
		what = other;
		break;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(other, sizeof(other), "KVM cannot enter the guest (reason 0x%llx)",
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		what = other;
		break;
	default:
		snprintf(other, sizeof(other), "exit %u that nobody handles", run->exit_reason);
		what = other;
		break;
	}
	/* After a triple fault AMD's KVM has reset the registers already. */
	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 ||
	    (run->exit_reason == KVM_EXIT_SHUTDOWN && regs.rip == RESET_RIP))
		snprintf(buf, len, "vCPU %u: %s", vcpu->index, what);
	else
		snprintf(buf, len, "vCPU %u: %s at 0x%llx", vcpu->index, what,
			 (unsigned long long)regs.rip);
}
