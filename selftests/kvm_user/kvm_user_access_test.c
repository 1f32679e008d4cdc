// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: what becomes of single loads and stores of a guest, of every size and place,
 * on both buses, against the access map by its definition; and the order of a load behind stores.
 */
#include "kvm_user_rig.h"
#include "map_model.h"

/* -- without a map ------------------------------------------------------------------ */

struct piece {
	uint64_t offset;
	unsigned int len;
};

/* How KVM and the device take an access apart: by pages, by eight bytes, into natural sizes. */
static size_t pieces_of(uint64_t addr, unsigned int len, struct piece *p)
{
	size_t n = 0;

	while (len) {
		unsigned int page = 0x1000 - (addr & 0xfff), part = len < page ? len : page;
		unsigned int size = 8;

		part = part < 8 ? part : 8;
		len -= part;
		if (!(part & (part - 1))) {
			p[n++] = (struct piece){ addr - DEVICE, part };
			addr += part;
			continue;
		}
		while (part) {
			for (size = 8; size > part || addr & (size - 1); size /= 2)
				;
			p[n++] = (struct piece){ addr - DEVICE, size };
			addr += size;
			part -= size;
		}
	}
	return n;
}

static uint64_t bytes_at(const uint8_t *at, unsigned int len)
{
	uint64_t v = 0;

	memcpy(&v, at, len);
	return v;
}

/*
 * The requests from number @first on are just these pieces; pieces of one access have no order
 * among themselves.
 */
static void check_pieces(unsigned int first, const struct piece *p, size_t n, uint8_t op,
			 const uint8_t *bytes, uint64_t at)
{
	size_t i, j;

	T_EQ(atomic_load(&w.n) - first, n);
	for (i = 0; i < n; i++) {
		for (j = first; j < atomic_load(&w.n); j++)
			if (w.log[j].offset == p[i].offset && w.log[j].len == p[i].len)
				break;
		if (!T_LT(j, atomic_load(&w.n))) {
			ktap_diag("no request of %u bytes at 0x%llx", p[i].len,
				  (unsigned long long)p[i].offset);
			return;
		}
		T_EQ(w.log[j].op, op);
		T_EQ(w.log[j].data, op == RMIO_OP_LOAD ? 0 :
						bytes_at(bytes + (p[i].offset - at), p[i].len));
	}
}

/* Store bytes there, load them back; the device gets just these pieces. */
static bool there_and_back(uint64_t offset, unsigned int len)
{
	static uint8_t bytes[16];
	struct piece p[32];
	unsigned int first = atomic_load(&w.n), i, nr;
	uint64_t v[2];
	size_t n;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(offset * 7 + len * 31 + i * 11 + 1);
	memcpy(v, bytes, sizeof(v));
	n = pieces_of(DEVICE + offset, len, p);
	memset(w.reg + offset, 0, len);
	g_begin(0);
	if (len == 16)
		g_store16(0, DEVICE + offset, v[0], v[1]);
	else
		g_store(0, DEVICE + offset, len, v[0]);
	/* Nobody waits for a store: the device has it when it answers this. */
	g_load(0, DEVICE + 0x8000, 1);
	g_end(0);
	if (!rig_run(0))
		return false;
	T_EQ(atomic_load(&w.n), first + n + 1);
	atomic_store(&w.n, first + (unsigned int)n);
	check_pieces(first, p, n, RMIO_OP_STORE, bytes, offset);
	T_MEMEQ(w.reg + offset, bytes, len);

	first = atomic_load(&w.n);
	g_begin(0);
	nr = len == 16 ? g_load16(0, DEVICE + offset) : g_load(0, DEVICE + offset, len);
	g_end(0);
	if (!rig_run(0))
		return false;
	v[0] = w.vcpu[0].result[nr];
	v[1] = len == 16 ? w.vcpu[0].result[nr + 1] : 0;
	T_MEMEQ(v, bytes, len);
	check_pieces(first, p, n, RMIO_OP_LOAD, NULL, offset);
	if (ktap_failed())
		ktap_diag("%u bytes at 0x%llx", len, (unsigned long long)offset);
	return !ktap_failed();
}

static void every_size(void)
{
	uint64_t offset;
	unsigned int len;

	RIG_START();
	rig_serve();
	for (len = 1; len <= 16; len *= 2)
		for (offset = 0x20; offset < 0x29; offset++)
			if (!there_and_back(offset, len))
				goto stop;
	there_and_back(LEN - 16, 8);
	T_EQ(w.vcpu[0].exits, 0);
stop:
	rig_stop();
}

/* 3, 5, 6 and 7 bytes on either side of a page's end. */
static void across_pages(void)
{
	unsigned int len, before;

	RIG_START();
	rig_serve();
	for (len = 2; len <= 16; len *= 2)
		for (before = 1; before < len; before++)
			if (!there_and_back(0x3000 - before, len))
				goto stop;
	T_EQ(w.vcpu[0].exits, 0);
stop:
	rig_stop();
}

static uint32_t *beside;	/* an image that the device changes as a side effect of a load */

static struct rmio_reply changes_it(const struct rmio_request *r)
{
	if (r->op == RMIO_OP_LOAD)
		*beside = 0x2222;
	return rig_answer(r);
}

/* The halves of one access go one after the other, whoever has them. */
static void halves_in_order(void)
{
	const struct rmio_area areas[] = {
		{ .offset = 0xf00, .length = 0x100, .store = RMIO_STORE_SYNC },
		{ .offset = 0x1000, .length = 0x1000, .shadow_offset = 0,
		  .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW },
	};
	int round;

	RIG_START();
	beside = rig_image(0x1000);
	T_REQUIRE(beside);
	T_EQ(rig_map(areas, 2), 0);
	w.answer = changes_it;
	rig_serve();
	for (round = 0; round < 2; round++) {
		unsigned int first = atomic_load(&w.n);

		*beside = 0x1111;
		memset(w.reg + 0xffc, 0x33, 4);
		g_begin(0);
		/* The second half could be posted at once, or come from the shadow. */
		if (!round) {
			g_store(0, DEVICE + 0xffc, 8, 0x8877665544332211);
			g_load(0, DEVICE, 1);
		} else {
			g_load(0, DEVICE + 0xffc, 8);
		}
		g_end(0);
		T_OK(rig_run(0));
		if (!round) {
			T_EQ(atomic_load(&w.n), first + 3);
			T_EQ(w.log[first].offset, 0xffc);
			T_EQ(w.log[first].op, RMIO_OP_STORE_SYNC);
			T_EQ(w.log[first + 1].offset, 0x1000);
			T_EQ(w.log[first + 1].op, RMIO_OP_STORE);
		} else {
			T_EQ(w.vcpu[0].result[0], 0x222233333333);
		}
	}
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

/* The second half has no page: the instruction has not been, and so none of it is stored. */
static void half_faults(void)
{
	struct vmm_vcpu *v;

	RIG_START();
	/* Up to the end of what is mapped. */
	T_EQ(rig_range(0xffff0000, LEN, RMIO_BUS_MEM, 0), 0);
	g_begin(0);
	g_store(0, 0xfffffffc, 8, 0x1122334455667788);
	g_end(0);
	v = w.vcpu[0].v;
	vmm_vcpu_enter(v);
	T_REQUIRE(rig_reset(0));
	T_EQ(CALL(v->fd, KVM_RUN, 0), 0);
	T_EQ(v->run->exit_reason, KVM_EXIT_SHUTDOWN);
	vmm_vcpu_leave(v);
	T_EQ(COUNT(0, posted), 0);
	T_EQ(COUNT(0, sync), 0);
	rig_stop();
}

/* What reaches over the end, or begins before the range, is for the VMM to split. */
static void over_the_end(void)
{
	unsigned int len, before, exits = 0;

	RIG_START();
	/* The end in the middle of a page. */
	T_EQ(rig_range(DEVICE + 0x1000, 0x808, RMIO_BUS_MEM, 0), 0);
	rig_serve();
	for (len = 2; len <= 8; len *= 2) {
		for (before = 1; before < len; before++) {
			unsigned int first = atomic_load(&w.n);

			g_begin(0);
			g_load(0, DEVICE + 0x1808 - before, len);
			g_store(0, DEVICE + 0x1808 - before, len, 0x1122334455667788);
			g_load(0, DEVICE + 0x1000, 1);
			g_end(0);
			T_REQUIRE(rig_run(0));
			T_EQ(atomic_load(&w.n), first + 1);
			exits += 2;
			T_EQ(w.vcpu[0].exits, exits);
		}
	}
	/* The last bytes that are its own. */
	g_begin(0);
	g_store(0, DEVICE + 0x1800, 8, 0x1122334455667788);
	g_load(0, DEVICE + 0x1804, 4);
	/* In front of it, and into it. */
	g_store(0, DEVICE + 0xffc, 4, 1);
	g_store(0, DEVICE + 0xffc, 8, 0x5566778899aabbcc);
	g_load(0, DEVICE, 4);
	g_load(0, DEVICE + 0x1000, 4);	/* waits for what was stored */
	g_end(0);
	T_REQUIRE(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x11223344);
	/* Of the store across the page's end the second half is the device's. */
	T_EQ(w.vcpu[0].exits, exits + 3);
	T_EQ(COUNT(0, ones) + COUNT(0, discarded), 0);
	T_EQ(bytes_at(w.reg, 4), 0x55667788);
	rig_stop();
}

/* One access over the border of two ranges that lie side by side, at a page's end. */
static void two_ranges(void)
{
	unsigned int before, i;

	RIG_START();
	T_EQ(rig_range(DEVICE, 0x1000, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_range(DEVICE + 0x1000, 0x1000, RMIO_BUS_MEM, 7), 0);
	rig_serve();
	for (before = 1; before < 8; before++) {
		unsigned int first = atomic_load(&w.n);
		uint32_t bytes[2] = { 0, 0 };

		g_begin(0);
		g_store(0, DEVICE + 0x1000 - before, 8, 0x8877665544332211);
		g_load(0, DEVICE + 0x1000 - before, 8);
		g_end(0);
		T_REQUIRE(rig_run(0));
		T_EQ(w.vcpu[0].result[0], 0x8877665544332211);
		for (i = first; i < atomic_load(&w.n); i++) {
			const struct rmio_request *r = &w.log[i];

			T_OK(r->range_id == 0 ? r->offset >= 0x1000 - before : r->offset < 8);
			bytes[r->range_id == 7] += r->len;
		}
		T_EQ(bytes[0], 2 * before);
		T_EQ(bytes[1], 2 * (8 - before));
	}
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

/* -- ports ---------------------------------------------------------------------------- */

static void ports(void)
{
	unsigned int len, at, first;

	RIG_START();
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	rig_serve();
	for (len = 1; len <= 4; len *= 2) {
		for (at = 0x10; at < 0x15; at++) {
			uint32_t value = 0x01020304u * (at - 0xe) + len;

			first = atomic_load(&w.n);
			g_begin(0);
			g_out(0, PORT + at, len, value);
			g_in(0, PORT + at, len);
			g_end(0);
			T_REQUIRE(rig_run(0));
			value = len == 4 ? value : value & ((1u << (8 * len)) - 1);
			T_EQ(w.vcpu[0].result[0], value);
			T_EQ(atomic_load(&w.n), first + 2);
			T_EQ(w.log[first].op, RMIO_OP_STORE);
			T_EQ(w.log[first].offset, at);
			T_EQ(w.log[first].len, len);
			T_EQ(w.log[first].data, value);
			T_EQ(w.log[first].range_id, 1);
			T_EQ(w.log[first + 1].op, RMIO_OP_LOAD);
			T_EQ(w.log[first + 1].len, len);
		}
	}
	/* Over the end, behind it, and in front: the VMM's. */
	first = atomic_load(&w.n);
	g_begin(0);
	g_in(0, PORT + PORTS - 1, 2);
	g_in(0, PORT + PORTS - 3, 4);
	g_out(0, PORT + PORTS - 2, 4, 1);
	g_end(0);
	T_REQUIRE(rig_run(0));
	T_EQ(atomic_load(&w.n), first);
	T_EQ(w.vcpu[0].exits, 3);
	g_begin(0);
	g_in(0, PORT + PORTS, 1);
	g_out(0, PORT - 1, 2, 1);
	g_end(0);
	T_REQUIRE(rig_run(0));
	T_EQ(w.vcpu[0].exits, 5);
	T_EQ(atomic_load(&w.n), first);
	rig_stop();
}

/* -- against the model ----------------------------------------------------------------- */

#define IMAGE	0x4000u
#define SPAN	96u

static struct rmio_area random_rule(uint32_t range_id)
{
	struct rmio_area a = {
		.range_id = range_id,
		.load = (uint8_t)model_below(2),
		.store = (uint8_t)model_below(3),
		.flags = (uint8_t)model_below(2),
		.sizes = model_below(4) ? RMIO_SIZE_ALL : (uint8_t)(1 + model_below(RMIO_SIZE_ALL)),
	};

	return a;
}

/* Areas and holes from @base on, some of which go on where the last one ends. */
static uint32_t random_areas(struct rmio_area *areas, uint32_t range_id, uint64_t base)
{
	struct rmio_area a = random_rule(range_id);
	uint64_t at = 0, piece;
	uint32_t n = 0;

	for (at = 0; at < SPAN; at += piece) {
		uint64_t kind = model_below(5);

		piece = 1 + model_below(12);
		if (piece > SPAN - at)
			piece = SPAN - at;
		if (!kind)
			continue;
		if (kind > 2 || !n) {
			a = random_rule(range_id);
			a.shadow_offset = model_below(IMAGE - SPAN);
		} else {
			a.shadow_offset += base + at - a.offset;
			if (a.shadow_offset + piece > IMAGE)
				a.shadow_offset = 0;
		}
		a.offset = base + at;
		a.length = piece;
		areas[n++] = a;
	}
	return n;
}

struct plan {
	bool store;
	uint32_t range_id;
	uint64_t offset;
	unsigned int len;
	uint64_t data;
};

static struct rmio_area areas[2 * SPAN], shuffled[2 * SPAN];
static uint8_t model_image[IMAGE], model_reg[LEN];

static struct plan random_access(const uint64_t *base)
{
	struct plan p = {
		.store = model_below(2),
		.range_id = (uint32_t)model_below(2),
		.data = model_rand(),
	};
	uint64_t end = p.range_id ? PORTS : LEN;

	do {
		p.len = 1u << model_below(p.range_id ? 3 : 4);
		p.offset = base[p.range_id] + model_below(SPAN + 16) - 8;
	} while (p.offset >= end || p.offset + p.len > end ||
		 (!p.range_id && (p.offset & 0xfff) + p.len > 0x1000));
	return p;
}

struct sums {
	uint64_t posted, sync, loads, shadow, refused_size;
};

/* What the model says of one access: its answer, and the request that the device gets. */
static bool expect(const struct plan *p, uint32_t nr, uint64_t answer, unsigned int *at,
		   struct sums *s)
{
	struct rmio_decision d = model_decide(areas, nr, p->range_id, p->offset, p->len, p->store);
	uint64_t data = p->data & (p->len == 8 ? ~0ull : (1ull << (8 * p->len)) - 1), want;
	const struct rmio_request *r;

	if (!p->store && d.verdict == RMIO_FROM_SHADOW) {
		s->shadow++;
		return T_EQ(answer, bytes_at(model_image + d.shadow_offset, p->len));
	}
	if (!T_LT(*at, atomic_load(&w.n)))
		return false;
	r = &w.log[(*at)++];
	if (p->store) {
		T_EQ(r->op, d.verdict == RMIO_WAIT_STORE ? RMIO_OP_STORE_SYNC : RMIO_OP_STORE);
		T_EQ(r->data, data);
		memcpy(model_reg + p->offset, &data, p->len);
		if (d.verdict == RMIO_POST_THROUGH)
			memcpy(model_image + d.shadow_offset, &data, p->len);
		if (d.verdict == RMIO_WAIT_STORE)
			s->sync++;
		else
			s->posted++;
	} else {
		want = bytes_at(model_reg + p->offset, p->len);
		T_EQ(r->op, RMIO_OP_LOAD);
		T_EQ(r->data, 0);
		T_EQ(answer, want);
		s->loads++;
		s->refused_size += d.verdict == RMIO_TO_DEVICE_SIZE;
	}
	T_EQ(r->range_id, p->range_id);
	T_EQ(r->offset, p->offset);
	return T_EQ(r->len, p->len) && !ktap_failed();
}

static void one_map(uint8_t *image, long round, struct sums *s)
{
	/* The ends of pages and of the range are among the places. */
	uint64_t base[2] = { model_below(3) ? 0xfc0 : LEN - SPAN, model_below(2) * (PORTS - SPAN) };
	unsigned int answers[100], at = 0, i;
	struct plan plan[100];
	uint32_t nr;

	nr = random_areas(areas, 0, base[0]);
	nr += random_areas(areas + nr, 1, base[1]);
	memcpy(shuffled, areas, sizeof(areas));
	model_shuffle(shuffled, nr);
	T_REQUIRE(T_EQ(rig_map(shuffled, nr), 0));
	for (i = 0; i < IMAGE; i++)
		model_image[i] = (uint8_t)model_rand();
	for (i = 0; i < LEN; i++)
		model_reg[i] = (uint8_t)(i * 7 + round);
	memcpy(image, model_image, IMAGE);
	memcpy(w.reg, model_reg, LEN);
	atomic_store(&w.n, 0);
	g_begin(0);
	for (i = 0; i < 100; i++) {
		struct plan *p = &plan[i];
		uint64_t addr;

		*p = random_access(base);
		addr = p->offset + (p->range_id ? PORT : DEVICE);
		if (p->range_id && p->store)
			g_out(0, (uint32_t)addr, p->len, (uint32_t)p->data);
		else if (p->range_id)
			answers[i] = g_in(0, (uint32_t)addr, p->len);
		else if (p->store)
			g_store(0, addr, p->len, p->data);
		else
			answers[i] = g_load(0, addr, p->len);
	}
	/* The device has everything when this is answered. */
	g_load(0, DEVICE + 0x800, 1);
	g_end(0);
	T_REQUIRE(rig_run(0));
	for (i = 0; i < 100; i++) {
		if (expect(&plan[i], nr, plan[i].store ? 0 : w.vcpu[0].result[answers[i]], &at, s))
			continue;
		ktap_diag("round %ld, access %u: %s of %u, range %u, offset 0x%llx", round, i,
			  plan[i].store ? "store" : "load", plan[i].len, plan[i].range_id,
			  (unsigned long long)plan[i].offset);
		return;
	}
	s->loads++;
	T_EQ(atomic_load(&w.n), at + 1);
	T_MEMEQ(image, model_image, IMAGE);
	T_EQ(COUNT(0, posted), s->posted);
	T_EQ(COUNT(0, sync), s->sync);
	T_EQ(COUNT(0, loads), s->loads);
	T_EQ(COUNT(0, shadow), s->shadow);
	T_EQ(COUNT(0, refused_size), s->refused_size);
}

static void random_maps(void)
{
	long rounds = ktap_pick(20, 60, 1000), round;
	struct sums sums = { 0 };
	uint8_t *image;

	RIG_START();
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	image = rig_image(IMAGE);
	T_REQUIRE(image);
	rig_serve();
	for (round = 0; round < rounds && !ktap_failed(); round++)
		one_map(image, round, &sums);
	T_EQ(w.vcpu[0].exits, 0);
	/* It was not all of one kind. */
	T_GT(sums.posted, rounds);
	T_GT(sums.sync, rounds);
	T_GT(sums.loads, rounds);
	T_GT(sums.shadow, rounds);
	T_GT(sums.refused_size, 0);
	rig_stop();
}

/* -- order ------------------------------------------------------------------------------ */

static const struct rmio_area strict_and_relaxed[] = {
	{
		.offset = 0x100, .length = 0x100, .shadow_offset = 0x100,
		.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
	}, {
		.offset = 0x200, .length = 0x100, .shadow_offset = 0x200,
		.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW, .flags = RMIO_AREA_RELAXED,
	},
};

/* A load from the shadow completes behind the vCPU's stores: to any range of the device. */
static void shadow_waits(void)
{
	struct rmio_request r;
	struct rmio_reply a;
	uint32_t *image;
	unsigned int to;

	RIG_START();
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	image = rig_image(0x1000);
	T_REQUIRE(image);
	T_REQUIRE(T_EQ(rig_map(strict_and_relaxed, 2), 0));
	for (to = 0; to < 2; to++) {
		image[0x110 / 4] = 1;
		g_begin(0);
		if (to)
			g_out(0, PORT, 4, 5);
		else
			g_store(0, DEVICE, 4, 5);
		g_load(0, DEVICE + 0x110, 4);
		g_end(0);
		T_REQUIRE(rig_go(0));
		/* Either it waits, or it has not waited. */
		rig_until_waits(0);
		T_OK(!rig_ended(0));
		T_EQ(read(w.slave, &r, sizeof(r)), sizeof(r));
		T_EQ(r.op, RMIO_OP_STORE);
		image[0x110 / 4] = 2;
		a = (struct rmio_reply){ .seq = r.seq, .vcpu = r.vcpu };
		T_EQ(write(w.slave, &a, sizeof(a)), sizeof(a));
		rig_join(0);
		T_EQ(w.vcpu[0].result[0], 2);
		T_GE(COUNT(0, ordered), to + 1);
	}
	T_EQ(COUNT(0, loads), 0);
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

/* Where it is relaxed it does not wait: no device is there that could complete the store. */
static void relaxed_does_not(void)
{
	uint32_t *image;

	RIG_START();
	image = rig_image(0x1000);
	T_REQUIRE(image);
	T_REQUIRE(T_EQ(rig_map(strict_and_relaxed, 2), 0));
	image[0x210 / 4] = 0x1234;
	g_begin(0);
	g_store(0, DEVICE, 4, 5);
	g_load(0, DEVICE + 0x210, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x1234);
	T_EQ(COUNT(0, ordered), 0);
	T_EQ(COUNT(0, slept), 0);
	T_LE(rig_state(), RMIO_KVM_LIVE);
	rig_stop();
}

/* A vCPU waits for its own stores and for nobody else's; another device's do not count either. */
static void only_its_own_stores(void)
{
	uint32_t *image;
	int other, other_slave;

	RIG_START(.vcpus = 2);
	other = rig_create(w.vm->fd);
	T_REQUIRE(T_GE(other, 0));
	T_EQ(rig_range_of(other, DEVICE + 0x100000, LEN, RMIO_BUS_MEM, 0), 0);
	other_slave = ioctl(other, KVM_DEV_USER_SLAVE_FD, 0);
	image = rig_image(0x1000);
	T_REQUIRE(image);
	T_REQUIRE(T_EQ(rig_map(strict_and_relaxed, 2), 0));
	image[0x110 / 4] = 0x55;
	g_begin(1);
	g_store(1, DEVICE, 4, 1);
	g_end(1);
	T_OK(rig_run(1));
	g_begin(0);
	g_store(0, DEVICE + 0x100000, 4, 1);
	g_load(0, DEVICE + 0x110, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x55);
	T_EQ(COUNT(0, ordered), 0);
	T_EQ(COUNT(1, posted), 1);
	close(other_slave);
	close(other);
	rig_stop();
}

/* -- death -------------------------------------------------------------------------------- */

/* Stores that the device never took, and those after its end: discarded, counted; loads: ones. */
static void counted_after_death(void)
{
	unsigned int i, len;

	RIG_START();
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	g_begin(0);
	for (i = 0; i < 3; i++)
		g_store(0, DEVICE + 8 * i, 8, i);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(COUNT(0, posted), 3);
	rig_close_slave();
	T_EQ(rig_state(), RMIO_KVM_CLOSED);
	T_EQ(COUNT(0, discarded), 3);
	g_begin(0);
	for (len = 1; len <= 8; len *= 2)
		g_load(0, DEVICE + 0x10, len);
	g_in(0, PORT, 2);
	for (i = 0; i < 4; i++)
		g_store(0, DEVICE + 8 * i, 8, i);
	g_out(0, PORT, 1, 1);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0xff);
	T_EQ(w.vcpu[0].result[1], 0xffff);
	T_EQ(w.vcpu[0].result[2], 0xffffffff);
	T_EQ(w.vcpu[0].result[3], ~0ull);
	T_EQ(w.vcpu[0].result[4], 0xffff);
	T_EQ(COUNT(0, discarded), 8);
	T_EQ(COUNT(0, ones), 5);
	T_EQ(COUNT(0, posted), 3);
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "every size, aligned and not", every_size },
	{ "across two pages", across_pages },
	{ "halves in order", halves_in_order },
	{ "a half that faults", half_faults },
	{ "over the end of a range", over_the_end },
	{ "across two ranges", two_ranges },
	{ "ports", ports },
	{ "random maps against the model", random_maps, 600 },
	{ "a load from the shadow waits for stores", shadow_waits },
	{ "a relaxed one does not", relaxed_does_not },
	{ "it waits for its own stores only", only_its_own_stores },
	{ "counters after death", counted_after_death },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
