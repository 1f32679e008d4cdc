// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Statistics of a VM, as JSON: exits of each vCPU, and one object a device with the
 * library's counters, lanes and plan, summed and for each vCPU.  `rmio stat` reads it.
 */
#include "stats.h"
#include "text.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *vmm_state_name(enum rmio_state state)
{
	switch (state) {
	case RMIO_STATE_NEW:
		return "new";
	case RMIO_STATE_LIVE:
		return "live";
	case RMIO_STATE_CLOSED:
		return "closed";
	case RMIO_STATE_TIMEOUT:
		return "timeout";
	case RMIO_STATE_PROTOCOL:
		return "protocol";
	}
	return "unknown";
}

const char *vmm_backend_name(enum rmio_backend backend)
{
	return backend == RMIO_BACKEND_KVM ? "kvm" : backend == RMIO_BACKEND_BPF ? "bpf" : "exit";
}

static struct json_object *counters(const struct rmio_master *m, int vcpu)
{
	struct json_object *o;
	struct rmio_counters c;

	if (rmio_master_counters(m, vcpu, &c))
		return NULL;
	o = json_object_new_object();
#define COUNTER(name) json_object_object_add(o, #name, json_object_new_int64((int64_t)c.name))
	COUNTER(posted);
	COUNTER(sync);
	COUNTER(loads);
	COUNTER(shadow);
	COUNTER(refused_size);
	COUNTER(full);
	COUNTER(ordered);
	COUNTER(slept);
	COUNTER(interrupted);
	COUNTER(timeouts);
	COUNTER(ones);
	COUNTER(discarded);
#undef COUNTER
	return o;
}

static void add_u64(struct json_object *o, const char *name, uint64_t v)
{
	json_object_object_add(o, name, json_object_new_int64((int64_t)v));
}

static void add_text(struct json_object *o, const char *name, const char *v)
{
	json_object_object_add(o, name, text_json(v));
}

static struct json_object *lane(const struct rmio_master *m, int vcpu)
{
	struct rmio_lane_stats s = { .sz = sizeof(s) };
	struct json_object *o, *hist;

	if (rmio_master_lane_stats(m, vcpu, &s))
		return NULL;
	o = json_object_new_object();
	hist = json_object_new_array();
#define FIELD(name) add_u64(o, #name, s.name)
	FIELD(slots);
	FIELD(depth);
	FIELD(posted);
	FIELD(zone);
	FIELD(through);
	FIELD(full);
	FIELD(bad);
	FIELD(discarded);
	FIELD(lost);
#undef FIELD
	for (unsigned int i = 0; i < RMIO_LATENCY_BUCKETS; i++)
		json_object_array_add(hist, json_object_new_int64((int64_t)s.load_ns[i]));
	json_object_object_add(o, "load_ns", hist);
	return o;
}

static int plan_entry(void *arg, const struct rmio_plan_entry *e)
{
	struct json_object *o = json_object_new_object();

	add_u64(o, "range", e->range_id);
	add_u64(o, "offset", e->offset);
	add_u64(o, "length", e->length);
	add_u64(o, "addr", e->addr);
	add_text(o, "access", e->store ? "store" : "load");
	add_text(o, "mechanism", e->mechanism);
	add_u64(o, "access_length", e->len);
	json_object_object_add(o, "through", json_object_new_boolean(e->through));
	add_u64(o, "count", e->count);
	add_text(o, "why", e->why);
	json_object_array_add(arg, o);
	return 0;
}

/* Why there is nothing in it. */
static const char *no_plan(const struct rmio_master *m)
{
	switch (rmio_master_backend(m)) {
	case RMIO_BACKEND_KVM:
		return "the kernel answers by the device's access map itself";
	case RMIO_BACKEND_BPF:
		return "no range of the device is placed";
	default:
		return "on the back end exit every access leaves KVM";
	}
}

static int one_map(void *arg, const char *name, uint32_t id)
{
	add_u64(arg, name, id);
	return 0;
}

/* By name, the ids that bpftool takes; NULL: none. */
static struct json_object *maps(const struct rmio_vm *vm, const struct rmio_master *m)
{
	struct json_object *o = json_object_new_object();

	if (!rmio_vm_maps(vm, m, one_map, o))
		return o;
	json_object_put(o);
	return NULL;
}

static void with_master(struct json_object *o, const struct rmio_vm *vm, struct rmio_master *m,
			unsigned int vcpus)
{
	struct json_object *per_vcpu = json_object_new_array();
	struct json_object *plan = json_object_new_array();

	add_text(o, "state", vmm_state_name(rmio_master_state(m)));
	add_text(o, "backend", vmm_backend_name(rmio_master_backend(m)));
	json_object_object_add(o, "counters", counters(m, -1));
	json_object_object_add(o, "lane", lane(m, -1));
	for (unsigned int i = 0; i < vcpus; i++) {
		struct json_object *v = counters(m, (int)i);

		json_object_object_add(v, "lane", lane(m, (int)i));
		json_object_array_add(per_vcpu, v);
	}
	json_object_object_add(o, "vcpus", per_vcpu);
	/* No bpf, no plan: the array stays empty. */
	rmio_master_plan(m, plan_entry, plan);
	json_object_object_add(o, "plan", plan);
	add_text(o, "plan_why", json_object_array_length(plan) ? NULL : no_plan(m));
	json_object_object_add(o, "maps", maps(vm, m));
}

static struct json_object *device(const struct vmm_device *d, const struct rmio_vm *vm,
				  unsigned int vcpus)
{
	static const char *const none[] = { "state", "backend", "counters", "lane", "vcpus",
					    "plan", "plan_why", "maps" };
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "slot", json_object_new_int((int)d->slot));
	add_text(o, "name", d->name);
	add_text(o, "socket", d->socket);
	json_object_object_add(o, "rmio", json_object_new_boolean(d->master != NULL));
	if (d->master)
		with_master(o, vm, d->master, vcpus);
	for (unsigned int i = 0; !d->master && i < sizeof(none) / sizeof(none[0]); i++)
		json_object_object_add(o, none[i], NULL);
	return o;
}

static struct json_object *exits(const struct vmm_vcpu *vcpu)
{
	static const char *const names[VMM_EXITS] = {
		[VMM_EXIT_LOAD] = "load", [VMM_EXIT_STORE] = "store", [VMM_EXIT_IN] = "in",
		[VMM_EXIT_OUT] = "out", [VMM_EXIT_INTR] = "interrupted",
		[VMM_EXIT_OTHER] = "other",
	};
	struct json_object *o = json_object_new_object();

	for (unsigned int i = 0; i < VMM_EXITS; i++)
		add_u64(o, names[i], vcpu->exits[i]);
	return o;
}

static bool bpf_stats_enabled(void)
{
	FILE *f = fopen("/proc/sys/kernel/bpf_stats_enabled", "re");
	int on = f && fgetc(f) == '1';

	if (f)
		fclose(f);
	return on;
}

static struct json_object *program(const struct rmio_vm *vm)
{
	struct rmio_program_stats p = { .sz = sizeof(p) };
	struct json_object *o;

	if (rmio_vm_program(vm, &p))
		return NULL;
	o = json_object_new_object();
	add_u64(o, "id", p.id);
	json_object_object_add(o, "timed", json_object_new_boolean(bpf_stats_enabled()));
	add_u64(o, "runs", p.runs);
	add_u64(o, "run_ns", p.run_ns);
	json_object_object_add(o, "maps", maps(vm, NULL));
	return o;
}

static struct json_object *whole(const struct vmm_vm *vm, struct rmio_vm *rmio,
				 struct vmm_device *devices, unsigned int n)
{
	struct json_object *o = json_object_new_object();
	struct json_object *a = json_object_new_array();
	struct json_object *e = json_object_new_array();
	const char *why;

	json_object_object_add(o, "schema", json_object_new_int(1));
	json_object_object_add(o, "pid", json_object_new_int((int)getpid()));
	json_object_object_add(o, "vcpus", json_object_new_int((int)vm->nr_vcpus));
	json_object_object_add(o, "memory", json_object_new_int64((int64_t)vm->memory));
	add_text(o, "backend", vmm_backend_name(rmio_vm_backend(rmio, &why)));
	add_text(o, "why", why);
	json_object_object_add(o, "program", program(rmio));
	add_u64(o, "straddled", rmio_vm_straddled(rmio));
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		json_object_array_add(e, exits(&vm->vcpus[i]));
	json_object_object_add(o, "exits", e);
	for (unsigned int i = 0; i < n; i++)
		json_object_array_add(a, device(&devices[i], rmio, vm->nr_vcpus));
	json_object_object_add(o, "devices", a);
	return o;
}

char *vmm_stats_line(const struct vmm_vm *vm, struct rmio_vm *rmio, struct vmm_device *devices,
		     unsigned int n)
{
	int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
	struct json_object *o = whole(vm, rmio, devices, n);
	struct timespec now;
	char *line;

	clock_gettime(CLOCK_MONOTONIC, &now);
	add_u64(o, "time_ns", (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	if (asprintf(&line, "%s\n", json_object_to_json_string_ext(o, flags)) < 0)
		line = NULL;
	json_object_put(o);
	return line;
}

int vmm_stats_write(const char *path, const struct vmm_machine *m, struct rmio_vm *vm,
		    struct vmm_device *devices, unsigned int n, int status)
{
	struct json_object *o = whole(m->vm, vm, devices, n);
	int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE;
	const char *text;
	FILE *f;
	int rc = 0;

	json_object_object_add(o, "status", json_object_new_int(status));
	text = json_object_to_json_string_ext(o, flags);
	f = strcmp(path, "-") ? fopen(path, "we") : stdout;
	if (!f) {
		rc = -errno;
	} else {
		if (fprintf(f, "%s\n", text) < 0)
			rc = -EIO;
		if ((f == stdout ? fflush(f) : fclose(f)) && !rc)
			rc = -errno;
	}
	json_object_put(o);
	return rc;
}
