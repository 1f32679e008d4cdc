// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device: how long it lives, whether it is dead, who is told, and which descriptor is its
 * master's.
 */
#include <linux/eventfd.h>
#include <linux/poll.h>
#include <linux/slab.h>

#include "user_dev.h"

/* Patching the kernel at most once a second: devices may come and go faster. */
DEFINE_STATIC_KEY_DEFERRED_FALSE(kvm_user_devs, HZ);

/* What a master descriptor calls: there is one such table. */
static const struct kvm_device_ops *master_ops;

struct kvm_user_dev *kvm_user_dev_new(struct kvm *kvm)
{
	struct kvm_user_dev *ud = kzalloc(sizeof(*ud), GFP_KERNEL_ACCOUNT);

	if (!ud)
		return NULL;
	kvm_user_lanes_init(&ud->lanes);
	kref_init(&ud->ref);
	mutex_init(&ud->lock);
	spin_lock_init(&ud->leaf);
	mutex_init(&ud->io_lock);
	INIT_LIST_HEAD(&ud->ranges);
	ud->kvm = kvm;
	ud->timeout = KVM_USER_TIMEOUT;
	return ud;
}

/* Out of line: whoever puts one reference of several pays for a decrement. */
static noinline void user_dev_free(struct kref *ref)
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
	kvm_user_lanes_free(&ud->lanes);
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
	u32 i, old = READ_ONCE(ud->lanes.state);

	do {
		if (old > RMIO_KVM_LIVE)
			return;
	} while (!try_cmpxchg(&ud->lanes.state, &old, state));
	for (i = 0; ud->lanes.lane && i < ud->lanes.nr; i++) {
		/* Either this sees what the vCPU has pushed, or that sees the state. */
		kvm_user_lane_bury(&ud->lanes, &ud->lanes.lane[i]);
		rcuwait_wake_up(&ud->lanes.lane[i].wait);
	}
	wake_up_interruptible_poll(&ud->lanes.poll, EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLHUP);
	spin_lock(&ud->leaf);
	if (ud->died)
		eventfd_signal(ud->died);
	spin_unlock(&ud->leaf);
}

void kvm_user_dev_used(struct kvm_user_dev *ud)
{
	if (cmpxchg(&ud->lanes.state, RMIO_KVM_NEW, RMIO_KVM_LIVE) != RMIO_KVM_NEW)
		return;
	spin_lock(&ud->leaf);
	if (ud->died)
		eventfd_signal(ud->died);
	spin_unlock(&ud->leaf);
}

int kvm_user_dev_tell(struct kvm_user_dev *ud, int fd)
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

struct kvm_user_dev *kvm_user_dev_of(struct file *file)
{
	struct kvm_device *dev = kvm_device_from_filp(file);

	return dev && dev->ops == master_ops ? dev->private : NULL;
}

int kvm_user_dev_register(struct kvm_device_ops *master)
{
	master_ops = master;
	return kvm_register_device_ops(master, KVM_DEV_TYPE_USER);
}

void kvm_user_dev_unregister(void)
{
	kvm_unregister_device_ops(KVM_DEV_TYPE_USER);
	static_key_deferred_flush(&kvm_user_devs);
}
