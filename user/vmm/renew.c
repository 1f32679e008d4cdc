// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A dead master lives again: where it was, with what it has counted, in memory that no device has
 * seen.  So nothing that the device of the life before still writes is taken for an answer.  Beside
 * the data path: at the reset or the reconnection of a client.
 *
 * The memory, lanes and part of the back end are made for a second master, which then changes them
 * with the first one while no vCPU looks, and goes with the old ones.
 */
#include "renew.h"
#include "death.h"
#include "master.h"
#include "wire/scm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#define SWAP(a, b) do { __typeof__(a) swap_ = (a); (a) = (b); (b) = swap_; } while (0)

/* Whoever noticed the death may still be about to tell of it, and to ring.  @vm->control held. */
static void wait_told(struct rmio_master *m)
{
	pthread_mutex_lock(&m->vm->lock);
	while (!rmio_word_read(&m->told))
		pthread_cond_wait(&m->vm->left, &m->vm->lock);
	pthread_mutex_unlock(&m->vm->lock);
}

/* Freeze the VM at a moment when no vCPU waits for @m; one that was interrupted may come back. */
static void freeze_empty(struct rmio_master *m)
{
	struct rmio_vm *vm = m->vm;
	uint32_t i;

	for (;;) {
		bool empty = true;

		rmio_vm_freeze(vm);
		for (i = 0; i < vm->lanes_used; i++)
			empty &= !vm->vcpus[i] || own_vcpu(vm->vcpus[i])->inside != m;
		if (empty)
			return;
		rmio_vm_thaw(vm);
		pthread_mutex_lock(&vm->lock);
		while (rmio_master_occupied(m))
			pthread_cond_wait(&vm->left, &vm->lock);
		pthread_mutex_unlock(&vm->lock);
	}
}

static void keep_counts(struct rmio_master *m, struct rmio_master *n)
{
	struct past *past;
	uint32_t i;

	if (!m->own->past)
		SWAP(m->own->past, n->own->past);
	past = m->own->past;
	for (i = 0; i < m->vm->max_vcpus; i++) {
		rmio_master_lane_counters(m, i, &past[i].counters);
		if (m->ops->lane_stats)
			m->ops->lane_stats(m, i, &past[i].stats);
		/* The vCPU's, whatever device. */
		past[i].stats.vcpu_stores = 0;
		past[i].stats.vcpu_kicks = 0;
	}
}

static void change_memory(struct rmio_master *m, struct rmio_master *n)
{
	uint32_t i;

	SWAP(m->part, n->part);
	for (i = 0; i < RMIO_GIVE; i++)
		SWAP(m->give[i], n->give[i]);
	SWAP(m->nr_give, n->nr_give);
	SWAP(m->reserve, n->reserve);
	SWAP(m->map, n->map);
	SWAP(m->image, n->image);
	SWAP(m->image_size, n->image_size);
	SWAP(m->down, n->down);
	SWAP(m->up, n->up);
	SWAP(m->down_size, n->down_size);
	SWAP(m->up_size, n->up_size);
	SWAP(m->bell, n->bell);
	for (i = 0; i < m->vm->max_vcpus; i++)
		SWAP(m->lanes[i], n->lanes[i]);
	SWAP(m->own->chan, n->own->chan);
	SWAP(m->own->id, n->own->id);
}

/* To a back end that has places of its own.  With the VM frozen. */
static int place_again(struct rmio_master *m)
{
	struct rmio_vm *vm = m->vm;
	int bus, err = 0;
	size_t i;

	if (!m->ops->range)
		return 0;
	for (bus = 0; bus < RMIO_BUSES; bus++)
		for (i = 0; i < vm->tables[bus].nr && !err; i++) {
			const struct range *r = &vm->tables[bus].ranges[i];
			struct rmio_pa_range at = {
				.id = r->id,
				.bus = (uint32_t)bus,
				.addr = r->addr,
				.len = r->last - r->addr + 1,
			};

			if (r->master == m)
				err = m->ops->range(m, &at);
		}
	return err;
}

/* @n is as @m, but new.  With the VM frozen. */
static int change(struct rmio_master *m, struct rmio_master *n)
{
	int err;

	keep_counts(m, n);
	rmio_master_forget(m);
	if (m->ops->dev_removed)
		m->ops->dev_removed(m);
	change_memory(m, n);
	err = place_again(m);
	if (!rmio_master_elsewhere(m))
		rmio_word_write(&m->down->lanes_used, m->vm->lanes_used);
	if (m->ops->dev_added)
		m->ops->dev_added(m);
	if (err)
		return err;
	rmio_word_write(&m->told, 0);
	rmio_word_write(&m->state, RMIO_STATE_NEW);
	return 0;
}

/* Memory for the life to come.  @vm->control held. */
static int prepare(struct rmio_master *m, struct rmio_master **out)
{
	struct epoll_event e = { .events = EPOLLIN };
	struct rmio_vm *vm = m->vm;
	struct rmio_master *n = rmio_master_blank(vm->max_vcpus);
	int err = -ENOMEM;

	if (!n)
		return err;
	n->own->past = m->own->past ? NULL : calloc(vm->max_vcpus, sizeof(*n->own->past));
	if (!m->own->past && !n->own->past)
		goto scrap;
	n->vm = vm;
	n->ops = m->ops;
	n->timeout_ns = m->timeout_ns;
	n->own->chan = -1;
	/* Another number: an event of before may be on its way. */
	n->own->id = e.data.u64 = own_vm(vm)->next_id++;
	err = m->ops->dev_new(n, m->lanes[0].slots_nr);
	if (err)
		goto scrap;
	if (m->ops->event_fd &&
	    epoll_ctl(own_vm(vm)->epoll, EPOLL_CTL_ADD, m->ops->event_fd(n), &e)) {
		err = -errno;
		goto free_dev;
	}
	*out = n;
	return 0;

free_dev:
	m->ops->dev_free(n);
scrap:
	rmio_master_scrap(n);
	return err;
}

/* With what was the other's before. */
static void discard(struct rmio_master *n)
{
	int epoll = own_vm(n->vm)->epoll;

	if (n->ops->event_fd)
		epoll_ctl(epoll, EPOLL_CTL_DEL, n->ops->event_fd(n), NULL);
	if (n->own->chan >= 0) {
		epoll_ctl(epoll, EPOLL_CTL_DEL, n->own->chan, NULL);
		rmio_scm_hang_up(n->own->chan);
	}
	rmio_map_free(n->map);
	if (n->image)
		munmap(n->image, n->image_size);
	n->ops->dev_free(n);
	rmio_master_scrap(n);
}

int rmio_master_renew(struct rmio_master *m)
{
	struct rmio_vm *vm = m->vm;
	struct rmio_master *n = NULL;
	int err = 0;

	pthread_mutex_lock(&vm->control);
	if (!rmio_state_dead(rmio_word_read(&m->state)))
		goto unlock;
	err = prepare(m, &n);
	if (err)
		goto unlock;
	wait_told(m);
	/* Its places are free, and nobody is in it. */
	if (m->ops->dev_end)
		m->ops->dev_end(m);
	if (m->ops->change_begin)
		m->ops->change_begin(m, RMIO_CHANGE_ALL);
	freeze_empty(m);
	err = change(m, n);
	rmio_vm_thaw(vm);
	if (m->ops->change_end)
		m->ops->change_end(m);
	discard(n);
unlock:
	pthread_mutex_unlock(&vm->control);
	return err;
}
