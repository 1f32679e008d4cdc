// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Makes the io_uring of a loop.  Beside the data path.
 */
#include "loop_ring.h"
#include "refuse.h"
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static int try(struct io_uring *ring, uint32_t entries)
{
	static const uint32_t flags[] = {
		IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER |
		IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,	/* Linux 6.1 */
		IORING_SETUP_R_DISABLED,				/* 5.10 */
	};
	struct io_uring_params p;
	int err = -ENOSYS;
	size_t i;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		p = (struct io_uring_params){ .flags = flags[i] | IORING_SETUP_CLAMP };
		err = io_uring_queue_init_params(entries, ring, &p);
		if (err != -EINVAL)
			break;
	}
	return err;
}

/* kernel.io_uring_disabled: 1 for who is in no group that may, 2 for all; -1: not known. */
static int switched_off(void)
{
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int v;

	if (!f)
		return -1;
	if (fscanf(f, "%d", &v) != 1)
		v = -1;
	fclose(f);
	return v;
}

/* A ring's memory counts as locked, of all rings of a user together, on some kernels. */
static int no_memory(int err, uint32_t entries)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_MEMLOCK, &r) || r.rlim_cur == RLIM_INFINITY)
		return rmio_refuse(err, "no memory for a ring of %u entries", entries);
	return rmio_refuse(err, "a ring of %u entries does not fit into RLIMIT_MEMLOCK, %llu KiB for all "
			   "rings of this user: raise it with ulimit -l, LimitMEMLOCK= of systemd or "
			   "limits.conf(5)", entries, (unsigned long long)r.rlim_cur >> 10);
}

int rmio_loop_ring_init(struct io_uring *ring, uint32_t entries)
{
	int err = try(ring, entries), off;

	switch (err) {
	case 0:
		return 0;
	case -ENOMEM:
		return no_memory(err, entries);
	case -ENOSYS:
		return rmio_refuse(err, "io_uring_setup(2) is not there: a kernel without "
				   "CONFIG_IO_URING, or a seccomp filter or valgrind hides it");
	case -EPERM:
	case -EACCES:
		off = switched_off();
		if (off > 0)
			return rmio_refuse(err, "sysctl kernel.io_uring_disabled is %d: io_uring is "
					   "switched off%s", off, off == 1 ?
					   " for who is not in kernel.io_uring_group" : "");
		return rmio_refuse(err, "io_uring_setup(2) is forbidden: by a seccomp filter, as of a "
				   "container, or a security module%s", off < 0 ?
				   ", or by sysctl kernel.io_uring_disabled, which cannot be read" : "");
	case -EINVAL:
		return rmio_refuse(err, "io_uring_setup(2) refuses the flags: Linux 5.10 or later is "
				   "needed");
	default:
		return rmio_refuse(err, "io_uring_setup(2): %s", strerrordesc_np(-err));
	}
}

bool rmio_loop_ring_has_futex(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool has = probe && io_uring_opcode_supported(probe, RMIO_URING_FUTEX_WAIT);

	if (probe)
		io_uring_free_probe(probe);
	return has;
}
