// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What the machine itself allows: a cache line, a futex, an eventfd, a socket.
 *
 * Outside the data path. These are the rivals of the ring: each is the shortest
 * round trip that two processes can make with that primitive, without any protocol.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../bench.h"

#define MEMORY (LINES * LINE_STRIDE)
#define MESSAGE 32		/* bytes, the size of a request slot */

#define LINES 64	/* that limit.cacheline uses in turn */
#define LINE_STRIDE 4160
#define LINE_TURNS 128

struct limits {
	_Atomic uint32_t *ping;
	_Atomic uint32_t *pong;
	uint32_t turn;
	int fd[2];		/* ours to write and read, or the socket in fd[0] */
	int peer_fd[2];
};

static int limits_new(struct bench_run *run, struct limits **out)
{
	struct limits *l = calloc(1, sizeof(*l));
	char *page;

	if (!l)
		return -ENOMEM;
	page = bench_shared(MEMORY);
	if (!page) {
		free(l);
		return -ENOMEM;
	}
	l->ping = (void *)page;
	/* Two lines apart, beyond the adjacent line that some CPUs fetch along. */
	l->pong = (void *)(page + 256);
	l->fd[0] = l->fd[1] = l->peer_fd[0] = l->peer_fd[1] = -1;
	run->priv = l;
	*out = l;
	return 0;
}

static void limits_teardown(struct bench_run *run)
{
	struct limits *l = run->priv;
	int i;

	bench_peer_stop(run);
	for (i = 0; i < 2; i++) {
		if (l->fd[i] >= 0)
			close(l->fd[i]);
		if (l->peer_fd[i] >= 0)
			close(l->peer_fd[i]);
	}
	munmap((void *)l->ping, MEMORY);
	free(l);
	run->priv = NULL;
}

static int limits_start(struct bench_run *run, int (*fn)(void *arg))
{
	int err = bench_peer_start(run, fn, run->priv);

	if (err)
		limits_teardown(run);
	return err;
}

/*
 * One line: odd is a question, the even number after it the answer. How far a line
 * is from a CPU depends on its address, on CPUs whose cache is in slices by half;
 * so both sides go on to another line every LINE_TURNS turns.
 */
static inline _Atomic uint32_t *cacheline(const struct limits *l, uint32_t turn)
{
	return (void *)((char *)l->ping + turn / LINE_TURNS % LINES * LINE_STRIDE);
}

static int cacheline_peer(void *arg)
{
	const struct limits *l = arg;
	_Atomic uint32_t *line;
	uint32_t turn, v;

	for (turn = 0; ; turn++) {
		line = cacheline(l, turn);
		while (!((v = atomic_load_explicit(line, memory_order_acquire)) & 1))
			bench_pause();
		atomic_store_explicit(line, v + 1, memory_order_release);
	}
	return 0;
}

static int cacheline_setup(struct bench_run *run)
{
	struct limits *l;
	int err = limits_new(run, &l);

	return err ? err : limits_start(run, cacheline_peer);
}

static int cacheline_op(struct bench_run *run)
{
	struct limits *l = run->priv;
	_Atomic uint32_t *line = cacheline(l, l->turn++);
	uint32_t v = atomic_load_explicit(line, memory_order_relaxed) + 2;

	atomic_store_explicit(line, v - 1, memory_order_release);
	while (atomic_load_explicit(line, memory_order_acquire) != v)
		bench_pause();
	return 0;
}

static int cacheline_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, 1, cacheline_op);
}

/* Two futexes, one for each direction; both sides sleep in every round trip. */

static void futex_wait(_Atomic uint32_t *word, uint32_t old)
{
	while (atomic_load_explicit(word, memory_order_acquire) == old)
		syscall(SYS_futex, word, FUTEX_WAIT, old, NULL, NULL, 0);
}

static void futex_post(_Atomic uint32_t *word, uint32_t v)
{
	atomic_store_explicit(word, v, memory_order_release);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static int futex_peer(void *arg)
{
	struct limits *l = arg;
	uint32_t v = 0;

	for (;;) {
		futex_wait(l->ping, v);
		futex_post(l->pong, ++v);
	}
	return 0;
}

static int futex_setup(struct bench_run *run)
{
	struct limits *l;
	int err = limits_new(run, &l);

	return err ? err : limits_start(run, futex_peer);
}

static int futex_op(struct bench_run *run)
{
	struct limits *l = run->priv;
	uint32_t v = l->turn++;

	futex_post(l->ping, v + 1);
	futex_wait(l->pong, v);
	return 0;
}

static int futex_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, 1, futex_op);
}

/* Two eventfds, blocking reads. */

static int eventfd_peer(void *arg)
{
	struct limits *l = arg;
	uint64_t v;

	while (read(l->fd[0], &v, sizeof(v)) == sizeof(v)) {
		v = 1;
		if (write(l->fd[1], &v, sizeof(v)) != sizeof(v))
			break;
	}
	return 1;
}

static int eventfd_setup(struct bench_run *run)
{
	struct limits *l;
	int i, err = limits_new(run, &l);

	if (err)
		return err;
	for (i = 0; i < 2; i++) {
		l->fd[i] = eventfd(0, EFD_CLOEXEC);
		if (l->fd[i] < 0) {
			err = -errno;
			limits_teardown(run);
			return err;
		}
	}
	return limits_start(run, eventfd_peer);
}

static int eventfd_op(struct bench_run *run)
{
	struct limits *l = run->priv;
	uint64_t v = 1;

	if (write(l->fd[0], &v, sizeof(v)) != sizeof(v) ||
	    read(l->fd[1], &v, sizeof(v)) != sizeof(v))
		return -EIO;
	return 0;
}

static int eventfd_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, 1, eventfd_op);
}

/* A UNIX stream socket, one message of the size of a request each way. */

static int socket_peer(void *arg)
{
	struct limits *l = arg;
	char buf[MESSAGE];

	while (read(l->peer_fd[0], buf, sizeof(buf)) == sizeof(buf))
		if (write(l->peer_fd[0], buf, sizeof(buf)) != sizeof(buf))
			break;
	return 1;
}

/* The same with both sides spinning on the socket: what is left is its system calls. */
static int spin_read(int fd, char *buf)
{
	ssize_t n;

	while ((n = recv(fd, buf, MESSAGE, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
		bench_pause();
	return n == MESSAGE ? 0 : -EIO;
}

static int socket_spin_peer(void *arg)
{
	struct limits *l = arg;
	char buf[MESSAGE];

	while (!spin_read(l->peer_fd[0], buf))
		if (write(l->peer_fd[0], buf, sizeof(buf)) != sizeof(buf))
			break;
	return 1;
}

static int socket_start(struct bench_run *run, int (*peer)(void *arg))
{
	struct limits *l;
	int fd[2], err = limits_new(run, &l);

	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd)) {
		err = -errno;
		limits_teardown(run);
		return err;
	}
	l->fd[0] = fd[0];
	l->peer_fd[0] = fd[1];
	return limits_start(run, peer);
}

static int socket_setup(struct bench_run *run)
{
	return socket_start(run, socket_peer);
}

static int socket_spin_setup(struct bench_run *run)
{
	return socket_start(run, socket_spin_peer);
}

static int socket_op(struct bench_run *run)
{
	struct limits *l = run->priv;
	char buf[MESSAGE] = { 0 };

	if (write(l->fd[0], buf, sizeof(buf)) != sizeof(buf) ||
	    read(l->fd[0], buf, sizeof(buf)) != sizeof(buf))
		return -EIO;
	return 0;
}

static int socket_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, 1, socket_op);
}

static int socket_spin_op(struct bench_run *run)
{
	struct limits *l = run->priv;
	char buf[MESSAGE] = { 0 };

	if (write(l->fd[0], buf, sizeof(buf)) != sizeof(buf))
		return -EIO;
	return spin_read(l->fd[0], buf);
}

static int socket_spin_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, 1, socket_spin_op);
}

const struct bench_case bench_limits_cases[] = {
	{
		.name = "limit.cacheline",
		.what = "one cache line bounced between two processes",
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_POLL),
		.flags = BENCH_FIXED,
		.setup = cacheline_setup,
		.slice = cacheline_slice,
		.teardown = limits_teardown,
	}, {
		.name = "futex.rtt",
		.what = "two futexes in shared memory, there and back",
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_FIXED,
		.setup = futex_setup,
		.slice = futex_slice,
		.teardown = limits_teardown,
	}, {
		.name = "eventfd.rtt",
		.what = "two eventfds, there and back",
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_FIXED,
		.setup = eventfd_setup,
		.slice = eventfd_slice,
		.teardown = limits_teardown,
	}, {
		.name = "socket.rtt",
		.what = "a UNIX stream socket, 32 bytes there and back",
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_FIXED,
		.setup = socket_setup,
		.slice = socket_slice,
		.teardown = limits_teardown,
	}, {
		.name = "socket.rtt.poll",
		.what = "the same, both sides spinning on the socket",
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_POLL),
		.flags = BENCH_FIXED,
		.setup = socket_spin_setup,
		.slice = socket_spin_slice,
		.teardown = limits_teardown,
	},
	{ 0 },
};
