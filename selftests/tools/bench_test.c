// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * rmio-bench as a program: its JSON has the promised form and agrees with its raw
 * histograms, and wrong options are refused. Nothing here judges a time.
 */
#include <fcntl.h>
#include <json-c/json.h>

#include "ktap.h"

static char json_path[] = "/tmp/rmio-bench-test-XXXXXX";

/* Runs the bench quietly; returns its exit status, or -1. */
static int bench(const char *const *args)
{
	const char *argv[16] = { getenv("RMIO_BENCH") };
	int i, status, fd;
	pid_t pid;

	for (i = 0; args[i] && i < 14; i++)
		argv[i + 1] = args[i];
	argv[i + 1] = NULL;
	pid = fork();
	if (!pid) {
		fd = open("/dev/null", O_WRONLY);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		execv(argv[0], (char **)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static double number(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!T_OK(json_object_object_get_ex(o, key, &v)))
		return -1;
	if (!json_object_is_type(v, json_type_double) && !json_object_is_type(v, json_type_int)) {
		ktap_diag("%s is no number", key);
		T_OK(false);
		return -1;
	}
	return json_object_get_double(v);
}

static void is_null(struct json_object *o, const char *key)
{
	struct json_object *v;

	T_OK(json_object_object_get_ex(o, key, &v));
	T_OK(v == NULL);
}

static void check_result(struct json_object *r)
{
	static const char *const rising[] = { "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns" };
	struct json_object *hist, *pair;
	double last = 0, v, below = 0, total = 0, samples = number(r, "samples");
	size_t i;

	T_OK(samples > 0);
	for (i = 0; i < sizeof(rising) / sizeof(rising[0]); i++) {
		v = number(r, rising[i]);
		T_OK(v >= last);
		last = v;
	}
	T_OK(number(r, "mean_ns") > 0);
	T_OK(number(r, "ops_per_s") > 0);
	T_OK(number(r, "cpu_ns_per_op") > 0);
	is_null(r, "user_exits");

	T_REQUIRE(T_OK(json_object_object_get_ex(r, "histogram", &hist)));
	last = -1;
	for (i = 0; i < json_object_array_length(hist); i++) {
		pair = json_object_array_get_idx(hist, i);
		T_REQUIRE(T_EQ(json_object_array_length(pair), 2));
		v = json_object_get_double(json_object_array_get_idx(pair, 0));
		T_OK(v > last);
		last = v;
		total += json_object_get_double(json_object_array_get_idx(pair, 1));
		if (v < number(r, "p50_ns"))
			below += json_object_get_double(json_object_array_get_idx(pair, 1));
	}
	T_EQ(total, samples);
	T_OK(below <= samples / 2);
}

static void json_form(void)
{
	const char *args[] = { "--duration", "0.02", "--cases", "futex.*", "--placement",
			       "same-cpu", "--json", json_path, NULL };
	struct json_object *root, *results, *machine, *r, *v;
	int fd = mkstemp(json_path);

	T_REQUIRE(T_OK(fd >= 0));
	close(fd);
	T_EQ(bench(args), 0);
	root = json_object_from_file(json_path);
	unlink(json_path);
	T_REQUIRE(T_OK(root));
	T_EQ(number(root, "schema"), 1);
	T_REQUIRE(T_OK(json_object_object_get_ex(root, "machine", &machine)));
	T_OK(json_object_object_get_ex(machine, "kernel", &v));
	T_OK(json_object_object_get_ex(machine, "cpu", &v));
	T_OK(number(machine, "cpus") >= 1);
	T_REQUIRE(T_OK(json_object_object_get_ex(root, "results", &results)));
	T_REQUIRE(T_EQ(json_object_array_length(results), 1));
	r = json_object_array_get_idx(results, 0);
	json_object_object_get_ex(r, "case", &v);
	T_STREQ(json_object_get_string(v), "futex.rtt");
	json_object_object_get_ex(r, "placement", &v);
	T_STREQ(json_object_get_string(v), "same-cpu");
	json_object_object_get_ex(r, "wait", &v);
	T_STREQ(json_object_get_string(v), "sleep");
	check_result(r);
	json_object_put(root);
}

static void wrong_options(void)
{
	static const char *const bad[][3] = {
		{ "--duration", "0" },	 { "--duration", "nan" },     { "--duration", "1x" },
		{ "--wait", "poll,no" }, { "--wait", "" },	      { "--placement", "here" },
		{ "--devices", "0" },	 { "--cases", "no.such.case" }, { "--nothing" },
		{ "futex.rtt" },
	};
	size_t i;
	int status;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		status = bench(bad[i]);
		if (status != 2)
			ktap_diag("%s %s: exit status %d", bad[i][0], bad[i][1] ? bad[i][1] : "",
				  status);
		T_EQ(status, 2);
	}
}

static void unwritable_json(void)
{
	const char *args[] = { "--duration", "0.02", "--cases", "futex.*", "--placement",
			       "same-cpu", "--json", "/nonexistent/file", NULL };

	T_EQ(bench(args), 1);
}

static const struct ktap_test tests[] = {
	{ "json form", json_form },
	{ "wrong options", wrong_options },
	{ "unwritable json", unwritable_json },
};

int main(int argc, char **argv)
{
	if (!getenv("RMIO_BENCH")) {
		printf("1..0 # SKIP RMIO_BENCH does not name rmio-bench; run by way of `./dev test`\n");
		return KTAP_SKIP;
	}
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
