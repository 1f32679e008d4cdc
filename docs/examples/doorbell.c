// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device that is not PCI: four ports and a line, wherever the VMM puts them.
 *   0  a store rings: the line rises; reads as how often it has rung, modulo 256
 *   1  a store answers: the line falls
 *   2, 3  two bytes to write and read
 * cc doorbell.c $(pkg-config --cflags --libs rmio) -o doorbell
 * rmio vmm --guest FILE --device exec=./doorbell,port=0x3f8,irq=4
 * or ./doorbell /tmp/bell.sock, and --device socket=/tmp/bell.sock,port=0x3f8,irq=4
 */
#include <rmio/rmio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct rmio_loop *loop;
static uint8_t rung, scratch[2];

static void stop(int sig)
{
	(void)sig;
	rmio_loop_stop(loop);
}

static uint64_t load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	(void)dev;
	(void)range;
	(void)len;
	return offset == 0 ? rung : offset >= 2 ? scratch[offset - 2] : 0xff;
}

static void store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		  uint32_t len)
{
	(void)range;
	(void)len;
	if (offset >= 2)
		scratch[offset - 2] = (uint8_t)value;
	else
		rmio_dev_pin(dev, !offset);
	rung = (uint8_t)(rung + !offset);
}

static void reset(struct rmio_dev *dev)
{
	(void)dev;	/* the framework lowers the line */
	rung = 0;
	memset(scratch, 0, sizeof(scratch));
}

static const struct rmio_dev_ops ops = { .load = load, .store = store, .reset = reset };
static const struct rmio_dev_range ports = {
	.id = 0, .bus = RMIO_BUS_IO, .len = 4, .sizes = RMIO_SIZE_1,
};

int main(int argc, char **argv)
{
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .name = "doorbell", .ops = &ops,
		.ranges = &ports, .nr_ranges = 1, .intx = 1, .flags = RMIO_DEV_PLATFORM,
	};
	struct rmio_dev *dev = NULL;
	int err = argc == 2 ? rmio_loop_new(NULL, &loop) : -1;

	if (!err)
		err = rmio_dev_new(loop, &desc, NULL, &dev);
	if (!err) {
		/* Before anybody can see the socket, and end what made it. */
		signal(SIGTERM, stop);
		signal(SIGINT, stop);
		err = strncmp(argv[1], "--fd=", 5) ? rmio_dev_listen(dev, argv[1])
						   : rmio_dev_serve(dev, atoi(argv[1] + 5));
	}
	if (!err)
		err = rmio_loop_run(loop);
	if (err)
		fprintf(stderr, "%s\n", argc == 2 ? rmio_errstr(err) : "usage: doorbell SOCKET|--fd=N");
	rmio_dev_free(dev);
	rmio_loop_free(loop);
	return err ? 1 : 0;
}
