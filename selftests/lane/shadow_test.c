// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * shadow_test.c - values of the shadow image: the right bytes at every offset and size, and no torn
 * value and no lost neighbour while two threads work on one quadword.
 */
#include <pthread.h>
#include <rmio/abi.h>

#include "ktap.h"
#include "shadow.h"

#define SIZE	(2ull * RMIO_PAGE)

static _Alignas(RMIO_PAGE) unsigned char image[SIZE];

/* An odd pattern: no two bytes near each other are alike. */
static unsigned char pattern(uint64_t i)
{
	return i * 37 + (i >> 8) * 11 + 5;
}

static uint64_t value_of(const unsigned char *bytes, uint32_t len)
{
	uint64_t v = 0;

	for (uint32_t i = 0; i < len; i++)
		v |= (uint64_t)bytes[i] << 8 * i;
	return v;
}

static void every_get(void)
{
	for (uint64_t i = 0; i < SIZE; i++)
		image[i] = pattern(i);
	for (uint32_t len = 1; len <= 8; len *= 2) {
		for (uint64_t offset = 0; offset + len <= SIZE; offset++) {
			uint64_t want = value_of(image + offset, len);

			if (!T_EQ(rmio_shadow_get(image, offset, len), want)) {
				ktap_diag("%u bytes at 0x%llx", len, (unsigned long long)offset);
				return;
			}
		}
	}
}

static void every_put(void)
{
	static unsigned char want[SIZE];

	for (uint64_t i = 0; i < SIZE; i++)
		image[i] = want[i] = pattern(i);
	for (uint32_t len = 1; len <= 8; len *= 2) {
		for (uint64_t offset = 0; offset + len <= SIZE; offset++) {
			/* what is beyond len bytes of the value must not show */
			uint64_t value = 0x8f9e0dbc6b5a4938ull * (offset + len);
			uint64_t from = offset < 16 ? 0 : offset - 16;
			uint64_t to = offset + 24 > SIZE ? SIZE : offset + 24;

			rmio_shadow_put(image, offset, value, len);
			for (uint32_t i = 0; i < len; i++)
				want[offset + i] = value >> 8 * i;
			if (!T_MEMEQ(image + from, want + from, to - from)) {
				ktap_diag("%u bytes at 0x%llx", len, (unsigned long long)offset);
				return;
			}
		}
	}
	T_MEMEQ(image, want, SIZE);
}

/* The first and last bytes of the image: the quadwords around them are the image's own. */
static void edges(void)
{
	unsigned char *room =
		mmap(NULL, 3 * RMIO_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *p = room + RMIO_PAGE;

	T_REQUIRE(T_OK(room != MAP_FAILED));
	T_EQ(mprotect(p, RMIO_PAGE, PROT_READ | PROT_WRITE), 0);
	for (uint32_t len = 1; len <= 8; len *= 2) {
		for (uint64_t i = 0; i < 16; i++) {
			uint64_t last = RMIO_PAGE - len - i, mask = ~0ull >> (64 - 8 * len);

			rmio_shadow_put(p, i, 0x1122334455667788, len);
			T_EQ(rmio_shadow_get(p, i, len), 0x1122334455667788 & mask);
			rmio_shadow_put(p, last, 0x99aabbccddeeff00, len);
			T_EQ(rmio_shadow_get(p, last, len), 0x99aabbccddeeff00 & mask);
		}
	}
	/* a load needs no more than the right to read */
	T_EQ(mprotect(p, RMIO_PAGE, PROT_READ), 0);
	for (uint32_t len = 1; len <= 8; len *= 2)
		for (uint64_t i = 0; i < 16; i++)
			rmio_shadow_get(p, i, len);
	munmap(room, 3 * RMIO_PAGE);
}

/* -- two threads on one quadword ---------------------------------------------------- */

struct writer {
	uint64_t offset;
	uint32_t len;
	uint64_t value[2];
	bool stop;
	uint64_t rounds;
};

static void *write_both(void *arg)
{
	struct writer *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		rmio_shadow_put(image, w->offset, w->value[0], w->len);
		rmio_shadow_put(image, w->offset, w->value[1], w->len);
		__atomic_store_n(&w->rounds, w->rounds + 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Of a value that crosses into the next quadword, each part is whole. */
static bool whole(const struct writer *w, uint64_t v)
{
	uint32_t low = 8 - w->offset % 8;
	uint64_t mask = low < w->len ? ~0ull >> (64 - 8 * low) : ~0ull;

	return ((v & mask) == (w->value[0] & mask) || (v & mask) == (w->value[1] & mask)) &&
	       ((v & ~mask) == (w->value[0] & ~mask) || (v & ~mask) == (w->value[1] & ~mask));
}

static void no_torn_value(void)
{
	long reads = ktap_pick(100000, 500000, 5000000) / KTAP_SLOWDOWN;

	for (uint32_t len = 2; len <= 8; len *= 2) {
		for (uint64_t offset = 64; offset < 72; offset++) {
			uint64_t mask = ~0ull >> (64 - 8 * len);
			struct writer w = {
				.offset = offset, .len = len,
				.value = { 0x0101010101010101 & mask, 0xfefefefefefefefe & mask },
			};
			long seen[2] = { 0 }, other = 0, n = 0;
			pthread_t t;

			rmio_shadow_put(image, offset, w.value[0], len);
			T_REQUIRE(T_EQ(pthread_create(&t, NULL, write_both, &w), 0));
			while (!__atomic_load_n(&w.rounds, __ATOMIC_RELAXED))
				sched_yield();
			/* without both values seen nothing has been tried */
			while (n < reads || !seen[0] || !seen[1]) {
				uint64_t v = rmio_shadow_get(image, offset, len);

				if (!whole(&w, v)) {
					T_FAIL("%u bytes at %llu: actual 0x%llx, expected 0x%llx or 0x%llx",
					       len, (unsigned long long)offset % 8,
					       (unsigned long long)v,
					       (unsigned long long)w.value[0],
					       (unsigned long long)w.value[1]);
					break;
				}
				n++;
				if (v == w.value[0])
					seen[0]++;
				else if (v == w.value[1])
					seen[1]++;
				else
					other++;
			}
			__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
			pthread_join(t, NULL);
			/* only a value in two quadwords can be half old, half new */
			if (offset % 8 + len <= 8)
				T_EQ(other, 0);
			T_REQUIRE(T_OK(!ktap_failed()));
		}
	}
}

/* A vCPU writes a misaligned value through while the device counts in the bytes beside it. */
static void no_lost_neighbour(void)
{
	long rounds = ktap_pick(100000, 500000, 5000000) / KTAP_SLOWDOWN;

	for (uint32_t len = 2; len <= 4; len *= 2) {
		for (uint64_t offset = 1; offset + len <= 7; offset++) {
			struct writer w = {
				.offset = 64 + offset, .len = len,
				.value = { 0x0101010101010101, 0xfefefefefefefefe },
			};
			uint64_t before = 64 + offset - 1, after = 64 + offset + len;
			int lost = 0;
			pthread_t t;

			if (!(offset % len))
				continue;
			T_REQUIRE(T_EQ(pthread_create(&t, NULL, write_both, &w), 0));
			while (!__atomic_load_n(&w.rounds, __ATOMIC_RELAXED))
				sched_yield();
			for (long i = 0; i < rounds; i++) {
				rmio_shadow_put(image, before, i, 1);
				rmio_shadow_put(image, after, ~i, 1);
				/* nobody else stores these two; look for a while, as what undoes
				 * them may be on its way */
				for (int look = 0; look < 16; look++)
					if (rmio_shadow_get(image, before, 1) != (i & 0xff) ||
					    rmio_shadow_get(image, after, 1) != (~i & 0xff))
						lost++;
				if (!T_EQ(lost, 0)) {
					ktap_diag("beside %u bytes at %llu, round %ld", len,
						  (unsigned long long)offset, i);
					break;
				}
			}
			__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
			pthread_join(t, NULL);
			T_REQUIRE(T_OK(!ktap_failed()));
		}
	}
}

/* The device stores register 0, then register 1: whoever sees the second sees the first. */
struct ordered {
	long rounds;
};

static void *store_in_order(void *arg)
{
	struct ordered *o = arg;

	for (long i = 1; i <= o->rounds; i++) {
		rmio_shadow_put(image, 0, i, 4);
		rmio_shadow_put(image, 129, i, 4);	/* misaligned, on another line */
	}
	return NULL;
}

static void stores_are_seen_in_order(void)
{
	struct ordered o = { .rounds = ktap_pick(100000, 300000, 5000000) };
	pthread_t t;
	long second;

	T_REQUIRE(T_EQ(pthread_create(&t, NULL, store_in_order, &o), 0));
	do {
		second = rmio_shadow_get(image, 129, 4);
		if (!T_GE(rmio_shadow_get(image, 0, 4), second))
			break;
	} while (second < o.rounds);
	pthread_join(t, NULL);
}

/* A device that does nothing but change the quadword does not hold up a store through it. */
static void *hammer(void *arg)
{
	bool *stop = arg;

	for (uint64_t i = 0; !__atomic_load_n(stop, __ATOMIC_RELAXED); i++)
		rmio_shadow_put(image, 64, i, 1);
	return NULL;
}

static void hostile_device(void)
{
	long rounds = ktap_pick(100000, 500000, 5000000) / KTAP_SLOWDOWN;
	bool stop = false;
	pthread_t t;

	T_REQUIRE(T_EQ(pthread_create(&t, NULL, hammer, &stop), 0));
	for (long i = 0; i < rounds; i++) {
		rmio_shadow_put(image, 65, i, 4);
		if (!T_EQ(rmio_shadow_get(image, 65, 4), i))
			break;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
}

static const struct ktap_test tests[] = {
	{ "get at every offset", every_get },
	{ "put at every offset", every_put },
	{ "edges of the image", edges },
	{ "no torn value", no_torn_value },
	{ "no lost neighbour", no_lost_neighbour },
	{ "stores are seen in order", stores_are_seen_in_order },
	{ "hostile device", hostile_device },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
