// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * QEMU's multi-process protocol, the device's end: each command checked, and put to the device as
 * vfio-user would put it.  Beside the data path of rmio; the data path of a stock QEMU.
 */
#include "mp_server.h"
#include "wire/foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define CONFIG		VFIO_PCI_CONFIG_REGION_INDEX
#define BARS		6u

static int refuse(const char **why, int err, const char *text)
{
	*why = text;
	return err;
}

/* -- configuration space ------------------------------------------------------------ */

static int config_check(struct mp_server *s, const struct mp_config *c, const char **why)
{
	uint64_t size = 0;
	uint32_t flags;

	if (c->len != 1 && c->len != 2 && c->len != 4)
		return refuse(why, -EINVAL, "length is not 1, 2 or 4");
	s->ops->region_info(s->arg, CONFIG, &size, &flags);
	if (c->addr >= size || (uint64_t)c->len > size - c->addr)
		return refuse(why, -EINVAL, "beyond configuration space");
	return 0;
}

/* How many interrupts of that kind the device has. */
static uint32_t irqs(struct mp_server *s, uint32_t index)
{
	uint32_t flags, count = 0;

	s->ops->irq_info(s->arg, index, &flags, &count);
	return count;
}

/* A device with messages only has a pin here, which stands in for them. */
static bool stand_in(struct mp_server *s)
{
	return !irqs(s, VFIO_PCI_INTX_IRQ_INDEX) && irqs(s, VFIO_PCI_MSI_IRQ_INDEX);
}

static int cmd_config_read(struct mp_server *s, struct vu_msg *m, uint64_t *value, const char **why)
{
	uint8_t bytes[8] = { 0 };
	struct mp_config c;
	int err;

	memcpy(&c, m->data, sizeof(c));
	err = config_check(s, &c, why);
	if (!err)
		err = s->ops->region_read(s->arg, CONFIG, c.addr, bytes, (uint32_t)c.len);
	if (err)
		return err;
	mp_hide_capabilities(c.addr, (uint32_t)c.len, bytes);
	if (c.addr <= PCI_INTERRUPT_PIN && PCI_INTERRUPT_PIN - c.addr < (uint32_t)c.len &&
	    stand_in(s))
		bytes[PCI_INTERRUPT_PIN - c.addr] = 1;
	memcpy(value, bytes, sizeof(*value));
	return 0;
}

static int cmd_config_write(struct mp_server *s, struct vu_msg *m, uint64_t *value,
			    const char **why)
{
	struct mp_config c;
	int err;

	memcpy(&c, m->data, sizeof(c));
	err = config_check(s, &c, why);
	return err ? err : s->ops->region_write(s->arg, CONFIG, c.addr, &c.value, (uint32_t)c.len);
}

/* -- BARs --------------------------------------------------------------------------- */

/* Which BAR has all of the access, by what configuration space says now; -1: none. */
static int decode(struct mp_server *s, const struct mp_bar *b, uint64_t *offset)
{
	uint32_t bars[BARS], flags;
	uint16_t command = 0;
	uint64_t base, size;
	int i;

	if (s->ops->region_read(s->arg, CONFIG, PCI_COMMAND, &command, sizeof(command)) ||
	    s->ops->region_read(s->arg, CONFIG, PCI_BASE_ADDRESS_0, bars, sizeof(bars)) ||
	    !(command & (b->memory ? PCI_COMMAND_MEMORY : PCI_COMMAND_IO)))
		return -1;
	for (i = 0; i < (int)BARS; i++) {
		uint32_t bar = bars[i];
		bool io = bar & PCI_BASE_ADDRESS_SPACE_IO;
		bool wide = !io && (bar & PCI_BASE_ADDRESS_MEM_TYPE_MASK) ==
			    PCI_BASE_ADDRESS_MEM_TYPE_64 && i + 1 < (int)BARS;

		base = bar & (io ? PCI_BASE_ADDRESS_IO_MASK : PCI_BASE_ADDRESS_MEM_MASK);
		if (wide)
			base |= (uint64_t)bars[i + 1] << 32;
		size = 0;
		s->ops->region_info(s->arg, (uint32_t)i, &size, &flags);
		/* A BAR at 0 has not been placed. */
		if (size && base && io == !b->memory && b->addr - base < size &&
		    b->size <= size - (b->addr - base)) {
			*offset = b->addr - base;
			return i;
		}
		i += wide;
	}
	return -1;
}

/* @flag: what the region has to allow. */
static int bar_of(struct mp_server *s, const struct mp_bar *b, uint32_t flag, uint64_t *offset,
		  const char **why)
{
	uint32_t flags = 0;
	uint64_t size;
	int i;

	if (b->size != 1 && b->size != 2 && b->size != 4 && b->size != 8)
		return refuse(why, -EINVAL, "size is not 1, 2, 4 or 8");
	if (b->memory > 1)
		return refuse(why, -EINVAL, "neither memory nor I/O");
	i = decode(s, b, offset);
	if (i < 0)
		return refuse(why, -ENXIO, "no BAR is enabled there");
	s->ops->region_info(s->arg, (uint32_t)i, &size, &flags);
	return flags & flag ? i : refuse(why, -EINVAL, "region does not allow it");
}

static int cmd_bar_read(struct mp_server *s, struct vu_msg *m, uint64_t *value, const char **why)
{
	uint64_t offset, data = 0;
	struct mp_bar b;
	int i, err;

	memcpy(&b, m->data, sizeof(b));
	i = bar_of(s, &b, VFIO_REGION_INFO_FLAG_READ, &offset, why);
	if (i < 0)
		return i;
	err = s->ops->region_read(s->arg, (uint32_t)i, offset, &data, b.size);
	if (!err)
		*value = data;
	return err;
}

static int cmd_bar_write(struct mp_server *s, struct vu_msg *m, uint64_t *value, const char **why)
{
	uint64_t offset;
	struct mp_bar b;
	int i;

	memcpy(&b, m->data, sizeof(b));
	i = bar_of(s, &b, VFIO_REGION_INFO_FLAG_WRITE, &offset, why);
	return i < 0 ? i : s->ops->region_write(s->arg, (uint32_t)i, offset, &b.value, b.size);
}

/* -- memory --------------------------------------------------------------------------- */

static bool same(const struct mp_mem *a, const struct mp_mem *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->offset == b->offset &&
	       a->dev == b->dev && a->ino == b->ino;
}

/* What is wrong with the last of @i + 1 entries, or NULL.  Those before it are in order. */
static const char *bad_entry(struct mp_mem *table, uint32_t i, int fd)
{
	struct mp_mem *e = &table[i];
	struct statx st;

	if (!e->size || (e->gpa | e->size | e->offset) % VU_PAGE)
		return "an entry is empty, or not a multiple of 4096";
	if (e->gpa + (e->size - 1) < e->gpa || e->offset > INT64_MAX ||
	    e->size > INT64_MAX - e->offset)
		return "an entry wraps";
	for (uint32_t k = 0; k < i; k++)
		if (table[k].size && e->gpa <= table[k].gpa + (table[k].size - 1) &&
		    table[k].gpa <= e->gpa + (e->size - 1))
			return "entries overlap";
	/* What is known of it already: nobody is asked who might not answer. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE | STATX_INO,
		  &st) || !S_ISREG(st.stx_mode))
		return "a descriptor is not a file";
	if (e->offset + e->size > st.stx_size)
		return "a file is shorter than its entry";
	e->dev = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor;
	e->ino = st.stx_ino;
	return NULL;
}

/* The table as it came.  What cannot be is left out: accesses there fail. */
static int take_table(const struct vu_msg *m, struct mp_mem *table, const char **why)
{
	const char *bad;
	struct mp_sysmem t;
	int err = 0;

	memcpy(&t, m->data, sizeof(t));
	for (uint32_t i = 0; i < m->nfds; i++) {
		table[i] = (struct mp_mem){
			.gpa = t.gpa[i], .size = t.size[i], .offset = t.offset[i],
		};
		bad = bad_entry(table, i, m->fds[i]);
		if (bad) {
			table[i].size = 0;
			err = refuse(why, -EINVAL, bad);
		}
	}
	return err;
}

/* Is the entry, which has a size, in the table? */
static bool among(const struct mp_mem *table, uint32_t n, const struct mp_mem *e)
{
	for (uint32_t i = 0; i < n; i++)
		if (same(&table[i], e))
			return true;
	return false;
}

/*
 * A table in place of the last one.  QEMU sends it again with each change, mostly the same: what
 * is in both stays as it is, so that a device can go on using it.
 */
static int cmd_sync_sysmem(struct mp_server *s, struct vu_msg *m, uint64_t *value, const char **why)
{
	struct mp_mem table[MP_FDS_MAX];
	uint32_t i, n = 0;
	int err, failed = take_table(m, table, why);

	for (i = 0; i < s->n_mem; i++) {
		const struct mp_mem *e = &s->mem[i];

		if (among(table, m->nfds, e))
			s->mem[n++] = *e;
		else
			s->ops->dma_unmap(s->arg, e->gpa, e->size, false);
	}
	s->n_mem = n;
	for (i = 0; i < m->nfds; i++) {
		const struct mp_mem *e = &table[i];

		if (!e->size || among(s->mem, n, e))
			continue;
		err = s->ops->dma_map(s->arg, e->gpa, e->size, e->offset, PROT_READ | PROT_WRITE,
				      &m->fds[i]);
		if (err)
			failed = refuse(why, err, s->ops->dma_why ? s->ops->dma_why(s->arg) : NULL);
		else
			s->mem[s->n_mem++] = *e;
	}
	return failed;
}

/* -- interrupts and reset ------------------------------------------------------------------ */

static int cmd_set_irqfd(struct mp_server *s, struct vu_msg *m, uint64_t *value, const char **why)
{
	int err;

	for (uint32_t i = 0; i < m->nfds; i++)
		if (!rmio_foreign_is_eventfd(m->fds[i]))
			return refuse(why, -EINVAL, "descriptor is not an eventfd");
	/* QEMU sends them whether there is a pin or not. */
	if (!irqs(s, VFIO_PCI_INTX_IRQ_INDEX) && !stand_in(s))
		return 0;
	/* The end of an interrupt may never come here: KVM forgets one whose route is changed. */
	if (s->ops->pin_rises)
		s->ops->pin_rises(s->arg);
	err = s->ops->set_irqs(s->arg, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
			       VFIO_IRQ_SET_DATA_EVENTFD, 0, 1, &m->fds[0], NULL);
	if (err)
		return err;
	return s->ops->set_irqs(s->arg, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK,
				VFIO_IRQ_SET_DATA_EVENTFD, 0, 1, &m->fds[1], NULL);
}

static int cmd_reset(struct mp_server *s, struct vu_msg *m, uint64_t *value, const char **why)
{
	return s->ops->reset(s->arg);
}

/* -- all of them ----------------------------------------------------------------------------- */

struct mp_desc {
	const char *name;
	int (*fn)(struct mp_server *s, struct vu_msg *m, uint64_t *value, const char **why);
	uint32_t len;			/* of the payload */
	uint32_t min_fds, max_fds;
	bool answered;
};

static const struct mp_desc *find(int32_t cmd)
{
	static const struct mp_desc cmds[] = {
		[MP_SYNC_SYSMEM] = { "SYNC_SYSMEM", cmd_sync_sysmem, sizeof(struct mp_sysmem), 1,
				     MP_FDS_MAX, false },
		[MP_CONFIG_WRITE] = { "PCI_CFGWRITE", cmd_config_write, sizeof(struct mp_config), 0,
				      0, true },
		[MP_CONFIG_READ] = { "PCI_CFGREAD", cmd_config_read, sizeof(struct mp_config), 0, 0,
				     true },
		[MP_BAR_WRITE] = { "BAR_WRITE", cmd_bar_write, sizeof(struct mp_bar), 0, 0, true },
		[MP_BAR_READ] = { "BAR_READ", cmd_bar_read, sizeof(struct mp_bar), 0, 0, true },
		[MP_SET_IRQFD] = { "SET_IRQFD", cmd_set_irqfd, 0, 2, 2, false },
		[MP_RESET] = { "DEVICE_RESET", cmd_reset, 0, 0, 0, true },
	};

	if (cmd < 0 || cmd >= (int32_t)(sizeof(cmds) / sizeof(cmds[0])) || !cmds[cmd].fn)
		return NULL;
	return &cmds[cmd];
}

const char *mp_cmd_name(int32_t cmd)
{
	const struct mp_desc *d = find(cmd);

	return d ? d->name : "unknown command";
}

int mp_answered(int32_t cmd)
{
	const struct mp_desc *d = find(cmd);

	return d ? d->answered : -1;
}

int mp_serve(struct mp_server *s, struct vu_msg *m, uint64_t *value, const char **why)
{
	const struct mp_desc *d = find(m->mp.cmd);
	int err;

	*why = NULL;
	if (!d)
		return -EINVAL;
	*value = 0;
	if (m->fds_error)
		err = refuse(why, m->fds_error, "descriptors lost, or too many");
	else if (m->nfds < d->min_fds || m->nfds > d->max_fds)
		err = refuse(why, -EINVAL, "wrong number of descriptors");
	else if (m->len != d->len)
		err = refuse(why, -EINVAL, "message has the wrong size");
	else
		err = d->fn(s, m, value, why);
	if (err)
		*value = UINT64_MAX;
	return err;
}
