/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Descriptors that travel with a message of a UNIX socket (SCM_RIGHTS).  Beside
 * the data path: memory, sockets and eventfds are handed over once.
 */
#ifndef RMIO_WIRE_SCM_H
#define RMIO_WIRE_SCM_H

#include "limits.h"

#include <stdint.h>
#include <sys/socket.h>

/* Room for @n descriptors, aligned as the kernel wants it. */
#define RMIO_SCM_ROOM(n)						\
	union {								\
		struct cmsghdr hdr;					\
		char bytes[CMSG_SPACE((n) * sizeof(int))];		\
	}

/* Let @m carry @nfds descriptors, not 0; @room: an RMIO_SCM_ROOM for as many. */
void rmio_scm_put(struct msghdr *m, void *room, const int *fds, uint32_t nfds);

/*
 * Append what came with @m to fds[0..*nfds), @max at most.  0; -EMFILE not all could
 * be received; -E2BIG more than @max.  After an error all are closed, those that were
 * there before as well, and *nfds is 0.
 */
int rmio_scm_take(struct msghdr *m, int *fds, uint32_t *nfds, uint32_t max);

/* Close all but those that are -1; *nfds becomes 0. */
void rmio_scm_close(int *fds, uint32_t *nfds);

/* Shut down and close our end of a connected UNIX socket, with what is unread. */
void rmio_scm_hang_up(int fd);

#endif
