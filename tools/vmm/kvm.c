// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Makes a KVM virtual machine for a flat guest: memory from a sealed memfd
 * around the device hole, page tables, GDT, in-kernel interrupt controllers.
 * Set-up only; the data path starts in vcpu.c.
 */
#include "kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KVM_IDENTITY_ADDR	0xfeffc000ull	/* one page, Intel without unrestricted guest */
#define KVM_TSS_ADDR		0xfeffd000ull	/* three pages, the same */

#define PTE_PRESENT	0x001ull
#define PTE_WRITE	0x002ull
#define PTE_ACCESSED	0x020ull
#define PTE_DIRTY	0x040ull
#define PTE_LARGE	0x080ull

static int open_kvm(struct vmm_vm *vm, struct vmm_err *err)
{
	int version;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0) {
		int rc = -errno;

		switch (errno) {
		case ENOENT:
			return vmm_fail(err, rc,
					"/dev/kvm does not exist: load kvm_intel or kvm_amd, "
					"or turn on (nested) virtualisation for this machine");
		case EACCES:
		case EPERM:
			return vmm_fail(err, rc,
					"/dev/kvm may not be opened by this user: "
					"add the user to the group that owns it (often kvm)");
		default:
			return vmm_fail(err, rc, "/dev/kvm: %s", strerror(errno));
		}
	}
	version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return vmm_fail(err, -ENOTSUP, "/dev/kvm speaks API %d, not %d",
				version, KVM_API_VERSION);
	return 0;
}

static int make_memory(struct vmm_vm *vm, struct vmm_err *err)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	void *p;

	vm->memfd = memfd_create("rmio-guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (vm->memfd < 0)
		return vmm_fail(err, -errno, "memfd_create: %s", strerror(errno));
	if (ftruncate(vm->memfd, (off_t)vm->memory) < 0 ||
	    fcntl(vm->memfd, F_ADD_SEALS, seals) < 0)
		return vmm_fail(err, -errno, "%llu bytes of guest memory: %s%s",
				(unsigned long long)vm->memory, strerror(errno),
				errno == EFBIG ? "; see ulimit -f" : "");
	p = mmap(NULL, vm->memory, PROT_READ | PROT_WRITE, MAP_SHARED, vm->memfd, 0);
	if (p == MAP_FAILED)
		return vmm_fail(err, -errno, "mapping %llu bytes of guest memory: %s",
				(unsigned long long)vm->memory, strerror(errno));
	vm->mem = p;

	vm->ram[0].gpa = 0;
	vm->ram[0].len = vm->memory < VMM_HOLE_ADDR ? vm->memory : VMM_HOLE_ADDR;
	vm->nr_ram = 1;
	if (vm->memory > VMM_HOLE_ADDR) {
		vm->ram[1].gpa = VMM_HIGH_ADDR;
		vm->ram[1].offset = VMM_HOLE_ADDR;
		vm->ram[1].len = vm->memory - VMM_HOLE_ADDR;
		vm->nr_ram = 2;
	}
	for (unsigned int i = 0; i < vm->nr_ram; i++) {
		struct kvm_userspace_memory_region r = {
			.slot = i,
			.guest_phys_addr = vm->ram[i].gpa,
			.memory_size = vm->ram[i].len,
			.userspace_addr = (uintptr_t)vm->mem + vm->ram[i].offset,
		};

		if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
			return vmm_fail(err, -errno, "KVM_SET_USER_MEMORY_REGION: %s",
					strerror(errno));
	}
	return 0;
}

static void write_tables(struct vmm_vm *vm)
{
	uint64_t *pml4 = vmm_vm_ptr(vm, VMM_TABLES_ADDR, 0x6000);
	uint64_t *pdpt = pml4 + 512;
	uint64_t *pd = pml4 + 1024;
	uint64_t *gdt = vmm_vm_ptr(vm, VMM_GDT_ADDR, 0x1000);

	pml4[0] = (VMM_TABLES_ADDR + 0x1000) | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED;
	for (uint64_t i = 0; i < 4; i++)
		pdpt[i] = (VMM_TABLES_ADDR + 0x2000 + i * 0x1000) |
			  PTE_PRESENT | PTE_WRITE | PTE_ACCESSED;
	for (uint64_t i = 0; i < 2048; i++)
		pd[i] = i << 21 | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY | PTE_LARGE;

	gdt[0] = 0;
	gdt[1] = 0x00af9b000000ffffull;		/* 0x08: 64-bit code */
	gdt[2] = 0x00cf93000000ffffull;		/* 0x10: data */
	gdt[3] = 0x0000890000000067ull | VMM_TSS_ADDR << 16;	/* 0x18: TSS, two entries */
	gdt[4] = 0;
}

static int make_chips(struct vmm_vm *vm, struct vmm_err *err)
{
	uint64_t identity = KVM_IDENTITY_ADDR;

	if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return vmm_fail(err, -errno, "KVM_SET_IDENTITY_MAP_ADDR: %s", strerror(errno));
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, KVM_TSS_ADDR) < 0)
		return vmm_fail(err, -errno, "KVM_SET_TSS_ADDR: %s", strerror(errno));
	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return vmm_fail(err, -errno, "KVM_CREATE_IRQCHIP: %s", strerror(errno));
	return vmm_irq_init(vm, err);
}

static struct kvm_cpuid2 *get_cpuid(struct vmm_vm *vm, struct vmm_err *err)
{
	for (unsigned int n = 128; n <= 1024; n *= 2) {
		struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + n * sizeof(c->entries[0]));

		if (!c)
			break;
		c->nent = n;
		if (!ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, c))
			return c;
		free(c);
		if (errno != E2BIG)
			break;
	}
	vmm_fail(err, 0, "KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
	return NULL;
}

/* The identifier that a vCPU reads with cpuid has to be that of its APIC. */
static int set_cpuid(struct vmm_vcpu *vcpu, struct kvm_cpuid2 *c, struct vmm_err *err)
{
	for (unsigned int i = 0; i < c->nent; i++) {
		struct kvm_cpuid_entry2 *e = &c->entries[i];

		if (e->function == 1) {
			e->ebx = (e->ebx & 0x0000ffff) | vcpu->index << 24 |
				 vcpu->vm->nr_vcpus << 16;
		} else if (e->function == 0xb || e->function == 0x1f) {
			e->edx = vcpu->index;
		}
	}
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, c) < 0)
		return vmm_fail(err, -errno, "KVM_SET_CPUID2: %s", strerror(errno));
	return 0;
}

static int make_vcpus(struct vmm_vm *vm, uint64_t guest_arg, struct vmm_err *err)
{
	int size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_cpuid2 *cpuid;
	int rc = 0;

	if (size < (int)sizeof(struct kvm_run))
		return vmm_fail(err, -ENOTSUP, "KVM_GET_VCPU_MMAP_SIZE: %d", size);
	cpuid = get_cpuid(vm, err);
	if (!cpuid)
		return -ENOTSUP;
	for (unsigned int i = 0; i < vm->nr_vcpus && !rc; i++) {
		struct vmm_vcpu *v = &vm->vcpus[i];
		void *p;

		v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)i);
		if (v->fd < 0) {
			rc = vmm_fail(err, -errno, "KVM_CREATE_VCPU %u: %s", i, strerror(errno));
			break;
		}
		p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
		if (p == MAP_FAILED) {
			rc = vmm_fail(err, -errno, "mapping vCPU %u: %s", i, strerror(errno));
			break;
		}
		v->run = p;
		v->run_size = (size_t)size;
		rc = set_cpuid(v, cpuid, err);
		if (!rc)
			rc = vmm_vcpu_reset(v, guest_arg, err);
	}
	free(cpuid);
	return rc;
}

int vmm_vm_new(const struct vmm_vm_opts *opts, struct vmm_vm **out, struct vmm_err *err)
{
	uint64_t memory = opts->memory ? opts->memory : VMM_MEMORY_DEFAULT;
	unsigned int vcpus = opts->vcpus ? opts->vcpus : 1;
	struct vmm_vm *vm;
	int rc;

	if (opts->sz != sizeof(*opts))
		return vmm_fail(err, -EINVAL, "options of another version");
	if (memory & 4095 || memory < VMM_MEMORY_MIN || memory > VMM_MEMORY_MAX)
		return vmm_fail(
			err, -EINVAL,
			"memory of %llu bytes: it has to be a multiple of 4096 from 2M to 64G",
			(unsigned long long)memory);
	if (vcpus > VMM_VCPUS_MAX)
		return vmm_fail(err, -EINVAL, "%u vCPUs: at most %u", vcpus, VMM_VCPUS_MAX);
	rc = vmm_kick_setup();
	if (rc)
		return vmm_fail(err, rc, "sigaction: %s", strerror(-rc));

	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return vmm_fail(err, -ENOMEM, "out of memory");
	vm->kvm_fd = vm->fd = vm->memfd = -1;
	vm->memory = memory;
	vm->nr_vcpus = vcpus;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->route_lock, NULL);
	vm->vcpus = calloc(vcpus, sizeof(*vm->vcpus));
	vm->routes = calloc(VMM_MSI_MAX, sizeof(*vm->routes));
	if (!vm->vcpus || !vm->routes) {
		rc = vmm_fail(err, -ENOMEM, "out of memory");
		goto free_vm;
	}
	for (unsigned int i = 0; i < vcpus; i++) {
		vm->vcpus[i].vm = vm;
		vm->vcpus[i].index = i;
		vm->vcpus[i].fd = -1;
	}

	rc = open_kvm(vm, err);
	if (rc)
		goto free_vm;
	vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0) {
		rc = vmm_fail(err, -errno, "KVM_CREATE_VM: %s", strerror(errno));
		goto free_vm;
	}
	rc = make_chips(vm, err);
	if (!rc)
		rc = make_memory(vm, err);
	if (rc)
		goto free_vm;
	write_tables(vm);
	rc = make_vcpus(vm, opts->guest_arg, err);
	if (rc)
		goto free_vm;
	*out = vm;
	return 0;

free_vm:
	vmm_vm_free(vm);
	return rc;
}

void vmm_vm_free(struct vmm_vm *vm)
{
	if (!vm)
		return;
	for (unsigned int i = 0; vm->vcpus && i < vm->nr_vcpus; i++) {
		struct vmm_vcpu *v = &vm->vcpus[i];

		if (v->run)
			munmap(v->run, v->run_size);
		if (v->fd >= 0)
			close(v->fd);
	}
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->mem)
		munmap(vm->mem, vm->memory);
	if (vm->memfd >= 0)
		close(vm->memfd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->route_lock);
	free(vm->vcpus);
	free(vm->routes);
	free(vm);
}

void *vmm_vm_ptr(struct vmm_vm *vm, uint64_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < vm->nr_ram; i++) {
		struct vmm_ram *r = &vm->ram[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->len && len <= r->len - (gpa - r->gpa))
			return vm->mem + r->offset + (gpa - r->gpa);
	}
	return NULL;
}

int vmm_vm_load(struct vmm_vm *vm, const void *image, size_t len, struct vmm_err *err)
{
	void *p;

	if (!len)
		return vmm_fail(err, -ENODATA, "the guest is empty");
	p = vmm_vm_ptr(vm, VMM_IMAGE_ADDR, len);
	if (!p)
		return vmm_fail(
			err, -EFBIG,
			"a guest of %zu bytes at 0x%llx does not fit into %llu bytes of memory",
			len, (unsigned long long)VMM_IMAGE_ADDR, (unsigned long long)vm->memory);
	memcpy(p, image, len);
	return 0;
}

int vmm_vm_load_file(struct vmm_vm *vm, const char *path, struct vmm_err *err)
{
	struct stat st;
	char *p;
	int fd, rc;

	/* Not to wait for somebody to write to a pipe of that name. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return vmm_fail(err, -errno, "guest %s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0) {
		rc = vmm_fail(err, -errno, "guest %s: %s", path, strerror(errno));
		goto close_fd;
	}
	if (!S_ISREG(st.st_mode)) {
		rc = vmm_fail(err, -EINVAL, "guest %s: not a regular file", path);
		goto close_fd;
	}
	if (!st.st_size) {
		rc = vmm_fail(err, -ENODATA, "guest %s: empty", path);
		goto close_fd;
	}
	p = vmm_vm_ptr(vm, VMM_IMAGE_ADDR, (uint64_t)st.st_size);
	if (!p) {
		rc = vmm_fail(err, -EFBIG,
			      "guest %s: %lld bytes at 0x%llx do not fit into %llu bytes of memory; "
			      "give it more with --memory",
			      path, (long long)st.st_size, (unsigned long long)VMM_IMAGE_ADDR,
			      (unsigned long long)vm->memory);
		goto close_fd;
	}
	rc = 0;
	for (off_t at = 0; at < st.st_size;) {
		ssize_t n = pread(fd, p + at, (size_t)(st.st_size - at), at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rc = n ? -errno : -EIO;
			vmm_fail(err, rc, "guest %s: %s", path,
				 n ? strerror(errno) : "shorter than it was");
			break;
		}
		at += n;
	}
	if (!rc && st.st_size > 4 && !memcmp(p, "\177ELF", 4))
		rc = vmm_fail(err, -ENOEXEC,
			      "guest %s: an ELF file; make it raw with objcopy -O binary", path);
close_fd:
	close(fd);
	return rc;
}

void vmm_vm_stop(struct vmm_vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->stopping = true;
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		if (vm->vcpus[i].entered)
			pthread_kill(vm->vcpus[i].thread, vmm_kick_signal());
	}
	pthread_mutex_unlock(&vm->lock);
}

bool vmm_vm_stopping(struct vmm_vm *vm)
{
	bool stopping;

	pthread_mutex_lock(&vm->lock);
	stopping = vm->stopping;
	pthread_mutex_unlock(&vm->lock);
	return stopping;
}
