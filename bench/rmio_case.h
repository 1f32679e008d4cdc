/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A VMM with the smallest device there is, in a process of its own, for the cases that
 * measure rmio on any back end.
 */
#ifndef RMIO_BENCH_RMIO_CASE_H
#define RMIO_BENCH_RMIO_CASE_H

#include <rmio/device.h>
#include <rmio/vmm.h>

#include "guest.h"

#define BAR_SIZE	0x4000u
#define COUNT_OFFSET	0x8	/* how many stores had the right value */
#define SHADOW_OFFSET	0x100	/* of the registers that the shadow answers */
#define RELAXED_OFFSET	0x1000	/* of those it answers without regard to stores */
#define ZONE_OFFSET	0x2000	/* of many registers that are stored to */

struct rmio_case {
	struct bench_run *run;
	struct rmio_wait_opts wait;
	struct rmio_vm *vm;
	struct rmio_vcpu *vcpu;
	struct guest guest;
	bool has_guest;
	bool bpf;
	void (*arrived)(void *arg);	/* in the device process, at each store; NULL: none */
	void *arg;
	unsigned int devices;
	struct {
		struct rmio_master *master;
		int slave_fd;
	} dev[];
};

/* The guest that accesses the register at @offset of each device in turn. */
struct guest_code rmio_case_code(const struct bench_run *run, uint32_t offset, bool store);

/*
 * Sets run->priv.  @code: of a guest on the bpf back end; NULL: exit, and the guest is made
 * later.  @arrived, @arg: as above.  0, 1 or -errno and bench_why().
 */
int rmio_case_new(struct bench_run *run, const struct guest_code *code, void (*arrived)(void *arg),
		  void *arg);
void rmio_case_free(struct bench_run *run);

/* For bench_loop: a batch of the guest's accesses. */
int rmio_case_access(struct bench_run *run);

/* A slice of them, each of which exits and takes the same path. */
int rmio_case_slice(struct bench_run *run, uint64_t ns);

/* Over all devices. */
int rmio_case_count(const struct rmio_case *c, struct rmio_counters *sum);

#endif /* RMIO_BENCH_RMIO_CASE_H */
