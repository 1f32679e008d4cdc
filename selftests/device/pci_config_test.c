// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Configuration space as a guest sizes and programs it, and descriptions of
 * devices that are refused.
 */
#include "dev_thread.h"
#include "device/pci_config.h"

#include <linux/pci_regs.h>

static const struct rmio_dev_range ranges[] = {
	{ .id = 0, .bus = RMIO_BUS_MEM, .len = 0x100000 },
	{ .id = 1, .bus = RMIO_BUS_IO, .len = 32 },
	{ .id = 2, .bus = RMIO_BUS_MEM, .len = 1ull << 33,
	  .flags = RMIO_DEV_RANGE_64BIT | RMIO_DEV_RANGE_PREFETCH },
	{ .id = 4, .bus = RMIO_BUS_MEM, .len = 16 },
};

static const struct rmio_dev_desc full = {
	.sz = sizeof(full),
	.ranges = ranges,
	.nr_ranges = 4,
	.vendor = 0x1122,
	.device = 0x3344,
	.subvendor = 0x5566,
	.subdevice = 0x7788,
	.class_code = 0x020304,
	.revision = 9,
	.msi = 8,
	.intx = 2,
};

static uint32_t get(struct rmio_pci_config *c, uint32_t off, uint32_t len)
{
	uint32_t v = 0;

	rmio_pci_config_read(c, off, &v, len);
	return v;
}

static void set(struct rmio_pci_config *c, uint32_t off, uint32_t len, uint32_t v)
{
	rmio_pci_config_write(c, off, &v, len);
}

static void identity(void)
{
	struct rmio_pci_config c;
	uint32_t i;

	rmio_pci_config_init(&c, &full);
	for (i = 0; i < 2; i++) {
		T_EQ(get(&c, PCI_VENDOR_ID, 4), 0x33441122);
		T_EQ(get(&c, PCI_CLASS_REVISION, 4), 0x02030409);
		T_EQ(get(&c, PCI_CLASS_DEVICE + 1, 1), 0x02);
		T_EQ(get(&c, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x77885566);
		T_EQ(get(&c, PCI_HEADER_TYPE, 1), 0);
		T_EQ(get(&c, PCI_INTERRUPT_PIN, 1), 2);
		T_EQ(get(&c, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
		T_EQ(get(&c, PCI_ROM_ADDRESS, 4), 0);
		/* none of it can be written */
		set(&c, PCI_VENDOR_ID, 4, 0);
		set(&c, PCI_CLASS_REVISION, 4, ~0u);
		set(&c, PCI_SUBSYSTEM_VENDOR_ID, 4, 0);
		set(&c, PCI_HEADER_TYPE, 1, 0x80);
		set(&c, PCI_INTERRUPT_PIN, 1, 0xff);
		set(&c, PCI_STATUS, 2, 0xffff);
		set(&c, PCI_ROM_ADDRESS, 4, ~0u);
	}
}

static void bars(void)
{
	static const struct {
		uint32_t bar, flags, sized;
	} want[] = {
		{ 0, 0, 0xfff00000 },
		{ 1, PCI_BASE_ADDRESS_SPACE_IO, 0xffffffe1 },
		{ 2, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH, 0x0000000c },
		{ 3, 0, 0xfffffffe },
		{ 4, 0, 0xfffffff0 },
		{ 5, 0, 0 },
	};
	struct rmio_pci_config c;
	uint32_t i, off;

	rmio_pci_config_init(&c, &full);
	for (i = 0; i < 6; i++) {
		off = PCI_BASE_ADDRESS_0 + 4 * want[i].bar;
		T_EQ(get(&c, off, 4), want[i].flags);
		set(&c, off, 4, ~0u);
		T_EQ(get(&c, off, 4), want[i].sized);
		/* byte by byte, as a guest may */
		set(&c, off + 2, 1, 0);
		T_EQ(get(&c, off, 4), want[i].sized & 0xff00ffff);
		set(&c, off, 4, 0);
		T_EQ(get(&c, off, 4), want[i].flags);
	}
	set(&c, PCI_BASE_ADDRESS_0, 4, 0xe0123456);
	T_EQ(get(&c, PCI_BASE_ADDRESS_0, 4), 0xe0100000);
	rmio_pci_config_reset(&c);
	T_EQ(get(&c, PCI_BASE_ADDRESS_0, 4), 0);
}

static void command(void)
{
	struct rmio_dev_desc bare = { .sz = sizeof(bare) };
	struct rmio_pci_config c;

	rmio_pci_config_init(&c, &full);
	T_OK(!rmio_pci_config_master(&c));
	set(&c, PCI_COMMAND, 2, 0xffff);
	T_EQ(get(&c, PCI_COMMAND, 2), PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
	     PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
	T_OK(rmio_pci_config_master(&c));
	T_OK(rmio_pci_config_intx_off(&c));
	rmio_pci_config_intx(&c, true);
	T_EQ(get(&c, PCI_STATUS, 2), PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT);
	rmio_pci_config_intx(&c, false);
	T_EQ(get(&c, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	rmio_pci_config_reset(&c);
	T_EQ(get(&c, PCI_COMMAND, 2), 0);

	/* bits that mean nothing for this device stay 0 */
	rmio_pci_config_init(&c, &bare);
	set(&c, PCI_COMMAND, 2, 0xffff);
	set(&c, PCI_INTERRUPT_LINE, 1, 11);
	T_EQ(get(&c, PCI_COMMAND, 2), PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR);
	T_EQ(get(&c, PCI_INTERRUPT_LINE, 2), 0);
	T_EQ(get(&c, PCI_STATUS, 2), 0);
	T_EQ(get(&c, PCI_CAPABILITY_LIST, 1), 0);
}

static void msi(void)
{
	struct rmio_pci_config c;
	uint32_t cap;

	rmio_pci_config_init(&c, &full);
	cap = get(&c, PCI_CAPABILITY_LIST, 1);
	T_REQUIRE(T_GE(cap, 0x40));
	T_EQ(get(&c, cap, 1), PCI_CAP_ID_MSI);
	T_EQ(get(&c, cap + 1, 1), 0);
	T_EQ(get(&c, cap + PCI_MSI_FLAGS, 2), PCI_MSI_FLAGS_64BIT | 3 << 1);
	set(&c, cap + PCI_MSI_FLAGS, 2, 0xffff);
	T_EQ(get(&c, cap + PCI_MSI_FLAGS, 2),
	     PCI_MSI_FLAGS_64BIT | 3 << 1 | PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
	set(&c, cap + PCI_MSI_ADDRESS_LO, 4, 0xfee01003);
	set(&c, cap + PCI_MSI_ADDRESS_HI, 4, 0x1);
	set(&c, cap + PCI_MSI_DATA_64, 4, 0x12344321);
	T_EQ(get(&c, cap + PCI_MSI_ADDRESS_LO, 4), 0xfee01000);
	T_EQ(get(&c, cap + PCI_MSI_ADDRESS_HI, 4), 0x1);
	T_EQ(get(&c, cap + PCI_MSI_DATA_64, 4), 0x4321);
}

/* Whatever is written anywhere, what may not change does not. */
static void random_writes(void)
{
	struct rmio_pci_config c;
	uint8_t buf[256];
	uint32_t i, k, off, len;

	rmio_pci_config_init(&c, &full);
	srand(1);
	for (i = 0; i < 20000; i++) {
		off = (uint32_t)rand() % 256;
		len = 1 + (uint32_t)rand() % (256 - off);
		for (k = 0; k < len; k++)
			buf[k] = (uint8_t)rand();
		rmio_pci_config_write(&c, off, buf, len);
		for (k = 0; k < 256; k++)
			if ((c.val[k] ^ c.init[k]) & ~c.wmask[k]) {
				T_FAIL("byte 0x%x: 0x%x from 0x%x", k, c.val[k], c.init[k]);
				return;
			}
	}
}

/* -- descriptions ------------------------------------------------------------------------- */

static const struct rmio_dev_ops no_ops;

static int try(const struct rmio_dev_desc *d, const struct rmio_dev_range *r, uint32_t n)
{
	struct rmio_dev_desc desc = *d;
	struct dev_thread t;
	struct rmio_dev *dev;
	int err;

	if (!dev_thread_new(&t, RMIO_WAIT_SLEEP))
		return -1;
	desc.sz = sizeof(desc);
	desc.ops = &no_ops;
	desc.ranges = r;
	desc.nr_ranges = n;
	desc.vendor = 0x1234;
	err = rmio_dev_new(t.loop, &desc, NULL, &dev);
	if (!err)
		rmio_dev_free(dev);
	else
		T_GT(t.lines, 0);
	rmio_loop_free(t.loop);
	return err;
}

static void bad_ranges(void)
{
	static const struct rmio_dev_range bad[] = {
		{ .id = 0, .bus = 2, .len = 16 },
		{ .id = 0, .bus = RMIO_BUS_MEM, .len = 0 },
		{ .id = 0, .bus = RMIO_BUS_MEM, .len = 8 },
		{ .id = 0, .bus = RMIO_BUS_MEM, .len = 4095 },
		{ .id = 0, .bus = RMIO_BUS_MEM, .len = 1ull << 32 },
		{ .id = 0, .bus = RMIO_BUS_IO, .len = 2 },
		{ .id = 0, .bus = RMIO_BUS_IO, .len = 1 << 17 },
		{ .id = 0, .bus = RMIO_BUS_IO, .len = 16, .flags = RMIO_DEV_RANGE_64BIT },
		{ .id = 0, .bus = RMIO_BUS_IO, .len = 16, .flags = RMIO_DEV_RANGE_PREFETCH },
		{ .id = 0, .bus = RMIO_BUS_MEM, .len = 16, .flags = 0x10 },
		{ .id = 0, .bus = RMIO_BUS_MEM, .len = 16, .reserved = 1 },
		{ .id = 5, .bus = RMIO_BUS_MEM, .len = 16, .flags = RMIO_DEV_RANGE_64BIT },
		{ .id = 6, .bus = RMIO_BUS_MEM, .len = 16 },
		{ .id = 7, .bus = RMIO_BUS_MEM, .len = 16 },
		{ .id = 8, .bus = RMIO_BUS_MEM, .len = 16 },
		{ .id = 256, .bus = RMIO_BUS_MEM, .len = 16 },
	};
	static const struct rmio_dev_range twice[] = {
		{ .id = 1, .bus = RMIO_BUS_MEM, .len = 16 },
		{ .id = 1, .bus = RMIO_BUS_MEM, .len = 16 },
	};
	static const struct rmio_dev_range high[] = {
		{ .id = 0, .bus = RMIO_BUS_MEM, .len = 16, .flags = RMIO_DEV_RANGE_64BIT },
		{ .id = 1, .bus = RMIO_BUS_MEM, .len = 16 },
	};
	struct rmio_dev_desc d = { 0 };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!T_EQ(try(&d, &bad[i], 1), -EINVAL))
			ktap_diag("range %zu", i);
	T_EQ(try(&d, twice, 2), -EINVAL);
	T_EQ(try(&d, high, 2), -EINVAL);
	T_EQ(try(&d, NULL, 1), -EINVAL);
	T_EQ(try(&d, ranges, 65), -EINVAL);
	T_EQ(try(&d, ranges, 4), 0);
	T_EQ(try(&d, NULL, 0), 0);
}

static void bad_descriptions(void)
{
	static const struct rmio_area outside = { .offset = 0xfffff, .length = 2 };
	static const struct rmio_area no_image = { .length = 4,
						   .load = RMIO_LOAD_SHADOW,
						   .sizes = 4 };
	static const struct rmio_area nowhere = { .length = 4, .range_id = 3 };
	struct rmio_dev_desc d = { .msi = 3 };

	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .msi = 64 };
	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .intx = 5 };
	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .class_code = 1u << 24 };
	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .flags = 0x80 };
	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .shadow_size = RMIO_SHADOW_MAX + 1 };
	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .areas = &outside, .nr_areas = 1 };
	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .areas = &no_image, .nr_areas = 1 };
	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .areas = &nowhere, .nr_areas = 1 };
	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .nr_areas = 1 };
	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .areas = &no_image, .nr_areas = 1, .shadow_size = 3 };
	T_EQ(try(&d, ranges, 4), -EINVAL);
	d = (struct rmio_dev_desc){ .areas = &no_image, .nr_areas = 1, .shadow_size = 4 };
	T_EQ(try(&d, ranges, 4), 0);
}

static const struct ktap_test tests[] = {
	{ "identity", identity },
	{ "BARs", bars },
	{ "command and status", command },
	{ "MSI", msi },
	{ "random writes", random_writes },
	{ "bad ranges", bad_ranges },
	{ "bad descriptions", bad_descriptions },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
