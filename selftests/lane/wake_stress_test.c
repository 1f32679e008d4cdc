// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Sleeping and waking under load, in both directions: a lost wake-up hangs, and the watchdog tells.
 * On the data path: user/ring.c and user/wake.c as the library uses them.
 *
 *	 VMM (this process)                        device (forked)
 *	 producer thread 0 --- lane 0 ------------ one thread that sleeps
 *	 producer thread 1 --- lane 1 ---/         whenever its rings are empty
 *
 * Nobody has a timeout. A producer waits after each load, and lets the device fall asleep before
 * it; random delays of less than a microsecond bring a publication close to its peer's way to
 * sleep.
 */
#include "ktap.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include "wire/chan.h"
#include "ring.h"
#include "wake.h"

#define OP_FUTEX_WAIT	51	/* Linux 6.7, liburing 2.5 */
#define WORD_U32	2	/* FUTEX2_SIZE_U32, shared */

#define SLOTS		8
#define LANES		4
#define STALL_MS	(10000 * KTAP_SLOWDOWN)
#define QUIT		0xffu	/* range_id of a lane's last request */

/* ---- memory, as the library lays it out ---- */

struct result {
	uint64_t requests, loads, wrong, sleeps, wakes;
	int error;
};

struct world {
	uint32_t kind;			/* RMIO_BELL_* */
	bool uring;			/* the device sleeps in an io_uring */
	bool cross;
	unsigned int lanes;
	int chan[2];			/* [0] the VMM's end */
	void *down, *up;		/* as the VMM maps them */
	int down_fd, up_fd;
	size_t down_size, up_size;
	struct rmio_bell_out bell;
	struct result *result;		/* of the device */
	bool stop;
	pid_t device;
};

static void *map(int fd, size_t size, int prot)
{
	void *p = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool world_init(struct world *w)
{
	w->down_size = RMIO_PAGE + w->lanes * rmio_lane_stride(SLOTS);
	w->up_size = RMIO_PAGE * (1 + w->lanes);
	w->down_fd = memfd_create("down", MFD_CLOEXEC);
	w->up_fd = memfd_create("up", MFD_CLOEXEC);
	if (!T_EQ(ftruncate(w->down_fd, w->down_size), 0) ||
	    !T_EQ(ftruncate(w->up_fd, w->up_size), 0) || !T_EQ(rmio_chan_pair(w->chan), 0))
		return false;
	w->down = map(w->down_fd, w->down_size, PROT_READ | PROT_WRITE);
	w->up = map(w->up_fd, w->up_size, PROT_READ);
	w->result = mmap(NULL, sizeof(*w->result), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	w->bell = (struct rmio_bell_out){ .down = w->down, .up = w->up, .chan = w->chan[0],
		.knock = rmio_chan_knock };
	return T_OK(w->down && w->up && w->result != MAP_FAILED);
}

static uint32_t next(uint32_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 17;
	*random ^= *random << 5;
	return *random;
}

/* Up to about @ns; on a shared CPU let the peer run now and then instead. */
static void dawdle(const struct world *w, uint32_t *random, uint32_t ns)
{
	uint64_t end;

	if (!w->cross) {
		if (next(random) % 8 == 0)
			sched_yield();
		return;
	}
	end = rmio_now_ns() + next(random) % ns;
	while (rmio_now_ns() < end)
		;
}

static void pin(unsigned int nr)
{
	cpu_set_t may, set;

	sched_getaffinity(0, sizeof(may), &may);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &may) || nr--)
			continue;
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
		return;
	}
}

static unsigned int cpus(void)
{
	cpu_set_t may;

	return sched_getaffinity(0, sizeof(may), &may) ? 1 : CPU_COUNT(&may);
}

/* ---- the device process ---- */

struct device {
	struct world *w;
	struct rmio_cons cons[LANES];
	struct rmio_answer answer[LANES];
	struct rmio_bell_in bell;
	struct io_uring ring;
	bool polling;
	uint64_t expected[LANES];
	unsigned int quit;
	uint32_t random;
};

/* What a load of that request is answered with. */
static uint64_t answer_to(uint64_t seq, uint64_t offset)
{
	return (seq << 32 | offset) * 0x9e3779b97f4a7c15ull;
}

static bool device_ring_init(struct device *d)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};

	return io_uring_queue_init_params(8, &d->ring, &p) >= 0;
}

static int device_sleep_uring(struct device *d, uint32_t bell)
{
	struct io_uring_sqe *sqe;
	uint64_t mask = FUTEX_BITSET_MATCH_ANY;
	struct io_uring_cqe *cqe;
	int err;

	if (d->w->kind == RMIO_BELL_FUTEX) {
		sqe = io_uring_get_sqe(&d->ring);
		if (!sqe)
			return -ENOSPC;
		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = OP_FUTEX_WAIT;
		sqe->fd = WORD_U32;
		sqe->addr = (uintptr_t)&d->bell.down->bell;
		sqe->off = bell;
		memcpy((char *)sqe + 48, &mask, sizeof(mask));
	} else if (!d->polling) {
		io_uring_prep_poll_multishot(io_uring_get_sqe(&d->ring), d->w->chan[1], POLLIN);
		d->polling = true;
	}
	err = io_uring_submit_and_wait(&d->ring, 1);
	if (err < 0)
		return err == -EINTR ? 0 : err;
	if (io_uring_peek_cqe(&d->ring, &cqe))
		return 0;
	err = cqe->res < 0 && cqe->res != -EAGAIN ? cqe->res : 0;
	if (!(cqe->flags & IORING_CQE_F_MORE))
		d->polling = false;
	io_uring_cqe_seen(&d->ring, cqe);
	return err;
}

static int device_sleep_plain(struct device *d, uint32_t bell)
{
	struct pollfd p = { .fd = d->w->chan[1], .events = POLLIN };

	if (d->w->kind == RMIO_BELL_SOCK)
		return poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
	if (syscall(SYS_futex, &d->bell.down->bell, FUTEX_WAIT, bell, NULL, NULL, 0) < 0 &&
	    errno != EAGAIN && errno != EINTR)
		return -errno;
	return 0;
}

static void device_drain_socket(struct device *d)
{
	int fds[RMIO_CHAN_FDS];
	struct rmio_chan_hdr h;
	size_t nfds;

	while (rmio_chan_recv(d->w->chan[1], &h, NULL, 0, fds, &nfds) >= 0)
		;
}

static void device_handle(struct device *d, unsigned int lane, const struct rmio_request *r)
{
	struct rmio_cons *c = &d->cons[lane];

	d->w->result->requests++;
	d->w->result->wrong += r->seq != ++d->expected[lane] || r->vcpu != lane;
	if (next(&d->random) % 2)
		dawdle(d->w, &d->random, 700);
	if (r->op == RMIO_OP_LOAD) {
		d->w->result->loads++;
		rmio_cons_reply(c, answer_to(r->seq, r->offset));
	} else {
		rmio_cons_complete(c, 1);
	}
	d->w->result->wakes += rmio_lane_wake(c, &d->answer[lane]);
	d->quit += r->range_id == QUIT;
}

static bool device_pending(const struct device *d)
{
	bool any = false;

	for (unsigned int i = 0; i < d->w->lanes; i++)
		any |= rmio_cons_pending(&d->cons[i]);
	return any;
}

static void device_loop(struct device *d)
{
	struct world *w = d->w;
	struct rmio_request r;
	bool worked;

	for (;;) {
		worked = false;
		for (unsigned int i = 0; i < w->lanes; i++)
			while (rmio_cons_pop(&d->cons[i], &r, 1)) {
				device_handle(d, i, &r);
				worked = true;
			}
		if (d->quit == w->lanes)
			return;
		if (worked && next(&d->random) % 2)
			dawdle(w, &d->random, 700);
		if (worked && next(&d->random) % 2)
			continue;
		if (w->kind == RMIO_BELL_SOCK)
			device_drain_socket(d);

		uint32_t bell = rmio_bell_arm(&d->bell);

		if (!device_pending(d)) {
			w->result->sleeps++;
			w->result->error = w->uring ? device_sleep_uring(d, bell) :
						      device_sleep_plain(d, bell);
			if (w->result->error)
				return;
		}
		rmio_bell_disarm(&d->bell);
	}
}

static _Noreturn void device_run(struct world *w)
{
	struct device d = { .w = w, .random = 2463534242u };
	char *up = map(w->up_fd, w->up_size, PROT_READ | PROT_WRITE);
	const char *down = map(w->down_fd, w->down_size, PROT_READ);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(w->chan[0]);
	munmap(w->down, w->down_size);
	munmap((void *)w->up, w->up_size);
	pin(w->cross);
	w->result->error = -EIO;
	if (!up || !down || (w->uring && !device_ring_init(&d)))
		_exit(1);
	for (unsigned int i = 0; i < w->lanes; i++)
		if (rmio_cons_init(&d.cons[i], down + RMIO_PAGE + i * rmio_lane_stride(SLOTS),
				   up + RMIO_PAGE * (1 + i), SLOTS))
			_exit(1);
	d.bell = (struct rmio_bell_in){ .down = (const void *)down, .up = (void *)up };
	rmio_bell_kind(&d.bell, w->kind);
	w->result->error = 0;
	device_loop(&d);
	_exit(w->result->error ? 1 : 0);
}

/* ---- producers: what a vCPU thread does ---- */

struct producer {
	struct world *w;
	unsigned int lane;
	uint32_t rounds;
	pthread_t thread;
	struct rmio_prod prod;
	struct rmio_sleeper sleeper;
	uint32_t event;
	uint32_t random;
	bool finished;
	uint64_t progress, requests, loads, sleeps, rings, wrong;
};

static bool stopped(const struct world *w)
{
	return __atomic_load_n(&w->stop, __ATOMIC_ACQUIRE);
}

static bool has_happened(struct producer *p, uint64_t at, uint64_t *data)
{
	if (data)
		return rmio_prod_reply(&p->prod, at, data);
	p->wrong += rmio_prod_update(&p->prod) != 0;
	return (int64_t)(p->prod.done - at) >= 0;
}

/* Sleeps until done has reached @at or, with @data, until request @at is answered. */
static bool wait_for(struct producer *p, uint64_t at, uint64_t *data)
{
	while (!has_happened(p, at, data)) {
		uint32_t seen = rmio_word_read(&p->event);

		if (stopped(p->w))
			return false;
		rmio_sleeper_arm(&p->sleeper, &p->prod, at);
		if (!has_happened(p, at, data) && !stopped(p->w)) {
			p->sleeps++;
			rmio_sleeper_sleep(&p->sleeper, &p->prod, &p->event, seen, UINT64_MAX);
		}
		rmio_sleeper_disarm(&p->sleeper, &p->prod);
	}
	return true;
}

static bool push(struct producer *p, uint8_t op, uint16_t range_id)
{
	struct rmio_request r = {
		.offset = next(&p->random), .range_id = range_id, .vcpu = p->lane,
		.op = op, .len = 4,
	};
	uint64_t seq = p->prod.tail + 1, data = 0;
	int err;

	while ((err = rmio_prod_push(&p->prod, &r)) == -EAGAIN)
		if (!wait_for(p, p->prod.tail - SLOTS + 1, NULL))
			return false;
	p->wrong += err != 0;
	p->rings += rmio_bell_ring(&p->w->bell);
	p->requests++;
	__atomic_fetch_add(&p->progress, 1, __ATOMIC_RELAXED);
	if (op != RMIO_OP_LOAD)
		return true;
	p->loads++;
	if (next(&p->random) % 2)
		dawdle(p->w, &p->random, 700);
	if (!wait_for(p, seq, &data))
		return false;
	p->wrong += data != answer_to(seq, r.offset);
	return true;
}

/* Watch the device become idle without sleeping, so that what follows meets it at the door. */
static void let_it_drain(struct producer *p)
{
	uint64_t end = rmio_now_ns() + 200000;

	while (p->w->cross && !has_happened(p, p->prod.tail, NULL) && rmio_now_ns() < end)
		rmio_now_ns();
	if (!p->w->cross)
		sched_yield();
}

static void *producer_run(void *arg)
{
	struct producer *p = arg;

	pin(0);
	for (uint32_t i = 0; i < p->rounds && !stopped(p->w); i++) {
		uint32_t what = next(&p->random);

		/* now and then more than the ring holds */
		for (uint32_t k = what % 64 ? what % 3 : 2 * SLOTS; k; k--)
			if (!push(p, RMIO_OP_STORE, 0))
				return NULL;
		if (what & 64)
			let_it_drain(p);
		if (what & 128)
			dawdle(p->w, &p->random, 1000);
		if (!push(p, RMIO_OP_LOAD, 0))
			return NULL;
	}
	if (push(p, RMIO_OP_STORE, QUIT) && wait_for(p, p->prod.tail, NULL))
		__atomic_store_n(&p->finished, true, __ATOMIC_RELEASE);
	return NULL;
}

/* ---- the watchdog ---- */

static void describe(const struct world *w, const struct producer *p)
{
	const struct rmio_up_hdr *up = w->up;
	const struct rmio_down_hdr *down = w->down;

	ktap_diag("bell %u, need_wake %u, rung %u; lane %u: tail %llu, done %llu, reply %llu, "
		  "wake_at %llu, need_wake %u, wake_seq %u (seen %u)", down->bell, up->need_wake,
		  w->bell.rung, p->lane, (unsigned long long)p->prod.tail,
		  (unsigned long long)p->prod.up->done, (unsigned long long)p->prod.up->reply_seq,
		  (unsigned long long)p->prod.down->wake_at, p->prod.down->need_wake,
		  p->prod.up->wake_seq, p->sleeper.seen);
}

/* Until every producer has finished; false when one of them stood still. */
static bool watch(struct world *w, struct producer *p)
{
	uint64_t last[LANES] = { 0 };
	long long since[LANES], now;
	unsigned int left;

	for (unsigned int i = 0; i < w->lanes; i++)
		since[i] = ktap_now_ms();
	do {
		usleep(20000);
		left = 0;
		now = ktap_now_ms();
		for (unsigned int i = 0; i < w->lanes; i++) {
			uint64_t at = __atomic_load_n(&p[i].progress, __ATOMIC_RELAXED);

			if (__atomic_load_n(&p[i].finished, __ATOMIC_ACQUIRE))
				continue;
			left++;
			if (at != last[i])
				since[i] = now;
			last[i] = at;
			if (now - since[i] < STALL_MS)
				continue;
			T_FAIL("lane %u has stood still for %lld ms after %llu requests: a lost "
			       "wake-up", i, now - since[i], (unsigned long long)at);
			describe(w, &p[i]);
			return false;
		}
	} while (left);
	return true;
}

static void stress(struct world w, uint32_t rounds)
{
	struct producer p[LANES] = { 0 };
	uint64_t requests = 0, loads = 0, sleeps = 0, rings = 0;
	int status;

	w.cross = w.cross && cpus() > 1;
	T_REQUIRE(world_init(&w));
	w.device = fork();
	if (!w.device)
		device_run(&w);
	close(w.chan[1]);
	for (unsigned int i = 0; i < w.lanes; i++) {
		p[i] = (struct producer){ .w = &w, .lane = i, .rounds = rounds, .random = 77 + i };
		T_EQ(rmio_prod_init(&p[i].prod,
				    (char *)w.down + RMIO_PAGE + i * rmio_lane_stride(SLOTS),
				    (char *)w.up + RMIO_PAGE * (1 + i), SLOTS, 0), 0);
		T_EQ(pthread_create(&p[i].thread, NULL, producer_run, &p[i]), 0);
	}
	if (!watch(&w, p)) {
		kill(w.device, SIGKILL);
		__atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
		for (unsigned int i = 0; i < w.lanes; i++)
			rmio_event_raise(&p[i].event);
	}
	for (unsigned int i = 0; i < w.lanes; i++) {
		pthread_join(p[i].thread, NULL);
		T_EQ(p[i].wrong, 0);
		requests += p[i].requests;
		loads += p[i].loads;
		sleeps += p[i].sleeps;
		rings += p[i].rings;
	}
	T_EQ(waitpid(w.device, &status, 0), w.device);
	T_EQ(status, 0);
	T_EQ(w.result->error, 0);
	T_EQ(w.result->wrong, 0);
	T_EQ(w.result->requests, requests);
	T_EQ(w.result->loads, loads);
	/* a run in which nobody slept has shown nothing */
	T_GT(w.result->sleeps, 0);
	T_GT(sleeps, 0);
	ktap_diag("%llu requests, %llu replies; the device slept %llu times and was rung for %llu, "
		  "vCPUs slept %llu times and were woken %llu",
		  (unsigned long long)requests, (unsigned long long)loads,
		  (unsigned long long)w.result->sleeps, (unsigned long long)rings,
		  (unsigned long long)sleeps, (unsigned long long)w.result->wakes);
}

/* ---- the private word: kicks and the death of the device ---- */

struct kicked {
	struct world *w;
	struct rmio_prod prod;
	uint32_t event, kicks, seen, random;	/* kicks counts up, seen follows */
	uint64_t sleeps;
};

/* A vCPU that nobody but the kicker wakes. */
static void *kicked_run(void *arg)
{
	struct kicked *k = arg;
	struct rmio_sleeper sleeper = { 0 };
	uint32_t event, kicks = 0;

	pin(0);
	while (!stopped(k->w)) {
		event = rmio_word_read(&k->event);
		if (__atomic_load_n(&k->kicks, __ATOMIC_ACQUIRE) == kicks) {
			k->sleeps++;
			rmio_sleeper_arm(&sleeper, &k->prod, 1);
			rmio_sleeper_sleep(&sleeper, &k->prod, &k->event, event, UINT64_MAX);
			rmio_sleeper_disarm(&sleeper, &k->prod);
			continue;
		}
		kicks++;
		__atomic_store_n(&k->seen, kicks, __ATOMIC_RELEASE);
		dawdle(k->w, &k->random, 500);
	}
	return NULL;
}

static void kicks(void)
{
	struct world w = { .lanes = 1, .cross = cpus() > 1 };
	struct kicked k = { .w = &w, .random = 1 };
	uint32_t random = 99, n = ktap_pick(20000, 100000, 1000000) / KTAP_SLOWDOWN;
	pthread_t thread;

	T_REQUIRE(world_init(&w));
	T_EQ(rmio_prod_init(&k.prod, (char *)w.down + RMIO_PAGE, (char *)w.up + RMIO_PAGE, SLOTS,
			    0),
	     0);
	pin(w.cross);
	T_EQ(pthread_create(&thread, NULL, kicked_run, &k), 0);
	for (uint32_t i = 1; i <= n; i++) {
		long long end = 0;

		__atomic_store_n(&k.kicks, i, __ATOMIC_RELEASE);
		rmio_event_raise(&k.event);
		while (__atomic_load_n(&k.seen, __ATOMIC_ACQUIRE) != i) {
			sched_yield();
			if (!end)
				end = ktap_now_ms() + STALL_MS;
			if (ktap_now_ms() < end)
				continue;
			T_FAIL("kick %u of %u was lost", i, n);
			goto out;
		}
		dawdle(&w, &random, 4000);
	}
out:
	__atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
	rmio_event_raise(&k.event);
	pthread_join(thread, NULL);
	T_GT(k.sleeps, 0);
	ktap_diag("%u kicks, the vCPU went to sleep %llu times", n, (unsigned long long)k.sleeps);
}

#define ROUNDS		((uint32_t)(ktap_pick(10000, 50000, 500000) / KTAP_SLOWDOWN))

static bool uring_futex_there(void)
{
	struct io_uring_probe *probe = io_uring_get_probe();
	bool there = probe && io_uring_opcode_supported(probe, OP_FUTEX_WAIT);

	io_uring_free_probe(probe);
	return there;
}

static void futex_same_cpu(void)
{
	stress((struct world){ .kind = RMIO_BELL_FUTEX, .uring = uring_futex_there(), .lanes = 2 },
	       ROUNDS);
}

static void futex_cross_cpu(void)
{
	stress((struct world){ .kind = RMIO_BELL_FUTEX, .uring = uring_futex_there(), .lanes = 2,
			       .cross = true }, ROUNDS);
}

static void futex_plain(void)
{
	stress((struct world){ .kind = RMIO_BELL_FUTEX, .lanes = 2, .cross = true }, ROUNDS);
}

static void futex_one_producer(void)
{
	stress((struct world){ .kind = RMIO_BELL_FUTEX, .uring = uring_futex_there(), .lanes = 1,
			       .cross = true }, 2 * ROUNDS);
}

static void socket_same_cpu(void)
{
	stress((struct world){ .kind = RMIO_BELL_SOCK, .uring = true, .lanes = 2 }, ROUNDS);
}

static void socket_cross_cpu(void)
{
	stress((struct world){ .kind = RMIO_BELL_SOCK, .uring = true, .lanes = 2, .cross = true },
	       ROUNDS);
}

static void socket_plain(void)
{
	stress((struct world){ .kind = RMIO_BELL_SOCK, .lanes = 4, .cross = true }, ROUNDS / 2);
}

static const struct ktap_test tests[] = {
	{ "futex bell, same CPU", futex_same_cpu, 300 },
	{ "futex bell, across CPUs", futex_cross_cpu, 300 },
	{ "futex bell without io_uring", futex_plain, 300 },
	{ "futex bell, one producer", futex_one_producer, 300 },
	{ "socket bell, same CPU", socket_same_cpu, 300 },
	{ "socket bell, across CPUs", socket_cross_cpu, 300 },
	{ "socket bell without io_uring, four producers", socket_plain, 300 },
	{ "kicks", kicks, 300 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
