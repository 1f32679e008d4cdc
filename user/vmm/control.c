// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The VMM's end of the slave descriptors: serves shadow size and control,
 * notices the end of a device process, of a kernel device too.  One thread a VM, or the VMM's own.
 * Beside the data path.
 */
#include "control.h"
#include "death.h"
#include "memfd.h"
#include "range.h"
#include "wire/chan.h"
#include "wire/foreign.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* In epoll events; masters are numbered from 0. */
#define STOP_ID		UINT64_MAX
#define SOURCE_ID	(UINT64_MAX - RMIO_SOURCES)	/* the first of them */
#define EVENTS		16

static void change_begin(struct rmio_master *m)
{
	if (m->ops->change_begin)
		m->ops->change_begin(m, RMIO_CHANGE_ALL);
}

static void change_end(struct rmio_master *m)
{
	if (m->ops->change_end)
		m->ops->change_end(m);
}

/*
 * A descriptor for the device, and the image mapped.  *special: it is one that the back end has
 * made; else a memfd.
 */
static int new_image(struct rmio_master *m, uint64_t size, void **image, bool *special)
{
	int fd = m->ops->image_new ? m->ops->image_new(m, size, image) : -ENOTSUP, err;

	*special = fd >= 0;
	if (*special)
		return fd;
	fd = rmio_memfd_new("rmio-shadow", size);
	if (fd < 0)
		return fd;
	*image = rmio_memfd_map(fd, size, true, NULL);
	err = *image ? rmio_memfd_seal(fd, false) : -errno;
	if (!err)
		return fd;
	if (*image)
		munmap(*image, size);
	close(fd);
	return err;
}

static int serve_size(struct rmio_master *m, struct rmio_chan_hdr *h, int *fd)
{
	uint64_t size = rmio_pages(h->value);
	struct rmio_map *map;
	void *image = NULL, *old;
	bool special = false;
	uint64_t old_size;

	if (h->value > RMIO_SHADOW_MAX)
		return -EFBIG;
	if (size) {
		*fd = new_image(m, size, &image, &special);
		if (*fd < 0)
			return *fd;
		/* Writable only once an area of the map is written through. */
		mprotect(image, size, PROT_READ);
	}
	/* What lies in guest memory goes before what it is mapped from. */
	change_begin(m);
	if (m->ops->image_set)
		m->ops->image_set(m, special ? *fd : -1);
	if (m->ops->areas)
		m->ops->areas(m, NULL, 0);
	rmio_vm_freeze(m->vm);
	old = m->image;
	old_size = m->image_size;
	map = m->map;
	m->image = image;
	m->image_size = size;
	m->map = NULL;
	rmio_vm_thaw(m->vm);
	rmio_map_free(map);
	if (old)
		munmap(old, old_size);
	change_end(m);
	h->value = size;
	return 0;
}

static bool writes_through(const struct rmio_area *areas, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (areas[i].store == RMIO_STORE_THROUGH)
			return true;
	return false;
}

static int serve_map(struct rmio_master *m, const struct rmio_chan_hdr *h,
		     const struct rmio_area *areas, size_t len)
{
	struct rmio_map *map, *old;
	int err;

	if (h->value > RMIO_AREAS_MAX)
		return -E2BIG;
	if (len != h->value * sizeof(*areas))
		return -EPROTO;
	err = rmio_map_new(areas, h->value, m->image_size, &map, NULL);
	if (err)
		return err;
	if (writes_through(areas, h->value) &&
	    mprotect(m->image, m->image_size, PROT_READ | PROT_WRITE)) {
		rmio_map_free(map);
		return -ENOMEM;
	}
	/* No store is taken by the old map's rules once the new ones hold. */
	change_begin(m);
	rmio_vm_freeze(m->vm);
	err = rmio_range_check_map(m->vm, m, map);
	old = m->map;
	if (!err)
		m->map = map;
	rmio_vm_thaw(m->vm);
	rmio_map_free(err ? map : old);
	if (!err && m->ops->areas)
		m->ops->areas(m, areas, h->value);
	change_end(m);
	return err;
}

/* One message.  0; -EAGAIN none; else the slave is to be given up. */
static int serve(struct rmio_master *m, struct rmio_area *areas)
{
	struct rmio_chan_hdr h;
	int fds[RMIO_CHAN_FDS], fd = -1, err = -EPROTO;
	size_t nfds, i;
	ssize_t n;

	n = rmio_chan_recv(m->own->chan, &h, areas, RMIO_AREAS_MAX * sizeof(*areas), fds, &nfds);
	if (n < 0)
		return (int)n;
	for (i = 0; i < nfds; i++)
		rmio_foreign_close(fds[i]);
	if (nfds)
		return -EPROTO;
	if (h.error)
		return -EPROTO;
	if (h.type == RMIO_CHAN_HELLO && h.answer && !n) {
		bool first;

		rmio_vm_freeze(m->vm);
		first = m->state == RMIO_STATE_NEW;
		if (first)
			rmio_word_write(&m->state, RMIO_STATE_LIVE);
		rmio_vm_thaw(m->vm);
		/* Each would have the plan made anew, while the VM waits. */
		if (!first)
			return -EPROTO;
		/* It may sleep in another way than what was planned before it was there. */
		change_begin(m);
		change_end(m);
		return 0;
	}
	if (h.answer)
		return -EPROTO;
	if (h.type == RMIO_CHAN_SHADOW_SIZE && !n)
		h.error = serve_size(m, &h, &fd);
	else if (h.type == RMIO_CHAN_SHADOW_CTRL)
		h.error = serve_map(m, &h, areas, (size_t)n);
	else
		return err;
	h.answer = 1;
	/* A slave that does not take its answers is not worth waiting for. */
	err = rmio_chan_send(m->own->chan, &h, NULL, 0, &fd, h.error || fd < 0 ? 0 : 1);
	if (fd >= 0 && err && err != -EAGAIN && err != -EPIPE) {
		/* Descriptors cannot be passed: another process may have used up what there is. */
		if (m->ops->image_drop)
			m->ops->image_drop(m, h.value);
		h.value = 0;
		serve_size(m, &h, NULL);
		h.error = err;
		err = rmio_chan_send(m->own->chan, &h, NULL, 0, NULL, 0);
	}
	if (fd >= 0)
		close(fd);
	return err == -EAGAIN ? -EPROTO : err;
}

static struct rmio_master *find(struct rmio_vm *vm, uint64_t id)
{
	struct rmio_master *m;

	for (m = vm->masters; m && m->own->id != id; m = m->next)
		;
	return m;
}

static void serve_some(struct rmio_master *m, struct rmio_area *areas, int *served)
{
	int i, err = 0;

	if (m->ops->event) {
		*served += m->ops->event(m);
		return;
	}
	for (i = 0; i < RMIO_CHAN_OF_SLAVE && !err; i++) {
		err = serve(m, areas);
		if (!err)
			(*served)++;
	}
	if (!err || err == -EAGAIN)
		return;
	epoll_ctl(own_vm(m->vm)->epoll, EPOLL_CTL_DEL, m->own->chan, NULL);
	if (err == -ECONNRESET || err == -EPIPE)
		rmio_master_kill(m, RMIO_STATE_CLOSED, "the device process closed its end");
	else
		rmio_master_kill(m, RMIO_STATE_PROTOCOL, "nonsense on the slave descriptor");
}

static int dispatch(struct vm *own, int timeout_ms, bool *stop)
{
	struct rmio_vm *vm = &own->shared;
	struct epoll_event ev[EVENTS];
	struct rmio_area *areas = NULL;
	int i, n, served = 0, err = 0;

	n = epoll_wait(own->epoll, ev, EVENTS, timeout_ms);
	if (n < 0)
		return -errno;
	if (!n)
		return 0;
	for (i = 0; i < n; i++) {
		struct rmio_master *m;

		if (ev[i].data.u64 == STOP_ID) {
			*stop = true;
			continue;
		}
		if (ev[i].data.u64 >= SOURCE_ID) {
			pthread_mutex_lock(&vm->control);
			own->sources[ev[i].data.u64 - SOURCE_ID](vm);
			pthread_mutex_unlock(&vm->control);
			continue;
		}
		if (!areas)
			areas = malloc(RMIO_AREAS_MAX * sizeof(*areas));
		if (!areas) {
			err = -ENOMEM;
			continue;
		}
		pthread_mutex_lock(&vm->control);
		m = find(vm, ev[i].data.u64);
		if (m)
			serve_some(m, areas, &served);
		pthread_mutex_unlock(&vm->control);
	}
	free(areas);
	return served ? served : err;
}

int rmio_vm_dispatch(struct rmio_vm *vm, int timeout_ms)
{
	bool stop = false;

	if (vm->threaded)
		return -EBUSY;
	return dispatch(own_vm(vm), timeout_ms, &stop);
}

int rmio_vm_fd(const struct rmio_vm *vm)
{
	return own_vm(vm)->epoll;
}

int rmio_control_watch(struct rmio_vm *vm, int fd, void (*ready)(struct rmio_vm *vm))
{
	struct epoll_event e = { .events = EPOLLIN };
	struct vm *own = own_vm(vm);
	uint32_t i = 0;

	while (i < own->nr_sources && own->sources[i] != ready)
		i++;
	if (i == RMIO_SOURCES)
		return -ENOSPC;
	/* First: it may be readable at once. */
	own->sources[i] = ready;
	e.data.u64 = SOURCE_ID + i;
	if (epoll_ctl(own->epoll, EPOLL_CTL_ADD, fd, &e))
		return -errno;
	if (i == own->nr_sources)
		own->nr_sources++;
	return 0;
}

static void *control_thread(void *arg)
{
	struct vm *own = arg;
	bool stop = false;

	while (!stop)
		if (dispatch(own, -1, &stop) == -ENOMEM)
			poll(NULL, 0, 100);
	return NULL;
}

void rmio_control_news(struct rmio_vm *vm)
{
	struct rmio_master *m;

	pthread_mutex_lock(&vm->control);
	for (m = vm->masters; m; m = m->next)
		if (m->ops->event)
			m->ops->event(m);
		else if (rmio_chan_hung_up(m->own->chan))
			rmio_master_kill(m, RMIO_STATE_CLOSED, "the device process closed its end");
	pthread_mutex_unlock(&vm->control);
}

int rmio_control_start(struct vm *vm)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = STOP_ID };
	pthread_attr_t attr;
	sigset_t all;
	int err;

	vm->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (vm->epoll < 0)
		return -errno;
	vm->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->stop < 0) {
		err = -errno;
		goto close_epoll;
	}
	if (vm->flags & RMIO_VM_MANUAL)
		return 0;
	if (epoll_ctl(vm->epoll, EPOLL_CTL_ADD, vm->stop, &e)) {
		err = -errno;
		goto close_stop;
	}
	/* The VMM's signals are for its own threads. */
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setsigmask_np(&attr, &all);
	err = -pthread_create(&vm->thread, &attr, control_thread, vm);
	pthread_attr_destroy(&attr);
	if (err)
		goto close_stop;
	vm->shared.threaded = true;
	return 0;

close_stop:
	close(vm->stop);
close_epoll:
	close(vm->epoll);
	return err;
}

void rmio_control_stop(struct vm *vm)
{
	uint64_t one = 1;

	if (vm->shared.threaded) {
		if (write(vm->stop, &one, sizeof(one)) == sizeof(one))
			pthread_join(vm->thread, NULL);
	}
	close(vm->stop);
	close(vm->epoll);
}
