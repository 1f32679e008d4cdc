// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The VMM and the device process of the cases that measure rmio.
 *
 * The whole data path of a back end: KVM_RUN, what KVM takes, rmio_vcpu_exit, lane,
 * device loop in another process, handler, reply.  The device is the smallest there is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rmio_case.h"

#define BPF_SLOT	64	/* of KVM's memory slots */
#define BPF_SLOTS	64
#define REG_VALUE	0x72u
#define ATTACH_NS	5000000000ull

/* -- the device process ---------------------------------------------------- */

struct device {
	const struct rmio_case *c;
	uint64_t good;
};

static uint64_t dev_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	const struct device *d = rmio_dev_priv(dev);

	return offset == COUNT_OFFSET ? d->good : REG_VALUE;
}

static void dev_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		      uint32_t len)
{
	struct device *d = rmio_dev_priv(dev);

	if (d->c->arrived)
		d->c->arrived(d->c->arg);
	d->good += (!offset || offset >= ZONE_OFFSET) && len == 4 && value == GUEST_VALUE;
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
			.length = ZONE_OFFSET - RELAXED_OFFSET,
			.shadow_offset = RELAXED_OFFSET,
			.sizes = RMIO_SIZE_ALL,
			.load = RMIO_LOAD_SHADOW,
			.flags = RMIO_AREA_RELAXED,
		},
	};
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .vendor = 0x1234,
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
	struct device *d = calloc(c->devices, sizeof(*d));
	struct rmio_dev *dev;
	unsigned int i;
	int err;

	err = d ? rmio_loop_new(&opts, &loop) : -ENOMEM;
	for (i = 0; !err && i < c->devices; i++) {
		d[i].c = c;
		err = rmio_dev_new(loop, &desc, &d[i], &dev);
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

void rmio_case_free(struct bench_run *run)
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
		.nr_slots = BPF_SLOTS,
		.flags = RMIO_KVM_ZONES | RMIO_KVM_BPF,
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

int rmio_case_new(struct bench_run *run, const struct guest_code *code, void (*arrived)(void *arg),
		  void *arg)
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
	c->arrived = arrived;
	c->arg = arg;
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
		rmio_case_free(run);
	return err;
}

struct guest_code rmio_case_code(const struct bench_run *run, uint32_t offset, bool store)
{
	return (struct guest_code){
		.addr = GUEST_DEVICE + offset,
		.stride = BAR_SIZE,
		.registers = run->devices,
		.store = store,
	};
}

static int answer(struct bench_run *run, struct kvm_run *exit)
{
	struct rmio_case *c = run->priv;
	int err;

	while ((err = rmio_vcpu_exit(c->vcpu, exit)) == -EINTR)
		vmm_vcpu_clear_kick(c->guest.vcpu);
	return err;
}

int rmio_case_access(struct bench_run *run)
{
	struct rmio_case *c = run->priv;

	return guest_batch(run, &c->guest, answer);
}

int rmio_case_count(const struct rmio_case *c, struct rmio_counters *sum)
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
int rmio_case_slice(struct bench_run *run, uint64_t ns)
{
	struct rmio_case *c = run->priv;
	struct rmio_counters before, after;
	uint64_t exits = run->exits;
	int err;

	err = rmio_case_count(c, &before);
	if (!err)
		err = bench_loop(run, ns, GUEST_BATCH, rmio_case_access);
	if (!err)
		err = rmio_case_count(c, &after);
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
