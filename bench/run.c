// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * rmio-bench: chooses cases and runs their slices in turn.
 *
 * Outside the data path. Every case is set up, run for a slice and torn down in
 * each of several rounds, every other round in reverse order; the histograms of
 * all rounds are merged. So cases that are compared have seen the same machine,
 * and report.c compares them round by round.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "options.h"
#include "start.h"

#define MAX_RUNS 256
#define SLICE_SECONDS 0.02	/* at least: set-up is to be the smaller part */
#define HANG_SECONDS 30
#define MAX_GLOBS 64

static const struct bench_case *const families[] = {
	bench_limits_cases,
	bench_ring_cases,
	bench_dma_cases,
	bench_kvm_cases,
	bench_rmio_cases,
	bench_bpf_cases,
	bench_user_cases,
	bench_qemu_cases,
	bench_own_cases,
};

static struct bench_run runs[MAX_RUNS];
static size_t nr_runs;

/* A file that cannot be written is to be known before the measuring, not after it. */
static int writable(const char *file)
{
	struct stat st;
	int fd;

	/* Who reads a pipe would take this for all there is. */
	if (!stat(file, &st) && S_ISFIFO(st.st_mode))
		return 0;
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0) {
		fprintf(stderr, "rmio-bench: %s: %s\n", file, strerror(errno));
		return -errno;
	}
	close(fd);
	return 0;
}

/* The patterns of --cases, and which have matched. */
static struct {
	char *text, *glob[MAX_GLOBS];
	bool hit[MAX_GLOBS];
	size_t n;
} wanted;

static int want(const char *globs)
{
	char *save = NULL, *glob;

	if (!globs)
		return 0;
	wanted.text = strdup(globs);
	if (!wanted.text)
		return -ENOMEM;
	for (glob = strtok_r(wanted.text, ",", &save); glob; glob = strtok_r(NULL, ",", &save)) {
		if (wanted.n == MAX_GLOBS)
			return -E2BIG;
		wanted.glob[wanted.n++] = glob;
	}
	return 0;
}

/* What a device of the user's own is compared with is measured beside it. */
static bool beside_own(const struct bench_case *c)
{
	const struct bench_case *o;
	int i;

	for (o = bench_own_cases; o->name; o++)
		for (i = 0; i < BENCH_MAX_RIVALS && o->rivals[i]; i++)
			if (!strcmp(o->rivals[i], c->name) && !(c->flags & BENCH_MANY))
				return true;
	return false;
}

static bool selected(const struct bench_options *o, const struct bench_case *c, const char *name)
{
	bool hit = false;
	size_t i;

	for (i = 0; i < wanted.n; i++) {
		if (fnmatch(wanted.glob[i], name, 0))
			continue;
		wanted.hit[i] = true;
		hit = true;
	}
	if (o->cases)
		return hit;
	if (o->own.socket)
		return c->flags & BENCH_OWN || beside_own(c);
	return o->list || !(c->flags & BENCH_OWN);
}

/* A pattern that matches nothing is a mistake; better said now. */
static int unmatched(void)
{
	int err = 0;
	size_t i;

	for (i = 0; i < wanted.n; i++) {
		if (wanted.hit[i])
			continue;
		fprintf(stderr, "rmio-bench: no case matches '%s', see --list\n", wanted.glob[i]);
		err = -EINVAL;
	}
	return err;
}

static void case_name(const struct bench_case *c, const struct bench_options *o, char *name,
		      size_t len)
{
	if (c->flags & BENCH_MANY)
		snprintf(name, len, "%s.%u", c->name, o->devices);
	else
		snprintf(name, len, "%s", c->name);
}

/* With one CPU for both, spinning only burns the time that the other side needs. */
static bool sensible(const struct bench_case *c, const struct bench_options *o,
		     enum bench_placement placement, enum bench_wait wait)
{
	if (c->flags & BENCH_FIXED || placement != BENCH_SAME_CPU || wait == BENCH_SLEEP)
		return true;
	return o->placements_given && o->waits_given;
}

static int add_run(const struct bench_case *c, const struct bench_options *o,
		   const struct bench_machine *m, enum bench_placement placement,
		   enum bench_wait wait)
{
	struct bench_run *r;
	char name[sizeof(r->name)];
	int err;

	case_name(c, o, name, sizeof(name));
	if (o->brief && !(c->flags & BENCH_OWN) && !brief_wants(name, placement, wait))
		return 0;
	if (nr_runs == MAX_RUNS)
		return -ENOSPC;
	r = &runs[nr_runs];
	err = hist_init(&r->hist);
	if (err)
		return err;
	err = hist_init(&r->slice);
	if (err) {
		hist_exit(&r->hist);
		return err;
	}
	nr_runs++;
	r->def = c;
	strcpy(r->name, name);
	r->placement = placement;
	r->wait = wait;
	r->devices = c->flags & BENCH_MANY ? o->devices : 1;
	r->cpu = m->cpu_a;
	r->peer_cpu = placement == BENCH_SAME_CPU || m->cpu_b < 0 ? m->cpu_a : m->cpu_b;
	if (c->flags & BENCH_KVM && m->kvm[0])
		r->status = bench_why(r, 1, "needs KVM: %s", m->kvm);
	else if (placement == BENCH_CROSS_CPU && m->cpu_b < 0)
		r->status = bench_why(r, 1, "needs a second CPU");
	return 0;
}

static int add_case(const struct bench_case *c, const struct bench_options *o,
		    const struct bench_machine *m)
{
	unsigned int waits = c->flags & BENCH_FIXED ? c->waits : c->waits & o->waits;
	int p, w, err;

	for (p = BENCH_NOWHERE; p <= BENCH_CROSS_CPU; p++) {
		if (p == BENCH_NOWHERE ? c->placements
				       : !(c->placements & o->placements & BENCH_PLACE(p)))
			continue;
		for (w = BENCH_NOWAIT; w <= BENCH_SLEEP; w++) {
			if (w == BENCH_NOWAIT ? c->waits : !(waits & BENCH_WAIT(w)))
				continue;
			if (!sensible(c, o, p, w))
				continue;
			err = add_run(c, o, m, p, w);
			if (err)
				return err;
		}
	}
	return 0;
}

static void list_case(const struct bench_case *c, const char *name)
{
	int p, w;

	printf("%-26s %s\n%28s", name, c->what, "");
	for (p = BENCH_SAME_CPU; p <= BENCH_CROSS_CPU; p++)
		if (c->placements & BENCH_PLACE(p))
			printf("%s ", bench_placement_name(p));
	for (w = BENCH_POLL; w <= BENCH_SLEEP; w++)
		if (c->waits & BENCH_WAIT(w))
			printf("%s ", bench_wait_name(w));
	printf("%s\n", c->flags & BENCH_KVM ? "(KVM)" : "");
}

static int select_runs(const struct bench_options *o, const struct bench_machine *m)
{
	const struct bench_case *c;
	char name[64];
	size_t f;
	int err;

	for (f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
		for (c = families[f]; c->name; c++) {
			case_name(c, o, name, sizeof(name));
			if (!selected(o, c, name))
				continue;
			if (o->list) {
				list_case(c, name);
				continue;
			}
			err = add_case(c, o, m);
			if (err)
				return err;
		}
	}
	return 0;
}

/* On a terminal one line that changes; in a log a line every few seconds. */
static void progress(unsigned int round, unsigned int rounds, size_t done, const char *name)
{
	static struct timespec last;
	struct timespec now;
	bool tty = isatty(STDERR_FILENO);

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!tty && now.tv_sec - last.tv_sec < 5)
		return;
	last = now;
	fprintf(stderr, "%sround %u of %u, case %zu of %zu: %s%s",
		tty ? "\r\033[K" : "rmio-bench: ", round + 1, rounds, done + 1, nr_runs, name,
		tty ? "" : "\n");
}

static const char *volatile current = "";

/* A lost wake-up shows as a case that never returns; say which, and end with all peers. */
static void hung(int sig)
{
	static const char head[] = "\nrmio-bench: no progress in case ";
	ssize_t unused;

	unused = write(STDERR_FILENO, head, sizeof(head) - 1);
	unused = write(STDERR_FILENO, current, strlen(current));
	unused = write(STDERR_FILENO, "\n", 1);
	(void)unused;
	_exit(1);
}

static void run_slice(struct bench_run *r, unsigned int round, uint64_t ns)
{
	int err;

	current = r->name;
	r->extra = 0;
	hist_clear(&r->slice);
	alarm(HANG_SECONDS + ns / 1000000000);
	err = bench_pin(r->cpu);
	if (!err)
		err = r->def->setup(r);
	if (!err) {
		err = r->def->slice(r, ns);
		r->def->teardown(r);
	}
	alarm(0);
	r->p50[round] = hist_percentile(&r->slice, 50);
	hist_merge(&r->hist, &r->slice);
	if (err) {
		r->status = err;
		if (!r->why[0])
			bench_why(r, err, "%s", strerror(-err));
	}
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Of how many, the first round done, more rounds are to be made. */
static size_t going_on(void)
{
	size_t i, n = 0;

	for (i = 0; i < nr_runs; i++)
		n += !runs[i].status;
	return n;
}

/*
 * Returns how many rounds were made. On a machine that has no time for set-up they
 * can take several times as long as they measure; whoever waits for the result is
 * better served by fewer of them.
 */
static unsigned int run_rounds(const struct bench_options *o, unsigned int rounds)
{
	double start = seconds(), limit;
	uint64_t ns = o->seconds * 1e9 / rounds;
	unsigned int round;
	size_t i;

	for (round = 0; round < rounds; round++) {
		limit = 15 + 1.35 * o->seconds * going_on();
		if (round && (seconds() - start) * (round + 1) / round > limit)
			break;
		for (i = 0; i < nr_runs; i++) {
			struct bench_run *r = &runs[round & 1 ? nr_runs - 1 - i : i];

			if (r->status || (r->def->flags & BENCH_ONCE && round))
				continue;
			progress(round, rounds, i, r->name);
			run_slice(r, round,
				  r->def->flags & BENCH_ONCE ? (uint64_t)(o->seconds * 1e9) : ns);
		}
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	for (i = 0; i < nr_runs; i++)
		if (!runs[i].status && !runs[i].hist.count && !(runs[i].def->flags & BENCH_IDLE))
			runs[i].status = bench_why(&runs[i], 1, "the time was too short for one "
						   "sample: --duration");
	return round;
}

static bool failed(const char *file, int err)
{
	if (err)
		fprintf(stderr, "rmio-bench: %s: %s\n", file, strerror(-err));
	return err;
}

int main(int argc, char **argv)
{
	struct bench_options o;
	struct bench_machine m = { 0 };
	int err, status = 0;
	size_t i;

	cmd_start();
	if (bench_options_parse(&o, argc, argv)) {
		fprintf(stderr, "rmio-bench --help tells more.\n");
		return 2;
	}
	bench_own = o.own;
	m.cpu_a = o.cpu_a;
	m.cpu_b = o.cpu_b;
	if (bench_machine_read(&m)) {
		fprintf(stderr, "rmio-bench: --cpus %d,%d: not among the CPUs that this process may use\n",
			o.cpu_a, o.cpu_b);
		return 2;
	}
	err = want(o.cases);
	if (!err)
		err = select_runs(&o, &m);
	if (err) {
		fprintf(stderr, "rmio-bench: %s\n", strerror(-err));
		return 1;
	}
	if (unmatched())
		return 2;
	if (o.list)
		return 0;
	if (!nr_runs) {
		fprintf(stderr, "rmio-bench: nothing is left of these cases with this --placement and "
			"--wait\n");
		return 2;
	}
	if ((o.json && writable(o.json)) || (o.plot && writable(o.plot)) ||
	    (o.csv && writable(o.csv)))
		return 1;

	signal(SIGALRM, hung);
	signal(SIGPIPE, SIG_IGN);
	bench_pin(m.cpu_a);
	bench_clock_init();
	m.rounds = BENCH_MAX_ROUNDS;
	if (o.seconds < BENCH_MAX_ROUNDS * SLICE_SECONDS)
		m.rounds = o.seconds / SLICE_SECONDS;
	if (!m.rounds)
		m.rounds = 1;
	m.asked_rounds = m.rounds;
	m.seconds = o.seconds;
	noise_begin(&m);
	m.rounds = run_rounds(&o, m.rounds);
	noise_end(&m);

	if (o.brief)
		report_brief(&m, runs, nr_runs);
	else
		report_table(&m, runs, nr_runs);
	if (o.json && failed(o.json, report_json(o.json, &m, runs, nr_runs)))
		status = 1;
	if (o.csv && failed(o.csv, report_csv(o.csv, runs, nr_runs)))
		status = 1;
	if (o.plot && plot_png(o.plot, &m, runs, nr_runs))
		status = 1;
	for (i = 0; i < nr_runs; i++) {
		if (runs[i].status < 0)
			status = 1;
		hist_exit(&runs[i].hist);
		hist_exit(&runs[i].slice);
	}
	return status;
}
