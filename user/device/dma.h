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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Of a device.  A map costs an area of the address space, of which a process
 * has 65530; one that is not direct costs a descriptor too.  Devices that share
 * a process must not run out of either because of one of them.
 */
#define RMIO_DMA_MAPS		4096u
#define RMIO_DMA_DIRECT		(8ull << 40)	/* bytes of address space */
#define RMIO_DMA_INDIRECT	128u

struct rmio_dma_map;

struct rmio_dma {
	struct rmio_dma_map *maps;	/* sorted by iova, no overlap */
	uint32_t n, room;
	uint32_t indirect;		/* of them, with a descriptor of their own */
	uint64_t direct;		/* bytes of the others */
	uint32_t last;			/* the one that served the last access */
	int pipe[2];			/* for huge pages; -1 */
};

void rmio_dma_init(struct rmio_dma *d);
/* Forget all. */
void rmio_dma_drop(struct rmio_dma *d);

/*
 * @prot: PROT_READ, PROT_WRITE as the device may access it.  *fd -1: memory that
 * the device cannot reach; it occupies the range.  Otherwise taken (-1 written
 * over it) or left to the caller.
 *   -EINVAL size 0, no or unknown prot, a file of another kind or on a file
 *   system that could keep the device waiting, too short, offset not page-aligned;
 *   -EOVERFLOW a sum wraps; -EEXIST overlap; -ENOSPC too many; -EACCES not open for
 *   that prot; -ENOMEM, -EMFILE.
 */
int rmio_dma_map(struct rmio_dma *d, uint64_t iova, uint64_t size, uint64_t offset, int prot,
		 int *fd);
/*
 * Which maps lie within @size bytes, not 0, from @iova on: *n of them, of which rmio_dma_at() has
 * the first by *first.  -EINVAL: one is there in part only.
 */
int rmio_dma_within(const struct rmio_dma *d, uint64_t iova, uint64_t size, uint32_t *first,
		    uint32_t *n);
/* All of these go; there may be none.  -EINVAL as above, then all stay. */
int rmio_dma_unmap(struct rmio_dma *d, uint64_t iova, uint64_t size);

/*
 * Copy across maps.  -EFAULT: part of it is not mapped for that (nothing is
 * copied), or the file has become too short (what lies before is copied).
 */
int rmio_dma_copy(struct rmio_dma *d, uint64_t iova, void *buf, uint64_t len, bool write);

/* Within one direct map, else NULL. */
void *rmio_dma_direct(struct rmio_dma *d, uint64_t iova, uint64_t len, bool write);

/* The i-th map; false past the end. */
bool rmio_dma_at(const struct rmio_dma *d, uint32_t i, uint64_t *iova, uint64_t *size);

#endif
