// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A client's master places no range that the device does not have, nor one that is longer than the
 * device's region.  Beside the data path.
 */
#include "client_rig.h"
#include "edu.h"

#include <errno.h>

static int place(struct rig *r, uint64_t len, uint32_t id)
{
	struct rmio_pa_range range = {
		.addr = 0x10000000, .len = len, .bus = RMIO_BUS_MEM, .id = id,
	};

	return rmio_master_pa_range(rmio_client_master(r->client), &range);
}

static void unknown_id(void)
{
	struct rig r;

	T_REQUIRE(rig_new(&r, "edu", EDU_BAR_SIZE, true));
	T_EQ(place(&r, 0x1000, 1), -ENXIO);
	T_EQ(place(&r, 0x1000, 3), -ENXIO);
	T_EQ(place(&r, 0x1000, 9), -ENXIO);
	T_EQ(place(&r, 0x1000, 65535), -ENXIO);
	T_EQ(place(&r, 0x1000, 65536), -EINVAL);
	T_EQ(place(&r, 0, 3), -ENOENT);
	rig_free(&r);
}

static void too_long(void)
{
	struct rmio_region_info info;
	uint64_t v = 0;
	struct rig r;

	T_REQUIRE(rig_new(&r, "edu", EDU_BAR_SIZE, true));
	T_EQ(place(&r, 4ull * EDU_BAR_SIZE, 0), -EFBIG);
	T_EQ(place(&r, EDU_BAR_SIZE + 1, 0), -EFBIG);
	/* The old place is kept. */
	T_EQ(rig_load(&r, 0, 4) & 0xffff, 0xed);
	T_EQ(rmio_client_region_info(r.client, 0, &info), 0);
	T_EQ(info.size, EDU_BAR_SIZE);
	T_EQ(place(&r, EDU_BAR_SIZE, 0), 0);
	T_EQ(rmio_vcpu_load(r.vcpu, RMIO_BUS_MEM, 0x10000000, 4, &v), 0);
	T_EQ(v & 0xffff, 0xed);
	T_EQ(place(&r, 0x1000, 0), 0);
	T_EQ(place(&r, 0, 0), 0);
	rig_free(&r);
}

/* What is known needs no answer, and what cannot be known is no reason to refuse. */
static void after_its_end(void)
{
	struct rig r;

	T_REQUIRE(rig_new(&r, "edu", EDU_BAR_SIZE, true));
	dev_thread_stop(&r.d);
	device_free(r.dev);
	rmio_loop_free(r.d.loop);
	T_EQ(place(&r, EDU_BAR_SIZE, 0), 0);
	T_EQ(place(&r, EDU_BAR_SIZE + 1, 0), -EFBIG);
	T_EQ(place(&r, 0, 0), 0);
	T_EQ(place(&r, 0x1000, 3), 0);
	rmio_client_free(r.client);
	rig_free_vm(&r);
}

static const struct ktap_test tests[] = {
	{ "an id that the device does not have", unknown_id },
	{ "longer than its region", too_long },
	{ "after the end of the device process", after_its_end },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
