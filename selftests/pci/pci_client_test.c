// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A client on the bus, as a VMM of somebody else's would have it: found, placed and used by its
 * configuration space, with rings and without, taken away while it is used, and put back.
 */
#include "client_rig.h"

#include <linux/kvm.h>
#include <rmio/pci.h>

#define BAR	0xe0000000u
#define LEN	0x100000u

static struct rmio_pci *pci;
static int irqfds[32];

static int route_new(void *arg)
{
	return -ENOSPC;
}

static int route_set(void *arg, unsigned int gsi, uint64_t addr, uint32_t data)
{
	return 0;
}

static void route_free(void *arg, unsigned int gsi)
{
}

static int assign(void *arg, int fd, int resample, unsigned int gsi)
{
	irqfds[gsi] = fd;
	return 0;
}

static int deassign(void *arg, int fd, unsigned int gsi)
{
	irqfds[gsi] = -1;
	return 0;
}

static const struct rmio_pci_irq_ops irq_ops = {
	.route_new = route_new, .route_set = route_set, .route_free = route_free,
	.assign = assign, .deassign = deassign,
};

static bool bus_new(void)
{
	struct rmio_pci_opts o = {
		.sz = sizeof(o), .irqs = &irq_ops, .mem = { BAR, 0xfebfffff },
		.first_gsi = 16, .nr_gsis = 8,
	};

	memset(irqfds, 0xff, sizeof(irqfds));
	return T_EQ(rmio_pci_new(&o, &pci), 0);
}

/* edu without a place, at the other end of a socket. */
static bool device(struct rig *r, bool rings)
{
	struct rmio_client_opts opts = { .sz = sizeof(opts) };
	int s[2];

	memset(r, 0, sizeof(*r));
	if (!dev_thread_new(&r->d, RMIO_WAIT_SLEEP))
		return false;
	r->dev = dev_thread_add(&r->d, "edu");
	if (!r->dev || !T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0) ||
	    !T_EQ(rmio_dev_serve(r->dev, s[1]), 0) || !dev_thread_start(&r->d))
		return false;
	if (rings && (!T_EQ(rmio_vm_new(NULL, &r->vm), 0) ||
		      !T_EQ(rmio_vcpu_new(r->vm, 0, NULL, &r->vcpu), 0)))
		return false;
	opts.vm = r->vm;
	return T_EQ(rmio_client_new(s[0], &opts, &r->client), 0);
}

static void config(uint32_t slot, uint32_t reg, uint32_t len, uint32_t v)
{
	rmio_pci_config(pci, slot, reg, true, &v, len);
}

/* One access as KVM would report it; all ones when it is nobody's. */
static uint64_t exit_of(struct rig *r, uint64_t addr, uint32_t len, bool store, uint64_t v)
{
	struct kvm_run run = { .exit_reason = KVM_EXIT_MMIO };
	int rc;

	run.mmio.phys_addr = addr;
	run.mmio.len = len;
	run.mmio.is_write = store;
	memset(run.mmio.data, 0xff, sizeof(run.mmio.data));
	if (store)
		memcpy(run.mmio.data, &v, len);
	rc = r->vcpu ? rmio_vcpu_exit(r->vcpu, &run) : -EOPNOTSUPP;
	if (rc == -EOPNOTSUPP)
		rc = rmio_client_exit(r->client, &run);
	T_OK(!rc || rc == -EOPNOTSUPP);
	v = 0;
	memcpy(&v, run.mmio.data, len);
	return v;
}

static void used(bool rings)
{
	struct rmio_pci_dev_opts o = { .sz = sizeof(o), .name = "edu", .slot = 3 };
	uint32_t slot = 0, v = 0;
	struct rig r;
	int i;

	T_REQUIRE(bus_new());
	T_REQUIRE(device(&r, rings));
	for (i = 0; i < 2; i++) {
		T_EQ(rmio_pci_add(pci, r.client, &o, &slot), 0);
		T_EQ(slot, 3);
		T_EQ(rmio_pci_add(pci, r.client, &o, &slot), -EBUSY);
		rmio_pci_config(pci, 3, PCI_VENDOR_ID, false, &v, 4);
		T_EQ(v, 0x11e81234);
		config(3, PCI_BASE_ADDRESS_0, 4, ~0u);
		rmio_pci_config(pci, 3, PCI_BASE_ADDRESS_0, false, &v, 4);
		T_EQ(v, ~(LEN - 1));
		config(3, PCI_BASE_ADDRESS_0, 4, BAR);
		T_EQ(exit_of(&r, BAR, 4, false, 0), 0xffffffff);
		config(3, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		T_EQ(exit_of(&r, BAR, 4, false, 0), 0x010000ed);
		exit_of(&r, BAR + 4, 4, true, 0x1234);
		T_EQ(exit_of(&r, BAR + 4, 4, false, 0), 0xffffedcb);
		/* over the edge: edu takes no part of four bytes */
		T_EQ(exit_of(&r, BAR + LEN - 2, 4, false, 0), 0xffffffff);
		T_EQ(exit_of(&r, BAR + LEN, 4, false, 0), 0xffffffff);
		/* the pin: raised through to the irqfd */
		T_GE(irqfds[16 + 3], 0);
		exit_of(&r, BAR + 0x60, 4, true, 1);
		T_EQ(rig_signals(irqfds[16 + 3], 5000), 1);
		/* moved */
		config(3, PCI_BASE_ADDRESS_0, 4, BAR + 4 * LEN);
		T_EQ(exit_of(&r, BAR, 4, false, 0), 0xffffffff);
		T_EQ(exit_of(&r, BAR + 4 * LEN, 4, false, 0), 0x010000ed);
		rmio_pci_remove(pci, 3);
		T_EQ(irqfds[16 + 3], -1);
		T_EQ(exit_of(&r, BAR + 4 * LEN, 4, false, 0), 0xffffffff);
	}
	rmio_pci_free(pci);
	rig_free(&r);
}

static void by_rings(void)
{
	used(true);
}

static void by_socket(void)
{
	used(false);
}

static void *loads(void *arg)
{
	struct rig *r = arg;
	int i;

	for (i = 0; i < 2000 && !ktap_failed(); i++) {
		uint64_t v = exit_of(r, BAR, 4, false, 0);

		T_OK(v == 0x010000ed || v == 0xffffffff);
	}
	return NULL;
}

/* A vCPU goes on loading while its device comes and goes. */
static void meanwhile(bool rings)
{
	struct rmio_pci_dev_opts o = { .sz = sizeof(o) };
	pthread_t t;
	struct rig r;
	int i;

	T_REQUIRE(bus_new());
	T_REQUIRE(device(&r, rings));
	T_EQ(pthread_create(&t, NULL, loads, &r), 0);
	for (i = 0; i < 30; i++) {
		uint32_t slot = 0;

		T_EQ(rmio_pci_add(pci, r.client, &o, &slot), 0);
		config(slot, PCI_BASE_ADDRESS_0, 4, BAR);
		config(slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		usleep(500);
		rmio_pci_remove(pci, slot);
	}
	pthread_join(t, NULL);
	rmio_pci_free(pci);
	rig_free(&r);
}

static void meanwhile_rings(void)
{
	meanwhile(true);
}

static void meanwhile_socket(void)
{
	meanwhile(false);
}

/* Ranges of a client without rings. */
static void ranges(void)
{
	struct rmio_pa_range g = { .addr = BAR, .len = LEN }, bad = g;
	struct kvm_run run = { .exit_reason = KVM_EXIT_HLT };
	struct rig r;

	T_REQUIRE(device(&r, false));
	bad.bus = 7;
	T_EQ(rmio_client_pa_range(r.client, &bad), -EINVAL);
	bad = g;
	bad.len = 2 * LEN;
	T_EQ(rmio_client_pa_range(r.client, &bad), -EFBIG);
	bad = g;
	bad.id = 1;
	T_EQ(rmio_client_pa_range(r.client, &bad), -ENXIO);
	bad.id = 200;
	T_EQ(rmio_client_pa_range(r.client, &bad), -ENXIO);
	bad = g;
	bad.addr = UINT64_MAX - 4;
	T_EQ(rmio_client_pa_range(r.client, &bad), -EOVERFLOW);
	bad = g;
	bad.bus = RMIO_BUS_IO;
	bad.addr = 0xfff0;
	T_EQ(rmio_client_pa_range(r.client, &bad), -EOVERFLOW);
	T_EQ(rmio_client_exit(r.client, &run), -EOPNOTSUPP);
	T_EQ(rmio_client_pa_range(r.client, &g), 0);
	T_EQ(exit_of(&r, BAR, 4, false, 0), 0x010000ed);
	g.len = 0;
	T_EQ(rmio_client_pa_range(r.client, &g), 0);
	T_EQ(rmio_client_pa_range(r.client, &g), 0);
	T_EQ(exit_of(&r, BAR, 4, false, 0), 0xffffffff);
	rig_free(&r);
}

static const struct ktap_test tests[] = {
	{ "with rings", by_rings },
	{ "without rings", by_socket },
	{ "comes and goes meanwhile, with rings", meanwhile_rings },
	{ "comes and goes meanwhile, without rings", meanwhile_socket },
	{ "ranges without rings", ranges },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
