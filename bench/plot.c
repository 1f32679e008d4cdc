// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Draws the percentiles of every case as a PNG, by way of gnuplot.
 *
 * Outside the data path, after the run.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compare.h"

/* Pixels; the sides of A4. */
#define PAGE_WIDTH	1200
#define PAGE_HEIGHT	1697
#define MARGINS		220

/* Prints @s for use within double quotes of gnuplot, and none of its markup. */
static void quote(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', out);
		if ((unsigned char)*s >= ' ')
			fputc(*s, out);
	}
}

static void label(FILE *out, const struct bench_run *r)
{
	const char *place = bench_placement_name(r->placement);
	const char *wait = bench_wait_name(r->wait);

	quote(out, r->name);
	if (place || wait)
		fprintf(out, "  (%s%s%s)", place ? place : "", place && wait ? ", " : "",
			wait ? wait : "");
	/* Its percentiles are of means. */
	if (r->per_sample > 1)
		fputc('*', out);
}

/* A row for each run, and an empty one between two groups. */
struct row {
	const struct bench_run *run;
	size_t at;
};

static size_t rows_of(const struct bench_run *runs, size_t n, struct row *rows, size_t *nr)
{
	size_t *group, *order = compare_groups(runs, n, nr, &group), i, at = 0;

	for (i = 0; order && i < *nr; i++) {
		at += i && group[i] != group[i - 1];
		rows[i] = (struct row){ &runs[order[i]], at++ };
	}
	free(order);
	if (order)
		free(group);
	return at;
}

/* What the samples do not carry is not drawn. */
static void points(FILE *out, const struct row *rows, size_t n, double percent)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (percent <= 50 || hist_carries(&rows[i].run->hist, percent))
			fprintf(out, "%.3f %zu\n",
				hist_percentile(&rows[i].run->hist, percent) / 1e3, rows[i].at);
		else
			fprintf(out, "NaN %zu\n", rows[i].at);
}

/* From the median to the highest percentile that is drawn. */
static void spread(FILE *out, const struct row *rows, size_t n)
{
	static const double up_to[] = { 99.9, 99, 90 };
	size_t i, k;

	for (i = 0; i < n; i++) {
		const struct hist *h = &rows[i].run->hist;

		for (k = 0; k < 3 && !hist_carries(h, up_to[k]); k++)
			;
		fprintf(out, "%.3f %zu %.3f\n", hist_percentile(h, 50) / 1e3, rows[i].at, k == 3 ? 0 :
			(hist_percentile(h, up_to[k]) - hist_percentile(h, 50)) / 1e3);
	}
}

static void head(FILE *out, const char *file, const struct bench_machine *m, size_t height,
		 double step)
{
	/* Of A4, upright: with many rows they come closer. */
	fprintf(out, "set terminal pngcairo noenhanced size %d,%zu font 'sans,%.1f'\n", PAGE_WIDTH,
		height, step < 26 ? 5 + step * 6 / 26 : 11.0);
	fprintf(out, "set output \"");
	quote(out, file);
	fprintf(out, "\"\nset title \"Time of one operation by case, each group with what it is compared "
		"with\\n");
	quote(out, m->cpu[0] ? m->cpu : "unknown CPU");
	fprintf(out, ", ");
	quote(out, m->kernel);
	fprintf(out, "\\n* percentiles of means, of 32 accesses for a guest");
	if (m->rounds < m->asked_rounds)
		fprintf(out, "; cut short: %u of %u rounds", m->rounds, m->asked_rounds);
	fprintf(out, "\"\n");
}

void plot_script(FILE *out, const char *file, const struct bench_machine *m,
		 const struct bench_run *runs, size_t n)
{
	static const struct {
		double percent;
		const char *title;
		const char *style;
	} marks[] = {
		{ 50, "p50", "pt 7 ps 1.3 lc rgb '#1b6ca8'" },
		{ 90, "p90", "pt 5 ps 0.9 lc rgb '#57a773'" },
		{ 99, "p99", "pt 9 ps 1.1 lc rgb '#e0a030'" },
		{ 99.9, "p99.9", "pt 2 ps 1.0 lw 2 lc rgb '#c8443c'" },
	};
	struct row *rows = calloc(n + 1, sizeof(*rows));
	size_t nr = 0, height, lines, i, k;
	double step = 26;

	if (!rows)
		return;
	lines = rows_of(runs, n, rows, &nr);
	if (MARGINS + lines * step > PAGE_HEIGHT)
		step = (double)(PAGE_HEIGHT - MARGINS) / lines;
	height = MARGINS + (size_t)(lines * step);
	head(out, file, m, height, step);
	fprintf(out, "set logscale x 10\n"
		"set xtics ('1 ns' 1, '10 ns' 10, '100 ns' 1e2, '1 us' 1e3, '10 us' 1e4, "
		"'100 us' 1e5, '1 ms' 1e6, '10 ms' 1e7, '100 ms' 1e8, '1 s' 1e9)\n"
		"set grid xtics ytics lc rgb '#dddddd' lt 1\n"
		"set key outside bottom center horizontal reverse Left\nset rmargin 6\n"
		"set yrange [%zu.5:-0.5]\nset border 3\nset tics nomirror\n",
		lines ? lines - 1 : 0);

	fprintf(out, "set ytics (");
	for (i = 0; i < nr; i++) {
		fprintf(out, "%s\"", i ? ", " : "");
		label(out, rows[i].run);
		fprintf(out, "\" %zu", rows[i].at);
	}
	fprintf(out, ")\n$spread << EOD\n");
	spread(out, rows, nr);
	fprintf(out, "EOD\n");
	for (k = 0; k < sizeof(marks) / sizeof(marks[0]); k++) {
		fprintf(out, "$m%zu << EOD\n", k);
		points(out, rows, nr, marks[k].percent);
		fprintf(out, "EOD\n");
	}

	/* The median is drawn last, on top, but named first. */
	fprintf(out, "plot $spread using 1:2:3:(0) with vectors nohead lw 1.5 lc rgb '#999999' notitle");
	for (k = sizeof(marks) / sizeof(marks[0]); k-- > 0; )
		fprintf(out, ", $m%zu using 1:2 with points %s notitle", k, marks[k].style);
	for (k = 0; k < sizeof(marks) / sizeof(marks[0]); k++)
		fprintf(out, ", NaN with points %s title '%s'", marks[k].style, marks[k].title);
	fprintf(out, "\n");
	free(rows);
}

int plot_png(const char *file, const struct bench_machine *m,
	     const struct bench_run *runs, size_t n)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, old;
	size_t i, rows = 0;
	FILE *out;
	int status;

	for (i = 0; i < n; i++)
		rows += !runs[i].status && runs[i].hist.count;
	if (!rows) {
		fprintf(stderr, "rmio-bench: nothing to plot\n");
		return -ENODATA;
	}

	/*
	 * A gnuplot that is missing or gives up must not end us by SIGPIPE, and one that
	 * cannot write the file must not write the picture to our standard output.
	 */
	sigaction(SIGPIPE, &ignore, &old);
	out = popen("exec gnuplot >/dev/null", "w");
	if (!out) {
		status = -errno;
		sigaction(SIGPIPE, &old, NULL);
		return status;
	}
	plot_script(out, file, m, runs, n);
	status = pclose(out);
	sigaction(SIGPIPE, &old, NULL);
	if (status == -1)
		return -errno;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
		fprintf(stderr, "rmio-bench: no plot: gnuplot is not installed "
			"(Debian: gnuplot-nox)\n");
		return -ENOENT;
	}
	if (status) {
		fprintf(stderr, "rmio-bench: no plot: gnuplot failed, see above\n");
		return -EIO;
	}
	return 0;
}
