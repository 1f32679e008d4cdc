// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Checks the flat-guest contract on every vCPU and says hello.
 *
 * --guest-arg: 0 normal; N from 1 to 255 exits with that status; 256 exits
 * by an 8-bit and 257 by a 16-bit write of 7; 258 takes an exception without
 * an IDT.
 */
#include "guest.h"

#define STACKS	0x10000ull
#define STACK	0x4000ull

static void check_contract(const struct guest *g)
{
	uint64_t cr0, cr4, here;
	uint16_t cs;

	expect("RSP alignment", g->rsp & 15, 0);
	expect("RSP", g->rsp, STACKS + (g->vcpu + 1) * STACK);
	expect("interrupt flag", g->rflags & 0x200, 0);
	expect("vCPU below count", g->vcpu < g->count, 1);
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	expect("protected mode and paging", cr0 & 0x80000001, 0x80000001);
	expect("PAE", cr4 & 0x20, 0x20);
	expect("CS", cs, 0x08);

	/* Every byte of this vCPU's stack is memory, and nobody else's. */
	for (uint64_t a = STACKS + g->vcpu * STACK; a < g->rsp - 1024; a += 512)
		store64(a, a ^ g->vcpu);
	barrier(g);
	for (uint64_t a = STACKS + g->vcpu * STACK; a < g->rsp - 1024; a += 512)
		expect("stack", load64(a), a ^ g->vcpu);

	/* Identity-mapped: code runs where it was linked; MMIO above is reachable. */
	__asm__ volatile("lea 0(%%rip), %0" : "=r"(here));
	expect("loaded at 0x100000", here >> 20, 1);
	expect("unmapped hole", load32(0xe0000000), 0xffffffff);
	expect("end of 4 GiB", load8(0xfffff000), 0xff);
}

int guest_main(const struct guest *g)
{
	check_contract(g);
	print("hello from vCPU %lu of %lu\n", g->vcpu, g->count);
	barrier(g);
	if (g->vcpu)
		return 0;
	if (g->arg == 256)
		outb(0xf4, 7);
	if (g->arg == 257)
		outw(0xf4, 7);
	if (g->arg == 258)
		__asm__ volatile("ud2");
	print("all %lu vCPUs agree\n", g->count);
	return (int)g->arg;
}
