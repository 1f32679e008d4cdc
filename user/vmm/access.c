// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * One access of 1, 2, 4 or 8 bytes: find the range, ask the access map, answer
 * from the shadow, post to the lane, or wait for the device.  The vCPU's side of the
 * data path.  A back end that takes whole accesses does all that itself.
 */
#include "access.h"
#include "death.h"
#include "park.h"
#include "range.h"
#include "wait.h"

#include <errno.h>

/*
 * Between enter and leave, the vCPU lets go of its lock and rmio_master_free
 * waits.  After leave the master is still there until the lock is let go.
 */
static void enter(struct rmio_vcpu *v, struct rmio_master *m)
{
	own_vcpu(v)->inside = m;
	pthread_mutex_unlock(&v->lock);
}

static void leave(struct rmio_vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	/* rmio_access_piece() tells rmio_master_free once it has let go of the lock. */
	own_vcpu(v)->look |= rmio_state_dead(own_vcpu(v)->inside->state);
	own_vcpu(v)->inside = NULL;
}

/* Called and returns with v->lock held, lets go of it while waiting. */
static int wait_unlocked(struct rmio_vcpu *v, struct rmio_master *m, struct until *u)
{
	uint64_t timeout = m->timeout_ns;
	int err;

	enter(v, m);
	err = rmio_vcpu_wait(v, m, u, timeout);
	leave(v);
	return err;
}

/* The request is in the ring; wait for its reply.  0, -EINTR, -ENODEV. */
static int await_reply(struct rmio_vcpu *v, struct rmio_master *m, uint64_t *data)
{
	struct pending *p = &own_vcpu(v)->pending;
	struct until u = {
		.lane = &m->lanes[v->index],
		.seq = p->seq,
		.done = p->seq,
	};
	int err;

	/* A device woken on this CPU has run, and answered, before the waking returned. */
	if (rmio_prod_reply(u.lane, u.seq, &u.data) == 1) {
		p->waited = 0;
		err = 0;
	} else {
		err = wait_unlocked(v, m, &u);
	}
	if (err == -EINTR)
		return err;
	p->waiting = NULL;
	p->seq = 0;
	if (!err)
		*data = u.data;
	return err;
}

/*
 * Wait until all but @left requests of the lane are complete; when the time is up,
 * all but @most will do.
 */
static int await_done(struct rmio_vcpu *v, struct rmio_master *m, uint64_t left, uint64_t most)
{
	struct rmio_prod *lane = &m->lanes[v->index];
	struct until u = {
		.lane = lane,
		.done = lane->tail - left,
		.least = lane->tail - most,
	};
	int err = wait_unlocked(v, m, &u);

	/* Taken over: a device that takes it back would keep the vCPU here for ever. */
	if (!err)
		lane->done = u.seen;
	return err;
}

/*
 * Room for one request in the lane: after this, and before the lock is let go,
 * put_request() does.  0; 1 look again, the lock was let go; -EINTR; -ENODEV.
 */
static int make_room(struct rmio_vcpu *v, struct rmio_master *m)
{
	struct rmio_prod *lane = &m->lanes[v->index];
	uint32_t most = lane->slots_nr - m->reserve;
	int err;

	if (rmio_prod_outstanding(lane) < most)
		return 0;
	if (rmio_prod_update(lane)) {
		enter(v, m);
		rmio_master_kill(m, RMIO_STATE_PROTOCOL, "impossible values in the lane");
		leave(v);
		return -ENODEV;
	}
	if (rmio_prod_outstanding(lane) < most)
		return 0;
	rmio_count(&lane->down->counters.full, 1);
	/*
	 * Half of it: a vCPU woken for each slot would sleep for each store.  But a
	 * device that has made any room in time is slow, not dead.
	 */
	err = await_done(v, m, most / 2, most - 1);
	return err ? err : 1;
}

static void put_request(struct rmio_prod *lane, struct rmio_master *m, const struct rmio_request *r)
{
	/* There is room, so it cannot fail. */
	rmio_prod_push(lane, r);
	rmio_bell_ring(&m->bell);
}

/* Nobody there.  Called with v->lock held and @m alive as an object. */
static void no_device(struct rmio_prod *lane, bool store, uint32_t len, uint64_t *data)
{
	if (store) {
		rmio_count(&lane->down->counters.discarded, 1);
	} else {
		rmio_count(&lane->down->counters.ones, 1);
		*data = rmio_ones(len);
	}
}

int rmio_access_room(struct rmio_vcpu *v, struct rmio_master *m)
{
	int err;

	do {
		if (rmio_state_dead(m->state))
			return -ENODEV;
		rmio_prod_sync(&m->lanes[v->index]);
		rmio_bell_ring(&m->bell);
		err = make_room(v, m);
	} while (err == 1);
	return err;
}

static int load(struct rmio_vcpu *v, const struct range *r, struct access *a)
{
	struct rmio_master *m = r->master;
	struct rmio_prod *lane = &m->lanes[v->index];
	struct rmio_counters *c = &lane->down->counters;
	struct rmio_request req = {
		.offset = a->addr - r->addr,
		.range_id = (uint16_t)r->id,
		.vcpu = (uint16_t)v->index,
		.op = RMIO_OP_LOAD,
		.len = (uint8_t)a->len,
	};
	struct rmio_decision d;
	int err;

	rmio_map_load(m->map, r->id, req.offset, a->len, &d);
	if (d.verdict == RMIO_FROM_SHADOW) {
		if (!d.relaxed && rmio_prod_outstanding(lane)) {
			err = rmio_prod_update(lane);
			if (err || rmio_prod_outstanding(lane)) {
				rmio_count(&c->ordered, 1);
				err = await_done(v, m, 0, 0);
				return err ? err : 1;
			}
		}
		rmio_count(&c->shadow, 1);
		a->data = rmio_shadow_get(m->image, d.shadow_offset, a->len);
		return 0;
	}
	err = make_room(v, m);
	if (err)
		return err;
	put_request(lane, m, &req);
	if (d.verdict == RMIO_TO_DEVICE_SIZE)
		rmio_count(&c->refused_size, 1);
	rmio_count(&c->loads, 1);
	own_vcpu(v)->pending.waiting = m;
	own_vcpu(v)->pending.seq = lane->tail;
	err = await_reply(v, m, &a->data);
	a->data &= rmio_ones(a->len);
	return err;
}

static int store(struct rmio_vcpu *v, const struct range *r, struct access *a)
{
	struct rmio_master *m = r->master;
	struct rmio_prod *lane = &m->lanes[v->index];
	struct rmio_counters *c = &lane->down->counters;
	struct rmio_request req = {
		.offset = a->addr - r->addr,
		.data = a->data & rmio_ones(a->len),
		.range_id = (uint16_t)r->id,
		.vcpu = (uint16_t)v->index,
		.op = RMIO_OP_STORE,
		.len = (uint8_t)a->len,
	};
	struct rmio_decision d;
	uint64_t ignored;
	int err;

	err = make_room(v, m);
	if (err)
		return err;
	rmio_map_store(m->map, r->id, req.offset, a->len, &d);
	if (d.verdict == RMIO_WAIT_STORE) {
		req.op = RMIO_OP_STORE_SYNC;
		put_request(lane, m, &req);
		rmio_count(&c->sync, 1);
		own_vcpu(v)->pending.waiting = m;
		own_vcpu(v)->pending.seq = lane->tail;
		return await_reply(v, m, &ignored);
	}
	/*
	 * The shadow first: what the device's handler then makes of the register
	 * must not be overwritten by the guest's older value.
	 */
	if (d.verdict == RMIO_POST_THROUGH)
		rmio_shadow_put(m->image, d.shadow_offset, req.data, a->len);
	put_request(lane, m, &req);
	rmio_count(&c->posted, 1);
	if (m->exited && a->bus == RMIO_BUS_MEM)
		m->ops->exited(m, r->id, req.offset, a->len);
	return 0;
}

/* Called and returns with v->lock held, which is let go of in between. */
static int ask_backend(struct rmio_vcpu *v, struct rmio_master *m, struct access *a)
{
	struct pending *p = &own_vcpu(v)->pending;
	int err;

	/* Set before: rmio_master_free() may forget it while we are inside. */
	p->waiting = m;
	p->seq = 1;
	enter(v, m);
	err = m->access(v, m, a);
	leave(v);
	if (err != -EINTR) {
		p->waiting = NULL;
		p->seq = 0;
	}
	return err;
}

/* As try_piece. */
static int try_backend(struct rmio_vcpu *v, struct rmio_master *m, struct access *a)
{
	uint64_t moves = v->vm->moves;
	int err = ask_backend(v, m, a);

	if (err != -EOPNOTSUPP)
		return err;
	/* The range has moved since it was looked up; or the back end has lost it. */
	if (moves != v->vm->moves)
		return 1;
	a->data = rmio_ones(a->len);
	return 0;
}

/*
 * With v->lock held.  1: the lock was let go while waiting, look again.  Else as
 * rmio_access_piece.
 */
static int try_piece(struct rmio_vcpu *v, struct access *a)
{
	struct pending *p = &own_vcpu(v)->pending;
	enum range_match match;
	const struct range *r;
	struct rmio_master *m;
	int err = -ENODEV;

	if (p->seq) {
		if (p->seq == RMIO_SEQ_PARKED)
			return rmio_park_access(v);
		/* Taken up again: the request is in the ring, or its device is gone. */
		m = p->waiting;
		if (m && rmio_master_elsewhere(m))
			err = ask_backend(v, m, a);
		else if (m)
			err = await_reply(v, m, &a->data);
		if (err != -ENODEV && err != -EOPNOTSUPP)
			return err;
		p->seq = 0;
		a->data = rmio_ones(a->len);
	} else {
		match = rmio_range_find(&v->vm->tables[a->bus], a->addr, a->len,
					&own_vcpu(v)->hit[a->bus], &r);
		if (match != RANGE_HIT)
			return match == RANGE_NONE ? -EOPNOTSUPP : -EXDEV;
		m = r->master;
		if (rmio_master_elsewhere(m))
			return try_backend(v, m, a);
		rmio_prod_sync(&m->lanes[v->index]);
		if (!rmio_state_dead(m->state))
			err = a->store ? store(v, r, a) : load(v, r, a);
		if (err != -ENODEV)
			return err;
	}
	if (m && !rmio_master_elsewhere(m))
		no_device(&m->lanes[v->index], a->store, a->len, &a->data);
	return 0;
}

/*
 * Somebody waits for this vCPU to have left.  And it may have been on its way when the VM was
 * quiesced.
 */
__attribute__((noinline))
static void look_around(struct rmio_vcpu *v)
{
	pthread_mutex_lock(&v->vm->lock);
	pthread_mutex_lock(&v->lock);
	if (own_vm(v->vm)->parked)
		rmio_park_mark(v);
	pthread_mutex_unlock(&v->lock);
	pthread_cond_broadcast(&v->vm->left);
	pthread_mutex_unlock(&v->vm->lock);
}

int rmio_access_piece(struct rmio_vcpu *v, struct access *a)
{
	bool look;
	int err;

	do {
		pthread_mutex_lock(&v->lock);
		err = try_piece(v, a);
		look = own_vcpu(v)->look;
		own_vcpu(v)->look = false;
		pthread_mutex_unlock(&v->lock);
		/* Before the next wait, which may be for another device and long. */
		if (look)
			look_around(v);
	} while (err == 1);
	return err;
}
