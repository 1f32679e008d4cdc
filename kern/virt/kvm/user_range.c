// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ranges: where the device is on KVM's buses, and what these call for each access.  It is
 * answered here if the shadow can answer it or the ring has room for a store; everything else
 * waits in user_exit.c.
 */
#include <linux/slab.h>
#include <linux/unaligned.h>

#include "user_bpf.h"
#include "user_dev.h"

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
	struct kvm_user_lane *lane = kvm_user_lane_of(&ud->lanes, vcpu);
	const struct kvm_user_map *map;
	struct kvm_user_decision d;
	u64 data;

	kvm_user_unask(vcpu);
	if (!lane || !size_ok(len) || kvm_user_dev_dead(ud) || is_split(vcpu, r))
		return -EOPNOTSUPP;
	map = srcu_dereference(ud->map, &vcpu->kvm->srcu);
	kvm_user_map_load(map, &lane->hit, r->at.id, addr - r->at.addr, len, &d);
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
	struct kvm_user_lane *lane = kvm_user_lane_of(&ud->lanes, vcpu);
	const struct kvm_user_map *map;
	struct kvm_user_decision d;
	struct rmio_request req;
	int said;

	if (!lane || !size_ok(len) || kvm_user_dev_dead(ud) || is_split(vcpu, r))
		return -EOPNOTSUPP;
	map = srcu_dereference(ud->map, &vcpu->kvm->srcu);
	kvm_user_map_store(map, r->at.id, addr - r->at.addr, len, &d);
	if (d.verdict == KVM_USER_SYNC || kvm_user_lane_room(&ud->lanes, lane) <= 0)
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
	kvm_user_lane_push(&ud->lanes, lane, &req);
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

/* -- where they are -------------------------------------------------------------- */

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

int kvm_user_range_set(struct kvm_user_dev *ud, const struct rmio_pa_range *at)
{
	struct kvm_user_range *old;
	int err = check_range(at);

	if (err)
		return err;
	mutex_lock(&ud->lock);
	err = kvm_user_lanes_need(&ud->lanes);
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

void kvm_user_ranges_remove(struct kvm_user_dev *ud)
{
	mutex_lock(&ud->lock);
	mutex_lock(&ud->kvm->slots_lock);
	while (!list_empty(&ud->ranges))
		range_remove(ud, list_first_entry(&ud->ranges, struct kvm_user_range, node));
	mutex_unlock(&ud->kvm->slots_lock);
	mutex_unlock(&ud->lock);
}
