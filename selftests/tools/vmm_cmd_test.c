// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The command line of `rmio` and of `rmio vmm` without devices: what it
 * refuses and in which words, exit statuses, signals, the deadline; and that
 * `rmio doctor` agrees with this machine.
 */
#include "need_bpf.h"
#include "run_rmio.h"

#include <json-c/json.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define RUN(r, ...) rmio_run(&(r), (const char *const []){ __VA_ARGS__, NULL })

/* A file of these bytes that a child can open by name. */
static const char *file_of(const void *bytes, size_t len)
{
	static char name[64];
	int fd = memfd_create("guest", 0);

	snprintf(name, sizeof(name), "/proc/%d/fd/%d", getpid(), fd);
	return write(fd, bytes, len) == (ssize_t)len ? name : "";
}

static struct rmio_run r;

static void help(void)
{
	T_EQ(RUN(r, "--help"), 0);
	T_SAYS(r.out, "usage: rmio COMMAND");
	T_EQ(RUN(r, "help", "vmm"), 0);
	T_SAYS(r.out, "usage: rmio vmm");
	T_EQ(RUN(r, "vmm", "--help"), 0);
	T_SAYS(r.out, "--placement");
	T_EQ(RUN(r, "doctor", "--help"), 0);
	T_SAYS(r.out, "usage: rmio doctor");
	T_EQ(RUN(r, "--version"), 0);
	T_SAYS(r.out, "rmio ");
	T_EQ(rmio_run(&r, (const char *const []){ NULL }), 2);
	T_SAYS(r.err, "usage: rmio COMMAND");
	T_EQ(RUN(r, "frobnicate"), 2);
	T_SAYS(r.err, "no command 'frobnicate'");
	T_EQ(RUN(r, "help", "frobnicate"), 2);
	T_EQ(RUN(r, "doctor", "now"), 2);
	T_SAYS(r.err, "rmio doctor: what is 'now'?");
	/* getopt's own words name the command as it was typed. */
	T_EQ(RUN(r, "doctor", "--now"), 2);
	T_SAYS(r.err, "rmio doctor: unrecognized option '--now'");
	T_EQ(RUN(r, "bpfd", "now"), 2);
	T_SAYS(r.err, "rmio bpfd: what is 'now'");
	T_EQ(RUN(r, "bpfd"), 2);
	T_SAYS(r.err, "--socket PATH is missing");
}

static void refused(void)
{
	static const struct {
		const char *args[8];
		const char *words;
	} bad[] = {
		{ { "vmm" }, "--guest FILE is missing" },
		{ { "vmm", "--frobnicate" }, "rmio vmm: unrecognized option '--frobnicate'" },
		{ { "vmm", "--frobnicate" }, "see rmio vmm --help" },
		{ { "vmm", "--guest", "x", "y" }, "what is 'y'" },
		{ { "vmm", "--guest", "x", "--vcpus", "0" }, "--vcpus 0" },
		{ { "vmm", "--guest", "x", "--vcpus", "61" }, "1 to 60" },
		{ { "vmm", "--guest", "x", "--vcpus", "two" }, "--vcpus two" },
		{ { "vmm", "--guest", "x", "--vcpus", "-1" }, "--vcpus -1" },
		{ { "vmm", "--guest", "x", "--vcpus", "2x" }, "--vcpus 2x" },
		{ { "vmm", "--guest", "x", "--memory", "64Q" }, "--memory 64Q" },
		{ { "vmm", "--guest", "x", "--memory", "" }, "--memory" },
		{ { "vmm", "--guest", "x", "--memory", "99999999999999999999" }, "--memory" },
		{ { "vmm", "--guest", "x", "--memory", "17179869184G" }, "--memory" },
		{ { "vmm", "--guest", "x", "--guest-arg", "1.5" }, "--guest-arg 1.5" },
		{ { "vmm", "--guest", "x", "--wait", "long" }, "adaptive, poll or sleep" },
		{ { "vmm", "--guest", "x", "--backend", "best" }, "auto, kvm, bpf or exit" },
		{ { "vmm", "--guest", "x", "--placement", "here" }, "any or same-cpu" },
		{ { "vmm", "--guest", "x", "--timeout", "0" }, "--timeout 0" },
		{ { "vmm", "--guest", "x", "--deadline", "soon" }, "--deadline soon" },
		{ { "vmm", "--guest", "x", "--device", "path=1" }, "Known: socket" },
		{ { "vmm", "--guest", "x", "--device", "socket" }, "no path" },
		{ { "vmm", "--guest", "x", "--device", "socket=x,rings=maybe" }, "on or off" },
		{ { "vmm", "--guest", "x", "--device", "retry=5" }, "socket=PATH is missing" },
		{ { "vmm", "--guest", "x", "--device", "qemu=" }, "a device's name" },
		{ { "vmm", "--guest", "x", "--device", "qemu=-machine" }, "a device's name" },
		{ { "vmm", "--guest", "x", "--spawn", "" }, "--spawn" },
		{ { "vmm", "--guest", "x", "--spawn", "--socket" }, "--spawn --socket" },
		{ { "vmm", "--guest", "x", "--device", "socket=a", "--device", "socket=a" },
		  "socket=a is given twice" },
		{ { "vmm", "--guest", "x", "--stats-socket", "" }, "no path" },
		{ { "vmm", "--guest", "x", "--allow-kill" }, "--spawn" },
		{ { "vmm", "--guest", "x", "--kill-after", "5" }, "--spawn" },
	};

	for (int i = 0; i < KTAP_COUNT(bad); i++) {
		const char *args[9] = { NULL };

		memcpy(args, bad[i].args, sizeof(bad[i].args));
		T_EQ(rmio_run(&r, args), 125);
		T_SAYS(r.err, bad[i].words);
		T_STREQ(r.out, "");
	}
}

static void refused_later(void)
{
	static char big[(1 << 20) + 1];

	NEED_KVM();
	T_EQ(RUN(r, "vmm", "--guest", "/nonexistent/guest"), 125);
	T_SAYS(r.err, "/nonexistent/guest: No such file");
	T_EQ(RUN(r, "vmm", "--guest", "/"), 125);
	T_SAYS(r.err, "not a regular file");
	T_EQ(RUN(r, "vmm", "--guest", "/dev/null"), 125);
	T_SAYS(r.err, "not a regular file");
	T_EQ(RUN(r, "vmm", "--guest", file_of(big, 0)), 125);
	T_SAYS(r.err, "empty");
	T_EQ(RUN(r, "vmm", "--memory", "2M", "--guest", file_of(big, sizeof(big))), 125);
	T_SAYS(r.err, "do not fit into 2097152 bytes of memory; give it more with --memory");
	memcpy(big, "\177ELF", 4);
	T_EQ(RUN(r, "vmm", "--guest", file_of(big, 4096)), 125);
	T_SAYS(r.err, "an ELF file; make it raw with objcopy -O binary");
	T_EQ(RUN(r, "vmm", "--memory", "67108865", "--guest", guest_file("hello")), 125);
	T_SAYS(r.err, "multiple of 4096");
	T_EQ(RUN(r, "vmm", "--memory", "1M", "--guest", guest_file("hello")), 125);
	T_SAYS(r.err, "from 2M to 64G");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--device",
		 "socket=/nonexistent/x.sock"),
	     125);
	T_SAYS(r.err, "socket=/nonexistent/x.sock: No such file or directory; start `rmio dev");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--device",
		 "socket=/nonexistent/x.sock,retry=50"), 125);
	T_SAYS(r.err, "No such file");
}

static void hello(void)
{
	NEED_KVM();
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello")), 0);
	T_SAYS(r.out, "hello from vCPU 0 of 1\n");
	T_STREQ(r.err, "");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--vcpus", "4", "--memory", "8M"), 0);
	T_SAYS(r.out, "hello from vCPU 3 of 4\n");
	T_SAYS(r.out, "all 4 vCPUs agree\n");
}

static void statuses(void)
{
	NEED_KVM();
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--guest-arg", "42"), 42);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--guest-arg", "0x1203"), 3);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--guest-arg", "0x1200"), 255);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--guest-arg", "258"), 125);
	T_SAYS(r.err, "vCPU 0: triple fault");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu")), 1);
	T_SAYS(r.out, "FAIL no edu device");
}

static void ends(void)
{
	static const unsigned char forever[] = { 0xb0, 'x', 0xe6, 0xe9, 0xb0, '\n', 0xe6, 0xe9,
						 0xeb, 0xfe };
	const char *guest = file_of(forever, sizeof(forever));

	NEED_KVM();
	T_EQ(RUN(r, "vmm", "--guest", guest, "--deadline", "200"), 124);
	T_SAYS(r.err, "deadline of 200 ms");
	T_STREQ(r.out, "x\n");

	T_REQUIRE(rmio_start(&r, (const char *const []){ "vmm", "--guest", guest, NULL }));
	T_OK(rmio_read(&r, "x\n"));
	kill(r.pid, SIGTERM);
	T_EQ(rmio_finish(&r), 128 + SIGTERM);
	T_REQUIRE(rmio_start(&r, (const char *const []){ "vmm", "--guest", guest, NULL }));
	T_OK(rmio_read(&r, "x\n"));
	kill(r.pid, SIGINT);
	T_EQ(rmio_finish(&r), 128 + SIGINT);
}

/* Nobody reads the console: the guest waits for it, but the VM ends all the same. */
static void unread_console(void)
{
	static const unsigned char talks[] = { 0xb0, 'x', 0xe6, 0xe9, 0xeb, 0xfa };
	const char *guest = file_of(talks, sizeof(talks));
	int there, before;

	NEED_KVM();
	for (int i = 0; i < 2; i++) {
		T_REQUIRE(rmio_start(&r, (const char *const []){
			"vmm", "--guest", guest, "--deadline", i ? "500" : "1000000", NULL }));
		fcntl(r.out_fd, F_SETPIPE_SZ, 4096);
		/* Most likely it waits once no more comes. */
		there = 0;
		do {
			before = there;
			usleep(100000);
			ioctl(r.out_fd, FIONREAD, &there);
		} while (!there || there != before);
		if (!i)
			kill(r.pid, SIGTERM);
		T_EQ(waitpid(r.pid, &r.status, 0), r.pid);
		T_EQ(WEXITSTATUS(r.status), i ? 124 : 128 + SIGTERM);
		close(r.out_fd);
		close(r.err_fd);
	}
}

/* What the VMM opens must not take the place of a console that is closed. */
static void closed_console(void)
{
	const char *rmio = getenv("RMIO") ? getenv("RMIO") : "./rmio";
	int status, p[2], i;
	pid_t pid;

	NEED_KVM();
	for (i = 0; i < 2; i++) {
		T_EQ(pipe(p), 0);
		pid = fork();
		if (!pid) {
			/* Or is one that can only be read. */
			close(STDOUT_FILENO);
			if (i)
				dup2(p[0], STDOUT_FILENO);
			execl(rmio, "rmio", "vmm", "--guest", guest_file("hello"), NULL);
			_exit(127);
		}
		T_EQ(waitpid(pid, &status, 0), pid);
		T_OK(WIFEXITED(status));
		T_EQ(WEXITSTATUS(status), 0);
		close(p[0]);
		close(p[1]);
	}
}

/* Set-up that waits can be interrupted, and does not wait where there is nothing to wait for. */
static void waiting_to_start(void)
{
	char dir[] = "/tmp/rmio-XXXXXX", path[64], line[256];
	unsigned long long blocked = 0;
	FILE *f;

	NEED_KVM();
	T_REQUIRE(T_OK(mkdtemp(dir)));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	T_EQ(mkfifo(path, 0600), 0);
	T_EQ(RUN(r, "vmm", "--guest", path), 125);
	T_SAYS(r.err, "not a regular file");
	unlink(path);
	rmdir(dir);

	T_REQUIRE(rmio_start(&r, (const char *const []){
		"vmm", "--guest", guest_file("hello"), "--device",
		"socket=/nonexistent/x.sock,retry=3600000", NULL }));
	/* Before it blocks the signal it would end by that, which is no news. */
	snprintf(path, sizeof(path), "/proc/%d/status", r.pid);
	while (!(blocked & 1ull << (SIGTERM - 1))) {
		f = fopen(path, "r");
		T_REQUIRE(T_OK(f));
		while (fgets(line, sizeof(line), f))
			sscanf(line, "SigBlk: %llx", &blocked);
		fclose(f);
		usleep(1000);
	}
	kill(r.pid, SIGTERM);
	T_EQ(rmio_finish(&r), 128 + SIGTERM);
	T_SAYS(r.err, "x.sock: Interrupted");
}

static void stats(void)
{
	struct json_object *o, *v;

	NEED_KVM();
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--vcpus", "2", "--json", "-"), 0);
	o = json_tokener_parse(strchr(r.out, '{') ? strchr(r.out, '{') : "");
	T_REQUIRE(T_OK(o != NULL));
	T_OK(json_object_object_get_ex(o, "schema", &v) && json_object_get_int(v) == 1);
	T_OK(json_object_object_get_ex(o, "vcpus", &v) && json_object_get_int(v) == 2);
	T_OK(json_object_object_get_ex(o, "status", &v) && json_object_get_int(v) == 0);
	T_OK(json_object_object_get_ex(o, "devices", &v) && json_object_array_length(v) == 0);
	json_object_put(o);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--json", "/nonexistent/x"), 125);
	T_SAYS(r.err, "/nonexistent/x: No such file");
	T_STREQ(r.out, "");
}

/* The reader of a pipe gets all of it, and no end before. */
static void stats_to_pipe(void)
{
	char dir[] = "/tmp/rmio-XXXXXX", path[64];
	static char text[65536];
	size_t n = 0;
	int status;
	pid_t pid;
	FILE *f;

	NEED_KVM();
	T_REQUIRE(T_OK(mkdtemp(dir)));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	T_EQ(mkfifo(path, 0600), 0);
	pid = fork();
	if (!pid) {
		f = fopen(path, "r");
		n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
		_exit(n && strstr(text, "\"schema\"") ? 0 : 1);
	}
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--json", path), 0);
	T_EQ(waitpid(pid, &status, 0), pid);
	T_EQ(status, 0);
	unlink(path);
	rmdir(dir);
}

static void doctor(void)
{
	static const char *const mechanisms[] = {
		"/dev/kvm", "in-kernel irqchip", "irqfd", "irqfd resample", "ioeventfd",
		"read-only memslot", "coalesced MMIO", "io_uring", "futex wait and wake",
		"memfd seals", "privilege", "task storage", "tracepoint kvm_mmio",
	};
	static const char *const backends[] = { "kvm", "bpf", "exit" };
	struct json_object *o, *list, *e, *v;
	bool there = !access("/dev/kvm", R_OK | W_OK);
	int status = RUN(r, "doctor", "--json");

	if (there)
		T_EQ(status, 0);
	else
		T_EQ(status, 1);
	o = json_tokener_parse(r.out);
	T_REQUIRE(T_OK(o != NULL));
	T_REQUIRE(T_OK(json_object_object_get_ex(o, "backends", &list)));
	T_EQ(json_object_array_length(list), KTAP_COUNT(backends));
	for (int i = 0; i < KTAP_COUNT(backends); i++) {
		e = json_object_array_get_idx(list, i);
		T_REQUIRE(T_OK(json_object_object_get_ex(e, "name", &v)));
		T_STREQ(json_object_get_string(v), backends[i]);
		/* What it says of bpf is what a VMM of this process would find. */
		T_REQUIRE(T_OK(json_object_object_get_ex(e, "there", &v)));
		if (i == 1)
			T_EQ(json_object_get_boolean(v), !bpf_lacks());
		if (i == 0)
			T_EQ(json_object_get_boolean(v), kdev_there());
	}
	T_REQUIRE(T_OK(json_object_object_get_ex(o, "mechanisms", &list)));
	for (int i = 0; i < KTAP_COUNT(mechanisms); i++) {
		bool found = false;

		for (size_t k = 0; k < json_object_array_length(list); k++) {
			e = json_object_array_get_idx(list, k);
			if (!json_object_object_get_ex(e, "name", &v) ||
			    strcmp(json_object_get_string(v), mechanisms[i]))
				continue;
			found = true;
			T_OK(json_object_object_get_ex(e, "there", &v));
			if (!i)
				T_EQ(json_object_get_boolean(v), there);
			/* What is missing has a reason. */
			if (!json_object_get_boolean(v)) {
				T_OK(json_object_object_get_ex(e, "why", &v));
				T_OK(v && strlen(json_object_get_string(v)) > 5);
			}
		}
		if (!T_OK(found))
			ktap_diag("mechanism %s is not listed", mechanisms[i]);
	}
	T_OK(json_object_object_get_ex(o, "vms", &list) &&
	     json_object_is_type(list, json_type_array));
	json_object_put(o);
	RUN(r, "doctor");
	T_SAYS(r.out, "back ends");
	T_SAYS(r.out, "plans of running VMs");
	if (access("/dev/kvm", R_OK | W_OK))
		T_SAYS(r.out, "no KVM to ask");
	else if (!kdev_there())
		T_SAYS(r.out, "no device KVM_DEV_TYPE_USER");
	if (!bpf_lacks())
		T_SAYS(r.out, "loaded and attached as program ");
}

static const struct ktap_test tests[] = {
	{ "help", help },
	{ "refused command lines", refused },
	{ "refused guests and devices", refused_later },
	{ "hello", hello },
	{ "exit statuses", statuses },
	{ "deadline and signals", ends },
	{ "a console that nobody reads", unread_console, 30 },
	{ "a console that is closed", closed_console, 30 },
	{ "set-up that waits", waiting_to_start, 30 },
	{ "statistics", stats },
	{ "statistics to a pipe", stats_to_pipe, 30 },
	{ "doctor", doctor },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
