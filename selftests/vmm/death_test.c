// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device process that dies at each step of an access, is stopped, or is slow:
 * the vCPU goes on, what happened before the end counts, what did not is all ones
 * or discarded, and all of it is counted.  With the control thread, and without
 * anybody who serves the slave descriptor.
 */
#include "devproc.h"
#include "pair.h"
#include "wake.h"

#include <rmio/slave.h>

/* Where the device process waits to be killed. */
enum step {
	NOWHERE,
	PENDING,	/* the request is in the ring */
	POPPED,		/* taken */
	DATA,		/* handled; a load's data is in the reply slot */
	REPLY,		/* the reply is published, the request not complete */
	DONE,		/* complete, nobody woken */
	WOKEN,
	STEPS
};

static const char *const step_name[] = {
	"nowhere", "pending", "popped", "data", "reply", "done", "woken",
};

static const uint32_t policies[] = { RMIO_WAIT_SLEEP, RMIO_WAIT_POLL, RMIO_WAIT_ADAPTIVE };

/* Shared with the device process. */
struct stage {
	_Atomic uint32_t at;		/* step at which to stop for ever */
	_Atomic uint64_t after;		/* requests before that one */
	_Atomic uint32_t reached;
	_Atomic uint64_t handled;
	_Atomic uint64_t completed;
	_Atomic uint32_t delay_us;	/* for each request */
	_Atomic uint32_t hold;		/* leave the rings alone */
	_Atomic int32_t result;		/* of what the device process does once */
};

static struct stage *new_stage(void)
{
	struct stage *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			       -1, 0);

	return s == MAP_FAILED ? NULL : s;
}

#define ANSWER(offset) (0xa5000000u | (uint32_t)(offset))

/* -- the device: every step by hand -------------------------------------------------------- */

static void checkpoint(struct stage *s, uint64_t nr, enum step step)
{
	if (atomic_load(&s->at) != step || atomic_load(&s->after) != nr)
		return;
	atomic_store(&s->reached, 1);
	for (;;)
		pause();
}

static void handle(struct stage *s, uint64_t nr, struct rmio_cons *c)
{
	struct rmio_answer answer = { 0 };
	struct rmio_request r;

	checkpoint(s, nr, PENDING);
	if (rmio_cons_pop(c, &r, 1) != 1)
		_exit(2);
	checkpoint(s, nr, POPPED);
	atomic_fetch_add(&s->handled, 1);
	if (r.op == RMIO_OP_STORE) {
		checkpoint(s, nr, DATA);
		checkpoint(s, nr, REPLY);	/* it has none */
		rmio_cons_complete(c, 1);
	} else {
		__atomic_store_n(&c->up->reply_data, ANSWER(r.offset), __ATOMIC_RELAXED);
		checkpoint(s, nr, DATA);
		__atomic_store_n(&c->up->reply_seq, r.seq, __ATOMIC_RELEASE);
		checkpoint(s, nr, REPLY);
		rmio_cons_complete(c, 1);
	}
	atomic_fetch_add(&s->completed, 1);
	checkpoint(s, nr, DONE);
	rmio_lane_wake(c, &answer);
	checkpoint(s, nr, WOKEN);
}

#define SYNC	0x800u		/* stores here are synchronous */
#define SHADOW	0x1000u		/* loads here come from the shadow, if there is one */

static void stepping_device(int sock, void *arg)
{
	static const struct rmio_area area = {
		.offset = SYNC, .length = 0x100, .store = RMIO_STORE_SYNC,
	};
	struct rmio_chan_hdr h = {
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION,
		.type = RMIO_CHAN_SHADOW_CTRL, .value = 1,
	};
	int fds[RMIO_CHAN_FDS];
	size_t nfds;
	struct stage *s = arg;
	struct rmio_cons c[PAIR_VCPUS];
	struct raw r;
	uint64_t nr = 0;
	uint32_t i;

	if (!raw_open(&r, devproc_take(sock)))
		_exit(2);
	for (i = 0; i < r.lanes; i++)
		if (!raw_cons(&r, i, &c[i]))
			_exit(2);
	if (rmio_chan_send(r.chan, &h, &area, sizeof(area), NULL, 0))
		_exit(2);
	while (rmio_chan_recv(r.chan, &h, NULL, 0, fds, &nfds) == -EAGAIN)
		usleep(100);
	atomic_store(&s->result, h.error ? h.error : 1);
	for (;;) {
		for (i = 0; i < r.lanes; i++)
			while (!atomic_load(&s->hold) && rmio_cons_pending(&c[i]))
				handle(s, nr++, &c[i]);
		usleep(20);
	}
}

/* -- the device: the library's ---------------------------------------------------------------- */

static void library_device(int sock, void *arg)
{
	static const struct rmio_area area = {
		.offset = SHADOW, .length = 0x1000, .sizes = RMIO_SIZE_ALL,
		.load = RMIO_LOAD_SHADOW,
	};
	struct stage *s = arg;
	struct rmio_slave *slave;
	struct rmio_request r;
	ssize_t n;
	int err;

	err = rmio_slave_open(devproc_take(sock), NULL, &slave);
	if (!err)
		err = rmio_slave_shadow_size(slave, 0x1000);
	if (!err)
		err = rmio_slave_shadow_ctrl(slave, &area, 1);
	atomic_store(&s->result, err ? err : 1);
	while (!err) {
		if (atomic_load(&s->hold)) {
			usleep(1000);
			continue;
		}
		n = rmio_slave_read(slave, &r, 1);
		if (n == -EAGAIN) {
			rmio_slave_poll(slave, 20);
			continue;
		}
		if (n != 1)
			_exit(n == -ECONNRESET ? 0 : 3);
		usleep(atomic_load(&s->delay_us));
		atomic_fetch_add(&s->handled, 1);
		rmio_slave_write(slave, &(struct rmio_reply){
			.seq = r.seq, .vcpu = r.vcpu, .data = ANSWER(r.offset) }, 1);
	}
	_exit(3);
}

/* -- the VM ------------------------------------------------------------------------------------ */

struct rig {
	struct pair p;
	struct devproc d;
	struct stage *stage;
};

/* The process first: with one thread only. */
static bool rig_init(struct rig *g, void (*device)(int, void *), uint32_t policy, uint32_t slots,
		     uint32_t flags, uint64_t timeout_ns)
{
	struct rmio_vm_opts vo = {
		.sz = sizeof(vo), .max_vcpus = PAIR_VCPUS, .flags = flags, .dead = pair_dead,
		.arg = &g->p,
	};
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .ring_slots = slots, .timeout_ns = timeout_ns,
	};
	struct rmio_wait_opts wait = { .sz = sizeof(wait), .policy = policy };
	struct rmio_pa_range range = { .addr = PAIR_ADDR, .len = PAIR_LEN };
	int i;

	memset(&g->p, 0, sizeof(g->p));
	if (!g->stage)
		g->stage = new_stage();
	if (!T_OK(g->stage))
		return false;
	if (!devproc_start(&g->d, device, g->stage) ||
	    !T_EQ(rmio_vm_new(&vo, &g->p.vm), 0) ||
	    !T_EQ(rmio_master_new(g->p.vm, &mo, &g->p.master), 0) ||
	    !T_EQ(rmio_master_pa_range(g->p.master, &range), 0))
		return false;
	for (i = 0; i < PAIR_VCPUS; i++)
		if (!T_EQ(rmio_vcpu_new(g->p.vm, (uint32_t)i, &wait, &g->p.vcpu[i]), 0))
			return false;
	if (!devproc_give(&g->d, rmio_master_slave_fd(g->p.master)))
		return false;
	/* From then on nobody serves the slave descriptor of a VM without control thread. */
	while (!atomic_load(&g->stage->result))
		if (flags & RMIO_VM_MANUAL)
			rmio_vm_dispatch(g->p.vm, 1);
		else
			usleep(100);
	return T_EQ(atomic_load(&g->stage->result), 1);
}

static void rig_exit(struct rig *g)
{
	rmio_master_free(g->p.master);
	T_LE(atomic_load(&g->p.deaths), 1);
	for (int i = 0; i < PAIR_VCPUS; i++)
		rmio_vcpu_free(g->p.vcpu[i]);
	rmio_vm_free(g->p.vm);
	munmap(g->stage, sizeof(*g->stage));
	g->stage = NULL;
}

static bool wait_word(_Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load(word) != value)
		usleep(50);
	return true;
}

static void wait_handled(struct stage *s, uint64_t n)
{
	while (atomic_load(&s->handled) < n)
		usleep(200);
}

static void wait_state(struct rmio_master *m, enum rmio_state state)
{
	while (rmio_master_state(m) != state)
		usleep(200);
}

/* -- killed at each step ----------------------------------------------------------------------- */

static void *kill_when_reached(void *arg)
{
	struct rig *g = arg;

	wait_word(&g->stage->reached, 1);
	devproc_kill(&g->d);
	return NULL;
}

/* A device that is gone: all ones and discarded, from then on, and counted. */
static void check_dead(struct rig *g, uint64_t ones, uint64_t discarded)
{
	struct rmio_counters c;
	uint64_t v = 0;

	T_EQ(rmio_vcpu_load(g->p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 8, 2, &v), 0);
	T_EQ(v, 0xffff);
	T_EQ(rmio_vcpu_store(g->p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, 1), 0);
	T_EQ(rmio_master_state(g->p.master), RMIO_STATE_CLOSED);
	T_EQ(rmio_master_counters(g->p.master, -1, &c), 0);
	T_EQ(c.ones, ones + 1);
	T_EQ(c.discarded, discarded + 1);
	T_EQ(c.timeouts, 0);
	/* The control thread may be about to say it. */
	while (!atomic_load(&g->p.deaths))
		usleep(100);
}

static void die_in_load(enum step step, uint32_t policy, uint32_t flags)
{
	bool answered = step >= REPLY;
	struct rig g = { .stage = new_stage() };
	uint64_t v = 0;
	pthread_t t;

	T_REQUIRE(T_OK(g.stage));
	atomic_store(&g.stage->at, step);
	T_REQUIRE(rig_init(&g, stepping_device, policy, 8, flags, RMIO_TIMEOUT_NONE));
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, kill_when_reached, &g), 0));
	T_EQ(rmio_vcpu_load(g.p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 0x40, 4, &v), 0);
	T_EQ(v, answered ? ANSWER(0x40) : 0xffffffffu);
	pthread_join(t, NULL);
	devproc_wait(&g.d);
	/* Without a control thread, the next to wait notices. */
	if (!(flags & RMIO_VM_MANUAL))
		wait_state(g.p.master, RMIO_STATE_CLOSED);
	else if (answered)
		T_EQ(rmio_vcpu_load(g.p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), 0);
	check_dead(&g, answered ? !!(flags & RMIO_VM_MANUAL) : 1, 0);
	rig_exit(&g);
}

static void die_in_sync_store(enum step step, uint32_t policy, uint32_t flags)
{
	bool answered = step >= REPLY;
	struct rig g = { .stage = new_stage() };
	uint64_t v;
	pthread_t t;

	T_REQUIRE(T_OK(g.stage));
	atomic_store(&g.stage->at, step);
	T_REQUIRE(rig_init(&g, stepping_device, policy, 8, flags, RMIO_TIMEOUT_NONE));
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, kill_when_reached, &g), 0));
	T_EQ(rmio_vcpu_store(g.p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + SYNC, 4, 7), 0);
	pthread_join(t, NULL);
	devproc_wait(&g.d);
	T_EQ(rmio_vcpu_load(g.p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), 0);
	T_EQ(v, 0xffffffffu);
	check_dead(&g, 1, answered ? 0 : 1);
	rig_exit(&g);
}

#define STORES 6

static void die_in_posted_store(enum step step, uint32_t policy, uint32_t flags)
{
	struct rig g = { .stage = new_stage() };
	struct rmio_counters c;
	uint64_t v;
	int i;

	T_REQUIRE(T_OK(g.stage));
	atomic_store(&g.stage->at, step);
	atomic_store(&g.stage->after, STORES / 2);
	T_REQUIRE(rig_init(&g, stepping_device, policy, 8, flags, RMIO_TIMEOUT_NONE));
	for (i = 0; i < STORES; i++)
		T_EQ(rmio_vcpu_store(g.p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, (uint64_t)i), 0);
	wait_word(&g.stage->reached, 1);
	devproc_kill(&g.d);
	devproc_wait(&g.d);
	if (!(flags & RMIO_VM_MANUAL))
		wait_state(g.p.master, RMIO_STATE_CLOSED);
	T_EQ(rmio_vcpu_load(g.p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), 0);
	T_EQ(v, 0xffffffffu);
	T_EQ(rmio_master_counters(g.p.master, 0, &c), 0);
	T_EQ(c.posted, STORES);
	/* Handled is not enough: who died before saying so may not have finished. */
	T_EQ(atomic_load(&g.stage->handled), STORES / 2 + (step > POPPED));
	T_EQ(c.discarded, STORES / 2 - (step >= DONE));
	check_dead(&g, 1, STORES - atomic_load(&g.stage->completed));
	rig_exit(&g);
}

static void each(void (*die)(enum step, uint32_t, uint32_t), uint32_t flags)
{
	size_t policy, policies_nr = (size_t)ktap_pick(1, 3, 3);
	int step;

	for (policy = 0; policy < policies_nr; policy++)
		for (step = PENDING; step < STEPS && !ktap_failed(); step++) {
			die((enum step)step, policies[policy], flags);
			if (ktap_failed())
				T_FAIL("policy %u, step %s", policies[policy], step_name[step]);
		}
}

static void load_thread(void)
{
	each(die_in_load, 0);
}

static void load_manual(void)
{
	each(die_in_load, RMIO_VM_MANUAL);
}

static void sync_thread(void)
{
	each(die_in_sync_store, 0);
}

static void sync_manual(void)
{
	each(die_in_sync_store, RMIO_VM_MANUAL);
}

static void posted_thread(void)
{
	each(die_in_posted_store, 0);
}

static void posted_manual(void)
{
	each(die_in_posted_store, RMIO_VM_MANUAL);
}

/* Nobody serves the slave and no vCPU waits: the VMM is told when a vCPU goes. */
static void told_at_last(void)
{
	struct rig g = { .stage = new_stage() };

	T_REQUIRE(T_OK(g.stage));
	T_REQUIRE(rig_init(&g, library_device, RMIO_WAIT_SLEEP, 4, RMIO_VM_MANUAL,
			   RMIO_TIMEOUT_NONE));
	devproc_kill(&g.d);
	devproc_wait(&g.d);
	T_EQ(atomic_load(&g.p.deaths), 0);
	rmio_vcpu_free(g.p.vcpu[0]);
	g.p.vcpu[0] = NULL;
	T_EQ(atomic_load(&g.p.deaths), 1);
	T_EQ(rmio_master_state(g.p.master), RMIO_STATE_CLOSED);
	rmio_vcpu_free(g.p.vcpu[1]);
	g.p.vcpu[1] = NULL;
	T_EQ(atomic_load(&g.p.deaths), 1);
	rig_exit(&g);
}

/* -- killed with vCPUs waiting for everything there is to wait for ----------------------------- */

struct waiter {
	struct rig *g;
	pthread_t t;
	uint64_t value;
};

static void *wait_for_reply(void *arg)
{
	struct waiter *w = arg;

	T_EQ(rmio_vcpu_load(w->g->p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 8, &w->value), 0);
	return NULL;
}

static void *wait_for_room(void *arg)
{
	struct waiter *w = arg;

	/* A ring of 4, and one for which there is no room. */
	for (int i = 0; i < 5; i++)
		T_EQ(rmio_vcpu_store(w->g->p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR, 4, 1), 0);
	return NULL;
}

static void *wait_for_order(void *arg)
{
	struct waiter *w = arg;
	struct rmio_vcpu *v = w->g->p.vcpu[2];

	T_EQ(rmio_vcpu_store(v, RMIO_BUS_MEM, PAIR_ADDR, 4, 1), 0);
	T_EQ(rmio_vcpu_load(v, RMIO_BUS_MEM, PAIR_ADDR + SHADOW, 4, &w->value), 0);
	return NULL;
}

static void die_with_waiters(uint32_t policy, uint32_t flags)
{
	static void *(*const fn[])(void *) = { wait_for_reply, wait_for_room, wait_for_order };
	struct rig g = { .stage = new_stage() };
	struct rmio_counters c;
	struct waiter w[3];
	uint64_t v = 1;
	int i;

	T_REQUIRE(T_OK(g.stage));
	atomic_store(&g.stage->hold, 1);
	T_REQUIRE(rig_init(&g, library_device, policy, 4, flags, RMIO_TIMEOUT_NONE));
	/* Without stores outstanding, the shadow answers though the device does not. */
	T_EQ(rmio_vcpu_load(g.p.vcpu[3], RMIO_BUS_MEM, PAIR_ADDR + SHADOW, 4, &v), 0);
	T_EQ(v, 0);
	for (i = 0; i < 3; i++) {
		w[i] = (struct waiter){ .g = &g };
		T_REQUIRE(T_EQ(pthread_create(&w[i].t, NULL, fn[i], &w[i]), 0));
	}
	do {
		usleep(1000);
		rmio_master_counters(g.p.master, -1, &c);
	} while (c.loads != 1 || c.full != 1 || c.ordered != 1);
	devproc_kill(&g.d);
	devproc_wait(&g.d);
	for (i = 0; i < 3; i++)
		pthread_join(w[i].t, NULL);
	T_EQ(w[0].value, UINT64_MAX);
	T_EQ(w[2].value, 0xffffffffu);
	T_EQ(rmio_master_counters(g.p.master, 1, &c), 0);
	T_EQ(c.posted, 4);
	T_EQ(c.discarded, 5);
	T_EQ(rmio_master_counters(g.p.master, 2, &c), 0);
	T_EQ(c.discarded, 1);
	T_EQ(c.ones, 1);
	check_dead(&g, 2, 6);
	rig_exit(&g);
}

static void waiters_thread(void)
{
	for (size_t i = 0; i < KTAP_COUNT(policies); i++)
		die_with_waiters(policies[i], 0);
}

static void waiters_manual(void)
{
	for (size_t i = 0; i < KTAP_COUNT(policies); i++)
		die_with_waiters(policies[i], RMIO_VM_MANUAL);
}

/* -- stopped, and slow ------------------------------------------------------------------------- */

static void stop_process(struct devproc *d)
{
	int status;

	T_EQ(kill(d->pid, SIGSTOP), 0);
	T_EQ(waitpid(d->pid, &status, WUNTRACED), d->pid);
	T_OK(WIFSTOPPED(status));
}

static void stopped_with_timeout(void)
{
	for (size_t i = 0; i < KTAP_COUNT(policies); i++) {
		struct rig g = { 0 };
		struct rmio_counters c;
		uint64_t v = 0;
		int status;

		T_REQUIRE(rig_init(&g, library_device, policies[i], 0, 0, 200000000));
		stop_process(&g.d);
		T_EQ(rmio_vcpu_store(g.p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, 1), 0);
		T_EQ(rmio_vcpu_load(g.p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 4, 4, &v), 0);
		T_EQ(v, 0xffffffffu);
		T_EQ(rmio_master_state(g.p.master), RMIO_STATE_TIMEOUT);
		T_EQ(rmio_master_counters(g.p.master, 0, &c), 0);
		T_EQ(c.timeouts, 1);
		T_EQ(c.ones, 1);
		T_EQ(c.discarded, 1);
		/* The next does not wait again. */
		T_EQ(rmio_vcpu_load(g.p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR, 1, &v), 0);
		T_EQ(v, 0xff);
		T_EQ(rmio_master_counters(g.p.master, 1, &c), 0);
		T_EQ(c.timeouts, 0);
		T_EQ(atomic_load(&g.p.deaths), 1);
		T_EQ(atomic_load(&g.p.dead), RMIO_STATE_TIMEOUT);
		/* Continued, it learns that it was given up. */
		T_EQ(kill(g.d.pid, SIGCONT), 0);
		status = devproc_wait(&g.d);
		T_OK(WIFEXITED(status));
		T_EQ(WEXITSTATUS(status), 0);
		T_EQ(atomic_load(&g.p.deaths), 1);
		rig_exit(&g);
	}
}

static void stopped_without_timeout(void)
{
	for (size_t i = 0; i < KTAP_COUNT(policies); i++) {
		struct rig g = { 0 };
		struct rmio_counters c;
		struct waiter w = { .g = &g };

		T_REQUIRE(rig_init(&g, library_device, policies[i], 0, 0, RMIO_TIMEOUT_NONE));
		stop_process(&g.d);
		T_REQUIRE(T_EQ(pthread_create(&w.t, NULL, wait_for_reply, &w), 0));
		usleep(300000);
		T_EQ(atomic_load(&g.stage->handled), 0);
		T_EQ(rmio_master_state(g.p.master), RMIO_STATE_LIVE);
		T_EQ(kill(g.d.pid, SIGCONT), 0);
		pthread_join(w.t, NULL);
		T_EQ(w.value, ANSWER(0));
		T_EQ(rmio_master_counters(g.p.master, -1, &c), 0);
		T_EQ(c.ones + c.discarded + c.timeouts, 0);
		T_EQ(atomic_load(&g.p.deaths), 0);
		devproc_kill(&g.d);
		devproc_wait(&g.d);
		rig_exit(&g);
	}
}

/* Half of the ring takes it longer than the timeout, one request does not. */
static void slow(void)
{
	struct rig g = { .stage = new_stage() };
	struct rmio_counters c;
	uint64_t v = 0;
	int i, n = 34;

	T_REQUIRE(T_OK(g.stage));
	atomic_store(&g.stage->delay_us, 150000);
	T_REQUIRE(rig_init(&g, library_device, RMIO_WAIT_SLEEP, 32, 0, 2000000000));
	for (i = 0; i < n; i++)
		T_EQ(rmio_vcpu_store(g.p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, 1), 0);
	atomic_store(&g.stage->delay_us, 0);
	wait_handled(g.stage, (uint64_t)n);
	T_EQ(rmio_vcpu_load(g.p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 4, 4, &v), 0);
	T_EQ(v, ANSWER(4));
	T_EQ(rmio_master_counters(g.p.master, -1, &c), 0);
	T_GE(c.full, 1);
	T_EQ(c.timeouts, 0);
	T_EQ(c.discarded, 0);
	T_EQ(rmio_master_state(g.p.master), RMIO_STATE_LIVE);
	devproc_kill(&g.d);
	devproc_wait(&g.d);
	rig_exit(&g);
}

/* -- the clock, and a slave that comes too late ------------------------------------------------ */

/* A VM that is paused for longer than the timeout, in the middle of an access. */
static void paused_vm(void)
{
	struct rig g = { .stage = new_stage() };
	uint64_t v = 0;

	T_REQUIRE(T_OK(g.stage));
	atomic_store(&g.stage->hold, 1);
	T_REQUIRE(rig_init(&g, library_device, RMIO_WAIT_SLEEP, 0, 0, 1000000000));
	rmio_vcpu_kick(g.p.vcpu[0]);
	T_EQ(rmio_vcpu_load(g.p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 4, 4, &v), -EINTR);
	stop_process(&g.d);
	usleep(1500000);
	T_EQ(kill(g.d.pid, SIGCONT), 0);
	rmio_vcpu_kick(g.p.vcpu[0]);
	T_EQ(rmio_vcpu_load(g.p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 4, 4, &v), -EINTR);
	atomic_store(&g.stage->hold, 0);
	T_EQ(rmio_vcpu_load(g.p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR + 4, 4, &v), 0);
	T_EQ(v, ANSWER(4));
	T_EQ(rmio_master_state(g.p.master), RMIO_STATE_LIVE);
	devproc_kill(&g.d);
	devproc_wait(&g.d);
	rig_exit(&g);
}

/* Nor is a kick now and then a way to wait for ever. */
static void kicked_again_and_again(void)
{
	struct pair p;
	uint64_t v = 0;
	int err, n = 0;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 0, 50000000));
	do {
		if (n % 2)
			rmio_vcpu_kick(p.vcpu[0]);
		else
			usleep(100);
		err = rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v);
		n++;
	} while (err == -EINTR);
	T_EQ(err, 0);
	T_EQ(v, 0xffffffffu);
	T_EQ(rmio_master_state(p.master), RMIO_STATE_TIMEOUT);
	pair_exit(&p);
}

static void opened_too_late(void)
{
	struct rmio_vm_opts vo = { .sz = sizeof(vo) };
	struct rmio_master_opts mo = { .sz = sizeof(mo), .timeout_ns = 10000000 };
	struct rmio_pa_range range = { .addr = PAIR_ADDR, .len = PAIR_LEN };
	struct rmio_slave *slave;
	struct rmio_master *m;
	struct rmio_vcpu *v;
	struct rmio_vm *vm;
	uint64_t data = 0;

	T_REQUIRE(T_EQ(rmio_vm_new(&vo, &vm), 0));
	T_REQUIRE(T_EQ(rmio_vcpu_new(vm, 0, NULL, &v), 0));
	T_REQUIRE(T_EQ(rmio_master_new(vm, &mo, &m), 0));
	T_EQ(rmio_master_pa_range(m, &range), 0);
	T_EQ(rmio_vcpu_load(v, RMIO_BUS_MEM, PAIR_ADDR, 4, &data), 0);
	T_EQ(data, 0xffffffffu);
	T_EQ(rmio_master_state(m), RMIO_STATE_TIMEOUT);
	T_EQ(rmio_slave_open(rmio_master_slave_fd(m), NULL, &slave), -ECONNRESET);
	rmio_master_free(m);
	rmio_vcpu_free(v);
	rmio_vm_free(vm);
}

static const struct ktap_test tests[] = {
	{ "killed at each step of a load", load_thread },
	{ "killed at each step of a load, manual", load_manual },
	{ "killed at each step of a synchronous store", sync_thread },
	{ "killed at each step of a synchronous store, manual", sync_manual },
	{ "killed at each step of a posted store", posted_thread },
	{ "killed at each step of a posted store, manual", posted_manual },
	{ "told of when a vCPU goes", told_at_last },
	{ "killed with vCPUs waiting", waiters_thread },
	{ "killed with vCPUs waiting, manual", waiters_manual },
	{ "stopped, with timeout", stopped_with_timeout },
	{ "stopped, without timeout", stopped_without_timeout },
	{ "slow", slow },
	{ "paused VM", paused_vm },
	{ "kicked again and again", kicked_again_and_again },
	{ "opened too late", opened_too_late },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
