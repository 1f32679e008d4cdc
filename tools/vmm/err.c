// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Why a call of the machine failed, in words.  Beside the data path.
 */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>

int vmm_fail(struct vmm_err *err, int rc, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return rc;
}
