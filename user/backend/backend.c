// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Which back ends a VM has, and why not the others.  Beside the data path.
 */
#include "backend/kvm/kdev.h"
#include "backend/bpf/install.h"
#include "opts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BUS_DEVS	512u	/* of KVM's 1000, which the VMM's own devices share */

static int check(const struct rmio_vm *vm, const struct rmio_kvm_opts *o)
{
	if (vm->masters || vm->lanes_used || vm->kvm)
		return -EBUSY;
	if (o->kick_signal < 1 || o->kick_signal > SIGRTMAX ||
	    (o->flags & ~(RMIO_KVM_ZONES | RMIO_KVM_BPF)) ||
	    (o->nr_slots && o->first_slot + o->nr_slots < o->first_slot))
		return -EINVAL;
	return 0;
}

static int new_kvm(struct rmio_vm *vm, const struct rmio_kvm_opts *o, struct rmio_kvm **out)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = RMIO_CONTROL_PLAN };
	struct rmio_kvm *k = calloc(1, sizeof(*k));
	int err = -ENOMEM, page;

	if (!k)
		return err;
	k->slots = calloc(o->nr_slots + 1, 1);
	if (!k->slots)
		goto free_kvm;
	k->kick_signal = (uint32_t)o->kick_signal;
	if (o->broker) {
		k->broker = strdup(o->broker);
		if (!k->broker)
			goto free_slots;
	}
	k->first_slot = o->first_slot;
	k->nr_slots = o->nr_slots;
	k->bus_devs = o->bus_devs ? o->bus_devs : BUS_DEVS;
	k->fd = fcntl(o->vm_fd, F_DUPFD_CLOEXEC, 0);
	if (k->fd < 0) {
		err = -errno;
		goto free_slots;
	}
	page = ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
	if (page < 0) {
		err = -EINVAL;	/* no VM */
		goto close_fd;
	}
	k->ring_page = o->flags & RMIO_KVM_ZONES ? (uint32_t)page : 0;
	k->changed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (k->changed < 0 || epoll_ctl(vm->epoll, EPOLL_CTL_ADD, k->changed, &e)) {
		err = -errno;
		if (k->changed >= 0)
			close(k->changed);
		goto close_fd;
	}
	pthread_mutex_init(&k->lock, NULL);
	pthread_mutex_init(&k->drain, NULL);
	*out = k;
	return 0;

close_fd:
	close(k->fd);
free_slots:
	free(k->broker);
	free(k->slots);
free_kvm:
	free(k);
	return err;
}

static void free_kvm(struct rmio_kvm *k)
{
	pthread_mutex_destroy(&k->drain);
	pthread_mutex_destroy(&k->lock);
	close(k->changed);
	close(k->fd);
	free(k->broker);
	free(k->slots);
	free(k);
}

/* For people; the first reason stays as long as the VM. */
static void explain(char *why, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
}

static int load(struct rmio_vm *vm)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = RMIO_CONTROL_SLEEPERS };
	struct rmio_bpf_opts b = {
		.vcpus = vm->max_vcpus,
		.kick_signal = vm->kvm->kick_signal,
		.broker = vm->kvm->broker,
	};
	struct rmio_bpf *bpf;
	uint32_t i;
	int err = rmio_bpf_new(&b, &bpf, vm->why, sizeof(vm->why));

	if (err)
		return err;
	if (epoll_ctl(vm->epoll, EPOLL_CTL_ADD, rmio_bpf_sleepers_fd(bpf), &e)) {
		err = -errno;
		explain(vm->why, sizeof(vm->why), "rmio_vm_kvm: %s", strerror(-err));
		rmio_bpf_free(bpf);
		return err;
	}
	rmio_vm_freeze(vm);
	vm->bpf = bpf;
	for (i = 0; i < vm->lanes_used; i++)
		if (vm->vcpus[i])
			vm->vcpus[i]->capture = rmio_bpf_vcpu(bpf, i);
	rmio_vm_thaw(vm);
	vm->why[0] = 0;
	return 0;
}

int rmio_kvm_load(struct rmio_vm *vm)
{
	return vm->bpf ? 0 : vm->kvm ? load(vm) : -ENOTSUP;
}

static void probe(struct rmio_vm *vm)
{
	int err = rmio_kdev_probe(vm->kvm->fd);

	vm->kdev = !err;
	if (err == -ENODEV)
		explain(vm->why_kvm, sizeof(vm->why_kvm),
			"this kernel's KVM has no device KVM_DEV_TYPE_USER (see kern/README.md)");
	else if (err)
		explain(vm->why_kvm, sizeof(vm->why_kvm), "KVM_CREATE_DEVICE: %s", strerror(-err));
}

int rmio_vm_kvm(struct rmio_vm *vm, const struct rmio_kvm_opts *opts)
{
	struct rmio_kvm_opts o;
	int err = rmio_opts_copy(&o, sizeof(o), opts);

	if (!err)
		err = check(vm, &o);
	if (!err)
		err = new_kvm(vm, &o, &vm->kvm);
	if (err) {
		explain(vm->why, sizeof(vm->why), "rmio_vm_kvm: %s", strerror(-err));
		return err;
	}
	probe(vm);
	if (vm->kdev && !(o.flags & RMIO_KVM_BPF))
		return 0;
	err = load(vm);
	if (err) {
		free_kvm(vm->kvm);
		vm->kvm = NULL;
		vm->kdev = false;
	}
	return err;
}

void rmio_kvm_free(struct rmio_vm *vm)
{
	if (vm->kvm)
		free_kvm(vm->kvm);
	rmio_bpf_free(vm->bpf);
}

enum rmio_backend rmio_vm_backend(const struct rmio_vm *vm, const char **why)
{
	static const char *const not_called = "the VMM has not called rmio_vm_kvm";
	enum rmio_backend b = vm->kdev ? RMIO_BACKEND_KVM :
			      vm->bpf ? RMIO_BACKEND_BPF : RMIO_BACKEND_EXIT;

	if (why)
		*why = b == RMIO_BACKEND_KVM ? "" : b == RMIO_BACKEND_BPF ? vm->why_kvm :
		       vm->why[0] ? vm->why : not_called;
	return b;
}

enum rmio_backend rmio_master_backend(const struct rmio_master *m)
{
	return m->kdev ? RMIO_BACKEND_KVM : m->bpf ? RMIO_BACKEND_BPF : RMIO_BACKEND_EXIT;
}
