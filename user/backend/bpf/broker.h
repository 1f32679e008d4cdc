/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Between a VMM without privileges and `rmio bpfd`, which has them: a SOCK_SEQPACKET
 * connection, one request and one answer at a time, descriptors with the answer.  The
 * program that the broker loads for a connection sees only the threads of the process
 * that connected.  Beside the data path.
 */
#ifndef RMIO_BACKEND_BPF_BROKER_H
#define RMIO_BACKEND_BPF_BROKER_H

#include "program.h"
#include "wire/procfs.h"

enum rmio_broker_type {
	RMIO_BROKER_LOAD	= 1,	/* {a: vCPUs, b: signal}; first, and once */
	RMIO_BROKER_DEVICE	= 2,	/* {a: lanes, b: slots}; descriptors: down, up, lanes */
	RMIO_BROKER_IMAGE	= 3,	/* {size}; descriptor: shadow image */
};

struct rmio_broker_request {
	uint32_t magic;		/* RMIO_ABI_MAGIC */
	uint16_t version;	/* RMIO_ABI_VERSION */
	uint16_t type;		/* enum rmio_broker_type */
	uint32_t a, b;
	uint64_t size;
};
_Static_assert(sizeof(struct rmio_broker_request) == 24, "rmio_broker_request size");

struct rmio_broker_answer {
	uint32_t magic;
	uint16_t version;
	uint16_t by_id;		/* LOAD: threads are known by number */
	int32_t error;		/* 0 or -errno */
	char why[244];		/* of an error; ends with a 0 */
};
_Static_assert(sizeof(struct rmio_broker_answer) == 256, "rmio_broker_answer size");

/* The descriptors of a loaded program: the maps, in this order, the link, a program. */
enum rmio_bpf_fd {
	RMIO_BPF_FD_THREADS,
	RMIO_BPF_FD_THREAD_IDS,
	RMIO_BPF_FD_STRAYS,
	RMIO_BPF_FD_VCPUS,
	RMIO_BPF_FD_REGS,
	RMIO_BPF_FD_ZONES,
	RMIO_BPF_FD_PAGES,
	RMIO_BPF_FD_SLEEPERS,
	RMIO_BPF_FD_DOWNS,
	RMIO_BPF_FD_UPS,
	RMIO_BPF_FD_SHADOWS,
	RMIO_BPF_FD_LANES,
	RMIO_BPF_MAPS,
	RMIO_BPF_FD_LINK = RMIO_BPF_MAPS,
	RMIO_BPF_FD_THREAD,	/* program rmio_thread */
	RMIO_BPF_FDS,
};

/* -- loader.c: what needs privileges; in the VMM or in the broker -------------------- */

struct rmio_bpf_object;

struct rmio_bpf_load {
	uint32_t vcpus;
	uint32_t kick_signal;
	const struct rmio_process *vmm;	/* whose threads; NULL: this process */
};

/* As rmio_bpf_new. */
int rmio_bpf_object_new(const struct rmio_bpf_load *l, struct rmio_bpf_object **o, char *why,
			size_t len);
void rmio_bpf_object_free(struct rmio_bpf_object *o);
/* They stay the object's. */
void rmio_bpf_object_fds(const struct rmio_bpf_object *o, int fds[RMIO_BPF_FDS]);
/* The program's descriptor, the object's too. */
int rmio_bpf_object_prog(const struct rmio_bpf_object *o);
bool rmio_bpf_object_by_id(const struct rmio_bpf_object *o);

/* down, up, lanes: the caller's.  0 or -errno, then none. */
int rmio_bpf_object_device(const struct rmio_bpf_object *o, uint32_t lanes, uint32_t slots,
			   int fds[3]);
/* A descriptor or -errno. */
int rmio_bpf_object_image(uint64_t size);

/* Bytes of such a device, of all three; 0: no such number of lanes or slots. */
uint64_t rmio_bpf_device_size(uint32_t lanes, uint32_t slots);

/* -- broker.c: the VMM's end ---------------------------------------------------------- */

/* A connection; -errno. */
int rmio_broker_connect(const char *path);
/* One request; @nfds descriptors in fds.  0 or -errno, then *why has a line if @why. */
int rmio_broker_ask(int fd, const struct rmio_broker_request *r, struct rmio_broker_answer *a,
		    int *fds, uint32_t nfds);

#endif
