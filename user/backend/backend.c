// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Which back ends there are, which of them a VM has, and why not the others.  Beside the data
 * path.
 */
#include "backend.h"
#include "opts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

extern const struct rmio_backend_ops rmio_backend_kvm;
extern const struct rmio_backend_ops rmio_backend_bpf;
extern const struct rmio_backend_ops rmio_backend_exit;

/* The best first; the last one is always there. */
static const struct rmio_backend_ops *const backends[] = {
	&rmio_backend_kvm,
	&rmio_backend_bpf,
	&rmio_backend_exit,
};

#define NR	(sizeof(backends) / sizeof(backends[0]))

static bool ready(const struct rmio_vm *vm, const struct rmio_backend_ops *b)
{
	return !b->vm_new || (vm->part[b->id] && (!b->vm_ready || b->vm_ready(vm)));
}

/* -- the VM --------------------------------------------------------------------------- */

static int check(const struct rmio_vm *vm, const struct rmio_kvm_opts *o)
{
	if (vm->masters || vm->lanes_used || vm->fd >= 0)
		return -EBUSY;
	if (o->kick_signal < 1 || o->kick_signal > SIGRTMAX ||
	    (o->flags & ~(RMIO_KVM_ZONES | RMIO_KVM_BPF)) ||
	    (o->nr_slots && o->first_slot + o->nr_slots < o->first_slot))
		return -EINVAL;
	return 0;
}

static int take_fd(struct rmio_vm *vm, int vm_fd)
{
	int fd = fcntl(vm_fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO) < 0) {
		close(fd);
		return -EINVAL;	/* no VM */
	}
	vm->fd = fd;
	return 0;
}

void rmio_backend_vm_free(struct rmio_vm *vm)
{
	size_t i;

	for (i = 0; i < NR; i++) {
		if (vm->part[backends[i]->id] && backends[i]->vm_free)
			backends[i]->vm_free(vm);
		vm->part[backends[i]->id] = NULL;
	}
	if (vm->fd >= 0)
		close(vm->fd);
	vm->fd = -1;
}

static int find(struct rmio_vm *vm, const struct rmio_kvm_opts *o)
{
	bool better = false;
	size_t i;
	int err;

	for (i = 0; i < NR; i++) {
		const struct rmio_backend_ops *b = backends[i];

		if (!b->vm_new)
			continue;
		err = b->vm_new(vm, o, better && !(o->flags & b->demand));
		if (err < 0)
			return err;
		better |= !err;
	}
	return 0;
}

/* For people; the first reason stays as long as the VM. */
static void failed(struct rmio_vm *vm, int err)
{
	char *why = vm->why[backends[NR - 2]->id];

	if (!*why)
		snprintf(why, sizeof(vm->why[0]), "rmio_vm_kvm: %s", strerror(-err));
}

int rmio_vm_kvm(struct rmio_vm *vm, const struct rmio_kvm_opts *opts)
{
	struct rmio_kvm_opts o;
	int err = rmio_opts_copy(&o, sizeof(o), opts, "rmio_kvm_opts");

	if (!err)
		err = check(vm, &o);
	if (!err)
		err = take_fd(vm, o.vm_fd);
	if (err) {
		*vm->why[backends[NR - 2]->id] = 0;
		failed(vm, err);
		return err;
	}
	err = find(vm, &o);
	if (err) {
		failed(vm, err);
		rmio_backend_vm_free(vm);
	}
	return err;
}

/* Why not the next better one. */
enum rmio_backend rmio_vm_backend(const struct rmio_vm *vm, const char **why)
{
	size_t i;

	for (i = 0; !ready(vm, backends[i]); i++)
		;
	if (why)
		*why = !i ? "" : vm->why[backends[i - 1]->id][0] ? vm->why[backends[i - 1]->id] :
		       "the VMM has not called rmio_vm_kvm";
	return backends[i]->id;
}

int rmio_backend_program(const struct rmio_vm *vm, struct rmio_program_stats *s)
{
	int err = -ENOTSUP;
	size_t i;

	for (i = 0; i < NR && err == -ENOTSUP; i++)
		if (backends[i]->program && vm->part[backends[i]->id])
			err = backends[i]->program(vm, s);
	return err;
}

int rmio_backend_maps(const struct rmio_vm *vm,
		      int (*map)(void *arg, const char *name, uint32_t id), void *arg)
{
	int err = -ENOTSUP;
	size_t i;

	for (i = 0; i < NR && err == -ENOTSUP; i++)
		if (backends[i]->maps && vm->part[backends[i]->id])
			err = backends[i]->maps(vm, NULL, map, arg);
	return err;
}

/* -- vCPUs ----------------------------------------------------------------------------- */

void rmio_backend_vcpu_free(struct rmio_vcpu *v)
{
	size_t i;

	for (i = 0; i < NR; i++)
		if (v->part[backends[i]->id])
			backends[i]->vcpu_free(v);
}

int rmio_backend_vcpu_new(struct rmio_vcpu *v)
{
	int err = 0;
	size_t i;

	for (i = 0; i < NR && !err; i++)
		if (backends[i]->vcpu_new && v->vm->part[backends[i]->id])
			err = backends[i]->vcpu_new(v);
	if (err)
		rmio_backend_vcpu_free(v);
	return err;
}

void rmio_backend_kick(struct rmio_vcpu *v)
{
	size_t i;

	for (i = 0; i < NR; i++)
		if (backends[i]->kick && v->part[backends[i]->id])
			backends[i]->kick(v);
}

/* -- devices ----------------------------------------------------------------------------- */

int rmio_backend_dev_new(struct rmio_master *m, uint32_t want, uint32_t slots)
{
	bool any = want == RMIO_BACKEND_AUTO;
	struct rmio_vm *vm = m->vm;
	int err = -ENOTSUP;
	size_t i;

	/* Such as a VMM that has given up its privileges since: the next one. */
	for (i = 0; i < NR && err; i++) {
		const struct rmio_backend_ops *b = backends[i];

		if (!any && b->id != want)
			continue;
		if (!any && b->vm_load && (!vm->part[b->id] || b->vm_load(vm)))
			return -ENOTSUP;
		if (!ready(vm, b))
			continue;
		err = b->dev_new(m, slots ? slots : b->ring_slots);
		if (err)
			continue;
		m->ops = b;
		m->access = b->access;
		m->exited = b->exited != NULL;
	}
	return err;
}

enum rmio_backend rmio_master_backend(const struct rmio_master *m)
{
	return m->ops->id;
}
