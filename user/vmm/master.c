// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The master of a remote device: made, opened by its device process, freed.  Beside the data path.
 */
#include "master.h"
#include "death.h"
#include "opts.h"
#include "range.h"
#include "wire/chan.h"
#include "wire/scm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_NS	5000000000ull

/* Under its number among the masters.  @vm->control held. */
static int register_master(struct rmio_vm *vm, struct rmio_master *m)
{
	struct epoll_event e = { .events = EPOLLIN };

	m->own->id = e.data.u64 = own_vm(vm)->next_id++;
	if (m->ops->event_fd &&
	    epoll_ctl(own_vm(vm)->epoll, EPOLL_CTL_ADD, m->ops->event_fd(m), &e))
		return -errno;
	m->next = vm->masters;
	vm->masters = m;
	rmio_vm_freeze(vm);
	if (!rmio_master_elsewhere(m))
		rmio_word_write(&m->down->lanes_used, vm->lanes_used);
	if (m->ops->dev_added)
		m->ops->dev_added(m);
	rmio_vm_thaw(vm);
	return 0;
}

struct rmio_master *rmio_master_blank(uint32_t lanes)
{
	size_t size = sizeof(struct rmio_master) + lanes * sizeof(struct rmio_prod);
	struct rmio_master *m = aligned_alloc(RMIO_LINE, size);

	if (!m)
		return NULL;
	memset(m, 0, size);
	m->own = calloc(1, sizeof(*m->own));
	if (m->own)
		return m;
	free(m);
	return NULL;
}

void rmio_master_scrap(struct rmio_master *m)
{
	free(m->own->past);
	free(m->own);
	free(m);
}

int rmio_master_new(struct rmio_vm *vm, const struct rmio_master_opts *opts,
		    struct rmio_master **out)
{
	struct rmio_master_opts o;
	struct rmio_master *m;
	int err = rmio_opts_copy(&o, sizeof(o), opts, "rmio_master_opts");

	if (err)
		return err;
	if (o.backend >= RMIO_BACKENDS)
		return -ENOTSUP;
	if (o.ring_slots && !rmio_lane_stride(o.ring_slots))
		return -EINVAL;
	m = rmio_master_blank(vm->max_vcpus);
	if (!m)
		return -ENOMEM;
	m->vm = vm;
	m->own->arg = o.arg;
	m->own->chan = -1;
	m->timeout_ns = o.timeout_ns ? o.timeout_ns : TIMEOUT_NS;
	err = -ENOMEM;
	m->own->name = strdup(o.name ? o.name : "device");
	if (!m->own->name)
		goto free_master;
	pthread_mutex_lock(&vm->control);
	err = rmio_backend_dev_new(m, o.backend, o.ring_slots);
	if (!err) {
		err = register_master(vm, m);
		if (err)
			m->ops->dev_free(m);
	}
	pthread_mutex_unlock(&vm->control);
	if (err)
		goto free_name;
	*out = m;
	return 0;

free_name:
	free(m->own->name);
free_master:
	rmio_master_scrap(m);
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
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = m->own->id };
	int fds[2];
	int err;

	if (m->ops->slave_fd)
		return m->ops->slave_fd(m);
	pthread_mutex_lock(&m->vm->control);
	err = -EBUSY;
	if (m->own->chan >= 0)
		goto unlock;
	err = rmio_chan_pair(fds);
	if (err)
		goto unlock;
	err = rmio_chan_send(fds[0], &h, NULL, 0, m->give, m->nr_give);
	if (err)
		goto close_pair;
	if (epoll_ctl(own_vm(m->vm)->epoll, EPOLL_CTL_ADD, fds[0], &e)) {
		err = -errno;
		goto close_pair;
	}
	rmio_vm_freeze(m->vm);
	m->own->chan = fds[0];
	m->bell.chan = fds[0];
	/* A vCPU may have waited too long for it to be opened. */
	if (rmio_state_dead(m->state))
		shutdown(m->own->chan, SHUT_RDWR);
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

bool rmio_master_occupied(const struct rmio_master *m)
{
	struct rmio_vm *vm = m->vm;
	bool yes = false;
	uint32_t i;

	for (i = 0; i < vm->lanes_used && !yes; i++) {
		struct rmio_vcpu *v = vm->vcpus[i];

		if (!v)
			continue;
		pthread_mutex_lock(&v->lock);
		yes = own_vcpu(v)->inside == m;
		pthread_mutex_unlock(&v->lock);
	}
	return yes;
}

void rmio_master_forget(const struct rmio_master *m)
{
	struct rmio_vm *vm = m->vm;
	uint32_t i;

	/* Also those that are inside: they may come out with -EINTR. */
	for (i = 0; i < vm->lanes_used; i++)
		if (vm->vcpus[i] && own_vcpu(vm->vcpus[i])->pending.waiting == m)
			own_vcpu(vm->vcpus[i])->pending.waiting = NULL;
}

void rmio_master_free(struct rmio_master *m)
{
	struct rmio_master **at;
	struct rmio_vm *vm;

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
	if (m->ops->dev_end)
		m->ops->dev_end(m);
	if (m->ops->change_begin)
		m->ops->change_begin(m, RMIO_CHANGE_ALL);
	rmio_vm_freeze(vm);
	rmio_range_drop(vm, m);
	if (m->ops->dev_removed)
		m->ops->dev_removed(m);
	rmio_master_forget(m);
	rmio_vm_thaw(vm);
	if (m->ops->change_end)
		m->ops->change_end(m);

	pthread_mutex_lock(&vm->lock);
	while (rmio_master_occupied(m))
		pthread_cond_wait(&vm->left, &vm->lock);
	pthread_mutex_unlock(&vm->lock);

	if (m->ops->event_fd)
		epoll_ctl(own_vm(vm)->epoll, EPOLL_CTL_DEL, m->ops->event_fd(m), NULL);
	if (m->own->chan >= 0) {
		/* A copy in a child process would keep it there, and always readable. */
		epoll_ctl(own_vm(vm)->epoll, EPOLL_CTL_DEL, m->own->chan, NULL);
		rmio_scm_hang_up(m->own->chan);
	}
	rmio_map_free(m->map);
	if (m->image)
		munmap(m->image, m->image_size);
	m->ops->dev_free(m);
	free(m->own->name);
	rmio_master_scrap(m);
}

void rmio_master_timeout(struct rmio_master *m, uint64_t ns)
{
	rmio_vm_freeze(m->vm);
	m->timeout_ns = ns ? ns : TIMEOUT_NS;
	if (m->ops->timeout)
		m->ops->timeout(m);
	rmio_vm_thaw(m->vm);
}

enum rmio_state rmio_master_state(const struct rmio_master *m)
{
	return rmio_word_read(&m->state);
}

void *rmio_master_arg(const struct rmio_master *m)
{
	return m->own->arg;
}

const char *rmio_master_name(const struct rmio_master *m)
{
	return m->own->name;
}

int rmio_master_counters(const struct rmio_master *m, int vcpu, struct rmio_counters *c)
{
	uint32_t i;

	memset(c, 0, sizeof(*c));
	if (vcpu >= 0 && (uint32_t)vcpu >= m->vm->max_vcpus)
		return -ERANGE;
	/* The lanes may be about to make room for others (renew.c). */
	pthread_mutex_lock(&m->vm->lock);
	for (i = 0; i < m->vm->max_vcpus; i++)
		if (vcpu < 0 || (uint32_t)vcpu == i) {
			if (m->own->past)
				rmio_counters_add(c, &m->own->past[i].counters);
			rmio_master_lane_counters(m, i, c);
		}
	pthread_mutex_unlock(&m->vm->lock);
	return 0;
}

void rmio_master_lane_counters(const struct rmio_master *m, uint32_t vcpu, struct rmio_counters *c)
{
	rmio_counters_add(c, &m->lanes[vcpu].down->counters);
	if (m->ops->counters)
		m->ops->counters(m, vcpu, c);
}
