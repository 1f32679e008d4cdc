// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What every command does first, before there is a thread: what it was started with must not
 * end it later.  Beside the data path.
 */
#include "start.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <unistd.h>

/* What is opened where one of these is closed would be taken for it, and be written to. */
static void standard_descriptors(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			_exit(125);
}

static void nothing(int sig)
{
}

/*
 * A handler, where SIG_IGN would do here: what is executed from here, a QEMU or the command of
 * `rmio connect`, begins with the default again.
 */
static void make_an_error_of(int sig)
{
	struct sigaction sa = { .sa_handler = nothing, .sa_flags = SA_RESTART }, was;

	if (!sigaction(sig, NULL, &was) && was.sa_handler == SIG_DFL)
		sigaction(sig, &sa, NULL);
}

void cmd_start(void)
{
	standard_descriptors();
	make_an_error_of(SIGPIPE);
	make_an_error_of(SIGXFSZ);
}

static struct rlimit began_with = { .rlim_cur = RLIM_INFINITY };

void cmd_more_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return;
	began_with = r;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

void cmd_former_descriptors(void)
{
	if (began_with.rlim_cur != RLIM_INFINITY)
		setrlimit(RLIMIT_NOFILE, &began_with);
}

unsigned long cmd_descriptors(void)
{
	struct rlimit r;

	return getrlimit(RLIMIT_NOFILE, &r) ? 0 : (unsigned long)r.rlim_cur;
}
