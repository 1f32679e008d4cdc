// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device: the calls of the master's descriptor, with arguments that are wrong in every
 * way.  What is refused changes nothing.
 */
#include "kvm_user_calls.h"

static const struct call calls[] = {
	{ "PA_RANGE", KVM_DEV_USER_PA_RANGE, sizeof(struct rmio_pa_range) },
	{ "TIMEOUT", KVM_DEV_USER_TIMEOUT, 8 },
	{ "RINGS", KVM_DEV_USER_RINGS, sizeof(struct rmio_kvm_rings) },
	{ "EVENTFD", KVM_DEV_USER_EVENTFD, 4 },
	{ "STATE", KVM_DEV_USER_STATE, 4, true },
	{ "ACCESS", KVM_DEV_USER_ACCESS, sizeof(struct rmio_kvm_access) },
	{ "KICK", KVM_DEV_USER_KICK, 4 },
};

static void places(void)
{
	int i;

	RIG_START();
	rig_serve();
	for (i = 0; i < KTAP_COUNT(calls) && !ktap_failed(); i++)
		bad_places(w.master, &calls[i]);
	w.reg[0] = 0x21;
	g_begin(0);
	g_load(0, DEVICE, 1);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x21);
	rig_stop();
}

/* The answer of a load cannot be written: the load has been made. */
static void answer_lost(void)
{
	struct rmio_kvm_access a = { .addr = DEVICE, .len = 1 };
	void *page;

	RIG_START();
	rig_serve();
	page = mmap(NULL, 0x1000, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(page, &a, sizeof(a));
	T_EQ(mprotect(page, 0x1000, PROT_READ), 0);
	T_EQ(CALL(w.master, KVM_DEV_USER_ACCESS, page), -EFAULT);
	T_EQ(atomic_load(&w.n), 1);
	/* And is not under way any more. */
	T_EQ(CALL(w.master, KVM_DEV_USER_ACCESS, &a), 0);
	T_EQ(atomic_load(&w.n), 2);
	rig_stop();
}

static void unaligned(void)
{
	uint8_t buf[64];
	uint32_t state;
	uint64_t v;
	int at;

	RIG_START();
	rig_serve();
	w.reg[0x10] = 0x31;
	for (at = 1; at < 16; at++) {
		struct rmio_pa_range r = { .addr = DEVICE, .len = LEN };
		struct rmio_kvm_access a = { .addr = DEVICE + 0x10, .len = 1 };

		memcpy(buf + at, &r, sizeof(r));
		T_EQ(CALL(w.master, KVM_DEV_USER_PA_RANGE, buf + at), 0);
		v = ~0ull;
		memcpy(buf + at, &v, 8);
		T_EQ(CALL(w.master, KVM_DEV_USER_TIMEOUT, buf + at), 0);
		memcpy(buf + at, &a, sizeof(a));
		T_EQ(CALL(w.master, KVM_DEV_USER_ACCESS, buf + at), 0);
		memcpy(&a, buf + at, sizeof(a));
		T_EQ(a.data, 0x31);
		T_EQ(CALL(w.master, KVM_DEV_USER_STATE, buf + at), 0);
		memcpy(&state, buf + at, 4);
		T_EQ(state, RMIO_KVM_LIVE);
	}
	rig_stop();
}

static void unknown(void)
{
	static const unsigned int slaves[] = {
		KVM_DEV_USER_SHADOW_SIZE, KVM_DEV_USER_SHADOW_CTRL, KVM_DEV_USER_WAKE,
	};
	uint8_t buf[64] = { 0 };
	int i;

	RIG_START();
	for (i = 0; i < KTAP_COUNT(slaves); i++)
		T_EQ(CALL(w.master, slaves[i], buf), -ENOTTY);
	unknown_calls(w.master);
	rig_stop();
}

/* -- rings, slave, time limit, eventfd, state ---------------------------------------------- */

static void rings(void)
{
	static const struct { struct rmio_kvm_rings r; int err; } cases[] = {
		{ { 0, 256 }, -EINVAL }, { { 1025, 256 }, -EINVAL }, { { ~0u, 256 }, -EINVAL },
		{ { 64, 0 }, -EINVAL }, { { 64, 1 }, -EINVAL }, { { 64, 3 }, -EINVAL },
		{ { 64, 255 }, -EINVAL }, { { 64, 131072 }, -EINVAL }, { { 64, ~0u }, -EINVAL },
		{ { 64, 1u << 31 }, -EINVAL }, { { 1024, 65536 }, -EFBIG },
		{ { 1024, 4096 }, -EFBIG }, { { 33, 65536 }, -EFBIG },
		{ { 1, 2 }, 0 }, { { 1024, 2 }, 0 }, { { 32, 65536 }, 0 }, { { 1024, 2048 }, 0 },
	};
	int i;

	RIG_START();
	for (i = 0; i < KTAP_COUNT(cases); i++) {
		int fd = rig_create(w.vm->fd);

		T_REQUIRE(T_GE(fd, 0));
		T_EQ(CALL(fd, KVM_DEV_USER_RINGS, &cases[i].r), cases[i].err);
		if (!cases[i].err) {
			const struct rmio_down_hdr *h;

			h = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, RMIO_KVM_MAP_DOWN);
			T_REQUIRE(T_OK(h != MAP_FAILED));
			T_EQ(h->nr_lanes, cases[i].r.lanes);
			T_EQ(h->ring_slots, cases[i].r.slots);
			T_EQ(h->size, 4096 + h->nr_lanes * h->lane_stride);
			/* Only once. */
			T_EQ(CALL(fd, KVM_DEV_USER_RINGS, &cases[i].r), -EBUSY);
			munmap((void *)h, 4096);
		}
		close(fd);
	}
	/* Nor behind a range or a slave. */
	T_EQ(CALL(w.master, KVM_DEV_USER_RINGS, &cases[13].r), -EBUSY);
	rig_stop();
}

/* A vCPU that has no lane is the VMM's. */
static void no_lane(void)
{
	struct rmio_kvm_access a = { .addr = DEVICE, .len = 4, .vcpu = 1 };
	uint32_t id = 1;

	RIG_START(.vcpus = 2, .rings = { .lanes = 1, .slots = 2 });
	rig_serve();
	g_begin(1);
	g_load(1, DEVICE, 4);
	g_store(1, DEVICE, 4, 1);
	g_end(1);
	T_OK(rig_run(1));
	T_EQ(w.vcpu[1].exits, 2);
	T_EQ(w.vcpu[1].result[0], 0xffffffff);
	T_EQ(CALL(w.master, KVM_DEV_USER_ACCESS, &a), -ENXIO);
	T_EQ(CALL(w.master, KVM_DEV_USER_KICK, &id), -ENOENT);
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

static void slave_fd(void)
{
	int i;

	RIG_START(.no_slave = true);
	T_EQ(rig_state(), RMIO_KVM_NEW);
	T_EQ(CALL(w.master, KVM_DEV_USER_SLAVE_FD, 1), -EINVAL);
	T_EQ(CALL(w.master, KVM_DEV_USER_SLAVE_FD, ~0ul), -EINVAL);
	w.slave = ioctl(w.master, KVM_DEV_USER_SLAVE_FD, 0);
	T_GE(w.slave, 0);
	T_EQ(fcntl(w.slave, F_GETFD), FD_CLOEXEC);
	for (i = 0; i < 3; i++)
		T_EQ(CALL(w.master, KVM_DEV_USER_SLAVE_FD, 0), -EBUSY);
	rig_close_slave();
	/* It was the only one. */
	T_EQ(CALL(w.master, KVM_DEV_USER_SLAVE_FD, 0), -EBUSY);
	T_EQ(rig_state(), RMIO_KVM_CLOSED);
	rig_stop();
}

/* Every number is a limit; those that jiffies cannot hold are just long. */
static void time_limits(void)
{
	static const uint64_t long_ones[] = {
		0, ~0ull, ~0ull - 1, 1ull << 63, (1ull << 63) - 1, 1ull << 62, 1ull << 40,
	};
	static const uint64_t short_ones[] = { 1, 999, 1000000 };
	int i;

	for (i = 0; i < KTAP_COUNT(long_ones); i++) {
		struct rmio_request r;
		struct rmio_reply a;

		RIG_START();
		T_EQ(rig_timeout(long_ones[i]), 0);
		g_begin(0);
		g_load(0, DEVICE, 4);
		g_end(0);
		T_REQUIRE(rig_go(0));
		UNTIL(SLEEPS(0));
		usleep(30000);
		T_EQ(read(w.slave, &r, sizeof(r)), sizeof(r));
		a = (struct rmio_reply){ .seq = r.seq, .data = 0x12 };
		T_EQ(write(w.slave, &a, sizeof(a)), sizeof(a));
		rig_join(0);
		T_EQ(w.vcpu[0].result[0], 0x12);
		T_EQ(rig_state(), RMIO_KVM_LIVE);
		rig_stop();
	}
	for (i = 0; i < KTAP_COUNT(short_ones); i++) {
		RIG_START();
		T_EQ(rig_timeout(short_ones[i]), 0);
		g_begin(0);
		g_load(0, DEVICE, 4);
		g_end(0);
		T_OK(rig_run(0));
		T_EQ(w.vcpu[0].result[0], 0xffffffff);
		T_EQ(rig_state(), RMIO_KVM_TIMEOUT);
		rig_stop();
	}
}

static int set_eventfd(int fd)
{
	return CALL(w.master, KVM_DEV_USER_EVENTFD, &fd);
}

static void eventfds(void)
{
	int fd, other, file;
	uint64_t n = 0;

	RIG_START();
	fd = eventfd(0, EFD_NONBLOCK);
	other = eventfd(0, EFD_NONBLOCK);
	file = memfd_create("file", 0);
	T_EQ(set_eventfd(-2), -EBADF);
	T_EQ(set_eventfd(INT32_MIN), -EBADF);
	T_EQ(set_eventfd(INT32_MAX), -EBADF);
	T_EQ(set_eventfd(file), -EINVAL);
	T_EQ(set_eventfd(w.slave), -EINVAL);
	T_EQ(set_eventfd(w.master), -EINVAL);
	T_EQ(set_eventfd(-1), 0);
	T_EQ(set_eventfd(fd), 0);
	/* What is refused leaves it in place; another replaces it. */
	T_EQ(set_eventfd(file), -EINVAL);
	T_EQ(set_eventfd(other), 0);
	T_EQ(set_eventfd(fd), 0);
	rig_close_slave();
	T_EQ(read(fd, &n, 8), 8);
	T_EQ(n, 1);
	T_EQ(read(other, &n, 8), -1);
	/* Who comes too late is told at once. */
	T_EQ(set_eventfd(other), 0);
	T_EQ(read(other, &n, 8), 8);
	close(file);
	close(other);
	close(fd);
	rig_stop();
}

/* The number that Linux gives to an eventfd: the lowest that is free, or -1. */
static int eventfd_number(int fd)
{
	char path[64], line[100];
	int id = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "eventfd-id: %d", &id);
	if (f)
		fclose(f);
	return id;
}

/* 0, or the number of an eventfd that is still there when the device has let go of it. */
static int kept_by(bool by_end)
{
	int fd = eventfd(0, 0), before = eventfd_number(fd), after;

	T_GE(before, 0);
	T_EQ(set_eventfd(fd), 0);
	close(fd);
	if (by_end)
		rig_stop();
	else
		T_EQ(set_eventfd(-1), 0);
	fd = eventfd(0, 0);
	after = eventfd_number(fd);
	close(fd);
	return after > before ? before : 0;
}

/* An eventfd that is replaced, or whose device ends, is gone; others may come meanwhile. */
static void eventfd_kept(void)
{
	int i, kept = 1;

	RIG_START();
	for (i = 0; i < 10 && kept; i++)
		kept = kept_by(false);
	T_EQ(kept, 0);
	rig_stop();
	for (i = 0, kept = 1; i < 10 && kept; i++) {
		RIG_START();
		kept = kept_by(true);
	}
	T_EQ(kept, 0);
}

/* Of the first use, whatever it is, and of the end: one each. */
static void first_use(void)
{
	struct rmio_reply a = { .seq = 1 };
	struct rmio_request r;
	uint64_t n;
	int use, fd;

	for (use = 0; use < 3; use++) {
		RIG_START();
		fd = eventfd(0, EFD_NONBLOCK);
		T_EQ(set_eventfd(fd), 0);
		T_EQ(fcntl(w.slave, F_SETFL, O_NONBLOCK), 0);
		/* Neither of these is one. */
		T_EQ(rig_shadow_size(4096), 0);
		T_EQ(read(w.slave, &r, sizeof(r) - 1), -1);
		T_EQ(write(w.slave, &a, sizeof(a) - 1), -1);
		T_EQ(rig_state(), RMIO_KVM_NEW);
		T_EQ(read(fd, &n, 8), -1);
		if (use == 0)
			T_EQ(read(w.slave, &r, sizeof(r)), -1);
		else if (use == 1)
			T_EQ(write(w.slave, &a, sizeof(a)), -1);
		else
			T_EQ(map_error(w.slave, RMIO_KVM_MAP_UP, 4096, RW, MAP_SHARED), 0);
		T_EQ(read(fd, &n, 8), 8);
		T_EQ(n, 1);
		T_EQ(rig_state(), RMIO_KVM_LIVE);
		/* Not again. */
		if (use < 2)
			T_EQ(read(w.slave, &r, sizeof(r)), -1);
		else
			T_EQ(map_error(w.slave, RMIO_KVM_MAP_UP, 4096, RW, MAP_SHARED), 0);
		T_EQ(read(fd, &n, 8), -1);
		rig_close_slave();
		T_EQ(read(fd, &n, 8), 8);
		T_EQ(n, 1);
		close(fd);
		rig_stop();
	}
}

static uint32_t slave_state(void)
{
	uint32_t state = ~0u;

	T_EQ(ioctl(w.slave, KVM_DEV_USER_STATE, &state), 0);
	return state;
}

static void states(void)
{
	struct rmio_request r;

	RIG_START();
	T_EQ(rig_state(), RMIO_KVM_NEW);
	T_EQ(slave_state(), RMIO_KVM_NEW);
	T_EQ(fcntl(w.slave, F_SETFL, O_NONBLOCK), 0);
	T_EQ(read(w.slave, &r, sizeof(r)), -1);
	T_EQ(rig_state(), RMIO_KVM_LIVE);
	T_EQ(slave_state(), RMIO_KVM_LIVE);
	T_EQ(CALL(w.slave, KVM_DEV_USER_CLOSE, 1), -EINVAL);
	T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 1), -EINVAL);
	T_EQ(CALL(w.slave, KVM_DEV_USER_CLOSE, 0), 0);
	T_EQ(rig_state(), RMIO_KVM_CLOSED);
	T_EQ(slave_state(), RMIO_KVM_CLOSED);
	T_EQ(CALL(w.slave, KVM_DEV_USER_CLOSE, 0), 0);
	/* The ranges are there until the master goes too. */
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].exits, 0);
	T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 0), 0);
	T_EQ(CALL(w.master, KVM_DEV_USER_CLOSE, 0), 0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].exits, 1);
	rig_stop();
}

static void mappings(void)
{
	int other;

	RIG_START();
	map_down(w.master);
	/* Of "up" the master has a view. */
	T_EQ(map_error(w.master, RMIO_KVM_MAP_UP, up_size(), RO, MAP_SHARED), 0);
	T_EQ(map_error(w.master, RMIO_KVM_MAP_UP, up_size(), RW, MAP_SHARED), -EACCES);
	T_EQ(map_error(w.master, RMIO_KVM_MAP_SHADOW, 4096, RO, MAP_SHARED), -EINVAL);
	T_EQ(rig_state(), RMIO_KVM_NEW);
	/* Before there are lanes it has nothing to map. */
	other = rig_create(w.vm->fd);
	T_EQ(map_error(other, RMIO_KVM_MAP_DOWN, 4096, RO, MAP_SHARED), -ENXIO);
	close(other);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "arguments that are not there", places },
	{ "an answer that nobody gets", answer_lost },
	{ "unaligned arguments", unaligned },
	{ "unknown calls", unknown },
	{ "rings", rings },
	{ "a vCPU without a lane", no_lane },
	{ "one slave", slave_fd },
	{ "time limits", time_limits },
	{ "eventfds", eventfds },
	{ "an eventfd is let go of", eventfd_kept },
	{ "an eventfd and the first use", first_use },
	{ "states", states },
	{ "mappings", mappings },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
