// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The master of a remote device: its memory, its state, its end.
 * Made and destroyed beside the data path.
 */
#include "wire/chan.h"
#include "wire/foreign.h"
#include "backend/kvm/kdev.h"
#include "backend/bpf/install.h"
#include "memfd.h"
#include "opts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING_SLOTS	256u
#define TIMEOUT_NS	5000000000ull

static int new_region(const char *name, uint64_t size, bool write, bool future_write, int *fd,
		      void **mem)
{
	int err;

	*fd = rmio_memfd_new(name, size);
	if (*fd < 0)
		return *fd;
	*mem = rmio_memfd_map(*fd, size, write, NULL);
	if (!*mem) {
		err = -errno;
		goto close_fd;
	}
	/* From here on nobody else can map it for writing. */
	err = rmio_memfd_seal(*fd, future_write);
	if (!err)
		return 0;
	munmap(*mem, size);
close_fd:
	close(*fd);
	return err;
}

/* Sealed memfds. */
static int new_memfds(struct rmio_master *m, uint32_t slots)
{
	size_t stride = rmio_lane_stride(slots);
	uint32_t n = m->vm->max_vcpus;
	void *mem;
	int err;

	m->down_size = RMIO_PAGE + n * stride;
	err = new_region("rmio-down", m->down_size, true, true, &m->down_fd, &mem);
	if (err)
		return err;
	m->down = mem;
	m->up_size = (uint64_t)RMIO_PAGE * (1 + n);
	err = new_region("rmio-up", m->up_size, false, false, &m->up_fd, &mem);
	if (err)
		goto free_down;
	m->up = mem;
	return 0;

free_down:
	munmap(m->down, m->down_size);
	close(m->down_fd);
	return err;
}

static uint64_t up_words_size(const struct rmio_master *m)
{
	return rmio_pages(m->vm->max_vcpus * sizeof(struct rmio_up_words));
}

static int new_words(struct rmio_master *m)
{
	void *mem;
	int err;

	err = new_region("rmio-down-words", sizeof(struct rmio_down_words), true, true,
			 &m->down_words_fd, &mem);
	if (err)
		return err;
	m->down_words = mem;
	err = new_region("rmio-up-words", up_words_size(m), false, false, &m->up_words_fd, &mem);
	if (err) {
		munmap(m->down_words, sizeof(struct rmio_down_words));
		close(m->down_words_fd);
		return err;
	}
	m->up_words = mem;
	return 0;
}

static void free_words(struct rmio_master *m)
{
	munmap(m->down_words, sizeof(struct rmio_down_words));
	munmap((void *)m->up_words, up_words_size(m));
	close(m->down_words_fd);
	close(m->up_words_fd);
}

/* BPF arrays, which the program writes as well. */
static int new_arrays(struct rmio_master *m, uint32_t slots)
{
	struct rmio_bpf_dev *d = calloc(1, sizeof(*d));
	int err = -ENOMEM;

	if (!d)
		return err;
	m->posted = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->posted < 0) {
		err = -errno;
		goto free_dev;
	}
	err = rmio_bpf_dev_new(m->vm->bpf, m->vm->max_vcpus, slots, d);
	if (err)
		goto close_posted;
	err = new_words(m);
	if (err)
		goto free_arrays;
	m->plan = rmio_kvm_plan_new();
	if (!m->plan) {
		err = -ENOMEM;
		free_words(m);
		goto free_arrays;
	}
	m->bpf = d;
	m->reserve = slots < RMIO_BPF_RING_MIN ? 0 : RMIO_BPF_RESERVE;
	m->down = d->down;
	m->down_size = d->down_size;
	m->down_fd = d->down_fd;
	m->up = d->up;
	m->up_size = d->up_size;
	m->up_fd = d->up_fd;
	return 0;

free_arrays:
	rmio_bpf_dev_free(m->vm->bpf, d);
close_posted:
	close(m->posted);
	m->posted = -1;
free_dev:
	free(d);
	return err;
}

static int new_lanes(struct rmio_master *m, uint32_t slots, bool bpf)
{
	size_t stride = rmio_lane_stride(slots);
	uint32_t n = m->vm->max_vcpus, i;
	int err = bpf ? new_arrays(m, slots) : new_memfds(m, slots);

	if (err)
		return err;
	m->down->magic = RMIO_ABI_MAGIC;
	m->down->version = RMIO_ABI_VERSION;
	m->down->features = RMIO_FEATURES;
	m->down->nr_lanes = n;
	m->down->ring_slots = slots;
	m->down->lane_stride = stride;
	m->down->size = m->down_size;
	for (i = 0; i < n; i++) {
		rmio_prod_init(&m->lanes[i], (char *)m->down + RMIO_PAGE + i * stride,
			       (const char *)m->up + RMIO_PAGE * (1 + i), slots, 0);
		if (bpf) {
			m->lanes[i].tail_at = (uint64_t *)&m->bpf->lanes[i].tail;
			m->lanes[i].wake_seq = &m->up_words[i].wake_seq;
		}
	}
	m->bell.down = m->down;
	m->bell.up = m->up;
	m->bell.word = bpf ? &m->down_words->bell : NULL;
	m->bell.chan = -1;
	return 0;
}

static void free_lanes(struct rmio_master *m)
{
	if (m->kdev) {
		rmio_kdev_free(m);
		return;
	}
	if (m->bpf) {
		rmio_bpf_dev_free(m->vm->bpf, m->bpf);
		rmio_kvm_plan_free(m->plan);
		free_words(m);
		close(m->posted);
		free(m->bpf);
		return;
	}
	munmap((void *)m->up, m->up_size);
	munmap(m->down, m->down_size);
	close(m->up_fd);
	close(m->down_fd);
}

/* The best there is, or the one that is asked for.  @vm->control held. */
static int new_memory(struct rmio_master *m, const struct rmio_master_opts *o)
{
	struct rmio_vm *vm = m->vm;
	bool any = o->backend == RMIO_BACKEND_AUTO;
	int err = -ENOTSUP;

	if (vm->kdev && (any || o->backend == RMIO_BACKEND_KVM))
		err = rmio_kdev_new(m, o->ring_slots ? o->ring_slots : RING_SLOTS);
	if (o->backend == RMIO_BACKEND_BPF && rmio_kvm_load(vm))
		return -ENOTSUP;
	if (err && vm->bpf && (any || o->backend == RMIO_BACKEND_BPF))
		err = new_lanes(m, o->ring_slots ? o->ring_slots : RMIO_BPF_RING_MIN, true);
	/* Such as a VMM that has given up its privileges since. */
	if (err && (any || o->backend == RMIO_BACKEND_EXIT))
		err = new_lanes(m, o->ring_slots ? o->ring_slots : RING_SLOTS, false);
	return err;
}

/* Under its number among the masters.  @vm->control held. */
static int register_master(struct rmio_vm *vm, struct rmio_master *m)
{
	struct epoll_event e = { .events = EPOLLIN };

	m->id = e.data.u64 = vm->next_id++;
	if (m->kdev && epoll_ctl(vm->epoll, EPOLL_CTL_ADD, m->kdev->event, &e))
		return -errno;
	m->next = vm->masters;
	vm->masters = m;
	rmio_vm_freeze(vm);
	if (!m->kdev)
		rmio_word_write(&m->down->lanes_used, vm->lanes_used);
	if (m->bpf)
		vm->captured[m->bpf->slot] = m;
	rmio_vm_thaw(vm);
	return 0;
}

int rmio_master_new(struct rmio_vm *vm, const struct rmio_master_opts *opts,
		    struct rmio_master **out)
{
	struct rmio_master_opts o;
	struct rmio_master *m;
	int err = rmio_opts_copy(&o, sizeof(o), opts);

	if (err)
		return err;
	if (o.backend > RMIO_BACKEND_KVM)
		return -ENOTSUP;
	if (o.ring_slots && !rmio_lane_stride(o.ring_slots))
		return -EINVAL;
	m = rmio_vm_alloc(sizeof(*m) + vm->max_vcpus * sizeof(m->lanes[0]));
	if (!m)
		return -ENOMEM;
	m->vm = vm;
	m->arg = o.arg;
	m->chan = -1;
	m->posted = -1;
	m->timeout_ns = o.timeout_ns ? o.timeout_ns : TIMEOUT_NS;
	err = -ENOMEM;
	m->name = strdup(o.name ? o.name : "device");
	if (!m->name)
		goto free_master;
	pthread_mutex_lock(&vm->control);
	err = new_memory(m, &o);
	if (!err) {
		err = register_master(vm, m);
		if (err)
			free_lanes(m);
	}
	pthread_mutex_unlock(&vm->control);
	if (err)
		goto free_name;
	*out = m;
	return 0;

free_name:
	free(m->name);
free_master:
	free(m);
	return err;
}

int rmio_master_slave_fd(struct rmio_master *m)
{
	struct rmio_chan_hdr h = {
		.magic = RMIO_ABI_MAGIC,
		.version = RMIO_ABI_VERSION,
		.type = RMIO_CHAN_HELLO,
		.value = m->down_size,
	};
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = m->id };
	int give[RMIO_CHAN_FDS] = {
		m->down_fd, m->up_fd, m->down_words_fd, m->up_words_fd, m->posted,
	};
	int fds[2];
	int err;

	if (m->kdev)
		return rmio_kdev_slave_fd(m);
	pthread_mutex_lock(&m->vm->control);
	err = -EBUSY;
	if (m->chan >= 0)
		goto unlock;
	err = rmio_chan_pair(fds);
	if (err)
		goto unlock;
	err = rmio_chan_send(fds[0], &h, NULL, 0, give, m->bpf ? 5 : 2);
	if (err)
		goto close_pair;
	if (epoll_ctl(m->vm->epoll, EPOLL_CTL_ADD, fds[0], &e)) {
		err = -errno;
		goto close_pair;
	}
	rmio_vm_freeze(m->vm);
	m->chan = fds[0];
	m->bell.chan = fds[0];
	/* A vCPU may have waited too long for it to be opened. */
	if (rmio_state_dead(m->state))
		shutdown(m->chan, SHUT_RDWR);
	rmio_vm_thaw(m->vm);
	pthread_mutex_unlock(&m->vm->control);
	return fds[1];

close_pair:
	close(fds[0]);
	close(fds[1]);
unlock:
	pthread_mutex_unlock(&m->vm->control);
	return err;
}

/* With the VM frozen.  What is still in the rings will not be delivered. */
static void discard(struct rmio_master *m)
{
	uint32_t i;

	for (i = 0; i < m->vm->lanes_used; i++) {
		/* A copy: the vCPU may be waiting, and looks at its own without a lock. */
		struct rmio_prod p = m->lanes[i];

		rmio_prod_sync(&p);
		rmio_prod_update(&p);
		rmio_count(&p.down->counters.discarded, rmio_prod_stores(&p));
	}
}

void rmio_master_kill(struct rmio_master *m, enum rmio_state why, const char *reason)
{
	struct rmio_vm *vm = m->vm;
	struct rmio_bell_out bell;
	uint32_t i;

	rmio_vm_freeze(vm);
	if (rmio_state_dead(m->state)) {
		rmio_vm_thaw(vm);
		return;
	}
	rmio_word_write(&m->state, why);
	for (i = 0; m->bpf && i < vm->max_vcpus; i++)
		rmio_word_write(&m->bpf->lanes[i].dead, 1);
	/* The kernel has. */
	if (!m->kdev)
		discard(m);
	/* The device sees end of file, whatever it is doing. */
	if (m->chan >= 0)
		shutdown(m->chan, SHUT_RDWR);
	for (i = 0; i < vm->lanes_used; i++)
		if (vm->vcpus[i])
			rmio_event_raise(&vm->vcpus[i]->event);
	bell = m->bell;
	rmio_vm_thaw(vm);
	/* Wakes all that the device has made wait, however many: not with the VM frozen. */
	if (!m->kdev)
		rmio_bell_force(&bell);
	rmio_kvm_ask(m);
	if (vm->dead && reason)
		vm->dead(vm->arg, m, why, reason);
	if (!m->kdev)
		return;
	pthread_mutex_lock(&vm->lock);
	rmio_word_write(&m->told, 1);
	pthread_cond_broadcast(&vm->left);
	pthread_mutex_unlock(&vm->lock);
}

/* With vm->lock held: does any vCPU still wait for @m? */
static bool occupied(const struct rmio_master *m)
{
	struct rmio_vm *vm = m->vm;
	bool yes = false;
	uint32_t i;

	for (i = 0; i < vm->lanes_used && !yes; i++) {
		struct rmio_vcpu *v = vm->vcpus[i];

		if (!v)
			continue;
		pthread_mutex_lock(&v->lock);
		yes = v->inside == m;
		pthread_mutex_unlock(&v->lock);
	}
	return yes;
}

void rmio_master_free(struct rmio_master *m)
{
	struct rmio_master **at;
	struct rmio_vm *vm;
	uint32_t i;

	if (!m)
		return;
	vm = m->vm;
	pthread_mutex_lock(&vm->control);
	for (at = &vm->masters; *at != m; at = &(*at)->next)
		;
	*at = m->next;
	pthread_mutex_unlock(&vm->control);

	/* No reason: the VMM knows. */
	rmio_master_kill(m, RMIO_STATE_CLOSED, NULL);
	if (m->kdev)
		rmio_kdev_end(m);
	rmio_kvm_begin(m, RMIO_KVM_ALL);
	rmio_vm_freeze(vm);
	rmio_range_drop(vm, m);
	if (m->bpf)
		vm->captured[m->bpf->slot] = NULL;
	for (i = 0; i < vm->lanes_used; i++)
		if (vm->vcpus[i])
			rmio_vcpu_forget(vm->vcpus[i], m);
	rmio_vm_thaw(vm);
	rmio_kvm_end(m);

	pthread_mutex_lock(&vm->lock);
	while (occupied(m))
		pthread_cond_wait(&vm->left, &vm->lock);
	pthread_mutex_unlock(&vm->lock);

	if (m->kdev)
		epoll_ctl(vm->epoll, EPOLL_CTL_DEL, m->kdev->event, NULL);
	if (m->chan >= 0) {
		/* A copy in a child process would keep it there, and always readable. */
		epoll_ctl(vm->epoll, EPOLL_CTL_DEL, m->chan, NULL);
		rmio_foreign_hang_up(m->chan);
	}
	rmio_map_free(m->map);
	if (m->image)
		munmap(m->image, m->image_size);
	free_lanes(m);
	free(m->name);
	free(m);
}

void rmio_master_timeout(struct rmio_master *m, uint64_t ns)
{
	rmio_vm_freeze(m->vm);
	m->timeout_ns = ns ? ns : TIMEOUT_NS;
	if (m->kdev)
		rmio_kdev_timeout(m, m->timeout_ns);
	rmio_vm_thaw(m->vm);
}

enum rmio_state rmio_master_state(const struct rmio_master *m)
{
	return rmio_word_read(&m->state);
}

void *rmio_master_arg(const struct rmio_master *m)
{
	return m->arg;
}

const char *rmio_master_name(const struct rmio_master *m)
{
	return m->name;
}

static void add_captured(struct rmio_counters *c, const struct rmio_bpf_lane *lane)
{
	const volatile struct rmio_bpf_lane *l = lane;

	c->posted += l->posted;
	c->full += l->full;
	c->discarded += l->discarded + l->lost;
}

int rmio_master_counters(const struct rmio_master *m, int vcpu, struct rmio_counters *c)
{
	uint32_t i;

	memset(c, 0, sizeof(*c));
	if (vcpu >= 0 && (uint32_t)vcpu >= m->vm->max_vcpus)
		return -ERANGE;
	for (i = 0; i < m->vm->max_vcpus; i++)
		if (vcpu < 0 || (uint32_t)vcpu == i) {
			rmio_counters_add(c, &m->lanes[i].down->counters);
			if (m->bpf)
				add_captured(c, &m->bpf->lanes[i]);
		}
	return 0;
}
