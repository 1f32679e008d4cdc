// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio doctor`: io_uring, sealed memory and BPF, each tried.
 */
#include "doctor.h"
#include "surroundings.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/bpf.h>
#include <rmio/device.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define LOOPS	8

/* Numbers of Linux's ABI that older headers do not name. */
#define OP_FUTEX_WAIT	51
#define OP_FUTEX_WAKE	52
#define NR_FUTEX_WAKE	454

/* Linux 6.9; the value is O_EXCL's. */
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

void doctor_surroundings(struct doctor *d)
{
	struct surrounding s[SURROUNDINGS];
	struct finding *f;

	surroundings_look(s);
	for (int i = 0; i < SURROUNDINGS; i++) {
		f = doctor_add(d, "system", s[i].name, s[i].use);
		if (!s[i].there)
			doctor_not(f, s[i].todo, "%s", s[i].why);
	}
}

/* As many device processes as one user may well have, each with the ring that it takes. */
static void several_rings(struct doctor *d)
{
	struct finding *f = doctor_add(d, "io_uring", "several loops", "as many device processes");
	struct rmio_loop *loops[LOOPS];
	int n, rc = 0;

	for (n = 0; n < LOOPS; n++) {
		rc = rmio_loop_new(NULL, &loops[n]);
		if (rc)
			break;
	}
	if (rc)
		doctor_not(f, rc == -ENOMEM ? "ulimit -l unlimited, or LimitMEMLOCK=infinity of systemd" :
			   "", "%d of %d: %s", n, LOOPS, rmio_errstr(rc));
	else
		doctor_note(f, "%d at once", LOOPS);
	while (n)
		rmio_loop_free(loops[--n]);
}

void doctor_uring(struct doctor *d)
{
	unsigned int want = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	struct finding *f = doctor_add(d, "io_uring", "io_uring", "the loop of a device process");
	struct io_uring ring;
	struct io_uring_params p = { .flags = want };
	struct io_uring_probe *probe;
	struct rmio_loop *loop;
	int rc, last_rc = 0;

	/* As a device process makes it: a small ring might fit where that does not. */
	rc = rmio_loop_new(NULL, &loop);
	if (!rc) {
		rmio_loop_free(loop);
		last_rc = io_uring_queue_init_params(4, &ring, &p);
		if (!last_rc)
			doctor_note(f, "features 0x%x", p.features);
	} else {
		doctor_not(f, rc == -EPERM ? "sysctl kernel.io_uring_disabled=0, or allow io_uring in the "
			   "seccomp policy" : rc == -ENOMEM ? "ulimit -l unlimited" : "",
			   "%s", rmio_errstr(rc));
	}
	several_rings(d);

	f = doctor_add(d, "io_uring", "deferred task running",
		       "completions only when the loop asks for them");
	if (rc)
		doctor_not(f, "", "no io_uring");
	else if (last_rc)
		doctor_not(f, "use Linux 6.1 or later", "io_uring_setup: %s", strerror(-last_rc));

	f = doctor_add(d, "io_uring", "futex wait and wake", "sleeping on a word of a lane");
	probe = !rc && !last_rc ? io_uring_get_probe_ring(&ring) : NULL;
	if (!probe)
		doctor_not(f, "", rc ? "no io_uring" : "the ring cannot be asked");
	else if (!io_uring_opcode_supported(probe, OP_FUTEX_WAIT) ||
		 !io_uring_opcode_supported(probe, OP_FUTEX_WAKE))
		doctor_not(f, "use Linux 6.7 or later; a byte on a socket wakes until then",
			   "the kernel does not know the operations");
	if (probe)
		io_uring_free_probe(probe);
	if (!rc && !last_rc)
		io_uring_queue_exit(&ring);

	f = doctor_add(d, "io_uring", "futex_wake system call",
		       "waking such a sleeper from another process");
	rc = (int)syscall(NR_FUTEX_WAKE, NULL, 0ul, 0, 0u);
	if (rc < 0 && errno == ENOSYS)
		doctor_not(f, "use Linux 6.7 or later", "the kernel does not know it");
}

void doctor_memory(struct doctor *d)
{
	struct finding *f = doctor_add(d, "memory", "memfd seals",
				       "memory shared with a process that is not trusted");
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
	int fd = memfd_create("rmio-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *p;

	if (fd < 0) {
		doctor_not(f, "", "memfd_create: %s", strerror(errno));
		return;
	}
	if (ftruncate(fd, 4096) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0) {
		doctor_not(f, errno == EFBIG ? "raise the limit on the size of files, ulimit -f" :
			   "use Linux 5.1 or later", "sealing: %s", strerror(errno));
	} else {
		p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p != MAP_FAILED) {
			munmap(p, 4096);
			doctor_not(f, "", "a seal against future writes does not hold");
		}
	}
	close(fd);
}

/* -- BPF ------------------------------------------------------------------ */

static bool file_has(const char *path, const char *word)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0, room = 0;
	char *buf = NULL;
	bool found = false;

	if (fd < 0)
		return false;
	for (;;) {
		ssize_t n;

		if (len == room) {
			char *bigger = realloc(buf, room ? room *= 2 : (room = 1 << 20));

			if (!bigger)
				break;
			buf = bigger;
		}
		n = read(fd, buf + len, room - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	found = buf && memmem(buf, len, word, strlen(word) + 1);
	free(buf);
	close(fd);
	return found;
}

static unsigned long long effective_caps(void)
{
	unsigned long long caps = 0;
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	}
	if (f)
		fclose(f);
	return caps;
}

static void mmapable_array(struct doctor *d)
{
	struct finding *f = doctor_add(d, "bpf", "mmapable array", "a shadow that BPF can write");
	union bpf_attr attr;
	void *p;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = 8;
	attr.max_entries = 512;
	attr.map_flags = BPF_F_MMAPABLE;
	fd = (int)syscall(__NR_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
	if (fd < 0) {
		doctor_not(f, errno == EPERM ? "run as root, or with CAP_BPF and CAP_PERFMON" : "",
			   "bpf(BPF_MAP_CREATE): %s", strerror(errno));
		return;
	}
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		doctor_not(f, "use Linux 5.5 or later", "mapping the array: %s", strerror(errno));
	else
		munmap(p, 4096);
	close(fd);
}

void doctor_bpf(struct doctor *d)
{
	unsigned long long caps = effective_caps();
	const unsigned long long admin = 1ull << 21, perfmon = 1ull << 38, bpf = 1ull << 39;
	struct finding *f = doctor_add(d, "bpf", "privilege", "loading tracing programs");
	int fd;

	if (!(caps & admin) && !((caps & bpf) && (caps & perfmon)))
		doctor_not(f, "run as root, or with CAP_BPF and CAP_PERFMON",
			   "this process has neither CAP_BPF with CAP_PERFMON nor CAP_SYS_ADMIN");
	mmapable_array(d);
	f = doctor_add(d, "bpf", "kernel BTF", "programs that fit this kernel");
	if (access("/sys/kernel/btf/vmlinux", R_OK))
		doctor_not(f, "use a kernel with CONFIG_DEBUG_INFO_BTF",
			   "/sys/kernel/btf/vmlinux: %s", strerror(errno));
	f = doctor_add(d, "bpf", "task storage", "knowing a vCPU's thread in one step");
	fd = (int)syscall(SYS_pidfd_open, getpid(), PIDFD_THREAD);
	if (fd < 0)
		doctor_not(f, "use Linux 6.9 or later; a hash of thread numbers does until then",
			   "a descriptor of a thread: %s", strerror(errno));
	else
		close(fd);
	f = doctor_add(d, "bpf", "tracepoint kvm_mmio",
		       "seeing each store of a guest in the kernel");
	if (!file_has("/sys/kernel/btf/vmlinux", "btf_trace_kvm_mmio") &&
	    !file_has("/sys/kernel/btf/kvm", "btf_trace_kvm_mmio"))
		doctor_not(f, "load the kvm module, or use a kernel with tracepoints and BTF",
			   "neither the kernel's BTF nor that of module kvm names it");
}
