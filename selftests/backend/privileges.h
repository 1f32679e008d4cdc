/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * For tests that begin as root, since loading a BPF program needs it, and go on without.
 */
#ifndef RMIO_SELFTESTS_PRIVILEGES_H
#define RMIO_SELFTESTS_PRIVILEGES_H

#include "ktap.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NOBODY	65534

#define NEEDS_ROOT_AND_KVM()						\
	do {								\
		if (geteuid())						\
			T_SKIP("not root", "run it as root");		\
		if (access("/dev/kvm", R_OK | W_OK))			\
			T_SKIP("no /dev/kvm", "a machine with KVM");	\
	} while (0)

/* This process has nothing that root had but what it has open. */
__attribute__((unused))
static bool drop_privileges(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	return T_EQ(setgroups(0, NULL), 0) && T_EQ(setresgid(NOBODY, NOBODY, NOBODY), 0) &&
	       T_EQ(setresuid(NOBODY, NOBODY, NOBODY), 0) &&
	       T_EQ(syscall(SYS_capset, &h, none), 0);
}

/*
 * Run @body, which drops its privileges, in a process of its own: the test keeps them, to
 * clean up what they made.
 */
__attribute__((unused))
static void in_child(void (*body)(void *arg), void *arg)
{
	int status = -1;
	pid_t pid = fork();

	if (!T_GE(pid, 0))
		return;
	if (!pid) {
		body(arg);
		_exit(ktap_failed());
	}
	waitpid(pid, &status, 0);
	T_EQ(status, 0);
}

#endif
