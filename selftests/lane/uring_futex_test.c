// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What the library believes about futex waits on the shared pages, asked of the running kernel.
 * Beside the data path: the bell of user/wake.h stands on each of these answers.
 *
 * The words lie in a memfd as "down" is: sealed against future writes, written by a peer process
 * that mapped it before, and mapped read-only here, where the waiting is done.
 */
#include "ktap.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* Headers before Linux 6.7 and liburing before 2.5 lack these. */
#define OP_FUTEX_WAIT	51
#define WORD_U32	2	/* FUTEX2_SIZE_U32; shared unless FUTEX2_PRIVATE is added */
#define WORD_PRIVATE	FUTEX_PRIVATE_FLAG

#ifndef SYS_futex_waitv
#define SYS_futex_waitv	449
#endif

#define WORDS		16384u
#define PAGE_WORDS	1024u
#define PATIENCE_MS	10000

struct waitv {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};

/* ---- the peer: a process that writes the page and wakes ---- */

struct peer {
	int sock;
	const uint32_t *word;		/* read-only */
};

struct order {
	uint32_t index;
	uint32_t add;
	uint32_t want;			/* try for PATIENCE_MS to wake this many */
};

static int wake(const uint32_t *word, int n, int flags)
{
	return syscall(SYS_futex, word, FUTEX_WAKE | flags, n, NULL, NULL, 0);
}

static void peer_run(int fd, int sock)
{
	struct order o;
	uint32_t *word;

	word = mmap(NULL, WORDS * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (word == MAP_FAILED ||
	    fcntl(fd, F_ADD_SEALS,
		  F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ||
	    write(sock, "r", 1) != 1)
		_exit(1);
	while (read(sock, &o, sizeof(o)) == sizeof(o)) {
		long long end = ktap_now_ms() + PATIENCE_MS;
		uint32_t woken = 0;

		__atomic_fetch_add(&word[o.index], o.add, __ATOMIC_SEQ_CST);
		while (woken < o.want && ktap_now_ms() < end) {
			int n = wake(&word[o.index], o.want - woken, 0);

			if (n < 0)
				_exit(1);
			woken += n;
			usleep(200);
		}
		/* who else would be found? */
		woken += wake(&word[o.index], INT32_MAX, 0);
		if (write(sock, &woken, sizeof(woken)) != sizeof(woken))
			_exit(1);
	}
	_exit(0);
}

static bool peer_start(struct peer *p)
{
	int fd = memfd_create("words", MFD_CLOEXEC | MFD_ALLOW_SEALING), sv[2];
	char ready;
	void *map;

	if (!T_GE(fd, 0) || !T_EQ(ftruncate(fd, WORDS * 4), 0) ||
	    !T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0))
		return false;
	if (!fork()) {
		close(sv[0]);
		peer_run(fd, sv[1]);
	}
	close(sv[1]);
	p->sock = sv[0];
	if (!T_EQ(read(p->sock, &ready, 1), 1))
		return false;
	if (!T_OK(mmap(NULL, WORDS * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED))
		return false;
	map = mmap(NULL, WORDS * 4, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	p->word = map;
	return T_OK(map != MAP_FAILED);
}

static void peer_order(struct peer *p, uint32_t index, uint32_t add, uint32_t want)
{
	struct order o = { index, add, want };

	T_EQ(write(p->sock, &o, sizeof(o)), sizeof(o));
}

/* How many waiters the peer found. */
static uint32_t peer_found(struct peer *p)
{
	uint32_t woken = ~0u;

	T_EQ(read(p->sock, &woken, sizeof(woken)), sizeof(woken));
	return woken;
}

/* ---- io_uring ---- */

static bool ring_start(struct io_uring *ring)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	int err = io_uring_queue_init_params(1024, ring, &p);

	if (err == -EINVAL || err == -ENOSYS || err == -EPERM) {
		ktap_mark_skipped("no io_uring with deferred task running",
				  "Linux 6.1, sysctl kernel.io_uring_disabled=0");
		return false;
	}
	return T_EQ(err, 0);
}

static void arm(struct io_uring *ring, const uint32_t *word, uint32_t value, uint32_t flags,
		uint64_t data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	uint64_t mask = FUTEX_BITSET_MATCH_ANY;

	if (!T_OK(sqe))
		return;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = OP_FUTEX_WAIT;
	sqe->fd = flags;
	sqe->addr = (uintptr_t)word;
	sqe->off = value;
	memcpy((char *)sqe + 48, &mask, sizeof(mask));		/* addr3 */
	sqe->user_data = data;
}

/* The next completion's result, -ETIME without one. */
static int reap(struct io_uring *ring, int patience_ms, uint64_t *data)
{
	struct __kernel_timespec t = { patience_ms / 1000, patience_ms % 1000 * 1000000ll };
	struct io_uring_cqe *cqe;
	int res = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &t, NULL);

	if (res < 0)
		return res;
	res = cqe->res;
	if (data)
		*data = cqe->user_data;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

/* Arms a wait that ends at once, to see whether there are such waits. */
static bool futex_ring_start(struct io_uring *ring)
{
	static const uint32_t one = 1;
	int res;

	if (!ring_start(ring))
		return false;
	arm(ring, &one, 0, WORD_U32, 0);
	res = reap(ring, PATIENCE_MS, NULL);
	if (res == -EINVAL) {
		ktap_mark_skipped("no futex waits in io_uring", "Linux 6.7");
		return false;
	}
	return T_EQ(res, -EAGAIN);
}

#define RING_OR_SKIP(ring)	do { if (!futex_ring_start(ring)) return; } while (0)

static void *sleep_on_private_word(void *arg)
{
	static uint32_t never;

	for (;;)
		syscall(SYS_futex, &never, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return NULL;
}

static void start_threads(int n)
{
	pthread_attr_t small;
	pthread_t thread;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 << 10);
	for (int i = 0; i < n; i++)
		T_EQ(pthread_create(&thread, &small, sleep_on_private_word, NULL), 0);
}

/* ---- tests ---- */

static void plain_wait(void)
{
	struct timespec patience = { PATIENCE_MS / 1000, 0 };
	struct peer p;

	T_REQUIRE(peer_start(&p));
	peer_order(&p, 0, 0, 1);
	T_EQ(syscall(SYS_futex, &p.word[0], FUTEX_WAIT, 0, &patience, NULL, 0), 0);
	T_EQ(peer_found(&p), 1);
	peer_order(&p, 0, 1, 0);
	T_EQ(peer_found(&p), 0);
	T_EQ(syscall(SYS_futex, &p.word[0], FUTEX_WAIT, 0, &patience, NULL, 0), -1);
	T_EQ(errno, EAGAIN);
}

/* A vCPU's wait: a shared word that it can only read, and a private one of its own process. */
static void waitv(void)
{
	uint32_t event = 0;
	struct timespec until;
	struct peer p;

	T_REQUIRE(peer_start(&p));
	struct waitv w[2] = {
		{ 0, (uintptr_t)&p.word[7], WORD_U32, 0 },
		{ 0, (uintptr_t)&event, WORD_U32 | WORD_PRIVATE, 0 },
	};

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += PATIENCE_MS / 1000;
	peer_order(&p, 7, 0, 1);
	if (syscall(SYS_futex_waitv, w, 2, 0, &until, CLOCK_MONOTONIC) < 0 && errno == ENOSYS)
		T_SKIP("no futex_waitv", "Linux 5.16");
	T_EQ(peer_found(&p), 1);
	peer_order(&p, 7, 1, 0);
	T_EQ(peer_found(&p), 0);
	T_EQ(syscall(SYS_futex_waitv, w, 2, 0, &until, CLOCK_MONOTONIC), -1);
	T_EQ(errno, EAGAIN);
}

static void uring_wait(void)
{
	struct io_uring ring;
	struct peer p;
	uint64_t data;

	T_REQUIRE(peer_start(&p));
	RING_OR_SKIP(&ring);
	for (uint32_t i = 0; i < 100; i++) {
		arm(&ring, &p.word[3], 0, WORD_U32, i);
		io_uring_submit(&ring);
		peer_order(&p, 3, 0, 1);
		T_EQ(reap(&ring, PATIENCE_MS, &data), 0);
		T_EQ(data, i);
		T_EQ(peer_found(&p), 1);
	}
	peer_order(&p, 3, 1, 0);
	T_EQ(peer_found(&p), 0);
	arm(&ring, &p.word[3], 0, WORD_U32, 0);
	T_EQ(reap(&ring, PATIENCE_MS, NULL), -EAGAIN);
}

/*
 * With the first thread, a process gets a futex table of its own, and the table grows with the
 * threads. Waits on shared words are not in it and must not notice.
 */
static void shared_word_armed_before_threads(void)
{
	struct io_uring ring;
	struct peer p;
	uint64_t data;

	T_REQUIRE(peer_start(&p));
	RING_OR_SKIP(&ring);
	/* the second page is not there before the wait */
	for (uint32_t i = 0; i < 4; i++)
		arm(&ring, &p.word[i * PAGE_WORDS + 5], 0, WORD_U32, i);
	T_EQ(io_uring_submit(&ring), 4);
	for (uint32_t i = 0; i < 4; i++) {
		static const int threads[] = { 0, 1, 15, 100 };

		start_threads(threads[i]);
		peer_order(&p, i * PAGE_WORDS + 5, 1, 1);
		T_EQ(reap(&ring, PATIENCE_MS, &data), 0);
		T_EQ(data, i);
		T_EQ(peer_found(&p), 1);
	}
}

/* Why the bell is not a private word: docs/waits.md. Whether it is lost depends on the kernel. */
static void private_word_armed_before_threads(void)
{
	static uint32_t word;
	struct io_uring ring;
	int found, res;

	RING_OR_SKIP(&ring);
	arm(&ring, &word, 0, WORD_U32 | WORD_PRIVATE, 0);
	T_EQ(io_uring_submit(&ring), 1);
	start_threads(4);
	__atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
	found = wake(&word, 1, FUTEX_PRIVATE_FLAG);
	res = reap(&ring, 1000, NULL);
	ktap_diag("a private word armed before the first thread: %s on this kernel",
		  found ? "woken" : "lost");
	T_EQ(res, found ? 0 : -ETIME);
}

static void many_words_one_ring(void)
{
	const uint32_t n = 300, apart = 16;
	struct io_uring ring;
	struct peer p;
	uint64_t data;

	T_REQUIRE(peer_start(&p));
	RING_OR_SKIP(&ring);
	for (uint32_t i = 0; i < n; i++)
		arm(&ring, &p.word[i * apart], 0, WORD_U32, i);
	T_EQ(io_uring_submit(&ring), n);
	for (uint32_t k = 0; k < n; k++) {
		uint32_t i = k * 7 % n;		/* each once: 7 and 300 share no factor */

		peer_order(&p, i * apart, 1, 1);
		T_EQ(reap(&ring, PATIENCE_MS, &data), 0);
		T_EQ(data, i);
		T_EQ(peer_found(&p), 1);
	}
	T_EQ(reap(&ring, 1, NULL), -ETIME);
}

/* What the device loop does: one wait for the bell, a socket and a timer. */
static void one_wait_for_all(void)
{
	struct __kernel_timespec soon = { 0, 20 * 1000000 };
	struct io_uring ring;
	unsigned int seen = 0;
	uint64_t data = 0;
	struct peer p;
	int sv[2];

	T_REQUIRE(peer_start(&p));
	RING_OR_SKIP(&ring);
	T_REQUIRE(T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0));
	arm(&ring, &p.word[0], 0, WORD_U32, 0);
	io_uring_prep_poll_multishot(io_uring_get_sqe(&ring), sv[0], POLLIN);
	io_uring_submit(&ring);
	for (struct io_uring_cqe *cqe; !io_uring_peek_cqe(&ring, &cqe);)
		T_FAIL("a completion before anything happened");
	T_EQ(write(sv[1], "", 1), 1);
	T_EQ(reap(&ring, PATIENCE_MS, NULL), POLLIN);
	peer_order(&p, 0, 1, 1);
	T_EQ(reap(&ring, PATIENCE_MS, NULL), 0);
	T_EQ(peer_found(&p), 1);

	/* all at once, in any order */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_timeout(sqe, &soon, 0, 0);
	sqe->user_data = 1;
	arm(&ring, &p.word[0], 1, WORD_U32, 2);
	io_uring_submit(&ring);
	peer_order(&p, 0, 1, 1);
	T_EQ(write(sv[1], "", 1), 1);
	for (int i = 0; i < 3; i++) {
		int res = reap(&ring, PATIENCE_MS, &data);

		T_EQ(res, data == 0 ? POLLIN : data == 1 ? -ETIME : 0);
		seen |= 1u << data;
	}
	T_EQ(seen, 7);
	T_EQ(peer_found(&p), 1);
}

static void cancel(void)
{
	struct io_uring ring;
	struct peer p;
	int results = 0;

	T_REQUIRE(peer_start(&p));
	RING_OR_SKIP(&ring);
	arm(&ring, &p.word[0], 0, WORD_U32, 1);
	io_uring_submit(&ring);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_cancel64(sqe, 1, 0);
	sqe->user_data = 2;
	for (int i = 0; i < 2; i++) {
		uint64_t data = 0;
		int res = reap(&ring, PATIENCE_MS, &data);

		if (data == 1)
			T_EQ(res, -ECANCELED);
		else
			T_GE(res, 0);
		results |= data;
	}
	T_EQ(results, 3);
	peer_order(&p, 0, 1, 0);
	T_EQ(peer_found(&p), 0);
}

/* A device process killed in its sleep leaves nothing that a later wake would be spent on. */
static void killed_waiter(void)
{
	struct io_uring ring;
	int ready[2], status;
	struct peer p;
	char c;

	T_REQUIRE(peer_start(&p));
	RING_OR_SKIP(&ring);
	T_REQUIRE(T_EQ(pipe(ready), 0));
	pid_t pid = fork();

	if (!pid) {
		struct io_uring own;

		if (!ring_start(&own))
			_exit(1);
		for (int i = 0; i < 100; i++)
			arm(&own, &p.word[0], 0, WORD_U32, i);
		io_uring_submit(&own);
		if (write(ready[1], "", 1) == 1)
			reap(&own, 10 * PATIENCE_MS, NULL);
		_exit(1);
	}
	T_EQ(read(ready[0], &c, 1), 1);
	kill(pid, SIGKILL);
	T_EQ(waitpid(pid, &status, 0), pid);
	T_OK(WIFSIGNALED(status));
	/* the dead process's ring is torn down a little after it was reaped */
	long long end = ktap_now_ms() + PATIENCE_MS;
	uint32_t found = ~0u;

	while (found && ktap_now_ms() < end) {
		usleep(10000);
		peer_order(&p, 0, 0, 0);
		found = peer_found(&p);
	}
	T_EQ(found, 0);
	arm(&ring, &p.word[0], 0, WORD_U32, 0);
	io_uring_submit(&ring);
	peer_order(&p, 0, 1, 1);
	T_EQ(reap(&ring, PATIENCE_MS, NULL), 0);
	T_EQ(peer_found(&p), 1);
}

static const struct ktap_test tests[] = {
	{ "futex on a page that can only be read", plain_wait },
	{ "futex_waitv on a page that can only be read", waitv },
	{ "io_uring futex wait on a page that can only be read", uring_wait },
	{ "shared words armed before the first thread", shared_word_armed_before_threads },
	{ "private word armed before the first thread", private_word_armed_before_threads },
	{ "300 words on one ring", many_words_one_ring },
	{ "bell, socket and timer in one wait", one_wait_for_all },
	{ "cancelled wait", cancel },
	{ "killed waiter", killed_waiter },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
