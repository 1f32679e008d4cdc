// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Puts plans into force: tells KVM which accesses to take in the kernel, and the BPF
 * program which stores to capture.  Beside the data path, but for the draining of zones.
 *
 * Order is everything here.  The program is told before KVM and forgets after it, so
 * that KVM never takes a store that nobody captures; in between a store is captured
 * and exits as well, which the exit path can tell (vcpu.c).  What KVM is asked to
 * forget it has forgotten for all vCPUs when the call returns.
 */
#include "bpf.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

/* -- one item ---------------------------------------------------------------------- */

static int set_slot(struct rmio_kvm *k, int slot, const struct rmio_plan_item *it, void *image)
{
	struct kvm_userspace_memory_region r = {
		.slot = k->first_slot + (uint32_t)slot,
		.flags = KVM_MEM_READONLY,
		.guest_phys_addr = it->gpa,
		.memory_size = image ? it->length : 0,
		.userspace_addr = (uintptr_t)image + it->shadow_offset,
	};

	return ioctl(k->fd, KVM_SET_USER_MEMORY_REGION, &r) ? -errno : 0;
}

static int take_slot(struct rmio_kvm *k)
{
	uint32_t i;

	for (i = 0; i < k->nr_slots; i++)
		if (!k->slots[i])
			return (int)i;
	return -1;
}

static int install_slot(struct rmio_master *m, const struct rmio_plan_item *it, int *slot)
{
	struct rmio_kvm *k = rmio_kvm_of(m->vm);
	int n = take_slot(k), err;

	if (n < 0)
		return -ENOSPC;
	err = set_slot(k, n, it, m->image);
	if (err)
		return err;
	k->slots[n] = 1;
	k->slots_used++;
	*slot = n;
	return 0;
}

static void remove_slot(struct rmio_master *m, const struct rmio_plan_item *it, int slot)
{
	set_slot(rmio_kvm_of(m->vm), slot, it, NULL);
	rmio_kvm_of(m->vm)->slots[slot] = 0;
	rmio_kvm_of(m->vm)->slots_used--;
}

/*
 * The eventfd is read by the io_uring of a device that sleeps there.  A device says how
 * it sleeps before it asks for a map; one that changes its mind later, other than by
 * being attached anew, is not woken.
 */
static bool kvm_wakes(const struct rmio_master *m, const struct rmio_plan_item *it)
{
	uint32_t kind = rmio_word_read(&m->up->bell_kind);

	return it->mech == RMIO_MECH_EVENTFD &&
	       (kind == RMIO_BELL_FUTEX || kind == RMIO_BELL_SOCK_POSTED) &&
	       rmio_word_read(&m->state) == RMIO_STATE_LIVE;
}

static struct rmio_bpf_reg target(const struct rmio_master *m, const struct rmio_plan_item *it)
{
	return (struct rmio_bpf_reg){
		.offset = it->offset,
		.shadow = it->shadow_offset,
		.dev = rmio_bpf_of(m)->dev.slot,
		.slot_mask = rmio_bpf_of(m)->dev.slots - 1,
		.lane_pages = rmio_bpf_of(m)->dev.lane_pages,
		.range_id = (uint16_t)it->range_id,
		.flags = (it->through ? RMIO_BPF_THROUGH : 0) |
			 (kvm_wakes(m, it) ? 0 : RMIO_BPF_WAKE) |
			 (m->vm->threaded ? RMIO_BPF_TELL : 0),
	};
}

static int ioeventfd(const struct rmio_master *m, const struct rmio_plan_item *it, uint32_t flags)
{
	struct kvm_ioeventfd io = {
		.addr = it->gpa,
		.len = it->len,	/* without it KVM may not decode the store */
		.fd = rmio_bpf_of(m)->posted,
		.flags = flags,
	};

	return ioctl(rmio_kvm_of(m->vm)->fd, KVM_IOEVENTFD, &io) ? -errno : 0;
}

static int install_eventfd(struct rmio_master *m, const struct rmio_plan_item *it)
{
	struct rmio_kvm *k = rmio_kvm_of(m->vm);
	struct rmio_bpf_reg to = target(m, it);
	int err;

	if (k->bus_devs_used == k->bus_devs)
		return -ENOSPC;
	err = rmio_bpf_reg_set(rmio_kvm_of(m->vm)->bpf, it->gpa, it->len, &to);
	if (err)
		return err;
	err = ioeventfd(m, it, 0);
	if (err) {
		rmio_bpf_reg_clear(rmio_kvm_of(m->vm)->bpf, it->gpa, it->len);
		return err;
	}
	k->bus_devs_used++;
	return 0;
}

static void remove_eventfd(struct rmio_master *m, const struct rmio_plan_item *it)
{
	ioeventfd(m, it, KVM_IOEVENTFD_FLAG_DEASSIGN);
	rmio_bpf_reg_clear(rmio_kvm_of(m->vm)->bpf, it->gpa, it->len);
	rmio_kvm_of(m->vm)->bus_devs_used--;
}

static uint64_t first_page(const struct rmio_plan_item *it)
{
	return it->gpa / RMIO_PAGE;
}

static uint64_t last_page(const struct rmio_plan_item *it)
{
	return (it->gpa + it->length - 1) / RMIO_PAGE;
}

static void clear_zone(struct rmio_master *m, const struct rmio_plan_item *it, uint64_t end)
{
	uint64_t page;

	for (page = first_page(it); page < end; page++)
		rmio_bpf_zone_clear(rmio_kvm_of(m->vm)->bpf, page);
}

static int capture_zone(struct rmio_master *m, const struct rmio_plan_item *it)
{
	uint64_t page, at;
	int err;

	for (page = first_page(it); page <= last_page(it); page++) {
		struct rmio_bpf_zone z = { .to = target(m, it), .end = RMIO_PAGE };

		at = page * RMIO_PAGE;
		/* Of the page's first byte, which may lie before the zone. */
		z.to.offset += at - it->gpa;
		z.to.shadow += at - it->gpa;
		if (at < it->gpa)
			z.from = (uint32_t)(it->gpa - at);
		if (it->gpa + it->length - at < RMIO_PAGE)
			z.end = (uint32_t)(it->gpa + it->length - at);
		err = rmio_bpf_zone_set(rmio_kvm_of(m->vm)->bpf, page, &z);
		if (err) {
			clear_zone(m, it, page);
			return err;
		}
	}
	return 0;
}

static int install_zone(struct rmio_master *m, const struct rmio_plan_item *it)
{
	struct kvm_coalesced_mmio_zone z = { .addr = it->gpa, .size = (uint32_t)it->length };
	struct rmio_kvm *k = rmio_kvm_of(m->vm);
	uint32_t pages = (uint32_t)(last_page(it) - first_page(it) + 1);
	int err;

	if (k->bus_devs_used == k->bus_devs || pages > RMIO_BPF_ZONE_PAGES - k->zone_pages_used)
		return -ENOSPC;
	err = capture_zone(m, it);
	if (err)
		return err;
	if (ioctl(k->fd, KVM_REGISTER_COALESCED_MMIO, &z)) {
		err = -errno;
		clear_zone(m, it, last_page(it) + 1);
		return err;
	}
	k->bus_devs_used++;
	k->zone_pages_used += pages;
	rmio_word_write(&k->zones, k->zones + 1);
	return 0;
}

static void remove_zone(struct rmio_master *m, const struct rmio_plan_item *it)
{
	struct kvm_coalesced_mmio_zone z = { .addr = it->gpa, .size = (uint32_t)it->length };
	struct rmio_kvm *k = rmio_kvm_of(m->vm);

	ioctl(k->fd, KVM_UNREGISTER_COALESCED_MMIO, &z);
	clear_zone(m, it, last_page(it) + 1);
	k->bus_devs_used--;
	k->zone_pages_used -= (uint32_t)(last_page(it) - first_page(it) + 1);
	rmio_word_write(&k->zones, k->zones - 1);
}

uint64_t rmio_kvm_hits(struct rmio_master *m, const struct rmio_plan_item *it, bool take)
{
	uint64_t page, hits = 0;

	if (it->mech == RMIO_MECH_EVENTFD)
		return rmio_bpf_reg_hits(rmio_kvm_of(m->vm)->bpf, it->gpa, it->len, take);
	for (page = first_page(it); it->mech == RMIO_MECH_ZONE && page <= last_page(it); page++)
		hits += rmio_bpf_zone_hits(rmio_kvm_of(m->vm)->bpf, page, take);
	return hits;
}

void rmio_kvm_drain(struct rmio_kvm *k, struct kvm_run *run)
{
	struct kvm_coalesced_mmio_ring *ring;
	uint32_t last;

	if (!rmio_word_read(&k->zones))
		return;
	ring = (void *)((char *)run + (size_t)k->ring_page * RMIO_PAGE);
	pthread_mutex_lock(&k->drain);
	last = rmio_word_read(&ring->last);
	if (ring->first != last)
		rmio_word_write(&ring->first, last);
	pthread_mutex_unlock(&k->drain);
}

/* -- plans -------------------------------------------------------------------------- */

/* kvm->lock held.  Why it is not installed is left in the item. */
void rmio_kvm_install(struct rmio_master *m, struct rmio_plan_item *it, int *slot)
{
	int err = 0;

	*slot = -1;
	switch (it->mech) {
	case RMIO_MECH_SLOT:
		err = install_slot(m, it, slot);
		break;
	case RMIO_MECH_EVENTFD:
		err = install_eventfd(m, it);
		break;
	case RMIO_MECH_ZONE:
		err = install_zone(m, it);
		break;
	default:
		break;
	}
	if (!err)
		return;
	it->mech = RMIO_MECH_EXIT;
	it->why = err == -ENOSPC ? "KVM's limit is reached" :
		  err == -EEXIST ? "the VMM has memory or an ioeventfd there" : "KVM refused";
}

void rmio_kvm_uninstall(struct rmio_master *m, struct rmio_plan_item *it, int slot)
{
	switch (it->mech) {
	case RMIO_MECH_SLOT:
		remove_slot(m, it, slot);
		break;
	case RMIO_MECH_EVENTFD:
		remove_eventfd(m, it);
		break;
	case RMIO_MECH_ZONE:
		remove_zone(m, it);
		break;
	default:
		break;
	}
	it->mech = RMIO_MECH_EXIT;
	it->why = "taken back";
}
