// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Sockets by name: of many that start at one path one serves it, who has been killed makes room,
 * and what is there can be connected to.
 */
#include "run_rmio.h"
#include "vu_raw.h"

#include <dirent.h>
#include <grp.h>
#include <rmio/vmm.h>
#include <stddef.h>
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

/* What lies beside it, under the names that are used in passing, is somebody else's. */
static void neighbours(void)
{
	char beside[100], lock[100];
	struct stat st;
	FILE *f;

	T_REQUIRE(in_a_directory());
	snprintf(beside, sizeof(beside), "%s~", path);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	f = fopen(lock, "w");
	T_REQUIRE(T_OK(f));
	fputs("1234\n", f);
	fclose(f);
	T_REQUIRE(rmio_start(&r[0], (const char *const []){ "dev", "--socket", beside, "null", NULL }));
	T_REQUIRE(T_OK(rmio_read(&r[0], "ready")));
	T_REQUIRE(start(&r[1]));
	T_REQUIRE(T_OK(rmio_read(&r[1], "ready")));
	only(3);
	T_EQ(rmio_run(&r[2], (const char *const []){ "connect", beside, "--", "true", NULL }), 0);
	T_EQ(rmio_run(&r[2], (const char *const []){ "connect", path, "--", "true", NULL }), 0);
	kill(r[0].pid, SIGTERM);
	T_EQ(rmio_finish(&r[0]), 0);
	kill(r[1].pid, SIGTERM);
	T_EQ(rmio_finish(&r[1]), 0);
	only(1);
	T_EQ(stat(lock, &st), 0);
	T_EQ(st.st_size, 5);
	unlink(lock);
	rmdir(dir);
}

/* -- whom it is for ------------------------------------------------------------------------- */

/* A connection that is served, as another user or not. */
static bool welcome(const char *name, uid_t user, gid_t group)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(at);
	struct pollfd p = { .events = POLLRDHUP };
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		strcpy(at.sun_path, name);
		if (*name == '@') {
			at.sun_path[0] = 0;
			len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
		}
		if (user && (setgroups(0, NULL) || setresgid(group, group, group) ||
			     setresuid(user, user, user)))
			_exit(2);
		p.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(p.fd, (struct sockaddr *)&at, len))
			_exit(1);
		/* Who is not admitted sees the end at once. */
		_exit(poll(&p, 1, 300) > 0);
	}
	T_EQ(waitpid(pid, &status, 0), pid);
	T_OK(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return !status;
}

static bool dev_with(const char *name, const char *mode, const char *group)
{
	return T_OK(rmio_start(&r[0], (const char *const []){
			"dev", "--socket-mode", mode, "--socket-group", group, "--socket", name, "null",
			NULL })) && T_OK(rmio_read(&r[0], "ready"));
}

static void end_dev(void)
{
	kill(r[0].pid, SIGTERM);
	T_EQ(rmio_finish(&r[0]), 0);
}

static void mode_and_group(void)
{
	struct stat st;

	T_REQUIRE(in_a_directory());
	T_EQ(rmio_run(&r[1], (const char *const []){ "dev", "--socket-mode", "9", "--socket", path,
						     "null", NULL }), 2);
	T_SAYS(r[1].err, "--socket-mode: an octal number from 0 to 0777, not 9");
	T_EQ(rmio_run(&r[1], (const char *const []){ "dev", "--socket-group", "no such", "--socket",
						     path, "null", NULL }), 2);
	T_SAYS(r[1].err, "--socket-group: there is no group no such");
	if (geteuid())
		T_SKIP("who is not root cannot give a file to a group", "root");
	chmod(dir, 0755);
	T_REQUIRE(dev_with(path, "0620", "54321"));
	T_EQ(stat(path, &st), 0);
	T_EQ(st.st_mode & 0777, 0620);
	T_EQ(st.st_gid, 54321);
	T_OK(welcome(path, 0, 0));
	T_OK(welcome(path, 12345, 54321));
	T_OK(!welcome(path, 12345, 12345));
	end_dev();
	only(0);
	rmdir(dir);
}

/* No file, and the same rules. */
static void abstract(void)
{
	struct rmio_client *c;
	char name[64];

	snprintf(name, sizeof(name), "@rmio-names-%d", getpid());
	T_REQUIRE(rmio_start(&r[0], (const char *const []){ "dev", "--socket", name, "null", NULL }));
	T_REQUIRE(T_OK(rmio_read(&r[0], "ready")));
	T_OK(welcome(name, 0, 0));
	T_EQ(rmio_run(&r[1], (const char *const []){ "dev", "--socket", name, "null", NULL }), 1);
	T_SAYS(r[1].err, "another process serves it");
	/* rmio's own client comes there too */
	T_EQ(rmio_run(&r[1], (const char *const []){ "connect", name, "--", "true", NULL }), 0);
	/* and the library's */
	if (T_EQ(rmio_client_connect(name, NULL, &c), 0))
		rmio_client_free(c);
	if (!geteuid())
		T_OK(!welcome(name, 12345, 12345));
	/* killed and started again at once */
	kill(r[0].pid, SIGKILL);
	rmio_finish(&r[0]);
	T_REQUIRE(rmio_start(&r[0], (const char *const []){ "dev", "--socket", name, "null", NULL }));
	T_OK(rmio_read(&r[0], "ready"));
	end_dev();
	if (geteuid())
		return;
	T_REQUIRE(dev_with(name, "0620", "54321"));
	T_OK(welcome(name, 12345, 54321));
	T_OK(!welcome(name, 12345, 12345));
	end_dev();
	T_REQUIRE(dev_with(name, "0602", "54321"));
	T_OK(welcome(name, 12345, 12345));
	end_dev();
}

/* -- one that a service manager has made ------------------------------------------------------ */

static int listening(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(at.sun_path, name, strnlen(name, sizeof(at.sun_path)));
	T_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	T_EQ(listen(fd, 4), 0);
	return fd;
}

static bool start_with(int fd, const char *const *args)
{
	const char *rmio = getenv("RMIO") ? getenv("RMIO") : "./rmio";
	const char *argv[20] = {
		"-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"", rmio,
	};
	bool good;
	int n = 3;

	while (*args)
		argv[n++] = *args++;
	if (!T_EQ(dup2(fd, 3), 3))
		return false;
	setenv("RMIO", "/bin/sh", 1);
	good = rmio_start(&r[0], argv);
	setenv("RMIO", rmio, 1);
	close(3);
	return good;
}

static void inherited(void)
{
	int fd;

	T_REQUIRE(in_a_directory());
	/* Number 3 is the one that the protocol names. */
	if (fcntl(3, F_GETFD) >= 0)
		close(3);
	fd = fcntl(listening(path), F_DUPFD_CLOEXEC, 10);
	close(3);
	T_REQUIRE(start_with(fd, (const char *const []){ "dev", "--socket", path, "null", NULL }));
	T_REQUIRE(T_OK(rmio_read(&r[0], "ready")));
	T_OK(welcome(path, 0, 0));
	T_OK(!strstr(r[0].err, "LISTEN_FDS"));
	end_dev();
	/* it stays, for the next one; by its number too */
	only(1);
	T_REQUIRE(start_with(fd, (const char *const []){ "dev", "--fd", "3", "null", NULL }));
	T_REQUIRE(T_OK(rmio_read(&r[0], "ready")));
	T_OK(welcome(path, 0, 0));
	T_OK(welcome(path, 0, 0));
	end_dev();
	T_OK(!strstr(r[0].err, "LISTEN_FDS"));
	only(1);
	/* one that nobody wants is said */
	snprintf(path, sizeof(path), "%s/other", dir);
	T_REQUIRE(start_with(fd, (const char *const []){ "dev", "--socket", path, "null", NULL }));
	T_REQUIRE(T_OK(rmio_read(&r[0], "ready")));
	end_dev();
	T_SAYS(r[0].err, "LISTEN_FDS: there is no --socket /tmp/names-");
	only(1);
	snprintf(path, sizeof(path), "%s/s", dir);
	unlink(path);
	close(fd);
	rmdir(dir);
}

/* A path that fills the address, and so has no NUL in it, is read to its end and no further. */
static void inherited_longest(void)
{
	static char full[109];
	size_t len;
	int fd;

	T_REQUIRE(in_a_directory());
	len = strlen(dir);
	snprintf(full, sizeof(full), "%s/", dir);
	memset(full + len + 1, 'n', 108 - len - 1);
	if (fcntl(3, F_GETFD) >= 0)
		close(3);
	fd = fcntl(listening(full), F_DUPFD_CLOEXEC, 10);
	close(3);
	T_REQUIRE(start_with(fd, (const char *const []){ "dev", "--socket", path, "null", NULL }));
	T_OK(rmio_read(&r[0], "ready"));
	end_dev();
	T_SAYS(r[0].err, "LISTEN_FDS: there is no --socket");
	T_OK(strstr(r[0].err, full));
	T_OK(!strstr(r[0].err, "Sanitizer"));
	unlink(full);
	close(fd);
	rmdir(dir);
}

static const struct ktap_test tests[] = {
	{ "mode and group", mode_and_group },
	{ "abstract names", abstract },
	{ "inherited and listening", inherited },
	{ "inherited, of the longest path", inherited_longest },
	{ "one of many serves", one_of_many, 180 },
	{ "killed and started again", killed_and_restarted, 180 },
	{ "ready when it is seen", ready_when_seen, 180 },
	{ "one that is taken", taken },
	{ "the longest name", longest },
	{ "names beside it that are taken", neighbours },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
