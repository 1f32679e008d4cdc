// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Loads and attaches the BPF program, and makes the arrays that it writes: all that
 * needs privileges, for the VMM that has them or the broker of one that has not.  Beside
 * the data path.  Nothing is pinned: program and maps go when the last descriptor does.
 */
#include "broker.h"
#include "hush.h"
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.9; the value is O_EXCL's. */
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif
#define PID_NS_INIT	0xeffffffcu	/* inode of the initial PID namespace */
#define VERIFIER_LOG	(1024 * 1024)	/* longer ones lose an end */
#define VERIFIER_LINES	4	/* of it, shown */

struct rmio_bpf_object {
	struct mmio_filter *skel;
	bool by_id;
};

/* libbpf's messages are the process's: ours go into @why, the first of them. */
static pthread_mutex_t printing = PTHREAD_MUTEX_INITIALIZER;
static char complaint[160];

static int listen_to_libbpf(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level == LIBBPF_WARN && !complaint[0]) {
		vsnprintf(complaint, sizeof(complaint), fmt, ap);
		complaint[strcspn(complaint, "\n")] = 0;
	}
	return 0;
}

libbpf_print_fn_t rmio_bpf_hush(void)
{
	pthread_mutex_lock(&printing);
	complaint[0] = 0;
	return libbpf_set_print(listen_to_libbpf);
}

void rmio_bpf_unhush(libbpf_print_fn_t print)
{
	libbpf_set_print(print);
	pthread_mutex_unlock(&printing);
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

/* libbpf has numbers of its own, beyond the system's. */
static int system_error(int err)
{
	return -err >= __LIBBPF_ERRNO__START ? -EINVAL : err;
}

static void explain_failure(char *why, size_t len, const char *what, int err)
{
	explain(why, len, "cannot %s: %s%s%s", what, strerror(-err), complaint[0] ? ": " : "",
		complaint);
}

static bool has_thread_pidfds(void)
{
	int fd = (int)syscall(SYS_pidfd_open, (pid_t)syscall(SYS_gettid), PIDFD_THREAD);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool in_pid_namespace(void)
{
	struct stat st;

	return !stat("/proc/self/ns/pid", &st) && st.st_ino != PID_NS_INIT;
}

/* There a probe can be preempted, and the program does not run for the next vCPU on the CPU. */
static bool is_realtime(void)
{
	char c = '0';
	FILE *f = fopen("/sys/kernel/realtime", "re");

	if (f) {
		c = (char)getc(f);
		fclose(f);
	}
	return c == '1';
}

static int new_array(const char *name, uint32_t value_size, uint32_t n, uint32_t flags,
		     const struct btf *btf, const char *type)
{
	LIBBPF_OPTS(bpf_map_create_opts, o, .map_flags = BPF_F_MMAPABLE | flags);
	int id = btf && type ? btf__find_by_name_kind(btf, type, BTF_KIND_STRUCT) : -1;
	int key = btf ? btf__find_by_name_kind(btf, "unsigned int", BTF_KIND_INT) : -1;

	if (id > 0 && key > 0) {
		o.btf_fd = (uint32_t)btf__fd(btf);
		o.btf_key_type_id = (uint32_t)key;
		o.btf_value_type_id = (uint32_t)id;
	}
	return bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(uint32_t), value_size, n, &o);
}

/*
 * All devices' "lanes" have as many entries, which the program is told by an example:
 * with a number that may differ each lookup is a call.  Before Linux 6.2 an example
 * without BTF matches no map that has it; there, and up to 6.8, the call stays.
 */
static int load_maps_and_programs(const struct rmio_bpf_object *o, uint32_t vcpus)
{
	int err, fd;

	if (o->by_id)
		return mmio_filter__load(o->skel);
	fd = new_array("rmio_lanes", sizeof(struct rmio_bpf_lane), vcpus, 0, NULL, NULL);
	if (fd < 0)
		return fd;
	err = bpf_map__set_inner_map_fd(o->skel->maps.lanes, fd);
	if (!err)
		err = mmio_filter__load(o->skel);
	close(fd);
	return err;
}

static int open_skel(struct rmio_bpf_object *o, const struct rmio_bpf_load *l)
{
	o->skel = mmio_filter__open();
	if (!o->skel)
		return -errno;
	o->by_id = !has_thread_pidfds();
	o->skel->rodata->kick_signal = l->kick_signal;
	o->skel->rodata->threads_by_id = o->by_id;
	o->skel->rodata->for_others = l->vmm;
	bpf_map__set_max_entries(o->skel->maps.vcpus, l->vcpus);
	return 0;
}

/* In a PID namespace getpid() is not what the kernel's side sees: it is asked there. */
static int set_own(const struct rmio_bpf_object *o)
{
	LIBBPF_OPTS(bpf_test_run_opts, run);

	return bpf_prog_test_run_opts(bpf_program__fd(o->skel->progs.rmio_whoami), &run);
}

/* Another process can be told to the program only by what the program goes by too. */
static int set_vmm(const struct rmio_bpf_object *o, const struct rmio_process *vmm)
{
	struct rmio_process own;
	int err = set_own(o);

	if (!err)
		err = rmio_process_get(getpid(), &own);
	if (err)
		return err;
	if (o->skel->bss->vmm_tgid != own.pid ||
	    o->skel->bss->vmm_started - own.started >= own.precision)
		return -EXDEV;
	o->skel->bss->vmm_tgid = vmm->pid;
	o->skel->bss->vmm_started = 0;
	o->skel->bss->vmm_started_from = vmm->started;
	o->skel->bss->vmm_precision = vmm->precision;
	return 0;
}

/* Programs are loaded one after another; the first that is refused is the last. */
static void set_log(struct rmio_bpf_object *o, char *log)
{
	struct bpf_program *p;

	bpf_object__for_each_program(p, o->skel->obj)
		bpf_program__set_log_buf(p, log, log ? VERIFIER_LOG : 0);
}

static int load(struct rmio_bpf_object *o, const struct rmio_bpf_load *l, char *why, size_t len)
{
	char *log = calloc(1, VERIFIER_LOG);
	int err;

	if (!log)
		return -ENOMEM;
	set_log(o, log);
	err = load_maps_and_programs(o, l->vcpus);
	if (!err)
		err = l->vmm ? set_vmm(o, l->vmm) : set_own(o);
	if (!err)
		err = mmio_filter__attach(o->skel);
	/* Of a log that has no room the end is there (Linux 6.4), and the error is not. */
	err = err == -ENOSPC && log[0] ? -EACCES : system_error(err);
	if (err == -EPERM)
		explain(why, len, "loading BPF programs needs CAP_BPF and CAP_PERFMON");
	else if (err == -EXDEV)
		explain(why, len, "the broker is in a PID or time namespace of its own");
	else if (err == -ESRCH || err == -ENOENT)
		explain(why, len, "this kernel has no tracepoint kvm_mmio with BTF (%s)",
			complaint);
	else if (err && log[0])
		explain_refusal(why, len, log);
	else if (err)
		explain_failure(why, len, "load the BPF program", err);
	set_log(o, NULL);
	free(log);
	return err;
}

int rmio_bpf_object_new(const struct rmio_bpf_load *l, struct rmio_bpf_object **out, char *why,
			size_t len)
{
	struct rmio_bpf_object *o = calloc(1, sizeof(*o));
	libbpf_print_fn_t print;
	int err;

	if (!o)
		return -ENOMEM;
	print = rmio_bpf_hush();
	err = open_skel(o, l);
	if (err) {
		err = system_error(err);
		explain_failure(why, len, "read the BPF object", err);
	} else if (is_realtime()) {
		explain(why, len, "this kernel is PREEMPT_RT, where BPF programs miss events");
		err = -ENOTSUP;
	} else if (o->by_id && in_pid_namespace()) {
		explain(why, len, "in a PID namespace it needs Linux 6.9");
		err = -ENOTSUP;
	} else {
		err = load(o, l, why, len);
	}
	rmio_bpf_unhush(print);
	if (!err) {
		*out = o;
		return 0;
	}
	rmio_bpf_object_free(o);
	return err;
}

void rmio_bpf_object_free(struct rmio_bpf_object *o)
{
	if (!o)
		return;
	mmio_filter__destroy(o->skel);
	free(o);
}

void rmio_bpf_object_fds(const struct rmio_bpf_object *o, int fds[RMIO_BPF_FDS])
{
	const struct mmio_filter *s = o->skel;

	fds[RMIO_BPF_FD_THREADS] = bpf_map__fd(s->maps.threads);
	fds[RMIO_BPF_FD_THREAD_IDS] = bpf_map__fd(s->maps.thread_ids);
	fds[RMIO_BPF_FD_STRAYS] = bpf_map__fd(s->maps.strays);
	fds[RMIO_BPF_FD_VCPUS] = bpf_map__fd(s->maps.vcpus);
	fds[RMIO_BPF_FD_REGS] = bpf_map__fd(s->maps.regs);
	fds[RMIO_BPF_FD_ZONES] = bpf_map__fd(s->maps.zones);
	fds[RMIO_BPF_FD_PAGES] = bpf_map__fd(s->maps.pages);
	fds[RMIO_BPF_FD_SLEEPERS] = bpf_map__fd(s->maps.sleepers);
	fds[RMIO_BPF_FD_DOWNS] = bpf_map__fd(s->maps.downs);
	fds[RMIO_BPF_FD_UPS] = bpf_map__fd(s->maps.ups);
	fds[RMIO_BPF_FD_SHADOWS] = bpf_map__fd(s->maps.shadows);
	fds[RMIO_BPF_FD_LANES] = bpf_map__fd(s->maps.lanes);
	fds[RMIO_BPF_FD_LINK] = bpf_link__fd(s->links.rmio_mmio);
	fds[RMIO_BPF_FD_THREAD] = bpf_program__fd(s->progs.rmio_thread);
}

int rmio_bpf_object_prog(const struct rmio_bpf_object *o)
{
	return bpf_program__fd(o->skel->progs.rmio_mmio);
}

bool rmio_bpf_object_by_id(const struct rmio_bpf_object *o)
{
	return o->by_id;
}

/* -- a device's arrays ------------------------------------------------------------------ */

uint64_t rmio_bpf_device_size(uint32_t lanes, uint32_t slots)
{
	uint64_t pages = 1 + rmio_pages(slots * sizeof(struct rmio_request)) / RMIO_PAGE;

	if (!lanes || lanes > RMIO_LANES_MAX || slots < RMIO_RING_MIN || slots > RMIO_RING_MAX ||
	    slots & (slots - 1))
		return 0;
	return RMIO_PAGE * (2 + lanes * (pages + 1)) +
	       rmio_pages(lanes * sizeof(struct rmio_bpf_lane));
}

int rmio_bpf_object_device(const struct rmio_bpf_object *o, uint32_t lanes, uint32_t slots,
			   int fds[3])
{
	uint64_t ring = slots * sizeof(struct rmio_request);
	uint32_t pages = 1 + (uint32_t)(rmio_pages(ring) / RMIO_PAGE);
	int i;

	if (!rmio_bpf_device_size(lanes, slots))
		return -EINVAL;
	fds[0] = new_array("rmio_down", RMIO_PAGE, 1 + lanes * pages, BPF_F_INNER_MAP, NULL, NULL);
	fds[1] = fds[0] < 0 ? fds[0] :
		 new_array("rmio_up", RMIO_PAGE, 1 + lanes, BPF_F_INNER_MAP, NULL, NULL);
	fds[2] = fds[1] < 0 ? fds[1] :
		 new_array("rmio_lanes", sizeof(struct rmio_bpf_lane), lanes,
			   o->by_id ? BPF_F_INNER_MAP : 0, bpf_object__btf(o->skel->obj), "rmio_bpf_lane");
	if (fds[2] >= 0)
		return 0;
	for (i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return fds[2];
}

int rmio_bpf_object_image(uint64_t size)
{
	if (!size || size % RMIO_PAGE || size / RMIO_PAGE > UINT32_MAX)
		return -EINVAL;
	return new_array("rmio_shadow", RMIO_PAGE, (uint32_t)(size / RMIO_PAGE), BPF_F_INNER_MAP, NULL, NULL);
}
