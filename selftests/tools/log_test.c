// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The log of the commands that serve: who reads it, or does not, is nothing to those who are served.
 */
#include "run_rmio.h"
#include "vu_raw.h"

#include <sys/stat.h>

static struct rmio_run r;
static char path[64];

#define START(...) rmio_start(&r, (const char *const []){ __VA_ARGS__, NULL })

static const char *sock(const char *name)
{
	snprintf(path, sizeof(path), "/tmp/log-%d-%s", getpid(), name);
	unlink(path);
	return path;
}

/* The reader of standard error has gone. */
static void reader_gone(void)
{
	int fd, i;

	T_REQUIRE(START("dev", "--socket", sock("gone"), "edu"));
	T_REQUIRE(T_OK(rmio_read(&r, "ready")));
	close(r.err_fd);
	r.err_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	fd = vu_raw_connect(path);
	T_REQUIRE(T_GE(fd, 0));
	for (i = 0; i < 5; i++)
		T_OK(vu_raw_refused(fd, 99, 5000));
	close(fd);
	kill(r.pid, SIGTERM);
	T_EQ(rmio_finish(&r), 0);
	T_OK(access(path, F_OK));
}

/* The same of a VM's console, standard error and statistics. */
static void vmm_reader_gone(void)
{
	char json[64];
	struct stat st;

	NEED_KVM();
	snprintf(json, sizeof(json), "/tmp/log-%d.json", getpid());
	sock("vmm");
	T_REQUIRE(START("vmm", "--guest", guest_file("hello"), "--stats-socket", path, "--json",
			json));
	close(r.out_fd);
	close(r.err_fd);
	r.out_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r.err_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	T_EQ(rmio_finish(&r), 0);
	T_OK(access(path, F_OK));
	T_OK(!stat(json, &st) && st.st_size > 0);
	unlink(json);
	/* statistics for a reader that is gone: a line where that can be read */
	T_REQUIRE(START("vmm", "--guest", guest_file("hello"), "--json", "-"));
	close(r.out_fd);
	r.out_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	T_EQ(rmio_finish(&r), 0);
	T_SAYS(r.err, "--json -: ");
}

/* What is executed is ended by a reader that goes, as it was before. */
static void executed(void)
{
	int status, p[2], fd;
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	const char *rmio = getenv("RMIO") ? getenv("RMIO") : "./rmio";
	pid_t pid;

	strcpy(at.sun_path, sock("connect"));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	T_REQUIRE(T_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0));
	T_REQUIRE(T_EQ(listen(fd, 1), 0));
	T_REQUIRE(T_EQ(pipe2(p, O_CLOEXEC), 0));
	pid = fork();
	if (!pid) {
		dup2(p[1], STDOUT_FILENO);
		close(p[0]);
		signal(SIGPIPE, SIG_DFL);
		execl(rmio, "rmio", "connect", path, "--", "cat", "/dev/zero", (char *)NULL);
		_exit(127);
	}
	close(p[0]);
	close(p[1]);
	T_EQ(waitpid(pid, &status, 0), pid);
	T_OK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
	unlink(path);
}

static const struct ktap_test tests[] = {
	{ "the reader of a device's log has gone", reader_gone },
	{ "the readers of a VM have gone", vmm_reader_gone },
	{ "what is executed has the default", executed },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
