// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Bytes that are not UTF-8, in a socket's path or in what a VMM says: JSON stays JSON.
 */
#include "run_rmio.h"
#include "text.h"

#include <json-c/json.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct rmio_run r, dev;

/* By json-c's own idea of UTF-8. */
static bool is_json(const char *text)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *o;

	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 |
				  JSON_TOKENER_ALLOW_TRAILING_CHARS);
	o = json_tokener_parse_ex(t, text, (int)strlen(text));
	json_tokener_free(t);
	json_object_put(o);
	return o;
}

static void cleaned(void)
{
	static const struct {
		const char *from, *to;
	} cases[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "a\xff" "b", "a\xef\xbf\xbd" "b" },
		{ "\xc3", "\xef\xbf\xbd" },
		{ "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xc3x", "\xef\xbf\xbdx" },
		{ "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd" },				/* long form */
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },		/* surrogate */
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },
	};

	for (int i = 0; i < KTAP_COUNT(cases); i++) {
		char *clean = text_clean(cases[i].from);

		T_STREQ(clean, cases[i].to);
		free(clean);
	}
	T_OK(!text_json(NULL));
}

static void cut(void)
{
	char to[6];

	text_copy(to, sizeof(to), "abc\xe2\x82\xac");
	T_STREQ(to, "abc");
	text_copy(to, sizeof(to), "ab\xe2\x82\xac" "c");
	T_STREQ(to, "ab\xe2\x82\xac");
	text_copy(to, sizeof(to), "abcd\xff\xff");
	T_STREQ(to, "abcd\xff");
	text_copy(to, sizeof(to), "");
	T_STREQ(to, "");
}

/* A VMM of somebody else. */
static void passed_on(void)
{
	static const char says[] = "{\"schema\":1,\"why\":\"\xff\xc3\"}\n";
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char c;
	int s, fd;

	snprintf(at.sun_path, sizeof(at.sun_path), "/tmp/text-%d", getpid());
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	T_REQUIRE(T_EQ(bind(s, (struct sockaddr *)&at, sizeof(at)), 0));
	T_EQ(listen(s, 1), 0);
	T_REQUIRE(rmio_start(&r, (const char *const []){ "stat", "--json", at.sun_path, NULL }));
	fd = accept(s, NULL, NULL);
	T_EQ(read(fd, &c, 1), 1);
	T_EQ(write(fd, says, sizeof(says) - 1), sizeof(says) - 1);
	T_EQ(rmio_finish(&r), 0);
	T_OK(is_json(r.out));
	T_SAYS(r.out, "\xef\xbf\xbd\xef\xbf\xbd");
	close(fd);
	close(s);
	unlink(at.sun_path);
}

/* A device's name is the end of its path: one with such a byte, and one cut in a character. */
static void device_name(const char *name)
{
	char path[160], arg[200];

	snprintf(path, sizeof(path), "/tmp/%s%d", name, getpid());
	snprintf(arg, sizeof(arg), "socket=%s", path);
	unlink(path);
	T_REQUIRE(rmio_start(&dev, (const char *const []){ "dev", "--socket", path, "null", NULL }));
	T_OK(rmio_read(&dev, "ready"));
	T_EQ(rmio_run(&r, (const char *const []){ "vmm", "--guest", guest_file("hello"), "--device",
		      arg, "--backend", "exit", "--json", "-", NULL }), 0);
	T_OK(strchr(r.out, '{') && is_json(strchr(r.out, '{')));
	kill(dev.pid, SIGTERM);
	T_EQ(rmio_finish(&dev), 0);
}

static void device_names(void)
{
	NEED_KVM();
	device_name("a\xff\xc3");
	device_name("a23456789a23456789a23456789a23456789a23456789a23456789a23456789a\xc3\xa4");
	device_name("a23456789a23456789a23456789a23456789a23456789a23456789a23456789ab\xc3\xa4");
}

static const struct ktap_test tests[] = {
	{ "bytes that are no characters", cleaned },
	{ "cut at characters", cut },
	{ "what a VMM says, passed on", passed_on },
	{ "names of devices", device_names },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
