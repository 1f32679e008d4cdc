// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What users have of what `rmio bpfd` made.  A descriptor can be kept by whoever had it
 * once, so the end of a connection says nothing; the kernel is asked for the maps by
 * their numbers.  A program that is attached has its maps.  Beside the data path.
 */
#include "account.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NO_MAP	0x7fffffffu	/* nobody will ever have made so many */

static int get_map(uint32_t id)
{
	union bpf_attr a;

	memset(&a, 0, sizeof(a));
	a.map_id = id;
	return (int)syscall(SYS_bpf, BPF_MAP_GET_FD_BY_ID, &a, sizeof(a));
}

static int map_info(int fd, struct bpf_map_info *info)
{
	union bpf_attr a;

	memset(&a, 0, sizeof(a));
	memset(info, 0, sizeof(*info));
	a.info.bpf_fd = (uint32_t)fd;
	a.info.info_len = sizeof(*info);
	a.info.info = (uintptr_t)info;
	return syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &a, sizeof(a)) ? -errno : 0;
}

void account_init(struct account *a)
{
	int fd = get_map(NO_MAP);

	*a = (struct account){ .blind = fd < 0 && errno == EPERM };
	if (fd >= 0)
		close(fd);
}

void account_exit(struct account *a)
{
	free(a->entries);
}

int account_add(struct account *a, uid_t uid, uint32_t owner, const int *fds, size_t n,
		bool program)
{
	size_t room = a->room ? a->room : 64, i;
	struct bpf_map_info info;
	void *p;
	int err;

	while (room < a->nr + n)
		room *= 2;
	if (room > a->room) {
		account_sweep(a);
		p = reallocarray(a->entries, room, sizeof(*a->entries));
		if (!p)
			return -ENOMEM;
		a->entries = p;
		a->room = room;
	}
	for (i = 0; i < n; i++) {
		err = map_info(fds[i], &info);
		if (err)
			return err;
		a->entries[a->nr + i] = (struct account_entry){
			.map = info.id,
			.owner = owner,
			.uid = uid,
			.program = program,
			.bytes = program ? 0 : (uint64_t)info.value_size * info.max_entries,
		};
	}
	a->nr += n;
	return 0;
}

static bool is_there(uint32_t map)
{
	int fd = get_map(map);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || errno != ENOENT;
}

void account_sweep(struct account *a)
{
	size_t i, n = 0;

	if (a->blind)
		return;
	for (i = 0; i < a->nr; i++)
		if (is_there(a->entries[i].map))
			a->entries[n++] = a->entries[i];
	a->nr = n;
}

/* The maps of a program were added at once and stay in order. */
struct account_sum account_sum(const struct account *a, uid_t uid, uint32_t owner)
{
	struct account_sum s = { 0 };
	uint32_t last = 0;
	size_t i;

	for (i = 0; i < a->nr; i++) {
		const struct account_entry *e = &a->entries[i];

		if ((uid != ACCOUNT_ALL && e->uid != uid) || (owner && e->owner != owner))
			continue;
		if (!e->program) {
			s.arrays++;
			s.bytes += e->bytes;
		} else if (e->owner != last) {
			s.programs++;
			last = e->owner;
		}
	}
	return s;
}

void account_end(struct account *a, uint32_t owner)
{
	size_t i, n = 0;

	if (!a->blind)
		return;
	for (i = 0; i < a->nr; i++)
		if (a->entries[i].owner != owner)
			a->entries[n++] = a->entries[i];
	a->nr = n;
}
