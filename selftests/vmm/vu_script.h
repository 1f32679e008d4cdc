/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * vu_script.h - a vfio-user server that is a thread with a script, on its end of a
 * socket pair, and the client that is made of the other.
 * Beside the data path: for the tests of the control channel.
 */
#ifndef RMIO_SELFTESTS_VU_SCRIPT_H
#define RMIO_SELFTESTS_VU_SCRIPT_H

#include "vu_rig.h"

#include <pthread.h>
#include <rmio/vmm.h>

#define SCRIPT_QUICK	150u	/* ms, where a timeout is what should happen */
#define SCRIPT_PATIENT	20000u	/* ms, where it should not */

struct server {
	pthread_t thread;
	int fd;
	void (*script)(struct server *s);
	uint32_t n;		/* for the script */
	const void *data;
	uint8_t buf[VU_MSG_MAX];
};

/* Take one message, header first in s->buf; false at the end of the stream. */
static inline bool script_get(struct server *s)
{
	struct vu_hdr *h = (struct vu_hdr *)s->buf;
	size_t rest;

	if (recv(s->fd, s->buf, sizeof(*h), MSG_WAITALL) != sizeof(*h))
		return false;
	rest = h->size - sizeof(*h);
	return !rest || recv(s->fd, s->buf + sizeof(*h), rest, MSG_WAITALL) == (ssize_t)rest;
}

static inline bool script_put(struct server *s, const void *bytes, size_t len)
{
	return send(s->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static inline bool script_put_msg(struct server *s, struct vu_hdr h, const void *payload,
				  size_t len)
{
	uint8_t *buf = malloc(sizeof(h) + len);
	bool ok;

	h.size = sizeof(h) + len;
	memcpy(buf, &h, sizeof(h));
	if (len)
		memcpy(buf + sizeof(h), payload, len);
	ok = script_put(s, buf, sizeof(h) + len);
	free(buf);
	return ok;
}

/* Reply to the message in s->buf. */
static inline bool script_answer(struct server *s, const void *payload, size_t len)
{
	struct vu_hdr h;

	memcpy(&h, s->buf, sizeof(h));
	h.flags = VU_REPLY;
	return script_put_msg(s, h, payload, len);
}

static inline bool script_answer_error(struct server *s, uint32_t error)
{
	struct vu_hdr h;

	memcpy(&h, s->buf, sizeof(h));
	h.flags = VU_REPLY | VU_ERROR;
	h.error = error;
	return script_put_msg(s, h, NULL, 0);
}

static inline bool script_answer_version(struct server *s, uint16_t major, uint16_t minor,
					 const char *json)
{
	struct vu_version v = { major, minor };
	uint8_t buf[1024];

	memcpy(buf, &v, sizeof(v));
	strcpy((char *)buf + sizeof(v), json);
	return script_answer(s, buf, sizeof(v) + strlen(json) + 1);
}

static inline void script_good_version(struct server *s)
{
	if (T_OK(script_get(s)))
		T_OK(script_answer_version(s, VU_MAJOR, VU_MINOR,
					   "{\"capabilities\":{\"max_msg_fds\":8}}"));
}

static inline void *script_run(void *arg)
{
	struct server *s = arg;

	s->script(s);
	close(s->fd);
	return NULL;
}

/* Start a server; the client's end. */
static inline int script_start(struct server *s, void (*script)(struct server *s), uint32_t n)
{
	int fds[2];

	T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	s->fd = fds[0];
	s->script = script;
	s->n = n;
	T_EQ(pthread_create(&s->thread, NULL, script_run, s), 0);
	return fds[1];
}

static struct server server;

static inline int script_connect(void (*script)(struct server *s), uint32_t n, uint32_t ms,
				 struct rmio_client **c)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = ms };
	int fd = script_start(&server, script, n);

	return rmio_client_new(fd, &o, c);
}

static inline void script_finish(struct rmio_client *c)
{
	rmio_client_free(c);
	T_EQ(pthread_join(server.thread, NULL), 0);
}

#endif
