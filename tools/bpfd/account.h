/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What users have of what `rmio bpfd` made: as long as the kernel has it, which may be
 * longer than the connection.  Beside the data path.
 */
#ifndef RMIO_TOOLS_ACCOUNT_H
#define RMIO_TOOLS_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct account_entry {
	uint32_t map;		/* its id in the kernel */
	uint32_t owner;		/* connection */
	uid_t uid;
	bool program;		/* a map of the program; else an array, of: */
	uint64_t bytes;
};

struct account {
	struct account_entry *entries;
	size_t nr, room;
	bool blind;		/* may not ask the kernel what there is */
};

struct account_sum {
	uint32_t programs;	/* of which anything is left */
	uint32_t arrays;
	uint64_t bytes;		/* of them */
};

/* Blind without CAP_SYS_ADMIN: then what a connection had ends with it. */
void account_init(struct account *a);
void account_exit(struct account *a);

/* Maps that are handed out; all or, with -errno, none. */
int account_add(struct account *a, uid_t uid, uint32_t owner, const int *fds, size_t n,
		bool program);
/* Forget what is gone. */
void account_sweep(struct account *a);
#define ACCOUNT_ALL	((uid_t)-1)

/* Of a connection, or with owner 0 of all of the user's, or of all users'. */
struct account_sum account_sum(const struct account *a, uid_t uid, uint32_t owner);
void account_end(struct account *a, uint32_t owner);

#endif
