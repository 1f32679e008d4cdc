// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The device's own I/O on the loop's io_uring: whose the user data is, when it is handed to the
 * kernel, what becomes of it when the loop ends.
 */
#include "ktap.h"

#include <liburing.h>
#include <poll.h>
#include <rmio/device.h>

#define OPS	40

struct op {
	struct rmio_loop_io io;
	struct rmio_loop *loop;
	int calls, res, left;
	uint32_t flags;
	int again;		/* what submitting it again from done() gave */
	bool submit_again;
	char buf[8];
};

/* What runs in the loop, and the operations it makes. */
struct rig {
	struct rmio_loop *loop;
	struct rmio_timer start;
	void (*begin)(struct rig *r);
	int pipe[2], left, done_after_run;
	bool returned;
	struct op op[OPS];
};

static struct rig *rig;

static void done(struct rmio_loop_io *io, int res, uint32_t flags)
{
	struct op *o = (struct op *)io;
	struct io_uring_sqe sqe = { 0 };

	o->calls++;
	o->res = res;
	o->flags = flags;
	rig->done_after_run += rig->returned;
	if (o->submit_again) {
		io_uring_prep_nop(&sqe);
		o->again = rmio_loop_submit(o->loop, io, &sqe);
	}
	if (rig->left && !--rig->left)
		rmio_loop_stop(o->loop);
}

static void begin(struct rmio_timer *t)
{
	rig->begin(rig);
}

static bool rig_new(struct rig *r, void (*fn)(struct rig *r))
{
	struct rmio_loop_opts opts = { .sz = sizeof(opts), .entries = 16 };

	*r = (struct rig){ .start.fire = begin, .begin = fn };
	rig = r;
	if (!T_EQ(rmio_loop_new(&opts, &r->loop), 0) || !T_EQ(pipe(r->pipe), 0))
		return false;
	for (int i = 0; i < OPS; i++)
		r->op[i] = (struct op){ .io.done = done, .loop = r->loop };
	if (fn)
		rmio_timer_arm(r->loop, &r->start, 0);
	return true;
}

static bool run(struct rig *r)
{
	bool good = T_EQ(rmio_loop_run(r->loop), 0);

	r->returned = true;
	return good;
}

static void rig_free(struct rig *r)
{
	rmio_loop_free(r->loop);
	close(r->pipe[0]);
	close(r->pipe[1]);
}

static int submit_read(struct rig *r, struct op *o)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_read(&sqe, r->pipe[0], o->buf, sizeof(o->buf), 0);
	sqe.user_data = 0xdeadbeef;	/* is the loop's */
	return rmio_loop_submit(r->loop, &o->io, &sqe);
}

static int submit_nop(struct rig *r, struct op *o)
{
	struct io_uring_sqe sqe = { .user_data = 8 };

	io_uring_prep_nop(&sqe);
	return rmio_loop_submit(r->loop, &o->io, &sqe);
}

/* More than the queue has entries. */
static void many_ops(struct rig *r)
{
	T_EQ(submit_read(r, &r->op[0]), 0);
	for (int i = 1; i < OPS; i++)
		T_EQ(submit_nop(r, &r->op[i]), 0);
	r->left = OPS;
	T_EQ(write(r->pipe[1], "hello", 5), 5);
}

static void many(void)
{
	struct rig r;

	T_REQUIRE(rig_new(&r, many_ops));
	run(&r);
	T_MEMEQ(r.op[0].buf, "hello", 5);
	T_EQ(r.op[0].res, 5);
	for (int i = 0; i < OPS; i++)
		T_EQ(r.op[i].calls, 1);
	rig_free(&r);
}

/* The kernel gets them when the loop runs, also those that the queue has no room for. */
static void before_run(void)
{
	struct rig r;

	T_REQUIRE(rig_new(&r, NULL));
	many_ops(&r);
	T_EQ(r.op[1].calls, 0);
	run(&r);
	for (int i = 0; i < OPS; i++)
		T_EQ(r.op[i].calls, 1);
	/* and between two runs */
	r.returned = false;
	r.left = 1;
	T_EQ(submit_nop(&r, &r.op[3]), 0);
	run(&r);
	T_EQ(r.op[3].calls, 2);
	rig_free(&r);
}

static void stop_with_reads(struct rig *r)
{
	for (int i = 0; i < OPS; i++)
		T_EQ(submit_read(r, &r->op[i]), 0);
	r->op[7].submit_again = true;
	rmio_loop_stop(r->loop);
}

/* Nothing that is pending outlives the run. */
static void ended_by_stop(void)
{
	struct rig r;
	char buf[8] = "";

	T_REQUIRE(rig_new(&r, stop_with_reads));
	run(&r);
	for (int i = 0; i < OPS; i++) {
		T_EQ(r.op[i].calls, 1);
		T_EQ(r.op[i].res, -ECANCELED);
	}
	T_EQ(r.op[7].again, -ECANCELED);
	T_OK(strstr(rmio_errstr(-ECANCELED), "ending"));
	/* nobody else reads it any more */
	T_EQ(write(r.pipe[1], "mine", 4), 4);
	T_EQ(read(r.pipe[0], buf, sizeof(buf)), 4);
	rig_free(&r);
	T_EQ(r.done_after_run, 0);
}

/* Never handed to the kernel. */
static void ended_by_free(void)
{
	struct rig r;

	T_REQUIRE(rig_new(&r, NULL));
	T_EQ(submit_read(&r, &r.op[0]), 0);
	T_EQ(submit_nop(&r, &r.op[1]), 0);
	r.op[1].submit_again = true;
	T_EQ(r.op[0].calls, 0);
	rig_free(&r);
	T_EQ(r.op[0].calls, 1);
	T_EQ(r.op[0].res, -ECANCELED);
	T_EQ(r.op[1].calls, 1);
	T_EQ(r.op[1].again, -ECANCELED);
}

static void cancel_two(struct rig *r)
{
	T_EQ(submit_read(r, &r->op[1]), 0);
	r->left = 2;
	rmio_loop_cancel(r->loop, &r->op[1].io);
	rmio_loop_cancel(r->loop, &r->op[1].io);
	rmio_loop_cancel(r->loop, &r->op[2].io);	/* is not pending */
	T_EQ(r->op[1].calls, 0);			/* not from within */
}

static void cancel(void)
{
	struct rig r;

	T_REQUIRE(rig_new(&r, cancel_two));
	T_EQ(submit_read(&r, &r.op[0]), 0);
	rmio_loop_cancel(r.loop, &r.op[0].io);		/* not handed over yet */
	T_EQ(r.op[0].calls, 0);
	run(&r);
	T_EQ(r.op[0].calls, 1);
	T_EQ(r.op[0].res, -ECANCELED);
	T_EQ(r.op[1].calls, 1);
	T_EQ(r.op[1].res, -ECANCELED);
	T_EQ(r.op[2].calls, 0);
	rig_free(&r);
}

static void poll_often(struct rig *r)
{
	struct io_uring_sqe sqe = { 0 };

	if (!r->op[0].calls) {
		io_uring_prep_poll_multishot(&sqe, r->pipe[0], POLLIN);
		T_EQ(rmio_loop_submit(r->loop, &r->op[0].io, &sqe), 0);
	}
	if (r->op[0].calls == 3) {
		T_OK(r->op[0].flags & IORING_CQE_F_MORE);
		T_EQ(submit_nop(r, &r->op[0]), -EBUSY);
		rmio_loop_stop(r->loop);
		return;
	}
	T_EQ(write(r->pipe[1], "x", 1), 1);
	rmio_timer_arm(r->loop, &r->start, 20000000);
}

static void several_results(void)
{
	struct rig r;

	T_REQUIRE(rig_new(&r, poll_often));
	run(&r);
	T_EQ(r.op[0].calls, 4);
	T_EQ(r.op[0].res, -ECANCELED);
	T_OK(!(r.op[0].flags & IORING_CQE_F_MORE));
	rig_free(&r);
}

static void refused(void)
{
	static const struct {
		uint8_t opcode, flags;
		const char *words;
	} bad[] = {
		{ IORING_OP_NOP, IOSQE_IO_LINK, "linked" },
		{ IORING_OP_NOP, IOSQE_IO_HARDLINK, "linked" },
		{ IORING_OP_NOP, IOSQE_IO_DRAIN, "IOSQE_IO_DRAIN" },
		{ IORING_OP_NOP, IOSQE_CQE_SKIP_SUCCESS, "completion" },
		{ IORING_OP_ASYNC_CANCEL, 0, "rmio_loop_cancel" },
		{ IORING_OP_POLL_REMOVE, 0, "rmio_loop_cancel" },
		{ IORING_OP_TIMEOUT_REMOVE, 0, "rmio_loop_cancel" },
		{ IORING_OP_LINK_TIMEOUT, 0, "rmio_loop_cancel" },
	};
	struct rig r;

	T_REQUIRE(rig_new(&r, NULL));
	for (int i = 0; i < KTAP_COUNT(bad); i++) {
		struct io_uring_sqe sqe = { .opcode = bad[i].opcode, .flags = bad[i].flags };

		T_EQ(rmio_loop_submit(r.loop, &r.op[0].io, &sqe), -EINVAL);
		if (!T_OK(strstr(rmio_errstr(-EINVAL), bad[i].words)))
			ktap_diag("\"%s\", expected \"%s\" in it", rmio_errstr(-EINVAL), bad[i].words);
	}
	r.op[0].io.done = NULL;
	T_EQ(submit_nop(&r, &r.op[0]), -EINVAL);
	T_EQ(submit_nop(&r, &r.op[1]), 0);
	T_EQ(submit_nop(&r, &r.op[1]), -EBUSY);
	T_EQ(rmio_loop_register(r.loop, IORING_REGISTER_ENABLE_RINGS, NULL, 0), -EINVAL);
	T_EQ(rmio_loop_register(r.loop, IORING_REGISTER_RESTRICTIONS, NULL, 0), -EINVAL);
	T_OK(strstr(rmio_errstr(-EINVAL), "rmio_loop_register: operation 11"));
	rig_free(&r);
}

static void read_registered(struct rig *r)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_read_fixed(&sqe, r->pipe[0], r->op[0].buf, 5, 0, 0);
	T_EQ(rmio_loop_submit(r->loop, &r->op[0].io, &sqe), 0);
	r->left = 1;
	T_EQ(write(r->pipe[1], "fixed", 5), 5);
}

static void registered(void)
{
	struct iovec v;
	struct rig r;

	T_REQUIRE(rig_new(&r, read_registered));
	v = (struct iovec){ r.op[0].buf, sizeof(r.op[0].buf) };
	T_REQUIRE(T_EQ(rmio_loop_register(r.loop, IORING_REGISTER_BUFFERS, &v, 1), 0));
	run(&r);
	T_EQ(r.op[0].res, 5);
	T_MEMEQ(r.op[0].buf, "fixed", 5);
	rig_free(&r);
}

static const struct ktap_test tests[] = {
	{ "more than the queue holds", many },
	{ "before the loop runs", before_run },
	{ "the end of a run", ended_by_stop },
	{ "the end of a loop", ended_by_free },
	{ "cancelled", cancel },
	{ "several results", several_results },
	{ "refused", refused },
	{ "registered buffers", registered },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
