// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * VMMs and device processes with a poll loop of their own: rmio_vm_fd and
 * _dispatch, rmio_slave_fd and _arm; and what else a VMM asks a master.
 */
#include "pair.h"

#include <poll.h>

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1 && (p.revents & POLLIN);
}

static void *post_later(void *arg)
{
	struct pair *p = arg;

	usleep(20000);
	T_EQ(rmio_vcpu_store(p->vcpu[1], RMIO_BUS_MEM, PAIR_ADDR + 8, 4, 7), 0);
	return NULL;
}

/* The descriptor says nothing before it was armed; then the first store makes it readable. */
static void device_polls(void)
{
	struct rmio_request r;
	struct rmio_reply reply;
	struct pair p;
	pthread_t t;
	int fd;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 0, 0));
	fd = rmio_slave_fd(p.slave);
	T_EQ(rmio_slave_arm(p.slave), 0);
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, post_later, &p), 0));
	T_OK(readable(fd, 5000));
	pthread_join(t, NULL);
	/* Armed again with a request there: no sleep. */
	T_EQ(rmio_slave_arm(p.slave), 1);
	T_EQ(rmio_slave_read(p.slave, &r, 1), 1);
	T_EQ(r.offset, 8);
	T_EQ(r.data, 7);
	reply = (struct rmio_reply){ .seq = r.seq, .vcpu = r.vcpu };
	T_EQ(rmio_slave_write(p.slave, &reply, 1), 1);
	/* Its message was taken: nothing is left to be woken for. */
	T_EQ(rmio_slave_arm(p.slave), 0);
	T_OK(!readable(fd, 0));

	rmio_master_free(p.master);
	p.master = NULL;
	T_OK(readable(fd, 5000));
	T_EQ(rmio_slave_arm(p.slave), 1);
	T_EQ(rmio_slave_read(p.slave, &r, 1), -ECONNRESET);
	pair_exit(&p);
}

/* Without a control thread nothing is served until the VMM does. */
static void vmm_polls(void)
{
	struct rmio_vm_opts vo = { .sz = sizeof(vo), .flags = RMIO_VM_MANUAL };
	struct rmio_master *m;
	struct rmio_slave *s;
	struct rmio_vm *vm;
	int fd;

	T_REQUIRE(T_EQ(rmio_vm_new(&vo, &vm), 0));
	T_REQUIRE(T_EQ(rmio_master_new(vm, NULL, &m), 0));
	fd = rmio_master_slave_fd(m);
	T_OK(!readable(rmio_vm_fd(vm), 0));
	T_EQ(rmio_vm_dispatch(vm, 0), 0);
	T_REQUIRE(T_EQ(rmio_slave_open(fd, NULL, &s), 0));
	T_OK(readable(rmio_vm_fd(vm), 0));
	T_EQ(rmio_master_state(m), RMIO_STATE_NEW);
	T_EQ(rmio_vm_dispatch(vm, 0), 1);
	T_EQ(rmio_master_state(m), RMIO_STATE_LIVE);
	T_OK(!readable(rmio_vm_fd(vm), 0));
	rmio_slave_free(s);
	T_OK(readable(rmio_vm_fd(vm), 0));
	rmio_vm_dispatch(vm, 0);
	T_EQ(rmio_master_state(m), RMIO_STATE_CLOSED);
	T_OK(!readable(rmio_vm_fd(vm), 0));
	rmio_master_free(m);
	rmio_vm_free(vm);

	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
	T_EQ(rmio_vm_dispatch(vm, 0), -EBUSY);
	rmio_vm_free(vm);
}

/* A master made to wait for ever is given a timeout. */
static void timeout_changes(void)
{
	struct rmio_counters c;
	struct pair p;
	uint64_t v;

	T_REQUIRE(pair_init(&p, RMIO_WAIT_SLEEP, 0, RMIO_TIMEOUT_NONE));
	T_STREQ(rmio_master_name(p.master), "pair");
	rmio_master_timeout(p.master, 20000000);
	T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v), 0);
	T_EQ(v, 0xffffffffu);
	T_EQ(rmio_master_state(p.master), RMIO_STATE_TIMEOUT);
	T_EQ(rmio_master_counters(p.master, 0, &c), 0);
	T_EQ(c.timeouts, 1);
	pair_exit(&p);
}

static const struct ktap_test tests[] = {
	{ "a device with a poll loop", device_polls },
	{ "a VMM with a poll loop", vmm_polls },
	{ "the timeout changes", timeout_changes },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
