// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * vfio-user, the VMM's end: version, then the calls of a client, each a command and its reply.
 * Beside the data path once the device has the rings; region access by message
 * for devices that have none.
 */
#include "client_call.h"
#include "death.h"
#include "opts.h"
#include "renew.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* -- connecting ----------------------------------------------------------- */

/* Of the first device or of a successor: the name is that of the first, whoever looks at it. */
static void take_caps(struct rmio_client *c, const struct vu_caps *caps, bool rmio)
{
	c->caps.max_fds = caps->max_fds;
	c->caps.max_xfer = caps->max_xfer;
	c->caps.max_maps = caps->max_maps;
	c->caps.rmio = rmio ? caps->rmio : 0;
	c->caps.ours = caps->ours;
	if (!c->named)
		memcpy(c->caps.name, caps->name, sizeof(c->caps.name));
	c->named = true;
}

static int negotiate(struct rmio_client *c, bool rmio)
{
	struct vu_caps ours = {
		.max_fds = VU_MAX_FDS, .max_xfer = VU_MAX_XFER, .max_maps = VU_DMA_MAPS,
		.rmio = rmio ? VU_RMIO_VERSION : 0, .ours = true,
	};
	struct vu_version v = { VU_MAJOR, VU_MINOR };
	const struct vu_msg *m = &c->conn.msg;
	struct vu_caps caps;
	char json[VU_JSON_OURS];
	struct client_request q = { VU_VERSION, &v, json, sizeof(v), vu_caps_format(json, &ours) };
	const char *why;
	int err;

	err = client_transact(c, &q);
	/* Whatever a device has against our version, we have no other. */
	if (err)
		return c->broken || err == -ETIMEDOUT ? err : -EPROTO;
	err = -EPROTO;
	if (m->len < sizeof(v))
		goto done;
	memcpy(&v, m->data, sizeof(v));
	if (v.major != VU_MAJOR || v.minor > VU_MINOR)
		goto done;
	err = vu_caps_parse(m->data + sizeof(v), m->len - sizeof(v), &caps, &why);
	if (err == -EINVAL || (!err && rmio && caps.rmio > VU_RMIO_VERSION))
		err = -EPROTO;
	if (!err)
		take_caps(c, &caps, rmio);
done:
	vu_conn_done(&c->conn);
	return err;
}

/* -- the calls ------------------------------------------------------------ */

static int device_info(struct rmio_client *c, uint32_t *flags, uint32_t *regions, uint32_t *irqs)
{
	struct vu_device_info d = { .argsz = sizeof(d) };
	struct client_request q = { VU_DEVICE_INFO, &d, NULL, sizeof(d) };
	int err = client_call(c, &q, &d, sizeof(d));

	if (err)
		return err;
	if (d.argsz < sizeof(d) || d.regions > VU_REGIONS_MAX || d.irqs > VU_IRQS_MAX)
		return client_nonsense(c);
	*flags = d.flags;
	*regions = d.regions;
	*irqs = d.irqs;
	return 0;
}

static bool kept_size(struct rmio_client *c, uint32_t index, uint64_t *size)
{
	bool found = false;
	uint32_t i;

	pthread_mutex_lock(&c->lock);
	for (i = 0; i < c->nr_sizes && !found; i++) {
		found = c->sizes[i].index == index;
		if (found)
			*size = c->sizes[i].size;
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

/* What there is no memory for is asked again. */
static void keep_size(struct rmio_client *c, uint32_t index, uint64_t size)
{
	struct region_size *more;
	uint64_t known;

	if (index >= VU_REGIONS_MAX || kept_size(c, index, &known))
		return;
	pthread_mutex_lock(&c->lock);
	more = c->nr_sizes < VU_REGIONS_MAX ?
	       realloc(c->sizes, (c->nr_sizes + 1) * sizeof(*more)) : NULL;
	if (more) {
		c->sizes = more;
		more[c->nr_sizes++] = (struct region_size){ index, size };
	}
	pthread_mutex_unlock(&c->lock);
}

static int region_info(struct rmio_client *c, uint32_t index, struct rmio_region_info *info)
{
	struct vu_region_info d = { .argsz = sizeof(d), .index = index };
	struct client_request q = { VU_REGION_INFO, &d, NULL, sizeof(d) };
	int err = client_call(c, &q, &d, sizeof(d));

	if (err)
		return err;
	if (d.argsz < sizeof(d) || d.index != index)
		return client_nonsense(c);
	*info = (struct rmio_region_info){ .size = d.size, .flags = d.flags };
	keep_size(c, index, d.size);
	return 0;
}

/* As rmio_own.limit: a device is asked once for each region, and never changes one. */
static int limit(void *arg, uint32_t id, uint64_t *len)
{
	struct rmio_region_info info;
	struct rmio_client *c = arg;
	int err;

	if (!kept_size(c, id, len)) {
		err = region_info(c, id, &info);
		if (err == -EINVAL)
			return -ENXIO;
		/* It does not answer: what nobody knows is no reason to refuse. */
		if (err)
			return 0;
		*len = info.size;
	}
	return *len ? 0 : -ENXIO;
}

static int irq_info(struct rmio_client *c, uint32_t index, uint32_t *flags, uint32_t *count)
{
	struct vu_irq_info d = { .argsz = sizeof(d), .index = index };
	struct client_request q = { VU_IRQ_INFO, &d, NULL, sizeof(d) };
	int err = client_call(c, &q, &d, sizeof(d));

	if (err)
		return err;
	if (d.argsz < sizeof(d) || d.index != index || d.count > VU_VECTORS_MAX)
		return client_nonsense(c);
	*flags = d.flags;
	*count = d.count;
	return 0;
}

static bool same_access(const struct vu_region_access *a, const struct vu_region_access *b)
{
	return a->offset == b->offset && a->region == b->region && a->count == b->count;
}

/* What a message may carry: a device may announce very little. */
static uint32_t most(struct rmio_client *c, uint32_t left)
{
	uint32_t max;

	/* A successor may be about to announce another. */
	pthread_mutex_lock(&c->lock);
	max = c->caps.max_xfer < VU_MAX_XFER ? c->caps.max_xfer : VU_MAX_XFER;
	pthread_mutex_unlock(&c->lock);
	return left < max ? left : max;
}

static int read_piece(struct rmio_client *c, uint32_t index, uint64_t offset, void *buf,
		      uint32_t count)
{
	struct vu_region_access d = { offset, index, count }, r;
	struct client_request q = { VU_REGION_READ, &d, NULL, sizeof(d) };
	int err;

	pthread_mutex_lock(&c->lock);
	err = client_call_locked(c, &q, &r, sizeof(r), buf, count);
	pthread_mutex_unlock(&c->lock);
	if (!err && !same_access(&d, &r))
		return client_nonsense(c);
	return err;
}

static int region_read(struct rmio_client *c, uint32_t index, uint64_t offset, void *buf,
		       uint32_t count)
{
	uint32_t done, n;
	int err = 0;

	for (done = 0; !err && done < count; done += n) {
		n = most(c, count - done);
		err = read_piece(c, index, offset + done, (char *)buf + done, n);
	}
	return err;
}

static int write_piece(struct rmio_client *c, uint32_t index, uint64_t offset, const void *buf,
		       uint32_t count)
{
	struct vu_region_access d = { offset, index, count }, r;
	struct client_request q = { VU_REGION_WRITE, &d, buf, sizeof(d), count };
	int err;

	err = client_call(c, &q, &r, sizeof(r));
	if (!err && !same_access(&d, &r))
		return client_nonsense(c);
	return err;
}

static int region_write(struct rmio_client *c, uint32_t index, uint64_t offset, const void *buf,
			uint32_t count)
{
	uint32_t done, n;
	int err = 0;

	for (done = 0; !err && done < count; done += n) {
		n = most(c, count - done);
		err = write_piece(c, index, offset + done, (const char *)buf + done, n);
	}
	return err;
}

static int dma_map(struct rmio_client *c, uint64_t iova, uint64_t size, int fd, uint64_t offset,
		   int prot)
{
	struct vu_dma_map d = {
		.argsz = sizeof(d),
		.flags = (prot & PROT_READ ? VU_DMA_READABLE : 0) |
			 (prot & PROT_WRITE ? VU_DMA_WRITABLE : 0),
		.offset = offset,
		.iova = iova,
		.size = size,
	};
	struct client_request q = { VU_DMA_MAP, &d, NULL, sizeof(d), 0, &fd, 1 };

	if (!c->caps.max_fds)
		return -ENOTSUP;
	return client_call(c, &q, NULL, 0);
}

static int dma_unmap(struct rmio_client *c, uint64_t iova, uint64_t size)
{
	struct vu_dma_unmap d = { .argsz = sizeof(d), .iova = iova, .size = size }, r;
	struct client_request q = { VU_DMA_UNMAP, &d, NULL, sizeof(d) };
	const struct vu_msg *m = &c->conn.msg;
	int err;

	pthread_mutex_lock(&c->lock);
	err = client_transact(c, &q);
	if (!err) {
		/* An empty one is what the reference sends for a device without DMA. */
		if (m->len == sizeof(r))
			memcpy(&r, m->data, sizeof(r));
		if (m->len && (m->len != sizeof(r) || r.iova != iova || r.size != size))
			err = client_give_up(c, -EPROTO);
		vu_conn_done(&c->conn);
	}
	pthread_mutex_unlock(&c->lock);
	return err;
}

/*
 * Descriptors go in runs: a message says "these" or "none" of all its irqs, and
 * carries no more than the device takes.
 */
static uint32_t run_length(const struct rmio_client *c, const int *fds, uint32_t count)
{
	uint32_t n = 1, max = c->caps.max_fds < VU_MAX_FDS ? c->caps.max_fds : VU_MAX_FDS;

	while (n < count && n < max && (fds[n] < 0) == (fds[0] < 0))
		n++;
	return n;
}

static int set_irqs(struct rmio_client *c, uint32_t index, uint32_t action, uint32_t start,
		    uint32_t count, const int *fds)
{
	struct vu_irq_set d = { .argsz = sizeof(d), .index = index, .start = start };
	struct client_request q = { VU_SET_IRQS, &d, NULL, sizeof(d) };
	uint32_t n;
	int err;

	if (!fds) {
		d.flags = action | VFIO_IRQ_SET_DATA_NONE;
		d.count = count;
		return client_call(c, &q, NULL, 0);
	}
	if (!c->caps.max_fds)
		return -ENOTSUP;
	d.flags = action | VFIO_IRQ_SET_DATA_EVENTFD;
	for (; count; count -= n, fds += n, d.start += n) {
		n = run_length(c, fds, count);
		d.count = n;
		q.fds = fds;
		q.nfds = fds[0] < 0 ? 0 : n;
		err = client_call(c, &q, NULL, 0);
		if (err)
			return err;
	}
	return 0;
}

/* The slave of the master, to the device.  Of a master that is dead otherwise, so is this one. */
static int hand_over(struct rmio_client *c)
{
	struct vu_rmio_attach a = { .argsz = sizeof(a), .version = RMIO_ABI_VERSION };
	struct client_request q = { VU_RMIO_ATTACH, &a, NULL, sizeof(a), 0, NULL, 1 };
	int fd = rmio_master_slave_fd(c->master), err;

	if (fd < 0)
		return fd;
	q.fds = &fd;
	err = client_call(c, &q, NULL, 0);
	close(fd);
	return err;
}

/* It answers again: new rings, in which nothing can be of the time before. */
static int revive(struct rmio_client *c)
{
	int err = rmio_master_renew(c->master);

	if (!err)
		err = hand_over(c);
	if (err)
		rmio_master_kill(c->master, RMIO_STATE_CLOSED, NULL);
	return err;
}

static int reset(struct rmio_client *c)
{
	struct client_request q = { VU_RESET };
	int err;

	/* Whoever wrote nonsense is not asked again on the same connection. */
	if (c->master && rmio_master_state(c->master) == RMIO_STATE_PROTOCOL)
		return rmio_refuse(-EPROTO, "the device has written nonsense: it is not trusted again "
				   "on this connection");
	pthread_mutex_lock(&c->lock);
	err = client_call(c, &q, NULL, 0);
	if (err == -ECONNRESET)
		rmio_refuse(err, "the device process has ended, or its connection");
	else if (err == -ETIMEDOUT)
		rmio_refuse(err, "the device does not answer yet");
	if (!err && c->master && rmio_state_dead(rmio_master_state(c->master)))
		err = revive(c);
	pthread_mutex_unlock(&c->lock);
	return err;
}

static int reconnect(struct rmio_client *c)
{
	int err;

	/* Its successor is alive, but not to be asked yet. */
	if (c->master)
		rmio_master_kill(c->master, RMIO_STATE_CLOSED, NULL);
	err = negotiate(c, c->master);
	if (err)
		return err;
	if (c->master && (!c->caps.rmio || !c->caps.max_fds))
		return rmio_refuse(-ENODEV, "another device: it offers no rings");
	err = client_keep_identity(c->keep, c, false);
	if (err)
		return err;
	c->replaying = true;
	err = client_keep_replay(c->keep, c);
	c->replaying = false;
	return err || !c->master ? err : revive(c);
}

static const struct client_ops ops = {
	.reconnect = reconnect,
	.device_info = device_info,
	.region_info = region_info,
	.irq_info = irq_info,
	.region_read = region_read,
	.region_write = region_write,
	.dma_map = dma_map,
	.dma_unmap = dma_unmap,
	.set_irqs = set_irqs,
	.reset = reset,
};

static int attach(struct rmio_client *c, const struct rmio_client_opts *o)
{
	struct rmio_master_opts mo;
	int err;

	if (!c->caps.max_fds)
		return -EPROTO;
	err = rmio_opts_copy_inner(&mo, sizeof(mo), &o->master, "rmio_master_opts");
	if (err)
		return err;
	mo.sz = sizeof(mo);
	if (!mo.name && *c->caps.name)
		mo.name = c->caps.name;
	err = rmio_master_new(o->vm, &mo, &c->master);
	if (err)
		return err;
	c->master->own->limit = limit;
	c->master->own->limit_arg = c;
	return hand_over(c);
}

int client_vu_start(struct rmio_client *c, const struct rmio_client_opts *o)
{
	int err;

	c->ops = &ops;
	err = negotiate(c, o->vm);
	return !err && c->caps.rmio ? attach(c, o) : err;
}
