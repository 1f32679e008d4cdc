// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Guest memory that a device may reach: mapping, look-up and copies that cannot
 * fault.  Beside the data path of registers.
 */
#include "dma.h"
#include "wire/foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC	0x58465342
#endif

#define PAGE	4096u

enum way {
	WAY_NONE,	/* not reachable */
	WAY_DIRECT,	/* mapped, cannot fault */
	WAY_FILE,	/* pread, pwrite */
	WAY_PIPE,	/* mapped, may fault: the kernel copies */
};

struct rmio_dma_map {
	uint64_t iova, size, offset;
	char *mem;
	int fd;
	int prot;
	enum way way;
};

void rmio_dma_init(struct rmio_dma *d)
{
	memset(d, 0, sizeof(*d));
	d->pipe[0] = -1;
	d->pipe[1] = -1;
}

/* -- kinds of files -------------------------------------------------------------- */

/* pwrite(2) beyond that limit, in a file that was truncated, would raise SIGXFSZ. */
static bool within_file_limit(uint64_t end)
{
	struct rlimit r;

	return !getrlimit(RLIMIT_FSIZE, &r) && (r.rlim_cur == RLIM_INFINITY || end <= r.rlim_cur);
}

/*
 * A file on a network or user-space file system could answer never, and the
 * devices of a loop wait for each other: only memory, and what lies on a block
 * device.
 */
static int way_of(int fd, uint64_t end, int prot, enum way *way)
{
	int flags = fcntl(fd, F_GETFL), mode = flags & O_ACCMODE, seals;
	struct statfs fs;
	struct statx sx;
	struct stat st;

	if (flags < 0 || (flags & O_PATH))
		return -EINVAL;
	/* Asked in a way that nobody else has to answer; after it the rest is safe to ask. */
	if (!rmio_foreign_is_memory(fd) &&
	    (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &sx) ||
	     !S_ISREG(sx.stx_mode) || !sx.stx_dev_major))
		return -EINVAL;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || fstatfs(fd, &fs))
		return -EINVAL;
	/* A shared mapping to write to needs a file that is open for both. */
	if (mode == O_WRONLY || ((prot & PROT_WRITE) && mode != O_RDWR))
		return -EACCES;
	if (st.st_size < 0 || (uint64_t)st.st_size < end)
		return -EINVAL;
	switch ((unsigned long)fs.f_type) {
	case HUGETLBFS_MAGIC:
		*way = WAY_PIPE;
		return 0;
	case TMPFS_MAGIC:
		seals = fcntl(fd, F_GET_SEALS);
		if (seals >= 0 && (seals & F_SEAL_SHRINK)) {
			*way = WAY_DIRECT;
			return 0;
		}
		break;
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
		break;
	default:
		return -EINVAL;
	}
	*way = within_file_limit(end) ? WAY_FILE : WAY_PIPE;
	return 0;
}

static int open_pipe(struct rmio_dma *d)
{
	if (d->pipe[0] >= 0)
		return 0;
	return pipe2(d->pipe, O_CLOEXEC | O_NONBLOCK) ? -errno : 0;
}

/* -- the table ---------------------------------------------------------------------- */

/* Index of the first map that ends above @iova. */
static uint32_t first_above(const struct rmio_dma *d, uint64_t iova)
{
	uint32_t lo = 0, hi = d->n, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (d->maps[mid].iova + d->maps[mid].size - 1 < iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int make_room(struct rmio_dma *d)
{
	uint32_t room = d->room ? d->room * 2 : 16;
	struct rmio_dma_map *maps;

	if (d->n == RMIO_DMA_MAPS)
		return -ENOSPC;
	if (d->n < d->room)
		return 0;
	maps = realloc(d->maps, room * sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	d->maps = maps;
	d->room = room;
	return 0;
}

static int attach_file(struct rmio_dma *d, struct rmio_dma_map *m, int *fd)
{
	int err;

	if (m->offset % PAGE)
		return -EINVAL;
	err = way_of(*fd, m->offset + m->size, m->prot, &m->way);
	if (err)
		return err;
	if (m->way == WAY_PIPE) {
		err = open_pipe(d);
		if (err)
			return err;
	}
	if (m->way == WAY_FILE) {
		if (d->indirect == RMIO_DMA_INDIRECT)
			return -ENOSPC;
		d->indirect++;
		m->fd = *fd;
		*fd = -1;
		return 0;
	}
	if (m->size > RMIO_DMA_DIRECT - d->direct)
		return -ENOSPC;
	m->mem = mmap(NULL, m->size, m->prot, MAP_SHARED, *fd, (off_t)m->offset);
	if (m->mem == MAP_FAILED)
		return errno == EPERM ? -EACCES : -errno;
	d->direct += m->size;
	/* The mapping holds the file. */
	close(*fd);
	*fd = -1;
	return 0;
}

int rmio_dma_map(struct rmio_dma *d, uint64_t iova, uint64_t size, uint64_t offset, int prot,
		 int *fd)
{
	struct rmio_dma_map m = {
		.iova = iova, .size = size, .offset = offset, .prot = prot, .fd = -1,
	};
	uint32_t at;
	int err;

	if (!size || !prot || (prot & ~(PROT_READ | PROT_WRITE)))
		return -EINVAL;
	if (iova + (size - 1) < iova || offset + size < offset ||
	    (*fd >= 0 && offset + size > INT64_MAX))
		return -EOVERFLOW;
	at = first_above(d, iova);
	if (at < d->n && d->maps[at].iova <= iova + (size - 1))
		return -EEXIST;
	err = make_room(d);
	if (!err && *fd >= 0)
		err = attach_file(d, &m, fd);
	if (err)
		return err;
	memmove(&d->maps[at + 1], &d->maps[at], (d->n - at) * sizeof(m));
	d->maps[at] = m;
	d->n++;
	return 0;
}

static void detach_file(struct rmio_dma *d, struct rmio_dma_map *m)
{
	if (m->mem) {
		munmap(m->mem, m->size);
		d->direct -= m->size;
	}
	if (m->fd >= 0) {
		close(m->fd);
		d->indirect--;
	}
}

int rmio_dma_within(const struct rmio_dma *d, uint64_t iova, uint64_t size, uint32_t *first,
		    uint32_t *n)
{
	uint64_t last = iova + (size - 1);
	uint32_t at = first_above(d, iova), end;

	for (end = at; end < d->n && d->maps[end].iova <= last; end++)
		if (d->maps[end].iova < iova ||
		    d->maps[end].iova + (d->maps[end].size - 1) > last)
			return -EINVAL;
	*first = at;
	*n = end - at;
	return 0;
}

int rmio_dma_unmap(struct rmio_dma *d, uint64_t iova, uint64_t size)
{
	uint32_t at, n, i;
	int err = rmio_dma_within(d, iova, size, &at, &n);

	/* None: there may be no table at all. */
	if (err || !n)
		return err;
	for (i = at; i < at + n; i++)
		detach_file(d, &d->maps[i]);
	d->n -= n;
	memmove(&d->maps[at], &d->maps[at + n], (d->n - at) * sizeof(d->maps[0]));
	return 0;
}

void rmio_dma_drop(struct rmio_dma *d)
{
	uint32_t i;

	for (i = 0; i < d->n; i++)
		detach_file(d, &d->maps[i]);
	free(d->maps);
	if (d->pipe[0] >= 0) {
		close(d->pipe[0]);
		close(d->pipe[1]);
	}
	rmio_dma_init(d);
}

bool rmio_dma_at(const struct rmio_dma *d, uint32_t i, uint64_t *iova, uint64_t *size)
{
	if (i >= d->n)
		return false;
	*iova = d->maps[i].iova;
	*size = d->maps[i].size;
	return true;
}

/* -- copies --------------------------------------------------------------------------- */

/* The map that holds @iova and allows @prot, and how much of it from there on. */
static struct rmio_dma_map *find(struct rmio_dma *d, uint64_t iova, int prot, uint64_t *left)
{
	struct rmio_dma_map *m = d->last < d->n ? &d->maps[d->last] : NULL;

	if (!m || iova < m->iova || iova - m->iova >= m->size) {
		d->last = first_above(d, iova);
		if (d->last == d->n || d->maps[d->last].iova > iova)
			return NULL;
		m = &d->maps[d->last];
	}
	if (m->way == WAY_NONE || (m->prot & prot) != prot)
		return NULL;
	*left = m->size - (iova - m->iova);
	return m;
}

static int copy_file(const struct rmio_dma_map *m, uint64_t at, char *buf, uint64_t len, bool write)
{
	ssize_t n;

	for (; len; at += (uint64_t)n, buf += n, len -= (uint64_t)n) {
		off_t off = (off_t)(m->offset + at);

		n = write ? pwrite(m->fd, buf, len, off) : pread(m->fd, buf, len, off);
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
	switch (m->way) {
	case WAY_DIRECT:
		if (write)
			memcpy(m->mem + at, buf, len);
		else
			memcpy(buf, m->mem + at, len);
		return 0;
	case WAY_FILE:
		return copy_file(m, at, buf, len, write);
	case WAY_PIPE:
		return copy_pipe(d, m, at, buf, len, write);
	case WAY_NONE:
		break;
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
	if (!m || m->way != WAY_DIRECT || len > left)
		return NULL;
	return m->mem + (iova - m->iova);
}
