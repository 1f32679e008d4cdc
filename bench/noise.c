// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Who else was on the machine: its load, and the time that a host took from the two CPUs.
 *
 * Outside the data path, before and after the run.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

bool noise_of_cpu(const char *stat, int cpu, uint64_t *steal, uint64_t *total)
{
	uint64_t v[8] = { 0 };
	char head[24];
	const char *at;
	int i, n;

	snprintf(head, sizeof(head), "\ncpu%d ", cpu);
	at = strstr(stat, head);
	if (!at)
		return false;
	/* user nice system idle iowait irq softirq steal; what follows is in user and nice. */
	n = sscanf(at + strlen(head), "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %" SCNu64 " %" SCNu64 " %" SCNu64, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5],
		   &v[6], &v[7]);
	if (n != 8)
		return false;
	*steal += v[7];
	for (i = 0; i < 8; i++)
		*total += v[i];
	return true;
}

static double load(void)
{
	double l;

	return getloadavg(&l, 1) == 1 ? l : -1;
}

static bool both(const struct bench_machine *m, uint64_t *steal, uint64_t *total)
{
	static char text[1 << 18];
	FILE *f = fopen("/proc/stat", "re");
	size_t n;

	*steal = *total = 0;
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	return noise_of_cpu(text, m->cpu_a, steal, total) &&
	       (m->cpu_b < 0 || m->cpu_b == m->cpu_a ||
		noise_of_cpu(text, m->cpu_b, steal, total));
}

void noise_begin(struct bench_machine *m)
{
	m->load_before = load();
	if (!both(m, &m->steal_at, &m->total_at))
		m->total_at = 0;
}

void noise_end(struct bench_machine *m)
{
	uint64_t steal, total;

	m->load_after = load();
	m->stolen = -1;
	if (m->total_at && both(m, &steal, &total) && total > m->total_at)
		m->stolen = 100.0 * (steal - m->steal_at) / (total - m->total_at);
}
