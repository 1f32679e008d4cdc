// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A VMM process that hands over memory that is not as it should be, or writes
 * garbage into all of it while a slave, or a device on its loop, serves: whatever
 * the device gets to see is a request, and it goes on with its next peer.
 */
#include "devproc.h"
#include "device/slave.h"
#include "wake.h"

#include <fcntl.h>
#include <rmio/device.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SEED		0x726d696f2d2d2d32ull
#define LANES		3u
#define IMAGE		0x4000u		/* what the device asks for */
#define RANGE_LEN	0x10000u

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* -- a VMM without library -------------------------------------------------------------------- */

#define SEALED (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct vmm {
	int chan[2];
	int down_fd, up_fd;
	char *down, *up;
	uint64_t down_size, up_size, stride;
	uint32_t slots;
	struct rmio_prod prod[LANES];
	uint64_t seed;
};

static int memory(uint64_t size, int seals, char **map)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (ftruncate(fd, (off_t)size))
		return -1;
	if (map)
		*map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (seals)
		fcntl(fd, F_ADD_SEALS, seals);
	return fd;
}

static struct rmio_down_hdr *down_hdr(struct vmm *v)
{
	return (void *)v->down;
}

static void vmm_init(struct vmm *v, uint32_t slots, int down_seals, int up_seals)
{
	uint32_t i;

	v->slots = slots;
	v->stride = rmio_lane_stride(slots);
	v->down_size = RMIO_PAGE + LANES * v->stride;
	v->up_size = (uint64_t)RMIO_PAGE * (1 + LANES);
	v->down_fd = memory(v->down_size, down_seals, &v->down);
	v->up_fd = memory(v->up_size, up_seals, &v->up);
	*down_hdr(v) = (struct rmio_down_hdr){
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION, .nr_lanes = LANES,
		.ring_slots = slots, .lane_stride = v->stride, .size = v->down_size,
		.lanes_used = LANES,
	};
	for (i = 0; i < LANES; i++)
		rmio_prod_init(&v->prod[i], v->down + RMIO_PAGE + i * v->stride,
			       v->up + RMIO_PAGE * (1 + i), slots, 0);
	rmio_chan_pair(v->chan);
}

static void vmm_exit(struct vmm *v)
{
	munmap(v->down, v->down_size);
	munmap(v->up, v->up_size);
	close(v->down_fd);
	close(v->up_fd);
	close(v->chan[0]);
	if (v->chan[1] >= 0)
		close(v->chan[1]);
}

static void send_hello(struct vmm *v, const int *fds, size_t nfds)
{
	struct rmio_chan_hdr h = {
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION, .type = RMIO_CHAN_HELLO,
		.value = v->down_size,
	};

	rmio_chan_send(v->chan[0], &h, NULL, 0, fds, nfds);
}

/* -- what is checked at the door --------------------------------------------------------------- */

static int open_slave(struct vmm *v)
{
	struct rmio_slave *s;
	int err = rmio_slave_open(v->chan[1], NULL, &s);

	v->chan[1] = -1;
	if (!err)
		rmio_slave_free(s);
	return err;
}

#define DOWN_SEALS (SEALED | F_SEAL_FUTURE_WRITE)

static void wrong_memory(void)
{
	static const struct {
		int down_seals, up_seals, err;
	} c[] = {
		{ DOWN_SEALS, SEALED, 0 },
		{ 0, SEALED, -EPROTO },
		{ SEALED, SEALED, -EPROTO },			/* we could write to it */
		{ F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL, SEALED, -EPROTO },
		{ F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL, SEALED, -EPROTO },
		{ DOWN_SEALS & ~F_SEAL_SEAL, SEALED, -EPROTO },
		{ DOWN_SEALS, 0, -EPROTO },
		{ DOWN_SEALS, F_SEAL_GROW | F_SEAL_SEAL, -EPROTO },
		{ DOWN_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL, -EPROTO },
		{ DOWN_SEALS, SEALED & ~F_SEAL_SEAL, -EPROTO },
		{ DOWN_SEALS, DOWN_SEALS, -EPROTO },		/* we could not write to it */
	};
	int i;

	for (i = 0; i < KTAP_COUNT(c); i++) {
		struct vmm v;

		vmm_init(&v, 8, c[i].down_seals, c[i].up_seals);
		send_hello(&v, (int[]){ v.down_fd, v.up_fd }, 2);
		if (!T_EQ(open_slave(&v), c[i].err))
			ktap_diag("seals %d", i);
		vmm_exit(&v);
	}
}

static void wrong_descriptors(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), event = eventfd(0, EFD_CLOEXEC);
	struct vmm v;
	int i;

	for (i = 0; i < 9; i++) {
		int small = memory(RMIO_PAGE, DOWN_SEALS, NULL);
		int large = memory(1 << 20, SEALED, NULL);

		vmm_init(&v, 8, DOWN_SEALS, SEALED);
		const struct {
			int fds[2];
			size_t n;
		} c[] = {
			{ { -1, -1 }, 0 }, { { v.down_fd, -1 }, 1 }, { { null, v.up_fd }, 2 },
			{ { v.down_fd, null }, 2 }, { { event, event }, 2 },
			{ { v.down_fd, v.chan[0] }, 2 }, { { small, v.up_fd }, 2 },
			{ { v.down_fd, large }, 2 }, { { v.up_fd, v.down_fd }, 2 },
		};

		send_hello(&v, c[i].fds, c[i].n);
		if (!T_EQ(open_slave(&v), -EPROTO))
			ktap_diag("descriptors %d", i);
		vmm_exit(&v);
		close(small);
		close(large);
	}
	close(null);
	close(event);
}

static void wrong_header(void)
{
	struct vmm v;
	int i;

	for (i = 0; i < 21; i++) {
		struct rmio_down_hdr *h;

		vmm_init(&v, 8, DOWN_SEALS, SEALED);
		h = down_hdr(&v);
		switch (i) {
		case 0: h->magic++; break;
		case 1: h->version++; break;
		case 2: h->version = 0; break;
		case 3: h->features = 1; break;
		case 4: h->features = 1ull << 63; break;
		case 5: h->nr_lanes = 0; break;
		case 6: h->nr_lanes++; break;
		case 7: h->nr_lanes = RMIO_LANES_MAX + 1; break;
		case 8: h->nr_lanes = UINT32_MAX; break;
		case 9: h->ring_slots = 0; break;
		case 10: h->ring_slots = 7; break;
		case 11: h->ring_slots = 1u << 31; break;
		case 12: h->lane_stride += RMIO_PAGE; break;
		case 13: h->lane_stride = 0; break;
		case 14: h->size -= RMIO_PAGE; break;
		case 15: h->reserved[0] = 1; break;
		case 16: h->reserved[sizeof(h->reserved) - 1] = 1; break;
		case 17: h->reserved1[0] = 1; break;
		case 18: h->reserved1[sizeof(h->reserved1) - 1] = 1; break;
		case 19: h->reserved2[0] = 1; break;
		case 20: h->reserved2[sizeof(h->reserved2) - 1] = 1; break;
		}
		send_hello(&v, (int[]){ v.down_fd, v.up_fd }, 2);
		if (!T_EQ(open_slave(&v), -EPROTO))
			ktap_diag("header %d", i);
		vmm_exit(&v);
	}
}

/* What the rings say at the start: a predecessor's state that cannot be. */
static void wrong_indices(void)
{
	static const struct {
		uint64_t tail, done, taken;
		int err;
	} c[] = {
		{ 5, 3, 4, 0 },
		{ 5, 3, 6, 0 },			/* the tail is written after the slots */
		{ 2, 3, 3, 0 },
		{ 20, 3, 3, -EPROTO },
		{ 3, 20, 20, -EPROTO },
		{ 5, 3, 2, -EPROTO },
		{ 5, 3, 12, -EPROTO },
		{ 0, UINT64_MAX, UINT64_MAX, 0 },
		{ 0, 1ull << 63, 1ull << 63, -EPROTO },
		{ 5, 3, UINT64_MAX, -EPROTO },
	};
	int i;

	for (i = 0; i < KTAP_COUNT(c); i++) {
		struct rmio_up_lane *up;
		struct vmm v;

		vmm_init(&v, 8, DOWN_SEALS, SEALED);
		up = (void *)(v.up + 2 * RMIO_PAGE);
		v.prod[1].down->tail = c[i].tail;
		up->done = c[i].done;
		up->taken = c[i].taken;
		send_hello(&v, (int[]){ v.down_fd, v.up_fd }, 2);
		if (!T_EQ(open_slave(&v), c[i].err))
			ktap_diag("indices %d", i);
		vmm_exit(&v);
	}
}

/* -- garbage while the device serves ----------------------------------------------------------- */

enum attack { SLOTS, HEADER, LANE_WORDS, UP_WORDS, ANYWHERE, MESSAGES, ANSWERS, ATTACKS };

static uint64_t nasty(struct vmm *v)
{
	static const uint64_t edge[] = {
		0, 1, 2, 3, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, INT64_MAX, 1ull << 63,
		UINT64_MAX,
	};
	uint64_t dice = rnd(&v->seed);

	switch (dice % 3) {
	case 0:
		return edge[dice / 4 % KTAP_COUNT(edge)];
	case 1:
		return v->prod[dice / 4 % LANES].tail + dice / 16 % 9 - 4;
	default:
		return rnd(&v->seed) >> dice / 4 % 64;
	}
}

static void set64(void *at, uint64_t value)
{
	__atomic_store_n((uint64_t *)at, value, __ATOMIC_RELEASE);
}

/* Good requests, so that there is something to spoil. */
static void produce(struct vmm *v)
{
	uint32_t i;

	for (i = 0; i < LANES; i++) {
		uint64_t dice = rnd(&v->seed);
		struct rmio_request r = {
			.offset = dice % RANGE_LEN & ~7ull, .vcpu = (uint16_t)i,
			.op = 1 + dice / 7 % 3, .len = (uint8_t)(1u << dice / 32 % 4),
		};

		rmio_prod_push(&v->prod[i], &r);
	}
	__atomic_fetch_add(&down_hdr(v)->bell, 1, __ATOMIC_RELEASE);
}

/* A request that is published and wrong. */
static void spoil_slot(struct vmm *v)
{
	struct rmio_prod *p = &v->prod[rnd(&v->seed) % LANES];
	struct rmio_request *slot = &p->slots[p->tail & (p->slots_nr - 1)];
	uint64_t dice = rnd(&v->seed);

	slot->offset = nasty(v);
	slot->data = nasty(v);
	slot->range_id = (uint16_t)(dice & 8 ? 0 : nasty(v));
	slot->vcpu = (uint16_t)(dice & 1 ? (uint64_t)(p - v->prod) : nasty(v));
	slot->op = (uint8_t)(dice & 2 ? 1 + dice % 3 : nasty(v));
	slot->len = (uint8_t)(dice & 4 ? 1ull << dice / 64 % 4 : nasty(v));
	slot->flags = (uint8_t)(dice & 48 ? 0 : nasty(v));
	slot->reserved = (uint8_t)(dice & 48 ? 0 : nasty(v));
	set64(&slot->seq, dice & 7 ? p->tail + 1 : nasty(v));
	p->tail += dice & 7 ? 1 : 0;
}

static void answer_questions(struct vmm *v, bool wrong)
{
	static struct rmio_area areas[RMIO_AREAS_MAX];
	struct rmio_chan_hdr h;
	int fds[RMIO_CHAN_FDS], fd = -1;
	uint64_t size;
	size_t nfds;

	while (rmio_chan_recv(v->chan[0], &h, areas, sizeof(areas), fds, &nfds) >= 0) {
		if (h.answer)
			continue;
		h.answer = 1;
		size = h.value;
		if (wrong) {
			uint64_t dice = rnd(&v->seed);

			size = dice & 1 ? size : (1 + dice / 8 % 64) * RMIO_PAGE;
			h.value = dice & 2 ? size : nasty(v);
			h.error = dice & 4 ? 0 : (int32_t)nasty(v);
			h.type = dice & 64 ? h.type : (uint16_t)(dice / 128 % 6);
		}
		if (h.type == RMIO_CHAN_SHADOW_SIZE && size)
			fd = memory(size, wrong && rnd(&v->seed) % 4 == 0 ? 0 : SEALED, NULL);
		rmio_chan_send(v->chan[0], &h, NULL, 0, (int[]){ fd, fd }, fd < 0 ? 0 :
			       wrong && rnd(&v->seed) % 4 == 0 ? 2 : 1);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
}

static void send_garbage(struct vmm *v)
{
	uint64_t dice = rnd(&v->seed);
	struct rmio_chan_hdr h = {
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION, .type = RMIO_CHAN_BELL,
	};
	int i, fd;

	/* Good bells without end, then something else. */
	for (i = 0; i < 32; i++)
		rmio_chan_send(v->chan[0], &h, NULL, 0, NULL, 0);
	if (dice % 16)
		return;
	h.type = (uint16_t)(rnd(&v->seed) % 6);
	h.answer = dice & 16 ? 1 : (uint32_t)nasty(v);
	h.value = nasty(v);
	if (dice & 32)
		h.magic = (uint32_t)nasty(v);
	fd = memory(1 << 20, SEALED, NULL);
	rmio_chan_send(v->chan[0], &h, &h, dice & 64 ? sizeof(h) : 0, (int[]){ fd, fd },
		       dice / 128 % 3);
	close(fd);
}

static void strike(struct vmm *v, enum attack attack)
{
	struct rmio_down_hdr *h = down_hdr(v);
	uint64_t dice = rnd(&v->seed);
	struct rmio_prod *p = &v->prod[dice % LANES];

	produce(v);
	switch (attack) {
	case SLOTS:
		if (dice / 8 % 64 == 0)
			spoil_slot(v);
		break;
	case HEADER:
		if (dice & 64)
			__atomic_store_n(&h->lanes_used, (uint32_t)nasty(v), __ATOMIC_RELEASE);
		else if (dice & 128)
			__atomic_store_n(&h->bell, (uint32_t)nasty(v), __ATOMIC_RELEASE);
		else
			set64(v->down + rnd(&v->seed) % 8 * 8, nasty(v));
		break;
	case LANE_WORDS:
		set64(&p->down->tail, nasty(v));
		set64(&p->down->wake_at, nasty(v));
		set64(&p->down->need_wake, nasty(v));
		break;
	case UP_WORDS:
		/* The device's own, but the memory is ours. */
		set64(v->up + RMIO_PAGE * (dice % (1 + LANES)) + dice / 16 % 9 * 8, nasty(v));
		break;
	case ANYWHERE:
		if (dice / 8 % 16 == 0)
			set64(v->down + rnd(&v->seed) % (v->down_size / 8) * 8, nasty(v));
		break;
	case MESSAGES:
		send_garbage(v);
		break;
	default:
		break;
	}
	answer_questions(v, attack == ANSWERS);
}

static void hostile_vmm(int sock, void *arg)
{
	struct devproc peer = { .sock = sock };
	uint64_t turn;

	(void)arg;
	for (turn = 0;; turn++) {
		struct vmm v = { .seed = SEED + turn };
		long long end;
		enum attack attack = turn / 2 % ATTACKS;
		struct pollfd p = { .events = POLLIN };
		int i;

		vmm_init(&v, 2u << rnd(&v.seed) % 7, DOWN_SEALS, SEALED);
		send_hello(&v, (int[]){ v.down_fd, v.up_fd }, 2);
		p.fd = v.chan[0];
		if (!devproc_give(&peer, v.chan[1]))
			_exit(1);
		v.chan[1] = -1;
		/* Most begin when the device has said yes; few are given up at the door. */
		if (rnd(&v.seed) % 8 && (poll(&p, 1, 1000) != 1 || (p.revents & POLLHUP)))
			end = 0;
		else
			end = ktap_now_ms() + 30;
		while (ktap_now_ms() < end && (poll(&p, 1, 0) == 0 || !(p.revents & POLLHUP)))
			for (i = 0; i < 16; i++) {
				strike(&v, attack);
				/* On one CPU the device has its turn too. */
				sched_yield();
			}
		vmm_exit(&v);
	}
}

/* -- the plain slave --------------------------------------------------------------------------- */

struct seen {
	unsigned long requests, questions, refused, closed;
};

/* Room for the image, and behind it what must not be touched. */
static char *new_place(void)
{
	char *place = mmap(NULL, 2 * IMAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);

	if (place != MAP_FAILED)
		memset(place + IMAGE, 0x5a, IMAGE);
	return place == MAP_FAILED ? NULL : place;
}

static bool serve_some(struct rmio_slave *s, struct seen *seen)
{
	struct rmio_request r[16];
	struct rmio_reply a[16];
	ssize_t n, i;

	n = rmio_slave_read(s, r, 16);
	if (n == -EAGAIN)
		return rmio_slave_poll(s, 1) >= 0;
	if (n < 0) {
		T_OK(n == -EPROTO || n == -ECONNRESET);
		seen->refused += n == -EPROTO;
		return false;
	}
	for (i = 0; i < n; i++) {
		T_OK(r[i].op >= RMIO_OP_LOAD && r[i].op <= RMIO_OP_STORE_SYNC);
		T_OK(r[i].len == 1 || r[i].len == 2 || r[i].len == 4 || r[i].len == 8);
		T_LT(r[i].vcpu, LANES);
		T_EQ(r[i].reserved, 0);
		/* Garbage from before the door can look like a predecessor. */
		T_EQ(r[i].flags & ~RMIO_REQ_REDELIVERED, 0);
		a[i] = (struct rmio_reply){ .seq = r[i].seq, .vcpu = r[i].vcpu };
	}
	seen->requests += (unsigned long)n;
	T_EQ(rmio_slave_write(s, a, (size_t)n), n);
	return true;
}

static void plain_slave(int fd, struct seen *seen)
{
	static const struct rmio_area area = {
		.length = IMAGE, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
	};
	char *place = new_place();
	enum rmio_slave_event event;
	struct rmio_slave *s;
	int err, result, i;

	if (!T_OK(place) || rmio_slave_open(fd, NULL, &s))
		return;
	rmio_slave_shadow_at(s, place);
	rmio_slave_shadow_size_begin(s, IMAGE);
	rmio_slave_shadow_ctrl_begin(s, &area, 1);
	do {
		err = rmio_slave_work(s, &event, &result);
		if (!err && event == RMIO_SLAVE_SHADOW_SIZE)
			seen->questions++;
		/* And again, as long as it answers. */
		if (!err && event == RMIO_SLAVE_SHADOW_CTRL &&
		    !rmio_slave_shadow_size_begin(s, IMAGE))
			rmio_slave_shadow_ctrl_begin(s, &area, 1);
		seen->refused += err == -EPROTO;
	} while ((!err || err == -EAGAIN) && serve_some(s, seen));
	seen->closed++;
	rmio_slave_free(s);
	for (i = IMAGE; i < 2 * (int)IMAGE; i += 64)
		if (!T_EQ(place[i], 0x5a))
			break;
	munmap(place, 2 * IMAGE);
}

/* -- a device on its loop ---------------------------------------------------------------------- */

static uint64_t dev_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	struct seen *seen = rmio_dev_priv(dev);

	seen->requests++;
	T_EQ(range, 0);
	T_OK(len == 1 || len == 2 || len == 4 || len == 8);
	T_OK(offset < RANGE_LEN && len <= RANGE_LEN - offset);
	return 0;
}

static void dev_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		      uint32_t len)
{
	(void)value;
	dev_load(dev, range, offset, len);
}

static void looped_device(int fd, struct seen *seen)
{
	static const struct rmio_area area = {
		.length = 0x1000, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
	};
	static const struct rmio_dev_range range = { .len = RANGE_LEN };
	static const struct rmio_dev_ops ops = { .load = dev_load, .store = dev_store };
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .vendor = 0x1234, .name = "victim", .ops = &ops, .ranges = &range, .nr_ranges = 1,
		.areas = &area, .nr_areas = 1, .shadow_size = IMAGE,
	};
	struct rmio_loop_opts lo = { .sz = sizeof(lo) };
	struct rmio_loop *loop;
	struct rmio_dev *dev;

	lo.wait.sz = sizeof(lo.wait);
	lo.wait.policy = RMIO_WAIT_SLEEP;
	T_REQUIRE(T_EQ(rmio_loop_new(&lo, &loop), 0));
	T_REQUIRE(T_EQ(rmio_dev_new(loop, &desc, seen, &dev), 0));
	if (!rmio_dev_slave(dev, fd)) {
		/* Returns when the peer has gone, or was given up. */
		T_EQ(rmio_loop_run(loop), 0);
		seen->closed++;
		memset(rmio_dev_shadow(dev), 1, IMAGE);
	}
	rmio_dev_free(dev);
	rmio_loop_free(loop);
}

static long seconds(void)
{
#ifdef __SANITIZE_ADDRESS__
	return ktap_pick(3, 60, 120);
#else
	return ktap_pick(3, 15, 60);
#endif
}

static void garbage(void)
{
	struct seen plain = { 0 }, looped = { 0 };
	struct devproc d;
	unsigned int lives;
	long long end;
	int fd;

	T_REQUIRE(devproc_start(&d, hostile_vmm, NULL));
	end = ktap_now_ms() + seconds() * 1000;
	for (lives = 0; (ktap_now_ms() < end || lives < 8 * ATTACKS) && !ktap_failed(); lives++) {
		fd = devproc_take(d.sock);
		if (!T_OK(fd >= 0))
			break;
		if (lives % 2)
			looped_device(fd, &looped);
		else
			plain_slave(fd, &plain);
	}
	ktap_diag(
		"seed 0x%llx: %u lives; plain: %lu requests, %lu images, %lu refused, %lu closed; "
		"on the loop: %lu requests, %lu closed",
		(unsigned long long)SEED, lives, plain.requests, plain.questions, plain.refused,
		plain.closed, looped.requests, looped.closed);
	T_GT(plain.requests, 0);
	T_GT(plain.questions, 0);
	T_GT(plain.refused, 0);
	T_GT(looped.requests, 0);
	T_GT(looped.closed, 0);
	devproc_kill(&d);
	devproc_wait(&d);
}

static const struct ktap_test tests[] = {
	{ "wrong memory", wrong_memory },
	{ "wrong descriptors", wrong_descriptors },
	{ "wrong header", wrong_header },
	{ "wrong indices", wrong_indices },
	{ "garbage from a VMM process", garbage, 120 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
