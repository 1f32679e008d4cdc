// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Descriptors of a peer whose close(2) would last as long as the peer likes:
 * neither a loop with other devices nor a VMM waits for them.
 */
#include "dev_thread.h"
#include "wire/vu_wire.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>

#define FOR_EVER	3600	/* seconds that a close lingers */

/* -- such a descriptor --------------------------------------------------------------- */

/* Its other end stays open, and unread, until the test is over. */
static int lingering(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { .l_onoff = 1, .l_linger = FOR_EVER };
	socklen_t len = sizeof(a);
	static char data[65536];
	int l, fd;

	l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l < 0 || bind(l, (struct sockaddr *)&a, len) || listen(l, 1) ||
	    getsockname(l, (struct sockaddr *)&a, &len))
		return -1;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, len) || accept(l, NULL, NULL) < 0)
		return -1;
	close(l);
	while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) ? -1 : fd;
}

static bool have_loopback(void)
{
	int fd = lingering();

	if (fd < 0)
		ktap_mark_skipped("no TCP on the loopback interface", "ip link set lo up");
	else
		fcntl(fd, F_SETFD, 0);	/* not closed: that would linger */
	return fd >= 0;
}

/* Send bytes with a lingering descriptor of which no other copy is left. */
static bool send_lingering(int to, const void *bytes, size_t len)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(sizeof(int))];
	} c = { .h = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		       .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = len };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = c.buf, .msg_controllen = sizeof(c.buf),
	};
	int fd = lingering();
	bool sent;

	if (!T_GE(fd, 0))
		return false;
	memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	sent = T_EQ(sendmsg(to, &m, MSG_NOSIGNAL), (ssize_t)len);
	close(fd);
	return sent;
}

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* -- a loop that serves another device too ----------------------------------------------- */

struct two {
	struct dev_thread d;
	struct rmio_dev *bad_dev, *good_dev;
	struct rmio_client *good;
	int bad;		/* the hostile client's end */
};

static bool two_new(struct two *t)
{
	int a[2], b[2];

	if (!dev_thread_new(&t->d, RMIO_WAIT_SLEEP))
		return false;
	t->bad_dev = dev_thread_add(&t->d, "null");
	t->good_dev = dev_thread_add(&t->d, "null");
	if (!T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0) ||
	    !T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0) ||
	    !T_EQ(rmio_dev_serve(t->bad_dev, a[1]), 0) ||
	    !T_EQ(rmio_dev_serve(t->good_dev, b[1]), 0) || !dev_thread_start(&t->d))
		return false;
	t->bad = a[0];
	return T_EQ(rmio_client_new(b[0], NULL, &t->good), 0);
}

static bool put(int fd, uint16_t cmd, const void *payload, size_t len, bool linger)
{
	struct vu_hdr h = { .cmd = cmd, .size = (uint32_t)(sizeof(h) + len) };
	uint8_t buf[256];

	memcpy(buf, &h, sizeof(h));
	if (len)
		memcpy(buf + sizeof(h), payload, len);
	if (linger)
		return send_lingering(fd, buf, h.size);
	return T_EQ(send(fd, buf, h.size, MSG_NOSIGNAL), (ssize_t)h.size);
}

static bool put_version(int fd)
{
	static const char caps[] = "{\"capabilities\":{\"rmio\":{\"version\":1}}}";
	struct vu_version v = { .major = VU_MAJOR, .minor = VU_MINOR };
	uint8_t buf[sizeof(v) + sizeof(caps)];

	memcpy(buf, &v, sizeof(v));
	memcpy(buf + sizeof(v), caps, sizeof(caps));
	return put(fd, VU_VERSION, buf, sizeof(buf), false);
}

/* The loop answers, and all that came has been closed in the end. */
static void two_free(struct two *t, int fds)
{
	uint32_t flags, regions, irqs;
	int i;

	T_EQ(rmio_client_device_info(t->good, &flags, &regions, &irqs), 0);
	close(t->bad);
	T_EQ(rmio_client_device_info(t->good, &flags, &regions, &irqs), 0);
	rmio_client_free(t->good);
	dev_thread_join(&t->d);
	device_free(t->bad_dev);
	device_free(t->good_dev);
	rmio_loop_free(t->d.loop);
	for (i = 0; i < 1000 && count_fds() > fds; i++)
		poll(NULL, 0, 10);
	T_LE(count_fds(), fds);
}

static void in_commands(void)
{
	struct vu_dma_map map = { sizeof(map), VU_DMA_READABLE, 0, 0x10000, 4096 };
	struct vu_irq_set irqs = { sizeof(irqs), 1 << 2 | 1 << 5, 1, 0, 1 };
	struct vu_rmio_attach attach = { sizeof(attach), RMIO_ABI_VERSION, 0 };
	struct two t;
	int fds;

	if (!have_loopback())
		return;
	fds = count_fds();
	T_REQUIRE(two_new(&t));
	/* each lingering() leaves one descriptor, its other end */
	T_OK(put_version(t.bad));
	T_OK(put(t.bad, VU_DMA_MAP, &map, sizeof(map), true));
	T_OK(put(t.bad, VU_SET_IRQS, &irqs, sizeof(irqs), true));
	T_OK(put(t.bad, VU_RMIO_ATTACH, &attach, sizeof(attach), true));
	T_OK(put(t.bad, VU_RESET, NULL, 0, true));
	two_free(&t, fds + 4);
}

static void in_a_payload(void)
{
	struct vu_hdr h = { .cmd = VU_VERSION, .size = 200 };
	struct two t;
	int fds;

	if (!have_loopback())
		return;
	fds = count_fds();
	T_REQUIRE(two_new(&t));
	T_EQ(send(t.bad, &h, sizeof(h), 0), (ssize_t)sizeof(h));
	T_OK(send_lingering(t.bad, "0123456789", 10));
	two_free(&t, fds + 1);
}

static void unread_at_the_end(void)
{
	struct vu_hdr h = { .cmd = VU_VERSION, .size = 3 };	/* ends the connection */
	struct two t;
	uint8_t bytes[2 * sizeof(h)] = { 0 };
	int fds;

	if (!have_loopback())
		return;
	fds = count_fds();
	T_REQUIRE(two_new(&t));
	/* One skb, so that the loop cannot be quicker than what comes after it. */
	memcpy(bytes, &h, sizeof(h));
	T_OK(send_lingering(t.bad, bytes, sizeof(bytes)));
	two_free(&t, fds + 1);
}

/* -- a VMM ------------------------------------------------------------------------------------ */

static void in_a_reply(void)
{
	struct vu_hdr h = { .id = 1, .cmd = VU_VERSION, .flags = VU_REPLY, .size = sizeof(h) + 4 };
	struct rmio_client *c;
	uint8_t bytes[sizeof(h) + 4] = { 0 };
	int s[2];

	if (!have_loopback())
		return;
	T_REQUIRE(T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0));
	memcpy(bytes, &h, sizeof(h));
	T_OK(send_lingering(s[1], bytes, sizeof(bytes)));
	T_OK(send_lingering(s[1], bytes, sizeof(bytes)));
	/* One comes with the reply, one is unread at the end. */
	T_REQUIRE(T_EQ(rmio_client_new(s[0], NULL, &c), 0));
	rmio_client_free(c);
	close(s[1]);
}

/* A device process that sends one to the thread that serves all devices. */
static void to_a_master(void)
{
	struct rmio_master *bad, *good;
	struct rmio_slave *slave;
	struct rmio_vm *vm;
	int fd, i;

	if (!have_loopback())
		return;
	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
	T_REQUIRE(T_EQ(rmio_master_new(vm, NULL, &bad), 0));
	T_REQUIRE(T_EQ(rmio_master_new(vm, NULL, &good), 0));
	fd = rmio_master_slave_fd(bad);
	T_OK(send_lingering(fd, "nonsense", 8));
	/* whatever the VMM has not read by then; it may have given the device up */
	for (i = 0; i < 1000 && rmio_master_state(bad) != RMIO_STATE_PROTOCOL; i++)
		poll(NULL, 0, 1);
	T_EQ(rmio_master_state(bad), RMIO_STATE_PROTOCOL);
	T_REQUIRE(T_EQ(rmio_slave_open(rmio_master_slave_fd(good), NULL, &slave), 0));
	T_EQ(rmio_slave_shadow_size(slave, 4096), 0);
	rmio_master_free(bad);
	rmio_slave_free(slave);
	rmio_master_free(good);
	rmio_vm_free(vm);
	close(fd);
}

/* Nobody reads it before the master goes. */
static void unread_by_a_master(void)
{
	struct rmio_vm_opts o = { .sz = sizeof(o), .flags = RMIO_VM_MANUAL };
	struct rmio_master *m;
	struct rmio_vm *vm;
	int fd;

	if (!have_loopback())
		return;
	T_REQUIRE(T_EQ(rmio_vm_new(&o, &vm), 0));
	T_REQUIRE(T_EQ(rmio_master_new(vm, NULL, &m), 0));
	fd = rmio_master_slave_fd(m);
	T_OK(send(fd, "", 0, 0) == 0);		/* an empty packet is not the end */
	T_OK(send_lingering(fd, "nonsense", 8));
	rmio_master_free(m);
	rmio_vm_free(vm);
	close(fd);
}

static const struct ktap_test tests[] = {
	{ "in commands", in_commands },
	{ "in a payload", in_a_payload },
	{ "unread at the end", unread_at_the_end },
	{ "in a reply", in_a_reply },
	{ "to a master", to_a_master },
	{ "unread by a master", unread_by_a_master },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
