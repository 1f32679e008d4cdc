// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The process at the other end of a case: forked, pinned, accounted, killed.
 *
 * Outside the data path. A peer is a process, not a thread, because that is what
 * a device is here: its address space, its descriptors and its wake-ups differ.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

int bench_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

void *bench_shared(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void bench_unshare(void *p, size_t len)
{
	munmap(p, len);
}

int bench_peer_start(struct bench_run *run, int (*fn)(void *arg), void *arg)
{
	pid_t parent = getpid();
	int err, back;
	pid_t pid;

	fflush(NULL);
	/*
	 * Born where it belongs: under a real-time policy a peer that first had to
	 * get away from this CPU would wait for ever for its parent's spinning to end.
	 */
	err = bench_pin(run->peer_cpu);
	if (err)
		return err;
	pid = fork();
	err = pid < 0 ? -errno : 0;
	if (!pid) {
		/* Whoever starts us may be killed; nobody else would end this process then. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		signal(SIGINT, SIG_DFL);
		_exit(fn(arg) ? 1 : 0);
	}
	back = bench_pin(run->cpu);
	if (err)
		return err;
	run->peer = pid;
	return back;
}

void bench_peer_stop(struct bench_run *run)
{
	if (!run->peer)
		return;
	kill(run->peer, SIGKILL);
	while (waitpid(run->peer, NULL, 0) < 0 && errno == EINTR)
		;
	run->peer = 0;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		return 0;
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

uint64_t bench_peer_cpu_ns(const struct bench_run *run)
{
	clockid_t clock;

	if (!run->peer || clock_getcpuclockid(run->peer, &clock))
		return 0;
	return clock_ns(clock);
}

uint64_t bench_cpu_ns(const struct bench_run *run)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID) + bench_peer_cpu_ns(run);
}

int bench_why(struct bench_run *run, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(run->why, sizeof(run->why), fmt, ap);
	va_end(ap);
	return status;
}
