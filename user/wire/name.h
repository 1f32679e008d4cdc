/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A socket by name: one process has it.
 */
#ifndef RMIO_WIRE_NAME_H
#define RMIO_WIRE_NAME_H

#include <stdbool.h>
#include <sys/types.h>

#define RMIO_NAME_ANY	((mode_t)-1)

/* The file, so that only that one is removed. */
struct rmio_name {
	dev_t dev;
	ino_t ino;
};

struct rmio_name_opts {
	int type;		/* of the socket */
	int backlog;
	mode_t mode;		/* RMIO_NAME_ANY: as the umask has it */
	gid_t group;		/* (gid_t)-1: that of the process */
};

/*
 * A socket that listens at @path, or -errno.  Of several that try at once one gets it; what a
 * killed process has left there is replaced.  When the name is there clients are welcome.  Sleeps
 * up to half a second before it says -EADDRINUSE: a killed process is not gone at once.
 */
int rmio_name_claim(const char *path, const struct rmio_name_opts *o, struct rmio_name *own);

/* Before the socket is closed: with it the name would be free to be taken. */
void rmio_name_release(const char *path, const struct rmio_name *own);

#endif
