/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The guest of all cases with a vCPU: one access after another, in batches.
 *
 * A load from memory has no exit, so single accesses cannot be timed from
 * outside by one method for all cases.  The guest therefore ends every batch
 * of accesses with a marker, a store to a port that exits in every case, and
 * the time from entering the guest to the marker counts for the batch.  What
 * a batch without accesses takes is measured first and subtracted.
 */
#ifndef RMIO_BENCH_GUEST_H
#define RMIO_BENCH_GUEST_H

#include <errno.h>
#include <linux/kvm.h>

#include "bench.h"
#include "vmm/kvm.h"

#define GUEST_BATCH	32		/* accesses between two markers */
#define GUEST_MARKER	0xe0		/* port */
#define GUEST_DEVICE	0xe0000000u	/* where no memory is */
#define GUEST_RAM	0x180000u
#define GUEST_VALUE	0x5a17c0deu	/* that it stores, until it has loaded another */

struct guest {
	struct vmm_vm *vm;
	struct vmm_vcpu *vcpu;
	/* KVM_RUN was interrupted; NULL: that does not matter. */
	int (*interrupted)(struct bench_run *run, struct kvm_run *exit);
};

struct guest_code {
	uint32_t addr;		/* of the first register accessed, 4 bytes wide */
	uint32_t stride;	/* to the next register, batch by batch */
	uint32_t registers;	/* how many of them */
	bool store;
};

/* The calling thread becomes the vCPU.  Calibrates run->extra.  0 or -errno and bench_why(). */
int guest_new(struct bench_run *run, const struct guest_code *code, struct guest *g);
void guest_free(struct guest *g);

/* The kernel takes 4-byte stores to @addr, without their value; nobody reads.  The eventfd. */
int guest_ioeventfd(struct bench_run *run, struct guest *g, uint64_t addr);

/*
 * Runs one batch.  @answer is called for every exit but the marker, which it
 * counts; it returns 0 or -errno.
 */
static inline __attribute__((always_inline)) int
guest_batch(struct bench_run *run, struct guest *g,
	    int (*answer)(struct bench_run *run, struct kvm_run *exit))
{
	struct kvm_run *exit = g->vcpu->run;
	int err;

	for (;;) {
		err = vmm_vcpu_run(g->vcpu);
		if (err == -EINTR) {
			run->exits++;
			err = g->interrupted ? g->interrupted(run, exit) : 0;
			if (!err)
				continue;
		}
		if (err)
			return err;
		if (exit->exit_reason == KVM_EXIT_IO && exit->io.port == GUEST_MARKER)
			return 0;
		run->exits++;
		if (exit->exit_reason != KVM_EXIT_MMIO)
			return bench_why(run, -EIO, "unexpected exit %u", exit->exit_reason);
		err = answer(run, exit);
		if (err)
			return err;
	}
}

#endif /* RMIO_BENCH_GUEST_H */
