// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Make and map the sealed memfds that two sides share; what a peer sends is checked in
 * wire/memory.c.
 * Beside the data path: once per device.
 */
#include "memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <rmio/abi.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Linux 6.3; older headers and kernels do without. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static int create(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

int rmio_memfd_new(const char *name, uint64_t size)
{
	struct rlimit limit;
	int fd, rc;

	if (!name || !size || size % RMIO_PAGE)
		return -EINVAL;
	if (size > INT64_MAX)
		return -EFBIG;
	/* ftruncate() beyond this limit would not just fail, but raise SIGXFSZ */
	if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY &&
	    size > limit.rlim_cur)
		return -EFBIG;

	fd = create(name);
	if (fd < 0)
		return fd;
	if (ftruncate(fd, size) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

int rmio_memfd_seal(int fd, bool future_write)
{
	int seals = F_SEAL_SEAL;

	if (future_write)
		seals |= F_SEAL_FUTURE_WRITE;
	return fcntl(fd, F_ADD_SEALS, seals) ? -errno : 0;
}

void *rmio_memfd_map(int fd, uint64_t size, bool write, void *at)
{
	int prot = PROT_READ | (write ? PROT_WRITE : 0);
	int flags = MAP_SHARED | (at ? MAP_FIXED : 0);
	void *p;

	if (size > SIZE_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	p = mmap(at, size, prot, flags, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}
