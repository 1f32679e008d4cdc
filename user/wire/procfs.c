// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Which process a number stands for, as procfs has it.  Beside the data path.
 */
#include "procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define START_TIME	22	/* proc_pid_stat(5) */

static int read_file(int dir, const char *name, char *text, size_t len)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, len - 1);
	int err = n < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = 0;
	return err == -ENOENT ? -ESRCH : err;
}

/* The name before it may hold anything, but no field after it a parenthesis. */
static int parse_stat(const char *text, struct rmio_process *p)
{
	const char *at = strrchr(text, ')');
	unsigned long long ticks;
	int i;

	for (i = 2; at && i < START_TIME; i++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, " %llu", &ticks) != 1)
		return -EPROTO;
	p->precision = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
	p->started = ticks * p->precision;
	return 0;
}

static int parse_status(const char *text, struct rmio_process *p)
{
	const char *at = strstr(text, "\nUid:");

	return at && sscanf(at, "\nUid: %*u %u", &p->uid) == 1 ? 0 : -EPROTO;
}

int rmio_process_get(pid_t pid, struct rmio_process *p)
{
	char name[32], text[4096];
	int dir, err;

	p->pid = pid;
	snprintf(name, sizeof(name), "/proc/%d", (int)pid);
	/* Of one process: what is opened below it fails when that has gone. */
	dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	err = read_file(dir, "stat", text, sizeof(text));
	if (!err)
		err = parse_stat(text, p);
	if (!err)
		err = read_file(dir, "status", text, sizeof(text));
	if (!err)
		err = parse_status(text, p);
	close(dir);
	return err;
}
