// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio vmm` and a device on a socket: what it is called, and how long to wait for one that
 * serves another.
 */
#include "need_bpf.h"
#include "run_rmio.h"
#include "vu_raw.h"

#include <json-c/json.h>

#define RUN(...) rmio_run(&r, (const char *const []){ __VA_ARGS__, NULL })

static struct rmio_run r, dev;
static char path[64], option[100];

static bool start_device(void)
{
	snprintf(path, sizeof(path), "/tmp/vmm-socket-%d", getpid());
	snprintf(option, sizeof(option), "socket=%s,retry=5000", path);
	return rmio_start(&dev, (const char *const []){ "dev", "--socket", path, "edu", NULL }) &&
	       T_OK(rmio_read(&dev, "ready"));
}

static void stop_device(void)
{
	kill(dev.pid, SIGTERM);
	T_EQ(rmio_finish(&dev), 0);
}

static const char *text(struct json_object *o, const char *name)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(o, name, &v);
	return v ? json_object_get_string(v) : "null";
}

static void names(void)
{
	struct json_object *o, *list = NULL, *d;
	static const char *const rings[] = { "", ",rings=off" };
	char socket[120];

	NEED_KVM();
	T_REQUIRE(start_device());
	for (int i = 0; i < 2; i++) {
		snprintf(socket, sizeof(socket), "%s%s", option, rings[i]);
		T_EQ(RUN("vmm", "--guest", guest_file("hello"), "--device", socket, "--spawn", "null",
			 "--backend", "exit", "--json", "-"), 0);
		o = json_tokener_parse(strstr(r.out, "{\n") ? strstr(r.out, "{\n") : "{}");
		T_REQUIRE(T_OK(json_object_object_get_ex(o, "devices", &list)));
		d = json_object_array_get_idx(list, 0);
		T_STREQ(text(d, "name"), "edu");
		T_STREQ(text(d, "socket"), path);
		T_STREQ(text(d, "plan_why"),
			i ? "null" : "on the back end exit every access leaves KVM");
		d = json_object_array_get_idx(list, 1);
		T_STREQ(text(d, "name"), "null");
		T_STREQ(text(d, "socket"), "null");
		json_object_put(o);
	}
	stop_device();
	/* Two that have been served, and gone as they should. */
	T_STREQ(dev.err, "");
}

static void busy(void)
{
	long long start;
	int fd;

	NEED_KVM();
	T_REQUIRE(start_device());
	fd = vu_raw_connect(path);
	T_REQUIRE(T_GE(fd, 0));
	start = ktap_now_ms();
	T_EQ(RUN("vmm", "--guest", guest_file("hello"), "--device", option, "--backend", "exit",
		 "--reply-timeout", "300"), 125);
	T_GE(ktap_now_ms() - start, 300);
	T_LT(ktap_now_ms() - start, 4000);
	T_SAYS(r.err, "serves another VMM");
	T_SAYS(r.err, "--reply-timeout");
	close(fd);
	T_EQ(RUN("vmm", "--guest", guest_file("hello"), "--device", option, "--backend", "exit"), 0);
	stop_device();
	T_STREQ(dev.err, "");
}

static const struct ktap_test tests[] = {
	{ "what a device is called", names },
	{ "one that serves another", busy },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
