// SPDX-License-Identifier: GPL-2.0-only
/*
 * The slave descriptor: the device process's end.  Requests and replies by read() and
 * write(), or by the lanes themselves, which it maps; the shadow image and its map.
 */
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "user_dev.h"

enum { SENT_NOT, SENT, ANSWERED };

/* Of which a VM keeps one reference, and each slave: its device ends before KVM's end. */
static struct module *vendor;

void kvm_user_slave_vendor(struct module *module)
{
	vendor = module;
}

/* The first use of one kind refuses the other. */
static bool claim(struct kvm_user_dev *ud, int io)
{
	int old = cmpxchg(&ud->lanes.io, KVM_USER_IO_NONE, io);

	if (old == KVM_USER_IO_NONE)
		kvm_user_dev_used(ud);
	return old == KVM_USER_IO_NONE || old == io;
}

/* -- read and write --------------------------------------------------------------- */

/* With io_lock.  False: none pending in this lane. */
static bool take(struct kvm_user_dev *ud, struct kvm_user_lane *lane, struct rmio_request *req)
{
	u32 at = lane->taken & (ud->lanes.slots - 1);
	u64 seq = lane->taken + 1;

	/* Pairs with kvm_user_lane_push(): the slot is complete. */
	if (smp_load_acquire(&lane->slots[at].seq) != seq)
		return false;
	*req = lane->slots[at];
	return true;
}

/* To the sent queue. */
static int took(struct kvm_user_dev *ud, struct kvm_user_lane *lane)
{
	if (!lane->sent)
		lane->sent = kvzalloc(ud->lanes.slots, GFP_KERNEL_ACCOUNT);
	if (!lane->sent)
		return -ENOMEM;
	lane->sent[lane->taken & (ud->lanes.slots - 1)] = SENT;
	WRITE_ONCE(lane->taken, lane->taken + 1);
	return 0;
}

/* Every lane gets its turn. */
static ssize_t read_some(struct kvm_user_dev *ud, char __user *buf, size_t n)
{
	struct rmio_request req;
	size_t done = 0;
	u32 idle = 0;
	int err = 0;

	while (done < n && idle < ud->lanes.nr) {
		struct kvm_user_lane *lane = &ud->lanes.lane[ud->next_lane];

		ud->next_lane = (ud->next_lane + 1) % ud->lanes.nr;
		if (!take(ud, lane, &req)) {
			idle++;
			continue;
		}
		idle = 0;
		if (done && signal_pending(current))
			break;
		cond_resched();
		if (copy_to_user(buf + done * sizeof(req), &req, sizeof(req)))
			err = -EFAULT;
		else
			err = took(ud, lane);
		if (err)
			break;
		done++;
	}
	return done ? done * sizeof(req) : err;
}

static ssize_t slave_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	struct kvm_user_dev *ud = file->private_data;
	ssize_t n;

	if (count < sizeof(struct rmio_request))
		return -EINVAL;
	if (!claim(ud, KVM_USER_IO_READS))
		return -EBUSY;
	for (;;) {
		if (mutex_lock_interruptible(&ud->io_lock))
			return -ERESTARTSYS;
		n = read_some(ud, buf, count / sizeof(struct rmio_request));
		mutex_unlock(&ud->io_lock);
		if (n)
			return n;
		/* What was posted before the master went is read first. */
		if (kvm_user_dev_dead(ud))
			return 0;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(ud->lanes.poll,
					     kvm_user_lanes_pending(&ud->lanes) ||
					     kvm_user_dev_dead(ud)))
			return -ERESTARTSYS;
	}
}

/* Complete what is answered, in order, and let the vCPU look. */
static void complete_lane(struct kvm_user_dev *ud, struct kvm_user_lane *lane)
{
	struct rmio_up_lane *up = lane->up;
	u64 done = up->done;
	u32 at;

	while (done != lane->taken) {
		at = done & (ud->lanes.slots - 1);
		if (lane->sent[at] != ANSWERED)
			break;
		lane->sent[at] = SENT_NOT;
		done++;
		if (done == lane->answered) {
			WRITE_ONCE(up->reply_data, lane->answer);
			/* Pairs with kvm_user_lane_reply(). */
			smp_store_release(&up->reply_seq, done);
		}
		/* Pairs with lane_update(): the slots below have been read. */
		smp_store_release(&up->done, done);
	}
	rcuwait_wake_up(&lane->wait);
}

/* With io_lock. */
static int reply_one(struct kvm_user_dev *ud, const struct rmio_reply *r)
{
	struct kvm_user_lane *lane;
	u64 index = r->seq - 1;
	u32 at;

	if (r->reserved || r->vcpu >= ud->lanes.nr)
		return -EINVAL;
	lane = &ud->lanes.lane[array_index_nospec(r->vcpu, ud->lanes.nr)];
	/* Never asked for, or answered before. */
	if (index - lane->up->done >= lane->taken - lane->up->done)
		return -ENOENT;
	at = index & (ud->lanes.slots - 1);
	if (lane->sent[at] != SENT)
		return -ENOENT;
	lane->sent[at] = ANSWERED;
	if (lane->slots[at].op != RMIO_OP_STORE && r->seq > lane->answered) {
		lane->answer = r->data;
		lane->answered = r->seq;
	}
	complete_lane(ud, lane);
	return 0;
}

static ssize_t slave_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct kvm_user_dev *ud = file->private_data;
	size_t i, n = count / sizeof(struct rmio_reply);
	struct rmio_reply r;
	int err = 0;

	if (!n || count % sizeof(r))
		return -EINVAL;
	if (!claim(ud, KVM_USER_IO_READS))
		return -EBUSY;
	if (mutex_lock_interruptible(&ud->io_lock))
		return -ERESTARTSYS;
	for (i = 0; i < n && !err; i++) {
		if (copy_from_user(&r, buf + i * sizeof(r), sizeof(r)))
			err = -EFAULT;
		else
			err = reply_one(ud, &r);
		if (err)
			break;
		cond_resched();
	}
	mutex_unlock(&ud->io_lock);
	return i ? i * sizeof(r) : err;
}

static __poll_t slave_poll(struct file *file, poll_table *wait)
{
	struct kvm_user_dev *ud = file->private_data;
	__poll_t mask = EPOLLOUT | EPOLLWRNORM;

	poll_wait(file, &ud->lanes.poll, wait);
	/* Pairs with the barrier of kvm_user_lane_push(). */
	smp_mb();
	if (kvm_user_lanes_pending(&ud->lanes))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (kvm_user_dev_dead(ud))
		mask |= EPOLLIN | EPOLLRDHUP | EPOLLHUP;
	return mask;
}

/* -- mappings --------------------------------------------------------------------- */

static int map_shadow(struct kvm_user_dev *ud, struct vm_area_struct *vma)
{
	struct kvm_user_image *image;
	int err;

	spin_lock(&ud->leaf);
	image = ud->image;
	if (image)
		kref_get(&image->ref);
	spin_unlock(&ud->leaf);
	if (!image)
		return -ENXIO;
	err = kvm_user_mem_map(&image->mem, vma, true);
	kvm_user_image_put(image);
	return err;
}

/* With mmap_lock, so without any of ours that is held across a wait. */
static int slave_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct kvm_user_dev *ud = file->private_data;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	switch ((u64)vma->vm_pgoff << PAGE_SHIFT) {
	case RMIO_KVM_MAP_DOWN:
		return kvm_user_mem_map(&ud->lanes.down, vma, false);
	case RMIO_KVM_MAP_UP:
		if (vma_pages(vma) > ud->lanes.up.nr)
			return -EINVAL;
		return claim(ud, KVM_USER_IO_MAPPED) ?
		       kvm_user_mem_map(&ud->lanes.up, vma, true) : -EBUSY;
	case RMIO_KVM_MAP_SHADOW:
		return map_shadow(ud, vma);
	}
	return -EINVAL;
}

/* -- the shadow ------------------------------------------------------------------- */

static void map_gone(struct rcu_head *head)
{
	complete(&container_of(head, struct kvm_user_map, unused)->gone);
}

/* With lock.  The previous map, for map_wait(). */
static struct kvm_user_map *map_replace(struct kvm_user_dev *ud, struct kvm_user_map *map)
{
	struct kvm_user_map *old = rcu_dereference_protected(ud->map, lockdep_is_held(&ud->lock));

	rcu_assign_pointer(ud->map, map);
	if (old) {
		init_completion(&old->gone);
		call_srcu(&ud->kvm->srcu, &old->unused, map_gone);
	}
	return old;
}

/*
 * Without lock.  When it returns, no vCPU uses the map: a VMM can keep one there as long as it
 * likes, so that who waits can be killed, and leaves the map to the end of the device.
 */
static void map_wait(struct kvm_user_dev *ud, struct kvm_user_map *old)
{
	if (!old)
		return;
	if (!wait_for_completion_killable(&old->gone)) {
		kvm_user_map_free(old);
		return;
	}
	spin_lock(&ud->leaf);
	old->next = ud->stale;
	ud->stale = old;
	spin_unlock(&ud->leaf);
}

static int shadow_size(struct kvm_user_dev *ud, u64 size)
{
	struct kvm_user_image *image = NULL;
	struct kvm_user_map *old = NULL;
	int err = 0;

	if (size) {
		image = kvm_user_image_new(size);
		if (IS_ERR(image))
			return PTR_ERR(image);
	}
	if (mutex_lock_killable(&ud->lock)) {
		kvm_user_image_put(image);
		return -EINTR;
	}
	if (ud->kvm) {
		old = map_replace(ud, NULL);
		spin_lock(&ud->leaf);
		swap(ud->image, image);
		spin_unlock(&ud->leaf);
	} else {
		err = -ENODEV;
	}
	mutex_unlock(&ud->lock);
	map_wait(ud, old);
	kvm_user_image_put(image);
	return err;
}

static int map_fits(struct kvm_user_dev *ud, const struct kvm_user_map *map)
{
	struct kvm_user_range *r;
	int err = 0;

	if (mutex_lock_killable(&ud->kvm->slots_lock))
		return -EINTR;
	list_for_each_entry(r, &ud->ranges, node)
		if (kvm_user_map_exceeds(map, r->at.id, r->at.len))
			err = -ERANGE;
	mutex_unlock(&ud->kvm->slots_lock);
	return err;
}

static int shadow_ctrl(struct kvm_user_dev *ud, const struct rmio_kvm_map *m)
{
	struct kvm_user_map *map, *old = NULL;
	int err;

	if (m->reserved)
		return -EINVAL;
	map = kvm_user_map_copy(u64_to_user_ptr(m->areas), m->nr);
	if (IS_ERR(map))
		return PTR_ERR(map);
	err = mutex_lock_killable(&ud->lock);
	if (err)
		goto free;
	err = ud->kvm ? kvm_user_map_compile(map, ud->image) : -ENODEV;
	if (!err)
		err = map_fits(ud, map);
	if (!err)
		old = map_replace(ud, map);
	mutex_unlock(&ud->lock);
	map_wait(ud, old);
free:
	if (err)
		kvm_user_map_free(map);
	return err;
}

static int wake(struct kvm_user_dev *ud, u32 index)
{
	if (index >= ud->lanes.nr)
		return -EINVAL;
	rcuwait_wake_up(&ud->lanes.lane[array_index_nospec(index, ud->lanes.nr)].wait);
	return 0;
}

static long slave_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct kvm_user_dev *ud = file->private_data;
	void __user *argp = (void __user *)arg;
	struct rmio_kvm_map map;
	u64 size;
	u32 index;

	switch (cmd) {
	case KVM_DEV_USER_SHADOW_SIZE:
		if (copy_from_user(&size, argp, sizeof(size)))
			return -EFAULT;
		return shadow_size(ud, size);
	case KVM_DEV_USER_SHADOW_CTRL:
		if (copy_from_user(&map, argp, sizeof(map)))
			return -EFAULT;
		return shadow_ctrl(ud, &map);
	case KVM_DEV_USER_WAKE:
		if (copy_from_user(&index, argp, sizeof(index)))
			return -EFAULT;
		return wake(ud, index);
	case KVM_DEV_USER_CLOSE:
		if (arg)
			return -EINVAL;
		kvm_user_dev_kill(ud, RMIO_KVM_CLOSED);
		return 0;
	case KVM_DEV_USER_STATE:
		return put_user(READ_ONCE(ud->lanes.state), (u32 __user *)argp);
	}
	return -ENOTTY;
}

static int slave_release(struct inode *inode, struct file *file)
{
	struct kvm_user_dev *ud = file->private_data;

	kvm_user_dev_kill(ud, RMIO_KVM_CLOSED);
	kvm_user_dev_put(ud);
	module_put(vendor);
	return 0;
}

static const struct file_operations slave_fops = {
	.owner = THIS_MODULE,
	.read = slave_read,
	.write = slave_write,
	.poll = slave_poll,
	.mmap = slave_mmap,
	.unlocked_ioctl = slave_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = slave_release,
	.llseek = noop_llseek,
};

/* With lock. */
int kvm_user_slave_fd(struct kvm_user_dev *ud)
{
	int fd;

	kref_get(&ud->ref);
	__module_get(vendor);
	fd = anon_inode_getfd("kvm-user-slave", &slave_fops, ud, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		module_put(vendor);
		kvm_user_dev_put(ud);
	}
	return fd;
}
