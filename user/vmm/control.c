// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The VMM's end of the slave descriptors: serves shadow size and control,
 * notices the end of a device process, of a kernel device too.  One thread a VM, or the VMM's own.
 * Beside the data path.
 */
#include "wire/chan.h"
#include "wire/foreign.h"
#include "backend/kvm/kdev.h"
#include "backend/bpf/install.h"
#include "memfd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define STOP_ID		UINT64_MAX
#define EVENTS		16
/*
 * Bytes of images that may be arrays: kernel memory, all of it there from the start.  For
 * all images of a device together, since it may ask again and again, and keep them all.
 */
#define ARRAY_MAX	(64u << 20)
/* Messages of one slave served in a row before the others get their turn. */
#define BATCH		16

/*
 * A descriptor for the device, and the image mapped.  An array, which the BPF program
 * can write, where there can be one; else a memfd.
 */
static int new_image(struct rmio_master *m, uint64_t size, void **image, bool *array)
{
	int fd = -ENOTSUP, err;

	*array = false;
	if (m->bpf && size <= ARRAY_MAX - m->array_bytes)
		fd = rmio_bpf_shadow_new(m->vm->bpf, size);
	if (fd >= 0) {
		*image = rmio_memfd_map(fd, size, true, NULL);
		*array = *image;
		if (*image) {
			m->array_bytes += size;
			return fd;
		}
		close(fd);
	}
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
	bool array = false;
	uint64_t old_size;

	if (h->value > RMIO_SHADOW_MAX)
		return -EFBIG;
	if (size) {
		*fd = new_image(m, size, &image, &array);
		if (*fd < 0)
			return *fd;
		/* Writable only once an area of the map is written through. */
		mprotect(image, size, PROT_READ);
	}
	/* What lies in guest memory goes before what it is mapped from. */
	rmio_kvm_begin(m, RMIO_KVM_ALL);
	if (m->bpf) {
		m->array = array && !rmio_bpf_dev_shadow(m->vm->bpf, m->bpf, *fd);
		if (!m->array)
			rmio_bpf_dev_shadow(m->vm->bpf, m->bpf, -1);
		rmio_kvm_areas(m, NULL, 0);
	}
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
	rmio_kvm_end(m);
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
	rmio_kvm_begin(m, RMIO_KVM_ALL);
	rmio_vm_freeze(m->vm);
	err = rmio_range_check_map(m->vm, m, map);
	old = m->map;
	if (!err)
		m->map = map;
	rmio_vm_thaw(m->vm);
	rmio_map_free(err ? map : old);
	if (!err)
		rmio_kvm_areas(m, areas, h->value);
	rmio_kvm_end(m);
	return err;
}

/* One message.  0; -EAGAIN none; else the slave is to be given up. */
static int serve(struct rmio_master *m, struct rmio_area *areas)
{
	struct rmio_chan_hdr h;
	int fds[RMIO_CHAN_FDS], fd = -1, err = -EPROTO;
	size_t nfds, i;
	ssize_t n;

	n = rmio_chan_recv(m->chan, &h, areas, RMIO_AREAS_MAX * sizeof(*areas), fds, &nfds);
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
		rmio_kvm_begin(m, RMIO_KVM_ALL);
		rmio_kvm_end(m);
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
	err = rmio_chan_send(m->chan, &h, NULL, 0, &fd, h.error || fd < 0 ? 0 : 1);
	if (fd >= 0 && err && err != -EAGAIN && err != -EPIPE) {
		/* Descriptors cannot be passed: another process may have used up what there is. */
		if (m->array)
			m->array_bytes -= h.value;
		h.value = 0;
		serve_size(m, &h, NULL);
		h.error = err;
		err = rmio_chan_send(m->chan, &h, NULL, 0, NULL, 0);
	}
	if (fd >= 0)
		close(fd);
	return err == -EAGAIN ? -EPROTO : err;
}

static struct rmio_master *find(struct rmio_vm *vm, uint64_t id)
{
	struct rmio_master *m;

	for (m = vm->masters; m && m->id != id; m = m->next)
		;
	return m;
}

static void serve_some(struct rmio_master *m, struct rmio_area *areas, int *served)
{
	int i, err = 0;

	if (m->kdev) {
		*served += rmio_kdev_event(m);
		return;
	}
	for (i = 0; i < BATCH && !err; i++) {
		err = serve(m, areas);
		if (!err)
			(*served)++;
	}
	if (!err || err == -EAGAIN)
		return;
	epoll_ctl(m->vm->epoll, EPOLL_CTL_DEL, m->chan, NULL);
	if (err == -ECONNRESET || err == -EPIPE)
		rmio_master_kill(m, RMIO_STATE_CLOSED, "the device process closed its end");
	else
		rmio_master_kill(m, RMIO_STATE_PROTOCOL, "nonsense on the slave descriptor");
}

/* vm->control held: who is in the list stays. */
static void wake(void *arg, uint32_t slot)
{
	const struct rmio_vm *vm = arg;
	struct rmio_master *m;

	for (m = vm->masters; m; m = m->next)
		if (m->bpf && m->bpf->slot == slot)
			rmio_bell_ring(&m->bell);
}

static int dispatch(struct rmio_vm *vm, int timeout_ms, bool *stop)
{
	struct epoll_event ev[EVENTS];
	struct rmio_area *areas = NULL;
	int i, n, served = 0, err = 0;

	n = epoll_wait(vm->epoll, ev, EVENTS, timeout_ms);
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
		if (ev[i].data.u64 == RMIO_CONTROL_PLAN) {
			pthread_mutex_lock(&vm->control);
			rmio_kvm_replan(vm);
			pthread_mutex_unlock(&vm->control);
			continue;
		}
		if (ev[i].data.u64 == RMIO_CONTROL_SLEEPERS) {
			pthread_mutex_lock(&vm->control);
			rmio_bpf_sleepers(vm->bpf, wake, vm);
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
	return dispatch(vm, timeout_ms, &stop);
}

int rmio_vm_fd(const struct rmio_vm *vm)
{
	return vm->epoll;
}

bool rmio_control_hung_up(int chan)
{
	struct pollfd p = { .fd = chan };

	return chan >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static void *control_thread(void *arg)
{
	struct rmio_vm *vm = arg;
	bool stop = false;

	while (!stop)
		if (dispatch(vm, -1, &stop) == -ENOMEM)
			poll(NULL, 0, 100);
	return NULL;
}

void rmio_control_news(struct rmio_vm *vm)
{
	struct rmio_master *m;

	pthread_mutex_lock(&vm->control);
	for (m = vm->masters; m; m = m->next)
		if (m->kdev)
			rmio_kdev_event(m);
		else if (rmio_control_hung_up(m->chan))
			rmio_master_kill(m, RMIO_STATE_CLOSED, "the device process closed its end");
	pthread_mutex_unlock(&vm->control);
}

int rmio_control_start(struct rmio_vm *vm)
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
	vm->threaded = true;
	return 0;

close_stop:
	close(vm->stop);
close_epoll:
	close(vm->epoll);
	return err;
}

void rmio_control_stop(struct rmio_vm *vm)
{
	uint64_t one = 1;

	if (vm->threaded) {
		if (write(vm->stop, &one, sizeof(one)) == sizeof(one))
			pthread_join(vm->thread, NULL);
	}
	close(vm->stop);
	close(vm->epoll);
}
