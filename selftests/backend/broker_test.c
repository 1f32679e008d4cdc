// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The bpf back end for a VMM without privileges: what it gets from `rmio bpfd`, what
 * others get, and what is left when one of the two dies.  On real KVM.
 */
#include "backend/bpf/broker.h"
#include "privileges.h"
#include "run_rmio.h"
#include "vmm/kvm.h"

#include <linux/bpf.h>
#include <linux/kvm.h>
#include <rmio/slave.h>
#include <rmio/vmm.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define DEVICE		0xe0000000u
#define STORES		3000u
#define MARKER		0xe0

static char path[64];

static bool broker_up(struct rmio_run *r, const char *a, const char *b)
{
	const char *args[] = { "bpfd", "--socket", path, a, b, NULL };
	int i, fd = -1;

	snprintf(path, sizeof(path), "/tmp/rmio-bpfd-%d", getpid());
	if (!rmio_start(r, args))
		return false;
	for (i = 0; i < 10000 && fd < 0; i++) {
		fd = rmio_broker_connect(path);
		if (fd < 0)
			usleep(1000);
	}
	if (!T_GE(fd, 0))
		return false;
	close(fd);
	return true;
}

/* mov $DEVICE,%ebx; mov $STORES,%eax; again: mov %eax,(%rbx); dec %eax; jnz again; out; hlt */
static const uint8_t guest[] = {
	0xbb, 0x00, 0x00, 0x00, 0xe0, 0xb8, STORES & 0xff, STORES >> 8, 0x00, 0x00,
	0x89, 0x03, 0xff, 0xc8, 0x75, 0xfa, 0xe6, MARKER, 0xf4,
};

/* The device, in a thread: takes what comes, in order, until the last value. */
static void *device(void *arg)
{
	struct rmio_slave *s = arg;
	struct rmio_area area = { .length = 4 };
	struct rmio_request reqs[64];
	struct rmio_reply replies[64];
	uint64_t expect = STORES;
	ssize_t n, i;

	T_EQ(rmio_slave_shadow_ctrl(s, &area, 1), 0);
	while (expect) {
		n = rmio_slave_read(s, reqs, 64);
		if (n == -EAGAIN) {
			rmio_slave_poll(s, 100);
			continue;
		}
		if (!T_GT(n, 0))
			break;
		for (i = 0; i < n; i++) {
			replies[i] = (struct rmio_reply){
				.seq = reqs[i].seq,
				.vcpu = reqs[i].vcpu,
			};
			T_EQ(reqs[i].data, expect);
			T_EQ(reqs[i].len, 4);
			T_EQ(reqs[i].offset, 0);
			expect--;
		}
		T_EQ(rmio_slave_write(s, replies, n), n);
	}
	return NULL;
}

struct setup {
	struct vmm_vm *machine;
	struct rmio_vm *vm;
	struct rmio_vcpu *vcpu;
	struct rmio_master *m;
	struct rmio_slave *slave;
};

static int use_broker(struct setup *s)
{
	struct rmio_kvm_opts o = {
		.sz = sizeof(o),
		.vm_fd = s->machine->fd,
		.kick_signal = vmm_kick_signal(),
		.broker = path,
	};

	return rmio_vm_kvm(s->vm, &o);
}

static bool set_up(struct setup *s, bool privileged)
{
	struct vmm_vm_opts machine = {
		.sz = sizeof(machine),
		.memory = VMM_MEMORY_MIN,
		.vcpus = 1,
	};
	struct rmio_master_opts o = { .sz = sizeof(o), .backend = RMIO_BACKEND_BPF };
	struct rmio_vm_opts vm = { .sz = sizeof(vm), .max_vcpus = 1 };
	struct rmio_pa_range range = { .addr = DEVICE, .len = 4096 };
	struct vmm_err why = { 0 };
	const char *lack;
	int fd;

	if (!T_EQ(vmm_vm_new(&machine, &s->machine, &why), 0) ||
	    !T_EQ(vmm_vm_load(s->machine, guest, sizeof(guest), &why), 0))
		return false;
	if (!privileged && !drop_privileges())
		return false;
	if (!T_EQ(rmio_vm_new(&vm, &s->vm), 0) || !T_EQ(use_broker(s), 0)) {
		rmio_vm_backend(s->vm, &lack);
		ktap_diag("%s", lack);
		return false;
	}
	if (!T_EQ(rmio_vcpu_new(s->vm, 0, NULL, &s->vcpu), 0) ||
	    !T_EQ(rmio_master_new(s->vm, &o, &s->m), 0) ||
	    !T_EQ(rmio_master_pa_range(s->m, &range), 0))
		return false;
	fd = rmio_master_slave_fd(s->m);
	return T_GE(fd, 0) && T_EQ(rmio_slave_open(fd, NULL, &s->slave), 0);
}

/* Runs the guest to its end.  How many times KVM_RUN returned for a store. */
static unsigned int run_guest(struct setup *s)
{
	struct vmm_vcpu *cpu = &s->machine->vcpus[0];
	struct kvm_run *run = cpu->run;
	unsigned int exits = 0;
	int rc;

	vmm_vcpu_enter(cpu);
	for (;;) {
		rc = vmm_vcpu_run(cpu);
		if (rc == -EINTR)
			rc = rmio_vcpu_intr(s->vcpu, run);
		else if (!T_EQ(rc, 0) || run->exit_reason != KVM_EXIT_MMIO)
			break;
		else if (exits++ <= STORES)
			rc = rmio_vcpu_exit(s->vcpu, run);
		if (!T_OK(!rc || rc == -EINTR))
			break;
	}
	T_EQ(run->exit_reason, KVM_EXIT_IO);
	vmm_vcpu_leave(cpu);
	return exits;
}

static void drive(struct setup *s)
{
	struct rmio_counters n;
	pthread_t t;
	int i;

	T_EQ(pthread_create(&t, NULL, device, s->slave), 0);
	/* Until the map, and with it the plan, is in force. */
	for (i = 0; i < 2000 && rmio_master_state(s->m) != RMIO_STATE_LIVE; i++)
		usleep(1000);
	usleep(200000);
	T_LT(run_guest(s), STORES / 10);
	T_EQ(pthread_join(t, NULL), 0);
	T_EQ(rmio_master_counters(s->m, -1, &n), 0);
	T_EQ(n.posted, STORES);
	T_EQ(n.discarded, 0);
}

static void tear_down(struct setup *s)
{
	rmio_master_free(s->m);
	rmio_vcpu_free(s->vcpu);
	rmio_slave_free(s->slave);
	rmio_vm_free(s->vm);
	vmm_vm_free(s->machine);
}

/* How many programs and maps of ours the kernel has. */
static int count_objects(void)
{
	union bpf_attr a;
	struct bpf_prog_info info;
	uint32_t id = 0;
	int n = 0, fd;

	for (;;) {
		memset(&a, 0, sizeof(a));
		a.start_id = id;
		if (syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &a, sizeof(a)))
			return n;
		id = a.next_id;
		memset(&a, 0, sizeof(a));
		a.prog_id = id;
		fd = (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &a, sizeof(a));
		if (fd < 0)
			continue;
		memset(&a, 0, sizeof(a));
		memset(&info, 0, sizeof(info));
		a.info.bpf_fd = (uint32_t)fd;
		a.info.info_len = sizeof(info);
		a.info.info = (uintptr_t)&info;
		if (!syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &a, sizeof(a)))
			n += !strcmp(info.name, "rmio_mmio");
		close(fd);
	}
}

/* Fewer: what an earlier test or somebody else had is gone by now. */
static bool settles_at(int n)
{
	int i;

	for (i = 0; i < 500 && count_objects() > n; i++)
		usleep(20000);
	return T_LE(count_objects(), n);
}

static void broker_down(struct rmio_run *r)
{
	int status;

	kill(r->pid, SIGTERM);
	waitpid(r->pid, &status, 0);
	T_EQ(WEXITSTATUS(status), 0);
	T_NE(access(path, F_OK), 0);
}

static void unprivileged_vmm(void *arg)
{
	const struct rmio_run *broker = arg;
	struct setup s = { 0 };

	T_REQUIRE(set_up(&s, false));
	drive(&s);
	tear_down(&s);
	T_OK(kill(broker->pid, SIGTERM) < 0);	/* nobody's process cannot */
}

static void without_privileges(void)
{
	struct rmio_run broker;

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up(&broker, "--group", "nogroup"));
	in_child(unprivileged_vmm, &broker);
	broker_down(&broker);
}

/* A broker without privileges says so, and not to each VMM that comes. */
static void poor_broker(void *arg)
{
	static const int caps[] = { CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON };
	struct rmio_run r;
	int i;

	snprintf(path, sizeof(path), "/tmp/rmio-bpfd-%d", getpid());
	/* Root still, who can reach the program wherever it was built. */
	for (i = 0; i < KTAP_COUNT(caps); i++)
		T_REQUIRE(T_EQ(prctl(PR_CAPBSET_DROP, caps[i], 0, 0, 0), 0));
	T_EQ(rmio_run(&r, (const char *const []){ "bpfd", "--socket", path, NULL }), 1);
	T_SAYS(r.err, "rmio bpfd: loading BPF programs needs CAP_BPF and CAP_PERFMON: start it as");
	T_NE(access(path, F_OK), 0);
}

static void broker_without_privileges(void)
{
	NEEDS_ROOT_AND_KVM();
	in_child(poor_broker, NULL);
}

/* A socket that a killed broker has left is replaced, anything else is left alone. */
static void paths(void)
{
	struct rmio_run r;
	struct stat st;
	int fd;

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up(&r, "--quiet", NULL));
	kill(r.pid, SIGKILL);
	waitpid(r.pid, NULL, 0);
	T_EQ(access(path, F_OK), 0);
	T_REQUIRE(broker_up(&r, "--quiet", NULL));
	broker_down(&r);

	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	T_EQ(rmio_run(&r, (const char *const []){ "bpfd", "--socket", path, NULL }), 1);
	T_SAYS(r.err, "Address already in use; it is not a socket");
	T_OK(!lstat(path, &st) && S_ISREG(st.st_mode));
	unlink(path);
}

/* The broker is killed: what it handed over works on. */
static void broker_dies(void)
{
	struct rmio_run broker;
	struct rmio_master_opts o = { .sz = sizeof(o) };
	struct rmio_master *later;
	struct setup s = { 0 };
	int before;

	NEEDS_ROOT_AND_KVM();
	before = count_objects();
	T_REQUIRE(broker_up(&broker, "--quiet", NULL));
	T_REQUIRE(set_up(&s, true));
	kill(broker.pid, SIGKILL);
	waitpid(broker.pid, NULL, 0);
	drive(&s);
	T_EQ(rmio_master_new(s.vm, &o, &later), 0);
	T_EQ(rmio_master_backend(later), RMIO_BACKEND_EXIT);
	rmio_master_free(later);
	o.backend = RMIO_BACKEND_BPF;
	T_LT(rmio_master_new(s.vm, &o, &later), 0);
	tear_down(&s);
	settles_at(before);
	unlink(path);
}

/* A VMM that is killed leaves nothing, in the kernel or in the broker. */
static void vmm_dies(void)
{
	struct rmio_run broker;
	struct setup s = { 0 };
	int before, status, i;
	pid_t pid;

	NEEDS_ROOT_AND_KVM();
	before = count_objects();
	T_REQUIRE(broker_up(&broker, "--quiet", NULL));
	for (i = 0; i < ktap_pick(3, 8, 40); i++) {
		pid = fork();
		if (!pid) {
			if (set_up(&s, true))
				kill(getpid(), SIGKILL);
			_exit(1);
		}
		waitpid(pid, &status, 0);
		if (!T_OK(WIFSIGNALED(status)))
			break;
	}
	settles_at(before);
	broker_down(&broker);
}

static void stranger(void *arg)
{
	struct setup s = { 0 };
	struct vmm_vm_opts machine = { .sz = sizeof(machine), .memory = VMM_MEMORY_MIN };
	struct vmm_err why = { 0 };
	const char *lack;

	T_REQUIRE(T_EQ(vmm_vm_new(&machine, &s.machine, &why), 0));
	T_REQUIRE(drop_privileges());
	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &s.vm), 0));
	T_LT(use_broker(&s), 0);
	T_EQ(rmio_vm_backend(s.vm, &lack), RMIO_BACKEND_EXIT);
	T_OK(strstr(lack, "broker"));
	rmio_vm_free(s.vm);
	vmm_vm_free(s.machine);
}

static void strangers(void)
{
	struct rmio_run broker;

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up(&broker, "--group", "root"));
	chmod(path, 0666);	/* else the file keeps them out already */
	in_child(stranger, NULL);
	broker_down(&broker);
}

static void bad_requests(void)
{
	static const struct {
		struct rmio_broker_request r;
		int error;
	} cases[] = {
		{ { .type = RMIO_BROKER_DEVICE, .a = 1, .b = 2 }, -EINVAL },	/* before LOAD */
		{ { .type = RMIO_BROKER_IMAGE, .size = 4096 }, -EINVAL },
		{ { .type = RMIO_BROKER_LOAD, .b = 10 }, -EINVAL },
		{ { .type = RMIO_BROKER_LOAD, .a = 5000, .b = 10 }, -EINVAL },
		{ { .type = RMIO_BROKER_LOAD, .a = 1 }, -EINVAL },
		{ { .type = RMIO_BROKER_LOAD, .a = 1, .b = 1000 }, -EINVAL },
		{ { .type = RMIO_BROKER_LOAD, .a = 1, .b = SIGKILL }, -EINVAL },
		{ { .type = 9 }, -EOPNOTSUPP },
		{ { .type = RMIO_BROKER_LOAD, .a = 4, .b = 10 }, 0 },
		{ { .type = RMIO_BROKER_LOAD, .a = 4, .b = 10 }, -EBUSY },
		{ { .type = RMIO_BROKER_DEVICE, .a = 4, .b = 3 }, -EINVAL },
		{ { .type = RMIO_BROKER_DEVICE, .b = 2 }, -EINVAL },
		{ { .type = RMIO_BROKER_DEVICE, .a = 1024, .b = 65536 }, -EDQUOT },
		{ { .type = RMIO_BROKER_IMAGE, .size = 4095 }, -EINVAL },
		{ { .type = RMIO_BROKER_IMAGE, .size = 1ull << 40 }, -EINVAL },
		{ { .type = RMIO_BROKER_IMAGE, .size = 2 << 20 }, -EDQUOT },
		{ { .type = RMIO_BROKER_IMAGE, .size = 4096 }, 0 },
	};
	struct rmio_run broker;
	struct rmio_broker_answer a;
	int fds[RMIO_BPF_FDS], fd, err;
	uint32_t n;
	size_t i;

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(broker_up(&broker, "--max-mib", "1"));
	fd = rmio_broker_connect(path);
	T_REQUIRE(T_GE(fd, 0));
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		n = cases[i].r.type == RMIO_BROKER_LOAD ? RMIO_BPF_FDS :
		    cases[i].r.type == RMIO_BROKER_DEVICE ? 3 : 1;
		err = rmio_broker_ask(fd, &cases[i].r, &a, fds, n);
		if (!T_EQ(err, cases[i].error))
			ktap_diag("case %zu: %s", i, a.why);
		if (err)
			T_OK(a.why[0]);
		while (!err && n)
			close(fds[--n]);
	}
	/* Nonsense ends the connection, and no other one. */
	T_EQ(send(fd, "nonsense", 8, 0), 8);
	T_EQ(recv(fd, &a, sizeof(a), 0), 0);
	close(fd);
	fd = rmio_broker_connect(path);
	T_GE(fd, 0);
	close(fd);
	broker_down(&broker);
}

static const struct ktap_test tests[] = {
	{ "a VMM without privileges", without_privileges },
	{ "a broker without privileges", broker_without_privileges },
	{ "paths of the socket", paths },
	{ "the broker dies", broker_dies },
	{ "VMMs die", vmm_dies, 300 },
	{ "strangers are refused", strangers },
	{ "bad requests", bad_requests },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
