/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A PCI function as a program in Linux sees it: found, enabled and mapped through sysfs, its
 * configuration space, and memory that it can reach by DMA.  Beside the data path; for programs
 * that run as root in a guest.
 */
#ifndef RMIO_SELFTESTS_GUEST_PCI_H
#define RMIO_SELFTESTS_GUEST_PCI_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PCI_DEVICES	"/sys/bus/pci/devices"
#define PAGE		4096u
#define GUEST_PCI_PLACE	256u		/* bytes of a name in PCI_DEVICES */

struct guest_pci {
	char dir[300];			/* of sysfs */
	int config;
	volatile uint8_t *bar;		/* BAR 0 */
	size_t size;
};

/* -- files of sysfs ------------------------------------------------------------------- */

static inline int attr_open(const struct guest_pci *p, const char *name, int flags)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	return open(path, flags | O_CLOEXEC);
}

/* The first line, without its end; false: there is no such file. */
static inline bool attr_text(const struct guest_pci *p, const char *name, char *text, size_t len)
{
	int fd = attr_open(p, name, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, len - 1);

	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = 0;
	text[strcspn(text, "\n")] = 0;
	return n >= 0;
}

static inline uint32_t attr_number(const struct guest_pci *p, const char *name)
{
	char text[64];

	return attr_text(p, name, text, sizeof(text)) ? (uint32_t)strtoul(text, NULL, 0) :
							UINT32_MAX;
}

static inline int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

static inline int attr_write_one(const struct guest_pci *p, const char *name)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	return write_text(path, "1");
}

/* -- the function --------------------------------------------------------------------- */

static inline void guest_pci_close(struct guest_pci *p)
{
	if (p->bar)
		munmap((void *)p->bar, p->size);
	if (p->config >= 0)
		close(p->config);
	p->bar = NULL;
	p->config = -1;
}

/* Where it is, as 0000:00:01.0. */
static inline const char *guest_pci_place(const struct guest_pci *p)
{
	return strrchr(p->dir, '/') + 1;
}

/* The function there, enabled, with BAR 0 mapped. */
static inline int guest_pci_open_at(struct guest_pci *p, const char *place)
{
	struct stat st;
	void *bar;
	int fd, err;

	*p = (struct guest_pci){ .config = -1 };
	snprintf(p->dir, sizeof(p->dir), PCI_DEVICES "/%s", place);
	err = attr_write_one(p, "enable");
	if (err)
		return err;
	p->config = attr_open(p, "config", O_RDWR);
	fd = attr_open(p, "resource0", O_RDWR | O_SYNC);
	if (p->config < 0 || fd < 0 || fstat(fd, &st))
		return -errno;
	p->size = (size_t)st.st_size;
	bar = mmap(NULL, p->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	err = bar == MAP_FAILED ? -errno : 0;
	close(fd);
	p->bar = err ? NULL : bar;
	return err;
}

/* How many functions have these ids, @max at most, and where they are. */
static inline uint32_t guest_pci_places(char (*places)[GUEST_PCI_PLACE], uint32_t max,
					uint32_t vendor, uint32_t device)
{
	DIR *dir = opendir(PCI_DEVICES);
	struct guest_pci p;
	struct dirent *e;
	uint32_t n = 0;

	while (dir && n < max && (e = readdir(dir))) {
		snprintf(p.dir, sizeof(p.dir), PCI_DEVICES "/%s", e->d_name);
		if (*e->d_name != '.' && attr_number(&p, "vendor") == vendor &&
		    attr_number(&p, "device") == device)
			snprintf(places[n++], GUEST_PCI_PLACE, "%s", e->d_name);
	}
	if (dir)
		closedir(dir);
	return n;
}

/* The first of them. */
static inline int guest_pci_open(struct guest_pci *p, uint32_t vendor, uint32_t device)
{
	char place[1][GUEST_PCI_PLACE];

	*p = (struct guest_pci){ .config = -1 };
	if (!guest_pci_places(place, 1, vendor, device))
		return -ENODEV;
	return guest_pci_open_at(p, place[0]);
}

static inline uint32_t config_get(const struct guest_pci *p, uint32_t off, uint32_t len)
{
	uint32_t value = 0;

	if (pread(p->config, &value, len, off) != (ssize_t)len)
		return UINT32_MAX;
	return value;
}

static inline void config_put(const struct guest_pci *p, uint32_t off, uint32_t value, uint32_t len)
{
	if (pwrite(p->config, &value, len, off) != (ssize_t)len)
		perror("config");
}

/* Clear these bits of the command register and set those. */
static inline void command(const struct guest_pci *p, uint32_t clear, uint32_t set)
{
	config_put(p, PCI_COMMAND, (config_get(p, PCI_COMMAND, 2) & ~clear) | set, 2);
}

/* -- memory --------------------------------------------------------------------------- */

/* Where a page of this process is in the guest's memory; 0: nobody says so. */
static inline uint64_t page_address(const void *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)page / PAGE * 8)) != 8)
		entry = 0;
	if (fd >= 0)
		close(fd);
	/* Bit 63: present; 0 to 54: number of the frame. */
	return entry >> 63 ? (entry & ((1ull << 55) - 1)) * PAGE : 0;
}

/* A page that stays where it is; NULL: there is none to be had. */
static inline uint8_t *locked_page(int prot)
{
	uint8_t *page = mmap(NULL, PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);

	if (page == MAP_FAILED)
		return NULL;
	memset(page, 0, PAGE);
	return page_address(page) ? page : NULL;
}

#endif
