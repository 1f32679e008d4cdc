// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Interrupts as a bus has them: a completion passes no message, each message counts, and an
 * eventfd that a client handed over stays as the client made it.  By rings and by the socket.
 */
#include "client_rig.h"
#include "null.h"
#include "vu_raw.h"
#include "wire/vu_msg.h"

#include <fcntl.h>

#define ROUNDS	5000

static bool null_new(struct rig *r, bool rings, int *fd)
{
	if (!rig_new(r, "null", NULL_BAR_SIZE, rings))
		return false;
	rig_config_set(r, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	return T_EQ(rmio_client_set_irqs(r->client, VFIO_PCI_MSI_IRQ_INDEX,
					 VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, fd), 0);
}

/*
 * What answers an access that the handler signalled in finds the signal in the eventfd: the
 * reply to the store over the socket, the load after it by rings.
 */
static void order(bool rings, bool same_cpu)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), i, late = 0;
	cpu_set_t one, were;
	struct rig r;
	uint64_t n;

	sched_getaffinity(0, sizeof(were), &were);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (same_cpu)
		sched_setaffinity(0, sizeof(one), &one);
	T_REQUIRE(null_new(&r, rings, &fd));
	for (i = 0; i < ROUNDS; i++) {
		rig_store(&r, NULL_IRQ, 4, 1);
		if (rings)
			rig_load(&r, NULL_MAGIC, 4);
		n = 0;
		if (read(fd, &n, sizeof(n)) != sizeof(n) || n != 1)
			late++;
		/* as a late one would be counted with the next */
		if (!n)
			rig_signals(fd, 1000);
	}
	T_EQ(late, 0);
	rig_free(&r);
	sched_setaffinity(0, sizeof(were), &were);
	close(fd);
}

static void order_rings(void)
{
	order(true, false);
}

static void order_socket(void)
{
	order(false, false);
}

static void order_rings_one_cpu(void)
{
	order(true, true);
}

static void order_socket_one_cpu(void)
{
	order(false, true);
}

/* A client may read its eventfd blocking, or not: the flag is its own. */
static void flags(void)
{
	int fd[2] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) }, i;
	int unmask[2] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	struct rig r;
	uint64_t n;

	T_REQUIRE(rig_new(&r, "null", NULL_BAR_SIZE, false));
	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	for (i = 0; i < 2; i++) {
		int was = fcntl(fd[i], F_GETFL);

		T_EQ(rmio_client_set_irqs(r.client, VFIO_PCI_MSI_IRQ_INDEX,
					  VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd[i]), 0);
		rig_store(&r, NULL_IRQ, 4, 1);
		T_EQ(read(fd[i], &n, sizeof(n)), (ssize_t)sizeof(n));
		T_EQ(fcntl(fd[i], F_GETFL), was);
		T_EQ(rmio_client_set_irqs(r.client, VFIO_PCI_INTX_IRQ_INDEX,
					  VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd[i]), 0);
		T_EQ(rmio_client_set_irqs(r.client, VFIO_PCI_INTX_IRQ_INDEX,
					  VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &unmask[i]), 0);
		T_EQ(fcntl(fd[i], F_GETFL), was);
		T_EQ(fcntl(unmask[i], F_GETFL), was);
	}
	rig_free(&r);
	for (i = 0; i < 2; i++) {
		close(fd[i]);
		close(unmask[i]);
	}
}

/* 50 stores that each send a message, in the rings or the socket's buffer at once: 50. */
static void counts_rings(void)
{
	int fd = eventfd(0, EFD_CLOEXEC), i;
	struct rig r;
	uint64_t n = 0;

	T_REQUIRE(null_new(&r, true, &fd));
	for (i = 0; i < 50; i++)
		rig_store(&r, NULL_IRQ, 4, 1);
	rig_load(&r, NULL_MAGIC, 4);
	T_EQ(read(fd, &n, sizeof(n)), (ssize_t)sizeof(n));
	T_EQ(n, 50);
	rig_free(&r);
	close(fd);
}

static size_t put_write(uint8_t *buf, uint16_t id, uint32_t region, uint64_t off, uint32_t v,
			bool reply)
{
	struct vu_hdr h = {
		.id = id, .cmd = VU_REGION_WRITE, .flags = reply ? 0 : VU_NO_REPLY,
		.size = sizeof(h) + sizeof(struct vu_region_access) + 4,
	};
	struct vu_region_access a = { .region = region, .offset = off, .count = 4 };

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), &a, sizeof(a));
	memcpy(buf + sizeof(h) + sizeof(a), &v, 4);
	return h.size;
}

static void counts_socket(void)
{
	uint8_t buf[8192], reply[4096];
	int fd = eventfd(0, EFD_CLOEXEC), p[2], i;
	struct dev_thread d;
	struct rmio_dev *dev;
	struct vu_irq_set set = {
		.argsz = sizeof(set), .index = VFIO_PCI_MSI_IRQ_INDEX, .count = 1,
		.flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD,
	};
	struct vu_hdr h = { .id = 1, .cmd = VU_SET_IRQS, .size = sizeof(h) + sizeof(set) };
	struct iovec iov[2] = { { &h, sizeof(h) }, { &set, sizeof(set) } };
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr msg = {
		.msg_iov = iov, .msg_iovlen = 2,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	static const uint8_t version[] = {
		1, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
	};
	size_t len = 0;
	uint64_t n = 0;

	T_REQUIRE(dev_thread_new(&d, RMIO_WAIT_SLEEP));
	dev = dev_thread_add(&d, "null");
	T_REQUIRE(T_OK(dev != NULL));
	T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	T_EQ(rmio_dev_serve(dev, p[1]), 0);
	T_REQUIRE(dev_thread_start(&d));
	T_EQ(send(p[0], version, sizeof(version), 0), (ssize_t)sizeof(version));
	T_OK(raw_answer(p[0], 5000));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	T_EQ(sendmsg(p[0], &msg, 0), (ssize_t)h.size);
	T_OK(raw_answer(p[0], 5000));
	len += put_write(buf + len, 2, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND,
			 PCI_COMMAND_MASTER, false);
	for (i = 0; i < 50; i++)
		len += put_write(buf + len, (uint16_t)(3 + i), 0, NULL_IRQ, 1, i == 49);
	T_EQ(send(p[0], buf, len, 0), (ssize_t)len);
	T_GT(recv(p[0], reply, sizeof(reply), 0), 0);
	T_EQ(read(fd, &n, sizeof(n)), (ssize_t)sizeof(n));
	T_EQ(n, 50);
	close(p[0]);
	dev_thread_join(&d);
	device_free(dev);
	rmio_loop_free(d.loop);
	close(fd);
}

static const struct ktap_test tests[] = {
	{ "order, by rings", order_rings },
	{ "order, by the socket", order_socket },
	{ "order, by rings on one CPU", order_rings_one_cpu },
	{ "order, by the socket on one CPU", order_socket_one_cpu },
	{ "flags of eventfds", flags },
	{ "each counts, by rings", counts_rings },
	{ "each counts, by the socket", counts_socket },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
