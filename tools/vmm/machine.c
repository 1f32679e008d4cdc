// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Threads of the vCPUs and the order in which an exit is offered around:
 * the VMM's own ports, then devices, then all ones.
 */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* How long a console that is not read may hold up a VM that has ended. */
#define LAST_WORDS_MS	1000

int vmm_machine_init(struct vmm_machine *m, struct vmm_vm *vm, int console_fd)
{
	memset(m, 0, sizeof(*m));
	m->vm = vm;
	m->console_fd = console_fd;
	if (fcntl(console_fd, F_GETFL) < 0 ||
	    (fcntl(console_fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
		m->console_fd = -1;
	m->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->ended_fd < 0)
		return -errno;
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->out_lock, NULL);
	return 0;
}

void vmm_machine_exit(struct vmm_machine *m)
{
	close(m->ended_fd);
	pthread_mutex_destroy(&m->lock);
	pthread_mutex_destroy(&m->out_lock);
}

/* -- console -------------------------------------------------------------- */

/*
 * Who reads the console may have stopped to do so.  A vCPU waits for that as long as
 * the VM runs: neither the guest nor the reader may hold up its end.
 */
static bool console_room(struct vmm_machine *m, int after_end_ms)
{
	struct pollfd p[2] = {
		{ .fd = m->console_fd, .events = POLLOUT },
		{ .fd = m->ended_fd, .events = POLLIN },
	};

	/* Nothing can be written there, which will show. */
	if (m->console_fd < 0)
		return true;
	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (!p[0].revents)
		poll(p, 1, after_end_ms);
	return p[0].revents;
}

/* With out_lock held.  What does not go out stays. */
static void console_flush(struct vmm_machine *m, int after_end_ms)
{
	size_t at = 0;

	while (at < m->out_len && console_room(m, after_end_ms)) {
		ssize_t n = write(m->console_fd, m->out + at, m->out_len - at);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		at = n > 0 ? at + (size_t)n : m->out_len;
	}
	m->out_len -= at;
	memmove(m->out, m->out + at, m->out_len);
}

static void console_put(struct vmm_machine *m, const uint8_t *data, size_t len)
{
	pthread_mutex_lock(&m->out_lock);
	for (size_t i = 0; i < len && m->out_len < sizeof(m->out); i++) {
		m->out[m->out_len++] = (char)data[i];
		if (data[i] == '\n' || m->out_len == sizeof(m->out))
			console_flush(m, 0);
	}
	pthread_mutex_unlock(&m->out_lock);
}

/* -- the end -------------------------------------------------------------- */

static void end(struct vmm_machine *m, bool failed, uint32_t status, const char *reason)
{
	uint64_t one = 1;
	bool first;

	pthread_mutex_lock(&m->lock);
	first = !m->ended;
	if (first) {
		m->ended = true;
		m->failed = failed;
		m->status = status;
		snprintf(m->reason, sizeof(m->reason), "%s", reason);
	}
	pthread_mutex_unlock(&m->lock);
	if (!first)
		return;
	vmm_vm_stop(m->vm);
	if (write(m->ended_fd, &one, sizeof(one)) < 0)
		return;	/* cannot happen: the counter is zero */
}

void vmm_machine_end(struct vmm_machine *m, uint32_t status)
{
	/* Before the end, after which the console is not waited for. */
	pthread_mutex_lock(&m->out_lock);
	console_flush(m, 0);
	pthread_mutex_unlock(&m->out_lock);
	end(m, false, status, "");
}

void vmm_machine_fail(struct vmm_machine *m, const char *fmt, ...)
{
	char reason[sizeof(m->reason)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	end(m, true, 0, reason);
}

/* -- exits ---------------------------------------------------------------- */

static uint32_t port_value(const uint8_t *data, unsigned int size)
{
	uint32_t v = 0;

	memcpy(&v, data, size);
	return v;
}

/* One element of an access to the ports of the VMM itself. */
static void answer_port(struct vmm_machine *m, uint16_t port, bool out, uint8_t *data,
			unsigned int size)
{
	if (!out)
		memset(data, 0xff, size);
	switch (port) {
	case VMM_PORT_CONSOLE:
		if (out)
			console_put(m, data, size);
		else
			data[0] = VMM_PORT_CONSOLE;
		break;
	case VMM_PORT_EXIT:
		if (out)
			vmm_machine_end(m, port_value(data, size));
		break;
	default:
		if (m->ops && m->ops->port)
			m->ops->port(m->arg, port, out, data, size);
		break;
	}
}

/*
 * What may have to wait for a device.  A kick ends the wait; what is under way is
 * taken up again before KVM_RUN, or is forgotten with the VM.
 */
static bool wait_device(struct vmm_machine *m, struct vmm_vcpu *vcpu,
			int (*call)(void *arg, struct vmm_vcpu *vcpu), int *rc)
{
	*rc = -EOPNOTSUPP;
	if (!call)
		return true;
	for (;;) {
		*rc = call(m->arg, vcpu);
		if (*rc != -EINTR)
			return true;
		vmm_vcpu_clear_kick(vcpu);
		if (vmm_vm_stopping(m->vm))
			return false;
	}
}

static bool answer_device(struct vmm_machine *m, struct vmm_vcpu *vcpu, int *rc)
{
	return wait_device(m, vcpu, m->ops ? m->ops->exit : NULL, rc);
}

/* KVM_RUN has returned with nothing for a device: KVM may have taken stores for one. */
static bool settle(struct vmm_machine *m, struct vmm_vcpu *vcpu)
{
	int rc;

	return wait_device(m, vcpu, m->ops ? m->ops->intr : NULL, &rc);
}

static bool device_port(struct vmm_machine *m, uint16_t port)
{
	return port >= VMM_PORT_DEVICES ||
	       (m->ops && m->ops->device_port && m->ops->device_port(m->arg, port));
}

bool vmm_machine_answer(struct vmm_machine *m, struct vmm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	char what[160];
	uint8_t *data;
	int rc;

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		if (!answer_device(m, vcpu, &rc))
			return false;
		if (rc == -EOPNOTSUPP && !run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		break;
	case KVM_EXIT_IO:
		data = (uint8_t *)run + run->io.data_offset;
		if (!device_port(m, run->io.port)) {
			if (!settle(m, vcpu))
				return false;
			for (uint32_t i = 0; i < run->io.count; i++)
				answer_port(m, run->io.port, run->io.direction == KVM_EXIT_IO_OUT,
					    data + i * run->io.size, run->io.size);
			return true;
		}
		if (!answer_device(m, vcpu, &rc))
			return false;
		if (rc == -EOPNOTSUPP && run->io.direction == KVM_EXIT_IO_IN)
			memset(data, 0xff, (size_t)run->io.size * run->io.count);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return settle(m, vcpu);
	default:
		vmm_vcpu_describe_exit(vcpu, what, sizeof(what));
		vmm_machine_fail(m, "%s", what);
		return false;
	}
	if (rc && rc != -EOPNOTSUPP) {
		vmm_machine_fail(m, "vCPU %u: access to a device: %s", vcpu->index, strerror(-rc));
		return false;
	}
	return true;
}

/*
 * Entered before it looks at the stop flag: a stop that comes earlier is seen,
 * one that comes later finds a thread to kick.
 */
static void *vcpu_thread(void *arg)
{
	struct vmm_start *s = arg;
	int rc;

	vmm_vcpu_enter(s->vcpu);
	settle(s->machine, s->vcpu);
	while (!vmm_vm_stopping(s->machine->vm)) {
		/* Only a kick is a reason to look at the flag again. */
		do {
			rc = vmm_vcpu_run(s->vcpu);
		} while (!rc && vmm_machine_answer(s->machine, s->vcpu));
		if (rc == -EINTR)
			settle(s->machine, s->vcpu);
		else if (rc)
			vmm_machine_fail(s->machine, "vCPU %u: KVM_RUN: %s", s->vcpu->index,
					 strerror(-rc));
	}
	vmm_vcpu_leave(s->vcpu);
	return NULL;
}

int vmm_machine_start(struct vmm_machine *m, struct vmm_err *err)
{
	for (unsigned int i = 0; i < m->vm->nr_vcpus; i++) {
		struct vmm_start *s = &m->starts[i];
		int rc;

		s->machine = m;
		s->vcpu = &m->vm->vcpus[i];
		rc = -pthread_create(&m->threads[i], NULL, vcpu_thread, s);
		if (rc)
			return vmm_fail(err, rc, "a thread for vCPU %u: %s", i, strerror(-rc));
		m->nr_threads = i + 1;
	}
	return 0;
}

static bool joined(pthread_t thread)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	return pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) != ETIMEDOUT;
}

void vmm_machine_join(struct vmm_machine *m)
{
	/* A kick may come just before a call that waits, such as a write to a terminal. */
	for (unsigned int i = 0; i < m->nr_threads; i++)
		while (!joined(m->threads[i]))
			vmm_vm_stop(m->vm);
	m->nr_threads = 0;
	console_flush(m, LAST_WORDS_MS);
}
