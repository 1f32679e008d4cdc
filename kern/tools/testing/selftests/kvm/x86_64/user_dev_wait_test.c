// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_DEV_TYPE_USER: how the wait of a vCPU for the device process ends.
 */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "user_dev.h"

FIXTURE(user_dev_wait) {
	struct user_dev d;
};

FIXTURE_SETUP(user_dev_wait)
{
}

FIXTURE_TEARDOWN(user_dev_wait)
{
	user_dev_end(&self->d);
}

/* On a slow machine, under emulation. */
#define USER_DEV_WAIT_TEST(name) TEST_F_TIMEOUT(user_dev_wait, name, 120)

/* The requests are waited for: a thread or process of its own is the vCPU, or the device. */
static bool next_request(int slave, struct rmio_request *r)
{
	ssize_t n = read(slave, r, sizeof(*r));

	TEST_ASSERT(n == sizeof(*r) || !n, __KVM_SYSCALL_ERROR("read()", (int)n));
	return n;
}

/* -- an answer ------------------------------------------------------------------------ */

static void guest_asks(void)
{
	int i;

	for (i = 0; i < 100; i++) {
		guest_store(0x10, 4, i);
		GUEST_ASSERT_EQ(guest_load(0x10, 4), i + 1);
	}
	GUEST_DONE();
}

/* Each load says what was stored last, and one. */
static void serve(int slave)
{
	uint64_t stored = 0;
	struct rmio_request r;

	while (next_request(slave, &r)) {
		struct rmio_reply reply = { .seq = r.seq, .vcpu = r.vcpu };

		if (r.op == RMIO_OP_STORE)
			stored = r.data;
		else
			reply.data = stored + 1;
		TEST_ASSERT_EQ(write(slave, &reply, sizeof(reply)), sizeof(reply));
	}
}

/* Another process answers, which has the slave alone; it is told of the end. */
USER_DEV_WAIT_TEST(answer)
{
	struct user_dev *d = &self->d;
	pid_t device;
	int status;

	user_dev_start(d, guest_asks, 0);
	device = fork();
	TEST_ASSERT(device >= 0, __KVM_SYSCALL_ERROR("fork()", device));
	if (!device) {
		serve(d->slave);
		_exit(0);
	}
	user_dev_run(d, UCALL_DONE);
	TEST_ASSERT_EQ(d->down->counters.loads, 100);
	TEST_ASSERT_EQ(d->down->counters.posted, 100);
	kvm_ioctl(d->master, KVM_DEV_USER_CLOSE, NULL);
	TEST_ASSERT_EQ(waitpid(device, &status, 0), device);
	TEST_ASSERT_EQ(status, 0);
}

/* -- a signal, a kick -------------------------------------------------------------------- */

static void guest_loads(void)
{
	GUEST_ASSERT_EQ(guest_load(0x20, 4), 0x1234);
	GUEST_DONE();
}

static sem_t interrupted;

static void on_signal(int sig)
{
}

static void *run_interrupted(void *arg)
{
	struct user_dev *d = arg;
	int r = __vcpu_run(d->vcpu);

	TEST_ASSERT(r == -1 && errno == EINTR, KVM_IOCTL_ERROR(KVM_RUN, r));
	TEST_ASSERT_KVM_EXIT_REASON(d->vcpu, KVM_EXIT_INTR);
	TEST_ASSERT(d->vcpu->run->flags & RMIO_KVM_RUN_PENDING, "No access is under way");
	sem_post(&interrupted);
	user_dev_run(d, UCALL_DONE);
	return NULL;
}

/* A signal ends KVM_RUN, not the access: the next KVM_RUN goes on with it. */
USER_DEV_WAIT_TEST(signal)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct user_dev *d = &self->d;
	struct rmio_request r;
	pthread_t thread;

	user_dev_start(d, guest_loads, 0);
	sem_init(&interrupted, 0, 0);
	sigaction(SIGUSR1, &sa, NULL);
	pthread_create(&thread, NULL, run_interrupted, d);
	TEST_ASSERT(next_request(d->slave, &r), "The device is dead");
	pthread_kill(thread, SIGUSR1);
	sem_wait(&interrupted);
	TEST_ASSERT(!user_dev_pending(d), "A request is there twice");
	TEST_ASSERT_EQ(user_dev_reply(d, r.seq, 0x1234), 0);
	pthread_join(thread, NULL);
	TEST_ASSERT_EQ(d->vcpu->run->flags & RMIO_KVM_RUN_PENDING, 0);
	TEST_ASSERT_EQ(d->down->counters.interrupted, 1);
	TEST_ASSERT_EQ(d->down->counters.loads, 1);
}

/* With immediate_exit an answer is looked for, not waited for. */
USER_DEV_WAIT_TEST(immediate_exit)
{
	struct user_dev *d = &self->d;
	int r;

	user_dev_start(d, guest_loads, 0);
	user_dev_run_to_wait(d);
	d->vcpu->run->immediate_exit = 1;
	r = __vcpu_run(d->vcpu);
	TEST_ASSERT(r == -1 && errno == EINTR, KVM_IOCTL_ERROR(KVM_RUN, r));
	TEST_ASSERT(d->vcpu->run->flags & RMIO_KVM_RUN_PENDING, "No access is under way");
	user_dev_serve(d, RMIO_OP_LOAD, 0x20, 4, 0x1234);
	r = __vcpu_run(d->vcpu);
	TEST_ASSERT(r == -1 && errno == EINTR, KVM_IOCTL_ERROR(KVM_RUN, r));
	TEST_ASSERT_EQ(d->vcpu->run->flags & RMIO_KVM_RUN_PENDING, 0);
	d->vcpu->run->immediate_exit = 0;
	user_dev_run(d, UCALL_DONE);
}

/* -- no answer ------------------------------------------------------------------------------ */

static void guest_is_left(void)
{
	GUEST_ASSERT_EQ(guest_load(0x10, 4), 0xffffffff);
	/* Now nobody is waited for. */
	GUEST_ASSERT_EQ(guest_load(0x10, 1), 0xff);
	GUEST_ASSERT_EQ(guest_load(0x10, 2), 0xffff);
	GUEST_ASSERT_EQ(guest_load(0x10, 8), ~0ul);
	guest_store(0x10, 4, 1);
	GUEST_SYNC(0);
	guest_store(0x10, 4, 2);
	GUEST_DONE();
}

/* A device process that does not answer in time is dead; the vCPU goes on. */
USER_DEV_WAIT_TEST(timeout)
{
	struct user_dev *d = &self->d;
	uint64_t ns = 20000000;
	uint64_t seq;

	user_dev_start(d, guest_is_left, 0);
	kvm_ioctl(d->master, KVM_DEV_USER_TIMEOUT, &ns);
	/* Time between two KVM_RUN does not count. */
	user_dev_run_to_wait(d);
	seq = user_dev_take(d, RMIO_OP_LOAD, 0x10, 4, 0);
	usleep(100000);
	TEST_ASSERT_EQ(user_dev_state(d), RMIO_KVM_LIVE);
	user_dev_run(d, UCALL_SYNC);
	TEST_ASSERT_EQ(user_dev_state(d), RMIO_KVM_TIMEOUT);
	TEST_ASSERT_EQ(d->down->counters.timeouts, 1);
	TEST_ASSERT_EQ(d->down->counters.ones, 4);
	TEST_ASSERT_EQ(d->down->counters.discarded, 1);
	user_dev_reply(d, seq, 0x1234);
	user_dev_run(d, UCALL_DONE);
	TEST_ASSERT_EQ(d->down->counters.discarded, 2);
}

/* The device process is killed with a load in its hands. */
USER_DEV_WAIT_TEST(slave_killed)
{
	uint64_t forever = ~0ull;
	struct user_dev *d = &self->d;
	struct rmio_request r;
	pid_t device;
	int status;

	user_dev_start(d, guest_is_left, 0);
	kvm_ioctl(d->master, KVM_DEV_USER_TIMEOUT, &forever);
	device = fork();
	TEST_ASSERT(device >= 0, __KVM_SYSCALL_ERROR("fork()", device));
	if (!device) {
		next_request(d->slave, &r);
		kill(getpid(), SIGKILL);
	}
	close(d->slave);
	d->slave = -1;
	user_dev_run(d, UCALL_SYNC);
	TEST_ASSERT_EQ(user_dev_state(d), RMIO_KVM_CLOSED);
	TEST_ASSERT_EQ(waitpid(device, &status, 0), device);
	TEST_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "Status 0x%x", status);
	user_dev_run(d, UCALL_DONE);
	TEST_ASSERT_EQ(d->down->counters.ones, 4);
	TEST_ASSERT_EQ(d->down->counters.discarded, 2);
}

static void guest_loses_range(void)
{
	GUEST_ASSERT_EQ(guest_load(0x10, 4), 0xffffffff);
	GUEST_SYNC(0);
	guest_store(0x14, 4, 0x5709e);
	GUEST_DONE();
}

static void *run_to_sync(void *arg)
{
	user_dev_run(arg, UCALL_SYNC);
	return NULL;
}

/* The last master descriptor is closed below a vCPU that waits. */
USER_DEV_WAIT_TEST(master_closed)
{
	uint64_t forever = ~0ull;
	struct user_dev *d = &self->d;
	struct kvm_run *run;
	struct rmio_request r;
	pthread_t thread;

	user_dev_start(d, guest_loses_range, 0);
	run = d->vcpu->run;
	kvm_ioctl(d->master, KVM_DEV_USER_TIMEOUT, &forever);
	pthread_create(&thread, NULL, run_to_sync, d);
	TEST_ASSERT(next_request(d->slave, &r), "The device is dead");
	TEST_ASSERT_EQ(r.offset, 0x10);
	/* A mapping would keep it. */
	user_dev_unmap_counters(d);
	close(d->master);
	d->master = -1;
	pthread_join(thread, NULL);
	/* Where the range was is nothing. */
	vcpu_run(d->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(d->vcpu, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(run->mmio.phys_addr, USER_DEV_GPA + 0x14);
	TEST_ASSERT_EQ(run->mmio.is_write, 1);
	user_dev_run(d, UCALL_DONE);
	TEST_ASSERT(!next_request(d->slave, &r), "A device that is dead has a request");
	TEST_ASSERT_EQ(user_dev_errno(d->slave, KVM_DEV_USER_SHADOW_SIZE, &forever), EFBIG);
}

int main(int argc, char *argv[])
{
	user_dev_require();
	return test_harness_run(argc, argv);
}
