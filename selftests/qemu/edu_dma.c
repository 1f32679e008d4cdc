// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Steps of edu_guest about DMA: what moves and what must not, and where in the guest's memory.
 * At the far end of the data path.
 */
#include "edu_guest.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>

uint8_t *from, *to;

static void run_dma(uint64_t src, uint64_t dst, uint32_t count, uint32_t cmd)
{
	*(volatile uint64_t *)(pci.bar + EDU_DMA_SRC) = src;
	*(volatile uint64_t *)(pci.bar + EDU_DMA_DST) = dst;
	store(EDU_DMA_COUNT, count);
	store(EDU_DMA_CMD, cmd | EDU_DMA_RUN);
	wait_clear(EDU_DMA_CMD, EDU_DMA_RUN);
}

void to_device(uint64_t addr, uint32_t offset, uint32_t count)
{
	run_dma(addr, EDU_BUF + offset, count, 0);
}

void to_memory(uint32_t offset, uint64_t addr, uint32_t count)
{
	run_dma(EDU_BUF + offset, addr, count, EDU_DMA_TO_RAM);
}

void fill(uint8_t *page, uint32_t seed)
{
	for (uint32_t i = 0; i < PAGE; i++) {
		seed = seed * 1664525 + 1013904223;
		page[i] = (uint8_t)(seed >> 24);
	}
}

bool begin_dma(void)
{
	from = locked_page(PROT_READ | PROT_WRITE);
	to = locked_page(PROT_READ | PROT_WRITE);
	if (!expect("memory", from && to, true))
		return false;
	command(&pci, 0, PCI_COMMAND_MASTER);
	return expect("addresses", page_address(from) <= EDU_DMA_MASK &&
		      page_address(to) <= EDU_DMA_MASK, true);
}

void end_dma(void)
{
	munmap(from, PAGE);
	munmap(to, PAGE);
}

void dma(void)
{
	static const uint32_t pieces[][2] = {
		{ 0, 4096 }, { 0, 1 }, { 4095, 1 }, { 1, 4095 }, { 1023, 2049 },
	};

	if (!begin_dma())
		return;
	for (uint32_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		uint32_t at = pieces[i][0], n = pieces[i][1];

		fill(from, i);
		fill(to, ~i);
		to_device(page_address(from) + at, at, n);
		to_memory(at, page_address(to) + at, n);
		expect("copied", (uint64_t)memcmp(from + at, to + at, n), 0);
		/* and nothing beside it */
		fill(from, ~i);
		expect("before it", (uint64_t)memcmp(from, to, at), 0);
		expect("after it", (uint64_t)memcmp(from + at + n, to + at + n, PAGE - at - n), 0);
	}
	end_dma();
}

/* Does the device's memory hold this page? */
void holds(const char *what, const uint8_t *page)
{
	memset(to, 0, PAGE);
	to_memory(0, page_address(to), PAGE);
	expect(what, (uint64_t)memcmp(page, to, PAGE), 0);
}

/* What the device must not do: each ends, and moves nothing. */
void dma_refused(void)
{
	static const uint32_t outside[][2] = {		/* offset, count */
		{ 0, PAGE + 1 }, { 1, PAGE }, { (uint32_t)-1, 2 }, { PAGE, 1 }, { 0, ONES },
	};
	uint8_t *other = locked_page(PROT_READ | PROT_WRITE);

	if (!begin_dma() || !expect("memory", !!other, true))
		return;
	fill(from, 1);
	fill(other, 2);
	to_device(page_address(from), 0, PAGE);
	holds("its memory", from);
	for (uint32_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		to_device(page_address(other), outside[i][0], outside[i][1]);
		memcpy(to, other, PAGE);
		to_memory(outside[i][0], page_address(to), outside[i][1]);
		expect("memory after a transfer from outside", (uint64_t)memcmp(to, other, PAGE), 0);
		holds("its memory after a transfer to outside", from);
	}
	/* It drives 28 address lines. */
	to_device(page_address(other) | (EDU_DMA_MASK + 1), 0, PAGE);
	holds("its memory after a transfer from an address of 29 bits", other);

	command(&pci, PCI_COMMAND_MASTER, 0);
	to_device(page_address(from), 0, PAGE);
	memcpy(to, from, PAGE);
	to_memory(0, page_address(to), PAGE);
	expect("memory, not bus master", (uint64_t)memcmp(to, from, PAGE), 0);
	command(&pci, 0, PCI_COMMAND_MASTER);
	holds("its memory, not bus master", other);
	munmap(other, PAGE);
	end_dma();
}

/*
 * QEMU without KVM has translated what it ran, and is not told when the device writes over it: a
 * limit of docs/qemu.md.
 */
void stale_code(void)
{
	/* mov $1, %eax; ret and mov $2, %eax; ret */
	static const uint8_t one[] = { 0xb8, 1, 0, 0, 0, 0xc3 }, two[] = { 0xb8, 2, 0, 0, 0, 0xc3 };
	uint8_t *code = locked_page(PROT_READ | PROT_WRITE | PROT_EXEC);
	int (*fn)(void) = (int (*)(void))code;

	if (!begin_dma() || !expect("memory", !!code, true))
		return;
	memcpy(code, one, sizeof(one));
	memcpy(from, two, sizeof(two));
	expect("code", (uint64_t)fn(), 1);
	to_device(page_address(from), 0, sizeof(two));
	to_memory(0, page_address(code), sizeof(two));
	expect("bytes of the code", (uint64_t)memcmp(code, two, sizeof(two)), 0);
	say("code that the device has written over returns %d", fn());
	munmap(code, PAGE);
	end_dma();
}

/* -- where memory is -------------------------------------------------------------------- */

/* A page of this node that stays where it is; NULL: there is none to be had. */
static uint8_t *node_page(uint32_t node)
{
	unsigned long mask = 1ul << node;
	uint8_t *page =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED ||
	    syscall(SYS_mbind, page, PAGE, MPOL_BIND, &mask, 8 * sizeof(mask), 0) ||
	    mlock(page, PAGE))
		return NULL;
	memset(page, 0, PAGE);
	return page_address(page) ? page : NULL;
}

/* From each node to the other, of a device that drives all address lines. */
void dma_nodes(void)
{
	uint8_t *page[2] = { node_page(0), node_page(1) };

	if (!expect("a page of each node", page[0] && page[1], true))
		return;
	command(&pci, 0, PCI_COMMAND_MASTER);
	for (uint32_t i = 0; i < 2; i++) {
		say("page of node %u at 0x%llx", i, (unsigned long long)page_address(page[i]));
		fill(page[i], i);
		fill(page[!i], ~i);
		to_device(page_address(page[i]), 0, PAGE);
		to_memory(0, page_address(page[!i]), PAGE);
		expect("copied", (uint64_t)memcmp(page[i], page[!i], PAGE), 0);
	}
	for (uint32_t i = 0; i < 2; i++)
		munmap(page[i], PAGE);
}
