// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The device end of a connection: of vfio-user, version, then commands, one reply
 * each; or of QEMU's multi-process protocol (mp_server.c), told apart by the first
 * bytes.  A command that does not fit the protocol (vu_commands.c) gets an error
 * reply and the connection goes on; a stream that makes no sense any more ends it,
 * with a reason.  Region access by message passes here.
 */
#include "vu_commands.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* -- saying why ----------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Some at once, then one a second. */
static bool may_log(struct vu_server *s)
{
	uint64_t now = now_ms();

	if (!s->ops->log)
		return false;
	if (s->lines >= VU_LOG_MAX && now - s->line_at < 1000) {
		s->unlogged++;
		return false;
	}
	s->lines += s->lines < VU_LOG_MAX;
	s->line_at = now;
	return true;
}

static void log_refused(struct vu_server *s, const char *cmd, uint32_t number, int err)
{
	const char *name = strerrorname_np(-err);
	char line[480], before[48] = "";

	/* The master has gone, and the client with it: an end like another. */
	if (err == -ECONNRESET || !may_log(s))
		return;
	if (s->unlogged)
		snprintf(before, sizeof(before), " (and %u more before it)", s->unlogged);
	s->unlogged = 0;
	snprintf(line, sizeof(line), "%s (%u) refused with %s: %s%s", cmd, number,
		 name ? name : "?", s->why ? s->why : "by the device", before);
	s->ops->log(s->arg, line);
}

static void log_unlogged(struct vu_server *s)
{
	char line[64];

	if (!s->unlogged)
		return;
	snprintf(line, sizeof(line), "%u more messages were refused", s->unlogged);
	s->ops->log(s->arg, line);
}

/* What an op returned that is no -errno. */
static int device_error(int err)
{
	return err > 0 || err < -(int)VU_ERRNO_MAX ? -EIO : err;
}

/* The connection is over; what to return. */
__attribute__((format(printf, 3, 4)))
static int end(struct vu_server *s, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->reason, sizeof(s->reason), fmt, ap);
	va_end(ap);
	return err;
}

/* -- the connection ------------------------------------------------------- */

static int send_failed(struct vu_server *s, int err)
{
	if (err == -ENOMEM)
		return end(s, err, "out of memory");
	return end(s, -ECONNRESET, "the peer has closed the connection");
}

static int serve(struct vu_server *s, struct vu_msg *m)
{
	struct vu_hdr h = { .id = m->hdr.id, .cmd = m->hdr.cmd, .flags = VU_REPLY };
	int err;

	if ((m->hdr.flags & VU_TYPE_MASK) == VU_REPLY)
		return end(s, -EPROTO, "a reply to no command (%u)", m->hdr.cmd);
	if ((m->hdr.flags & VU_TYPE_MASK) != VU_COMMAND)
		return end(s, -EPROTO, "neither command nor reply: flags 0x%x", m->hdr.flags);
	s->why = NULL;
	s->close = false;
	s->reply_len = 0;
	s->data_len = 0;
	err = vu_command(s, m);
	if (err) {
		err = device_error(err);
		h.flags |= VU_ERROR;
		h.error = -err;
		s->reply_len = 0;
		s->data_len = 0;
		log_refused(s, vu_cmd_name(m->hdr.cmd), m->hdr.cmd, err);
	}
	if (!(m->hdr.flags & VU_NO_REPLY)) {
		int sent;

		if (s->ops->replying)
			s->ops->replying(s->arg);
		sent = vu_conn_send(&s->conn, h, &s->reply, s->reply_len, s->data, s->data_len,
				    NULL, 0);

		if (sent)
			return send_failed(s, sent);
	}
	if (s->close)
		return end(s, -EPROTO, "%s: %s", vu_cmd_name(m->hdr.cmd), s->why ? s->why : "failed");
	return 0;
}

/* The same for a client of the multi-process protocol. */
static int serve_mp(struct vu_server *s, struct vu_msg *m)
{
	struct mp_hdr h = { .cmd = MP_RET };
	int32_t cmd = m->mp.cmd;
	int err, answered = mp_answered(cmd);
	uint64_t value = 0;

	/* Whether the peer waits for something nobody knows: it should not wait for ever. */
	if (answered < 0)
		return end(s, -EPROTO, "no command of the multi-process protocol: %d", cmd);
	err = mp_serve(&s->mp, m, &value, &s->why);
	if (err)
		log_refused(s, mp_cmd_name(cmd), (uint32_t)cmd, device_error(err));
	if (!answered)
		return 0;
	if (s->ops->replying)
		s->ops->replying(s->arg);
	err = vu_conn_send_mp(&s->conn, h, &value, sizeof(value), NULL, 0);
	return err ? send_failed(s, err) : 0;
}

static int recv_failed(struct vu_server *s, int err)
{
	switch (err) {
	case -ECONNRESET:
		return end(s, err, "the peer has closed the connection");
	case -ENODATA:
		return end(s, -ECONNRESET, "the peer has closed the connection in mid-message");
	case -EMSGSIZE:
		if (s->conn.protocol == VU_MULTI_PROCESS)
			return end(s, -EPROTO, "message of %llu bytes",
				   (unsigned long long)s->conn.msg.mp.size);
		return end(s, -EPROTO, "message of %u bytes", s->conn.msg.hdr.size);
	case -EBADMSG:
		return end(s, -EPROTO, "descriptors in the middle of a message");
	default:
		return end(s, -ENOMEM, "out of memory");
	}
}

int vu_server_new(int fd, const struct vu_server_ops *ops, void *arg, struct vu_server **srv)
{
	struct vu_server *s = calloc(1, sizeof(*s));
	uint32_t flags;
	int err;

	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	err = vu_conn_init(&s->conn, fd);
	if (err) {
		free(s);
		return err;
	}
	s->ops = ops;
	s->arg = arg;
	s->mp.ops = ops;
	s->mp.arg = arg;
	ops->device_info(arg, &flags, &s->regions, &s->irqs);
	/* The multi-process protocol knows PCI devices only. */
	s->conn.protocol = flags & VFIO_DEVICE_FLAGS_PCI ? VU_EITHER : VU_VFIO_USER;
	*srv = s;
	return 0;
}

void vu_server_free(struct vu_server *s)
{
	if (!s)
		return;
	log_unlogged(s);
	vu_conn_exit(&s->conn);
	free(s->data);
	free(s);
}

int vu_server_fd(const struct vu_server *s)
{
	return s->conn.fd;
}

const char *vu_server_reason(const struct vu_server *s)
{
	return s->reason;
}

bool vu_server_attached(const struct vu_server *s)
{
	return s->attached;
}

bool vu_server_wants_write(const struct vu_server *s)
{
	return vu_conn_wants_write(&s->conn);
}

bool vu_server_wants_read(const struct vu_server *s, uint64_t *taken)
{
	*taken = s->conn.taken;
	return vu_conn_room(&s->conn);
}

int vu_server_stuck(struct vu_server *s)
{
	return end(s, -ENOBUFS, "the peer does not read its replies");
}

int vu_server_writable(struct vu_server *s)
{
	int err = vu_conn_flush(&s->conn);

	return err ? send_failed(s, err) : 0;
}

int vu_server_readable(struct vu_server *s)
{
	uint32_t turn;
	size_t bytes = 0;
	int err;

	for (turn = 0; turn < VU_TURN && bytes < VU_MAX_XFER; turn++) {
		if (!vu_conn_room(&s->conn))
			return 0;
		err = vu_conn_recv(&s->conn);
		if (err == -EAGAIN)
			return 0;
		if (err)
			return recv_failed(s, err);
		err = s->conn.protocol == VU_MULTI_PROCESS ? serve_mp(s, &s->conn.msg) :
							     serve(s, &s->conn.msg);
		bytes += s->conn.msg.len + s->data_len;
		vu_conn_done(&s->conn);
		if (err)
			return err;
	}
	return 1;
}
