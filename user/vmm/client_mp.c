// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * QEMU's multi-process protocol, the VMM's end: what VFIO asks of a device put to
 * a QEMU of the machine x-remote, by accesses to it (client_mp_access.c).  Beside the data path
 * of rmio.
 */
#include "client_mp.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Where the table has its entry when there is none: it cannot be empty.  A page
 * of nobody's memory at the end of all addresses.
 */
#define NO_MEMORY_GPA	(UINT64_MAX - (VU_PAGE - 1))

/* -- regions ----------------------------------------------------------------------- */

static uint64_t region_size(const struct rmio_client *c, uint32_t index)
{
	return index < BARS ? c->mp->bars[index].size : index == CONFIG ? CONFIG_SIZE : 0;
}

static int region_info(struct rmio_client *c, uint32_t index, struct rmio_region_info *info)
{
	if (index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	*info = (struct rmio_region_info){ .size = region_size(c, index) };
	if (info->size)
		info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	return 0;
}

static int region_access(struct rmio_client *c, uint32_t index, uint64_t offset, uint8_t *load,
			 const uint8_t *store, uint32_t count)
{
	uint64_t size;
	int err;

	pthread_mutex_lock(&c->lock);
	size = region_size(c, index);
	if (offset > size || count > size - offset)
		err = -EINVAL;
	else if (index != CONFIG)
		err = client_mp_bar(c, index, offset, load, store, count);
	else if (store)
		err = client_mp_config_write(c, (uint32_t)offset, store, count);
	else
		err = client_mp_config_read(c, (uint32_t)offset, load, count);
	pthread_mutex_unlock(&c->lock);
	return err;
}

static int region_read(struct rmio_client *c, uint32_t index, uint64_t offset, void *buf,
		       uint32_t count)
{
	return region_access(c, index, offset, buf, NULL, count);
}

static int region_write(struct rmio_client *c, uint32_t index, uint64_t offset, const void *buf,
			uint32_t count)
{
	return region_access(c, index, offset, NULL, buf, count);
}

/* -- memory ------------------------------------------------------------------------- */

/* What is not answered has been done when a command after it is answered. */
static int settle(struct rmio_client *c)
{
	uint32_t id;

	return client_mp_get(c, PCI_VENDOR_ID, 2, &id);
}

static int send_table(struct rmio_client *c)
{
	struct client_mp *mp = c->mp;
	struct mp_sysmem t = { 0 };
	int fds[MP_FDS_MAX], err;
	uint32_t i;

	for (i = 0; i < mp->n_mem; i++) {
		t.gpa[i] = mp->mem[i].gpa;
		t.size[i] = mp->mem[i].size;
		t.offset[i] = mp->mem[i].offset;
		fds[i] = mp->mem[i].fd;
	}
	if (!i) {
		t.gpa[0] = NO_MEMORY_GPA;
		t.size[0] = VU_PAGE;
		fds[i++] = mp->no_memory;
	}
	err = client_mp_send(c, MP_SYNC_SYSMEM, &t, sizeof(t), fds, i);
	return err ? err : settle(c);
}

static int add_entry(struct rmio_client *c, const struct mp_entry *e)
{
	struct client_mp *mp = c->mp;
	struct mp_entry *new = &mp->mem[mp->n_mem];
	int err;

	for (uint32_t i = 0; i < mp->n_mem; i++)
		if (e->gpa <= mp->mem[i].gpa + (mp->mem[i].size - 1) &&
		    mp->mem[i].gpa <= e->gpa + (e->size - 1))
			return -EEXIST;
	if (mp->n_mem == MP_FDS_MAX)
		return -ENOSPC;
	*new = *e;
	new->fd = fcntl(e->fd, F_DUPFD_CLOEXEC, 0);
	if (new->fd < 0)
		return -errno;
	mp->n_mem++;
	err = send_table(c);
	if (err) {
		/* If it has gone out, the next table takes it back. */
		mp->n_mem--;
		close(new->fd);
	}
	return err;
}

static int dma_map(struct rmio_client *c, uint64_t iova, uint64_t size, int fd, uint64_t offset,
		   int prot)
{
	struct mp_entry e = { iova, size, offset, fd };
	int err;

	if (!size || (iova | size | offset) % VU_PAGE || iova + (size - 1) < iova ||
	    offset > INT64_MAX || size > INT64_MAX - offset)
		return -EINVAL;
	if (prot != (PROT_READ | PROT_WRITE))
		return -ENOTSUP;
	pthread_mutex_lock(&c->lock);
	err = add_entry(c, &e);
	pthread_mutex_unlock(&c->lock);
	return err;
}

static int dma_unmap(struct rmio_client *c, uint64_t iova, uint64_t size)
{
	struct client_mp *mp = c->mp;
	struct mp_entry old;
	int err = -ENOENT;
	uint32_t i;

	pthread_mutex_lock(&c->lock);
	for (i = 0; i < mp->n_mem; i++) {
		if (mp->mem[i].gpa != iova || mp->mem[i].size != size)
			continue;
		old = mp->mem[i];
		mp->mem[i] = mp->mem[--mp->n_mem];
		err = send_table(c);
		/* Whether the remote has heard of it or not: to be tried again. */
		if (err)
			mp->mem[mp->n_mem++] = old;
		else
			close(old.fd);
		break;
	}
	pthread_mutex_unlock(&c->lock);
	return err;
}

/* -- interrupts ------------------------------------------------------------------------ */

/*
 * Have the remote look at its pin, and signal it if it is raised.  Not by
 * write(2), which the remote could make wait.
 */
static int look_again(struct client_mp *mp)
{
	int fd = mp->unmask >= 0 ? mp->unmask : mp->no_unmask;

	/* Not before it is needed: the kernel takes its time to take it down. */
	if (!rmio_eventfds_there(&mp->eventfds))
		rmio_eventfds_init(&mp->eventfds);
	return rmio_eventfds_signal(&mp->eventfds, &fd, 1) == 1 ? 0 : -EAGAIN;
}

/*
 * The pair that the remote is to have.  What was raised before it came is not
 * signalled by itself.
 */
static int send_pair(struct rmio_client *c)
{
	struct client_mp *mp = c->mp;
	int fds[2] = {
		mp->trigger >= 0 ? mp->trigger : mp->no_trigger,
		mp->unmask >= 0 ? mp->unmask : mp->no_unmask,
	};
	int err = client_mp_send(c, MP_SET_IRQFD, NULL, 0, fds, 2);

	if (!err)
		err = settle(c);
	return !err && mp->trigger >= 0 ? look_again(mp) : err;
}

static int set_pair(struct rmio_client *c, int *which, int fd)
{
	int copy = -1;

	if (fd >= 0) {
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (copy < 0)
			return -errno;
	}
	if (*which >= 0)
		close(*which);
	*which = copy;
	return send_pair(c);
}

static int set_irqs(struct rmio_client *c, uint32_t index, uint32_t action, uint32_t start,
		    uint32_t count, const int *fds)
{
	struct client_mp *mp = c->mp;
	int err;

	if (index != VFIO_PCI_INTX_IRQ_INDEX || !mp->pin || start || count > 1)
		return -EINVAL;
	pthread_mutex_lock(&c->lock);
	if (action == VFIO_IRQ_SET_ACTION_TRIGGER && (fds || !count))
		err = set_pair(c, &mp->trigger, fds ? fds[0] : -1);
	else if (action == VFIO_IRQ_SET_ACTION_UNMASK && fds)
		err = set_pair(c, &mp->unmask, fds[0]);
	else if (action == VFIO_IRQ_SET_ACTION_UNMASK && count)
		err = c->broken ? -ECONNRESET : look_again(mp);
	else
		err = -ENOTSUP;
	pthread_mutex_unlock(&c->lock);
	return err;
}

static int irq_info(struct rmio_client *c, uint32_t index, uint32_t *flags, uint32_t *count)
{
	bool pin = index == VFIO_PCI_INTX_IRQ_INDEX && c->mp->pin;

	if (index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	*flags = pin ? VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_AUTOMASKED : 0;
	*count = pin;
	return 0;
}

/* -- the device -------------------------------------------------------------------------- */

static int device_info(struct rmio_client *c, uint32_t *flags, uint32_t *regions, uint32_t *irqs)
{
	*flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	*regions = VFIO_PCI_NUM_REGIONS;
	*irqs = VFIO_PCI_NUM_IRQS;
	return 0;
}

static int reset(struct rmio_client *c)
{
	uint64_t answer;
	uint32_t i;
	int err;

	pthread_mutex_lock(&c->lock);
	c->mp->command = 0;
	c->mp->in_doubt = true;
	err = client_mp_call(c, MP_RESET, NULL, 0, &answer);
	if (!err)
		err = client_mp_refused(answer);
	/* QEMU resets the device, and not what is PCI's. */
	if (!err)
		err = client_mp_put(c, PCI_COMMAND, 2, 0);
	for (i = 0; i < BARS && !err; i++)
		err = client_mp_put(c, BAR_REG(i), 4, 0);
	if (!err)
		err = client_mp_decoding(c, 0, CONFIG_SIZE);
	pthread_mutex_unlock(&c->lock);
	return err;
}

/* What remains when all ones are written to a register that is then put back. */
static int probe_reg(struct rmio_client *c, uint32_t i, uint32_t *mask)
{
	uint32_t old;
	int err = client_mp_get(c, BAR_REG(i), 4, &old);

	if (!err)
		err = client_mp_put(c, BAR_REG(i), 4, UINT32_MAX);
	if (!err)
		err = client_mp_get(c, BAR_REG(i), 4, mask);
	return err ? err : client_mp_put(c, BAR_REG(i), 4, old);
}

/* 0 or -errno; -EPROTO: that is no BAR. */
static int probe_bar(struct rmio_client *c, uint32_t i)
{
	struct mp_bar_state *b = &c->mp->bars[i];
	uint32_t low, high = UINT32_MAX;
	uint64_t mask;
	int err = probe_reg(c, i, &low);

	if (err || !low)
		return err;
	b->io = low & PCI_BASE_ADDRESS_SPACE_IO;
	b->wide = !b->io && (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
	if (b->wide && i + 1 == BARS)
		return client_give_up(c, -EPROTO);
	if (b->wide)
		err = probe_reg(c, i + 1, &high);
	if (err)
		return err;
	/* The upper half of an I/O BAR may be fixed at 0. */
	if (b->io)
		low |= 0xffff0000;
	mask = (uint64_t)high << 32 |
	       (low & (b->io ? PCI_BASE_ADDRESS_IO_MASK : (uint32_t)PCI_BASE_ADDRESS_MEM_MASK));
	b->size = -mask;
	/* Nothing but ones from the top: a power of two. */
	if (!b->size || (b->size & (b->size - 1)))
		return client_give_up(c, -EPROTO);
	return 0;
}

static int probe(struct rmio_client *c)
{
	uint32_t command, type, pin, i, bars = BARS;
	int err = client_mp_get(c, PCI_COMMAND, 2, &command);

	if (!err)
		err = client_mp_get(c, PCI_HEADER_TYPE, 1, &type);
	/* Of a bridge these are other registers. */
	if (!err && (type & PCI_HEADER_TYPE_MASK) != PCI_HEADER_TYPE_NORMAL)
		bars = 0;
	if (!err)
		err = client_mp_put(c, PCI_COMMAND, 2,
				    command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
	for (i = 0; i < bars && !err; i += c->mp->bars[i].wide ? 2 : 1)
		err = probe_bar(c, i);
	if (!err)
		err = client_mp_put(c, PCI_COMMAND, 2, command);
	if (!err)
		err = client_mp_get(c, PCI_INTERRUPT_PIN, 1, &pin);
	if (err)
		return err;
	c->mp->pin = pin & 0xff;
	return client_mp_decoding(c, 0, CONFIG_SIZE);
}

static void mp_exit(struct rmio_client *c)
{
	struct client_mp *mp = c->mp;
	int fds[] = { mp->no_memory, mp->trigger, mp->unmask, mp->no_trigger, mp->no_unmask };
	uint32_t i;

	for (i = 0; i < mp->n_mem; i++)
		close(mp->mem[i].fd);
	for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	rmio_eventfds_exit(&mp->eventfds);
	free(mp);
}

static const struct client_ops ops = {
	.device_info = device_info,
	.region_info = region_info,
	.irq_info = irq_info,
	.region_read = region_read,
	.region_write = region_write,
	.dma_map = dma_map,
	.dma_unmap = dma_unmap,
	.set_irqs = set_irqs,
	.reset = reset,
	.exit = mp_exit,
};

/* Before there is anything to be freed. */
static const struct client_ops no_ops;

int client_mp_start(struct rmio_client *c)
{
	struct client_mp *mp = calloc(1, sizeof(*mp));
	int err;

	c->ops = &no_ops;
	if (!mp)
		return -ENOMEM;
	c->mp = mp;
	c->ops = &ops;
	c->conn.protocol = VU_MULTI_PROCESS;
	mp->trigger = mp->unmask = -1;
	mp->eventfds.none = -1;
	mp->no_memory = memfd_create("rmio-no-memory", MFD_CLOEXEC);
	mp->no_trigger = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	mp->no_unmask = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mp->no_memory < 0 || mp->no_trigger < 0 || mp->no_unmask < 0 ||
	    ftruncate(mp->no_memory, VU_PAGE))
		return -EMFILE;
	err = probe(c);
	/* Whatever it has against these commands, there are no others. */
	return err == -EIO ? -EPROTO : err;
}
