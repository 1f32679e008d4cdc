// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Devices that are not PCI: what they say of themselves, their accesses by both ways, their line,
 * and DMA without a command register.
 */
#include "client_rig.h"
#include "device/device.h"

#define PORT	0x3f8

struct uart {
	struct rmio_dev *dev;
	uint8_t reg[8];
	uint64_t dma;
	_Atomic int resets;
};

static uint64_t load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	struct uart *u = rmio_dev_priv(dev);

	return range ? 0x77 : u->reg[offset];
}

static void store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		  uint32_t len)
{
	struct uart *u = rmio_dev_priv(dev);
	uint64_t v = 0x1234;

	u->reg[offset] = (uint8_t)value;
	if (offset == 1)
		rmio_dev_pin(dev, value);
	if (offset == 2)
		u->reg[3] = (uint8_t)-rmio_dev_dma_write(dev, 0x1000, &v, sizeof(v));
	if (offset == 4)
		u->reg[5] = (uint8_t)-rmio_dev_msi(dev, 0);
}

static void reset(struct rmio_dev *dev)
{
	struct uart *u = rmio_dev_priv(dev);

	u->resets++;
	memset(u->reg, 0, sizeof(u->reg));
}

static const struct rmio_dev_ops ops = { .load = load, .store = store, .reset = reset };

static const struct rmio_dev_range ranges[] = {
	{ .id = 0, .bus = RMIO_BUS_IO, .len = 8, .sizes = RMIO_SIZE_1 },
	/* where configuration space and ROM of a PCI function are, of a length that no BAR has */
	{ .id = 6, .bus = RMIO_BUS_MEM, .len = 12 },
	{ .id = 7, .bus = RMIO_BUS_MEM, .len = 1 },
	{ .id = 12, .bus = RMIO_BUS_MEM, .len = 4096 },
};

static bool uart_new(struct rig *r, struct uart *u, uint8_t line, bool rings)
{
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .name = "uart", .ops = &ops, .ranges = ranges, .nr_ranges = 4,
		.intx = line, .flags = RMIO_DEV_PLATFORM,
	};
	struct rmio_pa_range place = { .addr = PORT, .len = 8, .bus = RMIO_BUS_IO };
	struct rmio_client_opts opts = { .sz = sizeof(opts) };
	int p[2];

	memset(r, 0, sizeof(*r));
	memset(u, 0, sizeof(*u));
	if (!dev_thread_new(&r->d, RMIO_WAIT_SLEEP) ||
	    !T_EQ(rmio_dev_new(r->d.loop, &desc, u, &r->dev), 0) ||
	    !T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0) ||
	    !T_EQ(rmio_dev_serve(r->dev, p[1]), 0) || !dev_thread_start(&r->d))
		return false;
	u->dev = r->dev;
	if (rings && (!T_EQ(rmio_vm_new(NULL, &r->vm), 0) ||
		      !T_EQ(rmio_vcpu_new(r->vm, 0, NULL, &r->vcpu), 0)))
		return false;
	opts.vm = r->vm;
	if (!T_EQ(rmio_client_new(p[0], &opts, &r->client), 0))
		return false;
	return !rings || T_EQ(rmio_master_pa_range(rmio_client_master(r->client), &place), 0);
}

static void uart_free(struct rig *r)
{
	rmio_client_free(r->client);
	rig_free_vm(r);
	dev_thread_join(&r->d);
	rmio_dev_free(r->dev);
	rmio_loop_free(r->d.loop);
}

static uint64_t in(struct rig *r, uint32_t reg, uint32_t len)
{
	uint64_t v = 0;

	if (r->vm)
		T_EQ(rmio_vcpu_load(r->vcpu, RMIO_BUS_IO, PORT + reg, len, &v), 0);
	else
		T_EQ(rmio_client_region_read(r->client, 0, reg, &v, len), 0);
	return v;
}

static void out(struct rig *r, uint32_t reg, uint32_t len, uint64_t v)
{
	if (r->vm)
		T_EQ(rmio_vcpu_store(r->vcpu, RMIO_BUS_IO, PORT + reg, len, v), 0);
	else
		T_EQ(rmio_client_region_write(r->client, 0, reg, &v, len), 0);
}

static void info(void)
{
	struct rmio_region_info region = { 0 };
	uint32_t flags, regions, irqs, n;
	struct uart u;
	struct rig r;

	T_REQUIRE(uart_new(&r, &u, 1, false));
	T_EQ(rmio_client_device_info(r.client, &flags, &regions, &irqs), 0);
	T_EQ(flags, VFIO_DEVICE_FLAGS_PLATFORM | VFIO_DEVICE_FLAGS_RESET);
	T_EQ(regions, 13);
	T_EQ(irqs, 1);
	T_EQ(rmio_client_region_info(r.client, 0, &region), 0);
	T_EQ(region.size, 8);
	T_EQ(rmio_client_region_info(r.client, 7, &region), 0);
	T_EQ(region.size, 1);
	T_EQ(rmio_client_region_info(r.client, 5, &region), 0);
	T_EQ(region.size, 0);
	T_EQ(rmio_client_irq_info(r.client, 0, &flags, &n), 0);
	T_EQ(flags, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED);
	T_EQ(n, 1);
	uart_free(&r);
	T_REQUIRE(uart_new(&r, &u, 0, false));
	T_EQ(rmio_client_device_info(r.client, &flags, &regions, &irqs), 0);
	T_EQ(irqs, 0);
	uart_free(&r);
}

static void accesses(bool rings)
{
	int line = eventfd(0, EFD_CLOEXEC), unmask = eventfd(0, EFD_CLOEXEC);
	int mem = memfd_create("dma", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint64_t v = 0;
	struct uart u;
	struct rig r;

	T_REQUIRE(uart_new(&r, &u, 1, rings));
	out(&r, 7, 1, 0x5a);
	T_EQ(in(&r, 7, 1), 0x5a);
	out(&r, 6, 2, 0xb1b2);
	T_EQ(in(&r, 6, 2), 0xb1b2);
	T_EQ(rmio_client_region_read(r.client, 7, 0, &v, 1), 0);
	T_EQ(v, 0x77);
	/* the line is a level */
	T_EQ(rmio_client_set_irqs(r.client, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &line), 0);
	T_EQ(rmio_client_set_irqs(r.client, 0, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &unmask), 0);
	out(&r, 1, 1, 1);
	T_EQ(rig_signals(line, 5000), 1);
	T_EQ(rmio_client_set_irqs(r.client, 0, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL), 0);
	T_EQ(rig_signals(line, 5000), 1);
	out(&r, 1, 1, 0);
	T_EQ(in(&r, 1, 1), 0);
	T_EQ(rmio_client_set_irqs(r.client, 0, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL), 0);
	T_EQ(rig_signals(line, 0), 0);
	/* no messages, and nobody who could switch bus mastering on */
	out(&r, 4, 1, 0);
	T_EQ(in(&r, 5, 1), ENOTCONN);
	T_EQ(ftruncate(mem, 0x2000), 0);
	T_EQ(rmio_client_dma_map(r.client, 0, 0x2000, mem, 0, PROT_READ | PROT_WRITE), 0);
	out(&r, 2, 1, 0);
	T_EQ(in(&r, 3, 1), 0);
	T_EQ(pread(mem, &v, sizeof(v), 0x1000), (ssize_t)sizeof(v));
	T_EQ(v, 0x1234);
	T_EQ(rmio_client_reset(r.client), 0);
	T_EQ(in(&r, 7, 1), 0);
	T_EQ(u.resets, 1);
	/* after a reset too */
	out(&r, 2, 1, 0);
	T_EQ(in(&r, 3, 1), 0);
	uart_free(&r);
	close(line);
	close(unmask);
	close(mem);
}

static void by_rings(void)
{
	accesses(true);
}

static void by_socket(void)
{
	accesses(false);
}

/* QEMU's multi-process protocol has PCI commands only: its client is told so by the end. */
static void multi_process(void)
{
	struct rmio_client_opts o = {
		.sz = sizeof(o), .protocol = RMIO_PROTOCOL_MULTI_PROCESS, .reply_timeout_ms = 5000,
	};
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .name = "uart", .ops = &ops, .ranges = ranges, .nr_ranges = 1,
		.flags = RMIO_DEV_PLATFORM,
	};
	struct rmio_client *c;
	struct dev_thread d;
	struct rmio_dev *dev;
	struct uart u;
	int p[2];

	memset(&u, 0, sizeof(u));
	T_REQUIRE(dev_thread_new(&d, RMIO_WAIT_SLEEP));
	T_EQ(rmio_dev_new(d.loop, &desc, &u, &dev), 0);
	T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	T_EQ(rmio_dev_serve(dev, p[1]), 0);
	T_REQUIRE(dev_thread_start(&d));
	T_EQ(rmio_client_new(p[0], &o, &c), -ECONNRESET);
	dev_thread_join(&d);
	rmio_dev_free(dev);
	rmio_loop_free(d.loop);
}

static void refused(void)
{
	static const struct rmio_dev_range good = { .len = 8 }, none = { .len = 0 },
		wide = { .len = 8, .flags = RMIO_DEV_RANGE_64BIT }, far = { .id = 256, .len = 8 };
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .name = "uart", .ops = &ops, .ranges = &good, .nr_ranges = 1,
		.flags = RMIO_DEV_PLATFORM,
	};
	const struct rmio_dev_range *bad[] = { &none, &wide, &far };
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	size_t i;

	T_REQUIRE(T_EQ(rmio_loop_new(NULL, &loop), 0));
	for (i = 0; i < 3; i++) {
		desc.ranges = bad[i];
		T_EQ(rmio_dev_new(loop, &desc, NULL, &dev), -EINVAL);
	}
	desc.ranges = &good;
	desc.msi = 1;
	T_EQ(rmio_dev_new(loop, &desc, NULL, &dev), -EINVAL);
	desc.msi = 0;
	desc.intx = 2;
	T_EQ(rmio_dev_new(loop, &desc, NULL, &dev), -EINVAL);
	desc.intx = 1;
	desc.flags |= 2;
	T_EQ(rmio_dev_new(loop, &desc, NULL, &dev), -EINVAL);
	rmio_loop_free(loop);
}

static const struct ktap_test tests[] = {
	{ "information", info },
	{ "by rings", by_rings },
	{ "by the socket", by_socket },
	{ "a client of the multi-process protocol", multi_process },
	{ "descriptions that make no sense", refused },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
