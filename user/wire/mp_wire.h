/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Wire formats of the protocol that QEMU's x-pci-proxy-dev and x-remote speak, which is older
 * than vfio-user: native byte order, one command at a time.  A header is as long as vfio-user's.
 *
 * Commands that are answered are answered by MP_RET.  Nobody waits with a time limit, and a
 * connection that is lost is not made again.
 */
#ifndef RMIO_WIRE_MP_WIRE_H
#define RMIO_WIRE_MP_WIRE_H

#include "limits.h"

#include <linux/pci_regs.h>
#include <stdint.h>

enum mp_cmd {
	MP_SYNC_SYSMEM	= 0,	/* not answered; a descriptor an entry */
	MP_RET		= 1,
	MP_CONFIG_WRITE	= 2,
	MP_CONFIG_READ	= 3,
	MP_BAR_WRITE	= 4,
	MP_BAR_READ	= 5,
	MP_SET_IRQFD	= 6,	/* not answered; two eventfds: interrupt, resample */
	MP_RESET	= 7,
};

struct mp_hdr {
	int32_t cmd;
	uint32_t padding;	/* what a compiler puts there; QEMU leaves it 0 */
	uint64_t size;		/* of the payload */
};
_Static_assert(sizeof(struct mp_hdr) == 16, "mp_hdr size");

struct mp_sysmem {
	uint64_t gpa[MP_MEM_MAX];
	uint64_t size[MP_MEM_MAX];
	uint64_t offset[MP_MEM_MAX];
};
_Static_assert(sizeof(struct mp_sysmem) == 192, "mp_sysmem size");

struct mp_config {
	uint32_t addr;
	uint32_t value;
	int32_t len;		/* 1, 2, 4 */
};
_Static_assert(sizeof(struct mp_config) == 12, "mp_config size");

struct mp_bar {
	uint64_t addr;		/* as the guest sees it: the device knows where its BARs are */
	uint64_t value;
	uint32_t size;		/* 1, 2, 4, 8 */
	uint8_t memory;		/* 0: I/O */
	uint8_t padding[3];
};
_Static_assert(sizeof(struct mp_bar) == 24, "mp_bar size");

/*
 * Nothing that a list of capabilities could offer works here: there are no messages for MSI.
 * The bytes of [@at, @at + @len) that would lead there read as 0.
 */
static inline void mp_hide_capabilities(uint32_t at, uint32_t len, uint8_t *bytes)
{
	for (uint32_t i = 0; i < len; i++) {
		if (at + i == PCI_STATUS)
			bytes[i] &= (uint8_t)~PCI_STATUS_CAP_LIST;
		else if (at + i == PCI_CAPABILITY_LIST)
			bytes[i] = 0;
	}
}

#endif
