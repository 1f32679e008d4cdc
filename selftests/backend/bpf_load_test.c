// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A BPF object that this kernel does not take, as an old kernel would not take ours: the
 * VMM is told what was wrong, nothing remains, and the exit back end serves.
 *
 * The linker puts the two calls below between the library and libbpf; they spoil the
 * object that is loaded.
 */
#include "need_bpf.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <linux/btf.h>

int __real_bpf_object__open_skeleton(struct bpf_object_skeleton *s,
				     const struct bpf_object_open_opts *opts);
int __real_bpf_object__load_skeleton(struct bpf_object_skeleton *s);
int __wrap_bpf_object__open_skeleton(struct bpf_object_skeleton *s,
				     const struct bpf_object_open_opts *opts);
int __wrap_bpf_object__load_skeleton(struct bpf_object_skeleton *s);

static const char *kernel_btf;		/* instead of the kernel's own */
static void (*spoil)(struct bpf_object *o);
static bool truncated;
static const char *event;		/* of the same length, instead of kvm_mmio */

static void rename_event(struct bpf_object_skeleton *s)
{
	static char copy[1 << 20];
	char *at;

	T_REQUIRE(T_LE(s->data_sz, sizeof(copy)));
	memcpy(copy, s->data, s->data_sz);
	/* Of the section, and in what tells of it. */
	for (at = copy; (at = memmem(at, copy + s->data_sz - at, "tp_btf/kvm_mmio", 15)); at++)
		memcpy(at + 7, event, 8);
	s->data = copy;
}

int __wrap_bpf_object__open_skeleton(struct bpf_object_skeleton *s,
				     const struct bpf_object_open_opts *opts)
{
	struct bpf_object_open_opts o = { .sz = sizeof(o) };

	if (truncated)
		s->data_sz = 100;
	if (event)
		rename_event(s);
	if (!kernel_btf)
		return __real_bpf_object__open_skeleton(s, opts);
	o.btf_custom_path = kernel_btf;
	return __real_bpf_object__open_skeleton(s, &o);
}

int __wrap_bpf_object__load_skeleton(struct bpf_object_skeleton *s)
{
	if (spoil)
		spoil(*s->obj);
	return __real_bpf_object__load_skeleton(s);
}

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* Rejected with @err, and a reason in which both texts stand. */
static void refused(int err, const char *text, const char *more)
{
	struct rmio_master_opts mo = { .sz = sizeof(mo), .backend = RMIO_BACKEND_BPF };
	struct rmio_kvm_opts o = {
		.sz = sizeof(o), .kick_signal = SIGRTMIN, .flags = RMIO_KVM_BPF,
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), fds, i;
	struct rmio_pa_range r = { .addr = 0xe0000000, .len = 0x1000 };
	struct rmio_master *m;
	uint64_t value = 0;
	struct rmio_vcpu *v;
	struct rmio_vm *vm;
	const char *why;

	o.vm_fd = ioctl(kvm, KVM_CREATE_VM, 0);
	T_REQUIRE(T_GE(o.vm_fd, 0));
	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
	fds = open_fds();
	/* Again and again: it may be a broker that is waited for. */
	for (i = 0; i < 6; i++)
		T_EQ(rmio_vm_kvm(vm, &o), err);
	T_EQ(open_fds(), fds);
	T_EQ(rmio_vm_backend(vm, &why), RMIO_BACKEND_EXIT);
	ktap_diag("%s", why);
	if (!T_OK(strstr(why, text)) || !T_OK(strstr(why, more)))
		ktap_diag("not in it: %s, %s", text, more);

	/* What asks for bpf gets an error, what does not the back end that there is. */
	T_EQ(rmio_master_new(vm, &mo, &m), -ENOTSUP);
	T_REQUIRE(T_EQ(rmio_master_new(vm, NULL, &m), 0));
	T_EQ(rmio_master_backend(m), RMIO_BACKEND_EXIT);
	T_EQ(rmio_master_pa_range(m, &r), 0);
	T_REQUIRE(T_EQ(rmio_vcpu_new(vm, 0, NULL, &v), 0));
	/* No device is there: loads read as all ones, stores are gone. */
	rmio_master_timeout(m, 1000000);
	T_EQ(rmio_vcpu_load(v, RMIO_BUS_MEM, r.addr, 4, &value), 0);
	T_EQ(value, 0xffffffff);
	rmio_vcpu_free(v);
	rmio_master_free(m);
	rmio_vm_free(vm);
	close(o.vm_fd);
	close(kvm);
}

static void small_values(struct bpf_object *o)
{
	T_EQ(bpf_map__set_value_size(bpf_object__find_map_by_name(o, "vcpus"), 16), 0);
}

static void verifier(void)
{
	NEED_BPF();
	spoil = small_values;
	refused(-EACCES, "the kernel's verifier refuses the BPF program", "invalid access to map");
}

static void tracepoint(void)
{
	NEED_BPF();
	event = "kvm_none";
	refused(-ESRCH, "this kernel has no tracepoint kvm_mmio", "BTF");
}

static void unknown_map(struct bpf_object *o)
{
	T_EQ(bpf_map__set_type(bpf_object__find_map_by_name(o, "zones"), 4711), 0);
}

static void map_type(void)
{
	NEED_BPF();
	spoil = unknown_map;
	refused(-EINVAL, "cannot load the BPF program: Invalid argument", "zones");
}

/* BTF of a kernel that has an integer and nothing else. */
static void types(void)
{
	static const struct {
		struct btf_header h;
		struct btf_type type;
		__u32 encoding;
		char strings[8];
	} btf = {
		.h = {
			.magic = BTF_MAGIC, .version = BTF_VERSION, .hdr_len = sizeof(btf.h),
			.type_len = sizeof(btf.type) + sizeof(btf.encoding),
			.str_off = sizeof(btf.type) + sizeof(btf.encoding), .str_len = 8,
		},
		.type = { .name_off = 1, .info = BTF_KIND_INT << 24, .size = 4 },
		.encoding = BTF_INT_SIGNED << 24 | 32,
		.strings = "\0int",
	};
	char file[] = "/tmp/rmio-btf-XXXXXX";
	int fd;

	NEED_BPF();
	fd = mkstemp(file);
	T_REQUIRE(T_GE(fd, 0));
	T_EQ(write(fd, &btf, sizeof(btf)), sizeof(btf));
	close(fd);
	kernel_btf = file;
	refused(-EINVAL, "failed to resolve CO-RE relocation", "struct task_struct.");
	unlink(file);
}

static void damaged(void)
{
	NEED_BPF();
	truncated = true;
	refused(-EINVAL, "cannot read the BPF object", "elf");
}

static void untouched(void)
{
	NEED_BPF();
	spoil = NULL;
	T_OK(!bpf_lacks());
}

static const struct ktap_test tests[] = {
	{ "the verifier refuses it", verifier, 30 },
	{ "no such tracepoint", tracepoint, 30 },
	{ "no such kind of map", map_type, 30 },
	{ "types that the kernel does not have", types, 30 },
	{ "a damaged object", damaged, 30 },
	{ "the same calls with the object as it is", untouched, 30 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
