// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Attaches the program that a kernel device asks about each access: a struct_ops of kvm.ko,
 * read from the file that was built beside the bench. A skeleton of it would be made for
 * one libbpf, and Debian 12's knows no struct_ops of modules.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "asked.h"
#include "user_access.h"

#define COUNTS_SIZE	(RMIO_LANES_MAX * sizeof(struct user_access_counts))

struct asked {
	struct bpf_object *obj;
	struct bpf_link *link;
	struct user_access_counts *counts;
	uint8_t *filter;
};

/* The first fields of the kernel's, as bpf/user_access.bpf.c has them. */
struct kvm_user_ops {
	void *load, *store;
	int32_t master;
};

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

static int object_path(char *path, size_t size)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (n < 0)
		return -errno;
	exe[n] = 0;
	slash = strrchr(exe, '/');
	if (!slash)
		return -ENOENT;
	*slash = 0;
	n = snprintf(path, size, "%s/bpf/user_access.bpf.o", exe);
	return (size_t)n < size ? 0 : -ENAMETOOLONG;
}

/* Variables of the program, all of a section. */
static void *map_variables(struct bpf_object *obj, const char *section, size_t size)
{
	struct bpf_map *m = bpf_object__find_map_by_name(obj, section);
	void *at = MAP_FAILED;

	if (m && bpf_map__value_size(m) == size)
		at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(m), 0);
	return at == MAP_FAILED ? NULL : at;
}

static int add_rule(struct asked *a, uint64_t offset)
{
	struct bpf_map *rules = bpf_object__find_map_by_name(a->obj, "rules");
	struct user_access_rule key = { .offset = offset };
	uint32_t answer = RMIO_KVM_AS_MAPPED;

	if (!rules)
		return -EINVAL;
	a->filter[user_access_filter(0, offset)] = 1;
	return bpf_map_update_elem(bpf_map__fd(rules), &key, &answer, BPF_ANY);
}

static int attach(struct asked *a, int master, const uint64_t *rule)
{
	struct bpf_map *ops = bpf_object__find_map_by_name(a->obj, "user_access");
	struct kvm_user_ops *init;
	size_t size = 0;
	int err;

	init = ops ? (void *)(uintptr_t)bpf_map__initial_value(ops, &size) : NULL;
	if (!init || size < sizeof(*init))
		return -EINVAL;
	init->master = master;
	err = bpf_object__load(a->obj);
	if (err)
		return err;
	a->counts = map_variables(a->obj, ".bss.counts", COUNTS_SIZE);
	a->filter = map_variables(a->obj, ".bss", USER_ACCESS_FILTER);
	if (!a->counts || !a->filter)
		return -EINVAL;
	err = rule ? add_rule(a, *rule) : 0;
	if (err)
		return err;
	a->link = bpf_map__attach_struct_ops(ops);
	return a->link ? 0 : -errno;
}

int asked_new(struct bench_run *run, int master, const uint64_t *rule, struct asked **out)
{
	libbpf_print_fn_t print;
	char path[PATH_MAX];
	struct asked *a;
	int err;

	if (libbpf_major_version() == 1 && libbpf_minor_version() < 4)
		return bench_why(run, 1, "a struct_ops of a module takes libbpf 1.4, not %s; "
				 "selftests/vm/libbpf has one", libbpf_version_string());
	err = object_path(path, sizeof(path));
	if (err)
		return bench_why(run, err, "/proc/self/exe: %s", strerror(-err));
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	print = libbpf_set_print(quiet);
	a->obj = bpf_object__open_file(path, NULL);
	err = a->obj ? attach(a, master, rule) : -errno;
	libbpf_set_print(print);
	if (err) {
		asked_free(a);
		return bench_why(run, err == -EPERM ? 1 : err, "%s: %s%s", path, strerror(-err),
				 err == -EPERM ? "; run it as root" : "");
	}
	*out = a;
	return 0;
}

void asked_free(struct asked *a)
{
	if (!a)
		return;
	bpf_link__destroy(a->link);
	if (a->counts)
		munmap(a->counts, COUNTS_SIZE);
	if (a->filter)
		munmap(a->filter, USER_ACCESS_FILTER);
	bpf_object__close(a->obj);
	free(a);
}

uint64_t asked_loads(const struct asked *a)
{
	return __atomic_load_n(&a->counts[0].loads[2], __ATOMIC_RELAXED);
}
