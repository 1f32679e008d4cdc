// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The order of a guest's accesses on the bpf back end, whichever way each one takes:
 * every store arrives once and in the order of its vCPU over both ranges, and a load
 * comes after the stores before it.  On real KVM, with the device in a process of its own.
 */
#include "bpf_rig.h"

#define LEN		0x8000u
#define RANGE1		0x100000u	/* from the first range to the second */
#define ELSEWHERE	0x200000u	/* the second place of the second range */

/* In both ranges, a page for each, and in each page 512 bytes for a vCPU: */
#define REGS		0x0000u		/* registers with areas of their own */
#define THROUGH		0x1000u		/* from the shadow, relaxed, and written through */
#define SHADOW		0x2000u		/* from the shadow, not relaxed */
#define TURNS		50u		/* until every way has been taken */
#define ZONE		0x3000u		/* no areas; stored to all over */
#define SYNC		0x4000u
#define SLICE		0x200u
#define COUNT		0x80u		/* loads: the last store that arrived */
#define ODD		0x41u		/* not aligned: always exits */
#define ROUND		2048u		/* accesses in a program */

/* What both processes see. */
struct seen {
	struct {
		uint64_t arrived, last, sum;
		uint64_t wrong, wrong_value, wrong_last, wrong_offset;
		uint8_t pad[72];
	} vcpu[RIG_VCPUS];
	atomic_uint maps;		/* access maps in use so far */
};

struct order {
	struct seen *seen;
	struct rmio_wait_opts wait;
	uint32_t slots;
	bool raw;			/* a device without a loop */
	bool gaps;			/* stores may have gone to where no device is */
	bool new_maps;			/* another map now and then */
	uint32_t slow_ns;		/* the device's time for some of its stores */
	uint32_t image;			/* the device's: from range to range */
	struct rmio_slave *slave;
	struct rmio_dev *dev;
	char *mem;
	struct rmio_timer timer;
	uint64_t reg[2][LEN / 8];
	struct rig rig;
	uint64_t rounds;		/* that each vCPU has made */
	struct rmio_master *m;
	struct devproc proc;
	atomic_bool done;
};

/* -- the device ---------------------------------------------------------------------------- */

static uint32_t make_areas(struct rmio_area *a, bool relaxed)
{
	static const uint8_t regs[][2] = { { 0, 8 }, { 8, 4 }, { 12, 2 }, { 14, 1 } };
	uint32_t n = 0, r, v, i;

	for (r = 0; r < 2; r++) {
		uint32_t image = r * 0x2000;

		for (v = 0; v < RIG_VCPUS; v++) {
			for (i = 0; i < 4; i++)
				a[n++] = (struct rmio_area){
					.range_id = r, .offset = REGS + v * SLICE + regs[i][0],
					.length = regs[i][1],
				};
			for (i = 0; i < 2; i++)
				a[n++] = (struct rmio_area){
					.range_id = r,
					.offset = THROUGH + v * SLICE + i * 8,
					.length = i ? SLICE - 8 : 8,
					.shadow_offset = image + v * SLICE + i * 8,
					.sizes = RMIO_SIZE_ALL,
					.load = relaxed ? RMIO_LOAD_SHADOW : RMIO_LOAD_DEVICE,
					.store = RMIO_STORE_THROUGH,
					.flags = relaxed ? RMIO_AREA_RELAXED : 0,
				};
		}
		a[n++] = (struct rmio_area){
			.range_id = r,
			.offset = THROUGH + RIG_VCPUS * SLICE,
			.length = 0x1000 - RIG_VCPUS * SLICE,
			.shadow_offset = image + RIG_VCPUS * SLICE,
			.sizes = RMIO_SIZE_ALL,
			.load = RMIO_LOAD_SHADOW,
			/* As in the rest of the page: else it is no memory slot. */
			.store = RMIO_STORE_THROUGH,
			.flags = RMIO_AREA_RELAXED,
		};
		a[n++] = (struct rmio_area){
			.range_id = r, .offset = SHADOW, .length = 0x1000,
			.shadow_offset = image + 0x1000,
			.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
		};
		a[n++] = (struct rmio_area){
			.range_id = r, .offset = SYNC, .length = 0x1000,
			.store = RMIO_STORE_SYNC,
		};
	}
	return n;
}

static void shadow_set(struct order *o, uint64_t offset, uint64_t value)
{
	__atomic_store_n((uint64_t *)(o->mem + offset), value, __ATOMIC_RELEASE);
}

static uint64_t low(uint64_t v, uint32_t len)
{
	return len == 8 ? v : v & ((1ull << 8 * len) - 1);
}

static void on_store(struct order *o, uint32_t range, uint64_t offset, uint64_t value,
		     uint32_t len)
{
	uint32_t v = offset / SLICE % 8;
	uint64_t next, nr;

	if (v >= RIG_VCPUS || range > 1)
		v = 0;		/* wrong whatever it is */
	next = RIG_VALUE(v, o->seen->vcpu[v].last + 1);
	/* The first one from there on that ends like this. */
	nr = RIG_NR(next + low(value - next, len));
	if (low(RIG_VALUE(v, nr), len) != value || (!o->gaps && RIG_VALUE(v, nr) != next) ||
	    nr - RIG_NR(next) > 1ull << 40) {
		if (!o->seen->vcpu[v].wrong++) {
			o->seen->vcpu[v].wrong_value = value;
			o->seen->vcpu[v].wrong_last = o->seen->vcpu[v].last;
			o->seen->vcpu[v].wrong_offset = offset | (uint64_t)range << 32;
		}
	}
	o->seen->vcpu[v].arrived++;
	o->seen->vcpu[v].last = nr;
	o->seen->vcpu[v].sum += nr;
	o->reg[range][offset / 8] = value;
	shadow_set(o, 0x1000 + v * SLICE + COUNT, RIG_VALUE(v, o->seen->vcpu[v].arrived));
	shadow_set(o, 0x3000 + v * SLICE + COUNT, RIG_VALUE(v, o->seen->vcpu[v].arrived));
	if (o->slow_ns && !(o->seen->vcpu[v].arrived & 63))
		nanosleep(&(struct timespec){ .tv_nsec = o->slow_ns }, NULL);
}

static uint64_t on_load(struct order *o, uint32_t range, uint64_t offset, uint32_t len)
{
	uint32_t v = offset / SLICE % RIG_VCPUS;

	if (offset % SLICE == COUNT)
		return low(RIG_VALUE(v, o->seen->vcpu[v].arrived), len);
	return low(o->reg[range & 1][offset % LEN / 8], len);
}

static uint64_t dev_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	return on_load(rmio_dev_priv(dev), range, offset, len);
}

static void dev_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		      uint32_t len)
{
	on_store(rmio_dev_priv(dev), range, offset, value, len);
}

static void new_map(struct rmio_timer *t)
{
	struct order *o = (struct order *)((char *)t - offsetof(struct order, timer));
	struct rmio_area areas[64];

	rmio_dev_areas(o->dev, areas, make_areas(areas, o->seen->maps & 1));
	o->seen->maps++;
	rmio_timer_arm(rmio_dev_loop(o->dev), t, 3000000);
}

static void loop_device(struct order *o, int fd)
{
	static const struct rmio_dev_ops ops = { .load = dev_load, .store = dev_store };
	static const struct rmio_dev_range ranges[] = {
		{ .id = 0, .bus = RMIO_BUS_MEM, .len = LEN },
		{ .id = 1, .bus = RMIO_BUS_MEM, .len = LEN },
	};
	struct rmio_area areas[64];
	struct rmio_dev_desc d = {
		.sz = sizeof(d), .vendor = 0x1234, .name = "order", .ops = &ops,
		.ranges = ranges, .nr_ranges = 2,
		.areas = areas, .nr_areas = make_areas(areas, true),
		.shadow_size = 0x4000,
	};
	struct rmio_loop_opts lo = { .sz = sizeof(lo), .wait = o->wait };
	struct rmio_loop *loop;

	if (!T_EQ(rmio_loop_new(&lo, &loop), 0) || !T_EQ(rmio_dev_new(loop, &d, o, &o->dev), 0))
		return;
	o->mem = rmio_dev_shadow(o->dev);
	if (!T_EQ(rmio_dev_slave(o->dev, fd), 0))
		return;
	if (o->new_maps) {
		o->timer.fire = new_map;
		rmio_timer_arm(loop, &o->timer, 20000000);
	}
	rmio_loop_run(loop);
}

/* One that sleeps in poll(2), which KVM's eventfd does not wake. */
static void raw_device(struct order *o, int fd)
{
	struct rmio_slave_opts so = { .sz = sizeof(so), .wait = o->wait };
	struct rmio_request r[64];
	struct rmio_area areas[64];
	ssize_t n, i;

	if (!T_EQ(rmio_slave_open(fd, &so, &o->slave), 0) ||
	    !T_EQ(rmio_slave_shadow_size(o->slave, 0x4000), 0))
		return;
	o->mem = rmio_slave_mmap(o->slave, NULL);
	if (!T_EQ(rmio_slave_shadow_ctrl(o->slave, areas, make_areas(areas, true)), 0))
		return;
	for (;;) {
		n = rmio_slave_read(o->slave, r, KTAP_COUNT(r));
		if (n == -EAGAIN) {
			rmio_slave_poll(o->slave, 1000);
			continue;
		}
		if (n < 0)
			return;
		for (i = 0; i < n; i++) {
			struct rmio_reply a = { .seq = r[i].seq, .vcpu = r[i].vcpu };

			if (r[i].op == RMIO_OP_LOAD)
				a.data = on_load(o, r[i].range_id, r[i].offset, r[i].len);
			else
				on_store(o, r[i].range_id, r[i].offset, r[i].data, r[i].len);
			rmio_slave_write(o->slave, &a, 1);
		}
	}
}

static void device(int sock, void *arg)
{
	struct order *o = arg;
	int fd = devproc_need(sock);

	close(sock);
	if (o->raw)
		raw_device(o, fd);
	else
		loop_device(o, fd);
}

/* -- the guest -------------------------------------------------------------------------------- */

/* The answer says how many stores the device has seen: all those before. */
static void loaded(struct rig_vcpu *c, uint64_t addr, uint32_t len, uint64_t data)
{
	if (addr % SLICE == COUNT && (addr & 0xf000) != ZONE)
		T_EQ(data, rig_rcx(c) - c->holes);
}

static uint32_t any_len(uint64_t dice)
{
	return 1u << (dice & 3);
}

/* More than a zone needs. */
static const struct {
	uint8_t offset, len;
} zone_regs[] = {
	{ 0, 8 }, { 8, 4 }, { 16, 2 }, { 24, 1 }, { 32, 4 }, { 44, 4 },
	{ 48, 8 }, { 57, 1 }, { 64, 8 }, { 72, 4 }, { 76, 2 }, { 80, 8 },
};

/*
 * Loads from the second range would prove nothing when that moves.  @new_maps: until the
 * VMM has the new map, the device writes through what it handles, which may be older than
 * what the vCPU has written through since.  Without @wait: only what waits for nothing.
 */
static void emit_access(struct rig_vcpu *c, bool new_maps, bool wait)
{
	static const uint8_t own[][2] = { { 0, 8 }, { 8, 4 }, { 12, 2 }, { 14, 1 } };
	uint64_t dice = rig_rnd(&c->seed);
	uint32_t range = dice >> 8 & 1, slice = c->index * SLICE, i = dice >> 16 & 3;
	uint32_t base = (range ? RANGE1 : 0) + slice;
	uint32_t reg = (dice >> 24 & 0xff) % KTAP_COUNT(zone_regs);

	dice = (dice & ~0xffull) | (!wait && (dice & 0xff) < 26 ? 0x40 : dice & 0xff);
	switch (dice & 255) {
	case 0 ... 1:
		emit_load(c, slice + REGS + COUNT, 8);
		break;
	case 2:
		emit_load(c, slice + SHADOW + COUNT, 8);
		break;
	case 3:
		emit_store(c, base + SYNC, 4);
		break;
	case 4 ... 6:
		emit_store(c, base + REGS + ODD, 4);
		break;
	case 7 ... 9:
		emit_store(c, base + REGS, 1u << i % 3);
		break;
	case 10 ... 13:
		emit_store(c, slice + THROUGH, 8);
		emit_load(c, slice + THROUGH, 8);
		if (!new_maps)
			emit_expect_last(c);
		break;
	case 14:
		emit_store(c, slice + REGS, 8);
		emit_load(c, slice + REGS, 8);
		emit_expect_last(c);
		break;
	case 15 ... 25:
		emit_store(c, base + THROUGH + 16 + reg % 4 * 8, any_len(dice >> 32));
		break;
	case 26 ... 85:
		emit_store(c, base + THROUGH, 8);
		break;
	case 86 ... 150:
		emit_store(c, base + ZONE + zone_regs[reg].offset, zone_regs[reg].len);
		break;
	default:
		emit_store(c, base + REGS + own[i][0], own[i][1]);
		break;
	}
}

static bool wait_for_map(struct order *o)
{
	struct rmio_counters n = { 0 };
	long long end = ktap_now_ms() + 10000 * KTAP_SLOWDOWN;
	uint64_t v;

	while (!n.shadow && ktap_now_ms() < end) {
		T_EQ(rmio_vcpu_load(o->rig.vcpu[0].v, RMIO_BUS_MEM, RIG_DEVICE + SHADOW, 4, &v), 0);
		rmio_master_counters(o->m, -1, &n);
		usleep(1000);
	}
	return T_OK(n.shadow);
}

/* Loads from the page that is written through do not exit. */
static bool has_slots(struct order *o)
{
	struct rmio_kvm *k = rmio_kvm_of(o->rig.vm);
	uint32_t used;

	pthread_mutex_lock(&k->lock);
	used = k->slots_used;
	pthread_mutex_unlock(&k->lock);
	return T_EQ(used, 2);
}

/* As if the guest had stored there often, so that the zones are there from the start. */
static void heat_up(struct order *o)
{
	uint32_t i, k, range;

	for (i = 0; i < RMIO_HEAT_HOT; i++)
		for (k = 0; k < KTAP_COUNT(zone_regs); k++)
			for (range = 0; range < 2; range++)
				rig_heat(o->m, range, ZONE + zone_regs[k].offset,
					      zone_regs[k].len);
	rmio_kvm_ask(o->m);
}

static bool set_up(struct order *o)
{
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .backend = RMIO_BACKEND_BPF, .ring_slots = o->slots,
		.timeout_ns = 20000000000ull, .name = "order",
	};
	struct rmio_pa_range ranges[] = {
		{ .addr = RIG_DEVICE, .len = LEN, .id = 0 },
		{ .addr = RIG_DEVICE + RANGE1, .len = LEN, .id = 1 },
	};
	uint32_t i;

	if (!T_EQ(rmio_master_new(o->rig.vm, &mo, &o->m), 0))
		return false;
	for (i = 0; i < 2; i++)
		if (!T_EQ(rmio_master_pa_range(o->m, &ranges[i]), 0))
			return false;
	if (!devproc_give(&o->proc, rmio_master_slave_fd(o->m)) || !wait_for_map(o) ||
	    (!o->new_maps && !has_slots(o)))
		return false;
	heat_up(o);
	for (i = 0; i < o->rig.vcpus; i++) {
		struct rig_vcpu *c = &o->rig.vcpu[i];
		uint32_t k;

		c->loaded = loaded;
		emit_begin(c);
		/* Without waits, more of them than any lane holds. */
		for (k = 0; k < ROUND * (o->slow_ns ? 4 : 1); k++)
			emit_access(c, o->new_maps, !o->slow_ns || k < 16);
		emit_end(c);
	}
	return true;
}

/* All of it has arrived: a load comes after the stores, and the VMM may ask as a vCPU. */
static void check(struct order *o)
{
	uint64_t accesses = 0, exits = 0, stores = 0, kicks = 0, holes = 0;
	struct rmio_bpf_lane k = rig_captured(o->m);
	uint32_t i;

	for (i = 0; i < o->rig.vcpus; i++) {
		struct rig_vcpu *c = &o->rig.vcpu[i];
		uint64_t n = rig_stores(c), v = 0;

		T_EQ(rmio_vcpu_load(c->v, RMIO_BUS_MEM, RIG_DEVICE + i * SLICE + COUNT, 8, &v), 0);
		T_EQ(v, RIG_VALUE(i, n - c->holes));
		T_EQ(o->seen->vcpu[i].arrived, n - c->holes);
		T_EQ(o->seen->vcpu[i].sum, n * (n + 1) / 2 - c->hole_sum);
		if (!T_EQ(o->seen->vcpu[i].wrong, 0))
			ktap_diag("vCPU %u: after %llu came 0x%llx at 0x%llx", i,
				  (unsigned long long)o->seen->vcpu[i].wrong_last,
				  (unsigned long long)o->seen->vcpu[i].wrong_value,
				  (unsigned long long)o->seen->vcpu[i].wrong_offset);
		accesses += c->accesses * o->rounds;
		exits += c->exits;
		kicks += c->interrupted;
		stores += n;
		holes += c->holes;
	}
	ktap_diag("ring %u: %llu accesses, %llu stores: in the kernel %llu (zones %llu, through %llu), to nowhere %llu; exits %llu, kicks %llu, full %llu",
		  rmio_bpf_of(o->m)->dev.slots, (unsigned long long)accesses,
		  (unsigned long long)stores,
		  (unsigned long long)k.posted, (unsigned long long)k.zone,
		  (unsigned long long)k.through, (unsigned long long)holes,
		  (unsigned long long)exits, (unsigned long long)kicks,
		  (unsigned long long)k.full);
	T_EQ(k.lost, 0);
	T_EQ(k.bad, 0);
	T_EQ(k.discarded, 0);
	if (rmio_bpf_of(o->m)->dev.slots < RMIO_BPF_RING_MIN) {
		/* No room to spare for what KVM takes: all of it exits. */
		T_EQ(k.posted, 0);
	} else {
		T_GT(k.posted, 0);
		T_GT(k.zone, 0);
		T_GT(k.through, 0);
	}
	if (o->slow_ns)
		T_GT(k.full, 0);
	T_EQ(rmio_master_state(o->m), RMIO_STATE_LIVE);
}

/* Moves the second range, forgets what is hot and finds it out again. */
static void *replan(void *arg)
{
	struct order *o = arg;
	struct rmio_kvm_plan *p = rmio_bpf_of(o->m)->plan;
	uint64_t seed = 1;
	uint32_t n = 0;

	while (!atomic_load(&o->done)) {
		struct rmio_pa_range r = {
			.addr = RIG_DEVICE + (++n & 1 ? ELSEWHERE : RANGE1), .len = LEN, .id = 1,
		};

		if (o->gaps)
			T_EQ(rmio_master_pa_range(o->m, &r), 0);
		if (!(n & 15)) {
			pthread_mutex_lock(&p->heating);
			rmio_heat_init(&p->heat, RMIO_HEAT_HOT, n);
			pthread_mutex_unlock(&p->heating);
			rmio_kvm_ask(o->m);
		} else if (!(n & 7)) {
			heat_up(o);
		}
		usleep(200 + rig_rnd(&seed) % 8000);
	}
	ktap_diag("%u changes of place, %u of the map", n, o->seen->maps);
	T_GT(n, 0);
	return NULL;
}

/* What check() asks for: plans need their time, and a busy machine gives the guest its own. */
static bool every_way(const struct order *o)
{
	struct rmio_bpf_lane k = rig_captured(o->m);

	return rmio_bpf_of(o->m)->dev.slots < RMIO_BPF_RING_MIN ||
	       (k.posted && k.zone && k.through && (k.full || !o->slow_ns));
}

static void run(struct order *o, uint32_t vcpus, uint64_t rounds, bool fire)
{
	const char *why;
	pthread_t planner;
	uint32_t turn;

	if (!o->wait.sz)
		o->wait.sz = sizeof(o->wait);
	o->seen = mmap(NULL, sizeof(*o->seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	T_REQUIRE(T_NE((intptr_t)o->seen, (intptr_t)MAP_FAILED));
	T_REQUIRE(devproc_start(&o->proc, device, o));
	why = rig_new(&o->rig, rig_most(vcpus), &o->wait);
	if (why)
		T_SKIP(why, RIG_ENABLE);
	T_REQUIRE(set_up(o));
	if (fire)
		T_REQUIRE(T_EQ(pthread_create(&planner, NULL, replan, o), 0));
	for (turn = 0; turn < TURNS && !ktap_failed(); turn++) {
		T_REQUIRE(rig_start(&o->rig, rounds));
		rig_join(&o->rig);
		o->rounds += rounds;
		if (every_way(o))
			break;
	}
	atomic_store(&o->done, true);
	if (fire)
		pthread_join(planner, NULL);
	check(o);
	devproc_kill(&o->proc);
	devproc_wait(&o->proc);
	rmio_master_free(o->m);
	rig_free(&o->rig);
	munmap(o->seen, sizeof(*o->seen));
}

/* Rounds of each vCPU for so many thousands of accesses. */
static uint64_t rounds(uint32_t vcpus, long quick, long normal, long full)
{
	uint64_t n = 1000ull * (uint64_t)ktap_pick(quick, normal, full) / vcpus / ROUND;

	n /= KTAP_SLOWDOWN;
	return n ? n : 1;
}

static void sleeping(void)
{
	static struct order o = { .slots = 4096, .wait = { .policy = RMIO_WAIT_SLEEP } };

	run(&o, 2, rounds(2, 100, 3000, 10000), false);
}

static void adaptive(void)
{
	static struct order o = { .slots = RMIO_BPF_RING_MIN };

	run(&o, 2, rounds(2, 100, 3000, 10000), false);
}

static void in_poll(void)
{
	static struct order o = { .slots = RMIO_BPF_RING_MIN, .raw = true };

	run(&o, 4, rounds(4, 100, 3000, 10000), false);
}

/* The lanes are full most of the time. */
static void slow(void)
{
	static struct order o = { .slots = RMIO_BPF_RING_MIN, .slow_ns = 300000 };

	run(&o, 2, rounds(2, 100, 800, 5000) / 4, false);
}

static void slow_in_poll(void)
{
	static struct order o = { .slots = RMIO_BPF_RING_MIN, .slow_ns = 300000, .raw = true };

	run(&o, 3, rounds(3, 100, 800, 5000) / 4, false);
}

static void two_slots(void)
{
	static struct order o = { .slots = 2 };

	run(&o, 2, rounds(2, 10, 50, 500), false);
}

static void new_maps(void)
{
	static struct order o = { .slots = RMIO_BPF_RING_MIN, .new_maps = true };

	run(&o, 2, rounds(2, 100, 800, 6000), true);
}

static void moving(void)
{
	static struct order o = {
		.slots = RMIO_BPF_RING_MIN, .gaps = true, .new_maps = true, .slow_ns = 100000,
	};

	run(&o, 2, rounds(2, 100, 800, 6000) / 4, true);
}

static const struct ktap_test tests[] = {
	{ "every way of a store, the device sleeps", sleeping, 120 },
	{ "every way of a store, the device spins and sleeps", adaptive, 120 },
	{ "every way of a store, the device sleeps in poll", in_poll, 120 },
	{ "full lanes", slow, 120 },
	{ "full lanes, the device sleeps in poll", slow_in_poll, 120 },
	{ "a ring too small for KVM", two_slots, 120 },
	{ "the map changes under fire", new_maps, 120 },
	{ "a range moves under fire", moving, 120 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
