/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The beginning of the programs, `rmio` and `rmio-bench`.
 */
#ifndef RMIO_TOOLS_START_H
#define RMIO_TOOLS_START_H

/*
 * First in main().  Standard descriptors are there, even if nothing behind them is; a reader
 * that is gone is EPIPE, a file beyond the limit on its size EFBIG.  Signals of their own the
 * programs set up later.
 */
void cmd_start(void);

/*
 * What serves takes as many descriptors as it may: what a shell gives is for programs that
 * use select(2).  Such a program, started from here, is to have the former limit.
 */
void cmd_more_descriptors(void);
void cmd_former_descriptors(void);
unsigned long cmd_descriptors(void);	/* the limit now */

#endif
