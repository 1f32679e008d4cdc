/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The slave descriptor of the kernel device (KVM_DEV_TYPE_USER): what slave.c does by messages
 * on a socket, here are ioctls and mappings.  Beside the data path, but for the wake-up of
 * a vCPU.
 */
#ifndef RMIO_DEVICE_KSLAVE_H
#define RMIO_DEVICE_KSLAVE_H

#include <rmio/abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is a descriptor that a peer has sent the kernel's?  Nothing it says afterwards is the peer's. */
bool rmio_kslave_is(int fd);

/* 0 or -ECONNRESET. */
int rmio_kslave_alive(int fd);

/*
 * Map "down" to be read and "up" to be written; *h: a copy of the header, to be checked
 * before *down and *up are used.  0, -EBUSY (somebody uses read(2)), -ENOMEM, -EPROTO.
 */
int rmio_kslave_map(int fd, struct rmio_down_hdr *h, const void **down, void **up);

/* As the calls of rmio/slave.h; *image: mapped at @at, or anywhere. */
int rmio_kslave_size(int fd, uint64_t size);
int rmio_kslave_ctrl(int fd, const struct rmio_area *areas, size_t n);
int rmio_kslave_image(int fd, uint64_t size, void *at, void **image);

/* What there is to see: nothing, -EAGAIN; requests, 0; the end, -ECONNRESET. */
int rmio_kslave_look(int fd);

/* The vCPU of that lane, if it sleeps. */
void rmio_kslave_wake(int fd, uint32_t lane);

/* Nobody serves the device any more, whoever else has the descriptor; closed. */
void rmio_kslave_hang_up(int fd);

#endif
