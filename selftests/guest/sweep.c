// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Every access a guest can make to the scratch device of the tests: each size
 * at each offset of a memory and an I/O BAR, string I/O, accesses over the
 * edge of a range, the hole, all vCPUs on one register while its BAR moves.
 *
 * The scratch device, 1234:5ca0, behaves as memory that starts as zeros:
 *   BAR 0  256 bytes, answered by the device, stores posted
 *   BAR 1  256 bytes, answered from the shadow, stores written through
 *   BAR 2  256 bytes, loads from the device, stores synchronous
 *   BAR 3  16 bytes: a store of any size adds its value to a counter of 64
 *          bits at offset 0, which loads return; offset 8 reads 0x600df00d
 *   BAR 4  32 I/O ports
 */
#include "guest.h"

#define SCRATCH_DEVICE	0x5ca0
#define BAR_LEN		256u
#define COUNTER_MAGIC	0x600df00du
#define IO_PLACE	0x1000u
#define PLACE		0xe0000000ull
#define ADDS		200u

static unsigned int slot;
static uint8_t mirror[BAR_LEN + 16];
static volatile uint64_t counter_base;
static volatile int moving_done;
static volatile uint64_t good, ones;

static uint64_t mirror_get(unsigned int at, unsigned int size)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < size; i++)
		v |= (uint64_t)mirror[at + i] << 8 * i;
	return v;
}

static void mirror_put(unsigned int at, unsigned int size, uint64_t v)
{
	for (unsigned int i = 0; i < size; i++)
		mirror[at + i] = (uint8_t)(v >> 8 * i);
}

static void discover(void)
{
	static const uint64_t sizes[5] = { BAR_LEN, BAR_LEN, BAR_LEN, 16, 32 };
	struct bar b;

	slot = pci_find(0x1234, SCRATCH_DEVICE, 1);
	if (!slot)
		fail("no scratch device on bus 0");
	for (unsigned int i = 0; i < 5; i++) {
		pci_bar_size(slot, i, &b);
		expect("BAR size", b.size, sizes[i]);
		expect("BAR kind", b.io, i == 4);
	}
	/* BAR 0 and 1 side by side in one page, BAR 2 after a gap of as much. */
	pci_bar_place(slot, 0, PLACE);
	pci_bar_place(slot, 1, PLACE + BAR_LEN);
	pci_bar_place(slot, 2, PLACE + 3 * BAR_LEN);
	pci_bar_place(slot, 3, PLACE + 0x1000);
	pci_bar_place(slot, 4, IO_PLACE);
	pci_write16(slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	counter_base = PLACE + 0x1000;
}

/* Each size at each offset that lies inside, misaligned ones included. */
static void sweep_memory(unsigned int bar, uint64_t at)
{
	uint64_t v = 0x0123456789abcdefull + bar;
	unsigned int n = 0;

	memset(mirror, 0, sizeof(mirror));
	for (unsigned int size = 1; size <= 8; size *= 2) {
		for (unsigned int off = 0; off + size <= BAR_LEN; off++) {
			v = v * 6364136223846793005ull + 1442695040888963407ull;
			mmio_store(at + off, size, v);
			mirror_put(off, size, v);
			expect("the value just stored", mmio_load(at + off, size),
			       v & size_mask(size));
			n++;
		}
	}
	for (unsigned int size = 1; size <= 8; size *= 2) {
		for (unsigned int off = 0; off + size <= BAR_LEN; off++)
			expect("a value stored before", mmio_load(at + off, size),
			       mirror_get(off, size));
	}
	print("sweep: BAR %u: %u stores and loads of 1, 2, 4, 8 bytes at all offsets\n", bar, n);
}

static void sweep_ports(void)
{
	uint8_t in[16], out[16];
	uint16_t port = IO_PLACE;
	const uint8_t *src = out;
	uint8_t *dst = in;
	uint64_t n = sizeof(out);

	for (uint16_t i = 0; i < 32; i++) {
		outb(port + i, (uint8_t)(i * 3));
		expect("port of 8 bits", inb(port + i), (uint8_t)(i * 3));
	}
	for (uint16_t i = 0; i + 2 <= 32; i++) {
		outw(port + i, (uint16_t)(i * 259));
		expect("port of 16 bits", inw(port + i), (uint16_t)(i * 259));
	}
	for (uint16_t i = 0; i + 4 <= 32; i++) {
		outl(port + i, i * 0x01020304u);
		expect("port of 32 bits", inl(port + i), i * 0x01020304u);
	}
	/* A string goes to one port: the last byte stays. */
	for (unsigned int i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(0xa0 + i);
	__asm__ volatile("rep outsb" : "+S"(src), "+c"(n) : "d"(port) : "memory");
	expect("last byte of a string", inb(port), 0xaf);
	n = sizeof(in);
	__asm__ volatile("rep insb" : "+D"(dst), "+c"(n) : "d"(port) : "memory");
	for (unsigned int i = 0; i < sizeof(in); i++)
		expect("byte of a string read", in[i], 0xaf);
	expect("port over the edge", inl(IO_PLACE + 30),
	       0xffff0000 | inb(IO_PLACE + 30) | inb(IO_PLACE + 31) << 8);
	expect("port after the edge", inb(IO_PLACE + 32), 0xff);
	print("sweep: BAR 4: ports of 8, 16, 32 bits and strings\n");
}

struct edge {
	uint64_t at;
	bool below, above;		/* is there a BAR? */
	const char *what;
};

/* What begins in one range and ends in another, or nowhere: each byte belongs to its own. */
static void over_edge(const struct edge *e, unsigned int size, unsigned int before)
{
	uint64_t a = e->at - before, want = 0;

	for (unsigned int i = 0; i < size; i++)
		want |= (uint64_t)load8(a + i) << (8 * i);
	expect(e->what, mmio_load(a, size), want);
	mmio_store(a, size, 0x5a5a5a5a5a5a5a5aull - before * 0x0101010101010101ull);
	for (unsigned int i = 0; i < size; i++)
		expect(e->what, load8(a + i),
		       (i < before ? e->below : e->above) ? 0x5a - before : 0xff);
}

static void edges(void)
{
	static const struct edge edge[] = {
		{ PLACE + BAR_LEN, true, true, "between BAR 0 and 1" },
		{ PLACE + 2 * BAR_LEN, true, false, "at the end of BAR 1" },
		{ PLACE + 3 * BAR_LEN, false, true, "at the start of BAR 2" },
		{ PLACE + 4 * BAR_LEN, true, false, "at the end of BAR 2" },
	};

	for (unsigned int e = 0; e < sizeof(edge) / sizeof(edge[0]); e++)
		for (unsigned int size = 2; size <= 8; size *= 2)
			for (unsigned int before = 1; before < size; before++)
				over_edge(&edge[e], size, before);
	for (unsigned int size = 1; size <= 8; size *= 2) {
		expect("hole between BARs", mmio_load(PLACE + 2 * BAR_LEN + 64, size),
		       size_mask(size));
		expect("hole far away", mmio_load(PLACE + 0x5000000, size), size_mask(size));
		mmio_store(PLACE + 0x5000000, size, 1);
	}
	print("sweep: edges of ranges and the hole\n");
}

/* Nothing lost and nothing twice: stores of all vCPUs to one counter. */
static void count_together(const struct guest *g)
{
	if (!g->vcpu)
		store64(counter_base, -load64(counter_base));
	barrier(g);
	expect("counter at zero", load64(counter_base), 0);
	barrier(g);
	for (unsigned int i = 0; i < ADDS; i++)
		mmio_store(counter_base, 1u << (i & 3), g->vcpu + 1);
	/* A load comes after this vCPU's stores; the barrier makes it all of them. */
	load64(counter_base);
	barrier(g);
	expect("sum of all stores", load64(counter_base), ADDS * g->count * (g->count + 1) / 2);
	barrier(g);
	if (!g->vcpu)
		print("sweep: %lu stores from %lu vCPUs to one counter\n", ADDS * g->count,
		      g->count);
}

/* While the BAR moves an access hits the register or the hole, nothing else. */
static void hammer(const struct guest *g)
{
	uint64_t hits = 0, misses = 0;

	barrier(g);
	if (!g->vcpu) {
		for (unsigned int i = 0; i < 200; i++) {
			uint64_t to = PLACE + 0x1000 + (i % 5) * 0x1000;

			pci_bar_place(slot, 3, to);
			expect("the register after a move", load32(to + 8), COUNTER_MAGIC);
			counter_base = to;
		}
		__atomic_store_n(&moving_done, 1, __ATOMIC_RELEASE);
	} else {
		while (!__atomic_load_n(&moving_done, __ATOMIC_ACQUIRE)) {
			uint32_t v = load32(counter_base + 8);

			if (v == COUNTER_MAGIC)
				hits++;
			else if (v == 0xffffffff)
				misses++;
			else
				expect("the register while it moves", v, COUNTER_MAGIC);
			store8(counter_base, 1);
		}
		__atomic_add_fetch(&good, hits, __ATOMIC_RELAXED);
		__atomic_add_fetch(&ones, misses, __ATOMIC_RELAXED);
	}
	barrier(g);
	if (!g->vcpu)
		print("sweep: register hammered while it moved 200 times: "
		      "%lu hits, %lu in the hole\n", good, ones);
}

int guest_main(const struct guest *g)
{
	if (!g->vcpu) {
		discover();
		sweep_memory(0, PLACE);
		sweep_memory(1, PLACE + BAR_LEN);
		sweep_memory(2, PLACE + 3 * BAR_LEN);
		sweep_ports();
		edges();
	}
	barrier(g);
	count_together(g);
	hammer(g);
	if (!g->vcpu)
		print("sweep: done on %lu vCPUs\n", g->count);
	return 0;
}
