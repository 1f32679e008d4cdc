// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Stores that are more than one on the bpf back end: with a REP prefix, of 16 bytes, across
 * a page; and those that the program captures while KVM, whose plan is being changed, takes
 * some parts of them or none.  The device notes what comes; it is compared with what was
 * stored, cut as KVM and the library cut it.  On real KVM.
 */
#include "bpf_rig.h"

#define ZONE_PAGES	3u		/* of range 0 */
#define LEN0		0x4000u		/* range 0: pages in zones, and one that always exits */
#define RANGE1		0x100000u	/* from range 0 to range 1 */
#define LEN1		0x10000u		/* range 1: registers, see parts[] */
#define SOURCE		0xc00000u	/* in guest memory */
#define NOTES		0x8000u

struct note {
	uint64_t value;
	uint32_t offset, len;		/* offset: from RIG_DEVICE */
};

/* What both processes see. */
struct seen {
	atomic_uint hold;		/* the device handles nothing more */
	atomic_uint nr;
	struct note note[NOTES];
};

/* What becomes of a part of a store. */
enum fate {
	EXITS,				/* no register */
	TAKEN,				/* a register: the program and KVM take it */
	FORGOTTEN,			/* KVM does not, although the program does */
	FATES,
};

/* Each pair of fates has a place in range 1 for a store across a page, and a wide one. */
#define PAIRS		(FATES * FATES)
#define CROSSING(pair)	(RANGE1 + ((pair) + 1) * 0x1000 - 2)
#define WIDE(pair)	(RANGE1 + (pair) * 0x1000 + 0x100)

static struct {
	struct seen *seen;
	struct rig rig;
	struct rmio_master *m;
	struct devproc proc;
	struct note want[NOTES];
	uint32_t nr;			/* wanted */
} s;

/* -- the device ---------------------------------------------------------------------------- */

/* So many stores have come: what a copy from the device to itself stores next. */
static uint64_t dev_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	return atomic_load(&s.seen->nr);
}

static void dev_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		      uint32_t len)
{
	uint32_t nr = atomic_load(&s.seen->nr);

	while (atomic_load(&s.seen->hold))
		usleep(1000);
	if (nr < NOTES)
		s.seen->note[nr] = (struct note){
			.value = value, .offset = range * RANGE1 + (uint32_t)offset, .len = len,
		};
	atomic_store(&s.seen->nr, nr + 1);
}

static uint32_t make_areas(struct rmio_area *a)
{
	uint32_t n = 0, pair, part;
	enum fate fate[2];

	for (pair = 0; pair < PAIRS; pair++) {
		fate[0] = pair / FATES;
		fate[1] = pair % FATES;
		for (part = 0; part < 2; part++) {
			if (fate[part] == EXITS)
				continue;
			a[n++] = (struct rmio_area){
				.range_id = 1, .length = 8,
				.offset = WIDE(pair) - RANGE1 + part * 8,
			};
			a[n++] = (struct rmio_area){
				.range_id = 1, .length = 2,
				.offset = CROSSING(pair) - RANGE1 + part * 2,
			};
		}
	}
	return n;
}

static void device(int sock, void *arg)
{
	static const struct rmio_dev_ops ops = { .load = dev_load, .store = dev_store };
	static const struct rmio_dev_range ranges[] = {
		{ .id = 0, .len = LEN0 }, { .id = 1, .len = LEN1 },
	};
	struct rmio_area areas[4 * PAIRS];
	struct rmio_dev_desc d = {
		.sz = sizeof(d), .vendor = 0x1234, .name = "store", .ops = &ops, .ranges = ranges, .nr_ranges = 2,
		.areas = areas, .nr_areas = make_areas(areas),
	};
	/* Only what wakes it lets it see a store. */
	struct rmio_loop_opts lo = {
		.sz = sizeof(lo), .wait = { .sz = sizeof(lo.wait), .policy = RMIO_WAIT_SLEEP },
	};
	struct rmio_loop *loop;
	struct rmio_dev *dev;

	if (T_EQ(rmio_loop_new(&lo, &loop), 0) && T_EQ(rmio_dev_new(loop, &d, NULL, &dev), 0) &&
	    T_EQ(rmio_dev_slave(dev, devproc_need(sock)), 0))
		rmio_loop_run(loop);
}

/* -- what is wanted ------------------------------------------------------------------------- */

/* As KVM cuts a store at pages and into 8 bytes, and program or library what is left of it. */
static void want(uint32_t offset, const void *data, uint32_t len)
{
	const uint8_t *p = data;
	uint32_t part, chunk, n;

	for (; len; len -= part) {
		part = 0x1000 - (offset & 0xfff);
		if (part > len)
			part = len;
		if (part > 8)
			part = 8;
		for (chunk = part; chunk; chunk -= n) {
			for (n = 8; n > chunk || (part & (part - 1) && offset & (n - 1));)
				n /= 2;
			if (s.nr < NOTES) {
				s.want[s.nr] = (struct note){ .offset = offset, .len = n };
				memcpy(&s.want[s.nr].value, p, n);
				s.nr++;
			}
			offset += n;
			p += n;
		}
	}
}

/* With no load that would wake the device. */
static void wait_for_stores(void)
{
	long long end = ktap_now_ms() + 10000;

	while (atomic_load(&s.seen->nr) < s.nr && ktap_now_ms() < end)
		usleep(200);
}

/* A load comes after all stores, those too that nobody wants. */
static bool check(const char *what)
{
	uint32_t i;
	uint64_t v;

	wait_for_stores();
	if (!T_EQ(atomic_load(&s.seen->nr), s.nr))
		ktap_diag("%s: before anything else wakes the device", what);
	T_EQ(rmio_vcpu_load(s.rig.vcpu[0].v, RMIO_BUS_MEM, RIG_DEVICE, 8, &v), 0);
	T_EQ(v, s.nr);
	for (i = 0; i < s.nr && i < v && !ktap_failed(); i++)
		if (!T_EQ(s.seen->note[i].offset, s.want[i].offset) ||
		    !T_EQ(s.seen->note[i].len, s.want[i].len) ||
		    !T_EQ(s.seen->note[i].value, s.want[i].value))
			ktap_diag("%s: store %u of %u", what, i, s.nr);
	return !ktap_failed();
}

/* -- the guest ------------------------------------------------------------------------------- */

static uint8_t *source(uint32_t at, uint32_t len)
{
	return vmm_vm_ptr(s.rig.kvm, SOURCE + at, len);
}

static void emit_wide(struct rig_vcpu *c, uint32_t offset, uint32_t from)
{
	EMIT(c, 0x0f, 0x10, 0x04, 0x25);	/* movups from,%xmm0 */
	emit32(c, SOURCE + from);
	EMIT(c, 0x0f, 0x11, 0x83);		/* movups %xmm0,offset(%rbx) */
	emit32(c, offset);
}

/* rep movs, or with @from 0 rep stos of what is in RAX */
static void emit_rep(struct rig_vcpu *c, uint32_t from, uint32_t offset, uint32_t count,
		     uint32_t len)
{
	EMIT(c, 0xbe);				/* mov $,%esi */
	emit32(c, from);
	EMIT(c, 0xbf);				/* mov $,%edi */
	emit32(c, RIG_DEVICE + offset);
	EMIT(c, 0xb9);				/* mov $,%ecx */
	emit32(c, count);
	if (len == 2)
		EMIT(c, 0x66);
	EMIT(c, 0xf3);
	if (len == 8)
		EMIT(c, 0x48);
	EMIT(c, (from ? 0xa4 : 0xaa) + (len > 1));
}

/* -- the VMM ---------------------------------------------------------------------------------- */

static uint32_t planned(uint32_t mech)
{
	uint32_t n = 0;
	size_t i;

	pthread_mutex_lock(&rmio_kvm_of(s.m->vm)->lock);
	for (i = 0; rmio_bpf_of(s.m)->plan->plan && i < rmio_bpf_of(s.m)->plan->plan->nr; i++) {
		const struct rmio_plan_item *it = &rmio_bpf_of(s.m)->plan->plan->items[i];

		if (it->mech == mech)
			n += mech == RMIO_MECH_ZONE ? it->length / RMIO_PAGE : 1;
	}
	pthread_mutex_unlock(&rmio_kvm_of(s.m->vm)->lock);
	return n;
}

static bool wait_planned(uint32_t mech, uint32_t expected)
{
	long long end = ktap_now_ms() + 10000;

	while (planned(mech) < expected && ktap_now_ms() < end)
		usleep(1000);
	return T_EQ(planned(mech), expected);
}

/* As if the guest had stored there often. */
static bool make_zones(void)
{
	uint32_t i, page, k;

	for (i = 0; i < RMIO_HEAT_HOT; i++)
		for (page = 0; page < ZONE_PAGES; page++)
			for (k = 0; k < 16; k++)
				rig_heat(s.m, 0, page * 0x1000 + k * 0x20, 4);
	rmio_kvm_ask(s.m);
	return wait_planned(RMIO_MECH_ZONE, ZONE_PAGES);
}

/* NULL: it runs, and the thread is known as the vCPU.  Else why not. */
static const char *start(void)
{
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .backend = RMIO_BACKEND_BPF, .name = "store",
		.ring_slots = RMIO_BPF_RING_MIN, .timeout_ns = 20000000000ull,
	};
	struct rmio_pa_range ranges[] = {
		{ .addr = RIG_DEVICE, .len = LEN0, .id = 0 },
		{ .addr = RIG_DEVICE + RANGE1, .len = LEN1, .id = 1 },
	};
	struct rmio_wait_opts wait = { .sz = sizeof(wait) };
	struct rmio_area areas[4 * PAIRS];
	struct rig_vcpu *c = &s.rig.vcpu[0];
	const char *why;
	uint64_t seed = 5;
	uint32_t i;

	s.seen = mmap(NULL, sizeof(*s.seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (!T_NE((intptr_t)s.seen, (intptr_t)MAP_FAILED) || !devproc_start(&s.proc, device, NULL))
		return NULL;
	why = rig_new(&s.rig, 1, &wait);
	if (why)
		return why;
	if (!T_EQ(rmio_master_new(s.rig.vm, &mo, &s.m), 0) ||
	    !T_EQ(rmio_master_pa_range(s.m, &ranges[0]), 0) ||
	    !T_EQ(rmio_master_pa_range(s.m, &ranges[1]), 0) ||
	    !devproc_give(&s.proc, rmio_master_slave_fd(s.m)) ||
	    !wait_planned(RMIO_MECH_EVENTFD, make_areas(areas)))
		return NULL;
	for (i = 0; i < 0x8000; i++)
		*source(i, 1) = (uint8_t)rig_rnd(&seed);
	emit_begin(c);
	emit_end(c);
	vmm_vcpu_enter(c->kvm);
	rig_round(c);
	return NULL;
}

static void stop(void)
{
	struct rmio_bpf_lane k = rig_captured(s.m);

	vmm_vcpu_leave(s.rig.vcpu[0].kvm);
	ktap_diag("%u stores, %llu in the kernel, %llu exits, %llu kicks, full %llu", s.nr,
		  (unsigned long long)k.posted, (unsigned long long)s.rig.vcpu[0].exits,
		  (unsigned long long)s.rig.vcpu[0].interrupted, (unsigned long long)k.full);
	T_GT(k.posted, 0);
	T_EQ(k.lost + k.bad + k.discarded, 0);
	T_EQ(rmio_master_state(s.m), RMIO_STATE_LIVE);
	devproc_kill(&s.proc);
	devproc_wait(&s.proc);
	rmio_master_free(s.m);
	rig_free(&s.rig);
	munmap(s.seen, sizeof(*s.seen));
}

/* -- KVM and the program do not agree --------------------------------------------------------- */

static bool asleep(void)
{
	long long end = ktap_now_ms() + 10000;

	while (!rmio_word_read(&s.m->up->need_wake) && ktap_now_ms() < end)
		usleep(200);
	return T_NE(rmio_word_read(&s.m->up->need_wake), 0);
}

/* What a change of the plan does between the program and KVM. */
static void forget(uint32_t offset, uint32_t len)
{
	struct kvm_ioeventfd io = {
		.addr = RIG_DEVICE + offset, .len = len, .fd = rmio_bpf_of(s.m)->posted,
		.flags = KVM_IOEVENTFD_FLAG_DEASSIGN,
	};

	T_EQ(ioctl(s.rig.kvm->fd, KVM_IOEVENTFD, &io), 0);
}

/* The device sees them all, once, without anything after them that would wake it. */
static void parts(bool wide)
{
	uint32_t i, pair, len = wide ? 8 : 2, first, offset;
	struct rig_vcpu *c = &s.rig.vcpu[0];
	const char *why = start();
	uint64_t exits;
	char what[40];

	if (why)
		T_SKIP(why, RIG_ENABLE);
	for (pair = 0; pair < PAIRS && !ktap_failed(); pair++) {
		offset = wide ? WIDE(pair) : CROSSING(pair);
		if (pair / FATES == FORGOTTEN)
			forget(offset, len);
		if (pair % FATES == FORGOTTEN)
			forget(offset + len, len);
		snprintf(what, sizeof(what), "fates %u and %u", pair / FATES, pair % FATES);
		for (i = 0; i < 4 && !ktap_failed(); i++) {
			exits = c->exits;
			first = s.nr;
			c->at = c->body;
			if (wide) {
				emit_wide(c, offset, pair * 64 + i * 16);
				want(offset, source(pair * 64 + i * 16, 16), 16);
			} else {
				/* mov source,%eax; mov %eax,offset(%rbx) */
				EMIT(c, 0x8b, 0x04, 0x25);
				emit32(c, SOURCE + pair * 64 + i * 4);
				EMIT(c, 0x89, 0x83);
				emit32(c, offset);
				want(offset, source(pair * 64 + i * 4, 4), 4);
			}
			emit_end(c);
			if (!asleep() || rig_round(c))
				break;
			wait_for_stores();
			/* The parts of one store have no order. */
			if (s.nr == first + 2 &&
			    s.seen->note[first].offset == s.want[first + 1].offset) {
				struct note n = s.want[first];

				s.want[first] = s.want[first + 1];
				s.want[first + 1] = n;
			}
			check(what);
			/* KVM took it exactly where both parts are taken. */
			if (pair == TAKEN * FATES + TAKEN)
				T_EQ(c->exits, exits);
			else
				T_GT(c->exits, exits);
		}
	}
	stop();
}

static void crossing_parts(void)
{
	parts(false);
}

static void wide_parts(void)
{
	parts(true);
}

/* -- many at a time ------------------------------------------------------------------------- */

/* Lets the device go on when the program has told the vCPU that its lane is full. */
static void *release(void *arg)
{
	uint64_t before = *(uint64_t *)arg;
	long long end = ktap_now_ms() + 10000;

	while (rig_captured(s.m).full == before && ktap_now_ms() < end)
		usleep(1000);
	atomic_store(&s.seen->hold, 0);
	return NULL;
}

/* A lane of RMIO_BPF_RING_MIN slots is full long before each of these ends. */
static void rep_stores(void)
{
	static const struct {
		bool movs;
		uint32_t offset, count, len;
	} reps[] = {
		{ true, 0, ZONE_PAGES * 0x1000 + 64, 1 },	/* the last ones exit */
		{ true, 0x10, 2100, 4 },
		{ true, 0x5, ZONE_PAGES * 0x200 - 8, 8 },	/* across pages */
		{ false, 0x3, 0x1800, 1 },
		{ false, 0x1, 0xc00, 2 },
	};
	struct rig_vcpu *c = &s.rig.vcpu[0];
	const char *why = start();
	pthread_t releaser;
	uint64_t full;
	uint32_t i, k;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	T_REQUIRE(make_zones());
	for (i = 0; i < KTAP_COUNT(reps) && !ktap_failed(); i++) {
		for (k = 0; k < reps[i].count; k++)
			want(reps[i].offset + k * reps[i].len,
			     source(reps[i].movs ? k * reps[i].len : 0, 8), reps[i].len);
		c->at = c->body;
		EMIT(c, 0x48, 0x8b, 0x04, 0x25);	/* mov source,%rax */
		emit32(c, SOURCE);
		emit_rep(c, reps[i].movs ? SOURCE : 0, reps[i].offset, reps[i].count,
			 reps[i].len);
		emit_end(c);
		full = rig_captured(s.m).full;
		atomic_store(&s.seen->hold, 1);
		T_REQUIRE(T_EQ(pthread_create(&releaser, NULL, release, &full), 0));
		rig_round(c);
		pthread_join(releaser, NULL);
		T_GT(rig_captured(s.m).full, full);
		check("rep");
	}
	T_GT(rig_captured(s.m).zone, s.nr / 2);
	stop();
}

/* Each load sees the stores of the rounds before it. */
static void rep_loads(void)
{
	struct rig_vcpu *c = &s.rig.vcpu[0];
	const char *why = start();
	uint64_t got;
	uint32_t i;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	T_REQUIRE(make_zones());
	c->at = c->body;
	emit_rep(c, RIG_DEVICE + 0x3800, 0x100, 40, 8);
	/* mov $,%esi; mov $,%edi; mov $,%ecx; rep movsq: from the device into memory */
	EMIT(c, 0xbe);
	emit32(c, RIG_DEVICE + 0x3800);
	EMIT(c, 0xbf);
	emit32(c, SOURCE);
	EMIT(c, 0xb9);
	emit32(c, 20);
	EMIT(c, 0xf3, 0x48, 0xa5);
	emit_end(c);
	for (i = 0; i < 40; i++)
		want(0x100 + i * 8, &(uint64_t){ s.nr }, 8);
	rig_round(c);
	check("from the device to itself");
	for (i = 0; i < 20; i++) {
		memcpy(&got, source(i * 8, 8), 8);
		T_EQ(got, s.nr);
	}
	stop();
}

/* The last of them leaves the zones. */
static void wide_stores(void)
{
	static const uint32_t at[] = {
		0, 8, 0x11, 0xff0, 0xff1, 0xff8, 0xffd, 0xfff, 0x1ffe, 0x1ff4, 0x2ff0, 0x2ff9,
	};
	struct rig_vcpu *c = &s.rig.vcpu[0];
	const char *why = start();
	uint32_t i, k;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	T_REQUIRE(make_zones());
	c->at = c->body;
	for (k = 0; k < 20; k++)
		for (i = 0; i < KTAP_COUNT(at); i++) {
			emit_wide(c, at[i], k * 0x100 + i * 16);
			want(at[i], source(k * 0x100 + i * 16, 16), 16);
		}
	emit_end(c);
	rig_round(c);
	check("wide");
	T_GT(rig_captured(s.m).zone, s.nr / 2);
	stop();
}

static const struct ktap_test tests[] = {
	{ "KVM takes no part of a store across a page, or one", crossing_parts, 60 },
	{ "KVM takes no part of a wide store, or one", wide_parts, 60 },
	{ "rep stores fill the lane", rep_stores, 60 },
	{ "rep loads", rep_loads, 60 },
	{ "wide stores to zones", wide_stores, 60 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
