// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio doctor`: which back ends and mechanisms this machine has, why not, and
 * what to do.  Everything is tried, not guessed from versions.  Then what running VMs
 * make of it.
 */
#include "../cmd.h"
#include "doctor.h"
#include "../stat/stat.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <linux/kvm.h>
#include <rmio/vmm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

struct finding *doctor_add(struct doctor *d, const char *group, const char *name, const char *use)
{
	struct finding *f = &d->f[d->n < DOCTOR_MAX - 1 ? d->n++ : d->n];

	memset(f, 0, sizeof(*f));
	f->group = group;
	f->name = name;
	f->use = use;
	f->there = true;
	return f;
}

void doctor_note(struct finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->why, sizeof(f->why), fmt, ap);
	va_end(ap);
}

void doctor_not(struct finding *f, const char *todo, const char *fmt, ...)
{
	va_list ap;

	f->there = false;
	snprintf(f->todo, sizeof(f->todo), "%s", todo);
	va_start(ap, fmt);
	vsnprintf(f->why, sizeof(f->why), fmt, ap);
	va_end(ap);
}

bool doctor_has(const struct doctor *d, const char *group, const char *name)
{
	for (size_t i = 0; i < d->n; i++) {
		if (!strcmp(d->f[i].group, group) && !strcmp(d->f[i].name, name))
			return d->f[i].there;
	}
	return false;
}

/* The first of a list of mechanisms that is missing, or NULL. */
static const char *missing(const struct doctor *d, const char *const (*needs)[2])
{
	for (; (*needs)[0]; needs++) {
		if (!doctor_has(d, (*needs)[0], (*needs)[1]))
			return (*needs)[1];
	}
	return NULL;
}

#define EXIT_INSTEAD	"nothing: the exit back end is used instead"
#define SEE_IT		"see there; until then the exit back end is used"
#define BUILD_AGAIN	"install them and build again; until then the exit back end is used"

/* Loads the program and attaches it to KVM's tracepoint, as a VMM would. */
static void try_bpf(const struct doctor *d, struct finding *f)
{
	static const char *const needs[][2] = {
		{ "kvm", "/dev/kvm" },
		{ "bpf", "privilege" },
		{ "bpf", "mmapable array" },
		{ "bpf", "kernel BTF" },
		{ "bpf", "tracepoint kvm_mmio" },
		{ NULL, NULL },
	};
	struct rmio_kvm_opts o = {
		.sz = sizeof(o), .kick_signal = SIGRTMIN, .flags = RMIO_KVM_BPF,
	};
	struct rmio_program_stats p = { .sz = sizeof(p) };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	const char *lacks = missing(d, needs), *why = "";
	struct rmio_vm *vm = NULL;
	int rc;

	o.vm_fd = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	rc = o.vm_fd < 0 ? -ENODEV : rmio_vm_new(NULL, &vm);
	if (!rc)
		rc = rmio_vm_kvm(vm, &o);
	if (vm && rc)
		rmio_vm_backend(vm, &why);
	if (!rc && !rmio_vm_program(vm, &p))
		doctor_note(f, "loaded and attached as program %u; threads by %s", p.id,
			    doctor_has(d, "bpf", "task storage") ? "task storage" :
			    "a hash of their numbers");
	else if (rc == -EPERM)
		doctor_not(f, "run as root, or with CAP_BPF and CAP_PERFMON, or start `rmio bpfd` "
			   "as root and give --broker; until then the exit back end is used",
			   "%s", why);
	else if (rc == -ENOTSUP && strstr(why, "built without"))
		doctor_not(f, BUILD_AGAIN, "%s", why);
	else if (lacks)
		doctor_not(f, SEE_IT, "%s%smissing: %s", why, *why ? "; " : "", lacks);
	else if (rc)
		doctor_not(f, EXIT_INSTEAD, "%s", *why ? why : strerror(-rc));
	if (vm)
		rmio_vm_free(vm);
	if (o.vm_fd >= 0)
		close(o.vm_fd);
	if (kvm >= 0)
		close(kvm);
}

/* Makes the device, as a VMM would: of the kernel's word that it has it, nothing is lost. */
static void try_kvm(struct finding *f)
{
	struct kvm_create_device cd = { .type = KVM_DEV_TYPE_USER };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0)
		doctor_not(f, "see /dev/kvm", "no KVM to ask");
	else if (!ioctl(vm, KVM_CREATE_DEVICE, &cd))
		close((int)cd.fd);
	else if (errno == ENODEV)
		doctor_not(f, "build and install the modules as kern/README.md says; until then bpf or "
			   "exit is used", "this kernel's KVM has no device KVM_DEV_TYPE_USER");
	else
		doctor_not(f, "nothing: bpf or exit is used instead", "KVM_CREATE_DEVICE: %s",
			   strerror(errno));
	if (vm >= 0)
		close(vm);
	if (kvm >= 0)
		close(kvm);
}

static void backends(struct doctor *d)
{
	struct finding *f;

	f = doctor_add(d, "backend", "kvm", "loads and stores answered in the kernel");
	try_kvm(f);
	f = doctor_add(d, "backend", "bpf", "loads without an exit, stores taken in the kernel");
	try_bpf(d, f);
	f = doctor_add(d, "backend", "exit",
		       "every access exits to the VMM, then goes through the ring");
	if (!doctor_has(d, "memory", "memfd seals"))
		doctor_not(f, "use Linux 5.1 or later", "memfd seals are missing");
	else if (!doctor_has(d, "io_uring", "io_uring"))
		doctor_not(f, "see io_uring", "device processes need io_uring");
	else if (!doctor_has(d, "kvm", "/dev/kvm"))
		doctor_note(f, "without KVM: for VMMs that emulate their guest");
}

/* What KVM takes and why: of a map on a running VM, since it depends on the guest. */
static void print_plans(struct json_object *vms)
{
	size_t n = json_object_array_length(vms);

	printf("\nplans of running VMs\n");
	if (!n)
		printf("  none to be seen: start one with `rmio vmm --stats-socket PATH`\n");
	for (size_t i = 0; i < n; i++) {
		putchar('\n');
		stat_view_plans(stdout, json_object_array_get_idx(vms, i));
	}
}

static void print_text(const struct doctor *d, const struct utsname *u, long cpus)
{
	const char *group = "";

	printf("rmio %s on %s %s, %ld CPU%s\n", RMIO_VERSION, u->release, u->machine, cpus,
	       cpus == 1 ? "" : "s");
	for (size_t i = 0; i < d->n; i++) {
		const struct finding *f = &d->f[i];

		if (strcmp(group, f->group)) {
			group = f->group;
			printf("\n%s\n", !strcmp(group, "backend") ? "back ends" : group);
		}
		printf("  %-9s %-24s %s\n", f->there ? "there" : "NOT THERE", f->name, f->use);
		if (f->why[0])
			printf("  %-9s %-24s   %s%s\n", "", "", f->there ? "" : "why: ", f->why);
		if (f->todo[0])
			printf("  %-9s %-24s   do: %s\n", "", "", f->todo);
	}
}

static void print_json(const struct doctor *d, const struct utsname *u, long cpus,
		       struct json_object *vms)
{
	struct json_object *o = json_object_new_object();
	struct json_object *backends = json_object_new_array();
	struct json_object *mechanisms = json_object_new_array();

	json_object_object_add(o, "schema", json_object_new_int(1));
	json_object_object_add(o, "version", json_object_new_string(RMIO_VERSION));
	json_object_object_add(o, "kernel", json_object_new_string(u->release));
	json_object_object_add(o, "arch", json_object_new_string(u->machine));
	json_object_object_add(o, "cpus", json_object_new_int64(cpus));
	for (size_t i = 0; i < d->n; i++) {
		const struct finding *f = &d->f[i];
		struct json_object *e = json_object_new_object();
		bool backend = !strcmp(f->group, "backend");

		if (!backend)
			json_object_object_add(e, "group", json_object_new_string(f->group));
		json_object_object_add(e, "name", json_object_new_string(f->name));
		json_object_object_add(e, "use", json_object_new_string(f->use));
		json_object_object_add(e, "there", json_object_new_boolean(f->there));
		json_object_object_add(e, "why",
				       f->why[0] ? json_object_new_string(f->why) : NULL);
		json_object_object_add(e, "do",
				       f->todo[0] ? json_object_new_string(f->todo) : NULL);
		json_object_array_add(backend ? backends : mechanisms, e);
	}
	json_object_object_add(o, "backends", backends);
	json_object_object_add(o, "mechanisms", mechanisms);
	json_object_object_add(o, "vms", json_object_get(vms));
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
						JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

static void help(FILE *f)
{
	fputs("usage: rmio doctor [--json]\n"
	      "\n"
	      "Tries each back end and mechanism on this machine and prints whether it is\n"
	      "there, why not, and what to do; then the plans of running VMs (see `rmio stat`).\n"
	      "\n"
	      "  --json     all of it as one object\n"
	      "\n"
	      "Exit status: 0 if `rmio vmm` and `rmio dev` can run here, 1 if not, 2 for a\n"
	      "wrong option.\n", f);
}

int cmd_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct doctor mechanisms = { .n = 0 }, d = { .n = 0 };
	struct json_object *vms;
	bool json = false;
	struct utsname u;
	long cpus;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'h':
			help(stdout);
			return 0;
		default:
			help(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "rmio doctor: what is '%s'?\n\n", argv[optind]);
		help(stderr);
		return 2;
	}
	doctor_kvm(&mechanisms);
	doctor_uring(&mechanisms);
	doctor_memory(&mechanisms);
	doctor_bpf(&mechanisms);

	/* Back ends are judged by the mechanisms, and printed first. */
	d = mechanisms;
	backends(&d);
	for (size_t i = 0, b = d.n - mechanisms.n; i < d.n; i++)
		d.f[i] = i < b ? d.f[mechanisms.n + i] : mechanisms.f[i - b];

	uname(&u);
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	vms = stat_running();
	if (json) {
		print_json(&d, &u, cpus, vms);
	} else {
		print_text(&d, &u, cpus);
		print_plans(vms);
	}
	json_object_put(vms);
	return doctor_has(&d, "backend", "exit") && doctor_has(&d, "kvm", "/dev/kvm") &&
	       doctor_has(&d, "kvm", "in-kernel irqchip") ? 0 : 1;
}
