/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A device of devices/ in a loop thread and a vfio-user client of it, with rings
 * or over the socket only; BAR accesses by either way.  Tests only.
 */
#ifndef RMIO_SELFTESTS_CLIENT_RIG_H
#define RMIO_SELFTESTS_CLIENT_RIG_H

#include "dev_thread.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <sys/eventfd.h>

#define RIG_BAR0	0xe0000000ull

struct rig {
	struct dev_thread d;
	struct rmio_dev *dev;
	struct rmio_vm *vm;		/* NULL: socket only */
	struct rmio_vcpu *vcpu;
	struct rmio_client *client;
};

/* Connect @fd; BAR 0 of @len bytes is placed when there are rings. */
__attribute__((unused))
static bool rig_connect(struct rig *r, int fd, uint64_t len)
{
	struct rmio_client_opts opts = { .sz = sizeof(opts), .vm = r->vm };
	struct rmio_pa_range range = { .addr = RIG_BAR0, .len = len, .bus = RMIO_BUS_MEM };

	if (!T_EQ(rmio_client_new(fd, &opts, &r->client), 0))
		return false;
	if (!r->vm)
		return true;
	return T_OK(rmio_client_master(r->client)) &&
	       T_EQ(rmio_master_pa_range(rmio_client_master(r->client), &range), 0);
}

__attribute__((unused))
static bool rig_new(struct rig *r, const char *spec, uint64_t bar_len, bool rings)
{
	int s[2];

	memset(r, 0, sizeof(*r));
	if (!dev_thread_new(&r->d, RMIO_WAIT_SLEEP))
		return false;
	r->dev = dev_thread_add(&r->d, spec);
	if (!r->dev || !T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0) ||
	    !T_EQ(rmio_dev_serve(r->dev, s[1]), 0) || !dev_thread_start(&r->d))
		return false;
	if (rings && (!T_EQ(rmio_vm_new(NULL, &r->vm), 0) ||
		      !T_EQ(rmio_vcpu_new(r->vm, 0, NULL, &r->vcpu), 0)))
		return false;
	return rig_connect(r, s[0], bar_len);
}

__attribute__((unused))
static void rig_free_vm(struct rig *r)
{
	if (!r->vm)
		return;
	rmio_vcpu_free(r->vcpu);
	rmio_vm_free(r->vm);
}

/* The loop ends because its only peer leaves. */
__attribute__((unused))
static void rig_free(struct rig *r)
{
	rmio_client_free(r->client);
	rig_free_vm(r);
	dev_thread_join(&r->d);
	device_free(r->dev);
	rmio_loop_free(r->d.loop);
}

__attribute__((unused))
static uint64_t rig_load(struct rig *r, uint64_t off, uint32_t len)
{
	uint64_t v = 0;

	if (r->vm)
		return vcpu_load(r->vcpu, RIG_BAR0 + off, len);
	T_EQ(rmio_client_region_read(r->client, 0, off, &v, len), 0);
	return v;
}

__attribute__((unused))
static void rig_store(struct rig *r, uint64_t off, uint32_t len, uint64_t v)
{
	if (r->vm)
		vcpu_store(r->vcpu, RIG_BAR0 + off, len, v);
	else
		T_EQ(rmio_client_region_write(r->client, 0, off, &v, len), 0);
}

/* PCI configuration space. */
__attribute__((unused))
static uint32_t rig_config(struct rig *r, uint32_t off, uint32_t len)
{
	uint32_t v = 0;

	T_EQ(rmio_client_region_read(r->client, VFIO_PCI_CONFIG_REGION_INDEX, off, &v, len), 0);
	return v;
}

__attribute__((unused))
static void rig_config_set(struct rig *r, uint32_t off, uint32_t len, uint32_t v)
{
	T_EQ(rmio_client_region_write(r->client, VFIO_PCI_CONFIG_REGION_INDEX, off, &v, len), 0);
}

/* The number of signals of an eventfd, waiting up to @ms for the first; 0 none. */
__attribute__((unused))
static uint64_t rig_signals(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n = 0;

	if (poll(&p, 1, ms) == 1 && read(fd, &n, sizeof(n)) != sizeof(n))
		return 0;
	return n;
}

#endif
