// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Steps of edu_guest about when answers come: two CPUs at the same time, how long an access
 * takes, a device that is stopped or dies.  At the far end of the data path.
 */
#include "edu_guest.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

/* -- two CPUs, and time ------------------------------------------------------------------ */

struct side {
	int cpu;
	uint32_t reg, flip; /* a register of its own, and what it does to what is stored */
	uint32_t wrong, odd;
	bool locked, pinned;
};

static pthread_barrier_t both;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void begin_side(struct side *s)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(s->cpu, &set);
	s->pinned = !sched_setaffinity(0, sizeof(set), &set) && sched_getcpu() == s->cpu;
	pthread_barrier_wait(&both);
}

static void *drive(void *arg)
{
	struct side *s = arg;

	begin_side(s);
	for (uint32_t i = 0; i < 5000; i++) {
		uint32_t id, value = i * 2654435761u + (uint32_t)s->cpu;

		if (s->locked)
			pthread_mutex_lock(&turn);
		store(s->reg, value);
		id = load(EDU_ID);
		s->wrong += id != EDU_ID_VALUE;
		s->odd += id && id != EDU_ID_VALUE;
		if (s->locked)
			pthread_mutex_unlock(&turn);
		if (s->locked)
			pthread_mutex_lock(&turn);
		s->wrong += load(s->reg) != (value ^ s->flip);
		if (s->locked)
			pthread_mutex_unlock(&turn);
	}
	return NULL;
}

static void on_both(void *(*fn)(void *), struct side *sides)
{
	pthread_t threads[2];

	pthread_barrier_init(&both, NULL, 2);
	for (int i = 0; i < 2; i++)
		if (!expect("thread", (uint64_t)pthread_create(&threads[i], NULL, fn, &sides[i]),
			    0))
			exit(1);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		expect("on a CPU of its own", sides[i].pinned, true);
	}
}

static void drive_both(bool locked)
{
	struct side sides[] = {
		{ .cpu = 0, .reg = EDU_LIVE, .flip = ONES, .locked = locked },
		{ .cpu = 1, .reg = EDU_DMA_SRC, .locked = locked },
	};

	on_both(drive, sides);
	expect("wrong answers on CPU 0", sides[0].wrong, 0);
	expect("wrong answers on CPU 1", sides[1].wrong, 0);
}

void two_cpus(void)
{
	drive_both(false);
}

/* One access at a time, as by a driver with a lock. */
void two_cpus_locked(void)
{
	drive_both(true);
}

/*
 * Without a lock, where QEMU may take an access for the device's own: a limit of docs/qemu.md.
 * How often depends on luck; that such a load gives 0 does not.
 */
void two_cpus_unlocked(void)
{
	struct side sides[] = {
		{ .cpu = 0, .reg = EDU_LIVE, .flip = ONES },
		{ .cpu = 1, .reg = EDU_DMA_SRC },
	};

	on_both(drive, sides);
	for (int i = 0; i < 2; i++) {
		say("CPU %d: %u wrong answers of 10000", i, sides[i].wrong);
		expect("identification that is neither right nor 0", sides[i].odd, 0);
	}
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void timing(void)
{
	const uint32_t n = 100000;
	uint64_t begin, between, end;

	begin = now();
	for (uint32_t i = 0; i < n; i++)
		if (load(EDU_ID) != EDU_ID_VALUE)
			failed = true;
	between = now();
	for (uint32_t i = 0; i < n; i++)
		store(EDU_LIVE, i);
	end = now();
	expect("complement of the last one", load(EDU_LIVE), ~(n - 1));
	say("%u loads: %llu ns each", n, (unsigned long long)(between - begin) / n);
	say("%u stores: %llu ns each", n, (unsigned long long)(end - between) / n);
}

/* -- the device stops, or dies ------------------------------------------------------------ */

/* While the host stops the device for a while: each answer is right, however late. */
void while_stopped(void)
{
	say("go");
	for (uint32_t i = 0; i < 100000 && !failed; i++)
		alive(i);
}

/* Until the host has killed it. */
void until_gone(void)
{
	say("go");
	while (load(EDU_ID) == EDU_ID_VALUE)
		;
	expect("identification", load(EDU_ID), ONES);
	store(EDU_LIVE, 0);
	expect("complement", load(EDU_LIVE), ONES);
	expect("identification in configuration space", config_get(&pci, PCI_VENDOR_ID, 4), ONES);
}
