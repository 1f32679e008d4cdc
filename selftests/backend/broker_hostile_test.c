// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Clients of `rmio bpfd` that want more than it is for.
 */
#include "backend/bpf/broker.h"
#include "privileges.h"
#include "run_rmio.h"
#include "wire/scm.h"
#include "vmm/kvm.h"

#include <dirent.h>
#include <linux/bpf.h>
#include <linux/kvm.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define DEVICE		0xe0000000u
#define STORES		100u
#define MARKER		0xe0
#define KEPT_MAX	64
#define MIB		(1u << 20)
#define MANY		256
#define CLIENTS		6
#define USERS		9

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

/* -- what runs out, and who goes ------------------------------------------------------------ */

static int broker_fds(void)
{
	char dir[64];
	int n = 0;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)broker.pid);
	d = opendir(dir);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n - 2;	/* . and .. */
}

/*
 * When it serves nobody.  It looks at all its connections in turn: between two answers to
 * one of them, it has seen what the others had before.
 */
static int at_rest(void)
{
	int fd = connect_broker(), n;

	T_EQ(ask(fd, 9, 0, 0, 0, NULL, 0), -EOPNOTSUPP);
	T_EQ(ask(fd, 9, 0, 0, 0, NULL, 0), -EOPNOTSUPP);
	n = broker_fds() - 1;
	close(fd);
	return n;
}

static void limit_broker(int what, rlim_t n)
{
	struct rlimit r = { .rlim_cur = n, .rlim_max = RLIM_INFINITY };

	if (what == RLIMIT_NOFILE)
		r.rlim_max = MANY;
	T_EQ(prlimit(broker.pid, what, &r, NULL), 0);
}

/* As a VMM does, to the end or to the first refusal. */
static int use(void)
{
	int fds[RMIO_BPF_FDS], more[3], fd, err;

	fd = connect_broker();
	err = ask_load(fd, fds);
	if (err) {
		close(fd);
		return err;
	}
	err = ask(fd, RMIO_BROKER_DEVICE, 1, 64, 0, more, 3);
	if (!err) {
		close_all(more, 3);
		err = ask(fd, RMIO_BROKER_IMAGE, 0, 0, MIB, more, 1);
	}
	if (!err)
		close(more[0]);
	close_all(fds, RMIO_BPF_FDS);
	close(fd);
	return err;
}

/* It closes what a client had when it sees that he has gone. */
static bool broker_has(int fds)
{
	int i;

	for (i = 0; i < 1000 && broker_fds() != fds; i++)
		usleep(10000);
	return T_EQ(broker_fds(), fds);
}

/* Of those who want to be let in, how many are told that they are not. */
static int turned_away(const int *fds, int n)
{
	struct pollfd p = { .events = POLLIN };
	int i, away = 0;
	char c;

	for (i = 0; i < n; i++) {
		p.fd = fds[i];
		away += poll(&p, 1, 30000) == 1 && recv(fds[i], &c, 1, 0) <= 0;
	}
	return away;
}

static void descriptors(void)
{
	int fd[CLIENTS], base, i, n, refused = 0;

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up("--quiet", NULL));
	T_EQ(use(), 0);
	base = at_rest();
	for (n = base; n < MANY; n++) {
		limit_broker(RLIMIT_NOFILE, (rlim_t)n);
		if (!use())
			break;
		refused++;
		if (!broker_has(base))
			break;
	}
	ktap_diag("refused %d times, at last with %d descriptors", refused, n - 1);
	T_GT(refused, RMIO_BPF_FDS);
	T_LT(n, MANY);
	T_REQUIRE(broker_has(base));
	/* Room for two, or for one and a look into /proc; nobody waits for more. */
	limit_broker(RLIMIT_NOFILE, (rlim_t)base + 3);
	for (i = 0; i < CLIENTS; i++)
		fd[i] = connect_broker();
	T_EQ(turned_away(fd + 3, CLIENTS - 3), CLIENTS - 3);
	T_EQ(ask(fd[0], 9, 0, 0, 0, NULL, 0), -EOPNOTSUPP);
	close_all(fd, CLIENTS);
	limit_broker(RLIMIT_NOFILE, MANY);
	T_EQ(use(), 0);
	T_EQ(at_rest(), base);
	broker_down();
}

static void addresses(void)
{
	unsigned long pages = 0;
	char file[64];
	int base, i, refused = 0;
	FILE *f;

	if (KTAP_SLOWDOWN > 1)
		T_SKIP("a sanitizer needs all of the address space", "run the plain build");
	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up("--quiet", NULL));
	T_EQ(use(), 0);
	base = at_rest();
	snprintf(file, sizeof(file), "/proc/%d/statm", (int)broker.pid);
	f = fopen(file, "re");
	T_REQUIRE(f && T_EQ(fscanf(f, "%lu", &pages), 1));
	fclose(f);
	for (i = 0; i < 200; i++) {
		limit_broker(RLIMIT_AS, pages * 4096 + (rlim_t)i * (MIB / 4));
		if (!use())
			break;
		refused++;
	}
	ktap_diag("refused %d times", refused);
	T_LT(i, 200);
	T_GT(refused, 0);
	T_EQ(at_rest(), base);
	broker_down();
}

/* Where a client is when it is killed. */
enum step {
	CONNECTED, HALF_SENT, LOAD_SENT, LOADED, DEVICE_SENT, HAS_DEVICE, IMAGE_SENT, HAS_IMAGE,
	STEPS,
};

static void send_only(int fd, uint16_t type, uint32_t a, uint32_t b, uint64_t size)
{
	struct rmio_broker_request r = {
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION,
		.type = type, .a = a, .b = b, .size = size,
	};

	T_EQ(send(fd, &r, sizeof(r), 0), sizeof(r));
}

static void send_with(int fd, int passed)
{
	struct rmio_broker_request r = {
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION, .type = RMIO_BROKER_LOAD,
		.a = 1, .b = (uint32_t)SIGRTMIN,
	};
	struct iovec iov = { .iov_base = &r, .iov_len = sizeof(r) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	RMIO_SCM_ROOM(1) room;

	rmio_scm_put(&m, &room, &passed, 1);
	T_EQ(sendmsg(fd, &m, 0), sizeof(r));
}

/* Number of the attached program. */
static uint32_t program_of(int link)
{
	struct bpf_link_info info = { 0 };
	union bpf_attr a;

	memset(&a, 0, sizeof(a));
	a.info.bpf_fd = (uint32_t)link;
	a.info.info_len = sizeof(info);
	a.info.info = (uintptr_t)&info;
	T_EQ(syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &a, sizeof(a)), 0);
	return info.prog_id;
}

static bool is_loaded(uint32_t program)
{
	union bpf_attr a;
	int fd;

	memset(&a, 0, sizeof(a));
	a.prog_id = program;
	fd = (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &a, sizeof(a));
	if (fd >= 0)
		close(fd);
	return fd >= 0 || errno != ENOENT;
}

/* Goes as far as @step and says so; where it waits for an answer the broker is stopped first. */
static void go_to(enum step step, int to)
{
	int fds[RMIO_BPF_FDS], more[3], fd = connect_broker();
	uint32_t program = 0;

	if (step == HALF_SENT)
		T_EQ(send(fd, "half of it", 10, 0), 10);
	if (step == LOAD_SENT) {
		kill(broker.pid, SIGSTOP);
		send_only(fd, RMIO_BROKER_LOAD, 1, (uint32_t)SIGRTMIN, 0);
	}
	if (step >= LOADED) {
		T_EQ(ask_load(fd, fds), 0);
		program = program_of(fds[RMIO_BPF_FD_LINK]);
	}
	if (step == DEVICE_SENT) {
		kill(broker.pid, SIGSTOP);
		send_only(fd, RMIO_BROKER_DEVICE, 1, 64, 0);
	}
	if (step >= HAS_DEVICE)
		T_EQ(ask(fd, RMIO_BROKER_DEVICE, 1, 64, 0, more, 3), 0);
	if (step == IMAGE_SENT) {
		kill(broker.pid, SIGSTOP);
		send_only(fd, RMIO_BROKER_IMAGE, 0, 0, MIB);
	}
	if (step >= HAS_IMAGE)
		T_EQ(ask(fd, RMIO_BROKER_IMAGE, 0, 0, MIB, more, 1), 0);
	if (ktap_failed() || write(to, &program, sizeof(program)) != sizeof(program))
		_exit(1);
	for (;;)
		pause();
}

static void killed_at(enum step step, int base)
{
	uint32_t program = 0;
	int p[2], status, i;
	pid_t pid;

	T_REQUIRE(T_EQ(pipe(p), 0));
	pid = fork();
	if (!pid)
		go_to(step, p[1]);
	close(p[1]);
	T_EQ(read(p[0], &program, sizeof(program)), sizeof(program));
	close(p[0]);
	kill(pid, SIGKILL);
	T_EQ(waitpid(pid, &status, 0), pid);
	kill(broker.pid, SIGCONT);
	T_EQ(WTERMSIG(status), SIGKILL);
	T_EQ(at_rest(), base);
	for (i = 0; program && i < 1000 && is_loaded(program); i++)
		usleep(10000);
	if (!T_OK(!program || !is_loaded(program)))
		ktap_diag("step %d", step);
}

static void killed(void)
{
	int base, step;

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up("--quiet", NULL));
	T_EQ(use(), 0);
	base = at_rest();
	for (step = 0; step < STEPS; step++)
		killed_at(step, base);
	T_EQ(use(), 0);
	broker_down();
}

/* Its requests are one after the other: what is sent with answers unread ends it. */
static void unread(void)
{
	int fds[RMIO_BPF_FDS], fd;
	struct rmio_broker_answer a;

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up("--quiet", NULL));
	fd = connect_broker();
	T_EQ(ask_load(fd, fds), 0);
	kill(broker.pid, SIGSTOP);
	send_only(fd, RMIO_BROKER_IMAGE, 0, 0, MIB);
	send_only(fd, RMIO_BROKER_IMAGE, 0, 0, MIB);
	kill(broker.pid, SIGCONT);
	/* It has seen both when it answers who comes now. */
	at_rest();
	T_EQ(recv(fd, &a, sizeof(a), 0), sizeof(a));
	T_LE(recv(fd, &a, sizeof(a), 0), 0);
	close_all(fds, RMIO_BPF_FDS);
	close(fd);

	/* Nor are descriptors, of which it wants none. */
	fd = connect_broker();
	send_with(fd, STDIN_FILENO);
	T_LE(recv(fd, &a, sizeof(a), 0), 0);
	close(fd);
	T_EQ(use(), 0);
	broker_down();
}

static int keep_connections(void)
{
	int n = 0;

	while (ask(connect_broker(), 9, 0, 0, 0, NULL, 0) == -EOPNOTSUPP)
		n++;
	return n;
}

/* Keeps as much as it gets, and says how much that is. */
static void crowd(uid_t uid, bool programs, int to)
{
	int kept[KEPT_MAX], n;

	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(uid, uid, uid))
		_exit(1);
	n = programs ? keep_links(kept) : keep_connections();
	if (write(to, &n, sizeof(n)) != sizeof(n))
		_exit(1);
	for (;;)
		pause();
}

/* Users enough to take all there is: root comes in all the same. */
static void crowded(bool programs, int most)
{
	int p[2], fds[RMIO_BPF_FDS], i, n, all = 0, fd;
	pid_t pid[USERS];

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up("--quiet", NULL));
	T_REQUIRE(T_EQ(pipe(p), 0));
	for (i = 0; i < USERS; i++) {
		pid[i] = fork();
		if (!pid[i])
			crowd(NOBODY - 1 - (uid_t)i, programs, p[1]);
		T_EQ(read(p[0], &n, sizeof(n)), sizeof(n));
		all += n;
	}
	T_EQ(all, most);
	fd = connect_broker();
	if (T_EQ(ask_load(fd, fds), 0))
		close_all(fds, RMIO_BPF_FDS);
	close(fd);
	for (i = 0; i < USERS; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
	broker_down();
}

static void crowd_of_connections(void)
{
	crowded(false, 112);
}

static void crowd_of_programs(void)
{
	if (ktap_level() == KTAP_QUICK)
		T_SKIP("loads 130 programs", "without --quick");
	crowded(true, 128);
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
	{ "a broker without descriptors", descriptors, 120 },
	{ "a broker without address space", addresses, 120 },
	{ "a client is killed at each step", killed, 120 },
	{ "requests that come too early", unread, 60 },
	{ "more users than there is room for", crowd_of_connections, 60 },
	{ "more users than there may be programs for", crowd_of_programs, 120 },
	{ "another process gets its number after LOAD", number_after, 60 },
	{ "another process gets its number before LOAD", number_before, 60 },
	{ "a broker in a namespace", namespaces, 60 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
