// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The educational device of QEMU's docs/specs/edu.rst.  An end of the data path;
 * its registers are in edu.h.
 *
 * No register has a side effect on loads, so loads of those that can be read are
 * answered from the shadow image, which is written at each change.  A load waits for the
 * earlier stores of its vCPU, so that a complement, a count or a status is read
 * as the device left it.
 */
#include "devices.h"
#include "edu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EDU_DELAY_MAX	3600000000u

/* Registers are not neighbours in the image, so that no load gets halves of two from it. */
#define SHADOW(reg)	(2 * (reg))

struct edu {
	struct rmio_dev *dev;
	uint32_t live, factorial, status, irq_status;
	uint64_t src, dst, count, cmd;
	uint64_t mask, delay_ns;
	struct rmio_timer computed, moved;
	uint8_t buf[EDU_BUF_SIZE];
};

/* -- registers ------------------------------------------------------------------- */

static void show32(struct edu *e, uint32_t reg, uint32_t value)
{
	rmio_dev_shadow_put(e->dev, SHADOW(reg), value, 4);
}

static void show(struct edu *e)
{
	show32(e, EDU_ID, EDU_ID_VALUE);
	show32(e, EDU_LIVE, e->live);
	show32(e, EDU_FACTORIAL, e->factorial);
	show32(e, EDU_STATUS, e->status);
	show32(e, EDU_IRQ_STATUS, e->irq_status);
	show32(e, EDU_DMA_SRC, (uint32_t)e->src);
	show32(e, EDU_DMA_DST, (uint32_t)e->dst);
	show32(e, EDU_DMA_COUNT, (uint32_t)e->count);
	show32(e, EDU_DMA_CMD, (uint32_t)e->cmd);
}

static uint64_t load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	struct edu *e = rmio_dev_priv(dev);

	if (len == 8 && offset < 0x80)
		return UINT64_MAX;
	switch (offset) {
	case EDU_ID:
		return EDU_ID_VALUE;
	case EDU_LIVE:
		return e->live;
	case EDU_FACTORIAL:
		return e->factorial;
	case EDU_STATUS:
		return e->status;
	case EDU_IRQ_STATUS:
		return e->irq_status;
	case EDU_DMA_SRC:
		return e->src;
	case EDU_DMA_DST:
		return e->dst;
	case EDU_DMA_COUNT:
		return e->count;
	case EDU_DMA_CMD:
		return e->cmd;
	}
	return UINT64_MAX;
}

/* -- interrupts --------------------------------------------------------------------- */

/*
 * What has been done shows in this order: results, interrupt status, that it is
 * done, the interrupt.  So whoever sees the work done finds the rest of it too.
 */
static void set_irq(struct edu *e, uint32_t bits)
{
	e->irq_status |= bits;
	show32(e, EDU_IRQ_STATUS, e->irq_status);
}

static void signal_irq(struct edu *e)
{
	if (!e->irq_status)
		return;
	if (!rmio_dev_msi_enabled(e->dev))
		rmio_dev_pin(e->dev, true);
	else
		rmio_dev_msi(e->dev, 0);
}

static void ack_irq(struct edu *e, uint32_t bits)
{
	e->irq_status &= ~bits;
	show32(e, EDU_IRQ_STATUS, e->irq_status);
	if (!e->irq_status)
		rmio_dev_pin(e->dev, false);
}

/* -- factorial ------------------------------------------------------------------------ */

static void compute(struct rmio_timer *t)
{
	struct edu *e = (struct edu *)((char *)t - offsetof(struct edu, computed));
	uint32_t n, f = 1;

	/* From 34! on there are more than 32 factors of two, and 0 stays 0. */
	for (n = e->factorial; n > 1 && f; n--)
		f *= n;
	e->factorial = f;
	show32(e, EDU_FACTORIAL, f);
	if (e->status & EDU_STATUS_IRQ)
		set_irq(e, EDU_IRQ_FACTORIAL);
	e->status &= ~EDU_STATUS_COMPUTING;
	show32(e, EDU_STATUS, e->status);
	if (e->status & EDU_STATUS_IRQ)
		signal_irq(e);
}

static void begin_factorial(struct edu *e, uint32_t n)
{
	if (e->status & EDU_STATUS_COMPUTING)
		return;
	e->factorial = n;
	e->status |= EDU_STATUS_COMPUTING;
	show32(e, EDU_STATUS, e->status);
	show32(e, EDU_FACTORIAL, n);
	rmio_timer_arm(rmio_dev_loop(e->dev), &e->computed, e->delay_ns);
}

/* -- DMA --------------------------------------------------------------------------------- */

/* Where in the buffer [addr, addr + count) lies; NULL if not all of it does. */
static uint8_t *in_buf(struct edu *e, uint64_t addr)
{
	if (addr < EDU_BUF || e->count > EDU_BUF_SIZE || addr - EDU_BUF > EDU_BUF_SIZE - e->count)
		return NULL;
	return e->buf + (addr - EDU_BUF);
}

/*
 * A transfer outside of the buffer or of mapped memory moves nothing and ends
 * like any other, as the guest could see it on a bus without error reports.
 */
static void move(struct rmio_timer *t)
{
	struct edu *e = (struct edu *)((char *)t - offsetof(struct edu, moved));
	bool to_ram = e->cmd & EDU_DMA_TO_RAM;
	uint8_t *buf = in_buf(e, to_ram ? e->src : e->dst);

	if (buf && to_ram)
		rmio_dev_dma_write(e->dev, e->dst & e->mask, buf, e->count);
	else if (buf)
		rmio_dev_dma_read(e->dev, e->src & e->mask, buf, e->count);
	if (e->cmd & EDU_DMA_IRQ)
		set_irq(e, EDU_IRQ_DMA);
	e->cmd &= ~(uint64_t)EDU_DMA_RUN;
	show32(e, EDU_DMA_CMD, (uint32_t)e->cmd);
	if (e->cmd & EDU_DMA_IRQ)
		signal_irq(e);
}

/* The DMA registers do not change while a transfer runs. */
static void store_dma(struct edu *e, uint64_t offset, uint64_t value)
{
	if (e->cmd & EDU_DMA_RUN)
		return;
	switch (offset) {
	case EDU_DMA_SRC:
		e->src = value;
		break;
	case EDU_DMA_DST:
		e->dst = value;
		break;
	case EDU_DMA_COUNT:
		e->count = value;
		break;
	case EDU_DMA_CMD:
		if (!(value & EDU_DMA_RUN))
			return;
		e->cmd = value;
		rmio_timer_arm(rmio_dev_loop(e->dev), &e->moved, e->delay_ns);
		break;
	default:
		return;
	}
	show32(e, (uint32_t)offset, (uint32_t)value);
}

static void store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		  uint32_t len)
{
	struct edu *e = rmio_dev_priv(dev);

	if (len == 8 && offset < 0x80)
		return;
	switch (offset) {
	case EDU_LIVE:
		e->live = ~(uint32_t)value;
		show32(e, EDU_LIVE, e->live);
		return;
	case EDU_FACTORIAL:
		begin_factorial(e, (uint32_t)value);
		return;
	case EDU_STATUS:
		e->status = (e->status & ~EDU_STATUS_IRQ) | ((uint32_t)value & EDU_STATUS_IRQ);
		show32(e, EDU_STATUS, e->status);
		return;
	case EDU_IRQ_RAISE:
		set_irq(e, (uint32_t)value);
		signal_irq(e);
		return;
	case EDU_IRQ_ACK:
		ack_irq(e, (uint32_t)value);
		return;
	}
	store_dma(e, offset, value);
}

/* -- the device ---------------------------------------------------------------------------- */

static void reset(struct rmio_dev *dev)
{
	struct edu *e = rmio_dev_priv(dev);

	rmio_timer_cancel(rmio_dev_loop(dev), &e->computed);
	rmio_timer_cancel(rmio_dev_loop(dev), &e->moved);
	e->live = 0;
	e->factorial = 0;
	e->status = 0;
	e->irq_status = 0;
	e->src = 0;
	e->dst = 0;
	e->count = 0;
	e->cmd = 0;
	memset(e->buf, 0, sizeof(e->buf));
	show(e);
}

static const struct rmio_dev_ops ops = { .load = load, .store = store, .reset = reset };

static const struct rmio_dev_range bar0 = {
	.id = 0,
	.bus = RMIO_BUS_MEM,
	.len = EDU_BAR_SIZE,
	.valid = RMIO_SIZE_4 | RMIO_SIZE_8,
	.flags = RMIO_DEV_RANGE_ALIGNED,
};

/*
 * Four bytes each, so that the shadow answers exactly the four-byte loads of a
 * register: the other half of an address register reads all ones, and eight
 * bytes come from the device.  Stores are posted, also to the two that cannot be read:
 * an area of one register tells the planner that KVM may take its stores.
 */
#define REG(reg) { .offset = (reg), .length = 4, .shadow_offset = SHADOW(reg), \
		   .sizes = RMIO_SIZE_4, .load = RMIO_LOAD_SHADOW }
static const struct rmio_area areas[] = {
	REG(EDU_ID), REG(EDU_LIVE), REG(EDU_FACTORIAL), REG(EDU_STATUS), REG(EDU_IRQ_STATUS),
	{ .offset = EDU_IRQ_RAISE, .length = 4 }, { .offset = EDU_IRQ_ACK, .length = 4 },
	REG(EDU_DMA_SRC), REG(EDU_DMA_DST), REG(EDU_DMA_COUNT), REG(EDU_DMA_CMD),
};

static int make(struct rmio_loop *loop, const char *opts, struct rmio_dev **dev, char *why,
		size_t len)
{
	static const char *const keys[] = { "dma_mask", "delay_us", NULL };
	uint64_t vals[] = { EDU_DMA_MASK, 100 };
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc),
		.name = "edu",
		.ops = &ops,
		.ranges = &bar0,
		.nr_ranges = 1,
		.areas = areas,
		.nr_areas = sizeof(areas) / sizeof(areas[0]),
		.shadow_size = 4096,
		.vendor = EDU_VENDOR,
		.device = EDU_DEVICE,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_code = 0x00ff00,
		.revision = EDU_REVISION,
		.msi = 1,
		.intx = 1,
	};
	struct edu *e;
	int err;

	err = device_options(opts, keys, vals, why, len);
	if (err)
		return err;
	if (vals[1] > EDU_DELAY_MAX) {
		snprintf(why, len, "delay_us is at most %u, an hour", EDU_DELAY_MAX);
		return -EINVAL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->mask = vals[0];
	e->delay_ns = vals[1] * 1000;
	e->computed.fire = compute;
	e->moved.fire = move;
	err = rmio_dev_new(loop, &desc, e, dev);
	if (err) {
		free(e);
		return err;
	}
	e->dev = *dev;
	reset(*dev);
	return 0;
}

const struct device_type edu_device = {
	.name = "edu",
	.summary = "QEMU's educational device: factorials, interrupts, DMA",
	.options = "dma_mask=MASK  addresses that DMA can drive (0x0fffffff)\n"
		   "delay_us=N     how long a factorial or transfer takes (100)\n",
	.make = make,
};
