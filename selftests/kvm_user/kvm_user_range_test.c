// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: where its ranges may lie, beside what, and how many there may be.
 */
#include "kvm_user_rig.h"

static void refused(void)
{
	struct kvm_ioeventfd io = { .addr = DEVICE + 0x20000, .len = 4 };

	RIG_START();
	T_EQ(rig_range(DEVICE, LEN, 2, 1), -EINVAL);
	T_EQ(rig_range(DEVICE, LEN, 0, 65536), -EINVAL);
	T_EQ(rig_range(~0ull - 10, LEN, 0, 1), -EOVERFLOW);
	T_EQ(rig_range(0xfff8, 16, RMIO_BUS_IO, 1), -EOVERFLOW);
	T_EQ(rig_range(0x10000, 1, RMIO_BUS_IO, 1), -EOVERFLOW);
	T_EQ(rig_range(DEVICE + 0x40000, 1ull << 40, 0, 1), -EFBIG);
	T_EQ(rig_range(DEVICE + LEN - 8, 16, 0, 1), -EEXIST);
	T_EQ(rig_range(0xfec00000, 16, 0, 1), -EEXIST);
	T_EQ(rig_range(0, 0, 0, 9), -ENOENT);
	io.fd = eventfd(0, 0);
	T_EQ(ioctl(w.vm->fd, KVM_IOEVENTFD, &io), 0);
	T_EQ(rig_range(DEVICE + 0x20000, LEN, 0, 1), -EEXIST);
	T_EQ(rig_range(DEVICE + 0x1fffe, 3, 0, 1), -EEXIST);
	T_EQ(rig_range(DEVICE + 0x20004, 4, 0, 1), 0);
	close(io.fd);
	rig_stop();
}

/* The last that is taken, and the first that is not; what is there answers to its last byte. */
static void limits(void)
{
	static const struct { uint64_t addr, len; uint32_t bus, id; int err; } cases[] = {
		{ 1ull << 40, 0x7fffffff, RMIO_BUS_MEM, 1, 0 },
		{ 1ull << 40, 0x80000000, RMIO_BUS_MEM, 1, -EFBIG },
		{ 1ull << 40, 0xffffffff, RMIO_BUS_MEM, 1, -EFBIG },
		{ 1ull << 40, 1ull << 32 | 0x1000, RMIO_BUS_MEM, 1, -EFBIG },
		{ 0, ~0ull, RMIO_BUS_MEM, 1, -EFBIG },
		{ 1, ~0ull, RMIO_BUS_MEM, 1, -EFBIG },
		{ 2, ~0ull, RMIO_BUS_MEM, 1, -EOVERFLOW },
		{ ~0ull, 2, RMIO_BUS_MEM, 1, -EOVERFLOW },
		{ ~0ull - 0xffe, 0x1000, RMIO_BUS_MEM, 1, -EOVERFLOW },
		{ ~0ull - 0xfff, 0x1000, RMIO_BUS_MEM, 1, 0 },
		{ ~0ull, 1, RMIO_BUS_MEM, 1, 0 },
		{ 0xffff, 1, RMIO_BUS_IO, 1, 0 },
		{ 0xffff, 2, RMIO_BUS_IO, 1, -EOVERFLOW },
		{ 0xff00, 0x100, RMIO_BUS_IO, 1, 0 },
		{ 0xff00, 0x101, RMIO_BUS_IO, 1, -EOVERFLOW },
		{ 1ull << 32 | PORT, 1, RMIO_BUS_IO, 1, -EOVERFLOW },
		{ PORT, 1ull << 32 | 1, RMIO_BUS_IO, 1, -EOVERFLOW },
		{ DEVICE + LEN, 1, RMIO_BUS_MEM, 65535, 0 },
		{ DEVICE + LEN, 1, RMIO_BUS_MEM, 65536, -EINVAL },
		{ DEVICE + LEN, 1, RMIO_BUS_MEM, ~0u, -EINVAL },
		{ DEVICE + LEN, 1, ~0u, 1, -EINVAL },
		/* What is no range takes none away. */
		{ 0, 0, 2, 0, -EINVAL },
		{ 0, 0, RMIO_BUS_MEM, 65536, -EINVAL },
	};
	uint64_t data;
	int i;

	RIG_START();
	rig_serve();
	w.reg[0] = 0x5e;
	for (i = 0; i < KTAP_COUNT(cases); i++) {
		uint64_t last = cases[i].addr + cases[i].len - 1;

		if (!T_EQ(rig_range(cases[i].addr, cases[i].len, cases[i].bus, cases[i].id),
			  cases[i].err))
			ktap_diag("case %d", i);
		if (cases[i].err)
			continue;
		data = 0x61;
		T_EQ(rig_access(0, last, (uint8_t)cases[i].bus, 1, true, &data), 0);
		T_EQ(rig_access(0, last + 1, (uint8_t)cases[i].bus, 1, false, &data), -EOPNOTSUPP);
		T_EQ(rig_access(0, cases[i].addr, (uint8_t)cases[i].bus, 1, false, &data), 0);
		T_EQ(rig_range(0, 0, 0, cases[i].id), 0);
		T_EQ(rig_access(0, last, (uint8_t)cases[i].bus, 1, false, &data), -EOPNOTSUPP);
	}
	/* The guest gets to the last port. */
	T_EQ(rig_range(0xffff, 1, RMIO_BUS_IO, 1), 0);
	w.reg[0] = 0x5f;
	g_begin(0);
	g_in(0, 0xffff, 1);
	g_load(0, DEVICE, 1);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x5f);
	T_EQ(w.vcpu[0].result[1], 0x5f);
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

/* Where one of the VM's other devices is; what another VM has there is nobody's concern. */
static void other_devices(void)
{
	struct vmm_vm_opts vo = { .sz = sizeof(vo), .memory = 2 << 20 };
	uint64_t data = 0;
	struct vmm_vm *vm;
	int other, foreign;

	RIG_START();
	rig_serve();
	other = rig_create(w.vm->fd);
	T_EQ(rig_range_of(other, DEVICE, LEN, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(rig_range_of(other, DEVICE + LEN - 1, 1, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(rig_range_of(other, DEVICE - 1, 2, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(rig_range_of(other, DEVICE - 1, LEN + 2, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(rig_range_of(other, DEVICE + 0x80, 1, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(rig_range_of(other, DEVICE - 1, 1, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_range_of(other, DEVICE + LEN, 1, RMIO_BUS_MEM, 1), 0);
	/* Nor does this one come over that. */
	T_EQ(rig_range(DEVICE, LEN + 1, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(rig_range(DEVICE - 1, LEN, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(vmm_vm_new(&vo, &vm, NULL), 0);
	foreign = rig_create(vm->fd);
	T_EQ(rig_range_of(foreign, DEVICE, LEN, RMIO_BUS_MEM, 0), 0);
	close(foreign);
	vmm_vm_free(vm);
	w.reg[0x18] = 0x43;
	T_EQ(rig_access(0, DEVICE + 0x18, RMIO_BUS_MEM, 1, false, &data), 0);
	T_EQ(data, 0x43);
	/* The other's are not to be reached by this one's descriptor. */
	T_EQ(rig_access(0, DEVICE + LEN, RMIO_BUS_MEM, 1, false, &data), -EOPNOTSUPP);
	close(other);
	T_EQ(rig_range(DEVICE - 1, LEN + 2, RMIO_BUS_MEM, 0), 0);
	rig_stop();
}

/* The end takes all of them away, however many. */
static void all_end(void)
{
	uint32_t i;

	RIG_START();
	for (i = 1; i < 20; i++)
		T_EQ(rig_range(i & 1 ? PORT + i : DEVICE + LEN + i, 1, i & 1, i), 0);
	T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 0), 0);
	g_begin(0);
	g_load(0, DEVICE, 1);
	for (i = 1; i < 20; i++) {
		if (i & 1)
			g_in(0, PORT + i, 1);
		else
			g_load(0, DEVICE + LEN + i, 1);
	}
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].exits, 20);
	for (i = 1; i < 20; i++)
		T_EQ(rig_range(0, 0, 0, i), -ENOENT);
	rig_stop();
}

static void moves(void)
{
	static const uint64_t at[] = { 0x80000, 0x78000, 0 };
	int i;

	RIG_START();
	rig_serve();
	w.reg[0x30] = 0x42;
	/* The second time over a part of its own place. */
	for (i = 0; i < KTAP_COUNT(at); i++) {
		T_EQ(rig_range(DEVICE + at[i], LEN, 0, 0), 0);
		g_begin(0);
		g_load(0, DEVICE + at[i] + 0x30, 1);
		g_end(0);
		T_OK(rig_run(0));
		T_EQ(w.vcpu[0].result[0], 0x42);
	}
	T_EQ(w.vcpu[0].exits, 0);
	T_EQ(rig_range(0, 0, 0, 0), 0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].exits, 1);
	rig_stop();
}

/* What the access map says of a range has room in it, whichever comes later. */
static void maps(void)
{
	struct rmio_area a = { .offset = 0x800, .length = 0x10, .store = RMIO_STORE_SYNC };

	RIG_START();
	T_EQ(rig_map(&a, 1), 0);
	T_EQ(rig_range(DEVICE, 0x80f, RMIO_BUS_MEM, 0), -ERANGE);
	T_EQ(rig_range(DEVICE, 1, RMIO_BUS_MEM, 0), -ERANGE);
	T_EQ(rig_range(DEVICE, 0x810, RMIO_BUS_MEM, 0), 0);
	a.length = 0x11;
	T_EQ(rig_map(&a, 1), -ERANGE);
	T_EQ(rig_range(DEVICE, 0x811, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_map(&a, 1), 0);
	/* Of one that is not there any length will do, and then that is the least. */
	a.range_id = 1;
	T_EQ(rig_map(&a, 1), 0);
	T_EQ(rig_range(PORT, 0x100, RMIO_BUS_IO, 1), -ERANGE);
	T_EQ(rig_range(PORT, 0x811, RMIO_BUS_IO, 1), 0);
	T_EQ(rig_range(DEVICE, 1, RMIO_BUS_MEM, 0), 0);
	rig_stop();
}

static void too_many(void)
{
	uint32_t i;

	RIG_START();
	for (i = 1; i < RMIO_RANGES_MAX; i++)
		T_EQ(rig_range(DEVICE + i * 0x10000ull, 0x1000, 0, i), 0);
	T_EQ(rig_range(DEVICE + i * 0x10000ull, 0x1000, 0, i), -ENOSPC);
	/* One of them may still move. */
	T_EQ(rig_range(DEVICE + i * 0x10000ull, 0x1000, 0, 5), 0);
	rig_stop();
}

/* -- a full bus ------------------------------------------------------------------- */

#define PER_MASTER (int)RMIO_RANGES_MAX
#define BUS_DEVS 1000		/* NR_IOBUS_DEVS: of a bus, with what KVM has there itself */
#define MASTERS	 (BUS_DEVS / PER_MASTER + 1)

static struct {
	uint32_t bus;
	int master[MASTERS];	/* the first is the rig's */
	unsigned int n;		/* ranges on the bus */
} full;

/* Of the nth range, one page or 32 ports; the first is where the rig's registers are. */
static uint64_t full_at(unsigned int n)
{
	return full.bus == RMIO_BUS_MEM ? DEVICE + 0x1000ull * n : PORT + 32 * n;
}

static int full_add(unsigned int n, unsigned int at)
{
	return rig_range_of(full.master[n / RMIO_RANGES_MAX], full_at(at),
			    full.bus == RMIO_BUS_MEM ? 0x1000 : 32, full.bus, n % RMIO_RANGES_MAX);
}

static const char *full_start(uint32_t bus)
{
	const char *why = rig_start((struct rig_opts){ .rings = { .slots = 2 } });
	struct rmio_kvm_rings rings = { .lanes = 1, .slots = 2 };
	int i, slave, err = 0;

	if (why)
		return why;
	T_EQ(rig_range(0, 0, 0, 0), 0);
	full.bus = bus;
	full.master[0] = w.master;
	/* Devices that have died answer ones, so that nobody has to serve them. */
	for (i = 1; i < MASTERS; i++) {
		full.master[i] = rig_create(w.vm->fd);
		T_EQ(CALL(full.master[i], KVM_DEV_USER_RINGS, &rings), 0);
		slave = ioctl(full.master[i], KVM_DEV_USER_SLAVE_FD, 0);
		T_EQ(close(slave), 0);
	}
	for (full.n = 0; (int)full.n < MASTERS * PER_MASTER && !err; full.n += !err)
		err = full_add(full.n, full.n);
	T_EQ(err, -ENOSPC);
	T_LE(full.n, BUS_DEVS);
	T_GT(full.n, BUS_DEVS - 16);
	rig_serve();
	return NULL;
}

static void full_stop(void)
{
	int i;

	for (i = 1; i < MASTERS; i++)
		close(full.master[i]);
	rig_stop();
}

/* Each of them is where it was, and answers: the first 64 with registers, others with ones. */
static void full_check(void)
{
	unsigned int i;

	memset(w.reg, 0x6c, 0x1000);
	w.vcpu[0].exits = 0;
	g_begin(0);
	for (i = 0; i < full.n; i++) {
		if (full.bus == RMIO_BUS_MEM)
			g_load(0, full_at(i) + 4, 4);
		else
			g_in(0, (uint32_t)full_at(i) + 4, 4);
	}
	g_end(0);
	T_OK(rig_run(0));
	for (i = 0; i < full.n; i++) {
		uint32_t expected = i < RMIO_RANGES_MAX ? 0x6c6c6c6c : 0xffffffff;

		if (!T_EQ(w.vcpu[0].result[i], expected)) {
			ktap_diag("range %u of %u", i, full.n);
			break;
		}
	}
	T_EQ(w.vcpu[0].exits, 0);
}

static void full_bus(uint32_t bus)
{
	uint32_t other = bus == RMIO_BUS_MEM ? RMIO_BUS_IO : RMIO_BUS_MEM;
	uint64_t there = other == RMIO_BUS_MEM ? DEVICE : PORT;
	unsigned int n;
	int i;

	RIG_HAVE(full_start(bus));
	full_check();
	n = full.n;
	/* Again and again: what is refused takes nothing away. */
	for (i = 0; i < 20; i++)
		T_EQ(full_add(n, n), -ENOSPC);
	full_check();
	/* One may move over itself, and away and back. */
	T_EQ(full_add(7, 7), 0);
	T_EQ(full_add(7, n + 5), 0);
	T_EQ(full_add(7, 7), 0);
	full_check();
	/* Nor does one come from the other bus: it stays there. */
	T_EQ(rig_range_of(full.master[MASTERS - 1], there, 8, other, 63), 0);
	T_EQ(rig_range_of(full.master[MASTERS - 1], full_at(n), 8, bus, 63), -ENOSPC);
	T_EQ(rig_range_of(full.master[MASTERS - 2], there, 8, other, 62), -EEXIST);
	T_EQ(rig_range_of(full.master[MASTERS - 1], 0, 0, 0, 63), 0);
	/* Room for one that goes, and no more; the same by a move to the other bus. */
	T_EQ(rig_range_of(full.master[2], 0, 0, 0, 0), 0);
	T_EQ(full_add(n, n), 0);
	T_EQ(full_add(2 * RMIO_RANGES_MAX, 2 * RMIO_RANGES_MAX), -ENOSPC);
	T_EQ(rig_range_of(full.master[n / RMIO_RANGES_MAX], there, 8, other,
			  n % RMIO_RANGES_MAX), 0);
	T_EQ(full_add(2 * RMIO_RANGES_MAX, 2 * RMIO_RANGES_MAX), 0);
	T_EQ(full_add(n, n), -ENOSPC);
	full_check();
	/* A device that goes leaves room for all that it had. */
	close(full.master[2]);
	full.master[2] = rig_create(w.vm->fd);
	for (i = 0; i < PER_MASTER; i++)
		T_EQ(full_add(2 * RMIO_RANGES_MAX + i, 2 * RMIO_RANGES_MAX + i), 0);
	T_EQ(full_add(n, n), -ENOSPC);
	close(ioctl(full.master[2], KVM_DEV_USER_SLAVE_FD, 0));
	full_check();
	full_stop();
}

static void full_memory(void)
{
	full_bus(RMIO_BUS_MEM);
}

static void full_ports(void)
{
	full_bus(RMIO_BUS_IO);
}

/* -- with others on the bus --------------------------------------------------------- */

static int ioeventfd(uint64_t addr, uint32_t len, uint32_t flags, int fd)
{
	struct kvm_ioeventfd io = { .addr = addr, .len = len, .fd = fd, .flags = flags };

	io.datamatch = flags & KVM_IOEVENTFD_FLAG_DATAMATCH ? 7 : 0;
	return CALL(w.vm->fd, KVM_IOEVENTFD, &io);
}

static uint64_t signalled(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* A range is the device's alone, whoever was there first: refused, and nothing has changed. */
static void one_ioeventfd(uint64_t at, uint32_t len, uint32_t bus)
{
	static const uint32_t more[] = { 0, KVM_IOEVENTFD_FLAG_DATAMATCH };
	uint32_t flags = bus == RMIO_BUS_IO ? KVM_IOEVENTFD_FLAG_PIO : 0;
	int fd = eventfd(0, EFD_NONBLOCK), i;

	for (i = 0; i < 2; i++) {
		uint32_t size;

		for (size = i ? 1 : 0; size <= 8; size = size ? 2 * size : 1) {
			uint64_t before = at - (size ? size : 1);

			T_EQ(ioeventfd(at, size, flags | more[i], fd), -EEXIST);
			T_EQ(ioeventfd(at + len - 1, size, flags | more[i], fd), -EEXIST);
			if (size > 1)
				T_EQ(ioeventfd(before + 1, size, flags | more[i], fd), -EEXIST);
			/* Beside it is room. */
			T_EQ(ioeventfd(before, size, flags | more[i], fd), 0);
			T_EQ(ioeventfd(at + len, size, flags | more[i], fd), 0);
			T_EQ(ioeventfd(before, size,
				       flags | more[i] | KVM_IOEVENTFD_FLAG_DEASSIGN, fd), 0);
			T_EQ(ioeventfd(at + len, size,
				       flags | more[i] | KVM_IOEVENTFD_FLAG_DEASSIGN, fd), 0);
		}
	}
	close(fd);
}

static void ioeventfds(void)
{
	int fd, other;

	RIG_START();
	rig_serve();
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	one_ioeventfd(DEVICE, LEN, RMIO_BUS_MEM);
	one_ioeventfd(PORT, PORTS, RMIO_BUS_IO);
	/* The same number on the other bus is another place. */
	fd = eventfd(0, EFD_NONBLOCK);
	other = eventfd(0, EFD_NONBLOCK);
	T_EQ(ioeventfd(PORT, 4, 0, fd), 0);
	T_EQ(ioeventfd(DEVICE + LEN, 4, 0, fd), 0);
	T_EQ(rig_range(DEVICE, LEN + 1, RMIO_BUS_MEM, 0), -EEXIST);
	g_begin(0);
	g_store(0, DEVICE, 4, 1);
	g_store(0, DEVICE + LEN, 4, 2);
	g_store(0, DEVICE + LEN - 4, 4, 3);
	g_out(0, PORT, 4, 4);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].exits, 0);
	T_EQ(signalled(fd), 1);
	T_EQ(COUNT(0, posted), 3);
	/* Both ranges have the same registers. */
	T_EQ(w.vcpu[0].result[0], 4);
	/* Its place is free when it has gone; then it is the other's. */
	T_EQ(rig_range(0, 0, 0, 0), 0);
	T_EQ(ioeventfd(DEVICE + 0x10, 4, 0, other), 0);
	T_EQ(rig_range(DEVICE, LEN, RMIO_BUS_MEM, 0), -EEXIST);
	/* One for stores of any length has its first byte. */
	T_EQ(ioeventfd(DEVICE + 8, 0, 0, other), 0);
	T_EQ(rig_range(DEVICE + 8, 4, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(rig_range(DEVICE + 5, 4, RMIO_BUS_MEM, 0), -EEXIST);
	T_EQ(rig_range(DEVICE + 9, 4, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_range(DEVICE + 4, 4, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_range(DEVICE + 0x14, 0x1000, RMIO_BUS_MEM, 0), 0);
	g_begin(0);
	g_store(0, DEVICE + 0x10, 4, 1);
	g_store(0, DEVICE + 0x14, 4, 1);
	g_load(0, DEVICE + 0x14, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(signalled(other), 1);
	T_EQ(signalled(fd), 0);
	T_EQ(w.vcpu[0].exits, 0);
	close(fd);
	close(other);
	rig_stop();
}

/* The other of KVM's own that a VMM can put there, and its interrupt controllers. */
static void zones(void)
{
	struct kvm_coalesced_mmio_zone z = { .addr = DEVICE + 0x100, .size = 16 };
	struct kvm_pit_config pit = { 0 };

	RIG_START();
	rig_serve();
	T_EQ(CALL(w.vm->fd, KVM_REGISTER_COALESCED_MMIO, &z), -EEXIST);
	z.addr = DEVICE - 8;
	T_EQ(CALL(w.vm->fd, KVM_REGISTER_COALESCED_MMIO, &z), -EEXIST);
	/* Around all of it. */
	z.size = 2 * LEN;
	T_EQ(CALL(w.vm->fd, KVM_REGISTER_COALESCED_MMIO, &z), -EEXIST);
	z.addr = DEVICE + LEN;
	T_EQ(CALL(w.vm->fd, KVM_REGISTER_COALESCED_MMIO, &z), 0);
	T_EQ(rig_range(DEVICE + LEN + 0x10, 8, RMIO_BUS_MEM, 1), -EEXIST);
	/* The timer's ports. */
	T_EQ(rig_range(0x40, 1, RMIO_BUS_IO, 1), 0);
	T_LT(CALL(w.vm->fd, KVM_CREATE_PIT2, &pit), 0);
	T_EQ(rig_range(0, 0, 0, 1), 0);
	T_EQ(CALL(w.vm->fd, KVM_CREATE_PIT2, &pit), 0);
	T_EQ(rig_range(0x40, 1, RMIO_BUS_IO, 1), -EEXIST);
	g_begin(0);
	g_store(0, DEVICE + 0x100, 4, 0x31);
	g_load(0, DEVICE + 0x100, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x31);
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "refused", refused },
	{ "limits", limits },
	{ "beside other devices", other_devices },
	{ "all ranges end", all_end },
	{ "moves", moves },
	{ "ranges and maps", maps },
	{ "too many", too_many },
	{ "a full bus of memory", full_memory, 300 },
	{ "a full bus of ports", full_ports, 300 },
	{ "ioeventfds beside a range", ioeventfds },
	{ "zones and a timer beside a range", zones },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
