/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What vm.c, range.c, master.c, control.c and vcpu.c share: the VMM side.
 *
 * Locks, in the order in which they are taken:
 *   vm->control  serving slaves, the list of masters
 *   vm->lock     whoever changes what vCPUs look at
 *   vcpu->lock   one for each vCPU: what it looks at during an access
 *
 * A vCPU takes its own lock alone, uncontended but for changes; whoever
 * changes ranges, maps, images or states holds vm->lock and the locks of all
 * vCPUs (rmio_vm_freeze).  No vCPU holds its lock while it waits for a device.
 */
#ifndef RMIO_USER_VM_H
#define RMIO_USER_VM_H

#include "backend/bpf/program.h"
#include "ring.h"
#include "shadow.h"
#include "wake.h"
#include <pthread.h>
#include <rmio/vmm.h>
#include <stdbool.h>

/* A placed range, in the table of its bus, sorted by address. */
struct range {
	uint64_t addr;
	uint64_t last;		/* address of the last byte: the end may be 2^64 */
	uint32_t id;
	struct rmio_master *master;
};

struct range_table {
	struct range *ranges;
	size_t nr;
};

#define RMIO_BUSES 2

struct access {
	bool store;
	uint32_t bus;
	uint64_t addr;
	uint32_t len;		/* 1, 2, 4 or 8 */
	uint64_t data;
};

/* An access that was interrupted, to be taken up again by the same call. */
struct pending {
	bool active;
	bool store;
	uint32_t bus;
	uint64_t addr;
	uint32_t len;
	uint32_t done;			/* bytes answered or stored already */
	uint64_t data;			/* loads: gathered so far */
	struct rmio_master *waiting;	/* a request is in its ring; NULL: freed since */
	uint64_t seq;			/* of that request; 0: none; of a kernel device 1 */
	uint64_t waited;		/* ns, in the waits that were interrupted */
};

/* Begins on a line of its own: its thread writes to it at each access. */
struct rmio_vcpu {
	_Alignas(RMIO_LINE) struct rmio_vm *vm;
	uint32_t index;
	pthread_mutex_t lock;
	struct rmio_spin spin;
	struct rmio_sleeper sleeper;
	uint32_t event;			/* changes when the vCPU has to look up */
	uint32_t kicks;			/* changes when it was kicked */
	uint32_t kicks_seen;
	int kick_at;			/* see wake.h */
	uint32_t kicking;
	volatile uint8_t *immediate_exit;	/* kvm_run's, during rmio_vcpu_exit */
	struct rmio_master *inside;	/* waits for this one; guarded by lock */
	bool left_dead;			/* has left a dead one; guarded by lock */
	size_t hit[RMIO_BUSES];		/* index of the range of the last access */
	struct pending pending;
	uint32_t io_done;		/* string I/O: items done before an interruption */
	uint64_t straddled;

	/* With the bpf back end (capture.c); the vCPU's thread alone. */
	/* What the program notes for this vCPU; comes when that is loaded. */
	struct rmio_bpf_vcpu *volatile capture;
	const void *volatile bound_at;	/* by the thread whose mark is there; vm->lock */
	pid_t tid;			/* of that thread, as is: */
	int pidfd;
	bool settling;			/* the last call was interrupted: no KVM_RUN since */
	struct {			/* stored by a thread that was not bound, to be posted */
		uint32_t thread;	/* its number, for the program */
		uint32_t piece, pieces;	/* under way, and how many there are */
		uint32_t entry, done;	/* in the piece; bytes of the entry */
		bool here;		/* the piece is: */
		struct rmio_bpf_stray note;
	} stray;
};

struct rmio_vm {
	uint32_t max_vcpus;
	uint32_t flags;
	void (*dead)(void *arg, struct rmio_master *m, enum rmio_state why, const char *reason);
	void *arg;

	pthread_mutex_t control;
	struct rmio_master *masters;
	uint64_t next_id;
	int epoll;
	int stop;			/* eventfd */
	pthread_t thread;
	bool threaded;

	pthread_mutex_t lock;
	pthread_cond_t left;		/* a vCPU has left a dead master */
	struct range_table tables[RMIO_BUSES];
	uint64_t moves;			/* changes of the tables so far */
	uint32_t lanes_used;
	struct rmio_vcpu **vcpus;	/* max_vcpus of them */

	bool kdev;			/* KVM has the device; set before the first master */
	struct rmio_bpf *bpf;		/* NULL: not loaded; before the first master that has it */
	struct rmio_kvm *kvm;
	char why_kvm[160];		/* why there is no kvm back end */
	char why[512];			/* why there is no bpf back end */
	struct rmio_master *captured[RMIO_BPF_DEVS];	/* by slot; changed with the VM frozen */
};

struct rmio_master {
	struct rmio_vm *vm;
	struct rmio_master *next;
	uint64_t id;			/* names it in epoll events */
	char *name;
	void *arg;
	int chan;			/* our end of the slave descriptor; -1 before */
	int down_fd, up_fd;
	struct rmio_kdev *kdev;		/* a kernel device; down, up and lanes are to be read */
	struct rmio_bpf_dev *bpf;	/* its lanes are BPF arrays; NULL: memfds */
	int posted;			/* eventfd that KVM signals; -1 */
	struct rmio_down_words *down_words;	/* with arrays */
	const struct rmio_up_words *up_words;
	int down_words_fd, up_words_fd;
	struct rmio_kvm_plan *plan;	/* with the bpf back end */
	uint32_t reserve;		/* slots of a lane that stay free for the program */
	bool array;			/* the image is one that the BPF program can write */

	/* Changed with the VM frozen, read under any vCPU's lock. */
	uint32_t state;		/* enum rmio_state */
	uint32_t told;		/* of a kernel device: it is dead, and dead() has returned */
	uint64_t timeout_ns;
	struct rmio_map *map;
	void *image;
	uint64_t image_size;
	uint64_t array_bytes;	/* of all images that were arrays; vm->control */

	struct rmio_down_hdr *down;
	const struct rmio_up_hdr *up;
	uint64_t down_size, up_size;
	struct rmio_bell_out bell;
	/* Each touched by its vCPU, under its lock; on lines that no other vCPU reads. */
	_Alignas(RMIO_LINE) struct rmio_prod lanes[];
};

static inline bool rmio_state_dead(uint32_t s)
{
	return s >= RMIO_STATE_CLOSED;
}

/* vm.c */
/* Zeroed, on lines of its own; @size a multiple of RMIO_LINE.  To be freed with free(3). */
void *rmio_vm_alloc(size_t size);
void rmio_vm_freeze(struct rmio_vm *vm);
void rmio_vm_thaw(struct rmio_vm *vm);

/* range.c */
enum range_match { RANGE_NONE, RANGE_HIT, RANGE_STRADDLE };
/* Under the vCPU's lock.  *hit: the index to try first, updated. */
enum range_match rmio_range_find(const struct range_table *t, uint64_t addr, uint32_t len,
				 size_t *hit, const struct range **range);
/* All ranges of @m go away; with the VM frozen. */
void rmio_range_drop(struct rmio_vm *vm, const struct rmio_master *m);
/* Does @map fit the ranges that @m has?  With vm->lock held. */
int rmio_range_check_map(const struct rmio_vm *vm, const struct rmio_master *m,
			 const struct rmio_map *map);

/* master.c */
/* No locks held but vm->control at most.  Only the first call does something. */
void rmio_master_kill(struct rmio_master *m, enum rmio_state why, const char *reason);

/* control.c */
#define RMIO_CONTROL_PLAN (UINT64_MAX - 1)	/* of rmio_kvm.changed in epoll events */
#define RMIO_CONTROL_SLEEPERS (UINT64_MAX - 2)	/* of those whom the BPF program tells of */
int rmio_control_start(struct rmio_vm *vm);
void rmio_control_stop(struct rmio_vm *vm);
/* What the kernel says of devices and nobody has been told; vm->control not held. */
void rmio_control_news(struct rmio_vm *vm);
/* True when the slave's end of @chan is closed. */
bool rmio_control_hung_up(int chan);

/* wait.c */
struct until {
	struct rmio_prod *lane;
	uint64_t seq;		/* the reply to this request, or 0: */
	uint64_t done;		/* requests complete up to here; also when to be woken */
	uint64_t least;		/* without seq: when the time is up, this will do */
	uint64_t data;		/* of the reply */
	uint64_t seen;		/* without seq: how far they are complete, checked */
};
/*
 * No locks held; v->inside keeps the master alive.  0; -EINTR; -ENODEV: the
 * device is dead, or this wait has just declared it so.
 */
int rmio_vcpu_wait(struct rmio_vcpu *v, struct rmio_master *m, struct until *u, uint64_t timeout);

/* access.c */
/* 0; -EINTR; -EOPNOTSUPP in no range; -EXDEV partly in one. */
int rmio_access_piece(struct rmio_vcpu *v, struct access *a);
/*
 * Wait until the vCPU's lane of @m has room, and see that the device knows what is in
 * it.  With v->lock held, and let go of while waiting.  0, -EINTR, -ENODEV.
 */
int rmio_access_room(struct rmio_vcpu *v, struct rmio_master *m);

/* capture.c */
/*
 * After each KVM_RUN: what the program asks for, such as waiting for room.  0 or -EINTR
 * (again, later).
 */
int rmio_capture_settle(struct rmio_vcpu *v, struct kvm_run *run);
/* Before KVM_RUN: the calling thread is about to run this vCPU.  As above. */
int rmio_capture_enter(struct rmio_vcpu *v, struct kvm_run *run);
/* Was the store of this exit delivered by the program already?  Then its device is awake. */
bool rmio_capture_took(struct rmio_vcpu *v, uint64_t addr, uint32_t len);
void rmio_capture_unbind(struct rmio_vcpu *v);

/* vcpu.c: m is about to be freed. With the VM frozen. */
void rmio_vcpu_forget(struct rmio_vcpu *vcpu, const struct rmio_master *m);

#endif
