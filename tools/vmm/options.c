// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/* Reads the command line of `rmio vmm`. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void help(void)
{
	printf("usage: rmio vmm --guest FILE [OPTION...]\n"
	       "\n"
	       "Runs a flat 64-bit guest on KVM, with PCI devices that live in other processes.\n"
	       "\n"
	       "  --guest FILE         raw binary, loaded and entered at 0x100000 on every vCPU\n"
	       "  --device socket=PATH[,retry=MS][,rings=on|off]\n"
	       "                       a device that listens on a vfio-user socket; retry: how\n"
	       "                       long it may take to appear there; rings=off: make every\n"
	       "                       access over the socket, as with a device that offers no\n"
	       "                       rings\n"
	       "  --spawn DEV[,OPT=VAL...]\n"
	       "                       a device in a process started for it by `rmio dev`\n"
	       "  --spawn PATH[,ARG...], --device exec=PATH[,arg=ARG...]\n"
	       "                       a device in a program of yours, with a / in PATH; it gets\n"
	       "                       --fd=3 after its arguments, a connected vfio-user socket\n"
	       "  --device ...[,port=ADDRESS|,mmio=ADDRESS]...[,irq=N]\n"
	       "                       of a device that is not PCI: where its ranges lie, in their\n"
	       "                       order, and its interrupt line, an input of the I/O APIC\n"
	       "  --device qemu=DRIVER[,PROP=VAL...]\n"
	       "                       a PCI device of QEMU's, as its -device has it, in an\n"
	       "                       unmodified QEMU started for it\n"
	       "                       (PCI: in slots 1, 2, ... in that order, %u devices at most)\n"
	       "  --qemu PROGRAM       that QEMU; default qemu-system-x86_64\n"
	       "  --vcpus N            1 to %u, default 1\n"
	       "  --memory SIZE        bytes, or with K, M or G; default 64M\n"
	       "  --guest-arg N        a number for the guest, in RDX; default 0\n"
	       "  --backend WHICH      auto (default), kvm, bpf or exit: whether KVM answers loads\n"
	       "                       and takes stores in the kernel, by a device of its own or\n"
	       "                       a BPF program; auto: the first of them that can be had\n"
	       "  --broker PATH        the socket of `rmio bpfd`, which loads the BPF program for a\n"
	       "                       VMM without privileges\n"
	       "  --wait HOW           adaptive (default), poll or sleep: how a vCPU waits for\n"
	       "                       a device, and a spawned device for requests\n"
	       "  --placement WHERE    any (default) or same-cpu: where the device's thread runs\n"
	       "  --timeout MS         how long a vCPU waits before it gives a device up;\n"
	       "                       default 5000; none: for ever\n"
	       "  --reply-timeout MS   how long to wait for each reply on a device's socket, of one\n"
	       "                       that serves another VMM too; default 5000\n"
	       "  --deadline MS        end the VM after that time with status 124\n"
	       "  --allow-kill         a guest may kill the spawned device in a slot, or a QEMU,\n"
	       "                       by writing the slot's number to port 0xf5\n"
	       "  --kill-after MS      kill the first spawned device by SIGKILL after that time\n"
	       "  --stats-socket PATH  tell `rmio stat` what the VM is doing, on this socket\n"
	       "  --socket-mode MODE, --socket-group GROUP\n"
	       "                       of that socket's file; of an abstract name (@NAME), who may\n"
	       "                       connect\n"
	       "  --json FILE          write statistics when the VM has ended; -: to stdout\n"
	       "\n"
	       "The guest's console (port 0xe9) is stdout.  The exit status is what the guest\n"
	       "wrote to port 0xf4 (its low 8 bits, or 255 if these are 0 and others are not),\n"
	       "124 at the deadline, 125 if the VM could not be started or go on, 128 plus the\n"
	       "signal's number when interrupted.\n", VMM_DEVICES_MAX, VMM_VCPUS_MAX);
}

/* A number with nothing after it but, if allowed, a unit. */
static bool number(const char *s, bool units, uint64_t *out)
{
	unsigned long long v;
	unsigned int shift = 0;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 0);
	if (errno)
		return false;
	if (units && *end && !end[1]) {
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
		end += shift ? 1 : 0;
	}
	if (*end || (shift && v >> (64 - shift)))
		return false;
	*out = v << shift;
	return true;
}

static int milliseconds(const char *name, const char *s, unsigned int *ms, struct vmm_err *err)
{
	uint64_t v;

	if (!number(s, false, &v) || !v || v > 86400000)
		return vmm_fail(err, -EINVAL, "--%s %s: milliseconds from 1 to a day's", name, s);
	*ms = (unsigned int)v;
	return 0;
}

/* A program of the user's: PATH[,ARG...]. */
static int program(struct vmm_device_opts *d, char *arg, struct vmm_err *err)
{
	d->exec = strsep(&arg, ",");
	while (arg) {
		if (d->nr_args == VMM_ARGS_MAX)
			return vmm_fail(err, -EINVAL, "--spawn %s: more than %u arguments", d->exec,
					VMM_ARGS_MAX);
		d->args[d->nr_args++] = strsep(&arg, ",");
	}
	return 0;
}

static int place(struct vmm_device_opts *d, bool io, const char *value, struct vmm_err *err)
{
	const char *key = io ? "port" : "mmio";
	uint64_t addr;

	if (!value || !number(value, false, &addr) || (io && addr > 0xffff))
		return vmm_fail(err, -EINVAL, "--device %s=%s: an address%s", key,
				value ? value : "", io ? " to 0xffff" : "");
	if (d->nr_places == VMM_PLACES_MAX)
		return vmm_fail(err, -EINVAL, "--device: more than %u ranges", VMM_PLACES_MAX);
	d->places[d->nr_places].io = io;
	d->places[d->nr_places++].addr = addr;
	return 0;
}

/* 2 is the other PIC's, 0 the timer's, from 16 on are pins of PCI. */
static int line(struct vmm_device_opts *d, const char *value, struct vmm_err *err)
{
	uint64_t v;

	if (!value || !number(value, false, &v) || !v || v == 2 || v > 15)
		return vmm_fail(err, -EINVAL, "--device irq=%s: a line from 1 to 15, but 2",
				value ? value : "");
	d->irq = (unsigned int)v;
	return 0;
}

static int device_key(struct vmm_device_opts *d, char **arg, struct vmm_err *err)
{
	enum { SOCKET, RETRY, RINGS, EXEC, ARG, PORT, MMIO, IRQ };
	char *const keys[] = {
		[SOCKET] = "socket", [RETRY] = "retry", [RINGS] = "rings", [EXEC] = "exec",
		[ARG] = "arg", [PORT] = "port", [MMIO] = "mmio", [IRQ] = "irq", NULL
	};
	char *this = *arg, *value;

	switch (getsubopt(arg, keys, &value)) {
	case SOCKET:
		if (!value || !*value)
			return vmm_fail(err, -EINVAL, "--device socket=PATH: no path");
		d->socket = value;
		return 0;
	case RETRY:
		return milliseconds("device retry", value ? value : "", &d->retry_ms, err);
	case RINGS:
		if (!value || (strcmp(value, "on") && strcmp(value, "off")))
			return vmm_fail(err, -EINVAL, "--device rings=%s: on or off",
					value ? value : "");
		d->no_rings = !strcmp(value, "off");
		return 0;
	case EXEC:
		if (!value || !strchr(value, '/'))
			return vmm_fail(err, -EINVAL, "--device exec=%s: a path, with a /",
					value ? value : "");
		d->exec = value;
		return 0;
	case ARG:
		if (!value || d->nr_args == VMM_ARGS_MAX)
			return vmm_fail(err, -EINVAL, "--device arg=: empty, or more than %u",
					VMM_ARGS_MAX);
		d->args[d->nr_args++] = value;
		return 0;
	case PORT:
		return place(d, true, value, err);
	case MMIO:
		return place(d, false, value, err);
	case IRQ:
		return line(d, value, err);
	default:
		return vmm_fail(err, -EINVAL, "--device: what is '%s'? Known: socket, retry, exec, "
				"arg, rings, port, mmio, irq; qemu", this);
	}
}

static int device(struct vmm_options *o, char *arg, bool spawn, struct vmm_err *err)
{
	struct vmm_device_opts *d;
	int rc;

	if (o->nr_devices == VMM_DEVICES_MAX)
		return vmm_fail(err, -EINVAL, "more than %u devices", VMM_DEVICES_MAX);
	d = &o->devices[o->nr_devices++];
	if (spawn) {
		if (!*arg || *arg == '-' || *arg == ',')
			return vmm_fail(err, -EINVAL,
					"--spawn %s: a device's name, as `rmio dev` knows it, "
					"or the path of a program", arg);
		if (memchr(arg, '/', strcspn(arg, ",")))
			return program(d, arg, err);
		d->spawn = arg;
		return 0;
	}
	if (!strncmp(arg, "qemu=", 5)) {
		/* The commas are QEMU's. */
		arg += 5;
		if (!*arg || *arg == '-' || *arg == ',')
			return vmm_fail(err, -EINVAL, "--device qemu=%s: a device's name, as %s",
					arg, "`qemu-system-x86_64 -device help` knows it");
		d->qemu = arg;
		return 0;
	}
	while (*arg) {
		rc = device_key(d, &arg, err);
		if (rc)
			return rc;
	}
	if (d->socket && d->exec)
		return vmm_fail(err, -EINVAL, "--device: socket=PATH or exec=PATH, not both");
	if (!d->socket && !d->exec)
		return vmm_fail(err, -EINVAL,
				"--device: socket=PATH is missing, or exec=PATH, or qemu=DRIVER");
	if (d->nr_args && !d->exec)
		return vmm_fail(err, -EINVAL, "--device arg=: for exec=");
	if (d->irq && !d->nr_places)
		return vmm_fail(err, -EINVAL, "--device irq=%u: for devices with port= or mmio=; "
				"a PCI device has its pin", d->irq);
	return 0;
}

static int wait_policy(struct vmm_options *o, const char *s, struct vmm_err *err)
{
	if (!strcmp(s, "adaptive"))
		o->wait.policy = RMIO_WAIT_ADAPTIVE;
	else if (!strcmp(s, "poll"))
		o->wait.policy = RMIO_WAIT_POLL;
	else if (!strcmp(s, "sleep"))
		o->wait.policy = RMIO_WAIT_SLEEP;
	else
		return vmm_fail(err, -EINVAL, "--wait %s: adaptive, poll or sleep", s);
	o->wait_name = s;
	return 0;
}

static int placement(struct vmm_options *o, const char *s, struct vmm_err *err)
{
	if (!strcmp(s, "any"))
		o->wait.placement = RMIO_PLACE_ANY;
	else if (!strcmp(s, "same-cpu"))
		o->wait.placement = RMIO_PLACE_SAME_CPU;
	else
		return vmm_fail(err, -EINVAL, "--placement %s: any or same-cpu", s);
	o->placement_name = s;
	return 0;
}

static int backend(struct vmm_options *o, const char *s, struct vmm_err *err)
{
	if (!strcmp(s, "auto"))
		o->backend = RMIO_BACKEND_AUTO;
	else if (!strcmp(s, "kvm"))
		o->backend = RMIO_BACKEND_KVM;
	else if (!strcmp(s, "bpf"))
		o->backend = RMIO_BACKEND_BPF;
	else if (!strcmp(s, "exit"))
		o->backend = RMIO_BACKEND_EXIT;
	else
		return vmm_fail(err, -EINVAL, "--backend %s: auto, kvm, bpf or exit", s);
	return 0;
}

static int one_option(struct vmm_options *o, int c, char *arg, struct vmm_err *err)
{
	unsigned int ms = 0;
	const char *wrong;
	uint64_t v;
	int rc;

	switch (c) {
	case 'g':
		o->guest = arg;
		return 0;
	case 'd':
		return device(o, arg, false, err);
	case 's':
		return device(o, arg, true, err);
	case 'v':
		if (!number(arg, false, &v) || !v || v > VMM_VCPUS_MAX)
			return vmm_fail(err, -EINVAL, "--vcpus %s: a number from 1 to %u", arg,
					VMM_VCPUS_MAX);
		o->vm.vcpus = (unsigned int)v;
		return 0;
	case 'm':
		if (!number(arg, true, &v) || !v)
			return vmm_fail(err, -EINVAL,
					"--memory %s: bytes, or a number and K, M or G", arg);
		o->vm.memory = v;
		return 0;
	case 'a':
		if (!number(arg, false, &v))
			return vmm_fail(err, -EINVAL, "--guest-arg %s: a number of 64 bits", arg);
		o->vm.guest_arg = v;
		return 0;
	case 'b':
		return backend(o, arg, err);
	case 'B':
		o->broker = arg;
		return 0;
	case 'w':
		return wait_policy(o, arg, err);
	case 'p':
		return placement(o, arg, err);
	case 't':
		if (!strcmp(arg, "none")) {
			o->timeout_ns = RMIO_TIMEOUT_NONE;
			return 0;
		}
		rc = milliseconds("timeout", arg, &ms, err);
		if (!rc)
			o->timeout_ns = ms * 1000000ull;
		return rc;
	case 'r':
		return milliseconds("reply-timeout", arg, &o->reply_timeout_ms, err);
	case 'D':
		return milliseconds("deadline", arg, &o->deadline_ms, err);
	case 'K':
		return milliseconds("kill-after", arg, &o->kill_after_ms, err);
	case 'k':
		o->allow_kill = true;
		return 0;
	case 'q':
		o->qemu = arg;
		return 0;
	case 'S':
		if (!*arg)
			return vmm_fail(err, -EINVAL, "--stats-socket PATH: no path");
		o->stats_socket = arg;
		return 0;
	case 'M':
		wrong = socket_access_mode(&o->access, arg);
		return wrong ? vmm_fail(err, -EINVAL, "--socket-mode: %s '%s'", wrong, arg) : 0;
	case 'G':
		wrong = socket_access_group(&o->access, arg);
		return wrong ? vmm_fail(err, -EINVAL, "--socket-group: %s '%s'", wrong, arg) : 0;
	case 'j':
		o->json = arg;
		return 0;
	default:
		return vmm_fail(err, -EINVAL, "see rmio vmm --help");
	}
}

/* A device process serves one VMM, on one connection. */
static const char *socket_twice(const struct vmm_options *o)
{
	for (unsigned int i = 1; i < o->nr_devices; i++) {
		for (unsigned int k = 0; o->devices[i].socket && k < i; k++) {
			if (o->devices[k].socket &&
			    !strcmp(o->devices[i].socket, o->devices[k].socket))
				return o->devices[i].socket;
		}
	}
	return NULL;
}

static bool any_spawned(const struct vmm_options *o)
{
	for (unsigned int i = 0; i < o->nr_devices; i++) {
		if (o->devices[i].spawn || o->devices[i].exec || o->devices[i].qemu)
			return true;
	}
	return false;
}

int vmm_options_parse(struct vmm_options *o, int argc, char **argv, struct vmm_err *err)
{
	static const struct option options[] = {
		{ "guest", required_argument, NULL, 'g' },
		{ "device", required_argument, NULL, 'd' },
		{ "spawn", required_argument, NULL, 's' },
		{ "vcpus", required_argument, NULL, 'v' },
		{ "memory", required_argument, NULL, 'm' },
		{ "guest-arg", required_argument, NULL, 'a' },
		{ "backend", required_argument, NULL, 'b' },
		{ "broker", required_argument, NULL, 'B' },
		{ "wait", required_argument, NULL, 'w' },
		{ "placement", required_argument, NULL, 'p' },
		{ "timeout", required_argument, NULL, 't' },
		{ "reply-timeout", required_argument, NULL, 'r' },
		{ "deadline", required_argument, NULL, 'D' },
		{ "kill-after", required_argument, NULL, 'K' },
		{ "allow-kill", no_argument, NULL, 'k' },
		{ "qemu", required_argument, NULL, 'q' },
		{ "stats-socket", required_argument, NULL, 'S' },
		{ "socket-mode", required_argument, NULL, 'M' },
		{ "socket-group", required_argument, NULL, 'G' },
		{ "json", required_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c, rc;

	memset(o, 0, sizeof(*o));
	o->vm.sz = sizeof(o->vm);
	o->vm.vcpus = 1;
	o->vm.memory = VMM_MEMORY_DEFAULT;
	o->qemu = "qemu-system-x86_64";
	o->wait.sz = sizeof(o->wait);
	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			help();
			return 1;
		}
		rc = one_option(o, c, optarg, err);
		if (rc)
			return rc;
	}
	if (optind < argc)
		return vmm_fail(err, -EINVAL, "what is '%s'? See rmio vmm --help", argv[optind]);
	if (!o->guest)
		return vmm_fail(err, -EINVAL, "--guest FILE is missing; see rmio vmm --help");
	if (socket_twice(o))
		return vmm_fail(err, -EINVAL,
				"--device socket=%s is given twice; a device has one slot",
				socket_twice(o));
	if ((o->allow_kill || o->kill_after_ms) && !any_spawned(o))
		return vmm_fail(err, -EINVAL,
				"--allow-kill and --kill-after are for devices of --spawn "
				"and of qemu=");
	return 0;
}
