// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * rmio_master_plan, rmio_master_lane_stats and rmio_vm_program: on both back ends, with
 * structs of other sizes, and a callback that calls back.  The numbers that a guest
 * makes are looked at by stat_test.
 */
#include "need_bpf.h"

#include <pthread.h>
#include <rmio/slave.h>
#include <string.h>

#define ADDR	0xe0000000ull

struct rig {
	int kvm, fd;
	struct rmio_vm *vm;
	struct rmio_master *m;
	struct rmio_vcpu *vcpu;
};

static bool rig_init(struct rig *r, bool bpf)
{
	struct rmio_pa_range range = { .addr = ADDR, .len = 0x1000 };
	struct rmio_kvm_opts k = { .sz = sizeof(k), .kick_signal = SIGRTMIN };
	struct rmio_vm_opts o = { .sz = sizeof(o), .max_vcpus = 2 };
	struct rmio_master_opts mo = { .sz = sizeof(mo), .ring_slots = 2048 };

	if (!T_EQ(rmio_vm_new(&o, &r->vm), 0))
		return false;
	if (bpf) {
		r->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
		r->fd = ioctl(r->kvm, KVM_CREATE_VM, 0);
		k.vm_fd = r->fd;
		if (!T_EQ(rmio_vm_kvm(r->vm, &k), 0))
			return false;
	}
	return T_EQ(rmio_master_new(r->vm, &mo, &r->m), 0) &&
	       T_EQ(rmio_master_pa_range(r->m, &range), 0) &&
	       T_EQ(rmio_vcpu_new(r->vm, 1, NULL, &r->vcpu), 0);
}

static void rig_exit(struct rig *r)
{
	rmio_master_free(r->m);
	rmio_vcpu_free(r->vcpu);
	rmio_vm_free(r->vm);
}

struct seen {
	struct rmio_master *m;
	unsigned int calls, stop_at;
	struct rmio_plan_entry e[8];
};

static int see(void *arg, const struct rmio_plan_entry *e)
{
	struct rmio_pa_range range = { .addr = ADDR, .len = 0x1000 };
	struct seen *s = arg;

	if (s->calls < 8)
		s->e[s->calls] = *e;
	/* No lock is held: this changes the plan. */
	T_EQ(rmio_master_pa_range(s->m, &range), 0);
	return ++s->calls == s->stop_at ? -ECANCELED : 0;
}

static void lane(bool bpf)
{
	struct rmio_lane_stats s = { .sz = sizeof(s) };
	struct rig r = { .kvm = -1, .fd = -1 };
	struct {
		size_t sz;
		uint64_t slots;
		uint64_t not_touched;
	} older = { .sz = 16, .not_touched = 7 };
	struct {
		struct rmio_lane_stats s;
		uint64_t later[4];
	} newer = { .s.sz = sizeof(newer), .later = { 1, 2, 3, 4 } };

	T_REQUIRE(rig_init(&r, bpf));
	/* Nobody serves it: what is stored stays in the lane. */
	for (int i = 0; i < 5; i++)
		T_EQ(rmio_vcpu_store(r.vcpu, RMIO_BUS_MEM, ADDR + 8, 4, i), 0);
	T_EQ(rmio_master_lane_stats(r.m, 1, &s), 0);
	T_EQ(s.sz, sizeof(s));
	T_EQ(s.depth, 5);
	T_EQ(s.slots, 2048);
	/* None of them was taken in the kernel. */
	T_EQ(s.posted, 0);
	T_EQ(rmio_master_lane_stats(r.m, 0, &s), 0);
	T_EQ(s.depth, 0);
	T_EQ(rmio_master_lane_stats(r.m, -1, &s), 0);
	T_EQ(s.depth, 5);
	T_EQ(s.slots, 4096);
	T_EQ(rmio_master_lane_stats(r.m, 2, &s), -ERANGE);
	s.sz = 4;
	T_EQ(rmio_master_lane_stats(r.m, 0, &s), -EINVAL);
	T_EQ(rmio_master_lane_stats(r.m, 1, (void *)&older), 0);
	T_EQ(older.slots, 2048);
	T_EQ(older.not_touched, 7);
	T_EQ(rmio_master_lane_stats(r.m, 1, &newer.s), 0);
	T_EQ(newer.s.depth, 5);
	T_EQ(newer.later[0] | newer.later[3], 0);
	rig_exit(&r);
}

static void lane_exit(void)
{
	lane(false);
}

static void lane_bpf(void)
{
	NEED_BPF();
	lane(true);
}

static int count_map(void *arg, const char *name, uint32_t id)
{
	int *n = arg;

	T_OK(*name);
	T_GT(id, 0);
	return ++*n == 3 ? -ECANCELED : 0;
}

static void map_ids(void)
{
	struct rig r = { .kvm = -1, .fd = -1 };
	int n = 0;

	NEED_BPF();
	T_REQUIRE(rig_init(&r, true));
	T_EQ(rmio_vm_maps(r.vm, NULL, count_map, &n), -ECANCELED);
	T_EQ(n, 3);
	T_EQ(rmio_vm_maps(r.vm, r.m, count_map, &n), 0);
	/* lanes, down and up; nobody has made an image */
	T_EQ(n, 6);
	rig_exit(&r);
}

static void nothing_on_exit(void)
{
	struct rmio_program_stats p = { .sz = sizeof(p) };
	struct rig r = { .kvm = -1, .fd = -1 };
	struct seen s = { 0 };
	int n = 0;

	T_REQUIRE(rig_init(&r, false));
	s.m = r.m;
	T_EQ(rmio_master_plan(r.m, see, &s), -ENOTSUP);
	T_EQ(s.calls, 0);
	T_EQ(rmio_vm_program(r.vm, &p), -ENOTSUP);
	T_EQ(rmio_vm_maps(r.vm, NULL, count_map, &n), -ENOTSUP);
	T_EQ(rmio_vm_maps(r.vm, r.m, count_map, &n), -ENOTSUP);
	T_EQ(n, 0);
	p.sz = 1;
	T_EQ(rmio_vm_program(r.vm, &p), -EINVAL);
	rig_exit(&r);
}

/* A device whose map is empty is as good, and it is said what becomes of its accesses. */
static void *without_areas(void *arg)
{
	struct rmio_slave **s = arg;

	T_EQ(rmio_slave_shadow_ctrl(*s, NULL, 0), 0);
	return NULL;
}

static void no_map(void)
{
	struct rig r = { .kvm = -1, .fd = -1 };
	struct rmio_slave *slave;
	struct seen s = { 0 };
	pthread_t t;

	NEED_BPF();
	T_REQUIRE(rig_init(&r, true));
	s.m = r.m;
	T_REQUIRE(T_EQ(rmio_slave_open(rmio_master_slave_fd(r.m), NULL, &slave), 0));
	pthread_create(&t, NULL, without_areas, &slave);
	pthread_join(t, NULL);
	T_EQ(rmio_master_plan(r.m, see, &s), 0);
	T_EQ(s.calls, 2);
	T_STREQ(s.e[0].why, "no access map: the device may want to see each load");
	T_STREQ(s.e[1].why, "no access map: what is stored to most is taken, the rest exits");
	rmio_slave_free(slave);
	rig_exit(&r);
}

static void *device(void *arg)
{
	static const struct rmio_area areas[] = {
		{ .offset = 0x10, .length = 4 },
		{ .offset = 0x20, .length = 8, .store = RMIO_STORE_SYNC },
	};
	struct rmio_slave **s = arg;

	T_EQ(rmio_slave_shadow_ctrl(*s, areas, KTAP_COUNT(areas)), 0);
	return NULL;
}

static void plan(void)
{
	struct rmio_program_stats p = { .sz = sizeof(p) };
	struct rig r = { .kvm = -1, .fd = -1 };
	struct rmio_slave *slave;
	struct seen s = { 0 };
	pthread_t t;

	NEED_BPF();
	T_REQUIRE(rig_init(&r, true));
	s.m = r.m;
	/* It is said why there is none yet. */
	T_EQ(rmio_master_plan(r.m, see, &s), 0);
	T_EQ(s.calls, 2);
	T_STREQ(s.e[0].mechanism, "exit");
	T_STREQ(s.e[0].why, "no device has attached yet");
	T_OK(!s.e[0].store && s.e[1].store);
	T_EQ(s.e[1].addr, ADDR);
	T_EQ(s.e[1].length, 0x1000);
	s.calls = 0;
	T_REQUIRE(T_EQ(rmio_slave_open(rmio_master_slave_fd(r.m), NULL, &slave), 0));
	pthread_create(&t, NULL, device, &slave);
	pthread_join(t, NULL);
	T_EQ(rmio_master_plan(r.m, see, &s), 0);
	T_EQ(s.calls, 2);
	T_EQ(s.e[0].sz, sizeof(s.e[0]));
	T_STREQ(s.e[0].mechanism, "ioeventfd");
	T_STREQ(s.e[0].why, "an area of one register");
	T_EQ(s.e[0].offset, 0x10);
	T_EQ(s.e[0].addr, ADDR + 0x10);
	T_EQ(s.e[0].len, 4);
	T_OK(s.e[0].store);
	T_STREQ(s.e[1].mechanism, "exit");
	T_STREQ(s.e[1].why, "its stores wait for the device");
	s.calls = 0;
	s.stop_at = 1;
	T_EQ(rmio_master_plan(r.m, see, &s), -ECANCELED);
	T_EQ(s.calls, 1);
	T_EQ(rmio_vm_program(r.vm, &p), 0);
	T_GT(p.id, 0);
	rmio_slave_free(slave);
	rig_exit(&r);
}

static const struct ktap_test tests[] = {
	{ "lane, exit", lane_exit },
	{ "lane, bpf", lane_bpf },
	{ "no plan on the exit back end", nothing_on_exit },
	{ "plan and program", plan },
	{ "no access map", no_map },
	{ "maps", map_ids },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
