// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: the calls of the slave's descriptor, with arguments that are wrong in every
 * way.  What is refused changes nothing.
 */
#include "kvm_user_calls.h"

#include <sys/epoll.h>

static const struct call calls[] = {
	{ "SHADOW_SIZE", KVM_DEV_USER_SHADOW_SIZE, 8 },
	{ "SHADOW_CTRL", KVM_DEV_USER_SHADOW_CTRL, sizeof(struct rmio_kvm_map) },
	{ "WAKE", KVM_DEV_USER_WAKE, 4 },
	{ "STATE", KVM_DEV_USER_STATE, 4, true },
};

static void places(void)
{
	const struct rmio_area area = { .length = 4, .sizes = 4, .load = RMIO_LOAD_SHADOW };
	uint32_t *image;
	int i;

	RIG_START();
	image = rig_image(0x1000);
	T_REQUIRE(image);
	image[0] = 0x21;
	T_EQ(rig_map(&area, 1), 0);
	for (i = 0; i < KTAP_COUNT(calls) && !ktap_failed(); i++)
		bad_places(w.slave, &calls[i]);
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x21);
	rig_stop();
}

static void unaligned(void)
{
	uint8_t buf[128];
	uint32_t state;
	uint64_t size = 0x1000;
	int at;

	RIG_START();
	for (at = 1; at < 16; at++) {
		struct rmio_area area = { .length = 16, .sizes = 1, .load = RMIO_LOAD_SHADOW };
		struct rmio_kvm_map m = { .areas = (uintptr_t)(buf + 64 + at), .nr = 1 };

		memcpy(buf + at, &size, sizeof(size));
		T_EQ(CALL(w.slave, KVM_DEV_USER_SHADOW_SIZE, buf + at), 0);
		memcpy(buf + 64 + at, &area, sizeof(area));
		memcpy(buf + at, &m, sizeof(m));
		T_EQ(CALL(w.slave, KVM_DEV_USER_SHADOW_CTRL, buf + at), 0);
		T_EQ(CALL(w.slave, KVM_DEV_USER_STATE, buf + at), 0);
		memcpy(&state, buf + at, 4);
		T_EQ(state, RMIO_KVM_NEW);
	}
	rig_stop();
}

static void unknown(void)
{
	static const unsigned int masters[] = {
		KVM_DEV_USER_SLAVE_FD, KVM_DEV_USER_PA_RANGE, KVM_DEV_USER_TIMEOUT,
		KVM_DEV_USER_RINGS, KVM_DEV_USER_EVENTFD, KVM_DEV_USER_ACCESS, KVM_DEV_USER_KICK,
	};
	uint8_t buf[64] = { 0 };
	int i;

	RIG_START();
	for (i = 0; i < KTAP_COUNT(masters); i++)
		T_EQ(CALL(w.slave, masters[i], buf), -ENOTTY);
	unknown_calls(w.slave);
	rig_stop();
}

/* -- shadow and map ------------------------------------------------------------------------- */

static void shadow_sizes(void)
{
	static const struct { uint64_t size; int err; uint64_t mapped; } cases[] = {
		{ 1, 0, 4096 }, { 4095, 0, 4096 }, { 4096, 0, 4096 }, { 4097, 0, 8192 },
		{ 12345, 0, 16384 }, { RMIO_KVM_SHADOW_MAX, 0, RMIO_KVM_SHADOW_MAX },
		{ RMIO_KVM_SHADOW_MAX - 1, 0, RMIO_KVM_SHADOW_MAX },
		{ RMIO_KVM_SHADOW_MAX + 1, -EFBIG }, { ~0ull, -EFBIG }, { ~0ull - 4095, -EFBIG },
		{ 1ull << 63, -EFBIG }, { 1ull << 32, -EFBIG },
	};
	int i;

	RIG_START();
	/* None yet, and none again. */
	T_OK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, w.slave, RMIO_KVM_MAP_SHADOW) == MAP_FAILED);
	T_EQ(errno, ENXIO);
	for (i = 0; i < KTAP_COUNT(cases); i++) {
		void *p;

		T_EQ(rig_shadow_size(cases[i].size), cases[i].err);
		if (cases[i].err)
			continue;
		p = mmap(NULL, cases[i].mapped, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave,
			 RMIO_KVM_MAP_SHADOW);
		T_REQUIRE(T_OK(p != MAP_FAILED));
		T_EQ(((uint8_t *)p)[cases[i].mapped - 1], 0);
		((uint8_t *)p)[cases[i].mapped - 1] = 1;
		T_EQ(munmap(p, cases[i].mapped), 0);
		T_OK(mmap(NULL, cases[i].mapped + 4096, PROT_READ, MAP_SHARED, w.slave,
			  RMIO_KVM_MAP_SHADOW) == MAP_FAILED);
		T_EQ(errno, EINVAL);
	}
	/* What was refused has left the last one in place. */
	T_OK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, w.slave, RMIO_KVM_MAP_SHADOW) != MAP_FAILED);
	T_EQ(rig_shadow_size(0), 0);
	T_OK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, w.slave, RMIO_KVM_MAP_SHADOW) == MAP_FAILED);
	T_EQ(errno, ENXIO);
	rig_stop();
}

/* A new image ends the map of the old one; a mapping of the old one stays, and nobody reads it. */
static void new_image(void)
{
	const struct rmio_area area = {
		.length = 0x100, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
	};
	uint32_t *old, *image;

	RIG_START();
	rig_serve();
	memset(w.reg, 0xdd, 4);
	old = rig_image(0x1000);
	T_REQUIRE(old);
	T_EQ(rig_map(&area, 1), 0);
	old[0] = 0xaaaa;
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0xaaaa);
	image = rig_image(0x1000);
	T_REQUIRE(image);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0xdddddddd);
	T_EQ(rig_map(&area, 1), 0);
	old[0] = 0xbbbb;
	T_EQ(image[0], 0);
	image[0] = 0xcccc;
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0xcccc);
	rig_stop();
}

#define IMAGE	0x4000u

static const struct rmio_area plain = {
	.offset = 0x100, .length = 0x10, .shadow_offset = 0x100, .range_id = 2,
	.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
};

#define WITH(field, value) \
	({ struct rmio_area a_ = plain; a_.field = (value); a_; })

/* Among good ones, at each place. */
static void refuses(struct rmio_area culprit, int err)
{
	struct rmio_area a[5];
	int at, i;

	for (at = 0; at < 5; at++) {
		for (i = 0; i < 5; i++)
			a[i] = WITH(range_id, 3 + (uint32_t)i);
		a[at] = culprit;
		if (!T_EQ(rig_map(a, 5), err))
			ktap_diag("area 0x%llx+0x%llx at 0x%llx sizes %x load %u store %u flags %x",
				  (unsigned long long)culprit.offset,
				  (unsigned long long)culprit.length,
				  (unsigned long long)culprit.shadow_offset, culprit.sizes,
				  culprit.load, culprit.store, culprit.flags);
	}
}

static void maps(void)
{
	struct rmio_area a, in_force = { .length = 4, .sizes = 4, .load = RMIO_LOAD_SHADOW };
	uint32_t *image;
	int bit;

	RIG_START();
	image = rig_image(IMAGE);
	T_REQUIRE(image);
	image[0] = 0x2468;
	T_EQ(rig_map(&in_force, 1), 0);
	refuses(WITH(length, 0), -EINVAL);
	refuses(WITH(load, 2), -EINVAL);
	refuses(WITH(load, 255), -EINVAL);
	refuses(WITH(store, 3), -EINVAL);
	refuses(WITH(store, 255), -EINVAL);
	for (bit = 1; bit < 8; bit++)
		refuses(WITH(flags, (uint8_t)(1 << bit)), -EINVAL);
	for (bit = 4; bit < 8; bit++)
		refuses(WITH(sizes, (uint8_t)(RMIO_SIZE_4 | 1 << bit)), -EINVAL);
	refuses(WITH(sizes, 0), -EINVAL);
	refuses(WITH(range_id, 65536), -EINVAL);
	refuses(WITH(range_id, UINT32_MAX), -EINVAL);
	refuses(WITH(offset, UINT64_MAX), -EOVERFLOW);
	refuses(WITH(offset, UINT64_MAX - 0xf), -EOVERFLOW);
	refuses(WITH(length, UINT64_MAX - 0xff), -EOVERFLOW);
	refuses(WITH(shadow_offset, UINT64_MAX - 7), -EOVERFLOW);
	refuses(WITH(shadow_offset, UINT64_MAX - 0xf), -EOVERFLOW);
	refuses(WITH(shadow_offset, IMAGE), -ERANGE);
	refuses(WITH(shadow_offset, IMAGE - 0xf), -ERANGE);
	a = WITH(load, RMIO_LOAD_DEVICE);
	a.store = RMIO_STORE_THROUGH;
	a.shadow_offset = IMAGE - 1;
	refuses(a, -ERANGE);
	a.shadow_offset = 0;
	a.sizes = 0;
	refuses(a, -EINVAL);
	/* Past the end of its range. */
	a = WITH(range_id, 0);
	a.offset = LEN - 0xf;
	refuses(a, -ERANGE);
	/* The one in force is in force still. */
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x2468);

	T_EQ(rig_map(&plain, 1), 0);
	a = WITH(shadow_offset, IMAGE - 0x10);
	T_EQ(rig_map(&a, 1), 0);
	a = WITH(range_id, 65535);
	T_EQ(rig_map(&a, 1), 0);
	a = WITH(offset, UINT64_MAX - 0x10);
	T_EQ(rig_map(&a, 1), 0);
	/* Who does not use the image need not fit into it. */
	a = (struct rmio_area){ .offset = 1ull << 62, .length = 1ull << 60, .range_id = 9,
				.store = RMIO_STORE_SYNC };
	T_EQ(rig_map(&a, 1), 0);
	a = (struct rmio_area){ .range_id = 0, .offset = LEN - 0x10, .length = 0x10, .sizes = 1,
				.load = RMIO_LOAD_SHADOW };
	T_EQ(rig_map(&a, 1), 0);
	T_EQ(rig_map(NULL, 0), 0);
	T_EQ(rig_shadow_size(0), 0);
	a.shadow_offset = 0;
	T_EQ(rig_map(&a, 1), -ERANGE);
	rig_stop();
}

static void overlaps(void)
{
	/* Where the second begins, against the first: 0x100 .. 0x10f */
	static const struct { uint64_t offset, length; bool refused; } second[] = {
		{ 0x100, 0x10, true }, { 0x10f, 1, true }, { 0x10f, 0x100, true },
		{ 0xf1, 0x10, true }, { 0xff, 2, true }, { 0x104, 1, true }, { 0, 0x200, true },
		{ 0, UINT64_MAX, true }, { 0x110, 1, false }, { 0xf0, 0x10, false },
		{ 0x110, UINT64_MAX - 0x110, false }, { 0, 0x100, false },
	};
	struct rmio_area a[4];
	int i, order;

	RIG_START();
	T_EQ(rig_shadow_size(IMAGE), 0);
	for (i = 0; i < KTAP_COUNT(second); i++) {
		for (order = 0; order < 2; order++) {
			struct rmio_area first = WITH(load, RMIO_LOAD_DEVICE), other = first;

			other.shadow_offset = 0;
			other.offset = second[i].offset;
			other.length = second[i].length;
			a[0] = order ? first : other;
			a[1] = a[3] = WITH(range_id, 1);
			a[3].range_id = 3;
			a[2] = order ? other : first;
			T_EQ(rig_map(a, 4), second[i].refused ? -EEXIST : 0);
			a[2].range_id = 4;
			T_EQ(rig_map(a, 4), 0);
		}
	}
	rig_stop();
}

static struct rmio_area many[RMIO_AREAS_MAX + 1];

/* Where the areas of a map lie, and how many there are. */
static void areas_argument(void)
{
	struct { struct rmio_kvm_map m; uint8_t more[64]; } self = { .m = { .nr = 1 } };
	struct rmio_kvm_map m = { .nr = 1 };
	uint8_t *page;
	uint32_t i;

	RIG_START();
	T_EQ(rig_shadow_size(IMAGE), 0);
	page = short_page();
	for (i = 0; i <= RMIO_AREAS_MAX; i++)
		many[i] = (struct rmio_area) {
			.offset = 4 * i, .length = 4, .shadow_offset = 8 * i % IMAGE, .range_id = 7,
			.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
			.store = i & 1 ? RMIO_STORE_THROUGH : RMIO_STORE_SYNC,
		};
	T_EQ(rig_map(many, RMIO_AREAS_MAX), 0);
	T_EQ(rig_map(many, RMIO_AREAS_MAX + 1), -E2BIG);
	T_EQ(rig_map(many, ~0u), -E2BIG);
	T_EQ(rig_map(many, 1u << 27), -E2BIG);
	/* One that overlaps, among so many. */
	many[17] = many[4000];
	many[17].offset += 3;
	many[17].length = 1;
	T_EQ(rig_map(many, RMIO_AREAS_MAX), -EEXIST);
	T_EQ(rig_map(NULL, 1), -EFAULT);
	T_EQ(rig_map((void *)1, 1), -EFAULT);
	T_EQ(rig_map((void *)~31ull, 1), -EFAULT);
	T_EQ(rig_map((void *)0xffff888000000000ull, 1), -EFAULT);
	T_EQ(rig_map((void *)(page + 0x1000 - 31), 1), -EFAULT);
	memcpy(page + 0x1000 - 63, many, 63);
	T_EQ(rig_map((void *)(page + 0x1000 - 63), 2), -EFAULT);
	m.areas = (uintptr_t)many;
	m.reserved = 1;
	T_EQ(CALL(w.slave, KVM_DEV_USER_SHADOW_CTRL, &m), -EINVAL);
	m.reserved = ~0u;
	T_EQ(CALL(w.slave, KVM_DEV_USER_SHADOW_CTRL, &m), -EINVAL);
	/* The call's argument as its own area: one byte of range 0 at an offset like an address. */
	self.m.areas = (uintptr_t)&self;
	T_EQ(CALL(w.slave, KVM_DEV_USER_SHADOW_CTRL, &self), -ERANGE);
	self.more[8] = 9;
	T_EQ(CALL(w.slave, KVM_DEV_USER_SHADOW_CTRL, &self), 0);
	rig_stop();
}

/* -- read, write, poll ---------------------------------------------------------------------- */

/* Not for the compiler to see. */
static void *volatile nowhere;

static void post(unsigned int n)
{
	unsigned int i;

	g_begin(0);
	for (i = 0; i < n; i++)
		g_store(0, DEVICE + 8 * i, 8, i);
	g_end(0);
	T_OK(rig_run(0));
}

static void reads(void)
{
	struct rmio_request r[8];
	uint8_t *page;
	size_t n;

	RIG_START();
	page = short_page();
	T_EQ(fcntl(w.slave, F_SETFL, O_NONBLOCK), 0);
	T_EQ(read(w.slave, r, sizeof(r)), -1);
	T_EQ(errno, EAGAIN);
	post(7);
	for (n = 0; n < sizeof(r[0]); n++) {
		T_EQ(read(w.slave, r, n), -1);
		T_EQ(errno, EINVAL);
	}
	/* What could not be handed over is not lost. */
	T_EQ(read(w.slave, nowhere, sizeof(r)), -1);
	T_EQ(errno, EFAULT);
	T_EQ(read(w.slave, page + 0x1000 - 31, sizeof(r)), -1);
	T_EQ(errno, EFAULT);
	T_EQ(read(w.slave, page + 0x1000 - 40, sizeof(r)), sizeof(r[0]));
	memcpy(r, page + 0x1000 - 40, sizeof(r[0]));
	T_EQ(r[0].seq, 1);
	T_EQ(read(w.slave, r, 33), sizeof(r[0]));
	T_EQ(r[0].seq, 2);
	T_EQ(read(w.slave, (uint8_t *)r + 1, 63), sizeof(r[0]));
	T_EQ(read(w.slave, r, 64), 2 * sizeof(r[0]));
	T_EQ(r[1].seq, 5);
	T_EQ(read(w.slave, r, sizeof(r)), 2 * sizeof(r[0]));
	T_EQ(r[1].seq, 7);
	T_EQ(read(w.slave, r, sizeof(r)), -1);
	T_EQ(errno, EAGAIN);
	rig_stop();
}

/* Every lane has its turn: who posts much does not keep the others waiting. */
static void turns(void)
{
	struct rmio_request r[4];
	unsigned int i, n;

	RIG_START(.vcpus = 3);
	for (i = 0; i < 3; i++) {
		g_begin(i);
		for (n = 0; n < (i == 2 ? 2 : 100); n++)
			g_store(i, DEVICE + 8 * n, 8, n);
		g_end(i);
		T_OK(rig_run(i));
	}
	for (n = 0; n < 2; n++) {
		T_EQ(read(w.slave, r, 3 * sizeof(r[0])), 3 * sizeof(r[0]));
		for (i = 0; i < 3; i++) {
			T_EQ(r[i].vcpu, i);
			T_EQ(r[i].seq, n + 1);
		}
	}
	/* One at a time as well, and none is left out where a lane is empty. */
	for (n = 0; n < 8; n++) {
		T_EQ(read(w.slave, r, sizeof(r[0])), sizeof(r[0]));
		T_EQ(r[0].vcpu, n & 1);
		T_EQ(r[0].seq, n / 2 + 3);
	}
	rig_stop();
}

/* However the device ends: what was posted before that is read first, and then it is the end. */
static void left(void)
{
	struct rmio_request r;
	struct rmio_reply a;
	unsigned int i, n;

	for (i = 0; i < 3; i++) {
		RIG_START();
		post(5);
		T_EQ(read(w.slave, &r, sizeof(r)), sizeof(r));
		if (i == 0)
			T_EQ(CALL(w.slave, KVM_DEV_USER_CLOSE, 0), 0);
		else if (i == 1)
			T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 0), 0);
		else
			rig_close_master();
		for (n = 2; n <= 5; n++) {
			T_EQ(read(w.slave, &r, sizeof(r)), sizeof(r));
			T_EQ(r.seq, n);
			a = (struct rmio_reply){ .seq = n };
			T_EQ(write(w.slave, &a, sizeof(a)), sizeof(a));
		}
		T_EQ(read(w.slave, &r, sizeof(r)), 0);
		rig_stop();
	}
}

static int reply(uint64_t seq, uint32_t vcpu, uint32_t reserved)
{
	struct rmio_reply a = { .seq = seq, .vcpu = vcpu, .reserved = reserved };
	ssize_t n = write(w.slave, &a, sizeof(a));

	return n < 0 ? -errno : n == sizeof(a) ? 0 : -EIO;
}

static void writes(void)
{
	struct rmio_reply a[4] = { { .seq = 3 }, { .seq = 4 }, { .seq = 9 }, { .seq = 5 } };
	struct rmio_request r[8];
	uint8_t *page;
	size_t n;

	RIG_START();
	page = short_page();
	post(7);
	/* Pending, but nobody has read it. */
	T_EQ(reply(1, 0, 0), -ENOENT);
	T_EQ(read(w.slave, r, 6 * sizeof(r[0])), 6 * sizeof(r[0]));
	for (n = 0; n < 3 * sizeof(a[0]); n++) {
		if (!(n % sizeof(a[0])) && n)
			continue;
		T_EQ(write(w.slave, a, n), -1);
		T_EQ(errno, EINVAL);
	}
	T_EQ(write(w.slave, nowhere, sizeof(a[0])), -1);
	T_EQ(errno, EFAULT);
	T_EQ(write(w.slave, page + 0x1000 - 23, sizeof(a[0])), -1);
	T_EQ(errno, EFAULT);
	/* Unknown ones: of no request, of one that is not read, of another vCPU, of none at all. */
	T_EQ(reply(0, 0, 0), -ENOENT);
	T_EQ(reply(7, 0, 0), -ENOENT);
	T_EQ(reply(8, 0, 0), -ENOENT);
	T_EQ(reply(~0ull, 0, 0), -ENOENT);
	T_EQ(reply(1 + 256, 0, 0), -ENOENT);
	T_EQ(reply(1ull << 32 | 1, 0, 0), -ENOENT);
	T_EQ(reply(1, 1, 0), -ENOENT);
	T_EQ(reply(1, RMIO_KVM_LANES, 0), -EINVAL);
	T_EQ(reply(1, ~0u, 0), -EINVAL);
	T_EQ(reply(1, 0, 1), -EINVAL);
	/* Out of order; twice; stale. */
	T_EQ(reply(2, 0, 0), 0);
	T_EQ(reply(2, 0, 0), -ENOENT);
	T_EQ(reply(1, 0, 0), 0);
	T_EQ(reply(1, 0, 0), -ENOENT);
	T_EQ(reply(2, 0, 0), -ENOENT);
	/* As many as are good, up to the first that is not. */
	T_EQ(write(w.slave, a, sizeof(a)), 2 * sizeof(a[0]));
	T_EQ(reply(3, 0, 0), -ENOENT);
	T_EQ(reply(5, 0, 0), 0);
	T_EQ(reply(6, 0, 0), 0);
	T_EQ(reply(7, 0, 0), -ENOENT);
	T_EQ(read(w.slave, r, sizeof(r)), sizeof(r[0]));
	T_EQ(reply(7, 0, 0), 0);
	T_EQ(rig_state(), RMIO_KVM_LIVE);
	rig_stop();
}

static short polled(void)
{
	struct pollfd p = { .fd = w.slave, .events = POLLIN | POLLOUT | POLLRDHUP };

	T_GE(poll(&p, 1, 0), 0);
	return p.revents;
}

static void polls(void)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET }, got;
	struct rmio_request r[8];
	int ep, i;

	RIG_START();
	ep = epoll_create1(0);
	T_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, w.slave, &e), 0);
	T_EQ(polled(), POLLOUT);
	T_EQ(epoll_wait(ep, &got, 1, 0), 0);
	for (i = 0; i < 3; i++) {
		post(1);
		T_EQ(epoll_wait(ep, &got, 1, 0), 1);
		/* At each edge once. */
		T_EQ(epoll_wait(ep, &got, 1, 0), 0);
		T_EQ(polled(), POLLIN | POLLOUT);
	}
	T_EQ(read(w.slave, r, 2 * sizeof(r[0])), 2 * sizeof(r[0]));
	T_EQ(polled(), POLLIN | POLLOUT);
	T_EQ(read(w.slave, r, sizeof(r)), sizeof(r[0]));
	T_EQ(polled(), POLLOUT);
	rig_close_master();
	T_EQ(polled(), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	T_EQ(epoll_wait(ep, &got, 1, 0), 1);
	T_EQ(got.events, EPOLLIN | EPOLLHUP);
	/* Nothing is pending: the end. */
	T_EQ(read(w.slave, r, sizeof(r)), 0);
	close(ep);
	rig_stop();
}

/* -- mappings -------------------------------------------------------------------------------- */

static void mappings(void)
{
	size_t up;
	uint8_t *p;

	RIG_START();
	up = up_size();
	map_down(w.slave);
	/* What was refused has claimed nothing. */
	T_EQ(rig_state(), RMIO_KVM_NEW);
	p = mmap(NULL, up, RW, MAP_SHARED, w.slave, RMIO_KVM_MAP_UP);
	T_OK(p != MAP_FAILED);
	T_EQ(rig_state(), RMIO_KVM_LIVE);
	T_EQ(map_error(w.slave, RMIO_KVM_MAP_UP, up, RW, MAP_SHARED), 0);
	p[RMIO_PAGE] = 1;
	T_OK(mremap(p, up, up + 4096, MREMAP_MAYMOVE) == MAP_FAILED);
	munmap(p, up);
	T_EQ(map_error(w.slave, RMIO_KVM_MAP_SHADOW, 4096, RW, MAP_SHARED), -ENXIO);
	T_EQ(rig_shadow_size(4096), 0);
	T_EQ(map_error(w.slave, RMIO_KVM_MAP_SHADOW, 4096, RW, MAP_SHARED), 0);
	T_EQ(map_error(w.slave, RMIO_KVM_MAP_SHADOW, 4096, RW, MAP_PRIVATE), -EINVAL);
	T_EQ(map_error(w.slave, RMIO_KVM_MAP_SHADOW, 8192, RW, MAP_SHARED), -EINVAL);
	T_EQ(map_error(w.slave, RMIO_KVM_MAP_SHADOW, 4096, RW | PROT_EXEC, MAP_SHARED), -EACCES);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "arguments that are not there", places },
	{ "unaligned arguments", unaligned },
	{ "unknown calls", unknown },
	{ "sizes of the shadow", shadow_sizes },
	{ "a new shadow", new_image },
	{ "maps", maps },
	{ "areas that overlap", overlaps },
	{ "where areas lie", areas_argument },
	{ "read()", reads },
	{ "every lane in its turn", turns },
	{ "what is left at the end", left },
	{ "write()", writes },
	{ "poll and epoll", polls },
	{ "mappings", mappings },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
