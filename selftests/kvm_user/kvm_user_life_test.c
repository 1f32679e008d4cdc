// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: who may go before whom.  Descriptors closed in every order, passed on,
 * inherited, mapped beyond their end, with vCPUs that wait; and a device process killed at each
 * step of a load.
 */
#include "kvm_user_rig.h"

#include <sys/socket.h>

/* A vCPU in each kind of wait; then it loads. */
static const char *start_waits(void)
{
	const char *why = rig_start_waits(WAITS);
	unsigned int i;

	if (why)
		return why;
	for (i = 0; i < WAITS; i++) {
		g_begin(i);
		g_wait(i, i);
		if (!rig_wait_loads(i))
			g_load(i, DEVICE + 0x40, 4);
		g_end(i);
		rig_go(i);
	}
	for (i = 0; i < WAITS; i++)
		UNTIL(SLEEPS(i));
	return NULL;
}

#define START_WAITS() RIG_HAVE(start_waits())

static void all_get_ones(void)
{
	unsigned int i;

	for (i = 0; i < WAITS; i++) {
		rig_join(i);
		T_EQ(w.vcpu[i].result[0], 0xffffffff);
	}
}

/* -- with vCPUs that wait --------------------------------------------------------- */

static void master_closed(void)
{
	struct rmio_request r[16];

	START_WAITS();
	rig_close_master();
	all_get_ones();
	/* What was pushed can be read still, and then it is at its end. */
	T_EQ(read(w.slave, r, sizeof(r)), 6 * sizeof(r[0]));
	T_EQ(read(w.slave, r, sizeof(r)), 0);
	T_EQ(rig_shadow_size(4096), -ENODEV);
	T_EQ(rig_map(NULL, 0), -ENODEV);
	rig_stop();
}

static void slave_closed(void)
{
	unsigned int i;

	START_WAITS();
	rig_close_slave();
	all_get_ones();
	T_EQ(rig_state(), RMIO_KVM_CLOSED);
	for (i = 0; i < WAITS; i++)
		T_EQ(w.vcpu[i].exits, 0);
	rig_stop();
}

static void ended_by_master(void)
{
	START_WAITS();
	T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 0), 0);
	all_get_ones();
	T_EQ(rig_state(), RMIO_KVM_CLOSED);
	rig_stop();
}

static void ended_by_slave(void)
{
	START_WAITS();
	T_EQ(CALL(w.slave, KVM_DEV_USER_CLOSE, 0), 0);
	all_get_ones();
	T_EQ(rig_state(), RMIO_KVM_CLOSED);
	rig_stop();
}

/* The ranges go, one after the other; who waits is not forgotten. */
static void ranges_go(void)
{
	unsigned int i;

	START_WAITS();
	T_EQ(rig_range(0, 0, 0, 0), 0);
	T_EQ(rig_range(0, 0, 0, 1), 0);
	rig_serve();
	for (i = 0; i < WAITS; i++)
		rig_join(i);
	T_EQ(w.vcpu[WAIT_LOAD].result[0], RIG_FILL);
	T_EQ(w.vcpu[WAIT_PORT].result[0], RIG_FILL);
	/* These had one more access to make, which is the VMM's now. */
	T_EQ(w.vcpu[WAIT_SYNC].exits, 1);
	T_EQ(w.vcpu[WAIT_ROOM].exits, 1);
	rig_stop();
}

/* -- every order ------------------------------------------------------------------ */

/* An access is under way, KVM_RUN has been interrupted, and all descriptors go in that order. */
static void close_in_order(const int *order)
{
	struct rig_vcpu *c = &w.vcpu[0];
	int i;

	RIG_START();
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_OK(rig_run_to_wait(0));
	vmm_vcpu_leave(c->v);
	for (i = 0; i < 4; i++) {
		switch (order[i]) {
		case 0:
			rig_close_master();
			break;
		case 1:
			rig_close_slave();
			break;
		case 2:
			close(w.vm->fd);
			w.vm->fd = -1;
			break;
		default:
			munmap(c->v->run, c->v->run_size);
			c->v->run = NULL;
			close(c->v->fd);
			c->v->fd = -1;
			break;
		}
	}
	vmm_vm_free(w.vm);
}

static void every_order(void)
{
	int a, b, c;

	for (a = 0; a < 4; a++)
		for (b = 0; b < 4; b++)
			for (c = 0; c < 4; c++)
				if (a != b && a != c && b != c && !ktap_failed())
					close_in_order((int[]){ a, b, c, 6 - a - b - c });
}

/* Without the VM's descriptor everything goes on. */
static void vm_closed(void)
{
	RIG_START();
	close(w.vm->fd);
	w.vm->fd = -1;
	rig_serve();
	g_begin(0);
	g_store(0, DEVICE + 0x30, 4, 0x1234);
	g_load(0, DEVICE + 0x30, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x1234);
	T_EQ(rig_range(DEVICE + 0x100000, LEN, RMIO_BUS_MEM, 0), 0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].exits, 2);
	rig_stop();
}

/* -- copies of descriptors -------------------------------------------------------- */

static bool answers(uint32_t expected)
{
	w.reg[0x40] = 0x77;
	g_begin(0);
	g_load(0, DEVICE + 0x40, 1);
	g_end(0);
	T_OK(rig_run(0));
	return T_EQ(w.vcpu[0].result[0], expected);
}

static void dups(void)
{
	int copy;

	RIG_START();
	copy = dup(w.slave);
	close(w.slave);
	w.slave = copy;
	rig_serve();
	answers(0x77);
	copy = dup(w.master);
	rig_close_master();
	answers(0x77);
	T_EQ(w.vcpu[0].exits, 0);
	w.master = copy;
	T_EQ(rig_state(), RMIO_KVM_LIVE);
	close(copy);
	w.master = -1;
	answers(0xff);
	T_EQ(w.vcpu[0].exits, 1);
	rig_stop();
}

/* What a device process has that was forked: the slave alone. */
static void only_slave(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(w.master);
	munmap((void *)w.down, w.down_size);
}

static pid_t fork_device(void)
{
	pid_t pid = fork();

	if (!pid) {
		only_slave();
		w.reg[0x40] = 0x77;
		rig_device(NULL);
		_exit(0);
	}
	T_GE(pid, 0);
	return pid;
}

static void end_process(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void forked(void)
{
	pid_t pid;

	RIG_START();
	pid = fork_device();
	answers(0x77);
	/* The child has it still. */
	rig_close_slave();
	answers(0x77);
	T_EQ(rig_state(), RMIO_KVM_LIVE);
	end_process(pid);
	UNTIL(rig_state() == RMIO_KVM_CLOSED);
	answers(0xff);
	rig_stop();
}

/* A program that is executed has neither. */
static void executed(void)
{
	pid_t pid;

	RIG_START();
	T_EQ(fcntl(w.master, F_GETFD), FD_CLOEXEC);
	T_EQ(fcntl(w.slave, F_GETFD), FD_CLOEXEC);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("sleep", "sleep", "1000", NULL);
		_exit(1);
	}
	rig_close_slave();
	UNTIL(rig_state() == RMIO_KVM_CLOSED);
	T_EQ(waitpid(pid, NULL, WNOHANG), 0);
	answers(0xff);
	end_process(pid);
	rig_stop();
}

static void send_fd(int sock, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	T_EQ(sendmsg(sock, &m, 0), 1);
}

static int receive_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

/* One that is to have the slave serves the device; nothing else of ours is in it. */
static void executed_device(void)
{
	char fd[16];
	pid_t pid;

	RIG_START();
	snprintf(fd, sizeof(fd), "%d", w.slave);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fcntl(w.slave, F_SETFD, 0);
		execl("/proc/self/exe", "device", fd, NULL);
		_exit(1);
	}
	rig_close_slave();
	answers(0x77);
	T_EQ(rig_state(), RMIO_KVM_LIVE);
	T_EQ(w.vcpu[0].exits, 0);
	end_process(pid);
	UNTIL(rig_state() == RMIO_KVM_CLOSED);
	answers(0xff);
	rig_stop();
}

/* A master that somebody else has, too, who may not call it: the device stays until both close. */
static void forked_master(void)
{
	pid_t pid;

	RIG_START();
	rig_serve();
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	rig_close_master();
	answers(0x77);
	T_EQ(w.vcpu[0].exits, 0);
	end_process(pid);
	/* That was the last one: the range has gone before it was reaped. */
	answers(0xff);
	T_EQ(w.vcpu[0].exits, 1);
	rig_stop();
}

/* The VMM dies with a vCPU that waits: the device process reads what was asked, and the end. */
static void vmm_killed(void)
{
	struct rmio_request r;
	uint32_t state = ~0u;
	int ready[2];
	pid_t pid;

	/* The VMM is a child, and the slave comes from it. */
	RIG_START(.no_slave = true);
	rig_stop();
	T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ready), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		if (rig_start((struct rig_opts){ 0 }))
			_exit(1);
		T_EQ(rig_timeout(~0ull), 0);
		send_fd(ready[1], w.slave);
		rig_close_slave();
		g_begin(0);
		g_load(0, DEVICE + 0x40, 4);
		g_end(0);
		rig_run(0);
		_exit(1);
	}
	close(ready[1]);
	w.slave = receive_fd(ready[0]);
	T_REQUIRE(T_GE(w.slave, 0));
	r = rig_take();
	T_EQ(r.offset, 0x40);
	end_process(pid);
	T_EQ(read(w.slave, &r, sizeof(r)), 0);
	T_EQ(ioctl(w.slave, KVM_DEV_USER_STATE, &state), 0);
	T_EQ(state, RMIO_KVM_CLOSED);
	/* Its answer is to nobody, its map for nothing. */
	T_EQ(rig_reply(0, 1, 0x77), 0);
	T_EQ(rig_map(NULL, 0), -ENODEV);
	T_EQ(rig_shadow_size(4096), -ENODEV);
	rig_close_slave();
	close(ready[0]);
}

static void passed_on(void)
{
	int sock[2];
	pid_t pid;

	RIG_START(.no_slave = true);
	T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), 0);
	pid = fork();
	if (!pid) {
		only_slave();
		w.slave = receive_fd(sock[1]);
		close(sock[0]);
		close(sock[1]);
		w.reg[0x40] = 0x77;
		rig_device(NULL);
		_exit(0);
	}
	w.slave = ioctl(w.master, KVM_DEV_USER_SLAVE_FD, 0);
	send_fd(sock[0], w.slave);
	rig_close_slave();
	answers(0x77);
	T_EQ(w.vcpu[0].exits, 0);
	end_process(pid);
	UNTIL(rig_state() == RMIO_KVM_CLOSED);
	answers(0xff);

	/* In a socket that nobody reads: alive as long as the socket is. */
	rig_stop();
	RIG_START();
	send_fd(sock[0], w.slave);
	rig_close_slave();
	T_EQ(rig_state(), RMIO_KVM_NEW);
	close(sock[0]);
	close(sock[1]);
	UNTIL(rig_state() == RMIO_KVM_CLOSED);
	rig_stop();
}

/* The VM is its maker's: in another process the master answers EIO, as all of KVM does. */
static void other_owner(void)
{
	struct rmio_pa_range at = { .addr = DEVICE, .len = 0x1000 };
	int status = -1;
	pid_t pid;

	RIG_START();
	pid = fork();
	if (!pid) {
		uint32_t state;

		T_EQ(CALL(w.master, KVM_DEV_USER_PA_RANGE, &at), -EIO);
		T_EQ(CALL(w.master, KVM_DEV_USER_SLAVE_FD, 0), -EIO);
		T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 0), -EIO);
		/* The slave is anybody's. */
		T_EQ(CALL(w.slave, KVM_DEV_USER_STATE, &state), 0);
		T_EQ(rig_shadow_size(4096), 0);
		T_EQ(rig_map(rig_waits_map, 2), 0);
		_exit(ktap_failed());
	}
	waitpid(pid, &status, 0);
	T_EQ(status, 0);
	rig_serve();
	answers(0x77);
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

/* -- mappings --------------------------------------------------------------------- */

/* A mapping is as good as the descriptor; the last of both is the end. */
static void mapping_outlives(void)
{
	uint8_t *p[3];
	int i;

	RIG_START();
	T_EQ(rig_shadow_size(4096), 0);
	p[0] = mmap(NULL, 4096, PROT_READ, MAP_SHARED, w.slave, RMIO_KVM_MAP_DOWN);
	p[1] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_UP);
	p[2] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_SHADOW);
	rig_close_slave();
	for (i = 0; i < 3; i++) {
		T_EQ(rig_state(), RMIO_KVM_LIVE);
		munmap(p[i], 4096);
	}
	T_EQ(rig_state(), RMIO_KVM_CLOSED);
	rig_stop();
}

/* A process that is forked has the mappings, too. */
static void mapping_forked(void)
{
	uint8_t *up;
	pid_t pid;

	RIG_START();
	up = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_UP);
	T_REQUIRE(T_OK(up != MAP_FAILED));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(w.slave);
		for (;;)
			pause();
	}
	munmap(up, 4096);
	rig_close_slave();
	T_EQ(rig_state(), RMIO_KVM_LIVE);
	end_process(pid);
	UNTIL(rig_state() == RMIO_KVM_CLOSED);
	rig_stop();
}

/* The memory is there when everything else has gone. */
static void mapping_is_last(void)
{
	volatile uint8_t *down, *up, *image;

	RIG_START();
	T_EQ(rig_shadow_size(8192), 0);
	down = mmap(NULL, 4096, PROT_READ, MAP_SHARED, w.slave, RMIO_KVM_MAP_DOWN);
	up = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_UP);
	image = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_SHADOW);
	T_EQ(rig_shadow_size(0), 0);
	image[8191] = 0x31;
	rig_stop();
	up[8191] = 0x32;
	T_EQ(image[8191], 0x31);
	T_EQ(up[8191], 0x32);
	T_EQ(*(volatile uint32_t *)down, RMIO_ABI_MAGIC);
	munmap((void *)image, 4096);
	T_EQ(image[8191], 0x31);
	munmap((void *)(image + 4096), 4096);
	munmap((void *)up, 8192);
	munmap((void *)down, 4096);
}

/* The master is its mapping too: the range is served until the last of both has gone. */
static void master_mapping(void)
{
	RIG_START();
	rig_serve();
	close(w.master);
	answers(0x77);
	T_EQ(w.vcpu[0].exits, 0);
	munmap((void *)w.down, w.down_size);
	w.down = NULL;
	w.master = -1;
	answers(0xff);
	T_EQ(w.vcpu[0].exits, 1);
	rig_stop();
}

/* -- several devices -------------------------------------------------------------- */

static void two_devices(void)
{
	struct rmio_request r;
	struct rmio_reply a;
	int master, slave;

	RIG_START();
	master = rig_create(w.vm->fd);
	T_REQUIRE(T_GE(master, 0));
	/* Neither gets where the other is. */
	T_EQ(rig_range_of(master, DEVICE + 8, 8, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(rig_range_of(master, DEVICE - 8, 16, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(rig_range_of(master, DEVICE + LEN, LEN, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_range(DEVICE, LEN + 1, RMIO_BUS_MEM, 0), -EEXIST);
	slave = ioctl(master, KVM_DEV_USER_SLAVE_FD, 0);
	rig_serve();
	g_begin(0);
	g_load(0, DEVICE + LEN, 4);
	g_load(0, DEVICE + 0x40, 1);
	g_end(0);
	w.reg[0x40] = 0x77;
	T_REQUIRE(rig_go(0));
	T_EQ(read(slave, &r, sizeof(r)), sizeof(r));
	T_EQ(r.offset, 0);
	a = (struct rmio_reply){ .seq = r.seq, .data = 0x4321 };
	T_EQ(write(slave, &a, sizeof(a)), sizeof(a));
	rig_join(0);
	T_EQ(w.vcpu[0].result[0], 0x4321);
	T_EQ(w.vcpu[0].result[1], 0x77);
	/* One goes; the other does not notice, and gets its place. */
	close(master);
	answers(0x77);
	T_EQ(rig_range(DEVICE, 2 * LEN, RMIO_BUS_MEM, 0), 0);
	answers(0x77);
	T_EQ(w.vcpu[0].exits, 0);
	close(slave);
	rig_stop();
}

/* -- a device process that is killed ---------------------------------------------- */

static void map_or_die(uint8_t **down, struct rmio_up_lane **lane)
{
	uint8_t *up;

	*down = mmap(NULL, 2 * RMIO_PAGE + 4096, PROT_READ, MAP_SHARED, w.slave,
		     RMIO_KVM_MAP_DOWN);
	up = mmap(NULL, 2 * RMIO_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave,
		  RMIO_KVM_MAP_UP);
	if (*down == MAP_FAILED || up == MAP_FAILED)
		_exit(1);
	*lane = (void *)(up + RMIO_PAGE);
}

static void step(int at, int last)
{
	if (at == last)
		raise(SIGKILL);
}

/* Takes the load from the memory and answers it, up to this step. */
static void mapped_child(int last)
{
	struct pollfd p = { .fd = w.slave, .events = POLLIN };
	struct rmio_up_lane *lane;
	const struct rmio_request *slot;
	uint32_t zero = 0;
	uint8_t *down;

	map_or_die(&down, &lane);
	slot = (void *)(down + 2 * RMIO_PAGE);
	step(0, last);
	((struct rmio_up_hdr *)((uint8_t *)lane - RMIO_PAGE))->need_wake = 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (__atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE) != 1)
		poll(&p, 1, -1);
	step(1, last);
	__atomic_store_n(&lane->taken, 1, __ATOMIC_RELAXED);
	step(2, last);
	__atomic_store_n(&lane->reply_data, RIG_FILL, __ATOMIC_RELAXED);
	step(3, last);
	__atomic_store_n(&lane->reply_seq, 1, __ATOMIC_RELEASE);
	step(4, last);
	__atomic_store_n(&lane->done, 1, __ATOMIC_RELEASE);
	step(5, last);
	ioctl(w.slave, KVM_DEV_USER_WAKE, &zero);
	step(6, last);
	pause();
}

static void reading_child(int last)
{
	struct pollfd p = { .fd = w.slave, .events = POLLIN };
	struct rmio_request r;
	struct rmio_reply a = { .seq = 1, .data = RIG_FILL };

	step(0, last);
	poll(&p, 1, -1);
	step(1, last);
	if (read(w.slave, &r, sizeof(r)) != sizeof(r))
		_exit(1);
	step(2, last);
	if (write(w.slave, &a, sizeof(a)) != sizeof(a))
		_exit(1);
	step(3, last);
	pause();
}

/* A device of its own for one load, and the process that is killed. */
static void one_load(void (*child)(int last), int last, unsigned int delay_us, bool at_once)
{
	struct rmio_kvm_rings rings = { .lanes = 1, .slots = 128 };
	int status = 0;
	uint64_t v;
	pid_t pid;

	w.master = rig_create(w.vm->fd);
	T_REQUIRE(T_GE(w.master, 0));
	T_EQ(CALL(w.master, KVM_DEV_USER_RINGS, &rings), 0);
	T_EQ(rig_timeout(~0ull), 0);
	T_EQ(rig_range(DEVICE, LEN, RMIO_BUS_MEM, 0), 0);
	w.slave = ioctl(w.master, KVM_DEV_USER_SLAVE_FD, 0);
	T_REQUIRE(T_GE(w.slave, 0));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(w.master);
		child(last);
		_exit(1);
	}
	rig_close_slave();
	T_REQUIRE(rig_go(0));
	if (at_once) {
		usleep(delay_us);
		kill(pid, SIGKILL);
	}
	waitpid(pid, &status, 0);
	T_OK(WIFSIGNALED(status));
	rig_join(0);
	v = w.vcpu[0].result[0];
	T_OK(v == RIG_FILL || v == 0xffffffff);
	if (ktap_failed())
		ktap_diag("the answer is 0x%llx, last step %d, delay %u", (unsigned long long)v,
			  last, delay_us);
	T_EQ(w.vcpu[0].exits, 0);
	close(w.master);
	w.master = -1;
}

static const char *start_killing(void)
{
	const char *why = rig_start((struct rig_opts){ 0 });

	if (why)
		return why;
	rig_close_slave();
	rig_close_master();
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	return NULL;
}

/* Eleven loads a round. */
static void killed_at_each_step(void)
{
	long rounds = ktap_pick(5, 30, 910), i;
	int last;

	RIG_HAVE(start_killing());
	for (i = 0; i < rounds && !ktap_failed(); i++) {
		for (last = 0; last <= 3 && !ktap_failed(); last++) {
			one_load(reading_child, last, 0, false);
			T_EQ(w.vcpu[0].result[0], last < 3 ? 0xffffffff : RIG_FILL);
		}
		for (last = 0; last <= 6 && !ktap_failed(); last++) {
			one_load(mapped_child, last, 0, false);
			/* An answer that is there is taken, told or not. */
			if (last != 4 && last != 5)
				T_EQ(w.vcpu[0].result[0], last < 4 ? 0xffffffff : RIG_FILL);
		}
	}
	rig_stop();
}

static void killed_at_random(void)
{
	long rounds = ktap_pick(100, 400, 10000), i;
	unsigned int seed = 1;
	long ones = 0;

	RIG_HAVE(start_killing());
	for (i = 0; i < rounds && !ktap_failed(); i++) {
		one_load(i & 1 ? mapped_child : reading_child, -1,
			 (unsigned int)rand_r(&seed) % 20000, true);
		ones += w.vcpu[0].result[0] == 0xffffffff;
	}
	ktap_diag("%ld of %ld loads were answered all ones", ones, rounds);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "the master is closed, vCPUs wait", master_closed },
	{ "the slave is closed, vCPUs wait", slave_closed },
	{ "the master ends it, vCPUs wait", ended_by_master },
	{ "the slave ends it, vCPUs wait", ended_by_slave },
	{ "the ranges go, vCPUs wait", ranges_go },
	{ "closed in every order", every_order },
	{ "the VM's descriptor is closed", vm_closed },
	{ "dup", dups },
	{ "fork", forked },
	{ "exec", executed },
	{ "exec, with the slave", executed_device },
	{ "fork, with the master", forked_master },
	{ "the VMM is killed", vmm_killed },
	{ "passed on", passed_on },
	{ "in another process", other_owner },
	{ "a mapping outlives the descriptor", mapping_outlives },
	{ "a mapping that is forked", mapping_forked },
	{ "a mapping outlives everything", mapping_is_last },
	{ "a mapping of the master", master_mapping },
	{ "two devices", two_devices },
	{ "killed at each step of a load", killed_at_each_step, 1200 },
	{ "killed at random", killed_at_random, 1200 },
};

int main(int argc, char **argv)
{
	/* As executed_device() has it. */
	if (argc == 2 && !strcmp(argv[0], "device")) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		w.slave = atoi(argv[1]);
		w.reg[0x40] = 0x77;
		rig_device(NULL);
		return 0;
	}
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
