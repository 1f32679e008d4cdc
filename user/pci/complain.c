// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What the bus tells the VMM about a device: a guest causes these lines, so they are counted.
 * Beside the data path.
 */
#include "priv.h"

#include <stdarg.h>
#include <stdio.h>

#define COMPLAINTS_MAX 32u

void pci_complain(struct pci_dev *d, const char *fmt, ...)
{
	char line[256], who[80];
	va_list ap;

	/* What a guest can repeat for ever is not worth more lines than these. */
	if (!d->pci->log || d->complaints >= COMPLAINTS_MAX)
		return;
	snprintf(who, sizeof(who), "slot %u (%s)", d->slot, d->name);
	if (++d->complaints == COMPLAINTS_MAX) {
		d->pci->log(d->pci->log_arg, who, "further complaints are left out");
		return;
	}
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	d->pci->log(d->pci->log_arg, who, line);
}
