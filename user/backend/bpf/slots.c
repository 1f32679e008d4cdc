// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The devices of a BPF program: arrays, each in its slot of the tables of maps.  Beside the data
 * path: once a device and an image.
 *
 * Each change of a table of maps waits for a grace period, some 8 ms, so that no program still
 * uses what was there.  Hence the three tables of a device are changed at the same time; who makes
 * devices in a row gets them from batches, half as many ahead as there are, which wait once; and
 * what is gone stays in its slot until there is a batch of those, too.  No register leads to such a
 * slot, and it is not used again before.
 */
#include "memfd.h"
#include "program_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#define AHEAD_BYTES	(8u << 20)	/* of kernel memory that nobody uses yet, or any more */
#define TABLES		4

/* -- the tables ----------------------------------------------------------------------------- */

static int put_in(int outer, uint32_t slot, int fd)
{
	return bpf_map_update_elem(outer, &slot, &fd, BPF_ANY);
}

/* What becomes of some slots of a table: these arrays, or nothing. */
struct change {
	int outer;
	uint32_t n;
	uint32_t keys[RMIO_BPF_BATCH];
	int fds[RMIO_BPF_BATCH];	/* -1: taken out */
	int err;
	pthread_t thread;
};

static void *do_change(void *arg)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct change *c = arg;
	uint32_t n = c->n, i;

	if (n > 1 && c->fds[0] >= 0 && !bpf_map_update_batch(c->outer, c->keys, c->fds, &n, &opts))
		return NULL;
	for (i = 0; i < c->n && !c->err; i++) {
		if (c->fds[i] >= 0)
			c->err = put_in(c->outer, c->keys[i], c->fds[i]);
		else
			bpf_map_delete_elem(c->outer, &c->keys[i]);
	}
	return NULL;
}

/* All of them wait for the same grace period, each in a thread; the last one in this. */
static int change_all(struct change *c, uint32_t n)
{
	bool started[TABLES] = { false };
	pthread_attr_t attr;
	sigset_t all;
	uint32_t i;
	int err = 0;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setsigmask_np(&attr, &all);
	for (i = 0; i + 1 < n; i++)
		started[i] = c[i].n && !pthread_create(&c[i].thread, &attr, do_change, &c[i]);
	pthread_attr_destroy(&attr);
	for (i = 0; i < n; i++)
		if (!started[i] && c[i].n)
			do_change(&c[i]);
	for (i = 0; i < n; i++) {
		if (started[i])
			pthread_join(c[i].thread, NULL);
		if (!err)
			err = c[i].err;
	}
	return err;
}

static int put_in_all(struct rmio_bpf *b, const struct rmio_bpf_dev *d, uint32_t n)
{
	struct change c[3] = {
		{ .outer = b->fd[RMIO_BPF_FD_DOWNS] },
		{ .outer = b->fd[RMIO_BPF_FD_UPS] },
		{ .outer = b->fd[RMIO_BPF_FD_LANES] },
	};
	uint32_t i, t;

	for (i = 0; i < n; i++) {
		c[0].fds[i] = d[i].down_fd;
		c[1].fds[i] = d[i].up_fd;
		c[2].fds[i] = d[i].lanes_fd;
		for (t = 0; t < 3; t++) {
			c[t].keys[i] = d[i].slot;
			c[t].n = n;
		}
	}
	return change_all(c, 3);
}

/* -- arrays -------------------------------------------------------------------- */

static void *map_array(int fd, uint64_t size, bool write)
{
	void *p = mmap(NULL, size, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void unmap_dev(struct rmio_bpf_dev *d)
{
	if (d->down)
		munmap(d->down, d->down_size);
	if (d->up)
		munmap((void *)d->up, d->up_size);
	if (d->lanes)
		munmap(d->lanes, d->lanes_size);
	if (d->down_fd >= 0)
		close(d->down_fd);
	if (d->up_fd >= 0)
		close(d->up_fd);
	if (d->lanes_fd >= 0)
		close(d->lanes_fd);
}

static int ask(struct rmio_bpf *b, const struct rmio_broker_request *r, int *fds, uint32_t nfds)
{
	int err;

	pthread_mutex_lock(&b->lock);
	err = rmio_broker_ask(b->broker, r, NULL, fds, nfds);
	pthread_mutex_unlock(&b->lock);
	return err;
}

static int make_arrays(struct rmio_bpf *b, uint32_t lanes, struct rmio_bpf_dev *d)
{
	struct rmio_broker_request r = {
		.type = RMIO_BROKER_DEVICE,
		.a = lanes,
		.b = d->slots,
	};
	int fds[3], err;

	if (b->object)
		err = rmio_bpf_object_device(b->object, lanes, d->slots, fds);
	else
		err = ask(b, &r, fds, 3);
	if (err)
		return err;
	d->down_fd = fds[0];
	d->up_fd = fds[1];
	d->lanes_fd = fds[2];
	d->down_size = RMIO_PAGE * (1 + (uint64_t)lanes * d->lane_pages);
	d->up_size = RMIO_PAGE * (1 + (uint64_t)lanes);
	d->lanes_size = rmio_pages(lanes * sizeof(struct rmio_bpf_lane));
	d->down = map_array(d->down_fd, d->down_size, true);
	d->up = map_array(d->up_fd, d->up_size, false);
	d->lanes = map_array(d->lanes_fd, d->lanes_size, true);
	return d->down && d->up && d->lanes ? 0 : -ENOMEM;
}

/* -- slots -------------------------------------------------------------------- */

static int take_slot(struct rmio_bpf *b)
{
	uint32_t i;

	pthread_mutex_lock(&b->lock);
	for (i = 0; i < RMIO_BPF_DEVS; i++)
		if (!(b->used[i / 64] >> (i % 64) & 1)) {
			b->used[i / 64] |= 1ull << (i % 64);
			break;
		}
	pthread_mutex_unlock(&b->lock);
	return i < RMIO_BPF_DEVS ? (int)i : -ENOSPC;
}

static void give_slot(struct rmio_bpf *b, uint32_t slot)
{
	pthread_mutex_lock(&b->lock);
	b->used[slot / 64] &= ~(1ull << (slot % 64));
	pthread_mutex_unlock(&b->lock);
}

/* What takes the place of many at once: there is no batch of deletions. */
static bool have_nothing(struct rmio_bpf *b)
{
	struct rmio_bpf_slots *s = &b->slots;
	int fds[3];

	if (s->nothing[0] >= 0)
		return true;
	if (!b->object || rmio_bpf_object_device(b->object, b->vcpus, RMIO_BPF_RING_MIN, fds))
		return false;
	close(fds[0]);
	s->nothing[0] = fds[1];
	s->nothing[1] = fds[2];
	return true;
}

/* Nothing of these is in the tables afterwards, and no program uses it. */
static void clear(struct rmio_bpf *b, const uint32_t *slots, const bool *images, uint32_t n)
{
	bool batch = n > 1 && b->slots.batches && have_nothing(b);
	struct change c[TABLES] = {
		{ .outer = b->fd[RMIO_BPF_FD_DOWNS] },
		{ .outer = b->fd[RMIO_BPF_FD_UPS] },
		{ .outer = b->fd[RMIO_BPF_FD_LANES] },
		{ .outer = b->fd[RMIO_BPF_FD_SHADOWS] },
	};
	uint32_t i, t;

	for (i = 0; i < n; i++) {
		for (t = 0; t < 3; t++) {
			c[t].keys[c[t].n] = slots[i];
			c[t].fds[c[t].n++] = batch ? b->slots.nothing[t == 2] : -1;
		}
		/* A device without an image must not have one. */
		if (images[i]) {
			c[3].keys[c[3].n] = slots[i];
			c[3].fds[c[3].n++] = -1;
		}
	}
	change_all(c, TABLES);
}

static void clear_stale(struct rmio_bpf *b)
{
	struct rmio_bpf_slots *s = &b->slots;
	uint32_t i;

	if (!s->nr_stale)
		return;
	clear(b, s->stale, s->stale_image, s->nr_stale);
	for (i = 0; i < s->nr_stale; i++)
		give_slot(b, s->stale[i]);
	s->nr_stale = 0;
	s->stale_bytes = 0;
}

static void make_stale(struct rmio_bpf *b, struct rmio_bpf_dev *d)
{
	struct rmio_bpf_slots *s = &b->slots;

	unmap_dev(d);
	s->stale[s->nr_stale] = d->slot;
	s->stale_image[s->nr_stale++] = d->image;
	s->stale_bytes += d->down_size + d->up_size + d->lanes_size;
	if (s->nr_stale == RMIO_BPF_BATCH || s->stale_bytes >= AHEAD_BYTES || !s->batches)
		clear_stale(b);
}

static void drop_spares(struct rmio_bpf *b)
{
	while (b->slots.spares)
		make_stale(b, &b->slots.spare[--b->slots.spares]);
}

void rmio_bpf_slots_init(struct rmio_bpf *b)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	pthread_mutex_init(&b->slots.lock, NULL);
	b->slots.nothing[0] = b->slots.nothing[1] = -1;
	/* Older ones wait for each element of a batch. */
	if (!uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2)
		b->slots.batches = major > 6 || (major == 6 && minor >= 8);
}

/* The tables go with the program, and all that is in them. */
void rmio_bpf_slots_exit(struct rmio_bpf *b)
{
	while (b->slots.spares)
		unmap_dev(&b->slots.spare[--b->slots.spares]);
	if (b->slots.nothing[0] >= 0) {
		close(b->slots.nothing[0]);
		close(b->slots.nothing[1]);
	}
	pthread_mutex_destroy(&b->slots.lock);
}

/* -- devices -------------------------------------------------------------------- */

static int make_one(struct rmio_bpf *b, uint32_t lanes, uint32_t slots, struct rmio_bpf_dev *d)
{
	int slot = take_slot(b), err;

	*d = (struct rmio_bpf_dev){
		.down_fd = -1,
		.up_fd = -1,
		.lanes_fd = -1,
		.slots = slots,
		.lane_pages = 1 + (uint32_t)(rmio_pages(slots * sizeof(struct rmio_request)) /
					     RMIO_PAGE),
	};
	if (slot < 0)
		return slot;
	d->slot = (uint32_t)slot;
	err = make_arrays(b, lanes, d);
	if (err) {
		unmap_dev(d);
		give_slot(b, d->slot);
	}
	return err;
}

/*
 * How many at once: nobody who makes one or two pays for more.  A broker counts what it hands out,
 * used or not.
 */
static uint32_t batch_size(const struct rmio_bpf *b, uint32_t lanes, uint32_t slots)
{
	uint64_t bytes = rmio_bpf_device_size(lanes, slots), most = bytes ? AHEAD_BYTES / bytes : 1;
	uint32_t n = b->slots.made / 2;

	if (!b->slots.batches || !b->object || b->slots.spares)
		return 1;
	n = n > RMIO_BPF_BATCH ? RMIO_BPF_BATCH : n;
	n = n > most ? (uint32_t)most : n;
	return n ? n : 1;
}

static int make_some(struct rmio_bpf *b, uint32_t lanes, uint32_t slots, struct rmio_bpf_dev *d)
{
	uint32_t want = batch_size(b, lanes, slots), n;
	struct rmio_bpf_dev list[RMIO_BPF_BATCH];
	int err = 0;

	for (n = 0; n < want; n++) {
		err = make_one(b, lanes, slots, &list[n]);
		if (err)
			break;
	}
	if (!n && err == -ENOSPC && (b->slots.spares || b->slots.nr_stale)) {
		drop_spares(b);
		clear_stale(b);
		err = make_one(b, lanes, slots, &list[0]);
		n = !err;
	}
	if (!n)
		return err;
	err = put_in_all(b, list, n);
	if (err) {
		while (n)
			make_stale(b, &list[--n]);
		clear_stale(b);
		return err;
	}
	*d = list[0];
	while (n > 1)
		b->slots.spare[b->slots.spares++] = list[--n];
	return 0;
}

/* One that was made ahead, with rings of that size. */
static bool take_spare(struct rmio_bpf_slots *s, uint32_t slots, struct rmio_bpf_dev *d)
{
	uint32_t i;

	for (i = 0; i < s->spares; i++) {
		if (s->spare[i].slots != slots)
			continue;
		*d = s->spare[i];
		s->spare[i] = s->spare[--s->spares];
		return true;
	}
	return false;
}

int rmio_bpf_dev_new(struct rmio_bpf *b, uint32_t lanes, uint32_t slots, struct rmio_bpf_dev *d)
{
	int err = 0;

	pthread_mutex_lock(&b->slots.lock);
	if (!take_spare(&b->slots, slots, d))
		err = make_some(b, lanes, slots, d);
	b->slots.made += !err;
	pthread_mutex_unlock(&b->slots.lock);
	return err;
}

void rmio_bpf_dev_free(struct rmio_bpf *b, struct rmio_bpf_dev *d)
{
	pthread_mutex_lock(&b->slots.lock);
	make_stale(b, d);
	pthread_mutex_unlock(&b->slots.lock);
}

int rmio_bpf_shadow_new(struct rmio_bpf *b, uint64_t size)
{
	struct rmio_broker_request r = { .type = RMIO_BROKER_IMAGE, .size = size };
	int fd, err;

	if (b->object)
		return rmio_bpf_object_image(size);
	err = ask(b, &r, &fd, 1);
	return err ? err : fd;
}

int rmio_bpf_dev_shadow(struct rmio_bpf *b, struct rmio_bpf_dev *d, int fd)
{
	int err = 0;

	if (fd >= 0)
		err = put_in(b->fd[RMIO_BPF_FD_SHADOWS], d->slot, fd);
	else if (d->image)
		bpf_map_delete_elem(b->fd[RMIO_BPF_FD_SHADOWS], &d->slot);
	/* What could not be put in leaves what was there. */
	if (!err)
		d->image = fd >= 0;
	return err;
}
