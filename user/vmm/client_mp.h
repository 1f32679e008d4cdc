/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The client of QEMU's multi-process protocol: what it keeps of the remote, and the accesses to it
 * (client_mp_access.c) of which the calls of VFIO are made (client_mp.c).
 */
#ifndef RMIO_VMM_CLIENT_MP_H
#define RMIO_VMM_CLIENT_MP_H

#include "client_priv.h"
#include "wire/eventfds.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#define CONFIG		VFIO_PCI_CONFIG_REGION_INDEX
#define CONFIG_SIZE	256u
#define BARS		6u
#define BAR_REG(i)	(PCI_BASE_ADDRESS_0 + 4 * (i))

struct mp_bar_state {
	uint64_t size;		/* 0: no BAR */
	bool io, wide;
	uint32_t reg;		/* as the remote has it */
};

struct mp_entry {
	uint64_t gpa, size, offset;
	int fd;			/* ours */
};

/* All of it is used with the client's lock held. */
struct client_mp {
	struct mp_bar_state bars[BARS];
	uint16_t command;		/* as the remote has it; decoding is off if in doubt */
	bool in_doubt;			/* not all of it was learned the last time */
	bool pin;
	struct mp_entry mem[MP_FDS_MAX];
	uint32_t n_mem;
	int no_memory;			/* memfd */
	int trigger, unmask;		/* what the VMM gave, ours; -1: nothing */
	int no_trigger, no_unmask;	/* what stands in for them */
	struct rmio_eventfds eventfds;
};

/*
 * Each of these with the client's lock held.  0 or -errno, which may have ended the connection
 * (client_give_up).
 */

/* A command that is not answered; what it does is done when a later one is answered. */
int client_mp_send(struct rmio_client *c, int32_t cmd, const void *payload, size_t len,
		   const int *fds, uint32_t nfds);
/* A command that is answered, by *value. */
int client_mp_call(struct rmio_client *c, int32_t cmd, const void *payload, size_t len,
		   uint64_t *value);

/* An answer of all ones is none: fewer than 64 bits were asked for. */
static inline int client_mp_refused(uint64_t value)
{
	return value == UINT64_MAX ? -EIO : 0;
}

/* A register of configuration space, as the remote has it. */
int client_mp_get(struct rmio_client *c, uint32_t addr, uint32_t len, uint32_t *value);
int client_mp_put(struct rmio_client *c, uint32_t addr, uint32_t len, uint32_t value);
/* What follows from a write to [addr, addr + len): how the remote decodes from now on. */
int client_mp_decoding(struct rmio_client *c, uint32_t addr, uint32_t len);

/* Accesses of any length; of configuration space with what the VMM may see of it. */
int client_mp_config_read(struct rmio_client *c, uint32_t addr, uint8_t *buf, uint32_t count);
int client_mp_config_write(struct rmio_client *c, uint32_t addr, const uint8_t *buf,
			   uint32_t count);
/* To BAR @i, one of @load and @store.  -ENXIO: the remote does not decode it. */
int client_mp_bar(struct rmio_client *c, uint32_t i, uint64_t offset, uint8_t *load,
		  const uint8_t *store, uint32_t count);

#endif
