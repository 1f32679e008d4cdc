// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What may be missing around a process: each start names it, and `rmio doctor`.  Beside the data
 * path.
 */
#include "surroundings.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4)))
static void missing(struct surrounding *s, const char *todo, const char *fmt, ...)
{
	va_list ap;

	s->there = false;
	s->todo = todo;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
}

static void proc(struct surrounding *s)
{
	struct statfs fs;

	if (statfs("/proc", &fs) || (unsigned long)fs.f_type != PROC_SUPER_MAGIC ||
	    access("/proc/self/fd", X_OK))
		missing(s, "mount -t proc proc /proc", "/proc is not mounted: no --spawn, no `rmio stat` "
			"by itself, memory on ramfs, btrfs and overlayfs is refused");
}

static void pidfd(struct surrounding *s)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (fd >= 0)
		close(fd);
	else
		missing(s, "allow pidfd_open in the seccomp policy",
			"pidfd_open(2): %s: the bpf back end finds threads in a hash, by their numbers",
			strerror(errno));
}

static void kernel(struct surrounding *s)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	if (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		missing(s, "", "its version cannot be told");
	else if (major < 6 || (major == 6 && !minor))
		missing(s, "use Linux 6.1 or later", "this is Linux %.60s: not tested, no bpf back end, "
			"and waits take more system calls", u.release);
}

static void preemption(struct surrounding *s)
{
	FILE *f = fopen("/sys/kernel/realtime", "re");
	int rt = 0;

	if (f) {
		if (fscanf(f, "%d", &rt) != 1)
			rt = 0;
		fclose(f);
	}
	if (rt)
		missing(s, "use a kernel without PREEMPT_RT, or the back ends exit and kvm",
			"this kernel is PREEMPT_RT, where BPF programs miss events: no bpf back end");
}

/* Which puts its own part before the program's by this variable. */
static void processor(struct surrounding *s)
{
	const char *preload = getenv("LD_PRELOAD");

	if (preload && strstr(preload, "vgpreload"))
		missing(s, "", "valgrind runs this process, one thread at a time, and does not know all of "
			"io_uring and KVM: what waits for others takes long or fails");
}

void surroundings_look(struct surrounding s[SURROUNDINGS])
{
	static const struct {
		const char *name, *use;
		void (*look)(struct surrounding *s);
	} all[SURROUNDINGS] = {
		{ "/proc", "telling descriptors, file systems and processes apart", proc },
		{ "pidfd", "knowing a thread", pidfd },
		{ "Linux 6.1", "the oldest kernel that is tested", kernel },
		{ "not PREEMPT_RT", "BPF programs that see every access", preemption },
		{ "not valgrind", "threads that run at once", processor },
	};

	for (int i = 0; i < SURROUNDINGS; i++) {
		s[i] = (struct surrounding){
			.name = all[i].name, .use = all[i].use, .there = true, .todo = "",
		};
		all[i].look(&s[i]);
	}
}

void surroundings_say(const char *command)
{
	struct surrounding s[SURROUNDINGS];

	surroundings_look(s);
	for (int i = 0; i < SURROUNDINGS; i++)
		if (!s[i].there)
			fprintf(stderr, "%s: %s\n", command, s[i].why);
}
