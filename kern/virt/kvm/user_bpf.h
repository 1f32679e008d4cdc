/* SPDX-License-Identifier: GPL-2.0-only */
/* The BPF program that is asked about each access; without one on the host nobody is. */
#ifndef __KVM_USER_BPF_H
#define __KVM_USER_BPF_H

#include <linux/jump_label.h>
#include <linux/kvm_host.h>
#include <rmio/abi.h>

struct kvm_user_dev;

/*
 * A struct_ops that is bound to one device.  Callbacks are asked once an access, by the vCPU's
 * thread, below RCU; either may be missing.
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

/* What the bus asked of a load that then did not come out is for no other. */
static inline void kvm_user_unask(struct kvm_vcpu *vcpu)
{
	if (kvm_user_is_asked())
		vcpu->user_wait.asked = false;
}

/* With kvm->srcu. */
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

#endif
