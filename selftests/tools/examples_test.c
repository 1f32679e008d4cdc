// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The programs of docs/examples do what they are there to show.  They use the shared library and
 * the public headers only.  Both ends of the data path.
 */
#include "need_bpf.h"
#include "run_rmio.h"

static const char *example(const char *name)
{
	static char path[512];
	const char *dir = getenv("RMIO_EXAMPLES");

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : "docs", name);
	return path;
}

static void start(struct rmio_run *r, const char *name, const char *arg)
{
	setenv("RMIO", example(name), 1);
	T_OK(rmio_start(r, (const char *const []){ arg, NULL }));
}

static struct rmio_run device, r;

static void slave(void)
{
	start(&r, "slave", NULL);
	T_EQ(rmio_finish(&r), 0);
	T_SAYS(r.out, "the guest reads 0x12345678\n");
	T_STREQ(r.err, "");
}

/* Whoever starts it may end it: nothing is left behind. */
static void device_ends(void)
{
	static const int signals[] = { SIGTERM, SIGINT };
	char dir[] = "/tmp/rmio-XXXXXX", path[64];

	T_REQUIRE(T_OK(mkdtemp(dir) != NULL));
	snprintf(path, sizeof(path), "%s/sock", dir);
	for (int i = 0; i < 2; i++) {
		start(&device, "counter", path);
		while (access(path, F_OK))
			usleep(1000);
		kill(device.pid, signals[i]);
		T_EQ(rmio_finish(&device), 0);
		T_STREQ(device.err, "");
		T_OK(access(path, F_OK));
	}
	T_EQ(rmdir(dir), 0);
}

static void device_and_vmm(void)
{
	char dir[] = "/tmp/rmio-XXXXXX", path[64];

	NEED_KVM();
	T_REQUIRE(T_OK(mkdtemp(dir) != NULL));
	snprintf(path, sizeof(path), "%s/sock", dir);
	start(&device, "counter", path);
	while (access(path, F_OK))
		usleep(1000);

	/* Twice: the second VMM finds a device that has been reset. */
	for (int i = 0; i < 2; i++) {
		start(&r, "vmm", path);
		T_EQ(rmio_finish(&r), 0);
		T_SAYS(r.out, bpf_lacks() ? "back end exit: " : "back end bpf\n");
		T_SAYS(r.out, "the guest reads 2\n");
		T_STREQ(r.err, "");
	}
	kill(device.pid, SIGTERM);
	T_EQ(rmio_finish(&device), 0);
	/* In order, and so without its socket. */
	T_OK(access(path, F_OK));
	rmdir(dir);
}

static void without_a_device(void)
{
	NEED_KVM();
	start(&r, "vmm", "/nonexistent/sock");
	T_EQ(rmio_finish(&r), 1);
	T_SAYS(r.err, "vmm: connect: No such file or directory");
	start(&r, "counter", "/nonexistent/sock");
	T_EQ(rmio_finish(&r), 1);
	T_SAYS(r.err, "No such file or directory");
}

static const struct ktap_test tests[] = {
	{ "slave", slave },
	{ "device_ends", device_ends },
	{ "device_and_vmm", device_and_vmm },
	{ "without_a_device", without_a_device },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
