// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * vu_client_hostile_test.c - the VMM's end of the control channel against servers that lie, stall
 * or die. Beside the data path.
 */
#include "vu_script.h"

#include <sys/time.h>

/* -- negotiation with servers that are not good ---------------------------- */

static void say_nothing(struct server *s)
{
	while (script_get(s))
		;
}

static void close_at_once(struct server *s)
{
}

static void close_after_command(struct server *s)
{
	script_get(s);
}

static void version_reply(struct server *s)
{
	struct vu_hdr h;

	T_OK(script_get(s));
	memcpy(&h, s->buf, sizeof(h));
	switch (s->n) {
	case 0: script_answer_error(s, EPERM); break;
	case 1: script_answer_error(s, 0); break;
	case 2: h.flags = VU_REPLY; h.id++; script_put_msg(s, h, "\0\0\1\0", 4); break;
	case 3: h.flags = VU_REPLY; h.cmd++; script_put_msg(s, h, "\0\0\1\0", 4); break;
	case 4: h.flags = 2; script_put_msg(s, h, "\0\0\1\0", 4); break;
	case 5: h.flags = VU_REPLY | 0x40; script_put_msg(s, h, "\0\0\1\0", 4); break;
	case 6: script_answer_version(s, VU_MAJOR + 1, 0, "{}"); break;
	case 7: script_answer_version(s, VU_MAJOR, VU_MINOR + 1, "{}"); break;
	case 8: script_answer(s, NULL, 0); break;
	case 9: script_answer(s, "\0\0\1", 3); break;
	case 10: script_answer_version(s, VU_MAJOR, VU_MINOR, "{\"capabilities\":1}"); break;
	case 11: script_answer(s, "\0\0\1\0{}", 6); break;
	case 12: h.flags = VU_REPLY; h.size = 15; script_put(s, &h, sizeof(h)); break;
	case 13: h.flags = VU_REPLY; h.size = VU_MSG_MAX + 1; script_put(s, &h, sizeof(h)); break;
	case 14: h.flags = VU_REPLY; h.size = UINT32_MAX; script_put(s, &h, sizeof(h)); break;
	case 15: h.flags = VU_REPLY; h.size = 0; script_put(s, &h, sizeof(h)); break;
	}
	say_nothing(s);
}

static void flood(struct server *s)
{
	struct vu_hdr h = { .cmd = VU_DMA_READ, .flags = VU_NO_REPLY };

	while (script_put_msg(s, h, s->buf, 16))
		;
}

static void flood_wanting_replies(struct server *s)
{
	struct vu_hdr h = { .cmd = VU_DMA_READ };

	while (script_put_msg(s, h, s->buf, 16))
		;
}

/* The reply in pieces, and then (n 1) not all of it. */
static void dribble(struct server *s)
{
	uint8_t buf[64];
	struct vu_hdr h;
	size_t len, i;

	T_OK(script_get(s));
	memcpy(&h, s->buf, sizeof(h));
	len = rig_build(buf, h.id, h.cmd, VU_REPLY, "\0\0\1\0{}", 7);
	for (i = 0; i < len - s->n; i++) {
		if (!script_put(s, buf + i, 1))
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

	T_EQ(script_connect(close_at_once, 0, SCRIPT_PATIENT, &c), -ECONNRESET);
	pthread_join(server.thread, NULL);
	T_EQ(script_connect(close_after_command, 0, SCRIPT_PATIENT, &c), -ECONNRESET);
	pthread_join(server.thread, NULL);
	T_EQ(script_connect(say_nothing, 0, SCRIPT_QUICK, &c), -ETIMEDOUT);
	pthread_join(server.thread, NULL);
	for (i = 0; i < 16; i++) {
		T_EQ(script_connect(version_reply, i, SCRIPT_PATIENT, &c), -EPROTO);
		pthread_join(server.thread, NULL);
		if (ktap_failed()) {
			ktap_diag("with reply %u", i);
			return;
		}
	}
	T_EQ(script_connect(flood, 0, SCRIPT_QUICK, &c), -ETIMEDOUT);
	pthread_join(server.thread, NULL);
	err = script_connect(flood_wanting_replies, 0, SCRIPT_QUICK, &c);
	T_OK(err == -ETIMEDOUT || err == -EPROTO);
	pthread_join(server.thread, NULL);
	T_EQ(script_connect(dribble, 1, SCRIPT_PATIENT, &c), -ECONNRESET);
	pthread_join(server.thread, NULL);
	if (T_EQ(script_connect(dribble, 0, SCRIPT_PATIENT, &c), 0))
		script_finish(c);
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

	T_OK(script_get(s));
	T_EQ(!!strstr((char *)s->buf + 20, "\"rmio\":{\"version\":1}"), s->n != 3);
	script_answer_version(s, VU_MAJOR, VU_MINOR, json[s->n]);
	if (s->n == 2 && T_OK(script_get(s))) {
		T_EQ(((struct vu_hdr *)s->buf)->cmd, VU_RMIO_ATTACH);
		script_answer(s, "x", 1);
	}
	say_nothing(s);
}

static void rmio_offers(void)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = SCRIPT_PATIENT };
	int before = rig_count_fds(), fd;
	struct rmio_client *c;
	uint32_t i;

	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &o.vm), 0));
	for (i = 0; i < 3; i++) {
		fd = script_start(&server, rmio_reply, i);
		T_EQ(rmio_client_new(fd, &o, &c), -EPROTO);
		pthread_join(server.thread, NULL);
	}
	rmio_vm_free(o.vm);
	/* not asked for, and not taken */
	if (T_EQ(script_connect(rmio_reply, 3, SCRIPT_PATIENT, &c), 0)) {
		T_EQ(rmio_client_master(c), NULL);
		script_finish(c);
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

	script_good_version(s);
	if (!script_get(s))
		return;
	/* the request's own payload is a good reply, once argsz says that it is as long */
	memcpy(buf, s->buf + sizeof(none), ((struct vu_hdr *)s->buf)->size - sizeof(none) < 64 ?
	       ((struct vu_hdr *)s->buf)->size - sizeof(none) : 64);
	script_answer(s, buf, s->n);
	say_nothing(s);
}

static void wrong_sizes(void)
{
	struct rmio_client *c;

	for (int nr = 0; nr < N_CALLS; nr++) {
		for (uint32_t n = 0; n < 72; n++) {
			/* The reference answers a DMA_UNMAP with nothing where there is no DMA. */
			bool right = n == reply_len[nr] || (nr == 5 && !n);

			T_REQUIRE(T_EQ(script_connect(answer_n_bytes, n, SCRIPT_PATIENT, &c), 0));
			T_EQ(call_nr(c, nr), right ? 0 : -EPROTO);
			if (!right)
				T_EQ(call_nr(c, nr), -ECONNRESET);
			script_finish(c);
			if (ktap_failed()) {
				ktap_diag("call %d, %u bytes", nr, n);
				return;
			}
		}
	}
}

static void answer_data(struct server *s)
{
	script_good_version(s);
	if (script_get(s))
		script_answer(s, s->data, s->n);
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
			T_REQUIRE(T_EQ(script_connect(answer_data, sets[i].len, SCRIPT_PATIENT,
						      &c), 0));
			T_EQ(call_nr(c, sets[i].call), -EPROTO);
			T_EQ(call_nr(c, sets[i].call), -ECONNRESET);
			script_finish(c);
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
	script_good_version(s);
	for (int i = 0; script_get(s); i++)
		script_answer_error(s, error_numbers[i % 7]);
}

static void errors(void)
{
	static const int want[] = { -1, -EINVAL, -4095, -EIO, -EIO, -EIO, -EIO };
	struct rmio_client *c;

	T_REQUIRE(T_EQ(script_connect(answer_errors, 0, SCRIPT_PATIENT, &c), 0));
	for (int nr = 0; nr < N_CALLS; nr++)
		for (int i = 0; i < 7; i++)
			T_EQ(call_nr(c, nr), want[i]);
	script_finish(c);
}

/* The first answer comes when it is not waited for any more. */
static void answer_late(struct server *s)
{
	struct vu_hdr first;
	uint8_t buf[16] = { 16 };

	script_good_version(s);
	T_OK(script_get(s));
	memcpy(&first, s->buf, sizeof(first));
	first.flags = VU_REPLY;
	T_OK(script_get(s));
	script_put_msg(s, first, buf, s->n);
	script_answer(s, NULL, 0);
	/* an answer that was given already is not late but made up */
	if (script_get(s))
		script_put_msg(s, first, buf, s->n);
	say_nothing(s);
}

static void late(void)
{
	struct rmio_client *c;
	uint32_t a, b, d;
	int i;

	T_REQUIRE(T_EQ(script_connect(answer_late, 16, SCRIPT_QUICK, &c), 0));
	T_EQ(rmio_client_device_info(c, &a, &b, &d), -ETIMEDOUT);
	T_EQ(rmio_client_reset(c), 0);
	T_EQ(rmio_client_reset(c), -EPROTO);
	T_EQ(rmio_client_reset(c), -ECONNRESET);
	script_finish(c);

	/* it may be that they never come */
	T_REQUIRE(T_EQ(script_connect(answer_n_bytes, 0, 5, &c), 0));
	T_EQ(rmio_client_reset(c), 0);
	for (i = 0; i < 17; i++)
		T_EQ(rmio_client_reset(c), -ETIMEDOUT);
	T_EQ(rmio_client_reset(c), -ECONNRESET);
	script_finish(c);
}

/* Before it answers, the server asks: for a reply, for none, and with nonsense at last. */
static void ask_first(struct server *s)
{
	struct vu_hdr h = { .id = 0xbeef, .cmd = VU_DMA_WRITE }, r;
	struct vu_hdr reset;

	script_good_version(s);
	T_OK(script_get(s));
	memcpy(&reset, s->buf, sizeof(reset));
	memset(s->buf, 0, 64);
	script_put_msg(s, h, s->buf, 48);
	h.flags = VU_NO_REPLY;
	script_put_msg(s, h, s->buf, 48);
	T_OK(script_get(s));
	memcpy(&r, s->buf, sizeof(r));
	T_EQ(r.id, 0xbeef);
	T_EQ(r.cmd, VU_DMA_WRITE);
	T_EQ(r.flags, VU_REPLY | VU_ERROR);
	T_EQ(r.error, ENOTSUP);
	T_EQ(r.size, sizeof(r));
	reset.flags = VU_REPLY;
	script_put_msg(s, reset, NULL, 0);
	say_nothing(s);
}

static void server_commands(void)
{
	struct rmio_client *c;

	T_REQUIRE(T_EQ(script_connect(ask_first, 0, SCRIPT_PATIENT, &c), 0));
	T_EQ(rmio_client_reset(c), 0);
	script_finish(c);
}

static void answer_with_fds(struct server *s)
{
	struct rig r = { .peer = s->fd };
	int fds[253], i;
	struct vu_hdr h;

	script_good_version(s);
	T_OK(script_get(s));
	memcpy(&h, s->buf, sizeof(h));
	h.flags = VU_REPLY;
	h.size = sizeof(h);
	for (i = 0; i < 253; i++)
		fds[i] = s->fd;
	rig_put(&r, &h, sizeof(h), fds, s->n);
	T_OK(script_get(s));
	memcpy(&h, s->buf, sizeof(h));
	h.flags = VU_REPLY;
	h.size = sizeof(h) + 16;
	script_put(s, &h, sizeof(h));
	rig_put(&r, s->buf, 16, fds, s->n);
	say_nothing(s);
}

static void reply_fds(void)
{
	int before = rig_count_fds();
	struct rmio_client *c;
	uint32_t a, b, d;

	for (uint32_t n = 1; n <= 253; n += 126) {
		T_REQUIRE(T_EQ(script_connect(answer_with_fds, n, SCRIPT_PATIENT, &c), 0));
		T_EQ(rmio_client_reset(c), 0);
		T_EQ(rig_count_fds(), before + 2);
		T_EQ(rmio_client_device_info(c, &a, &b, &d), -EPROTO);
		script_finish(c);
	}
	T_EQ(rig_count_fds(), before);
}

static void read_slowly(struct server *s)
{
	struct vu_hdr h;
	size_t got = 0;
	ssize_t n;

	script_good_version(s);
	while (got < sizeof(h) + 16 + VU_MAX_XFER) {
		n = recv(s->fd, s->buf + got, 4096, 0);
		if (n <= 0)
			return;
		got += n;
	}
	memcpy(&h, s->buf, sizeof(h));
	T_EQ(h.size, got);
	T_EQ(s->buf[got - 1], 0x99);
	script_answer(s, s->buf + sizeof(h), 16);
	say_nothing(s);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void read_never(struct server *s)
{
	script_good_version(s);
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
}

static void large_writes(void)
{
	static uint8_t big[VU_MAX_XFER];
	struct rmio_client *c;
	int i, err = 0;

	big[sizeof(big) - 1] = 0x99;
	T_REQUIRE(T_EQ(script_connect(read_slowly, 0, SCRIPT_PATIENT, &c), 0));
	T_EQ(rmio_client_region_write(c, 0, 0, big, sizeof(big)), 0);
	script_finish(c);

	pthread_mutex_lock(&gate);
	T_REQUIRE(T_EQ(script_connect(read_never, 0, SCRIPT_QUICK, &c), 0));
	for (i = 0; i < 10 && err != -ECONNRESET; i++) {
		err = rmio_client_region_write(c, 0, 0, big, sizeof(big));
		if (err != -ECONNRESET)
			T_EQ(err, -ETIMEDOUT);
	}
	T_EQ(err, -ECONNRESET);
	T_EQ(i, 6);	/* four megabytes are queued, the fifth is one too many */
	pthread_mutex_unlock(&gate);
	script_finish(c);
}

static void dies(struct server *s)
{
	script_good_version(s);
	script_get(s);
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
	script_good_version(s);
	T_OK(script_get(s));
	usleep(60000);
	script_answer(s, NULL, 0);
	say_nothing(s);
}

static void interruptions(void)
{
	struct itimerval often = { { 0, 3000 }, { 0, 3000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm };
	int before = rig_count_fds();
	struct rmio_client *c;

	T_REQUIRE(T_EQ(script_connect(dies, 0, SCRIPT_PATIENT, &c), 0));
	T_EQ(rmio_client_reset(c), -ECONNRESET);
	T_EQ(rmio_client_reset(c), -ECONNRESET);
	script_finish(c);

	sigaction(SIGALRM, &sa, NULL);
	T_REQUIRE(T_EQ(script_connect(answer_after_signals, 0, SCRIPT_PATIENT, &c), 0));
	setitimer(ITIMER_REAL, &often, NULL);
	T_EQ(rmio_client_reset(c), 0);
	setitimer(ITIMER_REAL, &never, NULL);
	script_finish(c);
	T_EQ(rig_count_fds(), before);
}

/* Serves region 0, whose bytes are their offsets, in messages of s->n bytes at most. */
static void small_messages(struct server *s)
{
	struct vu_region_access a;
	uint8_t buf[64];
	char json[64];

	if (!T_OK(script_get(s)))
		return;
	snprintf(json, sizeof(json), "{\"capabilities\":{\"max_data_xfer_size\":%u}}", s->n);
	T_OK(script_answer_version(s, VU_MAJOR, VU_MINOR, json));
	while (script_get(s)) {
		bool write = ((struct vu_hdr *)s->buf)->cmd == VU_REGION_WRITE;

		memcpy(&a, s->buf + sizeof(struct vu_hdr), sizeof(a));
		if (!T_LE(a.count, s->n))
			return;
		memcpy(buf, &a, sizeof(a));
		for (uint32_t i = 0; i < a.count; i++) {
			buf[sizeof(a) + i] = (uint8_t)(a.offset + i);
			if (write)
				T_EQ(s->buf[sizeof(struct vu_hdr) + sizeof(a) + i],
				     (uint8_t)(a.offset + i));
		}
		script_answer(s, buf, sizeof(a) + (write ? 0 : a.count));
	}
}

static void small_transfers(void)
{
	static const uint32_t limits[] = { 1, 3, 4, 32 };
	uint8_t buf[256];

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rmio_client *c;

		T_REQUIRE(T_EQ(script_connect(small_messages, limits[i], SCRIPT_PATIENT, &c), 0));
		memset(buf, 0, sizeof(buf));
		T_EQ(rmio_client_region_read(c, 0, 0, buf, sizeof(buf)), 0);
		for (uint32_t k = 0; k < sizeof(buf); k++)
			T_EQ(buf[k], k);
		T_EQ(rmio_client_region_write(c, 0, 0, buf, sizeof(buf)), 0);
		script_finish(c);
	}
}

static const struct ktap_test tests[] = {
	{ "a device that takes little at a time", small_transfers },
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
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
