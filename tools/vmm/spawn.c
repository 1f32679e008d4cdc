// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Device processes that `rmio vmm` starts itself, with a socket in place of a
 * path: this very program as `rmio dev`, a program of the user's, and QEMU as the machine x-remote.
 */
#include "device.h"
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_FD	3

static void run_dev(const char *spec, const struct vmm_options *o)
{
	const char *argv[12] = { "rmio", "dev" };
	int n = 2;

	if (o->wait_name) {
		argv[n++] = "--wait";
		argv[n++] = o->wait_name;
	}
	if (o->placement_name) {
		argv[n++] = "--placement";
		argv[n++] = o->placement_name;
	}
	argv[n++] = "--fd";
	argv[n++] = "3";
	argv[n++] = spec;
	argv[n] = NULL;
	execv("/proc/self/exe", (char *const *)argv);
	dprintf(STDERR_FILENO, "rmio vmm: /proc/self/exe: %s%s\n", strerror(errno),
		errno == ENOENT ? "; --spawn needs /proc" : "");
}

/* A program of the user's: its arguments, then where the socket is. */
static void run_exec(const struct vmm_device_opts *opts)
{
	const char *argv[VMM_ARGS_MAX + 3] = { opts->exec };
	unsigned int i;

	for (i = 0; i < opts->nr_args; i++)
		argv[1 + i] = opts->args[i];
	argv[1 + i] = "--fd=3";
	cmd_former_descriptors();
	execv(opts->exec, (char *const *)argv);
	dprintf(STDERR_FILENO, "rmio vmm: %s: %s\n", opts->exec, strerror(errno));
}

static void run_qemu(const char *spec, const struct vmm_options *o)
{
	char device[1024];
	const char *const argv[] = {
		o->qemu, "-machine", "x-remote", "-nodefaults", "-no-user-config",
		"-display", "none", "-device", device,
		"-object", "x-remote-object,id=remote,devid=rmio,fd=3", NULL,
	};

	if (snprintf(device, sizeof(device), "%s,id=rmio", spec) >= (int)sizeof(device)) {
		dprintf(STDERR_FILENO, "rmio vmm: --device qemu=: too long\n");
		return;
	}
	cmd_former_descriptors();
	execvp(o->qemu, (char *const *)argv);
	dprintf(STDERR_FILENO, "rmio vmm: %s: %s; install qemu-system-x86, or name another QEMU "
		"by --qemu\n", o->qemu, strerror(errno));
}

static void child(int fd, const struct vmm_device_opts *opts, const struct vmm_options *o)
{
	sigset_t none;
	int null;

	/* dup2() onto itself would leave close-on-exec set. */
	if (fd == CHILD_FD)
		fcntl(fd, F_SETFD, 0);
	else if (dup2(fd, CHILD_FD) < 0)
		_exit(126);
	/* Standard output is the guest's console; what matters goes to stderr. */
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null >= 0)
		dup2(null, STDOUT_FILENO);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (opts->qemu)
		run_qemu(opts->qemu, o);
	else if (opts->exec)
		run_exec(opts);
	else
		run_dev(opts->spawn, o);
	_exit(127);
}

int vmm_spawn(struct vmm_device *dev, const struct vmm_device_opts *opts,
	      const struct vmm_options *o, struct vmm_err *err)
{
	int fds[2], rc;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return vmm_fail(err, -errno, "socketpair: %s", strerror(errno));
	pid = fork();
	if (pid < 0) {
		rc = vmm_fail(err, -errno, "fork: %s", strerror(errno));
		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	if (!pid)
		child(fds[1], opts, o);
	close(fds[1]);
	dev->pid = pid;
	/* Not reaped before, so the number is still this process's. */
	dev->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (dev->pidfd < 0) {
		rc = vmm_fail(err, -errno, "pidfd_open: %s", strerror(errno));
		close(fds[0]);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		dev->pid = 0;
		return rc;
	}
	return fds[0];
}

int vmm_spawn_kill(struct vmm_device *dev)
{
	if (dev->pidfd < 0)
		return -ESRCH;
	if (syscall(SYS_pidfd_send_signal, dev->pidfd, SIGKILL, NULL, 0) < 0)
		return -errno;
	return 0;
}

void vmm_spawn_reap(struct vmm_device *dev, char *how, size_t len)
{
	int status = 0;

	if (waitpid(dev->pid, &status, 0) != dev->pid)
		snprintf(how, len, "process %d ended", dev->pid);
	else if (WIFSIGNALED(status))
		snprintf(how, len, "process %d was killed by signal %d (%s)", dev->pid,
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(how, len, "process %d ended with status %d", dev->pid,
			 WEXITSTATUS(status));
	dev->pid = 0;
}
