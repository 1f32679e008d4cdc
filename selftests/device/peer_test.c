// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Who a device is attached to: one client at a time, each finds it reset; peers
 * that go at any moment or ask for what is not there harm nobody else.
 */
#include "client_rig.h"
#include "cmd.h"
#include "edu.h"
#include "null.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

static char path[64];

static const char *socket_path(const char *name)
{
	snprintf(path, sizeof(path), "/tmp/rmio-%s-%d.sock", name, (int)getpid());
	return path;
}

static struct rmio_client *connect_to(const char *to, struct rmio_vm *vm)
{
	struct rmio_client_opts opts = { .sz = sizeof(opts), .vm = vm };
	struct rmio_client *c = NULL;

	T_EQ(rmio_client_connect(to, &opts, &c), 0);
	return c;
}

static uint32_t read32(struct rmio_client *c, uint64_t off)
{
	uint32_t v = 0;

	T_EQ(rmio_client_region_read(c, 0, off, &v, 4), 0);
	return v;
}

static void write32(struct rmio_client *c, uint64_t off, uint32_t v)
{
	T_EQ(rmio_client_region_write(c, 0, off, &v, 4), 0);
}

/* -- listening -------------------------------------------------------------------------- */

static void listening(void)
{
	char long_path[200];
	struct dev_thread d;
	struct rmio_dev *a, *b, *c;
	struct stat st;
	int fd, s[2];

	T_REQUIRE(dev_thread_new(&d, RMIO_WAIT_SLEEP));
	a = dev_thread_add(&d, "edu");
	b = dev_thread_add(&d, "null");
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = 0;
	T_EQ(rmio_dev_listen(a, long_path), -ENAMETOOLONG);
	T_EQ(rmio_dev_listen(a, ""), -ENAMETOOLONG);
	T_EQ(rmio_dev_listen(a, "/proc/nowhere/x"), -ENOENT);
	socket_path("listen");
	/* not ours to replace */
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	T_EQ(rmio_dev_listen(a, path), -EADDRINUSE);
	{
		struct rmio_listen_opts o = { .sz = sizeof(o), .flags = 0x8 };

		T_EQ(rmio_dev_listen_opts(a, path, &o), -EINVAL);
		o.flags = RMIO_LISTEN_MODE;
		o.mode = 01777;
		T_EQ(rmio_dev_listen_opts(a, path, &o), -EINVAL);
		o.flags = RMIO_LISTEN_FD;
		o.fd = -1;
		T_EQ(rmio_dev_listen_opts(a, path, &o), -EINVAL);
		o.fd = open("/dev/null", O_RDWR);
		T_EQ(rmio_dev_listen_opts(a, path, &o), -ENOTSOCK);
		o.fd = socket(AF_UNIX, SOCK_DGRAM, 0);
		T_EQ(rmio_dev_listen_opts(a, path, &o), -EPROTOTYPE);
		o.fd = socket(AF_UNIX, SOCK_STREAM, 0);
		T_EQ(rmio_dev_listen_opts(a, path, &o), -EINVAL);
		T_EQ(fcntl(o.fd, F_GETFD), -1);
	}
	close(fd);
	unlink(path);
	T_EQ(rmio_dev_listen(a, path), 0);
	T_EQ(rmio_dev_listen(b, path), -EADDRINUSE);
	T_EQ(rmio_dev_listen(a, path), -EBUSY);
	T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	T_EQ(rmio_dev_serve(a, s[0]), -EBUSY);
	T_EQ(rmio_dev_slave(a, s[1]), -EBUSY);
	device_free(a);
	T_EQ(stat(path, &st), -1);

	/* what a killed process leaves behind */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	{
		struct sockaddr_un sun = { .sun_family = AF_UNIX };

		strcpy(sun.sun_path, path);
		T_EQ(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
		close(fd);
	}
	T_EQ(stat(path, &st), 0);
	T_EQ(rmio_dev_listen(b, path), 0);
	/* a successor has taken the place: its socket stays */
	unlink(path);
	c = dev_thread_add(&d, "null");
	T_EQ(rmio_dev_listen(c, path), 0);
	device_free(b);
	T_EQ(stat(path, &st), 0);
	device_free(c);
	T_EQ(stat(path, &st), -1);
	rmio_loop_free(d.loop);
}

struct waiting {
	struct rmio_client *c;
	uint32_t done;
};

static void *wait_turn(void *arg)
{
	struct waiting *w = arg;

	w->c = connect_to(path, NULL);
	__atomic_store_n(&w->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* The second waits for the first, and finds nothing of it. */
static void one_at_a_time(void)
{
	struct rmio_client *first;
	struct waiting w = { 0 };
	struct dev_thread d;
	struct rmio_dev *dev;
	uint16_t master = PCI_COMMAND_MASTER;
	pthread_t thread;
	uint32_t config;

	T_REQUIRE(dev_thread_new(&d, RMIO_WAIT_SLEEP));
	dev = dev_thread_add(&d, "edu");
	T_REQUIRE(T_EQ(rmio_dev_listen(dev, socket_path("turn")), 0));
	T_REQUIRE(dev_thread_start(&d));
	first = connect_to(path, NULL);
	T_REQUIRE(first);
	write32(first, EDU_LIVE, 5);
	write32(first, EDU_IRQ_RAISE, 7);
	T_EQ(rmio_client_region_write(first, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &master,
				      2), 0);
	T_EQ(read32(first, EDU_LIVE), ~5u);
	T_EQ(pthread_create(&thread, NULL, wait_turn, &w), 0);
	usleep(200000);
	T_EQ(__atomic_load_n(&w.done, __ATOMIC_ACQUIRE), 0);
	T_EQ(read32(first, EDU_IRQ_STATUS), 7);
	rmio_client_free(first);
	T_EQ(pthread_join(thread, NULL), 0);
	T_REQUIRE(w.c);
	T_EQ(read32(w.c, EDU_LIVE), 0);
	T_EQ(read32(w.c, EDU_IRQ_STATUS), 0);
	T_EQ(rmio_client_region_read(w.c, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &config, 4),
	     0);
	T_EQ(config, PCI_STATUS_CAP_LIST << 16);
	rmio_client_free(w.c);
	dev_thread_stop(&d);
	device_free(dev);
	rmio_loop_free(d.loop);
}

/* The shadow image keeps address and contents from client to client. */
static void shadow_stays(void)
{
	struct rmio_pa_range range = { .addr = RIG_BAR0, .len = NULL_BAR_SIZE };
	struct rmio_counters c;
	struct dev_thread d;
	struct rmio_client *client;
	struct rmio_vcpu *vcpu;
	struct rmio_dev *dev;
	struct rmio_vm *vm;
	long long end = ktap_now_ms() + 30000;
	void *image;
	int i;

	T_REQUIRE(dev_thread_new(&d, RMIO_WAIT_SLEEP));
	dev = dev_thread_add(&d, "null");
	image = rmio_dev_shadow(dev);
	T_EQ(rmio_dev_shadow_put(dev, 0x10, 0x1234, 4), 0);
	T_EQ(rmio_dev_shadow_put(dev, 0x11, 1, 4), -EINVAL);
	T_EQ(rmio_dev_shadow_put(dev, 0, 1, 3), -EINVAL);
	T_EQ(rmio_dev_shadow_put(dev, 0x3000, 1, 1), -EINVAL);
	T_EQ(rmio_dev_shadow_put(dev, UINT64_MAX, 1, 1), -EINVAL);
	T_REQUIRE(T_EQ(rmio_dev_listen(dev, socket_path("shadow")), 0));
	T_REQUIRE(dev_thread_start(&d));
	for (i = 0; i < 5; i++) {
		T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
		T_REQUIRE(T_EQ(rmio_vcpu_new(vm, 0, NULL, &vcpu), 0));
		client = connect_to(path, vm);
		T_REQUIRE(client);
		T_EQ(rmio_master_pa_range(rmio_client_master(client), &range), 0);
		/* by whichever way: before the map is there, and from the image */
		do {
			T_EQ(vcpu_load(vcpu, RIG_BAR0 + NULL_SHADOW + 0x10, 4), 0x1234 + i);
			T_EQ(rmio_master_counters(rmio_client_master(client), -1, &c), 0);
		} while (!c.shadow && ktap_now_ms() < end);
		T_GT(c.shadow, 0);
		vcpu_store(vcpu, RIG_BAR0 + NULL_SHADOW + 0x10, 4, 0x1235 + i);
		T_EQ(vcpu_load(vcpu, RIG_BAR0 + NULL_SHADOW + 0x10, 4), 0x1235 + i);
		vcpu_store(vcpu, RIG_BAR0 + NULL_THROUGH, 8, 0x1122334455667788 + i);
		T_EQ(vcpu_load(vcpu, RIG_BAR0 + NULL_THROUGH, 8), 0x1122334455667788 + i);
		rmio_client_free(client);
		rmio_vcpu_free(vcpu);
		rmio_vm_free(vm);
	}
	dev_thread_stop(&d);
	T_EQ(rmio_dev_shadow(dev), image);
	T_EQ(*(uint32_t *)((char *)image + 0x10), 0x1239);
	T_EQ(*(uint64_t *)((char *)image + 0x1000), 0x112233445566778c);
	device_free(dev);
	rmio_loop_free(d.loop);
}

/* -- what is not there --------------------------------------------------------------------- */

static void not_there(void)
{
	struct rmio_pa_range unknown = { .addr = 0x20000000, .len = 0x1000, .id = 3 };
	struct rmio_master *m;
	struct rig r;
	int i;

	/* Without a client, which would know the sizes, and refuse. */
	memset(&r, 0, sizeof(r));
	T_REQUIRE(dev_thread_new(&r.d, RMIO_WAIT_SLEEP));
	r.dev = dev_thread_add(&r.d, "null");
	T_REQUIRE(r.dev && T_EQ(rmio_vm_new(NULL, &r.vm), 0) &&
		  T_EQ(rmio_vcpu_new(r.vm, 0, NULL, &r.vcpu), 0));
	m = dev_thread_master(r.vm, r.dev, 0x10000000, 2 * NULL_BAR_SIZE);
	T_REQUIRE(m && dev_thread_start(&r.d));
	T_EQ(rmio_master_pa_range(m, &unknown), 0);
	for (i = 0; i < 3; i++) {
		T_EQ(vcpu_load(r.vcpu, 0x10000000, 4), NULL_MAGIC_VALUE);
		T_EQ(vcpu_load(r.vcpu, 0x10000000 + NULL_BAR_SIZE, 4), 0xffffffff);
		T_EQ(vcpu_load(r.vcpu, 0x10000000 + NULL_BAR_SIZE - 2, 4), 0xffffffff);
		T_EQ(vcpu_load(r.vcpu, 0x20000000, 2), 0xffff);
		vcpu_store(r.vcpu, 0x20000000, 4, 1);
		vcpu_store(r.vcpu, 0x10000000 + NULL_BAR_SIZE, 8, 1);
	}
	T_EQ(vcpu_load(r.vcpu, 0x10000000 + NULL_STORES, 8), 0);
	T_EQ(__atomic_load_n(&r.d.lines, __ATOMIC_ACQUIRE), 1);
	rmio_master_free(m);
	rig_free_vm(&r);
	dev_thread_join(&r.d);
	device_free(r.dev);
	rmio_loop_free(r.d.loop);
}

static void not_a_peer(void)
{
	struct dev_thread d;
	struct rmio_dev *dev;
	int s[2], p[2];

	T_REQUIRE(dev_thread_new(&d, RMIO_WAIT_SLEEP));
	dev = dev_thread_add(&d, "null");
	T_EQ(pipe(p), 0);
	T_LT(rmio_dev_slave(dev, p[0]), 0);
	T_LT(rmio_dev_serve(dev, p[1]), 0);
	T_LT(rmio_dev_slave(dev, open("/dev/null", O_RDWR)), 0);
	T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	T_EQ(write(s[0], "hello", 5), 5);
	T_EQ(rmio_dev_slave(dev, s[1]), -EPROTO);
	close(s[0]);
	T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	close(s[0]);
	T_EQ(rmio_dev_slave(dev, s[1]), -ECONNRESET);
	/* and still it can be served */
	T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	T_EQ(rmio_dev_serve(dev, s[1]), 0);
	close(s[0]);
	T_REQUIRE(dev_thread_start(&d));
	dev_thread_join(&d);
	device_free(dev);
	rmio_loop_free(d.loop);
}

/* -- peers that go ----------------------------------------------------------------------------- */

/* A VMM process that does a bit of everything, and is killed in the middle of it. */
static void victim(unsigned int seed)
{
	struct rmio_client_opts opts = { .sz = sizeof(opts) };
	struct rmio_pa_range range = { .addr = RIG_BAR0, .len = EDU_BAR_SIZE };
	int mem = memfd_create("guest", MFD_CLOEXEC), ev = eventfd(0, 0);
	struct rmio_client *c;
	struct rmio_vcpu *vcpu;
	struct rmio_vm *vm;
	uint64_t v;

	srand(seed);
	if (ftruncate(mem, 0x10000) || rmio_vm_new(NULL, &vm) ||
	    rmio_vcpu_new(vm, 0, NULL, &vcpu))
		_exit(1);
	opts.vm = rand() % 4 ? vm : NULL;
	if (rmio_client_connect(path, &opts, &c))
		_exit(1);
	if (opts.vm)
		rmio_master_pa_range(rmio_client_master(c), &range);
	for (;;) {
		switch (rand() % 9) {
		case 0:
			rmio_client_dma_map(c, 0, 0x10000, mem, 0, PROT_READ | PROT_WRITE);
			break;
		case 1:
			rmio_client_dma_unmap(c, 0, 0x10000);
			break;
		case 2:
			rmio_client_set_irqs(c, rand() % 2, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &ev);
			break;
		case 3:
			rmio_client_reset(c);
			break;
		case 4:
			if (ftruncate(mem, rand() % 2 ? 0x1000 : 0x10000))
				_exit(1);
			break;
		case 5:
			v = PCI_COMMAND_MASTER;
			rmio_client_region_write(c, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &v,
						 2);
			break;
		case 6:
			if (!opts.vm)
				break;
			rmio_vcpu_store(vcpu, RMIO_BUS_MEM, RIG_BAR0 + EDU_DMA_SRC, 8,
					rand() % 0x10000);
			rmio_vcpu_store(vcpu, RMIO_BUS_MEM, RIG_BAR0 + EDU_DMA_DST, 8, EDU_BUF);
			rmio_vcpu_store(vcpu, RMIO_BUS_MEM, RIG_BAR0 + EDU_DMA_COUNT, 8, 4096);
			rmio_vcpu_store(vcpu, RMIO_BUS_MEM, RIG_BAR0 + EDU_DMA_CMD, 8, 5);
			break;
		default:
			if (!opts.vm)
				break;
			rmio_vcpu_store(vcpu, RMIO_BUS_MEM, RIG_BAR0 + EDU_FACTORIAL, 4,
					rand() % 50);
			rmio_vcpu_load(vcpu, RMIO_BUS_MEM, RIG_BAR0 + (rand() % 0x100), 4, &v);
		}
	}
}

static void killed(void)
{
	long rounds = ktap_pick(20, 60, 500), i;
	struct rmio_client *c;
	struct rmio_master *m;
	struct rmio_dev *edu;
	struct rig r;
	pid_t pid;

#ifdef __SANITIZE_THREAD__
	T_SKIP("ThreadSanitizer allows no threads after fork()", "run the plain build");
#endif
	/* edu on a path beside a null device with a well-behaved peer, in one loop */
	memset(&r, 0, sizeof(r));
	T_REQUIRE(dev_thread_new(&r.d, RMIO_WAIT_ADAPTIVE));
	edu = dev_thread_add(&r.d, "edu,delay_us=10");
	r.dev = dev_thread_add(&r.d, "null");
	T_REQUIRE(T_EQ(rmio_dev_listen(edu, socket_path("killed")), 0));
	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &r.vm), 0));
	T_REQUIRE(T_EQ(rmio_vcpu_new(r.vm, 0, NULL, &r.vcpu), 0));
	m = dev_thread_master(r.vm, r.dev, RIG_BAR0, NULL_BAR_SIZE);
	T_REQUIRE(m);
	T_REQUIRE(dev_thread_start(&r.d));
	srand(42);
	for (i = 0; i < rounds && !ktap_failed(); i++) {
		pid = fork();
		if (!pid)
			victim((unsigned int)i);
		usleep((useconds_t)(rand() % 5000));
		rig_store(&r, NULL_SCRATCH, 8, (uint64_t)i);
		T_EQ(rig_load(&r, NULL_SCRATCH, 8), i);
		usleep((useconds_t)(rand() % 5000));
		kill(pid, SIGKILL);
		T_EQ(waitpid(pid, NULL, 0), pid);
	}
	c = connect_to(path, NULL);
	T_REQUIRE(c);
	T_EQ(read32(c, EDU_ID), EDU_ID_VALUE);
	T_EQ(read32(c, EDU_IRQ_STATUS), 0);
	T_EQ(read32(c, EDU_DMA_CMD), 0);
	rmio_client_free(c);
	dev_thread_stop(&r.d);
	device_free(edu);
	device_free(r.dev);
	rmio_loop_free(r.d.loop);
	rmio_master_free(m);
	rig_free_vm(&r);
}

/* A connection closed after each number of bytes of a good beginning, and after bad ones. */
static void torn(void)
{
	static const uint8_t version[] = {
		1, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
	};
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct rmio_client *c;
	struct dev_thread d;
	struct rmio_dev *dev;
	size_t n;
	int fd;

	T_REQUIRE(dev_thread_new(&d, RMIO_WAIT_SLEEP));
	dev = dev_thread_add(&d, "edu");
	T_REQUIRE(T_EQ(rmio_dev_listen(dev, socket_path("torn")), 0));
	T_REQUIRE(dev_thread_start(&d));
	strcpy(sun.sun_path, path);
	for (n = 0; n <= 2 * sizeof(version); n++) {
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		T_EQ(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
		if (n <= sizeof(version)) {
			T_EQ(write(fd, version, n), n);
		} else {
			uint8_t bad[sizeof(version)];

			memcpy(bad, version, sizeof(bad));
			bad[n - sizeof(version) - 1] ^= 0xff;
			T_EQ(write(fd, bad, sizeof(bad)), sizeof(bad));
		}
		close(fd);
	}
	c = connect_to(path, NULL);
	T_REQUIRE(c);
	T_EQ(read32(c, EDU_ID), EDU_ID_VALUE);
	rmio_client_free(c);
	dev_thread_stop(&d);
	device_free(dev);
	rmio_loop_free(d.loop);
}

/* The client gives its rings up and keeps the socket. */
static void rings_given_up(void)
{
	struct rmio_client *c;
	struct rig r;
	int i;

	T_REQUIRE(rig_new(&r, "edu", EDU_BAR_SIZE, true));
	c = r.client;
	rig_store(&r, EDU_LIVE, 4, 9);
	for (i = 0; i < 200; i++)
		rig_store(&r, EDU_IRQ_RAISE, 4, 1u << i % 32);
	/* what vCPUs stored is older than a message sent after it */
	T_EQ(read32(c, EDU_IRQ_STATUS), 0xffffffff);
	T_EQ(read32(c, EDU_LIVE), ~9u);
	rig_free(&r);
}

/* -- rmio dev ---------------------------------------------------------------------------------- */

/* Run it in a process; its first line of output is in @line. */
static pid_t run_dev(char **argv, char *line, size_t len, int inherit)
{
	int p[2], argc = 0;
	pid_t pid;
	size_t n = 0;

	while (argv[argc])
		argc++;
	T_EQ(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		dup2(p[1], STDOUT_FILENO);
		dup2(p[1], STDERR_FILENO);
		if (inherit >= 0)
			dup2(inherit, 40);
		for (int fd = 3; fd < 40; fd++)
			close(fd);
		signal(SIGPIPE, SIG_IGN);
		exit(cmd_dev(argc, argv));
	}
	close(p[1]);
	while (n < len - 1 && read(p[0], line + n, 1) == 1 && line[n] != '\n')
		n++;
	line[n] = 0;
	close(p[0]);
	return pid;
}

static int ended(pid_t pid)
{
	int status = -1;

	T_EQ(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static void command(void)
{
	char *argv[] = { "dev", "--wait", "sleep", "--socket", path, "edu,delay_us=5", NULL };
	char line[300], want[300];
	struct rmio_client *c;
	struct stat st;
	int sig[2] = { SIGTERM, SIGINT }, i;
	pid_t pid;

	socket_path("command");
	for (i = 0; i < 2; i++) {
		pid = run_dev(argv, line, sizeof(line), -1);
		snprintf(want, sizeof(want), "rmio dev: ready: edu on %s", path);
		T_STREQ(line, want);
		c = connect_to(path, NULL);
		T_REQUIRE(c);
		T_EQ(read32(c, EDU_ID), EDU_ID_VALUE);
		T_EQ(kill(pid, sig[i]), 0);
		T_EQ(ended(pid), 0);
		T_EQ(stat(path, &st), -1);
		rmio_client_free(c);
	}
}

/* With a descriptor it ends with its peer. */
static void command_fd(void)
{
	char *argv[] = { "dev", "--fd", "40", "null", NULL };
	struct rmio_client_opts opts = { .sz = sizeof(opts) };
	struct rmio_client *c;
	char line[300];
	int s[2];
	pid_t pid;

	T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	pid = run_dev(argv, line, sizeof(line), s[1]);
	T_STREQ(line, "rmio dev: ready: null on descriptor 40");
	close(s[1]);
	T_REQUIRE(T_EQ(rmio_client_new(s[0], &opts, &c), 0));
	T_EQ(read32(c, NULL_MAGIC), NULL_MAGIC_VALUE);
	rmio_client_free(c);
	T_EQ(ended(pid), 0);

	/* Nobody at its other end, and nobody ever will be. */
	s[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid = run_dev(argv, line, sizeof(line), s[0]);
	T_STREQ(line, "rmio dev: descriptor 40: Transport endpoint is not connected; it has to be "
		      "a UNIX socket that is connected, or a stream socket that listens");
	T_EQ(ended(pid), 1);
}

static void command_errors(void)
{
	/* Not const: the command puts its name into argv[0]. */
	static struct {
		char *argv[8];
		int status;
		const char *says;
	} tries[] = {
		{ { "dev" }, 2, "rmio dev: no device; give --socket PATH DEVICE" },
		{ { "dev", "edu" },
		  2,
		  "rmio dev: a device without --socket or --fd before it: edu" },
		{ { "dev", "--socket", path }, 2, "rmio dev: no device after --socket" },
		{ { "dev", "--socket", path, "--fd", "1", "edu" },
		  2,
		  "rmio dev: a device must follow --socket" },
		{ { "dev", "--fd", "77", "edu" }, 2, "rmio dev: --fd: not an open descriptor: 77" },
		{ { "dev", "--fd", "x", "edu" }, 2, "rmio dev: --fd: not an open descriptor: x" },
		{ { "dev", "--fd", "1", "edu", "--fd", "1", "null" },
		  2,
		  "rmio dev: --fd: given twice: 1" },
		{ { "dev", "--wait", "long", "--socket", path, "edu" },
		  2,
		  "rmio dev: --wait: adaptive, poll or sleep, not long" },
		{ { "dev", "--cpu-share", "0", "--socket", path, "edu" },
		  2,
		  "rmio dev: --cpu-share: 1 to 100, not 0" },
		{ { "dev", "--socket", path, "nosuch" },
		  1,
		  "rmio dev: nosuch: no device called \"nosuch\"; see rmio dev list" },
		{ { "dev", "--socket", path, "edu,speed=1" },
		  1,
		  "rmio dev: edu,speed=1: no option called \"speed\"; see rmio dev list" },
		{ { "dev", "--socket", path, "edu,delay_us=" },
		  1,
		  "rmio dev: edu,delay_us=: delay_us is a number of 64 bits, not \"\"" },
		{ { "dev", "--socket", path, "edu,delay_us= -5" },
		  1,
		  "rmio dev: edu,delay_us= -5: delay_us is a number of 64 bits, not \" -5\"" },
		{ { "dev", "--socket", path, "edu,delay_us" },
		  1,
		  "rmio dev: edu,delay_us: delay_us without a value; delay_us=NUMBER" },
		{ { "dev", "--socket", path, "edu,delay_us=18446744073709552" },
		  1,
		  "rmio dev: edu,delay_us=18446744073709552: delay_us is at most 3600000000, an "
		  "hour" },
		{ { "dev", "--socket", "/proc/no/where", "edu" },
		  1,
		  "rmio dev: /proc/no/where: No such file or directory; its directory has to be there" },
		{ { "dev", "--fd", "1", "edu" },
		  1,
		  "rmio dev: descriptor 1: Socket operation on non-socket; it has to be a UNIX "
		  "socket that is connected, or a stream socket that listens" },
		{ { "dev", "--socket", "/dev/null", "edu" },
		  1,
		  "rmio dev: /dev/null: Address already in use; it is not a socket" },
		{ { "dev", "list" },
		  0,
		  "  edu      QEMU's educational device: factorials, interrupts, DMA" },
	};
	char line[300];
	size_t i;

	socket_path("errors");
	for (i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		pid_t pid = run_dev(tries[i].argv, line, sizeof(line), -1);

		T_STREQ(line, tries[i].says);
		T_EQ(ended(pid), tries[i].status);
	}
}

static const struct ktap_test tests[] = {
	{ "listening", listening },
	{ "one at a time", one_at_a_time },
	{ "the shadow stays", shadow_stays },
	{ "what is not there", not_there },
	{ "not a peer", not_a_peer },
	{ "peers killed", killed, 120 },
	{ "torn connections", torn },
	{ "rings and socket in order", rings_given_up },
	{ "rmio dev", command },
	{ "rmio dev with a descriptor", command_fd },
	{ "rmio dev, errors", command_errors },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
