/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Which process a number stands for.  Beside the data path: once a connection of the
 * broker.
 */
#ifndef RMIO_WIRE_PROCFS_H
#define RMIO_WIRE_PROCFS_H

#include <stdint.h>
#include <sys/types.h>

struct rmio_process {
	pid_t pid;
	uid_t uid;		/* the effective one */
	uint64_t started;	/* ns since boot, rounded down */
	uint64_t precision;	/* it was started less than that later */
};

/*
 * The process that has the number now: what it was started at tells it from others that
 * had or will have it.  -ESRCH there is none; other -errno of procfs.
 */
int rmio_process_get(pid_t pid, struct rmio_process *p);

#endif
