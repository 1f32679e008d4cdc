// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio stat --watch` on a terminal, built without ncurses: the same lines, no keys.
 */
#include "screen.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

const bool stat_screen_keys = false;

int stat_screen_begin(void)
{
	fputs("\033[2J\033[?25l", stdout);
	return -1;
}

void stat_screen_end(void)
{
	fputs("\033[?25h\n", stdout);
	fflush(stdout);
}

void stat_screen_show(const struct stat_vm *vms, size_t n)
{
	char line[STAT_COLUMNS];
	struct winsize w = { 0 };
	struct stat_row *rows;
	size_t nr = stat_rows(vms, n, &rows), room;

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
	room = w.ws_row > 4 ? w.ws_row - 4 : 20;
	printf("\033[Hrmio stat, a second; built without ncurses: no keys, interrupt ends it\033[K\n");
	stat_rows_head(line, STAT_BY_SLOT, true);
	printf("%s\033[K\n", line);
	for (size_t i = 0; i < nr && i < room; i++) {
		stat_rows_line(line, &rows[i]);
		printf("%s\033[K\n", line);
	}
	if (nr > room)
		fputs("...\033[K", stdout);
	fputs("\033[J", stdout);
	fflush(stdout);
	free(rows);
}

bool stat_screen_key(const struct stat_vm *vms, size_t n)
{
	return false;
}
