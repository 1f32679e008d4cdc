// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Accesses to a remote of QEMU's multi-process protocol: one command and its answer,
 * configuration space, BARs.  Under client_mp.c; region access by message for the devices of an
 * unmodified QEMU.
 *
 * That QEMU decodes the addresses of BARs itself and ends at the first access
 * that hits nothing, or at a command that it does not like.  So nothing is asked
 * of it that it does not answer: the registers that decide are kept in step with
 * its own.
 */
#include "client_mp.h"
#include "wake.h"

#include <string.h>

#define CONFIG_LAST	252u	/* the remote wants four bytes from any address on */

/* -- one command and its reply --------------------------------------------------- */

/* The message that came.  1: an answer that is waited for; 0: a late one; -errno. */
static int sort(struct rmio_client *c, bool waiting)
{
	const struct vu_msg *m = &c->conn.msg;

	if (m->mp.cmd != MP_RET || m->nfds || m->fds_error ||
	    (m->len && m->len != sizeof(uint64_t)))
		return client_give_up(c, -EPROTO);
	if (c->n_late) {
		c->n_late--;
		return 0;
	}
	return waiting ? 1 : client_give_up(c, -EPROTO);
}

/*
 * Take what is there.  1: the answer, in c->conn.msg, and vu_conn_done is to
 * follow; 0: nothing more to be had now; -errno.
 */
static int receive(struct rmio_client *c, bool waiting, uint64_t deadline)
{
	int err;

	for (;;) {
		err = vu_conn_flush(&c->conn);
		if (!err)
			err = vu_conn_recv(&c->conn);
		if (err)
			return err == -EAGAIN ? 0 : client_stream_error(c, err);
		err = sort(c, waiting);
		if (err > 0)
			return 1;
		vu_conn_done(&c->conn);
		/* One that talks and talks gets no more time than a silent one. */
		if (err || rmio_now_ns() >= deadline)
			return err;
	}
}

static int await_answer(struct rmio_client *c, uint64_t deadline)
{
	int err;

	for (;;) {
		err = receive(c, true, deadline);
		if (err)
			return err < 0 ? err : 0;
		if (!client_wait(c, deadline))
			continue;
		if (c->n_late == CLIENT_LATE_MAX)
			return client_give_up(c, -ETIMEDOUT);
		/* Answers come in order: the next one is to be dropped. */
		c->n_late++;
		return -ETIMEDOUT;
	}
}

int client_mp_send(struct rmio_client *c, int32_t cmd, const void *payload, size_t len,
		   const int *fds, uint32_t nfds)
{
	int err;

	if (c->broken)
		return -ECONNRESET;
	/* What nobody has asked for must not be taken for the answer. */
	err = receive(c, false, rmio_now_ns() + c->timeout_ns);
	if (err)
		return err;
	err = vu_conn_send_mp(&c->conn, (struct mp_hdr){ .cmd = cmd }, payload, len, fds, nfds);
	if (err == -EBADF || err == -EMFILE || err == -ETOOMANYREFS)
		return err;	/* nothing was sent */
	if (err == -ENOBUFS)
		return client_give_up(c, -ETIMEDOUT);
	return err ? client_stream_error(c, err) : 0;
}

int client_mp_call(struct rmio_client *c, int32_t cmd, const void *payload, size_t len,
		   uint64_t *value)
{
	const struct vu_msg *m = &c->conn.msg;
	int err = client_mp_send(c, cmd, payload, len, NULL, 0);

	if (!err)
		err = await_answer(c, rmio_now_ns() + c->timeout_ns);
	if (err)
		return err;
	if (m->len == sizeof(*value))
		memcpy(value, m->data, sizeof(*value));
	else if (cmd == MP_RESET)
		*value = 0;	/* QEMU's has nothing in it */
	else
		err = client_give_up(c, -EPROTO);
	vu_conn_done(&c->conn);
	return err;
}

/* -- configuration space ---------------------------------------------------------- */

int client_mp_get(struct rmio_client *c, uint32_t addr, uint32_t len, uint32_t *value)
{
	uint32_t at = addr < CONFIG_LAST ? addr : CONFIG_LAST;
	struct mp_config q = { .addr = at, .len = at == addr ? (int32_t)len : 4 };
	uint64_t answer;
	int err = client_mp_call(c, MP_CONFIG_READ, &q, sizeof(q), &answer);

	if (!err)
		err = client_mp_refused(answer);
	*value = err ? UINT32_MAX : (uint32_t)answer >> 8 * (addr - at);
	return err;
}

int client_mp_put(struct rmio_client *c, uint32_t addr, uint32_t len, uint32_t value)
{
	struct mp_config q = { .addr = addr, .value = value, .len = (int32_t)len };
	uint64_t answer;
	int err;

	if (addr > CONFIG_LAST)
		return -EINVAL;
	err = client_mp_call(c, MP_CONFIG_WRITE, &q, sizeof(q), &answer);
	return err ? err : client_mp_refused(answer);
}

int client_mp_decoding(struct rmio_client *c, uint32_t addr, uint32_t len)
{
	struct client_mp *mp = c->mp;
	uint32_t value, i;
	int err = 0;

	mp->command = 0;
	for (i = 0; i < BARS && !err; i++) {
		if (mp->in_doubt || (addr < BAR_REG(i) + 4 && BAR_REG(i) < addr + len))
			err = client_mp_get(c, BAR_REG(i), 4, &mp->bars[i].reg);
	}
	if (!err)
		err = client_mp_get(c, PCI_COMMAND, 2, &value);
	mp->in_doubt = err;
	if (!err)
		mp->command = (uint16_t)value;
	return err;
}

static bool decides(uint32_t addr, uint32_t len)
{
	return (addr < PCI_COMMAND + 2 && PCI_COMMAND < addr + len) ||
	       (addr < BAR_REG(BARS) && PCI_BASE_ADDRESS_0 < addr + len);
}

/* Up to @max bytes that are aligned to their number, a power of two. */
static uint32_t piece(uint64_t offset, uint32_t count, uint32_t max)
{
	uint32_t n = max;

	while (n > count || offset % n)
		n /= 2;
	return n;
}

int client_mp_config_read(struct rmio_client *c, uint32_t addr, uint8_t *buf, uint32_t count)
{
	uint32_t value, n;
	int err;

	for (; count; count -= n, addr += n, buf += n) {
		n = piece(addr, count, 4);
		err = client_mp_get(c, addr, n, &value);
		if (err)
			return err;
		memcpy(buf, &value, n);
		mp_hide_capabilities(addr, n, buf);
	}
	return 0;
}

int client_mp_config_write(struct rmio_client *c, uint32_t addr, const uint8_t *buf,
			   uint32_t count)
{
	uint32_t value, n;
	int err, known;

	for (; count; count -= n, addr += n, buf += n) {
		n = piece(addr, count, 4);
		value = 0;
		memcpy(&value, buf, n);
		err = client_mp_put(c, addr, n, value);
		/* Whether it has been written or not. */
		known = decides(addr, n) ? client_mp_decoding(c, addr, n) : 0;
		if (err || known)
			return err ? err : known;
	}
	return 0;
}

/* -- BARs ------------------------------------------------------------------------- */

/* Where the remote has BAR @i, if it decodes it. */
static bool decoded(const struct client_mp *mp, uint32_t i, uint64_t *base)
{
	const struct mp_bar_state *b = &mp->bars[i];
	uint64_t last, limit = b->io ? UINT16_MAX : b->wide ? UINT64_MAX : UINT32_MAX;

	if (!(mp->command & (b->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
		return false;
	*base = b->reg & (b->io ? PCI_BASE_ADDRESS_IO_MASK : (uint32_t)PCI_BASE_ADDRESS_MEM_MASK);
	if (b->wide)
		*base |= (uint64_t)mp->bars[i + 1].reg << 32;
	last = *base + (b->size - 1);
	if (!*base || last < *base || last > limit || (last == limit && !b->io))
		return false;
	/* Memory lies above it there. */
	for (uint32_t k = 0; !b->io && k < mp->n_mem; k++) {
		const struct mp_entry *e = &mp->mem[k];

		if (*base <= e->gpa + (e->size - 1) && e->gpa <= last)
			return false;
	}
	return true;
}

/* An access of @n bytes to BAR @i, which has them. */
static int bar_access(struct rmio_client *c, uint32_t i, uint64_t offset, uint8_t *load,
		      const uint8_t *store, uint32_t n)
{
	struct mp_bar q = { .size = n, .memory = !c->mp->bars[i].io };
	uint64_t answer, base;
	int err;

	if (!decoded(c->mp, i, &base))
		return -ENXIO;
	q.addr = base + offset;
	if (store)
		memcpy(&q.value, store, n);
	err = client_mp_call(c, store ? MP_BAR_WRITE : MP_BAR_READ, &q, sizeof(q), &answer);
	if (!err && (store || n < sizeof(answer)))
		err = client_mp_refused(answer);
	if (!err && load)
		memcpy(load, &answer, n);
	return err;
}

int client_mp_bar(struct rmio_client *c, uint32_t i, uint64_t offset, uint8_t *load,
		  const uint8_t *store, uint32_t count)
{
	uint32_t at, n;
	int err = 0;

	/* What is an access to the VMM is one to the device, aligned or not. */
	if (count == 1 || count == 2 || count == 4 || count == 8)
		return bar_access(c, i, offset, load, store, count);
	for (at = 0; at < count && !err; at += n) {
		n = piece(offset + at, count - at, 8);
		err = bar_access(c, i, offset + at, load ? load + at : NULL,
				 store ? store + at : NULL, n);
	}
	return err;
}
