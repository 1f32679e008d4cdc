/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A running flat guest: one thread a vCPU, the console and exit ports, and the
 * order in which an exit is offered around.  Stands between vcpu.c and
 * whatever answers for devices.
 *
 * Ports:
 *   0xe9   write: console output, a byte for each byte written; read: 0xe9
 *   0xf4   write of 1, 2 or 4 bytes: the VM ends with that value as status
 *   others below 0x1000: vmm_machine_ops.port, but those that device_port names
 * These, ports from 0x1000 on and all MMIO belong to devices.  What nobody answers
 * reads as all ones and is discarded when written.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "kvm.h"

#define VMM_PORT_CONSOLE	0xe9
#define VMM_PORT_EXIT		0xf4
#define VMM_PORT_DEVICES	0x1000

struct vmm_machine_ops {
	/*
	 * A device's answer to KVM_EXIT_MMIO or KVM_EXIT_IO; the vCPU's thread.
	 * 0: answered.  -EOPNOTSUPP: no device there.  -EINTR: kicked while
	 * waiting; called again unless the VM ends.  Other: ends the VM.
	 */
	int (*exit)(void *arg, struct vmm_vcpu *vcpu);
	/*
	 * Before the first KVM_RUN, and after each return of it that is not offered to
	 * exit().  0, or -EINTR as above.  May be NULL.
	 */
	int (*intr)(void *arg, struct vmm_vcpu *vcpu);
	/*
	 * A port of the VMM itself: size bytes at data, which hold all ones when
	 * the guest reads.  May be NULL.
	 */
	void (*port)(void *arg, uint16_t port, bool out, uint8_t *data, unsigned int size);
	/* Whether a port below VMM_PORT_DEVICES is a device's all the same.  May be NULL. */
	bool (*device_port)(void *arg, uint16_t port);
};

/* What a vCPU's thread is given. */
struct vmm_start {
	struct vmm_machine *machine;
	struct vmm_vcpu *vcpu;
};

struct vmm_machine {
	struct vmm_vm *vm;
	const struct vmm_machine_ops *ops;	/* NULL: no devices */
	void *arg;
	int console_fd;
	int ended_fd;			/* eventfd: readable once the VM has ended */

	pthread_mutex_t lock;		/* from here to reason; nobody waits with it held */
	bool ended;
	bool failed;			/* ended by the VMM, not by the guest */
	uint32_t status;
	char reason[256];		/* why it failed */
	unsigned int nr_threads;
	pthread_t threads[VMM_VCPUS_MAX];
	struct vmm_start starts[VMM_VCPUS_MAX];

	pthread_mutex_t out_lock;	/* below; a vCPU that waits for the console holds it */
	size_t out_len;
	char out[512];
};

/* Takes nothing over: vm and console_fd stay the caller's. */
int vmm_machine_init(struct vmm_machine *m, struct vmm_vm *vm, int console_fd);
void vmm_machine_exit(struct vmm_machine *m);

/* Starts all vCPUs. */
int vmm_machine_start(struct vmm_machine *m, struct vmm_err *err);
/* Ends the VM: by the guest with a status, or by the VMM with a reason. */
void vmm_machine_end(struct vmm_machine *m, uint32_t status);
__attribute__((format(printf, 2, 3)))
void vmm_machine_fail(struct vmm_machine *m, const char *fmt, ...);
/* Waits for all vCPUs to be gone; the VM has to have ended. */
void vmm_machine_join(struct vmm_machine *m);

/* For vCPU threads: answers run->exit_reason; false ends the vCPU. */
bool vmm_machine_answer(struct vmm_machine *m, struct vmm_vcpu *vcpu);

#endif
