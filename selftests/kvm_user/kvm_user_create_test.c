// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: how it comes to be.  KVM_CREATE_DEVICE, its slave when there is no descriptor
 * to be had, KVM's device attributes, of which it has none, and processes of 32 bits.
 */
#include "kvm_user_calls.h"

#include <sys/resource.h>
#include <sys/wait.h>

static void answers(void)
{
	w.reg[0x10] = 0x41;
	g_begin(0);
	g_load(0, DEVICE + 0x10, 1);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x41);
	T_EQ(w.vcpu[0].exits, 0);
}

/* The descriptor that would be next. */
static int next_fd(void)
{
	int fd = dup(0);

	T_GE(fd, 0);
	close(fd);
	return fd;
}

static void create(void)
{
	static const struct call c = { "CREATE_DEVICE", KVM_CREATE_DEVICE, 12 };
	struct kvm_create_device cd = { .type = KVM_DEV_TYPE_USER, .fd = 77,
					.flags = KVM_CREATE_DEVICE_TEST };
	int next, i, fd[20];
	uint8_t buf[64], *page;

	RIG_START();
	rig_serve();
	next = next_fd();
	bad_places(w.vm->fd, &c);
	/* A question: there is such a device, and nothing is made. */
	T_EQ(CALL(w.vm->fd, KVM_CREATE_DEVICE, &cd), 0);
	T_EQ(cd.fd, 77);
	T_EQ(next_fd(), next);
	cd.flags = 0;
	for (i = 1; i < 16; i++) {
		memcpy(buf + i, &cd, sizeof(cd));
		T_EQ(CALL(w.vm->fd, KVM_CREATE_DEVICE, buf + i), 0);
		memcpy(&next, buf + i + 4, 4);
		T_EQ(fcntl(next, F_GETFD), FD_CLOEXEC);
		close(next);
	}
	/* As many as anybody wants, beside each other. */
	for (i = 0; i < KTAP_COUNT(fd); i++) {
		fd[i] = rig_create(w.vm->fd);
		T_GE(fd[i], 0);
	}
	for (i = 0; i < KTAP_COUNT(fd); i++)
		close(fd[i]);
	/* Where the answer cannot be written, the device is there all the same, as any of KVM's. */
	page = mmap(NULL, 0x1000, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(page, &cd, sizeof(cd));
	T_EQ(mprotect(page, 0x1000, PROT_READ), 0);
	next = next_fd();
	T_EQ(CALL(w.vm->fd, KVM_CREATE_DEVICE, page), -EFAULT);
	T_EQ(rig_range_of(next, DEVICE, 4, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(close(next), 0);
	answers();
	rig_stop();
}

/* No descriptor more than there are. */
static void limit_fds(bool limited)
{
	struct rlimit r = { .rlim_cur = limited ? (rlim_t)next_fd() : 1024, .rlim_max = 1024 };

	T_EQ(setrlimit(RLIMIT_NOFILE, &r), 0);
}

/* What was made and could not be handed over is gone. */
static void no_master(void)
{
	int i;

	RIG_START();
	rig_serve();
	limit_fds(true);
	for (i = 0; i < 100; i++)
		T_EQ(rig_create(w.vm->fd), -EMFILE);
	limit_fds(false);
	answers();
	rig_stop();
}

/* The slave is to be had as soon as there is a descriptor for it, and until then nobody has it. */
static void no_slave(void)
{
	int i;

	RIG_START(.no_slave = true);
	limit_fds(true);
	for (i = 0; i < 3; i++)
		T_EQ(CALL(w.master, KVM_DEV_USER_SLAVE_FD, 0), -EMFILE);
	T_EQ(rig_state(), RMIO_KVM_NEW);
	limit_fds(false);
	w.slave = ioctl(w.master, KVM_DEV_USER_SLAVE_FD, 0);
	T_REQUIRE(T_GE(w.slave, 0));
	T_EQ(CALL(w.master, KVM_DEV_USER_SLAVE_FD, 0), -EBUSY);
	rig_serve();
	answers();
	rig_stop();
}

/* Nor does one that nobody got keep the device: more of them than the machine has memory. */
static void no_slave_kept(void)
{
	struct rmio_kvm_rings rings = { .lanes = 1024, .slots = 2048 };
	long mib = sysconf(_SC_PHYS_PAGES) / 256, i;
	int fd;

	RIG_START();
	if (mib > 4096)
		mib = 4096;
	for (i = 0; i < mib / 50 && !ktap_failed(); i++) {
		fd = rig_create(w.vm->fd);
		T_GE(fd, 0);
		T_EQ(CALL(fd, KVM_DEV_USER_RINGS, &rings), 0);
		limit_fds(true);
		T_EQ(CALL(fd, KVM_DEV_USER_SLAVE_FD, 0), -EMFILE);
		limit_fds(false);
		close(fd);
	}
	rig_stop();
}

/* It has calls of its own: by attributes nothing is set, asked or there, whatever the argument. */
static void attributes(void)
{
	static const unsigned int cmds[] = {
		KVM_SET_DEVICE_ATTR, KVM_GET_DEVICE_ATTR, KVM_HAS_DEVICE_ATTR,
	};
	struct kvm_device_attr a = { .addr = (uintptr_t)&a };
	uint8_t buf[64] = { 0 };
	int i;

	RIG_START();
	rig_serve();
	for (i = 0; i < KTAP_COUNT(cmds); i++) {
		T_EQ(CALL(w.master, cmds[i], NULL), -EPERM);
		T_EQ(CALL(w.master, cmds[i], ~0ul), -EPERM);
		T_EQ(CALL(w.master, cmds[i], buf + 1), -EPERM);
		for (a.group = 0; a.group < 8; a.group++)
			for (a.attr = 0; a.attr < 8; a.attr++)
				T_EQ(CALL(w.master, cmds[i], &a), -EPERM);
		a.group = ~0u;
		a.attr = ~0ull;
		a.flags = ~0u;
		T_EQ(CALL(w.master, cmds[i], &a), -EPERM);
		T_EQ(CALL(w.slave, cmds[i], &a), -ENOTTY);
	}
	answers();
	rig_stop();
}

/* -- 32 bits ------------------------------------------------------------------------- */

/* As a process of 32 bits calls ioctl(). */
static int call32(int fd, unsigned int cmd, uint32_t arg)
{
	int err = 54;

	asm volatile("int $0x80" : "+a"(err) : "b"(fd), "c"(cmd), "d"(arg)
		     : "memory", "r8", "r9", "r10", "r11");
	return err;
}

static bool has_call32(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(call32(-1, KVM_DEV_USER_STATE, 0) != -EBADF);
	}
	waitpid(pid, &status, 0);
	return !status;
}

/* The same calls with the same structures, at addresses of 32 bits. */
static void from_32_bits(void)
{
	struct { struct rmio_kvm_map m; struct rmio_area area; struct rmio_kvm_access a;
		 struct rmio_pa_range r; uint64_t n; uint32_t n32; } *p;
	uint32_t at;
	int slave;

	RIG_START(.no_slave = true);
	if (!has_call32())
		T_SKIP("this kernel runs no programs of 32 bits",
		       "a kernel with CONFIG_IA32_EMULATION");
	p = mmap(NULL, 0x1000, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	T_REQUIRE(T_OK(p != MAP_FAILED && (uintptr_t)p >> 32 == 0));
	at = (uint32_t)(uintptr_t)p;
#define AT(field) (at + (uint32_t)((uint8_t *)&p->field - (uint8_t *)p))
	slave = call32(w.master, KVM_DEV_USER_SLAVE_FD, 0);
	T_REQUIRE(T_GE(slave, 0));
	w.slave = slave;
	T_EQ(call32(w.master, KVM_DEV_USER_SLAVE_FD, 0), -EBUSY);
	T_EQ(call32(w.master, KVM_DEV_USER_STATE, AT(n32)), 0);
	T_EQ(p->n32, RMIO_KVM_NEW);
	p->r = (struct rmio_pa_range){ .addr = DEVICE + 0x100000, .len = 0x1000 };
	T_EQ(call32(w.master, KVM_DEV_USER_PA_RANGE, AT(r)), 0);
	p->r.addr = DEVICE;
	T_EQ(call32(w.master, KVM_DEV_USER_PA_RANGE, AT(r)), 0);
	p->n = ~0ull;
	T_EQ(call32(w.master, KVM_DEV_USER_TIMEOUT, AT(n)), 0);
	p->n = 0x1000;
	T_EQ(call32(slave, KVM_DEV_USER_SHADOW_SIZE, AT(n)), 0);
	p->area = (struct rmio_area){ .length = 4, .sizes = 4, .load = RMIO_LOAD_SHADOW };
	p->m = (struct rmio_kvm_map){ .areas = AT(area), .nr = 1 };
	T_EQ(call32(slave, KVM_DEV_USER_SHADOW_CTRL, AT(m)), 0);
	p->m.areas |= 1ull << 40;
	T_EQ(call32(slave, KVM_DEV_USER_SHADOW_CTRL, AT(m)), -EFAULT);
	p->n32 = 0;
	T_EQ(call32(slave, KVM_DEV_USER_WAKE, AT(n32)), 0);
	p->n32 = 64;
	T_EQ(call32(slave, KVM_DEV_USER_WAKE, AT(n32)), -EINVAL);
	rig_serve();
	w.reg[0x20] = 0x52;
	p->a = (struct rmio_kvm_access){ .addr = DEVICE + 0x20, .len = 1 };
	T_EQ(call32(w.master, KVM_DEV_USER_ACCESS, AT(a)), 0);
	T_EQ(p->a.data, 0x52);
	T_EQ(call32(w.master, KVM_DEV_USER_ACCESS, 0), -EFAULT);
	T_EQ(call32(slave, KVM_DEV_USER_SHADOW_SIZE, 0xfffffffc), -EFAULT);
	T_EQ(call32(slave, KVM_DEV_USER_PA_RANGE, AT(r)), -ENOTTY);
	answers();
	T_EQ(call32(slave, KVM_DEV_USER_CLOSE, 0), 0);
	T_EQ(call32(slave, KVM_DEV_USER_STATE, AT(n32)), 0);
	T_EQ(p->n32, RMIO_KVM_CLOSED);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "a device is made", create },
	{ "no descriptor for the master", no_master },
	{ "no descriptor for the slave", no_slave },
	{ "no descriptor for the slave, and it is gone", no_slave_kept, 300 },
	{ "attributes", attributes },
	{ "calls of 32 bits", from_32_bits },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
