/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What is the VMM's end's own of a VM, a vCPU and a master, beside what back ends see of them
 * (backend/remote.h, which also has the order of the locks).
 */
#ifndef RMIO_VMM_VM_H
#define RMIO_VMM_VM_H

#include "backend/backend.h"

/* An access that was interrupted, to be taken up again by the same call. */
struct pending {
	bool active;
	bool store;
	bool split;			/* it is partly outside of all ranges */
	uint32_t bus;
	uint64_t addr;
	uint32_t len;
	uint32_t piece;			/* split: length of the one under way, or 0 */
	uint32_t done;			/* bytes answered or stored already */
	uint64_t data;			/* loads: gathered so far */
	struct rmio_master *waiting;	/* a request is in its ring; NULL: freed since */
	uint64_t seq;			/* of that request; 0: none; taken by a back end: 1 */
	uint64_t waited;		/* ns, in the waits that were interrupted */
};

struct vcpu {
	struct rmio_vcpu shared;
	struct rmio_spin spin;
	struct rmio_sleeper sleeper;
	uint32_t event;			/* changes when the vCPU has to look up */
	struct rmio_master *inside;	/* waits for this one; guarded by lock */
	bool look;			/* has left a dead one, or is to park; guarded by lock */
	size_t hit[RMIO_BUSES];		/* index of the range of the last access */
	struct pending pending;
	uint32_t io_done;		/* string I/O: items done before an interruption */
	uint64_t straddled;
	struct rmio_hooks gate;		/* among its hooks while the VM is quiesced */
};

struct vm {
	struct rmio_vm shared;
	uint32_t flags;
	void (*dead)(void *arg, struct rmio_master *m, enum rmio_state why, const char *reason);
	void *arg;
	uint32_t parked;		/* quiesced; changes with the VM frozen */
	uint32_t quiescer;		/* the thread that has quiesced it, or 0 */
	/* vm->control guards what follows. */
	uint64_t next_id;
	int epoll;
	int stop;			/* eventfd */
	pthread_t thread;
	uint32_t nr_sources;
	void (*sources[RMIO_SOURCES])(struct rmio_vm *vm);	/* of back ends */
};

/* Of a vCPU's lane, what the earlier lives of the device have counted. */
struct past {
	struct rmio_counters counters;
	struct rmio_lane_stats stats;
};

struct rmio_own {
	uint64_t id;			/* names it in epoll events */
	char *name;
	void *arg;
	int chan;			/* our end of the slave descriptor; -1 before */
	/* How long range @id may be: 0 and *len, -ENXIO there is none.  NULL: nobody knows. */
	int (*limit)(void *arg, uint32_t id, uint64_t *len);
	void *limit_arg;
	struct past *past;		/* max_vcpus of them; NULL: this is its first life */
};

static inline struct vcpu *own_vcpu(struct rmio_vcpu *v)
{
	return (struct vcpu *)v;
}

static inline struct vm *own_vm(const struct rmio_vm *vm)
{
	return (struct vm *)vm;
}

#endif
