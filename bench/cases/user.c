// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a guest's access costs with the kernel device KVM_DEV_TYPE_USER, by its own
 * system calls: the device process takes requests from its mapped lanes, or by read().
 */
#include <errno.h>
#include <linux/kvm.h>
#include <rmio/abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../asked.h"
#include "../guest.h"

#define BAR_SIZE	0x2000u
#define STRICT		0x100u	/* its loads wait for posted stores */
#define RELAXED		0x1000u
#define REG_VALUE	0x5a5a1234u
#define SLOTS		1024u
#define DEVICES_MAX	900u

struct user {
	struct bench_run *run;
	struct guest guest;
	bool has_guest;
	bool spin;		/* the device looks at its lane instead of sleeping in read() */
	int slave;
	int master[DEVICES_MAX];
	unsigned int masters;
	struct asked *asked;	/* NULL: no program is */
};

/* -- the device process ----------------------------------------------------------- */

static int polled(struct user *u)
{
	size_t down_size = RMIO_PAGE * 2 + SLOTS * sizeof(struct rmio_request);
	void *down = mmap(NULL, down_size, PROT_READ, MAP_SHARED, u->slave, RMIO_KVM_MAP_DOWN);
	char *up = mmap(NULL, RMIO_PAGE * 2, PROT_READ | PROT_WRITE, MAP_SHARED, u->slave,
			RMIO_KVM_MAP_UP);
	const struct rmio_down_lane *lane = (void *)((char *)down + RMIO_PAGE);
	const struct rmio_request *slots = (void *)((char *)down + 2 * RMIO_PAGE);
	struct rmio_up_lane *answer = (void *)(up + RMIO_PAGE);
	uint32_t zero = 0, woken = 0, wanted;
	uint64_t done = 0;

	if (down == MAP_FAILED || up == MAP_FAILED)
		return -errno;
	for (;;) {
		const struct rmio_request *slot = &slots[done & (SLOTS - 1)];
		bool load;

		while (__atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE) != done + 1)
			bench_pause();
		load = slot->op == RMIO_OP_LOAD;
		done++;
		if (load) {
			__atomic_store_n(&answer->reply_data, REG_VALUE, __ATOMIC_RELAXED);
			__atomic_store_n(&answer->reply_seq, done, __ATOMIC_RELEASE);
		}
		__atomic_store_n(&answer->done, done, __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		wanted = __atomic_load_n(&lane->need_wake, __ATOMIC_RELAXED);
		if (wanted && wanted != woken) {
			woken = wanted;
			ioctl(u->slave, KVM_DEV_USER_WAKE, &zero);
		}
	}
}

static int reading(struct user *u)
{
	struct rmio_request r[64];
	struct rmio_reply a[64];
	ssize_t n, i;

	for (;;) {
		n = read(u->slave, r, sizeof(r));
		if (n <= 0)
			return n ? -errno : 0;
		n /= (ssize_t)sizeof(r[0]);
		for (i = 0; i < n; i++)
			a[i] = (struct rmio_reply){
				.seq = r[i].seq, .vcpu = r[i].vcpu, .data = REG_VALUE,
			};
		if (write(u->slave, a, (size_t)n * sizeof(a[0])) < 0)
			return -errno;
	}
}

static int device_process(void *arg)
{
	struct user *u = arg;
	unsigned int i;

	/* The parent's: or it would live on in here. */
	for (i = 0; i < u->masters; i++)
		close(u->master[i]);
	return u->spin ? polled(u) : reading(u);
}

/* -- the VMM ------------------------------------------------------------------------- */

static void user_free(struct bench_run *run)
{
	struct user *u = run->priv;

	bench_peer_stop(run);
	asked_free(u->asked);
	while (u->masters)
		close(u->master[--u->masters]);
	if (u->slave >= 0)
		close(u->slave);
	if (u->has_guest)
		guest_free(&u->guest);
	free(u);
	run->priv = NULL;
}

static int refused(struct bench_run *run, const char *what)
{
	return bench_why(run, -errno, "%s: %s", what, strerror(errno));
}

static int add_device(struct user *u, uint64_t addr, struct rmio_pa_range *at)
{
	struct kvm_create_device cd = { .type = KVM_DEV_TYPE_USER };
	struct rmio_kvm_rings rings = { .lanes = 1, .slots = SLOTS };
	int fd;

	if (ioctl(u->guest.vm->fd, KVM_CREATE_DEVICE, &cd)) {
		if (errno != ENODEV)
			return refused(u->run, "KVM_CREATE_DEVICE");
		return bench_why(u->run, 1, "this kernel has no KVM_DEV_TYPE_USER: kern/README.md");
	}
	fd = (int)cd.fd;
	u->master[u->masters++] = fd;
	*at = (struct rmio_pa_range){ .addr = addr, .len = BAR_SIZE };
	if (ioctl(fd, KVM_DEV_USER_RINGS, &rings) || ioctl(fd, KVM_DEV_USER_PA_RANGE, at))
		return refused(u->run, "KVM_DEV_USER_PA_RANGE");
	return 0;
}

/* The shadow of the measured device: all of it one value, in two areas. */
static int set_shadow(struct user *u)
{
	static const struct rmio_area areas[] = {
		{
			.offset = STRICT, .length = RELAXED - STRICT, .shadow_offset = STRICT,
			.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
		}, {
			.offset = RELAXED, .length = BAR_SIZE - RELAXED, .shadow_offset = RELAXED,
			.sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
			.flags = RMIO_AREA_RELAXED,
		},
	};
	struct rmio_kvm_map map = { .areas = (uintptr_t)areas, .nr = 2 };
	uint64_t size = BAR_SIZE;
	uint32_t *image;
	size_t i;

	if (ioctl(u->slave, KVM_DEV_USER_SHADOW_SIZE, &size) ||
	    ioctl(u->slave, KVM_DEV_USER_SHADOW_CTRL, &map))
		return refused(u->run, "KVM_DEV_USER_SHADOW_CTRL");
	image = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, u->slave,
		     RMIO_KVM_MAP_SHADOW);
	if (image == MAP_FAILED)
		return refused(u->run, "mmap of the shadow image");
	for (i = 0; i < BAR_SIZE / sizeof(*image); i++)
		image[i] = REG_VALUE;
	munmap(image, BAR_SIZE);
	return 0;
}

static int make(struct user *u, const struct guest_code *code, unsigned int others)
{
	struct rmio_pa_range at;
	unsigned int i;
	int err = guest_new(u->run, code, &u->guest);

	if (err)
		return err;
	u->has_guest = true;
	err = add_device(u, GUEST_DEVICE, &at);
	for (i = 0; i < others && !err; i++)
		err = add_device(u, GUEST_DEVICE + (i + 1) * BAR_SIZE, &at);
	if (err)
		return err;
	u->slave = ioctl(u->master[0], KVM_DEV_USER_SLAVE_FD, 0);
	if (u->slave < 0)
		return refused(u->run, "KVM_DEV_USER_SLAVE_FD");
	err = set_shadow(u);
	return err ? err : bench_peer_start(u->run, device_process, u);
}

static int setup(struct bench_run *run, uint32_t offset, bool store, unsigned int others)
{
	struct guest_code code = { .addr = GUEST_DEVICE + offset, .registers = 1, .store = store };
	struct user *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	run->priv = u;
	u->run = run;
	u->slave = -1;
	u->spin = run->wait == BENCH_POLL;
	err = make(u, &code, others);
	if (err)
		user_free(run);
	return err;
}

static int load_shadow_setup(struct bench_run *run)
{
	return setup(run, STRICT, false, 0);
}

static int load_shadow_64_setup(struct bench_run *run)
{
	return setup(run, STRICT, false, 63);
}

static int load_shadow_900_setup(struct bench_run *run)
{
	return setup(run, STRICT, false, DEVICES_MAX - 1);
}

static int asked_setup(struct bench_run *run, const uint64_t *rule)
{
	struct user *u;
	int err = setup(run, STRICT, false, 0);

	if (err)
		return err;
	u = run->priv;
	err = asked_new(run, u->master[0], rule, &u->asked);
	if (err)
		user_free(run);
	return err;
}

static int load_shadow_bpf_setup(struct bench_run *run)
{
	return asked_setup(run, NULL);
}

static int load_shadow_rule_setup(struct bench_run *run)
{
	static const uint64_t offset = STRICT;

	return asked_setup(run, &offset);
}

static int store_setup(struct bench_run *run)
{
	return setup(run, 0, true, 0);
}

static int load_device_setup(struct bench_run *run)
{
	return setup(run, 0, false, 0);
}

static int no_exit(struct bench_run *run, struct kvm_run *exit)
{
	(void)exit;
	return bench_why(run, -EIO, "an access has exited to user space");
}

static int access_op(struct bench_run *run)
{
	struct user *u = run->priv;

	return guest_batch(run, &u->guest, no_exit);
}

/* What the guest has loaded last is in RAX; a dead device would have answered ones. */
static int slice(struct bench_run *run, uint64_t ns)
{
	struct user *u = run->priv;
	uint32_t state = 0;
	uint64_t asked = u->asked ? asked_loads(u->asked) : 0, ops = run->ops;
	int err = bench_loop(run, ns, GUEST_BATCH, access_op);

	if (!err && u->asked && asked_loads(u->asked) - asked < run->ops - ops)
		err = bench_why(run, -EIO, "the program was not asked about each load");
	if (!err && ioctl(u->master[0], KVM_DEV_USER_STATE, &state))
		err = -errno;
	if (!err && state != RMIO_KVM_LIVE)
		err = bench_why(run, -EIO, "the device died (%u)", state);
	return err;
}

#define SHADOW(n, how, does)							\
	{									\
		.name = n,							\
		.what = "guest load, answered in KVM from the shadow" how,	\
		.rivals = { "kvm.ioeventfd.store", "kvm.exit.load" },		\
		.flags = BENCH_KVM | BENCH_FIXED,				\
		.placements = BENCH_PLACE(BENCH_SAME_CPU),			\
		.waits = BENCH_WAIT(BENCH_SLEEP),				\
		.setup = does,							\
		.slice = slice,							\
		.teardown = user_free,						\
	}

const struct bench_case bench_user_cases[] = {
	SHADOW("rmio.kvm.load.shadow", "", load_shadow_setup),
	SHADOW("rmio.kvm.load.shadow.64", ", one device of 64", load_shadow_64_setup),
	SHADOW("rmio.kvm.load.shadow.900", ", one device of 900", load_shadow_900_setup),
	SHADOW("rmio.kvm.load.shadow.bpf", ", a BPF program asked", load_shadow_bpf_setup),
	SHADOW("rmio.kvm.load.shadow.rule", ", a BPF program asked, with a rule for it",
	       load_shadow_rule_setup),
	{
		.name = "rmio.kvm.store.posted",
		.what = "guest store, put into the lane in KVM",
		.rivals = { "kvm.ioeventfd.store", "socket.store", "kvm.exit.store" },
		.flags = BENCH_KVM,
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_WAIT(BENCH_POLL) | BENCH_WAIT(BENCH_SLEEP),
		.setup = store_setup,
		.slice = slice,
		.teardown = user_free,
	}, {
		.name = "rmio.kvm.load.device",
		.what = "guest load, answered by a device process while the vCPU waits in KVM",
		.rivals = { "kvm.exit.load", "socket.load", "socket.load.poll" },
		.flags = BENCH_KVM,
		.placements = BENCH_EVERYWHERE,
		.waits = BENCH_WAIT(BENCH_POLL) | BENCH_WAIT(BENCH_SLEEP),
		.setup = load_device_setup,
		.slice = slice,
		.teardown = user_free,
	},
	{ 0 },
};
