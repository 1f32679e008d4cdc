// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The files of guest memory and the windows onto them.  Beside the data path.
 */
#include "dma_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096u

/* -- files --------------------------------------------------------------------------------- */

/* One that was found good is good as long as it is held: nobody else gets its number. */
static struct rmio_dma_file *known(const struct rmio_dma_files *f, const struct rmio_dma_kind *k)
{
	struct rmio_dma_file *file;

	for (file = f->first; file; file = file->next)
		if (rmio_dma_kind_same(&file->kind, k))
			return file;
	return NULL;
}

static int get_file(struct rmio_dma_files *f, int fd, int prot, struct rmio_dma_file **file,
		    char why[RMIO_DMA_WHY])
{
	struct rmio_dma_kind k;
	int err = rmio_dma_kind_look(fd, prot, &k, why);

	if (err)
		return err;
	*file = known(f, &k);
	if (*file)
		return 0;
	err = rmio_dma_kind_of(fd, &k, why);
	if (err)
		return err;
	*file = calloc(1, sizeof(**file));
	if (!*file)
		return rmio_dma_refuse(why, -ENOMEM, "no memory for it");
	(*file)->kind = k;
	(*file)->next = f->first;
	f->first = *file;
	return 0;
}

static void drop_file_without_windows(struct rmio_dma_files *f, struct rmio_dma_file *file)
{
	struct rmio_dma_file **at = &f->first;

	if (file->windows)
		return;
	while (*at != file)
		at = &(*at)->next;
	*at = file->next;
	free(file);
}

/* -- windows --------------------------------------------------------------------------------- */

static struct rmio_dma_window *find_window(const struct rmio_dma_file *file, enum rmio_dma_way way,
					   int prot, uint64_t offset, uint64_t size)
{
	struct rmio_dma_window *w;

	for (w = file->windows; w; w = w->next)
		if (w->way == way && (way == RMIO_DMA_FILE || w->prot == prot) &&
		    offset >= w->offset && size <= w->size && offset - w->offset <= w->size - size)
			return w;
	return NULL;
}

static int open_window(struct rmio_dma_files *f, struct rmio_dma_window *w, int *fd,
		       char why[RMIO_DMA_WHY])
{
	if (f->open == RMIO_DMA_OPEN)
		return rmio_dma_refuse(why, -ENOSPC, "more than %u files that can be truncated",
				       RMIO_DMA_OPEN);
	f->open++;
	w->offset = 0;
	w->size = UINT64_MAX;
	w->fd = *fd;
	*fd = -1;
	return 0;
}

static int map_window(struct rmio_dma_files *f, struct rmio_dma_window *w, int *fd,
		      char why[RMIO_DMA_WHY])
{
	/* What a peer keeps in huge pages is for it to reserve. */
	int flags = MAP_SHARED | (w->way == RMIO_DMA_PIPE ? MAP_NORESERVE : 0), err;

	if (f->mapped == RMIO_DMA_MAPPED)
		return rmio_dma_refuse(why, -ENOSPC, "more than %u files, or pieces of them",
				       RMIO_DMA_MAPPED);
	if (w->size > RMIO_DMA_BYTES - f->bytes)
		return rmio_dma_refuse(why, -ENOSPC, "more than %llu bytes of address space",
				       RMIO_DMA_BYTES);
	w->mem = mmap(NULL, w->size, w->prot, flags, *fd, (off_t)w->offset);
	if (w->mem == MAP_FAILED) {
		err = errno;
		w->mem = NULL;
		if (err == EPERM)
			return rmio_dma_refuse(why, -EACCES, "its file is sealed against writing");
		return rmio_dma_refuse(why, -err, "mmap: %s%s", strerrordesc_np(err), err == ENOMEM ?
				       " (see sysctl vm.max_map_count, ulimit -v)" : "");
	}
	f->mapped++;
	f->bytes += w->size;
	/* The mapping holds the file. */
	close(*fd);
	*fd = -1;
	return 0;
}

/* What was asked for, or all of a file that is in many pieces already. */
static void choose(const struct rmio_dma_files *f, const struct rmio_dma_file *file,
		   struct rmio_dma_window *w, uint64_t offset, uint64_t size, uint64_t length)
{
	uint64_t block = file->kind.block, end = offset + size;

	w->offset = offset - offset % block;
	w->size = (end + block - 1) / block * block - w->offset;
	length -= length % PAGE;
	if (file->n >= RMIO_DMA_PIECES && length <= RMIO_DMA_BYTES - f->bytes) {
		w->offset = 0;
		w->size = length;
	}
}

static int new_window(struct rmio_dma_files *f, struct rmio_dma_file *file,
		      const struct rmio_dma_window *like, int *fd, struct rmio_dma_window **win,
		      char why[RMIO_DMA_WHY])
{
	struct rmio_dma_window *w = malloc(sizeof(*w));
	int err;

	if (!w)
		return rmio_dma_refuse(why, -ENOMEM, "no memory for it");
	*w = *like;
	err = w->way == RMIO_DMA_FILE ? open_window(f, w, fd, why) : map_window(f, w, fd, why);
	if (err) {
		free(w);
		return err;
	}
	w->next = file->windows;
	file->windows = w;
	file->n++;
	*win = w;
	return 0;
}

int rmio_dma_file_get(struct rmio_dma_files *f, int *fd, uint64_t offset, uint64_t size, int prot,
		      struct rmio_dma_window **win, char why[RMIO_DMA_WHY])
{
	struct rmio_dma_window w = { .prot = prot, .fd = -1 };
	struct rmio_dma_file *file;
	uint64_t length;
	int err = get_file(f, *fd, prot, &file, why);

	if (err)
		return err;
	err = rmio_dma_kind_way(*fd, &file->kind, offset + size, prot, &w.way, &length, why);
	if (!err) {
		*win = find_window(file, w.way, prot, offset, size);
		if (!*win) {
			w.file = file;
			choose(f, file, &w, offset, size, length);
			err = new_window(f, file, &w, fd, win, why);
		}
	}
	if (err)
		drop_file_without_windows(f, file);
	else
		(*win)->maps++;
	return err;
}

void rmio_dma_file_put(struct rmio_dma_files *f, struct rmio_dma_window *win)
{
	struct rmio_dma_window **at = &win->file->windows;

	if (--win->maps)
		return;
	while (*at != win)
		at = &(*at)->next;
	*at = win->next;
	win->file->n--;
	if (win->mem) {
		munmap(win->mem, win->size);
		f->mapped--;
		f->bytes -= win->size;
	} else {
		close(win->fd);
		f->open--;
	}
	drop_file_without_windows(f, win->file);
	free(win);
}
