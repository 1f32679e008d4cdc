/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The log of the commands that serve: lines to standard error, which nobody waits for.
 */
#ifndef RMIO_TOOLS_LOG_H
#define RMIO_TOOLS_LOG_H

#define LOG_BURST	10u	/* lines of a kind at once, then one every */
#define LOG_SECONDS	10u
#define LOG_LAST_MS	1000u	/* how long the end waits for who reads */

/*
 * Any thread; never waits.  "@command: text".  @who causes it, a device or a user: of each kind of
 * line of each so many are let through; lines that differ in numbers only are of a kind.
 * What is dropped is counted, and said.
 */
__attribute__((format(printf, 3, 4)))
void log_line(const char *command, const char *who, const char *fmt, ...);

/* Before the process ends: what is still to be written, if somebody reads it soon. */
void log_end(void);

#endif
