// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_DEV_TYPE_USER: what becomes of a guest's loads and stores.
 */
#include "kselftest_harness.h"
#include "user_dev.h"

FIXTURE(user_dev_io) {
	struct user_dev d;
};

FIXTURE_SETUP(user_dev_io)
{
}

FIXTURE_TEARDOWN(user_dev_io)
{
	user_dev_end(&self->d);
}

/* On a slow machine, under emulation. */
#define USER_DEV_IO_TEST(name) TEST_F_TIMEOUT(user_dev_io, name, 120)

/* -- the shadow --------------------------------------------------------------------- */

static void guest_sizes(void)
{
	/* The image, at 0x1000, says 0x00, 0x01, ... */
	GUEST_ASSERT_EQ(guest_load(0x10, 1), 0x10);
	GUEST_ASSERT_EQ(guest_load(0x14, 4), 0x17161514);
	GUEST_ASSERT_EQ(guest_load(0xfc, 4), 0xfffefdfc);
	GUEST_ASSERT_EQ(guest_load(0xff, 1), 0xff);
	/* Unaligned is a size as any. */
	GUEST_ASSERT_EQ(guest_load(0x21, 4), 0x24232221);
	GUEST_SYNC(0);
	/* Sizes that the map does not have, over the end of the area, past it. */
	GUEST_ASSERT_EQ(guest_load(0x10, 2), 0xd002);
	GUEST_ASSERT_EQ(guest_load(0x10, 8), 0xd00000000000008);
	GUEST_ASSERT_EQ(guest_load(0xfd, 4), 0xd0000fd);
	GUEST_ASSERT_EQ(guest_load(0x100, 4), 0xd000100);
	GUEST_DONE();
}

/* A load is answered from the shadow image by the sizes that the map has there, byte by byte. */
USER_DEV_IO_TEST(shadow_by_size)
{
	static const struct rmio_area area = {
		.length = 0x100,
		.shadow_offset = 0x1000,
		.sizes = RMIO_SIZE_1 | RMIO_SIZE_4,
		.load = RMIO_LOAD_SHADOW,
	};
	struct user_dev *d = &self->d;

	user_dev_start(d, guest_sizes, 0);
	user_dev_shadow(d, &area, 1);
	user_dev_run(d, UCALL_SYNC);
	TEST_ASSERT(!user_dev_pending(d), "A load that the shadow answers has made a request");
	TEST_ASSERT_EQ(d->down->counters.shadow, 5);

	user_dev_run_to_wait(d);
	user_dev_serve(d, RMIO_OP_LOAD, 0x10, 2, 0xd002);
	user_dev_run_to_wait(d);
	user_dev_serve(d, RMIO_OP_LOAD, 0x10, 8, 0xd00000000000008);
	user_dev_run_to_wait(d);
	user_dev_serve(d, RMIO_OP_LOAD, 0xfd, 4, 0xd0000fd);
	user_dev_run_to_wait(d);
	user_dev_serve(d, RMIO_OP_LOAD, 0x100, 4, 0xd000100);
	user_dev_run(d, UCALL_DONE);
	TEST_ASSERT_EQ(d->down->counters.shadow, 5);
	TEST_ASSERT_EQ(d->down->counters.loads, 4);
}

static void guest_order(void)
{
	guest_store(0x800, 4, 1);
	guest_store(0x804, 4, 2);
	GUEST_SYNC(0);
	/* Relaxed: as it is now. */
	GUEST_ASSERT_EQ(guest_load(0x100, 4), 0x03020100);
	/* As it is once the device has both stores. */
	GUEST_ASSERT_EQ(guest_load(0, 4), 0x600d);
	GUEST_DONE();
}

/* A load waits for the vCPU's stores to the device before it, unless the area is relaxed. */
USER_DEV_IO_TEST(load_after_store)
{
	static const struct rmio_area areas[] = { {
		.length = 0x100,
		.sizes = RMIO_SIZE_ALL,
		.load = RMIO_LOAD_SHADOW,
	}, {
		.offset = 0x100,
		.length = 0x100,
		.shadow_offset = 0x1000,
		.sizes = RMIO_SIZE_ALL,
		.load = RMIO_LOAD_SHADOW,
		.flags = RMIO_AREA_RELAXED,
	} };
	struct user_dev *d = &self->d;

	user_dev_start(d, guest_order, 0);
	user_dev_shadow(d, areas, ARRAY_SIZE(areas));
	user_dev_run(d, UCALL_SYNC);

	user_dev_run_to_wait(d);
	TEST_ASSERT_EQ(d->down->counters.shadow, 1);
	user_dev_serve(d, RMIO_OP_STORE, 0x800, 4, 1);
	user_dev_run_to_wait(d);
	*(uint32_t *)d->image = 0x600d;
	user_dev_serve(d, RMIO_OP_STORE, 0x804, 4, 2);
	user_dev_run(d, UCALL_DONE);
	TEST_ASSERT(!user_dev_pending(d), "A load that waited has made a request");
	TEST_ASSERT_EQ(d->down->counters.ordered, 1);
	TEST_ASSERT_EQ(d->down->counters.shadow, 2);
}

/* -- stores ------------------------------------------------------------------------------ */

static void guest_posts(void)
{
	guest_store(0x10, 1, 0x11);
	guest_store(0x21, 2, 0x2222);
	guest_store(0x40, 4, 0x44444444);
	guest_store(0x80, 8, 0x8888888888888888);
	guest_store(0x10, 1, 0xff);
	GUEST_SYNC(0);
	GUEST_ASSERT_EQ(guest_load(0x10, 4), 0xabcd);
	GUEST_DONE();
}

/* Stores are posted: the vCPU goes on; the device gets them in order, and a load after them. */
USER_DEV_IO_TEST(posted)
{
	struct user_dev *d = &self->d;
	uint64_t seq[6];
	int i;

	user_dev_start(d, guest_posts, 0);
	user_dev_run(d, UCALL_SYNC);
	TEST_ASSERT_EQ(d->down->counters.posted, 5);
	user_dev_run_to_wait(d);

	seq[0] = user_dev_take(d, RMIO_OP_STORE, 0x10, 1, 0x11);
	seq[1] = user_dev_take(d, RMIO_OP_STORE, 0x21, 2, 0x2222);
	seq[2] = user_dev_take(d, RMIO_OP_STORE, 0x40, 4, 0x44444444);
	seq[3] = user_dev_take(d, RMIO_OP_STORE, 0x80, 8, 0x8888888888888888);
	seq[4] = user_dev_take(d, RMIO_OP_STORE, 0x10, 1, 0xff);
	seq[5] = user_dev_take(d, RMIO_OP_LOAD, 0x10, 4, 0);
	TEST_ASSERT(!user_dev_pending(d), "One request too many");
	for (i = 0; i < ARRAY_SIZE(seq); i++)
		TEST_ASSERT_EQ(seq[i], i + 1);

	/* In any order, each once; what was not asked for is nothing. */
	TEST_ASSERT_EQ(user_dev_reply(d, 6, 0xabcd), 0);
	TEST_ASSERT_EQ(user_dev_reply(d, 6, 0xabce), ENOENT);
	TEST_ASSERT_EQ(user_dev_reply(d, 7, 0), ENOENT);
	TEST_ASSERT_EQ(user_dev_reply(d, 0, 0), ENOENT);
	for (i = 4; i >= 0; i--) {
		/* The load is complete when all before it are. */
		user_dev_run_to_wait(d);
		TEST_ASSERT_EQ(user_dev_reply(d, seq[i], 0), 0);
	}
	user_dev_run(d, UCALL_DONE);
	TEST_ASSERT_EQ(user_dev_reply(d, 1, 0), ENOENT);
}

static void guest_modes(void)
{
	/* Through: the shadow has it at once. */
	guest_store(0x10, 4, 0x12345678);
	GUEST_ASSERT_EQ(guest_load(0x12, 2), 0x1234);
	GUEST_SYNC(0);
	guest_store(0x110, 2, 0xbeef);
	GUEST_DONE();
}

static const struct rmio_area modes[] = { {
	.length = 0x100,
	.sizes = RMIO_SIZE_ALL,
	.load = RMIO_LOAD_SHADOW,
	.store = RMIO_STORE_THROUGH,
	.flags = RMIO_AREA_RELAXED,
}, {
	.offset = 0x100,
	.length = 0x100,
	.store = RMIO_STORE_SYNC,
} };

/* A store can be written to the shadow as well, or be one that the vCPU waits for. */
USER_DEV_IO_TEST(store_modes)
{
	struct user_dev *d = &self->d;
	uint64_t seq;

	user_dev_start(d, guest_modes, 0);
	user_dev_shadow(d, modes, ARRAY_SIZE(modes));
	user_dev_run(d, UCALL_SYNC);
	TEST_ASSERT_EQ(*(uint32_t *)(d->image + 0x10), 0x12345678);
	user_dev_serve(d, RMIO_OP_STORE, 0x10, 4, 0x12345678);

	user_dev_run_to_wait(d);
	seq = user_dev_take(d, RMIO_OP_STORE_SYNC, 0x110, 2, 0xbeef);
	user_dev_run_to_wait(d);
	TEST_ASSERT_EQ(user_dev_reply(d, seq, 0), 0);
	user_dev_run(d, UCALL_DONE);
	TEST_ASSERT_EQ(d->down->counters.sync, 1);
	TEST_ASSERT_EQ(d->image[0x110], 0x10);
}

static void guest_fills(void)
{
	guest_store(0, 4, 1);
	guest_store(0, 4, 2);
	GUEST_SYNC(0);
	guest_store(0, 4, 3);
	GUEST_DONE();
}

/* A vCPU whose lane is full waits for room, and its store is not lost. */
USER_DEV_IO_TEST(full)
{
	struct user_dev *d = &self->d;

	user_dev_start(d, guest_fills, 2);
	user_dev_run(d, UCALL_SYNC);
	user_dev_run_to_wait(d);
	TEST_ASSERT_EQ(d->down->counters.posted, 2);
	user_dev_serve(d, RMIO_OP_STORE, 0, 4, 1);
	user_dev_run(d, UCALL_DONE);
	user_dev_serve(d, RMIO_OP_STORE, 0, 4, 2);
	user_dev_serve(d, RMIO_OP_STORE, 0, 4, 3);
	TEST_ASSERT(!user_dev_pending(d), "One request too many");
}

/* -- ranges ------------------------------------------------------------------------------- */

static void guest_ports(void)
{
	outl(USER_DEV_PORT + 4, 0x12345678);
	GUEST_SYNC(0);
	GUEST_ASSERT_EQ(guest_inl(USER_DEV_PORT + 8), 0x90abcdef);
	GUEST_DONE();
}

/* The port bus is as the other. */
USER_DEV_IO_TEST(ports)
{
	struct user_dev *d = &self->d;

	user_dev_start(d, guest_ports, 0);
	user_dev_run(d, UCALL_SYNC);
	user_dev_serve(d, RMIO_OP_STORE, 4, 4, 0x12345678);
	user_dev_run_to_wait(d);
	user_dev_serve(d, RMIO_OP_LOAD, 8, 4, 0x90abcdef);
	user_dev_run(d, UCALL_DONE);
}

static void guest_moves(void)
{
	for (;;) {
		guest_store(0x10, 4, 0x5709e);
		guest_store(USER_DEV_LEN + 0x20, 4, 0x5709e);
		outl(USER_DEV_PORT, 0x907);
		GUEST_SYNC(0);
	}
}

/* A plain exit to user space, which nobody else has taken. */
static void run_to_mmio(struct user_dev *d, uint64_t offset)
{
	struct kvm_run *run = d->vcpu->run;

	vcpu_run(d->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(d->vcpu, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(run->mmio.phys_addr, USER_DEV_GPA + offset);
	TEST_ASSERT_EQ(run->mmio.len, 4);
	TEST_ASSERT_EQ(run->mmio.is_write, 1);
	TEST_ASSERT_EQ(*(uint32_t *)run->mmio.data, 0x5709e);
}

static void run_to_port(struct user_dev *d)
{
	vcpu_run(d->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(d->vcpu, KVM_EXIT_IO);
	TEST_ASSERT_EQ(d->vcpu->run->io.port, USER_DEV_PORT);
}

/* Where no range is, or none any more, an access comes out as ever. */
USER_DEV_IO_TEST(range_moves)
{
	struct user_dev *d = &self->d;

	user_dev_start(d, guest_moves, 0);
	run_to_mmio(d, USER_DEV_LEN + 0x20);
	user_dev_serve(d, RMIO_OP_STORE, 0x10, 4, 0x5709e);
	user_dev_run(d, UCALL_SYNC);
	user_dev_serve(d, RMIO_OP_STORE, 0, 4, 0x907);

	TEST_ASSERT_EQ(user_dev_range(d, USER_DEV_GPA + USER_DEV_LEN, USER_DEV_LEN, RMIO_BUS_MEM,
				      USER_DEV_MEM), 0);
	run_to_mmio(d, 0x10);
	user_dev_run(d, UCALL_SYNC);
	user_dev_serve(d, RMIO_OP_STORE, 0x20, 4, 0x5709e);
	user_dev_serve(d, RMIO_OP_STORE, 0, 4, 0x907);

	TEST_ASSERT_EQ(user_dev_range(d, 0, 0, RMIO_BUS_MEM, USER_DEV_MEM), 0);
	TEST_ASSERT_EQ(user_dev_range(d, 0, 0, RMIO_BUS_IO, USER_DEV_IO), 0);
	TEST_ASSERT_EQ(user_dev_range(d, 0, 0, RMIO_BUS_IO, USER_DEV_IO), ENOENT);
	run_to_mmio(d, 0x10);
	run_to_mmio(d, USER_DEV_LEN + 0x20);
	run_to_port(d);
	user_dev_run(d, UCALL_SYNC);
	TEST_ASSERT(!user_dev_pending(d), "A device without ranges has a request");
}

int main(int argc, char *argv[])
{
	user_dev_require();
	return test_harness_run(argc, argv);
}
