// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * mp_client_edu_test.c - a device of rmio and its VMM that speak QEMU's multi-process protocol with
 * each other: the educational device, as its driver uses it.  Beside the data path of rmio.
 */
#include "client_rig.h"
#include "edu.h"

#include <sys/mman.h>

#define PATIENT	20000	/* ms, for what is to happen */
#define BAR0	0x80000000u
#define RAM	0x100000u
#define RAM_LEN	0x4000u
#define CONFIG	VFIO_PCI_CONFIG_REGION_INDEX

static bool edu_new(struct rig *r, const char *spec)
{
	struct rmio_client_opts opts = {
		.sz = sizeof(opts), .reply_timeout_ms = PATIENT,
		.protocol = RMIO_PROTOCOL_MULTI_PROCESS,
	};
	int s[2];

	memset(r, 0, sizeof(*r));
	if (!dev_thread_new(&r->d, RMIO_WAIT_SLEEP))
		return false;
	r->dev = dev_thread_add(&r->d, spec);
	return r->dev && T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0) &&
	       T_EQ(rmio_dev_serve(r->dev, s[1]), 0) && dev_thread_start(&r->d) &&
	       T_EQ(rmio_client_new(s[0], &opts, &r->client), 0);
}

static void enable(struct rig *r)
{
	rig_config_set(r, PCI_BASE_ADDRESS_0, 4, BAR0);
	rig_config_set(r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static bool edu_enabled(struct rig *r)
{
	if (!edu_new(r, "edu"))
		return false;
	enable(r);
	return true;
}

static int load(struct rig *r)
{
	uint32_t v;
	int err = rmio_client_region_read(r->client, 0, EDU_ID, &v, 4);

	if (!err)
		T_EQ(v, EDU_ID_VALUE);
	return err;
}

/* Until the bits of a register are clear. */
static void await_clear(struct rig *r, uint32_t reg, uint32_t bits)
{
	long long end = ktap_now_ms() + PATIENT;

	while ((rig_load(r, reg, 4) & bits) && T_LT(ktap_now_ms(), end))
		usleep(100);
}

static void found(void)
{
	uint32_t flags, regions, irqs;
	struct rmio_region_info info;
	struct rig r;

	T_REQUIRE(edu_new(&r, "edu"));
	T_EQ(rmio_client_device_info(r.client, &flags, &regions, &irqs), 0);
	T_EQ(regions, VFIO_PCI_NUM_REGIONS);
	T_EQ(irqs, VFIO_PCI_NUM_IRQS);
	for (uint32_t i = 0; i < regions; i++) {
		T_EQ(rmio_client_region_info(r.client, i, &info), 0);
		T_EQ(info.size, i == 0 ? EDU_BAR_SIZE : i == CONFIG ? 256 : 0);
	}
	T_EQ(rmio_client_irq_info(r.client, VFIO_PCI_INTX_IRQ_INDEX, &flags, &irqs), 0);
	T_EQ(irqs, 1);
	T_EQ(rmio_client_irq_info(r.client, VFIO_PCI_MSI_IRQ_INDEX, &flags, &irqs), 0);
	T_EQ(irqs, 0);
	rig_free(&r);
}

static void config_space(void)
{
	uint8_t all[256], one;
	struct rig r;

	T_REQUIRE(edu_new(&r, "edu"));
	T_EQ(rmio_client_region_read(r.client, CONFIG, 0, all, 256), 0);
	for (uint32_t i = 0; i < 256; i++) {
		T_EQ(rmio_client_region_read(r.client, CONFIG, i, &one, 1), 0);
		T_EQ(one, all[i]);
	}
	T_EQ(rig_config(&r, PCI_VENDOR_ID, 2), EDU_VENDOR);
	T_EQ(rig_config(&r, PCI_DEVICE_ID, 2), EDU_DEVICE);
	T_EQ(rig_config(&r, PCI_REVISION_ID, 1), EDU_REVISION);
	T_EQ(rig_config(&r, PCI_INTERRUPT_PIN, 1), 1);
	/* it has capabilities, none of which works here */
	T_EQ(rig_config(&r, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	T_EQ(rig_config(&r, PCI_CAPABILITY_LIST, 1), 0);
	T_EQ(rig_config(&r, PCI_COMMAND, 2), 0);
	T_EQ(rig_config(&r, PCI_BASE_ADDRESS_0, 4), 0);
	rig_config_set(&r, PCI_BASE_ADDRESS_0, 4, UINT32_MAX);
	T_EQ(rig_config(&r, PCI_BASE_ADDRESS_0, 4), 0xfff00000);
	rig_free(&r);
}

static void place(void)
{
	struct rig r;

	T_REQUIRE(edu_new(&r, "edu"));
	T_EQ(load(&r), -ENXIO);
	rig_config_set(&r, PCI_BASE_ADDRESS_0, 4, BAR0);
	T_EQ(load(&r), -ENXIO);
	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	T_EQ(load(&r), 0);
	rig_config_set(&r, PCI_BASE_ADDRESS_0, 4, 0x12300000);
	T_EQ(load(&r), 0);
	rig_config_set(&r, PCI_BASE_ADDRESS_0 + 3, 1, 0x45);
	T_EQ(rig_config(&r, PCI_BASE_ADDRESS_0, 4), 0x45300000);
	T_EQ(load(&r), 0);
	rig_config_set(&r, PCI_COMMAND, 1, 0);
	T_EQ(load(&r), -ENXIO);
	rig_config_set(&r, PCI_COMMAND, 1, PCI_COMMAND_MEMORY);
	T_EQ(load(&r), 0);
	rig_config_set(&r, PCI_BASE_ADDRESS_0, 4, 0);
	T_EQ(load(&r), -ENXIO);
	rig_config_set(&r, PCI_BASE_ADDRESS_0, 4, 0xfff00000);
	T_EQ(load(&r), -ENXIO);
	rig_config_set(&r, PCI_BASE_ADDRESS_0, 4, 0xffe00000);
	T_EQ(load(&r), 0);
	rig_free(&r);
}

static void factorial(void)
{
	struct rig r;

	T_REQUIRE(edu_enabled(&r));
	T_EQ(rig_load(&r, EDU_ID, 4), EDU_ID_VALUE);
	rig_store(&r, EDU_LIVE, 4, 0x12345678);
	T_EQ(rig_load(&r, EDU_LIVE, 4), ~0x12345678u);
	rig_store(&r, EDU_FACTORIAL, 4, 10);
	await_clear(&r, EDU_STATUS, EDU_STATUS_COMPUTING);
	T_EQ(rig_load(&r, EDU_FACTORIAL, 4), 3628800);
	/* eight bytes, and all ones, which are data there */
	rig_store(&r, EDU_DMA_SRC, 8, 0x123456789abcdef0);
	T_EQ(rig_load(&r, EDU_DMA_SRC, 8), 0x123456789abcdef0);
	rig_store(&r, EDU_DMA_SRC, 8, UINT64_MAX);
	T_EQ(rig_load(&r, EDU_DMA_SRC, 8), UINT64_MAX);
	T_EQ(rig_load(&r, EDU_ID, 1), 0xff);
	rig_free(&r);
}

/* -- memory -------------------------------------------------------------------- */

static void transfer(struct rig *r, uint64_t src, uint64_t dst, uint64_t count, uint32_t cmd)
{
	rig_store(r, EDU_DMA_SRC, 8, src);
	rig_store(r, EDU_DMA_DST, 8, dst);
	rig_store(r, EDU_DMA_COUNT, 8, count);
	rig_store(r, EDU_DMA_CMD, 8, cmd | EDU_DMA_RUN);
	await_clear(r, EDU_DMA_CMD, EDU_DMA_RUN);
}

/* From @at in memory through the device to @at + 0x800. */
static void round_trip(struct rig *r, uint8_t *ram, uint64_t gpa, bool there)
{
	for (uint32_t i = 0; i < 512; i++)
		ram[i] = (uint8_t)(gpa / RAM_LEN + i * 3);
	memset(ram + 0x800, 0, 512);
	transfer(r, gpa, EDU_BUF, 512, 0);
	transfer(r, EDU_BUF, gpa + 0x800, 512, EDU_DMA_TO_RAM);
	if (there)
		T_MEMEQ(ram + 0x800, ram, 512);
	else
		T_EQ(ram[0x801], 0);
}

static int map(struct rig *r, uint64_t gpa, int fd, uint64_t offset)
{
	return rmio_client_dma_map(r->client, gpa, RAM_LEN, fd, offset, PROT_READ | PROT_WRITE);
}

static void dma(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	struct rig r;
	uint8_t *ram;
	uint32_t i;

	T_EQ(ftruncate(fd, 8 * RAM_LEN), 0);
	ram = mmap(NULL, 8 * RAM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	T_REQUIRE(T_OK(ram != MAP_FAILED));
	T_REQUIRE(edu_enabled(&r));
	round_trip(&r, ram, RAM, false);
	for (i = 0; i < 7; i++)
		T_EQ(map(&r, RAM + i * 2 * RAM_LEN, fd, i * RAM_LEN), 0);
	for (i = 0; i < 7; i++)
		round_trip(&r, ram + i * RAM_LEN, RAM + i * 2 * RAM_LEN, true);
	T_EQ(map(&r, RAM + 14 * RAM_LEN, fd, 7 * RAM_LEN), -ENOSPC);
	round_trip(&r, ram + 7 * RAM_LEN, RAM + 14 * RAM_LEN, false);
	T_EQ(map(&r, RAM + RAM_LEN / 2, fd, 0), -EEXIST);

	T_EQ(rmio_client_dma_unmap(r.client, RAM + 2 * RAM_LEN, RAM_LEN), 0);
	round_trip(&r, ram + RAM_LEN, RAM + 2 * RAM_LEN, false);
	round_trip(&r, ram + 6 * RAM_LEN, RAM + 12 * RAM_LEN, true);
	T_EQ(map(&r, RAM + 14 * RAM_LEN, fd, 7 * RAM_LEN), 0);
	round_trip(&r, ram + 7 * RAM_LEN, RAM + 14 * RAM_LEN, true);
	for (i = 0; i < 8; i++)
		T_EQ(rmio_client_dma_unmap(r.client, RAM + i * 2 * RAM_LEN, RAM_LEN),
		     i == 1 ? -ENOENT : 0);
	round_trip(&r, ram, RAM, false);
	/* and again after nothing was there */
	T_EQ(map(&r, RAM, fd, 0), 0);
	round_trip(&r, ram, RAM, true);
	rig_free(&r);
	T_EQ(r.d.lines, 0);
	munmap(ram, 8 * RAM_LEN);
	close(fd);
}

/* -- interrupts and reset --------------------------------------------------------- */

static int set(struct rig *r, uint32_t action, uint32_t count, const int *fds)
{
	return rmio_client_set_irqs(r->client, VFIO_PCI_INTX_IRQ_INDEX, action, 0, count, fds);
}

static int make_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/*
 * The device looks at its pin when it finds the time after an unmask, and so once more than it
 * was asked to after it has been given the eventfds: what counts is that signals go on.
 */
static void interrupts(void)
{
	int trigger = make_eventfd(), other = make_eventfd(), unmask = make_eventfd();
	uint64_t one = 1;
	struct rig r;

	T_REQUIRE(edu_enabled(&r));
	T_EQ(set(&r, VFIO_IRQ_SET_ACTION_TRIGGER, 1, &trigger), 0);
	rig_load(&r, EDU_IRQ_STATUS, 4);
	T_EQ(rig_signals(trigger, 0), 0);
	rig_store(&r, EDU_IRQ_RAISE, 4, 2);
	T_GE(rig_signals(trigger, PATIENT), 1);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 2);
	/* still raised: again after each unmask, by message and by eventfd */
	for (int i = 0; i < 3; i++) {
		T_EQ(set(&r, VFIO_IRQ_SET_ACTION_UNMASK, 1, NULL), 0);
		T_GE(rig_signals(trigger, PATIENT), 1);
	}
	T_EQ(set(&r, VFIO_IRQ_SET_ACTION_UNMASK, 1, &unmask), 0);
	for (int i = 0; i < 4; i++) {
		T_EQ(write(unmask, &one, sizeof(one)), (ssize_t)sizeof(one));
		T_GE(rig_signals(trigger, PATIENT), 1);
	}
	for (int i = 0; i < 3; i++) {
		T_EQ(set(&r, VFIO_IRQ_SET_ACTION_UNMASK, 1, NULL), 0);
		T_GE(rig_signals(trigger, PATIENT), 1);
	}
	rig_store(&r, EDU_IRQ_ACK, 4, 2);
	T_EQ(rig_load(&r, EDU_IRQ_STATUS, 4), 0);

	/* reset in the middle of an interrupt: its end never comes, the next one does */
	rig_signals(trigger, 0);
	rig_store(&r, EDU_IRQ_RAISE, 4, 2);
	rig_signals(trigger, PATIENT);
	T_EQ(rmio_client_reset(r.client), 0);
	enable(&r);
	rig_signals(trigger, 0);
	rig_store(&r, EDU_IRQ_RAISE, 4, 2);
	T_GE(rig_signals(trigger, PATIENT), 1);
	rig_store(&r, EDU_IRQ_ACK, 4, 2);

	/* raised while disabled, and set again: to somebody else */
	T_EQ(set(&r, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL), 0);
	rig_store(&r, EDU_IRQ_RAISE, 4, 1);
	T_EQ(set(&r, VFIO_IRQ_SET_ACTION_TRIGGER, 1, &other), 0);
	T_GE(rig_signals(other, PATIENT), 1);

	T_EQ(rmio_client_set_irqs(r.client, VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0,
				  1, &trigger), -EINVAL);
	T_EQ(set(&r, VFIO_IRQ_SET_ACTION_MASK, 1, NULL), -ENOTSUP);
	rig_free(&r);
	T_EQ(r.d.lines, 0);
	close(trigger);
	close(other);
	close(unmask);
}

static void reset(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	struct rig r;
	uint8_t *ram;

	T_EQ(ftruncate(fd, RAM_LEN), 0);
	ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	T_REQUIRE(edu_enabled(&r));
	T_EQ(map(&r, RAM, fd, 0), 0);
	rig_store(&r, EDU_LIVE, 4, 1);
	T_EQ(rmio_client_reset(r.client), 0);
	T_EQ(load(&r), -ENXIO);
	T_EQ(rig_config(&r, PCI_COMMAND, 2), 0);
	T_EQ(rig_config(&r, PCI_BASE_ADDRESS_0, 4), 0);
	enable(&r);
	T_EQ(rig_load(&r, EDU_LIVE, 4), 0);
	round_trip(&r, ram, RAM, true);
	rig_free(&r);
	munmap(ram, RAM_LEN);
	close(fd);
}

/* -- threads ------------------------------------------------------------------------ */

struct caller {
	pthread_t thread;
	struct rig *r;
	uint32_t reg;
};

static void *call_often(void *arg)
{
	struct caller *t = arg;

	for (uint64_t i = 0; i < 300 && !ktap_failed(); i++) {
		rig_store(t->r, t->reg, 8, i << 32 | t->reg);
		T_EQ(rig_load(t->r, t->reg, 8), i << 32 | t->reg);
		T_EQ(rig_load(t->r, EDU_ID, 4), EDU_ID_VALUE);
	}
	return NULL;
}

static void threads(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC), efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct caller t[2] = { { .reg = EDU_DMA_SRC }, { .reg = EDU_DMA_DST } };
	struct rig r;
	int i;

	T_EQ(ftruncate(fd, RAM_LEN), 0);
	T_REQUIRE(edu_enabled(&r));
	for (i = 0; i < 2; i++) {
		t[i].r = &r;
		T_EQ(pthread_create(&t[i].thread, NULL, call_often, &t[i]), 0);
	}
	for (i = 0; i < 100; i++) {
		T_EQ(map(&r, RAM + i * RAM_LEN, fd, 0), 0);
		T_EQ(set(&r, VFIO_IRQ_SET_ACTION_TRIGGER, 1, &efd), 0);
		T_EQ(rmio_client_dma_unmap(r.client, RAM + i * RAM_LEN, RAM_LEN), 0);
		T_EQ(set(&r, VFIO_IRQ_SET_ACTION_UNMASK, 1, NULL), 0);
	}
	for (i = 0; i < 2; i++)
		pthread_join(t[i].thread, NULL);
	rig_free(&r);
	close(fd);
	close(efd);
}

static const struct ktap_test tests[] = {
	{ "found", found },
	{ "configuration space", config_space },
	{ "placing the BAR", place },
	{ "factorial", factorial },
	{ "dma", dma },
	{ "interrupts", interrupts },
	{ "reset", reset },
	{ "threads", threads },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
