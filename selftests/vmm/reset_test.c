// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What rmio_client_reset resets and what it leaves, each as rmio_client(3) says.  Beside the data
 * path.
 */
#include "client_rig.h"
#include "edu.h"
#include "null.h"

#include <sys/mman.h>

static void configuration(void)
{
	struct rig r;

	T_REQUIRE(rig_new(&r, "edu", EDU_BAR_SIZE, true));
	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	rig_config_set(&r, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	rig_config_set(&r, PCI_INTERRUPT_LINE, 1, 9);
	rig_config_set(&r, 0x40 + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE);
	T_EQ(rmio_client_reset(r.client), 0);
	T_EQ(rig_config(&r, PCI_COMMAND, 2), 0);
	T_EQ(rig_config(&r, PCI_BASE_ADDRESS_0, 4), 0);
	T_EQ(rig_config(&r, PCI_INTERRUPT_LINE, 1), 0);
	T_EQ(rig_config(&r, 0x40 + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_ENABLE, 0);
	T_EQ(rig_config(&r, PCI_VENDOR_ID, 4), EDU_DEVICE << 16 | EDU_VENDOR);
	rig_free(&r);
}

/* Registers and handlers of the device are its own affair: edu and null clear theirs. */
static void registers(bool rings)
{
	struct rig r;

	T_REQUIRE(rig_new(&r, "edu", EDU_BAR_SIZE, rings));
	rig_store(&r, EDU_LIVE, 4, 0x1234);
	T_EQ(rig_load(&r, EDU_LIVE, 4), (uint32_t)~0x1234);
	T_EQ(rmio_client_reset(r.client), 0);
	T_EQ(rig_load(&r, EDU_LIVE, 4), 0);
	rig_free(&r);
}

static void registers_rings(void)
{
	registers(true);
}

static void registers_socket(void)
{
	registers(false);
}

/* The device keeps them; the command register has to let it send them again. */
static void eventfds(void)
{
	int msi = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct rig r;

	T_REQUIRE(rig_new(&r, "null", NULL_BAR_SIZE, true));
	T_EQ(rmio_client_set_irqs(r.client, VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0,
				  1, &msi), 0);
	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	rig_store(&r, NULL_IRQ, 4, 1);
	T_EQ(rig_signals(msi, 5000), 1);
	T_EQ(rmio_client_reset(r.client), 0);
	rig_store(&r, NULL_IRQ, 4, 1);
	T_EQ(rig_load(&r, NULL_MAGIC, 4), NULL_MAGIC_VALUE);
	T_EQ(rig_signals(msi, 0), 0);
	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	rig_store(&r, NULL_IRQ, 4, 1);
	T_EQ(rig_signals(msi, 5000), 1);
	rig_free(&r);
	close(msi);
}

/* A pin that is up goes down; its eventfd stays. */
static void pin(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct rig r;

	T_REQUIRE(rig_new(&r, "edu", EDU_BAR_SIZE, true));
	T_EQ(rmio_client_set_irqs(r.client, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
				  0, 1, &fd), 0);
	rig_store(&r, EDU_IRQ_RAISE, 4, 1);
	T_EQ(rig_signals(fd, 5000), 1);
	T_OK(rig_config(&r, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	T_EQ(rmio_client_reset(r.client), 0);
	T_OK(!(rig_config(&r, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT));
	T_EQ(rmio_client_set_irqs(r.client, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK,
				  0, 1, NULL), 0);
	T_EQ(rig_signals(fd, 50), 0);
	rig_store(&r, EDU_IRQ_RAISE, 4, 1);
	T_EQ(rig_signals(fd, 5000), 1);
	rig_free(&r);
	close(fd);
}

/* Guest memory stays mapped. */
static void memory(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC), i;
	struct rig r;
	uint32_t *ram;

	T_EQ(ftruncate(fd, 0x10000), 0);
	ram = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	T_REQUIRE(T_OK(ram != MAP_FAILED));
	T_REQUIRE(rig_new(&r, "edu", EDU_BAR_SIZE, true));
	T_EQ(rmio_client_dma_map(r.client, 0x100000, 0x10000, fd, 0, PROT_READ | PROT_WRITE), 0);
	T_EQ(rmio_client_reset(r.client), 0);
	T_EQ(rmio_client_dma_map(r.client, 0x100000, 0x10000, fd, 0, PROT_READ), -EEXIST);
	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	ram[0] = 0x11223344;
	rig_store(&r, EDU_DMA_SRC, 8, 0x100000);
	rig_store(&r, EDU_DMA_DST, 8, EDU_BUF);
	rig_store(&r, EDU_DMA_COUNT, 8, 4);
	rig_store(&r, EDU_DMA_CMD, 4, EDU_DMA_RUN);
	for (i = 0; i < 5000 && rig_load(&r, EDU_DMA_CMD, 4) & EDU_DMA_RUN; i++)
		usleep(1000);
	rig_store(&r, EDU_DMA_SRC, 8, EDU_BUF);
	rig_store(&r, EDU_DMA_DST, 8, 0x100100);
	rig_store(&r, EDU_DMA_CMD, 4, EDU_DMA_RUN | EDU_DMA_TO_RAM);
	for (i = 0; i < 5000 && rig_load(&r, EDU_DMA_CMD, 4) & EDU_DMA_RUN; i++)
		usleep(1000);
	T_EQ(ram[0x40], 0x11223344);
	rig_free(&r);
	munmap(ram, 0x10000);
	close(fd);
}

/* Ranges stay, rings go on, what was stored before is before, and counters count on. */
static void rings(void)
{
	struct rmio_counters was, is;
	struct rmio_master *m;
	struct rig r;
	int i;

	T_REQUIRE(rig_new(&r, "null", NULL_BAR_SIZE, true));
	m = rmio_client_master(r.client);
	for (i = 0; i < 50; i++)
		rig_store(&r, NULL_DOORBELL, 4, 1);
	T_EQ(rmio_master_counters(m, -1, &was), 0);
	T_EQ(was.posted, 50);
	T_EQ(rmio_client_reset(r.client), 0);
	/* None of them comes after it. */
	T_EQ(rig_load(&r, NULL_STORES, 8), 0);
	T_EQ(rmio_client_master(r.client), m);
	/* The VM's thread may have yet to hear that the device has taken the rings. */
	for (i = 0; i < 5000 && rmio_master_state(m) == RMIO_STATE_NEW; i++)
		usleep(1000);
	T_EQ(rmio_master_state(m), RMIO_STATE_LIVE);
	rig_store(&r, NULL_DOORBELL, 4, 1);
	T_EQ(rig_load(&r, NULL_STORES, 8), 1);
	T_EQ(rmio_master_counters(m, -1, &is), 0);
	T_EQ(is.posted, 51);
	T_EQ(is.discarded + is.ones, 0);
	rig_free(&r);
}

/* The image and the map that says what it answers stay; what is in it is the device's affair. */
static void shadow(void)
{
	struct rmio_counters c = { 0 };
	uint64_t before;
	struct rig r;
	int i;

	T_REQUIRE(rig_new(&r, "null", NULL_BAR_SIZE, true));
	for (i = 0; i < 5000 && !c.shadow; i++) {
		rig_load(&r, NULL_SHADOW, 4);
		T_EQ(rmio_master_counters(rmio_client_master(r.client), -1, &c), 0);
	}
	T_GT(c.shadow, 0);
	rig_store(&r, NULL_SHADOW, 4, 0x77);
	T_EQ(rig_load(&r, NULL_SHADOW, 4), 0x77);
	T_EQ(rmio_client_reset(r.client), 0);
	T_EQ(rmio_master_counters(rmio_client_master(r.client), -1, &c), 0);
	before = c.shadow;
	T_EQ(rig_load(&r, NULL_SHADOW, 4), 0x77);
	T_EQ(rmio_master_counters(rmio_client_master(r.client), -1, &c), 0);
	T_EQ(c.shadow, before + 1);
	rig_free(&r);
}

static const struct ktap_test tests[] = {
	{ "configuration space", configuration },
	{ "registers, by rings", registers_rings },
	{ "registers, by the socket", registers_socket },
	{ "eventfds of messages", eventfds },
	{ "the pin", pin },
	{ "memory", memory },
	{ "rings, ranges and counters", rings },
	{ "shadow image and access map", shadow },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
