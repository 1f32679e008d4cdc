// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The device loop: what it waits for, how it spins and sleeps, who gets a turn.
 */
#include "dev_thread.h"
#include "device/loop.h"
#include "null.h"

#include <liburing.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define AT(i)	(0xe0000000ull + (uint64_t)(i) * NULL_BAR_SIZE)

/* -- options and ends --------------------------------------------------------------- */

static void options(void)
{
	struct rmio_loop_opts o = { .sz = sizeof(o) };
	struct rmio_loop *l;

	T_EQ(rmio_loop_new(NULL, &l), 0);
	rmio_loop_free(l);
	o.reserved = 1;
	T_EQ(rmio_loop_new(&o, &l), -EINVAL);
	o.reserved = 0;
	o.wait = (struct rmio_wait_opts){ .sz = sizeof(o.wait), .policy = 9 };
	T_EQ(rmio_loop_new(&o, &l), -EINVAL);
	o.wait = (struct rmio_wait_opts){ .sz = 0 };
	o.entries = 1 << 20;
	T_EQ(rmio_loop_new(&o, &l), -EINVAL);
	o.entries = 1;
	T_EQ(rmio_loop_new(&o, &l), 0);
	rmio_loop_free(l);
	rmio_loop_free(NULL);
}

static void stop(void)
{
	struct dev_thread d;
	int i;

	T_REQUIRE(dev_thread_new(&d, RMIO_WAIT_SLEEP));
	T_REQUIRE(dev_thread_start(&d));
	dev_thread_stop(&d);
	rmio_loop_free(d.loop);

	/* before it runs, and more than once */
	T_REQUIRE(dev_thread_new(&d, RMIO_WAIT_POLL));
	for (i = 0; i < 3; i++)
		rmio_loop_stop(d.loop);
	T_REQUIRE(dev_thread_start(&d));
	dev_thread_join(&d);
	rmio_loop_free(d.loop);
}

static void run_twice(void)
{
	struct rmio_loop *l;
	int i;

	T_REQUIRE(T_EQ(rmio_loop_new(NULL, &l), 0));
	for (i = 0; i < 3; i++) {
		rmio_loop_stop(l);
		T_EQ(rmio_loop_run(l), 0);
	}
	rmio_loop_free(l);
}

/* -- timers ----------------------------------------------------------------------------- */

struct tick {
	struct rmio_timer t;
	struct rmio_loop *loop;
	struct tick *cancels;
	int *order, nr;
	bool last;
};

static void on_tick(struct rmio_timer *t)
{
	struct tick *k = (struct tick *)t;

	*k->order = *k->order * 10 + k->nr;
	if (k->cancels)
		rmio_timer_cancel(k->loop, &k->cancels->t);
	if (k->last)
		rmio_loop_stop(k->loop);
}

static void timers(void)
{
	static const uint64_t after[] = { 300000000, 100000000, 0, 200000000, 400000000 };
	struct tick k[5];
	struct rmio_loop *l;
	int order = 0, i;

	T_REQUIRE(T_EQ(rmio_loop_new(NULL, &l), 0));
	for (i = 0; i < 5; i++) {
		k[i] = (struct tick){ .t.fire = on_tick, .loop = l, .order = &order, .nr = i + 1 };
		rmio_timer_arm(l, &k[i].t, 1000000000);
		rmio_timer_arm(l, &k[i].t, after[i]);	/* again: replaces */
	}
	k[1].cancels = &k[3];
	k[4].last = true;
	T_EQ(rmio_loop_run(l), 0);
	T_EQ(order, 3215);
	rmio_timer_cancel(l, &k[0].t);			/* not armed: nothing */
	rmio_loop_free(l);
}

/* -- lanes --------------------------------------------------------------------------------- */

struct vm1 {
	struct dev_thread d;
	struct rmio_vm *vm;
	struct rmio_vcpu *vcpu;
	struct rmio_dev *dev[64];
	struct rmio_master *m[64];
	int n;
};

static bool vm1_new(struct vm1 *v, enum rmio_wait_policy policy, int n)
{
	int i;

	memset(v, 0, sizeof(*v));
	if (!dev_thread_new(&v->d, policy) || !T_EQ(rmio_vm_new(NULL, &v->vm), 0) ||
	    !T_EQ(rmio_vcpu_new(v->vm, 0, NULL, &v->vcpu), 0))
		return false;
	for (i = 0; i < n; i++) {
		v->dev[i] = dev_thread_add(&v->d, "null");
		v->m[i] = dev_thread_master(v->vm, v->dev[i], AT(i), NULL_BAR_SIZE);
		if (!v->m[i])
			return false;
	}
	v->n = n;
	return true;
}

/* The masters go, so the loop ends by itself. */
static void vm1_free(struct vm1 *v)
{
	int i;

	for (i = 0; i < v->n; i++)
		if (v->m[i])
			rmio_master_free(v->m[i]);
	dev_thread_join(&v->d);
	for (i = 0; i < v->n; i++)
		device_free(v->dev[i]);
	rmio_loop_free(v->d.loop);
	rmio_vcpu_free(v->vcpu);
	rmio_vm_free(v->vm);
}

static void traffic(struct vm1 *v, int i, int rounds)
{
	uint64_t before = vcpu_load(v->vcpu, AT(i) + NULL_STORES, 8);
	int k;

	for (k = 0; k < rounds; k++) {
		vcpu_store(v->vcpu, AT(i) + NULL_SCRATCH, 8, k * 3);
		vcpu_store(v->vcpu, AT(i) + NULL_SYNC, 4, k);
		if (!T_EQ(vcpu_load(v->vcpu, AT(i) + NULL_SCRATCH, 8), k * 3))
			break;
	}
	T_EQ(vcpu_load(v->vcpu, AT(i) + NULL_STORES, 8), before + 2 * (uint64_t)rounds);
}

static void lanes(enum rmio_wait_policy policy, bool sock, int devices)
{
	struct vm1 v;
	int i, k;

	T_REQUIRE(vm1_new(&v, policy, 0));
	if (sock)
		v.d.loop->futex = false;
	for (i = 0; i < devices; i++) {
		v.dev[i] = dev_thread_add(&v.d, "null");
		v.m[i] = dev_thread_master(v.vm, v.dev[i], AT(i), NULL_BAR_SIZE);
		T_REQUIRE(v.m[i]);
	}
	v.n = devices;
	T_REQUIRE(dev_thread_start(&v.d));
	for (k = 0; k < 3; k++) {
		for (i = 0; i < devices; i++)
			traffic(&v, i, (int)ktap_pick(20, 100, 1000));
		/* long enough that an adaptive loop gives up spinning */
		usleep(20000);
	}
	vm1_free(&v);
}

static void lanes_sleep(void)
{
	lanes(RMIO_WAIT_SLEEP, false, 1);
}

static void lanes_sleep_sock(void)
{
	lanes(RMIO_WAIT_SLEEP, true, 2);
}

static void lanes_adaptive(void)
{
	lanes(RMIO_WAIT_ADAPTIVE, false, 2);
}

static void lanes_poll(void)
{
	lanes(RMIO_WAIT_POLL, false, 2);
}

static void lanes_many(void)
{
	lanes(RMIO_WAIT_ADAPTIVE, false, 64);
}

static void lanes_many_poll(void)
{
	lanes(RMIO_WAIT_POLL, false, 64);
}

static void lanes_many_sock(void)
{
	lanes(RMIO_WAIT_POLL, true, 64);
}

/*
 * Devices asked in any order after any pause, so that they are caught in each
 * state between looked at and asleep: a lost wake-up is a load that times out.
 */
static void wakes(enum rmio_wait_policy policy, bool sock)
{
	long rounds = ktap_pick(2000, 10000, 500000), k;
	long long end = ktap_now_ms() + ktap_pick(3000, 8000, 40000);
	unsigned int seed = 7;
	struct vm1 v;
	int i, pause;

	T_REQUIRE(vm1_new(&v, policy, 0));
	if (sock)
		v.d.loop->futex = false;
	for (i = 0; i < 24; i++) {
		v.dev[i] = dev_thread_add(&v.d, "null");
		v.m[i] = dev_thread_master(v.vm, v.dev[i], AT(i), NULL_BAR_SIZE);
		T_REQUIRE(v.m[i]);
	}
	v.n = 24;
	T_REQUIRE(dev_thread_start(&v.d));
	for (k = 0; k < rounds && !ktap_failed() && ktap_now_ms() < end; k++) {
		i = rand_r(&seed) % v.n;
		T_EQ(vcpu_load(v.vcpu, AT(i), 4), NULL_MAGIC_VALUE);
		pause = rand_r(&seed) % 4 ? 0 : rand_r(&seed) % 20000;
		while (pause--)
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
	}
	ktap_diag("%ld loads", k);
	vm1_free(&v);
}

static void wakes_poll(void)
{
	wakes(RMIO_WAIT_POLL, false);
}

static void wakes_poll_sock(void)
{
	wakes(RMIO_WAIT_POLL, true);
}

static void wakes_adaptive(void)
{
	wakes(RMIO_WAIT_ADAPTIVE, false);
}

static void wakes_sleep(void)
{
	wakes(RMIO_WAIT_SLEEP, false);
}

/* -- sleeping ------------------------------------------------------------------------------- */

struct usage {
	struct rmio_timer t;
	struct rmio_loop *loop;
	long switches[2];
	int n;
};

/* Context switches of the loop's thread: it reads them itself, at two wake-ups. */
static void read_usage(struct rmio_timer *t)
{
	struct usage *u = (struct usage *)t;
	struct rusage r;

	getrusage(RUSAGE_THREAD, &r);
	u->switches[u->n++] = r.ru_nvcsw;
	if (u->n < 2)
		rmio_timer_arm(u->loop, t, 500000000);
}

/* With devices attached and nothing to do, it sleeps until the next timer, in one go. */
static void idle(enum rmio_wait_policy policy)
{
	struct usage u = { .t.fire = read_usage };
	struct vm1 v;

	T_REQUIRE(vm1_new(&v, policy, 3));
	u.loop = v.d.loop;
	rmio_timer_arm(v.d.loop, &u.t, 1000000000);
	T_REQUIRE(dev_thread_start(&v.d));
	traffic(&v, 0, 10);
	traffic(&v, 2, 10);
	usleep(1700000);
	vm1_free(&v);
	T_REQUIRE(T_EQ(u.n, 2));
	T_EQ(u.switches[1] - u.switches[0], 1);
}

static void idle_sleep(void)
{
	idle(RMIO_WAIT_SLEEP);
}

static void idle_adaptive(void)
{
	idle(RMIO_WAIT_ADAPTIVE);
}

/* -- placement ------------------------------------------------------------------------------ */

static bool pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/* The loop's thread follows the vCPU from CPU to CPU, and is free again at the end. */
static void same_cpu(void)
{
	struct rmio_loop_opts opts = {
		.sz = sizeof(opts),
		.wait = { .sz = sizeof(opts.wait), .placement = RMIO_PLACE_SAME_CPU },
	};
	cpu_set_t all, now;
	int cpus[2], n = 0, i;
	struct vm1 v;

	T_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
	for (i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &all))
			cpus[n++] = i;
	if (n < 2)
		T_SKIP("one CPU only", "run with two CPUs or more");
	memset(&v, 0, sizeof(v));
	T_REQUIRE(T_EQ(rmio_loop_new(&opts, &v.d.loop), 0));
	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &v.vm), 0));
	T_REQUIRE(T_EQ(rmio_vcpu_new(v.vm, 0, &opts.wait, &v.vcpu), 0));
	v.dev[0] = dev_thread_add(&v.d, "null");
	v.m[0] = dev_thread_master(v.vm, v.dev[0], AT(0), NULL_BAR_SIZE);
	v.n = 1;
	T_REQUIRE(v.m[0] && dev_thread_start(&v.d));
	for (i = 0; i < 6; i++) {
		long long end = ktap_now_ms() + 20000;

		T_OK(pin_to(cpus[i % 2]));
		do {
			traffic(&v, 0, 10);
			T_EQ(pthread_getaffinity_np(v.d.thread, sizeof(now), &now), 0);
		} while ((CPU_COUNT(&now) != 1 || !CPU_ISSET(cpus[i % 2], &now)) &&
			 ktap_now_ms() < end && !ktap_failed());
		T_EQ(CPU_COUNT(&now), 1);
		T_OK(CPU_ISSET(cpus[i % 2], &now));
	}
	vm1_free(&v);
}

/* -- turns ------------------------------------------------------------------------------------ */

struct flood {
	struct rmio_vm *vm;
	uint64_t addr;
	uint32_t stop;
};

static void *flood_main(void *arg)
{
	struct flood *f = arg;
	struct rmio_vcpu *vcpu;

	if (!T_EQ(rmio_vcpu_new(f->vm, 1, NULL, &vcpu), 0))
		return NULL;
	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED))
		rmio_vcpu_store(vcpu, RMIO_BUS_MEM, f->addr, 4, 1);
	rmio_vcpu_free(vcpu);
	return NULL;
}

struct count {
	struct rmio_timer t;
	struct rmio_loop *loop;
	uint32_t n;
};

static void count(struct rmio_timer *t)
{
	struct count *c = (struct count *)t;

	__atomic_fetch_add(&c->n, 1, __ATOMIC_RELAXED);
	rmio_timer_arm(c->loop, t, 100000);
}

static void flood(void)
{
	struct count c = { .t.fire = count };
	struct flood f = { .addr = AT(0) + NULL_DOORBELL };
	pthread_t thread;
	struct vm1 v;
	uint32_t n;

	T_REQUIRE(vm1_new(&v, RMIO_WAIT_ADAPTIVE, 2));
	c.loop = v.d.loop;
	rmio_timer_arm(v.d.loop, &c.t, 0);
	f.vm = v.vm;
	T_REQUIRE(dev_thread_start(&v.d));
	T_REQUIRE(T_EQ(pthread_create(&thread, NULL, flood_main, &f), 0));
	/* the flooded device's other lane, the other device, a timer: all go on */
	n = __atomic_load_n(&c.n, __ATOMIC_RELAXED);
	traffic(&v, 1, 200);
	T_EQ(vcpu_load(v.vcpu, AT(0), 4), NULL_MAGIC_VALUE);
	while (__atomic_load_n(&c.n, __ATOMIC_RELAXED) < n + 10)
		usleep(1000);
	__atomic_store_n(&f.stop, 1, __ATOMIC_RELAXED);
	T_EQ(pthread_join(thread, NULL), 0);
	vm1_free(&v);
}

/* -- going away -------------------------------------------------------------------------------- */

/* Masters end one by one in mid-traffic; the others do not notice. */
static void leave(void)
{
	struct vm1 v;
	int i;

	T_REQUIRE(vm1_new(&v, RMIO_WAIT_SLEEP, 8));
	T_REQUIRE(dev_thread_start(&v.d));
	for (i = 0; i < 8; i++) {
		if (i < 7)
			traffic(&v, 7, 20);
		vcpu_store(v.vcpu, AT(i) + NULL_DOORBELL, 4, 1);
		rmio_master_free(v.m[i]);
		v.m[i] = NULL;
	}
	vm1_free(&v);
}

/* A loop that spins notices its sockets before there ever was a request. */
static void leave_unused(void)
{
	struct vm1 v;

	T_REQUIRE(vm1_new(&v, RMIO_WAIT_POLL, 2));
	T_REQUIRE(dev_thread_start(&v.d));
	usleep(20000);
	vm1_free(&v);
}

/* The devices are freed while their bells are armed and their peers are there. */
static void free_first(void)
{
	uint64_t ones = 0;
	struct vm1 v;
	int i;

	T_REQUIRE(vm1_new(&v, RMIO_WAIT_SLEEP, 4));
	T_REQUIRE(dev_thread_start(&v.d));
	for (i = 0; i < 4; i++)
		traffic(&v, i, 5);
	dev_thread_stop(&v.d);
	for (i = 0; i < 4; i++)
		device_free(v.dev[i]);
	rmio_loop_free(v.d.loop);
	for (i = 0; i < 4; i++) {
		T_EQ(rmio_vcpu_load(v.vcpu, RMIO_BUS_MEM, AT(i), 4, &ones), 0);
		T_EQ(ones, 0xffffffff);
		rmio_master_free(v.m[i]);
	}
	rmio_vcpu_free(v.vcpu);
	rmio_vm_free(v.vm);
}

static const struct ktap_test tests[] = {
	{ "options", options },
	{ "stop", stop },
	{ "run again", run_twice },
	{ "timers", timers },
	{ "lanes, sleep", lanes_sleep },
	{ "lanes, sleep, bell by message", lanes_sleep_sock },
	{ "lanes, adaptive", lanes_adaptive },
	{ "lanes, poll", lanes_poll },
	{ "lanes of 64 devices, adaptive", lanes_many },
	{ "lanes of 64 devices, poll", lanes_many_poll },
	{ "lanes of 64 devices, poll, bell by message", lanes_many_sock },
	{ "wakes of many devices, poll", wakes_poll },
	{ "wakes of many devices, poll, bell by message", wakes_poll_sock },
	{ "wakes of many devices, adaptive", wakes_adaptive },
	{ "wakes of many devices, sleep", wakes_sleep },
	{ "idle, sleep", idle_sleep },
	{ "idle, adaptive", idle_adaptive },
	{ "placement same-cpu", same_cpu },
	{ "flood", flood },
	{ "masters leave in turn", leave },
	{ "masters leave unused", leave_unused },
	{ "devices freed before masters", free_first },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
