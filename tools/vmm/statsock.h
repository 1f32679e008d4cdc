/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The socket on which a running VM tells what it does with its devices: a client
 * gets one line, a JSON object, for each newline that it sends.  Served by the thread
 * that watches over the VM, which nobody can make wait.
 */
#ifndef VMM_STATSOCK_H
#define VMM_STATSOCK_H

#include <stddef.h>

#define VMM_STATSOCK_CLIENTS	16u
#define VMM_STATSOCK_PATIENCE	3u	/* seconds in which a client has to read something */

struct socket_access;
struct vmm_statsock;

/*
 * Mode 0600; what a VMM that was killed has left there is replaced.  @line: makes the
 * next line, newline included, to be freed with free(3); NULL: none, the client is
 * dropped.  -errno of bind(2), -EADDRINUSE somebody answers there, -ENAMETOOLONG.
 */
int vmm_statsock_new(const char *path, const struct socket_access *a, char *(*line)(void *arg),
		     void *arg, struct vmm_statsock **out);
void vmm_statsock_free(struct vmm_statsock *s);

/* Readable when there is something to do: then _serve, which does not block. */
int vmm_statsock_fd(const struct vmm_statsock *s);
void vmm_statsock_serve(struct vmm_statsock *s);

#endif
