// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The capabilities in a VERSION message.  Not on the data path: once a
 * connection.  Length and depth are bounded before the parser, which takes memory and stack for
 * each level, sees anything.
 */
#include "vu_caps.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number, if it is there, that fits; more than @max is @max. */
static int number(struct json_object *o, const char *key, int64_t min, uint32_t max,
		  uint32_t *value)
{
	struct json_object *v;
	int64_t n;

	if (!json_object_object_get_ex(o, key, &v))
		return 0;
	if (!json_object_is_type(v, json_type_int))
		return -EINVAL;
	n = json_object_get_int64(v);
	if (n < min)
		return -EINVAL;
	*value = n < (int64_t)max ? (uint32_t)n : max;
	return 0;
}

static int boolean(struct json_object *o, const char *key)
{
	struct json_object *v;

	return !json_object_object_get_ex(o, key, &v) || json_object_is_type(v, json_type_boolean) ?
		0 : -EINVAL;
}

/* NULL: not there.  -EINVAL: not an object. */
static int object(struct json_object *o, const char *key, struct json_object **v)
{
	*v = NULL;
	if (!json_object_object_get_ex(o, key, v))
		return 0;
	return json_object_is_type(*v, json_type_object) ? 0 : -EINVAL;
}

/* What a terminal could take for something else is left out. */
static void plain(char to[VU_NAME_MAX], const char *from)
{
	size_t n = 0;

	for (; *from && n < VU_NAME_MAX - 1; from++)
		if (*from >= ' ' && *from <= '~' && *from != '"' && *from != '\\')
			to[n++] = *from;
	to[n] = 0;
}

static int name(struct json_object *o, char to[VU_NAME_MAX])
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, "name", &v))
		return 0;
	if (!json_object_is_type(v, json_type_string))
		return -EINVAL;
	plain(to, json_object_get_string(v));
	return 0;
}

static int take(struct json_object *top, struct vu_caps *caps, const char **why)
{
	struct json_object *o, *sub;
	uint32_t unused;

	*why = "JSON is not an object";
	if (!json_object_is_type(top, json_type_object))
		return -EINVAL;
	*why = "capabilities is not an object";
	if (object(top, "capabilities", &o))
		return -EINVAL;
	if (!o)
		return 0;
	*why = "bad max_msg_fds";
	if (number(o, "max_msg_fds", 0, INT32_MAX, &caps->max_fds))
		return -EINVAL;
	*why = "bad max_data_xfer_size";
	if (number(o, "max_data_xfer_size", 1, INT32_MAX, &caps->max_xfer))
		return -EINVAL;
	*why = "bad max_dma_maps";
	if (number(o, "max_dma_maps", 0, UINT32_MAX, &caps->max_maps))
		return -EINVAL;
	*why = "bad pgsizes";
	if (number(o, "pgsizes", 1, UINT32_MAX, &unused))
		return -EINVAL;
	*why = "bad twin_socket";
	if (object(o, "twin_socket", &sub) || (sub && boolean(sub, "supported")))
		return -EINVAL;
	*why = "bad write_multiple";
	if (boolean(o, "write_multiple"))
		return -EINVAL;
	*why = "bad rmio";
	if (object(o, "rmio", &sub))
		return -EINVAL;
	*why = "bad rmio.version";
	if (sub && number(sub, "version", 0, UINT32_MAX, &caps->rmio))
		return -EINVAL;
	*why = "bad rmio.name";
	if (sub && name(sub, caps->name))
		return -EINVAL;
	caps->ours = sub;
	return 0;
}

/*
 * The same text with a 0 for each value that is nested deeper than anything is looked for.  Its
 * length, or -EINVAL: brackets or quotes do not match up.
 */
static ssize_t flatten(char *to, const char *from, size_t len)
{
	bool quoted = false, escaped = false, deep;
	size_t i, n = 0, depth = 0;

	for (i = 0; i < len; i++) {
		char c = from[i];

		deep = depth >= VU_JSON_DEPTH;
		if (quoted) {
			quoted = escaped || c != '"';
			escaped = !escaped && c == '\\';
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			if (++depth == VU_JSON_DEPTH) {
				to[n++] = '0';
				deep = true;
			}
		} else if (c == '}' || c == ']') {
			if (!depth--)
				return -EINVAL;
		}
		if (!deep)
			to[n++] = c;
	}
	return quoted || depth ? -EINVAL : (ssize_t)n;
}

int vu_caps_parse(const void *json, size_t len, struct vu_caps *caps, const char **why)
{
	struct json_tokener *tok;
	struct json_object *top;
	ssize_t n;
	char *flat;
	int err;

	*caps = (struct vu_caps){ .max_fds = 1, .max_xfer = VU_MAX_XFER,
				  .max_maps = VU_DMA_MAPS_DEFAULT };
	if (!len)
		return 0;
	*why = "JSON is too long";
	if (len > VU_JSON_MAX)
		return -EINVAL;
	*why = "JSON does not end with its NUL";
	if (strnlen(json, len) != len - 1)
		return -EINVAL;
	flat = malloc(len);
	tok = json_tokener_new_ex(VU_JSON_DEPTH);
	if (!tok || !flat) {
		free(flat);
		if (tok)
			json_tokener_free(tok);
		return -ENOMEM;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* with the NUL: a number at the end is complete only then */
	n = flatten(flat, json, len);
	top = n < 0 ? NULL : json_tokener_parse_ex(tok, flat, (int)n);
	*why = "not JSON";
	err = -EINVAL;
	if (n > 0 && json_tokener_get_error(tok) == json_tokener_success)
		err = take(top, caps, why);
	json_object_put(top);
	json_tokener_free(tok);
	free(flat);
	return err;
}

size_t vu_caps_format(char buf[VU_JSON_OURS], const struct vu_caps *caps)
{
	char maps[40] = "";
	char said[VU_NAME_MAX], called[VU_NAME_MAX + 12] = "", rmio[VU_NAME_MAX + 48] = "";

	if (caps->max_maps)
		snprintf(maps, sizeof(maps), ",\"max_dma_maps\":%u", caps->max_maps);
	plain(said, caps->name);
	if (*said)
		snprintf(called, sizeof(called), ",\"name\":\"%s\"", said);
	if (caps->rmio || caps->ours)
		snprintf(rmio, sizeof(rmio), ",\"rmio\":{\"version\":%u%s}", caps->rmio, called);
	return 1 + (size_t)snprintf(buf, VU_JSON_OURS,
				    "{\"capabilities\":{\"max_msg_fds\":%u,"
				    "\"max_data_xfer_size\":%u%s%s}}",
				    caps->max_fds, caps->max_xfer, maps, rmio);
}
