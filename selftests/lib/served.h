/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A device of devices/ in a process of its own, which serves one connected socket after the other,
 * and can be stopped and killed.  Tests only.
 */
#ifndef RMIO_SELFTESTS_SERVED_H
#define RMIO_SELFTESTS_SERVED_H

#include "devices.h"
#include "devproc.h"

#include <rmio/rmio.h>
#include <signal.h>
#include <sys/wait.h>

/* For devproc_start; @arg: the name of the device. */
__attribute__((unused))
static void served_main(int sock, void *arg)
{
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	char why[200];
	int fd;

	for (fd = devproc_need(sock); fd >= 0; fd = devproc_take(sock)) {
		if (rmio_loop_new(NULL, &loop) || device_make(loop, arg, &dev, why, sizeof(why)) ||
		    rmio_dev_serve(dev, fd))
			_exit(2);
		if (rmio_loop_run(loop))
			_exit(3);
		device_free(dev);
		rmio_loop_free(loop);
	}
}

/* A socket whose other end it serves, or -1. */
__attribute__((unused))
static int served_connect(struct devproc *d)
{
	int s[2];

	if (!T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0))
		return -1;
	if (devproc_give(d, s[1]))
		return s[0];
	close(s[0]);
	return -1;
}

/* Stopped when this returns; and again not. */
__attribute__((unused))
static void served_stop(const struct devproc *d)
{
	int status;

	T_EQ(kill(d->pid, SIGSTOP), 0);
	T_EQ(waitpid(d->pid, &status, WUNTRACED), d->pid);
}

__attribute__((unused))
static void served_continue(const struct devproc *d)
{
	T_EQ(kill(d->pid, SIGCONT), 0);
}

#endif
