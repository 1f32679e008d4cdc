/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* One command of vfio-user and its reply: client_call.c, for client_vu.c. */
#ifndef RMIO_VMM_CLIENT_CALL_H
#define RMIO_VMM_CLIENT_CALL_H

#include "client_priv.h"

struct client_request {
	uint16_t cmd;
	const void *head, *data;
	uint32_t head_len, data_len;
	const int *fds;
	uint32_t nfds;
};

/*
 * Send a command and wait for its reply, with c->lock held.  0: the reply is in c->conn.msg and
 * vu_conn_done is to follow; -errno: nothing is to follow.
 */
int client_transact(struct rmio_client *c, const struct client_request *q);

/*
 * The same, for a reply of a fixed size: @len bytes to @reply, then @data_len to @data.  Nothing
 * is to follow.
 */
int client_call_locked(struct rmio_client *c, const struct client_request *q, void *reply,
		       uint32_t len, void *data, uint32_t data_len);
/* It takes the lock. */
int client_call(struct rmio_client *c, const struct client_request *q, void *reply, uint32_t len);

/* A reply of the right size says something that it may not say.  -EPROTO. */
int client_nonsense(struct rmio_client *c);

#endif
