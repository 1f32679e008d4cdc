// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Loads and attaches the BPF program of a VM, and keeps its tables.  Beside the data
 * path.  Nothing is pinned: program and maps go when the last descriptor does.
 */
#include "bpf.h"
#include "memfd.h"
#include "mmio_filter.skel.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.9; the value is O_EXCL's. */
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif
#define VERIFIER_LOG	(64 * 1024)
#define VERIFIER_LINES	4	/* of it, shown */

struct rmio_bpf {
	struct mmio_filter *skel;
	uint32_t vcpus;
	bool by_id;
	struct rmio_bpf_vcpu *state;
	uint64_t state_size;
	uint64_t used[RMIO_BPF_DEVS / 64];
};

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

static void explain(char *why, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
}

/* The last lines of the verifier's log, on one line. */
static void explain_refusal(char *why, size_t len, const char *log)
{
	const char *end = log + strlen(log), *at;
	int lines = 0;
	size_t n;
	char *c;

	while (end > log && end[-1] == '\n')
		end--;
	for (at = end; at > log; at--)
		if (at[-1] == '\n' && ++lines == VERIFIER_LINES)
			break;
	explain(why, len, "the kernel's verifier refuses the BPF program: ");
	n = strlen(why);
	snprintf(why + n, len - n, "%.*s", (int)(end - at), at);
	for (c = why; *c; c++)
		if (*c == '\n')
			*c = ' ';
}

static int thread_pidfd(pid_t tid)
{
	int fd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);

	return fd < 0 ? -errno : fd;
}

static int open_skel(struct rmio_bpf *b, const struct rmio_bpf_opts *o)
{
	int fd;

	b->skel = mmio_filter__open();
	if (!b->skel)
		return -errno;
	b->vcpus = o->vcpus;
	fd = thread_pidfd((pid_t)syscall(SYS_gettid));
	b->by_id = fd < 0;
	if (fd >= 0)
		close(fd);
	b->skel->rodata->vmm_tgid = (uint32_t)getpid();
	b->skel->rodata->kick_signal = o->kick_signal;
#if defined(__x86_64__) || defined(__i386__)
	b->skel->rodata->stores_in_order = true;
#endif
	b->skel->rodata->threads_by_id = b->by_id;
	bpf_map__set_max_entries(b->skel->maps.vcpus, o->vcpus);
	return 0;
}

static int load(struct rmio_bpf *b, char *why, size_t len)
{
	char *log = calloc(1, VERIFIER_LOG);
	int err;

	if (!log)
		return -ENOMEM;
	bpf_program__set_log_buf(b->skel->progs.rmio_mmio, log, VERIFIER_LOG);
	err = mmio_filter__load(b->skel);
	if (!err)
		err = mmio_filter__attach(b->skel);
	if (err == -EPERM)
		explain(why, len, "loading BPF programs needs CAP_BPF and CAP_PERFMON");
	else if (err == -ESRCH || err == -ENOENT)
		explain(why, len, "this kernel has no tracepoint kvm_mmio with BTF");
	else if (err && log[0])
		explain_refusal(why, len, log);
	else if (err)
		explain(why, len, "cannot load the BPF program: %s", strerror(-err));
	bpf_program__set_log_buf(b->skel->progs.rmio_mmio, NULL, 0);
	free(log);
	return err;
}

int rmio_bpf_new(const struct rmio_bpf_opts *opts, struct rmio_bpf **out, char *why, size_t len)
{
	static pthread_mutex_t printing = PTHREAD_MUTEX_INITIALIZER;
	struct rmio_bpf *b = calloc(1, sizeof(*b));
	libbpf_print_fn_t print;
	int err;

	if (!b)
		return -ENOMEM;
	/* libbpf's messages are the process's; ours are in @why. */
	pthread_mutex_lock(&printing);
	print = libbpf_set_print(quiet);
	err = open_skel(b, opts);
	if (err)
		explain(why, len, "cannot read the BPF object: %s", strerror(-err));
	else
		err = load(b, why, len);
	libbpf_set_print(print);
	pthread_mutex_unlock(&printing);
	if (err)
		goto destroy;

	b->state_size = rmio_pages(opts->vcpus * sizeof(struct rmio_bpf_vcpu));
	b->state = mmap(NULL, b->state_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			bpf_map__fd(b->skel->maps.vcpus), 0);
	if (b->state == MAP_FAILED) {
		err = -errno;
		explain(why, len, "cannot map the state of vCPUs: %s", strerror(errno));
		goto destroy;
	}
	*out = b;
	return 0;

destroy:
	mmio_filter__destroy(b->skel);
	free(b);
	return err;
}

void rmio_bpf_free(struct rmio_bpf *b)
{
	if (!b)
		return;
	munmap(b->state, b->state_size);
	mmio_filter__destroy(b->skel);
	free(b);
}

struct rmio_bpf_vcpu *rmio_bpf_vcpu(struct rmio_bpf *b, uint32_t vcpu)
{
	return &b->state[vcpu];
}

/* -- threads ------------------------------------------------------------------- */

int rmio_bpf_thread_bind(struct rmio_bpf *b, uint32_t vcpu, pid_t *tid, int *pidfd)
{
	int err;

	*tid = (pid_t)syscall(SYS_gettid);
	*pidfd = -1;
	if (b->by_id)
		return bpf_map_update_elem(bpf_map__fd(b->skel->maps.thread_ids), tid, &vcpu,
					   BPF_ANY);
	*pidfd = thread_pidfd(*tid);
	if (*pidfd < 0)
		return *pidfd;
	err = bpf_map_update_elem(bpf_map__fd(b->skel->maps.threads), pidfd, &vcpu, BPF_ANY);
	if (err) {
		close(*pidfd);
		*pidfd = -1;
	}
	return err;
}

void rmio_bpf_thread_unbind(struct rmio_bpf *b, pid_t tid, int pidfd)
{
	if (b->by_id) {
		bpf_map_delete_elem(bpf_map__fd(b->skel->maps.thread_ids), &tid);
		return;
	}
	bpf_map_delete_elem(bpf_map__fd(b->skel->maps.threads), &pidfd);
	close(pidfd);
}

bool rmio_bpf_stray(struct rmio_bpf *b, pid_t tid, struct rmio_bpf_stray *s)
{
	int fd = bpf_map__fd(b->skel->maps.strays);

	if (bpf_map_lookup_elem(fd, &tid, s))
		return false;
	bpf_map_delete_elem(fd, &tid);
	return true;
}

/* -- devices ----------------------------------------------------------------------- */

static int new_array(const char *name, uint32_t value_size, uint32_t n, const struct btf *btf,
		     const char *type)
{
	LIBBPF_OPTS(bpf_map_create_opts, o, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	int id = btf && type ? btf__find_by_name_kind(btf, type, BTF_KIND_STRUCT) : -1;
	int key = btf ? btf__find_by_name_kind(btf, "unsigned int", BTF_KIND_INT) : -1;

	if (id > 0 && key > 0) {
		o.btf_fd = (uint32_t)btf__fd(btf);
		o.btf_key_type_id = (uint32_t)key;
		o.btf_value_type_id = (uint32_t)id;
	}
	return bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(uint32_t), value_size, n, &o);
}

static void *map_array(int fd, uint64_t size, bool write)
{
	void *p = mmap(NULL, size, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int take_slot(struct rmio_bpf *b)
{
	uint32_t i;

	for (i = 0; i < RMIO_BPF_DEVS; i++)
		if (!(b->used[i / 64] >> (i % 64) & 1)) {
			b->used[i / 64] |= 1ull << (i % 64);
			return (int)i;
		}
	return -ENOSPC;
}

static int put_in(const struct bpf_map *outer, uint32_t slot, int fd)
{
	return bpf_map_update_elem(bpf_map__fd(outer), &slot, &fd, BPF_ANY);
}

static void take_out(struct rmio_bpf *b, uint32_t slot)
{
	struct bpf_map *const outer[] = {
		b->skel->maps.lanes, b->skel->maps.downs, b->skel->maps.ups, b->skel->maps.shadows,
	};
	size_t i;

	for (i = 0; i < sizeof(outer) / sizeof(outer[0]); i++)
		bpf_map_delete_elem(bpf_map__fd(outer[i]), &slot);
}

static void unmap_dev(struct rmio_bpf_dev *d)
{
	if (d->down)
		munmap(d->down, d->down_size);
	if (d->up)
		munmap((void *)d->up, d->up_size);
	if (d->lanes)
		munmap(d->lanes, d->lanes_size);
	if (d->down_fd >= 0)
		close(d->down_fd);
	if (d->up_fd >= 0)
		close(d->up_fd);
	if (d->lanes_fd >= 0)
		close(d->lanes_fd);
}

static int make_arrays(struct rmio_bpf *b, uint32_t lanes, struct rmio_bpf_dev *d)
{
	const struct btf *btf = bpf_object__btf(b->skel->obj);

	d->down_size = RMIO_PAGE * (1 + (uint64_t)lanes * d->lane_pages);
	d->up_size = RMIO_PAGE * (1 + (uint64_t)lanes);
	d->lanes_size = rmio_pages(lanes * sizeof(struct rmio_bpf_lane));
	d->down_fd = new_array("rmio_down", RMIO_PAGE, (uint32_t)(d->down_size / RMIO_PAGE), NULL,
			       NULL);
	if (d->down_fd < 0)
		return d->down_fd;
	d->up_fd = new_array("rmio_up", RMIO_PAGE, 1 + lanes, NULL, NULL);
	if (d->up_fd < 0)
		return d->up_fd;
	d->lanes_fd = new_array("rmio_lanes", sizeof(struct rmio_bpf_lane), lanes, btf,
				"rmio_bpf_lane");
	if (d->lanes_fd < 0)
		return d->lanes_fd;
	d->down = map_array(d->down_fd, d->down_size, true);
	d->up = map_array(d->up_fd, d->up_size, false);
	d->lanes = map_array(d->lanes_fd, d->lanes_size, true);
	return d->down && d->up && d->lanes ? 0 : -ENOMEM;
}

int rmio_bpf_dev_new(struct rmio_bpf *b, uint32_t lanes, uint32_t slots, struct rmio_bpf_dev *d)
{
	int slot, err;

	*d = (struct rmio_bpf_dev){
		.down_fd = -1,
		.up_fd = -1,
		.lanes_fd = -1,
		.slots = slots,
		.lane_pages = 1 + (uint32_t)(rmio_pages(slots * sizeof(struct rmio_request)) /
					     RMIO_PAGE),
	};
	slot = take_slot(b);
	if (slot < 0)
		return slot;
	d->slot = (uint32_t)slot;
	err = make_arrays(b, lanes, d);
	if (!err)
		err = put_in(b->skel->maps.downs, d->slot, d->down_fd);
	if (!err)
		err = put_in(b->skel->maps.ups, d->slot, d->up_fd);
	if (!err)
		err = put_in(b->skel->maps.lanes, d->slot, d->lanes_fd);
	if (err)
		rmio_bpf_dev_free(b, d);
	return err;
}

void rmio_bpf_dev_free(struct rmio_bpf *b, struct rmio_bpf_dev *d)
{
	/* Each deletion returns when no program uses the map any more. */
	take_out(b, d->slot);
	unmap_dev(d);
	b->used[d->slot / 64] &= ~(1ull << (d->slot % 64));
}

int rmio_bpf_shadow_new(uint64_t size)
{
	if (size / RMIO_PAGE > UINT32_MAX)
		return -E2BIG;
	return new_array("rmio_shadow", RMIO_PAGE, (uint32_t)(size / RMIO_PAGE), NULL, NULL);
}

int rmio_bpf_dev_shadow(struct rmio_bpf *b, struct rmio_bpf_dev *d, int fd)
{
	if (fd >= 0)
		return put_in(b->skel->maps.shadows, d->slot, fd);
	bpf_map_delete_elem(bpf_map__fd(b->skel->maps.shadows), &d->slot);
	return 0;
}

/* -- stores ------------------------------------------------------------------------- */

int rmio_bpf_reg_set(struct rmio_bpf *b, uint64_t gpa, uint32_t len, const struct rmio_bpf_reg *to)
{
	struct rmio_bpf_reg_key key = { .gpa = gpa, .len = len };

	return bpf_map_update_elem(bpf_map__fd(b->skel->maps.regs), &key, to, BPF_ANY);
}

void rmio_bpf_reg_clear(struct rmio_bpf *b, uint64_t gpa, uint32_t len)
{
	struct rmio_bpf_reg_key key = { .gpa = gpa, .len = len };

	bpf_map_delete_elem(bpf_map__fd(b->skel->maps.regs), &key);
}

int rmio_bpf_zone_set(struct rmio_bpf *b, uint64_t page, const struct rmio_bpf_zone *z)
{
	return bpf_map_update_elem(bpf_map__fd(b->skel->maps.zones), &page, z, BPF_ANY);
}

void rmio_bpf_zone_clear(struct rmio_bpf *b, uint64_t page)
{
	bpf_map_delete_elem(bpf_map__fd(b->skel->maps.zones), &page);
}

int rmio_bpf_page_set(struct rmio_bpf *b, uint64_t page, uint32_t slot)
{
	return bpf_map_update_elem(bpf_map__fd(b->skel->maps.pages), &page, &slot, BPF_ANY);
}

void rmio_bpf_page_clear(struct rmio_bpf *b, uint64_t page)
{
	bpf_map_delete_elem(bpf_map__fd(b->skel->maps.pages), &page);
}
