// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Who a device is attached to: a vfio-user client on a socket, one at a time,
 * with rings or without, or a bare slave descriptor.  Beside the data path.
 */
#include "device.h"
#include "opts.h"
#include "refuse.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* After accept(2) failed for want of something: look again then. */
#define ACCEPT_AGAIN_NS	100000000u

static void next_peer(struct rmio_dev *dev);

/* -- attaching and detaching -------------------------------------------------------- */

static void peer_came(struct rmio_dev *dev)
{
	dev->connected = true;
	dev->bad_logged = false;
	dev->no_fd_logged = false;
	if (dev->listen_fd < 0)
		rmio_loop_use(dev->loop);
	if (dev->ops->attach)
		dev->ops->attach(dev, true);
}

static void peer_gone(struct rmio_dev *dev)
{
	bool was = dev->connected;

	dev->connected = false;
	rmio_dev_detach(dev);
	rmio_watch_free(dev->vu_in);
	rmio_watch_free(dev->vu_out);
	dev->vu_in = NULL;
	dev->vu_out = NULL;
	rmio_timer_cancel(dev->loop, &dev->vu_again);
	rmio_timer_cancel(dev->loop, &dev->vu_stuck);
	vu_server_free(dev->vu);
	dev->vu = NULL;
	rmio_irqs_drop(&dev->irqs);
	rmio_dev_dma_gone(dev);
	if (!was)
		return;
	if (dev->ops->attach)
		dev->ops->attach(dev, false);
	rmio_dev_do_reset(dev);
	if (dev->listen_fd < 0)
		rmio_loop_unuse(dev->loop);
}

/* The slave descriptor of this device has ended: the peer goes, or its rings. */
static void slave_gone(struct rmio_dev *dev, int err)
{
	if (err != -ECONNRESET)
		rmio_dev_log(dev, "rings given up: %s", strerror(-err));
	/* A client may destroy its master and keep the socket; nonsense ends both. */
	if (dev->vu && (dev->vu_busy || err == -ECONNRESET)) {
		rmio_dev_detach(dev);
		if (err != -ECONNRESET)
			dev->vu_doomed = err;
		return;
	}
	peer_gone(dev);
	next_peer(dev);
}

/* -- the socket ------------------------------------------------------------------------------ */

static void vu_readable(void *arg, uint32_t events);
static void vu_writable(void *arg, uint32_t events);

/* Have a poll of the socket for @events, or none.  False: no memory. */
static bool watch(struct rmio_dev *dev, struct rmio_watch **w, bool wanted, uint32_t events,
		  void (*ready)(void *arg, uint32_t events))
{
	if (!wanted) {
		rmio_watch_free(*w);
		*w = NULL;
	} else if (!*w) {
		*w = rmio_watch_poll(dev->loop, vu_server_fd(dev->vu), events, ready, dev);
	}
	return !wanted || *w;
}

/* Requests wait while replies do: for as long as the peer takes any. */
static bool watch_both(struct rmio_dev *dev)
{
	uint64_t taken;
	bool reads = vu_server_wants_read(dev->vu, &taken);

	if (reads) {
		rmio_timer_cancel(dev->loop, &dev->vu_stuck);
	} else if (!dev->vu_stuck.armed) {
		/* Compared when the time is up: what is taken until then counts, all of it. */
		dev->vu_taken = taken;
		rmio_timer_arm(dev->loop, &dev->vu_stuck, dev->vu_stuck_ns);
	}
	return watch(dev, &dev->vu_in, reads, POLLIN, vu_readable) &&
	       watch(dev, &dev->vu_out, vu_server_wants_write(dev->vu), POLLOUT, vu_writable);
}

static void vu_turn(struct rmio_dev *dev, int (*turn)(struct vu_server *srv))
{
	int err;

	dev->vu_busy = true;
	dev->drain_left = DRAIN_MAX;
	err = turn(dev->vu);
	/* What vCPUs stored before the end is handled before it. */
	if (err < 0)
		rmio_dev_drain(dev);
	dev->vu_busy = false;
	if (err < 0 || dev->vu_doomed) {
		if (err < 0 && err != -ECONNRESET)
			rmio_dev_log(dev, "connection closed: %s", vu_server_reason(dev->vu));
		peer_gone(dev);
		next_peer(dev);
		return;
	}
	if (err)
		rmio_timer_arm(dev->loop, &dev->vu_again, 0);
	if (!watch_both(dev)) {
		peer_gone(dev);
		next_peer(dev);
	}
}

static void vu_stuck(struct rmio_timer *t)
{
	struct rmio_dev *dev = (struct rmio_dev *)((char *)t - offsetof(struct rmio_dev, vu_stuck));
	uint64_t taken;

	if (vu_server_wants_read(dev->vu, &taken))
		return;
	if (dev->vu_taken == taken) {
		vu_turn(dev, vu_server_stuck);
		return;
	}
	dev->vu_taken = taken;
	rmio_timer_arm(dev->loop, &dev->vu_stuck, dev->vu_stuck_ns);
}

static void vu_readable(void *arg, uint32_t events)
{
	struct rmio_dev *dev = arg;

	vu_turn(dev, vu_server_readable);
}

static void vu_again(struct rmio_timer *t)
{
	vu_readable((char *)t - offsetof(struct rmio_dev, vu_again), 0);
}

static void vu_writable(void *arg, uint32_t events)
{
	struct rmio_dev *dev = arg;

	vu_turn(dev, vu_server_writable);
}

static int serve_socket(struct rmio_dev *dev, int fd)
{
	int err;

	dev->slave_gone = slave_gone;
	err = vu_server_new(fd, &rmio_dev_vu_ops, dev, &dev->vu);

	if (err)
		return err;
	dev->vu_in = rmio_watch_poll(dev->loop, vu_server_fd(dev->vu), POLLIN, vu_readable, dev);
	if (!dev->vu_in) {
		vu_server_free(dev->vu);
		dev->vu = NULL;
		return -ENOMEM;
	}
	dev->vu_again.fire = vu_again;
	dev->vu_stuck.fire = vu_stuck;
	dev->vu_doomed = 0;
	peer_came(dev);
	return 0;
}

/* What it is to be given takes the place of nothing. */
static int taken(const struct rmio_dev *dev)
{
	rmio_refuse_none();
	if (dev->listen_fd >= 0)
		return rmio_refuse(-EBUSY, "%s: it listens on %s already", dev->name, dev->path);
	if (dev->connected)
		return rmio_refuse(-EBUSY, "%s: it has a peer already", dev->name);
	return 0;
}

int rmio_dev_serve(struct rmio_dev *dev, int fd)
{
	int err = taken(dev);

	if (err) {
		close(fd);
		return err;
	}
	return serve_socket(dev, fd);
}

int rmio_dev_slave(struct rmio_dev *dev, int fd)
{
	int err = taken(dev);

	if (err) {
		close(fd);
		return err;
	}
	err = rmio_dev_attach(dev, fd, slave_gone);
	if (!err)
		peer_came(dev);
	return err;
}

/* -- listening --------------------------------------------------------------------------------- */

static bool has_gone(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR);
}

static void accept_ready(void *arg, uint32_t events)
{
	struct rmio_dev *dev = arg;
	int fd = accept4(dev->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		/* Such as EMFILE: it stays readable, and would be tried without end. */
		rmio_dev_log(dev, "accept: %s", strerror(errno));
		rmio_watch_free(dev->listen_watch);
		dev->listen_watch = NULL;
		rmio_timer_arm(dev->loop, &dev->listen_again, ACCEPT_AGAIN_NS);
		return;
	}
	/* Who waited in the backlog and has gone: nobody comes, and the next may. */
	if (has_gone(fd)) {
		close(fd);
		return;
	}
	if (!rmio_name_admits(&dev->own_name, fd)) {
		rmio_dev_log(dev, "connection refused: of a user who may not");
		close(fd);
		return;
	}
	/* Others wait in the backlog while this one is served. */
	rmio_watch_free(dev->listen_watch);
	dev->listen_watch = NULL;
	if (serve_socket(dev, fd))
		next_peer(dev);
}

static void next_peer(struct rmio_dev *dev)
{
	if (dev->listen_fd < 0 || dev->listen_watch || dev->connected)
		return;
	dev->listen_watch = rmio_watch_poll(dev->loop, dev->listen_fd, POLLIN, accept_ready, dev);
	if (!dev->listen_watch)
		rmio_timer_arm(dev->loop, &dev->listen_again, ACCEPT_AGAIN_NS);
}

static void listen_again(struct rmio_timer *t)
{
	next_peer((struct rmio_dev *)((char *)t - offsetof(struct rmio_dev, listen_again)));
}

/* Why no socket could be had there. */
static int why_not(int err, const char *path)
{
	struct sockaddr_un at;
	struct stat st;

	if (err == -ENAMETOOLONG)
		return rmio_refuse(err, "%s: a socket's path has 1 to %zu bytes, this one %zu", path,
				   sizeof(at.sun_path) - 1, strlen(path));
	if (err == -EADDRINUSE && !lstat(path, &st) && !S_ISSOCK(st.st_mode))
		return rmio_refuse(err, "%s: there is something that is no socket", path);
	if (err == -EADDRINUSE)
		return rmio_refuse(err, "%s: another process serves it", path);
	return rmio_refuse(err, "%s: %s", path, strerror(-err));
}

static int listen_as(struct rmio_dev *dev, const char *path, const struct rmio_name_opts *opts)
{
	int fd = taken(dev);
	char *copy = fd ? NULL : strdup(path);

	if (!copy) {
		if (opts->fd >= 0)
			close(opts->fd);
		return fd ? fd : -ENOMEM;
	}
	dev->path = copy;
	fd = rmio_name_claim(path, opts, &dev->own_name);
	if (fd < 0) {
		free(dev->path);
		dev->path = NULL;
		return why_not(fd, path);
	}
	dev->listen_fd = fd;
	dev->listen_again.fire = listen_again;
	rmio_loop_use(dev->loop);
	next_peer(dev);
	return 0;
}

int rmio_dev_listen_opts(struct rmio_dev *dev, const char *path,
			 const struct rmio_listen_opts *opts)
{
	struct rmio_name_opts n = { .type = SOCK_STREAM, .backlog = 8, .fd = -1 };
	struct rmio_listen_opts o;
	int err = rmio_opts_copy(&o, sizeof(o), opts, "rmio_listen_opts");

	if (err)
		return err;
	if (o.flags & RMIO_LISTEN_FD)
		n.fd = o.fd;
	n.mode = o.flags & RMIO_LISTEN_MODE ? o.mode : RMIO_NAME_ANY;
	n.group = o.flags & RMIO_LISTEN_GROUP ? o.group : (gid_t)-1;
	if ((o.flags & ~(RMIO_LISTEN_MODE | RMIO_LISTEN_GROUP | RMIO_LISTEN_FD)) ||
	    ((o.flags & RMIO_LISTEN_MODE) && o.mode > 0777) ||
	    ((o.flags & RMIO_LISTEN_FD) && o.fd < 0)) {
		if (n.fd >= 0)
			close(n.fd);
		return rmio_refuse(-EINVAL, "rmio_listen_opts: unknown flags, a mode above 0777, or "
				   "a descriptor below 0");
	}
	return listen_as(dev, path, &n);
}

int rmio_dev_listen(struct rmio_dev *dev, const char *path)
{
	return rmio_dev_listen_opts(dev, path, NULL);
}

void rmio_dev_peer_free(struct rmio_dev *dev)
{
	peer_gone(dev);
	rmio_timer_cancel(dev->loop, &dev->listen_again);
	rmio_watch_free(dev->listen_watch);
	if (dev->listen_fd < 0)
		return;
	rmio_name_release(dev->path, &dev->own_name);
	free(dev->path);
	dev->path = NULL;
	close(dev->listen_fd);
	dev->listen_fd = -1;
	rmio_loop_unuse(dev->loop);
}
