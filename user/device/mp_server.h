/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The commands of QEMU's multi-process protocol, for a device that vfio-user's server serves as
 * well: the same ops, asked in other words.  Memory comes as tables, BARs are found by what was
 * written to configuration space, interrupts are the pin's.  Beside the data path of rmio; the
 * data path of a stock QEMU.
 */
#ifndef RMIO_DEVICE_MP_SERVER_H
#define RMIO_DEVICE_MP_SERVER_H

#include "wire/mp_wire.h"
#include "wire/vu_msg.h"
#include "vu_server.h"

/* An entry of the last table that the device has. */
struct mp_mem {
	uint64_t gpa, size, offset;	/* size 0: none */
	uint64_t dev, ino;		/* of the file */
};

struct mp_server {
	const struct vu_server_ops *ops;
	void *arg;
	struct mp_mem mem[MP_FDS_MAX];
	uint32_t n_mem;
};

const char *mp_cmd_name(int32_t cmd);

/* Whether it is answered; -1: there is no such command, and the stream is lost. */
int mp_answered(int32_t cmd);

/*
 * Do it.  0 and the answer in *value; -errno with *why, a line for the log, or NULL where the
 * device refused: the answer is all ones then.
 */
int mp_serve(struct mp_server *s, struct vu_msg *m, uint64_t *value, const char **why);

#endif
