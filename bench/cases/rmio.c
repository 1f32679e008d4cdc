// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a guest's access costs with rmio on the exit back end, and what a device process
 * costs that has nothing to do.
 */
#include <errno.h>
#include <unistd.h>

#include "../rmio_case.h"

#define IDLE_SETTLE_NS	1000000000ull
#define IDLE_NS		1200000000ull

static int guest_setup(struct bench_run *run, uint32_t offset, bool store)
{
	struct guest_code code = rmio_case_code(run, offset, store);
	struct rmio_case *c;
	int err = rmio_case_new(run, NULL, NULL, NULL);

	if (err)
		return err;
	c = run->priv;
	err = guest_new(run, &code, &c->guest);
	if (err) {
		rmio_case_free(run);
		return err;
	}
	c->has_guest = true;
	return 0;
}

static int load_device_setup(struct bench_run *run)
{
	return guest_setup(run, 0, false);
}

static int load_shadow_setup(struct bench_run *run)
{
	return guest_setup(run, SHADOW_OFFSET, false);
}

static int store_posted_setup(struct bench_run *run)
{
	return guest_setup(run, 0, true);
}

/* -- nothing to do ---------------------------------------------------------- */

static int idle_setup(struct bench_run *run)
{
	return rmio_case_new(run, NULL, NULL, NULL);
}

/* The device process has served some accesses; then nobody asks it anything. */
static int idle_slice(struct bench_run *run, uint64_t ns)
{
	struct rmio_case *c = run->priv;
	uint64_t cpu, start, value;
	int i, err;

	for (i = 0; i < 1000; i++) {
		err = rmio_vcpu_load(c->vcpu, RMIO_BUS_MEM, GUEST_DEVICE, 4, &value);
		if (err)
			return err;
	}
	usleep(IDLE_SETTLE_NS / 1000);
	cpu = bench_peer_cpu_ns(run);
	start = bench_ticks();
	usleep((ns > IDLE_NS ? ns : IDLE_NS) / 1000);
	run->elapsed_ns = bench_ticks_to_ps(bench_ticks() - start) / 1000;
	run->cpu_ns = bench_peer_cpu_ns(run) - cpu;
	return rmio_master_state(c->dev[0].master) == RMIO_STATE_LIVE ? 0 :
	       bench_why(run, -EIO, "the device died");
}

const struct bench_case bench_rmio_cases[] = {
	{
		.name = "rmio.exit.load.device",
		.what = "guest load, exit, answered by a device process",
		.rivals = { "kvm.exit.load", "socket.load", "socket.load.poll" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_ANYHOW,
		.flags = BENCH_KVM,
		.setup = load_device_setup,
		.slice = rmio_case_slice,
		.teardown = rmio_case_free,
	}, {
		.name = "rmio.exit.load.device",
		.what = "the same, from each of many devices of one process in turn",
		.rivals = { "rmio.exit.load.device" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_POLL) | BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_KVM | BENCH_FIXED | BENCH_MANY,
		.setup = load_device_setup,
		.slice = rmio_case_slice,
		.teardown = rmio_case_free,
	}, {
		.name = "rmio.exit.load.shadow",
		.what = "guest load, exit, answered from the shadow in the vCPU's thread",
		.rivals = { "kvm.exit.load" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_KVM | BENCH_FIXED,
		.setup = load_shadow_setup,
		.slice = rmio_case_slice,
		.teardown = rmio_case_free,
	}, {
		.name = "rmio.exit.store.posted",
		.what = "guest store, exit, posted to a device process",
		.rivals = { "kvm.exit.store", "socket.store" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_ANYHOW,
		.flags = BENCH_KVM,
		.setup = store_posted_setup,
		.slice = rmio_case_slice,
		.teardown = rmio_case_free,
	}, {
		.name = "idle.cpu",
		.what = "CPU time of a device process that nobody asks anything",
		.waits = BENCH_WAIT(BENCH_ADAPTIVE) | BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_ONCE | BENCH_IDLE,
		.setup = idle_setup,
		.slice = idle_slice,
		.teardown = rmio_case_free,
	},
	{ 0 },
};
