// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Which back ends a VM has, and why not the others.  Beside the data path.
 */
#include "kvm.h"
#include "opts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
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
	if (o->kick_signal < 1 || o->kick_signal > SIGRTMAX || (o->flags & ~RMIO_KVM_ZONES) ||
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
	free(k->slots);
	free(k);
}

int rmio_vm_kvm(struct rmio_vm *vm, const struct rmio_kvm_opts *opts)
{
	struct rmio_kvm_opts o;
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = RMIO_CONTROL_SLEEPERS };
	struct rmio_bpf_opts b = { .vcpus = vm->max_vcpus };
	struct rmio_kvm *k = NULL;
	int err = rmio_opts_copy(&o, sizeof(o), opts);

	if (!err)
		err = check(vm, &o);
	if (!err)
		err = new_kvm(vm, &o, &k);
	if (err) {
		snprintf(vm->why, sizeof(vm->why), "rmio_vm_kvm: %s", strerror(-err));
		return err;
	}
	b.kick_signal = (uint32_t)o.kick_signal;
	b.broker = o.broker;
	err = rmio_bpf_new(&b, &vm->bpf, vm->why, sizeof(vm->why));
	if (err) {
		free_kvm(k);
		return err;
	}
	if (epoll_ctl(vm->epoll, EPOLL_CTL_ADD, rmio_bpf_sleepers_fd(vm->bpf), &e)) {
		err = -errno;
		snprintf(vm->why, sizeof(vm->why), "rmio_vm_kvm: %s", strerror(errno));
		rmio_bpf_free(vm->bpf);
		vm->bpf = NULL;
		free_kvm(k);
		return err;
	}
	vm->kvm = k;
	vm->why[0] = 0;
	return 0;
}

void rmio_kvm_free(struct rmio_vm *vm)
{
	if (vm->kvm)
		free_kvm(vm->kvm);
	rmio_bpf_free(vm->bpf);
}

enum rmio_backend rmio_vm_backend(const struct rmio_vm *vm, const char **why)
{
	if (why)
		*why = vm->bpf ? "" : vm->why[0] ? vm->why : "the VMM has not called rmio_vm_kvm";
	return vm->bpf ? RMIO_BACKEND_BPF : RMIO_BACKEND_EXIT;
}

enum rmio_backend rmio_master_backend(const struct rmio_master *m)
{
	return m->bpf ? RMIO_BACKEND_BPF : RMIO_BACKEND_EXIT;
}
