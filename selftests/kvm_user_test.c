// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device KVM_DEV_TYPE_USER by its own system calls, with no library between:
 * a guest of one vCPU and a thread that answers as the device process.
 */
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

#define DEVICE	0xe0000000ull
#define PORT	0x1000u
#define LEN	0x10000u
#define MARK	0xe0
#define ENABLE	"run it on a kernel with kern/'s patches: ./dev vm --kernel patched"

struct world {
	struct vmm_vm *vm;
	struct vmm_vcpu *vcpu;
	int master, slave;
	uint8_t *code;
	uint64_t exits;
	pthread_t device;
	atomic_bool stop;
	/* What the device got, and its registers. */
	struct rmio_request log[4096];
	atomic_uint n;
	uint8_t reg[LEN];
};

static struct world w;

static int create(int vm)
{
	struct kvm_create_device cd = { .type = KVM_DEV_TYPE_USER };

	return ioctl(vm, KVM_CREATE_DEVICE, &cd) ? -errno : (int)cd.fd;
}

/* A device process that uses read() and write(). */
static void *device(void *arg)
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
			a[i] = (struct rmio_reply){ .seq = r[i].seq, .vcpu = r[i].vcpu };
			if (r[i].offset > LEN - 8)
				continue;
			if (r[i].op == RMIO_OP_LOAD)
				memcpy(&a[i].data, w.reg + r[i].offset, r[i].len);
			else
				memcpy(w.reg + r[i].offset, &r[i].data, r[i].len);
		}
		if (write(w.slave, a, (size_t)n * sizeof(a[0])) != n * (ssize_t)sizeof(a[0]))
			return NULL;
	}
}

static const char *start(bool with_device)
{
	struct vmm_vm_opts o = { .sz = sizeof(o), .memory = 16 << 20, .vcpus = 1 };
	struct rmio_pa_range r = { .addr = DEVICE, .len = LEN };
	static const uint8_t hlt = 0xf4;
	struct vmm_err why;
	int fd;

	memset(&w, 0, sizeof(w));
	w.slave = w.master = -1;
	if (vmm_vm_new(&o, &w.vm, &why))
		return "no KVM";
	w.master = create(w.vm->fd);
	if (w.master < 0)
		return "this kernel has no KVM_DEV_TYPE_USER";
	w.vcpu = &w.vm->vcpus[0];
	T_EQ(vmm_vm_load(w.vm, &hlt, 1, &why), 0);
	w.code = vmm_vm_ptr(w.vm, VMM_IMAGE_ADDR, 0x1000);
	T_EQ(ioctl(w.master, KVM_DEV_USER_PA_RANGE, &r), 0);
	fd = ioctl(w.master, KVM_DEV_USER_SLAVE_FD, 0);
	T_GE(fd, 0);
	w.slave = fd;
	if (with_device)
		T_EQ(pthread_create(&w.device, NULL, device, NULL), 0);
	vmm_vcpu_enter(w.vcpu);
	return NULL;
}

static void stop(bool with_device)
{
	vmm_vcpu_leave(w.vcpu);
	close(w.master);
	if (with_device)
		pthread_join(w.device, NULL);
	close(w.slave);
	vmm_vm_free(w.vm);
}

/* Runs the code from its start to the marker; counts other exits. */
static bool run(const void *code, size_t n)
{
	struct vmm_err why;
	int err;

	memcpy(w.code, code, n);
	T_EQ(vmm_vcpu_reset(w.vcpu, 0, &why), 0);
	for (;;) {
		err = vmm_vcpu_run(w.vcpu);
		if (err == -EINTR)
			continue;
		if (!T_EQ(err, 0))
			return false;
		if (w.vcpu->run->exit_reason == KVM_EXIT_IO && w.vcpu->run->io.port == MARK)
			return true;
		w.exits++;
		if (w.vcpu->run->exit_reason != KVM_EXIT_MMIO) {
			T_EQ(w.vcpu->run->exit_reason, KVM_EXIT_MMIO);
			return false;
		}
	}
}

static uint64_t rax(void)
{
	struct kvm_regs regs;

	T_EQ(ioctl(w.vcpu->fd, KVM_GET_REGS, &regs), 0);
	return regs.rax;
}

#define END	0xe6, MARK		/* out %al,$MARK */
#define BASE	0xbb, 0x00, 0x00, 0x00, 0xe0	/* mov $DEVICE,%ebx */

static void loads_and_stores(void)
{
	static const uint8_t code[] = {
		BASE,
		0xb8, 0x44, 0x33, 0x22, 0x11,	/* mov $0x11223344,%eax */
		0x89, 0x43, 0x10,		/* mov %eax,0x10(%rbx) */
		0x88, 0x43, 0x21,		/* mov %al,0x21(%rbx) */
		0x31, 0xc0,			/* xor %eax,%eax */
		0x8b, 0x43, 0x10,		/* mov 0x10(%rbx),%eax */
		END
	};
	const char *why = start(true);

	if (why)
		T_SKIP(why, ENABLE);
	if (run(code, sizeof(code))) {
		T_EQ(rax(), 0x11223344);
		T_EQ(atomic_load(&w.n), 3);
		T_EQ(w.log[0].op, RMIO_OP_STORE);
		T_EQ(w.log[0].offset, 0x10);
		T_EQ(w.log[0].data, 0x11223344);
		T_EQ(w.log[0].len, 4);
		T_EQ(w.log[1].offset, 0x21);
		T_EQ(w.log[1].len, 1);
		T_EQ(w.log[1].data, 0x44);
		T_EQ(w.log[2].op, RMIO_OP_LOAD);
		T_EQ(w.exits, 0);
	}
	stop(true);
}

/* In the order of the guest's code: movl $value,offset(%rbx) and mov offset(%rbx),%eax */
static size_t put_store(uint8_t *p, uint32_t offset, uint32_t value)
{
	p[0] = 0xc7;
	p[1] = 0x83;
	memcpy(p + 2, &offset, 4);
	memcpy(p + 6, &value, 4);
	return 10;
}

static size_t put_load(uint8_t *p, uint32_t offset)
{
	p[0] = 0x8b;
	p[1] = 0x83;
	memcpy(p + 2, &offset, 4);
	return 6;
}

static size_t put_begin(uint8_t *p)
{
	static const uint8_t base[] = { BASE };

	memcpy(p, base, sizeof(base));
	return sizeof(base);
}

static size_t put_end(uint8_t *p)
{
	static const uint8_t end[] = { END };

	memcpy(p, end, sizeof(end));
	return sizeof(end);
}

static bool set_map(const struct rmio_area *areas, uint32_t nr)
{
	struct rmio_kvm_map map = { .areas = (uintptr_t)areas, .nr = nr };

	return T_EQ(ioctl(w.slave, KVM_DEV_USER_SHADOW_CTRL, &map), 0);
}

/* Answered by the image, without the device, which is not there. */
static void shadow(void)
{
	static const struct rmio_area areas[] = {
		{
			.offset = 0x100, .length = 0x100, .shadow_offset = 0x40,
			.sizes = RMIO_SIZE_4, .load = RMIO_LOAD_SHADOW,
		}, {
			.offset = 0x200, .length = 0x10, .shadow_offset = 0x200,
			.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
			.store = RMIO_STORE_THROUGH, .flags = RMIO_AREA_RELAXED,
		},
	};
	const char *why = start(false);
	uint64_t size = 4096;
	uint8_t code[64];
	uint32_t *image;
	size_t n;

	if (why)
		T_SKIP(why, ENABLE);
	T_EQ(ioctl(w.slave, KVM_DEV_USER_SHADOW_SIZE, &size), 0);
	image = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_SHADOW);
	T_REQUIRE(T_OK(image != MAP_FAILED));
	image[(0x40 + 0x24) / 4] = 0xcafe1234;
	if (set_map(areas, 2)) {
		n = put_begin(code);
		n += put_load(code + n, 0x124);
		n += put_end(code + n);
		if (run(code, n))
			T_EQ(rax(), 0xcafe1234);
		/* Stored through, and read back although the store is still posted. */
		n = put_begin(code);
		n += put_store(code + n, 0x208, 0x55667788);
		n += put_load(code + n, 0x208);
		n += put_end(code + n);
		if (run(code, n)) {
			T_EQ(rax(), 0x55667788);
			T_EQ(image[0x208 / 4], 0x55667788);
		}
		T_EQ(w.exits, 0);
	}
	munmap(image, size);
	stop(false);
}

/* No answer: all ones, the device is dead, and the VMM is told. */
static void timeout(void)
{
	const char *why = start(false);
	uint64_t ns = 50000000, told = 0;
	uint32_t state = 0;
	uint8_t code[64];
	size_t n;
	int fd;

	if (why)
		T_SKIP(why, ENABLE);
	fd = eventfd(0, EFD_NONBLOCK);
	T_EQ(ioctl(w.master, KVM_DEV_USER_EVENTFD, &fd), 0);
	T_EQ(ioctl(w.master, KVM_DEV_USER_TIMEOUT, &ns), 0);
	n = put_begin(code);
	n += put_load(code + n, 0x8);
	n += put_end(code + n);
	if (run(code, n)) {
		T_EQ(rax(), 0xffffffff);
		T_EQ(ioctl(w.master, KVM_DEV_USER_STATE, &state), 0);
		T_EQ(state, RMIO_KVM_TIMEOUT);
		T_EQ(read(fd, &told, sizeof(told)), sizeof(told));
		T_EQ(told, 1);
	}
	/* And again at once. */
	if (run(code, n))
		T_EQ(rax(), 0xffffffff);
	T_EQ(w.exits, 0);
	close(fd);
	stop(false);
}

/* More stores than the ring has slots: the vCPU waits, nothing is lost. */
static void full_ring(void)
{
	const char *why = start(true);
	static uint8_t code[8192];
	size_t n;
	uint32_t i;

	if (why)
		T_SKIP(why, ENABLE);
	n = put_begin(code);
	for (i = 0; i < 380; i++)
		n += put_store(code + n, (i & 0xff) * 4, i);
	n += put_load(code + n, 0x10);
	n += put_end(code + n);
	T_REQUIRE(T_OK(n <= 0x1000));
	if (run(code, n)) {
		T_EQ(atomic_load(&w.n), 381);
		for (i = 0; i < 380; i++)
			if (!T_EQ(w.log[i].data, i) || !T_EQ(w.log[i].offset, (i & 0xff) * 4))
				break;
		T_EQ(rax(), 260);
		T_EQ(w.exits, 0);
	}
	stop(true);
}

/* The slave goes while nobody waits: all ones, stores to nowhere. */
static void closed(void)
{
	const char *why = start(false);
	uint32_t state = 0;
	uint8_t code[64];
	size_t n;

	if (why)
		T_SKIP(why, ENABLE);
	close(w.slave);
	w.slave = -1;
	n = put_begin(code);
	n += put_store(code + n, 0x10, 1);
	n += put_load(code + n, 0x10);
	n += put_end(code + n);
	if (run(code, n)) {
		T_EQ(rax(), 0xffffffff);
		T_EQ(ioctl(w.master, KVM_DEV_USER_STATE, &state), 0);
		T_EQ(state, RMIO_KVM_CLOSED);
		T_EQ(w.exits, 0);
	}
	stop(false);
}

static void *kicker(void *arg)
{
	struct rmio_request r[4];
	struct pollfd p = { .fd = w.slave, .events = POLLIN };

	(void)arg;
	/* The load is under way: end KVM_RUN, then answer it. */
	T_EQ(poll(&p, 1, 5000), 1);
	pthread_kill(w.vcpu->thread, vmm_kick_signal());
	while (!atomic_load(&w.stop))
		usleep(1000);
	T_EQ(read(w.slave, r, sizeof(r)), sizeof(r[0]));
	if (T_EQ(r[0].op, RMIO_OP_LOAD)) {
		struct rmio_reply a = { .seq = r[0].seq, .vcpu = r[0].vcpu, .data = 0x77 };

		T_EQ(write(w.slave, &a, sizeof(a)), sizeof(a));
		errno = 0;
		T_EQ(write(w.slave, &a, sizeof(a)), -1);
		T_EQ(errno, ENOENT);
	}
	return NULL;
}

/* A signal ends the wait, not the access: there is one request. */
static void interrupted(void)
{
	const char *why = start(false);
	struct rmio_request r;
	struct vmm_err e;
	pthread_t t;
	size_t n;
	int err;

	if (why)
		T_SKIP(why, ENABLE);
	n = put_begin(w.code);
	n += put_load(w.code + n, 0x20);
	put_end(w.code + n);
	T_EQ(vmm_vcpu_reset(w.vcpu, 0, &e), 0);
	T_EQ(pthread_create(&t, NULL, kicker, NULL), 0);
	err = vmm_vcpu_run(w.vcpu);
	T_EQ(err, -EINTR);
	vmm_vcpu_clear_kick(w.vcpu);
	atomic_store(&w.stop, true);
	while ((err = vmm_vcpu_run(w.vcpu)) == -EINTR)
		;
	T_EQ(err, 0);
	pthread_join(t, NULL);
	T_EQ(w.vcpu->run->exit_reason, KVM_EXIT_IO);
	T_EQ(rax(), 0x77);
	T_EQ(fcntl(w.slave, F_SETFL, O_NONBLOCK), 0);
	errno = 0;
	T_EQ(read(w.slave, &r, sizeof(r)), -1);
	T_EQ(errno, EAGAIN);
	stop(false);
}

static int range(uint64_t addr, uint64_t len, uint32_t bus, uint32_t id)
{
	struct rmio_pa_range r = { .addr = addr, .len = len, .bus = bus, .id = id };

	return ioctl(w.master, KVM_DEV_USER_PA_RANGE, &r) ? -errno : 0;
}

/* Ranges move, and refuse what they cannot be. */
static void ranges(void)
{
	const char *why = start(true);
	struct kvm_ioeventfd io = { .addr = DEVICE + 0x20000, .len = 4 };
	uint8_t code[64];
	size_t n;

	if (why)
		T_SKIP(why, ENABLE);
	T_EQ(range(DEVICE, LEN, 2, 1), -EINVAL);
	T_EQ(range(DEVICE, LEN, 0, 65536), -EINVAL);
	T_EQ(range(~0ull - 10, LEN, 0, 1), -EOVERFLOW);
	T_EQ(range(0xfff8, 16, RMIO_BUS_IO, 1), -EOVERFLOW);
	T_EQ(range(DEVICE + 0x40000, 1ull << 40, 0, 1), -EFBIG);
	T_EQ(range(DEVICE + LEN - 8, 16, 0, 1), -EEXIST);
	T_EQ(range(0xfec00000, 16, 0, 1), -EEXIST);
	T_EQ(range(0, 0, 0, 9), -ENOENT);
	io.fd = eventfd(0, 0);
	T_EQ(ioctl(w.vm->fd, KVM_IOEVENTFD, &io), 0);
	T_EQ(range(DEVICE + 0x20000, LEN, 0, 1), -EEXIST);
	T_EQ(range(DEVICE + 0x80000, LEN, 0, 0), 0);
	w.reg[0x30] = 0x42;
	n = put_begin(code);
	n += put_load(code + n, 0x80030);
	n += put_end(code + n);
	if (run(code, n))
		T_EQ(rax(), 0x42);
	T_EQ(w.exits, 0);
	/* Back, over a part of its own place. */
	T_EQ(range(DEVICE + 0x78000, LEN, 0, 0), 0);
	n = put_begin(code);
	n += put_load(code + n, 0x78030);
	n += put_end(code + n);
	if (run(code, n))
		T_EQ(rax(), 0x42);
	T_EQ(w.exits, 0);
	T_EQ(range(0, 0, 0, 0), 0);
	run(code, n);
	T_EQ(w.exits, 1);
	close(io.fd);
	stop(true);
}

/* Ports: one access, and strings of them. */
static void ports(void)
{
	static const uint8_t code[] = {
		0xba, 0x10, 0x10, 0x00, 0x00,	/* mov $PORT + 0x10,%edx */
		0xb8, 0xdd, 0xcc, 0xbb, 0xaa,	/* mov $0xaabbccdd,%eax */
		0xef,				/* out %eax,%dx */
		0xfc,				/* cld */
		0xbe, 0x00, 0x08, 0x10, 0x00,	/* mov $0x100800,%esi */
		0xb9, 0x05, 0x00, 0x00, 0x00,	/* mov $5,%ecx */
		0xf3, 0x6e,			/* rep outsb */
		0xbf, 0x80, 0x08, 0x10, 0x00,	/* mov $0x100880,%edi */
		0xb9, 0x03, 0x00, 0x00, 0x00,	/* mov $3,%ecx */
		0xf3, 0x66, 0x6d,		/* rep insw */
		0x31, 0xc0,			/* xor %eax,%eax */
		0xed,				/* in %dx,%eax */
		END
	};
	const char *why = start(true);
	static const uint8_t out[] = { 1, 2, 3, 4, 5 };
	uint16_t *in;
	unsigned int i;

	if (why)
		T_SKIP(why, ENABLE);
	T_EQ(range(PORT, 0x100, RMIO_BUS_IO, 1), 0);
	memcpy(w.code + 0x800, out, sizeof(out));
	if (run(code, sizeof(code))) {
		T_EQ(w.exits, 0);
		T_EQ(atomic_load(&w.n), 1 + 5 + 3 + 1);
		T_EQ(w.log[0].data, 0xaabbccdd);
		T_EQ(w.log[0].range_id, 1);
		for (i = 0; i < 5; i++) {
			T_EQ(w.log[1 + i].op, RMIO_OP_STORE);
			T_EQ(w.log[1 + i].data, out[i]);
			T_EQ(w.log[1 + i].offset, 0x10);
		}
		in = (uint16_t *)(w.code + 0x880);
		for (i = 0; i < 3; i++)
			T_EQ(in[i], 0xcc05);
		T_EQ(rax(), 0xaabbcc05);
	}
	stop(true);
}

/* An access across two pages is two; what is left of 8 bytes goes in natural pieces. */
static void crossing(void)
{
	const char *why = start(true);
	uint8_t code[64];
	uint32_t before;
	size_t n;

	if (why)
		T_SKIP(why, ENABLE);
	for (before = 1; before < 4; before++) {
		unsigned int first = atomic_load(&w.n), i;
		uint64_t bytes = 0;

		n = put_begin(code);
		n += put_store(code + n, 0x1000 - before, 0x44332211);
		n += put_load(code + n, 0x1000 - before);
		n += put_end(code + n);
		if (!run(code, n))
			break;
		T_EQ(rax(), 0x44332211);
		for (i = first; i < atomic_load(&w.n); i++) {
			const struct rmio_request *r = &w.log[i];

			T_OK(r->len == 1 || r->len == 2 || r->len == 4);
			T_EQ(r->offset & (r->len - 1u), 0);
			bytes += r->len;
		}
		T_EQ(bytes, 8);
	}
	T_EQ(w.exits, 0);
	stop(true);
}

struct lanes {
	const struct rmio_down_hdr *down;
	struct rmio_up_hdr *up;
	const struct rmio_down_lane *lane;
	const struct rmio_request *slots;
	struct rmio_up_lane *answer;
};

static bool map_lanes(struct lanes *l)
{
	size_t size = RMIO_PAGE * 2 + RMIO_KVM_SLOTS * sizeof(struct rmio_request);
	char *down = mmap(NULL, size, PROT_READ, MAP_SHARED, w.slave, RMIO_KVM_MAP_DOWN);
	char *up = mmap(NULL, RMIO_PAGE * 2, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave,
			RMIO_KVM_MAP_UP);

	if (!T_OK(down != MAP_FAILED && up != MAP_FAILED))
		return false;
	l->down = (void *)down;
	l->lane = (void *)(down + RMIO_PAGE);
	l->slots = (void *)(down + 2 * RMIO_PAGE);
	l->up = (void *)up;
	l->answer = (void *)(up + RMIO_PAGE);
	T_EQ(l->down->magic, RMIO_ABI_MAGIC);
	T_EQ(l->down->version, RMIO_ABI_VERSION);
	T_EQ(l->down->ring_slots, RMIO_KVM_SLOTS);
	/* Nothing of it is the device's to write. */
	errno = 0;
	T_EQ(mprotect(down, RMIO_PAGE, PROT_READ | PROT_WRITE), -1);
	T_EQ(errno, EACCES);
	T_OK(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_DOWN) ==
	     MAP_FAILED);
	return true;
}

static void *mapped_device(void *arg)
{
	struct lanes *l = arg;
	struct pollfd p = { .fd = w.slave, .events = POLLIN };
	uint32_t zero = 0, number = 0;
	uint64_t done = 0;

	while (!atomic_load(&w.stop)) {
		const struct rmio_request *slot = &l->slots[done & (RMIO_KVM_SLOTS - 1)];

		if (__atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE) != done + 1) {
			__atomic_store_n(&l->up->need_wake, ++number, __ATOMIC_RELAXED);
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			if (__atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE) != done + 1)
				poll(&p, 1, 100);
			__atomic_store_n(&l->up->need_wake, 0, __ATOMIC_RELAXED);
			continue;
		}
		w.log[done % KTAP_COUNT(w.log)] = *slot;
		done++;
		__atomic_store_n(&l->answer->taken, done, __ATOMIC_RELAXED);
		if (slot->op == RMIO_OP_LOAD) {
			__atomic_store_n(&l->answer->reply_data, 0x1000 + done, __ATOMIC_RELAXED);
			__atomic_store_n(&l->answer->reply_seq, done, __ATOMIC_RELEASE);
		}
		__atomic_store_n(&l->answer->done, done, __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (__atomic_load_n(&l->lane->need_wake, __ATOMIC_RELAXED))
			ioctl(w.slave, KVM_DEV_USER_WAKE, &zero);
	}
	atomic_store(&w.n, (unsigned int)done);
	return NULL;
}

/* The device takes requests from the memory itself. */
static void mapped(void)
{
	const char *why = start(false);
	struct rmio_request r;
	struct lanes l;
	uint8_t code[128];
	pthread_t t;
	size_t n;
	int i;

	if (why)
		T_SKIP(why, ENABLE);
	if (map_lanes(&l)) {
		errno = 0;
		T_EQ(read(w.slave, &r, sizeof(r)), -1);
		T_EQ(errno, EBUSY);
		T_EQ(pthread_create(&t, NULL, mapped_device, &l), 0);
		for (i = 0; i < 20 && !ktap_failed(); i++) {
			n = put_begin(code);
			n += put_store(code + n, 0x10, (uint32_t)i);
			n += put_load(code + n, 0x20);
			n += put_end(code + n);
			if (run(code, n))
				T_EQ(rax(), 0x1000 + 2 * ((uint64_t)i + 1));
		}
		atomic_store(&w.stop, true);
		pthread_join(t, NULL);
		T_EQ(atomic_load(&w.n), 40);
		T_EQ(w.exits, 0);
	}
	stop(false);
}

/* Impossible values in what the device writes: it is dead, and nothing else happens. */
static void garbage(void)
{
	static const uint64_t values[] = { ~0ull, 1ull << 63, 257, 300 };
	size_t i;

	for (i = 0; i < KTAP_COUNT(values) && !ktap_failed(); i++) {
		const char *why = start(false);
		uint32_t state = 0;
		struct lanes l;
		uint8_t code[64];
		size_t n;

		if (why)
			T_SKIP(why, ENABLE);
		if (map_lanes(&l)) {
			l.answer->done = values[i];
			n = put_begin(code);
			n += put_store(code + n, 0x10, 1);
			n += put_load(code + n, 0x10);
			n += put_end(code + n);
			T_EQ(ioctl(w.master, KVM_DEV_USER_TIMEOUT, &(uint64_t){ 50000000 }), 0);
			if (run(code, n)) {
				T_EQ(rax(), 0xffffffff);
				T_EQ(ioctl(w.master, KVM_DEV_USER_STATE, &state), 0);
				T_OK(state == RMIO_KVM_PROTOCOL || state == RMIO_KVM_TIMEOUT);
			}
		}
		stop(false);
	}
}

static const struct ktap_test tests[] = {
	{ "loads and stores", loads_and_stores, 60 },
	{ "shadow", shadow, 60 },
	{ "timeout", timeout, 60 },
	{ "full ring", full_ring, 60 },
	{ "closed", closed, 60 },
	{ "interrupted", interrupted, 60 },
	{ "ranges", ranges, 60 },
	{ "ports", ports, 60 },
	{ "accesses across two pages", crossing, 60 },
	{ "mapped lanes", mapped, 60 },
	{ "garbage in mapped lanes", garbage, 60 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
