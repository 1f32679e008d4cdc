// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A BPF program that is asked about the accesses to a kernel device: what it is told, what
 * becomes of its answers, and that it may come, go and be replaced while a guest runs.
 */
#include "ktap.h"
#include "vmm/kvm.h"
#include "user_access.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE	0xe0000000ull
#define LEN	0x2000u
#define MARK	0xe0
#define RANGE	7u
#define VCPUS	2u
#define SHADOW	0x5a5a0000u	/* what the shadow holds, less the offset */
#define REG	0xde000000u	/* what the device answers, less the offset */
#define THROUGH	0x800u		/* from here on: stores to the shadow as well */
#define DEV	0xc00u		/* from here on: loads by the device */
#define EDGE	0x1000u		/* a page's, in the middle of loads from the shadow */
#define SECOND	0xf00u		/* from here on */

struct kvm_user_ops {		/* the first fields, as bpf/user_access.bpf.c has them */
	void *load, *store;
	__s32 master;
};

struct world {
	struct vmm_vm *vm;
	struct vmm_vcpu *vcpu;
	int master, slave;
	uint8_t *code;
	uint32_t *image;
	pthread_t device;
	atomic_uint loads, stores;	/* that the device got */
	atomic_uint last;		/* value of a store */
	atomic_uint stored[VCPUS];	/* the same, by vCPU */
	atomic_uint disorder;		/* stores of a vCPU that are not the last value and 1 */
};

static struct world w;

struct program {
	struct bpf_object *obj;
	struct bpf_map *ops;
	struct bpf_link *link;
	struct user_access_counts *counts;
	uint8_t *filter;
	int rules;
};

static void *device(void *arg)
{
	struct rmio_request r;
	struct rmio_reply a;

	(void)arg;
	while (read(w.slave, &r, sizeof(r)) == sizeof(r)) {
		a = (struct rmio_reply){ .seq = r.seq, .vcpu = r.vcpu, .data = REG + r.offset };
		if (r.op == RMIO_OP_LOAD) {
			atomic_fetch_add(&w.loads, 1);
		} else {
			uint32_t v = (uint32_t)r.data;

			atomic_store(&w.last, v);
			if (atomic_exchange(&w.stored[r.vcpu % VCPUS], v) + 1 != v)
				atomic_fetch_add(&w.disorder, 1);
			atomic_fetch_add(&w.stores, 1);
		}
		if (write(w.slave, &a, sizeof(a)) != sizeof(a))
			break;
	}
	return NULL;
}

static const char *start(void)
{
	static const struct rmio_area areas[] = {
		{
			.length = THROUGH, .range_id = RANGE,
			.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
		}, {
			.offset = THROUGH, .length = DEV - THROUGH, .shadow_offset = THROUGH,
			.range_id = RANGE, .sizes = RMIO_SIZE_ALL,
			.load = RMIO_LOAD_SHADOW, .store = RMIO_STORE_THROUGH,
		}, {
			.offset = SECOND, .length = LEN - SECOND, .shadow_offset = SECOND,
			.range_id = RANGE, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
		},
	};
	struct rmio_kvm_map map = { .areas = (uintptr_t)areas, .nr = KTAP_COUNT(areas) };
	struct vmm_vm_opts o = { .sz = sizeof(o), .memory = 16 << 20, .vcpus = VCPUS };
	struct rmio_pa_range at = { .addr = DEVICE, .len = LEN, .id = RANGE };
	struct kvm_create_device cd = { .type = KVM_DEV_TYPE_USER };
	static const uint8_t hlt = 0xf4;
	uint64_t size = LEN;
	struct vmm_err why;
	uint32_t i;

	memset(&w, 0, sizeof(w));
	if (vmm_vm_new(&o, &w.vm, &why))
		return "no KVM";
	if (ioctl(w.vm->fd, KVM_CREATE_DEVICE, &cd)) {
		vmm_vm_free(w.vm);
		return "this kernel has no KVM_DEV_TYPE_USER";
	}
	w.master = (int)cd.fd;
	w.vcpu = &w.vm->vcpus[0];
	T_EQ(vmm_vm_load(w.vm, &hlt, 1, &why), 0);
	w.code = vmm_vm_ptr(w.vm, VMM_IMAGE_ADDR, 0x1000);
	T_EQ(ioctl(w.master, KVM_DEV_USER_PA_RANGE, &at), 0);
	w.slave = ioctl(w.master, KVM_DEV_USER_SLAVE_FD, 0);
	T_GE(w.slave, 0);
	T_EQ(ioctl(w.slave, KVM_DEV_USER_SHADOW_SIZE, &size), 0);
	w.image = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_SHADOW);
	T_OK(w.image != MAP_FAILED);
	for (i = 0; i < LEN; i += 4)
		w.image[i / 4] = SHADOW + i;
	T_EQ(ioctl(w.slave, KVM_DEV_USER_SHADOW_CTRL, &map), 0);
	T_EQ(pthread_create(&w.device, NULL, device, NULL), 0);
	vmm_vcpu_enter(w.vcpu);
	return NULL;
}

static void stop(void)
{
	vmm_vcpu_leave(w.vcpu);
	if (w.master >= 0)
		close(w.master);
	pthread_join(w.device, NULL);
	munmap(w.image, LEN);
	close(w.slave);
	vmm_vm_free(w.vm);
}

static const char *lacks(void)
{
	if (libbpf_major_version() == 1 && libbpf_minor_version() < 4)
		return "libbpf is older than 1.4";
	return getenv("RMIO_BPF_OBJECT") ? NULL : "RMIO_BPF_OBJECT is not set";
}

#define ENABLE	"./dev vm --kernel patched, with LD_LIBRARY_PATH to the libbpf of selftests/vm/libbpf"

#define START() do {								\
	const char *why_ = lacks();						\
										\
	if (!why_)								\
		why_ = start();							\
	if (why_)								\
		T_SKIP(why_, ENABLE);						\
} while (0)

#define COUNTS_SIZE	(RMIO_LANES_MAX * sizeof(struct user_access_counts))

/* Of the program, all of a section. */
static void *variables(const struct program *p, const char *section, size_t size)
{
	struct bpf_map *m = bpf_object__find_map_by_name(p->obj, section);
	void *at = MAP_FAILED;

	if (T_OK(m) && T_EQ(bpf_map__value_size(m), size))
		at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(m), 0);
	return T_OK(at != MAP_FAILED) ? at : NULL;
}

static bool program_load(struct program *p)
{
	struct kvm_user_ops *ops;
	size_t size;

	memset(p, 0, sizeof(*p));
	p->obj = bpf_object__open_file(getenv("RMIO_BPF_OBJECT"), NULL);
	if (!T_OK(p->obj))
		return false;
	p->ops = bpf_object__find_map_by_name(p->obj, "user_access");
	if (!T_OK(p->ops))
		return false;
	ops = (void *)(uintptr_t)bpf_map__initial_value(p->ops, &size);
	ops->master = w.master;
	if (!T_EQ(bpf_object__load(p->obj), 0))
		return false;
	p->counts = variables(p, ".bss.counts", COUNTS_SIZE);
	p->filter = variables(p, ".bss", USER_ACCESS_FILTER);
	p->rules = bpf_map__fd(bpf_object__find_map_by_name(p->obj, "rules"));
	return p->counts && p->filter;
}

static bool program_attach(struct program *p)
{
	p->link = bpf_map__attach_struct_ops(p->ops);
	return T_OK(p->link);
}

static void program_free(struct program *p)
{
	bpf_link__destroy(p->link);
	if (p->counts)
		munmap(p->counts, COUNTS_SIZE);
	if (p->filter)
		munmap(p->filter, USER_ACCESS_FILTER);
	bpf_object__close(p->obj);
}

static void rule(struct program *p, bool store, uint64_t offset, uint32_t answer)
{
	struct user_access_rule key = { .offset = offset, .range_id = RANGE, .store = store };

	T_EQ(bpf_map_update_elem(p->rules, &key, &answer, BPF_ANY), 0);
	__atomic_store_n(&p->filter[user_access_filter(RANGE, offset)], 1, __ATOMIC_RELAXED);
}

/* The guest may be running. */
static struct user_access_counts counts(const struct program *p, uint32_t vcpu)
{
	struct user_access_counts c;
	size_t i;

	for (i = 0; i < sizeof(c) / sizeof(uint64_t); i++)
		((uint64_t *)&c)[i] = __atomic_load_n((uint64_t *)&p->counts[vcpu] + i,
						     __ATOMIC_RELAXED);
	return c;
}

static struct rmio_counters counters(void)
{
	char *down = mmap(NULL, 2 * RMIO_PAGE, PROT_READ, MAP_SHARED, w.master, RMIO_KVM_MAP_DOWN);
	struct rmio_counters c = {0};

	if (T_OK(down != MAP_FAILED)) {
		c = ((struct rmio_down_lane *)(void *)(down + RMIO_PAGE))->counters;
		munmap(down, 2 * RMIO_PAGE);
	}
	return c;
}

/* Runs the guest's code to the mark. */
static bool run(const uint8_t *code, size_t n)
{
	struct vmm_err why;

	memcpy(w.code, code, n);
	return T_EQ(vmm_vcpu_reset(w.vcpu, 0, &why), 0) && T_EQ(vmm_vcpu_run(w.vcpu), 0) &&
	       T_EQ(w.vcpu->run->exit_reason, KVM_EXIT_IO) && T_EQ(w.vcpu->run->io.port, MARK);
}

/* One guest load of 4 bytes. */
static uint32_t load(uint32_t offset)
{
	uint8_t code[] = { 0xa1, 0, 0, 0, 0, 0, 0, 0, 0, 0xe6, MARK }; /* movabs at,%eax; out */
	uint64_t at = DEVICE + offset;
	struct kvm_regs regs = {0};

	memcpy(code + 1, &at, 8);
	if (run(code, sizeof(code)))
		T_EQ(ioctl(w.vcpu->fd, KVM_GET_REGS, &regs), 0);
	return (uint32_t)regs.rax;
}

static void store(uint32_t offset, uint32_t value)
{
	uint8_t code[] = { 0xb8, 0, 0, 0, 0, 0xa3, 0, 0, 0, 0, 0, 0, 0, 0, 0xe6, MARK };
	uint64_t at = DEVICE + offset;

	memcpy(code + 1, &value, 4);
	memcpy(code + 6, &at, 8);
	run(code, sizeof(code));
}

/* Loads by the device wait for what was stored before. */
static void settle(void)
{
	T_EQ(load(DEV), REG + DEV);
}

static void counted(void)
{
	struct program p;
	struct user_access_counts c;

	START();
	if (program_load(&p) && program_attach(&p)) {
		T_EQ(load(0x10), SHADOW + 0x10);
		T_EQ(load(DEV + 8), REG + DEV + 8);	/* waits, and is asked about once */
		store(0x20, 1);
		T_EQ(load(0x10), SHADOW + 0x10);	/* waits for the store */
		c = counts(&p, 0);
		T_EQ(c.loads[2], 3);
		T_EQ(c.stores[2], 1);
		T_EQ(c.loads[0] + c.loads[1] + c.loads[3], 0);
		T_EQ(c.stores[0] + c.stores[1] + c.stores[3], 0);
		T_EQ(c.to_device + c.refused, 0);
		T_EQ(atomic_load(&w.loads), 1);
		T_EQ(atomic_load(&w.stores), 1);
	}
	program_free(&p);
	stop();
}

static void answers(void)
{
	struct user_access_counts c;
	struct rmio_counters n;
	struct program p;

	START();
	if (program_load(&p) && program_attach(&p)) {
		rule(&p, false, 0x10, RMIO_KVM_TO_DEVICE);
		rule(&p, false, 0x14, RMIO_KVM_REFUSE);
		rule(&p, false, DEV + 4, RMIO_KVM_AS_MAPPED);	/* gives it no shadow */
		rule(&p, false, DEV + 8, RMIO_KVM_REFUSE);
		rule(&p, true, 0x20, RMIO_KVM_REFUSE);
		rule(&p, true, THROUGH, RMIO_KVM_TO_DEVICE);
		T_EQ(load(0x10), REG + 0x10);
		T_EQ(load(0x14), 0xffffffffu);
		T_EQ(load(0x18), SHADOW + 0x18);
		T_EQ(load(DEV + 4), REG + DEV + 4);
		T_EQ(load(DEV + 8), 0xffffffffu);
		T_EQ(atomic_load(&w.loads), 2);
		store(0x20, 1);
		settle();
		T_EQ(atomic_load(&w.stores), 0);
		store(THROUGH, 2);
		store(THROUGH + 4, 3);
		settle();
		T_EQ(atomic_load(&w.stores), 2);
		T_EQ(atomic_load(&w.last), 3);
		T_EQ(w.image[THROUGH / 4], SHADOW + THROUGH);
		T_EQ(w.image[THROUGH / 4 + 1], 3);
		c = counts(&p, 0);
		T_EQ(c.to_device, 2);
		T_EQ(c.refused, 3);
		n = counters();
		T_EQ(n.ones, 2);
		T_EQ(n.discarded, 1);
	}
	program_free(&p);
	stop();
}

/* 0, or -errno. */
static int access_by_vmm(uint64_t offset, bool is_store, uint32_t *data)
{
	struct rmio_kvm_access a = {
		.addr = DEVICE + offset, .bus = RMIO_BUS_MEM, .len = 4, .store = is_store,
		.data = *data,
	};

	if (ioctl(w.master, KVM_DEV_USER_ACCESS, &a))
		return -errno;
	*data = (uint32_t)a.data;
	return 0;
}

static uint32_t load_by_vmm(uint64_t offset)
{
	uint32_t data = 0;

	T_EQ(access_by_vmm(offset, false, &data), 0);
	return data;
}

static void store_by_vmm(uint64_t offset, uint32_t data)
{
	T_EQ(access_by_vmm(offset, true, &data), 0);
}

/* What the VMM passes on is asked about as well, and has the same answers. */
static void of_the_vmm(void)
{
	struct user_access_counts c;
	struct program p;

	START();
	if (program_load(&p) && program_attach(&p)) {
		rule(&p, false, 0x10, RMIO_KVM_TO_DEVICE);
		rule(&p, false, 0x14, RMIO_KVM_REFUSE);
		rule(&p, true, 0x20, RMIO_KVM_REFUSE);
		rule(&p, true, THROUGH, RMIO_KVM_TO_DEVICE);
		T_EQ(load_by_vmm(0x10), REG + 0x10);
		T_EQ(load_by_vmm(0x14), 0xffffffffu);
		T_EQ(load_by_vmm(0x18), SHADOW + 0x18);
		T_EQ(atomic_load(&w.loads), 1);
		store_by_vmm(0x20, 1);
		store_by_vmm(THROUGH, 2);
		store_by_vmm(THROUGH + 4, 3);
		settle();
		T_EQ(atomic_load(&w.stores), 2);
		T_EQ(w.image[THROUGH / 4], SHADOW + THROUGH);
		T_EQ(w.image[THROUGH / 4 + 1], 3);
		c = counts(&p, 0);
		T_EQ(c.to_device, 2);
		T_EQ(c.refused, 2);
	}
	program_free(&p);
	stop();
}

/* A load over the end of a page is two; each is asked about once, wherever it goes. */
static void over_an_edge(void)
{
	uint32_t before = (SHADOW + EDGE - 4) >> 16, after = (SHADOW + EDGE) & 0xffff;
	struct program p;

	START();
	if (program_load(&p) && program_attach(&p)) {
		T_EQ(load(EDGE - 2), after << 16 | before);
		T_EQ(counts(&p, 0).loads[1], 2);
		rule(&p, false, EDGE, RMIO_KVM_TO_DEVICE);
		T_EQ(load(EDGE - 2), ((REG + EDGE) & 0xffff) << 16 | before);
		T_EQ(counts(&p, 0).loads[1], 4);
		T_EQ(counts(&p, 0).to_device, 1);
		rule(&p, false, EDGE - 2, RMIO_KVM_TO_DEVICE);
		T_EQ(load(EDGE - 2), ((REG + EDGE) & 0xffff) << 16 | ((REG + EDGE - 2) & 0xffff));
		T_EQ(counts(&p, 0).loads[1], 6);
		T_EQ(counts(&p, 0).to_device, 3);
		T_EQ(load(EDGE - 2), ((REG + EDGE) & 0xffff) << 16 | ((REG + EDGE - 2) & 0xffff));
		T_EQ(counts(&p, 0).loads[1], 8);
		T_EQ(atomic_load(&w.loads), 5);
		/* Three bytes are two and one, each with an answer of its own. */
		rule(&p, false, EDGE, RMIO_KVM_AS_MAPPED);
		rule(&p, false, EDGE + 2, RMIO_KVM_TO_DEVICE);
		T_EQ(load(EDGE - 1), (SHADOW + EDGE - 4) >> 24 | after << 8 |
				     ((REG + EDGE + 2) & 0xff) << 24);
		T_EQ(atomic_load(&w.loads), 6);
	}
	program_free(&p);
	stop();
}

static void nonsense(void)
{
	static const uint32_t bad[] = { 3, 4, 0x7fffffff, 0x80000000, UINT32_MAX };
	struct program p;
	uint32_t i;

	START();
	if (program_load(&p) && program_attach(&p)) {
		for (i = 0; i < KTAP_COUNT(bad); i++) {
			rule(&p, false, 0x10, bad[i]);
			rule(&p, true, THROUGH, bad[i]);
			T_EQ(load(0x10), REG + 0x10);
			store(THROUGH, i);
			settle();
			T_EQ(atomic_load(&w.last), i);
			T_EQ(atomic_load(&w.stores), i + 1);
			T_EQ(w.image[THROUGH / 4], SHADOW + THROUGH);
		}
	}
	program_free(&p);
	stop();
}

/* To whom it may be attached, and how often. */
static void attaching(void)
{
	struct program p, q;
	int master, null;

	START();
	master = w.master;
	if (program_load(&p) && program_attach(&p) && program_load(&q)) {
		T_OK(!bpf_map__attach_struct_ops(p.ops));
		T_EQ(errno, EBUSY);
		T_OK(!bpf_map__attach_struct_ops(q.ops));
		T_EQ(errno, EBUSY);
		bpf_link__destroy(p.link);
		p.link = NULL;
		T_EQ(load(0x10), SHADOW + 0x10);
		T_EQ(counts(&p, 0).loads[2], 0);
		program_attach(&q);
		T_EQ(load(0x10), SHADOW + 0x10);
		T_EQ(counts(&q, 0).loads[2], 1);
		program_free(&q);
	}
	program_free(&p);
	null = open("/dev/null", O_RDWR);
	w.master = null;
	if (program_load(&p)) {
		T_OK(!bpf_map__attach_struct_ops(p.ops));
		T_EQ(errno, EINVAL);
	}
	program_free(&p);
	close(null);
	w.master = 999999;
	if (program_load(&p)) {
		T_OK(!bpf_map__attach_struct_ops(p.ops));
		T_EQ(errno, EBADF);
	}
	program_free(&p);
	/* The device process has not the say. */
	w.master = w.slave;
	if (program_load(&p)) {
		T_OK(!bpf_map__attach_struct_ops(p.ops));
		T_EQ(errno, EINVAL);
	}
	program_free(&p);
	w.master = master;
	stop();
}

static void device_gone(void)
{
	int (*update)(struct bpf_link *, const struct bpf_map *) = dlsym(RTLD_DEFAULT,
									 "bpf_link__update_map");
	struct program p, q;

	START();
	if (program_load(&p) && program_attach(&p) && program_load(&q)) {
		T_EQ(load(0x10), SHADOW + 0x10);
		close(w.master);
		w.master = -1;
		T_EQ(counts(&p, 0).loads[2], 1);
		if (T_OK(update))
			T_EQ(update(p.link, q.ops), -ENODEV);
		program_free(&q);
	}
	program_free(&p);
	stop();
}

/* -- while the guest runs ------------------------------------------------------------- */

#define BATCH	32u		/* loads, and as many stores, between two looks */
#define MARK_BAD 0xe1

struct guest {
	struct vmm_vcpu *vcpu;
	pthread_t thread;
	atomic_ulong batches;
	uint32_t stored;	/* the last value */
};

static struct guest guests[VCPUS];
static atomic_bool done;

/*
 * By turns a load of 0x10, which has two right answers, and a store to 0x20 of one more each time
 * (in EDX); all of a batch without a return to user space.
 */
static void batch_code(uint8_t *at)
{
	uint8_t code[] = {
		0xb9, BATCH, 0, 0, 0,			/*     mov $BATCH, %ecx */
		0xa1, 0, 0, 0, 0, 0, 0, 0, 0,		/* 1:  movabs load, %eax */
		0x3d, 0, 0, 0, 0, 0x74, 9,		/*     cmp $shadow, %eax; je 2f */
		0x3d, 0, 0, 0, 0, 0x74, 2,		/*     cmp $device, %eax; je 2f */
		0xe6, MARK_BAD,				/*     out */
		0xff, 0xc2, 0x89, 0xd0,			/* 2:  inc %edx; mov %edx, %eax */
		0xa3, 0, 0, 0, 0, 0, 0, 0, 0,		/*     movabs %eax, store */
		0xff, 0xc9, 0x75, 0xd6,			/*     dec %ecx; jnz 1b */
		0xe6, MARK,				/*     out */
	};
	uint64_t from = DEVICE + 0x10, to = DEVICE + 0x20;
	uint32_t shadow = SHADOW + 0x10, reg = REG + 0x10;

	memcpy(code + 6, &from, 8);
	memcpy(code + 15, &shadow, 4);
	memcpy(code + 22, &reg, 4);
	memcpy(code + 35, &to, 8);
	memcpy(at, code, sizeof(code));
}

static bool batch(struct guest *g, uint8_t *code)
{
	struct kvm_regs regs;
	struct vmm_err why;

	if (!T_EQ(vmm_vcpu_reset(g->vcpu, 0, &why), 0) ||
	    !T_EQ(ioctl(g->vcpu->fd, KVM_GET_REGS, &regs), 0))
		return false;
	regs.rip = VMM_IMAGE_ADDR + (uint64_t)(code - w.code);
	regs.rdx = g->stored;
	if (!T_EQ(ioctl(g->vcpu->fd, KVM_SET_REGS, &regs), 0) ||
	    !T_EQ(vmm_vcpu_run(g->vcpu), 0) || !T_EQ(g->vcpu->run->exit_reason, KVM_EXIT_IO) ||
	    !T_EQ(g->vcpu->run->io.port, MARK) ||
	    !T_EQ(ioctl(g->vcpu->fd, KVM_GET_REGS, &regs), 0))
		return false;
	g->stored = (uint32_t)regs.rdx;
	return true;
}

static void *guest(void *arg)
{
	struct guest *g = arg;
	uint8_t *code = w.code + 0x400 + (g - guests) * 0x400;

	batch_code(code);
	vmm_vcpu_enter(g->vcpu);
	while (!atomic_load(&done) && batch(g, code))
		atomic_fetch_add(&g->batches, 1);
	vmm_vcpu_leave(g->vcpu);
	return NULL;
}

static void guests_start(void)
{
	uint32_t i;

	vmm_vcpu_leave(w.vcpu);
	atomic_store(&done, false);
	for (i = 0; i < VCPUS; i++) {
		guests[i] = (struct guest){ .vcpu = &w.vm->vcpus[i] };
		T_EQ(pthread_create(&guests[i].thread, NULL, guest, &guests[i]), 0);
	}
}

/* Of each vCPU a batch that began after now, and ended. */
static void guests_go_on(void)
{
	unsigned long before;
	uint32_t i;

	for (i = 0; i < VCPUS; i++) {
		before = atomic_load(&guests[i].batches);
		while (atomic_load(&guests[i].batches) < before + 2 && !ktap_failed())
			usleep(100);
	}
}

/* How many loads there were, and stores; each store has come, in order. */
static uint64_t guests_stop(void)
{
	uint64_t all = 0;
	uint32_t i;

	atomic_store(&done, true);
	for (i = 0; i < VCPUS; i++)
		pthread_join(guests[i].thread, NULL);
	for (i = 0; i < VCPUS; i++) {
		T_EQ(guests[i].stored, BATCH * atomic_load(&guests[i].batches));
		all += guests[i].stored;
		w.vcpu = guests[i].vcpu;
		vmm_vcpu_enter(w.vcpu);
		settle();
		vmm_vcpu_leave(w.vcpu);
		T_EQ(atomic_load(&w.stored[i]), guests[i].stored);
	}
	w.vcpu = guests[0].vcpu;
	vmm_vcpu_enter(w.vcpu);
	T_EQ(atomic_load(&w.disorder), 0);
	T_EQ(atomic_load(&w.stores), all);
	return all;
}

/* How many loads of 4 bytes, and stores, the program was asked about. */
static uint64_t asked_loads(const struct program *p)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < VCPUS; i++)
		n += counts(p, i).loads[2];
	return n;
}

static uint64_t asked_stores(const struct program *p)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < VCPUS; i++)
		n += counts(p, i).stores[2];
	return n;
}

static void detached(void)
{
	struct program p;
	uint64_t before;
	int i;

	START();
	if (program_load(&p)) {
		rule(&p, false, 0x10, RMIO_KVM_TO_DEVICE);
		guests_start();
		for (i = 0; i < 30 && program_attach(&p); i++) {
			before = asked_loads(&p);
			guests_go_on();
			T_GE(asked_loads(&p), before + VCPUS * BATCH);
			bpf_link__destroy(p.link);
			p.link = NULL;
			/* Nobody is in it any more. */
			before = asked_loads(&p);
			guests_go_on();
			T_EQ(asked_loads(&p), before);
		}
		guests_stop();
	}
	program_free(&p);
	stop();
}

static void replaced(void)
{
	int (*update)(struct bpf_link *, const struct bpf_map *) = dlsym(RTLD_DEFAULT,
									 "bpf_link__update_map");
	uint64_t loads = 0, stores = 0, all, seen;
	struct program p, next;
	int i;

	START();
	if (T_OK(update) && program_load(&p) && program_attach(&p)) {
		guests_start();
		for (i = 0; i < 30 && program_load(&next); i++) {
			if (i & 1)
				rule(&next, false, 0x10, RMIO_KVM_TO_DEVICE);
			if (!T_EQ(update(p.link, next.ops), 0))
				break;
			loads += asked_loads(&p);
			stores += asked_stores(&p);
			seen = asked_loads(&p);
			guests_go_on();
			T_GE(asked_loads(&next), VCPUS * BATCH);
			T_EQ(asked_loads(&p), seen);
			/* The link stays; what it led to goes. */
			next.link = p.link;
			p.link = NULL;
			program_free(&p);
			p = next;
		}
		/* One of them was asked about each access, and once. */
		all = guests_stop();
		T_EQ(loads + asked_loads(&p), all + VCPUS);	/* and those of settle() */
		T_EQ(stores + asked_stores(&p), all);
	}
	program_free(&p);
	stop();
}

static void dump(void)
{
	const char *tool = getenv("RMIO_BPFTOOL");
	char text[4096], command[4200];
	struct program p;
	size_t n = 0;
	FILE *f;

	if (!tool)
		T_SKIP("RMIO_BPFTOOL is not set", ENABLE);
	if (!access("/sys/kernel/btf/kvm", F_OK))
		T_SKIP("KVM is a module, and bpftool knows the types of vmlinux alone",
		       "only on the debug kernel");
	START();
	if (program_load(&p) && program_attach(&p)) {
		snprintf(command, sizeof(command), "%s struct_ops dump name user_access", tool);
		f = popen(command, "r");
		if (T_OK(f)) {
			n = fread(text, 1, sizeof(text) - 1, f);
			T_EQ(pclose(f), 0);
		}
		text[n] = 0;
		if (!T_OK(strstr(text, "bpf_struct_ops_kvm_user_ops")) ||
		    !T_OK(strstr(text, "user_access_load")))
			ktap_diag("%s", text);
	}
	program_free(&p);
	stop();
}

static const struct ktap_test tests[] = {
	{ "accesses are counted", counted, 120 },
	{ "answers", answers, 120 },
	{ "accesses of the VMM", of_the_vmm, 120 },
	{ "a load over the end of a page", over_an_edge, 120 },
	{ "answers that are none", nonsense, 120 },
	{ "attaching", attaching, 120 },
	{ "the device goes first", device_gone, 120 },
	{ "attached and detached while the guest runs", detached, 120 },
	{ "replaced while the guest runs", replaced, 120 },
	{ "bpftool shows it", dump, 120 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
