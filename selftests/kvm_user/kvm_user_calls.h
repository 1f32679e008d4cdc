/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * kvm_user_calls.h - for tests of the kernel device's control calls: arguments that are not where
 * they are said to be, and mappings that are refused.
 */
#ifndef RMIO_KVM_USER_CALLS_H
#define RMIO_KVM_USER_CALLS_H

#include "kvm_user_rig.h"

struct call {
	const char *name;
	unsigned int cmd;
	size_t size;
	bool out;		/* the kernel writes all of it */
};

/* Two pages, the second of which is not there. */
static inline uint8_t *short_page(void)
{
	uint8_t *p = mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	T_EQ(mprotect(p + 0x1000, 0x1000, PROT_NONE), 0);
	return p;
}

/* Nothing of it is done: what the VM has goes on. */
static inline void bad_places(int fd, const struct call *c)
{
	uint8_t *page = short_page();
	size_t at;

	T_EQ(CALL(fd, c->cmd, NULL), -EFAULT);
	T_EQ(CALL(fd, c->cmd, 1), -EFAULT);
	T_EQ(CALL(fd, c->cmd, ~0ul), -EFAULT);
	T_EQ(CALL(fd, c->cmd, ~0ul - c->size + 1), -EFAULT);
	T_EQ(CALL(fd, c->cmd, 1ul << 63), -EFAULT);
	T_EQ(CALL(fd, c->cmd, 0x7ffffffff000ul - c->size + 1), -EFAULT);
	T_EQ(CALL(fd, c->cmd, 0xffff888000000000ul), -EFAULT);
	for (at = 1; at < c->size; at++)
		T_EQ(CALL(fd, c->cmd, page + 0x1000 - at), -EFAULT);
	if (c->out) {
		T_EQ(mprotect(page, 0x1000, PROT_READ), 0);
		T_EQ(CALL(fd, c->cmd, page), -EFAULT);
	}
	munmap(page, 0x2000);
	if (ktap_failed())
		ktap_diag("%s", c->name);
}

/* Numbers that are nobody's, and sizes that make another call of one. */
static inline void unknown_calls(int fd)
{
	static const unsigned int unknown[] = {
		0,
		~0u,
		_IO(RMIO_KVM_IO, 0xff),
		_IOW(RMIO_KVM_IO, 0xf1, uint64_t),
		_IOR(RMIO_KVM_IO, 0xf5, uint64_t),
		_IOW(RMIO_KVM_IO, 0xf8, uint32_t),
		_IOW(RMIO_KVM_IO, 0xf0, uint32_t),
	};
	uint8_t buf[64] = { 0 };
	int i;

	for (i = 0; i < KTAP_COUNT(unknown); i++)
		T_EQ(CALL(fd, unknown[i], buf), -ENOTTY);
}

static inline int map_error(int fd, uint64_t at, size_t size, int prot, int flags)
{
	void *p = mmap(NULL, size, prot, flags, fd, (off_t)at);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, size);
	return 0;
}

#define RO PROT_READ
#define RW (PROT_READ | PROT_WRITE)

static inline size_t up_size(void)
{
	return RMIO_PAGE * (1 + (size_t)((const struct rmio_down_hdr *)w.down)->nr_lanes);
}

/* What master and slave have in common: "down" is there for reading, and nothing is elsewhere. */
static inline void map_down(int fd)
{
	size_t size = w.down_size, up = up_size();
	uint8_t *p;

	/* Private ones would be copies. */
	T_EQ(map_error(fd, RMIO_KVM_MAP_DOWN, 4096, RO, MAP_PRIVATE), -EINVAL);
	T_EQ(map_error(fd, RMIO_KVM_MAP_UP, 4096, RO, MAP_PRIVATE), -EINVAL);
	T_EQ(map_error(fd, 4096, 4096, RO, MAP_SHARED), -EINVAL);
	T_EQ(map_error(fd, RMIO_KVM_MAP_UP + 4096, 4096, RO, MAP_SHARED), -EINVAL);
	T_EQ(map_error(fd, RMIO_KVM_MAP_UP - 4096, 8192, RO, MAP_SHARED), -EINVAL);
	T_EQ(map_error(fd, 3ull << 40, 4096, RO, MAP_SHARED), -EINVAL);
	T_EQ(map_error(fd, 1ull << 62, 4096, RO, MAP_SHARED), -EINVAL);
	T_EQ(map_error(fd, RMIO_KVM_MAP_DOWN, size + 4096, RO, MAP_SHARED), -EINVAL);
	T_EQ(map_error(fd, RMIO_KVM_MAP_UP, up + 4096, RO, MAP_SHARED), -EINVAL);
	T_EQ(map_error(fd, RMIO_KVM_MAP_DOWN, 4096, RW, MAP_SHARED), -EACCES);
	T_EQ(map_error(fd, RMIO_KVM_MAP_DOWN, 4096, PROT_WRITE, MAP_SHARED), -EACCES);
	/* It holds what guests have written: no code. */
	T_EQ(map_error(fd, RMIO_KVM_MAP_DOWN, 4096, RO | PROT_EXEC, MAP_SHARED), -EACCES);
	T_EQ(map_error(fd, RMIO_KVM_MAP_DOWN, 4096, RO, MAP_SHARED), 0);
	T_EQ(map_error(fd, RMIO_KVM_MAP_DOWN, size, RO, MAP_SHARED), 0);

	p = mmap(NULL, size, RO, MAP_SHARED, fd, RMIO_KVM_MAP_DOWN);
	T_REQUIRE(T_OK(p != MAP_FAILED));
	T_EQ(mprotect(p, 4096, RW) ? -errno : 0, -EACCES);
	T_EQ(mprotect(p, size, PROT_WRITE) ? -errno : 0, -EACCES);
	T_EQ(mprotect(p, size, RO | PROT_EXEC) ? -errno : 0, -EACCES);
	/* It does not grow. */
	T_OK(mremap(p, size, size + 4096, MREMAP_MAYMOVE) == MAP_FAILED);
	T_EQ(errno, EFAULT);
	/* To another place, or less of it: as any mapping. */
	T_OK(mremap(p, size, 4096, 0) == p);
	T_EQ(((struct rmio_down_hdr *)p)->magic, RMIO_ABI_MAGIC);
	munmap(p, 4096);
}

#endif
