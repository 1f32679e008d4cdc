// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a guest's access costs without rmio: memory, in-process emulation, an
 * ioeventfd, and a device process behind a socket.
 *
 * Outside the data path. These are the rivals of the rmio cases, with the same
 * guest, the same registers and messages of the size of a request.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../guest.h"

#define MESSAGE 32	/* bytes, as in socket.rtt */

struct kvm_case {
	struct guest guest;
	uint32_t reg;		/* of the device emulated in the vCPU's thread */
	int fd;			/* eventfd, or our end of the socket; -1 */
	int peer_fd;
	bool spin;		/* on the socket, on both sides */
};

static int kvm_new(struct bench_run *run, struct kvm_case **out)
{
	struct kvm_case *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->fd = k->peer_fd = -1;
	run->priv = k;
	*out = k;
	return 0;
}

static void kvm_free(struct bench_run *run)
{
	struct kvm_case *k = run->priv;

	bench_peer_stop(run);
	if (k->fd >= 0)
		close(k->fd);
	if (k->peer_fd >= 0)
		close(k->peer_fd);
	free(k);
	run->priv = NULL;
}

static void kvm_teardown(struct bench_run *run)
{
	struct kvm_case *k = run->priv;

	guest_free(&k->guest);
	kvm_free(run);
}

static int kvm_guest(struct bench_run *run, uint32_t addr, bool store)
{
	struct guest_code code = { .addr = addr, .registers = 1, .store = store };
	struct kvm_case *k = run->priv;
	int err = guest_new(run, &code, &k->guest);

	if (err)
		kvm_free(run);
	return err;
}

/* Answered in the vCPU's thread: the least that any emulation does. */

static int exit_answer(struct bench_run *run, struct kvm_run *exit)
{
	struct kvm_case *k = run->priv;

	if (exit->mmio.phys_addr != GUEST_DEVICE || exit->mmio.len != sizeof(k->reg))
		return -EIO;
	if (exit->mmio.is_write)
		memcpy(&k->reg, exit->mmio.data, sizeof(k->reg));
	else
		memcpy(exit->mmio.data, &k->reg, sizeof(k->reg));
	return 0;
}

static int exit_load_setup(struct bench_run *run)
{
	struct kvm_case *k;
	int err = kvm_new(run, &k);

	return err ? err : kvm_guest(run, GUEST_DEVICE, false);
}

static int exit_store_setup(struct bench_run *run)
{
	struct kvm_case *k;
	int err = kvm_new(run, &k);

	return err ? err : kvm_guest(run, GUEST_DEVICE, true);
}

static int exit_op(struct bench_run *run)
{
	struct kvm_case *k = run->priv;

	return guest_batch(run, &k->guest, exit_answer);
}

static int exit_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, GUEST_BATCH, exit_op);
}

/* No exit at all. */

static int ram_setup(struct bench_run *run)
{
	struct kvm_case *k;
	int err = kvm_new(run, &k);

	return err ? err : kvm_guest(run, GUEST_RAM, false);
}

/* The kernel takes the store, without its value; nobody reads the eventfd. */

static int ioeventfd_setup(struct bench_run *run)
{
	struct kvm_case *k;
	int err = kvm_new(run, &k);

	if (!err)
		err = kvm_guest(run, GUEST_DEVICE, true);
	if (err)
		return err;
	k->fd = guest_ioeventfd(run, &k->guest, GUEST_DEVICE);
	if (k->fd < 0) {
		err = k->fd;
		kvm_teardown(run);
	}
	return err;
}

/* Exit, then a request and its answer over a socket: a device process without rmio. */

static bool socket_receive(const struct kvm_case *k, int fd, char *buf)
{
	ssize_t n;

	if (!k->spin)
		return read(fd, buf, MESSAGE) == MESSAGE;
	while ((n = recv(fd, buf, MESSAGE, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
		bench_pause();
	return n == MESSAGE;
}

static int socket_peer(void *arg)
{
	struct kvm_case *k = arg;
	char buf[MESSAGE];

	while (socket_receive(k, k->peer_fd, buf))
		if (write(k->peer_fd, buf, sizeof(buf)) != sizeof(buf))
			break;
	return 1;
}

static int socket_setup(struct bench_run *run, bool store)
{
	struct kvm_case *k;
	int fd[2], err = kvm_new(run, &k);

	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd)) {
		err = -errno;
		goto free_case;
	}
	k->fd = fd[0];
	k->peer_fd = fd[1];
	k->spin = run->wait == BENCH_POLL;
	err = bench_peer_start(run, socket_peer, k);
	if (err)
		goto free_case;
	return kvm_guest(run, GUEST_DEVICE, store);

free_case:
	kvm_free(run);
	return err;
}

static int socket_load_setup(struct bench_run *run)
{
	return socket_setup(run, false);
}

static int socket_store_setup(struct bench_run *run)
{
	return socket_setup(run, true);
}

static int socket_answer(struct bench_run *run, struct kvm_run *exit)
{
	struct kvm_case *k = run->priv;
	char buf[MESSAGE] = { 0 };

	memcpy(buf, &exit->mmio.phys_addr, sizeof(exit->mmio.phys_addr));
	memcpy(buf + 8, &exit->mmio.len, sizeof(exit->mmio.len));
	buf[12] = exit->mmio.is_write;
	if (exit->mmio.is_write)
		memcpy(buf + 16, exit->mmio.data, sizeof(exit->mmio.data));
	if (write(k->fd, buf, sizeof(buf)) != sizeof(buf) || !socket_receive(k, k->fd, buf))
		return bench_why(run, -EIO, "the device process has gone");
	if (!exit->mmio.is_write)
		memcpy(exit->mmio.data, buf + 16, sizeof(exit->mmio.data));
	return 0;
}

static int socket_op(struct bench_run *run)
{
	struct kvm_case *k = run->priv;

	return guest_batch(run, &k->guest, socket_answer);
}

static int socket_slice(struct bench_run *run, uint64_t ns)
{
	return bench_loop(run, ns, GUEST_BATCH, socket_op);
}

const struct bench_case bench_kvm_cases[] = {
	{
		.name = "kvm.exit.load",
		.what = "guest load, exit, answered in the vCPU's thread",
		.flags = BENCH_KVM,
		.setup = exit_load_setup,
		.slice = exit_slice,
		.teardown = kvm_teardown,
	}, {
		.name = "kvm.exit.store",
		.what = "guest store, exit, taken in the vCPU's thread",
		.flags = BENCH_KVM,
		.setup = exit_store_setup,
		.slice = exit_slice,
		.teardown = kvm_teardown,
	}, {
		.name = "kvm.ram.load",
		.what = "guest load from its memory",
		.rivals = { "kvm.exit.load" },
		.flags = BENCH_KVM,
		.setup = ram_setup,
		.slice = exit_slice,
		.teardown = kvm_teardown,
	}, {
		.name = "kvm.ioeventfd.store",
		.what = "guest store to an ioeventfd that nobody reads",
		.rivals = { "kvm.exit.store" },
		.flags = BENCH_KVM,
		.setup = ioeventfd_setup,
		.slice = exit_slice,
		.teardown = kvm_teardown,
	}, {
		.name = "socket.load",
		.what = "guest load, exit, 32 bytes to a device process and back",
		.rivals = { "kvm.exit.load" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_KVM | BENCH_FIXED,
		.setup = socket_load_setup,
		.slice = socket_slice,
		.teardown = kvm_teardown,
	}, {
		.name = "socket.load.poll",
		.what = "the same, both sides spinning on the socket",
		.rivals = { "kvm.exit.load" },
		.placements = BENCH_PLACE(BENCH_CROSS_CPU),
		.waits = BENCH_WAIT(BENCH_POLL),
		.flags = BENCH_KVM | BENCH_FIXED,
		.setup = socket_load_setup,
		.slice = socket_slice,
		.teardown = kvm_teardown,
	}, {
		.name = "socket.store",
		.what = "guest store, exit, 32 bytes to a device process and back",
		.rivals = { "kvm.exit.store" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_KVM | BENCH_FIXED,
		.setup = socket_store_setup,
		.slice = socket_slice,
		.teardown = kvm_teardown,
	},
	{ 0 },
};
