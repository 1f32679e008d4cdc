// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio vmm` with devices that are not PCI and with programs that are not rmio's: the guest `port`
 * drives docs/examples/doorbell.c by each way to it; places and lines that cannot be had.
 */
#include "need_bpf.h"
#include "run_rmio.h"

#define RUN(r, ...) rmio_run(&(r), (const char *const []){ __VA_ARGS__, NULL })

static struct rmio_run r;

/* --device for the example, with @more after its path.  Two at a time. */
static const char *doorbell(const char *key, const char *more)
{
	const char *dir = getenv("RMIO_EXAMPLES");
	static char bells[2][512];
	static int turn;

	turn = !turn;
	snprintf(bells[turn], sizeof(bells[0]), "%s%s/doorbell%s", key, dir ? dir : "docs/examples",
		 more);
	return bells[turn];
}

static void guest(const char *backend, const char *more)
{
	NEED_KVM();
	if (!strcmp(backend, "bpf"))
		NEED_BPF();
	if (!strcmp(backend, "kvm"))
		NEED_KDEV();
	T_EQ(RUN(r, "vmm", "--guest", guest_file("port"), "--backend", backend,
		 "--device", doorbell("exec=", more), "--deadline", "60000"), 0);
	T_SAYS(r.out, "port: done, ");
	T_STREQ(r.err, "");
}

static void by_exit(void)
{
	guest("exit", ",port=0x3f8,irq=4");
}

static void by_bpf(void)
{
	guest("bpf", ",port=0x3f8,irq=4");
}

static void by_kvm(void)
{
	guest("kvm", ",port=0x3f8,irq=4");
}

static void by_socket(void)
{
	guest("exit", ",rings=off,port=0x3f8,irq=4");
}

/* Beside PCI devices, which keep slots from 1 on. */
static void with_pci(void)
{
	char edu[] = "edu";

	NEED_KVM();
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"),
		 "--device", doorbell("exec=", ",port=0x3f8,irq=4"), "--spawn", edu,
		 "--deadline", "60000", "--json", "-"), 0);
	T_SAYS(r.out, "edu: slot 1,");
	T_SAYS(r.out, "\"doorbell\"");
}

static void socket_path(void)
{
	char path[64], socket[128];
	struct rmio_run dev;
	const char *prog = doorbell("", "");

	NEED_KVM();
	snprintf(path, sizeof(path), "bell-%d.sock", getpid());
	snprintf(socket, sizeof(socket), "socket=%s,retry=5000,port=0x3f8,irq=4", path);
	setenv("RMIO_OF_TEST", getenv("RMIO") ? getenv("RMIO") : "", 1);
	setenv("RMIO", prog, 1);
	T_REQUIRE(rmio_start(&dev, (const char *const []){ path, NULL }));
	setenv("RMIO", getenv("RMIO_OF_TEST"), 1);
	for (int i = 0; i < 2; i++) {
		T_EQ(RUN(r, "vmm", "--guest", guest_file("port"), "--device", socket,
			 "--deadline", "60000"), 0);
		T_SAYS(r.out, "port: done, ");
		T_STREQ(r.err, "");
	}
	kill(dev.pid, SIGTERM);
	T_EQ(rmio_finish(&dev), 0);
}

/* A start that fails, and what it says of it. */
static void fails(const char *device, const char *says)
{
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--device", device), 125);
	T_SAYS(r.err, says);
	T_STREQ(r.out, "");
}

static void places(void)
{
	NEED_KVM();
	fails(doorbell("exec=", ""), "is not PCI: say where its range 0, of 4 bytes, lies");
	fails(doorbell("exec=", ",port=0xe8"), "taken by the console");
	fails(doorbell("exec=", ",port=0xcf9"), "taken by the PCI bus");
	fails(doorbell("exec=", ",port=0xffff"), "taken by the PCI bus");
	fails(doorbell("exec=", ",port=0x1e"), "taken by the interrupt controller");
	fails(doorbell("exec=", ",mmio=0x1000"), "taken by memory");
	fails(doorbell("exec=", ",mmio=0xfec00ffe"), "taken by the I/O APIC");
	fails(doorbell("exec=", ",mmio=0xfffffffffffffffe"), "range 0 wraps");
	fails(doorbell("exec=", ",port=0x3f8,port=0x2f8"), "2 places for 1 ranges");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--device",
		 doorbell("exec=", ",port=0x3f8,irq=4"), "--spawn", "edu", "--device",
		 doorbell("exec=", ",port=0x3fb,irq=3")), 125);
	T_SAYS(r.err, "taken by doorbell");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--device",
		 doorbell("exec=", ",port=0x3f8,irq=4"), "--device",
		 doorbell("exec=", ",port=0x2f8,irq=4")), 125);
	T_SAYS(r.err, "irq=4: taken by doorbell");
	/* and where all is well, not */
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--device",
		 doorbell("exec=", ",mmio=0xfed00000")), 0);
}

static void options(void)
{
	fails("socket=/x,port=0x10000", "port=0x10000: an address to 0xffff");
	fails("socket=/x,port", "port=: an address");
	fails("socket=/x,mmio=here", "mmio=here: an address");
	fails("socket=/x,port=1,irq=2", "irq=2: a line from 1 to 15, but 2");
	fails("socket=/x,port=1,irq=16", "irq=16: a line");
	fails("socket=/x,irq=4", "irq=4: for devices with port= or mmio=");
	fails("socket=/x,exec=/y", "not both");
	fails("port=0x3f8", "socket=PATH is missing, or exec=PATH");
	fails("socket=/x,arg=1", "arg=: for exec=");
	fails("exec=doorbell", "exec=doorbell: a path, with a /");
	fails("exec=/y,what=1", "what is 'what=1'");
}

static void programs(void)
{
	NEED_KVM();
	/* A PCI device of the user's own, as a program with arguments. */
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--spawn", doorbell("", ",one,two")),
	     125);
	/* It takes one argument. */
	T_SAYS(r.err, "usage: doorbell SOCKET|--fd=N");
	T_SAYS(r.err, "the device process ended at once");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--spawn", "/nonexistent/device"), 125);
	T_SAYS(r.err, "rmio vmm: /nonexistent/device: No such file or directory");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--spawn", doorbell("", "")), 125);
	T_SAYS(r.err, "is not PCI");
}

static const struct ktap_test tests[] = {
	{ "guest, exit", by_exit },
	{ "guest, bpf", by_bpf },
	{ "guest, kvm", by_kvm },
	{ "guest, every access over the socket", by_socket },
	{ "beside PCI", with_pci },
	{ "at a socket's path, twice", socket_path },
	{ "places that cannot be had", places },
	{ "options", options },
	{ "programs", programs },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
