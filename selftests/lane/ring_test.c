// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The lane: sizes, wrap, batches, full, replies, a successor, hostile words.
 */
#include "ktap.h"
#include "ring.h"

#include <pthread.h>

struct lane_pair {
	void *down, *up;
	struct rmio_prod p;
	struct rmio_cons c;
};

static bool lane_init(struct lane_pair *l, uint32_t slots, uint64_t at)
{
	l->down = aligned_alloc(RMIO_PAGE, rmio_lane_stride(slots));
	l->up = aligned_alloc(RMIO_PAGE, RMIO_PAGE);
	memset(l->down, 0, rmio_lane_stride(slots));
	memset(l->up, 0, RMIO_PAGE);
	((struct rmio_down_lane *)l->down)->tail = at;
	((struct rmio_up_lane *)l->up)->done = at;
	((struct rmio_up_lane *)l->up)->taken = at;
	return T_EQ(rmio_prod_init(&l->p, l->down, l->up, slots, at), 0) &&
	       T_EQ(rmio_cons_init(&l->c, l->down, l->up, slots), 0);
}

static void lane_exit(struct lane_pair *l)
{
	free(l->down);
	free(l->up);
}

static void sizes(void)
{
	struct rmio_prod p;
	struct rmio_cons c;
	uint32_t n;

	for (n = 0; n <= 70000; n++) {
		bool good = n >= 2 && n <= 65536 && !(n & (n - 1));

		if (!T_EQ(!!rmio_lane_stride(n), good))
			break;
		if (!good && n < 100) {
			T_EQ(rmio_prod_init(&p, NULL, NULL, n, 0), -EINVAL);
			T_EQ(rmio_cons_init(&c, NULL, NULL, n), -EINVAL);
		}
	}
	T_EQ(rmio_lane_stride(2), 2 * RMIO_PAGE);
	T_EQ(rmio_lane_stride(65536), RMIO_PAGE + 65536 * 32);
}

/* Fill, drain by pieces, over and over, across the end of the index. */
static void wrap_at(uint32_t slots, uint64_t at)
{
	struct rmio_request in, out[8];
	uint64_t pushed = 0, popped = 0;
	struct lane_pair l;
	uint32_t i, k;
	int round;

	if (!lane_init(&l, slots, at))
		return;
	for (round = 0; round < 20; round++) {
		for (i = 0; i < slots; i++) {
			in = (struct rmio_request){
				.offset = pushed, .data = ~pushed, .range_id = 3, .vcpu = 2,
				.op = RMIO_OP_STORE, .len = 4,
			};
			if (!T_EQ(rmio_prod_push(&l.p, &in), 0))
				return;
			pushed++;
		}
		T_EQ(rmio_prod_push(&l.p, &in), -EAGAIN);
		T_EQ(rmio_prod_outstanding(&l.p), slots);
		T_EQ(rmio_prod_stores(&l.p), slots);
		while (popped < pushed) {
			k = rmio_cons_pop(&l.c, out, 1 + popped % 8);
			if (!T_OK(k > 0))
				return;
			for (i = 0; i < k; i++, popped++) {
				T_EQ(out[i].offset, popped);
				T_EQ(out[i].data, ~popped);
				T_EQ(out[i].seq, at + popped + 1);
				T_EQ(out[i].range_id, 3);
				T_EQ(out[i].vcpu, 2);
				T_EQ(out[i].op, RMIO_OP_STORE);
				T_EQ(out[i].len, 4);
				T_EQ(out[i].flags, 0);
			}
			rmio_cons_complete(&l.c, k);
		}
		T_OK(!rmio_cons_pending(&l.c));
		T_EQ(rmio_cons_pop(&l.c, out, 8), 0);
	}
	lane_exit(&l);
}

static void wrap(void)
{
	static const uint64_t at[] = { 0, 1, 0x7ffffffffffffff0, UINT64_MAX - 5, UINT32_MAX - 3 };
	static const uint32_t slots[] = { 2, 4, 8, 256 };
	size_t i, k;

	for (i = 0; i < 5; i++)
		for (k = 0; k < 4; k++)
			wrap_at(slots[k], at[i]);
	wrap_at(65536, UINT64_MAX - 100);
}

/* Every start offset, every batch size: all or none, and in order. */
static void batches(void)
{
	struct rmio_request in[9] = { 0 }, out[16];
	struct lane_pair l;
	uint32_t start, n, i;

	for (start = 0; start < 8; start++) {
		for (n = 0; n <= 9; n++) {
			if (!lane_init(&l, 8, start))
				return;
			for (i = 0; i < n; i++)
				in[i] = (struct rmio_request){ .offset = 100 * n + i, .len = 1 };
			if (n > 8) {
				T_EQ(rmio_prod_push_n(&l.p, in, n), -EMSGSIZE);
				lane_exit(&l);
				continue;
			}
			T_EQ(rmio_prod_push_n(&l.p, in, n), 0);
			if (n)
				T_EQ(rmio_prod_push_n(&l.p, in, 8 - n + 1), -EAGAIN);
			T_EQ(rmio_cons_pop(&l.c, out, 16), n);
			for (i = 0; i < n; i++)
				T_EQ(out[i].offset, 100 * n + i);
			lane_exit(&l);
		}
	}
}

static void replies(void)
{
	struct rmio_request in = { .op = RMIO_OP_LOAD, .len = 8 }, out;
	struct lane_pair l;
	uint64_t v = 0, i;

	if (!lane_init(&l, 4, UINT64_MAX - 50))
		return;
	for (i = 0; i < 100; i++) {
		T_EQ(rmio_prod_push(&l.p, &in), 0);
		T_OK(!rmio_prod_reply(&l.p, l.p.tail, &v));
		T_EQ(rmio_cons_pop(&l.c, &out, 1), 1);
		T_OK(!rmio_prod_reply(&l.p, l.p.tail, &v));
		rmio_cons_reply(&l.c, i * 3);
		T_OK(rmio_prod_reply(&l.p, l.p.tail, &v));
		T_EQ(v, i * 3);
		/* The answer to another request is none. */
		T_OK(!rmio_prod_reply(&l.p, l.p.tail + 1, &v));
		T_OK(!rmio_prod_reply(&l.p, l.p.tail - 1, &v));
		T_EQ(rmio_prod_update(&l.p), 0);
		T_EQ(rmio_prod_outstanding(&l.p), 0);
	}
	lane_exit(&l);
}

/* The device process dies; what it had not completed is delivered again, marked. */
static void successor(void)
{
	struct rmio_request in = { .op = RMIO_OP_STORE, .len = 8 }, out[8];
	struct lane_pair l;
	uint32_t i;

	if (!lane_init(&l, 8, UINT64_MAX - 3))
		return;
	for (i = 0; i < 6; i++) {
		in.data = i;
		T_EQ(rmio_prod_push(&l.p, &in), 0);
	}
	T_EQ(rmio_cons_pop(&l.c, out, 3), 3);
	rmio_cons_complete(&l.c, 1);
	memset(&l.c, 0xee, sizeof(l.c));
	T_EQ(rmio_cons_init(&l.c, l.down, l.up, 8), 0);
	T_EQ(rmio_cons_pop(&l.c, out, 8), 5);
	for (i = 0; i < 5; i++) {
		T_EQ(out[i].data, i + 1);
		T_EQ(out[i].flags, i < 2 ? RMIO_REQ_REDELIVERED : 0);
	}
	rmio_cons_complete(&l.c, 5);
	T_EQ(rmio_prod_update(&l.p), 0);
	T_EQ(rmio_prod_outstanding(&l.p), 0);
	in.data = 6;
	T_EQ(rmio_prod_push(&l.p, &in), 0);
	T_EQ(rmio_cons_pop(&l.c, out, 8), 1);
	T_EQ(out[0].flags, 0);
	lane_exit(&l);
}

static void successor_of_garbage(void)
{
	static const int64_t bad[][2] = { { -9, -9 }, { 9, 9 }, { 0, -1 }, { 0, 9 }, { 5, 0 },
					  { INT64_MIN, 0 }, { 0, INT64_MIN } };
	struct lane_pair l;
	size_t i;

	if (!lane_init(&l, 8, 100))
		return;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		((struct rmio_up_lane *)l.up)->done = 100 + (uint64_t)bad[i][0];
		((struct rmio_up_lane *)l.up)->taken = 100 + (uint64_t)bad[i][1];
		T_EQ(rmio_cons_init(&l.c, l.down, l.up, 8), -EPROTO);
	}
	lane_exit(&l);
}

/* Whatever stands in "done": within bounds it is believed, else refused. */
static void hostile_done(void)
{
	struct rmio_request in = { .op = RMIO_OP_STORE, .len = 8 };
	struct lane_pair l;
	struct rmio_up_lane *up;
	uint64_t d;
	int i;

	if (!lane_init(&l, 8, UINT64_MAX - 1))
		return;
	up = l.up;
	for (i = 0; i < 8; i++)
		T_EQ(rmio_prod_push(&l.p, &in), 0);
	for (i = -20; i < 30; i++) {
		up->done = UINT64_MAX - 1 + (uint64_t)(int64_t)i;
		T_EQ(rmio_prod_peek(&l.p, &d), i >= 0 && i <= 8 ? 0 : -EPROTO);
	}
	up->done = 0x8000000000000000;
	T_EQ(rmio_prod_push(&l.p, &in), -EPROTO);
	T_EQ(rmio_prod_outstanding(&l.p), 8);
	/* Backwards is refused as well. */
	up->done = UINT64_MAX - 1 + 4;
	T_EQ(rmio_prod_update(&l.p), 0);
	up->done = UINT64_MAX - 1 + 3;
	T_EQ(rmio_prod_update(&l.p), -EPROTO);
	lane_exit(&l);
}

/* A VMM that writes any seq anywhere: the consumer stays in order and in bounds. */
static void hostile_slots(void)
{
	struct rmio_request out[64];
	struct rmio_request *slots;
	struct lane_pair l;
	unsigned int seed = 1;
	uint64_t last = 0;
	int i, k;

	if (!lane_init(&l, 16, 0))
		return;
	slots = (struct rmio_request *)((char *)l.down + RMIO_PAGE);
	for (i = 0; i < 200000; i++) {
		uint32_t n;

		slots[(l.c.taken + (uint32_t)(rand_r(&seed) % 3)) % 16].seq =
			l.c.taken + (uint64_t)(rand_r(&seed) % 12) - 5;
		n = rmio_cons_pop(&l.c, out, 64);
		T_OK(n <= 16);
		for (k = 0; k < (int)n; k++)
			if (!T_EQ(out[k].seq, ++last))
				return;
		T_OK(l.c.taken - l.c.done <= 16);
		if (rand_r(&seed) % 2)
			rmio_cons_complete(&l.c, (uint32_t)(l.c.taken - l.c.done));
	}
	T_OK(last > 1000);
	lane_exit(&l);
}

struct traffic {
	struct lane_pair l;
	uint64_t n;
};

static void *consume(void *arg)
{
	struct traffic *t = arg;
	struct rmio_request r[32];
	uint64_t seen = 0;

	while (seen < t->n) {
		uint32_t got = rmio_cons_pop(&t->l.c, r, 1 + seen % 32), i;

		for (i = 0; i < got; i++, seen++)
			if (r[i].offset != seen || r[i].data != ~seen || r[i].seq != seen + 1) {
				T_EQ(r[i].offset, seen);
				return NULL;
			}
		if (got)
			rmio_cons_complete(&t->l.c, got);
	}
	return NULL;
}

static void two_threads(void)
{
	struct rmio_request r[32] = { 0 };
	struct traffic t = { .n = 2000000 / KTAP_SLOWDOWN };
	uint64_t sent = 0;
	pthread_t thread;
	uint32_t i, n;

	if (!lane_init(&t.l, 64, 0))
		return;
	T_EQ(pthread_create(&thread, NULL, consume, &t), 0);
	while (sent < t.n) {
		n = 1 + sent % 31;
		if (n > t.n - sent)
			n = (uint32_t)(t.n - sent);
		for (i = 0; i < n; i++)
			r[i] = (struct rmio_request){ .offset = sent + i, .data = ~(sent + i) };
		if (!rmio_prod_push_n(&t.l.p, r, n))
			sent += n;
	}
	pthread_join(thread, NULL);
	T_EQ(rmio_prod_update(&t.l.p), 0);
	T_EQ(rmio_prod_outstanding(&t.l.p), 0);
	lane_exit(&t.l);
}

static const struct ktap_test tests[] = {
	{ "sizes", sizes },
	{ "wrap", wrap },
	{ "batches at each offset", batches },
	{ "replies", replies },
	{ "successor", successor },
	{ "successor of garbage", successor_of_garbage },
	{ "hostile done", hostile_done },
	{ "hostile slots", hostile_slots },
	{ "two threads", two_threads },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
