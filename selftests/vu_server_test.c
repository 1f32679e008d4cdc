// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * vu_server_test.c - the device end of the control channel against good and bad messages.
 * Beside the data path.
 */
#include "vu_rig.h"

#include <sys/epoll.h>
#include <sys/resource.h>

/* -- version -------------------------------------------------------------- */

static void version_good(void)
{
	struct vu_version v = { VU_MAJOR, 7 };
	char reply[4096] = "";
	struct vu_server_ops no_attach = rig_ops;
	struct rig r;
	ssize_t n;

	/* no JSON at all; a minor above ours comes down */
	T_REQUIRE(rig_open(&r, &rig_ops));
	n = rig_call(&r, VU_VERSION, &v, sizeof(v), NULL, 0, 0, reply, sizeof(reply));
	T_REQUIRE(T_GT(n, (ssize_t)sizeof(v)));
	memcpy(&v, reply, sizeof(v));
	T_EQ(v.major, VU_MAJOR);
	T_EQ(v.minor, VU_MINOR);
	T_STREQ(reply + sizeof(v),
		"{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576}}");
	T_EQ(n, sizeof(v) + strlen(reply + sizeof(v)) + 1);
	rig_close(&r);

	/* a minor below ours is kept */
	T_REQUIRE(rig_open(&r, &rig_ops));
	v = (struct vu_version){ VU_MAJOR, 0 };
	T_GT(rig_call(&r, VU_VERSION, &v, sizeof(v), NULL, 0, 0, reply, sizeof(reply)), 0);
	memcpy(&v, reply, sizeof(v));
	T_EQ(v.minor, 0);
	rig_close(&r);

	/* rmio is named when the client names it, and only then; what is unknown is ignored */
	for (int i = 0; i < 4; i++) {
		static const char *const json[] = {
			"{\"capabilities\":{\"rmio\":{\"version\":9,\"x\":[]},\"y\":{\"z\":[1.5,null]}}}",
			"{\"capabilities\":{\"rmio\":{\"version\":0}}}",
			"{\"capabilities\":{\"rmio\":{}},\"more\":1}",
			"{\"capabilities\":{\"rmio\":{\"version\":1}}}",
		};
		uint8_t req[256];
		const char *offer = ",\"rmio\":{\"version\":1}";

		no_attach.attach = NULL;
		T_REQUIRE(rig_open(&r, i == 3 ? &no_attach : &rig_ops));
		v = (struct vu_version){ VU_MAJOR, VU_MINOR };
		memcpy(req, &v, sizeof(v));
		strcpy((char *)req + sizeof(v), json[i]);
		T_GT(rig_call(&r, VU_VERSION, req, sizeof(v) + strlen(json[i]) + 1, NULL, 0, 0,
			      reply, sizeof(reply)), 0);
		T_EQ(!!strstr(reply + sizeof(v), offer), i == 0);
		T_EQ(rig_turn(&r), 0);
		T_EQ(r.lines, 0);
		rig_close(&r);
	}
}

/* The first message is refused with EINVAL and the connection ends. */
static void version_fails(const void *req, size_t len, const char *reason)
{
	uint8_t buf[sizeof(struct vu_hdr) + 8192];
	struct rig r;

	T_REQUIRE(rig_open(&r, &rig_ops));
	len = rig_build(buf, 77, VU_VERSION, VU_COMMAND, req, len);
	T_REQUIRE(rig_put(&r, buf, len, NULL, 0));
	T_EQ(rig_turn(&r), -EPROTO);
	T_EQ(rig_expect(&r, 77, VU_VERSION, -EINVAL, buf, sizeof(buf)), 0);
	T_STREQ(vu_server_reason(r.srv), reason);
	T_EQ(r.lines, 1);
	T_OK(strstr(r.line, "VERSION (1) refused with EINVAL: "));
	rig_close(&r);
}

static void json_fails(const char *json, size_t len, const char *reason)
{
	struct vu_version v = { VU_MAJOR, VU_MINOR };
	uint8_t buf[8192];

	memcpy(buf, &v, sizeof(v));
	memcpy(buf + sizeof(v), json, len);
	version_fails(buf, sizeof(v) + len, reason);
}

static void version_bad(void)
{
	static const struct {
		const char *json, *why;
	} bad[] = {
		{ "", "not JSON" },
		{ " ", "not JSON" },
		{ "{", "not JSON" },
		{ "{\"capabilities\":{}", "not JSON" },
		{ "{\"capabilities\":{}}}", "not JSON" },
		{ "{\"capabilities\":{}} x", "not JSON" },
		{ "{\"a\":\"\xff\xfe\"}", "not JSON" },
		{ "{\"a\":\"\xe2\x28\"}", "not JSON" },
		{ "[1]", "JSON is not an object" },
		{ "null", "JSON is not an object" },
		{ "7", "JSON is not an object" },
		{ "\"x\"", "JSON is not an object" },
		{ "{\"capabilities\":1}", "capabilities is not an object" },
		{ "{\"capabilities\":null}", "capabilities is not an object" },
		{ "{\"capabilities\":{\"max_msg_fds\":\"1\"}}", "bad max_msg_fds" },
		{ "{\"capabilities\":{\"max_msg_fds\":-1}}", "bad max_msg_fds" },
		{ "{\"capabilities\":{\"max_msg_fds\":1.5}}", "bad max_msg_fds" },
		{ "{\"capabilities\":{\"max_data_xfer_size\":0}}", "bad max_data_xfer_size" },
		{ "{\"capabilities\":{\"max_data_xfer_size\":-9999999999999999999999}}",
		  "bad max_data_xfer_size" },
		{ "{\"capabilities\":{\"max_dma_maps\":{}}}", "bad max_dma_maps" },
		{ "{\"capabilities\":{\"pgsizes\":[]}}", "bad pgsizes" },
		{ "{\"capabilities\":{\"twin_socket\":true}}", "bad twin_socket" },
		{ "{\"capabilities\":{\"twin_socket\":{\"supported\":1}}}", "bad twin_socket" },
		{ "{\"capabilities\":{\"write_multiple\":1}}", "bad write_multiple" },
		{ "{\"capabilities\":{\"rmio\":1}}", "bad rmio" },
		{ "{\"capabilities\":{\"rmio\":{\"version\":true}}}", "bad rmio.version" },
		{ "{\"capabilities\":{\"rmio\":{\"version\":-1}}}", "bad rmio.version" },
	};
	struct vu_version v = { VU_MAJOR + 1, VU_MINOR };
	static char big[6000];
	char reason[200];
	size_t i, n;

	version_fails(&v, sizeof(v), "VERSION: unknown major version");
	for (i = 0; i < sizeof(v); i++)
		version_fails(&v, i, "VERSION: message too short");

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(reason, sizeof(reason), "VERSION: %s", bad[i].why);
		json_fails(bad[i].json, strlen(bad[i].json) + 1, reason);
		if (ktap_failed()) {
			ktap_diag("with %s", bad[i].json);
			return;
		}
	}
	/* nested: beyond what is looked into, and as deep as the length allows */
	for (n = 9; n <= 2047; n += 2038) {
		memset(big, '[', n);
		memset(big + n, ']', n);
		json_fails(big, 2 * n - 1, "VERSION: JSON does not end with its NUL");
		big[2 * n] = 0;
		json_fails(big, 2 * n + 1, "VERSION: not JSON");
	}
	/* a NUL in the middle, none at the end, too long */
	json_fails("{}\0{}", 6, "VERSION: JSON does not end with its NUL");
	json_fails("{}", 2, "VERSION: JSON does not end with its NUL");
	memset(big, ' ', sizeof(big));
	big[0] = '{';
	big[4094] = '}';
	big[4095] = 0;
	json_fails(big, 4097, "VERSION: JSON is too long");
}

static void version_order(void)
{
	uint8_t buf[4096];
	struct rig r;

	for (size_t i = 0; i < sizeof(rig_samples) / sizeof(rig_samples[0]); i++) {
		const struct rig_sample *s = &rig_samples[i];
		int fds[4], before;
		size_t len = rig_build(buf, 5, s->cmd, VU_COMMAND, &s->map, s->len);

		rig_fds(s, fds);
		T_REQUIRE(rig_open(&r, &rig_ops));
		T_REQUIRE(rig_put(&r, buf, len, fds, s->nfds));
		before = rig_count_fds();
		T_EQ(rig_turn(&r), -EPROTO);
		T_EQ(rig_expect(&r, 5, s->cmd, -EINVAL, buf, sizeof(buf)), 0);
		T_OK(strstr(vu_server_reason(r.srv), "VERSION has to come first"));
		T_EQ(r.calls, 0);
		T_EQ(rig_count_fds(), before);
		rig_close(&r);
		rig_close_fds(fds, s->nfds);
	}

	/* only once, but that does not end the connection */
	T_REQUIRE(rig_ready(&r));
	T_OK(rig_try(&r, VU_VERSION, &(struct vu_version){ 0, 1 }, 4, -EINVAL));
	T_OK(rig_try(&r, VU_RESET, NULL, 0, 0));
	rig_close(&r);
}

/* -- every command, in order and out of order ----------------------------- */

static void good(void)
{
	uint8_t reply[256];
	int before = rig_count_fds();
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	for (size_t i = 0; i < sizeof(rig_samples) / sizeof(rig_samples[0]); i++) {
		const struct rig_sample *s = &rig_samples[i];
		unsigned long calls = r.calls;
		int fds[4];

		rig_fds(s, fds);
		r.op = RIG_NONE;
		r.keep = i % 2;
		rig_call(&r, s->cmd, &s->map, s->len, fds, s->nfds, 0, reply, sizeof(reply));
		rig_close_fds(fds, s->nfds);
		T_EQ(r.op, s->op);
		T_EQ(r.calls, calls + (s->op != RIG_NONE));
		if (ktap_failed()) {
			ktap_diag("at %s", s->name);
			return;
		}
		switch (i) {
		case 0:
			T_EQ(r.iova, 0x10000);
			T_EQ(r.size, 8192);
			T_EQ(r.offset, 4096);
			T_EQ(r.prot, PROT_READ | PROT_WRITE);
			T_EQ(r.nfds, 1);
			break;
		case 1:
			T_EQ(r.iova, 0x10000);
			T_EQ(r.size, 8192);
			T_EQ(r.all, false);
			T_MEMEQ(reply, &s->unmap, 24);
			break;
		case 2:
			T_MEMEQ(reply, &((struct vu_device_info){ 16, 3, RIG_REGIONS, RIG_IRQS }), 16);
			break;
		case 3:
			T_MEMEQ(reply, &((struct vu_region_info){ 32, 3, 7, 0, 256, 0 }), 32);
			break;
		case 4:
			T_MEMEQ(reply, &((struct vu_irq_info){ 16, 1, 1, RIG_MSI }), 16);
			break;
		case 5:
			T_EQ(r.index, 1);
			T_EQ(r.action, VFIO_IRQ_SET_ACTION_TRIGGER);
			T_EQ(r.data, VFIO_IRQ_SET_DATA_EVENTFD);
			T_EQ(r.start, 3);
			T_EQ(r.count, 2);
			T_EQ(r.nfds, 2);
			break;
		case 6:
			T_EQ(r.action, VFIO_IRQ_SET_ACTION_MASK);
			T_EQ(r.data, VFIO_IRQ_SET_DATA_BOOL);
			T_EQ(r.start, 28);
			T_EQ(r.first + 2 * r.last, 3);
			break;
		case 7:
			T_EQ(r.count, 0);
			T_EQ(r.nfds, 0);
			break;
		case 8:
			T_EQ(r.offset, 0x1234);
			T_MEMEQ(reply, &s->access, 16);
			T_MEMEQ(reply + 16, "\x34\x35\x36\x37", 4);
			break;
		case 9:
			T_EQ(r.offset, 0xfff);
			T_EQ(r.first, 1);
			T_EQ(r.last, 8);
			T_MEMEQ(reply, &s->write.a, 16);
			break;
		case 11:
			T_EQ(r.nfds, 1);
			T_OK(vu_server_attached(r.srv));
			break;
		}
	}
	T_EQ(r.lines, 0);
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
}

/* The stream ends after each byte of each message. */
static void cut_off(void)
{
	uint8_t buf[256];

	for (size_t i = 0; i < sizeof(rig_samples) / sizeof(rig_samples[0]); i++) {
		const struct rig_sample *s = &rig_samples[i];
		size_t len = rig_build(buf, 5, s->cmd, VU_COMMAND, &s->map, s->len);

		for (size_t k = 0; k < len; k++) {
			int before = rig_count_fds(), fds[4];
			struct rig r;

			T_REQUIRE(rig_ready(&r));
			rig_fds(s, fds);
			if (k)
				T_REQUIRE(rig_put(&r, buf, k, fds, s->nfds));
			rig_close_fds(fds, s->nfds);
			T_EQ(rig_turn(&r), 0);
			close(r.peer);
			r.peer = -1;
			T_EQ(rig_turn(&r), -ECONNRESET);
			T_STREQ(vu_server_reason(r.srv),
				k ? "the peer has closed the connection in mid-message" :
				    "the peer has closed the connection");
			T_EQ(r.calls, 0);
			rig_close(&r);
			T_EQ(rig_count_fds(), before);
		}
	}
}

/* Each message with a payload of every other length, which its header states. */
static void wrong_size(void)
{
	uint8_t buf[300] = { 0 };
	int before = rig_count_fds();
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	for (size_t i = 0; i < sizeof(rig_samples) / sizeof(rig_samples[0]); i++) {
		const struct rig_sample *s = &rig_samples[i];

		for (size_t len = 0; len < 280; len++) {
			int fds[4];

			if (len == s->len)
				continue;
			memcpy(buf, &s->map, len < s->len ? len : s->len);
			memset(buf + s->len, 0, sizeof(buf) - s->len);
			rig_fds(s, fds);
			rig_call(&r, s->cmd, buf, len, fds, s->nfds, -EINVAL, NULL, 0);
			rig_close_fds(fds, s->nfds);
			if (ktap_failed()) {
				ktap_diag("at %s, %zu bytes", s->name, len);
				return;
			}
		}
	}
	T_EQ(r.calls, 0);
	T_OK(rig_try(&r, VU_RESET, NULL, 0, 0));
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
}

/* Sizes in the header that lose the stream, and the largest that does not. */
static void header_size(void)
{
	static const uint32_t sizes[] = {
		0, 1, 15, VU_MSG_MAX + 1, VU_MSG_MAX * 2, INT32_MAX, 0x80000000u, UINT32_MAX,
	};
	struct vu_hdr h = { .cmd = VU_RESET };
	static uint8_t big[VU_MSG_MAX];
	struct rig r;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char want[64];

		T_REQUIRE(rig_ready(&r));
		h.size = sizes[i];
		T_REQUIRE(rig_put(&r, &h, sizeof(h), NULL, 0));
		T_EQ(rig_turn(&r), -EPROTO);
		snprintf(want, sizeof(want), "message of %u bytes", sizes[i]);
		T_STREQ(vu_server_reason(r.srv), want);
		T_EQ(r.calls, 0);
		rig_close(&r);
	}
	T_REQUIRE(rig_ready(&r));
	T_EQ(rig_call(&r, VU_RESET, big, sizeof(big) - sizeof(h), NULL, 0, -EINVAL, NULL, 0), 0);
	T_OK(rig_try(&r, VU_RESET, NULL, 0, 0));
	rig_close(&r);
}

static void byte_by_byte(void)
{
	int before = rig_count_fds();
	uint8_t buf[256], reply[256];
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	for (size_t i = 0; i < sizeof(rig_samples) / sizeof(rig_samples[0]); i++) {
		const struct rig_sample *s = &rig_samples[i];
		size_t len = rig_build(buf, i, s->cmd, VU_COMMAND, &s->map, s->len);
		int fds[4];

		r.op = RIG_NONE;
		for (size_t k = 0; k < len; k++) {
			if (!k)
				rig_fds(s, fds);
			T_REQUIRE(rig_put(&r, buf + k, 1, fds, k ? 0 : s->nfds));
			if (!k)
				rig_close_fds(fds, s->nfds);
			T_EQ(r.op, RIG_NONE);
			T_EQ(rig_turn(&r), 0);
		}
		rig_expect(&r, i, s->cmd, 0, reply, sizeof(reply));
		T_EQ(r.op, s->op);
	}
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
}

/* More messages than the sockets hold replies for, in one go; replies come in order. */
static void pipelined(void)
{
	enum { N = 3000 };
	struct vu_region_access a = { 0, 0, 8 };
	uint8_t buf[64], reply[64];
	size_t len;
	struct rig r;
	int i, n;

	T_REQUIRE(rig_ready(&r));
	for (i = 0; i < N; i++) {
		a.offset = i;
		len = rig_build(buf, i, VU_REGION_READ, VU_COMMAND, &a, sizeof(a));
		T_REQUIRE(rig_put(&r, buf, len, NULL, 0));
		if (i % 100 == 99)
			T_REQUIRE(T_EQ(rig_turn(&r), 0));
	}
	T_EQ(r.calls, N);
	T_OK(vu_server_wants_write(r.srv));
	for (i = 0; i < N; i++) {
		T_REQUIRE(T_EQ(rig_expect(&r, i, VU_REGION_READ, 0, reply, sizeof(reply)), 24));
		T_EQ(reply[16], (uint8_t)i);
	}
	T_OK(!vu_server_wants_write(r.srv));

	/* a turn is bounded: by messages, and by bytes */
	len = rig_build(buf, 1, VU_RESET, VU_COMMAND | VU_NO_REPLY, NULL, 0);
	for (i = 0; i < (int)VU_TURN + 1; i++)
		T_REQUIRE(rig_put(&r, buf, len, NULL, 0));
	r.calls = 0;
	T_EQ(vu_server_readable(r.srv), 1);
	T_EQ(r.calls, VU_TURN);
	T_EQ(vu_server_readable(r.srv), 0);
	a = (struct vu_region_access){ 0, 0, VU_MAX_XFER };
	len = rig_build(buf, 1, VU_REGION_READ, VU_COMMAND | VU_NO_REPLY, &a, sizeof(a));
	for (i = 0; i < 3; i++)
		T_REQUIRE(rig_put(&r, buf, len, NULL, 0));
	for (n = 0; n < 3; n++) {
		r.calls = 0;
		T_EQ(vu_server_readable(r.srv), 1);
		T_EQ(r.calls, 1);
	}
	T_EQ(vu_server_readable(r.srv), 0);
	rig_close(&r);
}

static void never_reads(void)
{
	struct vu_region_access a = { 0, 0, VU_MAX_XFER };
	uint8_t buf[64];
	size_t len = rig_build(buf, 1, VU_REGION_READ, VU_COMMAND, &a, sizeof(a));
	struct rig r;
	int i, err = 0;

	T_REQUIRE(rig_ready(&r));
	for (i = 0; i < 10 && !err; i++) {
		T_REQUIRE(rig_put(&r, buf, len, NULL, 0));
		err = rig_turn(&r);
	}
	T_EQ(err, -ENOBUFS);
	T_EQ(i, 5);	/* what the socket took, three whole replies and the rest of one */
	T_STREQ(vu_server_reason(r.srv), "the peer does not read its replies");
	rig_close(&r);
}

/* -- headers -------------------------------------------------------------- */

static void flags(void)
{
	uint8_t buf[64];
	struct vu_hdr h;
	struct rig r;
	uint32_t bit;

	/* no reply wanted, none comes, not even for what is refused */
	T_REQUIRE(rig_ready(&r));
	T_REQUIRE(rig_put(&r, buf, rig_build(buf, 1, VU_RESET, VU_NO_REPLY, NULL, 0), NULL, 0));
	T_REQUIRE(rig_put(&r, buf, rig_build(buf, 2, 14, VU_NO_REPLY, NULL, 0), NULL, 0));
	T_REQUIRE(rig_put(&r, buf, rig_build(buf, 3, VU_RESET, 0, NULL, 0), NULL, 0));
	T_EQ(rig_turn(&r), 0);
	T_EQ(r.calls, 2);
	T_EQ(r.lines, 1);
	T_EQ(rig_expect(&r, 3, VU_RESET, 0, buf, sizeof(buf)), 0);

	for (bit = VU_NO_REPLY << 1; bit; bit <<= 1) {
		T_REQUIRE(rig_put(&r, buf, rig_build(buf, 4, VU_RESET, bit, NULL, 0), NULL, 0));
		T_EQ(rig_turn(&r), 0);
		T_EQ(rig_expect(&r, 4, VU_RESET, -EINVAL, buf, sizeof(buf)), 0);
	}
	rig_build(buf, 5, VU_RESET, 0, NULL, 0);
	memcpy(&h, buf, sizeof(h));
	h.error = 1;
	T_REQUIRE(rig_put(&r, &h, sizeof(h), NULL, 0));
	T_EQ(rig_turn(&r), 0);
	T_EQ(rig_expect(&r, 5, VU_RESET, -EINVAL, buf, sizeof(buf)), 0);
	T_EQ(r.calls, 2);
	rig_close(&r);

	/* what is not a command ends it */
	for (bit = 1; bit <= VU_TYPE_MASK; bit++) {
		T_REQUIRE(rig_ready(&r));
		T_REQUIRE(rig_put(&r, buf, rig_build(buf, 6, VU_RESET, bit, NULL, 0), NULL, 0));
		T_EQ(rig_turn(&r), -EPROTO);
		T_STREQ(strncmp(vu_server_reason(r.srv), "neither", 7) ? "reply" : "other",
			bit == VU_REPLY ? "reply" : "other");
		T_EQ(rig_reply(&r, &h, buf, sizeof(buf)), -EAGAIN);
		T_EQ(r.calls, 0);
		rig_close(&r);
	}
}

static void unknown_commands(void)
{
	static const uint16_t served[] = { 1, 2, 3, 4, 5, 7, 8, 9, 10, 13, VU_RMIO_ATTACH };
	uint8_t payload[64] = { 0 };
	uint32_t cmd, step, i, known;
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	for (cmd = 0; cmd < 65536; cmd += step) {
		step = cmd < 64 || (cmd >= 0x71f0 && cmd < 0x7210) ? 1 : 97;
		for (i = known = 0; i < sizeof(served) / sizeof(served[0]); i++)
			known |= cmd == served[i];
		if (!known && !rig_try(&r, cmd, payload, cmd % 64, -ENOTSUP))
			return;
	}
	T_EQ(r.calls, 0);
	T_EQ(r.lines, VU_LOG_MAX + 1);
	T_STREQ(r.line, "further refusals are not logged");
	rig_close(&r);
}

static void ops_errors(void)
{
	static const struct {
		int returns, reply;
	} cases[] = {
		{ -EEXIST, -EEXIST }, { -1, -1 }, { -4095, -4095 }, { -4096, -EIO }, { 1, -EIO },
		{ INT32_MIN, -EIO },
	};
	int before = rig_count_fds();
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		for (size_t i = 0; i < sizeof(rig_samples) / sizeof(rig_samples[0]); i++) {
			const struct rig_sample *s = &rig_samples[i];
			int fds[4];

			if (s->op == RIG_NONE)
				continue;
			r.result = cases[c].returns;
			rig_fds(s, fds);
			rig_call(&r, s->cmd, &s->map, s->len, fds, s->nfds, cases[c].reply, NULL, 0);
			rig_close_fds(fds, s->nfds);
			T_EQ(r.op, s->op);
		}
	}
	T_OK(!vu_server_attached(r.srv));
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
}

/* -- each command's own fields -------------------------------------------- */

static void argsz(void)
{
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	for (size_t i = 0; i < sizeof(rig_samples) / sizeof(rig_samples[0]); i++) {
		struct rig_sample s = rig_samples[i];
		bool info = s.op == RIG_NONE || s.cmd == VU_DMA_UNMAP;
		uint8_t reply[256];
		int fds[4];

		if (s.cmd == VU_REGION_READ || s.cmd == VU_REGION_WRITE || s.cmd == VU_RESET)
			continue;
		for (uint32_t sz = 0; sz < 80; sz++) {
			uint32_t argsz = sz < 72 ? sz : UINT32_MAX - (79 - sz);
			bool fits = info ? argsz >= s.len : argsz == s.len;

			if (fits && s.cmd == VU_RMIO_ATTACH)
				continue;
			memcpy(&s.map, &argsz, sizeof(argsz));
			rig_fds(&s, fds);
			rig_call(&r, s.cmd, &s.map, s.len, fds, s.nfds, fits ? 0 : -EINVAL, reply,
				 sizeof(reply));
			rig_close_fds(fds, s.nfds);
			if (ktap_failed()) {
				ktap_diag("at %s, argsz %u", s.name, argsz);
				return;
			}
		}
	}
	rig_close(&r);
}

static void info_fields(void)
{
	struct vu_region_info g;
	struct vu_irq_info q;
	struct vu_device_info d;
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	/* all but argsz and index must be zero */
	for (size_t at = 4; at < 32; at++) {
		memset(&d, 0, sizeof(d));
		memset(&g, 0, sizeof(g));
		memset(&q, 0, sizeof(q));
		d.argsz = g.argsz = q.argsz = 32;
		if (at < sizeof(d)) {
			((uint8_t *)&d)[at] = 1;
			rig_try(&r, VU_DEVICE_INFO, &d, sizeof(d), -EINVAL);
		}
		if (at / 4 != 2) {
			((uint8_t *)&g)[at] = 1;
			rig_try(&r, VU_REGION_INFO, &g, sizeof(g), -EINVAL);
			if (at < sizeof(q)) {
				((uint8_t *)&q)[at] = 1;
				rig_try(&r, VU_IRQ_INFO, &q, sizeof(q), -EINVAL);
			}
		}
	}
	for (uint32_t i = 0; i < 40; i++) {
		uint32_t index = i < 32 ? i : UINT32_MAX - (39 - i);

		g = (struct vu_region_info){ .argsz = 32, .index = index };
		q = (struct vu_irq_info){ .argsz = 16, .index = index };
		rig_try(&r, VU_REGION_INFO, &g, sizeof(g), index < RIG_REGIONS ? 0 : -EINVAL);
		rig_try(&r, VU_IRQ_INFO, &q, sizeof(q), index < RIG_IRQS ? 0 : -EINVAL);
	}
	rig_close(&r);
}

static void region_access(void)
{
	static const struct {
		uint64_t offset;
		uint32_t region, count;
		int read, write;
	} cases[] = {
		{ 0, 0, 1, 0, 0 },
		{ 0, 0, 0, 0, 0 },
		{ RIG_BAR, 0, 0, 0, 0 },
		{ 1, 0, VU_MAX_XFER, 0, 0 },
		{ RIG_BAR - VU_MAX_XFER, 0, VU_MAX_XFER, 0, 0 },
		{ RIG_BAR - 1, 0, 1, 0, 0 },
		{ RIG_BAR - 1, 0, 2, -EINVAL, -EINVAL },
		{ RIG_BAR, 0, 1, -EINVAL, -EINVAL },
		{ RIG_BAR + 1, 0, 0, -EINVAL, -EINVAL },
		{ UINT64_MAX, 0, 1, -EINVAL, -EINVAL },
		{ UINT64_MAX, 0, 2, -EINVAL, -EINVAL },
		{ UINT64_MAX - 7, 0, 8, -EINVAL, -EINVAL },
		{ 1ull << 63, 0, 4, -EINVAL, -EINVAL },
		{ 0, 1, 16, 0, -EINVAL },
		{ 0, 2, 16, -EINVAL, 0 },
		{ 0, 3, 1, -EINVAL, -EINVAL },
		{ 0, 7, 256, 0, 0 },
		{ 1, 7, 256, -EINVAL, -EINVAL },
		{ 0, 8, 1, -EINVAL, -EINVAL },
		{ 0, 9, 1, -EINVAL, -EINVAL },
		{ 0, UINT32_MAX, 1, -EINVAL, -EINVAL },
		{ 0, 0, VU_MAX_XFER + 1, -E2BIG, -E2BIG },
	};
	static uint8_t buf[VU_MSG_MAX], reply[VU_MSG_MAX];
	struct vu_region_access a;
	struct rig r;
	ssize_t n;

	T_REQUIRE(rig_ready(&r));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		a = (struct vu_region_access){ cases[i].offset, cases[i].region, cases[i].count };
		r.calls = 0;
		n = rig_call(&r, VU_REGION_READ, &a, sizeof(a), NULL, 0, cases[i].read, reply,
			     sizeof(reply));
		T_EQ(n, cases[i].read ? 0 : 16 + cases[i].count);
		T_EQ(r.calls, !cases[i].read && a.count);
		if (!cases[i].read && a.count) {
			T_EQ(reply[16], (uint8_t)a.offset);
			T_EQ(reply[15 + a.count], (uint8_t)(a.offset + a.count - 1));
		}
		memcpy(buf, &a, sizeof(a));
		memset(buf + 16, 0x5a, a.count);
		buf[15 + a.count] = a.count ? 0xa5 : buf[15];
		r.calls = 0;
		n = rig_call(&r, VU_REGION_WRITE, buf, 16 + a.count, NULL, 0, cases[i].write, reply,
			     sizeof(reply));
		T_EQ(n, cases[i].write ? 0 : 16);
		T_EQ(r.calls, !cases[i].write && a.count);
		if (!cases[i].write && a.count)
			T_EQ(r.last, 0xa5);
		if (ktap_failed()) {
			ktap_diag("in case %zu", i);
			return;
		}
	}
	/* counts that do not say how much data there is */
	a = (struct vu_region_access){ 0, 0, UINT32_MAX };
	T_OK(rig_try(&r, VU_REGION_READ, &a, sizeof(a), -E2BIG));
	T_OK(rig_try(&r, VU_REGION_WRITE, &a, sizeof(a), -E2BIG));
	memset(buf, 0, 64);
	for (a.count = 0; a.count < 20; a.count++) {
		memcpy(buf, &a, sizeof(a));
		T_OK(rig_try(&r, VU_REGION_WRITE, buf, 16 + 10, a.count == 10 ? 0 : -EINVAL));
	}
	rig_close(&r);
}

static void dma_map(void)
{
	static const struct {
		struct vu_dma_map map;
		int err;
	} cases[] = {
		{ { 32, 3, 0, 0, 12288 }, 0 },
		{ { 32, 1, 8192, 0x1000, 4096 }, 0 },
		{ { 32, 6, 0, -4096ull, 4096 }, 0 },
		{ { 32, 0, 0, 0, 4096 }, -EINVAL },
		{ { 32, 4, 0, 0, 4096 }, -EINVAL },
		{ { 32, 19, 0, 0, 4096 }, -EINVAL },
		{ { 32, 0x80000003u, 0, 0, 4096 }, -EINVAL },
		{ { 32, 11, 0, 0, 4096 }, -ENOTSUP },
		{ { 32, 3, 0, 0, 0 }, -EINVAL },
		{ { 32, 3, 0, 0, 1 }, -EINVAL },
		{ { 32, 3, 1, 0, 4096 }, -EINVAL },
		{ { 32, 3, 0, 2048, 4096 }, -EINVAL },
		{ { 32, 3, 0, 0, 4097 }, -EINVAL },
		{ { 32, 3, 0, -4096ull, 8192 }, -EINVAL },
		{ { 32, 3, 0, 4096, -4096ull }, -EINVAL },
		{ { 32, 3, 0, 8192, -4096ull }, -EINVAL },
		{ { 32, 3, -4096ull, 0, 4096 }, -EINVAL },
		{ { 32, 3, 1ull << 62, 0, 1ull << 62 }, -EINVAL },
		{ { 32, 3, INT64_MAX - 4095, 0, 4096 }, -EINVAL },
		/* longer than the file */
		{ { 32, 3, 0, 0, 16384 }, -EINVAL },
		{ { 32, 3, 4096, 0, 12288 }, -EINVAL },
		{ { 32, 3, 12288, 0, 4096 }, -EINVAL },
	};
	struct vu_dma_map m = { 32, 3, 0, 0, 4096 };
	int before = rig_count_fds(), fd, p[2];
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	fd = memfd_create("dma", MFD_CLOEXEC);
	T_EQ(ftruncate(fd, 12288), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		r.calls = 0;
		rig_call(&r, VU_DMA_MAP, &cases[i].map, 32, &fd, 1, cases[i].err, NULL, 0);
		T_EQ(r.calls, !cases[i].err);
		if (ktap_failed()) {
			ktap_diag("in case %zu", i);
			return;
		}
	}
	T_EQ(r.prot, PROT_WRITE);
	close(fd);

	/* without: the device decides, but not when the client says it can be mapped */
	r.nfds = -1;
	T_OK(rig_try(&r, VU_DMA_MAP, &m, 32, 0));
	T_EQ(r.nfds, 0);
	m.flags |= VU_DMA_MMAP;
	T_OK(rig_try(&r, VU_DMA_MAP, &m, 32, -EINVAL));
	m.flags = 3;

	/* kinds of descriptors that are not memory */
	T_EQ(pipe2(p, O_CLOEXEC), 0);
	r.calls = 0;
	rig_call(&r, VU_DMA_MAP, &m, 32, &p[0], 1, -EINVAL, NULL, 0);
	rig_close_fds(p, 2);
	fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	rig_call(&r, VU_DMA_MAP, &m, 32, &fd, 1, -EINVAL, NULL, 0);
	close(fd);
	fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rig_call(&r, VU_DMA_MAP, &m, 32, &fd, 1, -EINVAL, NULL, 0);
	close(fd);
	fd = eventfd(0, EFD_CLOEXEC);
	rig_call(&r, VU_DMA_MAP, &m, 32, &fd, 1, -EINVAL, NULL, 0);
	close(fd);
	rig_call(&r, VU_DMA_MAP, &m, 32, &r.peer, 1, -EINVAL, NULL, 0);
	T_EQ(r.calls, 0);
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
}

static void dma_unmap(void)
{
	static const struct {
		struct vu_dma_unmap unmap;
		int err;
	} cases[] = {
		{ { 24, 0, 0, 4096 }, 0 },
		{ { 24, 0, 5, 3 }, 0 },
		{ { 24, 0, -4096ull, 4096 }, 0 },
		{ { 24, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0 }, 0 },
		{ { 24, 0, 0, 0 }, -EINVAL },
		{ { 24, 0, 4096, 0 }, -EINVAL },
		{ { 24, 0, -4096ull, 4097 }, -EINVAL },
		{ { 24, 0, 2, UINT64_MAX }, -EINVAL },
		{ { 24, VFIO_DMA_UNMAP_FLAG_ALL, 4096, 0 }, -EINVAL },
		{ { 24, VFIO_DMA_UNMAP_FLAG_ALL, 0, 4096 }, -EINVAL },
		{ { 24, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, 0, 4096 }, -ENOTSUP },
		{ { 24, 4, 0, 4096 }, -EINVAL },
		{ { 24, 0x80000000u, 0, 4096 }, -EINVAL },
	};
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		r.calls = 0;
		rig_try(&r, VU_DMA_UNMAP, &cases[i].unmap, 24, cases[i].err);
		T_EQ(r.calls, !cases[i].err);
		if (ktap_failed()) {
			ktap_diag("in case %zu", i);
			return;
		}
	}
	T_OK(rig_try(&r, VU_DMA_UNMAP, &cases[3].unmap, 24, 0));
	T_EQ(r.all, true);
	rig_close(&r);
}

#define NONE	VFIO_IRQ_SET_DATA_NONE
#define BOOL	VFIO_IRQ_SET_DATA_BOOL
#define EVFD	VFIO_IRQ_SET_DATA_EVENTFD
#define MASK	VFIO_IRQ_SET_ACTION_MASK
#define UNMASK	VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER	VFIO_IRQ_SET_ACTION_TRIGGER

static void set_irqs(void)
{
	static const struct {
		uint32_t flags, index, start, count, bytes, fds;
		int err;
	} cases[] = {
		{ NONE | TRIGGER, 0, 0, 0, 0, 0, 0 },
		{ NONE | TRIGGER, 0, 0, 1, 0, 0, 0 },
		{ NONE | UNMASK, 0, 0, 1, 0, 0, 0 },
		{ EVFD | TRIGGER, 0, 0, 1, 0, 1, 0 },
		{ EVFD | UNMASK, 0, 0, 1, 0, 1, 0 },
		{ EVFD | TRIGGER, 1, 0, 16, 0, 16, 0 },
		{ EVFD | TRIGGER, 1, 16, 16, 0, 16, 0 },
		{ EVFD | TRIGGER, 1, 0, 32, 0, 0, 0 },
		{ BOOL | MASK, 1, 0, 32, 32, 0, 0 },
		/* flags */
		{ 0, 0, 0, 1, 0, 0, -EINVAL },
		{ NONE, 0, 0, 1, 0, 0, -EINVAL },
		{ TRIGGER, 0, 0, 1, 0, 0, -EINVAL },
		{ NONE | BOOL | TRIGGER, 0, 0, 1, 1, 0, -EINVAL },
		{ NONE | EVFD | TRIGGER, 0, 0, 1, 0, 1, -EINVAL },
		{ NONE | MASK | UNMASK, 0, 0, 1, 0, 0, -EINVAL },
		{ NONE | TRIGGER | 64, 0, 0, 1, 0, 0, -EINVAL },
		{ NONE | TRIGGER | 0x80000000u, 0, 0, 1, 0, 0, -EINVAL },
		/* bounds */
		{ NONE | TRIGGER, 0, 1, 0, 0, 0, -EINVAL },
		{ NONE | TRIGGER, 0, 0, 2, 0, 0, -EINVAL },
		{ NONE | TRIGGER, 1, 31, 2, 0, 0, -EINVAL },
		{ NONE | TRIGGER, 1, 32, 1, 0, 0, -EINVAL },
		{ NONE | TRIGGER, 1, 31, UINT32_MAX, 0, 0, -EINVAL },
		{ NONE | TRIGGER, 1, UINT32_MAX, 1, 0, 0, -EINVAL },
		{ NONE | TRIGGER, 2, 0, 1, 0, 0, -EINVAL },
		{ NONE | TRIGGER, 2, 0, 0, 0, 0, -EINVAL },
		{ NONE | TRIGGER, 5, 0, 1, 0, 0, -EINVAL },
		{ NONE | TRIGGER, UINT32_MAX, 0, 1, 0, 0, -EINVAL },
		/* count 0 says disable, and nothing else */
		{ NONE | MASK, 0, 0, 0, 0, 0, -EINVAL },
		{ BOOL | TRIGGER, 0, 0, 0, 0, 0, -EINVAL },
		{ EVFD | TRIGGER, 0, 0, 0, 0, 0, -EINVAL },
		{ NONE | TRIGGER, 1, 1, 0, 0, 0, -EINVAL },
		/* data */
		{ BOOL | TRIGGER, 1, 0, 2, 1, 0, -EINVAL },
		{ BOOL | TRIGGER, 1, 0, 2, 3, 0, -EINVAL },
		{ BOOL | TRIGGER, 1, 0, 2, 0, 0, -EINVAL },
		{ NONE | TRIGGER, 1, 0, 2, 2, 0, -EINVAL },
		{ EVFD | TRIGGER, 1, 0, 2, 8, 2, -EINVAL },
		/* descriptors */
		{ EVFD | TRIGGER, 1, 0, 2, 0, 1, -EINVAL },
		{ EVFD | TRIGGER, 1, 0, 2, 0, 3, -EINVAL },
		{ NONE | TRIGGER, 1, 0, 1, 0, 1, -EINVAL },
		{ NONE | TRIGGER, 1, 0, 0, 0, 1, -EINVAL },
		{ BOOL | TRIGGER, 1, 0, 1, 1, 1, -EINVAL },
		{ EVFD | TRIGGER, 1, 0, 17, 0, 17, -E2BIG },
	};
	struct {
		struct vu_irq_set set;
		uint8_t bools[64];
	} m;
	int before = rig_count_fds(), fds[32], bad[6], p[2], i;
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	for (i = 0; i < 32; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	memset(m.bools, 1, sizeof(m.bools));
	for (i = 0; i < (int)(sizeof(cases) / sizeof(cases[0])); i++) {
		m.set = (struct vu_irq_set){ 20 + cases[i].bytes, cases[i].flags, cases[i].index,
					     cases[i].start, cases[i].count };
		r.calls = 0;
		rig_call(&r, VU_SET_IRQS, &m, 20 + cases[i].bytes, fds, cases[i].fds, cases[i].err,
			 NULL, 0);
		T_EQ(r.calls, !cases[i].err);
		if (!cases[i].err)
			T_EQ(r.nfds, cases[i].fds);
		if (ktap_failed()) {
			ktap_diag("in case %d", i);
			return;
		}
	}
	/* a boolean that is none */
	m.set = (struct vu_irq_set){ 22, BOOL | TRIGGER, 1, 0, 2 };
	m.bools[1] = 2;
	T_OK(rig_try(&r, VU_SET_IRQS, &m, 22, -EINVAL));

	/* a descriptor that is no eventfd, alone and among good ones */
	T_EQ(pipe2(p, O_CLOEXEC), 0);
	bad[0] = p[1];
	bad[1] = memfd_create("x", MFD_CLOEXEC);
	bad[2] = epoll_create1(EPOLL_CLOEXEC);
	bad[3] = open("/dev/null", O_WRONLY | O_CLOEXEC);
	bad[4] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bad[5] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r.calls = 0;
	for (i = 0; i < 6; i++) {
		int three[3] = { fds[0], fds[1], bad[i] };

		m.set = (struct vu_irq_set){ 20, EVFD | TRIGGER, 1, 0, 1 };
		rig_call(&r, VU_SET_IRQS, &m, 20, &bad[i], 1, -EINVAL, NULL, 0);
		m.set.count = 3;
		rig_call(&r, VU_SET_IRQS, &m, 20, three, 3, -EINVAL, NULL, 0);
	}
	T_EQ(r.calls, 0);
	rig_close_fds(bad, 6);
	close(p[0]);
	rig_close_fds(fds, 32);
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
}

static void attach(void)
{
	struct vu_rmio_attach a = { 16, 1, 0 };
	int fds[2] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC) };
	struct rig r;

	/* not agreed on: unknown */
	T_REQUIRE(rig_open(&r, &rig_ops));
	T_REQUIRE(rig_version(&r, NULL));
	rig_call(&r, VU_RMIO_ATTACH, &a, 16, fds, 1, -ENOTSUP, NULL, 0);
	rig_close(&r);

	T_REQUIRE(rig_ready(&r));
	rig_call(&r, VU_RMIO_ATTACH, &a, 16, fds, 0, -EINVAL, NULL, 0);
	rig_call(&r, VU_RMIO_ATTACH, &a, 16, fds, 2, -EINVAL, NULL, 0);
	a.version = 0;
	rig_call(&r, VU_RMIO_ATTACH, &a, 16, fds, 1, -EINVAL, NULL, 0);
	a.version = 2;
	rig_call(&r, VU_RMIO_ATTACH, &a, 16, fds, 1, -EINVAL, NULL, 0);
	a = (struct vu_rmio_attach){ 16, 1, 1ull << 40 };
	rig_call(&r, VU_RMIO_ATTACH, &a, 16, fds, 1, -EINVAL, NULL, 0);
	T_EQ(r.calls, 0);
	/* one that the device refuses can be tried again; after one that it takes, no more */
	a.reserved = 0;
	r.result = -EPROTO;
	rig_call(&r, VU_RMIO_ATTACH, &a, 16, fds, 1, -EPROTO, NULL, 0);
	T_OK(!vu_server_attached(r.srv));
	r.result = 0;
	rig_call(&r, VU_RMIO_ATTACH, &a, 16, fds, 1, 0, NULL, 0);
	T_OK(vu_server_attached(r.srv));
	rig_call(&r, VU_RMIO_ATTACH, &a, 16, fds, 1, -EBUSY, NULL, 0);
	T_EQ(r.calls, 2);
	rig_close(&r);
	rig_close_fds(fds, 2);
}

/* -- descriptors ---------------------------------------------------------- */

static void unexpected_fds(void)
{
	int before = rig_count_fds(), fds[253], i, n;
	struct vu_version v = { VU_MAJOR, VU_MINOR };
	uint8_t buf[64];
	struct rig r;

	for (i = 0; i < 253; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	T_REQUIRE(rig_ready(&r));
	for (size_t k = 0; k < sizeof(rig_samples) / sizeof(rig_samples[0]); k++) {
		const struct rig_sample *s = &rig_samples[k];

		for (n = s->nfds + 1; n <= 253; n += n < 20 ? 1 : 233) {
			rig_call(&r, s->cmd, &s->map, s->len, fds, n,
				 n > (int)VU_MAX_FDS ? -E2BIG : -EINVAL, NULL, 0);
			if (ktap_failed()) {
				ktap_diag("at %s, %d descriptors", s->name, n);
				return;
			}
		}
	}
	T_EQ(r.calls, 0);
	T_OK(rig_try(&r, VU_RESET, NULL, 0, 0));
	/* unknown commands too */
	rig_call(&r, 99, NULL, 0, fds, 3, -ENOTSUP, NULL, 0);
	T_EQ(rig_count_fds(), before + 253 + 2);
	rig_close(&r);

	/* with the first message that ends the connection */
	T_REQUIRE(rig_open(&r, &rig_ops));
	T_REQUIRE(rig_put(&r, buf, rig_build(buf, 1, VU_VERSION, 0, &v, sizeof(v)), fds, 1));
	T_EQ(rig_turn(&r), 0);
	T_EQ(rig_expect(&r, 1, VU_VERSION, -EINVAL, buf, sizeof(buf)), 0);
	rig_close(&r);
	rig_close_fds(fds, 253);
	T_EQ(rig_count_fds(), before);
}

/* Descriptors that do not come with the first byte. */
static void fds_elsewhere(void)
{
	const struct rig_sample *s = &rig_samples[0];
	int before = rig_count_fds(), fds[4];
	uint8_t buf[64];
	size_t len = rig_build(buf, 9, s->cmd, VU_COMMAND, &s->map, s->len);
	struct rig r;

	rig_fds(s, fds);
	for (size_t k = 1; k < len; k++) {
		T_REQUIRE(rig_ready(&r));
		T_REQUIRE(rig_put(&r, buf, k, NULL, 0));
		T_REQUIRE(rig_put(&r, buf + k, len - k, fds, 1));
		if (k < sizeof(struct vu_hdr)) {
			T_EQ(rig_turn(&r), 0);
			rig_expect(&r, 9, s->cmd, 0, NULL, 0);
			T_EQ(r.nfds, 1);
		} else {
			T_EQ(rig_turn(&r), -EPROTO);
			T_STREQ(vu_server_reason(r.srv), "descriptors in the middle of a message");
			T_EQ(r.calls, 0);
		}
		rig_close(&r);
	}
	/* one with each byte of the header: they add up, and one is too many */
	T_REQUIRE(rig_ready(&r));
	for (size_t k = 0; k < len; k++)
		T_REQUIRE(rig_put(&r, buf + k, 1, fds, k < 16));
	T_EQ(rig_turn(&r), 0);
	rig_expect(&r, 9, s->cmd, -EINVAL, NULL, 0);
	fds[1] = fds[2] = fds[0];
	for (size_t k = 0; k < len; k++)
		T_REQUIRE(rig_put(&r, buf + k, 1, fds, k < 16 ? 3 : 0));
	T_EQ(rig_turn(&r), 0);
	rig_expect(&r, 9, s->cmd, -E2BIG, NULL, 0);

	/* the next message's are not this one's */
	T_REQUIRE(rig_put(&r, buf, rig_build(buf, 1, VU_RESET, 0, NULL, 0), NULL, 0));
	T_REQUIRE(rig_put(&r, buf, rig_build(buf, 2, s->cmd, 0, &s->map, s->len), fds, 1));
	T_REQUIRE(rig_put(&r, buf, rig_build(buf, 3, VU_RESET, 0, NULL, 0), NULL, 0));
	T_EQ(rig_turn(&r), 0);
	rig_expect(&r, 1, VU_RESET, 0, NULL, 0);
	rig_expect(&r, 2, s->cmd, 0, NULL, 0);
	rig_expect(&r, 3, VU_RESET, 0, NULL, 0);
	close(fds[0]);
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
}

/* The process has no room for the descriptors: the message is refused, no more. */
static void no_room_for_fds(void)
{
	const struct rig_sample *s = &rig_samples[5];
	struct rlimit old, lim;
	int before = rig_count_fds(), fds[4], top;
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	rig_fds(s, fds);
	T_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
	top = dup(0);
	close(top);
	for (int room = 0; room < 2; room++) {
		lim = (struct rlimit){ top + room, old.rlim_max };
		T_EQ(setrlimit(RLIMIT_NOFILE, &lim), 0);
		rig_call(&r, s->cmd, &s->map, s->len, fds, s->nfds, -EMFILE, NULL, 0);
	}
	T_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
	T_EQ(r.calls, 0);
	rig_call(&r, s->cmd, &s->map, s->len, fds, s->nfds, 0, NULL, 0);
	T_EQ(r.calls, 1);
	rig_close_fds(fds, s->nfds);
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
}

/* -- what a server is made of --------------------------------------------- */

static void wrong_socket(void)
{
	int before = rig_count_fds(), fds[2];
	struct vu_server *srv;

	fds[0] = eventfd(0, EFD_CLOEXEC);
	T_EQ(vu_server_new(fds[0], &rig_ops, NULL, &srv), -ENOTSOCK);
	T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	T_EQ(vu_server_new(fds[0], &rig_ops, NULL, &srv), -EPROTOTYPE);
	close(fds[1]);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fds[0] >= 0)
		T_EQ(vu_server_new(fds[0], &rig_ops, NULL, &srv), -EPROTOTYPE);
	T_EQ(vu_server_new(-1, &rig_ops, NULL, &srv), -EBADF);
	T_EQ(rig_count_fds(), before);
	vu_server_free(NULL);
}

/* Freed at any moment: with replies queued, in mid-message, with descriptors. */
static void freed_any_time(void)
{
	struct vu_region_access a = { 0, 0, VU_MAX_XFER };
	int before = rig_count_fds(), fds[4];
	uint8_t buf[64];
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	T_REQUIRE(rig_put(&r, buf, rig_build(buf, 1, VU_REGION_READ, 0, &a, 16), NULL, 0));
	T_EQ(rig_turn(&r), 0);
	T_OK(vu_server_wants_write(r.srv));
	rig_fds(&rig_samples[0], fds);
	T_REQUIRE(rig_put(&r, buf, rig_build(buf, 1, VU_DMA_MAP, 0, &rig_samples[0].map, 32) - 1,
			  fds, 1));
	close(fds[0]);
	T_EQ(rig_turn(&r), 0);
	rig_close(&r);
	T_EQ(rig_count_fds(), before);

	/* the peer goes with a reply under way */
	T_REQUIRE(rig_ready(&r));
	T_REQUIRE(rig_put(&r, buf, rig_build(buf, 1, VU_REGION_READ, 0, &a, 16), NULL, 0));
	T_EQ(rig_turn(&r), 0);
	close(r.peer);
	r.peer = -1;
	T_EQ(vu_server_writable(r.srv), -ECONNRESET);
	T_STREQ(vu_server_reason(r.srv), "the peer has closed the connection");
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
}

static const struct ktap_test tests[] = {
	{ "version: good", version_good },
	{ "version: bad", version_bad },
	{ "version: first and once", version_order },
	{ "every command", good },
	{ "cut off after each byte", cut_off },
	{ "payload of the wrong size", wrong_size },
	{ "header with an impossible size", header_size },
	{ "byte by byte", byte_by_byte },
	{ "pipelined", pipelined },
	{ "peer that never reads", never_reads },
	{ "flags", flags },
	{ "unknown commands", unknown_commands },
	{ "errors of the device", ops_errors },
	{ "argsz", argsz },
	{ "info fields", info_fields },
	{ "region access", region_access },
	{ "dma map", dma_map },
	{ "dma unmap", dma_unmap },
	{ "set irqs", set_irqs },
	{ "attach", attach },
	{ "unexpected descriptors", unexpected_fds },
	{ "descriptors elsewhere", fds_elsewhere },
	{ "no room for descriptors", no_room_for_fds },
	{ "wrong socket", wrong_socket },
	{ "freed at any time", freed_any_time },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
