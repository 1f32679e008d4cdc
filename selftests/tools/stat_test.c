// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * `rmio vmm --stats-socket` and `rmio stat`: what a guest did is told, clients that are
 * slow or send nonsense harm nobody, VMMs that send nonsense or end are noticed; and
 * bpftool finds program, maps and fields by name, as docs/inspection.md has it.
 */
#include "need_bpf.h"
#include "run_rmio.h"

#include <json-c/json.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define RUN(r, ...) rmio_run(&(r), (const char *const []){ __VA_ARGS__, NULL })
#define CLIENTS 16	/* VMM_STATSOCK_CLIENTS */

static struct rmio_run vm, r;
static char path[64];

/* -- rig ----------------------------------------------------------------------- */

/* The guest goes through all of edu and then loads from it for ever. */
static bool start_vm(const char *backend)
{
	snprintf(path, sizeof(path), "stat-%d.sock", getpid());
	unlink(path);
	return rmio_start(&vm, (const char *const []){ "vmm", "--guest", guest_file("edu"),
		"--spawn", "edu", "--guest-arg", "1", "--backend", backend, "--stats-socket", path,
		NULL }) &&
	       T_OK(rmio_read(&vm, "BAR 0 moved"));
}

static void stop_vm(void)
{
	kill(vm.pid, SIGTERM);
	T_EQ(rmio_finish(&vm), 128 + SIGTERM);
	T_OK(access(path, F_OK));
}

static struct sockaddr_un address(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	return at;
}

static int client(void)
{
	struct sockaddr_un at = address();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, (struct sockaddr *)&at, sizeof(at)) ? -1 : fd;
}

/* One line, parsed. */
static struct json_object *line(int fd)
{
	static char buf[1 << 20];
	size_t n = 0;

	while (n < sizeof(buf) - 1 && read(fd, buf + n, 1) == 1 && buf[n] != '\n')
		n++;
	buf[n] = 0;
	return json_tokener_parse(buf);
}

static int64_t num(struct json_object *o, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(o, name, &v) ? json_object_get_int64(v) : -1;
}

static struct json_object *sub(struct json_object *o, const char *name)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(o, name, &v);
	return v;
}

/* -- what it tells --------------------------------------------------------------- */

static void told(const char *backend, bool bpf)
{
	struct json_object *o, *d, *lane, *hist, *e;
	int64_t loads = 0, taken = 0, posted;
	char pid[24];

	NEED_KVM();
	if (bpf)
		NEED_BPF();
	T_REQUIRE(start_vm(backend));
	T_EQ(RUN(r, "stat", "--json", path), 0);
	o = json_tokener_parse(r.out);
	T_REQUIRE(T_OK(o != NULL));
	T_EQ(num(o, "pid"), vm.pid);
	e = json_object_array_get_idx(sub(o, "exits"), 0);
	T_GT(num(e, "load"), 0);
	T_GT(num(e, "out"), 0);
	d = json_object_array_get_idx(sub(o, "devices"), 0);
	T_REQUIRE(T_OK(d != NULL));
	T_STREQ(json_object_get_string(sub(d, "state")), "live");
	lane = sub(d, "lane");
	T_GE(num(sub(d, "counters"), "posted"), 60);
	hist = sub(lane, "load_ns");
	T_EQ(json_object_array_length(hist), 32);
	for (int i = 0; i < 32; i++)
		loads += json_object_get_int64(json_object_array_get_idx(hist, i));
	if (bpf) {
		T_GT(num(lane, "posted"), 0);
		T_GT(loads, 0);
		T_GE(json_object_array_length(sub(d, "plan")), 20);
		/* What was posted in the kernel was so by what is said to have taken it. */
		T_EQ(RUN(r, "stat", "--json", path), 0);
		json_object_put(o);
		o = json_tokener_parse(r.out);
		d = json_object_array_get_idx(sub(o, "devices"), 0);
		posted = num(sub(d, "lane"), "posted");
		for (size_t i = 0; i < json_object_array_length(sub(d, "plan")); i++) {
			e = json_object_array_get_idx(sub(d, "plan"), i);
			if (strcmp(json_object_get_string(sub(e, "mechanism")), "exit"))
				taken += num(e, "count");
		}
		ktap_diag("%lld posted in the kernel, %lld taken by the plan in force",
			  (long long)posted, (long long)taken);
		T_GT(taken, posted / 2);
		T_GT(num(sub(sub(o, "program"), "maps"), "vcpus"), 0);
		T_GT(num(sub(d, "maps"), "lanes"), 0);
		T_GT(num(sub(d, "maps"), "shadow"), 0);
		T_EQ(RUN(r, "stat", "--maps", path), 0);
		T_SAYS(r.out, "# lanes of slot 1 edu\n");
		T_GT(num(sub(o, "program"), "id"), 0);
	} else {
		T_EQ(num(lane, "posted"), 0);
		T_EQ(loads, 0);
		T_EQ(json_object_array_length(sub(d, "plan")), 0);
		T_OK(!sub(o, "program"));
	}
	json_object_put(o);

	snprintf(pid, sizeof(pid), "%d", vm.pid);
	T_EQ(RUN(r, "stat", pid), 0);
	T_STREQ(r.err, "");
	T_SAYS(r.out, "1 vCPU, 64 MiB, back end ");
	T_SAYS(r.out, "slot 1 edu: live, back end ");
	T_OK(bpf == !!strstr(r.out, "ioeventfd"));
	T_OK(bpf == !!strstr(r.out, "an area of one register"));
	T_OK(bpf == !!strstr(r.out, "not relaxed"));
	T_OK(!strchr(r.out, '\033'));
	stop_vm();
}

static void told_exit(void)
{
	told("exit", false);
}

static void told_bpf(void)
{
	told("bpf", true);
}

/* -- clients ----------------------------------------------------------------------- */

static void lines(void)
{
	struct json_object *o;
	int64_t before = 0;
	struct stat st;
	int fd;

	NEED_KVM();
	T_REQUIRE(start_vm("exit"));
	T_EQ(stat(path, &st), 0);
	T_EQ(st.st_mode & 0777, 0600);
	fd = client();
	T_REQUIRE(T_GE(fd, 0));
	for (int i = 0; i < 3; i++) {
		/* One at a time, then three at once. */
		T_EQ(write(fd, "\n\n\n", i == 2 ? 3 : 1), i == 2 ? 3 : 1);
		for (int k = 0; k < (i == 2 ? 3 : 1); k++) {
			o = line(fd);
			T_REQUIRE(T_OK(o != NULL));
			T_GT(num(o, "time_ns"), before);
			before = num(o, "time_ns");
			json_object_put(o);
		}
	}
	close(fd);
	stop_vm();
}

/* All that is asked of it, until its end is seen; false if it is still there. */
static bool ended(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 60000) == 1;
}

static void bad_clients(void)
{
	static char newlines[4096];
	struct json_object *o;
	int slow, bad, good;

	NEED_KVM();
	T_REQUIRE(start_vm("exit"));
	memset(newlines, '\n', sizeof(newlines));
	slow = client();
	T_GT(write(slow, newlines, sizeof(newlines)), 0);
	bad = client();
	T_EQ(write(bad, "GET / HTTP/1.0\r\n", 16), 16);
	T_OK(ended(bad));
	/* While one does not read, another is served. */
	good = client();
	for (int i = 0; i < 20; i++) {
		T_EQ(write(good, "\n", 1), 1);
		o = line(good);
		T_REQUIRE(T_OK(o != NULL));
		json_object_put(o);
	}
	T_OK(ended(slow));
	close(slow);
	close(bad);
	close(good);
	stop_vm();
}

static void many_clients(void)
{
	int fds[CLIENTS + 1];
	struct json_object *o;

	NEED_KVM();
	T_REQUIRE(start_vm("exit"));
	for (int i = 0; i <= CLIENTS; i++)
		fds[i] = client();
	T_OK(ended(fds[CLIENTS]));
	T_EQ(write(fds[CLIENTS - 1], "\n", 1), 1);
	o = line(fds[CLIENTS - 1]);
	T_OK(o != NULL);
	json_object_put(o);
	for (int i = 0; i <= CLIENTS; i++)
		close(fds[i]);
	/* Their places are free again, once it has seen that they are gone. */
	T_EQ(RUN(r, "stat", path), 0);
	stop_vm();
}

static void paths(void)
{
	struct sockaddr_un at;
	int fd;

	NEED_KVM();
	T_REQUIRE(start_vm("exit"));
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--stats-socket", path), 125);
	T_SAYS(r.err, "Address already in use");
	stop_vm();
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--stats-socket", "/nonexistent/x"), 125);
	T_SAYS(r.err, "--stats-socket /nonexistent/x: No such file");

	/* Left by a VMM that was killed: replaced.  No socket at all: left alone. */
	at = address();
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	T_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	close(fd);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--stats-socket", path), 0);
	T_OK(access(path, F_OK));
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	T_EQ(RUN(r, "vmm", "--guest", guest_file("hello"), "--stats-socket", path), 125);
	T_EQ(access(path, F_OK), 0);
	unlink(path);
}

/* -- VMMs ---------------------------------------------------------------------------- */

/* A VMM that answers with these bytes, again and again, and then hangs up. */
static pid_t fake_vmm(const char *bytes, size_t times)
{
	struct sockaddr_un at;
	int s, fd;
	pid_t pid;
	char c;

	snprintf(path, sizeof(path), "fake-%d.sock", getpid());
	unlink(path);
	at = address();
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	T_EQ(bind(s, (struct sockaddr *)&at, sizeof(at)), 0);
	T_EQ(listen(s, 1), 0);
	pid = fork();
	if (!pid) {
		fd = accept(s, NULL, NULL);
		if (read(fd, &c, 1) != 1)
			_exit(1);
		for (size_t i = 0; i < times; i++) {
			if (send(fd, bytes, strlen(bytes), MSG_NOSIGNAL) < 0)
				break;
		}
		_exit(0);
	}
	close(s);
	return pid;
}

static void reap_fake(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path);
}

static void garbage(void)
{
	static char brackets[65537];
	static const struct {
		const char *bytes;
		size_t times;
		int status;
		const char *words;
	} says[] = {
		{ "", 0, 1, "the VM has ended" },
		{ "{\"schema\":1", 1, 1, "the VM has ended" },
		{ "hello\n", 1, 1, "does not speak" },
		{ "\n", 1, 1, "does not speak" },
		{ "[[[[1]]]]\n", 1, 1, "does not speak" },
		{ "{\"schema\":2}\n", 1, 1, "does not speak" },
		{ "{\"schema\":[]}\n", 1, 1, "does not speak" },
		{ "\xff\xfe\x80\n", 1, 1, "does not speak" },
		{ brackets, 17 * 16, 1, "too long" },
		{ "{\"schema\":1}\n", 1, 0, "" },
		{ "{\"schema\":1,\"exits\":5,\"devices\":{\"0\":1},\"program\":\"x\"}\n", 1, 0, "" },
		{ "{\"schema\":1,\"pid\":-1,\"memory\":1e300,\"backend\":{},\"exits\":[[],1,null,"
		  "{\"load\":-9223372036854775808}],\"devices\":[1,\"x\",null,{\"rmio\":true,"
		  "\"name\":\"\\u001b[2J\\u0007\",\"state\":\"\\u009b31m\",\"vcpus\":{\"a\":1},"
		  "\"plan\":\"x\",\"lane\":[]},{\"rmio\":1,\"vcpus\":[1,{\"lane\":{\"load_ns\":"
		  "[9223372036854775807,9223372036854775807,\"x\"]}},{}],\"plan\":[3,{\"why\":"
		  "\"\\u001b]0;x\\u0007\",\"mechanism\":\"memslotmemslotmemslot\"}]}]}\n", 1, 0, "" },
	};

	memset(brackets, '[', sizeof(brackets) - 1);
	for (int i = 0; i < KTAP_COUNT(says); i++) {
		pid_t pid = fake_vmm(says[i].bytes, says[i].times);

		T_EQ(RUN(r, "stat", path), says[i].status);
		T_SAYS(r.err, says[i].words);
		T_OK(says[i].status || r.out_len);
		for (size_t k = 0; k < r.out_len; k++) {
			if (!T_OK(r.out[k] == '\n' || (r.out[k] >= ' ' && r.out[k] <= '~')))
				break;
		}
		reap_fake(pid);
	}
}

static void nobody(void)
{
	char pid[24];

	T_EQ(RUN(r, "stat", "/nonexistent/x.sock"), 1);
	T_SAYS(r.err, "/nonexistent/x.sock: No such file");
	snprintf(pid, sizeof(pid), "%d", getpid());
	T_EQ(RUN(r, "stat", pid), 1);
	T_SAYS(r.err, "no such `rmio vmm`");
	T_EQ(RUN(r, "stat", "--frobnicate"), 2);
	T_EQ(RUN(r, "stat", "--help"), 0);
	T_SAYS(r.out, "--watch");
}

/* `rmio doctor` shows the plan of a VM that runs. */
static void plan(void)
{
	char text[64];

	NEED_BPF();
	T_REQUIRE(start_vm("bpf"));
	RUN(r, "doctor");
	snprintf(text, sizeof(text), "VM %d: 1 vCPU, 64 MiB, back end bpf\n", vm.pid);
	T_SAYS(r.out, text);
	T_SAYS(r.out, "an area of one register");
	RUN(r, "doctor", "--json");
	T_SAYS(r.out, "\"mechanism\":\"ioeventfd\"");
	stop_vm();
}

/* Takes the connection and says nothing. */
static void silent(void)
{
	pid_t pid = fake_vmm("", 0);

	kill(pid, SIGSTOP);
	T_EQ(RUN(r, "stat", path), 1);
	T_SAYS(r.err, "does not answer");
	reap_fake(pid);
}

/* One that is stuck, one that is not there and one whose path is long, beside one that answers. */
static void beside(void)
{
	char dir[200], far[300], stuck[64];
	pid_t first, second, third;

	first = fake_vmm("", 0);
	kill(first, SIGSTOP);
	snprintf(stuck, sizeof(stuck), "stuck-%d.sock", getpid());
	T_EQ(rename(path, stuck), 0);

	second = fake_vmm("{\"schema\":1,\"pid\":77}\n", 1);
	memset(dir, 'd', 150);
	snprintf(dir + 150, sizeof(dir) - 150, "-%d", getpid());
	T_EQ(mkdir(dir, 0700), 0);
	snprintf(far, sizeof(far), "%s/%s", dir, path);
	T_EQ(rename(path, far), 0);

	third = fake_vmm("{\"schema\":1,\"pid\":78}\n", 1);
	T_EQ(RUN(r, "stat", "--json", "/nonexistent/x.sock", "999999999", stuck, far, path), 1);
	T_SAYS(r.out, "77");
	T_SAYS(r.out, "78");
	T_SAYS(r.err, "/nonexistent/x.sock: No such file");
	T_SAYS(r.err, "999999999: no such");
	T_SAYS(r.err, "stuck-");
	T_OK(!strstr(r.err, "ddd"));
	reap_fake(first);
	reap_fake(second);
	reap_fake(third);
	unlink(far);
	unlink(stuck);
	rmdir(dir);
}

static void watched(void)
{
	NEED_KVM();
	T_REQUIRE(start_vm("exit"));
	T_REQUIRE(rmio_start(&r, (const char *const []){ "stat", "--watch", path, NULL }));
	/* The second page has rates. */
	T_OK(rmio_read(&r, "exits to user space, a second"));
	kill(r.pid, SIGINT);
	T_EQ(rmio_finish(&r), 0);
	T_STREQ(r.err, "");
	T_OK(!strchr(r.out, '\033'));
	T_REQUIRE(rmio_start(&r, (const char *const []){ "stat", "--watch", "--json", path, NULL }));
	T_OK(rmio_read(&r, "\n{"));
	stop_vm();
	T_EQ(rmio_finish(&r), 0);
	T_SAYS(r.err, "the VM has ended");
}

/* -- bpftool --------------------------------------------------------------------------- */

/* What a command prints. */
static const char *output(const char *fmt, ...)
{
	static char out[65536];
	char command[200];
	va_list ap;
	size_t n;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	f = popen(command, "r");
	n = f ? fread(out, 1, sizeof(out) - 1, f) : 0;
	out[n] = 0;
	if (f)
		pclose(f);
	return out;
}

static int64_t map_id(struct json_object *ids, const char *name)
{
	struct json_object *o;
	int64_t id, found = -1;

	for (size_t i = 0; i < json_object_array_length(ids); i++) {
		id = json_object_get_int64(json_object_array_get_idx(ids, i));
		o = json_tokener_parse(output("bpftool -j map show id %d", (int)id));
		if (sub(o, "name") && !strcmp(json_object_get_string(sub(o, "name")), name))
			found = id;
		json_object_put(o);
	}
	T_GT(found, 0);
	return found;
}

/* The first map in a table of maps: bytes of its id, or in newer versions a number. */
static int inner_id(int table)
{
	const char *text = output("bpftool map dump id %d", table);
	const char *bytes = strstr(text, "value: "), *name = strstr(text, "inner_map_id");
	unsigned int b[4] = { 0 };

	if (name)
		return atoi(name + strcspn(name, "0123456789"));
	if (bytes)
		sscanf(bytes, "value: %x %x %x %x", &b[0], &b[1], &b[2], &b[3]);
	return (int)(b[0] | b[1] << 8 | b[2] << 16 | b[3] << 24);
}

static void bpftool(void)
{
	static const char *const lane[] = { "tail", "done", "posted", "zone", "through", "full",
					    "discarded", "lost", "load_ns" };
	static const char *const vcpu[] = { "last_gpa", "seen", "kicks", "attention" };
	struct json_object *o, *p;
	int64_t prog;
	char word[40];
	int inner;

	NEED_KVM();
	NEED_BPF();
	if (!strstr(output("bpftool version 2>&1"), "bpftool v"))
		T_SKIP("no bpftool", "install bpftool");
	T_REQUIRE(start_vm("bpf"));
	T_EQ(RUN(r, "stat", "--json", path), 0);
	o = json_tokener_parse(r.out);
	prog = num(sub(o, "program"), "id");
	json_object_put(o);

	p = json_tokener_parse(output("bpftool -j prog show id %d", (int)prog));
	T_REQUIRE(T_OK(p != NULL));
	T_STREQ(json_object_get_string(sub(p, "name")), "rmio_mmio");
	T_STREQ(json_object_get_string(sub(p, "type")), "tracing");
	snprintf(word, sizeof(word), "prog %d", (int)prog);
	T_SAYS(output("bpftool link show"), word);

	for (int i = 0; i < KTAP_COUNT(vcpu); i++) {
		snprintf(word, sizeof(word), "\"%s\": ", vcpu[i]);
		T_SAYS(output("bpftool map dump id %d", (int)map_id(sub(p, "map_ids"), "vcpus")),
		       word);
	}
	/* One array a device, in the table of them. */
	inner = inner_id((int)map_id(sub(p, "map_ids"), "lanes"));
	T_REQUIRE(T_GT(inner, 0));
	T_SAYS(output("bpftool map show id %d", inner), "rmio_lanes");
	for (int i = 0; i < KTAP_COUNT(lane); i++) {
		snprintf(word, sizeof(word), "\"%s\": ", lane[i]);
		T_SAYS(output("bpftool map dump id %d", inner), word);
	}
	json_object_put(p);
	stop_vm();
	/* Nothing stays behind, once the kernel has come to it. */
	for (int i = 0; i < 1000; i++) {
		if (strstr(output("bpftool prog show id %d 2>&1", (int)prog), "No such file"))
			break;
		usleep(10000);
	}
	T_SAYS(output("bpftool prog show id %d 2>&1", (int)prog), "No such file");
}

static const struct ktap_test tests[] = {
	{ "what a guest did, exit", told_exit },
	{ "what a guest did, bpf", told_bpf },
	{ "a line for each newline", lines },
	{ "clients that are slow or send something else", bad_clients },
	{ "more clients than there is room for", many_clients },
	{ "paths of the socket", paths },
	{ "VMMs that answer garbage", garbage },
	{ "no VM", nobody },
	{ "the plan, in rmio doctor", plan },
	{ "a VMM that does not answer", silent },
	{ "one that answers beside others", beside },
	{ "watching, until interrupted or the VM has ended", watched },
	{ "bpftool", bpftool },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
