// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device of the user's own, which listens on a socket: what an access to it costs from a VMM's
 * thread, without KVM and one by one, and with a guest's exit in front of it.
 *
 * On the data path. The process is not ours: where it runs and how it waits is its own affair,
 * and its CPU time is not counted.
 */
#include <errno.h>
#include <rmio/vmm.h>
#include <stdlib.h>
#include <string.h>

#include "../guest.h"
#include "../own.h"

#define REPLY_MS 2000

struct own {
	struct rmio_vm *vm;
	struct rmio_vcpu *vcpu;
	struct rmio_client *client;
	struct rmio_master *master;	/* NULL: no rings, every access is a message */
	struct guest guest;
	bool has_guest;
};

static void own_free(struct bench_run *run)
{
	struct own *o = run->priv;

	if (o->has_guest)
		guest_free(&o->guest);
	rmio_client_free(o->client);
	if (o->vcpu)
		rmio_vcpu_free(o->vcpu);
	if (o->vm)
		rmio_vm_free(o->vm);
	free(o);
	run->priv = NULL;
}

static int place(struct bench_run *run, struct own *o)
{
	struct rmio_region_info info = { 0 };
	struct rmio_pa_range at = { .addr = GUEST_DEVICE, .id = bench_own.range };
	int err = rmio_client_region_info(o->client, bench_own.range, &info);

	if (err)
		return bench_why(run, err, "%.80s: range %u: %s", bench_own.socket,
				 bench_own.range, strerror(-err));
	if (bench_own.offset > info.size || bench_own.len > info.size - bench_own.offset)
		return bench_why(run, -ERANGE, "%.80s: range %u has %llu bytes", bench_own.socket,
				 bench_own.range, (unsigned long long)info.size);
	o->master = rmio_client_master(o->client);
	at.len = info.size;
	return o->master ? rmio_master_pa_range(o->master, &at) : 0;
}

static int own_new(struct bench_run *run, bool store)
{
	struct rmio_vm_opts vo = { .sz = sizeof(vo), .max_vcpus = 1 };
	struct rmio_wait_opts wait = {
		.sz = sizeof(wait),
		.policy = run->wait == BENCH_POLL ? RMIO_WAIT_POLL :
			  run->wait == BENCH_ADAPTIVE ? RMIO_WAIT_ADAPTIVE : RMIO_WAIT_SLEEP,
	};
	struct rmio_client_opts co = { .sz = sizeof(co), .reply_timeout_ms = REPLY_MS };
	struct own *o;
	int err;

	if (!bench_own.socket)
		return bench_why(run, 1, "needs a device: --device socket=PATH");
	if (store && !bench_own.store)
		return bench_why(run, 1, "what to store is not said: --device ...,store=VALUE");
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	run->priv = o;
	err = rmio_vm_new(&vo, &o->vm);
	if (!err)
		err = rmio_vcpu_new(o->vm, 0, &wait, &o->vcpu);
	co.vm = o->vm;
	if (!err) {
		err = rmio_client_connect(bench_own.socket, &co, &o->client);
		if (err)
			bench_why(run, err, "%.100s: %s%s", bench_own.socket, strerror(-err),
				  err == -ETIMEDOUT ? "; does it serve somebody else?" : "");
	}
	if (!err)
		err = place(run, o);
	if (err)
		own_free(run);
	return err;
}

static int alive(struct bench_run *run, const struct own *o)
{
	if (o->master && rmio_master_state(o->master) > RMIO_STATE_LIVE)
		return bench_why(run, -EIO, "the device died");
	return 0;
}

/* -- from the VMM's thread ---------------------------------------------------- */

static inline int load_op(struct bench_run *run)
{
	struct own *o = run->priv;
	uint64_t value = 0;

	if (o->master)
		return rmio_vcpu_load(o->vcpu, RMIO_BUS_MEM, GUEST_DEVICE + bench_own.offset,
				      bench_own.len, &value);
	return rmio_client_region_read(o->client, bench_own.range, bench_own.offset, &value,
				       bench_own.len);
}

static inline int store_op(struct bench_run *run)
{
	struct own *o = run->priv;

	if (o->master)
		return rmio_vcpu_store(o->vcpu, RMIO_BUS_MEM, GUEST_DEVICE + bench_own.offset,
				       bench_own.len, bench_own.value);
	return rmio_client_region_write(o->client, bench_own.range, bench_own.offset,
					&bench_own.value, bench_own.len);
}

static int load_setup(struct bench_run *run)
{
	return own_new(run, false);
}

static int store_setup(struct bench_run *run)
{
	return own_new(run, true);
}

static int load_slice(struct bench_run *run, uint64_t ns)
{
	int err = bench_loop(run, ns, 1, load_op);

	return err ? err : alive(run, run->priv);
}

static int store_slice(struct bench_run *run, uint64_t ns)
{
	int err = bench_loop(run, ns, 1, store_op);

	return err ? err : alive(run, run->priv);
}

/* -- a guest's ------------------------------------------------------------------ */

static int guest_setup(struct bench_run *run, bool store)
{
	struct guest_code code = {
		.addr = GUEST_DEVICE + (uint32_t)bench_own.offset, .registers = 1, .store = store,
	};
	struct own *o;
	int err;

	if (bench_own.socket && bench_own.len != 4)
		return bench_why(run, 1, "the guest's accesses have 4 bytes");
	if (bench_own.socket && store && bench_own.value != GUEST_VALUE)
		return bench_why(run, 1, "the guest stores %#x: --device ...,store=%#x", GUEST_VALUE,
				 GUEST_VALUE);
	err = own_new(run, store);
	if (err)
		return err;
	o = run->priv;
	err = guest_new(run, &code, &o->guest);
	if (err) {
		own_free(run);
		return err;
	}
	o->has_guest = true;
	return 0;
}

static int guest_load_setup(struct bench_run *run)
{
	return guest_setup(run, false);
}

static int guest_store_setup(struct bench_run *run)
{
	return guest_setup(run, true);
}

static int answer(struct bench_run *run, struct kvm_run *exit)
{
	struct own *o = run->priv;
	int err;

	if (o->master) {
		while ((err = rmio_vcpu_exit(o->vcpu, exit)) == -EINTR)
			vmm_vcpu_clear_kick(o->guest.vcpu);
		return err;
	}
	if (exit->mmio.is_write)
		return rmio_client_region_write(o->client, bench_own.range, bench_own.offset,
						exit->mmio.data, exit->mmio.len);
	return rmio_client_region_read(o->client, bench_own.range, bench_own.offset,
				       exit->mmio.data, exit->mmio.len);
}

static int guest_op(struct bench_run *run)
{
	struct own *o = run->priv;

	return guest_batch(run, &o->guest, answer);
}

static int guest_slice(struct bench_run *run, uint64_t ns)
{
	int err = bench_loop(run, ns, GUEST_BATCH, guest_op);

	return err ? err : alive(run, run->priv);
}

const struct bench_case bench_own_cases[] = {
	{
		.name = "own.load",
		.what = "a load from the device of --device, by a VMM's thread",
		.rivals = { "ring.rtt", "socket.rtt", "socket.rtt.poll" },
		.waits = BENCH_ANYHOW,
		.flags = BENCH_OWN,
		.setup = load_setup,
		.slice = load_slice,
		.teardown = own_free,
	}, {
		.name = "own.store",
		.what = "a store to it",
		.rivals = { "socket.rtt", "socket.rtt.poll" },
		.waits = BENCH_ANYHOW,
		.flags = BENCH_OWN,
		.setup = store_setup,
		.slice = store_slice,
		.teardown = own_free,
	}, {
		.name = "own.exit.load",
		.what = "guest load, exit, that device",
		.rivals = { "kvm.exit.load", "socket.load", "rmio.exit.load.device" },
		.waits = BENCH_ANYHOW,
		.flags = BENCH_OWN | BENCH_KVM,
		.setup = guest_load_setup,
		.slice = guest_slice,
		.teardown = own_free,
	}, {
		.name = "own.exit.store",
		.what = "guest store, exit, that device",
		.rivals = { "kvm.exit.store", "socket.store", "rmio.exit.store.posted" },
		.waits = BENCH_ANYHOW,
		.flags = BENCH_OWN | BENCH_KVM,
		.setup = guest_store_setup,
		.slice = guest_slice,
		.teardown = own_free,
	},
	{ 0 },
};
