// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Memory that a peer has sent, before it is mapped: is the descriptor what it is said to be?
 * Beside the data path: once per device.
 */
#include "foreign.h"
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <rmio/abi.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

int rmio_memfd_check(int fd, uint64_t size, bool must_be_future_write)
{
	int need = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	int seals, mode;
	struct statfs fs;
	struct stat st;

	if (!size || size % RMIO_PAGE)
		return -EINVAL;
	if (!rmio_foreign_is_memory(fd) || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return -EBADF;
	/* seals also exist on hugetlbfs, where a fault without a free huge page is SIGBUS */
	if (fstatfs(fd, &fs) || (unsigned int)fs.f_type != TMPFS_MAGIC)
		return -EBADF;
	seals = fcntl(fd, F_GET_SEALS);
	mode = fcntl(fd, F_GETFL);
	if (seals < 0 || mode < 0)
		return -EBADF;

	if (must_be_future_write)
		need |= F_SEAL_FUTURE_WRITE;
	else if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	if ((seals & need) != need)
		return -EPERM;
	/* the size last: only the seals keep it what it is */
	if (fstat(fd, &st))
		return -EBADF;
	if (st.st_size < 0 || (uint64_t)st.st_size != size)
		return -EMSGSIZE;

	mode &= O_ACCMODE;
	if (mode != O_RDWR && !(mode == O_RDONLY && must_be_future_write))
		return -EACCES;
	return 0;
}

/* By the system call: a device process needs nothing else of BPF. */
int rmio_bpf_array_check(int fd, uint64_t size)
{
	struct bpf_map_info info;
	union bpf_attr attr;

	memset(&info, 0, sizeof(info));
	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uintptr_t)&info;
	/* A program or a BTF object answers too, with an info of its own. */
	if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) ||
	    attr.info.info_len < offsetof(struct bpf_map_info, name) ||
	    info.type != BPF_MAP_TYPE_ARRAY || !(info.map_flags & BPF_F_MMAPABLE) ||
	    info.key_size != sizeof(uint32_t))
		return -EBADF;
	/* It cannot shrink; only whole elements of whole pages leave no page unbacked. */
	if (!info.value_size || info.value_size % RMIO_PAGE ||
	    (uint64_t)info.value_size * info.max_entries != size)
		return -EMSGSIZE;
	return 0;
}

int rmio_memory_check(int fd, uint64_t size, bool to_read)
{
	if (!rmio_memfd_check(fd, size, to_read))
		return 0;
	/* Nothing keeps us from mapping an array to write but the descriptor being closed. */
	return rmio_bpf_array_check(fd, size);
}
