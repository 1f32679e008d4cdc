// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * On the bpf back end lanes are BPF arrays.  What device code can do to the requests in
 * them once the library has opened the slave: nothing; and what a device can do that kept
 * a descriptor from before that: nothing to anybody else.
 */
#include "backend/bpf/program.h"
#include "wire/chan.h"
#include "memfd.h"
#include "privileges.h"
#include "vmm/kvm.h"
#include "wire/memory.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <poll.h>
#include <rmio/slave.h>
#include <rmio/vmm.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define DEVICE	0xe0000000u

struct vmm {
	struct vmm_vm *machine;
	struct rmio_vm *vm;
	struct rmio_vcpu *vcpu;
	struct rmio_master *m[2];
	int slave[2];
};

static bool vmm_up(struct vmm *v)
{
	struct vmm_vm_opts machine = { .sz = sizeof(machine), .memory = VMM_MEMORY_MIN };
	struct rmio_kvm_opts kvm = { .sz = sizeof(kvm), .kick_signal = vmm_kick_signal() };
	struct rmio_master_opts o = { .sz = sizeof(o), .backend = RMIO_BACKEND_BPF };
	struct rmio_vm_opts vm = { .sz = sizeof(vm), .max_vcpus = 1 };
	struct vmm_err why = { 0 };
	uint32_t i;

	o.timeout_ns = 2000000000;
	if (!T_EQ(vmm_vm_new(&machine, &v->machine, &why), 0) || !T_EQ(rmio_vm_new(&vm, &v->vm), 0))
		return false;
	kvm.vm_fd = v->machine->fd;
	if (!T_EQ(rmio_vm_kvm(v->vm, &kvm), 0) ||
	    !T_EQ(rmio_vcpu_new(v->vm, 0, NULL, &v->vcpu), 0))
		return false;
	for (i = 0; i < 2; i++) {
		struct rmio_pa_range r = { .addr = DEVICE + i * 0x1000, .len = 4096 };

		if (!T_EQ(rmio_master_new(v->vm, &o, &v->m[i]), 0) ||
		    !T_EQ(rmio_master_pa_range(v->m[i], &r), 0))
			return false;
		v->slave[i] = rmio_master_slave_fd(v->m[i]);
		if (!T_GE(v->slave[i], 0))
			return false;
	}
	return true;
}

static void vmm_down(struct vmm *v)
{
	int i;

	for (i = 0; i < 2; i++) {
		rmio_master_free(v->m[i]);
		close(v->slave[i]);
	}
	rmio_vcpu_free(v->vcpu);
	rmio_vm_free(v->vm);
	vmm_vm_free(v->machine);
}

/* Mappings of BPF arrays that this process can only read: those of "down". */
static int read_only_arrays(char **at, size_t *len, int room)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long from, to;
	char line[512], rights[8];
	int n = 0;

	while (f && fgets(line, sizeof(line), f) && n < room)
		if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) == 3 &&
		    strstr(line, "bpf-map") && !strcmp(rights, "r--s")) {
			at[n] = (char *)from;
			len[n++] = to - from;
		}
	if (f)
		fclose(f);
	return n;
}

static void try_to_write(char *at, size_t len)
{
	struct iovec from = { .iov_base = "x", .iov_len = 1 };
	struct iovec to = { .iov_base = at, .iov_len = 1 };
	char *again, before = at[0];
	char link[64];
	int fd;

	T_LT(mprotect(at, len, PROT_READ | PROT_WRITE), 0);
	T_EQ(errno, EACCES);
	again = mremap(at, 0, len, MREMAP_MAYMOVE);	/* a second mapping of the same */
	if (again != MAP_FAILED) {
		T_LT(mprotect(again, len, PROT_READ | PROT_WRITE), 0);
		T_EQ(errno, EACCES);
	}
	T_LT(process_vm_writev(getpid(), &from, 1, &to, 1, 0), 0);
	fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		T_LT(pwrite(fd, "x", 1, (off_t)(uintptr_t)at), 0);
		close(fd);
	}
	snprintf(link, sizeof(link), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		 (unsigned long)at + len);
	T_LT(open(link, O_RDWR | O_CLOEXEC), 0);
	T_EQ(at[0], before);
}

/* Nor is there a descriptor left that could be mapped, written or opened anew. */
static void look_for_descriptors(void)
{
	struct bpf_map_info info;
	union bpf_attr a;
	char *page;
	int fd;

	for (fd = 0; fd < 1024; fd++) {
		memset(&a, 0, sizeof(a));
		memset(&info, 0, sizeof(info));
		a.info.bpf_fd = (uint32_t)fd;
		a.info.info_len = sizeof(info);
		a.info.info = (uintptr_t)&info;
		if (!syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &a, sizeof(a)) &&
		    info.type == BPF_MAP_TYPE_ARRAY) {
			page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			if (!T_EQ(page, MAP_FAILED))
				ktap_diag("descriptor %d is map %s", fd, info.name);
		}
	}
	memset(&a, 0, sizeof(a));
	T_LT(syscall(SYS_bpf, BPF_MAP_GET_NEXT_ID, &a, sizeof(a)), 0);
	memset(&a, 0, sizeof(a));
	a.map_id = 1;
	T_LT(syscall(SYS_bpf, BPF_MAP_GET_FD_BY_ID, &a, sizeof(a)), 0);
	T_EQ(errno, EPERM);
}

/* As a device process: what the VMM has is closed, and so are the privileges. */
static void device_code(void *arg)
{
	struct vmm *v = arg;
	struct rmio_slave *s;
	char *at[16], *before[16];
	size_t len[16];
	int n, fd, i, inherited, fresh = 0;

	/* A fork's copies of the VMM's own mappings. */
	inherited = read_only_arrays(before, len, 16);
	for (fd = 3; fd < 1024; fd++)
		if (fd != v->slave[0])
			close(fd);
	T_REQUIRE(drop_privileges());
	T_REQUIRE(T_EQ(rmio_slave_open(v->slave[0], NULL, &s), 0));
	T_REQUIRE(T_EQ(rmio_slave_shadow_size(s, 8192), 0));
	n = read_only_arrays(at, len, 16);
	while (n--) {
		for (i = 0; i < inherited && before[i] != at[n]; i++)
			;
		if (i < inherited)
			continue;
		try_to_write(at[n], len[n]);
		fresh++;
	}
	T_EQ(fresh, 1);		/* "down" */
	look_for_descriptors();
}

static void once_it_runs(void)
{
	struct vmm v = { 0 };

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(vmm_up(&v));
	in_child(device_code, &v);
	vmm_down(&v);
}

/* -- a device that kept the descriptors ------------------------------------------ */

/* Answers on device 1 as it should: twice the value of the last store. */
static void good_device(int fd)
{
	struct rmio_request r;
	struct rmio_reply reply;
	struct rmio_slave *s;
	uint64_t last = 0;
	ssize_t n;

	T_REQUIRE(T_EQ(rmio_slave_open(fd, NULL, &s), 0));
	for (;;) {
		n = rmio_slave_read(s, &r, 1);
		if (n == -EAGAIN) {
			rmio_slave_poll(s, 100);
			continue;
		}
		if (n < 0)
			return;
		if (r.op == RMIO_OP_STORE)
			last = r.data;
		reply = (struct rmio_reply){ .seq = r.seq, .vcpu = r.vcpu, .data = 2 * last };
		T_EQ(rmio_slave_write(s, &reply, 1), 1);
	}
}

/* Maps all that came with HELLO to be written, and writes. */
static void forger(int chan)
{
	struct rmio_chan_hdr h;
	int fds[RMIO_CHAN_FDS], i;
	uint64_t x = 0x9e3779b97f4a7c15ull, *p[2], size[2];
	size_t nfds;

	T_REQUIRE(T_EQ(rmio_chan_recv(chan, &h, NULL, 0, fds, &nfds), 0));
	T_REQUIRE(T_EQ(nfds, RMIO_CHAN_FDS));
	size[0] = h.value;
	size[1] = 2 * RMIO_PAGE;
	for (i = 0; i < 2; i++) {
		p[i] = mmap(NULL, size[i], PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
		T_REQUIRE(T_NE(p[i], MAP_FAILED));
	}
	h.answer = 1;
	T_EQ(rmio_chan_send(chan, &h, NULL, 0, NULL, 0), 0);
	for (;;) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		i = x & 1;
		__atomic_store_n(&p[i][(x >> 1) % (size[i] / 8)], x & 2 ? x : x & 0xffff,
				 __ATOMIC_RELAXED);
	}
}

static void kept_descriptors(void)
{
	struct vmm v = { 0 };
	uint64_t got, i, n = (uint64_t)ktap_pick(300, 3000, 30000);
	pid_t pid[2];
	int k;

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(vmm_up(&v));
	for (k = 0; k < 2; k++) {
		pid[k] = fork();
		if (!pid[k]) {
			if (k)
				good_device(v.slave[1]);
			else
				forger(v.slave[0]);
			_exit(1);
		}
	}
	for (i = 0; i < n; i++) {
		/* Whatever comes of these: they return. */
		T_EQ(rmio_vcpu_store(v.vcpu, RMIO_BUS_MEM, DEVICE + 8 * (i % 16), 4, i), 0);
		T_EQ(rmio_vcpu_load(v.vcpu, RMIO_BUS_MEM, DEVICE, 8, &got), 0);
		T_EQ(rmio_vcpu_store(v.vcpu, RMIO_BUS_MEM, DEVICE + 0x1000, 4, i), 0);
		T_EQ(rmio_vcpu_load(v.vcpu, RMIO_BUS_MEM, DEVICE + 0x1000, 8, &got), 0);
		if (!T_EQ(got, 2 * i))
			break;
	}
	T_EQ(rmio_master_state(v.m[1]), RMIO_STATE_LIVE);
	for (k = 0; k < 2; k++) {
		kill(pid[k], SIGKILL);
		waitpid(pid[k], NULL, 0);
	}
	vmm_down(&v);
}

/* -- a device that keeps its images ------------------------------------------------- */

#define KEPT	(8u << 20)

/* Arrays are memory of the kernel: no more than 64 MiB of it, however often it asks. */
static void kept_images(void)
{
	struct rmio_chan_hdr h;
	int fds[RMIO_CHAN_FDS], i, arrays = 0, memfds = 0;
	struct vmm v = { 0 };
	struct pollfd p;
	size_t nfds;

	NEEDS_ROOT_AND_KVM();
	T_REQUIRE(vmm_up(&v));
	p = (struct pollfd){ .fd = v.slave[0], .events = POLLIN };
	T_REQUIRE(T_EQ(rmio_chan_recv(p.fd, &h, NULL, 0, fds, &nfds), 0));
	h.answer = 1;
	T_EQ(rmio_chan_send(p.fd, &h, NULL, 0, NULL, 0), 0);
	for (i = 0; i < 20; i++) {
		h = (struct rmio_chan_hdr){
			.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION,
			.type = RMIO_CHAN_SHADOW_SIZE, .value = KEPT,
		};
		T_EQ(rmio_chan_send(p.fd, &h, NULL, 0, NULL, 0), 0);
		T_REQUIRE(T_EQ(poll(&p, 1, -1), 1));
		T_REQUIRE(T_EQ(rmio_chan_recv(p.fd, &h, NULL, 0, fds, &nfds), 0));
		T_EQ(h.error, 0);
		T_REQUIRE(T_EQ(nfds, 1));
		arrays += !rmio_bpf_array_check(fds[0], KEPT);
		memfds += !rmio_memfd_check(fds[0], KEPT, false);
	}
	T_EQ(arrays, (64 << 20) / KEPT);
	T_EQ(arrays + memfds, 20);
	T_EQ(rmio_master_state(v.m[0]), RMIO_STATE_LIVE);
	vmm_down(&v);
}

static const struct ktap_test tests[] = {
	{ "device code cannot write requests", once_it_runs },
	{ "a device that can harms itself", kept_descriptors },
	{ "a device that keeps its images", kept_images },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
