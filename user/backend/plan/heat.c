// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * heat.c - counts the stores that exit, by register, in a table of fixed size.
 * Beside the data path: fed by the exit path, read by the planner of the `bpf` back end.
 */
#include "heat.h"

#include <string.h>

_Static_assert((RMIO_HEAT_REGS & (RMIO_HEAT_REGS - 1)) == 0, "buckets are masked");

void rmio_heat_init(struct rmio_heat *h, uint32_t hot, uint64_t key)
{
	memset(h, 0, sizeof(*h));
	h->hot = hot;
	h->key = key;
	h->gap = RMIO_HEAT_GAP_MIN;
}

static uint16_t *bucket(struct rmio_heat *h, uint32_t range_id, uint64_t offset, uint32_t len)
{
	uint64_t x = (offset ^ h->key) * 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 32 ^ range_id ^ (uint64_t)len << 32) * 0xd6e8feb86659fd93ull;
	x += h->key;
	return &h->bucket[(x ^ x >> 32) & (RMIO_HEAT_REGS - 1)];
}

/* Index of the register, or -1. */
static int find(struct rmio_heat *h, uint32_t range_id, uint64_t offset, uint32_t len)
{
	uint16_t i = *bucket(h, range_id, offset, len);

	while (i && (h->regs[i - 1].offset != offset || h->regs[i - 1].range_id != range_id ||
		     h->regs[i - 1].len != len))
		i = h->regs[i - 1].next;
	return i - 1;
}

static uint32_t coldest(const struct rmio_heat *h)
{
	uint32_t at = 0;

	for (uint32_t i = 1; i < RMIO_HEAT_REGS; i++)
		at = h->count[i] < h->count[at] ? i : at;
	return at;
}

static void unlink_reg(struct rmio_heat *h, uint32_t at)
{
	uint16_t *link = bucket(h, h->regs[at].range_id, h->regs[at].offset, h->regs[at].len);

	while (*link != at + 1)
		link = &h->regs[*link - 1].next;
	*link = h->regs[at].next;
}

/* A place for a register that has none; its count is that of the one it replaces. */
static uint32_t enter(struct rmio_heat *h, uint32_t range_id, uint64_t offset, uint32_t len)
{
	uint16_t *b = bucket(h, range_id, offset, len);
	uint32_t at = h->nr;

	if (h->nr < RMIO_HEAT_REGS) {
		h->nr++;
	} else {
		at = coldest(h);
		unlink_reg(h, at);
	}
	h->regs[at].offset = offset;
	h->regs[at].range_id = range_id;
	h->regs[at].len = (uint8_t)len;
	h->regs[at].sure = 0;
	h->regs[at].told = false;
	h->regs[at].next = *b;
	*b = at + 1;
	return at;
}

/* count is rounded up and sure down, so that they stay bounds. */
static void halve(struct rmio_heat *h)
{
	for (uint32_t i = 0; i < h->nr; i++) {
		h->count[i] -= h->count[i] / 2;
		h->regs[i].sure /= 2;
		/*
		 * Half: a register stored to at an even rate, whose count swings between
		 * one and two windows' worth, is not reported over and over.
		 */
		if (h->regs[i].sure < h->hot / 2)
			h->regs[i].told = false;
	}
	h->stores = 0;
	if (h->gap > RMIO_HEAT_GAP_MIN)
		h->gap /= 2;
}

bool rmio_heat_add(struct rmio_heat *h, uint32_t range_id, uint64_t offset, uint32_t len)
{
	int found = find(h, range_id, offset, len);
	uint32_t at = found < 0 ? enter(h, range_id, offset, len) : (uint32_t)found;

	h->count[at]++;
	h->regs[at].sure++;
	if (h->regs[at].sure >= h->hot && !h->regs[at].told) {
		h->regs[at].told = true;
		h->news = true;
	}
	if (++h->stores == RMIO_HEAT_WINDOW)
		halve(h);
	if (h->quiet) {
		h->quiet--;
		return false;
	}
	if (!h->news)
		return false;
	h->news = false;
	h->quiet = h->gap - 1;
	if (h->gap < RMIO_HEAT_GAP_MAX)
		h->gap *= 2;
	return true;
}

size_t rmio_heat_list(const struct rmio_heat *h, struct rmio_heat_reg *regs, size_t room)
{
	size_t n = 0;

	for (uint32_t i = 0; i < h->nr && n < room; i++) {
		if (!h->regs[i].sure)
			continue;
		regs[n++] = (struct rmio_heat_reg) {
			.offset = h->regs[i].offset,
			.count = h->regs[i].sure,
			.range_id = h->regs[i].range_id,
			.len = h->regs[i].len,
		};
	}
	return n;
}
