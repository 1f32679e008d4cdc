/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A KVM guest on the bpf back end, for tests: a program of generated machine code for
 * each vCPU, and the thread that runs it.  Instructions of a guest are dear where KVM
 * itself runs in a VM, so a program is nothing but accesses, one after another.
 *
 * In a program RCX is the number of stores so far and, shifted, the vCPU: what every
 * store writes, as many bytes of it as it has.  RBX is the address of the first device.
 */
#ifndef RMIO_SELFTESTS_BPF_RIG_H
#define RMIO_SELFTESTS_BPF_RIG_H

#include "backend/bpf/bpf.h"
#include "devproc.h"
#include "vmm/kvm.h"

#include <pthread.h>
#include <rmio/device.h>
#include <rmio/slave.h>
#include <rmio/vmm.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#define RIG_VCPUS	4u
#define RIG_DEVICE	0xe0000000u
#define RIG_MARK	0xe0		/* port: end of a round */
#define RIG_WRONG	0xe1		/* port: a comparison in the guest failed */
#define RIG_MEMORY	(16ull << 20)
#define RIG_CODE	(VMM_IMAGE_ADDR + 0x1000)
#define RIG_CODE_SIZE	0x100000ull	/* for a vCPU */

#define RIG_VALUE(vcpu, nr)	((uint64_t)((vcpu) + 1) << 48 | (nr))
#define RIG_NR(value)		((value) & ((1ull << 48) - 1))

struct rig;

struct rig_vcpu {
	struct rig *rig;
	uint32_t index;
	struct vmm_vcpu *kvm;
	struct rmio_vcpu *v;
	pthread_t thread;
	uint64_t seed;
	uint64_t rounds;		/* to be run by the thread */
	uint64_t accesses;		/* in a round, as emitted */
	uint64_t exits, interrupted;
	uint64_t holes, hole_sum;	/* stores to where no device is, and their numbers */
	/* After each load that exited. */
	void (*loaded)(struct rig_vcpu *c, uint64_t addr, uint32_t len, uint64_t data);
	/* being emitted */
	uint8_t *code, *at, *wrong, *mark, *body;
};

struct rig {
	struct vmm_vm *kvm;
	struct rmio_vm *vm;
	uint32_t vcpus;
	atomic_bool stop;
	atomic_bool finish;	/* no more rounds */
	struct rig_vcpu vcpu[RIG_VCPUS];
};

static inline uint64_t rig_rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* -- code ------------------------------------------------------------------------------- */

static inline void emit(struct rig_vcpu *c, const void *bytes, size_t n)
{
	memcpy(c->at, bytes, n);
	c->at += n;
}

#define EMIT(c, ...) \
	do { \
		const uint8_t emit_[] = { __VA_ARGS__ }; \
		emit(c, emit_, sizeof(emit_)); \
	} while (0)

static inline void emit32(struct rig_vcpu *c, uint32_t v)
{
	emit(c, &v, sizeof(v));
}

static inline void emit_jump(struct rig_vcpu *c, const uint8_t *to)
{
	emit32(c, (uint32_t)(to - (c->at + 4)));
}

/* inc %rcx; mov %rcx,offset(%rbx), in that size */
static inline void emit_store(struct rig_vcpu *c, uint32_t offset, uint32_t len)
{
	EMIT(c, 0x48, 0xff, 0xc1);
	if (len == 8)
		EMIT(c, 0x48);
	if (len == 2)
		EMIT(c, 0x66);
	EMIT(c, len == 1 ? 0x88 : 0x89, 0x8b);
	emit32(c, offset);
	c->accesses++;
}

/* Into RAX, zero-extended. */
static inline void emit_load(struct rig_vcpu *c, uint32_t offset, uint32_t len)
{
	if (len == 8)
		EMIT(c, 0x48, 0x8b, 0x83);
	else if (len == 4)
		EMIT(c, 0x8b, 0x83);
	else
		EMIT(c, 0x0f, len == 2 ? 0xb7 : 0xb6, 0x83);
	emit32(c, offset);
	c->accesses++;
}

/* What was loaded is what was last stored, or the guest goes to the port RIG_WRONG. */
static inline void emit_expect_last(struct rig_vcpu *c)
{
	EMIT(c, 0x48, 0x39, 0xc8, 0x0f, 0x85);	/* cmp %rcx,%rax; jne */
	emit_jump(c, c->wrong);
}

static inline void emit_begin(struct rig_vcpu *c)
{
	uint64_t first = RIG_VALUE(c->index, 0);

	c->code = vmm_vm_ptr(c->rig->kvm, RIG_CODE + c->index * RIG_CODE_SIZE, RIG_CODE_SIZE);
	c->at = c->code;
	c->accesses = 0;
	EMIT(c, 0xbb);			/* mov $,%ebx */
	emit32(c, RIG_DEVICE);
	EMIT(c, 0x48, 0xb9);		/* mov $,%rcx */
	emit(c, &first, sizeof(first));
	EMIT(c, 0xeb, 8);		/* jmp body */
	c->wrong = c->at;
	EMIT(c, 0xe6, RIG_WRONG, 0xeb, 0xfe);
	/* Before the body, which the test may write anew between rounds. */
	c->mark = c->at;
	EMIT(c, 0xe6, RIG_MARK, 0xeb, 0);
	c->body = c->at;
}

static inline void emit_end(struct rig_vcpu *c)
{
	EMIT(c, 0xe9);
	emit_jump(c, c->mark);
	T_LE((size_t)(c->at - c->code), RIG_CODE_SIZE);
}

/* Each vCPU to its program. */
static inline void rig_dispatch(struct rig *r)
{
	uint8_t *p = vmm_vm_ptr(r->kvm, VMM_IMAGE_ADDR, 0x1000);
	uint32_t i, rel;

	for (i = 0; i < r->vcpus; i++) {
		const uint8_t test[] = { 0x83, 0xff, (uint8_t)i, 0x0f, 0x84 };

		memcpy(p + i * 9, test, sizeof(test));
		rel = (uint32_t)(RIG_CODE + i * RIG_CODE_SIZE - (VMM_IMAGE_ADDR + i * 9 + 9));
		memcpy(p + i * 9 + 5, &rel, sizeof(rel));
	}
}

/* -- running ------------------------------------------------------------------------------ */

static inline uint64_t rig_rcx(struct rig_vcpu *c)
{
	struct kvm_regs regs = { 0 };

	ioctl(c->kvm->fd, KVM_GET_REGS, &regs);
	return regs.rcx;
}

static inline uint64_t rig_stores(struct rig_vcpu *c)
{
	return RIG_NR(rig_rcx(c));
}

static inline int rig_answer(struct rig_vcpu *c, struct kvm_run *run)
{
	uint64_t data = 0;
	int err;

	do {
		vmm_vcpu_clear_kick(c->kvm);
		err = rmio_vcpu_exit(c->v, run);
	} while (err == -EINTR && !atomic_load(&c->rig->stop));
	if (run->exit_reason != KVM_EXIT_MMIO)
		return err;
	if (err == -EOPNOTSUPP) {
		err = 0;
		if (run->mmio.is_write) {
			c->holes++;
			c->hole_sum += rig_stores(c);
		} else {
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		}
	} else if (!err && !run->mmio.is_write && c->loaded) {
		memcpy(&data, run->mmio.data, run->mmio.len);
		c->loaded(c, run->mmio.phys_addr, run->mmio.len, data);
	}
	return err;
}

/* To the end of the round.  0; -ECANCELED stopped; other: what went wrong has been said. */
static inline int rig_round(struct rig_vcpu *c)
{
	struct kvm_run *run = c->kvm->run;
	char text[200];
	int err;

	for (;;) {
		err = vmm_vcpu_run(c->kvm);
		if (atomic_load(&c->rig->stop))
			return -ECANCELED;
		if (err == -EINTR) {
			c->interrupted++;
			do {
				vmm_vcpu_clear_kick(c->kvm);
				err = rmio_vcpu_intr(c->v, run);
			} while (err == -EINTR && !atomic_load(&c->rig->stop));
			if (!err)
				continue;
		}
		if (err) {
			T_FAIL("vCPU %u: %s", c->index, strerror(-err));
			return err;
		}
		if (run->exit_reason == KVM_EXIT_IO && run->io.port == RIG_MARK) {
			/* The end of a round is an exit as well. */
			err = rmio_vcpu_exit(c->v, run);
			while (err == -EINTR && !atomic_load(&c->rig->stop)) {
				vmm_vcpu_clear_kick(c->kvm);
				err = rmio_vcpu_exit(c->v, run);
			}
			return 0;
		}
		if (run->exit_reason == KVM_EXIT_IO && run->io.port == RIG_WRONG) {
			struct kvm_regs regs;

			ioctl(c->kvm->fd, KVM_GET_REGS, &regs);
			T_FAIL("vCPU %u loaded 0x%llx, expected 0x%llx", c->index,
			       (unsigned long long)regs.rax, (unsigned long long)regs.rcx);
			return -EILSEQ;
		}
		c->exits++;
		err = rig_answer(c, run);
		if (err) {
			vmm_vcpu_describe_exit(c->kvm, text, sizeof(text));
			T_FAIL("%s: %s", text, strerror(-err));
			return err;
		}
	}
}

static inline void *rig_thread(void *arg)
{
	struct rig_vcpu *c = arg;
	uint64_t i;

	vmm_vcpu_enter(c->kvm);
	for (i = 0; i < c->rounds && !atomic_load(&c->rig->finish) && !ktap_failed(); i++)
		if (rig_round(c))
			break;
	vmm_vcpu_leave(c->kvm);
	return NULL;
}

static inline bool rig_start(struct rig *r, uint64_t rounds)
{
	uint32_t i;

	for (i = 0; i < r->vcpus; i++) {
		r->vcpu[i].rounds = rounds;
		if (!T_EQ(pthread_create(&r->vcpu[i].thread, NULL, rig_thread, &r->vcpu[i]), 0))
			return false;
	}
	return true;
}

static inline void rig_join(struct rig *r)
{
	uint32_t i;

	for (i = 0; i < r->vcpus; i++)
		pthread_join(r->vcpu[i].thread, NULL);
}

/* After the rounds that are under way. */
static inline void rig_finish(struct rig *r)
{
	atomic_store(&r->finish, true);
	rig_join(r);
}

/* -- making ---------------------------------------------------------------------------------- */

/*
 * For tests that make sense with fewer vCPUs: no more than RMIO_TEST_VCPUS says, each of
 * which does what it would do beside others.
 */
static inline uint32_t rig_most(uint32_t vcpus)
{
	const char *most = getenv("RMIO_TEST_VCPUS");
	unsigned long n = most ? strtoul(most, NULL, 10) : 0;

	return n && n < vcpus ? (uint32_t)n : vcpus;
}

static inline void rig_died(void *arg, struct rmio_master *m, enum rmio_state why,
			    const char *reason)
{
	ktap_diag("%s is dead: %s", rmio_master_name(m), reason);
}

/* Why it cannot be made; NULL: it is.  After the device processes are forked. */
static inline const char *rig_new(struct rig *r, uint32_t vcpus, const struct rmio_wait_opts *wait)
{
	struct vmm_vm_opts o = { .sz = sizeof(o), .memory = RIG_MEMORY, .vcpus = vcpus };
	struct rmio_vm_opts vo = { .sz = sizeof(vo), .max_vcpus = vcpus, .dead = rig_died };
	struct rmio_kvm_opts ko = {
		.sz = sizeof(ko),
		.kick_signal = vmm_kick_signal(),
		.first_slot = 64,
		.nr_slots = 64,
		.flags = RMIO_KVM_ZONES,
	};
	static struct vmm_err why;
	const char *text;
	uint32_t i;

	memset(r, 0, sizeof(*r));
	r->vcpus = vcpus;
	if (vmm_vm_new(&o, &r->kvm, &why))
		return why.text;
	T_EQ(rmio_vm_new(&vo, &r->vm), 0);
	ko.vm_fd = r->kvm->fd;
	if (rmio_vm_kvm(r->vm, &ko)) {
		rmio_vm_backend(r->vm, &text);
		snprintf(why.text, sizeof(why.text), "%s", text);
		return why.text;
	}
	for (i = 0; i < vcpus; i++) {
		r->vcpu[i] = (struct rig_vcpu){
			.rig = r, .index = i, .kvm = &r->kvm->vcpus[i], .seed = 4711 + i,
		};
		T_EQ(rmio_vcpu_new(r->vm, i, wait, &r->vcpu[i].v), 0);
	}
	rig_dispatch(r);
	return NULL;
}

#define RIG_ENABLE "run as root on a kernel from 6.1 on with KVM"

static inline void rig_free(struct rig *r)
{
	uint32_t i;

	for (i = 0; i < r->vcpus; i++)
		rmio_vcpu_free(r->vcpu[i].v);
	rmio_vm_free(r->vm);
	vmm_vm_free(r->kvm);
}

/*
 * As if the guest had stored there once.  rmio_kvm_heat drops what comes while another
 * counts or the planner looks; a test that heats no more than it must would wait for ever.
 */
static inline void rig_heat(struct rmio_master *m, uint32_t range, uint64_t offset, uint32_t len)
{
	bool hot;

	pthread_mutex_lock(&rmio_bpf_of(m)->plan->heating);
	hot = rmio_heat_add(&rmio_bpf_of(m)->plan->heat, range, offset, len);
	pthread_mutex_unlock(&rmio_bpf_of(m)->plan->heating);
	if (hot)
		rmio_kvm_ask(m);
}

/* What the program put into the lanes of @m, and what it could not. */
static inline struct rmio_bpf_lane rig_captured(const struct rmio_master *m)
{
	struct rmio_bpf_lane sum = { 0 };
	uint32_t i;

	for (i = 0; i < m->vm->max_vcpus; i++) {
		const volatile struct rmio_bpf_lane *l = &rmio_bpf_of(m)->dev.lanes[i];

		sum.posted += l->posted;
		sum.zone += l->zone;
		sum.through += l->through;
		sum.full += l->full;
		sum.told += l->told;
		sum.bad += l->bad;
		sum.discarded += l->discarded;
		sum.lost += l->lost;
	}
	return sum;
}

#endif
