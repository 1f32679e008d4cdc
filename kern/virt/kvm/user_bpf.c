// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF: a program that is bound to one device is asked about each access, before the access
 * map answers it or the device gets it.  It counts, and it can take away; see enum
 * rmio_kvm_answer.
 *
 * The device is named by the master's descriptor: who attaches has to have it, so a program
 * gets no say over a VM of somebody else's.
 */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/file.h>

#include "user_bpf.h"
#include "user_dev.h"

DEFINE_STATIC_KEY_FALSE(kvm_user_asked);

/* Which programs are attached to which devices. */
static DEFINE_MUTEX(user_ops_lock);

/* What is no answer.  Out of line: the usual ones pay for a comparison. */
static noinline int no_answer(int said)
{
	pr_notice_ratelimited("kvm: a program of a user device answers %d\n", said);
	return RMIO_KVM_TO_DEVICE;
}

static int checked(int said)
{
	return likely((u32)said <= RMIO_KVM_REFUSE) ? said : no_answer(said);
}

int __kvm_user_ask_load(u32 range_id, u64 offset, u32 len, const struct kvm_vcpu *vcpu,
			const struct kvm_user_dev *ud)
{
	const struct kvm_user_ops *ops;
	int said = RMIO_KVM_AS_MAPPED;

	/* For synchronize_rcu(): less than rcu_read_lock(). */
	preempt_disable();
	ops = rcu_dereference_sched(ud->ops);
	if (ops && ops->load)
		said = ops->load(range_id, offset, len, vcpu->vcpu_id);
	preempt_enable();
	return checked(said);
}

int __kvm_user_ask_store(u32 range_id, u64 offset, u32 len, const struct kvm_vcpu *vcpu,
			 u64 data, const struct kvm_user_dev *ud)
{
	const struct kvm_user_ops *ops;
	int said = RMIO_KVM_AS_MAPPED;

	/* For synchronize_rcu(): less than rcu_read_lock(). */
	preempt_disable();
	ops = rcu_dereference_sched(ud->ops);
	if (ops && ops->store)
		said = ops->store(range_id, offset, len, vcpu->vcpu_id, data);
	preempt_enable();
	return checked(said);
}

/*
 * With user_ops_lock.  When it returns, nobody is in what was there.  A VMM can hold up its
 * vCPUs where SRCU waits for them, but nobody in here.
 */
static void set_ops(struct kvm_user_dev *ud, struct kvm_user_ops *ops)
{
	rcu_assign_pointer(ud->ops, ops);
	synchronize_rcu();
}

/* The device goes; the program stays, attached to nothing. */
void kvm_user_bpf_detach(struct kvm_user_dev *ud)
{
	struct kvm_user_ops *ops;

	mutex_lock(&user_ops_lock);
	ops = rcu_dereference_protected(ud->ops, lockdep_is_held(&user_ops_lock));
	if (ops) {
		set_ops(ud, NULL);
		/* A program can outlive the vendor's module, a device cannot. */
		ops->ud = NULL;
	}
	mutex_unlock(&user_ops_lock);
}

/* By who attaches, in its process: the file keeps the device meanwhile. */
static int user_ops_reg(void *kdata, struct bpf_link *link)
{
	struct kvm_user_ops *ops = kdata;
	struct kvm_user_dev *ud;
	struct fd f = fdget(ops->master);
	int err = 0;

	if (!fd_file(f))
		return -EBADF;
	mutex_lock(&user_ops_lock);
	ud = kvm_user_dev_of(fd_file(f));
	if (!ud) {
		err = -EINVAL;
	} else if (ops->ud || rcu_access_pointer(ud->ops)) {
		err = -EBUSY;
	} else {
		ops->ud = ud;
		set_ops(ud, ops);
	}
	mutex_unlock(&user_ops_lock);
	fdput(f);
	if (!err)
		static_branch_inc(&kvm_user_asked);
	return err;
}

static void user_ops_unreg(void *kdata, struct bpf_link *link)
{
	struct kvm_user_ops *ops = kdata;

	mutex_lock(&user_ops_lock);
	if (ops->ud)
		set_ops(ops->ud, NULL);
	ops->ud = NULL;
	mutex_unlock(&user_ops_lock);
	static_branch_dec(&kvm_user_asked);
}

/* Another program in its place, for the same device whatever it names; each access has one. */
static int user_ops_update(void *kdata, void *old_kdata, struct bpf_link *link)
{
	struct kvm_user_ops *ops = kdata, *old = old_kdata;
	int err = 0;

	mutex_lock(&user_ops_lock);
	if (ops->ud) {
		err = -EBUSY;
	} else if (!old->ud) {
		err = -ENODEV;
	} else {
		ops->ud = old->ud;
		set_ops(ops->ud, ops);
		old->ud = NULL;
	}
	mutex_unlock(&user_ops_lock);
	return err;
}

static int user_ops_init(struct btf *btf)
{
	return 0;
}

/* None that sleeps: it runs with preemption off. */
static int user_ops_check_member(const struct btf_type *t, const struct btf_member *member,
				 const struct bpf_prog *prog)
{
	return prog->sleepable ? -EINVAL : 0;
}

static int user_ops_init_member(const struct btf_type *t, const struct btf_member *member,
				void *kdata, const void *udata)
{
	if (__btf_member_bit_offset(t, member) / 8 != offsetof(struct kvm_user_ops, master))
		return 0;
	((struct kvm_user_ops *)kdata)->master = ((const struct kvm_user_ops *)udata)->master;
	return 1;
}

static bool user_ops_is_valid_access(int off, int size, enum bpf_access_type type,
				     const struct bpf_prog *prog, struct bpf_insn_access_aux *info)
{
	return bpf_tracing_btf_ctx_access(off, size, type, prog, info);
}

static const struct bpf_verifier_ops user_verifier_ops = {
	.get_func_proto = bpf_base_func_proto,
	.is_valid_access = user_ops_is_valid_access,
};

/* For the verifier and indirect calls: what a callback looks like. */
static int load_stub(u32 range_id, u64 offset, u32 len, u32 vcpu)
{
	return RMIO_KVM_AS_MAPPED;
}

static int store_stub(u32 range_id, u64 offset, u32 len, u32 vcpu, u64 data)
{
	return RMIO_KVM_AS_MAPPED;
}

static struct kvm_user_ops user_ops_stubs = {
	.load = load_stub,
	.store = store_stub,
};

static struct bpf_struct_ops bpf_kvm_user_ops = {
	.verifier_ops = &user_verifier_ops,
	.init = user_ops_init,
	.check_member = user_ops_check_member,
	.init_member = user_ops_init_member,
	.reg = user_ops_reg,
	.unreg = user_ops_unreg,
	.update = user_ops_update,
	.cfi_stubs = &user_ops_stubs,
	.name = "kvm_user_ops",
	.owner = THIS_MODULE,
};

/* At each load of a vendor's module, while this one stays: the second time it is there. */
void kvm_user_bpf_init(void)
{
	int err = register_bpf_struct_ops(&bpf_kvm_user_ops, kvm_user_ops);

	if (err && err != -EEXIST)
		pr_notice("kvm: no BPF programs for user devices (%d)\n", err);
}
