// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a guest's access costs when the device lives in an unmodified QEMU of the machine
 * x-remote: exit, a command of its multi-process protocol, the answer.
 *
 * Outside the data path.  The register is one word of the RAM that an lsi53c895a has in a
 * BAR, which is the least that a device of QEMU's does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <rmio/vmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../guest.h"

#define QEMU		"qemu-system-x86_64"
#define BAR		2u
#define OTHER_VALUE	0x0badf00du
#define REMOTE_FD	3

struct remote {
	struct guest guest;
	struct rmio_client *client;
	int fd;			/* QEMU's end, until it has started; -1 */
};

static int start_qemu(void *arg)
{
	const struct remote *r = arg;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	/* dup2() onto itself would leave close-on-exec set. */
	if (r->fd == REMOTE_FD)
		fcntl(r->fd, F_SETFD, 0);
	else
		dup2(r->fd, REMOTE_FD);
	execlp(QEMU, QEMU, "-machine", "x-remote", "-nodefaults", "-no-user-config", "-display",
	       "none", "-device", "lsi53c895a,id=lsi", "-object",
	       "x-remote-object,id=remote,devid=lsi,fd=3", NULL);
	return -errno;
}

static bool in_path(const char *name)
{
	const char *p = getenv("PATH");
	char file[512];

	for (; p && *p; p += strcspn(p, ":"), p += *p == ':') {
		snprintf(file, sizeof(file), "%.*s/%s", (int)strcspn(p, ":"), p, name);
		if (!access(file, X_OK))
			return true;
	}
	return false;
}

static int config_write(struct remote *r, uint32_t reg, uint32_t value, uint32_t len)
{
	return rmio_client_region_write(r->client, VFIO_PCI_CONFIG_REGION_INDEX, reg, &value, len);
}

static int connect_qemu(struct bench_run *run)
{
	struct rmio_client_opts opts = {
		.sz = sizeof(opts), .protocol = RMIO_PROTOCOL_MULTI_PROCESS,
	};
	struct remote *r = run->priv;
	uint32_t value = GUEST_VALUE;
	int fds[2], err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	r->fd = fds[1];
	err = bench_peer_start(run, start_qemu, r);
	close(fds[1]);
	if (err) {
		close(fds[0]);
		return err;
	}
	err = rmio_client_new(fds[0], &opts, &r->client);
	if (err) {
		r->client = NULL;
		return bench_why(run, err, QEMU " did not answer as x-remote: %s", strerror(-err));
	}
	err = config_write(r, PCI_BASE_ADDRESS_0 + 4 * BAR, GUEST_DEVICE, 4);
	if (!err)
		err = config_write(r, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	if (!err)
		err = rmio_client_region_write(r->client, BAR, 0, &value, sizeof(value));
	return err;
}

static void remote_free(struct bench_run *run)
{
	struct remote *r = run->priv;

	if (r->client)
		rmio_client_free(r->client);
	bench_peer_stop(run);
	free(r);
	run->priv = NULL;
}

static int remote_setup(struct bench_run *run, bool store)
{
	struct guest_code code = { .addr = GUEST_DEVICE, .registers = 1, .store = store };
	struct remote *r;
	int err;

	if (!in_path(QEMU))
		return bench_why(run, 1, "no " QEMU "; ./dev setup, as root, installs it");
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	run->priv = r;
	err = connect_qemu(run);
	if (!err)
		err = guest_new(run, &code, &r->guest);
	if (err)
		remote_free(run);
	return err;
}

static int load_setup(struct bench_run *run)
{
	return remote_setup(run, false);
}

static int store_setup(struct bench_run *run)
{
	return remote_setup(run, true);
}

static void remote_teardown(struct bench_run *run)
{
	struct remote *r = run->priv;

	guest_free(&r->guest);
	remote_free(run);
}

static int answer(struct bench_run *run, struct kvm_run *exit)
{
	struct remote *r = run->priv;
	uint64_t offset = exit->mmio.phys_addr - GUEST_DEVICE;

	if (exit->mmio.is_write)
		return rmio_client_region_write(r->client, BAR, offset, exit->mmio.data,
						exit->mmio.len);
	return rmio_client_region_read(r->client, BAR, offset, exit->mmio.data, exit->mmio.len);
}

static int access_op(struct bench_run *run)
{
	struct remote *r = run->priv;

	return guest_batch(run, &r->guest, answer);
}

/* The register has what was put there, by us for loads, by the guest for stores. */
static int remote_slice(struct bench_run *run, uint64_t ns)
{
	uint32_t value = OTHER_VALUE;
	struct remote *r = run->priv;
	bool store = !strcmp(run->def->name, "qemu.remote.store");
	int err = 0;

	if (store)
		err = rmio_client_region_write(r->client, BAR, 0, &value, sizeof(value));
	if (!err)
		err = bench_loop(run, ns, GUEST_BATCH, access_op);
	if (!err)
		err = rmio_client_region_read(r->client, BAR, 0, &value, sizeof(value));
	if (!err && value != GUEST_VALUE)
		err = bench_why(run, -EIO, "the register has 0x%x", value);
	return err;
}

const struct bench_case bench_qemu_cases[] = {
	{
		.name = "qemu.remote.load",
		.what = "guest load, exit, answered by an unmodified QEMU as x-remote",
		.rivals = { "rmio.exit.load.device", "socket.load", "kvm.exit.load" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_KVM | BENCH_FIXED,
		.setup = load_setup,
		.slice = remote_slice,
		.teardown = remote_teardown,
	}, {
		.name = "qemu.remote.store",
		.what = "guest store, exit, taken by an unmodified QEMU as x-remote",
		.rivals = { "rmio.exit.store.posted", "socket.store", "kvm.exit.store" },
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_WAIT(BENCH_SLEEP),
		.flags = BENCH_KVM | BENCH_FIXED,
		.setup = store_setup,
		.slice = remote_slice,
		.teardown = remote_teardown,
	},
	{ 0 },
};
