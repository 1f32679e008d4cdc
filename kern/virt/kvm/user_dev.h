/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_DEV_TYPE_USER: a device whose emulation is in another process.
 *
 * The data path: user_range.c (which range) -> user_map.c (shadow or device) -> user_lane.c
 * (ring, order, wake-ups) -> user_slave.c (the device process).  What a vCPU has to wait for
 * it waits for in user_exit.c, outside of every lock but its own.
 *
 * Calls go one way: each file may call those before it, of user_mem.c, user_map.c, user_lane.c,
 * user_dev.c, user_range.c, user_slave.c, user_exit.c, user_master.c; user_bpf.c is asked by
 * ranges and exits, and calls user_dev.c.
 */
#ifndef __KVM_USER_DEV_H
#define __KVM_USER_DEV_H

#include <linux/kvm_host.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <kvm/iodev.h>
#include <rmio/abi.h>

#include "user_lane.h"
#include "user_map.h"

struct kvm_user_ops;

struct kvm_user_dev {
	/* First, so that a lane's functions get the pointer that their callers have. */
	struct kvm_user_lanes lanes;
	struct kvm *kvm;	/* while the master lives; under lock */
	struct kref ref;	/* master, slave, ranges, a waiting vCPU */
	u64 timeout;		/* ns */

	struct kvm_user_map __rcu *map;		/* kvm->srcu */
	struct kvm_user_map *stale;		/* which nobody waited for; under leaf */
	struct kvm_user_ops __rcu *ops;		/* NULL: nobody is asked */
	/*
	 * Nobody touches user memory or calls mmap with this lock, or with slots_lock, which
	 * comes after it: vCPUs take mmap_lock where SRCU waits for them.
	 */
	struct mutex lock;			/* control: map, rings, slave; image's writers */
	spinlock_t leaf;			/* image's readers; died; stale */
	struct kvm_user_image *image;		/* the newest */
	struct list_head ranges;		/* under kvm->slots_lock */
	u32 nr_ranges;

	struct eventfd_ctx *died;
	bool has_slave;

	struct mutex io_lock;			/* the slave's read() and write() */
	u32 next_lane;				/* whose turn it is */
};

#define KVM_USER_TIMEOUT	(5ull * NSEC_PER_SEC)

/* user_dev.c: its life. */
struct kvm_user_dev *kvm_user_dev_new(struct kvm *kvm);
void kvm_user_dev_put(struct kvm_user_dev *ud);
void kvm_user_dev_kill(struct kvm_user_dev *ud, u32 state);
/* The slave is in use: NEW becomes LIVE.  Any context. */
void kvm_user_dev_used(struct kvm_user_dev *ud);
/* Who is told of both: an eventfd, or -1. */
int kvm_user_dev_tell(struct kvm_user_dev *ud, int fd);
/* The device of a master descriptor; the file keeps it. */
struct kvm_user_dev *kvm_user_dev_of(struct file *file);
int kvm_user_dev_register(struct kvm_device_ops *master);
void kvm_user_dev_unregister(void);

static inline bool kvm_user_dev_dead(const struct kvm_user_dev *ud)
{
	return kvm_user_lanes_dead(&ud->lanes);
}

/* user_range.c: where it is on KVM's buses. */
struct kvm_user_range {
	struct kvm_io_device dev;
	struct kvm_user_dev *ud;
	struct rmio_pa_range at;
	struct list_head node;
};

int kvm_user_range_set(struct kvm_user_dev *ud, const struct rmio_pa_range *at);
void kvm_user_ranges_remove(struct kvm_user_dev *ud);
/* The range that an address lies in, with kvm->srcu held. */
struct kvm_user_range *kvm_user_range_find(struct kvm *kvm, bool io, u64 addr);

/* user_slave.c: the device process's descriptor. */
int kvm_user_slave_fd(struct kvm_user_dev *ud);
void kvm_user_slave_vendor(struct module *module);

/* user_exit.c: accesses that a vCPU waits for; KVM_RUN's are in <linux/kvm_user_wait.h>. */
int kvm_user_access(struct kvm_user_dev *ud, struct rmio_kvm_access *a);

#endif
