// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: what changes while vCPUs access it.  Ranges, images, maps, replies and time
 * limits, signals, wrong replies; and a control call that does not come back from user memory.
 */
#include "kvm_user_rig.h"

#include <linux/userfaultfd.h>
#include <sys/syscall.h>

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
		if (!atomic_load(&w.vcpu[i].ended))
			return false;
	return true;
}

/* Stores of each vCPU must come in order, none missing; loads get what is in the registers. */
static struct {
	uint32_t stores[RIG_VCPUS];
	pthread_t thread[2];
	pthread_mutex_t lock;
	bool relay; /* several readers: order among them is theirs */
} dev = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void take_one(const struct rmio_request *r, struct rmio_reply *a)
{
	*a = (struct rmio_reply){ .seq = r->seq, .vcpu = r->vcpu };
	if (!T_LT(r->vcpu, RIG_VCPUS))
		return;
	if (r->op == RMIO_OP_LOAD) {
		T_LE(r->offset, LEN - 4);
		memcpy(&a->data, w.reg + r->offset, 4);
		return;
	}
	pthread_mutex_lock(&dev.lock);
	if (!dev.relay)
		T_EQ(r->data, dev.stores[r->vcpu]);
	dev.stores[r->vcpu]++;
	pthread_mutex_unlock(&dev.lock);
}

static void *checking_device(void *arg)
{
	struct rmio_request r[16];
	struct rmio_reply a[16];
	ssize_t n, i;

	(void)arg;
	for (;;) {
		n = read(w.slave, r, sizeof(r));
		if (n <= 0)
			return NULL;
		n /= (ssize_t)sizeof(r[0]);
		for (i = 0; i < n; i++)
			take_one(&r[i], &a[i]);
		if (write(w.slave, a, (size_t)n * sizeof(a[0])) != n * (ssize_t)sizeof(a[0]))
			return NULL;
	}
}

static void serve_checking(int threads)
{
	int i;

	memset(dev.stores, 0, sizeof(dev.stores));
	dev.relay = threads > 1;
	for (i = 0; i < threads; i++)
		T_EQ(pthread_create(&dev.thread[i], NULL, checking_device, NULL), 0);
}

static void end_checking(int threads)
{
	int i;

	rig_close_master();
	for (i = 0; i < threads; i++)
		pthread_join(dev.thread[i], NULL);
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
	end_checking(1);
	check_fire(rounds, allowed, 2);
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
	end_checking(1);
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
	end_checking(1);
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
	end_checking(1);
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
		struct rmio_reply a = { .vcpu = (uint32_t)(k % 4), .data = 0xbad };

		switch (k++ % 4) {
		case 0:
			a.seq = 2 * rounds + 1 + k % 1000;
			break;
		case 1:
			a.seq = ~0ull - k % 1000;
			break;
		case 2:
			a.seq = 0;
			break;
		default:
			a.seq = 1ull << 32 | k % 1000;
			break;
		}
		T_EQ(write(w.slave, &a, sizeof(a)), -1);
		T_EQ(errno, ENOENT);
	}
	join_all();
	end_checking(1);
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
	end_checking(2);
	check_fire(rounds, allowed, 1);
	rig_stop();
}

/* -- the time limit and the reply ------------------------------------------------- */

/* Whichever comes first: the right answer of a device that lives, or all ones and it is dead. */
static void timeout_and_reply(void)
{
	long rounds = ktap_pick(60, 300, 3000), k, ones = 0;
	unsigned int seed = 1;

	RIG_START();
	for (k = 0; k < rounds && !ktap_failed(); k++) {
		struct rmio_reply a = { .seq = 1, .data = 0x5a5a };
		struct rmio_request r;
		uint64_t v;

		rig_close_master();
		close(w.slave);
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
		T_EQ(read(w.slave, &r, sizeof(r)), sizeof(r));
		usleep((unsigned int)rand_r(&seed) % 12000);
		T_EQ(write(w.slave, &a, sizeof(a)), sizeof(a));
		rig_join(0);
		v = w.vcpu[0].result[0];
		ones += v == 0xffffffff;
		T_OK(v == 0xffffffff || v == 0x5a5a);
		T_EQ(rig_state(), v == 0x5a5a ? RMIO_KVM_LIVE : RMIO_KVM_TIMEOUT);
		T_EQ(COUNT(0, timeouts), v == 0xffffffff);
		T_EQ(COUNT(0, ones), v == 0xffffffff);
		T_EQ(write(w.slave, &a, sizeof(a)), -1);
		T_EQ(errno, ENOENT);
	}
	ktap_diag("%ld of %ld loads ran out of time", ones, rounds);
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
	while (!atomic_load(&w.vcpu[0].ended) && !ktap_failed()) {
		UNTIL(SLEEPS(0) || atomic_load(&w.vcpu[0].ended));
		rig_kick(0);
	}
	rig_join(0);
	T_EQ(w.vcpu[0].result[0], 0xffffffff);
	T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
	ktap_diag("%lu signals", atomic_load(&w.vcpu[0].interrupted));
	rig_stop();
}

/* -- user memory that does not come ----------------------------------------------- */

static int fault_fd;
static uint8_t *never; /* a page that nobody brings */

static const char *no_faults(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	fault_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fault_fd < 0)
		return "no userfaultfd";
	T_EQ(ioctl(fault_fd, UFFDIO_API, &api), 0);
	never = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)never;
	reg.range.len = 0x1000;
	T_EQ(ioctl(fault_fd, UFFDIO_REGISTER, &reg), 0);
	return NULL;
}

/* A thread of ours is in it. */
static void wait_for_fault(void)
{
	struct uffd_msg m;

	T_EQ(read(fault_fd, &m, sizeof(m)), sizeof(m));
	T_EQ(m.event, UFFD_EVENT_PAGEFAULT);
}

static void let_it_come(void)
{
	struct uffdio_zeropage z = { .range = { .start = (uintptr_t)never, .len = 0x1000 } };

	T_EQ(ioctl(fault_fd, UFFDIO_ZEROPAGE, &z), 0);
}

static int stuck_result;

static void *stuck_map(void *arg)
{
	(void)arg;
	stuck_result = rig_map((void *)never, 1);
	return NULL;
}

static void *stuck_read(void *arg)
{
	(void)arg;
	stuck_result = (int)read(w.slave, never, sizeof(struct rmio_request));
	return NULL;
}

static void *stuck_write(void *arg)
{
	(void)arg;
	stuck_result = (int)write(w.slave, never, sizeof(struct rmio_reply));
	return NULL;
}

static void *stuck_argument(void *arg)
{
	(void)arg;
	stuck_result = CALL(w.slave, KVM_DEV_USER_SHADOW_CTRL, never);
	return NULL;
}

#define STUCK_START() do {							\
	const char *lacks_;							\
										\
	RIG_START();								\
	lacks_ = no_faults();							\
	if (lacks_)								\
		T_SKIP(lacks_, "CONFIG_USERFAULTFD, and root");			\
} while (0)

/* A device process that hangs in its own memory holds up neither the VMM nor a vCPU. */
static void hold_up(void *(*stuck)(void *), bool request)
{
	uint32_t id = 0;
	pthread_t t;

	if (request) {
		g_begin(0);
		g_store(0, DEVICE, 4, 1);
		g_end(0);
		T_OK(rig_run(0));
	}
	T_EQ(pthread_create(&t, NULL, stuck, NULL), 0);
	wait_for_fault();
	T_EQ(rig_range(DEVICE + 0x100000, LEN, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_range(DEVICE, LEN, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	T_EQ(rig_range(0, 0, 0, 1), 0);
	T_LE(rig_state(), RMIO_KVM_LIVE);
	T_EQ(CALL(w.master, KVM_DEV_USER_KICK, &id), 0);
	T_EQ(CALL(w.master, KVM_DEV_USER_SLAVE_FD, 0), -EBUSY);
	/* A vCPU runs out of time, and that ends the device. */
	T_EQ(rig_timeout(30000000), 0);
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0xffffffff);
	T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
	T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 0), 0);
	rig_close_master();
	vmm_vm_free(w.vm);
	w.vm = NULL;
	let_it_come();
	pthread_join(t, NULL);
	close(w.slave);
	close(fault_fd);
}

static void areas_never_come(void)
{
	STUCK_START();
	hold_up(stuck_map, false);
	T_LT(stuck_result, 0);
}

static void map_never_comes(void)
{
	STUCK_START();
	hold_up(stuck_argument, false);
	T_LT(stuck_result, 0);
}

static void buffer_never_comes(void)
{
	STUCK_START();
	hold_up(stuck_read, true);
	T_EQ(stuck_result, sizeof(struct rmio_request));
}

static void reply_never_comes(void)
{
	STUCK_START();
	hold_up(stuck_write, true);
	T_EQ(stuck_result, -1);
}

static const struct ktap_test tests[] = {
	{ "a range moves under fire", range_moves, 600 },
	{ "moved means moved", moved_means_moved, 300 },
	{ "images and maps replaced under fire", images_replaced, 600 },
	{ "signals and kicks under fire", signals_everywhere, 600 },
	{ "wrong replies under fire", wrong_replies, 600 },
	{ "two readers", two_readers, 300 },
	{ "the time limit and the reply", timeout_and_reply, 600 },
	{ "the time limit under signals", limit_under_signals },
	{ "areas in memory that does not come", areas_never_come },
	{ "a map in memory that does not come", map_never_comes },
	{ "read() into memory that does not come", buffer_never_comes },
	{ "write() from memory that does not come", reply_never_comes },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
