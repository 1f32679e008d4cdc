/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What kind of file a peer has sent for guest memory, and how it may be reached so that no access
 * faults and none waits.  Beside the data path: once a file and map.
 */
#ifndef RMIO_DEVICE_DMA_KIND_H
#define RMIO_DEVICE_DMA_KIND_H

#include <stdbool.h>
#include <stdint.h>

#define RMIO_DMA_WHY	256u	/* bytes of a reason */

enum rmio_dma_way {
	RMIO_DMA_DIRECT,	/* mapped, cannot fault */
	RMIO_DMA_FILE,		/* pread, pwrite */
	RMIO_DMA_PIPE,		/* mapped, may fault: the kernel copies */
};

enum rmio_dma_fs {
	RMIO_DMA_FS_MEMORY,	/* memfds and tmpfs */
	RMIO_DMA_FS_HUGE,
	RMIO_DMA_FS_DISK,	/* read and written at this machine */
	RMIO_DMA_FS_OVERLAY,
	RMIO_DMA_FS_GUEST,	/* a guest_memfd */
};

struct rmio_dma_kind {
	uint64_t dev, ino;
	int mode;		/* O_RDONLY, O_RDWR */
	enum rmio_dma_fs fs;
	uint32_t block;		/* what is mapped of it begins and ends at multiples of that */
};

/* First which file and how it is open: nobody is asked who might not answer.  -EINVAL, -EACCES. */
int rmio_dma_kind_look(int fd, int prot, struct rmio_dma_kind *k, char why[RMIO_DMA_WHY]);

/* Then the rest of it, for a file that is not known yet.  -EINVAL. */
int rmio_dma_kind_of(int fd, struct rmio_dma_kind *k, char why[RMIO_DMA_WHY]);

/* How to reach it up to @end now, and how long it is.  -EINVAL: not that long; -EACCES: sealed. */
int rmio_dma_kind_way(int fd, const struct rmio_dma_kind *k, uint64_t end, int prot,
		      enum rmio_dma_way *way, uint64_t *size, char why[RMIO_DMA_WHY]);

/* The same file, open in the same way; of either it is known that its file system is taken. */
bool rmio_dma_kind_same(const struct rmio_dma_kind *a, const struct rmio_dma_kind *b);

/* -errno, with the reason. */
__attribute__((format(printf, 3, 4)))
int rmio_dma_refuse(char why[RMIO_DMA_WHY], int err, const char *fmt, ...);

#endif
