// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device without memory: what it takes is accounted and given back, and every allocation
 * of its control calls may fail.
 */
#include "kvm_user_rig.h"

#include <sys/stat.h>

#define CGROUP "/sys/fs/cgroup/rmio-kvm-user"

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static long get(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	if (fd >= 0)
		close(fd);
	return text[0] ? strtol(text, NULL, 10) : -1;
}

/* -- given back ------------------------------------------------------------------- */

/* Rings and images of 64 MiB, many times more than the machine has memory. */
static void given_back(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), mib = pages / 256, i;
	struct rmio_kvm_rings rings = { .lanes = 1024, .slots = 2048 };
	uint64_t size = RMIO_KVM_SHADOW_MAX;

	if (mib > 4096)
		mib = 4096;
	for (i = 0; i < mib / 50 && !ktap_failed(); i++) {
		uint64_t data = 0;

		RIG_START(.rings = rings);
		T_EQ(rig_shadow_size(size), 0);
		/* With an access under way, or after one that has waited. */
		rig_kick_wait(0);
		T_EQ(rig_access(0, DEVICE, RMIO_BUS_MEM, 4, false, &data), -EINTR);
		if (i & 2)
			T_EQ(rig_reply(0, rig_take().seq, 5), 0);
		if (i & 2)
			T_EQ(rig_access(0, DEVICE, RMIO_BUS_MEM, 4, false, &data), 0);
		/* Dead in one way or another. */
		if (i & 1)
			T_EQ(CALL(w.slave, KVM_DEV_USER_CLOSE, 0), 0);
		rig_stop();
	}
}

/* -- accounted -------------------------------------------------------------------- */

static void take_too_much(void)
{
	struct rmio_kvm_rings rings = { .lanes = 1024, .slots = 2048 };
	char pid[32];
	int n, fd;

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (!T_OK(put(CGROUP "/cgroup.procs", pid)))
		_exit(1);
	for (n = 0; n < 16; n++) {
		fd = rig_create(w.vm->fd);
		if (fd < 0 || CALL(fd, KVM_DEV_USER_RINGS, &rings))
			_exit(0);
	}
	T_FAIL("a GiB of rings in a group that may have 48 MiB");
	_exit(1);
}

static bool make_group(void)
{
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	rmdir(CGROUP);
	if (mkdir(CGROUP, 0700) || !put(CGROUP "/memory.max", "48M"))
		return false;
	put(CGROUP "/memory.swap.max", "0");
	return true;
}

/* Who asks pays: it is refused, or its group is out of memory; and nothing is left of it. */
static void accounted(void)
{
	struct vmm_vm_opts o = { .sz = sizeof(o), .memory = 2 << 20 };
	int status = 0;
	pid_t pid;

	RIG_START();
	rig_stop();
	if (!make_group())
		T_SKIP("no memory controller of cgroup v2", "mount one at /sys/fs/cgroup, as root");
	pid = fork();
	if (!pid) {
		if (T_EQ(vmm_vm_new(&o, &w.vm, NULL), 0))
			take_too_much();
		_exit(1);
	}
	waitpid(pid, &status, 0);
	T_OK((WIFEXITED(status) && !WEXITSTATUS(status)) ||
	     (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
	T_LE(get(CGROUP "/memory.peak"), 49 << 20);
	/* What is freed in the background is freed, too. */
	UNTIL(get(CGROUP "/memory.current") < 4 << 20);
	UNTIL(!rmdir(CGROUP));
}

/*
 * In a group that has too little, and of which nobody can be killed: what is refused changes
 * nothing.
 */
static void ask_too_much(void)
{
	const struct rmio_area area = { .length = 4, .sizes = 4, .load = RMIO_LOAD_SHADOW };
	struct rmio_kvm_rings rings = { .lanes = 1024, .slots = 2048 };
	const struct rmio_down_hdr *h;
	uint32_t *image;
	char pid[32];
	int fd;

	snprintf(pid, sizeof(pid), "%d", getpid());
	T_REQUIRE(T_OK(put("/proc/self/oom_score_adj", "-1000")));
	T_REQUIRE(T_OK(put(CGROUP "/cgroup.procs", pid)));
	if (!T_OK(!rig_start((struct rig_opts){ 0 })))
		return;
	image = rig_image(0x1000);
	T_REQUIRE(image);
	image[0] = 0x2468;
	T_EQ(rig_map(&area, 1), 0);
	T_EQ(rig_shadow_size(RMIO_KVM_SHADOW_MAX), -ENOMEM);
	g_begin(0);
	g_load(0, DEVICE, 4);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x2468);

	fd = rig_create(w.vm->fd);
	T_EQ(CALL(fd, KVM_DEV_USER_RINGS, &rings), -ENOMEM);
	/* The rings of a device that nobody has asked for others. */
	T_EQ(rig_range_of(fd, DEVICE + LEN, 4, RMIO_BUS_MEM, 0), 0);
	h = mmap(NULL, RMIO_PAGE, PROT_READ, MAP_SHARED, fd, RMIO_KVM_MAP_DOWN);
	T_REQUIRE(T_OK(h != MAP_FAILED));
	T_EQ(h->nr_lanes, RMIO_KVM_LANES);
	T_EQ(h->ring_slots, RMIO_KVM_SLOTS);
	munmap((void *)h, RMIO_PAGE);
	close(fd);
	/* And others as well. */
	rings = (struct rmio_kvm_rings){ .lanes = 2, .slots = 4 };
	fd = rig_create(w.vm->fd);
	T_EQ(CALL(fd, KVM_DEV_USER_RINGS, &rings), 0);
	close(fd);
	rig_stop();
}

static void too_much(void)
{
	int status = -1;
	pid_t pid;

	RIG_START();
	rig_stop();
	if (!make_group())
		T_SKIP("no memory controller of cgroup v2", "mount one at /sys/fs/cgroup, as root");
	pid = fork();
	if (!pid) {
		ask_too_much();
		_exit(ktap_failed());
	}
	waitpid(pid, &status, 0);
	T_EQ(status, 0);
	UNTIL(!rmdir(CGROUP));
}

/* -- refused at each place -------------------------------------------------------- */

static int nth;

static const char *no_injection(void)
{
	/* Opened once: opening it allocates too. */
	nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth < 0 || !put("/sys/kernel/debug/failslab/ignore-gfp-wait", "N") ||
	    !put("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N") ||
	    !put("/sys/kernel/debug/fail_page_alloc/min-order", "0"))
		return "allocations cannot be made to fail, which they can only on the debug kernel";
	put("/sys/kernel/debug/failslab/verbose", "0");
	put("/sys/kernel/debug/fail_page_alloc/verbose", "0");
	return NULL;
}

static void fail_nth(int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	T_EQ(pwrite(nth, text, (size_t)len, 0), len);
}

/* Did the nth allocation happen, and fail?  It is over, either way. */
static bool failed_nth(void)
{
	char text[16] = "";
	bool failed = pread(nth, text, sizeof(text) - 1, 0) > 0 && !strtol(text, NULL, 10);

	if (!failed)
		fail_nth(0);
	return failed;
}

static struct rmio_area areas[64];

static int call_rings(void)
{
	struct rmio_kvm_rings rings = { .lanes = 2, .slots = 2 };
	int fd = rig_create(w.vm->fd), err;

	if (fd < 0)
		return fd;
	err = CALL(fd, KVM_DEV_USER_RINGS, &rings);
	close(fd);
	return err;
}

static int call_add(void)
{
	return rig_range(DEVICE + 0x200000, LEN, RMIO_BUS_MEM, 1);
}

static int call_move(void)
{
	return rig_range(DEVICE + 0x400000, LEN, RMIO_BUS_MEM, 1);
}

static int call_image(void)
{
	return rig_shadow_size(0x4000);
}

static int call_map(void)
{
	return rig_map(areas, KTAP_COUNT(areas));
}

static int call_slave(void)
{
	struct rmio_kvm_rings rings = { .lanes = 1, .slots = 2 };
	int fd = rig_create(w.vm->fd), slave;

	if (fd < 0)
		return fd;
	slave = CALL(fd, KVM_DEV_USER_RINGS, &rings);
	if (!slave) {
		slave = ioctl(fd, KVM_DEV_USER_SLAVE_FD, 0);
		if (slave < 0)
			slave = -errno;
		else
			close(slave);
	}
	close(fd);
	return slave < 0 ? slave : 0;
}

/* Each is refused with ENOMEM as long as one of its allocations fails, and leaves all as it was. */
static void refused(void)
{
	static const struct {
		const char *name;
		int (*call)(void);
	} calls[] = {
		{ "rings", call_rings }, { "slave", call_slave }, { "add", call_add },
		{ "move", call_move },	 { "image", call_image }, { "map", call_map },
	};
	const char *why;
	size_t i;
	int n, err = 0;

	RIG_START();
	why = no_injection();
	if (why)
		T_SKIP(why, "./dev vm --kernel debug");
	for (i = 0; i < sizeof(areas) / sizeof(areas[0]); i++)
		areas[i] = (struct rmio_area){
			.offset = 8 * i,
			.length = 4,
			.shadow_offset = 16 * i,
			.sizes = RMIO_SIZE_ALL,
			.load = RMIO_LOAD_SHADOW,
		};
	rig_serve();
	for (i = 0; i < sizeof(calls) / sizeof(calls[0]) && !ktap_failed(); i++) {
		int times = 0;

		for (n = 1; n < 2000 && !ktap_failed(); n++) {
			fail_nth(n);
			err = calls[i].call();
			if (!failed_nth())
				break;
			times++;
			/* One that can be done without may have failed. */
			T_OK(!err || err == -ENOMEM || err == -ENFILE);
			if (!err && calls[i].call == call_add)
				T_EQ(rig_range(0, 0, 0, 1), 0);
		}
		T_EQ(err, 0);
		T_GT(times, 0);
		ktap_diag("%s: %d allocations", calls[i].name, times);
	}
	w.reg[0x840] = 0x21;
	g_begin(0);
	g_load(0, DEVICE + 0x840, 1);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x21);
	T_EQ(w.vcpu[0].exits, 0);
	rig_stop();
}

/*
 * KVM takes a bus away, for good, when it has no memory for a smaller one.  The device has no
 * ranges on it then, and is refused new ones: what was there is the VMM's.
 */
static void range_removed(void)
{
	const char *why;
	int n, err = 0;

	RIG_START();
	why = no_injection();
	if (why)
		T_SKIP(why, "./dev vm --kernel debug");
	rig_serve();
	for (n = 1; n < 100 && !ktap_failed(); n++) {
		err = rig_range(DEVICE + 0x200000, LEN, RMIO_BUS_MEM, 1);
		T_OK(!err);
		fail_nth(n);
		err = rig_range(0, 0, 0, 1);
		if (!failed_nth())
			break;
		T_EQ(err, 0);
		w.reg[0x40] = 0x22;
		g_begin(0);
		g_load(0, DEVICE + 0x40, 1);
		g_end(0);
		T_OK(rig_run(0));
		T_EQ(w.vcpu[0].result[0], w.vcpu[0].exits ? 0xff : 0x22);
		if (!w.vcpu[0].exits)
			continue;
		T_EQ(rig_range(0, 0, 0, 0), -ENOENT);
		T_EQ(rig_range(DEVICE, LEN, RMIO_BUS_MEM, 0), -ENOMEM);
		T_EQ(rig_range(PORT, PORTS, RMIO_BUS_IO, 0), 0);
		break;
	}
	T_EQ(w.vcpu[0].exits, 1);
	/* And at the end of the device. */
	fail_nth(1);
	rig_close_master();
	failed_nth();
	rig_stop();
}

/* The slave's read() notes what it has handed over. */
static void read_refused(void)
{
	struct rmio_request r;
	const char *why;
	ssize_t n;
	int err;

	RIG_START();
	why = no_injection();
	if (why)
		T_SKIP(why, "./dev vm --kernel debug");
	g_begin(0);
	g_store(0, DEVICE, 4, 5);
	g_end(0);
	T_OK(rig_run(0));
	fail_nth(1);
	n = read(w.slave, &r, sizeof(r));
	err = errno;
	T_OK(failed_nth());
	/* It goes without, or nothing is lost. */
	if (n < 0) {
		T_EQ(err, ENOMEM);
		n = read(w.slave, &r, sizeof(r));
	}
	T_EQ(n, sizeof(r));
	T_EQ(r.seq, 1);
	rig_stop();
}

static const struct ktap_test tests[] = {
	{ "what was taken is given back", given_back, 300 },
	{ "what is taken is accounted", accounted },
	{ "more than there is", too_much },
	{ "every allocation of a call fails", refused, 600 },
	{ "no memory to remove a range", range_removed, 300 },
	{ "no memory to read", read_refused },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
