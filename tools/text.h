/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Text of somebody else, a path or what a peer says, in UTF-8: JSON is nothing else.
 */
#ifndef RMIO_TOOLS_TEXT_H
#define RMIO_TOOLS_TEXT_H

#include <json-c/json.h>
#include <stddef.h>

/* With U+FFFD for each byte that belongs to no character; for free(3).  NULL: no memory. */
char *text_clean(const char *s);

/* As many whole characters as fit. */
void text_copy(char *to, size_t size, const char *s);

/* A string, clean; NULL, which is JSON's null, for NULL. */
struct json_object *text_json(const char *s);

#endif
