// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * mp_server_test.c - a device's end as a client of QEMU's multi-process protocol finds it: told
 * from vfio-user by the first bytes, each command and what is wrong with it.  Beside the data path.
 */
#include "vu_rig.h"

#include <linux/pci_regs.h>

#define MEM_BASE	0xfe000000u	/* BAR 0, RIG_BAR bytes */
#define IO_BASE		0xc040u		/* BAR 1, 16 bytes */
#define CFG_SIZE	256u

/* A device that records what it is asked, and has a configuration space. */
static struct {
	uint8_t config[CFG_SIZE];
	struct {
		uint64_t iova, size;
	} mapped[16];
	uint32_t n_mapped;
	unsigned long maps, unmaps, irqs, rises;
} dev;

static int region_info(void *arg, uint32_t index, uint64_t *size, uint32_t *flags)
{
	*size = index == 0 ? RIG_BAR : index == 1 ? 16 : index == 7 ? CFG_SIZE : 0;
	*flags = *size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;
	return 0;
}

static int region_read(void *arg, uint32_t index, uint64_t off, void *buf, uint32_t count)
{
	if (index != 7)
		return rig_read(arg, index, off, buf, count);
	T_LE(off + count, CFG_SIZE);
	memcpy(buf, dev.config + off, count);
	return 0;
}

static int region_write(void *arg, uint32_t index, uint64_t off, const void *buf, uint32_t count)
{
	if (index != 7)
		return rig_write(arg, index, off, buf, count);
	T_LE(off + count, CFG_SIZE);
	memcpy(dev.config + off, buf, count);
	return 0;
}

static int dma_map(void *arg, uint64_t iova, uint64_t size, uint64_t offset, int prot, int *fd)
{
	int err = rig_dma_map(arg, iova, size, offset, prot, fd);

	dev.maps++;
	T_EQ(prot, 3);
	T_LT(dev.n_mapped, KTAP_COUNT(dev.mapped));
	if (err)
		return err;
	dev.mapped[dev.n_mapped].iova = iova;
	dev.mapped[dev.n_mapped++].size = size;
	return 0;
}

static int dma_unmap(void *arg, uint64_t iova, uint64_t size, bool all)
{
	uint32_t i;

	dev.unmaps++;
	for (i = 0; i < dev.n_mapped; i++)
		if (dev.mapped[i].iova == iova && dev.mapped[i].size == size)
			break;
	if (!T_LT(i, dev.n_mapped))
		return -ENOENT;
	dev.mapped[i] = dev.mapped[--dev.n_mapped];
	return 0;
}

static int set_irqs(void *arg, uint32_t index, uint32_t action, uint32_t data, uint32_t start,
		    uint32_t count, int *fds, const uint8_t *bools)
{
	T_EQ(index, VFIO_PCI_INTX_IRQ_INDEX);
	T_EQ(data, VFIO_IRQ_SET_DATA_EVENTFD);
	T_EQ(count, 1);
	T_EQ(action, dev.irqs ? VFIO_IRQ_SET_ACTION_UNMASK : VFIO_IRQ_SET_ACTION_TRIGGER);
	dev.irqs++;
	return rig_set_irqs(arg, index, action, data, start, count, fds, bools);
}

/* Said before the eventfds are there. */
static void pin_rises(void *arg)
{
	T_EQ(dev.irqs, 0);
	dev.rises++;
}

static void put(uint32_t off, uint32_t value, uint32_t len)
{
	memcpy(dev.config + off, &value, len);
}

static uint32_t get(uint32_t off, uint32_t len)
{
	uint32_t v = 0;

	memcpy(&v, dev.config + off, len);
	return v;
}

static struct vu_server_ops ops;

static bool open_dev(struct rig *r)
{
	ops = rig_ops;
	ops.region_info = region_info;
	ops.region_read = region_read;
	ops.region_write = region_write;
	ops.dma_map = dma_map;
	ops.dma_unmap = dma_unmap;
	ops.set_irqs = set_irqs;
	ops.pin_rises = pin_rises;
	memset(&dev, 0, sizeof(dev));
	put(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 2);
	put(PCI_BASE_ADDRESS_0, MEM_BASE | PCI_BASE_ADDRESS_MEM_PREFETCH, 4);
	put(PCI_BASE_ADDRESS_1, IO_BASE | PCI_BASE_ADDRESS_SPACE_IO, 4);
	if (!rig_open(r, &ops))
		return false;
	r->keep = true;
	return true;
}

/* -- commands -------------------------------------------------------------------------- */

static size_t build(uint8_t *buf, int32_t cmd, const void *payload, size_t len)
{
	struct mp_hdr h = { .cmd = cmd, .size = len };

	memcpy(buf, &h, sizeof(h));
	if (len)
		memcpy(buf + sizeof(h), payload, len);
	return sizeof(h) + len;
}

/* The answer that must be there next, and nothing after it. */
static uint64_t answer(struct rig *r)
{
	struct mp_hdr h = { 0 };
	uint64_t v = 0xdead;
	uint8_t more;

	T_EQ(rig_take(r, &h, sizeof(h)), (ssize_t)sizeof(h));
	T_EQ(h.cmd, MP_RET);
	T_EQ(h.size, 8);
	T_EQ(rig_take(r, &v, sizeof(v)), (ssize_t)sizeof(v));
	T_EQ(rig_take(r, &more, 1), -EAGAIN);
	return v;
}

static void no_answer(struct rig *r)
{
	uint8_t more;

	T_EQ(rig_take(r, &more, 1), -EAGAIN);
}

static bool put_cmd(struct rig *r, int32_t cmd, const void *payload, size_t len, const int *fds,
		    int nfds)
{
	uint8_t buf[sizeof(struct mp_hdr) + MP_PAYLOAD_MAX];

	return rig_put(r, buf, build(buf, cmd, payload, len), fds, nfds) && T_EQ(rig_turn(r), 0);
}

static uint64_t call(struct rig *r, int32_t cmd, const void *payload, size_t len)
{
	return put_cmd(r, cmd, payload, len, NULL, 0) ? answer(r) : 0xdead;
}

static uint64_t config_read(struct rig *r, uint32_t addr, int32_t len)
{
	return call(r, MP_CONFIG_READ, &(struct mp_config){ addr, 0xffff, len },
		    sizeof(struct mp_config));
}

static uint64_t config_write(struct rig *r, uint32_t addr, int32_t len, uint32_t value)
{
	return call(r, MP_CONFIG_WRITE, &(struct mp_config){ addr, value, len },
		    sizeof(struct mp_config));
}

static uint64_t bar_read(struct rig *r, uint64_t addr, uint32_t size, bool memory)
{
	return call(r, MP_BAR_READ,
		    &(struct mp_bar){ .addr = addr, .size = size, .memory = memory },
		    sizeof(struct mp_bar));
}

static uint64_t bar_write(struct rig *r, uint64_t addr, uint32_t size, bool memory, uint64_t value)
{
	struct mp_bar b = { .addr = addr, .value = value, .size = size, .memory = memory };

	return call(r, MP_BAR_WRITE, &b, sizeof(b));
}

/* It is alive, and has said why of something since @lines. */
static void refused(struct rig *r, unsigned long lines, const char *why)
{
	T_EQ(r->lines, lines + 1);
	if (!T_OK(strstr(r->line, why)))
		ktap_diag("%s", r->line);
	put(0, 0x1af41234, 4);
	T_EQ(config_read(r, 0, 4), 0x1af41234);
}

/* -- which protocol ---------------------------------------------------------------------- */

static void told_apart(void)
{
	static const int32_t known[] = {
		MP_CONFIG_READ, MP_CONFIG_WRITE, MP_BAR_READ, MP_BAR_WRITE, MP_RESET,
	};
	uint8_t buf[512];
	struct rig r;
	size_t i, len;

	/* vfio-user, whatever number its first message has. */
	for (i = 0; i < 9; i++) {
		struct vu_version v = { VU_MAJOR, VU_MINOR };

		T_REQUIRE(open_dev(&r));
		len = rig_build(buf, (uint16_t)i, VU_VERSION, VU_COMMAND, &v, sizeof(v));
		T_OK(rig_put(&r, buf, len, NULL, 0));
		T_EQ(rig_turn(&r), 0);
		T_GT(rig_expect(&r, (uint16_t)i, VU_VERSION, 0, buf, sizeof(buf)), 0);
		rig_close(&r);
	}
	/* A vfio-user client that forgets VERSION is told so in its own words. */
	T_REQUIRE(open_dev(&r));
	len = rig_build(buf, 3, VU_RESET, VU_COMMAND, NULL, 0);
	T_OK(rig_put(&r, buf, len, NULL, 0));
	T_EQ(rig_turn(&r), -EPROTO);
	T_EQ(rig_expect(&r, 3, VU_RESET, -EINVAL, buf, sizeof(buf)), 0);
	rig_close(&r);
	/* The other, whichever command comes first. */
	for (i = 0; i < KTAP_COUNT(known); i++) {
		T_REQUIRE(open_dev(&r));
		memset(buf, 0, sizeof(buf));
		call(&r, known[i], buf, known[i] == MP_RESET ? 0 :
		     known[i] <= MP_CONFIG_READ ? sizeof(struct mp_config) : sizeof(struct mp_bar));
		rig_close(&r);
	}
	/* What a compiler leaves in the padding: up to what would be the size of vfio-user's. */
	for (i = 1; i <= sizeof(struct vu_hdr); i++) {
		struct mp_hdr h = { .cmd = MP_RESET, .padding = (uint32_t)i };
		bool theirs = i == sizeof(struct vu_hdr);

		T_REQUIRE(open_dev(&r));
		T_OK(rig_put(&r, &h, sizeof(h), NULL, 0));
		T_EQ(rig_turn(&r), theirs ? -EPROTO : 0);
		if (!theirs)
			T_EQ(answer(&r), 0);
		rig_close(&r);
	}
	/* In vfio-user the upper half of what would be the command is one, too. */
	T_REQUIRE(open_dev(&r));
	memset(buf, 0, sizeof(buf));
	memcpy(buf, (uint16_t[]){ 7, VU_VERSION }, 4);
	T_OK(rig_put(&r, buf, sizeof(struct mp_hdr), NULL, 0));
	T_EQ(rig_turn(&r), -EPROTO);
	T_OK(!strstr(vu_server_reason(r.srv), "multi-process"));
	rig_close(&r);
}

/* A byte at a time, and cut off after each: nothing happens, and nothing is lost. */
static void in_pieces(void)
{
	uint8_t buf[sizeof(struct mp_hdr) + sizeof(struct mp_config)];
	size_t len = build(buf, MP_CONFIG_READ, &(struct mp_config){ 0, 0, 4 },
			   sizeof(struct mp_config)), i;
	struct rig r;

	T_REQUIRE(open_dev(&r));
	put(0, 0x11e81234, 4);
	for (i = 0; i < len; i++) {
		no_answer(&r);
		T_OK(rig_put(&r, buf + i, 1, NULL, 0));
		T_EQ(rig_turn(&r), 0);
	}
	T_EQ(answer(&r), 0x11e81234);
	rig_close(&r);
	for (i = 0; i < len && !ktap_failed(); i++) {
		T_REQUIRE(open_dev(&r));
		if (i)
			T_OK(rig_put(&r, buf, i, NULL, 0));
		close(r.peer);
		r.peer = -1;
		T_EQ(rig_turn(&r), -ECONNRESET);
		rig_close(&r);
	}
}

/* -- configuration space ------------------------------------------------------------------- */

static void config(void)
{
	struct rig r;
	uint32_t i;

	T_REQUIRE(open_dev(&r));
	for (i = 0; i < CFG_SIZE; i++)
		dev.config[i] = (uint8_t)(i * 7 + 1);
	put(PCI_STATUS, PCI_STATUS_66MHZ, 2);
	dev.config[PCI_CAPABILITY_LIST] = 0;
	for (i = 0; i + 4 <= CFG_SIZE; i++) {
		T_EQ(config_read(&r, i, 4), get(i, 4));
		T_EQ(config_read(&r, i, 2), get(i, 2));
		T_EQ(config_read(&r, i, 1), get(i, 1));
	}
	T_EQ(config_read(&r, 0xff, 1), dev.config[0xff]);
	T_EQ(config_write(&r, 0x80, 4, 0x12345678), 0);
	T_EQ(get(0x80, 4), 0x12345678);
	T_EQ(config_write(&r, 0x81, 1, 0xaabbccdd), 0);
	T_EQ(get(0x80, 4), 0x1234dd78);
	T_EQ(config_write(&r, 0xfe, 2, 0x5566), 0);
	T_EQ(get(0xfe, 2), 0x5566);
	T_EQ(r.lines, 0);
	rig_close(&r);
}

static void config_bad(void)
{
	static const struct {
		uint32_t addr;
		int32_t len;
		const char *why;
	} bad[] = {
		{ 0, 0, "length is not" }, { 0, 3, "length is not" }, { 0, -1, "length is not" },
		{ 0, INT32_MIN, "length is not" }, { 0, 8, "length is not" }, { 0, 5, "length is not" },
		{ 0x100, 1, "beyond" }, { 0xff, 2, "beyond" }, { 0xfd, 4, "beyond" },
		{ UINT32_MAX, 4, "beyond" }, { UINT32_MAX - 3, 4, "beyond" },
	};
	uint8_t before[CFG_SIZE];
	struct rig r;
	size_t i;

	for (i = 0; i < KTAP_COUNT(bad) && !ktap_failed(); i++) {
		T_REQUIRE(open_dev(&r));
		T_EQ(config_read(&r, bad[i].addr, bad[i].len), UINT64_MAX);
		refused(&r, 0, bad[i].why);
		memcpy(before, dev.config, sizeof(before));
		T_EQ(config_write(&r, bad[i].addr, bad[i].len, 0x5a5a5a5a), UINT64_MAX);
		T_EQ(memcmp(before, dev.config, sizeof(before)), 0);
		refused(&r, 1, bad[i].why);
		rig_close(&r);
	}
}

/* A driver does not find what the protocol cannot do. */
static void capabilities(void)
{
	struct rig r;

	T_REQUIRE(open_dev(&r));
	put(PCI_STATUS, PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT, 2);
	put(PCI_CAPABILITY_LIST, 0xffffff40, 4);
	T_EQ(config_read(&r, PCI_STATUS, 2), PCI_STATUS_INTERRUPT);
	T_EQ(config_read(&r, PCI_STATUS, 1), PCI_STATUS_INTERRUPT);
	T_EQ(config_read(&r, PCI_COMMAND, 4),
	     PCI_STATUS_INTERRUPT << 16 | PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	T_EQ(config_read(&r, PCI_CAPABILITY_LIST, 1), 0);
	T_EQ(config_read(&r, PCI_CAPABILITY_LIST, 4), 0xffffff00);
	T_EQ(config_read(&r, PCI_CAPABILITY_LIST - 1, 2), 0);
	T_EQ(config_read(&r, PCI_CAPABILITY_LIST + 1, 1), 0xff);
	rig_close(&r);
}

static uint32_t pins, messages;

static int irq_info(void *arg, uint32_t index, uint32_t *flags, uint32_t *count)
{
	*count = index == VFIO_PCI_INTX_IRQ_INDEX ? pins
		 : index == VFIO_PCI_MSI_IRQ_INDEX ? messages : 0;
	*flags = 0;
	return 0;
}

/* What configuration space and SET_IRQFD make of a device with one, the other, both, none. */
static void stand_in(void)
{
	int fds[2] = { eventfd(0, 0), eventfd(0, 0) };
	struct rig r;

	for (uint32_t i = 0; i < 4; i++) {
		bool offered = i == 2;

		T_REQUIRE(open_dev(&r));
		ops.irq_info = irq_info;
		pins = i & 1;
		messages = i & 2 ? 4 : 0;
		put(PCI_INTERRUPT_LINE, 0xaabb000b, 4);
		T_EQ(config_read(&r, PCI_INTERRUPT_PIN, 1), offered);
		T_EQ(config_read(&r, PCI_INTERRUPT_LINE, 1), 0x0b);
		T_EQ(config_read(&r, PCI_INTERRUPT_LINE, 2), 0x0b | offered << 8);
		T_EQ(config_read(&r, PCI_INTERRUPT_LINE, 4), 0xaabb000b | offered << 8);
		T_EQ(config_read(&r, PCI_INTERRUPT_PIN + 1, 2), 0xaabb);
		put_cmd(&r, MP_SET_IRQFD, NULL, 0, fds, 2);
		no_answer(&r);
		T_EQ(dev.irqs, i ? 2 : 0);
		/* No word of it where there is no interrupt: QEMU always sends this. */
		T_EQ(r.lines, 0);
		rig_close(&r);
	}
	rig_close_fds(fds, 2);
}

/* -- BARs ------------------------------------------------------------------------------------ */

static uint64_t pattern(uint64_t off, uint32_t size)
{
	uint64_t v = 0;

	for (uint32_t i = 0; i < size; i++)
		v |= (uint64_t)(uint8_t)(off + i) << 8 * i;
	return v;
}

static void bars(void)
{
	struct rig r;
	uint32_t size;

	T_REQUIRE(open_dev(&r));
	for (size = 1; size <= 8; size *= 2) {
		T_EQ(bar_read(&r, MEM_BASE + 0x123, size, true), pattern(0x123, size));
		T_EQ(r.index, 0);
		T_EQ(r.offset, 0x123);
		T_EQ(r.count, size);
		T_EQ(bar_read(&r, MEM_BASE + RIG_BAR - size, size, true),
		     pattern(RIG_BAR - size, size));
		T_EQ(bar_read(&r, IO_BASE + 8, size, false), pattern(8, size));
		T_EQ(r.index, 1);
		T_EQ(bar_write(&r, MEM_BASE, size, true, 0x8877665544332211), 0);
		T_EQ(r.op, RIG_WRITE);
		T_EQ(r.count, size);
		T_EQ(r.first, 0x11);
		T_EQ(r.last, 0x11 * size);
	}
	T_EQ(r.lines, 0);
	/* What the device refuses is no more than that. */
	r.result = -EIO;
	T_EQ(bar_read(&r, MEM_BASE, 4, true), UINT64_MAX);
	r.result = 0;
	refused(&r, 0, "EIO");
	rig_close(&r);
}

static void bars_bad(void)
{
	static const struct {
		uint64_t addr;
		uint32_t size;
		uint8_t memory;
		const char *why;
	} bad[] = {
		{ MEM_BASE, 0, 1, "size is not" }, { MEM_BASE, 3, 1, "size is not" },
		{ MEM_BASE, 16, 1, "size is not" }, { MEM_BASE, UINT32_MAX, 1, "size is not" },
		{ MEM_BASE, 1u << 31, 1, "size is not" }, { MEM_BASE, 4, 2, "neither" },
		{ MEM_BASE, 4, 255, "neither" }, { MEM_BASE - 1, 1, 1, "no BAR" },
		{ MEM_BASE - 1, 4, 1, "no BAR" }, { MEM_BASE + RIG_BAR, 1, 1, "no BAR" },
		{ MEM_BASE + RIG_BAR - 1, 2, 1, "no BAR" }, { MEM_BASE + RIG_BAR - 4, 8, 1, "no BAR" },
		{ MEM_BASE, 4, 0, "no BAR" }, { IO_BASE, 4, 1, "no BAR" },
		{ IO_BASE + 16, 1, 0, "no BAR" }, { IO_BASE + 14, 4, 0, "no BAR" },
		{ 0, 4, 1, "no BAR" }, { UINT64_MAX, 1, 1, "no BAR" }, { UINT64_MAX - 3, 8, 1, "no BAR" },
	};
	struct rig r;
	size_t i;

	for (i = 0; i < KTAP_COUNT(bad) && !ktap_failed(); i++) {
		struct mp_bar b = {
			.addr = bad[i].addr, .size = bad[i].size, .memory = bad[i].memory,
		};

		T_REQUIRE(open_dev(&r));
		T_EQ(call(&r, MP_BAR_READ, &b, sizeof(b)), UINT64_MAX);
		refused(&r, 0, bad[i].why);
		T_EQ(call(&r, MP_BAR_WRITE, &b, sizeof(b)), UINT64_MAX);
		refused(&r, 1, bad[i].why);
		T_EQ(r.calls, 0);
		rig_close(&r);
	}
}

/* A BAR is where configuration space says at that moment, if it is enabled. */
static void bars_move(void)
{
	struct rig r;

	T_REQUIRE(open_dev(&r));
	T_EQ(bar_read(&r, MEM_BASE + 4, 4, true), pattern(4, 4));
	T_EQ(config_write(&r, PCI_BASE_ADDRESS_0, 4, 0xd0000000), 0);
	T_EQ(bar_read(&r, MEM_BASE + 4, 4, true), UINT64_MAX);
	T_EQ(bar_read(&r, 0xd0000004, 4, true), pattern(4, 4));
	T_EQ(config_write(&r, PCI_COMMAND, 2, PCI_COMMAND_IO), 0);
	T_EQ(bar_read(&r, 0xd0000004, 4, true), UINT64_MAX);
	T_EQ(bar_read(&r, IO_BASE + 4, 4, false), pattern(4, 4));
	T_EQ(config_write(&r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY), 0);
	T_EQ(bar_read(&r, 0xd0000004, 4, true), pattern(4, 4));
	T_EQ(bar_read(&r, IO_BASE + 4, 4, false), UINT64_MAX);
	/* Not placed. */
	T_EQ(config_write(&r, PCI_BASE_ADDRESS_0, 4, 0), 0);
	T_EQ(bar_read(&r, 4, 4, true), UINT64_MAX);
	/* 64 bits wide: the second half belongs to it. */
	put(PCI_BASE_ADDRESS_0, 0xd0000000 | PCI_BASE_ADDRESS_MEM_TYPE_64, 4);
	put(PCI_BASE_ADDRESS_1, 0x12, 4);
	T_EQ(bar_read(&r, 0x12d0000004, 4, true), pattern(4, 4));
	T_EQ(bar_read(&r, 0xd0000004, 4, true), UINT64_MAX);
	rig_close(&r);
}

/* -- memory --------------------------------------------------------------------------------- */

#define FILE_SIZE	0x100000u

static struct mp_sysmem table;
static int files[16];
static int nr_files;

static void entry(uint64_t gpa, uint64_t size, uint64_t offset)
{
	table.gpa[nr_files] = gpa;
	table.size[nr_files] = size;
	table.offset[nr_files] = offset;
	files[nr_files++] = files[15];
}

static bool new_table(void)
{
	memset(&table, 0, sizeof(table));
	nr_files = 0;
	return files[15];
}

static void sync_now(struct rig *r)
{
	put_cmd(r, MP_SYNC_SYSMEM, &table, sizeof(table), files, nr_files);
	no_answer(r);
}

static bool has(uint64_t iova, uint64_t size)
{
	for (uint32_t i = 0; i < dev.n_mapped; i++)
		if (dev.mapped[i].iova == iova && dev.mapped[i].size == size)
			return true;
	return false;
}

static void open_file(void)
{
	files[15] = memfd_create("memory", MFD_CLOEXEC);
	T_EQ(ftruncate(files[15], FILE_SIZE), 0);
}

static void memory(void)
{
	struct rig r;

	T_REQUIRE(open_dev(&r));
	open_file();
	T_REQUIRE(new_table());
	entry(0, 0xa0000, 0);
	entry(0x100000, 0x1000, 0xc0000);
	sync_now(&r);
	T_EQ(dev.maps, 2);
	T_OK(has(0, 0xa0000));
	T_OK(has(0x100000, 0x1000));
	/* The same again, as QEMU does: nothing goes, nothing comes. */
	sync_now(&r);
	T_EQ(dev.maps, 2);
	T_EQ(dev.unmaps, 0);
	/* One moves. */
	new_table();
	entry(0x200000, 0x1000, 0xc0000);
	entry(0, 0xa0000, 0);
	sync_now(&r);
	T_EQ(dev.maps, 3);
	T_EQ(dev.unmaps, 1);
	T_OK(has(0x200000, 0x1000));
	/* The same place in another part of the file, then in another file. */
	new_table();
	entry(0x200000, 0x1000, 0xd0000);
	sync_now(&r);
	T_EQ(dev.n_mapped, 1);
	T_EQ(dev.maps, 4);
	close(files[15]);
	open_file();
	new_table();
	entry(0x200000, 0x1000, 0xd0000);
	sync_now(&r);
	T_EQ(dev.maps, 5);
	T_EQ(dev.n_mapped, 1);
	/* As many as there can be. */
	new_table();
	for (int i = 0; i < 7; i++)
		entry(0x10000u * (unsigned int)i, 0x1000, 0);
	sync_now(&r);
	T_EQ(dev.n_mapped, 7);
	T_EQ(r.lines, 0);
	close(files[15]);
	rig_close(&r);
}

static void memory_bad(void)
{
	static const struct {
		uint64_t gpa, size, offset;
		const char *why;
	} bad[] = {
		{ 0x10000, 0, 0, "empty" }, { 0x10001, 0x1000, 0, "4096" },
		{ 0x10000, 0x1001, 0, "4096" }, { 0x10000, 0x1000, 1, "4096" },
		{ UINT64_MAX - 0xfff, 0x2000, 0, "wraps" }, { 0x10000, UINT64_MAX - 0xfff, 0, "wraps" },
		{ 0x10000, 0x1000, 1ull << 63, "wraps" },
		{ 0x10000, 0x1000, INT64_MAX - 0xfff, "wraps" },
		{ 0x10000, FILE_SIZE + 0x1000, 0, "shorter" }, { 0x10000, 0x1000, FILE_SIZE, "shorter" },
		{ 0, 0x1000, 0, "overlap" }, { 0x1000, 0x10000, 0, "overlap" },
	};
	int pipes[2], other;
	struct rig r;
	size_t i;

	open_file();
	T_EQ(pipe(pipes), 0);
	for (i = 0; i < KTAP_COUNT(bad) && !ktap_failed(); i++) {
		T_REQUIRE(open_dev(&r));
		/* What is right beside it is taken. */
		new_table();
		entry(0, 0x2000, 0);
		entry(bad[i].gpa, bad[i].size, bad[i].offset);
		entry(0x100000, 0x1000, 0);
		sync_now(&r);
		T_EQ(dev.n_mapped, 2);
		T_OK(has(0, 0x2000));
		T_OK(has(0x100000, 0x1000));
		refused(&r, 0, bad[i].why);
		rig_close(&r);
	}
	/* A descriptor that is none of memory. */
	T_REQUIRE(open_dev(&r));
	other = files[15];
	files[15] = pipes[0];
	new_table();
	entry(0, 0x1000, 0);
	sync_now(&r);
	T_EQ(dev.maps, 0);
	refused(&r, 0, "not a file");
	files[15] = other;
	/* What the device does not take is not there, and is tried again. */
	new_table();
	entry(0, 0x1000, 0);
	r.result = -ENOSPC;
	sync_now(&r);
	r.result = 0;
	refused(&r, 1, "ENOSPC");
	sync_now(&r);
	T_OK(has(0, 0x1000));
	/* Too few and too many: the last table stays. */
	nr_files = 0;
	put_cmd(&r, MP_SYNC_SYSMEM, &table, sizeof(table), NULL, 0);
	refused(&r, 2, "number of descriptors");
	for (i = 0; i < 8; i++)
		files[i] = files[15];
	put_cmd(&r, MP_SYNC_SYSMEM, &table, sizeof(table), files, 8);
	refused(&r, 3, "number of descriptors");
	T_EQ(dev.n_mapped, 1);
	close(pipes[0]);
	close(pipes[1]);
	close(files[15]);
	rig_close(&r);
}

/* -- interrupts, reset, and what is no message ------------------------------------------------ */

static void interrupts(void)
{
	int fds[3] = { eventfd(0, 0), eventfd(0, 0), eventfd(0, 0) };
	int file = memfd_create("file", 0), wrong[2] = { fds[0], file };
	struct rig r;

	T_REQUIRE(open_dev(&r));
	put_cmd(&r, MP_SET_IRQFD, NULL, 0, fds, 2);
	no_answer(&r);
	T_EQ(dev.irqs, 2);
	T_EQ(dev.rises, 1);
	T_EQ(r.lines, 0);
	put_cmd(&r, MP_SET_IRQFD, NULL, 0, NULL, 0);
	refused(&r, 0, "number of descriptors");
	put_cmd(&r, MP_SET_IRQFD, NULL, 0, fds, 1);
	refused(&r, 1, "number of descriptors");
	put_cmd(&r, MP_SET_IRQFD, NULL, 0, fds, 3);
	refused(&r, 2, "number of descriptors");
	put_cmd(&r, MP_SET_IRQFD, NULL, 0, wrong, 2);
	refused(&r, 3, "not an eventfd");
	T_EQ(dev.irqs, 2);
	T_EQ(call(&r, MP_RESET, NULL, 0), 0);
	T_EQ(r.op, RIG_RESET);
	rig_close(&r);
	close(file);
	rig_close_fds(fds, 3);
}

/* Each command with a payload of any other length, or with a descriptor that it does not take. */
static void sizes(void)
{
	static const uint8_t zero[MP_PAYLOAD_MAX];
	static const struct {
		int32_t cmd;
		size_t len;
		bool answered;
	} cmds[] = {
		{ MP_CONFIG_READ, 12, true }, { MP_CONFIG_WRITE, 12, true },
		{ MP_BAR_READ, 24, true }, { MP_BAR_WRITE, 24, true }, { MP_RESET, 0, true },
		{ MP_SYNC_SYSMEM, 192, false }, { MP_SET_IRQFD, 0, false },
	};
	int fd = eventfd(0, 0), many[VU_MAX_FDS + 1];
	struct rig r;
	size_t i, len;

	for (i = 0; i < KTAP_COUNT(cmds) && !ktap_failed(); i++)
		for (len = 0; len <= MP_PAYLOAD_MAX && !ktap_failed(); len++) {
			if (len == cmds[i].len)
				continue;
			T_REQUIRE(open_dev(&r));
			T_OK(put_cmd(&r, cmds[i].cmd, zero, len, NULL, 0));
			if (cmds[i].answered)
				T_EQ(answer(&r), UINT64_MAX);
			refused(&r, 0, "refused with EINVAL");
			rig_close(&r);
		}
	/* More than can be received: they are lost, and it is refused. */
	for (i = 0; i < KTAP_COUNT(many); i++)
		many[i] = fd;
	for (i = 0; i < KTAP_COUNT(cmds); i++) {
		if (!cmds[i].answered)
			continue;
		T_REQUIRE(open_dev(&r));
		T_OK(put_cmd(&r, cmds[i].cmd, zero, cmds[i].len, many, KTAP_COUNT(many)));
		T_EQ(answer(&r), UINT64_MAX);
		refused(&r, 0, "descriptors lost, or too many");
		rig_close(&r);
	}
	for (i = 0; i < KTAP_COUNT(cmds); i++) {
		if (!cmds[i].answered)
			continue;
		T_REQUIRE(open_dev(&r));
		T_OK(put_cmd(&r, cmds[i].cmd, zero, cmds[i].len, &fd, 1));
		T_EQ(answer(&r), UINT64_MAX);
		refused(&r, 0, "number of descriptors");
		T_EQ(r.calls, 0);
		rig_close(&r);
	}
	close(fd);
}

/* Who waits for the answer of something unknown should not wait for ever. */
static void unknown(void)
{
	static const int32_t none[] = { MP_RET, 8, 0xffff, 0x10000, INT32_MAX, -1, INT32_MIN };
	static const uint64_t huge[] = { MP_PAYLOAD_MAX + 1, 1ull << 32, UINT64_MAX };
	struct mp_hdr h = { .cmd = MP_CONFIG_READ };
	uint8_t byte;
	struct rig r;
	size_t i;

	for (i = 0; i < KTAP_COUNT(none); i++) {
		T_REQUIRE(open_dev(&r));
		T_EQ(config_read(&r, 0, 1), 0);
		h.cmd = none[i];
		T_OK(rig_put(&r, &h, sizeof(h), NULL, 0));
		T_EQ(rig_turn(&r), -EPROTO);
		T_OK(strstr(vu_server_reason(r.srv), "no command of the multi-process protocol"));
		rig_close(&r);
	}
	h.cmd = MP_CONFIG_READ;
	for (i = 0; i < KTAP_COUNT(huge); i++) {
		T_REQUIRE(open_dev(&r));
		h.size = huge[i];
		T_OK(rig_put(&r, &h, sizeof(h), NULL, 0));
		T_EQ(rig_turn(&r), -EPROTO);
		T_OK(strstr(vu_server_reason(r.srv), "message of "));
		T_EQ(rig_take(&r, &byte, 1), -EAGAIN);
		rig_close(&r);
	}
}

/* All that came is closed, whatever it came with. */
static void descriptors(void)
{
	int before = rig_count_fds();

	memory();
	memory_bad();
	interrupts();
	sizes();
	T_EQ(rig_count_fds(), before);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ "told from vfio-user", told_apart },
		{ "in pieces", in_pieces },
		{ "configuration space", config },
		{ "configuration space, bad accesses", config_bad },
		{ "no capabilities", capabilities },
		{ "a pin for messages", stand_in },
		{ "BARs", bars },
		{ "BARs, bad accesses", bars_bad },
		{ "BARs move", bars_move },
		{ "memory", memory },
		{ "memory that cannot be", memory_bad },
		{ "interrupts and reset", interrupts },
		{ "sizes", sizes },
		{ "no messages", unknown },
		{ "descriptors", descriptors },
	};

	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
