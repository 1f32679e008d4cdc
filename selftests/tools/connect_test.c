// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio connect`: the command gets the connection as the descriptor that was asked for, and nothing
 * else of rmio's; what cannot be is refused in words.
 */
#include "run_rmio.h"

#include <sys/socket.h>
#include <sys/un.h>

#define RUN(r, ...) rmio_run(&(r), (const char *const []){ "connect", __VA_ARGS__, NULL })

static struct rmio_run r;
static char path[64];

static int listener(int type)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0), high;

	snprintf(path, sizeof(path), "/tmp/rmio-connect-%d", getpid());
	strcpy(a.sun_path, path);
	unlink(path);
	T_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	T_EQ(listen(fd, 4), 0);
	/* out of the way of the descriptors that are tested */
	high = fcntl(fd, F_DUPFD_CLOEXEC, 20);
	close(fd);
	return high;
}

/* What the command wrote to the next connection, all of it. */
static const char *said(int listening)
{
	static char buf[256];
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(buf) - 1 && (n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = 0;
	close(fd);
	return buf;
}

static void hands_over(void)
{
	int l = listener(SOCK_STREAM);

	T_EQ(RUN(r, path, "--", "sh", "-c", "echo three >&3; exit 7"), 7);
	T_STREQ(said(l), "three\n");
	T_EQ(RUN(r, "--as", "9", path, "--", "sh", "-c", "echo nine >&9; test ! -e /dev/fd/3"), 0);
	T_STREQ(said(l), "nine\n");
	/* without the dashes, and with options that are the command's */
	T_EQ(RUN(r, path, "sh", "-c", "echo \"$1\" >&3", "sh", "--as"), 0);
	T_STREQ(said(l), "--as\n");
	close(l);
	unlink(path);
}

static void inherited(void)
{
	int l = listener(SOCK_STREAM), other = dup2(STDERR_FILENO, 3);

	/* What was 3 before gives way; the connection is 3 even if it was opened as 3. */
	T_EQ(other, 3);
	T_EQ(RUN(r, path, "--", "sh", "-c", "echo over >&3"), 0);
	T_STREQ(said(l), "over\n");
	close(other);
	T_EQ(RUN(r, path, "--", "sh", "-c", "echo again >&3"), 0);
	T_STREQ(said(l), "again\n");
	close(l);
	unlink(path);
}

static void waits(void)
{
	int l = listener(SOCK_STREAM);

	unlink(path);
	close(l);
	if (!T_OK(rmio_start(&r, (const char *const []){ "connect", "--retry", "60000", path, "--",
							 "sh", "-c", "echo late >&3", NULL })))
		return;
	l = listener(SOCK_STREAM);
	T_STREQ(said(l), "late\n");
	T_EQ(rmio_finish(&r), 0);
	close(l);
	unlink(path);
}

static void refused(void)
{
	static const char *const bad[][8] = {
		{ "connect", NULL },
		{ "connect", "--as", "2", "x", "--", "true", NULL },
		{ "connect", "--as", "-1", "x", "--", "true", NULL },
		{ "connect", "--as", "three", "x", "--", "true", NULL },
		{ "connect", "--retry", "-5", "x", "--", "true", NULL },
		{ "connect", "x", NULL },
		{ "connect", "x", "--", NULL },
	};
	static const char *const words[] = {
		"no PATH", "from 3 on, not 2", "from 3 on, not -1", "from 3 on, not three", "not -5",
		"no command", "no command",
	};
	char name[200];
	int l;

	for (int i = 0; i < KTAP_COUNT(bad); i++) {
		T_EQ(rmio_run(&r, bad[i]), 2);
		T_SAYS(r.err, words[i]);
	}
	T_EQ(RUN(r, "/nonexistent/sock", "--", "true"), 125);
	T_SAYS(r.err, "/nonexistent/sock: No such file or directory; start `rmio dev --socket`");
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	T_EQ(RUN(r, name, "--", "true"), 125);
	T_SAYS(r.err, "File name too long");
	l = listener(SOCK_SEQPACKET);
	T_EQ(RUN(r, path, "--", "true"), 125);
	T_SAYS(r.err, "not a stream socket");
	close(l);
	T_EQ(RUN(r, path, "--", "true"), 125);
	T_SAYS(r.err, "nobody listens there");
	unlink(path);
	l = listener(SOCK_STREAM);
	T_EQ(RUN(r, path, "--", "/nonexistent/command"), 127);
	T_SAYS(r.err, "/nonexistent/command: No such file");
	T_EQ(RUN(r, path, "--", "/"), 126);
	T_SAYS(r.err, "Permission denied");
	close(l);
	unlink(path);
}

static const struct ktap_test tests[] = {
	{ "a command with a connection", hands_over },
	{ "a descriptor that is in use", inherited },
	{ "a socket that appears late", waits, 60 },
	{ "what cannot be", refused },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
