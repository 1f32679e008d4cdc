/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The broker's state: cmd.c lets VMMs in and goes round them, serve.c answers one.
 */
#ifndef RMIO_TOOLS_BPFD_H
#define RMIO_TOOLS_BPFD_H

#include "account.h"
#include "backend/bpf/broker.h"
#include "sockets.h"
#include "wire/name.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define CLIENTS		128
#define CLIENTS_OF_UID	16

struct client {
	int fd;			/* -1: free */
	struct ucred who;
	struct rmio_process process;
	struct rmio_bpf_object *object;
	uint32_t devices;
	uint32_t number;	/* in the account; from 1 */
};

struct bpfd {
	const char *path;
	struct rmio_name own_name;
	const char *group_name;
	gid_t group;
	bool has_group;
	struct socket_access access;	/* of the socket, if it was said */
	uint64_t max_bytes;
	bool quiet;
	int listen;
	int spare;		/* descriptor, to turn somebody away when there is no other */
	uint32_t connections;	/* so far */
	struct account account;
	struct client clients[CLIENTS];
};

/* One request.  False: the client is to be dropped. */
bool bpfd_serve(struct bpfd *b, struct client *c);

#endif
