/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Which registers of a device are stored to most, told from the stores that exit to
 * user space: what the planner of the `bpf` back end spends its mechanisms on.  Beside
 * the data path: one update for each such store.
 *
 * A table of RMIO_HEAT_REGS registers, kept by the "space-saving" rule: a register
 * that is not in the full table replaces the coldest one and takes over its count, so
 * that what was lost is never more than the smallest count.  After every
 * RMIO_HEAT_WINDOW stores all counts are halved.
 *
 * What is certain, whatever the guest does.  The weight of a register is the number of
 * its stores, each halved as often as the counts were since.
 *   - Two bounds hold for a register in the table: sure <= weight <= count.
 *   - A register whose weight is above RMIO_HEAT_LOST is in the table; while no more
 *     than RMIO_HEAT_REGS registers are stored to, all of them are, and counted exactly
 *     up to the rounding of the halves.
 *   - Hot is a register with sure >= hot, so what a guest sweeps over is not hot.  Of
 *     any register that gets RMIO_HEAT_LOST + hot stores between two halvings it is
 *     found out in that time, and of one that has hot stores in a table with room at
 *     once.
 *   - N stores ask for at most RMIO_HEAT_ASKS_MAX(N) plans.
 *   - An update looks at no more than 3 * RMIO_HEAT_REGS entries, one in
 *     RMIO_HEAT_WINDOW at all of them once more.
 *
 * No lock and no atomics: the caller has a lock.
 */
#ifndef RMIO_BACKEND_PLAN_HEAT_H
#define RMIO_BACKEND_PLAN_HEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RMIO_HEAT_REGS		256u
#define RMIO_HEAT_WINDOW	65536u
/* Counts add up to two windows and the rounding at most; the smallest is at most their mean. */
#define RMIO_HEAT_LOST		(2 * RMIO_HEAT_WINDOW / RMIO_HEAT_REGS + 1)

/* Stores between two plans asked for: doubled by each, halved by each window. */
#define RMIO_HEAT_GAP_MIN	1024u
#define RMIO_HEAT_GAP_MAX	RMIO_HEAT_WINDOW
#define RMIO_HEAT_ASKS_MAX(n)	(6 + 2 * ((n) / RMIO_HEAT_WINDOW + 1))
_Static_assert(RMIO_HEAT_GAP_MIN << 6 == RMIO_HEAT_GAP_MAX, "doublings in RMIO_HEAT_ASKS_MAX");

/* A good value for what is hot: some hundred exits are worth a change of the plan. */
#define RMIO_HEAT_HOT		256u

/* A register and how often it was stored to: what the planner reads. */
struct rmio_heat_reg {
	uint64_t offset;	/* in the range */
	uint64_t count;
	uint32_t range_id;
	uint8_t len;		/* 1, 2, 4 or 8; see plan.h for 0 */
	bool planned;		/* the plan in force takes it; the table says false */
	uint16_t reserved;
};

struct rmio_heat {
	uint32_t hot;
	uint32_t nr;				/* registers in the table */
	uint32_t stores;			/* in this window */
	uint32_t gap;				/* from the next plan asked for to the one after */
	uint32_t quiet;				/* stores until a plan may be asked for again */
	bool news;				/* something has become hot since */
	uint64_t key;				/* of the hash, so that a guest cannot aim */
	uint32_t count[RMIO_HEAT_REGS];		/* apart: the coldest is looked for here */
	struct {
		uint64_t offset;
		uint32_t range_id;
		uint32_t sure;
		uint16_t next;			/* of this bucket: index + 1, or 0 */
		uint8_t len;
		bool told;			/* has been reported as hot */
	} regs[RMIO_HEAT_REGS];
	uint16_t bucket[RMIO_HEAT_REGS];	/* index + 1, or 0 */
};

/* @key: random.  @hot: at least 1. */
void rmio_heat_init(struct rmio_heat *h, uint32_t hot, uint64_t key);

/*
 * A store that exited and that a plan could have taken (synchronous ones are not worth
 * an entry).  True: something has become hot, make a new plan.  A register is reported
 * once, and again only after it was below half of hot.
 */
bool rmio_heat_add(struct rmio_heat *h, uint32_t range_id, uint64_t offset, uint32_t len);

/*
 * The registers that are surely stored to, with what is sure of their counts, in no
 * order.  Returns how many were written, at most @room.
 */
size_t rmio_heat_list(const struct rmio_heat *h, struct rmio_heat_reg *regs, size_t room);

#endif
