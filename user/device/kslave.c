// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The slave descriptor of the kernel device.  Under slave.c, in the place of chan.c.
 */
#include "kslave.h"
#include "wire/foreign.h"
#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int state_of(int fd, uint32_t *state)
{
	return ioctl(fd, KVM_DEV_USER_STATE, state) ? -errno : 0;
}

bool rmio_kslave_is(int fd)
{
	uint32_t state;

	/* Asked of a file of a user-space file system, the ioctl would be answered by that. */
	return rmio_foreign_is_kvm_slave(fd) && !state_of(fd, &state);
}

static void *map(int fd, uint64_t size, int prot, uint64_t at)
{
	void *p = mmap(NULL, size, prot, MAP_SHARED, fd, (off_t)at);

	return p == MAP_FAILED ? NULL : p;
}

int rmio_kslave_alive(int fd)
{
	uint32_t state;
	int err = state_of(fd, &state);

	return err ? err : state > RMIO_KVM_LIVE ? -ECONNRESET : 0;
}

int rmio_kslave_map(int fd, struct rmio_down_hdr *h, const void **down, void **up)
{
	const struct rmio_down_hdr *page;
	int err;

	page = map(fd, RMIO_PAGE, PROT_READ, RMIO_KVM_MAP_DOWN);
	if (!page)
		return -errno;
	*h = *page;
	munmap((void *)page, RMIO_PAGE);
	if (!h->nr_lanes || h->nr_lanes > RMIO_LANES_MAX || !rmio_lane_stride(h->ring_slots) ||
	    h->size != RMIO_PAGE + h->nr_lanes * rmio_lane_stride(h->ring_slots))
		return -EPROTO;
	*down = map(fd, h->size, PROT_READ, RMIO_KVM_MAP_DOWN);
	if (!*down)
		return -errno;
	*up = map(fd, (uint64_t)RMIO_PAGE * (1 + h->nr_lanes), PROT_READ | PROT_WRITE,
		  RMIO_KVM_MAP_UP);
	if (*up)
		return 0;
	err = -errno;
	munmap((void *)*down, h->size);
	return err;
}

/* The device outlives its master only as a shell. */
static int asked(int result)
{
	return !result ? 0 : errno == ENODEV ? -ECONNRESET : -errno;
}

int rmio_kslave_size(int fd, uint64_t size)
{
	return asked(ioctl(fd, KVM_DEV_USER_SHADOW_SIZE, &size));
}

int rmio_kslave_ctrl(int fd, const struct rmio_area *areas, size_t n)
{
	struct rmio_kvm_map m = { .areas = (uintptr_t)areas, .nr = (uint32_t)n };

	return asked(ioctl(fd, KVM_DEV_USER_SHADOW_CTRL, &m));
}

int rmio_kslave_image(int fd, uint64_t size, void *at, void **image)
{
	*image = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0), fd,
		      (off_t)RMIO_KVM_MAP_SHADOW);
	if (*image != MAP_FAILED)
		return 0;
	*image = NULL;
	return -errno;
}

int rmio_kslave_look(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, 0) != 1)
		return -EAGAIN;
	return p.revents & POLLHUP ? -ECONNRESET : p.revents & POLLIN ? 0 : -EAGAIN;
}

void rmio_kslave_wake(int fd, uint32_t lane)
{
	ioctl(fd, KVM_DEV_USER_WAKE, &lane);
}

void rmio_kslave_hang_up(int fd)
{
	int saved = errno;

	ioctl(fd, KVM_DEV_USER_CLOSE, 0);
	close(fd);
	errno = saved;
}
