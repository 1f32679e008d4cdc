/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What `rmio doctor` looks at: cmd.c prints it, kvm.c and
 * kernel.c find it out.
 */
#ifndef RMIO_TOOLS_DOCTOR_H
#define RMIO_TOOLS_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>

#define DOCTOR_MAX	64

struct finding {
	const char *group;	/* backend, system, kvm, io_uring, memory, bpf */
	const char *name;
	const char *use;	/* what it is good for here */
	bool there;
	char why[400];		/* why not, or how much of it */
	char todo[200];		/* what the user can do; empty: nothing */
};

struct doctor {
	struct finding f[DOCTOR_MAX];
	size_t n;
};

/* -- finding.c: the list ------------------------------------------------- */

/* Adds a finding that is there until doctor_not() says otherwise. */
struct finding *doctor_add(struct doctor *d, const char *group, const char *name, const char *use);
__attribute__((format(printf, 2, 3)))
void doctor_note(struct finding *f, const char *fmt, ...);
__attribute__((format(printf, 3, 4)))
void doctor_not(struct finding *f, const char *todo, const char *fmt, ...);
bool doctor_has(const struct doctor *d, const char *group, const char *name);

/* -- each adds what it finds --------------------------------------------- */

void doctor_surroundings(struct doctor *d);
void doctor_kvm(struct doctor *d);
void doctor_uring(struct doctor *d);
void doctor_memory(struct doctor *d);
void doctor_bpf(struct doctor *d);
/* After all of these, which it goes by. */
void doctor_backends(struct doctor *d);

#endif
