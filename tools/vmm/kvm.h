/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A KVM virtual machine for flat 64-bit guests, shared by rmio vmm and
 * rmio-bench.  It stands above /dev/kvm and below everything that answers
 * exits: it makes memory, interrupt controllers and vCPUs, runs a vCPU until
 * an exit needs user space, and leaves every exit to its caller.
 *
 * The contract with a guest.  A raw binary is loaded at 0x100000 and entered
 * at its first byte on every vCPU: 64-bit mode, first 4 GiB identity-mapped
 * and writable, interrupts off, RDI the vCPU's number, RSI their count, RDX
 * the value of --guest-arg (0 by default), RSP 16-aligned at the top of
 * 16 KiB of stack of its own, other general registers 0.  CS is 0x08, the
 * data segments 0x10; there is no IDT, so an exception ends the VM.
 *
 * Guest-physical memory:
 *   0x00001000          GDT, and a TSS that is never used
 *   0x00002000          PML4, PDPT and four page directories (2 MiB pages)
 *   0x00010000          stacks, 16 KiB for each vCPU in turn, up to 0x100000
 *   0x00100000          the guest's image, then free memory
 *   0xe0000000          hole: devices, I/O APIC 0xfec00000, APIC 0xfee00000
 *   0x100000000         the part of memory that does not fit below the hole
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include "err.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMM_GDT_ADDR		0x1000ull
#define VMM_TSS_ADDR		0x1800ull
#define VMM_TABLES_ADDR		0x2000ull
#define VMM_STACKS_ADDR		0x10000ull
#define VMM_STACK_SIZE		0x4000ull
#define VMM_IMAGE_ADDR		0x100000ull
#define VMM_HOLE_ADDR		0xe0000000ull
#define VMM_HIGH_ADDR		0x100000000ull

#define VMM_VCPUS_MAX		60u	/* stacks that fit below the image */
#define VMM_MEMORY_MIN		(2ull << 20)
#define VMM_MEMORY_MAX		(64ull << 30)
#define VMM_MEMORY_DEFAULT	(64ull << 20)

#define VMM_RAM_SLOTS		2u	/* memory slots from here on are not ours */

#define VMM_GSI_PINS		24u	/* inputs of the I/O APIC */
#define VMM_GSI_MSI		VMM_GSI_PINS	/* first route of a message */
#define VMM_MSI_MAX		1024u	/* message routes of a VM */

struct vmm_vm_opts {
	size_t sz;		/* sizeof(struct vmm_vm_opts) */
	uint64_t memory;	/* bytes, a multiple of 4096; 0: VMM_MEMORY_DEFAULT */
	unsigned int vcpus;	/* 0: one */
	uint64_t guest_arg;	/* RDX at entry */
};

/* One contiguous piece of guest memory, as a device's DMA map wants it. */
struct vmm_ram {
	uint64_t gpa;
	uint64_t len;
	uint64_t offset;	/* in the memfd */
};

/* Why KVM_RUN returned. */
enum vmm_exit {
	VMM_EXIT_LOAD,		/* MMIO */
	VMM_EXIT_STORE,
	VMM_EXIT_IN,		/* ports */
	VMM_EXIT_OUT,
	VMM_EXIT_INTR,		/* a kick, a signal, or a lane that was full */
	VMM_EXIT_OTHER,
	VMM_EXITS,
};

struct vmm_vcpu {
	struct vmm_vm *vm;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	pthread_t thread;	/* valid between vmm_vcpu_enter() and vmm_vcpu_leave() */
	bool entered;
	volatile uint64_t exits[VMM_EXITS];	/* written by its thread; for display */
};

struct vmm_route {
	bool used;
	bool set;		/* has an address and data */
	uint64_t addr;
	uint32_t data;
};

struct vmm_vm {
	int kvm_fd;
	int fd;
	int memfd;		/* sealed against shrinking, growing and more seals */
	uint8_t *mem;		/* the whole memfd, read and write */
	uint64_t memory;
	struct vmm_ram ram[VMM_RAM_SLOTS];
	unsigned int nr_ram;
	unsigned int nr_vcpus;
	struct vmm_vcpu *vcpus;
	pthread_mutex_t lock;	/* stopping, and vCPU threads coming and going */
	bool stopping;
	pthread_mutex_t route_lock;
	struct vmm_route *routes;
};

/* Makes memory, interrupt controllers and vCPUs.  -errno: what KVM said. */
int vmm_vm_new(const struct vmm_vm_opts *opts, struct vmm_vm **out, struct vmm_err *err);
void vmm_vm_free(struct vmm_vm *vm);

/* Puts a guest at VMM_IMAGE_ADDR.  -EFBIG: it does not fit; -ENODATA: empty. */
int vmm_vm_load(struct vmm_vm *vm, const void *image, size_t len, struct vmm_err *err);
int vmm_vm_load_file(struct vmm_vm *vm, const char *path, struct vmm_err *err);

/* Guest memory as a host pointer, NULL unless all of it is memory. */
void *vmm_vm_ptr(struct vmm_vm *vm, uint64_t gpa, uint64_t len);

/*
 * Asks every vCPU to leave: sets the flag that vmm_vm_stopping() returns, then
 * kicks them all.  Any thread, any number of times.
 */
void vmm_vm_stop(struct vmm_vm *vm);
bool vmm_vm_stopping(struct vmm_vm *vm);

/* -- vcpu.c: the calling thread becomes the vCPU's between enter and leave -- */

/* The signal that kicks a vCPU; its handler is put in place by vmm_vm_new(). */
int vmm_kick_signal(void);
int vmm_kick_setup(void);

/* Registers at entry, as the contract above says; also restarts a guest. */
int vmm_vcpu_reset(struct vmm_vcpu *vcpu, uint64_t guest_arg, struct vmm_err *err);

void vmm_vcpu_enter(struct vmm_vcpu *vcpu);
void vmm_vcpu_leave(struct vmm_vcpu *vcpu);

/*
 * One KVM_RUN by the thread that entered.  0: vcpu->run holds an exit to
 * answer.  -EINTR: kicked, nothing to answer; look at vmm_vm_stopping() and
 * call again.  Other: KVM refused.
 */
int vmm_vcpu_run(struct vmm_vcpu *vcpu);

/* Forgets a kick that ended something else than KVM_RUN; the vCPU's thread. */
void vmm_vcpu_clear_kick(struct vmm_vcpu *vcpu);

/*
 * Describes an exit that ends the VM (triple fault, emulation failure, and so
 * on), with the instruction pointer.
 */
void vmm_vcpu_describe_exit(struct vmm_vcpu *vcpu, char *buf, size_t len);

/* -- irq.c: interrupt routes and irqfds ----------------------------------- */

int vmm_irq_init(struct vmm_vm *vm, struct vmm_err *err);

/* A message route of its own; returns its GSI, or -ENOSPC. */
int vmm_msi_route_new(struct vmm_vm *vm);
int vmm_msi_route_set(struct vmm_vm *vm, unsigned int gsi, uint64_t addr, uint32_t data);
void vmm_msi_route_free(struct vmm_vm *vm, unsigned int gsi);

/*
 * Connects an eventfd to a GSI.  resample is -1, or an eventfd that KVM
 * signals when the guest acknowledges the (level-triggered) interrupt.
 */
int vmm_irqfd_assign(struct vmm_vm *vm, int eventfd, int resample, unsigned int gsi);
int vmm_irqfd_deassign(struct vmm_vm *vm, int eventfd, unsigned int gsi);

#endif
