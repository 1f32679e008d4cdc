// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Interrupts: what SET_IRQS takes and refuses, the pin's level, masks and
 * resampling, messages, and eventfds of a peer that means harm.
 */
#include "dev_thread.h"
#include "device/irq.h"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#define TRIGGER		VFIO_IRQ_SET_ACTION_TRIGGER
#define MASK		VFIO_IRQ_SET_ACTION_MASK
#define UNMASK		VFIO_IRQ_SET_ACTION_UNMASK
#define NONE		VFIO_IRQ_SET_DATA_NONE
#define BOOL		VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD		VFIO_IRQ_SET_DATA_EVENTFD

#define INTX		VFIO_PCI_INTX_IRQ_INDEX
#define MSI		VFIO_PCI_MSI_IRQ_INDEX

/* The interrupts of a device, and its loop, which runs in this thread when told. */
struct bench {
	struct rmio_loop *loop;
	struct rmio_pci_config config;
	struct rmio_irqs q;
	struct rmio_timer t;
};

static struct bench *running;

static void end(struct rmio_timer *t)
{
	rmio_loop_stop(running->loop);
}

static void command(struct bench *b, uint16_t bits)
{
	uint8_t v[] = { (uint8_t)bits, (uint8_t)(bits >> 8) };

	rmio_pci_config_write(&b->config, PCI_COMMAND, v, sizeof(v));
}

static bool bench_new(struct bench *b, uint32_t msi, bool pin)
{
	struct rmio_dev_desc desc = { .msi = (uint8_t)msi, .intx = pin };

	memset(b, 0, sizeof(*b));
	if (!T_EQ(rmio_loop_new(NULL, &b->loop), 0))
		return false;
	rmio_pci_config_init(&b->config, &desc);
	rmio_irqs_init(&b->q, b->loop, &b->config, msi, pin);
	command(b, PCI_COMMAND_MASTER);
	b->t.fire = end;
	running = b;
	return true;
}

/* Let the loop do what is due. */
static void settle(struct bench *b)
{
	rmio_timer_arm(b->loop, &b->t, 5000000);
	T_EQ(rmio_loop_run(b->loop), 0);
}

static void bench_free(struct bench *b)
{
	rmio_irqs_drop(&b->q);
	settle(b);
	rmio_loop_free(b->loop);
}

static int event(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* The counter of @fd after what is due was done. */
static uint64_t signals(struct bench *b, int fd)
{
	uint64_t n = 0;

	settle(b);
	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static int set(struct bench *b, uint32_t index, uint32_t action, uint32_t data, uint32_t start,
	       uint32_t count, int *fds, const uint8_t *bools)
{
	return rmio_irqs_set(&b->q, index, action, data, start, count, fds, bools);
}

/* One eventfd, of which the device gets a duplicate. */
static int set_fd(struct bench *b, uint32_t index, uint32_t action, uint32_t start, int fd)
{
	int copy = fd < 0 ? -1 : dup(fd), err;

	err = set(b, index, action, EVENTFD, start, 1, &copy, NULL);
	if (copy >= 0)
		close(copy);
	return err;
}

/* -- information and refusals -------------------------------------------------------------- */

static void info(void)
{
	static const struct {
		uint32_t index, flags, count;
	} want[] = {
		{ INTX, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE |
			VFIO_IRQ_INFO_AUTOMASKED, 1 },
		{ MSI, VFIO_IRQ_INFO_EVENTFD, 4 },
		{ VFIO_PCI_MSIX_IRQ_INDEX, 0, 0 },
		{ VFIO_PCI_ERR_IRQ_INDEX, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE, 1 },
		{ VFIO_PCI_REQ_IRQ_INDEX, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE, 1 },
	};
	uint32_t flags, count, i;
	struct bench b;

	T_REQUIRE(bench_new(&b, 4, true));
	for (i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		T_EQ(rmio_irqs_info(&b.q, want[i].index, &flags, &count), 0);
		T_EQ(flags, want[i].flags);
		T_EQ(count, want[i].count);
	}
	T_EQ(rmio_irqs_info(&b.q, VFIO_PCI_NUM_IRQS, &flags, &count), -EINVAL);
	bench_free(&b);

	T_REQUIRE(bench_new(&b, 0, false));
	for (i = 0; i < 2; i++) {
		T_EQ(rmio_irqs_info(&b.q, i, &flags, &count), 0);
		T_EQ(flags, 0);
		T_EQ(count, 0);
	}
	bench_free(&b);
}

static void refused(void)
{
	const uint8_t on[4] = { 1, 1, 1, 1 };
	int fd = event(), fds[5] = { -1, -1, -1, -1, -1 };
	struct bench b;

	T_REQUIRE(bench_new(&b, 4, true));
	T_EQ(set(&b, INTX, TRIGGER, NONE, 0, 2, NULL, NULL), -EINVAL);
	T_EQ(set(&b, INTX, TRIGGER, NONE, 1, 1, NULL, NULL), -EINVAL);
	T_EQ(set(&b, INTX, TRIGGER, BOOL, 0, 1, NULL, NULL), -EINVAL);
	T_EQ(set(&b, INTX, TRIGGER, 0, 0, 1, NULL, on), -EINVAL);
	T_EQ(set(&b, INTX, TRIGGER, NONE | BOOL, 0, 1, NULL, on), -EINVAL);
	T_EQ(set(&b, INTX, 0, NONE, 0, 1, NULL, NULL), -EINVAL);
	/* before there is a trigger */
	T_EQ(set(&b, INTX, TRIGGER, NONE, 0, 1, NULL, NULL), -EINVAL);
	T_EQ(set(&b, INTX, MASK, NONE, 0, 1, NULL, NULL), -EINVAL);
	T_EQ(set(&b, INTX, UNMASK, NONE, 0, 1, NULL, NULL), -EINVAL);
	T_EQ(set_fd(&b, INTX, UNMASK, 0, fd), -EINVAL);
	T_EQ(set(&b, INTX, MASK, NONE, 0, 0, NULL, NULL), -EINVAL);
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, fd), 0);
	T_EQ(set_fd(&b, INTX, MASK, 0, fd), -EOPNOTSUPP);

	T_EQ(set(&b, MSI, TRIGGER, EVENTFD, 0, 5, fds, NULL), -EINVAL);
	T_EQ(set(&b, MSI, TRIGGER, EVENTFD, 4, 1, fds, NULL), -EINVAL);
	T_EQ(set(&b, MSI, TRIGGER, EVENTFD, UINT32_MAX, 2, fds, NULL), -EINVAL);
	T_EQ(set(&b, MSI, MASK, NONE, 0, 1, NULL, NULL), -EINVAL);
	T_EQ(set(&b, MSI, UNMASK, NONE, 0, 1, NULL, NULL), -EINVAL);
	T_EQ(set(&b, MSI, TRIGGER, NONE, 1, 0, NULL, NULL), -EINVAL);
	T_EQ(set(&b, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, NONE, 0, 0, NULL, NULL), -EINVAL);
	T_EQ(set(&b, VFIO_PCI_ERR_IRQ_INDEX, TRIGGER, EVENTFD, 1, 1, fds, NULL), -EINVAL);
	T_EQ(set(&b, VFIO_PCI_ERR_IRQ_INDEX, TRIGGER, EVENTFD, 0, 2, fds, NULL), -EINVAL);
	T_EQ(set(&b, VFIO_PCI_REQ_IRQ_INDEX, MASK, NONE, 0, 1, NULL, NULL), -EINVAL);
	T_EQ(rmio_irqs_msi(&b.q, 0), -ENOTCONN);
	T_EQ(rmio_irqs_msi(&b.q, 4), -ENOTCONN);
	bench_free(&b);

	T_REQUIRE(bench_new(&b, 0, false));
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, fd), -EINVAL);
	T_EQ(set_fd(&b, MSI, TRIGGER, 0, fd), -EINVAL);
	rmio_irqs_pin(&b.q, true);
	bench_free(&b);
	close(fd);
}

static void wrong_kinds(void)
{
	int ev = event(), fds[4], kinds[5], p[2], i;
	struct bench b;

	T_EQ(pipe(p), 0);
	kinds[0] = p[1];
	kinds[1] = memfd_create("x", MFD_CLOEXEC);
	kinds[2] = socket(AF_UNIX, SOCK_STREAM, 0);
	kinds[3] = timerfd_create(CLOCK_MONOTONIC, 0);
	kinds[4] = open("/dev/null", O_RDWR);
	T_REQUIRE(bench_new(&b, 4, true));
	for (i = 0; i < 5; i++) {
		T_EQ(set_fd(&b, INTX, TRIGGER, 0, kinds[i]), -EINVAL);
		T_EQ(set_fd(&b, MSI, TRIGGER, 1, kinds[i]), -EINVAL);
	}
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, ev), 0);
	for (i = 0; i < 5; i++)
		T_EQ(set_fd(&b, INTX, UNMASK, 0, kinds[i]), -EINVAL);
	/* one of several is wrong: none is taken */
	fds[0] = ev;
	fds[1] = p[1];
	T_EQ(set(&b, MSI, TRIGGER, EVENTFD, 0, 2, fds, NULL), -EINVAL);
	T_EQ(fds[0], ev);
	T_EQ(b.q.enabled, 0);
	T_EQ(rmio_irqs_msi(&b.q, 0), -ENOTCONN);
	bench_free(&b);
}

/* -- the pin ---------------------------------------------------------------------------------- */

static void level(void)
{
	const uint8_t on = 1, off = 0;
	int fd = event();
	struct bench b;

	T_REQUIRE(bench_new(&b, 0, true));
	/* raised before the client is there: told when it comes */
	rmio_irqs_pin(&b.q, true);
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, fd), 0);
	T_EQ(signals(&b, fd), 1);
	/* masked by itself until unmasked */
	rmio_irqs_pin(&b.q, false);
	rmio_irqs_pin(&b.q, true);
	T_EQ(signals(&b, fd), 0);
	T_EQ(set(&b, INTX, UNMASK, NONE, 0, 1, NULL, NULL), 0);
	T_EQ(signals(&b, fd), 1);
	T_EQ(set(&b, INTX, UNMASK, BOOL, 0, 1, NULL, &off), 0);
	T_EQ(signals(&b, fd), 0);
	T_EQ(set(&b, INTX, UNMASK, BOOL, 0, 1, NULL, &on), 0);
	T_EQ(signals(&b, fd), 1);
	/* fallen: an unmask is silent, and the next rise is heard */
	rmio_irqs_pin(&b.q, false);
	T_EQ(set(&b, INTX, UNMASK, NONE, 0, 1, NULL, NULL), 0);
	T_EQ(signals(&b, fd), 0);
	rmio_irqs_pin(&b.q, true);
	T_EQ(signals(&b, fd), 1);
	rmio_irqs_pin(&b.q, false);
	/* masked by message */
	T_EQ(set(&b, INTX, UNMASK, NONE, 0, 1, NULL, NULL), 0);
	T_EQ(set(&b, INTX, MASK, BOOL, 0, 1, NULL, &on), 0);
	rmio_irqs_pin(&b.q, true);
	T_EQ(signals(&b, fd), 0);
	T_EQ(set(&b, INTX, UNMASK, NONE, 0, 1, NULL, NULL), 0);
	T_EQ(signals(&b, fd), 1);
	/* reset lets it fall */
	rmio_irqs_reset(&b.q);
	T_EQ(set(&b, INTX, UNMASK, NONE, 0, 1, NULL, NULL), 0);
	T_EQ(signals(&b, fd), 0);
	/* a test signal by message */
	T_EQ(set(&b, INTX, TRIGGER, NONE, 0, 1, NULL, NULL), 0);
	T_EQ(signals(&b, fd), 1);
	T_EQ(set(&b, INTX, TRIGGER, BOOL, 0, 1, NULL, &off), 0);
	T_EQ(signals(&b, fd), 0);
	/* disabled */
	T_EQ(set(&b, INTX, TRIGGER, NONE, 0, 0, NULL, NULL), 0);
	rmio_irqs_pin(&b.q, true);
	T_EQ(signals(&b, fd), 0);
	T_EQ(set(&b, INTX, UNMASK, NONE, 0, 1, NULL, NULL), -EINVAL);
	bench_free(&b);
	close(fd);
}

static void resample(void)
{
	int fd = event(), un = event(), un2 = event(), i;
	uint64_t one = 1;
	struct bench b;

	T_REQUIRE(bench_new(&b, 0, true));
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, fd), 0);
	T_EQ(set_fd(&b, INTX, UNMASK, 0, un), 0);
	rmio_irqs_pin(&b.q, true);
	T_EQ(signals(&b, fd), 1);
	for (i = 0; i < 5; i++) {
		T_EQ(write(un, &one, sizeof(one)), sizeof(one));
		T_EQ(signals(&b, fd), 1);
	}
	/* another one in its place: the first is heard no more */
	T_EQ(set_fd(&b, INTX, UNMASK, 0, un2), 0);
	T_EQ(write(un, &one, sizeof(one)), sizeof(one));
	T_EQ(signals(&b, fd), 0);
	T_EQ(write(un2, &one, sizeof(one)), sizeof(one));
	T_EQ(signals(&b, fd), 1);
	/* taken away */
	T_EQ(set_fd(&b, INTX, UNMASK, 0, -1), 0);
	T_EQ(write(un2, &one, sizeof(one)), sizeof(one));
	T_EQ(signals(&b, fd), 0);
	bench_free(&b);
}

/* -- messages ---------------------------------------------------------------------------------- */

static void messages(void)
{
	const uint8_t some[4] = { 1, 0, 0, 1 };
	int fd[4], copy[4], i;
	struct bench b;

	T_REQUIRE(bench_new(&b, 4, true));
	for (i = 0; i < 4; i++) {
		fd[i] = event();
		copy[i] = i == 2 ? -1 : dup(fd[i]);
	}
	T_EQ(set(&b, MSI, TRIGGER, EVENTFD, 0, 4, copy, NULL), 0);
	for (i = 0; i < 4; i++)
		T_EQ(copy[i], -1);
	T_EQ(b.q.enabled, 3);
	for (i = 0; i < 4; i++)
		T_EQ(rmio_irqs_msi(&b.q, i), i == 2 ? -ENOTCONN : 0);
	for (i = 0; i < 4; i++)
		T_EQ(signals(&b, fd[i]), i != 2);
	/* test signals */
	T_EQ(set(&b, MSI, TRIGGER, BOOL, 0, 4, NULL, some), 0);
	T_EQ(signals(&b, fd[0]), 1);
	T_EQ(signals(&b, fd[1]), 0);
	T_EQ(signals(&b, fd[3]), 1);
	T_EQ(set(&b, MSI, TRIGGER, NONE, 1, 2, NULL, NULL), 0);
	T_EQ(signals(&b, fd[1]), 1);
	/* one replaced, one taken away */
	T_EQ(set_fd(&b, MSI, TRIGGER, 2, fd[2]), 0);
	T_EQ(set_fd(&b, MSI, TRIGGER, 0, -1), 0);
	T_EQ(b.q.enabled, 3);
	T_EQ(rmio_irqs_msi(&b.q, 0), -ENOTCONN);
	T_EQ(rmio_irqs_msi(&b.q, 2), 0);
	T_EQ(signals(&b, fd[2]), 1);
	/* disabled */
	T_EQ(set(&b, MSI, TRIGGER, NONE, 0, 0, NULL, NULL), 0);
	T_EQ(b.q.enabled, 0);
	T_EQ(rmio_irqs_msi(&b.q, 1), -ENOTCONN);
	bench_free(&b);
}

/* Messages while one is under way become one more, none is lost. */
static void burst(void)
{
	int fd = event();
	struct bench b;
	int i;

	T_REQUIRE(bench_new(&b, 1, false));
	T_EQ(set_fd(&b, MSI, TRIGGER, 0, fd), 0);
	settle(&b);
	for (i = 0; i < 1000; i++)
		T_EQ(rmio_irqs_msi(&b.q, 0), 0);
	T_EQ(signals(&b, fd), 1000);
	T_EQ(rmio_irqs_msi(&b.q, 0), 0);
	T_EQ(signals(&b, fd), 1);
	bench_free(&b);
}

/* -- a peer that means harm -------------------------------------------------------------------- */

/* Counters at their limit, blocking, with the flag cleared again: the loop goes on. */
static void stuck(void)
{
	uint64_t full = UINT64_MAX - 1, n;
	int fd[4], ok = event(), i, k;
	struct bench b;

	T_REQUIRE(bench_new(&b, 8, true));
	for (i = 0; i < 4; i++) {
		fd[i] = eventfd(0, EFD_CLOEXEC);
		T_EQ(write(fd[i], &full, sizeof(full)), sizeof(full));
		T_EQ(set_fd(&b, MSI, TRIGGER, i, fd[i]), 0);
		T_EQ(fcntl(fd[i], F_SETFL, 0), 0);
	}
	T_EQ(set_fd(&b, MSI, TRIGGER, 4, ok), 0);
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, fd[0]), 0);
	T_EQ(set_fd(&b, INTX, UNMASK, 0, fd[1]), 0);
	rmio_irqs_pin(&b.q, true);
	for (k = 0; k < 10; k++) {
		for (i = 0; i < 5; i++)
			T_EQ(rmio_irqs_msi(&b.q, i), 0);
		T_EQ(signals(&b, ok), 1);
	}
	/* The kernel signals beyond what a write may add; only a write waits for room. */
	T_EQ(read(fd[2], &n, sizeof(n)), sizeof(n));
	if (b.loop->eventfds.none >= 0) {
		T_EQ(n, UINT64_MAX);
		T_EQ(rmio_irqs_msi(&b.q, 2), 0);
	} else {
		T_EQ(n, full);
		settle(&b);
	}
	settle(&b);
	n = 0;
	T_EQ(read(fd[2], &n, sizeof(n)), sizeof(n));
	T_GE(n, 1);
	/* and it can be ended while others are stuck */
	bench_free(&b);
}

static atomic_bool flipped;

static void *flip(void *arg)
{
	const int *fd = arg;

	while (!atomic_load(&flipped)) {
		fcntl(*fd, F_SETFL, O_NONBLOCK);
		fcntl(*fd, F_SETFL, 0);
	}
	return NULL;
}

struct tries {
	struct bench b;
	struct rmio_timer t;
	int fd, left;
};

static void try(struct rmio_timer *t)
{
	struct tries *x = (struct tries *)((char *)t - offsetof(struct tries, t));

	/* A signal of its own: one that waits is not tried again. */
	set_fd(&x->b, MSI, TRIGGER, 0, x->fd);
	rmio_irqs_msi(&x->b.q, 0);
	if (x->left--)
		rmio_timer_arm(x->b.loop, &x->t, 0);
	else
		rmio_loop_stop(x->b.loop);
}

/*
 * The kernel looks twice at the flag of an eventfd that is written to.  Some 3,000 tries
 * are enough for a peer that changes it all the time to have the loop wait for ever.
 */
static void flags_that_change(void)
{
	struct tries x = { .left = ktap_pick(3000, 20000, 100000), .t.fire = try };
	uint64_t full = UINT64_MAX - 1;
	pthread_t peer;

	T_REQUIRE(bench_new(&x.b, 1, false));
	if (x.b.loop->eventfds.none < 0) {
		bench_free(&x.b);
		T_SKIP("no aio", "a kernel with CONFIG_AIO, and fs.aio-max-nr not used up");
	}
	x.fd = eventfd(0, EFD_CLOEXEC);
	T_EQ(write(x.fd, &full, sizeof(full)), sizeof(full));
	T_REQUIRE(T_EQ(pthread_create(&peer, NULL, flip, &x.fd), 0));
	rmio_timer_arm(x.b.loop, &x.t, 0);
	T_EQ(rmio_loop_run(x.b.loop), 0);
	atomic_store(&flipped, true);
	pthread_join(peer, NULL);
	bench_free(&x.b);
}

/* What cannot be signalled by way of aio is written to; there may be no aio at all. */
static void without_aio(void)
{
	int fd[40], i, k;
	struct bench b;

	for (k = 0; k < 2; k++) {
		T_REQUIRE(bench_new(&b, 32, false));
		if (!k)
			rmio_eventfds_exit(&b.loop->eventfds);
		else if (b.loop->eventfds.none >= 0)
			syscall(SYS_io_destroy, b.loop->eventfds.ctx);
		for (i = 0; i < 32; i++) {
			fd[i] = event();
			T_EQ(set_fd(&b, MSI, TRIGGER, (uint32_t)i, fd[i]), 0);
			T_EQ(rmio_irqs_msi(&b.q, (uint32_t)i), 0);
		}
		for (i = 0; i < 32; i++)
			T_EQ(signals(&b, fd[i]), 1);
		bench_free(&b);
	}
}

/* More than the kernel remembers the ends of. */
static void many(void)
{
	int fd = event(), i;
	struct bench b;

	T_REQUIRE(bench_new(&b, 1, false));
	T_EQ(set_fd(&b, MSI, TRIGGER, 0, fd), 0);
	for (i = 0; i < 5000; i++) {
		rmio_irqs_msi(&b.q, 0);
		rmio_loop_flush(b.loop);
	}
	/* Without aio nothing is written before the loop runs. */
	T_EQ(signals(&b, fd), b.loop->eventfds.none >= 0 ? 5000 : 2);
	bench_free(&b);
}

/* A client that is not sure to say that an interrupt has ended. */
static void rises(void)
{
	int fd = event(), unmask = event();
	uint64_t one = 1;
	struct bench b;

	T_REQUIRE(bench_new(&b, 0, true));
	b.q.rises = true;
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, fd), 0);
	T_EQ(set_fd(&b, INTX, UNMASK, 0, unmask), 0);
	for (int i = 0; i < 3; i++) {
		rmio_irqs_pin(&b.q, true);
		T_EQ(signals(&b, fd), 1);
		/* still up is no rise */
		rmio_irqs_pin(&b.q, true);
		T_EQ(signals(&b, fd), 0);
		rmio_irqs_pin(&b.q, false);
	}
	rmio_irqs_pin(&b.q, true);
	T_EQ(signals(&b, fd), 1);
	T_EQ(write(unmask, &one, sizeof(one)), (ssize_t)sizeof(one));
	T_EQ(signals(&b, fd), 1);
	/* turned off in between: not lost */
	rmio_irqs_pin(&b.q, false);
	rmio_pci_config_write(&b.config, PCI_COMMAND + 1, "\4", 1);
	rmio_irqs_pin(&b.q, true);
	T_EQ(signals(&b, fd), 0);
	rmio_pci_config_write(&b.config, PCI_COMMAND + 1, "\0", 1);
	rmio_irqs_update(&b.q);
	T_EQ(signals(&b, fd), 1);
	/* the next client may be another kind */
	rmio_irqs_drop(&b.q);
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, fd), 0);
	T_EQ(signals(&b, fd), 1);
	rmio_irqs_pin(&b.q, false);
	rmio_irqs_pin(&b.q, true);
	T_EQ(signals(&b, fd), 0);
	bench_free(&b);

	/* messages: each at once, and once more after the end */
	T_REQUIRE(bench_new(&b, 1, false));
	b.q.rises = true;
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, fd), 0);
	T_EQ(set_fd(&b, INTX, UNMASK, 0, unmask), 0);
	for (int i = 0; i < 3; i++) {
		T_EQ(rmio_irqs_msi(&b.q, 0), 0);
		T_EQ(signals(&b, fd), 1);
	}
	T_EQ(write(unmask, &one, sizeof(one)), (ssize_t)sizeof(one));
	T_EQ(signals(&b, fd), 1);
	T_EQ(write(unmask, &one, sizeof(one)), (ssize_t)sizeof(one));
	T_EQ(signals(&b, fd), 0);
	/* none while it is turned off, one when it is on again */
	T_EQ(rmio_irqs_msi(&b.q, 0), 0);
	T_EQ(signals(&b, fd), 1);
	rmio_pci_config_write(&b.config, PCI_COMMAND + 1, "\4", 1);
	T_EQ(rmio_irqs_msi(&b.q, 0), 0);
	T_EQ(write(unmask, &one, sizeof(one)), (ssize_t)sizeof(one));
	T_EQ(signals(&b, fd), 0);
	rmio_pci_config_write(&b.config, PCI_COMMAND + 1, "\0", 1);
	rmio_irqs_update(&b.q);
	T_EQ(signals(&b, fd), 1);
	bench_free(&b);
	close(fd);
	close(unmask);
}

/* The pin of a device with messages only, for clients that have none. */
/* A message is a memory write of the function itself: lost while it may make none. */
static void bus_mastering_off(void)
{
	int fd = event(), pin = event();
	struct bench b;

	T_REQUIRE(bench_new(&b, 4, true));
	T_EQ(set_fd(&b, MSI, TRIGGER, 1, fd), 0);
	command(&b, 0);
	T_EQ(rmio_irqs_msi(&b.q, 1), -EPERM);
	T_EQ(signals(&b, fd), 0);
	/* lost, not kept until it may */
	command(&b, PCI_COMMAND_MASTER);
	T_EQ(signals(&b, fd), 0);
	T_EQ(rmio_irqs_msi(&b.q, 1), 0);
	T_EQ(signals(&b, fd), 1);
	/* what the client asks for is no message of the function's */
	command(&b, 0);
	T_EQ(set(&b, MSI, TRIGGER, NONE, 1, 1, NULL, NULL), 0);
	T_EQ(signals(&b, fd), 1);
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, pin), 0);
	rmio_irqs_pin(&b.q, true);
	T_EQ(signals(&b, pin), 1);
	bench_free(&b);
	close(fd);
	close(pin);
}

static void stands_in(void)
{
	int fd = event(), up = event(), unmask = event();
	uint64_t one = 1;
	struct bench b;

	T_REQUIRE(bench_new(&b, 4, false));
	T_EQ(rmio_irqs_msi(&b.q, 0), -ENOTCONN);
	T_OK(!rmio_irqs_messages(&b.q));
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, fd), 0);
	T_EQ(set_fd(&b, INTX, UNMASK, 0, unmask), 0);
	T_OK(rmio_irqs_messages(&b.q));
	/* what was sent before nobody hears */
	T_EQ(signals(&b, fd), 0);
	T_EQ(rmio_irqs_msi(&b.q, 3), 0);
	T_EQ(signals(&b, fd), 1);
	T_EQ(rmio_irqs_msi(&b.q, 4), -ENOTCONN);
	/* one that comes before the end of the last is signalled after it, and only once */
	T_EQ(rmio_irqs_msi(&b.q, 0), 0);
	T_EQ(rmio_irqs_msi(&b.q, 1), 0);
	T_EQ(signals(&b, fd), 0);
	T_EQ(write(unmask, &one, sizeof(one)), (ssize_t)sizeof(one));
	T_EQ(signals(&b, fd), 1);
	/* each end but the last is silent */
	T_EQ(write(unmask, &one, sizeof(one)), (ssize_t)sizeof(one));
	T_EQ(signals(&b, fd), 0);
	/* with messages set up the pin is silent */
	T_EQ(set_fd(&b, MSI, TRIGGER, 2, up), 0);
	T_EQ(rmio_irqs_msi(&b.q, 2), 0);
	T_EQ(signals(&b, up), 1);
	T_EQ(signals(&b, fd), 0);
	/* a reset forgets what has yet to be signalled */
	T_EQ(rmio_irqs_msi(&b.q, 0), 0);
	T_EQ(signals(&b, fd), 1);
	T_EQ(rmio_irqs_msi(&b.q, 0), 0);
	rmio_irqs_reset(&b.q);
	T_EQ(write(unmask, &one, sizeof(one)), (ssize_t)sizeof(one));
	T_EQ(signals(&b, fd), 0);
	T_EQ(set(&b, INTX, TRIGGER, NONE, 0, 0, NULL, NULL), 0);
	T_EQ(rmio_irqs_msi(&b.q, 0), -ENOTCONN);
	bench_free(&b);

	/* a device with both has a level */
	T_REQUIRE(bench_new(&b, 4, true));
	T_EQ(set_fd(&b, INTX, TRIGGER, 0, fd), 0);
	T_OK(!rmio_irqs_messages(&b.q));
	T_EQ(rmio_irqs_msi(&b.q, 0), -ENOTCONN);
	T_EQ(signals(&b, fd), 0);
	bench_free(&b);
	close(fd);
	close(up);
	close(unmask);
}

/* The error and the request interrupt: set up, raised by the client, taken back. */
static void error_and_request(void)
{
	static const uint32_t index[] = { VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX };
	struct bench b;
	uint64_t n;
	int fd;

	T_REQUIRE(bench_new(&b, 4, true));
	for (size_t i = 0; i < 2; i++) {
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		T_EQ(set_fd(&b, index[i], TRIGGER, 0, fd), 0);
		T_EQ(set(&b, index[i], TRIGGER, NONE, 0, 1, NULL, NULL), 0);
		rmio_loop_flush(b.loop);
		T_EQ(read(fd, &n, sizeof(n)), sizeof(n));
		T_EQ(n, 1);
		T_EQ(set(&b, index[i], TRIGGER, NONE, 0, 0, NULL, NULL), 0);
		T_EQ(set(&b, index[i], TRIGGER, NONE, 0, 1, NULL, NULL), 0);
		rmio_loop_flush(b.loop);
		T_EQ(read(fd, &n, sizeof(n)), -1);
		close(fd);
	}
	bench_free(&b);
}

static const struct ktap_test tests[] = {
	{ "error and request", error_and_request },
	{ "information", info },
	{ "refused", refused },
	{ "wrong kinds of descriptor", wrong_kinds },
	{ "level, masks", level },
	{ "resample", resample },
	{ "messages", messages },
	{ "each rise of the pin", rises },
	{ "a pin that stands in for messages", stands_in },
	{ "bus mastering off", bus_mastering_off },
	{ "burst", burst },
	{ "stuck eventfds", stuck },
	{ "flags that change all the time", flags_that_change },
	{ "without aio", without_aio },
	{ "many", many },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
