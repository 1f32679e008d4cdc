/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * A vfio-user client by hand, for what the library's would not do: commands that are refused.
 */
#ifndef RMIO_SELFTESTS_VU_RAW_H
#define RMIO_SELFTESTS_VU_RAW_H

#include "ktap.h"

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A command nobody knows: answered with an error, and the connection stays. */
struct vu_raw_cmd {
	uint16_t id, cmd;
	uint32_t size, flags, error;
};

/* Connected, or -1; @type: of the socket. */
__attribute__((unused))
static int raw_connect(const char *path, int type)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* False: no answer within @ms. */
__attribute__((unused))
static bool raw_answer(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char reply[4096];

	return poll(&p, 1, ms) == 1 && recv(fd, reply, sizeof(reply), 0) > 0;
}

/* Connected and at the point where commands can be sent, or -1. */
__attribute__((unused))
static int vu_raw_connect(const char *path)
{
	static const uint8_t version[] = {
		1, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
	};
	int fd = raw_connect(path, SOCK_STREAM);

	if (fd < 0)
		return -1;
	if (send(fd, version, sizeof(version), MSG_NOSIGNAL) != sizeof(version) ||
	    !raw_answer(fd, 5000)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* One command that is refused.  False: not answered in time. */
__attribute__((unused))
static bool vu_raw_refused(int fd, uint16_t cmd, int ms)
{
	struct vu_raw_cmd c = { .id = 2, .cmd = cmd, .size = sizeof(c) };

	return send(fd, &c, sizeof(c), MSG_NOSIGNAL) == sizeof(c) && raw_answer(fd, ms);
}

#endif
