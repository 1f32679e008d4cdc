// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device KVM_DEV_TYPE_USER in short: a load, a store, the shadow, and nobody
 * there.  What can go wrong has programs of its own, kvm_user_*_test.c.
 */
#include "kvm_user_rig.h"

static void loads_and_stores(void)
{
	RIG_START();
	rig_serve();
	g_begin(0);
	g_store(0, DEVICE + 0x10, 4, 0x11223344);
	g_store(0, DEVICE + 0x21, 1, 0x44);
	g_load(0, DEVICE + 0x10, 4);
	g_end(0);
	if (rig_run(0)) {
		T_EQ(w.vcpu[0].result[0], 0x11223344);
		T_EQ(atomic_load(&w.n), 3);
		T_EQ(w.log[0].op, RMIO_OP_STORE);
		T_EQ(w.log[0].offset, 0x10);
		T_EQ(w.log[0].data, 0x11223344);
		T_EQ(w.log[0].len, 4);
		T_EQ(w.log[1].offset, 0x21);
		T_EQ(w.log[1].len, 1);
		T_EQ(w.log[1].data, 0x44);
		T_EQ(w.log[2].op, RMIO_OP_LOAD);
		T_EQ(w.vcpu[0].exits, 0);
	}
	rig_stop();
}

/* Answered by the image, without the device, which is not there. */
static void shadow(void)
{
	static const struct rmio_area areas[] = {
		{
			.offset = 0x100,
			.length = 0x100,
			.shadow_offset = 0x40,
			.sizes = RMIO_SIZE_4,
			.load = RMIO_LOAD_SHADOW,
		},
		{
			.offset = 0x200,
			.length = 0x10,
			.shadow_offset = 0x200,
			.sizes = RMIO_SIZE_ALL,
			.load = RMIO_LOAD_SHADOW,
			.store = RMIO_STORE_THROUGH,
			.flags = RMIO_AREA_RELAXED,
		},
	};
	uint32_t *image;

	RIG_START();
	image = rig_image(4096);
	T_REQUIRE(image);
	image[(0x40 + 0x24) / 4] = 0xcafe1234;
	T_EQ(rig_map(areas, 2), 0);
	g_begin(0);
	g_load(0, DEVICE + 0x124, 4);
	/* Stored through, and read back although the store is still posted. */
	g_store(0, DEVICE + 0x208, 4, 0x55667788);
	g_load(0, DEVICE + 0x208, 4);
	g_end(0);
	if (rig_run(0)) {
		T_EQ(w.vcpu[0].result[0], 0xcafe1234);
		T_EQ(w.vcpu[0].result[1], 0x55667788);
		T_EQ(image[0x208 / 4], 0x55667788);
		T_EQ(w.vcpu[0].exits, 0);
	}
	munmap(image, 4096);
	rig_stop();
}

/* The slave goes while nobody waits: all ones, stores to nowhere. */
static void closed(void)
{
	RIG_START();
	rig_close_slave();
	g_begin(0);
	g_store(0, DEVICE + 0x10, 4, 1);
	g_load(0, DEVICE + 0x10, 4);
	g_end(0);
	if (rig_run(0)) {
		T_EQ(w.vcpu[0].result[0], 0xffffffff);
		T_EQ(rig_state(), RMIO_KVM_CLOSED);
		T_EQ(w.vcpu[0].exits, 0);
	}
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "loads and stores", loads_and_stores },
	{ "shadow", shadow },
	{ "closed", closed },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
