// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_DEV_TYPE_USER: the calls of its two descriptors, and what they refuse.
 */
#include <sys/eventfd.h>

#include "kselftest_harness.h"
#include "user_dev.h"

FIXTURE(user_dev) {
	struct user_dev d;
};

FIXTURE_SETUP(user_dev)
{
	user_dev_start(&self->d, NULL, 0);
}

FIXTURE_TEARDOWN(user_dev)
{
	user_dev_end(&self->d);
}

/* On a slow machine, under emulation. */
#define USER_DEV_TEST(name) TEST_F_TIMEOUT(user_dev, name, 120)

/* -- arguments that are not there ---------------------------------------------------------- */

static void bad_pointers(int fd, unsigned int cmd)
{
	size_t size = _IOC_SIZE(cmd), at;
	char *page;

	TEST_ASSERT_EQ(user_dev_errno(fd, cmd, NULL), EFAULT);
	TEST_ASSERT_EQ(user_dev_errno(fd, cmd, 1), EFAULT);
	TEST_ASSERT_EQ(user_dev_errno(fd, cmd, ~0ul), EFAULT);
	TEST_ASSERT_EQ(user_dev_errno(fd, cmd, 0xffff888000000000ul), EFAULT);
	/* Short: the rest is on a page that is not there. */
	page = mmap(NULL, 2 * RMIO_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	TEST_ASSERT(page != MAP_FAILED, __KVM_SYSCALL_ERROR("mmap()", -1));
	munmap(page + RMIO_PAGE, RMIO_PAGE);
	for (at = 1; at < size; at++)
		TEST_ASSERT(user_dev_errno(fd, cmd, page + RMIO_PAGE - at) == EFAULT,
			    "Call 0x%x, %zu bytes of %zu: errno %d", cmd, at, size, errno);
	munmap(page, RMIO_PAGE);
}

USER_DEV_TEST(pointers)
{
	static const unsigned int master[] = {
		KVM_DEV_USER_PA_RANGE, KVM_DEV_USER_TIMEOUT, KVM_DEV_USER_RINGS,
		KVM_DEV_USER_EVENTFD, KVM_DEV_USER_STATE, KVM_DEV_USER_ACCESS, KVM_DEV_USER_KICK,
	};
	static const unsigned int slave[] = {
		KVM_DEV_USER_SHADOW_SIZE, KVM_DEV_USER_SHADOW_CTRL, KVM_DEV_USER_WAKE,
		KVM_DEV_USER_STATE,
	};
	struct user_dev *d = &self->d;
	char buf[64] = { 0 };
	int i;

	for (i = 0; i < ARRAY_SIZE(master); i++)
		bad_pointers(d->master, master[i]);
	for (i = 0; i < ARRAY_SIZE(slave); i++)
		bad_pointers(d->slave, slave[i]);

	/* Each has its own calls. */
	EXPECT_EQ(user_dev_errno(d->slave, KVM_DEV_USER_PA_RANGE, buf), ENOTTY);
	EXPECT_EQ(user_dev_errno(d->slave, KVM_DEV_USER_SLAVE_FD, 0), ENOTTY);
	EXPECT_EQ(user_dev_errno(d->slave, KVM_DEV_USER_TIMEOUT, buf), ENOTTY);
	EXPECT_EQ(user_dev_errno(d->slave, KVM_DEV_USER_ACCESS, buf), ENOTTY);
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_SHADOW_SIZE, buf), ENOTTY);
	EXPECT_EQ(user_dev_errno(d->master, _IOW(RMIO_KVM_IO, 0xf1, uint64_t), buf), ENOTTY);
	/* None has changed anything. */
	EXPECT_EQ(user_dev_state(d), RMIO_KVM_NEW);
}

/* -- the master -------------------------------------------------------------------------------- */

USER_DEV_TEST(ranges)
{
	static const struct {
		struct rmio_pa_range at;
		int err;
	} t[] = {
		{ { .addr = 1ull << 40, .len = 1, .bus = 2, .id = 5 }, EINVAL },
		{ { .addr = 1ull << 40, .len = 1, .id = 65536 }, EINVAL },
		{ { .addr = 1ull << 40, .len = 1, .id = ~0u }, EINVAL },
		{ { .addr = ~0ull, .len = 2, .id = 5 }, EOVERFLOW },
		{ { .addr = 1ull << 40, .len = ~0ull, .id = 5 }, EOVERFLOW },
		{ { .addr = 0, .len = ~0ull, .id = 5 }, EFBIG },
		{ { .addr = 1ull << 40, .len = 1ull << 31, .id = 5 }, EFBIG },
		{ { .addr = 0xffff, .len = 2, .bus = RMIO_BUS_IO, .id = 5 }, EOVERFLOW },
		{ { .addr = 1ull << 32, .len = 1, .bus = RMIO_BUS_IO, .id = 5 }, EOVERFLOW },
		{ { .addr = 1ull << 40, .len = 0, .id = 5 }, ENOENT },
		/* On another of its own, from either side and from within. */
		{ { .addr = USER_DEV_GPA - 1, .len = 2, .id = 5 }, EEXIST },
		{ { .addr = USER_DEV_GPA + USER_DEV_LEN - 1, .len = 2, .id = 5 }, EEXIST },
		{ { .addr = USER_DEV_GPA + 8, .len = 1, .id = 5 }, EEXIST },
		{ { .addr = USER_DEV_GPA - 8, .len = 1 << 20, .id = 5 }, EEXIST },
		{ { .addr = USER_DEV_PORT, .len = 1, .bus = RMIO_BUS_IO, .id = 5 }, EEXIST },
		/* Beside it, or over itself, is well. */
		{ { .addr = USER_DEV_GPA + USER_DEV_LEN, .len = 1, .id = 5 }, 0 },
		{ { .addr = USER_DEV_PORT, .len = 1, .id = 6 }, 0 },
		{ { .addr = USER_DEV_GPA + 8, .len = 16, .id = USER_DEV_MEM }, 0 },
	};
	struct user_dev *d = &self->d;
	int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_PA_RANGE, &t[i].at), t[i].err)
			TH_LOG("range %d", i);
	}
}

/* Whoever comes second gets nothing: an ioeventfd, another device. */
USER_DEV_TEST(bus_taken)
{
	struct kvm_ioeventfd io = { .addr = USER_DEV_GPA + 0x100000, .len = 4 };
	struct user_dev *d = &self->d;
	struct user_dev other = { .vm = d->vm };

	io.fd = eventfd(0, 0);
	vm_ioctl(d->vm, KVM_IOEVENTFD, &io);
	EXPECT_EQ(user_dev_range(d, io.addr - 1, 2, RMIO_BUS_MEM, 5), EEXIST);
	EXPECT_EQ(user_dev_range(d, io.addr + 3, 1, RMIO_BUS_MEM, 5), EEXIST);
	EXPECT_EQ(user_dev_range(d, io.addr, 0x1000, RMIO_BUS_MEM, USER_DEV_MEM), EEXIST);
	EXPECT_EQ(user_dev_range(d, io.addr + 4, 1, RMIO_BUS_MEM, 5), 0);
	io.flags = KVM_IOEVENTFD_FLAG_DEASSIGN;
	vm_ioctl(d->vm, KVM_IOEVENTFD, &io);
	EXPECT_EQ(user_dev_range(d, io.addr, 4, RMIO_BUS_MEM, 6), 0);

	other.master = kvm_create_device(d->vm, KVM_DEV_TYPE_USER);
	EXPECT_EQ(user_dev_range(&other, USER_DEV_GPA, 1, RMIO_BUS_MEM, 0), EEXIST);
	EXPECT_EQ(user_dev_range(&other, USER_DEV_GPA - 1, 1, RMIO_BUS_MEM, 0), 0);
	close(other.master);
	/* It took its range with it. */
	EXPECT_EQ(user_dev_range(d, USER_DEV_GPA - 1, 1, RMIO_BUS_MEM, 7), 0);
}

USER_DEV_TEST(rings)
{
	static const struct {
		struct rmio_kvm_rings rings;
		int err;
	} t[] = {
		{ { .lanes = 0, .slots = 256 }, EINVAL },
		{ { .lanes = RMIO_LANES_MAX + 1, .slots = 256 }, EINVAL },
		{ { .lanes = 1, .slots = 0 }, EINVAL },
		{ { .lanes = 1, .slots = 1 }, EINVAL },
		{ { .lanes = 1, .slots = 3 }, EINVAL },
		{ { .lanes = 1, .slots = 2 * RMIO_RING_MAX }, EINVAL },
		{ { .lanes = ~0u, .slots = ~0u }, EINVAL },
		{ { .lanes = RMIO_LANES_MAX, .slots = RMIO_RING_MAX }, EFBIG },
		{ { .lanes = 2, .slots = 4 }, 0 },
		{ { .lanes = 2, .slots = 4 }, EBUSY },
	};
	struct user_dev *d = &self->d;
	int i, fd = kvm_create_device(d->vm, KVM_DEV_TYPE_USER);

	EXPECT_EQ(mmap(NULL, RMIO_PAGE, PROT_READ, MAP_SHARED, fd, RMIO_KVM_MAP_DOWN), MAP_FAILED);
	EXPECT_EQ(errno, ENXIO);
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		EXPECT_EQ(user_dev_errno(fd, KVM_DEV_USER_RINGS, &t[i].rings), t[i].err)
			TH_LOG("rings %d", i);
	}
	close(fd);
}

USER_DEV_TEST(master)
{
	struct rmio_kvm_access a = { .addr = USER_DEV_GPA + USER_DEV_LEN, .len = 4 };
	struct user_dev *d = &self->d;
	uint32_t id = RMIO_KVM_LANES;
	int fd = -2;

	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_SLAVE_FD, 0), EBUSY);
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_SLAVE_FD, 1), EINVAL);
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_KICK, &id), ENOENT);
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_EVENTFD, &fd), EBADF);
	fd = d->slave;
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_EVENTFD, &fd), EINVAL);

	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_ACCESS, &a), EOPNOTSUPP);
	a.addr -= 2;
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_ACCESS, &a), EOPNOTSUPP);
	a.addr = USER_DEV_GPA;
	a.len = 9;
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_ACCESS, &a), EINVAL);
	a.len = 0;
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_ACCESS, &a), EINVAL);
	a.len = 4;
	a.vcpu = 1;
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_ACCESS, &a), ENOENT);
	a.vcpu = 0;
	a.store = 1;
	a.data = 0x1234;
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_ACCESS, &a), 0);
	user_dev_serve(d, RMIO_OP_STORE, 0, 4, 0x1234);
	EXPECT_EQ(user_dev_state(d), RMIO_KVM_LIVE);

	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_CLOSE, 1), EINVAL);
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_CLOSE, 0), 0);
	EXPECT_EQ(user_dev_state(d), RMIO_KVM_CLOSED);
	/* Its ranges are gone. */
	EXPECT_EQ(user_dev_errno(d->master, KVM_DEV_USER_ACCESS, &a), EOPNOTSUPP);
}

/* -- the slave ------------------------------------------------------------------------------- */

USER_DEV_TEST(shadow_size)
{
	static const struct {
		uint64_t size;
		int err;
	} t[] = {
		{ ~0ull, EFBIG }, { RMIO_KVM_SHADOW_MAX + 1, EFBIG }, { 1ull << 63, EFBIG },
		{ 1, 0 }, { RMIO_PAGE + 1, 0 }, { RMIO_KVM_SHADOW_MAX, 0 }, { 0, 0 },
	};
	struct user_dev *d = &self->d;
	int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		size_t len = t[i].size && !t[i].err ? t[i].size : RMIO_PAGE;
		void *p;

		EXPECT_EQ(user_dev_errno(d->slave, KVM_DEV_USER_SHADOW_SIZE, &t[i].size), t[i].err)
			TH_LOG("size %d", i);
		p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, d->slave,
			 RMIO_KVM_MAP_SHADOW);
		if (t[i].size && !t[i].err) {
			ASSERT_NE(p, MAP_FAILED);
			munmap(p, len);
		} else {
			EXPECT_EQ(p, MAP_FAILED);
			EXPECT_EQ(errno, ENXIO);
		}
	}
}

#define AREA(...) { .length = 16, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW, __VA_ARGS__ }

USER_DEV_TEST(access_map)
{
	static const struct {
		struct rmio_area areas[2];
		int err;
	} t[] = {
		{ { AREA(.length = 0), AREA(.offset = 64) }, EINVAL },
		{ { AREA(.sizes = 0x10), AREA(.offset = 64) }, EINVAL },
		{ { AREA(.sizes = 0), AREA(.offset = 64) }, EINVAL },
		{ { AREA(.load = 2), AREA(.offset = 64) }, EINVAL },
		{ { AREA(.store = 3), AREA(.offset = 64) }, EINVAL },
		{ { AREA(.flags = 2), AREA(.offset = 64) }, EINVAL },
		{ { AREA(), AREA(.offset = 15) }, EEXIST },
		{ { AREA(), AREA() }, EEXIST },
		{ { AREA(.offset = ~0ull), AREA() }, EOVERFLOW },
		{ { AREA(.offset = 16, .length = ~0ull), AREA() }, EOVERFLOW },
		{ { AREA(.offset = USER_DEV_LEN - 8), AREA() }, ERANGE },
		{ { AREA(.shadow_offset = USER_DEV_SHADOW - 8), AREA(.offset = 64) }, ERANGE },
		{ { AREA(.shadow_offset = ~0ull), AREA(.offset = 64) }, EOVERFLOW },
		/* The range of that id is not there yet. */
		{ { AREA(.range_id = 9), AREA() }, 0 },
		{ { AREA(.offset = USER_DEV_LEN - 16), AREA() }, 0 },
	};
	static const struct rmio_area many[RMIO_AREAS_MAX + 1];
	struct user_dev *d = &self->d;
	struct rmio_kvm_map map = { .nr = 1 };
	int i;

	user_dev_shadow(d, NULL, 0);
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		EXPECT_EQ(user_dev_map(d, t[i].areas, 2), t[i].err)
			TH_LOG("map %d", i);
	}
	/* What is in force goes to the end of the range. */
	EXPECT_EQ(user_dev_range(d, USER_DEV_GPA, USER_DEV_LEN - 1, RMIO_BUS_MEM, USER_DEV_MEM),
		  ERANGE);
	EXPECT_EQ(user_dev_map(d, many, ARRAY_SIZE(many)), E2BIG);
	EXPECT_EQ(user_dev_map(d, many, ~0u), E2BIG);
	EXPECT_EQ(user_dev_errno(d->slave, KVM_DEV_USER_SHADOW_CTRL, &map), EFAULT);
	map.areas = ~0ull - 15;
	EXPECT_EQ(user_dev_errno(d->slave, KVM_DEV_USER_SHADOW_CTRL, &map), EFAULT);
	map = (struct rmio_kvm_map) { .reserved = 1 };
	EXPECT_EQ(user_dev_errno(d->slave, KVM_DEV_USER_SHADOW_CTRL, &map), EINVAL);
	EXPECT_EQ(user_dev_map(d, NULL, 0), 0);
}

static int mmap_errno(int fd, uint64_t at, int prot, int flags)
{
	void *p = mmap(NULL, RMIO_PAGE, prot, flags, fd, at);

	if (p == MAP_FAILED)
		return errno;
	munmap(p, RMIO_PAGE);
	return 0;
}

USER_DEV_TEST(read_write_mmap)
{
	const int rw = PROT_READ | PROT_WRITE;
	struct user_dev *d = &self->d;
	struct rmio_reply r = { .seq = 1 };
	char buf[64], *nowhere;
	uint64_t at;

	nowhere = mmap(NULL, RMIO_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(nowhere, MAP_FAILED);
	EXPECT_EQ(mmap_errno(d->slave, RMIO_KVM_MAP_DOWN, PROT_READ, MAP_SHARED), 0);
	EXPECT_EQ(mmap_errno(d->slave, RMIO_KVM_MAP_DOWN, rw, MAP_SHARED), EACCES);
	EXPECT_EQ(mmap_errno(d->slave, RMIO_KVM_MAP_DOWN, PROT_READ, MAP_PRIVATE), EINVAL);
	EXPECT_EQ(mmap_errno(d->slave, RMIO_KVM_MAP_UP, rw, MAP_PRIVATE), EINVAL);
	EXPECT_EQ(mmap_errno(d->master, RMIO_KVM_MAP_UP, rw, MAP_SHARED), EACCES);
	EXPECT_EQ(mmap_errno(d->master, RMIO_KVM_MAP_SHADOW, PROT_READ, MAP_SHARED), EINVAL);
	for (at = RMIO_PAGE; at < 1ull << 63; at <<= 1) {
		if (at == RMIO_KVM_MAP_UP || at == RMIO_KVM_MAP_SHADOW)
			continue;
		EXPECT_EQ(mmap_errno(d->slave, at, PROT_READ, MAP_SHARED), EINVAL)
			TH_LOG("mmap at 0x%lx", at);
	}

	EXPECT_EQ(read(d->slave, buf, sizeof(struct rmio_request) - 1), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(write(d->slave, &r, 0), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(write(d->slave, &r, sizeof(r) - 1), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(write(d->slave, nowhere, sizeof(r)), -1);
	EXPECT_EQ(errno, EFAULT);
	/* Never asked for. */
	EXPECT_EQ(user_dev_reply(d, 0, 0), ENOENT);
	EXPECT_EQ(user_dev_reply(d, 1, 0), ENOENT);
	EXPECT_EQ(user_dev_reply(d, ~0ull, 0), ENOENT);
	r.vcpu = RMIO_KVM_LANES;
	EXPECT_EQ(write(d->slave, &r, sizeof(r)), -1);
	EXPECT_EQ(errno, EINVAL);
	r.vcpu = 0;
	r.reserved = 1;
	EXPECT_EQ(write(d->slave, &r, sizeof(r)), -1);
	EXPECT_EQ(errno, EINVAL);
	/* From now on it is read() and write(). */
	EXPECT_EQ(mmap_errno(d->slave, RMIO_KVM_MAP_UP, rw, MAP_SHARED), EBUSY);
}

int main(int argc, char *argv[])
{
	user_dev_require();
	return test_harness_run(argc, argv);
}
