// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The master's calls on a kernel device.  Under master.c, range.c and access.c, beside the
 * data path, which is in the kernel (kern/virt/kvm).
 */
#include "kdev.h"
#include "backend/bpf/install.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert((int)RMIO_STATE_PROTOCOL == RMIO_KVM_PROTOCOL, "states");

static int create(int vm_fd, uint32_t flags)
{
	struct kvm_create_device d = { .type = KVM_DEV_TYPE_USER, .flags = flags };

	return ioctl(vm_fd, KVM_CREATE_DEVICE, &d) ? -errno : (int)d.fd;
}

int rmio_kdev_probe(int vm_fd)
{
	int err = create(vm_fd, KVM_CREATE_DEVICE_TEST);

	return err < 0 ? err : 0;
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

int rmio_kdev_new(struct rmio_master *m, uint32_t slots)
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
	d->fd = create(m->vm->kvm->fd, 0);
	if (d->fd < 0) {
		err = d->fd;
		goto close_event;
	}
	err = set_up(m, d, slots);
	if (err)
		goto close_fd;
	m->kdev = d;
	return 0;

close_fd:
	close(d->fd);
close_event:
	close(d->event);
free_dev:
	free(d);
	return err;
}

void rmio_kdev_end(struct rmio_master *m)
{
	/* Closing is not enough: a vCPU may be in it, and a child process may have a copy. */
	ioctl(m->kdev->fd, KVM_DEV_USER_CLOSE, 0);
}

/* Whoever found the descriptor of a vCPU inside is through with it. */
static void let_kickers_go(struct rmio_vm *vm)
{
	uint32_t i;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->lanes_used; i++)
		while (vm->vcpus[i] && rmio_word_read(&vm->vcpus[i]->kicking))
			sched_yield();
	pthread_mutex_unlock(&vm->lock);
}

void rmio_kdev_free(struct rmio_master *m)
{
	let_kickers_go(m->vm);
	munmap((void *)m->up, m->up_size);
	munmap(m->down, m->down_size);
	close(m->kdev->fd);
	close(m->kdev->event);
	free(m->kdev);
}

/* -- control -------------------------------------------------------------------------- */

int rmio_kdev_slave_fd(const struct rmio_master *m)
{
	int fd = ioctl(m->kdev->fd, KVM_DEV_USER_SLAVE_FD, 0);

	return fd < 0 ? -errno : fd;
}

int rmio_kdev_range(const struct rmio_master *m, const struct rmio_pa_range *at)
{
	return ioctl(m->kdev->fd, KVM_DEV_USER_PA_RANGE, at) ? -errno : 0;
}

void rmio_kdev_timeout(const struct rmio_master *m, uint64_t ns)
{
	ioctl(m->kdev->fd, KVM_DEV_USER_TIMEOUT, &ns);
}

static void notice(struct rmio_master *m)
{
	static const char *const reasons[] = {
		[RMIO_KVM_CLOSED] = "the device process closed its end",
		[RMIO_KVM_TIMEOUT] = "no answer within the timeout",
		[RMIO_KVM_PROTOCOL] = "impossible values in the lane",
	};
	uint32_t state;

	if (ioctl(m->kdev->fd, KVM_DEV_USER_STATE, &state) ||
	    state == rmio_word_read(&m->state) || state > RMIO_KVM_PROTOCOL)
		return;
	if (rmio_state_dead(state)) {
		rmio_master_kill(m, (enum rmio_state)state, reasons[state]);
		return;
	}
	rmio_vm_freeze(m->vm);
	if (!rmio_state_dead(m->state))
		rmio_word_write(&m->state, state);
	rmio_vm_thaw(m->vm);
}

bool rmio_kdev_event(struct rmio_master *m)
{
	uint32_t old = rmio_word_read(&m->state);
	uint64_t n;

	if (read(m->kdev->event, &n, sizeof(n)) == sizeof(n))
		notice(m);
	return rmio_word_read(&m->state) != old;
}

/* -- accesses ---------------------------------------------------------------------------- */

static bool kicked(const struct rmio_vcpu *v)
{
	return (v->immediate_exit && *v->immediate_exit) ||
	       rmio_word_read(&v->kicks) != v->kicks_seen;
}

int rmio_kdev_access(struct rmio_vcpu *v, struct rmio_master *m, struct access *a)
{
	struct rmio_kvm_access k = {
		.addr = a->addr,
		.data = a->store ? a->data & rmio_ones(a->len) : 0,
		.vcpu = v->index,
		.bus = (uint8_t)a->bus,
		.len = (uint8_t)a->len,
		.store = a->store,
	};
	int err;

	/* Either the kicker finds the descriptor, or its kick is found here. */
	rmio_kick_at(&v->kick_at, m->kdev->fd);
	if (kicked(v))
		ioctl(m->kdev->fd, KVM_DEV_USER_KICK, &v->index);
	err = ioctl(m->kdev->fd, KVM_DEV_USER_ACCESS, &k) ? -errno : 0;
	rmio_kick_at(&v->kick_at, -1);
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

void rmio_kdev_cancel(struct rmio_vcpu *v, struct rmio_master *m)
{
	/* Another access gives it up; there are no ports beyond 64 KiB, so this one is no more. */
	struct rmio_kvm_access k = {
		.addr = 1ull << 16, .vcpu = v->index, .bus = RMIO_BUS_IO, .len = 1,
	};

	ioctl(m->kdev->fd, KVM_DEV_USER_ACCESS, &k);
}

void rmio_kdev_kick(struct rmio_vcpu *v)
{
	int saved = errno, fd;

	rmio_kicking(&v->kicking, 1);
	fd = rmio_kick_to(&v->kick_at);
	if (fd >= 0)
		ioctl(fd, KVM_DEV_USER_KICK, &v->index);
	rmio_kicking(&v->kicking, -1);
	errno = saved;
}
