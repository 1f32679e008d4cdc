// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * vu_client_test.c - the VMM's end of the control channel against a good server and hostile ones.
 * Beside the data path. A server is a thread that runs a script on its end of a socket pair.
 */
#include "vu_rig.h"

#include <poll.h>
#include <pthread.h>
#include <rmio/slave.h>
#include <rmio/vmm.h>
#include <sys/time.h>
#include <sys/un.h>

/* -- scripted servers ----------------------------------------------------- */

struct server {
	pthread_t thread;
	int fd;
	void (*script)(struct server *s);
	uint32_t n;		/* for the script */
	const void *data;
	uint8_t buf[VU_MSG_MAX];
};

/* Take one message, header first in s->buf; false at the end of the stream. */
static bool get(struct server *s)
{
	struct vu_hdr *h = (struct vu_hdr *)s->buf;
	size_t rest;

	if (recv(s->fd, s->buf, sizeof(*h), MSG_WAITALL) != sizeof(*h))
		return false;
	rest = h->size - sizeof(*h);
	return !rest || recv(s->fd, s->buf + sizeof(*h), rest, MSG_WAITALL) == (ssize_t)rest;
}

static bool put(struct server *s, const void *bytes, size_t len)
{
	return send(s->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool put_msg(struct server *s, struct vu_hdr h, const void *payload, size_t len)
{
	uint8_t *buf = malloc(sizeof(h) + len);
	bool ok;

	h.size = sizeof(h) + len;
	memcpy(buf, &h, sizeof(h));
	if (len)
		memcpy(buf + sizeof(h), payload, len);
	ok = put(s, buf, sizeof(h) + len);
	free(buf);
	return ok;
}

/* Reply to the message in s->buf. */
static bool answer(struct server *s, const void *payload, size_t len)
{
	struct vu_hdr h;

	memcpy(&h, s->buf, sizeof(h));
	h.flags = VU_REPLY;
	return put_msg(s, h, payload, len);
}

static bool answer_error(struct server *s, uint32_t error)
{
	struct vu_hdr h;

	memcpy(&h, s->buf, sizeof(h));
	h.flags = VU_REPLY | VU_ERROR;
	h.error = error;
	return put_msg(s, h, NULL, 0);
}

static bool answer_version(struct server *s, uint16_t major, uint16_t minor, const char *json)
{
	struct vu_version v = { major, minor };
	uint8_t buf[1024];

	memcpy(buf, &v, sizeof(v));
	strcpy((char *)buf + sizeof(v), json);
	return answer(s, buf, sizeof(v) + strlen(json) + 1);
}

static void good_version(struct server *s)
{
	if (T_OK(get(s)))
		T_OK(answer_version(s, VU_MAJOR, VU_MINOR, "{\"capabilities\":{\"max_msg_fds\":8}}"));
}

static void *run_script(void *arg)
{
	struct server *s = arg;

	s->script(s);
	close(s->fd);
	return NULL;
}

/* Start a server; the client's end. */
static int start(struct server *s, void (*script)(struct server *s), uint32_t n)
{
	int fds[2];

	T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	s->fd = fds[0];
	s->script = script;
	s->n = n;
	T_EQ(pthread_create(&s->thread, NULL, run_script, s), 0);
	return fds[1];
}

static struct server server;

#define QUICK	150u	/* ms, where a timeout is what should happen */
#define PATIENT	20000u	/* ms, where it should not */

static int connect_ms(void (*script)(struct server *s), uint32_t n, uint32_t ms,
		      struct rmio_client **c)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = ms };
	int fd = start(&server, script, n);

	return rmio_client_new(fd, &o, c);
}

static void finish(struct rmio_client *c)
{
	rmio_client_free(c);
	T_EQ(pthread_join(server.thread, NULL), 0);
}

/* -- a good server: the one of this library -------------------------------- */

struct served {
	struct rig rig;
	pthread_t thread;
	struct rmio_slave *slave;
	int slave_error;
};

static void *serve(void *arg)
{
	struct served *s = arg;
	struct pollfd p = { .fd = vu_server_fd(s->rig.srv) };
	int n = 0;

	while (n >= 0) {
		p.events = POLLIN | (vu_server_wants_write(s->rig.srv) ? POLLOUT : 0);
		poll(&p, 1, -1);
		n = vu_server_writable(s->rig.srv);
		if (!n)
			n = vu_server_readable(s->rig.srv);
	}
	T_EQ(n, -ECONNRESET);
	return NULL;
}

static int open_slave(void *arg, int *fd)
{
	struct served *s = arg;

	rig_called(&s->rig, RIG_ATTACH);
	s->slave_error = rmio_slave_open(*fd, NULL, &s->slave);
	*fd = -1;
	return s->slave_error;
}

static bool serve_start(struct served *s, const struct vu_server_ops *ops)
{
	memset(s, 0, sizeof(*s));
	return rig_open(&s->rig, ops) && T_EQ(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void serve_stop(struct served *s)
{
	pthread_join(s->thread, NULL);
	rmio_slave_free(s->slave);
	s->rig.peer = -1;	/* the client has closed it */
	rig_close(&s->rig);
}

static void calls(void)
{
	int before = rig_count_fds(), efd, mem;
	uint32_t flags, regions, irqs;
	struct rmio_region_info info;
	struct rmio_client *c;
	static uint8_t big[VU_MAX_XFER];
	struct served s;
	uint8_t buf[8];

	T_REQUIRE(serve_start(&s, &rig_ops));
	T_REQUIRE(T_EQ(rmio_client_new(s.rig.peer, NULL, &c), 0));
	T_EQ(rmio_client_master(c), NULL);
	T_EQ(rmio_client_device_info(c, &flags, &regions, &irqs), 0);
	T_EQ(flags, 3);
	T_EQ(regions, RIG_REGIONS);
	T_EQ(irqs, RIG_IRQS);
	T_EQ(rmio_client_region_info(c, 7, &info), 0);
	T_EQ(info.size, 256);
	T_EQ(info.flags, 3);
	T_EQ(info.reserved, 0);
	T_EQ(rmio_client_region_info(c, 3, &info), 0);
	T_EQ(info.size, 0);
	T_EQ(rmio_client_region_info(c, 9, &info), -EINVAL);
	T_EQ(rmio_client_irq_info(c, 1, &flags, &irqs), 0);
	T_EQ(flags, VFIO_IRQ_INFO_EVENTFD);
	T_EQ(irqs, RIG_MSI);
	T_EQ(rmio_client_region_read(c, 0, 0x10, buf, 8), 0);
	T_MEMEQ(buf, "\x10\x11\x12\x13\x14\x15\x16\x17", 8);
	T_EQ(rmio_client_region_read(c, 0, 3, big, sizeof(big)), 0);
	T_EQ(big[0], 3);
	T_EQ(big[sizeof(big) - 1], (uint8_t)(sizeof(big) + 2));
	T_EQ(rmio_client_region_read(c, 0, 0, buf, 0), 0);
	T_EQ(rmio_client_region_read(c, 0, RIG_BAR, buf, 1), -EINVAL);
	T_EQ(rmio_client_region_read(c, 0, 0, big, sizeof(big) + 1), -EINVAL);
	big[sizeof(big) - 1] = 0x77;
	T_EQ(rmio_client_region_write(c, 0, 1, big, sizeof(big)), 0);
	T_EQ(s.rig.op, RIG_WRITE);
	T_EQ(s.rig.count, sizeof(big));
	T_EQ(s.rig.last, 0x77);
	T_EQ(rmio_client_region_write(c, 1, 0, big, 1), -EINVAL);
	T_EQ(rmio_client_region_write(c, 0, 0, big, sizeof(big) + 1), -EINVAL);

	mem = memfd_create("ram", MFD_CLOEXEC);
	T_EQ(ftruncate(mem, 1 << 20), 0);
	T_EQ(rmio_client_dma_map(c, 0x100000, 1 << 20, mem, 0, PROT_READ), 0);
	T_EQ(s.rig.iova, 0x100000);
	T_EQ(s.rig.prot, PROT_READ);
	T_EQ(s.rig.nfds, 1);
	T_EQ(rmio_client_dma_map(c, 0x100000, 2 << 20, mem, 0, PROT_READ), -EINVAL);
	T_EQ(rmio_client_dma_map(c, 0, 4096, -1, 0, PROT_READ), -EBADF);
	T_EQ(rmio_client_dma_unmap(c, 0x100000, 1 << 20), 0);
	T_EQ(s.rig.op, RIG_UNMAP);
	close(mem);

	efd = eventfd(0, EFD_CLOEXEC);
	T_EQ(rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &efd), 0);
	T_EQ(s.rig.nfds, 1);
	T_EQ(rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL), 0);
	T_EQ(s.rig.data, VFIO_IRQ_SET_DATA_NONE);
	T_EQ(s.rig.action, VFIO_IRQ_SET_ACTION_UNMASK);
	T_EQ(rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL), 0);
	T_EQ(s.rig.count, 0);
	T_EQ(rmio_client_set_irqs(c, 0, 0, 0, 1, &efd), -EINVAL);
	T_EQ(rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, &efd), -EINVAL);
	T_EQ(rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, -1u, 2, NULL), -EINVAL);
	close(efd);

	T_EQ(rmio_client_reset(c), 0);
	T_EQ(s.rig.op, RIG_RESET);
	rmio_client_free(c);
	serve_stop(&s);
	rmio_client_free(NULL);
	T_EQ(rig_count_fds(), before);
}

static void rings(void)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = PATIENT };
	struct vu_server_ops ops = rig_ops;
	int before = rig_count_fds();
	struct rmio_client *c;
	struct rmio_vm *vm;
	struct served s;

	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
	o.vm = vm;
	ops.attach = open_slave;
	T_REQUIRE(serve_start(&s, &ops));
	T_REQUIRE(T_EQ(rmio_client_new(s.rig.peer, &o, &c), 0));
	T_NE(rmio_client_master(c), NULL);
	T_EQ(s.rig.op, RIG_ATTACH);
	T_EQ(s.slave_error, 0);
	T_OK(s.slave);
	T_EQ(rmio_client_reset(c), 0);
	rmio_client_free(c);
	serve_stop(&s);

	/* the device refuses the slave: no client, rather than a slow one */
	T_REQUIRE(serve_start(&s, &rig_ops));
	s.rig.result = -EMFILE;
	T_EQ(rmio_client_new(s.rig.peer, &o, &c), -EMFILE);
	serve_stop(&s);

	/* the device has no rings */
	ops.attach = NULL;
	T_REQUIRE(serve_start(&s, &ops));
	T_REQUIRE(T_EQ(rmio_client_new(s.rig.peer, &o, &c), 0));
	T_EQ(rmio_client_master(c), NULL);
	rmio_client_free(c);
	serve_stop(&s);

	/* no master to be had from these options */
	o.master.sz = sizeof(o.master);
	o.master.ring_slots = 3;
	T_REQUIRE(serve_start(&s, &rig_ops));
	T_EQ(rmio_client_new(s.rig.peer, &o, &c), -EINVAL);
	serve_stop(&s);
	rmio_vm_free(vm);
	T_EQ(rig_count_fds(), before);
}

struct caller {
	pthread_t thread;
	struct rmio_client *c;
	uint8_t nr;
};

static void *call_often(void *arg)
{
	struct caller *t = arg;

	for (int i = 0; i < 300; i++) {
		uint8_t buf[16];

		if (!T_EQ(rmio_client_region_read(t->c, 0, t->nr * 16 + i, buf, 16), 0) ||
		    !T_EQ(buf[15], (uint8_t)(t->nr * 16 + i + 15)))
			break;
	}
	return NULL;
}

static void threads(void)
{
	struct caller t[4];
	struct rmio_client *c;
	struct served s;
	int i;

	T_REQUIRE(serve_start(&s, &rig_ops));
	T_REQUIRE(T_EQ(rmio_client_new(s.rig.peer, NULL, &c), 0));
	for (i = 0; i < 4; i++) {
		t[i] = (struct caller){ .c = c, .nr = i };
		T_EQ(pthread_create(&t[i].thread, NULL, call_often, &t[i]), 0);
	}
	for (i = 0; i < 4; i++)
		pthread_join(t[i].thread, NULL);
	rmio_client_free(c);
	serve_stop(&s);
	T_EQ(s.rig.calls, 1200);
}

/* What the device is told: (start, count, descriptors) of each message. */
static uint32_t irq_log[32][3];
static int n_irq_log;

static int log_irqs(void *arg, uint32_t index, uint32_t action, uint32_t data, uint32_t start,
		    uint32_t count, int *fds, const uint8_t *bools)
{
	uint32_t *l = irq_log[n_irq_log++ % 32];

	l[0] = start;
	l[1] = count;
	l[2] = fds ? count : 0;
	return 0;
}

static void irq_runs(void)
{
	static const uint32_t want[][3] = {
		{ 0, 2, 2 }, { 2, 3, 0 }, { 5, 16, 16 }, { 21, 10, 10 }, { 31, 1, 0 },
	};
	struct vu_server_ops ops = rig_ops;
	struct rmio_client *c;
	struct served s;
	int fds[32], efd = eventfd(0, EFD_CLOEXEC), i;

	for (i = 0; i < 32; i++)
		fds[i] = (i >= 2 && i < 5) || i == 31 ? -1 : efd;
	ops.set_irqs = log_irqs;
	T_REQUIRE(serve_start(&s, &ops));
	T_REQUIRE(T_EQ(rmio_client_new(s.rig.peer, NULL, &c), 0));
	T_EQ(rmio_client_set_irqs(c, 1, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 32, fds), 0);
	rmio_client_free(c);
	serve_stop(&s);
	T_EQ(n_irq_log, 5);
	T_MEMEQ(irq_log, want, sizeof(want));
	close(efd);
}

/* -- negotiation with servers that are not good ---------------------------- */

static void say_nothing(struct server *s)
{
	while (get(s))
		;
}

static void close_at_once(struct server *s)
{
}

static void close_after_command(struct server *s)
{
	get(s);
}

static void version_reply(struct server *s)
{
	struct vu_hdr h;

	T_OK(get(s));
	memcpy(&h, s->buf, sizeof(h));
	switch (s->n) {
	case 0: answer_error(s, EPERM); break;
	case 1: answer_error(s, 0); break;
	case 2: h.flags = VU_REPLY; h.id++; put_msg(s, h, "\0\0\1\0", 4); break;
	case 3: h.flags = VU_REPLY; h.cmd++; put_msg(s, h, "\0\0\1\0", 4); break;
	case 4: h.flags = 2; put_msg(s, h, "\0\0\1\0", 4); break;
	case 5: h.flags = VU_REPLY | 0x40; put_msg(s, h, "\0\0\1\0", 4); break;
	case 6: answer_version(s, VU_MAJOR + 1, 0, "{}"); break;
	case 7: answer_version(s, VU_MAJOR, VU_MINOR + 1, "{}"); break;
	case 8: answer(s, NULL, 0); break;
	case 9: answer(s, "\0\0\1", 3); break;
	case 10: answer_version(s, VU_MAJOR, VU_MINOR, "{\"capabilities\":1}"); break;
	case 11: answer(s, "\0\0\1\0{}", 6); break;
	case 12: h.flags = VU_REPLY; h.size = 15; put(s, &h, sizeof(h)); break;
	case 13: h.flags = VU_REPLY; h.size = VU_MSG_MAX + 1; put(s, &h, sizeof(h)); break;
	case 14: h.flags = VU_REPLY; h.size = UINT32_MAX; put(s, &h, sizeof(h)); break;
	case 15: h.flags = VU_REPLY; h.size = 0; put(s, &h, sizeof(h)); break;
	}
	say_nothing(s);
}

static void flood(struct server *s)
{
	struct vu_hdr h = { .cmd = VU_DMA_READ, .flags = VU_NO_REPLY };

	while (put_msg(s, h, s->buf, 16))
		;
}

static void flood_wanting_replies(struct server *s)
{
	struct vu_hdr h = { .cmd = VU_DMA_READ };

	while (put_msg(s, h, s->buf, 16))
		;
}

/* The reply in pieces, and then (n 1) not all of it. */
static void dribble(struct server *s)
{
	uint8_t buf[64];
	struct vu_hdr h;
	size_t len, i;

	T_OK(get(s));
	memcpy(&h, s->buf, sizeof(h));
	len = rig_build(buf, h.id, h.cmd, VU_REPLY, "\0\0\1\0{}", 7);
	for (i = 0; i < len - s->n; i++) {
		if (!put(s, buf + i, 1))
			return;
		usleep(500);
	}
	if (!s->n)
		say_nothing(s);
}

static void negotiation(void)
{
	int before = rig_count_fds(), err;
	struct rmio_client *c;
	uint32_t i;

	T_EQ(connect_ms(close_at_once, 0, PATIENT, &c), -ECONNRESET);
	pthread_join(server.thread, NULL);
	T_EQ(connect_ms(close_after_command, 0, PATIENT, &c), -ECONNRESET);
	pthread_join(server.thread, NULL);
	T_EQ(connect_ms(say_nothing, 0, QUICK, &c), -ETIMEDOUT);
	pthread_join(server.thread, NULL);
	for (i = 0; i < 16; i++) {
		T_EQ(connect_ms(version_reply, i, PATIENT, &c), -EPROTO);
		pthread_join(server.thread, NULL);
		if (ktap_failed()) {
			ktap_diag("with reply %u", i);
			return;
		}
	}
	T_EQ(connect_ms(flood, 0, QUICK, &c), -ETIMEDOUT);
	pthread_join(server.thread, NULL);
	err = connect_ms(flood_wanting_replies, 0, QUICK, &c);
	T_OK(err == -ETIMEDOUT || err == -EPROTO);
	pthread_join(server.thread, NULL);
	T_EQ(connect_ms(dribble, 1, PATIENT, &c), -ECONNRESET);
	pthread_join(server.thread, NULL);
	if (T_EQ(connect_ms(dribble, 0, PATIENT, &c), 0))
		finish(c);
	T_EQ(rig_count_fds(), before);
}

static void rmio_reply(struct server *s)
{
	static const char *const json[] = {
		"{\"capabilities\":{\"rmio\":{\"version\":2}}}",
		"{\"capabilities\":{\"max_msg_fds\":0,\"rmio\":{\"version\":1}}}",
		"{\"capabilities\":{\"rmio\":{\"version\":1}}}",
		"{\"capabilities\":{\"rmio\":{\"version\":1}}}",
	};

	T_OK(get(s));
	T_EQ(!!strstr((char *)s->buf + 20, "rmio"), s->n != 3);
	answer_version(s, VU_MAJOR, VU_MINOR, json[s->n]);
	if (s->n == 2 && T_OK(get(s))) {
		T_EQ(((struct vu_hdr *)s->buf)->cmd, VU_RMIO_ATTACH);
		answer(s, "x", 1);
	}
	say_nothing(s);
}

static void rmio_offers(void)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = PATIENT };
	int before = rig_count_fds(), fd;
	struct rmio_client *c;
	uint32_t i;

	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &o.vm), 0));
	for (i = 0; i < 3; i++) {
		fd = start(&server, rmio_reply, i);
		T_EQ(rmio_client_new(fd, &o, &c), -EPROTO);
		pthread_join(server.thread, NULL);
	}
	rmio_vm_free(o.vm);
	/* not asked for, and not taken */
	if (T_EQ(connect_ms(rmio_reply, 3, PATIENT, &c), 0)) {
		T_EQ(rmio_client_master(c), NULL);
		finish(c);
	}
	T_EQ(rig_count_fds(), before);
}

/* -- calls to servers that are not good ------------------------------------ */

static int call_nr(struct rmio_client *c, int nr)
{
	struct rmio_region_info info;
	uint32_t a, b, d;
	uint8_t buf[8] = { 0 };

	switch (nr) {
	case 0: return rmio_client_device_info(c, &a, &b, &d);
	case 1: return rmio_client_region_info(c, 7, &info);
	case 2: return rmio_client_irq_info(c, 1, &a, &b);
	case 3: return rmio_client_region_read(c, 0, 16, buf, 8);
	case 4: return rmio_client_region_write(c, 0, 16, buf, 8);
	case 5: return rmio_client_dma_unmap(c, 4096, 8192);
	case 6: return rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);
	case 7: return rmio_client_dma_map(c, 4096, 4096, 0, 0, PROT_READ);
	default: return rmio_client_reset(c);
	}
}

#define N_CALLS	9

static const uint32_t reply_len[N_CALLS] = { 16, 32, 16, 24, 16, 24, 0, 0, 0 };

/* One call, answered with n bytes: the beginning of a good reply, and more of it. */
static void answer_n_bytes(struct server *s)
{
	static const struct vu_hdr none;
	uint8_t buf[128] = { 0 };

	good_version(s);
	if (!get(s))
		return;
	/* the request's own payload is a good reply, once argsz says that it is as long */
	memcpy(buf, s->buf + sizeof(none), ((struct vu_hdr *)s->buf)->size - sizeof(none) < 64 ?
	       ((struct vu_hdr *)s->buf)->size - sizeof(none) : 64);
	answer(s, buf, s->n);
	say_nothing(s);
}

static void wrong_sizes(void)
{
	struct rmio_client *c;

	for (int nr = 0; nr < N_CALLS; nr++) {
		for (uint32_t n = 0; n < 72; n++) {
			bool right = n == reply_len[nr];

			T_REQUIRE(T_EQ(connect_ms(answer_n_bytes, n, PATIENT, &c), 0));
			T_EQ(call_nr(c, nr), right ? 0 : -EPROTO);
			if (!right)
				T_EQ(call_nr(c, nr), -ECONNRESET);
			finish(c);
			if (ktap_failed()) {
				ktap_diag("call %d, %u bytes", nr, n);
				return;
			}
		}
	}
}

static void answer_data(struct server *s)
{
	good_version(s);
	if (get(s))
		answer(s, s->data, s->n);
	say_nothing(s);
}

static void wrong_contents(void)
{
	static const struct vu_device_info device[] = {
		{ 15, 0, 9, 5 }, { 16, 0, 257, 5 }, { 16, 0, 9, 257 }, { 16, 0, UINT32_MAX, 5 },
	};
	static const struct vu_region_info region[] = {
		{ 31, 0, 7 }, { 32, 0, 6 }, { 0, 0, 7 },
	};
	static const struct vu_irq_info irq[] = {
		{ 15, 0, 1, 1 }, { 16, 0, 0, 1 }, { 16, 0, 1, 2049 }, { 16, 0, 1, UINT32_MAX },
	};
	static const struct {
		struct vu_region_access a;
		uint8_t data[8];
	} access[] = {
		{ { 17, 0, 8 } }, { { 16, 1, 8 } }, { { 16, 0, 7 } }, { { 16, 0, UINT32_MAX } },
	};
	static const struct vu_dma_unmap unmap[] = {
		{ 24, 0, 0, 8192 }, { 24, 0, 4096, 4096 },
	};
	static const struct {
		int call;
		const void *data;
		size_t n, size, len;
	} sets[] = {
		{ 0, device, 4, sizeof(device[0]), 16 },
		{ 1, region, 3, sizeof(region[0]), 32 },
		{ 2, irq, 4, sizeof(irq[0]), 16 },
		{ 3, access, 4, sizeof(access[0]), 24 },
		{ 4, access, 4, sizeof(access[0]), 16 },
		{ 5, unmap, 2, sizeof(unmap[0]), 24 },
	};
	struct rmio_client *c;

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		for (size_t k = 0; k < sets[i].n; k++) {
			server.data = (const char *)sets[i].data + k * sets[i].size;
			T_REQUIRE(T_EQ(connect_ms(answer_data, sets[i].len, PATIENT, &c), 0));
			T_EQ(call_nr(c, sets[i].call), -EPROTO);
			T_EQ(call_nr(c, sets[i].call), -ECONNRESET);
			finish(c);
			if (ktap_failed()) {
				ktap_diag("call %d, reply %zu", sets[i].call, k);
				return;
			}
		}
	}
}

static const uint32_t error_numbers[] = { 1, EINVAL, 4095, 0, 4096, 0x80000000u, UINT32_MAX };

static void answer_errors(struct server *s)
{
	good_version(s);
	for (int i = 0; get(s); i++)
		answer_error(s, error_numbers[i % 7]);
}

static void errors(void)
{
	static const int want[] = { -1, -EINVAL, -4095, -EIO, -EIO, -EIO, -EIO };
	struct rmio_client *c;

	T_REQUIRE(T_EQ(connect_ms(answer_errors, 0, PATIENT, &c), 0));
	for (int nr = 0; nr < N_CALLS; nr++)
		for (int i = 0; i < 7; i++)
			T_EQ(call_nr(c, nr), want[i]);
	finish(c);
}

/* The first answer comes when it is not waited for any more. */
static void answer_late(struct server *s)
{
	struct vu_hdr first;
	uint8_t buf[16] = { 16 };

	good_version(s);
	T_OK(get(s));
	memcpy(&first, s->buf, sizeof(first));
	first.flags = VU_REPLY;
	T_OK(get(s));
	put_msg(s, first, buf, s->n);
	answer(s, NULL, 0);
	/* an answer that was given already is not late but made up */
	if (get(s))
		put_msg(s, first, buf, s->n);
	say_nothing(s);
}

static void late(void)
{
	struct rmio_client *c;
	uint32_t a, b, d;
	int i;

	T_REQUIRE(T_EQ(connect_ms(answer_late, 16, QUICK, &c), 0));
	T_EQ(rmio_client_device_info(c, &a, &b, &d), -ETIMEDOUT);
	T_EQ(rmio_client_reset(c), 0);
	T_EQ(rmio_client_reset(c), -EPROTO);
	T_EQ(rmio_client_reset(c), -ECONNRESET);
	finish(c);

	/* it may be that they never come */
	T_REQUIRE(T_EQ(connect_ms(answer_n_bytes, 0, 5, &c), 0));
	T_EQ(rmio_client_reset(c), 0);
	for (i = 0; i < 17; i++)
		T_EQ(rmio_client_reset(c), -ETIMEDOUT);
	T_EQ(rmio_client_reset(c), -ECONNRESET);
	finish(c);
}

/* Before it answers, the server asks: for a reply, for none, and with nonsense at last. */
static void ask_first(struct server *s)
{
	struct vu_hdr h = { .id = 0xbeef, .cmd = VU_DMA_WRITE }, r;
	struct vu_hdr reset;

	good_version(s);
	T_OK(get(s));
	memcpy(&reset, s->buf, sizeof(reset));
	memset(s->buf, 0, 64);
	put_msg(s, h, s->buf, 48);
	h.flags = VU_NO_REPLY;
	put_msg(s, h, s->buf, 48);
	T_OK(get(s));
	memcpy(&r, s->buf, sizeof(r));
	T_EQ(r.id, 0xbeef);
	T_EQ(r.cmd, VU_DMA_WRITE);
	T_EQ(r.flags, VU_REPLY | VU_ERROR);
	T_EQ(r.error, ENOTSUP);
	T_EQ(r.size, sizeof(r));
	reset.flags = VU_REPLY;
	put_msg(s, reset, NULL, 0);
	say_nothing(s);
}

static void server_commands(void)
{
	struct rmio_client *c;

	T_REQUIRE(T_EQ(connect_ms(ask_first, 0, PATIENT, &c), 0));
	T_EQ(rmio_client_reset(c), 0);
	finish(c);
}

static void answer_with_fds(struct server *s)
{
	struct rig r = { .peer = s->fd };
	int fds[253], i;
	struct vu_hdr h;

	good_version(s);
	T_OK(get(s));
	memcpy(&h, s->buf, sizeof(h));
	h.flags = VU_REPLY;
	h.size = sizeof(h);
	for (i = 0; i < 253; i++)
		fds[i] = s->fd;
	rig_put(&r, &h, sizeof(h), fds, s->n);
	T_OK(get(s));
	memcpy(&h, s->buf, sizeof(h));
	h.flags = VU_REPLY;
	h.size = sizeof(h) + 16;
	put(s, &h, sizeof(h));
	rig_put(&r, s->buf, 16, fds, s->n);
	say_nothing(s);
}

static void reply_fds(void)
{
	int before = rig_count_fds();
	struct rmio_client *c;
	uint32_t a, b, d;

	for (uint32_t n = 1; n <= 253; n += 126) {
		T_REQUIRE(T_EQ(connect_ms(answer_with_fds, n, PATIENT, &c), 0));
		T_EQ(rmio_client_reset(c), 0);
		T_EQ(rig_count_fds(), before + 2);
		T_EQ(rmio_client_device_info(c, &a, &b, &d), -EPROTO);
		finish(c);
	}
	T_EQ(rig_count_fds(), before);
}

static void read_slowly(struct server *s)
{
	struct vu_hdr h;
	size_t got = 0;
	ssize_t n;

	good_version(s);
	while (got < sizeof(h) + 16 + VU_MAX_XFER) {
		n = recv(s->fd, s->buf + got, 4096, 0);
		if (n <= 0)
			return;
		got += n;
	}
	memcpy(&h, s->buf, sizeof(h));
	T_EQ(h.size, got);
	T_EQ(s->buf[got - 1], 0x99);
	answer(s, s->buf + sizeof(h), 16);
	say_nothing(s);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void read_never(struct server *s)
{
	good_version(s);
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
}

static void large_writes(void)
{
	static uint8_t big[VU_MAX_XFER];
	struct rmio_client *c;
	int i, err = 0;

	big[sizeof(big) - 1] = 0x99;
	T_REQUIRE(T_EQ(connect_ms(read_slowly, 0, PATIENT, &c), 0));
	T_EQ(rmio_client_region_write(c, 0, 0, big, sizeof(big)), 0);
	finish(c);

	pthread_mutex_lock(&gate);
	T_REQUIRE(T_EQ(connect_ms(read_never, 0, QUICK, &c), 0));
	for (i = 0; i < 10 && err != -ECONNRESET; i++) {
		err = rmio_client_region_write(c, 0, 0, big, sizeof(big));
		if (err != -ECONNRESET)
			T_EQ(err, -ETIMEDOUT);
	}
	T_EQ(err, -ECONNRESET);
	T_EQ(i, 6);	/* four megabytes are queued, the fifth is one too many */
	pthread_mutex_unlock(&gate);
	finish(c);
}

static void dies(struct server *s)
{
	good_version(s);
	get(s);
}

static void on_alarm(int sig)
{
}

static void answer_after_signals(struct server *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	good_version(s);
	T_OK(get(s));
	usleep(60000);
	answer(s, NULL, 0);
	say_nothing(s);
}

static void interruptions(void)
{
	struct itimerval often = { { 0, 3000 }, { 0, 3000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm };
	int before = rig_count_fds();
	struct rmio_client *c;

	T_REQUIRE(T_EQ(connect_ms(dies, 0, PATIENT, &c), 0));
	T_EQ(rmio_client_reset(c), -ECONNRESET);
	T_EQ(rmio_client_reset(c), -ECONNRESET);
	finish(c);

	sigaction(SIGALRM, &sa, NULL);
	T_REQUIRE(T_EQ(connect_ms(answer_after_signals, 0, PATIENT, &c), 0));
	setitimer(ITIMER_REAL, &often, NULL);
	T_EQ(rmio_client_reset(c), 0);
	setitimer(ITIMER_REAL, &never, NULL);
	finish(c);
	T_EQ(rig_count_fds(), before);
}

/* -- making one ----------------------------------------------------------- */

static void bad_arguments(void)
{
	struct {
		struct rmio_client_opts o;
		char more[8];
	} big = { .o.sz = sizeof(big), .more = { 1 } };
	struct rmio_client_opts tiny = { .sz = 1 };
	int before = rig_count_fds(), fds[2];
	struct rmio_client *c;
	char path[200];

	T_EQ(rmio_client_new(eventfd(0, 0), NULL, &c), -EINVAL);
	T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	T_EQ(rmio_client_new(fds[0], NULL, &c), -EINVAL);
	T_EQ(rmio_client_new(fds[1], &big.o, &c), -E2BIG);
	T_EQ(rmio_client_new(eventfd(0, 0), &tiny, &c), -EINVAL);
	T_EQ(rmio_client_new(-1, NULL, &c), -EINVAL);
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = 0;
	T_EQ(rmio_client_connect(path, NULL, &c), -ENAMETOOLONG);
	T_EQ(rmio_client_connect("/nonexistent/socket", NULL, &c), -ENOENT);
	T_EQ(rig_count_fds(), before);
}

static void *accept_one(void *arg)
{
	server.fd = accept(*(int *)arg, NULL, NULL);
	good_version(&server);
	while (get(&server))
		answer(&server, NULL, 0);
	close(server.fd);
	return NULL;
}

static void by_path(void)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = QUICK };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/vu_client_test.XXXXXX";
	int before = rig_count_fds(), l;
	struct rmio_client *c;
	pthread_t t;

	T_OK(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock", dir);
	l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	T_EQ(bind(l, (struct sockaddr *)&addr, sizeof(addr)), 0);
	T_EQ(rmio_client_connect(addr.sun_path, NULL, &c), -ECONNREFUSED);
	T_EQ(listen(l, 0), 0);
	T_EQ(pthread_create(&t, NULL, accept_one, &l), 0);
	if (T_EQ(rmio_client_connect(addr.sun_path, NULL, &c), 0)) {
		T_EQ(rmio_client_reset(c), 0);
		rmio_client_free(c);
	}
	pthread_join(t, NULL);
	/* nobody accepts: the first waits for its reply, and so do those that wait to connect */
	T_EQ(rmio_client_connect(addr.sun_path, &o, &c), -ETIMEDOUT);
	T_EQ(rmio_client_connect(addr.sun_path, &o, &c), -ETIMEDOUT);
	T_EQ(rmio_client_connect(addr.sun_path, &o, &c), -ETIMEDOUT);
	close(l);
	unlink(addr.sun_path);
	rmdir(dir);
	T_EQ(rig_count_fds(), before);
}

static const struct ktap_test tests[] = {
	{ "calls", calls },
	{ "rings", rings },
	{ "threads", threads },
	{ "runs of irqs", irq_runs },
	{ "negotiation", negotiation },
	{ "offers of rmio", rmio_offers },
	{ "replies of the wrong size", wrong_sizes },
	{ "replies with the wrong contents", wrong_contents },
	{ "error replies", errors },
	{ "late replies", late },
	{ "commands of the server", server_commands },
	{ "descriptors in replies", reply_fds },
	{ "large writes", large_writes },
	{ "interruptions", interruptions },
	{ "bad arguments", bad_arguments },
	{ "by path", by_path },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
