// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Descriptors in messages: for the slave descriptor (chan.c) and the vfio-user
 * socket (vu_msg.c).  Beside the data path.
 */
#include "foreign.h"
#include "scm.h"

#include <errno.h>
#include <string.h>

void rmio_scm_put(struct msghdr *m, void *room, const int *fds, uint32_t nfds)
{
	struct cmsghdr *c = room;

	memset(room, 0, CMSG_SPACE(nfds * sizeof(int)));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
	memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	m->msg_control = room;
	m->msg_controllen = CMSG_SPACE(nfds * sizeof(int));
}

void rmio_scm_close(int *fds, uint32_t *nfds)
{
	uint32_t i;

	for (i = 0; i < *nfds; i++)
		if (fds[i] >= 0)
			rmio_foreign_close(fds[i]);
	*nfds = 0;
}

int rmio_scm_take(struct msghdr *m, int *fds, uint32_t *nfds, uint32_t max)
{
	int err = m->msg_flags & MSG_CTRUNC ? -EMFILE : 0;
	struct cmsghdr *c;
	int fd;

	for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t i, n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (!err && *nfds == max)
				err = -E2BIG;
			if (err)
				rmio_foreign_close(fd);
			else
				fds[(*nfds)++] = fd;
		}
	}
	if (err)
		rmio_scm_close(fds, nfds);
	return err;
}
