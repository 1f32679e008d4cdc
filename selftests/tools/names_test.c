// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Sockets by name: of many that start at one path one serves it, who has been killed makes room,
 * and what is there can be connected to.
 */
#include "run_rmio.h"
#include "vu_raw.h"

#include <dirent.h>
#include <sys/stat.h>

#define MANY 6

static struct rmio_run r[MANY];
static char dir[64], path[80];

static bool in_a_directory(void)
{
	snprintf(dir, sizeof(dir), "/tmp/names-%d", getpid());
	snprintf(path, sizeof(path), "%s/s", dir);
	return T_EQ(mkdir(dir, 0700), 0);
}

/* Nothing is left but these. */
static void only(int expected)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	T_EQ(n, expected);
}

static bool start(struct rmio_run *run)
{
	return rmio_start(run, (const char *const []){ "dev", "--socket", path, "null", NULL });
}

/* What a process that was killed long ago has left. */
static void leave(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(at.sun_path, path);
	T_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	close(fd);
}

static void one_of_many(void)
{
	int rounds = (int)ktap_pick(10, 20, 100), i, k, ready, fd;

	T_REQUIRE(in_a_directory());
	for (i = 0; i < rounds && !ktap_failed(); i++) {
		leave();
		for (k = 0; k < MANY; k++)
			T_REQUIRE(start(&r[k]));
		for (ready = 0, k = 0; k < MANY; k++)
			ready += rmio_read(&r[k], "ready");
		T_EQ(ready, 1);
		fd = vu_raw_connect(path);
		T_GE(fd, 0);
		close(fd);
		only(1);
		for (k = 0; k < MANY; k++) {
			kill(r[k].pid, SIGTERM);
			rmio_finish(&r[k]);
		}
		only(0);
	}
	rmdir(dir);
}

/* Its ring may still have the socket when it has been waited for. */
static void killed_and_restarted(void)
{
	int rounds = (int)ktap_pick(20, 40, 200), i;

	T_REQUIRE(in_a_directory());
	for (i = 0; i < rounds && !ktap_failed(); i++) {
		T_REQUIRE(start(&r[0]));
		T_OK(rmio_read(&r[0], "ready"));
		kill(r[0].pid, SIGKILL);
		T_EQ(rmio_finish(&r[0]), 1000 + SIGKILL);
	}
	unlink(path);
	rmdir(dir);
}

/* When the name is there, so is who listens. */
static void ready_when_seen(void)
{
	int rounds = (int)ktap_pick(20, 40, 200), i, fd;

	T_REQUIRE(in_a_directory());
	for (i = 0; i < rounds && !ktap_failed(); i++) {
		T_REQUIRE(start(&r[0]));
		while (access(path, F_OK))
			;
		fd = raw_connect(path, SOCK_STREAM);
		T_GE(fd, 0);
		close(fd);
		kill(r[0].pid, SIGTERM);
		T_EQ(rmio_finish(&r[0]), 0);
	}
	rmdir(dir);
}

/* One that serves goes on to do so, and is not waited for long. */
static void taken(void)
{
	T_REQUIRE(in_a_directory());
	T_REQUIRE(start(&r[0]));
	T_OK(rmio_read(&r[0], "ready"));
	T_REQUIRE(start(&r[1]));
	T_EQ(rmio_finish(&r[1]), 1);
	T_SAYS(r[1].err, "another process serves it");
	/* removed and made by another: left alone at the end */
	unlink(path);
	leave();
	kill(r[0].pid, SIGTERM);
	T_EQ(rmio_finish(&r[0]), 0);
	only(1);
	unlink(path);
	rmdir(dir);
}

/* The longest name, which leaves no room for another beside it. */
static void longest(void)
{
	static char full[108];
	size_t len;

	T_REQUIRE(in_a_directory());
	len = strlen(dir);
	snprintf(full, sizeof(full), "%s/", dir);
	memset(full + len + 1, 'n', 107 - len - 1);
	T_REQUIRE(rmio_start(&r[0], (const char *const []){ "dev", "--socket", full, "null", NULL }));
	T_OK(rmio_read(&r[0], "ready"));
	only(1);
	kill(r[0].pid, SIGTERM);
	T_EQ(rmio_finish(&r[0]), 0);
	only(0);
	rmdir(dir);
}

static const struct ktap_test tests[] = {
	{ "one of many serves", one_of_many, 180 },
	{ "killed and started again", killed_and_restarted, 180 },
	{ "ready when it is seen", ready_when_seen, 180 },
	{ "one that is taken", taken },
	{ "the longest name", longest },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
