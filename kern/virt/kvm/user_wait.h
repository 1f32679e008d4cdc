/* SPDX-License-Identifier: GPL-2.0-only */
/* What struct kvm_vcpu keeps of an access to a KVM_DEV_TYPE_USER device. */
#ifndef __KVM_USER_WAIT_H
#define __KVM_USER_WAIT_H

#include <linux/jump_label_ratelimit.h>
#include <linux/types.h>

struct kvm_io_bus;
struct kvm_user_dev;
struct kvm_vcpu;
struct module;

struct kvm_user_wait {
	struct kvm_user_dev *ud;	/* a reference; NULL: nothing is under way */
	u64 seq;			/* of the request, once it is in the ring */
	unsigned long left;		/* jiffies to wait, if timed */
	u64 addr, offset, data;
	u32 index, count;		/* of a string of port accesses */
	u16 range_id;
	u8 len, at;			/* bytes; of them, done */
	bool store, io, timed;
	bool vmm;			/* KVM_DEV_USER_ACCESS, not KVM_RUN */
	bool asked;			/* the BPF program, for the piece; it said: */
	u8 said;			/* enum rmio_kvm_answer */

	/* What was seen of it before it came out. */
	bool split;			/* it is across two pages */
	bool asked_io;			/* the bus has asked, for a load on that bus */
	u64 asked_at;			/* and from there */
	u32 ports, ports_done;		/* of a string of port accesses: all, and by the bus */
};

#ifdef CONFIG_KVM_USER_DEV
/* Is there any such device on the host?  Other VMs pay for a branch that is not there. */
extern struct static_key_false_deferred kvm_user_devs;

bool __kvm_user_exit(struct kvm_vcpu *vcpu);
int __kvm_user_resume(struct kvm_vcpu *vcpu);
bool __kvm_user_port(struct kvm_vcpu *vcpu, u16 port);
bool __kvm_user_overlaps(const struct kvm_io_bus *bus, u64 addr, int len);

static inline bool kvm_user_exit(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvm_user_devs.key) && __kvm_user_exit(vcpu);
}

static inline int kvm_user_resume(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvm_user_devs.key) ? __kvm_user_resume(vcpu) : 0;
}

/*
 * The bus took some accesses of a string to @port and then no more: is the rest for one of our
 * ranges?  Then the string comes out as a whole, and goes on where it was.
 */
static inline bool kvm_user_port(struct kvm_vcpu *vcpu, u16 port)
{
	return static_branch_unlikely(&kvm_user_devs.key) && __kvm_user_port(vcpu, port);
}

/* Is one of our ranges there?  Nobody else gets a part of it. */
static inline bool kvm_user_overlaps(const struct kvm_io_bus *bus, u64 addr, int len)
{
	return static_branch_unlikely(&kvm_user_devs.key) && __kvm_user_overlaps(bus, addr, len);
}

void kvm_user_vcpu_destroy(struct kvm_vcpu *vcpu);
int kvm_user_dev_ops_init(struct module *module);
void kvm_user_dev_ops_exit(void);

/* The architecture's: what KVM_RUN came out for, in the fields from addr on; its value. */
bool kvm_arch_user_access(struct kvm_vcpu *vcpu, struct kvm_user_wait *w);
u64 kvm_arch_user_data(struct kvm_vcpu *vcpu, const struct kvm_user_wait *w);
void kvm_arch_user_answer(struct kvm_vcpu *vcpu, const struct kvm_user_wait *w);
#else
static inline bool kvm_user_exit(struct kvm_vcpu *vcpu) { return false; }
static inline int kvm_user_resume(struct kvm_vcpu *vcpu) { return 0; }
static inline bool kvm_user_port(struct kvm_vcpu *vcpu, u16 port) { return false; }
static inline bool kvm_user_overlaps(const struct kvm_io_bus *bus, u64 addr, int len)
{
	return false;
}

static inline void kvm_user_vcpu_destroy(struct kvm_vcpu *vcpu) { }
static inline int kvm_user_dev_ops_init(struct module *module) { return 0; }
static inline void kvm_user_dev_ops_exit(void) { }
#endif

#endif
