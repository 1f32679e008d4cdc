/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The maps of guest memory of a device, in order of their addresses: a tree, since a guest behind
 * an IOMMU has as many as pages.  Under the table (dma.c).
 *
 * A search tree whose nodes are also a heap by a random number, so that its depth is logarithmic
 * whatever the order in which a peer maps and unmaps; and a range comes out of it by two cuts,
 * however many maps lie within.
 */
#ifndef RMIO_DEVICE_DMA_TREE_H
#define RMIO_DEVICE_DMA_TREE_H

#include <stdint.h>

struct rmio_dma_window;

struct rmio_dma_map {
	uint64_t iova, last;		/* first and last byte */
	struct rmio_dma_map *less, *more;
	struct rmio_dma_window *win;	/* of the file; NULL: not reachable */
	char *mem;			/* where it is mapped; NULL: it is not */
	uint64_t offset;		/* in the file */
	uint32_t rank;			/* at random: no child's is higher */
	int prot;
};

struct rmio_dma_tree {
	struct rmio_dma_map *root;
	uint64_t random;
};

void rmio_dma_tree_init(struct rmio_dma_tree *t);

/* The first map that ends at @iova or above; NULL. */
struct rmio_dma_map *rmio_dma_tree_from(const struct rmio_dma_tree *t, uint64_t iova);

/* @m, with iova and last set, overlaps none. */
void rmio_dma_tree_insert(struct rmio_dma_tree *t, struct rmio_dma_map *m);

/* Take out those that begin within, for rmio_dma_tree_pop(). */
struct rmio_dma_map *rmio_dma_tree_cut(struct rmio_dma_tree *t, uint64_t first, uint64_t last);

/* The lowest of what was cut out, in turn; NULL. */
struct rmio_dma_map *rmio_dma_tree_pop(struct rmio_dma_map **cut);

#endif
