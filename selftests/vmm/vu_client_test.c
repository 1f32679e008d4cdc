// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * vu_client_test.c - the VMM's end of the control channel: its calls to a good server, and how it
 * is made. Beside the data path. Servers that are not good are in vu_client_hostile_test.c.
 */
#include "vu_script.h"

#include <poll.h>
#include <rmio/slave.h>
#include <sys/un.h>

/* -- a good server: the one of this library -------------------------------- */

struct served {
	struct rig rig;
	pthread_t thread;
	struct rmio_slave *slave;
	int slave_error;
};

static void *serve(void *arg)
{
	struct served *s = arg;
	struct pollfd p = { .fd = vu_server_fd(s->rig.srv) };
	int n = 0;

	while (n >= 0) {
		p.events = POLLIN | (vu_server_wants_write(s->rig.srv) ? POLLOUT : 0);
		poll(&p, 1, -1);
		n = vu_server_writable(s->rig.srv);
		if (!n)
			n = vu_server_readable(s->rig.srv);
	}
	T_EQ(n, -ECONNRESET);
	return NULL;
}

static int open_slave(void *arg, int *fd)
{
	struct served *s = arg;

	rig_called(&s->rig, RIG_ATTACH);
	s->slave_error = rmio_slave_open(*fd, NULL, &s->slave);
	*fd = -1;
	return s->slave_error;
}

static bool serve_start(struct served *s, const struct vu_server_ops *ops)
{
	memset(s, 0, sizeof(*s));
	return rig_open(&s->rig, ops) && T_EQ(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void serve_stop(struct served *s)
{
	pthread_join(s->thread, NULL);
	rmio_slave_free(s->slave);
	s->rig.peer = -1;	/* the client has closed it */
	rig_close(&s->rig);
}

static void calls(void)
{
	int before = rig_count_fds(), efd, mem;
	uint32_t flags, regions, irqs;
	struct rmio_region_info info;
	struct rmio_client *c;
	static uint8_t big[VU_MAX_XFER + 1];
	struct served s;
	uint8_t buf[8];

	T_REQUIRE(serve_start(&s, &rig_ops));
	T_REQUIRE(T_EQ(rmio_client_new(s.rig.peer, NULL, &c), 0));
	T_EQ(rmio_client_master(c), NULL);
	T_EQ(rmio_client_device_info(c, &flags, &regions, &irqs), 0);
	T_EQ(flags, 3);
	T_EQ(regions, RIG_REGIONS);
	T_EQ(irqs, RIG_IRQS);
	T_EQ(rmio_client_region_info(c, 7, &info), 0);
	T_EQ(info.size, 256);
	T_EQ(info.flags, 3);
	T_EQ(info.reserved, 0);
	T_EQ(rmio_client_region_info(c, 3, &info), 0);
	T_EQ(info.size, 0);
	T_EQ(rmio_client_region_info(c, 9, &info), -EINVAL);
	T_EQ(rmio_client_irq_info(c, 1, &flags, &irqs), 0);
	T_EQ(flags, VFIO_IRQ_INFO_EVENTFD);
	T_EQ(irqs, RIG_MSI);
	T_EQ(rmio_client_region_read(c, 0, 0x10, buf, 8), 0);
	T_MEMEQ(buf, "\x10\x11\x12\x13\x14\x15\x16\x17", 8);
	T_EQ(rmio_client_region_read(c, 0, 3, big, VU_MAX_XFER), 0);
	T_EQ(big[0], 3);
	T_EQ(big[VU_MAX_XFER - 1], (uint8_t)(VU_MAX_XFER + 2));
	T_EQ(rmio_client_region_read(c, 0, 0, buf, 0), 0);
	T_EQ(rmio_client_region_read(c, 0, RIG_BAR, buf, 1), -EINVAL);
	T_EQ(rmio_client_region_read(c, 0, 0, big, sizeof(big)), 0);
	T_EQ(big[VU_MAX_XFER], 0);
	T_EQ(big[VU_MAX_XFER - 1], 0xff);
	big[VU_MAX_XFER - 1] = 0x77;
	T_EQ(rmio_client_region_write(c, 0, 1, big, VU_MAX_XFER), 0);
	T_EQ(s.rig.op, RIG_WRITE);
	T_EQ(s.rig.count, VU_MAX_XFER);
	T_EQ(s.rig.last, 0x77);
	T_EQ(rmio_client_region_write(c, 1, 0, big, 1), -EINVAL);
	T_EQ(rmio_client_region_write(c, 0, 0, big, sizeof(big)), 0);
	T_EQ(s.rig.count, 1);

	mem = memfd_create("ram", MFD_CLOEXEC);
	T_EQ(ftruncate(mem, 1 << 20), 0);
	T_EQ(rmio_client_dma_map(c, 0x100000, 1 << 20, mem, 0, PROT_READ), 0);
	T_EQ(s.rig.iova, 0x100000);
	T_EQ(s.rig.prot, PROT_READ);
	T_EQ(s.rig.nfds, 1);
	T_EQ(rmio_client_dma_map(c, 0x100000, 2 << 20, mem, 0, PROT_READ), -EINVAL);
	T_EQ(rmio_client_dma_map(c, 0, 4096, -1, 0, PROT_READ), -EBADF);
	T_EQ(rmio_client_dma_unmap(c, 0x100000, 1 << 20), 0);
	T_EQ(s.rig.op, RIG_UNMAP);
	close(mem);

	efd = eventfd(0, EFD_CLOEXEC);
	T_EQ(rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &efd), 0);
	T_EQ(s.rig.nfds, 1);
	T_EQ(rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL), 0);
	T_EQ(s.rig.data, VFIO_IRQ_SET_DATA_NONE);
	T_EQ(s.rig.action, VFIO_IRQ_SET_ACTION_UNMASK);
	T_EQ(rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL), 0);
	T_EQ(s.rig.count, 0);
	T_EQ(rmio_client_set_irqs(c, 0, 0, 0, 1, &efd), -EINVAL);
	T_EQ(rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, &efd), -EINVAL);
	T_EQ(rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, -1u, 2, NULL), -EINVAL);
	close(efd);

	T_EQ(rmio_client_reset(c), 0);
	T_EQ(s.rig.op, RIG_RESET);
	rmio_client_free(c);
	serve_stop(&s);
	rmio_client_free(NULL);
	T_EQ(rig_count_fds(), before);
}

static void rings(void)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = SCRIPT_PATIENT };
	struct vu_server_ops ops = rig_ops;
	int before = rig_count_fds();
	struct rmio_client *c;
	struct rmio_vm *vm;
	struct served s;

	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
	o.vm = vm;
	ops.attach = open_slave;
	T_REQUIRE(serve_start(&s, &ops));
	T_REQUIRE(T_EQ(rmio_client_new(s.rig.peer, &o, &c), 0));
	T_NE(rmio_client_master(c), NULL);
	T_EQ(s.rig.op, RIG_ATTACH);
	T_EQ(s.slave_error, 0);
	T_OK(s.slave);
	T_EQ(rmio_client_reset(c), 0);
	rmio_client_free(c);
	serve_stop(&s);

	/* the device refuses the slave: no client, rather than a slow one */
	T_REQUIRE(serve_start(&s, &rig_ops));
	s.rig.result = -EMFILE;
	T_EQ(rmio_client_new(s.rig.peer, &o, &c), -EMFILE);
	serve_stop(&s);

	/* the device has no rings */
	ops.attach = NULL;
	T_REQUIRE(serve_start(&s, &ops));
	T_REQUIRE(T_EQ(rmio_client_new(s.rig.peer, &o, &c), 0));
	T_EQ(rmio_client_master(c), NULL);
	rmio_client_free(c);
	serve_stop(&s);

	/* no master to be had from these options */
	o.master.sz = sizeof(o.master);
	o.master.ring_slots = 3;
	T_REQUIRE(serve_start(&s, &rig_ops));
	T_EQ(rmio_client_new(s.rig.peer, &o, &c), -EINVAL);
	serve_stop(&s);
	rmio_vm_free(vm);
	T_EQ(rig_count_fds(), before);
}

struct caller {
	pthread_t thread;
	struct rmio_client *c;
	uint8_t nr;
};

static void *call_often(void *arg)
{
	struct caller *t = arg;

	for (int i = 0; i < 300; i++) {
		uint8_t buf[16];

		if (!T_EQ(rmio_client_region_read(t->c, 0, t->nr * 16 + i, buf, 16), 0) ||
		    !T_EQ(buf[15], (uint8_t)(t->nr * 16 + i + 15)))
			break;
	}
	return NULL;
}

static void threads(void)
{
	struct caller t[4];
	struct rmio_client *c;
	struct served s;
	int i;

	T_REQUIRE(serve_start(&s, &rig_ops));
	T_REQUIRE(T_EQ(rmio_client_new(s.rig.peer, NULL, &c), 0));
	for (i = 0; i < 4; i++) {
		t[i] = (struct caller){ .c = c, .nr = i };
		T_EQ(pthread_create(&t[i].thread, NULL, call_often, &t[i]), 0);
	}
	for (i = 0; i < 4; i++)
		pthread_join(t[i].thread, NULL);
	rmio_client_free(c);
	serve_stop(&s);
	T_EQ(s.rig.calls, 1200);
}

/* What the device is told: (start, count, descriptors) of each message. */
static uint32_t irq_log[32][3];
static int n_irq_log;

static int log_irqs(void *arg, uint32_t index, uint32_t action, uint32_t data, uint32_t start,
		    uint32_t count, int *fds, const uint8_t *bools)
{
	uint32_t *l = irq_log[n_irq_log++ % 32];

	l[0] = start;
	l[1] = count;
	l[2] = fds ? count : 0;
	return 0;
}

static void irq_runs(void)
{
	static const uint32_t want[][3] = {
		{ 0, 2, 2 }, { 2, 3, 0 }, { 5, 16, 16 }, { 21, 10, 10 }, { 31, 1, 0 },
	};
	struct vu_server_ops ops = rig_ops;
	struct rmio_client *c;
	struct served s;
	int fds[32], efd = eventfd(0, EFD_CLOEXEC), i;

	for (i = 0; i < 32; i++)
		fds[i] = (i >= 2 && i < 5) || i == 31 ? -1 : efd;
	ops.set_irqs = log_irqs;
	T_REQUIRE(serve_start(&s, &ops));
	T_REQUIRE(T_EQ(rmio_client_new(s.rig.peer, NULL, &c), 0));
	T_EQ(rmio_client_set_irqs(c, 1, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 32, fds), 0);
	rmio_client_free(c);
	serve_stop(&s);
	T_EQ(n_irq_log, 5);
	T_MEMEQ(irq_log, want, sizeof(want));
	close(efd);
}

/* -- making one ----------------------------------------------------------- */

static void bad_arguments(void)
{
	struct {
		struct rmio_client_opts o;
		char more[8];
	} big = { .o.sz = sizeof(big), .more = { 1 } };
	struct rmio_client_opts tiny = { .sz = 1 };
	int before = rig_count_fds(), fds[2];
	struct rmio_client *c;
	char path[200];

	T_EQ(rmio_client_new(eventfd(0, 0), NULL, &c), -EINVAL);
	T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	T_EQ(rmio_client_new(fds[0], NULL, &c), -EINVAL);
	T_EQ(rmio_client_new(fds[1], &big.o, &c), -E2BIG);
	T_EQ(rmio_client_new(eventfd(0, 0), &tiny, &c), -EINVAL);
	T_EQ(rmio_client_new(-1, NULL, &c), -EINVAL);
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = 0;
	T_EQ(rmio_client_connect(path, NULL, &c), -ENAMETOOLONG);
	T_EQ(rmio_client_connect("/nonexistent/socket", NULL, &c), -ENOENT);
	T_EQ(rig_count_fds(), before);
}

static void *accept_one(void *arg)
{
	server.fd = accept(*(int *)arg, NULL, NULL);
	script_good_version(&server);
	while (script_get(&server))
		script_answer(&server, NULL, 0);
	close(server.fd);
	return NULL;
}

static void by_path(void)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = SCRIPT_QUICK };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/vu_client_test.XXXXXX";
	int before = rig_count_fds(), l;
	struct rmio_client *c;
	pthread_t t;

	T_OK(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock", dir);
	l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	T_EQ(bind(l, (struct sockaddr *)&addr, sizeof(addr)), 0);
	T_EQ(rmio_client_connect(addr.sun_path, NULL, &c), -ECONNREFUSED);
	T_EQ(listen(l, 0), 0);
	T_EQ(pthread_create(&t, NULL, accept_one, &l), 0);
	if (T_EQ(rmio_client_connect(addr.sun_path, NULL, &c), 0)) {
		T_EQ(rmio_client_reset(c), 0);
		rmio_client_free(c);
	}
	pthread_join(t, NULL);
	/* nobody accepts: the first waits for its reply, and so do those that wait to connect */
	T_EQ(rmio_client_connect(addr.sun_path, &o, &c), -ETIMEDOUT);
	T_EQ(rmio_client_connect(addr.sun_path, &o, &c), -ETIMEDOUT);
	T_EQ(rmio_client_connect(addr.sun_path, &o, &c), -ETIMEDOUT);
	close(l);
	unlink(addr.sun_path);
	rmdir(dir);
	T_EQ(rig_count_fds(), before);
}

static const struct ktap_test tests[] = {
	{ "calls", calls },
	{ "rings", rings },
	{ "threads", threads },
	{ "runs of irqs", irq_runs },
	{ "bad arguments", bad_arguments },
	{ "by path", by_path },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
