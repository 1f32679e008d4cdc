/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What a client keeps of what it has told its device, to tell it to a successor.  Beside the data
 * path.
 */
#ifndef RMIO_VMM_CLIENT_KEEP_H
#define RMIO_VMM_CLIENT_KEEP_H

#include <rmio/vmm.h>
#include <stdint.h>

struct client_keep;

int client_keep_new(struct client_keep **k);
void client_keep_free(struct client_keep *k);

/* With c->lock held, after the call of that name has succeeded; @k NULL: nothing. */
void client_keep_map(struct client_keep *k, uint64_t iova, uint64_t size, int fd, uint64_t offset,
		     int prot);
void client_keep_unmap(struct client_keep *k, uint64_t iova, uint64_t size);
void client_keep_irqs(struct client_keep *k, uint32_t index, uint32_t action, uint32_t start,
		      uint32_t count, const int *fds);
void client_keep_config(struct client_keep *k, uint64_t offset, const void *buf, uint32_t count);
void client_keep_reset(struct client_keep *k);

/*
 * What tells one device from another: at the beginning, with @first, it is noted, and later
 * compared.  0; -ENODEV: another one, and rmio_errstr says in what; what the calls return.
 */
int client_keep_identity(struct client_keep *k, struct rmio_client *c, bool first);

/* All of it, to the device that there is now.  0, what the calls return, -ENOMEM: it has gaps. */
int client_keep_replay(const struct client_keep *k, struct rmio_client *c);

#endif
