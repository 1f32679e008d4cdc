// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * edu_guest [PLACE] STEP...: a driver of the educational device in user space, run as root in a
 * Linux guest whose device is rmio's: the function at that place, as 0000:00:01.0, or the first.
 * Each step prints one line, "edu: ok STEP" or "edu: not ok STEP", and before that what was wrong.
 * At the far end of the data path: its loads and stores come from here.
 */
#include "edu_guest.h"

#include <stdarg.h>

#define SPARE_ADDRESS	0xd0000000u	/* in the host bridge's window, and nobody's */
#define POLLS		1000000u	/* a device that has not ended by then hangs */

struct guest_pci pci;
bool failed;

void say(const char *fmt, ...)
{
	va_list ap;

	printf("edu: # ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

bool expect(const char *what, uint64_t actual, uint64_t expected)
{
	if (actual == expected)
		return true;
	say("%s: expected 0x%llx, actual 0x%llx", what, (unsigned long long)expected,
	    (unsigned long long)actual);
	failed = true;
	return false;
}

/* -- registers ------------------------------------------------------------------------ */

void wait_clear(uint32_t reg, uint32_t bits)
{
	uint32_t n = 0;

	while (load(reg) & bits && n < POLLS)
		n++;
	expect("end of the work", n < POLLS, true);
}

/* -- what Linux found, and the registers ---------------------------------------------- */

static void identify(void)
{
	char text[8];

	expect("class", attr_number(&pci, "class"), 0x00ff00);
	expect("revision", attr_number(&pci, "revision"), EDU_REVISION);
	expect("subsystem vendor", attr_number(&pci, "subsystem_vendor"), 0x1af4);
	expect("subsystem", attr_number(&pci, "subsystem_device"), 0x1100);
	expect("size of BAR 0", pci.size, EDU_BAR_SIZE);
	expect("BAR 1", attr_text(&pci, "resource1", text, sizeof(text)), false);
	expect("identification", load(EDU_ID), EDU_ID_VALUE);
}

/* The protocol has no MSI, so the capability would be a promise that nobody keeps. */
static void no_capabilities(void)
{
	expect("status", config_get(&pci, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	expect("capabilities", config_get(&pci, PCI_CAPABILITY_LIST, 1), 0);
	expect("pin", config_get(&pci, PCI_INTERRUPT_PIN, 1), 1);
}

static void live(void)
{
	for (uint32_t bit = 1; bit; bit <<= 1)
		alive(bit);
	alive(0);
	alive(ONES);
}

static void factorial(void)
{
	static const uint32_t pairs[][2] = {
		{ 0, 1 }, { 1, 1 }, { 5, 120 }, { 12, 479001600 }, { 13, 1932053504 }, { 34, 0 },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		store(EDU_FACTORIAL, pairs[i][0]);
		wait_clear(EDU_STATUS, EDU_STATUS_COMPUTING);
		expect("factorial", load(EDU_FACTORIAL), pairs[i][1]);
	}
}

/* Sizes that the device does not know, and one that it knows there. */
static void sizes(void)
{
	expect("1 byte", *(volatile uint8_t *)(pci.bar + EDU_ID), 0xff);
	expect("2 bytes", *(volatile uint16_t *)(pci.bar + EDU_ID), 0xffff);
	alive(0x12345678);
	*(volatile uint8_t *)(pci.bar + EDU_LIVE) = 0;
	expect("after a store of 1 byte", load(EDU_LIVE), ~0x12345678u);
	*(volatile uint64_t *)(pci.bar + EDU_DMA_SRC) = 0xfedcba9876543210;
	expect("low half", load(EDU_DMA_SRC), 0x76543210);
	expect("8 bytes", *(volatile uint64_t *)(pci.bar + EDU_DMA_SRC), 0xfedcba9876543210);
	expect("past the registers", load(0x1000), ONES);
	expect("at the end", load(EDU_BAR_SIZE - 4), ONES);
}

/* The device asserts its pin, which shows in its own and in PCI's status register. */
static void pin(void)
{
	store(EDU_IRQ_RAISE, 0x5a);
	expect("interrupt status", load(EDU_IRQ_STATUS), 0x5a);
	expect("PCI status", !!(config_get(&pci, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT), true);
	store(EDU_IRQ_ACK, 0x5a);
	expect("interrupt status, acknowledged", load(EDU_IRQ_STATUS), 0);
	expect("PCI status, acknowledged",
	       config_get(&pci, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
}

/* -- BARs that go and come ------------------------------------------------------------- */

/* Nobody answers: it is QEMU that says what is read then. */
static void decode_off(void)
{
	alive(0x11111111);
	command(&pci, PCI_COMMAND_MEMORY, 0);
	say("with decoding off a load gives 0x%x", load(EDU_ID));
	expect("identification, not decoded", load(EDU_ID) != EDU_ID_VALUE, true);
	store(EDU_LIVE, 0x22222222);
	command(&pci, 0, PCI_COMMAND_MEMORY);
	expect("complement of before", load(EDU_LIVE), ~0x11111111u);
	alive(0x33333333);
}

static void move_bar(void)
{
	uint32_t old = config_get(&pci, PCI_BASE_ADDRESS_0, 4);
	int fd = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
	volatile uint8_t *at_old = pci.bar, *at_new;

	at_new = mmap(NULL, pci.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, SPARE_ADDRESS);
	close(fd);
	if (!expect("map of the new address", at_new != MAP_FAILED, true))
		return;
	alive(0x44444444);
	config_put(&pci, PCI_BASE_ADDRESS_0, SPARE_ADDRESS, 4);
	expect("BAR", config_get(&pci, PCI_BASE_ADDRESS_0, 4), SPARE_ADDRESS);
	expect("identification at the old address", load(EDU_ID) != EDU_ID_VALUE, true);
	store(EDU_LIVE, 0x55555555);
	pci.bar = at_new;
	expect("complement of before", load(EDU_LIVE), ~0x44444444u);
	alive(0x66666666);
	config_put(&pci, PCI_BASE_ADDRESS_0, old, 4);
	expect("identification, moved back", load(EDU_ID) != EDU_ID_VALUE, true);
	pci.bar = at_old;
	expect("complement, moved back", load(EDU_LIVE), ~0x66666666u);
	alive(0x77777777);
	munmap((void *)at_new, pci.size);
}

static void remove_rescan(void)
{
	char dir[sizeof(pci.dir)];

	alive(0x88888888);
	strcpy(dir, pci.dir);
	munmap((void *)pci.bar, pci.size);
	pci.bar = NULL;
	expect("remove", (uint64_t)attr_write_one(&pci, "remove"), 0);
	guest_pci_close(&pci);
	expect("directory, removed", (uint64_t)access(dir, F_OK), (uint64_t)-1);
	expect("rescan", (uint64_t)write_text("/sys/bus/pci/rescan", "1"), 0);
	if (!expect("found again", (uint64_t)guest_pci_open(&pci, EDU_VENDOR, EDU_DEVICE), 0))
		exit(1);
	/* Removing is Linux's own: it is no reset. */
	expect("complement of before", load(EDU_LIVE), ~0x88888888u);
	identify();
	alive(0x99999999);
	factorial();
	dma();
}

/* -- more than one -------------------------------------------------------------------- */

/* Each function of these ids answers for itself, and its memory is its own. */
static void several(void)
{
	struct guest_pci all[8], first = pci;
	char places[8][GUEST_PCI_PLACE];
	uint32_t n = guest_pci_places(places, 8, EDU_VENDOR, EDU_DEVICE);
	uint8_t *page = locked_page(PROT_READ | PROT_WRITE);

	if (!expect("memory", !!page, true))
		return;
	say("%u functions", n);
	for (uint32_t i = 0; i < n; i++) {
		if (!expect(places[i], (uint64_t)guest_pci_open_at(&all[i], places[i]), 0))
			return;
		pci = all[i];
		command(&pci, 0, PCI_COMMAND_MASTER);
		alive(0x01010101 * i);
		fill(page, i);
		to_device(page_address(page), 0, PAGE);
	}
	to = locked_page(PROT_READ | PROT_WRITE);
	for (uint32_t i = 0; i < n && to; i++) {
		pci = all[i];
		expect(places[i], load(EDU_LIVE), ~(0x01010101 * i));
		fill(page, i);
		holds(places[i], page);
		guest_pci_close(&all[i]);
	}
	expect("functions, more than one", n > 1 && to, true);
	pci = first;
}

/* -- reset ------------------------------------------------------------------------------ */

static void fresh(void)
{
	static const uint32_t regs[] = {
		EDU_LIVE, EDU_FACTORIAL, EDU_STATUS, EDU_IRQ_STATUS, EDU_DMA_SRC, EDU_DMA_DST,
		EDU_DMA_COUNT, EDU_DMA_CMD,
	};

	expect("identification", load(EDU_ID), EDU_ID_VALUE);
	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++)
		expect("register", load(regs[i]), 0);
	if (!begin_dma())
		return;
	memset(from, 0, PAGE);
	holds("its memory", from);
	end_dma();
}

/* Something else than after a reset in each register, and the pin asserted. */
static void dirty(void)
{
	if (!begin_dma())
		return;
	store(EDU_FACTORIAL, 5);
	wait_clear(EDU_STATUS, EDU_STATUS_COMPUTING);
	store(EDU_STATUS, EDU_STATUS_IRQ);
	store(EDU_IRQ_RAISE, 1);
	fill(from, 1);
	to_device(page_address(from), 0, PAGE);
	end_dma();
	alive(0x5a5a5a5a);
	expect("factorial", load(EDU_FACTORIAL), 120);
	expect("interrupt status", load(EDU_IRQ_STATUS), 1);
}

/* What Linux offers behind a bridge: the reset of the bus that only this function is on. */
static void bus_reset(void)
{
	char how[64];

	attr_text(&pci, "reset_method", how, sizeof(how));
	expect("how it can be reset is 'bus'", (uint64_t)strcmp(how, "bus"), 0);
	dirty();
	expect("reset", (uint64_t)attr_write_one(&pci, "reset"), 0);
	/* Linux has put back what was in configuration space, so the BAR is where it was. */
	fresh();
	alive(0xaaaaaaaa);
	factorial();
	dma();
}

/* On the root bus there is nothing that Linux could reset. */
static void no_reset(void)
{
	char how[64];

	expect("reset_method", attr_text(&pci, "reset_method", how, sizeof(how)), false);
	expect("reset", (uint64_t)attr_open(&pci, "reset", O_WRONLY), (uint64_t)-1);
}

static const struct {
	const char *name;
	void (*run)(void);
} steps[] = {
	{ "identify", identify },
	{ "no_capabilities", no_capabilities },
	{ "live", live },
	{ "factorial", factorial },
	{ "sizes", sizes },
	{ "pin", pin },
	{ "no_interrupt", no_interrupt },
	{ "interrupts", interrupts },
	{ "msi", msi },
	{ "dma", dma },
	{ "dma_refused", dma_refused },
	{ "dma_nodes", dma_nodes },
	{ "stale_code", stale_code },
	{ "decode_off", decode_off },
	{ "move_bar", move_bar },
	{ "remove_rescan", remove_rescan },
	{ "several", several },
	{ "no_reset", no_reset },
	{ "bus_reset", bus_reset },
	{ "dirty", dirty },
	{ "fresh", fresh },
	{ "two_cpus", two_cpus },
	{ "two_cpus_locked", two_cpus_locked },
	{ "two_cpus_unlocked", two_cpus_unlocked },
	{ "timing", timing },
	{ "while_stopped", while_stopped },
	{ "until_gone", until_gone },
};

static bool run(const char *name)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (strcmp(steps[i].name, name))
			continue;
		failed = false;
		steps[i].run();
		printf("edu: %s %s\n", failed ? "not ok" : "ok", name);
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	const char *place = argc > 1 && strchr(argv[1], ':') ? argv[1] : NULL;
	int err;

	setvbuf(stdout, NULL, _IOLBF, 0);
	err = place ? guest_pci_open_at(&pci, place) : guest_pci_open(&pci, EDU_VENDOR, EDU_DEVICE);
	if (err) {
		say("no device: %s", strerror(-err));
		printf("edu: end\n");
		return 1;
	}
	for (int i = place ? 2 : 1; i < argc; i++)
		if (!run(argv[i]))
			say("no step is called %s", argv[i]);
	guest_pci_close(&pci);
	printf("edu: end\n");
	return 0;
}
