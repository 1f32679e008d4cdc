// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * heat_test.c - what heat.h says is certain, against a table that forgets nothing, for streams of
 * stores fair and foul.
 */
#include "backend/plan/heat.h"
#include "ktap.h"
#include "map_model.h"

#define HOT	RMIO_HEAT_HOT
#define WINDOW	RMIO_HEAT_WINDOW
#define REGS	RMIO_HEAT_REGS

/* -- the table that forgets nothing: registers are numbered ------------------------- */

#define NUMBERS	(1u << 17)

struct truth {
	double weight[NUMBERS];		/* halves of halves are exact */
	uint32_t stores;
};

/* Register number @n: all fields take part. */
static void reg_of(uint32_t n, uint32_t *range, uint64_t *offset, uint32_t *len)
{
	*len = 1u << (n & 3);
	*range = n >> 2 & 1;
	*offset = (uint64_t)(n >> 3) * 8 + ((uint64_t)(n >> 10 & 1) << 40);
}

static uint32_t number_of(uint32_t range, uint64_t offset, uint32_t len)
{
	return (uint32_t)((offset & 0xffffffff) / 8) << 3 | range << 2 |
	       (uint32_t)__builtin_ctz(len);
}

static bool store(struct rmio_heat *h, struct truth *t, uint32_t n)
{
	uint32_t range, len;
	uint64_t offset;

	reg_of(n, &range, &offset, &len);
	t->weight[n]++;
	if (++t->stores % WINDOW == 0)
		for (uint32_t i = 0; i < NUMBERS; i++)
			t->weight[i] /= 2;
	return rmio_heat_add(h, range, offset, len);
}

/* The bounds of each register in the table, and of each that is not. */
static bool bounds_hold(const struct rmio_heat *h, const struct truth *t)
{
	static bool in[NUMBERS];
	uint32_t least = UINT32_MAX, chained = 0;
	bool ok = true;

	memset(in, 0, sizeof(in));
	for (uint32_t i = 0; ok && i < h->nr; i++) {
		uint32_t n = number_of(h->regs[i].range_id, h->regs[i].offset, h->regs[i].len);

		ok = T_LT(n, NUMBERS) && T_OK(!in[n]) &&
		     T_OK(h->regs[i].sure <= t->weight[n] && t->weight[n] <= h->count[i]);
		in[n] = true;
		least = h->count[i] < least ? h->count[i] : least;
	}
	if (h->nr < REGS)
		least = 0;
	ok = ok && T_LE(least, RMIO_HEAT_LOST);
	for (uint32_t n = 0; ok && n < NUMBERS; n++)
		if (!in[n] && t->weight[n] > least) {
			T_FAIL("register %u of weight %f is not in the table, which keeps %u", n,
			       t->weight[n], least);
			ok = false;
		}
	for (uint32_t b = 0; ok && b < REGS; b++)
		for (uint32_t i = h->bucket[b]; i && chained <= h->nr; i = h->regs[i - 1].next)
			chained++;
	return ok && T_EQ(chained, h->nr);
}

/* -- streams ------------------------------------------------------------------------ */

static struct rmio_heat heat;
static struct truth truth;

static void counts(void)
{
	struct rmio_heat_reg regs[REGS];

	rmio_heat_init(&heat, HOT, 1);
	T_EQ(rmio_heat_list(&heat, regs, REGS), 0);
	for (uint32_t i = 1; i < HOT; i++)
		T_OK(!rmio_heat_add(&heat, 3, 0x1234567890, 4));
	/* differ in one thing each */
	T_OK(!rmio_heat_add(&heat, 2, 0x1234567890, 4));
	T_OK(!rmio_heat_add(&heat, 3, 0x1234567894, 4));
	T_OK(!rmio_heat_add(&heat, 3, 0x1234567890, 8));
	T_OK(!rmio_heat_add(&heat, 3, 0x0234567890, 4));
	T_OK(rmio_heat_add(&heat, 3, 0x1234567890, 4));
	T_OK(!rmio_heat_add(&heat, 3, 0x1234567890, 4));
	T_EQ(rmio_heat_list(&heat, regs, REGS), 5);
	T_EQ(rmio_heat_list(&heat, regs, 2), 2);
	T_EQ(regs[0].count, HOT + 1);
	T_EQ(regs[0].range_id, 3);
	T_EQ(regs[0].offset, 0x1234567890);
	T_EQ(regs[0].len, 4);
	T_OK(!regs[0].planned);
	T_EQ(regs[1].count, 1);

	/* what has cooled down to nothing is no longer listed */
	for (uint32_t i = 0; i < WINDOW; i++)
		rmio_heat_add(&heat, 3, 0x1234567890, 4);
	T_EQ(rmio_heat_list(&heat, regs, REGS), 1);

	/* told apart in one bucket too, which some of these keys make of them */
	for (uint64_t key = 0; key < 4096; key++) {
		rmio_heat_init(&heat, HOT, key);
		rmio_heat_add(&heat, 0, 0, 4);
		rmio_heat_add(&heat, 0, 0, 8);
		rmio_heat_add(&heat, 1, 0, 4);
		rmio_heat_add(&heat, 0, 8, 4);
		T_EQ(heat.nr, 4);
	}
}

/* A table with room counts exactly; each register is reported once however long it stays hot. */
static void exact_with_room(void)
{
	uint32_t asked = 0;

	rmio_heat_init(&heat, HOT, 2);
	for (uint32_t round = 0; round < 4 * WINDOW / REGS; round++)
		for (uint32_t n = 0; n < REGS; n++)
			asked += store(&heat, &truth, n * 5);
	T_OK(bounds_hold(&heat, &truth));
	for (uint32_t i = 0; i < REGS; i++) {
		T_EQ(heat.count[i], heat.regs[i].sure);
		T_EQ(heat.count[i], WINDOW / REGS / 2 + WINDOW / REGS / 4 + WINDOW / REGS / 8 +
					    WINDOW / REGS / 16);
	}
	/* all became hot in the first window, in one round: one plan, and one for the rest */
	T_EQ(asked, 2);
}

/* The same register, for ever: one report. */
static void steady(void)
{
	uint32_t asked = 0;

	rmio_heat_init(&heat, HOT, 3);
	for (uint32_t i = 0; i < 8 * WINDOW; i++)
		asked += rmio_heat_add(&heat, 0, 0, 4);
	T_EQ(asked, 1);

	/* at a rate that is just hot, too: the count swings about what is hot */
	rmio_heat_init(&heat, HOT, 3);
	asked = 0;
	for (uint32_t i = 0; i < 16 * WINDOW; i++)
		asked += rmio_heat_add(&heat, 0, i % (WINDOW / 140) ? 8 : 0, 4);
	T_EQ(asked, 2);
}

/* Hot, then cold for long, then hot again: reported again. */
static void hot_again(void)
{
	uint32_t asked = 0;

	rmio_heat_init(&heat, HOT, 4);
	for (uint32_t i = 0; i < HOT; i++)
		asked += rmio_heat_add(&heat, 0, 0, 4);
	T_EQ(asked, 1);
	for (uint32_t i = 0; i < 4 * WINDOW; i++)
		asked += rmio_heat_add(&heat, 0, 8, 4);
	T_EQ(asked, 2);
	for (uint32_t i = 0; i < HOT; i++)
		asked += rmio_heat_add(&heat, 0, 0, 4);
	T_EQ(asked, 3);
}

/* Several that become hot at once make one plan and, after the gap, one more for the rest. */
static void gathers(void)
{
	uint32_t asked = 0, i;

	rmio_heat_init(&heat, HOT, 5);
	for (i = 0; i < HOT; i++)
		for (uint64_t n = 0; n < 3; n++)
			asked += rmio_heat_add(&heat, 0, n * 8, 4);
	T_EQ(asked, 1);
	/* the first asked two stores before the end; then quiet */
	for (i = 0; i < RMIO_HEAT_GAP_MIN - 3; i++)
		asked += rmio_heat_add(&heat, 0, 0, 4);
	T_EQ(asked, 1);
	T_OK(rmio_heat_add(&heat, 0, 0, 4));
	for (i = 0; i < WINDOW; i++)
		asked += rmio_heat_add(&heat, 0, 0, 4);
	T_EQ(asked, 1);
}

/* -- foul play ------------------------------------------------------------------------ */

/* Sweeps: nothing is stored to often, nothing is hot, whatever counts are taken over. */
static void sweep(void)
{
	struct rmio_heat_reg regs[REGS];
	size_t n;

	rmio_heat_init(&heat, HOT, 6);
	for (uint32_t i = 0; i < 6 * WINDOW; i++) {
		if (store(&heat, &truth, i * 7 % NUMBERS)) {
			T_FAIL("asked for a plan at store %u", i);
			break;
		}
		if (i % 9973 == 0 && !bounds_hold(&heat, &truth))
			break;
	}
	T_OK(bounds_hold(&heat, &truth));
	n = rmio_heat_list(&heat, regs, REGS);
	for (size_t i = 0; i < n; i++)
		T_LE(regs[i].count, 6 * WINDOW / NUMBERS + 1);
}

/* One register among sweeps, with just what heat.h promises for: found in the window. */
static void found_in_sweep(uint32_t phase)
{
	uint32_t need = RMIO_HEAT_LOST + HOT, given = 0;
	uint32_t every = WINDOW / need, sweep_at = 1;
	bool told = false;

	memset(&truth, 0, sizeof(truth));
	rmio_heat_init(&heat, HOT, phase);
	/* all others as hot as can be, then two windows of sweeping */
	for (uint32_t i = 0; i < 2 * WINDOW; i++)
		store(&heat, &truth, 8 + (phase & 1 ? i % (REGS - 1) * 8 : i * 7 % (NUMBERS - 8)));
	for (uint32_t i = 0; i < WINDOW - 1; i++) {
		bool mine = phase & 2 ? i % every == 0 : i >= WINDOW - 1 - need;

		if (mine && given < need) {
			given++;
			store(&heat, &truth, 0);
		} else {
			store(&heat, &truth, 8 + sweep_at++ * 7 % (NUMBERS - 8));
		}
	}
	T_EQ(given, need);
	T_OK(bounds_hold(&heat, &truth));
	for (uint32_t i = 0; i < REGS; i++)
		if (!heat.regs[i].offset && !heat.regs[i].range_id && heat.regs[i].len == 1)
			told = heat.regs[i].told && T_GE(heat.regs[i].sure, HOT);
	if (!T_OK(told))
		ktap_diag("phase %u", phase);
}

static void finds_in_sweeps(void)
{
	for (uint32_t phase = 0; phase < 4; phase++)
		found_in_sweep(phase);
}

/* A new register made hot, then the next, for ever: as many plans as a guest can ask for. */
static void asks_are_bounded(void)
{
	uint32_t asked = 0, after_start, stores = 64 * WINDOW, in_last = 0;

	rmio_heat_init(&heat, HOT, 7);
	for (uint32_t i = 0; i < stores; i++) {
		bool ask = rmio_heat_add(&heat, 0, i / HOT * 8, 4);

		asked += ask;
		in_last += ask && i >= stores - 4 * WINDOW;
		if (!T_LE(asked, RMIO_HEAT_ASKS_MAX(i + 1)))
			return;
	}
	/* it does go on, or the bound says nothing */
	T_GE(asked, 32);
	T_GE(in_last, 2);
	T_LE(in_last, RMIO_HEAT_ASKS_MAX(4 * WINDOW));
	/* and a guest that has stopped that is served fast again */
	for (uint32_t i = 0; i < 12 * WINDOW; i++)
		rmio_heat_add(&heat, 1, 0, 4);
	T_EQ(heat.gap, RMIO_HEAT_GAP_MIN);
	T_EQ(heat.quiet, 0);
	after_start = 0;
	for (uint32_t i = 0; i < HOT; i++)
		after_start += rmio_heat_add(&heat, 1, 8, 4);
	T_EQ(after_start, 1);
}

static uint32_t foul(uint32_t kind, uint32_t i)
{
	switch (kind) {
	case 0:			/* skewed, over many decades */
		return (uint32_t)(model_rand() >> (47 + model_below(17)));
	case 1:			/* just too many for the table */
		return i % (REGS + 1);
	case 2:			/* bursts of what was just lost */
		return i / 300 * 8 % NUMBERS;
	case 3:			/* hot ones and a sweep by turns */
		return i & 1 ? i % NUMBERS : (uint32_t)model_below(300);
	default:
		return (uint32_t)model_below(NUMBERS);
	}
}

static void any_stream(void)
{
	long rounds = ktap_pick(1, 4, 40);

	model_seed = 0x68656174;
	for (long round = 0; round < rounds * 5; round++) {
		uint32_t n = 2 * WINDOW + (uint32_t)model_below(2 * WINDOW), asked = 0;
		uint32_t hot = 1 + (uint32_t)model_below(2 * HOT);

		memset(&truth, 0, sizeof(truth));
		rmio_heat_init(&heat, hot, model_rand());
		for (uint32_t i = 0; i < n; i++) {
			asked += store(&heat, &truth, foul(round % 5, i) % NUMBERS);
			if ((i % 8999 == 0 || i % WINDOW > WINDOW - 2) &&
			    !bounds_hold(&heat, &truth)) {
				ktap_diag("round %ld, store %u", round, i);
				return;
			}
		}
		T_LE(asked, RMIO_HEAT_ASKS_MAX(n));
	}
}

static const struct ktap_test tests[] = {
	{ "counts by range, offset and length", counts },
	{ "exact in a table with room", exact_with_room },
	{ "steady heat is reported once", steady },
	{ "what cooled down is reported again", hot_again },
	{ "reports are gathered", gathers },
	{ "a sweep makes nothing hot", sweep },
	{ "what is hot is found in a sweep", finds_in_sweeps },
	{ "a guest cannot ask for plans without bound", asks_are_bounded },
	{ "bounds hold for any stream", any_stream },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
