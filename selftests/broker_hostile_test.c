// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Clients of `rmio bpfd` that want more than it is for.
 */
#include "broker.h"
#include "privileges.h"
#include "run_rmio.h"
#include "vmm/kvm.h"

#include <linux/bpf.h>
#include <linux/kvm.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define DEVICE		0xe0000000u
#define STORES		100u
#define MARKER		0xe0
#define KEPT_MAX	64
#define MIB		(1u << 20)

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

/* The kernel frees what was given back some time later. */
static int ask_load_again(int fd, int *fds)
{
	int err = ask_load(fd, fds), i;

	for (i = 0; i < 2000 && err == -EDQUOT; i++) {
		usleep(10000);
		err = ask_load(fd, fds);
	}
	return err;
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

/* -- more than one's share ---------------------------------------------------------------- */

/* Connections that end, of which a descriptor is kept: how many come about. */
static int keep_links(int *kept)
{
	int fds[RMIO_BPF_FDS], fd, n, err = 0;

	for (n = 0; n < KEPT_MAX && !err; n++) {
		fd = connect_broker();
		err = ask_load(fd, fds);
		close(fd);
		if (err)
			break;
		kept[n] = fcntl(fds[RMIO_BPF_FD_LINK], F_DUPFD_CLOEXEC, 0);
		close_all(fds, RMIO_BPF_FDS);
	}
	return n;
}

static void keep_programs(void *arg)
{
	int kept[KEPT_MAX], fds[RMIO_BPF_FDS], n, fd;

	T_REQUIRE(drop_privileges());
	n = keep_links(kept);
	ktap_diag("%d programs stay attached", n);
	T_LE(n, 16);
	T_GT(n, 1);
	/* Given back, they are for the asking again. */
	close_all(kept, n);
	fd = connect_broker();
	if (T_EQ(ask_load_again(fd, fds), 0))
		close_all(fds, RMIO_BPF_FDS);
	close(fd);
}

static void programs(void)
{
	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up("--quiet", NULL));
	in_child(keep_programs, NULL);
	broker_down();
}

/* Arrays of one MiB, each of another connection of which nothing else is left. */
static int keep_arrays(int *kept)
{
	int fds[RMIO_BPF_FDS], fd, n, err = 0;

	for (n = 0; n < KEPT_MAX && !err; n++) {
		fd = connect_broker();
		err = ask_load_again(fd, fds);
		if (!T_EQ(err, 0))
			break;
		close_all(fds, RMIO_BPF_FDS);
		err = ask(fd, RMIO_BROKER_IMAGE, 0, 0, MIB, &kept[n], 1);
		close(fd);
		if (err)
			break;
	}
	T_EQ(err, -EDQUOT);
	return n;
}

static void keep_memory(void *arg)
{
	int kept[KEPT_MAX], fds[RMIO_BPF_FDS], n, fd, i;

	T_REQUIRE(drop_privileges());
	n = keep_arrays(kept);
	T_EQ(n, 16);
	close_all(kept, n);
	/* What is given back is not used up, for a VMM that goes on either. */
	fd = connect_broker();
	T_REQUIRE(T_EQ(ask_load_again(fd, fds), 0));
	for (i = 0; i < 20; i++) {
		T_REQUIRE(T_EQ(ask(fd, RMIO_BROKER_IMAGE, 0, 0, MIB, kept, 1), 0));
		T_EQ(ask(fd, RMIO_BROKER_IMAGE, 0, 0, MIB, kept + 1, 1), -EDQUOT);
		close(kept[0]);
	}
	close_all(fds, RMIO_BPF_FDS);
	close(fd);
}

static void memory(void)
{
	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up("--max-mib", "1"));
	in_child(keep_memory, NULL);
	broker_down();
}

/* -- other processes ------------------------------------------------------------------------ */

/* mov $DEVICE,%ebx; mov $STORES,%eax; again: mov %eax,(%rbx); dec %eax; jnz again; out; hlt */
static const uint8_t guest[] = {
	0xbb, 0x00, 0x00, 0x00, 0xe0, 0xb8, STORES, 0x00, 0x00, 0x00,
	0x89, 0x03, 0xff, 0xc8, 0x75, 0xfa, 0xe6, MARKER, 0xf4,
};

/* A VM that has nothing to do with rmio.  All its stores exit, and nobody signals it. */
static void bystander(void)
{
	struct vmm_vm_opts o = { .sz = sizeof(o), .memory = VMM_MEMORY_MIN, .vcpus = 1 };
	unsigned int exits = 0, signals = 0;
	struct vmm_err why = { 0 };
	struct vmm_vcpu *cpu;
	struct vmm_vm *vm;
	int rc;

	T_REQUIRE(T_EQ(vmm_vm_new(&o, &vm, &why), 0));
	T_REQUIRE(T_EQ(vmm_vm_load(vm, guest, sizeof(guest), &why), 0));
	cpu = &vm->vcpus[0];
	vmm_vcpu_enter(cpu);
	for (;;) {
		rc = vmm_vcpu_run(cpu);
		signals += rc == -EINTR;
		if (rc != -EINTR && (rc || cpu->run->exit_reason != KVM_EXIT_MMIO))
			break;
		exits += !rc;
	}
	vmm_vcpu_leave(cpu);
	T_EQ(cpu->run->exit_reason, KVM_EXIT_IO);
	T_EQ(exits, STORES);
	T_EQ(signals, 0);
	vmm_vm_free(vm);
}

/* A process that gets the number of one that has ended. */
static pid_t fork_as(pid_t pid)
{
	struct clone_args a = {
		.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1,
	};

	return (pid_t)syscall(SYS_clone3, &a, sizeof(a));
}

struct heir {
	bool load_first;	/* before the process that connected ends */
	int up[2], down[2];	/* pipes to its child and from it */
};

/* What a VMM puts where KVM takes a store, for the library as for this one. */
static void look_for_stores(const int *fds)
{
	struct rmio_bpf_reg_key key = { .gpa = DEVICE, .len = 4 };
	struct rmio_bpf_reg to = { 0 };
	union bpf_attr a;

	memset(&a, 0, sizeof(a));
	a.map_fd = (uint32_t)fds[RMIO_BPF_FD_REGS];
	a.key = (uintptr_t)&key;
	a.value = (uintptr_t)&to;
	T_EQ(syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &a, sizeof(a)), 0);
}

static bool noted(const int *fds, pid_t thread)
{
	struct rmio_bpf_stray_key key = { .tid = (uint32_t)thread };
	struct rmio_bpf_stray note;
	union bpf_attr a;

	memset(&a, 0, sizeof(a));
	a.map_fd = (uint32_t)fds[RMIO_BPF_FD_STRAYS];
	a.key = (uintptr_t)&key;
	a.value = (uintptr_t)&note;
	return !syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &a, sizeof(a));
}

/* Goes on with the connection of a process that has ended, when another has its number. */
static void inherit(const struct heir *h, int fd, int *fds, pid_t number)
{
	bool has = h->load_first;
	char c;

	if (has)
		look_for_stores(fds);
	T_EQ(read(h->down[0], &c, 1), 1);
	if (!has) {
		has = !ask_load(fd, fds);
		T_OK(!has);
		if (has)
			look_for_stores(fds);
	}
	T_EQ(write(h->up[1], "", 1), 1);
	T_EQ(read(h->down[0], &c, 1), 1);
	if (has)
		T_OK(!noted(fds, number));
	c = (char)ktap_failed();
	T_EQ(write(h->up[1], &c, 1), 1);
}

static void connect_and_end(const struct heir *h)
{
	int fds[RMIO_BPF_FDS], fd;
	pid_t pid = getpid();

	T_REQUIRE(drop_privileges());
	fd = connect_broker();
	if (h->load_first)
		T_REQUIRE(T_EQ(ask_load(fd, fds), 0));
	if (!fork()) {
		inherit(h, fd, fds, pid);
		_exit(0);
	}
}

static void number_again(bool load_first)
{
	struct heir h = { .load_first = load_first };
	int status = -1;
	pid_t pid, got;
	char c = 1;

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(T_EQ(pipe(h.up), 0) && T_EQ(pipe(h.down), 0));
	T_REQUIRE(broker_up("--quiet", NULL));
	if (!load_first)
		T_EQ(kill(broker.pid, SIGSTOP), 0);
	pid = fork();
	if (!pid) {
		connect_and_end(&h);
		_exit(ktap_failed());
	}
	waitpid(pid, &status, 0);
	T_REQUIRE(T_EQ(status, 0));
	got = fork_as(pid);
	if (!got) {
		T_EQ(kill(broker.pid, SIGCONT), 0);
		T_EQ(write(h.down[1], "", 1), 1);
		T_EQ(read(h.up[0], &c, 1), 1);
		bystander();
		_exit(ktap_failed());
	}
	T_REQUIRE(T_EQ(got, pid));
	waitpid(got, &status, 0);
	T_EQ(status, 0);
	T_EQ(write(h.down[1], "", 1), 1);
	T_EQ(read(h.up[0], &c, 1), 1);
	T_EQ(c, 0);
	broker_down();
}

static void number_after(void)
{
	number_again(true);
}

static void number_before(void)
{
	number_again(false);
}

/* There the number of its peer is not what the program sees: nor is it to be guessed. */
static void in_namespace(void *arg)
{
	const char *args[] = { "bpfd", "--socket", path, NULL };
	int kind = *(int *)arg;
	FILE *f;

	T_REQUIRE(T_EQ(unshare(kind), 0));
	if (kind == CLONE_NEWTIME) {
		f = fopen("/proc/self/timens_offsets", "we");
		T_REQUIRE(f && T_GT(fprintf(f, "boottime 1000 0\n"), 0));
		T_EQ(fclose(f), 0);
	}
	T_EQ(rmio_run(&broker, args), 1);
	T_SAYS(broker.err, "namespace");
	T_NE(access(path, F_OK), 0);
}

static void namespaces(void)
{
	int kinds[] = { CLONE_NEWPID, CLONE_NEWTIME };
	size_t i;

	NEEDS_ROOT_AND_KVM();
	snprintf(path, sizeof(path), "/tmp/rmio-bpfdh-%d", getpid());
	for (i = 0; i < KTAP_COUNT(kinds); i++)
		in_child(in_namespace, &kinds[i]);
}

static const struct ktap_test tests[] = {
	{ "what is handed over cannot be attached elsewhere", elsewhere, 60 },
	{ "programs kept by connections that ended", programs, 120 },
	{ "memory kept by connections that ended", memory, 120 },
	{ "another process gets its number after LOAD", number_after, 60 },
	{ "another process gets its number before LOAD", number_before, 60 },
	{ "a broker in a namespace", namespaces, 60 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
