// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * vu_fuzz_test.c - streams of damaged messages against both ends of the control channel, and of
 * QEMU's multi-process protocol against the device's. Beside the data path. The seed is fixed: a
 * failure names the stream, which is the same each time.
 */
#include "vu_rig.h"

#include <pthread.h>
#include <rmio/vmm.h>
#include <sys/epoll.h>

static __thread uint64_t state;
#define SEED(i)	(0x9e3779b97f4a7c15ull * (uint64_t)((i) + 1))

static uint32_t rnd(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 16) % below);
}

static bool chance(uint32_t percent)
{
	return rnd(100) < percent;
}

/* -- a device that checks what vu_server.h promises it --------------------- */

static struct {
	unsigned long ops[RIG_ATTACH + 1], ends[4], replies, refusals, streams, messages, with_fds;
} seen;

static int op(enum rig_op which, struct rig *r)
{
	static const int results[] = { -EEXIST, -ENOENT, 1, INT32_MIN };

	seen.ops[which]++;
	rig_called(r, which);
	return chance(80) ? 0 : results[rnd(4)];
}

static void check_region(uint32_t index, uint64_t off, uint32_t count, uint32_t flag)
{
	uint64_t size = 0;
	uint32_t flags = 0;

	T_LT(index, RIG_REGIONS);
	rig_region_info(NULL, index, &size, &flags);
	T_OK(flags & flag);
	T_OK(count && count <= VU_MAX_XFER);
	T_OK(off <= size && count <= size - off);
}

/* Three BARs that are where they are, whatever is written there. */
#define BAR0	0xfe000000u
#define BAR1	0xc040u
#define BAR2	0xfe100000u
static const uint8_t config[256] = {
	0x34, 0x12, 0xe8, 0x11, 0x07, 0, 0x10, 0,
	[0x10] = 0, 0, 0, 0xfe, 0x41, 0xc0, 0, 0, 0, 0, 0x10, 0xfe,
};

/* What a client of the multi-process protocol has mapped: no two of it overlap. */
static struct {
	uint64_t iova, size;
} mapped[8];
static uint32_t n_mapped;
static bool mp;

static void check_map(uint64_t iova, uint64_t size)
{
	T_LT(n_mapped, KTAP_COUNT(mapped));
	for (uint32_t i = 0; i < n_mapped; i++)
		T_OK(iova > mapped[i].iova + (mapped[i].size - 1) ||
		     mapped[i].iova > iova + (size - 1));
}

static void check_unmap(uint64_t iova, uint64_t size)
{
	uint32_t i;

	for (i = 0; i < n_mapped; i++)
		if (mapped[i].iova == iova && mapped[i].size == size)
			break;
	if (T_LT(i, n_mapped))
		mapped[i] = mapped[--n_mapped];
}

static int fuzz_read(void *arg, uint32_t index, uint64_t off, void *buf, uint32_t count)
{
	check_region(index, off, count, VFIO_REGION_INFO_FLAG_READ);
	if (index == 7) {
		memcpy(buf, config + off, count);
		return chance(98) ? 0 : -EIO;
	}
	memset(buf, 0xc3, count);
	return op(RIG_READ, arg);
}

static int fuzz_write(void *arg, uint32_t index, uint64_t off, const void *buf, uint32_t count)
{
	volatile uint8_t sum = 0;

	check_region(index, off, count, VFIO_REGION_INFO_FLAG_WRITE);
	for (uint32_t i = 0; i < count; i++)
		sum += ((const uint8_t *)buf)[i];
	return op(RIG_WRITE, arg);
}

static void take_some(int *fds, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		T_OK(fcntl(fds[i], F_GETFD) >= 0);
		if (chance(50)) {
			close(fds[i]);
			fds[i] = -1;
		}
	}
}

static int fuzz_dma_map(void *arg, uint64_t iova, uint64_t size, uint64_t offset, int prot, int *fd)
{
	int err;

	T_OK(size && !((iova | size | offset) % 4096));
	T_GE(iova + (size - 1), iova);
	T_OK(offset <= INT64_MAX && size <= INT64_MAX - offset);
	T_OK(prot && !(prot & ~(PROT_READ | PROT_WRITE)));
	if (*fd >= 0)
		take_some(fd, 1);
	err = op(RIG_MAP, arg);
	if (mp)
		check_map(iova, size);
	if (mp && !err && n_mapped < KTAP_COUNT(mapped)) {
		mapped[n_mapped].iova = iova;
		mapped[n_mapped++].size = size;
	}
	return err;
}

static int fuzz_dma_unmap(void *arg, uint64_t iova, uint64_t size, bool all)
{
	T_OK(all ? !iova && !size : size && iova + (size - 1) >= iova);
	if (mp)
		check_unmap(iova, size);
	return op(RIG_UNMAP, arg);
}

static int fuzz_set_irqs(void *arg, uint32_t index, uint32_t action, uint32_t data, uint32_t start,
			 uint32_t count, int *fds, const uint8_t *bools)
{
	uint32_t flags, max = 0;

	T_LT(index, RIG_IRQS);
	rig_irq_info(NULL, index, &flags, &max);
	T_OK(start < max && count <= max - start);
	T_OK(action == VFIO_IRQ_SET_ACTION_MASK || action == VFIO_IRQ_SET_ACTION_UNMASK ||
	     action == VFIO_IRQ_SET_ACTION_TRIGGER);
	T_OK(data == VFIO_IRQ_SET_DATA_NONE || data == VFIO_IRQ_SET_DATA_BOOL ||
	     data == VFIO_IRQ_SET_DATA_EVENTFD);
	T_OK(count || (data == VFIO_IRQ_SET_DATA_NONE && action == VFIO_IRQ_SET_ACTION_TRIGGER &&
		       !start));
	T_EQ(!!bools, data == VFIO_IRQ_SET_DATA_BOOL);
	T_OK(!fds || data == VFIO_IRQ_SET_DATA_EVENTFD);
	for (uint32_t i = 0; bools && i < count; i++)
		T_LE(bools[i], 1);
	if (fds)
		take_some(fds, count);
	return op(RIG_SET_IRQS, arg);
}

static int fuzz_reset(void *arg)
{
	return op(RIG_RESET, arg);
}

static int fuzz_attach(void *arg, int *fd)
{
	T_OK(!vu_server_attached(((struct rig *)arg)->srv));
	take_some(fd, 1);
	return op(RIG_ATTACH, arg);
}

static const struct vu_server_ops fuzz_ops = {
	.device_info = rig_device_info,
	.region_info = rig_region_info,
	.irq_info = rig_irq_info,
	.region_read = fuzz_read,
	.region_write = fuzz_write,
	.dma_map = fuzz_dma_map,
	.dma_unmap = fuzz_dma_unmap,
	.set_irqs = fuzz_set_irqs,
	.reset = fuzz_reset,
	.attach = fuzz_attach,
	.log = rig_log,
};

/* -- messages, more or less damaged ---------------------------------------- */

#define KINDS	8

static int kinds[KINDS];	/* one descriptor of each kind */

static void make_kinds(void)
{
	int p[2];

	kinds[0] = eventfd(0, EFD_CLOEXEC);
	kinds[1] = eventfd(0, EFD_CLOEXEC);
	kinds[2] = memfd_create("dma", MFD_CLOEXEC);
	T_EQ(ftruncate(kinds[2], 12288), 0);
	T_EQ(pipe2(p, O_CLOEXEC), 0);
	kinds[3] = p[0];
	kinds[4] = p[1];
	kinds[5] = epoll_create1(EPOLL_CLOEXEC);
	kinds[6] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	kinds[7] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

struct stream {
	uint8_t bytes[40000];
	size_t len;
	struct {
		size_t at;	/* of the byte that they come with */
		int n;
		int fds[20];
	} fds[64];
	int n_fds;
};

static void damage(uint8_t *bytes, size_t len)
{
	static const uint64_t values[] = {
		0, 1, 2, 3, 15, 16, 17, 20, 4095, 4096, 8192, 0x7fffffff, 0x80000000, 0xffffffff,
		0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000,
		0xffffffffffffffff, 0x100000, 0x100001, 0x101000, 0x101001, 0x7200,
	};
	uint64_t v;
	size_t at, w;

	for (uint32_t n = 1 + rnd(3); n && len; n--) {
		switch (rnd(3)) {
		case 0:
			bytes[rnd(len)] ^= 1 << rnd(8);
			break;
		case 1:
			bytes[rnd(len)] = rnd(256);
			break;
		default:
			w = 1 << rnd(4);
			if (w > len)
				break;
			at = rnd(len / w) * w;
			v = values[rnd(sizeof(values) / sizeof(values[0]))];
			memcpy(bytes + at, &v, w);
		}
	}
}

static void add_fds(struct stream *s, size_t at, const struct rig_sample *sample)
{
	int n = sample ? sample->nfds : 0;

	if (chance(10))
		n = rnd(20);
	if (!n || s->n_fds == 64)
		return;
	s->fds[s->n_fds].at = at;
	s->fds[s->n_fds].n = n;
	for (int i = 0; i < n; i++)
		s->fds[s->n_fds].fds[i] = chance(5)				? kinds[rnd(KINDS)]
					  : sample && sample->cmd == VU_DMA_MAP ? kinds[2]
										: kinds[0];
	s->n_fds++;
	seen.with_fds++;
}

static void add_message(struct stream *s)
{
	const struct rig_sample *sample =
		&rig_samples[rnd(sizeof(rig_samples) / sizeof(rig_samples[0]))];
	uint8_t *m = s->bytes + s->len;
	struct vu_hdr h;
	size_t len = sample->len;

	if (s->len + 1024 > sizeof(s->bytes))
		return;
	memset(m, 0, 1024);
	memcpy(m + sizeof(h), &sample->map, len);
	if (chance(50))
		damage(m + sizeof(h), len);
	if (chance(10))
		len = rnd(600);
	h = (struct vu_hdr){ .id = rnd(65536), .cmd = sample->cmd, .size = sizeof(h) + len };
	if (chance(10))
		h.flags = VU_NO_REPLY;
	if (chance(3))
		h.cmd = rnd(24);
	memcpy(m, &h, sizeof(h));
	if (chance(4))
		damage(m, sizeof(h));
	add_fds(s, chance(95) ? s->len : s->len + rnd(sizeof(h) + len), sample);
	s->len += sizeof(h) + len;
	seen.messages++;
}

static void add_version(struct stream *s)
{
	static const char *const json[] = {
		RIG_JSON, "{}", "{\"capabilities\":{\"max_data_xfer_size\":1e9,\"pgsizes\":4096}}",
		"{\"a\":[[[[[[[[[[[[]]]]]]]]]]]]}", "{\"capabilities\":{\"twin_socket\":{}}}",
	};
	uint8_t payload[256] = { VU_MAJOR, 0, VU_MINOR, 0 };
	const char *j = json[chance(80) ? 0 : rnd(5)];
	size_t len = 4 + strlen(j) + 1;

	strcpy((char *)payload + 4, j);
	if (chance(15))
		damage(payload, len);
	if (chance(3))
		len = rnd(len);
	add_fds(s, s->len, NULL);
	s->len += rig_build(s->bytes + s->len, rnd(65536), VU_VERSION, 0, payload, len);
	seen.messages++;
}

/* -- the same of the multi-process protocol ---------------------------------- */

static uint64_t bar_address(void)
{
	static const uint64_t near[] = {
		BAR0, BAR0 + RIG_BAR - 8, BAR0 + RIG_BAR, BAR1, BAR1 + 15, BAR2, BAR2 + 8, 0,
		UINT64_MAX,
	};

	return near[rnd(KTAP_COUNT(near))] + (chance(50) ? rnd(16) : 0);
}

/* Mostly a command as QEMU would send it.  How many descriptors go with it. */
static int make_mp(struct mp_hdr *h, void *payload)
{
	static const uint32_t sizes[] = { 1, 2, 4, 8 };
	struct mp_config *c = payload;
	struct mp_sysmem *t = payload;
	struct mp_bar *b = payload;
	int n;

	h->cmd = (int32_t)rnd(8);
	switch (h->cmd) {
	case MP_SYNC_SYSMEM:
		h->size = sizeof(*t);
		n = 1 + (int)rnd(MP_FDS_MAX);
		for (int i = 0; i < n; i++) {
			t->gpa[i] = rnd(8) * 4096;
			t->size[i] = (1 + rnd(chance(90) ? 1 : 4)) * 4096;
			t->offset[i] = rnd(2) * 4096;
		}
		return n;
	case MP_RET:
		h->size = 8;
		return 0;
	case MP_CONFIG_WRITE:
	case MP_CONFIG_READ:
		h->size = sizeof(*c);
		*c = (struct mp_config){ rnd(260), rnd(1u << 31), (int32_t)sizes[rnd(3)] };
		return 0;
	case MP_BAR_WRITE:
	case MP_BAR_READ:
		h->size = sizeof(*b);
		*b = (struct mp_bar){
			.addr = bar_address(), .value = rnd(256), .size = sizes[rnd(4)],
			.memory = (uint8_t)rnd(2),
		};
		return 0;
	default:
		return h->cmd == MP_SET_IRQFD ? 2 : 0;
	}
}

static void add_mp(struct stream *s)
{
	_Alignas(8) uint8_t payload[MP_PAYLOAD_MAX] = { 0 };
	uint8_t *m = s->bytes + s->len;
	struct mp_hdr h = { 0 };
	int n;

	if (s->len + 1024 > sizeof(s->bytes) || s->n_fds == 64)
		return;
	memset(m, 0, 1024);
	do
		n = make_mp(&h, payload);
	while (h.cmd == MP_RET && !chance(2));	/* ends the connection */
	memcpy(m + sizeof(h), payload, sizeof(payload));
	if (chance(30))
		damage(m + sizeof(h), h.size);
	if (chance(4))
		h.size = rnd(MP_PAYLOAD_MAX + 2);
	memcpy(m, &h, sizeof(h));
	/* The first header says which protocol it is. */
	if (s->len && chance(2))
		damage(m, sizeof(h));
	if (chance(5))
		n = (int)rnd(20);
	if (n) {
		s->fds[s->n_fds].at = chance(97) ? s->len : s->len + rnd(sizeof(h) + h.size);
		s->fds[s->n_fds].n = n;
		for (int i = 0; i < n; i++)
			s->fds[s->n_fds].fds[i] = chance(4) ? kinds[rnd(KINDS)]
						  : h.cmd == MP_SYNC_SYSMEM ? kinds[2] : kinds[0];
		s->n_fds++;
		seen.with_fds++;
	}
	s->len += sizeof(h) + h.size;
	seen.messages++;
}

static void take_answers(struct rig *r)
{
	struct mp_hdr h;
	uint64_t value;
	ssize_t n;

	while ((n = rig_take(r, &h, sizeof(h))) == (ssize_t)sizeof(h)) {
		T_EQ(h.cmd, MP_RET);
		T_EQ(h.padding, 0);
		T_EQ(h.size, sizeof(value));
		T_EQ(rig_take(r, &value, sizeof(value)), (ssize_t)sizeof(value));
		seen.replies++;
		seen.refusals += value == UINT64_MAX;
	}
	T_LE(n, 0);
}

/* -- one stream ------------------------------------------------------------- */

/* Check and count the replies that are there. */
static void take_replies(struct rig *r)
{
	static uint8_t payload[VU_MSG_MAX];
	struct vu_hdr h;
	ssize_t n;

	if (mp) {
		take_answers(r);
		return;
	}
	while ((n = rig_reply(r, &h, payload, sizeof(payload))) >= 0) {
		T_EQ(h.flags & ~VU_ERROR, VU_REPLY);
		T_EQ(!!(h.flags & VU_ERROR), !!h.error);
		T_LE(h.error, VU_ERRNO_MAX);
		T_OK(!h.error || !n);
		seen.replies++;
		seen.refusals += !!h.error;
	}
	T_OK(n == -EAGAIN || n == -ECONNRESET);
}

static int turn(struct rig *r, const struct stream *s)
{
	int n, turns = 0;

	do
		n = vu_server_readable(r->srv);
	while (n == 1 && T_LE(turns++, s->len));
	if (n < 0)
		T_OK(vu_server_reason(r->srv)[0]);
	else
		T_STREQ(vu_server_reason(r->srv), "");
	return n;
}

/* Deliver in pieces, which begin where descriptors do. */
static int deliver(struct rig *r, const struct stream *s)
{
	uint32_t max = chance(30) ? 1 + rnd(40) : 4096;
	size_t at = 0, next;
	int n = 0, i;

	while (at < s->len && !n) {
		int n_fds = 0;
		const int *fds = NULL;

		next = at + 1 + rnd(max);
		if (next > s->len)
			next = s->len;
		for (i = 0; i < s->n_fds; i++) {
			if (s->fds[i].at == at) {
				fds = s->fds[i].fds;
				n_fds = s->fds[i].n;
			} else if (s->fds[i].at > at && s->fds[i].at < next) {
				next = s->fds[i].at;
			}
		}
		if (!rig_put(r, s->bytes + at, next - at, fds, n_fds))
			return -EIO;
		at = next;
		if (chance(30) || at == s->len) {
			n = turn(r, s);
			if (chance(80))
				take_replies(r);
		}
		if (at < s->len && n)
			break;
	}
	return n;
}

static void one_stream(void)
{
	static struct stream s;
	struct rig r;
	int n, before = rig_count_fds();

	s.len = 0;
	s.n_fds = 0;
	n_mapped = 0;
	if (!mp && chance(97))
		add_version(&s);
	for (uint32_t i = 1 + rnd(30); i; i--)
		mp ? add_mp(&s) : add_message(&s);
	T_REQUIRE(rig_open(&r, &fuzz_ops));
	n = deliver(&r, &s);
	take_replies(&r);
	/* What was left while replies waited is taken now. */
	for (int i = 0; i < 1000 && !n; i++) {
		uint64_t taken;

		if (vu_server_wants_read(r.srv, &taken) && i)
			break;
		n = vu_server_writable(r.srv);
		if (!n)
			n = turn(&r, &s);
		take_replies(&r);
	}
	if (!n && !vu_server_writable(r.srv)) {
		shutdown(r.peer, SHUT_WR);
		n = turn(&r, &s);
		T_EQ(n, -ECONNRESET);
		seen.ends[n == -ECONNRESET ? 0 : 3]++;
	} else {
		T_OK(n == -EPROTO || n == -ECONNRESET);
		seen.ends[n == -EPROTO ? 1 : 0]++;
	}
	T_LE(r.lines, VU_LOG_MAX + 30);
	rig_close(&r);
	T_EQ(rig_count_fds(), before);
	seen.streams++;
}

static void damaged_streams(void)
{
	long i, streams = ktap_pick(3000, 20000, 300000);

	make_kinds();
	for (i = 0; i < streams && !ktap_failed(); i++) {
		state = SEED(i);
		one_stream();
		if (ktap_failed())
			ktap_diag("in stream %ld", i);
	}
	ktap_diag(
		"%lu streams, %lu messages (%lu with descriptors), %lu replies, %lu of them errors; "
		"ended by the peer %lu, by nonsense %lu",
		seen.streams, seen.messages, seen.with_fds, seen.replies, seen.refusals,
		seen.ends[0], seen.ends[1]);
	ktap_diag("read %lu write %lu map %lu unmap %lu set_irqs %lu reset %lu attach %lu",
		  seen.ops[RIG_READ], seen.ops[RIG_WRITE], seen.ops[RIG_MAP], seen.ops[RIG_UNMAP],
		  seen.ops[RIG_SET_IRQS], seen.ops[RIG_RESET], seen.ops[RIG_ATTACH]);
	/* else it would have been the same with nobody there */
	for (i = RIG_READ; i <= RIG_ATTACH; i++)
		T_GT(seen.ops[i], streams / 10);
	T_GT(seen.refusals, streams);
	T_GT(seen.replies - seen.refusals, streams);
	T_GT(seen.ends[0], streams / 10);
	T_GT(seen.ends[1], streams / 10);
}

static void damaged_mp(void)
{
	long i, streams = ktap_pick(3000, 20000, 300000);

	make_kinds();
	memset(&seen, 0, sizeof(seen));
	mp = true;
	for (i = 0; i < streams && !ktap_failed(); i++) {
		state = SEED(i);
		one_stream();
		if (ktap_failed())
			ktap_diag("in stream %ld", i);
	}
	mp = false;
	ktap_diag("%lu streams, %lu messages, %lu answers, %lu of them all ones; ended by the peer "
		  "%lu, by nonsense %lu", seen.streams, seen.messages, seen.replies, seen.refusals,
		  seen.ends[0], seen.ends[1]);
	ktap_diag("read %lu write %lu map %lu unmap %lu set_irqs %lu reset %lu", seen.ops[RIG_READ],
		  seen.ops[RIG_WRITE], seen.ops[RIG_MAP], seen.ops[RIG_UNMAP],
		  seen.ops[RIG_SET_IRQS], seen.ops[RIG_RESET]);
	for (i = RIG_READ; i < RIG_ATTACH; i++)
		T_GT(seen.ops[i], streams / 10);
	T_GT(seen.refusals, streams / 2);
	T_GT(seen.replies - seen.refusals, streams);
	T_GT(seen.ends[0], streams / 10);
	T_GT(seen.ends[1], streams / 10);
}

/* -- the other end: a client whose server answers more or less ------------- */

struct answerer {
	pthread_t thread;
	int fd;
	uint64_t seed;
	unsigned long damaged;
};

static size_t good_answer(const struct vu_hdr *h, const uint8_t *req, uint8_t *out)
{
	size_t len = h->size - sizeof(*h);

	switch (h->cmd) {
	case VU_VERSION:
		memcpy(out, "\0\0\1\0" RIG_JSON, 4 + sizeof(RIG_JSON));
		return 4 + sizeof(RIG_JSON);
	case VU_REGION_READ:
		memcpy(out, req, 16);
		return 16 + ((const struct vu_region_access *)req)->count;
	case VU_REGION_WRITE:
		memcpy(out, req, 16);
		return 16;
	case VU_DEVICE_INFO:
	case VU_REGION_INFO:
	case VU_IRQ_INFO:
	case VU_DMA_UNMAP:
		memcpy(out, req, len);
		return len;
	default:
		return 0;
	}
}

static void send_pieces(struct answerer *a, const uint8_t *buf, size_t len)
{
	size_t n;

	for (size_t at = 0; at < len; at += n) {
		n = chance(50) ? len - at : 1 + rnd(len - at);
		if (chance(3)) {
			int fds[2] = { kinds[rnd(KINDS)], kinds[rnd(KINDS)] };

			if (rig_send(a->fd, buf + at, n, fds, 1 + rnd(2), 0) != (ssize_t)n)
				return;
		} else if (send(a->fd, buf + at, n, MSG_NOSIGNAL) != (ssize_t)n) {
			return;
		}
	}
}

static void *answer_badly(void *arg)
{
	uint8_t req[8192], out[8192];
	struct answerer *a = arg;
	struct vu_hdr h;
	size_t len;

	state = a->seed;
	while (recv(a->fd, &h, sizeof(h), MSG_WAITALL) == sizeof(h)) {
		len = h.size - sizeof(h);
		if (len && recv(a->fd, req, len, MSG_WAITALL) != (ssize_t)len)
			break;
		if ((h.flags & VU_TYPE_MASK) != VU_COMMAND || chance(1))
			continue;
		memset(out, 0, sizeof(out));
		len = good_answer(&h, req, out + sizeof(h));
		h.flags = VU_REPLY;
		if (chance(10)) {
			h.flags |= VU_ERROR;
			h.error = chance(90) ? 1 + rnd(VU_ERRNO_MAX) : rnd(1u << 31);
			len = chance(90) ? 0 : len;
		}
		h.size = sizeof(h) + len;
		memcpy(out, &h, sizeof(h));
		if (chance(10)) {
			a->damaged++;
			damage(out + (chance(50) ? sizeof(h) : 0), len ? len : sizeof(h));
		}
		if (chance(5)) {	/* something of its own first */
			struct vu_hdr own = { .cmd = VU_DMA_READ, .size = sizeof(own) + rnd(64),
					      .flags = rnd(2) * VU_NO_REPLY };
			uint8_t msg[128] = { 0 };

			memcpy(msg, &own, sizeof(own));
			send_pieces(a, msg, own.size);
		}
		if (chance(1))
			len += rnd(16);
		send_pieces(a, out, sizeof(h) + len);
		if (chance(1))
			break;
	}
	shutdown(a->fd, SHUT_RDWR);
	return NULL;
}

static int any_call(struct rmio_client *c)
{
	struct rmio_region_info info;
	int fds[3] = { kinds[0], -1, kinds[1] };
	uint32_t x, y, z;
	uint8_t buf[4096] = { 0 };

	switch (rnd(10)) {
	case 0: return rmio_client_device_info(c, &x, &y, &z);
	case 1: return rmio_client_region_info(c, rnd(9), &info);
	case 2: return rmio_client_irq_info(c, rnd(5), &x, &y);
	case 3: return rmio_client_region_read(c, 0, rnd(65536), buf, 1 + rnd(4096));
	case 4: return rmio_client_region_write(c, 0, rnd(65536), buf, 1 + rnd(4096));
	case 5: return rmio_client_dma_map(c, 4096, 4096, kinds[2], 0, PROT_READ);
	case 6: return rmio_client_dma_unmap(c, 4096, 4096);
	case 7: return rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 3, fds);
	case 8: return rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_MASK, 0, 1, NULL);
	default: return rmio_client_reset(c);
	}
}

static void damaged_replies(void)
{
	unsigned long good = 0, refused = 0, gone = 0, timeouts = 0, protocol = 0, damaged = 0;
	long i, rounds = ktap_pick(150, 800, 10000);
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = 10 };
	struct rmio_vm *vm;

	make_kinds();
	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
	for (i = 0; i < rounds && !ktap_failed(); i++) {
		struct answerer a = { .seed = SEED(2 * i) };
		int fds[2], err, before = rig_count_fds();
		struct rmio_client *c;

		state = SEED(2 * i + 1);
		T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		a.fd = fds[0];
		T_EQ(pthread_create(&a.thread, NULL, answer_badly, &a), 0);
		o.vm = chance(20) ? vm : NULL;
		err = rmio_client_new(fds[1], &o, &c);
		T_OK(err <= 0 && err >= -(int)VU_ERRNO_MAX);
		for (int n = 0; !err && n < 30; n++) {
			int rc = any_call(c);

			T_OK(rc <= 0 && rc >= -(int)VU_ERRNO_MAX);
			good += !rc;
			timeouts += rc == -ETIMEDOUT;
			protocol += rc == -EPROTO;
			gone += rc == -ECONNRESET;
			refused += rc && rc != -ETIMEDOUT && rc != -EPROTO && rc != -ECONNRESET;
			/* for good, unless a reply said so: then it may be either */
			if (rc == -EPROTO && any_call(c) == -ECONNRESET &&
			    any_call(c) == -ECONNRESET)
				break;
		}
		if (!err)
			rmio_client_free(c);
		pthread_join(a.thread, NULL);
		close(a.fd);
		damaged += a.damaged;
		T_EQ(rig_count_fds(), before);
		if (ktap_failed())
			ktap_diag("in round %ld", i);
	}
	rmio_vm_free(vm);
	ktap_diag(
		"%ld connections, %lu damaged replies: %lu calls good, %lu refused, %lu nonsense, "
		"%lu timed out, %lu on a lost connection",
		i, damaged, good, refused, protocol, timeouts, gone);
	T_GT(damaged, 0);
	T_GT(good, 0);
	T_GT(refused, 0);
	T_GT(protocol, 0);
}

static const struct ktap_test tests[] = {
	{ "damaged streams", damaged_streams, 300 },
	{ "damaged streams of the multi-process protocol", damaged_mp, 300 },
	{ "damaged replies", damaged_replies, 300 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
