/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * mp_remote.h - what a QEMU of the machine x-remote does with the multi-process protocol, as a
 * thread that has a PCI device of memory only; and what one that means harm does instead, once.  It
 * ends, as QEMU does, at an access that hits nothing.  Beside the data path: tests only.
 */
#ifndef RMIO_SELFTESTS_MP_REMOTE_H
#define RMIO_SELFTESTS_MP_REMOTE_H

#include "wire/mp_wire.h"
#include "vu_rig.h"

#include <poll.h>
#include <pthread.h>
#include <rmio/vmm.h>
#include <sys/stat.h>

#define REMOTE_QUICK	150u	/* ms, where a timeout is what should happen */
#define REMOTE_PATIENT	20000u	/* ms, where it should not */
#define REMOTE_RAM	0x4000u	/* what each BAR shows, over and over */

/* What it does at one command. */
enum remote_harm {
	HARM_NONE,
	HARM_CLOSE,		/* without an answer */
	HARM_SILENT,		/* from then on, but it reads */
	HARM_DEAF,		/* from then on it does not even read */
	HARM_CUT,		/* n bytes of the answer, and closes */
	HARM_CUT_SILENT,	/* n bytes of it, and no more */
	HARM_CMD,		/* another command, n, in the answer */
	HARM_SIZE,		/* another size, n, and so many bytes if they are few */
	HARM_ONES,		/* refuses */
	HARM_TWICE,		/* answers twice */
	HARM_FDS,		/* n descriptors with the answer */
	HARM_LATE,		/* answers when the next command comes */
};

struct remote {
	pthread_t thread;
	int fd;
	uint8_t cfg[256];
	uint32_t mask[6];	/* what can be written of the BARs */
	uint8_t bar_type[6];
	uint8_t ram[REMOTE_RAM];
	struct mp_sysmem mem;	/* the last table */
	uint32_t n_mem;
	uint64_t mem_ino[MP_FDS_MAX];
	int pair[2];		/* the last eventfds */
	unsigned int syncs, pairs, resets;
	bool fatal;		/* a QEMU would have ended */

	enum remote_harm harm;
	uint64_t n;
	uint32_t at;		/* from the how many-th command on, counted from 1; 0: none */
	uint32_t commands;
	bool late;		/* an answer is owed */
	uint64_t owed;
};

/* -- the device ---------------------------------------------------------------- */

static inline uint32_t remote_get(const struct remote *r, uint32_t reg, uint32_t len)
{
	uint32_t v = 0;

	memcpy(&v, r->cfg + reg, len);
	return v;
}

static inline void remote_put(struct remote *r, uint32_t reg, uint32_t len, uint32_t v)
{
	memcpy(r->cfg + reg, &v, len);
}

/* BAR 0: 4 KiB; BAR 1: 256 bytes of I/O; BAR 2 and 3: 64 KiB of 64 bits. */
static inline void remote_init(struct remote *r)
{
	memset(r, 0, sizeof(*r));
	r->pair[0] = r->pair[1] = -1;
	r->mask[0] = 0xfffff000;
	r->mask[1] = 0x0000ff00;	/* the upper half is fixed */
	r->mask[2] = 0xffff0000;
	r->mask[3] = 0xffffffff;
	r->bar_type[1] = 1;
	r->bar_type[2] = 0xc;
	remote_put(r, 0, 4, 0x56781234);
	remote_put(r, 0x04, 4, 0x00100000);	/* a list of capabilities */
	remote_put(r, 0x34, 4, 0x40);
	remote_put(r, 0x3d, 1, 1);
	remote_put(r, 0x40, 4, 0x00800005);	/* MSI */
	for (uint32_t i = 0; i < 6; i++)
		remote_put(r, 0x10 + 4 * i, 4, r->bar_type[i]);
	for (uint32_t i = 0; i < REMOTE_RAM; i++)
		r->ram[i] = (uint8_t)(i * 7 + i / 256);
}

static inline void remote_config_write(struct remote *r, const struct mp_config *c)
{
	for (int32_t i = 0; i < c->len; i++) {
		uint32_t at = c->addr + (uint32_t)i, bar = (at - 0x10) / 4;
		uint8_t byte = (uint8_t)(c->value >> 8 * i), mask = 0;

		if (at >= 0x10 && at < 0x28)
			mask = (uint8_t)(r->mask[bar] >> 8 * (at % 4));
		else if (at == 4 || at == 5 || at >= 0x50)
			mask = 0xff;
		r->cfg[at] = (uint8_t)((r->cfg[at] & ~mask) | (byte & mask));
	}
}

/* What an access hits: NULL nothing.  As QEMU has it, 0 is no place. */
static inline uint8_t *remote_hit(struct remote *r, const struct mp_bar *b)
{
	for (uint32_t i = 0; i < 4; i++) {
		bool io = r->bar_type[i] & 1, wide = r->bar_type[i] == 0xc;
		uint64_t base = remote_get(r, 0x10 + 4 * i, 4) & (io ? ~3u : ~15u);
		uint64_t size = -(uint64_t)(0xffffffff00000000ull | (io ? 0xffff0000 : 0) |
					    r->mask[i]);

		if (wide)
			base |= (uint64_t)remote_get(r, 0x14 + 4 * i, 4) << 32;
		if (base && io == !b->memory && (remote_get(r, 4, 2) & (io ? 1 : 2)) &&
		    b->addr - base < size && b->size <= size - (b->addr - base))
			return r->ram + (b->addr - base) % (REMOTE_RAM - 8);
		i += wide;
	}
	return NULL;
}

/* -- commands -------------------------------------------------------------------- */

/* 0: no answer; 1: an answer; -1: a QEMU would have ended. */
static inline int remote_do(struct remote *r, const struct mp_hdr *h, const void *payload,
			    int *fds, uint32_t nfds, uint64_t *answer)
{
	const struct mp_config *c = payload;
	const struct mp_bar *b = payload;
	struct stat st;
	uint8_t *hit;

	*answer = 0;
	switch (h->cmd) {
	case MP_SYNC_SYSMEM:
		if (!T_EQ(h->size, sizeof(r->mem)) || !T_OK(nfds && nfds <= MP_FDS_MAX))
			return -1;
		memcpy(&r->mem, payload, sizeof(r->mem));
		r->n_mem = nfds;
		for (uint32_t i = 0; i < nfds; i++) {
			T_EQ(fstat(fds[i], &st), 0);
			T_GE((uint64_t)st.st_size, r->mem.offset[i] + r->mem.size[i]);
			r->mem_ino[i] = st.st_ino;
		}
		__atomic_add_fetch(&r->syncs, 1, __ATOMIC_RELEASE);
		return 0;
	case MP_SET_IRQFD:
		if (!T_EQ(h->size, 0) || !T_EQ(nfds, 2))
			return -1;
		for (int i = 0; i < 2; i++) {
			if (r->pair[i] >= 0)
				close(r->pair[i]);
			r->pair[i] = fds[i];
			fds[i] = -1;
		}
		r->pairs++;
		return 0;
	case MP_CONFIG_READ:
	case MP_CONFIG_WRITE:
		if (!T_EQ(h->size, sizeof(*c)) || !T_EQ(nfds, 0) || !T_LE(c->addr + 4, 256) ||
		    !T_OK(c->len == 1 || c->len == 2 || c->len == 4) ||
		    !T_EQ(c->addr % (uint32_t)c->len, 0))
			return -1;
		if (h->cmd == MP_CONFIG_WRITE)
			remote_config_write(r, c);
		else
			memcpy(answer, r->cfg + c->addr, (size_t)c->len);
		return 1;
	case MP_BAR_READ:
	case MP_BAR_WRITE:
		hit = NULL;
		if (T_EQ(h->size, sizeof(*b)) && T_EQ(nfds, 0) &&
		    T_OK(b->size == 1 || b->size == 2 || b->size == 4 || b->size == 8))
			hit = remote_hit(r, b);
		if (!hit)
			return -1;
		if (h->cmd == MP_BAR_WRITE)
			memcpy(hit, &b->value, b->size);
		else
			memcpy(answer, hit, b->size);
		return 1;
	case MP_RESET:
		T_EQ(h->size, 0);
		r->resets++;
		return 1;
	}
	ktap_diag("command %d", h->cmd);
	return T_OK(false) ? 1 : -1;
}

static inline bool remote_send(struct remote *r, int32_t cmd, uint64_t size, uint64_t value,
			       size_t len)
{
	struct mp_hdr h = { .cmd = cmd, .size = size };
	uint8_t buf[256] = { 0 };

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), &value, sizeof(value));
	return send(r->fd, buf, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* What QEMU answers to a reset has nothing in it. */
static inline bool remote_answer(struct remote *r, int32_t cmd, uint64_t value)
{
	uint64_t size = cmd == MP_RESET ? 0 : sizeof(value);

	return remote_send(r, MP_RET, size, value, sizeof(struct mp_hdr) + size);
}

/* Until the client has gone. */
static inline void remote_listen(struct remote *r)
{
	char buf[4096];

	while (recv(r->fd, buf, sizeof(buf), 0) > 0)
		;
}

/* False: it is over. */
static inline bool remote_harms(struct remote *r, int32_t cmd, uint64_t value)
{
	struct pollfd p = { .fd = r->fd, .events = POLLRDHUP };
	int fds[4] = { r->fd, r->fd, r->fd, r->fd };
	struct mp_hdr h = { .cmd = MP_RET, .size = 8 };
	uint8_t buf[48] = { 0 };
	size_t len;

	switch (r->harm) {
	case HARM_SILENT:
		remote_listen(r);
		return false;
	case HARM_DEAF:
		while (poll(&p, 1, -1) != 1 || !(p.revents & (POLLRDHUP | POLLHUP)))
			;
		return false;
	case HARM_CUT:
		remote_send(r, MP_RET, 8, value, r->n);
		return false;
	case HARM_CUT_SILENT:
		remote_send(r, MP_RET, 8, value, r->n);
		remote_listen(r);
		return false;
	case HARM_CMD:
		return remote_send(r, (int32_t)r->n, 8, value, 24);
	case HARM_SIZE:
		return remote_send(r, MP_RET, r->n, value, 16 + (r->n < 200 ? r->n : 0));
	case HARM_ONES:
		return remote_answer(r, cmd == MP_RESET ? MP_BAR_READ : cmd, UINT64_MAX);
	case HARM_TWICE:
		/* At once: the client cannot but see the second one before it asks again. */
		h.size = cmd == MP_RESET ? 0 : 8;
		len = sizeof(h) + h.size;
		for (size_t i = 0; i < 2; i++) {
			memcpy(buf + i * len, &h, sizeof(h));
			memcpy(buf + i * len + sizeof(h), &value, h.size);
		}
		return send(r->fd, buf, 2 * len, MSG_NOSIGNAL) == (ssize_t)(2 * len);
	case HARM_FDS:
		memcpy(buf, &h, sizeof(h));
		memcpy(buf + 16, &value, sizeof(value));
		return rig_send(r->fd, buf, 24, fds, (int)r->n, 0) == 24;
	case HARM_LATE:
		r->late = true;
		r->owed = value;
		return true;
	default:
		return false;
	}
}

/* A message; false at the end. */
static inline bool remote_take(struct remote *r, struct mp_hdr *h, uint8_t *payload, int *fds,
			       uint32_t *nfds)
{
	char control[CMSG_SPACE(16 * sizeof(int))];
	struct iovec iov = { h, sizeof(*h) };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cm;

	*nfds = 0;
	if (recvmsg(r->fd, &m, MSG_WAITALL | MSG_CMSG_CLOEXEC) != sizeof(*h))
		return false;
	for (cm = CMSG_FIRSTHDR(&m); cm; cm = CMSG_NXTHDR(&m, cm)) {
		*nfds = (uint32_t)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(cm), *nfds * sizeof(int));
	}
	T_EQ(h->padding, 0);
	if (!T_LE(h->size, MP_PAYLOAD_MAX))
		return false;
	return !h->size || recv(r->fd, payload, h->size, MSG_WAITALL) == (ssize_t)h->size;
}

static inline void *remote_run(void *arg)
{
	struct remote *r = arg;
	_Alignas(8) uint8_t payload[256];
	struct mp_hdr h;
	uint64_t answer;
	uint32_t nfds;
	int fds[16];
	bool go_on = true;

	while (go_on && remote_take(r, &h, payload, fds, &nfds)) {
		int rc = remote_do(r, &h, payload, fds, nfds, &answer);

		for (uint32_t i = 0; i < nfds; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		r->fatal |= rc < 0;
		if (r->late && rc > 0) {
			r->late = false;
			remote_send(r, MP_RET, 8, r->owed, 24);
		}
		/* What is not answered is not counted: there is nothing to be done wrong. */
		if (rc > 0 && ++r->commands == r->at && r->harm)
			go_on = remote_harms(r, h.cmd, answer);
		else if (rc)
			go_on = rc > 0 && remote_answer(r, h.cmd, answer);
	}
	shutdown(r->fd, SHUT_RDWR);
	close(r->fd);
	for (int i = 0; i < 2; i++)
		if (r->pair[i] >= 0)
			close(r->pair[i]);
	return NULL;
}

/* @r has been initialised.  What rmio_client_new returns. */
static inline int remote_connect(struct remote *r, uint32_t ms, struct rmio_client **c)
{
	struct rmio_client_opts o = {
		.sz = sizeof(o), .reply_timeout_ms = ms, .protocol = RMIO_PROTOCOL_MULTI_PROCESS,
	};
	int fds[2];

	T_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	r->fd = fds[0];
	T_EQ(pthread_create(&r->thread, NULL, remote_run, r), 0);
	return rmio_client_new(fds[1], &o, c);
}

static inline void remote_join(struct remote *r)
{
	T_EQ(pthread_join(r->thread, NULL), 0);
	T_OK(!r->fatal);
}

#endif
