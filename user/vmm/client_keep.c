// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a client keeps of what it has told its device: guest memory, eventfds, masks and what was
 * written to configuration space; and what tells that device from another.  For a successor of the
 * device process.  Beside the data path.
 */
#include "client_keep.h"
#include "refuse.h"
#include "wire/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_SIZE	4096u

/* One descriptor for all maps of a file. */
struct file {
	struct file *next;
	dev_t dev;
	ino_t ino;
	int mode;		/* O_ACCMODE */
	int fd;
	size_t users;
};

struct map {
	uint64_t iova, size, offset;
	int prot;
	struct file *file;
};

/* The irqs of an index, for one action. */
struct irqs {
	struct irqs *next;
	uint32_t index, action, nr;
	int *fds;
};

struct client_keep {
	bool gaps;			/* something could not be kept */
	struct file *files;
	struct map *maps;		/* in the order of mapping */
	size_t nr_maps, room;
	struct irqs *irqs;
	bool masked[VU_IRQS_MAX];	/* the first of an index: pins */
	uint8_t config[CONFIG_SIZE];
	bool written[CONFIG_SIZE];
	uint32_t flags, regions, nr_irqs, id;
	uint64_t sizes[VU_REGIONS_MAX];
};

int client_keep_new(struct client_keep **k)
{
	*k = calloc(1, sizeof(**k));
	return *k ? 0 : -ENOMEM;
}

/* -- guest memory ------------------------------------------------------------------------ */

static void put_file(struct client_keep *k, struct file *f)
{
	struct file **at = &k->files;

	if (--f->users)
		return;
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	close(f->fd);
	free(f);
}

static struct file *get_file(struct client_keep *k, int fd)
{
	int mode = fcntl(fd, F_GETFL) & O_ACCMODE;
	struct stat st;
	struct file *f;

	if (fstat(fd, &st))
		return NULL;
	for (f = k->files; f; f = f->next)
		if (f->dev == st.st_dev && f->ino == st.st_ino && f->mode == mode) {
			f->users++;
			return f;
		}
	f = malloc(sizeof(*f));
	if (!f)
		return NULL;
	*f = (struct file){
		.next = k->files, .dev = st.st_dev, .ino = st.st_ino, .mode = mode, .users = 1,
		.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
	};
	if (f->fd < 0) {
		free(f);
		return NULL;
	}
	k->files = f;
	return f;
}

void client_keep_map(struct client_keep *k, uint64_t iova, uint64_t size, int fd, uint64_t offset,
		     int prot)
{
	struct map m = { iova, size, offset, prot, NULL };

	if (!k)
		return;
	if (k->nr_maps == k->room) {
		size_t room = k->room ? 2 * k->room : 16;
		struct map *more = realloc(k->maps, room * sizeof(*more));

		k->gaps |= !more;
		if (!more)
			return;
		k->maps = more;
		k->room = room;
	}
	m.file = get_file(k, fd);
	if (m.file)
		k->maps[k->nr_maps++] = m;
	else
		k->gaps = true;
}

void client_keep_unmap(struct client_keep *k, uint64_t iova, uint64_t size)
{
	size_t i, n = 0;

	if (!k)
		return;
	for (i = 0; i < k->nr_maps; i++) {
		struct map *m = &k->maps[i];

		if (m->iova >= iova && m->iova + (m->size - 1) <= iova + (size - 1))
			put_file(k, m->file);
		else
			k->maps[n++] = *m;
	}
	k->nr_maps = n;
}

/* -- interrupts --------------------------------------------------------------------------- */

static struct irqs *irqs_of(struct client_keep *k, uint32_t index, uint32_t action, uint32_t nr)
{
	struct irqs *q;
	int *more;

	for (q = k->irqs; q && (q->index != index || q->action != action); q = q->next)
		;
	if (!q) {
		q = calloc(1, sizeof(*q));
		if (!q)
			return NULL;
		*q = (struct irqs){ .next = k->irqs, .index = index, .action = action };
		k->irqs = q;
	}
	if (q->nr >= nr)
		return q;
	more = realloc(q->fds, nr * sizeof(*more));
	if (!more)
		return NULL;
	for (q->fds = more; q->nr < nr; q->nr++)
		more[q->nr] = -1;
	return q;
}

static void keep_fds(struct client_keep *k, uint32_t index, uint32_t action, uint32_t start,
		     uint32_t count, const int *fds)
{
	struct irqs *q = irqs_of(k, index, action, start + count);
	uint32_t i;

	k->gaps |= !q;
	for (i = 0; q && i < count; i++) {
		int *at = &q->fds[start + i];

		if (*at >= 0)
			close(*at);
		*at = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		k->gaps |= fds[i] >= 0 && *at < 0;
	}
}

static void drop_irqs(struct client_keep *k, uint32_t index)
{
	struct irqs **at = &k->irqs, *q;
	uint32_t i;

	while ((q = *at)) {
		if (q->index != index) {
			at = &q->next;
			continue;
		}
		*at = q->next;
		for (i = 0; i < q->nr; i++)
			if (q->fds[i] >= 0)
				close(q->fds[i]);
		free(q->fds);
		free(q);
	}
	k->masked[index] = false;
}

void client_keep_irqs(struct client_keep *k, uint32_t index, uint32_t action, uint32_t start,
		      uint32_t count, const int *fds)
{
	if (!k || index >= VU_IRQS_MAX || start + count > VU_VECTORS_MAX)
		return;
	if (fds)
		keep_fds(k, index, action, start, count, fds);
	else if (action == VFIO_IRQ_SET_ACTION_TRIGGER && !count)
		drop_irqs(k, index);
	else if (action != VFIO_IRQ_SET_ACTION_TRIGGER && !start && count)
		k->masked[index] = action == VFIO_IRQ_SET_ACTION_MASK;
}

/* -- configuration space ------------------------------------------------------------------- */

void client_keep_config(struct client_keep *k, uint64_t offset, const void *buf, uint32_t count)
{
	if (!k || offset >= CONFIG_SIZE || count > CONFIG_SIZE - offset)
		return;
	memcpy(k->config + offset, buf, count);
	memset(k->written + offset, true, count);
}

void client_keep_reset(struct client_keep *k)
{
	if (k)
		memset(k->written, 0, sizeof(k->written));
}

void client_keep_free(struct client_keep *k)
{
	if (!k)
		return;
	client_keep_unmap(k, 0, 0);
	while (k->irqs)
		drop_irqs(k, k->irqs->index);
	free(k->maps);
	free(k);
}

/* -- a successor ---------------------------------------------------------------------------- */

static int read_id(struct rmio_client *c, uint32_t flags, uint32_t *id)
{
	*id = 0;
	if (!(flags & VFIO_DEVICE_FLAGS_PCI))
		return 0;
	return rmio_client_region_read(c, VFIO_PCI_CONFIG_REGION_INDEX, PCI_VENDOR_ID, id,
				       sizeof(*id));
}

int client_keep_identity(struct client_keep *k, struct rmio_client *c, bool first)
{
	uint32_t flags, regions, irqs, id = 0, i;
	struct rmio_region_info r;
	int err = rmio_client_device_info(c, &flags, &regions, &irqs);

	if (!err)
		err = read_id(c, flags, &id);
	if (err)
		return err;
	if (first) {
		k->flags = flags;
		k->regions = regions;
		k->nr_irqs = irqs;
		k->id = id;
	} else if (flags != k->flags || regions != k->regions || irqs != k->nr_irqs ||
		   id != k->id) {
		return rmio_refuse(-ENODEV, "another device: %04x:%04x, it was %04x:%04x",
				   id & 0xffff, id >> 16, k->id & 0xffff, k->id >> 16);
	}
	for (i = 0; i < regions; i++) {
		err = rmio_client_region_info(c, i, &r);
		if (err)
			return err;
		if (!first && r.size != k->sizes[i])
			return rmio_refuse(-ENODEV, "another device: its region %u has 0x%llx bytes, it "
					   "was 0x%llx", i, (unsigned long long)r.size,
					   (unsigned long long)k->sizes[i]);
		k->sizes[i] = r.size;
	}
	return 0;
}

static int replay_irqs(const struct client_keep *k, struct rmio_client *c)
{
	const struct irqs *q;
	int err = 0;
	uint32_t i;

	for (q = k->irqs; q && !err; q = q->next)
		err = rmio_client_set_irqs(c, q->index, q->action, 0, q->nr, q->fds);
	for (i = 0; i < VU_IRQS_MAX && !err; i++)
		if (k->masked[i])
			err = rmio_client_set_irqs(c, i, VFIO_IRQ_SET_ACTION_MASK, 0, 1, NULL);
	return err;
}

/* How much at @at was written and is an access of natural size; 0: nothing. */
static uint32_t piece(const struct client_keep *k, uint32_t at)
{
	uint32_t n = 4, i;

	while (n > 1 && at % n)
		n /= 2;
	for (i = 0; i < n; i++)
		while (n && i < n && !k->written[at + i])
			n /= 2;
	return n;
}

static int replay_config(const struct client_keep *k, struct rmio_client *c)
{
	uint32_t at, n;
	int err = 0;

	for (at = 0; at < CONFIG_SIZE && !err; at += n ? n : 1) {
		n = piece(k, at);
		/* The command register comes last: it lets the device begin. */
		if (at == PCI_COMMAND)
			n = 2;
		else if (n)
			err = rmio_client_region_write(c, VFIO_PCI_CONFIG_REGION_INDEX, at,
						       k->config + at, n);
	}
	n = piece(k, PCI_COMMAND);
	if (!err && n)
		err = rmio_client_region_write(c, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND,
					       k->config + PCI_COMMAND, n > 2 ? 2 : n);
	return err;
}

int client_keep_replay(const struct client_keep *k, struct rmio_client *c)
{
	int err = 0;
	size_t i;

	if (k->gaps)
		return rmio_refuse(-ENOMEM, "there was no memory, or no descriptor, to keep all that "
				   "the device was told");
	for (i = 0; i < k->nr_maps && !err; i++) {
		const struct map *m = &k->maps[i];

		err = rmio_client_dma_map(c, m->iova, m->size, m->file->fd, m->offset, m->prot);
	}
	if (!err)
		err = replay_irqs(k, c);
	return err ? err : replay_config(k, c);
}
