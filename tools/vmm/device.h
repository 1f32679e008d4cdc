/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A device in another process, as `rmio vmm` holds it: the library's client, and the process if
 * it was spawned.
 */
#ifndef VMM_DEVICE_H
#define VMM_DEVICE_H

#include "options.h"

#include <rmio/vmm.h>
#include <sys/types.h>

struct vmm_place {
	bool io;
	uint64_t addr;
	uint64_t len;		/* 0: none */
};

struct vmm_device {
	char name[64];			/* its own, or else of its socket */
	char title[80];			/* for messages: slot and name, or just that */
	const char *socket;		/* where it is served; NULL: by a process of ours */
	unsigned int slot;		/* of the PCI bus; 0: not on it */
	struct rmio_client *client;
	struct rmio_master *master;	/* NULL: the device does not offer rmio */
	bool platform;			/* not PCI: where its ranges are the options say */
	unsigned int regions, irqs;
	bool can_reset;
	bool decodes;			/* it has to be told where its BARs are */
	_Atomic bool complained;	/* that accesses over the socket fail */
	pid_t pid;			/* 0: not ours, or reaped */
	int pidfd;			/* -1: not ours */

	/* Of a platform device (platform.c): */
	struct vmm_place places[VMM_PLACES_MAX];
	int line_fd, unmask_fd;		/* -1: none */
	unsigned int line;		/* 0: not connected */
};

/*
 * Connects to what the options name, or starts it.  vm: where its ranges go.
 * dev->name is set first; messages use it.
 */
int vmm_device_init(struct vmm_device *dev, const struct vmm_device_opts *opts,
		    const struct vmm_options *all, struct rmio_vm *vm,
		    struct vmm_err *err);
/* Closes the connection; a spawned process then ends, or is made to. */
void vmm_device_exit(struct vmm_device *dev);

/* -- spawn.c --------------------------------------------------------------- */

/*
 * Starts `rmio dev` or QEMU for dev with one end of a socket pair; returns the
 * other end, or -errno.
 */
int vmm_spawn(struct vmm_device *dev, const struct vmm_device_opts *opts,
	      const struct vmm_options *o, struct vmm_err *err);
/* Kills a spawned device by SIGKILL; any thread. */
int vmm_spawn_kill(struct vmm_device *dev);
/* The process has ended, as its pidfd says: reaps it and says how it ended. */
void vmm_spawn_reap(struct vmm_device *dev, char *how, size_t len);

#endif
