// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Statistics of a VM that has ended: one object a device, with the library's
 * counters summed and for each vCPU.
 */
#include "stats.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

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
	return backend == RMIO_BACKEND_BPF ? "bpf" : "exit";
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

static struct json_object *device(const struct vmm_device *d, unsigned int vcpus)
{
	struct json_object *o = json_object_new_object();
	struct json_object *per_vcpu = NULL;

	json_object_object_add(o, "slot", json_object_new_int((int)d->slot));
	json_object_object_add(o, "name", json_object_new_string(d->name));
	json_object_object_add(o, "rmio", json_object_new_boolean(d->master != NULL));
	if (d->master) {
		per_vcpu = json_object_new_array();
		for (unsigned int i = 0; i < vcpus; i++)
			json_object_array_add(per_vcpu, counters(d->master, (int)i));
	}
	json_object_object_add(
		o, "state",
		!d->master ? NULL
			   : json_object_new_string(vmm_state_name(rmio_master_state(d->master))));
	json_object_object_add(
		o, "backend",
		!d->master ? NULL
			   : json_object_new_string(
				     vmm_backend_name(rmio_master_backend(d->master))));
	json_object_object_add(o, "counters", d->master ? counters(d->master, -1) : NULL);
	json_object_object_add(o, "vcpus", per_vcpu);
	return o;
}

int vmm_stats_write(const char *path, const struct vmm_machine *m, struct rmio_vm *vm,
		    struct vmm_device *devices, unsigned int n, int status)
{
	struct json_object *o = json_object_new_object();
	struct json_object *a = json_object_new_array();
	int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE;
	const char *text;
	FILE *f;
	int rc = 0;

	json_object_object_add(o, "schema", json_object_new_int(1));
	json_object_object_add(o, "status", json_object_new_int(status));
	json_object_object_add(o, "vcpus", json_object_new_int((int)m->vm->nr_vcpus));
	json_object_object_add(o, "memory", json_object_new_int64((int64_t)m->vm->memory));
	json_object_object_add(
		o, "backend", json_object_new_string(vmm_backend_name(rmio_vm_backend(vm, NULL))));
	json_object_object_add(o, "straddled",
			       json_object_new_int64((int64_t)rmio_vm_straddled(vm)));
	for (unsigned int i = 0; i < n; i++)
		json_object_array_add(a, device(&devices[i], m->vm->nr_vcpus));
	json_object_object_add(o, "devices", a);
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
