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
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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

static void drop_lock(int fd, const char *lock)
{
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

/* Where it is bound: the longest name has no room for more, and is seen a moment too early. */
static void first_name(struct sockaddr_un *first, const struct sockaddr_un *at)
{
	size_t len = strlen(at->sun_path);
	struct stat st;

	*first = *at;
	if (len + 1 >= sizeof(first->sun_path))
		return;
	first->sun_path[len] = '~';
	if (!lstat(first->sun_path, &st) && S_ISSOCK(st.st_mode))
		unlink(first->sun_path);
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
	first_name(&first, at);
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

int rmio_name_claim(const char *path, const struct rmio_name_opts *o, struct rmio_name *own)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char lock[sizeof(at.sun_path) + 8];
	struct stat st;
	int lock_fd, rc;

	if (!*path || strlen(path) >= sizeof(at.sun_path))
		return -ENAMETOOLONG;
	strcpy(at.sun_path, path);
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
	if (!lstat(path, &st) && st.st_dev == own->dev && st.st_ino == own->ino)
		unlink(path);
}
