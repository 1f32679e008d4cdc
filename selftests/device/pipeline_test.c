// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Clients that send many requests before they read a reply, and one that never reads: the first
 * are served whatever they ask for, the second does no harm and is given up in time.
 */
#include "client_rig.h"
#include "device/device.h"
#include "vu_raw.h"
#include "wire/vu_msg.h"

#include <fcntl.h>

struct raw {
	struct dev_thread d;
	struct rmio_dev *dev;
	int fd;
};

static bool raw_open(struct raw *r, uint64_t stuck_ns)
{
	static const uint8_t version[] = {
		1, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
	};
	int p[2];

	if (!dev_thread_new(&r->d, RMIO_WAIT_SLEEP))
		return false;
	r->dev = dev_thread_add(&r->d, "edu");
	if (!T_OK(r->dev != NULL) || !T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0))
		return false;
	r->fd = p[0];
	if (stuck_ns)
		r->dev->vu_stuck_ns = stuck_ns;
	return T_EQ(rmio_dev_serve(r->dev, p[1]), 0) && dev_thread_start(&r->d) &&
	       T_EQ(send(r->fd, version, sizeof(version), 0), (ssize_t)sizeof(version)) &&
	       T_OK(raw_answer(r->fd, 5000));
}

static void raw_close(struct raw *r)
{
	close(r->fd);
	dev_thread_join(&r->d);
	device_free(r->dev);
	rmio_loop_free(r->d.loop);
}

static bool put_read(int fd, uint16_t id, uint32_t region, uint64_t off, uint32_t count)
{
	struct {
		struct vu_hdr h;
		struct vu_region_access a;
	} m = {
		.h = { .id = id, .cmd = VU_REGION_READ, .size = sizeof(m) },
		.a = { .region = region, .offset = off, .count = count },
	};

	return send(fd, &m, sizeof(m), MSG_NOSIGNAL) == sizeof(m);
}

static bool take(int fd, void *buf, size_t len)
{
	return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static bool take_reply(int fd, uint16_t id, uint32_t count)
{
	static uint8_t data[1 << 20];
	struct vu_region_access a;
	struct vu_hdr h;

	return T_OK(take(fd, &h, sizeof(h))) && T_EQ(h.id, id) && T_EQ(h.flags, VU_REPLY) &&
	       T_OK(take(fd, &a, sizeof(a))) && T_EQ(a.count, count) && T_OK(take(fd, data, count));
}

/* As many as the socket takes of 20 requests of a whole BAR, before the first reply is read. */
static void large(void)
{
	struct raw r;
	uint16_t i;

	T_REQUIRE(raw_open(&r, 0));
	for (i = 0; i < 20; i++)
		T_REQUIRE(T_OK(put_read(r.fd, i, 0, 0, 1 << 20)));
	for (i = 0; i < 20; i++)
		T_REQUIRE(take_reply(r.fd, i, 1 << 20));
	raw_close(&r);
}

static void *many_requests(void *arg)
{
	struct raw *r = arg;
	int i;

	for (i = 0; i < 100000; i++)
		if (!put_read(r->fd, (uint16_t)i, 0, 0, 4))
			break;
	return NULL;
}

static void small(void)
{
	struct raw r;
	pthread_t t;
	int i;

	T_REQUIRE(raw_open(&r, 0));
	T_EQ(pthread_create(&t, NULL, many_requests, &r), 0);
	usleep(200000);
	for (i = 0; i < 100000; i++)
		T_REQUIRE(take_reply(r.fd, (uint16_t)i, 4));
	pthread_join(t, NULL);
	raw_close(&r);
}

/* It sends for as long as the socket takes requests, and reads nothing. */
static void never_reads(void)
{
	long long begin;
	struct raw r;
	int i;

	T_REQUIRE(raw_open(&r, 300000000));
	fcntl(r.fd, F_SETFL, O_NONBLOCK);
	begin = ktap_now_ms();
	for (i = 0; i < 1000; i++)
		if (!put_read(r.fd, (uint16_t)i, 0, 0, 1 << 20))
			break;
	dev_thread_join(&r.d);
	T_GE(ktap_now_ms() - begin, 250);
	close(r.fd);
	device_free(r.dev);
	rmio_loop_free(r.d.loop);
}

/* One that reads a little now and then is served to the end. */
static void reads_slowly(void)
{
	struct raw r;
	uint16_t i;

	T_REQUIRE(raw_open(&r, 300000000));
	for (i = 0; i < 10; i++)
		T_REQUIRE(T_OK(put_read(r.fd, i, 0, 0, 1 << 20)));
	for (i = 0; i < 10; i++) {
		usleep(150000);
		T_REQUIRE(take_reply(r.fd, i, 1 << 20));
	}
	raw_close(&r);
}

/* One that reads so little at a time that it is long until another request is taken. */
static void reads_little(void)
{
	static uint8_t part[256 << 10];
	size_t left = 10 * ((1 << 20) + sizeof(struct vu_hdr) + sizeof(struct vu_region_access));
	struct raw r;
	uint16_t i;

	T_REQUIRE(raw_open(&r, 600000000));
	for (i = 0; i < 10; i++)
		T_REQUIRE(T_OK(put_read(r.fd, i, 0, 0, 1 << 20)));
	for (i = 0; i < 10; i++) {
		usleep(200000);
		T_REQUIRE(T_OK(take(r.fd, part, sizeof(part))));
		left -= sizeof(part);
	}
	while (left) {
		ssize_t n = recv(r.fd, part, left < sizeof(part) ? left : sizeof(part), 0);

		if (!T_GT(n, 0))
			break;
		left -= (size_t)n;
	}
	raw_close(&r);
}

static const struct ktap_test tests[] = {
	{ "20 requests of 1 MiB", large },
	{ "100,000 requests of 4 bytes", small },
	{ "a client that never reads", never_reads },
	{ "a client that reads slowly", reads_slowly },
	{ "a client that reads little at a time", reads_little },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
