// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a guest's access costs with rmio, and what a device process costs that
 * has nothing to do.
 *
 * The whole data path of a back end: KVM_RUN, what KVM takes, rmio_vcpu_exit, lane,
 * device loop in another process, handler, reply.  The device is the smallest there is.
 */
#include <errno.h>
#include <rmio/device.h>
#include <rmio/vmm.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

#define BAR_SIZE	8192
#define COUNT_OFFSET	0x8	/* how many stores had the right value */
#define SHADOW_OFFSET	0x100	/* of the registers that the shadow answers */
#define RELAXED_OFFSET	0x1000	/* of those it answers without regard to stores */
#define BPF_SLOT	64	/* of KVM's memory slots */
#define REG_VALUE	0x72u
#define ATTACH_NS	5000000000ull
#define IDLE_SETTLE_NS	1000000000ull
#define IDLE_NS		1200000000ull

struct rmio_case {
	struct bench_run *run;
	struct rmio_wait_opts wait;
	struct rmio_vm *vm;
	struct rmio_vcpu *vcpu;
	struct guest guest;
	bool has_guest;
	bool bpf;
	unsigned int devices;
	struct {
		struct rmio_master *master;
		int slave_fd;
	} dev[];
};

/* -- the device process ---------------------------------------------------- */

static uint64_t dev_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	uint64_t *good = rmio_dev_priv(dev);

	return offset == COUNT_OFFSET ? *good : REG_VALUE;
}

static void dev_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		      uint32_t len)
{
	uint64_t *good = rmio_dev_priv(dev);

	*good += offset == 0 && len == 4 && value == GUEST_VALUE;
}

static const struct rmio_dev_ops dev_ops = { .load = dev_load, .store = dev_store };

static int device_process(void *arg)
{
	static const struct rmio_dev_range bar = { .bus = RMIO_BUS_MEM, .len = BAR_SIZE };
	static const struct rmio_area areas[] = {
		{ .offset = 0, .length = 4 },
		{
			.offset = SHADOW_OFFSET,
			.length = RELAXED_OFFSET - SHADOW_OFFSET,
			.sizes = RMIO_SIZE_ALL,
			.load = RMIO_LOAD_SHADOW,
		}, {
			.offset = RELAXED_OFFSET,
			.length = BAR_SIZE - RELAXED_OFFSET,
			.shadow_offset = RELAXED_OFFSET,
			.sizes = RMIO_SIZE_ALL,
			.load = RMIO_LOAD_SHADOW,
			.flags = RMIO_AREA_RELAXED,
		},
	};
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc),
		.name = "bench",
		.ops = &dev_ops,
		.ranges = &bar,
		.nr_ranges = 1,
		.areas = areas,
		.nr_areas = 3,
		.shadow_size = BAR_SIZE,
	};
	struct rmio_case *c = arg;
	struct rmio_loop_opts opts = { .sz = sizeof(opts), .wait = c->wait };
	struct rmio_loop *loop;
	uint64_t *regs = calloc(c->devices, sizeof(*regs));
	struct rmio_dev *dev;
	unsigned int i;
	int err;

	err = regs ? rmio_loop_new(&opts, &loop) : -ENOMEM;
	for (i = 0; !err && i < c->devices; i++) {
		err = rmio_dev_new(loop, &desc, &regs[i], &dev);
		if (!err)
			err = rmio_dev_shadow_put(dev, 0, REG_VALUE, 4);
		if (!err)
			err = rmio_dev_slave(dev, c->dev[i].slave_fd);
	}
	return err ? err : rmio_loop_run(loop);
}

/* -- the VMM --------------------------------------------------------------- */

static void close_slave(struct rmio_case *c, unsigned int i)
{
	if (c->dev[i].slave_fd >= 0)
		close(c->dev[i].slave_fd);
	c->dev[i].slave_fd = -1;
}

static void rmio_teardown(struct bench_run *run)
{
	struct rmio_case *c = run->priv;
	unsigned int i;

	if (c->has_guest)
		guest_free(&c->guest);
	if (c->vcpu)
		rmio_vcpu_free(c->vcpu);
	for (i = 0; i < c->devices; i++) {
		if (c->dev[i].master)
			rmio_master_free(c->dev[i].master);
		close_slave(c, i);
	}
	if (c->vm)
		rmio_vm_free(c->vm);
	bench_peer_stop(run);
	free(c);
	run->priv = NULL;
}

static int add_master(struct rmio_case *c, unsigned int i)
{
	struct rmio_master_opts opts = {
		.sz = sizeof(opts),
		.backend = c->bpf ? RMIO_BACKEND_BPF : RMIO_BACKEND_EXIT,
	};
	struct rmio_pa_range range = {
		.addr = GUEST_DEVICE + i * BAR_SIZE,
		.len = BAR_SIZE,
		.bus = RMIO_BUS_MEM,
	};
	int err, fd;

	err = rmio_master_new(c->vm, &opts, &c->dev[i].master);
	if (err)
		return err;
	err = rmio_master_pa_range(c->dev[i].master, &range);
	if (err)
		return err;
	fd = rmio_master_slave_fd(c->dev[i].master);
	if (fd < 0)
		return fd;
	c->dev[i].slave_fd = fd;
	return 0;
}

/* Until the device answers, and its access map is in force. */
static int attach(struct rmio_case *c, unsigned int i)
{
	uint64_t end = bench_ticks() + bench_ns_to_ticks(ATTACH_NS);
	uint64_t addr = GUEST_DEVICE + i * BAR_SIZE;
	struct rmio_counters n;
	uint64_t value;
	int err;

	do {
		err = rmio_vcpu_load(c->vcpu, RMIO_BUS_MEM, addr + SHADOW_OFFSET, 4, &value);
		if (!err)
			err = rmio_master_counters(c->dev[i].master, -1, &n);
		if (err)
			return err;
		if (n.shadow && value == REG_VALUE)
			break;
		usleep(100);
	} while (bench_ticks() < end);
	err = rmio_vcpu_load(c->vcpu, RMIO_BUS_MEM, addr, 4, &value);
	if (err)
		return err;
	if (!n.shadow || value != REG_VALUE)
		return bench_why(c->run, -ETIMEDOUT, "device %u did not attach", i);
	return 0;
}

static int interrupted(struct bench_run *run, struct kvm_run *exit)
{
	struct rmio_case *c = run->priv;

	while (rmio_vcpu_intr(c->vcpu, exit) == -EINTR)
		;
	return 0;
}

static int use_bpf(struct rmio_case *c, const struct guest_code *code)
{
	struct rmio_kvm_opts opts = {
		.sz = sizeof(opts),
		.kick_signal = vmm_kick_signal(),
		.first_slot = BPF_SLOT,
		.nr_slots = 64,
		.flags = RMIO_KVM_ZONES,
	};
	const char *why;
	int err = guest_new(c->run, code, &c->guest);

	if (err)
		return err;
	c->has_guest = true;
	c->guest.interrupted = interrupted;
	opts.vm_fd = c->guest.vm->fd;
	err = rmio_vm_kvm(c->vm, &opts);
	if (!err)
		return 0;
	rmio_vm_backend(c->vm, &why);
	return bench_why(c->run, err == -EPERM || err == -ENOTSUP ? 1 : err, "%.150s", why);
}

/* @code: of a guest on the bpf back end; NULL: exit, and the guest is made later. */
static int rmio_setup_on(struct bench_run *run, const struct guest_code *code)
{
	struct rmio_vm_opts opts = { .sz = sizeof(opts), .max_vcpus = 1 };
	struct rmio_case *c;
	unsigned int i;
	int err;

	c = calloc(1, sizeof(*c) + run->devices * sizeof(c->dev[0]));
	if (!c)
		return -ENOMEM;
	run->priv = c;
	c->run = run;
	c->devices = run->devices;
	c->wait.sz = sizeof(c->wait);
	c->wait.policy = run->wait == BENCH_POLL ? RMIO_WAIT_POLL :
			 run->wait == BENCH_ADAPTIVE ? RMIO_WAIT_ADAPTIVE : RMIO_WAIT_SLEEP;
	c->wait.placement = run->placement == BENCH_SAME_CPU ?
			    RMIO_PLACE_SAME_CPU : RMIO_PLACE_ANY;
	for (i = 0; i < c->devices; i++)
		c->dev[i].slave_fd = -1;

	err = rmio_vm_new(&opts, &c->vm);
	if (!err && code) {
		c->bpf = true;
		err = use_bpf(c, code);
	}
	for (i = 0; !err && i < c->devices; i++)
		err = add_master(c, i);
	if (!err)
		err = rmio_vcpu_new(c->vm, 0, &c->wait, &c->vcpu);
	if (!err)
		err = bench_peer_start(run, device_process, c);
	for (i = 0; i < c->devices; i++)
		close_slave(c, i);
	for (i = 0; !err && i < c->devices; i++)
		err = attach(c, i);
	if (err)
		rmio_teardown(run);
	return err;
}

static int rmio_setup(struct bench_run *run)
{
	return rmio_setup_on(run, NULL);
}

static struct guest_code code_for(const struct bench_run *run, uint32_t offset, bool store)
{
	return (struct guest_code){
		.addr = GUEST_DEVICE + offset,
		.stride = BAR_SIZE,
		.registers = run->devices,
		.store = store,
	};
}

static int guest_setup(struct bench_run *run, uint32_t offset, bool store)
{
	struct guest_code code = code_for(run, offset, store);
	struct rmio_case *c;
	int err = rmio_setup(run);

	if (err)
		return err;
	c = run->priv;
	err = guest_new(run, &code, &c->guest);
	if (err) {
		rmio_teardown(run);
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

static int bpf_setup(struct bench_run *run, uint32_t offset, bool store)
{
	struct guest_code code = code_for(run, offset, store);

	return rmio_setup_on(run, &code);
}

static int bpf_load_device_setup(struct bench_run *run)
{
	return bpf_setup(run, 0, false);
}

static int bpf_load_shadow_setup(struct bench_run *run)
{
	return bpf_setup(run, RELAXED_OFFSET, false);
}

static int bpf_store_posted_setup(struct bench_run *run)
{
	return bpf_setup(run, 0, true);
}

static int answer(struct bench_run *run, struct kvm_run *exit)
{
	struct rmio_case *c = run->priv;
	int err;

	while ((err = rmio_vcpu_exit(c->vcpu, exit)) == -EINTR)
		vmm_vcpu_clear_kick(c->guest.vcpu);
	return err;
}

static int access_op(struct bench_run *run)
{
	struct rmio_case *c = run->priv;

	return guest_batch(run, &c->guest, answer);
}

static int count(const struct rmio_case *c, struct rmio_counters *sum)
{
	struct rmio_counters n;
	unsigned int i;
	int err;

	memset(sum, 0, sizeof(*sum));
	for (i = 0; i < c->devices; i++) {
		err = rmio_master_counters(c->dev[i].master, -1, &n);
		if (err)
			return err;
		sum->posted += n.posted;
		sum->loads += n.loads;
		sum->shadow += n.shadow;
		sum->ones += n.ones;
		sum->discarded += n.discarded;
	}
	return 0;
}

/* A dead device answers at once; accesses that went another way are not what is measured. */
static int access_slice(struct bench_run *run, uint64_t ns)
{
	struct rmio_case *c = run->priv;
	struct rmio_counters before, after;
	uint64_t exits = run->exits;
	int err;

	err = count(c, &before);
	if (!err)
		err = bench_loop(run, ns, GUEST_BATCH, access_op);
	if (!err)
		err = count(c, &after);
	if (err)
		return err;
	exits = run->exits - exits;
	if (after.ones || after.discarded)
		return bench_why(run, -EIO, "the device died");
	if (after.posted - before.posted != exits && after.loads - before.loads != exits &&
	    after.shadow - before.shadow != exits)
		return bench_why(run, -EIO, "accesses took more than one path");
	return 0;
}

/* Every store that was posted has reached the device, with its data. */
static int bpf_store_slice(struct bench_run *run, uint64_t ns)
{
	struct rmio_case *c = run->priv;
	struct rmio_counters n;
	uint64_t good = 0;
	int err = bench_loop(run, ns, GUEST_BATCH, access_op);

	if (!err)
		err = count(c, &n);
	if (!err)
		err = rmio_vcpu_load(c->vcpu, RMIO_BUS_MEM, GUEST_DEVICE + COUNT_OFFSET, 8, &good);
	if (err)
		return err;
	if (!n.posted || good != n.posted)
		return bench_why(run, -EIO, "%llu stores were posted, %llu arrived",
				 (unsigned long long)n.posted, (unsigned long long)good);
	return 0;
}

static int bpf_load_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, GUEST_BATCH, access_op);
}

/* -- nothing to do ---------------------------------------------------------- */

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
		.slice = access_slice,
		.teardown = rmio_teardown,
	}, {
		.name = "rmio.exit.load.device",
		.what = "the same, from each of many devices of one process in turn",
		.rivals = { "rmio.exit.load.device" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_POLL) | BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_KVM | BENCH_FIXED | BENCH_MANY,
		.setup = load_device_setup,
		.slice = access_slice,
		.teardown = rmio_teardown,
	}, {
		.name = "rmio.exit.load.shadow",
		.what = "guest load, exit, answered from the shadow in the vCPU's thread",
		.rivals = { "kvm.exit.load" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_KVM | BENCH_FIXED,
		.setup = load_shadow_setup,
		.slice = access_slice,
		.teardown = rmio_teardown,
	}, {
		.name = "rmio.exit.store.posted",
		.what = "guest store, exit, posted to a device process",
		.rivals = { "kvm.exit.store", "socket.store" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_ANYHOW,
		.flags = BENCH_KVM,
		.setup = store_posted_setup,
		.slice = access_slice,
		.teardown = rmio_teardown,
	}, {
		.name = "rmio.bpf.load.shadow",
		.what = "guest load, answered from the shadow without an exit",
		.rivals = { "kvm.ram.load", "kvm.exit.load" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_KVM | BENCH_FIXED,
		.setup = bpf_load_shadow_setup,
		.slice = bpf_load_slice,
		.teardown = rmio_teardown,
	}, {
		.name = "rmio.bpf.store.posted",
		.what = "guest store, put into the lane in the kernel",
		.rivals = { "kvm.ioeventfd.store", "socket.store", "kvm.exit.store" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_ANYHOW,
		.flags = BENCH_KVM,
		.setup = bpf_store_posted_setup,
		.slice = bpf_store_slice,
		.teardown = rmio_teardown,
	}, {
		.name = "rmio.bpf.load.device",
		.what = "guest load, exit, answered by a device process",
		.rivals = { "kvm.exit.load", "socket.load", "socket.load.poll" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_ANYHOW,
		.flags = BENCH_KVM,
		.setup = bpf_load_device_setup,
		.slice = access_slice,
		.teardown = rmio_teardown,
	}, {
		.name = "idle.cpu",
		.what = "CPU time of a device process that nobody asks anything",
		.waits = BENCH_WAIT(BENCH_ADAPTIVE) | BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_ONCE | BENCH_IDLE,
		.setup = rmio_setup,
		.slice = idle_slice,
		.teardown = rmio_teardown,
	},
	{ 0 },
};
