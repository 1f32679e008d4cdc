/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VM with a device of KVM_DEV_TYPE_USER, whose process is the test itself.
 *
 * What a vCPU does is driven from one thread: KVM_DEV_USER_KICK ends the wait that an access is
 * expected to run into, and the same KVM_RUN goes on once the test has answered.  So nothing
 * depends on who is scheduled when, and an access that does not wait shows.
 */
#ifndef SELFTEST_KVM_USER_DEV_H
#define SELFTEST_KVM_USER_DEV_H

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

#include <rmio/abi.h>

/* No memory there; the guest has it at the same address. */
#define USER_DEV_GPA	0x100000000ull
#define USER_DEV_LEN	0x1000ull
#define USER_DEV_PORT	0x500
#define USER_DEV_PORTS	0x10ull
#define USER_DEV_SHADOW	0x2000ull

enum {
	USER_DEV_MEM,		/* ids of the ranges */
	USER_DEV_IO,
};

struct user_dev {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	int master;
	int slave;
	const struct rmio_down_lane *down;	/* of the one vCPU */
	uint8_t *image;				/* NULL: none */
};

/* For ioctls that are to fail, with arguments that are none. */
#define user_dev_errno(fd, cmd, arg) (ioctl(fd, cmd, arg) < 0 ? errno : 0)

static inline void user_dev_require(void)
{
	struct kvm_vm *vm = vm_create_barebones();
	int r = __kvm_test_create_device(vm, KVM_DEV_TYPE_USER);

	kvm_vm_free(vm);
	__TEST_REQUIRE(!r, "KVM has no KVM_DEV_TYPE_USER");
}

static inline int user_dev_range(struct user_dev *d, uint64_t addr, uint64_t len, uint32_t bus,
				 uint32_t id)
{
	struct rmio_pa_range at = { .addr = addr, .len = len, .bus = bus, .id = id };

	return user_dev_errno(d->master, KVM_DEV_USER_PA_RANGE, &at);
}

/* @slots: of a lane; 0: as many as there are unless told. */
static inline void user_dev_start(struct user_dev *d, void *guest_code, uint32_t slots)
{
	struct rmio_kvm_rings rings = { .lanes = 1, .slots = slots };
	uint8_t *down;

	d->vm = vm_create_with_one_vcpu(&d->vcpu, guest_code);
	virt_map(d->vm, USER_DEV_GPA, USER_DEV_GPA, 2);
	d->master = kvm_create_device(d->vm, KVM_DEV_TYPE_USER);
	if (slots)
		kvm_ioctl(d->master, KVM_DEV_USER_RINGS, &rings);
	TEST_ASSERT_EQ(user_dev_range(d, USER_DEV_GPA, USER_DEV_LEN, RMIO_BUS_MEM, USER_DEV_MEM),
		       0);
	TEST_ASSERT_EQ(user_dev_range(d, USER_DEV_PORT, USER_DEV_PORTS, RMIO_BUS_IO, USER_DEV_IO),
		       0);
	d->slave = ioctl(d->master, KVM_DEV_USER_SLAVE_FD, 0);
	TEST_ASSERT(d->slave >= 0, KVM_IOCTL_ERROR(KVM_DEV_USER_SLAVE_FD, d->slave));
	down = mmap(NULL, 2 * RMIO_PAGE, PROT_READ, MAP_SHARED, d->master, RMIO_KVM_MAP_DOWN);
	TEST_ASSERT(down != MAP_FAILED, __KVM_SYSCALL_ERROR("mmap()", -1));
	d->down = (void *)(down + RMIO_PAGE);
	d->image = NULL;
}

static inline void user_dev_unmap_counters(struct user_dev *d)
{
	if (d->down)
		munmap((void *)d->down - RMIO_PAGE, 2 * RMIO_PAGE);
	d->down = NULL;
}

static inline void user_dev_end(struct user_dev *d)
{
	user_dev_unmap_counters(d);
	if (d->image)
		munmap(d->image, USER_DEV_SHADOW);
	close(d->slave);
	close(d->master);
	kvm_vm_free(d->vm);
}

static inline int user_dev_map(struct user_dev *d, const struct rmio_area *areas, uint32_t nr)
{
	struct rmio_kvm_map map = { .areas = (uintptr_t)areas, .nr = nr };

	return user_dev_errno(d->slave, KVM_DEV_USER_SHADOW_CTRL, &map);
}

/* A shadow image, filled with what its offsets say, and that map. */
static inline void user_dev_shadow(struct user_dev *d, const struct rmio_area *areas, uint32_t nr)
{
	uint64_t i, size = USER_DEV_SHADOW;

	kvm_ioctl(d->slave, KVM_DEV_USER_SHADOW_SIZE, &size);
	d->image = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, d->slave,
			RMIO_KVM_MAP_SHADOW);
	TEST_ASSERT(d->image != MAP_FAILED, __KVM_SYSCALL_ERROR("mmap()", -1));
	for (i = 0; i < size; i++)
		d->image[i] = i;
	TEST_ASSERT_EQ(user_dev_map(d, areas, nr), 0);
}

static inline uint32_t user_dev_state(struct user_dev *d)
{
	uint32_t state;

	kvm_ioctl(d->master, KVM_DEV_USER_STATE, &state);
	return state;
}

/* -- the guest ------------------------------------------------------------------- */

static inline uint64_t guest_load(uint64_t offset, int len)
{
	uint64_t at = USER_DEV_GPA + offset;

	switch (len) {
	case 1:
		return READ_ONCE(*(uint8_t *)at);
	case 2:
		return READ_ONCE(*(uint16_t *)at);
	case 4:
		return READ_ONCE(*(uint32_t *)at);
	default:
		return READ_ONCE(*(uint64_t *)at);
	}
}

static inline void guest_store(uint64_t offset, int len, uint64_t data)
{
	uint64_t at = USER_DEV_GPA + offset;

	switch (len) {
	case 1:
		WRITE_ONCE(*(uint8_t *)at, data);
		break;
	case 2:
		WRITE_ONCE(*(uint16_t *)at, data);
		break;
	case 4:
		WRITE_ONCE(*(uint32_t *)at, data);
		break;
	default:
		WRITE_ONCE(*(uint64_t *)at, data);
	}
}

static inline uint32_t guest_inl(uint16_t port)
{
	uint32_t value;

	asm volatile("inl %%dx, %%eax" : "=a"(value) : "d"(port));
	return value;
}

/* -- the vCPU ---------------------------------------------------------------------- */

static inline void user_dev_ucall(struct user_dev *d, uint64_t cmd)
{
	struct ucall uc;
	uint64_t is;

	TEST_ASSERT_KVM_EXIT_REASON(d->vcpu, KVM_EXIT_IO);
	is = get_ucall(d->vcpu, &uc);
	if (is == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	TEST_ASSERT_EQ(is, cmd);
}

/* The guest gets to its next GUEST_SYNC(), or to its end, and nothing holds it up. */
static inline void user_dev_run(struct user_dev *d, uint64_t cmd)
{
	int r = __vcpu_run(d->vcpu);

	TEST_ASSERT(!r, KVM_IOCTL_ERROR(KVM_RUN, r));
	user_dev_ucall(d, cmd);
}

/* The guest gets to an access that it has to wait with. */
static inline void user_dev_run_to_wait(struct user_dev *d)
{
	int r;

	kvm_ioctl(d->master, KVM_DEV_USER_KICK, &d->vcpu->id);
	r = __vcpu_run(d->vcpu);
	if (!r)
		user_dev_ucall(d, UCALL_NONE);
	TEST_ASSERT(r == -1 && errno == EINTR, KVM_IOCTL_ERROR(KVM_RUN, r));
	TEST_ASSERT(d->vcpu->run->flags & RMIO_KVM_RUN_PENDING, "No access is under way");
}

/* -- the device ---------------------------------------------------------------------- */

static inline bool user_dev_pending(struct user_dev *d)
{
	struct pollfd p = { .fd = d->slave, .events = POLLIN };

	TEST_ASSERT(poll(&p, 1, 0) >= 0, __KVM_SYSCALL_ERROR("poll()", -1));
	return p.revents & POLLIN;
}

/* There is a request, this one. */
static inline uint64_t user_dev_take(struct user_dev *d, int op, uint64_t offset, int len,
				     uint64_t data)
{
	struct rmio_request r;

	TEST_ASSERT(user_dev_pending(d), "No request, rather than %d of %d bytes at 0x%lx", op, len,
		    offset);
	TEST_ASSERT_EQ(read(d->slave, &r, sizeof(r)), sizeof(r));
	TEST_ASSERT(r.op == op && r.offset == offset && r.len == len && r.data == data,
		    "Request %d of %d bytes at 0x%llx, 0x%llx, rather than %d of %d at 0x%lx, 0x%lx",
		    r.op, r.len, r.offset, r.data, op, len, offset, data);
	TEST_ASSERT_EQ(r.vcpu, d->vcpu->id);
	TEST_ASSERT_EQ(r.flags, 0);
	TEST_ASSERT_EQ(r.reserved, 0);
	return r.seq;
}

static inline int user_dev_reply(struct user_dev *d, uint64_t seq, uint64_t data)
{
	struct rmio_reply r = { .seq = seq, .data = data, .vcpu = d->vcpu->id };

	return write(d->slave, &r, sizeof(r)) < 0 ? errno : 0;
}

/* Takes it and completes it. */
static inline void user_dev_serve(struct user_dev *d, int op, uint64_t offset, int len,
				  uint64_t data)
{
	uint64_t seq = user_dev_take(d, op, offset, len, op == RMIO_OP_LOAD ? 0 : data);

	TEST_ASSERT_EQ(user_dev_reply(d, seq, data), 0);
}

#endif
