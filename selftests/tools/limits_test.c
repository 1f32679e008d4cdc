// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The limits that a shell sets: on descriptors, which what serves takes all of, and on the size of
 * files, which is an error and not the end.
 */
#include "run_rmio.h"

#include <sys/resource.h>

#define DEVICES 31

static struct rmio_run r;
static char paths[DEVICES][64];

/* rmio dev with all of its devices. */
static bool start_devices(void)
{
	const char *args[2 + 3 * DEVICES + 1] = { "dev" };
	int n = 1, i;

	for (i = 0; i < 12; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/tmp/limits-%d-%d", getpid(), i);
		args[n++] = "--socket";
		args[n++] = paths[i];
		args[n++] = "null";
	}
	return rmio_start(&r, args);
}

static void set_limit(int which, rlim_t soft, rlim_t hard)
{
	struct rlimit l = { .rlim_cur = soft, .rlim_max = hard };

	T_EQ(setrlimit(which, &l), 0);
}

/* The soft limit is one for programs that use select(). */
static void more_descriptors(void)
{
	struct rlimit l = { 0 };

	set_limit(RLIMIT_NOFILE, 20, 400);
	T_REQUIRE(start_devices());
	T_OK(rmio_read(&r, "ready"));
	T_EQ(prlimit(r.pid, RLIMIT_NOFILE, NULL, &l), 0);
	T_EQ(l.rlim_cur, 400);
	kill(r.pid, SIGTERM);
	T_EQ(rmio_finish(&r), 0);
}

/* The sockets fit, but not the connections to them: said before anybody comes. */
static void no_room(void)
{
	set_limit(RLIMIT_NOFILE, 24, 24);
	T_REQUIRE(start_devices());
	T_EQ(rmio_finish(&r), 1);
	T_SAYS(r.err, "ulimit -Hn");
	T_OK(!strstr(r.out, "ready"));
}

/* Guest memory is a file to the limit. */
static void memory_beyond(void)
{
	NEED_KVM();
	set_limit(RLIMIT_FSIZE, 1 << 20, 1 << 20);
	T_EQ(rmio_run(&r, (const char *const []){ "vmm", "--guest", guest_file("hello"), NULL }), 125);
	T_SAYS(r.err, "memory");
	T_SAYS(r.err, "File too large");
	T_SAYS(r.err, "ulimit -f");
}

/* Statistics are one, too: the guest's status stays. */
static void statistics_beyond(void)
{
	const char *rmio = getenv("RMIO") ? getenv("RMIO") : "./rmio";
	char json[64], line[1024];
	int status;

	NEED_KVM();
	snprintf(json, sizeof(json), "/tmp/limits-%d.json", getpid());
	/* The file is beyond from the start, the guest's memory is not. */
	snprintf(line, sizeof(line), "truncate -s 70M %s; ulimit -f 70000; exec 3>>%s; "
		 "exec %s vmm --guest %s --json /dev/fd/3", json, json, rmio, guest_file("hello"));
	T_REQUIRE(T_EQ(setenv("LINE", line, 1), 0));
	status = system("sh -c \"$LINE\" 2>&1 | grep -q 'File too large'");
	T_EQ(status, 0);
	unlink(json);
}

/* What is looked at is made, and nothing dies of it. */
static void doctor_without(void)
{
	set_limit(RLIMIT_FSIZE, 0, 0);
	T_OK(rmio_run(&r, (const char *const []){ "doctor", NULL }) <= 1);
	T_SAYS(r.out, "File too large");
}

static const struct ktap_test tests[] = {
	{ "more descriptors than the shell gives", more_descriptors },
	{ "no room for connections", no_room },
	{ "memory beyond the limit on files", memory_beyond },
	{ "statistics beyond the limit on files", statistics_beyond },
	{ "doctor without files", doctor_without },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
