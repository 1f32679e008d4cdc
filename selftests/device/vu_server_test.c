// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * vu_server_test.c - the device end of the control channel: negotiation, framing and descriptors.
 * Beside the data path. What each command says is in vu_server_cmd_test.c.
 */
#include "vu_rig.h"
#include "wire/vu_caps.h"

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

	/* how many maps there may be is said to who knows of more than the default */
	for (int i = 0; i < 3; i++) {
		static const char *const json[] = {
			"{\"capabilities\":{\"max_dma_maps\":65535}}",
			"{\"capabilities\":{}}",
			"{\"capabilities\":{\"max_dma_maps\":65536}}",
		};
		uint8_t req[256];

		T_REQUIRE(rig_open(&r, &rig_ops));
		v = (struct vu_version){ VU_MAJOR, VU_MINOR };
		memcpy(req, &v, sizeof(v));
		strcpy((char *)req + sizeof(v), json[i]);
		T_GT(rig_call(&r, VU_VERSION, req, sizeof(v) + strlen(json[i]) + 1, NULL, 0, 0,
			      reply, sizeof(reply)), 0);
		T_EQ(!!strstr(reply + sizeof(v), ",\"max_dma_maps\":1048576}"), i == 2);
		rig_close(&r);
	}

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
	/* nested deeper than is looked into, and as deep as the length allows */
	for (n = 9; n <= 2047; n += 2038) {
		memset(big, '[', n);
		memset(big + n, ']', n);
		json_fails(big, 2 * n - 1, "VERSION: JSON does not end with its NUL");
		big[2 * n] = 0;
		json_fails(big, 2 * n + 1, "VERSION: JSON is not an object");
		big[2 * n - 1] = 0;
		json_fails(big, 2 * n, "VERSION: not JSON");
	}
	/* a NUL in the middle, none at the end, too long */
	json_fails("{}\0{}", 6, "VERSION: JSON does not end with its NUL");
	json_fails("{}", 2, "VERSION: JSON does not end with its NUL");
}

/* What is unknown is ignored, however deep and long a message can make it. */
static void version_long(void)
{
	static const struct {
		const char *begin, *inner, *mid, *outer, *end;
	} forms[] = {
		{ "{\"capabilities\":{\"max_msg_fds\":3,\"x\":", "[", "1", "]", "}}" },
		{ "{\"capabilities\":{\"x\":", "{\"\\\"[y\":", "\"}\"", "}",
		  ",\"max_msg_fds\":3}}" },
		{ "{\"capabilities\":{\"max_msg_fds\":3,\"x\":\"", "[\\\"", "", "", "\"}}" },
		{ "{\"capabilities\":{\"max_msg_fds\":3},\"x\":[0", ",\"a\"", "", "", "]}" },
	};
	const size_t room = VU_MAX_XFER;
	struct vu_version v = { VU_MAJOR, VU_MINOR };
	uint8_t *buf = malloc(sizeof(v) + room + 4096);
	char reply[256];
	struct vu_caps caps;
	const char *why;
	struct rig r;

	T_REQUIRE(T_OK(buf != NULL));
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		char *text = (char *)buf + sizeof(v);
		size_t each = strlen(forms[i].inner) + strlen(forms[i].outer), n = 0, times, k;

		times = (room - 200) / each;
		memcpy(buf, &v, sizeof(v));
		n = (size_t)sprintf(text, "%s", forms[i].begin);
		for (k = 0; k < times; k++)
			n += (size_t)sprintf(text + n, "%s", forms[i].inner);
		n += (size_t)sprintf(text + n, "%s", forms[i].mid);
		for (k = 0; k < times; k++)
			n += (size_t)sprintf(text + n, "%s", forms[i].outer);
		n += (size_t)sprintf(text + n, "%s", forms[i].end) + 1;
		T_LE(n, room);
		T_EQ(vu_caps_parse(text, n, &caps, &why), 0);
		T_EQ(caps.max_fds, 3);
		/* without its last bracket */
		text[n - 2] = 0;
		T_EQ(vu_caps_parse(text, n - 1, &caps, &why), -EINVAL);
		T_STREQ(why, "not JSON");
	}
	/* As a message, which the socket may take in pieces. */
	memset(buf + sizeof(v), ' ', room + 1);
	memcpy(buf + sizeof(v), "{}", 2);
	buf[sizeof(v) + 99999] = 0;
	T_REQUIRE(rig_open(&r, &rig_ops));
	T_GT(rig_call(&r, VU_VERSION, buf, sizeof(v) + 100000, NULL, 0, 0, reply, sizeof(reply)),
	     0);
	rig_close(&r);
	buf[sizeof(v) + 99999] = ' ';
	buf[sizeof(v) + room] = 0;
	T_EQ(vu_caps_parse(buf + sizeof(v), room + 1, &caps, &why), -EINVAL);
	T_STREQ(why, "JSON is too long");
	free(buf);
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

/* -- framing -------------------------------------------------------------- */

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
	uint64_t taken = 0;
	int i, replies = 0;

	T_REQUIRE(rig_ready(&r));
	for (i = 0; i < 10; i++)
		T_REQUIRE(rig_put(&r, buf, len, NULL, 0));
	r.calls = 0;
	T_EQ(rig_turn(&r), 0);
	/* what the socket took, two whole replies and the rest of one; no more is asked for */
	T_OK(!vu_server_wants_read(r.srv, &taken));
	T_OK(vu_server_wants_write(r.srv));
	T_GE(r.calls, 3);
	T_LE(r.calls, 4);
	T_EQ(taken, 0);
	T_EQ(rig_turn(&r), 0);
	T_LE(r.calls, 4);
	/* once it reads, all is answered */
	for (i = 0; i < 1000 && replies < 10; i++) {
		static uint8_t reply[VU_MAX_XFER + 4096];
		struct vu_hdr h;

		if (vu_server_wants_write(r.srv))
			T_EQ(vu_server_writable(r.srv), 0);
		while (rig_reply(&r, &h, reply, sizeof(reply)) > 0)
			replies++;
		T_EQ(rig_turn(&r), 0);
	}
	T_EQ(replies, 10);
	T_EQ(r.calls, 10);
	T_OK(vu_server_wants_read(r.srv, &taken));
	T_GT(taken, 0);
	T_EQ(vu_server_stuck(r.srv), -ENOBUFS);
	T_STREQ(vu_server_reason(r.srv), "the peer does not read its replies");
	rig_close(&r);
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

		/* A client of the reference sends that of the map with the unmap. */
		n = s->nfds + (s->cmd == VU_DMA_UNMAP ? 2 : 1);
		for (; n <= 253; n += n < 20 ? 1 : 233) {
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
	{ "VERSION, long and deep", version_long },
	{ "version: first and once", version_order },
	{ "cut off after each byte", cut_off },
	{ "header with an impossible size", header_size },
	{ "byte by byte", byte_by_byte },
	{ "flags", flags },
	{ "pipelined", pipelined },
	{ "peer that never reads", never_reads },
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
