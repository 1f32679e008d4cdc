// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The system calls of the VMM's side, by thread, as rmio_vmm(3) lists them: each thread has a
 * seccomp filter that lets these through and nothing else.  Beside the data path.
 */
#include "null.h"
#include "served.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define BAR	0xe0000000ull
#define C(name)	{ #name, SYS_##name }

struct call {
	const char *name;
	long nr;
};

/* Of a thread while it is in rmio_vcpu_exit, _intr, _enter, _load or _store. */
static const struct call vcpu_calls[] = {
	C(clock_gettime), C(futex), C(futex_waitv), C(getcpu), C(gettid), C(ioctl), C(poll),
	C(restart_syscall), C(rt_sigreturn), C(sched_yield), C(sendmsg), C(sendto), C(shutdown),
	C(write),
};

/* Of the control thread, or of the VMM's own in rmio_vm_dispatch. */
static const struct call control_calls[] = {
	C(brk), C(clock_gettime), C(close), C(epoll_ctl), C(epoll_wait), C(exit), C(fcntl),
	C(ftruncate), C(futex), C(ioctl), C(madvise), C(memfd_create), C(mmap), C(mprotect),
	C(munmap), C(poll), C(prlimit64), C(read), C(recvmsg), C(rseq), C(rt_sigprocmask),
	C(sendmsg), C(sendto), C(set_robust_list), C(shutdown), C(write),
};

/* Of a thread that makes, frees, asks and tells: all other calls, beside those of the above. */
static const struct call other_calls[] = {
	C(clock_nanosleep), C(clone), C(clone3), C(connect), C(epoll_create1), C(eventfd2),
	C(fstat), C(getrandom), C(getsockopt), C(gettid), C(newfstatat), C(ppoll), C(setsockopt),
	C(socket), C(socketpair),
};

/* -- the filter ---------------------------------------------------------------------------- */

static _Atomic long trapped = -1;

/* It fails, and the test with it. */
static void on_trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	atomic_store(&trapped, info->si_syscall);
	uc->uc_mcontext.gregs[REG_RAX] = -EPERM;
}

/* For the calling thread, and those that it makes.  No library call in between: it is in force. */
static bool confine(const struct call *a, size_t na, const struct call *b, size_t nb)
{
	struct sock_filter f[300];
	struct sock_fprog p = { .filter = f };
	size_t i, n = 0;

	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					      offsetof(struct seccomp_data, nr));
	for (i = 0; i < na + nb; i++) {
		const struct call *c = i < na ? &a[i] : &b[i - na];

		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)c->nr,
						      0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	p.len = (unsigned short)n;
	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p);
}

static void check_traps(void)
{
	static const struct { const struct call *c; size_t n; } lists[] = {
		{ vcpu_calls, KTAP_COUNT(vcpu_calls) },
		{ control_calls, KTAP_COUNT(control_calls) },
		{ other_calls, KTAP_COUNT(other_calls) },
	};
	long nr = atomic_load(&trapped);
	size_t i, k;

	for (i = 0; i < KTAP_COUNT(lists) && nr >= 0; i++)
		for (k = 0; k < lists[i].n; k++)
			if (lists[i].c[k].nr == nr)
				ktap_diag("it is %s, of another list", lists[i].c[k].name);
	T_EQ(nr, -1);
}

static bool prepare(void)
{
	struct sigaction sa = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };

	return T_EQ(sigaction(SIGSYS, &sa, NULL), 0);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NEED_PLAIN() T_SKIP("a sanitizer makes system calls of its own", "run it in a plain build")
#else
#define NEED_PLAIN() do { } while (0)
#endif

/* -- the VMM -------------------------------------------------------------------------------- */

struct rig {
	struct devproc d[2];
	struct rmio_vm *vm;
	struct rmio_vcpu *vcpu;
	struct rmio_client *client;
	uint32_t policy;
	atomic_int phase;
	atomic_bool ready, stop;
	int socks[2];
};

static bool devices(struct rig *r)
{
	int i;

	memset(r, 0, sizeof(*r));
	for (i = 0; i < 2; i++)
		if (!devproc_start(&r->d[i], served_main, "null"))
			return false;
	return prepare();
}

/* The later one has the earlier one's socket. */
static void no_devices(struct rig *r)
{
	int i;

	for (i = 2; i-- > 0;)
		devproc_wait(&r->d[i]);
}

static int make_client(struct rig *r, int fd)
{
	struct rmio_client_opts o = {
		.sz = sizeof(o), .vm = r->vm, .flags = RMIO_CLIENT_KEEP,
		.master = { .sz = sizeof(o.master), .ring_slots = 16, .timeout_ns = 300000000 },
	};
	struct rmio_pa_range bar = { .addr = BAR, .len = NULL_BAR_SIZE };
	int err = rmio_client_new(fd, &o, &r->client);

	return err ? err : rmio_master_pa_range(rmio_client_master(r->client), &bar);
}

static uint64_t load(struct rig *r, uint64_t offset)
{
	uint64_t v = 0;
	int err;

	do
		err = rmio_vcpu_load(r->vcpu, RMIO_BUS_MEM, BAR + offset, 4, &v);
	while (err == -EINTR);
	return err ? 0x12345678 : v;
}

/* -- a vCPU ----------------------------------------------------------------------------------- */

static void *vcpu_main(void *arg)
{
	struct rig *r = arg;
	int i, good = 0;

	if (!confine(vcpu_calls, KTAP_COUNT(vcpu_calls), NULL, 0))
		return NULL;
	for (i = 0; i < 300; i++) {
		rmio_vcpu_store(r->vcpu, RMIO_BUS_MEM, BAR + NULL_DOORBELL, 4, 1);
		rmio_vcpu_store(r->vcpu, RMIO_BUS_MEM, BAR + NULL_SYNC, 4, 1);
		good += load(r, NULL_MAGIC) == NULL_MAGIC_VALUE;
		good += load(r, NULL_SHADOW) == 0;
	}
	atomic_store(&r->phase, good == 600 ? 1 : -1);
	/* Parked, kicked; then stopped, and dead. */
	while (atomic_load(&r->phase) < 2)
		good = load(r, NULL_MAGIC) == NULL_MAGIC_VALUE;
	while (load(r, NULL_MAGIC) != 0xffffffff)
		;
	/* The end of a thread is the C library's affair: it stays until the process is over. */
	atomic_store(&r->phase, 3);
	for (;;)
		sched_yield();
}

static void a_vcpu(uint32_t policy)
{
	struct rmio_wait_opts wait = { .sz = sizeof(wait), .policy = policy };
	static struct rig r;
	pthread_attr_t attr;
	pthread_t t;
	int i;

	NEED_PLAIN();
	T_REQUIRE(devices(&r));
	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &r.vm), 0) &&
		  T_EQ(rmio_vcpu_new(r.vm, 0, &wait, &r.vcpu), 0));
	T_REQUIRE(T_EQ(make_client(&r, served_connect(&r.d[0])), 0));
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	T_REQUIRE(T_EQ(pthread_create(&t, &attr, vcpu_main, &r), 0));
	while (!atomic_load(&r.phase))
		usleep(1000);
	T_EQ(atomic_load(&r.phase), 1);
	T_EQ(rmio_vm_quiesce(r.vm, 0, NULL), 0);
	usleep(10000);
	for (i = 0; i < 5; i++) {
		rmio_vcpu_kick(r.vcpu);
		usleep(1000);
	}
	T_EQ(rmio_vm_resume(r.vm), 0);
	served_stop(&r.d[0]);
	atomic_store(&r.phase, 2);
	while (atomic_load(&r.phase) != 3)
		usleep(1000);
	served_continue(&r.d[0]);
	check_traps();
	rmio_client_free(r.client);
	rmio_vcpu_free(r.vcpu);
	rmio_vm_free(r.vm);
	no_devices(&r);
}

static void vcpu_sleeping(void)
{
	a_vcpu(RMIO_WAIT_SLEEP);
}

static void vcpu_polling(void)
{
	a_vcpu(RMIO_WAIT_POLL);
}

static void vcpu_adaptive(void)
{
	a_vcpu(RMIO_WAIT_ADAPTIVE);
}

/* -- the thread that serves slaves ------------------------------------------------------------ */

static void *control_main(void *arg)
{
	struct rig *r = arg;

	if (!confine(control_calls, KTAP_COUNT(control_calls), NULL, 0))
		return NULL;
	atomic_store(&r->ready, true);
	while (!atomic_load(&r->stop))
		rmio_vm_dispatch(r->vm, 20);
	return NULL;
}

static void a_control_thread(void)
{
	struct rmio_vm_opts vo = { .sz = sizeof(vo), .flags = RMIO_VM_MANUAL };
	struct rmio_counters c = { 0 };
	struct rig r;
	pthread_t t;
	int i;

	NEED_PLAIN();
	T_REQUIRE(devices(&r));
	T_REQUIRE(T_EQ(rmio_vm_new(&vo, &r.vm), 0) &&
		  T_EQ(rmio_vcpu_new(r.vm, 0, NULL, &r.vcpu), 0));
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, control_main, &r), 0));
	while (!atomic_load(&r.ready))
		usleep(1000);
	T_REQUIRE(T_EQ(make_client(&r, served_connect(&r.d[0])), 0));
	/* The image and the map have come, by that thread. */
	for (i = 0; i < 5000 && !c.shadow; i++) {
		T_EQ(load(&r, NULL_SHADOW), 0);
		T_EQ(rmio_master_counters(rmio_client_master(r.client), -1, &c), 0);
	}
	T_GT(c.shadow, 0);
	devproc_kill(&r.d[0]);
	while (rmio_master_state(rmio_client_master(r.client)) != RMIO_STATE_CLOSED)
		usleep(1000);
	T_EQ(rmio_client_reconnect(r.client, served_connect(&r.d[1])), 0);
	T_EQ(load(&r, NULL_MAGIC), NULL_MAGIC_VALUE);
	atomic_store(&r.stop, true);
	pthread_join(t, NULL);
	check_traps();
	rmio_client_free(r.client);
	rmio_vcpu_free(r.vcpu);
	rmio_vm_free(r.vm);
	no_devices(&r);
}

/* -- everything else, with a control thread of the library's ------------------------------- */

static void *other_main(void *arg)
{
	struct rmio_vm_opts vo = { .sz = sizeof(vo) };
	struct rig *r = arg;
	struct rmio_region_info info;
	struct rmio_counters c;
	uint32_t a, b, n;
	int efd, mem, err;

	if (!confine(control_calls, KTAP_COUNT(control_calls), other_calls,
		     KTAP_COUNT(other_calls)))
		return NULL;
	efd = eventfd(0, EFD_CLOEXEC);
	mem = memfd_create("ram", MFD_CLOEXEC);
	err = ftruncate(mem, 0x10000);
	err = err ? err : rmio_vm_new(&vo, &r->vm);
	err = err ? err : rmio_vcpu_new(r->vm, 0, NULL, &r->vcpu);
	err = err ? err : make_client(r, r->socks[0]);
	err = err ? err : rmio_client_device_info(r->client, &a, &b, &n);
	err = err ? err : rmio_client_region_info(r->client, 0, &info);
	err = err ? err : rmio_client_irq_info(r->client, 0, &a, &n);
	err = err ? err : rmio_client_dma_map(r->client, 0, 0x10000, mem, 0, PROT_READ);
	err = err ? err : rmio_client_set_irqs(r->client, VFIO_PCI_MSI_IRQ_INDEX,
					       VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &efd);
	err = err ? err : rmio_client_region_write(r->client, VFIO_PCI_CONFIG_REGION_INDEX, 4, "\6",
						   1);
	err = err ? err : rmio_vm_quiesce(r->vm, 0, NULL);
	err = err ? err : rmio_vm_resume(r->vm);
	err = err ? err : rmio_client_reset(r->client);
	err = err ? err : rmio_client_reconnect(r->client, r->socks[1]);
	err = err ? err : rmio_master_counters(rmio_client_master(r->client), -1, &c);
	err = err ? err : rmio_client_dma_unmap(r->client, 0, 0x10000);
	rmio_client_free(r->client);
	rmio_vcpu_free(r->vcpu);
	rmio_vm_free(r->vm);
	close(mem);
	close(efd);
	atomic_store(&r->phase, err ? err : 1);
	return NULL;
}

static void all_other_calls(void)
{
	struct rig r;
	pthread_t t;

	NEED_PLAIN();
	T_REQUIRE(devices(&r));
	r.socks[0] = served_connect(&r.d[0]);
	r.socks[1] = served_connect(&r.d[1]);
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, other_main, &r), 0));
	pthread_join(t, NULL);
	T_EQ(atomic_load(&r.phase), 1);
	check_traps();
	no_devices(&r);
}

/* -- the manual ----------------------------------------------------------------------------- */

static bool named_in(const char *text, const struct call *c, size_t n)
{
	char word[64];
	size_t i;

	for (i = 0; i < n; i++) {
		snprintf(word, sizeof(word), "%s", c[i].name);
		if (!T_OK(strstr(text, word)))
			ktap_diag("not in the manual: %s", c[i].name);
	}
	return true;
}

static void manual(void)
{
	const char *path = getenv("RMIO_MAN");
	static char text[1 << 20], name[4096];
	char *vcpu, *control, *other;
	FILE *f;
	size_t n;

	if (!path)
		T_SKIP("RMIO_MAN is not set", "run it by meson test");
	snprintf(name, sizeof(name), "%s/rmio_vmm.3", path);
	f = fopen(name, "r");
	T_REQUIRE(T_OK(f));
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	fclose(f);
	vcpu = strstr(text, ".\\\" system calls: vcpu");
	control = vcpu ? strstr(vcpu, ".\\\" system calls: control") : NULL;
	other = control ? strstr(control, ".\\\" system calls: other") : NULL;
	T_REQUIRE(T_OK(vcpu && control && other));
	control[-1] = 0;
	other[-1] = 0;
	named_in(vcpu, vcpu_calls, KTAP_COUNT(vcpu_calls));
	named_in(control, control_calls, KTAP_COUNT(control_calls));
	named_in(other, other_calls, KTAP_COUNT(other_calls));
}

static const struct ktap_test tests[] = {
	{ "a vCPU, sleeping", vcpu_sleeping },
	{ "a vCPU, polling", vcpu_polling },
	{ "a vCPU, adaptive", vcpu_adaptive },
	{ "the control thread", a_control_thread },
	{ "all other calls", all_other_calls },
	{ "the manual has the lists", manual },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
