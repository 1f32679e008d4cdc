/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_DEV_TYPE_USER: a device whose emulation is in another process.
 *
 * The data path: user_dev.c (which range) -> user_map.c (shadow or device) ->
 * user_lane.c (ring, order, wake-ups) -> user_slave.c (the device process).  What a
 * vCPU has to wait for it waits for in user_exit.c, outside of every lock but its own.
 */
#ifndef __KVM_USER_DEV_H
#define __KVM_USER_DEV_H

#include <linux/kvm_host.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/rcuwait.h>
#include <kvm/iodev.h>
#include <rmio/abi.h>

/* Zeroed memory, accounted, that a process may map too (user_mem.c). */
struct kvm_user_mem {
	struct page **pages;
	unsigned long nr;
	void *addr;
};

int kvm_user_mem_init(struct kvm_user_mem *m, u64 size);
void kvm_user_mem_free(struct kvm_user_mem *m);
/* All of it or its beginning; for reading only, then and later, unless @write. */
int kvm_user_mem_map(const struct kvm_user_mem *m, struct vm_area_struct *vma, bool write);

/* A shadow image; the map in force and each mapping hold a reference (user_map.c). */
struct kvm_user_image {
	struct kref ref;
	u64 size;
	struct kvm_user_mem mem;
};

struct kvm_user_image *kvm_user_image_new(u64 size);
void kvm_user_image_put(struct kvm_user_image *image);

/* The compiled access map: immutable, replaced as a whole under kvm->srcu. */
struct kvm_user_map {
	struct kvm_user_image *image;	/* NULL: no shadow */
	struct rcu_head unused;		/* once it is replaced, */
	struct completion gone;		/* until no vCPU uses it */
	struct kvm_user_map *next;	/* in ud->stale */
	u32 nr;
	struct rmio_area areas[] __counted_by(nr);
};

struct kvm_user_lane;

enum kvm_user_verdict {
	KVM_USER_DEVICE,	/* the device answers or takes it */
	KVM_USER_SHADOW,	/* load: the shadow answers */
	KVM_USER_POST,		/* store: posted */
	KVM_USER_THROUGH,	/* store: posted, and written to the shadow */
	KVM_USER_SYNC,		/* store: the vCPU waits */
};

struct kvm_user_decision {
	enum kvm_user_verdict verdict;
	bool relaxed;
	bool refused_size;
	u64 shadow;		/* where in the image */
};

/* Copied from the device process, for kvm_user_map_compile() to check. */
struct kvm_user_map *kvm_user_map_copy(const struct rmio_area __user *areas, u32 nr);
int kvm_user_map_compile(struct kvm_user_map *map, struct kvm_user_image *image);
void kvm_user_map_free(struct kvm_user_map *map);
/* Does an area of this range id lie beyond len?  For a range that shrinks. */
bool kvm_user_map_exceeds(const struct kvm_user_map *map, u32 id, u64 len);
void kvm_user_map_load(const struct kvm_user_map *map, struct kvm_user_lane *lane, u32 id,
		       u64 offset, int len, struct kvm_user_decision *d);
void kvm_user_map_store(const struct kvm_user_map *map, u32 id, u64 offset, int len,
			struct kvm_user_decision *d);
u64 kvm_user_image_read(const struct kvm_user_image *image, u64 at, int len);
void kvm_user_image_write(struct kvm_user_image *image, u64 at, u64 data, int len);

/* One vCPU's pair of ring and reply slot (user_lane.c). */
struct kvm_user_lane {
	/* Producer: the vCPU's thread alone. */
	u64 tail;
	u64 done;		/* the last valid value of up->done */
	struct rmio_down_lane *down;
	struct rmio_request *slots;
	struct rmio_up_lane *up;
	struct rcuwait wait;	/* the vCPU, in user_exit.c */
	u32 kicked;		/* its wait, or the next one, is to end */
	u32 hit;		/* the area of the last load */
	u64 buried;		/* up to here it is counted what a dead device left */
	unsigned long until;	/* when it has slept too long, in jiffies; 0: it does not */
	u32 sleeps;		/* of the vCPU: need_wake's last number */
	u32 poll_ns;		/* how long it looks before it sleeps */

	/* Consumer for read() and write() of the slave: under io_lock. */
	u64 taken;
	u64 answer;		/* to the load or synchronous store with this number: */
	u64 answered;		/* an older one has been given up */
	u8 *sent;		/* by slot: what has been read and not completed */
};

enum kvm_user_io { KVM_USER_IO_NONE, KVM_USER_IO_READS, KVM_USER_IO_MAPPED };

struct kvm_user_dev {
	struct kvm *kvm;	/* while the master lives; under lock */
	struct kref ref;	/* master, slave, ranges, a waiting vCPU */
	u64 timeout;		/* ns */
	u32 state;		/* enum rmio_kvm_state */
	u32 nr_lanes, slots;
	u64 stride;
	struct kvm_user_mem down, up;
	struct rmio_down_hdr *down_hdr;
	struct rmio_up_hdr *up_hdr;
	struct kvm_user_lane *lanes;

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

	struct timer_list watchdog;		/* at the first lane's time, or before */
	wait_queue_head_t poll;			/* the device process */
	u32 rung;				/* its need_wake last rung for */
	struct eventfd_ctx *died;
	bool has_slave;

	struct mutex io_lock;			/* the slave's read() and write() */
	int io;					/* enum kvm_user_io: the first use decides */
	u32 next_lane;				/* whose turn it is */
};

/*
 * BPF (user_bpf.c): a struct_ops that is bound to one device.  Callbacks are asked once an
 * access, by the vCPU's thread, below RCU; either may be missing.
 */
struct kvm_user_ops {
	/* enum rmio_kvm_answer */
	int (*load)(u32 range_id, u64 offset, u32 len, u32 vcpu);
	int (*store)(u32 range_id, u64 offset, u32 len, u32 vcpu, u64 data);
	s32 master;		/* the device, as a descriptor of who attaches it */
	struct kvm_user_dev *ud; /* while it is attached */
};

#ifdef CONFIG_KVM_USER_BPF
/* Is any device of the host asked about?  Others pay for a branch that is not there. */
DECLARE_STATIC_KEY_FALSE(kvm_user_asked);
/* In the order of the callbacks' arguments: most are where they belong. */
int __kvm_user_ask_load(u32 range_id, u64 offset, u32 len, const struct kvm_vcpu *vcpu,
			const struct kvm_user_dev *ud);
int __kvm_user_ask_store(u32 range_id, u64 offset, u32 len, const struct kvm_vcpu *vcpu,
			 u64 data, const struct kvm_user_dev *ud);
void kvm_user_bpf_detach(struct kvm_user_dev *ud);
void kvm_user_bpf_init(void);

static inline bool kvm_user_is_asked(void)
{
	return static_branch_unlikely(&kvm_user_asked);
}
#else
static inline int __kvm_user_ask_load(u32 range_id, u64 offset, u32 len,
				      const struct kvm_vcpu *vcpu, const struct kvm_user_dev *ud)
{
	return RMIO_KVM_AS_MAPPED;
}

static inline int __kvm_user_ask_store(u32 range_id, u64 offset, u32 len,
				       const struct kvm_vcpu *vcpu, u64 data,
				       const struct kvm_user_dev *ud)
{
	return RMIO_KVM_AS_MAPPED;
}

static inline bool kvm_user_is_asked(void)
{
	return false;
}

static inline void kvm_user_bpf_detach(struct kvm_user_dev *ud) { }
static inline void kvm_user_bpf_init(void) { }
#endif

/* With kvm->srcu. */
/* What the bus asked of a load that then did not come out is for no other. */
static inline void kvm_user_unask(struct kvm_vcpu *vcpu)
{
	if (kvm_user_is_asked())
		vcpu->user_wait.asked = false;
}

static inline int kvm_user_ask_load(const struct kvm_user_dev *ud, const struct kvm_vcpu *vcpu,
				    u32 range_id, u64 offset, u32 len)
{
	return kvm_user_is_asked() ? __kvm_user_ask_load(range_id, offset, len, vcpu, ud) :
				     RMIO_KVM_AS_MAPPED;
}

static inline int kvm_user_ask_store(const struct kvm_user_dev *ud, const struct kvm_vcpu *vcpu,
				     u32 range_id, u64 offset, u32 len, u64 data)
{
	return kvm_user_is_asked() ? __kvm_user_ask_store(range_id, offset, len, vcpu, data, ud) :
				     RMIO_KVM_AS_MAPPED;
}

/* The device of a master descriptor; the file keeps it. */
struct kvm_user_dev *kvm_user_dev_of(struct file *file);

struct kvm_user_range {
	struct kvm_io_device dev;
	struct kvm_user_dev *ud;
	struct rmio_pa_range at;
	struct list_head node;
};

void kvm_user_dev_put(struct kvm_user_dev *ud);
void kvm_user_dev_kill(struct kvm_user_dev *ud, u32 state);
/* The slave is in use: NEW becomes LIVE.  Any context. */
void kvm_user_dev_used(struct kvm_user_dev *ud);

static inline bool kvm_user_dev_dead(const struct kvm_user_dev *ud)
{
	return READ_ONCE(ud->state) > RMIO_KVM_LIVE;
}

int kvm_user_slave_fd(struct kvm_user_dev *ud);
void kvm_user_slave_vendor(struct module *module);

/* Lanes. */
int kvm_user_lanes_init(struct kvm_user_dev *ud);
void kvm_user_lanes_free(struct kvm_user_dev *ud);
struct kvm_user_lane *kvm_user_lane_of(struct kvm_user_dev *ud, const struct kvm_vcpu *vcpu);
/* Slots free: 0 none, -EPROTO: the device wrote nonsense. */
int kvm_user_lane_room(struct kvm_user_dev *ud, struct kvm_user_lane *lane);
/* The same with a look at how far the device has got. */
int kvm_user_lane_refresh(struct kvm_user_dev *ud, struct kvm_user_lane *lane);
/* All of the lane's requests complete?  Else as above. */
int kvm_user_lane_look(struct kvm_user_lane *lane);

static inline int kvm_user_lane_idle(struct kvm_user_lane *lane)
{
	/* The line is the device's: it is looked at only when it may matter. */
	return likely(lane->tail == lane->done) ? 1 : kvm_user_lane_look(lane);
}

u64 kvm_user_lane_push(struct kvm_user_dev *ud, struct kvm_user_lane *lane,
		       const struct rmio_request *req);
/* The vCPU is going to sleep: wake it when this time has come. */
void kvm_user_lane_until(struct kvm_user_dev *ud, struct kvm_user_lane *lane,
			 unsigned long until);
bool kvm_user_lane_reply(const struct kvm_user_lane *lane, u64 seq, u64 *data);
bool kvm_user_lane_pending(const struct kvm_user_dev *ud);
/* The device is dead: count the stores that it has left, each once. */
void kvm_user_lane_bury(struct kvm_user_dev *ud, struct kvm_user_lane *lane);
void kvm_user_lane_discarded(struct kvm_user_lane *lane, u64 stores);

static inline bool kvm_user_dev_mapped(const struct kvm_user_dev *ud)
{
	return READ_ONCE(ud->io) == KVM_USER_IO_MAPPED;
}

/* One thread writes it: the vCPU's. */
static inline void kvm_user_count(u64 *counter)
{
	WRITE_ONCE(*counter, *counter + 1);
}

static inline u64 kvm_user_ones(int len)
{
	return len == 8 ? ~0ull : (1ull << (8 * len)) - 1;
}

struct kvm_user_range *kvm_user_range_find(struct kvm *kvm, bool io, u64 addr);

int kvm_user_access(struct kvm_user_dev *ud, struct rmio_kvm_access *a);

#endif
