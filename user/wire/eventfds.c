// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Signals eventfds that a peer shares, by way of aio(7): see eventfds.h.
 */
#include "eventfds.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EVENTS	(4 * RMIO_EVENTFDS_MAX)

void rmio_eventfds_init(struct rmio_eventfds *e)
{
	aio_context_t ctx = 0;

	memset(e, 0, sizeof(*e));
	e->none = memfd_create("rmio-nothing", MFD_CLOEXEC);
	if (e->none < 0)
		return;
	if (!syscall(SYS_io_setup, EVENTS, &ctx)) {
		e->ctx = ctx;
		return;
	}
	close(e->none);
	e->none = -1;
}

void rmio_eventfds_exit(struct rmio_eventfds *e)
{
	if (e->none < 0)
		return;
	syscall(SYS_io_destroy, e->ctx);
	close(e->none);
	e->none = -1;
}

/* What has ended is of no interest but for the room that it takes. */
static void take_events(struct rmio_eventfds *e)
{
	struct io_event events[EVENTS];
	struct timespec none = { 0, 0 };

	syscall(SYS_io_getevents, e->ctx, 0, EVENTS, events, &none);
	e->events = 0;
}

uint32_t rmio_eventfds_signal(struct rmio_eventfds *e, const int *fds, uint32_t n)
{
	struct iocb cb[RMIO_EVENTFDS_MAX], *cbs[RMIO_EVENTFDS_MAX];
	uint32_t i;
	long done;

	if (e->none < 0)
		return 0;
	if (n > RMIO_EVENTFDS_MAX)
		n = RMIO_EVENTFDS_MAX;
	if (e->events + n > EVENTS)
		take_events(e);
	memset(cb, 0, n * sizeof(cb[0]));
	for (i = 0; i < n; i++) {
		cb[i].aio_lio_opcode = IOCB_CMD_PREAD;
		cb[i].aio_fildes = (uint32_t)e->none;
		cb[i].aio_flags = IOCB_FLAG_RESFD;
		cb[i].aio_resfd = (uint32_t)fds[i];
		cbs[i] = &cb[i];
	}
	done = syscall(SYS_io_submit, e->ctx, (long)n, cbs);
	if (done <= 0)
		return 0;
	e->events += (uint32_t)done;
	return (uint32_t)done;
}
