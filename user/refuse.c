// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The reason of a refusal, for whom asks.  Beside the data path.
 */
#include "refuse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct {
	int err;
	char text[400];
} last;

int rmio_refuse(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(last.text, sizeof(last.text), fmt, ap);
	va_end(ap);
	last.err = err;
	return err;
}

int rmio_refuse_as(int err)
{
	if (last.err)
		last.err = err;
	return err;
}

void rmio_refuse_none(void)
{
	last.err = 0;
}

const char *rmio_errstr(int err)
{
	const char *text;

	if (err && err == last.err)
		return last.text;
	text = strerrordesc_np(err < 0 ? -err : 0);
	return text ? text : "unknown error";
}
