// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Makes UTF-8 of bytes.  Beside the data path.
 */
#include "text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"	/* U+FFFD */

/* Bytes of the character at @s, which ends with a zero; 0: there is none. */
static size_t character(const char *s)
{
	/* No shorter form, no surrogates, nothing above U+10FFFF: the second byte tells. */
	static const struct {
		uint8_t first, last, low, high, len;
	} forms[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	const uint8_t *b = (const uint8_t *)s;
	size_t i, k;

	if (b[0] < 0x80)
		return 1;
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (b[0] < forms[i].first || b[0] > forms[i].last)
			continue;
		if (b[1] < forms[i].low || b[1] > forms[i].high)
			return 0;
		for (k = 2; k < forms[i].len; k++)
			if ((b[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].len;
	}
	return 0;
}

char *text_clean(const char *s)
{
	char *clean = malloc(strlen(s) * strlen(REPLACEMENT) + 1), *c = clean;

	if (!clean)
		return NULL;
	while (*s) {
		size_t n = character(s);

		if (n) {
			memcpy(c, s, n);
			s += n;
			c += n;
		} else {
			c = mempcpy(c, REPLACEMENT, strlen(REPLACEMENT));
			s++;
		}
	}
	*c = 0;
	return clean;
}

void text_copy(char *to, size_t size, const char *s)
{
	size_t at = 0;

	while (s[at]) {
		size_t n = character(s + at);

		if (!n)
			n = 1;
		if (at + n >= size)
			break;
		memcpy(to + at, s + at, n);
		at += n;
	}
	to[at] = 0;
}

struct json_object *text_json(const char *s)
{
	char *clean = s ? text_clean(s) : NULL;
	struct json_object *o = clean ? json_object_new_string(clean) : NULL;

	free(clean);
	return o;
}
