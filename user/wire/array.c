// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Memory that a BPF program writes too, as a peer gets it: is the descriptor what it
 * is said to be?  Beside the data path: once per device.
 */
#include "backend/bpf/program.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

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
