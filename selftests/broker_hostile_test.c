// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Clients of `rmio bpfd` that want more than it is for.
 */
#include "broker.h"
#include "privileges.h"
#include "run_rmio.h"

#include <linux/bpf.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static char path[64];
static struct rmio_run broker;

static int connect_broker(void)
{
	int i, fd = -1;

	for (i = 0; i < 10000 && fd < 0; i++) {
		fd = rmio_broker_connect(path);
		if (fd < 0)
			usleep(1000);
	}
	T_GE(fd, 0);
	return fd;
}

static bool broker_up(const char *a, const char *b)
{
	const char *args[] = { "bpfd", "--socket", path, "--group", "nogroup", a, b, NULL };
	int fd;

	snprintf(path, sizeof(path), "/tmp/rmio-bpfdh-%d", getpid());
	if (!rmio_start(&broker, args))
		return false;
	fd = connect_broker();
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void broker_down(void)
{
	kill(broker.pid, SIGTERM);
	T_EQ(rmio_finish(&broker), 0);
	T_NE(access(path, F_OK), 0);
}

static int ask(int fd, uint16_t type, uint32_t a, uint32_t b, uint64_t size, int *fds, uint32_t n)
{
	struct rmio_broker_request r = { .type = type, .a = a, .b = b, .size = size };
	struct rmio_broker_answer answer;

	return rmio_broker_ask(fd, &r, &answer, fds, n);
}

static int ask_load(int fd, int *fds)
{
	return ask(fd, RMIO_BROKER_LOAD, 1, (uint32_t)SIGRTMIN, 0, fds, RMIO_BPF_FDS);
}

static void close_all(int *fds, int n)
{
	while (n-- > 0)
		close(fds[n]);
}

/* -- elsewhere -------------------------------------------------------------------------- */

/* No descriptor is a program that its holder could have the kernel run for others. */
static void attach_elsewhere(void *arg)
{
	static const char *const events[] = { "sys_enter", "kvm_mmio", "sched_switch" };
	int fds[RMIO_BPF_FDS], fd, got;
	union bpf_attr a;
	size_t i, k;

	T_REQUIRE(drop_privileges());
	fd = connect_broker();
	T_REQUIRE(T_EQ(ask_load(fd, fds), 0));
	for (i = 0; i < RMIO_BPF_FDS; i++)
		for (k = 0; k < KTAP_COUNT(events); k++) {
			memset(&a, 0, sizeof(a));
			a.raw_tracepoint.name = (uintptr_t)events[k];
			a.raw_tracepoint.prog_fd = (uint32_t)fds[i];
			got = (int)syscall(SYS_bpf, BPF_RAW_TRACEPOINT_OPEN, &a, sizeof(a));
			if (!T_LT(got, 0)) {
				ktap_diag("descriptor %zu is attached to %s", i, events[k]);
				close(got);
			}
		}
	close_all(fds, RMIO_BPF_FDS);
	close(fd);
}

static void elsewhere(void)
{
	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up("--quiet", NULL));
	in_child(attach_elsewhere, NULL);
	broker_down();
}

static const struct ktap_test tests[] = {
	{ "what is handed over cannot be attached elsewhere", elsewhere, 60 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
