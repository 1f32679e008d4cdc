// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * vfio-user, the VMM's end: one command and its reply at a time, on a connection whose other end
 * is believed nothing.  Under the calls of client_vu.c.
 */
#include "client_call.h"
#include "wake.h"

#include <errno.h>
#include <string.h>

/* The device asks something of us: it maps our memory, so there is nothing to serve. */
static int refuse_command(struct rmio_client *c, const struct vu_hdr *h)
{
	struct vu_hdr r = {
		.id = h->id, .cmd = h->cmd, .flags = VU_REPLY | VU_ERROR, .error = ENOTSUP,
	};

	if (h->flags & VU_NO_REPLY)
		return 0;
	return vu_conn_send(&c->conn, r, NULL, 0, NULL, 0, NULL, 0);
}

static bool forget_late(struct rmio_client *c, uint16_t id)
{
	uint32_t i;

	for (i = 0; i < c->n_late; i++) {
		if (c->late[i] != id)
			continue;
		c->late[i] = c->late[--c->n_late];
		return true;
	}
	return false;
}

/* Look at the message that came.  1: it is the reply; 0: it was not; -errno. */
static int sort(struct rmio_client *c, uint16_t id, uint16_t cmd)
{
	const struct vu_hdr *h = &c->conn.msg.hdr;

	if (h->flags & ~VU_FLAGS)
		return client_give_up(c, -EPROTO);
	if ((h->flags & VU_TYPE_MASK) == VU_COMMAND) {
		int err = refuse_command(c, h);

		return err ? client_stream_error(c, err) : 0;
	}
	if ((h->flags & VU_TYPE_MASK) != VU_REPLY)
		return client_give_up(c, -EPROTO);
	if (h->id == id && h->cmd == cmd)
		return 1;
	return forget_late(c, h->id) ? 0 : client_give_up(c, -EPROTO);
}

static int await_reply(struct rmio_client *c, uint16_t id, uint16_t cmd)
{
	uint64_t deadline = rmio_now_ns() + c->timeout_ns;
	int err;

	for (;;) {
		err = vu_conn_flush(&c->conn);
		if (!err)
			err = vu_conn_recv(&c->conn);
		if (!err) {
			err = sort(c, id, cmd);
			if (err)
				return err < 0 ? err : 0;
			vu_conn_done(&c->conn);
			/* One that talks and talks gets no more time than a silent one. */
			if (rmio_now_ns() < deadline)
				continue;
		} else if (err != -EAGAIN) {
			return client_stream_error(c, err);
		}
		if (!client_wait(c, deadline))
			continue;
		if (c->n_late == CLIENT_LATE_MAX)
			return client_give_up(c, -ETIMEDOUT);
		c->late[c->n_late++] = id;
		return -ETIMEDOUT;
	}
}

int client_transact(struct rmio_client *c, const struct client_request *q)
{
	struct vu_hdr h = { .cmd = q->cmd, .flags = VU_COMMAND };
	const struct vu_hdr *r = &c->conn.msg.hdr;
	int err;

	if (c->broken)
		return -ECONNRESET;
	do
		h.id = ++c->id;
	while (forget_late(c, h.id));
	err = vu_conn_send(&c->conn, h, q->head, q->head_len, q->data, q->data_len, q->fds,
			   q->nfds);
	if (err == -EBADF || err == -EMFILE || err == -ETOOMANYREFS)
		return err;	/* nothing was sent */
	if (err == -ENOBUFS)
		return client_give_up(c, -ETIMEDOUT);
	if (err)
		return client_stream_error(c, err);
	err = await_reply(c, h.id, q->cmd);
	if (!err && (r->flags & VU_ERROR)) {
		err = r->error && r->error <= VU_ERRNO_MAX ? -(int)r->error : -EIO;
		vu_conn_done(&c->conn);
	}
	return err;
}

int client_call_locked(struct rmio_client *c, const struct client_request *q, void *reply,
		       uint32_t len, void *data, uint32_t data_len)
{
	const struct vu_msg *m = &c->conn.msg;
	int err = client_transact(c, q);

	if (err)
		return err;
	if (m->len != len + data_len) {
		err = client_give_up(c, -EPROTO);
	} else {
		if (len)
			memcpy(reply, m->data, len);
		if (data_len)
			memcpy(data, m->data + len, data_len);
	}
	vu_conn_done(&c->conn);
	return err;
}

int client_call(struct rmio_client *c, const struct client_request *q, void *reply, uint32_t len)
{
	int err;

	pthread_mutex_lock(&c->lock);
	err = client_call_locked(c, q, reply, len, NULL, 0);
	pthread_mutex_unlock(&c->lock);
	return err;
}

int client_nonsense(struct rmio_client *c)
{
	pthread_mutex_lock(&c->lock);
	client_give_up(c, -EPROTO);
	pthread_mutex_unlock(&c->lock);
	return -EPROTO;
}
