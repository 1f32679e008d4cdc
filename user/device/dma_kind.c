// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Kinds of files for guest memory: which are taken, and how each is reached.  Beside the data path.
 *
 * A file on a network or user-space file system could answer never, and the devices of a loop wait
 * for each other: only memory, and what is on a disk of this machine.  Which file system it is must
 * be found out without asking that file system.
 */
#include "dma_kind.h"
#include "wire/foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC	0x58465342
#endif

#define PAGE	4096u
#define TAKEN	"memfds and files on tmpfs, hugetlbfs, ramfs, ext4, xfs, btrfs, f2fs and overlayfs"

int rmio_dma_refuse(char why[RMIO_DMA_WHY], int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, RMIO_DMA_WHY, fmt, ap);
	va_end(ap);
	return err;
}

/* -- the name of a file system ------------------------------------------------------------- */

/*
 * Of the mount @id in our mount namespace: the word behind " - ".  mountinfo is the kernel's own,
 * no file system is asked for it.
 */
static bool mount_type(uint64_t id, char name[32])
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	unsigned long long this;
	bool found = false;
	char *line = NULL;
	const char *dash;
	size_t room = 0;

	if (!f)
		return false;
	while (!found && getline(&line, &room, f) > 0) {
		dash = strstr(line, " - ");
		found = sscanf(line, "%llu ", &this) == 1 && this == id && dash &&
			sscanf(dash, " - %31s", name) == 1;
	}
	free(line);
	fclose(f);
	return found;
}

/*
 * By its name, which no file in a directory may have for itself: of an anonymous inode, which no
 * path looks like; or, where guest_memfd is a file system of its own, like a deleted file in a
 * root.  That one has no handles, which a file system in user space always has.
 */
static bool is_guest_memfd(int fd)
{
	struct file_handle none = { 0 };
	char path[40], link[64] = "";
	int mount;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, link, sizeof(link) - 1) < 0)
		return false;
	if (!strcmp(link, "anon_inode:[kvm-gmem]"))
		return true;
	return !strcmp(link, "/[kvm-gmem] (deleted)") &&
	       name_to_handle_at(fd, "", &none, &mount, AT_EMPTY_PATH) && errno == EOPNOTSUPP;
}

/* Without the mount's name: on a block device, of which the file system is asked then. */
static bool on_known_disk(int fd, const struct statx *st)
{
	struct statfs fs;

	if (!st->stx_dev_major || fstatfs(fd, &fs))
		return false;
	return (unsigned long)fs.f_type == EXT4_SUPER_MAGIC ||
	       (unsigned long)fs.f_type == XFS_SUPER_MAGIC;
}

static int by_name(const char *name, int mode, enum rmio_dma_fs *fs, char why[RMIO_DMA_WHY])
{
	/* The root of an initramfs is called rootfs, whatever it is. */
	static const char *const disks[] = {
		"ramfs", "rootfs", "ext4", "ext3", "ext2", "xfs", "btrfs", "f2fs",
	};
	uint32_t i;

	for (i = 0; i < sizeof(disks) / sizeof(disks[0]); i++) {
		if (!strcmp(name, disks[i])) {
			*fs = RMIO_DMA_FS_DISK;
			return 0;
		}
	}
	if (strcmp(name, "overlay"))
		return rmio_dma_refuse(why, -EINVAL, "its file is on %s, which could keep the "
				       "device waiting: %s are taken", name, TAKEN);
	/* What is written lies in the upper layer, never on a network; a lower one may. */
	if (mode != O_RDWR)
		return rmio_dma_refuse(why, -EINVAL, "its file on overlayfs is open for reading only, "
				       "so that it may lie in a layer that is on a network");
	*fs = RMIO_DMA_FS_OVERLAY;
	return 0;
}

/* -- the kind -------------------------------------------------------------------------------- */

static const char *type_name(unsigned int mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFCHR:
		return "a character device, such as device DAX, which may lose its memory at any time";
	case S_IFBLK:
		return "a block device";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	default:
		return "no file";
	}
}

int rmio_dma_kind_look(int fd, int prot, struct rmio_dma_kind *k, char why[RMIO_DMA_WHY])
{
	int flags = fcntl(fd, F_GETFL);
	struct statx st;

	if (flags < 0 || (flags & O_PATH))
		return rmio_dma_refuse(why, -EINVAL, "its descriptor is not open, or O_PATH");
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &st))
		return rmio_dma_refuse(why, -EINVAL, "its descriptor cannot be examined");
	if (!S_ISREG(st.stx_mode))
		return rmio_dma_refuse(why, -EINVAL, "its descriptor is %s, but has to be a file",
				       type_name(st.stx_mode));
	k->mode = flags & O_ACCMODE;
	/* A shared mapping to write to needs a file that is open for both. */
	if (k->mode == O_WRONLY || ((prot & PROT_WRITE) && k->mode != O_RDWR))
		return rmio_dma_refuse(why, -EACCES, "its file is open for %s only",
				       k->mode == O_WRONLY ? "writing" : "reading");
	k->dev = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor;
	k->ino = st.stx_ino;
	return 0;
}

/* Either of the kinds that have seals, or -EINVAL. */
static int of_memory(int fd, struct rmio_dma_kind *k, char why[RMIO_DMA_WHY])
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return rmio_dma_refuse(why, -EINVAL, "its file system cannot be examined");
	if ((unsigned int)fs.f_type == HUGETLBFS_MAGIC) {
		k->fs = RMIO_DMA_FS_HUGE;
		k->block = (uint32_t)fs.f_bsize;
	} else {
		k->fs = RMIO_DMA_FS_MEMORY;
	}
	return 0;
}

int rmio_dma_kind_of(int fd, struct rmio_dma_kind *k, char why[RMIO_DMA_WHY])
{
	struct statx st;
	char name[32];

	k->block = PAGE;
	if (rmio_foreign_is_memory(fd))
		return of_memory(fd, k, why);
	if (is_guest_memfd(fd)) {
		k->fs = RMIO_DMA_FS_GUEST;
		return 0;
	}
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MNT_ID, &st))
		return rmio_dma_refuse(why, -EINVAL, "its descriptor cannot be examined");
	if ((st.stx_mask & STATX_MNT_ID) && mount_type(st.stx_mnt_id, name))
		return by_name(name, k->mode, &k->fs, why);
	if (!on_known_disk(fd, &st))
		return rmio_dma_refuse(why, -EINVAL, "its file system cannot be told, since it is not in "
				       "/proc/self/mountinfo: %s are taken", TAKEN);
	k->fs = RMIO_DMA_FS_DISK;
	return 0;
}

/* -- the way ----------------------------------------------------------------------------------- */

/* pwrite(2) beyond that limit, in a file that was truncated, would raise SIGXFSZ. */
static bool within_file_limit(uint64_t end)
{
	struct rlimit r;

	return !getrlimit(RLIMIT_FSIZE, &r) && (r.rlim_cur == RLIM_INFINITY || end <= r.rlim_cur);
}

int rmio_dma_kind_way(int fd, const struct rmio_dma_kind *k, uint64_t end, int prot,
		      enum rmio_dma_way *way, uint64_t *size, char why[RMIO_DMA_WHY])
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (fstat(fd, &st))
		return rmio_dma_refuse(why, -EINVAL, "its descriptor cannot be examined");
	if (st.st_size < 0 || (uint64_t)st.st_size < end)
		return rmio_dma_refuse(why, -EINVAL, "its file has %lld bytes only",
				       (long long)st.st_size);
	/* A mapping may be there from before. */
	if ((prot & PROT_WRITE) && seals >= 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		return rmio_dma_refuse(why, -EACCES, "its file is sealed against writing");
	*size = (uint64_t)st.st_size;
	*way = within_file_limit(end) ? RMIO_DMA_FILE : RMIO_DMA_PIPE;
	switch (k->fs) {
	case RMIO_DMA_FS_HUGE:
	case RMIO_DMA_FS_GUEST:
		*way = RMIO_DMA_PIPE;
		break;
	case RMIO_DMA_FS_MEMORY:
		if (seals >= 0 && (seals & F_SEAL_SHRINK))
			*way = RMIO_DMA_DIRECT;
		break;
	case RMIO_DMA_FS_DISK:
	case RMIO_DMA_FS_OVERLAY:
		break;
	}
	return 0;
}

bool rmio_dma_kind_same(const struct rmio_dma_kind *a, const struct rmio_dma_kind *b)
{
	/* Of an overlay too: what is open for writing is the copy in the upper layer already. */
	return a->dev == b->dev && a->ino == b->ino && a->mode == b->mode;
}
