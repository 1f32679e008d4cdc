/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* What user_mem.h names and user_map.c does not look into. */
struct page;
struct vm_area_struct;
