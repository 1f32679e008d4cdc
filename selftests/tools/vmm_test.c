// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The KVM machine for flat guests: the contract with a guest, its exit status,
 * bad options and images, kicks.  Runs the guests of selftests/guest/ in this
 * process, without any device.
 */
#include "ktap.h"

#include "vmm/kvm.h"
#include "vmm/machine.h"

#include <fcntl.h>
#include <sys/stat.h>

struct result {
	bool failed;
	uint32_t status;
	char reason[256];
	char out[8192];
};

static const char *guest_path(const char *name)
{
	static char path[512];
	const char *dir = getenv("RMIO_GUESTS");

	snprintf(path, sizeof(path), "%s/%s.bin", dir ? dir : "selftests/guest", name);
	return path;
}

static bool kvm_there(void)
{
	return !access("/dev/kvm", R_OK | W_OK);
}

/* Runs a loaded VM to its end; false if it cannot be started. */
static bool run_vm(struct vmm_vm *vm, unsigned int limit_ms, struct result *r)
{
	struct vmm_machine m;
	struct vmm_err err;
	struct pollfd p;
	ssize_t n;
	int fds[2];

	memset(r, 0, sizeof(*r));
	if (!T_EQ(pipe2(fds, O_CLOEXEC), 0))
		return false;
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	if (!T_EQ(vmm_machine_init(&m, vm, fds[1]), 0))
		return false;
	if (!T_EQ(vmm_machine_start(&m, &err), 0))
		return false;
	p = (struct pollfd){ .fd = m.ended_fd, .events = POLLIN };
	if (poll(&p, 1, (int)limit_ms) != 1)
		vmm_machine_fail(&m, "limit");
	vmm_machine_join(&m);
	n = read(fds[0], r->out, sizeof(r->out) - 1);
	r->out[n > 0 ? n : 0] = 0;
	r->failed = m.failed;
	r->status = m.status;
	snprintf(r->reason, sizeof(r->reason), "%s", m.reason);
	vmm_machine_exit(&m);
	close(fds[0]);
	close(fds[1]);
	return true;
}

static bool run_guest(const char *name, unsigned int vcpus, uint64_t memory, uint64_t arg,
		      struct result *r)
{
	struct vmm_vm_opts o = {
		.sz = sizeof(o), .vcpus = vcpus, .memory = memory, .guest_arg = arg,
	};
	struct vmm_err err = { "" };
	struct vmm_vm *vm;
	bool ok;

	if (!T_EQ(vmm_vm_new(&o, &vm, &err), 0)) {
		ktap_diag("%s", err.text);
		return false;
	}
	ok = T_EQ(vmm_vm_load_file(vm, guest_path(name), &err), 0) && run_vm(vm, 20000, r);
	vmm_vm_free(vm);
	return ok;
}

/* Runs raw instructions on one vCPU. */
static bool run_code(const void *code, size_t len, unsigned int limit_ms, struct result *r)
{
	struct vmm_vm_opts o = { .sz = sizeof(o) };
	struct vmm_err err = { "" };
	struct vmm_vm *vm;
	bool ok;

	if (!T_EQ(vmm_vm_new(&o, &vm, &err), 0)) {
		ktap_diag("%s", err.text);
		return false;
	}
	ok = T_EQ(vmm_vm_load(vm, code, len, &err), 0) && run_vm(vm, limit_ms, r);
	vmm_vm_free(vm);
	return ok;
}

static void hello(unsigned int vcpus, uint64_t memory)
{
	char want[64];
	struct result r;

	if (!kvm_there())
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");
	T_REQUIRE(run_guest("hello", vcpus, memory, 0, &r));
	T_EQ(r.failed, false);
	T_EQ(r.status, 0);
	for (unsigned int i = 0; i < vcpus; i++) {
		snprintf(want, sizeof(want), "hello from vCPU %u of %u\n", i, vcpus);
		if (!T_OK(strstr(r.out, want)))
			ktap_diag("expected \"%s\" in \"%s\" (%s)", want, r.out, r.reason);
	}
}

static void hello_1(void)
{
	hello(1, 0);
}

static void hello_2(void)
{
	hello(2, 0);
}

static void hello_4(void)
{
	hello(4, 0);
}

static void hello_most(void)
{
	hello(VMM_VCPUS_MAX, 0);
}

static void smallest_memory(void)
{
	hello(1, VMM_MEMORY_MIN);
}

/* Memory on both sides of the hole; pages are made as they are touched. */
static void memory_above_hole(void)
{
	hello(1, VMM_HOLE_ADDR + (512ull << 20));
}

static void status(uint64_t arg, uint32_t expected)
{
	struct result r;

	if (!kvm_there())
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");
	T_REQUIRE(run_guest("hello", 2, 0, arg, &r));
	T_EQ(r.failed, false);
	T_EQ(r.status, expected);
}

static void status_32(void)
{
	status(42, 42);
	status(0xdeadbe, 0xdeadbe);
}

static void status_8(void)
{
	status(256, 7);
}

static void status_16(void)
{
	status(257, 7);
}

static void triple_fault(void)
{
	struct result r;

	if (!kvm_there())
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");
	T_REQUIRE(run_guest("hello", 1, 0, 258, &r));
	T_EQ(r.failed, true);
	/* With the place, where KVM still knows it. */
	if (!T_OK(!strcmp(r.reason, "vCPU 0: triple fault") ||
		  strstr(r.reason, "triple fault at 0x10")))
		ktap_diag("reason \"%s\"", r.reason);
}

static void string_output(void)
{
	static const uint8_t code[] = {
		0x48, 0x8d, 0x35, 0x13, 0, 0, 0,	/* lea text(%rip), %rsi */
		0xb9, 4, 0, 0, 0,			/* mov $4, %ecx */
		0x66, 0xba, 0xe9, 0,			/* mov $0xe9, %dx */
		0xf3, 0x6e,				/* rep outsb */
		0x31, 0xc0,				/* xor %eax, %eax */
		0xe7, 0xf4,				/* out %eax, $0xf4 */
		0xf4, 0xeb, 0xfd, 0x90,			/* hlt; loop */
		'a', 'b', 'c', '\n',
	};
	struct result r;

	if (!kvm_there())
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");
	T_REQUIRE(run_code(code, sizeof(code), 10000, &r));
	T_EQ(r.failed, false);
	T_STREQ(r.out, "abc\n");
}

/* A guest that never leaves KVM_RUN by itself is got out by a kick. */
static void stop_spinning(void)
{
	static const uint8_t code[] = { 0xeb, 0xfe };
	struct result r;

	if (!kvm_there())
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");
	T_REQUIRE(run_code(code, sizeof(code), 200, &r));
	T_EQ(r.failed, true);
	T_STREQ(r.reason, "limit");
}

static void stop_halted(void)
{
	static const uint8_t code[] = { 0xfa, 0xf4, 0xeb, 0xfd };
	struct result r;

	if (!kvm_there())
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");
	T_REQUIRE(run_code(code, sizeof(code), 200, &r));
	T_EQ(r.failed, true);
	T_STREQ(r.reason, "limit");
}

static void bad_options(void)
{
	static const struct {
		struct vmm_vm_opts o;
		const char *words;
	} bad[] = {
		{ { .sz = 1 }, "version" },
		{ { .sz = sizeof(struct vmm_vm_opts), .memory = 1 << 20 }, "multiple of 4096" },
		{ { .sz = sizeof(struct vmm_vm_opts), .memory = (64 << 20) + 1 },
		  "multiple of 4096" },
		{ { .sz = sizeof(struct vmm_vm_opts), .memory = 1ull << 50 }, "64G" },
		{ { .sz = sizeof(struct vmm_vm_opts), .vcpus = VMM_VCPUS_MAX + 1 }, "at most" },
	};

	for (int i = 0; i < KTAP_COUNT(bad); i++) {
		struct vmm_err err = { "" };
		struct vmm_vm *vm = NULL;

		T_EQ(vmm_vm_new(&bad[i].o, &vm, &err), -EINVAL);
		if (!T_OK(strstr(err.text, bad[i].words)))
			ktap_diag("case %d: expected \"%s\" in \"%s\"", i, bad[i].words, err.text);
	}
}

static void bad_images(void)
{
	struct vmm_vm_opts o = { .sz = sizeof(o), .memory = VMM_MEMORY_MIN };
	static uint8_t big[(1 << 20) + 1];
	char name[40];
	struct vmm_err err = { "" };
	struct vmm_vm *vm;
	int fd;

	if (!kvm_there())
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");
	T_REQUIRE(T_EQ(vmm_vm_new(&o, &vm, &err), 0));
	T_EQ(vmm_vm_load(vm, big, sizeof(big), &err), -EFBIG);
	T_OK(strstr(err.text, "does not fit"));
	T_EQ(vmm_vm_load(vm, big, sizeof(big) - 1, &err), 0);
	T_EQ(vmm_vm_load(vm, big, 0, &err), -ENODATA);

	T_EQ(vmm_vm_load_file(vm, "/nonexistent/guest", &err), -ENOENT);
	T_OK(strstr(err.text, "/nonexistent/guest"));
	T_EQ(vmm_vm_load_file(vm, "/", &err), -EINVAL);
	T_OK(strstr(err.text, "not a regular file"));
	fd = memfd_create("guest", MFD_CLOEXEC);
	T_REQUIRE(T_GE(fd, 0));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	T_EQ(vmm_vm_load_file(vm, name, &err), -ENODATA);
	T_EQ(ftruncate(fd, sizeof(big)), 0);
	T_EQ(vmm_vm_load_file(vm, name, &err), -EFBIG);
	T_OK(strstr(err.text, "do not fit"));
	close(fd);

	T_OK(vmm_vm_ptr(vm, 0, VMM_MEMORY_MIN));
	T_OK(!vmm_vm_ptr(vm, 1, VMM_MEMORY_MIN));
	T_OK(!vmm_vm_ptr(vm, VMM_MEMORY_MIN, 0));
	T_OK(!vmm_vm_ptr(vm, 4096, UINT64_MAX));
	vmm_vm_free(vm);
}

/* The memory's descriptor goes to device processes: nobody may resize it. */
static void memory_is_sealed(void)
{
	struct vmm_vm_opts o = { .sz = sizeof(o) };
	struct vmm_err err = { "" };
	struct vmm_vm *vm;

	if (!kvm_there())
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");
	T_REQUIRE(T_EQ(vmm_vm_new(&o, &vm, &err), 0));
	T_EQ(fcntl(vm->memfd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	T_EQ(ftruncate(vm->memfd, 4096), -1);
	vmm_vm_free(vm);
}

static void routes(void)
{
	struct vmm_vm_opts o = { .sz = sizeof(o) };
	struct vmm_err err = { "" };
	struct vmm_vm *vm;
	int gsi;

	if (!kvm_there())
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");
	T_REQUIRE(T_EQ(vmm_vm_new(&o, &vm, &err), 0));
	for (unsigned int i = 0; i < VMM_MSI_MAX; i++)
		T_REQUIRE(T_EQ(vmm_msi_route_new(vm), VMM_GSI_MSI + i));
	T_EQ(vmm_msi_route_new(vm), -ENOSPC);
	T_EQ(vmm_msi_route_set(vm, VMM_GSI_MSI + 7, 0xfee00000, 0x40), 0);
	vmm_msi_route_free(vm, VMM_GSI_MSI + 7);
	T_EQ(vmm_msi_route_set(vm, VMM_GSI_MSI + 7, 0xfee00000, 0x40), -ENOENT);
	T_EQ(vmm_msi_route_set(vm, 3, 0xfee00000, 0x40), -EINVAL);
	T_EQ(vmm_msi_route_set(vm, VMM_GSI_MSI + VMM_MSI_MAX, 0xfee00000, 0x40), -EINVAL);
	gsi = vmm_msi_route_new(vm);
	T_EQ(gsi, VMM_GSI_MSI + 7);
	vmm_vm_free(vm);
}

static const struct ktap_test tests[] = {
	{ "hello, 1 vCPU", hello_1 },
	{ "hello, 2 vCPUs", hello_2 },
	{ "hello, 4 vCPUs", hello_4 },
	{ "hello, as many vCPUs as there may be", hello_most },
	{ "smallest memory", smallest_memory },
	{ "memory above the hole", memory_above_hole },
	{ "exit status, 32 bits", status_32 },
	{ "exit status, 8 bits", status_8 },
	{ "exit status, 16 bits", status_16 },
	{ "triple fault is named", triple_fault },
	{ "string output to the console", string_output },
	{ "a spinning guest is stopped", stop_spinning },
	{ "a halted guest is stopped", stop_halted },
	{ "bad options", bad_options },
	{ "bad images", bad_images },
	{ "memory is sealed", memory_is_sealed },
	{ "message routes", routes },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
