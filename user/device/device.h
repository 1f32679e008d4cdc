/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Inside a device: what its files share.  Each calls those after it: description.c (what the
 * author said of it), peer.c (who is attached), requests.c (what is asked by message), ringed.c
 * (its rings), device.c (its callbacks).
 */
#ifndef RMIO_DEVICE_DEVICE_H
#define RMIO_DEVICE_DEVICE_H

#include "dma.h"
#include "irq.h"
#include "loop.h"
#include "map.h"
#include "pci_config.h"
#include "shadow.h"
#include "vu_server.h"
#include "wire/name.h"

#include <rmio/device.h>

/*
 * Requests that may be handled out of turn, to be older than the messages of one
 * turn of the socket.  More than a VMM that waits for its replies can have in its
 * rings (16 vCPUs with 4,096 slots each), and so few that one that floods them
 * holds the devices beside it up for milliseconds only.
 */
#define DRAIN_MAX	65536u

/* What the master has been asked for, one question at a time. */
enum dev_asked {
	ASKED_NOTHING,
	ASKED_SHADOW_SIZE,
	ASKED_SHADOW_CTRL,
};

struct rmio_dev {
	struct rmio_loop *loop;
	const struct rmio_dev_ops *ops;
	void *priv;
	char *name;
	struct rmio_dev_range *ranges;
	uint32_t nr_ranges;
	uint64_t dma_mask;

	/* The access map, as given and compiled; the image it points into. */
	struct rmio_area *areas;
	uint32_t nr_areas;
	struct rmio_map *map;
	char *shadow;			/* at one address for the device's life */
	size_t shadow_size;		/* bytes; mapped are whole pages */

	bool platform;			/* not PCI: no configuration space */
	struct rmio_pci_config config;
	struct rmio_irqs irqs;
	struct rmio_dma dma;

	/* The peer. */
	int listen_fd;
	char *path;
	struct rmio_name own_name;	/* of the socket that we put there */
	struct rmio_watch *listen_watch;
	struct rmio_timer listen_again;	/* after accept(2) failed */
	bool connected;
	bool bad_logged;		/* a request out of its range: once a peer */
	bool no_fd_logged;		/* memory without a descriptor: once a peer */
	struct vu_server *vu;
	bool vu_busy;			/* inside of it: it may not be freed */
	int vu_doomed;			/* why it has to be, afterwards; 0 */
	struct rmio_watch *vu_in, *vu_out;
	struct rmio_timer vu_again;	/* messages that wait for their turn */
	struct rmio_timer vu_stuck;	/* to see whether the peer reads its replies */
	uint64_t vu_stuck_ns, vu_taken;
	struct rmio_src src;		/* src.slave NULL: no rings */
	void (*rings_gone)(struct rmio_dev *dev, int err);	/* as in rmio_dev_attach */
	void (*slave_gone)(struct rmio_dev *dev, int err);	/* the same, for rings to come */
	struct rmio_watch *slave_watch;
	enum dev_asked asked;
	bool map_live;			/* the master uses the map above */
	struct rmio_map *map_was;	/* not live: the one that it uses until then; NULL: none */
	bool map_due;			/* it must be asked again */
	struct rmio_timer ask_again;	/* for an image that could not be passed */
	uint32_t asked_again;
	struct rmio_timer answer;	/* to what has been asked is there */
	bool redelivered;		/* the request under way */
	uint32_t drain_left;
	uint64_t refused;		/* accesses */
};

/* -- device.c ------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3)))
void rmio_dev_log(struct rmio_dev *dev, const char *fmt, ...);

/* One access, checked: len 1, 2, 4, 8 and inside the range, or refused. */
uint64_t rmio_dev_do_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len,
			  bool ask_map);
void rmio_dev_do_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		       uint32_t len, bool ask_map);
const struct rmio_dev_range *rmio_dev_range(const struct rmio_dev *dev, uint32_t id);
void rmio_dev_do_reset(struct rmio_dev *dev);

/* -- ringed.c -------------------------------------------------------------------- */

/*
 * Serve a slave descriptor (taken over, also on failure).  What rmio_slave_open returns.
 * @gone: it has ended, -ECONNRESET, or has to be given up; who attached it detaches it then.
 */
int rmio_dev_attach(struct rmio_dev *dev, int fd, void (*gone)(struct rmio_dev *dev, int err));
/* Without rings from here on; what they held is handled first. */
void rmio_dev_detach(struct rmio_dev *dev);
/* Handle what is in the rings now, so that it is older than what comes next; drain_left at most. */
void rmio_dev_drain(struct rmio_dev *dev);
/* Tell the master about a new access map. */
void rmio_dev_push_map(struct rmio_dev *dev);

/* -- requests.c ------------------------------------------------------------------ */

/* What a connection asks, for vu_server_new. */
extern const struct vu_server_ops rmio_dev_vu_ops;
/* No guest memory any more; the device is told first. */
void rmio_dev_dma_gone(struct rmio_dev *dev);

/* -- peer.c ---------------------------------------------------------------------- */

void rmio_dev_peer_free(struct rmio_dev *dev);

#endif
