// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * ktap_test.c - the harness itself: what should fail a test does, and what should not does not.
 * Beside the data path. The program runs itself with --inner as the subject.
 */
#include <pthread.h>

#include "ktap.h"

static void inner_pass(void)
{
	T_EQ(2, 2);
}

static void inner_fail(void)
{
	int rc = -22;

	T_EQ(rc, 7);
}

static void inner_skip(void)
{
	T_SKIP("nothing here", "put something here");
}

static void inner_crash(void)
{
	raise(SIGKILL);
}

static void inner_hang(void)
{
	for (;;)
		pause();
}

static void inner_exit(void)
{
	exit(0);
}

static void inner_status(void)
{
	_exit(66);
}

static void inner_child(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		T_OK(1 == 0);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void inner_stray(void)
{
	if (fork() == 0)
		for (;;)
			pause();
}

static void *thread(void *arg)
{
	T_STREQ("left", "right");
	return NULL;
}

static void inner_thread(void)
{
	pthread_t t;

	T_EQ(pthread_create(&t, NULL, thread, NULL), 0);
	T_EQ(pthread_join(t, NULL), 0);
}

static void inner_require(void)
{
	T_REQUIRE(T_EQ(1, 2));
	exit(0);
}

static const struct ktap_test inner_tests[] = {
	{ "pass", inner_pass },	    { "fail", inner_fail },	  { "skip", inner_skip },
	{ "crash", inner_crash },   { "hang", inner_hang, 1 },	  { "exit", inner_exit },
	{ "status", inner_status }, { "child", inner_child },	  { "stray", inner_stray },
	{ "thread", inner_thread }, { "require", inner_require },
};

/* Runs this program on the inner tests that match; returns its exit status, output in @out. */
static int run_inner(const char *filter, char *out, size_t len)
{
	size_t used = 0;
	int p[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe(p))
		return -errno;
	pid = fork();
	if (pid == 0) {
		dup2(p[1], STDOUT_FILENO);
		dup2(p[1], STDERR_FILENO);
		execl("/proc/self/exe", "inner", "--inner", filter, NULL);
		_exit(127);
	}
	close(p[1]);
	while (used < len - 1 && (n = read(p[0], out + used, len - 1 - used)) > 0)
		used += n;
	out[used] = 0;
	close(p[0]);
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static void expect(const char *filter, int status, const char *line)
{
	char out[8192];

	if (!T_EQ(run_inner(filter, out, sizeof(out)), status) || !T_OK(strstr(out, line))) {
		ktap_diag("wanted: %s", line);
		ktap_diag("output: %s", out);
	}
}

static void passes(void)
{
	expect("pass", KTAP_PASS, "KTAP version 1\n1..1\nok 1 - pass\n");
}

static void failed_assertion(void)
{
	expect("fail", KTAP_FAIL, "not ok 1 - fail\n");
	expect("fail", KTAP_FAIL,
	       "rc == 7: actual -22 (0xffffffffffffffea, -EINVAL), expected 7 (0x7)");
}

static void skips(void)
{
	expect("skip", KTAP_SKIP,
	       "ok 1 - skip # SKIP nothing here; to enable: put something here\n");
	expect("[ps][ak][si][sp]", KTAP_PASS, "ok 1 - pass\nok 2 - skip # SKIP");
}

static void crash(void)
{
	expect("crash", KTAP_FAIL, "not ok 1 - crash # killed by signal 9");
}

static void hang(void)
{
	expect("hang", KTAP_FAIL, "not ok 1 - hang # timed out after");
}

static void early_exit(void)
{
	expect("exit", KTAP_FAIL, "not ok 1 - exit # the process ended before the test did\n");
	expect("status", KTAP_FAIL, "not ok 1 - status # exit status 66\n");
}

static void child_reports(void)
{
	expect("child", KTAP_FAIL, "does not hold: 1 == 0\nnot ok 1 - child\n");
}

static void thread_reports(void)
{
	expect("thread", KTAP_FAIL, "actual \"left\", expected \"right\"\nnot ok 1 - thread\n");
}

static void stray_killed(void)
{
	/* a stray holds the pipe open: run_inner() would not return while it lives */
	expect("stray", KTAP_PASS, "ok 1 - stray\n");
}

static void require_leaves(void)
{
	expect("require", KTAP_FAIL, "not ok 1 - require\n");
}

static void no_match(void)
{
	expect("nosuch", KTAP_FAIL, "no test matches\n");
}

static void comparisons(void)
{
	unsigned int u = 0xffffffff;

	T_EQ(u, 0xffffffffLL);
	T_NE(u, -1);
	T_LT(-1, 0);
	T_LE(0, 0);
	T_GT(u, 0);
	T_GE(0, 0);
	T_EQ((void *)0, NULL);
	T_MEMEQ("abc", "abd", 2);
	T_OK(!ktap_failed());
}

static const struct ktap_test tests[] = {
	{ "passes", passes },
	{ "failed assertion", failed_assertion },
	{ "skips", skips },
	{ "crash", crash },
	{ "hang", hang },
	{ "early exit", early_exit },
	{ "forked process reports", child_reports },
	{ "thread reports", thread_reports },
	{ "stray process is killed", stray_killed },
	{ "require leaves the test", require_leaves },
	{ "no match", no_match },
	{ "comparisons", comparisons },
};

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--inner"))
		return ktap_main(inner_tests, KTAP_COUNT(inner_tests), argc - 1, argv + 1);
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
