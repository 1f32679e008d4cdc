// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device process that writes garbage into every word it can reach, sends garbage
 * on its descriptor, punches holes and tries to get at what is not its own, while
 * vCPUs use it and a well-behaved device of the same VM: the VMM goes on, a device
 * found out is dead and answers all ones, the other one answers right.
 */
#include "devproc.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <pthread.h>
#include <rmio/slave.h>
#include <rmio/vmm.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#define SEED	0x726d696f2d2d2d31ull

#define EVIL	0xe0000000ull
#define EVIL2	0xe0200000ull		/* where its range moves to */
#define GOOD	0xe1000000ull
#define LEN	0x10000ull

#define VCPUS	4
#define LANES	(VCPUS + 1)		/* the last one is the test's */
#define REGS	8

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* -- the hostile process ------------------------------------------------------------------ */

enum attack {
	INDICES,	/* done, taken and the reply slot, between honest answers */
	WAKES,		/* the words of sleeping and waking, between honest answers */
	SCRIBBLE,	/* any word of any page */
	HOLES,		/* pages taken away, and what the seals forbid */
	MESSAGES,	/* garbage on the descriptor */
	FLOOD,		/* good messages without end */
	FALSE_WAKES,	/* no answers, but wake-ups without end */
	SILENCE,
	VANISH,
	ATTACKS
};

struct evil {
	struct raw r;
	struct rmio_cons cons[LANES];
	int image_fd;
	char *image;
	uint64_t image_size;
	uint64_t seed;
};

static uint64_t nasty(struct evil *e, const struct rmio_down_lane *down)
{
	static const uint64_t edge[] = {
		0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, INT64_MAX,
		1ull << 63, UINT64_MAX - 1, UINT64_MAX,
	};
	uint64_t dice = rnd(&e->seed);

	switch (dice % 4) {
	case 0:
		return edge[dice / 4 % KTAP_COUNT(edge)];
	case 1:
		return down->tail + dice / 4 % 5 - 2;
	case 2:
		return down->tail - e->r.slots + dice / 4 % 5 - 2;
	default:
		return rnd(&e->seed) >> dice / 4 % 64;
	}
}

/* As a device should: so that there is traffic, and states worth spoiling. */
static void behave(struct evil *e)
{
	struct rmio_request r;
	uint32_t i;

	for (i = 0; i < e->r.lanes; i++)
		while (rmio_cons_pop(&e->cons[i], &r, 1)) {
			struct rmio_up_lane *up = e->cons[i].up;

			if (r.op == RMIO_OP_STORE)
				rmio_cons_complete(&e->cons[i], 1);
			else
				rmio_cons_reply(&e->cons[i], r.offset);
			__atomic_fetch_add(&up->wake_seq, 1, __ATOMIC_RELEASE);
			syscall(SYS_futex, &up->wake_seq, FUTEX_WAKE, 1, NULL, NULL, 0);
		}
}

static void spoil_indices(struct evil *e)
{
	uint32_t i = (uint32_t)rnd(&e->seed) % e->r.lanes;
	struct rmio_cons *c = &e->cons[i];

	switch (rnd(&e->seed) % 4) {
	case 0:
		__atomic_store_n(&c->up->done, nasty(e, c->down), __ATOMIC_RELEASE);
		break;
	case 1:
		__atomic_store_n(&c->up->reply_seq, nasty(e, c->down), __ATOMIC_RELEASE);
		break;
	case 2:
		__atomic_store_n(&c->up->reply_data, nasty(e, c->down), __ATOMIC_RELEASE);
		break;
	default:
		__atomic_store_n(&c->up->taken, nasty(e, c->down), __ATOMIC_RELEASE);
	}
}

static void spoil_wakes(struct evil *e)
{
	uint32_t i = (uint32_t)rnd(&e->seed) % e->r.lanes;
	struct rmio_up_hdr *hdr = (void *)e->r.up;
	struct rmio_cons *c = &e->cons[i];
	uint32_t v = (uint32_t)nasty(e, c->down);

	switch (rnd(&e->seed) % 4) {
	case 0:
		__atomic_store_n(&hdr->need_wake, v, __ATOMIC_RELEASE);
		break;
	case 1:
		__atomic_store_n(&hdr->bell_kind, v, __ATOMIC_RELEASE);
		break;
	case 2:
		__atomic_store_n(&c->up->wake_seq, v, __ATOMIC_RELEASE);
		break;
	default:
		syscall(SYS_futex, &c->up->wake_seq, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
	}
}

static void scribble(struct evil *e)
{
	uint64_t words = e->r.up_size / 8, at = rnd(&e->seed) % words;
	uint64_t v = nasty(e, e->cons[0].down);

	/* Most words mean nothing: choose from the front of each page. */
	if (rnd(&e->seed) % 4)
		at = at / 512 * 512 + at % 10;
	__atomic_store_n((uint64_t *)e->r.up + at, v, __ATOMIC_RELEASE);
	if (e->image)
		__atomic_store_n((uint64_t *)e->image + rnd(&e->seed) % (e->image_size / 8), v,
				 __ATOMIC_RELEASE);
}

static void holes(struct evil *e)
{
	uint64_t page = rnd(&e->seed) % (e->r.up_size / RMIO_PAGE) * RMIO_PAGE;

	fallocate(e->r.up_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)page, RMIO_PAGE);
	if (e->image)
		fallocate(e->image_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			  (off_t)e->image_size);
	/* None of these may work. */
	T_EQ(ftruncate(e->r.up_fd, 0), -1);
	T_EQ(ftruncate(e->r.up_fd, (off_t)e->r.up_size * 2), -1);
	T_EQ(ftruncate(e->r.down_fd, RMIO_PAGE), -1);
	T_EQ(fallocate(e->r.down_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, RMIO_PAGE), -1);
	T_EQ(pwrite(e->r.down_fd, "x", 1, 0), -1);
	T_EQ(mprotect((void *)e->r.down, e->r.down_size, PROT_READ | PROT_WRITE), -1);
	T_EQ(mmap(NULL, RMIO_PAGE, PROT_WRITE, MAP_SHARED, e->r.down_fd, 0), MAP_FAILED);
	T_EQ(fcntl(e->r.up_fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	T_EQ(fcntl(e->r.down_fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	if (e->image)
		T_EQ(ftruncate(e->image_fd, 0), -1);
}

/* One message with @nfds descriptors, whatever it says. */
static void send_raw(int chan, const void *buf, size_t len, uint32_t nfds)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(200 * sizeof(int))];
	} c;
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	uint32_t i;

	if (nfds) {
		m.msg_control = &c;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		for (i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(&c.h) + i * sizeof(int), &chan, sizeof(chan));
	}
	sendmsg(chan, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void messages(struct evil *e)
{
	static char buf[RMIO_CHAN_MAX + 4096];
	struct rmio_chan_hdr *h = (void *)buf;
	uint64_t dice = rnd(&e->seed);
	size_t i, len = rnd(&e->seed) % (dice % 8 ? 200 : sizeof(buf));

	for (i = 0; i + 8 <= len; i += 8)
		memcpy(buf + i, &(uint64_t){ nasty(e, e->cons[0].down) }, 8);
	/* Most get past the first check, one part wrong. */
	if (dice % 16)
		*h = (struct rmio_chan_hdr){
			.magic = RMIO_ABI_MAGIC,
			.version = RMIO_ABI_VERSION,
			.type = (uint16_t)(dice >> 8) % 6,
			.answer = dice >> 16 & 1 && dice >> 17 & 1,
			.value = dice >> 20 & 1 ? len / sizeof(struct rmio_area)
						: nasty(e, e->cons[0].down),
		};
	send_raw(e->r.chan, buf, dice % 16 == 1 ? 0 : len,
		 dice % 32 == 2 ? 1 + dice / 32 % 200 : 0);
}

static void take_answers(struct evil *e)
{
	struct rmio_chan_hdr h;
	int fds[RMIO_CHAN_FDS];
	size_t nfds, i;

	while (rmio_chan_recv(e->r.chan, &h, NULL, 0, fds, &nfds) >= 0) {
		for (i = 0; i < nfds; i++) {
			/* Keep the first image. */
			if (!e->image && h.type == RMIO_CHAN_SHADOW_SIZE && h.value) {
				e->image = mmap(NULL, h.value, PROT_READ | PROT_WRITE, MAP_SHARED,
						fds[i], 0);
				e->image = e->image == MAP_FAILED ? NULL : e->image;
				e->image_size = h.value;
				e->image_fd = fds[i];
			} else {
				close(fds[i]);
			}
		}
	}
}

static void flood(struct evil *e)
{
	struct rmio_area areas[64];
	struct rmio_chan_hdr h = {
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION,
		.type = RMIO_CHAN_SHADOW_CTRL, .value = KTAP_COUNT(areas),
	};
	int i;

	for (i = 0; i < KTAP_COUNT(areas); i++)
		areas[i] = (struct rmio_area){
			.offset = (uint64_t)i * 64, .length = 1 + rnd(&e->seed) % 64,
			.shadow_offset = rnd(&e->seed) % 4096, .sizes = RMIO_SIZE_ALL,
			.load = rnd(&e->seed) & 1, .store = rnd(&e->seed) % 3,
			.flags = rnd(&e->seed) & 1,
		};
	if (rnd(&e->seed) % 4 == 0) {
		h.type = RMIO_CHAN_SHADOW_SIZE;
		h.value = rnd(&e->seed) % 4 ? 0x4000 : rnd(&e->seed) % (RMIO_SHADOW_MAX + 2);
		rmio_chan_send(e->r.chan, &h, NULL, 0, NULL, 0);
	} else {
		rmio_chan_send(e->r.chan, &h, areas, sizeof(areas), NULL, 0);
	}
}

static void false_wakes(struct evil *e)
{
	uint32_t i;

	for (i = 0; i < e->r.lanes; i++) {
		__atomic_fetch_add(&e->cons[i].up->wake_seq, 1, __ATOMIC_RELEASE);
		syscall(SYS_futex, &e->cons[i].up->wake_seq, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}

static void strike(struct evil *e, enum attack attack)
{
	if (attack < SCRIBBLE || attack == VANISH || rnd(&e->seed) % 64 == 0)
		behave(e);
	/* Let some traffic pass between two blows. */
	if (attack < SCRIBBLE && rnd(&e->seed) % 256)
		return;
	switch (attack) {
	case INDICES:
		spoil_indices(e);
		break;
	case WAKES:
		spoil_wakes(e);
		break;
	case SCRIBBLE:
		scribble(e);
		break;
	case HOLES:
		holes(e);
		behave(e);
		break;
	case MESSAGES:
		messages(e);
		behave(e);
		break;
	case FLOOD:
		flood(e);
		take_answers(e);
		behave(e);
		break;
	case FALSE_WAKES:
		false_wakes(e);
		break;
	default:
		usleep(100);
	}
}

static void evil_device(int sock, void *arg)
{
	uint64_t turn = 0;
	struct evil e;
	int chan;

	(void)arg;
	while ((chan = devproc_take(sock)) >= 0) {
		uint64_t end = (uint64_t)ktap_now_ms() + 10;
		enum attack attack = turn % ATTACKS;
		struct pollfd p = { .fd = chan };
		uint32_t i;

		memset(&e, 0, sizeof(e));
		e.seed = SEED + ++turn;
		if (!T_OK(raw_open(&e.r, chan)))
			_exit(1);
		for (i = 0; i < e.r.lanes; i++)
			raw_cons(&e.r, i, &e.cons[i]);
		flood(&e);
		while (poll(&p, 1, 0) == 0 || !(p.revents & POLLHUP)) {
			for (i = 0; i < 16; i++)
				strike(&e, attack);
			take_answers(&e);
			if (attack == VANISH && (uint64_t)ktap_now_ms() > end)
				break;
		}
		if (e.image) {
			munmap(e.image, e.image_size);
			close(e.image_fd);
		}
		raw_close(&e.r);
	}
}

/* -- the good process: keeps what is stored, for each vCPU ------------------------------------ */

static void good_device(int sock, void *arg)
{
	static uint64_t reg[LANES][REGS];
	struct rmio_slave *s;
	struct rmio_request r;

	(void)arg;
	if (rmio_slave_open(devproc_take(sock), NULL, &s))
		_exit(1);
	for (;;) {
		ssize_t n = rmio_slave_read(s, &r, 1);
		uint64_t *at = &reg[r.vcpu % LANES][r.offset / 8 % REGS];

		if (n == -EAGAIN) {
			rmio_slave_poll(s, -1);
			continue;
		}
		if (n != 1)
			_exit(n != -ECONNRESET);
		if (r.op != RMIO_OP_LOAD)
			*at = r.data;
		rmio_slave_write(s, &(struct rmio_reply){ .seq = r.seq, .vcpu = r.vcpu,
				 .data = *at }, 1);
	}
}

/* -- the VM ------------------------------------------------------------------------------------ */

struct vcpu {
	struct world *w;
	struct rmio_vcpu *v;
	pthread_t thread;
	uint64_t seed;
	uint64_t reg[REGS];
	uint64_t longest_ms;
	unsigned long evil, good;
};

struct world {
	struct devproc evil, good;
	struct rmio_vm *vm;
	struct rmio_master *good_master;
	struct vcpu vcpu[LANES];
	atomic_bool stop;
	atomic_uint deaths, deaths_by[RMIO_STATE_PROTOCOL + 1];
};

static void use_evil(struct vcpu *c)
{
	uint64_t dice = rnd(&c->seed), v = 0, began = (uint64_t)ktap_now_ms(), took;
	uint64_t addr = (dice & 1 ? EVIL : EVIL2) + (dice >> 8) % 0x2000;
	uint32_t len = 1u << (dice >> 2 & 3);
	int err = dice & 2 ? rmio_vcpu_load(c->v, RMIO_BUS_MEM, addr, len, &v) :
			     rmio_vcpu_store(c->v, RMIO_BUS_MEM, addr, len, dice);

	if (err != -EOPNOTSUPP)
		T_EQ(err, 0);
	took = (uint64_t)ktap_now_ms() - began;
	if (took > c->longest_ms)
		c->longest_ms = took;
	c->evil += !err;
}

static void use_good(struct vcpu *c)
{
	uint64_t dice = rnd(&c->seed), i = dice >> 8 & (REGS - 1), v = 0;

	if (dice & 1) {
		c->reg[i] = dice;
		T_EQ(rmio_vcpu_store(c->v, RMIO_BUS_MEM, GOOD + i * 8, 8, dice), 0);
	} else {
		T_EQ(rmio_vcpu_load(c->v, RMIO_BUS_MEM, GOOD + i * 8, 8, &v), 0);
		T_EQ(v, c->reg[i]);
	}
	c->good++;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *c = arg;

	while (!atomic_load(&c->w->stop) && !ktap_failed()) {
		if (rnd(&c->seed) % 4)
			use_evil(c);
		else
			use_good(c);
	}
	return NULL;
}

static void on_dead(void *arg, struct rmio_master *m, enum rmio_state why, const char *reason)
{
	struct world *w = arg;

	(void)reason;
	atomic_fetch_add(&w->deaths, 1);
	atomic_fetch_add(&w->deaths_by[why], 1);
	if (m == w->good_master)
		T_EQ(why, RMIO_STATE_LIVE);
}

static void check_dead(struct world *w, struct rmio_master *m, uint64_t addr)
{
	static const uint32_t len[] = { 1, 2, 4, 8 };
	struct rmio_vcpu *v = w->vcpu[VCPUS].v;
	struct rmio_counters a, b;
	uint64_t data;
	int i;

	T_EQ(rmio_master_counters(m, VCPUS, &a), 0);
	for (i = 0; i < 4; i++) {
		data = 0;
		T_EQ(rmio_vcpu_load(v, RMIO_BUS_MEM, addr + 64, len[i], &data), 0);
		T_EQ(data, len[i] == 8 ? UINT64_MAX : (1ull << 8 * len[i]) - 1);
		T_EQ(rmio_vcpu_store(v, RMIO_BUS_MEM, addr + 64, len[i], 1), 0);
	}
	T_EQ(rmio_master_counters(m, VCPUS, &b), 0);
	T_EQ(b.ones - a.ones, 4);
	T_EQ(b.discarded - a.discarded, 4);
}

/* One life of the hostile device: until it is found out, or @ms have passed. */
static void one_life(struct world *w, uint64_t *seed, long long ms)
{
	struct rmio_master_opts mo = {
		.sz = sizeof(mo), .ring_slots = 2u << rnd(seed) % 8, .timeout_ns = 30000000,
	};
	struct rmio_pa_range r = { .addr = EVIL, .len = LEN };
	long long end = ktap_now_ms() + ms;
	unsigned int deaths = atomic_load(&w->deaths);
	struct rmio_master *m;

	T_REQUIRE(T_EQ(rmio_master_new(w->vm, &mo, &m), 0));
	T_EQ(rmio_master_pa_range(m, &r), 0);
	T_REQUIRE(devproc_give(&w->evil, rmio_master_slave_fd(m)));
	while (rmio_master_state(m) < RMIO_STATE_CLOSED && ktap_now_ms() < end) {
		r.addr = r.addr == EVIL ? EVIL2 : EVIL;
		T_EQ(rmio_master_pa_range(m, &r), 0);
		usleep((useconds_t)(rnd(seed) % 2000));
	}
	if (rmio_master_state(m) >= RMIO_STATE_CLOSED) {
		check_dead(w, m, r.addr);
		while (atomic_load(&w->deaths) == deaths)
			usleep(100);
	}
	T_LE(atomic_load(&w->deaths), deaths + 1);
	rmio_master_free(m);
}

static bool set_up(struct world *w)
{
	static const uint32_t policy[LANES] = {
		RMIO_WAIT_SLEEP, RMIO_WAIT_ADAPTIVE, RMIO_WAIT_POLL,
		RMIO_WAIT_SLEEP, RMIO_WAIT_SLEEP,
	};
	struct rmio_vm_opts vo = {
		.sz = sizeof(vo), .max_vcpus = LANES, .dead = on_dead, .arg = w,
	};
	struct rmio_master_opts mo = { .sz = sizeof(mo), .timeout_ns = RMIO_TIMEOUT_NONE };
	struct rmio_pa_range range = { .addr = GOOD, .len = LEN };
	uint32_t i;

	if (!devproc_start(&w->evil, evil_device, w) || !devproc_start(&w->good, good_device, w) ||
	    !T_EQ(rmio_vm_new(&vo, &w->vm), 0) ||
	    !T_EQ(rmio_master_new(w->vm, &mo, &w->good_master), 0) ||
	    !T_EQ(rmio_master_pa_range(w->good_master, &range), 0) ||
	    !devproc_give(&w->good, rmio_master_slave_fd(w->good_master)))
		return false;
	for (i = 0; i < LANES; i++) {
		struct rmio_wait_opts wait = {
			.sz = sizeof(wait), .policy = policy[i],
			.placement = policy[i] == RMIO_WAIT_POLL ? RMIO_PLACE_SAME_CPU :
								   RMIO_PLACE_ANY,
		};

		w->vcpu[i] = (struct vcpu){ .w = w, .seed = SEED + 100 + i };
		if (!T_EQ(rmio_vcpu_new(w->vm, i, &wait, &w->vcpu[i].v), 0))
			return false;
	}
	return true;
}

static long seconds(void)
{
#ifdef __SANITIZE_ADDRESS__
	return ktap_pick(5, 60, 300);
#else
	return ktap_pick(5, 20, 120);
#endif
}

static bool all_ends(struct world *w)
{
	return atomic_load(&w->deaths_by[RMIO_STATE_CLOSED]) &&
	       atomic_load(&w->deaths_by[RMIO_STATE_TIMEOUT]) &&
	       atomic_load(&w->deaths_by[RMIO_STATE_PROTOCOL]);
}

static void garbage(void)
{
	struct world *w = calloc(1, sizeof(*w));
	unsigned long evil = 0, good = 0;
	uint64_t seed = SEED, longest = 0;
	unsigned int lives = 0;
	long long end;
	uint32_t i;

	T_REQUIRE(T_OK(w));
	T_REQUIRE(set_up(w));
	for (i = 0; i < VCPUS; i++)
		T_REQUIRE(T_EQ(pthread_create(&w->vcpu[i].thread, NULL, vcpu_thread, &w->vcpu[i]),
			       0));
	end = ktap_now_ms() + seconds() * 1000;
	/* Each end must have come: on a busy machine that may take longer. */
	while ((ktap_now_ms() < end || (!all_ends(w) && ktap_now_ms() < end + 60000)) &&
	       !ktap_failed()) {
		one_life(w, &seed, 100);
		lives++;
	}
	atomic_store(&w->stop, true);
	for (i = 0; i < VCPUS; i++) {
		pthread_join(w->vcpu[i].thread, NULL);
		evil += w->vcpu[i].evil;
		good += w->vcpu[i].good;
		longest = w->vcpu[i].longest_ms > longest ? w->vcpu[i].longest_ms : longest;
	}
	ktap_diag("seed 0x%llx: %u lives; %u closed, %u timed out, %u found out; %lu accesses, %lu "
		  "of the other device; the longest took %llu ms", (unsigned long long)SEED, lives,
		  atomic_load(&w->deaths_by[RMIO_STATE_CLOSED]),
		  atomic_load(&w->deaths_by[RMIO_STATE_TIMEOUT]),
		  atomic_load(&w->deaths_by[RMIO_STATE_PROTOCOL]), evil, good,
		  (unsigned long long)longest);
	T_GT(evil, 0);
	T_GT(good, 0);
	T_GT(atomic_load(&w->deaths_by[RMIO_STATE_CLOSED]), 0);
	T_GT(atomic_load(&w->deaths_by[RMIO_STATE_TIMEOUT]), 0);
	T_GT(atomic_load(&w->deaths_by[RMIO_STATE_PROTOCOL]), 0);
	/* 30 ms is the timeout; the rest is for a machine with other things to do. */
	T_LT(longest, 10000);
	T_EQ(rmio_master_state(w->good_master), RMIO_STATE_LIVE);
	rmio_master_free(w->good_master);
	for (i = 0; i < LANES; i++)
		rmio_vcpu_free(w->vcpu[i].v);
	rmio_vm_free(w->vm);
	T_EQ(devproc_wait(&w->evil), 0);
	T_EQ(devproc_wait(&w->good), 0);
	free(w);
}

static const struct ktap_test tests[] = {
	{ "garbage from a device process", garbage, 200 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
