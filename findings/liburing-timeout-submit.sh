#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
#
# io_uring_submit_and_wait_timeout() whose time is up says how many it submitted, not -ETIME.
#
# Version    liburing 2.3 (Debian 12's 2.3-3); Linux 5.11 or later
# Expected   two requests that do not complete, and 50 ms: -ETIME, as when nothing is submitted
# Seen       2, with *cqe NULL; the same call with an empty submission queue returns -ETIME
# Why        what was submitted is the kernel's success; the timeout is reported by a later call
# Instead    look at *cqe, not at the value, to know whether there is a completion
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

version=$(apt-cache madison liburing-dev | awk '$3 ~ /^2\.3-/ { print $3; exit }')
[ "$version" ] || { echo "liburing-dev 2.3 is not to be had from apt's sources" >&2; exit 4; }
apt-get -q download "liburing-dev=$version" >/dev/null
dpkg -x liburing-dev_*.deb root
echo "liburing $version"

cat >timeout.c <<'END'
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

static int wait_50_ms(struct io_uring *ring, struct io_uring_cqe **cqe)
{
	struct __kernel_timespec ts = { .tv_nsec = 50000000 };

	*cqe = (void *)ring;
	return io_uring_submit_and_wait_timeout(ring, cqe, 1, &ts, NULL);
}

int main(void)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	int fds[2], i, with, without;

	if (pipe(fds) || io_uring_queue_init(8, &ring, 0))
		return 4;
	for (i = 0; i < 2; i++)
		io_uring_prep_poll_add(io_uring_get_sqe(&ring), fds[0], POLLIN);
	with = wait_50_ms(&ring, &cqe);
	printf("two requests submitted: returns %d, cqe %s\n", with, cqe ? "set" : "NULL");
	if (cqe)
		return 1;
	without = wait_50_ms(&ring, &cqe);
	printf("nothing submitted: returns %d (-ETIME is %d)\n", without, -ETIME);
	return !(with == 2 && without == -ETIME);
}
END
cc -o timeout timeout.c -I"$dir/root/usr/include" "$(find root -name liburing.a)"
status=0
./timeout || status=$?
[ $status = 4 ] && { echo "no io_uring here; sysctl kernel.io_uring_disabled=0 would enable it" >&2; exit 4; }
[ $status = 0 ] || { echo "CHANGED" >&2; exit 1; }
echo "as found"
