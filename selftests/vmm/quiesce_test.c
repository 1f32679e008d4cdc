// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Quiesce and resume: what vCPUs stored is done, and they stay where they next come to the library.
 * On the data path, as far as a vCPU looks there anyway.
 */
#include "pair.h"

#include <linux/kvm.h>
#include <string.h>
#include <unistd.h>

#define SECOND	1000000000ull

/* One call of a vCPU in a thread of its own. */
struct caller {
	struct pair *p;
	uint32_t vcpu;
	int (*call)(struct caller *c);
	pthread_t thread;
	atomic_int result;	/* 1: it has not returned */
	uint64_t value;
	struct kvm_run *run;
};

static void *caller_main(void *arg)
{
	struct caller *c = arg;

	atomic_store(&c->result, c->call(c));
	return NULL;
}

static bool caller_start(struct caller *c)
{
	atomic_store(&c->result, 1);
	return T_EQ(pthread_create(&c->thread, NULL, caller_main, c), 0);
}

static int call_store(struct caller *c)
{
	return rmio_vcpu_store(c->p->vcpu[c->vcpu], RMIO_BUS_MEM, PAIR_ADDR + 8, 8, c->value);
}

static int call_load(struct caller *c)
{
	return rmio_vcpu_load(c->p->vcpu[c->vcpu], RMIO_BUS_MEM, PAIR_ADDR + 8, 8, &c->value);
}

static int call_exit(struct caller *c)
{
	return rmio_vcpu_exit(c->p->vcpu[c->vcpu], c->run);
}

static int call_intr(struct caller *c)
{
	return rmio_vcpu_intr(c->p->vcpu[c->vcpu], c->run);
}

static int call_enter(struct caller *c)
{
	return rmio_vcpu_enter(c->p->vcpu[c->vcpu], c->run);
}

static void stays(struct caller *c)
{
	usleep(50000);
	T_EQ(atomic_load(&c->result), 1);
}

static void returns(struct caller *c, int result)
{
	pthread_join(c->thread, NULL);
	T_EQ(atomic_load(&c->result), result);
}

static uint64_t depth(struct pair *p)
{
	struct rmio_lane_stats s = { .sz = sizeof(s) };

	T_EQ(rmio_master_lane_stats(p->master, -1, &s), 0);
	return s.depth;
}

static void *start_late(void *arg)
{
	usleep(50000);
	pair_start(arg);
	return NULL;
}

static void drains_and_parks(void)
{
	struct caller c;
	pthread_t t;
	struct pair p;
	uint64_t i;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 64, 0));
	for (i = 0; i < 40; i++)
		T_EQ(rmio_vcpu_store(p.vcpu[i % 2], RMIO_BUS_MEM, PAIR_ADDR + 8 * (i % 2), 8, i),
		     0);
	T_EQ(depth(&p), 40);
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, start_late, &p), 0));
	T_EQ(rmio_vm_quiesce(p.vm, 0, NULL), 0);
	pthread_join(t, NULL);
	T_EQ(depth(&p), 0);
	T_EQ(pair_reg(&p, 0), 38);
	T_EQ(pair_reg(&p, 1), 39);

	c = (struct caller){ .p = &p, .call = call_store, .value = 77 };
	T_REQUIRE(caller_start(&c));
	stays(&c);
	T_EQ(depth(&p), 0);
	T_EQ(pair_reg(&p, 1), 39);
	T_EQ(rmio_vm_resume(p.vm), 0);
	returns(&c, 0);
	c.call = call_load;
	c.value = 0;
	T_REQUIRE(caller_start(&c));
	returns(&c, 0);
	T_EQ(c.value, 77);
	pair_exit(&p);
}

static void too_late(void)
{
	struct rmio_master *late = NULL;
	struct pair p;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 0, 0));
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 8, 1), 0);
	T_EQ(rmio_vm_quiesce(p.vm, SECOND / 10, &late), -ETIMEDOUT);
	T_EQ(late, p.master);
	T_OK(strstr(rmio_errstr(-ETIMEDOUT), "pair"));
	/* It goes on as before. */
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 8, 2), 0);
	T_EQ(rmio_vm_resume(p.vm), -EINVAL);
	T_REQUIRE(pair_start(&p));
	T_EQ(rmio_vm_quiesce(p.vm, 0, &late), 0);
	T_EQ(late, NULL);
	T_EQ(pair_reg(&p, 0), 2);
	T_EQ(rmio_vm_resume(p.vm), 0);
	pair_exit(&p);
}

static void by_the_wrong_ones(void)
{
	uint64_t v = 0;
	struct pair p;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 0, 0) && pair_start(&p));
	T_EQ(rmio_vm_resume(p.vm), -EINVAL);
	T_EQ(rmio_vm_quiesce(p.vm, 0, NULL), 0);
	T_EQ(rmio_vm_quiesce(p.vm, 0, NULL), -EBUSY);
	/* Nobody else would resume it. */
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), -EDEADLK);
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, 5), -EDEADLK);
	T_EQ(rmio_vcpu_load(p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR + 1, 3, &v), -EDEADLK);
	T_EQ(rmio_vm_resume(p.vm), 0);
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, 6), 0);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), 0);
	T_EQ(v, 6);
	pair_exit(&p);
}

static void kicked(void)
{
	struct caller c;
	struct pair p;
	int i;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 0, 0) && pair_start(&p));
	T_EQ(rmio_vm_quiesce(p.vm, 0, NULL), 0);
	c = (struct caller){ .p = &p, .call = call_load };
	for (i = 0; i < 3; i++) {
		T_REQUIRE(caller_start(&c));
		usleep(10000);
		rmio_vcpu_kick(p.vcpu[0]);
		returns(&c, -EINTR);
	}
	/* Reset in the meantime, it is parked all the same. */
	rmio_vcpu_cancel(p.vcpu[0]);
	T_REQUIRE(caller_start(&c));
	stays(&c);
	T_EQ(rmio_vm_resume(p.vm), 0);
	returns(&c, 0);
	pair_exit(&p);
}

/* Around KVM_RUN too, whatever the exit was. */
static void around_kvm_run(void)
{
	static int (*const calls[])(struct caller *c) = { call_exit, call_intr, call_enter };
	struct kvm_run *run = aligned_alloc(4096, 8192);
	struct caller c;
	struct pair p;
	size_t i;

	T_REQUIRE(run && pair_init(&p, RMIO_WAIT_SLEEP, 0, 0) && pair_start(&p));
	memset(run, 0, 8192);
	run->exit_reason = KVM_EXIT_HLT;
	for (i = 0; i < KTAP_COUNT(calls); i++) {
		int after = calls[i] == call_exit ? -EOPNOTSUPP : 0;

		c = (struct caller){ .p = &p, .vcpu = 2, .call = calls[i], .run = run };
		T_EQ(calls[i](&c), after);
		T_EQ(rmio_vm_quiesce(p.vm, 0, NULL), 0);
		run->immediate_exit = 1;
		T_REQUIRE(caller_start(&c));
		returns(&c, -EINTR);
		run->immediate_exit = 0;
		T_REQUIRE(caller_start(&c));
		stays(&c);
		rmio_vcpu_kick(p.vcpu[2]);
		returns(&c, -EINTR);
		T_REQUIRE(caller_start(&c));
		stays(&c);
		T_EQ(rmio_vm_resume(p.vm), 0);
		returns(&c, after);
		T_EQ(calls[i](&c), after);
	}
	pair_exit(&p);
	free(run);
}

/* What was asked before is answered, without another wait. */
static void interrupted_before(void)
{
	struct caller c;
	uint64_t v = 0;
	struct pair p;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 0, 0));
	p.reg[1] = 0x1234;
	rmio_vcpu_kick(p.vcpu[0]);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 8, 8, &v), -EINTR);
	T_EQ(depth(&p), 1);
	T_REQUIRE(pair_start(&p));
	T_EQ(rmio_vm_quiesce(p.vm, 0, NULL), 0);
	T_EQ(depth(&p), 0);
	c = (struct caller){ .p = &p, .call = call_load };
	T_REQUIRE(caller_start(&c));
	returns(&c, 0);
	T_EQ(c.value, 0x1234);
	T_REQUIRE(caller_start(&c));
	stays(&c);
	T_EQ(rmio_vm_resume(p.vm), 0);
	returns(&c, 0);
	pair_exit(&p);
}

/* Nothing is done by a dead device, and nobody waits for it. */
static void dead_device(void)
{
	struct caller c;
	struct pair p;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 0, 0));
	T_EQ(rmio_vcpu_store(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 8, 1), 0);
	rmio_slave_free(p.slave);
	p.slave = NULL;
	while (rmio_master_state(p.master) != RMIO_STATE_CLOSED)
		usleep(1000);
	T_EQ(rmio_vm_quiesce(p.vm, SECOND, NULL), 0);
	c = (struct caller){ .p = &p, .call = call_load };
	T_REQUIRE(caller_start(&c));
	stays(&c);
	T_EQ(rmio_vm_resume(p.vm), 0);
	returns(&c, 0);
	T_EQ(c.value, UINT64_MAX);
	pair_exit(&p);
}

/* It dies while it is waited for. */
static void dies_meanwhile(void)
{
	struct caller c;
	struct pair p;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 0, SECOND / 5));
	c = (struct caller){ .p = &p, .call = call_load };
	T_REQUIRE(caller_start(&c));
	usleep(10000);
	T_EQ(rmio_vm_quiesce(p.vm, 0, NULL), 0);
	returns(&c, 0);
	T_EQ(c.value, UINT64_MAX);
	T_EQ(rmio_master_state(p.master), RMIO_STATE_TIMEOUT);
	T_EQ(rmio_vm_resume(p.vm), 0);
	pair_exit(&p);
}

static void made_meanwhile(void)
{
	struct caller c;
	struct pair p;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 0, 0) && pair_start(&p));
	rmio_vcpu_free(p.vcpu[3]);
	T_EQ(rmio_vm_quiesce(p.vm, 0, NULL), 0);
	T_EQ(rmio_vcpu_new(p.vm, 3, NULL, &p.vcpu[3]), 0);
	c = (struct caller){ .p = &p, .vcpu = 3, .call = call_load };
	T_REQUIRE(caller_start(&c));
	stays(&c);
	T_EQ(rmio_vm_resume(p.vm), 0);
	returns(&c, 0);
	pair_exit(&p);
}

struct busy {
	struct pair *p;
	uint32_t vcpu;
	pthread_t t;
	atomic_bool stop;
	atomic_ulong done;
};

static void *busy_main(void *arg)
{
	struct busy *b = arg;
	uint64_t i, v, at = PAIR_ADDR + 8 * b->vcpu;

	for (i = 1; !atomic_load(&b->stop); i++) {
		T_EQ(rmio_vcpu_store(b->p->vcpu[b->vcpu], RMIO_BUS_MEM, at, 8, i), 0);
		if (i % 4)
			continue;
		v = 0;
		T_EQ(rmio_vcpu_load(b->p->vcpu[b->vcpu], RMIO_BUS_MEM, at, 8, &v), 0);
		T_EQ(v, i);
		atomic_fetch_add(&b->done, 1);
	}
	return NULL;
}

/* vCPUs that do nothing else, and each time a moment in which nothing happens. */
static void busy_vcpus(void)
{
	int i, k, n = ktap_pick(30, 200, 2000);
	struct busy b[PAIR_VCPUS] = { 0 };
	uint64_t reg[PAIR_VCPUS];
	struct pair p;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 16, 0) && pair_start(&p));
	for (i = 0; i < PAIR_VCPUS; i++) {
		b[i].p = &p;
		b[i].vcpu = (uint32_t)i;
		T_REQUIRE(T_EQ(pthread_create(&b[i].t, NULL, busy_main, &b[i]), 0));
	}
	for (k = 0; k < n && !ktap_failed(); k++) {
		unsigned long done = atomic_load(&b[0].done);

		T_EQ(rmio_vm_quiesce(p.vm, 0, NULL), 0);
		T_EQ(depth(&p), 0);
		for (i = 0; i < PAIR_VCPUS; i++)
			reg[i] = pair_reg(&p, (uint32_t)i);
		usleep(500);
		T_EQ(depth(&p), 0);
		for (i = 0; i < PAIR_VCPUS; i++)
			T_EQ(pair_reg(&p, (uint32_t)i), reg[i]);
		T_EQ(rmio_vm_resume(p.vm), 0);
		while (atomic_load(&b[0].done) == done)
			usleep(20);
	}
	for (i = 0; i < PAIR_VCPUS; i++) {
		atomic_store(&b[i].stop, true);
		pthread_join(b[i].t, NULL);
	}
	pair_exit(&p);
}

static const struct ktap_test tests[] = {
	{ "drains and parks", drains_and_parks },
	{ "a device that is too late", too_late },
	{ "by the wrong ones", by_the_wrong_ones },
	{ "kicked while parked", kicked },
	{ "around KVM_RUN", around_kvm_run },
	{ "interrupted before", interrupted_before },
	{ "a dead device", dead_device },
	{ "a device that dies meanwhile", dies_meanwhile },
	{ "a vCPU made meanwhile", made_meanwhile },
	{ "busy vCPUs", busy_vcpus },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
