// SPDX-License-Identifier: GPL-2.0-only
/*
 * The master: descriptors, ranges, timeout, death.  And what KVM's buses call for each
 * access: answered here if the shadow can answer it or the ring has room for a store;
 * everything else waits in user_exit.c.
 */
#include <linux/eventfd.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>

#include "user_dev.h"

#define TIMEOUT_DEFAULT	(5ull * NSEC_PER_SEC)

/* Patching the kernel at most once a second: devices may come and go faster. */
DEFINE_STATIC_KEY_DEFERRED_FALSE(kvm_user_devs, HZ);

static void user_dev_free(struct kref *ref)
{
	struct kvm_user_dev *ud = container_of(ref, struct kvm_user_dev, ref);

	/* Nobody is left who could be reading it. */
	kvm_user_map_free(rcu_dereference_protected(ud->map, true));
	while (ud->stale) {
		struct kvm_user_map *map = ud->stale;

		ud->stale = map->next;
		kvm_user_map_free(map);
	}
	kvm_user_image_put(ud->image);
	kvm_user_lanes_free(ud);
	if (ud->died)
		eventfd_ctx_put(ud->died);
	kfree(ud);
	/* Not before: an access that was interrupted goes on until then. */
	static_branch_slow_dec_deferred(&kvm_user_devs);
}

void kvm_user_dev_put(struct kvm_user_dev *ud)
{
	kref_put(&ud->ref, user_dev_free);
}

/* The first reason stays.  Waits for nobody: a device process must be able to end. */
void kvm_user_dev_kill(struct kvm_user_dev *ud, u32 state)
{
	u32 i, old = READ_ONCE(ud->state);

	do {
		if (old > RMIO_KVM_LIVE)
			return;
	} while (!try_cmpxchg(&ud->state, &old, state));
	for (i = 0; ud->lanes && i < ud->nr_lanes; i++) {
		/* Either this sees what the vCPU has pushed, or that sees the state. */
		kvm_user_lane_bury(ud, &ud->lanes[i]);
		rcuwait_wake_up(&ud->lanes[i].wait);
	}
	wake_up_interruptible_poll(&ud->poll, EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLHUP);
	spin_lock(&ud->leaf);
	if (ud->died)
		eventfd_signal(ud->died);
	spin_unlock(&ud->leaf);
}

void kvm_user_dev_used(struct kvm_user_dev *ud)
{
	if (cmpxchg(&ud->state, RMIO_KVM_NEW, RMIO_KVM_LIVE) != RMIO_KVM_NEW)
		return;
	spin_lock(&ud->leaf);
	if (ud->died)
		eventfd_signal(ud->died);
	spin_unlock(&ud->leaf);
}

/* -- accesses ------------------------------------------------------------------- */

static struct kvm_user_range *to_range(struct kvm_io_device *dev)
{
	return container_of(dev, struct kvm_user_range, dev);
}

static bool size_ok(int len)
{
	return len <= 8 && 0x116 >> len & 1;
}

static u64 get_value(const void *val, int len)
{
	switch (len) {
	case 1:
		return *(const u8 *)val;
	case 2:
		return get_unaligned((const u16 *)val);
	case 4:
		return get_unaligned((const u32 *)val);
	default:
		return get_unaligned((const u64 *)val);
	}
}

/*
 * An access across two pages waits until both are there, and then its halves go one after the
 * other: the second may fault, or not have to wait where the first has.
 */
static bool is_split(const struct kvm_vcpu *vcpu, const struct kvm_user_range *r)
{
	return vcpu->user_wait.split && r->at.bus == RMIO_BUS_MEM;
}

/* Anything but 0 takes the vCPU out of the guest, to user_exit.c. */
static int range_read(struct kvm_vcpu *vcpu, struct kvm_io_device *dev, gpa_t addr, int len,
		      void *val)
{
	struct kvm_user_range *r = to_range(dev);
	struct kvm_user_dev *ud = r->ud;
	struct kvm_user_lane *lane = kvm_user_lane_of(ud, vcpu);
	const struct kvm_user_map *map;
	struct kvm_user_decision d;
	u64 data;

	kvm_user_unask(vcpu);
	if (!lane || !size_ok(len) || kvm_user_dev_dead(ud) || is_split(vcpu, r))
		return -EOPNOTSUPP;
	map = srcu_dereference(ud->map, &vcpu->kvm->srcu);
	kvm_user_map_load(map, lane, r->at.id, addr - r->at.addr, len, &d);
	if (d.verdict != KVM_USER_SHADOW)
		return -EOPNOTSUPP;
	/* A load completes after this vCPU's older stores to the device. */
	if (!d.relaxed && kvm_user_lane_idle(lane) != 1) {
		kvm_user_count(&lane->down->counters.ordered);
		return -EOPNOTSUPP;
	}
	switch (kvm_user_ask_load(ud, vcpu, r->at.id, addr - r->at.addr, len)) {
	case RMIO_KVM_TO_DEVICE:
		vcpu->user_wait.asked_at = addr;
		vcpu->user_wait.asked_io = r->at.bus == RMIO_BUS_IO;
		vcpu->user_wait.said = RMIO_KVM_TO_DEVICE;
		vcpu->user_wait.asked = true;
		return -EOPNOTSUPP;
	case RMIO_KVM_REFUSE:
		memset(val, 0xff, len);
		kvm_user_count(&lane->down->counters.ones);
		return 0;
	}
	data = kvm_user_image_read(map->image, d.shadow, len);
	memcpy(val, &data, len);
	kvm_user_count(&lane->down->counters.shadow);
	return 0;
}

static int range_write(struct kvm_vcpu *vcpu, struct kvm_io_device *dev, gpa_t addr, int len,
		       const void *val)
{
	struct kvm_user_range *r = to_range(dev);
	struct kvm_user_dev *ud = r->ud;
	struct kvm_user_lane *lane = kvm_user_lane_of(ud, vcpu);
	const struct kvm_user_map *map;
	struct kvm_user_decision d;
	struct rmio_request req;
	int said;

	if (!lane || !size_ok(len) || kvm_user_dev_dead(ud) || is_split(vcpu, r))
		return -EOPNOTSUPP;
	map = srcu_dereference(ud->map, &vcpu->kvm->srcu);
	kvm_user_map_store(map, r->at.id, addr - r->at.addr, len, &d);
	if (d.verdict == KVM_USER_SYNC || kvm_user_lane_room(ud, lane) <= 0)
		return -EOPNOTSUPP;
	req = (struct rmio_request){
		.offset = addr - r->at.addr,
		.data = get_value(val, len),
		.range_id = r->at.id,
		.vcpu = vcpu->vcpu_id,
		.op = RMIO_OP_STORE,
		.len = len,
	};
	said = kvm_user_ask_store(ud, vcpu, req.range_id, req.offset, len, req.data);
	if (said == RMIO_KVM_REFUSE) {
		kvm_user_lane_discarded(lane, 1);
		return 0;
	}
	/* The shadow first: what the device makes of the register is newer. */
	if (d.verdict == KVM_USER_THROUGH && said == RMIO_KVM_AS_MAPPED)
		kvm_user_image_write(map->image, d.shadow, req.data, len);
	kvm_user_lane_push(ud, lane, &req);
	kvm_user_count(&lane->down->counters.posted);
	return 0;
}

static void range_destructor(struct kvm_io_device *dev)
{
	struct kvm_user_range *r = to_range(dev);

	/* With slots_lock; a bus that cannot be shrunk destroys all that is on it. */
	list_del(&r->node);
	r->ud->nr_ranges--;
	kvm_user_dev_put(r->ud);
	kfree(r);
}

static const struct kvm_io_device_ops range_ops = {
	.read = range_read,
	.write = range_write,
	.destructor = range_destructor,
};

/* For user_exit.c: the range that an address lies in, with kvm->srcu held. */
struct kvm_user_range *kvm_user_range_find(struct kvm *kvm, bool io, u64 addr)
{
	struct kvm_io_bus *bus = srcu_dereference(kvm->buses[io ? KVM_PIO_BUS : KVM_MMIO_BUS],
						  &kvm->srcu);
	int from = 0, to = bus ? bus->dev_count : 0;
	struct kvm_user_range *r;

	/* The last that begins there or before: a range has its place for itself. */
	while (from < to) {
		int i = from + (to - from) / 2;

		if (bus->range[i].addr <= addr)
			from = i + 1;
		else
			to = i;
	}
	if (!from || bus->range[from - 1].dev->ops != &range_ops)
		return NULL;
	r = to_range(bus->range[from - 1].dev);
	return addr - r->at.addr < r->at.len ? r : NULL;
}

/* -- ranges -------------------------------------------------------------------- */

static int check_range(const struct rmio_pa_range *at)
{
	u64 last = at->addr + at->len - 1;

	if (at->bus > RMIO_BUS_IO || at->id > U16_MAX)
		return -EINVAL;
	if (!at->len)
		return 0;
	if (last < at->addr || (at->bus == RMIO_BUS_IO && last > 0xffff))
		return -EOVERFLOW;
	return at->len > INT_MAX ? -EFBIG : 0;
}

static enum kvm_bus bus_of(const struct rmio_pa_range *at)
{
	return at->bus == RMIO_BUS_IO ? KVM_PIO_BUS : KVM_MMIO_BUS;
}

/*
 * The bus adds address and length: a range up to the end of the address space, where no guest
 * gets, has a byte less there.
 */
static int bus_len(const struct rmio_pa_range *at)
{
	return at->len - !(at->addr + at->len);
}

/* Does anything else on the bus, an ioeventfd for instance, lie there? */
static bool is_taken(struct kvm *kvm, const struct rmio_pa_range *at,
		     const struct kvm_user_range *but)
{
	struct kvm_io_bus *bus = rcu_dereference_protected(kvm->buses[bus_of(at)],
							   lockdep_is_held(&kvm->slots_lock));
	int i;

	for (i = 0; bus && i < bus->dev_count; i++) {
		const struct kvm_io_range *b = &bus->range[i];
		/* One without a length takes any that begins there. */
		u64 last = b->addr + (b->len ?: 1) - 1;

		if (b->addr <= at->addr + at->len - 1 && at->addr <= last &&
		    (!but || b->dev != &but->dev))
			return true;
	}
	return false;
}

/* The other way round, for whoever comes to the bus after one of ours. */
bool __kvm_user_overlaps(const struct kvm_io_bus *bus, u64 addr, int len)
{
	u64 last = addr + (len ?: 1) - 1;
	int i;

	for (i = 0; i < bus->dev_count; i++) {
		const struct kvm_io_range *b = &bus->range[i];

		if (b->dev->ops == &range_ops && b->addr <= last && addr <= b->addr + b->len - 1)
			return true;
	}
	return false;
}

static struct kvm_user_range *range_of(struct kvm_user_dev *ud, u32 id)
{
	struct kvm_user_range *r;

	list_for_each_entry(r, &ud->ranges, node)
		if (r->at.id == id)
			return r;
	return NULL;
}

/* With kvm->slots_lock. */
static void range_remove(struct kvm_user_dev *ud, struct kvm_user_range *r)
{
	/* Returns when no vCPU is in it any more, and has freed it. */
	kvm_io_bus_unregister_dev(ud->kvm, bus_of(&r->at), &r->dev);
}

static int range_add(struct kvm_user_dev *ud, const struct rmio_pa_range *at,
		     struct kvm_user_range *old)
{
	struct kvm_user_range *r;
	int err;

	if (!old && ud->nr_ranges >= RMIO_RANGES_MAX)
		return -ENOSPC;
	if (is_taken(ud->kvm, at, old))
		return -EEXIST;
	r = kzalloc(sizeof(*r), GFP_KERNEL_ACCOUNT);
	if (!r)
		return -ENOMEM;
	kvm_iodevice_init(&r->dev, &range_ops);
	r->at = *at;
	r->ud = ud;
	/* Frees the old one, when no vCPU is in it any more. */
	err = kvm_io_bus_replace_dev(ud->kvm, old ? bus_of(&old->at) : 0, old ? &old->dev : NULL,
				     bus_of(at), at->addr, bus_len(at), &r->dev);
	if (err) {
		kfree(r);
		return err;
	}
	kref_get(&ud->ref);
	list_add(&r->node, &ud->ranges);
	ud->nr_ranges++;
	return 0;
}

/* With lock: before the first range or slave. */
static int need_lanes(struct kvm_user_dev *ud)
{
	return ud->lanes ? 0 : kvm_user_lanes_init(ud);
}

static int set_range(struct kvm_user_dev *ud, const struct rmio_pa_range *at)
{
	struct kvm_user_range *old;
	int err = check_range(at);

	if (err)
		return err;
	mutex_lock(&ud->lock);
	err = need_lanes(ud);
	if (err)
		goto unlock;
	mutex_lock(&ud->kvm->slots_lock);
	old = range_of(ud, at->id);
	if (!at->len) {
		if (old)
			range_remove(ud, old);
		else
			err = -ENOENT;
	} else if (kvm_user_map_exceeds(rcu_dereference_protected(ud->map,
						lockdep_is_held(&ud->lock)), at->id, at->len)) {
		err = -ERANGE;
	} else {
		err = range_add(ud, at, old);
	}
	mutex_unlock(&ud->kvm->slots_lock);
unlock:
	mutex_unlock(&ud->lock);
	return err;
}

/* -- the master's descriptor ----------------------------------------------------- */

static int set_rings(struct kvm_user_dev *ud, const struct rmio_kvm_rings *rings)
{
	u32 lanes, slots;
	int err = 0;

	if (!rings->lanes || rings->lanes > RMIO_LANES_MAX || rings->slots < RMIO_RING_MIN ||
	    rings->slots > RMIO_RING_MAX || !is_power_of_2(rings->slots))
		return -EINVAL;
	if ((u64)rings->lanes * rings->slots * sizeof(struct rmio_request) > RMIO_KVM_LANE_BYTES)
		return -EFBIG;
	mutex_lock(&ud->lock);
	if (ud->lanes) {
		err = -EBUSY;
	} else {
		lanes = ud->nr_lanes;
		slots = ud->slots;
		ud->nr_lanes = rings->lanes;
		ud->slots = rings->slots;
		err = need_lanes(ud);
		/* Whoever needs lanes next gets those that nobody asked for. */
		if (err) {
			ud->nr_lanes = lanes;
			ud->slots = slots;
		}
	}
	mutex_unlock(&ud->lock);
	return err;
}

static int set_eventfd(struct kvm_user_dev *ud, int fd)
{
	struct eventfd_ctx *ctx = NULL;

	if (fd >= 0) {
		ctx = eventfd_ctx_fdget(fd);
		if (IS_ERR(ctx))
			return PTR_ERR(ctx);
	} else if (fd != -1) {
		return -EBADF;
	}
	spin_lock(&ud->leaf);
	swap(ctx, ud->died);
	if (ud->died && kvm_user_dev_dead(ud))
		eventfd_signal(ud->died);
	spin_unlock(&ud->leaf);
	if (ctx)
		eventfd_ctx_put(ctx);
	return 0;
}

static int slave_fd(struct kvm_user_dev *ud)
{
	int fd = -EBUSY;

	mutex_lock(&ud->lock);
	if (!ud->has_slave)
		fd = need_lanes(ud) ?: kvm_user_slave_fd(ud);
	if (fd >= 0)
		ud->has_slave = true;
	mutex_unlock(&ud->lock);
	return fd;
}

static void end(struct kvm_user_dev *ud)
{
	kvm_user_dev_kill(ud, RMIO_KVM_CLOSED);
	mutex_lock(&ud->lock);
	mutex_lock(&ud->kvm->slots_lock);
	while (!list_empty(&ud->ranges))
		range_remove(ud, list_first_entry(&ud->ranges, struct kvm_user_range, node));
	mutex_unlock(&ud->kvm->slots_lock);
	mutex_unlock(&ud->lock);
}

static int kick(struct kvm_user_dev *ud, u32 id)
{
	struct kvm_user_lane *lane;

	/* Pairs with kvm_user_lanes_init(). */
	if (!smp_load_acquire(&ud->lanes) || id >= ud->nr_lanes)
		return -ENOENT;
	lane = &ud->lanes[array_index_nospec(id, ud->nr_lanes)];
	WRITE_ONCE(lane->kicked, 1);
	rcuwait_wake_up(&lane->wait);
	return 0;
}

static int access(struct kvm_user_dev *ud, struct rmio_kvm_access __user *argp)
{
	struct rmio_kvm_access a;
	int err;

	if (copy_from_user(&a, argp, sizeof(a)))
		return -EFAULT;
	err = kvm_user_access(ud, &a);
	if (!err && !a.store && put_user(a.data, &argp->data))
		err = -EFAULT;
	return err;
}

static long master_ioctl(struct kvm_device *dev, unsigned int cmd, unsigned long arg)
{
	struct kvm_user_dev *ud = dev->private;
	void __user *argp = (void __user *)arg;
	struct rmio_kvm_rings rings;
	struct rmio_pa_range at;
	u32 id;
	u64 ns;
	s32 fd;

	switch (cmd) {
	case KVM_DEV_USER_SLAVE_FD:
		return arg ? -EINVAL : slave_fd(ud);
	case KVM_DEV_USER_PA_RANGE:
		if (copy_from_user(&at, argp, sizeof(at)))
			return -EFAULT;
		return set_range(ud, &at);
	case KVM_DEV_USER_TIMEOUT:
		if (copy_from_user(&ns, argp, sizeof(ns)))
			return -EFAULT;
		WRITE_ONCE(ud->timeout, ns ?: TIMEOUT_DEFAULT);
		return 0;
	case KVM_DEV_USER_RINGS:
		if (copy_from_user(&rings, argp, sizeof(rings)))
			return -EFAULT;
		return set_rings(ud, &rings);
	case KVM_DEV_USER_EVENTFD:
		if (copy_from_user(&fd, argp, sizeof(fd)))
			return -EFAULT;
		return set_eventfd(ud, fd);
	case KVM_DEV_USER_ACCESS:
		return access(ud, argp);
	case KVM_DEV_USER_KICK:
		if (copy_from_user(&id, argp, sizeof(id)))
			return -EFAULT;
		return kick(ud, id);
	case KVM_DEV_USER_CLOSE:
		if (arg)
			return -EINVAL;
		end(ud);
		return 0;
	case KVM_DEV_USER_STATE:
		return put_user(READ_ONCE(ud->state), (u32 __user *)argp);
	}
	return -ENOTTY;
}

/* For counters.  No lock: the caller holds mmap_lock. */
static int master_mmap(struct kvm_device *dev, struct vm_area_struct *vma)
{
	struct kvm_user_dev *ud = dev->private;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	/* Pairs with kvm_user_lanes_init(). */
	if (!smp_load_acquire(&ud->lanes))
		return -ENXIO;
	switch ((u64)vma->vm_pgoff << PAGE_SHIFT) {
	case RMIO_KVM_MAP_DOWN:
		return kvm_user_mem_map(&ud->down, vma, false);
	case RMIO_KVM_MAP_UP:
		return kvm_user_mem_map(&ud->up, vma, false);
	}
	return -EINVAL;
}

static int user_create(struct kvm_device *dev, u32 type)
{
	struct kvm_user_dev *ud = kzalloc(sizeof(*ud), GFP_KERNEL_ACCOUNT);

	if (!ud)
		return -ENOMEM;
	kref_init(&ud->ref);
	mutex_init(&ud->lock);
	spin_lock_init(&ud->leaf);
	mutex_init(&ud->io_lock);
	init_waitqueue_head(&ud->poll);
	INIT_LIST_HEAD(&ud->ranges);
	ud->kvm = dev->kvm;
	ud->timeout = TIMEOUT_DEFAULT;
	ud->nr_lanes = RMIO_KVM_LANES;
	ud->slots = RMIO_KVM_SLOTS;
	dev->private = ud;
	WRITE_ONCE(dev->kvm->user_devs, dev->kvm->user_devs + 1);
	return 0;
}

/* Without kvm->lock. */
static void user_init(struct kvm_device *dev)
{
	static_branch_inc(&kvm_user_devs.key);
}

/* The last master descriptor is gone, with kvm->lock held, or it was never to be had. */
static void user_release(struct kvm_device *dev)
{
	struct kvm_user_dev *ud = dev->private;

	end(ud);
	kvm_user_bpf_detach(ud);
	mutex_lock(&ud->lock);
	/* Maps that a device process did not wait for are unused now. */
	srcu_barrier(&ud->kvm->srcu);
	WRITE_ONCE(ud->kvm->user_devs, ud->kvm->user_devs - 1);
	ud->kvm = NULL;
	mutex_unlock(&ud->lock);
	kvm_user_dev_put(ud);
	kfree(dev);
}

static struct kvm_device_ops user_ops = {
	.name = "kvm-user",
	.create = user_create,
	.init = user_init,
	.release = user_release,
	.ioctl = master_ioctl,
	.mmap = master_mmap,
};

struct kvm_user_dev *kvm_user_dev_of(struct file *file)
{
	struct kvm_device *dev = kvm_device_from_filp(file);

	return dev && dev->ops == &user_ops ? dev->private : NULL;
}

/* At each load of a vendor's module, which a slave is to keep: what it leaves ends with it. */
int kvm_user_dev_ops_init(struct module *module)
{
	kvm_user_slave_vendor(module);
	kvm_user_bpf_init();
	return kvm_register_device_ops(&user_ops, KVM_DEV_TYPE_USER);
}

void kvm_user_dev_ops_exit(void)
{
	kvm_unregister_device_ops(KVM_DEV_TYPE_USER);
	static_key_deferred_flush(&kvm_user_devs);
}
