/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * `rmio stat`: cmd.c finds VMs and asks them, view.c makes text of what they say (read.c), and for
 * --watch on a terminal rows.c and screen.c.
 * `rmio doctor` shows their plans.
 */
#ifndef RMIO_TOOLS_STAT_H
#define RMIO_TOOLS_STAT_H

#include <json-c/json.h>
#include <stdio.h>

/*
 * One VM.  @before: what it said last, for rates; NULL: totals.  Nothing in it is
 * trusted: what is missing reads as 0, what would move a terminal's cursor as '?'.
 */
void stat_view(FILE *f, struct json_object *now, struct json_object *before);

/* The plan of one of its devices, entries that differ in their place only on one line. */
void stat_view_plan(FILE *f, struct json_object *device);

/* Commands for bpftool, one for each map. */
void stat_view_maps(FILE *f, struct json_object *vm);

/* Its devices and their plans alone; trusted as little. */
void stat_view_plans(FILE *f, struct json_object *vm);

/* What all VMs say that can be found and asked: an array, for the caller to put. */
struct json_object *stat_running(void);

#endif
