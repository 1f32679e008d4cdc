// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: user memory that does not come.  A device process whose buffers hang holds
 * up no vCPU; a VMM whose guest memory hangs, or who hangs with KVM's locks, holds up no device
 * process.
 */
#include "kvm_user_rig.h"

#include <linux/userfaultfd.h>
#include <sys/syscall.h>

/* -- memory that does not come ---------------------------------------------------- */

static int fault_fd;
static uint8_t *never; /* a page that nobody brings */

static const char *no_faults(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	fault_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fault_fd < 0)
		return "no userfaultfd";
	T_EQ(ioctl(fault_fd, UFFDIO_API, &api), 0);
	never = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)never;
	reg.range.len = 0x1000;
	T_EQ(ioctl(fault_fd, UFFDIO_REGISTER, &reg), 0);
	return NULL;
}

/* A thread of ours is in it. */
static void wait_for_fault(void)
{
	struct uffd_msg m;

	T_EQ(read(fault_fd, &m, sizeof(m)), sizeof(m));
	T_EQ(m.event, UFFD_EVENT_PAGEFAULT);
}

static void let_it_come(void)
{
	struct uffdio_zeropage z = { .range = { .start = (uintptr_t)never, .len = 0x1000 } };

	T_EQ(ioctl(fault_fd, UFFDIO_ZEROPAGE, &z), 0);
}

static int stuck_result;

static void *stuck_map(void *arg)
{
	(void)arg;
	stuck_result = rig_map((void *)never, 1);
	return NULL;
}

static void *stuck_read(void *arg)
{
	(void)arg;
	stuck_result = (int)read(w.slave, never, sizeof(struct rmio_request));
	return NULL;
}

static void *stuck_write(void *arg)
{
	(void)arg;
	stuck_result = (int)write(w.slave, never, sizeof(struct rmio_reply));
	return NULL;
}

static void *stuck_argument(void *arg)
{
	(void)arg;
	stuck_result = CALL(w.slave, KVM_DEV_USER_SHADOW_CTRL, never);
	return NULL;
}

#define STUCK_START(...)						\
	do {								\
		const char *lacks_;					\
									\
		RIG_START(__VA_ARGS__);					\
		lacks_ = no_faults();					\
		if (lacks_)						\
			T_SKIP(lacks_, "CONFIG_USERFAULTFD, and root");	\
	} while (0)

/* -- that of the device process --------------------------------------------------- */

/* A device process that hangs in its own memory holds up neither the VMM nor a vCPU. */
static void hold_up(void *(*stuck)(void *), bool request)
{
	uint32_t id = 0;
	pthread_t t;

	if (request) {
		g_begin(0);
		g_store(0, DEVICE, 4, 1);
		g_end(0);
		T_OK(rig_run(0));
	}
	T_EQ(pthread_create(&t, NULL, stuck, NULL), 0);
	wait_for_fault();
	T_EQ(rig_range(DEVICE + 0x100000, LEN, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_range(DEVICE, LEN, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	T_EQ(rig_range(0, 0, 0, 1), 0);
	T_LE(rig_state(), RMIO_KVM_LIVE);
	T_EQ(CALL(w.master, KVM_DEV_USER_KICK, &id), 0);
	T_EQ(CALL(w.master, KVM_DEV_USER_SLAVE_FD, 0), -EBUSY);
	/* A vCPU runs out of time, and that ends the device. */
	T_EQ(rig_timeout(30000000), 0);
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0xffffffff);
	T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
	T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 0), 0);
	rig_close_master();
	vmm_vm_free(w.vm);
	w.vm = NULL;
	let_it_come();
	pthread_join(t, NULL);
	close(w.slave);
	close(fault_fd);
}

static void areas_never_come(void)
{
	STUCK_START();
	hold_up(stuck_map, false);
	T_LT(stuck_result, 0);
}

static void map_never_comes(void)
{
	STUCK_START();
	hold_up(stuck_argument, false);
	T_LT(stuck_result, 0);
}

static void buffer_never_comes(void)
{
	STUCK_START();
	hold_up(stuck_read, true);
	T_EQ(stuck_result, sizeof(struct rmio_request));
}

static void reply_never_comes(void)
{
	STUCK_START();
	hold_up(stuck_write, true);
	T_EQ(stuck_result, -1);
}


/* -- that of the VMM -------------------------------------------------------------- */

#define SLOT	  7
#define SLOT_ADDR 0x80000000ull

static int set_slot(void *memory, uint32_t flags)
{
	struct kvm_userspace_memory_region r = {
		.slot = SLOT,
		.flags = flags,
		.guest_phys_addr = SLOT_ADDR,
		.memory_size = 0x1000,
		.userspace_addr = (uintptr_t)memory,
	};

	return CALL(w.vm->fd, KVM_SET_USER_MEMORY_REGION, &r);
}

/* What a task of ours does, as /proc has it: D is a wait that only SIGKILL ends, or nothing. */
static char task_state(pid_t pid, pid_t tid)
{
	char path[64], text[512] = "", *at;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	at = strrchr(text, ')');
	return at && at[1] ? at[2] : 0;
}

enum call { CALL_NONE, CALL_CTRL, CALL_SIZE, CALLS };

static const struct rmio_area some_map = {
	.offset = 0x200,
	.length = 0x100,
	.sizes = RMIO_SIZE_ALL,
	.load = RMIO_LOAD_SHADOW,
};

/* A device process that makes a call, or none; it has the only slave.  Is it held up there? */
static pid_t device_in(enum call call, bool held)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(w.master);
		munmap((void *)w.down, w.down_size);
		if (call == CALL_CTRL)
			rig_map(&some_map, 1);
		else if (call == CALL_SIZE)
			rig_shadow_size(0x2000);
		/* Whom a call is to hold up does not get here. */
		while (!held)
			pause();
		_exit(1);
	}
	T_GT(pid, 0);
	rig_close_slave();
	if (held) {
		char state = 0;

		UNTIL((state = task_state(pid, pid)) == 'D' || state == 'Z');
		T_EQ(state, 'D');
	}
	return pid;
}

/* It ends at once: the time limit of the test is the only one. */
static void ends(pid_t pid)
{
	kill(pid, SIGKILL);
	T_EQ(waitpid(pid, NULL, 0), pid);
	T_EQ(rig_state(), RMIO_KVM_CLOSED);
}

/* A vCPU is in guest memory that does not come, and so in KVM's SRCU. */
static void vcpu_never_comes(void)
{
	enum call call;

	for (call = 0; call < CALLS && !ktap_failed(); call++) {
		pid_t pid;

		STUCK_START(.vcpus = 2);
		T_EQ(rig_shadow_size(0x1000), 0);
		T_EQ(rig_map(&some_map, 1), 0);
		T_EQ(set_slot(never, 0), 0);
		g_begin(0);
		g_load(0, SLOT_ADDR, 4);
		g_load(0, DEVICE, 4);
		g_end(0);
		g_begin(1);
		g_load(1, DEVICE, 4);
		g_end(1);
		T_REQUIRE(rig_go(0));
		wait_for_fault();
		pid = device_in(call, call != CALL_NONE);
		/* Another vCPU does not care, then gets its answer of the dead. */
		T_REQUIRE(rig_go(1));
		UNTIL(SLEEPS(1));
		ends(pid);
		rig_join(1);
		T_EQ(w.vcpu[1].result[0], 0xffffffff);
		let_it_come();
		rig_join(0);
		T_EQ(w.vcpu[0].result[0], 0);
		T_EQ(w.vcpu[0].result[1], 0xffffffff);
		T_EQ(w.vcpu[0].exits + w.vcpu[1].exits, 0);
		close(fault_fd);
		rig_stop();
	}
}

static pid_t range_thread;

static void *get_dirty_log(void *arg)
{
	struct kvm_dirty_log log = { .slot = SLOT, .dirty_bitmap = never };

	(void)arg;
	stuck_result = CALL(w.vm->fd, KVM_GET_DIRTY_LOG, &log);
	return NULL;
}

static void *move_range(void *arg)
{
	(void)arg;
	__atomic_store_n(&range_thread, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	T_EQ(rig_range(DEVICE + 0x100000, LEN, RMIO_BUS_MEM, 0), 0);
	return NULL;
}

/* The VMM holds KVM's lock of memory slots, and with it a range that it moves. */
static void slots_never_come(void)
{
	enum call call;
	int moving;

	for (call = 0; call < CALLS && !ktap_failed(); call++) {
		for (moving = 0; moving < 2 && !ktap_failed(); moving++) {
			pthread_t holder, mover;
			void *slot;
			pid_t pid;

			STUCK_START();
			T_EQ(rig_shadow_size(0x1000), 0);
			T_EQ(rig_map(&some_map, 1), 0);
			slot = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			T_EQ(set_slot(slot, KVM_MEM_LOG_DIRTY_PAGES), 0);
			g_begin(0);
			g_load(0, DEVICE, 4);
			g_end(0);
			T_REQUIRE(rig_go(0));
			UNTIL(SLEEPS(0));
			T_EQ(pthread_create(&holder, NULL, get_dirty_log, NULL), 0);
			wait_for_fault();
			__atomic_store_n(&range_thread, 0, __ATOMIC_RELEASE);
			if (moving) {
				pid_t tid;

				T_EQ(pthread_create(&mover, NULL, move_range, NULL), 0);
				UNTIL((tid = __atomic_load_n(&range_thread, __ATOMIC_ACQUIRE)));
				UNTIL(task_state(getpid(), tid) == 'D');
			}
			/* A size needs no lock of KVM's, if nobody has the device's. */
			pid = device_in(call, call == CALL_CTRL || (call == CALL_SIZE && moving));
			ends(pid);
			rig_join(0);
			T_EQ(w.vcpu[0].result[0], 0xffffffff);
			let_it_come();
			pthread_join(holder, NULL);
			T_EQ(stuck_result, 0);
			if (moving)
				pthread_join(mover, NULL);
			munmap(slot, 0x1000);
			close(fault_fd);
			rig_stop();
		}
	}
}

static const struct ktap_test tests[] = {
	{ "areas in memory that does not come", areas_never_come },
	{ "a map in memory that does not come", map_never_comes },
	{ "read() into memory that does not come", buffer_never_comes },
	{ "write() from memory that does not come", reply_never_comes },
	{ "killed while a vCPU's memory does not come", vcpu_never_comes },
	{ "killed while KVM's lock does not come", slots_never_come },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
