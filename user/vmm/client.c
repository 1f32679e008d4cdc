// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The client of a VMM: one command and its reply at a time, on a socket whose
 * other end is believed nothing, in the protocol that the VMM asked for.
 * Beside the data path once the device has the rings.
 */
#include "client_priv.h"
#include "death.h"
#include "opts.h"
#include "wire/name.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS	5000u

/* -- connecting ----------------------------------------------------------- */

int rmio_client_new(int fd, const struct rmio_client_opts *opts, struct rmio_client **out)
{
	struct rmio_client_opts o;
	pthread_mutexattr_t again;
	struct rmio_client *c;
	int err = rmio_opts_copy(&o, sizeof(o), opts, "rmio_client_opts");

	if (!err && o.protocol != RMIO_PROTOCOL_VFIO_USER &&
	    o.protocol != RMIO_PROTOCOL_MULTI_PROCESS)
		err = -EINVAL;
	if (err)
		goto close_fd;
	err = -ENOMEM;
	c = calloc(1, sizeof(*c));
	if (!c)
		goto close_fd;
	if (vu_conn_init(&c->conn, fd)) {
		free(c);
		return -EINVAL;
	}
	/* Some calls are several messages, which belong together. */
	pthread_mutexattr_init(&again);
	pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&c->lock, &again);
	pthread_mutexattr_destroy(&again);
	pthread_rwlock_init(&c->places_lock, NULL);
	c->timeout_ns = (o.reply_timeout_ms ? o.reply_timeout_ms : TIMEOUT_MS) * 1000000ull;
	err = o.protocol == RMIO_PROTOCOL_MULTI_PROCESS ? client_mp_start(c)
							: client_vu_start(c, &o);
	if (err) {
		rmio_client_free(c);
		return err;
	}
	*out = c;
	return 0;

close_fd:
	close(fd);
	return err;
}

int rmio_client_connect(const char *path, const struct rmio_client_opts *opts,
			struct rmio_client **out)
{
	struct sockaddr_un addr;
	struct rmio_client_opts o;
	struct timeval tv;
	socklen_t len;
	uint32_t ms;
	int fd, err;

	err = rmio_opts_copy(&o, sizeof(o), opts, "rmio_client_opts");
	if (!err)
		err = rmio_name_address(path, &addr, &len);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* A listener whose backlog is full would make us wait. */
	ms = o.reply_timeout_ms ? o.reply_timeout_ms : TIMEOUT_MS;
	tv = (struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	do
		err = connect(fd, (struct sockaddr *)&addr, len) ? -errno : 0;
	while (err == -EINTR);
	if (err) {
		close(fd);
		return err == -EAGAIN ? -ETIMEDOUT : err;
	}
	return rmio_client_new(fd, opts, out);
}

void rmio_client_free(struct rmio_client *c)
{
	if (!c)
		return;
	/* Before the device process can notice, and close its end: an orderly end is no death. */
	if (c->master)
		rmio_master_kill(c->master, RMIO_STATE_CLOSED, NULL);
	if (c->ops->exit)
		c->ops->exit(c);
	vu_conn_exit(&c->conn);
	if (c->master)
		rmio_master_free(c->master);
	pthread_mutex_destroy(&c->lock);
	pthread_rwlock_destroy(&c->places_lock);
	free(c->sizes);
	free(c);
}

struct rmio_master *rmio_client_master(struct rmio_client *c)
{
	return c->master;
}

const char *rmio_client_name(const struct rmio_client *c)
{
	return c->caps.name;
}

/* -- the calls ------------------------------------------------------------ */

int rmio_client_device_info(struct rmio_client *c, uint32_t *flags, uint32_t *regions,
			    uint32_t *irqs)
{
	return c->ops->device_info(c, flags, regions, irqs);
}

int rmio_client_region_info(struct rmio_client *c, uint32_t index, struct rmio_region_info *info)
{
	return c->ops->region_info(c, index, info);
}

int rmio_client_irq_info(struct rmio_client *c, uint32_t index, uint32_t *flags, uint32_t *count)
{
	return c->ops->irq_info(c, index, flags, count);
}

int rmio_client_region_read(struct rmio_client *c, uint32_t index, uint64_t offset, void *buf,
			    uint32_t count)
{
	return count ? c->ops->region_read(c, index, offset, buf, count) : 0;
}

int rmio_client_region_write(struct rmio_client *c, uint32_t index, uint64_t offset,
			     const void *buf, uint32_t count)
{
	return count ? c->ops->region_write(c, index, offset, buf, count) : 0;
}

int rmio_client_dma_map(struct rmio_client *c, uint64_t iova, uint64_t size, int fd,
			uint64_t offset, int prot)
{
	return c->ops->dma_map(c, iova, size, fd, offset, prot);
}

int rmio_client_dma_unmap(struct rmio_client *c, uint64_t iova, uint64_t size)
{
	return c->ops->dma_unmap(c, iova, size);
}

int rmio_client_set_irqs(struct rmio_client *c, uint32_t index, uint32_t action, uint32_t start,
			 uint32_t count, const int *fds)
{
	if ((action != VFIO_IRQ_SET_ACTION_TRIGGER && action != VFIO_IRQ_SET_ACTION_MASK &&
	     action != VFIO_IRQ_SET_ACTION_UNMASK) || start + count < start || (fds && !count))
		return -EINVAL;
	return c->ops->set_irqs(c, index, action, start, count, fds);
}

int rmio_client_reset(struct rmio_client *c)
{
	return c->ops->reset(c);
}
