// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device against a device process that does anything: it scribbles on "up" and on the
 * shadow and makes random calls of the slave, while vCPUs run.  They must go on, and a device that
 * is made after all that must work.
 */
#include "kvm_user_rig.h"

#define VCPUS 3u
#define IMAGE 0x8000u

/* splitmix64, one for each thread and process */
static uint64_t next(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint64_t below(uint64_t *seed, uint64_t n)
{
	return next(seed) % n;
}

/* Numbers that are at the edge of something. */
static uint64_t odd(uint64_t *seed)
{
	switch (below(seed, 6)) {
	case 0:
		return below(seed, 4);
	case 1:
		return ~below(seed, 4);
	case 2:
		return 1ull << below(seed, 64);
	case 3:
		return (1ull << below(seed, 64)) - 1;
	case 4:
		return below(seed, 0x20000);
	default:
		return next(seed);
	}
}

/* -- the device process --------------------------------------------------------------------- */

struct prey {
	uint64_t seed;
	uint8_t *down, *up, *image;
	size_t down_size, up_size, image_size;
	uint64_t done[VCPUS];
};

static struct rmio_up_lane *up_lane(struct prey *p, unsigned int i)
{
	return (void *)(p->up + RMIO_PAGE * (1 + i));
}

static void serve_lane(struct prey *p, unsigned int i)
{
	const struct rmio_down_hdr *h = (void *)p->down;
	uint8_t *lane = p->down + RMIO_PAGE + i * h->lane_stride;
	const struct rmio_request *slot = (void *)(lane + RMIO_PAGE);
	struct rmio_up_lane *up = up_lane(p, i);
	uint32_t id = i;

	/* What it has scribbled over it mends, mostly. */
	while (__atomic_load_n(&slot[p->done[i] & (h->ring_slots - 1)].seq, __ATOMIC_ACQUIRE) ==
	       p->done[i] + 1) {
		p->done[i]++;
		up->reply_data = next(&p->seed);
		__atomic_store_n(&up->reply_seq, p->done[i], __ATOMIC_RELEASE);
		__atomic_store_n(&up->done, p->done[i], __ATOMIC_RELEASE);
	}
	if (below(&p->seed, 8))
		ioctl(w.slave, KVM_DEV_USER_WAKE, &id);
}

static void scribble(struct prey *p)
{
	uint64_t v = odd(&p->seed);
	size_t i, n = 1 + below(&p->seed, 16);

	if (p->up && below(&p->seed, 64) == 0)
		memcpy(p->up + 8 * below(&p->seed, p->up_size / 8), &v, 8);
	if (p->up && below(&p->seed, 200) == 0)
		up_lane(p, (unsigned int)below(&p->seed, VCPUS))->done = v;
	if (p->up && below(&p->seed, 4) == 0)
		up_lane(p, (unsigned int)below(&p->seed, VCPUS))->taken = v;
	if (p->up && below(&p->seed, 8) == 0)
		((struct rmio_up_hdr *)p->up)->need_wake = (uint32_t)v;
	for (i = 0; p->image && i < n; i++)
		p->image[below(&p->seed, p->image_size)] = (uint8_t)v;
}

static void random_map(struct prey *p)
{
	struct rmio_area a[24];
	uint64_t at = 0;
	uint32_t n = 0;
	bool wild = below(&p->seed, 8) == 0;

	memset(a, 0, sizeof(a));
	while (n < KTAP_COUNT(a) && at < 0x400) {
		at += below(&p->seed, 64);
		a[n] = (struct rmio_area){
			.offset = at,
			.length = 1 + below(&p->seed, 64),
			.shadow_offset = below(&p->seed, IMAGE),
			.range_id = (uint32_t)below(&p->seed, 3),
			.sizes = (uint8_t)(1 + below(&p->seed, 15)),
			.load = (uint8_t)below(&p->seed, 2),
			.store = (uint8_t)below(&p->seed, 3),
			.flags = (uint8_t)below(&p->seed, 2),
		};
		at += a[n++].length;
		if (wild)
			((uint64_t *)a)[below(&p->seed, n * 4)] = odd(&p->seed);
	}
	rig_map(a, wild && !below(&p->seed, 4) ? (uint32_t)odd(&p->seed) : n);
}

static void new_image(struct prey *p)
{
	uint64_t size = below(&p->seed, 4) ? 1 + below(&p->seed, 2 * IMAGE) : odd(&p->seed);

	if (p->image && below(&p->seed, 2)) {
		munmap(p->image, p->image_size);
		p->image = NULL;
	}
	if (size > RMIO_KVM_SHADOW_MAX / 16 && size <= RMIO_KVM_SHADOW_MAX)
		size = IMAGE;
	if (rig_shadow_size(size) || p->image)
		return;
	p->image_size = (size + 4095) & ~4095ull;
	p->image = mmap(NULL, p->image_size, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave,
			RMIO_KVM_MAP_SHADOW);
	if (p->image == MAP_FAILED)
		p->image = NULL;
}

static void random_mapping(struct prey *p)
{
	static const uint64_t at[] = {
		RMIO_KVM_MAP_DOWN, RMIO_KVM_MAP_UP, RMIO_KVM_MAP_SHADOW, 4096, 3ull << 40,
	};
	size_t size = 4096 * (1 + below(&p->seed, 40)), new_size = 4096 * (1 + below(&p->seed, 40));
	uint8_t *m;

	m = mmap(NULL, size, (int)below(&p->seed, 4), MAP_SHARED, w.slave,
		 (off_t)at[below(&p->seed, 5)]);
	if (m == MAP_FAILED)
		return;
	mprotect(m, 4096, (int)below(&p->seed, 4));
	madvise(m, size, below(&p->seed, 2) ? MADV_DONTNEED : MADV_REMOVE);
	if (mremap(m, size, new_size, 0) == m)
		munmap(m, new_size);
	else
		munmap(m, size);
}

static void random_io(struct prey *p)
{
	struct rmio_request r[8];
	struct rmio_reply a[8];
	ssize_t n = read(w.slave, r, below(&p->seed, sizeof(r) + 1)), i;

	for (i = 0; i < n / (ssize_t)sizeof(r[0]); i++) {
		a[i] = (struct rmio_reply){ .seq = r[i].seq,
					    .vcpu = r[i].vcpu,
					    .data = next(&p->seed) };
		if (below(&p->seed, 50) == 0)
			((uint64_t *)a)[below(&p->seed, 3 * (uint64_t)(i + 1))] = odd(&p->seed);
	}
	if (n > 0 && write(w.slave, a, (size_t)i * sizeof(a[0])) < 0)
		return;
	a[0] = (struct rmio_reply){ .seq = odd(&p->seed), .vcpu = (uint32_t)below(&p->seed, 4) };
	if (below(&p->seed, 4) == 0 && write(w.slave, a, below(&p->seed, 100)) < 0)
		return;
}

static void random_call(struct prey *p)
{
	uint64_t v[4] = { odd(&p->seed), odd(&p->seed), odd(&p->seed), odd(&p->seed) };
	unsigned int nr = 0xf0 + (unsigned int)below(&p->seed, 16);

	switch (below(&p->seed, 4)) {
	case 0:
		ioctl(w.slave, KVM_DEV_USER_WAKE, v);
		break;
	case 1:
		ioctl(w.slave, KVM_DEV_USER_SHADOW_CTRL, v);
		break;
	case 2:
		/* CLOSE would be the end of it too early. */
		if (nr != 0xfb)
			ioctl(w.slave, _IOW(RMIO_KVM_IO, nr, uint64_t), v[0]);
		break;
	default:
		poll(&(struct pollfd){ .fd = w.slave, .events = (short)v[0] }, 1, 0);
		break;
	}
}

static void fuzz(uint64_t seed, bool maps)
{
	struct prey p = { .seed = seed, .down_size = w.down_size };
	const struct rmio_down_hdr *h;
	unsigned int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fcntl(w.slave, F_SETFL, O_NONBLOCK);
	p.down = mmap(NULL, p.down_size, PROT_READ, MAP_SHARED, w.slave, RMIO_KVM_MAP_DOWN);
	h = (void *)p.down;
	p.up_size = RMIO_PAGE * (1 + (size_t)h->nr_lanes);
	if (maps) {
		p.up = mmap(NULL, p.up_size, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave,
			    RMIO_KVM_MAP_UP);
		if (p.up == MAP_FAILED)
			_exit(1);
	}
	new_image(&p);
	for (;;) {
		for (i = 0; i < VCPUS && p.up; i++)
			serve_lane(&p, i);
		if (!p.up || !below(&p.seed, 16))
			random_io(&p);
		scribble(&p);
		switch (below(&p.seed, 40)) {
		case 0:
			new_image(&p);
			break;
		case 1:
		case 2:
			random_map(&p);
			break;
		case 3:
			random_mapping(&p);
			break;
		case 4:
			random_call(&p);
			break;
		default:
			break;
		}
	}
}

/* -- the VM ---------------------------------------------------------------------------------- */

static atomic_bool over;
static atomic_ulong runs[VCPUS];

static void random_access(unsigned int i, uint64_t *seed)
{
	uint64_t addr = DEVICE + (below(seed, 8) ? below(seed, 0x440) : below(seed, LEN + 16));
	unsigned int len = 1u << below(seed, 4);

	switch (below(seed, 6)) {
	case 0:
	case 1:
		g_load(i, addr, len);
		break;
	case 2:
	case 3:
		g_store(i, addr, len, next(seed));
		break;
	case 4:
		g_in(i, PORT + (uint32_t)below(seed, PORTS), len & 7 ? len : 4);
		break;
	default:
		g_out(i, PORT + (uint32_t)below(seed, PORTS), len & 7 ? len : 4, 1);
		break;
	}
}

static void *run_vcpu(void *arg)
{
	unsigned int i = (unsigned int)(uintptr_t)arg, n;
	uint64_t seed = 1000 + i;

	while (!atomic_load(&over) && !ktap_failed()) {
		g_begin(i);
		for (n = 0; n < 40; n++)
			random_access(i, &seed);
		g_end(i);
		if (!T_OK(rig_run(i)))
			break;
		atomic_fetch_add(&runs[i], 1);
	}
	return NULL;
}

static bool new_device(uint64_t *seed)
{
	struct rmio_kvm_rings rings = { .lanes = VCPUS, .slots = 2u << below(seed, 5) };

	w.master = rig_create(w.vm->fd);
	if (!T_GE(w.master, 0))
		return false;
	T_EQ(CALL(w.master, KVM_DEV_USER_RINGS, &rings), 0);
	T_EQ(rig_timeout(20000000), 0);
	T_EQ(rig_range(DEVICE, LEN, RMIO_BUS_MEM, 0), 0);
	T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 1), 0);
	w.slave = ioctl(w.master, KVM_DEV_USER_SLAVE_FD, 0);
	return T_GE(w.slave, 0) && rig_map_down();
}

/* A device process from its start to its end, some tenths of a second. */
static void one_fuzzer(uint64_t *seed, unsigned long *died)
{
	uint64_t mine = next(seed);
	bool maps = below(seed, 3);
	int status, turns = 20, k;
	pid_t pid;

	T_REQUIRE(new_device(seed));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		close(w.master);
		fuzz(mine, maps);
	}
	T_REQUIRE(T_GT(pid, 0));
	close(w.slave);
	w.slave = -1;
	for (k = 0; k < turns && rig_state() <= RMIO_KVM_LIVE; k++) {
		uint32_t id = (uint32_t)below(seed, VCPUS);

		usleep(5000);
		if (below(seed, 4) == 0)
			CALL(w.master, KVM_DEV_USER_KICK, &id);
		if (below(seed, 4) == 0)
			rig_kick(id);
		if (below(seed, 4) == 0)
			rig_range(DEVICE + 0x100 * below(seed, 8), LEN, RMIO_BUS_MEM, 0);
	}
	died[rig_state()]++;
	/* In either order. */
	if (below(seed, 2))
		rig_close_master();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (!T_OK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		ktap_diag("wait status 0x%x", status);
	rig_close_master();
}

static void scribbler(void)
{
	const char *wanted = getenv("RMIO_FUZZ_SECONDS"), *from = getenv("RMIO_FUZZ_SEED");
	long seconds = wanted ? strtol(wanted, NULL, 10) : ktap_pick(3, 3, 60);
	uint64_t seed = from ? strtoull(from, NULL, 0) : (uint64_t)ktap_now_ms() * 1000 + getpid();
	unsigned long died[8] = { 0 }, n = 0;
	long long end;
	pthread_t t[VCPUS];
	unsigned int i;

	RIG_START(.vcpus = VCPUS);
	rig_close_master();
	close(w.slave);
	w.slave = -1;
	ktap_diag("RMIO_FUZZ_SEED=%llu", (unsigned long long)seed);
	for (i = 0; i < VCPUS; i++)
		T_EQ(pthread_create(&t[i], NULL, run_vcpu, (void *)(uintptr_t)i), 0);
	end = ktap_now_ms() + seconds * 1000;
	for (; ktap_now_ms() < end && !ktap_failed(); n++)
		one_fuzzer(&seed, died);
	atomic_store(&over, true);
	for (i = 0; i < VCPUS; i++) {
		pthread_join(t[i], NULL);
		T_GT(atomic_load(&runs[i]), 0);
	}
	ktap_diag(
		"%lu device processes, of which %lu went on, %lu were too slow, %lu wrote what cannot be; %lu, %lu, %lu runs",
		n, died[RMIO_KVM_NEW] + died[RMIO_KVM_LIVE], died[RMIO_KVM_TIMEOUT],
		died[RMIO_KVM_PROTOCOL], atomic_load(&runs[0]), atomic_load(&runs[1]),
		atomic_load(&runs[2]));
	/* And one that behaves. */
	T_REQUIRE(new_device(&seed));
	T_EQ(rig_timeout(0), 0);
	rig_serve();
	for (i = 0; i < VCPUS; i++) {
		w.vcpu[i].exits = 0;
		g_begin(i);
		g_store(i, DEVICE + 0x40, 4, 0x1000 + i);
		g_load(i, DEVICE + 0x40, 4);
		g_in(i, PORT + 0x40, 4);
		g_end(i);
		T_OK(rig_run(i));
		T_EQ(w.vcpu[i].result[0], 0x1000 + i);
		T_EQ(w.vcpu[i].result[1], 0x1000 + i);
		T_EQ(w.vcpu[i].exits, 0);
	}
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "a device process that does anything", scribbler, 900 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
