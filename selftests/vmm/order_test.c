// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The order of a vCPU's accesses to a device, over both its ranges: every store
 * arrives once and in order, a load comes after the stores before it, so does a
 * load from the shadow unless its area is relaxed.  The device completes stores in
 * random order and lets some of their effects wait until then.
 */
#include "ktap.h"

#include <pthread.h>
#include <rmio/slave.h>
#include <rmio/vmm.h>
#include <stdatomic.h>

#define VCPUS_MAX	4
#define BURST		5000u
#define MEM		0xe0000000ull	/* range 0 */
#define IO		0x4000ull	/* range 1 */
#define LEN		0x4000ull

/* In both ranges, a page for each: */
#define POSTED		0x0000u		/* registers */
#define SYNC		0x1000u		/* registers, stores wait */
#define SHADOW		0x2000u		/* the same registers and COUNT, from the shadow */
#define RELAXED		0x3000u		/* the same, relaxed; written through from THROUGH on */

/* In each page, 512 bytes for a vCPU: */
#define REGS		16		/* 8 bytes each, shared by POSTED and SYNC */
#define COUNT		0x80u		/* stores whose effects are complete */
#define THROUGH		0x100u		/* registers that nobody but the vCPU writes */

/* A store's value: which of its vCPU's stores it is. */
#define VALUE(vcpu, nr)	((uint64_t)(vcpu) << 48 | (nr))
#define NR(value)	((value) & ((1ull << 48) - 1))

struct world;

struct vcpu {
	struct world *w;
	struct rmio_vcpu *v;
	pthread_t thread;
	uint32_t index;
	uint64_t seed;
	uint64_t accesses;
	uint64_t stores;		/* issued */
	uint64_t reg[2][REGS];		/* what was stored */
	uint64_t through[2][REGS];
	uint64_t seen;			/* so many are complete: what was held back shows it */
	uint64_t relaxed[2];		/* the same, by the relaxed copy of each range */
};

struct world {
	struct rmio_vm *vm;
	struct rmio_master *m;
	struct rmio_slave *slave;
	uint32_t vcpus, slots;
	uint64_t accesses;		/* for each vCPU */
	struct vcpu vcpu[VCPUS_MAX];
	atomic_bool stop;
	/* The device's. */
	uint64_t got[VCPUS_MAX];	/* stores that arrived */
	uint64_t complete[VCPUS_MAX];
	uint64_t dev_reg[VCPUS_MAX][2][REGS];
	uint64_t seed;
	char *image;
};

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void shadow_set(struct world *w, uint64_t offset, uint64_t value)
{
	__atomic_store_n((uint64_t *)(w->image + offset), value, __ATOMIC_RELEASE);
}

/* The shadow image: SHADOW and RELAXED page of range 0, then those of range 1. */
static uint64_t image_offset(uint32_t range, uint32_t page, uint32_t vcpu, uint32_t offset)
{
	return range * 0x2000u + (page - SHADOW) + vcpu * 0x200u + offset;
}

/* -- the device ------------------------------------------------------------------------- */

static void on_store(struct world *w, const struct rmio_request *r)
{
	uint32_t page = r->offset & ~0xfffu, in = r->offset & 0x1ff, i;
	uint32_t range = r->range_id;

	/* Exactly once, and in order: the next one and no other. */
	T_EQ(r->data, VALUE(r->vcpu, ++w->got[r->vcpu]));
	T_EQ((r->offset & 0xfff) >> 9, r->vcpu);
	T_EQ(r->op, page == SYNC ? RMIO_OP_STORE_SYNC : RMIO_OP_STORE);
	if (in >= THROUGH)
		return;
	i = in / 8;
	if (!T_LT(i, REGS))
		return;
	w->dev_reg[r->vcpu][range][i] = r->data;
	shadow_set(w, image_offset(range, SHADOW, r->vcpu, in), r->data);
	shadow_set(w, image_offset(range, RELAXED, r->vcpu, in), r->data);
}

static uint64_t on_load(struct world *w, const struct rmio_request *r)
{
	uint32_t in = r->offset & 0x1ff;

	T_EQ((r->offset & 0xfff) >> 9, r->vcpu);
	return in == COUNT ? w->got[r->vcpu] : w->dev_reg[r->vcpu][r->range_id][in / 8 % REGS];
}

/* What a device that takes its time would do: the last effect, then the completion. */
static void complete(struct world *w, struct rmio_reply *pool, const bool *is_store, uint32_t n)
{
	uint32_t left[256], i, k;

	for (i = 0; i < n; i++)
		left[i] = i;
	while (n) {
		struct rmio_reply some[8];
		uint32_t take = 1 + (uint32_t)rnd(&w->seed) % 8;

		take = take < n ? take : n;
		for (k = 0; k < take; k++) {
			i = (uint32_t)rnd(&w->seed) % n;
			some[k] = pool[left[i]];
			if (is_store[left[i]]) {
				uint32_t v = some[k].vcpu, range;

				w->complete[v]++;
				for (range = 0; range < 2; range++) {
					shadow_set(w, image_offset(range, SHADOW, v, COUNT),
						   w->complete[v]);
					shadow_set(w, image_offset(range, RELAXED, v, COUNT),
						   w->complete[v]);
				}
			}
			left[i] = left[--n];
		}
		T_EQ(rmio_slave_write(w->slave, some, take), take);
	}
}

static void *device(void *arg)
{
	struct world *w = arg;
	struct rmio_request r[256];
	struct rmio_reply pool[256];
	bool is_store[256];
	ssize_t n, i;

	while (!atomic_load(&w->stop)) {
		n = rmio_slave_read(w->slave, r, 1 + rnd(&w->seed) % 256);
		if (n == -EAGAIN) {
			rmio_slave_poll(w->slave, 50);
			continue;
		}
		if (!T_GT(n, 0))
			break;
		for (i = 0; i < n; i++) {
			is_store[i] = r[i].op != RMIO_OP_LOAD;
			pool[i] = (struct rmio_reply){ .seq = r[i].seq, .vcpu = r[i].vcpu };
			if (is_store[i])
				on_store(w, &r[i]);
			else
				pool[i].data = on_load(w, &r[i]);
		}
		complete(w, pool, is_store, (uint32_t)n);
	}
	return NULL;
}

/* -- a vCPU ---------------------------------------------------------------------------------- */

static uint64_t load(struct vcpu *c, uint32_t range, uint32_t page, uint32_t in)
{
	uint64_t addr = (range ? IO : MEM) + page + c->index * 0x200u + in, v = 0;

	T_EQ(rmio_vcpu_load(c->v, range ? RMIO_BUS_IO : RMIO_BUS_MEM, addr, 8, &v), 0);
	return v;
}

static uint64_t store(struct vcpu *c, uint32_t range, uint32_t page, uint32_t in)
{
	uint64_t addr = (range ? IO : MEM) + page + c->index * 0x200u + in;
	uint64_t v = VALUE(c->index, ++c->stores);

	T_EQ(rmio_vcpu_store(c->v, range ? RMIO_BUS_IO : RMIO_BUS_MEM, addr, 8, v), 0);
	return v;
}

static void access_one(struct vcpu *c)
{
	uint64_t dice = rnd(&c->seed), v;
	uint32_t range = dice >> 8 & 1, i = dice >> 9 & (REGS - 1), what = dice >> 16 & 127;

	switch (what) {
	case 0:		/* the register that was just written, or another */
	case 1:
		T_EQ(load(c, range, what ? SYNC : POSTED, i * 8), c->reg[range][i]);
		c->seen = c->stores;
		break;
	case 2:
		T_EQ(load(c, range, POSTED, COUNT), c->stores);
		c->seen = c->stores;
		break;
	case 3:
		c->reg[range][i] = store(c, range, SYNC, i * 8);
		c->seen = c->stores;
		break;
	case 4:
		T_EQ(load(c, range, SHADOW, COUNT), c->stores);
		c->seen = c->stores;
		break;
	case 5:
		T_EQ(load(c, range, SHADOW, i * 8), c->reg[range][i]);
		c->seen = c->stores;
		break;
	case 6 ... 15:	/* held back by nothing, but never older than what was seen */
		v = load(c, range, RELAXED, COUNT);
		T_GE(v, c->seen);
		T_GE(v, c->relaxed[range]);
		T_LE(v, c->stores);
		c->relaxed[range] = v;
		break;
	case 16 ... 23:
		v = load(c, range, RELAXED, i * 8);
		T_LE(NR(v), NR(c->reg[range][i]));
		if (NR(c->reg[range][i]) <= c->seen)
			T_EQ(v, c->reg[range][i]);
		break;
	case 24 ... 31:
		T_EQ(load(c, range, RELAXED, THROUGH + i * 8), c->through[range][i]);
		break;
	case 32 ... 39:
		c->through[range][i] = store(c, range, RELAXED, THROUGH + i * 8);
		break;
	default:
		c->reg[range][i] = store(c, range, POSTED, i * 8);
		break;
	}
	c->accesses++;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *c = arg;
	uint32_t i;

	while (c->accesses < c->w->accesses && !ktap_failed()) {
		access_one(c);
		/* Now and then more stores in a row than most rings hold. */
		if (rnd(&c->seed) % 8192 == 0)
			for (i = 0; i < BURST; i++, c->accesses++)
				c->reg[i & 1][0] = store(c, i & 1, POSTED, 0);
	}
	return NULL;
}

/* -- all of it --------------------------------------------------------------------------------- */

static bool set_up(struct world *w, const struct rmio_wait_opts *wait)
{
	struct rmio_vm_opts vo = { .sz = sizeof(vo), .max_vcpus = w->vcpus };
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .ring_slots = w->slots, .timeout_ns = RMIO_TIMEOUT_NONE,
	};
	struct rmio_pa_range ranges[] = {
		{ .addr = MEM, .len = LEN, .id = 0 },
		{ .addr = IO, .len = LEN, .bus = RMIO_BUS_IO, .id = 1 },
	};
	uint32_t i;

	if (!T_EQ(rmio_vm_new(&vo, &w->vm), 0) || !T_EQ(rmio_master_new(w->vm, &mo, &w->m), 0))
		return false;
	for (i = 0; i < 2; i++)
		if (!T_EQ(rmio_master_pa_range(w->m, &ranges[i]), 0))
			return false;
	for (i = 0; i < w->vcpus; i++) {
		w->vcpu[i] = (struct vcpu){ .w = w, .index = i, .seed = 99 + i };
		if (!T_EQ(rmio_vcpu_new(w->vm, i, wait, &w->vcpu[i].v), 0))
			return false;
	}
	return true;
}

static bool set_up_device(struct world *w, const struct rmio_wait_opts *wait)
{
	struct rmio_slave_opts so = { .sz = sizeof(so), .wait = *wait };
	struct rmio_area areas[6];
	uint32_t range;

	if (!T_EQ(rmio_slave_open(rmio_master_slave_fd(w->m), &so, &w->slave), 0) ||
	    !T_EQ(rmio_slave_shadow_size(w->slave, 0x4000), 0))
		return false;
	w->image = rmio_slave_mmap(w->slave, NULL);
	for (range = 0; range < 2; range++) {
		areas[range * 3] = (struct rmio_area){
			.range_id = range, .offset = SYNC, .length = 0x1000,
			.store = RMIO_STORE_SYNC,
		};
		areas[range * 3 + 1] = (struct rmio_area){
			.range_id = range, .offset = SHADOW, .length = 0x1000,
			.shadow_offset = image_offset(range, SHADOW, 0, 0),
			.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
		};
		areas[range * 3 + 2] = (struct rmio_area){
			.range_id = range, .offset = RELAXED, .length = 0x1000,
			.shadow_offset = image_offset(range, RELAXED, 0, 0),
			.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
			.store = RMIO_STORE_THROUGH, .flags = RMIO_AREA_RELAXED,
		};
	}
	return T_EQ(rmio_slave_shadow_ctrl(w->slave, areas, 6), 0);
}

static void run(uint32_t vcpus, uint32_t slots, uint32_t policy, uint32_t placement, long accesses)
{
	struct rmio_wait_opts wait = {
		.sz = sizeof(wait), .policy = policy, .placement = placement,
	};
	struct world *w = calloc(1, sizeof(*w));
	struct rmio_counters c;
	uint64_t stores = 0;
	pthread_t dev;
	uint32_t i;

	T_REQUIRE(T_OK(w));
	w->vcpus = vcpus;
	w->slots = slots;
	w->seed = 4711;
	w->accesses = (uint64_t)accesses / vcpus;
	T_REQUIRE(set_up(w, &wait));
	T_REQUIRE(set_up_device(w, &wait));
	T_REQUIRE(T_EQ(pthread_create(&dev, NULL, device, w), 0));
	for (i = 0; i < vcpus; i++)
		T_REQUIRE(T_EQ(pthread_create(&w->vcpu[i].thread, NULL, vcpu_thread, &w->vcpu[i]),
			       0));
	for (i = 0; i < vcpus; i++) {
		pthread_join(w->vcpu[i].thread, NULL);
		T_EQ(load(&w->vcpu[i], 0, POSTED, COUNT), w->vcpu[i].stores);
		stores += w->vcpu[i].stores;
	}
	T_EQ(rmio_master_counters(w->m, -1, &c), 0);
	T_EQ(c.posted + c.sync, stores);
	T_EQ(c.ones + c.discarded + c.timeouts + c.refused_size, 0);
	ktap_diag(
		"ring %u: %lu stores, %llu loads, %llu from the shadow, held back %llu, full %llu, "
		"slept %llu",
		slots, (unsigned long)stores, (unsigned long long)c.loads,
		(unsigned long long)c.shadow, (unsigned long long)c.ordered,
		(unsigned long long)c.full, (unsigned long long)c.slept);
	/* One vCPU beside one device may find every store already done: chance, not a fault. */
	if (vcpus > 1)
		T_GT(c.ordered, 0);
	atomic_store(&w->stop, true);
	pthread_join(dev, NULL);
	for (i = 0; i < vcpus; i++)
		T_EQ(w->got[i], w->vcpu[i].stores);
	rmio_slave_free(w->slave);
	rmio_master_free(w->m);
	for (i = 0; i < vcpus; i++)
		rmio_vcpu_free(w->vcpu[i].v);
	rmio_vm_free(w->vm);
	free(w);
}

/* Accesses, in thousands, by level; a sanitizer is slower. */
static long thousands(long quick, long normal)
{
	return 1000 * ktap_pick(quick, normal, 5 * normal) / (KTAP_SLOWDOWN > 1 ? 8 : 1);
}

static void tiny_ring(void)
{
	run(4, 2, RMIO_WAIT_SLEEP, RMIO_PLACE_ANY, thousands(8, 80));
	run(4, 2, RMIO_WAIT_ADAPTIVE, RMIO_PLACE_ANY, thousands(8, 80));
	run(4, 2, RMIO_WAIT_POLL, RMIO_PLACE_SAME_CPU, thousands(8, 80));
}

static void middle_ring(void)
{
	run(4, 64, RMIO_WAIT_SLEEP, RMIO_PLACE_ANY, thousands(20, 400));
	run(4, 64, RMIO_WAIT_ADAPTIVE, RMIO_PLACE_ANY, thousands(20, 400));
	run(4, 64, RMIO_WAIT_POLL, RMIO_PLACE_SAME_CPU, thousands(20, 200));
}

static void large_ring(void)
{
	run(4, 4096, RMIO_WAIT_SLEEP, RMIO_PLACE_SAME_CPU, thousands(20, 600));
	run(4, 65536, RMIO_WAIT_ADAPTIVE, RMIO_PLACE_ANY, thousands(20, 600));
}

/* Spinning needs a processor for each. */
static void poll_alone(void)
{
	run(1, 2, RMIO_WAIT_POLL, RMIO_PLACE_ANY, thousands(2, 20));
	run(1, 256, RMIO_WAIT_POLL, RMIO_PLACE_ANY, thousands(10, 100));
}

static const struct ktap_test tests[] = {
	{ "tiny ring", tiny_ring, 120 },
	{ "middle ring", middle_ring, 120 },
	{ "large ring", large_ring, 120 },
	{ "one vCPU, poll", poll_alone, 120 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
