// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device of the back end `bpf`: lanes and shadow image in BPF arrays, which the program writes
 * as well.  Beside the data path: once a device and an image.
 */
#include "backend/lanes.h"
#include "bpf.h"
#include "memfd.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Bytes of images that may be arrays: kernel memory, all of it there from the start.  For
 * all images of a device together, since it may ask again and again, and keep them all.
 */
#define ARRAY_MAX	(64u << 20)

static uint64_t up_words_size(const struct rmio_master *m)
{
	return rmio_pages(m->vm->max_vcpus * sizeof(struct rmio_up_words));
}

static int new_words(const struct rmio_master *m, struct rmio_bpf_master *b)
{
	void *mem;
	int err;

	err = rmio_region_new("rmio-down-words", sizeof(struct rmio_down_words), true, true,
			      &b->down_words_fd, &mem);
	if (err)
		return err;
	b->down_words = mem;
	err = rmio_region_new("rmio-up-words", up_words_size(m), false, false, &b->up_words_fd,
			      &mem);
	if (err) {
		munmap(b->down_words, sizeof(struct rmio_down_words));
		close(b->down_words_fd);
		return err;
	}
	b->up_words = mem;
	return 0;
}

static void free_words(const struct rmio_master *m, struct rmio_bpf_master *b)
{
	munmap(b->down_words, sizeof(struct rmio_down_words));
	munmap((void *)b->up_words, up_words_size(m));
	close(b->down_words_fd);
	close(b->up_words_fd);
}

static void set_up(struct rmio_master *m, struct rmio_bpf_master *b, uint32_t slots)
{
	uint32_t i;

	m->part = b;
	m->reserve = slots < RMIO_BPF_RING_MIN ? 0 : RMIO_BPF_RESERVE;
	m->down = b->dev.down;
	m->down_size = b->dev.down_size;
	m->up = b->dev.up;
	m->up_size = b->dev.up_size;
	m->give[0] = b->dev.down_fd;
	m->give[1] = b->dev.up_fd;
	m->give[2] = b->down_words_fd;
	m->give[3] = b->up_words_fd;
	m->give[4] = b->posted;
	m->nr_give = 5;
	rmio_lanes_init(m, slots);
	for (i = 0; i < m->vm->max_vcpus; i++) {
		m->lanes[i].tail_at = (uint64_t *)&b->dev.lanes[i].tail;
		m->lanes[i].wake_seq = &b->up_words[i].wake_seq;
	}
	m->bell.word = &b->down_words->bell;
}

int rmio_bpf_master_new(struct rmio_master *m, uint32_t slots)
{
	struct rmio_bpf *bpf = rmio_kvm_of(m->vm)->bpf;
	struct rmio_bpf_master *b = calloc(1, sizeof(*b));
	int err = -ENOMEM;

	if (!b)
		return err;
	b->posted = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->posted < 0) {
		err = -errno;
		goto free_part;
	}
	err = rmio_bpf_dev_new(bpf, m->vm->max_vcpus, slots, &b->dev);
	if (err)
		goto close_posted;
	err = new_words(m, b);
	if (err)
		goto free_arrays;
	b->plan = rmio_kvm_plan_new();
	if (!b->plan) {
		err = -ENOMEM;
		goto free_words;
	}
	set_up(m, b, slots);
	return 0;

free_words:
	free_words(m, b);
free_arrays:
	rmio_bpf_dev_free(bpf, &b->dev);
close_posted:
	close(b->posted);
free_part:
	free(b);
	return err;
}

void rmio_bpf_master_free(struct rmio_master *m)
{
	struct rmio_bpf_master *b = rmio_bpf_of(m);

	rmio_bpf_dev_free(rmio_kvm_of(m->vm)->bpf, &b->dev);
	rmio_kvm_plan_free(b->plan);
	free_words(m, b);
	close(b->posted);
	free(b);
}

void rmio_bpf_master_added(struct rmio_master *m)
{
	rmio_kvm_of(m->vm)->captured[rmio_bpf_of(m)->dev.slot] = m;
}

void rmio_bpf_master_removed(struct rmio_master *m)
{
	rmio_kvm_of(m->vm)->captured[rmio_bpf_of(m)->dev.slot] = NULL;
}

void rmio_bpf_master_dead(struct rmio_master *m)
{
	uint32_t i;

	for (i = 0; i < m->vm->max_vcpus; i++)
		rmio_word_write(&rmio_bpf_of(m)->dev.lanes[i].dead, 1);
}

/* -- the shadow image -------------------------------------------------------------- */

int rmio_bpf_image_new(struct rmio_master *m, uint64_t size, void **image)
{
	struct rmio_bpf_master *b = rmio_bpf_of(m);
	int fd;

	if (size > ARRAY_MAX - b->array_bytes)
		return -ENOTSUP;
	fd = rmio_bpf_shadow_new(rmio_kvm_of(m->vm)->bpf, size);
	if (fd < 0)
		return fd;
	*image = rmio_memfd_map(fd, size, true, NULL);
	if (!*image) {
		close(fd);
		return -ENOMEM;
	}
	b->array_bytes += size;
	return fd;
}

void rmio_bpf_image_set(struct rmio_master *m, int fd)
{
	struct rmio_bpf *bpf = rmio_kvm_of(m->vm)->bpf;
	struct rmio_bpf_master *b = rmio_bpf_of(m);

	b->array = fd >= 0 && !rmio_bpf_dev_shadow(bpf, &b->dev, fd);
	if (!b->array)
		rmio_bpf_dev_shadow(bpf, &b->dev, -1);
}

void rmio_bpf_image_drop(struct rmio_master *m, uint64_t size)
{
	if (rmio_bpf_of(m)->array)
		rmio_bpf_of(m)->array_bytes -= size;
}
