// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * edu_guest STEP...: a driver of the educational device in user space, run as root in a Linux guest
 * whose device is rmio's.  Each step prints one line, "edu: ok STEP" or "edu: not ok STEP", and before
 * that what was wrong.  At the far end of the data path: its loads and stores come from here.
 */
#include "edu_guest.h"

#include <poll.h>
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

/* Until these bits are 0. */
static void wait_clear(uint32_t reg, uint32_t bits)
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

/* The driver that tells of interrupts; its module has been loaded. */
static const char uio_driver[] = "/sys/bus/pci/drivers/uio_pci_generic";

static int uio_open(void)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "%s/new_id", uio_driver);
	expect("driver", (uint64_t)write_text(path, "1234 11e8"), 0);
	fd = open("/dev/uio0", O_RDWR | O_CLOEXEC);
	expect("uio0", fd >= 0, true);
	return fd;
}

static void uio_close(int fd)
{
	char path[100];

	close(fd);
	snprintf(path, sizeof(path), "%s/unbind", uio_driver);
	expect("unbind", (uint64_t)write_text(path, strrchr(pci.dir, '/') + 1), 0);
}

/*
 * QEMU hands the device's eventfd to KVM, and without KVM to nobody: a limit of docs/qemu.md.
 */
static void no_interrupt(void)
{
	struct pollfd uio = { .fd = uio_open(), .events = POLLIN };

	if (uio.fd < 0)
		return;
	command(&pci, PCI_COMMAND_INTX_DISABLE, 0);
	store(EDU_IRQ_RAISE, 1);
	expect("interrupts", (uint64_t)poll(&uio, 1, 1000), 0);
	expect("interrupt status", load(EDU_IRQ_STATUS), 1);
	expect("PCI status", !!(config_get(&pci, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT), true);
	expect("command, which an interrupt would have changed",
	       config_get(&pci, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE, 0);
	store(EDU_IRQ_ACK, 1);
	uio_close(uio.fd);
}

/* The driver turns the pin off at each interrupt: it is turned on, and the next one is told of. */
static void one_interrupt(int fd, uint32_t number)
{
	struct pollfd uio = { .fd = fd, .events = POLLIN };
	uint32_t count = 0;

	command(&pci, PCI_COMMAND_INTX_DISABLE, 0);
	if (!expect("interrupt within a minute", (uint64_t)poll(&uio, 1, 60000), 1))
		return;
	expect("read", (uint64_t)read(fd, &count, sizeof(count)), sizeof(count));
	expect("interrupts so far", count, number);
	expect("turned off", !!(config_get(&pci, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE), true);
}

static void interrupts(void)
{
	uint32_t n = 0, factorial = EDU_STATUS_IRQ;
	int fd = uio_open();

	if (fd < 0)
		return;
	command(&pci, 0, PCI_COMMAND_INTX_DISABLE);
	for (uint32_t i = 0; i < 10 && !failed; i++) {
		store(EDU_IRQ_RAISE, 1u << i);
		one_interrupt(fd, ++n);
		expect("interrupt status", load(EDU_IRQ_STATUS), 1u << i);
		store(EDU_IRQ_ACK, 1u << i);
		expect("interrupt status, acknowledged", load(EDU_IRQ_STATUS), 0);
	}
	/* held up: again each time it is turned on */
	store(EDU_IRQ_RAISE, 4);
	for (uint32_t i = 0; i < 3 && !failed; i++)
		one_interrupt(fd, ++n);
	store(EDU_IRQ_ACK, 4);
	/* by the device's own work */
	store(EDU_STATUS, factorial);
	store(EDU_FACTORIAL, 12);
	one_interrupt(fd, ++n);
	expect("factorial", load(EDU_FACTORIAL), 479001600);
	store(EDU_IRQ_ACK, EDU_IRQ_FACTORIAL);
	store(EDU_STATUS, 0);
	uio_close(fd);
}

/* -- DMA ------------------------------------------------------------------------------ */

static uint8_t *from, *to;

static void run_dma(uint64_t src, uint64_t dst, uint32_t count, uint32_t cmd)
{
	store(EDU_DMA_SRC, (uint32_t)src);
	store(EDU_DMA_DST, (uint32_t)dst);
	store(EDU_DMA_COUNT, count);
	store(EDU_DMA_CMD, cmd | EDU_DMA_RUN);
	wait_clear(EDU_DMA_CMD, EDU_DMA_RUN);
}

static void to_device(uint64_t addr, uint32_t offset, uint32_t count)
{
	run_dma(addr, EDU_BUF + offset, count, 0);
}

static void to_memory(uint32_t offset, uint64_t addr, uint32_t count)
{
	run_dma(EDU_BUF + offset, addr, count, EDU_DMA_TO_RAM);
}

static void fill(uint8_t *page, uint32_t seed)
{
	for (uint32_t i = 0; i < PAGE; i++) {
		seed = seed * 1664525 + 1013904223;
		page[i] = (uint8_t)(seed >> 24);
	}
}

static bool begin_dma(void)
{
	from = locked_page(PROT_READ | PROT_WRITE);
	to = locked_page(PROT_READ | PROT_WRITE);
	if (!expect("memory", from && to, true))
		return false;
	command(&pci, 0, PCI_COMMAND_MASTER);
	return expect("addresses", page_address(from) <= EDU_DMA_MASK &&
		      page_address(to) <= EDU_DMA_MASK, true);
}

static void end_dma(void)
{
	munmap(from, PAGE);
	munmap(to, PAGE);
}

static void dma(void)
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
static void holds(const char *what, const uint8_t *page)
{
	memset(to, 0, PAGE);
	to_memory(0, page_address(to), PAGE);
	expect(what, (uint64_t)memcmp(page, to, PAGE), 0);
}

/* What the device must not do: each ends, and moves nothing. */
static void dma_refused(void)
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
static void stale_code(void)
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
	{ "interrupts", interrupts }, { "dma", dma },
	{ "dma_refused", dma_refused },
	{ "stale_code", stale_code },
	{ "decode_off", decode_off },
	{ "move_bar", move_bar },
	{ "remove_rescan", remove_rescan },
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
	int err;

	setvbuf(stdout, NULL, _IOLBF, 0);
	err = guest_pci_open(&pci, EDU_VENDOR, EDU_DEVICE);
	if (err) {
		say("no device: %s", strerror(-err));
		printf("edu: end\n");
		return 1;
	}
	for (int i = 1; i < argc; i++)
		if (!run(argv[i]))
			say("no step is called %s", argv[i]);
	guest_pci_close(&pci);
	printf("edu: end\n");
	return 0;
}
