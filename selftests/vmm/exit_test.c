// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * rmio_vcpu_exit on kvm_run structures made by hand: every length, string I/O,
 * what is not rmio's, interruptions in the middle of it, and devices and ranges
 * that go away meanwhile.  Needs no KVM.
 */
#include "pair.h"

#include <linux/kvm.h>

#define PORT	0x3000u
#define ITEMS	((char *)run_page + 4096)

/* kvm_run, and behind it the page of string I/O. */
static char run_page[8192] __attribute__((aligned(4096)));

static struct kvm_run *run(void)
{
	return (void *)run_page;
}

static void mmio(uint64_t addr, uint32_t len, bool is_write, uint64_t data)
{
	memset(run_page, 0, sizeof(run_page));
	run()->exit_reason = KVM_EXIT_MMIO;
	run()->mmio.phys_addr = addr;
	run()->mmio.len = len;
	run()->mmio.is_write = is_write;
	memcpy(run()->mmio.data, &data, 8);
}

static void io(uint16_t port, uint8_t size, uint32_t count, bool out)
{
	memset(run_page, 0, sizeof(run_page));
	run()->exit_reason = KVM_EXIT_IO;
	run()->io.direction = out ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
	run()->io.size = size;
	run()->io.port = port;
	run()->io.count = count;
	run()->io.data_offset = 4096;
}

static uint64_t mmio_data(uint32_t len)
{
	uint64_t v = 0;

	memcpy(&v, run()->mmio.data, len);
	return v;
}

static bool init(struct pair *p, uint64_t timeout_ns)
{
	struct rmio_pa_range ports = {
		.addr = PORT, .len = 0x100, .bus = RMIO_BUS_IO, .id = 1,
	};

	return pair_init(p, RMIO_WAIT_SLEEP, 0, timeout_ns) &&
	       T_EQ(rmio_master_pa_range(p->master, &ports), 0);
}

static void memory(void)
{
	static const uint32_t lens[] = { 1, 2, 4, 8 };
	struct pair p;
	int i;

	T_REQUIRE(init(&p, 0) && pair_start(&p));
	for (i = 0; i < 4; i++) {
		uint64_t ones = lens[i] == 8 ? UINT64_MAX : (1ull << 8 * lens[i]) - 1;

		mmio(PAIR_ADDR + 8, lens[i], true, 0x8877665544332211ull);
		T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
		mmio(PAIR_ADDR + 8, lens[i], false, 0);
		T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
		T_EQ(mmio_data(lens[i]), 0x8877665544332211ull & ones);
		/* All of it reached the device, and no more. */
		mmio(PAIR_ADDR + 8, 8, false, 0);
		T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
		T_EQ(mmio_data(8), 0x8877665544332211ull & ones);
	}
	/* What KVM cut at the end of a page: in natural pieces. */
	mmio(PAIR_ADDR + 8, 8, true, 0);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
	mmio(PAIR_ADDR + 0xffd, 3, true, 0xcccbaaull);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
	mmio(PAIR_ADDR + 0xff8, 8, false, 0);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
	T_EQ(mmio_data(8), 0xcccb);
	pair_exit(&p);
}

static void not_ours(void)
{
	struct pair p;

	T_REQUIRE(init(&p, 0));
	mmio(PAIR_ADDR - 8, 8, false, 0);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), -EOPNOTSUPP);
	mmio(PAIR_ADDR, 0, false, 0);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), -EOPNOTSUPP);
	mmio(PAIR_ADDR, 9, true, 0);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), -EOPNOTSUPP);
	mmio(PAIR_ADDR, UINT32_MAX, true, 0);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), -EOPNOTSUPP);
	mmio(PORT, 4, false, 0);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), -EOPNOTSUPP);
	io(PORT - 1, 1, 3, false);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), -EOPNOTSUPP);
	mmio(PAIR_ADDR, 4, false, 0);
	run()->exit_reason = KVM_EXIT_HLT;
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), -EOPNOTSUPP);
	/* Partly ours: nobody else may answer it. */
	mmio(PAIR_ADDR - 4, 8, false, 0);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
	T_EQ(mmio_data(8), UINT64_MAX);
	io(PORT - 1, 2, 1, false);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
	T_EQ(*(uint16_t *)ITEMS, 0xffff);
	T_EQ(rmio_vm_straddled(p.vm), 2);
	pair_exit(&p);
}

/* -- string I/O: a device that counts ------------------------------------------------------ */

struct counting {
	struct pair *p;
	atomic_uint stop_after;		/* requests, then it waits for more to be allowed */
	unsigned int nr;
	uint32_t got[4096];
};

static void *count(void *arg)
{
	struct counting *c = arg;
	struct rmio_request r;

	while (!atomic_load(&c->p->stop)) {
		if (c->nr >= atomic_load(&c->stop_after)) {
			usleep(100);
			continue;
		}
		if (rmio_slave_read(c->p->slave, &r, 1) != 1) {
			rmio_slave_poll(c->p->slave, 1);
			continue;
		}
		if (r.op != RMIO_OP_LOAD)
			c->got[c->nr % 4096] = (uint32_t)r.data;
		rmio_slave_write(c->p->slave, &(struct rmio_reply){
			.seq = r.seq, .vcpu = r.vcpu, .data = 0x10000 + c->nr++ }, 1);
	}
	return NULL;
}

static bool start_counting(struct counting *c, struct pair *p, unsigned int allowed)
{
	memset(c, 0, sizeof(*c));
	c->p = p;
	atomic_store(&c->stop_after, allowed);
	p->running = T_EQ(pthread_create(&p->device, NULL, count, c), 0);
	return p->running;
}

static void strings(void)
{
	static const uint8_t sizes[] = { 1, 2, 4 };
	static struct counting c;
	struct pair p;
	uint64_t v;
	int s, i;

	for (s = 0; s < 3; s++) {
		uint32_t n = 4096u / sizes[s], mask = (uint32_t)((1ull << 8 * sizes[s]) - 1);
		uint32_t item;

		T_REQUIRE(init(&p, 0) && start_counting(&c, &p, UINT32_MAX));
		io(PORT + 4, sizes[s], n, true);
		for (i = 0; i < (int)n; i++) {
			item = (uint32_t)i * 0x01030507u;
			memcpy(ITEMS + i * sizes[s], &item, sizes[s]);
		}
		T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
		io(PORT + 4, sizes[s], n, false);
		T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
		/* And none more. */
		T_EQ(rmio_vcpu_load(p.vcpu[0], RMIO_BUS_IO, PORT, 4, &v), 0);
		T_EQ(v, 0x10000 + 2 * n);
		pair_stop(&p);
		for (i = 0; i < (int)n; i++) {
			item = 0;
			memcpy(&item, ITEMS + i * sizes[s], sizes[s]);
			if (!T_EQ(c.got[i], (uint32_t)i * 0x01030507u & mask) ||
			    !T_EQ(item, (0x10000 + n + (uint32_t)i) & mask))
				break;
		}
		pair_exit(&p);
	}
}

/* Taken up again where it was, as often as it takes. */
static void interrupted_string(bool out)
{
	static struct counting c;
	unsigned int allowed;
	struct pair p;
	uint64_t v;
	int err, n = 0;

	T_REQUIRE(init(&p, 0) && start_counting(&c, &p, 0));
	io(PORT, 4, 100, out);
	for (allowed = 0; allowed < 100; allowed++)
		memcpy(ITEMS + allowed * 4, &allowed, 4);
	for (allowed = 0;;) {
		/* The two ways to say it, and both together. */
		if (n % 3 != 1)
			rmio_vcpu_kick(p.vcpu[0]);
		run()->immediate_exit = n % 3 != 0;
		err = rmio_vcpu_exit(p.vcpu[0], run());
		if (err != -EINTR)
			break;
		run()->immediate_exit = 0;
		n++;
		allowed += 7;
		atomic_store(&c.stop_after, allowed);
		/* It waits with none of them, and gets on by a few. */
		usleep(500);
	}
	T_EQ(err, 0);
	if (!out)
		T_GE(n, 100 / 7);
	atomic_store(&c.stop_after, UINT32_MAX);
	while ((err = rmio_vcpu_load(p.vcpu[0], RMIO_BUS_IO, PORT, 4, &v)) == -EINTR)
		;
	T_EQ(err, 0);
	T_EQ(v, 0x10000 + 100);
	pair_stop(&p);
	for (allowed = 0; allowed < 100; allowed++)
		if (!T_EQ(out ? c.got[allowed] : ((uint32_t *)ITEMS)[allowed],
			  out ? allowed : 0x10000 + allowed))
			break;
	pair_exit(&p);
}

static void interrupted_in(void)
{
	interrupted_string(false);
}

static void interrupted_out(void)
{
	interrupted_string(true);
}

/* -- what goes away ---------------------------------------------------------------------------- */

/* The vCPU was reset in the middle: the next exit begins at its first item. */
static void cancelled(void)
{
	static struct counting c;
	struct pair p;

	T_REQUIRE(init(&p, 0) && start_counting(&c, &p, 0));
	io(PORT, 4, 3, false);
	rmio_vcpu_kick(p.vcpu[0]);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), -EINTR);
	atomic_store(&c.stop_after, 2);
	usleep(1000);
	while (rmio_vcpu_kick(p.vcpu[0]), rmio_vcpu_exit(p.vcpu[0], run()) == -EINTR &&
	       !((uint32_t *)ITEMS)[0])
		usleep(100);
	rmio_vcpu_cancel(p.vcpu[0]);
	atomic_store(&c.stop_after, UINT32_MAX);
	io(PORT, 1, 4, false);
	while (rmio_vcpu_exit(p.vcpu[0], run()) == -EINTR)
		;
	/* Those of before were 0, 1 and perhaps 2. */
	T_GE(ITEMS[0], 2);
	T_EQ(ITEMS[1], ITEMS[0] + 1);
	T_EQ(ITEMS[3], ITEMS[0] + 3);
	pair_exit(&p);
}

static void range_gone(void)
{
	struct rmio_pa_range gone = { .bus = RMIO_BUS_IO, .id = 1 };
	static struct counting c;
	struct pair p;

	T_REQUIRE(init(&p, 0) && start_counting(&c, &p, 0));
	io(PORT, 2, 3, false);
	rmio_vcpu_kick(p.vcpu[0]);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), -EINTR);
	T_EQ(rmio_master_pa_range(p.master, &gone), 0);
	atomic_store(&c.stop_after, UINT32_MAX);
	/* The first was under way, the others find nobody. */
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
	T_EQ(((uint16_t *)ITEMS)[0], 0);
	T_EQ(((uint16_t *)ITEMS)[1], 0xffff);
	T_EQ(((uint16_t *)ITEMS)[2], 0xffff);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), -EOPNOTSUPP);
	pair_exit(&p);
}

static void device_gone(void)
{
	struct rmio_counters c;
	struct pair p;
	int i;

	T_REQUIRE(init(&p, 20000000));
	io(PORT, 4, 1024, false);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
	for (i = 0; i < 1024; i++)
		if (!T_EQ(((uint32_t *)ITEMS)[i], 0xffffffffu))
			break;
	io(PORT, 4, 1024, true);
	T_EQ(rmio_vcpu_exit(p.vcpu[0], run()), 0);
	/* One timeout for all of them. */
	T_EQ(rmio_master_counters(p.master, 0, &c), 0);
	T_EQ(c.timeouts, 1);
	T_EQ(c.ones, 1024);
	T_EQ(c.discarded, 1024);
	pair_exit(&p);
}

static const struct ktap_test tests[] = {
	{ "memory", memory },
	{ "not ours", not_ours },
	{ "string I/O", strings },
	{ "string input, interrupted", interrupted_in },
	{ "string output, interrupted", interrupted_out },
	{ "cancelled", cancelled },
	{ "range gone", range_gone },
	{ "device gone", device_gone },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
