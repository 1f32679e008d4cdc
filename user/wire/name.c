// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Takes the name of a socket.  Beside the data path: once per socket.
 *
 * bind(2) makes a name that is taken only by whoever looks whether it is left over, removes it and
 * binds anew, and two that do so at once both find it left over.  So this is done with a lock file
 * beside it, PATH.lock, which is gone afterwards.  The socket is bound to PATH~ and linked to PATH
 * when it listens and has its owner and mode.
 */
#include "name.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUPS_MAX	256
#define LOOKS		4	/* at one that answers, and how long each of them is */
#define LOOK_MS		100
#define LOCK_MS		2000	/* longer than all looks of one before us */

/* -- the lock ---------------------------------------------------------------------------- */

/* Whoever had it before has removed it: what is locked must be what others find. */
static bool still_there(int fd, const char *lock)
{
	struct stat a, b;

	return !fstat(fd, &a) && !lstat(lock, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int take_lock(const char *lock)
{
	int fd, ms;

	for (ms = 0; ms < LOCK_MS; ms += 10) {
		fd = open(lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		if (!flock(fd, LOCK_EX | LOCK_NB) && still_there(fd, lock))
			return fd;
		close(fd);
		poll(NULL, 0, 10);
	}
	return -EADDRINUSE;
}

/* A lock of ours is empty: what somebody keeps in a file of that name stays. */
static void drop_lock(int fd, const char *lock)
{
	struct stat st;

	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && !st.st_size)
		unlink(lock);
	close(fd);
}

/* -- what is there -------------------------------------------------------------------------- */

/*
 * 1: somebody serves it, or -errno; 0 nobody.  The io_uring of a process that was killed may have
 * the socket for some 60 ms after its end; when it lets go, who waits to be accepted hears of it.
 */
static int served(const struct sockaddr_un *at, int type)
{
	struct pollfd p = { .events = POLLRDHUP };
	int looks, err;

	for (looks = 0; looks < LOOKS; looks++) {
		p.fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (p.fd < 0)
			return -errno;
		err = connect(p.fd, (const struct sockaddr *)at, sizeof(*at)) ? errno : 0;
		if (!err)
			poll(&p, 1, LOOK_MS);
		close(p.fd);
		if (err == ECONNREFUSED || err == ENOENT)
			return 0;
		if (err == EAGAIN)
			poll(NULL, 0, LOOK_MS);
		else if (err)
			return 1;
	}
	return 1;
}

static int remove_left_over(const struct sockaddr_un *at, int type)
{
	struct stat st;
	int rc;

	if (lstat(at->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	/* Connecting to a file of another kind is refused, too. */
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	rc = served(at, type);
	if (rc)
		return rc < 0 ? rc : -EADDRINUSE;
	return unlink(at->sun_path) && errno != ENOENT ? -errno : 0;
}

/* -- taking it ------------------------------------------------------------------------------ */

/*
 * Where it is bound: the longest name has no room for more, or somebody has that one, and then it
 * is seen a moment too early.
 */
static void first_name(struct sockaddr_un *first, const struct sockaddr_un *at, int type)
{
	size_t len = strlen(at->sun_path);

	*first = *at;
	if (len + 1 >= sizeof(first->sun_path))
		return;
	first->sun_path[len] = '~';
	if (remove_left_over(first, type))
		*first = *at;
}

/* With the name. */
static int listen_at(const char *path, const struct rmio_name_opts *o, int fd,
		     struct rmio_name *own)
{
	struct stat st;

	if ((o->mode != RMIO_NAME_ANY && chmod(path, o->mode)) ||
	    (o->group != (gid_t)-1 && lchown(path, (uid_t)-1, o->group)) ||
	    listen(fd, o->backlog) || lstat(path, &st))
		return -errno;
	own->dev = st.st_dev;
	own->ino = st.st_ino;
	return 0;
}

static int make(const struct sockaddr_un *at, const struct rmio_name_opts *o,
		struct rmio_name *own)
{
	struct sockaddr_un first;
	int fd, rc;

	fd = socket(AF_UNIX, o->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	first_name(&first, at, o->type);
	if (bind(fd, (struct sockaddr *)&first, sizeof(first))) {
		rc = -errno;
		goto close_fd;
	}
	rc = listen_at(first.sun_path, o, fd, own);
	/* A link never replaces what somebody else has made there meanwhile. */
	if (!rc && strcmp(first.sun_path, at->sun_path)) {
		if (link(first.sun_path, at->sun_path))
			rc = errno == EEXIST ? -EADDRINUSE : -errno;
		unlink(first.sun_path);
	} else if (rc) {
		unlink(first.sun_path);
	}
	if (!rc)
		return fd;
close_fd:
	close(fd);
	return rc;
}

static int claim_abstract(const struct sockaddr_un *at, socklen_t len,
			  const struct rmio_name_opts *o, struct rmio_name *own)
{
	int fd = socket(AF_UNIX, o->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), looks, err = 0;

	if (fd < 0)
		return -errno;
	for (looks = 0; looks < LOOKS; looks++) {
		err = bind(fd, (const struct sockaddr *)at, len) ? errno : 0;
		if (err != EADDRINUSE)
			break;
		/* As above: of a process that was killed it may last a while. */
		poll(NULL, 0, LOOK_MS);
	}
	if (!err && listen(fd, o->backlog))
		err = errno;
	if (err) {
		close(fd);
		return -err;
	}
	own->abstract = true;
	return fd;
}

static int adopt(const struct rmio_name_opts *o, struct rmio_name *own)
{
	struct sockaddr_un at = { 0 };
	socklen_t room = sizeof(at), len = sizeof(int);
	int type = 0, listens = 0, flags;

	if (getsockopt(o->fd, SOL_SOCKET, SO_TYPE, &type, &len) ||
	    getsockopt(o->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) ||
	    getsockname(o->fd, (struct sockaddr *)&at, &room))
		return -errno;
	if (type != o->type || at.sun_family != AF_UNIX)
		return -EPROTOTYPE;
	if (!listens)
		return -EINVAL;
	/* Several may listen there, of which one gets who comes: accept(2) would wait in others. */
	flags = fcntl(o->fd, F_GETFL);
	if (fcntl(o->fd, F_SETFL, flags | O_NONBLOCK) || fcntl(o->fd, F_SETFD, FD_CLOEXEC))
		return -errno;
	own->abstract = room > offsetof(struct sockaddr_un, sun_path) && !at.sun_path[0];
	return o->fd;
}

int rmio_name_address(const char *path, struct sockaddr_un *at, socklen_t *len)
{
	size_t n = strlen(path);

	if (!n || n >= sizeof(at->sun_path))
		return -ENAMETOOLONG;
	*at = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(at->sun_path, path, n);
	*len = sizeof(*at);
	if (*path == '@') {
		at->sun_path[0] = 0;
		*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	}
	return 0;
}

int rmio_name_claim(const char *path, const struct rmio_name_opts *o, struct rmio_name *own)
{
	struct sockaddr_un at;
	char lock[sizeof(at.sun_path) + 8];
	int lock_fd, rc;
	socklen_t len;
	struct stat st;

	*own = (struct rmio_name){ .mode = o->mode, .group = o->group };
	if (o->fd >= 0) {
		rc = adopt(o, own);
		if (rc < 0)
			close(o->fd);
		return rc;
	}
	rc = rmio_name_address(path, &at, &len);
	if (rc)
		return rc;
	if (*path == '@')
		return claim_abstract(&at, len, o, own);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	if (!lstat(path, &st) && !S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	lock_fd = take_lock(lock);
	if (lock_fd < 0)
		return lock_fd;
	rc = remove_left_over(&at, o->type);
	if (!rc)
		rc = make(&at, o, own);
	drop_lock(lock_fd, lock);
	return rc;
}

void rmio_name_release(const char *path, const struct rmio_name *own)
{
	struct stat st;

	/* What stands there may be somebody else's by now. */
	if (own->ino && !lstat(path, &st) && st.st_dev == own->dev && st.st_ino == own->ino)
		unlink(path);
}

/* -- who may come ---------------------------------------------------------------------------- */

bool rmio_name_in_group(int fd, const struct ucred *who, gid_t group)
{
	gid_t groups[GROUPS_MAX];
	socklen_t len = sizeof(groups);
	size_t i;

	if (who->gid == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len))
		return false;
	for (i = 0; i < len / sizeof(groups[0]); i++)
		if (groups[i] == group)
			return true;
	return false;
}

/* As the kernel has it for a file: who may not write to it may not connect. */
bool rmio_name_admits(const struct rmio_name *own, int fd)
{
	mode_t mode = own->mode == RMIO_NAME_ANY ? 0600 : own->mode;
	struct ucred who = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(who);
	gid_t group = own->group == (gid_t)-1 ? getegid() : own->group;

	if (!own->abstract)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len))
		return false;
	if (!who.uid)
		return true;
	if (who.uid == geteuid())
		return mode & S_IWUSR;
	return mode & (rmio_name_in_group(fd, &who, group) ? S_IWGRP : S_IWOTH);
}
