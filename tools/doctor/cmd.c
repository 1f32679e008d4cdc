// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio doctor`: has everything looked at and prints it, for people or programs; then
 * what running VMs make of it.
 */
#include "../cmd.h"
#include "../stat/stat.h"
#include "doctor.h"
#include "text.h"

#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

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
	json_object_object_add(o, "kernel", text_json(u->release));
	json_object_object_add(o, "arch", text_json(u->machine));
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
		json_object_object_add(e, "why", text_json(f->why[0] ? f->why : NULL));
		json_object_object_add(e, "do", text_json(f->todo[0] ? f->todo : NULL));
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
	doctor_surroundings(&mechanisms);
	doctor_kvm(&mechanisms);
	doctor_uring(&mechanisms);
	doctor_memory(&mechanisms);
	doctor_bpf(&mechanisms);

	/* Back ends are judged by the mechanisms, and printed first. */
	d = mechanisms;
	doctor_backends(&d);
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
