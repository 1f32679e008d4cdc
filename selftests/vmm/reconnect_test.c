// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device process is killed, another one started, and one call tells it all that its predecessor
 * was told: the guest finds configuration, memory, interrupts and ranges as they were.  Beside the
 * data path.
 */
#include "edu.h"
#include "null.h"
#include "served.h"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#define BAR	0xe0000000ull
#define RAM	0x100000ull
#define LEN	0x10000u

struct rig {
	struct devproc d[3];
	struct rmio_vm *vm;
	struct rmio_vcpu *vcpu;
	struct rmio_client *client;
	struct rmio_master *m;
	int fd, msi;
	uint32_t *ram;
};

/* All processes first, while there is one thread only. */
static bool rig_init(struct rig *r, const char *const *names, bool rings, uint32_t flags)
{
	struct rmio_client_opts o = {
		.sz = sizeof(o), .flags = flags,
		.master = { .sz = sizeof(o.master), .timeout_ns = 500000000 },
	};
	struct rmio_pa_range bar = { .addr = BAR, .len = EDU_BAR_SIZE };
	size_t i;

	memset(r, 0, sizeof(*r));
	for (i = 0; i < KTAP_COUNT(r->d); i++)
		if (!devproc_start(&r->d[i], served_main, (void *)names[i]))
			return false;
	r->msi = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->fd = memfd_create("ram", MFD_CLOEXEC);
	T_EQ(ftruncate(r->fd, LEN), 0);
	r->ram = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (!T_OK(r->ram != MAP_FAILED) || !T_EQ(rmio_vm_new(NULL, &r->vm), 0) ||
	    !T_EQ(rmio_vcpu_new(r->vm, 0, NULL, &r->vcpu), 0))
		return false;
	o.vm = rings ? r->vm : NULL;
	if (!T_EQ(rmio_client_new(served_connect(&r->d[0]), &o, &r->client), 0))
		return false;
	r->m = rmio_client_master(r->client);
	return !rings || (T_OK(r->m) && T_EQ(rmio_master_pa_range(r->m, &bar), 0));
}

static void rig_exit(struct rig *r)
{
	size_t i;

	rmio_client_free(r->client);
	rmio_vcpu_free(r->vcpu);
	rmio_vm_free(r->vm);
	munmap(r->ram, LEN);
	close(r->fd);
	close(r->msi);
	/* The later ones have the earlier ones' sockets. */
	for (i = KTAP_COUNT(r->d); i-- > 0;)
		if (r->d[i].pid)
			T_EQ(devproc_wait(&r->d[i]), 0);
}

static void rig_kill(struct rig *r, int i)
{
	devproc_kill(&r->d[i]);
	T_OK(WIFSIGNALED(devproc_wait(&r->d[i])));
	r->d[i].pid = 0;
	while (r->m && rmio_master_state(r->m) != RMIO_STATE_CLOSED)
		usleep(1000);
}

static uint64_t load(struct rig *r, uint64_t offset)
{
	uint64_t v = 0;

	if (r->m)
		T_EQ(rmio_vcpu_load(r->vcpu, RMIO_BUS_MEM, BAR + offset, 4, &v), 0);
	else
		T_EQ(rmio_client_region_read(r->client, 0, offset, &v, 4), 0);
	return v;
}

static void store(struct rig *r, uint64_t offset, uint64_t v, uint32_t len)
{
	if (r->m)
		T_EQ(rmio_vcpu_store(r->vcpu, RMIO_BUS_MEM, BAR + offset, len, v), 0);
	else
		T_EQ(rmio_client_region_write(r->client, 0, offset, &v, len), 0);
}

static uint32_t config(struct rig *r, uint32_t off, uint32_t len)
{
	uint32_t v = 0;

	T_EQ(rmio_client_region_read(r->client, VFIO_PCI_CONFIG_REGION_INDEX, off, &v, len), 0);
	return v;
}

static void config_set(struct rig *r, uint32_t off, uint32_t len, uint32_t v)
{
	T_EQ(rmio_client_region_write(r->client, VFIO_PCI_CONFIG_REGION_INDEX, off, &v, len), 0);
}

/* As a guest and its VMM set edu up. */
static void set_up(struct rig *r)
{
	config_set(r, PCI_BASE_ADDRESS_0, 4, 0xffffffff);
	config_set(r, PCI_BASE_ADDRESS_0, 4, (uint32_t)BAR);
	config_set(r, PCI_INTERRUPT_LINE, 1, 11);
	config_set(r, 0x40 + PCI_MSI_ADDRESS_LO, 4, 0xfee00000);
	config_set(r, 0x40 + PCI_MSI_DATA_64, 2, 0x41);
	config_set(r, 0x40 + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE);
	config_set(r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	T_EQ(rmio_client_dma_map(r->client, RAM, LEN, r->fd, 0, PROT_READ | PROT_WRITE), 0);
	T_EQ(rmio_client_dma_map(r->client, 2 * RAM, 0x1000, r->fd, 0, PROT_READ), 0);
	T_EQ(rmio_client_dma_unmap(r->client, 2 * RAM, 0x1000), 0);
	T_EQ(rmio_client_set_irqs(r->client, VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
				  0, 1, &r->msi), 0);
}

/* All that a guest can tell of it. */
static void check(struct rig *r)
{
	struct pollfd p = { .fd = r->msi, .events = POLLIN };
	uint64_t n = 0;
	int i;

	T_EQ(load(r, EDU_ID), 0x010000ed);
	T_EQ(config(r, PCI_BASE_ADDRESS_0, 4), BAR);
	T_EQ(config(r, PCI_INTERRUPT_LINE, 1), 11);
	T_EQ(config(r, 0x40 + PCI_MSI_ADDRESS_LO, 4), 0xfee00000);
	T_EQ(config(r, 0x40 + PCI_MSI_DATA_64, 2), 0x41);
	T_EQ(config(r, 0x40 + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_ENABLE, PCI_MSI_FLAGS_ENABLE);
	T_EQ(config(r, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	/* DMA both ways, and an interrupt. */
	r->ram[0] = 0xabcd0123;
	r->ram[0x40] = 0;
	store(r, EDU_DMA_SRC, RAM, 8);
	store(r, EDU_DMA_DST, EDU_BUF, 8);
	store(r, EDU_DMA_COUNT, 4, 8);
	store(r, EDU_DMA_CMD, EDU_DMA_RUN, 4);
	for (i = 0; i < 5000 && load(r, EDU_DMA_CMD) & EDU_DMA_RUN; i++)
		usleep(1000);
	store(r, EDU_DMA_SRC, EDU_BUF, 8);
	store(r, EDU_DMA_DST, RAM + 0x100, 8);
	store(r, EDU_DMA_CMD, EDU_DMA_RUN | EDU_DMA_TO_RAM | EDU_DMA_IRQ, 4);
	T_EQ(poll(&p, 1, 5000), 1);
	T_EQ(read(r->msi, &n, sizeof(n)), (ssize_t)sizeof(n));
	T_EQ(n, 1);
	T_EQ(r->ram[0x40], 0xabcd0123);
}

static void killed(bool rings)
{
	static const char *const names[] = { "edu", "edu", "edu" };
	struct rmio_counters was, is;
	struct rig r;
	int i;

	T_REQUIRE(rig_init(&r, names, rings, RMIO_CLIENT_KEEP));
	set_up(&r);
	check(&r);
	for (i = 0; i < 2; i++) {
		if (rings)
			T_EQ(rmio_master_counters(r.m, -1, &was), 0);
		rig_kill(&r, i);
		if (rings)
			T_EQ(load(&r, EDU_ID), 0xffffffff);
		T_EQ(rmio_client_reset(r.client), -ECONNRESET);
		T_EQ(rmio_client_reconnect(r.client, served_connect(&r.d[i + 1])), 0);
		T_EQ(rmio_client_master(r.client), r.m);
		check(&r);
		if (!rings)
			continue;
		T_EQ(rmio_master_counters(r.m, -1, &is), 0);
		T_GT(is.posted, was.posted);
	}
	rig_exit(&r);
}

static void killed_rings(void)
{
	killed(true);
}

static void killed_socket(void)
{
	killed(false);
}

/* What a reset has undone is not done again. */
static void after_a_reset(void)
{
	static const char *const names[] = { "edu", "edu", "edu" };
	struct rig r;

	T_REQUIRE(rig_init(&r, names, true, RMIO_CLIENT_KEEP));
	set_up(&r);
	T_EQ(rmio_client_reset(r.client), 0);
	rig_kill(&r, 0);
	T_EQ(rmio_client_reconnect(r.client, served_connect(&r.d[1])), 0);
	T_EQ(config(&r, PCI_COMMAND, 2), 0);
	T_EQ(config(&r, PCI_BASE_ADDRESS_0, 4), 0);
	T_EQ(load(&r, EDU_ID), 0x010000ed);
	rig_exit(&r);
}

/* Another kind of device is not taken; the right one still is, afterwards. */
static void another_kind(void)
{
	static const char *const names[] = { "edu", "null", "edu" };
	struct rig r;

	T_REQUIRE(rig_init(&r, names, true, RMIO_CLIENT_KEEP));
	set_up(&r);
	rig_kill(&r, 0);
	T_EQ(rmio_client_reconnect(r.client, served_connect(&r.d[1])), -ENODEV);
	T_OK(strstr(rmio_errstr(-ENODEV), "524d:6e75"));
	T_EQ(load(&r, EDU_ID), 0xffffffff);
	T_EQ(rmio_client_reconnect(r.client, -1), -EINVAL);
	T_EQ(rmio_client_reconnect(r.client, open("/dev/null", O_RDWR)), -EINVAL);
	T_EQ(rmio_client_reconnect(r.client, served_connect(&r.d[2])), 0);
	check(&r);
	rig_exit(&r);
}

static void not_kept(void)
{
	static const char *const names[] = { "edu", "edu", "edu" };
	struct rig r;

	T_REQUIRE(rig_init(&r, names, true, 0));
	T_EQ(rmio_client_reconnect(r.client, served_connect(&r.d[1])), -ENOTSUP);
	T_EQ(load(&r, EDU_ID), 0x010000ed);
	rig_exit(&r);
}

/* One that is only stuck is given up for another. */
static void stuck(void)
{
	static const char *const names[] = { "edu", "edu", "edu" };
	struct rig r;

	T_REQUIRE(rig_init(&r, names, true, RMIO_CLIENT_KEEP));
	set_up(&r);
	served_stop(&r.d[0]);
	T_EQ(rmio_client_reconnect(r.client, served_connect(&r.d[1])), 0);
	check(&r);
	served_continue(&r.d[0]);
	check(&r);
	rig_exit(&r);
}

/* -- by path -------------------------------------------------------------------------------- */

static char path[100];

/* Listens when it is told to. */
static void listening(int sock, void *arg)
{
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	char why[200];

	close(devproc_need(sock));
	if (rmio_loop_new(NULL, &loop) || device_make(loop, arg, &dev, why, sizeof(why)) ||
	    rmio_dev_listen(dev, path))
		_exit(2);
	_exit(rmio_loop_run(loop) ? 3 : 0);
}

static int keep_trying(int (*call)(struct rmio_client **c), struct rmio_client **c)
{
	int err, i;

	for (i = 0; i < 500; i++) {
		err = call(c);
		if (err != -ENOENT && err != -ECONNREFUSED)
			break;
		usleep(10000);
	}
	return err;
}

static int connect_first(struct rmio_client **c)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .flags = RMIO_CLIENT_KEEP };

	return rmio_client_connect(path, &o, c);
}

static int connect_again(struct rmio_client **c)
{
	return rmio_client_reconnect(*c, -1);
}

static void by_path(void)
{
	struct rmio_client *c = NULL;
	struct devproc d[2];
	uint32_t v = 0;
	int i;

	snprintf(path, sizeof(path), "/tmp/rmio-reconnect-%d", getpid());
	unlink(path);
	for (i = 0; i < 2; i++)
		T_REQUIRE(devproc_start(&d[i], listening, "null"));
	T_REQUIRE(devproc_give(&d[0], open("/dev/null", O_RDONLY)));
	T_REQUIRE(T_EQ(keep_trying(connect_first, &c), 0));
	devproc_kill(&d[0]);
	devproc_wait(&d[0]);
	T_EQ(rmio_client_region_read(c, 0, NULL_MAGIC, &v, 4), -ECONNRESET);
	T_LT(rmio_client_reconnect(c, -1), 0);
	T_REQUIRE(devproc_give(&d[1], open("/dev/null", O_RDONLY)));
	T_EQ(keep_trying(connect_again, &c), 0);
	T_EQ(rmio_client_region_read(c, 0, NULL_MAGIC, &v, 4), 0);
	T_EQ(v, NULL_MAGIC_VALUE);
	rmio_client_free(c);
	devproc_kill(&d[1]);
	devproc_wait(&d[1]);
	unlink(path);
}

/* What was taken away while nobody was there is not given to the successor. */
static void taken_away(void)
{
	static const char *const names[] = { "edu", "edu", "edu" };
	uint64_t n;
	struct rig r;

	T_REQUIRE(rig_init(&r, names, true, RMIO_CLIENT_KEEP));
	set_up(&r);
	check(&r);
	rig_kill(&r, 0);
	T_EQ(rmio_client_dma_unmap(r.client, RAM, LEN), -ECONNRESET);
	T_EQ(rmio_client_set_irqs(r.client, VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
				  0, 0, NULL), -ECONNRESET);
	T_EQ(rmio_client_reconnect(r.client, served_connect(&r.d[1])), 0);
	rmio_client_set_irqs(r.client, VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1,
			     NULL);
	T_EQ(read(r.msi, &n, sizeof(n)), -1);
	T_EQ(rmio_client_dma_map(r.client, RAM, LEN, r.fd, 0, PROT_READ | PROT_WRITE), 0);
	T_EQ(rmio_client_set_irqs(r.client, VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
				  0, 1, &r.msi), 0);
	check(&r);
	rig_exit(&r);
}

struct user {
	struct rig *r;
	uint32_t stop;
	int bad;
};

static void *use_vcpu(void *arg)
{
	struct user *u = arg;
	uint64_t v;

	while (!__atomic_load_n(&u->stop, __ATOMIC_RELAXED)) {
		if (rmio_vcpu_load(u->r->vcpu, RMIO_BUS_MEM, BAR + EDU_ID, 4, &v) ||
		    (v != 0x010000ed && v != 0xffffffff))
			u->bad++;
		if (rmio_vcpu_store(u->r->vcpu, RMIO_BUS_MEM, BAR + EDU_LIVE, 4, 1))
			u->bad++;
	}
	return NULL;
}

static void *use_client(void *arg)
{
	struct user *u = arg;
	uint32_t v;

	while (!__atomic_load_n(&u->stop, __ATOMIC_RELAXED)) {
		if (!rmio_client_region_read(u->r->client, VFIO_PCI_CONFIG_REGION_INDEX, 0, &v,
					     4) && v != 0x11e81234)
			u->bad++;
		if (strcmp(rmio_client_name(u->r->client), "edu"))
			u->bad++;
	}
	return NULL;
}

/* Others go on meanwhile: the vCPU, and who reads configuration and the name. */
static void in_use(void)
{
	static const char *const names[] = { "edu", "edu", "edu" };
	pthread_t t[2];
	struct user u = { 0 };
	struct rig r;
	int i;

	T_REQUIRE(rig_init(&r, names, true, RMIO_CLIENT_KEEP));
	set_up(&r);
	u.r = &r;
	T_EQ(pthread_create(&t[0], NULL, use_vcpu, &u), 0);
	T_EQ(pthread_create(&t[1], NULL, use_client, &u), 0);
	for (i = 0; i < 2; i++) {
		usleep(20000);
		rig_kill(&r, i);
		T_EQ(rmio_client_reconnect(r.client, served_connect(&r.d[i + 1])), 0);
	}
	for (i = 0; i < 50; i++)
		T_EQ(rmio_client_reset(r.client), 0);
	usleep(20000);
	__atomic_store_n(&u.stop, 1, __ATOMIC_RELAXED);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	T_EQ(u.bad, 0);
	T_EQ(load(&r, EDU_ID), 0x010000ed);
	rig_exit(&r);
}

/*
 * A reset takes what is in the rings by the socket's turn, so a device that was woken for it finds
 * nothing: it has to hear of the next store all the same.
 */
static void reset_in_use(void)
{
	static const char *const names[] = { "edu", "edu", "edu" };
	struct rig r;
	int i, k;

	T_REQUIRE(rig_init(&r, names, true, 0));
	set_up(&r);
	for (k = 0; k < ktap_pick(5, 20, 100) && !ktap_failed(); k++) {
		struct user u = { .r = &r };
		pthread_t t;

		T_EQ(pthread_create(&t, NULL, use_vcpu, &u), 0);
		for (i = 0; i < 50; i++)
			T_EQ(rmio_client_reset(r.client), 0);
		usleep(20000);
		__atomic_store_n(&u.stop, 1, __ATOMIC_RELAXED);
		pthread_join(t, NULL);
		T_EQ(u.bad, 0);
		T_EQ(load(&r, EDU_ID), 0x010000ed);
	}
	rig_exit(&r);
}

static const struct ktap_test tests[] = {
	{ "killed and started, with rings", killed_rings },
	{ "killed and started, socket only", killed_socket },
	{ "after a reset", after_a_reset },
	{ "another kind of device", another_kind },
	{ "nothing kept", not_kept },
	{ "stuck", stuck },
	{ "by path", by_path },
	{ "taken away in between", taken_away },
	{ "in use", in_use },
	{ "reset in use", reset_in_use },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
