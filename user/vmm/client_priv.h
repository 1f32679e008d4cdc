/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Inside a client: what client.c, the two protocols below it (client_vu.c, vfio-user;
 * client_mp.c, QEMU's multi-process) and their connection (client_conn.c) share.
 */
#ifndef RMIO_VMM_CLIENT_PRIV_H
#define RMIO_VMM_CLIENT_PRIV_H

#include "client_keep.h"
#include "wire/vu_caps.h"
#include "wire/vu_msg.h"

#include <pthread.h>
#include <rmio/vmm.h>

/* The public calls of the same names. */
struct client_ops {
	int (*device_info)(struct rmio_client *c, uint32_t *flags, uint32_t *regions,
			   uint32_t *irqs);
	int (*region_info)(struct rmio_client *c, uint32_t index, struct rmio_region_info *info);
	int (*irq_info)(struct rmio_client *c, uint32_t index, uint32_t *flags, uint32_t *count);
	int (*region_read)(struct rmio_client *c, uint32_t index, uint64_t offset, void *buf,
			   uint32_t count);
	int (*region_write)(struct rmio_client *c, uint32_t index, uint64_t offset,
			    const void *buf, uint32_t count);
	int (*dma_map)(struct rmio_client *c, uint64_t iova, uint64_t size, int fd,
		       uint64_t offset, int prot);
	int (*dma_unmap)(struct rmio_client *c, uint64_t iova, uint64_t size);
	int (*set_irqs)(struct rmio_client *c, uint32_t index, uint32_t action, uint32_t start,
			uint32_t count, const int *fds);
	int (*reset)(struct rmio_client *c);
	/* A new connection is in c->conn: all of rmio_client_reconnect.  NULL: not supported. */
	int (*reconnect)(struct rmio_client *c);
	void (*exit)(struct rmio_client *c);		/* or NULL */
};

struct client_mp;

struct region_size {
	uint32_t index;
	uint64_t size;			/* 0: no such region */
};

struct rmio_client {
	const struct client_ops *ops;
	pthread_mutex_t lock;		/* all below */
	struct vu_conn conn;
	uint64_t timeout_ns;
	struct client_keep *keep;	/* NULL: nothing is kept */
	bool replaying;			/* what is kept, to a successor */
	char *path;			/* of the socket, with that, or NULL */
	bool broken;
	uint32_t n_late;
	/* vfio-user: */
	struct vu_caps caps;		/* the device's */
	bool named;			/* caps.name stays as it is */
	uint16_t id;
	uint16_t late[CLIENT_LATE_MAX];
	struct rmio_master *master;
	struct region_size *sizes;	/* of the regions that somebody has asked for */
	uint32_t nr_sizes;
	/* Without rings (client_exit.c), beside the lock above: */
	pthread_rwlock_t places_lock;
	struct rmio_pa_range places[CLIENT_PLACES_MAX];
	uint32_t nr_places;
	/* multi-process: */
	struct client_mp *mp;
};

/* -- client_conn.c -------------------------------------------------------------- */

/* The connection is of no use any more; the device sees its end.  Returns err. */
int client_give_up(struct rmio_client *c, int err);

/* The same for what vu_conn_recv and _send return: -ECONNRESET, -EPROTO, -ENOMEM. */
int client_stream_error(struct rmio_client *c, int err);

/* Wait for the socket.  0 or -ETIMEDOUT. */
int client_wait(struct rmio_client *c, uint64_t deadline);

/* -- client_vu.c, client_mp.c ------------------------------------------------------ */

/* Negotiate, as rmio_client_new does; c->ops is set whatever is returned. */
int client_vu_start(struct rmio_client *c, const struct rmio_client_opts *o);
int client_mp_start(struct rmio_client *c);

#endif
