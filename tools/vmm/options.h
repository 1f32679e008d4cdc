/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* The command line of `rmio vmm`, checked. */
#ifndef VMM_OPTIONS_H
#define VMM_OPTIONS_H

#include "kvm.h"
#include "sockets.h"

#include <rmio/vmm.h>
#include <rmio/wait.h>

#define VMM_DEVICES_MAX		31u	/* slots of the bus but for the host bridge */

#define VMM_PLACES_MAX		6u	/* ranges of a device that is not PCI */
#define VMM_ARGS_MAX		16u	/* arguments of a program to start */

/* One --device or --spawn; the strings are the command line's. */
struct vmm_device_opts {
	char *socket;		/* path, or NULL */
	char *spawn;		/* what `rmio dev` is given, or NULL */
	char *exec;		/* a program of the user's, or NULL */
	char *args[VMM_ARGS_MAX];	/* its arguments */
	unsigned int nr_args;
	struct {
		bool io;
		uint64_t addr;
	} places[VMM_PLACES_MAX];	/* where ranges lie, in their order */
	unsigned int nr_places;
	unsigned int irq;	/* input of the I/O APIC; 0: none */
	char *qemu;		/* what -device of a QEMU is given, or NULL */
	unsigned int retry_ms;	/* how long a socket may take to appear */
	bool no_rings;		/* every access over the socket */
};

struct vmm_options {
	struct vmm_vm_opts vm;
	const char *guest;
	enum rmio_backend backend;
	const char *broker;	/* socket of `rmio bpfd`, or NULL */
	struct socket_access access;	/* of it */
	const char *stats_socket;	/* where `rmio stat` connects, or NULL */
	const char *qemu;	/* the program, for devices of QEMU's */
	const char *json;	/* where statistics go; "-": stdout */
	struct rmio_wait_opts wait;
	const char *wait_name, *placement_name;	/* NULL: not given */
	uint64_t timeout_ns;
	unsigned int reply_timeout_ms;	/* 0: the library's */
	unsigned int deadline_ms;	/* 0: none */
	unsigned int kill_after_ms;	/* 0: never */
	bool allow_kill;
	struct vmm_device_opts devices[VMM_DEVICES_MAX];
	unsigned int nr_devices;
};

/* 0: run; 1: --help has been printed; -EINVAL: err says what is wrong. */
int vmm_options_parse(struct vmm_options *o, int argc, char **argv, struct vmm_err *err);

#endif
