// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio vmm` with devices in other processes: the guest `sweep` against a
 * scratch device of this file, the guest `edu` against the edu device of
 * `rmio dev`, and devices that are killed, stopped or slow.
 *
 * The scratch device is described in selftests/guest/sweep.c.
 */
#include "need_bpf.h"
#include "run_rmio.h"

#include <json-c/json.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <rmio/device.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define RUN(r, ...) rmio_run(&(r), (const char *const []){ __VA_ARGS__, NULL })

static struct rmio_run r;

/* With --backend bpf or kvm the test is skipped where that cannot be had. */
#define NEED(backend) do {							\
	NEED_KVM();								\
	if (!strcmp(backend, "bpf"))						\
		NEED_BPF();							\
	if (!strcmp(backend, "kvm"))						\
		NEED_KDEV();							\
} while (0)

/* -- scratch device ---------------------------------------------------------- */

struct scratch {
	uint8_t mem[5][256];
	uint64_t counter;
};

static uint64_t scratch_load(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint32_t len)
{
	struct scratch *s = rmio_dev_priv(dev);
	uint64_t v = 0;

	if (range == 3)
		return offset == 8 ? 0x600df00d : s->counter;
	memcpy(&v, s->mem[range] + offset, len);
	return v;
}

static void scratch_store(struct rmio_dev *dev, uint32_t range, uint64_t offset, uint64_t value,
			  uint32_t len)
{
	struct scratch *s = rmio_dev_priv(dev);

	if (range == 3)
		s->counter += value;
	else
		memcpy(s->mem[range] + offset, &value, len);
}

static const struct rmio_dev_ops scratch_ops = {
	.load = scratch_load,
	.store = scratch_store,
};

static void scratch_process(const char *path, int ready)
{
	static const struct rmio_dev_range ranges[] = {
		{ .id = 0, .bus = RMIO_BUS_MEM, .len = 256 },
		{ .id = 1, .bus = RMIO_BUS_MEM, .len = 256 },
		{ .id = 2, .bus = RMIO_BUS_MEM, .len = 256 },
		{ .id = 3, .bus = RMIO_BUS_MEM, .len = 16 },
		{ .id = 4, .bus = RMIO_BUS_IO, .len = 32 },
	};
	static const struct rmio_area areas[] = {
		{ .range_id = 1, .length = 256, .sizes = RMIO_SIZE_ALL, .load = RMIO_LOAD_SHADOW,
		  .store = RMIO_STORE_THROUGH },
		{ .range_id = 2, .length = 256, .load = RMIO_LOAD_DEVICE,
		  .store = RMIO_STORE_SYNC },
	};
	static struct scratch s;
	struct rmio_dev_desc d = {
		.sz = sizeof(d),
		.name = "scratch",
		.ops = &scratch_ops,
		.ranges = ranges,
		.nr_ranges = KTAP_COUNT(ranges),
		.areas = areas,
		.nr_areas = KTAP_COUNT(areas),
		.shadow_size = 4096,
		.vendor = 0x1234,
		.device = 0x5ca0,
		.class_code = 0xff0000,
	};
	struct rmio_loop_opts o = { .sz = sizeof(o) };
	struct rmio_loop *loop;
	struct rmio_dev *dev;

	if (!T_EQ(rmio_loop_new(&o, &loop), 0) || !T_EQ(rmio_dev_new(loop, &d, &s, &dev), 0) ||
	    !T_EQ(rmio_dev_listen(dev, path), 0))
		_exit(1);
	if (write(ready, "", 1) != 1)
		_exit(1);
	rmio_loop_run(loop);
	_exit(0);
}

/* A process with a scratch device, and where it listens. */
static pid_t scratch_start(const char **path)
{
	static char name[64];
	int fds[2];
	pid_t pid;
	char c;

	/* Relative: the directory in which tests run is theirs. */
	snprintf(name, sizeof(name), "scratch-%d.sock", getpid());
	unlink(name);
	if (!T_EQ(pipe2(fds, O_CLOEXEC), 0))
		return -1;
	pid = fork();
	if (!pid)
		scratch_process(name, fds[1]);
	close(fds[1]);
	if (!T_EQ(read(fds[0], &c, 1), 1))
		return -1;
	close(fds[0]);
	*path = name;
	return pid;
}

static void scratch_stop(pid_t pid, const char *path)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path);
}

/* A number in what --json has written after the guest's output. */
static int64_t stat_of(const char *name)
{
	struct json_object *o =
		json_tokener_parse(strstr(r.out, "{\n") ? strstr(r.out, "{\n") : "");
	struct json_object *v;
	int64_t n = -1;

	if (o && json_object_object_get_ex(o, name, &v))
		n = json_object_get_int64(v);
	json_object_put(o);
	return n;
}

static void sweep(const char *backend, const char *vcpus, const char *wait, const char *more)
{
	char socket[100], done[40];
	const char *path;
	pid_t pid;

	NEED(backend);
	pid = scratch_start(&path);
	T_REQUIRE(T_GT(pid, 0));
	snprintf(socket, sizeof(socket), "socket=%s%s", path, more);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("sweep"), "--vcpus", vcpus, "--device", socket,
		 "--wait", wait, "--backend", backend, "--deadline", "60000", "--json", "-"), 0);
	snprintf(done, sizeof(done), "sweep: done on %s vCPUs\n", vcpus);
	T_SAYS(r.out, done);
	T_STREQ(r.err, "");
	/* Four edges, 11 ways over each, a load and a store; and a port. */
	if (!*more)
		T_EQ(stat_of("straddled"), 4 * 11 * 2 + 1);
	scratch_stop(pid, path);
}

static void sweep_1(void)
{
	sweep("exit", "1", "adaptive", "");
}

static void sweep_1_bpf(void)
{
	sweep("bpf", "1", "adaptive", "");
}

static void sweep_1_kvm(void)
{
	sweep("kvm", "1", "adaptive", "");
}

static void sweep_2_sleep(void)
{
	sweep("exit", "2", "sleep", "");
}

static void sweep_2_sleep_bpf(void)
{
	sweep("bpf", "2", "sleep", "");
}

static void sweep_2_sleep_kvm(void)
{
	sweep("kvm", "2", "sleep", "");
}

static void sweep_4(void)
{
	sweep("exit", "4", "adaptive", "");
}

static void sweep_4_bpf(void)
{
	sweep("bpf", "4", "adaptive", "");
}

/* As with a device that knows nothing of rmio. */
static void sweep_socket(void)
{
	sweep("exit", "2", "adaptive", ",rings=off");
}

static void sweep_socket_bpf(void)
{
	sweep("bpf", "2", "adaptive", ",rings=off");
}

/* -- edu ---------------------------------------------------------------------- */

static void edu(const char *backend, const char *vcpus, const char *wait)
{
	NEED(backend);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--vcpus", vcpus, "--spawn", "edu",
		 "--wait", wait, "--backend", backend, "--deadline", "60000"), 0);
	T_SAYS(r.out, "identification 0x010000ed");
	T_SAYS(r.out, "12! = 479001600");
	T_SAYS(r.out, "edu: MSI:");
	T_SAYS(r.out, "edu: pin:");
	T_SAYS(r.out, "edu: DMA:");
	T_SAYS(r.out, "edu: done");
	T_STREQ(r.err, "");
	if (r.status)
		ktap_diag("%s", r.out);
}

static void edu_1(void)
{
	edu("exit", "1", "adaptive");
}

static void edu_1_bpf(void)
{
	edu("bpf", "1", "adaptive");
}

static void edu_1_kvm(void)
{
	edu("kvm", "1", "adaptive");
}

static void edu_2(void)
{
	edu("exit", "2", "adaptive");
}

static void edu_2_bpf(void)
{
	edu("bpf", "2", "adaptive");
}

static void edu_2_kvm(void)
{
	edu("kvm", "2", "adaptive");
}

static void edu_2_sleep(void)
{
	edu("exit", "2", "sleep");
}

static void edu_2_sleep_bpf(void)
{
	edu("bpf", "2", "sleep");
}

static void edu_2_sleep_kvm(void)
{
	edu("kvm", "2", "sleep");
}

static void edu_4(void)
{
	edu("exit", "4", "adaptive");
}

static void edu_4_bpf(void)
{
	edu("bpf", "4", "adaptive");
}

static void edu_same_cpu(void)
{
	NEED_KVM();
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--vcpus", "2", "--spawn", "edu",
		 "--placement", "same-cpu", "--wait", "sleep", "--deadline", "60000"), 0);
	T_SAYS(r.out, "edu: done on 2 vCPUs");
	T_STREQ(r.err, "");
}

static void edu_socket(void)
{
	char path[64], socket[100];
	struct rmio_run dev;

	NEED_KVM();
	snprintf(path, sizeof(path), "edu-%d.sock", getpid());
	snprintf(socket, sizeof(socket), "socket=%s,retry=5000", path);
	T_REQUIRE(rmio_start(&dev, (const char *const []){ "dev", "--socket", path, "edu", NULL }));
	/* Twice: a device serves one VMM after the other. */
	for (int i = 0; i < 2; i++) {
		T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--vcpus", "2", "--device", socket,
			 "--deadline", "60000"), 0);
		T_SAYS(r.out, "edu: done on 2 vCPUs");
	}
	kill(dev.pid, SIGTERM);
	rmio_finish(&dev);
	unlink(path);
}

static void several(void)
{
	struct json_object *o, *list, *v;

	NEED_KVM();
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--vcpus", "2", "--spawn", "null",
		 "--spawn", "edu", "--spawn", "edu", "--deadline", "60000", "--json", "-"), 0);
	T_SAYS(r.out, "edu: slot 2,");
	o = json_tokener_parse(strstr(r.out, "{\n") ? strstr(r.out, "{\n") : "");
	T_REQUIRE(T_OK(o != NULL));
	T_REQUIRE(T_OK(json_object_object_get_ex(o, "devices", &list)));
	T_EQ(json_object_array_length(list), 3);
	T_OK(json_object_object_get_ex(json_object_array_get_idx(list, 1), "counters", &v));
	T_OK(json_object_object_get_ex(v, "posted", &v));
	T_GT(json_object_get_int64(v), 0);
	T_OK(json_object_object_get_ex(json_object_array_get_idx(list, 2), "counters", &v));
	T_OK(json_object_object_get_ex(v, "posted", &v));
	T_EQ(json_object_get_int64(v), 0);
	json_object_put(o);
}

/* -- back ends ----------------------------------------------------------------- */

/* bpf(2) fails in this process and its children from here on, as without privilege. */
static bool forbid_bpf(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = KTAP_COUNT(code), .filter = code };

	return T_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0) &&
	       T_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

static void falls_back(void)
{
	NEED_KVM();
	T_REQUIRE(forbid_bpf());
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--spawn", "edu", "--deadline", "60000",
		 "--json", "-"), 0);
	T_SAYS(r.out, "edu: done on 1 vCPUs");
	if (kdev_there()) {
		T_SAYS(r.out, "\"backend\":\"kvm\"");
		T_STREQ(r.err, "");
	} else {
		T_SAYS(r.out, "\"backend\":\"exit\"");
		T_SAYS(r.err, "rmio vmm: back end exit, since there is no bpf: ");
		/* One line, and with a reason. */
		T_OK(strchr(r.err, '\n') == r.err + r.err_len - 1);
		T_GT(r.err_len, strlen("rmio vmm: back end exit, since there is no bpf: \n") + 10);
	}
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--spawn", "edu", "--backend", "bpf"), 125);
	T_SAYS(r.err, "--backend bpf: ");
	T_STREQ(r.out, "");
	/* Nothing to gain, and nothing to say. */
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello")), 0);
	T_STREQ(r.err, "");
}

static void no_kdev(void)
{
	NEED_KVM();
	if (kdev_there())
		T_SKIP("this kernel has the device", "run it on a kernel without kern/'s patches");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--spawn", "edu", "--backend", "kvm"), 125);
	T_SAYS(r.err, "--backend kvm: this kernel's KVM has no device KVM_DEV_TYPE_USER");
	T_STREQ(r.out, "");
}

static void picked(void)
{
	NEED("bpf");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--spawn", "edu", "--deadline", "60000",
		 "--json", "-"), 0);
	T_SAYS(r.out, kdev_there() ? "\"backend\":\"kvm\"" : "\"backend\":\"bpf\"");
	T_STREQ(r.err, "");
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--spawn", "edu", "--deadline", "60000",
		 "--backend", "exit", "--json", "-"), 0);
	T_SAYS(r.out, "\"backend\":\"exit\"");
	T_OK(!strstr(r.out, "\"backend\":\"bpf\""));
	T_STREQ(r.err, "");
}

/* -- death --------------------------------------------------------------------- */

static void killed_by_guest(const char *backend)
{
	NEED(backend);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--vcpus", "2", "--spawn", "edu",
		 "--backend", backend, "--allow-kill", "--guest-arg", "1", "--deadline", "60000"), 0);
	T_SAYS(r.out, "edu: the device is gone: all ones");
	T_SAYS(r.out, "edu: done on 2 vCPUs");
	T_SAYS(r.err, "slot 1 (edu): the device is dead (closed)");
	T_SAYS(r.err, "was killed by signal 9");
}

static void killed_by_guest_exit(void)
{
	killed_by_guest("exit");
}

static void killed_by_guest_bpf(void)
{
	killed_by_guest("bpf");
}

static void killed_by_guest_kvm(void)
{
	killed_by_guest("kvm");
}

/* `rmio dev` with an edu device on a socket, and a VM that has come to its last act. */
static bool start_pair(struct rmio_run *dev, char *path, size_t len, const char *backend,
		       const char *timeout)
{
	static unsigned int turn;
	char socket[100];

	snprintf(path, len, "edu-%d-%u.sock", getpid(), turn++);
	snprintf(socket, sizeof(socket), "socket=%s,retry=5000", path);
	return rmio_start(dev, (const char *const []){ "dev", "--socket", path, "edu", NULL }) &&
	       rmio_start(&r, (const char *const []){ "vmm", "--guest", guest_file("edu"),
			"--vcpus", "2", "--device", socket, "--guest-arg", "2",
			"--backend", backend, "--timeout", timeout, NULL }) &&
	       T_OK(rmio_read(&r, "BAR 0 moved"));
}

static void stop_pair(struct rmio_run *dev, const char *path)
{
	kill(dev->pid, SIGCONT);
	kill(dev->pid, SIGTERM);
	rmio_finish(dev);
	unlink(path);
}

static void killed_from_outside(const char *backend)
{
	struct rmio_run dev;
	char path[64];

	NEED(backend);
	T_REQUIRE(start_pair(&dev, path, sizeof(path), backend, "5000"));
	kill(dev.pid, SIGKILL);
	T_EQ(rmio_finish(&r), 0);
	T_SAYS(r.out, "edu: the device is gone: all ones on 2 vCPUs");
	T_SAYS(r.err, "the device is dead (closed)");
	stop_pair(&dev, path);
}

static void killed_from_outside_exit(void)
{
	killed_from_outside("exit");
}

static void killed_from_outside_bpf(void)
{
	killed_from_outside("bpf");
}

static void killed_from_outside_kvm(void)
{
	killed_from_outside("kvm");
}

static void killed_after_a_time(void)
{
	static const unsigned char forever[] = { 0xeb, 0xfe };
	int fd = memfd_create("guest", 0);
	char guest[64];

	NEED_KVM();
	snprintf(guest, sizeof(guest), "/proc/%d/fd/%d", getpid(), fd);
	T_EQ(write(fd, forever, sizeof(forever)), sizeof(forever));
	T_EQ(RUN(r, "vmm", "--guest", guest, "--spawn", "null", "--kill-after", "100",
		 "--deadline", "2000"), 124);
	T_SAYS(r.err, "slot 1 (null): process");
	T_SAYS(r.err, "was killed by signal 9");
	T_SAYS(r.err, "slot 1 (null): the device is dead (closed)");
}

/* Without --allow-kill the port is nothing, and the guest reads on. */
static void kill_not_allowed(void)
{
	NEED_KVM();
	T_REQUIRE(rmio_start(&r, (const char *const []){ "vmm", "--guest", guest_file("edu"),
		"--spawn", "edu", "--guest-arg", "1", NULL }));
	T_OK(rmio_read(&r, "BAR 0 moved"));
	usleep(300000);
	kill(r.pid, SIGTERM);
	T_EQ(rmio_finish(&r), 128 + SIGTERM);
	T_OK(!strstr(r.out, "the device is gone"));
}

/* Stopped, the device answers no more: the vCPUs go on after the timeout. */
static void stopped(const char *backend)
{
	struct rmio_run dev;
	char path[64];

	NEED(backend);
	T_REQUIRE(start_pair(&dev, path, sizeof(path), backend, "300"));
	kill(dev.pid, SIGSTOP);
	T_EQ(rmio_finish(&r), 0);
	T_SAYS(r.out, "edu: the device is gone: all ones on 2 vCPUs");
	T_SAYS(r.err, "the device is dead (timeout)");
	stop_pair(&dev, path);
}

static void stopped_exit(void)
{
	stopped("exit");
}

static void stopped_bpf(void)
{
	stopped("bpf");
}

static void stopped_kvm(void)
{
	stopped("kvm");
}

/* A signal ends the VM although its vCPUs wait for a device that does not answer. */
static void interrupted_while_waiting(const char *backend)
{
	struct rmio_run dev;
	char path[64];

	NEED(backend);
	T_REQUIRE(start_pair(&dev, path, sizeof(path), backend, "none"));
	kill(dev.pid, SIGSTOP);
	usleep(200000);
	kill(r.pid, SIGTERM);
	T_EQ(rmio_finish(&r), 128 + SIGTERM);
	stop_pair(&dev, path);
}

static void interrupted_while_waiting_exit(void)
{
	interrupted_while_waiting("exit");
}

static void interrupted_while_waiting_bpf(void)
{
	interrupted_while_waiting("bpf");
}

static void interrupted_while_waiting_kvm(void)
{
	interrupted_while_waiting("kvm");
}

static void spawn_of_nothing(void)
{
	NEED_KVM();
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--spawn", "frobnicator"), 125);
	T_SAYS(r.err, "no device called \"frobnicator\"; see rmio dev list");
}

/* A file that nobody listens on, one that others serve, and none. */
static void connecting_to_nothing(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char option[128], dir[] = "/tmp/rmio-XXXXXX";
	int fd;

	NEED_KVM();
	T_REQUIRE(T_OK(mkdtemp(dir) != NULL));
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/sock", dir);
	snprintf(option, sizeof(option), "socket=%s", at.sun_path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	T_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	T_EQ(listen(fd, 1), 0);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--device", option), 125);
	T_SAYS(r.err, "what listens there is not a vfio-user device");
	close(fd);
	unlink(at.sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	T_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	close(fd);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--device", option), 125);
	T_SAYS(r.err, "nobody listens there: start the device process again");
	unlink(at.sun_path);
	rmdir(dir);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("edu"), "--spawn", "edu", "--backend", "bpf",
		 "--broker", at.sun_path), 125);
	T_SAYS(r.err, "No such file or directory; start it as root: rmio bpfd --socket");
}

static const struct ktap_test tests[] = {
	{ "sweep, 1 vCPU, exit", sweep_1 },
	{ "sweep, 1 vCPU, bpf", sweep_1_bpf },
	{ "sweep, 1 vCPU, kvm", sweep_1_kvm },
	{ "sweep, 2 vCPUs, sleeping, exit", sweep_2_sleep },
	{ "sweep, 2 vCPUs, sleeping, bpf", sweep_2_sleep_bpf },
	{ "sweep, 2 vCPUs, sleeping, kvm", sweep_2_sleep_kvm },
	{ "sweep, 4 vCPUs, exit", sweep_4 },
	{ "sweep, 4 vCPUs, bpf", sweep_4_bpf },
	{ "sweep over the socket alone, exit", sweep_socket },
	{ "sweep over the socket alone, bpf", sweep_socket_bpf },
	{ "edu, 1 vCPU, exit", edu_1 },
	{ "edu, 1 vCPU, bpf", edu_1_bpf },
	{ "edu, 1 vCPU, kvm", edu_1_kvm },
	{ "edu, 2 vCPUs, exit", edu_2 },
	{ "edu, 2 vCPUs, bpf", edu_2_bpf },
	{ "edu, 2 vCPUs, kvm", edu_2_kvm },
	{ "edu, 2 vCPUs, sleeping, exit", edu_2_sleep },
	{ "edu, 2 vCPUs, sleeping, bpf", edu_2_sleep_bpf },
	{ "edu, 2 vCPUs, sleeping, kvm", edu_2_sleep_kvm },
	{ "edu, 4 vCPUs, exit", edu_4 },
	{ "edu, 4 vCPUs, bpf", edu_4_bpf },
	{ "edu, on the vCPU's CPU", edu_same_cpu },
	{ "edu on a socket, twice", edu_socket },
	{ "several devices", several },
	{ "back end bpf that cannot be had", falls_back },
	{ "back end kvm that is not there", no_kdev },
	{ "back end as asked for", picked },
	{ "device killed by the guest, exit", killed_by_guest_exit },
	{ "device killed by the guest, bpf", killed_by_guest_bpf },
	{ "device killed by the guest, kvm", killed_by_guest_kvm },
	{ "device killed from outside, exit", killed_from_outside_exit },
	{ "device killed from outside, bpf", killed_from_outside_bpf },
	{ "device killed from outside, kvm", killed_from_outside_kvm },
	{ "device killed after a time", killed_after_a_time },
	{ "kill port without permission", kill_not_allowed },
	{ "device stopped, exit", stopped_exit },
	{ "device stopped, bpf", stopped_bpf },
	{ "device stopped, kvm", stopped_kvm },
	{ "VM ended while a vCPU waits, exit", interrupted_while_waiting_exit },
	{ "VM ended while a vCPU waits, bpf", interrupted_while_waiting_bpf },
	{ "VM ended while a vCPU waits, kvm", interrupted_while_waiting_kvm },
	{ "spawning what does not exist", spawn_of_nothing },
	{ "connecting to what does not serve", connecting_to_nothing },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
