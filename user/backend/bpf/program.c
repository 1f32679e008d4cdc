// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The BPF program of a VM, from this process or from the broker, and its tables.
 * Beside the data path.
 */
#include "hush.h"
#include "memfd.h"
#include "program_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

static int load_here(struct rmio_bpf *b, const struct rmio_bpf_opts *o, char *why, size_t len)
{
	struct rmio_bpf_load l = { .vcpus = o->vcpus, .kick_signal = o->kick_signal };
	int err = rmio_bpf_object_new(&l, &b->object, why, len);

	if (err)
		return err;
	rmio_bpf_object_fds(b->object, b->fd);
	b->by_id = rmio_bpf_object_by_id(b->object);
	return 0;
}

static int load_there(struct rmio_bpf *b, const struct rmio_bpf_opts *o, char *why, size_t len)
{
	struct rmio_broker_request r = {
		.type = RMIO_BROKER_LOAD,
		.a = o->vcpus,
		.b = o->kick_signal,
	};
	struct rmio_broker_answer a = { .why = "" };
	int err;

	b->broker = rmio_broker_connect(o->broker);
	if (b->broker < 0) {
		err = b->broker;
		snprintf(why, len, "broker %s: %s", o->broker, strerror(-err));
		return err;
	}
	err = rmio_broker_ask(b->broker, &r, &a, b->fd, RMIO_BPF_FDS);
	if (err) {
		snprintf(why, len, "broker %s: %s", o->broker, a.why[0] ? a.why : strerror(-err));
		close(b->broker);
		return err;
	}
	b->by_id = a.by_id;
	return 0;
}

static void unload(struct rmio_bpf *b)
{
	int i;

	rmio_bpf_object_free(b->object);
	if (b->object)
		return;
	for (i = 0; i < RMIO_BPF_FDS; i++)
		close(b->fd[i]);
	close(b->broker);
}

/* The tables have changed: what vCPUs remember of them is void.  Any thread, any time. */
static void new_tables(struct rmio_bpf *b)
{
	uint32_t i;

	/* Each counts for itself, from 1, and is as good as never back where it was. */
	for (i = 0; i < b->vcpus; i++)
		if (!__atomic_add_fetch(&b->state[i].generation, 1, __ATOMIC_RELEASE))
			__atomic_add_fetch(&b->state[i].generation, 1, __ATOMIC_RELEASE);
}

static int one_sleeper(void *ctx, void *data, size_t len)
{
	const struct rmio_bpf *b = ctx;
	uint32_t slot;

	if (len < sizeof(slot))
		return 0;
	memcpy(&slot, data, sizeof(slot));
	b->wake(b->wake_arg, slot);
	return 0;
}

int rmio_bpf_sleepers_fd(const struct rmio_bpf *b)
{
	return ring_buffer__epoll_fd(b->sleepers);
}

void rmio_bpf_sleepers(struct rmio_bpf *b, void (*wake)(void *arg, uint32_t slot), void *arg)
{
	b->wake = wake;
	b->wake_arg = arg;
	ring_buffer__consume(b->sleepers);
}

int rmio_bpf_new(const struct rmio_bpf_opts *opts, struct rmio_bpf **out, char *why, size_t len)
{
	struct rmio_bpf *b = calloc(1, sizeof(*b));
	libbpf_print_fn_t print;
	int err;

	if (!b)
		return -ENOMEM;
	b->broker = -1;
	pthread_mutex_init(&b->lock, NULL);
	rmio_bpf_slots_init(b);
	err = opts->broker ? load_there(b, opts, why, len) : load_here(b, opts, why, len);
	if (err)
		goto free_bpf;
	b->state_size = rmio_pages(opts->vcpus * sizeof(struct rmio_bpf_vcpu));
	b->state = mmap(NULL, b->state_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			b->fd[RMIO_BPF_FD_VCPUS], 0);
	if (b->state == MAP_FAILED) {
		err = -errno;
		snprintf(why, len, "cannot map the state of vCPUs: %s", strerror(errno));
		goto unload;
	}
	print = rmio_bpf_hush();
	b->sleepers = ring_buffer__new(b->fd[RMIO_BPF_FD_SLEEPERS], one_sleeper, b, NULL);
	err = -errno;
	rmio_bpf_unhush(print);
	if (!b->sleepers) {
		snprintf(why, len, "cannot map the ring buffer of sleepers: %s", strerror(errno));
		goto unmap;
	}
	b->vcpus = opts->vcpus;
	new_tables(b);
	*out = b;
	return 0;

unmap:
	munmap(b->state, b->state_size);
unload:
	unload(b);
free_bpf:
	rmio_bpf_slots_exit(b);
	pthread_mutex_destroy(&b->lock);
	free(b);
	return err;
}

void rmio_bpf_free(struct rmio_bpf *b)
{
	if (!b)
		return;
	ring_buffer__free(b->sleepers);
	munmap(b->state, b->state_size);
	rmio_bpf_slots_exit(b);
	unload(b);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

int rmio_bpf_program(const struct rmio_bpf *b, uint32_t *id, uint64_t *runs, uint64_t *ns)
{
	struct bpf_link_info link = { 0 };
	struct bpf_prog_info prog = { 0 };
	uint32_t len = sizeof(link);
	int err = bpf_obj_get_info_by_fd(b->fd[RMIO_BPF_FD_LINK], &link, &len);
	int fd;

	if (err)
		return err;
	*id = link.prog_id;
	*runs = *ns = 0;
	/* What the broker has loaded may not be looked at without privileges. */
	fd = b->object ? dup(rmio_bpf_object_prog(b->object)) : bpf_prog_get_fd_by_id(*id);
	if (fd < 0)
		return 0;
	len = sizeof(prog);
	if (!bpf_obj_get_info_by_fd(fd, &prog, &len)) {
		*runs = prog.run_cnt;
		*ns = prog.run_time_ns;
	}
	close(fd);
	return 0;
}

static int own_maps(const struct rmio_bpf *b, int (*map)(void *arg, const char *name, uint32_t id),
		    void *arg)
{
	static const struct {
		int fd;
		const char *name;
	} list[] = {
		{ RMIO_BPF_FD_VCPUS, "vcpus" },	    { RMIO_BPF_FD_REGS, "regs" },
		{ RMIO_BPF_FD_ZONES, "zones" },	    { RMIO_BPF_FD_PAGES, "pages" },
		{ RMIO_BPF_FD_THREADS, "threads" }, { RMIO_BPF_FD_THREAD_IDS, "thread_ids" },
		{ RMIO_BPF_FD_STRAYS, "strays" },
	};
	size_t i;
	int err;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		struct bpf_map_info info = { 0 };
		uint32_t len = sizeof(info);

		/* Of the two that know threads there is one. */
		if (bpf_obj_get_info_by_fd(b->fd[list[i].fd], &info, &len))
			continue;
		err = map(arg, list[i].name, info.id);
		if (err)
			return err;
	}
	return 0;
}

int rmio_bpf_maps(const struct rmio_bpf *b, const struct rmio_bpf_dev *d,
		  int (*map)(void *arg, const char *name, uint32_t id), void *arg)
{
	static const struct {
		int fd;
		const char *name;
	} list[] = {
		{ RMIO_BPF_FD_LANES, "lanes" },
		{ RMIO_BPF_FD_DOWNS, "down" },
		{ RMIO_BPF_FD_UPS, "up" },
		{ RMIO_BPF_FD_SHADOWS, "shadow" },
	};
	uint32_t id;
	size_t i;
	int err;

	if (!d)
		return own_maps(b, map, arg);
	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		/* What is looked up in a table of maps is an id.  An image may be none. */
		if (bpf_map_lookup_elem(b->fd[list[i].fd], &d->slot, &id))
			continue;
		err = map(arg, list[i].name, id);
		if (err)
			return err;
	}
	return 0;
}

struct rmio_bpf_vcpu *rmio_bpf_vcpu(struct rmio_bpf *b, uint32_t vcpu)
{
	return &b->state[vcpu];
}

/* -- threads ------------------------------------------------------------------- */

uint32_t rmio_bpf_thread_number(struct rmio_bpf *b)
{
	LIBBPF_OPTS(bpf_test_run_opts, run);

	if (!bpf_prog_test_run_opts(b->fd[RMIO_BPF_FD_THREAD], &run))
		return run.retval;
	/* Where the program cannot be run: it would also forget what is another thread's. */
	return (uint32_t)syscall(SYS_gettid);
}

int rmio_bpf_thread_bind(struct rmio_bpf *b, uint32_t vcpu, pid_t *tid, int *pidfd)
{
	struct rmio_bpf_thread thread = { .vcpu = vcpu };
	int err;

	*tid = (pid_t)syscall(SYS_gettid);
	if (b->by_id) {
		err = bpf_map_update_elem(b->fd[RMIO_BPF_FD_THREAD_IDS], tid, &thread, BPF_ANY);
		if (!err)
			rmio_bpf_thread_number(b);
		new_tables(b);
		if (err)
			rmio_bpf_thread_unbind(b, *tid, -1);
		return err;
	}
	if (*pidfd < 0)
		*pidfd = (int)syscall(SYS_pidfd_open, *tid, PIDFD_THREAD);
	if (*pidfd < 0) {
		err = -errno;
		*pidfd = -1;
		return err;
	}
	err = bpf_map_update_elem(b->fd[RMIO_BPF_FD_THREADS], pidfd, &vcpu, BPF_ANY);
	new_tables(b);
	if (err) {
		/* Nor is it the vCPU that it was. */
		rmio_bpf_thread_unbind(b, *tid, *pidfd);
		*pidfd = -1;
	}
	return err;
}

void rmio_bpf_thread_unbind(struct rmio_bpf *b, pid_t tid, int pidfd)
{
	if (b->by_id) {
		bpf_map_delete_elem(b->fd[RMIO_BPF_FD_THREAD_IDS], &tid);
	} else {
		bpf_map_delete_elem(b->fd[RMIO_BPF_FD_THREADS], &pidfd);
		close(pidfd);
	}
	new_tables(b);
}

bool rmio_bpf_stray(struct rmio_bpf *b, uint32_t number, uint32_t piece, struct rmio_bpf_stray *s)
{
	struct rmio_bpf_stray_key key = { .tid = number, .piece = piece };

	return !bpf_map_lookup_elem(b->fd[RMIO_BPF_FD_STRAYS], &key, s);
}

void rmio_bpf_stray_done(struct rmio_bpf *b, uint32_t number, uint32_t piece)
{
	struct rmio_bpf_stray_key key = { .tid = number, .piece = piece };

	bpf_map_delete_elem(b->fd[RMIO_BPF_FD_STRAYS], &key);
}

/* -- stores ------------------------------------------------------------------------- */

int rmio_bpf_reg_set(struct rmio_bpf *b, uint64_t gpa, uint32_t len, const struct rmio_bpf_reg *to)
{
	struct rmio_bpf_reg_key key = { .gpa = gpa, .len = len };
	int err = bpf_map_update_elem(b->fd[RMIO_BPF_FD_REGS], &key, to, BPF_ANY);

	new_tables(b);
	return err;
}

void rmio_bpf_reg_clear(struct rmio_bpf *b, uint64_t gpa, uint32_t len)
{
	struct rmio_bpf_reg_key key = { .gpa = gpa, .len = len };

	bpf_map_delete_elem(b->fd[RMIO_BPF_FD_REGS], &key);
	new_tables(b);
}

int rmio_bpf_zone_set(struct rmio_bpf *b, uint64_t page, const struct rmio_bpf_zone *z)
{
	int err = bpf_map_update_elem(b->fd[RMIO_BPF_FD_ZONES], &page, z, BPF_ANY);

	new_tables(b);
	return err;
}

void rmio_bpf_zone_clear(struct rmio_bpf *b, uint64_t page)
{
	bpf_map_delete_elem(b->fd[RMIO_BPF_FD_ZONES], &page);
	new_tables(b);
}

/*
 * What vCPUs have counted themselves.  The program's counts, there and in the tables, go
 * on from 0: what it adds in between is lost to nobody's harm.
 */
static uint64_t remembered(struct rmio_bpf *b, bool zone, uint64_t from, uint64_t end, uint32_t len,
			   bool take)
{
	struct rmio_bpf_hit *h;
	uint64_t hits = 0;
	uint32_t i, j;

	for (i = 0; i < b->vcpus; i++)
		for (j = 0; j < RMIO_BPF_HITS; j++) {
			h = &b->state[i].hit[j];
			if (!h->zone != !zone || h->gpa < from || h->gpa >= end ||
			    (len && h->len != len))
				continue;
			hits += h->to.hits;
			if (take)
				h->to.hits = 0;
		}
	return hits;
}

uint64_t rmio_bpf_reg_hits(struct rmio_bpf *b, uint64_t gpa, uint32_t len, bool take)
{
	struct rmio_bpf_reg_key key = { .gpa = gpa, .len = len };
	struct rmio_bpf_reg to;
	uint64_t hits;

	if (bpf_map_lookup_elem(b->fd[RMIO_BPF_FD_REGS], &key, &to))
		return 0;
	hits = to.hits + remembered(b, false, gpa, gpa + 1, len, take);
	if (!take)
		return hits;
	to.hits = 0;
	bpf_map_update_elem(b->fd[RMIO_BPF_FD_REGS], &key, &to, BPF_EXIST);
	return hits;
}

uint64_t rmio_bpf_zone_hits(struct rmio_bpf *b, uint64_t page, bool take)
{
	struct rmio_bpf_zone z;
	uint64_t hits;

	if (bpf_map_lookup_elem(b->fd[RMIO_BPF_FD_ZONES], &page, &z))
		return 0;
	hits = z.to.hits + remembered(b, true, page * RMIO_PAGE, (page + 1) * RMIO_PAGE, 0, take);
	if (!take)
		return hits;
	z.to.hits = 0;
	bpf_map_update_elem(b->fd[RMIO_BPF_FD_ZONES], &page, &z, BPF_EXIST);
	return hits;
}

int rmio_bpf_page_set(struct rmio_bpf *b, uint64_t page, uint32_t slot)
{
	return bpf_map_update_elem(b->fd[RMIO_BPF_FD_PAGES], &page, &slot, BPF_ANY);
}

void rmio_bpf_page_clear(struct rmio_bpf *b, uint64_t page)
{
	bpf_map_delete_elem(b->fd[RMIO_BPF_FD_PAGES], &page);
}
