// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio bpfd`: what a VMM asks for, and whether it may have that much.  Beside the data
 * path.
 */
#include "bpfd.h"
#include "wire/foreign.h"
#include "wire/scm.h"

#include <errno.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ARRAYS_OF_UID	32768	/* as many as small ones may be, the table ends somewhere */

static bool over(const struct bpfd *b, const struct client *c, uint64_t bytes, const char **what)
{
	struct account_sum own = account_sum(&b->account, c->who.uid, c->number);
	struct account_sum all = account_sum(&b->account, c->who.uid, 0);

	*what = NULL;
	if (bytes > b->max_bytes || own.bytes > b->max_bytes - bytes)
		*what = "the memory of one VMM is used up";
	else if (!c->who.uid)	/* could do it itself */
		*what = NULL;
	else if (!bytes && all.programs >= CLIENTS_OF_UID)
		*what = "too many programs of this user are still in use";
	else if (!bytes && account_sum(&b->account, ACCOUNT_ALL, 0).programs >= CLIENTS)
		*what = "too many programs are still in use";
	else if (all.bytes > CLIENTS_OF_UID * b->max_bytes - bytes || all.arrays >= ARRAYS_OF_UID)
		*what = "the memory of this user is used up";
	return *what;
}

/* May it have so much more, or without @bytes a program? */
static int allow(struct bpfd *b, const struct client *c, uint64_t bytes,
		 struct rmio_broker_answer *a)
{
	const char *what;

	if (!over(b, c, bytes, &what))
		return 0;
	account_sweep(&b->account);
	if (!over(b, c, bytes, &what))
		return 0;
	if (bytes)
		snprintf(a->why, sizeof(a->why), "%s: --max-mib %llu", what,
			 (unsigned long long)(b->max_bytes >> 20));
	else
		snprintf(a->why, sizeof(a->why), "%s", what);
	return -EDQUOT;
}

static int load(struct bpfd *b, struct client *c, const struct rmio_broker_request *r,
		struct rmio_broker_answer *a, int *fds, uint32_t *nfds)
{
	struct rmio_bpf_load l = { .vcpus = r->a, .kick_signal = r->b, .vmm = &c->process };
	int err;

	if (c->object)
		return -EBUSY;
	if (!r->a || r->a > RMIO_LANES_MAX || !r->b || (int)r->b > SIGRTMAX || r->size)
		return -EINVAL;
	/* No signal that its own process would not survive, nor one that stops it. */
	if (r->b == SIGKILL || r->b == SIGSTOP)
		return -EINVAL;
	err = allow(b, c, 0, a);
	if (!err)
		err = rmio_bpf_object_new(&l, &c->object, a->why, sizeof(a->why));
	if (err)
		return err;
	rmio_bpf_object_fds(c->object, fds);
	err = account_add(&b->account, c->who.uid, c->number, fds, RMIO_BPF_MAPS, true);
	if (err) {
		rmio_bpf_object_free(c->object);
		c->object = NULL;
		return err;
	}
	a->by_id = rmio_bpf_object_by_id(c->object);
	*nfds = RMIO_BPF_FDS;
	return 0;
}

/* Handed out or, when that cannot be noted, not made. */
static int note(struct bpfd *b, const struct client *c, int *fds, uint32_t n)
{
	int err = account_add(&b->account, c->who.uid, c->number, fds, n, false);

	while (err && n)
		close(fds[--n]);
	return err;
}

static int make_device(struct bpfd *b, struct client *c, const struct rmio_broker_request *r,
		       struct rmio_broker_answer *a, int *fds, uint32_t *nfds)
{
	uint64_t bytes = rmio_bpf_device_size(r->a, r->b);
	int err;

	if (!c->object || !bytes || r->size)
		return -EINVAL;
	err = allow(b, c, bytes, a);
	if (err)
		return err;
	err = rmio_bpf_object_device(c->object, r->a, r->b, fds);
	if (!err)
		err = note(b, c, fds, 3);
	if (err)
		return err;
	c->devices++;
	*nfds = 3;
	return 0;
}

static int make_image(struct bpfd *b, struct client *c, const struct rmio_broker_request *r,
		      struct rmio_broker_answer *a, int *fds, uint32_t *nfds)
{
	int err;

	if (!c->object || r->a || r->b || !r->size || r->size > RMIO_SHADOW_MAX)
		return -EINVAL;
	err = allow(b, c, r->size, a);
	if (err)
		return err;
	fds[0] = rmio_bpf_object_image(r->size);
	if (fds[0] < 0)
		return fds[0];
	err = note(b, c, fds, 1);
	if (err)
		return err;
	*nfds = 1;
	return 0;
}

static int answer(struct bpfd *b, struct client *c, const struct rmio_broker_request *r,
		  struct rmio_broker_answer *a, int *fds, uint32_t *nfds)
{
	switch (r->type) {
	case RMIO_BROKER_LOAD:
		return load(b, c, r, a, fds, nfds);
	case RMIO_BROKER_DEVICE:
		return make_device(b, c, r, a, fds, nfds);
	case RMIO_BROKER_IMAGE:
		return make_image(b, c, r, a, fds, nfds);
	default:
		return -EOPNOTSUPP;
	}
}

static int reply(const struct client *c, const struct rmio_broker_answer *a, const int *fds,
		 uint32_t nfds)
{
	RMIO_SCM_ROOM(RMIO_BPF_FDS) control;
	struct iovec iov = { .iov_base = (void *)a, .iov_len = sizeof(*a) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds)
		rmio_scm_put(&m, &control, fds, nfds);
	return sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Descriptors that come along are nobody's, and closing them may take its time. */
static ssize_t receive(int fd, struct rmio_broker_request *r)
{
	RMIO_SCM_ROOM(RMIO_SCM_MAX) control;
	struct iovec iov = { .iov_base = r, .iov_len = sizeof(*r) };
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	int fds[RMIO_SCM_MAX];
	uint32_t nfds = 0, i;
	ssize_t n;

	n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	if (rmio_scm_take(&m, fds, &nfds, RMIO_SCM_MAX))
		return 0;
	for (i = 0; i < nfds; i++)
		rmio_foreign_close(fds[i]);
	return nfds || m.msg_flags & MSG_TRUNC ? 0 : n;
}

bool bpfd_serve(struct bpfd *b, struct client *c)
{
	struct rmio_broker_answer a = { .magic = RMIO_ABI_MAGIC, .version = RMIO_ABI_VERSION };
	struct rmio_broker_request r;
	int fds[RMIO_BPF_FDS];
	uint32_t nfds = 0, i;
	int err, unread = 0;
	ssize_t n;

	n = receive(c->fd, &r);
	if (n < 0)
		return n == -EAGAIN || n == -EINTR;
	if (n != sizeof(r) || r.magic != RMIO_ABI_MAGIC || r.version != RMIO_ABI_VERSION)
		return false;
	/* Descriptors on their way are the broker's, and there is a limit for all of its. */
	if (ioctl(c->fd, SIOCOUTQ, &unread) || unread)
		return false;
	a.error = answer(b, c, &r, &a, fds, &nfds);
	if (a.error && !a.why[0])
		snprintf(a.why, sizeof(a.why), "%s", strerror(-a.error));
	err = reply(c, &a, fds, nfds);
	/* The program's are the object's. */
	for (i = 0; r.type != RMIO_BROKER_LOAD && i < nfds; i++)
		close(fds[i]);
	return !err;
}
