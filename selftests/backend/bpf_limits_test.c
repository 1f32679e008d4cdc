// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Loading and devices of the bpf back end where descriptors, address space or memory run
 * out: an error with its reason, nothing left behind, and it works once there is enough.
 * What a crashed run has pinned is in nobody's way, and a killed VMM leaves nothing.
 */
#include "backend/bpf/program.h"
#include "need_bpf.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <rmio/slave.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define VCPUS		11u	/* as many as no other test has, so that its maps can be told */
#define SLOTS		65536u
#define DEVICE		0xe0000000u
#define DESCRIPTORS	100		/* more than a VM with a device takes */
#define AS_STEP		(256u << 10)
#define AS_STEPS	400
#define KIB		1024ull

static int kvm_vm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int fd = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	close(kvm);
	return fd;
}

static int count_in(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void limit(int what, rlim_t n)
{
	struct rlimit r = { .rlim_cur = n, .rlim_max = RLIM_INFINITY };

	if (what == RLIMIT_NOFILE)
		r.rlim_max = DESCRIPTORS * 10;
	T_REQUIRE(T_EQ(setrlimit(what, &r), 0));
}

static char reason[256];

static int load(int fd, struct rmio_vm **vm)
{
	struct rmio_vm_opts vo = { .sz = sizeof(vo), .max_vcpus = VCPUS };
	struct rmio_kvm_opts o = {
		.sz = sizeof(o), .vm_fd = fd, .kick_signal = SIGRTMIN, .flags = RMIO_KVM_BPF,
	};
	const char *why;
	int err = rmio_vm_new(&vo, vm);

	if (err)
		return err;
	err = rmio_vm_kvm(*vm, &o);
	if (err) {
		T_EQ(rmio_vm_backend(*vm, &why), RMIO_BACKEND_EXIT);
		T_GT(strlen(why), 0);
		snprintf(reason, sizeof(reason), "%s", why);
		rmio_vm_free(*vm);
		*vm = NULL;
	}
	return err;
}

static int plug_in(struct rmio_vm *vm, struct rmio_master **m, struct rmio_slave **s)
{
	struct rmio_master_opts o = {
		.sz = sizeof(o), .backend = RMIO_BACKEND_BPF, .ring_slots = SLOTS,
	};
	struct rmio_pa_range r = { .addr = DEVICE, .len = 0x1000 };
	int err = rmio_master_new(vm, &o, m), fd;

	if (err)
		return err;
	err = rmio_master_pa_range(*m, &r);
	fd = rmio_master_slave_fd(*m);
	if (!err && fd < 0)
		err = fd;
	if (!err && s)
		err = rmio_slave_open(fd, NULL, s);
	else if (!err)
		close(fd);
	if (err)
		rmio_master_free(*m);
	return err;
}

static int plug(struct rmio_vm *vm, struct rmio_master **m)
{
	return plug_in(vm, m, NULL);
}

/* libbpf may have tried again in another way, and failed for another reason. */
static bool too_many(int err)
{
	return err == -EMFILE || err == -ENFILE || strstr(reason, "Too many open files");
}

/* One descriptor more each time, until it works. */
static void descriptors(void)
{
	int fd, before, n, err = -1, refused[2] = { 0 };
	struct rmio_master *m = NULL;
	struct rmio_vm *vm = NULL;

	NEED_BPF();
	fd = kvm_vm();
	T_REQUIRE(T_GE(fd, 0));
	before = count_in("/proc/self/fd");
	/* That which counting takes itself is free. */
	for (n = before - 3; err && n < before + DESCRIPTORS && !ktap_failed(); n++) {
		limit(RLIMIT_NOFILE, (rlim_t)n);
		err = load(fd, &vm);
		limit(RLIMIT_NOFILE, DESCRIPTORS * 10);
		refused[0] += err != 0;
		if (err && !T_OK(too_many(err)))
			ktap_diag("with %d descriptors: %s: %s", n, strerror(-err), reason);
		if (err)
			T_EQ(count_in("/proc/self/fd"), before);
	}
	T_REQUIRE(T_EQ(err, 0));
	T_GT(refused[0], 0);

	before = count_in("/proc/self/fd");
	for (err = -1, n = before - 3; err && n < before + DESCRIPTORS && !ktap_failed(); n++) {
		limit(RLIMIT_NOFILE, (rlim_t)n);
		err = plug(vm, &m);
		limit(RLIMIT_NOFILE, DESCRIPTORS * 10);
		refused[1] += err != 0;
		if (err && !T_OK(err == -EMFILE || err == -ENFILE))
			ktap_diag("a device with %d descriptors: %s", n, strerror(-err));
		if (err)
			T_EQ(count_in("/proc/self/fd"), before);
	}
	T_REQUIRE(T_EQ(err, 0));
	T_GT(refused[1], 0);
	ktap_diag("too few %d times for the VM, %d times for the device", refused[0], refused[1]);
	rmio_master_free(m);
	rmio_vm_free(vm);
	close(fd);
}

static uint64_t address_space(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f) {
		if (fscanf(f, "%lu", &pages) != 1)
			pages = 0;
		fclose(f);
	}
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void addresses(void)
{
	int fd, fds, i, err = -1, refused[2] = { 0 };
	struct rmio_master *m = NULL;
	struct rmio_vm *vm = NULL;
	uint64_t base;

	if (KTAP_SLOWDOWN > 1)
		T_SKIP("a sanitizer needs all of the address space", "run the plain build");
	NEED_BPF();
	fd = kvm_vm();
	T_REQUIRE(T_GE(fd, 0));
	fds = count_in("/proc/self/fd");
	base = address_space();
	for (i = 0; err && i < AS_STEPS && !ktap_failed(); i++) {
		limit(RLIMIT_AS, base + (uint64_t)i * AS_STEP);
		err = load(fd, &vm);
		limit(RLIMIT_AS, RLIM_INFINITY);
		refused[0] += err != 0;
		/* libbpf tells nobody why it could not read the kernel's types. */
		if (err && !strstr(reason, "kernel BTF") && !T_EQ(err, -ENOMEM))
			ktap_diag("with %u KiB: %s: %s", i * (AS_STEP >> 10), strerror(-err),
				  reason);
		if (err)
			T_EQ(count_in("/proc/self/fd"), fds);
	}
	T_REQUIRE(T_EQ(err, 0));
	T_GT(refused[0], 0);
	fds = count_in("/proc/self/fd");
	base = address_space();
	for (err = -1, i = 0; err && i < AS_STEPS && !ktap_failed(); i++) {
		limit(RLIMIT_AS, base + (uint64_t)i * AS_STEP);
		err = plug(vm, &m);
		limit(RLIMIT_AS, RLIM_INFINITY);
		refused[1] += err != 0;
		if (err && !T_EQ(err, -ENOMEM))
			ktap_diag("a device with %u KiB: %s", i * (AS_STEP >> 10), strerror(-err));
		if (err)
			T_EQ(count_in("/proc/self/fd"), fds);
	}
	T_REQUIRE(T_EQ(err, 0));
	T_GT(refused[1], 0);
	ktap_diag("too few %d times for the VM, %d times for the device", refused[0], refused[1]);
	rmio_master_free(m);
	rmio_vm_free(vm);
	close(fd);
}

/* The kernel counts BPF's memory elsewhere since Linux 5.11. */
static void locked_memory(void)
{
	struct rlimit none = { 0, 0 };
	struct rmio_master *m = NULL;
	struct rmio_vm *vm = NULL;
	int fd;

	NEED_BPF();
	fd = kvm_vm();
	T_EQ(setrlimit(RLIMIT_MEMLOCK, &none), 0);
	T_REQUIRE(T_EQ(load(fd, &vm), 0));
	T_EQ(plug(vm, &m), 0);
	rmio_master_free(m);
	rmio_vm_free(vm);
	close(fd);
}

/* -- a shadow image ------------------------------------------------------------------ */

/* Of another size each time, so that it is a new one. */
static int ask_image(struct rmio_slave *s, uint64_t size)
{
	struct rmio_area area = {
		.length = 4096, .load = RMIO_LOAD_SHADOW, .sizes = RMIO_SIZE_ALL,
	};
	uint8_t *image;
	int err = rmio_slave_shadow_size(s, size);

	if (err)
		return err;
	image = rmio_slave_mmap(s, NULL);
	if (!T_OK(image))
		return 0;
	memset(image, (int)(size / 4096), 4096);
	T_EQ(rmio_slave_shadow_ctrl(s, &area, 1), 0);
	return 0;
}

/* A vCPU loads what the device has there, or finds no image. */
static void check_image(struct rmio_vcpu *v, uint64_t size)
{
	uint64_t byte = size / 4096 & 0xff, value = 0;

	T_EQ(rmio_vcpu_load(v, RMIO_BUS_MEM, DEVICE, 2, &value), 0);
	T_EQ(value, size ? byte << 8 | byte : 0xffff);
}

/* The VMM's thread closes what it has sent some time after that has come. */
static void settles_at(int fds)
{
	long long end = ktap_now_ms() + 20000;

	while (count_in("/proc/self/fd") != fds && ktap_now_ms() < end)
		usleep(100);
	T_EQ(count_in("/proc/self/fd"), fds);
}

/* Both ends are in this process, and so are the limits. */
static void images(void)
{
	int fd, before, n, i, err = -1, refused[2] = { 0 };
	struct rmio_master *m = NULL;
	struct rmio_slave *s = NULL;
	struct rmio_vm *vm = NULL;
	struct rmio_vcpu *v;
	const uint64_t size = 4096, larger = 4098 * 4096;
	uint64_t base;

	NEED_BPF();
	fd = kvm_vm();
	T_REQUIRE(T_EQ(load(fd, &vm), 0));
	T_REQUIRE(T_EQ(plug_in(vm, &m, &s), 0));
	T_REQUIRE(T_EQ(rmio_vcpu_new(vm, 0, NULL, &v), 0));
	rmio_master_timeout(m, 1000000000);
	before = count_in("/proc/self/fd");
	for (n = 3; err && n < before + DESCRIPTORS && !ktap_failed(); n++) {
		limit(RLIMIT_NOFILE, (rlim_t)n);
		err = ask_image(s, size);
		limit(RLIMIT_NOFILE, DESCRIPTORS * 10);
		refused[0] += err != 0;
		if (err && !T_OK(err == -EMFILE || err == -ENFILE))
			ktap_diag("an image with %d descriptors: %s", n, strerror(-err));
		if (err)
			settles_at(before);
	}
	T_REQUIRE(T_EQ(err, 0));
	T_GT(refused[0], 0);
	check_image(v, size);
	before = count_in("/proc/self/fd");
	base = address_space();
	for (err = -1, i = 0; KTAP_SLOWDOWN == 1 && err && i < AS_STEPS && !ktap_failed(); i++) {
		limit(RLIMIT_AS, base + (uint64_t)i * AS_STEP);
		err = ask_image(s, larger);
		limit(RLIMIT_AS, RLIM_INFINITY);
		refused[1] += err != 0;
		if (err && !T_EQ(err, -ENOMEM))
			ktap_diag("an image with %u KiB: %s", i * (AS_STEP >> 10), strerror(-err));
		if (err)
			settles_at(before);
	}
	if (KTAP_SLOWDOWN == 1) {
		T_REQUIRE(T_EQ(err, 0));
		T_GT(refused[1], 0);
		check_image(v, larger);
	}
	ktap_diag("refused %d times, %d times", refused[0], refused[1]);
	rmio_slave_free(s);
	rmio_vcpu_free(v);
	rmio_master_free(m);
	rmio_vm_free(vm);
	close(fd);
}

/* The device is a process of its own, and has no descriptor left. */
static void poor_device(void)
{
	struct rmio_master *m = NULL;
	struct rmio_slave *s = NULL;
	struct rmio_vm *vm = NULL;
	int fd, status = -1;
	pid_t pid;

	NEED_BPF();
	fd = kvm_vm();
	T_REQUIRE(T_EQ(load(fd, &vm), 0));
	T_REQUIRE(T_EQ(plug_in(vm, &m, &s), 0));
	pid = fork();
	if (!pid) {
		limit(RLIMIT_NOFILE, 3);
		T_EQ(ask_image(s, 4096), -EMFILE);
		T_EQ(ask_image(s, 4096), -EMFILE);
		limit(RLIMIT_NOFILE, DESCRIPTORS * 10);
		T_EQ(ask_image(s, 4096), 0);
		_exit(ktap_failed());
	}
	T_EQ(waitpid(pid, &status, 0), pid);
	T_EQ(status, 0);
	rmio_slave_free(s);
	rmio_master_free(m);
	rmio_vm_free(vm);
	close(fd);
}

/* -- a memory cgroup --------------------------------------------------------------- */

struct group {
	char dir[64];
	bool unified;
};

static bool put(const struct group *g, const char *file, uint64_t n)
{
	char path[128], text[32];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", g->dir, file);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return done;
}

static uint64_t get(const struct group *g, const char *file)
{
	unsigned long long n = 0;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", g->dir, file);
	f = fopen(path, "re");
	if (f) {
		if (fscanf(f, "%llu", &n) != 1)
			n = 0;
		fclose(f);
	}
	return n;
}

/* At @at, with the controller in it; of either version. */
static bool make_group(struct group *g, const char *at, bool unified)
{
	char path[128];

	g->unified = unified;
	snprintf(g->dir, sizeof(g->dir), "%s/rmio-test-%d", at, getpid());
	if (mkdir(g->dir, 0700))
		return false;
	snprintf(path, sizeof(path), "%s/%s", g->dir,
		 unified ? "memory.max" : "memory.limit_in_bytes");
	if (!access(path, W_OK))
		return true;
	rmdir(g->dir);
	return false;
}

/* In a process of its own, which is in the group, with so much memory beyond what it has. */
static int with_memory(const struct group *g, uint64_t kib, bool device)
{
	struct rmio_master *m = NULL;
	struct rmio_vm *vm = NULL;
	int fd, fds, err = 0, status;
	pid_t pid = fork();
	uint64_t has;

	if (!pid) {
		fd = kvm_vm();
		put(g, "cgroup.procs", (uint64_t)getpid());
		if (device)
			err = load(fd, &vm);
		fds = count_in("/proc/self/fd");
		has = get(g, g->unified ? "memory.current" : "memory.usage_in_bytes");
		put(g, g->unified ? "memory.max" : "memory.limit_in_bytes", has + kib * KIB);
		if (!err)
			err = device ? plug(vm, &m) : load(fd, &vm);
		if (err)
			T_EQ(count_in("/proc/self/fd"), fds);
		_exit(-err);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	put(g, g->unified ? "memory.max" : "memory.limit_in_bytes", 1ull << 40);
	/* The kernel may end who has no memory left, and all that was attached goes too. */
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The maps of vCPUs' state that tests of this program have made and the kernel has. */
static int maps_left(void)
{
	struct bpf_map_info info;
	uint32_t id = 0, len;
	int fd, n = 0;

	while (!bpf_map_get_next_id(id, &id)) {
		fd = bpf_map_get_fd_by_id(id);
		len = sizeof(info);
		memset(&info, 0, sizeof(info));
		n += fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
		     !strcmp(info.name, "vcpus") && info.max_entries == VCPUS;
		if (fd >= 0)
			close(fd);
	}
	return n;
}

/* A program that is attached has its maps; the kernel frees both some time later. */
static void nothing_left(void)
{
	long long end = ktap_now_ms() + 20000;

	while (maps_left() && ktap_now_ms() < end)
		usleep(1000);
	T_EQ(maps_left(), 0);
}

static void memory(void)
{
	struct group g;
	uint64_t kib;
	int err, refused = 0, killed = 0, device;

	NEED_BPF();
	if (!make_group(&g, "/sys/fs/cgroup", true) &&
	    !make_group(&g, "/sys/fs/cgroup/unified", true) &&
	    !make_group(&g, "/sys/fs/cgroup/memory", false))
		T_SKIP("no memory cgroup can be made",
		       "root, and the memory controller at /sys/fs/cgroup");
	for (device = 0; device < 2; device++) {
		for (err = -1, kib = 64; err && kib < 1 << 20 && !ktap_failed(); kib *= 4) {
			err = with_memory(&g, kib, device);
			refused += err == ENOMEM;
			killed += err == 128 + SIGKILL;
			nothing_left();
			if (err && !T_OK(err == ENOMEM || err == 128 + SIGKILL))
				ktap_diag("%s with %llu KiB: %d", device ? "device" : "VM",
					  (unsigned long long)kib, err);
		}
		T_EQ(err, 0);
	}
	ktap_diag("%d times an error, %d times killed", refused, killed);
	T_GT(refused + killed, 0);
	T_EQ(rmdir(g.dir), 0);
}

/* -- many devices ------------------------------------------------------------------------ */

/* Made and freed in a row, also when places are used again: few grace periods for all of them. */
static void many_devices(void)
{
	enum { MANY = 240, ROUNDS = 3 };
	static struct rmio_master *m[MANY];
	long long began, made, freed;
	struct rmio_vm *vm = NULL;
	int fd, i, round, err;

	NEED_BPF();
	T_EQ(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 4096, 4096 }), 0);
	fd = kvm_vm();
	T_REQUIRE(T_EQ(load(fd, &vm), 0));
	for (round = 0; round < ROUNDS && !ktap_failed(); round++) {
		struct rmio_master_opts o = {
			.sz = sizeof(o), .backend = RMIO_BACKEND_BPF,
			.ring_slots = round == 1 ? 4096 : 2048,
		};

		began = ktap_now_ms();
		for (i = 0; i < MANY; i++) {
			err = rmio_master_new(vm, &o, &m[i]);
			if (!T_EQ(err, 0))
				break;
		}
		made = ktap_now_ms();
		/* one that has just gone makes room for the next, wherever that is */
		for (; i >= MANY && i < MANY + 40 && !ktap_failed(); i++) {
			rmio_master_free(m[i % MANY]);
			T_EQ(rmio_master_new(vm, &o, &m[i % MANY]), 0);
		}
		freed = ktap_now_ms();
		for (i = 0; i < MANY; i++)
			rmio_master_free(m[i]);
		ktap_diag("%d devices made in %lld ms, 40 replaced in %lld ms, freed in %lld ms", MANY,
			  made - began, freed - made, ktap_now_ms() - freed);
	}
	rmio_vm_free(vm);
	close(fd);
}

/* -- what is left of others ----------------------------------------------------------- */

/* The maps of a VM, by the names that a crashed run's would have. */
static int pin_maps(const char *dir)
{
	struct bpf_map_info info;
	char path[128];
	uint32_t id = 0, len;
	int fd, n = 0;

	while (!bpf_map_get_next_id(id, &id)) {
		fd = bpf_map_get_fd_by_id(id);
		len = sizeof(info);
		memset(&info, 0, sizeof(info));
		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
		    (!strcmp(info.name, "regs") || !strcmp(info.name, "zones") ||
		     !strcmp(info.name, "vcpus") || !strcmp(info.name, "threads"))) {
			snprintf(path, sizeof(path), "%s/%s", dir, info.name);
			n += !bpf_obj_pin(fd, path);
		}
		if (fd >= 0)
			close(fd);
	}
	return n;
}

static void pinned(void)
{
	char dir[] = "/tmp/rmio-bpffs-XXXXXX";
	struct rmio_master *m = NULL;
	struct rmio_vm *vm = NULL;
	int fd, n, there;

	NEED_BPF();
	T_REQUIRE(T_OK(mkdtemp(dir)));
	T_REQUIRE(T_EQ(unshare(CLONE_NEWNS), 0));
	T_REQUIRE(T_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0));
	T_REQUIRE(T_EQ(mount("bpffs", dir, "bpf", 0, NULL), 0));
	fd = kvm_vm();
	T_REQUIRE(T_EQ(load(fd, &vm), 0));
	n = pin_maps(dir);
	T_GE(n, 4);
	rmio_vm_free(vm);

	there = count_in(dir);
	T_REQUIRE(T_EQ(load(fd, &vm), 0));
	T_EQ(plug(vm, &m), 0);
	T_EQ(count_in(dir), there);
	rmio_master_free(m);
	rmio_vm_free(vm);
	T_EQ(count_in(dir), there);
	close(fd);
	T_EQ(umount(dir), 0);
	T_EQ(rmdir(dir), 0);
}

static bool loaded(uint32_t id)
{
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || errno != ENOENT;
}

/* The kernel frees a program some time after its last descriptor. */
static bool goes(uint32_t id)
{
	long long end = ktap_now_ms() + 20000;

	while (loaded(id) && ktap_now_ms() < end)
		usleep(1000);
	return !loaded(id);
}

static void killed(void)
{
	struct rmio_program_stats s = { .sz = sizeof(s) };
	struct rmio_master *m = NULL;
	struct rmio_vm *vm = NULL;
	int pipes[2], status, err, round;
	pid_t pid;

	NEED_BPF();
	for (round = 0; round < 2; round++) {
		T_REQUIRE(T_EQ(pipe(pipes), 0));
		pid = fork();
		if (!pid) {
			err = load(kvm_vm(), &vm);
			if (!err && round)
				err = plug(vm, &m);
			if (!err)
				err = rmio_vm_program(vm, &s);
			if (err || write(pipes[1], &s.id, sizeof(s.id)) != sizeof(s.id))
				_exit(1);
			for (;;)
				pause();
		}
		close(pipes[1]);
		T_REQUIRE(T_EQ(read(pipes[0], &s.id, sizeof(s.id)), sizeof(s.id)));
		T_OK(loaded(s.id));
		T_GT(maps_left(), 0);
		kill(pid, SIGKILL);
		T_EQ(waitpid(pid, &status, 0), pid);
		T_OK(goes(s.id));
		close(pipes[0]);
	}
}

static const struct ktap_test tests[] = {
	{ "descriptors", descriptors, 60 },
	{ "address space", addresses, 60 },
	{ "locked memory", locked_memory, 30 },
	{ "images", images, 60 },
	{ "an image for a device without descriptors", poor_device, 60 },
	{ "many devices", many_devices, 300 },
	{ "memory of a cgroup", memory, 120 },
	{ "maps pinned by a crashed run", pinned, 30 },
	{ "the VMM is killed", killed, 60 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
