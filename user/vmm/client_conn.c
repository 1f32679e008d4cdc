// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The connection of a client: how long to wait on it, and when to give it up.  Under both
 * protocols (client_vu.c, client_mp.c); beside the data path.
 */
#include "client_priv.h"
#include "wake.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

int client_give_up(struct rmio_client *c, int err)
{
	c->broken = true;
	shutdown(c->conn.fd, SHUT_RDWR);
	return err;
}

int client_stream_error(struct rmio_client *c, int err)
{
	if (err == -ENOMEM)
		return client_give_up(c, err);
	return client_give_up(c, err == -ECONNRESET || err == -ENODATA ? -ECONNRESET : -EPROTO);
}

int client_wait(struct rmio_client *c, uint64_t deadline)
{
	struct pollfd p = {
		.fd = c->conn.fd,
		.events = POLLIN | (vu_conn_wants_write(&c->conn) ? POLLOUT : 0),
	};
	uint64_t now = rmio_now_ns(), left;
	struct timespec ts;

	if (now >= deadline)
		return -ETIMEDOUT;
	left = deadline - now;
	ts.tv_sec = (time_t)(left / 1000000000ull);
	ts.tv_nsec = (long)(left % 1000000000ull);
	/* Whatever ends it, a signal too: the caller looks again. */
	ppoll(&p, 1, &ts, NULL);
	return 0;
}
