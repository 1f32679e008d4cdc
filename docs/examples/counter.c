// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The smallest complete device: a PCI function with 16 bytes of registers.
 *   0x0  reads as the number of stores to 0x4 so far, from the shadow image
 *   0x4  a store counts, and interrupts
 * cc counter.c $(pkg-config --cflags --libs rmio) && ./a.out /tmp/counter.sock
 */
#include <rmio/rmio.h>
#include <signal.h>
#include <stdio.h>

static struct rmio_loop *loop;
static uint32_t count;

static void stop(int sig)
{
	(void)sig;
	rmio_loop_stop(loop);
}

static void store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		  uint32_t len)
{
	(void)value;
	(void)len;
	if (range != 0 || offset != 4)
		return;
	rmio_dev_shadow_put(dev, 0, ++count, 4);
	rmio_dev_msi(dev, 0);
}

static void reset(struct rmio_dev *dev)
{
	count = 0;
	rmio_dev_shadow_put(dev, 0, count, 4);
}

static const struct rmio_dev_ops ops = { .store = store, .reset = reset };
static const struct rmio_dev_range bar0 = { .id = 0, .bus = RMIO_BUS_MEM, .len = 16 };
static const struct rmio_area reg0 = {
	.offset = 0, .length = 4, .sizes = RMIO_SIZE_4, .load = RMIO_LOAD_SHADOW,
};

int main(int argc, char **argv)
{
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .name = "counter", .ops = &ops,
		.ranges = &bar0, .nr_ranges = 1,
		.areas = &reg0, .nr_areas = 1, .shadow_size = 4,
		.vendor = 0x524d, .device = 0x0001, .class_code = 0xff0000, .msi = 1,
	};
	struct rmio_dev *dev = NULL;
	int err = argc == 2 ? rmio_loop_new(NULL, &loop) : -1;

	if (!err)
		err = rmio_dev_new(loop, &desc, NULL, &dev);
	if (!err) {
		/* Before anybody can see the socket, and end what made it. */
		signal(SIGTERM, stop);
		signal(SIGINT, stop);
		err = rmio_dev_listen(dev, argv[1]);
	}
	if (!err)
		err = rmio_loop_run(loop);
	if (err)
		fprintf(stderr, "%s\n", argc == 2 ? rmio_errstr(err) : "usage: counter SOCKET");
	rmio_dev_free(dev);	/* and its socket */
	rmio_loop_free(loop);
	return err ? 1 : 0;
}
