// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * An orderly end of a device is no death: dead() is not called, whoever ends it and however often.
 * Beside the data path.
 */
#include "dev_thread.h"

#include <stdatomic.h>

static atomic_uint deaths;

static void dead(void *arg, struct rmio_master *m, enum rmio_state why, const char *reason)
{
	(void)arg;
	(void)m;
	ktap_diag("dead, state %d: %s", (int)why, reason);
	atomic_fetch_add(&deaths, 1);
}

/* A device with rings, perhaps a load, and the end of its client. */
static bool once(struct rmio_vm *vm, struct rmio_vcpu *vcpu, bool load)
{
	struct rmio_client_opts opts = { .sz = sizeof(opts), .vm = vm };
	struct rmio_pa_range range = { .addr = 0xe0000000, .bus = RMIO_BUS_MEM };
	struct rmio_region_info bar;
	struct rmio_client *client;
	struct dev_thread d;
	struct rmio_dev *dev;
	bool ok = false;
	uint64_t v;
	int s[2];

	if (!dev_thread_new(&d, RMIO_WAIT_SLEEP))
		return false;
	dev = dev_thread_add(&d, "null");
	if (!dev || !T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0) ||
	    !T_EQ(rmio_dev_serve(dev, s[1]), 0) || !dev_thread_start(&d))
		return false;
	if (T_EQ(rmio_client_new(s[0], &opts, &client), 0)) {
		ok = T_OK(rmio_client_master(client)) &&
		     T_EQ(rmio_client_region_info(client, 0, &bar), 0);
		range.len = bar.size;
		ok = ok && T_EQ(rmio_master_pa_range(rmio_client_master(client), &range), 0);
		if (load)
			ok &= T_EQ(rmio_vcpu_load(vcpu, RMIO_BUS_MEM, range.addr, 4, &v), 0);
		rmio_client_free(client);
	}
	dev_thread_join(&d);
	device_free(dev);
	rmio_loop_free(d.loop);
	return ok;
}

static void orderly(bool load)
{
	struct rmio_vm_opts vo = { .sz = sizeof(vo), .dead = dead };
	struct rmio_vcpu *vcpu;
	struct rmio_vm *vm;
	int i, n = ktap_pick(50, 200, 1000);

	T_REQUIRE(T_EQ(rmio_vm_new(&vo, &vm), 0) && T_EQ(rmio_vcpu_new(vm, 0, NULL, &vcpu), 0));
	for (i = 0; i < n && once(vm, vcpu, load); i++)
		;
	T_EQ(i, n);
	rmio_vcpu_free(vcpu);
	rmio_vm_free(vm);
	T_EQ(atomic_load(&deaths), 0);
}

static void freed_in_use(void)
{
	orderly(true);
}

static void freed_at_once(void)
{
	orderly(false);
}

static const struct ktap_test tests[] = {
	{ "a client that is freed in use", freed_in_use },
	{ "a client that is freed at once", freed_at_once },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
