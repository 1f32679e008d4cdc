// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What changes around a guest on the bpf back end: the threads that run its vCPUs, other
 * VMs of the process, devices that come and go, die, stop, or write nonsense wherever
 * they may.  No store of a device that lives is lost or comes twice, no vCPU hangs.
 */
#include "bpf_rig.h"
#include "device/loop.h"

#define LEN		0x1000u
#define COUNT		0x800u
#define ZONE		0x400u		/* registers without an area: a zone takes them */
#define DEVICES		32u
#define STORES		400u	/* to each device in a round */

/* Of a device, shared with its process. */
struct counted {
	struct {
		uint64_t last, arrived, wrong;
	} vcpu[RIG_VCPUS];
};

struct world {
	struct counted *seen;		/* by device */
	struct devproc proc;
	struct rig rig;
	struct rmio_master *m[DEVICES];
};

/* -- devices: a thread each, in one process ----------------------------------------------- */

static uint64_t dev_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	struct counted *c = rmio_dev_priv(dev);

	return c->vcpu[offset / 8 % RIG_VCPUS].arrived;
}

/* Stores of a vCPU come in order; those to other devices are missing here. */
static void dev_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		      uint32_t len)
{
	struct counted *c = rmio_dev_priv(dev);
	uint32_t v = (value >> 48) - 1;

	if (v >= RIG_VCPUS || offset % ZONE / 8 != v || RIG_NR(value) <= c->vcpu[v].last) {
		c->vcpu[v % RIG_VCPUS].wrong++;
		return;
	}
	c->vcpu[v].arrived++;
	c->vcpu[v].last = RIG_NR(value);
}

/* How their loops sleep. */
static uint32_t policy = RMIO_WAIT_ADAPTIVE;
static bool no_futex;			/* as before Linux 6.7 */

struct slot {
	struct counted *seen;
	int fd;
};

static void *device_thread(void *arg)
{
	static const struct rmio_dev_ops ops = { .load = dev_load, .store = dev_store };
	static const struct rmio_dev_range range = { .len = LEN };
	struct rmio_area areas[RIG_VCPUS + 1];
	struct rmio_dev_desc d = {
		.sz = sizeof(d), .vendor = 0x1234, .name = "counter", .ops = &ops, .ranges = &range,
		.nr_ranges = 1, .areas = areas, .nr_areas = RIG_VCPUS,
	};
	struct rmio_loop_opts lo = {
		.sz = sizeof(lo), .wait = { .sz = sizeof(lo.wait), .policy = policy },
	};
	struct slot *s = arg;
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	uint32_t i;

	for (i = 0; i < RIG_VCPUS; i++)
		areas[i] = (struct rmio_area){ .offset = i * 8, .length = 8 };
	if (T_EQ(rmio_loop_new(&lo, &loop), 0) &&
	    T_EQ(rmio_dev_new(loop, &d, s->seen, &dev), 0)) {
		if (no_futex)
			loop->futex = false;
		if (T_EQ(rmio_dev_slave(dev, s->fd), 0))
			rmio_loop_run(loop);
		rmio_dev_free(dev);
		rmio_loop_free(loop);
	}
	free(s);
	return NULL;
}

static void devices(int sock, void *arg)
{
	struct world *w = arg;
	uint32_t turn = 0;
	pthread_t t;

	for (;;) {
		struct slot *s = calloc(1, sizeof(*s));

		s->fd = devproc_take(sock);
		if (s->fd < 0)
			break;
		/* That of the first stays its own. */
		s->seen = &w->seen[turn < DEVICES ? turn : 1 + turn % (DEVICES - 1)];
		turn++;
		pthread_create(&t, NULL, device_thread, s);
		pthread_detach(t);
	}
	for (;;)
		pause();
}

/* -- the VMM ------------------------------------------------------------------------------- */

static bool has_plan(struct rmio_master *m, uint32_t items)
{
	uint32_t n = 0;
	size_t i;

	pthread_mutex_lock(&rmio_kvm_of(m->vm)->lock);
	for (i = 0; rmio_bpf_of(m)->plan->plan && i < rmio_bpf_of(m)->plan->plan->nr; i++)
		n += rmio_bpf_of(m)->plan->plan->items[i].mech == RMIO_MECH_EVENTFD;
	pthread_mutex_unlock(&rmio_kvm_of(m->vm)->lock);
	return n >= items;
}

static bool add_device(struct world *w, uint32_t i, uint64_t timeout_ms)
{
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .backend = RMIO_BACKEND_BPF, .name = "counter",
		.timeout_ns = timeout_ms * 1000000,
	};
	struct rmio_pa_range r = { .addr = RIG_DEVICE + i * LEN, .len = LEN };

	return T_EQ(rmio_master_new(w->rig.vm, &mo, &w->m[i]), 0) &&
	       T_EQ(rmio_master_pa_range(w->m[i], &r), 0) &&
	       devproc_give(&w->proc, rmio_master_slave_fd(w->m[i]));
}

static bool wait_for_plan(struct world *w, uint32_t i)
{
	long long end = ktap_now_ms() + 10000 * KTAP_SLOWDOWN;

	while (!has_plan(w->m[i], RIG_VCPUS) && ktap_now_ms() < end)
		usleep(500);
	return T_OK(has_plan(w->m[i], RIG_VCPUS));
}

/* Stores to each of the devices in turn, and a load from each when all are done. */
static void program(struct world *w, uint32_t nr, bool ask)
{
	uint32_t i, k, d;

	for (i = 0; i < w->rig.vcpus; i++) {
		struct rig_vcpu *c = &w->rig.vcpu[i];

		emit_begin(c);
		for (k = 0; k < STORES; k++)
			for (d = 0; d < nr; d++)
				emit_store(c, d * LEN + i * 8, 8);
		for (d = 0; d < nr && ask; d++)
			emit_load(c, d * LEN + i * 8, 8);
		emit_end(c);
	}
}

/* NULL: it is there, with devices up to @nr.  Else why not. */
static const char *start(struct world *w, uint32_t vcpus, uint32_t nr, uint64_t timeout_ms)
{
	struct rmio_wait_opts wait = { .sz = sizeof(wait) };
	const char *why;
	uint32_t i;

	memset(w, 0, sizeof(*w));
	w->seen = mmap(NULL, DEVICES * sizeof(*w->seen), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w->seen == MAP_FAILED || !devproc_start(&w->proc, devices, w))
		return "no memory";
	why = rig_new(&w->rig, rig_most(vcpus), &wait);
	for (i = 0; !why && i < nr; i++)
		if (!add_device(w, i, timeout_ms))
			return NULL;
	for (i = 0; !why && i < nr; i++)
		wait_for_plan(w, i);
	return why;
}

/* All that vCPU @v has stored to device @d. */
static void check(struct world *w, uint32_t d, uint32_t nr)
{
	uint32_t v;
	uint64_t n;

	for (v = 0; v < w->rig.vcpus; v++) {
		T_EQ(rmio_vcpu_load(w->rig.vcpu[v].v, RMIO_BUS_MEM,
				    RIG_DEVICE + d * LEN + COUNT + v * 8, 8, &n), 0);
		T_EQ(n, rig_stores(&w->rig.vcpu[v]) / nr);
		T_EQ(w->seen[d].vcpu[v].arrived, n);
		T_EQ(w->seen[d].vcpu[v].wrong, 0);
	}
}

static void stop(struct world *w)
{
	uint32_t i;

	devproc_kill(&w->proc);
	devproc_wait(&w->proc);
	for (i = 0; i < DEVICES; i++)
		rmio_master_free(w->m[i]);
	rig_free(&w->rig);
}

/* -- threads ---------------------------------------------------------------------------------- */

/* Another CPU before each round. */
static void *wandering(void *arg)
{
	uint64_t cpus = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN), i;
	struct rig_vcpu *c = arg;

	vmm_vcpu_enter(c->kvm);
	for (i = 0; i < c->rounds; i++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((c->index + i + rig_rnd(&c->seed)) % cpus, &set);
		sched_setaffinity(0, sizeof(set), &set);
		if (rig_round(c))
			break;
	}
	vmm_vcpu_leave(c->kvm);
	return NULL;
}

/* Each of them begins with a store that KVM takes. */
static void new_threads(void)
{
	long n = ktap_pick(30, 400, 4000), i;
	static struct world w;
	const char *why = start(&w, 2, 1, 20000);
	struct rmio_bpf_lane k;
	uint32_t v;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	program(&w, 1, false);
	for (i = 0; i < n && !ktap_failed(); i++) {
		for (v = 0; v < w.rig.vcpus; v++) {
			w.rig.vcpu[v].rounds = 1 + (uint64_t)(i % 3);
			T_REQUIRE(T_EQ(pthread_create(&w.rig.vcpu[v].thread, NULL, wandering,
						      &w.rig.vcpu[v]), 0));
		}
		rig_join(&w.rig);
	}
	check(&w, 0, 1);
	k = rig_captured(w.m[0]);
	ktap_diag("%ld threads a vCPU: %llu stores in the kernel", n, (unsigned long long)k.posted);
	for (v = 0; v < w.rig.vcpus; v++) {
		ktap_diag("vCPU %u: %llu kicks", v,
			  (unsigned long long)w.rig.vcpu[v].interrupted);
		T_GE(w.rig.vcpu[v].interrupted, n);
	}
	stop(&w);
}

/* It sleeps all the time, and no store leaves KVM for that. */
static void asleep(void)
{
	static struct world w;
	struct rmio_bpf_lane k;
	const char *why;

	policy = RMIO_WAIT_SLEEP;
	why = start(&w, 1, 1, 20000);
	if (why)
		T_SKIP(why, RIG_ENABLE);
	program(&w, 1, false);
	T_REQUIRE(rig_start(&w.rig, (uint64_t)ktap_pick(20, 300, 3000)));
	rig_join(&w.rig);
	check(&w, 0, 1);
	k = rig_captured(w.m[0]);
	ktap_diag("%llu stores in the kernel, %llu exits, %llu kicks, full %llu",
		  (unsigned long long)k.posted, (unsigned long long)w.rig.vcpu[0].exits,
		  (unsigned long long)w.rig.vcpu[0].interrupted, (unsigned long long)k.full);
	/* One for the thread, whose first store KVM takes. */
	T_LE(w.rig.vcpu[0].interrupted, 1 + k.full);
	T_EQ(w.rig.vcpu[0].exits, 0);
	stop(&w);
}

static void asleep_no_futex(void)
{
	no_futex = true;
	asleep();
}

static void *with_vm(void *arg)
{
	struct world *w = arg;

	rig_start(&w->rig, (uint64_t)ktap_pick(20, 300, 3000));
	rig_join(&w->rig);
	return NULL;
}

/* The same addresses in both. */
static void two_vms(void)
{
	static struct world w[2];
	const char *why = NULL;
	pthread_t t[2];
	uint32_t i;

	for (i = 0; i < 2 && !why; i++) {
		why = start(&w[i], 1, 1, 20000);
		if (!why)
			program(&w[i], 1, true);
	}
	if (why)
		T_SKIP(why, RIG_ENABLE);
	for (i = 0; i < 2; i++)
		T_REQUIRE(T_EQ(pthread_create(&t[i], NULL, with_vm, &w[i]), 0));
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	for (i = 0; i < 2; i++) {
		check(&w[i], 0, 1);
		ktap_diag("VM %u: %llu stores, %llu exits, %llu kicks", i,
			  (unsigned long long)rig_stores(&w[i].rig.vcpu[0]),
			  (unsigned long long)w[i].rig.vcpu[0].exits,
			  (unsigned long long)w[i].rig.vcpu[0].interrupted);
	}
	for (i = 0; i < 2; i++)
		stop(&w[i]);
}

/* -- devices --------------------------------------------------------------------------------- */

/* All but the first come and go while the guest stores to them. */
static void hot_plug(void)
{
	long n = ktap_pick(6, 40, 2000), k;
	static struct world w;
	const char *why = start(&w, 2, DEVICES, 20000);
	uint64_t stores = 0, holes = 0;
	uint32_t i;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	program(&w, DEVICES, true);
	T_REQUIRE(rig_start(&w.rig, 1u << 30));
	for (k = 0; k < n && !ktap_failed(); k++) {
		i = 1 + (uint32_t)k % (DEVICES - 1);
		rmio_master_free(w.m[i]);
		w.m[i] = NULL;
		if (!add_device(&w, i, 20000))
			break;
	}
	rig_finish(&w.rig);
	for (i = 0; i < w.rig.vcpus; i++) {
		stores += rig_stores(&w.rig.vcpu[i]);
		holes += w.rig.vcpu[i].holes;
	}
	ktap_diag("%ld devices went and came, %llu stores, %llu of them to nowhere", k,
		  (unsigned long long)stores, (unsigned long long)holes);
	check(&w, 0, DEVICES);
	stop(&w);
}

static bool has_zone(struct rmio_master *m)
{
	bool has = false;
	size_t i;

	pthread_mutex_lock(&rmio_kvm_of(m->vm)->lock);
	for (i = 0; rmio_bpf_of(m)->plan->plan && i < rmio_bpf_of(m)->plan->plan->nr; i++)
		has |= rmio_bpf_of(m)->plan->plan->items[i].mech == RMIO_MECH_ZONE;
	pthread_mutex_unlock(&rmio_kvm_of(m->vm)->lock);
	return has;
}

static void make_zone(struct rmio_master *m)
{
	long long end = ktap_now_ms() + 10000;
	uint32_t i, k;

	for (i = 0; i < RMIO_HEAT_HOT; i++)
		for (k = 0; k < RMIO_PLAN_ZONE_MIN; k++)
			rig_heat(m, 0, ZONE + k * 8, 8);
	rmio_kvm_ask(m);
	while (!has_zone(m) && ktap_now_ms() < end)
		usleep(500);
	T_REQUIRE(T_OK(has_zone(m)));
}

/* Whether the condition came true.  The limit is for a test that fails, not a measure. */
#define BECOMES(condition)							\
	({									\
		long long end_ = ktap_now_ms() + 10000;				\
										\
		while (!(condition) && ktap_now_ms() < end_)			\
			usleep(100);						\
		(condition);							\
	})

/* A store that a zone takes wakes the device, though nothing follows it and no vCPU exits. */
static void zone_wakes(void)
{
	long n = ktap_pick(100, 1000, 10000), k;
	static struct world w;
	const char *why = start(&w, 1, 1, 20000);
	struct rig_vcpu *c = &w.rig.vcpu[0];
	volatile uint64_t *arrived;
	uint64_t exits;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	make_zone(w.m[0]);
	arrived = &w.seen[0].vcpu[0].arrived;
	emit_begin(c);
	emit_store(c, ZONE, 8);
	emit_end(c);
	vmm_vcpu_enter(c->kvm);
	T_REQUIRE(T_EQ(rig_round(c), 0));
	T_REQUIRE(T_OK(BECOMES(*arrived == 1)));
	exits = c->exits;
	for (k = 1; k < n && !ktap_failed(); k++) {
		T_OK(BECOMES(*(volatile uint32_t *)&w.m[0]->up->need_wake));
		T_EQ(rig_round(c), 0);
		T_OK(BECOMES(*arrived == (uint64_t)k + 1));
	}
	vmm_vcpu_leave(c->kvm);
	T_EQ(c->exits, exits);
	T_EQ(c->interrupted, 1);	/* as a thread that was not known */
	T_GT(rig_captured(w.m[0]).told, 0);
	T_EQ(w.seen[0].vcpu[0].wrong, 0);
	stop(&w);
}

static bool place(struct world *w, uint32_t d, uint32_t where)
{
	struct rmio_pa_range r = { .addr = RIG_DEVICE + where * LEN, .len = LEN };

	return T_EQ(rmio_master_pa_range(w->m[d], &r), 0);
}

/* Two devices change places between two rounds: the vCPU may not remember the old owner. */
static void change_hands(void)
{
	long n = ktap_pick(20, 200, 2000), k;
	uint64_t due[2] = { 0 }, got;
	static struct world w;
	const char *why = start(&w, 1, 2, 20000);
	struct rig_vcpu *c = &w.rig.vcpu[0];
	uint32_t d;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	program(&w, 1, false);
	vmm_vcpu_enter(c->kvm);
	for (k = 0; k < n && !ktap_failed(); k++) {
		d = k & 1;
		if (k && (!place(&w, !d, 2) || !place(&w, d, 0) || !place(&w, !d, 1)))
			break;
		if (!wait_for_plan(&w, d) || rig_round(c))
			break;
		due[d] += STORES;
		T_EQ(rmio_vcpu_load(c->v, RMIO_BUS_MEM, RIG_DEVICE + COUNT, 8, &got), 0);
		T_EQ(got, due[d]);
	}
	vmm_vcpu_leave(c->kvm);
	T_EQ(k, n);
	for (d = 0; d < 2; d++) {
		T_EQ(w.seen[d].vcpu[0].arrived, due[d]);
		T_EQ(w.seen[d].vcpu[0].wrong, 0);
		T_GT(rig_captured(w.m[d]).posted, 0);
	}
	stop(&w);
}

static bool wait_dead(struct rmio_master *m, uint32_t why)
{
	long long end = ktap_now_ms() + 10000 * KTAP_SLOWDOWN;

	while (rmio_master_state(m) == RMIO_STATE_LIVE && ktap_now_ms() < end)
		usleep(1000);
	return T_EQ(rmio_master_state(m), why);
}

/* The device in another process than the first dies or stops amid a flood of stores. */
static void ends(int sig, uint32_t state)
{
	static struct world w;
	struct world other;
	const char *why;
	uint64_t before;
	long long end;

	memset(&other, 0, sizeof(other));
	other.seen = mmap(NULL, DEVICES * sizeof(*w.seen), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_REQUIRE(devproc_start(&other.proc, devices, &other));
	why = start(&w, 2, 1, 20000);
	if (why)
		T_SKIP(why, RIG_ENABLE);
	other.rig = w.rig;
	T_REQUIRE(add_device(&other, 1, 500));
	w.m[1] = other.m[1];
	T_REQUIRE(wait_for_plan(&w, 1));
	program(&w, 2, true);
	T_REQUIRE(rig_start(&w.rig, 1u << 30));
	usleep(50000);
	kill(other.proc.pid, sig);
	wait_dead(w.m[1], state);
	before = w.seen[0].vcpu[0].arrived;
	/* They run on, and the first device with them. */
	end = ktap_now_ms() + 10000 * KTAP_SLOWDOWN;
	while ((w.seen[0].vcpu[0].arrived == before || has_plan(w.m[1], 1)) &&
	       ktap_now_ms() < end)
		usleep(1000);
	T_GT(w.seen[0].vcpu[0].arrived, before);
	T_OK(!has_plan(w.m[1], 1));
	rig_finish(&w.rig);
	check(&w, 0, 2);
	T_EQ(rmio_master_state(w.m[0]), RMIO_STATE_LIVE);
	kill(other.proc.pid, SIGKILL);
	devproc_wait(&other.proc);
	stop(&w);
}

static void killed(void)
{
	ends(SIGKILL, RMIO_STATE_CLOSED);
}

static void stopped(void)
{
	ends(SIGSTOP, RMIO_STATE_TIMEOUT);
}

/* Whatever it may write to, over and over; so that it lives, it also says that it is done. */
static void scribble(int sock, void *arg)
{
	int chan = devproc_take(sock), fds[RMIO_CHAN_FDS];
	const struct rmio_down_hdr *down;
	struct rmio_chan_hdr hello;
	uint32_t *up_words, lanes, i, n;
	struct rmio_up_hdr *up;
	uint64_t seed = 7;
	size_t nfds;

	if (!T_GE(rmio_chan_recv(chan, &hello, NULL, 0, fds, &nfds), 0) || !T_EQ(nfds, 5))
		return;
	hello.answer = 1;
	rmio_chan_send(chan, &hello, NULL, 0, NULL, 0);
	down = mmap(NULL, hello.value, PROT_READ, MAP_SHARED, fds[0], 0);
	lanes = down->nr_lanes;
	up = mmap(NULL, RMIO_PAGE * (1 + lanes), PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	up_words = mmap(NULL, RMIO_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[3], 0);
	for (n = 0;; n++) {
		up->need_wake = (uint32_t)rig_rnd(&seed);
		up->bell_kind = (uint32_t)rig_rnd(&seed) & 3;
		up_words[rig_rnd(&seed) % (RMIO_PAGE / 4)] = n;
		for (i = 0; i < lanes; i++) {
			struct rmio_up_lane *l = (void *)((char *)up + RMIO_PAGE * (1 + i));
			const struct rmio_request *r =
				(const void *)((const char *)down + 2 * RMIO_PAGE +
					       i * down->lane_stride);
			uint64_t last = 0;
			uint32_t k;

			for (k = 0; k < down->ring_slots; k++)
				last = r[k].seq > last ? r[k].seq : last;
			l->reply_seq = rig_rnd(&seed);
			l->taken = rig_rnd(&seed);
			l->wake_seq = n;
			l->done = n > 300 && !(n & 63) ? rig_rnd(&seed) : last;
		}
		if (!(n & 15) && write(fds[4], &(uint64_t){ 1 }, 8) < 0)
			return;
	}
}

static void hostile(void)
{
	static struct world w;
	struct world other;
	const char *why;
	uint32_t i, v;

	memset(&other, 0, sizeof(other));
	T_REQUIRE(devproc_start(&other.proc, scribble, NULL));
	why = start(&w, 2, 1, 2000);
	if (why)
		T_SKIP(why, RIG_ENABLE);
	other.rig = w.rig;
	T_REQUIRE(add_device(&other, 1, 2000));
	w.m[1] = other.m[1];
	for (i = 0; i < RMIO_HEAT_HOT; i++)
		for (v = 0; v < 2; v++)
			rig_heat(w.m[1], 0, v * 8, 8);
	rmio_kvm_ask(w.m[1]);
	program(&w, 2, false);
	T_REQUIRE(rig_start(&w.rig, (uint64_t)ktap_pick(100, 1500, 10000)));
	rig_join(&w.rig);
	ktap_diag("%llu stores of the hostile device captured, %llu impossible values, %llu kicks",
		  (unsigned long long)rig_captured(w.m[1]).posted,
		  (unsigned long long)rig_captured(w.m[1]).bad,
		  (unsigned long long)w.rig.vcpu[0].interrupted);
	T_GT(rig_captured(w.m[1]).posted, 0);
	check(&w, 0, 2);
	T_EQ(rmio_master_state(w.m[0]), RMIO_STATE_LIVE);
	devproc_kill(&other.proc);
	devproc_wait(&other.proc);
	stop(&w);
}

static const struct ktap_test tests[] = {
	{ "new threads run the vCPUs", new_threads, 600 },
	{ "KVM wakes a device", asleep, 60 },
	{ "KVM wakes a device that has no futex", asleep_no_futex, 60 },
	{ "two VMs of a process", two_vms, 600 },
	{ "devices come and go", hot_plug, 600 },
	{ "a coalesced store wakes the device", zone_wakes, 300 },
	{ "devices change places", change_hands, 300 },
	{ "a device is killed", killed, 300 },
	{ "a device is stopped", stopped, 300 },
	{ "a device writes nonsense wherever it may", hostile, 300 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
