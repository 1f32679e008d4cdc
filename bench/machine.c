// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Describes the machine of a run and picks the two CPUs that it takes place on.
 *
 * Outside the data path, once at the start of a run.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"

/* Do two CPUs share a core? Then they share its execution units too. */
static bool siblings(int a, int b)
{
	char path[96];
	FILE *f;
	int core[2] = { -1, -2 }, package[2] = { -1, -2 };
	int cpu[2] = { a, b };
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/core_id",
			 cpu[i]);
		f = fopen(path, "re");
		if (f) {
			if (fscanf(f, "%d", &core[i]) != 1)
				core[i] = -1 - i;
			fclose(f);
		}
		snprintf(path, sizeof(path),
			 "/sys/devices/system/cpu/cpu%d/topology/physical_package_id", cpu[i]);
		f = fopen(path, "re");
		if (f) {
			if (fscanf(f, "%d", &package[i]) != 1)
				package[i] = -1 - i;
			fclose(f);
		}
	}
	return core[0] == core[1] && package[0] == package[1];
}

static void pick_cpus(struct bench_machine *m)
{
	cpu_set_t set;
	int cpu;

	if (m->cpu_a >= 0)
		return;
	m->cpu_a = m->cpu_b = -1;
	if (sched_getaffinity(0, sizeof(set), &set)) {
		m->cpu_a = 0;
		return;
	}
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		if (m->cpu_a < 0) {
			m->cpu_a = cpu;
		} else if (m->cpu_b < 0) {
			m->cpu_b = cpu;
		} else if (siblings(m->cpu_a, m->cpu_b)) {
			m->cpu_b = cpu;
		}
	}
}

static void read_cpuinfo(struct bench_machine *m)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[4096];
	char *value;

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		value = strchr(line, ':');
		if (!value)
			continue;
		value += strspn(value, ": \t");
		value[strcspn(value, "\n")] = '\0';
		if (!m->cpu[0] && !strncmp(line, "model name", 10))
			snprintf(m->cpu, sizeof(m->cpu), "%.*s", (int)sizeof(m->cpu) - 1, value);
		if (!strncmp(line, "flags", 5) && strstr(value, " hypervisor"))
			m->hypervisor = true;
	}
	fclose(f);
}

static void read_kvm(struct bench_machine *m)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int version, vm;

	if (fd < 0) {
		snprintf(m->kvm, sizeof(m->kvm), "/dev/kvm: %s", strerror(errno));
		return;
	}
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version < 0) {
		snprintf(m->kvm, sizeof(m->kvm), "/dev/kvm is not KVM: %s", strerror(errno));
	} else if (version != KVM_API_VERSION) {
		snprintf(m->kvm, sizeof(m->kvm), "/dev/kvm has API version %d, not %d",
			 version, KVM_API_VERSION);
	} else {
		/* The device file may be there when virtualization is not. */
		vm = ioctl(fd, KVM_CREATE_VM, 0);
		if (vm < 0)
			snprintf(m->kvm, sizeof(m->kvm), "KVM_CREATE_VM: %s", strerror(errno));
		else
			close(vm);
	}
	close(fd);
#if !defined(__x86_64__)
	snprintf(m->kvm, sizeof(m->kvm), "the guest of these cases is x86-64 code");
#endif
}

/* Those that were asked for. */
static int check_cpus(const struct bench_machine *m)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return -errno;
	if (m->cpu_a >= CPU_SETSIZE || m->cpu_b >= CPU_SETSIZE || !CPU_ISSET(m->cpu_a, &set) ||
	    (m->cpu_b >= 0 && !CPU_ISSET(m->cpu_b, &set)))
		return -EINVAL;
	return 0;
}

int bench_machine_read(struct bench_machine *m)
{
	struct utsname u;
	int err;

	if (!uname(&u))
		snprintf(m->kernel, sizeof(m->kernel), "%s %s %s", u.sysname, u.release, u.machine);
	m->cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pick_cpus(m);
	err = check_cpus(m);
	if (err)
		return err;
	read_cpuinfo(m);
	read_kvm(m);
	return 0;
}
