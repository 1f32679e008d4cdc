/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The BPF program of a VM (bpf/mmio_filter.bpf.c): loaded, attached, told which
 * threads are vCPUs, which stores KVM takes, and where each device's lanes are.
 * Beside the data path; what the program does in it is described there.
 *
 * Who may call what: _reg_, _zone_, _page_ and _dev_shadow from one thread at a time;
 * _dev_new, _dev_free and _shadow_new from any; the others from the thread that they are
 * about.
 */
#ifndef RMIO_BACKEND_BPF_PROGRAM_H
#define RMIO_BACKEND_BPF_PROGRAM_H

#include "mmio_filter.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rmio_bpf;
struct rmio_bpf_dev;

struct rmio_bpf_opts {
	uint32_t vcpus;
	uint32_t kick_signal;
	const char *broker;	/* socket of `rmio bpfd`, which loads for us; NULL: here */
};

/*
 * Load and attach.  @why, of @len bytes: what is missing, in a line, when it fails.
 * 0, -ENOTSUP (built without, or the kernel lacks something), -EPERM, -ENOMEM, -EACCES
 * (the verifier), other -errno of bpf(2).
 */
int rmio_bpf_new(const struct rmio_bpf_opts *opts, struct rmio_bpf **b, char *why, size_t len);
void rmio_bpf_free(struct rmio_bpf *b);

/* The kernel's account of the program: runs and ns are 0 unless it keeps one.  0, -errno. */
int rmio_bpf_program(const struct rmio_bpf *b, uint32_t *id, uint64_t *runs, uint64_t *ns);

/*
 * @map is called with the name and id of each map that the program has for all devices, or (@d)
 * for that one, until it returns non-zero.  0, what it returned, -errno.
 */
int rmio_bpf_maps(const struct rmio_bpf *b, const struct rmio_bpf_dev *d,
		  int (*map)(void *arg, const char *name, uint32_t id), void *arg);

/*
 * Devices that sleep although stores have come: a descriptor to poll for POLLIN, and @wake
 * called for each device slot that has been told since.  From one thread at a time.
 */
int rmio_bpf_sleepers_fd(const struct rmio_bpf *b);
void rmio_bpf_sleepers(struct rmio_bpf *b, void (*wake)(void *arg, uint32_t slot), void *arg);

/* The private state of a vCPU. */
struct rmio_bpf_vcpu *rmio_bpf_vcpu(struct rmio_bpf *b, uint32_t vcpu);

/*
 * The calling thread is @vcpu from now on.  *pidfd belongs to the caller: -1, or this
 * thread's from when it was another vCPU.  On failure it is no vCPU, and *pidfd -1.
 */
int rmio_bpf_thread_bind(struct rmio_bpf *b, uint32_t vcpu, pid_t *tid, int *pidfd);
void rmio_bpf_thread_unbind(struct rmio_bpf *b, pid_t tid, int pidfd);
/*
 * What the calling thread stored while it was not bound; needs neither memory nor a
 * descriptor.  Pieces from 0 on, until one is missing.
 */
uint32_t rmio_bpf_thread_number(struct rmio_bpf *b);
bool rmio_bpf_stray(struct rmio_bpf *b, uint32_t number, uint32_t piece, struct rmio_bpf_stray *s);
void rmio_bpf_stray_done(struct rmio_bpf *b, uint32_t number, uint32_t piece);

/* -- one device -------------------------------------------------------------- */

struct rmio_bpf_dev {
	uint32_t slot;			/* in the tables of maps */
	int down_fd, up_fd, lanes_fd;
	void *down;			/* mapped to be written */
	const void *up;			/* mapped to be read */
	struct rmio_bpf_lane *lanes;	/* by vCPU, mapped to be written */
	uint64_t down_size, up_size, lanes_size;
	uint32_t slots;
	uint32_t lane_pages;
	bool image;			/* that the program writes to */
};

/* 0, -ENOSPC (RMIO_BPF_DEVS), -EPERM, -ENOMEM, -E2BIG, other -errno of bpf(2). */
int rmio_bpf_dev_new(struct rmio_bpf *b, uint32_t lanes, uint32_t slots, struct rmio_bpf_dev *d);
void rmio_bpf_dev_free(struct rmio_bpf *b, struct rmio_bpf_dev *d);

/* An image that the program can write; the descriptor belongs to the caller. */
int rmio_bpf_shadow_new(struct rmio_bpf *b, uint64_t size);
/* The program writes to this one from now on; -1: to none. */
int rmio_bpf_dev_shadow(struct rmio_bpf *b, struct rmio_bpf_dev *d, int fd);

/* -- which stores are captured -------------------------------------------------- */

int rmio_bpf_reg_set(struct rmio_bpf *b, uint64_t gpa, uint32_t len, const struct rmio_bpf_reg *to);
void rmio_bpf_reg_clear(struct rmio_bpf *b, uint64_t gpa, uint32_t len);
int rmio_bpf_zone_set(struct rmio_bpf *b, uint64_t page, const struct rmio_bpf_zone *z);
void rmio_bpf_zone_clear(struct rmio_bpf *b, uint64_t page);
/* Stores captured since these were taken (@take) last; roughly. */
uint64_t rmio_bpf_reg_hits(struct rmio_bpf *b, uint64_t gpa, uint32_t len, bool take);
uint64_t rmio_bpf_zone_hits(struct rmio_bpf *b, uint64_t page, bool take);
/* Loads of this page are timed for that device. */
int rmio_bpf_page_set(struct rmio_bpf *b, uint64_t page, uint32_t slot);
void rmio_bpf_page_clear(struct rmio_bpf *b, uint64_t page);

#endif
