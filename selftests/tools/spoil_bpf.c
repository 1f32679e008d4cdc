// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * For LD_PRELOAD, between a command and libbpf: spoils the BPF object before it is loaded,
 * as an older kernel or another libbpf would find it.
 */
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define VISIBLE	__attribute__((visibility("default")))

typedef int (*load_fn)(struct bpf_object_skeleton *s);

VISIBLE int bpf_object__load_skeleton(struct bpf_object_skeleton *s)
{
	load_fn load = (load_fn)dlsym(RTLD_NEXT, "bpf_object__load_skeleton");
	const char *what = getenv("RMIO_SPOIL");

	if (what && !strcmp(what, "verifier"))
		bpf_map__set_value_size(bpf_object__find_map_by_name(*s->obj, "vcpus"), 16);
	else if (what && !strcmp(what, "map"))
		bpf_map__set_type(bpf_object__find_map_by_name(*s->obj, "zones"), 4711);
	return load(s);
}
