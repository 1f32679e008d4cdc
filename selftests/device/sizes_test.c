// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Access sizes that a range declares: what reaches the callbacks, what is refused, and that no
 * byte is read or written wrongly, over every declaration and every place of an access.
 */
#include "client_rig.h"
#include "device/device.h"

#define LEN	32u

struct memory {
	uint8_t bytes[LEN];
	uint8_t touched[LEN];	/* how often a store wrote it */
	const struct rmio_dev_range *range;
	int calls;
	bool wrong;		/* a call that the range does not implement */
	uint64_t last;
	bool falling;		/* not at ascending offsets */
};

static void called(struct memory *m, uint64_t offset, uint32_t len)
{
	uint32_t sizes = m->range->sizes ? m->range->sizes : RMIO_SIZE_ALL;

	if (!(sizes & len) || offset + len > m->range->len ||
	    (m->range->flags & RMIO_DEV_RANGE_NATURAL && offset % len))
		m->wrong = true;
	if (m->calls++ && offset <= m->last)
		m->falling = true;
	m->last = offset;
}

static uint64_t load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	struct memory *m = rmio_dev_priv(dev);
	uint64_t v = UINT64_MAX;

	called(m, offset, len);
	if (!m->wrong)
		memcpy(&v, m->bytes + offset, len);
	return v;
}

static void store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		  uint32_t len)
{
	struct memory *m = rmio_dev_priv(dev);
	uint32_t i;

	called(m, offset, len);
	if (m->wrong)
		return;
	memcpy(m->bytes + offset, &value, len);
	for (i = 0; i < len; i++)
		m->touched[offset + i]++;
}

static const struct rmio_dev_ops ops = { .load = load, .store = store };

static bool device_of(struct rmio_loop *loop, const struct rmio_dev_range *r, uint32_t flags,
		      struct memory *m, struct rmio_dev **dev)
{
	struct rmio_dev_desc desc = {
		.flags = flags,
		.sz = sizeof(desc), .vendor = 0x1234, .name = "sizes", .ops = &ops, .ranges = r, .nr_ranges = 1,
	};

	memset(m, 0, sizeof(*m));
	m->range = r;
	return T_EQ(rmio_dev_new(loop, &desc, m, dev), 0);
}

static bool device_new(struct rmio_loop *loop, const struct rmio_dev_range *r, struct memory *m,
		       struct rmio_dev **dev)
{
	return device_of(loop, r, 0, m, dev);
}

/* May every byte of the store be written by a call that the range implements?  By search. */
static bool tiles(const struct rmio_dev_range *r, uint64_t offset, uint32_t left)
{
	uint32_t sizes = r->sizes ? r->sizes : RMIO_SIZE_ALL, n;

	if (!left)
		return true;
	for (n = 1; n <= 8; n *= 2)
		if (n <= left && sizes & n && !(r->flags & RMIO_DEV_RANGE_NATURAL && offset % n) &&
		    tiles(r, offset + n, left - n))
			return true;
	return false;
}

static bool is_valid(const struct rmio_dev_range *r, uint64_t offset, uint32_t len)
{
	return (!r->valid || r->valid & len) &&
	       !(r->flags & RMIO_DEV_RANGE_ALIGNED && offset % len);
}

static bool one_load(struct rmio_dev *dev, struct memory *m, uint64_t offset, uint32_t len)
{
	uint64_t before = rmio_dev_refused(dev), want = 0, v;
	uint32_t i;

	for (i = 0; i < LEN; i++)
		m->bytes[i] = (uint8_t)(0x40 + 3 * i);
	m->calls = 0;
	m->falling = false;
	memcpy(&want, m->bytes + offset, len);
	v = rmio_dev_do_load(dev, 0, offset, len, true);
	/* a BAR is a multiple of every size, so a unit around any byte is always there */
	if (!is_valid(m->range, offset, len))
		return v == rmio_ones(len) && !m->calls && rmio_dev_refused(dev) == before + 1;
	return v == want && m->calls && !m->wrong && !m->falling &&
	       rmio_dev_refused(dev) == before;
}

static bool one_store(struct rmio_dev *dev, struct memory *m, uint64_t offset, uint32_t len)
{
	uint64_t before = rmio_dev_refused(dev);
	uint32_t i;

	memset(m->touched, 0, sizeof(m->touched));
	memset(m->bytes, 0, sizeof(m->bytes));
	m->calls = 0;
	m->falling = false;
	rmio_dev_do_store(dev, 0, offset, 0x8877665544332211, len, true);
	if (!is_valid(m->range, offset, len) || !tiles(m->range, offset, len))
		return !m->calls && rmio_dev_refused(dev) == before + 1;
	for (i = 0; i < LEN; i++)
		if (m->touched[i] != (i >= offset && i < offset + len) ||
		    (m->touched[i] && m->bytes[i] != 0x11 * (i - offset + 1)))
			return false;
	return !m->wrong && !m->falling && rmio_dev_refused(dev) == before;
}

static void every(void)
{
	struct rmio_loop *loop;
	uint32_t sizes, valid, flags, len;
	uint64_t offset;
	int bad = 0;

	T_REQUIRE(T_EQ(rmio_loop_new(NULL, &loop), 0));
	for (sizes = 0; sizes <= RMIO_SIZE_ALL; sizes++)
		for (valid = 0; valid <= RMIO_SIZE_ALL; valid++)
			for (flags = 0; flags < 4; flags++) {
				struct rmio_dev_range r = {
					.len = LEN,
					.sizes = (uint8_t)sizes,
					.valid = (uint8_t)valid,
					.flags = flags * RMIO_DEV_RANGE_ALIGNED,
				};
				struct rmio_dev *dev;
				struct memory m;

				if (!device_new(loop, &r, &m, &dev))
					return;
				for (len = 1; len <= 8; len *= 2)
					for (offset = 0; offset + len <= LEN; offset++) {
						bad += !one_load(dev, &m, offset, len);
						bad += !one_store(dev, &m, offset, len);
					}
				rmio_dev_free(dev);
			}
	T_EQ(bad, 0);
	rmio_loop_free(loop);
}

/* A range that is no multiple of its sizes, as one that is not PCI may be: its end can be read. */
static void odd_end(void)
{
	struct rmio_dev_range r = { .len = 6, .sizes = RMIO_SIZE_4 };
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	struct memory m;

	T_REQUIRE(T_EQ(rmio_loop_new(NULL, &loop), 0));
	T_REQUIRE(device_of(loop, &r, RMIO_DEV_PLATFORM, &m, &dev));
	m.bytes[5] = 0x5a;
	T_EQ(rmio_dev_do_load(dev, 0, 2, 4, true), 0x5a000000);
	T_EQ(m.calls, 1);
	T_EQ(rmio_dev_refused(dev), 0);
	/* only part of an aligned unit is there */
	T_EQ(rmio_dev_do_load(dev, 0, 4, 2, true), 0xffff);
	T_EQ(m.calls, 1);
	T_EQ(rmio_dev_refused(dev), 1);
	T_OK(!m.wrong);
	rmio_dev_free(dev);
	rmio_loop_free(loop);
}

/* The order of the parts and the units, for the author who counts side effects. */
static void parts(void)
{
	struct rmio_dev_range r = {
		.len = LEN, .sizes = RMIO_SIZE_2 | RMIO_SIZE_4, .flags = RMIO_DEV_RANGE_NATURAL,
	};
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	struct memory m;

	T_REQUIRE(T_EQ(rmio_loop_new(NULL, &loop), 0));
	T_REQUIRE(device_new(loop, &r, &m, &dev));
	rmio_dev_do_load(dev, 0, 8, 8, true);
	T_EQ(m.calls, 2);
	T_EQ(m.last, 12);
	m.calls = 0;
	/* the last byte of one unit of two, two bytes, the first of another */
	rmio_dev_do_load(dev, 0, 9, 4, true);
	T_EQ(m.calls, 3);
	T_EQ(m.last, 12);
	m.calls = 0;
	rmio_dev_do_load(dev, 0, 5, 1, true);
	T_EQ(m.calls, 1);
	T_EQ(m.last, 4);
	m.calls = 0;
	rmio_dev_do_store(dev, 0, 5, 1, 1, true);
	rmio_dev_do_store(dev, 0, 5, 1, 4, true);
	T_EQ(m.calls, 0);
	T_EQ(rmio_dev_refused(dev), 2);
	rmio_dev_free(dev);
	rmio_loop_free(loop);
}

static void declarations(void)
{
	struct rmio_dev_desc desc = { .sz = sizeof(desc), .vendor = 0x1234, .name = "bad", .ops = &ops };
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	size_t i;
	static const struct rmio_dev_range bad[] = {
		{ .len = LEN, .sizes = 0x10 }, { .len = LEN, .valid = 0x80 },
		{ .len = LEN, .flags = 0x10 }, { .len = LEN, .reserved = 1 },
	};

	T_REQUIRE(T_EQ(rmio_loop_new(NULL, &loop), 0));
	desc.nr_ranges = 1;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		desc.ranges = &bad[i];
		T_EQ(rmio_dev_new(loop, &desc, NULL, &dev), -EINVAL);
	}
	rmio_loop_free(loop);
}

/* Both ways to a device: rings and socket. */
static void from_a_guest(bool rings)
{
	struct rig r;

	T_REQUIRE(rig_new(&r, "edu", 0x100000, rings));
	T_EQ(rig_load(&r, 0, 4), 0x010000ed);
	T_EQ(rig_load(&r, 0, 2), 0xffff);
	T_EQ(rig_load(&r, 2, 4), 0xffffffff);
	T_EQ(rig_load(&r, 0x84, 8), UINT64_MAX);
	rig_store(&r, 4, 2, 0x1234);
	T_EQ(rig_load(&r, 4, 4), 0);
	rig_store(&r, 4, 4, 0x1234);
	T_EQ(rig_load(&r, 4, 4), 0xffffedcb);
	rig_free(&r);
}

static void rings(void)
{
	from_a_guest(true);
}

static void socket_only(void)
{
	from_a_guest(false);
}

static const struct ktap_test tests[] = {
	{ "every declaration, size and place", every },
	{ "parts", parts },
	{ "the end of a range of any length", odd_end },
	{ "declarations that make no sense", declarations },
	{ "from a guest, by rings", rings },
	{ "from a guest, by the socket", socket_only },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
