/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The reason of a refusal, for rmio_errstr: each thread keeps its last one, with the code that the
 * call returns, so that a call that fails without a reason is seldom given another's.
 */
#ifndef RMIO_USER_REFUSE_H
#define RMIO_USER_REFUSE_H

#include <rmio/err.h>

/* Keep the reason, and return @err. */
__attribute__((format(printf, 2, 3)))
int rmio_refuse(int err, const char *fmt, ...);

/* Another code for the reason that was kept: what the call returns for it. */
int rmio_refuse_as(int err);

/* At the start of a call that gives reasons: what an older one left is not its own. */
void rmio_refuse_none(void);

#endif
