/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* Nobody speculates here: what is out of bounds is a fault of the caller, and shows. */
#include <stdlib.h>

#define array_index_nospec(index, size) \
	__extension__({ \
		if ((index) >= (size)) \
			abort(); \
		(index); \
	})
