// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: how the wait of a vCPU ends.  By an answer, a signal, a kick, its time limit,
 * the death of the device; for a load, a synchronous store, room in the ring, an idle lane.
 */
#include "kvm_user_rig.h"

/* One of them, then a load that nothing holds up. */
static const char *start_wait(enum rig_wait kind)
{
	const char *why = rig_start_waits(1);

	if (why)
		return why;
	g_begin(0);
	g_wait(0, kind);
	g_load(0, DEVICE + 0x800, 1);
	g_end(0);
	return NULL;
}

#define START_WAIT(kind) RIG_HAVE(start_wait(kind))

static void check_answered(enum rig_wait kind)
{
	uint64_t v = w.vcpu[0].result[0];

	if (kind == WAIT_LOAD || kind == WAIT_PORT)
		T_EQ(v, RIG_FILL);
	else if (kind == WAIT_IDLE)
		T_EQ(v, 0);
	T_EQ(w.vcpu[0].exits, 0);
	T_EQ(rig_state(), RMIO_KVM_LIVE);
	if (ktap_failed())
		ktap_diag("wait for %s", rig_wait_names[kind]);
}

/* What was stored twice, or lost, would show in the device's log. */
static void check_log(enum rig_wait kind)
{
	static const unsigned int requests[] = { 2, 2, 4, 2, 2 };

	T_EQ(atomic_load(&w.n), requests[kind]);
}

static void answered(void)
{
	enum rig_wait kind;

	for (kind = 0; kind < WAITS && !ktap_failed(); kind++) {
		START_WAIT(kind);
		T_REQUIRE(rig_go(0));
		UNTIL(SLEEPS(0));
		rig_serve();
		rig_join(0);
		check_answered(kind);
		check_log(kind);
		rig_stop();
	}
}

/* -- signals ----------------------------------------------------------------------------- */

/* A signal ends the wait, not the access: KVM_RUN takes it up again, and there is one request. */
static void signals(void)
{
	long rounds = ktap_pick(20, 100, 1000), i;
	enum rig_wait kind;

	for (kind = 0; kind < WAITS && !ktap_failed(); kind++) {
		START_WAIT(kind);
		T_REQUIRE(rig_go(0));
		for (i = 0; i < rounds && !ktap_failed(); i++)
			rig_interrupt(0, true);
		T_GE(COUNT(0, interrupted), rounds);
		rig_serve();
		rig_join(0);
		check_answered(kind);
		check_log(kind);
		rig_stop();
	}
}

/* immediate_exit: nothing is waited for, and the access goes on afterwards. */
static void immediate(void)
{
	enum rig_wait kind;
	int i;

	for (kind = 0; kind < WAITS && !ktap_failed(); kind++) {
		struct vmm_vcpu *v;

		START_WAIT(kind);
		v = w.vcpu[0].v;
		vmm_vcpu_enter(v);
		T_REQUIRE(rig_reset(0));
		/* A kick in front of KVM_RUN. */
		v->run->immediate_exit = 1;
		T_EQ(CALL(v->fd, KVM_RUN, 0), -EINTR);
		T_EQ(COUNT(0, slept), 0);
		vmm_vcpu_clear_kick(v);
		for (i = 0; i < 3; i++) {
			rig_kick_wait(0);
			T_EQ(CALL(v->fd, KVM_RUN, 0), -EINTR);
			v->run->immediate_exit = 1;
			T_EQ(CALL(v->fd, KVM_RUN, 0), -EINTR);
			T_EQ(v->run->exit_reason, KVM_EXIT_INTR);
			vmm_vcpu_clear_kick(v);
		}
		rig_serve();
		T_OK(rig_resume(0));
		vmm_vcpu_leave(v);
		check_answered(kind);
		check_log(kind);
		rig_stop();
	}
}

/* The answer is there before the vCPU comes back. */
static void answered_meanwhile(void)
{
	enum rig_wait kind;

	for (kind = 0; kind < WAITS && !ktap_failed(); kind++) {
		START_WAIT(kind);
		T_REQUIRE(rig_run_to_wait(0));
		rig_serve();
		UNTIL(atomic_load(&w.n) == (kind == WAIT_ROOM ? 2 : 1));
		T_OK(rig_run_on(0));
		check_answered(kind);
		check_log(kind);
		rig_stop();
	}
}

/* -- kicks --------------------------------------------------------------------------------- */

static void kicks(void)
{
	long rounds = ktap_pick(20, 100, 1000), i;
	uint32_t ids[] = { RMIO_KVM_LANES, ~0u };
	enum rig_wait kind;

	for (kind = 0; kind < WAITS && !ktap_failed(); kind++) {
		START_WAIT(kind);
		T_REQUIRE(rig_go(0));
		for (i = 0; i < rounds && !ktap_failed(); i++)
			rig_interrupt(0, false);
		rig_serve();
		rig_join(0);
		check_answered(kind);
		check_log(kind);
		rig_stop();
	}
	RIG_START();
	for (i = 0; i < 2; i++)
		T_EQ(CALL(w.master, KVM_DEV_USER_KICK, &ids[i]), -ENOENT);
	rig_stop();
}

/* A kick for nobody waits for the next wait, and ends that one alone. */
static void kick_before(void)
{
	START_WAIT(WAIT_LOAD);
	rig_kick_wait(0);
	rig_kick_wait(0);
	T_REQUIRE(rig_go(0));
	UNTIL(atomic_load(&w.vcpu[0].interrupted) == 1 && SLEEPS(0));
	rig_serve();
	rig_join(0);
	T_EQ(atomic_load(&w.vcpu[0].interrupted), 1);
	T_EQ(COUNT(0, interrupted), 1);
	check_answered(WAIT_LOAD);
	rig_stop();
}

/* -- the time limit --------------------------------------------------------------------------- */

/* All ones, stores discarded, the device dead, and the VMM is told, once. */
static void timeouts(void)
{
	enum rig_wait kind;

	for (kind = 0; kind < WAITS && !ktap_failed(); kind++) {
		uint64_t told = 0;
		int fd = eventfd(0, EFD_NONBLOCK);

		START_WAIT(kind);
		T_EQ(CALL(w.master, KVM_DEV_USER_EVENTFD, &fd), 0);
		T_EQ(rig_timeout(30000000), 0);
		T_OK(rig_run(0));
		T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
		T_EQ(COUNT(0, timeouts), 1);
		T_EQ(read(fd, &told, sizeof(told)), sizeof(told));
		T_EQ(told, 1);
		if (rig_wait_loads(kind))
			T_EQ(w.vcpu[0].result[0], 0xffffffff);
		T_EQ(w.vcpu[0].result[rig_wait_loads(kind)], 0xff);
		T_EQ(COUNT(0, discarded), kind == WAIT_ROOM ? 3 : kind == WAIT_SYNC ||
				kind == WAIT_IDLE ? 1 : 0);
		T_EQ(w.vcpu[0].exits, 0);
		/* Nobody waits for the dead. */
		T_OK(rig_run(0));
		T_EQ(COUNT(0, timeouts), 1);
		T_EQ(read(fd, &told, sizeof(told)), -1);
		if (ktap_failed())
			ktap_diag("wait for %s", rig_wait_names[kind]);
		close(fd);
		rig_stop();
	}
}

/* Interruptions do not add to the limit, nor stretch it: it runs out all the same. */
static void timeout_in_pieces(void)
{
	enum rig_wait kind;

	for (kind = 0; kind < WAITS && !ktap_failed(); kind++) {
		START_WAIT(kind);
		T_EQ(rig_timeout(200000000), 0);
		T_REQUIRE(rig_go(0));
		while (!atomic_load(&w.vcpu[0].ended) && !ktap_failed()) {
			rig_kick(0);
			usleep(10000);
		}
		rig_join(0);
		T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
		rig_stop();
	}
}

static const char *start_loads(unsigned int vcpus)
{
	const char *why = rig_start((struct rig_opts){ .vcpus = vcpus });
	unsigned int i;

	for (i = 0; !why && i < vcpus; i++) {
		g_begin(i);
		g_load(i, DEVICE + 8 * i, 4);
		g_end(i);
	}
	return why;
}

static bool go_to_sleep(unsigned int i, uint64_t limit)
{
	T_EQ(rig_timeout(limit), 0);
	if (!rig_go(i))
		return false;
	UNTIL(SLEEPS(i));
	return true;
}

#define SECOND	1000000000ull

/* A limit that ends before another vCPU's, whatever the timer was set for before. */
static void shorter_limit(void)
{
	unsigned int i;

	/* The timer is set for an hour. */
	RIG_HAVE(start_loads(2));
	T_REQUIRE(go_to_sleep(0, 3600 * SECOND));
	T_EQ(rig_timeout(SECOND / 50), 0);
	T_REQUIRE(rig_go(1));
	for (i = 0; i < 2; i++) {
		rig_join(i);
		T_EQ(w.vcpu[i].result[0], 0xffffffff);
	}
	T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
	rig_stop();

	/* For a time at which nobody is to be woken any more, nor yet. */
	RIG_HAVE(start_loads(3));
	T_REQUIRE(go_to_sleep(2, 5 * SECOND));
	T_EQ(rig_reply(2, rig_take().seq, 3), 0);
	rig_join(2);
	T_EQ(w.vcpu[2].result[0], 3);
	T_REQUIRE(go_to_sleep(0, 3600 * SECOND));
	T_EQ(rig_timeout(7 * SECOND), 0);
	T_REQUIRE(rig_go(1));
	for (i = 0; i < 2; i++) {
		rig_join(i);
		T_EQ(w.vcpu[i].result[0], 0xffffffff);
	}
	T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
	rig_stop();
}

/* -- KVM_DEV_USER_ACCESS ------------------------------------------------------------ */

/* As the guest would: every length, both buses, the shadow, what is nobody's. */
static void accesses(void)
{
	uint64_t data;
	uint32_t *image;
	uint8_t len;

	RIG_START(.vcpus = 2);
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	image = rig_image(0x1000);
	T_REQUIRE(image);
	T_EQ(rig_map(rig_waits_map, 2), 0);
	rig_serve();
	for (len = 1; len <= 8; len++) {
		uint64_t mask = len == 8 ? ~0ull : (1ull << 8 * len) - 1;
		unsigned int first = atomic_load(&w.n), i;
		uint64_t bytes = 0;

		data = 0x8877665544332211;
		T_EQ(rig_access(1, DEVICE + 0x20, RMIO_BUS_MEM, len, true, &data), 0);
		data = 0;
		T_EQ(rig_access(1, DEVICE + 0x20, RMIO_BUS_MEM, len, false, &data), 0);
		T_EQ(data, 0x8877665544332211 & mask);
		for (i = first; i < atomic_load(&w.n); i++) {
			T_EQ(w.log[i].vcpu, 1);
			bytes += w.log[i].len;
		}
		T_EQ(bytes, 2 * len);
	}
	data = 0x1234;
	T_EQ(rig_access(0, PORT + 1, RMIO_BUS_IO, 2, true, &data), 0);
	data = 0;
	T_EQ(rig_access(0, PORT + 1, RMIO_BUS_IO, 2, false, &data), 0);
	T_EQ(data, 0x1234);
	image[0x10 / 4] = 0x600d;
	T_EQ(rig_access(0, DEVICE + 0x210, RMIO_BUS_MEM, 4, false, &data), 0);
	T_EQ(data, 0x600d);
	T_EQ(rig_access(0, DEVICE + 0x110, RMIO_BUS_MEM, 4, true, &data), 0);
	T_EQ(COUNT(0, sync), 1);
	/* Over the end, and elsewhere: not for us. */
	T_EQ(rig_access(0, DEVICE + LEN - 2, RMIO_BUS_MEM, 4, false, &data), -EOPNOTSUPP);
	T_EQ(rig_access(0, DEVICE + LEN, RMIO_BUS_MEM, 4, false, &data), -EOPNOTSUPP);
	T_EQ(rig_access(0, DEVICE - 1, RMIO_BUS_MEM, 4, false, &data), -EOPNOTSUPP);
	T_EQ(rig_access(0, PORT + PORTS, RMIO_BUS_IO, 1, false, &data), -EOPNOTSUPP);
	T_EQ(rig_access(0, PORT, RMIO_BUS_MEM, 1, false, &data), -EOPNOTSUPP);
	/* And what cannot be. */
	T_EQ(rig_access(0, DEVICE, RMIO_BUS_MEM, 0, false, &data), -EINVAL);
	T_EQ(rig_access(0, DEVICE, RMIO_BUS_MEM, 9, false, &data), -EINVAL);
	T_EQ(rig_access(0, DEVICE, 2, 4, false, &data), -EINVAL);
	T_EQ(rig_access(2, DEVICE, RMIO_BUS_MEM, 4, false, &data), -ENOENT);
	T_EQ(rig_access(~0u, DEVICE, RMIO_BUS_MEM, 4, false, &data), -ENOENT);
	T_EQ(rig_access(0x80000000, DEVICE, RMIO_BUS_MEM, 4, false, &data), -ENOENT);
	{
		struct rmio_kvm_access a = { .addr = DEVICE, .len = 4, .store = 2 };

		T_EQ(CALL(w.master, KVM_DEV_USER_ACCESS, &a), -EINVAL);
		a.store = 0;
		a.reserved = 1;
		T_EQ(CALL(w.master, KVM_DEV_USER_ACCESS, &a), -EINVAL);
	}
	rig_stop();
}

/* Interrupted and taken up again: one request. */
static void access_interrupted(void)
{
	struct rmio_request r;
	uint64_t data = 0;
	int i;

	RIG_START();
	for (i = 0; i < 5; i++) {
		rig_kick_wait(0);
		T_EQ(rig_access(0, DEVICE + 0x10, RMIO_BUS_MEM, 4, false, &data), -EINTR);
	}
	r = rig_take();
	T_EQ(r.offset, 0x10);
	T_EQ(rig_reply(0, r.seq, 0x99), 0);
	T_EQ(rig_access(0, DEVICE + 0x10, RMIO_BUS_MEM, 4, false, &data), 0);
	T_EQ(data, 0x99);
	T_EQ(rig_reply(0, r.seq + 1, 0), -ENOENT);

	/* KVM_RUN's own access is under way: it is not disturbed. */
	g_begin(0);
	g_load(0, DEVICE + 0x40, 4);
	g_end(0);
	T_REQUIRE(rig_run_to_wait(0));
	T_EQ(rig_access(0, DEVICE + 0x50, RMIO_BUS_MEM, 4, false, &data), -EBUSY);
	w.reg[0x40] = 0x4a;
	rig_serve();
	T_OK(rig_run_on(0));
	T_EQ(w.vcpu[0].result[0], 0x4a);
	rig_stop();
}

/* An access that KVM_RUN finds under way is the VMM's to give up: the guest runs on. */
static void access_then_run(void)
{
	uint64_t data = 0;

	RIG_START();
	g_begin(0);
	g_load(0, DEVICE + 0x40, 4);
	g_end(0);
	rig_kick_wait(0);
	T_EQ(rig_access(0, DEVICE + 0x10, RMIO_BUS_MEM, 4, false, &data), -EINTR);
	rig_serve();
	w.reg[0x40] = 0x4b;
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x4b);
	T_EQ(atomic_load(&w.n), 2);
	T_EQ(rig_access(0, DEVICE + 0x40, RMIO_BUS_MEM, 1, false, &data), 0);
	T_EQ(data, 0x4b);
	rig_stop();
}

struct accessor {
	pthread_t thread;
	long n;
};

static void *access_much(void *arg)
{
	struct accessor *x = arg;
	uint64_t data, got;
	long i;
	int err;

	for (i = 0; i < x->n && !ktap_failed(); i++) {
		got = data = 0x10000 + (uint64_t)i;
		do
			err = rig_access(0, DEVICE + 0x80, RMIO_BUS_MEM, 4, true, &data);
		while (err == -EBUSY || err == -EINTR);
		if (!T_EQ(err, 0))
			break;
		do
			err = rig_access(0, DEVICE + 0x80, RMIO_BUS_MEM, 4, false, &got);
		while (err == -EBUSY || err == -EINTR);
		T_EQ(err, 0);
		T_EQ(got, data);
	}
	return NULL;
}

/* Two threads for one vCPU: each access is answered with its own answer. */
static void access_beside_run(void)
{
	struct accessor x = { .n = ktap_pick(300, 1000, 10000) };
	long rounds = 0;

	RIG_START();
	rig_serve();
	memset(w.reg + 0x40, 0x33, 4);
	T_EQ(pthread_create(&x.thread, NULL, access_much, &x), 0);
	while (pthread_tryjoin_np(x.thread, NULL) && !ktap_failed()) {
		g_begin(0);
		g_store(0, DEVICE + 0x90, 4, (uint64_t)rounds);
		g_load(0, DEVICE + 0x40, 4);
		g_load(0, DEVICE + 0x90, 4);
		g_end(0);
		T_OK(rig_run(0));
		T_EQ(w.vcpu[0].result[0], 0x33333333);
		T_EQ(w.vcpu[0].result[1], rounds++);
	}
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "answered", answered },
	{ "signals", signals, 300 },
	{ "immediate_exit", immediate },
	{ "answered before it comes back", answered_meanwhile },
	{ "kicks", kicks, 300 },
	{ "a kick before the wait", kick_before },
	{ "time limit", timeouts },
	{ "time limit in pieces", timeout_in_pieces },
	{ "time limit before another's", shorter_limit, 30 },
	{ "accesses of the VMM", accesses },
	{ "accesses of the VMM, interrupted", access_interrupted },
	{ "accesses of the VMM, given up by KVM_RUN", access_then_run },
	{ "accesses of the VMM beside KVM_RUN", access_beside_run, 300 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
