/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Wire formats of the control channel: vfio-user as published in QEMU's
 * docs/interop/vfio-user.rst, and the one command that rmio adds.  Native byte
 * order, no padding.  Flag values of device, region and irq information are
 * those of <linux/vfio.h>.
 *
 * A message is a header and a payload.  Whoever receives one copies it before
 * looking at it and believes nothing.
 */
#ifndef RMIO_WIRE_VU_WIRE_H
#define RMIO_WIRE_VU_WIRE_H

#include "limits.h"

#include <stddef.h>
#include <stdint.h>

#define VU_MAJOR	0u
#define VU_MINOR	1u

enum vu_cmd {
	VU_VERSION		= 1,
	VU_DMA_MAP		= 2,
	VU_DMA_UNMAP		= 3,
	VU_DEVICE_INFO		= 4,
	VU_REGION_INFO		= 5,
	VU_REGION_IO_FDS	= 6,
	VU_IRQ_INFO		= 7,
	VU_SET_IRQS		= 8,
	VU_REGION_READ		= 9,
	VU_REGION_WRITE		= 10,
	VU_DMA_READ		= 11,	/* device to client */
	VU_DMA_WRITE		= 12,	/* device to client */
	VU_RESET		= 13,
	VU_REGION_WRITE_MULTI	= 15,
	VU_DEVICE_FEATURE	= 16,
	VU_MIG_DATA_READ	= 17,
	VU_MIG_DATA_WRITE	= 18,
	/*
	 * Ours, where the published numbers will not get to; only after both
	 * sides have named the capability "rmio".  Hands over the slave
	 * descriptor of the client's master.
	 */
	VU_RMIO_ATTACH		= 0x7200,
};

/* vu_hdr.flags */
#define VU_TYPE_MASK	0x0fu
#define VU_COMMAND	0x00u
#define VU_REPLY	0x01u
#define VU_NO_REPLY	0x10u	/* commands: the sender wants none */
#define VU_ERROR	0x20u	/* replies: vu_hdr.error says why; no payload */
#define VU_FLAGS	(VU_TYPE_MASK | VU_NO_REPLY | VU_ERROR)

struct vu_hdr {
	uint16_t id;		/* the sender's; echoed in the reply */
	uint16_t cmd;		/* enum vu_cmd; echoed */
	uint32_t size;		/* of the whole message */
	uint32_t flags;
	uint32_t error;		/* replies: errno, may be 0; commands: 0 */
};

/* VERSION, both ways; followed by JSON and its NUL, or by nothing. */
struct vu_version {
	uint16_t major;
	uint16_t minor;
};

/* DMA_MAP; empty reply.  The descriptor comes along, or there is none. */
struct vu_dma_map {
	uint32_t argsz;		/* of this */
	uint32_t flags;		/* VU_DMA_* */
	uint64_t offset;	/* in the descriptor */
	uint64_t iova;
	uint64_t size;
};
#define VU_DMA_READABLE		0x1u
#define VU_DMA_WRITABLE		0x2u
/* Not published, but sent by clients of libvfio-user: how the device should get at it. */
#define VU_DMA_MMAP		0x4u
#define VU_DMA_FILE_IO		0x8u

/* DMA_UNMAP; the reply repeats it. */
struct vu_dma_unmap {
	uint32_t argsz;		/* room for the reply */
	uint32_t flags;		/* VFIO_DMA_UNMAP_FLAG_ALL: iova and size are 0 */
	uint64_t iova;
	uint64_t size;
};

/* DEVICE_GET_INFO, both ways. */
struct vu_device_info {
	uint32_t argsz;
	uint32_t flags;		/* VFIO_DEVICE_FLAGS_* */
	uint32_t regions;
	uint32_t irqs;
};

/* DEVICE_GET_REGION_INFO, both ways. */
struct vu_region_info {
	uint32_t argsz;
	uint32_t flags;		/* VFIO_REGION_INFO_FLAG_* */
	uint32_t index;
	uint32_t cap_offset;
	uint64_t size;
	uint64_t offset;
};

/* DEVICE_GET_IRQ_INFO, both ways. */
struct vu_irq_info {
	uint32_t argsz;
	uint32_t flags;		/* VFIO_IRQ_INFO_* */
	uint32_t index;
	uint32_t count;
};

/* DEVICE_SET_IRQS; empty reply.  Followed by count bytes with VFIO_IRQ_SET_DATA_BOOL. */
struct vu_irq_set {
	uint32_t argsz;		/* of this and what follows */
	uint32_t flags;		/* VFIO_IRQ_SET_DATA_* | VFIO_IRQ_SET_ACTION_* */
	uint32_t index;
	uint32_t start;
	uint32_t count;
};

/* REGION_READ and _WRITE, both ways; data follows write commands and read replies. */
struct vu_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
};

/* RMIO_ATTACH, with one descriptor; empty reply. */
struct vu_rmio_attach {
	uint32_t argsz;		/* of this */
	uint32_t version;	/* RMIO_ABI_VERSION */
	uint64_t reserved;	/* 0 */
};

#define VU_ASSERT(t, n) _Static_assert(sizeof(struct t) == (n), #t " size")
#define VU_ASSERT_AT(t, f, n) _Static_assert(offsetof(struct t, f) == (n), #t "." #f " offset")

VU_ASSERT(vu_hdr, 16);
VU_ASSERT_AT(vu_hdr, id, 0);
VU_ASSERT_AT(vu_hdr, cmd, 2);
VU_ASSERT_AT(vu_hdr, size, 4);
VU_ASSERT_AT(vu_hdr, flags, 8);
VU_ASSERT_AT(vu_hdr, error, 12);

VU_ASSERT(vu_version, 4);
VU_ASSERT_AT(vu_version, major, 0);
VU_ASSERT_AT(vu_version, minor, 2);

VU_ASSERT(vu_dma_map, 32);
VU_ASSERT_AT(vu_dma_map, argsz, 0);
VU_ASSERT_AT(vu_dma_map, flags, 4);
VU_ASSERT_AT(vu_dma_map, offset, 8);
VU_ASSERT_AT(vu_dma_map, iova, 16);
VU_ASSERT_AT(vu_dma_map, size, 24);

VU_ASSERT(vu_dma_unmap, 24);
VU_ASSERT_AT(vu_dma_unmap, argsz, 0);
VU_ASSERT_AT(vu_dma_unmap, flags, 4);
VU_ASSERT_AT(vu_dma_unmap, iova, 8);
VU_ASSERT_AT(vu_dma_unmap, size, 16);

VU_ASSERT(vu_device_info, 16);
VU_ASSERT_AT(vu_device_info, argsz, 0);
VU_ASSERT_AT(vu_device_info, flags, 4);
VU_ASSERT_AT(vu_device_info, regions, 8);
VU_ASSERT_AT(vu_device_info, irqs, 12);

VU_ASSERT(vu_region_info, 32);
VU_ASSERT_AT(vu_region_info, argsz, 0);
VU_ASSERT_AT(vu_region_info, flags, 4);
VU_ASSERT_AT(vu_region_info, index, 8);
VU_ASSERT_AT(vu_region_info, cap_offset, 12);
VU_ASSERT_AT(vu_region_info, size, 16);
VU_ASSERT_AT(vu_region_info, offset, 24);

VU_ASSERT(vu_irq_info, 16);
VU_ASSERT_AT(vu_irq_info, argsz, 0);
VU_ASSERT_AT(vu_irq_info, flags, 4);
VU_ASSERT_AT(vu_irq_info, index, 8);
VU_ASSERT_AT(vu_irq_info, count, 12);

VU_ASSERT(vu_irq_set, 20);
VU_ASSERT_AT(vu_irq_set, argsz, 0);
VU_ASSERT_AT(vu_irq_set, flags, 4);
VU_ASSERT_AT(vu_irq_set, index, 8);
VU_ASSERT_AT(vu_irq_set, start, 12);
VU_ASSERT_AT(vu_irq_set, count, 16);

VU_ASSERT(vu_region_access, 16);
VU_ASSERT_AT(vu_region_access, offset, 0);
VU_ASSERT_AT(vu_region_access, region, 8);
VU_ASSERT_AT(vu_region_access, count, 12);

VU_ASSERT(vu_rmio_attach, 16);
VU_ASSERT_AT(vu_rmio_attach, argsz, 0);
VU_ASSERT_AT(vu_rmio_attach, version, 4);
VU_ASSERT_AT(vu_rmio_attach, reserved, 8);

#endif
