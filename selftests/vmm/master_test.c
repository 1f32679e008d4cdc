// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The calls of master and slave, one after the other.
 */
#include "pair.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static void load_store(uint32_t policy)
{
	struct pair p;
	uint64_t v = 0;
	int i;

	if (!pair_init(&p, policy, 0, 0) || !pair_start(&p))
		return;
	for (i = 0; i < 1000; i++) {
		T_EQ(rmio_vcpu_store(p.vcpu[i % PAIR_VCPUS], RMIO_BUS_MEM, PAIR_ADDR + 8 * (i % 8),
				     8, 0x1122334455667788ull + i), 0);
		T_EQ(rmio_vcpu_load(p.vcpu[i % PAIR_VCPUS], RMIO_BUS_MEM, PAIR_ADDR + 8 * (i % 8),
				    8, &v), 0);
		T_EQ(v, 0x1122334455667788ull + i);
	}
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 1, &v), 0);
	T_OK(v <= 0xff);
	/* The control thread takes notice in its own time. */
	for (i = 0; i < 1000 && rmio_master_state(p.master) == RMIO_STATE_NEW; i++)
		usleep(1000);
	T_EQ(rmio_master_state(p.master), RMIO_STATE_LIVE);
	pair_exit(&p);
}

static void load_store_poll(void) { load_store(RMIO_WAIT_POLL); }
static void load_store_adaptive(void) { load_store(RMIO_WAIT_ADAPTIVE); }
static void load_store_sleep(void) { load_store(RMIO_WAIT_SLEEP); }

static void second_slave(void)
{
	struct pair p;

	if (!pair_init(&p, RMIO_WAIT_SLEEP, 0, 0))
		return;
	T_EQ(rmio_master_slave_fd(p.master), -EBUSY);
	pair_exit(&p);
}

static void ring_sizes(void)
{
	static const uint32_t bad[] = { 1, 3, 255, 65537, 131072, UINT32_MAX };
	static const uint32_t good[] = { 2, 4, 65536 };
	struct rmio_master_opts mo = { .sz = sizeof(mo) };
	struct rmio_master *m;
	struct rmio_vm *vm;
	size_t i;

	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		mo.ring_slots = bad[i];
		T_EQ(rmio_master_new(vm, &mo, &m), -EINVAL);
	}
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		mo.ring_slots = good[i];
		if (T_EQ(rmio_master_new(vm, &mo, &m), 0))
			rmio_master_free(m);
	}
	rmio_vm_free(vm);
}

static void options(void)
{
	struct {
		struct rmio_master_opts o;
		uint64_t more;
	} big = { .o = { .sz = sizeof(big) }, .more = 1 };
	struct rmio_vm_opts vo = { .sz = sizeof(vo), .flags = 0x80 };
	struct rmio_wait_opts wo = { .sz = sizeof(wo), .policy = 7 };
	struct rmio_master *m;
	struct rmio_vcpu *v, *w;
	struct rmio_vm *vm;

	T_EQ(rmio_vm_new(&vo, &vm), -EINVAL);
	vo.flags = 0;
	vo.max_vcpus = RMIO_LANES_MAX + 1;
	T_EQ(rmio_vm_new(&vo, &vm), -EINVAL);
	vo.max_vcpus = 2;
	T_REQUIRE(T_EQ(rmio_vm_new(&vo, &vm), 0));
	T_EQ(rmio_master_new(vm, &big.o, &m), -E2BIG);
	big.more = 0;
	if (T_EQ(rmio_master_new(vm, &big.o, &m), 0))
		rmio_master_free(m);
	big.o.backend = 99;
	T_EQ(rmio_master_new(vm, &big.o, &m), -ENOTSUP);
	T_EQ(rmio_vcpu_new(vm, 2, NULL, &v), -ERANGE);
	T_EQ(rmio_vcpu_new(vm, 0, &wo, &v), -EINVAL);
	if (T_EQ(rmio_vcpu_new(vm, 0, NULL, &v), 0)) {
		T_EQ(rmio_vcpu_new(vm, 0, NULL, &w), -EBUSY);
		rmio_vcpu_free(v);
	}
	rmio_vm_free(vm);
}

static void ranges(void)
{
	struct rmio_pa_range r = { .addr = PAIR_ADDR + 0x8000, .len = 0x1000, .id = 1 };
	struct rmio_pa_range wrap = { .addr = UINT64_MAX - 0xfff, .len = 0x1001, .id = 2 };
	struct rmio_pa_range top = { .addr = UINT64_MAX - 0xfff, .len = 0x1000, .id = 2 };
	struct rmio_pa_range zero = { .addr = 0, .len = 0x1000, .id = 4 };
	struct rmio_pa_range io = { .addr = 0xfff0, .len = 0x11, .bus = RMIO_BUS_IO, .id = 3 };
	struct rmio_pa_range bus = { .addr = 0x1000, .len = 8, .bus = 2, .id = 3 };
	struct rmio_pa_range id = { .addr = 0x1000, .len = 8, .id = 65536 };
	struct rmio_pa_range many = { .len = 16 };
	struct pair p;
	uint64_t v;
	int i;

	if (!pair_init(&p, RMIO_WAIT_SLEEP, 0, 0) || !pair_start(&p))
		return;
	T_EQ(rmio_master_pa_range(p.master, &r), -EEXIST);
	r.addr = PAIR_ADDR + PAIR_LEN;
	T_EQ(rmio_master_pa_range(p.master, &r), 0);
	T_EQ(rmio_master_pa_range(p.master, &wrap), -EOVERFLOW);
	T_EQ(rmio_master_pa_range(p.master, &top), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, UINT64_MAX - 7, 8, &v), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, UINT64_MAX - 2, 4, &v), 0);
	T_EQ(v >> 24, 0xffu);
	T_EQ(rmio_vm_straddled(p.vm), 1);
	/* What runs over the end does not come in at the beginning. */
	T_EQ(rmio_master_pa_range(p.master, &zero), 0);
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, 0, 4, 0x99), 0);
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, UINT64_MAX - 3, 8, 0x1122334455667788), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, 0, 4, &v), 0);
	T_EQ(v, 0x99);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, UINT64_MAX - 3, 8, &v), 0);
	T_EQ(v, 0xffffffff55667788);
	zero.len = 0;
	T_EQ(rmio_master_pa_range(p.master, &zero), 0);
	T_EQ(rmio_vm_straddled(p.vm), 3);
	T_EQ(rmio_master_pa_range(p.master, &io), -EOVERFLOW);
	io.len = 0x10;
	T_EQ(rmio_master_pa_range(p.master, &io), 0);
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_IO, 0xfff8, 4, 77), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_IO, 0xfff8, 4, &v), 0);
	T_EQ(v, 77);
	/* The same address on the other bus is nobody's. */
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, 0xfff8, 4, &v), -EOPNOTSUPP);
	T_EQ(rmio_master_pa_range(p.master, &bus), -EINVAL);
	T_EQ(rmio_master_pa_range(p.master, &id), -EINVAL);

	/* Straddling two ranges, and a range and a hole: what is inside is the device's. */
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + PAIR_LEN - 4, 4, 0x11223344), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + PAIR_LEN - 4, 8, &v), 0);
	T_EQ(v & 0xffffffff, 0x11223344);
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR - 4, 8, 0x5566778899aabbcc), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), 0);
	T_EQ(v, 0x55667788);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR - 4, 8, &v), 0);
	T_EQ(v, 0x55667788ffffffff);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR - 1, 2, &v), 0);
	T_EQ(v & 0xff, 0xff);
	T_EQ(rmio_vm_straddled(p.vm), 7);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR - 8, 8, &v), -EOPNOTSUPP);

	/* Move and remove. */
	r.addr = 0x1000;
	T_EQ(rmio_master_pa_range(p.master, &r), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + PAIR_LEN, 4, &v), -EOPNOTSUPP);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, 0x1000, 4, &v), 0);
	r.len = 0;
	T_EQ(rmio_master_pa_range(p.master, &r), 0);
	T_EQ(rmio_master_pa_range(p.master, &r), -ENOENT);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, 0x1000, 4, &v), -EOPNOTSUPP);

	for (i = 3; i < (int)RMIO_RANGES_MAX; i++) {
		many.id = 100 + i;
		many.addr = 0x100000 + 16 * i;
		T_EQ(rmio_master_pa_range(p.master, &many), 0);
	}
	many.id = 99;
	many.addr = 0x200000;
	T_EQ(rmio_master_pa_range(p.master, &many), -ENOSPC);
	pair_exit(&p);
}

/* KVM hands over what an access across a page leaves on each side: 3, 5, 6, 7 bytes. */
static void odd_lengths(void)
{
	uint64_t v;
	struct pair p;
	uint32_t len;

	if (!pair_init(&p, RMIO_WAIT_SLEEP, 0, 0) || !pair_start(&p))
		return;
	for (len = 3; len < 8; len++) {
		v = 0;
		T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 8 - len % 4, len, 0), 0);
		T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, len, &v), 0);
	}
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 0, &v), -EINVAL);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 9, &v), -EINVAL);
	/* Three bytes at the very end, of which one is outside. */
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + PAIR_LEN - 2, 3, 0x123456), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + PAIR_LEN - 2, 3, &v), 0);
	T_EQ(v, 0xff3456);
	pair_exit(&p);
}

static void bad_replies(void)
{
	struct rmio_request r[4];
	struct rmio_reply a;
	struct pair p;

	if (!pair_init(&p, RMIO_WAIT_SLEEP, 0, 0))
		return;
	a = (struct rmio_reply){ .seq = 1 };
	T_EQ(rmio_slave_write(p.slave, &a, 1), -ENOENT);
	T_EQ(rmio_vcpu_store(p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR, 4, 1), 0);
	T_EQ(rmio_vcpu_store(p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR, 4, 2), 0);
	/* Pending is not sent. */
	a.vcpu = 1;
	T_EQ(rmio_slave_write(p.slave, &a, 1), -ENOENT);
	T_EQ(rmio_slave_read(p.slave, r, 4), 2);
	T_EQ(r[0].seq, 1);
	T_EQ(r[1].data, 2);
	T_EQ(rmio_slave_read(p.slave, r, 4), -EAGAIN);
	a.seq = 3;
	T_EQ(rmio_slave_write(p.slave, &a, 1), -ENOENT);
	a.seq = 0;
	T_EQ(rmio_slave_write(p.slave, &a, 1), -ENOENT);
	a.seq = 2;
	a.vcpu = 0;
	T_EQ(rmio_slave_write(p.slave, &a, 1), -ENOENT);
	a.vcpu = PAIR_VCPUS;
	T_EQ(rmio_slave_write(p.slave, &a, 1), -EINVAL);
	a.vcpu = 1;
	a.reserved = 1;
	T_EQ(rmio_slave_write(p.slave, &a, 1), -EINVAL);
	a.reserved = 0;
	T_EQ(rmio_slave_write(p.slave, &a, 1), 1);
	T_EQ(rmio_slave_write(p.slave, &a, 1), -ENOENT);
	a.seq = 1;
	T_EQ(rmio_slave_write(p.slave, &a, 1), 1);
	T_EQ(rmio_slave_write(p.slave, &a, 1), -ENOENT);
	T_EQ(rmio_master_state(p.master) >= RMIO_STATE_CLOSED, 0);
	pair_exit(&p);
}

/* -- the end of a device, in all its ways ---------------------------------------- */

static void timeout(void)
{
	struct rmio_counters c;
	struct pair p;
	uint64_t v = 0;

	if (!pair_init(&p, RMIO_WAIT_ADAPTIVE, 4, 20000000))
		return;
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, 1), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), 0);
	T_EQ(v, 0xffffffffu);
	T_EQ(rmio_master_state(p.master), RMIO_STATE_TIMEOUT);
	T_EQ(atomic_load(&p.dead), RMIO_STATE_TIMEOUT);
	T_EQ(rmio_vcpu_load(p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR, 2, &v), 0);
	T_EQ(v, 0xffff);
	T_EQ(rmio_vcpu_store(p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR, 4, 1), 0);
	T_EQ(rmio_master_counters(p.master, -1, &c), 0);
	T_EQ(c.timeouts, 1);
	T_EQ(c.ones, 2);
	T_EQ(c.discarded, 2);
	T_EQ(rmio_master_counters(p.master, PAIR_VCPUS, &c), -ERANGE);
	T_EQ(atomic_load(&p.deaths), 1);
	pair_exit(&p);
}

static void full_and_timeout(void)
{
	struct rmio_counters c;
	struct pair p;
	int i;

	if (!pair_init(&p, RMIO_WAIT_SLEEP, 2, 20000000))
		return;
	for (i = 0; i < 3; i++)
		T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, i), 0);
	T_EQ(rmio_master_state(p.master), RMIO_STATE_TIMEOUT);
	T_EQ(rmio_master_counters(p.master, 0, &c), 0);
	T_EQ(c.full, 1);
	T_EQ(c.posted, 2);
	T_EQ(c.discarded, 3);
	pair_exit(&p);
}

static void *close_later(void *arg)
{
	struct pair *p = arg;

	usleep(20000);
	rmio_slave_free(p->slave);
	p->slave = NULL;
	return NULL;
}

static void closed_while_waiting(void)
{
	static const uint32_t policy[] = { RMIO_WAIT_POLL, RMIO_WAIT_ADAPTIVE, RMIO_WAIT_SLEEP };
	uint64_t v;
	size_t i;

	for (i = 0; i < 3; i++) {
		struct pair p;
		pthread_t t;

		if (!pair_init(&p, policy[i], 0, RMIO_TIMEOUT_NONE))
			return;
		T_EQ(pthread_create(&t, NULL, close_later, &p), 0);
		v = 0;
		T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 8, &v), 0);
		T_EQ(v, UINT64_MAX);
		T_EQ(rmio_master_state(p.master), RMIO_STATE_CLOSED);
		pthread_join(t, NULL);
		pair_exit(&p);
	}
}

static void *free_later(void *arg)
{
	struct pair *p = arg;

	usleep(20000);
	rmio_master_free(p->master);
	p->master = NULL;
	return NULL;
}

static void destroyed_while_waiting(void)
{
	struct rmio_request r;
	uint64_t v = 0;
	struct pair p;
	pthread_t t;

	if (!pair_init(&p, RMIO_WAIT_SLEEP, 0, RMIO_TIMEOUT_NONE))
		return;
	T_EQ(pthread_create(&t, NULL, free_later, &p), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), 0);
	T_EQ(v, 0xffffffffu);
	pthread_join(t, NULL);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), -EOPNOTSUPP);
	/* What was pending can still be read; then it is over. */
	T_EQ(rmio_slave_read(p.slave, &r, 1), 1);
	T_EQ(rmio_slave_poll(p.slave, 1000), -ECONNRESET);
	T_EQ(rmio_slave_read(p.slave, &r, 1), -ECONNRESET);
	pair_exit(&p);
}

/* -- interruption -------------------------------------------------------------------- */

static void *kick_later(void *arg)
{
	usleep(20000);
	rmio_vcpu_kick(((struct pair *)arg)->vcpu[0]);
	return NULL;
}

static void kicked(void)
{
	static const uint32_t policy[] = { RMIO_WAIT_POLL, RMIO_WAIT_ADAPTIVE, RMIO_WAIT_SLEEP };
	struct rmio_counters c;
	uint64_t v;
	size_t i;

	for (i = 0; i < 3; i++) {
		struct pair p;
		pthread_t t;

		if (!pair_init(&p, policy[i], 0, 0))
			return;
		p.reg[1] = 4711;
		T_EQ(pthread_create(&t, NULL, kick_later, &p), 0);
		T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 8, 8, &v), -EINTR);
		pthread_join(t, NULL);
		pair_start(&p);
		/* Taken up again, not sent again. */
		T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 8, 8, &v), 0);
		T_EQ(v, 4711);
		T_EQ(rmio_master_counters(p.master, 0, &c), 0);
		T_EQ(c.loads, 1);
		T_EQ(c.interrupted, 1);
		/* A kick before the wait ends the wait. */
		pair_stop(&p);
		rmio_vcpu_kick(p.vcpu[0]);
		T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 8, 8, &v), -EINTR);
		rmio_vcpu_cancel(p.vcpu[0]);
		pair_exit(&p);
	}
}

static void interrupted_then_destroyed(void)
{
	uint64_t v = 0;
	struct pair p;

	if (!pair_init(&p, RMIO_WAIT_SLEEP, 0, 0))
		return;
	rmio_vcpu_kick(p.vcpu[0]);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), -EINTR);
	rmio_master_free(p.master);
	p.master = NULL;
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), 0);
	T_EQ(v, 0xffffffffu);
	pair_exit(&p);
}

static void on_signal(int sig)
{
}

static void *signal_later(void *arg)
{
	usleep(20000);
	pthread_kill(*(pthread_t *)arg, SIGUSR1);
	return NULL;
}

static void signalled(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	pthread_t self = pthread_self(), t;
	struct pair p;
	uint64_t v;

	sigaction(SIGUSR1, &sa, NULL);
	if (!pair_init(&p, RMIO_WAIT_SLEEP, 0, 0))
		return;
	T_EQ(pthread_create(&t, NULL, signal_later, &self), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 8, 8, &v), -EINTR);
	pthread_join(t, NULL);
	pair_start(&p);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 8, 8, &v), 0);
	pair_exit(&p);
}

/* -- shadow and access map ----------------------------------------------------------------- */

static void shadow(void)
{
	struct rmio_area area[] = {
		{ .offset = 0x100, .length = 0x100, .shadow_offset = 0, .sizes = RMIO_SIZE_ALL,
		  .load = RMIO_LOAD_SHADOW },
		{ .offset = 0x200, .length = 8, .shadow_offset = 0x200, .sizes = RMIO_SIZE_4,
		  .load = RMIO_LOAD_SHADOW, .store = RMIO_STORE_THROUGH,
		  .flags = RMIO_AREA_RELAXED },
		{ .offset = 0x208, .length = 8, .store = RMIO_STORE_SYNC },
	};
	struct rmio_counters c;
	struct rmio_request r[8];
	struct pair p;
	uint64_t v = 0;
	size_t size;
	uint32_t *image;

	if (!pair_init(&p, RMIO_WAIT_SLEEP, 0, 0))
		return;
	T_OK(!rmio_slave_mmap(p.slave, &size));
	T_EQ(rmio_slave_shadow_ctrl(p.slave, area, 3), -ERANGE);
	T_EQ(rmio_slave_shadow_size(p.slave, RMIO_SHADOW_MAX + 1), -EFBIG);
	T_REQUIRE(T_EQ(rmio_slave_shadow_size(p.slave, 0x300), 0));
	image = rmio_slave_mmap(p.slave, &size);
	T_EQ(size, 4096);
	T_REQUIRE(T_OK(image));
	image[1] = 0xcafe;
	T_REQUIRE(T_EQ(rmio_slave_shadow_ctrl(p.slave, area, 3), 0));
	/* Nobody serves requests: what is answered comes from the shadow. */
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 0x104, 4, &v), 0);
	T_EQ(v, 0xcafe);
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 0x204, 4, 0xbeef), 0);
	T_EQ(image[0x204 / 4], 0xbeef);
	/* Relaxed: not held back by the store. */
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 0x204, 4, &v), 0);
	T_EQ(v, 0xbeef);
	/* Not relaxed: held back, for this vCPU only. */
	rmio_vcpu_kick(p.vcpu[0]);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 0x104, 4, &v), -EINTR);
	T_EQ(rmio_vcpu_load(p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR + 0x104, 4, &v), 0);
	T_EQ(rmio_slave_read(p.slave, r, 8), 1);
	T_EQ(r[0].data, 0xbeef);
	T_EQ(r[0].offset, 0x204);
	T_EQ(rmio_slave_write(p.slave, &(struct rmio_reply){ .seq = 1 }, 1), 1);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 0x104, 4, &v), 0);
	T_EQ(v, 0xcafe);
	/* A synchronous store waits. */
	rmio_vcpu_kick(p.vcpu[2]);
	T_EQ(rmio_vcpu_store(p.vcpu[2], RMIO_BUS_MEM, PAIR_ADDR + 0x208, 4, 5), -EINTR);
	T_EQ(rmio_slave_read(p.slave, r, 8), 1);
	T_EQ(r[0].op, RMIO_OP_STORE_SYNC);
	T_EQ(rmio_slave_write(p.slave, &(struct rmio_reply){ .seq = 1, .vcpu = 2 }, 1), 1);
	T_EQ(rmio_vcpu_store(p.vcpu[2], RMIO_BUS_MEM, PAIR_ADDR + 0x208, 4, 5), 0);
	T_EQ(rmio_slave_read(p.slave, r, 8), -EAGAIN);
	/* A size that the area does not have goes to the device. */
	rmio_vcpu_kick(p.vcpu[3]);
	T_EQ(rmio_vcpu_load(p.vcpu[3], RMIO_BUS_MEM, PAIR_ADDR + 0x200, 8, &v), -EINTR);
	T_EQ(rmio_slave_read(p.slave, r, 8), 1);
	T_EQ(r[0].len, 8);
	T_EQ(rmio_slave_write(p.slave, &(struct rmio_reply){ .seq = 1, .vcpu = 3, .data = 9 }, 1),
	     1);
	T_EQ(rmio_vcpu_load(p.vcpu[3], RMIO_BUS_MEM, PAIR_ADDR + 0x200, 8, &v), 0);
	T_EQ(v, 9);
	T_EQ(rmio_master_counters(p.master, -1, &c), 0);
	T_EQ(c.shadow, 4);
	T_EQ(c.ordered, 1);
	T_EQ(c.refused_size, 1);
	T_EQ(c.sync, 1);
	/* The map may not reach beyond a range, nor a range end within the map. */
	area[2].offset = PAIR_LEN - 4;
	T_EQ(rmio_slave_shadow_ctrl(p.slave, area, 3), -ERANGE);
	T_EQ(rmio_master_pa_range(p.master, &(struct rmio_pa_range){ .addr = PAIR_ADDR,
				  .len = 0x20f }), -ERANGE);
	/* No areas, no shadow: everything to the device. */
	T_EQ(rmio_slave_shadow_ctrl(p.slave, NULL, 0), 0);
	T_EQ(rmio_slave_shadow_size(p.slave, 0), 0);
	T_OK(!rmio_slave_mmap(p.slave, &size));
	rmio_vcpu_kick(p.vcpu[1]);
	T_EQ(rmio_vcpu_load(p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR + 0x104, 4, &v), -EINTR);
	pair_exit(&p);
}

/* The loop of a VMM without a control thread. */
static void manual(void)
{
	struct rmio_vm_opts vo = { .sz = sizeof(vo), .flags = RMIO_VM_MANUAL };
	struct rmio_master *m;
	struct rmio_slave *s;
	struct rmio_vm *vm;

	T_REQUIRE(T_EQ(rmio_vm_new(&vo, &vm), 0));
	T_REQUIRE(T_EQ(rmio_master_new(vm, NULL, &m), 0));
	T_REQUIRE(T_EQ(rmio_slave_open(rmio_master_slave_fd(m), NULL, &s), 0));
	T_EQ(rmio_master_state(m), RMIO_STATE_NEW);
	T_EQ(rmio_vm_dispatch(vm, 1000), 1);
	T_EQ(rmio_master_state(m), RMIO_STATE_LIVE);
	rmio_slave_free(s);
	rmio_vm_dispatch(vm, 1000);
	T_EQ(rmio_master_state(m), RMIO_STATE_CLOSED);
	rmio_master_free(m);
	rmio_vm_free(vm);
}

static void not_a_master(void)
{
	struct rmio_slave *s;
	int sv[2];

	T_EQ(rmio_slave_open(open("/dev/null", O_RDWR | O_CLOEXEC), NULL, &s), -ECONNRESET);
	T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	close(sv[1]);
	T_EQ(rmio_slave_open(sv[0], NULL, &s), -ECONNRESET);
	T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	T_EQ(send(sv[1], "hello, is this a master?", 24, 0), 24);
	T_EQ(rmio_slave_open(sv[0], NULL, &s), -EPROTO);
	close(sv[1]);
}

static const struct ktap_test tests[] = {
	{ "load and store, poll", load_store_poll },
	{ "load and store, adaptive", load_store_adaptive },
	{ "load and store, sleep", load_store_sleep },
	{ "second slave", second_slave },
	{ "ring sizes", ring_sizes },
	{ "options", options },
	{ "ranges", ranges },
	{ "odd lengths", odd_lengths },
	{ "bad replies", bad_replies },
	{ "timeout", timeout },
	{ "full ring and timeout", full_and_timeout },
	{ "closed while waiting", closed_while_waiting },
	{ "destroyed while waiting", destroyed_while_waiting },
	{ "kicked", kicked },
	{ "interrupted, then destroyed", interrupted_then_destroyed },
	{ "signalled", signalled },
	{ "shadow and access map", shadow },
	{ "manual dispatch", manual },
	{ "not a master", not_a_master },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
