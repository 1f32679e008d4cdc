/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Inside the device end of a connection: what vu_server.c and the commands of vfio-user
 * (vu_commands.c), which it calls, share.
 */
#ifndef RMIO_DEVICE_VU_COMMANDS_H
#define RMIO_DEVICE_VU_COMMANDS_H

#include "mp_server.h"
#include "vu_server.h"
#include "wire/vu_msg.h"

struct vu_server {
	struct vu_conn conn;
	const struct vu_server_ops *ops;
	void *arg;
	struct mp_server mp;
	bool versioned, attached;
	uint32_t rmio;			/* agreed version, 0: none */
	uint32_t lines;			/* logged at once */
	uint64_t line_at;		/* the last of them, in ms */
	uint32_t unlogged;		/* refusals since */
	uint32_t regions, irqs;
	char reason[160];
	uint8_t *data;			/* of a read reply; VU_MAX_XFER bytes once there was one */
	/* The reply being made, besides data. */
	union {
		struct vu_version version;
		struct vu_dma_unmap dma_unmap;
		struct vu_device_info device_info;
		struct vu_region_info region_info;
		struct vu_irq_info irq_info;
		struct vu_region_access access;
	} reply;
	uint32_t reply_len, data_len;
	const char *why;		/* the command is being refused */
	char why_at[320];		/* what why points to, with an address in it */
	bool close;			/* after the reply */
};

const char *vu_cmd_name(uint16_t cmd);

/* Do it.  0 with the reply filled in; -errno, with s->why unless the device refused. */
int vu_command(struct vu_server *s, struct vu_msg *m);

#endif
