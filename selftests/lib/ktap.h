/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * ktap.h - the frame of every self test: KTAP output, assertions, isolation, time limits.
 * Beside the data path: nothing but test programs includes it.
 *
 *	static void add(void)
 *	{
 *		T_EQ(1 + 1, 2);
 *	}
 *
 *	static const struct ktap_test tests[] = {
 *		{ "add", add },
 *		{ "long one", long_one, 180 },		(seconds; 0 means 60)
 *	};
 *
 *	int main(int argc, char **argv)
 *	{
 *		return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
 *	}
 *
 * Each test runs in a child process and process group of its own. A crash, a sanitizer report, an
 * early exit() or a hang is a `not ok` of that test alone, and what the test leaves running is
 * killed after it. Tests therefore share no state; what a test needs it sets up.
 *
 * An assertion that fails prints file, line, expression, actual and expected value, marks the
 * test failed and goes on. It is also an expression, true when it held, so that a test can stop:
 *
 *	if (!T_EQ(rmio_thing_new(&t), 0))
 *		return;
 *
 * T_REQUIRE(assertion) does just that in a function that returns void. Assertions may be used from
 * any thread and from processes that the test forks.
 *
 * Exit status: 0 all passed (some may have been skipped), 1 something failed, 4 all were skipped.
 */
#ifndef RMIO_KTAP_H
#define RMIO_KTAP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* for the compiler's check of formats */
#define KTAP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define KTAP_PASS 0
#define KTAP_FAIL 1
#define KTAP_SKIP 4

#define KTAP_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/*
 * How many times slower than elsewhere: limits are so much longer, and what would take
 * too long does so much less.  RMIO_TEST_SLOWDOWN says it of a machine.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KTAP_SLOWDOWN (4 * ktap_slow_machine())
#else
#define KTAP_SLOWDOWN ktap_slow_machine()
#endif

static inline unsigned int ktap_slow_machine(void)
{
	const char *slowdown = getenv("RMIO_TEST_SLOWDOWN");
	unsigned long n = slowdown ? strtoul(slowdown, NULL, 10) : 0;

	return n >= 1 && n <= 100 ? (unsigned int)n : 1;
}

struct ktap_test {
	const char *name;
	void (*fn)(void);
	unsigned int timeout_s; /* 0: 60 s; multiplied under a sanitizer */
};

/* How thorough to be: `./dev test --quick`, `./dev test`, `./dev test --full`. */
enum ktap_level { KTAP_QUICK, KTAP_NORMAL, KTAP_FULL };

/* In shared memory, so that children and grandchildren of the program report into it. */
struct ktap_shared {
	unsigned int failures;
	unsigned int skipped;
	unsigned int finished;
	char reason[400];
};

static struct ktap_shared *ktap_shared;
static volatile sig_atomic_t ktap_child;

/* One write() a line: lines of threads and processes do not mix. */
static inline KTAP_PRINTF(2, 0) void ktap_vprint(const char *prefix, const char *fmt, va_list ap)
{
	char line[2048];
	size_t len = 0;
	int n;

	n = snprintf(line, sizeof(line), "%s", prefix);
	len += n;
	n = vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	if (n > 0)
		len += n;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	/* a diagnostic of one line stays one line, whatever it quotes */
	for (size_t i = 0; i < len; i++)
		if (line[i] == '\n')
			line[i] = ' ';
	line[len++] = '\n';
	fflush(stdout);
	for (size_t done = 0; done < len; done += n) {
		n = write(STDOUT_FILENO, line + done, len - done);
		if (n <= 0)
			break;
	}
}

static inline KTAP_PRINTF(1, 2) void ktap_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ktap_vprint("", fmt, ap);
	va_end(ap);
}

/* A diagnostic line: `# ...`. */
static inline KTAP_PRINTF(1, 2) void ktap_diag(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ktap_vprint("# ", fmt, ap);
	va_end(ap);
}

static inline enum ktap_level ktap_level(void)
{
	const char *level = getenv("RMIO_TEST_LEVEL");

	if (level && !strcmp(level, "quick"))
		return KTAP_QUICK;
	if (level && !strcmp(level, "full"))
		return KTAP_FULL;
	return KTAP_NORMAL;
}

/* The value that fits the level: iterations, seconds. */
static inline long ktap_pick(long quick, long normal, long full)
{
	enum ktap_level level = ktap_level();

	return level == KTAP_QUICK ? quick : level == KTAP_FULL ? full : normal;
}

/* True if the test has failed so far, in any of its threads and processes. */
static inline bool ktap_failed(void)
{
	return __atomic_load_n(&ktap_shared->failures, __ATOMIC_RELAXED) != 0;
}

static inline void ktap_mark_failed(void)
{
	__atomic_fetch_add(&ktap_shared->failures, 1, __ATOMIC_RELAXED);
}

static inline void ktap_mark_skipped(const char *reason, const char *enables)
{
	if (enables && *enables)
		snprintf(ktap_shared->reason, sizeof(ktap_shared->reason), "%s; to enable: %s",
			 reason, enables);
	else
		snprintf(ktap_shared->reason, sizeof(ktap_shared->reason), "%s", reason);
	__atomic_store_n(&ktap_shared->skipped, 1, __ATOMIC_RELAXED);
}

static inline const char *ktap_errname(long long v)
{
	static __thread char name[2][32];
	static __thread unsigned int turn;
	const char *known = v < 0 && v > -4096 ? strerrorname_np((int)-v) : NULL;
	char *buf = name[turn++ % 2];

	snprintf(buf, sizeof(name[0]), known ? ", -%s" : "%s", known ? known : "");
	return buf;
}

static inline bool ktap_check(const char *file, int line, const char *expr, bool held)
{
	if (!held) {
		ktap_diag("%s:%d: does not hold: %s", file, line, expr);
		ktap_mark_failed();
	}
	return held;
}

static inline bool ktap_check_int(const char *file, int line, const char *expr, const char *op,
				  const char *rhs, long long actual, long long expected, bool held)
{
	if (!held) {
		ktap_diag("%s:%d: %s %s %s: actual %lld (0x%llx%s), expected %s%lld (0x%llx%s)",
			  file, line, expr, op, rhs, actual, actual, ktap_errname(actual),
			  strcmp(op, "==") ? op : "", expected, expected, ktap_errname(expected));
		ktap_mark_failed();
	}
	return held;
}

static inline bool ktap_check_str(const char *file, int line, const char *expr, const char *actual,
				  const char *expected)
{
	bool held = actual == expected || (actual && expected && !strcmp(actual, expected));

	if (!held) {
		ktap_diag("%s:%d: %s: actual \"%s\", expected \"%s\"", file, line, expr,
			  actual ? actual : "(null)", expected ? expected : "(null)");
		ktap_mark_failed();
	}
	return held;
}

static inline bool ktap_check_mem(const char *file, int line, const char *expr, const void *actual,
				  const void *expected, size_t len)
{
	const unsigned char *a = actual, *e = expected;

	for (size_t i = 0; i < len; i++) {
		if (a[i] == e[i])
			continue;
		ktap_diag("%s:%d: %s: byte %zu of %zu: actual 0x%02x, expected 0x%02x", file, line,
			  expr, i, len, a[i], e[i]);
		ktap_mark_failed();
		return false;
	}
	return true;
}

#define T_CMP_(actual, op, expected) \
	__extension__({ \
		long long ktap_a_ = (long long)(actual), ktap_e_ = (long long)(expected); \
		ktap_check_int(__FILE__, __LINE__, #actual, #op, #expected, ktap_a_, ktap_e_, \
			       ktap_a_ op ktap_e_); \
	})

/* Integers and pointers, compared by value as 64-bit signed numbers. */
#define T_EQ(actual, expected)	  T_CMP_(actual, ==, expected)
#define T_NE(actual, other)	  T_CMP_(actual, !=, other)
#define T_LT(actual, limit)	  T_CMP_(actual, <, limit)
#define T_LE(actual, limit)	  T_CMP_(actual, <=, limit)
#define T_GT(actual, limit)	  T_CMP_(actual, >, limit)
#define T_GE(actual, limit)	  T_CMP_(actual, >=, limit)
#define T_OK(cond)		  ktap_check(__FILE__, __LINE__, #cond, !!(cond))
#define T_STREQ(actual, expected) ktap_check_str(__FILE__, __LINE__, #actual, actual, expected)
#define T_MEMEQ(actual, expected, len) \
	ktap_check_mem(__FILE__, __LINE__, #actual, actual, expected, len)

/* Fail with a message of its own. */
#define T_FAIL(fmt, ...) \
	do { \
		ktap_diag("%s:%d: " fmt, __FILE__, __LINE__, ##__VA_ARGS__); \
		ktap_mark_failed(); \
	} while (0)

/* Leave the (void) function when the assertion does not hold. */
#define T_REQUIRE(assertion) \
	do { \
		if (!(assertion)) \
			return; \
	} while (0)

/* Leave the (void) test function as skipped: why, and what the user can do about it. */
#define T_SKIP(reason, enables) \
	do { \
		ktap_mark_skipped(reason, enables); \
		return; \
	} while (0)

static inline long long ktap_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Tests that another file of the program leaves out, NULL after the last one, and why. */
struct ktap_left_out {
	const char *name, *reason, *enables;
};

extern const struct ktap_left_out ktap_left_out[] __attribute__((weak));

static bool ktap_leave_out(const struct ktap_test *test)
{
	const struct ktap_left_out *out = ktap_left_out;

	for (; out && out->name; out++)
		if (!strcmp(out->name, test->name)) {
			ktap_mark_skipped(out->reason, out->enables);
			return true;
		}
	return false;
}

static void ktap_run_body(const struct ktap_test *test)
{
	pid_t self = getpid();

	test->fn();
	/* a process that the test forked and that returned here must not speak for the test */
	if (getpid() != self)
		_exit(1);
	__atomic_store_n(&ktap_shared->finished, 1, __ATOMIC_RELAXED);
}

/* The program is told to stop: what the running test started goes with it. */
static void ktap_on_signal(int sig)
{
	if (ktap_child > 0)
		kill(-(pid_t)ktap_child, SIGKILL);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* Waits for @pid until @limit_ms have passed. True if it ended, with its wait status. */
static bool ktap_wait(pid_t pid, long long limit_ms, int *status)
{
	long long end = ktap_now_ms() + limit_ms;
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		long long left = end - ktap_now_ms();
		struct timespec ts = { .tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000 };

		if (waitpid(pid, status, WNOHANG) == pid)
			return true;
		if (left <= 0)
			return false;
		sigtimedwait(&chld, NULL, &ts);
	}
}

static void ktap_run_forked(const struct ktap_test *test, char *why, size_t why_len)
{
	unsigned int limit = (test->timeout_s ? test->timeout_s : 60) * KTAP_SLOWDOWN;
	pid_t pid, parent = getpid();
	sigset_t chld, old;
	int status = 0;
	bool ended;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &old);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		sigprocmask(SIG_SETMASK, &old, NULL);
		ktap_run_body(test);
		/* exit(), not _exit(): leak and race reports come at exit and set the status */
		exit(ktap_failed() ? KTAP_FAIL : KTAP_PASS);
	}
	if (pid < 0) {
		snprintf(why, why_len, "fork: %s", strerror(errno));
		sigprocmask(SIG_SETMASK, &old, NULL);
		return;
	}
	setpgid(pid, pid);
	ktap_child = pid;
	ended = ktap_wait(pid, limit * 1000LL, &status);
	kill(-pid, SIGKILL);
	if (!ended)
		waitpid(pid, &status, 0);
	ktap_child = 0;
	sigprocmask(SIG_SETMASK, &old, NULL);

	if (!ended)
		snprintf(why, why_len, "timed out after %u s", limit);
	else if (WIFSIGNALED(status))
		snprintf(why, why_len, "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != KTAP_PASS && !ktap_failed())
		snprintf(why, why_len, "exit status %d", WEXITSTATUS(status));
	else if (!ktap_shared->finished)
		snprintf(why, why_len, "the process ended before the test did");
}

static bool ktap_wanted(const struct ktap_test *test, int n_filters, char **filters)
{
	for (int i = 0; i < n_filters; i++)
		if (strstr(test->name, filters[i]) || !fnmatch(filters[i], test->name, 0))
			return true;
	return !n_filters;
}

static int ktap_usage(const char *self, int status)
{
	fprintf(status ? stderr : stdout,
		"usage: %s [--list] [--no-fork] [NAME|GLOB]...\n"
		"Runs the tests whose name contains NAME or matches GLOB; all without one.\n"
		"  --list     print the names only\n"
		"  --no-fork  run in this process, without time limit (for a debugger)\n",
		self);
	return status;
}

static inline int ktap_main(const struct ktap_test *tests, int n_tests, int argc, char **argv)
{
	int planned = 0, passed = 0, failed = 0, skipped = 0, first;
	bool list = false, use_fork = true;
	struct sigaction sa = { .sa_handler = ktap_on_signal };

	for (first = 1; first < argc && argv[first][0] == '-'; first++) {
		if (!strcmp(argv[first], "--list"))
			list = true;
		else if (!strcmp(argv[first], "--no-fork"))
			use_fork = false;
		else
			return ktap_usage(argv[0], strcmp(argv[first], "--help") ? KTAP_FAIL : 0);
	}
	argc -= first;
	argv += first;

	setvbuf(stdout, NULL, _IOLBF, 0);
	ktap_shared = mmap(NULL, sizeof(*ktap_shared), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ktap_shared == MAP_FAILED) {
		perror("mmap");
		return KTAP_FAIL;
	}
	for (int i = 0; i < n_tests; i++) {
		if (!ktap_wanted(&tests[i], argc, argv))
			continue;
		planned++;
		if (list)
			puts(tests[i].name);
	}
	if (!planned)
		fprintf(stderr, "no test matches\n");
	if (list || !planned)
		return planned ? KTAP_PASS : KTAP_FAIL;

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	ktap_line("KTAP version 1");
	ktap_line("1..%d", planned);
	for (int i = 0, nr = 0; i < n_tests; i++) {
		char why[500] = "";

		if (!ktap_wanted(&tests[i], argc, argv))
			continue;
		nr++;
		memset(ktap_shared, 0, sizeof(*ktap_shared));
		if (ktap_leave_out(&tests[i]))
			;
		else if (use_fork)
			ktap_run_forked(&tests[i], why, sizeof(why));
		else
			ktap_run_body(&tests[i]);

		if (ktap_failed() || why[0]) {
			failed++;
			ktap_line("not ok %d - %s%s%s", nr, tests[i].name, why[0] ? " # " : "",
				  why);
		} else if (ktap_shared->skipped) {
			skipped++;
			ktap_line("ok %d - %s # SKIP %s", nr, tests[i].name, ktap_shared->reason);
		} else {
			passed++;
			ktap_line("ok %d - %s", nr, tests[i].name);
		}
	}
	ktap_line("# Totals: pass:%d fail:%d xfail:0 xpass:0 skip:%d error:0", passed, failed,
		  skipped);
	if (failed)
		return KTAP_FAIL;
	return passed ? KTAP_PASS : KTAP_SKIP;
}

#endif /* RMIO_KTAP_H */
