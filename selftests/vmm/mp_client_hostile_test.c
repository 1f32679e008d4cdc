// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * mp_client_hostile_test.c - the VMM's end of QEMU's multi-process protocol against remotes that
 * lie, stall and die, at each command.  Beside the data path.
 */
#include "mp_remote.h"

#include <linux/pci_regs.h>

#define CFG	VFIO_PCI_CONFIG_REGION_INDEX
#define INTX	VFIO_PCI_INTX_IRQ_INDEX
#define TRIGGER	VFIO_IRQ_SET_ACTION_TRIGGER
#define UNMASK	VFIO_IRQ_SET_ACTION_UNMASK
#define RW	(PROT_READ | PROT_WRITE)

static struct remote remote;

static int config_write(struct rmio_client *c, uint32_t reg, uint32_t len, uint32_t v)
{
	return rmio_client_region_write(c, CFG, reg, &v, len);
}

/* All three BARs where they do not collide. */
static void place(struct rmio_client *c)
{
	T_EQ(config_write(c, PCI_BASE_ADDRESS_0, 4, 0xe0000000), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_1, 4, 0xc000), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_2, 4, 0xe1000000), 0);
	T_EQ(config_write(c, PCI_BASE_ADDRESS_3, 4, 0x20), 0);
	T_EQ(config_write(c, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY), 0);
}

static bool good(struct rmio_client **c)
{
	remote_init(&remote);
	if (!T_EQ(remote_connect(&remote, REMOTE_PATIENT, c), 0))
		return false;
	place(*c);
	return true;
}

static void done(struct rmio_client *c)
{
	rmio_client_free(c);
	remote_join(&remote);
}

static int read_bar(struct rmio_client *c, uint32_t bar, uint64_t off, void *buf, uint32_t n)
{
	return rmio_client_region_read(c, bar, off, buf, n);
}

static int memory(size_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	T_EQ(ftruncate(fd, (off_t)size), 0);
	return fd;
}

/* Registers that are no BARs. */
static void bad_bars(void)
{
	static const struct {
		uint32_t bar, mask;
		uint8_t type;
		int err;
	} cases[] = {
		{ 0, 0xfffff800 & ~0x10000u, 0, -EPROTO },	/* no power of two */
		{ 0, 0x0000fff0, 0, -EPROTO },			/* zeros above */
		{ 5, 0xfffff000, 4, -EPROTO },			/* of 64 bits, and the last */
		{ 4, 0xfffff000, 4, -EPROTO },			/* its upper half: zeros */
		{ 4, 0x00000700, 1, -EPROTO },			/* I/O with holes */
		{ 4, 0xfffff000, 2, 0 },			/* below 1 MiB: as any */
		{ 4, 0xfffffff0, 0, 0 },			/* the smallest */
		{ 4, 0x80000000, 0, 0 },			/* the largest */
	};
	int before = rig_count_fds();
	struct rmio_client *c;

	for (int i = 0; i < KTAP_COUNT(cases); i++) {
		remote_init(&remote);
		remote.mask[cases[i].bar] = cases[i].mask;
		remote.bar_type[cases[i].bar] = cases[i].type;
		remote_put(&remote, PCI_BASE_ADDRESS_0 + 4 * cases[i].bar, 4, cases[i].type);
		if (!T_EQ(remote_connect(&remote, REMOTE_PATIENT, &c), cases[i].err))
			ktap_diag("case %d", i);
		if (!cases[i].err)
			rmio_client_free(c);
		remote_join(&remote);
	}
	T_EQ(rig_count_fds(), before);
}

/* The remote makes each eventfd that it was given one that a write would wait at. */
static void stuck_eventfds(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int up = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t full = UINT64_MAX - 1, count;
	struct rmio_client *c;

	T_REQUIRE(good(&c));
	T_EQ(rmio_client_set_irqs(c, INTX, TRIGGER, 0, 1, &fd), 0);
	T_EQ(rmio_client_set_irqs(c, INTX, UNMASK, 0, 1, &up), 0);
	/* the remote's descriptors are the same files */
	for (int i = 0; i < 2; i++) {
		/* which may have been signalled */
		if (read(remote.pair[i], &count, sizeof(count)) < 0)
			T_EQ(errno, EAGAIN);
		T_EQ(write(remote.pair[i], &full, sizeof(full)), (ssize_t)sizeof(full));
		T_EQ(fcntl(remote.pair[i], F_SETFL, 0), 0);
	}
	T_EQ(rmio_client_set_irqs(c, INTX, UNMASK, 0, 1, NULL), 0);
	T_EQ(rmio_client_set_irqs(c, INTX, TRIGGER, 0, 1, &fd), 0);
	T_EQ(rmio_client_set_irqs(c, INTX, TRIGGER, 0, 0, NULL), 0);
	done(c);
	close(fd);
	close(up);
}

/*
 * Every kind of command, in the same order each time.  The first error; what comes after it must be
 * an error, or what the device has.
 */
static int session(struct rmio_client *c, int mem, int fd)
{
	uint32_t v = 0x11223344;
	uint8_t buf[8];
	int rc[10], first = 0;

	rc[0] = config_write(c, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	rc[1] = config_write(c, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	rc[2] = rmio_client_region_write(c, 0, 0x20, &v, 4);
	rc[3] = rmio_client_region_read(c, 0, 0x100, buf, 8);
	if (!rc[3])
		T_MEMEQ(buf, remote.ram + 0x100, 8);
	rc[4] = rmio_client_region_read(c, 0, 0x207, buf, 2);
	if (!rc[4])
		T_MEMEQ(buf, remote.ram + 0x207, 2);
	rc[5] = rmio_client_dma_map(c, 0, 0x1000, mem, 0, RW);
	rc[6] = rmio_client_set_irqs(c, INTX, TRIGGER, 0, 1, &fd);
	rc[7] = rmio_client_dma_unmap(c, 0, 0x1000);
	rc[8] = rmio_client_reset(c);
	rc[9] = rmio_client_region_read(c, CFG, 0, buf, 4);
	if (!rc[9])
		T_MEMEQ(buf, "\x34\x12\x78\x56", 4);
	for (int i = 0; i < KTAP_COUNT(rc); i++) {
		T_OK(rc[i] <= 0 && rc[i] > -4096);
		first = first ? first : rc[i];
	}
	return first;
}

/* Harm at each command in turn, in the negotiation as well. */
static void each_command(enum remote_harm harm, uint64_t n, uint32_t ms, int one, int other)
{
	/* One that is waited for in vain takes its time. */
	uint32_t step = ms == REMOTE_QUICK ? 10 : (uint32_t)ktap_pick(7, 3, 1);
	int mem = memory(0x1000), fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), err;
	struct rmio_client *c;

	for (uint32_t at = 1; !ktap_failed(); at += step) {
		bool reached;

		remote_init(&remote);
		remote.harm = harm;
		remote.n = n;
		remote.at = at;
		err = remote_connect(&remote, ms, &c);
		if (!err) {
			err = session(c, mem, fd);
			rmio_client_free(c);
		}
		remote_join(&remote);
		reached = remote.commands >= at;
		if (reached)
			T_OK(err == one || err == other);
		else
			T_EQ(err, 0);
		if (ktap_failed())
			ktap_diag("harm %d of %llu at command %u: %d", harm, (unsigned long long)n,
				  at, err);
		if (!reached)
			break;
	}
	close(mem);
	close(fd);
}

static void closes(void)
{
	int before = rig_count_fds();

	each_command(HARM_CLOSE, 0, REMOTE_PATIENT, -ECONNRESET, -ECONNRESET);
	for (uint64_t n = 1; n < 24; n += (uint64_t)ktap_pick(7, 7, 1))
		each_command(HARM_CUT, n, REMOTE_PATIENT, -ECONNRESET, -ECONNRESET);
	T_EQ(rig_count_fds(), before);
}

static void stalls(void)
{
	int before = rig_count_fds();

	each_command(HARM_SILENT, 0, REMOTE_QUICK, -ETIMEDOUT, -ETIMEDOUT);
	each_command(HARM_CUT_SILENT, 7, REMOTE_QUICK, -ETIMEDOUT, -ETIMEDOUT);
	each_command(HARM_CUT_SILENT, 20, REMOTE_QUICK, -ETIMEDOUT, -ETIMEDOUT);
	T_EQ(rig_count_fds(), before);
}

static void wrong_answers(void)
{
	static const int32_t cmds[] = {
		MP_SYNC_SYSMEM, MP_CONFIG_READ, MP_RESET, 8, -1, INT32_MIN,
	};
	static const uint64_t sizes[] = { 1, 7, 9, 16, 24, 192, 193, 1ull << 32, UINT64_MAX };
	int before = rig_count_fds();

	for (int i = 0; i < KTAP_COUNT(cmds); i++)
		each_command(HARM_CMD, (uint64_t)(int64_t)cmds[i], REMOTE_PATIENT, -EPROTO,
			     -EPROTO);
	for (int i = 0; i < KTAP_COUNT(sizes); i++)
		each_command(HARM_SIZE, sizes[i], REMOTE_PATIENT, -EPROTO, -EPROTO);
	/* nothing in it is right for a reset only */
	each_command(HARM_SIZE, 0, REMOTE_PATIENT, -EPROTO, 0);
	for (uint64_t n = 1; n <= 4; n++)
		each_command(HARM_FDS, n, REMOTE_PATIENT, -EPROTO, -EPROTO);
	/* noticed at the next command, if there is one */
	each_command(HARM_TWICE, 0, REMOTE_PATIENT, -EPROTO, 0);
	T_EQ(rig_count_fds(), before);
}

/* A refusal is an error, but where 64 bits are asked for: there it may be the value. */
static void refusals(void)
{
	uint64_t v = 0;
	struct rmio_client *c;

	for (uint32_t at = 1; at < 60 && !ktap_failed(); at++) {
		remote_init(&remote);
		remote.harm = HARM_ONES;
		remote.at = at;
		if (remote_connect(&remote, REMOTE_PATIENT, &c)) {
			remote_join(&remote);
			continue;
		}
		T_EQ(rmio_client_region_read(c, CFG, 0x10, &v, 4),
		     remote.commands == at ? -EIO : 0);
		rmio_client_free(c);
		remote_join(&remote);
	}
	T_REQUIRE(good(&c));
	remote.harm = HARM_ONES;
	remote.at = remote.commands + 1;
	T_EQ(read_bar(c, 0, 0, &v, 8), 0);
	T_EQ(v, UINT64_MAX);
	remote.at = remote.commands + 1;
	T_EQ(read_bar(c, 0, 0, &v, 4), -EIO);
	remote.at = remote.commands + 1;
	T_EQ(rmio_client_region_write(c, 0, 0, &v, 8), -EIO);
	remote.at = remote.commands + 1;
	T_EQ(config_write(c, PCI_COMMAND, 2, 0), -EIO);
	remote.at = remote.commands + 1;
	T_EQ(rmio_client_reset(c), -EIO);
	/* and goes on */
	place(c);
	T_EQ(read_bar(c, 0, 0, &v, 4), 0);
	done(c);
}

/* The answer to a command that was given up is not taken for the next one's. */
static void late(void)
{
	struct rmio_client *c;
	uint32_t v;

	remote_init(&remote);
	T_REQUIRE(T_EQ(remote_connect(&remote, REMOTE_QUICK, &c), 0));
	place(c);
	for (int i = 0; i < 5; i++) {
		remote.harm = HARM_LATE;
		remote.at = remote.commands + 1;
		T_EQ(read_bar(c, 0, 0, &v, 4), -ETIMEDOUT);
		T_EQ(read_bar(c, 0, 0x44, &v, 4), 0);
		T_MEMEQ(&v, remote.ram + 0x44, 4);
		T_EQ(read_bar(c, 0, 0x88, &v, 4), 0);
		T_MEMEQ(&v, remote.ram + 0x88, 4);
	}
	/* a late answer to what decides about decoding: off until it is known again */
	remote.at = remote.commands + 2;
	T_EQ(config_write(c, PCI_COMMAND, 2, 3), -ETIMEDOUT);
	T_EQ(read_bar(c, 0, 0, &v, 4), -ENXIO);
	T_EQ(config_write(c, PCI_COMMAND, 2, 3), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), 0);
	/* of where a BAR is: learned with the next write to anything that decides */
	remote.at = remote.commands + 2;
	T_EQ(config_write(c, PCI_BASE_ADDRESS_2, 4, 0xe2000000), -ETIMEDOUT);
	T_EQ(read_bar(c, 2, 0, &v, 4), -ENXIO);
	T_EQ(config_write(c, PCI_COMMAND, 2, 3), 0);
	T_EQ(read_bar(c, 2, 0x30, &v, 4), 0);
	T_MEMEQ(&v, remote.ram + 0x30, 4);
	/* the same after a reset that was not heard of to its end */
	remote.at = remote.commands + 4;
	T_EQ(rmio_client_reset(c), -ETIMEDOUT);
	T_EQ(config_write(c, PCI_COMMAND, 2, 3), 0);
	T_EQ(read_bar(c, 0, 0, &v, 4), -ENXIO);
	place(c);
	T_EQ(read_bar(c, 0, 0x30, &v, 4), 0);
	T_MEMEQ(&v, remote.ram + 0x30, 4);
	done(c);
}

/* A silent one is given up for good after a while, one that does not read as well. */
static void given_up(void)
{
	static const enum remote_harm harms[] = { HARM_SILENT, HARM_DEAF };
	struct rmio_client *c;
	uint32_t v;
	int i, rc;

	for (int k = 0; k < 2; k++) {
		remote_init(&remote);
		T_REQUIRE(T_EQ(remote_connect(&remote, 30, &c), 0));
		place(c);
		remote.harm = harms[k];
		remote.at = remote.commands + 1;
		for (i = 0; i < 100; i++) {
			rc = read_bar(c, 0, 0, &v, 4);
			if (rc != -ETIMEDOUT)
				break;
		}
		T_EQ(rc, -ECONNRESET);
		T_EQ(i, 17);
		T_EQ(rmio_client_reset(c), -ECONNRESET);
		T_EQ(rmio_client_set_irqs(c, INTX, UNMASK, 0, 1, NULL), -ECONNRESET);
		done(c);
	}
}

/* -- a remote that is no remote ------------------------------------------------------------- */

static void strangers(void)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .protocol = 2 };
	struct rmio_client *c;
	int s[2], file = memory(4096);

	T_EQ(rmio_client_new(file, &o, &c), -EINVAL);
	T_EQ(fcntl(file, F_GETFD), -1);
	o.protocol = RMIO_PROTOCOL_MULTI_PROCESS;
	file = memory(4096);
	T_EQ(rmio_client_new(file, &o, &c), -EINVAL);
	T_EQ(fcntl(file, F_GETFD), -1);
	T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	T_EQ(rmio_client_new(s[0], &o, &c), -EINVAL);
	close(s[1]);
}

static const struct ktap_test tests[] = {
	{ "registers that are no BARs", bad_bars },
	{ "stuck eventfds", stuck_eventfds },
	{ "a remote that closes, in each place", closes, 60 },
	{ "a remote that stalls", stalls, 60 },
	{ "wrong answers", wrong_answers, 60 },
	{ "refusals", refusals },
	{ "late answers", late, 60 },
	{ "a remote that is given up", given_up, 60 },
	{ "strangers", strangers },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
