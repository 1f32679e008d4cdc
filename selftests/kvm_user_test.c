// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device KVM_DEV_TYPE_USER by its own system calls, with no library between:
 * a guest of one vCPU and a thread that answers as the device process.
 */
#include "ktap.h"
#include "vmm/kvm.h"

#include <errno.h>
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

static const struct ktap_test tests[] = {
	{ "loads and stores", loads_and_stores, 60 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
