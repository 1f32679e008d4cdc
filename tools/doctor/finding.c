// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio doctor`: the list of findings, which each part adds to.
 */
#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct finding *doctor_add(struct doctor *d, const char *group, const char *name, const char *use)
{
	struct finding *f = &d->f[d->n < DOCTOR_MAX - 1 ? d->n++ : d->n];

	memset(f, 0, sizeof(*f));
	f->group = group;
	f->name = name;
	f->use = use;
	f->there = true;
	return f;
}

void doctor_note(struct finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->why, sizeof(f->why), fmt, ap);
	va_end(ap);
}

void doctor_not(struct finding *f, const char *todo, const char *fmt, ...)
{
	va_list ap;

	f->there = false;
	snprintf(f->todo, sizeof(f->todo), "%s", todo);
	va_start(ap, fmt);
	vsnprintf(f->why, sizeof(f->why), fmt, ap);
	va_end(ap);
}

bool doctor_has(const struct doctor *d, const char *group, const char *name)
{
	for (size_t i = 0; i < d->n; i++) {
		if (!strcmp(d->f[i].group, group) && !strcmp(d->f[i].name, name))
			return d->f[i].there;
	}
	return false;
}
