// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The commands of vfio-user, each checked against the protocol and put to the device.  Under the
 * connection (vu_server.c).  Region access by message passes here.
 */
#include "vu_commands.h"
#include "wire/foreign.h"
#include "wire/vu_caps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <rmio/abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Refuse a command. */
static int refuse(struct vu_server *s, int err, const char *why)
{
	s->why = why;
	return err;
}

/* -- each: 0 with s->reply filled in, or -errno ------------------------------ */

static int cmd_version(struct vu_server *s, struct vu_msg *m)
{
	struct vu_caps caps, ours = { .max_fds = VU_MAX_FDS, .max_xfer = VU_MAX_XFER };
	struct vu_version v;
	const char *why = NULL;
	int err;

	if (s->versioned)
		return refuse(s, -EINVAL, "there has been one already");
	/* Without a version there is nothing to go on with. */
	s->close = true;
	if (m->len < sizeof(v))
		return refuse(s, -EINVAL, "message too short");
	memcpy(&v, m->data, sizeof(v));
	if (v.major != VU_MAJOR)
		return refuse(s, -EINVAL, "unknown major version");
	err = vu_caps_parse(m->data + sizeof(v), m->len - sizeof(v), &caps, &why);
	if (err)
		return refuse(s, err, why);
	if (!s->data)
		s->data = malloc(VU_MAX_XFER);
	if (!s->data)
		return -ENOMEM;
	if (s->ops->attach && caps.rmio)
		ours.rmio = s->rmio = VU_RMIO_VERSION;
	if (s->ops->name && caps.ours) {
		ours.ours = true;
		snprintf(ours.name, sizeof(ours.name), "%s", s->ops->name(s->arg));
	}
	/* A client that knows of no more than the default may take more for nonsense. */
	if (caps.max_maps > VU_DMA_MAPS_DEFAULT)
		ours.max_maps = VU_DMA_MAPS;
	s->versioned = true;
	s->close = false;
	s->reply.version.major = VU_MAJOR;
	s->reply.version.minor = v.minor < VU_MINOR ? v.minor : VU_MINOR;
	s->reply_len = sizeof(v);
	s->data_len = vu_caps_format((char *)s->data, &ours);
	return 0;
}

/* Refuse a map, or to unmap: where, and in the device's words unless there are some already. */
static int refuse_dma(struct vu_server *s, int err, uint64_t iova, uint64_t size)
{
	const char *why = s->why;

	if (!why && s->ops->dma_why)
		why = s->ops->dma_why(s->arg);
	snprintf(s->why_at, sizeof(s->why_at), "0x%" PRIx64 " bytes at 0x%" PRIx64 ": %s", size, iova,
		 why ? why : "by the device");
	return refuse(s, err, s->why_at);
}

/* The descriptor must be a file that is long enough, whatever becomes of it later. */
static int check_dma_fd(struct vu_server *s, int fd, const struct vu_dma_map *d)
{
	struct statx st;

	/* What is known of it already: nobody is asked who might not answer. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &st))
		return refuse(s, -errno, "descriptor cannot be examined");
	if (!S_ISREG(st.stx_mode))
		return refuse(s, -EINVAL, "descriptor is not a file");
	if (d->offset + d->size > st.stx_size)
		return refuse(s, -EINVAL, "file is shorter than the mapping");
	return 0;
}

static int check_dma_map(struct vu_server *s, const struct vu_msg *m, const struct vu_dma_map *d)
{
	if (d->argsz < sizeof(*d))
		return refuse(s, -EINVAL, "argsz is smaller than the request");
	if (d->flags & ~(VU_DMA_READABLE | VU_DMA_WRITABLE | VU_DMA_MMAP | VU_DMA_FILE_IO))
		return refuse(s, -EINVAL, "unknown flags");
	if (!(d->flags & (VU_DMA_READABLE | VU_DMA_WRITABLE)))
		return refuse(s, -EINVAL, "neither readable nor writable");
	if (d->flags & VU_DMA_FILE_IO)
		return refuse(s, -ENOTSUP, "access by read and write is not supported");
	if (!d->size || (d->iova | d->size | d->offset) % VU_PAGE)
		return refuse(s, -EINVAL, "empty, or not a multiple of 4096");
	if (d->iova + (d->size - 1) < d->iova || d->offset > INT64_MAX ||
	    d->size > INT64_MAX - d->offset)
		return refuse(s, -EINVAL, "wraps");
	if (!m->nfds && (d->flags & VU_DMA_MMAP))
		return refuse(s, -EINVAL, "no descriptor to map");
	return m->nfds ? check_dma_fd(s, m->fds[0], d) : 0;
}

static int cmd_dma_map(struct vu_server *s, struct vu_msg *m)
{
	int prot = 0, none = -1, err;
	struct vu_dma_map d;

	memcpy(&d, m->data, sizeof(d));
	if (d.flags & VU_DMA_READABLE)
		prot |= PROT_READ;
	if (d.flags & VU_DMA_WRITABLE)
		prot |= PROT_WRITE;
	err = check_dma_map(s, m, &d);
	if (!err)
		err = s->ops->dma_map(s->arg, d.iova, d.size, d.offset, prot,
				      m->nfds ? m->fds : &none);
	return err ? refuse_dma(s, err, d.iova, d.size) : 0;
}

static int cmd_dma_unmap(struct vu_server *s, struct vu_msg *m)
{
	struct vu_dma_unmap d;
	int err;
	bool all;

	memcpy(&d, m->data, sizeof(d));
	if (d.argsz < sizeof(d))
		return refuse(s, -EINVAL, "argsz is too small for the reply");
	if (d.flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP)
		return refuse(s, -ENOTSUP, "no dirty bitmap");
	if (d.flags & ~VFIO_DMA_UNMAP_FLAG_ALL)
		return refuse(s, -EINVAL, "unknown flags");
	all = d.flags & VFIO_DMA_UNMAP_FLAG_ALL;
	if (all ? d.iova || d.size : !d.size || d.iova + (d.size - 1) < d.iova)
		return refuse(s, -EINVAL, "bad address or size");
	s->reply.dma_unmap = d;
	s->reply.dma_unmap.argsz = sizeof(d);
	s->reply_len = sizeof(d);
	err = s->ops->dma_unmap(s->arg, d.iova, d.size, all);
	return err ? refuse_dma(s, err, d.iova, d.size) : 0;
}

static int cmd_device_info(struct vu_server *s, struct vu_msg *m)
{
	struct vu_device_info d;

	memcpy(&d, m->data, sizeof(d));
	if (d.argsz < sizeof(d))
		return refuse(s, -EINVAL, "argsz is too small for the reply");
	d.argsz = sizeof(d);
	s->ops->device_info(s->arg, &d.flags, &d.regions, &d.irqs);
	s->reply.device_info = d;
	s->reply_len = sizeof(d);
	return 0;
}

static int region(struct vu_server *s, uint32_t index, uint64_t *size, uint32_t *flags)
{
	*size = 0;
	*flags = 0;
	if (index >= s->regions)
		return refuse(s, -EINVAL, "no such region");
	return s->ops->region_info(s->arg, index, size, flags);
}

static int cmd_region_info(struct vu_server *s, struct vu_msg *m)
{
	struct vu_region_info d;
	int err;

	memcpy(&d, m->data, sizeof(d));
	if (d.argsz < sizeof(d))
		return refuse(s, -EINVAL, "argsz is too small for the reply");
	d = (struct vu_region_info){ .argsz = sizeof(d), .index = d.index };
	err = region(s, d.index, &d.size, &d.flags);
	s->reply.region_info = d;
	s->reply_len = sizeof(d);
	return err;
}

static int irq(struct vu_server *s, uint32_t index, uint32_t *flags, uint32_t *count)
{
	*flags = 0;
	*count = 0;
	if (index >= s->irqs)
		return refuse(s, -EINVAL, "no such irq index");
	return s->ops->irq_info(s->arg, index, flags, count);
}

static int cmd_irq_info(struct vu_server *s, struct vu_msg *m)
{
	struct vu_irq_info d;
	int err;

	memcpy(&d, m->data, sizeof(d));
	if (d.argsz < sizeof(d))
		return refuse(s, -EINVAL, "argsz is too small for the reply");
	d.argsz = sizeof(d);
	err = irq(s, d.index, &d.flags, &d.count);
	s->reply.irq_info = d;
	s->reply_len = sizeof(d);
	return err;
}

static int check_irq_data(struct vu_server *s, const struct vu_msg *m, const struct vu_irq_set *d,
			  uint32_t action, uint32_t data)
{
	uint32_t i, rest = m->len - sizeof(*d);

	if (d->argsz != m->len)
		return refuse(s, -EINVAL, "argsz is not the size of the request");
	if (rest != (data == VFIO_IRQ_SET_DATA_BOOL ? d->count : 0))
		return refuse(s, -EINVAL, "data is not count bytes");
	if (data == VFIO_IRQ_SET_DATA_BOOL)
		for (i = 0; i < d->count; i++)
			if (m->data[sizeof(*d) + i] > 1)
				return refuse(s, -EINVAL, "a boolean is neither 0 nor 1");
	if (!d->count && (d->start || data != VFIO_IRQ_SET_DATA_NONE ||
			  action != VFIO_IRQ_SET_ACTION_TRIGGER))
		return refuse(s, -EINVAL, "count is 0");
	if (m->nfds && (data != VFIO_IRQ_SET_DATA_EVENTFD || m->nfds != d->count))
		return refuse(s, -EINVAL, "descriptors that are not count eventfds");
	for (i = 0; i < m->nfds; i++)
		if (!rmio_foreign_is_eventfd(m->fds[i]))
			return refuse(s, -EINVAL, "descriptor is not an eventfd");
	return 0;
}

static int cmd_set_irqs(struct vu_server *s, struct vu_msg *m)
{
	uint32_t action, data, flags, count;
	struct vu_irq_set d;
	int err;

	if (m->len < sizeof(d))
		return refuse(s, -EINVAL, "message has the wrong size");
	memcpy(&d, m->data, sizeof(d));
	action = d.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	data = d.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	if ((d.flags ^ action ^ data) || __builtin_popcount(action) != 1 ||
	    __builtin_popcount(data) != 1)
		return refuse(s, -EINVAL, "flags are not one action and one kind of data");
	err = irq(s, d.index, &flags, &count);
	if (err)
		return err;
	if (d.start >= count || d.count > count - d.start)
		return refuse(s, -EINVAL, "beyond the irqs of the index");
	err = check_irq_data(s, m, &d, action, data);
	if (err)
		return err;
	return s->ops->set_irqs(s->arg, d.index, action, data, d.start, d.count,
				m->nfds ? m->fds : NULL,
				data == VFIO_IRQ_SET_DATA_BOOL ? m->data + sizeof(d) : NULL);
}

static int cmd_region_access(struct vu_server *s, struct vu_msg *m)
{
	bool write = m->hdr.cmd == VU_REGION_WRITE;
	struct vu_region_access d;
	uint32_t flags;
	uint64_t size;
	int err;

	if (m->len < sizeof(d))
		return refuse(s, -EINVAL, "message has the wrong size");
	memcpy(&d, m->data, sizeof(d));
	if (d.count > VU_MAX_XFER)
		return refuse(s, -E2BIG, "count is above max_data_xfer_size");
	if (m->len - sizeof(d) != (write ? d.count : 0))
		return refuse(s, -EINVAL, "data is not count bytes");
	err = region(s, d.region, &size, &flags);
	if (err)
		return err;
	if (!(flags & (write ? VFIO_REGION_INFO_FLAG_WRITE : VFIO_REGION_INFO_FLAG_READ)))
		return refuse(s, -EINVAL, "region does not allow it");
	if (d.offset > size || d.count > size - d.offset)
		return refuse(s, -EINVAL, "beyond the region");
	s->reply.access = d;
	s->reply_len = sizeof(d);
	if (!d.count)
		return 0;
	if (write)
		return s->ops->region_write(s->arg, d.region, d.offset, m->data + sizeof(d),
					    d.count);
	s->data_len = d.count;
	memset(s->data, 0, d.count);
	return s->ops->region_read(s->arg, d.region, d.offset, s->data, d.count);
}

static int cmd_reset(struct vu_server *s, struct vu_msg *m)
{
	return s->ops->reset(s->arg);
}

static int cmd_attach(struct vu_server *s, struct vu_msg *m)
{
	struct vu_rmio_attach d;
	int err;

	if (!s->rmio)
		return refuse(s, -ENOTSUP, "capability rmio has not been agreed on");
	memcpy(&d, m->data, sizeof(d));
	if (d.argsz != sizeof(d))
		return refuse(s, -EINVAL, "argsz is not the size of the request");
	if (d.version != RMIO_ABI_VERSION || d.reserved)
		return refuse(s, -EINVAL, "unknown version, or reserved is not zero");
	if (m->nfds != 1)
		return refuse(s, -EINVAL, "no descriptor");
	if (s->attached && s->ops->attached)
		s->attached = s->ops->attached(s->arg);
	if (s->attached)
		return refuse(s, -EBUSY, "there has been one already");
	err = s->ops->attach(s->arg, m->fds);
	if (!err)
		s->attached = true;
	return err;
}

/* -- which there are ----------------------------------------------------------- */

const char *vu_cmd_name(uint16_t cmd)
{
	static const char *const names[] = {
		[VU_VERSION] = "VERSION",
		[VU_DMA_MAP] = "DMA_MAP",
		[VU_DMA_UNMAP] = "DMA_UNMAP",
		[VU_DEVICE_INFO] = "DEVICE_GET_INFO",
		[VU_REGION_INFO] = "DEVICE_GET_REGION_INFO",
		[VU_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
		[VU_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
		[VU_SET_IRQS] = "DEVICE_SET_IRQS",
		[VU_REGION_READ] = "REGION_READ",
		[VU_REGION_WRITE] = "REGION_WRITE",
		[VU_DMA_READ] = "DMA_READ",
		[VU_DMA_WRITE] = "DMA_WRITE",
		[VU_RESET] = "DEVICE_RESET",
		[VU_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
		[VU_DEVICE_FEATURE] = "DEVICE_FEATURE",
		[VU_MIG_DATA_READ] = "MIG_DATA_READ",
		[VU_MIG_DATA_WRITE] = "MIG_DATA_WRITE",
	};

	if (cmd == VU_RMIO_ATTACH)
		return "RMIO_ATTACH";
	if (cmd < sizeof(names) / sizeof(names[0]) && names[cmd])
		return names[cmd];
	return "unknown command";
}

struct vu_cmd_desc {
	int (*fn)(struct vu_server *s, struct vu_msg *m);
	uint32_t len;		/* of the payload, at least; VARIES: fn checks */
	bool exact;		/* nothing may follow */
	uint32_t max_fds;
};
#define VARIES	UINT32_MAX

static const struct vu_cmd_desc *find_cmd(uint16_t cmd)
{
	static const struct vu_cmd_desc attach = {
		cmd_attach, sizeof(struct vu_rmio_attach), true, 1
	};
	static const struct vu_cmd_desc cmds[] = {
		[VU_VERSION] = { cmd_version, VARIES, true, 0 },
		[VU_DMA_MAP] = { cmd_dma_map, sizeof(struct vu_dma_map), false, 1 },
		[VU_DMA_UNMAP] = { cmd_dma_unmap, sizeof(struct vu_dma_unmap), false, 1 },
		[VU_DEVICE_INFO] = { cmd_device_info, sizeof(struct vu_device_info), false, 0 },
		[VU_REGION_INFO] = { cmd_region_info, sizeof(struct vu_region_info), false, 0 },
		[VU_IRQ_INFO] = { cmd_irq_info, sizeof(struct vu_irq_info), false, 0 },
		[VU_SET_IRQS] = { cmd_set_irqs, VARIES, true, VU_MAX_FDS },
		[VU_REGION_READ] = { cmd_region_access, VARIES, true, 0 },
		[VU_REGION_WRITE] = { cmd_region_access, VARIES, true, 0 },
		[VU_RESET] = { cmd_reset, 0, true, 0 },
	};

	if (cmd == VU_RMIO_ATTACH)
		return &attach;
	return cmd < sizeof(cmds) / sizeof(cmds[0]) && cmds[cmd].fn ? &cmds[cmd] : NULL;
}

int vu_command(struct vu_server *s, struct vu_msg *m)
{
	const struct vu_cmd_desc *d = find_cmd(m->hdr.cmd);

	if (!s->versioned && m->hdr.cmd != VU_VERSION) {
		s->close = true;
		return refuse(s, -EINVAL, "VERSION has to come first");
	}
	if (m->hdr.flags & ~(VU_TYPE_MASK | VU_NO_REPLY))
		return refuse(s, -EINVAL, "unknown flags");
	if (m->hdr.error)
		return refuse(s, -EINVAL, "error is not zero in a command");
	if (!d)
		return refuse(s, -ENOTSUP, "not supported");
	if (m->fds_error)
		return refuse(s, m->fds_error, "descriptors lost, or too many");
	if (m->nfds > d->max_fds)
		return refuse(s, -EINVAL, "unexpected descriptors");
	if (d->len != VARIES && (m->len < d->len || (d->exact && m->len != d->len)))
		return refuse(s, -EINVAL, "message has the wrong size");
	return d->fn(s, m);
}
