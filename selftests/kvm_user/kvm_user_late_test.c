// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: answers that come late.  To an access that has been given up, while another is
 * under way; to one that ran out of time; in every order.  None answers what it is not for.  And
 * what a VMM sees of an access that is under way.
 */
#include "kvm_user_lanes.h"

#define MAX_GIVEN_UP 3

/* What access number n, from 0, loads from, and what is its answer. */
static uint64_t place(int n)
{
	return DEVICE + 0x40 + 8 * (uint64_t)n;
}

static uint64_t answer_of(int n)
{
	return 0xa0a0a000 + (uint64_t)n;
}

static int load(int n, uint64_t *data)
{
	return rig_access(0, place(n), RMIO_BUS_MEM, 4, false, data);
}

/* Kicked out of each, and the next one begun: the last one is under way. */
static void give_up(int n)
{
	uint64_t data = 0;
	int i;

	for (i = 0; i <= n; i++) {
		rig_kick_wait(0);
		T_EQ(load(i, &data), -EINTR);
	}
}

/* The next order of n numbers, false after the last. */
static bool next_order(int *order, int n)
{
	int i = n - 1, j = n - 1, k;

	while (i > 0 && order[i - 1] > order[i])
		i--;
	if (!i)
		return false;
	while (order[j] < order[i - 1])
		j--;
	k = order[i - 1];
	order[i - 1] = order[j];
	order[j] = k;
	for (j = n - 1; i < j; i++, j--) {
		k = order[i];
		order[i] = order[j];
		order[j] = k;
	}
	return true;
}

/* -- read() and write() ----------------------------------------------------------- */

/* Each is answered with its own, in every order; only the last has somebody who waits. */
static void every_order(void)
{
	int given_up, order[MAX_GIVEN_UP + 1], i;
	struct rmio_request r[MAX_GIVEN_UP + 1];
	uint64_t data;

	for (given_up = 1; given_up <= MAX_GIVEN_UP && !ktap_failed(); given_up++) {
		for (i = 0; i <= given_up; i++)
			order[i] = i;
		do {
			RIG_START(.rings = { .slots = 4 });
			T_EQ(rig_timeout(~0ull), 0);
			give_up(given_up);
			for (i = 0; i <= given_up; i++) {
				r[i] = rig_take();
				T_EQ(DEVICE + r[i].offset, place(i));
			}
			for (i = 0; i <= given_up; i++) {
				int n = order[i];

				T_EQ(rig_reply(0, r[n].seq, answer_of(n)), 0);
				T_EQ(rig_reply(0, r[n].seq, 0xbad), -ENOENT);
				if (i < given_up) {
					/* Not before those before it are complete. */
					rig_kick_wait(0);
					T_EQ(load(given_up, &data), -EINTR);
				}
			}
			T_EQ(load(given_up, &data), 0);
			T_EQ(data, answer_of(given_up));
			/* And nothing of it is left for the next one. */
			rig_kick_wait(0);
			T_EQ(load(0, &data), -EINTR);
			T_EQ(rig_reply(0, rig_take().seq, 0x77), 0);
			T_EQ(load(0, &data), 0);
			T_EQ(data, 0x77);
			rig_stop();
		} while (next_order(order, given_up + 1) && !ktap_failed());
	}
}

/* What follows is the guest's own. */
static void before_the_guest(void)
{
	struct rmio_request a, b;
	uint64_t data = 0;
	int late;

	for (late = 0; late < 2; late++) {
		RIG_START();
		T_EQ(rig_timeout(~0ull), 0);
		g_begin(0);
		g_load(0, place(1), 4);
		g_end(0);
		rig_kick_wait(0);
		T_EQ(load(0, &data), -EINTR);
		T_REQUIRE(rig_go(0));
		UNTIL(COUNT(0, loads) == 2);
		a = rig_take();
		b = rig_take();
		T_EQ(DEVICE + b.offset, place(1));
		if (!late)
			T_EQ(rig_reply(0, a.seq, answer_of(0)), 0);
		T_OK(!rig_ended(0));
		T_EQ(rig_reply(0, b.seq, answer_of(1)), 0);
		if (late)
			T_EQ(rig_reply(0, a.seq, answer_of(0)), 0);
		rig_join(0);
		T_EQ(w.vcpu[0].result[0], answer_of(1));
		T_EQ(w.vcpu[0].exits, 0);
		rig_stop();
	}
}

/* The same numbers in another vCPU's lane are other requests. */
static void beside_another(void)
{
	struct rmio_request r[2];
	uint64_t data = 0;
	int i;

	RIG_START(.vcpus = 2);
	T_EQ(rig_timeout(~0ull), 0);
	g_begin(1);
	g_load(1, place(1), 4);
	g_load(1, place(2), 4);
	g_end(1);
	rig_kick_wait(0);
	T_EQ(load(0, &data), -EINTR);
	T_REQUIRE(rig_go(1));
	UNTIL(SLEEPS(1));
	for (i = 0; i < 2; i++) {
		struct rmio_request next = rig_take();

		T_REQUIRE(T_LT(next.vcpu, 2));
		r[next.vcpu] = next;
	}
	T_EQ(r[0].seq, 1);
	T_EQ(r[1].seq, 1);
	/* Given up, and answered: nothing to the other one, who sleeps on. */
	rig_kick_wait(0);
	T_EQ(load(3, &data), -EINTR);
	T_EQ(rig_reply(0, 1, answer_of(0)), 0);
	T_EQ(rig_reply(0, 1, answer_of(0)), -ENOENT);
	T_EQ(rig_reply(1, 2, answer_of(0)), -ENOENT);
	T_OK(SLEEPS(1));
	T_EQ(rig_reply(1, 1, answer_of(1)), 0);
	UNTIL(COUNT(1, loads) == 2);
	/* The second of both lanes, in the other order. */
	T_EQ(rig_take().seq, 2);
	T_EQ(rig_take().seq, 2);
	T_EQ(rig_reply(1, 2, answer_of(2)), 0);
	T_EQ(rig_reply(0, 2, answer_of(3)), 0);
	rig_join(1);
	T_EQ(w.vcpu[1].result[0], answer_of(1));
	T_EQ(w.vcpu[1].result[1], answer_of(2));
	T_EQ(load(3, &data), 0);
	T_EQ(data, answer_of(3));
	rig_stop();
}

/* After its time limit the device is dead: what it still says is heard by nobody. */
static void after_the_limit(void)
{
	struct rmio_request r[2];
	int i;

	RIG_START(.vcpus = 2);
	T_EQ(rig_timeout(~0ull), 0);
	for (i = 0; i < 2; i++) {
		g_begin((unsigned int)i);
		g_load((unsigned int)i, place(i), 4);
		g_load((unsigned int)i, place(2), 4);
		g_end((unsigned int)i);
	}
	T_REQUIRE(rig_go(1));
	UNTIL(SLEEPS(1));
	T_EQ(rig_timeout(20000000), 0);
	T_OK(rig_run(0));
	T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
	/* It waits for ever by its own limit: its end is the device's. */
	rig_join(1);
	r[0] = rig_take();
	r[1] = rig_take();
	for (i = 0; i < 2; i++) {
		T_EQ(rig_reply(r[i].vcpu, r[i].seq, answer_of(i)), 0);
		T_OK(rig_run((unsigned int)i));
		T_EQ(w.vcpu[i].result[0], 0xffffffff);
		T_EQ(w.vcpu[i].result[1], 0xffffffff);
		T_EQ(COUNT((unsigned int)i, loads), 1);
		T_EQ(COUNT((unsigned int)i, ones), 4);
	}
	/* And the first reason stays. */
	T_EQ(CALL(w.slave, KVM_DEV_USER_CLOSE, 0), 0);
	T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 0), 0);
	T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
	rig_stop();
}

/* Anything that is not the same is another access, and the same is no other. */
static void the_same(void)
{
	static const struct { uint64_t addr, data; uint8_t bus, len; bool store; } other[] = {
		{ DEVICE + 0x100, 7, RMIO_BUS_MEM, 4, true },
		{ DEVICE + 0x100, 8, RMIO_BUS_MEM, 4, true },
		{ DEVICE + 0x100, 7, RMIO_BUS_MEM, 2, true },
		{ DEVICE + 0x104, 7, RMIO_BUS_MEM, 4, true },
		{ DEVICE + 0x100, 7, RMIO_BUS_MEM, 4, false },
		{ PORT, 7, RMIO_BUS_IO, 4, false },
		{ PORT, 7, RMIO_BUS_IO, 1, false },
	};
	struct rmio_request r;
	uint64_t data;
	int i, k;

	RIG_HAVE(rig_start((struct rig_opts){ .rings = { .slots = 16 } }));
	T_EQ(rig_map(rig_waits_map, 1), 0);
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	T_EQ(rig_timeout(~0ull), 0);
	for (i = 0; i < KTAP_COUNT(other); i++) {
		for (k = 0; k < 3; k++) {
			data = other[i].data;
			rig_kick_wait(0);
			T_EQ(rig_access(0, other[i].addr, other[i].bus, other[i].len,
					other[i].store, &data), -EINTR);
		}
		T_EQ(COUNT(0, sync) + COUNT(0, loads), i + 1);
		r = rig_take();
		T_EQ(r.seq, i + 1);
		T_EQ(r.len, other[i].len);
		T_EQ(r.data, other[i].store ? other[i].data : 0);
	}
	rig_stop();
}

/* -- mapped lanes ----------------------------------------------------------------- */

static void put_reply(struct lanes *l, uint64_t seq, uint64_t data)
{
	__atomic_store_n(&l->answer->reply_data, data, __ATOMIC_RELAXED);
	__atomic_store_n(&l->answer->reply_seq, seq, __ATOMIC_RELEASE);
}

/* The reply slot is the last request's; what an older one leaves in it is nobody's. */
static void in_the_lane(void)
{
	uint64_t data = 0;
	struct lanes l;
	int i;

	RIG_START();
	T_EQ(rig_timeout(~0ull), 0);
	T_REQUIRE(map_lanes(&l));
	give_up(2);
	for (i = 0; i < 3; i++) {
		T_OK(there(&l));
		T_EQ(DEVICE + l.slots[l.done].offset, place(i));
		l.done++;
		if (i == 2)
			break;
		put_reply(&l, l.done, answer_of(i));
		__atomic_store_n(&l.answer->done, l.done, __ATOMIC_RELEASE);
		rig_kick_wait(0);
		T_EQ(load(2, &data), -EINTR);
	}
	/* The right one, and over it one that is late: that is none. */
	put_reply(&l, 3, answer_of(2));
	put_reply(&l, 1, answer_of(0));
	rig_kick_wait(0);
	T_EQ(load(2, &data), -EINTR);
	put_reply(&l, 2, answer_of(1));
	rig_kick_wait(0);
	T_EQ(load(2, &data), -EINTR);
	put_reply(&l, 3, answer_of(2));
	__atomic_store_n(&l.answer->done, 3, __ATOMIC_RELEASE);
	T_EQ(load(2, &data), 0);
	T_EQ(data, answer_of(2));
	/* Nor does what is still there answer the next one. */
	rig_kick_wait(0);
	T_EQ(load(0, &data), -EINTR);
	T_EQ(COUNT(0, loads), 4);
	unmap_lanes(&l);
	rig_stop();
}

/* -- what the VMM sees of it -------------------------------------------------------- */

static bool pending(unsigned int i)
{
	return w.vcpu[i].v->run->flags & RMIO_KVM_RUN_PENDING;
}

/* Set while an access is under way, and at no other time that KVM_RUN comes back with EINTR. */
static void flag(void)
{
	enum rig_wait kind;

	for (kind = 0; kind < WAITS && !ktap_failed(); kind++) {
		struct vmm_vcpu *v;
		int i;

		RIG_HAVE(rig_start_waits(1));
		g_begin(0);
		g_wait(0, kind);
		g_end(0);
		v = w.vcpu[0].v;
		/* Before the first instruction. */
		vmm_vcpu_enter(v);
		T_REQUIRE(rig_reset(0));
		v->run->immediate_exit = 1;
		v->run->flags = RMIO_KVM_RUN_PENDING;
		T_EQ(CALL(v->fd, KVM_RUN, 0), -EINTR);
		T_OK(!pending(0));
		vmm_vcpu_clear_kick(v);
		vmm_vcpu_leave(v);
		T_REQUIRE(rig_run_to_wait(0));
		T_OK(pending(0));
		/* Whoever clears it changes nothing. */
		for (i = 0; i < 4; i++) {
			v->run->flags = i & 1 ? 0 : 0xffff;
			v->run->immediate_exit = i < 2;
			if (i >= 2)
				rig_kick_wait(0);
			T_EQ(CALL(v->fd, KVM_RUN, 0), -EINTR);
			T_EQ(v->run->exit_reason, KVM_EXIT_INTR);
			T_OK(pending(0));
		}
		vmm_vcpu_clear_kick(v);
		rig_serve();
		T_OK(rig_run_on(0));
		T_OK(!pending(0));
		T_EQ(w.vcpu[0].exits, 0);
		UNTIL(atomic_load(&w.n) == (kind == WAIT_ROOM ? 3 : 1));
		if (ktap_failed())
			ktap_diag("wait for %s", rig_wait_names[kind]);
		rig_stop();
	}
}

/*
 * A VMM that sets registers meanwhile has lost them, and nothing else: the access is made once,
 * the flag stays until it is, and what is set then holds.
 */
static void registers(void)
{
	enum rig_wait kind;

	for (kind = 0; kind < WAITS && !ktap_failed(); kind++) {
		struct kvm_regs regs;
		struct kvm_sregs sregs;
		struct vmm_vcpu *v;
		int i;

		RIG_HAVE(rig_start_waits(1));
		g_begin(0);
		g_wait(0, kind);
		g_end(0);
		v = w.vcpu[0].v;
		T_REQUIRE(rig_run_to_wait(0));
		for (i = 0; i < 3; i++) {
			T_EQ(CALL(v->fd, KVM_GET_REGS, &regs), 0);
			T_EQ(CALL(v->fd, KVM_GET_SREGS, &sregs), 0);
			T_EQ(CALL(v->fd, KVM_SET_SREGS, &sregs), 0);
			T_EQ(CALL(v->fd, KVM_SET_REGS, &regs), 0);
			T_OK(pending(0));
			rig_kick_wait(0);
			T_EQ(CALL(v->fd, KVM_RUN, 0), -EINTR);
			T_OK(pending(0));
		}
		/* The way out: on to the end of the access, and out of KVM_RUN. */
		rig_serve();
		do {
			v->run->immediate_exit = 1;
			T_EQ(CALL(v->fd, KVM_RUN, 0), -EINTR);
		} while (pending(0) && !ktap_failed());
		vmm_vcpu_clear_kick(v);
		vmm_vcpu_leave(v);
		/* Now it can be reset, and runs from its new place. */
		g_begin(0);
		g_load(0, DEVICE + 0x800, 1);
		g_end(0);
		T_OK(rig_run(0));
		T_EQ(w.vcpu[0].result[0], (uint8_t)RIG_FILL);
		T_EQ(w.vcpu[0].exits, 0);
		/* The third store of the wait for room; a shadow load is not the device's. */
		T_EQ(atomic_load(&w.n), 1 + (kind == WAIT_ROOM ? 3 : 1));
		if (ktap_failed())
			ktap_diag("wait for %s", rig_wait_names[kind]);
		rig_stop();
	}
}

static const struct ktap_test tests[] = {
	{ "given up, and answered in every order", every_order },
	{ "given up for the guest's own", before_the_guest },
	{ "given up beside another vCPU", beside_another },
	{ "after the time limit", after_the_limit },
	{ "the same access, and another", the_same },
	{ "given up, in a mapped lane", in_the_lane },
	{ "the flag of an access that is under way", flag },
	{ "registers during an access", registers },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
