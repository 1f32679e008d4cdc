// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * How late is a sleeping process woken, by each way a device process could sleep?
 *
 * Off the data path: the measurement behind docs/waits.md and the choice in user/wake.c. One
 * process a way, all of them asleep but the one being measured; the ways take turns in short
 * blocks, so that whatever else the machine does falls on all of them alike.
 *
 * usage: rmio-waits [--wakes N] [--placement same-cpu|cross-cpu|both]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* liburing 2.3 and the headers of Linux 6.1 know neither of these. */
#define OP_FUTEX_WAIT	51
#define WORD_U32	2	/* FUTEX2_SIZE_U32 without FUTEX2_PRIVATE: a shared word */

#ifndef SYS_futex_waitv
#define SYS_futex_waitv	449
#endif

#define EXTRA_WAITS	64
#define LINE_WORDS	16
#define BLOCK		500
#define PATIENCE_MS	2000
#define LATE_NS		1000000u

/* Written by the waker, mapped read-only by the sleeper. */
struct down {
	uint32_t bell;
	uint32_t pad0[LINE_WORDS - 1];
	uint64_t stamp_ns;
	uint32_t pad1[LINE_WORDS - 2];
	uint32_t other[EXTRA_WAITS * LINE_WORDS];
};

/* Written by the sleeper, mapped read-only by the waker. */
struct up {
	uint32_t ack;
	uint32_t lost;
	uint32_t failed;
	uint32_t pad[LINE_WORDS - 3];
	uint32_t latency_ns[];
};

struct sleeper {
	const struct way *way;
	struct io_uring ring;
	bool armed;
	uint32_t idle_word;
	const struct down *down;
	int evfd;
	int sock[2];		/* [0] the waker's end */

	/* the waker's view */
	struct down *wdown;
	const struct up *up;
	pid_t pid;
};

struct way {
	const char *name;
	/* Returns 0 when woken or when the bell had already been rung, -ETIME or -errno. */
	int (*sleep)(struct sleeper *s, uint32_t seen);
	void (*wake)(struct sleeper *s);
	bool uring;
	unsigned int extra_waits;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static long futex(const uint32_t *word, int op, uint32_t val, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, val, timeout, NULL, 0);
}

/* ---- plain system calls ---- */

static int sleep_futex(struct sleeper *s, uint32_t seen)
{
	struct timespec t = { PATIENCE_MS / 1000, 0 };

	if (!futex(&s->down->bell, FUTEX_WAIT, seen, &t) || errno == EAGAIN)
		return 0;
	return errno == ETIMEDOUT ? -ETIME : -errno;
}

static int sleep_waitv(struct sleeper *s, uint32_t seen)
{
	struct { uint64_t val, uaddr; uint32_t flags, reserved; } v[2] = {
		{ seen, (uintptr_t)&s->down->bell, WORD_U32, 0 },
		{ 0, (uintptr_t)&s->idle_word, WORD_U32 | FUTEX_PRIVATE_FLAG, 0 },
	};
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += PATIENCE_MS / 1000;
	if (syscall(SYS_futex_waitv, v, 2, 0, &t, CLOCK_MONOTONIC) >= 0 || errno == EAGAIN)
		return 0;
	return errno == ETIMEDOUT ? -ETIME : -errno;
}

/* ---- io_uring ---- */

static int ring_wait(struct sleeper *s, struct io_uring_cqe **cqe)
{
	struct __kernel_timespec t = { PATIENCE_MS / 1000, 0 };
	int err = io_uring_submit_and_wait_timeout(&s->ring, cqe, 1, &t, NULL);

	return err < 0 ? err : 0;
}

static struct io_uring_sqe *sqe_get(struct sleeper *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

	if (!sqe)
		abort();
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

static void arm_futex(struct sleeper *s, const uint32_t *word, uint32_t seen)
{
	struct io_uring_sqe *sqe = sqe_get(s);
	uint64_t mask = FUTEX_BITSET_MATCH_ANY;

	sqe->opcode = OP_FUTEX_WAIT;
	sqe->fd = WORD_U32;
	sqe->addr = (uintptr_t)word;
	sqe->off = seen;
	memcpy((char *)sqe + 48, &mask, sizeof(mask));
}

static int sleep_uring_futex(struct sleeper *s, uint32_t seen)
{
	struct io_uring_cqe *cqe;
	int err;

	if (!s->armed)
		for (unsigned int i = 0; i < s->way->extra_waits; i++)
			arm_futex(s, &s->down->other[i * LINE_WORDS], 0);
	s->armed = true;
	arm_futex(s, &s->down->bell, seen);
	err = ring_wait(s, &cqe);
	if (err)
		return err;
	err = cqe->res == -EAGAIN ? 0 : cqe->res;
	io_uring_cqe_seen(&s->ring, cqe);
	return err;
}

static int poll_once(struct sleeper *s, int fd)
{
	struct io_uring_cqe *cqe;
	int err;

	if (!s->armed) {
		io_uring_prep_poll_multishot(sqe_get(s), fd, POLLIN);
		s->armed = true;
	}
	err = ring_wait(s, &cqe);
	if (err)
		return err;
	if (!(cqe->flags & IORING_CQE_F_MORE))
		s->armed = false;
	err = cqe->res < 0 ? cqe->res : 0;
	io_uring_cqe_seen(&s->ring, cqe);
	return err;
}

static int sleep_event_poll(struct sleeper *s, uint32_t seen)
{
	return poll_once(s, s->evfd);
}

static int sleep_event_read(struct sleeper *s, uint32_t seen)
{
	static uint64_t count;
	struct io_uring_cqe *cqe;
	int err;

	if (!s->armed)
		io_uring_prep_read(sqe_get(s), s->evfd, &count, sizeof(count), 0);
	s->armed = true;
	err = ring_wait(s, &cqe);
	if (err)
		return err;
	s->armed = false;
	err = cqe->res < 0 ? cqe->res : 0;
	io_uring_cqe_seen(&s->ring, cqe);
	return err;
}

static int sleep_socket_poll(struct sleeper *s, uint32_t seen)
{
	int err = poll_once(s, s->sock[1]);
	char sink[64];

	if (!err && recv(s->sock[1], sink, sizeof(sink), MSG_DONTWAIT) < 0 && errno != EAGAIN)
		return -errno;
	return err;
}

/* ---- the waker's side ---- */

static void wake_futex(struct sleeper *s)
{
	futex(&s->wdown->bell, FUTEX_WAKE, 1, NULL);
}

static void wake_event(struct sleeper *s)
{
	uint64_t one = 1;

	if (write(s->evfd, &one, sizeof(one)) != sizeof(one))
		die("write of the eventfd");
}

static void wake_socket(struct sleeper *s)
{
	if (send(s->sock[0], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
		die("send");
}

static const struct way ways[] = {
	{ "futex", sleep_futex, wake_futex, false, 0 },
	{ "futex_waitv", sleep_waitv, wake_futex, false, 0 },
	{ "uring futex", sleep_uring_futex, wake_futex, true, 0 },
	{ "uring futex, 64 armed", sleep_uring_futex, wake_futex, true, EXTRA_WAITS },
	{ "uring eventfd poll", sleep_event_poll, wake_event, true, 0 },
	{ "uring eventfd read", sleep_event_read, wake_event, true, 0 },
	{ "uring socket poll", sleep_socket_poll, wake_socket, true, 0 },
};

#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static void *idle_thread(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

/* The sleeper: a process of its own that becomes multi-threaded after its first wait was armed. */
static _Noreturn void sleeper_run(struct sleeper *s, int down_fd, struct up *up, uint32_t wakes,
				  int cpu)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	uint32_t seen = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(cpu);
	s->down = mmap(NULL, sizeof(*s->down), PROT_READ, MAP_SHARED, down_fd, 0);
	if (s->down == MAP_FAILED)
		die("mmap of the bell's page");
	if (s->way->uring && io_uring_queue_init_params(256, &s->ring, &p) < 0)
		die("io_uring");
	while (seen < wakes) {
		int err = s->way->sleep(s, seen);
		uint64_t t = now_ns();
		uint32_t bell = __atomic_load_n(&s->down->bell, __ATOMIC_ACQUIRE);

		if (err == -EINTR)
			continue;
		if (err && err != -ETIME) {
			__atomic_store_n(&up->failed, -err, __ATOMIC_RELEASE);
			_exit(1);
		}
		if (bell == seen)
			continue;
		if (err == -ETIME)
			up->lost++;
		up->latency_ns[seen] = t - __atomic_load_n(&s->down->stamp_ns, __ATOMIC_ACQUIRE);
		if (!seen)
			for (int i = 0; i < 4; i++) {
				pthread_t thread;

				if (pthread_create(&thread, NULL, idle_thread, NULL))
					die("pthread_create");
			}
		seen = bell;
		__atomic_store_n(&up->ack, seen, __ATOMIC_RELEASE);
		futex(&up->ack, FUTEX_WAKE, 1, NULL);
	}
	_exit(0);
}

static int shared_memory(size_t size, void **map)
{
	int fd = memfd_create("rmio-waits", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, size))
		die("memfd");
	*map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*map == MAP_FAILED)
		die("mmap");
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL))
		die("F_ADD_SEALS");
	return fd;
}

static void sleeper_start(struct sleeper *s, uint32_t wakes, int cpu)
{
	void *down, *up;
	int down_fd = shared_memory(sizeof(struct down), &down);
	int up_fd = shared_memory(sizeof(struct up) + wakes * sizeof(uint32_t), &up);

	s->evfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->evfd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->sock))
		die("eventfd or socketpair");
	s->pid = fork();
	if (s->pid < 0)
		die("fork");
	if (!s->pid) {
		munmap(down, sizeof(struct down));
		sleeper_run(s, down_fd, up, wakes, cpu);
	}
	s->wdown = down;
	s->up = up;
	close(down_fd);
	close(up_fd);
}

static uint32_t wake_one(struct sleeper *s, uint32_t n, bool spin, uint32_t *random)
{
	uint32_t ack;

	__atomic_store_n(&s->wdown->stamp_ns, now_ns(), __ATOMIC_RELEASE);
	__atomic_store_n(&s->wdown->bell, n, __ATOMIC_SEQ_CST);
	s->way->wake(s);
	while ((ack = __atomic_load_n(&s->up->ack, __ATOMIC_ACQUIRE)) != n) {
		struct timespec t = { 5, 0 };

		if (spin)
			__builtin_ia32_pause();
		else if (futex(&s->up->ack, FUTEX_WAIT, ack, &t) && errno == ETIMEDOUT)
			return 1;
		if (__atomic_load_n(&s->up->failed, __ATOMIC_ACQUIRE))
			return 1;
	}
	/* Rings fall before, while and after the sleeper goes back to sleep. */
	*random = *random * 1664525 + 1013904223;
	for (uint64_t end = now_ns() + (*random >> 16) % 20000; now_ns() < end;)
		__builtin_ia32_pause();
	return 0;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const struct sleeper *s, uint32_t wakes)
{
	uint32_t *sorted = malloc(wakes * sizeof(*sorted)), late = 0;

	if (!sorted)
		die("malloc");
	memcpy(sorted, s->up->latency_ns, wakes * sizeof(*sorted));
	qsort(sorted, wakes, sizeof(*sorted), by_value);
	for (uint32_t i = 0; i < wakes; i++)
		late += sorted[i] > LATE_NS;
#define US(q) (sorted[(uint32_t)((wakes - 1) * (q))] / 1e3)
	printf("| %-22s | %7.1f | %7.1f | %7.1f | %8.1f | %9.1f | %6u | %4u |\n", s->way->name,
	       US(0.5), US(0.9), US(0.99), US(0.999), sorted[wakes - 1] / 1e3, late, s->up->lost);
#undef US
	fflush(stdout);
	free(sorted);
}

static int measure(uint32_t wakes, bool cross)
{
	struct sleeper s[N_WAYS] = { 0 };
	uint32_t random = 1;
	int failed = 0;

	for (size_t i = 0; i < N_WAYS; i++) {
		s[i].way = &ways[i];
		sleeper_start(&s[i], wakes, cross ? 1 : 0);
	}
	usleep(100000);
	for (uint32_t n = 0; n < wakes && !failed; n += BLOCK)
		for (size_t i = 0; i < N_WAYS && !failed; i++)
			for (uint32_t k = 1; k <= BLOCK && !failed; k++)
				failed = !s[i].up->failed && wake_one(&s[i], n + k, cross, &random);
	printf("\n%s, %u wakes a way, microseconds from before the bell is rung until the sleeper runs\n\n",
	       cross ? "cross-cpu" : "same-cpu", wakes);
	printf("| way | p50 | p90 | p99 | p99.9 | max | later than 1 ms | lost |\n");
	printf("|---|---|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < N_WAYS; i++) {
		if (s[i].up->failed)
			printf("| %-22s | %s |\n", s[i].way->name, strerror(s[i].up->failed));
		else if (!failed)
			report(&s[i], wakes);
		kill(s[i].pid, SIGKILL);
		waitpid(s[i].pid, NULL, 0);
	}
	return failed;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "wakes", required_argument, NULL, 'w' },
		{ "placement", required_argument, NULL, 'p' },
		{ }
	};
	bool same = true, cross = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	uint32_t wakes = 20000;
	struct utsname u;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'w') {
			wakes = (strtoul(optarg, NULL, 10) + BLOCK - 1) / BLOCK * BLOCK;
		} else if (c == 'p' && !strcmp(optarg, "same-cpu")) {
			cross = false;
		} else if (c == 'p' && !strcmp(optarg, "cross-cpu")) {
			same = false;
		} else if (c != 'p' || strcmp(optarg, "both")) {
			fprintf(stderr,
				"usage: %s [--wakes N] [--placement same-cpu|cross-cpu|both]\n",
				argv[0]);
			return 2;
		}
	}
	uname(&u);
	printf("Linux %s, %ld CPUs\n", u.release, sysconf(_SC_NPROCESSORS_ONLN));
	pin(0);
	if (same && measure(wakes, false))
		return 1;
	if (cross && measure(wakes, true))
		return 1;
	return 0;
}
