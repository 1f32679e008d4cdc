/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Inside the BPF program of a VM: what program.c, its tables, and slots.c, its devices, share.
 */
#ifndef RMIO_BACKEND_BPF_PROGRAM_PRIV_H
#define RMIO_BACKEND_BPF_PROGRAM_PRIV_H

#include "broker.h"

#include <pthread.h>

#define RMIO_BPF_BATCH	32u	/* devices put into the tables at once */

/* Devices made ahead, and places of those that are gone. */
struct rmio_bpf_slots {
	pthread_mutex_t lock;		/* held while the kernel waits for a grace period */
	bool batches;			/* it waits once for all of a batch */
	uint32_t made;			/* devices so far */
	struct rmio_bpf_dev spare[RMIO_BPF_BATCH];
	uint32_t spares;
	uint32_t stale[RMIO_BPF_BATCH];	/* whose arrays are still in the tables */
	bool stale_image[RMIO_BPF_BATCH];
	uint32_t nr_stale;
	uint64_t stale_bytes;
	int nothing[2];			/* an array to put in their place: pages, lanes; -1 */
};

struct rmio_bpf {
	struct rmio_bpf_object *object;	/* loaded here; NULL: */
	int broker;			/* by who answers there; -1 */
	int fd[RMIO_BPF_FDS];		/* the object's, or ours */
	bool by_id;
	struct rmio_bpf_vcpu *state;
	uint64_t state_size;
	struct ring_buffer *sleepers;
	void (*wake)(void *arg, uint32_t slot);
	void *wake_arg;
	uint32_t vcpus;
	pthread_mutex_t lock;		/* of what follows, and of the broker's connection */
	uint64_t used[RMIO_BPF_DEVS / 64];
	struct rmio_bpf_slots slots;
};

void rmio_bpf_slots_init(struct rmio_bpf *b);
void rmio_bpf_slots_exit(struct rmio_bpf *b);

#endif
