// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The log of the commands that serve.  Beside the data path, and not in its way.
 *
 * A thread writes, from a queue that has an end.  Standard error is often others' too, so
 * O_NONBLOCK cannot be set on it; that poll(2) has found room is no promise when another process
 * writes to the same pipe, and means little on a terminal that was stopped or on a file of a server
 * that is away.  A thread can wait for all of these while those who log do not.
 */
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE		768u
#define QUEUE		64u
#define KINDS		256u
#define SECOND		1000000000ull

/* Let through until @when would be more than a burst away; in the past: forgotten. */
struct kind {
	uint64_t hash, when;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more, done;
	bool started, writing, ending;
	unsigned int first, n;
	char lines[QUEUE][LINE];
	const char *command;		/* of the last line */
	unsigned long unread;		/* dropped since the queue was full */
	unsigned long often;		/* dropped of kinds that came too often */
	char such_as[LINE];		/* the last of these */
	uint64_t said;			/* when that was said */
	struct kind kinds[KINDS];
} log_ = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* -- how many of a kind ------------------------------------------------------------------ */

/* FNV-1a. */
static uint64_t mix(uint64_t h, char c)
{
	return (h ^ (unsigned char)c) * 0x100000001b3ull;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || c == 'x';
}

/* Of who and the words; numbers are left out, since a peer chooses them. */
static uint64_t hash(const char *who, const char *text)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (; *who; who++)
		h = mix(h, *who);
	h = mix(h, '\n');
	while (*text) {
		if (is_digit(*text)) {
			while (is_hex(*text))
				text++;
			h = mix(h, '0');
		} else {
			h = mix(h, *text++);
		}
	}
	return h;
}

static bool allowed(uint64_t kind, uint64_t now)
{
	struct kind *k, *found = &log_.kinds[0];

	/* The one, or else the one that is longest forgotten or will be first. */
	for (k = log_.kinds; k < log_.kinds + KINDS; k++) {
		if (k->hash == kind) {
			found = k;
			break;
		}
		if (k->when < found->when)
			found = k;
	}
	if (found->hash != kind || found->when < now)
		*found = (struct kind){ .hash = kind, .when = now };
	if (found->when - now > (LOG_BURST - 1) * LOG_SECONDS * SECOND)
		return false;
	found->when += LOG_SECONDS * SECOND;
	return true;
}

/* -- writing ------------------------------------------------------------------------------- */

static void write_line(const char *line)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	size_t len = strlen(line);
	ssize_t n;

	while (len) {
		n = write(STDERR_FILENO, line, len);
		if (n < 0 && errno == EAGAIN)
			poll(&p, 1, -1);	/* somebody else has set O_NONBLOCK */
		else if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			line += n;
			len -= (size_t)n;
		}
	}
}

/* With the lock held: the next line, if there is one now. */
static bool next_line(char *line)
{
	unsigned long n;

	if (log_.n) {
		memcpy(line, log_.lines[log_.first], LINE);
		log_.first = (log_.first + 1) % QUEUE;
		log_.n--;
		return true;
	}
	if (log_.unread) {
		n = log_.unread;
		log_.unread = 0;
		snprintf(line, LINE, "%s: %lu lines dropped: nobody read them\n", log_.command, n);
		return true;
	}
	if (log_.often && (log_.ending || now_ns() - log_.said >= LOG_SECONDS * SECOND)) {
		n = log_.often;
		log_.often = 0;
		log_.said = now_ns();
		snprintf(line, LINE, "%s: %lu lines dropped: too many of a kind, such as: %.600s\n",
			 log_.command, n, log_.such_as);
		return true;
	}
	return false;
}

static struct timespec in_ms(unsigned int ms)
{
	uint64_t t = now_ns() + ms * 1000000ull;

	return (struct timespec){ .tv_sec = (time_t)(t / SECOND), .tv_nsec = (long)(t % SECOND) };
}

static void *writer(void *arg)
{
	struct timespec soon;
	char line[LINE];

	pthread_mutex_lock(&log_.lock);
	for (;;) {
		if (next_line(line)) {
			log_.writing = true;
			pthread_mutex_unlock(&log_.lock);
			write_line(line);
			pthread_mutex_lock(&log_.lock);
			log_.writing = false;
		} else if (log_.often) {
			soon = in_ms(LOG_SECONDS * 1000);
			pthread_cond_timedwait(&log_.more, &log_.lock, &soon);
		} else {
			pthread_cond_broadcast(&log_.done);
			pthread_cond_wait(&log_.more, &log_.lock);
		}
	}
	return NULL;
}

/* Signals are for the other threads: a loop that is to end waits for one to interrupt it. */
static bool start_writer(void)
{
	pthread_condattr_t clock;
	pthread_attr_t attr;
	sigset_t all, was;
	pthread_t thread;

	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&log_.more, &clock);
	pthread_cond_init(&log_.done, &clock);
	pthread_condattr_destroy(&clock);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	log_.started = !pthread_create(&thread, &attr, writer, NULL);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	pthread_attr_destroy(&attr);
	return log_.started;
}

/* A line is one line, and moves no cursor, whatever a peer has put into it. */
static void make_plain(char *line)
{
	for (; *line; line++)
		if ((unsigned char)*line < ' ' || *line == 0x7f)
			*line = '?';
}

void log_line(const char *command, const char *who, const char *fmt, ...)
{
	char line[LINE - 1];
	size_t at;
	va_list ap;

	at = (size_t)snprintf(line, sizeof(line), "%s: ", command);
	va_start(ap, fmt);
	vsnprintf(line + at, sizeof(line) - at, fmt, ap);
	va_end(ap);
	make_plain(line);

	pthread_mutex_lock(&log_.lock);
	log_.command = command;
	if (!allowed(hash(who, line), now_ns())) {
		if (!log_.often++)
			pthread_cond_signal(&log_.more);
		snprintf(log_.such_as, LINE, "%s", line + at);
	} else if (log_.n == QUEUE || (!log_.started && !start_writer())) {
		log_.unread++;
	} else {
		snprintf(log_.lines[(log_.first + log_.n++) % QUEUE], LINE, "%s\n", line);
		pthread_cond_signal(&log_.more);
	}
	pthread_mutex_unlock(&log_.lock);
}

void log_end(void)
{
	struct timespec end = in_ms(LOG_LAST_MS);

	pthread_mutex_lock(&log_.lock);
	log_.ending = true;
	if (log_.started)
		pthread_cond_signal(&log_.more);
	while (log_.started && (log_.n || log_.writing || log_.unread || log_.often) &&
	       !pthread_cond_timedwait(&log_.done, &log_.lock, &end))
		;
	pthread_mutex_unlock(&log_.lock);
}
