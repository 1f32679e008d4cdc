// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Linked with a test of the master and slave calls (NAME_test.c, which does not know), this makes
 * NAME_kvm_test of it: each rmio_vm belongs to a VM of KVM, each rmio_vcpu to a vCPU, and so
 * each master is a kernel device, whatever the test goes on to do with it.  The linker's --wrap
 * takes the calls that make and free them here.
 */
#include "wire/chan.h"
#include "device/kslave.h"
#include "ktap.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <rmio/vmm.h>
#include <sys/ioctl.h>

#define ENABLE	"run it on a kernel with kern/'s patches: ./dev vm --kernel patched"

int __real_main(int argc, char **argv);
int __real_rmio_vm_new(const struct rmio_vm_opts *opts, struct rmio_vm **vm);
void __real_rmio_vm_free(struct rmio_vm *vm);
int __real_rmio_vcpu_new(struct rmio_vm *vm, uint32_t index, const struct rmio_wait_opts *wait,
			 struct rmio_vcpu **vcpu);
int __real_rmio_chan_send(int fd, const struct rmio_chan_hdr *h, const void *payload, size_t len,
			  const int *fds, size_t nfds);
ssize_t __real_rmio_chan_recv(int fd, struct rmio_chan_hdr *h, void *payload, size_t room,
			      int fds[RMIO_CHAN_FDS], size_t *nfds);
int __wrap_main(int argc, char **argv);
int __wrap_rmio_chan_send(int fd, const struct rmio_chan_hdr *h, const void *payload, size_t len,
			  const int *fds, size_t nfds);
ssize_t __wrap_rmio_chan_recv(int fd, struct rmio_chan_hdr *h, void *payload, size_t room,
			      int fds[RMIO_CHAN_FDS], size_t *nfds);
int __wrap_rmio_vm_new(const struct rmio_vm_opts *opts, struct rmio_vm **vm);
void __wrap_rmio_vm_free(struct rmio_vm *vm);
int __wrap_rmio_vcpu_new(struct rmio_vm *vm, uint32_t index, const struct rmio_wait_opts *wait,
			 struct rmio_vcpu **vcpu);

struct kvm {
	struct rmio_vm *vm;
	struct kvm *next;
	int fd;
	int vcpu[RMIO_LANES_MAX];	/* descriptor plus one; KVM has a vCPU as long as the VM */
};

static struct kvm *all;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A descriptor, or -errno. */
static int new_kvm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, err;

	if (kvm < 0)
		return -errno;
	do
		vm = ioctl(kvm, KVM_CREATE_VM, 0);
	while (vm < 0 && errno == EINTR);
	err = -errno;
	close(kvm);
	return vm < 0 ? err : vm;
}

/* The test must not pass on another back end. */
static void give_up(const char *what, int err)
{
	printf("Bail out! on_kvm: %s: %s\n", what, strerror(err < 0 ? -err : err));
	fflush(stdout);
	abort();
}

int __wrap_rmio_vm_new(const struct rmio_vm_opts *opts, struct rmio_vm **vm)
{
	struct rmio_kvm_opts o = { .sz = sizeof(o), .kick_signal = SIGUSR2 };
	int err = __real_rmio_vm_new(opts, vm);
	struct kvm *k;

	if (err)
		return err;
	k = calloc(1, sizeof(*k));
	if (!k)
		give_up("calloc", ENOMEM);
	k->fd = o.vm_fd = new_kvm();
	if (k->fd < 0)
		give_up("KVM_CREATE_VM", k->fd);
	err = rmio_vm_kvm(*vm, &o);
	if (err || rmio_vm_backend(*vm, NULL) != RMIO_BACKEND_KVM)
		give_up("rmio_vm_kvm", err ? err : ENOTSUP);
	k->vm = *vm;
	pthread_mutex_lock(&lock);
	k->next = all;
	all = k;
	pthread_mutex_unlock(&lock);
	return 0;
}

int __wrap_rmio_vcpu_new(struct rmio_vm *vm, uint32_t index, const struct rmio_wait_opts *wait,
			 struct rmio_vcpu **vcpu)
{
	int err = __real_rmio_vcpu_new(vm, index, wait, vcpu);
	struct kvm *k;

	if (err)
		return err;
	pthread_mutex_lock(&lock);
	for (k = all; k->vm != vm; k = k->next)
		;
	if (!k->vcpu[index]) {
		k->vcpu[index] = ioctl(k->fd, KVM_CREATE_VCPU, index) + 1;
		if (!k->vcpu[index])
			give_up("KVM_CREATE_VCPU", errno);
		fcntl(k->vcpu[index] - 1, F_SETFD, FD_CLOEXEC);
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

void __wrap_rmio_vm_free(struct rmio_vm *vm)
{
	struct kvm **at, *k;
	uint32_t i;

	__real_rmio_vm_free(vm);
	if (!vm)
		return;
	pthread_mutex_lock(&lock);
	for (at = &all; (*at)->vm != vm; at = &(*at)->next)
		;
	k = *at;
	*at = k->next;
	pthread_mutex_unlock(&lock);
	for (i = 0; i < RMIO_LANES_MAX; i++)
		if (k->vcpu[i])
			close(k->vcpu[i] - 1);
	close(k->fd);
	free(k);
}

/* -- the slave's messages, for a device process without the library --------------------- */

static __thread struct rmio_chan_hdr answer;

int __wrap_rmio_chan_send(int fd, const struct rmio_chan_hdr *h, const void *payload, size_t len,
			  const int *fds, size_t nfds)
{
	if (!rmio_kslave_is(fd))
		return __real_rmio_chan_send(fd, h, payload, len, fds, nfds);
	answer = *h;
	answer.answer = 1;
	if (h->type == RMIO_CHAN_SHADOW_SIZE)
		answer.error = rmio_kslave_size(fd, h->value);
	else if (h->type == RMIO_CHAN_SHADOW_CTRL)
		answer.error = rmio_kslave_ctrl(fd, payload, len / sizeof(struct rmio_area));
	return 0;
}

ssize_t __wrap_rmio_chan_recv(int fd, struct rmio_chan_hdr *h, void *payload, size_t room,
			      int fds[RMIO_CHAN_FDS], size_t *nfds)
{
	if (!rmio_kslave_is(fd))
		return __real_rmio_chan_recv(fd, h, payload, room, fds, nfds);
	*nfds = 0;
	if (!answer.answer)
		return -EAGAIN;
	*h = answer;
	answer.answer = 0;
	return 0;
}

/* -- the program -------------------------------------------------------------------------- */

const struct ktap_left_out ktap_left_out[] = {
	{ "an image that cannot be passed", "nothing is passed in a message here",
	  "it is in the program without kvm in its name" },
	{ "all other calls", "a VM of KVM is made in the middle of it here",
	  "it is in the program without kvm in its name" },
	{ "revived on bpf", "each master is a kernel device here",
	  "it is in the program without kvm in its name" },
	{ NULL, NULL, NULL },
};

/* Why there cannot be a master on this kernel, or NULL. */
static const char *lacks(void)
{
	struct kvm_create_device d = {
		.type = KVM_DEV_TYPE_USER, .flags = KVM_CREATE_DEVICE_TEST,
	};
	int vm = new_kvm(), err;

	if (vm < 0)
		return "no /dev/kvm";
	err = ioctl(vm, KVM_CREATE_DEVICE, &d);
	close(vm);
	return err ? "this kernel has no KVM_DEV_TYPE_USER" : NULL;
}

int __wrap_main(int argc, char **argv)
{
	const char *why = lacks();

	if (!why)
		return __real_main(argc, argv);
	printf("KTAP version 1\n1..0 # SKIP %s; %s\n", why, ENABLE);
	return KTAP_SKIP;
}
