/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * libbpf prints to standard error for the whole process: not while it works for us.
 * Beside the data path.
 */
#ifndef RMIO_BACKEND_BPF_HUSH_H
#define RMIO_BACKEND_BPF_HUSH_H

#include <bpf/libbpf.h>

/* One thread at a time, until it gives back what it got. */
libbpf_print_fn_t rmio_bpf_hush(void);
void rmio_bpf_unhush(libbpf_print_fn_t print);

#endif
