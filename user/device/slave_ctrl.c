// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What a slave asks of its master: the shadow image and the access map, by messages on the
 * socket or by ioctls of the kernel device; and what else comes by message.  Beside the data path.
 */
#include "wire/chan.h"
#include "wire/foreign.h"
#include "wire/memory.h"
#include "kslave.h"
#include "memfd.h"
#include "slave_priv.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>

/* How long a call that needs the master's answer waits for it. */
#define ANSWER_MS	5000

bool rmio_slave_gone(const struct rmio_slave *s)
{
	if (s->kernel)
		return rmio_kslave_look(s->chan) == -ECONNRESET;
	return rmio_chan_hung_up(s->chan);
}

void rmio_slave_shadow_at(struct rmio_slave *s, void *addr)
{
	s->image_at = addr;
}

static int ask(struct rmio_slave *s, uint16_t type, uint64_t value, const void *payload, size_t len)
{
	struct rmio_chan_hdr h = {
		.magic = RMIO_ABI_MAGIC,
		.version = RMIO_ABI_VERSION,
		.type = type,
		.value = value,
	};
	int err = rmio_chan_send(s->chan, &h, payload, len, NULL, 0);

	return err == -EPIPE ? -ECONNRESET : err;
}

int rmio_slave_shadow_size_begin(struct rmio_slave *s, uint64_t size)
{
	int err;

	if (size > RMIO_SHADOW_MAX)
		return -EFBIG;
	if (s->asked_shadow_size)
		return -EBUSY;
	if (s->kernel) {
		err = rmio_kslave_size(s->chan, rmio_pages(size));
		s->shadow_size_result = err;
		err = err == -ECONNRESET ? err : 0;
	} else {
		err = ask(s, RMIO_CHAN_SHADOW_SIZE, size, NULL, 0);
	}
	s->asked_shadow_size = !err;
	s->image_asked = rmio_pages(size);
	return err;
}

int rmio_slave_shadow_ctrl_begin(struct rmio_slave *s, const struct rmio_area *areas, size_t n)
{
	int err;

	if (n > RMIO_AREAS_MAX)
		return -E2BIG;
	if (s->asked_shadow_ctrl)
		return -EBUSY;
	if (s->kernel) {
		err = rmio_kslave_ctrl(s->chan, areas, n);
		s->shadow_ctrl_result = err;
		err = err == -ECONNRESET ? err : 0;
	} else {
		err = ask(s, RMIO_CHAN_SHADOW_CTRL, n, areas, n * sizeof(*areas));
	}
	s->asked_shadow_ctrl = !err;
	return err;
}

static void use_image(struct rmio_slave *s, void *image, uint64_t size)
{
	if (s->image && !s->image_at)
		munmap(s->image, s->image_size);
	s->image = image;
	s->image_size = size;
}

static int take_image(struct rmio_slave *s, uint64_t size, const int *fds, size_t nfds)
{
	void *image = NULL;

	/* A larger one would be mapped over what lies behind image_at. */
	if (nfds != (size ? 1 : 0) || size != s->image_asked)
		return -EPROTO;
	if (size) {
		if (rmio_memory_check(fds[0], size, false))
			return -EPROTO;
		image = rmio_memfd_map(fds[0], size, true, s->image_at);
		if (!image)
			return -errno;
	}
	use_image(s, image, size);
	return 0;
}

static int take_kernel_image(struct rmio_slave *s)
{
	void *image = NULL;
	int err = 0;

	if (s->image_asked)
		err = rmio_kslave_image(s->chan, s->image_asked, s->image_at, &image);
	if (!err)
		use_image(s, image, s->image_asked);
	return err;
}

bool rmio_slave_answered(const struct rmio_slave *s)
{
	return s->kernel && (s->asked_shadow_size || s->asked_shadow_ctrl);
}

static int work_kernel(struct rmio_slave *s, enum rmio_slave_event *event, int *result)
{
	int err;

	if (s->asked_shadow_size) {
		s->asked_shadow_size = false;
		*event = RMIO_SLAVE_SHADOW_SIZE;
		*result = s->shadow_size_result ? s->shadow_size_result : take_kernel_image(s);
		return 0;
	}
	if (s->asked_shadow_ctrl) {
		s->asked_shadow_ctrl = false;
		*event = RMIO_SLAVE_SHADOW_CTRL;
		*result = s->shadow_ctrl_result;
		return 0;
	}
	err = rmio_kslave_look(s->chan);
	if (err == -ECONNRESET)
		s->gone = true;
	*event = RMIO_SLAVE_BELL;
	*result = 0;
	return err;
}

static int work_socket(struct rmio_slave *s, enum rmio_slave_event *event, int *result)
{
	struct rmio_chan_hdr h;
	int fds[RMIO_CHAN_FDS];
	size_t nfds, i;
	int err = -EPROTO;
	ssize_t n = rmio_chan_recv(s->chan, &h, NULL, 0, fds, &nfds);

	/* The question has been answered, though not so that this process can use it. */
	if (n == -EMFILE && h.type == RMIO_CHAN_SHADOW_SIZE && h.answer && s->asked_shadow_size) {
		s->asked_shadow_size = false;
		*event = RMIO_SLAVE_SHADOW_SIZE;
		*result = -EMFILE;
		return 0;
	}
	if (n < 0) {
		if (n == -ECONNRESET)
			s->gone = true;
		return (int)n;
	}
	*result = h.error;
	if (h.error > 0 || h.error < -4095 || (h.error && nfds)) {
		;
	} else if (h.type == RMIO_CHAN_BELL && !h.answer && !nfds) {
		*event = RMIO_SLAVE_BELL;
		err = 0;
	} else if (h.type == RMIO_CHAN_SHADOW_SIZE && h.answer && s->asked_shadow_size) {
		s->asked_shadow_size = false;
		*event = RMIO_SLAVE_SHADOW_SIZE;
		err = 0;
		if (!*result)
			*result = take_image(s, h.value, fds, nfds);
	} else if (h.type == RMIO_CHAN_SHADOW_CTRL && h.answer && !nfds && s->asked_shadow_ctrl) {
		s->asked_shadow_ctrl = false;
		*event = RMIO_SLAVE_SHADOW_CTRL;
		err = 0;
	}
	for (i = 0; i < nfds; i++)
		rmio_foreign_close(fds[i]);
	return err;
}

int rmio_slave_work(struct rmio_slave *s, enum rmio_slave_event *event, int *result)
{
	return s->kernel ? work_kernel(s, event, result) : work_socket(s, event, result);
}

/* Wait for the answer to the one question that was asked. */
static int await(struct rmio_slave *s, enum rmio_slave_event wanted)
{
	uint64_t deadline = rmio_now_ns() + ANSWER_MS * 1000000ull, now;
	struct pollfd p = { .fd = s->chan, .events = POLLIN };
	enum rmio_slave_event event;
	int err, result;

	for (;;) {
		err = rmio_slave_work(s, &event, &result);
		if (!err && event == wanted)
			return result;
		if (err && err != -EAGAIN)
			return err;
		now = rmio_now_ns();
		if (now >= deadline)
			return -ETIMEDOUT;
		if (err)
			poll(&p, 1, (int)((deadline - now) / 1000000) + 1);
	}
}

int rmio_slave_shadow_size(struct rmio_slave *s, uint64_t size)
{
	int err = rmio_slave_shadow_size_begin(s, size);

	return err ? err : await(s, RMIO_SLAVE_SHADOW_SIZE);
}

int rmio_slave_shadow_ctrl(struct rmio_slave *s, const struct rmio_area *areas, size_t n)
{
	int err = rmio_slave_shadow_ctrl_begin(s, areas, n);

	return err ? err : await(s, RMIO_SLAVE_SHADOW_CTRL);
}

void *rmio_slave_mmap(const struct rmio_slave *s, size_t *size)
{
	if (size)
		*size = s->image_size;
	return s->image;
}
