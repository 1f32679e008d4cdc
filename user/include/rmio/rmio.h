/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* Everything: for VMMs, for device processes, for device authors. */
#ifndef RMIO_RMIO_H
#define RMIO_RMIO_H

#include <rmio/abi.h>
#include <rmio/err.h>
#include <rmio/wait.h>
#include <rmio/vmm.h>
#include <rmio/pci.h>
#include <rmio/slave.h>
#include <rmio/device.h>

#endif
