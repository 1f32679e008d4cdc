// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * How long to spin before sleeping: the policies of rmio/wait.h.  Stands in
 * front of each sleep, on both sides of a lane.
 */
#include "opts.h"
#include "wake.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#define SPIN_MAX_NS	100000u
#define CPU_SHARE	50u
#define BURST_NS	10000000ull	/* budget that can be saved up */
#define SPIN_MIN_NS	1000u		/* a spin is at least that long, or not worth it */

uint64_t rmio_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int rmio_spin_init(struct rmio_spin *s, const struct rmio_wait_opts *opts)
{
	int err = rmio_opts_copy_inner(&s->opts, sizeof(s->opts), opts, "rmio_wait_opts");

	if (err)
		return err;
	if (s->opts.policy > RMIO_WAIT_SLEEP)
		return rmio_refuse(-EINVAL, "rmio_wait_opts: policy is %u: there is none above %u",
				   s->opts.policy, RMIO_WAIT_SLEEP);
	if (s->opts.placement > RMIO_PLACE_SAME_CPU)
		return rmio_refuse(-EINVAL, "rmio_wait_opts: placement is %u: there is none above %u",
				   s->opts.placement, RMIO_PLACE_SAME_CPU);
	if (s->opts.cpu_share > 100)
		return rmio_refuse(-EINVAL, "rmio_wait_opts: cpu_share is %u: it is a percentage",
				   s->opts.cpu_share);
	if (!s->opts.cpu_share)
		s->opts.cpu_share = CPU_SHARE;
	if (!s->opts.spin_max_ns)
		s->opts.spin_max_ns = SPIN_MAX_NS;
	s->typical_ns = s->opts.spin_max_ns / 4;
	s->budget_ns = BURST_NS;
	s->earned_at = rmio_now_ns();
	return 0;
}

void rmio_spin_relax(const struct rmio_spin *s)
{
	if (s->opts.placement == RMIO_PLACE_SAME_CPU) {
		sched_yield();
		return;
	}
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

uint64_t rmio_spin_limit(struct rmio_spin *s, uint64_t now)
{
	uint64_t limit, passed;

	if (s->opts.policy == RMIO_WAIT_POLL)
		return UINT64_MAX;
	if (s->opts.policy == RMIO_WAIT_SLEEP || s->opts.placement == RMIO_PLACE_SAME_CPU)
		return 0;

	passed = now - s->earned_at;
	if (passed > 100 * BURST_NS)
		passed = 100 * BURST_NS;
	s->earned_at = now;
	s->budget_ns += passed * s->opts.cpu_share / 100;
	if (s->budget_ns > BURST_NS)
		s->budget_ns = BURST_NS;

	limit = 2 * s->typical_ns;
	if (limit > s->opts.spin_max_ns)
		return 0;
	if (limit < SPIN_MIN_NS)
		limit = SPIN_MIN_NS;
	return limit <= s->budget_ns ? limit : 0;
}

void rmio_spin_result(struct rmio_spin *s, uint64_t spun_ns, uint64_t waited_ns)
{
	uint64_t most = 4 * (uint64_t)s->opts.spin_max_ns;

	s->budget_ns -= spun_ns < s->budget_ns ? spun_ns : s->budget_ns;
	/* One long silence must not outweigh the many short waits that follow it. */
	if (waited_ns > most)
		waited_ns = most;
	s->typical_ns += waited_ns / 8;
	s->typical_ns -= s->typical_ns / 8;
}
