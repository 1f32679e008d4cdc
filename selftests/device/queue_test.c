// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Who waits for a device that is busy: for as long as it wants to, and nobody hears of one that
 * has given up.  Clients that come and go as they should leave nothing in the log.
 */
#include "client_rig.h"
#include "wire/vu_wire.h"

#include <fcntl.h>
#include <sys/un.h>

static char path[64];

struct spy {
	int came, went;		/* atomic */
};

static void attach(struct rmio_dev *dev, bool attached)
{
	struct spy *s = rmio_dev_priv(dev);

	__atomic_fetch_add(attached ? &s->came : &s->went, 1, __ATOMIC_RELEASE);
}

static uint64_t load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	return offset;
}

static void store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		  uint32_t len)
{
}

static const struct rmio_dev_ops ops = { .load = load, .store = store, .attach = attach };

static bool serve(struct dev_thread *d, struct spy *s, const char *name, struct rmio_dev **dev)
{
	static const struct rmio_dev_range bar = { .bus = RMIO_BUS_MEM, .len = 0x1000 };
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .name = name, .ops = &ops, .ranges = &bar, .nr_ranges = 1,
		.vendor = 1, .device = 2,
	};

	memset(s, 0, sizeof(*s));
	snprintf(path, sizeof(path), "/tmp/rmio-queue-%d.sock", (int)getpid());
	return dev_thread_new(d, RMIO_WAIT_SLEEP) &&
	       T_EQ(rmio_dev_new(d->loop, &desc, s, dev), 0) &&
	       T_EQ(rmio_dev_listen(*dev, path), 0) && dev_thread_start(d);
}

static void end(struct dev_thread *d, struct rmio_dev *dev)
{
	dev_thread_stop(d);
	rmio_dev_free(dev);
	rmio_loop_free(d->loop);
}

static int wait_for(const int *n, int value)
{
	long long until = ktap_now_ms() + 30000;

	while (__atomic_load_n(n, __ATOMIC_ACQUIRE) < value && ktap_now_ms() < until)
		usleep(1000);
	return __atomic_load_n(n, __ATOMIC_ACQUIRE);
}

static int raw(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(at.sun_path, path);
	T_EQ(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void left_before(void)
{
	struct rmio_client_opts opts = { .sz = sizeof(opts) };
	struct rmio_client *c = NULL;
	struct rmio_dev *dev;
	struct dev_thread d;
	struct spy s;

	T_REQUIRE(serve(&d, &s, "spy", &dev));
	T_REQUIRE(T_EQ(rmio_client_connect(path, &opts, &c), 0));
	T_EQ(wait_for(&s.came, 1), 1);
	/* One that says nothing, two that have asked and lost their patience. */
	close(raw());
	for (int i = 0; i < 2; i++) {
		struct rmio_client *late = NULL;

		opts.reply_timeout_ms = 20;
		T_EQ(rmio_client_connect(path, &opts, &late), -ETIMEDOUT);
	}
	T_EQ(__atomic_load_n(&s.came, __ATOMIC_ACQUIRE), 1);
	rmio_client_free(c);
	/* Only who is there comes. */
	opts.reply_timeout_ms = 0;
	T_REQUIRE(T_EQ(rmio_client_connect(path, &opts, &c), 0));
	T_EQ(wait_for(&s.went, 1), 1);
	T_EQ(__atomic_load_n(&s.came, __ATOMIC_ACQUIRE), 2);
	rmio_client_free(c);
	T_EQ(wait_for(&s.went, 2), 2);
	T_EQ(__atomic_load_n(&s.came, __ATOMIC_ACQUIRE), 2);
	end(&d, dev);
}

static void own_patience(void)
{
	struct rmio_client_opts opts = { .sz = sizeof(opts), .reply_timeout_ms = 100 };
	struct rmio_client *first = NULL, *c = NULL;
	long long start;
	struct rmio_dev *dev;
	struct dev_thread d;
	struct spy s;
	int queued[16];

	T_REQUIRE(serve(&d, &s, "spy", &dev));
	opts.reply_timeout_ms = 0;
	T_REQUIRE(T_EQ(rmio_client_connect(path, &opts, &first), 0));
	opts.reply_timeout_ms = 100;
	start = ktap_now_ms();
	T_EQ(rmio_client_connect(path, &opts, &c), -ETIMEDOUT);
	T_LT(ktap_now_ms() - start, 3000);
	/* As long, where the queue itself is full. */
	for (int i = 0; i < 16; i++) {
		struct sockaddr_un at = { .sun_family = AF_UNIX };

		strcpy(at.sun_path, path);
		queued[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(queued[i], (struct sockaddr *)&at, sizeof(at)))
			T_EQ(errno, EAGAIN);
	}
	start = ktap_now_ms();
	T_EQ(rmio_client_connect(path, &opts, &c), -ETIMEDOUT);
	T_LT(ktap_now_ms() - start, 3000);
	for (int i = 0; i < 16; i++)
		close(queued[i]);
	rmio_client_free(first);
	end(&d, dev);
}

/* With rings and without, and at each step of a connection. */
static void no_failures(void)
{
	struct rmio_client_opts opts = { .sz = sizeof(opts) };
	struct rmio_pa_range bar = { .addr = RIG_BAR0, .len = 0x1000 };
	struct rmio_client *c;
	struct rmio_vcpu *vcpu;
	struct rmio_vm *vm;
	struct rmio_dev *dev;
	struct dev_thread d;
	struct spy s;
	int i, fd, came = 0;
	uint64_t v;

	T_REQUIRE(serve(&d, &s, "spy", &dev));
	for (i = 0; i < 40; i++) {
		T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
		T_REQUIRE(T_EQ(rmio_vcpu_new(vm, 0, NULL, &vcpu), 0));
		opts.vm = i % 2 ? vm : NULL;
		c = NULL;
		T_REQUIRE(T_EQ(rmio_client_connect(path, &opts, &c), 0));
		came++;
		if (opts.vm) {
			T_EQ(rmio_master_pa_range(rmio_client_master(c), &bar), 0);
			/* The posted stores are still on their way when the client goes. */
			if (i % 4 == 1)
				T_EQ(rmio_vcpu_load(vcpu, RMIO_BUS_MEM, RIG_BAR0 + 8, 4, &v), 0);
			for (int k = 0; k < 20; k++)
				vcpu_store(vcpu, RIG_BAR0, 4, k);
		}
		rmio_client_free(c);
		rmio_vcpu_free(vcpu);
		rmio_vm_free(vm);
		/* One that only looks whether somebody is there. */
		fd = raw();
		if (i % 3 == 0)
			T_EQ(send(fd, "\0\0\1", 3, 0), 3);
		close(fd);
	}
	T_GE(wait_for(&s.went, came), came);
	T_EQ(__atomic_load_n(&d.lines, __ATOMIC_ACQUIRE), 0);
	end(&d, dev);
}

static void send_with(int fd, const void *data, size_t len, int pass)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (pass >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass, sizeof(pass));
	}
	T_EQ(sendmsg(fd, &m, 0), len);
}

/* It has asked for rings, and its end of them has gone. */
static void left_attaching(void)
{
	static const char caps[] = "{\"capabilities\":{\"rmio\":{\"version\":1}}}";
	const struct vu_version v = { VU_MAJOR, VU_MINOR };
	const struct vu_rmio_attach a = { sizeof(a), RMIO_ABI_VERSION, 0 };
	char version[sizeof(struct vu_hdr) + sizeof(v) + sizeof(caps)], reply[512];
	char attach[sizeof(struct vu_hdr) + sizeof(a)];
	struct rmio_dev *dev;
	struct dev_thread d;
	struct spy s;
	int fd, pair[2];

	memcpy(version, &(struct vu_hdr){ 1, VU_VERSION, sizeof(version), 0, 0 },
	       sizeof(struct vu_hdr));
	memcpy(version + sizeof(struct vu_hdr), &v, sizeof(v));
	memcpy(version + sizeof(struct vu_hdr) + sizeof(v), caps, sizeof(caps));
	memcpy(attach, &(struct vu_hdr){ 2, VU_RMIO_ATTACH, sizeof(attach), 0, 0 },
	       sizeof(struct vu_hdr));
	memcpy(attach + sizeof(struct vu_hdr), &a, sizeof(a));
	T_REQUIRE(serve(&d, &s, "spy", &dev));
	for (int i = 0; i < 3; i++) {
		fd = raw();
		T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
		close(pair[0]);
		send_with(fd, version, sizeof(version), -1);
		T_GT(recv(fd, reply, sizeof(reply), 0), 0);
		send_with(fd, attach, sizeof(attach), pair[1]);
		close(pair[1]);
		T_GT(recv(fd, reply, sizeof(reply), 0), 0);
		close(fd);
	}
	T_EQ(wait_for(&s.went, 3), 3);
	T_EQ(__atomic_load_n(&d.lines, __ATOMIC_ACQUIRE), 0);
	end(&d, dev);
}

static void names(void)
{
	static const struct {
		const char *given, *heard;
	} list[] = {
		{ "uart", "uart" },
		{ "a \"quoted\" \\ one\n\033[2J", "a quoted  one[2J" },
		{ "0123456789012345678901234567890123456789012345678901234567890123456789",
		  "012345678901234567890123456789012345678901234567890123456789012" },
		{ NULL, "device" },
	};
	struct rmio_client_opts opts = { .sz = sizeof(opts) };
	struct rmio_client *c;
	struct rmio_dev *dev;
	struct rmio_vm *vm;
	struct dev_thread d;
	struct spy s;

	for (size_t i = 0; i < KTAP_COUNT(list); i++) {
		T_REQUIRE(serve(&d, &s, list[i].given, &dev));
		T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
		for (int rings = 0; rings < 2; rings++) {
			opts.vm = rings ? vm : NULL;
			c = NULL;
			T_REQUIRE(T_EQ(rmio_client_connect(path, &opts, &c), 0));
			T_STREQ(rmio_client_name(c), list[i].heard);
			T_EQ(!!rmio_client_master(c), rings);
			if (rings)
				T_STREQ(rmio_master_name(rmio_client_master(c)), list[i].heard);
			rmio_client_free(c);
		}
		opts.vm = vm;
		opts.master = (struct rmio_master_opts){ .sz = sizeof(opts.master), .name = "mine" };
		T_REQUIRE(T_EQ(rmio_client_connect(path, &opts, &c), 0));
		T_STREQ(rmio_master_name(rmio_client_master(c)), "mine");
		opts.master = (struct rmio_master_opts){ 0 };
		rmio_client_free(c);
		rmio_vm_free(vm);
		end(&d, dev);
	}
}

static void count_lines(void *arg, const char *line)
{
	ktap_diag("log: %s", line);
	++*(int *)arg;
}

/* Its master goes, and before the loop hears of that the device has a new map for it. */
static void left_before_the_map(void)
{
	static const struct rmio_dev_range bar = { .bus = RMIO_BUS_MEM, .len = 0x1000 };
	static const struct rmio_area area = { .length = 4 };
	static const struct rmio_dev_ops none;
	int lines = 0;
	struct rmio_loop_opts lo = { .sz = sizeof(lo), .log = count_lines, .arg = &lines };
	struct rmio_master_opts mo = { .sz = sizeof(mo) };
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .name = "spy", .ops = &none, .ranges = &bar, .nr_ranges = 1,
		.vendor = 1, .device = 2,
	};
	struct rmio_master *m;
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	struct rmio_vm *vm;

	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
	T_REQUIRE(T_EQ(rmio_loop_new(&lo, &loop), 0));
	T_REQUIRE(T_EQ(rmio_dev_new(loop, &desc, NULL, &dev), 0));
	T_REQUIRE(T_EQ(rmio_master_new(vm, &mo, &m), 0));
	T_REQUIRE(T_EQ(rmio_dev_slave(dev, fcntl(rmio_master_slave_fd(m), F_DUPFD_CLOEXEC, 0)), 0));
	rmio_master_free(m);
	T_EQ(rmio_dev_areas(dev, &area, 1), 0);
	/* It ends by itself: that was the last peer. */
	T_EQ(rmio_loop_run(loop), 0);
	T_EQ(lines, 0);
	rmio_dev_free(dev);
	rmio_loop_free(loop);
	rmio_vm_free(vm);
}

static const struct ktap_test tests[] = {
	{ "who left before being served", left_before },
	{ "as long as the client wants", own_patience },
	{ "orderly ends are no failures", no_failures },
	{ "one that leaves while it attaches", left_attaching },
	{ "one that leaves before the map", left_before_the_map },
	{ "the device's own name", names },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
