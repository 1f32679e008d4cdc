// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Litmus tests of a guest's accesses on the bpf back end: a store and then a load, for each way
 * that a store can take with each way that a load can take; and two stores of one vCPU as
 * another vCPU's loads find them.  On real KVM, the device slow and in a process of its own.
 *
 * What may come out, n being the number of the store before the load:
 *
 *   load from                same register                  register that the device keeps
 *   device, or a shadow      n                              n
 *   area not relaxed
 *   relaxed area             synchronous store: n           synchronous store: n
 *                            written through: n             else: any up to n, and none
 *                            else: any up to n, and none    older than loaded before
 *                            older than loaded before
 *
 * Message passing, vCPU 0 storing data and then a flag, vCPU 1 loading the flag and then the
 * data: with the flag it has the data, however the loads go, since the device handles a vCPU's
 * stores in order.  Only a flag that is written through may be loaded from the shadow before
 * the device has it: then data are promised if they are written through too and loaded from
 * the shadow, or if their store was synchronous.  Neither value ever goes back.
 */
#include "bpf_rig.h"

#define PAGE	  RMIO_PAGE
#define IMAGE	  (GROUPS * TYPES * PAGE)
#define RANGE	  0x20000u /* a power of two */
#define LOG(vcpu) (0x800000u + (vcpu)*0x100000u)

/* In each page: */
#define DATA  0x100u
#define FLAG  0x200u
#define ODD   0x301u /* not aligned: 4 bytes there exit and are posted */
#define COUNT 0x800u /* kept by the device: stores that it has handled */
#define END   0xf00u /* of what is relaxed and yet no slot */

/* How loads from a page go: a group of pages for each. */
enum { SLOT, RELAXED, ORDERED, DEVICE, GROUPS };
static const char *const group_name[] = { "memslot", "relaxed", "ordered", "device" };

/* How stores to a page go: a page of each group. */
enum { POSTED, POSTED_ZONE, THROUGH, THROUGH_ZONE, SYNC, TYPES };

/* The ways of a store. */
static const struct way {
	const char *name;
	uint8_t type;
	bool exits;
} ways[] = {
	{ "ioeventfd", POSTED, false },
	{ "zone", POSTED_ZONE, false },
	{ "exit", POSTED, true },
	{ "exit, sync", SYNC, true },
	{ "through, ioeventfd", THROUGH, false },
	{ "through, zone", THROUGH_ZONE, false },
	{ "through, exit", THROUGH, true },
};

#define WAYS KTAP_COUNT(ways)

static bool is_through(const struct way *w)
{
	return w->type == THROUGH || w->type == THROUGH_ZONE;
}

/* An access to a register: where in the range, how much of it. */
struct access_at {
	uint32_t offset, len;
};

static struct access_at reg_of(uint32_t group, const struct way *w, uint32_t reg)
{
	uint32_t page = (group * TYPES + w->type) * PAGE;

	if (w->exits && w->type != SYNC)
		return (struct access_at){ page + reg + ODD - DATA, 4 };
	return (struct access_at){ page + reg, 8 };
}

struct seen {
	uint64_t arrived, wrong;
};

struct litmus {
	struct seen *seen;
	char *mem; /* the device's: the image */
	uint64_t reg[RANGE / 8];
	struct rig rig;
	struct rmio_master *m;
	struct devproc proc;
};

/* -- the device ---------------------------------------------------------------------------- */

static uint32_t make_areas(struct rmio_area *a)
{
	uint32_t n = 0, g, t;

	for (g = 0; g < GROUPS; g++)
		for (t = 0; t < TYPES; t++, n++)
			a[n] = (struct rmio_area){
				.offset = n * PAGE,
				.length = g == RELAXED ? END : PAGE,
				.shadow_offset = n * PAGE,
				.sizes = RMIO_SIZE_ALL,
				.load = g == DEVICE ? RMIO_LOAD_DEVICE : RMIO_LOAD_SHADOW,
				.store = t == SYNC			     ? RMIO_STORE_SYNC
					 : t == THROUGH || t == THROUGH_ZONE ? RMIO_STORE_THROUGH
									     : RMIO_STORE_POSTED,
				.flags = g == SLOT || g == RELAXED ? RMIO_AREA_RELAXED : 0,
			};
	return n;
}

static uint64_t low(uint64_t v, uint32_t len)
{
	return len == 8 ? v : v & ((1ull << 8 * len) - 1);
}

/* Whole quadwords, so that a value is never torn wherever it lies in them. */
static void show(struct litmus *l, uint64_t offset, uint64_t quad)
{
	__atomic_store_n((uint64_t *)(l->mem + (offset & -8ull)), quad, __ATOMIC_RELEASE);
}

static void dev_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		      uint32_t len)
{
	struct litmus *l = rmio_dev_priv(dev);
	uint64_t nr = l->seen->arrived + 1, quad = value << 8 * (offset & 7);
	uint32_t type = offset / PAGE % TYPES, g;

	/* Long enough for the vCPU to load what it must not. */
	if (nr & 1)
		nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
	l->seen->wrong += low(RIG_VALUE(0, nr), len) != value;
	l->reg[offset / 8] = quad;
	if (type != THROUGH && type != THROUGH_ZONE)
		show(l, offset, quad);
	l->seen->arrived = nr;
	for (g = 0; g < GROUPS; g++)
		show(l, g * TYPES * PAGE + COUNT, RIG_VALUE(0, nr));
}

static uint64_t dev_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	struct litmus *l = rmio_dev_priv(dev);

	if (offset % PAGE == COUNT)
		return RIG_VALUE(0, l->seen->arrived);
	return low(l->reg[offset / 8] >> 8 * (offset & 7), len);
}

static void device(int sock, void *arg)
{
	static const struct rmio_dev_ops ops = { .load = dev_load, .store = dev_store };
	static const struct rmio_dev_range range = { .bus = RMIO_BUS_MEM, .len = RANGE };
	struct rmio_area areas[GROUPS * TYPES];
	struct litmus *l = arg;
	struct rmio_dev_desc d = {
		.sz = sizeof(d), .vendor = 0x1234,
		.name = "litmus",
		.ops = &ops,
		.ranges = &range,
		.nr_ranges = 1,
		.areas = areas,
		.nr_areas = make_areas(areas),
		.shadow_size = IMAGE,
	};
	struct rmio_loop_opts lo = { .sz = sizeof(lo) };
	int fd = devproc_need(sock);
	struct rmio_loop *loop;
	struct rmio_dev *dev;

	close(sock);
	if (!T_EQ(rmio_loop_new(&lo, &loop), 0) || !T_EQ(rmio_dev_new(loop, &d, l, &dev), 0))
		return;
	l->mem = rmio_dev_shadow(dev);
	if (T_EQ(rmio_dev_slave(dev, fd), 0))
		rmio_loop_run(loop);
}

/* -- the VMM ------------------------------------------------------------------------------- */

/* As if the guest had stored to them often. */
static void heat_up(struct litmus *l)
{
	uint32_t g, i, k;

	for (k = 0; k < 4 * RMIO_HEAT_HOT; k++) {
		for (g = 0; g < GROUPS; g++) {
			uint32_t page = g * TYPES * PAGE;

			for (i = DATA; i <= FLAG; i += FLAG - DATA) {
				rig_heat(l->m, 0, page + POSTED * PAGE + i, 8);
				rig_heat(l->m, 0, page + THROUGH * PAGE + i, 8);
			}
			for (i = 0; i < RMIO_PLAN_ZONE_MIN; i++) {
				rig_heat(l->m, 0, page + POSTED_ZONE * PAGE + 8 * i, 8);
				rig_heat(l->m, 0, page + THROUGH_ZONE * PAGE + 8 * i, 8);
			}
		}
	}
	rmio_kvm_ask(l->m);
}

/* Of the plan in force: 0 no plan is under way, and it is all there. */
static int planned(struct litmus *l)
{
	uint32_t n[4] = { 0 };
	size_t i;

	if (rmio_word_read(&rmio_bpf_of(l->m)->plan->asked))
		return -EAGAIN;
	pthread_mutex_lock(&rmio_kvm_of(l->rig.vm)->lock);
	for (i = 0; rmio_bpf_of(l->m)->plan->plan && i < rmio_bpf_of(l->m)->plan->plan->nr; i++)
		n[rmio_bpf_of(l->m)->plan->plan->items[i].mech & 3]++;
	pthread_mutex_unlock(&rmio_kvm_of(l->rig.vm)->lock);
	return n[RMIO_MECH_SLOT] && n[RMIO_MECH_EVENTFD] == GROUPS * 4 &&
			       n[RMIO_MECH_ZONE] == GROUPS * 2
		       ? 0
		       : -ENOENT;
}

/* Forgets the stores that exit before they are many: the plan stays as it is. */
static void cool_down(struct litmus *l)
{
	pthread_mutex_lock(&rmio_bpf_of(l->m)->plan->heating);
	rmio_heat_init(&rmio_bpf_of(l->m)->plan->heat, RMIO_HEAT_HOT, 1);
	pthread_mutex_unlock(&rmio_bpf_of(l->m)->plan->heating);
}

static bool wait_for_plan(struct litmus *l)
{
	long long end = ktap_now_ms() + 20000;

	do {
		heat_up(l);
		usleep(5000);
	} while (planned(l) && ktap_now_ms() < end);
	while (planned(l) == -EAGAIN && ktap_now_ms() < end)
		usleep(1000);
	cool_down(l);
	return T_EQ(planned(l), 0);
}

/* NULL: it is there. */
static const char *start(struct litmus *l, uint32_t vcpus)
{
	struct rmio_master_opts mo = {
		.sz = sizeof(mo),
		.backend = RMIO_BACKEND_BPF,
		.name = "litmus",
		.timeout_ns = 20000000000ull,
	};
	struct rmio_pa_range r = { .addr = RIG_DEVICE, .len = RANGE };
	struct rmio_wait_opts wait = { .sz = sizeof(wait) };
	const char *why;
	uint32_t i;

	l->seen = mmap(NULL, sizeof(*l->seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (l->seen == MAP_FAILED || !devproc_start(&l->proc, device, l))
		return "no memory";
	why = rig_new(&l->rig, vcpus, &wait);
	if (why)
		return why;
	if (T_EQ(rmio_master_new(l->rig.vm, &mo, &l->m), 0) &&
	    T_EQ(rmio_master_pa_range(l->m, &r), 0) &&
	    devproc_give(&l->proc, rmio_master_slave_fd(l->m)))
		wait_for_plan(l);
	for (i = 0; i < vcpus; i++) {
		emit_begin(&l->rig.vcpu[i]);
		emit_end(&l->rig.vcpu[i]);
	}
	return NULL;
}

static void stop(struct litmus *l)
{
	devproc_kill(&l->proc);
	devproc_wait(&l->proc);
	rmio_master_free(l->m);
	rig_free(&l->rig);
	munmap(l->seen, sizeof(*l->seen));
}

/* -- the guest ----------------------------------------------------------------------------- */

static void begin(struct rig_vcpu *c)
{
	c->at = c->body;
	/* An exit first: a thread's stores are captured from the first one on. */
	emit_load(c, DEVICE * TYPES * PAGE + COUNT, 8);
	EMIT(c, 0xbe); /* mov $,%esi */
	emit32(c, LOG(c->index));
}

static void emit_logged(struct rig_vcpu *c, struct access_at a, uint32_t at)
{
	emit_load(c, a.offset, a.len);
	EMIT(c, 0x48, 0x89, 0x86); /* mov %rax,at(%rsi) */
	emit32(c, at * 8);
}

static bool run_once(struct litmus *l)
{
	uint32_t i;

	for (i = 0; i < l->rig.vcpus; i++)
		emit_end(&l->rig.vcpu[i]);
	if (!T_OK(rig_start(&l->rig, 1)))
		return false;
	rig_join(&l->rig);
	return !ktap_failed();
}

static const uint64_t *log_of(struct litmus *l, uint32_t vcpu)
{
	return vmm_vm_ptr(l->rig.kvm, LOG(vcpu), 0x100000);
}

/* What a program and those who ran it did, for the difference. */
struct did {
	uint64_t exits, posted, zone, through, shadow, loads, sync;
};

static struct did did(struct litmus *l)
{
	struct rmio_bpf_lane k = rig_captured(l->m);
	struct rmio_counters n = { 0 };
	uint64_t exits = 0;
	uint32_t i;

	rmio_master_counters(l->m, -1, &n);
	for (i = 0; i < l->rig.vcpus; i++)
		exits += l->rig.vcpu[i].exits;
	return (struct did){ exits, k.posted, k.zone, k.through, n.shadow, n.loads, n.sync };
}

/* -- store, then load ---------------------------------------------------------------------- */

struct outcome {
	uint64_t now, older, wrong;
};

/* Is each access taken by what the test says it is about? */
static void check_ways(const struct did *a, const struct did *b, const struct way *w,
		       uint32_t group, uint32_t n)
{
	bool zone = w->type == POSTED_ZONE || w->type == THROUGH_ZONE;
	uint64_t exits = 1 + (w->exits + (group != SLOT)) * n;
	bool ok = T_GE(b->exits - a->exits, exits);

	/* A zone may have been full, once in a hundred stores at most. */
	ok &= T_LE(b->exits - a->exits, exits + (zone ? 1 + n / 100 : 0));

	ok &= T_EQ(b->posted - a->posted, w->exits ? 0 : n);
	ok &= T_EQ(b->zone - a->zone, zone ? n : 0);
	ok &= T_EQ(b->through - a->through, is_through(w) && !w->exits ? n : 0);
	ok &= T_EQ(b->sync - a->sync, w->type == SYNC ? n : 0);
	ok &= T_EQ(b->shadow - a->shadow, group == RELAXED || group == ORDERED ? n : 0);
	ok &= T_EQ(b->loads - a->loads, 1 + (group == DEVICE ? n : 0));
	if (!ok)
		ktap_diag("store by %s, load by %s", w->name, group_name[group]);
}

static void store_then_load(struct litmus *l, const struct way *w, uint32_t group, bool same,
			    struct outcome *out)
{
	struct access_at to = reg_of(group, w, DATA), from = to;
	/* Fewer than KVM notes of a zone without an exit, and than make a register hot. */
	uint32_t n = 100, i;
	bool exact = group == ORDERED || group == DEVICE || w->type == SYNC ||
		     (same && is_through(w));
	uint64_t first = rig_stores(&l->rig.vcpu[0]), last = 0;
	const uint64_t *log = log_of(l, 0);
	struct did before = did(l), after;

	if (!same)
		from = (struct access_at){ group * TYPES * PAGE + COUNT, 8 };
	cool_down(l);
	begin(&l->rig.vcpu[0]);
	for (i = 0; i < n; i++) {
		emit_store(&l->rig.vcpu[0], to.offset, to.len);
		emit_logged(&l->rig.vcpu[0], from, i);
	}
	if (!run_once(l))
		return;
	for (i = 0; i < n; i++) {
		uint64_t v = RIG_NR(log[i]), nr = first + i + 1;

		out->now += v == nr;
		out->older += v < nr;
		if (v > nr || v < last || (exact && v != nr)) {
			if (!out->wrong++)
				T_FAIL("store by %s, load by %s, %s register: loaded %llu after %llu, expected %s%llu",
				       w->name, group_name[group], same ? "same" : "other",
				       (unsigned long long)v, (unsigned long long)last,
				       exact ? "" : "at most ", (unsigned long long)nr);
		}
		last = v;
	}
	after = did(l);
	check_ways(&before, &after, w, group, n);
}

/* All that was stored has arrived, once and in order. */
static void check_stores(struct litmus *l)
{
	uint64_t n = rig_stores(&l->rig.vcpu[0]), v = 0;
	struct rmio_bpf_lane k = rig_captured(l->m);

	T_EQ(rmio_vcpu_load(l->rig.vcpu[0].v, RMIO_BUS_MEM,
			    RIG_DEVICE + DEVICE * TYPES * PAGE + COUNT, 8, &v),
	     0);
	T_EQ(v, RIG_VALUE(0, n));
	T_EQ(l->seen->wrong, 0);
	T_EQ(k.lost, 0);
	T_EQ(k.bad, 0);
	T_EQ(k.discarded, 0);
	T_EQ(rmio_master_state(l->m), RMIO_STATE_LIVE);
}

static void one_vcpu(void)
{
	static struct outcome out[WAYS][2][GROUPS];
	long laps = ktap_pick(1, 10, 100), lap;
	const char *why;
	static struct litmus l;
	uint32_t w, same, g;

	why = start(&l, 1);
	if (why)
		T_SKIP(why, RIG_ENABLE);
	for (lap = 0; lap < laps; lap++)
		for (w = 0; w < WAYS; w++)
			for (same = 0; same < 2; same++)
				for (g = 0; g < GROUPS && !ktap_failed(); g++)
					store_then_load(&l, &ways[w], g, same, &out[w][same][g]);
	check_stores(&l);
	ktap_diag(
		"loads that found the store / an older one   memslot      relaxed      ordered      device");
	for (w = 0; w < WAYS; w++)
		for (same = 2; same-- > 0;) {
			char row[160];
			int at = snprintf(row, sizeof(row), "%-18s %-20s", ways[w].name,
					  same ? "same register" : "another register");

			for (g = 0; g < GROUPS; g++)
				at += snprintf(row + at, sizeof(row) - (size_t)at, "  %6llu/%-5llu",
					       (unsigned long long)out[w][same][g].now,
					       (unsigned long long)out[w][same][g].older);
			ktap_diag("%s", row);
		}
	stop(&l);
}

/* -- message passing ------------------------------------------------------------------------- */

#define MESSAGES 48u /* as n above, for both */

/* Where data and flag are stored by ways[], and loaded by groups. */
struct message {
	const struct way *data, *flag;
	uint32_t data_from, flag_from;
};

static bool promised(const struct message *m)
{
	if (!is_through(m->flag) || m->flag_from == DEVICE)
		return true;
	return m->data->type == SYNC || (is_through(m->data) && m->data_from != DEVICE);
}

/* How many loads of data found less than the flag had said; -1 one that must not. */
static long pass(struct litmus *l, const struct message *m)
{
	struct access_at data = reg_of(m->data_from, m->data, DATA);
	struct access_at flag = reg_of(m->flag_from, m->flag, FLAG);
	uint64_t first = rig_stores(&l->rig.vcpu[0]), last_data = 0, last_flag = 0;
	const uint64_t *log = log_of(l, 1);
	long older = 0;
	uint32_t i;

	cool_down(l);
	begin(&l->rig.vcpu[0]);
	begin(&l->rig.vcpu[1]);
	for (i = 0; i < MESSAGES; i++) {
		emit_store(&l->rig.vcpu[0], data.offset, data.len);
		emit_store(&l->rig.vcpu[0], flag.offset, flag.len);
		emit_logged(&l->rig.vcpu[1], flag, 2 * i);
		emit_logged(&l->rig.vcpu[1], data, 2 * i + 1);
	}
	if (!run_once(l))
		return -1;
	for (i = 0; i < MESSAGES; i++) {
		uint64_t f = RIG_NR(log[2 * i]), d = RIG_NR(log[2 * i + 1]);
		/* Flags from before this program are about other data. */
		bool behind = f > first && d + 1 < f;

		older += behind;
		if (f >= last_flag && d >= last_data && !(behind && promised(m))) {
			last_flag = f;
			last_data = d;
			continue;
		}
		T_FAIL("data by %s, flag by %s: loaded flag %llu by %s, data %llu by %s, after %llu and %llu",
		       m->data->name, m->flag->name, (unsigned long long)f,
		       group_name[m->flag_from], (unsigned long long)d, group_name[m->data_from],
		       (unsigned long long)last_flag, (unsigned long long)last_data);
		return -1;
	}
	return older;
}

static void two_vcpus(void)
{
	static struct {
		uint64_t older, open;
	} out[WAYS][WAYS];
	long step = ktap_pick(5, 1, 1), laps = ktap_pick(1, 1, 10), lap;
	uint32_t nr = 0, w, v, g;
	static struct litmus l;
	const char *why;

	why = start(&l, 2);
	if (why)
		T_SKIP(why, RIG_ENABLE);
	for (lap = 0; lap < laps; lap++)
		for (w = 0; w < WAYS; w++)
			for (v = 0; v < WAYS; v++)
				for (g = 0; g < GROUPS * GROUPS && !ktap_failed(); g++) {
					struct message m = {
						.data = &ways[w],
						.flag = &ways[v],
						.data_from = g / GROUPS,
						.flag_from = g % GROUPS,
					};
					long older;

					if (nr++ % (uint32_t)step)
						continue;
					older = pass(&l, &m);
					out[w][v].older += older > 0 ? (uint64_t)older : 0;
					out[w][v].open += promised(&m) ? 0 : MESSAGES;
				}
	check_stores(&l);
	ktap_diag(
		"data older than their flag, of the loads where they may be; data down, flag across");
	for (w = 0; w < WAYS; w++) {
		char row[200];
		int at = snprintf(row, sizeof(row), "%-20s", ways[w].name);

		for (v = 0; v < WAYS; v++)
			at += snprintf(row + at, sizeof(row) - (size_t)at, " %5llu/%-4llu",
				       (unsigned long long)out[w][v].older,
				       (unsigned long long)out[w][v].open);
		ktap_diag("%s", row);
	}
	stop(&l);
}

static const struct ktap_test tests[] = {
	{ "store, then load", one_vcpu, 300 },
	{ "message passing", two_vcpus, 300 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
