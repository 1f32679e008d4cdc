/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What a process of rmio finds around it, and what it then does without.
 */
#ifndef RMIO_TOOLS_SURROUNDINGS_H
#define RMIO_TOOLS_SURROUNDINGS_H

#include <stdbool.h>

struct surrounding {
	const char *name;
	const char *use;	/* what it is good for here */
	bool there;
	char why[200];		/* why not */
	const char *todo;
};

#define SURROUNDINGS	5

void surroundings_look(struct surrounding s[SURROUNDINGS]);

/* At the start of a command: a line on standard error for each that is missing. */
void surroundings_say(const char *command);

#endif
