// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a guest's access costs with rmio on the bpf back end, what its program costs, and
 * what it costs a VM that has nothing to do with rmio.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../beside.h"
#include "../rmio_case.h"

#define ZONE_REGS	16u
#define ZONE_BATCHES	100000u		/* until the planner must have seen that they are hot */
#define LATENCIES	65536u
#define READY_NS	60000000000ull
#define OTHERS_MAX	256u

static int bpf_setup(struct bench_run *run, uint32_t offset, bool store)
{
	struct guest_code code = rmio_case_code(run, offset, store);

	return rmio_case_new(run, &code, NULL, NULL);
}

static int load_device_setup(struct bench_run *run)
{
	return bpf_setup(run, 0, false);
}

static int load_shadow_setup(struct bench_run *run)
{
	return bpf_setup(run, RELAXED_OFFSET, false);
}

static int store_posted_setup(struct bench_run *run)
{
	return bpf_setup(run, 0, true);
}

static int load_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, GUEST_BATCH, rmio_case_access);
}

/* Every store that was posted has reached the device, with its data. */
static int all_arrived(struct bench_run *run)
{
	struct rmio_case *c = run->priv;
	struct rmio_counters n;
	uint64_t good = 0;
	int err = rmio_case_count(c, &n);

	if (!err)
		err = rmio_vcpu_load(c->vcpu, RMIO_BUS_MEM, GUEST_DEVICE + COUNT_OFFSET, 8, &good);
	if (err)
		return err;
	if (!n.posted || good != n.posted)
		return bench_why(run, -EIO, "%llu stores were posted, %llu arrived",
				 (unsigned long long)n.posted, (unsigned long long)good);
	return 0;
}

static int store_slice(struct bench_run *run, uint64_t ns)
{
	int err = bench_loop(run, ns, GUEST_BATCH, rmio_case_access);

	return err ? err : all_arrived(run);
}

/* -- a coalesced zone --------------------------------------------------------- */

static int zone_stores(const struct rmio_case *c, uint64_t *n)
{
	struct rmio_lane_stats s = { .sz = sizeof(s) };
	int err = rmio_master_lane_stats(c->dev[0].master, -1, &s);

	*n = s.zone;
	return err;
}

/* The guest stores until the planner has given it a zone. */
static int zone_setup(struct bench_run *run)
{
	struct guest_code code = rmio_case_code(run, ZONE_OFFSET, true);
	uint64_t zone = 0;
	unsigned int i;
	int err;

	code.stride = 8;
	code.registers = ZONE_REGS;
	err = rmio_case_new(run, &code, NULL, NULL);
	if (err)
		return err;
	for (i = 0; i < ZONE_BATCHES && !err && !zone; i++) {
		err = rmio_case_access(run);
		if (!err)
			err = zone_stores(run->priv, &zone);
	}
	if (!err && !zone)
		err = bench_why(run, -ETIMEDOUT, "no coalesced zone after %u stores",
				ZONE_BATCHES * GUEST_BATCH);
	if (err)
		rmio_case_free(run);
	return err;
}

/* -- until the device has it ---------------------------------------------------- */

struct arrivals {
	const volatile struct bench_stamps *stamps;
	struct beside *beside;
	uint64_t nr;
	uint64_t ns[LATENCIES];
};

/* In the device process, at its handler. */
static void arrived(void *arg)
{
	struct arrivals *a = arg;
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	a->ns[a->nr % LATENCIES] = now - a->stamps->ns[a->nr % BENCH_STAMPS];
	__atomic_store_n(&a->nr, a->nr + 1, __ATOMIC_RELEASE);
}

static void latency_free(struct arrivals *a)
{
	beside_free(a->beside);
	bench_unshare(a, sizeof(*a));
}

/* The clock is attached first, and so runs before the program that is measured. */
static int latency_setup(struct bench_run *run)
{
	struct guest_code code = rmio_case_code(run, 0, true);
	struct arrivals *a = bench_shared(sizeof(*a));
	int err;

	if (!a)
		return -ENOMEM;
	err = beside_new(run, BESIDE_STAMP, GUEST_DEVICE, &a->beside);
	if (!err) {
		a->stamps = beside_stamps(a->beside);
		err = rmio_case_new(run, &code, arrived, a);
	}
	if (err)
		latency_free(a);
	return err;
}

static void latency_teardown(struct bench_run *run)
{
	struct arrivals *a = ((struct rmio_case *)run->priv)->arg;

	rmio_case_free(run);
	latency_free(a);
}

static int latency_slice(struct bench_run *run, uint64_t ns)
{
	struct arrivals *a = ((struct rmio_case *)run->priv)->arg;
	uint64_t from = __atomic_load_n(&a->nr, __ATOMIC_ACQUIRE), nr;
	int err = store_slice(run, ns);

	if (err)
		return err;
	/* The device has seen them all: a load has come back. */
	nr = __atomic_load_n(&a->nr, __ATOMIC_ACQUIRE);
	if (nr != a->stamps->nr)
		return bench_why(run, -EIO, "%llu stores were seen, %llu arrived",
				 (unsigned long long)a->stamps->nr, (unsigned long long)nr);
	if (nr - from > LATENCIES)
		from = nr - LATENCIES;
	hist_clear(&run->slice);
	run->per_sample = 1;
	for (; from < nr; from++)
		hist_record(&run->slice, a->ns[from % LATENCIES] * 1000);
	return 0;
}

/* -- what a run of the program costs -------------------------------------------- */

static int captured_slice(struct bench_run *run, uint64_t ns)
{
	struct rmio_program_stats s = { .sz = sizeof(s) };
	struct rmio_case *c = run->priv;
	int err = rmio_vm_program(c->vm, &s);

	if (!err)
		err = beside_slice(run, ns, s.id, rmio_case_access);
	return err ? err : all_arrived(run);
}

/* -- a VM without rmio ------------------------------------------------------------ */

/* What a VMM of other processes tells: its devices are there. */
struct others {
	struct bench_run run;		/* theirs */
	struct guest guest;		/* ours: stores to an ioeventfd */
	bool has_guest;
	int fd;
	struct beside *beside;
	int status;			/* 1: not yet */
	uint32_t program;
};

static int other_vmm(void *arg)
{
	struct rmio_program_stats s = { .sz = sizeof(s) };
	struct others *o = arg;
	int err = bpf_setup(&o->run, 0, true);

	if (!err)
		err = rmio_vm_program(((struct rmio_case *)o->run.priv)->vm, &s);
	o->program = s.id;
	__atomic_store_n(&o->status, err > 0 ? -ENOTSUP : err, __ATOMIC_RELEASE);
	while (!err)
		pause();
	return err;
}

static void others_teardown(struct bench_run *run)
{
	struct others *o = run->priv;

	if (o->has_guest)
		guest_free(&o->guest);
	if (o->fd >= 0)
		close(o->fd);
	beside_free(o->beside);
	bench_peer_stop(run);
	bench_unshare(o, sizeof(*o));
	run->priv = NULL;
}

static int others_start(struct bench_run *run, struct others *o, unsigned int devices)
{
	uint64_t end = bench_ticks() + bench_ns_to_ticks(READY_NS);
	int err;

	o->run.def = run->def;
	o->run.cpu = run->cpu;
	o->run.peer_cpu = run->peer_cpu;
	o->run.wait = BENCH_SLEEP;
	o->run.devices = devices;
	o->status = 1;
	err = bench_peer_start(run, other_vmm, o);
	while (!err && (err = __atomic_load_n(&o->status, __ATOMIC_ACQUIRE)) == 1) {
		err = bench_ticks() < end ? 0 : -ETIMEDOUT;
		usleep(1000);
	}
	return err ? bench_why(run, err == -ENOTSUP ? 1 : err, "the other VMM: %.120s",
			       o->run.why[0] ? o->run.why : strerror(-err)) : 0;
}

/* @devices 0: @what instead of them. */
static int others_new(struct bench_run *run, unsigned int devices, enum beside_what what)
{
	struct guest_code code = { .addr = GUEST_DEVICE, .registers = 1, .store = true };
	struct others *o = bench_shared(sizeof(*o));
	int err;

	if (!o)
		return -ENOMEM;
	run->priv = o;
	o->fd = -1;
	err = devices ? others_start(run, o, devices) :
			beside_new(run, what, GUEST_DEVICE, &o->beside);
	if (!err && !devices)
		o->program = beside_program(o->beside);
	if (!err)
		err = guest_new(run, &code, &o->guest);
	if (!err) {
		o->has_guest = true;
		o->fd = guest_ioeventfd(run, &o->guest, GUEST_DEVICE);
		err = o->fd < 0 ? o->fd : 0;
	}
	if (err)
		others_teardown(run);
	return err;
}

static int none_setup(struct bench_run *run)
{
	return others_new(run, 0, BESIDE_NONE);
}

static int array_setup(struct bench_run *run)
{
	return others_new(run, 0, BESIDE_ARRAY);
}

static int ring_setup(struct bench_run *run)
{
	return others_new(run, 0, BESIDE_RING);
}

static int one_setup(struct bench_run *run)
{
	return others_new(run, 1, BESIDE_NONE);
}

static int some_setup(struct bench_run *run)
{
	return others_new(run, 16, BESIDE_NONE);
}

static int many_setup(struct bench_run *run)
{
	return others_new(run, OTHERS_MAX, BESIDE_NONE);
}

static int no_exit(struct bench_run *run, struct kvm_run *exit)
{
	return bench_why(run, -EIO, "a store to the ioeventfd has exited");
}

static int others_op(struct bench_run *run)
{
	struct others *o = run->priv;

	return guest_batch(run, &o->guest, no_exit);
}

static int others_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, GUEST_BATCH, others_op);
}

static int handed_op(struct bench_run *run)
{
	struct others *o = run->priv;
	int err = others_op(run);

	if (!err && beside_take(o->beside))
		err = bench_why(run, -EIO, "stores were lost");
	return err;
}

static int handed_slice(struct bench_run *run, uint64_t ns)
{
	return beside_slice(run, ns, ((struct others *)run->priv)->program, handed_op);
}

static int foreign_slice(struct bench_run *run, uint64_t ns)
{
	return beside_slice(run, ns, ((struct others *)run->priv)->program, others_op);
}

/* Once, since hundreds of devices take longer to make than to measure. */
#define OTHERS(n, how, does)							\
	{									\
		.name = n,							\
		.what = "store to an ioeventfd by a VM without rmio, beside " how,	\
		.rivals = { "kvm.ioeventfd.store" },				\
		.flags = BENCH_KVM | BENCH_ONCE,				\
		.setup = does,							\
		.slice = others_slice,						\
		.teardown = others_teardown,					\
	}

const struct bench_case bench_bpf_cases[] = {
	{
		.name = "rmio.bpf.load.shadow",
		.what = "guest load, answered from the shadow without an exit",
		.rivals = { "kvm.ram.load", "kvm.exit.load" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_KVM | BENCH_FIXED,
		.setup = load_shadow_setup,
		.slice = load_slice,
		.teardown = rmio_case_free,
	}, {
		.name = "rmio.bpf.store.posted",
		.what = "guest store, put into the lane in the kernel",
		.rivals = { "kvm.ioeventfd.store", "socket.store", "kvm.exit.store" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_ANYHOW,
		.flags = BENCH_KVM,
		.setup = store_posted_setup,
		.slice = store_slice,
		.teardown = rmio_case_free,
	}, {
		.name = "rmio.bpf.store.zone",
		.what = "the same where registers are dense: a coalesced zone takes it",
		.rivals = { "kvm.ioeventfd.store", "rmio.bpf.store.posted" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_ANYHOW,
		.flags = BENCH_KVM,
		.setup = zone_setup,
		.slice = store_slice,
		.teardown = rmio_case_free,
	}, {
		.name = "rmio.bpf.store.latency",
		.what = "from kvm_mmio until the device's handler has the store",
		.rivals = { "ring.rtt" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_POLL),
		.flags = BENCH_KVM | BENCH_FIXED,
		.setup = latency_setup,
		.slice = latency_slice,
		.teardown = latency_teardown,
	}, {
		.name = "rmio.bpf.load.device",
		.what = "guest load, exit, answered by a device process",
		.rivals = { "kvm.exit.load", "socket.load", "socket.load.poll" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_ANYHOW,
		.flags = BENCH_KVM,
		.setup = load_device_setup,
		.slice = rmio_case_slice,
		.teardown = rmio_case_free,
	}, {
		.name = "bpf.run.empty",
		.what = "a run of a program that does nothing, by the kernel's count",
		.flags = BENCH_KVM | BENCH_ONCE,
		.setup = none_setup,
		.slice = foreign_slice,
		.teardown = others_teardown,
	}, {
		.name = "bpf.run.foreign",
		.what = "a run of rmio's for a store of another VM, by the kernel's count",
		.rivals = { "bpf.run.empty" },
		.flags = BENCH_KVM | BENCH_ONCE,
		.setup = one_setup,
		.slice = foreign_slice,
		.teardown = others_teardown,
	}, {
		.name = "bpf.run.array",
		.what = "a run that does no more than write a slot of a mapped array",
		.rivals = { "bpf.run.empty" },
		.flags = BENCH_KVM | BENCH_ONCE,
		.setup = array_setup,
		.slice = handed_slice,
		.teardown = others_teardown,
	}, {
		.name = "bpf.run.ringbuf",
		.what = "the same with a record of a BPF ring buffer",
		.rivals = { "bpf.run.empty", "bpf.run.array" },
		.flags = BENCH_KVM | BENCH_ONCE,
		.setup = ring_setup,
		.slice = handed_slice,
		.teardown = others_teardown,
	}, {
		.name = "bpf.run.captured",
		.what = "a run of rmio's that captures a store, by the kernel's count",
		.rivals = { "bpf.run.empty" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_POLL),
		.flags = BENCH_KVM | BENCH_FIXED | BENCH_ONCE,
		.setup = store_posted_setup,
		.slice = captured_slice,
		.teardown = rmio_case_free,
	},
	OTHERS("beside.empty", "a BPF program that does nothing", none_setup),
	OTHERS("beside.1", "1 device of another VM", one_setup),
	OTHERS("beside.16", "16 devices of another VM", some_setup),
	OTHERS("beside.256", "256 devices of another VM", many_setup),
	{ 0 },
};
