// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What the commands say of a socket's path that cannot be one, and of a device's options.
 */
#include "run_rmio.h"

#include <json-c/json.h>

static struct rmio_run r;

#define RUN(...) rmio_run(&r, (const char *const []){ __VA_ARGS__, NULL })

/* Each of them names the limit. */
static void long_paths(void)
{
	char path[120] = "/tmp/", socket[140];

	memset(path + 5, 'l', 105);
	path[110] = 0;
	T_EQ(RUN("dev", "--socket", path, "edu"), 1);
	T_SAYS(r.err, "107 bytes at most");
	T_EQ(RUN("connect", path, "--", "true"), 125);
	T_SAYS(r.err, "107 bytes at most");
	NEED_KVM();
	snprintf(socket, sizeof(socket), "socket=%s", path);
	T_EQ(RUN("vmm", "--guest", guest_file("hello"), "--backend", "exit", "--device", socket), 125);
	T_SAYS(r.err, "107 bytes at most");
	T_EQ(RUN("vmm", "--guest", guest_file("hello"), "--stats-socket", path), 125);
	T_SAYS(r.err, "107 bytes at most");
}

static void no_sockets(void)
{
	char path[64], socket[80];

	snprintf(path, sizeof(path), "/tmp/messages-%d", getpid());
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	T_EQ(RUN("dev", "--socket", path, "edu"), 1);
	T_SAYS(r.err, "not a socket");
	T_EQ(RUN("connect", path, "--", "true"), 125);
	T_SAYS(r.err, "not a socket");
	T_EQ(RUN("stat", path), 1);
	T_SAYS(r.err, "not a socket");
	if (!access("/dev/kvm", R_OK | W_OK)) {
		snprintf(socket, sizeof(socket), "socket=%s", path);
		T_EQ(RUN("vmm", "--guest", guest_file("hello"), "--backend", "exit", "--device",
			 socket), 125);
		T_SAYS(r.err, "not a socket");
		T_EQ(RUN("vmm", "--guest", guest_file("hello"), "--stats-socket", path), 125);
		T_SAYS(r.err, "not a socket");
	}
	T_EQ(access(path, F_OK), 0);
	unlink(path);
}

static void device_options(void)
{
	T_EQ(RUN("dev", "--socket", "/tmp/none", "edu,delay_us=abc"), 1);
	T_SAYS(r.err, "delay_us is a number of 64 bits, not \"abc\"");
	T_EQ(RUN("dev", "--socket", "/tmp/none", "edu,delayus=3"), 1);
	T_SAYS(r.err, "no option called \"delayus\"");
	T_EQ(RUN("dev", "--socket", "/tmp/none", "edu,delay_us"), 1);
	T_SAYS(r.err, "delay_us without a value");
	T_EQ(RUN("vmm", "--help"), 0);
	T_SAYS(r.out, "31 devices at most");
}

/* As other programs that serve devices have it. */
static void conventions(void)
{
	struct json_object *o, *v;
	char path[128];

	T_EQ(RUN("dev", "--print-capabilities"), 0);
	T_STREQ(r.err, "");
	o = json_tokener_parse(r.out);
	T_REQUIRE(T_OK(o != NULL));
	T_OK(json_object_object_get_ex(o, "type", &v));
	T_STREQ(json_object_get_string(v), "pci");
	T_OK(json_object_object_get_ex(o, "features", &v));
	T_EQ(json_object_get_type(v), json_type_array);
	T_OK(json_object_object_get_ex(o, "devices", &v));
	T_GE(json_object_array_length(v), 2);
	json_object_put(o);

	memset(path, 'l', 120);
	memcpy(path, "/tmp/", 5);
	path[120] = 0;
	T_EQ(RUN("dev", "--socket-path", path, "edu"), 1);
	T_SAYS(r.err, "107 bytes at most");
	T_EQ(RUN("dev", "--fd=1000", "edu"), 2);
	T_SAYS(r.err, "not an open descriptor");
}

static const struct ktap_test tests[] = {
	{ "paths that are too long", long_paths },
	{ "files that are no sockets", no_sockets },
	{ "options of devices", device_options },
	{ "conventions of programs that serve devices", conventions },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
