/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What the files of a slave share: the object, which belongs to one thread at a time.  slave_open.c
 * calls slave.c, and that slave_ctrl.c.
 */
#ifndef RMIO_DEVICE_SLAVE_PRIV_H
#define RMIO_DEVICE_SLAVE_PRIV_H

#include "ring.h"
#include "slave.h"
#include "wake.h"

/* One entry of the sent queue. */
struct sent {
	uint64_t data;
	bool waited_for;	/* a load or synchronous store: the reply slot is due */
	bool answered;
};

struct lane {
	struct rmio_cons cons;
	struct rmio_answer answer;
	struct sent *sent;	/* slots_nr of them, made when first used */
	bool broken;
	bool touched;		/* replies came for it in this rmio_slave_write */
	struct lane *next;	/* touched before it */
	uint64_t pad[2];	/* to a power of two: the place of a lane is found by a shift */
};
_Static_assert(sizeof(struct lane) == 128, "lane size");

struct rmio_slave {
	int chan;
	bool kernel;		/* it is the kernel device's, not a socket */
	bool gone;		/* the master closed */
	uint32_t nr_lanes;
	uint32_t ring_slots;
	const struct rmio_down_hdr *down;
	struct rmio_up_hdr *up;
	size_t down_size, up_size;
	struct rmio_bell_in bell;
	struct rmio_up_words *up_words;	/* NULL: "up" holds the words */
	const struct rmio_down_words *down_words;
	int posted;		/* eventfd for stores that KVM has taken; -1 none, or given away */
	struct rmio_spin spin;
	uint32_t turn;		/* lane to begin the next read with */
	uint32_t last;		/* lane of the last request taken */
	void *image, *image_at;
	size_t image_size;
	uint64_t image_asked;	/* size that was asked for, in whole pages */
	bool asked_shadow_size, asked_shadow_ctrl;
	int shadow_size_result, shadow_ctrl_result;	/* of the kernel device */
	struct lane lanes[];
};

#endif
