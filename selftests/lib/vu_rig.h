/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * vu_rig.h - a vfio-user server with a device that records what it is asked, and
 * its peer, in one thread: bytes go in, a turn is run, bytes come out.
 * Beside the data path: for the tests of the control channel.
 */
#ifndef RMIO_SELFTESTS_VU_RIG_H
#define RMIO_SELFTESTS_VU_RIG_H

#include <dirent.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "ktap.h"
#include "wire/vu_msg.h"
#include "device/vu_server.h"

#define RIG_BAR		(4u << 20)	/* bytes of region 0 */
#define RIG_REGIONS	9u
#define RIG_IRQS	5u
#define RIG_MSI		32u

enum rig_op {
	RIG_NONE, RIG_READ, RIG_WRITE, RIG_MAP, RIG_UNMAP, RIG_SET_IRQS, RIG_RESET, RIG_ATTACH,
};

struct rig {
	struct vu_server *srv;
	int peer;
	int result;		/* what the ops return */
	bool keep;		/* ops take the descriptors */
	uint16_t id;
	/* What the device saw last, and how often it was called. */
	unsigned long calls, lines;
	enum rig_op op;
	uint32_t index, count, start, action, data;
	uint64_t iova, size, offset;
	int prot, nfds;
	bool all;
	char line[256];
	uint8_t first, last;	/* bytes written, bools */
};

static inline void rig_device_info(void *arg, uint32_t *flags, uint32_t *regions, uint32_t *irqs)
{
	*flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI;
	*regions = RIG_REGIONS;
	*irqs = RIG_IRQS;
}

/* 0: 4 MiB; 1: 16 bytes, cannot be written; 2: cannot be read; 7: configuration space. */
static inline int rig_region_info(void *arg, uint32_t index, uint64_t *size, uint32_t *flags)
{
	*size = index == 0 ? RIG_BAR : index == 1 || index == 2 ? 16 : index == 7 ? 256 : 0;
	if (*size)
		*flags = (index != 2 ? VFIO_REGION_INFO_FLAG_READ : 0) |
			 (index != 1 ? VFIO_REGION_INFO_FLAG_WRITE : 0);
	return 0;
}

static inline int rig_irq_info(void *arg, uint32_t index, uint32_t *flags, uint32_t *count)
{
	*count = index == VFIO_PCI_INTX_IRQ_INDEX  ? 1
		 : index == VFIO_PCI_MSI_IRQ_INDEX ? RIG_MSI
						   : 0;
	*flags = *count ? VFIO_IRQ_INFO_EVENTFD : 0;
	return 0;
}

static inline int rig_called(struct rig *r, enum rig_op op)
{
	r->op = op;
	r->calls++;
	return r->result;
}

static inline int rig_read(void *arg, uint32_t index, uint64_t off, void *buf, uint32_t count)
{
	struct rig *r = arg;

	for (uint32_t i = 0; i < count; i++)
		((uint8_t *)buf)[i] = (uint8_t)(off + i);
	r->index = index;
	r->offset = off;
	r->count = count;
	return rig_called(r, RIG_READ);
}

static inline int rig_write(void *arg, uint32_t index, uint64_t off, const void *buf,
			    uint32_t count)
{
	struct rig *r = arg;

	r->index = index;
	r->offset = off;
	r->count = count;
	r->first = ((const uint8_t *)buf)[0];
	r->last = ((const uint8_t *)buf)[count - 1];
	return rig_called(r, RIG_WRITE);
}

static inline int rig_dma_map(void *arg, uint64_t iova, uint64_t size, uint64_t offset, int prot,
			      int *fd)
{
	struct rig *r = arg;

	r->iova = iova;
	r->size = size;
	r->offset = offset;
	r->prot = prot;
	r->nfds = *fd >= 0;
	if (r->keep && *fd >= 0) {
		close(*fd);
		*fd = -1;
	}
	return rig_called(r, RIG_MAP);
}

static inline int rig_dma_unmap(void *arg, uint64_t iova, uint64_t size, bool all)
{
	struct rig *r = arg;

	r->iova = iova;
	r->size = size;
	r->all = all;
	return rig_called(r, RIG_UNMAP);
}

static inline int rig_set_irqs(void *arg, uint32_t index, uint32_t action, uint32_t data,
			       uint32_t start, uint32_t count, int *fds, const uint8_t *bools)
{
	struct rig *r = arg;

	r->index = index;
	r->action = action;
	r->data = data;
	r->start = start;
	r->count = count;
	r->nfds = fds ? (int)count : 0;
	if (bools) {
		r->first = bools[0];
		r->last = bools[count - 1];
	}
	for (uint32_t i = 0; r->keep && fds && i < count; i++) {
		close(fds[i]);
		fds[i] = -1;
	}
	return rig_called(r, RIG_SET_IRQS);
}

static inline int rig_reset(void *arg)
{
	return rig_called(arg, RIG_RESET);
}

static inline int rig_attach(void *arg, int *fd)
{
	struct rig *r = arg;

	r->nfds = *fd >= 0;
	return rig_called(r, RIG_ATTACH);
}

static inline void rig_log(void *arg, const char *line)
{
	struct rig *r = arg;

	r->lines++;
	snprintf(r->line, sizeof(r->line), "%s", line);
}

static const struct vu_server_ops rig_ops = {
	.device_info = rig_device_info,
	.region_info = rig_region_info,
	.irq_info = rig_irq_info,
	.region_read = rig_read,
	.region_write = rig_write,
	.dma_map = rig_dma_map,
	.dma_unmap = rig_dma_unmap,
	.set_irqs = rig_set_irqs,
	.reset = rig_reset,
	.attach = rig_attach,
	.log = rig_log,
};

static inline bool rig_open(struct rig *r, const struct vu_server_ops *ops)
{
	int fds[2];

	memset(r, 0, sizeof(*r));
	if (!T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0))
		return false;
	r->peer = fds[1];
	return T_EQ(vu_server_new(fds[0], ops, r, &r->srv), 0);
}

static inline void rig_close(struct rig *r)
{
	vu_server_free(r->srv);
	r->srv = NULL;
	if (r->peer >= 0)
		close(r->peer);
	r->peer = -1;
}

static inline int rig_count(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* From status: a listing of task/ ends early where a thread goes away while it is read. */
static inline int rig_count_threads(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	int n = 0;

	while (f && !n && fgets(line, sizeof(line), f))
		sscanf(line, "Threads: %d", &n);
	if (f)
		fclose(f);
	return n;
}

/* Descriptors of this process, once those are closed that threads are closing. */
static inline int rig_count_fds(void)
{
	static int threads;
	int i;

	if (!threads)
		threads = rig_count_threads();
	for (i = 0; i < 5000 && rig_count_threads() > threads; i++)
		usleep(1000);
	return rig_count("/proc/self/fd") - 3;	/* ., .., and the directory */
}

/* sendmsg with descriptors. */
static inline ssize_t rig_send(int fd, const void *bytes, size_t len, const int *fds, int nfds,
			       int flags)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(253 * sizeof(int))];
	} c;
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds) {
		memset(&c, 0, sizeof(c));
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(&c.h), fds, nfds * sizeof(int));
	}
	return sendmsg(fd, &m, flags | MSG_NOSIGNAL);
}

/* Put bytes on the wire, all of them, with descriptors; without waiting. */
static inline bool rig_put(struct rig *r, const void *bytes, size_t len, const int *fds, int nfds)
{
	return T_EQ(rig_send(r->peer, bytes, len, fds, nfds, MSG_DONTWAIT), (ssize_t)len);
}

static inline size_t rig_build(uint8_t *buf, uint16_t id, uint16_t cmd, uint32_t flags,
			       const void *payload, size_t len)
{
	struct vu_hdr h = { .id = id, .cmd = cmd, .size = sizeof(h) + len, .flags = flags };

	memcpy(buf, &h, sizeof(h));
	if (len)
		memcpy(buf + sizeof(h), payload, len);
	return sizeof(h) + len;
}

/* Let the server do all that there is to do.  0 or -errno. */
static inline int rig_turn(struct rig *r)
{
	int n;

	do
		n = vu_server_readable(r->srv);
	while (n == 1);
	return n;
}

static inline ssize_t rig_take(struct rig *r, void *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = recv(r->peer, (uint8_t *)buf + got, len - got, MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN && vu_server_wants_write(r->srv)) {
			if (vu_server_writable(r->srv))
				return -ECONNRESET;
			continue;
		}
		if (n <= 0)
			return n ? -errno : -ECONNRESET;
		got += n;
	}
	return got;
}

/* One reply, its payload's length; -EAGAIN: there is none. */
static inline ssize_t rig_reply(struct rig *r, struct vu_hdr *h, void *payload, size_t room)
{
	ssize_t n = rig_take(r, h, sizeof(*h));

	if (n < 0)
		return n;
	if (h->size < sizeof(*h) || h->size - sizeof(*h) > room)
		return -EMSGSIZE;
	n = rig_take(r, payload, h->size - sizeof(*h));
	return n;
}

/* The reply that must be there next: to @id, @cmd, with @err; its payload's length. */
static inline ssize_t rig_expect(struct rig *r, uint16_t id, uint16_t cmd, int err, void *payload,
				 size_t room)
{
	struct vu_hdr h = { 0 };
	ssize_t n = rig_reply(r, &h, payload, room);

	if (!T_GE(n, 0))
		return n;
	T_EQ(h.id, id);
	T_EQ(h.cmd, cmd);
	T_EQ(h.flags, err ? VU_REPLY | VU_ERROR : VU_REPLY);
	T_EQ(-(int)h.error, err);
	if (err)
		T_EQ(h.size, sizeof(h));
	return n;
}

/* Send a command and take the reply, which must carry @err. */
static inline ssize_t rig_call(struct rig *r, uint16_t cmd, const void *req, size_t len,
			       const int *fds, int nfds, int err, void *payload, size_t room)
{
	uint8_t *buf = malloc(sizeof(struct vu_hdr) + len);
	uint16_t id = ++r->id * 257;
	ssize_t n = -EIO;

	len = rig_build(buf, id, cmd, VU_COMMAND, req, len);
	/* larger than the socket's buffer: in pieces */
	for (size_t at = 0; at < len;) {
		size_t part = len - at < 65536 ? len - at : 65536;

		if (!rig_put(r, buf + at, part, fds, at ? 0 : nfds))
			goto out;
		at += part;
		if (!T_EQ(rig_turn(r), 0))
			goto out;
	}
	n = rig_expect(r, id, cmd, err, payload, room);
out:
	free(buf);
	return n;
}

/* The common case: no descriptors, no reply of interest.  True if the error was @err. */
static inline bool rig_try(struct rig *r, uint16_t cmd, const void *req, size_t len, int err)
{
	uint8_t payload[4096];

	return rig_call(r, cmd, req, len, NULL, 0, err, payload, sizeof(payload)) >= 0;
}

static inline bool rig_version(struct rig *r, const char *json)
{
	struct vu_version v = { .major = VU_MAJOR, .minor = VU_MINOR };
	uint8_t buf[sizeof(v) + 1024];
	size_t len = json ? strlen(json) + 1 : 0;

	memcpy(buf, &v, sizeof(v));
	if (json)
		memcpy(buf + sizeof(v), json, len);
	return rig_try(r, VU_VERSION, buf, sizeof(v) + len, 0);
}

#define RIG_JSON "{\"capabilities\":{\"max_msg_fds\":8,\"rmio\":{\"version\":1}}}"

/* A server that has agreed on version and rmio. */
static inline bool rig_ready(struct rig *r)
{
	return rig_open(r, &rig_ops) && rig_version(r, RIG_JSON);
}

/* A message that is in order, of each kind, with the descriptors it takes. */
struct rig_sample {
	const char *name;
	uint16_t cmd;
	enum rig_op op;
	uint32_t len;
	int nfds;		/* eventfds, or for DMA_MAP a memfd */
	union {
		struct vu_dma_map map;
		struct vu_dma_unmap unmap;
		struct vu_device_info device;
		struct vu_region_info region;
		struct vu_irq_info irq;
		struct vu_region_access access;
		struct vu_rmio_attach attach;
		struct {
			struct vu_irq_set set;
			uint8_t bools[4];
		} irqs;
		struct {
			struct vu_region_access a;
			uint8_t data[8];
		} write;
	};
};

static const struct rig_sample rig_samples[] = {
	{ "dma map", VU_DMA_MAP, RIG_MAP, 32, 1, .map = { 32, 3, 4096, 0x10000, 8192 } },
	{ "dma unmap", VU_DMA_UNMAP, RIG_UNMAP, 24, 0, .unmap = { 24, 0, 0x10000, 8192 } },
	{ "device info", VU_DEVICE_INFO, RIG_NONE, 16, 0, .device = { .argsz = 16 } },
	{ "region info", VU_REGION_INFO, RIG_NONE, 32, 0, .region = { .argsz = 32, .index = 7 } },
	{ "irq info", VU_IRQ_INFO, RIG_NONE, 16, 0, .irq = { .argsz = 16, .index = 1 } },
	{ "set irqs eventfd", VU_SET_IRQS, RIG_SET_IRQS, 20, 2,
	  .irqs.set = { 20, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 1, 3, 2 } },
	{ "set irqs bool", VU_SET_IRQS, RIG_SET_IRQS, 24, 0,
	  .irqs = { { 24, VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_MASK, 1, 28, 4 },
		    { 1, 0, 0, 1 } } },
	{ "set irqs none", VU_SET_IRQS, RIG_SET_IRQS, 20, 0,
	  .irqs.set = { 20, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 1, 0, 0 } },
	{ "region read", VU_REGION_READ, RIG_READ, 16, 0, .access = { 0x1234, 0, 4 } },
	{ "region write", VU_REGION_WRITE, RIG_WRITE, 24, 0,
	  .write = { { 0xfff, 0, 8 }, { 1, 2, 3, 4, 5, 6, 7, 8 } } },
	{ "reset", VU_RESET, RIG_RESET, 0, 0 },
	{ "attach", VU_RMIO_ATTACH, RIG_ATTACH, 16, 1, .attach = { 16, 1, 0 } },
};

/* Make the descriptors that a sample goes with. */
static inline void rig_fds(const struct rig_sample *s, int *fds)
{
	for (int i = 0; i < s->nfds; i++) {
		if (s->cmd == VU_DMA_MAP) {
			fds[i] = memfd_create("dma", MFD_CLOEXEC);
			T_EQ(ftruncate(fds[i], 12288), 0);
		} else {
			fds[i] = eventfd(0, EFD_CLOEXEC);
		}
	}
}

static inline void rig_close_fds(int *fds, int n)
{
	while (n--)
		close(fds[n]);
}

#endif
