// SPDX-License-Identifier: GPL-2.0-only
/*
 * The master descriptor: creation, ranges, timeout, the shape of the lanes, and the end.
 * Calls everything beside it and is called by nobody but KVM.
 */
#include <linux/uaccess.h>

#include "user_bpf.h"
#include "user_dev.h"

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
	if (ud->lanes.lane) {
		err = -EBUSY;
	} else {
		lanes = ud->lanes.nr;
		slots = ud->lanes.slots;
		ud->lanes.nr = rings->lanes;
		ud->lanes.slots = rings->slots;
		err = kvm_user_lanes_need(&ud->lanes);
		/* Whoever needs lanes next gets those that nobody asked for. */
		if (err) {
			ud->lanes.nr = lanes;
			ud->lanes.slots = slots;
		}
	}
	mutex_unlock(&ud->lock);
	return err;
}

static int slave_fd(struct kvm_user_dev *ud)
{
	int fd = -EBUSY;

	mutex_lock(&ud->lock);
	if (!ud->has_slave)
		fd = kvm_user_lanes_need(&ud->lanes) ?: kvm_user_slave_fd(ud);
	if (fd >= 0)
		ud->has_slave = true;
	mutex_unlock(&ud->lock);
	return fd;
}

static void end(struct kvm_user_dev *ud)
{
	kvm_user_dev_kill(ud, RMIO_KVM_CLOSED);
	kvm_user_ranges_remove(ud);
}

static int kick(struct kvm_user_dev *ud, u32 id)
{
	struct kvm_user_lane *lane;

	/* Pairs with kvm_user_lanes_need(). */
	if (!smp_load_acquire(&ud->lanes.lane) || id >= ud->lanes.nr)
		return -ENOENT;
	lane = &ud->lanes.lane[array_index_nospec(id, ud->lanes.nr)];
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
		return kvm_user_range_set(ud, &at);
	case KVM_DEV_USER_TIMEOUT:
		if (copy_from_user(&ns, argp, sizeof(ns)))
			return -EFAULT;
		WRITE_ONCE(ud->timeout, ns ?: KVM_USER_TIMEOUT);
		return 0;
	case KVM_DEV_USER_RINGS:
		if (copy_from_user(&rings, argp, sizeof(rings)))
			return -EFAULT;
		return set_rings(ud, &rings);
	case KVM_DEV_USER_EVENTFD:
		if (copy_from_user(&fd, argp, sizeof(fd)))
			return -EFAULT;
		return kvm_user_dev_tell(ud, fd);
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
		return put_user(READ_ONCE(ud->lanes.state), (u32 __user *)argp);
	}
	return -ENOTTY;
}

/* For counters.  No lock: the caller holds mmap_lock. */
static int master_mmap(struct kvm_device *dev, struct vm_area_struct *vma)
{
	struct kvm_user_dev *ud = dev->private;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	/* Pairs with kvm_user_lanes_need(). */
	if (!smp_load_acquire(&ud->lanes.lane))
		return -ENXIO;
	switch ((u64)vma->vm_pgoff << PAGE_SHIFT) {
	case RMIO_KVM_MAP_DOWN:
		return kvm_user_mem_map(&ud->lanes.down, vma, false);
	case RMIO_KVM_MAP_UP:
		return kvm_user_mem_map(&ud->lanes.up, vma, false);
	}
	return -EINVAL;
}

static int user_create(struct kvm_device *dev, u32 type)
{
	struct kvm_user_dev *ud = kvm_user_dev_new(dev->kvm);

	if (!ud)
		return -ENOMEM;
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

/* At each load of a vendor's module, which a slave is to keep: what it leaves ends with it. */
int kvm_user_dev_ops_init(struct module *module)
{
	kvm_user_slave_vendor(module);
	kvm_user_bpf_init();
	return kvm_user_dev_register(&user_ops);
}

void kvm_user_dev_ops_exit(void)
{
	kvm_user_dev_unregister();
}
