/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A VM with one device and its slave, in one process: what most tests of the
 * master and slave calls begin with.
 */
#ifndef RMIO_SELFTESTS_PAIR_H
#define RMIO_SELFTESTS_PAIR_H

#include "ktap.h"
#include <pthread.h>
#include <rmio/slave.h>
#include <rmio/vmm.h>
#include <stdatomic.h>

#define PAIR_ADDR	0xe0000000ull
#define PAIR_LEN	0x10000ull
#define PAIR_VCPUS	4

struct pair {
	struct rmio_vm *vm;
	struct rmio_master *master;
	struct rmio_vcpu *vcpu[PAIR_VCPUS];
	struct rmio_slave *slave;
	pthread_t device;
	bool running;
	atomic_bool stop;
	atomic_int dead;	/* the state that dead() was told, 0 before */
	atomic_uint deaths;
	uint64_t reg[64];	/* the device's registers, 8 bytes each */
};

/* Its device has them in another mapping of the lanes, which TSan does not see through. */
static inline uint64_t pair_reg(const struct pair *p, uint32_t i)
{
	return __atomic_load_n(&p->reg[i], __ATOMIC_ACQUIRE);
}

static inline void pair_dead(void *arg, struct rmio_master *m, enum rmio_state why,
			     const char *reason)
{
	struct pair *p = arg;

	(void)m;
	ktap_diag("device dead: %s", reason);
	atomic_store(&p->dead, (int)why);
	atomic_fetch_add(&p->deaths, 1);
}

static inline bool pair_init(struct pair *p, uint32_t policy, uint32_t slots, uint64_t timeout_ns)
{
	struct rmio_vm_opts vo = {
		.sz = sizeof(vo), .max_vcpus = PAIR_VCPUS, .dead = pair_dead, .arg = p,
	};
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .ring_slots = slots, .timeout_ns = timeout_ns, .name = "pair",
	};
	struct rmio_wait_opts wait = { .sz = sizeof(wait), .policy = policy };
	struct rmio_slave_opts so = { .sz = sizeof(so), .wait = wait };
	struct rmio_pa_range range = { .addr = PAIR_ADDR, .len = PAIR_LEN };
	int fd, i;

	memset(p, 0, sizeof(*p));
	if (!T_EQ(rmio_vm_new(&vo, &p->vm), 0) ||
	    !T_EQ(rmio_master_new(p->vm, &mo, &p->master), 0) ||
	    !T_EQ(rmio_master_pa_range(p->master, &range), 0))
		return false;
	for (i = 0; i < PAIR_VCPUS; i++)
		if (!T_EQ(rmio_vcpu_new(p->vm, (uint32_t)i, &wait, &p->vcpu[i]), 0))
			return false;
	fd = rmio_master_slave_fd(p->master);
	return T_OK(fd >= 0) && T_EQ(rmio_slave_open(fd, &so, &p->slave), 0);
}

/* Registers that keep what was stored; offset / 8 is the register. */
static inline void *pair_device(void *arg)
{
	struct pair *p = arg;
	struct rmio_request r[16];
	struct rmio_reply a[16];

	while (!atomic_load(&p->stop)) {
		ssize_t n = rmio_slave_read(p->slave, r, 16), i;

		if (n == -EAGAIN) {
			rmio_slave_poll(p->slave, 50);
			continue;
		}
		if (n < 0)
			break;
		for (i = 0; i < n; i++) {
			uint64_t *reg = &p->reg[(r[i].offset / 8) % 64];

			if (r[i].op != RMIO_OP_LOAD)
				__atomic_store_n(reg, r[i].data, __ATOMIC_RELEASE);
			a[i] = (struct rmio_reply){
				.seq = r[i].seq, .data = *reg, .vcpu = r[i].vcpu,
			};
		}
		if (!T_EQ(rmio_slave_write(p->slave, a, (size_t)n), n))
			break;
	}
	return NULL;
}

static inline bool pair_start(struct pair *p)
{
	p->running = T_EQ(pthread_create(&p->device, NULL, pair_device, p), 0);
	return p->running;
}

static inline void pair_stop(struct pair *p)
{
	if (!p->running)
		return;
	atomic_store(&p->stop, true);
	pthread_join(p->device, NULL);
	p->running = false;
}

static inline void pair_exit(struct pair *p)
{
	int i;

	pair_stop(p);
	rmio_slave_free(p->slave);
	rmio_master_free(p->master);
	for (i = 0; i < PAIR_VCPUS; i++)
		rmio_vcpu_free(p->vcpu[i]);
	rmio_vm_free(p->vm);
}

#endif
