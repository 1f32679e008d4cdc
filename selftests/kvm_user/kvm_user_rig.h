/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * kvm_user_rig.h - for tests of the kernel device KVM_DEV_TYPE_USER by its own system calls, with
 * no library between: a VM, its master and slave, guest code made of single accesses, and a device
 * process that is a thread and a file of registers.
 */
#ifndef RMIO_KVM_USER_RIG_H
#define RMIO_KVM_USER_RIG_H

#include "ktap.h"
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <rmio/abi.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVICE		0xe0000000ull
#define LEN		0x10000u
#define PORT		0x1000u
#define PORTS		0x100u
#define MARK		0xe0		/* a port that ends the guest's code */
#define ENABLE		"run it on a kernel with kern/'s patches: ./dev vm --kernel patched"

#define RIG_VCPUS	8
#define RIG_CODE	0x110000ull	/* guest-physical, 64 KiB a vCPU */
#define RIG_CODE_LEN	0x10000u
#define RIG_RESULTS	0x400000ull	/* 512 KiB a vCPU */
#define RIG_RESULTS_LEN	0x80000u

struct rig_vcpu {
	struct vmm_vcpu *v;
	uint8_t *code;
	size_t n;			/* bytes of code */
	volatile uint64_t *result;	/* of its loads, in their order */
	unsigned int results;
	uint64_t exits;			/* to user space, but for the marker */
	uint64_t exit_addr;		/* of the last one */
	atomic_ulong interrupted;	/* -EINTR of KVM_RUN */
	atomic_bool ended;
	pthread_t thread;
};

struct rig {
	struct vmm_vm *vm;
	int master, slave;
	unsigned int nr;
	struct rig_vcpu vcpu[RIG_VCPUS];
	const uint8_t *down;		/* as the master maps it */
	size_t down_size;

	pthread_t device;
	bool has_device;
	/* What the device answers, rig_answer() unless told; what is done about an exit first. */
	struct rmio_reply (*answer)(const struct rmio_request *r);
	void (*on_exit)(unsigned int vcpu, const struct kvm_run *run);
	/* What the device got, and its registers. */
	struct rmio_request log[8192];
	atomic_uint n;
	uint8_t reg[LEN];
};

static struct rig w;

static inline int rig_create(int vm)
{
	struct kvm_create_device cd = { .type = KVM_DEV_TYPE_USER };

	return ioctl(vm, KVM_CREATE_DEVICE, &cd) ? -errno : (int)cd.fd;
}

/* An ioctl's answer as -errno. */
#define CALL(fd, cmd, arg) (ioctl(fd, cmd, arg) < 0 ? -errno : 0)

/* Until somebody else has done it: the time limit of the test is the only one. */
#define UNTIL(cond)					\
	do {						\
		while (!(cond) && !ktap_failed())	\
			usleep(200);			\
	} while (0)

static inline int rig_range_of(int master, uint64_t addr, uint64_t len, uint32_t bus, uint32_t id)
{
	struct rmio_pa_range r = { .addr = addr, .len = len, .bus = bus, .id = id };

	return CALL(master, KVM_DEV_USER_PA_RANGE, &r);
}

static inline int rig_range(uint64_t addr, uint64_t len, uint32_t bus, uint32_t id)
{
	return rig_range_of(w.master, addr, len, bus, id);
}

static inline int rig_timeout(uint64_t ns)
{
	return CALL(w.master, KVM_DEV_USER_TIMEOUT, &ns);
}

static inline uint32_t rig_state(void)
{
	uint32_t state = ~0u;

	T_EQ(ioctl(w.master, KVM_DEV_USER_STATE, &state), 0);
	return state;
}

static inline int rig_shadow_size(uint64_t size)
{
	return CALL(w.slave, KVM_DEV_USER_SHADOW_SIZE, &size);
}

static inline int rig_map(const struct rmio_area *areas, uint32_t nr)
{
	struct rmio_kvm_map map = { .areas = (uintptr_t)areas, .nr = nr };

	return CALL(w.slave, KVM_DEV_USER_SHADOW_CTRL, &map);
}

static inline void *rig_image(uint64_t size)
{
	void *image;

	if (!T_EQ(rig_shadow_size(size), 0))
		return NULL;
	image = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_SHADOW);
	return T_OK(image != MAP_FAILED) ? image : NULL;
}

/* The wait of that vCPU, or its next one, ends. */
static inline void rig_kick_wait(uint32_t vcpu)
{
	T_EQ(CALL(w.master, KVM_DEV_USER_KICK, &vcpu), 0);
}

/* As the guest would; *data is what is stored, or loaded. */
static inline int rig_access(uint32_t vcpu, uint64_t addr, uint8_t bus, uint8_t len, bool store,
			     uint64_t *data)
{
	struct rmio_kvm_access a = {
		.addr = addr, .data = *data, .vcpu = vcpu, .bus = bus, .len = len, .store = store,
	};
	int err = CALL(w.master, KVM_DEV_USER_ACCESS, &a);

	*data = a.data;
	return err;
}

/* -- a VM with one device --------------------------------------------------------- */

struct rig_opts {
	unsigned int vcpus;		/* 0: one */
	struct rmio_kvm_rings rings;	/* 0: the device's own */
	bool no_slave;
};

static inline const struct rmio_down_lane *rig_lane(unsigned int i)
{
	const struct rmio_down_hdr *hdr = (const void *)w.down;

	return (const void *)(w.down + RMIO_PAGE + i * hdr->lane_stride);
}

static inline const struct rmio_counters *rig_count(unsigned int i)
{
	return &rig_lane(i)->counters;
}

#define COUNT(i, name) __atomic_load_n(&rig_count(i)->name, __ATOMIC_RELAXED)
/* The vCPU sleeps in the kernel, or is about to. */
#define SLEEPS(i) __atomic_load_n(&rig_lane(i)->need_wake, __ATOMIC_RELAXED)

static inline bool rig_map_down(void)
{
	const struct rmio_down_hdr *hdr;
	void *p = mmap(NULL, RMIO_PAGE, PROT_READ, MAP_SHARED, w.master, RMIO_KVM_MAP_DOWN);

	if (!T_OK(p != MAP_FAILED))
		return false;
	hdr = p;
	w.down_size = hdr->size;
	munmap(p, RMIO_PAGE);
	p = mmap(NULL, w.down_size, PROT_READ, MAP_SHARED, w.master, RMIO_KVM_MAP_DOWN);
	w.down = p;
	return T_OK(p != MAP_FAILED);
}

/* Why there is nothing to test with, or NULL. */
static inline const char *rig_start(struct rig_opts o)
{
	struct vmm_vm_opts vo = { .sz = sizeof(vo), .memory = 16 << 20,
				  .vcpus = o.vcpus ? o.vcpus : 1 };
	static const uint8_t hlt = 0xf4;
	struct vmm_err why;
	unsigned int i;

	memset(&w, 0, sizeof(w));
	w.slave = w.master = -1;
	if (vmm_vm_new(&vo, &w.vm, &why))
		return "no KVM";
	w.master = rig_create(w.vm->fd);
	if (w.master < 0)
		return "this kernel has no KVM_DEV_TYPE_USER";
	T_EQ(vmm_vm_load(w.vm, &hlt, 1, &why), 0);
	w.nr = vo.vcpus;
	for (i = 0; i < w.nr; i++) {
		w.vcpu[i].v = &w.vm->vcpus[i];
		w.vcpu[i].code = vmm_vm_ptr(w.vm, RIG_CODE + i * RIG_CODE_LEN, RIG_CODE_LEN);
		w.vcpu[i].result = vmm_vm_ptr(w.vm, RIG_RESULTS + i * RIG_RESULTS_LEN,
					      RIG_RESULTS_LEN);
	}
	if (o.rings.slots || o.rings.lanes) {
		o.rings.lanes = o.rings.lanes ? o.rings.lanes : w.nr;
		T_EQ(CALL(w.master, KVM_DEV_USER_RINGS, &o.rings), 0);
	}
	T_EQ(rig_range(DEVICE, LEN, RMIO_BUS_MEM, 0), 0);
	rig_map_down();
	if (!o.no_slave) {
		w.slave = ioctl(w.master, KVM_DEV_USER_SLAVE_FD, 0);
		T_GE(w.slave, 0);
	}
	return NULL;
}

#define RIG_HAVE(why)							\
	do {								\
		const char *why_ = (why);				\
									\
		if (why_)						\
			T_SKIP(why_, ENABLE);				\
	} while (0)

#define RIG_START(...) RIG_HAVE(rig_start((struct rig_opts){ __VA_ARGS__ }))

/* -- the device process ------------------------------------------------------------ */

/*
 * Registers that keep what was stored last; what reaches over their end reads as 0.  Beyond the
 * size of the access a device may answer anything.
 */
static inline struct rmio_reply rig_answer(const struct rmio_request *r)
{
	struct rmio_reply a = { .seq = r->seq, .vcpu = r->vcpu };

	if (r->len < 8)
		a.data = ~0ull << 8 * r->len;
	if (r->offset > LEN || r->len > LEN - r->offset)
		return a;
	if (r->op == RMIO_OP_LOAD)
		memcpy(&a.data, w.reg + r->offset, r->len);
	else
		memcpy(w.reg + r->offset, &r->data, r->len);
	return a;
}

static inline void *rig_device(void *arg)
{
	struct rmio_request r[16];
	struct rmio_reply a[16];
	ssize_t n, i;

	(void)arg;
	for (;;) {
		n = read(w.slave, r, sizeof(r));
		if (n <= 0)
			return NULL;
		n /= (ssize_t)sizeof(r[0]);
		for (i = 0; i < n; i++) {
			unsigned int at = atomic_load(&w.n);

			w.log[at % KTAP_COUNT(w.log)] = r[i];
			atomic_store(&w.n, at + 1);
			a[i] = w.answer ? w.answer(&r[i]) : rig_answer(&r[i]);
		}
		if (write(w.slave, a, (size_t)n * sizeof(a[0])) != n * (ssize_t)sizeof(a[0]))
			return NULL;
	}
}

static inline void rig_serve(void)
{
	w.has_device = T_EQ(pthread_create(&w.device, NULL, rig_device, NULL), 0);
}

static inline void rig_close_master(void)
{
	if (w.down)
		munmap((void *)w.down, w.down_size);
	w.down = NULL;
	if (w.master >= 0)
		close(w.master);
	w.master = -1;
}

static inline void rig_close_slave(void)
{
	if (w.slave >= 0)
		close(w.slave);
	w.slave = -1;
}

static inline void rig_stop(void)
{
	rig_close_master();
	if (w.has_device)
		pthread_join(w.device, NULL);
	rig_close_slave();
	vmm_vm_free(w.vm);
}

/* A device process that takes its time. */
static inline struct rmio_request rig_take(void)
{
	struct rmio_request r = { 0 };

	T_EQ(read(w.slave, &r, sizeof(r)), sizeof(r));
	return r;
}

static inline int rig_reply(uint32_t vcpu, uint64_t seq, uint64_t data)
{
	struct rmio_reply a = { .seq = seq, .data = data, .vcpu = vcpu };
	ssize_t n = write(w.slave, &a, sizeof(a));

	return n < 0 ? -errno : n == sizeof(a) ? 0 : -EIO;
}

/* -- the guest's code --------------------------------------------------------------- */

static inline void g_bytes(unsigned int i, const void *bytes, size_t n)
{
	struct rig_vcpu *c = &w.vcpu[i];

	if (T_LE(c->n + n, RIG_CODE_LEN)) {
		memcpy(c->code + c->n, bytes, n);
		c->n += n;
	}
}

#define G(i, ...)						\
	do {							\
		static const uint8_t bytes_[] = { __VA_ARGS__ }; \
								\
		g_bytes(i, bytes_, sizeof(bytes_));		\
	} while (0)

static inline void g_begin(unsigned int i)
{
	w.vcpu[i].n = 0;
	w.vcpu[i].results = 0;
}

static inline void g_rbx(unsigned int i, uint64_t value)
{
	G(i, 0x48, 0xbb);				/* mov $value,%rbx */
	g_bytes(i, &value, 8);
}

static inline void g_rax(unsigned int i, uint64_t value)
{
	G(i, 0x48, 0xb8);				/* mov $value,%rax */
	g_bytes(i, &value, 8);
}

/* Keeps RAX; returns the number of the result. */
static inline unsigned int g_result(unsigned int i)
{
	unsigned int nr = w.vcpu[i].results++;
	uint64_t at = RIG_RESULTS + i * RIG_RESULTS_LEN + 8ull * nr;

	T_LE(8 * (nr + 1), RIG_RESULTS_LEN);
	w.vcpu[i].result[nr] = 0xdeaddeaddeaddeadull;
	G(i, 0x48, 0xa3);				/* mov %rax,at */
	g_bytes(i, &at, 8);
	return nr;
}

static inline unsigned int g_load(unsigned int i, uint64_t addr, unsigned int len)
{
	g_rbx(i, addr);
	switch (len) {
	case 1:
		G(i, 0x0f, 0xb6, 0x03);			/* movzbl (%rbx),%eax */
		break;
	case 2:
		G(i, 0x0f, 0xb7, 0x03);			/* movzwl (%rbx),%eax */
		break;
	case 4:
		G(i, 0x8b, 0x03);			/* mov (%rbx),%eax */
		break;
	default:
		G(i, 0x48, 0x8b, 0x03);			/* mov (%rbx),%rax */
		break;
	}
	return g_result(i);
}

static inline void g_store(unsigned int i, uint64_t addr, unsigned int len, uint64_t data)
{
	g_rbx(i, addr);
	g_rax(i, data);
	switch (len) {
	case 1:
		G(i, 0x88, 0x03);			/* mov %al,(%rbx) */
		break;
	case 2:
		G(i, 0x66, 0x89, 0x03);			/* mov %ax,(%rbx) */
		break;
	case 4:
		G(i, 0x89, 0x03);			/* mov %eax,(%rbx) */
		break;
	default:
		G(i, 0x48, 0x89, 0x03);			/* mov %rax,(%rbx) */
		break;
	}
}

static inline void g_edx(unsigned int i, uint32_t value)
{
	G(i, 0xba);					/* mov $value,%edx */
	g_bytes(i, &value, 4);
}

static inline unsigned int g_in(unsigned int i, uint32_t port, unsigned int len)
{
	g_edx(i, port);
	G(i, 0x31, 0xc0);				/* xor %eax,%eax */
	if (len == 1)
		G(i, 0xec);				/* in %dx,%al */
	else if (len == 2)
		G(i, 0x66, 0xed);			/* in %dx,%ax */
	else
		G(i, 0xed);				/* in %dx,%eax */
	return g_result(i);
}

static inline void g_out(unsigned int i, uint32_t port, unsigned int len, uint32_t data)
{
	g_edx(i, port);
	g_rax(i, data);
	if (len == 1)
		G(i, 0xee);				/* out %al,%dx */
	else if (len == 2)
		G(i, 0x66, 0xef);			/* out %ax,%dx */
	else
		G(i, 0xef);				/* out %eax,%dx */
}

/* Sixteen bytes, which KVM takes apart; they go from and to two results. */
static inline unsigned int g_load16(unsigned int i, uint64_t addr)
{
	unsigned int nr = w.vcpu[i].results;
	uint32_t at = (uint32_t)(RIG_RESULTS + i * RIG_RESULTS_LEN + 8ull * nr);

	w.vcpu[i].results += 2;
	g_rbx(i, addr);
	G(i, 0x0f, 0x10, 0x03);				/* movups (%rbx),%xmm0 */
	G(i, 0x0f, 0x11, 0x04, 0x25);			/* movups %xmm0,at */
	g_bytes(i, &at, 4);
	return nr;
}

static inline void g_store16(unsigned int i, uint64_t addr, uint64_t low, uint64_t high)
{
	unsigned int nr = w.vcpu[i].results;
	uint32_t at = (uint32_t)(RIG_RESULTS + i * RIG_RESULTS_LEN + 8ull * nr);

	w.vcpu[i].results += 2;
	w.vcpu[i].result[nr] = low;
	w.vcpu[i].result[nr + 1] = high;
	g_rbx(i, addr);
	G(i, 0x0f, 0x10, 0x04, 0x25);			/* movups at,%xmm0 */
	g_bytes(i, &at, 4);
	G(i, 0x0f, 0x11, 0x03);				/* movups %xmm0,(%rbx) */
}

/* What is between goes round @times; it must leave RCX alone. */
static inline size_t g_loop(unsigned int i, uint64_t times)
{
	G(i, 0x48, 0xb9);				/* mov $times,%rcx */
	g_bytes(i, &times, 8);
	return w.vcpu[i].n;
}

static inline void g_again(unsigned int i, size_t top)
{
	int32_t back;

	G(i, 0x48, 0xff, 0xc9, 0x0f, 0x85);		/* dec %rcx; jnz top */
	back = (int32_t)(top - (w.vcpu[i].n + 4));
	g_bytes(i, &back, 4);
}

static inline void g_end(unsigned int i)
{
	G(i, 0xe6, MARK);				/* out %al,$MARK */
}

/* -- running it ---------------------------------------------------------------------- */

static inline bool rig_reset(unsigned int i)
{
	struct rig_vcpu *c = &w.vcpu[i];
	struct kvm_regs regs;
	struct vmm_err why;

	if (!T_EQ(vmm_vcpu_reset(c->v, 0, &why), 0) ||
	    !T_EQ(ioctl(c->v->fd, KVM_GET_REGS, &regs), 0))
		return false;
	regs.rip = RIG_CODE + i * RIG_CODE_LEN;
	return T_EQ(ioctl(c->v->fd, KVM_SET_REGS, &regs), 0);
}

/* KVM_RUN to the marker, by the vCPU's thread; counts other exits, and answers all ones. */
static inline bool rig_resume(unsigned int i)
{
	struct rig_vcpu *c = &w.vcpu[i];
	struct kvm_run *run = c->v->run;
	char text[200];
	int err;

	for (;;) {
		err = vmm_vcpu_run(c->v);
		if (err == -EINTR) {
			atomic_fetch_add(&c->interrupted, 1);
			continue;
		}
		if (!T_EQ(err, 0))
			return false;
		if (run->exit_reason == KVM_EXIT_IO && run->io.port == MARK)
			return true;
		c->exits++;
		if (w.on_exit)
			w.on_exit(i, run);
		if (run->exit_reason == KVM_EXIT_MMIO) {
			c->exit_addr = run->mmio.phys_addr;
			if (!run->mmio.is_write)
				memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		} else if (run->exit_reason == KVM_EXIT_IO) {
			c->exit_addr = run->io.port;
			if (run->io.direction == KVM_EXIT_IO_IN)
				memset((uint8_t *)run + run->io.data_offset, 0xff,
				       (size_t)run->io.size * run->io.count);
		} else {
			vmm_vcpu_describe_exit(c->v, text, sizeof(text));
			T_FAIL("vCPU %u: %s", i, text);
			return false;
		}
	}
}

static inline bool rig_run(unsigned int i)
{
	bool ok;

	vmm_vcpu_enter(w.vcpu[i].v);
	ok = rig_reset(i) && rig_resume(i);
	vmm_vcpu_leave(w.vcpu[i].v);
	return ok;
}

/* The same in a thread of its own. */
static inline void *rig_thread(void *arg)
{
	unsigned int i = (unsigned int)(uintptr_t)arg;

	rig_run(i);
	atomic_store(&w.vcpu[i].ended, true);
	return NULL;
}

static inline bool rig_go(unsigned int i)
{
	atomic_store(&w.vcpu[i].ended, false);
	return T_EQ(pthread_create(&w.vcpu[i].thread, NULL, rig_thread, (void *)(uintptr_t)i), 0);
}

static inline void rig_join(unsigned int i)
{
	pthread_join(w.vcpu[i].thread, NULL);
}

static inline bool rig_ended(unsigned int i)
{
	return atomic_load(&w.vcpu[i].ended);
}

/* It waits for the device in the kernel, or did not have to. */
static inline void rig_until_waits(unsigned int i)
{
	UNTIL(SLEEPS(i) || rig_ended(i));
}

static inline void rig_kick(unsigned int i)
{
	pthread_mutex_lock(&w.vm->lock);
	if (w.vcpu[i].v->entered)
		pthread_kill(w.vcpu[i].v->thread, vmm_kick_signal());
	pthread_mutex_unlock(&w.vm->lock);
}

/* Out of its wait, by a signal or KVM_DEV_USER_KICK. */
static inline void rig_interrupt(unsigned int i, bool by_signal)
{
	unsigned long n = atomic_load(&w.vcpu[i].interrupted);

	UNTIL(SLEEPS(i));
	if (by_signal)
		rig_kick(i);
	else
		rig_kick_wait(i);
	UNTIL(atomic_load(&w.vcpu[i].interrupted) > n);
}

/* Starts its code in this thread: the first access is under way, and KVM_RUN has come back. */
static inline bool rig_run_to_wait(unsigned int i)
{
	struct vmm_vcpu *v = w.vcpu[i].v;

	vmm_vcpu_enter(v);
	if (!rig_reset(i))
		return false;
	rig_kick_wait(i);
	return T_EQ(CALL(v->fd, KVM_RUN, 0), -EINTR);
}

/* And on from there to its end. */
static inline bool rig_run_on(unsigned int i)
{
	bool ok = rig_resume(i);

	vmm_vcpu_leave(w.vcpu[i].v);
	return ok;
}

/* -- every kind of wait ------------------------------------------------------------- */

/* The map that they need, of range 0; the port is range 1. */
static const struct rmio_area rig_waits_map[] __attribute__((unused)) = {
	{ .offset = 0x100, .length = 0x100, .store = RMIO_STORE_SYNC },
	{ .offset = 0x200, .length = 0x100, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW },
};

enum rig_wait { WAIT_LOAD, WAIT_SYNC, WAIT_ROOM, WAIT_IDLE, WAIT_PORT, WAITS };

static const char *const rig_wait_names[] __attribute__((unused)) = {
	"load", "sync", "room", "idle", "port",
};

/* Does it have a result? */
static inline bool rig_wait_loads(enum rig_wait kind)
{
	return kind == WAIT_LOAD || kind == WAIT_IDLE || kind == WAIT_PORT;
}

#define RIG_FILL 0x5a5a5a5au	/* what it loads, but from the shadow */

/* Code of that vCPU that waits in just this way while nobody serves a ring of two slots. */
static inline void g_wait(unsigned int i, enum rig_wait kind)
{
	int n;

	switch (kind) {
	case WAIT_LOAD:
		g_load(i, DEVICE + 0x40, 4);
		break;
	case WAIT_SYNC:
		g_store(i, DEVICE + 0x100, 4, 7);
		break;
	case WAIT_ROOM:
		for (n = 0; n < 3; n++)
			g_store(i, DEVICE, 4, RIG_FILL);
		break;
	case WAIT_IDLE:
		g_store(i, DEVICE, 4, RIG_FILL);
		g_load(i, DEVICE + 0x200, 4);
		break;
	default:
		g_in(i, PORT + 0x40, 4);
		break;
	}
}

/* A VM for them. */
static inline const char *rig_start_waits(unsigned int vcpus)
{
	const char *why = rig_start((struct rig_opts){ .vcpus = vcpus, .rings = { .slots = 2 } });

	if (why)
		return why;
	T_EQ(rig_shadow_size(0x1000), 0);
	T_EQ(rig_map(rig_waits_map, 2), 0);
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	T_EQ(rig_timeout(~0ull), 0);
	memset(w.reg, (uint8_t)RIG_FILL, 0x1000);
	return NULL;
}

#endif
