// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What the bus tells the user about a device: a guest causes these lines, so
 * they are counted.  Beside the data path.
 */
#include "pci_priv.h"

#include <stdarg.h>
#include <stdio.h>

#define COMPLAINTS_MAX 32u

void pci_complain(struct vmm_pci_dev *d, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	/* What a guest can repeat for ever is not worth more lines than these. */
	if (d->complaints >= COMPLAINTS_MAX)
		return;
	if (++d->complaints == COMPLAINTS_MAX) {
		fprintf(stderr, "rmio vmm: slot %u (%s): further complaints are left out\n",
			d->slot, d->name);
		return;
	}
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "rmio vmm: slot %u (%s): %s\n", d->slot, d->name, line);
}
