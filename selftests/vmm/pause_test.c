// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A VM and its device that are stopped together for longer than the timeout, as by a freezer, a
 * debugger or a suspended machine: neither has run, so nobody is late.  On the data path: the wait
 * of a vCPU.
 */
#include "pair.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_NS	2000000000ull
#define STOPPED_MS	3000
#define SLICES		40	/* of 5 ms, which the device takes to answer, all of them its own */

static void sleep_ms(long ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&t, &t))
		;
}

/* Of the time in which it is stopped, no more than one slice can pass for its own. */
static void *slow_device(void *arg)
{
	struct pair *p = arg;
	struct rmio_request r;
	struct rmio_reply a;
	int i;

	while (!atomic_load(&p->stop)) {
		if (rmio_slave_read(p->slave, &r, 1) != 1) {
			rmio_slave_poll(p->slave, 20);
			continue;
		}
		for (i = 0; i < SLICES; i++)
			sleep_ms(5);
		a = (struct rmio_reply){ .seq = r.seq, .vcpu = r.vcpu, .data = 0x1234 };
		rmio_slave_write(p->slave, &a, 1);
	}
	return NULL;
}

/* Once without being stopped, so that all is set up.  0: both loads were answered. */
static int two_loads(struct pair *p, int ready)
{
	uint64_t v = 0;

	if (rmio_vcpu_load(p->vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v) || v != 0x1234)
		return 3;
	if (write(ready, "", 1) != 1)
		return 2;
	v = 0;
	if (rmio_vcpu_load(p->vcpu[0], RMIO_BUS_MEM, PAIR_ADDR, 4, &v) || v != 0x1234)
		return 1;
	return rmio_master_state(p->master) == RMIO_STATE_LIVE ? 0 : 1;
}

/* In a process of its own, which the test stops.  The exit status. */
static int vm_and_device(uint32_t policy, int ready)
{
	struct pair p;
	int status;

	if (!pair_init(&p, policy, 0, TIMEOUT_NS))
		return 2;
	if (pthread_create(&p.device, NULL, slow_device, &p))
		return 2;
	p.running = true;
	status = two_loads(&p, ready);
	pair_exit(&p);
	return status;
}

static void stopped_together(uint32_t policy)
{
	int fds[2], status = -1;
	pid_t pid;
	char c;

	T_REQUIRE(T_EQ(pipe(fds), 0));
	pid = fork();
	T_REQUIRE(T_OK(pid >= 0));
	if (!pid)
		_exit(vm_and_device(policy, fds[1]));
	close(fds[1]);
	if (T_EQ(read(fds[0], &c, 1), 1)) {
		sleep_ms(50);
		T_EQ(kill(pid, SIGSTOP), 0);
		sleep_ms(STOPPED_MS);
		T_EQ(kill(pid, SIGCONT), 0);
	}
	close(fds[0]);
	T_EQ(waitpid(pid, &status, 0), pid);
	T_EQ(status, 0);
}

static void asleep(void)
{
	stopped_together(RMIO_WAIT_SLEEP);
}

static void adaptive(void)
{
	stopped_together(RMIO_WAIT_ADAPTIVE);
}

static void polling(void)
{
	stopped_together(RMIO_WAIT_POLL);
}

static const struct ktap_test tests[] = {
	{ "stopped together, asleep", asleep },
	{ "stopped together, adaptive", adaptive },
	{ "stopped together, polling", polling },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
