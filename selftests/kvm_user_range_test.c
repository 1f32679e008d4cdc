// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: where its ranges may lie, and how many there may be.
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

static const struct ktap_test tests[] = {
	{ "refused", refused },
	{ "moves", moves },
	{ "too many", too_many },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
