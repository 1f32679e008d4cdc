// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: strings of port accesses, REP INS and REP OUTS.  KVM hands several at a time
 * to its bus; whatever happens in their middle, each element is done once, in order, or not at all.
 */
#include "kvm_user_rig.h"

#define OUT_BYTES	64u
#define IN_WORDS	16u

static uint8_t out[OUT_BYTES];
static uint16_t *in;

/* rep outsb of 64 to the port, then rep insw of 16 from it; then one more load. */
static void strings(void)
{
	unsigned int i;

	for (i = 0; i < OUT_BYTES; i++)
		out[i] = (uint8_t)(3 * i + 1);
	memcpy((void *)(w.vcpu[0].result + 0x100), out, sizeof(out));
	in = (uint16_t *)(w.vcpu[0].result + 0x200);
	memset(in, 0, 2 * IN_WORDS);
	g_begin(0);
	g_edx(0, PORT + 0x10);
	G(0, 0xfc);					/* cld */
	G(0, 0xbe, 0x00, 0x08, 0x40, 0x00);		/* mov $RIG_RESULTS + 0x800,%esi */
	G(0, 0xb9, OUT_BYTES, 0x00, 0x00, 0x00);	/* mov $64,%ecx */
	G(0, 0xf3, 0x6e);				/* rep outsb */
	G(0, 0xbf, 0x00, 0x10, 0x40, 0x00);		/* mov $RIG_RESULTS + 0x1000,%edi */
	G(0, 0xb9, IN_WORDS, 0x00, 0x00, 0x00);		/* mov $16,%ecx */
	G(0, 0xf3, 0x66, 0x6d);				/* rep insw */
	g_in(0, PORT + 0x10, 1);
	g_end(0);
	w.reg[0x11] = 0x77;
}

static void check_all(uint8_t op)
{
	unsigned int i;

	T_EQ(atomic_load(&w.n), OUT_BYTES + IN_WORDS + 1);
	for (i = 0; i < OUT_BYTES; i++)
		if (!T_EQ(w.log[i].data, out[i]) || !T_EQ(w.log[i].op, op) ||
		    !T_EQ(w.log[i].offset, 0x10) || !T_EQ(w.log[i].len, 1))
			break;
	for (; i < OUT_BYTES + IN_WORDS; i++)
		if (!T_EQ(w.log[i].op, RMIO_OP_LOAD) || !T_EQ(w.log[i].len, 2))
			break;
	for (i = 0; i < IN_WORDS; i++)
		T_EQ(in[i], 0x7700 | out[OUT_BYTES - 1]);
	T_EQ(w.vcpu[0].result[0], out[OUT_BYTES - 1]);
	T_EQ(w.vcpu[0].exits, 0);
}

static void plain(void)
{
	RIG_START();
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	rig_serve();
	strings();
	T_OK(rig_run(0));
	check_all(RMIO_OP_STORE);
	rig_stop();
}

static void synchronous(void)
{
	const struct rmio_area area = {
		.range_id = 1, .length = PORTS, .store = RMIO_STORE_SYNC,
	};

	RIG_START();
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	T_EQ(rig_map(&area, 1), 0);
	rig_serve();
	strings();
	T_OK(rig_run(0));
	check_all(RMIO_OP_STORE_SYNC);
	rig_stop();
}

/* A string that finds the ring full in its middle. */
static void full(void)
{
	RIG_START(.rings = { .slots = 2 });
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	strings();
	T_REQUIRE(rig_go(0));
	rig_until_waits(0);
	T_OK(!atomic_load(&w.vcpu[0].ended));
	T_EQ(COUNT(0, posted), 2);
	rig_serve();
	rig_join(0);
	check_all(RMIO_OP_STORE);
	rig_stop();
}

/* Elements answered one at a time, and the vCPU kicked out before each. */
static void interrupted(void)
{
	struct rmio_request r[8];
	unsigned int done = 0;
	ssize_t n, i;

	RIG_START(.rings = { .slots = 2 });
	T_EQ(rig_timeout(~0ull), 0);
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	strings();
	T_REQUIRE(rig_go(0));
	while (done < OUT_BYTES + IN_WORDS + 1 && !ktap_failed()) {
		rig_interrupt(0, true);
		n = read(w.slave, r, sizeof(r));
		if (!T_GT(n, 0))
			break;
		for (i = 0; i < n / (ssize_t)sizeof(r[0]); i++) {
			w.log[done++] = r[i];
			T_EQ(rig_reply(0, r[i].seq, rig_answer(&r[i]).data), 0);
		}
		atomic_store(&w.n, done);
	}
	rig_join(0);
	check_all(RMIO_OP_STORE);
	rig_stop();
}

/* The first loads of a string come from the shadow; then the map is another one. */
static void map_changes(void)
{
	static const struct rmio_area shadow = {
		.range_id = 1, .length = PORTS, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
	}, device = { .range_id = 1, .length = PORTS };
	long rounds = ktap_pick(50, 200, 2000), round;
	unsigned int i, changed = 0;
	uint16_t *image;

	RIG_START();
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	image = rig_image(0x1000);
	T_REQUIRE(image);
	image[0x10 / 2] = 0x5555;
	memset(w.reg + 0x10, 0x66, 2);
	in = (uint16_t *)(w.vcpu[0].result + 0x200);
	g_begin(0);
	g_edx(0, PORT + 0x10);
	G(0, 0xfc);					/* cld */
	G(0, 0xbf, 0x00, 0x10, 0x40, 0x00);		/* mov $RIG_RESULTS + 0x1000,%edi */
	G(0, 0xb9, 0x00, 0x04, 0x00, 0x00);		/* mov $1024,%ecx */
	G(0, 0xf3, 0x66, 0x6d);				/* rep insw */
	g_end(0);
	rig_serve();
	for (round = 0; round < rounds && !ktap_failed(); round++) {
		T_EQ(rig_map(round & 1 ? &device : &shadow, 1), 0);
		memset(in, 0, 2048);
		T_REQUIRE(rig_go(0));
		T_EQ(rig_map(round & 1 ? &shadow : &device, 1), 0);
		rig_join(0);
		for (i = 0; i < 1024; i++) {
			bool old = in[i] == (round & 1 ? 0x6666 : 0x5555);

			/* Each is the one or the other, and no old one follows a new one. */
			if (!T_OK(in[i] == 0x5555 || in[i] == 0x6666) ||
			    !T_OK(!i || !old || in[i] == in[i - 1]))
				break;
			changed += i && in[i] != in[i - 1];
		}
	}
	ktap_diag("the map changed in the middle of %u strings of %ld", changed, rounds);
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

/* The range goes while a string waits in it: what has not been done is nobody's, or the VMM's. */
static void range_goes(void)
{
	unsigned int i;

	RIG_START(.rings = { .slots = 2 });
	T_EQ(rig_timeout(~0ull), 0);
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	strings();
	T_REQUIRE(rig_go(0));
	rig_until_waits(0);
	T_EQ(COUNT(0, posted), 2);
	T_EQ(rig_range(0, 0, RMIO_BUS_IO, 1), 0);
	/* The one that waits is the device's still. */
	rig_serve();
	rig_join(0);
	T_EQ(atomic_load(&w.n), 3);
	for (i = 0; i < 3; i++)
		T_EQ(w.log[i].data, out[i]);
	for (i = 0; i < IN_WORDS; i++)
		T_EQ(in[i], 0xffff);
	T_GT(w.vcpu[0].exits, 0);
	rig_stop();
}

/* The device dies while a string waits. */
static void device_dies(void)
{
	unsigned int i;

	RIG_START(.rings = { .slots = 2 });
	T_EQ(rig_timeout(~0ull), 0);
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	strings();
	T_REQUIRE(rig_go(0));
	rig_until_waits(0);
	rig_close_slave();
	rig_join(0);
	T_EQ(COUNT(0, posted), 2);
	T_EQ(COUNT(0, discarded), OUT_BYTES);
	T_EQ(COUNT(0, ones), IN_WORDS + 1);
	for (i = 0; i < IN_WORDS; i++)
		T_EQ(in[i], 0xffff);
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "out and in", plain },
	{ "synchronous", synchronous },
	{ "full ring", full },
	{ "interrupted at each element", interrupted },
	{ "the map changes", map_changes, 300 },
	{ "the range goes", range_goes },
	{ "the device dies", device_dies },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
