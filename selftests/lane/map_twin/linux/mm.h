/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* Whole pages. */
#include <rmio/abi.h>

#define PAGE_ALIGN(size)	(((size) + RMIO_PAGE - 1) / RMIO_PAGE * RMIO_PAGE)
