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

#include "bench.h"

static bool drawn(const struct bench_run *r)
{
	return !r->status && r->hist.count;
}

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
}

static void script(FILE *out, const char *file, const struct bench_machine *m,
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
	size_t rows = 0, row, i, k;
	const char *sep = "";

	for (i = 0; i < n; i++)
		rows += drawn(&runs[i]);

	fprintf(out, "set terminal pngcairo noenhanced size 1200,%zu font 'sans,11'\n",
		190 + 26 * rows);
	fprintf(out, "set output \"");
	quote(out, file);
	fprintf(out, "\"\nset title \"Time of one operation by case: ");
	quote(out, m->cpu[0] ? m->cpu : "unknown CPU");
	fprintf(out, ", ");
	quote(out, m->kernel);
	fprintf(out, "\"\nset logscale x 10\n"
		"set xtics ('1 ns' 1, '10 ns' 10, '100 ns' 1e2, '1 us' 1e3, '10 us' 1e4, "
		"'100 us' 1e5, '1 ms' 1e6, '10 ms' 1e7, '100 ms' 1e8, '1 s' 1e9)\n"
		"set grid xtics ytics lc rgb '#dddddd' lt 1\n"
		"set key outside bottom center horizontal reverse Left\nset rmargin 6\nset yrange [%zu.5:-0.5]\n"
		"set border 3\nset tics nomirror\n",
		rows ? rows - 1 : 0);

	fprintf(out, "set ytics (");
	for (i = row = 0; i < n; i++) {
		if (!drawn(&runs[i]))
			continue;
		fprintf(out, "%s\"", sep);
		label(out, &runs[i]);
		fprintf(out, "\" %zu", row++);
		sep = ", ";
	}
	fprintf(out, ")\n$spread << EOD\n");
	for (i = row = 0; i < n; i++)
		if (drawn(&runs[i]))
			fprintf(out, "%.3f %zu %.3f\n", hist_percentile(&runs[i].hist, 50) / 1e3, row++,
				(hist_percentile(&runs[i].hist, 99.9) -
				 hist_percentile(&runs[i].hist, 50)) / 1e3);
	fprintf(out, "EOD\n");
	for (k = 0; k < sizeof(marks) / sizeof(marks[0]); k++) {
		fprintf(out, "$m%zu << EOD\n", k);
		for (i = row = 0; i < n; i++)
			if (drawn(&runs[i]))
				fprintf(out, "%.3f %zu\n",
					hist_percentile(&runs[i].hist, marks[k].percent) / 1e3,
					row++);
		fprintf(out, "EOD\n");
	}

	/* The median is drawn last, on top, but named first. */
	fprintf(out, "plot $spread using 1:2:3:(0) with vectors nohead lw 1.5 lc rgb '#999999' notitle");
	for (k = sizeof(marks) / sizeof(marks[0]); k-- > 0; )
		fprintf(out, ", $m%zu using 1:2 with points %s notitle", k, marks[k].style);
	for (k = 0; k < sizeof(marks) / sizeof(marks[0]); k++)
		fprintf(out, ", NaN with points %s title '%s'", marks[k].style, marks[k].title);
	fprintf(out, "\n");
}

int plot_png(const char *file, const struct bench_machine *m,
	     const struct bench_run *runs, size_t n)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, old;
	size_t i, rows = 0;
	FILE *out;
	int status;

	for (i = 0; i < n; i++)
		rows += drawn(&runs[i]);
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
	script(out, file, m, runs, n);
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
