// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Sockets by name, for the commands' messages.  Beside the data path.
 */
#include "sockets.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

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
