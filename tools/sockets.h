/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Sockets by name: what is wrong with one.
 */
#ifndef RMIO_TOOLS_SOCKETS_H
#define RMIO_TOOLS_SOCKETS_H

/*
 * What strerror(3) does not say of a path that could not be bound or connected to with that -errno:
 * "; it ..."; NULL: nothing.
 */
const char *socket_remark(const char *path, int err);

#endif
