// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The maps of guest memory in order: a search tree by address, a heap by rank.  On the data path of
 * a device that moves memory.
 */
#include "dma_tree.h"

#include <stddef.h>
#include <sys/random.h>

void rmio_dma_tree_init(struct rmio_dma_tree *t)
{
	t->root = NULL;
	/* A peer that knew the ranks could choose addresses that make a list of the tree. */
	if (getrandom(&t->random, sizeof(t->random), GRND_NONBLOCK) != sizeof(t->random))
		t->random = (uintptr_t)t;
}

/* The next of a Weyl sequence, its bits mixed. */
static uint32_t next_rank(struct rmio_dma_tree *t)
{
	uint64_t x = t->random += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
	return (uint32_t)(x >> 32);
}

/* Those that begin below @iova, and the others; each a tree again. */
static void split(struct rmio_dma_map *m, uint64_t iova, struct rmio_dma_map **below,
		  struct rmio_dma_map **rest)
{
	while (m) {
		if (m->iova < iova) {
			*below = m;
			below = &m->more;
			m = m->more;
		} else {
			*rest = m;
			rest = &m->less;
			m = m->less;
		}
	}
	*below = NULL;
	*rest = NULL;
}

/* One tree of two; all of @a lies below all of @b. */
static struct rmio_dma_map *merge(struct rmio_dma_map *a, struct rmio_dma_map *b)
{
	struct rmio_dma_map *root, **at = &root;

	while (a && b) {
		if (a->rank > b->rank) {
			*at = a;
			at = &a->more;
			a = a->more;
		} else {
			*at = b;
			at = &b->less;
			b = b->less;
		}
	}
	*at = a ? a : b;
	return root;
}

struct rmio_dma_map *rmio_dma_tree_from(const struct rmio_dma_tree *t, uint64_t iova)
{
	struct rmio_dma_map *m = t->root, *best = NULL;

	while (m) {
		if (m->last < iova) {
			m = m->more;
			continue;
		}
		best = m;
		if (m->iova <= iova)
			break;
		m = m->less;
	}
	return best;
}

void rmio_dma_tree_insert(struct rmio_dma_tree *t, struct rmio_dma_map *m)
{
	struct rmio_dma_map **at = &t->root;

	m->rank = next_rank(t);
	while (*at && (*at)->rank >= m->rank)
		at = m->iova < (*at)->iova ? &(*at)->less : &(*at)->more;
	split(*at, m->iova, &m->less, &m->more);
	*at = m;
}

struct rmio_dma_map *rmio_dma_tree_cut(struct rmio_dma_tree *t, uint64_t first, uint64_t last)
{
	struct rmio_dma_map *below, *cut, *above = NULL;

	split(t->root, first, &below, &cut);
	if (last < UINT64_MAX)
		split(cut, last + 1, &cut, &above);
	t->root = merge(below, above);
	return cut;
}

struct rmio_dma_map *rmio_dma_tree_pop(struct rmio_dma_map **cut)
{
	struct rmio_dma_map *m = *cut, *less;

	if (!m)
		return NULL;
	/* Each turn puts one more on the right edge for good: linear for all of them together. */
	while ((less = m->less)) {
		m->less = less->more;
		less->more = m;
		m = less;
	}
	*cut = m->more;
	return m;
}
