// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A guest that stores and loads in every size, 16 bytes included, at every offset of two
 * pages, in every mode of the access map, while KVM takes none of it, some registers,
 * or whole pages.  Each answer, what the device has and the shadow image in the end are
 * compared, byte by byte, with a model: the access map by its definition.
 */
#include "bpf_rig.h"
#include "map_model.h"

#define LEN		0x2000u
#define STRIDE		0x4000u		/* from range to range */
#define MODES		KTAP_COUNT(modes)
#define ID(mode)	((mode) + 16)	/* no BARs: PCI has its own ideas of those */
#define RESULTS		0xc00000u	/* in guest memory */
#define CHUNK		4096u		/* accesses of a round */

static const struct mode {
	const char *name;
	struct rmio_area area;		/* length 0: none */
} modes[] = {
	{ "no area", { 0 } },
	{ "posted", { .length = LEN } },
	{ "synchronous", { .length = LEN, .store = RMIO_STORE_SYNC } },
	{ "through", { .length = LEN, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
		       .store = RMIO_STORE_THROUGH } },
	{ "through, relaxed", { .length = LEN, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
				.store = RMIO_STORE_THROUGH, .flags = RMIO_AREA_RELAXED } },
	{ "shadow, relaxed", { .length = LEN, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
			       .flags = RMIO_AREA_RELAXED } },
	{ "sizes 1 and 4", { .length = LEN, .sizes = RMIO_SIZE_1 | RMIO_SIZE_4,
			     .load = RMIO_LOAD_SHADOW, .store = RMIO_STORE_THROUGH } },
	{ "half relaxed", { .length = LEN / 2, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
			    .store = RMIO_STORE_THROUGH, .flags = RMIO_AREA_RELAXED } },
	{ "loads of sizes 2 and 8, stores synchronous",
	  { .length = LEN, .sizes = RMIO_SIZE_2 | RMIO_SIZE_8, .load = RMIO_LOAD_SHADOW,
	    .store = RMIO_STORE_SYNC, .flags = RMIO_AREA_RELAXED } },
};

struct contents {
	uint8_t mem[MODES][LEN];
};

struct sweep {
	struct contents *dev;		/* the device's, shared */
	struct contents model;
	uint8_t image[MODES * LEN];	/* the model's */
	struct rmio_area areas[MODES];
	uint32_t nr_areas;
	struct rig rig;
	struct rmio_master *m;
	struct devproc proc;
	uint64_t seed, done;
	struct access_of {
		uint32_t offset, len, at;	/* at: of the answer in RESULTS */
		uint64_t value;
	} list[CHUNK];
	uint32_t nr;
};

static struct sweep s;

/* -- device -------------------------------------------------------------------------------- */

static uint64_t dev_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	uint64_t v = 0;

	memcpy(&v, s.dev->mem[range - ID(0)] + offset, len);
	return v;
}

static void dev_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		      uint32_t len)
{
	memcpy(s.dev->mem[range - ID(0)] + offset, &value, len);
}

static void make_areas(void)
{
	uint32_t i;

	for (i = 0; i < MODES; i++)
		if (modes[i].area.length) {
			s.areas[s.nr_areas] = modes[i].area;
			s.areas[s.nr_areas].range_id = ID(i);
			if (modes[i].area.sizes)
				s.areas[s.nr_areas].shadow_offset = i * LEN;
			s.nr_areas++;
		}
}

/* What it has before the first store. */
static uint8_t pattern(uint32_t i)
{
	return (uint8_t)(i * 7 + (i >> 8));
}

static void device(int sock, void *arg)
{
	static const struct rmio_dev_ops ops = { .load = dev_load, .store = dev_store };
	struct rmio_dev_range ranges[MODES] = { 0 };
	struct rmio_dev_desc d = {
		.sz = sizeof(d), .vendor = 0x1234, .name = "sweep", .ops = &ops, .ranges = ranges,
		.nr_ranges = MODES, .areas = s.areas, .nr_areas = s.nr_areas,
		.shadow_size = MODES * LEN,
	};
	struct rmio_loop_opts lo = { .sz = sizeof(lo) };
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	uint8_t *image;
	uint32_t i;

	for (i = 0; i < MODES; i++)
		ranges[i] = (struct rmio_dev_range){ .id = ID(i), .len = LEN };
	if (!T_EQ(rmio_loop_new(&lo, &loop), 0) || !T_EQ(rmio_dev_new(loop, &d, NULL, &dev), 0))
		return;
	image = rmio_dev_shadow(dev);
	for (i = 0; i < MODES * LEN; i++)
		image[i] = pattern(i);
	if (T_EQ(rmio_dev_slave(dev, devproc_need(sock)), 0))
		rmio_loop_run(loop);
}

/* -- model ----------------------------------------------------------------------------------- */

/* As KVM cuts an access at pages and into 8 bytes, and the library what is left of it. */
static uint32_t next_piece(uint32_t offset, uint32_t left, uint32_t part)
{
	uint32_t n = 8;

	if (left == part && !(part & (part - 1)))
		return part;
	while (n > left || (offset & (n - 1)))
		n /= 2;
	return n;
}

static void model_piece(uint32_t mode, uint32_t offset, uint32_t len, uint8_t *data, bool store)
{
	struct rmio_decision d = model_decide(s.areas, s.nr_areas, ID(mode), offset, len, store);

	if (!store) {
		memcpy(data, d.verdict == RMIO_FROM_SHADOW ? s.image + d.shadow_offset :
							     s.model.mem[mode] + offset, len);
		return;
	}
	memcpy(s.model.mem[mode] + offset, data, len);
	if (d.verdict == RMIO_POST_THROUGH)
		memcpy(s.image + d.shadow_offset, data, len);
}

static void model_access(uint32_t mode, uint32_t offset, uint32_t len, uint8_t *data, bool store)
{
	while (len) {
		uint32_t page = 0x1000 - (offset & 0xfff), part = len < page ? len : page;

		while (part) {
			uint32_t chunk = part < 8 ? part : 8, left = chunk, n;

			for (; left; left -= n) {
				n = next_piece(offset, left, chunk);
				model_piece(mode, offset, n, data, store);
				offset += n;
				data += n;
			}
			part -= chunk;
			len -= chunk;
		}
	}
}

/* -- guest ------------------------------------------------------------------------------------- */

static void emit_pair(struct rig_vcpu *c, uint32_t mode, uint32_t offset, uint32_t len,
		      uint32_t to, uint64_t value)
{
	uint32_t at = mode * STRIDE + offset;

	if (len == 16) {
		uint64_t *v = vmm_vm_ptr(c->rig->kvm, to, len);

		v[0] = v[1] = value;
		EMIT(c, 0x0f, 0x10, 0x04, 0x25);	/* movups to,%xmm0 */
		emit32(c, to);
		EMIT(c, 0x0f, 0x11, 0x83);		/* movups %xmm0,at(%rbx) */
		emit32(c, at);
		EMIT(c, 0x0f, 0x10, 0x8b);		/* into %xmm1 */
		emit32(c, at);
		EMIT(c, 0x0f, 0x11, 0x0c, 0x25);
	} else {
		EMIT(c, 0x48, 0xb9);			/* mov $,%rcx */
		emit(c, &value, sizeof(value));
		if (len == 8)
			EMIT(c, 0x48);
		if (len == 2)
			EMIT(c, 0x66);
		EMIT(c, len == 1 ? 0x88 : 0x89, 0x8b);
		emit32(c, at);
		emit_load(c, at, len);
		EMIT(c, 0x48, 0x89, 0x04, 0x25);	/* mov %rax,to */
	}
	emit32(c, to);
}

static void run_chunk(uint32_t mode)
{
	struct rig_vcpu *c = &s.rig.vcpu[0];
	uint32_t i;

	if (!s.nr)
		return;
	c->at = c->body;
	for (i = 0; i < s.nr; i++)
		emit_pair(c, mode, s.list[i].offset, s.list[i].len, s.list[i].at,
			  s.list[i].value);
	emit_end(c);
	if (rig_round(c))
		return;
	for (i = 0; i < s.nr && !ktap_failed(); i++) {
		const struct access_of *a = &s.list[i];
		uint64_t v[2] = { a->value, a->value }, want[2] = { 0 };

		model_access(mode, a->offset, a->len, (uint8_t *)v, true);
		model_access(mode, a->offset, a->len, (uint8_t *)want, false);
		if (!T_MEMEQ(vmm_vm_ptr(s.rig.kvm, a->at, a->len), want, a->len))
			ktap_diag("%s: %u bytes at 0x%x", modes[mode].name, a->len, a->offset);
	}
	s.done += 2 * s.nr;
	s.nr = 0;
}

/* All of them when KVM takes most. */
static bool picked(uint32_t pass, uint32_t offset)
{
	uint32_t in = offset & 0xfff;

	return ktap_pick(3, 2, 0) <= pass || in < 72 || in > 0x1000 - 32 || !(offset % 61);
}

static void sweep_mode(uint32_t pass, uint32_t mode)
{
	uint32_t len, offset;
	uint64_t v;

	for (len = 1; len <= 16 && !ktap_failed(); len *= 2) {
		for (offset = 0; offset + len <= LEN && !ktap_failed(); offset++) {
			if (!picked(pass, offset))
				continue;
			s.list[s.nr] = (struct access_of){
				.offset = offset, .len = len, .at = RESULTS + s.nr * 16,
				.value = rig_rnd(&s.seed),
			};
			if (++s.nr == CHUNK)
				run_chunk(mode);
		}
		run_chunk(mode);
	}
	if (ktap_failed())
		return;
	/* Where there is no area the device answers, after all stores. */
	T_EQ(rmio_vcpu_load(s.rig.vcpu[0].v, RMIO_BUS_MEM, RIG_DEVICE, 4, &v), 0);
	T_MEMEQ(s.dev->mem[mode], s.model.mem[mode], LEN);
	T_MEMEQ((uint8_t *)s.m->image + mode * LEN, s.image + mode * LEN, LEN);
}

/* -- what KVM takes -------------------------------------------------------------------- */

static uint32_t planned(uint32_t mech)
{
	uint32_t n = 0;
	size_t i;

	pthread_mutex_lock(&rmio_kvm_of(s.m->vm)->lock);
	for (i = 0; rmio_bpf_of(s.m)->plan->plan && i < rmio_bpf_of(s.m)->plan->plan->nr; i++)
		n += rmio_bpf_of(s.m)->plan->plan->items[i].mech == mech;
	pthread_mutex_unlock(&rmio_kvm_of(s.m->vm)->lock);
	return n;
}

/* As if the guest had stored there often: so many registers of each page. */
static void heat_up(uint32_t nr, uint32_t mech, uint32_t expected)
{
	static const struct {
		uint16_t offset;
		uint8_t len;
	} regs[] = {
		{ 0x10, 8 }, { 0x20, 4 }, { 0x30, 2 }, { 0x41, 1 }, { 0xff8, 8 }, { 0x22, 2 },
		{ 0x100, 4 }, { 0x108, 8 }, { 0x200, 4 }, { 0x300, 1 },
	};
	long long end = ktap_now_ms() + 10000;
	uint32_t mode, i, k, page;

	/* The sweep has left all kinds of registers there. */
	pthread_mutex_lock(&rmio_bpf_of(s.m)->plan->heating);
	rmio_heat_init(&rmio_bpf_of(s.m)->plan->heat, RMIO_HEAT_HOT, 1);
	pthread_mutex_unlock(&rmio_bpf_of(s.m)->plan->heating);
	for (k = 0; k < RMIO_HEAT_HOT; k++)
		for (mode = 0; mode < MODES; mode++)
			for (page = 0; page < 2; page++)
				for (i = 0; i < nr; i++)
					rig_heat(s.m, ID(mode), page * 0x1000 + regs[i].offset,
						      regs[i].len);
	rmio_kvm_ask(s.m);
	while (planned(mech) < expected && ktap_now_ms() < end)
		usleep(1000);
	T_GE(planned(mech), expected);
}

static bool set_up(void)
{
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .backend = RMIO_BACKEND_BPF, .name = "sweep",
		.timeout_ns = 20000000000ull,
	};
	long long end = ktap_now_ms() + 10000;
	uint32_t i;

	if (!T_EQ(rmio_master_new(s.rig.vm, &mo, &s.m), 0))
		return false;
	for (i = 0; i < MODES; i++) {
		struct rmio_pa_range r = {
			.addr = RIG_DEVICE + i * STRIDE, .len = LEN, .id = ID(i),
		};

		if (!T_EQ(rmio_master_pa_range(s.m, &r), 0))
			return false;
	}
	if (!devproc_give(&s.proc, rmio_master_slave_fd(s.m)))
		return false;
	while (!planned(RMIO_MECH_SLOT) && ktap_now_ms() < end)
		usleep(1000);
	return T_GT(planned(RMIO_MECH_SLOT), 0);
}

static void sweep(void)
{
	static const char *const passes[] = { "nothing", "registers", "pages" };
	struct rmio_wait_opts wait = { .sz = sizeof(wait) };
	struct rmio_bpf_lane k = { 0 };
	const char *why;
	uint32_t pass, mode, i;

	s.seed = 99;
	make_areas();
	s.dev = mmap(NULL, sizeof(*s.dev), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	T_REQUIRE(T_NE((intptr_t)s.dev, (intptr_t)MAP_FAILED));
	for (i = 0; i < MODES * LEN; i++)
		s.image[i] = pattern(i);
	T_REQUIRE(devproc_start(&s.proc, device, NULL));
	why = rig_new(&s.rig, 1, &wait);
	if (why)
		T_SKIP(why, RIG_ENABLE);
	T_REQUIRE(set_up());
	emit_begin(&s.rig.vcpu[0]);
	vmm_vcpu_enter(s.rig.vcpu[0].kvm);
	for (pass = 0; pass < 3 && !ktap_failed(); pass++) {
		if (pass == 1)
			heat_up(6, RMIO_MECH_EVENTFD, 50);
		else if (pass == 2)
			heat_up(10, RMIO_MECH_ZONE, 8);
		for (mode = 0; mode < MODES; mode++)
			sweep_mode(pass, mode);
		k = rig_captured(s.m);
		ktap_diag("KVM takes %s: %llu accesses, %llu in the kernel (zones %llu, through %llu), %llu exits",
			  passes[pass], (unsigned long long)s.done, (unsigned long long)k.posted,
			  (unsigned long long)k.zone, (unsigned long long)k.through,
			  (unsigned long long)s.rig.vcpu[0].exits);
	}
	vmm_vcpu_leave(s.rig.vcpu[0].kvm);
	T_GT(k.zone, 0);
	T_GT(k.through, 0);
	T_GT(k.posted, k.zone);
	T_EQ(k.lost + k.bad + k.discarded, 0);
	T_EQ(rmio_master_state(s.m), RMIO_STATE_LIVE);
	devproc_kill(&s.proc);
	devproc_wait(&s.proc);
	rmio_master_free(s.m);
	rig_free(&s.rig);
}

static const struct ktap_test tests[] = {
	{ "every size at every offset in every mode", sweep, 240 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
