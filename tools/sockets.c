// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Sockets by name, for the commands' messages.  Beside the data path.
 */
#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_FD	3	/* of LISTEN_FDS */
#define MOST_FDS	1024

_Static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) == 108, "as the line below says");

const char *socket_remark(const char *path, int err)
{
	struct stat st;

	switch (err) {
	case -ENAMETOOLONG:
		return "; the path of a socket has 107 bytes at most";
	/* Linux refuses a connection to a file of another kind, as if nobody listened. */
	case -ECONNREFUSED:
	case -EADDRINUSE:
		return !stat(path, &st) && !S_ISSOCK(st.st_mode) ? "; it is not a socket" : NULL;
	default:
		return NULL;
	}
}

/* -- whom one is for ------------------------------------------------------------------------ */

const char *socket_access_mode(struct socket_access *a, const char *arg)
{
	unsigned long mode;
	char *end;

	mode = strtoul(arg, &end, 8);
	if (*arg < '0' || *arg > '7' || *end || mode > 0777)
		return "an octal number from 0 to 0777, not";
	a->mode = (mode_t)mode;
	a->has_mode = true;
	return NULL;
}

const char *socket_access_group(struct socket_access *a, const char *arg)
{
	const struct group *g = getgrnam(arg);
	unsigned long n;
	char *end;

	n = strtoul(arg, &end, 10);
	if (!g && (*arg < '0' || *arg > '9' || *end || n >= (gid_t)-1))
		return "there is no group";
	a->group = g ? g->gr_gid : (gid_t)n;
	a->has_group = true;
	return NULL;
}

/* -- those that are there already ------------------------------------------------------------ */

static struct {
	bool looked;
	int n;
	bool given[MOST_FDS];
} inherited;

static int number_in(const char *variable)
{
	const char *s = getenv(variable);
	char *end;
	long n;

	if (!s || !*s)
		return -1;
	n = strtol(s, &end, 10);
	return *end || n < 0 || n > 1 << 22 ? -1 : (int)n;
}

/* As sd_listen_fds(3) has it: for this process, from 3 on; children are not to see them. */
static void look(void)
{
	int i;

	if (inherited.looked)
		return;
	inherited.looked = true;
	if (number_in("LISTEN_PID") == getpid() && number_in("LISTEN_FDS") > 0)
		inherited.n = number_in("LISTEN_FDS");
	if (inherited.n > MOST_FDS)
		inherited.n = MOST_FDS;
	for (i = 0; i < inherited.n; i++)
		fcntl(FIRST_FD + i, F_SETFD, FD_CLOEXEC);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

/* Where it listens, as on a command line. */
static bool place_of(int fd, char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1])
{
	struct sockaddr_un at = { 0 };
	socklen_t len = sizeof(at), room = sizeof(int);
	int listens = 0;
	size_t n;

	if (getsockname(fd, (struct sockaddr *)&at, &len) || at.sun_family != AF_UNIX ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &room) || !listens ||
	    len <= offsetof(struct sockaddr_un, sun_path))
		return false;
	/* A path that fills it is counted with a NUL that is not in it. */
	n = len - offsetof(struct sockaddr_un, sun_path);
	n = n < sizeof(at.sun_path) ? n : sizeof(at.sun_path);
	memcpy(path, at.sun_path, n);
	path[n] = 0;
	if (!*path)
		*path = '@';
	return true;
}

static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return *a != '@' && *b != '@' && !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

int socket_inherited(const char *path)
{
	char at[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	int i;

	look();
	for (i = 0; i < inherited.n; i++) {
		if (inherited.given[i] || !place_of(FIRST_FD + i, at) ||
		    (strcmp(at, path) && !same_file(at, path)))
			continue;
		inherited.given[i] = true;
		return FIRST_FD + i;
	}
	return -1;
}

void socket_given(int fd)
{
	look();
	if (fd >= FIRST_FD && fd < FIRST_FD + inherited.n)
		inherited.given[fd - FIRST_FD] = true;
}

const char *socket_left(void)
{
	static char at[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	int i;

	look();
	for (i = 0; i < inherited.n; i++) {
		if (inherited.given[i])
			continue;
		if (!place_of(FIRST_FD + i, at))
			snprintf(at, sizeof(at), "descriptor %d", FIRST_FD + i);
		return at;
	}
	return NULL;
}
