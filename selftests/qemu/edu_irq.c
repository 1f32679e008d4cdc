// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Steps of edu_guest about interrupts: the pin, by Linux's driver for programs, and messages.
 * At the far end of the data path.
 */
#include "edu_guest.h"

#include <poll.h>

/* -- the pin ------------------------------------------------------------------------- */

/* The driver that tells of interrupts; its module has been loaded. */
static const char uio_driver[] = "/sys/bus/pci/drivers/uio_pci_generic";
static const char uio_ids[] = "1234 11e8";

static int uio_open(void)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "%s/new_id", uio_driver);
	expect("driver", (uint64_t)write_text(path, uio_ids), 0);
	fd = open("/dev/uio0", O_RDWR | O_CLOEXEC);
	expect("uio0", fd >= 0, true);
	return fd;
}

static void uio_close(int fd)
{
	char path[100];

	close(fd);
	snprintf(path, sizeof(path), "%s/unbind", uio_driver);
	expect("unbind", (uint64_t)write_text(path, guest_pci_place(&pci)), 0);
	/* Another driver may want the function next. */
	snprintf(path, sizeof(path), "%s/remove_id", uio_driver);
	expect("remove_id", (uint64_t)write_text(path, uio_ids), 0);
}

/*
 * QEMU hands the device's eventfd to KVM, and without KVM to nobody: a limit of docs/qemu.md.
 */
void no_interrupt(void)
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

void interrupts(void)
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

/* -- messages ------------------------------------------------------------------------- */

/* The offset of the capability; 0: there is none. */
static uint32_t find_msi(void)
{
	uint32_t at = config_get(&pci, PCI_CAPABILITY_LIST, 1);

	while (at && config_get(&pci, at, 1) != PCI_CAP_ID_MSI)
		at = config_get(&pci, at + 1, 1);
	return at;
}

/* The message is there, once.  It is a store to memory like any other. */
static void one_message(volatile uint32_t *memory, uint32_t data)
{
	for (uint32_t i = 0; !*memory && i < 60000; i++)
		usleep(1000);
	expect("message within a minute", *memory, data);
	*memory = 0;
}

/*
 * No driver of Linux's hands messages of any function to a program, so they go where it sees them:
 * to a page of its own.
 */
void msi(void)
{
	uint8_t *page = locked_page(PROT_READ | PROT_WRITE);
	uint32_t at = find_msi(), flags, data_at;

	if (!expect("memory", !!page, true) || !expect("MSI capability", !!at, true))
		return;
	flags = config_get(&pci, at + PCI_MSI_FLAGS, 2);
	data_at = at + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32);
	config_put(&pci, at + PCI_MSI_ADDRESS_LO, (uint32_t)page_address(page), 4);
	if (flags & PCI_MSI_FLAGS_64BIT)
		config_put(&pci, at + PCI_MSI_ADDRESS_HI, (uint32_t)(page_address(page) >> 32), 4);
	command(&pci, 0, PCI_COMMAND_MASTER);
	for (uint32_t i = 0; i < 20 && !failed; i++) {
		config_put(&pci, data_at, 0x4100 + i, 2);
		config_put(&pci, at + PCI_MSI_FLAGS, flags | PCI_MSI_FLAGS_ENABLE, 2);
		store(EDU_IRQ_RAISE, 1u << i);
		one_message((volatile uint32_t *)page, 0x4100 + i);
		expect("PCI status", config_get(&pci, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
		store(EDU_IRQ_ACK, 1u << i);
		config_put(&pci, at + PCI_MSI_FLAGS, flags, 2);
	}
	/* by the device's own work, several for one enabling */
	config_put(&pci, at + PCI_MSI_FLAGS, flags | PCI_MSI_FLAGS_ENABLE, 2);
	store(EDU_STATUS, EDU_STATUS_IRQ);
	for (uint32_t i = 0; i < 20 && !failed; i++) {
		store(EDU_FACTORIAL, 12);
		one_message((volatile uint32_t *)page, 0x4113);
		expect("factorial", load(EDU_FACTORIAL), 479001600);
		store(EDU_IRQ_ACK, EDU_IRQ_FACTORIAL);
	}
	store(EDU_STATUS, 0);
	config_put(&pci, at + PCI_MSI_FLAGS, flags, 2);
	munmap(page, PAGE);
}
