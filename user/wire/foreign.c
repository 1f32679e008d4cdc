// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Descriptors that a peer has sent: what they are, and closing them, without
 * ever waiting for the peer.  Beside the data path.
 */
#include "foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STACK		(256u << 10)
#define MEM_MAJOR	1	/* /dev/null and the like */

bool rmio_foreign_is_memory(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

/* What is known already: nobody is asked who might not answer. */
static bool look(int fd, struct statx *st)
{
	return !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, st);
}

static bool named(int fd, const char *prefix)
{
	char path[40], link[40] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, link, sizeof(link) - 1) > 0 &&
	       !strncmp(link, prefix, strlen(prefix));
}

bool rmio_foreign_is_eventfd(int fd)
{
	struct statx st;

	if (named(fd, ""))
		return named(fd, "anon_inode:[eventfd]");
	return look(fd, &st) && !(st.stx_mode & S_IFMT);
}

bool rmio_foreign_is_kvm_slave(int fd)
{
	struct statx st;

	if (named(fd, ""))
		return named(fd, "anon_inode:kvm-user-slave");
	return look(fd, &st) && !(st.stx_mode & S_IFMT);
}

/* Closing it is over at once, whoever has a hand in it. */
static bool is_quick(int fd)
{
	struct statx st;

	if (rmio_foreign_is_memory(fd) || named(fd, "anon_inode:") || named(fd, "pipe:"))
		return true;
	if (!look(fd, &st))
		return false;
	return (S_ISREG(st.stx_mode) && st.stx_dev_major) ||
	       (S_ISCHR(st.stx_mode) && st.stx_rdev_major == MEM_MAJOR);
}

static void *closer(void *arg)
{
	const struct linger none = { .l_onoff = 1 };
	int fd = (int)(intptr_t)arg;

	/* Ends it at once unless the peer is quick to undo it. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(fd);
	return NULL;
}

static void close_apart(int fd)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_attr_setsigmask_np(&attr, &all);
	/* Without a thread it stays open: worse than closed, better than waiting. */
	pthread_create(&thread, &attr, closer, (void *)(intptr_t)fd);
	pthread_attr_destroy(&attr);
}

void rmio_foreign_close(int fd)
{
	int saved = errno;

	if (is_quick(fd))
		close(fd);
	else if (fcntl(fd, F_GETFD) >= 0)
		close_apart(fd);
	errno = saved;
}
