// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * In the place of program.c and loader.c where the library is built without them: there is no
 * program, so nothing but the first call is ever made.
 */
#include "broker.h"

#include <errno.h>
#include <stdio.h>

int rmio_bpf_new(const struct rmio_bpf_opts *opts, struct rmio_bpf **b, char *why, size_t len)
{
	snprintf(why, len, "built without libbpf, clang or bpftool");
	return -ENOTSUP;
}

void rmio_bpf_free(struct rmio_bpf *b)
{
}

int rmio_bpf_program(const struct rmio_bpf *b, uint32_t *id, uint64_t *runs, uint64_t *ns)
{
	return -ENOTSUP;
}

int rmio_bpf_maps(const struct rmio_bpf *b, const struct rmio_bpf_dev *d,
		  int (*map)(void *arg, const char *name, uint32_t id), void *arg)
{
	return -ENOTSUP;
}

int rmio_bpf_sleepers_fd(const struct rmio_bpf *b)
{
	return -1;
}

void rmio_bpf_sleepers(struct rmio_bpf *b, void (*wake)(void *arg, uint32_t slot), void *arg)
{
}

struct rmio_bpf_vcpu *rmio_bpf_vcpu(struct rmio_bpf *b, uint32_t vcpu)
{
	return NULL;
}

int rmio_bpf_thread_bind(struct rmio_bpf *b, uint32_t vcpu, pid_t *tid, int *pidfd)
{
	return -ENOTSUP;
}

void rmio_bpf_thread_unbind(struct rmio_bpf *b, pid_t tid, int pidfd)
{
}

uint32_t rmio_bpf_thread_number(struct rmio_bpf *b)
{
	return 0;
}

bool rmio_bpf_stray(struct rmio_bpf *b, uint32_t number, uint32_t piece, struct rmio_bpf_stray *s)
{
	return false;
}

void rmio_bpf_stray_done(struct rmio_bpf *b, uint32_t number, uint32_t piece)
{
}

int rmio_bpf_dev_new(struct rmio_bpf *b, uint32_t lanes, uint32_t slots, struct rmio_bpf_dev *d)
{
	return -ENOTSUP;
}

void rmio_bpf_dev_free(struct rmio_bpf *b, struct rmio_bpf_dev *d)
{
}

int rmio_bpf_shadow_new(struct rmio_bpf *b, uint64_t size)
{
	return -ENOTSUP;
}

int rmio_bpf_dev_shadow(struct rmio_bpf *b, struct rmio_bpf_dev *d, int fd)
{
	return -ENOTSUP;
}

int rmio_bpf_reg_set(struct rmio_bpf *b, uint64_t gpa, uint32_t len, const struct rmio_bpf_reg *to)
{
	return -ENOTSUP;
}

void rmio_bpf_reg_clear(struct rmio_bpf *b, uint64_t gpa, uint32_t len)
{
}

int rmio_bpf_zone_set(struct rmio_bpf *b, uint64_t page, const struct rmio_bpf_zone *z)
{
	return -ENOTSUP;
}

void rmio_bpf_zone_clear(struct rmio_bpf *b, uint64_t page)
{
}

uint64_t rmio_bpf_reg_hits(struct rmio_bpf *b, uint64_t gpa, uint32_t len, bool take)
{
	return 0;
}

uint64_t rmio_bpf_zone_hits(struct rmio_bpf *b, uint64_t page, bool take)
{
	return 0;
}

int rmio_bpf_page_set(struct rmio_bpf *b, uint64_t page, uint32_t slot)
{
	return -ENOTSUP;
}

void rmio_bpf_page_clear(struct rmio_bpf *b, uint64_t page)
{
}

int rmio_bpf_object_new(const struct rmio_bpf_load *l, struct rmio_bpf_object **o, char *why,
			size_t len)
{
	snprintf(why, len, "built without libbpf, clang or bpftool");
	return -ENOTSUP;
}

void rmio_bpf_object_free(struct rmio_bpf_object *o)
{
}

void rmio_bpf_object_fds(const struct rmio_bpf_object *o, int fds[RMIO_BPF_FDS])
{
}

bool rmio_bpf_object_by_id(const struct rmio_bpf_object *o)
{
	return false;
}

int rmio_bpf_object_device(const struct rmio_bpf_object *o, uint32_t lanes, uint32_t slots,
			   int fds[3])
{
	return -ENOTSUP;
}

int rmio_bpf_object_image(uint64_t size)
{
	return -ENOTSUP;
}

uint64_t rmio_bpf_device_size(uint32_t lanes, uint32_t slots)
{
	return 0;
}
