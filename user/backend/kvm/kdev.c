// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The back end `kvm`: a master that is a kernel device (KVM_DEV_TYPE_USER).  Lanes, access map and
 * waits are in the kernel (kern/virt/kvm), which serves KVM_RUN without coming out.  What the VMM
 * does itself, creating, placing, noticing the end, and accesses that come out all the same, are
 * ioctls.  Beside the data path.
 */
#include "backend/backend.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert((int)RMIO_STATE_PROTOCOL == RMIO_KVM_PROTOCOL, "states");

#define RING_SLOTS	256u

struct rmio_kdev {
	int fd;			/* the master descriptor */
	int event;		/* eventfd: the state has changed */
};

/* Of a vCPU: by which it is kicked while it is in the kernel device. */
struct kick {
	int at;			/* see wake.h */
	uint32_t kicking;
};

static int kdev_fd(const struct rmio_master *m)
{
	const struct rmio_kdev *d = m->part;

	return d->fd;
}

static int create(int vm_fd, uint32_t flags)
{
	struct kvm_create_device d = { .type = KVM_DEV_TYPE_USER, .flags = flags };

	return ioctl(vm_fd, KVM_CREATE_DEVICE, &d) ? -errno : (int)d.fd;
}

/* -- the VM and its vCPUs -------------------------------------------------------------- */

static int vm_new(struct rmio_vm *vm, const struct rmio_kvm_opts *o, bool spare)
{
	char *why = vm->why[RMIO_BACKEND_KVM];
	int err = create(vm->fd, KVM_CREATE_DEVICE_TEST);

	if (err >= 0) {
		vm->part[RMIO_BACKEND_KVM] = vm;	/* it is there, and no more */
		return 0;
	}
	if (err == -ENODEV)
		snprintf(why, sizeof(vm->why[0]),
			 "this kernel's KVM has no device KVM_DEV_TYPE_USER (see kern/README.md)");
	else
		snprintf(why, sizeof(vm->why[0]), "KVM_CREATE_DEVICE: %s", strerror(-err));
	return 1;
}

static int vcpu_new(struct rmio_vcpu *v)
{
	struct kick *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->at = -1;
	v->part[RMIO_BACKEND_KVM] = k;
	return 0;
}

static void vcpu_free(struct rmio_vcpu *v)
{
	free(v->part[RMIO_BACKEND_KVM]);
}

/* -- making and unmaking ------------------------------------------------------------- */

static int map_lanes(struct rmio_master *m, int fd, uint32_t slots)
{
	size_t stride = rmio_lane_stride(slots);
	uint32_t n = m->vm->max_vcpus, i;
	void *down, *up;
	int err;

	m->down_size = RMIO_PAGE + n * stride;
	m->up_size = (uint64_t)RMIO_PAGE * (1 + n);
	down = mmap(NULL, m->down_size, PROT_READ, MAP_SHARED, fd, (off_t)RMIO_KVM_MAP_DOWN);
	if (down == MAP_FAILED)
		return -errno;
	up = mmap(NULL, m->up_size, PROT_READ, MAP_SHARED, fd, (off_t)RMIO_KVM_MAP_UP);
	if (up == MAP_FAILED) {
		err = -errno;
		munmap(down, m->down_size);
		return err;
	}
	m->down = down;
	m->up = up;
	/* For those who display; nothing is written. */
	for (i = 0; i < n; i++)
		rmio_prod_init(&m->lanes[i], (char *)down + RMIO_PAGE + i * stride,
			       (const char *)up + RMIO_PAGE * (1 + i), slots, 0);
	return 0;
}

static int set_up(struct rmio_master *m, const struct rmio_kdev *d, uint32_t slots)
{
	struct rmio_kvm_rings rings = { .lanes = m->vm->max_vcpus, .slots = slots };
	int32_t event = d->event;

	if (ioctl(d->fd, KVM_DEV_USER_RINGS, &rings) ||
	    ioctl(d->fd, KVM_DEV_USER_TIMEOUT, &m->timeout_ns) ||
	    ioctl(d->fd, KVM_DEV_USER_EVENTFD, &event))
		return -errno;
	return map_lanes(m, d->fd, slots);
}

static int dev_new(struct rmio_master *m, uint32_t slots)
{
	struct rmio_kdev *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	d->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->event < 0) {
		err = -errno;
		goto free_dev;
	}
	d->fd = create(m->vm->fd, 0);
	if (d->fd < 0) {
		err = d->fd;
		goto close_event;
	}
	err = set_up(m, d, slots);
	if (err)
		goto close_fd;
	m->part = d;
	return 0;

close_fd:
	close(d->fd);
close_event:
	close(d->event);
free_dev:
	free(d);
	return err;
}

static void dev_end(struct rmio_master *m)
{
	/* Closing is not enough: a vCPU may be in it, and a child process may have a copy. */
	ioctl(kdev_fd(m), KVM_DEV_USER_CLOSE, 0);
}

/* Whoever found the descriptor of a vCPU inside is through with it. */
static void let_kickers_go(struct rmio_vm *vm)
{
	const struct kick *k;
	uint32_t i;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->lanes_used; i++) {
		k = vm->vcpus[i] ? vm->vcpus[i]->part[RMIO_BACKEND_KVM] : NULL;
		while (k && rmio_word_read(&k->kicking))
			sched_yield();
	}
	pthread_mutex_unlock(&vm->lock);
}

static void dev_free(struct rmio_master *m)
{
	struct rmio_kdev *d = m->part;

	let_kickers_go(m->vm);
	munmap((void *)m->up, m->up_size);
	munmap(m->down, m->down_size);
	close(d->fd);
	close(d->event);
	free(d);
}

/* -- control -------------------------------------------------------------------------- */

static int slave_fd(struct rmio_master *m)
{
	int fd = ioctl(kdev_fd(m), KVM_DEV_USER_SLAVE_FD, 0);

	return fd < 0 ? -errno : fd;
}

static int range(struct rmio_master *m, const struct rmio_pa_range *at)
{
	return ioctl(kdev_fd(m), KVM_DEV_USER_PA_RANGE, at) ? -errno : 0;
}

static void timeout(struct rmio_master *m)
{
	ioctl(kdev_fd(m), KVM_DEV_USER_TIMEOUT, &m->timeout_ns);
}

static void notice(struct rmio_master *m)
{
	static const char *const reasons[] = {
		[RMIO_KVM_CLOSED] = "the device process closed its end",
		[RMIO_KVM_TIMEOUT] = "no answer within the timeout",
		[RMIO_KVM_PROTOCOL] = "impossible values in the lane",
	};
	uint32_t state;

	if (ioctl(kdev_fd(m), KVM_DEV_USER_STATE, &state) ||
	    state == rmio_word_read(&m->state) || state > RMIO_KVM_PROTOCOL)
		return;
	if (rmio_state_dead(state)) {
		m->vm->up->kill(m, (enum rmio_state)state, reasons[state]);
		return;
	}
	rmio_vm_freeze(m->vm);
	if (!rmio_state_dead(m->state))
		rmio_word_write(&m->state, state);
	rmio_vm_thaw(m->vm);
}

static int event_fd(const struct rmio_master *m)
{
	const struct rmio_kdev *d = m->part;

	return d->event;
}

static bool event(struct rmio_master *m)
{
	uint32_t old = rmio_word_read(&m->state);
	uint64_t n;

	if (read(event_fd(m), &n, sizeof(n)) == sizeof(n))
		notice(m);
	return rmio_word_read(&m->state) != old;
}

/* -- accesses ---------------------------------------------------------------------------- */

static int kdev_access(struct rmio_vcpu *v, struct rmio_master *m, struct access *a)
{
	struct rmio_kvm_access k = {
		.addr = a->addr,
		.data = a->store ? a->data & rmio_ones(a->len) : 0,
		.vcpu = v->index,
		.bus = (uint8_t)a->bus,
		.len = (uint8_t)a->len,
		.store = a->store,
	};
	struct kick *kick = v->part[RMIO_BACKEND_KVM];
	int fd = kdev_fd(m), err;

	/* Either the kicker finds the descriptor, or its kick is found here. */
	rmio_kick_at(&kick->at, fd);
	if (rmio_vcpu_kicked(v))
		ioctl(fd, KVM_DEV_USER_KICK, &v->index);
	err = ioctl(fd, KVM_DEV_USER_ACCESS, &k) ? -errno : 0;
	rmio_kick_at(&kick->at, -1);
	if (err == -EINTR)
		v->kicks_seen = rmio_word_read(&v->kicks);
	if (!err)
		a->data = k.data;
	/* So that the VMM knows before this access is over, whoever tells it. */
	notice(m);
	if (rmio_state_dead(rmio_word_read(&m->state)) && !rmio_word_read(&m->told)) {
		pthread_mutex_lock(&v->vm->lock);
		while (!rmio_word_read(&m->told))
			pthread_cond_wait(&v->vm->left, &v->vm->lock);
		pthread_mutex_unlock(&v->vm->lock);
	}
	return err;
}

static void cancel(struct rmio_vcpu *v, struct rmio_master *m)
{
	/* Another access gives it up; there are no ports beyond 64 KiB, so this one is no more. */
	struct rmio_kvm_access k = {
		.addr = 1ull << 16, .vcpu = v->index, .bus = RMIO_BUS_IO, .len = 1,
	};

	ioctl(kdev_fd(m), KVM_DEV_USER_ACCESS, &k);
}

static void kick(struct rmio_vcpu *v)
{
	struct kick *k = v->part[RMIO_BACKEND_KVM];
	int saved = errno, fd;

	rmio_kicking(&k->kicking, 1);
	fd = rmio_kick_to(&k->at);
	if (fd >= 0)
		ioctl(fd, KVM_DEV_USER_KICK, &v->index);
	rmio_kicking(&k->kicking, -1);
	errno = saved;
}

const struct rmio_backend_ops rmio_backend_kvm = {
	.id = RMIO_BACKEND_KVM,
	.ring_slots = RING_SLOTS,
	.vm_new = vm_new,
	.vcpu_new = vcpu_new,
	.vcpu_free = vcpu_free,
	.kick = kick,
	.dev_new = dev_new,
	.dev_end = dev_end,
	.dev_free = dev_free,
	.slave_fd = slave_fd,
	.event_fd = event_fd,
	.event = event,
	.range = range,
	.timeout = timeout,
	.access = kdev_access,
	.cancel = cancel,
};
