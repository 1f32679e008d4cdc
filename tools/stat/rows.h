/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A line for each device of all VMs, in 80 columns: the five figures that matter, a second.
 */
#ifndef RMIO_TOOLS_STAT_ROWS_H
#define RMIO_TOOLS_STAT_ROWS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define STAT_COLUMNS	80

enum stat_key {
	STAT_BY_SLOT,		/* and by VM */
	STAT_BY_DEVICE,		/* loads that the device answered */
	STAT_BY_SHADOW,		/* loads that the shadow image did */
	STAT_BY_KERNEL,		/* stores that KVM put into the lane */
	STAT_BY_EXIT,		/* stores that exited first */
	STAT_BY_P99,		/* of loads that left KVM, ns; 0: not known */
	STAT_KEYS
};

/* One VM: what it says, and said before. */
struct stat_vm {
	struct json_object *now, *before;	/* before may be NULL: totals */
};

struct stat_row {
	const struct stat_vm *vm;
	size_t device;		/* in what it says */
	uint64_t by[STAT_KEYS];	/* by[STAT_BY_SLOT]: the slot */
	bool rings;		/* without, nothing else is known */
};

/* A row for each device, in the order of VMs and slots, for free(3).  How many; 0 or no memory. */
size_t stat_rows(const struct stat_vm *vms, size_t n, struct stat_row **rows);
/* The largest first, but for STAT_BY_SLOT; @up: the other way round. */
void stat_rows_sort(struct stat_row *rows, size_t n, enum stat_key key, bool up);

const char *stat_key_name(enum stat_key key);

/* Lines of at most STAT_COLUMNS - 1 characters, without a newline. */
void stat_rows_head(char line[STAT_COLUMNS], enum stat_key key, bool up);
void stat_rows_line(char line[STAT_COLUMNS], const struct stat_row *row);

/* More of one device: its vCPUs in the same columns, its plan. */
void stat_rows_more(FILE *f, const struct stat_row *row);

#endif
