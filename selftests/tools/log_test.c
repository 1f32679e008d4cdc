// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The log of the commands that serve: who reads it, or does not, is nothing to those who are
 * served.
 */
#include "need_bpf.h"
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

/* Nobody reads standard error, and no more goes into it.  How much it is full of. */
static size_t fill_log(void)
{
	char name[40], junk[512];
	size_t n = 0;
	int fd;

	memset(junk, '.', sizeof(junk));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", r.err_fd);
	fd = open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	while (write(fd, junk, sizeof(junk)) == sizeof(junk))
		n += sizeof(junk);
	T_GT(n, 0);
	close(fd);
	return n;
}

static void take_log(size_t n)
{
	char junk[512];
	ssize_t got;

	while (n) {
		got = read(r.err_fd, junk, n < sizeof(junk) ? n : sizeof(junk));
		if (!T_GT(got, 0))
			return;
		n -= (size_t)got;
	}
}

static unsigned int lines_with(const char *text, const char *words)
{
	unsigned int n = 0;

	for (; (text = strstr(text, words)); text += strlen(words))
		n++;
	return n;
}

/* A device whose log nobody reads, and the other one. */
static void unread(bool read_then)
{
	char other[64];
	size_t full;
	int fd, fd2, i;

	snprintf(other, sizeof(other), "%s", sock("other"));
	T_REQUIRE(START("dev", "--socket", other, "null", "--socket", sock("unread"), "edu"));
	T_REQUIRE(T_OK(rmio_read(&r, "ready")));
	full = fill_log();
	fd = vu_raw_connect(path);
	fd2 = vu_raw_connect(other);
	T_REQUIRE(T_OK(fd >= 0 && fd2 >= 0));
	for (i = 0; i < 1000; i++)
		if (!T_OK(vu_raw_refused(fd, (uint16_t)(90 + i % 10), 5000)))
			return;
	T_OK(vu_raw_refused(fd2, 99, 5000));
	if (read_then)
		take_log(full);
	close(fd);
	close(fd2);
	kill(r.pid, SIGTERM);
	if (read_then) {
		T_EQ(rmio_finish(&r), 0);
		T_SAYS(r.err, " lines dropped: ");
		T_SAYS(r.err, "rmio dev: null on /tmp/log-");
		T_GE(lines_with(r.err, "edu on "), 5);
	} else {
		T_EQ(waitpid(r.pid, &i, 0), r.pid);
		T_EQ(i, 0);
	}
}

static void unread_log(void)
{
	unread(true);
}

static void unread_to_the_end(void)
{
	unread(false);
}

/* One client says the same again and again: the log stays small, and says how often. */
static void of_a_kind(void)
{
	char other[64];
	int fd, i;

	snprintf(other, sizeof(other), "%s", sock("also"));
	T_REQUIRE(START("dev", "--socket", other, "edu", "--socket", sock("kind"), "edu"));
	T_REQUIRE(T_OK(rmio_read(&r, "ready")));
	fd = vu_raw_connect(path);
	T_REQUIRE(T_GE(fd, 0));
	for (i = 0; i < 1000; i++)
		T_OK(vu_raw_refused(fd, (uint16_t)(90 + i % 10), 5000));
	close(fd);
	fd = vu_raw_connect(other);
	T_OK(vu_raw_refused(fd, 99, 5000));
	close(fd);
	kill(r.pid, SIGTERM);
	T_EQ(rmio_finish(&r), 0);
	T_OK(lines_with(r.err, "\n") < 40);
	T_SAYS(r.err, " lines dropped: too many of a kind, such as: edu on ");
	T_EQ(lines_with(r.err, other), 1);
}

/* Each connection that is turned away is a line. */
static void broker_log(void)
{
	size_t full;
	int fd, i;

	NEED_BPF();
	T_REQUIRE(START("bpfd", "--socket", sock("bpfd")));
	for (i = 0; i < 500 && access(path, F_OK); i++)
		usleep(20000);
	full = fill_log();
	for (i = 0; i < 1500; i++) {
		fd = raw_connect(path, SOCK_SEQPACKET);
		T_REQUIRE(T_GE(fd, 0));
		close(fd);
	}
	/* refused, or served: it answers in any case */
	fd = raw_connect(path, SOCK_SEQPACKET);
	T_EQ(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	T_OK(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 10000) == 1);
	close(fd);
	take_log(full);
	kill(r.pid, SIGTERM);
	T_EQ(rmio_finish(&r), 0);
	T_SAYS(r.err, " lines dropped: ");
	T_OK(lines_with(r.err, "\n") < 60);
}

/* A map without a descriptor: answered without an error. */
static void map_none(int fd, uint32_t flags, uint64_t iova)
{
	struct {
		struct vu_raw_cmd head;
		uint32_t argsz, flags;
		uint64_t offset, iova, size;
	} map = {
		.head = { .id = 3, .cmd = 2, .size = sizeof(map) },
		.argsz = 32,
		.flags = flags,
		.iova = iova,
		.size = 65536,
	};

	T_EQ(send(fd, &map, sizeof(map), MSG_NOSIGNAL), sizeof(map));
	T_OK(raw_answer(fd, 5000));
}

/*
 * A VM's ROM never has a descriptor, and no DMA goes there in ordinary use: the line is for memory
 * that the guest writes, once.
 */
static void memory_without_descriptor(void)
{
	int fd;

	T_REQUIRE(START("dev", "--socket", sock("memory"), "edu"));
	T_REQUIRE(T_OK(rmio_read(&r, "ready")));
	fd = vu_raw_connect(path);
	T_REQUIRE(T_GE(fd, 0));
	map_none(fd, 1, 0xfffc0000);
	map_none(fd, 3, 0);
	map_none(fd, 3, 0x100000);
	close(fd);
	kill(r.pid, SIGTERM);
	T_EQ(rmio_finish(&r), 0);
	T_EQ(lines_with(r.err, "without a descriptor"), 1);
	T_SAYS(r.err, "memory at 0x0 came without a descriptor");
	T_SAYS(r.err, "share=on");
}

static const struct ktap_test tests[] = {
	{ "the reader of a device's log has gone", reader_gone },
	{ "a log that nobody reads", unread_log },
	{ "a log that nobody ever reads", unread_to_the_end },
	{ "too many of a kind", of_a_kind },
	{ "a broker's log that nobody reads", broker_log },
	{ "memory without a descriptor", memory_without_descriptor },
	{ "the readers of a VM have gone", vmm_reader_gone },
	{ "what is executed has the default", executed },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
