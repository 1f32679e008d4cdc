// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device on its rings: requests taken in batches, answered, completed; the
 * shadow image and access map handed to the master.  The device's end of the
 * fast path.
 *
 * The access map is the master's from the moment it answers.  Requests that it
 * put into the rings before that have not been looked up in it, so they are
 * looked up here; what is there at the answer is handled before the device
 * goes over.
 */
#include "device.h"
#include "memfd.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BATCH		64u
/* An image that the master cannot pass just then is asked for again, so often. */
#define ASK_AGAIN_NS	100000000u
#define ASK_AGAIN_MAX	50u

/* -- requests ------------------------------------------------------------------------ */

static void complete(struct rmio_dev *dev, struct rmio_reply *replies, uint32_t n)
{
	/*
	 * An interrupt that the device has signalled is older than the answer: as on
	 * a bus, where a read's completion pushes the messages before it.
	 */
	rmio_loop_signal(dev->loop);
	rmio_slave_write(dev->src.slave, replies, n);
}

/*
 * Nobody has looked this store up in the map.  If the one that the master had and the one
 * that it will have both write it through to the same place, the vCPU has, whichever it
 * used: to do it again could put an older value over what it has stored since.
 */
static bool unmapped(const struct rmio_dev *dev, const struct rmio_request *r)
{
	struct rmio_decision was, is;

	if (dev->map_live || !dev->map_was)
		return !dev->map_live;
	rmio_map_store(dev->map_was, r->range_id, r->offset, r->len, &was);
	rmio_map_store(dev->map, r->range_id, r->offset, r->len, &is);
	return was.verdict != RMIO_POST_THROUGH || is.verdict != RMIO_POST_THROUGH ||
	       was.shadow_offset != is.shadow_offset;
}

static void map_now_live(struct rmio_dev *dev, bool live)
{
	rmio_map_free(dev->map_was);
	dev->map_was = NULL;
	dev->map_live = live;
}

static uint32_t serve(struct rmio_src *src)
{
	struct rmio_dev *dev = (struct rmio_dev *)((char *)src - offsetof(struct rmio_dev, src));
	struct rmio_reply replies[BATCH];
	struct rmio_request reqs[BATCH];
	uint32_t k = 0;
	ssize_t n, i;

	n = rmio_slave_read(src->slave, reqs, BATCH);
	if (n == -EAGAIN)
		return 0;
	if (n < 0) {
		dev->rings_gone(dev, (int)n);
		return 0;
	}
	rmio_loop_src_served(dev->loop, src);
	for (i = 0; i < n; i++) {
		const struct rmio_request *r = &reqs[i];
		struct rmio_reply *reply = &replies[k++];

		*reply = (struct rmio_reply){ .seq = r->seq, .vcpu = r->vcpu };
		dev->redelivered = r->flags & RMIO_REQ_REDELIVERED;
		if (r->op == RMIO_OP_LOAD)
			reply->data = rmio_dev_do_load(dev, r->range_id, r->offset, r->len,
						       !dev->map_live);
		else
			rmio_dev_do_store(dev, r->range_id, r->offset, r->data, r->len,
					  unmapped(dev, r));
		/* Somebody waits for this one; stores may wait for company. */
		if (r->op != RMIO_OP_STORE) {
			complete(dev, replies, k);
			k = 0;
		}
	}
	dev->redelivered = false;
	if (k)
		complete(dev, replies, k);
	return (uint32_t)n;
}

void rmio_dev_drain(struct rmio_dev *dev)
{
	uint32_t n;

	while (dev->src.slave && dev->drain_left) {
		n = serve(&dev->src);
		if (!n)
			break;
		dev->drain_left -= n < dev->drain_left ? n : dev->drain_left;
	}
}

/* -- shadow and access map --------------------------------------------------------------- */

static void slave_ready(void *arg, uint32_t events);

static void answer(struct rmio_timer *t)
{
	slave_ready((struct rmio_dev *)((char *)t - offsetof(struct rmio_dev, answer)), 0);
}

/* In a turn of its own: who asks may be a handler, in the middle of a request. */
static void asked(struct rmio_dev *dev, enum dev_asked what)
{
	dev->asked = what;
	if (!rmio_slave_answered(dev->src.slave))
		return;
	dev->answer.fire = answer;
	rmio_timer_arm(dev->loop, &dev->answer, 0);
}

static void ask_map(struct rmio_dev *dev)
{
	int err = rmio_slave_shadow_ctrl_begin(dev->src.slave, dev->areas, dev->nr_areas);

	dev->map_due = false;
	/* A master that has gone meanwhile is told of by its descriptor. */
	if (err && err != -ECONNRESET)
		rmio_dev_log(dev, "the access map could not be sent: %s", strerror(-err));
	else if (!err)
		asked(dev, ASKED_SHADOW_CTRL);
}

static void ask_again(struct rmio_timer *t);

/*
 * Slower, not wrong: loads come to the device and are looked up there.  The cause
 * may be none of this device's, such as descriptors of other processes on their way.
 */
static void no_shadow(struct rmio_dev *dev, int err)
{
	if (!dev->asked_again)
		rmio_dev_log(dev, "no shadow image: %s", strerror(-err));
	/* Nor will a kernel that has a smaller limit think better of it. */
	if (err == -EFBIG || dev->asked_again++ == ASK_AGAIN_MAX)
		return;
	dev->ask_again.fire = ask_again;
	rmio_timer_arm(dev->loop, &dev->ask_again, ASK_AGAIN_NS);
}

static void ask_shadow(struct rmio_dev *dev)
{
	int err;

	if (!dev->shadow_size) {
		if (dev->nr_areas)
			ask_map(dev);
		return;
	}
	rmio_slave_shadow_at(dev->src.slave, dev->shadow);
	err = rmio_slave_shadow_size_begin(dev->src.slave, dev->shadow_size);
	if (err && err != -ECONNRESET)
		no_shadow(dev, err);
	else if (!err)
		asked(dev, ASKED_SHADOW_SIZE);
}

static void ask_again(struct rmio_timer *t)
{
	ask_shadow((struct rmio_dev *)((char *)t - offsetof(struct rmio_dev, ask_again)));
}

void rmio_dev_push_map(struct rmio_dev *dev)
{
	dev->map_live = false;
	if (!dev->src.slave)
		return;
	/*
	 * One question at a time, and no map before its image: what is asked next
	 * is what holds then.
	 */
	if (dev->asked != ASKED_NOTHING)
		dev->map_due = true;
	else if (!dev->ask_again.armed)
		ask_map(dev);
}

/* The master's memory takes the place of ours, or the other way: the contents stay. */
static int keep_shadow(struct rmio_dev *dev, char **copy)
{
	*copy = malloc(rmio_pages(dev->shadow_size));
	if (!*copy)
		return -ENOMEM;
	memcpy(*copy, dev->shadow, rmio_pages(dev->shadow_size));
	return 0;
}

static void put_back(struct rmio_dev *dev, char *copy)
{
	if (copy)
		memcpy(dev->shadow, copy, rmio_pages(dev->shadow_size));
	free(copy);
}

/*
 * The image belonged to the peer that has gone, which may still have it mapped.
 * If there is no memory for a private one, it stays: the next peer gets an image
 * of its own in any case.
 */
static void take_shadow_back(struct rmio_dev *dev)
{
	char *copy;

	if (keep_shadow(dev, &copy))
		return;
	if (mmap(dev->shadow, rmio_pages(dev->shadow_size), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
		free(copy);
		return;
	}
	put_back(dev, copy);
}

/* One message of the master.  0, or why the rings have to go. */
static int answered(struct rmio_dev *dev, enum rmio_slave_event event, int result)
{
	enum dev_asked what = dev->asked;

	if (event == RMIO_SLAVE_BELL) {
		rmio_loop_src_hot(dev->loop, &dev->src);
		return 0;
	}
	if (what != (event == RMIO_SLAVE_SHADOW_SIZE ? ASKED_SHADOW_SIZE : ASKED_SHADOW_CTRL))
		return -EPROTO;
	dev->asked = ASKED_NOTHING;
	if (result == -EPROTO)
		return result;
	if (result && event == RMIO_SLAVE_SHADOW_SIZE) {
		no_shadow(dev, result);
		return 0;
	}
	if (result && !dev->map_due) {
		rmio_dev_log(dev, "access map refused: %s", strerror(-result));
		return 0;
	}
	if (event == RMIO_SLAVE_SHADOW_SIZE || dev->map_due) {
		ask_map(dev);
		return 0;
	}
	rmio_dev_drain(dev);
	map_now_live(dev, true);
	return 0;
}

/* -- the slave descriptor ------------------------------------------------------------------- */

static void slave_ready(void *arg, uint32_t events)
{
	struct rmio_dev *dev = arg;
	enum rmio_slave_event event;
	char *copy = NULL;
	int err, result;

	dev->drain_left = DRAIN_MAX;
	if (dev->asked == ASKED_SHADOW_SIZE && keep_shadow(dev, &copy)) {
		dev->rings_gone(dev, -ENOMEM);
		return;
	}
	err = rmio_slave_work(dev->src.slave, &event, &result);
	if (!err && event == RMIO_SLAVE_SHADOW_SIZE && !result && copy)
		put_back(dev, copy);
	else
		free(copy);
	if (!err)
		err = answered(dev, event, result);
	if (!dev->src.slave)
		return;
	/*
	 * Somebody has rung, if only for what the socket has taken meanwhile.  He rings once for a
	 * sleep, so it takes a new one to hear the next.
	 */
	if (err == -EAGAIN) {
		rmio_loop_src_hot(dev->loop, &dev->src);
		return;
	}
	if (err) {
		/* The requests from before the end are handled first. */
		if (err == -ECONNRESET)
			rmio_dev_drain(dev);
		if (dev->src.slave)
			dev->rings_gone(dev, err);
	}
}

int rmio_dev_attach(struct rmio_dev *dev, int fd, void (*gone)(struct rmio_dev *dev, int err))
{
	struct rmio_slave_opts opts = { .sz = sizeof(opts), .wait = dev->loop->opts.wait };
	struct rmio_slave *slave;
	int err;

	err = rmio_slave_open(fd, &opts, &slave);
	if (err)
		return err;
	dev->slave_watch = rmio_watch_poll(dev->loop, rmio_slave_fd(slave), POLLIN, slave_ready,
					   dev);
	if (!dev->slave_watch) {
		rmio_slave_free(slave);
		return -ENOMEM;
	}
	dev->src.slave = slave;
	dev->src.serve = serve;
	dev->rings_gone = gone;
	if (rmio_loop_src_add(dev->loop, &dev->src)) {
		rmio_watch_free(dev->slave_watch);
		dev->slave_watch = NULL;
		dev->src.slave = NULL;
		rmio_slave_free(slave);
		return -ENOMEM;
	}
	dev->asked = ASKED_NOTHING;
	dev->asked_again = 0;
	dev->map_due = false;
	map_now_live(dev, !dev->nr_areas);
	ask_shadow(dev);
	return 0;
}

void rmio_dev_detach(struct rmio_dev *dev)
{
	if (!dev->src.slave)
		return;
	rmio_loop_src_del(dev->loop, &dev->src);
	rmio_timer_cancel(dev->loop, &dev->ask_again);
	rmio_timer_cancel(dev->loop, &dev->answer);
	rmio_watch_free(dev->slave_watch);
	dev->slave_watch = NULL;
	rmio_slave_free(dev->src.slave);
	dev->src.slave = NULL;
	if (dev->shadow)
		take_shadow_back(dev);
}
