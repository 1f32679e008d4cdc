// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The slave descriptor as the VMM sees it: each message that no slave of the
 * library would send, questions that are answered with an error, and one that
 * asks without end.  Nothing of it touches another device.
 */
#include "devproc.h"
#include "pair.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

struct rig {
	struct pair p;		/* its master and slave are the ones that are left alone */
	struct rmio_master *m;
	struct raw r;
};

#define ADDR (PAIR_ADDR + 0x100000)

static bool rig_init(struct rig *g)
{
	struct rmio_master_opts mo = { .sz = sizeof(mo), .timeout_ns = RMIO_TIMEOUT_NONE };
	struct rmio_pa_range range = { .addr = ADDR, .len = PAIR_LEN, .id = 3 };

	return pair_init(&g->p, RMIO_WAIT_SLEEP, 0, RMIO_TIMEOUT_NONE) && pair_start(&g->p) &&
	       T_EQ(rmio_master_new(g->p.vm, &mo, &g->m), 0) &&
	       T_EQ(rmio_master_pa_range(g->m, &range), 0) &&
	       T_OK(raw_open(&g->r, rmio_master_slave_fd(g->m)));
}

static void rig_exit(struct rig *g)
{
	raw_close(&g->r);
	rmio_master_free(g->m);
	pair_exit(&g->p);
}

static void check_other(struct rig *g)
{
	uint64_t v = 0;

	T_EQ(rmio_vcpu_store(g->p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR + 8, 8, 4711), 0);
	T_EQ(rmio_vcpu_load(g->p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR + 8, 8, &v), 0);
	T_EQ(v, 4711);
	T_OK(rmio_master_state(g->p.master) <= RMIO_STATE_LIVE);
}

static int open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void send_msg(int chan, const void *buf, size_t len, uint32_t nfds)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(200 * sizeof(int))];
	} c;
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	uint32_t i;

	if (nfds) {
		m.msg_control = &c;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		for (i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(&c.h) + i * sizeof(int), &fd, sizeof(fd));
	}
	T_EQ(sendmsg(chan, &m, MSG_NOSIGNAL), (ssize_t)len);
	close(fd);
}

/* -- messages that end it ---------------------------------------------------------------- */

static void nonsense(void)
{
	static const struct rmio_chan_hdr good = {
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION, .type = RMIO_CHAN_SHADOW_SIZE,
		.value = 0x1000,
	};
	static char big[RMIO_CHAN_MAX + 1];
	static const struct {
		const char *name;
		uint32_t magic, version, type, answer;
		uint64_t value;
		size_t len;
		uint32_t nfds;
		enum rmio_state state;
		int error;
	} c[] = {
#define GOOD_ RMIO_ABI_MAGIC, RMIO_ABI_VERSION
		{ "magic", 0, RMIO_ABI_VERSION, 2, 0, 0, 24, 0, RMIO_STATE_PROTOCOL },
		{ "version", RMIO_ABI_MAGIC, 2, 2, 0, 0, 24, 0, RMIO_STATE_PROTOCOL },
		{ "type 0", GOOD_, 0, 0, 0, 24, 0, RMIO_STATE_PROTOCOL },
		{ "bell", GOOD_, RMIO_CHAN_BELL, 0, 0, 24, 0, RMIO_STATE_PROTOCOL },
		{ "type 5", GOOD_, 5, 0, 0, 24, 0, RMIO_STATE_PROTOCOL },
		{ "truncated", GOOD_, 2, 0, 0, 23, 0, RMIO_STATE_PROTOCOL },
		{ "one byte", GOOD_, 2, 0, 0, 1, 0, RMIO_STATE_PROTOCOL },
		{ "empty", GOOD_, 2, 0, 0, 0, 0, RMIO_STATE_CLOSED },
		{ "empty with descriptor", GOOD_, 2, 0, 0, 0, 1, RMIO_STATE_PROTOCOL },
		{ "oversized", GOOD_, 3, 0, 4096, RMIO_CHAN_MAX + 1, 0, RMIO_STATE_PROTOCOL },
		{ "a descriptor", GOOD_, 2, 0, 0x1000, 24, 1, RMIO_STATE_PROTOCOL },
		{ "three descriptors", GOOD_, 2, 0, 0x1000, 24, 3, RMIO_STATE_PROTOCOL },
		{ "200 descriptors", GOOD_, 2, 0, 0x1000, 24, 200, RMIO_STATE_PROTOCOL },
		{ "size with payload", GOOD_, 2, 0, 0x1000, 25, 0, RMIO_STATE_PROTOCOL },
		{ "an answer", GOOD_, 2, 1, 0x1000, 24, 0, RMIO_STATE_PROTOCOL },
		{ "hello", GOOD_, 1, 0, 0, 24, 0, RMIO_STATE_PROTOCOL },
		{ "hello with payload", GOOD_, 1, 1, 0, 32, 0, RMIO_STATE_PROTOCOL },
		{ "a second hello", GOOD_, 1, 1, 0, 24, 0, RMIO_STATE_PROTOCOL },
		{ "a question with an error", GOOD_, 2, 0, 0x1000, 24, 0, RMIO_STATE_PROTOCOL, 5 },
	};
	int i;

	for (i = 0; i < KTAP_COUNT(c) && !ktap_failed(); i++) {
		struct rmio_chan_hdr *h = (void *)big;
		uint64_t v = 0;
		struct rig g;
		int before;

		T_REQUIRE(rig_init(&g));
		before = open_files();
		*h = good;
		h->magic = c[i].magic;
		h->version = (uint16_t)c[i].version;
		h->type = (uint16_t)c[i].type;
		h->answer = c[i].answer;
		h->value = c[i].value;
		h->error = c[i].error;
		send_msg(g.r.chan, big, c[i].len, c[i].nfds);
		/* A vCPU that waits is told. */
		T_EQ(rmio_vcpu_load(g.p.vcpu[0], RMIO_BUS_MEM, ADDR, 4, &v), 0);
		T_EQ(v, 0xffffffffu);
		if (!T_EQ(rmio_master_state(g.m), c[i].state))
			ktap_diag("%s", c[i].name);
		check_other(&g);
		T_EQ(open_files(), before);
		while (!atomic_load(&g.p.deaths))
			usleep(100);
		T_EQ(atomic_load(&g.p.dead), (int)c[i].state);
		rig_exit(&g);
	}
}

/* -- questions that are answered with an error ----------------------------------------------- */

static int ask(struct rig *g, uint16_t type, uint64_t value, const void *payload, size_t len)
{
	struct rmio_chan_hdr h = {
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION, .type = type, .value = value,
	};
	int fds[RMIO_CHAN_FDS];
	size_t nfds, i;
	ssize_t n;

	if (!T_EQ(rmio_chan_send(g->r.chan, &h, payload, len, NULL, 0), 0))
		return 1;
	while ((n = rmio_chan_recv(g->r.chan, &h, NULL, 0, fds, &nfds)) == -EAGAIN)
		usleep(100);
	for (i = 0; i < nfds; i++)
		close(fds[i]);
	T_EQ(n, 0);
	T_EQ(h.type, type);
	T_EQ(h.answer, 1);
	T_EQ(nfds, !h.error && type == RMIO_CHAN_SHADOW_SIZE && value);
	return h.error;
}

static void refused(void)
{
	static struct rmio_area many[RMIO_AREAS_MAX];
	const struct {
		struct rmio_area area[2];
		int n, err;
	} c[] = {
		{ { { .length = 16, .sizes = 15, .load = 1 } }, 1, 0 },
		{ { { .length = 0, .sizes = 15, .load = 1 } }, 1, -EINVAL },
		{ { { .length = 16, .sizes = 16, .load = 1 } }, 1, -EINVAL },
		{ { { .length = 16, .sizes = 0, .load = 1 } }, 1, -EINVAL },
		{ { { .length = 16, .sizes = 15, .load = 2 } }, 1, -EINVAL },
		{ { { .length = 16, .sizes = 15, .store = 3 } }, 1, -EINVAL },
		{ { { .length = 16, .sizes = 15, .flags = 2 } }, 1, -EINVAL },
		{ { { .length = 16, .sizes = 15, .range_id = 65536 } }, 1, -EINVAL },
		{ { { .length = 0x1001, .sizes = 15, .load = 1 } }, 1, -ERANGE },
		{ { { .length = 16, .sizes = 15, .load = 1, .shadow_offset = 0xff8 } },
		  1,
		  -ERANGE },
		{ { { .length = 16, .offset = UINT64_MAX - 8 } }, 1, -EOVERFLOW },
		{ { { .length = 16, .sizes = 15, .load = 1, .shadow_offset = UINT64_MAX - 8 } },
		  1,
		  -EOVERFLOW },
		{ { { .length = 16 }, { .offset = 15, .length = 2 } }, 2, -EEXIST },
		{ { { .length = 16, .range_id = 3, .offset = PAIR_LEN - 15 } }, 1, -ERANGE },
		{ { { .length = 16, .range_id = 3, .offset = PAIR_LEN - 16 } }, 1, 0 },
	};
	struct rig g;
	int i;

	T_REQUIRE(rig_init(&g));
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_SIZE, RMIO_SHADOW_MAX + 1, NULL, 0), -EFBIG);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_SIZE, UINT64_MAX, NULL, 0), -EFBIG);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_SIZE, UINT64_MAX - 4095, NULL, 0), -EFBIG);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_SIZE, RMIO_SHADOW_MAX, NULL, 0), 0);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_SIZE, 0, NULL, 0), 0);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_SIZE, 1, NULL, 0), 0);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_CTRL, RMIO_AREAS_MAX + 1, NULL, 0), -E2BIG);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_CTRL, UINT64_MAX, NULL, 0), -E2BIG);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_CTRL, UINT64_MAX / 32 + 2, many, 32), -E2BIG);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_CTRL, 1, NULL, 0), -EPROTO);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_CTRL, 1, many, 33), -EPROTO);
	for (i = 0; i < KTAP_COUNT(c); i++)
		if (!T_EQ(ask(&g, RMIO_CHAN_SHADOW_CTRL, (uint64_t)c[i].n, c[i].area,
			      (size_t)c[i].n * sizeof(struct rmio_area)), c[i].err))
			ktap_diag("map %d", i);
	for (i = 0; i < (int)RMIO_AREAS_MAX; i++)
		many[i] = (struct rmio_area){ .offset = 8 * (RMIO_AREAS_MAX - 1 - (uint64_t)i),
					      .length = 8, .store = (uint8_t)(i % 3) ? 0 : 2 };
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_CTRL, RMIO_AREAS_MAX, many, sizeof(many)), 0);
	T_EQ(rmio_master_state(g.m), RMIO_STATE_LIVE);
	check_other(&g);
	rig_exit(&g);
}

/* -- questions without end --------------------------------------------------------------------- */

struct flooder {
	struct rig *g;
	atomic_bool stop;
	unsigned long sent, answers;
	bool take;
};

static void *flood(void *arg)
{
	static struct rmio_area areas[RMIO_AREAS_MAX];
	struct flooder *f = arg;
	struct rmio_chan_hdr h = {
		.magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION,
		.type = RMIO_CHAN_SHADOW_CTRL, .value = RMIO_AREAS_MAX,
	}, a;
	int fds[RMIO_CHAN_FDS], err = 0, i;
	size_t nfds;

	for (i = 0; i < (int)RMIO_AREAS_MAX; i++)
		areas[i] = (struct rmio_area){ .offset = 8 * (uint64_t)i, .length = 4 };
	while (!atomic_load(&f->stop)) {
		err = rmio_chan_send(f->g->r.chan, &h, areas, sizeof(areas), NULL, 0);
		if (err && err != -EAGAIN)
			break;
		f->sent += !err;
		while (f->take && !rmio_chan_recv(f->g->r.chan, &a, NULL, 0, fds, &nfds))
			f->answers++;
	}
	return NULL;
}

/* Masters and vCPUs can be made and freed, ranges moved, the other device used. */
static void flooded(void)
{
	struct rmio_pa_range range = { .addr = ADDR + 0x100000, .len = 0x1000 };
	struct rmio_wait_opts wait = { .sz = sizeof(wait) };
	struct flooder f = { .take = true };
	struct rmio_master *m;
	struct rig g;
	pthread_t t;
	int i;

	T_REQUIRE(rig_init(&g));
	f.g = &g;
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, flood, &f), 0));
	for (i = 0; i < 100; i++) {
		T_REQUIRE(T_EQ(rmio_master_new(g.p.vm, NULL, &m), 0));
		T_EQ(rmio_master_pa_range(m, &range), 0);
		range.addr ^= 0x10000;
		check_other(&g);
		rmio_vcpu_free(g.p.vcpu[2]);
		T_EQ(rmio_vcpu_new(g.p.vm, 2, &wait, &g.p.vcpu[2]), 0);
		rmio_master_free(m);
	}
	T_EQ(rmio_master_state(g.m), RMIO_STATE_LIVE);
	atomic_store(&f.stop, true);
	pthread_join(t, NULL);
	ktap_diag("%lu maps sent, %lu answered", f.sent, f.answers);
	T_GT(f.answers, 0);
	rig_exit(&g);
}

/* Who does not take its answers is given up, before they fill the VMM's memory. */
static void answers_not_taken(void)
{
	struct flooder f = { .take = false };
	struct rig g;
	pthread_t t;

	T_REQUIRE(rig_init(&g));
	f.g = &g;
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, flood, &f), 0));
	while (rmio_master_state(g.m) <= RMIO_STATE_LIVE)
		usleep(1000);
	T_EQ(rmio_master_state(g.m), RMIO_STATE_PROTOCOL);
	pthread_join(t, NULL);
	ktap_diag("given up after %lu maps", f.sent);
	check_other(&g);
	rig_exit(&g);
}

/* -- no more descriptors can be under way -----------------------------------------------------*/

/* What an unprivileged user may have in messages that nobody has received is bounded. */
static bool drop_privileges(void)
{
	struct __user_cap_header_struct hdr = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];
	struct rlimit limit = { 64, 64 };

	if (!T_EQ(syscall(SYS_capget, &hdr, caps), 0))
		return false;
	caps[0].effective &= ~(1u << CAP_SYS_RESOURCE | 1u << CAP_SYS_ADMIN);
	caps[0].permitted = caps[0].effective;
	caps[0].inheritable = 0;
	return T_EQ(syscall(SYS_capset, &hdr, caps), 0) &&
	       T_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* The device is told, not given up. */
static void no_descriptors(void)
{
	struct rig g;
	uint64_t v;
	int sv[2];

	/* Before the VM has its thread. */
	T_REQUIRE(drop_privileges());
	T_REQUIRE(rig_init(&g));
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_SIZE, 0x2000, NULL, 0), 0);
	T_REQUIRE(T_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0));
	send_msg(sv[0], "x", 1, 40);
	send_msg(sv[0], "x", 1, 40);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_SIZE, 0x1000, NULL, 0), -ETOOMANYREFS);
	T_EQ(rmio_master_state(g.m), RMIO_STATE_LIVE);
	/* There is no image now. */
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_CTRL, 1, &(struct rmio_area){ .length = 8, .sizes = 15,
		 .load = RMIO_LOAD_SHADOW }, sizeof(struct rmio_area)), -ERANGE);
	close(sv[0]);
	close(sv[1]);
	T_EQ(ask(&g, RMIO_CHAN_SHADOW_SIZE, 0x1000, NULL, 0), 0);
	T_EQ(rmio_vcpu_load(g.p.vcpu[1], RMIO_BUS_MEM, PAIR_ADDR, 8, &v), 0);
	rig_exit(&g);
}

static const struct ktap_test tests[] = {
	{ "nonsense", nonsense },
	{ "refused", refused },
	{ "flooded", flooded },
	{ "answers not taken", answers_not_taken },
	{ "no more descriptors", no_descriptors },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
