// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * All vCPUs hammer one register while its range moves, goes away and comes back,
 * while other masters come and go with and without their slaves, and while kicks
 * and signals interrupt whatever waits.  Nothing hangs, no access is answered by a
 * device that was not there during it, every store arrives once.
 */
#include "ktap.h"

#include <pthread.h>
#include <rmio/slave.h>
#include <rmio/vmm.h>
#include <sched.h>
#include <stdatomic.h>

#define HOT		0xe0000000ull	/* where everybody looks */
#define ASIDE(id)	(0xe1000000ull + 0x10000ull * (id))
#define CHURN		0xe8000000ull	/* where masters come and go */
#define LEN		0x1000ull

#define VCPUS		4
#define DEVICES		3		/* 1 and 2; 0 is nobody */
#define HISTORY		(1u << 20)

struct device {
	struct rmio_master *master;
	struct rmio_slave *slave;
	pthread_t thread;
	uint32_t id;
	atomic_ulong stores;
};

struct vcpu {
	struct world *w;
	struct rmio_vcpu *v;
	pthread_mutex_t lock;		/* for whoever kicks it */
	pthread_t thread;
	uint32_t index;
	uint64_t seed;
	unsigned long stores, loads, nobody, churned, interrupted;
};

struct world {
	struct rmio_vm *vm;
	struct device dev[DEVICES];
	struct vcpu vcpu[VCPUS];
	atomic_bool stop, served;
	/* Who answers at HOT: history[n] after n changes. */
	uint8_t history[HISTORY];
	atomic_uint begun, ended;	/* changes */
	atomic_ulong serial;		/* of the master at CHURN, counted before it is made */
	atomic_ulong deaths;
};

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* -- devices ---------------------------------------------------------------------------- */

/* Every value says whose it is. */
static uint64_t value_of(uint64_t id, uint64_t offset)
{
	return id << 16 | offset;
}

static void answer(struct rmio_slave *s, const struct rmio_request *r, uint64_t id)
{
	struct rmio_reply a = {
		.seq = r->seq, .vcpu = r->vcpu, .data = value_of(id, r->offset),
	};

	T_EQ(rmio_slave_write(s, &a, 1), 1);
}

static void *serve(void *arg)
{
	struct device *d = arg;
	struct rmio_request r[8];
	ssize_t n, i;

	for (;;) {
		n = rmio_slave_read(d->slave, r, 8);
		if (n == -EAGAIN) {
			if (rmio_slave_poll(d->slave, -1) < 0)
				return NULL;
			continue;
		}
		if (n < 0)
			return NULL;
		for (i = 0; i < n; i++) {
			if (r[i].op == RMIO_OP_STORE) {
				T_EQ(r[i].data, r[i].offset + r[i].vcpu);
				atomic_fetch_add(&d->stores, 1);
			}
			answer(d->slave, &r[i], d->id);
		}
	}
}

/* -- vCPUs -------------------------------------------------------------------------------- */

static bool was_there(struct world *w, unsigned int from, unsigned int to, uint32_t id)
{
	for (; from <= to; from++)
		if (w->history[from % HISTORY] == id)
			return true;
	return false;
}

static int load(struct vcpu *c, uint64_t addr, uint32_t len, uint64_t *data)
{
	int err;

	while ((err = rmio_vcpu_load(c->v, RMIO_BUS_MEM, addr, len, data)) == -EINTR) {
		c->interrupted++;
		/* The guest was reset, say. */
		if (rnd(&c->seed) % 16 == 0) {
			rmio_vcpu_cancel(c->v);
			return -EINTR;
		}
	}
	return err;
}

static int store(struct vcpu *c, uint64_t addr, uint32_t len, uint64_t data)
{
	int err;

	while ((err = rmio_vcpu_store(c->v, RMIO_BUS_MEM, addr, len, data)) == -EINTR)
		c->interrupted++;
	return err;
}

static void touch_hot(struct vcpu *c)
{
	struct world *w = c->w;
	unsigned int from = atomic_load(&w->ended), to;
	uint64_t offset = rnd(&c->seed) % (LEN / 8) * 8, v = 0;
	bool is_load = rnd(&c->seed) % 2;
	int err;

	if (is_load)
		err = load(c, HOT + offset, 8, &v);
	else
		err = store(c, HOT + offset, 8, offset + c->index);
	to = atomic_load(&w->begun);
	if (err == -EINTR)
		return;
	if (err == -EOPNOTSUPP) {
		c->nobody++;
		if (!was_there(w, from, to, 0))
			T_FAIL("nobody answered, but there was a device, changes %u to %u", from,
			       to);
		return;
	}
	T_EQ(err, 0);
	if (!is_load) {
		c->stores++;
		return;
	}
	c->loads++;
	if ((v & 0xffff) != offset || v >> 16 >= DEVICES || !(v >> 16) ||
	    !was_there(w, from, to, (uint32_t)(v >> 16)))
		T_FAIL("0x%llx at offset 0x%llx, changes %u to %u", (unsigned long long)v,
		       (unsigned long long)offset, from, to);
}

static void touch_churn(struct vcpu *c)
{
	uint64_t first = atomic_load(&c->w->serial), last, v = 0;
	int err = rnd(&c->seed) % 4 ? load(c, CHURN + 8, 8, &v) : store(c, CHURN + 8, 8, 8);

	last = atomic_load(&c->w->serial);
	c->churned++;
	if (err != 0 && err != -EOPNOTSUPP && err != -EINTR)
		T_EQ(err, 0);
	if (!err && v && v != UINT64_MAX &&
	    ((v & 0xffff) != 8 || v >> 16 < first || v >> 16 > last))
		T_FAIL("0x%llx, masters %llu to %llu", (unsigned long long)v,
		       (unsigned long long)first, (unsigned long long)last);
}

static bool renew(struct vcpu *c)
{
	static const uint32_t policy[] = { RMIO_WAIT_SLEEP, RMIO_WAIT_ADAPTIVE, RMIO_WAIT_SLEEP,
					   RMIO_WAIT_POLL };
	struct rmio_wait_opts wait = { .sz = sizeof(wait), .policy = policy[c->index] };
	bool ok;

	pthread_mutex_lock(&c->lock);
	rmio_vcpu_free(c->v);
	ok = T_EQ(rmio_vcpu_new(c->w->vm, c->index, &wait, &c->v), 0);
	pthread_mutex_unlock(&c->lock);
	return ok;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *c = arg;

	while (!atomic_load(&c->w->stop) && !ktap_failed()) {
		uint64_t r = rnd(&c->seed) % 1024;

		if (r == 0) {
			if (!renew(c))
				break;
		} else if (r < 100) {
			touch_churn(c);
		} else {
			touch_hot(c);
		}
		/* A guest's accesses are not that close together. */
		if (r % 8 == 0)
			sched_yield();
	}
	return NULL;
}

/* -- the places at HOT --------------------------------------------------------------------- */

static int place(struct device *d, uint64_t addr, uint64_t len)
{
	struct rmio_pa_range r = { .addr = addr, .len = len, .id = 7 };

	return rmio_master_pa_range(d->master, &r);
}

static void *mover(void *arg)
{
	struct world *w = arg;
	uint64_t seed = 77;
	uint32_t there = 0;
	unsigned int n = 0;

	while (!atomic_load(&w->stop) && n < HISTORY - 1 && !ktap_failed()) {
		uint32_t next = there ? 0 : 1 + (uint32_t)rnd(&seed) % 2;

		if (there) {
			/* Occupied; the other one stays where it is. */
			T_EQ(place(&w->dev[3 - there], HOT, LEN), -EEXIST);
		}
		w->history[n + 1] = (uint8_t)next;
		atomic_store(&w->begun, n + 1);
		if (next)
			T_EQ(place(&w->dev[next], HOT, LEN), 0);
		else if (rnd(&seed) % 2)
			T_EQ(place(&w->dev[there], ASIDE(there), LEN), 0);
		else
			T_EQ(place(&w->dev[there], 0, 0), 0);
		atomic_store(&w->ended, ++n);
		there = next;
		if (next && rnd(&seed) % 2)
			usleep(rnd(&seed) % 400);
	}
	ktap_diag("%u changes", n);
	return NULL;
}

/* -- masters that come and go ----------------------------------------------------------------- */

struct passing {
	struct rmio_slave *slave;
	uint64_t serial, seed;
};

static void *serve_passing(void *arg)
{
	struct passing *p = arg;
	uint64_t left = rnd(&p->seed) % 50;
	struct rmio_request r;

	while (left--) {
		if (rmio_slave_poll(p->slave, 5) < 0)
			break;
		if (rmio_slave_read(p->slave, &r, 1) == 1 && left)
			rmio_slave_write(p->slave, &(struct rmio_reply){
				.seq = r.seq, .vcpu = r.vcpu,
				.data = value_of(p->serial, r.offset) }, 1);
	}
	rmio_slave_free(p->slave);
	return NULL;
}

static void *churn(void *arg)
{
	struct world *w = arg;
	uint64_t seed = 4711;

	while (!atomic_load(&w->stop) && !ktap_failed()) {
		struct rmio_master_opts o = {
			.sz = sizeof(o), .ring_slots = 2u << rnd(&seed) % 3,
			.timeout_ns = 1000000 + rnd(&seed) % 20000000,
		};
		struct rmio_pa_range r = { .addr = CHURN, .len = LEN };
		struct passing p = { .seed = 1 + rnd(&seed) };
		uint64_t how = rnd(&seed) % 4;
		struct rmio_master *m;
		pthread_t t;
		int fd;

		p.serial = 1 + atomic_fetch_add(&w->serial, 1);
		if (!T_EQ(rmio_master_new(w->vm, &o, &m), 0) ||
		    !T_EQ(rmio_master_pa_range(m, &r), 0))
			break;
		fd = how ? rmio_master_slave_fd(m) : -1;
		if (how == 1) {
			usleep(rnd(&seed) % 500);
			close(fd);
		}
		/* A vCPU may have given the device up before its slave is opened. */
		if (how > 1 && rmio_slave_open(fd, NULL, &p.slave))
			how = 0;
		if (how > 1 && !T_EQ(pthread_create(&t, NULL, serve_passing, &p), 0))
			break;
		usleep(rnd(&seed) % 3000);
		if (how == 2)
			pthread_join(t, NULL);
		rmio_master_free(m);
		if (how == 3)
			pthread_join(t, NULL);
	}
	return NULL;
}

/* -- interruptions ----------------------------------------------------------------------------- */

static void on_signal(int sig)
{
	(void)sig;
}

static void *kicker(void *arg)
{
	struct world *w = arg;
	uint64_t seed = 1234567;

	while (!atomic_load(&w->stop)) {
		struct vcpu *c = &w->vcpu[rnd(&seed) % VCPUS];

		pthread_mutex_lock(&c->lock);
		if (rnd(&seed) % 2)
			rmio_vcpu_kick(c->v);
		else
			pthread_kill(c->thread, SIGUSR1);
		pthread_mutex_unlock(&c->lock);
		usleep(rnd(&seed) % 300);
	}
	return NULL;
}

/* -- all of it --------------------------------------------------------------------------------- */

static void on_dead(void *arg, struct rmio_master *m, enum rmio_state why, const char *reason)
{
	struct world *w = arg;

	(void)reason;
	atomic_fetch_add(&w->deaths, 1);
	if (m == w->dev[1].master || m == w->dev[2].master)
		T_EQ(why, RMIO_STATE_LIVE);
}

static bool add_device(struct world *w, uint32_t id)
{
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .ring_slots = id == 1 ? 4 : 64, .timeout_ns = RMIO_TIMEOUT_NONE,
	};
	struct device *d = &w->dev[id];

	d->id = id;
	return T_EQ(rmio_master_new(w->vm, &mo, &d->master), 0) &&
	       T_EQ(rmio_slave_open(rmio_master_slave_fd(d->master), NULL, &d->slave), 0) &&
	       T_EQ(pthread_create(&d->thread, NULL, serve, d), 0);
}

static void settle(struct world *w)
{
	unsigned long stores = 0, loads = 0, nobody = 0, churned = 0, interrupted = 0;
	uint64_t v = 0;
	uint32_t i, id;

	/* A load sees all stores of its vCPU done. */
	for (id = 1; id < DEVICES; id++) {
		T_EQ(place(&w->dev[id], ASIDE(id), LEN), 0);
		for (i = 0; i < VCPUS; i++) {
			while (load(&w->vcpu[i], ASIDE(id) + 16, 8, &v) == -EINTR)
				;
			T_EQ(v, value_of(id, 16));
		}
	}
	for (i = 0; i < VCPUS; i++) {
		stores += w->vcpu[i].stores;
		loads += w->vcpu[i].loads;
		nobody += w->vcpu[i].nobody;
		churned += w->vcpu[i].churned;
		interrupted += w->vcpu[i].interrupted;
	}
	T_EQ(atomic_load(&w->dev[1].stores) + atomic_load(&w->dev[2].stores), stores);
	ktap_diag(
		"%lu loads, %lu stores, %lu unanswered, %lu of passing devices, %lu interruptions, "
		"%lu deaths",
		loads, stores, nobody, churned, interrupted, atomic_load(&w->deaths));
	T_GT(loads, 0);
	T_GT(stores, 0);
	T_GT(nobody, 0);
	T_GT(interrupted, 0);
	T_GT(atomic_load(&w->deaths), 0);
}

static void everything_moves(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct world *w = calloc(1, sizeof(*w));
	struct rmio_vm_opts vo = {
		.sz = sizeof(vo), .max_vcpus = VCPUS, .dead = on_dead, .arg = w,
	};
	pthread_t t[3];
	uint32_t i;

	T_REQUIRE(T_OK(w));
	sigaction(SIGUSR1, &sa, NULL);
	/* No master at CHURN answers as one at HOT. */
	atomic_store(&w->serial, 100);
	T_REQUIRE(T_EQ(rmio_vm_new(&vo, &w->vm), 0));
	for (i = 1; i < DEVICES; i++)
		T_REQUIRE(add_device(w, i));
	for (i = 0; i < VCPUS; i++) {
		struct vcpu *c = &w->vcpu[i];

		*c = (struct vcpu){ .w = w, .index = i, .seed = 1000 + i };
		pthread_mutex_init(&c->lock, NULL);
		T_REQUIRE(renew(c));
	}
	for (i = 0; i < VCPUS; i++)
		T_REQUIRE(T_EQ(pthread_create(&w->vcpu[i].thread, NULL, vcpu_thread, &w->vcpu[i]),
			       0));
	T_REQUIRE(T_EQ(pthread_create(&t[0], NULL, mover, w), 0));
	T_REQUIRE(T_EQ(pthread_create(&t[1], NULL, churn, w), 0));
	T_REQUIRE(T_EQ(pthread_create(&t[2], NULL, kicker, w), 0));
	for (i = 0; i < (uint32_t)ktap_pick(2, 10, 45) * 10 && !ktap_failed(); i++)
		usleep(100000);
	atomic_store(&w->stop, true);
	for (i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	for (i = 0; i < VCPUS; i++)
		pthread_join(w->vcpu[i].thread, NULL);
	if (!ktap_failed())
		settle(w);
	for (i = 1; i < DEVICES; i++) {
		rmio_master_free(w->dev[i].master);
		pthread_join(w->dev[i].thread, NULL);
		rmio_slave_free(w->dev[i].slave);
	}
	for (i = 0; i < VCPUS; i++)
		rmio_vcpu_free(w->vcpu[i].v);
	rmio_vm_free(w->vm);
	free(w);
}

static const struct ktap_test tests[] = {
	{ "everything moves", everything_moves, 90 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
