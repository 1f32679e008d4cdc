// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio vmm`: puts machine, bus and devices together, runs the guest, and
 * watches over it: the end, signals, deadline, deaths of devices.
 *
 * All that rmio adds to the loop of a VMM is answer_exit() and answer_intr() below.
 */
#include "../cmd.h"
#include "backend.h"
#include "bus.h"
#include "device.h"
#include "log.h"
#include "machine.h"
#include "options.h"
#include "platform.h"
#include "sockets.h"
#include "start.h"
#include "stats.h"
#include "statsock.h"
#include "surroundings.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define STATUS_DEADLINE	124
#define STATUS_FAILED	125
#define PORT_KILL	0xf5

struct vmm {
	struct vmm_options o;
	struct vmm_vm *vm;
	struct vmm_machine machine;
	struct rmio_pci *pci;
	struct rmio_vm *rmio;
	struct rmio_vcpu *vcpus[VMM_VCPUS_MAX];
	struct vmm_device devices[VMM_DEVICES_MAX];
	unsigned int nr_devices;
	bool socket_only;	/* a device does not offer rmio */
	struct vmm_statsock *statsock;	/* NULL: none */
	int signal_fd, deadline_fd, kill_fd;
	pthread_mutex_t lock;	/* ending */
	bool ending;		/* devices are being closed: their ends are no news */
};

__attribute__((format(printf, 1, 2)))
static void say(const char *fmt, ...)
{
	char line[sizeof(((struct vmm_err *)0)->text) + 64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_line("rmio vmm", "", "%s", line);
}

/* -- what exits call ------------------------------------------------------- */

/* A device that knows nothing of rmio: each access is a message. */
static int over_socket(struct vmm *v, struct kvm_run *run)
{
	for (unsigned int i = 0; i < v->nr_devices; i++) {
		struct vmm_device *d = &v->devices[i];
		int rc = rmio_client_exit(d->client, run);

		if (rc == -EOPNOTSUPP)
			continue;
		if ((rc == -ECONNRESET || rc == -ETIMEDOUT || rc == -EPROTO) &&
		    !atomic_exchange(&d->complained, true))
			say("%s: the device does not answer: %s", d->title, strerror(-rc));
		return 0;
	}
	return -EOPNOTSUPP;
}

static int answer_exit(void *arg, struct vmm_vcpu *vcpu)
{
	struct vmm *v = arg;
	int rc = rmio_vcpu_exit(v->vcpus[vcpu->index], vcpu->run);

	if (rc == -EOPNOTSUPP && v->socket_only)
		rc = over_socket(v, vcpu->run);
	return rc;
}

static int answer_intr(void *arg, struct vmm_vcpu *vcpu)
{
	struct vmm *v = arg;

	return rmio_vcpu_intr(v->vcpus[vcpu->index], vcpu->run);
}

static void kill_slot(struct vmm *v, uint32_t slot)
{
	for (unsigned int i = 0; i < v->nr_devices; i++) {
		if (slot && v->devices[i].slot == slot)
			vmm_spawn_kill(&v->devices[i]);
	}
}

static bool device_port(void *arg, uint16_t port)
{
	struct vmm *v = arg;

	return vmm_platform_port(v->devices, v->nr_devices, port);
}

static void answer_port(void *arg, uint16_t port, bool out, uint8_t *data, unsigned int size)
{
	struct vmm *v = arg;
	uint32_t slot = 0;

	if (rmio_pci_port(v->pci, port, out, data, size))
		return;
	if (port == PORT_KILL && out && v->o.allow_kill) {
		memcpy(&slot, data, size);
		kill_slot(v, slot);
	}
}

static const struct vmm_machine_ops machine_ops = {
	.exit = answer_exit,
	.intr = answer_intr,
	.port = answer_port,
	.device_port = device_port,
};

/* The library's word that a device died; a vCPU's thread or its own. */
static void on_dead(void *arg, struct rmio_master *m, enum rmio_state why, const char *reason)
{
	struct vmm_device *d = rmio_master_arg(m);
	struct vmm *v = arg;
	bool ending;

	pthread_mutex_lock(&v->lock);
	ending = v->ending;
	pthread_mutex_unlock(&v->lock);
	if (!ending)
		say("%s: the device is dead (%s): %s; it reads as all ones from here on",
		    d->title, vmm_state_name(why), reason ? reason : "no reason given");
}

/* -- the watch -------------------------------------------------------------- */

static int timer(unsigned int ms)
{
	struct itimerspec t = {
		.it_value = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l },
	};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	if (fd >= 0)
		timerfd_settime(fd, 0, &t, NULL);
	return fd;
}

static void reap(struct vmm_device *d)
{
	char how[128];

	vmm_spawn_reap(d, how, sizeof(how));
	say("%s: %s", d->title, how);
}

/* Until the VM has ended; returns its exit status. */
static int watch(struct vmm *v)
{
	struct pollfd p[5 + VMM_DEVICES_MAX], *stats = &p[4 + v->nr_devices];
	struct signalfd_siginfo si;
	int status = STATUS_FAILED;

	p[0] = (struct pollfd){ .fd = v->machine.ended_fd, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = v->signal_fd, .events = POLLIN };
	p[2] = (struct pollfd){ .fd = v->deadline_fd, .events = POLLIN };
	p[3] = (struct pollfd){ .fd = v->kill_fd, .events = POLLIN };
	for (unsigned int i = 0; i < v->nr_devices; i++)
		p[4 + i] = (struct pollfd){ .fd = v->devices[i].pidfd, .events = POLLIN };
	*stats = (struct pollfd){
		.fd = v->statsock ? vmm_statsock_fd(v->statsock) : -1,
		.events = POLLIN,
	};
	while (!p[0].revents) {
		if (poll(p, 5 + v->nr_devices, -1) < 0) {
			if (errno == EINTR)
				continue;
			vmm_machine_fail(&v->machine, "poll: %s", strerror(errno));
			break;
		}
		if (p[1].revents && read(v->signal_fd, &si, sizeof(si)) == sizeof(si)) {
			vmm_machine_fail(&v->machine, "%s", strsignal((int)si.ssi_signo));
			status = 128 + (int)si.ssi_signo;
		}
		if (p[2].revents) {
			vmm_machine_fail(&v->machine, "the deadline of %u ms has passed",
					 v->o.deadline_ms);
			status = STATUS_DEADLINE;
			p[2].fd = -1;
		}
		if (p[3].revents) {
			for (unsigned int i = 0; i < v->nr_devices; i++) {
				if (!vmm_spawn_kill(&v->devices[i]))
					break;
			}
			p[3].fd = -1;
		}
		for (unsigned int i = 0; i < v->nr_devices; i++) {
			if (p[4 + i].revents) {
				reap(&v->devices[i]);
				p[4 + i].fd = -1;
			}
		}
		if (stats->revents)
			vmm_statsock_serve(v->statsock);
	}
	vmm_machine_join(&v->machine);
	if (v->machine.failed) {
		say("%s", v->machine.reason);
		return status;
	}
	status = (int)(v->machine.status & 0xff);
	return status || !v->machine.status ? status : 255;
}

/* -- set-up ------------------------------------------------------------------ */

static int make_rmio(struct vmm *v, struct vmm_err *err)
{
	struct rmio_vm_opts o = {
		.sz = sizeof(o),
		.max_vcpus = v->o.vm.vcpus,
		.dead = on_dead,
		.arg = v,
	};
	int rc = rmio_vm_new(&o, &v->rmio);

	if (rc)
		return vmm_fail(err, rc, "rmio: %s", strerror(-rc));
	rc = vmm_backend_pick(&v->o, v->vm, v->rmio, err);
	if (rc)
		return rc;
	for (unsigned int i = 0; i < v->o.vm.vcpus; i++) {
		rc = rmio_vcpu_new(v->rmio, i, &v->o.wait, &v->vcpus[i]);
		if (rc)
			return vmm_fail(err, rc, "rmio: vCPU %u: %s", i, strerror(-rc));
	}
	return 0;
}

static int add_pci(struct vmm *v, struct vmm_device *d, struct vmm_err *err)
{
	struct rmio_pci_dev_opts o = {
		.sz = sizeof(o),
		.name = d->name,
		.flags = d->decodes ? RMIO_PCI_DECODES : 0,
	};
	int rc = rmio_pci_add(v->pci, d->client, &o, &d->slot);

	return rc ? vmm_fail(err, rc, "%s", rmio_errstr(rc)) : 0;
}

static int make_devices(struct vmm *v, struct vmm_err *err)
{
	for (unsigned int i = 0; i < v->o.nr_devices; i++) {
		struct vmm_device *d = &v->devices[i];
		int rc = vmm_device_init(d, &v->o.devices[i], &v->o, v->rmio, err);

		if (rc)
			return rc;
		v->nr_devices++;
		v->socket_only |= !d->master;
		if (d->platform)
			rc = vmm_platform_add(d, &v->o.devices[i], v->devices, i, v->vm, err);
		else
			rc = add_pci(v, d, err);
		if (rc)
			return rc;
		if (d->slot)
			snprintf(d->title, sizeof(d->title), "slot %u (%s)", d->slot, d->name);
	}
	return 0;
}

/* A file that cannot be written is to be known before the guest runs, not after it. */
static int json_writable(const char *path, struct vmm_err *err)
{
	struct stat st;
	int fd;

	/* Who reads a pipe would take this for all there is. */
	if (!path || !strcmp(path, "-") || (!stat(path, &st) && S_ISFIFO(st.st_mode)))
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return vmm_fail(err, -errno, "--json %s: %s", path, strerror(errno));
	close(fd);
	return 0;
}

static char *stats_line(void *arg)
{
	struct vmm *v = arg;

	return vmm_stats_line(v->vm, v->rmio, v->devices, v->nr_devices);
}

static int set_up(struct vmm *v, struct vmm_err *err)
{
	const char *remark;
	sigset_t set;
	int rc;

	rc = json_writable(v->o.json, err);
	if (rc)
		return rc;

	/* Before there is another thread that these could be delivered to. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	v->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (v->signal_fd < 0)
		return vmm_fail(err, -errno, "signalfd: %s", strerror(errno));
	rc = vmm_vm_new(&v->o.vm, &v->vm, err);
	if (rc)
		return rc;
	rc = vmm_vm_load_file(v->vm, v->o.guest, err);
	if (rc)
		return rc;
	rc = vmm_bus_new(v->vm, &v->pci);
	if (rc)
		return vmm_fail(err, rc, "%s", rmio_errstr(rc));
	rc = make_rmio(v, err);
	if (!rc)
		rc = make_devices(v, err);
	if (rc || !v->o.stats_socket)
		return rc;
	rc = vmm_statsock_new(v->o.stats_socket, &v->o.access, stats_line, v, &v->statsock);
	if (!rc)
		return 0;
	remark = socket_remark(v->o.stats_socket, rc);
	if (!remark)
		remark = rc == -EADDRINUSE ? "; another VM has it" : "";
	return vmm_fail(err, rc, "--stats-socket %s: %s%s", v->o.stats_socket, strerror(-rc), remark);
}

/* From here on nobody reads them: one ends the process, whatever that waits for. */
static void unblock_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int run(struct vmm *v, struct vmm_err *err)
{
	int rc, status;

	v->deadline_fd = v->o.deadline_ms ? timer(v->o.deadline_ms) : -1;
	v->kill_fd = v->o.kill_after_ms ? timer(v->o.kill_after_ms) : -1;
	rc = vmm_machine_init(&v->machine, v->vm, STDOUT_FILENO);
	if (rc)
		return vmm_fail(err, rc, "eventfd: %s", strerror(-rc));
	v->machine.ops = &machine_ops;
	v->machine.arg = v;
	rc = vmm_machine_start(&v->machine, err);
	if (rc)
		vmm_machine_fail(&v->machine, "%s", err->text);
	status = watch(v);
	unblock_signals();
	if (v->o.json) {
		rc = vmm_stats_write(v->o.json, &v->machine, v->rmio, v->devices, v->nr_devices,
				     status);
		if (rc)
			say("--json %s: %s", v->o.json, strerror(-rc));
	}
	vmm_machine_exit(&v->machine);
	return status;
}

/* Of a VM that was not started. */
static int failed_status(const struct vmm *v, int rc)
{
	struct signalfd_siginfo si;

	if (rc == -EINTR && read(v->signal_fd, &si, sizeof(si)) == sizeof(si))
		return 128 + (int)si.ssi_signo;
	return STATUS_FAILED;
}

static void tear_down(struct vmm *v)
{
	vmm_statsock_free(v->statsock);
	/* What killed a device while they ran is said here, if it has not been. */
	for (unsigned int i = 0; i < VMM_VCPUS_MAX; i++) {
		if (v->vcpus[i])
			rmio_vcpu_free(v->vcpus[i]);
	}
	pthread_mutex_lock(&v->lock);
	v->ending = true;
	pthread_mutex_unlock(&v->lock);
	/*
	 * Off the bus while their clients are still there; without a message, for
	 * which a device that hangs would make us wait.
	 */
	rmio_pci_free(v->pci);
	for (unsigned int i = 0; i < v->nr_devices; i++)
		vmm_platform_remove(&v->devices[i], v->vm);
	for (unsigned int i = 0; i < v->nr_devices; i++)
		vmm_device_exit(&v->devices[i]);
	if (v->rmio)
		rmio_vm_free(v->rmio);
	vmm_vm_free(v->vm);
	close(v->signal_fd);
	close(v->deadline_fd);
	close(v->kill_fd);
	pthread_mutex_destroy(&v->lock);
}

int cmd_vmm(int argc, char **argv)
{
	struct vmm *v = calloc(1, sizeof(*v));
	struct vmm_err err = { "" };
	int rc, status;

	if (!v)
		return STATUS_FAILED;
	v->signal_fd = v->deadline_fd = v->kill_fd = -1;
	rc = vmm_options_parse(&v->o, argc, argv, &err);
	if (rc) {
		if (rc < 0)
			say("%s", err.text);
		free(v);
		log_end();
		return rc < 0 ? STATUS_FAILED : 0;
	}
	cmd_more_descriptors();
	surroundings_say("rmio vmm");
	pthread_mutex_init(&v->lock, NULL);
	rc = set_up(v, &err);
	status = rc ? -1 : run(v, &err);
	if (status < 0) {
		say("%s", err.text);
		status = failed_status(v, rc);
	}
	tear_down(v);
	free(v);
	log_end();
	return status;
}
