// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Which thread runs which vCPU, on the bpf back end: stores of threads that the program
 * does not know yet, of one store in parts and of a REP prefix, with and without a
 * descriptor left to make them known; and one thread that runs several vCPUs in turn.
 * Every byte arrives once, in its vCPU's order and lane.
 */
#include "bpf_rig.h"

#include <fcntl.h>
#include <sys/resource.h>

#define LEN		0x5000u
#define COUNT		0x4800u		/* loads: bytes that have arrived from the vCPU */
#define TABLE		0xc00000u	/* in guest memory: what REP MOVSQ copies */
#define PAGES		4u		/* of the range, in zones */
#define LOG		(1u << 20)

/* What the device got, byte by byte; shared with its process. */
struct got {
	struct {
		uint64_t n;
		struct {
			uint32_t offset;
			uint8_t byte;
		} at[LOG];
	} vcpu[2];
	uint64_t wrong;
};

struct world {
	struct got *got;
	struct devproc proc;
	struct rig rig;
	struct rmio_master *m;
	struct got *model;
};

static struct world w;

/* -- the device ---------------------------------------------------------------------------- */

static void take(const struct rmio_request *r)
{
	uint32_t i;

	for (i = 0; i < r->len && r->vcpu < 2; i++) {
		uint64_t n = w.got->vcpu[r->vcpu].n++;

		w.got->vcpu[r->vcpu].at[n % LOG].offset = (uint32_t)r->offset + i;
		w.got->vcpu[r->vcpu].at[n % LOG].byte = (uint8_t)(r->data >> (8 * i));
	}
}

static void device(int sock, void *arg)
{
	struct rmio_slave *s;
	struct rmio_request r[64];
	ssize_t n, i;

	if (!T_EQ(rmio_slave_open(devproc_need(sock), NULL, &s), 0))
		return;
	for (;;) {
		n = rmio_slave_read(s, r, KTAP_COUNT(r));
		if (n == -EAGAIN) {
			rmio_slave_poll(s, 1000);
			continue;
		}
		if (n < 0)
			return;
		for (i = 0; i < n; i++) {
			struct rmio_reply a = { .seq = r[i].seq, .vcpu = r[i].vcpu };

			if (r[i].op == RMIO_OP_LOAD)
				a.data = w.got->vcpu[r[i].vcpu].n;
			else
				take(&r[i]);
			rmio_slave_write(s, &a, 1);
		}
	}
}

/* -- the VMM -------------------------------------------------------------------------------- */

static uint64_t in_zones(void)
{
	uint64_t bytes = 0;
	size_t i;

	pthread_mutex_lock(&rmio_kvm_of(w.m->vm)->lock);
	for (i = 0; rmio_bpf_of(w.m)->plan->plan && i < rmio_bpf_of(w.m)->plan->plan->nr; i++)
		if (rmio_bpf_of(w.m)->plan->plan->items[i].mech == RMIO_MECH_ZONE)
			bytes += rmio_bpf_of(w.m)->plan->plan->items[i].length;
	pthread_mutex_unlock(&rmio_kvm_of(w.m->vm)->lock);
	return bytes;
}

/* As if the guest had stored all over the first pages. */
static bool make_zones(void)
{
	long long end = ktap_now_ms() + 100000;
	uint32_t k, page, i;

	/* That makes a plan of its own. */
	while (rmio_master_state(w.m) != RMIO_STATE_LIVE && ktap_now_ms() < end)
		usleep(1000);
	for (k = 0; k < RMIO_HEAT_HOT; k++)
		for (page = 0; page < PAGES; page++)
			for (i = 0; i < 16; i++)
				rig_heat(w.m, 0, page * RMIO_PAGE + i * 0x100, 8);
	rmio_kvm_ask(w.m);
	while ((in_zones() < PAGES * RMIO_PAGE || rmio_word_read(&rmio_bpf_of(w.m)->plan->asked)) &&
	       ktap_now_ms() < end)
		usleep(1000);
	return T_GE(in_zones(), PAGES * RMIO_PAGE);
}

static const char *start(uint32_t vcpus)
{
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .backend = RMIO_BACKEND_BPF, .name = "log",
		.timeout_ns = 20000000000ull,
	};
	struct rmio_pa_range r = { .addr = RIG_DEVICE, .len = LEN };
	struct rmio_wait_opts wait = { .sz = sizeof(wait) };
	const char *why;

	memset(&w, 0, sizeof(w));
	w.got = mmap(NULL, sizeof(*w.got), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	w.model = calloc(1, sizeof(*w.model));
	if (w.got == MAP_FAILED || !w.model || !devproc_start(&w.proc, device, NULL))
		return "no memory";
	why = rig_new(&w.rig, vcpus, &wait);
	if (why)
		return why;
	if (T_EQ(rmio_master_new(w.rig.vm, &mo, &w.m), 0) &&
	    T_EQ(rmio_master_pa_range(w.m, &r), 0) &&
	    devproc_give(&w.proc, rmio_master_slave_fd(w.m)))
		make_zones();
	return NULL;
}

static void stop(void)
{
	devproc_kill(&w.proc);
	devproc_wait(&w.proc);
	rmio_master_free(w.m);
	rig_free(&w.rig);
	free(w.model);
}

static void *round_thread(void *arg)
{
	struct rig_vcpu *c = arg;

	vmm_vcpu_enter(c->kvm);
	rig_round(c);
	vmm_vcpu_leave(c->kvm);
	return NULL;
}

/* A round in a thread that nobody has seen. */
static bool new_thread(struct rig_vcpu *c)
{
	if (!T_EQ(pthread_create(&c->thread, NULL, round_thread, c), 0))
		return false;
	pthread_join(c->thread, NULL);
	return !ktap_failed();
}

/* -- the model ------------------------------------------------------------------------- */

static void expect(uint32_t vcpu, uint32_t offset, uint64_t data, uint32_t len)
{
	for (; len; len--, offset++, data >>= 8) {
		uint64_t n = w.model->vcpu[vcpu].n++;

		w.model->vcpu[vcpu].at[n % LOG].offset = offset;
		w.model->vcpu[vcpu].at[n % LOG].byte = (uint8_t)data;
	}
}

/* Everything up to now, and nothing else. */
static void check(void)
{
	uint64_t n, i;
	uint32_t v;

	for (v = 0; v < w.rig.vcpus; v++) {
		T_EQ(rmio_vcpu_load(w.rig.vcpu[v].v, RMIO_BUS_MEM, RIG_DEVICE + COUNT, 8, &n), 0);
		T_EQ(n, w.model->vcpu[v].n);
		for (i = 0; i < w.model->vcpu[v].n && i < LOG; i++) {
			uint32_t off = w.model->vcpu[v].at[i].offset;
			uint8_t byte = w.model->vcpu[v].at[i].byte;

			if (!T_EQ(w.got->vcpu[v].at[i].offset, off) ||
			    !T_EQ(w.got->vcpu[v].at[i].byte, byte)) {
				ktap_diag("vCPU %u, byte %llu", v, (unsigned long long)i);
				return;
			}
		}
	}
}

static void begin(struct rig_vcpu *c)
{
	c->at = c->body;
}

/* mov $value,%rcx; mov %rcx,offset(%rbx) in that size */
static void store(struct rig_vcpu *c, uint32_t offset, uint64_t value, uint32_t len)
{
	EMIT(c, 0x48, 0xb9);
	emit(c, &value, sizeof(value));
	if (len == 8)
		EMIT(c, 0x48);
	if (len == 2)
		EMIT(c, 0x66);
	EMIT(c, len == 1 ? 0x88 : 0x89, 0x8b);
	emit32(c, offset);
	expect(c->index, offset, value, len);
}

/* movups TABLE,%xmm0; movups %xmm0,offset(%rbx) */
static void store16(struct rig_vcpu *c, uint32_t offset)
{
	const uint64_t *v = vmm_vm_ptr(c->rig->kvm, TABLE, 16);

	EMIT(c, 0x0f, 0x10, 0x04, 0x25);
	emit32(c, TABLE);
	EMIT(c, 0x0f, 0x11, 0x83);
	emit32(c, offset);
	expect(c->index, offset, v[0], 8);
	expect(c->index, offset + 8, v[1], 8);
}

/* cld; mov $TABLE,%esi; lea offset(%rbx),%rdi; mov $n,%ecx; rep movsq */
static void copy(struct rig_vcpu *c, uint32_t offset, uint32_t n)
{
	const uint64_t *v = vmm_vm_ptr(c->rig->kvm, TABLE, n * 8);
	uint32_t i;

	EMIT(c, 0xfc, 0xbe);
	emit32(c, TABLE);
	EMIT(c, 0x48, 0x8d, 0xbb);
	emit32(c, offset);
	EMIT(c, 0xb9);
	emit32(c, n);
	EMIT(c, 0xf3, 0x48, 0xa5);
	for (i = 0; i < n; i++)
		expect(c->index, offset + i * 8, v[i], 8);
}

/* -- tests ----------------------------------------------------------------------------- */

static void fill_table(struct rig_vcpu *c, uint32_t n)
{
	uint64_t *v = vmm_vm_ptr(c->rig->kvm, TABLE, n * 8);

	while (n--)
		*v++ = rig_rnd(&c->seed);
}

/* The first store of a thread crosses a page, at each of the ways to do so. */
static void crossing(void)
{
	const char *why = start(1);
	struct rig_vcpu *c = &w.rig.vcpu[0];
	uint32_t len, before;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	emit_begin(c);
	fill_table(c, 2);
	for (len = 2; len <= 16 && !ktap_failed(); len *= 2)
		for (before = 1; before < len; before++) {
			begin(c);
			if (len == 16)
				store16(c, RMIO_PAGE - before);
			else
				store(c, RMIO_PAGE - before, rig_rnd(&c->seed), len);
			store(c, 2 * RMIO_PAGE, rig_rnd(&c->seed), 8);
			emit_end(c);
			if (!new_thread(c))
				break;
		}
	check();
	T_EQ(c->exits, 0);
	T_GT(c->interrupted, 0);
	stop();
}

/* KVM emulates up to 1024 rounds before it looks for signals. */
static void repeated(void)
{
	static const struct {
		uint32_t offset, n;
	} runs[] = {
		{ 0, 1 }, { 8, 31 }, { 0, 32 }, { 0x10, 33 }, { 0xffc, 64 }, { 0, 1024 },
		{ 0x7fc, 1024 }, { 3, 1500 },
	};
	const char *why = start(1);
	struct rig_vcpu *c = &w.rig.vcpu[0];
	uint32_t i;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	emit_begin(c);
	for (i = 0; i < KTAP_COUNT(runs) && !ktap_failed(); i++) {
		fill_table(c, runs[i].n);
		begin(c);
		copy(c, runs[i].offset, runs[i].n);
		store(c, 0x3000, i, 4);
		emit_end(c);
		if (!new_thread(c))
			break;
	}
	check();
	/* A long one may come out first because the zone is full. */
	T_GE(c->interrupted + c->exits, KTAP_COUNT(runs));
	stop();
}

/* The answer says how many bytes the device has: all those before. */
static void loaded(struct rig_vcpu *c, uint64_t addr, uint32_t len, uint64_t data)
{
	T_EQ(data, rig_rcx(c));
}

/* mov $bytes so far,%rcx; mov COUNT(%rbx),%rax */
static void ask(struct rig_vcpu *c)
{
	EMIT(c, 0x48, 0xb9);
	emit(c, &w.model->vcpu[c->index].n, sizeof(uint64_t));
	emit_load(c, COUNT, 8);
}

static void mixed(struct rig_vcpu *c, uint32_t n)
{
	begin(c);
	while (n--) {
		store(c, 8 + (n & 7) * 8, rig_rnd(&c->seed), 8);
		store(c, RMIO_PAGE - 3, rig_rnd(&c->seed), 8);
		store(c, COUNT - 0x40, n, 4);		/* in no zone: exits */
		if (n & 1)
			ask(c);
		store(c, 0x2001, rig_rnd(&c->seed), 1);
	}
	ask(c);
	emit_end(c);
}

/* No descriptor can be made, so no thread can be made known. */
static void no_descriptors(void)
{
	struct rlimit all, none;
	const char *why = start(1);
	struct rig_vcpu *c = &w.rig.vcpu[0];
	uint64_t seen;
	int fd, i;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	c->loaded = loaded;
	emit_begin(c);
	fd = dup(0);
	close(fd);
	getrlimit(RLIMIT_NOFILE, &all);
	none = all;
	none.rlim_cur = (rlim_t)fd;
	setrlimit(RLIMIT_NOFILE, &none);
	T_LT(dup(0), 0);
	seen = rmio_capture_notes(c->v)->seen;
	for (i = 0; i < 4 && !ktap_failed(); i++) {
		mixed(c, 8);
		new_thread(c);
	}
	fill_table(c, 200);
	begin(c);
	copy(c, 0xffc, 200);
	ask(c);
	emit_end(c);
	new_thread(c);
	/* Where threads are known by number it takes none. */
	if (!rmio_capture_bound(c->v))
		T_EQ(rmio_capture_notes(c->v)->seen, seen);
	setrlimit(RLIMIT_NOFILE, &all);
	mixed(c, 8);
	new_thread(c);
	T_OK(rmio_capture_bound(c->v));
	T_GT(rmio_capture_notes(c->v)->seen, seen);
	check();
	stop();
}

/* In the calling thread. */
static bool turn(struct rig_vcpu *c)
{
	int err;

	vmm_vcpu_enter(c->kvm);
	err = rmio_vcpu_enter(c->v, c->kvm->run);
	if (T_EQ(err, 0))
		err = rig_round(c);
	vmm_vcpu_leave(c->kvm);
	return !err && !ktap_failed();
}

static void some(struct rig_vcpu *c)
{
	begin(c);
	store(c, 8 + c->index * 8, rig_rnd(&c->seed), 8);
	store(c, RMIO_PAGE - 4, rig_rnd(&c->seed), 8);
	ask(c);
	store(c, 0x2000, rig_rnd(&c->seed), 4);
	emit_end(c);
}

/* One thread runs both; now and then another one takes one of them away for a while. */
static void in_turn(void)
{
	long n = ktap_pick(200, 2000, 20000), i;
	const char *why = start(2);
	uint32_t v;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	for (v = 0; v < 2; v++) {
		w.rig.vcpu[v].loaded = loaded;
		emit_begin(&w.rig.vcpu[v]);
	}
	for (i = 0; i < n && !ktap_failed(); i++) {
		struct rig_vcpu *c = &w.rig.vcpu[i & 1];

		some(c);
		if (!turn(c))
			break;
	}
	/* From the first one on, in parts: none was a stray. */
	for (v = 0; v < 2; v++)
		T_EQ(rmio_capture_notes(w.rig.vcpu[v].v)->seen, (uint64_t)n / 2 * 4);
	/* The other thread ends what this one had; not what it has. */
	for (i = 0; i < n / 10 && !ktap_failed(); i++) {
		struct rig_vcpu *a = &w.rig.vcpu[i & 1], *b = &w.rig.vcpu[!(i & 1)];

		some(a);
		some(b);
		if (!turn(a) || !turn(b))
			break;
		some(a);
		some(b);
		if (!new_thread(a) || !turn(b))
			break;
	}
	check();
	T_EQ(rig_captured(w.m).lost + rig_captured(w.m).discarded, 0);
	stop();
}

/* A number for the next thread; the kernel may yet give it to somebody else. */
static bool next_number(pid_t tid)
{
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", (int)tid - 1);
	bool ok = fd >= 0 && write(fd, text, (size_t)n) == n;

	if (fd >= 0)
		close(fd);
	return ok;
}

static pid_t wanted, was;

static void *wanted_thread(void *arg)
{
	was = gettid();
	return !wanted || was == wanted ? round_thread(arg) : NULL;
}

/* A round in a thread with that number, or with any. */
static bool numbered(struct rig_vcpu *c, pid_t tid)
{
	int tries;

	wanted = tid;
	for (tries = 0; tries < 1000; tries++) {
		if (tid && !next_number(tid))
			return false;
		if (!T_EQ(pthread_create(&c->thread, NULL, wanted_thread, c), 0))
			return false;
		pthread_join(c->thread, NULL);
		if (!tid || was == tid)
			return true;
	}
	return false;
}

/* A vCPU's thread ends, and one of the other vCPU gets its number. */
static void same_number(void)
{
	int n = (int)ktap_pick(20, 200, 2000), i;
	const char *why = start(2);
	uint32_t v;

	if (why)
		T_SKIP(why, RIG_ENABLE);
	for (v = 0; v < 2; v++) {
		w.rig.vcpu[v].loaded = loaded;
		emit_begin(&w.rig.vcpu[v]);
	}
	for (i = 0; i < n && !ktap_failed(); i++) {
		struct rig_vcpu *a = &w.rig.vcpu[i & 1], *b = &w.rig.vcpu[!(i & 1)];

		mixed(a, 4);
		if (!numbered(a, 0))
			break;
		mixed(b, 4);
		if (!numbered(b, was)) {
			stop();
			T_SKIP("no thread can be given a number",
			       "as root, with CONFIG_CHECKPOINT_RESTORE");
		}
	}
	check();
	stop();
}

static const struct ktap_test tests[] = {
	{ "the first store of a thread crosses a page", crossing, 300 },
	{ "the first store of a thread is repeated", repeated, 300 },
	{ "no descriptor for a thread", no_descriptors, 300 },
	{ "one thread runs two vCPUs", in_turn, 300 },
	{ "a thread has another one's number", same_number, 300 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
