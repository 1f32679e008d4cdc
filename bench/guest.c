// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Writes the guest's code and measures its marker.
 *
 * Outside the data path: what runs while samples are taken is guest_batch().
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "guest.h"

#define EMPTY_BATCHES	101
#define FULL_BATCHES	64
#define CODE_BYTES	(EMPTY_BATCHES * 2 + 5 + FULL_BATCHES * (5 + GUEST_BATCH * 2 + 2) + 5)

static uint8_t *emit32(uint8_t *p, uint8_t opcode, uint32_t v)
{
	*p++ = opcode;
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static uint8_t *emit16(uint8_t *p, uint8_t a, uint8_t b)
{
	*p++ = a;
	*p++ = b;
	return p;
}

/* Unrolled, so that a batch has no instructions of a loop but one jump in 64 batches. */
static size_t emit(uint8_t *code, const struct guest_code *c)
{
	uint8_t *p = code, *loop;
	uint32_t reg = 0;
	int i, k;

	for (i = 0; i < EMPTY_BATCHES; i++)
		p = emit16(p, 0xe6, GUEST_MARKER);		/* out %al,$marker */
	p = emit32(p, 0xb8, GUEST_VALUE);			/* mov $value,%eax */
	loop = p;
	for (i = 0; i < FULL_BATCHES; i++) {
		p = emit32(p, 0xbb, c->addr + reg * c->stride);	/* mov $addr,%ebx */
		reg = (reg + 1) % c->registers;
		for (k = 0; k < GUEST_BATCH; k++)		/* mov %eax,(%rbx) or back */
			p = emit16(p, c->store ? 0x89 : 0x8b, 0x03);
		p = emit16(p, 0xe6, GUEST_MARKER);
	}
	p = emit32(p, 0xe9, (uint32_t)(loop - (p + 5)));	/* jmp loop */
	return p - code;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int no_access(struct bench_run *run, struct kvm_run *exit)
{
	return bench_why(run, -EIO, "access before the first batch");
}

/* The first run only gets to the first marker; the other 100 are from marker to marker. */
static int measure_marker(struct bench_run *run, struct guest *g)
{
	uint64_t t[EMPTY_BATCHES];
	int i, err;

	for (i = 0; i < EMPTY_BATCHES; i++) {
		uint64_t t0 = bench_ticks();

		err = guest_batch(run, g, no_access);
		if (err)
			return err;
		t[i] = bench_ticks() - t0;
	}
	qsort(t + 1, EMPTY_BATCHES - 1, sizeof(t[0]), compare);
	run->extra = t[EMPTY_BATCHES / 2];
	/* The clock's own reading is subtracted from every sample already. */
	run->extra -= run->extra < bench_clock.overhead ? run->extra : bench_clock.overhead;
	return 0;
}

int guest_new(struct bench_run *run, const struct guest_code *code, struct guest *g)
{
	struct vmm_vm_opts opts = { .sz = sizeof(opts), .memory = VMM_MEMORY_MIN, .vcpus = 1 };
	uint8_t image[CODE_BYTES];
	struct vmm_err why = { 0 };
	int err;

	err = vmm_vm_new(&opts, &g->vm, &why);
	if (err)
		return bench_why(run, err, "%.150s", why.text);
	err = vmm_vm_load(g->vm, image, emit(image, code), &why);
	if (err) {
		bench_why(run, err, "%.150s", why.text);
		goto free_vm;
	}
	g->vcpu = &g->vm->vcpus[0];
	vmm_vcpu_enter(g->vcpu);
	err = measure_marker(run, g);
	if (err)
		goto leave;
	return 0;

leave:
	vmm_vcpu_leave(g->vcpu);
free_vm:
	vmm_vm_free(g->vm);
	return err;
}

void guest_free(struct guest *g)
{
	vmm_vcpu_leave(g->vcpu);
	vmm_vm_free(g->vm);
}

int guest_ioeventfd(struct bench_run *run, struct guest *g, uint64_t addr)
{
	struct kvm_ioeventfd io = { .addr = addr, .len = sizeof(uint32_t) };
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), err;

	if (fd < 0)
		return bench_why(run, -errno, "eventfd: %s", strerror(errno));
	io.fd = fd;
	if (!ioctl(g->vm->fd, KVM_IOEVENTFD, &io))
		return fd;
	err = bench_why(run, -errno, "KVM_IOEVENTFD: %s", strerror(errno));
	close(fd);
	return err;
}
