// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device without the framework: the slave calls only.  Without argument: a VMM
 * with one vCPU and no guest, which starts this program again with the number of
 * its slave descriptor: 4 KiB of memory as a device, whose loads are answered from
 * the shadow image once the access map is there.
 * cc slave.c $(pkg-config --cflags --libs rmio) && ./a.out
 */
#include <fcntl.h>
#include <rmio/rmio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The vCPUs read meanwhile: an aligned value goes out in one store of its size. */
static void put(uint8_t *at, uint64_t value, uint32_t len)
{
	if ((uintptr_t)at % len)
		memcpy(at, &value, len);
	else if (len == 1)
		*(volatile uint8_t *)at = (uint8_t)value;
	else if (len == 2)
		*(volatile uint16_t *)at = (uint16_t)value;
	else if (len == 4)
		*(volatile uint32_t *)at = (uint32_t)value;
	else
		*(volatile uint64_t *)at = value;
}

static int device(int fd)
{
	static const struct rmio_area all = {
		.length = 4096, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
	};
	struct rmio_request r[16];
	struct rmio_reply a[16];
	struct rmio_slave *s;
	uint8_t *image;
	ssize_t n, i;

	if (rmio_slave_open(fd, NULL, &s) || rmio_slave_shadow_size(s, 4096))
		return 1;
	image = rmio_slave_mmap(s, NULL);
	if (rmio_slave_shadow_ctrl(s, &all, 1))
		return 1;
	while (rmio_slave_poll(s, -1) > 0) {
		n = rmio_slave_read(s, r, 16);
		for (i = 0; i < n; i++) {
			a[i] = (struct rmio_reply){ .seq = r[i].seq, .vcpu = r[i].vcpu };
			if (r[i].offset > 4096u - r[i].len)
				a[i].data = UINT64_MAX;
			else if (r[i].op == RMIO_OP_LOAD)
				memcpy(&a[i].data, image + r[i].offset, r[i].len);
			else
				put(image + r[i].offset, r[i].data, r[i].len);
		}
		if (n > 0)
			rmio_slave_write(s, a, (size_t)n);
	}
	rmio_slave_free(s);		/* the VMM has gone */
	return 0;
}

static int vmm(struct rmio_vm *vm, struct rmio_master *m)
{
	struct rmio_pa_range range = { .addr = 0xfe000000, .len = 4096, .bus = RMIO_BUS_MEM };
	struct rmio_vcpu *vcpu;
	uint64_t v = 0;
	int err;

	err = rmio_vcpu_new(vm, 0, NULL, &vcpu);
	if (err)
		return err;
	err = rmio_master_pa_range(m, &range);
	if (!err)
		err = rmio_vcpu_store(vcpu, RMIO_BUS_MEM, 0xfe000010, 4, 0x12345678);
	if (!err)
		err = rmio_vcpu_load(vcpu, RMIO_BUS_MEM, 0xfe000010, 4, &v);
	printf("the guest reads 0x%llx\n", (unsigned long long)v);
	rmio_vcpu_free(vcpu);
	return err ? err : v == 0x12345678 ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct rmio_master *m;
	struct rmio_vm *vm;
	int fd, status = 1, err;
	char number[16];

	if (argc > 1)
		return device(atoi(argv[1]));
	if (rmio_vm_new(NULL, &vm) || rmio_master_new(vm, NULL, &m))
		return 1;
	fd = rmio_master_slave_fd(m);
	snprintf(number, sizeof(number), "%d", fd);
	if (!fork()) {
		fcntl(fd, F_SETFD, 0);		/* kept across exec */
		execl("/proc/self/exe", argv[0], number, (char *)NULL);
		_exit(1);
	}
	close(fd);
	err = vmm(vm, m);
	rmio_master_free(m);
	rmio_vm_free(vm);
	wait(&status);
	return err || status;
}
