// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What the bus tells the user about a device: a guest causes these lines, so
 * they are counted.  Beside the data path.
 */
#include "log.h"
#include "pci_priv.h"

#include <stdarg.h>
#include <stdio.h>

#define COMPLAINTS_MAX 32u

void pci_complain(struct vmm_pci_dev *d, const char *fmt, ...)
{
	char line[256], who[80];
	va_list ap;

	/* What a guest can repeat for ever is not worth more lines than these. */
	if (d->complaints >= COMPLAINTS_MAX)
		return;
	snprintf(who, sizeof(who), "slot %u (%s)", d->slot, d->name);
	if (++d->complaints == COMPLAINTS_MAX) {
		log_line("rmio vmm", who, "%s: further complaints are left out", who);
		return;
	}
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_line("rmio vmm", who, "%s: %s", who, line);
}
