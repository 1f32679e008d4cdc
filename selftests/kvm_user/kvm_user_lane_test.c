// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: lanes that the device process maps.  Full rings, the wrap of their indices,
 * who wakes whom when, and values in "up" that cannot be.
 */
#include "kvm_user_lanes.h"

/* -- indices ------------------------------------------------------------------------- */

static void mapped(void)
{
	struct rmio_reply a = { .seq = 1 };
	struct rmio_request r;
	struct lanes l;
	unsigned int i;

	RIG_START();
	T_REQUIRE(map_lanes(&l));
	T_EQ(l.down->magic, RMIO_ABI_MAGIC);
	T_EQ(l.down->version, RMIO_ABI_VERSION);
	T_EQ(l.down->ring_slots, RMIO_KVM_SLOTS);
	T_EQ(l.down->nr_lanes, RMIO_KVM_LANES);
	/* Who maps "up" does not read() and write(). */
	errno = 0;
	T_EQ(read(w.slave, &r, sizeof(r)), -1);
	T_EQ(errno, EBUSY);
	errno = 0;
	T_EQ(write(w.slave, &a, sizeof(a)), -1);
	T_EQ(errno, EBUSY);
	T_EQ(pthread_create(&l.thread, NULL, mapped_device, &l), 0);
	for (i = 0; i < 50 && !ktap_failed(); i++) {
		g_begin(0);
		g_store(0, DEVICE + 0x10, 4, i);
		g_load(0, DEVICE + 0x10, 4);
		g_end(0);
		T_OK(rig_run(0));
		T_EQ(w.vcpu[0].result[0], i);
	}
	T_EQ(w.vcpu[0].exits, 0);
	stop_device(&l);
	T_EQ(l.done, 100);
	unmap_lanes(&l);
	rig_stop();
}

/* Who reads does not map "up". */
static void either_or(void)
{
	struct rmio_request r;

	RIG_START();
	T_EQ(fcntl(w.slave, F_SETFL, O_NONBLOCK), 0);
	errno = 0;
	T_EQ(read(w.slave, &r, sizeof(r)), -1);
	T_EQ(errno, EAGAIN);
	errno = 0;
	T_OK(mmap(NULL, RMIO_PAGE, PROT_READ, MAP_SHARED, w.slave, RMIO_KVM_MAP_UP) == MAP_FAILED);
	T_EQ(errno, EBUSY);
	rig_stop();
}

/* The smallest ring, many times around: each store arrives once and in order. */
static void wrap(void)
{
	long n = ktap_pick(1000, 2000, 8000), i;
	size_t top;
	struct lanes l;

	RIG_START(.rings = { .slots = 2 });
	T_REQUIRE(map_lanes(&l));
	T_EQ(l.down->ring_slots, 2);
	T_EQ(pthread_create(&l.thread, NULL, mapped_device, &l), 0);
	g_begin(0);
	G(0, 0x31, 0xf6);				/* xor %esi,%esi */
	g_rbx(0, DEVICE + 0x20);
	top = g_loop(0, (uint64_t)n);
	G(0, 0x89, 0x33, 0xff, 0xc6);			/* mov %esi,(%rbx); inc %esi */
	g_again(0, top);
	g_load(0, DEVICE + 0x20, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], n - 1);
	for (i = 0; i < n; i++)
		if (!T_EQ(w.log[i].data, i) || !T_EQ(w.log[i].op, RMIO_OP_STORE))
			break;
	T_EQ(COUNT(0, posted), n);
	stop_device(&l);
	T_EQ(l.done, n + 1);
	T_EQ(w.vcpu[0].exits, 0);
	unmap_lanes(&l);
	rig_stop();
}

/* -- full -------------------------------------------------------------------------------- */

/* With nobody to take them, two stores go into two slots; the third waits, and is not lost. */
static void full_ring(void)
{
	unsigned int i;

	RIG_START(.rings = { .slots = 2 });
	g_begin(0);
	for (i = 0; i < 7; i++)
		g_store(0, DEVICE + 8 * i, 4, 100 + i);
	g_load(0, DEVICE + 8, 4);
	g_end(0);
	T_REQUIRE(rig_go(0));
	rig_until_waits(0);
	T_OK(!rig_ended(0));
	T_EQ(COUNT(0, posted), 2);
	T_EQ(COUNT(0, full), 1);
	rig_serve();
	rig_join(0);
	T_EQ(atomic_load(&w.n), 8);
	for (i = 0; i < 7; i++) {
		T_EQ(w.log[i].data, 100 + i);
		T_EQ(w.log[i].offset, 8 * i);
	}
	T_EQ(w.vcpu[0].result[0], 101);
	T_EQ(COUNT(0, posted), 7);
	T_EQ(COUNT(0, discarded), 0);
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

/* -- wake-ups ------------------------------------------------------------------------------ */

/* What a wait is for, and which request ends it. */
static void wakes_once(void (*guest)(void), uint64_t at)
{
	const struct rmio_area area = {
		.offset = 0x1000,
		.length = 0x1000,
		.sizes = RMIO_SIZE_ALL,
		.load = RMIO_LOAD_SHADOW,
	};
	uint64_t rings = 0;
	struct lanes l;

	RIG_START(.rings = { .slots = 4 });
	T_REQUIRE(map_lanes(&l));
	T_REQUIRE(rig_image(0x1000));
	T_EQ(rig_map(&area, 1), 0);
	/* Its end would be one more wake-up. */
	T_EQ(rig_timeout(~0ull), 0);
	g_begin(0);
	guest();
	g_end(0);
	T_REQUIRE(rig_go(0));
	rig_until_waits(0);
	T_OK(!rig_ended(0));
	while (!ktap_failed() && l.done < at) {
		T_EQ(rings, 0);
		T_OK(there(&l));
		complete(&l);
		rings += tell(&l);
	}
	/* That was it: the vCPU goes on, and does not sleep on under the number it had. */
	T_EQ(rings, 1);
	UNTIL(SLEEPS(0) != l.woken || rig_ended(0));
	/* The rest of what it has to do. */
	while (!rig_ended(0) && !ktap_failed()) {
		if (there(&l))
			complete(&l);
		tell(&l);
		usleep(100);
	}
	rig_join(0);
	T_EQ(w.vcpu[0].exits, 0);
	unmap_lanes(&l);
	rig_stop();
}

static void guest_reply(void)
{
	g_store(0, DEVICE, 4, 1);
	g_store(0, DEVICE, 4, 2);
	g_load(0, DEVICE, 4);
}

static void guest_idle(void)
{
	g_store(0, DEVICE, 4, 1);
	g_store(0, DEVICE, 4, 2);
	g_store(0, DEVICE, 4, 3);
	g_load(0, DEVICE + 0x1000, 4);
}

static void guest_room(void)
{
	int i;

	for (i = 0; i < 6; i++)
		g_store(0, DEVICE, 4, 1);
}

static void wake_reply(void)
{
	wakes_once(guest_reply, 3);
}

static void wake_idle(void)
{
	wakes_once(guest_idle, 3);
}

static void wake_room(void)
{
	/* Half of the ring. */
	wakes_once(guest_room, 2);
}

/* A wake-up that nobody needs ends no wait; one for a lane that is not there is refused. */
static void false_wake(void)
{
	uint32_t lane = 0, i;
	struct lanes l;

	RIG_START();
	T_REQUIRE(map_lanes(&l));
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_REQUIRE(rig_go(0));
	UNTIL(SLEEPS(0));
	for (i = 0; i < 1000; i++)
		T_EQ(ioctl(w.slave, KVM_DEV_USER_WAKE, &lane), 0);
	T_OK(!rig_ended(0));
	lane = RMIO_KVM_LANES;
	T_EQ(CALL(w.slave, KVM_DEV_USER_WAKE, &lane), -EINVAL);
	lane = ~0u;
	T_EQ(CALL(w.slave, KVM_DEV_USER_WAKE, &lane), -EINVAL);
	memcpy(w.reg, "\1\2\3\4", 4);
	T_OK(there(&l));
	complete(&l);
	/* Or it has seen it already, on its way back to sleep after the last false one. */
	tell(&l);
	rig_join(0);
	T_EQ(w.vcpu[0].result[0], 0x04030201);
	unmap_lanes(&l);
	rig_stop();
}

/* -- what cannot be ------------------------------------------------------------------------- */

/* "done" behind what was pushed, or in front of what it was: the device is dead, that and no more. */
static void impossible_done(bool idle)
{
	/* Two stores have been pushed; first this, then that is complete. */
	static const struct { uint64_t first, then; bool bad;
	} values[] = {
		{ 0, 3, true },		 { 0, ~0ull, true },	   { 0, 1ull << 63, true },
		{ 0, 1ull << 32, true }, { 0, 0x100000002, true }, { 1, 0, true },
		{ 2, 1, true },		 { 2, ~0ull, true },	   { 0, 2, false },
		{ 1, 2, false },
	};
	const struct rmio_area area = {
		.offset = 0x1000,
		.length = 0x1000,
		.sizes = RMIO_SIZE_ALL,
		.load = RMIO_LOAD_SHADOW,
	};
	int i;

	for (i = 0; i < KTAP_COUNT(values) && !ktap_failed(); i++) {
		struct lanes l;
		uint32_t *image;

		RIG_START(.rings = { .slots = 2 });
		T_REQUIRE(map_lanes(&l));
		image = rig_image(0x1000);
		T_REQUIRE(image);
		image[0] = 0x1357;
		T_EQ(rig_map(&area, 1), 0);
		T_EQ(rig_timeout(~0ull), 0);
		g_begin(0);
		g_store(0, DEVICE, 4, 1);
		g_store(0, DEVICE, 4, 2);
		g_end(0);
		T_OK(rig_run(0));
		if (values[i].first) {
			/* The kernel looks and takes it. */
			l.answer->done = values[i].first;
			g_begin(0);
			g_store(0, DEVICE, 4, 3);
			g_end(0);
			T_OK(rig_run(0));
			if (values[i].first == 2) {
				g_begin(0);
				g_store(0, DEVICE, 4, 4);
				g_end(0);
				T_OK(rig_run(0));
			}
		}
		l.answer->done = values[i].then + (values[i].bad ? 0 : values[i].first);
		g_begin(0);
		if (idle)
			g_load(0, DEVICE + 0x1000, 4);
		else
			g_store(0, DEVICE, 4, 3);
		g_end(0);
		T_OK(rig_run(0));
		T_EQ(rig_state(), values[i].bad ? RMIO_KVM_PROTOCOL : RMIO_KVM_LIVE);
		if (idle)
			T_EQ(w.vcpu[0].result[0], values[i].bad ? 0xffffffff : 0x1357);
		T_EQ(w.vcpu[0].exits, 0);
		if (ktap_failed())
			ktap_diag("done %llu, then %llu", (unsigned long long)values[i].first,
				  (unsigned long long)values[i].then);
		unmap_lanes(&l);
		rig_stop();
	}
}

static void done_for_room(void)
{
	impossible_done(false);
}

static void done_for_idle(void)
{
	impossible_done(true);
}

/* A reply to what was not asked is none: the wait runs into its limit and no further. */
static void foreign_reply(void)
{
	static const uint64_t seqs[] = { 0, 2, ~0ull, 1ull << 32 | 1, 1ull << 63 };
	int i;

	for (i = 0; i < KTAP_COUNT(seqs) && !ktap_failed(); i++) {
		struct lanes l;

		RIG_START();
		T_REQUIRE(map_lanes(&l));
		T_EQ(rig_timeout(30000000), 0);
		l.answer->reply_seq = seqs[i];
		l.answer->reply_data = 0x66;
		g_begin(0);
		g_load(0, DEVICE, 4);
		g_end(0);
		T_OK(rig_run(0));
		T_EQ(w.vcpu[0].result[0], 0xffffffff);
		T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
		T_EQ(COUNT(0, timeouts), 1);
		unmap_lanes(&l);
		rig_stop();
	}
}

/* Nonsense where nothing is read from, or only "look again" is: it is served all the same. */
static void nonsense_elsewhere(void)
{
	static const uint32_t words[] = { 0, 1, ~0u, 0x80000000 };
	struct lanes l;
	int i;

	RIG_START();
	T_REQUIRE(map_lanes(&l));
	for (i = 0; i < KTAP_COUNT(words) && !ktap_failed(); i++) {
		memset((uint8_t *)l.up + 4, (int)words[i], RMIO_PAGE - 4);
		l.answer->wake_seq = words[i];
		l.answer->taken = words[i] | (uint64_t)words[i] << 32;
		memset((uint8_t *)l.answer + 72, (int)words[i], RMIO_PAGE - 72);
		/* All other lanes. */
		memset((uint8_t *)l.up + 2 * RMIO_PAGE, (int)words[i], l.up_size - 2 * RMIO_PAGE);
		l.up->need_wake = words[i];
		w.reg[0] = (uint8_t)(i + 1);
		g_begin(0);
		g_load(0, DEVICE, 1);
		g_end(0);
		T_REQUIRE(rig_go(0));
		UNTIL(SLEEPS(0));
		T_OK(there(&l));
		complete(&l);
		tell(&l);
		rig_join(0);
		T_EQ(w.vcpu[0].result[0], i + 1);
		poll(&(struct pollfd){ .fd = w.slave, .events = POLLIN }, 1, 0);
	}
	T_EQ(rig_state(), RMIO_KVM_LIVE);
	unmap_lanes(&l);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "mapped lanes", mapped },
	{ "read() or mapped lanes", either_or },
	{ "two slots, many times around", wrap, 120 },
	{ "full ring", full_ring },
	{ "woken once for a reply", wake_reply },
	{ "woken once for an idle lane", wake_idle },
	{ "woken once for room", wake_room },
	{ "woken for nothing", false_wake },
	{ "impossible done, for room", done_for_room },
	{ "impossible done, for an idle lane", done_for_idle },
	{ "a reply to nothing", foreign_reply },
	{ "nonsense elsewhere in up", nonsense_elsewhere },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
