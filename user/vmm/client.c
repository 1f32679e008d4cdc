// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The client of a VMM: one command and its reply at a time, on a socket whose
 * other end is believed nothing, in the protocol that the VMM asked for.
 * Beside the data path once the device has the rings.
 */
#include "client_priv.h"
#include "death.h"
#include "opts.h"
#include "refuse.h"
#include "wire/name.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS	5000u

/* -- connecting ----------------------------------------------------------- */

static int start_keeping(struct rmio_client *c)
{
	struct client_keep *k;
	int err = client_keep_new(&k);

	if (err)
		return err;
	c->keep = k;
	return client_keep_identity(k, c, true);
}

int rmio_client_new(int fd, const struct rmio_client_opts *opts, struct rmio_client **out)
{
	struct rmio_client_opts o;
	pthread_mutexattr_t again;
	struct rmio_client *c;
	int err = rmio_opts_copy(&o, sizeof(o), opts, "rmio_client_opts");

	if (!err && o.protocol != RMIO_PROTOCOL_VFIO_USER &&
	    o.protocol != RMIO_PROTOCOL_MULTI_PROCESS)
		err = -EINVAL;
	if (!err && (o.flags & ~RMIO_CLIENT_KEEP || o.reserved ||
		     (o.flags && o.protocol != RMIO_PROTOCOL_VFIO_USER)))
		err = rmio_refuse(-EINVAL, "rmio_client_opts: unknown flags, or reserved is not 0");
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
	if (!err && o.flags & RMIO_CLIENT_KEEP)
		err = start_keeping(c);
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

/* A descriptor that is connected, or -errno. */
static int connect_to(const char *path, uint64_t timeout_ns)
{
	struct sockaddr_un addr;
	struct timeval tv = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u),
		.tv_usec = (suseconds_t)(timeout_ns % 1000000000u / 1000),
	};
	socklen_t len;
	int fd, err;

	err = rmio_name_address(path, &addr, &len);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* A listener whose backlog is full would make us wait. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	do
		err = connect(fd, (struct sockaddr *)&addr, len) ? -errno : 0;
	while (err == -EINTR);
	if (!err)
		return fd;
	close(fd);
	return err == -EAGAIN ? -ETIMEDOUT : err;
}

int rmio_client_connect(const char *path, const struct rmio_client_opts *opts,
			struct rmio_client **out)
{
	struct rmio_client_opts o;
	int fd, err;

	err = rmio_opts_copy(&o, sizeof(o), opts, "rmio_client_opts");
	if (err)
		return err;
	fd = connect_to(path, (o.reply_timeout_ms ? o.reply_timeout_ms : TIMEOUT_MS) * 1000000ull);
	if (fd < 0)
		return fd;
	err = rmio_client_new(fd, opts, out);
	if (err || !(*out)->keep)
		return err;
	(*out)->path = strdup(path);
	if ((*out)->path)
		return 0;
	rmio_client_free(*out);
	return -ENOMEM;
}

/* The old connection goes, whatever state it is in. */
static int change_connection(struct rmio_client *c, int fd)
{
	struct vu_conn fresh;

	if (vu_conn_init(&fresh, fd))
		return -EINVAL;
	vu_conn_exit(&c->conn);
	c->conn = fresh;
	c->conn.tail = &c->conn.head;
	c->broken = false;
	c->n_late = 0;
	return 0;
}

int rmio_client_reconnect(struct rmio_client *c, int fd)
{
	int err = 0;

	rmio_refuse_none();
	if (!c->keep || !c->ops->reconnect)
		err = rmio_refuse(-ENOTSUP, "the client was made without RMIO_CLIENT_KEEP");
	else if (fd < 0 && !c->path)
		err = rmio_refuse(-EINVAL, "the client was made from a descriptor: a new one is due");
	if (err) {
		if (fd >= 0)
			close(fd);
		return err;
	}
	pthread_mutex_lock(&c->lock);
	if (fd < 0)
		fd = connect_to(c->path, c->timeout_ns);
	err = fd < 0 ? fd : change_connection(c, fd);
	if (!err) {
		err = c->ops->reconnect(c);
		if (err)
			client_give_up(c, err);
	}
	pthread_mutex_unlock(&c->lock);
	return err;
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
	client_keep_free(c->keep);
	free(c->path);
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
	int err;

	if (!count)
		return 0;
	pthread_mutex_lock(&c->lock);
	err = c->ops->region_write(c, index, offset, buf, count);
	if (!err && index == VFIO_PCI_CONFIG_REGION_INDEX)
		client_keep_config(c->keep, offset, buf, count);
	pthread_mutex_unlock(&c->lock);
	return err;
}

int rmio_client_dma_map(struct rmio_client *c, uint64_t iova, uint64_t size, int fd,
			uint64_t offset, int prot)
{
	int err;

	pthread_mutex_lock(&c->lock);
	err = c->ops->dma_map(c, iova, size, fd, offset, prot);
	if (!err && !c->replaying)
		client_keep_map(c->keep, iova, size, fd, offset, prot);
	pthread_mutex_unlock(&c->lock);
	return err;
}

/* Whoever could not be told is not to be told the contrary again, when it has a successor. */
static bool untold(const struct rmio_client *c, int err)
{
	return err == -ETIMEDOUT || c->broken;
}

int rmio_client_dma_unmap(struct rmio_client *c, uint64_t iova, uint64_t size)
{
	int err;

	pthread_mutex_lock(&c->lock);
	err = c->ops->dma_unmap(c, iova, size);
	if (!err || untold(c, err))
		client_keep_unmap(c->keep, iova, size);
	pthread_mutex_unlock(&c->lock);
	return err;
}

int rmio_client_set_irqs(struct rmio_client *c, uint32_t index, uint32_t action, uint32_t start,
			 uint32_t count, const int *fds)
{
	int err;

	if ((action != VFIO_IRQ_SET_ACTION_TRIGGER && action != VFIO_IRQ_SET_ACTION_MASK &&
	     action != VFIO_IRQ_SET_ACTION_UNMASK) || start + count < start || (fds && !count))
		return -EINVAL;
	pthread_mutex_lock(&c->lock);
	err = c->ops->set_irqs(c, index, action, start, count, fds);
	/* An interrupt that is taken away stays away; one that could not be given is not kept. */
	if ((!err || (!count && untold(c, err))) && !c->replaying)
		client_keep_irqs(c->keep, index, action, start, count, fds);
	pthread_mutex_unlock(&c->lock);
	return err;
}

int rmio_client_reset(struct rmio_client *c)
{
	int err;

	rmio_refuse_none();
	pthread_mutex_lock(&c->lock);
	err = c->ops->reset(c);
	if (!err)
		client_keep_reset(c->keep);
	pthread_mutex_unlock(&c->lock);
	return err;
}
