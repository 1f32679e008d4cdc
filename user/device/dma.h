/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Guest memory that a device may reach: the table of DMA_MAP.  Beside the data
 * path of registers; the data path of a device that moves memory.
 *
 * No access faults, whatever the VMM does to its files:
 *   a memfd of ordinary pages sealed against shrinking is mapped and used
 *   directly; anything else can be truncated at any time, and touching a mapping
 *   of it raises SIGBUS, so it is read and written by system calls, for which
 *   that is an error: pread(2) and pwrite(2); or through a pipe from and to a
 *   mapping, for huge pages, which have no write, and where the process may not
 *   write files of that size.
 */
#ifndef RMIO_DEVICE_DMA_H
#define RMIO_DEVICE_DMA_H

#include "dma_file.h"
#include "dma_tree.h"
#include "wire/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RMIO_DMA_MAPS	VU_DMA_MAPS	/* of a device, with or without a file */

struct rmio_dma {
	struct rmio_dma_tree tree;
	struct rmio_dma_files files;
	uint32_t n;			/* maps */
	struct rmio_dma_map *last;	/* that served the last access; NULL */
	int pipe[2];			/* for what may fault; -1 */
	char why[RMIO_DMA_WHY];		/* the last one was refused */
};

void rmio_dma_init(struct rmio_dma *d);
/* Forget all. */
void rmio_dma_drop(struct rmio_dma *d);

/*
 * @prot: PROT_READ, PROT_WRITE as the device may access it.  *fd -1: memory that
 * the device cannot reach; it occupies the range.  Otherwise taken (-1 written
 * over it) or left to the caller.  The reason is in d->why:
 *   -EINVAL size 0, no or unknown prot, a file of another kind or on a file
 *   system that could keep the device waiting, too short, offset not page-aligned;
 *   -EOVERFLOW a sum wraps; -EEXIST overlap; -ENOSPC too many; -EACCES not open for
 *   that prot; -ENOMEM, -EMFILE.
 */
int rmio_dma_map(struct rmio_dma *d, uint64_t iova, uint64_t size, uint64_t offset, int prot,
		 int *fd);
/* Would it cut none in two?  @size is not 0.  -EINVAL: one is there in part only; d->why. */
int rmio_dma_within(struct rmio_dma *d, uint64_t iova, uint64_t size);
/* All within go; there may be none.  -EINVAL as above, then all stay. */
int rmio_dma_unmap(struct rmio_dma *d, uint64_t iova, uint64_t size);

/*
 * Copy across maps.  -EFAULT: part of it is not mapped for that (nothing is
 * copied), or the file has become too short (what lies before is copied).
 */
int rmio_dma_copy(struct rmio_dma *d, uint64_t iova, void *buf, uint64_t len, bool write);

/* Within one direct map, else NULL. */
void *rmio_dma_direct(struct rmio_dma *d, uint64_t iova, uint64_t len, bool write);

/* The first map that ends at @iova or above; false if there is none. */
bool rmio_dma_from(const struct rmio_dma *d, uint64_t iova, uint64_t *at, uint64_t *size);

#endif
