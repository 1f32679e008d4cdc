// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device process that writes nonsense into all that it can reach of the bpf back end (both
 * headers, done and reply slots, words that vCPUs sleep on, the shadow image, the eventfd that
 * KVM signals, even the lanes' requests through the descriptor that it was to close) while vCPUs
 * on real KVM store to it and load from it every way there is.  It lives many times.  The vCPUs
 * run on, the VMM accounts for each store to it, and a device beside it is not touched: its
 * stores arrive once, in order and with their values, its loads find them.
 */
#include "bpf_rig.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#define PAGE		RMIO_PAGE
#define VCPUS		2u
#define ACCESSES	160u		/* in a program, about */
#define BURST		RMIO_BPF_RING_MIN	/* stores: more than fit in before the reserve */

/* The device beside, and the hostile one, from RIG_DEVICE on. */
#define GOOD		0u
#define EVIL		0x100000u
#define LEN		0x8000u
#define IMAGE		0x4000u

/* Pages of both: */
#define REGS		0x0000u		/* registers with areas of their own, 8 bytes */
#define ZONE		0x1000u		/* stored to all over */
#define THROUGH		0x2000u		/* a memory slot; written through */
#define ORDERED		0x3000u		/* from the shadow, not relaxed */
#define SYNC		0x4000u
#define SLICE		0x200u		/* of each page, for a vCPU */
#define LAST		0x80u		/* in it, loads: what was last stored to the device */
#define ODD		0x41u		/* not aligned: always exits */

enum attack {
	INDICES,	/* done, taken and the reply slot, between honest answers */
	WAKES,		/* the words of sleeping and waking, the eventfd; the same */
	SHADOW,		/* the image; the same */
	SCRIBBLE,	/* any word of any page that is the device's to write; few answers */
	LANES,		/* what is the VMM's: requests, tails, counters */
	MAPS,		/* new maps and images without end */
	CLAIM,		/* says that all is done and has done nothing */
	SILENCE,	/* answers nothing, and asks to be woken */
	ATTACKS
};

static const char *const attack_name[] = {
	"indices", "wakes", "shadow", "scribble", "lanes", "maps", "claim", "silence",
};

/* What all processes see. */
struct shared {
	atomic_uint attack;		/* of the life that begins */
	atomic_uint go;			/* lives that may strike */
	atomic_uint stop;		/* lives that are to end with a value that cannot be */
	atomic_uint stopped;
	atomic_ulong blows;
	struct {
		uint64_t arrived, last, sum, wrong;
	} good[VCPUS];
};

struct world {
	struct shared *s;
	struct rig rig;
	struct devproc good, evil;
	struct rmio_master *m_good, *m_evil;
	/* Of a round of each vCPU: its stores, those to the devices, loads that surely exit. */
	struct program {
		uint64_t stores, good, good_at, evil, loads, exits;
	} p[VCPUS];
	/* Expected of the good device. */
	uint64_t arrived[VCPUS], sum[VCPUS];
};

static uint32_t make_areas(struct rmio_area *a)
{
	uint32_t n = 0, v, i;

	for (v = 0; v < VCPUS; v++) {
		for (i = 0; i < 4; i++)
			a[n++] = (struct rmio_area){
				.offset = REGS + v * SLICE + i * 8, .length = 8,
			};
		for (i = 0; i < 2; i++)
			a[n++] = (struct rmio_area){
				.offset = THROUGH + v * SLICE + i * 8,
				.length = i ? SLICE - 8 : 8,
				.shadow_offset = v * SLICE + i * 8, .sizes = RMIO_SIZE_ALL,
				.load = RMIO_LOAD_SHADOW, .store = RMIO_STORE_THROUGH,
				.flags = RMIO_AREA_RELAXED,
			};
	}
	a[n++] = (struct rmio_area){
		.offset = THROUGH + VCPUS * SLICE, .length = PAGE - VCPUS * SLICE,
		.shadow_offset = VCPUS * SLICE, .sizes = RMIO_SIZE_ALL,
		.load = RMIO_LOAD_SHADOW, .store = RMIO_STORE_THROUGH,
		.flags = RMIO_AREA_RELAXED,
	};
	a[n++] = (struct rmio_area){
		.offset = ORDERED, .length = PAGE, .shadow_offset = PAGE, .sizes = RMIO_SIZE_ALL,
		.load = RMIO_LOAD_SHADOW,
	};
	a[n++] = (struct rmio_area){ .offset = SYNC, .length = PAGE, .store = RMIO_STORE_SYNC };
	return n;
}

/* -- the device beside --------------------------------------------------------------------- */

struct good {
	struct shared *s;
	char *image;
	uint64_t last[VCPUS];
};

static void good_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		       uint32_t len)
{
	struct good *g = rmio_dev_priv(dev);
	uint32_t v = offset / SLICE % 8 % VCPUS;
	uint64_t nr = RIG_NR(value);

	/* Some have the lower four bytes of the number only. */
	if (len == 8 ? value >> 48 != v + 1 : nr > UINT32_MAX)
		g->s->good[v].wrong++;
	g->s->good[v].wrong += nr <= g->s->good[v].last;
	g->s->good[v].last = nr;
	g->s->good[v].arrived++;
	g->s->good[v].sum += nr;
	g->last[v] = RIG_VALUE(v, nr);
	__atomic_store_n((uint64_t *)(g->image + PAGE + v * SLICE + LAST), g->last[v],
			 __ATOMIC_RELEASE);
}

static uint64_t good_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	struct good *g = rmio_dev_priv(dev);

	return g->last[offset / SLICE % 8 % VCPUS];
}

static void good_device(int sock, void *arg)
{
	static const struct rmio_dev_ops ops = { .load = good_load, .store = good_store };
	static const struct rmio_dev_range range = { .bus = RMIO_BUS_MEM, .len = LEN };
	struct rmio_area areas[32];
	struct good g = { .s = arg };
	struct rmio_dev_desc d = {
		.sz = sizeof(d), .vendor = 0x1234, .name = "good", .ops = &ops, .ranges = &range, .nr_ranges = 1,
		.areas = areas, .nr_areas = make_areas(areas), .shadow_size = IMAGE,
	};
	struct rmio_loop_opts lo = { .sz = sizeof(lo) };
	int fd = devproc_need(sock);
	struct rmio_loop *loop;
	struct rmio_dev *dev;

	close(sock);
	if (!T_EQ(rmio_loop_new(&lo, &loop), 0) || !T_EQ(rmio_dev_new(loop, &d, &g, &dev), 0))
		return;
	g.image = rmio_dev_shadow(dev);
	if (T_EQ(rmio_dev_slave(dev, fd), 0))
		rmio_loop_run(loop);
}

/* -- the hostile one ----------------------------------------------------------------------- */

struct evil {
	int chan, fds[RMIO_CHAN_FDS];
	char *down, *up, *words;
	char *image;
	uint64_t down_size, up_size, image_size;
	uint64_t stride;
	uint32_t lanes, slots;
	struct rmio_cons cons[VCPUS];
	uint32_t asked, answered;
	uint64_t seed;
};

static bool evil_open(struct evil *e, int chan)
{
	const struct rmio_down_hdr *h;
	struct rmio_chan_hdr hello;
	size_t nfds;
	uint32_t i;

	if (!T_GE(rmio_chan_recv(chan, &hello, NULL, 0, e->fds, &nfds), 0) || !T_EQ(nfds, 5))
		return false;
	e->chan = chan;
	e->down_size = hello.value;
	/* The library would map it for reading and close the descriptor. */
	e->down = mmap(NULL, e->down_size, PROT_READ | PROT_WRITE, MAP_SHARED, e->fds[0], 0);
	if (!T_NE((intptr_t)e->down, (intptr_t)MAP_FAILED))
		return false;
	h = (const void *)e->down;
	e->lanes = h->nr_lanes;
	e->slots = h->ring_slots;
	e->stride = h->lane_stride;
	e->up_size = (uint64_t)PAGE * (1 + e->lanes);
	e->up = mmap(NULL, e->up_size, PROT_READ | PROT_WRITE, MAP_SHARED, e->fds[1], 0);
	e->words = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, e->fds[3], 0);
	if (!T_EQ(e->lanes, VCPUS) || !T_NE((intptr_t)e->up, (intptr_t)MAP_FAILED) ||
	    !T_NE((intptr_t)e->words, (intptr_t)MAP_FAILED))
		return false;
	for (i = 0; i < e->lanes; i++) {
		if (!T_EQ(rmio_cons_init(&e->cons[i], e->down + PAGE + i * e->stride,
					 e->up + PAGE * (1 + i), e->slots), 0))
			return false;
		e->cons[i].wake_seq = (uint32_t *)(e->words + i * RMIO_LINE);
	}
	hello.answer = 1;
	rmio_chan_send(chan, &hello, NULL, 0, NULL, 0);
	return true;
}

static void evil_close(struct evil *e)
{
	uint32_t i;

	munmap(e->down, e->down_size);
	munmap(e->up, e->up_size);
	munmap(e->words, PAGE);
	if (e->image)
		munmap(e->image, e->image_size);
	for (i = 0; i < RMIO_CHAN_FDS; i++)
		close(e->fds[i]);
	close(e->chan);
}

static void take_answers(struct evil *e)
{
	int fds[RMIO_CHAN_FDS];
	struct rmio_chan_hdr h;
	size_t nfds, i;

	while (rmio_chan_recv(e->chan, &h, NULL, 0, fds, &nfds) >= 0) {
		e->answered += h.answer;
		if (nfds && h.type == RMIO_CHAN_SHADOW_SIZE && h.value) {
			if (e->image)
				munmap(e->image, e->image_size);
			e->image_size = h.value;
			e->image = mmap(NULL, h.value, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
					0);
			if (e->image == MAP_FAILED)
				e->image = NULL;
		}
		for (i = 0; i < nfds; i++)
			close(fds[i]);
	}
}

static void ask(struct evil *e, uint16_t type, uint64_t value, const struct rmio_area *areas)
{
	struct rmio_chan_hdr h = {
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION, .type = type, .value = value,
	};

	if (!rmio_chan_send(e->chan, &h, areas, areas ? value * sizeof(*areas) : 0, NULL, 0))
		e->asked++;
}

/* False: nobody is there any more. */
static bool wait_for_answers(struct evil *e)
{
	struct pollfd p = { .fd = e->chan, .events = POLLIN };

	while (e->answered != e->asked) {
		poll(&p, 1, -1);
		if (p.revents & POLLHUP)
			return false;
		take_answers(e);
	}
	return true;
}

static void right_map(struct evil *e)
{
	struct rmio_area areas[32];

	ask(e, RMIO_CHAN_SHADOW_SIZE, IMAGE, NULL);
	ask(e, RMIO_CHAN_SHADOW_CTRL, make_areas(areas), areas);
}

static uint64_t nasty(struct evil *e)
{
	static const uint64_t edge[] = {
		0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, INT64_MAX,
		1ull << 63, UINT64_MAX - 1, UINT64_MAX,
	};
	uint64_t dice = rig_rnd(&e->seed);
	const struct rmio_cons *c = &e->cons[dice >> 8 & (VCPUS - 1)];

	switch (dice % 4) {
	case 0:
		return edge[dice / 16 % KTAP_COUNT(edge)];
	case 1:
		return c->taken + dice / 16 % 5 - 2;
	case 2:
		return c->done - e->slots + dice / 16 % 5 - 2;
	default:
		return rig_rnd(&e->seed) >> dice / 16 % 64;
	}
}

static void wake(struct evil *e, uint32_t lane)
{
	__atomic_fetch_add(e->cons[lane].wake_seq, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, e->cons[lane].wake_seq, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* As a device should: so that there is traffic, and states worth spoiling. */
static void behave(struct evil *e)
{
	struct rmio_request r;
	uint32_t i, k;

	for (i = 0; i < e->lanes; i++) {
		for (k = 0; k < 64 && rmio_cons_pop(&e->cons[i], &r, 1); k++) {
			if (r.op == RMIO_OP_STORE)
				rmio_cons_complete(&e->cons[i], 1);
			else
				rmio_cons_reply(&e->cons[i], nasty(e));
		}
		if (k)
			wake(e, i);
	}
}

/* Mostly where something is meant: the front of pages. */
static void spoil(struct evil *e, void *mem, uint64_t size, uint32_t front)
{
	uint64_t at = rig_rnd(&e->seed) % (size / 8);

	if (rig_rnd(&e->seed) % 4)
		at = at / 512 * 512 + at % front;
	__atomic_store_n((uint64_t *)mem + at, nasty(e), __ATOMIC_RELEASE);
}

static void spoil_indices(struct evil *e)
{
	struct rmio_up_lane *up = e->cons[rig_rnd(&e->seed) % e->lanes].up;
	__u64 *word[] = { &up->done, &up->reply_seq, &up->reply_data, &up->taken };

	__atomic_store_n(word[rig_rnd(&e->seed) % 4], nasty(e), __ATOMIC_RELEASE);
}

static void spoil_wakes(struct evil *e)
{
	struct rmio_up_hdr *hdr = (void *)e->up;
	uint32_t lane = (uint32_t)rig_rnd(&e->seed) % e->lanes, v = (uint32_t)nasty(e);
	uint64_t big = nasty(e);

	switch (rig_rnd(&e->seed) % 8) {
	case 0 ... 1:
		__atomic_store_n(&hdr->need_wake, v, __ATOMIC_RELEASE);
		break;
	case 2:
		__atomic_store_n(&hdr->bell_kind, v, __ATOMIC_RELEASE);
		break;
	case 3:
		__atomic_store_n(e->cons[lane].wake_seq, v, __ATOMIC_RELEASE);
		break;
	case 4:
		__atomic_store_n(&e->cons[lane].up->wake_seq, v, __ATOMIC_RELEASE);
		break;
	case 5:
		wake(e, lane);
		break;
	case 6:
		/* To the brim: KVM adds to what is there. */
		if (write(e->fds[4], &big, sizeof(big)) < 0 && read(e->fds[4], &big, 8) < 0)
			break;
		break;
	default:
		syscall(SYS_futex, e->words + lane * RMIO_LINE, FUTEX_WAKE, INT32_MAX, NULL, NULL,
			0);
	}
}

static void new_map(struct evil *e)
{
	struct rmio_area areas[32];
	uint32_t i;

	if (rig_rnd(&e->seed) % 4 == 0) {
		ask(e, RMIO_CHAN_SHADOW_SIZE, rig_rnd(&e->seed) % 4 ? IMAGE : nasty(e) % 0x20000,
		    NULL);
	} else if (rig_rnd(&e->seed) % 2) {
		ask(e, RMIO_CHAN_SHADOW_CTRL, make_areas(areas), areas);
	} else {
		for (i = 0; i < 32; i++)
			areas[i] = (struct rmio_area){
				.offset = i * PAGE / 4,
				.length = 1 + rig_rnd(&e->seed) % (PAGE / 4),
				.shadow_offset = rig_rnd(&e->seed) % 16 * (PAGE / 4),
				.sizes = RMIO_SIZE_ALL,
				.load = rig_rnd(&e->seed) & 1,
				.store = (uint8_t)(rig_rnd(&e->seed) % 3),
				.flags = rig_rnd(&e->seed) & 1,
			};
		ask(e, RMIO_CHAN_SHADOW_CTRL, 32, areas);
	}
	/* One after the other: a master does not wait for those who take no answers. */
	wait_for_answers(e);
}

static void claim(struct evil *e)
{
	uint32_t i, k;

	for (i = 0; i < e->lanes; i++) {
		const struct rmio_request *r = e->cons[i].slots;
		uint64_t last = 0;

		for (k = 0; k < e->slots; k++)
			last = r[k].seq > last ? r[k].seq : last;
		__atomic_store_n(&e->cons[i].up->done, last, __ATOMIC_RELEASE);
		wake(e, i);
	}
}

static void strike(struct evil *e, enum attack attack)
{
	/* Of a ring and its page: what a device is not even to map. */
	uint64_t lane = rig_rnd(&e->seed) % e->lanes, image = rig_rnd(&e->seed);

	if (attack <= SHADOW || attack == LANES || attack == MAPS ||
	    (attack == SCRIBBLE && rig_rnd(&e->seed) % 64 == 0))
		behave(e);
	/* Let some traffic pass between two blows that end a life. */
	if ((attack == INDICES || attack == SCRIBBLE) && rig_rnd(&e->seed) % 128)
		return;
	switch (attack) {
	case INDICES:
		spoil_indices(e);
		break;
	case WAKES:
		spoil_wakes(e);
		break;
	case SHADOW:
		if (e->image)
			spoil(e, e->image, e->image_size, 512);
		break;
	case SCRIBBLE:
		spoil(e, e->up, e->up_size, 10);
		spoil(e, e->words, PAGE, 16);
		if (e->image)
			spoil(e, e->image, e->image_size, 512);
		break;
	case LANES:
		if (image & 1)
			spoil(e, e->down, e->down_size, 30);
		else
			spoil(e, e->down + PAGE + lane * e->stride, e->stride, 512);
		break;
	case MAPS:
		if (image % 16 == 0)
			new_map(e);
		break;
	case CLAIM:
		claim(e);
		break;
	default:
		__atomic_store_n(&((struct rmio_up_hdr *)e->up)->need_wake, (uint32_t)image,
				 __ATOMIC_RELEASE);
		usleep(100);
	}
}

/* Values that cannot be, and nothing after them. */
static void poison(struct evil *e)
{
	uint32_t i;

	for (i = 0; i < e->lanes; i++) {
		__atomic_store_n(&e->cons[i].up->reply_seq, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&e->cons[i].up->done, 1ull << 63, __ATOMIC_RELEASE);
		wake(e, i);
	}
}

static void evil_device(int sock, void *arg)
{
	struct shared *s = arg;
	struct evil e;
	uint32_t life = 0, i;
	int chan;

	while ((chan = devproc_take(sock)) >= 0) {
		struct pollfd p = { .fd = chan };

		memset(&e, 0, sizeof(e));
		e.seed = 4711 + ++life;
		if (!evil_open(&e, chan))
			_exit(1);
		right_map(&e);
		while (poll(&p, 1, 0) == 0 || !(p.revents & POLLHUP)) {
			if (s->stopped == life) {
				usleep(100);
				continue;
			}
			take_answers(&e);
			for (i = 0; i < 16 && s->go == life; i++)
				strike(&e, s->attack);
			s->blows += i;
			if (!i)
				behave(&e);
			if (s->stop == life) {
				right_map(&e);
				if (wait_for_answers(&e))
					poison(&e);
				s->stopped = life;
			}
		}
		/* Given up before. */
		s->stopped = life;
		evil_close(&e);
	}
}

/* -- the guest ----------------------------------------------------------------------------- */

static void loaded(struct rig_vcpu *c, uint64_t addr, uint32_t len, uint64_t data)
{
	if (addr - RIG_DEVICE < LEN)
		T_EQ(data, rig_rcx(c));
}

/* A store to the device beside, some of them with a load that finds it. */
static void emit_good(struct rig_vcpu *c, struct program *p)
{
	uint32_t slice = GOOD + c->index * SLICE;
	uint64_t dice = rig_rnd(&c->seed);

	switch (dice % 8) {
	case 0:
		emit_store(c, slice + REGS, 8);
		emit_load(c, slice + REGS + LAST, 8);
		break;
	case 1:
		emit_store(c, slice + ZONE + 8 * (dice >> 8 & 7), 8);
		emit_load(c, slice + ORDERED + LAST, 8);
		break;
	case 2:
		emit_store(c, slice + THROUGH, 8);
		emit_load(c, slice + THROUGH, 8);
		emit_expect_last(c);
		break;
	case 3:
		emit_store(c, slice + REGS + ODD, 4);
		break;
	case 4:
		emit_store(c, slice + SYNC, 8);
		break;
	case 5:
		emit_store(c, slice + ZONE + 8 * (dice >> 8 & 7), 4);
		break;
	default:
		emit_store(c, slice + REGS + 8 * (dice >> 8 & 3), 8);
	}
	p->stores++;
	p->good++;
	p->good_at += p->stores;
}

static void emit_evil(struct rig_vcpu *c, struct program *p)
{
	uint64_t dice = rig_rnd(&c->seed);
	uint32_t slice = EVIL + c->index * SLICE, reg = 8 * (dice >> 8 & 7);
	uint32_t len = 1u << (dice >> 16 & 3);
	static const uint32_t page[] = { REGS, ZONE, ORDERED, SYNC };

	if (dice % 16 < 3) {
		emit_load(c, slice + THROUGH + reg, len);
		p->loads++;
		return;
	}
	if (dice % 16 < 6) {
		emit_load(c, slice + page[dice >> 24 & 3] + reg, len);
		p->loads++;
		p->exits++;
		return;
	}
	switch (dice % 16) {
	case 6 ... 8:
		emit_store(c, slice + ZONE + reg, len);
		break;
	case 9 ... 10:
		emit_store(c, slice + THROUGH, 8);
		break;
	case 11:
		emit_store(c, slice + THROUGH + 8 + reg, len);
		break;
	case 12:
		emit_store(c, slice + page[dice >> 24 & 3] + ODD, 4);
		break;
	default:
		emit_store(c, slice + REGS + reg % 32, 8);
	}
	p->stores++;
	p->evil++;
}

static void emit_program(struct world *w, uint32_t v)
{
	struct rig_vcpu *c = &w->rig.vcpu[v];
	struct program *p = &w->p[v];
	uint32_t i;

	memset(p, 0, sizeof(*p));
	c->at = c->body;
	/* An exit first: a thread's stores are captured from the first one on. */
	emit_load(c, EVIL + v * SLICE + REGS, 8);
	p->loads++;
	p->exits++;
	for (i = 0; i < ACCESSES; i++) {
		if (rig_rnd(&c->seed) % 3)
			emit_evil(c, p);
		else
			emit_good(c, p);
	}
	emit_end(c);
}

/* -- the VMM ------------------------------------------------------------------------------- */

static bool has_plan(struct rmio_master *m)
{
	uint32_t n[4] = { 0 };
	size_t i;

	pthread_mutex_lock(&rmio_kvm_of(m->vm)->lock);
	for (i = 0; rmio_bpf_of(m)->plan->plan && i < rmio_bpf_of(m)->plan->plan->nr; i++)
		n[rmio_bpf_of(m)->plan->plan->items[i].mech & 3]++;
	pthread_mutex_unlock(&rmio_kvm_of(m->vm)->lock);
	return n[RMIO_MECH_SLOT] && n[RMIO_MECH_ZONE] && n[RMIO_MECH_EVENTFD] >= 5 * VCPUS;
}

/* As if the guest had stored to its page often. */
static bool wait_for_plan(struct rmio_master *m)
{
	long long end = ktap_now_ms() + 20000;
	uint32_t i, v, k;

	while (!has_plan(m) && ktap_now_ms() < end) {
		for (i = 0; i < RMIO_HEAT_HOT; i++)
			for (v = 0; v < VCPUS; v++)
				for (k = 0; k < RMIO_PLAN_ZONE_MIN; k++)
					rig_heat(m, 0, ZONE + v * SLICE + 8 * k, 8);
		rmio_kvm_ask(m);
		usleep(2000);
	}
	return T_OK(has_plan(m));
}

static bool add(struct world *w, uint64_t addr, uint64_t timeout_ms, struct devproc *d,
		struct rmio_master **m)
{
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .backend = RMIO_BACKEND_BPF, .name = addr ? "evil" : "good",
		.timeout_ns = timeout_ms * 1000000,
	};
	struct rmio_pa_range r = { .addr = RIG_DEVICE + addr, .len = LEN };

	return T_EQ(rmio_master_new(w->rig.vm, &mo, m), 0) &&
	       T_EQ(rmio_master_pa_range(*m, &r), 0) &&
	       devproc_give(d, rmio_master_slave_fd(*m)) && wait_for_plan(*m);
}

/* Each store to the hostile device was handed over or discarded, and the VMM has counted it. */
static void check_counters(struct world *w, uint64_t rounds, enum attack attack)
{
	struct rmio_bpf_lane k = rig_captured(w->m_evil);
	uint64_t stores = 0, exits = 0, loads = 0;
	struct rmio_counters n;
	uint32_t v;

	T_EQ(k.lost, 0);
	T_EQ(rmio_master_counters(w->m_evil, -1, &n), 0);
	/* Those of the exit path lie in the lanes. */
	if (attack == LANES)
		return;
	for (v = 0; v < VCPUS; v++) {
		stores += w->p[v].evil * rounds;
		exits += w->p[v].exits * rounds;
		loads += w->p[v].loads * rounds;
	}
	/* Those that had been handed over when the device ended may be both. */
	T_LE(n.posted + n.sync, stores);
	T_LE(n.discarded, stores);
	T_GE(n.posted + n.sync + n.discarded, stores);
	T_LE(n.loads + n.shadow, loads);
	T_LE(n.ones, loads);
	T_GE(n.loads + n.shadow + n.ones, attack == MAPS ? 0 : exits);
}

/* The program in the kernel looks at what cannot be, does not take it, and asks for the library. */
static void burst(struct world *w)
{
	uint64_t bad = rig_captured(w->m_evil).bad;
	uint32_t v, i;

	for (v = 0; v < VCPUS; v++) {
		struct rig_vcpu *c = &w->rig.vcpu[v];

		c->at = c->body;
		emit_load(c, GOOD + v * SLICE + REGS + LAST, 8);
		for (i = 0; i < BURST; i++)
			emit_store(c, EVIL + v * SLICE + REGS, 8);
		emit_end(c);
		c->loaded = NULL;
	}
	T_REQUIRE(rig_start(&w->rig, 1));
	rig_join(&w->rig);
	for (v = 0; v < VCPUS; v++)
		w->rig.vcpu[v].loaded = loaded;
	T_GT(rig_captured(w->m_evil).bad, bad);
	T_EQ(rig_captured(w->m_evil).lost, 0);
	T_EQ(rmio_master_state(w->m_evil), RMIO_STATE_PROTOCOL);
}

/* Found out: it answers all ones, and what is stored to it is counted as discarded. */
static void check_dead(struct world *w)
{
	struct rmio_vcpu *v = w->rig.vcpu[0].v;
	struct rmio_counters a, b;
	uint64_t data = 0;
	uint32_t len;

	T_OK(rmio_master_state(w->m_evil) == RMIO_STATE_PROTOCOL ||
	     rmio_master_state(w->m_evil) == RMIO_STATE_TIMEOUT);
	rmio_master_counters(w->m_evil, -1, &a);
	for (len = 1; len <= 8; len *= 2) {
		data = 0;
		T_EQ(rmio_vcpu_load(v, RMIO_BUS_MEM, RIG_DEVICE + EVIL + THROUGH, len, &data), 0);
		T_EQ(data, rmio_ones(len));
		T_EQ(rmio_vcpu_store(v, RMIO_BUS_MEM, RIG_DEVICE + EVIL + ZONE, len, 1), 0);
	}
	rmio_master_counters(w->m_evil, -1, &b);
	T_EQ(b.ones - a.ones, 4);
	T_EQ(b.discarded - a.discarded, 4);
}

static void check_good(struct world *w)
{
	struct rmio_bpf_lane k = rig_captured(w->m_good);
	uint64_t data;
	uint32_t v;

	for (v = 0; v < VCPUS; v++) {
		/* After all stores of that vCPU. */
		T_EQ(rmio_vcpu_load(w->rig.vcpu[v].v, RMIO_BUS_MEM,
				    RIG_DEVICE + GOOD + v * SLICE + REGS + LAST, 8, &data), 0);
		T_EQ(RIG_NR(data), w->s->good[v].last);
		T_EQ(w->s->good[v].arrived, w->arrived[v]);
		T_EQ(w->s->good[v].sum, w->sum[v]);
		T_EQ(w->s->good[v].wrong, 0);
		T_EQ(w->rig.vcpu[v].holes, 0);
	}
	T_EQ(k.lost, 0);
	T_EQ(k.bad, 0);
	T_EQ(k.discarded, 0);
	T_EQ(rmio_master_state(w->m_good), RMIO_STATE_LIVE);
}

static void one_life(struct world *w, uint32_t life, uint64_t rounds, struct rmio_bpf_lane *sum)
{
	enum attack attack = (life - 1) % ATTACKS;
	struct rmio_bpf_lane k;
	uint64_t r, first;
	uint32_t v;

	w->s->attack = attack;
	T_REQUIRE(add(w, EVIL, 50, &w->evil, &w->m_evil));
	for (v = 0; v < VCPUS; v++) {
		struct program *p = &w->p[v];

		first = rig_stores(&w->rig.vcpu[v]);
		emit_program(w, v);
		for (r = 0; r < rounds; r++, first += p->stores)
			w->sum[v] += p->good * first + p->good_at;
		w->arrived[v] += p->good * rounds;
	}
	w->s->go = life;
	T_REQUIRE(rig_start(&w->rig, rounds));
	rig_join(&w->rig);
	w->s->stop = life;
	while (w->s->stopped != life)
		usleep(100);
	w->s->go = 0;
	check_counters(w, rounds, attack);
	if (rmio_master_state(w->m_evil) == RMIO_STATE_LIVE)
		burst(w);
	check_dead(w);
	check_good(w);
	k = rig_captured(w->m_evil);
	sum->posted += k.posted;
	sum->bad += k.bad;
	sum->discarded += k.discarded;
	if (ktap_failed())
		ktap_diag("in life %u, %s", life, attack_name[attack]);
	rmio_master_free(w->m_evil);
	w->m_evil = NULL;
}

static void hostile(uint32_t policy)
{
	/* A quarter of the attacks at least, all in the first of the two tests. */
	long first = policy == RMIO_WAIT_SLEEP ? ATTACKS : ATTACKS / 4;
	uint32_t lives = (uint32_t)ktap_pick(first, 3 * ATTACKS, 60 * ATTACKS), life, v;
	struct rmio_wait_opts wait = { .sz = sizeof(wait), .policy = policy };
	struct rmio_bpf_lane sum = { 0 };
	static struct world w;
	const char *why;

	w.s = mmap(NULL, sizeof(*w.s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_REQUIRE(T_NE((intptr_t)w.s, (intptr_t)MAP_FAILED));
	T_REQUIRE(devproc_start(&w.good, good_device, w.s));
	T_REQUIRE(devproc_start(&w.evil, evil_device, w.s));
	why = rig_new(&w.rig, VCPUS, &wait);
	if (why)
		T_SKIP(why, RIG_ENABLE);
	T_REQUIRE(add(&w, GOOD, 20000, &w.good, &w.m_good));
	for (v = 0; v < VCPUS; v++) {
		w.rig.vcpu[v].loaded = loaded;
		emit_begin(&w.rig.vcpu[v]);
		emit_end(&w.rig.vcpu[v]);
	}
	for (life = 1; life <= lives && !ktap_failed(); life++)
		one_life(&w, life, (uint64_t)ktap_pick(3, 8, 20), &sum);
	ktap_diag("%u lives, %lu blows; of the hostile device %llu stores captured, %llu discarded in the kernel, %llu impossible values seen there; %llu stores of the other",
		  life - 1, (unsigned long)w.s->blows, (unsigned long long)sum.posted,
		  (unsigned long long)sum.discarded, (unsigned long long)sum.bad,
		  (unsigned long long)(w.arrived[0] + w.arrived[1]));
	T_GT(sum.posted, 0);
	T_GT(rig_captured(w.m_good).posted, 0);
	devproc_kill(&w.evil);
	devproc_wait(&w.evil);
	devproc_kill(&w.good);
	devproc_wait(&w.good);
	rmio_master_free(w.m_evil);
	rmio_master_free(w.m_good);
	rig_free(&w.rig);
	munmap(w.s, sizeof(*w.s));
}

static void sleeping(void)
{
	hostile(RMIO_WAIT_SLEEP);
}

static void adaptive(void)
{
	hostile(RMIO_WAIT_ADAPTIVE);
}

static const struct ktap_test tests[] = {
	{ "nonsense wherever a device can write, vCPUs sleep", sleeping, 400 },
	{ "nonsense wherever a device can write, vCPUs spin and sleep", adaptive, 400 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
