/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The files that guest memory is made of, each held once for all maps of it.  Under the table
 * (dma.c).
 *
 * A process has 65530 areas of address space (vm.max_map_count) and far fewer descriptors, a guest
 * behind an IOMMU a map for each page.  So maps share windows: pieces of a file that are mapped, or
 * its descriptor.  A window is what was asked for while a file has few; then the whole file.
 */
#ifndef RMIO_DEVICE_DMA_FILE_H
#define RMIO_DEVICE_DMA_FILE_H

#include "dma_kind.h"

/*
 * Of a device.  Devices that share a process must not run out of either because of one of them.
 */
#define RMIO_DMA_MAPPED		4096u		/* windows that are mapped */
#define RMIO_DMA_BYTES		(8ull << 40)	/* of address space, for all of them */
#define RMIO_DMA_OPEN		512u		/* windows that are a descriptor */
#define RMIO_DMA_PIECES		64u		/* of a file, before all of it is mapped */

struct rmio_dma_file {
	struct rmio_dma_file *next;
	struct rmio_dma_kind kind;
	struct rmio_dma_window *windows;
	uint32_t n;
};

struct rmio_dma_window {
	struct rmio_dma_window *next;
	struct rmio_dma_file *file;
	uint64_t offset, size;	/* of the file */
	enum rmio_dma_way way;
	int prot;		/* of the mapping */
	char *mem;		/* NULL: fd */
	int fd;			/* -1: mem */
	uint32_t maps;		/* that use it */
};

struct rmio_dma_files {
	struct rmio_dma_file *first;
	uint32_t mapped, open;	/* windows of either kind */
	uint64_t bytes;		/* of those that are mapped */
};

/*
 * A window that holds @size bytes at @offset, both multiples of 4096, without a wrap.  The
 * descriptor is taken (-1 written over it) when the window is new.  -errno and the reason in @why:
 * see rmio_dma_map().
 */
int rmio_dma_file_get(struct rmio_dma_files *f, int *fd, uint64_t offset, uint64_t size, int prot,
		      struct rmio_dma_window **win, char why[RMIO_DMA_WHY]);

/* A map of it has gone. */
void rmio_dma_file_put(struct rmio_dma_files *f, struct rmio_dma_window *win);

#endif
