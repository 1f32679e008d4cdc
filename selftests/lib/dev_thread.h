/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A device loop in a thread of its own, as a device process would have it, and
 * a VM in this thread.  Beside the data path: tests only.
 */
#ifndef RMIO_SELFTESTS_DEV_THREAD_H
#define RMIO_SELFTESTS_DEV_THREAD_H

#include "devices.h"
#include "ktap.h"

#include <pthread.h>
#include <rmio/rmio.h>
#include <sys/socket.h>

struct dev_thread {
	struct rmio_loop *loop;
	pthread_t thread;
	int result;		/* of rmio_loop_run */
	int lines;		/* logged */
	char last[512];
};

static void dev_thread_log(void *arg, const char *line)
{
	struct dev_thread *d = arg;

	snprintf(d->last, sizeof(d->last), "%s", line);
	if (__atomic_fetch_add(&d->lines, 1, __ATOMIC_RELEASE) < 20)
		ktap_diag("log: %s", line);
}

static void *dev_thread_main(void *arg)
{
	struct dev_thread *d = arg;

	d->result = rmio_loop_run(d->loop);
	return NULL;
}

/* Make the loop; devices are added before dev_thread_start. */
__attribute__((unused))
static bool dev_thread_new(struct dev_thread *d, enum rmio_wait_policy policy)
{
	struct rmio_loop_opts opts = {
		.sz = sizeof(opts),
		.wait = { .sz = sizeof(opts.wait), .policy = policy },
		.log = dev_thread_log,
		.arg = d,
	};

	memset(d, 0, sizeof(*d));
	return T_EQ(rmio_loop_new(&opts, &d->loop), 0);
}

__attribute__((unused))
static bool dev_thread_start(struct dev_thread *d)
{
	return T_EQ(pthread_create(&d->thread, NULL, dev_thread_main, d), 0);
}

/* Wait until it ends by itself. */
__attribute__((unused))
static void dev_thread_join(struct dev_thread *d)
{
	T_EQ(pthread_join(d->thread, NULL), 0);
	T_EQ(d->result, 0);
}

__attribute__((unused))
static void dev_thread_stop(struct dev_thread *d)
{
	rmio_loop_stop(d->loop);
	dev_thread_join(d);
}

/* A device of devices/ by name. */
__attribute__((unused))
static struct rmio_dev *dev_thread_add(struct dev_thread *d, const char *spec)
{
	struct rmio_dev *dev = NULL;
	char why[200] = "";

	if (!T_EQ(device_make(d->loop, spec, &dev, why, sizeof(why)), 0))
		ktap_diag("%s: %s", spec, why);
	return dev;
}

/* A master with its slave descriptor served by @dev, range 0 of @len bytes at @addr. */
__attribute__((unused))
static struct rmio_master *dev_thread_master(struct rmio_vm *vm, struct rmio_dev *dev,
					     uint64_t addr, uint64_t len)
{
	struct rmio_pa_range r = { .addr = addr, .len = len, .bus = RMIO_BUS_MEM, .id = 0 };
	struct rmio_master *m = NULL;

	if (!T_EQ(rmio_master_new(vm, NULL, &m), 0))
		return NULL;
	T_EQ(rmio_master_pa_range(m, &r), 0);
	T_EQ(rmio_dev_slave(dev, rmio_master_slave_fd(m)), 0);
	return m;
}

__attribute__((unused))
static uint64_t vcpu_load(struct rmio_vcpu *vcpu, uint64_t addr, uint32_t len)
{
	uint64_t v = 0xdeadbeefdeadbeef;

	T_EQ(rmio_vcpu_load(vcpu, RMIO_BUS_MEM, addr, len, &v), 0);
	return v;
}

__attribute__((unused))
static void vcpu_store(struct rmio_vcpu *vcpu, uint64_t addr, uint32_t len, uint64_t v)
{
	T_EQ(rmio_vcpu_store(vcpu, RMIO_BUS_MEM, addr, len, v), 0);
}

#endif
