// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a process of rmio may miss around it: each start names it, and so does `rmio doctor`.
 */
#include "run_rmio.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static struct rmio_run r;
static char path[64];

/* From here on it fails like that, in children too. */
static bool forbid(long nr, int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	    !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p))
		return true;
	ktap_mark_skipped("no seccomp filters", "a kernel with CONFIG_SECCOMP_FILTER");
	return false;
}

/* The device process that starts all the same says it once, and is silent with --quiet. */
static void starts_and_says(const char *words)
{
	snprintf(path, sizeof(path), "/tmp/rmio-around-%d.sock", getpid());
	T_REQUIRE(rmio_start(&r, (const char *const []){ "dev", "--socket", path, "null", NULL }));
	T_OK(rmio_read(&r, "ready"));
	kill(r.pid, SIGTERM);
	T_EQ(rmio_finish(&r), 0);
	T_SAYS(r.err, words);
	T_REQUIRE(rmio_start(&r, (const char *const []){ "dev", "--quiet", "--socket", path, "null",
							 NULL }));
	kill(r.pid, SIGTERM);
	rmio_finish(&r);
	T_OK(!strstr(r.err, words));
	unlink(path);
}

static void does_not_start(const char *words)
{
	snprintf(path, sizeof(path), "/tmp/rmio-around-%d.sock", getpid());
	T_EQ(rmio_run(&r, (const char *const []){ "dev", "--socket", path, "null", NULL }), 1);
	T_SAYS(r.err, words);
}

static void doctor_says(const char *finding, const char *words)
{
	const char *at;

	T_GE(rmio_run(&r, (const char *const []){ "doctor", NULL }), 0);
	at = strstr(r.out, finding);
	T_REQUIRE(T_OK(at));
	T_EQ(strncmp(at - strlen("NOT THERE "), "NOT THERE ", strlen("NOT THERE ")), 0);
	T_SAYS(at, words);
}

/* -- io_uring ----------------------------------------------------------------------------- */

static void uring_forbidden(void)
{
	if (!forbid(SYS_io_uring_setup, EPERM))
		return;
	does_not_start("rmio dev: io_uring: io_uring_setup(2) is forbidden: by a seccomp filter");
	doctor_says("io_uring  ", "why: io_uring_setup(2) is forbidden: by a seccomp filter");
}

static void uring_hidden(void)
{
	if (!forbid(SYS_io_uring_setup, ENOSYS))
		return;
	does_not_start("rmio dev: io_uring: io_uring_setup(2) is not there: a kernel without "
		       "CONFIG_IO_URING, or a seccomp filter or valgrind hides it");
	doctor_says("io_uring  ", "why: io_uring_setup(2) is not there");
}

/* A lower limit than a ring takes, where rings count: the one who may lock memory is not bound. */
static void locked_memory(void)
{
	struct rlimit l = { 8192, 8192 };

	prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
	T_EQ(setrlimit(RLIMIT_MEMLOCK, &l), 0);
	T_REQUIRE(rmio_start(&r, (const char *const []){ "dev", "--fd", "0", "null", NULL }));
	rmio_finish(&r);
	if (!strstr(r.err, "io_uring"))
		T_SKIP("rings do not count as locked memory here", "another kernel");
	does_not_start("rmio dev: io_uring: a ring of 256 entries does not fit into RLIMIT_MEMLOCK, 8 "
		       "KiB for all rings of this user: raise it with ulimit -l");
	doctor_says("io_uring  ", "RLIMIT_MEMLOCK, 8 KiB");
	doctor_says("several loops", "of 8: a ring of 256 entries does not fit into RLIMIT_MEMLOCK");
}

/* -- the rest --------------------------------------------------------------------------------- */

static void no_proc(void)
{
#ifdef __SANITIZE_ADDRESS__
	T_SKIP("the sanitizer's runtime needs /proc itself", "the plain tree");
#endif
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/proc", "tmpfs", 0, NULL))
		T_SKIP("no mounts", "root, and a kernel with mount namespaces");
	starts_and_says("rmio dev: /proc is not mounted: no --spawn");
	doctor_says("/proc  ", "why: /proc is not mounted");
	T_EQ(umount("/proc"), 0);
}

static void no_pidfd(void)
{
	if (!forbid(SYS_pidfd_open, ENOSYS))
		return;
	starts_and_says("rmio dev: pidfd_open(2): Function not implemented");
	doctor_says("pidfd  ", "why: pidfd_open(2): Function not implemented");
}

static void old_kernel(void)
{
	T_GE(personality(UNAME26), 0);
	starts_and_says("rmio dev: this is Linux 2.6.");
	doctor_says("Linux 6.1", "why: this is Linux 2.6.");
}

static void valgrind(void)
{
	setenv("LD_PRELOAD", "/nowhere/vgpreload_core.so", 1);
	starts_and_says("rmio dev: valgrind runs this process");
	doctor_says("not valgrind", "why: valgrind runs this process");
}

static const struct ktap_test tests[] = {
	{ "io_uring forbidden", uring_forbidden },
	{ "io_uring hidden", uring_hidden },
	{ "locked memory", locked_memory },
	{ "no /proc", no_proc },
	{ "no pidfd", no_pidfd },
	{ "an old kernel", old_kernel },
	{ "valgrind", valgrind },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
