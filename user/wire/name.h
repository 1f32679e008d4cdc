/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A socket by name: one process has it.
 *
 * A name that begins with @ is an abstract one (unix(7)): in no directory, and gone with its
 * socket.  It has no owner and mode, so that who listens looks at who comes.
 */
#ifndef RMIO_WIRE_NAME_H
#define RMIO_WIRE_NAME_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#define RMIO_NAME_ANY	((mode_t)-1)

struct rmio_name {
	/* The file, so that only that one is removed; 0, 0: none is ours. */
	dev_t dev;
	ino_t ino;
	/* Of an abstract one: who may come. */
	bool abstract;
	mode_t mode;
	gid_t group;
};

struct rmio_name_opts {
	int type;		/* of the socket */
	int backlog;
	mode_t mode;		/* RMIO_NAME_ANY: as the umask has it; abstract: 0600 */
	gid_t group;		/* (gid_t)-1: that of the process */
	int fd;			/* one that listens already, taken over also on failure; or -1 */
};

/* -ENAMETOOLONG. */
int rmio_name_address(const char *path, struct sockaddr_un *at, socklen_t *len);

/*
 * A socket that listens at @path, or -errno.  Of several that try at once one gets it; what a
 * killed process has left there is replaced.  When the name is there clients are welcome.  Sleeps
 * up to half a second before it says -EADDRINUSE: a killed process is not gone at once.
 * With a descriptor (-ENOTSOCK, -EPROTOTYPE, or -EINVAL: it does not listen) that is used, made
 * non-blocking, and @path is not looked at.
 */
int rmio_name_claim(const char *path, const struct rmio_name_opts *o, struct rmio_name *own);

/* Before the socket is closed: with it the name would be free to be taken. */
void rmio_name_release(const char *path, const struct rmio_name *own);

/* May the peer of @fd, which came by this name, stay?  Of a name in a directory the kernel says. */
bool rmio_name_admits(const struct rmio_name *own, int fd);

/* Is the peer of @fd, which is @who, in the group? */
bool rmio_name_in_group(int fd, const struct ucred *who, gid_t group);

#endif
