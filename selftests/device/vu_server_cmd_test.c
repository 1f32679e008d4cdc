// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * vu_server_cmd_test.c - the device end of the control channel: each command, good and bad.
 * Beside the data path.
 */
#include "vu_rig.h"

#include <sys/epoll.h>

/* -- every command -------------------------------------------------------- */

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
			T_MEMEQ(reply, &((struct vu_device_info){ 16, 3, RIG_REGIONS, RIG_IRQS }),
				16);
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

/* A client may leave room for a longer reply, or send a struct that has grown. */
static bool may_be_longer(const struct rig_sample *s)
{
	return s->cmd == VU_DMA_MAP || s->cmd == VU_DMA_UNMAP || s->cmd == VU_DEVICE_INFO ||
	       s->cmd == VU_REGION_INFO || s->cmd == VU_IRQ_INFO;
}

/* What follows the fixed part is ignored, and argsz bounds the reply. */
static void longer(void)
{
	static const size_t lens[] = { 1, 8, 100, 4064 - 32, 4064 };
	uint8_t buf[8192], want[256], reply[256];
	int before = rig_count_fds();
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	for (size_t i = 0; i < sizeof(rig_samples) / sizeof(rig_samples[0]); i++) {
		const struct rig_sample *s = &rig_samples[i];
		int fds[4];

		if (!may_be_longer(s))
			continue;
		memset(want, 0, sizeof(want));
		rig_fds(s, fds);
		rig_call(&r, s->cmd, &s->map, s->len, fds, s->nfds, 0, want, sizeof(want));
		rig_close_fds(fds, s->nfds);
		for (size_t k = 0; k < sizeof(lens) / sizeof(lens[0]); k++) {
			uint32_t len = (uint32_t)(s->len + lens[k]);

			memset(buf, 0xff, sizeof(buf));
			memcpy(buf, &s->map, s->len);
			memcpy(buf, &len, sizeof(len));
			memset(reply, 0, sizeof(reply));
			rig_fds(s, fds);
			rig_call(&r, s->cmd, buf, len, fds, s->nfds, 0, reply, sizeof(reply));
			rig_close_fds(fds, s->nfds);
			T_MEMEQ(reply, want, sizeof(want));
			if (ktap_failed()) {
				ktap_diag("at %s, %u bytes", s->name, len);
				return;
			}
		}
	}
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
}

/* A client of the reference sends the descriptor of the map again. */
static void unmap_with_descriptor(void)
{
	struct vu_dma_unmap unmap = { .argsz = sizeof(unmap), .iova = 4096, .size = 4096 };
	int fd = memfd_create("unmap", MFD_CLOEXEC), before = rig_count_fds();
	uint8_t reply[sizeof(unmap)];
	struct rig r;

	T_REQUIRE(rig_ready(&r));
	rig_call(&r, VU_DMA_UNMAP, &unmap, sizeof(unmap), &fd, 1, 0, reply, sizeof(reply));
	T_EQ(r.calls, 1);
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
	close(fd);
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

			if (len == s->len || (len > s->len && may_be_longer(s)))
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

static void unknown_commands(void)
{
	static const uint16_t served[] = { 1, 2, 3, 4, 5, 7, 8, 9, 10, 13, VU_RMIO_ATTACH };
	uint8_t payload[64] = { 0 };
	uint32_t cmd, step, i, known, n;
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
	/* some at once, then one a second; what is left out is counted */
	T_GE(r.lines, VU_LOG_MAX);
	T_LE(r.lines, VU_LOG_MAX + 30);
	usleep(1100000);
	T_OK(rig_try(&r, 999, payload, 0, -ENOTSUP));
	T_OK(strstr(r.line, "unknown command (999) refused with "));
	T_OK(strstr(r.line, ": not supported (and "));
	T_OK(strstr(r.line, " more before it)"));
	T_OK(rig_try(&r, 998, payload, 0, -ENOTSUP));
	T_OK(rig_try(&r, 998, payload, 0, -ENOTSUP));
	n = r.lines;
	vu_server_free(r.srv);
	r.srv = NULL;
	T_EQ(r.lines, n + 1);
	T_STREQ(r.line, "2 more messages were refused");
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
			rig_call(&r, s->cmd, &s->map, s->len, fds, s->nfds, cases[c].reply, NULL,
				 0);
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
		uint8_t reply[256];
		int fds[4];

		if (s.cmd == VU_REGION_READ || s.cmd == VU_REGION_WRITE || s.cmd == VU_RESET)
			continue;
		for (uint32_t sz = 0; sz < 80; sz++) {
			uint32_t argsz = sz < 72 ? sz : UINT32_MAX - (79 - sz);
			bool fits = may_be_longer(&s) ? argsz >= s.len : argsz == s.len;

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
	/* all but argsz and index are for the reply */
	for (size_t at = 4; at < 32; at++) {
		memset(&d, 0, sizeof(d));
		memset(&g, 0, sizeof(g));
		memset(&q, 0, sizeof(q));
		d.argsz = g.argsz = q.argsz = 32;
		if (at < sizeof(d)) {
			((uint8_t *)&d)[at] = 1;
			rig_try(&r, VU_DEVICE_INFO, &d, sizeof(d), 0);
		}
		if (at / 4 != 2) {
			((uint8_t *)&g)[at] = 1;
			rig_try(&r, VU_REGION_INFO, &g, sizeof(g), 0);
			if (at < sizeof(q)) {
				((uint8_t *)&q)[at] = 1;
				rig_try(&r, VU_IRQ_INFO, &q, sizeof(q), 0);
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

static const struct ktap_test tests[] = {
	{ "every command", good },
	{ "payload of the wrong size", wrong_size },
	{ "requests longer than need be", longer },
	{ "unmap with a descriptor", unmap_with_descriptor },
	{ "unknown commands", unknown_commands },
	{ "errors of the device", ops_errors },
	{ "argsz", argsz },
	{ "info fields", info_fields },
	{ "region access", region_access },
	{ "dma map", dma_map },
	{ "dma unmap", dma_unmap },
	{ "set irqs", set_irqs },
	{ "attach", attach },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
