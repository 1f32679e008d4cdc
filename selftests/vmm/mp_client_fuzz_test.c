// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * mp_client_fuzz_test.c - the VMM's end of QEMU's multi-process protocol against remotes that
 * answer more or less.  Some only dawdle: then what is answered at all is right.  Beside the data
 * path.
 */
#include "mp_remote.h"

#include <linux/pci_regs.h>
#include <sys/ioctl.h>

#define CONFIG	VFIO_PCI_CONFIG_REGION_INDEX
#define STILL	0x80u	/* from there on nobody writes to configuration space, */
#define STILL0	0x800u	/* or to BAR 0 */
#define PAGE	4096u

static const uint64_t seed_base = 0x6d705f636c69656e;

static __thread uint64_t state;

static uint32_t rnd(uint32_t n)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(state >> 33) % n;
}

static bool chance(uint32_t percent)
{
	return rnd(100) < percent;
}

/* -- the remote ---------------------------------------------------------------- */

struct answerer {
	pthread_t thread;
	struct remote r;
	uint64_t seed;
	bool lies;		/* else it dawdles */
	uint32_t from;		/* it begins with that command */
	uint32_t percent;
	uint64_t owed[64];
	bool owed_empty[64];	/* of a reset */
	uint32_t n_owed;
	unsigned long damaged;
	bool over;		/* no client goes on after what it has been told */
	int64_t left;		/* then: bytes that it may have sent before it knew */
};

/* It all, in one piece or several. */
static bool say(struct answerer *a, const uint8_t *buf, size_t len)
{
	size_t n;

	for (size_t at = 0; at < len; at += n) {
		n = chance(70) ? len - at : 1 + rnd((uint32_t)(len - at));
		if (send(a->r.fd, buf + at, n, MSG_NOSIGNAL) != (ssize_t)n)
			return false;
	}
	return true;
}

static size_t build(uint8_t *buf, bool empty, uint64_t value)
{
	struct mp_hdr h = { .cmd = MP_RET, .size = empty ? 0 : sizeof(value) };

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), &value, sizeof(value));
	return sizeof(h) + h.size;
}

static bool answer(struct answerer *a, bool empty, uint64_t value)
{
	uint8_t buf[24];

	return say(a, buf, build(buf, empty, value));
}

static bool pay(struct answerer *a)
{
	for (uint32_t i = 0; i < a->n_owed; i++)
		if (!answer(a, a->owed_empty[i], a->owed[i]))
			return false;
	a->n_owed = 0;
	return true;
}

/* Registers change by themselves. */
static void disturb(struct remote *r)
{
	switch (rnd(3)) {
	case 0:
		r->cfg[0x04 + rnd(0x24)] = (uint8_t)rnd(256);
		break;
	case 1:
		r->mask[rnd(6)] = rnd(2) ? -(1u << rnd(32)) : rnd(UINT32_MAX);
		break;
	default:
		r->cfg[0x10 + 4 * rnd(6)] = (uint8_t)rnd(16);
	}
}

/* The eventfds that it has been given are full, and who writes to them waits. */
static void stuff(struct remote *r)
{
	uint64_t full = UINT64_MAX - 1;

	for (int i = 0; i < 2; i++) {
		if (r->pair[i] < 0)
			continue;
		fcntl(r->pair[i], F_SETFL, O_NONBLOCK);
		(void)!write(r->pair[i], &full, sizeof(full));
		fcntl(r->pair[i], F_SETFL, 0);
	}
}

/* False: it goes. */
static bool lie(struct answerer *a, bool empty, uint64_t value)
{
	static const uint64_t sizes[] = { 0, 1, 7, 9, 16, 192, 193, 1u << 20, UINT64_MAX };
	int fds[20];
	uint8_t buf[64] = { 0 };
	size_t len = build(buf, empty, value);
	uint64_t size;

	a->damaged++;
	switch (rnd(12)) {
	case 0:		/* a bit of the header */
		buf[rnd(16)] ^= (uint8_t)(1u << rnd(8));
		return say(a, buf, len);
	case 1:
		size = sizes[rnd(KTAP_COUNT(sizes))];
		memcpy(buf + 8, &size, sizeof(size));
		a->over = size && (size <= 48 || size > MP_PAYLOAD_MAX);
		return say(a, buf, 16 + (size < 48 ? size : 48));
	case 2:
		buf[0] = (uint8_t)rnd(9);
		a->over = buf[0] != MP_RET;
		return say(a, buf, len);
	case 3:
		return say(a, buf, len) && say(a, buf, len);
	case 4:
		for (int i = 0; i < 20; i++)
			fds[i] = a->r.fd;
		a->over = true;
		return rig_send(a->r.fd, buf, len, fds, 1 + (int)rnd(20), 0) == (ssize_t)len;
	case 5:
		say(a, buf, rnd((uint32_t)len));
		return false;
	case 6:
		return answer(a, false, UINT64_MAX);
	case 7:
		return answer(a, false, (uint64_t)rnd(1u << 31) << rnd(33));
	case 8:
		return answer(a, false, value ^ 1ull << rnd(64));
	case 9:
		disturb(&a->r);
		return answer(a, empty, value);
	case 10:
		stuff(&a->r);
		return answer(a, empty, value);
	default:
		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)rnd(256);
		return say(a, buf, 1 + rnd(sizeof(buf)));
	}
}

/* Later, or (its answers to come are late ones too) never. */
static bool dawdle(struct answerer *a, bool empty, uint64_t value)
{
	a->damaged++;
	if (chance(20))
		return true;
	a->owed[a->n_owed] = value;
	a->owed_empty[a->n_owed] = empty;
	a->n_owed++;
	return true;
}

/* What is there, and a message that is just being sent. */
static int64_t under_way(int fd)
{
	int n = 0;

	T_EQ(ioctl(fd, FIONREAD, &n), 0);
	return n + (int64_t)(sizeof(struct mp_hdr) + MP_PAYLOAD_MAX);
}

static void *answer_badly(void *arg)
{
	struct answerer *a = arg;
	_Alignas(8) uint8_t payload[256];
	bool go_on = true, bad;
	uint64_t value;
	uint32_t nfds;
	struct mp_hdr h;
	int fds[16], rc;

	state = a->seed;
	while (go_on && remote_take(&a->r, &h, payload, fds, &nfds)) {
		rc = remote_do(&a->r, &h, payload, fds, nfds, &value);
		for (uint32_t i = 0; i < nfds; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		a->left -= (int64_t)(sizeof(h) + h.size);
		if (a->over && !T_GE(a->left, 0))
			break;
		if (!rc || a->over)
			continue;
		/* Whoever is told nothing but the truth never misses. */
		T_OK(rc > 0 || a->lies);
		bad = a->r.commands++ >= a->from && chance(a->percent);
		if (bad && a->lies) {
			go_on = lie(a, h.cmd == MP_RESET, value);
			if (a->over)
				a->left = under_way(a->r.fd);
			continue;
		}
		if (chance(80) || a->n_owed > 60)
			go_on = pay(a);
		if (!go_on)
			break;
		/* what is owed comes first */
		if (bad || a->n_owed)
			go_on = dawdle(a, h.cmd == MP_RESET, value);
		else
			go_on = answer(a, h.cmd == MP_RESET, value);
	}
	shutdown(a->r.fd, SHUT_RDWR);
	for (int i = 0; i < 2; i++)
		if (a->r.pair[i] >= 0)
			close(a->r.pair[i]);
	return NULL;
}

/* -- the calls ------------------------------------------------------------------- */

static int mem, efd;

static const struct remote *truth;	/* what is still in it; NULL: no matter what */

static int any_read(struct rmio_client *c, uint32_t index, uint32_t from, uint32_t to)
{
	uint32_t len = 1 + rnd(16), at = from + rnd(to - from - 16);
	uint8_t buf[16];
	int rc = rmio_client_region_read(c, index, at, buf, len);

	if (!rc && truth)
		T_MEMEQ(buf, (index == CONFIG ? truth->cfg : truth->ram) + at, len);
	return rc;
}

static int any_write(struct rmio_client *c, uint32_t index, uint32_t from, uint32_t to)
{
	uint32_t len = 1 + rnd(16), at = from + rnd(to - from - 16);
	uint8_t buf[16];

	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)rnd(256);
	return rmio_client_region_write(c, index, at, buf, len);
}

static int place(struct rmio_client *c)
{
	uint32_t reg = 0x10 + 4 * rnd(6), value = rnd(16) << 28 | rnd(16) << 12;

	if (chance(50)) {
		reg = PCI_COMMAND;
		value = rnd(8);
	}
	return rmio_client_region_write(c, CONFIG, reg, &value, reg == PCI_COMMAND ? 2 : 4);
}

static int any_call(struct rmio_client *c)
{
	struct rmio_region_info info;
	uint64_t gpa = rnd(12) * PAGE;
	uint32_t x, y;
	int fd = chance(80) ? efd : -1;

	switch (rnd(16)) {
	case 0: return rmio_client_region_info(c, rnd(10), &info);
	case 1: return rmio_client_irq_info(c, rnd(6), &x, &y);
	case 2:
	case 3:
	case 4: return any_read(c, CONFIG, STILL, 256);
	case 5: return any_write(c, CONFIG, 0x50, STILL);
	case 6:
	case 7: return any_read(c, 0, STILL0, PAGE);
	case 8: return any_write(c, rnd(3), 0, 256);
	case 9: return place(c);
	case 10: return rmio_client_dma_map(c, gpa, (1 + rnd(4)) * PAGE, mem, rnd(4) * PAGE,
					    PROT_READ | PROT_WRITE);
	case 11: return rmio_client_dma_unmap(c, gpa, (1 + rnd(4)) * PAGE);
	case 12: return rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd);
	case 13: return rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &fd);
	case 14: return rmio_client_set_irqs(c, 0, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL);
	default: return chance(30) ? rmio_client_reset(c) : place(c);
	}
}

static struct {
	unsigned long connections, made, damaged, good, refused, nonsense, late, gone, nowhere;
} seen;

static bool count(int rc)
{
	switch (rc) {
	case 0:
		seen.good++;
		return true;
	case -EIO:
		seen.refused++;
		return true;
	case -EPROTO:
		seen.nonsense++;
		return true;
	case -ETIMEDOUT:
		seen.late++;
		return true;
	case -ECONNRESET:
		seen.gone++;
		return true;
	case -ENXIO:
		seen.nowhere++;
		return true;
	case -EINVAL:	/* beyond a region, no pin */
	case -EEXIST:
	case -ENOSPC:
	case -ENOENT:
	case -EAGAIN:	/* an eventfd that cannot be signalled */
		return true;
	}
	return T_OK(false) && T_EQ(rc, 0);
}

static void use(struct rmio_client *c)
{
	uint32_t id;
	int rc;

	for (int n = 0; n < 40 && !ktap_failed(); n++) {
		rc = any_call(c);
		if (!count(rc))
			T_EQ(rc, 0);
		if (rc != -EPROTO && rc != -ECONNRESET)
			continue;
		/* for good */
		T_EQ(rmio_client_region_read(c, CONFIG, 0, &id, 4), -ECONNRESET);
		T_EQ(rmio_client_reset(c), -ECONNRESET);
		break;
	}
}

/* (rig_count_fds waits for threads to end, of which a sanitizer has its own) */
static int count_fds(void)
{
	return rig_count("/proc/self/fd");
}

/* What came with an answer is closed by a thread of its own. */
static void no_more_fds(int before)
{
	for (int i = 0; i < 5000 && count_fds() > before; i++)
		usleep(1000);
	T_EQ(count_fds(), before);
}

static void connection(uint64_t seed, bool lies)
{
	static struct answerer a;
	struct rmio_client_opts o = {
		.sz = sizeof(o), .reply_timeout_ms = 10, .protocol = RMIO_PROTOCOL_MULTI_PROCESS,
	};
	int fds[2], err, before = count_fds();
	struct rmio_client *c;

	state = seed;
	memset(&a, 0, sizeof(a));
	remote_init(&a.r);
	for (uint32_t i = STILL; i < 256; i++)
		a.r.cfg[i] = (uint8_t)(i * 37);
	a.seed = seed + 1;
	a.lies = lies;
	a.from = chance(70) ? 60 + rnd(60) : rnd(60);
	a.percent = lies ? 1 + rnd(30) : 1 + rnd(4);
	truth = lies ? NULL : &a.r;
	T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	a.r.fd = fds[0];
	T_EQ(pthread_create(&a.thread, NULL, answer_badly, &a), 0);
	err = rmio_client_new(fds[1], &o, &c);
	seen.connections++;
	if (!err) {
		seen.made++;
		use(c);
		rmio_client_free(c);
	} else if (err != -EPROTO && err != -ETIMEDOUT) {
		T_EQ(err, -ECONNRESET);
	}
	pthread_join(a.thread, NULL);
	close(a.r.fd);
	seen.damaged += a.damaged;
	no_more_fds(before);
}

static void connections(bool lies, long n)
{
	const char *one = getenv("RMIO_TEST_SEED");
	uint64_t seed = seed_base;

	mem = memfd_create("ram", MFD_CLOEXEC);
	T_EQ(ftruncate(mem, 8 * PAGE), 0);
	efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (long i = 0; i < n && !ktap_failed(); i++) {
		seed = one ? strtoull(one, NULL, 0) : seed_base + (uint64_t)i * 0x9e3779b97f4a7c15;
		connection(seed, lies);
	}
	if (ktap_failed())
		ktap_diag("again with RMIO_TEST_SEED=%#llx", (unsigned long long)seed);
	ktap_diag("%lu connections, %lu of them made, %lu answers damaged; calls: %lu good, %lu "
		  "refused, %lu nonsense, %lu late, %lu on a lost connection, %lu nowhere",
		  seen.connections, seen.made, seen.damaged, seen.good, seen.refused, seen.nonsense,
		  seen.late, seen.gone, seen.nowhere);
	close(mem);
	close(efd);
	if (one)
		return;
	/* else it would have been the same with nobody there */
	T_GT(seen.made, 0);
	T_GT(seen.damaged, 0);
	T_GT(seen.good, 0);
	T_GT(lies ? seen.nonsense : seen.late, 0);
}

static void liars(void)
{
	connections(true, ktap_pick(100, 300, 6000));
}

static void dawdlers(void)
{
	connections(false, ktap_pick(30, 80, 2000));
	T_EQ(seen.nonsense, 0);
	T_EQ(seen.refused, 0);
}

static const struct ktap_test tests[] = {
	{ "remotes that lie", liars, 300 },
	{ "remotes that dawdle", dawdlers, 300 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
