// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Guest memory in files: the file systems that the manual lists work and survive a file that is
 * truncated; others are refused by name.
 */
#include "device/dma.h"
#include "ktap.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define RW	(PROT_READ | PROT_WRITE)
#define PAGE	4096

static char dir[] = "/tmp/rmio-dma-fs-XXXXXX";

/* A mount namespace of our own with a directory in it; what is mounted there goes with us. */
static bool own_mounts(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    !mkdtemp(dir) || mount("none", dir, "tmpfs", 0, "size=400m")) {
		rmdir(dir);
		ktap_mark_skipped("no mounts", "root, and a kernel with mount namespaces");
		return false;
	}
	return true;
}

static void end_mounts(void)
{
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

static const char *in_dir(const char *name)
{
	static char paths[4][120];
	static unsigned int n;
	char *path = paths[n++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

/* Map, copy both ways, share, truncate. */
static void works(const char *path, size_t block)
{
	char out[64] = "that is what the guest has written there", in[64] = "";
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), own;
	struct rmio_dma d;
	uint32_t i;

	rmio_dma_init(&d);
	T_REQUIRE(T_OK(fd >= 0));
	T_EQ(ftruncate(fd, (off_t)(4 * block)), 0);
	for (i = 0; i < 200; i++) {
		own = dup(fd);
		if (!T_EQ(rmio_dma_map(&d, i * 0x10000ull, PAGE, i % 4 * block, RW, &own), 0)) {
			ktap_diag("%s", d.why);
			break;
		}
		if (own >= 0)
			close(own);
	}
	T_LE(d.files.open + d.files.mapped, 4);
	T_EQ(rmio_dma_copy(&d, 0x10000 + 100, out, sizeof(out), true), 0);
	/* by another map of the same page */
	T_EQ(rmio_dma_copy(&d, 0x50000 + 100, in, sizeof(in), false), 0);
	T_MEMEQ(in, out, sizeof(out));
	T_OK(!rmio_dma_direct(&d, 0x10000, 1, false));
	T_EQ(ftruncate(fd, 0), 0);
	T_EQ(rmio_dma_copy(&d, 0x10000, in, sizeof(in), false), -EFAULT);
	rmio_dma_drop(&d);
	close(fd);
}

static void refused(const char *path, int flags, const char *words)
{
	int fd = open(path, flags | O_CLOEXEC);
	struct rmio_dma d;

	rmio_dma_init(&d);
	T_REQUIRE(T_OK(fd >= 0));
	T_EQ(rmio_dma_map(&d, 0, PAGE, 0, PROT_READ, &fd), -EINVAL);
	if (!T_OK(strstr(d.why, words)))
		ktap_diag("%s", d.why);
	rmio_dma_drop(&d);
	close(fd);
}

/* -- each of them ------------------------------------------------------------------------------ */

static void in_memory(void)
{
	if (!own_mounts())
		return;
	works(in_dir("file"), PAGE);
	T_EQ(mkdir(in_dir("m"), 0700), 0);
	T_EQ(mount("none", in_dir("m"), "ramfs", 0, NULL), 0);
	works(in_dir("m/file"), PAGE);
	end_mounts();
}

static void huge_pages(void)
{
	int fd;
	void *p;

	if (!own_mounts())
		return;
	T_EQ(mkdir(in_dir("m"), 0700), 0);
	if (mount("none", in_dir("m"), "hugetlbfs", 0, "pagesize=2M")) {
		end_mounts();
		T_SKIP("no hugetlbfs", "a kernel with CONFIG_HUGETLBFS");
	}
	fd = open(in_dir("m/probe"), O_RDWR | O_CREAT, 0600);
	p = ftruncate(fd, 8 << 20) ? MAP_FAILED : mmap(NULL, 8 << 20, RW, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		end_mounts();
		T_SKIP("no huge pages", "echo 16 > /proc/sys/vm/nr_hugepages");
	}
	munmap(p, 8 << 20);
	close(fd);
	works(in_dir("m/file"), 2 << 20);
	end_mounts();
}

static void overlay(void)
{
	char opts[400];
	int fd;

	if (!own_mounts())
		return;
	T_EQ(mkdir(in_dir("lower"), 0700), 0);
	T_EQ(mkdir(in_dir("upper"), 0700), 0);
	T_EQ(mkdir(in_dir("work"), 0700), 0);
	T_EQ(mkdir(in_dir("m"), 0700), 0);
	fd = open(in_dir("lower/file"), O_RDWR | O_CREAT, 0600);
	T_EQ(ftruncate(fd, PAGE), 0);
	close(fd);
	snprintf(opts, sizeof(opts), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir,
		 dir);
	if (mount("none", in_dir("m"), "overlay", 0, opts)) {
		end_mounts();
		T_SKIP("no overlayfs", "a kernel with CONFIG_OVERLAY_FS");
	}
	refused(in_dir("m/file"), O_RDONLY, "overlayfs is open for reading only");
	works(in_dir("m/file"), PAGE);
	works(in_dir("m/new"), PAGE);
	end_mounts();
}

static void on_disk(const char *fs, const char *mkfs)
{
	char cmd[600];
	int rc;

	snprintf(cmd, sizeof(cmd), "command -v %s >/dev/null", mkfs);
	rc = system(cmd);
	if (rc)
		T_SKIP("the file system cannot be made here", "its mkfs");
	if (!own_mounts())
		return;
	T_EQ(mkdir(in_dir("m"), 0700), 0);
	snprintf(cmd, sizeof(cmd), "cd %s && truncate -s 320M image && %s image >/dev/null 2>&1 && "
		 "mount -t %s -o loop image m 2>/dev/null", dir, mkfs, fs);
	rc = system(cmd);
	if (rc) {
		end_mounts();
		T_SKIP("it cannot be mounted here", "a kernel with it and with loop devices");
	}
	works(in_dir("m/file"), PAGE);
	end_mounts();
}

static void ext4(void)
{
	on_disk("ext4", "mkfs.ext4");
}

static void xfs(void)
{
	on_disk("xfs", "mkfs.xfs");
}

static void btrfs(void)
{
	on_disk("btrfs", "mkfs.btrfs");
}

static void f2fs(void)
{
	on_disk("f2fs", "mkfs.f2fs");
}

/* Numbers of Linux's ABI (6.18) that older headers do not name. */
#define GUEST_MEMFD_FLAGS_CAP	244
#define GUEST_MEMFD_SHARED	0x3ull	/* may be mapped, and begins as shared */

struct guest_memfd {
	uint64_t size, flags, reserved[6];
};

/* It cannot be truncated, but its pages may become private to the guest. */
static void guest_memfd(void)
{
	struct guest_memfd g = { .size = 4 * PAGE, .flags = GUEST_MEMFD_SHARED };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, fd, own;
	char out[64] = "what the guest sees", in[64] = "";
	struct rmio_dma d;

	if (kvm < 0)
		T_SKIP("no /dev/kvm that may be opened", "see `rmio doctor`");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0 || (ioctl(vm, KVM_CHECK_EXTENSION, GUEST_MEMFD_FLAGS_CAP) & 3) != 3)
		T_SKIP("no guest_memfd that may be mapped", "Linux 6.18 or later");
	fd = ioctl(vm, _IOWR(KVMIO, 0xd4, struct guest_memfd), &g);
	T_REQUIRE(T_GE(fd, 0));
	rmio_dma_init(&d);
	own = dup(fd);
	T_EQ(rmio_dma_map(&d, 0x10000, 4 * PAGE, 0, RW, &own), 0);
	T_STREQ(d.why, "");
	T_EQ(rmio_dma_copy(&d, 0x10000 + PAGE - 8, out, sizeof(out), true), 0);
	T_EQ(rmio_dma_copy(&d, 0x10000 + PAGE - 8, in, sizeof(in), false), 0);
	T_MEMEQ(in, out, sizeof(out));
	T_OK(!rmio_dma_direct(&d, 0x10000, 1, false));
	rmio_dma_drop(&d);
	close(fd);
	close(vm);
	close(kvm);
}

static void others(void)
{
	refused("/proc/self/status", O_RDONLY, "its file is on proc, which could keep");
	refused("/sys/kernel/uevent_seqnum", O_RDONLY, "its file is on sysfs, which could keep");
	refused("/dev/null", O_RDONLY, "is a character device, such as device DAX");
	refused("/", O_RDONLY, "is a directory");
}

/* Its name alone makes no guest_memfd of a file: it could be anywhere. */
static void called_guest_memfd(void)
{
	static const char *const names[] = { "m/[kvm-gmem]", "m/a [kvm-gmem] (deleted)" };
	struct rmio_dma_kind k;
	char why[RMIO_DMA_WHY];
	int fd, i, gone;

	if (!own_mounts())
		return;
	T_EQ(mkdir(in_dir("m"), 0700), 0);
	T_EQ(mount("none", in_dir("m"), "ramfs", 0, NULL), 0);
	for (i = 0; i < 2; i++)
		for (gone = 0; gone < 2; gone++) {
			fd = open(in_dir(names[i]), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
			T_REQUIRE(T_OK(fd >= 0));
			if (gone)
				unlink(in_dir(names[i]));
			T_EQ(rmio_dma_kind_look(fd, RW, &k, why), 0);
			T_EQ(rmio_dma_kind_of(fd, &k, why), 0);
			T_EQ(k.fs, RMIO_DMA_FS_DISK);
			close(fd);
		}
	end_mounts();
}

/* Where /proc is hidden a disk is known by its magic, and the rest is refused with that reason. */
static void no_proc(void)
{
	int fd;

	if (!own_mounts())
		return;
	fd = open(in_dir("file"), O_RDWR | O_CREAT, 0600);
	T_EQ(mkdir(in_dir("m"), 0700), 0);
	T_EQ(mount("none", in_dir("m"), "ramfs", 0, NULL), 0);
	close(fd);
	T_EQ(mount("none", "/proc", "tmpfs", 0, NULL), 0);
	fd = open(in_dir("m/file"), O_RDWR | O_CREAT, 0600);
	close(fd);
	refused(in_dir("m/file"), O_RDWR, "not in /proc/self/mountinfo");
	works(in_dir("file"), PAGE);
	/* The leak check at the end looks there. */
	T_EQ(umount("/proc"), 0);
	end_mounts();
}

static const struct ktap_test tests[] = {
	{ "tmpfs and ramfs", in_memory },
	{ "hugetlbfs", huge_pages },
	{ "overlayfs", overlay },
	{ "ext4", ext4 },
	{ "xfs", xfs },
	{ "btrfs", btrfs },
	{ "f2fs", f2fs },
	{ "guest_memfd", guest_memfd },
	{ "a name like that of guest_memfd", called_guest_memfd },
	{ "others", others },
	{ "no /proc", no_proc },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
