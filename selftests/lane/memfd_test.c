// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * memfd_test.c - sealed memfds: what is made holds its promises, and of what a peer sends only
 * that passes which cannot raise SIGBUS.
 */
#include <fcntl.h>
#include <linux/memfd.h>
#include <rmio/abi.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "ktap.h"
#include "memfd.h"
#include "wire/memory.h"

#define SIZE		(4ull * RMIO_PAGE)
#define SEALS_SIZE	(F_SEAL_SHRINK | F_SEAL_GROW)
#define SEALS_ALL	(SEALS_SIZE | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE)

/* A memfd as a peer may send it: any size, any seals. */
static int peer_memfd(uint64_t size, int seals)
{
	int fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	T_GE(fd, 0);
	T_EQ(ftruncate(fd, size), 0);
	T_EQ(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* Another descriptor of the same file. */
static int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static void made_is_sealed(void)
{
	int fd = rmio_memfd_new("rmio-test", SIZE);
	struct stat st;

	T_REQUIRE(T_GE(fd, 0));
	T_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	T_EQ(fstat(fd, &st), 0);
	T_EQ(st.st_size, SIZE);
	T_EQ(fcntl(fd, F_GET_SEALS) & SEALS_ALL, SEALS_SIZE);
	T_EQ(ftruncate(fd, SIZE - RMIO_PAGE), -1);
	T_EQ(errno, EPERM);
	T_EQ(ftruncate(fd, SIZE + RMIO_PAGE), -1);
	T_EQ(errno, EPERM);

	T_EQ(rmio_memfd_check(fd, SIZE, false), -EPERM);	/* not yet against further seals */
	T_EQ(rmio_memfd_seal(fd, false), 0);
	T_EQ(fcntl(fd, F_GET_SEALS) & SEALS_ALL, SEALS_SIZE | F_SEAL_SEAL);
	T_EQ(rmio_memfd_check(fd, SIZE, false), 0);
	T_EQ(rmio_memfd_check(fd, SIZE, true), -EPERM);
	T_EQ(rmio_memfd_seal(fd, true), -EPERM);
	close(fd);
}

static void future_write(void)
{
	int fd = rmio_memfd_new("rmio-test", SIZE);
	volatile uint64_t *w, *r;

	T_REQUIRE(T_GE(fd, 0));
	w = rmio_memfd_map(fd, SIZE, true, NULL);
	T_REQUIRE(T_NE(w, NULL));
	T_EQ(rmio_memfd_seal(fd, true), 0);
	T_EQ(fcntl(fd, F_GET_SEALS) & SEALS_ALL, SEALS_ALL);
	T_EQ(rmio_memfd_check(fd, SIZE, true), 0);
	T_EQ(rmio_memfd_check(fd, SIZE, false), -EPERM);

	/* the early mapping still writes, later ones read what it wrote and cannot write */
	T_EQ(rmio_memfd_map(fd, SIZE, true, NULL), NULL);
	T_EQ(errno, EPERM);
	r = rmio_memfd_map(fd, SIZE, false, NULL);
	T_REQUIRE(T_NE(r, NULL));
	w[SIZE / 8 - 1] = 0x0123456789abcdef;
	T_EQ(r[SIZE / 8 - 1], 0x0123456789abcdef);
	T_EQ(mprotect((void *)r, SIZE, PROT_READ | PROT_WRITE), -1);
	T_EQ(write(fd, "x", 1), -1);
	T_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE), -1);
	munmap((void *)r, SIZE);
	munmap((void *)w, SIZE);
	close(fd);
}

static void map_fixed(void)
{
	int fd = rmio_memfd_new("rmio-test", SIZE);
	char *room, *p;

	T_REQUIRE(T_GE(fd, 0));
	room = mmap(NULL, SIZE + 2 * RMIO_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_REQUIRE(T_OK(room != MAP_FAILED));
	p = rmio_memfd_map(fd, SIZE, true, room + RMIO_PAGE);
	T_REQUIRE(T_EQ(p, room + RMIO_PAGE));
	p[0] = 1;
	p[SIZE - 1] = 2;
	/* an address inside a page is refused rather than rounded */
	T_EQ(rmio_memfd_map(fd, SIZE, true, room + 1), NULL);
	T_EQ(errno, EINVAL);
	T_EQ(rmio_memfd_map(fd, 0, false, NULL), NULL);
	T_EQ(errno, EINVAL);
	T_EQ(rmio_memfd_map(-1, SIZE, false, NULL), NULL);
	T_EQ(errno, EBADF);
	munmap(room, SIZE + 2 * RMIO_PAGE);
	close(fd);
}

static void bad_arguments(void)
{
	char longest[300];
	int fd;

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	T_EQ(rmio_memfd_new("rmio-test", 0), -EINVAL);
	T_EQ(rmio_memfd_new("rmio-test", 1), -EINVAL);
	T_EQ(rmio_memfd_new("rmio-test", SIZE + 1), -EINVAL);
	T_EQ(rmio_memfd_new("rmio-test", UINT64_MAX), -EINVAL);
	T_EQ(rmio_memfd_new("rmio-test", 1ull << 63), -EFBIG);
	T_EQ(rmio_memfd_new(NULL, SIZE), -EINVAL);
	T_EQ(rmio_memfd_new(longest, SIZE), -EINVAL);
	T_EQ(rmio_memfd_seal(-1, false), -EBADF);

	fd = peer_memfd(SIZE, SEALS_ALL);
	T_EQ(rmio_memfd_check(fd, 0, true), -EINVAL);
	T_EQ(rmio_memfd_check(fd, SIZE + 8, true), -EINVAL);
	T_EQ(rmio_memfd_check(fd, UINT64_MAX, true), -EINVAL);
	T_EQ(rmio_memfd_check(fd, 1ull << 63, true), -EMSGSIZE);
	close(fd);
}

static void limits(void)
{
	struct rlimit files, fsize = { .rlim_cur = SIZE, .rlim_max = SIZE };
	int fd;

	/* an error, not a SIGXFSZ */
	T_EQ(setrlimit(RLIMIT_FSIZE, &fsize), 0);
	T_EQ(rmio_memfd_new("rmio-test", SIZE + RMIO_PAGE), -EFBIG);
	fd = rmio_memfd_new("rmio-test", SIZE);
	T_GE(fd, 0);

	T_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = fd + 1;
	T_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
	T_EQ(rmio_memfd_new("rmio-test", SIZE), -EMFILE);
	close(fd);
}

static void missing_seals(void)
{
	static const int needed[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL,
				      F_SEAL_FUTURE_WRITE };
	int fd;

	for (int without = 0; without < KTAP_COUNT(needed); without++) {
		fd = peer_memfd(SIZE, SEALS_ALL & ~needed[without]);
		if (!T_EQ(rmio_memfd_check(fd, SIZE, true), -EPERM))
			ktap_diag("without seal 0x%x", needed[without]);
		close(fd);
	}
	fd = peer_memfd(SIZE, 0);
	T_EQ(rmio_memfd_check(fd, SIZE, true), -EPERM);
	T_EQ(rmio_memfd_check(fd, SIZE, false), -EPERM);
	close(fd);
	/* fit for reading only, by the other seal */
	fd = peer_memfd(SIZE, SEALS_SIZE | F_SEAL_WRITE | F_SEAL_SEAL);
	T_EQ(rmio_memfd_check(fd, SIZE, false), -EPERM);
	close(fd);
	/* never allowed to be sealed: carries F_SEAL_SEAL alone */
	fd = memfd_create("peer", MFD_CLOEXEC);
	T_EQ(ftruncate(fd, SIZE), 0);
	T_EQ(rmio_memfd_check(fd, SIZE, false), -EPERM);
	close(fd);
}

static void wrong_size(void)
{
	static const uint64_t sizes[] = { 0, 1, RMIO_PAGE, SIZE - RMIO_PAGE, SIZE - 1, SIZE + 1,
					  SIZE + RMIO_PAGE, 1ull << 40 };

	for (int i = 0; i < KTAP_COUNT(sizes); i++) {
		int fd = peer_memfd(sizes[i], SEALS_ALL);

		if (!T_EQ(rmio_memfd_check(fd, SIZE, true), -EMSGSIZE))
			ktap_diag("of %llu bytes", (unsigned long long)sizes[i]);
		close(fd);
	}
}

/* The peer keeps a descriptor and tries to pull the pages away from under our mapping. */
static void truncated_later(void)
{
	volatile unsigned char *p;
	int theirs, ours;

	theirs = peer_memfd(SIZE, SEALS_SIZE | F_SEAL_SEAL);
	ours = dup(theirs);
	T_EQ(rmio_memfd_check(ours, SIZE, false), 0);
	p = rmio_memfd_map(ours, SIZE, true, NULL);
	T_REQUIRE(T_NE(p, NULL));
	p[SIZE - 1] = 7;
	T_EQ(ftruncate(theirs, 0), -1);
	T_EQ(errno, EPERM);
	T_EQ(p[SIZE - 1], 7);
	/* a hole may be punched: zeroes, but no SIGBUS */
	T_EQ(fallocate(theirs, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE), 0);
	for (uint64_t i = 0; i < SIZE; i += RMIO_PAGE)
		T_EQ(p[i], 0);
	T_EQ(p[SIZE - 1], 0);
	munmap((void *)p, SIZE);
	close(ours);
	close(theirs);
}

/* With less than all seals the same trick does raise SIGBUS: the reason for the check. */
static void sigbus_without_seals(void)
{
	int fd = peer_memfd(SIZE, F_SEAL_GROW), status = 0;
	pid_t pid;

	T_EQ(rmio_memfd_check(fd, SIZE, false), -EPERM);
	pid = fork();
	if (pid == 0) {
		volatile char *p = rmio_memfd_map(fd, SIZE, true, NULL);

		signal(SIGBUS, SIG_DFL);	/* a sanitizer would turn it into an exit */
		if (!p || ftruncate(fd, 0))
			_exit(1);
		p[0] = 1;
		_exit(2);
	}
	T_EQ(waitpid(pid, &status, 0), pid);
	T_OK(WIFSIGNALED(status));
	T_EQ(WTERMSIG(status), SIGBUS);
	close(fd);
}

static void refused(const char *what, int fd, int expected)
{
	if (!T_GE(fd, 0))
		return;
	if (!T_EQ(rmio_memfd_check(fd, SIZE, true), expected) ||
	    !T_EQ(rmio_memfd_check(fd, SIZE, false), expected))
		ktap_diag("with %s", what);
	close(fd);
}

static void wrong_kind(void)
{
	char path[] = "memfd_test-XXXXXX";
	int fds[2], fd;

	T_EQ(pipe(fds), 0);
	refused("a pipe's reading end", fds[0], -EBADF);
	refused("a pipe's writing end", fds[1], -EBADF);
	T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	refused("a socket", fds[0], -EBADF);
	close(fds[1]);
	refused("/dev/null", open("/dev/null", O_RDWR), -EBADF);
	refused("/dev/zero", open("/dev/zero", O_RDWR), -EBADF);
	refused("a directory", open(".", O_RDONLY | O_DIRECTORY), -EBADF);
	refused("an eventfd", eventfd(0, 0), -EBADF);
	refused("a file of /proc", open("/proc/self/status", O_RDONLY), -EBADF);

	T_EQ(rmio_memfd_check(-1, SIZE, true), -EBADF);
	T_EQ(rmio_memfd_check(1 << 20, SIZE, false), -EBADF);

	fd = mkstemp(path);
	T_GE(fd, 0);
	unlink(path);
	T_EQ(ftruncate(fd, SIZE), 0);
	/* a directory on tmpfs has seals, but only the one that forbids adding any */
	T_EQ(rmio_memfd_check(fd, SIZE, true), fcntl(fd, F_GET_SEALS) < 0 ? -EBADF : -EPERM);
	close(fd);

	fd = peer_memfd(SIZE, SEALS_ALL);
	refused("a path descriptor of a memfd", reopen(fd, O_PATH), -EBADF);
	close(fd);
}

static void huge_pages(void)
{
	uint64_t size = 2 << 20;
	int fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB);

	if (fd < 0 || ftruncate(fd, size) || fcntl(fd, F_ADD_SEALS, SEALS_ALL)) {
		if (fd >= 0)
			close(fd);
		T_SKIP("no memfd of huge pages", "a kernel with CONFIG_HUGETLBFS");
	}
	T_EQ(rmio_memfd_check(fd, size, true), -EBADF);
	close(fd);
	fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB);
	T_EQ(ftruncate(fd, size), 0);
	T_EQ(fcntl(fd, F_ADD_SEALS, SEALS_SIZE | F_SEAL_SEAL), 0);
	T_EQ(rmio_memfd_check(fd, size, false), -EBADF);
	close(fd);
}

static void wrong_mode(void)
{
	int fd = peer_memfd(SIZE, SEALS_SIZE | F_SEAL_SEAL), other;
	void *p;

	other = reopen(fd, O_RDONLY);
	T_GE(other, 0);
	T_EQ(rmio_memfd_check(other, SIZE, false), -EACCES);
	T_EQ(rmio_memfd_map(other, SIZE, true, NULL), NULL);
	T_EQ(errno, EACCES);
	close(other);
	other = reopen(fd, O_WRONLY);
	T_GE(other, 0);
	T_EQ(rmio_memfd_check(other, SIZE, false), -EACCES);
	T_EQ(rmio_memfd_map(other, SIZE, true, NULL), NULL);
	T_EQ(errno, EACCES);
	close(other);
	close(fd);

	/* to read, less than both rights will do */
	fd = peer_memfd(SIZE, SEALS_SIZE);
	other = reopen(fd, O_RDONLY);
	T_GE(other, 0);
	T_EQ(fcntl(fd, F_ADD_SEALS, SEALS_ALL), 0);
	T_EQ(rmio_memfd_check(other, SIZE, true), 0);
	p = rmio_memfd_map(other, SIZE, false, NULL);
	T_NE(p, NULL);
	munmap(p, SIZE);
	close(other);
	close(fd);
}

static const struct ktap_test tests[] = {
	{ "made is sealed", made_is_sealed },
	{ "future writes", future_write },
	{ "map at an address", map_fixed },
	{ "bad arguments", bad_arguments },
	{ "limits of the process", limits },
	{ "missing seals", missing_seals },
	{ "wrong size", wrong_size },
	{ "truncated while mapped", truncated_later },
	{ "SIGBUS without seals", sigbus_without_seals },
	{ "wrong kind of descriptor", wrong_kind },
	{ "huge pages", huge_pages },
	{ "wrong mode", wrong_mode },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
