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
	static const struct {
		const char *name;
		double least;		/* samples that carry it */
	} rising[] = {
		{ "p50_ns", 1 }, { "p90_ns", 100 }, { "p99_ns", 1000 }, { "p999_ns", 10000 },
		{ "max_ns", 1 },
	};
	struct json_object *hist, *pair;
	double last = 0, v, below = 0, total = 0, samples = number(r, "samples");
	size_t i;

	T_OK(samples > 0);
	T_EQ(number(r, "operations_per_sample"), 1);
	for (i = 0; i < sizeof(rising) / sizeof(rising[0]); i++) {
		if (samples < rising[i].least) {
			is_null(r, rising[i].name);
			continue;
		}
		v = number(r, rising[i].name);
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
	const char *args[] = { "--duration", "0.08", "--cases", "futex.*,own.load", "--placement",
			       "same-cpu", "--wait", "sleep", "--json", json_path, NULL };
	struct json_object *root, *results, *machine, *r, *v;
	int fd = mkstemp(json_path);

	T_REQUIRE(T_OK(fd >= 0));
	close(fd);
	T_EQ(bench(args), 0);
	root = json_object_from_file(json_path);
	unlink(json_path);
	T_REQUIRE(T_OK(root));
	T_EQ(number(root, "schema"), 2);
	T_REQUIRE(T_OK(json_object_object_get_ex(root, "machine", &machine)));
	T_OK(json_object_object_get_ex(machine, "kernel", &v));
	T_OK(json_object_object_get_ex(machine, "cpu", &v));
	T_OK(number(machine, "cpus") >= 1);
	T_OK(json_object_object_get_ex(machine, "cut_short", &v));
	T_EQ(json_object_get_boolean(v), number(machine, "rounds") < number(machine, "asked_rounds"));
	T_EQ(number(machine, "asked_rounds"), 4);
	T_OK(number(machine, "load_before") >= 0);
	T_OK(number(machine, "load_after") >= 0);
	T_OK(json_object_object_get_ex(machine, "stolen_percent", &v));
	T_REQUIRE(T_OK(json_object_object_get_ex(root, "not_run", &results)));
	T_REQUIRE(T_EQ(json_object_array_length(results), 1));
	r = json_object_array_get_idx(results, 0);
	json_object_object_get_ex(r, "case", &v);
	T_STREQ(json_object_get_string(v), "own.load");
	json_object_object_get_ex(r, "reason", &v);
	T_OK(strstr(json_object_get_string(v), "--device socket=PATH") != NULL);
	T_OK(json_object_object_get_ex(r, "failed", &v) && !json_object_get_boolean(v));
	T_OK(json_object_object_get_ex(root, "added", &v));
	T_EQ(json_object_array_length(v), 0);
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
	T_OK(number(r, "p50_least_ns") <= number(r, "p50_most_ns"));
	json_object_put(root);
}

/* A ratio in the table is in the JSON too. */
static void ratios(void)
{
	const char *args[] = { "--duration", "0.04", "--cases", "ring.rtt,limit.cacheline", "--wait",
			       "poll", "--json", json_path, NULL };
	struct json_object *root, *results, *list, *v;
	int n = 0, fd;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		T_SKIP("one CPU", "run it on two");
	strcpy(json_path, "/tmp/rmio-bench-test-XXXXXX");
	fd = mkstemp(json_path);
	T_REQUIRE(T_OK(fd >= 0));
	close(fd);
	T_EQ(bench(args), 0);
	root = json_object_from_file(json_path);
	unlink(json_path);
	T_REQUIRE(T_OK(root && json_object_object_get_ex(root, "results", &results)));
	for (size_t i = 0; i < json_object_array_length(results); i++) {
		json_object_object_get_ex(json_object_array_get_idx(results, i), "ratios", &list);
		for (size_t k = 0; k < json_object_array_length(list); k++) {
			json_object_object_get_ex(json_object_array_get_idx(list, k), "case", &v);
			T_STREQ(json_object_get_string(v), "limit.cacheline");
			T_OK(number(json_object_array_get_idx(list, k), "p50_ratio") > 0);
			n++;
		}
	}
	T_EQ(n, 1);
	json_object_put(root);
}

static void csv(void)
{
	static char csv_path[] = "/tmp/rmio-bench-csv-XXXXXX";
	const char *args[] = { "--duration", "0.02", "--cases", "futex.*,own.*", "--placement",
			       "same-cpu", "--wait", "sleep", "--csv", csv_path, NULL };
	int fd = mkstemp(csv_path), rows = 0, columns;
	char line[1000];
	FILE *f;

	T_REQUIRE(T_OK(fd >= 0));
	close(fd);
	T_EQ(bench(args), 0);
	f = fopen(csv_path, "r");
	T_REQUIRE(T_OK(f));
	while (fgets(line, sizeof(line), f)) {
		bool quoted = false;

		for (columns = 1, fd = 0; line[fd]; fd++) {
			quoted ^= line[fd] == '"';
			columns += line[fd] == ',' && !quoted;
		}
		T_EQ(columns, 20);
		rows++;
	}
	fclose(f);
	unlink(csv_path);
	/* The names, futex.rtt, and four that were not run. */
	T_EQ(rows, 6);
}

/* One of ours stands for the user's, with rings, beside what it is compared with. */
static void own_device(void)
{
	char path[64], device[100];
	const char *args[] = { "--duration", "0.04", "--wait", "sleep", "--device", device, "--json",
			       json_path, NULL };
	struct json_object *root, *results, *v;
	int own = 0, rivals = 0, fd;
	pid_t pid;

	snprintf(path, sizeof(path), "/tmp/bench-own-%d", getpid());
	snprintf(device, sizeof(device), "socket=%s,offset=4,store=0x1234", path);
	strcpy(json_path, "/tmp/rmio-bench-test-XXXXXX");
	fd = mkstemp(json_path);
	T_REQUIRE(T_OK(fd >= 0));
	close(fd);
	T_EQ(bench(args), 1);		/* nobody is there */
	pid = fork();
	if (!pid) {
		execl(getenv("RMIO"), "rmio", "dev", "--quiet", "--socket", path, "edu", NULL);
		_exit(127);
	}
	for (int i = 0; i < 3000 && access(path, F_OK); i++)
		usleep(10000);
	T_EQ(bench(args), 0);
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	root = json_object_from_file(json_path);
	unlink(json_path);
	T_REQUIRE(T_OK(root && json_object_object_get_ex(root, "results", &results)));
	for (size_t i = 0; i < json_object_array_length(results); i++) {
		json_object_object_get_ex(json_object_array_get_idx(results, i), "case", &v);
		if (!strncmp(json_object_get_string(v), "own.", 4))
			own++;
		else
			rivals += !strcmp(json_object_get_string(v), "socket.rtt");
	}
	T_GE(own, 2);
	T_GE(rivals, 1);
	json_object_put(root);
}

static void wrong_options(void)
{
	static const char *const bad[][3] = {
		{ "--duration", "0" },	 { "--duration", "nan" },     { "--duration", "1x" },
		{ "--wait", "poll,no" }, { "--wait", "" },	      { "--placement", "here" },
		{ "--devices", "0" },	 { "--cases", "no.such.case" }, { "--nothing" },
		{ "futex.rtt" },	 { "--cases", "futex.rtt,no.such.*" },
		{ "--cpus", "0" },	 { "--cpus", "0,x" },	      { "--cpus", "0,60000" },
		{ "--device", "x" },	 { "--device", "range=1" },   { "--device", "socket=" },
		{ "--device", "socket=a,len=3" }, { "--device", "socket=a,range=6" },
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
	{ "ratios", ratios },
	{ "csv", csv },
	{ "a device of one's own", own_device },
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
