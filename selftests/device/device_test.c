// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The framework seen by the author of a device: which callback comes when and
 * with what, by rings and by the socket, and the calls a device can make.
 */
#include "client_rig.h"
#include "device/device.h"

#include <fcntl.h>
#include <semaphore.h>
#include <sys/resource.h>

#define BAR	0x10000
#define IO	0x40

struct call {
	char what;		/* 'l' load, 's' store */
	uint32_t range, len;
	uint64_t offset, value;
};

/* The device's memory of what happened; read by the test when the loop has answered. */
struct spy {
	struct call calls[64];
	int n, resets, attached, mapped;
	uint64_t iova, size;
	struct rmio_timer t;
	void (*in_loop)(struct rmio_dev *dev);
	struct rmio_dev *dev;
	uint32_t done;
};

static struct spy *spy_of(struct rmio_dev *dev)
{
	return rmio_dev_priv(dev);
}

static void note(struct spy *s, struct call c)
{
	if (s->n < 64)
		s->calls[s->n++] = c;
}

static uint64_t load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	if (offset < BAR - 0x1000)
		note(spy_of(dev), (struct call){ 'l', range, len, offset, 0 });
	T_OK(!rmio_dev_redelivered(dev));
	return 0xa5a5a5a5a5a5a500 + offset;
}

static void store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
		  uint32_t len)
{
	struct spy *s = spy_of(dev);

	/* the last page is for the test's own commands */
	if (offset >= BAR - 0x1000) {
		s->in_loop(dev);
		return;
	}
	note(s, (struct call){ 's', range, len, offset, value });
}

static void reset(struct rmio_dev *dev)
{
	spy_of(dev)->resets++;
}

static void attach(struct rmio_dev *dev, bool attached)
{
	spy_of(dev)->attached += attached ? 1 : -1;
}

static void dma(struct rmio_dev *dev, uint64_t iova, uint64_t size, bool mapped)
{
	struct spy *s = spy_of(dev);

	s->mapped += mapped ? 1 : -1;
	s->iova = iova;
	s->size = size;
}

static const struct rmio_dev_ops spy_ops = {
	.load = load, .store = store, .reset = reset, .attach = attach, .dma = dma,
};

static const struct rmio_dev_ops silent_ops;

static const struct rmio_dev_range spy_ranges[] = {
	{ .id = 0, .bus = RMIO_BUS_MEM, .len = BAR },
	{ .id = 1, .bus = RMIO_BUS_IO, .len = IO },
};

static const struct rmio_area spy_areas[] = {
	{ .offset = 0x1000, .length = 0x1000, .sizes = RMIO_SIZE_4 | RMIO_SIZE_8,
	  .load = RMIO_LOAD_SHADOW },
	{ .offset = 0x2000, .length = 0x1000, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
	  .shadow_offset = 0x1000, .store = RMIO_STORE_THROUGH },
	{ .offset = BAR - 0x1000, .length = 0x1000, .store = RMIO_STORE_SYNC },
};

static bool spy_new(struct rig *r, struct spy *s, const struct rmio_dev_ops *ops, bool rings,
		    uint64_t dma_mask)
{
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .name = "spy", .ops = ops,
		.ranges = spy_ranges, .nr_ranges = 2,
		.areas = spy_areas, .nr_areas = 3, .shadow_size = 0x2000,
		.vendor = 1, .device = 2, .msi = 1, .intx = 1, .dma_mask = dma_mask,
	};
	struct rmio_pa_range io = { .addr = 0x1000, .len = IO, .bus = RMIO_BUS_IO, .id = 1 };
	int p[2];

	memset(r, 0, sizeof(*r));
	memset(s, 0, sizeof(*s));
	if (!dev_thread_new(&r->d, RMIO_WAIT_SLEEP) ||
	    !T_EQ(rmio_dev_new(r->d.loop, &desc, s, &r->dev), 0) ||
	    !T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0) ||
	    !T_EQ(rmio_dev_serve(r->dev, p[1]), 0))
		return false;
	T_EQ(rmio_dev_priv(r->dev), s);
	T_EQ(rmio_dev_loop(r->dev), r->d.loop);
	T_EQ(s->attached, 1);
	s->dev = r->dev;
	if (!dev_thread_start(&r->d))
		return false;
	if (rings && (!T_EQ(rmio_vm_new(NULL, &r->vm), 0) ||
		      !T_EQ(rmio_vcpu_new(r->vm, 0, NULL, &r->vcpu), 0)))
		return false;
	if (!rig_connect(r, p[0], BAR))
		return false;
	return !rings || T_EQ(rmio_master_pa_range(rmio_client_master(r->client), &io), 0);
}

static void spy_free(struct rig *r)
{
	rmio_client_free(r->client);
	rig_free_vm(r);
	dev_thread_join(&r->d);
	rmio_dev_free(r->dev);
	rmio_loop_free(r->d.loop);
}

static void expect(struct spy *s, int at, char what, uint32_t range, uint64_t offset, uint32_t len,
		   uint64_t value)
{
	struct call *c = &s->calls[at];

	if (!T_OK(at < s->n))
		return;
	T_EQ(c->what, what);
	T_EQ(c->range, range);
	T_EQ(c->offset, offset);
	T_EQ(c->len, len);
	T_EQ(c->value, value);
}

/* Run @fn in the loop's thread; when this returns it has run. */
static void in_loop(struct rig *r, struct spy *s, void (*fn)(struct rmio_dev *dev))
{
	s->in_loop = fn;
	rig_store(r, BAR - 8, 4, 0);
	/* the area asks for synchronous stores, but perhaps the master has no map yet */
	rig_load(r, BAR - 8, 4);
}

/* -- accesses ------------------------------------------------------------------------------ */

static void accesses(bool rings)
{
	struct rig r;
	struct spy s;

	T_REQUIRE(spy_new(&r, &s, &spy_ops, rings, 0));
	T_EQ(rig_load(&r, 0x10, 4), 0xa5a5a510);
	T_EQ(rig_load(&r, 0x11, 1), 0x11);
	T_EQ(rig_load(&r, 0x12, 2), 0xa512);
	T_EQ(rig_load(&r, 0x18, 8), 0xa5a5a5a5a5a5a518);
	rig_store(&r, 0x20, 1, 0xff11);
	rig_store(&r, 0x21, 2, 0x2233);
	rig_store(&r, 0x24, 4, 0x44556677);
	rig_store(&r, 0x28, 8, 0x8899aabbccddeeff);
	T_EQ(rig_load(&r, BAR - 0x1001, 1), 0xff);
	T_EQ(s.n, 9);
	expect(&s, 0, 'l', 0, 0x10, 4, 0);
	expect(&s, 1, 'l', 0, 0x11, 1, 0);
	expect(&s, 2, 'l', 0, 0x12, 2, 0);
	expect(&s, 3, 'l', 0, 0x18, 8, 0);
	expect(&s, 4, 's', 0, 0x20, 1, 0x11);
	expect(&s, 5, 's', 0, 0x21, 2, 0x2233);
	expect(&s, 6, 's', 0, 0x24, 4, 0x44556677);
	expect(&s, 7, 's', 0, 0x28, 8, 0x8899aabbccddeeff);
	spy_free(&r);
	T_EQ(s.attached, 0);
	T_EQ(s.resets, 1);
}

static void accesses_rings(void)
{
	accesses(true);
}

static void accesses_socket(void)
{
	accesses(false);
}

static void io_range(void)
{
	uint64_t v = 0;
	struct rig r;
	struct spy s;

	T_REQUIRE(spy_new(&r, &s, &spy_ops, true, 0));
	T_EQ(rmio_vcpu_store(r.vcpu, RMIO_BUS_IO, 0x1004, 2, 0x1234), 0);
	T_EQ(rmio_vcpu_load(r.vcpu, RMIO_BUS_IO, 0x1008, 1, &v), 0);
	T_EQ(v, 0x08);
	expect(&s, 0, 's', 1, 4, 2, 0x1234);
	expect(&s, 1, 'l', 1, 8, 1, 0);
	T_EQ(rig_config(&r, PCI_BASE_ADDRESS_1, 4), PCI_BASE_ADDRESS_SPACE_IO);
	spy_free(&r);
}

/* Counts that no bus has are cut where a bus would cut them. */
static void pieces(void)
{
	uint8_t buf[16];
	struct rig r;
	struct spy s;

	T_REQUIRE(spy_new(&r, &s, &spy_ops, false, 0));
	T_EQ(rmio_client_region_read(r.client, 0, 0x21, buf, 11), 0);
	expect(&s, 0, 'l', 0, 0x21, 1, 0);
	expect(&s, 1, 'l', 0, 0x22, 2, 0);
	expect(&s, 2, 'l', 0, 0x24, 4, 0);
	expect(&s, 3, 'l', 0, 0x28, 4, 0);
	T_EQ(s.n, 4);
	T_EQ(buf[0], 0x21);
	T_EQ(buf[1], 0x22);
	T_EQ(buf[7], 0x28);
	memset(buf, 0x5a, sizeof(buf));
	T_EQ(rmio_client_region_write(r.client, 0, 0x30, buf, 16), 0);
	expect(&s, 4, 's', 0, 0x30, 8, 0x5a5a5a5a5a5a5a5a);
	expect(&s, 5, 's', 0, 0x38, 8, 0x5a5a5a5a5a5a5a5a);
	T_EQ(rmio_client_region_read(r.client, 0, 0x41, buf, 4), 0);
	expect(&s, 6, 'l', 0, 0x41, 4, 0);
	spy_free(&r);
}

/* -- the shadow ------------------------------------------------------------------------------ */

static void put(struct rmio_dev *dev)
{
	T_EQ(rmio_dev_shadow_put(dev, 0x10, 0x1122334455667788, 8), 0);
	T_EQ(rmio_dev_shadow_put(dev, 0x1010, 0xcafe, 2), 0);
}

/* What the map leaves to the shadow does not come to the callbacks, on either way. */
static void shadow(bool rings)
{
	struct rig r;
	struct spy s;
	int i;

	T_REQUIRE(spy_new(&r, &s, &spy_ops, rings, 0));
	in_loop(&r, &s, put);
	for (i = 0; i < 20; i++) {
		T_EQ(rig_load(&r, 0x1010, 8), 0x1122334455667788);
		T_EQ(rig_load(&r, 0x1014, 4), 0x11223344);
		T_EQ(rig_load(&r, 0x2010, 1), 0xfe);
		T_EQ(s.n, 0);
		/* while the master gets its map, then with it */
		usleep(2000);
	}
	/* a size that the area does not list */
	T_EQ(rig_load(&r, 0x1010, 2), 0xb510);
	T_EQ(s.n, 1);
	/* posted: comes to the device, which may write the shadow or not */
	rig_store(&r, 0x1010, 4, 1);
	T_EQ(rig_load(&r, 0x1010, 4), 0x55667788);
	T_EQ(s.n, 2);
	/* through: is in the shadow, and comes too */
	rig_store(&r, 0x2020, 4, 0x99887766);
	T_EQ(rig_load(&r, 0x2020, 4), 0x99887766);
	T_EQ(s.n, 3);
	expect(&s, 2, 's', 0, 0x2020, 4, 0x99887766);
	spy_free(&r);
}

static void shadow_rings(void)
{
	shadow(true);
}

static void shadow_socket(void)
{
	shadow(false);
}

static void new_map(struct rmio_dev *dev)
{
	static const struct rmio_area areas[] = {
		spy_areas[2],
		{ .offset = 0x3000, .length = 16, .sizes = RMIO_SIZE_4, .load = RMIO_LOAD_SHADOW },
	};
	static const struct rmio_area bad = { .offset = BAR, .length = 1 };

	T_EQ(rmio_dev_areas(dev, &bad, 1), -ERANGE);
	T_EQ(rmio_dev_areas(dev, areas, 2), 0);
	T_EQ(rmio_dev_areas(dev, areas, RMIO_AREAS_MAX + 1), -E2BIG);
	T_EQ(rmio_dev_areas(dev, areas, 2), 0);
}

/* A new map while a client is there: the old one's areas end, the new one's begin. */
static void areas(void)
{
	long long end = ktap_now_ms() + 20000;
	struct rmio_counters c;
	struct rig r;
	struct spy s;
	int i;

	T_REQUIRE(spy_new(&r, &s, &spy_ops, true, 0));
	in_loop(&r, &s, put);
	do {
		T_EQ(rig_load(&r, 0x1010, 8), 0x1122334455667788);
		T_EQ(rmio_master_counters(rmio_client_master(r.client), -1, &c), 0);
	} while (!c.shadow && ktap_now_ms() < end);
	in_loop(&r, &s, new_map);
	while (rig_load(&r, 0x1010, 8) != 0xa5a5a5a5a5a5b510 && ktap_now_ms() < end)
		;
	T_EQ(rig_load(&r, 0x1010, 8), 0xa5a5a5a5a5a5b510);
	s.n = 0;
	for (i = 0; i < 10; i++)
		T_EQ(rig_load(&r, 0x3004, 4), 0);
	T_EQ(s.n, 0);
	spy_free(&r);
}

/* The VMM has no descriptor left for the image: the device does without, and asks again. */
static void no_image(void)
{
	struct rmio_vm_opts opts = { .sz = sizeof(opts), .flags = RMIO_VM_MANUAL };
	long long end = ktap_now_ms() + 30000;
	struct rmio_counters c = { 0 };
	struct rlimit limit, none;
	struct rmio_master *m;
	struct rig r;

	memset(&r, 0, sizeof(r));
	T_REQUIRE(dev_thread_new(&r.d, RMIO_WAIT_SLEEP));
	r.dev = dev_thread_add(&r.d, "null");
	T_EQ(rmio_dev_shadow_put(r.dev, 0x10, 77, 4), 0);
	T_REQUIRE(T_EQ(rmio_vm_new(&opts, &r.vm), 0));
	T_REQUIRE(T_EQ(rmio_vcpu_new(r.vm, 0, NULL, &r.vcpu), 0));
	m = dev_thread_master(r.vm, r.dev, RIG_BAR0, 0x10000);
	T_REQUIRE(m && dev_thread_start(&r.d));
	T_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3;
	T_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	while (!__atomic_load_n(&r.d.lines, __ATOMIC_ACQUIRE) && ktap_now_ms() < end)
		rmio_vm_dispatch(r.vm, 10);
	T_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	T_OK(strstr(r.d.last, "no shadow image"));
	T_EQ(vcpu_load(r.vcpu, RIG_BAR0 + 0x1010, 4), 77);
	T_EQ(rmio_master_counters(m, -1, &c), 0);
	T_EQ(c.shadow, 0);
	while (!c.shadow && ktap_now_ms() < end) {
		rmio_vm_dispatch(r.vm, 10);
		T_EQ(vcpu_load(r.vcpu, RIG_BAR0 + 0x1010, 4), 77);
		T_EQ(rmio_master_counters(m, -1, &c), 0);
	}
	T_GT(c.shadow, 0);
	T_EQ(__atomic_load_n(&r.d.lines, __ATOMIC_ACQUIRE), 1);
	rmio_master_free(m);
	rig_free_vm(&r);
	dev_thread_join(&r.d);
	device_free(r.dev);
	rmio_loop_free(r.d.loop);
}

struct changing {
	sem_t held, go;
	bool changed;
	uint32_t n;
	uint32_t image[8];	/* the register in the image, when its stores are handled */
};

#define CHANGE	0x100u		/* stores: another map */
#define ANSWER	0x200u		/* loads: the device's */

/* Register 0 is written through by both maps, 4 by the second. */
static const struct rmio_area changing_areas[] = {
	{ .length = 4, .sizes = RMIO_SIZE_4,
	  .load = RMIO_LOAD_SHADOW, .store = RMIO_STORE_THROUGH },
	{ .offset = 4, .length = 4, .shadow_offset = 4, .sizes = RMIO_SIZE_4,
	  .load = RMIO_LOAD_SHADOW, .store = RMIO_STORE_THROUGH },
};

static void changing_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
			   uint32_t len)
{
	struct changing *c = rmio_dev_priv(dev);
	const char *image = rmio_dev_shadow(dev);

	if (offset != CHANGE) {
		c->image[c->n++ & 7] = *(const volatile uint32_t *)(image + offset);
		return;
	}
	/* Until it knows that the VMM has the first one. */
	c->changed = dev->map_live;
	if (c->changed) {
		T_EQ(rmio_dev_areas(dev, changing_areas, 2), 0);
		sem_post(&c->held);
		sem_wait(&c->go);
	} else {
		sem_post(&c->held);
	}
}

/* The VMM does not answer yet, and the device has stores of a vCPU before it. */
static void replaced_map(void)
{
	static const struct rmio_dev_ops ops = { .store = changing_store };
	static const struct rmio_dev_range range = { .len = 0x10000 };
	struct rmio_vm_opts opts = { .sz = sizeof(opts), .flags = RMIO_VM_MANUAL };
	struct changing c = { .n = 0 };
	struct rmio_dev_desc desc = {
		.sz = sizeof(desc), .vendor = 0x1234, .name = "changing", .ops = &ops, .ranges = &range,
		.nr_ranges = 1, .areas = changing_areas, .nr_areas = 1, .shadow_size = 0x1000,
	};
	long long end = ktap_now_ms() + 30000;
	struct rmio_master *m;
	uint32_t i;
	struct rig r;

	memset(&r, 0, sizeof(r));
	sem_init(&c.held, 0, 0);
	sem_init(&c.go, 0, 0);
	T_REQUIRE(dev_thread_new(&r.d, RMIO_WAIT_SLEEP));
	T_REQUIRE(T_EQ(rmio_dev_new(r.d.loop, &desc, &c, &r.dev), 0));
	T_REQUIRE(T_EQ(rmio_vm_new(&opts, &r.vm), 0));
	T_REQUIRE(T_EQ(rmio_vcpu_new(r.vm, 0, NULL, &r.vcpu), 0));
	m = dev_thread_master(r.vm, r.dev, RIG_BAR0, 0x10000);
	T_REQUIRE(m && dev_thread_start(&r.d));
	while (!c.changed && ktap_now_ms() < end) {
		rmio_vm_dispatch(r.vm, 10);
		T_EQ(rmio_vcpu_store(r.vcpu, RMIO_BUS_MEM, RIG_BAR0 + CHANGE, 4, 0), 0);
		sem_wait(&c.held);
	}
	T_REQUIRE(T_OK(c.changed));
	for (i = 1; i <= 3; i++)
		T_EQ(rmio_vcpu_store(r.vcpu, RMIO_BUS_MEM, RIG_BAR0, 4, i), 0);
	T_EQ(rmio_vcpu_store(r.vcpu, RMIO_BUS_MEM, RIG_BAR0 + 4, 4, 7), 0);
	sem_post(&c.go);
	vcpu_load(r.vcpu, RIG_BAR0 + ANSWER, 4);
	T_EQ(c.n, 4);
	for (i = 0; i < 3; i++)
		T_EQ(c.image[i], 3);
	T_EQ(c.image[3], 7);
	rmio_master_free(m);
	rig_free_vm(&r);
	dev_thread_join(&r.d);
	rmio_dev_free(r.dev);
	rmio_loop_free(r.d.loop);
}

/* Without callbacks: loads are the shadow's or all ones, stores are ignored. */
static void silent(bool rings)
{
	struct rig r;
	struct spy s;

	memset(&s, 0, sizeof(s));
	memset(&r, 0, sizeof(r));
	{
		struct rmio_dev_desc desc = {
			.sz = sizeof(desc), .vendor = 0x1234,
			.ops = &silent_ops,
			.ranges = spy_ranges,
			.nr_ranges = 2,
			.areas = spy_areas,
			.nr_areas = 2,
			.shadow_size = 0x2000,
		};
		int p[2];

		T_REQUIRE(dev_thread_new(&r.d, RMIO_WAIT_SLEEP));
		T_REQUIRE(T_EQ(rmio_dev_new(r.d.loop, &desc, &s, &r.dev), 0));
		T_EQ(rmio_dev_shadow_put(r.dev, 0x20, 0x1234, 4), 0);
		T_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
		T_EQ(rmio_dev_serve(r.dev, p[1]), 0);
		T_REQUIRE(dev_thread_start(&r.d));
		if (rings) {
			T_REQUIRE(T_EQ(rmio_vm_new(NULL, &r.vm), 0));
			T_REQUIRE(T_EQ(rmio_vcpu_new(r.vm, 0, NULL, &r.vcpu), 0));
		}
		T_REQUIRE(rig_connect(&r, p[0], BAR));
	}
	T_EQ(rig_load(&r, 0x1020, 4), 0x1234);
	T_EQ(rig_load(&r, 0x1020, 2), 0x1234);	/* the area lists 4 and 8 only */
	T_EQ(rig_load(&r, 0x1021, 1), 0x12);
	T_EQ(rig_load(&r, 0x0ffe, 4), 0xffffffff);	/* begins outside */
	T_EQ(rig_load(&r, 0x40, 8), UINT64_MAX);
	rig_store(&r, 0x40, 4, 0);
	T_EQ(rig_load(&r, 0x40, 4), 0xffffffff);
	spy_free(&r);
}

static void silent_rings(void)
{
	silent(true);
}

static void silent_socket(void)
{
	silent(false);
}

/* -- DMA, reset -------------------------------------------------------------------------------- */

static int dma_result[8];
static char dma_why[8][200];

static void dma_did(int i, int err)
{
	dma_result[i] = err;
	snprintf(dma_why[i], sizeof(dma_why[i]), "%s", rmio_errstr(err));
}
static void *dma_ptr[4];

static void try_dma(struct rmio_dev *dev)
{
	char buf[0x20];

	dma_did(0, rmio_dev_dma_read(dev, 0x100000, buf, sizeof(buf)));
	dma_did(1, rmio_dev_dma_write(dev, 0x100000, buf, sizeof(buf)));
	dma_did(2, rmio_dev_dma_read(dev, 0xfffff0, buf, 0x20));
	dma_did(3, rmio_dev_dma_read(dev, 0x1000000, buf, 1));
	dma_did(4, rmio_dev_dma_read(dev, UINT64_MAX, buf, 2));
	dma_did(5, rmio_dev_dma_read(dev, 0x1ff0, buf, 1));
	dma_ptr[0] = rmio_dev_dma_ptr(dev, 0x100000, 0x1000, true);
	dma_ptr[1] = rmio_dev_dma_ptr(dev, 0x100000, 0x1001, true);
	dma_ptr[2] = rmio_dev_dma_ptr(dev, 0x1000000, 1, false);
}

static void dma_calls(void)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING), i;
	struct rig r;
	struct spy s;

	T_EQ(ftruncate(fd, 0x2000), 0);
	T_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	T_REQUIRE(spy_new(&r, &s, &spy_ops, true, 0xffffff));
	T_EQ(rmio_client_dma_map(r.client, 0x100000, 0x1000, fd, 0x1000, PROT_READ | PROT_WRITE),
	     0);
	T_EQ(s.mapped, 1);
	T_EQ(s.iova, 0x100000);
	T_EQ(s.size, 0x1000);
	/* bus mastering is off */
	in_loop(&r, &s, try_dma);
	for (i = 0; i < 6; i++)
		T_EQ(dma_result[i], -EPERM);
	T_OK(strstr(dma_why[0], "bus mastering is off"));
	T_OK(!dma_ptr[0]);
	rig_config_set(&r, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	in_loop(&r, &s, try_dma);
	T_EQ(dma_result[0], 0);
	T_EQ(dma_result[1], 0);
	T_EQ(dma_result[2], -ERANGE);
	T_EQ(dma_result[3], -ERANGE);
	T_EQ(dma_result[4], -ERANGE);
	T_EQ(dma_result[5], -EFAULT);
	T_STREQ(dma_why[1], "Success");
	T_OK(strstr(dma_why[3], "at 0x1000000, 1 bytes: dma_mask is 0xffffff"));
	T_OK(strstr(dma_why[5], "at 0x1ff0, 1 bytes: part of it the VMM has not mapped"));
	T_OK(dma_ptr[0]);
	T_OK(!dma_ptr[1]);
	T_OK(!dma_ptr[2]);

	T_EQ(rmio_client_dma_map(r.client, 0x200000, 0x1000, fd, 0, PROT_READ), 0);
	T_EQ(rmio_client_dma_map(r.client, 0x200000, 0x1000, fd, 0, PROT_READ), -EEXIST);
	T_EQ(s.mapped, 2);
	T_EQ(rmio_client_dma_unmap(r.client, 0x100000, 0x1000), 0);
	T_EQ(s.mapped, 1);
	/* Nothing there is nothing to refuse; a part of a map is. */
	T_EQ(rmio_client_dma_unmap(r.client, 0x100000, 0x1000), 0);
	T_EQ(rmio_client_dma_unmap(r.client, 0x200000, 0x800), -EINVAL);
	T_EQ(s.mapped, 1);
	in_loop(&r, &s, try_dma);
	T_EQ(dma_result[0], -EFAULT);

	/* a reset leaves maps alone and bus mastering off */
	T_EQ(s.resets, 0);
	T_EQ(rmio_client_reset(r.client), 0);
	T_EQ(s.resets, 1);
	T_EQ(s.mapped, 1);
	T_EQ(rig_config(&r, PCI_COMMAND, 2), 0);
	spy_free(&r);
	T_EQ(s.mapped, 0);
	T_EQ(s.iova, 0x200000);
	close(fd);
}

/* -- descriptions that make no sense: a line says what ---------------------------------- */

static char last_line[200];

static void keep_line(void *arg, const char *line)
{
	snprintf(last_line, sizeof(last_line), "%s", line);
}

static void descriptions(void)
{
	static const struct rmio_dev_ops none = { 0 };
	static const struct {
		struct rmio_dev_range range;
		struct rmio_area area[2];
		struct rmio_dev_desc d;
		int vendor;		/* 0: one; -1: none */
		const char *words;
	} bad[] = {
		{ .range = { .len = 10 }, .words = "new: range 0: a BAR's length is a power of two" },
		{ .range = { .len = 16, .bus = 2 }, .words = "new: range 0: unknown bus" },
		{ .range = { .len = 4096, .bus = RMIO_BUS_IO },
		  .words = "new: range 0: an I/O BAR has 256 bytes at most" },
		{ .range = { .len = 512, .bus = RMIO_BUS_IO }, .words = "256 bytes at most" },
		{ .range = { .len = 1ull << 32 }, .words = "more than 2 GiB is RMIO_DEV_RANGE_64BIT" },
		{ .vendor = 0xffff, .words = "new: the vendor is 0 or 0xffff" },
		{ .vendor = -1, .words = "new: the vendor is 0 or 0xffff" },
		{ .range = { .id = 7, .len = 16 }, .words = "not an id for a range" },
		{ .d.class_code = 1 << 24, .words = "new: the class has 24 bits" },
		{ .d.msi = 3, .words = "new: MSI vectors are a power of two" },
		{ .d.intx = 5, .words = "new: the pin is 0 to 4" },
		{ .d.nr_areas = 1, .words = "new: area 0 of the access map: empty, unknown bits" },
		{ .d.nr_areas = 1, .area = { { .length = 4, .load = RMIO_LOAD_SHADOW } },
		  .d.shadow_size = 4, .words = "area 0 of the access map: empty, unknown bits, or "
					       "shadow without sizes" },
		{ .d.nr_areas = 2, .area = { { .length = 4 }, { .offset = 2, .length = 4 } },
		  .words = "area 1 of the access map: overlaps another one" },
		{ .d.nr_areas = 1, .area = { { .offset = -4ull, .length = 8 } },
		  .words = "area 0 of the access map: offset and length wrap" },
		{ .d.nr_areas = 2, .area = { { .length = 4 }, { .offset = 14, .length = 4 } },
		  .words = "area 1 of the access map: leaves its range" },
		{ .d.nr_areas = 1, .area = { { .length = 4, .load = RMIO_LOAD_SHADOW,
					       .sizes = RMIO_SIZE_4 } },
		  .words = "area 0 of the access map: leaves its range or the shadow image" },
		{ .d.nr_areas = 1, .d.shadow_size = 4,
		  .area = { { .length = 4, .shadow_offset = 4, .load = RMIO_LOAD_SHADOW,
			      .sizes = RMIO_SIZE_4 } },
		  .words = "area 0 of the access map: leaves its range or the shadow image" },
		{ .d.shadow_size = RMIO_SHADOW_MAX + 1, .words = "larger than RMIO_SHADOW_MAX" },
		{ .d.nr_areas = RMIO_AREAS_MAX + 1, .words = "4096 areas at most, not 4097" },
	};
	struct rmio_loop_opts lo = { .sz = sizeof(lo), .log = keep_line };
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	int err;

	T_REQUIRE(T_EQ(rmio_loop_new(&lo, &loop), 0));
	for (int i = 0; i < KTAP_COUNT(bad); i++) {
		struct rmio_dev_range range = bad[i].range;
		struct rmio_dev_desc d = bad[i].d;

		if (!range.len)
			range.len = 16;
		d.sz = sizeof(d);
		d.name = "new";
		d.vendor = bad[i].vendor < 0 ? 0 : bad[i].vendor ? bad[i].vendor : 0x1234;
		d.ops = &none;
		d.ranges = &range;
		d.nr_ranges = 1;
		d.areas = bad[i].area;
		last_line[0] = 0;
		err = rmio_dev_new(loop, &d, NULL, &dev);
		T_LT(err, 0);
		if (err != -E2BIG && !T_OK(strstr(last_line, bad[i].words) != NULL))
			ktap_diag("expected \"%s\" in \"%s\"", bad[i].words, last_line);
		/* the same for whom has no log */
		if (!T_OK(strstr(rmio_errstr(err), bad[i].words) != NULL))
			ktap_diag("expected \"%s\" in \"%s\"", bad[i].words, rmio_errstr(err));
	}
	rmio_loop_free(loop);
}

static void says(int err, const char *part)
{
	if (!T_OK(strstr(rmio_errstr(err), part)))
		ktap_diag("expected \"%s\" in \"%s\"", part, rmio_errstr(err));
}

/* Other refusals, of a loop without a log. */
static void reasons(void)
{
	static const struct rmio_area beyond = {
		.length = 4, .shadow_offset = 4, .load = RMIO_LOAD_SHADOW, .sizes = RMIO_SIZE_4,
	};
	static const struct rmio_dev_range bar = { .len = 16 };
	static const struct rmio_dev_ops none = { 0 };
	struct rmio_dev_desc d = {
		.sz = sizeof(d), .name = "quiet", .ops = &none, .ranges = &bar, .nr_ranges = 1,
		.vendor = 0x1234, .shadow_size = 4,
	};
	char dir[] = "/tmp/rmio-reasons-XXXXXX", path[64], longer[200];
	struct rmio_loop *loop;
	struct rmio_dev *dev;
	int fd, p[2];

	T_REQUIRE(T_EQ(rmio_loop_new(NULL, &loop), 0));
	T_REQUIRE(T_EQ(rmio_dev_new(loop, &d, NULL, &dev), 0));
	T_EQ(rmio_dev_shadow_put(dev, 0, 7, 4), 0);
	T_EQ(rmio_dev_shadow_put(dev, 4, 7, 4), -EINVAL);	/* the page would have room */
	says(-EINVAL, "beyond the image of 0x4 bytes");
	T_EQ(rmio_dev_shadow_put(dev, 0, 7, 8), -EINVAL);
	T_EQ(rmio_dev_shadow_put(dev, 0, 7, 3), -EINVAL);
	says(-EINVAL, "len is 3");
	T_EQ(rmio_dev_areas(dev, &beyond, 1), -ERANGE);
	says(-ERANGE, "quiet: area 0 of the access map: leaves its range or the shadow image");
	T_EQ(rmio_dev_areas(dev, &beyond, RMIO_AREAS_MAX + 1), -E2BIG);
	says(-E2BIG, "4096 areas at most");

	T_REQUIRE(T_OK(mkdtemp(dir)));
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	T_EQ(rmio_dev_listen(dev, longer), -ENAMETOOLONG);
	says(-ENAMETOOLONG, "1 to 107 bytes, this one 199");
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	T_EQ(rmio_dev_listen(dev, path), -EADDRINUSE);
	says(-EADDRINUSE, "something that is no socket");
	unlink(path);
	T_EQ(rmio_dev_listen(dev, path), 0);
	T_EQ(rmio_dev_listen(dev, path), -EBUSY);
	says(-EBUSY, "quiet: it listens on /tmp/rmio-reasons-");
	rmio_dev_free(dev);
	rmdir(dir);

	T_REQUIRE(T_EQ(rmio_dev_new(loop, &d, NULL, &dev), 0));
	T_REQUIRE(T_EQ(pipe(p), 0));
	close(p[1]);
	T_EQ(rmio_dev_slave(dev, p[0]), -ECONNRESET);
	says(-ECONNRESET, "rmio_slave_open: the master is gone");
	rmio_dev_free(dev);
	rmio_loop_free(loop);
}

static const struct ktap_test tests[] = {
	{ "accesses by rings", accesses_rings },
	{ "accesses by the socket", accesses_socket },
	{ "I/O range", io_range },
	{ "pieces", pieces },
	{ "shadow by rings", shadow_rings },
	{ "shadow by the socket", shadow_socket },
	{ "a new access map", areas },
	{ "an image that cannot be passed", no_image },
	{ "a map is replaced under stores that wait", replaced_map },
	{ "without callbacks, by rings", silent_rings },
	{ "without callbacks, by the socket", silent_socket },
	{ "DMA calls and reset", dma_calls },
	{ "descriptions that make no sense", descriptions },
	{ "reasons without a log", reasons },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
