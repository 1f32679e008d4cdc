// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: what changes while vCPUs access it.  Ranges, images, maps, replies and time
 * limits, signals, wrong replies.
 */
#include "kvm_user_rig.h"

#include <sched.h>

#define AT_FIRE	 0x8000u /* what the guests load, from DEVICE on */
#define AT_STORE 0x8010u
#define MOVED	 0x1000u

/* -- vCPUs that load and store, in a loop ----------------------------------------- */

/* Load n stores number n, then loads and notes what it got, which is 4 bytes of the results. */
static void fire(unsigned int i, uint32_t rounds)
{
	uint32_t at = (uint32_t)(RIG_RESULTS + i * RIG_RESULTS_LEN);
	size_t top;

	T_LE(rounds * 4, RIG_RESULTS_LEN);
	memset((void *)w.vcpu[i].result, 0, rounds * 4);
	g_begin(i);
	G(i, 0x31, 0xf6); /* xor %esi,%esi */
	g_rbx(i, DEVICE + AT_STORE);
	top = g_loop(i, rounds);
	G(i, 0x89, 0x33);	/* mov %esi,(%rbx) */
	G(i, 0x8b, 0x43, 0xf0); /* mov -0x10(%rbx),%eax */
	G(i, 0x89, 0x04, 0xb5); /* mov %eax,at(,%rsi,4) */
	g_bytes(i, &at, 4);
	G(i, 0xff, 0xc6); /* inc %esi */
	g_again(i, top);
	g_end(i);
}

static uint32_t got(unsigned int i, uint32_t round)
{
	return ((const volatile uint32_t *)w.vcpu[i].result)[round];
}

static bool all_ended(void)
{
	unsigned int i;

	for (i = 0; i < w.nr; i++)
		if (!rig_ended(i))
			return false;
	return true;
}

/* Stores of each vCPU must come in order, none missing; loads get what is in the registers. */
static struct {
	uint32_t stores[RIG_VCPUS];
	pthread_t second;
	pthread_mutex_t lock;
	bool relay; /* several readers: order among them is theirs */
} dev = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct rmio_reply take_one(const struct rmio_request *r)
{
	if (T_LT(r->vcpu, RIG_VCPUS) && r->op == RMIO_OP_STORE) {
		pthread_mutex_lock(&dev.lock);
		if (!dev.relay)
			T_EQ(r->data, dev.stores[r->vcpu]);
		dev.stores[r->vcpu]++;
		pthread_mutex_unlock(&dev.lock);
		return (struct rmio_reply){ .seq = r->seq, .vcpu = r->vcpu };
	}
	return rig_answer(r);
}

static void serve_checking(int threads)
{
	memset(dev.stores, 0, sizeof(dev.stores));
	dev.relay = threads > 1;
	w.answer = take_one;
	rig_serve();
	if (dev.relay)
		T_EQ(pthread_create(&dev.second, NULL, rig_device, NULL), 0);
}

static void end_checking(void)
{
	rig_close_master();
	pthread_join(w.device, NULL);
	w.has_device = false;
	if (dev.relay)
		pthread_join(dev.second, NULL);
}

static void put32(uint32_t offset, uint32_t value)
{
	memcpy(w.reg + offset, &value, 4);
}

/* Every load got one of these, and the device every store once. */
static void check_fire(uint32_t rounds, const uint32_t *allowed, int n)
{
	unsigned int i;
	uint32_t k;
	int a;

	for (i = 0; i < w.nr; i++) {
		for (k = 0; k < rounds; k++) {
			for (a = 0; a < n && got(i, k) != allowed[a]; a++)
				;
			if (!T_LT(a, n)) {
				ktap_diag("vCPU %u, load %u: 0x%x", i, k, got(i, k));
				break;
			}
		}
		T_EQ(dev.stores[i], rounds);
		T_EQ(w.vcpu[i].exits, 0);
	}
}

#define START_FIRE(rounds) \
	do { \
		unsigned int i_; \
\
		for (i_ = 0; i_ < w.nr; i_++) { \
			fire(i_, rounds); \
			T_REQUIRE(rig_go(i_)); \
		} \
	} while (0)

static void join_all(void)
{
	unsigned int i;

	for (i = 0; i < w.nr; i++)
		rig_join(i);
}

/* -- what moves ------------------------------------------------------------------- */

/* The address is in the range all the time, at one offset or the other. */
static void range_moves(void)
{
	uint32_t rounds = (uint32_t)ktap_pick(1000, 3000, 30000);
	const uint32_t allowed[] = { 0x11111111, 0x22222222 };
	unsigned int moves = 0, seen[2] = { 0 }, i;
	uint32_t k;

	RIG_START(.vcpus = 4);
	put32(AT_FIRE, allowed[0]);
	put32(AT_FIRE - MOVED, allowed[1]);
	serve_checking(1);
	START_FIRE(rounds);
	while (!all_ended() && !ktap_failed()) {
		moves++;
		T_EQ(rig_range(DEVICE + (moves & 1) * MOVED, LEN, RMIO_BUS_MEM, 0), 0);
	}
	join_all();
	/* It is where it was put last. */
	for (i = 0; i < 4; i++)
		for (k = 0; k < rounds; k++)
			seen[got(i, k) == allowed[1]]++;
	ktap_diag("%u moves; %u loads at the old place, %u at the new one", moves, seen[0],
		  seen[1]);
	T_GT(moves, 0);
	end_checking();
	check_fire(rounds, allowed, 2);
	rig_stop();
}

/* How often each store has come, to the device or to the VMM. */
static struct {
	uint32_t rounds;
	atomic_uchar *times; /* vCPU, number of the store */
	atomic_uint exits;
	int64_t last[RIG_VCPUS]; /* of the device */
} seen;

static void count_store(unsigned int vcpu, uint64_t nr)
{
	if (T_LT(vcpu, RIG_VCPUS) && T_LT(nr, seen.rounds))
		atomic_fetch_add(&seen.times[vcpu * seen.rounds + nr], 1);
}

static struct rmio_reply take_some(const struct rmio_request *r)
{
	if (r->op != RMIO_OP_STORE)
		return rig_answer(r);
	count_store(r->vcpu, r->data);
	if (T_LT(r->vcpu, RIG_VCPUS)) {
		T_GT((int64_t)r->data, seen.last[r->vcpu]);
		seen.last[r->vcpu] = (int64_t)r->data;
	}
	return (struct rmio_reply){ .seq = r->seq, .vcpu = r->vcpu };
}

static void came_out(unsigned int i, const struct kvm_run *run)
{
	uint32_t nr;

	atomic_fetch_add(&seen.exits, 1);
	/* Lets the range come back. */
	sched_yield();
	if (run->exit_reason != KVM_EXIT_MMIO || !run->mmio.is_write)
		return;
	memcpy(&nr, run->mmio.data, 4);
	T_EQ(run->mmio.len, 4);
	T_EQ(run->mmio.phys_addr, DEVICE + AT_STORE);
	count_store(i, nr);
}

/* Where it goes in turn: here, over here at another offset, away, to the other bus, nowhere. */
static int next_place(unsigned int n)
{
	switch (n % 6) {
	case 0:
		return rig_range(DEVICE + MOVED, LEN, RMIO_BUS_MEM, 0);
	case 1:
		return rig_range(DEVICE + 0x100000, LEN, RMIO_BUS_MEM, 0);
	case 2:
		return rig_range(DEVICE, LEN, RMIO_BUS_MEM, 0);
	case 3:
		return rig_range(PORT, PORTS, RMIO_BUS_IO, 0);
	case 4:
		return rig_range(DEVICE, LEN, RMIO_BUS_MEM, 0);
	default:
		return rig_range(0, 0, 0, 0);
	}
}

/* Each access is the device's or comes out; each store comes once. */
static void range_goes(void)
{
	uint32_t rounds = (uint32_t)ktap_pick(1000, 3000, 30000), k;
	const uint32_t allowed[] = { 0x11111111, 0x22222222, 0xffffffff };
	unsigned int places = 0, answers[3] = { 0 }, i;

	RIG_START(.vcpus = 4, .rings = { .slots = 4 });
	put32(AT_FIRE, allowed[0]);
	put32(AT_FIRE - MOVED, allowed[1]);
	memset(&seen, 0, sizeof(seen));
	memset(seen.last, 0xff, sizeof(seen.last));
	seen.rounds = rounds;
	seen.times = calloc(RIG_VCPUS, rounds);
	T_REQUIRE(seen.times);
	w.answer = take_some;
	w.on_exit = came_out;
	rig_serve();
	START_FIRE(rounds);
	while (!all_ended() && !ktap_failed()) {
		unsigned int before = atomic_load(&w.n) + atomic_load(&seen.exits);

		T_EQ(next_place(places++), 0);
		/* Each is found by somebody. */
		UNTIL(atomic_load(&w.n) + atomic_load(&seen.exits) != before || all_ended());
	}
	join_all();
	rig_close_master();
	pthread_join(w.device, NULL);
	w.has_device = false;
	for (i = 0; i < 4; i++) {
		for (k = 0; k < rounds; k++) {
			int a = 0;

			while (a < 3 && got(i, k) != allowed[a])
				a++;
			if (!T_LT(a, 3) ||
			    !T_EQ(atomic_load(&seen.times[i * rounds + k]), 1)) {
				ktap_diag("vCPU %u, round %u: 0x%x", i, k, got(i, k));
				break;
			}
			answers[a]++;
		}
	}
	ktap_diag("%u places; loads: %u and %u of the device, %u came out; %u exits", places,
		  answers[0], answers[1], answers[2], atomic_load(&seen.exits));
	free(seen.times);
	rig_stop();
}

/* Once the call has returned nobody is answered by the old place. */
static void moved_means_moved(void)
{
	long rounds = ktap_pick(50, 200, 2000), k;

	RIG_START(.vcpus = 2);
	put32(AT_FIRE, 0x11111111);
	put32(AT_FIRE - MOVED, 0x22222222);
	serve_checking(1);
	fire(1, 20000);
	T_REQUIRE(rig_go(1));
	g_begin(0);
	g_load(0, DEVICE + AT_FIRE, 4);
	g_end(0);
	for (k = 0; k < rounds && !ktap_failed(); k++) {
		T_EQ(rig_range(DEVICE + (k & 1) * MOVED, LEN, RMIO_BUS_MEM, 0), 0);
		T_OK(rig_run(0));
		T_EQ(w.vcpu[0].result[0], k & 1 ? 0x22222222 : 0x11111111);
	}
	rig_join(1);
	T_EQ(w.vcpu[0].exits + w.vcpu[1].exits, 0);
	end_checking();
	T_EQ(dev.stores[1], 20000);
	rig_stop();
}

/* Loads come from the device, or from either place of an image, never from a new one. */
static void images_replaced(void)
{
	uint32_t rounds = (uint32_t)ktap_pick(1000, 3000, 30000);
	const uint32_t allowed[] = { 0x11111111, 0x33333333, 0x44444444 };
	struct rmio_area area = {
		.offset = AT_FIRE,
		.length = 4,
		.sizes = RMIO_SIZE_ALL,
		.load = RMIO_LOAD_SHADOW,
	};
	unsigned int n = 0;

	RIG_START(.vcpus = 4);
	put32(AT_FIRE, allowed[0]);
	serve_checking(1);
	START_FIRE(rounds);
	while (!all_ended() && !ktap_failed()) {
		uint32_t *image = rig_image(0x2000);

		T_REQUIRE(image);
		image[0x100 / 4] = 0x33333333;
		image[0x1004 / 4] = 0x44444444;
		area.shadow_offset = 0x100;
		T_EQ(rig_map(&area, 1), 0);
		area.shadow_offset = 0x1004;
		area.flags ^= RMIO_AREA_RELAXED;
		T_EQ(rig_map(&area, 1), 0);
		if (n++ & 1)
			T_EQ(rig_map(NULL, 0), 0);
		/* Of no use to anybody once there is another. */
		memset(image, 0xee, n & 2 ? 0 : 0x100);
		munmap(image, 0x2000);
	}
	join_all();
	T_GT(n, 0);
	end_checking();
	check_fire(rounds, allowed, 3);
	rig_stop();
}

/* -- signals, wrong replies, several readers -------------------------------------- */

static void signals_everywhere(void)
{
	uint32_t rounds = (uint32_t)ktap_pick(500, 2000, 20000), id;
	const uint32_t allowed[] = { 0x11111111 };
	unsigned int k = 0, i;
	unsigned long ended = 0;

	RIG_START(.vcpus = 4, .rings = { .slots = 2 });
	put32(AT_FIRE, allowed[0]);
	serve_checking(1);
	START_FIRE(rounds);
	while (!all_ended() && !ktap_failed()) {
		id = k++ % 4;
		if (k & 4)
			rig_kick(id);
		else
			T_EQ(CALL(w.master, KVM_DEV_USER_KICK, &id), 0);
		usleep(k % 50);
	}
	join_all();
	for (i = 0; i < 4; i++)
		ended += atomic_load(&w.vcpu[i].interrupted);
	ktap_diag("%lu times out of KVM_RUN", ended);
	T_GT(ended, 0);
	end_checking();
	check_fire(rounds, allowed, 1);
	rig_stop();
}

static void wrong_replies(void)
{
	uint32_t rounds = (uint32_t)ktap_pick(500, 2000, 20000);
	const uint32_t allowed[] = { 0x11111111 };
	uint64_t k = 0;

	RIG_START(.vcpus = 4);
	put32(AT_FIRE, allowed[0]);
	serve_checking(1);
	START_FIRE(rounds);
	while (!all_ended() && !ktap_failed()) {
		/* 2 * rounds is the last that there can be; the first ones are long done. */
		const uint64_t wrong[] = {
			2 * rounds + 1 + k % 1000, ~0ull - k % 1000, 0, 1ull << 32 | k % 1000,
		};

		T_EQ(rig_reply((uint32_t)(k % 4), wrong[k % 4], 0xbad), -ENOENT);
		k++;
	}
	join_all();
	end_checking();
	check_fire(rounds, allowed, 1);
	rig_stop();
}

static void two_readers(void)
{
	uint32_t rounds = (uint32_t)ktap_pick(500, 2000, 20000);
	const uint32_t allowed[] = { 0x11111111 };

	RIG_START(.vcpus = 4);
	put32(AT_FIRE, allowed[0]);
	serve_checking(2);
	START_FIRE(rounds);
	join_all();
	end_checking();
	check_fire(rounds, allowed, 1);
	rig_stop();
}

/* -- the time limit and the reply ------------------------------------------------- */

/*
 * Whichever comes first: the right answer of a device that lives, or all ones and it is dead.  The
 * device takes longer after the one and less after the other, so both come, and close together.
 */
static void timeout_and_reply(void)
{
	long rounds = ktap_pick(60, 300, 3000), k, ones = 0;
	unsigned int seed = 1, nap_us = 6000;

	RIG_START();
	for (k = 0; (k < rounds || !ones || ones == k) && !ktap_failed(); k++) {
		uint64_t v;

		rig_close_master();
		rig_close_slave();
		w.master = rig_create(w.vm->fd);
		T_REQUIRE(T_GE(w.master, 0));
		T_EQ(rig_range(DEVICE, LEN, RMIO_BUS_MEM, 0), 0);
		T_REQUIRE(rig_map_down());
		w.slave = ioctl(w.master, KVM_DEV_USER_SLAVE_FD, 0);
		T_EQ(rig_timeout(1000000), 0);
		g_begin(0);
		g_load(0, DEVICE, 4);
		g_end(0);
		T_REQUIRE(rig_go(0));
		rig_take();
		usleep(nap_us + (unsigned int)rand_r(&seed) % (nap_us / 4 + 1));
		T_EQ(rig_reply(0, 1, 0x5a5a), 0);
		rig_join(0);
		v = w.vcpu[0].result[0];
		nap_us = v == 0xffffffff ? nap_us - (nap_us + 7) / 8 : nap_us + nap_us / 8 + 1;
		ones += v == 0xffffffff;
		T_OK(v == 0xffffffff || v == 0x5a5a);
		T_EQ(rig_state(), v == 0x5a5a ? RMIO_KVM_LIVE : RMIO_KVM_TIMEOUT);
		T_EQ(COUNT(0, timeouts), v == 0xffffffff);
		T_EQ(COUNT(0, ones), v == 0xffffffff);
		T_EQ(rig_reply(0, 1, 0x5a5a), -ENOENT);
	}
	ktap_diag("%ld of %ld loads ran out of time", ones, k);
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

/* Signals faster than any clock ticks do not keep a wait from its end. */
static void limit_under_signals(void)
{
	RIG_START();
	T_EQ(rig_timeout(100000000), 0);
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_REQUIRE(rig_go(0));
	while (!rig_ended(0) && !ktap_failed()) {
		rig_until_waits(0);
		rig_kick(0);
	}
	rig_join(0);
	T_EQ(w.vcpu[0].result[0], 0xffffffff);
	T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
	ktap_diag("%lu signals", atomic_load(&w.vcpu[0].interrupted));
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "a range moves under fire", range_moves, 600 },
	{ "a range goes and comes back under fire", range_goes, 600 },
	{ "moved means moved", moved_means_moved, 300 },
	{ "images and maps replaced under fire", images_replaced, 600 },
	{ "signals and kicks under fire", signals_everywhere, 600 },
	{ "wrong replies under fire", wrong_replies, 600 },
	{ "two readers", two_readers, 300 },
	{ "the time limit and the reply", timeout_and_reply, 600 },
	{ "the time limit under signals", limit_under_signals },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
