// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio stat --watch` on a terminal, by ncurses: a line for each device, sorted as wanted, and more
 * of the chosen one.
 */
#include "screen.h"
#include "read.h"

#include <curses.h>
#include <term.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HEAD	2		/* lines above the devices */

static struct {
	SCREEN *screen;
	enum stat_key key;
	bool up, more;
	uint64_t vm, slot;	/* of the chosen device: it may be on another line next time */
	size_t at, top;		/* its line; the first line that is shown */
} s;

const bool stat_screen_keys = true;

int stat_screen_begin(void)
{
	int err;

	/* Of a terminal that it does not know initscr would say so and end the process. */
	if (setupterm(NULL, STDOUT_FILENO, &err) != OK)
		return -ENOTTY;
	del_curterm(cur_term);
	s.screen = newterm(NULL, stdout, stdin);
	if (!s.screen)
		return -ENOTTY;
	cbreak();
	noecho();
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	s.up = true;
	return STDIN_FILENO;
}

void stat_screen_end(void)
{
	if (!s.screen)
		return;
	endwin();
	delscreen(s.screen);
	s.screen = NULL;
}

static void put(int y, attr_t attr, const char *text)
{
	if (y >= LINES)
		return;
	attrset(attr);
	mvaddnstr(y, 0, text, COLS);
	attrset(A_NORMAL);
}

/* The text of a device below its line; how many lines of the screen it took. */
static int put_more(int y, const struct stat_row *row)
{
	char *text = NULL, *line, *next;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int n = 0;

	if (!f)
		return 0;
	stat_rows_more(f, row);
	fclose(f);
	for (line = text; *line && y + n < LINES; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = 0;
		put(y + n++, A_NORMAL, line);
	}
	free(text);
	return n;
}

/* The chosen device is where it has been sorted to; if it has gone, what is in its place. */
static void find(const struct stat_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (stat_number(rows[i].vm->now, "pid") == s.vm &&
		    rows[i].by[STAT_BY_SLOT] == s.slot)
			s.at = i;
	}
}

static void choose(const struct stat_row *rows, size_t n, size_t at)
{
	if (!n)
		return;
	s.at = at < n ? at : n - 1;
	s.vm = stat_number(rows[s.at].vm->now, "pid");
	s.slot = rows[s.at].by[STAT_BY_SLOT];
}

static void draw(const struct stat_row *rows, size_t n)
{
	char line[STAT_COLUMNS], title[STAT_COLUMNS];
	size_t room = LINES > HEAD + 1 ? (size_t)LINES - HEAD : 1;
	int y = HEAD;

	if (s.at < s.top)
		s.top = s.at;
	if (s.at >= s.top + room)
		s.top = s.at - room + 1;
	erase();
	snprintf(title, sizeof(title), "%zu device%s, a second, by %s | q quit, arrows, s sort, r reverse, "
		 "Enter %s", n, n == 1 ? "" : "s", stat_key_name(s.key), s.more ? "less" : "more");
	put(0, A_DIM, title);
	stat_rows_head(line, s.key, s.up);
	put(1, A_BOLD, line);
	for (size_t i = s.top; i < n && y < LINES; i++) {
		stat_rows_line(line, &rows[i]);
		put(y++, i == s.at ? A_REVERSE : A_NORMAL, line);
		if (i == s.at && s.more)
			y += put_more(y, &rows[i]);
	}
	refresh();
}

static size_t sorted(const struct stat_vm *vms, size_t n, struct stat_row **rows)
{
	size_t nr = stat_rows(vms, n, rows);

	stat_rows_sort(*rows, nr, s.key, s.up);
	find(*rows, nr);
	choose(*rows, nr, s.at);
	return nr;
}

void stat_screen_show(const struct stat_vm *vms, size_t n)
{
	struct winsize w = { 0 };
	struct stat_row *rows;
	size_t nr;

	if (!s.screen)
		return;
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_row && w.ws_col &&
	    is_term_resized(w.ws_row, w.ws_col))
		resizeterm(w.ws_row, w.ws_col);
	nr = sorted(vms, n, &rows);
	draw(rows, nr);
	free(rows);
}

/* What one orders by is to be seen first: the most, but of slots the first. */
static void sort_by(int key)
{
	s.key = (enum stat_key)((key + STAT_KEYS) % STAT_KEYS);
	s.up = s.key == STAT_BY_SLOT;
}

bool stat_screen_key(const struct stat_vm *vms, size_t n)
{
	struct stat_row *rows;
	size_t nr = sorted(vms, n, &rows), page = LINES > HEAD + 1 ? (size_t)LINES - HEAD : 1;
	bool end = false;
	int c;

	while (!end && (c = getch()) != ERR) {
		switch (c) {
		case 'q':
			end = true;
			break;
		case KEY_UP:
		case 'k':
			choose(rows, nr, s.at ? s.at - 1 : 0);
			break;
		case KEY_DOWN:
		case 'j':
			choose(rows, nr, s.at + 1);
			break;
		case KEY_PPAGE:
			choose(rows, nr, s.at > page ? s.at - page : 0);
			break;
		case KEY_NPAGE:
			choose(rows, nr, s.at + page);
			break;
		case KEY_HOME:
			choose(rows, nr, 0);
			break;
		case KEY_END:
			choose(rows, nr, nr);
			break;
		case KEY_RIGHT:
		case 's':
			sort_by((int)s.key + 1);
			break;
		case KEY_LEFT:
			sort_by((int)s.key - 1);
			break;
		case 'r':
			s.up = !s.up;
			break;
		case '\n':
		case '\r':
		case KEY_ENTER:
			s.more = !s.more;
			break;
		default:
			break;
		}
		free(rows);
		nr = sorted(vms, n, &rows);
	}
	free(rows);
	if (!end)
		stat_screen_show(vms, n);
	return end;
}
