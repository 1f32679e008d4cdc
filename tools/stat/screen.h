/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * `rmio stat --watch` on a terminal, by ncurses (screen.c), or where that was not there when it
 * was built, without keys (screen_plain.c).
 */
#ifndef RMIO_TOOLS_STAT_SCREEN_H
#define RMIO_TOOLS_STAT_SCREEN_H

#include "rows.h"

/* Are there keys in this build? */
extern const bool stat_screen_keys;

/* Take the terminal.  The descriptor that keys come from, to poll; -1: there are none; -ENOTTY. */
int stat_screen_begin(void);
void stat_screen_end(void);

/* What there is now. */
void stat_screen_show(const struct stat_vm *vms, size_t n);

/* There are keys.  True: it is to end. */
bool stat_screen_key(const struct stat_vm *vms, size_t n);

#endif
