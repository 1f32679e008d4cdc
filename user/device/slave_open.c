// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A slave descriptor opened: what comes with it checked and mapped, and its end.  Beside the data
 * path, which is slave.c's.
 */
#include "kslave.h"
#include "memfd.h"
#include "opts.h"
#include "slave_priv.h"
#include "wire/chan.h"
#include "wire/foreign.h"
#include "wire/memory.h"
#include "wire/scm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n && !p[n - 1])
		n--;
	return !n;
}

/* The header of "down", copied, must describe exactly the memory that came. */
static int check_hdr(const struct rmio_down_hdr *h, uint64_t size)
{
	size_t stride = rmio_lane_stride(h->ring_slots);

	if (h->magic != RMIO_ABI_MAGIC)
		return rmio_refuse(-EPROTO, "rmio_slave_open: the memory that came has no lanes");
	if (h->version != RMIO_ABI_VERSION || (h->features & ~RMIO_FEATURES))
		return rmio_refuse(-EPROTO, "rmio_slave_open: the VMM's lanes are of version %u with "
				   "features 0x%llx, this library's of %u", h->version,
				   (unsigned long long)h->features, RMIO_ABI_VERSION);
	if (!all_zero(h->reserved, sizeof(h->reserved)) ||
	    !all_zero(h->reserved1, sizeof(h->reserved1)) ||
	    !all_zero(h->reserved2, sizeof(h->reserved2)))
		return -EPROTO;
	if (!h->nr_lanes || h->nr_lanes > RMIO_LANES_MAX || !stride || h->lane_stride != stride ||
	    h->size != size || size != RMIO_PAGE + h->nr_lanes * stride)
		return -EPROTO;
	return 0;
}

static size_t up_words_size(const struct rmio_slave *s)
{
	return rmio_pages(s->nr_lanes * sizeof(*s->up_words));
}

/* "down" and "up" are memory that cannot hold a futex: these can. */
static int map_words(struct rmio_slave *s, int down_fd, int up_fd)
{
	size_t size = sizeof(*s->down_words);
	uint32_t i;

	if (rmio_memfd_check(down_fd, size, true) ||
	    rmio_memfd_check(up_fd, up_words_size(s), false))
		return -EPROTO;
	s->down_words = rmio_memfd_map(down_fd, size, false, NULL);
	s->up_words = rmio_memfd_map(up_fd, up_words_size(s), true, NULL);
	if (!s->down_words || !s->up_words)
		return -ENOMEM;
	for (i = 0; i < s->nr_lanes; i++)
		s->lanes[i].cons.wake_seq = &s->up_words[i].wake_seq;
	s->bell.word = &s->down_words->bell;
	return 0;
}

static void unmap_words(struct rmio_slave *s)
{
	if (s->down_words)
		munmap((void *)s->down_words, sizeof(*s->down_words));
	if (s->up_words)
		munmap(s->up_words, up_words_size(s));
}

/* Both mapped, and ours from now on. */
static int new_slave(struct rmio_slave **out, int chan, const struct rmio_down_hdr *h,
		     const void *down, void *up)
{
	uint64_t up_size = (uint64_t)RMIO_PAGE * (1 + h->nr_lanes);
	struct rmio_slave *s = calloc(1, sizeof(*s) + h->nr_lanes * sizeof(s->lanes[0]));
	int err = -ENOMEM;
	uint32_t i;

	if (!s)
		goto unmap;
	s->chan = chan;
	s->posted = -1;
	s->nr_lanes = h->nr_lanes;
	s->ring_slots = h->ring_slots;
	s->down = down;
	s->down_size = h->size;
	s->up = up;
	s->up_size = up_size;
	for (i = 0; i < h->nr_lanes; i++) {
		err = rmio_cons_init(&s->lanes[i].cons,
				     (const char *)down + RMIO_PAGE + i * h->lane_stride,
				     (char *)up + RMIO_PAGE * (1 + i), h->ring_slots);
		if (err)
			goto free_slave;
	}
	s->bell.down = down;
	s->bell.up = up;
	*out = s;
	return 0;

free_slave:
	free(s);
unmap:
	munmap(up, up_size);
	munmap((void *)down, h->size);
	return err;
}

static int map_lanes(struct rmio_slave **out, int chan, const int *fds, uint64_t down_size)
{
	struct rmio_down_hdr h;
	struct rmio_slave *s;
	uint64_t up_size;
	void *up;
	int err;

	if (rmio_memory_check(fds[0], down_size, true))
		return rmio_refuse(-EPROTO, "rmio_slave_open: the memory of the requests is not "
				   "sealed, or not of its size");
	const void *down = rmio_memfd_map(fds[0], down_size, false, NULL);

	if (!down)
		return -errno;
	memcpy(&h, down, sizeof(h));
	err = check_hdr(&h, down_size);
	if (err)
		goto unmap_down;
	up_size = (uint64_t)RMIO_PAGE * (1 + h.nr_lanes);
	err = -EPROTO;
	if (rmio_memory_check(fds[1], up_size, false)) {
		rmio_refuse(err, "rmio_slave_open: the memory of the replies is not sealed, or not "
			    "of its size");
		goto unmap_down;
	}
	up = rmio_memfd_map(fds[1], up_size, true, NULL);
	if (!up) {
		err = -errno;
		goto unmap_down;
	}
	err = new_slave(&s, chan, &h, down, up);
	if (err)
		return err;
	err = fds[2] >= 0 ? map_words(s, fds[2], fds[3]) : 0;
	if (err) {
		s->chan = -1;
		rmio_slave_free(s);
		return err;
	}
	*out = s;
	return 0;

unmap_down:
	munmap((void *)down, down_size);
	return err;
}

static int map_kernel(struct rmio_slave **out, int fd)
{
	struct rmio_down_hdr h;
	struct rmio_slave *s;
	const void *down;
	uint32_t i;
	void *up;
	int err = rmio_kslave_alive(fd);

	if (!err)
		err = rmio_kslave_map(fd, &h, &down, &up);
	if (err)
		return err;
	err = check_hdr(&h, h.size);
	if (err) {
		munmap(up, (uint64_t)RMIO_PAGE * (1 + h.nr_lanes));
		munmap((void *)down, h.size);
		return err;
	}
	err = new_slave(&s, fd, &h, down, up);
	if (err)
		return err;
	s->kernel = true;
	for (i = 0; i < s->nr_lanes; i++) {
		s->lanes[i].cons.wake = rmio_kslave_wake;
		s->lanes[i].cons.kernel = fd;
		s->lanes[i].cons.lane = i;
	}
	*out = s;
	return 0;
}

int rmio_slave_open(int fd, const struct rmio_slave_opts *opts, struct rmio_slave **out)
{
	struct rmio_chan_hdr h = { 0 };
	struct rmio_slave_opts o;
	struct rmio_slave *s = NULL;
	int fds[RMIO_CHAN_FDS] = { -1, -1, -1, -1, -1 };
	size_t nfds = 0, i;
	ssize_t n;
	int err;

	err = rmio_opts_copy(&o, sizeof(o), opts, "rmio_slave_opts");
	if (err)
		goto close_fd;
	if (rmio_kslave_is(fd)) {
		err = map_kernel(&s, fd);
		if (err)
			goto close_fd;
		err = rmio_spin_init(&s->spin, &o.wait);
		if (err)
			goto free_slave;
		*out = s;
		return 0;
	}
	n = rmio_chan_recv(fd, &h, NULL, 0, fds, &nfds);
	err = n == -ECONNRESET ? -ECONNRESET : -EPROTO;
	if (n < 0 || h.type != RMIO_CHAN_HELLO || h.answer ||
	    !(nfds == 2 || (nfds == 5 && rmio_foreign_is_eventfd(fds[4])))) {
		rmio_refuse(err, "rmio_slave_open: %s", err == -ECONNRESET ? "the master is gone" :
			    "the descriptor is no slave's, or this process has none left to "
			    "receive its memory with");
		goto close_fds;
	}
	err = map_lanes(&s, fd, fds, h.value);
	if (err)
		goto close_fds;
	err = rmio_spin_init(&s->spin, &o.wait);
	if (err)
		goto free_slave;
	rmio_slave_bell(s, RMIO_BELL_SOCK);
	h.answer = 1;
	err = rmio_chan_send(fd, &h, NULL, 0, NULL, 0);
	if (err) {
		err = -ECONNRESET;
		goto free_slave;
	}
	for (i = 0; i < 4; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	s->posted = fds[4];
	*out = s;
	return 0;

free_slave:
	s->chan = -1;
	rmio_slave_free(s);
close_fds:
	for (i = 0; i < nfds; i++)
		rmio_foreign_close(fds[i]);
close_fd:
	rmio_foreign_close(fd);
	return err;
}

void rmio_slave_free(struct rmio_slave *s)
{
	uint32_t i;

	if (!s)
		return;
	if (s->chan >= 0 && s->kernel)
		rmio_kslave_hang_up(s->chan);
	else if (s->chan >= 0)
		rmio_scm_hang_up(s->chan);
	if (s->posted >= 0)
		close(s->posted);
	for (i = 0; i < s->nr_lanes; i++)
		free(s->lanes[i].sent);
	if (s->image && !s->image_at)
		munmap(s->image, s->image_size);
	unmap_words(s);
	munmap(s->up, s->up_size);
	munmap((void *)s->down, s->down_size);
	free(s);
}
