// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Which devices the loop looks at in each round, and on which CPU it does so.  Under the loop
 * (loop.c) and its operations (watch.c), whose completions make a device hot again.
 */
#include "loop.h"

/* Following a vCPU from CPU to CPU costs more than it gains if it moves often. */
#define MOVE_NS		1000000u

void rmio_src_heat(struct rmio_loop *l, struct rmio_src *src)
{
	src->idle = 0;
	if (src->hot)
		return;
	src->hot = true;
	src->prev = NULL;
	src->next = l->hot;
	if (l->hot)
		l->hot->prev = src;
	l->hot = src;
	l->nr_hot++;
}

void rmio_src_cool(struct rmio_loop *l, struct rmio_src *src)
{
	if (!src->hot)
		return;
	src->hot = false;
	if (l->cursor == src)
		l->cursor = src->next;
	if (src->prev)
		src->prev->next = src->next;
	else
		l->hot = src->next;
	if (src->next)
		src->next->prev = src->prev;
	l->nr_hot--;
}

void rmio_loop_src_hot(struct rmio_loop *l, struct rmio_src *src)
{
	if (!src->hot)
		rmio_slave_bell_disarm(src->slave);
	rmio_src_heat(l, src);
}

/* Be where the vCPU is, within what the thread may use. */
static void follow(struct rmio_loop *l, int cpu)
{
	uint64_t now;
	cpu_set_t set;

	if (cpu < 0 || cpu >= CPU_SETSIZE || cpu == l->cpu || !CPU_ISSET(cpu, &l->allowed))
		return;
	now = rmio_now_ns();
	if (now - l->moved_at < MOVE_NS)
		return;
	l->moved_at = now;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (!sched_setaffinity(0, sizeof(set), &set))
		l->cpu = cpu;
}

void rmio_loop_src_served(struct rmio_loop *l, struct rmio_src *src)
{
	src->idle = 0;
	if (l->spin.opts.placement == RMIO_PLACE_SAME_CPU)
		follow(l, rmio_slave_cpu(src->slave));
}
