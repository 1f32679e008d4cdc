// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio vmm` with devices of an unmodified QEMU's: a guest finds and drives them (guest/qemu.c),
 * they die, they are not there.
 */
#include "run_rmio.h"

#define ALL_OF_THEM	"--device", "qemu=pci-testdev", "--device", "qemu=lsi53c895a",		\
			"--device", "qemu=nvme,serial=1"

#define RUN(r, ...) rmio_run(&(r), (const char *const []){ "vmm", "--deadline", "60000",	\
						   "--guest", guest_file("qemu"), __VA_ARGS__, NULL })

static struct rmio_run r;

#define NEED_QEMU() do {								\
	NEED_KVM();									\
	if (system("command -v qemu-system-x86_64 >/dev/null"))				\
		T_SKIP("no qemu-system-x86_64", "./dev setup, as root, installs it");	\
} while (0)

static void drives(void)
{
	NEED_QEMU();
	T_EQ(RUN(r, ALL_OF_THEM, "--guest-arg", "11"), 0);
	T_SAYS(r.out, "pci-testdev: portio-no-eventfd: 10 stores counted");
	T_SAYS(r.out, "nvme: BAR of 64 bits");
	T_SAYS(r.out, "lsi53c895a: memory copied by DMA");
	T_SAYS(r.out, "lsi53c895a: pin held up: interrupted again");
	T_SAYS(r.out, "qemu: passed");
	if (!T_OK(!strstr(r.err, "rmio vmm")))
		ktap_diag("stderr: %s", r.err);
}

/* Beside a device with rings: each has its own. */
static void beside(void)
{
	NEED_QEMU();
	T_EQ(RUN(r, "--spawn", "edu", "--device", "qemu=lsi53c895a", "--guest-arg", "2",
		 "--vcpus", "3"), 0);
	T_SAYS(r.out, "qemu: passed");
}

static void killed(void)
{
	NEED_QEMU();
	T_EQ(RUN(r, ALL_OF_THEM, "--guest-arg", "15", "--allow-kill"), 0);
	T_SAYS(r.out, "slot 2: killed; reads all ones");
	T_SAYS(r.out, "slot 1: killed; reads all ones");
	T_SAYS(r.err, "slot 2 (lsi53c895a): process");
	T_SAYS(r.err, "was killed by signal 9");
}

static void not_there(void)
{
	NEED_QEMU();
	T_EQ(RUN(r, "--device", "qemu=frobnicator"), 125);
	T_SAYS(r.err, "'frobnicator' is not a valid device model name");
	T_SAYS(r.err, "--device qemu=frobnicator: the device process ended at once");
	T_EQ(RUN(r, "--device", "qemu=pci-testdev", "--qemu", "/nonexistent/qemu"), 125);
	T_SAYS(r.err, "/nonexistent/qemu: No such file or directory; install qemu-system-x86");
	T_EQ(RUN(r, "--device", "qemu=pci-bridge,chassis_nr=1"), 125);
	T_SAYS(r.err, "pci-bridge: PCI header type 1, only 0 is supported");
	/* What is no QEMU, and does not speak */
	T_EQ(RUN(r, "--device", "qemu=pci-testdev", "--qemu", "true"), 125);
	T_SAYS(r.err, "ended at once");
}

static const struct ktap_test tests[] = {
	{ "three devices", drives, 120 },
	{ "beside a device of rmio's", beside, 120 },
	{ "a QEMU that is killed", killed, 120 },
	{ "what is not there", not_there, 120 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
