// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Guest memory that a device may reach: mapping, look-up and copies that cannot
 * fault.  Beside the data path of registers.
 */
#include "dma.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096u

void rmio_dma_init(struct rmio_dma *d)
{
	memset(d, 0, sizeof(*d));
	rmio_dma_tree_init(&d->tree);
	d->pipe[0] = -1;
	d->pipe[1] = -1;
}

/* -- the table ---------------------------------------------------------------------- */

static int open_pipe(struct rmio_dma *d)
{
	if (d->pipe[0] >= 0)
		return 0;
	if (!pipe2(d->pipe, O_CLOEXEC | O_NONBLOCK))
		return 0;
	return rmio_dma_refuse(d->why, -errno, "pipe: %s", strerrordesc_np(errno));
}

static int attach_file(struct rmio_dma *d, struct rmio_dma_map *m, int *fd)
{
	uint64_t size = m->last - m->iova + 1;
	struct rmio_dma_window *w;
	int err;

	if (m->offset % PAGE)
		return rmio_dma_refuse(d->why, -EINVAL, "its offset is no multiple of %u", PAGE);
	err = rmio_dma_file_get(&d->files, fd, m->offset, size, m->prot, &w, d->why);
	if (err)
		return err;
	if (w->way == RMIO_DMA_PIPE) {
		err = open_pipe(d);
		if (err) {
			rmio_dma_file_put(&d->files, w);
			return err;
		}
	}
	m->win = w;
	if (w->mem)
		m->mem = w->mem + (m->offset - w->offset);
	return 0;
}

static int check_new(struct rmio_dma *d, uint64_t iova, uint64_t size, uint64_t offset, int prot,
		     bool file)
{
	const struct rmio_dma_map *m;

	if (!size || !prot || (prot & ~(PROT_READ | PROT_WRITE)))
		return rmio_dma_refuse(d->why, -EINVAL, "empty, or neither readable nor writable");
	if (iova + (size - 1) < iova || offset + size < offset ||
	    (file && offset + size > INT64_MAX))
		return rmio_dma_refuse(d->why, -EOVERFLOW, "wraps");
	m = rmio_dma_tree_from(&d->tree, iova);
	if (m && m->iova <= iova + (size - 1))
		return rmio_dma_refuse(d->why, -EEXIST, "overlaps what is mapped from 0x%" PRIx64
				       " to 0x%" PRIx64, m->iova, m->last);
	if (d->n == RMIO_DMA_MAPS)
		return rmio_dma_refuse(d->why, -ENOSPC, "there are %u maps already", d->n);
	return 0;
}

int rmio_dma_map(struct rmio_dma *d, uint64_t iova, uint64_t size, uint64_t offset, int prot,
		 int *fd)
{
	int err = check_new(d, iova, size, offset, prot, *fd >= 0);
	struct rmio_dma_map *m;

	if (err)
		return err;
	m = calloc(1, sizeof(*m));
	if (!m)
		return rmio_dma_refuse(d->why, -ENOMEM, "no memory for it");
	m->iova = iova;
	m->last = iova + (size - 1);
	m->offset = offset;
	m->prot = prot;
	if (*fd >= 0) {
		err = attach_file(d, m, fd);
		if (err) {
			free(m);
			return err;
		}
	}
	rmio_dma_tree_insert(&d->tree, m);
	d->n++;
	return 0;
}

int rmio_dma_within(struct rmio_dma *d, uint64_t iova, uint64_t size)
{
	uint64_t last = iova + (size - 1);
	const struct rmio_dma_map *m = rmio_dma_tree_from(&d->tree, iova);

	if (m && m->iova < iova)
		return rmio_dma_refuse(d->why, -EINVAL, "would cut what is mapped from 0x%" PRIx64
				       " to 0x%" PRIx64, m->iova, m->last);
	m = rmio_dma_tree_from(&d->tree, last);
	if (m && m->iova <= last && m->last > last)
		return rmio_dma_refuse(d->why, -EINVAL, "would cut what is mapped from 0x%" PRIx64
				       " to 0x%" PRIx64, m->iova, m->last);
	return 0;
}

static void unmap(struct rmio_dma *d, uint64_t first, uint64_t last)
{
	struct rmio_dma_map *cut = rmio_dma_tree_cut(&d->tree, first, last), *m;

	d->last = NULL;
	while ((m = rmio_dma_tree_pop(&cut))) {
		if (m->win)
			rmio_dma_file_put(&d->files, m->win);
		free(m);
		d->n--;
	}
}

int rmio_dma_unmap(struct rmio_dma *d, uint64_t iova, uint64_t size)
{
	int err = rmio_dma_within(d, iova, size);

	if (!err)
		unmap(d, iova, iova + (size - 1));
	return err;
}

void rmio_dma_drop(struct rmio_dma *d)
{
	unmap(d, 0, UINT64_MAX);
	if (d->pipe[0] >= 0) {
		close(d->pipe[0]);
		close(d->pipe[1]);
	}
	rmio_dma_init(d);
}

bool rmio_dma_from(const struct rmio_dma *d, uint64_t iova, uint64_t *at, uint64_t *size)
{
	const struct rmio_dma_map *m = rmio_dma_tree_from(&d->tree, iova);

	if (!m)
		return false;
	*at = m->iova;
	*size = m->last - m->iova + 1;
	return true;
}

/* -- copies --------------------------------------------------------------------------- */

/* The map that holds @iova and allows @prot, and how much of it from there on. */
static struct rmio_dma_map *find(struct rmio_dma *d, uint64_t iova, int prot, uint64_t *left)
{
	struct rmio_dma_map *m = d->last;

	if (!m || iova < m->iova || iova > m->last) {
		m = rmio_dma_tree_from(&d->tree, iova);
		if (!m || m->iova > iova)
			return NULL;
		d->last = m;
	}
	if (!m->win || (m->prot & prot) != prot)
		return NULL;
	*left = m->last - iova + 1;
	return m;
}

static int copy_file(const struct rmio_dma_map *m, uint64_t at, char *buf, uint64_t len, bool write)
{
	ssize_t n;

	for (; len; at += (uint64_t)n, buf += n, len -= (uint64_t)n) {
		off_t off = (off_t)(m->offset + at);

		n = write ? pwrite(m->win->fd, buf, len, off) :
			    pread(m->win->fd, buf, len, off);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return -EFAULT;
	}
	return 0;
}

/*
 * A write that grows the file again after it was truncated is none of the
 * device's doing either way: the VMM sees its own file.  Read and write of a
 * pipe turn a fault in the mapping into EFAULT.
 */
static int copy_pipe(const struct rmio_dma *d, const struct rmio_dma_map *m, uint64_t at,
		     char *buf, uint64_t len, bool write_mem)
{
	char *mem = m->mem + at;
	char sink[512];
	ssize_t in, out, k;

	for (; len; len -= (uint64_t)in, mem += in, buf += in) {
		in = write(d->pipe[1], write_mem ? buf : mem, len < 4096 ? len : 4096);
		if (in <= 0)
			return -EFAULT;
		for (out = 0; out < in; out += k) {
			k = read(d->pipe[0], (write_mem ? mem : buf) + out, (size_t)(in - out));
			if (k <= 0)
				goto drain;
		}
	}
	return 0;

drain:
	while (read(d->pipe[0], sink, sizeof(sink)) > 0)
		;
	return -EFAULT;
}

static int copy_one(struct rmio_dma *d, const struct rmio_dma_map *m, uint64_t at, char *buf,
		    uint64_t len, bool write)
{
	switch (m->win->way) {
	case RMIO_DMA_DIRECT:
		if (write)
			memcpy(m->mem + at, buf, len);
		else
			memcpy(buf, m->mem + at, len);
		return 0;
	case RMIO_DMA_FILE:
		return copy_file(m, at, buf, len, write);
	case RMIO_DMA_PIPE:
		return copy_pipe(d, m, at, buf, len, write);
	}
	return -EFAULT;
}

int rmio_dma_copy(struct rmio_dma *d, uint64_t iova, void *buf, uint64_t len, bool write)
{
	int prot = write ? PROT_WRITE : PROT_READ, err;
	uint64_t at, left, part, done;
	struct rmio_dma_map *m;

	if (!len)
		return 0;
	if (iova + (len - 1) < iova)
		return -EFAULT;
	for (done = 0; done < len; done += left)
		if (!find(d, iova + done, prot, &left))
			return -EFAULT;
	for (done = 0; done < len; done += part) {
		m = find(d, iova + done, prot, &left);
		at = iova + done - m->iova;
		part = left < len - done ? left : len - done;
		err = copy_one(d, m, at, (char *)buf + done, part, write);
		if (err)
			return err;
	}
	return 0;
}

void *rmio_dma_direct(struct rmio_dma *d, uint64_t iova, uint64_t len, bool write)
{
	struct rmio_dma_map *m;
	uint64_t left;

	if (!len)
		return NULL;
	m = find(d, iova, write ? PROT_READ | PROT_WRITE : PROT_READ, &left);
	if (!m || m->win->way != RMIO_DMA_DIRECT || len > left)
		return NULL;
	return m->mem + (iova - m->iova);
}
