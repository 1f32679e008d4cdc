/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Sockets by name, as the commands are given them: what is wrong with one, whom it is for, and
 * those that a service manager has made.
 */
#ifndef RMIO_TOOLS_SOCKETS_H
#define RMIO_TOOLS_SOCKETS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

/*
 * What strerror(3) does not say of a path that could not be bound or connected to with that -errno:
 * "; it ..."; NULL: nothing.
 */
const char *socket_remark(const char *path, int err);

/* --socket-mode and --socket-group. */
struct socket_access {
	bool has_mode, has_group;
	mode_t mode;
	gid_t group;
};

/* NULL, or what is wrong with @arg. */
const char *socket_access_mode(struct socket_access *a, const char *arg);
const char *socket_access_group(struct socket_access *a, const char *arg);

/*
 * The socket that listens at @path, of those that this process was started with (LISTEN_FDS,
 * sd_listen_fds(3)); -1: none.  Each is given out once.
 */
int socket_inherited(const char *path);

/* One of them was given by its number. */
void socket_given(int fd);

/* Where one of them listens that was not asked for; NULL: all were. */
const char *socket_left(void);

#endif
